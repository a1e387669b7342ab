"""What is used of a provider, and what it answers to that: one value for all forms, so that answers can be compared.

A request carries `case:FEATURE cell:NAME` in its first words, by which a scripted provider knows what to answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

WORDS: Final = "Fine, thanks."
JSON_WORDS: Final = '{"colour": "blue"}'
THOUGHTS: Final = "The sky is above, so I look it up."
SIGNATURE: Final = "c2lnbmVkLWJ5LXRoZS1tb2RlbA=="
"""What a provider signs its reasoning with, or encrypts it as."""
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
RESULTS: Final = {"get_weather": "result-one: sunny", "get_time": "result-two: noon"}
"""What the client's tools give."""
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "description": "The colour_of_the_sky."}},
    "required": ["colour"],
    "additionalProperties": False,
}
TOOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
        "additionalProperties": False,
    }
    for name, argument in (("get_weather", "city"), ("get_time", "zone"))
}
"""Each tool's parameters."""

PROMPT, COMPLETION, CACHED, WRITTEN, REASONED = 5_120, 40, 4_096, 512, 24
"""Tokens: of the prompt with those of the cache, of the answer with the reasoning."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of a model."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    cached: int = 0
    written: int = 0
    reasoned: int = 0


CALLS: Final = (
    Call("call_a1b2c3d4e5", "get_weather", {"city": "Paris"}),
    Call("call_f6a7b8c9d0", "get_time", {"zone": "CET"}),
)
FEATURES: Final[Mapping[str, tuple[Said, ...]]] = {
    "plain": (Said(WORDS),),
    "stream": (Said(WORDS),),
    "tools": (Said("I look both up.", calls=CALLS), Said(WORDS)),
    "images": (Said(WORDS),),
    "structured": (Said(JSON_WORDS),),
    "reasoning": (Said("", THOUGHTS, CALLS[:1], reasoned=REASONED), Said(WORDS)),
    "usage": (Said(WORDS, cached=CACHED, written=WRITTEN),),
}
"""The answers of each feature, one a turn; where there are two, the client sends the first back with results."""

STREAMS: Final[Mapping[str, tuple[bool, ...]]] = {"plain": (False,), "stream": (True,)}
"""Whether it is asked whole or as a stream; all others both ways."""

_MARK: Final = re.compile(rb"case:(\w+) cell:([\w.+-]+)")


def marked(feature: str, cell: str) -> str:
    """Write the words of a request that say what is to be answered."""
    return f"case:{feature} cell:{cell} How are you? Look it up where you can."


def wanted(raw: bytes) -> tuple[str, str, Said] | None:
    """Read what a request asks for: the feature, the cell and the answer; None where it does not say."""
    found = _MARK.search(raw)
    if found is None:
        return None
    feature, cell = found[1].decode(), found[2].decode()
    turns = FEATURES[feature]
    return feature, cell, turns[-1 if b"result-one" in raw else 0]
