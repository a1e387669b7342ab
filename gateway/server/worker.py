"""One of several processes: it serves what the process that keeps it hands over, and does what it is told.

`python -m gateway.server.worker LINE PORT`, with the numbers of two open sockets. It ends when the line does: a keeper
that was killed leaves no workers behind.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import socket
import sys

import uvloop

from gateway.app import create_app
from gateway.operators import logs
from gateway.operators.instance import InstanceState
from gateway.providers.credentials import every
from gateway.server.change import Change
from gateway.server.messages import (
    Adopt,
    Adopted,
    Begin,
    Cut,
    Drain,
    EndAsked,
    Loaded,
    Message,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Serving,
    Stop,
    WorkerLine,
)
from gateway.server.process import calm_interpreter
from gateway.server.service import Service

_LOOK_SECONDS = 0.1
"""Seconds between two looks at whether all is loaded that a configuration needs."""


class ServingWorker:
    """A worker, from its first message to its end."""

    def __init__(self, line: WorkerLine, begin: Begin, port: socket.socket) -> None:
        self._line, self._config, self._state = line, begin.config, begin.state
        self._app = create_app(begin.config, begin.name)
        self._app.instance = lambda: self._state
        self._change = Change(self._app)
        self._service = Service(self._app, begin.config.server, port)
        self._hurried = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until told to stop. Raises SystemExit where the application cannot start."""
        await self._service.open()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._line.tell, EndAsked())
        self._line.tell(Serving())
        self._look_at_loading()
        listening = asyncio.create_task(self._listen())
        await listening
        await asyncio.gather(*self._work)
        self._line.close()

    async def _listen(self) -> None:
        """Do what comes over the line, up to the end of it or of the stop."""
        while (message := await self._line.heard()) is not None:
            if isinstance(message, Stop):
                await self._stop(message.grace)
                return
            self._do(message)
        self._hurried.clear()
        await self._service.stop(self._config.grace, self._hurried)

    async def _stop(self, grace: float) -> None:
        stopping = asyncio.create_task(self._service.stop(grace, self._hurried))
        hearing = asyncio.create_task(self._hear_of_hurry())
        await stopping
        hearing.cancel()

    async def _hear_of_hurry(self) -> None:
        while (message := await self._line.heard()) is not None:
            if isinstance(message, Cut):
                self._hurried.set()
            elif isinstance(message, Ping):
                self._line.tell(Pong())

    def _do(self, message: Message) -> None:
        match message:
            case InstanceState():
                self._state = message
            case Ping():
                self._line.tell(Pong())
            case Prepare():
                work = asyncio.create_task(self._prepare(message))
                self._work.add(work)
                work.add_done_callback(self._work.discard)
            case Adopt(number):
                self._change.adopt()
                self._look_at_loading()
                self._line.tell(Adopted(number))
            case Drain():
                self._service.drain()

    async def _prepare(self, message: Prepare) -> None:
        self._line.tell(Prepared(message.number, await self._change.prepare(message.config)))

    def _look_at_loading(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        self._loading = asyncio.create_task(self._tell_loading())

    async def _tell_loading(self) -> None:
        """Tell whether all is loaded, until it is."""
        is_loaded = self._app.is_loaded
        self._line.tell(Loaded(is_loaded))
        while not is_loaded:
            await asyncio.sleep(_LOOK_SECONDS)
            if is_loaded := self._app.is_loaded:
                self._line.tell(Loaded(is_loaded))


async def _serve(line: socket.socket, port: socket.socket) -> None:
    """Serve over a port what the first message on a line says."""
    spoken = await WorkerLine.over(line)
    begin = await spoken.heard()
    if isinstance(begin, Begin):
        atexit.register(logs.configure(hidden=every(begin.config)).flush)
        await ServingWorker(spoken, begin, port).run()


def _main(line: int, port: int) -> None:
    """Serve over two open sockets."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the keeper's to handle
    calm_interpreter()
    logs.configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(socket.socket(fileno=line), socket.socket(fileno=port)))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
