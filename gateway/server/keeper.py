"""The process that keeps the workers of one program: reads the configuration for all, replaces the dead, ends them all.

It serves nothing itself, and loads nothing of what serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import structlog

from gateway.config import Config
from gateway.money.ledger import worker_name
from gateway.operators import logs
from gateway.operators.instance import InstanceState
from gateway.providers.credentials import every
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
    Prepare,
    Prepared,
    Serving,
    Stop,
    WorkerLine,
)
from gateway.server.operating import Stopping, operated
from gateway.server.process import LIVED_SECONDS, Death, death_of, pause_before
from gateway.server.reloads import Around, Reloads

COULD_NOT_START: Final = 3
"""The exit code where no worker ever served."""
PREPARE_SECONDS: Final = 60.0
ADOPT_SECONDS: Final = 10.0
"""Seconds after which a worker that does not change its configuration is ended: a key may have been revoked."""
PING_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 30.0
"""Seconds without a word after which a worker is taken to hang, and is ended."""
LATE_SECONDS: Final = 10.0
"""Seconds that workers have beyond the time for a stop, to write their entries."""
_LOOK_SECONDS: Final = 0.1
_END_SECONDS: Final = 5.0
"""Seconds between the end of a worker's line and its own."""


class KeptWorker:
    """A worker, as the keeper sees it."""

    def __init__(self, process: subprocess.Popen[bytes], line: WorkerLine, slot: int) -> None:
        self.process, self.line, self.slot = process, line, slot
        self.born = self.heard = time.monotonic()
        self.is_serving = self.is_loaded = self.is_leaving = False
        self.answers: dict[tuple[type[Message], int], asyncio.Future[str | None]] = {}
        """The answers that are waited for, by their kind and number."""

    def ask(self, message: Message, answer: type[Message], number: int) -> asyncio.Future[str | None]:
        """Send a message, and return where its answer will be."""
        future = self.answers[answer, number] = asyncio.get_running_loop().create_future()
        self.line.tell(message)
        return future

    def settle(self, answer: type[Message], number: int, said: str | None) -> None:
        future = self.answers.pop((answer, number), None)
        if future is not None and not future.done():
            future.set_result(said)

    def over(self) -> None:
        """Let nobody wait for a worker that is gone: another takes its place, with what was decided."""
        for future in self.answers.values():
            if not future.done():
                future.set_result(None)

    def kill(self) -> None:
        """End it now. Its end is seen in `Keeper._attend` alone, which asks the system what it cost."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)


class Keeper:
    """The workers of one program, and what befalls them."""

    def __init__(self, config: Config, port: socket.socket, around: Around) -> None:
        self._port, self._around = port, around
        self._log = structlog.get_logger("gateway")
        self._reloads = Reloads(config, around, self._prepare, self._adopt, self._log, self._tell_state)
        self._workers: list[KeptWorker] = []
        self._attending: set[asyncio.Task[None]] = set()
        self._deaths: dict[int, int] = {}
        """By slot: how many workers died there in a row without serving well."""
        self._restarts = self._number = 0
        self._state = InstanceState(self._reloads.digest, config.server.workers)
        self._stopping: Stopping | None = None
        self._has_served = asyncio.Event()
        self._has_failed = asyncio.Event()
        """No worker ever served, and one ended."""

    async def run(self) -> int:
        """Keep workers until asked to stop; returns the exit code."""
        for slot in range(self._reloads.config.server.workers):
            await self._begin(slot)
        pinging = asyncio.create_task(self._ping())
        try:
            async with operated(self._reloads, self._port.getsockname()[1], self._log, self._has_served) as stopping:
                self._stopping = stopping
                await _first_of(self._has_served, self._has_failed, stopping.asked)
                if self._has_failed.is_set():
                    stopping.asked.set()
                    return COULD_NOT_START
                if self._has_served.is_set():
                    self._around.started()
                await stopping.asked.wait()
                await self._stop(stopping)
        finally:
            pinging.cancel()
            for worker in self._workers:
                worker.kill()
            await asyncio.gather(*self._attending)
        return 0

    # ------------------------------------------------------------ workers

    async def _begin(self, slot: int) -> None:
        """Start a worker, with the configuration that holds now."""
        ours, theirs = socket.socketpair()
        with theirs:
            numbers = [theirs.fileno(), self._port.fileno()]
            path = os.pathsep.join(one for one in sys.path if one)
            process = subprocess.Popen(  # noqa: ASYNC220, S603  # this program; it takes a few milliseconds
                [sys.executable, "-m", "gateway.server.worker", *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # the Ctrl-C at a terminal is the keeper's to handle
            )
        ours.setblocking(False)
        worker = KeptWorker(process, await WorkerLine.over(ours), slot)
        name = worker_name(os.uname().nodename, process.pid)
        worker.line.tell(Begin(self._reloads.config, name, self._state))
        self._workers.append(worker)
        task = asyncio.create_task(self._attend(worker))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)

    async def _attend(self, worker: KeptWorker) -> None:
        """Hear a worker to its end, and replace it where that came unasked."""
        while (message := await worker.line.heard()) is not None:
            worker.heard = time.monotonic()
            self._take(worker, message)
        impatient = asyncio.get_running_loop().call_later(_END_SECONDS, worker.kill)
        _, status, usage = await asyncio.to_thread(os.wait4, worker.process.pid, 0)
        impatient.cancel()
        worker.process.returncode = os.waitstatus_to_exitcode(status)
        worker.line.close()
        self._workers.remove(worker)
        worker.over()
        self._tell_state()
        if self._is_stopping:
            return
        if not worker.is_leaving or worker.process.returncode:
            lived = time.monotonic() - worker.born
            if not self._mourn(worker, death_of(status, usage.ru_maxrss, lived)):
                return
            await asyncio.sleep(pause_before(self._deaths[worker.slot]))
        async with self._reloads.lock:  # whoever is born during a reload would know of neither configuration
            if not self._is_stopping:
                await self._begin(worker.slot)

    def _mourn(self, worker: KeptWorker, death: Death) -> bool:
        """Say how a worker died; returns whether it is replaced."""
        well = death.lived_seconds >= LIVED_SECONDS
        deaths = self._deaths[worker.slot] = 1 if well else self._deaths.get(worker.slot, 0) + 1
        self._restarts += 1
        self._around.died()
        self._log.error(
            "worker died",
            by=death.by,
            pid=worker.process.pid,
            memory_mb=round(death.most_memory / 1e6),
            served_seconds=round(death.lived_seconds, 1),
            restarts=self._restarts,
            replaced_in_seconds=pause_before(deaths),
        )
        self._tell_state()
        if not self._has_served.is_set() and death.signal is None:
            self._has_failed.set()
        return self._has_served.is_set() or death.signal is not None

    def _take(self, worker: KeptWorker, message: Message) -> None:
        match message:
            case Serving():
                worker.is_serving = True
                self._has_served.set()
                self._tell_state()
            case Loaded(is_loaded):
                worker.is_loaded = is_loaded
                self._tell_state()
            case Prepared(number, problem):
                worker.settle(Prepared, number, problem)
            case Adopted(number):
                worker.settle(Adopted, number, "adopted")
            case EndAsked():
                asyncio.get_running_loop().call_later(_END_SECONDS / 10, self._let_leave, worker)

    def _let_leave(self, worker: KeptWorker) -> None:
        """Let a worker end that somebody sent a signal: finish its answers, and be replaced."""
        if not (self._is_stopping or worker.is_leaving):
            worker.is_leaving, worker.is_serving = True, False
            self._tell_state()
            self._log.info("worker ends as asked by a signal, and is replaced", pid=worker.process.pid)
            worker.line.tell(Drain())
            worker.line.tell(Stop(self._reloads.config.grace))

    async def _ping(self) -> None:
        """End workers that hang."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            for worker in self._workers:
                if time.monotonic() - worker.heard > SILENT_SECONDS:
                    self._log.error("worker hangs, and is ended", pid=worker.process.pid, silent_seconds=SILENT_SECONDS)
                    worker.kill()
                worker.line.tell(Ping())

    @property
    def _is_stopping(self) -> bool:
        return self._stopping is not None and self._stopping.asked.is_set()

    def _tell_state(self) -> None:
        """Tell every worker the state of all of them, where it has changed."""
        state = InstanceState(
            digest=self._reloads.digest,
            workers=self._state.workers,
            serving=sum(worker.is_serving for worker in self._workers),
            loaded=sum(worker.is_serving and worker.is_loaded for worker in self._workers),
            is_draining=self._is_stopping,
            refusal=self._reloads.refusal,
        )
        if state != self._state:
            self._state = state
            for worker in self._workers:
                worker.line.tell(state)

    # ------------------------------------------------------------ reload

    def _staying(self) -> list[KeptWorker]:
        return [worker for worker in self._workers if not worker.is_leaving]

    async def _prepare(self, config: Config) -> Sequence[str]:
        """Have every worker build what a configuration asks for; returns why one cannot."""
        self._number += 1
        number, workers = self._number, self._staying()
        asked = [worker.ask(Prepare(number, config), Prepared, number) for worker in workers]
        if not asked:
            return []
        done, late = await asyncio.wait(asked, timeout=PREPARE_SECONDS)
        problems = [problem for one in done if (problem := one.result()) is not None]
        return [*problems, *[f"a worker did not build it within {PREPARE_SECONDS:g} seconds"] * bool(late)]

    async def _adopt(self, config: Config) -> int:
        """Have every worker serve under what it has built; one that does not is ended, and replaced by one that does.

        Returns how many serve under it.
        """
        logs.hide(every(config))
        number, workers = self._number, self._staying()
        asked = {worker.ask(Adopt(number), Adopted, number): worker for worker in workers}
        if not asked:
            return 0
        done, late = await asyncio.wait(asked, timeout=ADOPT_SECONDS)
        for one in late:
            worker = asked[one]
            self._log.error("worker did not change its configuration, and is ended", pid=worker.process.pid)
            worker.kill()
        return sum(one.result() is not None for one in done)

    # ------------------------------------------------------------ stop

    async def _stop(self, stopping: Stopping) -> None:
        """Have load balancers look away, then close the port in all workers at once, and let answers end."""
        grace, config = self._reloads.config.grace, self._reloads.config
        self._tell_state()
        self._tell_all(Drain())
        await stopping.pause(config.server.drain)
        self._port.close()
        self._tell_all(Stop(grace))
        until = asyncio.get_running_loop().time() + grace
        while self._attending and not stopping.hurried.is_set() and asyncio.get_running_loop().time() < until:
            await asyncio.wait(self._attending, timeout=_LOOK_SECONDS)
        if self._attending:
            self._tell_all(Cut())
            await asyncio.wait(self._attending, timeout=LATE_SECONDS)

    def _tell_all(self, message: Message) -> None:
        for worker in self._workers:
            worker.line.tell(message)


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
