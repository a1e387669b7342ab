"""Sharing which conversations run elsewhere than where their ranking sends them, with other workers and the next start.

Only what moved is shared: all others every worker finds alike by itself. A state that is down or holds nonsense costs a
conversation that moved one reading of its prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.routing.loads import Loads, Stay
from gateway.state.codec import Codec, flag, number, text, whole_number
from gateway.state.shared import Shared

KEY: Final = "placements/1"
MOST_SHARED: Final = 2000
"""Conversations in the shared value, some 70 bytes each; those that will come back first go first."""

Stays = Mapping[int, Stay]
"""By the trail of a conversation."""


def shared_placements(loads: Loads, now: Callable[[], float]) -> Shared[Stays, dict[int, Stay]]:
    """Share the stays of one process. `now` is in Unix seconds."""
    return Shared(
        KEY,
        STAYS,
        empty=dict,
        add=lambda stays, moved: holding({**stays, **moved}, now()),
        take_news=loads.take_moved,
        give_back=loads.give_back,
        adopt=loads.adopt,
    )


def holding(stays: Stays, now: float) -> Stays:
    """Return those that still hold, at most `MOST_SHARED`."""
    found = [(trail, stay) for trail, stay in stays.items() if stay.until > now]
    found.sort(key=lambda one: one[1].until, reverse=True)
    return dict(found[:MOST_SHARED])


def _to_json(stays: Stays) -> Any:
    return {f"{trail:016x}": [stay.at, int(stay.until), stay.for_load] for trail, stay in stays.items()}


def _from_json(said: Any) -> Stays:
    out = {}
    for trail, (at, until, for_load) in said.items():
        out[whole_number(int(trail, 16), 0, 2**64 - 1)] = Stay(text(at), number(until), flag(for_load))
    return out


STAYS: Final = Codec("placements", 1, _to_json, _from_json)
