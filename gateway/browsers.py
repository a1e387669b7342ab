"""The door for browsers, before any route: refuses foreign pages and hosts, and answers listed origins (CORS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.client import HTTPClient, refuse
from gateway.wire.errors import printable
from gateway.wire.origins import Headers, Origins

_LOOKED_AT: Final = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"access-control-request-method",
        b"access-control-request-headers",
        b"access-control-request-private-network",
    }
)


class Browsers:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, origins: Origins, new_id: Callable[[], str]) -> None:
        self._app, self._origins, self._new_id = app, origins, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said: dict[bytes, bytes] = {}
        hosts: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                said[name] = value
                if name == b"host":
                    hosts.append(value)
        origin = said.get(b"origin")
        error = self._origins.refusal(hosts, origin, said.get(b"sec-fetch-site"))
        if error is not None:
            shown = {name.decode(): printable(value.decode("latin-1"), 200) for name, value in said.items()}
            structlog.get_logger("gateway").warning(
                "request refused, a gateway without keys serves this machine alone",
                host=shown.get("host"),
                origin=shown.get("origin"),
            )
            await refuse(HTTPClient(scope, receive, send), error, self._new_id())
            return
        if origin is None or origin not in self._origins.listed:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and b"access-control-request-method" in said:
            names = said.get(b"access-control-request-headers", b"")
            private = said.get(b"access-control-request-private-network") == b"true"
            client = HTTPClient(scope, receive, send)
            await client.start(204, self._origins.preflight(origin, names, private=private))
            await client.end()
        else:
            await self._app(scope, receive, _with(self._origins.shared_with(origin), send))


def _with(headers: Headers, send: Send) -> Send:
    """Return a `send` that adds headers to the answer."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sent
