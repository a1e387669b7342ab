"""The latest request of each conversation, and the search for it when the next one comes. Pure.

Clients send no conversation id. The hashes of its messages identify a conversation.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from gateway.memory import USUAL
from gateway.prompt_cache.contents import RequestAtCache
from gateway.prompt_cache.generations import Generations
from gateway.prompt_cache.prefixes import Chain

MOST_MESSAGES_BACK: Final = 40
"""The most messages, from the end of a request back, at which its previous request is searched."""


@dataclass(slots=True)
class Trail:
    """One request of a conversation, as far as the next one is compared with it."""

    original: bytes
    """The links of the original request, eight bytes each."""
    readable: bytes | None
    """The links that the next request can read, if they differ from `original`. Empty if no marker was set where one is
    needed. A message inserted for that request alone ends them.
    """
    head: int
    """The number of leading system messages."""
    deployment: int
    """The number of the cache that it was sent to."""
    at: float
    tokens: int
    """Tokens of the sent request, by the provider's report; 0 until it is known."""
    turn: int
    """The number of the conversation's requests that were long enough for the cache, this one included."""
    stage: int = 0
    """The stage of the conversation at this request (`usage_patterns.py`)."""


class Trails:
    """The latest requests of conversations, by the hashes of their messages."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("conversations")) -> None:
        self._trails: Generations[int, Trail] = Generations(most_bytes)

    def __len__(self) -> int:
        return len(self._trails)

    def find_previous(self, scope: int, chain: Chain, head: int) -> Trail | None:
        """Find the previous request of a conversation: the latest that is a prefix of this one.

        If there is none, the client may have changed the system text, a tool or an old message. Then it is the latest
        request whose last messages stand somewhere in this one. A request with no further messages is not matched so:
        it is another conversation that begins with the same words. `scope` is the hash of the conversation's owner.
        """
        hashes = chain.message_hashes
        last = len(hashes) - 1
        candidates = range(last, max(last - MOST_MESSAGES_BACK, min(head, last) - 1), -1)
        links = map(chain.links.__getitem__, range(last + 1, candidates.stop + 1, -1))
        by_link = map(hash, zip(repeat(scope), links, strict=False))
        found = next(filter(None, self._trails.get_each(by_link)), None)
        by_position = (_position_key(scope, hashes, index, head) for index in candidates[1:])
        return found or next(filter(None, self._trails.get_each(by_position)), None)

    def note(
        self,
        scope: int,
        readable: Sequence[int],
        original: RequestAtCache,
        head: int,
        deployment: int,
        now: float,
        previous: Trail | None,
    ) -> Trail:
        """Keep a request for the next one of its conversation. Its tokens are set later."""
        others = None if readable == original.chain.links else array("Q", readable).tobytes()
        turn = 1 if previous is None else previous.turn + 1
        trail = Trail(array("Q", original.chain.links).tobytes(), others, head, deployment, now, 0, turn)
        size = 240 + len(trail.original) + (len(others) + 40 if others is not None else 0)
        chain = original.chain
        keys = (
            hash((scope, chain.links[-1])),
            _position_key(scope, chain.message_hashes, len(chain.message_hashes) - 1, head),
        )
        self._trails.put_all(keys, trail, size)
        return trail


def _position_key(scope: int, hashes: Sequence[int], index: int, head: int) -> int:
    """Return the key of a message's position: its hash and that of the message before, without the system text."""
    before = hashes[index - 1] if index > head else 0
    return hash((scope, before, hashes[index]))


def common_links(links: bytes, chain: Chain) -> int:
    """Count the links that a trail and a chain have in common, from the first on."""
    theirs = memoryview(links).cast("Q")
    count = 0
    for ours, other in zip(chain.links, theirs, strict=False):
        if ours != other:
            break
        count += 1
    return count
