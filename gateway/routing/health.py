"""Which deployments rest after failures. The clock is an argument; nothing here calls an upstream.

A rest only moves a deployment to the end of the line (`attempts`), so a wrong guess costs a detour, never an answer.
"""

from __future__ import annotations

from typing import Final

from gateway.routing.attempts import Answer, Failure, Outcome

_NOBODY: Final[frozenset[str]] = frozenset()


class Health:
    """Cool-downs by deployment name: `first_rest` seconds after a failure, doubled by each further one in a row."""

    def __init__(self, first_rest: float = 1.0, longest_rest: float = 60.0) -> None:
        self._first_rest = first_rest
        self._longest_rest = longest_rest
        self._in_a_row: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"Health(in_a_row={self._in_a_row})"

    def learn(self, outcome: Outcome, now: float) -> None:
        """Take in one outcome. An upstream that judged the request (a 400, say) is a healthy one."""
        match outcome:
            case Failure(kind="unfit"):
                return
            case Failure(may_fall_back=True):
                name = outcome.deployment.name
                count = self._in_a_row.get(name, 0) + 1
                self._in_a_row[name] = count
                rest = outcome.retry_after or self._first_rest * 2.0 ** min(count - 1, 16)
                self._until[name] = now + min(rest, self._longest_rest)
            case Answer() | Failure():
                if self._in_a_row and self._in_a_row.pop(outcome.deployment.name, None) is not None:
                    self._until.pop(outcome.deployment.name, None)

    def resting(self, now: float) -> frozenset[str]:
        """Name the deployments that are better tried last."""
        if not self._until:
            return _NOBODY
        return frozenset(name for name, until in self._until.items() if until > now)
