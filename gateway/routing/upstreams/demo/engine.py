"""The prefix cache of vLLM: full blocks of 16 tokens, read as far as they agree, in a memory that is bounded.

Source: docs.vllm.ai/en/latest/design/prefix_caching (read 2026-11). Per rule:

- A block is known by its tokens and all tokens before it, tools and roles included, wherever messages begin or end.
  Only full blocks count, and the last token of a prompt is always computed.
- There is no lifetime. Blocks that were unused for longest go first and, of one request, the end of its prompt
  before the beginning.
- `cache_salt` separates: it is part of the first block.

This provider can only count tokens, not see them, so it compares texts in pieces of 64 characters and takes the tokens
of a text to be spread evenly over it: exact where a message ends, near it inside one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.routing.upstreams.demo.entries import CachedPrompt, Entries
from gateway.routing.upstreams.demo.prompt import Level, Prompt
from gateway.routing.upstreams.demo.rules import Charge, Complaint, answer_needed

BLOCK: Final = 16
"""Tokens; vLLM's default."""

PIECE: Final = 64
"""Characters: about a block."""

MEMORY: Final = 524_288
"""Tokens that an engine keeps unless its deployment says otherwise (`cache_tokens` in `litellm_params`)."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The rules of vLLM, with `--enable-prompt-tokens-details`."""

    def settings(self, fields: Mapping[str, Any]) -> Mapping[Level, Any]:
        return {"tools": fields.get("cache_salt")}

    def complaint(self, fields: Mapping[str, Any], prompt: Prompt) -> Complaint | None:
        return answer_needed(fields)

    def charge(self, fields: Mapping[str, Any], prompt: Prompt, entries: Entries, now: float) -> Charge:
        pieces = list(_pieces(prompt))
        known = 0
        while known < len(pieces) and entries.holds(pieces[known][0], now):
            known += 1
        for link, _ in reversed(pieces[:known]):
            entries.use(link, now)
        read = min(pieces[known - 1][1] if known else 0, prompt.tokens - 1) // BLOCK * BLOCK
        sizes = [upto - before for (_, upto), before in zip(pieces, [0, *(upto for _, upto in pieces)], strict=False)]
        # The end goes in first, so that it is forgotten before the beginning.
        kept = [CachedPrompt(link, now, weight=max(size, 1)) for (link, _), size in zip(pieces, sizes, strict=True)]
        return Charge(read=read, entries=tuple(reversed(kept)))

    def usage(self, prompt: int, completion: int, charge: Charge) -> dict[str, Any]:
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": charge.read},
        }


def _pieces(prompt: Prompt) -> Iterator[tuple[bytes, int]]:
    """Yield the hash of the prompt up to each piece and the tokens up to there."""
    link, before = prompt.start, 0
    for block in prompt.blocks:
        size, length = block.upto - before, len(block.text)
        link += block.role.encode()
        for start in range(0, length - PIECE, PIECE):
            link = hashlib.blake2b(link + block.text[start : start + PIECE].encode(), digest_size=16).digest()
            yield link, before + size * (start + PIECE) // length
        link, before = block.link, block.upto
        yield link, before
