"""Requests under limits: a hold before anything is sent, the truth once the ledger has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from gateway.config import Config
from gateway.money.amounts import dollars
from gateway.money.audit import policy_name, recounted
from gateway.money.entry import RequestFacts
from gateway.money.ledger import id_time
from gateway.money.limits import Applied, Limits, MissingUser, Parties
from gateway.money.prices.rates import Price
from gateway.money.reservations import AnswerLengths, Demand, RequestPrice, Way, rate, ways
from gateway.money.row import LedgerRow
from gateway.money.tightening import FullestBudget, fullest_budget
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.serving.rated_calls import RatedCalls
from gateway.serving.webhooks import Notices
from gateway.state import StateUnavailable, open_counters
from gateway.state.counters import AccountCharge, Balance, Granted, Look, Once, Short
from gateway.state.counting import Counting
from gateway.state.counting_owner import CountingOwner
from gateway.wire import errors
from gateway.wire.errors import GatewayError
from gateway.wire.limit_errors import budget_exceeded, counters_unavailable, rate_limited
from gateway.wire.limit_headers import limit_headers
from gateway.wire.operations import Operation
from gateway.wire.outgoing import with_ceiling


class Limited(Protocol):
    """A gateway that may have limits."""

    @property
    def limiting(self) -> Limiting | None: ...


def clamped(gateway: Limited, request_id: str, body: bytes, usual: str) -> bytes:
    """Return a body as it may leave under its limits: with a shorter answer, where the rest pays for no longer one.

    `usual` names the member that limits answers in its shape.
    """
    ceiling = None if gateway.limiting is None else gateway.limiting.ceiling(request_id)
    return body if ceiling is None else with_ceiling(body, ceiling, usual)


class Priced(Protocol):
    """A configuration and its models."""

    @property
    def config(self) -> Config: ...
    @property
    def models(self) -> Mapping[str, Model]: ...


_FREE: Final = RequestPrice(0, 0)
_HOLDS_END_SECONDS: Final = 1
"""Seconds after which it is worth asking again where holds will free up."""
_LOOKED_AT_ONCE: Final = 40
"""Accounts that are read in one step: some half a millisecond, in which nobody else is counted."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that was let in under its limits."""

    applied: Sequence[Applied]
    charges: Sequence[AccountCharge]
    balances: Sequence[Balance]
    """Before it."""
    ceiling: int | None = None
    """Most tokens of each answer, where that is less than the request asked for."""
    asked: int = 0
    is_held: bool = True
    at: float = 0.0
    price: RequestPrice = _FREE
    held_nanousd: int = 0
    is_counted: bool = False
    """Whether nothing but its hold bounds the answer, which is counted while it comes."""
    choices: int = 1

    @property
    def has_hard_budget(self) -> bool:
        return any(charge.kind == "money" and charge.limit is not None for charge in self.charges)

    def money_party(self, index: int) -> str:
        """Name the party of one of the money charges, by its number among them."""
        money = [one.party for one in self.applied if one.charge.kind == "money"]
        return money[index] if money else ""

    def headers(self, shape: str) -> dict[str, str]:
        """Say in headers what was clamped, and what is left of rates, to a client of this shape."""
        out: dict[str, str] = {}
        if self.ceiling is not None:
            nearest = next((one.name for one in self.applied if one.charge.kind == "money"), "budget")
            out["x-gateway-clamped"] = f"max_completion_tokens={self.asked}->{self.ceiling}; budget={nearest}"
        return out | rate_headers(self.applied, self.charges, self.balances, self.at, shape) if self.is_held else out


def rate_headers(
    applied: Sequence[Applied], charges: Sequence[AccountCharge], balances: Sequence[Balance], at: float, shape: str
) -> dict[str, str]:
    """Return the headers of the rates of a request; of several of one kind, of the one with the least left."""
    nearest: dict[str, tuple[int, int, int]] = {}
    for one, charge, balance in zip(applied, charges, balances, strict=True):
        if charge.kind in ("requests", "tokens") and charge.limit is not None:
            left = max(0, charge.limit - balance.spent - balance.most - charge.amount)
            nearest[charge.kind] = min((left, charge.limit, one.ends), nearest.get(charge.kind, (left + 1, 0, 0)))
    out: dict[str, str] = {}
    for kind, (left, limit, ends) in nearest.items():
        out |= limit_headers(shape, kind, limit, left, at, ends)
    return out


@dataclass(slots=True)
class Limiting:
    """The limits of a gateway's requests. One for a process; `limits` are those of the present configuration."""

    limits: Limits
    counting: Counting
    log: FilteringBoundLogger = field(repr=False)
    rated_calls: RatedCalls
    """The calls to deployments that have rates."""
    serves_without: bool = False
    """True if requests are served without limits while the counters are down."""
    lengths: AnswerLengths = field(default_factory=AnswerLengths)
    notices: Notices | None = None
    """The way to webhooks; None where there is none."""
    _admitted: dict[str, Admission] = field(default_factory=dict, repr=False)

    async def close(self) -> None:
        """Tell the counters the rest, and give up webhooks that wait."""
        await self.counting.close()
        if self.notices is not None:
            await self.notices.close()

    def ceiling(self, request_id: str) -> int | None:
        """Return the most tokens that each answer of a request may have; None where it is as it was asked for."""
        admission = self._admitted.get(request_id)
        return None if admission is None else admission.ceiling

    async def admit(
        self, facts: RequestFacts, demand: Demand, prices: Sequence[Price], service_tier: str | None
    ) -> Admission | None:
        """Take the holds of a request. Raises GatewayError: 429, and 503 where the counters cannot be asked."""
        at = id_time(facts.id) or 0.0
        policy, applied = policy_name(facts.policy), self._applied(facts, at)
        if not applied:
            return None
        price = rate(prices, demand, service_tier)
        charges = _charges(applied, demand)
        budgets = [charge.limit for charge in charges if charge.kind == "money" and charge.limit is not None]
        possible = ways(demand, price, min(budgets, default=None))
        try:
            outcome = await self.counting.take_hold(facts.id, charges, [way.offer for way in possible])
        except StateUnavailable as error:
            return self._without_counters(facts, applied, charges, str(error))
        if isinstance(outcome, Short):
            untaken = [charge._replace(amount=0) for charge in charges]
            rates = rate_headers(applied, untaken, outcome.balances, at, facts.operation)
            raise _with_headers(_refusal(applied, outcome, possible, policy, at), rates)
        admission = _admission(applied, charges, outcome, price, demand, possible[outcome.offer])
        admission = replace(admission, at=at)
        self._admitted[facts.id] = admission
        return admission

    def _applied(self, facts: RequestFacts, at: float) -> Sequence[Applied]:
        """Return the limits of a request. Raises GatewayError (400) where they ask for a user and it names none."""
        try:
            return self.limits.under(_parties(facts), policy_name(facts.policy), at)
        except MissingUser as error:
            told = f"The budget of {error} is for each user: name one in `user`, or in the header x-gateway-user."
            raise errors.invalid_request(told, "user") from None

    async def fullest_budget(self, facts: RequestFacts) -> FullestBudget | None:
        """Return the hard budget of a request of which most is spent; None where nobody knows. Raises GatewayError."""
        at = id_time(facts.id) or 0.0
        money = [one for one in self._applied(facts, at) if one.charge.kind == "money" and one.charge.limit]
        try:
            return fullest_budget(money, await self.balances(money, at))
        except StateUnavailable:
            return None

    async def balances(self, applied: Sequence[Applied], now: float) -> list[Balance]:
        """Read the balances of limits, some at a time: others are counted in between. Raises `StateUnavailable`."""
        out: list[Balance] = []
        for at in range(0, len(applied), _LOOKED_AT_ONCE):
            charges = [one.charge for one in applied[at : at + _LOOKED_AT_ONCE]]
            found = await self.counting.ask(Look(charges, now))
            assert isinstance(found, list)
            out += found
        return out

    def _without_counters(
        self, facts: RequestFacts, applied: Sequence[Applied], charges: Sequence[AccountCharge], reason: str
    ) -> Admission:
        if not self.serves_without:
            raise counters_unavailable()
        self.log.warning("served without limits", id=facts.id, reason=reason)
        nothing = [Balance()] * len(charges)
        admission = self._admitted[facts.id] = Admission(applied, charges, nothing, is_held=False)
        return admission

    def settle(self, row: LedgerRow) -> None:
        """Book what a request cost, once the ledger has its end. A call of the gateway's own was never held."""
        admission = self._admitted.pop(row.id, None)
        nanousd, tokens = row.cost_nanousd or 0, row.prompt_tokens + row.completion_tokens
        self.rated_calls.end(row.id, tokens)
        if row.status == "answered" and row.completion_tokens:
            self.lengths.learn(row.model, policy_name(row.policy), row.completion_tokens)
        if admission is not None:
            self.counting.settle(row.id, admission.charges, nanousd, tokens, is_unheld=not admission.is_held)
            self._warn(admission, nanousd)
        elif nanousd:
            parties = Parties(row.key, row.team, row.user, tuple(row.tags), row.model)
            charges = list(self.limits.money(parties, policy_name(row.policy), id_time(row.id) or 0.0))
            if charges:
                self.counting.settle(row.id, charges, nanousd, tokens, is_unheld=True)

    def _warn(self, admission: Admission, nanousd: int) -> None:
        """Warn once in a window of an amount that was passed."""
        for one, balance in zip(admission.applied, admission.balances, strict=True):
            if one.soft is not None and (spent := balance.spent + nanousd) >= one.soft:
                self.counting.once(warning_of(one), partial(self._warned, one, one.soft, spent))

    def _warned(self, one: Applied, soft: int, spent: int) -> None:
        rule = one.rule
        self.log.warning(
            "soft budget passed", budget=one.party, period=rule.period, soft=dollars(soft), place=rule.place
        )
        if self.notices is not None:
            told = {"scope": one.party, "place": rule.place, "period": rule.period, "soft_nanousd": soft}
            told |= {"spent_nanousd": spent, "limit_nanousd": one.charge.limit, "reset": one.ends}
            self.notices.send("soft_budget.passed", told)


def warning_of(one: Applied) -> Once:
    """Return the step that says whether a soft budget is passed for the first time: in this window of a calendar, or
    in a rolling one's whole length.
    """
    charge, window = one.charge, "rolling" if one.rule.is_rolling else one.charge.first
    ends = charge.bucket + (charge.bucket - charge.first) if one.rule.is_rolling else one.ends
    return Once(f"soft {charge.account} {window} {one.soft}", 0.0, float(ends))


def servers_of(gateway: Priced, model: Model, operation: Operation) -> list[Deployment]:
    """List the deployments that may serve a request: the model's, and its fallbacks'."""
    named = gateway.config.fallbacks
    models = [model, *(gateway.models[name] for name in named.get(model.name) or named.get(model.declared_as, ()))]
    return [deployment for one in models for deployment in one.serving(operation)]


def prices_of(servers: Sequence[Deployment]) -> list[Price]:
    """List the prices at which a request may be served."""
    return list({id(one.price): one.price for one in servers if one.price is not None}.values())


def _parties(facts: RequestFacts) -> Parties:
    return Parties(facts.key, facts.team, facts.user, tuple(facts.tags), facts.model)


def _charges(applied: Sequence[Applied], demand: Demand) -> list[AccountCharge]:
    """Return the charges of a request. More tokens than a whole minute may have take a whole minute."""
    out = []
    for one in applied:
        charge = one.charge
        if charge.kind == "tokens" and charge.limit is not None:
            charge = charge._replace(amount=min(demand.prompt + demand.likely, charge.limit))
        out.append(charge)
    return out


def _admission(
    applied: Sequence[Applied],
    charges: Sequence[AccountCharge],
    granted: Granted,
    price: RequestPrice,
    demand: Demand,
    way: Way,
) -> Admission:
    ceiling = None
    if way.bound == "clamped" and granted.nanousd < price.cost(demand.longest):
        ceiling = max(1, price.tokens(granted.nanousd) // demand.choices)
    return Admission(
        applied,
        charges,
        granted.balances,
        ceiling,
        demand.longest // demand.choices,
        price=price,
        held_nanousd=granted.nanousd,
        is_counted=way.bound == "counted",
        choices=demand.choices,
    )


def _with_headers(error: GatewayError, headers: Mapping[str, str]) -> GatewayError:
    error.headers = {**headers, **error.headers}
    return error


def _refusal(
    applied: Sequence[Applied],
    short: Short,
    possible: Sequence[Way],
    policy: str,
    at: float,
) -> GatewayError:
    """Say which limit has too little left. Only what holds keep is worth waiting for."""
    one, balance = applied[short.charge], short.balances[short.charge]
    limit, seconds = one.charge.limit or 0, max(1, math.ceil(one.ends - at))
    told: Mapping[str, Any] = {"policy": policy, "scope": one.party, "reset": one.ends}
    if one.charge.kind != "money":
        held = balance.holds if one.charge.kind == "parallel" else balance.most
        after = _HOLDS_END_SECONDS if one.charge.kind == "parallel" else seconds
        told = {**told, "limit": limit, "spent": balance.spent, "held": held}
        return rate_limited(_RATES[one.charge.kind].format(limit), one.party, after, told)
    told = {**told, "limit_nanousd": limit, "spent_nanousd": balance.spent, "held_nanousd": balance.most}
    needs = min(way.offer.least for way in possible)
    if limit - balance.spent < needs:
        spent = f"{dollars(balance.spent)} of {dollars(limit)} for {one.rule.period} is spent"
        return budget_exceeded(one.party, spent, dollars(needs) if balance.spent < limit else None, seconds, told)
    keeps = f"{dollars(balance.most)} of its budget is held by requests under way"
    return rate_limited(keeps, one.party, _HOLDS_END_SECONDS, told)


_RATES: Final = {
    "requests": "{:,} requests a minute",
    "tokens": "{:,} tokens a minute",
    "parallel": "{:,} requests at the same time",
}


def limiting_of(config: Config, limits: Limits, now: Callable[[], float], log: FilteringBoundLogger) -> Limiting:
    """Make the way to the counters of limits. Nothing is opened before something is limited."""
    owner, books_at = CountingOwner(config.ledger.dir), config.ledger.dir
    counting = Counting(
        open_counters(config.state),
        lambda wanted: recounted(limiting.limits, books_at, now(), wanted),
        owner,
        log,
        now,
        config.state.counters_timeout,
    )
    limiting = Limiting(
        limits,
        counting,
        log,
        RatedCalls(counting, now),
        serves_without=config.state.on_store_down == "allow",
        notices=Notices(config.webhooks, log, now),
    )
    return limiting
