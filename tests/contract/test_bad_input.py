"""What a client may get wrong, as bytes: every answer is a clear refusal, and the connection stays usable after it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.raw import Answer, body_of, connected, post, request_head, resident_bytes
from tests.contract.running import KEYS, Gateway, Upstream

NewId = Callable[[], str]
MEGABYTE = 1_000_000

MALFORMED = {
    "empty": b"",
    "no JSON": b"hello",
    "half of it": b'{"model": "gpt-5", "messages": [{"role": "us',
    "two of them": b'{"model": "gpt-5", "messages": [{"role":"user","content":"a"}]} {}',
    "a list": b'[{"role": "user"}]',
    "a text": b'"hello"',
    "null": b"null",
    "no messages": b'{"model": "gpt-5"}',
    "messages no list": b'{"model": "gpt-5", "messages": {"role": "user", "content": "hi"}}',
    "no message": b'{"model": "gpt-5", "messages": []}',
    "message no object": b'{"model": "gpt-5", "messages": ["hi"]}',
    "message a list": b'{"model": "gpt-5", "messages": [[]]}',
    "message null": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}, null]}',
    "no model": b'{"messages": [{"role": "user", "content": "hi"}]}',
    "model no text": b'{"model": 5, "messages": [{"role": "user", "content": "hi"}]}',
    "NaN": b'{"model": "gpt-5", "temperature": NaN, "messages": [{"role": "user", "content": "hi"}]}',
    "Infinity": b'{"model": "gpt-5", "temperature": -Infinity, "messages": [{"role": "user", "content": "hi"}]}',
    "invalid UTF-8": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "cut UTF-8": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "\xe2\x82"}]}',
    "lone surrogate": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "surrogate as bytes": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    "200 deep": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], "x": '
    + b"[" * 200
    + b"]" * 200
    + b"}",
    "100,000 deep": b'{"model": "gpt-5", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "key twice at the top": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], "model": "fast"}',
    "key twice, escaped": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], "m\\u006fdel": "fast"}',
    "messages twice": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], "messages": []}',
    "key twice in a message": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "hi", "content": "ho"}]}',
    "a BOM": b'\xef\xbb\xbf{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}',
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_body_is_a_400_that_leaves_the_connection_usable(
    gateway: Gateway, upstream: Upstream, new_id: NewId, name: str
) -> None:
    before, id = upstream.tally(rows=False)["calls"], new_id()
    async with connected(gateway.port) as connection:
        answer = await connection.post(MALFORMED[name])
        assert answer.status == 400, answer
        assert answer.error["type"] == "invalid_request_error"
        assert upstream.tally(rows=False)["calls"] == before
        assert (await connection.post(json.dumps(body_of(id)).encode())).status == 200


async def test_one_clients_tools_do_not_become_anothers_message(gateway: Gateway, new_id: NewId) -> None:
    for stray in (b"[]", b"5", b'{"role":"user","content":"the same bytes, ' + new_id().encode() + b'"}'):
        for field in (b"tools", b"functions"):
            await post(gateway.port, b'{"model":"gpt-5",' + HELLO + b',"' + field + b'":' + stray + b"}")
        answer = await post(gateway.port, b'{"model":"gpt-5","messages":[' + stray + b"]}")
        assert answer.status == (200 if b"role" in stray else 400), answer
        await post(gateway.port, b'{"model":"gpt-5","messages":[{"role":"user","content":"x"},' + stray + b"]}")
        answer = await post(gateway.port, b'{"model":"gpt-5",' + HELLO + b',"tools":' + stray + b"}")
        assert answer.status < 500, answer


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no messages", "messages"),
        ("key twice at the top", "model"),
        ("key twice in a message", "messages[0]"),
        ("message no object", "messages[0]"),
    ],
)
async def test_a_400_names_what_and_where(gateway: Gateway, name: str, told: str) -> None:
    assert told in (await post(gateway.port, MALFORMED[name])).error["message"]


def passing(id: str, more: bytes) -> bytes:
    """A legal body with something rare in it."""
    return b'{ "model":"gpt-5","metadata":{"id":"' + id.encode() + b'"} ,"user":"' + id.encode() + b'",' + more + b"}"


HELLO = b'"messages":[{"role":"user","content":"hi"}]'
CALL = (
    b'{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":'
)
RARE = {
    "5,000 digits": HELLO + b', "seed": ' + b"7" * 5000,
    "5,000 decimals": HELLO + b', "temperature": 1.' + b"1" * 5000,
    "1.10 and 1E5": HELLO + b', "top_p": 1.10, "frequency_penalty": 1E-5 ',
    "duplicates in a schema": HELLO
    + b', "tools":[{"type":"function","function":{"name":"f","parameters":{"a":1,"a":2}}}]',
    "duplicates in arguments": b'"messages":[{"role":"user","content":"hi"},'
    + CALL
    + b'"{\\"a\\":1,\\"a\\":2}"}}]},{"role":"tool","tool_call_id":"c","content":"ok"}]',
    "unknown fields": HELLO + b', "future_field": {"deep": [1, {"x": null}]}, "z":  true',
    "unknown part": b'"messages":[{"role":"user","content":[{"type":"hologram","hologram":{"a":1}},'
    b'{"type":"text","text":"hi"}]}]',
    "unknown message field": b'"messages":[{"role":"user","content":"hi",'
    b'"extra_content":{"google":{"thought_signature":"x"}}}]',
    "escapes": b'"messages":[{"role":"user","content":"\\u00e9\\/\\ud83d\\ude00 \\t"}]',
    "orphan tool message": b'"messages":[{"role":"user","content":"hi"},'
    b'{"role":"tool","tool_call_id":"nobody","content":"x"}]',
    "call without a result": b'"messages":[{"role":"user","content":"hi"},'
    + CALL
    + b'"{}"}}]},{"role":"user","content":"well?"}]',
    "spaces": b'\n\t "messages" : [ {"content":"hi" , "role" : "user"} ] \r\n ',
}


@pytest.mark.parametrize("name", RARE)
async def test_what_is_rare_but_legal_is_passed_on_byte_for_byte(
    gateway: Gateway, upstream: Upstream, new_id: NewId, name: str
) -> None:
    id = new_id()
    body = passing(id, RARE[name])
    answer = await post(gateway.port, body)
    assert answer.status == 200, answer
    assert upstream.received(id) == body


@pytest.mark.parametrize("field", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("number", ["9223372036854775807", "1000000000000000", "-1", "0", "1e30", "1.5", '"x"', "null"])
async def test_an_absurd_number_is_the_providers_to_judge(
    gateway: Gateway, upstream: Upstream, new_id: NewId, field: str, number: str
) -> None:
    id = new_id()
    body = passing(id, HELLO + f', "{field}": {number}'.encode())
    answer = await post(gateway.port, body)
    assert answer.status == 200, answer
    assert upstream.received(id) == body
    assert gateway.settled(id)["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]


async def test_an_illegal_end_of_a_request_that_is_over_is_refused_with_its_index(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    filler: list[Any] = [
        {"role": "user" if at % 2 else "assistant", "content": "lorem ipsum " * 100} for at in range(1, 30)
    ]
    orphan = {"role": "tool", "tool_call_id": "nobody", "content": "x"}
    body = body_of(id)
    body["messages"] = [*filler, *body["messages"], orphan]
    answer = await post(gateway.port, body, key=KEYS["tight"])
    assert answer.status == 400
    assert f"messages[{len(body['messages']) - 1}]" in answer.error["message"]
    assert upstream.calls(id) == []


def too_large(size: int) -> bytes:
    return b'{"model":"gpt-5","messages":[{"role":"user","content":"' + b"a" * size + b'"}]}'


async def test_a_body_over_the_limit_is_a_413_and_the_connection_stays_usable(gateway: Gateway, new_id: NewId) -> None:
    async with connected(gateway.port) as connection:
        for _ in range(2):
            answer = await connection.post(too_large(6 * MEGABYTE))
            assert answer.status == 413
            assert answer.error["type"] == "invalid_request_error"
            assert (await connection.post(json.dumps(body_of(new_id())).encode())).status == 200


async def test_a_body_over_the_limit_of_untold_length_is_a_413_too(gateway: Gateway, new_id: NewId) -> None:
    async with connected(gateway.port) as connection:
        pieces = [too_large(6 * MEGABYTE)[at : at + 65_536] for at in range(0, 6 * MEGABYTE, 65_536)]
        assert (await connection.post_chunked(pieces)).status == 413
        assert (await connection.post(json.dumps(body_of(new_id())).encode())).status == 200


async def test_a_body_under_the_limit_in_chunks_is_served(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    raw = json.dumps(body_of(id)).encode()
    async with connected(gateway.port) as connection:
        assert (await connection.post_chunked([raw[at : at + 7] for at in range(0, len(raw), 7)])).status == 200
    assert upstream.received(id) == raw


async def test_memory_does_not_grow_with_a_body_that_is_too_large(gateway: Gateway) -> None:
    piece = b"a" * MEGABYTE
    async with connected(gateway.port) as connection:
        await connection.post_chunked([piece] * 6)
        before = resident_bytes(gateway.program.pid)
        assert (await connection.post_chunked(piece for _ in range(150))).status == 413
    assert resident_bytes(gateway.program.pid) - before < 30 * MEGABYTE


@pytest.mark.parametrize("length", ["-1", "abc", "99999999999999999999"])
async def test_a_nonsense_length_harms_nobody(gateway: Gateway, new_id: NewId, length: str) -> None:
    head = request_head(
        "/v1/chat/completions",
        {"content-length": length, "authorization": f"Bearer {KEYS['main']}", "connection": "close"},
    )
    async with connected(gateway.port) as connection:
        connection.writer.write(head + b"{}")
        status_line = await connection.reader.readline()
        assert status_line == b"" or int(status_line.split()[1]) in {400, 413}
    assert (await post(gateway.port, body_of(new_id()))).status == 200


def without_id(answer: Answer) -> tuple[int, dict[str, Any]]:
    error = dict(answer.error)
    error["message"] = error["message"].replace(answer.headers["x-request-id"], "ID")
    return answer.status, error


async def test_a_stranger_cannot_tell_a_wrong_key_from_a_missing_one(gateway: Gateway, new_id: NewId) -> None:
    keys = [None, "", "sk-gw-nobody", KEYS["expired"] + "x", KEYS["main"] + "x", KEYS["main"][:-1], "é" * 5, "a" * 5000]
    answers = [without_id(await post(gateway.port, body_of(new_id()), key=key)) for key in keys]
    assert {status for status, _ in answers} == {401}
    assert all(error == answers[0][1] for _, error in answers), answers


async def test_a_stranger_cannot_tell_which_models_exist(gateway: Gateway, new_id: NewId) -> None:
    known = without_id(await post(gateway.port, body_of(new_id(), model="gpt-5"), key="sk-gw-nobody"))
    unknown = without_id(await post(gateway.port, body_of(new_id(), model="gpt-99"), key="sk-gw-nobody"))
    assert known == unknown


async def test_a_refusal_does_not_list_other_models(gateway: Gateway, new_id: NewId) -> None:
    for key, model in ((KEYS["narrow"], "fast"), (KEYS["main"], "gpt-99")):
        answer = await post(gateway.port, body_of(new_id(), model=model), key=key)
        assert answer.status in {403, 404}
        assert not any(name in answer.body.decode() for name in ("gpt-4o", "house", "twins", "impatient"))


async def test_an_unknown_key_is_refused_before_its_body_is_read(gateway: Gateway) -> None:
    answer = await post(gateway.port, b"no JSON", key="sk-gw-nobody")
    assert answer.status == 401


async def test_the_key_may_come_as_x_api_key(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    raw = json.dumps(body_of(id)).encode()
    head = request_head("/v1/chat/completions", {"x-api-key": KEYS["main"], "content-length": str(len(raw))})
    async with connected(gateway.port) as connection:
        assert (await connection.send(head, [raw])).status == 200
    sent = upstream.received_headers(id)
    assert sent["authorization"] == "Bearer sk-upstream-secret"
    assert KEYS["main"] not in str(sent)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("POST", "/v1/nowhere", 404)]
)
async def test_a_wrong_path_or_method_has_openais_shape(gateway: Gateway, method: str, path: str, status: int) -> None:
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEYS['main']}\r\ncontent-length: 0\r\n\r\n"
    async with connected(gateway.port) as connection:
        answer = await connection.send(head.encode(), [])
    assert answer.status == status
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"


async def test_a_refused_request_has_its_line_and_costs_nothing(gateway: Gateway, new_id: NewId) -> None:
    for key, model in ((KEYS["narrow"], "fast"), (KEYS["main"], "gpt-99")):
        id = new_id()
        await post(gateway.port, body_of(id, model=model), key=key)
        row = gateway.settled(id)
        assert (row["status"], row["cost_nanousd"] or 0) == ("refused", 0)
