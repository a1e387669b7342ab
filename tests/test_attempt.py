"""An attempt is a value; the entry holds of all attempts which deployment was called last, and how each call ended."""

from typing import cast

import pytest

from gateway.money.row import AttemptRow
from gateway.routing.attempts import Answer, Failure, Outcome
from gateway.routing.upstreams.upstream import Reply
from gateway.serving.attempt import Attempt
from gateway.serving.calls_in_entry import call_facts, first_byte
from gateway.serving.fit import Fitted
from tests.passage import deployment

ONE, OTHER = deployment("asked", "openai/gpt-4o"), deployment("asked", "azure/gpt-4o", number=1)
REPLY, FITTED = cast(Reply, None), cast(Fitted, None)
GOOD = Attempt(OTHER, FITTED, outcome=Answer(OTHER, REPLY), seconds=0.25, ended=7.5)
BAD = Attempt(ONE, FITTED, outcome=Failure(ONE, "status", 500), seconds=0.0301, ended=7.1)
UNFIT = Attempt(ONE, FITTED, outcome=Failure(ONE, "unfit"), seconds=0.1, ended=7.2)
GIVEN_UP = Attempt(ONE, FITTED, seconds=3.0, ended=10.0)

BAD_ROW, GOOD_ROW = AttemptRow(ONE.name, 500, "status", 30.1), AttemptRow(OTHER.name, 200, None, 250.0)


@pytest.mark.parametrize(
    ("calls", "last", "rows"),
    [
        ([], None, []),
        ([GOOD], "azure/gpt-4o", []),
        ([BAD], "openai/gpt-4o", [BAD_ROW]),
        ([BAD, GOOD], "azure/gpt-4o", [BAD_ROW, GOOD_ROW]),
        ([GOOD, GIVEN_UP], "openai/gpt-4o", [GOOD_ROW]),
        ([BAD, UNFIT], "openai/gpt-4o", [BAD_ROW]),
        ([UNFIT], "openai/gpt-4o", []),
    ],
)
def test_the_entry_holds_calls_that_came_to_an_end_and_the_deployment_of_the_last(
    calls: list[Attempt], last: str | None, rows: list[AttemptRow]
):
    facts = call_facts(calls)
    assert (facts.deployment, list(facts.attempts)) == (last, rows)


@pytest.mark.parametrize(
    ("outcome", "is_sent"), [(None, True), (BAD.outcome, True), (GOOD.outcome, True), (UNFIT.outcome, False)]
)
def test_a_deployment_that_a_request_does_not_fit_was_not_asked(outcome: Outcome | None, is_sent: bool):
    assert Attempt(ONE, FITTED, outcome=outcome).is_sent == is_sent


def test_the_first_byte_is_that_of_the_last_answer():
    assert first_byte([]) == first_byte([BAD, GIVEN_UP]) == 0.0
    assert first_byte([BAD, GOOD]) == first_byte([GOOD, GIVEN_UP]) == 7.5
