"""Requests that are read and planned in a process of their own: as the worker itself would, and beside its loop."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings

from gateway.budget.calibration import Calibration
from gateway.budget.components import texts
from gateway.budget.tokens import Counter
from gateway.memory import Memory
from gateway.request import Request
from gateway.rewriting.folds.summarize import SummaryFacts
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, Refusal
from gateway.serving.fit import LARGE_BODY, Form, decided, moved_of
from gateway.serving.large.pool import LargeBodies
from gateway.wire.chat.read import MOST_PARTS, parse
from gateway.wire.errors import GatewayError
from gateway.wire.members import MOST_MESSAGES
from gateway.wire.memo import Memo
from tests.conftest import Conversations
from tests.laws import transcripts
from tests.laws.generators import Case, cases
from tests.passage import Setting, policy
from tests.talk import assistant, body, loop, user, words

pytestmark = pytest.mark.long  # nearly all of it is about a process of its own

COUNTER = Counter("o200k_base")


@pytest.fixture(scope="module")
def pool() -> Iterator[LargeBodies]:
    large = LargeBodies(structlog.get_logger(), 32_000_000)
    yield large
    large.close()


def form_of(case: Case, request: Request, calibration: Calibration | None = None) -> Form:
    window = case.model.bounds(case.policy, answer_limit=request.answer_limit)
    window = window if calibration is None else replace(window, calibration=calibration)
    counter = COUNTER.weighed(window.calibration.weights)
    return Form(request, case.policy, case.model, window, counter, Known(), None)


async def there(
    pool: LargeBodies, case: Case, raw: bytes, facts: SummaryFacts | None = None, early: frozenset[int] = frozenset()
) -> tuple[Request, Plan | Refusal]:
    """Read a request, and plan it, in another process."""
    request, desk = await pool.read(raw, "key")
    try:
        return request, await desk.planned(form_of(case, request), facts, early)
    finally:
        desk.forget()


def here(
    case: Case, raw: bytes, facts: SummaryFacts | None = None, early: frozenset[int] = frozenset()
) -> Plan | Refusal:
    request = parse(raw, Memo())
    window = case.model.bounds(case.policy, answer_limit=request.answer_limit)
    return decided(request, case.policy, case.model, window, COUNTER, Known(), facts, early)


def check(pool: LargeBodies, case: Case, raw: bytes, facts: SummaryFacts | None = None) -> None:
    request, plan = asyncio.run(there(pool, case, raw, facts))
    own = parse(raw, Memo())
    assert repr(request) == repr(own)
    assert repr(plan) == repr(here(case, raw, facts))


@given(cases(modes=("enforce",), breaks=True))
@settings(max_examples=15)
def test_a_request_is_read_and_planned_there_as_here(pool: LargeBodies, case: Case) -> None:
    check(pool, case, case.talk.body())


def test_recorded_requests_are_planned_there_as_here(pool: LargeBodies, conversations: Conversations) -> None:
    for talk in list(transcripts.talks(conversations))[::8]:
        for rules in islice(transcripts.policies(transcripts.BUDGETS[0]), 2):
            check(pool, Case(talk, rules), talk.body())


def test_where_volatile_text_moves_and_where_counts_are_corrected_it_is_the_same(pool: LargeBodies) -> None:
    rules = policy(
        "{name: v, context_window: 3000, reserve: {output: 0}, prompt_cache: {volatile: ['Now: .*']}, "
        "ladder: {history: [drop_oldest]}}"
    )
    raw = body([{"role": "system", "content": "Be brief.\nNow: 12:01"}, *loop(12, 400), user("and now?")])
    request, own = parse(raw, Memo()), Known()
    case = Case(None, rules)  # type: ignore[arg-type]  # no conversation of a generator
    for factor in (1.0, 1.3):
        form = replace(form_of(case, request, Calibration(1, factor, 0.05)), moved=moved_of(request, rules, own))
        assert form.moved is not None
        assert repr(asyncio.run(planned_there(pool, raw, form))) == repr(form.planned(None, frozenset()))


async def planned_there(pool: LargeBodies, raw: bytes, form: Form, facts: SummaryFacts | None = None) -> Plan | Refusal:
    request, desk = await pool.read(raw, "key")
    found = await desk.planned(replace(form, request=request), facts, frozenset())
    desk.forget()
    return found


def test_what_is_known_of_summaries_is_asked_for_as_it_is_needed(pool: LargeBodies) -> None:
    rules = policy(
        "{name: s, context_window: 3000, reserve: {output: 0, margin: 0}, summarize: {enabled: true, model: m}, "
        "ladder: {history: [summarize, drop_oldest]}}"
    )
    case = Case(None, rules)  # type: ignore[arg-type]
    raw = body([user("the task"), *loop(20, 300), user("and now?")])
    bare = here(case, raw, SummaryFacts({}, {}, "m"))
    assert isinstance(bare, Plan)
    [event, *_] = bare.events
    facts = SummaryFacts(dict.fromkeys(event.candidates, "a short summary"), {}, "m")
    assert repr(here(case, raw, facts)) != repr(bare)
    check(pool, case, raw, SummaryFacts({}, {}, "m"))
    check(pool, case, raw, facts)


def test_what_was_counted_there_is_not_counted_here(pool: LargeBodies, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = body([user(f"something new {number} " * 50) for number in range(20)])
    case = Case(None, policy("{name: c, context_window: 3000}"))  # type: ignore[arg-type]
    request, _ = asyncio.run(there(pool, case, raw))
    monkeypatch.setattr(COUNTER, "_tokens", lambda _text: pytest.fail("counted again"))
    assert sum(map(COUNTER.count, texts(request.conversation, Memory(0)))) > 1000


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"model": "m"}',
        body([user("x")] * (MOST_MESSAGES + 1)),
        body([{"role": "user", "content": ["x"] * (MOST_PARTS + 1)}]),
        body([user("x")], metadata={"x": "y" * 1_000_000}),
        body([user("x")], **{f"member{number}": 1 for number in range(1001)}),
    ],
    ids=["not JSON", "no messages", "messages", "parts", "metadata", "members"],
)
def test_what_is_refused_is_refused_there_as_here(pool: LargeBodies, raw: bytes) -> None:
    with pytest.raises(GatewayError) as own:
        parse(raw, Memo())
    with pytest.raises(GatewayError) as theirs:
        asyncio.run(pool.read(raw, "key"))
    assert own.value.body("id") == theirs.value.body("id")
    assert own.value.status == 400
    assert asyncio.run(pool.read(body([user("hi")]), "key"))[0].model == "asked"


async def test_a_process_that_dies_is_replaced_and_its_request_read_again(pool: LargeBodies) -> None:
    raw = body([user(words(100_000))])
    await pool.read(raw, "key")
    before = pool.processes
    for process in before:
        os.kill(process, signal.SIGKILL)
    request, _ = await pool.read(raw, "key")
    assert len(request.conversation.messages) == 1
    assert not set(before) & set(pool.processes)


async def test_one_that_computes_for_too_long_is_ended_and_the_request_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LARGE_CPU_SECONDS", "0")
    large = LargeBodies(structlog.get_logger(), 32_000_000)
    case = Case(None, policy("{name: l, context_window: 8000}"))  # type: ignore[arg-type]
    raw = body([user(f"{number} and so on") for number in range(10_000)])
    with pytest.raises(GatewayError) as caught:
        await there(large, case, raw)
    assert (caught.value.status, caught.value.code) == (413, "request_too_complex")
    assert (await large.read(body([user("hi")]), "key"))[0].model == "asked"
    large.close()


async def test_a_client_that_leaves_ends_the_work_for_it(pool: LargeBodies) -> None:
    case = Case(None, policy("{name: l, context_window: 8000}"))  # type: ignore[arg-type]
    raw = body([user(f"{number} and so on") for number in range(12_000)])
    _, desk = await pool.read(raw, "key")
    busy = pool.processes
    planning = asyncio.create_task(desk.planned(form_of(case, parse(raw, Memo())), None, frozenset()))
    await asyncio.sleep(0.3)
    planning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await planning
    assert len(set(busy) - set(pool.processes)) == 1
    assert (await pool.read(body([user("hi")]), "key"))[0].model == "asked"


async def test_a_body_done_with_while_its_process_works_is_forgotten_after_that() -> None:
    large = LargeBodies(structlog.get_logger(), 32_000_000)
    _, first = await large.read(body([user(words(100_000))]), "key")
    [helper] = large.idle
    reading = asyncio.create_task(large.read(body([user(words(200_000))]), "key"))
    while large.idle:
        await asyncio.sleep(0)
    first.forget()
    assert first.number in helper.holds
    _, second = await reading
    assert helper.holds == {second.number}
    second.forget()
    assert not helper.holds
    large.close()


async def test_a_process_that_was_started_for_a_client_that_left_serves_the_next() -> None:
    large = LargeBodies(structlog.get_logger(), 32_000_000)
    reading = asyncio.create_task(large.read(body([user("hi")]), "key"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await large.read(body([user("hi")]), "key"))[0].model == "asked"
    assert len(large.processes) <= 2
    large.close()
    assert not large.processes


# ---------------------------------------------------------------- in the pipeline


def lengthy(characters: int = LARGE_BODY) -> bytes:
    turns = characters // 40_000 + 1
    listed = [one for n in range(turns) for one in (user(f"question {n}"), assistant(f"answer {n} " * 4000))]
    return body([*listed, user("and now?")], model="asked")


@pytest.mark.parametrize("rules", ["context_window: 20k, ladder: {history: [drop_oldest]}", "mode: off"])
async def test_a_large_request_leaves_as_it_would_without_a_process(
    tmp_path: Path, pool: LargeBodies, rules: str
) -> None:
    setting = Setting(tmp_path, [policy(f"{{name: t, {rules}}}")], max_body=32_000_000)
    plain = await setting(lengthy())
    setting.large, setting.folder = pool, tmp_path / "2"
    large = await setting(lengthy())
    assert plain.client.status == large.client.status == 200
    assert plain.script.calls[-1].body == large.script.calls[-1].body
    times = {"ts", "id", "ms", "attempts"}
    assert {k: v for k, v in plain.settled.items() if k not in times} == {
        k: v for k, v in large.settled.items() if k not in times
    }
    assert large.settled["status"] == "answered"
    assert not pool.door.held


async def test_room_is_given_back_whatever_becomes_of_a_large_request(tmp_path: Path, pool: LargeBodies) -> None:
    setting = Setting(tmp_path, [policy("{name: t, context_window: 4k}")], max_body=32_000_000, large=pool)
    refused = await setting(body([user(words(2_000_000))], model="asked"))
    assert refused.client.status == 400
    assert refused.settled["status"] == "refused"
    setting.folder = tmp_path / "2"
    assert (await setting(body([user(words(2_000_000))], model="asked")[:-1])).client.status == 400
    assert not pool.door.held
