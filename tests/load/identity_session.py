"""A gateway of any checkout, from outside: started on a folder of its own, asked over a socket, and written down.

Whatever is seen of it goes into a `Record` under the place where it was seen: each answer, each request that reached
the provider, each row of the ledger. Clock, ids, ports, durations and folders are taken out; nothing else is.

The process gets a clock of ours for `time.time`, so that what it learns of the gaps between requests is no matter of
how busy the machine is. Nothing here imports the gateway.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import re
import struct
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from tests.upstream.recording import Recording, recording

Json = dict[str, Any]

BEGIN = 1_780_000_000.0
"""What the clock says at first, in Unix seconds: a time after every date in the tables of prices."""
_CLOCK = """\
import mmap, os, struct, time
_file = open(os.environ["IDENTITY_CLOCK"], "r+b")
_at = mmap.mmap(_file.fileno(), 8)
time.time = lambda: struct.unpack("d", _at[:8])[0]
"""
TICK = 2.0
"""Real seconds in which what was learned is exchanged, so that it holds for the next request."""
_IDLE_SAMPLES = 10
_START_SECONDS = _ANSWER_SECONDS = 300.0
"""Long: a busy machine is no difference."""


class Record:
    """What was seen, by place, in the order in which it was seen."""

    def __init__(self, folder: Path) -> None:
        self._index = (folder / "index.jsonl").open("w", encoding="utf-8")
        self._texts = (folder / "texts").open("wb")
        self._number: dict[str, int] = {}
        self.kinds: dict[str, int] = {}

    def see(self, place: str, text: str) -> None:
        """Write down a text, under a place of its own."""
        number = self._number[place] = self._number.get(place, 0) + 1
        place = place if number == 1 else f"{place} ({number})"
        data, at = text.encode("utf-8", "surrogatepass"), self._texts.tell()
        packed = zlib.compress(data, 1)
        self._texts.write(packed)
        self._index.write(json.dumps([place, sha256(data).hexdigest(), at, len(packed)]) + "\n")

    def count(self, kind: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def close(self) -> None:
        self._index.close()
        self._texts.close()


def read_record(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Read an index: the digest of each place's text, and where it lies."""
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return {place: (digest, at, size) for place, digest, at, size in map(json.loads, lines)}


def read_text(folder: Path, at: int, size: int) -> str:
    with (folder / "texts").open("rb") as file:
        file.seek(at)
        return zlib.decompress(file.read(size)).decode("utf-8", "surrogatepass")


# ---------------------------------------------------------------- what is no part of a comparison


@dataclass
class Plain:
    """Takes out of texts what differs between two runs of one program; ids become their place in the order."""

    folder: Path
    in_order: bool = True
    """Whether one thing happens after the other; else ids have no place."""
    _ids: dict[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        text = text.replace(str(self.folder.resolve()), "FOLDER").replace(str(self.folder), "FOLDER")
        text = re.sub(r"(127\.0\.0\.1|localhost):\d{4,5}", r"\1:PORT", text)
        text = re.sub(r"gw_[0-9A-HJKMNP-TV-Z]{26}", self._named, text)
        text = re.sub(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", self._named, text)
        return re.sub(r'(?<="created":)\s?\d+', "0", text)

    def _named(self, found: re.Match[str]) -> str:
        return self._ids.setdefault(found[0], f"ID{len(self._ids)}") if self.in_order else "ID"

    def row(self, line: str) -> str:
        """Give a line of the ledger without its clock; fingerprints, whose key is drawn anew, become their place."""
        row = json.loads(line)
        row.pop("ts", None)
        row.pop("ms", None)
        for attempt in row.get("attempts", ()):
            attempt.pop("ms", None)
        if "missed_values" in row:
            row["missed_values"] = [self._ids.setdefault(one, f"VALUE{len(self._ids)}") for one in row["missed_values"]]
        return self(json.dumps(row, ensure_ascii=False))


_OF_THE_CLOCK = re.compile(r"(?i)^(date|server-timing|x-gateway-(?:ms|duration)[^:]*):")


def _head(head: str) -> str:
    return "\n".join(line for line in head.strip().split("\r\n") if not _OF_THE_CLOCK.match(line))


# ---------------------------------------------------------------- one gateway


@dataclass
class Session:
    """A running gateway with a provider of its own."""

    name: str
    provider: Recording
    record: Record
    plain: Plain
    process: asyncio.subprocess.Process
    port: int
    clock: mmap.mmap

    def wait(self, seconds: float) -> None:
        """Let time pass on the gateway's clock."""
        self.clock[:8] = struct.pack("d", struct.unpack("d", self.clock[:8])[0] + seconds)

    async def rest(self) -> None:
        """Wait until all that was learned is exchanged, and what was begun in the background is done."""
        await asyncio.sleep(TICK)
        idle = 0
        while idle < _IDLE_SAMPLES:
            await asyncio.sleep(TICK / 40)
            idle = idle + 1 if _is_idle(self.process.pid) else 0

    async def ask(
        self,
        label: str,
        body: bytes | Json,
        *,
        key: str = "",
        path: str = "/v1/chat/completions",
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        seconds: float = 5.0,
    ) -> int:
        """Send a request so many seconds after the last, and write down what came of it; returns the status."""
        self.wait(seconds)
        data = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
        lines = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(data))}
        lines |= ({"authorization": f"Bearer {key}"} if key else {}) | {"connection": "close"} | dict(headers or {})
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        answer = await asyncio.wait_for(_exchange(self.port, head.encode() + b"\r\n" + data), _ANSWER_SECONDS)
        place = f"{self.name}/{label}"
        told, text = _parted(answer)
        self.record.count("requests")
        self.record.see(f"{place} answer", self.plain(f"{_head(told)}\n\n{text}"))
        if not self.plain.in_order:
            await self.rest()
        self.see_received(place)
        return int(told.split(" ", 2)[1]) if " " in told else 0

    def see_received(self, place: str) -> None:
        """Write down what has reached the provider since this was done last."""
        texts = [
            f"{self.plain(_head(one.head))}\n\n{self.plain(one.body.decode('latin-1'))}"
            for one in self.provider.taken()
        ]
        for text in texts if self.plain.in_order else sorted(texts):
            self.record.count("bodies upstream")
            self.record.see(f"{place} upstream", text)

    @property
    def ledger(self) -> list[str]:
        files = sorted((self.plain.folder / "ledger").glob("*.jsonl"))
        return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _is_idle(process: int) -> bool:
    """Whether all threads of a process wait for something else than the processor, as far as the system tells."""
    try:
        stats = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/stat")]
    except OSError:  # a thread that ended meanwhile
        return False
    return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)


async def _exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**27)
    try:
        writer.write(data)
        read = b""
        try:
            await writer.drain()
            while chunk := await reader.read(1 << 18):
                read += chunk
        except ConnectionError:
            read += b"\r\n(the connection was reset)"
        return read
    finally:
        writer.close()


def _parted(answer: bytes) -> tuple[str, str]:
    """Part an answer into its head and its body, which is put together where it came in chunks."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    told, body = head.decode("latin-1"), rest
    if re.search(r"(?i)transfer-encoding: *chunked", told):
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if not re.fullmatch(rb"[0-9a-fA-F]+", size):
                body += b"(broken off)"
                break
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return told, body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Setup:
    """What a gateway of a part is started with; UP in its text stands for the provider's address."""

    name: str
    config: Json | str
    policies: Mapping[str, Json] = field(default_factory=dict)
    answers: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    in_order: bool = True
    """Whether nothing happens in the background, beside the requests."""
    port: int = 0
    """The provider's, where it matters: the place of one among several deployments comes from its address. Both sides
    ask for it, so that one waits for the other."""
    keep: Path | None = None
    """Where the folder is to stay; else it goes at the end."""


@asynccontextmanager
async def running(root: Path, setup: Setup, record: Record) -> AsyncIterator[Session | None]:
    """Run the gateway of a checkout until the end of the block, then write down its ledger; None: it did not start."""
    with tempfile.TemporaryDirectory(prefix="identity-", ignore_cleanup_errors=True) as name:
        folder = setup.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        async with recording(setup.answers, setup.port) as provider:
            clock = written(folder, setup, provider.url)
            plain = Plain(folder, setup.in_order)
            with (folder / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "gateway", "serve", "--config", "config.yaml", "--port", "0"),
                    cwd=folder,
                    env=environment(root, folder, setup.environment),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                )
            try:
                port = await _port(process)
                if port is None:
                    said = (folder / "log").read_text(encoding="utf-8", errors="replace")
                    record.see(f"{setup.name}/did not start", plain(_without_clock(said)))
                    record.count("gateways that did not start")
                    yield None
                    return
                session = Session(setup.name, provider, record, plain, process, port, clock)
                yield session
            finally:
                if process.returncode is None:
                    process.terminate()
                await asyncio.wait_for(process.wait(), _START_SECONDS)
            session.see_received(f"{setup.name}/afterwards")
            lines = session.ledger
            for line in lines if setup.in_order else sorted(lines, key=plain.row):
                row = json.loads(line)
                if row["event"] == "settled":
                    record.count(f"{row['kind']} {row['status']} {row['plan']}")
                record.see(f"{setup.name}/ledger row", plain.row(line))
            record.see(f"{setup.name}/exit code", str(process.returncode))


async def _port(process: asyncio.subprocess.Process) -> int | None:
    """Wait until it serves; None where it ended instead."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
    found = re.search(rb":(\d+)/v1", line)
    if found is None:
        await process.wait()
        return None
    port = int(found[1])
    for _ in range(int(_START_SECONDS / 0.05)):
        if (
            b" 200 "
            in (await _exchange(port, b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))[:20]
        ):
            return port
        await asyncio.sleep(0.05)
    raise TimeoutError("the gateway is not ready")


def _without_clock(log: str) -> str:
    return re.sub(r'"timestamp": ?"[^"]*"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*Z?', "CLOCK", log)


def written(folder: Path, setup: Setup, upstream: str) -> mmap.mmap:
    """Write a gateway's folder, its clock among it, which is returned."""
    text = setup.config if isinstance(setup.config, str) else yaml.safe_dump(dict(setup.config), sort_keys=False)
    (folder / "config.yaml").write_text(text.replace("UP", upstream), encoding="utf-8")
    (folder / "policies").mkdir(exist_ok=True)
    for name, policy in setup.policies.items():
        (folder / "policies" / f"{name}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    (folder / "clock").mkdir(exist_ok=True)
    (folder / "clock" / "sitecustomize.py").write_text(_CLOCK, encoding="utf-8")
    (folder / "clock" / "now").write_bytes(struct.pack("d", BEGIN))
    with (folder / "clock" / "now").open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def environment(root: Path, folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Make the environment of a program of a checkout: ours without credentials and proxies."""
    own = {name: value for name, value in os.environ.items() if not name.upper().endswith(("_API_KEY", "_PROXY"))}
    path = os.pathsep.join([str(folder / "clock"), str(root)])
    fixed = {"NO_PROXY": "*", "PYTHONPATH": path, "IDENTITY_CLOCK": str(folder / "clock" / "now"), "COLUMNS": "120"}
    return {
        **own,
        **fixed,
        "PYTHONHASHSEED": "random",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **(more or {}),
    }
