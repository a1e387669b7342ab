"""How much of a budget a request holds: what it is likely to cost, and what it can cost at most. Pure.

Two sums are kept of every hard limit (docs/decisions/0019). The likely cost decides while a tenth of the limit is free.
The highest cost, priced at the answer limit that is sent upstream, never passes the limit with what is spent. An answer
that nothing limits is counted while it comes, and its hold grows with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from gateway.money.prices.rates import Price
from gateway.request import Usage
from gateway.state.counters import Offer

NEAR_PERMILLE: Final = 100
"""Thousandths of a limit; where less is free, holds are taken at their highest cost, or answers clamped."""
SPARE_PERMILLE: Final = 500
"""Thousandths of a limit that the highest costs of answers which nothing limits leave free: few answers reach them."""
AHEAD: Final = 1_000
"""Tokens that the hold of an answer under way is ahead of what has come, at least; it grows by as many again."""
UNKNOWN_ANSWER: Final = 2_048
"""Tokens that an answer is expected to have before any was seen."""
FLOOR: Final = 1_024
"""Tokens below which no answer is clamped: one that is cut before it says anything is still paid for."""
LONGEST_ANSWER: Final = 1_000_000
_LEAST_SEEN: Final = 20
_MILLION: Final = 1_000_000


class RequestPrice(NamedTuple):
    """The highest price of a request among the deployments that may serve it."""

    prompt: int
    """Nano-dollars for its prompt."""
    million: int
    """Nano-dollars for a million tokens of answer."""

    def cost(self, tokens: int) -> int:
        """Return the cost of the prompt and of an answer of so many tokens, rounded up."""
        return self.prompt + -(-tokens * self.million // _MILLION)

    def tokens(self, nanousd: int) -> int:
        """Return how long an answer an amount pays for, after the prompt."""
        return max(0, nanousd - self.prompt) * _MILLION // self.million if self.million else LONGEST_ANSWER


@dataclass(frozen=True, slots=True)
class Demand:
    """A request that wants to be served."""

    prompt: int
    """Tokens of its prompt, at most."""
    longest: int
    """Tokens of its answers, all together, that they cannot pass: the request's limit, or the model's cap."""
    likely: int
    """Tokens that its answers are expected to have."""
    choices: int = 1
    may_clamp: bool = False
    """Whether a shorter answer is of use: no tools, no schema, no reasoning."""
    searches: int = 0
    may_grow: bool = False
    """Whether nobody limits its answers, and they can be counted while they come."""


Bound = Literal["asked", "clamped", "counted"]
"""The bound of an answer: what was asked for, or the model's cap; a smaller limit that is sent; its hold, which grows
while it is counted.
"""


class Way(NamedTuple):
    """One way to admit a request."""

    offer: Offer
    bound: Bound


def rate(prices: Iterable[Price], demand: Demand, service_tier: str | None) -> RequestPrice:
    """Price a demand at the dearest of the prices, as if its whole prompt were written to the cache."""
    prompt = million = 0
    for price in prices:
        for plain in (True, False):
            written = 0 if plain else demand.prompt
            asked = Usage(demand.prompt, cache_write=written, cache_write_1h=written, searches=demand.searches)
            whole = replace(asked, completion=_MILLION, reasoning=0 if plain else _MILLION)
            first = price.cost(asked, service_tier)
            prompt, million = max(prompt, first), max(million, price.cost(whole, service_tier) - first)
    return RequestPrice(prompt, million)


def ways(demand: Demand, price: RequestPrice, smallest: int | None = None) -> Sequence[Way]:
    """List the ways to admit a request, the best for the caller first.

    `smallest` is the smallest hard limit, in nano-dollars. An answer that nobody limits is counted only where its
    highest cost is more than half of that: a hold that is never passed is better than a count of what came.
    """
    most = price.cost(demand.longest)
    expected = min(most, price.cost(demand.likely))
    least = min(most, price.cost(max(FLOOR * demand.choices, 1)))
    if demand.may_grow and (smallest is None or 2 * most > smallest):
        return _growing_ways(demand, price, most, expected, least)
    roomy = Way(Offer(expected, most, most, NEAR_PERMILLE), "asked")
    if not demand.may_clamp:
        return (roomy, Way(Offer(expected, most, most), "asked"))
    return (roomy, Way(Offer(min(expected, least), most, least), "clamped"))


def _growing_ways(demand: Demand, price: RequestPrice, most: int, expected: int, least: int) -> Sequence[Way]:
    """List the ways for an answer that nobody limits.

    Its highest cost is held while half of the limit stays free of such. Then it is counted, and begins with the hold
    that most answers need. Near the limit a clamped one leaves room for those that grow.
    """
    first = min(most, max(expected, price.cost(2 * AHEAD * demand.choices)))
    whole = Way(Offer(expected, most, most, NEAR_PERMILLE, SPARE_PERMILLE), "asked")
    counted = Way(Offer(expected, first, first, NEAR_PERMILLE), "counted")
    if not demand.may_clamp:
        return (whole, counted, Way(Offer(first, first, first), "counted"))
    short = min(most, max(least, price.cost(2 * demand.likely)))
    return (whole, counted, Way(Offer(min(expected, least), short, least), "clamped"))


@dataclass(slots=True)
class AnswerLengths:
    """The learned 95th percentile of answers, by model and policy, over a window that slowly forgets."""

    most_pairs: int = 2_000
    _counts: dict[tuple[str, str], list[int]] = field(default_factory=dict, repr=False)

    def likely(self, model: str, policy: str) -> int:
        """Return the tokens that nineteen in twenty answers do not pass."""
        counts = self._counts.get((model, policy))
        seen = sum(counts) if counts else 0
        if counts is None or seen < _LEAST_SEEN:
            return UNKNOWN_ANSWER
        above = seen
        for size, count in enumerate(counts):
            above -= count
            if above * 20 <= seen:
                return int(2 ** ((size + 1) / 2))
        return UNKNOWN_ANSWER

    def learn(self, model: str, policy: str, tokens: int) -> None:
        """Take one answer in. Half of all is forgotten each time a thousand are there."""
        counts = self._counts.get((model, policy))
        if counts is None:
            if len(self._counts) >= self.most_pairs:
                self._counts.clear()
            counts = self._counts[model, policy] = [0] * 44
        counts[min(43, _size(max(1, tokens)))] += 1
        if sum(counts) >= 1_000:
            counts[:] = [count // 2 for count in counts]


def _size(tokens: int) -> int:
    """Return the number of its class: two classes for each doubling."""
    return (tokens * tokens).bit_length() - 1
