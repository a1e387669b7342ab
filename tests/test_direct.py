"""OpenAI-compatible upstreams: bytes as they are, and every way in which an upstream can fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.routing.attempts import Failure
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.routing.upstreams.direct import READ_BYTES, Direct
from gateway.routing.upstreams.upstream import UpstreamError
from tests.providers.deployments import deployment
from tests.providers.openai import OpenAI
from tests.providers.serving import serving

BODY = b'{"model":"gpt-5",  "messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9 1.10"}]}'
STREAMED = b'{"model":"gpt-5","messages":[],"stream":true}'
EVENTS = [b'data: {"n":%d,"text":"\xc3\xa9"}\n\n' % number for number in range(20)] + [b"data: [DONE]\n\n"]


@pytest.fixture
async def direct() -> AsyncIterator[Direct]:
    upstream = Direct()
    yield upstream
    await upstream.close()


async def test_body_and_answer_reach_the_other_side_byte_for_byte(direct: Direct):
    answer = b'{ "id" : "x",\n "n": 1.10, "more": 123456789012345678901234567890 }'
    async with serving(OpenAI(answer=answer)) as server:
        reply = await direct.send(deployment(url=server.url), BODY, stream=False, request_id="gw_1")
        assert (reply.status, await reply.read()) == (200, answer)
    assert server.received[0].raw == BODY
    assert reply.headers == {"content-type": "application/json", "x-request-id": "req_1"}


async def test_the_upstream_sees_its_own_credential_and_our_id(direct: Direct):
    async with serving(OpenAI()) as server:
        target = deployment(url=f"{server.url}/v1/", organization="org-1", extra_headers={"x-team": "blue"})
        await (await direct.send(target, BODY, stream=False, request_id="gw_1")).read()
    received = server.received[0]
    assert received.path == "/v1/chat/completions"
    assert received.headers["Authorization"] == "Bearer sk-upstream"
    assert received.headers["X-Client-Request-Id"] == "gw_1"
    assert received.headers["OpenAI-Organization"] == "org-1"
    assert received.headers["x-team"] == "blue"
    assert received.headers["Content-Type"] == "application/json"
    assert "Cookie" not in received.headers


async def test_an_upstream_without_a_key_gets_no_authorization(direct: Direct):
    async with serving(OpenAI()) as server:
        target = deployment("hosted_vllm/m", server.url, api_key=None)
        await (await direct.send(target, BODY, stream=False, request_id="gw_1")).read()
    assert "Authorization" not in server.received[0].headers


async def test_bodies_of_megabytes_pass_without_a_warning(direct: Direct):
    body = b'{"model":"gpt-5","messages":[{"role":"user","content":"%s"}]}' % (b"x" * 3_000_000)
    async with serving(OpenAI()) as server:
        await (await direct.send(deployment(url=server.url), body, stream=False, request_id="gw_1")).read()
    assert server.received[0].raw == body


async def test_a_stream_is_passed_on_as_it_comes(direct: Direct):
    async with serving(OpenAI(events=EVENTS, stall_after=3)) as server:
        reply = await direct.send(deployment(url=server.url), STREAMED, stream=True, request_id="gw_1")
        got, chunks = b"", reply.chunks()
        while len(got) < len(b"".join(EVENTS[:3])):
            got += await anext(chunks)
        assert got == b"".join(EVENTS[:3])
        await reply.close()


async def test_a_stream_arrives_whole(direct: Direct):
    async with serving(OpenAI(events=EVENTS)) as server:
        reply = await direct.send(deployment(url=server.url), STREAMED, stream=True, request_id="gw_1")
        assert b"".join([chunk async for chunk in reply.chunks()]) == b"".join(EVENTS)
        await reply.close()


async def test_connections_are_used_again(direct: Direct):
    async with serving(OpenAI()) as server:
        target = deployment(url=server.url)
        for _ in range(3):
            await (await direct.send(target, BODY, stream=False, request_id="gw_1")).read()
        assert "whole" in direct._sessions
        assert direct._sessions["whole"].connector is not None
        assert sum(len(pool) for pool in direct._sessions["whole"].connector._conns.values()) == 1


Ends = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def closes(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def begins(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 2")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()


@asynccontextmanager
async def serving_once(ends: Ends) -> AsyncIterator[tuple[str, list[int]]]:
    """Answer the first request of each connection; the second one meets its end. Gives the address, and what came."""
    came: list[int] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                number += 1
                came.append(number)
                if number > 1:
                    await ends(writer)
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", came


@pytest.mark.parametrize("ends", [closes, resets])
async def test_a_request_whose_pooled_connection_was_closed_goes_again_over_a_new_one(direct: Direct, ends: Ends):
    async with serving_once(ends) as (url, came):
        for _ in range(3):
            reply = await direct.send(deployment(url=url), BODY, stream=False, request_id="gw_1")
            assert (reply.status, await reply.read()) == (200, b"ok")
        assert came == [1, 2, 1, 1]


async def test_a_request_whose_answer_had_begun_is_not_sent_again(direct: Direct):
    async with serving_once(begins) as (url, came):
        await (await direct.send(deployment(url=url), BODY, stream=False, request_id="gw_1")).read()
        with pytest.raises(UpstreamError):
            await direct.send(deployment(url=url), BODY, stream=False, request_id="gw_1")
        assert came == [1, 2]


async def test_headers_of_the_client_go_along_and_the_deployments_own_come_before_them(direct: Direct):
    async with serving(OpenAI()) as server:
        target = deployment(url=server.url, extra_headers={"X-Title": "ours"})
        along = {"x-title": "theirs", "traceparent": "00-1", "x-client-request-id": "theirs"}
        sent = direct.send(target, BODY, stream=False, request_id="gw_1", headers=along)
        await (await sent).read()
    received = {name.lower(): value for name, value in server.received[0].headers.items()}
    assert [received[name] for name in along] == ["ours", "00-1", "theirs"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_closing_a_reply_closes_the_upstream_connection(direct: Direct, streamed: bool):
    async with serving(OpenAI(events=EVENTS, stall_after=1)) as server:
        reply = await direct.send(deployment(url=server.url), STREAMED, stream=True, request_id="gw_1")
        if streamed:
            await anext(reply.chunks())
        await reply.close()
        await asyncio.wait_for(server.gone.wait(), 2)


async def test_cancelling_a_call_closes_the_upstream_connection(direct: Direct):
    async with serving(OpenAI(stall_before=True)) as server:
        call = asyncio.create_task(direct.send(deployment(url=server.url), BODY, stream=False, request_id="gw_1"))
        while not server.received:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait_for(server.gone.wait(), 2)


async def test_error_answers_keep_status_body_and_retry_after(direct: Direct):
    error = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    async with serving(OpenAI(status=429, error=error, headers={"retry-after": "7", "x-secret": "1"})) as server:
        reply = await direct.send(deployment(url=server.url), BODY, stream=False, request_id="gw_1")
        assert reply.status == 429
        assert json.loads(await reply.read()) == error
        assert reply.headers == {"content-type": "application/json", "retry-after": "7"}


async def failure(direct: Direct, server: OpenAI, body: bytes = BODY, timeout: float = 0.3) -> str:
    async def read() -> None:
        reply = await direct.send(deployment(url=server.url, timeout=timeout), body, stream=False, request_id="gw_1")
        b"".join([chunk async for chunk in reply.chunks()])

    with pytest.raises(UpstreamError) as caught:
        await read()
    return caught.value.kind


async def test_a_refused_connection_is_a_connect_failure(direct: Direct):
    async with serving(OpenAI()) as server:
        pass
    assert await failure(direct, server) == "connect"


async def test_an_upstream_that_says_nothing_is_a_timeout(direct: Direct):
    async with serving(OpenAI(stall_before=True)) as server:
        assert await failure(direct, server) == "timeout"


async def test_a_stream_that_falls_silent_is_a_timeout(direct: Direct):
    async with serving(OpenAI(events=EVENTS, stall_after=5)) as server:
        assert await failure(direct, server, STREAMED) == "timeout"


async def test_an_upstream_that_hangs_up_is_a_reset(direct: Direct):
    async with serving(OpenAI(close_before=True)) as server:
        assert await failure(direct, server) == "reset"
    assert len(server.received) == 1, "a request that may have been billed is never sent twice"


async def test_a_stream_that_breaks_is_a_reset(direct: Direct):
    async with serving(OpenAI(events=EVENTS, cut_after=5)) as server:
        assert await failure(direct, server, STREAMED) == "reset"


async def test_an_answer_that_is_not_http_is_garbage(direct: Direct):
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x00\x01 nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    server = OpenAI(url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with listening:
        assert await failure(direct, server) == "garbage"


async def test_a_redirect_is_not_followed_so_that_no_credential_goes_elsewhere(direct: Direct):
    async with serving(OpenAI(status=307, headers={"location": "http://127.0.0.1:9/elsewhere"})) as server:
        assert await failure(direct, server) == "garbage"
    assert len(server.received) == 1


async def test_one_attempt_becomes_an_answer_or_a_failure_with_the_whole_error():
    async with serving(OpenAI()) as nobody:
        pass
    upstreams = Upstreams(len)
    async with serving(OpenAI(status=503, error=b"<html>busy</html>", headers={"retry-after": "3"})) as server:
        busy = await upstreams.call(deployment(url=server.url), BODY, stream=False, request_id="gw_1")
        unreached = await upstreams.call(deployment(url=nobody.url), BODY, stream=False, request_id="gw_1")
    await upstreams.close()
    assert isinstance(busy, Failure)
    assert (busy.status, busy.body, busy.retry_after) == (503, b"<html>busy</html>", 3.0)
    assert isinstance(unreached, Failure)
    assert unreached.kind == "connect"


async def test_a_name_that_nobody_resolves_is_given_up(direct: Direct, monkeypatch: pytest.MonkeyPatch):
    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    monkeypatch.setattr("gateway.routing.upstreams.direct.DNS_SECONDS", 0.05)
    with pytest.raises(UpstreamError) as caught:
        await direct.send(deployment(url="http://model.invalid"), BODY, stream=False, request_id="gw_1")
    assert caught.value.kind == "connect"
    assert "no answer within" in caught.value.message


async def test_tiny_chunks_arrive_whole_where_reading_stopped_behind_the_last_of_them(direct: Direct):
    tiny = b"1\r\n.\r\n"

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + 1025 * tiny)
        await asyncio.sleep(0.1)
        writer.write(20 * tiny + b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reply = await direct.send(deployment(url=url, timeout=1.0), STREAMED, stream=True, request_id="gw_1")
        assert b"".join([chunk async for chunk in reply.chunks()]) == 1045 * b"."
        assert reply.is_over


async def test_silence_is_timed_anew_with_each_request(direct: Direct):
    async with serving(OpenAI(events=EVENTS, stall_after=3)) as server:
        patient, hasty = (deployment(name=str(most), url=server.url, timeout=most) for most in (30.0, 0.2))
        for one in (patient, hasty):
            await (await direct.send(one, BODY, stream=False, request_id="gw_1")).read()
        reply = await direct.send(hasty, STREAMED, stream=True, request_id="gw_2")
        async with asyncio.timeout(3):
            with pytest.raises(UpstreamError, match="Timeout"):
                await reply.read()


@pytest.mark.parametrize("sizes", [(), (1,), (1, 100, 7), (9, 16_000, 1, 40_000, 3, 3), (400,) * 200])
async def test_pieces_that_come_together_arrive_whole_and_no_more_than_is_taken_at_a_time(
    direct: Direct, sizes: tuple[int, ...]
):
    pieces = [bytes([33 + n % 90]) * size for n, size in enumerate(sizes)]
    head = b"HTTP/1.1 200 OK\r\n" + (b"transfer-encoding: chunked\r\n\r\n" if sizes else b"content-length: 0\r\n\r\n")
    end = b"0\r\n\r\n" if sizes else b""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):  # over one connection
            await reader.readuntil(b"}")
            writer.write(head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(2):
            reply = await direct.send(deployment(url=url, timeout=5.0), STREAMED, stream=True, request_id="gw_1")
            got = [chunk async for chunk in reply.chunks()]
            assert b"".join(got) == b"".join(pieces)
            assert all(0 < len(chunk) <= READ_BYTES for chunk in got)
            assert reply.is_over
