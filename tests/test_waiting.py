"""The client of a stream, over real sockets, while no output is there: comments, then an answer or an error event."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from starlette.applications import Starlette

from gateway.app import create_app
from gateway.config import load
from gateway.serving.client import COMMENT
from gateway.wire.chat.relay import DONE
from gateway.wire.sse import event
from tests.served import listening

CONFIG = """
model_list:
  - {{model_name: slow, litellm_params: {{model: openai/slow, api_base: "{url}", api_key: k, timeout: 1.5}}}}
  - {{model_name: backed, litellm_params: {{model: openai/slow, api_base: "{url}", api_key: k, timeout: 1.5}}}}
  - {{model_name: quick, litellm_params: {{model: openai/quick, api_base: "{url}", api_key: k, timeout: 5}}}}
fallbacks: [{{backed: [quick]}}]
unpriced: allow
ledger: {{dir: ledger}}
"""
ROLE = event(b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}')
HI = event(b'{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}')


class Upstream(threading.Thread):
    """Says at once what it has to say as `quick`; as `slow` it says a role and falls silent."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            asked = b""
            while b'"messages"' not in asked:
                if not (part := connection.recv(65536)):
                    return  # it went without a request
                asked += part
            said = ROLE + HI + DONE if b'"quick"' in asked else ROLE
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + said)
            if said is ROLE:
                time.sleep(3)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway whose clients wait a fifth of a second, in front of the upstream."""
    folder, upstream = tmp_path_factory.mktemp("waiting"), Upstream()
    upstream.start()
    (folder / "config.yaml").write_text(CONFIG.format(url=upstream.url))
    app: Starlette = create_app(load(folder / "config.yaml", {}))
    with closing(upstream.listener), listening(app) as port:
        app.state.gateway = replace(app.state.gateway, comment_seconds=0.2)
        yield port


def streamed(port: int, model: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    fields = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps(fields), {"content-type": "application/json"})
        response = connection.getresponse()
        return response, response.read()


@pytest.mark.long
def test_a_client_waits_with_comments_while_another_is_asked(port: int):
    response, said = streamed(port, "backed")
    assert response.status == 200
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache"
    assert said == COMMENT * said.count(COMMENT) + ROLE + HI + DONE
    assert said.count(COMMENT) >= 1  # two on a machine that is not late


def test_where_all_fail_after_a_comment_the_error_is_an_event(port: int):
    response, said = streamed(port, "slow")
    assert response.status == 200
    assert said.startswith(COMMENT)
    last = json.loads(said.replace(COMMENT, b"").removeprefix(b"data: "))
    assert last["error"]["code"] == "upstream_timeout"


def test_what_comes_in_time_comes_without_a_comment(port: int):
    assert streamed(port, "quick")[1] == ROLE + HI + DONE
