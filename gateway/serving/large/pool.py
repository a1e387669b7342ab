"""The processes that read and plan large requests for one worker: started when first needed, replaced when they die.

The worker asks in threads that only wait; it does all input and output, and decides all that depends on more than the
request: where the plan looks up what is known of summaries, the process asks back.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.budget.components import texts
from gateway.memory import Memory
from gateway.request import Request
from gateway.rewriting.folds.summarize import SummaryFacts
from gateway.rewriting.plan import Plan, Refusal
from gateway.serving.fit import LARGE_BODY, Form
from gateway.serving.large import frames
from gateway.serving.large.questions import MOST_KEPT, Counts, Forget, Planned, Read, error_of, with_edits
from gateway.serving.large.turns import LargeBodyRoom, Place, Turns
from gateway.wire import errors
from gateway.wire.shape import CHAT, Shape

PROCESSES: Final = 2
"""Requests that are read and planned at once, of two keys: the second is there so that a request made to be slow does
not hold up those of others."""
MOST_IDLE_BYTES: Final = 320 * 2**20
"""A process that holds more after its work is ended: the next one begins small."""
SILENT_SECONDS: Final = 600.0
"""Seconds that a process may say nothing: it ends itself long before, unless the system does not let it run."""
ROOM_OF_LARGEST: Final = 2
"""Bodies of the largest size that there is room for at the door: one of each of two keys, as there are processes."""
WAIT_SECONDS: Final = 20.0
"""Seconds that a body waits for room: fewer than clients commonly wait for an answer."""
TRIES: Final = 2


class Died(Exception):
    """A process ended in the middle of an answer; `signal` is what ended it."""

    def __init__(self, by: int) -> None:
        super().__init__(f"ended by signal {by}")
        self.by = by


class Helper:
    """One process, as the worker sees it. Blocks: used in threads, by one request at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            path = os.pathsep.join(one for one in sys.path if one)
            self.process = subprocess.Popen(  # noqa: S603  # this program
                [sys.executable, "-m", "gateway.serving.large.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # the Ctrl-C at a terminal is the worker's to handle
            )
        ours.settimeout(SILENT_SECONDS)
        self.line = ours
        self.holds: set[int] = set()

    def ask(self, question: Any, body: bytes, known: Callable[[Any], Any]) -> list[Any]:
        """Ask a question, and return the values of its answer. Raises GatewayError, and Died."""
        answer: list[Any] = []
        try:
            frames.send(self.line, frames.VALUE, question)
            lacks_body = frames.receive(self.line)[1]
            if lacks_body:
                frames.send(self.line, frames.BYTES, body)
            if lacks_body and len(self.holds) >= MOST_KEPT:  # the process gave one up that nobody had it forget
                self.holds.remove(min(self.holds))
            self.holds.add(question.body)
            while True:
                kind, value = frames.receive(self.line)
                if kind == frames.ASKED:
                    frames.send(self.line, frames.VALUE, known(value))
                elif kind == frames.FAULT:
                    raise error_of(value)
                elif kind == frames.END:
                    return answer
                else:
                    answer.append(value)
        except frames.Ended:
            self.end()
            raise Died(-self.process.returncode) from None

    def forget(self, body: int) -> None:
        """Have it forget a body."""
        if body in self.holds:
            self.holds.discard(body)
            try:
                frames.send(self.line, frames.VALUE, Forget(body))
            except frames.Ended:
                self.end()

    @property
    def is_fit(self) -> bool:
        """Whether it lives, and is small enough to go on."""
        return self.process.poll() is None and resident_bytes(self.process.pid) <= MOST_IDLE_BYTES

    def end(self) -> None:
        """End it now, whatever it does."""
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_RDWR)
        self.line.close()
        self.process.kill()
        self.process.wait()


def resident_bytes(pid: int) -> int:
    """Return the memory of a process; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


class LargeBodies:
    """One worker's processes, and the turns at them."""

    def __init__(self, log: FilteringBoundLogger, largest: int) -> None:
        """Take the largest body that is received."""
        self._log = log
        self._turns = Turns(PROCESSES, 1)
        self.idle: list[Helper] = []
        """Processes that nobody asks now."""
        self._all: set[Helper] = set()
        # As many wait for processes as there are; what is done with an answer never waits for these.
        self._threads = ThreadPoolExecutor(2 * PROCESSES, thread_name_prefix="large")
        self._numbers = itertools.count()
        self._in_use: set[int] = set()
        """Numbers of bodies that something may still be asked about."""
        self.door = LargeBodyRoom(ROOM_OF_LARGEST * largest, largest, WAIT_SECONDS)

    @property
    def processes(self) -> list[int]:
        """List the processes that live."""
        return [one.process.pid for one in self._all]

    def number(self) -> int:
        """Return the number of another body."""
        number = next(self._numbers)
        self._in_use.add(number)
        return number

    def place(self, key: str) -> Place:
        """Return the room that a request of this key has, where it needs any."""
        return Place(self.door, key, LARGE_BODY)

    async def read(self, body: bytes, key: str, shape: Shape = CHAT) -> tuple[Request, Desk]:
        """Read a body; the desk plans for it. Raises GatewayError, as `shape.read` does."""
        desk = Desk(self, key, body, self.number())
        try:
            bare, numbers, *pieces = await self.ask(desk, Read(desk.number, shape.name))
        except BaseException:
            desk.forget()
            raise

        def whole() -> Request:
            return shape.put_together(bare, body, numbers, [one for piece in pieces for one in piece])

        return await self.run(whole), desk

    async def run(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def ask(self, desk: Desk, question: Any, known: Callable[[Any], Any] = lambda _: None) -> list[Any]:
        """Have a question answered when it is this key's turn; once more where a process dies. Raises GatewayError."""
        async with self._turns.turn(desk.key, len(desk.body)):
            for _ in range(TRIES):
                helper = self._lease(desk.number) or await self._another()
                try:
                    answer: list[Any] = await self.run(partial(helper.ask, question, desk.body, known))
                except errors.GatewayError:
                    self._in_use.discard(desk.number)
                    self._back(helper)
                    raise
                except Died as error:
                    self._all.discard(helper)
                    if error.by == signal.SIGXCPU:
                        break
                    self._log.error("process for large requests died", by=error.by)
                except asyncio.CancelledError:
                    self._end(helper)
                    raise
                else:
                    self._back(helper)
                    return answer
            raise errors.too_much_work()

    def _lease(self, number: int) -> Helper | None:
        """Take a process that has nothing to do, the one that holds this body if there is one."""
        found = next((one for one in self.idle if number in one.holds), None) or next(iter(self.idle), None)
        if found is not None:
            self.idle.remove(found)
        return found

    async def _another(self) -> Helper:
        """Start a process; one whose request leaves meanwhile is there for the next."""
        starting = asyncio.ensure_future(self.run(self._started))
        try:
            started: Helper = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._unclaimed)
            raise
        return started

    def _started(self) -> Helper:
        helper = Helper()
        self._all.add(helper)
        return helper

    def _unclaimed(self, started: asyncio.Future[Helper]) -> None:
        if not started.cancelled() and started.exception() is None:
            self.idle.append(started.result())

    def _back(self, helper: Helper) -> None:
        """Take a process back, and have it forget the bodies that nothing more is asked about."""
        for number in helper.holds - self._in_use:
            helper.forget(number)
        if helper.holds or helper.is_fit:
            self.idle.append(helper)
        else:
            self._end(helper)

    def _end(self, helper: Helper) -> None:
        """End a process; a thread waits until its memory is free."""
        self._all.discard(helper)
        helper.process.kill()
        self._threads.submit(helper.end)

    def forget(self, number: int) -> None:
        """Have a body forgotten that nothing more is asked about; a process at work forgets it when it is back."""
        self._in_use.discard(number)
        for helper in [one for one in self.idle if number in one.holds]:
            self.idle.remove(helper)
            self._back(helper)

    def close(self) -> None:
        """End the processes."""
        for helper in list(self._all):
            helper.end()
        self._all.clear()
        self.idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)


class Desk:
    """The process that plans one large request, for as long as its worker has questions about it."""

    def __init__(self, pool: LargeBodies, key: str, body: bytes, number: int) -> None:
        self.pool, self.key, self.body, self.number = pool, key, body, number

    async def planned(self, form: Form, facts: SummaryFacts | None, early: frozenset[int]) -> Plan | Refusal:
        """Plan a request as `form.planned` does, and learn what was counted."""
        if form.request.body is not self.body:  # with fewer tools, it is another one
            self.forget()
            self.body, self.number = form.request.body, self.pool.number()
        question = Planned(
            self.number,
            form.request.answer_limit,
            replace(form.policy, profiles=()),
            form.window,
            form.model.legal,
            form.model.count_media,
            form.model.encoding,
            form.moved is not None,
            early,
            None if facts is None else facts.model,
            form.request.shape,
        )

        def known(lookup: Any) -> Any:
            assert facts is not None
            return (facts.decisions if lookup.decision else facts.texts).get(lookup.key)

        counts, bare, *pieces = await self.pool.ask(self, question, known)

        def taken() -> Plan | Refusal:
            _learn(form, counts)
            return with_edits(bare, [edit for piece in pieces for edit in piece])

        found: Plan | Refusal = await self.pool.run(taken)
        return found

    def forget(self) -> None:
        """Let the process have its memory back."""
        self.pool.forget(self.number)


def _learn(form: Form, counts: Counts) -> None:
    """Remember what a process counted, so that nobody here counts it again."""
    if not counts.tokens:
        return
    asked = texts(form.request.conversation, Memory(0))
    form.plain.remember(asked, counts.tokens)
    if counts.weighed is not None:
        form.counter.remember(asked, counts.weighed)
