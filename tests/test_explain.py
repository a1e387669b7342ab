"""A dry run tells in full what the live path would do, because it decides with the same functions."""

import pytest

from gateway.explain import dry_run
from gateway.fitting import models_of
from gateway.wire.errors import GatewayError
from tests.passage import COUNTERS, Script, Setting, deployment, policy
from tests.talk import body, loop, result, system, user, words

COUNTER = COUNTERS.for_encoding("o200k_base")
MODEL = models_of({"asked": (deployment(),)}, unpriced=False)["asked"]
TIGHT = policy(
    "{name: tight, context_window: 2000, reserve: {output: 500, margin: 0}, "
    "fold: {keep_turns: 0, keep_tool_results: 0}}"
)
LONG = [system("be kind"), user("begin"), *loop(12, 90), user("and now?")]


def told(listed, **fields):
    return dry_run(body(listed, **fields), TIGHT, MODEL, COUNTER)


def test_what_fits_is_unchanged_and_its_components_are_counted_all_the_same():
    found = told([system("be kind"), user("hello")])
    assert (found["plan"], found["edits"], found["refusal"]) == ("unchanged", [], None)
    assert found["tokens"] == [14, 14]
    assert found["components"]["input"] == {"before": 5, "after": 5, "room": 5}
    assert (found["model"], found["policy"], found["mode"], found["budget"]) == ("asked", str(TIGHT), "enforce", 1500)
    assert found["window"] == {"policy": 2000, "deployment": 128_000, "reserve": 500}


async def test_what_is_rewritten_is_told_as_the_live_path_tells_it(tmp_path):
    found = told(LONG)
    passed = await Setting(tmp_path, policies=(TIGHT,))(body(LONG), Script())
    assert found["plan"] == passed.client.got["x-gateway-plan"]
    assert found["tokens"] == [passed.settled["tokens_before"], passed.settled["tokens_after"]]
    assert {"at": 3, "remedy": "stub", "tool": "read"}.items() <= found["edits"][0].items()
    assert found["edits"][0]["reason"] == "older results were over; oldest first"
    assert found["edits"][0]["after"] < found["edits"][0]["before"]
    history = found["components"]["history"]
    assert history["after"] < history["before"]


def test_a_refusal_is_told_with_component_size_room_and_place():
    found = told([user("a"), user(words(3000))])
    assert found["plan"] == "refused"
    assert found["tokens"] == [3012, None]
    assert found["refusal"] == {
        "component": "input",
        "tokens": 3004,
        "room": 1497,
        "at": "messages[1]",
        "illegal": None,
    }
    assert found["components"]["history"] == {"before": 5, "after": 5, "room": None}


def test_what_came_illegal_is_told_as_such():
    found = told([user("a"), result("nobody", "x"), user(words(3000))])
    assert found["refusal"]["at"] == "messages[1]"
    assert "not open" in found["refusal"]["illegal"]


def test_a_body_that_is_no_request_raises_as_it_would_be_refused():
    with pytest.raises(GatewayError, match="not a JSON object"):
        dry_run(b"{", TIGHT, MODEL, COUNTER)
