"""The deployment that is at work for one request, counted as load until all of its answer is here."""

from __future__ import annotations

from gateway.routing.loads import Loads


class Occupied:
    """The deployment whose load counts for one request: one at a time, each begun and ended once."""

    __slots__ = ("_loads", "_name")

    def __init__(self, loads: Loads) -> None:
        self._loads = loads
        self._name: str | None = None

    def begin(self, name: str, now: float) -> None:
        """Count a call to a deployment."""
        self._loads.begin(name, now)
        self._name = name

    def end(self) -> None:
        """Count the call no more, where one is."""
        if self._name is not None:
            self._loads.end(self._name)
            self._name = None
