"""The calls of a request as its entry holds them, whatever was asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from gateway.money.entry import NO_CALLS, CallFacts
from gateway.money.row import AttemptRow
from gateway.routing.attempts import Answer, Failure, Outcome
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import Reply


class AnyAttempt(Protocol):
    """One call to a deployment, as far as it came."""

    @property
    def deployment(self) -> Deployment: ...
    @property
    def dropped(self) -> tuple[str, ...]:
        """Betas of the client's that the deployment does not take."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Members of the request that are not said to it."""

    @property
    def outcome(self) -> Outcome | None:
        """None while it is under way, and where it was given up before anybody could say."""

    @property
    def reply(self) -> Reply | None:
        """The answer that may still have to be closed."""

    @property
    def seconds(self) -> float: ...
    @property
    def ended(self) -> float:
        """By the monotonic clock; of an answer, when it began."""

    @property
    def is_sent(self) -> bool:
        """Whether the deployment was asked: not one that the request turned out not to fit."""


def is_sent(outcome: Outcome | None) -> bool:
    """Whether a deployment was asked, by what came of it."""
    return not (isinstance(outcome, Failure) and outcome.kind in ("unfit", "busy"))


AttemptKind = TypeVar("AttemptKind", bound=AnyAttempt)


def last_replied(calls: Sequence[AttemptKind]) -> AttemptKind | None:
    """Return the last call that brought an answer, of whatever kind."""
    return next((one for one in reversed(calls) if one.reply is not None), None)


def call_facts(calls: Sequence[AnyAttempt]) -> CallFacts:
    """Return what the entry holds of all calls: the deployment called last, and those that came to an end."""
    if not calls:
        return NO_CALLS
    last = calls[-1].deployment
    name = f"{last.provider}/{last.model}"
    if len(calls) == 1 and isinstance(calls[0].outcome, Answer):
        return CallFacts(name)  # one good call, which no row tells of
    return CallFacts(name, [_row(one) for one in calls if one.outcome is not None and one.is_sent])


def _row(attempt: AnyAttempt) -> AttemptRow:
    failure = attempt.outcome if isinstance(attempt.outcome, Failure) else None
    status, error = (200, None) if failure is None else (failure.status, failure.kind)
    return AttemptRow(attempt.deployment.name, status, error, round(attempt.seconds * 1e3, 1))


def first_byte(calls: Sequence[AnyAttempt]) -> float:
    """Return when an answer began; 0 where none did."""
    for attempt in reversed(calls):
        if isinstance(attempt.outcome, Answer):
            return attempt.ended
    return 0.0
