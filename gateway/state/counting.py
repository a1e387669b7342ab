"""One process's way to the counters of limits: steps of many requests in one batch, in a thread of its own.

Whoever asks waits `state.counters_timeout` at most. Three errors in a row, and the counters are down: nobody waits
until they answer again. What was told while they were down, the truth of settled requests, is kept and told then. A
store that lost what it held is counted anew from the ledger, and live holds are taken anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from gateway.state import StateUnavailable
from gateway.state.counters import (
    AccountCharge,
    Begun,
    CounterStore,
    Granted,
    Hold,
    Holds,
    Look,
    Offer,
    Once,
    Recount,
    Renew,
    Result,
    Settle,
    Short,
    Step,
    TakeHold,
    TopUp,
)
from gateway.state.counting_owner import CountingOwner

HOLD_SECONDS: Final = 60.0
"""Seconds after which the holds of a process that died are gone."""
RENEW_SECONDS: Final = 15.0
MOST_ERRORS: Final = 3
BEGIN_SECONDS: Final = 15.0
"""Seconds that a process takes at most to begin: it may wait for another one that counts the ledger."""
LOOK_SECONDS: Final = 1.0
"""Seconds between looks at counters that are down."""
_MOST_AT_ONCE: Final = 64
_CLOSE_SECONDS: Final = 2.0

_Asked = tuple[Step, "asyncio.Future[Result] | None"]


class Recounted(NamedTuple):
    """The ledger's own figures."""

    amounts: Mapping[tuple[str, int], int]
    settled: Mapping[str, int]
    """The cost of those of the wanted requests whose end it holds."""


class Counting:
    """The counters, asked from an event loop. It begins when it is first needed."""

    def __init__(
        self,
        store: CounterStore,
        recount: Callable[[Collection[str]], Recounted],
        owner: CountingOwner,
        log: FilteringBoundLogger,
        now: Callable[[], float],
        timeout_seconds: float,
    ) -> None:
        """Take the store, and how the ledger is counted: both are used in the thread alone."""
        self._store, self._recount, self._process = store, recount, owner
        self._source, self._owner = owner.source, owner.name
        self._log, self._now, self._timeout = log, now, timeout_seconds
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: deque[tuple[float, asyncio.Future[Result]]] = deque()
        self._owed: list[Step] = []
        """Settlements that the store did not take yet. The thread's own."""
        self._holds: dict[str, Hold | None] = {}
        """By id: requests that are not settled in the store. None where no hold was granted yet."""
        self._counted: set[str] = set()
        """Those of them that a recount found in the ledger already."""
        self._errors = 0
        self._begun = asyncio.Event()
        self._begins_until = 0.0
        self._keeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Counting({'down' if self.is_down else 'up'}, {len(self._holds)} unsettled)"

    @property
    def is_down(self) -> bool:
        return self._errors >= MOST_ERRORS

    def open(self) -> None:
        """Begin, where nothing was counted yet: a gateway without limits has no thread for them."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._begins_until = self._loop.time() + BEGIN_SECONDS
        self._thread = Thread(target=self._run, name="counters", daemon=True)
        self._thread.start()
        self._keeping = self._loop.create_task(self._keep())

    async def begun(self) -> None:
        """Wait until the first count is over, or takes too long: before it nobody can be answered."""
        self.open()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), BEGIN_SECONDS)

    async def close(self) -> None:
        """Tell the rest, as far as it is taken soon."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)

    # ------------------------------------------------------------ asking

    async def take_hold(
        self, request_id: str, charges: Sequence[AccountCharge], offers: Sequence[Offer]
    ) -> Granted | Short:
        """Take a hold in all accounts or none. Raises `StateUnavailable`; what was taken all the same is let go."""
        self._holds[request_id] = None
        now = self._now()
        try:
            outcome = await self.ask(TakeHold(request_id, self._owner, charges, offers, now, now + HOLD_SECONDS))
        except BaseException:  # a caller that left may have been granted it all the same; the error goes on
            self.settle(request_id, charges, 0, 0)
            raise
        if isinstance(outcome, Granted):
            expected = offers[outcome.offer].expected
            self._holds[request_id] = Hold(request_id, self._owner, charges, expected, outcome.nanousd)
            return outcome
        self._holds.pop(request_id, None)
        assert isinstance(outcome, Short)
        return outcome

    async def top_up(self, request_id: str, charges: Sequence[AccountCharge], nanousd: int) -> Granted | Short:
        """Raise the hold of a request to an amount, or leave it as it is. Raises `StateUnavailable`."""
        now = self._now()
        outcome = await self.ask(TopUp(request_id, self._owner, charges, nanousd, now, now + HOLD_SECONDS))
        if isinstance(outcome, Granted):
            self._holds[request_id] = Hold(request_id, self._owner, charges, nanousd, nanousd)
            return outcome
        assert isinstance(outcome, Short)
        return outcome

    def settle(
        self, request_id: str, charges: Sequence[AccountCharge], nanousd: int, tokens: int, *, is_unheld: bool = False
    ) -> None:
        """Book the truth of a request once the ledger has it. Nobody waits for it."""
        self.open()
        self._holds.setdefault(request_id, None)
        self._queue.put((Settle(request_id, charges, nanousd, tokens, self._now(), is_unheld), None))

    def once(self, step: Once, happens: Callable[[], None]) -> None:
        """Have something happen if it is the first time in any process. Nobody waits for it."""
        self.open()
        assert self._loop is not None
        answer: asyncio.Future[Result] = self._loop.create_future()

        def told(answer: asyncio.Future[Result]) -> None:
            if not answer.cancelled() and answer.exception() is None and answer.result() is True:
                happens()

        answer.add_done_callback(told)
        self._queue.put((step._replace(now=self._now()), answer))

    async def ask(self, step: Step) -> Result:
        """Do a step. Raises `StateUnavailable`."""
        if self.is_down:
            raise StateUnavailable("the counters of limits are down")
        self.open()
        assert self._loop is not None
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._pending.append((self._loop.time() + self._timeout, answer))
        self._queue.put((step, answer))
        return await answer

    async def _keep(self) -> None:
        """Give up what takes too long, renew holds, and look at counters that are down."""
        assert self._loop is not None
        renewed = looked = self._loop.time()
        while True:
            await asyncio.sleep(min(self._timeout / 4, 0.25))
            now = self._loop.time()
            self._give_up(now)
            if now - renewed >= RENEW_SECONDS:
                renewed = now
                holds = [hold for hold in list(self._holds.values()) if hold is not None]
                moment = self._now()
                self._queue.put((Renew(holds, moment, moment + HOLD_SECONDS), None))
            if self._errors and now - looked >= LOOK_SECONDS:
                looked = now
                self._queue.put((Look((), self._now()), None))

    def _give_up(self, now: float) -> None:
        pending = self._pending
        if not self._begun.is_set() and now < self._begins_until:
            return
        while pending and (pending[0][1].done() or pending[0][0] <= now):
            _, answer = pending.popleft()
            if not answer.done():
                self._failed(f"no answer within {self._timeout:g} s")
                answer.set_exception(StateUnavailable(f"the counters of limits: no answer within {self._timeout:g} s"))

    def _failed(self, reason: str) -> None:
        self._errors += 1
        if self._errors == MOST_ERRORS:
            self._log.error("counters of limits are down", reason=reason)

    def _well(self) -> None:
        if self.is_down:
            self._log.info("counters of limits are up again")
        self._errors = 0

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        is_over = False
        with contextlib.suppress(StateUnavailable):  # told by the first step that asks
            self._begin()
        self._tell(self._note_begun)
        while not is_over:
            batch: list[_Asked] = []
            asked = self._queue.get()
            while asked is not None and len(batch) < _MOST_AT_ONCE:
                batch.append(asked)
                try:
                    asked = self._queue.get_nowait()
                except Empty:
                    break
            else:
                is_over = asked is None
                if asked is not None:
                    batch.append(asked)
            self._do(batch)
        with contextlib.suppress(StateUnavailable):
            self._store.close()

    def _begin(self) -> None:
        """Count the ledger where no other process of it is alive; else settle for those that died."""
        is_alone = self._process.is_alone()
        try:
            [held] = self._store.run([Holds()], self._source)
            holds = held if isinstance(held, list) else []
            left = [hold for hold in holds if not self._process.is_alive(hold.owner)]
            if is_alone or left:
                found = self._recount({hold.id for hold in left})
                now = self._now()
                ends = [Settle(hold.id, hold.charges, found.settled.get(hold.id, 0), 0, now) for hold in left]
                counted = [Recount(found.amounts)] if is_alone else []
                self._store.run([*ends, *counted], self._source)
        finally:
            self._process.share()  # else those that begin beside it would wait for as long as it lives

    def _do(self, batch: Sequence[_Asked]) -> None:
        """Do a batch, what is owed before it."""
        work: list[_Asked] = [(step, None) for step in self._owed] + [
            (step, answer) for step, answer in batch if answer is None or not answer.cancelled()
        ]
        self._owed = []
        if not work:
            return
        try:
            results = self._results([step for step, _ in work])
        except StateUnavailable as error:
            self._owed = [step for step, answer in work if answer is None and isinstance(step, Settle)]
            self._tell(partial(self._answer_all, [answer for _, answer in work if answer is not None], error))
            return
        for step, _ in work:
            if isinstance(step, Settle):
                self._holds.pop(step.id, None)
        self._tell(partial(self._answer, [answer for _, answer in work], results))

    def _tell(self, tell: Callable[[], None]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(tell)

    def _results(self, steps: Sequence[Step]) -> list[Result]:
        results = self._store.run(self._without_counted(steps), self._source)
        if any(isinstance(result, Begun) for result in results):
            waiting = [index for index, result in enumerate(results) if isinstance(result, Begun)]
            self._count([steps[index] for index in waiting])
            again = self._store.run(self._without_counted([steps[index] for index in waiting]), self._source)
            for index, result in zip(waiting, again, strict=True):
                results[index] = result
        return results

    def _without_counted(self, steps: Sequence[Step]) -> list[Step]:
        """Book nothing for requests that a recount took from the ledger: it is in the sum."""
        if not self._counted:
            return list(steps)
        return [
            step._replace(nanousd=0) if isinstance(step, Settle) and step.id in self._counted else step
            for step in steps
        ]

    def _count(self, steps: Sequence[Step]) -> None:
        """Count the ledger into a store that knows nothing of it, and take the live holds anew."""
        holds = dict(self._holds)
        wanted = holds.keys() | {step.id for step in steps if isinstance(step, Settle)}
        found = self._recount(wanted)
        self._counted = set(found.settled)
        now = self._now()
        live = [hold for hold in holds.values() if hold is not None and hold.id not in self._counted]
        self._store.run([Recount(found.amounts), Renew(live, now, now + HOLD_SECONDS)], self._source)

    # ------------------------------------------------------------ in the loop

    def _answer(self, answers: Sequence[asyncio.Future[Result] | None], results: Sequence[Result]) -> None:
        self._well()
        for answer, result in zip(answers, results, strict=True):
            if answer is None or answer.done():
                continue
            if isinstance(result, Begun):
                answer.set_exception(StateUnavailable("the counters of limits were lost a moment ago"))
            else:
                answer.set_result(result)
        self._give_up(0.0)

    def _note_begun(self) -> None:
        """Let those that asked before it wait as long as others do, from now on."""
        self._begun.set()
        assert self._loop is not None
        until = self._loop.time() + self._timeout
        self._pending = deque([(max(deadline, until), answer) for deadline, answer in self._pending])

    def _answer_all(self, answers: Sequence[asyncio.Future[Result]], error: StateUnavailable) -> None:
        self._failed(str(error))
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)
