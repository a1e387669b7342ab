"""Laws 1 and 5 to 9 where a model writes summaries: what enters is decided once, stays, and fits.

The model is a stand-in that needs some requests' time, and whose summaries sometimes never come. What is decided is
recorded as the shell does it, under the key that the plan names.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget.components import OVERHEAD_MESSAGE
from gateway.config.ladder import Ladder
from gateway.config.policy import Policy, Reserve, Summarize
from gateway.rewriting import ours
from gateway.rewriting.folds.summarize import LINE, Segment, SummaryFacts, line
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, Refusal
from gateway.serving.fit import decided
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from tests.conftest import Conversations
from tests.laws import idempotence, oracle, test_fit, test_progress, transcripts
from tests.laws.driving import Left, Walk, counter_of
from tests.laws.generators import SENT, Case, Talk, cases
from tests.laws.test_stability import check_stability

NEVER = 10**6
FEWER = settings().max_examples // 3
"""Each example is walked twice, the second time from the beginning for every request."""


def written(segment: Segment, count: oracle.CountText) -> str:
    """Write a summary of just the length that is allowed."""
    text, most = f"summary {segment.key[:8]}", segment.limit + LINE - OVERHEAD_MESSAGE
    while count(f"{text} and more") <= segment.limit and count(line(segment, f"{text} and more")) <= most:
        text += " and more"
    return text


class Summarised(Walk):
    """A walk whose summaries arrive so many requests after they were first asked for."""

    def __init__(self, case: Case, lags: tuple[int, ...], count: oracle.CountText = oracle.quarter) -> None:
        self.case, self.count, self.lags = case, count, lags
        self.upto = case.talk.requests()
        self.texts: dict[str, str] = {}
        self.decisions: dict[str, tuple[str, ...]] = {}
        self.due: dict[str, tuple[int, str]] = {}
        self.segments: dict[str, Segment] = {}
        """Text → what it is of."""
        memo, known = Memo(), Known()
        self.left = [self._served(step, memo, known) for step in range(len(self.upto))]

    def _served(self, step: int, memo: Memo, known: Known) -> Left:
        self.texts |= {key: text for key, (at, text) in self.due.items() if at <= step}
        left = self.leave(step, memo, known)
        if self.case.policy.summarize.run == "inline" and isinstance(left.plan, Plan):
            left = self._waited(left, step, memo, known)
        if isinstance(left.plan, Plan):
            for event in left.plan.events:
                self.decisions.setdefault(event.prefix, event.decision)
            for segment in left.plan.wanted:
                self._asked(segment, step)
        return left

    def _asked(self, segment: Segment, step: int) -> int:
        """Have a summary written; the step at which it is there."""
        lag, text = self.lags[len(self.due) % len(self.lags)], written(segment, self.count)
        self.segments[text] = segment
        return self.due.setdefault(segment.key, (step + lag, text))[0]

    def _waited(self, left: Left, step: int, memo: Memo, known: Known) -> Left:
        """Wait for the summary of an undecided fold, as the shell does: the quickest come in time."""
        assert isinstance(left.plan, Plan)
        offered = {key for e in left.plan.events if e.prefix not in self.decisions for key in e.candidates}
        for segment in [segment for segment in left.plan.wanted if segment.key in offered]:
            if self._asked(segment, step) <= step + 1:
                self.texts[segment.key] = self.due[segment.key][1]
                return self.leave(step, memo, known)
        return left

    def leave(self, step: int, memo: Memo, known: Known) -> Left:
        request = parse(self.case.talk.body(self.upto[step]), memo)
        policy, model, counter = self.case.policy, self.case.model, counter_of(self.count)
        facts = SummaryFacts(self.texts, self.decisions, "writer")
        window = model.bounds(policy, answer_limit=request.answer_limit, thinking=request.thinking)
        plan = decided(request, policy, model, window, counter, known, facts)
        if isinstance(plan, Refusal):
            return Left(plan, None)
        return Left(plan, sent(request, SENT, plan.changes))

    def entered(self) -> Iterator[str]:
        """Give every summary that a fold took in."""
        for left in self.left:
            if isinstance(left.plan, Plan):
                for event in left.plan.events:
                    yield from event.decision


def summarising(case: Case, run: Literal["background", "inline"] = "background") -> Case:
    """Let a model write, under the same policy."""
    ladder = case.policy.ladder
    history = ("summarize", *ladder.history) if ladder.history else ()
    told = Summarize(enabled=bool(history), model="writer", at_most=0.3, run=run)
    return replace(case, policy=replace(case.policy, ladder=replace(ladder, history=history), summarize=told))


CASES = cases(strict=False, limits=False).map(summarising)
LAGS = st.lists(st.sampled_from([1, 1, 2, 5, NEVER]), min_size=1, max_size=4).map(tuple)


def check(walk: Summarised, every: int = 1) -> None:
    """Hold a whole conversation to the laws; to determinism, one request of so many."""
    check_stability(walk)
    check_one_way(walk)
    check_stays(walk)
    idempotence.check(walk)
    test_progress.check(walk)
    check_determinism(walk, every)


def check_determinism(walk: Summarised, every: int = 1) -> None:
    """Hold a request to leaving as it left, in a process that knows nothing, with all that was written since."""
    walk.texts |= {key: text for key, (at, text) in walk.due.items() if at < NEVER}
    for step in reversed(range(0, len(walk.left), every)):
        again = walk.leave(step, Memo(), Known())
        assert again.fingerprint() == walk.left[step].fingerprint()


def check_one_way(walk: Summarised) -> None:
    """Hold summaries to law 7: each is of originals, and stands as it was written for as long as it stands."""
    texts = {ours.quoted(text) for text in walk.texts.values()}
    for left in walk.left:
        for one in left.changes.inserted if left.changes is not None else ():
            if one.kind == "summary":
                assert one.text.partition("\n")[2] in texts


def standing(left: Left, walk: Summarised) -> list[Segment]:
    """List what the summaries that stand in a request are of."""
    said = [one.text for one in left.changes.inserted] if left.changes is not None else []
    return [segment for text, segment in walk.segments.items() if any(line(segment, text) in one for one in said)]


def check_stays(walk: Summarised) -> None:
    """Hold a summary to standing until one enters that is of all its messages, or nothing else would fit."""
    for before, after in pairwise(walk.left):
        if isinstance(after.plan, Plan) and not after.forced and after.changes is not None:
            now = [set(segment.messages) for segment in standing(after, walk)]
            for segment in standing(before, walk):
                assert any(messages.issuperset(segment.messages) for messages in now)


@given(cases(strict=False, limits=False).map(partial(summarising, run="inline")), LAGS)
@settings(max_examples=FEWER)
def test_where_requests_wait_the_laws_hold(case: Case, lags: tuple[int, ...]) -> None:
    check(Summarised(case, lags))


@given(CASES, LAGS)
@settings(max_examples=FEWER)
def test_with_summaries_the_laws_hold(case: Case, lags: tuple[int, ...]) -> None:
    check(Summarised(case, lags))


@given(cases(strict=False).map(summarising), LAGS)
@settings(max_examples=FEWER)
def test_with_summaries_what_is_sent_fits(case: Case, lags: tuple[int, ...]) -> None:
    test_fit.check(Summarised(case, lags))


@pytest.mark.long
@given(CASES)
@settings(max_examples=FEWER)
def test_summaries_that_never_come_change_nothing_but_what_was_asked(case: Case) -> None:
    ladder = case.policy.ladder
    plain = replace(ladder, history=tuple(remedy for remedy in ladder.history if remedy != "summarize"))
    without = replace(case, policy=replace(case.policy, ladder=plain, summarize=Summarize()))
    summarised, usual = Summarised(case, (NEVER,)), Summarised(without, (NEVER,))
    assert [left.body for left in summarised.left] == [left.body for left in usual.left]


def policy(budget: int, *history: str) -> Policy:
    ladder = Ladder(history=history)
    told = Summarize(enabled=True, model="writer")
    return Policy(name="p", context_window=budget, reserve=Reserve(0, 0), ladder=ladder, summarize=told)


def long_talk() -> Talk:
    said = [f'{{"role": "{"user" if n % 2 == 0 else "assistant"}", "content": "{n} {"x" * 600}"}}' for n in range(121)]
    return Talk(tuple(said))


@pytest.mark.long
def test_a_long_conversation_gets_summaries_and_reads_itself_about_twice_for_them() -> None:
    walk = Summarised(Case(long_talk(), policy(4000, "summarize", "drop_oldest")), (1,))
    check(walk)
    assert len(set(walk.entered())) > 2
    asked: dict[str, int] = {}
    for left in walk.left:
        assert isinstance(left.plan, Plan)
        asked |= {segment.key: segment.tokens for segment in left.plan.wanted}
    assert sum(asked.values()) < 3 * walk.original_tokens(len(walk.case.talk.messages))


@pytest.mark.long
def test_where_requests_wait_the_first_fold_of_a_long_conversation_has_a_summary() -> None:
    case = summarising(Case(long_talk(), policy(4000, "drop_oldest")), "inline")
    walk = Summarised(case, (1,))
    check(walk)
    first = next(left for left in walk.left if isinstance(left.plan, Plan) and left.plan.rewrites)
    assert standing(first, walk)


@pytest.mark.parametrize("budget", transcripts.BUDGETS)
def test_recorded_conversations_keep_the_laws_with_summaries(conversations: Conversations, budget: int) -> None:
    entered = 0
    for talk in list(transcripts.talks(conversations))[:: 1 if transcripts.ALL else 4]:
        walk = Summarised(Case(talk, policy(budget, "summarize", "drop_oldest")), (1, 3), oracle.tokens)
        check(walk, every=5)
        entered += len(set(walk.entered()))
    assert entered
