"""Anthropic's prompt cache, as a client of chat completions meets it through LiteLLM.

Source: platform.claude.com/docs/en/build-with-claude/prompt-caching (read 2026-11), and for the wire litellm 1.106
(`anthropic_messages_pt`, `AnthropicConfig.calculate_usage`). Per rule:

- The prompt is tools, then system, then messages; a prefix ends at a block marked `cache_control`, at most four of
  them. A mark stands on a tool (or its function), a part, a message whose content is a string, a result or a call.
- Marking a block writes one entry, the prefix up to it, for 5 minutes or, with `ttl: 1h`, an hour. One hour comes
  before 5 minutes. A prefix below the model's least length is not cached, and nothing is said about it.
- A read looks back from each mark, the last one first, over at most 20 positions, the mark's own the first. A run of
  calls is one position, and so is a run of results. It finds entries, never merely equal text.
- A read renews the lifetime; both are measured from the start of the request. An entry is readable when the answer to
  the request that wrote it has begun.
- Charged: .1 for what was read, 2 for what lies between it and the last one-hour mark, 1.25 for the rest up to the last
  mark.
- Another tool invalidates everything; web search or another speed, the system text and what follows; another
  `tool_choice`, thinking or effort, or the first image, the messages.
- `cache_control` at the top level marks the last block that can be, and takes one of the four.
- `max_tokens: 0` reads the prompt into the cache and answers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.routing.upstreams.demo.entries import CachedPrompt, Entries
from gateway.routing.upstreams.demo.prompt import Block, Level, Prompt, answer_schema, as_list, as_object
from gateway.routing.upstreams.demo.rules import Charge, Complaint, wants_no_answer

MOST_MARKS: Final = 4
LOOK_BACK: Final = 20
"""Positions looked at from a mark, its own the first."""

LIFETIMES: Final[Mapping[Any, float]] = {None: 300.0, "5m": 300.0, "1h": 3600.0}
HOUR: Final = LIFETIMES["1h"]

LEAST: Final = (
    ("opus-4-8", 1024),
    ("opus-4-7", 2048),
    ("opus-4-6", 4096),
    ("opus-4-5", 4096),
    ("opus-5", 512),
    ("fable", 512),
    ("mythos-preview", 2048),
    ("mythos", 512),
    ("sonnet-5-5", 512),
    ("haiku-4", 4096),
    ("haiku-5", 4096),
    ("haiku", 2048),
)
"""Least tokens of a cached prefix, by what a model's name contains; the first that fits ("Cache limitations" there;
Haiku 5.5 is taken to be as 4.5)."""

LEAST_OTHERWISE: Final = 1024
"""Sonnet, Opus up to 4.1, and a model that is not named."""


def anthropic_least(model: str) -> int:
    """Return the least length of a model, whatever else is in its name."""
    name = model.replace(".", "-")
    return next((least for part, least in LEAST if part in name), LEAST_OTHERWISE)


@dataclass(frozen=True, slots=True)
class Anthropic:
    """The rules of the Claude API."""

    least: int = LEAST_OTHERWISE

    def settings(self, fields: Mapping[str, Any]) -> Mapping[Level, Any]:
        """Return what the table "What invalidates the cache" names."""
        parts = [
            part for message in as_list(fields.get("messages")) for part in as_list(as_object(message).get("content"))
        ]
        return {
            "tools": [answer_schema(fields), fields.get("functions")],
            "system": [fields.get("speed"), fields.get("web_search_options")],
            "messages": [
                fields.get("tool_choice"),
                fields.get("thinking"),
                fields.get("reasoning_effort"),
                any(as_object(part).get("type") in ("image_url", "image") for part in parts),
            ],
        }

    def complaint(self, fields: Mapping[str, Any], prompt: Prompt) -> Complaint | None:
        """Refuse in Anthropic's words: too many marks, a wrong one, or a longer lifetime after a shorter."""
        if wants_no_answer(fields) and (fields.get("stream") or fields.get("response_format")):
            return Complaint("max_tokens: 0 is not supported with streaming or structured outputs.", "max_tokens")
        marks = [(block.path, block.control) for block in prompt.blocks if block.control is not None]
        automatic, last = fields.get("cache_control"), _last_cacheable(prompt.blocks)
        if automatic is not None and last is not None:
            explicit = prompt.blocks[last].control
            if explicit is None:
                marks.append((prompt.blocks[last].path, automatic))
            elif _lifetime(explicit) != _lifetime(automatic):
                return Complaint("cache_control: the last block is marked with another ttl than the request.")
        if len(marks) > MOST_MARKS:
            return Complaint(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
        shortest = HOUR
        for path, control in marks:
            if as_object(control).get("type") != "ephemeral":
                return Complaint(f"{path}.cache_control.type: Input should be 'ephemeral'")
            lifetime = _lifetime(control)
            if lifetime is None:
                return Complaint(f"{path}.cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
            if lifetime > shortest:
                return Complaint(
                    f"{path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                    "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, "
                    "`messages`."
                )
            shortest = lifetime
        return None

    def charge(self, fields: Mapping[str, Any], prompt: Prompt, entries: Entries, now: float) -> Charge:
        blocks = prompt.blocks
        marks = {at: lifetime for at, lifetime in _marks(fields, blocks) if blocks[at].upto >= self.least}
        hit = _found(blocks, sorted(marks, reverse=True), entries, now)
        read = 0
        if hit is not None:
            entries.use(blocks[hit].link, now)
            read = blocks[hit].upto
        hourly = max([blocks[at].upto for at, lifetime in marks.items() if lifetime == HOUR] + [read])
        return Charge(
            read=read,
            written=max([blocks[at].upto for at in marks] + [read]) - read,
            written_1h=hourly - read,
            entries=tuple(CachedPrompt(blocks[at].link, now, marks[at]) for at in sorted(marks)),
        )

    def usage(self, prompt: int, completion: int, charge: Charge) -> dict[str, Any]:
        """Return what LiteLLM makes of Anthropic's usage: the prompt includes what was read and written."""
        by_lifetime = {
            "ephemeral_5m_input_tokens": charge.written - charge.written_1h,
            "ephemeral_1h_input_tokens": charge.written_1h,
        }
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": charge.read,
                "cache_write_tokens": charge.written,
                "cache_creation_tokens": charge.written,
                "cache_creation_token_details": by_lifetime,
                "text_tokens": prompt - charge.read - charge.written,
            },
            "completion_tokens_details": {"reasoning_tokens": 0, "text_tokens": completion},
            "cache_creation_input_tokens": charge.written,
            "cache_read_input_tokens": charge.read,
        }


def _marks(fields: Mapping[str, Any], blocks: Sequence[Block]) -> list[tuple[int, float]]:
    """Return the marked blocks and for how long each is to be kept."""
    controls = {at: block.control for at, block in enumerate(blocks) if block.control is not None}
    last = _last_cacheable(blocks)
    if fields.get("cache_control") is not None and last is not None:
        controls.setdefault(last, fields["cache_control"])
    return [(at, _lifetime(control) or LIFETIMES[None]) for at, control in controls.items()]


def _last_cacheable(blocks: Sequence[Block]) -> int | None:
    """Find the last block that can be marked: thinking and empty text cannot."""
    able = [at for at, one in enumerate(blocks) if one.text or one.kind not in ("thinking", "text")]
    return able[-1] if able else None


def _lifetime(control: Any) -> float | None:
    ttl = as_object(control).get("ttl")
    return LIFETIMES.get(ttl) if ttl is None or isinstance(ttl, str) else None


def _found(blocks: Sequence[Block], marks: Sequence[int], entries: Entries, now: float) -> int | None:
    """Find the longest entry within the look-back of a mark, the marks given from the last on."""
    positions = _positions(blocks)
    for mark in marks:
        at = mark
        while at >= 0 and positions[mark] - positions[at] < LOOK_BACK:
            if entries.holds(blocks[at].link, now):
                return at
            at -= 1
    return None


def _positions(blocks: Sequence[Block]) -> list[int]:
    """Give each block the number of its position: a run of calls shares one, and so does a run of results."""
    numbers: list[int] = []
    previous = ""
    for block in blocks:
        joins = block.kind in ("call", "result") and block.kind == previous
        numbers.append(numbers[-1] + (not joins) if numbers else 0)
        previous = block.kind
    return numbers
