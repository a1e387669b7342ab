"""A real browser against a gateway without keys: pages of strangers, DNS rebinding, and a page of a listed origin.

Run as `python -m tests.load.browser`; it needs Chromium (Debian: `apt install chromium`). Everything is on loopback:
the browser is told that the names of the pages lie here. A bare server beside the gateway shows that the browser does
send what the gateway refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.contract.running import Gateway, running_gateway, write_setup
from tests.providers.everybody import pour

SECONDS = 60.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-component-update",
    "--disable-background-networking", "--disable-dev-shm-usage",
    # A browser's own guards of local networks may ask a person, or refuse: the gateway must not depend on them.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights",
)  # fmt: skip

PAGE = """<!doctype html><title>page</title><body><script>
const target = new URLSearchParams(location.search).get("target");
const asked = JSON.stringify({model: "m", messages: [{role: "user", content: "spend"}]});
const json = {"content-type": "application/json"};
async function tried(name, act) {
  try { return [name, await act()]; } catch (error) { return [name, "blocked"]; }
}
const read = async (path, how) => {
  const answer = await fetch(target + path, how);
  return answer.type === "opaque" ? "opaque" : answer.status + " " + (await answer.text()).slice(0, 400);
};
(async () => {
  const found = Object.fromEntries([
    await tried("simple", () => read("/v1/chat/completions", {method: "POST", mode: "no-cors", body: asked})),
    await tried("json", () => read("/v1/chat/completions", {method: "POST", headers: json, body: asked})),
    await tried("stream", () => read("/v1/chat/completions",
      {method: "POST", headers: json, body: asked.replace("{", '{"stream": true, ')})),
    await tried("models", () => read("/v1/models", {})),
    await tried("image", () => new Promise((done) => {
      const image = new Image(); image.onload = image.onerror = () => done("asked");
      image.src = target + "/v1/models";
    })),
    await tried("form", () => new Promise((done) => {
      const frame = document.createElement("iframe"); frame.name = "f";
      frame.onload = () => setTimeout(done, 300, "sent");
      document.body.append(frame);
      const form = document.createElement("form");
      Object.assign(form, {target: "f", method: "POST", enctype: "text/plain"});
      form.action = target + "/v1/chat/completions";
      const input = document.createElement("input");
      input.name = asked.slice(0, -1) + ', "user": "'; input.value = '"}';
      form.append(input); document.body.append(form); form.submit();
    })),
  ]);
  await fetch("REPORT", {method: "POST", mode: "no-cors", body: JSON.stringify({page: location.origin, found})});
})();
</script>"""


@dataclass
class Pages:
    """The servers of the pages, and what these report."""

    reports: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    reached: list[str] = field(default_factory=list)
    """What came to the bare server."""
    port: int = 0

    async def page(self, _: web.Request) -> web.Response:
        text = PAGE.replace("REPORT", f"http://127.0.0.1:{self.port}/report")
        return web.Response(text=text, content_type="text/html", headers={"connection": "close"})

    async def report(self, request: web.Request) -> web.Response:
        await self.reports.put(json.loads(await request.text()))
        return web.Response()

    async def bare(self, request: web.Request) -> web.Response:
        self.reached.append(f"{request.method} {request.path}")
        return web.Response(text="{}")


@asynccontextmanager
async def listening(routes: list[tuple[str, str, Any]]) -> AsyncIterator[int]:
    app = web.Application()
    for method, path, handler in routes:
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Forwarder:
    """What a name points to: for its page to the one port, and then, as an attacker's DNS does, to the other."""

    pages: int
    gateway: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        there, back = await asyncio.open_connection(
            "127.0.0.1", self.pages if first.startswith(b"GET /page") else self.gateway
        )
        back.write(first)
        await asyncio.gather(pour(reader, back), pour(there, writer))


def without_keys(folder: Path, cors: str) -> Path:
    """Write the configuration of a gateway that has no keys, and serves the pages of one origin."""
    models = [{"model_name": "m", "litellm_params": {"model": "demo/gpt-5"}}]
    folders = {"ledger": {"dir": "ledger"}, "state": {"dir": "state"}}
    return write_setup(folder, {"model_list": models, "cors": [cors], **folders}, {})


@asynccontextmanager
async def browser(folder: Path, names: dict[str, int]) -> AsyncIterator[Any]:
    """Give a function that opens an address in a browser of its own."""
    program = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if program is None:
        raise SystemExit("no browser: install Chromium (Debian: apt install chromium)")
    rules = ", ".join(f"MAP {name} 127.0.0.1:{port}" for name, port in names.items())
    running: list[asyncio.subprocess.Process] = []

    async def visit(address: str) -> None:
        profile = folder / f"profile-{len(running)}"
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--host-resolver-rules={rules}", "--remote-debugging-port=0"]
        running.append(
            await asyncio.create_subprocess_exec(
                program, *flags, address, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
        )

    try:
        yield visit
    finally:
        for process in running:
            os.killpg(process.pid, 9)  # a session of its own: the browser and its children
            await process.wait()


def opened(gateway: Gateway) -> int:
    """Count the requests that were let through to a model."""
    return sum(row["event"] == "opened" for row in gateway.rows())


def judged(what: str, *, holds: bool, told: object) -> bool:
    shown = {name: said[:60] for name, said in told.items()} if isinstance(told, dict) else told
    print(f"{'holds' if holds else 'FAILS'}: {what}: {shown}")
    return holds


async def run(folder: Path) -> bool:
    pages, verdicts = Pages(), []
    routes: list[tuple[str, str, Any]] = [("GET", "/page", pages.page), ("POST", "/report", pages.report)]
    async with listening(routes) as port, listening([("*", "/{tail:.*}", pages.bare)]) as bare:
        pages.port = port
        listed = f"http://listed.test:{port}"
        with running_gateway(without_keys(folder, listed)) as gateway:
            forwarding = await asyncio.start_server(Forwarder(port, gateway.port).serve, "127.0.0.1", 0)
            rebound = forwarding.sockets[0].getsockname()[1]
            names = {"evil.test": port, "listed.test": port, "rebind.test": rebound}
            async with browser(folder, names) as visit:

                async def found(page: str, target: str) -> dict[str, str]:
                    await visit(f"{page}/page?target={target}")
                    while True:
                        report = await asyncio.wait_for(pages.reports.get(), SECONDS)
                        if report["page"] == page:
                            told: dict[str, str] = report["found"]
                            return told

                await found(f"http://evil.test:{port}", f"http://127.0.0.1:{bare}")
                sent = pages.reached.count("POST /v1/chat/completions")
                verdicts.append(judged("the browser sends what a page asks for", holds=sent >= 2, told=pages.reached))
                for page in (f"http://evil.test:{port}", f"http://127.0.0.1:{port}"):
                    told, spent = await found(page, gateway.root), opened(gateway)
                    unread = all(told[name] == "blocked" for name in ("json", "stream", "models"))
                    verdicts.append(
                        judged(f"a page of {page} reads and spends nothing", holds=unread and not spent, told=told)
                    )
                verdicts.append(await rebinding(found, gateway))
                told = await found(listed, gateway.root)
                good = all(told[name].startswith("200 ") for name in ("json", "stream", "models"))
                verdicts.append(judged("a page of a listed origin is served", holds=good, told=told))
            forwarding.close()
            print("logged:", *[line for line in gateway.program.lines if "request refused" in line][:2])
    return all(verdicts)


async def rebinding(found: Any, gateway: Gateway) -> bool:
    """Load a page by a name that then points at the gateway, and have the page ask its own origin."""
    page, before = f"http://rebind.test:{gateway.port}", opened(gateway)
    told = await found(page, page)
    refused = all(told[name].startswith("403 ") and "host_not_allowed" in told[name] for name in ("json", "models"))
    holds = refused and opened(gateway) == before
    return judged("a name that was pointed at the gateway is refused by its Host", holds=holds, told=told)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(run(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
