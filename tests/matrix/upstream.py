"""The providers of the matrix as one server behind a proxy: it answers where they are documented, and nowhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from aiohttp import web

from tests.matrix.features import Said, wanted
from tests.matrix.places import LOCAL, MORE, ROWS, VERTEX_TOKEN, Place, Row
from tests.providers.everybody import Everybody
from tests.providers.frames import frame

Json = dict[str, Any]


@dataclass(frozen=True)
class Arrival:
    """One request that reached a provider."""

    url: str
    row: Row | None
    place: Place | None
    body: Json
    raw: bytes


class _Address(NamedTuple):
    """An address, taken apart so that two spellings of it are equal."""

    host: str
    path: str
    query: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, url: str) -> _Address:
        parts = urlsplit(url)
        host = parts.netloc if parts.scheme == "https" else urlsplit(LOCAL).netloc
        return cls(host, unquote(parts.path), tuple(sorted(parse_qsl(parts.query))))


@dataclass
class Providers(Everybody):
    """All providers; what came is kept by cell."""

    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        url = f"{request.scheme}://{request.headers['host']}{request.raw_path}"
        raw = await request.read()
        if request.path == "/token":
            return web.json_response({"access_token": VERTEX_TOKEN, "token_type": "Bearer", "expires_in": 3600})
        headers = {name.lower(): value for name, value in request.headers.items()}
        row, place = _found(_Address.of(url), headers) if request.method == "POST" else (None, None)
        body = json.loads(raw or b"{}")
        asked = wanted(raw)
        if asked is not None:
            self.arrivals.setdefault(asked[1], []).append(Arrival(url, row, place, body, raw))
        if row is None or place is None or asked is None:
            return web.json_response({"error": {"message": f"nothing is documented at {url}"}}, status=404)
        feature, _, said = asked
        if (refusal := row.refuses.get(feature)) is not None:
            return web.json_response(refusal[1], status=refusal[0])
        streams = _Address.of(url) == _Address.of(place.streamed) if place.streamed else _streams(place, body)
        if not streams:
            return web.json_response(place.form.whole(body, said))
        return await _stream(request, place, body, said)


def _found(address: _Address, headers: dict[str, str]) -> tuple[Row, Place] | tuple[None, None]:
    """Return whose address this is, with its credential."""
    for row in (*ROWS, *MORE):
        for place in row.places:
            if address in [_Address.of(url) for url in place.urls] and row.lets_in(headers):
                return row, place
    return None, None


def _streams(place: Place, body: Json) -> bool:
    return bool(body.get("stream", place.encoding == "lines"))  # Ollama streams unless it is told not to


_TYPES = {
    "data": "text/event-stream",
    "named": "text/event-stream",
    "lines": "application/x-ndjson",
    "frames": "application/vnd.amazon.eventstream",
    "chunks": "application/vnd.amazon.eventstream",
}


async def _stream(request: web.Request, place: Place, body: Json, said: Said) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": _TYPES[place.encoding]})
    await response.prepare(request)
    for event in _encoded(place, body, said):
        await response.write(event)
    await response.write_eof()
    return response


def _encoded(place: Place, body: Json, said: Said) -> Iterator[bytes]:
    for event in place.form.stream(body, said):
        match place.encoding:
            case "data":
                yield f"data: {json.dumps(event)}\n\n".encode()
            case "named":
                yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            case "lines":
                yield json.dumps(event).encode() + b"\n"
            case "frames":
                for name, payload in event.items():
                    yield frame(name, payload)
            case "chunks":
                yield frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})
    if place.types in ("chat", "mistral"):
        yield b"data: [DONE]\n\n"
