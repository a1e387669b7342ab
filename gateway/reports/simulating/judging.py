"""Policies judged by traffic: each request is planned as the live path plans it, and what would have left is weighed.

Decides with the functions of the live path (`fitting.decided`, `chat.sent`). The request that leaves is read and
counted again from its bytes, so that a plan is not believed on its own word. Nothing is sent; the order of turns and
their times are all that is known of the past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.budget.components import Anatomy, Recognition, dissect
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy
from gateway.reports.simulating.carried_values import Carried, carried, lost
from gateway.reports.simulating.price_rules import Chain, PrefixCache, Rule, chain
from gateway.reports.simulating.traffic import Turn
from gateway.request import Request
from gateway.rewriting.plan import Refusal
from gateway.routing.models import Model
from gateway.serving.admission import chosen_policy
from gateway.serving.fit import decided, selected
from gateway.wire.errors import GatewayError
from gateway.wire.memo import Memo
from gateway.wire.shape import OWN

MOST_EXAMPLES = 5
_MOST_OF_A_TURN = 2
_PLAIN = Recognition()


@dataclass(slots=True)
class ReplayCost:
    """The cost of prompts under one price rule."""

    tokens: int = 0
    cached: int = 0
    cost: float = 0.0
    """In tokens of the plain price."""

    @property
    def cached_share(self) -> float:
        return self.cached / self.tokens if self.tokens else 0.0


@dataclass(slots=True)
class RefusedRequests:
    """Requests that a policy refuses for the same reason."""

    why: str
    count: int = 0
    tokens: int = 0
    """The tokens that the largest of them needed; the rest is of that one."""
    room: int = 0
    at: str = ""
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """A value that an answer used and that the request it answered would not have held any more."""

    conversation: str
    turn: int
    """The length of the request in messages, which is the index of the answer."""
    carried: Carried


@dataclass(slots=True)
class Verdict:
    """The effect of one policy on the traffic."""

    policy: str
    mode: str
    requests: int = 0
    touched: int = 0
    refused: dict[str, RefusedRequests] = field(default_factory=dict)
    tokens_before: int = 0
    """Of the requests that are not refused."""
    tokens_after: int = 0
    bills: dict[str, ReplayCost] = field(default_factory=dict)
    """By price rule, of what leaves."""
    as_it_came: dict[str, ReplayCost] = field(default_factory=dict)
    """By price rule, of the same requests as they came."""
    carried: int = 0
    """Carried values of the requests that are not refused."""
    carried_when_touched: int = 0
    lost: int = 0
    examples: list[Loss] = field(default_factory=list)
    lengths: dict[str, list[int | None]] = field(default_factory=dict)
    """By conversation, the tokens of each turn; None where it is refused."""
    unbounded: int = 0
    """Requests of which neither the policy nor the model says how large they may be."""
    left_out: set[str] = field(default_factory=set)
    """Keys of the policy that act on live traffic and not here."""

    @property
    def refusals(self) -> int:
        return sum(refused.count for refused in self.refused.values())

    def relative(self, rule: str) -> float | None:
        """Compare the cost with that of the same requests as they came, which is 1; None where nothing was sent."""
        came = self.as_it_came[rule].cost
        return self.bills[rule].cost / came if came else None


@dataclass(frozen=True, slots=True)
class Simulation:
    """All that was found out."""

    requests: int
    conversations: int
    answers: int
    """The number of requests with an answer whose values could be looked for."""
    as_it_came: Verdict
    """The traffic itself, as if under a policy that does nothing."""
    verdicts: tuple[Verdict, ...]
    rules: Mapping[str, Rule]
    timed: bool
    """Whether the requests carried times, so that what lay in the provider's cache could expire."""


def judge_policies(
    turns: Sequence[Turn],
    policies: Sequence[Policy],
    model_of: Callable[[Turn], Model],
    counter_of: Callable[[Model], Counter],
    rules: Mapping[str, Rule],
) -> Simulation:
    """Judge the policies by the turns, in the order given."""
    came = _Judge(None, rules)
    judges = [_Judge(policy, rules) for policy in policies]
    memo = Memo()
    answers, now = 0, 0.0
    for turn in turns:
        now = now if turn.at is None else turn.at
        answers += turn.answer is not None
        model = model_of(turn)
        read = _Reading(memo, model, counter_of(model), now)
        prompt = read.prompt(OWN.read(turn.body, memo))
        wanted = () if turn.answer is None else carried(prompt.request.conversation, turn.answer)
        for judge in (came, *judges):
            judge.judge(turn, prompt, wanted, read)
    return Simulation(
        requests=len(turns),
        conversations=len(came.verdict.lengths),
        answers=answers,
        as_it_came=came.verdict,
        verdicts=tuple(judge.verdict for judge in judges),
        rules=rules,
        timed=bool(turns) and all(turn.at is not None for turn in turns),
    )


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A request, counted and cut into the blocks of a provider's cache."""

    request: Request
    tokens: int
    chain: Chain


@dataclass(frozen=True, slots=True)
class _Reading:
    """The model and the counter that a moment's requests are read with."""

    memo: Memo
    model: Model
    counter: Counter
    now: float

    def prompt(self, request: Request) -> _Prompt:
        anatomy: Anatomy = dissect(request.conversation, _PLAIN, self.counter.count, self.model.count_media)
        blocks = chain(self.model.name, request.conversation, anatomy.tools_tokens, anatomy.tokens)
        return _Prompt(request, anatomy.total, blocks)


class _Judge:
    """One policy, or none, with provider caches of its own: for what it sends, and for the same as it came."""

    def __init__(self, policy: Policy | None, rules: Mapping[str, Rule]) -> None:
        self.policy = policy
        self.verdict = Verdict("as it came" if policy is None else str(policy), policy.mode if policy else "off")
        self.verdict.bills = {name: ReplayCost() for name in rules}
        self.verdict.as_it_came = self.verdict.bills if policy is None else {name: ReplayCost() for name in rules}
        self._rules = rules
        self._sent = _Caches(rules)
        self._came = _Caches(rules)

    def judge(self, turn: Turn, prompt: _Prompt, wanted: Sequence[Carried], read: _Reading) -> None:
        verdict = self.verdict
        verdict.requests += 1
        leaves = self._leaves(turn, prompt, read)
        lengths = verdict.lengths.setdefault(turn.conversation, [])
        lengths.append(None if leaves is None else leaves.tokens)
        if leaves is None:
            return
        verdict.tokens_before += prompt.tokens
        verdict.tokens_after += leaves.tokens
        verdict.carried += len(wanted)
        self._enter(verdict.bills, self._sent, leaves, read.now)
        if self.policy is None:
            return
        self._enter(verdict.as_it_came, self._came, prompt, read.now)
        if leaves is not prompt:
            verdict.touched += 1
            verdict.carried_when_touched += len(wanted)
            self._look_for(wanted, prompt, leaves, turn)

    def _leaves(self, turn: Turn, prompt: _Prompt, read: _Reading) -> _Prompt | None:
        """Give the request as it leaves; None where it is refused."""
        request = prompt.request
        if self.policy is None:
            return prompt
        try:
            policy = chosen_policy(self.policy, request, {})
        except GatewayError as error:
            self._count_refusal(error.message)
            return None
        self.verdict.left_out.update(_left_out(policy))
        window = read.model.bounds(policy, answer_limit=request.answer_limit, thinking=request.thinking)
        self.verdict.unbounded += window.budget(request.answer_limit or 0) is None
        selection = selected(request, policy, read.model, read.counter, window, read.memo)
        if selection is not None:
            request = selection.request
            prompt = read.prompt(request)
        found = decided(request, policy, read.model, window, read.counter)
        if isinstance(found, Refusal):
            self._refuse(found, turn)
            return None
        if found.changes is None:
            return prompt
        return read.prompt(OWN.read(OWN.write(request, request.model, found.changes), read.memo))

    def _count_refusal(self, why: str) -> RefusedRequests:
        entry = self.verdict.refused.setdefault(why, RefusedRequests(why))
        entry.count += 1
        return entry

    def _refuse(self, refusal: Refusal, turn: Turn) -> None:
        entry = self._count_refusal(refusal.illegal or f"{refusal.component} too large")
        if refusal.tokens > entry.tokens:
            entry.tokens, entry.room, entry.at = refusal.tokens, refusal.room, refusal.at
            entry.conversation = turn.conversation

    def _enter(self, bills: Mapping[str, ReplayCost], caches: _Caches, prompt: _Prompt, now: float) -> None:
        for name, cached in caches.read(prompt.chain, now):
            bill = bills[name]
            bill.tokens += prompt.tokens
            bill.cached += cached
            bill.cost += self._rules[name].cost(prompt.tokens, cached)

    def _look_for(self, wanted: Sequence[Carried], prompt: _Prompt, leaves: _Prompt, turn: Turn) -> None:
        verdict, length = self.verdict, len(prompt.request.conversation.messages)
        for one in lost(wanted, leaves.request.conversation):
            verdict.lost += 1
            known = verdict.examples
            of_this_turn = sum(loss.conversation == turn.conversation and loss.turn == length for loss in known)
            told = any(loss.carried.value == one.value for loss in known) or of_this_turn >= _MOST_OF_A_TURN
            if len(known) < MOST_EXAMPLES and not told:
                known.append(Loss(turn.conversation, length, one))


def _left_out(policy: Policy) -> Iterator[str]:
    """Name what a policy does by what the gateway has seen of live traffic, or by calls of its own."""
    if policy.fold.when == "cheaper":
        yield "fold.when: cheaper"
    if policy.summarize.enabled:
        yield "summarize"
    if policy.prompt_cache.warm:
        yield "prompt_cache.warm"


class _Caches:
    """A provider's cache for each price rule; rules that cache alike share one."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._of: dict[tuple[int, int, float], PrefixCache] = {}
        self._rules = [(name, (rule.least, rule.step, rule.lifetime), rule) for name, rule in rules.items()]

    def read(self, prompt: Chain, now: float) -> Iterator[tuple[str, int]]:
        """Yield, for each rule, how many tokens are read from the cache."""
        known: dict[tuple[int, int, float], int] = {}
        for name, alike, rule in self._rules:
            if alike not in known:
                known[alike] = self._of.setdefault(alike, PrefixCache(rule)).cached(prompt, now)
            yield name, known[alike]
