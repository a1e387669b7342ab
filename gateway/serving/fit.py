"""From a request and what is known of its model to a plan: the shell that measures, around the core that decides.

Nothing is tokenised where the bytes already prove that the prompt fits; what must be tokenised and is long is read off
the event loop first, so that deciding never holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from types import MappingProxyType
from typing import Protocol

from gateway.budget import media
from gateway.budget.allocation import Window
from gateway.budget.components import (
    OVERHEAD_MESSAGE,
    OVERHEAD_REPLY,
    Anatomy,
    Count,
    Recognition,
    dissect,
    fits_by_bytes,
    message_tokens,
    texts,
    tools_tokens,
)
from gateway.budget.kinds import Kinds, kinds_of, kinds_of_message
from gateway.budget.tokens import LONG_BODY, Counter, Weighed
from gateway.config.policy import Policy
from gateway.config.shares import Shares
from gateway.conversation import Changes, Conversation, Message, last_user, leading_system
from gateway.memory import Memory
from gateway.request import Request
from gateway.rewriting.folds.summarize import Segment, SummaryFacts
from gateway.rewriting.memory import Known
from gateway.rewriting.moved import edits_of, left_of, may_move, with_left, with_moved
from gateway.rewriting.plan import (
    VOLATILE,
    VOLATILE_LEFT,
    Bounded,
    Edit,
    Plan,
    Refusal,
    ladders_of,
    plan,
    recognition_of,
)
from gateway.rewriting.tools import REMEDY as TOOLS_SELECTED
from gateway.rewriting.tools import called, select, task
from gateway.rewriting.volatile import Moved, moved_from
from gateway.routing.models import Model
from gateway.serving.early_folds import LEAST_TOKENS, NO_FOLD_DECISIONS, FoldDecisions
from gateway.state.store import Patience
from gateway.summaries.jobs import NO_SUMMARIES, InlineWait, Job, NoSummaries, SummaryJobs
from gateway.wire.memo import Memo
from gateway.wire.shape import shape_of

_PLAIN = Recognition()

LONG_PLAN = 16 * 1024
"""Bytes of a body from which on a request that has to shrink is planned in a thread: a text that nobody has read yet
takes two to three milliseconds for each thousand tokens."""
LARGE_BODY = 2 * 10**6
"""Bytes from which on a request is read and planned in a process of its own (serving/large): a thread would hold the
interpreter for a tenth of a second and more, at every step over a text of this size."""


def guesses(messages: Sequence[Message]) -> int:
    """Count the parts whose tokens are only guessed."""
    return sum([media.is_estimate(part.kind, part.data) for message in messages for part in message.media])


@dataclass(frozen=True, slots=True)
class Fitted:
    """The decision for one request and one model. `plan` is None where bytes proved that it fits."""

    model: Model
    plan: Plan | Refusal | None
    window: Window
    decision_lost: bool = False
    """Whether summaries were left out because the state could not be asked or told."""
    moved: Moved | None = None
    """Declared volatile text of the request, if there is any."""
    is_moved: bool = False
    """Whether it leaves at its new place: not where no message of ours may stand there, nor where nothing is done."""
    most: int | None = None
    """Most tokens of the prompt beside the answer that the request asks for; None where nothing bounds it."""

    @property
    def changes(self) -> Changes | None:
        """The changes of the request, where the policy enforces them."""
        if self.plan is None:
            return self.moved.changes if self.moved is not None and self.is_moved else None
        return self.plan.changes if isinstance(self.plan, Plan) else None

    def steady(self, request: Request) -> Conversation:
        """Give the conversation without what changes with each request, by which it is told from others."""
        return request.conversation if self.moved is None else self.moved.conversation

    @property
    def summary(self) -> str:
        """The changes, as the plan header says them; "" where there are none."""
        match self.plan:
            case Plan():
                return self.plan.summary
            case None if self.moved is not None:
                return f"{VOLATILE if self.is_moved else VOLATILE_LEFT}={len(self.moved.said)}"
        return ""

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt as it leaves, by our count; None where nobody counted."""
        return self.plan.tokens_after if isinstance(self.plan, Plan) else None

    @property
    def original_tokens(self) -> int | None:
        """Tokens of the prompt as it came, by our count; None where nobody counted, or not with all text in place."""
        match self.plan:
            case Plan() if not self.is_moved:
                return self.plan.tokens_before
            case Refusal():
                return self.plan.prompt_tokens
        return None


@dataclass(frozen=True, slots=True)
class Selection:
    """A request of which not all tools leave, and how that is told."""

    request: Request
    """With the tools that stay."""
    before: Mapping[str, int]
    """Tokens by component as the request came."""
    tokens: int
    """Of the tools that stay, with what else stands beside them."""
    room: Mapping[str, int]
    """The room of each component, as `rooms_of` tells it."""

    @property
    def edit(self) -> Edit:
        return Edit(0, TOOLS_SELECTED, None, self.before["tools"], self.tokens, "tools that bear on the task stay")

    def noted_in(self, found: Plan | Refusal | None) -> Plan | Refusal:
        """Say in a plan that tools were selected; None is one that nobody had to count."""
        if isinstance(found, Refusal):
            return found
        made = found or Plan(self.before, {**self.before, "tools": self.tokens}, self.room)
        return replace(made, before={**made.before, "tools": self.before["tools"]}, edits=(self.edit, *made.edits))


async def selection(
    request: Request,
    policy: Policy,
    model: Model,
    counter: Counter,
    window: Window,
    memo: Memo,
    threads: Executor | None = None,
) -> Selection | None:
    """Select tools as `selected` does; what has to be tokenised first, and what is long, is read off the event loop."""
    if not _may_select(request, policy, window):
        return None
    await counter.learn(texts(request.conversation, counter.messages))
    if len(request.body) < LONG_BODY:
        return selected(request, policy, model, counter, window, memo)
    choose = partial(selected, request, policy, model, counter, window, memo)
    return await asyncio.get_running_loop().run_in_executor(threads, choose)


def selected(
    request: Request, policy: Policy, model: Model, counter: Counter, window: Window, memo: Memo
) -> Selection | None:
    """Leave out tools of a request that does not fit, where the policy asks for it; None where all stay."""
    most = policy.tools.select
    if most is None or not _may_select(request, policy, window):
        return None
    sizes = dissect(
        request.conversation, recognition_of(policy), counter.count, model.count_media, counter.messages
    ).by_component()
    budget = window.budget(request.answer_limit or 0) or 0
    share = policy.allocation.rooms(budget)["tools"] if policy.strict else sizes["tools"]
    if sum(sizes.values()) <= budget and sizes["tools"] <= share:
        return None
    shape = shape_of(request)
    tools = shape.tools(request)
    stay = set(select(tools, task(request.conversation), called(request.conversation), most))
    stay.update(i for i, tool in enumerate(tools) if tool.is_demanded)
    if len(stay) == len(tools):
        return None
    left = shape.with_tools(request, sorted(stay), memo)
    return Selection(left, sizes, tools_tokens(left.conversation, counter.count), rooms_of(policy, budget, sizes))


def _may_select(request: Request, policy: Policy, window: Window) -> bool:
    """Whether there are more tools than the policy wants, in a request that its bytes do not prove to fit."""
    if policy.tools.select is None or not _may_rewrite(request, policy):
        return False
    most = window.budget(request.answer_limit or 0)
    if most is None:
        return False
    if not policy.strict and fits_by_bytes(request.conversation, request.most_tokens, most):
        return False
    return request.may_select and request.conversation.tools > policy.tools.select


class Planner(Protocol):
    """Plans large requests in the place of this process."""

    async def planned(self, form: Form, facts: SummaryFacts | None, early: frozenset[int]) -> Plan | Refusal:
        """Plan as `form.planned` does, after which counting the form is quick. Raises GatewayError."""


async def fit(
    request: Request,
    policy: Policy,
    model: Model,
    counter: Counter,
    window: Window,
    known: Known | None = None,
    summaries: SummaryJobs | NoSummaries = NO_SUMMARIES,
    early_folds: FoldDecisions = NO_FOLD_DECISIONS,
    threads: Executor | None = None,
    job: Callable[[Segment], Job] | None = None,
    planner: Planner | None = None,
) -> Fitted:
    """Decide how the request leaves for this model, within these bounds.

    Without `summaries` none enter, whatever the policy says; without `early_folds` what fits is not folded. Long
    requests are planned in `threads`, else in those of the event loop. `job` makes the job of writing a summary that
    the request waits for, where its policy says so. A large request is planned by the `planner`, if there is one.
    """
    most, known = window.budget(request.answer_limit or 0), known or Known()
    weighing = counter.weighed(window.calibration.weights)
    if planner is None:
        moved = moved_of(request, policy, known)
    else:
        moved = await asyncio.get_running_loop().run_in_executor(threads, moved_of, request, policy, known)
    moves = moved if moved is not None and may_move(model.legal) else None
    most_tokens = window.calibration.grown(request.most_tokens + (0 if moves is None else moves.grown_bytes))
    proven = most is None or fits_by_bytes(request.conversation, most_tokens, most)
    cheaper = early_folds[0].decides and policy.fold.when == "cheaper" and request.most_tokens >= LEAST_TOKENS
    if not _may_rewrite(request, policy) or (proven and not policy.strict and not cheaper):
        return Fitted(model, None, window, most=most, moved=moved, is_moved=moves is not None)
    form = Form(request, policy, model, window, weighing, known, moves)
    patience = max(summaries.patience(), early_folds[0].patience(), key=lambda one: one.seconds)
    found, lost = await _settled(form, summaries, early_folds, threads, job, patience, planner)
    if moves is None or planner is None:
        told = form.told(found)
    else:
        told = await asyncio.get_running_loop().run_in_executor(threads, form.told, found)
    if told is None:
        form = replace(form, moved=None)
        told, lost = await _settled(form, summaries, early_folds, threads, job, patience, planner)
    if moved is not None and form.moved is None and isinstance(told, Plan):
        told = with_left(told, moved, form.anatomy)
    return Fitted(model, told, window, lost, moved, form.moved is not None, most)


def moved_of(request: Request, policy: Policy, known: Known) -> Moved | None:
    """Find what the policy declares volatile in a request; nothing where it is not to be touched."""
    patterns = policy.prompt_cache.volatile
    return moved_from(request, patterns, known.volatile) if patterns and _may_rewrite(request, policy) else None


def _may_rewrite(request: Request, policy: Policy) -> bool:
    """Whether the policy rewrites at all, and all of the conversation is here to be seen."""
    return policy.mode != "off" and request.conversation.elsewhere is None


async def _settled(
    form: Form,
    summaries: SummaryJobs | NoSummaries,
    early_folds: FoldDecisions,
    threads: Executor | None,
    job: Callable[[Segment], Job] | None,
    patience: Patience,
    planner: Planner | None = None,
) -> tuple[Plan | Refusal, bool]:
    """Plan a request, long ones off the event loop, with what is decided of its summaries and early folds."""
    request, policy = form.request, form.policy
    if planner is None:
        await form.counter.learn(form.texts())
    size, run = len(request.body), asyncio.get_running_loop().run_in_executor

    async def planning(early: frozenset[int], facts: SummaryFacts | None) -> Plan | Refusal:
        if planner is not None:
            return await planner.planned(form, facts, early)
        decide = partial(form.planned, facts, early)
        if size >= LONG_BODY or (size >= LONG_PLAN and (early or not form.fits)):
            return await run(threads, decide)
        return decide()

    async def summarised(early: frozenset[int]) -> tuple[Plan | Refusal, bool]:
        if policy.mode != "enforce" or not policy.summarize.enabled:
            return await planning(early, None), False
        # What is folded early may not be folded at all once its cost is known: nobody waits for a summary of it.
        waits = job is not None and policy.summarize.run == "inline" and len(form.conversation.messages) not in early
        waiting = InlineWait(job, policy.summarize.timeout) if job is not None and waits else None
        return await summaries.plan_with_state(partial(planning, early), writer_of(policy, request), waiting, patience)

    if policy.mode != "enforce" or policy.strict:
        return await summarised(frozenset())
    folds, begins = early_folds
    return await folds.settled(begins, summarised, when=policy.fold.when, patience=patience)


def writer_of(policy: Policy, request: Request) -> str:
    """Name the model that writes summaries for a request."""
    return request.model if policy.summarize.model == "same" else policy.summarize.model


def decided(
    request: Request,
    policy: Policy,
    model: Model,
    window: Window,
    counter: Counter,
    known: Known | None = None,
    facts: SummaryFacts | None = None,
    early: frozenset[int] = frozenset(),
) -> Plan | Refusal:
    """Count the request and plan it, here and now."""
    known, weighing = known or Known(), counter.weighed(window.calibration.weights)
    moved = moved_of(request, policy, known)
    moves = moved if moved is not None and may_move(model.legal) else None
    form = Form(request, policy, model, window, weighing, known, moves)
    told = form.told(form.planned(facts, early))
    if told is None:
        form = replace(form, moved=None)
        told = form.planned(facts, early)
    if moved is not None and form.moved is None and isinstance(told, Plan):
        return with_left(told, moved, form.anatomy)
    return told


MOST_REWRITTEN = 20_000
"""Messages of a conversation that is rewritten: the steps of a fold, each over all of them, take a minute for some four
times as many. One of more leaves whole, or is refused."""
HUGE_TEXT = LARGE_BODY
"""Characters of a text from which on its bytes are asked first whether it can be within the budget at all."""


@dataclass(frozen=True)
class Form:
    """A request in the form in which it is planned: as it came, or with its volatile text at another place."""

    request: Request
    policy: Policy
    model: Model
    window: Window
    counter: Counter | Weighed
    known: Known
    moved: Moved | None

    @property
    def conversation(self) -> Conversation:
        return self.request.conversation if self.moved is None else self.moved.conversation

    @property
    def plain(self) -> Counter:
        """The counter of tokens, whatever they weigh at the provider."""
        return self.counter if isinstance(self.counter, Counter) else self.counter.plain

    @property
    def fits(self) -> bool:
        most = self.window.budget(self.request.answer_limit or 0)
        return most is None or self.anatomy.total <= most

    @cached_property
    def least(self) -> Mapping[str, int]:
        """The fewest tokens of texts that are many times too long to leave, so that nobody need count them.

        Such a text cannot leave as it is, whatever its count: what leaves is counted without it, and fits (law 1).
        """
        most = self.window.budget(self.request.answer_limit or 0)
        if most is None:
            return {}
        bounds = {text: self.counter.at_least(text) for text in self._huge()}
        return {text: tokens for text, tokens in bounds.items() if tokens > most}

    def _huge(self) -> list[str]:
        if len(self.request.body) < HUGE_TEXT:
            return []
        return [text for text in texts(self.conversation, Memory(0)) if len(text) >= HUGE_TEXT]

    @cached_property
    def bounded(self) -> Bounded | None:
        """Tell whether counts of it are bounds, and which."""
        if self.least:
            return "at least"
        return "at most" if any(map(self.counter.is_bounded, self._huge())) else None

    @cached_property
    def count(self) -> Count:
        """The counter of a text; one that is many times too long is counted by its bytes."""
        least, counted = self.least, self.counter.count
        return (lambda text: least.get(text) or counted(text)) if least else counted

    @cached_property
    def anatomy(self) -> Anatomy:
        """The request taken apart and counted."""
        sizes = Memory[Message, int](0) if self.least else self.counter.messages
        found = dissect(self.conversation, recognition_of(self.policy), self.count, self.model.count_media, sizes)
        if self.moved is None:
            return found
        return replace(found, moved_tokens=OVERHEAD_MESSAGE + self.count(self.moved.text))

    @cached_property
    def least_of_all(self) -> int:
        """The fewest tokens of a conversation of too many messages, if that proves that it does not fit; else 0."""
        number, most = len(self.conversation.messages), self.window.budget(self.request.answer_limit or 0)
        least = OVERHEAD_REPLY + OVERHEAD_MESSAGE * number
        return least if number > MOST_REWRITTEN and most is not None and least > most else 0

    def _refusal_of_many(self) -> Refusal | None:
        """Refuse a conversation of too many messages that does not fit, by their number alone where that proves it."""
        most = self.window.budget(self.request.answer_limit or 0)
        if most is None or len(self.conversation.messages) <= MOST_REWRITTEN:
            return None
        if least := self.least_of_all:
            return Refusal("history", least, most, "messages", least, most, {"history": least}, bounded="at least")
        if self.fits:
            return None
        before, total = self.anatomy.by_component(), self.anatomy.total
        return Refusal("history", total, most, "messages", total, most, before, bounded=self.bounded)

    def texts(self) -> list[str]:
        """List every text that counting will ask for."""
        own = texts(self.conversation, self.counter.messages)
        own = [text for text in own if text not in self.least] if self.least else own
        return own if self.moved is None else [*own, self.moved.text, *self.moved.said.values()]

    def planned(self, facts: SummaryFacts | None, early: frozenset[int]) -> Plan | Refusal:
        """Decide how it leaves; the plan does not tell of what was moved.

        The memory of texts holds counts, so a bound neither goes there nor comes from there.
        """
        if (refusal := self._refusal_of_many()) is not None:
            return refusal
        limit, known, legal = self.request.answer_limit or 0, Known() if self.least else self.known, self.model.legal
        found = plan(self.anatomy, self.policy, self.window, limit, legal, self.count, known, facts, early)
        return found if self.bounded is None else replace(found, bounded=self.bounded)

    def told(self, found: Plan | Refusal) -> Plan | Refusal | None:
        """Add to a plan what was moved; None where the text is to be left: it does not fit, or would be illegal."""
        if self.moved is None:
            return found
        if isinstance(found, Refusal):
            return None
        came, legal = self.request.conversation.messages, self.model.legal
        return with_moved(found, self.moved, came, self.anatomy, legal, self.counter.count)


def rooms_of(
    policy: Policy, budget: int, before: Mapping[str, int], granted: Mapping[str, int] | None = None
) -> Mapping[str, int]:
    """Return what each component may take before it is cut, for reports: its share, or more where it borrowed more.

    `before` are the tokens of the request as far as they are known, `granted` what a plan made of the shares. Without
    `strict`, components that have a remedy share what the others leave.
    """
    nominal = _shares_of(policy.allocation, budget)
    if not before and not granted:
        return nominal
    if not policy.strict and before:
        shares, cut = policy.allocation, ladders_of(policy).with_remedy
        rest = budget - sum(before[name] for name in before if name not in cut)
        nominal = {**nominal, **shares.rooms(rest, cut)}
    return {name: max(room, (granted or {}).get(name, 0)) for name, room in nominal.items()}


@lru_cache(maxsize=1024)
def _shares_of(allocation: Shares, budget: int) -> Mapping[str, int]:
    """Divide a budget by a policy's shares. Most requests of a policy have the same, and nobody counts them."""
    return MappingProxyType(allocation.rooms(budget))


def byte_edits(request: Request, fitted: Fitted) -> list[Edit]:
    """List what is done to a request that nobody counted, with sizes in bytes."""
    moved = fitted.moved
    if moved is None:
        return []
    sizes = {index: request.extent(index, index + 1) for index in moved.said}
    if not fitted.is_moved:
        return left_of(moved, sizes)
    stays = {index: size - utf8_bytes(moved.said[index]) for index, size in sizes.items()}
    return edits_of(moved, stays, utf8_bytes(moved.text), utf8_bytes)


def utf8_bytes(text: str) -> int:
    return len(text.encode())


def kinds_sent(request: Request, changes: Changes | None, counter: Counter) -> Kinds:
    """Count what was sent by kind of text, of a request without media."""
    conversation = request.conversation
    messages = conversation.messages if changes is None else changes.applied(conversation.messages)
    known = counter.kinds.get_all(messages)
    read = [one or _kinds(message, counter) for message, one in zip(messages, known, strict=True)]
    read += [kinds_of(text, counter.count(text)) for text in conversation.definitions]
    words, ids, others = (sum(of) for of in zip(*read, strict=True))
    return Kinds(words + OVERHEAD_REPLY, ids, others)


def _kinds(message: Message, counter: Counter) -> Kinds:
    tokens = counter.messages.get(message) or message_tokens(message, counter.count, lambda _: 0)
    kinds = kinds_of_message(message, tokens, counter.count)
    counter.kinds.put(message, kinds, 2 * len(message.text))
    return kinds


async def prompt_tokens(request: Request, model: Model, counter: Counter | Weighed) -> int:
    """Count the prompt as it came, for a request that nobody had to count before."""
    await counter.learn(texts(request.conversation, counter.messages))
    return dissect(request.conversation, _PLAIN, counter.count, model.count_media, counter.messages).total


def byte_sizes(request: Request) -> dict[str, int]:
    """Bytes of the body by component, for requests that are not counted; examples and documents count as history."""
    messages = request.conversation.messages
    head, count = leading_system(messages), len(messages)
    system = request.extent(0, head)
    last = count - 1
    while last > head and messages[last].is_result:
        last -= 1
    own = request.extent(last, count) if last >= head else 0
    asked = last_user(messages)
    if asked is not None and head <= asked < last:
        own += request.extent(asked, asked + 1)
    history = request.extent(0, count) - system - own
    return {"system": system, "tools": request.tools_size, "history": max(0, history), "input": own}
