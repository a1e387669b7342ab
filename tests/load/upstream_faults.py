"""What upstreams were seen to do to a gateway, as a table: what is written, and how the request has to end."""

import asyncio
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

from tests.contract.running import UPSTREAM_KEY
from tests.upstream.raw import END, EVENTS, USAGE, Call, Play, delta, event, reset, whole

LARGE = 3_000_000
"""Bytes of what is large and still an answer; the gateway under test takes four million."""
ENDLESS = 50_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that an upstream does."""

    name: str
    play: Play
    plain: tuple[int, ...] = (502,)
    """Statuses that a client may see that asks for a whole answer."""
    streamed: tuple[int, ...] | None = None
    """The same for a stream, where it differs."""
    ends: tuple[str, ...] = ("failed",)
    """What its settled line may say."""
    timeout: float = 30
    """Of the deployment."""
    scheme: str = "http"
    leaves: float | None = None
    """The client leaves after so many seconds, whatever has come by then."""

    def statuses(self, *, stream: bool) -> tuple[int, ...]:
        return self.plain if self.streamed is None or not stream else self.streamed


def answer(text: str = "hello there", **more: Any) -> bytes:
    """A whole answer's body."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE, **more}).encode()


def said(*events: bytes) -> bytes:
    """A stream from its beginning, without its end."""
    return EVENTS + delta("hello") + b"".join(events)


def writes(plain: bytes, streamed: bytes | None = None) -> Play:
    """Write this and close the connection."""
    return lambda call: call.answer(plain, streamed)


def error(status: str, body: bytes = b'{"error": {"message": "no"}}', more: bytes = b"") -> Play:
    return writes(whole(body, status, more))


def resets(plain: bytes = b"", streamed: bytes | None = None) -> Play:
    """Write this and reset the connection."""

    async def play(call: Call) -> None:
        await call.answer(plain, streamed)
        await asyncio.sleep(0.05)  # what was sent has to be read first
        reset(call.writer.transport)

    return play


def stalls(plain: bytes = b"", streamed: bytes | None = None) -> Play:
    """Write this, then nothing, until the peer goes."""

    async def play(call: Call) -> None:
        await call.answer(plain, streamed)
        await call.gone.wait()

    return play


async def piecemeal(call: Call) -> None:
    """Write a good answer byte by byte."""
    for byte in (said() + END) if call.streams else whole(answer("hi")):
        await call.send(bytes([byte]))
        await asyncio.sleep(0)


async def endless_event(call: Call) -> None:
    await call.send(EVENTS + b'data: {"choices":[{"index":0,"delta":{"content":"' if call.streams else _HEAD)
    for _ in range(ENDLESS // 50_000):
        await call.send(b"x" * 50_000)


async def many_events(call: Call) -> None:
    if not call.streams:
        await call.send(whole(answer("word " * 10_000)))
        return
    await call.send(EVENTS)
    for _ in range(200):
        await call.send(delta(" word") * 20)
    await call.send(END)


async def echoes(call: Call) -> None:
    """Give back all headers of the request, the credential too, in the words of an error."""
    body = json.dumps({"error": {"message": call.head.decode("latin-1"), "type": "x", "code": "x"}}).encode()
    await call.send(whole(body, "400 Bad Request"))


async def echoes_in_headers(call: Call) -> None:
    key = UPSTREAM_KEY.encode()
    more = b"x-request-id: " + key + b"\r\nx-ratelimit-limit-requests: " + key + b"\r\n"
    await call.send(whole(b'{"error": {"message": "no"}}', "500 Error", more))


async def echoes_in_an_event(call: Call) -> None:
    told = event(error={"message": call.head.decode("latin-1"), "code": "x"})
    await call.send(said(told) if call.streams else whole(told[6:]))


_HEAD = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90000000\r\n\r\n{"choices":[{"x":"'
_KEPT = whole(answer()).replace(b"connection: close\r\n", b"")
_GZIPPED = gzip.compress(answer())
_DEEP = b'{"error":{"message":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
_BOTH_LENGTHS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
)
_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
_WAITS = (
    b"5", b"0", b"-1", b"1e9", b"nan", b"Fri, 31 Dec 99999 23:59:59 GMT", b"Wed, 21 Oct 2015 07:28:00 GMT", b"soon",
    b"9" * 5_000, b"\xff\xfe", b"5, 6", b"",
)  # fmt: skip
_USAGES: tuple[Any, ...] = (
    None, [], "many", 5, {}, {"prompt_tokens": -5}, {"prompt_tokens": 1e300}, {"prompt_tokens": "10"},
    {"prompt_tokens": 10, "completion_tokens": 10**30}, {"prompt_tokens": True, "completion_tokens": None},
    {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10**12}},
    {"prompt_tokens": {"a": [1]}, "completion_tokens": [1]},
)  # fmt: skip


def packed(encoding: str, body: bytes) -> Play:
    return writes(whole(body, more=f"content-encoding: {encoding}\r\n".encode()))


def _usage(usage: Any) -> Play:
    events = said(delta("", "stop"), event(choices=[], usage=usage), b"data: [DONE]\n\n")
    return writes(whole(answer(usage=usage)), events)


OK: dict[str, Any] = {"plain": (200,), "ends": ("answered",)}
CUT: dict[str, Any] = {"streamed": (200, 502)}
LATE: dict[str, Any] = {"plain": (504,), "timeout": 1}

MOST_TELLING = (
    Fault("reset_before", resets()),
    Fault("close_in_headers", writes(b"HTTP/1.1 200 OK\r\ncontent-ty")),
    Fault("reset_mid_body", resets(_HEAD, said()), **CUT),
    Fault("stall_before", stalls(), **LATE),
    Fault("stall_mid", stalls(_HEAD, said()), streamed=(200,), **LATE),
    Fault("no_done", writes(whole(answer()), said()), plain=(200,), streamed=(200,), ends=("answered", "failed")),
    Fault("done_left_open", stalls(whole(answer()), said(END)), **OK),
    Fault("endless_event", endless_event, **CUT),
    Fault("bad_json", writes(whole(b'{"choices": [{'), said(b"data: {nonsense\n\n", END)), streamed=(200,),
          ends=("failed", "answered")),
    Fault("gzip_bomb", packed("gzip", gzip.compress(b'{"a":"' + b" " * 30_000_000))),
    Fault("client_leaves_while_waiting", stalls(), ends=("cancelled",), leaves=0.2),
    Fault("client_leaves_mid_stream", stalls(_HEAD, said()), ends=("cancelled",), leaves=0.2),
    Fault("extra_bytes", writes(_KEPT + b"HTTP/1.1 200 OK\r\n\r\nmore"), **OK),
    Fault("deep_error", error("500 Error", _DEEP), plain=(500, 502)),
    Fault("echo", echoes, plain=(400,)),
    Fault("retry_after_99999", error("429 Too Many", more=b"retry-after: " + _WAITS[5] + b"\r\n"), plain=(429,)),
)  # fmt: skip

OTHERS = (
    Fault("tls_to_a_plain_port", writes(b""), plain=(502,), streamed=(200, 502), scheme="https"),
    Fault("close_before", writes(b"")),
    Fault("reset_in_headers", resets(b"HTTP/1.1 200 OK\r\ncontent-ty")),
    Fault("reset_after_headers", resets(_HEAD[:-18], EVENTS)),
    Fault("fin_mid_body", writes(_HEAD, said()), **CUT),
    Fault("stall_at_headers", stalls(b"HTTP/1.1 200 OK\r\n"), **LATE),
    Fault("one_byte_chunks", piecemeal, **OK),
    Fault("large", writes(whole(answer("x" * LARGE)), said(delta("x" * LARGE), END)), **OK),
    Fault("many_events", many_events, **OK),
    Fault("html", error("200 OK", b"<html>busy</html>")),
    Fault("empty", error("200 OK", b"")),
    Fault("no_content", writes(b"HTTP/1.1 204 No Content\r\n\r\n")),
    Fault("redirect", error("307 Moved", more=b"location: http://127.0.0.1:1/\r\n")),
    Fault("switching", writes(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")),
    Fault("continue", writes(b"HTTP/1.1 100 Continue\r\n\r\n" + whole(answer())), **OK),
    Fault("early_hints", writes(b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" + whole(answer())), **OK),
    Fault("no_type", writes(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer()) + answer()), **OK),
    Fault("gzip", packed("gzip", _GZIPPED), **OK),
    Fault("deflate", packed("deflate", zlib.compress(answer())), **OK),
    Fault("br", packed("br", b"\x8b\x05\x80hello\x03"), plain=(200, 502)),
    Fault("zstd", packed("zstd", b"\x28\xb5\x2f\xfd nonsense")),
    Fault("broken_gzip", packed("gzip", _GZIPPED[:20] + b"\0" * 50)),
    Fault("large_header", error("200 OK", answer(), b"x-large: " + b"x" * 100_000 + b"\r\n")),
    Fault("many_headers", error("200 OK", answer(), b"x-one: 1\r\n" * 20_000), plain=(200, 502),
          ends=("answered", "failed")),
    Fault("two_lengths", error("200 OK", answer(), b"content-length: 3\r\n")),
    Fault("length_and_chunks", writes(_BOTH_LENGTHS + b"2\r\n{}\r\n0\r\n\r\n")),
    Fault("bad_chunk", writes(_CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n")),
    Fault("no_http", writes(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
    Fault("error_500", error("500 Error"), plain=(500,)),
    Fault("error_503", error("503 Busy"), plain=(503,)),
    Fault("escapes", error("500 Error", b'{"error": {"message": "\\u001b[31mred"}}'), plain=(500,)),
    Fault("refused_key", writes(whole(b'{"error": {"message": "bad key sk-upstream-secret"}}', "401 No"))),
    Fault("odd_id", error("500 Error", more=b"x-request-id: \x1b[31m\xff\r\n"), plain=(500, 502)),
    Fault("odd_type", writes(b"HTTP/1.1 500 E\r\ncontent-type: \x1b\xff\r\ncontent-length: 2\r\n\r\n{}"),
          plain=(500, 502)),
    Fault("large_error", error("500 Error", b"x" * 20_000_000), plain=(500,)),
    Fault("echo_in_headers", echoes_in_headers, plain=(500,)),
    Fault("echo_in_an_event", echoes_in_an_event, plain=(400, 500, 502), streamed=(200, 400, 500, 502)),
    *(Fault(f"retry_after_{at}", error("429 Too Many", more=b"retry-after: " + wait + b"\r\n"), plain=(429,))
      for at, wait in enumerate(_WAITS)),
    Fault("retry_after_escape", error("429 Too Many", more=b"retry-after: \x1b[31m5\r\n"), plain=(429, 502)),
    *(Fault(f"usage_{at}", _usage(usage), **OK) for at, usage in enumerate(_USAGES)),
)  # fmt: skip

EVERY = MOST_TELLING + OTHERS
