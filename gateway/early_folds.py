"""Folds that nothing forces: offered where they are cheap, decided once, recorded, and read by every later request.

What is in a provider's cache and how long conversations last are things that processes see differently, so they may
enter only once (law 5): whoever finds that a fold pays records the beginning of the conversation at which it does,
before anything is sent, and from then on that beginning is folded for everybody. One entry of the state holds what was
decided for conversations that begin alike; it is read where a request is over, or may fold early by its policy, and
never otherwise. A state that is down means no early folds: the plan is then that of the request alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.caching.economics import Option, Outlook, pays
from gateway.conversation import Changes
from gateway.rewriting.plan import Plan, Refusal
from gateway.state import State, StateUnavailable
from gateway.state_thread import StateThread

KEEP_SECONDS: Final = 90 * 86_400.0
"""How long decisions are kept, as those about summaries."""
MOST_DECISIONS: Final = 1000
"""Of conversations that begin alike; beyond, nothing more is decided for them, so that nothing is ever taken back."""
LEAST_TOKENS: Final = 2048
"""Prompts that are surely shorter are never folded early: there is nothing to be saved."""
DOWN_SECONDS: Final = 5.0
"""How long a state that did not answer is not asked again."""

Planning = Callable[[frozenset[int]], Awaitable[tuple[Plan | Refusal, bool]]]
"""Plans with these prefixes folded early; whether other decisions were lost."""


class Judge(Protocol):
    """Who knows the cache and the prices. Asked in this order, the second only where the first says yes."""

    def may_fold(self, plan: Plan) -> bool:
        """Say whether a fold beyond what this plan does is worth working out."""

    def pays(self, plan: Plan, folded: Plan) -> bool:
        """Say whether the request leaves as `folded`, from now on."""


@dataclass(frozen=True, slots=True)
class ByCost:
    """Judges by expected cost.

    What fits is left alone unless the policy says `cheaper`; what was folded before may be folded again when most of it
    has to be written anew whatever is done: it expired, is new at this deployment, or the client changed its beginning.
    """

    when: Literal["over", "cheaper"]
    outlook: Outlook
    budget: int | None
    """Of a prompt; None where there is no bound."""
    warm: Callable[[Changes | None], int]
    """How many tokens the cache holds at the beginning of the request, if it leaves with these changes."""

    def may_fold(self, plan: Plan) -> bool:
        if self.when == "cheaper":
            return True
        return plan.changes is not None and 2 * self.warm(plan.changes) < plan.tokens_after

    def pays(self, plan: Plan, folded: Plan) -> bool:
        warm = self.warm(folded.changes)
        rebought = folded.tokens_after - warm
        after = Option(folded.tokens_after, warm, self._lasts(folded), rebought)
        before = Option(plan.tokens_after, self.warm(plan.changes), self._lasts(plan), rebought)
        return pays(after, before, self.outlook)

    def _lasts(self, plan: Plan) -> float:
        if self.budget is None or self.outlook.growth <= 0:
            return float("inf")
        return max(1.0, (self.budget - plan.tokens_after) / self.outlook.growth)


class Never:
    """Judges where nothing is to be decided: what was decided is followed all the same."""

    def may_fold(self, plan: Plan) -> bool:
        return False

    def pays(self, plan: Plan, folded: Plan) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Beginnings:
    """A conversation by its beginnings, and who judges for it."""

    group: str
    """What conversations that begin alike have in common: policy, tools, system text, first message."""
    links: Sequence[int]
    """By number of messages: the hash of so many, with the tools, the same in every process."""
    judge: Judge


class EarlyFolds:
    """One process's way to the decisions. The state is opened when it is first needed."""

    def __init__(self, opens: Callable[[], State], log: FilteringBoundLogger, monotonic: Callable[[], float]) -> None:
        """Take how the state is opened, raising `StateUnavailable`."""
        self._monotonic = monotonic
        self._way = StateThread("early-folds", opens, log, "nothing is folded early")
        self._down_until = 0.0

    async def close(self) -> None:
        """Let go of the state."""
        await self._way.close()

    async def settled(
        self, begins: Callable[[], Beginnings | None], planning: Planning, *, when: Literal["over", "cheaper"]
    ) -> tuple[Plan | Refusal, bool]:
        """Plan with what was decided, and decide where a fold pays now; whether decisions could not be read.

        `begins` is asked only where a decision may stand; it names nothing that is too short for a cache.
        """
        plan, lost = await planning(frozenset())
        if isinstance(plan, Refusal) or (plan.changes is None and when == "over"):
            return plan, lost
        beginnings = begins()
        if beginnings is None:
            return plan, lost
        try:
            early = _places(beginnings.links, await self._asked(partial(_read, beginnings.group)))
        except StateUnavailable:
            return plan, True
        if early:
            plan, lost = await planning(early)
        whole = len(beginnings.links) - 1
        if isinstance(plan, Refusal) or lost or whole in early or not beginnings.judge.may_fold(plan):
            return plan, lost
        folded, lost = await planning(early | {whole})
        if isinstance(folded, Refusal) or lost or folded.changes == plan.changes:
            return plan, False
        if not beginnings.judge.pays(plan, folded):
            return plan, False
        try:
            stand = await self._asked(partial(_decide, beginnings.group, beginnings.links[whole]))
        except StateUnavailable:
            return plan, False  # it is not folded, and nothing was lost
        return (folded if beginnings.links[whole] in stand else plan), False

    async def _asked(self, work: Callable[[State], frozenset[int]]) -> frozenset[int]:
        """Ask the state, unless it did not answer a moment ago."""
        self._refuse_while_down()
        try:
            return await self._way.run(partial(self._guarded, work))
        except StateUnavailable:
            self._down_until = max(self._down_until, self._monotonic() + DOWN_SECONDS)
            raise

    def _guarded(self, work: Callable[[State], frozenset[int]], state: State) -> frozenset[int]:
        """Ask, unless who waited before this one found it down: each would wait as long again."""
        self._refuse_while_down()
        try:
            return work(state)
        except StateUnavailable:
            self._down_until = self._monotonic() + DOWN_SECONDS
            raise

    def _refuse_while_down(self) -> None:
        if self._monotonic() < self._down_until:
            raise StateUnavailable("it did not answer a moment ago")


def _read(group: str, state: State) -> frozenset[int]:
    return _understood(state.get(_key(group)))


def _decide(group: str, link: int, state: State) -> frozenset[int]:
    """Add a beginning to those that fold early; return the ones that do."""

    def change(raw: bytes | None) -> bytes:
        stand = _understood(raw)
        return orjson.dumps(sorted(stand | {link} if len(stand) < MOST_DECISIONS else stand))

    return _understood(state.update(_key(group), change, KEEP_SECONDS))


def _places(links: Sequence[int], decided: frozenset[int]) -> frozenset[int]:
    """List the numbers of messages at which a decision stands."""
    return frozenset(place for place, link in enumerate(links) if link in decided) if decided else frozenset()


def _key(group: str) -> str:
    return f"fold/{group}"


def _understood(raw: bytes | None) -> frozenset[int]:
    """Read what the state holds; what nobody can read decides nothing."""
    if raw is None:
        return frozenset()
    try:
        read = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return frozenset()
    return frozenset(one for one in read if isinstance(one, int)) if isinstance(read, list) else frozenset()
