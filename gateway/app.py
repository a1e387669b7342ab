"""The ASGI application: routes, and what lives as long as the process. State is made here and handed in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.middleware import Middleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from gateway.budget.tokens import Counters
from gateway.config import Config
from gateway.config.versions import config_digest
from gateway.keep_warm.schedule import WarmUps
from gateway.memory import MemoryPlan
from gateway.money import ledger as books
from gateway.money.keys import Keys
from gateway.money.ledger.lookup import TooManyLookups
from gateway.money.limits import Limits
from gateway.operators import tallies
from gateway.operators.instance import InstanceState
from gateway.operators.recording import Recorder
from gateway.operators.tracing import tracer_of
from gateway.prompt_cache import sharing, system_text_sharing
from gateway.prompt_cache.system_text_sharing import SystemTextWatch
from gateway.prompt_cache.tracker import PromptCaches
from gateway.response_cache.vectors import MOST_BYTES as VECTOR_BYTES
from gateway.response_cache.vectors import NoVectors, Vectors
from gateway.rewriting.memory import Known
from gateway.routing import placements
from gateway.routing.calibrations import Calibrations
from gateway.routing.catalogue import catalogue
from gateway.routing.deployment import Kind
from gateway.routing.health import Health
from gateway.routing.loads import Loads
from gateway.routing.models import Model
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.serving.admission import authenticate
from gateway.serving.azure import AzureClient
from gateway.serving.capacity import Capacity
from gateway.serving.client import Browsers, HTTPClient, WriteError, head, refuse
from gateway.serving.early_folds import EarlyFolds
from gateway.serving.key_usage import key_usage
from gateway.serving.large.blocks import give_back_large_blocks
from gateway.serving.large.pool import LargeBodies
from gateway.serving.limiting import limiting_of
from gateway.serving.listing import listed_model, listed_models
from gateway.serving.messages import MessagesClient, count_prompt, described_as_theirs, in_their_form
from gateway.serving.metered.pipeline import answer_metered
from gateway.serving.pipeline import answer
from gateway.serving.services import Configured, Gateway, Models, declared_name
from gateway.serving.stored_ids import StoredIds
from gateway.serving.stored_pipeline import PATHS as STORED_PATHS
from gateway.serving.stored_pipeline import answer_stored, begin_conversation, count_input
from gateway.serving.summary_calls import write_summary
from gateway.serving.tightening import Tightenings
from gateway.serving.vitals import follow
from gateway.serving.warm_up_calls import send_warm_up
from gateway.state import open_state
from gateway.state.shared import Sharing
from gateway.state.store import Store
from gateway.summaries.jobs import SummaryJobs
from gateway.wire import errors
from gateway.wire.errors import GatewayError, error_body
from gateway.wire.memo import Memo
from gateway.wire.operations import METERED, PATHS, Operation
from gateway.wire.origins import Origins
from gateway.wire.shape import BY_PATH, CHAT, MESSAGES, Shape
from gateway.wire.unserved import PREFIXES, unserved, upgrade_refused

_READING = ("GET", "HEAD")
COUNT_TOKENS: Final = f"{PATHS['messages']}/count_tokens"
VERSION: Final = b"anthropic-version"
"""The header that all of Anthropic's clients send."""

SETTLE_SECONDS = 5.0
"""Seconds that a stop waits for the entries of requests that it cut."""

_COLLECTIONS = (5_000, 2, 700)
"""The collector's thresholds: objects made, and collections of the younger generation. Requests leave hardly a cycle
behind, and the default looks for some at each of them. Nobody else runs while it looks: 15,000 objects take some five
milliseconds, and the 200,000 that planning makes in a few seconds would take forty."""


@dataclass(frozen=True, slots=True)
class Visit:
    """The arguments of an endpoint."""

    gateway: Gateway
    client: HTTPClient
    scope: Scope
    request_id: str


Endpoint = Callable[[Visit], Awaitable[None]]


class Application(Starlette):
    """Starlette without its handlers of errors, which look at every message.

    Each endpoint handles its own.
    """

    instance: Callable[[], InstanceState]
    """Returns the state of the program, all its processes together."""

    @property
    def gateway(self) -> Gateway:
        """The gateway of requests that come now; those under way keep the one that they began with."""
        gateway: Gateway = self.state.gateway
        return gateway

    @property
    def is_loaded(self) -> bool:
        """Whether the encodings that configured models need are loaded."""
        counters, models = self.gateway.counters, self.gateway.models.values()
        return all(counters.for_encoding(model.encoding).loaded for model in models)

    async def prepare(self, config: Config) -> Configured:
        """Build what a configuration asks for, beside the requests. Raises `Unservable` and `ValueError`."""
        return await asyncio.to_thread(_configured, config, MemoryPlan(config.memory))

    def adopt(self, configured: Configured) -> None:
        """Serve what comes from now on under another configuration, in one step."""
        self.gateway.upstreams.add(_kinds(configured.models))
        gateway = self.gateway.under(configured)
        _share(gateway)
        _call_by_itself(gateway)
        if gateway.recorder is not None:
            gateway.recorder.look_up(partial(declared_name, gateway.models))
            gateway.recorder.configured(config_digest(gateway.config))
        self.user_middleware = _door_for_browsers(configured.config)
        self.middleware_stack = self.build_middleware_stack()
        self.state.gateway = gateway
        self.state.loading = asyncio.create_task(_load(gateway))

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = _Paths(self.router)
        for make, args, named in reversed(self.user_middleware):
            app = make(app, *args, **named)
        return app


class _Paths:
    """An application that looks up a path without parameters; others, and the lifespan, are the router's.

    The router tries one route after the other, at each request.
    """

    def __init__(self, router: Router) -> None:
        routes = [route for route in router.routes if isinstance(route, Route)]
        self._router = router
        self._endpoints: dict[str, ASGIApp] = {route.path: route.app for route in routes if "{" not in route.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        await (self._router if endpoint is None else endpoint)(scope, receive, send)


def create_app(config: Config, worker: str | None = None) -> Application:
    """Build the application. It closes at the end whatever it opened at start. `worker` names its ledger's files."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as closing:
            app.state.running = set[asyncio.Task[Any]]()
            app.state.gateway = build_gateway(config, worker=worker)
            await _open(app.state, closing)
            yield

    routes = [
        route
        for prefix in PREFIXES
        for route in (
            *(Route(prefix + path, _asked(shape)) for path, shape in BY_PATH.items()),
            Route(f"{prefix}{COUNT_TOKENS}", _Endpoint(_count, "POST", write=MESSAGES.error, client=MessagesClient)),
            *(Route(prefix + PATHS[one], _Endpoint(partial(_metered, one), "POST")) for one in METERED),
            *(Route(prefix + path, _stored(path, *methods)) for path, methods in STORED_PATHS.items()),
            Route(f"{prefix}/responses/input_tokens", _Endpoint(_count_input, "POST")),
            Route(f"{prefix}/conversations", _Endpoint(_begin_conversation, "POST")),
            Route(f"{prefix}/models", _Endpoint(_models, *_READING)),
            Route(f"{prefix}/models/{{id:path}}", _Endpoint(_model, *_READING)),
            Route(f"{prefix}/requests/{{id}}", _Endpoint(_request, *_READING)),
            Route(f"{prefix}/usage", _Endpoint(_usage, *_READING)),
            Route(f"{prefix}/health", _Endpoint(_health, *_READING)),
            Route(f"{prefix}/ready", _Endpoint(_ready, *_READING)),
        )
    ]
    routes.append(Route("/", _Endpoint(_health, *_READING)))  # Claude Code looks whether anybody is there
    routes += [
        Route(f"/openai/deployments/{{name:path}}{PATHS[one]}", _azure(one))
        for one in ("chat", *METERED)
        if one != "compact"
    ]
    app = Application(routes=routes, lifespan=lifespan, middleware=_door_for_browsers(config))
    app.instance = lambda: InstanceState(config_digest(app.gateway.config), serving=1, loaded=int(app.is_loaded))
    app.router.default = _Endpoint(_unknown)
    app.router.redirect_slashes = False
    return app


def _azure(operation: Operation) -> _Endpoint:
    """Make the endpoint of an operation whose path names the model, as Azure's do."""
    serve = partial(_answer, CHAT) if operation == "chat" else partial(_metered, operation)
    return _Endpoint(serve, "POST", client=AzureClient)


def _door_for_browsers(config: Config) -> list[Middleware]:
    """Make the door, where any request has to be looked at."""
    listed = frozenset(origin.encode() for origin in config.cors)
    origins = Origins(config.is_open, frozenset(config.server.hosts), listed)
    return [Middleware(Browsers, origins, lambda: _new_id(time.time()))] if origins.is_needed else []


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world around a gateway: clocks, chance, models and those who answer. Tests have one of their own."""

    now: Callable[[], float] = time.time
    """Unix seconds."""
    monotonic: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    counters: Counters | None = None
    models: Mapping[str, Model] | None = None
    """None for those of the configuration."""
    upstreams: Upstreams | None = None


PROGRAM: Final = Surroundings()
"""The surroundings of the running program."""


def build_gateway(config: Config, around: Surroundings = PROGRAM, worker: str | None = None) -> Gateway:
    """Build a gateway; only its ledger is opened."""
    memory = MemoryPlan(config.memory)
    counters = around.counters or Counters(memory.bytes_for("token counts"))
    configured = _configured(config, memory, around.models)
    log, prompt_caches = structlog.get_logger("gateway"), PromptCaches(memory)
    sharing = Sharing(Store(partial(open_state, config.state, log.warning), log, config.state.timeout), log)
    return Gateway(
        config=config,
        keys=configured.keys,
        models=configured.models,
        limits=configured.limits,
        counters=counters,
        calibrations=Calibrations(configured.models.values(), sharing),
        sharing=sharing,
        ledger=books.Ledger(
            config.ledger.dir, worker, around.now, content=config.ledger.content == "requests", mode=config.ledger.mode
        ),
        upstreams=around.upstreams
        or Upstreams(
            counters.for_encoding("o200k_base").count,
            kinds=_kinds(configured.models),
            now=around.now,
            network=config.network,
            most=config.server.max_answer,
        ),
        health=Health(),
        memo=Memo(memory.bytes_for("parsed requests")),
        log=log,
        now=around.now,
        monotonic=around.monotonic,
        draw=around.draw,
        stored=StoredIds(sharing.store),
        summaries=SummaryJobs(sharing.store, log, around.now, around.monotonic, memory.bytes_for("summaries")),
        early_folds=EarlyFolds(sharing.store, memory.bytes_for("early folds")),
        loads=Loads(memory.bytes_for("placements")),
        known=Known(memory.bytes_for("planning")),
        system_texts=SystemTextWatch(memory.bytes_for("system texts")),
        prompt_caches=prompt_caches,
        large=LargeBodies(log, config.server.max_body),
        capacity=Capacity(config.server.max_in_flight, config.server.max_lag, log),
        vectors=_vectors(config, log),
        warm_ups=WarmUps(
            prompt_caches,
            sharing.store,
            log,
            time.time,
            os.urandom(6).hex(),
            most_bytes=memory.bytes_for("warm prefixes"),
        ),
        tightenings=Tightenings(sharing.store),
        limiting=limiting_of(config, configured.limits or Limits(), around.now, log),
        recorder=_recorder(config, configured.models, log),
        tracer=tracer_of(config.otel, os.environ, f"{socket.gethostname()}.{os.getpid()}"),
    )


def _configured(config: Config, memory: MemoryPlan, models: Mapping[str, Model] | None = None) -> Configured:
    """Make of a configuration what a reload replaces. Raises `Unservable` and `ValueError`."""
    covered, unpriced = memory.bytes_for("covered models"), config.unpriced == "allow"
    return Configured(
        config,
        Keys(config.keys, is_open=config.is_open),
        models or Models(catalogue(config), unpriced=unpriced, most_bytes=covered),
        Limits.of(config) or None,
    )


def _kinds(models: Mapping[str, Model]) -> set[Kind]:
    return {one.kind for model in models.values() for one in model.deployments}


async def _open(state: State, closing: contextlib.AsyncExitStack) -> None:
    """Open all that lives as long as the process, and say how each is closed: the last opened first.

    A failure of one does not keep the others open. The ledger is closed last: what it owes the disk is written.
    """
    give_back_large_blocks()
    gateway: Gateway = state.gateway
    closing.callback(gateway.counters.close)
    closing.callback(gateway.ledger.close)
    if gateway.limiting is not None:
        if gateway.limits is not None:
            await gateway.limiting.counting.begun()
        closing.push_async_callback(gateway.limiting.close)
    if gateway.recorder is not None:
        closing.callback(gateway.recorder.close)
        gateway.recorder.configured(config_digest(gateway.config))
        closing.callback(asyncio.create_task(follow(lambda: state.gateway, gateway.recorder)).cancel)
    if gateway.tracer is not None:
        closing.push_async_callback(asyncio.to_thread, gateway.tracer.close)
    _share(gateway)
    closing.push_async_callback(gateway.sharing.close)
    closing.push_async_callback(gateway.stored.close)
    await gateway.sharing.open()
    closing.push_async_callback(gateway.vectors.close)
    closing.callback(gateway.lookups.close)
    closing.callback(gateway.planning.shutdown)
    if gateway.large is not None:
        closing.callback(gateway.large.close)
    closing.push_async_callback(gateway.upstreams.close)
    closing.callback(asyncio.create_task(gateway.capacity.follow()).cancel)
    _call_by_itself(gateway)
    gateway.warm_ups.open()
    closing.push_async_callback(gateway.warm_ups.close)
    closing.push_async_callback(gateway.summaries.close)
    closing.push_async_callback(_settled, state.running)
    closing.push_async_callback(_given_up, gateway.background)
    closing.callback(asyncio.create_task(_warm(gateway)).cancel)


async def _settled(running: set[asyncio.Task[Any]]) -> None:
    """Wait for requests that the server gave up on: they still have their entries to write."""
    if running:
        await asyncio.wait(running, timeout=SETTLE_SECONDS)


async def _given_up(background: set[asyncio.Task[None]]) -> None:
    """Have entries written that wait for answers of the background; what these will have cost is estimated."""
    tasks = list(background)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=SETTLE_SECONDS)


def _call_by_itself(gateway: Gateway) -> None:
    """Make the gateway's own calls, which no client asked for, under its present configuration."""
    gateway.warm_ups.set_sender(partial(send_warm_up, gateway))
    gateway.summaries.set_writer(partial(write_summary, gateway))


def _share(gateway: Gateway) -> None:
    """Share through the state what more than one process, or the next start, has a use for, unless it is shared."""
    models = gateway.models.values()
    if placements.KEY not in gateway.sharing and any(len(model.deployments) > 1 for model in models):
        gateway.sharing.add(placements.shared_placements(gateway.loads, gateway.now))
    caches = any(one.cache.matching != "none" for model in models for one in model.deployments)
    if caches and sharing.SENT not in gateway.sharing:
        sharing.share_prompt_caches(gateway.sharing, gateway.prompt_caches, gateway.now, os.urandom(6).hex())
        gateway.sharing.add(system_text_sharing.share_system_texts(gateway.system_texts))


def _recorder(config: Config, models: Mapping[str, Model], log: FilteringBoundLogger) -> Recorder | None:
    """Make what counts for the metrics of the program around this process, where it exposes any."""
    folder = os.environ.get(tallies.VARIABLE)
    if folder is None:
        return None
    generative = config.otel.endpoint is not None
    return Recorder(tallies.Tally(Path(folder)), partial(declared_name, models), log, generative=generative)


def _vectors(config: Config, log: FilteringBoundLogger) -> Vectors | NoVectors:
    """Make the cache of vectors, where the configuration keeps any."""
    kept = config.response_cache
    if kept.embeddings is None:
        return NoVectors()
    place = config.state if config.state.redis is not None else replace(config.state, dir=kept.dir)
    opens = partial(open_state, place, log.warning, None if place.redis else VECTOR_BYTES)
    return Vectors(Store(opens, log, config.state.timeout), kept.embeddings)


async def _warm(gateway: Gateway) -> None:
    """Load, after the first requests can be taken, what configured models will need."""
    await _load(gateway)
    collect_rarely()


async def _load(gateway: Gateway) -> None:
    """Load what configured models need: encodings, and litellm."""
    for encoding in sorted({model.encoding for model in gateway.models.values()}):
        await asyncio.to_thread(gateway.counters.for_encoding(encoding).load)
    if any(d.kind == "translated" for model in gateway.models.values() for d in model.deployments):
        await gateway.upstreams.translated.load()


def collect_rarely() -> None:
    """Have the collector look seldom, and never at objects that are there by now."""
    gc.collect()
    gc.set_threshold(*_COLLECTIONS)
    gc.freeze()


def _new_id(now: float) -> str:
    return books.new_id(now, os.urandom(books.ID_ENTROPY_BYTES))


class _Endpoint:
    """An endpoint as an ASGI application: no request and response objects between a client and the pipeline."""

    def __init__(
        self,
        serve: Endpoint,
        *methods: str,
        write: WriteError = error_body,
        client: type[HTTPClient] = HTTPClient,
    ) -> None:
        """Take requests with these methods; with any, where none is named. `write` writes its errors."""
        self._serve, self._methods, self._write, self._client = serve, methods, write, client

    def _refuse_method(self, scope: Scope, client: HTTPClient) -> None:
        if self._methods and scope["method"] not in self._methods:
            raise upgrade_refused(scope["path"], _upgrade(client)) or errors.method_not_allowed(
                scope["method"], scope["path"], ", ".join(self._methods)
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        gateway: Gateway = scope["app"].state.gateway
        client = self._client(scope, receive, send)
        request_id = _new_id(gateway.now())
        try:
            self._refuse_method(scope, client)
            await self._serve(Visit(gateway, client, scope, request_id))
        except GatewayError as error:
            await refuse(client, error, request_id, write=self._writer(client))
        except Exception:  # the outermost handler: nobody gets a stack trace, and the log gets all of it
            gateway.log.exception("endpoint failed", path=scope["path"], id=request_id)
            if not client.started:
                await refuse(client, errors.internal_error(), request_id, write=self._writer(client))

    def _writer(self, client: HTTPClient) -> WriteError:
        """Return who writes an error: where no shape is asked, the one of whose clients it is."""
        return MESSAGES.error if self._write is error_body and VERSION in client.headers else self._write


def _asked(shape: Shape) -> _Endpoint:
    """Return the endpoint that answers requests in this shape."""
    client = MessagesClient if shape is MESSAGES else HTTPClient
    return _Endpoint(partial(_answer, shape), "POST", write=shape.error, client=client)


async def _answer(shape: Shape, visit: Visit) -> None:
    with _running(visit):
        await answer(visit.gateway, visit.client, visit.request_id, shape)


def _stored(path: str, *methods: str) -> _Endpoint:
    """Return the endpoint of a path about something that a provider keeps."""

    async def serve(visit: Visit) -> None:
        scope = visit.scope
        await answer_stored(
            visit.gateway,
            visit.client,
            visit.request_id,
            scope["method"],
            path,
            scope["path_params"],
            scope["query_string"],
        )

    return _Endpoint(serve, *methods)


async def _count_input(visit: Visit) -> None:
    await count_input(visit.gateway, visit.client, visit.request_id)


async def _begin_conversation(visit: Visit) -> None:
    await begin_conversation(visit.gateway, visit.client, visit.request_id)


async def _count(visit: Visit) -> None:
    """Count the prompt of a message."""
    await _json(visit, 200, await count_prompt(visit.gateway, visit.client))


async def _metered(operation: Operation, visit: Visit) -> None:
    with _running(visit):
        await answer_metered(visit.gateway, visit.client, visit.request_id, operation)


@contextlib.contextmanager
def _running(visit: Visit) -> Iterator[None]:
    """Count a request among those whose entries a stop waits for."""
    running: set[asyncio.Task[Any]] = visit.scope["app"].state.running
    task = asyncio.current_task()
    assert task is not None
    running.add(task)
    try:
        yield
    finally:
        running.discard(task)


async def _json(visit: Visit, status: int, body: Any) -> None:
    data = orjson.dumps(body)
    await visit.client.start(status, head(visit.request_id, b"application/json", len(data)))
    await visit.client.end(data)


async def _models(visit: Visit) -> None:
    """List the models that this key may ask for, in the shape of OpenAI, or of Anthropic for its clients."""
    caller = authenticate(visit.gateway.keys, visit.client, visit.gateway.now())
    told = await listed_models(visit.gateway, caller)
    await _json(visit, 200, in_their_form(told["data"], visit.scope["query_string"]) if _is_theirs(visit) else told)


async def _model(visit: Visit) -> None:
    """Describe one model that this key may ask for."""
    caller = authenticate(visit.gateway.keys, visit.client, visit.gateway.now())
    told = listed_model(visit.gateway, caller, visit.scope["path_params"]["id"])
    await _json(visit, 200, described_as_theirs(told) if _is_theirs(visit) else told)


def _is_theirs(visit: Visit) -> bool:
    """Whether a client is one of Anthropic's."""
    return VERSION in visit.client.headers


async def _request(visit: Visit) -> None:
    """Tell a key of one of its own past requests; another's does not exist for it."""
    caller = authenticate(visit.gateway.keys, visit.client, visit.gateway.now())
    wanted: str = visit.scope["path_params"]["id"]
    gateway = visit.gateway
    try:
        found = await gateway.lookups.find(gateway.config.ledger.dir, wanted, caller.key)
    except TooManyLookups:
        raise errors.too_many_lookups() from None
    if found is None or found.row.key != caller.key:
        raise errors.request_not_found(wanted)
    await _json(visit, 200, found.members)


async def _usage(visit: Visit) -> None:
    """Tell a key what is spent and left of its limits."""
    caller = authenticate(visit.gateway.keys, visit.client, visit.gateway.now())
    await _json(visit, 200, await key_usage(visit.gateway, caller, visit.client.headers))


async def _health(visit: Visit) -> None:
    await _json(visit, 200, {"status": "ok"})


async def _ready(visit: Visit) -> None:
    """Say whether all processes of the program answer at full speed, and go on doing so."""
    state: InstanceState = visit.scope["app"].instance()
    await _json(visit, 200 if state.is_ready else 503, state.to_json())


async def _unknown(visit: Visit) -> None:
    path, method = visit.scope["path"], visit.scope["method"]
    raise unserved(path, method, _upgrade(visit.client)) or errors.not_found(path, method)


def _upgrade(client: HTTPClient) -> str:
    return client.headers.get(b"upgrade", b"").decode("latin-1")
