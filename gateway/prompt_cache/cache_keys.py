"""The `prompt_cache_key` of a request: one for each prefix group, several for a busy group. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from math import exp
from typing import Final

from gateway.prompt_cache.generations import Generations

REQUESTS_PER_KEY: Final = 15
"""Requests a minute for one prefix and key. Beyond them OpenAI spreads requests over machines that do not have the
prefix (developers.openai.com/api/docs/guides/prompt-caching).
"""
MOST_SHARDS: Final = 1024
RATES_OF_KEYS: Final = tuple([REQUESTS_PER_KEY << doubled for doubled in range(MOST_SHARDS.bit_length())])
"""Requests a minute, one rate for each number of keys that a prefix group may have."""
MINUTE: Final = 60.0
_RATE_BYTES: Final = 160


class CacheKeys:
    """The request rates of prefix groups, and the keys that follow from them."""

    def __init__(self) -> None:
        self._rates: Generations[int, tuple[float, float]] = Generations(2**20)
        """Prefix group → the time of its last request, and its requests a minute until then."""

    def choose(self, group: int, opening: int, now: float) -> str:
        """Count a request of a group and return its key, by the group's rate.

        `opening` is any number that stays with the conversation.
        """
        at, rate = self._rates.get(group) or (now, 0.0)
        rate = rate * exp(min(at - now, 0.0) / MINUTE) + 1.0  # clocks may be set back
        self._rates.put(group, (now, rate), _RATE_BYTES)
        return key_of(group, rate, opening)


def possible_keys(group: int, opening: int) -> Iterator[str]:
    """Yield each key that a conversation of the group may have had, once."""
    return iter(dict.fromkeys([key_of(group, rate, opening) for rate in RATES_OF_KEYS]))


def key_of(group: int, per_minute: float, conversation: int) -> str:
    """Return the `prompt_cache_key` of a prefix group. It is short, and the same in every worker.

    A group with more requests a minute than one key serves has several keys. Their number is a power of two, so that
    growth splits each key in two and moves nothing else. A conversation keeps to one of them; `conversation` is any
    number that stays with it.
    """
    shards = 1
    while shards * REQUESTS_PER_KEY < per_minute and shards < MOST_SHARDS:
        shards *= 2
    key = blake2b(group.to_bytes(8, "big"), digest_size=8, person=b"gateway-group").hexdigest()
    if shards == 1:
        return key
    drawn = blake2b(conversation.to_bytes(8, "big"), digest_size=8, person=b"gateway-shard").digest()
    number = int.from_bytes(drawn, "big") % shards
    return f"{key}-{number}" if number else key
