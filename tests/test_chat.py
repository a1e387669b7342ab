"""Chat completions: what is read of a request, what is refused, and that everything else leaves byte for byte."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.policy import PROFILE_METADATA
from gateway.conversation import Call, Changes, Insertion, Media
from gateway.request import Request
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.errors import GatewayError
from gateway.wire.members import OURS_IN_METADATA
from gateway.wire.memo import Memo
from gateway.wire.outgoing import Additions
from tests.talk import Wire, assistant, body, calls, loop, request, result, step, system, user, words

LONG = "7" * 5000
HELLO = [user("hello")]


def read(raw: bytes) -> Request:
    return parse(raw, Memo())


def refused(raw: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        read(raw)
    error = raised.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    return error


def with_message(message: str, more: str = "") -> bytes:
    return f'{{"model":"asked","messages":[{{"role":"user","content":"hi"}},{message}]{more}}}'.encode()


# ---------------------------------------------------------------- bad input: what, and where


@pytest.mark.parametrize(
    ("raw", "said", "param"),
    [
        (b"", "is not a JSON object", None),
        (b"hello", "is not a JSON object", None),
        (b'{"model": "asked", "messages": [', "is not a JSON object", None),
        (b'{"model":"asked","messages":[]} {}', "is not a JSON object", None),
        (b'["model"]', "is not a JSON object", None),
        (b"42", "is not a JSON object", None),
        (b"null", "is not a JSON object", None),
        (b'{"model":"asked"}', "`messages` is missing", "messages"),
        (b'{"model":"asked","messages":null}', "`messages` must be a list", "messages"),
        (b'{"model":"asked","messages":{}}', "`messages` must be a list", "messages"),
        (b'{"model":"asked","messages":"hi"}', "`messages` must be a list", "messages"),
        (b'{"model":"asked","messages":[]}', "`messages` is empty", "messages"),
        (with_message("7"), "`messages[1]` must be an object", "messages[1]"),
        (with_message('"hi"'), "`messages[1]` must be an object", "messages[1]"),
        (b'{"messages":[{"role":"user","content":"hi"}]}', "`model` must be the name of a model", "model"),
        (b'{"model":null,"messages":[{}]}', "`model` must be the name of a model", "model"),
        (b'{"model":"","messages":[{}]}', "`model` must be the name of a model", "model"),
        (b'{"model":["asked"],"messages":[{}]}', "`model` must be the name of a model", "model"),
        (body(HELLO)[:-1] + b',"temperature":NaN}', "is not a JSON object", None),
        (body(HELLO)[:-1] + b',"temperature":Infinity}', "is not a JSON object", None),
        (with_message('{"role":"user","content":NaN}'), "is not a JSON object", None),
        (body(HELLO).replace(b"hello", b"hel\xfflo"), "is not valid UTF-8 (byte 58)", None),
        (body(HELLO).replace(b"hello", b"\xed\xa0\x80"), "is not valid UTF-8 (byte 55)", None),
        (body(HELLO).replace(b"hello", rb"\ud800"), "a lone surrogate, which is half a character (byte 55)", None),
        (body(HELLO).replace(b"hello", rb"\udc00 x"), "a lone surrogate, which is half a character (byte 55)", None),
        (body(HELLO)[:-1] + rb',"user":"\ud83d"}', "a lone surrogate", None),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_what_and_where(raw, said, param):
    error = refused(raw)
    assert said in error.message
    assert error.param == param


@pytest.mark.parametrize(
    ("raw", "said", "param"),
    [
        (b'{"model":"asked","model":"other","messages":[{}]}', "the key 'model' twice", "model"),
        (rb'{"model":"asked","mod\u0065l":"other","messages":[{}]}', "the key 'model' twice", "model"),
        (b'{"model":"asked","messages":[{}],"messages":[{}]}', "the key 'messages' twice", "messages"),
        (
            b'{"model":"asked","max_tokens":1,"messages":[{}],"max_tokens":9}',
            "the key 'max_tokens' twice",
            "max_tokens",
        ),
        (body(HELLO)[:-1] + b',"stream":false,"stream":true}', "the key 'stream' twice", "stream"),
        (
            with_message('{"role":"user","content":"a","content":"b"}'),
            "`messages[1]` names the key 'content' twice",
            "m",
        ),
        (with_message(r'{"role":"user","content":"a","c\u006fntent":"b"}'), "the key 'content' twice", "m"),
        (with_message(r'{"r\u006fle":"user","role":"system","content":"a"}'), "the key 'role' twice", "m"),
        (with_message('{"role":"tool","tool_call_id":"a","tool_call_id":"b"}'), "the key 'tool_call_id' twice", "m"),
        (with_message('{"name":"a","x":{},"name":"b"}'), "the key 'name' twice", "m"),
    ],
)
def test_a_key_that_stands_twice_at_the_top_or_in_a_message_is_a_way_around_budgets(raw, said, param):
    error = refused(raw)
    assert said in error.message
    assert error.param == ("messages[1]" if param == "m" else param)


@pytest.mark.parametrize("stream", [1, 0, "true", "yes", [], {}])
def test_a_stream_that_is_neither_asked_for_nor_not_is_refused(stream):
    error = refused(body(HELLO, stream=stream))
    assert (error.status, error.param) == (400, "stream")
    assert "true or false" in error.message


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "raw",
    [
        body(HELLO)[:-1] + f',"metadata":{deep(200)}}}'.encode(),
        body(HELLO)[:-1] + f',"anything":{deep(200)}}}'.encode(),
        body(HELLO)[:-1] + f',"tools":{deep(200)}}}'.encode(),
        with_message(f'{{"role":"user","content":{deep(200)}}}'),
        with_message('{"a":' * 200 + "1" + "}" * 200),
        b'{"a":' * 200 + b"1" + b"}" * 200,
        body(HELLO)[:-1] + f',"anything":{deep(100_000)}}}'.encode(),
        with_message(f'{{"a":1,"a":{deep(990)}}}'),
    ],
)
def test_what_is_nested_two_hundred_levels_deep_is_refused(raw):
    assert "nested more than 128 levels deep" in (error := refused(raw)).message or "twice" in error.message


def test_a_wrong_message_is_named_by_its_index():
    raw = with_message('{"role":"user","content":"a"},{"role":"user","content":"a","content":"b"}')
    assert refused(raw).param == "messages[2]"


# ---------------------------------------------------------------- passed on byte for byte

LET_THROUGH = {
    "a number of 5,000 digits": body(HELLO)[:-1] + f',"seed":{LONG}}}'.encode(),
    "a number of 5,000 digits in a message": with_message(f'{{"role":"user","content":"x","seed":{LONG}}}'),
    "a number of 5,000 digits in a tool": with_message('{"role":"user","content":"x"}', f',"tools":[{{"max":{LONG}}}]'),
    "numbers as they were written": body(HELLO)[:-1]
    + b',"temperature":1.10,"top_p":1E0,"x":-0,"y":123456789012345678901234567890}',
    "duplicates inside tool schemas": with_message(
        '{"role":"user","content":"x"}',
        ',"tools":[{"type":"function","function":{"name":"a","name":"b","parameters":{"x":1,"x":2}}}]',
    ),
    "duplicates inside arguments": body([user("x"), calls('c1 read {"a":1,"a":2}'), result("c1", '{"b":1,"b":2}')]),
    "duplicates inside metadata": body(HELLO)[:-1] + b',"metadata":{"a":"1","a":"2"}}',
    "duplicates inside a call": with_message(
        '{"role":"assistant","tool_calls":[{"id":"a","id":"b","function":{"name":"f"}}]}'
    ),
    "unknown fields": body(
        [{**user("x"), "zzz": [1], "extra_content": {"google": {"thought_signature": "s"}}}], yyy={"a": None}
    ),
    "unknown part types": body(
        [user("x"), {"role": "user", "content": [{"type": "hologram", "hologram": {"text": "x"}}, "bare", 7]}]
    ),
    "unknown roles": body([{"role": "critic", "content": "x"}, *HELLO]),
    "content of any shape": body(
        [{"role": "user", "content": 7}, {"role": "user", "content": {"text": "x"}}, {"content": None}, {}]
    ),
    "spaces and escapes": rb' { "model" : "asked" , "messages":[ {"role":"user", "content":"\u0041\/\ud83d\ude00"}] } ',
    "100 levels": body(HELLO)[:-1] + f',"metadata":{deep(100)}}}'.encode(),
    "a schema of any kind": body(
        HELLO, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}
    ),
    "limits of any kind": body(
        HELLO, max_tokens="many", n=None, stream=None, user=7, metadata=[], stream_options=3, tools={}
    ),
}


@pytest.mark.parametrize("raw", LET_THROUGH.values(), ids=LET_THROUGH)
def test_what_we_do_not_act_on_leaves_byte_for_byte(raw):
    assert sent(read(raw), "asked") is raw


# ---------------------------------------------------------------- what is read


def test_the_fields_that_we_act_on_are_read():
    found = request(
        HELLO,
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=9,
        max_tokens=7,
        user="ann",
        metadata={"tags": ["a"]},
        n=3,
        service_tier="flex",
    )
    assert (found.model, found.stream, found.asks_usage, found.answer_limit) == ("asked", True, True, 9)
    assert (found.user, found.metadata, found.choices, found.service_tier) == ("ann", {"tags": ["a"]}, 3, "flex")


def test_what_is_left_out_or_of_another_kind_reads_as_nothing():
    found = read(LET_THROUGH["limits of any kind"])
    assert (found.stream, found.asks_usage, found.answer_limit, found.user) == (False, False, None, None)
    assert (found.metadata, found.choices, found.service_tier, found.conversation.tools) == ({}, 1, None, 0)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9", None])
def test_an_answer_limit_that_is_none_reads_as_none(limit):
    assert request(HELLO, max_tokens=limit).answer_limit is None


def test_an_unusable_limit_leaves_the_older_one_to_count():
    assert request(HELLO, max_completion_tokens=0, max_tokens=7).answer_limit == 7


def test_text_in_parts_is_joined_and_media_are_told_apart():
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x.example/b.png"},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "text", "text": "two"},
    ]
    message = request([{"role": "user", "content": parts}]).conversation.messages[0]
    assert message.text.split() == ["one", "two"]
    assert message.content == "parts"
    assert message.media == (
        Media("image", "https://x.example/a.png", "low", 1),
        Media("image", "https://x.example/b.png", None, 2),
        Media("audio", "UklG", "wav", 3),
        Media("file", "data:application/pdf;base64,JVBE", None, 4, "a.pdf"),
        Media("file", "", None, 5),
    )
    assert message.parts == ("one", "", "", "", "", "", "two")


def test_calls_of_every_kind_are_read_with_names_and_arguments():
    custom = {"id": "c2", "type": "custom", "custom": {"name": "grep", "input": "-r x"}}
    message = {"role": "assistant", "tool_calls": [*calls("c1 read {}")["tool_calls"], custom, "junk", {"id": 7}]}
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "old", "arguments": "{}"}}
    one, other = request([message, legacy]).conversation.messages
    assert one.calls == (Call("c1", "read", "{}"), Call("c2", "grep", "-r x"), Call("", "", ""))
    assert other.calls == (Call("", "old", "{}"),)


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        ({"role": "user", "content": "x"}, "text"),
        ({"role": "user", "content": []}, "parts"),
        ({"role": "assistant", "content": None}, "null"),
        ({"role": "assistant"}, "missing"),
        ({"role": "user", "content": 7}, "other"),
        (
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": "u"}]},
            "parts",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "video_url", "video_url": "u"}]},
            "other",
        ),
        ({"role": "tool", "content": [{"type": "text", "text": "x"}, "y"]}, "other"),
    ],
)
def test_the_shape_of_content_is_kept(message, shape):
    assert request([message]).conversation.messages[0].content == shape


def test_what_stands_in_for_content_is_noticed():
    said = [
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": None, "refusal": ""},
    ]
    assert [message.speaks_otherwise for message in request(said).conversation.messages] == [True, False]
    assert request([{"role": "assistant", "content": "x", "tool_calls": []}]).conversation.messages[0].empty_calls


def test_tools_functions_and_the_response_schema_count_as_minified_json():
    raw = (
        body(HELLO)[:-1]
        + b', "tools": [ {"type": "function"} ], "functions": [{"name": "f"}, {"name": "g"}], "response_format":'
        + b' {"type": "json_schema", "json_schema": {"name": "s"} } }'
    )
    found = read(raw).conversation
    assert found.definitions == ('[{"type":"function"}]', '[{"name":"f"},{"name":"g"}]', '{"name":"s"}')
    assert found.tools == 3


def test_a_response_format_without_a_schema_is_no_definition():
    assert request(HELLO, response_format={"type": "json_object"}, tools=[]).conversation.definitions == ()


def test_a_message_read_before_is_not_read_again():
    memo = Memo()
    first = parse(body([system("s"), user("a")]), memo)
    second = parse(body([system("s"), user("a"), assistant("b")]), memo)
    assert all(a is b for a, b in zip(first.conversation.messages, second.conversation.messages, strict=False))


def test_the_memo_never_holds_more_than_its_bytes():
    memo = Memo(most_bytes=20_000)
    for number in range(200):
        memo.keep(words(50, f"t{number}").encode(), number, 50)
    assert len(memo._young) + len(memo._old) < 30
    memo.keep(b"x" * 20_000, "too large to be kept", 20_000)
    assert memo.get(b"x" * 20_000) is None


def test_what_the_memo_is_asked_for_stays():
    memo = Memo(most_bytes=20_000)
    memo.keep(b"asked for", 1, 28)
    for number in range(200):
        memo.keep(words(50, f"t{number}").encode(), number, 50)
        assert memo.get(b"asked for") == 1


# ---------------------------------------------------------------- splices: model and usage


def difference(raw: bytes, out: bytes) -> tuple[bytes, bytes]:
    """What stands in one text and not in the other, between what both begin and end with."""
    start = next((at for at in range(min(len(raw), len(out))) if raw[at] != out[at]), min(len(raw), len(out)))
    end = 0
    while end < min(len(raw), len(out)) - start and raw[-1 - end] == out[-1 - end]:
        end += 1
    return raw[start : len(raw) - end], out[start : len(out) - end]


def test_only_the_name_of_the_model_changes_where_it_is_an_alias():
    raw = rb'{"messages":[{"role":"user","content":"\u0041"}], "model" : "asked","temperature":1.10}'
    assert sent(read(raw), 'gpt"5') == raw.replace(b'"asked"', rb'"gpt\"5"')


@pytest.mark.parametrize(
    ("options", "out"),
    [
        ("", ',"stream_options":{"include_usage":true}'),
        (',"stream_options":null', ',"stream_options":{"include_usage":true}'),
        (',"stream_options":{}', ',"stream_options":{"include_usage":true}'),
        (',"stream_options": { }', ',"stream_options": {"include_usage":true }'),
        (',"stream_options":{"x":1.10}', ',"stream_options":{"include_usage":true,"x":1.10}'),
        (',"stream_options":{"x":1, "include_usage" : false}', ',"stream_options":{"x":1, "include_usage" : true}'),
        (',"stream_options":{"include_usage":null}', ',"stream_options":{"include_usage":true}'),
        (',"stream_options":{"include_usage":true}', ',"stream_options":{"include_usage":true}'),
    ],
)
def test_the_usage_of_a_stream_is_asked_for_where_the_client_did_not(options, out):
    start = '{"model":"asked","messages":[{"role":"user","content":"}"}],"stream":true'
    assert sent(read(f"{start}{options}}}\n".encode()), "asked").decode() == f"{start}{out}}}\n"


@pytest.mark.parametrize(
    ("metadata", "left"),
    [
        ('"metadata":{"tags":["a"],"job":"b"},', '"metadata":{"job":"b"},'),
        ('"metadata": {"job" : 1.10 , "gateway_profile":"night"},', '"metadata": {"job" : 1.10},'),
        ('"metadata":{"a":"b","tags":"x","c":"d","gateway_profile":"night","e":{"tags":1}},',
         '"metadata":{"a":"b","c":"d","e":{"tags":1}},'),
        ('"metadata":{"tags":["a"]},', ""),
        ('"metadata":{"gateway_profile":"night", "tags":null},', ""),
        ('"metadata":{},', '"metadata":{},'),
        ('"metadata":{"job":"tags"},', '"metadata":{"job":"tags"},'),
        ('"metadata":"tags",', '"metadata":"tags",'),
        ('"tags":["a"],', '"tags":["a"],'),
    ],
)  # fmt: skip
def test_what_is_said_to_us_alone_is_taken_out_of_the_metadata(metadata, left):
    for before, behind in (("{", '"n":1}'), ('{"n":1,', '"stream":true,"stream_options":{"include_usage":true}}')):
        raw = before + metadata + '"model":"asked","messages":[{"role":"user","content":"tags"}],' + behind
        out = before + left + '"model":"other","messages":[{"role":"user","content":"tags"}],' + behind
        assert sent(read(raw.encode()), "other").decode() == out


def test_metadata_at_the_end_of_a_stream_gives_way_to_the_usage_that_is_asked_for():
    raw = b'{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true, "metadata":{"tags":["a"]} }'
    out = sent(read(raw), "m")
    assert json.loads(out) == {
        **json.loads(raw[: raw.index(b', "meta')] + b"}"),
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("metadata", ['{"tags":["a"]}', '{"tags":["a"],"b":"c"}'])
def test_what_is_ours_goes_beside_what_a_deployment_does_not_take(metadata):
    raw = f'{{"metadata":{metadata},"seed":1,"model":"m","messages":[{{"role":"user","content":"a"}}],"top_k":2}}'
    left = json.loads(sent(read(raw.encode()), "m", additions=Additions(left_out=frozenset({"seed", "top_k"}))))
    kept = {"metadata": {"b": "c"}} if "b" in json.loads(metadata) else {}
    assert left == {**kept, "model": "m", "messages": [{"role": "user", "content": "a"}]}


def test_a_key_of_ours_that_stands_twice_is_refused():
    raw = b'{"model":"m","messages":[{"role":"user","content":"a"}],"metadata":{"tags":[],"tags":["a"],"b":1}}'
    with pytest.raises(GatewayError, match=r"`metadata\.tags` twice"):
        read(raw)


def test_the_profile_that_metadata_name_is_one_of_our_own_keys():
    assert PROFILE_METADATA in OURS_IN_METADATA


@pytest.mark.parametrize("raw", LET_THROUGH.values(), ids=LET_THROUGH)
def test_whatever_is_spliced_the_rest_keeps_its_bytes(raw):
    assert difference(raw, sent(read(raw), "other")) == (b"asked", b"other")


# ---------------------------------------------------------------- splices: changes


def left(found: Request, changes: Changes) -> list[Wire]:
    said: list[Wire] = json.loads(sent(found, "asked", changes))["messages"]
    return said


def test_a_result_gets_a_new_text_and_nothing_else():
    raw = rb'{"messages":[ {"role":"tool", "content" : "long \u0041", "tool_call_id":"c1","x":1.10} ],"model":"asked"}'
    out = sent(read(raw), "asked", Changes({0: 'short "1"'}))
    assert out == raw.replace(rb'"long \u0041"', rb'"short \"1\""')


def test_a_result_in_parts_stays_in_parts_and_keeps_its_cache_marker():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
    found = request([user("x"), calls("c1 read", "c2 read"), result("c1", parts), result("c2", parts[:1])])
    out = left(found, Changes({2: "short", 3: "tiny"}))
    assert out[2]["content"] == [{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}]
    assert out[3]["content"] == [{"type": "text", "text": "tiny"}]


def test_messages_are_left_out_with_the_comma_that_belongs_to_them():
    found = read(b'{"model":"asked","messages":[{"role":"system"} , {"role":"a"} ,\n {"role":"b"},{"role":"user"} ]}')
    out = sent(found, "asked", Changes({}, frozenset({1, 2})))
    assert out == b'{"model":"asked","messages":[{"role":"system"} , {"role":"user"} ]}'


def test_a_line_of_ours_stands_where_it_is_put_also_within_what_is_left_out():
    listed = [system("s"), user("e1"), assistant("e2"), user("old"), assistant("older"), user("new")]
    found = request(listed)
    out = left(found, Changes({}, frozenset({1, 2, 3, 4}), (Insertion(3, "[gone]"),)))
    assert out == [system("s"), user("[gone]"), user("new")]


def test_several_lines_of_ours_stand_in_their_order_also_before_the_same_message():
    found = request([system("s"), user("old"), assistant("older"), user("new")])
    out = left(
        found, Changes({}, frozenset({1}), (Insertion(1, "[one]"), Insertion(3, '[two\n"]'), Insertion(3, "[three]")))
    )
    assert out == [system("s"), user("[one]"), assistant("older"), user('[two\n"]'), user("[three]"), user("new")]


def test_the_last_user_message_gets_a_new_text_in_the_shape_it_had():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = request([assistant("x"), user("long"), assistant("y"), {"role": "user", "content": parts, "name": "ann"}])
    out = left(found, Changes({1: "short", 3: "tiny"}))
    assert out[1] == user("short")
    assert out[3] == {"role": "user", "content": [{"type": "text", "text": "tiny"}], "name": "ann"}


def test_a_new_text_of_what_is_left_out_is_not_written():
    found = request([user("x"), *step(1, 9), user("y")])
    assert left(found, Changes({2: "short"}, frozenset({1, 2}))) == [user("x"), user("y")]


CHANGES = st.fixed_dictionaries(
    {"texts": st.dictionaries(st.integers(0, 30), st.text(max_size=9)), "dropped": st.frozensets(st.integers(0, 30))}
)


@given(st.integers(0, 6), CHANGES, st.lists(st.integers(0, 30), max_size=4), st.sampled_from([None, 1]))
def test_what_leaves_is_always_what_the_changes_say(steps, drawn, at, indent):
    listed = [system("s"), user("é"), *loop(steps, 3), assistant("b\\u0041"), user("last")]
    results = {index for index, message in enumerate(listed) if message["role"] == "tool"}
    changes = Changes(
        {index: text for index, text in drawn["texts"].items() if index in results and text.isascii()},
        frozenset(index for index in drawn["dropped"] if 0 < index < len(listed) - 1),
        tuple(Insertion(where % len(listed), f"[gone {number}]") for number, where in enumerate(at)),
    )
    found = read(json.dumps({"model": "asked", "messages": listed}, indent=indent).encode())
    expected = changes.applied(found.conversation.messages)
    after = read(sent(found, "asked", changes)).conversation.messages
    assert [(m.role, m.text, m.calls, m.call_id) for m in after] == [
        (m.role, m.text, m.calls, m.call_id) for m in expected
    ]


@given(
    st.recursive(
        st.none() | st.integers(0, 9) | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["role", "content", "text", "type", "tool_calls", "id", "function", "name", "image_url", "url"]
                ),
                x,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_a_message_of_any_shape_never_fails_otherwise_than_as_a_bad_request(said: Any):
    raw = orjson.dumps({"model": "asked", "messages": said, "tools": said, "metadata": said})
    try:
        out = sent(read(raw), "asked")
    except GatewayError as bad:
        out, status = raw, bad.status
    else:
        status = 400
    assert (out, status) == (raw, 400)
