"""The latest request of each conversation, and the search for it among the messages of the next one. Pure.

Clients send no id of a conversation. A conversation is recognised by the hashes of its messages.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.prompt_cache.contents import RequestAtCache
from gateway.prompt_cache.generations import Generations
from gateway.prompt_cache.prefixes import Chain

MOST_MESSAGES_BACK: Final = 40
"""How many messages back a conversation's previous request is looked for."""


@dataclass(slots=True)
class Trail:
    """One request of a conversation, as far as the next one is compared with it."""

    original: bytes
    """Its links as it came, eight bytes each."""
    readable: bytes | None
    """Those that it left to be read, where they are others: none where nothing was marked that had to be, and none from
    what we put in for it alone on."""
    head: int
    """Its leading system messages."""
    deployment: int
    """Where it was sent."""
    at: float
    tokens: int
    """Of what was sent, by the provider's report; 0 as long as it has not said."""
    turn: int
    """How many requests of the conversation were long enough to be cached, this one included if it is."""
    stage: int = 0
    """Where the conversation stood with it (habits.py)."""


class Trails:
    """The latest requests of conversations, found by how they begin: no session has an id here."""

    def __init__(self, most_bytes: int = 12 * 2**20) -> None:
        self._trails: Generations[int, Trail] = Generations(most_bytes)

    def __len__(self) -> int:
        return len(self._trails)

    def find_previous(self, scope: int, chain: Chain, head: int) -> Trail | None:
        """Return the request before this one: the latest that this one begins with, to the word.

        Where there is none, the client may have changed the system text, a tool or an old message: the latest whose
        last messages stand somewhere in this one, unless this one says no more than it: then somebody else has opened a
        conversation in the same words. `scope` is whoever conversations never pass between, as a number.
        """
        hashes, links, get = chain.message_hashes, chain.links, self._trails.get
        last = len(hashes) - 1
        candidates = range(last, max(last - MOST_MESSAGES_BACK, min(head, last) - 1), -1)
        for index in candidates:
            found = get(hash((scope, links[index + 1])))
            if found is not None:
                return found
        for index in candidates[1:]:
            found = get(_position_key(scope, hashes, index, head))
            if found is not None:
                return found
        return None

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
        """Keep a request for the next one of its conversation. Its tokens are told once they are known."""
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
    """Return where a message stands, by its own words and those of the message before it, the system text left out."""
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
