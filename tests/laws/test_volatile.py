"""Declared volatile text under the laws: it moves in every request alike, and nothing else is different for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.policy import Policy, PromptCache
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import VOLATILE_LEFT, Plan
from gateway.rewriting.volatile import LABEL, REMAINDER
from gateway.wire.legality import CHAT
from gateway.wire.memo import Memo
from tests.laws import oracle
from tests.laws.driving import Left, counter_of, leave
from tests.laws.generators import PROVIDERS, SENT, STYLES, Case, Number, Talk, cases
from tests.laws.no_op import undone

FEWER = settings(max_examples=settings().max_examples // 10)
"""The laws themselves are held elsewhere; here, that they hold with text that moves."""
PATTERNS = ("Current time: .*", r"\[request \d+\]")
MARK = {"cache_control": {"type": "ephemeral"}}


@dataclass(frozen=True, slots=True)
class Head:
    """Leading system messages with a clock in them: as they come, as they leave, and what moves."""

    came: tuple[str, ...]
    left: tuple[Any, ...]
    """The contents."""
    said: tuple[str, ...]

    def at(self, step: int) -> "Head":
        """Say it at another time; times are longer and shorter, but not so that they take another 64 tokens."""
        clock, number = "12:00" + ":30" * (step % 4), str(step % 3 * 999)
        told = [
            tuple(one.replace("CLOCK", clock).replace("NUMBER", number) for one in part)
            for part in (self.came, self.said)
        ]
        return Head(told[0], self.left, told[1])


def text(part: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": part, **more}


HEADS = (
    Head(
        (
            STYLES[2].write(
                {
                    "role": "system",
                    "x": Number("1.10"),
                    "content": "You help.\nCurrent time: CLOCK\nTicket [request NUMBER] is open.",
                }
            ),
        ),
        ("You help.\nTicket  is open.",),
        ("Current time: CLOCK", "[request NUMBER]"),
    ),
    Head(
        (json.dumps({"role": "system", "content": [text("You help.", **MARK), text("Current time: CLOCK", **MARK)]}),),
        ([text("You help.", **MARK), text(REMAINDER, **MARK)],),
        ("Current time: CLOCK",),
    ),
    Head(
        (
            json.dumps({"role": "system", "content": "You help."}),
            json.dumps({"role": "developer", "content": "  Current time: CLOCK\n\n"}),
        ),
        ("You help.", REMAINDER),
        ("Current time: CLOCK",),
    ),
)


@dataclass(frozen=True, slots=True)
class Clocked:
    """A drawn case with such a head, told at a time that is another one in each request."""

    case: Case
    head: Head
    runs: bool = True

    def talk(self, step: int) -> Talk:
        return replace(self.case.talk, messages=(*self.now(step).came, *self.case.talk.messages))

    def now(self, step: int) -> Head:
        return self.head.at(step if self.runs else 0)

    def upto(self) -> list[int]:
        return self.talk(0).requests()

    @property
    def policy(self) -> Policy:
        window = self.case.policy.context_window
        assert window is not None
        more = sum(len(one) for one in self.head.came) // 4 + 40
        return replace(self.case.policy, context_window=window + more, prompt_cache=PromptCache(volatile=PATTERNS))

    def left(self, *, remembers: bool = True) -> list[Left]:
        memo, known, counter = Memo(), Known(), counter_of(oracle.quarter)
        return [
            leave(
                self.talk(step).body(upto),
                self.policy,
                self.case.model,
                counter,
                memo if remembers else None,
                known=known if remembers else None,
            )
            for step, upto in enumerate(self.upto())
        ]


clocked = st.builds(Clocked, cases(), st.sampled_from(HEADS))


def stays(left: Left) -> bool:
    """Whether the text was left where it was."""
    return isinstance(left.plan, Plan) and any(edit.remedy == VOLATILE_LEFT for edit in left.plan.edits)


def rewrites(left: Left) -> bool:
    return isinstance(left.plan, Plan) and left.plan.rewrites


def forced(left: Left) -> bool:
    return isinstance(left.plan, Plan) and left.plan.forced


def put_in(messages: Sequence[dict[str, Any]]) -> list[int]:
    return [i for i, one in enumerate(messages) if oracle.content_text(one).startswith(LABEL)]


@FEWER
@given(clocked)
def test_it_moves_to_right_before_the_final_unit_and_nothing_of_it_is_lost(drawn: Clocked) -> None:
    for step, (upto, left) in enumerate(zip(drawn.upto(), drawn.left(), strict=True)):
        if left.body is None or stays(left):
            continue
        talk, head = drawn.talk(step), drawn.now(step)
        went = json.loads(left.body)["messages"]
        if upto == oracle.head(talk.read[:upto]):
            assert put_in(went) == []  # nothing follows the system text
            continue
        assert tuple(one["content"] for one in went[: len(head.left)]) == head.left
        (at,) = put_in(went)
        assert went[at] == {"role": "user", "content": "\n".join([LABEL, *head.said])}
        final = oracle.newest(talk.read[:upto])
        assert len(went) - at - 1 == upto - final


@FEWER
@given(clocked)
def test_what_fits_keeps_every_byte_but_the_text_that_moved(drawn: Clocked) -> None:
    for step, (upto, left) in enumerate(zip(drawn.upto(), drawn.left(), strict=True)):
        if left.body is None or not isinstance(left.plan, Plan) or left.plan.rewrites or stays(left):
            continue
        came, went = oracle.Raw.of(drawn.talk(step).body(upto)), oracle.Raw.of(left.body)
        count = len(drawn.head.came)
        kept = [raw for raw in went.messages() if LABEL not in raw]
        assert kept[count:] == came.messages()[count:]
        for before, after in zip(came.messages()[:count], kept[:count], strict=True):
            was, now = oracle.Raw.of(before.encode()), oracle.Raw.of(after.encode())
            assert now.replaced("content", was.member("content")).text == before
        assert undone(came, went).around_messages() == came.around_messages()


@FEWER
@given(clocked)
def test_the_prompt_fits_to_the_token_or_is_refused(drawn: Clocked) -> None:
    budget = replace(drawn.case, policy=drawn.policy).budget()
    for left in drawn.left():
        if left.body is not None:
            after = oracle.prompt_tokens(json.loads(left.body), oracle.quarter)
            assert after <= budget
            assert isinstance(left.plan, Plan)
            assert left.plan.tokens_after == after


@FEWER
@given(clocked)
def test_what_fits_as_it_came_is_never_refused_for_it(drawn: Clocked) -> None:
    budget = replace(drawn.case, policy=drawn.policy).budget()
    for step, (upto, left) in enumerate(zip(drawn.upto(), drawn.left(), strict=True)):
        if left.body is None and not drawn.policy.strict:
            assert oracle.prompt_tokens(drawn.talk(step).request(upto), oracle.quarter) > budget


@FEWER
@given(clocked)
def test_moving_what_was_moved_changes_nothing(drawn: Clocked) -> None:
    for left in drawn.left():
        if left.body is not None and not stays(left):
            again = leave(left.body, drawn.policy, drawn.case.model, counter_of(oracle.quarter), name=SENT)
            assert again.body == left.body


@FEWER
@given(clocked)
def test_what_is_remembered_decides_nothing(drawn: Clocked) -> None:
    assert [left.body for left in drawn.left()] == [left.body for left in drawn.left(remembers=False)]


@FEWER
@given(clocked)
def test_a_clock_that_runs_folds_as_one_that_stands_still(drawn: Clocked) -> None:
    """But for a request that fits to the token at one time and not at the other: as it came, or by force."""
    for runs, still in zip(drawn.left(), replace(drawn, runs=False).left(), strict=True):
        if runs.changes is not None and still.changes is not None and rewrites(runs) == rewrites(still):
            if stays(runs) or stays(still) or forced(runs) or forced(still):
                continue
            assert runs.changes.dropped == still.changes.dropped
            assert runs.changes.system == still.changes.system


@FEWER
@given(st.builds(Clocked, cases(legal=PROVIDERS), st.sampled_from(HEADS)))
def test_what_was_legal_stays_legal_and_the_text_stays_where_it_would_not(drawn: Clocked) -> None:
    provider = drawn.case.model.legal[0]
    for step, (upto, left) in enumerate(zip(drawn.upto(), drawn.left(), strict=True)):
        if left.body is None:
            continue
        came, went = drawn.talk(step).read[:upto], json.loads(left.body)["messages"]
        if not oracle.violations(came) and not oracle.provider_violations(came, provider.name):
            assert not oracle.violations(went)
            assert not oracle.provider_violations(went, provider.name)
        if provider.alternates:
            assert put_in(went) == []


@FEWER
@given(st.builds(Clocked, cases(modes=("observe", "off")), st.sampled_from(HEADS)))
def test_nothing_moves_where_nothing_is_enforced(drawn: Clocked) -> None:
    for step, (upto, left) in enumerate(zip(drawn.upto(), drawn.left(), strict=True)):
        assert left.body is not None
        came, went = oracle.Raw.of(drawn.talk(step).body(upto)), oracle.Raw.of(left.body)
        assert went.messages() == came.messages()


@FEWER
@given(clocked)
def test_reasoning_that_is_bound_to_what_stands_before_it_keeps_the_text_in_place(drawn: Clocked) -> None:
    bound = replace(drawn.case, model=replace(drawn.case.model, legal=(replace(CHAT, binds_reasoning=True),)))
    for left in replace(drawn, case=bound).left():
        assert left.body is None or put_in(json.loads(left.body)["messages"]) == []
