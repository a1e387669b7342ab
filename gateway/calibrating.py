"""Learning each provider's count from its answers, together with every worker and machine that shares the state.

What is used to plan is only ever what the shared state held when it was last read or written, so that all plan alike:
an answer changes nothing here before it is merged there. That happens in a thread, after the request. A state that is
down or holds nonsense costs nothing but the learning: what was known is kept, else the defaults, and answers wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.budget.calibration import EXACT, FORMAT, Calibration, Stats, observe, start, strictest, teaches
from gateway.budget.kinds import Kinds
from gateway.fitting import Model
from gateway.routing.deployment import ModelFacts
from gateway.state import State, StateUnavailable

Answer = tuple[Kinds, int]
"""Our count of what was sent, by kind of text, and the provider's."""

MOST_WAITING: Final = 500
"""Answers of one model that are kept while the state is down; the oldest go first."""
CLOSE_SECONDS: Final = 3.0
"""How long the end of the program waits for answers that are being merged."""

_UNREADABLE: Final = (KeyError, TypeError, ValueError, OverflowError)


class Calibrations:
    """What is published of each model without a public tokenizer. The state is not touched where there is none."""

    def __init__(self, models: Iterable[Model], opens: Callable[[], State], log: FilteringBoundLogger) -> None:
        """Take the models that answers will come from; `opens` opens the state, raising `StateUnavailable`."""
        inexact = (d.facts for model in models for d in model.deployments if not d.facts.exact)
        self._keys = sorted({_key(facts) for facts in inexact})
        self._opens, self._log = opens, log
        self._state: State | None = None
        self._held: dict[str, Stats] = {}
        self._waiting: dict[str, deque[Answer]] = {}
        self._merging: asyncio.Task[None] | None = None
        self._is_down = False
        self._unreadable: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")

    def of(self, model: Model) -> Calibration:
        """Return what holds for every deployment of a model: of several, the one that leaves the least room."""
        if model.exact:
            return EXACT
        published = [
            EXACT if one.facts.exact else self._stats(_key(one.facts)).calibration for one in model.deployments
        ]
        return strictest(published)

    def observe(self, facts: ModelFacts, ours: Kinds, reported: int) -> None:
        """Take in an answer: our own count of what was sent, and the provider's. Returns at once."""
        key, sample = _key(facts), (ours, reported)
        held = self._stats(key)
        if not teaches(held, *sample):
            return
        self._waiting.setdefault(key, deque(maxlen=MOST_WAITING)).append(sample)
        if self._merging is None or self._merging.done():
            self._merging = asyncio.get_running_loop().create_task(self._merge())

    async def load(self) -> None:
        """Read what is published, before the first request."""
        if not self._keys:
            return
        loop = asyncio.get_running_loop()
        try:
            for key in self._keys:
                self._held[key] = await loop.run_in_executor(self._thread, self._read, key)
        except StateUnavailable as error:
            self._tell_unavailable(error)

    async def close(self) -> None:
        """Merge what is on its way, and let go of the state."""
        if self._merging is not None:
            await asyncio.wait({self._merging}, timeout=CLOSE_SECONDS)
            self._merging.cancel()
        if self._state is not None:
            self._thread.submit(self._state.close)
        await asyncio.to_thread(self._thread.shutdown)

    def _stats(self, key: str) -> Stats:
        return self._held.get(key) or start(exact=False)

    async def _merge(self) -> None:
        """Merge all that waits, one model after the other; what arrives meanwhile comes along."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            key, samples = self._waiting.popitem()
            try:
                self._held[key] = await loop.run_in_executor(self._thread, self._merged, key, samples)
            except StateUnavailable as error:
                samples.extend(self._waiting.get(key, ()))
                self._waiting[key] = samples
                self._tell_unavailable(error)
                return  # the next answer tries again
            self._tell_available()

    # ------------------------------------------------------------ in the thread

    def _opened(self) -> State:
        if self._state is None:
            self._state = self._opens()
        return self._state

    def _read(self, key: str) -> Stats:
        return self._understood(key, self._opened().get(key))

    def _merged(self, key: str, samples: Iterable[Answer]) -> Stats:
        """Add answers to what the state holds by now, and return the sum."""
        merged = self._stats(key)

        def change(raw: bytes | None) -> bytes:
            nonlocal merged
            merged = self._understood(key, raw)
            for ours, reported in samples:
                merged = observe(merged, ours, reported)
            return orjson.dumps(merged.to_json())

        self._opened().update(key, change)
        return merged

    def _understood(self, key: str, raw: bytes | None) -> Stats:
        """Read what the state holds; where that is nothing or nonsense, what is known here goes on."""
        if raw is None:
            return self._stats(key)
        try:
            read = Stats.from_json(orjson.loads(raw))
        except _UNREADABLE as error:
            if key not in self._unreadable:
                self._unreadable.add(key)
                self._log.warning("calibration unreadable, begun anew", key=key, reason=str(error))
            return self._stats(key)
        return self._stats(key) if read.calibration == EXACT else read

    # ------------------------------------------------------------ the log: once when it goes, once when it comes back

    def _tell_unavailable(self, error: StateUnavailable) -> None:
        if not self._is_down:
            self._is_down = True
            self._log.warning("state unavailable, counts are corrected by what is known", reason=str(error))

    def _tell_available(self) -> None:
        if self._is_down:
            self._is_down = False
            self._log.info("state available again")


def _key(facts: ModelFacts) -> str:
    return f"calibration/{FORMAT}/{facts.provider}/{facts.model}"
