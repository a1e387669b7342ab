"""Which deployment is tried after which, and what the client is told when all have failed."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.attempts import Answer, Attempts, Failure, Outcome, attempts, drive
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import WholeReply
from tests.providers.deployments import deployment

A, B, C, D = (deployment(name=name) for name in "ABCD")
HEAVY = deployment(name="HEAVY", weight=9.0)
UNUSED = deployment(name="UNUSED", weight=0.0)


def answer(which: Deployment) -> Answer:
    return Answer(which, WholeReply(200, {}, (b"{}",)))


def status(which: Deployment, code: int, retry_after: float | None = None) -> Failure:
    return Failure(which, "status", code, b"{}", {}, retry_after)


def unreached(which: Deployment) -> Failure:
    return Failure(which, "connect", message="refused")


def first() -> float:
    return 0.0


def play(flow: Attempts, *outcomes: type[Answer] | int | str) -> tuple[list[str], Outcome | None]:
    """Feed outcomes by short names; return who was tried and what came out."""
    tried, current = [], next(flow)
    for outcome in outcomes:
        tried.append(current.name)
        match outcome:
            case int():
                sent: Outcome = status(current, outcome)
            case "connect" | "timeout" | "reset" | "garbage" as kind:
                sent = Failure(current, kind)
            case _:
                sent = answer(current)
        try:
            current = flow.send(sent)
        except StopIteration as end:
            return tried, end.value
    return [*tried, current.name], None


def test_a_single_deployment_that_answers_is_asked_once():
    tried, final = play(attempts([[A]], first), Answer)
    assert tried == ["A"]
    assert isinstance(final, Answer)


@pytest.mark.parametrize(
    "trouble", ["connect", "timeout", "reset", "garbage", 401, 402, 403, 404, 408, 429, 500, 502, 503, 529]
)
def test_what_another_deployment_may_do_better_goes_to_the_next_one_of_the_group(trouble: int | str):
    tried, final = play(attempts([[A, B]], first), trouble, Answer)
    assert tried == ["A", "B"]
    assert isinstance(final, Answer)


@pytest.mark.parametrize("verdict", [400, 413, 415, 422])
def test_a_verdict_on_the_request_itself_is_final(verdict: int):
    tried, final = play(attempts([[A, B]], first), verdict)
    assert tried == ["A"]
    assert isinstance(final, Failure)
    assert final.status == verdict


def test_fallback_groups_come_after_the_whole_group_and_in_order():
    tried, _ = play(attempts([[A, B], [C], [D]], first), 500, 500, 500, Answer)
    assert tried == ["A", "B", "C", "D"]


def test_a_deployment_at_rest_is_tried_last_of_its_group_and_before_another_model():
    tried, final = play(attempts([[A, B], [C]], first, resting={"A"}), 500, 500, Answer)
    assert tried == ["B", "A", "C"]
    assert isinstance(final, Answer)


def test_no_deployment_is_tried_twice_for_one_request():
    tried, final = play(attempts([[A], [A, B], [B]], first), 500, 500)
    assert tried == ["A", "B"]
    assert isinstance(final, Failure)


def test_the_choice_within_a_group_is_weighted():
    def share(draw: float) -> str:
        return next(attempts([[A, HEAVY]], lambda: draw)).name

    assert [share(draw / 10) for draw in range(10)] == ["A", *["HEAVY"] * 9]


def test_a_weight_of_zero_is_chosen_only_when_the_others_have_failed():
    tried, _ = play(attempts([[UNUSED, A]], first), 500, Answer)
    assert tried == ["A", "UNUSED"]


def test_weights_of_zero_throughout_are_an_even_choice():
    other = deployment(name="OTHER", weight=0.0)
    assert next(attempts([[UNUSED, other]], lambda: 0.75)).name == "OTHER"


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ((500, 429), 429),
        ((429, 500), 429),
        (("connect", 503), 503),
        ((503, "timeout"), 503),
        ((500, 503), 500),
        ((401, 500), 500),
        ((500, 402), 500),
        ((404, "connect"), None),
        ((401, 402), 401),
    ],
)
def test_when_all_have_failed_the_client_gets_the_most_telling_status(
    outcomes: tuple[int | str, ...], told: int | None
):
    _, final = play(attempts([[A, B]], first), *outcomes)
    assert isinstance(final, Failure)
    assert final.status == told


def test_when_nobody_was_reached_a_timeout_tells_more_than_a_refused_connection():
    _, final = play(attempts([[A, B]], first), "connect", "timeout")
    assert isinstance(final, Failure)
    assert final.kind == "timeout"


async def test_the_driver_makes_the_calls_that_the_flow_asks_for():
    asked: list[str] = []

    async def call(which: Deployment) -> Outcome:
        asked.append(which.name)
        return unreached(which) if which is A else answer(which)

    final = await drive(attempts([[A, B]], first), call)
    assert asked == ["A", "B"]
    assert isinstance(final, Answer)


NAMES = st.lists(st.sampled_from("ABCDEFGH"), max_size=4)


@given(
    groups=st.lists(NAMES, min_size=1, max_size=4).filter(any),
    weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=8, max_size=8),
    resting=st.sets(st.sampled_from("ABCDEFGH")),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=40, max_size=40),
)
def test_every_deployment_is_always_tried_exactly_once_before_giving_up(
    groups: list[list[str]], weights: list[float], resting: set[str], draws: list[float]
):
    by_name = {name: deployment(name=name, weight=weight) for name, weight in zip("ABCDEFGH", weights, strict=True)}
    stock: Iterator[float] = iter(draws)
    flow = attempts([[by_name[name] for name in group] for group in groups], lambda: next(stock), resting)
    everybody = {name for group in groups for name in group}
    tried, final = play(flow, *[500] * len(everybody))
    assert isinstance(final, Failure)
    assert sorted(tried) == sorted(everybody)
