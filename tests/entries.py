"""One entry of the ledger out of named facts, for tests that care about a few of them."""

from dataclasses import dataclass
from typing import Any

from gateway.money.entry import (
    NO_BILL,
    NO_CALLS,
    NO_PLAN,
    Bill,
    CallFacts,
    End,
    PlanFacts,
    Removal,
    RequestFacts,
    cost_of,
    durations,
)
from gateway.money.entry import opened as opened_row
from gateway.money.entry import settled as settled_row
from gateway.money.prices.rates import Price
from gateway.money.row import NO_CACHE, CacheSettlement, LedgerRow, Status
from gateway.wire.usage import Usage

_OF_REQUEST = frozenset(RequestFacts._fields)
_OF_PLAN = frozenset(PlanFacts._fields)
_OF_CALLS = frozenset(CallFacts._fields)


def bill_of(usage: Usage, price: Price | None, unused: Usage | None = None, billed: int | None = None) -> Bill:
    """Price an answer, and a call that failed before it."""
    bill = NO_BILL if unused is None else NO_BILL.with_unused(unused, cost_of(unused, price, None, 0.0))
    return bill.with_answer(usage, cost_of(usage, price, None, 0.0, billed))


@dataclass(frozen=True)
class Entry:
    """One request, as it is entered: opened, and settled where it ends."""

    request: RequestFacts
    plan: PlanFacts = NO_PLAN
    calls: CallFacts = NO_CALLS
    bill: Bill = NO_BILL
    cache: CacheSettlement = NO_CACHE
    removed: Removal | None = None
    http_status: int = 0
    error: str | None = None
    started: float = 10.0
    planned: float = 0.0
    first_byte: float = 0.0

    def opened(self, estimate: Usage, estimate_nanousd: int | None) -> LedgerRow:
        return opened_row(self.request, estimate, estimate_nanousd)

    def settled(self, status: Status, now: float = 11.0) -> LedgerRow:
        ms = durations(self.started, self.planned, self.first_byte, now)
        end = End(status, self.http_status, self.error, ms)
        return settled_row(self.request, end, self.plan, self.calls, self.bill, self.cache, self.removed)


def entry(request_id: str, key: str, team: str, **facts: Any) -> Entry:
    """Make an entry of facts, each named as in the value that holds it."""

    def those(names: frozenset[str]) -> dict[str, Any]:
        return {name: facts.pop(name) for name in list(facts) if name in names}

    request = RequestFacts(request_id, key, team, **those(_OF_REQUEST))
    return Entry(request, PlanFacts(**those(_OF_PLAN)), CallFacts(**those(_OF_CALLS)), **facts)
