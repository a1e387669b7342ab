"""The threads that read and plan long requests, shared fairly between keys (turns.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gateway.serving.large.turns import Schedule, Waits

THREADS: Final = 3
"""Requests that are planned at once in a process. They share one interpreter, so more are no faster."""
MOST_OF_ONE: Final = 2
"""Of one key: two, so that a request made to be slow does not hold up all its others; one is left for other keys."""


@dataclass(slots=True, eq=False)
class _Task(Waits):
    work: Callable[[], Any] = field(kw_only=True)
    result: Future[Any] = field(kw_only=True)


class FairThreads:
    """Threads that work for whose turn it is."""

    def __init__(self, threads: int = THREADS, most_of_one: int = MOST_OF_ONE) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="planning")
        self._lock = threading.Lock()
        self._schedule: Schedule[_Task] = Schedule(threads, most_of_one)

    def of(self, key: str, size: int) -> Executor:
        """Return an executor for one request of a key, with a body of so many bytes."""
        return _Share(self, key, size)

    def submit(self, key: str, size: int, work: Callable[[], Any]) -> Future[Any]:
        task = _Task(key, size, work=work, result=Future())
        with self._lock:
            self._schedule.waiting.append(task)
        self._give()
        return task.result

    def shutdown(self) -> None:
        """Give up what waits; what is under way comes to its end."""
        with self._lock:
            waiting, self._schedule.waiting = self._schedule.waiting, []
        for task in waiting:
            task.result.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _give(self) -> None:
        while True:
            with self._lock:
                self._schedule.waiting = [one for one in self._schedule.waiting if not one.result.cancelled()]
                task = self._schedule.start()
            if task is None:
                return
            if task.result.set_running_or_notify_cancel():
                self._pool.submit(task.work).add_done_callback(partial(self._done, task))
            else:
                self._leave(task)

    def _done(self, task: _Task, done: Future[Any]) -> None:
        self._leave(task)
        if done.cancelled():
            task.result.set_exception(CancelledError())
        elif (error := done.exception()) is not None:
            task.result.set_exception(error)
        else:
            task.result.set_result(done.result())
        self._give()

    def _leave(self, task: _Task) -> None:
        with self._lock:
            self._schedule.end(task.key)


class _Share(Executor):
    """The threads, as one request has them."""

    def __init__(self, threads: FairThreads, key: str, size: int) -> None:
        self._threads, self._key, self._size = threads, key, size

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        return self._threads.submit(self._key, self._size, lambda: fn(*args, **named))
