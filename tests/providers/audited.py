"""Run litellm's door in a process that records every address it asks for; print "ok" where only loopback was."""

import asyncio
import ipaddress
import json
import os
import sys
from typing import Any

asked: list[str] = []


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = str(arguments[0])
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
    else:
        return
    if not _loopback(host):
        asked.append(host)
        raise OSError(f"{host} is not loopback")


async def _calls() -> None:
    from gateway.routing.upstreams.translated import Translated
    from tests.providers.anthropic import Anthropic
    from tests.providers.deployments import deployment
    from tests.providers.gemini import Gemini
    from tests.providers.serving import serving

    upstream = Translated()
    assert "litellm" not in sys.modules
    await upstream.load()
    assert "READ_BY_MISTAKE" not in os.environ
    async with serving(Anthropic()) as claude, serving(Gemini()) as gemini, serving(Anthropic(status=500)) as broken:
        targets = [
            deployment("anthropic/claude-sonnet-4-5", claude.url, kind="translated"),
            deployment("anthropic/claude-never-heard-of", claude.url, kind="translated"),
            deployment("anthropic/claude-sonnet-4-5", broken.url, kind="translated"),
            deployment("gemini/gemini-2.5-flash", gemini.url, kind="translated"),
        ]
        for target in targets:
            for stream in (False, True):
                body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 9, "stream": stream}
                reply = await upstream.send(target, json.dumps(body).encode(), stream=stream, request_id="gw_1")
                await reply.read()
                await reply.close()
    await asyncio.sleep(0.2)
    await upstream.close()


sys.addaudithook(_audit)
asyncio.run(_calls())
print(asked or "ok")
