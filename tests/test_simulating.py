"""Simulating: traffic read from files, provider caches by hand, values carried and lost, pictures."""

from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.budget.components import message_tokens
from gateway.budget.tokens import Counter
from gateway.conversation import Conversation, Message
from gateway.reports.simulating import carried_values as values_carried
from gateway.reports.simulating.picture import highest, panel, png
from gateway.reports.simulating.price_rules import RULES, PrefixCache, Rule, chain
from gateway.reports.simulating.traffic import Traffic, read_traffic
from gateway.wire.chat.read import message_of, parse
from gateway.wire.memo import Memo
from tests.conftest import Conversations

CASES = Path(__file__).resolve().parent / "cases" / "traffic"
SYSTEM = {"role": "system", "content": "You help."}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "messages": [SYSTEM, *messages], **more}


def written(path: Path, lines: Iterable[Any]) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def told(traffic: Traffic) -> list[tuple[str, int, int, str | None]]:
    """Of each turn: its conversation, its number, how many messages it has and its answer."""
    return [
        (
            turn.conversation,
            turn.number,
            len(json.loads(turn.body)["messages"]),
            None if turn.answer is None else turn.answer.text,
        )
        for turn in traffic.turns
    ]


# ---------------------------------------------------------------- requests


def test_a_request_that_continues_an_earlier_one_is_the_next_turn(tmp_path: Path) -> None:
    first = (user("a"),)
    second = (*first, assistant("b"), user("c"))
    third = (*second, assistant("d"), user("e"))
    path = written(tmp_path / "day.jsonl", [body(*first), body(*second), body(*third)])
    assert told(read_traffic(path)) == [
        ("day.jsonl:1", 0, 2, "b"),
        ("day.jsonl:1", 1, 4, "d"),
        ("day.jsonl:1", 2, 6, None),
    ]


def test_interleaved_conversations_are_told_apart(tmp_path: Path) -> None:
    one, other = (user("one"),), (user("other"),)
    lines = [
        body(*one),
        body(*other),
        body(*one, assistant("1"), user("more")),
        body(*other, assistant("2"), user("more")),
    ]
    assert told(read_traffic(written(tmp_path / "day.jsonl", lines))) == [
        ("day.jsonl:1", 0, 2, "1"),
        ("day.jsonl:2", 0, 2, "2"),
        ("day.jsonl:1", 1, 4, None),
        ("day.jsonl:2", 1, 4, None),
    ]


def test_the_same_first_request_of_two_conversations_is_answered_in_each(tmp_path: Path) -> None:
    hello = (user("Hello"),)
    lines = [body(*hello), body(*hello)]
    lines += [body(*hello, assistant("Hi."), user(text)) for text in ("Where is it?", "When does it come?")]
    found = read_traffic(written(tmp_path / "day.jsonl", lines))
    assert [turn.conversation for turn in found.turns] == [f"day.jsonl:{line}" for line in (1, 2, 2, 1)]
    assert [turn.number for turn in found.turns] == [0, 0, 1, 1]


def test_system_text_that_changes_with_the_clock_does_not_cut_a_conversation_in_two(tmp_path: Path) -> None:
    lines = [
        {"model": "m", "messages": [{"role": "system", "content": f"It is {hour}:00."}, user("a"), *more]}
        for hour, more in ((9, ()), (10, (assistant("b"), user("c"))))
    ]
    assert [turn.number for turn in read_traffic(written(tmp_path / "day.jsonl", lines)).turns] == [0, 1]


def test_of_conversations_that_begin_alike_the_one_with_the_same_system_text_goes_on(tmp_path: Path) -> None:
    def under(system: str, *messages: dict[str, Any]) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "system", "content": system}, *messages]}

    hi = user("Hi")
    lines = [under("cook", hi), under("judge", hi), under("cook", hi, assistant("b"), user("c"))]
    assert read_traffic(written(tmp_path / "day.jsonl", lines)).turns[2].conversation == "day.jsonl:1"


def test_a_request_keeps_its_bytes(tmp_path: Path) -> None:
    line = '{ "model":"m",  "temperature": 1.10, "messages": [ {"content":"x","role":"user"} ] }'
    (turn,) = read_traffic(written(tmp_path / "day.jsonl", [line])).turns
    assert turn.body == line.encode()


def test_a_request_without_a_model_takes_the_one_that_is_given(tmp_path: Path) -> None:
    path = written(tmp_path / "day.jsonl", [{"messages": [user("a")]}])
    (turn,) = read_traffic(path, model="gpt-5").turns
    assert turn.model == "gpt-5"
    assert json.loads(turn.body) == {"model": "gpt-5", "messages": [user("a")]}
    assert "names no model; give --model" in str(read_traffic(path).problems[0])


# ---------------------------------------------------------------- conversations


def test_each_answer_of_a_conversation_had_a_request_before_it(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    messages = [SYSTEM, assistant("Welcome."), user("a"), assistant("b"), user("c"), assistant("d")]
    path = written(tmp_path / "all.jsonl", [{"id": "x1", "model": "m", "messages": messages, "tools": tools}])
    found = read_traffic(path)
    assert told(found) == [("x1", 0, 3, "b"), ("x1", 1, 5, "d")]
    assert json.loads(found.turns[1].body) == {"model": "m", "messages": messages[:5], "tools": tools}


def test_the_next_action_is_the_answer_to_the_whole(tmp_path: Path) -> None:
    line = {"model": "m", "messages": [user("a"), assistant("b"), user("c")], "next_action": assistant("d")}
    assert told(read_traffic(written(tmp_path / "all.jsonl", [line]))) == [
        ("all.jsonl:1", 0, 1, "b"),
        ("all.jsonl:1", 1, 3, "d"),
    ]


@pytest.mark.parametrize(
    ("line", "turns"),
    [
        ({"model": "m", "messages": [user("a"), assistant("b")]}, [1]),  # ends in an answer: a conversation
        ({"model": "m", "messages": [user("a"), assistant("b"), user("c")]}, [3]),  # a request
        ({"model": "m", "id": "x", "messages": [user("a"), assistant("b"), user("c")]}, [1]),  # no request has an id
        ({"model": "m", "source": "x", "messages": [user("a")]}, [1]),  # nobody answered yet
    ],
)
def test_a_line_says_what_it_is(tmp_path: Path, line: dict[str, Any], turns: list[int]) -> None:
    assert [length for _, _, length, _ in told(read_traffic(written(tmp_path / "f.jsonl", [line])))] == turns


def test_what_lines_are_can_be_overruled(tmp_path: Path) -> None:
    path = written(tmp_path / "f.jsonl", [{"model": "m", "messages": [user("a"), assistant("b")]}])
    assert [length for _, _, length, _ in told(read_traffic(path, "requests"))] == [2]
    path = written(tmp_path / "f.jsonl", [{"model": "m", "messages": [user("a"), assistant("b"), user("c")]}])
    assert [length for _, _, length, _ in told(read_traffic(path, "conversations"))] == [1]


def test_two_conversations_of_the_same_id_stay_two(tmp_path: Path) -> None:
    line = {"id": "x", "model": "m", "messages": [user("a"), assistant("b")]}
    assert len({turn.conversation for turn in read_traffic(written(tmp_path / "f.jsonl", [line, line])).turns}) == 2


# ---------------------------------------------------------------- a ledger with content


def kept(request_id: str, second: int, *messages: dict[str, Any], team: str = "care") -> dict[str, Any]:
    ts = f"2026-01-31T12:00:{second:02d}.000Z"
    return {"event": "content", "id": request_id, "team": team, "request": body(*messages), "ts": ts}


def test_a_ledgers_folder_gives_its_content_by_time_over_all_workers(tmp_path: Path) -> None:
    written(tmp_path / "2026-01-31.7.jsonl", [{"event": "opened", "id": "gw_1"}])
    written(tmp_path / "2026-01-31.7.content.jsonl", [kept("gw_2", 20, user("a"), assistant("b"), user("c"))])
    written(tmp_path / "2026-01-31.8.content.jsonl", [kept("gw_1", 10, user("a"))])
    found = read_traffic(tmp_path)
    assert found.problems == ()
    assert told(found) == [("gw_1", 0, 2, "b"), ("gw_1", 1, 4, None)]
    assert [turn.at for turn in found.turns] == [1769860810.0, 1769860820.0]


def test_one_teams_content_can_be_chosen(tmp_path: Path) -> None:
    lines = [kept("gw_1", 1, user("a")), kept("gw_2", 2, user("b"), team="lab")]
    found = read_traffic(written(tmp_path / "2026-01-31.content.jsonl", lines), team="lab")
    assert [turn.conversation for turn in found.turns] == ["gw_2"]


@pytest.mark.parametrize(
    ("team", "said"),
    [
        ("nosuch", "keeps no request of team 'nosuch'; there is care, lab"),
        ("car", "keeps no request of team 'car'; there is care, lab; did you mean 'care'?"),
    ],
)
def test_a_team_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, team: str, said: str) -> None:
    written(tmp_path / "2026-01-31.content.jsonl", [kept("gw_1", 1, user("a")), kept("gw_2", 2, user("b"), team="lab")])
    (problem,) = read_traffic(tmp_path, team=team).problems
    assert str(problem) == f"{tmp_path}: {said}"


def test_a_file_without_a_line_says_that_it_holds_no_request(tmp_path: Path) -> None:
    (problem,) = read_traffic(written(tmp_path / "day.jsonl", [])).problems
    assert str(problem).endswith("day.jsonl: holds no request; one JSON object a line is read")


def test_a_ledger_without_content_says_how_to_keep_it(tmp_path: Path) -> None:
    for day in ("2026-01-30", "2026-01-31"):
        written(tmp_path / f"{day}.jsonl", [{"event": "opened", "id": "gw_1"}, {"event": "settled", "id": "gw_1"}])
    (problem,) = read_traffic(tmp_path).problems
    assert "set `ledger: {content: requests}`" in str(problem)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is not a JSON object: "),
        ("[1]", "is not a JSON object: "),
        ('{"a": 1}', 'has no "messages"; a line is the body of a chat completion, or a conversation'),
        ('{"model": "m", "messages": []}', "`messages` is empty"),
        ('{"model": "m", "messages": {}}', "`messages` must be a list of messages"),
        ('{"model": "m", "messages": [1]}', "`messages[0]` must be an object with a role"),
        ('{"model": "m", "model": "m", "messages": []}', "names the key 'model' twice"),
        ('{"id": "x", "model": "m", "messages": [{"role": "assistant", "content": "b"}]}', "has no user message"),
        ('{"id": "x", "messages": [{"role": "user", "content": "b"}]}', "names no model; give --model"),
        ('{"event": "content", "ts": "soon", "request": {"model": "m", "messages": [{"role": "user"}]}}', "ts: 'soon'"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_with_its_place_and_the_rest_is_used(
    tmp_path: Path, line: str, said: str
) -> None:
    path = written(tmp_path / "day.jsonl", [body(user("a")), line, "", body(user("b"))])
    found = read_traffic(path)
    (problem,) = found.problems
    assert str(problem).startswith(f"{path}:2: ")
    assert said in str(problem)
    assert [turn.line for turn in found.turns] == [1, 4]


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(b'{"model": "\xff"}\n' + json.dumps(body(user("a"))).encode())
    found = read_traffic(path)
    assert [str(problem) for problem in found.problems] == [
        f"{path}:1: is not UTF-8 (byte 11); write the file as UTF-8"
    ]
    assert len(found.turns) == 1


def test_of_a_packed_file_that_breaks_off_the_lines_before_are_used(tmp_path: Path) -> None:
    path = written(tmp_path / "day.jsonl.gz", [body(user(f"{n} " * 999)) for n in range(99)])
    path.write_bytes(path.read_bytes()[:-20])
    found = read_traffic(path)
    assert "is not a whole .gz file" in str(found.problems[0])
    plain = tmp_path / "other.jsonl.gz"
    plain.write_text(json.dumps(body(user("a"))))
    assert "is not a whole .gz file" in str(read_traffic(plain).problems[0])


def test_a_folder_without_lines_says_what_is_read(tmp_path: Path) -> None:
    assert "holds no *.jsonl or *.jsonl.gz" in str(read_traffic(tmp_path).problems[0])


# ---------------------------------------------------------------- prices, by hand


def prompt(*messages: tuple[str, int]) -> Sequence[tuple[int, int]]:
    """The blocks of a prompt whose messages have these texts and tokens."""
    said = tuple(Message("user", text) for text, _ in messages)
    return chain("m", Conversation(said), 0, [tokens for _, tokens in messages])


def test_the_cost_of_a_prompt_is_that_of_what_is_read_and_what_is_not() -> None:
    assert RULES["cached .1 write 1.25"].cost(3000, 2000) == pytest.approx(2000 * 0.1 + 1000 * 1.25)
    assert RULES["cached .1 write 1"].cost(3000, 2048) == pytest.approx(2048 * 0.1 + 952)
    assert RULES["cached .5 write 1"].cost(3000, 2048) == pytest.approx(2048 * 0.5 + 952)
    assert RULES["no cache"].cost(3000, 0) == 3000
    assert RULES["cached .1 write 1.25"].cost(1000, 0) == 1000  # too short to be written


def test_a_prompt_is_read_as_far_as_it_was_sent_before_in_steps() -> None:
    cache = PrefixCache(Rule(0.1, 1, 1024, 128, math.inf))
    assert cache.cached(prompt(("a", 1500)), 0) == 0
    assert cache.cached(prompt(("a", 1500), ("b", 700)), 0) == 1408  # 11 steps of 128
    assert cache.cached(prompt(("a", 1500), ("b", 700), ("c", 100)), 0) == 2176  # 17 steps
    assert cache.cached(prompt(("x", 1), ("a", 1500)), 0) == 0  # it begins otherwise


def test_a_prompt_below_the_least_is_neither_written_nor_read() -> None:
    cache = PrefixCache(Rule(0.1, 1, 1024, 1, math.inf))
    assert [cache.cached(prompt(("a", 1000)), 0) for _ in range(2)] == [0, 0]
    assert cache.cached(prompt(("a", 1000), ("b", 100)), 0) == 0
    assert cache.cached(prompt(("a", 1000), ("c", 900)), 0) == 0  # what they share is below the least
    assert cache.cached(prompt(("a", 1000), ("b", 100), ("d", 5)), 0) == 1100


def test_inside_a_message_the_common_beginning_counts() -> None:
    cache = PrefixCache(Rule(0.1, 1, 1024, 1, math.inf))
    same = "s" * 2 * 8192
    cache.cached(prompt((same + "one", 4000)), 0)
    assert 3900 < cache.cached(prompt((same + "two", 4000)), 0) < 4000


def test_what_is_not_used_for_a_lifetime_is_gone_and_each_read_begins_it_anew() -> None:
    cache = PrefixCache(Rule(0.1, 1, 1024, 1, 300))
    assert [cache.cached(prompt(("a", 2000)), at) for at in (0, 300, 600, 901)] == [0, 2000, 2000, 0]


def test_another_models_cache_is_another() -> None:
    cache = PrefixCache(Rule(0.1, 1, 1024, 1, 300))
    conversation = Conversation((Message("user", "a"),))
    assert [cache.cached(chain(model, conversation, 0, [2000]), 0) for model in ("m", "n", "m")] == [0, 0, 2000]


def test_tool_definitions_come_first() -> None:
    cache = PrefixCache(Rule(0.1, 1, 1024, 1, math.inf))
    for text, read_tokens in (("a", 0), ("b", 2000)):
        conversation = Conversation((Message("user", text),), ('[{"name":"look"}]',), 1)
        assert cache.cached(chain("m", conversation, 2000, [50]), 0) == read_tokens


# ---------------------------------------------------------------- carried values


def conversation(*messages: dict[str, Any]) -> Conversation:
    return parse(json.dumps({"model": "m", "messages": messages}).encode(), Memo()).conversation


CALL = {"id": "c1", "type": "function", "function": {"name": "find_jobs", "arguments": '{"who": "Amparo"}'}}
TOLD = (
    {"role": "system", "content": "Jobs look like KL-000000."},
    user("How far is my bicycle?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": '{"job": "KL-73EC57", "cost": 241.50, "days": 12}'},
    assistant("It is open."),
    user("Book the slot of 2026-04-02."),
)


def answer(text: str | None, arguments: str | None = None) -> Message:
    call = {"id": "c2", "type": "function", "function": {"name": "book_slot", "arguments": arguments}}
    return message_of({"role": "assistant", "content": text, **({"tool_calls": [call]} if arguments else {})})


def test_a_value_is_carried_that_only_an_older_message_told() -> None:
    found = values_carried.carried(
        conversation(*TOLD), answer("It costs 241.50.", '{"job": "KL-73EC57", "slot": "2026-04-02"}')
    )
    assert [(one.value, one.at, one.tool, one.used_by) for one in found] == [
        ("KL-73EC57", 3, "find_jobs", "book_slot"),
        ("241.50", 3, "find_jobs", "text"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("KL-000000", "the system text says it"),
        ("2026-04-02", "one of the last two messages says it"),
        ("KL-73EC58", "nobody says it"),
        ("L-73EC57", "it stands only inside a longer word"),
        ("41.50", "it stands only inside a longer number"),
        ("12", "a number of two digits stands anywhere"),
        ("open", "prose is no value"),
    ],
)
def test_a_value_is_not_carried_where(text: str, why: str) -> None:
    assert values_carried.carried(conversation(*TOLD), answer(f"See {text} there.")) == (), why


def test_a_value_is_lost_when_it_stands_nowhere_in_what_leaves() -> None:
    (one,) = values_carried.carried(conversation(*TOLD), answer("Job KL-73EC57."))
    assert values_carried.lost([one], conversation(*TOLD[:3], *TOLD[4:])) == [one]
    assert values_carried.lost([one], conversation(user("jobs: KL-73EC57, KL-1"))) == []


def test_arguments_are_read_as_the_text_and_numbers_they_hold() -> None:
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": ["x\\u002dy", 1.10], "b1": {}}'},
    }
    assert values_carried.said(message_of({"role": "assistant", "tool_calls": [call]})).split() == ["x-y", "1.10"]
    call["function"] = {"name": "f", "arguments": "not JSON"}
    assert values_carried.said(message_of({"role": "assistant", "tool_calls": [call]})).strip() == "not JSON"


# ---------------------------------------------------------------- pictures


def test_a_panel_fills_what_leaves_and_draws_a_line_at_what_came() -> None:
    drawn = panel([100, 100], [100, 200], columns=4, rows=2)
    assert drawn.labels == ("200", "0")
    assert drawn.rows == ("⢀⢀⠉⠉".replace("⢀", chr(0x2800)), "⣿⣿⣿⣿")


def test_a_refused_turn_is_a_gap_under_the_line() -> None:
    drawn = panel([100, None], [100, 100], columns=2, rows=1)
    assert drawn.rows == ("⣿⠉",)


def test_many_turns_share_a_column_and_the_highest_shows() -> None:
    drawn = panel([1] * 500 + [100] + [1] * 499, [], columns=10, rows=1)
    assert drawn.rows[0].count(chr(0x2800 | 0x40 | 0x80)) == 9


def test_a_picture_is_a_png_that_any_reader_takes() -> None:
    data = png("x", [100, 20_000, 300], [("tight", [100, None, 50]), *((f"p{n}", [1, 2, 3]) for n in range(9))])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, kinds, packed = 8, [], b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        kinds.append(kind)
        packed += content if kind == b"IDAT" else b""
        at += 12 + length
    assert kinds == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    wide, high = struct.unpack(">II", data[16:24])
    assert len(zlib.decompress(packed)) == (wide + 1) * high


def test_the_highest_of_nothing_is_nothing() -> None:
    assert highest([], [None]) == 0
    assert len(panel([], [], 3, 2).rows) == 2


# ---------------------------------------------------------------- recorded conversations


def test_every_recorded_conversation_is_traffic(conversations: Conversations) -> None:
    for name in conversations.names:
        found = read_traffic(conversations.folder / f"{name}.jsonl.gz", model="gpt-5")
        assert found.problems == (), name
        assert found.turns, name


def test_requests_one_by_one_are_the_same_conversations(tmp_path: Path) -> None:
    whole = read_traffic(CASES / "conversations.jsonl")
    apart = read_traffic(written(tmp_path / "day.jsonl", [turn.body.decode() for turn in whole.turns]))
    assert [turn.number for turn in apart.turns] == [turn.number for turn in whole.turns]
    assert len({turn.conversation for turn in apart.turns}) == 3
    for one, other in zip(whole.turns, apart.turns, strict=True):
        assert other.answer is None or (one.answer is not None and other.answer.calls == one.answer.calls)


def test_all_tokens_of_a_message_are_in_its_blocks() -> None:
    count = Counter().count
    (turn, *_) = read_traffic(CASES / "conversations.jsonl").turns[10:]
    said = parse(turn.body, Memo()).conversation
    sizes = [message_tokens(message, count, lambda media: 0) for message in said.messages]
    assert chain("m", said, 300, sizes)[-1][1] == 300 + sum(sizes)
