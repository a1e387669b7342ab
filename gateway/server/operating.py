"""The operator's ways to a program that serves: signals, the control socket, changed files, and the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import structlog
from structlog.typing import FilteringBoundLogger

from gateway.config import Config
from gateway.server.control import controlled
from gateway.server.notify import ServiceManager
from gateway.server.reloads import NotReloaded, Reloaded, Reloads

SERVING = "serving"


@dataclass(slots=True)
class Stopping:
    """The wish to stop: expressed once, an answer under way may end; a second time, it may not."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, number: signal.Signals) -> None:
        """Take a signal. After the second SIGINT the next one ends the process as it stands."""
        ServiceManager().stopping()
        if self.asked.is_set() and number == signal.SIGINT:
            self.hurried.set()
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        self.asked.set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until there is a hurry."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.hurried.wait(), seconds)


@contextlib.asynccontextmanager
async def operated(
    reloads: Reloads, port: int, log: FilteringBoundLogger, serving: asyncio.Event
) -> AsyncIterator[Stopping]:
    """Let the operator in until the end of the block; `serving` is set once requests are taken."""
    stopping, manager, loop = Stopping(), ServiceManager(), asyncio.get_running_loop()
    running: set[asyncio.Task[object]] = set()

    async def reload() -> Reloaded | NotReloaded:
        manager.reloading()
        result = await reloads.reload()
        manager.ready(SERVING if isinstance(result, Reloaded) else "serving, the newest configuration was refused")
        return result

    def begin(work: Coroutine[None, None, object]) -> None:
        task = loop.create_task(work)
        running.add(task)
        task.add_done_callback(running.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.ask, number)
    loop.add_signal_handler(signal.SIGHUP, lambda: begin(reload()))

    async def tell_ready() -> None:
        await serving.wait()
        manager.ready(SERVING)

    begin(tell_ready())
    begin(manager.feed_watchdog())
    if reloads.config.watch:
        begin(_watch(lambda: reloads.config, reload))
    try:
        async with controlled(reloads.config.control, port, reload, log):
            yield stopping
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _watch(config: Callable[[], Config], reload: Callable[[], Awaitable[object]]) -> None:
    from gateway.server.watching import changes  # noqa: PLC0415  # loaded where it is asked for

    structlog.get_logger("gateway").info("the configuration is watched", file=str(config().file))
    async for _ in changes(config):
        await reload()
