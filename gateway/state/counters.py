"""Counters of limits: what was spent and what is held, by account. The protocol, and one step's decision. Pure.

An account is the spend of one party in one kind of window (`money/limits.py` names it). Amounts lie in buckets,
numbered by the second they begin at, so that one sum, over buckets from `first` on, serves calendar and rolling windows
alike. A hold is a row with an expiry: whoever dies leaves nothing held for good.

To ask for the spend, holds, limit and reset of a scope: `money.limits.Limits.charges(...)` gives the charges of a
caller, `Counting.ask(Look(charges))` (state/counting.py) their `Balance`s, in their order; a charge holds its limit,
and `money.limits` when its window ends.

A store does a batch of steps one after the other, each of them whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["money", "requests", "tokens", "parallel"]


class AccountCharge(NamedTuple):
    """The part of a step that concerns one account."""

    account: str
    kind: Kind
    """money and tokens are held, and settled to the truth; requests are spent at once; parallel is held only."""
    bucket: int
    """The bucket that is charged."""
    first: int
    """The oldest bucket that counts."""
    limit: int | None
    """None: counted, and never refused."""
    amount: int = 1
    """Of all kinds but money, whose amount is the offer's."""


class Offer(NamedTuple):
    """One way to admit a request: how much of each money account it would hold. The first that fits is taken."""

    expected: int
    """The likely cost in nano-dollars."""
    most: int
    """The cost that nothing sent upstream lets it pass; less is granted where less is free."""
    least: int
    """Below this it is not worth beginning. Equal to `most`: all or nothing."""
    leave_permille: int = 0
    """Thousandths of a limit that must stay free of spend and expected holds."""
    spare_permille: int = 0
    """Thousandths of a limit that must stay free of spend and of holds at their highest cost."""


class TakeHold(NamedTuple):
    """Take a hold in all accounts at once, or in none."""

    id: str
    owner: str
    charges: Sequence[AccountCharge]
    offers: Sequence[Offer]
    now: float
    expires: float


class TopUp(NamedTuple):
    """Raise a hold to an amount, as an answer grows; one that expired is taken anew."""

    id: str
    owner: str
    charges: Sequence[AccountCharge]
    amount: int
    now: float
    expires: float


class Settle(NamedTuple):
    """Book the truth and let go of the hold, be it expired. A second one of the same id finds none and does nothing."""

    id: str
    charges: Sequence[AccountCharge]
    nanousd: int
    tokens: int
    now: float
    is_unheld: bool = False
    """True where the request was served while the counters were down: there never was a hold."""


class Renew(NamedTuple):
    """Keep holds alive; those that the store lost are taken anew."""

    holds: Sequence[Hold]
    now: float
    expires: float


class Hold(NamedTuple):
    """A hold as its owner knows it."""

    id: str
    owner: str
    charges: Sequence[AccountCharge]
    expected: int
    most: int


class Look(NamedTuple):
    """Read balances."""

    charges: Sequence[AccountCharge]
    now: float


class Recount(NamedTuple):
    """Put what the ledger says in the place of all money that was booked from it, by (account, bucket)."""

    amounts: Mapping[tuple[str, int], int]


class Booked(NamedTuple):
    """Read the money that is booked from this ledger, by (account, bucket)."""


class Holds(NamedTuple):
    """Read the holds of this ledger's requests, those that expired unsettled included."""


class Once(NamedTuple):
    """Say whether something happens for the first time: the warning of a window."""

    name: str
    now: float
    expires: float


class Balance(NamedTuple):
    """One account at a moment."""

    spent: int = 0
    expected: int = 0
    """Held, at the likely cost."""
    most: int = 0
    """Held, at the highest cost."""
    holds: int = 0


class Granted(NamedTuple):
    """The request may go on."""

    offer: int
    """The index of the offer that was taken."""
    nanousd: int
    """The highest cost that is held for it."""
    balances: Sequence[Balance]
    """Before this hold."""


class Short(NamedTuple):
    """Some account has too little left; nothing was changed."""

    charge: int
    """The index of the charge that fits least."""
    balances: Sequence[Balance]


class Begun(NamedTuple):
    """The store knows nothing of this source: it is new, or lost what it held. `Recount` first."""


Step = TakeHold | TopUp | Settle | Renew | Look | Recount | Booked | Holds | Once
Result = Granted | Short | Begun | bool | Sequence[Balance] | Sequence[Hold] | Mapping[tuple[str, int], int] | None
"""A TakeHold and a TopUp give Granted or Short; a Settle whether it booked; a Look balances; Booked amounts; Holds
holds; Once a bool; the others None. Any but a Recount may give Begun.
"""

EXPIRED_SECONDS: Final = 86_400.0
"""Seconds that a hold that expired is remembered, so that its settlement is still booked, and once."""
MONEY: Final = "$"
"""The first character of the accounts of money: they alone are counted anew from the ledger."""


class CounterStore(Protocol):
    """The counters themselves. Blocks; safe in one thread at a time, and beside other processes."""

    def run(self, steps: Sequence[Step], source: str) -> list[Result]:
        """Do steps in their order. Raises `StateUnavailable`; it is then not known which of them were done.

        `source` names the ledger whose requests these are: what is booked is kept apart by it, to be counted anew.
        """

    def close(self) -> None: ...


def decide(charges: Sequence[AccountCharge], offers: Sequence[Offer], balances: Sequence[Balance]) -> Granted | Short:
    """Choose the first offer that fits every account."""
    for index, (charge, balance) in enumerate(zip(charges, balances, strict=True)):
        if charge.kind != "money" and charge.limit is not None and used(charge, balance) + charge.amount > charge.limit:
            return Short(index, balances)
    worst = 0
    for number, offer in enumerate(offers):
        granted, fits = offer.most, True
        for index, (charge, balance) in enumerate(zip(charges, balances, strict=True)):
            if charge.kind != "money" or charge.limit is None:
                continue
            kept = charge.limit * offer.leave_permille // 1000
            free = charge.limit - charge.limit * offer.spare_permille // 1000 - balance.spent - balance.most
            granted = min(granted, free)
            if granted < offer.least or balance.spent + balance.expected + offer.expected > charge.limit - kept:
                fits, worst = False, index
                break
        if fits:
            return Granted(number, granted, balances)
    return Short(worst, balances)


def after_top_up(charges: Sequence[AccountCharge], amount: int, balances: Sequence[Balance]) -> Granted | Short:
    """Decide on a hold of an amount in all money accounts; the balances are those without this hold."""
    return decide(charges, [Offer(amount, amount, amount)], balances)


def used(charge: AccountCharge, balance: Balance) -> int:
    """Return what counts against a limit now, at the highest cost."""
    return balance.holds if charge.kind == "parallel" else balance.spent + balance.most


def held_by(charge: AccountCharge, expected: int, most: int) -> tuple[int, int] | None:
    """Return what a hold keeps of one account: expected and most. None: it keeps nothing there."""
    match charge.kind:
        case "money":
            return min(expected, most), most
        case "tokens":
            return charge.amount, charge.amount
        case "parallel":
            return 0, 0
        case "requests":
            return None


def booked(charge: AccountCharge, nanousd: int, tokens: int) -> int:
    """Return what settling adds to one account."""
    return nanousd if charge.kind == "money" else tokens if charge.kind == "tokens" else 0
