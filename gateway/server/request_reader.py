"""The request that a connection is reading: its head, and how far its body has come.

httptools, the parser, is imported here only.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import httptools
from starlette.types import Scope

from gateway.server import head
from gateway.wire import errors
from gateway.wire.errors import GatewayError

EMPTY_BYTES: Final = 65_536
"""Bytes of chunk sizes, extensions and trailers that may follow one another without a byte of the body."""
FRAMING_BYTES: Final = 1_000_000
"""Bytes of framing that a body in chunks may have beyond its own length."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class BodyReceiver(Protocol):
    """The connection, as it hears of the body of its request."""

    def take_body(self, body: bytes) -> None: ...
    def end_body(self) -> None: ...


class RequestReader:
    """One request after the other, through one parser. What is parsed of a head is kept until the next one begins."""

    def __init__(self, receiver: BodyReceiver) -> None:
        self._receiver = receiver
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        self.url = self.method = b""
        self.version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self._by_name: dict[bytes, bytes] = {}
        self.keep_alive = False
        self._parsed = False  # whether the head is
        self.overrun = False  # whether more came than the request has
        self.whole = True  # whether the request has come whole
        self._remaining: int | None = 0  # of its body; None where it comes in chunks
        self._chunks = head.Chunks()
        self._empty = self._framing = 0

    def close(self) -> None:
        """Let go of the parser: it knows this reader, which would be a cycle."""
        self._parser = None  # type: ignore[assignment]  # nothing is read any more

    def read_head(self, data: memoryview) -> bool:
        """Parse a head; returns whether it was understood."""
        self.url, self.headers, self._parsed, self.overrun = b"", [], False, False
        self.whole = False
        return self._parse(data)

    def fault(self) -> GatewayError | None:
        """Return why a head is refused, if it is."""
        if self.version not in {"1.1", "1.0"}:
            return errors.version_not_served()
        self._by_name = dict(self.headers)
        is_repeated = len(self._by_name) < len(self.headers)
        if is_repeated and (twice := head.repeated([name for name, _ in self.headers])):
            return errors.repeated_header(twice)
        return None

    @property
    def waits_to_be_told(self) -> bool:
        """Whether the client sends its body only once it is told to (RFC 9110, 10.1.1)."""
        return not self.whole and self.version == "1.1" and self._by_name.get(b"expect", b"").lower() == b"100-continue"

    def scope(self, client: tuple[str, int] | None, server: tuple[str, int] | None, state: dict[str, Any]) -> Scope:
        """Return the request as ASGI describes it."""
        path, raw, query = head.target(self.url)
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": self.version,
            "server": server,
            "client": client,
            "scheme": "http",
            "method": self.method.decode("ascii"),
            "root_path": "",
            "path": path,
            "raw_path": raw,
            "query_string": query,
            "headers": self.headers,
            "state": dict(state),
        }

    def expect_body(self) -> None:
        """Begin with the body. One whose length is not said comes in chunks."""
        length = self._by_name.get(b"content-length")
        self._remaining = None if length is None else int(length)  # the parser has seen that it is a number
        self._chunks = head.Chunks()
        self._empty = self._framing = 0

    def end_of_body(self, data: bytearray, start: int, stop: int) -> int:
        """Return how far what came belongs to the body, and count it."""
        if self._remaining is not None:
            stop = min(stop, start + self._remaining)
            self._remaining -= stop - start
        else:
            stop = self._chunks.end(data, start, stop)
        self._empty += stop - start
        self._framing += stop - start
        return stop

    def has_at_most(self, size: int) -> bool:
        """Whether so few bytes of the body are still to come; of a body in chunks nobody knows."""
        return self._remaining is not None and self._remaining <= size

    def read_body(self, data: memoryview) -> bool:
        """Parse a part of the body, which is handed on; returns whether it was understood."""
        if self._parse(data):
            return True
        self.overrun = True
        return False

    @property
    def is_framed_at_length(self) -> bool:
        """Whether the framing of the body says too much beside the body itself."""
        return self._empty > EMPTY_BYTES or self._framing > FRAMING_BYTES

    def _parse(self, data: memoryview) -> bool:
        """Feed the parser; returns whether it understood, which is that the head of the request is read."""
        try:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                self._decline_upgrade()
        except httptools.HttpParserError:
            return False
        return self._parsed

    def _decline_upgrade(self) -> None:
        """Read a request that offers another protocol as one that does not: it is answered in this one (RFC 9110, 7.8).

        The parser takes no body for such a request, though clients send one (Java's offers HTTP/2 with its first POST).
        So another parser goes on behind a head that tells of the body and of nothing else.
        """
        self._parser = httptools.HttpRequestParser(self)
        read = self.url, self.headers, self.method, self.version, self.keep_alive
        framing = [b"%b: %b\r\n" % one for one in self.headers if one[0] in _FRAMING]
        self.headers, self._parsed, self.whole = [], False, False
        self._parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self.url, self.headers, self.method, self.version, self.keep_alive = read

    # ------------------------------------------------------------ the parser's calls

    def on_message_begin(self) -> None:
        self.overrun = self._parsed

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._parsed:  # what comes after a body in chunks means nothing here
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._parsed = True
        parser = self._parser
        self.method, self.version = parser.get_method(), parser.get_http_version()
        self.keep_alive = parser.should_keep_alive()  # it forgets at the end of the message

    def on_body(self, body: bytes) -> None:
        if self.overrun:
            return
        self._empty = 0
        self._framing -= 2 * len(body)
        self._receiver.take_body(body)

    def on_message_complete(self) -> None:
        if self.overrun:
            return
        self.whole = True
        self._receiver.end_body()
