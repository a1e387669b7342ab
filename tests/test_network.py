"""Proxies and certificates: which host is reached how, and both ways of sending keep to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.network import HERE, Network, faults_of, network_of
from gateway.config.startup import startup_problems
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.direct import Direct
from gateway.routing.upstreams.translated import Translated
from tests.providers.anthropic import Anthropic
from tests.providers.deployments import deployment
from tests.providers.everybody import pour
from tests.providers.openai import OpenAI
from tests.providers.serving import serving

BODY = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5}'


@pytest.mark.parametrize(
    ("environ", "scheme", "host", "proxy"),
    [
        ({}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https", "a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http", "a.example", None),
        ({"http_proxy": "http://p:1"}, "http", "a.example", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https", "a.example", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https", "a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://big:1", "https_proxy": "http://small:1"}, "https", "a.example", "http://small:1"),
        ({"HTTPS_PROXY": "http://big:1", "https_proxy": ""}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.example, a.example"}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example"}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https", "A.Example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.example"}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ample"}, "https", "a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example:443"}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example:80"}, "https", "a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https", "10.1.2.3", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https", "11.1.2.3", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "::1"}, "https", "::1", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1"}, "https", "127.0.0.1", None),
    ],
)
def test_a_host_is_reached_as_the_environment_says(environ: dict[str, str], scheme: str, host: str, proxy: str | None):
    assert network_of(environ).proxy_for(scheme, host, 443 if scheme == "https" else 80) == proxy


def test_a_proxy_that_cannot_be_used_is_told_without_its_password(tmp_path: Path):
    assert list(faults_of(HERE)) == []
    (told,) = faults_of(network_of({"HTTPS_PROXY": "socks5://me:secret@p:1"}))
    assert "p:1" in told
    assert "secret" not in told
    assert "secret" not in repr(network_of({"HTTPS_PROXY": "http://me:secret@p:1"}))
    file = tmp_path / "config.yaml"
    file.write_text("model_list: [{model_name: m, litellm_params: {model: demo/demo}}]\n")
    environ = {"HTTP_PROXY": "socks5://p:1", "SSL_CERT_FILE": str(file)}
    told_at_start = [problem.message for problem in startup_problems(load(file, environ))]
    assert ["proxy" in told_at_start[0], "SSL_CERT_FILE" in told_at_start[1]] == [True, True]
    absent = load(file, {"SSL_CERT_FILE": "/nowhere"})
    assert "No such file" in startup_problems(absent)[0].message


class Proxy:
    """A proxy that notes whom it was asked for, and goes to one server in the place of all of them."""

    def __init__(self, port: int) -> None:
        self.port, self.asked, self.url = port, [], ""  # type: tuple[int, list[str], str]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.split(b" ")[:2]
        self.asked.append(target.decode())
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head)
        await asyncio.gather(pour(reader, back), pour(there, writer))


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(int(url.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


@pytest.mark.parametrize(
    ("kind", "api_base", "model"),
    [
        ("direct", "http://far.example/v1", "openai/m"),
        pytest.param("translated", "http://far.example", "anthropic/claude-sonnet-4-5", marks=pytest.mark.long),
    ],
)
async def test_both_ways_go_through_the_proxy_and_past_it_where_the_environment_says_so(
    kind: str, api_base: str, model: str
):
    async with serving(OpenAI() if kind == "direct" else Anthropic()) as server, proxy_to(server.url) as proxy:
        for environ, hosts, base in (
            ({"HTTP_PROXY": proxy.url}, 1, api_base),
            ({"HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}, 1, api_base.replace("http://far.example", server.url)),
        ):
            upstream: Direct | Translated = (Direct if kind == "direct" else Translated)(network_of(environ))
            target: Deployment = deployment(model, base, kind=kind)  # type: ignore[arg-type]
            reply = await upstream.send(target, BODY, stream=False, request_id="gw_1")
            assert json.loads(await reply.read())["choices"]
            await upstream.close()
            assert len(proxy.asked) == hosts
        assert proxy.asked[0].startswith("http://far.example/v1/")


def test_a_network_is_what_the_environment_says_and_nothing_else():
    assert network_of({"HOME": "/root"}) == Network()
    assert network_of({"SSL_CERT_FILE": " /x.pem "}).certificates == "/x.pem"
