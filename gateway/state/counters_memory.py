"""Counters in one process's memory: the simplest that keep the protocol. What is in them ends with the process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.state.counters import (
    EXPIRED_SECONDS,
    MONEY,
    AccountCharge,
    Balance,
    Begun,
    Booked,
    Granted,
    Hold,
    Holds,
    Look,
    Once,
    Recount,
    Renew,
    Result,
    Settle,
    Step,
    TakeHold,
    TopUp,
    after_top_up,
    booked,
    decide,
    held_by,
)


@dataclass(slots=True)
class _Held:
    hold: Hold
    expires: float
    source: str
    amounts: dict[str, tuple[int, int]] = field(default_factory=dict)


class MemoryCounters:
    """Counters as dictionaries."""

    def __init__(self) -> None:
        self._sources: set[str] = set()
        self._spent: dict[tuple[str, int, str], int] = defaultdict(int)
        self._holds: dict[str, _Held] = {}
        self._once: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"MemoryCounters({len(self._spent)} buckets, {len(self._holds)} holds)"

    def run(self, steps: Sequence[Step], source: str) -> list[Result]:
        return [self._done(step, source) for step in steps]

    def close(self) -> None:
        """Keep everything: there is nothing to let go of."""

    def _done(self, step: Step, source: str) -> Result:
        if isinstance(step, Recount):
            self._recount(step, source)
            return None
        if source not in self._sources:
            return Begun()
        match step:
            case TakeHold():
                return self._reserve(step, source)
            case TopUp():
                return self._top_up(step, source)
            case Settle():
                return self._settle(step, source)
            case Renew():
                self._renew(step, source)
            case Look():
                return [self._balance(charge, step.now) for charge in step.charges]
            case Booked():
                mine = [key for key in self._spent if key[2] == source and key[0].startswith(MONEY)]
                return {key[:2]: self._spent[key] for key in mine if self._spent[key]}
            case Holds():
                return [row.hold for row in self._holds.values() if row.source == source]
            case Once():
                return self._first(step)
        return None

    def _reserve(self, step: TakeHold, source: str) -> Result:
        outcome = decide(step.charges, step.offers, [self._balance(charge, step.now) for charge in step.charges])
        if isinstance(outcome, Granted):
            expected = step.offers[outcome.offer].expected
            self._put(Hold(step.id, step.owner, step.charges, expected, outcome.nanousd), step.expires, source)
            for charge in step.charges:
                if charge.kind == "requests":
                    self._spent[charge.account, charge.bucket, source] += charge.amount
        return outcome

    def _top_up(self, step: TopUp, source: str) -> Result:
        standing = self._holds.pop(step.id, None)
        money = [charge for charge in step.charges if charge.kind == "money"]
        outcome = after_top_up(money, step.amount, [self._balance(charge, step.now) for charge in money])
        if isinstance(outcome, Granted):
            self._put(Hold(step.id, step.owner, step.charges, step.amount, step.amount), step.expires, source)
        elif standing is not None:
            self._holds[step.id] = standing
        return outcome

    def _settle(self, step: Settle, source: str) -> bool:
        if self._holds.pop(step.id, None) is None and not step.is_unheld:
            return False
        for charge in step.charges:
            if amount := booked(charge, step.nanousd, step.tokens):
                self._spent[charge.account, charge.bucket, source] += amount
        return True

    def _renew(self, step: Renew, source: str) -> None:
        for hold in step.holds:
            self._put(hold, step.expires, source)
        for name in [name for name, row in self._holds.items() if row.expires + EXPIRED_SECONDS <= step.now]:
            del self._holds[name]

    def _recount(self, step: Recount, source: str) -> None:
        self._sources.add(source)
        for key in [key for key in self._spent if key[2] == source and key[0].startswith(MONEY)]:
            del self._spent[key]
        for (account, bucket), amount in step.amounts.items():
            self._spent[account, bucket, source] = amount

    def _first(self, step: Once) -> bool:
        if self._once.get(step.name, step.now) > step.now:
            return False
        self._once[step.name] = step.expires
        return True

    def _put(self, hold: Hold, expires: float, source: str) -> None:
        row = self._holds[hold.id] = _Held(hold, expires, source)
        for charge in hold.charges:
            if (amounts := held_by(charge, hold.expected, hold.most)) is not None:
                row.amounts[charge.account] = amounts

    def _balance(self, charge: AccountCharge, now: float) -> Balance:
        spent = sum(
            amount
            for (account, bucket, _), amount in self._spent.items()
            if account == charge.account and bucket >= charge.first
        )
        rows = [
            row.amounts[charge.account]
            for row in self._holds.values()
            if row.expires > now and charge.account in row.amounts
        ]
        return Balance(spent, sum(row[0] for row in rows), sum(row[1] for row in rows), len(rows))
