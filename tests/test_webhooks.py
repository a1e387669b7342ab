"""Webhooks: what a receiver gets over a socket when a soft budget is passed, and what a configuration may name."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.config import ConfigErrors
from gateway.config.webhooks import Webhook
from gateway.serving.webhooks import Notices
from tests.contract.running import wait_for
from tests.passage import NOW
from tests.test_key_usage import chat, serving, spent
from tests.test_limits import config

SECRET = "a secret of enough bytes"
Message = tuple[dict[str, str], bytes]


class Receiver(HTTPServer):
    """Takes messages, and answers with one status after the other, the last again and again."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.got = list(statuses), list[Message]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=secret-path"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        got = self.server.got
        got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses[min(len(got), len(self.server.statuses)) - 1])
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as http.server calls it
        """Stay silent."""


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    with Receiver(*statuses) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join(5)


def is_signed(message: Message, key: bytes) -> bool:
    headers, body = message
    told = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, told, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{digest}"


def test_a_soft_budget_that_is_passed_is_told_once_signed_and_tried_again(tmp_path):
    soft = "budgets: [{max_budget: 5, soft_budget: 0.0001}, {per: key, soft_budget: 0.0001, window: rolling}]"
    with receiving(500, 200) as receiver:
        hooks = f"webhooks: [{{url: '{receiver.url}', secret: '{SECRET}'}}]"
        with serving(tmp_path, f"{soft}\n{hooks}") as ask:
            for _ in range(3):
                chat(ask)
            wait_for(lambda: len(receiver.got) >= 3, 10, "both messages, one of them twice")
    messages = {headers["webhook-id"]: json.loads(body) for headers, body in receiver.got}
    assert (len(receiver.got), len(messages)) == (3, 2)
    assert all(is_signed(message, SECRET.encode()) for message in receiver.got)
    told = {message["data"]["scope"]: message for message in messages.values()}
    assert set(told) == {"gateway", "key=bot"}
    assert told["gateway"]["type"] == "soft_budget.passed"
    data = told["gateway"]["data"]
    assert (data["soft_nanousd"], data["limit_nanousd"], data["period"]) == (100_000, 5 * 10**9, "1mo")
    assert 100_000 <= data["spent_nanousd"] <= spent(tmp_path)


async def test_a_receiver_that_takes_nothing_is_given_up_and_no_secret_is_logged():
    with receiving(500) as failing, receiving(404) as gone, capture_logs() as log:
        hooks = [Webhook(one.url, "whsec_" + base64.b64encode(b"k" * 24).decode()) for one in (failing, gone)]
        hooks.append(Webhook("http://127.0.0.1:1/secret-path", SECRET))
        notices = Notices(hooks, structlog.get_logger(), lambda: NOW, (0.01, 0.01))
        notices.send("soft_budget.passed", {"scope": "gateway"})
        while notices._waiting:
            await asyncio.sleep(0.02)
    assert (len(failing.got), len(gone.got)) == (3, 1)
    assert is_signed(gone.got[0], b"k" * 24)
    assert sorted(line["reason"] for line in log) == ["ConnectionRefusedError", "HTTP 404", "HTTP 500"]
    assert "secret" not in repr(log)
    assert "secret" not in repr(hooks)


@pytest.mark.parametrize(
    "hook",
    ["{url: 'file:///etc/passwd', secret: %s}", "{url: 'ftp://x', secret: %s}", "{url: 'https://', secret: %s}",
     "{url: 'http://ann:pw@x/', secret: %s}", "{url: \"http://x/\\r\\nhost: y\", secret: %s}", "{secret: %s}",
     "{url: 'http://x', secret: short}", "{url: 'http://x', secret: whsec_x}", "{url: 'http://x'}"],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(tmp_path, hook):
    with pytest.raises(ConfigErrors) as caught:
        config(tmp_path, f"webhooks: [{hook.replace('%s', repr(SECRET))}]")
    assert SECRET not in str(caught.value)
