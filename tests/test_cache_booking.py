"""What the ledger says of one request and its provider's cache, from the request to the row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.serving.pipeline import answer
from gateway.wire.chat.relay import DONE
from tests.caching_replay import Replay, facts_of
from tests.load.recorded import Body
from tests.passage import (
    Caller,
    Script,
    Setting,
    delta,
    deployment,
    new_id,
    policy,
    streams,
    usage_event,
)
from tests.talk import Wire, assistant, body, calls, result, system, user, words

TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
FIRST: list[Wire] = [system(words(1500)), user("one")]
SECOND: list[Wire] = [*FIRST, assistant("1"), user("two")]
THIRD: list[Wire] = [*SECOND, assistant("2"), user("three")]
OPENAI = "openai-5.6"
"""Of the rule sets of prompt caches, one that also charges for writing."""


async def rows(
    folder: Path, *asked: Body | float, rules: str = OPENAI, under: str | None = None
) -> list[dict[str, Any]]:
    """Send requests one after the other, a number of seconds between two where one stands there; their rows."""
    replay = Replay(folder, [rules], [] if under is None else [policy(under)])
    for one in asked:
        if isinstance(one, float):
            replay.clock.at += one
        else:
            client = await replay.send(one)
            assert client.status == 200, client.text
    return await replay.close()


def told(row: dict[str, Any], *names: str) -> list[Any]:
    return [row.get(name) for name in names]


async def test_a_conversation_that_goes_on_reads_what_it_should_and_misses_nothing(tmp_path: Path):
    first, second = await rows(tmp_path, {"messages": FIRST}, {"messages": SECOND})
    assert told(first, "miss", "expected_cached", "lost") == ["first_sight", None, None]
    assert told(second, "miss", "expected_cached", "saved_nanousd") == [None, second["cached_tokens"], None]
    assert second["cached_tokens"] > 1500


async def test_a_short_prompt_is_not_even_looked_at(tmp_path: Path):
    (row,) = await rows(tmp_path, {"messages": [user("hi")]})
    assert told(row, "miss", "expected_cached") == ["below_minimum", None]


async def test_after_half_an_hour_it_has_expired_and_what_that_cost_is_told(tmp_path: Path):
    *_, row = await rows(tmp_path, {"messages": FIRST}, 1801.0, {"messages": SECOND})
    assert row["miss"] == "expired"
    assert row["lost"] > 1500
    assert row["lost_nanousd"] == row["lost"] * (1250 - 100)


async def test_other_tools_another_system_text_and_a_changed_message_are_told_apart(tmp_path: Path):
    *_, row = await rows(tmp_path / "a", {"messages": FIRST}, {"messages": SECOND, "tools": [TOOL]})
    assert row["miss"] == "client_changed_tools"
    *_, row = await rows(tmp_path / "b", {"messages": FIRST}, {"messages": [system(words(1501)), *SECOND[1:]]})
    assert row["miss"] == "client_changed_system"
    changed = [*THIRD[:2], assistant("other"), *THIRD[3:], assistant("3"), user("four")]
    *_, row = await rows(tmp_path / "c", {"messages": THIRD}, {"messages": changed})
    assert row["miss"] == "client_changed:2"


async def test_a_conversation_keeps_its_key_when_its_group_outgrows_one_key(tmp_path: Path):
    replay = Replay(tmp_path, [OPENAI])
    turns = [[[system(words(1500)), user(f"{n} asks")] for n in range(8)]]
    for turn in range(5):
        turns.append([[*one, assistant("said"), user(f"{n} asks {turn}")] for n, one in enumerate(turns[-1])])
    for turn, talks in enumerate(turns):
        replay.clock.at += 120.0 if turn == 5 else 1.0  # it is quiet again
        for messages in talks:
            await replay.send({"messages": messages})
    found = await replay.close()
    assert {row.get("miss") for row in found[8:]} == {None}
    assert all(row["cached_tokens"] > 1500 for row in found[8:])


async def test_a_fold_reads_the_system_text_again_where_only_the_newest_message_is_marked(tmp_path: Path):
    steps = [[calls(f"c{n} read"), result(f"c{n}", words(700, f"r{n}"))] for n in range(9)]
    talk = [[*FIRST, *(message for step in steps[:n] for message in step)] for n in range(1, 10)]
    under = "name: tight\ncontext_window: 5k\nreserve: {output: 0, margin: 0}\n"
    found = await rows(tmp_path, *({"messages": one} for one in talk), under=under)
    folded = [row for row in found if row.get("miss") == "our_fold"]
    assert folded
    assert all(row["cached_tokens"] > 1500 for row in folded)


async def test_a_fold_is_ours_and_is_paid_for_before_it_saves(tmp_path: Path):
    steps = [[calls(f"c{n} read"), result(f"c{n}", words(350, f"r{n}"))] for n in range(18)]
    talk = [[*FIRST, *(message for step in steps[:n] for message in step)] for n in range(1, 19)]
    under = "name: tight\ncontext_window: 5k\nreserve: {output: 0, margin: 0}\n"
    found = await rows(tmp_path, *({"messages": one} for one in talk), under=under)
    folded = [row for row in found if row.get("miss") == "our_fold"]
    assert folded
    assert all(row["plan"] == "rewritten" for row in folded)
    assert any(row["saved_nanousd"] < 0 for row in folded)
    off = await rows(tmp_path / "off", *({"messages": one} for one in talk), under=f"{under}mode: 'off'\n")
    assert sum(row.get("saved_nanousd", 0) for row in found) == sum(row["cost_nanousd"] for row in off) - sum(
        row["cost_nanousd"] for row in found
    )


async def test_a_provider_that_reads_nothing_where_it_should_is_named(tmp_path: Path):
    replay = Replay(tmp_path, ["other"], overrides={"other": replace(facts_of("openai"), least=16, step=1)})
    for messages in ([system(words(500)), user("one")], [system(words(500)), user("one"), assistant("1"), user("two")]):
        await replay.send({"messages": messages})
    *_, row = await replay.close()
    assert told(row, "miss", "cached_tokens") == ["provider_did_not", 0]
    assert row["lost"] == row["expected_cached"] > 500


async def test_nothing_is_said_of_a_cache_that_nobody_knows(tmp_path: Path):
    replay = Replay(tmp_path, ["other"], overrides={"other": replace(facts_of("openai"), matching="none")})
    await replay.send({"messages": FIRST})
    (row,) = await replay.close()
    assert row.keys().isdisjoint({"miss", "expected_cached", "saved_nanousd"})


async def test_another_deployment_has_a_cache_of_its_own(tmp_path: Path):
    replay = Replay(tmp_path, [OPENAI, f"{OPENAI}/b"])
    gateway = replay.open()
    one, other = (gateway.models[name].deployments[0] for name in replay.models)
    for answers, messages in ((one, FIRST), (replace(other, model_name=OPENAI), SECOND)):
        model = replace(gateway.models[OPENAI], deployments=(answers,))
        replay.gateway = replace(gateway, models={**gateway.models, OPENAI: model})
        await replay.send({"messages": messages})
    *_, row = await replay.close()
    assert row["miss"] == "other_deployment"


async def test_a_stream_is_told_of_like_any_other(tmp_path: Path):
    *_, row = await rows(tmp_path, {"messages": FIRST, "stream": True}, {"messages": SECOND, "stream": True})
    assert row["expected_cached"] == row["cached_tokens"] > 1500


async def test_a_clock_that_is_set_back_fails_no_request(tmp_path: Path):
    for rules in ("openai", OPENAI):
        found = await rows(tmp_path / rules, {"messages": FIRST}, -13 * 3600.0, {"messages": SECOND}, rules=rules)
        assert [row["http_status"] for row in found] == [200, 200]


async def test_a_long_step_finds_its_way_back_though_the_provider_keeps_keys_apart(tmp_path: Path):
    """More endings of messages since the last request than the provider looks back over."""
    listed: list[Wire] = [system(words(1500)), user("Go.")]
    asked: list[Body | float] = []
    for grown in (2, 2, 64, 2, 64):
        listed = [*listed, *[user(f"{grown}.{n} {words(50)}") for n in range(grown)]]
        asked += [{"messages": listed}, 1.0]
    found = await rows(tmp_path, *asked, under="name: p\nprompt_cache: {markers: always}\n")
    assert [row.get("miss") for row in found] == ["first_sight", None, None, None, None]


async def test_a_system_text_that_names_a_key_twice_stays_as_it_came(tmp_path: Path):
    replay = Replay(tmp_path, ["openai"], [policy("name: p\nprompt_cache: {volatile: ['Current time: .*']}\n")])
    twice = b'{"type":"text","text":"Be kind.","text":"Be kind.\\nCurrent time: 12"}'
    raw = b'{"model":"openai","messages":[{"role":"system","content":[%b]},{"role":"user","content":"hi"}]}' % twice
    client = Caller(raw, {})
    await answer(replay.open(), client, new_id())
    (row,) = await replay.close()
    assert (client.status, row["plan"]) == (200, "unchanged")


async def test_a_first_request_that_another_deployment_answered_is_still_a_first_request(tmp_path: Path):
    two = [deployment("asked", "openai/gpt-4o", number=n, cache=facts_of("openai"), api_key=f"k{n}") for n in range(2)]
    usage = {"prompt_tokens": 1600, "completion_tokens": 2, "total_tokens": 1602}
    script = Script(streams(), streams(delta("lo"), delta("", "stop"), usage_event(usage), DONE))
    passed = await Setting(tmp_path, deployments=two)(body(FIRST, model="asked", stream=True), script)
    assert len(script.calls) == 2
    assert passed.settled["miss"] == "first_sight"


async def test_json_without_a_schema_is_the_same_prompt(tmp_path: Path):
    asked = {"messages": SECOND, "response_format": {"type": "json_object"}}
    _, second = await rows(tmp_path, {"messages": FIRST}, asked, rules="openai")
    assert told(second, "miss", "expected_cached") == [None, second["cached_tokens"]]
    assert second["cached_tokens"] > 1400
