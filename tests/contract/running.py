"""Start and stop the two programs a contract needs: the scripted provider, and `gateway serve` on a test's config.

Nothing here imports the gateway: it is a command with a config file, a port, and a ledger folder to read afterwards.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
UPSTREAM_KEY = "sk-upstream-secret"
_T = TypeVar("_T")

KEYS = {
    "main": "sk-gw-main-0001",
    "narrow": "sk-gw-narrow-0002",
    "expired": "sk-gw-expired-0003",
    "tight": "sk-gw-tight-0004",
}
"""The virtual keys of every test config: all models · one model · expired · all models under a tight policy."""


def gateway_command() -> list[str]:
    """The command under test: the one installed beside this interpreter, else the module of this checkout."""
    if named := os.environ.get("GATEWAY_COMMAND"):
        return named.split()
    beside = shutil.which("gateway", path=str(Path(sys.executable).parent))
    return [beside] if beside else [sys.executable, "-m", "gateway"]


def environment(**extra: str) -> dict[str, str]:
    """The environment of a started program: ours without proxies, and the checkout importable."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    return {**kept, "NO_PROXY": "*", "PYTHONUNBUFFERED": "1", **extra}


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(condition: Callable[[], _T | None], seconds: float = 10.0, what: str = "") -> _T:
    """Ask until the answer is true; raises TimeoutError with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s: {what or condition}")
        time.sleep(0.02)


async def eventually(condition: Callable[[], _T | None], seconds: float = 10.0, what: str = "") -> _T:
    """`wait_for` beside a running event loop, so that connections the test has just closed really close."""
    return await asyncio.to_thread(wait_for, condition, seconds, what)


def get(url: str, headers: Mapping[str, str] | None = None, timeout: float = 30.0) -> tuple[int, bytes]:
    """Fetch a page of a program we started: (status, body); 0 where nobody answers."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return int(response.status), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


@dataclass
class Program:
    """A process we started, with the last lines it printed."""

    process: subprocess.Popen[bytes]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=400))
    reader: threading.Thread | None = None
    tracebacks: deque[str] = field(default_factory=lambda: deque(maxlen=400))
    """The lines that tell of an exception nobody expected."""

    @classmethod
    def start(cls, command: Sequence[str], **extra: str) -> "Program":
        """Start it with both outputs into one pipe, which a thread empties."""
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(**extra), cwd=CHECKOUT
        )
        program = cls(process)
        program.reader = threading.Thread(target=program._read, daemon=True)
        program.reader.start()
        return program

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            self.lines.append(text)
            if "Traceback" in text:
                self.tracebacks.append(text)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it printed, the last 400 lines."""
        return "\n".join(list(self.lines))

    def stop(self, seconds: float = 10.0) -> int:
        """Ask it to end, then insist; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = 10.0) -> int:
        """Wait for its end (killing it after `seconds`); its exit code."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        if self.reader is not None:
            self.reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    def kill(self) -> int:
        """Kill it as `kill -9` does; its exit code."""
        self.process.kill()
        return self.wait()


@dataclass
class Upstream:
    """The scripted provider, running."""

    program: Program
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tally(self, *ids: str, rows: bool = True) -> dict[str, Any]:
        """Its books: of these ids, or of all."""
        query = urllib.parse.urlencode([*(("id", one) for one in ids), ("rows", "1" if rows else "0")])
        status, body = get(f"{self.url}/tally?{query}")
        assert status == 200, body
        return dict(json.loads(body))

    def calls(self, id: str) -> list[dict[str, Any]]:
        """The calls it took for one id, oldest first."""
        return list(self.tally(id)["rows"].get(id, []))

    def received(self, id: str, call: int = 0) -> bytes:
        """The exact bytes of one call."""
        status, body = get(f"{self.url}/received?{urllib.parse.urlencode({'id': id, 'call': call})}")
        assert status == 200, f"upstream received no call {call} of {id}"
        return body

    def received_headers(self, id: str) -> dict[str, str]:
        """The headers of the first call, names in lower case."""
        status, body = get(f"{self.url}/received?{urllib.parse.urlencode({'id': id, 'part': 'headers'})}")
        assert status == 200, f"upstream received nothing of {id}"
        return dict(json.loads(body))


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    """Start the provider on a free port and stop it at the end."""
    program = Program.start([sys.executable, "-m", "tests.upstream", "--port", "0"])
    try:
        first = wait_for(lambda: next(iter(program.lines), None), 30, "the provider's port")
        if not first.isdecimal():
            raise RuntimeError(f"the provider did not start:\n{program.log}")
        yield Upstream(program, int(first))
    finally:
        program.stop(3)


def model(name: str, sent: str, base: str, **more: Any) -> dict[str, Any]:
    """One entry of `model_list`: `info` in `more` is its model_info, the rest goes to litellm_params."""
    info = more.pop("info", None)
    params = {"model": f"openai/{sent}", "api_base": f"{base}/v1", "api_key": UPSTREAM_KEY, **more}
    return {"model_name": name, "litellm_params": params} | ({"model_info": info} if info else {})


HOUSE_PRICES = {
    "max_input_tokens": 400_000,
    "max_output_tokens": 16_000,
    "input_cost_per_token": 3.0e-8,
    "cache_read_input_token_cost": 7.0e-9,
    "output_cost_per_token": 9.0e-8,
}
POLICIES: dict[str, dict[str, Any]] = {
    "roomy": {"name": "roomy", "reserve": {"output": 0, "margin": 0}},
    "tight": {
        "name": "tight",
        "context_window": 2000,
        "reserve": {"output": 0, "margin": 0},
        "ladder": {"history": ["drop_oldest"]},
    },
}


def config(upstream: str, **changes: Any) -> dict[str, Any]:
    """The config of the contract tests, with top-level keys replaced by `changes`."""
    nobody = f"http://127.0.0.1:{free_port()}"
    entry = {"team": "contract"}
    names = {name: {"name": name, "sha256": sha256(secret.encode()).hexdigest()} for name, secret in KEYS.items()}
    return {
        "server": {"host": "127.0.0.1", "port": 0, "workers": 1, "max_body": "4MB"},
        "model_list": [
            model("gpt-5", "gpt-5", upstream, timeout=60),
            model("gpt-4o", "gpt-4o", upstream, timeout=60),
            model("fast", "gpt-5-mini", upstream, timeout=60),
            model("house", "house-model", upstream, timeout=60, info=HOUSE_PRICES),
            model("embed", "text-embedding-3-small", upstream, timeout=60),
            model("instruct", "gpt-3.5-turbo-instruct", upstream, timeout=60),
            model("guard", "omni-moderation-latest", upstream, timeout=60),
            model("rank", "bge-reranker", upstream, timeout=60, info={"mode": "rerank", "input_cost_per_token": 5e-8}),
            model("impatient", "gpt-5-mini", upstream, timeout=1),
            model("nobody", "gpt-5-mini", nobody, timeout=5),
            model("twins", "gpt-5-mini", upstream, timeout=5),
            model("twins", "gpt-4.1-mini", upstream, timeout=5),
            model("backed", "gpt-5-mini", nobody, timeout=5),
        ],
        "fallbacks": [{"backed": ["fast"]}],
        "teams": {"contract": {"policy": "roomy"}, "tight": {"policy": "tight"}},
        "keys": [
            {**names["main"], **entry},
            {**names["narrow"], **entry, "models": ["gpt-5"]},
            {**names["expired"], **entry, "expires": datetime(2001, 1, 1, tzinfo=UTC).isoformat()},
            {**names["tight"], "team": "tight"},
        ],
        "policies": "policies",
        "default_policy": "roomy",
        "state": {"dir": "state"},
        "ledger": {"dir": "ledger", "content": "none"},
        "unpriced": "refuse",
        **changes,
    }


def write_setup(folder: Path, settings: Mapping[str, Any], policies: Mapping[str, Any] | None = None) -> Path:
    """Write config.yaml and its folder of policies; the path of the config."""
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    for name, policy in (POLICIES if policies is None else policies).items():
        (folder / "policies" / f"{name}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    return path


@dataclass
class Gateway:
    """The gateway, running, and the folder of its config."""

    program: Program
    port: int
    config: Path

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for OpenAI's clients."""
        return f"{self.root}/v1"

    @property
    def ledger(self) -> Path:
        return self.config.parent / "ledger"

    def rows(self) -> list[dict[str, Any]]:
        """Every whole line of the ledger."""
        return ledger_rows(self.ledger)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log with this event."""
        lines = [json.loads(line) for line in self.program.lines if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def children(self) -> list[int]:
        """The ids of the processes that it keeps: its workers, where it has several."""
        pid = self.program.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def settled(self, user: str, seconds: float = 10.0) -> dict[str, Any]:
        """The settled line of the request whose `user` this was; waits for it, and insists that it is the only one."""

        def find() -> list[dict[str, Any]]:
            return [row for row in self.rows() if row["event"] == "settled" and row.get("user") == user]

        found = wait_for(find, seconds, f"a settled line of {user}")
        assert len(found) == 1, found
        return found[0]


def ledger_rows(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of a ledger folder, in the order of its files; a torn line is left out."""
    rows = []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            try:
                rows.append(dict(json.loads(line)))
            except ValueError:
                continue
    return rows


def start_gateway(path: Path, port: int | None = None, **extra: str) -> Gateway:
    """Start `gateway serve` and wait until it is ready; raises RuntimeError with its log where it does not come up."""
    port = port or free_port()
    program = Program.start([*gateway_command(), "serve", "--config", str(path), "--port", str(port)], **extra)

    def up() -> bool:
        if program.process.poll() is not None:
            raise RuntimeError(f"gateway ended with {program.wait()}:\n{program.log}")
        return get(f"http://127.0.0.1:{port}/health")[0] == 200 and get(f"http://127.0.0.1:{port}/ready")[0] == 200

    try:
        wait_for(up, 60, "the gateway's /health and /ready")
    except TimeoutError as late:
        program.kill()
        raise RuntimeError(f"gateway did not come up:\n{program.log}") from late
    return Gateway(program, port, path)


@contextmanager
def running_gateway(path: Path, port: int | None = None, **extra: str) -> Iterator[Gateway]:
    """Start the gateway, and stop it at the end."""
    gateway = start_gateway(path, port, **extra)
    try:
        yield gateway
    finally:
        gateway.program.stop()


class OnDemand:
    """A gateway that many tests share and each may end: whoever asks for it then has a new one."""

    def __init__(self, folders: Callable[[], Path], settings: Mapping[str, Any]) -> None:
        self._folders, self._settings = folders, settings
        self._gateway: Gateway | None = None

    def gateway(self) -> Gateway:
        """The one that runs, or another."""
        if self._gateway is None or self._gateway.program.process.poll() is not None:
            self._gateway = start_gateway(write_setup(self._folders(), self._settings))
        return self._gateway

    def stop(self) -> None:
        if self._gateway is not None:
            self._gateway.program.stop()


def run_gateway(*arguments: str, timeout: float = 60.0, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a `gateway` command to its end."""
    return subprocess.run(
        [*gateway_command(), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**extra),
        cwd=CHECKOUT,
        check=False,
    )
