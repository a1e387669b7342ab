"""OpenAI's prompt cache from GPT-5.6 on: only what ends at a breakpoint is written, and only what was written is read.

Source: developers.openai.com/api/docs/guides/prompt-caching (read 2026-11); the fields as in `openai` 2.x. Per rule:

- A prefix needs 1,024 tokens. A written token costs 1.25 of a plain one, a read one .1; what was read is not written.
- The implicit breakpoint is at the end of the latest eligible message: a user's, the last of a run of tool responses,
  or the last of the leading developer (here also system) messages. `mode: explicit` switches it off.
- Written are the implicit one and the latest three explicit ones, or under `mode: explicit` the latest four.
- Looked up, from the longest on, are the first 2 and the latest 50 explicit ones and, in implicit mode, the implicit
  one, up to 20 earlier eligible endings and the end of the leading developer messages. There is no other look-back.
- An entry lives for 30 minutes since it was last written or read (OpenAI may keep it longer; here it does not).
- `prompt_cache_key` separates: what was written under one key is not read under another.
- Boundaries are exact, not rounded. Parts of content can be marked; a mark elsewhere, another mode or another
  lifetime is a 400.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.routing.upstreams.demo.entries import CachedPrompt, Entries
from gateway.routing.upstreams.demo.prefix import openai_usage
from gateway.routing.upstreams.demo.prompt import SYSTEM_ROLES, Block, Level, Prompt, answer_schema, as_list, as_object
from gateway.routing.upstreams.demo.rules import Charge, Complaint, answer_needed

LIFETIME: Final = 1800.0
MOST_WRITES: Final = 4
FIRST_READ: Final = 2
LATEST_READ: Final = 50
EARLIER_ENDINGS: Final = 20


@dataclass(frozen=True, slots=True)
class Breakpoints:
    """The rules of OpenAI's models from GPT-5.6 on."""

    least: int = 1024

    def settings(self, fields: Mapping[str, Any]) -> Mapping[Level, Any]:
        """Return the key that separates caches, and what is rendered before the messages."""
        return {"tools": [fields.get("prompt_cache_key"), answer_schema(fields), fields.get("functions")]}

    def complaint(self, fields: Mapping[str, Any], prompt: Prompt) -> Complaint | None:
        options = as_object(fields.get("prompt_cache_options"))
        if options.get("mode") not in (None, "implicit", "explicit"):
            return _invalid(options["mode"], "prompt_cache_options.mode", "'implicit' and 'explicit'")
        if options.get("ttl") not in (None, "30m"):
            return _invalid(options["ttl"], "prompt_cache_options.ttl", "'30m'")
        for at, message in enumerate(as_list(fields.get("messages"))):
            if "prompt_cache_breakpoint" in as_object(message):
                return _unknown(f"messages[{at}].prompt_cache_breakpoint")
        for block in prompt.blocks:
            if block.cache_breakpoint is None:
                continue
            if block.kind in ("tool", "call"):
                return _unknown(f"{block.path}.prompt_cache_breakpoint")
            if as_object(block.cache_breakpoint).get("mode") != "explicit":
                mode = as_object(block.cache_breakpoint).get("mode")
                return _invalid(mode, f"{block.path}.prompt_cache_breakpoint.mode", "'explicit'")
        return answer_needed(fields)

    def charge(self, fields: Mapping[str, Any], prompt: Prompt, entries: Entries, now: float) -> Charge:
        blocks = prompt.blocks
        explicit = [at for at, block in enumerate(blocks) if block.cache_breakpoint is not None]
        looked_up = {*explicit[:FIRST_READ], *explicit[-LATEST_READ:]}
        if as_object(fields.get("prompt_cache_options")).get("mode") == "explicit":
            written = explicit[-MOST_WRITES:]
        else:
            endings = _eligible_endings(blocks)
            looked_up |= {*endings[-1 - EARLIER_ENDINGS :], *_leading_end(blocks)}
            written = [*explicit[1 - MOST_WRITES :], *endings[-1:]]
        written = [at for at in written if blocks[at].upto >= self.least]
        hit = max((at for at in looked_up if entries.holds(blocks[at].link, now)), default=None)
        read = 0
        if hit is not None:
            entries.use(blocks[hit].link, now)
            read = blocks[hit].upto
        return Charge(
            read=read,
            written=max([blocks[at].upto - read for at in written] + [0]),
            entries=tuple(CachedPrompt(blocks[at].link, now, LIFETIME) for at in sorted(set(written))),
        )

    def usage(self, prompt: int, completion: int, charge: Charge) -> dict[str, Any]:
        cache = {"cached_tokens": charge.read, "cache_write_tokens": charge.written}
        return openai_usage(prompt, completion, cache)


def _eligible_endings(blocks: Sequence[Block]) -> list[int]:
    """Return where the messages end at which an implicit breakpoint may stand."""
    endings = [at for at, block in enumerate(blocks) if block.ends_message and block.level == "messages"]
    eligible = [
        at
        for at, after in zip(endings, [*endings[1:], None], strict=False)
        if blocks[at].role == "user"
        or (blocks[at].kind == "result" and (after is None or blocks[after].kind != "result"))
    ]
    return [*_leading_end(blocks), *eligible]


def _leading_end(blocks: Sequence[Block]) -> list[int]:
    return [at for at, block in enumerate(blocks) if block.level == "system" and block.role in SYSTEM_ROLES][-1:]


def _unknown(param: str) -> Complaint:
    return Complaint(f"Unknown parameter: '{param}'.", param)


def _invalid(value: object, param: str, supported: str) -> Complaint:
    return Complaint(f"Invalid value: {value!r}. Supported values are: {supported}.", param)
