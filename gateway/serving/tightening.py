"""Requests under the steps that their policy takes as money runs low, the same in every worker.

A step that is reached holds for conversations that begin, and for others from their next fold on, so that what a
provider has cached is not given up between two folds. It is decided once for a conversation, recorded in the state
before anything is sent, and read by every later request of it: what was folded stays folded, also when the budget
begins anew. What was spent is read from the counters of limits, which all workers share; of a calendar's window it
never becomes less. Without the state nothing is tightened that was not before.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from gateway.config.limits import MOST_LIMITS, Tightening
from gateway.config.policy import Policy
from gateway.conversation import Conversation
from gateway.memory import Memory
from gateway.money.amounts import dollars
from gateway.money.entry import RequestFacts
from gateway.money.ledger import id_time
from gateway.money.tightening import FullestBudget, step_text, steps_reached, steps_together, tightened_policy
from gateway.request import Request
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.models import Model
from gateway.serving.admission import Admitted
from gateway.serving.fit import Fitted, moved_of
from gateway.serving.limiting import Limiting
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec, whole_number
from gateway.state.store import Store
from gateway.wire.limit_errors import budget_tightened

_KEEP_SECONDS: Final = 90 * 86_400.0
"""Seconds that decisions are kept, as those about folds."""
_MOST_DECISIONS: Final = 1000
"""Of conversations that begin alike; further ones are not tightened before the budget refuses them."""
_MEMORY_BYTES: Final = 1 << 20
_LINK_BYTES: Final = 70

Steps = Mapping[int, int]
"""By the hash of a conversation's beginning: the number of steps that were decided there."""


@dataclass(frozen=True, slots=True)
class Tightness:
    """One conversation, and the steps that it is under."""

    policy: Policy
    """As it is declared."""
    stands: int
    """The number of steps that were decided for the conversation."""
    reached: int
    """The number of those that its budgets have reached."""
    budget: str
    """The short name of the fullest budget; empty where nothing is reached."""
    group: str
    link: int
    begins: bool
    """Whether no model has answered in it yet."""

    @property
    def is_pending(self) -> bool:
        return self.reached > self.stands

    @property
    def name(self) -> str:
        """Its steps, as a header says them."""
        return step_text(self.step, self.stands, self.budget) if self.stands else ""

    @property
    def step(self) -> Tightening:
        return steps_together(self.policy, self.stands)

    def applied(self, admitted: Admitted, models: Mapping[str, Model]) -> Admitted:
        """Return the model and the policy of a request under its steps."""
        if not self.stands:
            return admitted
        step = self.step
        model = None if step.model is None else models.get(step.model)
        is_served = model is not None and model.deployments
        policy = tightened_policy(self.policy, step)
        return Admitted(model if model is not None and is_served else admitted.model, policy)


def may_tighten(tightness: Tightness, fitted: Fitted, then: Fitted) -> bool:
    """Say whether a conversation goes on under more steps from here: nothing that is cached is given up for it.

    `fitted` is its request as it would leave now, and `then` under more steps.
    """
    now = fitted.plan
    if tightness.begins or isinstance(now, Refusal) or (isinstance(now, Plan) and now.folds_now):
        return True
    is_alike = fitted.changes == then.changes and not isinstance(then.plan, Refusal)
    return is_alike and fitted.model.name == then.model.name


class Tightenings:
    """One process's way to what was decided for conversations."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._remembered: Memory[str, Steps] = Memory(_MEMORY_BYTES)
        """By group, as far as this process has read. It is never taken back."""

    async def look(
        self,
        policy: Policy,
        request: Request,
        facts: RequestFacts,
        limiting: Limiting,
        known: Known,
        threads: Executor | None,
    ) -> Tightness:
        """Say which steps a request is under; a long one is read in `threads`.

        Raises GatewayError (429) where its policy serves nothing any more.
        """
        budget = await limiting.fullest_budget(facts)
        reached = _reached(policy, budget, facts)
        conversation = request.conversation
        if (moved := moved_of(request, policy, known)) is not None:
            conversation = moved.conversation
        hashed = asyncio.get_running_loop().run_in_executor(threads, _links, conversation) if threads else None
        links = _links(conversation) if hashed is None else await hashed
        group = _group(policy, facts, conversation, links)
        begins = not any(message.role == "assistant" for message in conversation.messages)
        stood = {} if begins else await self._read(group)
        stands = min(max((stood.get(link, 0) for link in links), default=0), len(policy.tighten)) if stood else 0
        name = budget.applied.name if budget is not None and reached else ""
        return Tightness(policy, stands, reached, name, group, links[-1], begins)

    async def decide(self, tightness: Tightness) -> bool:
        """Record that a conversation goes on under all steps that are reached; False where that cannot be."""
        work = partial(self._decided, tightness.group, tightness.link, tightness.reached)
        try:
            stood = await self._store.soon(work, self._store.patience())
        except StateUnavailable:
            return False
        self._remember(tightness.group, stood)
        return stood.get(tightness.link, 0) >= tightness.reached

    async def _read(self, group: str) -> Steps:
        try:
            stood = await self._store.soon(partial(self._stood, group), self._store.patience())
        except StateUnavailable:
            return self._remembered.get(group) or {}
        return self._remember(group, stood)

    def _remember(self, group: str, stood: Steps) -> Steps:
        known = self._remembered.get(group) or {}
        whole = {**known, **stood}
        if whole:
            self._remembered.put(group, whole, _LINK_BYTES * len(whole))
        return whole

    # ------------------------------------------------------------ in a thread

    def _stood(self, group: str, state: State) -> Steps:
        return self._store.understood(STEPS, state.get(_key(group))) or {}

    def _decided(self, group: str, link: int, number: int, state: State) -> Steps:
        """Add a beginning to those that are tightened; return them."""

        def decided(held: Steps | None) -> Steps:
            stood = held or {}
            if link not in stood and len(stood) >= _MOST_DECISIONS:
                return stood
            return {**stood, link: max(number, stood.get(link, 0))}

        stood, _ = self._store.updated(state, _key(group), STEPS, decided, _KEEP_SECONDS)
        return stood


async def refuse_tightened(policy: Policy, facts: RequestFacts, limiting: Limiting) -> None:
    """Raise GatewayError (429) where a policy serves nothing any more."""
    if any(step.refuse for step in policy.tighten):
        _reached(policy, await limiting.fullest_budget(facts), facts)


def _reached(policy: Policy, budget: FullestBudget | None, facts: RequestFacts) -> int:
    """Return how many steps are reached. Raises GatewayError (429) where one of them refuses."""
    reached = 0 if budget is None else steps_reached(policy, budget)
    if budget is None or not reached or not steps_together(policy, reached).refuse:
        return reached
    at = min(step.at for step in policy.tighten if step.refuse)
    party, ends = budget.applied.party, budget.applied.ends
    spent = f"{dollars(budget.spent)} of {dollars(budget.limit)} for {budget.applied.rule.period} is spent"
    told = {"policy": policy.name, "scope": party, "reset": ends, "limit_nanousd": budget.limit}
    told |= {"spent_nanousd": budget.spent, "tighten": f"{at * 100:g}%"}
    seconds = max(1, math.ceil(ends - (id_time(facts.id) or 0.0)))
    raise budget_tightened(party, spent, f"{at * 100:g}%", seconds, told)


def _group(policy: Policy, facts: RequestFacts, conversation: Conversation, links: Sequence[int]) -> str:
    """Name the conversations that begin alike, up to their first words of a user, under one policy of one team."""
    messages = conversation.messages
    first = next((at for at, message in enumerate(messages) if message.role == "user"), 0)
    parts = f"{policy}/{facts.team}/{links[first]:x}"
    return blake2b(parts.encode(), digest_size=16).hexdigest()


def _links(conversation: Conversation) -> list[int]:
    """Hash the beginnings of a conversation, the same in every process."""
    digest = blake2b(digest_size=8)
    for definition in conversation.definitions:
        digest.update(definition.encode(errors="surrogatepass"))
    out = []
    for message in conversation.messages:
        told = f"\0{message.role}\0{message.text}\0{message.call_id}\0{message.calls}"
        digest.update(told.encode(errors="surrogatepass"))
        out.append(int.from_bytes(digest.copy().digest()))
    return out or [0]


def _key(group: str) -> str:
    return f"tighten/{group}"


def _to_json(steps: Steps) -> list[tuple[int, int]]:
    return sorted(steps.items())


def _from_json(said: Any) -> Steps:
    return {whole_number(link, 0, 2**64 - 1): whole_number(number, 1, MOST_LIMITS) for link, number in said}


STEPS: Final = Codec("tightened conversations", 1, _to_json, _from_json)
"""The beginnings at which conversations that begin alike were tightened, each with the number of its steps."""
