"""Rests of deployments after failures. The clock is an argument; nothing here calls an upstream.

A deployment rests once two conversations met the same fault, of a kind that does not depend on the request, with no
answer between them; where it could not even be reached, one is enough. A rest moves it to the end of the line
(`attempts`), so a wrong guess costs a detour, never an answer: the only one left is still asked. A fault may last until
somebody mends it (a refused key, no credit, no such model). Once several trials brought nothing else, one request asks
in each rest, and the others are told its error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.routing.attempts import Failure, Outcome

_NOBODY: Final[frozenset[str]] = frozenset()
_TRIALS_TO_BE_SURE: Final = 3
"""Times in a row, each after a longer rest, that a deployment meets the same fault before nobody else need meet it."""

News = Literal["rests", "well"]
"""Events that an operator is told of, once each: a deployment begins to rest, or answers again."""


@dataclass(slots=True)
class _Ailing:
    """A deployment that has failed and not answered since."""

    failure: Failure
    seen_by: dict[Hashable, Hashable] = field(default_factory=dict)
    """By fault: the conversation that met it first."""
    rests: int = 0
    """The number of its rests, each twice as long as the one before."""
    until: float = 0.0
    same: int = 0
    """The number of its rests in a row for the same fault, with nothing else in between."""
    on_trial: bool = False
    """Whether a request is finding out if it is well again."""


class Health:
    """Rests by deployment name: `first_rest` seconds, doubled each time that a trial fails."""

    def __init__(self, first_rest: float = 1.0, longest_rest: float = 60.0) -> None:
        self._first_rest = first_rest
        self._longest_rest = longest_rest
        self._ailing: dict[str, _Ailing] = {}

    def __repr__(self) -> str:
        return f"Health(ailing={sorted(self._ailing)})"

    def learn(self, outcome: Outcome, now: float, conversation: Callable[[], Hashable]) -> News | None:
        """Take in one outcome, and return what it changes. An upstream that judged the request is a healthy one.

        `conversation` tells the request's conversation from others; it is asked for after a failure alone.
        """
        name = outcome.deployment.name
        if isinstance(outcome, Failure):
            if outcome.fault.rests and not outcome.begun:
                return self._fails(name, outcome, now, conversation())
            if outcome.may_fall_back or outcome.begun:
                return None
        ended = self._ailing.pop(name, None) if self._ailing else None
        return "well" if ended is not None and ended.rests else None

    def resting(self, now: float) -> frozenset[str]:
        """Name the deployments that are better tried last."""
        if not self._ailing:
            return _NOBODY
        return frozenset(name for name, one in self._ailing.items() if one.rests and one.until > now)

    def begin(self, name: str, now: float) -> Failure | None:
        """Begin a call: None, or the failure that it would only meet again.

        The first call after a rest is a trial: until it has ended, others take the deployment to be at rest.
        """
        one = self._ailing.get(name) if self._ailing else None
        if one is None or not one.rests:
            return None
        if now < one.until:
            is_known = one.failure.fault.lasts and one.same >= _TRIALS_TO_BE_SURE
            return replace(one.failure, headers={}, retry_after=None) if is_known else None
        one.on_trial, one.until = True, now + self._rest(one)
        return None

    def forget(self, names: Iterable[str]) -> None:
        """Take deployments for well: they were changed."""
        for name in names:
            self._ailing.pop(name, None)

    def is_told(self, name: str) -> bool:
        """Whether it was told that a deployment rests, so that each further failure is no news."""
        one = self._ailing.get(name)
        return one is not None and one.rests > 0

    def _fails(self, name: str, failure: Failure, now: float, conversation: Hashable) -> News | None:
        one = self._ailing.setdefault(name, _Ailing(failure))
        first = one.seen_by.setdefault(_told_apart(failure), conversation)
        is_sure = one.rests > 0 or failure.kind == "connect" or first != conversation
        if _told_apart(failure) != _told_apart(one.failure):
            one.same = 0
        one.failure = failure
        if not is_sure or (now < one.until and not one.on_trial):
            return None  # what ends during a rest began before it, and says nothing new
        one.rests, one.same, one.on_trial = one.rests + 1, one.same + 1, False
        one.until = now + min(max(failure.retry_after or 0.0, self._rest(one)), self._longest_rest)
        return "rests" if one.rests == 1 else None

    def _rest(self, one: _Ailing) -> float:
        return min(self._first_rest * 2.0 ** min(max(one.rests, 1) - 1, 16), self._longest_rest)


def _told_apart(failure: Failure) -> Hashable:
    """Return what tells one fault from another: for those that last, the status too."""
    return failure.fault, failure.status if failure.fault.lasts else None
