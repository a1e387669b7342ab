"""Folds that nothing forces: offered where they are cheap, decided once, recorded, and read by every later request.

Processes see the contents of a provider's cache and the lengths of conversations differently, so these may enter only
once (law 5): the process that finds that a fold pays records the beginning of the conversation at which it does, before
anything is sent, and from then on that beginning is folded for everybody. One entry of the state holds what was decided
for conversations that begin alike; it is read where a request is over, or may fold early by its policy, and never
otherwise. A state that is down means no early folds but those that this process remembers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol

import orjson

from gateway.conversation import Changes
from gateway.memory import USUAL, Memory
from gateway.prompt_cache.economics import Option, Outlook, fold_pays
from gateway.rewriting.plan import Plan, Refusal
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec, whole_number
from gateway.state.store import Patience, Store

KEEP_SECONDS: Final = 90 * 86_400.0
"""Seconds that decisions are kept, as those about summaries."""
MOST_DECISIONS: Final = 1000
"""Of conversations that begin alike; beyond, nothing more is decided for them, so that nothing is ever taken back."""
LEAST_TOKENS: Final = 2048
"""Prompts that are surely shorter are never folded early: there is nothing to be saved."""
_LINK_BYTES: Final = 60

Planning = Callable[[frozenset[int]], Awaitable[tuple[Plan | Refusal, bool]]]
"""Plans with these prefixes folded early; whether other decisions were lost."""


class Judge(Protocol):
    """The source of facts about the cache and the prices. Asked in this order, the second only where the first says
    yes.
    """

    def may_fold(self, plan: Plan) -> bool:
        """Say whether a fold beyond what this plan does is worth working out."""

    def pays(self, plan: Plan, folded: Plan) -> bool:
        """Say whether the request leaves as `folded`, from now on."""


@dataclass(frozen=True, slots=True)
class ByCost:
    """Judges by expected cost.

    A request that fits is left alone unless the policy says `cheaper`. One that was folded before may be folded again
    when most of it has to be written anew whatever is done: it expired, is new at this deployment, or the client
    changed its beginning.
    """

    when: Literal["over", "cheaper"]
    outlook: Outlook
    budget: int | None
    """Of a prompt; None where there is no bound."""
    warm: Callable[[Changes | None], int]
    """Tokens that the cache holds at the beginning of the request, if it leaves with these changes."""

    def may_fold(self, plan: Plan) -> bool:
        if self.when == "cheaper":
            return True
        return plan.changes is not None and 2 * self.warm(plan.changes) < plan.tokens_after

    def pays(self, plan: Plan, folded: Plan) -> bool:
        warm = self.warm(folded.changes)
        rebought = folded.tokens_after - warm
        after = Option(folded.tokens_after, warm, self._lasts(folded), rebought)
        before = Option(plan.tokens_after, self.warm(plan.changes), self._lasts(plan), rebought)
        return fold_pays(after, before, self.outlook)

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
    """The key of conversations that begin alike: policy, tools, system text, first message."""
    links: Sequence[int]
    """By number of messages: the hash of so many, with the tools, the same in every process."""
    judge: Judge


class NoEarlyFolds:
    """The way of a process that decides nothing: what nothing forces is not folded."""

    decides: Final = False

    def patience(self) -> Patience:
        return Patience(0.0)

    async def settled(
        self,
        begins: Callable[[], Beginnings | None],
        planning: Planning,
        *,
        when: Literal["over", "cheaper"],
        patience: Patience | None = None,
    ) -> tuple[Plan | Refusal, bool]:
        return await planning(frozenset())


class EarlyFolds:
    """One process's way to the decisions."""

    decides: Final = True

    def __init__(self, store: Store, most_bytes: int = USUAL.bytes_for("early folds")) -> None:
        self._store = store
        self._remembered: Memory[str, frozenset[int]] = Memory(most_bytes)
        """By group: what was decided, as far as this process has read. It is never taken back."""

    def patience(self) -> Patience:
        """Return how long one request waits for the state, in all."""
        return self._store.patience()

    async def settled(
        self,
        begins: Callable[[], Beginnings | None],
        planning: Planning,
        *,
        when: Literal["over", "cheaper"],
        patience: Patience | None = None,
    ) -> tuple[Plan | Refusal, bool]:
        """Plan with what was decided, and decide where a fold pays now; whether decisions could not be read.

        `begins` is asked only where a decision may stand; it names nothing that is too short for a cache. The decisions
        that this process remembers hold while the state does not answer.
        """
        patience = patience or self.patience()
        plan, lost = await planning(frozenset())
        if isinstance(plan, Refusal) or (plan.changes is None and when == "over"):
            return plan, lost
        beginnings = begins()
        if beginnings is None:
            return plan, lost
        group, unread = beginnings.group, False
        try:
            stand = await self._asked(group, partial(self._read, group), patience)
        except StateUnavailable:
            stand, unread = self._remembered.get(group) or frozenset(), True
        early = _places(beginnings.links, stand)
        if early:
            plan, lost = await planning(early)
        if unread:
            return plan, True
        whole = len(beginnings.links) - 1
        if isinstance(plan, Refusal) or lost or whole in early or not beginnings.judge.may_fold(plan):
            return plan, lost
        folded, lost = await planning(early | {whole})
        if isinstance(folded, Refusal) or lost or folded.changes == plan.changes:
            return plan, False
        if not beginnings.judge.pays(plan, folded):
            return plan, False
        try:
            stand = await self._asked(group, partial(self._decide, group, beginnings.links[whole]), patience)
        except StateUnavailable:
            return plan, False  # it is not folded, and nothing was lost
        return (folded if beginnings.links[whole] in stand else plan), False

    async def _asked(self, group: str, work: Callable[[State], frozenset[int]], patience: Patience) -> frozenset[int]:
        """Ask the state what was decided, and remember it."""
        stand = await self._store.soon(work, patience) | (self._remembered.get(group) or frozenset())
        if stand:
            self._remembered.put(group, stand, _LINK_BYTES * len(stand))
        return stand

    # ------------------------------------------------------------ in a thread

    def _read(self, group: str, state: State) -> frozenset[int]:
        return self._store.understood(LINKS, state.get(_key(group))) or frozenset()

    def _decide(self, group: str, link: int, state: State) -> frozenset[int]:
        """Add a beginning to those that fold early; return the ones that do."""

        def decided(held: frozenset[int] | None) -> frozenset[int]:
            stand = held or frozenset()
            return stand | {link} if len(stand) < MOST_DECISIONS else stand

        stand, _ = self._store.updated(state, _key(group), LINKS, decided, KEEP_SECONDS)
        return stand


FoldDecisions = tuple[EarlyFolds | NoEarlyFolds, Callable[[], Beginnings | None]]
"""The way to the decisions, and what tells the beginnings of a request that they are asked about."""
NO_FOLD_DECISIONS: Final[FoldDecisions] = (NoEarlyFolds(), lambda: None)


def _places(links: Sequence[int], decided: frozenset[int]) -> frozenset[int]:
    """List the numbers of messages at which a decision stands."""
    return frozenset(place for place, link in enumerate(links) if link in decided) if decided else frozenset()


def _key(group: str) -> str:
    return f"fold/{group}"


def _from_json(said: Any) -> frozenset[int]:
    return frozenset([whole_number(one, -(2**63), 2**64 - 1) for one in said])


LINKS: Final = Codec("early folds", 1, sorted, _from_json, earlier=lambda raw: _from_json(orjson.loads(raw)))
"""The beginnings at which conversations that begin alike are folded."""
