"""Sharing which conversations run elsewhere than where their ranking sends them, with other workers and the next start.

Once a second, in a thread, never at a request's cost. Only what moved is shared: all others every worker finds alike
by itself. A state that is down or holds nonsense costs a conversation that moved one reading of its prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.routing.loads import Loads, Stay
from gateway.state import State, StateUnavailable

KEY: Final = "placements"
EVERY_SECONDS: Final = 1.0
MOST_SHARED: Final = 2000
"""Conversations in the shared value, some 70 bytes each; those that will come back first go first."""
CLOSE_SECONDS: Final = 3.0
"""How long the end of the program waits for what is being written."""

_UNREADABLE: Final = (AttributeError, TypeError, ValueError)


class Placements:
    """Keeps the stays of this process and those in the state alike."""

    def __init__(
        self, loads: Loads, opens: Callable[[], State], log: FilteringBoundLogger, now: Callable[[], float]
    ) -> None:
        """Take loads to keep alike; `opens` opens the state, raising `StateUnavailable`; `now` is in Unix seconds."""
        self._loads, self._opens, self._log, self._now = loads, opens, log, now
        self._state: State | None = None
        self._seen: bytes | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_down = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="placements")

    async def open(self) -> None:
        """Read what there is, before the first request, and go on exchanging until closed."""
        await self.exchange()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Write what has moved since, and let go of the state."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exchange(), CLOSE_SECONDS)
        if self._state is not None:
            self._thread.submit(self._state.close)
        await asyncio.to_thread(self._thread.shutdown)

    async def exchange(self) -> None:
        """Tell what moved here, and learn what moved elsewhere."""
        moved = self._loads.take_moved()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._exchanged, moved)
        except StateUnavailable as error:
            self._loads.give_back(moved)
            if not self._is_down:
                self._log.warning("state unavailable, moved conversations are not shared", reason=str(error))
            self._is_down = True
            return
        if self._is_down:
            self._log.info("state available again, moved conversations are shared")
        self._is_down = False
        self._loads.adopt(found)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.exchange()

    # ------------------------------------------------------------ in the thread

    def _exchanged(self, moved: Mapping[int, Stay]) -> dict[int, Stay]:
        """Add what moved to the shared value; return what is in it, nothing where that is known already."""
        if self._state is None:
            self._state = self._opens()
        now = self._now()

        def change(raw: bytes | None) -> bytes:
            return written({**self._understood(raw), **moved}, now)

        raw = self._state.update(KEY, change) if moved else self._state.get(KEY)
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
