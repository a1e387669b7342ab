"""Rows on their way into the ledger, and to those who follow it: metrics count what the ledger has taken."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from gateway.money.ledger import LedgerUnavailable
from gateway.money.row import LedgerRow
from gateway.operators.recording import CallEnd
from gateway.operators.spans import TracedCall
from gateway.routing.attempts import Answer, Failure, Outcome
from gateway.serving.calls_in_entry import AnyAttempt
from gateway.serving.services import Gateway
from gateway.wire import errors


async def enter_opened(gateway: Gateway, row: LedgerRow) -> None:
    """Enter the row of an admission. Raises GatewayError (503) where it cannot be written."""
    try:
        await gateway.ledger.append(row)
    except LedgerUnavailable as error:
        gateway.log.critical("ledger unavailable", id=row.id, reason=str(error))
        raise errors.ledger_unavailable() from error
    if gateway.recorder is not None:
        gateway.recorder.opened(row)


async def enter_settled(gateway: Gateway, row: LedgerRow, attempts: Sequence[AnyAttempt]) -> None:
    """Enter the row of an end. Money may have been spent: what the disk does not take now is kept and written first."""
    if (tracer := gateway.tracer) is not None and (ids := tracer.ended(row.id)) is not None:
        now, at = time.time_ns(), gateway.monotonic()
        tracer.finish(ids, row, [_traced(one, now, at) for one in attempts], now)
    try:
        await gateway.ledger.append(row, owed=True)
    except LedgerUnavailable as unavailable:
        gateway.log.critical("entry lost", id=row.id, reason=str(unavailable))
        _settle_limits(gateway, row)
        if gateway.recorder is not None:
            gateway.recorder.ended(row.id)
        return
    _settle_limits(gateway, row)
    if gateway.recorder is not None:
        called = attempts[-1].deployment.model_name if attempts else None
        gateway.recorder.settled(row, call_ends(attempts), None if called == row.model else called)


def _settle_limits(gateway: Gateway, row: LedgerRow) -> None:
    if gateway.limits is not None and gateway.limiting is not None:
        gateway.limiting.settle(row)


def call_ends(attempts: Sequence[AnyAttempt]) -> tuple[CallEnd, ...]:
    """Say of each deployment that was asked what came of it."""
    if len(attempts) == 1 and isinstance(attempts[0].outcome, Answer):  # as nearly all
        return ((attempts[0].deployment.name, "answered"),)
    return tuple([(one.deployment.name, _end(one.outcome)) for one in attempts if one.is_sent])


def _end(outcome: Outcome | None) -> str:
    """Return the word for an outcome: its fault where the upstream stated one."""
    if outcome is None:
        return "given_up"
    if isinstance(outcome, Answer):
        return "answered"
    return outcome.kind if outcome.status is None else outcome.fault.kind


def trace_headers(gateway: Gateway, request_id: str, number: int, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of a request's call of this number, with its place in the trace where there is one."""
    return headers if gateway.tracer is None else gateway.tracer.carried(request_id, number, headers)


def _traced(attempt: AnyAttempt, now: int, at: float) -> TracedCall:
    """Describe a call at the end of its request, which is `now` in nanoseconds since 1970 and `at` by the clock of
    attempts.
    """
    deployment, outcome = attempt.deployment, attempt.outcome
    ended = now - round((at - attempt.ended) * 1e9) if attempt.ended else now
    is_answer = isinstance(outcome, Answer)
    error = str(outcome.status or outcome.kind) if isinstance(outcome, Failure) else None
    return TracedCall(
        deployment.provider,
        deployment.model,
        deployment.name,
        ended - round(attempt.seconds * 1e9),
        now if is_answer else ended,
        ended if is_answer else None,
        "cancelled" if outcome is None else error,
        _address(deployment.api_base),
    )


def _address(base: str | None) -> tuple[str, int] | None:
    """Return host and port of an address."""
    if base is None:
        return None
    parts = urlsplit(base)
    return (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
