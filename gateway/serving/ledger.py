"""Rows on their way into the ledger, and to those who follow it: metrics count what the ledger has taken."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.money.ledger import LedgerUnavailable
from gateway.money.row import LedgerRow
from gateway.operators.recording import CallEnd
from gateway.routing.attempts import Answer, Outcome
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
    try:
        await gateway.ledger.append(row, owed=True)
    except LedgerUnavailable as unavailable:
        gateway.log.critical("entry lost", id=row.id, reason=str(unavailable))
        if gateway.recorder is not None:
            gateway.recorder.ended(row.id)
        return
    if gateway.recorder is not None:
        called = attempts[-1].deployment.model_name if attempts else None
        gateway.recorder.settled(row, call_ends(attempts), None if called == row.model else called)


def call_ends(attempts: Sequence[AnyAttempt]) -> tuple[CallEnd, ...]:
    """Say of each deployment that was asked what came of it."""
    return tuple([(one.deployment.name, _end(one.outcome)) for one in attempts if one.is_sent])


def _end(outcome: Outcome | None) -> str:
    """Return the word for an outcome: its fault where the upstream stated one."""
    if outcome is None:
        return "given_up"
    if isinstance(outcome, Answer):
        return "answered"
    return outcome.kind if outcome.status is None else outcome.fault.kind
