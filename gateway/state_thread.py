"""A way to the state that never holds the event loop: a thread of one's own, and a log that is told once.

The state is opened when it is first needed. While it is down, whoever asks hears so (`StateUnavailable`) and goes on
without; the log has one line when it goes and one when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.state import State, StateUnavailable

CLOSE_SECONDS: Final = 3.0
"""How long the end of the program waits for what is being written."""

V = TypeVar("V")


class StateThread:
    """One user's way to the state."""

    def __init__(self, name: str, opens: Callable[[], State], log: FilteringBoundLogger, lost: str) -> None:
        """Take how the state is opened, raising `StateUnavailable`, and what is lost while it is down, in words."""
        self._opens, self._log, self._lost = opens, log, lost
        self._state: State | None = None
        self._is_down = False
        self._keeping: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[State], V]) -> V:
        """Do something with the state, in the thread. Raises `StateUnavailable`."""
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)
        except StateUnavailable as error:
            if not self._is_down:
                self._log.warning(f"state unavailable, {self._lost}", reason=str(error))
            self._is_down = True
            raise
        if self._is_down:
            self._log.info("state available again")
        self._is_down = False
        return done

    def repeat(self, exchange: Callable[[], Awaitable[None]], every_seconds: float) -> None:
        """Go on exchanging until closed, and once more then."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(every_seconds)
                await exchange()

        self._keeping = asyncio.get_running_loop().create_task(keep())
        self._keeping.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of a fault that ended the exchange: nobody waits for it."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._log.error(f"exchange through the state ended, {self._lost}", exc_info=fault)

    async def close(self, exchange: Callable[[], Awaitable[None]] | None = None) -> None:
        """Exchange for the last time, where that was repeated, and let go of the state."""
        if self._keeping is not None:
            self._keeping.cancel()
            if exchange is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(exchange(), CLOSE_SECONDS)
        if self._state is not None:
            self._thread.submit(self._state.close)
        await asyncio.to_thread(self._thread.shutdown)

    def _work(self, work: Callable[[State], V]) -> V:
        if self._state is None:
            self._state = self._opens()
        return work(self._state)
