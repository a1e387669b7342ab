"""Calls under the rates of their deployments, counted over all workers: one that is over is left out for a while.

A deployment that was found over a rate of the minute is not asked about until the minute ends. Where the counters
cannot be asked, nobody is kept from calling: these rates spare a provider's refusals, and its own stand behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.money.limits import MINUTE, calendar_span
from gateway.routing.rates import DeploymentRates
from gateway.state import StateUnavailable
from gateway.state.counters import AccountCharge, Offer, Short
from gateway.state.counting import Counting

_FREE: Final = (Offer(0, 0, 0),)
_PARALLEL_SECONDS: Final = 1.0
"""Seconds after which one of several calls at the same time may have ended."""


@dataclass(slots=True)
class RatedCalls:
    """The calls under way to deployments that have rates."""

    counting: Counting
    now: Callable[[], float]
    _over: dict[str, float] = field(default_factory=dict, repr=False)
    """By account: until when it is over."""
    _taken: dict[str, tuple[str, list[AccountCharge]]] = field(default_factory=dict, repr=False)
    """By request: the last of its calls, under the name that the counters know it by."""

    async def take(self, rates: DeploymentRates, request_id: str, number: int, tokens: int) -> float | None:
        """Count a call of about so many tokens. Returns the seconds after which to ask again, where it may not be made.

        `number` tells the calls of one request apart; the one before it is over.
        """
        self.end(request_id, 0)
        now = self.now()
        if (until := self._over.get(rates.account, 0.0)) > now:
            return until - now
        charges, ends = charges_of(rates, tokens, now)
        name = f"{request_id}/{number}"
        try:
            outcome = await self.counting.take_hold(name, charges, _FREE)
        except StateUnavailable:
            return None
        if not isinstance(outcome, Short):
            self._taken[request_id] = name, charges
            return None
        if charges[outcome.charge].kind == "parallel":
            return _PARALLEL_SECONDS
        if charges[outcome.charge].kind == "requests":
            self._over[rates.account] = ends
        return ends - now

    def end(self, request_id: str, tokens: int) -> None:
        """Book the tokens of a request's last call, which is over."""
        if (taken := self._taken.pop(request_id, None)) is not None:
            name, charges = taken
            self.counting.settle(name, charges, 0, tokens)


def charges_of(rates: DeploymentRates, tokens: int, now: float) -> tuple[list[AccountCharge], float]:
    """Return the charges of a call, and the end of its minute. More than a minute may have takes a whole one."""
    span = calendar_span(MINUTE, "UTC", now)
    account, window = f"deployment={rates.account}", (span.bucket, span.first)
    out = []
    if rates.rpm is not None:
        out.append(AccountCharge(f"requests:{account}", "requests", *window, rates.rpm))
    if rates.tpm is not None:
        out.append(AccountCharge(f"tokens:{account}", "tokens", *window, rates.tpm, min(tokens, rates.tpm)))
    if rates.parallel is not None:
        out.append(AccountCharge(f"parallel:{account}", "parallel", 0, 0, rates.parallel))
    return out, float(span.ends)
