"""One request through the pipeline, in this process: an upstream that says what it is told to, and a client that keeps
what it gets. Both implement the gateway's own interfaces, so nothing of it is replaced but the far ends.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import structlog

from gateway.app import Surroundings, build_gateway
from gateway.budget.tokens import Counters
from gateway.config import Config, KeyEntry, LedgerSettings, Server, StateSettings, Team
from gateway.config.limits import Budget
from gateway.config.merging import resolve
from gateway.config.policy import Policy
from gateway.config.yaml import parse_yaml
from gateway.keep_warm.schedule import NoWarmUps
from gateway.money import ledger as books
from gateway.money.limits import Limits
from gateway.money.prices.entries import price_from
from gateway.routing.deployment import Deployment, Kind, ModelFacts
from gateway.routing.models import models_of
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.routing.upstreams.upstream import Reply, Unfit, UpstreamError
from gateway.serving.client import COMMENT_SECONDS, ClientGone, Headers, Room, refuse
from gateway.serving.early_folds import NoEarlyFolds
from gateway.serving.large.pool import LargeBodies
from gateway.serving.metered.pipeline import answer_metered
from gateway.serving.pipeline import answer
from gateway.serving.services import Gateway
from gateway.summaries.jobs import NoSummaries
from gateway.wire.chat.relay import DONE
from gateway.wire.errors import GatewayError, too_large
from gateway.wire.operations import Operation
from gateway.wire.shape import SHAPES
from gateway.wire.sse import event
from tests.sharing import PATIENT_SECONDS

COUNTERS = Counters()
"""Shared by all tests of a run: an encoding takes half a second to load."""

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC).timestamp()

USAGE: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
PRICE = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 1e-7}


class Stall:
    """In an act: silence, until the call is given up."""


class Leave:
    """In an act: the client leaves now, and silence follows."""


def new_id() -> str:
    return books.new_id(NOW, os.urandom(books.ID_ENTROPY_BYTES))


# ---------------------------------------------------------------- the far end: an upstream by script


@dataclass(frozen=True, slots=True)
class Act:
    """What the upstream does at one call."""

    status: int = 200
    parts: Sequence[bytes | UpstreamError | Stall | Leave] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    instead: UpstreamError | Unfit | Stall | Leave | None = None
    """What comes instead of an answer."""


def says(text: str = "hello", usage: Mapping[str, Any] | None = USAGE, **more: Any) -> Act:
    """A whole answer."""
    message = {"role": "assistant", "content": text}
    fields = {"id": "chatcmpl-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}
    return Act(parts=(orjson.dumps(fields if usage is None else {**fields, "usage": usage}),))


def delta(text: str, finish: str | None = None) -> bytes:
    return event(orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}))


def usage_event(usage: Mapping[str, Any] = USAGE) -> bytes:
    return event(orjson.dumps({"choices": [], "usage": usage}))


def streams(*parts: bytes | UpstreamError | Stall | Leave, **headers: str) -> Act:
    """A streamed answer in these chunks."""
    return Act(parts=parts, headers={"content-type": "text/event-stream", **headers})


WHOLE_STREAM = (delta("hel"), delta("lo"), delta("", "stop"), usage_event(), DONE)


def fails(status: int, code: str | None = None, message: str = "no", **headers: str) -> Act:
    """An error answer in OpenAI's shape."""
    error = {"error": {"message": message, "type": "upstream_type", "param": None, "code": code}}
    return Act(status, (orjson.dumps(error),), {"content-type": "application/json", **headers})


def cannot(param: str) -> Act:
    return Act(instead=Unfit(param, f"`{param}` cannot be served by script/m"))


def breaks(kind: Any = "connect") -> Act:
    return Act(instead=UpstreamError(kind, "scripted"))


@dataclass(slots=True)
class Called:
    """One call as the upstream saw it."""

    deployment: str
    body: bytes
    stream: bool
    request_id: str
    reply: ScriptedReply | None = None

    @property
    def fields(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.body)
        return said


class ScriptedReply:
    """One answer of the script."""

    is_over = False

    def __init__(self, act: Act, stall: Callable[[object], Awaitable[None]]) -> None:
        self.status = act.status
        self.headers = act.headers
        self.closed = False
        self._parts, self._stall = act.parts, stall

    async def read(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, UpstreamError):
                raise part
            if isinstance(part, Stall | Leave):
                await self._stall(part)
                continue
            yield part

    async def close(self) -> None:
        self.closed = True


class Script:
    """An upstream that does one act after the other, the last of them again and again."""

    def __init__(self, *acts: Act) -> None:
        self._acts = list(acts) or [says()]
        self.calls: list[Called] = []
        self.client: Caller | None = None

    async def send(
        self, deployment: Deployment, body: bytes, *, stream: bool, request_id: str, headers: Any = None
    ) -> Reply:
        called = Called(deployment.name, body, stream, request_id)
        self.calls.append(called)
        act = self._acts[min(len(self.calls), len(self._acts)) - 1]
        if isinstance(act.instead, UpstreamError | Unfit):
            raise act.instead
        if act.instead is not None:
            await self._silence(act.instead)
        called.reply = ScriptedReply(act, self._silence)
        return called.reply

    async def close(self) -> None:
        return None

    async def _silence(self, what: object) -> None:
        if isinstance(what, Leave):
            assert self.client is not None
            self.client.leave()
        await asyncio.Event().wait()


# ---------------------------------------------------------------- the near end: a client that keeps what it gets


class Caller:
    """The client of one request."""

    def __init__(self, body: bytes, headers: Mapping[str, str], leaves: str | None = None) -> None:
        self.headers: Mapping[bytes, bytes] = {name.encode(): value.encode() for name, value in headers.items()}
        self.address: str | None = "127.0.0.1"
        self.gone = False
        self.started = False
        self.status = 0
        self.got: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.ended = False
        self._body, self._leaves = body, leaves
        self._watching: asyncio.Task[Any] | None = None

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def fields(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.text)
        return said

    @property
    def error(self) -> dict[str, Any]:
        said: dict[str, Any] = self.fields["error"]
        return said

    def leave(self) -> None:
        """Go, whether or not the answer is there."""
        if self._watching is not None:
            self.gone = True
            self._watching.cancel()

    async def body(self, most: int, room: Room | None = None) -> bytes:
        if self._leaves == "before":
            raise ClientGone
        if len(self._body) > most:
            raise too_large(most)
        return self._body

    def watch(self) -> None:
        self._watching = asyncio.current_task()

    def unwatch(self) -> None:
        self._watching = None

    async def start(self, status: int, headers: Headers) -> None:
        assert not self.started
        self.started, self.status = True, status
        self.got = {name.decode(): value.decode("latin-1") for name, value in headers}

    async def send(self, data: bytes) -> None:
        assert self.started
        assert not self.ended
        self.pieces.append(data)
        if self._leaves == "while":
            self.leave()
            await asyncio.sleep(0)

    async def end(self, data: bytes = b"") -> None:
        assert self.started
        assert not self.ended
        self.pieces.append(data)
        self.ended = True


# ---------------------------------------------------------------- the gateway between them


def policy(text: str) -> Policy:
    """Read a policy as a file would be read."""
    found = resolve([parse_yaml(text, Path("policy.yaml"))])
    assert not found.problems, found.problems
    return next(one for name, one in found.by_name.items() if name != "default" or len(found.by_name) == 1)


def deployment(name: str = "asked", model: str = "openai/gpt-4o", **more: Any) -> Deployment:
    provider, _, rest = model.partition("/")
    facts = ModelFacts(
        provider,
        rest,
        more.pop("window", 128_000),
        more.pop("max_output", None),
        shared=True,
        encoding="o200k_base",
        exact=more.pop("exact", True),
        thinks_unasked=more.pop("thinks_unasked", False),
        streams=more.pop("streams", True),
    )
    price = price_from(rest, more.pop("price", PRICE))
    kind: Kind = more.pop("kind", "direct")
    number = more.pop("number", 0)
    return Deployment(f"{name}#{number}:{model}", name, provider, rest, kind, facts, price, **more)


def key(token: str, name: str = "bot", **more: Any) -> KeyEntry:
    return KeyEntry(name, sha256(token.encode()).hexdigest(), **more)


@dataclass(slots=True)
class Passed:
    """What came of one request."""

    client: Caller
    script: Script
    rows: list[dict[str, Any]]
    gateway: Gateway
    log: list[Any]

    @property
    def settled(self) -> dict[str, Any]:
        """The one row of its end."""
        found = [row for row in self.rows if row["event"] == "settled"]
        assert len(found) == 1, found
        return found[0]

    @property
    def opened(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["event"] == "opened"]

    @property
    def received(self) -> list[dict[str, Any]]:
        """The messages that left in the last call."""
        said: list[dict[str, Any]] = self.script.calls[-1].fields["messages"]
        return said


@dataclass(slots=True)
class Setting:
    """Everything a test may want otherwise than usual."""

    folder: Path
    policies: Iterable[Policy] = ()
    deployments: Sequence[Deployment] = ()
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keys: Sequence[KeyEntry] = ()
    teams: Mapping[str, Team] = field(default_factory=dict)
    unpriced: bool = False
    max_body: int = 1_000_000
    max_answer: int = 1_000_000
    draw: Callable[[], float] = lambda: 0.0
    now: Callable[[], float] = lambda: NOW
    comment_seconds: float = COMMENT_SECONDS
    large: LargeBodies | None = None
    budgets: Sequence[Budget] = ()

    def gateway(self, script: Script) -> Gateway:
        given = tuple(self.policies) or (Policy("default"),)
        config = Config(
            file=self.folder / "config.yaml",
            server=Server(max_body=self.max_body, max_answer=self.max_answer),
            models=(),
            fallbacks=self.fallbacks,
            teams=self.teams,
            keys=tuple(self.keys),
            policies={one.name: one for one in given},
            default_policy=given[0].name,
            state=StateSettings(dir=self.folder / "state", timeout=PATIENT_SECONDS),
            ledger=LedgerSettings(self.folder / "ledger"),
            unpriced="allow" if self.unpriced else "refuse",
            budgets=tuple(self.budgets),
        )
        catalogue: dict[str, list[Deployment]] = {}
        for one in self.deployments or (deployment(),):
            catalogue.setdefault(one.model_name, []).append(one)
        around = Surroundings(
            now=self.now,
            monotonic=asyncio.get_running_loop().time,
            draw=self.draw,
            counters=COUNTERS,
            models=models_of(catalogue, unpriced=self.unpriced),
            upstreams=Upstreams(len, {"direct": script, "translated": script, "demo": script}),
        )
        built = build_gateway(config, around)
        if any(one.rates for one in self.deployments):
            built = replace(built, limits=Limits(of_deployments=True))
        # The last three ask the state at requests that fold, and have tests of their own.
        return replace(
            built,
            comment_seconds=self.comment_seconds,
            large=self.large,
            summaries=NoSummaries(),
            early_folds=NoEarlyFolds(),
            warm_ups=NoWarmUps(),
        )

    async def __call__(
        self,
        body: bytes,
        script: Script | None = None,
        *,
        leaves: str | None = None,
        headers: Mapping[str, str] | None = None,
        operation: Operation = "chat",
    ) -> Passed:
        """Send one request through."""
        script = script or Script()
        gateway = self.gateway(script)
        client = script.client = Caller(body, headers or {}, leaves)
        request_id = new_id()
        try:
            with structlog.testing.capture_logs() as log:
                served = (
                    answer(gateway, client, request_id, SHAPES[operation])
                    if operation in SHAPES
                    else answer_metered(gateway, client, request_id, operation)
                )
                await asyncio.wait_for(served, 20)
        except GatewayError as error:  # as the app does for who may not ask, and for what is not a request
            await refuse(client, error, request_id)
        finally:
            await gateway.upstreams.close()
            if gateway.limiting is not None:
                await gateway.limiting.counting.close()
            await gateway.sharing.close()
            gateway.ledger.close()
        return Passed(client, script, list(books.rows(gateway.config.ledger.dir)), gateway, log)
