"""Sharing which conversations run elsewhere than where their ranking sends them, with other workers and the next start.

Once a second, in a thread, never at a request's cost. Only what moved is shared: all others every worker finds alike
by itself. A state that is down or holds nonsense costs a conversation that moved one reading of its prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.routing.loads import Loads, Stay
from gateway.state import State, StateUnavailable
from gateway.state_thread import StateThread

KEY: Final = "placements"
EVERY_SECONDS: Final = 1.0
MOST_SHARED: Final = 2000
"""Conversations in the shared value, some 70 bytes each; those that will come back first go first."""

_UNREADABLE: Final = (AttributeError, TypeError, ValueError)


class Placements:
    """Keeps the stays of this process and those in the state alike."""

    def __init__(
        self, loads: Loads, opens: Callable[[], State], log: FilteringBoundLogger, now: Callable[[], float]
    ) -> None:
        """Take loads to keep alike; `opens` opens the state, raising `StateUnavailable`; `now` is in Unix seconds."""
        self._loads, self._log, self._now = loads, log, now
        self._seen: bytes | None = None
        self._way = StateThread("placements", opens, log, "moved conversations are not shared")

    async def open(self) -> None:
        """Read what there is, before the first request, and go on exchanging until closed."""
        await self.exchange()
        self._way.repeat(self.exchange, EVERY_SECONDS)

    async def close(self) -> None:
        """Write what has moved since, and let go of the state."""
        await self._way.close(self.exchange)

    async def exchange(self) -> None:
        """Tell what moved here, and learn what moved elsewhere."""
        moved = self._loads.take_moved()
        try:
            self._loads.adopt(await self._way.run(partial(self._exchanged, moved)))
        except StateUnavailable:
            self._loads.give_back(moved)

    # ------------------------------------------------------------ in the thread

    def _exchanged(self, moved: Mapping[int, Stay], state: State) -> dict[int, Stay]:
        """Add what moved to the shared value; return what is in it, nothing where that is known already."""
        now = self._now()

        def change(raw: bytes | None) -> bytes:
            return written({**self._understood(raw), **moved}, now)

        raw = state.update(KEY, change) if moved else state.get(KEY)
        if raw == self._seen:
            return {}
        self._seen = raw
        return self._understood(raw)

    def _understood(self, raw: bytes | None) -> dict[int, Stay]:
        try:
            return {} if raw is None else read(raw)
        except _UNREADABLE as error:
            self._log.warning("shared placements unreadable, begun anew", reason=str(error))
            return {}


def written(stays: Mapping[int, Stay], now: float) -> bytes:
    """Write those that still hold, at most `MOST_SHARED`."""
    holding = [(trail, stay) for trail, stay in stays.items() if stay.until > now]
    holding.sort(key=lambda one: one[1].until, reverse=True)
    return orjson.dumps(
        {f"{trail:016x}": [stay.at, int(stay.until), stay.for_load] for trail, stay in holding[:MOST_SHARED]}
    )


def read(raw: bytes) -> dict[int, Stay]:
    """Read what `written` wrote. Raises one of several errors for anything else."""
    out = {}
    for trail, (at, until, for_load) in orjson.loads(raw).items():
        if not isinstance(at, str) or not isinstance(for_load, bool):
            raise TypeError(f"{at!r}, {for_load!r} is no place and reason")
        out[int(trail, 16)] = Stay(at, float(until), for_load)
    return out
