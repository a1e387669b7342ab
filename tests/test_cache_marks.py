"""Cache markers in the bytes of a request: each at its place, all else as it came; and where litellm carries them."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conversation import Changes, Insertion
from gateway.request import Marks, Request
from gateway.routing.upstreams.translated import Translated
from gateway.wire.chat.cache_marks import may_carry
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from tests.conftest import examples
from tests.laws.generators import Talk, talks
from tests.providers.anthropic import Anthropic
from tests.providers.deployments import deployment
from tests.providers.serving import serving
from tests.talk import Wire, assistant, calls, request, result, system, user

MARK = {"type": "ephemeral"}
MARK_HOUR = {"type": "ephemeral", "ttl": "1h"}
EXPLICIT = {"mode": "explicit"}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"n": {}}}}}
    for name in ("read", "write")
]
TALK: list[Wire] = [system("Rules."), user("Go."), calls("c1 read"), result("c1", "found")]


def parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def control(**places: int) -> Marks:
    return Marks("control", {int(link.removeprefix("at")): lifetime for link, lifetime in places.items()})


def breakpoints(*links: int) -> Marks:
    return Marks("breakpoint", dict.fromkeys(links, 1800))


def left(came: Request, marks: Marks, changes: Changes | None = None) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(sent(came, came.model, changes, marks))
    return told


# ---------------------------------------------------------------- where a marker is written


def test_a_message_whose_content_is_a_string_gets_a_member():
    out = left(request(TALK), control(at1=300, at2=3600))["messages"]
    assert out[0] == {**TALK[0], "cache_control": MARK}
    assert out[1] == {**TALK[1], "cache_control": MARK_HOUR}
    assert out[2:] == TALK[2:]


def test_a_result_gets_a_member_whatever_its_content_is():
    for content in ("found", parts("found", "more")):
        out = left(request([*TALK[:3], result("c1", content)]), control(at4=300))["messages"]
        assert out[3] == {**result("c1", content), "cache_control": MARK}


def test_the_last_of_several_parts_is_marked():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    out = left(request([user(parts("a", "b")), user([*parts("a"), picture])]), control(at1=300, at2=300))["messages"]  # type: ignore[arg-type]
    assert out[0]["content"] == [*parts("a"), {**parts("b")[0], "cache_control": MARK}]
    assert out[1]["content"] == [*parts("a"), {**picture, "cache_control": MARK}]


def test_the_last_tool_is_marked():
    out = left(request(TALK, tools=TOOLS), control(at0=300))
    assert out["tools"] == [TOOLS[0], {**TOOLS[1], "cache_control": MARK}]
    assert out["messages"] == TALK


def test_openais_breakpoint_makes_a_part_of_a_string():
    listed = [system("Rules."), user(parts("a", "b")), calls("c1 read"), result("c1", "found")]  # type: ignore[arg-type]
    out = left(request(listed), breakpoints(1, 2, 4))["messages"]
    assert out[0]["content"] == [{**parts("Rules.")[0], "prompt_cache_breakpoint": EXPLICIT}]
    assert out[1]["content"] == [parts("a")[0], {**parts("b")[0], "prompt_cache_breakpoint": EXPLICIT}]
    assert out[3]["content"] == [{**parts("found")[0], "prompt_cache_breakpoint": EXPLICIT}]


def test_a_breakpoint_of_openais_never_stands_on_tools():
    assert left(request(TALK, tools=TOOLS), breakpoints(0))["tools"] == TOOLS


def test_the_key_is_added_where_there_is_none():
    marks = Marks("breakpoint", {}, key="k-1")
    assert left(request(TALK), marks)["prompt_cache_key"] == "k-1"
    assert left(request(TALK, prompt_cache_key="mine"), marks)["prompt_cache_key"] == "mine"


@pytest.mark.parametrize(
    "message",
    [
        user(""),
        user(" \n"),
        user(parts("a", "")),  # type: ignore[arg-type]
        user([*parts("a"), {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]),  # type: ignore[arg-type]
        user([{"type": "thinking", "thinking": "a", "signature": "b"}]),  # type: ignore[arg-type]
        {"role": "user", "content": []},
        {"role": "user", "content": {"odd": 1}},
        user("a", cache_control=MARK),
        {"role": "user", "content": [{**parts("a")[0], "cache_control": MARK}]},
        assistant("a"),
        calls("c1 read"),
        {"role": "function", "name": "f", "content": "a"},
        {"role": "user"},
        {"content": "a"},
        {"role": "user", "content": [{"type": ["text"], "text": "a"}]},
    ],
)
def test_what_says_nothing_or_is_of_an_unknown_shape_carries_none(message: Wire):
    assert not may_carry(json.dumps(message).encode(), "control")
    came = request([user("Hello."), message])
    assert sent(came, came.model, None, control(at2=300)) == came.body


@pytest.mark.parametrize(
    "tools",
    [
        [],
        None,
        [{"type": "custom", "custom": {"name": "f"}}],
        [{**TOOLS[0], "cache_control": MARK}],
        [{"type": "function", "function": {**TOOLS[0]["function"], "cache_control": MARK}}],
        [{"type": "function"}],
    ],
)
def test_tools_that_cannot_be_marked_are_not(tools: Any):
    came = request(TALK, tools=tools)
    assert sent(came, came.model, None, control(at0=300)) == came.body


# ---------------------------------------------------------------- beside other edits


def test_a_marker_stands_on_what_is_put_in_and_on_what_is_shortened():
    listed = [system("Rules."), user("Old."), assistant("Yes."), calls("c1 read"), result("c1", "long"), user("Now?")]
    changes = Changes({4: "short"}, frozenset({1, 2}), (Insertion(1, "What went."), Insertion(5, "Recalled.")))
    out = left(request(listed), control(at2=3600, at4=300, at6=300), changes)["messages"]
    assert out == [
        system("Rules."),
        user("What went.", cache_control=MARK_HOUR),
        calls("c1 read"),
        {**result("c1", "short"), "cache_control": MARK},
        user("Recalled."),
        user("Now?", cache_control=MARK),
    ]


def test_a_shortened_message_of_parts_keeps_its_own_marker_and_gets_no_second():
    content = [{**parts("one")[0], "cache_control": MARK_HOUR}, *parts("two")]
    came = request([{"role": "user", "content": content}, assistant("A."), user("B")])
    out = left(came, control(at1=300), Changes({0: "short"}))["messages"]
    assert out[0]["content"] == [{**parts("short")[0], "cache_control": MARK_HOUR}]


def test_two_lines_of_ours_before_one_message_are_two_messages():
    changes = Changes({}, frozenset(), (Insertion(1, "One."), Insertion(1, "Two.")))
    out = left(request([system("R."), user("Now?")]), control(at2=300, at3=3600), changes)["messages"]
    assert out[1:3] == [user("One.", cache_control=MARK), user("Two.", cache_control=MARK_HOUR)]


def test_a_place_that_is_not_there_is_nothing():
    came = request(TALK)
    assert sent(came, came.model, None, control()) == came.body
    assert left(came, control(at9=300), Changes({}, frozenset(), (Insertion(1, "One."),)))["messages"][2:] == TALK[1:]


SPLICED = [
    b',"cache_control":{"type":"ephemeral","ttl":"1h"}',
    b',"cache_control":{"type":"ephemeral"}',
    b',"prompt_cache_breakpoint":{"mode":"explicit"}',
    b',"prompt_cache_key":"k"',
]


def links(talk: Talk) -> st.SearchStrategy[dict[int, int]]:
    return st.dictionaries(st.integers(0, len(talk.messages)), st.sampled_from([300, 3600]), max_size=4)


@settings(max_examples=examples(150))
@given(talks(breaks=True), st.data())
def test_without_the_markers_all_bytes_are_those_that_came(talk: Talk, data: st.DataObject):
    came = parse(talk.body(), Memo())
    places, key = data.draw(links(talk)), data.draw(st.sampled_from([None, "k"]))
    out, plain = sent(came, came.model, None, Marks("control", places, key)), sent(came, came.model)
    for splice in SPLICED:
        out, plain = out.replace(splice, b""), plain.replace(splice, b"")
    assert out == plain
    broken = json.loads(sent(came, came.model, None, Marks("breakpoint", places)))
    assert unmarked(broken) == unmarked(json.loads(sent(came, came.model)))


def unmarked(value: Any) -> Any:
    """Take out markers, and let a single part of text be the text."""
    if isinstance(value, dict):
        kept = {k: unmarked(v) for k, v in value.items() if k not in ("cache_control", "prompt_cache_breakpoint")}
        content = kept.get("content")
        if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
            kept["content"] = content[0]["text"]
        return kept
    return [unmarked(item) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- where litellm carries it to


@pytest.fixture
async def translated() -> AsyncIterator[Translated]:
    upstream = Translated()
    yield upstream
    await upstream.close()


async def asked(upstream: Translated, came: Request, marks: Marks, changes: Changes | None = None) -> Any:
    """Return what Claude is asked."""
    async with serving(Anthropic()) as server:
        target = deployment("anthropic/claude-sonnet-4-5", server.url, kind="translated")
        reply = await upstream.send(target, sent(came, target.model, changes, marks), stream=False, request_id="gw_1")
        told = await reply.read()
        assert reply.status == 200, told
        return server.received[0].body


def marked_blocks(asked: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """List the marked blocks in the order in which Claude reads them: where each is, and its marker."""
    found = [(f"tool {tool['name']}", tool.get("cache_control")) for tool in asked.get("tools", ())]
    found += [(f"system {block['text']}", block.get("cache_control")) for block in asked.get("system", ())]
    for message in asked["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            said = block.get("text") or block.get("tool_use_id") or block.get("id") or block["type"]
            found.append((f"{block['type']} {said}", block.get("cache_control")))
            inner = block.get("content")
            found += [(f"in {said}", part.get("cache_control")) for part in (inner if isinstance(inner, list) else ())]
    return [(where, marker) for where, marker in found if marker is not None]


async def test_each_marker_arrives_at_the_block_that_was_meant(translated: Translated):
    listed = [
        system("Rules."),
        user("Go."),
        calls("c1 read", "c2 write"),
        result("c1", "found"),
        result("c2", parts("one", "two")),
        assistant("Done."),
        user(parts("And", "now?")),  # type: ignore[arg-type]
    ]
    came = request(listed, tools=TOOLS, max_tokens=10)
    assert marked_blocks(await asked(translated, came, control(at0=3600, at1=3600, at4=300, at7=300))) == [
        ("tool write", MARK_HOUR),
        ("system Rules.", MARK_HOUR),
        ("tool_result c1", MARK),
        ("text now?", MARK),
    ]
    assert marked_blocks(await asked(translated, came, control(at2=300, at5=300))) == [
        ("text Go.", MARK),
        ("tool_result c2", MARK),
    ]


async def test_system_text_in_parts_and_messages_of_ours_arrive_marked_too(translated: Translated):
    came = request([system(parts("One.", "Two.")), user("Old."), assistant("A."), user("Now?")], max_tokens=10)  # type: ignore[arg-type]
    changes = Changes({}, frozenset({1, 2}), (Insertion(1, "What went."),))
    assert marked_blocks(await asked(translated, came, control(at1=300, at2=300, at3=300), changes)) == [
        ("system Two.", MARK),
        ("text What went.", MARK),
        ("text Now?", MARK),
    ]


async def test_a_result_behind_thinking_arrives_marked_and_the_thinking_does_not(translated: Translated):
    thinking = [{"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmVk"}]
    listed = [user("Go."), {**calls("c1 read"), "thinking_blocks": thinking}, result("c1", "found")]
    came = request(listed, tools=TOOLS, max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
    assert marked_blocks(await asked(translated, came, control(at3=300))) == [("tool_result c1", MARK)]


async def test_the_callers_markers_at_odd_places_arrive_as_they_are(translated: Translated):
    tools = [{**TOOLS[0], "cache_control": MARK}, TOOLS[1]]
    content = [{**parts("One.")[0], "cache_control": MARK}, *parts("Two.")]
    came = request([user(content)], tools=tools, max_tokens=10, cache_control=MARK)  # type: ignore[arg-type]
    told = await asked(translated, came, control())
    assert marked_blocks(told) == [("tool read", MARK), ("text One.", MARK)]
    assert told["cache_control"] == MARK


async def test_a_cache_key_is_no_business_of_claudes(translated: Translated):
    told = await asked(translated, request([user("Hello.")], max_tokens=10), Marks(key="k"))
    assert "prompt_cache_key" not in json.dumps(told)
