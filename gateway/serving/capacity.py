"""The capacity of one process: who is let in while it is at its limits, and who is asked to come again.

Two signs say how full it is. Requests under way, where the operator sets a limit; and how late the event loop is, which
says that the processor is. A request is judged when its key is known and before its body is read, so that a refusal
costs a tenth of an answer. docs/decisions/0020 says why so, and not by a queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from math import inf
from typing import Final, Literal

import structlog
from structlog.typing import FilteringBoundLogger

from gateway.wire import errors

Band = Literal["low", "normal", "high"]
"""The sign of a key's priority: below, at or above 0."""

IN_FLIGHT_SHARES: Final[Mapping[Band, float]] = {"low": 0.6, "normal": 0.8, "high": 1.0}
"""The part of the limit up to which requests of a band are let in: the rest is kept for those above it."""
LAG_SHARES: Final[Mapping[Band, float]] = {"low": 0.25, "normal": 1.0, "high": 8.0}
"""The lag up to which they are, in parts of `server.max_lag`."""

SAMPLE_SECONDS: Final = 0.05
SAMPLES: Final = 4
"""Samples of which the least counts: one long piece of work is no backlog, one that stays is (as CoDel tells a standing
queue from a burst: https://queue.acm.org/detail.cfm?id=2209336)."""


def band_of(priority: int) -> Band:
    """Return the band of a priority."""
    return "normal" if priority == 0 else "low" if priority < 0 else "high"


def is_too_full(band: Band, in_flight: int, most: float, lag: float, longest: float) -> bool:
    """Say whether a process is too full for another request of this band."""
    return in_flight >= most * IN_FLIGHT_SHARES[band] or lag > longest * LAG_SHARES[band]


class Capacity:
    """The requests of one process, and the lag of its loop."""

    def __init__(
        self, most: int | None = None, longest_lag: float = inf, log: FilteringBoundLogger | None = None
    ) -> None:
        """Take the most requests under way (None sets no limit) and the longest lag, in seconds."""
        self._most = inf if most is None else float(most)
        self._longest, self._log = longest_lag, log or structlog.get_logger("gateway")
        self._samples: deque[float] = deque([0.0] * SAMPLES, SAMPLES)
        self._is_refusing = False
        self.in_flight = 0
        self.lag = 0.0
        """Seconds that the loop has been late at least, lately."""
        self.refused: Counter[Band] = Counter()
        """By band: requests that were asked to come again."""

    def enter(self, priority: int) -> None:
        """Count a request, which `leave` ends. Raises GatewayError (503) where there is no room for it."""
        band = band_of(priority)
        if is_too_full(band, self.in_flight, self._most, self.lag, self._longest):
            self.refused[band] += 1
            self._tell(band)
            raise errors.over_capacity()
        self.in_flight += 1

    def leave(self) -> None:
        """Count a request no more."""
        self.in_flight -= 1

    def note(self, lag: float) -> None:
        """Take a sample of how late the loop is, in seconds."""
        self._samples.append(lag)
        self.lag = min(self._samples)
        if self._is_refusing and not is_too_full("low", self.in_flight, self._most, self.lag, self._longest):
            self._is_refusing = False
            self._log.info("under capacity again", refused=self.refused.total())

    async def follow(self) -> None:
        """Look at the loop until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self.note(loop.time() - due)

    def _tell(self, band: Band) -> None:
        """Say once that requests are refused, until none need be."""
        if not self._is_refusing:
            self._is_refusing = True
            self._log.warning(
                "over capacity, requests are refused, the lowest priority first",
                band=band,
                in_flight=self.in_flight,
                lag_ms=round(self.lag * 1000),
            )
