"""Messages to webhooks: signed, tried again, and never waited for.

Each has the form of Standard Webhooks (github.com/standard-webhooks/standard-webhooks): with its id, a moment and
an HMAC over these and the body. So a receiver tells ours from others, old ones from new, and twice from once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.config.webhooks import Webhook

DELAYS: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before each further try."""
_DEADLINE_SECONDS: Final = 10.0
"""Seconds that one try may take, connecting included."""
_MOST_WAITING: Final = 100
"""Messages under way or waiting to be tried again; what comes beyond them is logged and left out."""
_LONGEST_LINE: Final = 8192
_AGAIN: Final = frozenset({408, 409, 425, 429})
"""Answers of the receiver after which trying again may help, beside those of 500 and more."""


class Notices:
    """One process's way to the webhooks. `hooks` are those of the present configuration."""

    def __init__(
        self,
        hooks: Sequence[Webhook],
        log: FilteringBoundLogger,
        now: Callable[[], float],
        delays: Sequence[float] = DELAYS,
    ) -> None:
        self.hooks = hooks
        self._log, self._now, self._delays = log, now, delays
        self._waiting: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Notices({len(self.hooks)} hooks, {len(self._waiting)} waiting)"

    def send(self, event: str, data: Mapping[str, Any]) -> None:
        """Tell every webhook of an event. Nobody waits for it."""
        if not self.hooks:
            return
        now, name = self._now(), f"msg_{os.urandom(16).hex()}"
        body = orjson.dumps({"type": event, "timestamp": int(now), "data": data})
        for hook in self.hooks:
            if len(self._waiting) >= _MOST_WAITING:
                self._log.error("webhook left out", host=hook.host, event_type=event, reason="too many wait")
                continue
            task = asyncio.get_running_loop().create_task(self._deliver(hook, name, event, body))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Give up what waits; the log has each event."""
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _deliver(self, hook: Webhook, name: str, event: str, body: bytes) -> None:
        """Try until the receiver takes it, at growing distances."""
        reason = ""
        for delay in (0.0, *self._delays):
            await asyncio.sleep(delay)
            try:
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    status = await _post(hook, signed_headers(hook, name, int(self._now()), body), body)
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                reason = type(error).__name__
                continue
            if 200 <= status < 300:
                return
            reason = f"HTTP {status}"
            if status < 500 and status not in _AGAIN:
                break
        self._log.error("webhook failed", host=hook.host, event_type=event, reason=reason)


def signed_headers(hook: Webhook, name: str, moment: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows a message."""
    digest = hmac.new(hook.signing_key, f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": name, "webhook-timestamp": str(moment), "webhook-signature": signature}


async def _post(hook: Webhook, headers: Mapping[str, str], body: bytes) -> int:
    """Send a body and return the status of the answer, of which no more is read. Redirects are not followed."""
    parts = urlsplit(hook.url)
    is_secret = parts.scheme == "https"
    port = parts.port or (443 if is_secret else 80)
    context = await asyncio.to_thread(ssl.create_default_context) if is_secret else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=_LONGEST_LINE)
    try:
        host = parts.netloc
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        told = {
            "host": host,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        lines = "".join(f"{key}: {value}\r\n" for key, value in {**told, **headers}.items())
        writer.write(f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        await writer.drain()
        words = (await reader.readuntil(b"\r\n")).split(b" ")
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise ValueError("no answer of HTTP")
        return int(words[1])
    finally:
        writer.close()
