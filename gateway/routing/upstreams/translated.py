"""Every provider that does not speak chat completions, through litellm: the only module that loads it.

litellm is imported in a worker thread when the first deployment needs it (seconds, 160 MB), with all that would make it
call home, read `.env` files, retry or log switched off. It translates; it decides nothing. Three rules at this door:

- A client chooses what is in `REQUEST_FIELDS` and nothing else: litellm takes credentials, addresses and callbacks
  through the same keywords.
- litellm fetches no URL for a client. Media come as `data:` URLs; a URL is passed on only where the provider itself
  reads it (`Provider.fetches`).
- What an upstream answered is read off the wire (`exchange`), not out of litellm's exceptions.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.config.network import HERE, Network
from gateway.providers import parameters
from gateway.providers.parameters import Chosen
from gateway.providers.table import provider_of
from gateway.routing.deployment import Deployment
from gateway.routing.too_long import too_long
from gateway.routing.upstreams.documented_members import write_as_documented
from gateway.routing.upstreams.piece_numbers import PieceNumbers, without_numbers
from gateway.routing.upstreams.translated_vectors import (
    SIZED,
    embedding_fields,
    rerank_fields,
    written_embeddings,
    written_reranking,
)
from gateway.routing.upstreams.upstream import DROPPED, MOST_ANSWER, Reply, Unfit, UpstreamError, WholeReply
from gateway.wire.headers import NO_HEADERS

if TYPE_CHECKING:
    from gateway.routing.upstreams.exchange import WireRecord

REQUEST_FIELDS: Final = parameters.OPENAI | parameters.PROVIDERS_OWN | {"messages"}
"""The fields of a chat completion that a client may set on the way through litellm."""

_EFFORT: Final = ("reasoning_effort", "thinking")
"""The fields that say how much to reason."""

_OWN_PARAMS: Final = frozenset(
    """
    model api_base base_url api_key timeout stream_timeout stream stream_options max_retries num_retries client
    messages weight order rpm tpm tags fallbacks context_window_fallbacks mock_response model_list callbacks
    caching
    """.split()  # noqa: SIM905  # as above
)
"""Keys of `litellm_params` that are LiteLLM's router's business, or ours."""

_ENVIRONMENT: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
    "LITELLM_DISABLE_BUG_REPORT_LINK": "True",
    "LITELLM_MODE": "PRODUCTION",  # else it reads a .env file from wherever it is started
    "LITELLM_LOG": "CRITICAL",
}

_SETTINGS: Final[Mapping[str, Any]] = {
    "drop_params": True,  # a fallback from one provider to another must not fail over `seed`
    "suppress_debug_info": True,
    "turn_off_message_logging": True,
    "disable_hf_tokenizer_download": True,
    "num_retries": None,
    "success_callback": [],
    "failure_callback": [],
    "callbacks": [],
    "cache": None,
}

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}

_WORDS: Final = frozenset({"text", "refusal", "thinking", "redacted_thinking", "reasoning"})
"""Types of parts that hold what was said, in which an address is only an address."""

_JSON: Final = {"content-type": "application/json"}
_EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8"}


class Translated:
    """The upstream of every deployment of kind `translated`."""

    def __init__(self, network: Network = HERE, most: int = MOST_ANSWER) -> None:
        self._network, self._most = network, most
        self._litellm: Any = None
        self._wire: Any = None
        self._handlers: dict[float, Any] = {}
        self._supported: dict[str, tuple[str, frozenset[str]]] = {}
        """The parameters that litellm says a deployment takes, by its name and model: many go by the name of a
        wildcard."""
        self._loading: asyncio.Lock = asyncio.Lock()

    async def load(self) -> None:
        """Import litellm now instead of at the first request."""
        async with self._loading:
            if self._litellm is None:
                litellm = await asyncio.to_thread(_import_litellm)
                self._wire = importlib.import_module("gateway.routing.upstreams.exchange").Wire(self._network)
                _speak_through(self._wire, litellm)
                self._litellm = litellm

    async def module(self, name: str) -> Any:
        """Return one of litellm's modules, for those who sign as it does."""
        await self.load()
        return await asyncio.to_thread(importlib.import_module, f"litellm.{name}")

    async def send(
        self,
        deployment: Deployment,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Reply:
        if self._litellm is None:
            await self.load()
        fields = orjson.loads(body)
        if deployment.operation not in ("chat", None):
            return await self._metered(deployment, fields)
        if (url := _unfetched(deployment.provider, fields.get("messages"))) is not None:
            raise Unfit("messages", f"{deployment.provider} cannot read {url[:200]!r} itself and the gateway fetches "
                        "nothing: send the content as a data: URL")  # fmt: skip
        exchange_module = importlib.import_module("gateway.routing.upstreams.exchange")
        facts, secrets = provider_of(deployment.provider), deployment.secrets
        exchange: WireRecord = exchange_module.WireRecord(end_marker=facts.end_marker, own=secrets, most=self._most)
        if stream and facts.stream_reader is not None:
            exchange.events = facts.stream_reader()
        token = exchange_module.current.set(exchange)
        try:
            chosen = self._chosen(deployment, fields)
            messages = fields.get("messages")
            if b"thinking_blocks" in body:
                messages = without_numbers(messages)
            call = self._call(deployment, {"messages": messages, **chosen.fields}, stream)
            if headers:  # the deployment's own come before the client's, however they are written
                own = {**(call.get("headers") or {}), **(call.get("extra_headers") or {})}
                taken = {name.lower() for name in own}
                others = {name: value for name, value in headers.items() if name not in taken}
                call["extra_headers"] = {**others, **(call.get("extra_headers") or {})}
            return await self._ask(deployment, call, exchange, chosen)
        except _ErrorAnswer as answer:
            return answer.reply
        finally:
            exchange_module.current.reset(token)

    async def _metered(self, deployment: Deployment, fields: Mapping[str, Any]) -> Reply:
        """Ask for embeddings or a reranking. Raises as `send` does."""
        name = f"{deployment.provider}/{deployment.model}"
        exchange_module = importlib.import_module("gateway.routing.upstreams.exchange")
        exchange: WireRecord = exchange_module.WireRecord(end_marker=None, own=deployment.secrets, most=self._most)
        embeds = deployment.operation == "embeddings"
        if embeds:
            listed = self._litellm.get_supported_openai_params(
                deployment.model, custom_llm_provider=deployment.provider, request_type="embeddings"
            )
            sized = deployment.provider in SIZED or "dimensions" in (listed or ())
            chosen = embedding_fields(fields, name, sized=sized)
        else:
            chosen = rerank_fields(fields)
        call = self._call(deployment, chosen, stream=False)
        del call["_skip_mcp_handler"]
        token = exchange_module.current.set(exchange)
        try:
            answer = await (self._litellm.aembedding(**call) if embeds else self._litellm.arerank(**call))
            packed = fields.get("encoding_format") == "base64"
            model, provider = deployment.model, deployment.provider
            written = (
                written_embeddings(answer, model, provider, packed=packed) if embeds else written_reranking(answer)
            )
        except Exception as error:  # the door, as in `_ask`
            await exchange.abort()
            failure = _failure(error, exchange, self._litellm)
            if isinstance(failure, _ErrorAnswer):
                return failure.reply
            raise failure from error
        finally:
            exchange_module.current.reset(token)
        return WholeReply(200, _JSON | _ids(exchange), (written,))

    async def close(self) -> None:
        if self._litellm is None:
            return
        worker = importlib.import_module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER
        worker.start()  # on this loop, lest it waits for what it was given on one that is closed
        await worker.stop()
        self._handlers.clear()
        self._litellm.in_memory_llm_clients_cache.flush_cache()
        if (client := vars(self._litellm).pop("module_level_aclient", None)) is not None:
            await client.close()  # Ollama's vectors are asked for by it; litellm makes another where one is wanted
        await self._wire.shut()

    def _chosen(self, deployment: Deployment, fields: Mapping[str, Any]) -> Chosen:
        """Choose what of a request goes to this deployment. Raises `Unfit` where it cannot serve it."""
        model, supported = self._supported.get(deployment.name, ("", frozenset()))
        if model != deployment.model:
            listed = self._litellm.get_supported_openai_params(
                deployment.model, custom_llm_provider=deployment.provider
            )
            supported = frozenset(listed or ())
            self._supported[deployment.name] = deployment.model, supported
        facts = provider_of(deployment.provider)
        if facts.always_reasons and facts.always_reasons in deployment.model:
            fields = {name: held for name, held in fields.items() if name not in _EFFORT}
        chosen = parameters.provider_parameters(fields, supported, writes_tools=facts.writes_tools)
        if chosen.unfit is not None:
            name = f"{deployment.provider}/{deployment.model}"
            raise Unfit(chosen.unfit, f"`{chosen.unfit}` cannot be served by {name}: leave it out, or ask for another "
                        "model.")  # fmt: skip
        return chosen

    async def _ask(self, deployment: Deployment, call: dict[str, Any], exchange: WireRecord, chosen: Chosen) -> Reply:
        dropped = {DROPPED: ", ".join(chosen.dropped)} if chosen.dropped else {}
        by_function = chosen.calls_by_function
        try:
            answer = await self._litellm.acompletion(**call)
            if call.get("stream"):
                # Some providers are only called when the first chunk is asked for: before it there is no status.
                first = await anext(answer)
                is_one = call.get("n") in (None, 1)
                return StreamedReply(
                    answer, first, exchange, deployment.model, dropped, by_function=by_function, is_one=is_one
                )
            body = orjson.dumps(_completion(answer, deployment.model, by_function=by_function))
            return WholeReply(200, _JSON | _ids(exchange) | dropped, (body,))
        except Exception as error:  # the door: litellm raises whatever its providers raise
            await exchange.abort()
            raise _failure(error, exchange, self._litellm) from error

    def _call(self, deployment: Deployment, fields: Mapping[str, Any], stream: bool) -> dict[str, Any]:
        """Return litellm's keywords for a request."""
        call = {name: value for name, value in deployment.params.items() if name not in _OWN_PARAMS}
        call = {**self._unstored(deployment), **call, **fields}
        call |= {
            "model": f"{deployment.provider}/{deployment.model}",
            "api_base": deployment.api_base,
            "api_key": deployment.api_key,
            "timeout": deployment.timeout,
            "client": self._handler(deployment.timeout),
            "no-log": True,
            "_skip_mcp_handler": True,  # else tools make it import what its wheel does not depend on
        }
        if stream:
            call |= {"stream": True, "stream_options": {"include_usage": True}}
        return call

    def _unstored(self, deployment: Deployment) -> dict[str, Any]:
        """Return what a chat means that says nothing of it, where Responses mean otherwise: they are kept, and then
        give their reasoning back by its id alone (platform.openai.com/docs/guides/migrate-to-responses, /reasoning).
        """
        way = provider_of(deployment.provider).translated_models
        if not way or not deployment.model.startswith(way):
            return {}
        _, supported = self._supported.get(deployment.name, ("", frozenset()))
        encrypted = {"include": ["reasoning.encrypted_content"]} if "reasoning_effort" in supported else {}
        return {"store": False, **encrypted}

    def _handler(self, timeout: float) -> Any:
        """Return litellm's HTTP handler over our own transport. One for each timeout: some providers pass none on."""
        handler = self._handlers.get(timeout)
        if handler is None:
            kind = importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
            handler = kind(timeout=timeout, transport=self._wire, follow_redirects=False)
            self._handlers[timeout] = handler
        return handler


class StreamedReply:
    """A stream of litellm's, written as chat completion events."""

    __slots__ = ("_by_function", "_exchange", "_first", "_is_one", "_model", "_numbers", "_stream", "headers", "status")

    def __init__(
        self,
        stream: Any,
        first: Any,
        exchange: WireRecord,
        model: str,
        headers: dict[str, str],
        *,
        by_function: bool = False,
        is_one: bool = False,
    ) -> None:
        stream.chunks = _Recent(stream.chunks)
        self._stream = stream
        self._first = first
        self._exchange = exchange
        self._model = model
        self._numbers = PieceNumbers()
        self.status = 200
        self.headers: Mapping[str, str] = _EVENTS | _ids(exchange) | headers
        self._by_function, self._is_one = by_function, is_one

    is_over = False  # what litellm has read is not known

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        usage: dict[str, Any] | None = None
        head: dict[str, Any] = {}
        try:
            async for chunk in self._all():
                head = {
                    "id": chunk.id,
                    "object": "chat.completion.chunk",
                    "created": chunk.created,
                    "model": self._model,
                }
                usage = _usage(getattr(chunk, "usage", None)) or usage
                for choice in _choices(chunk):
                    self._believe(choice)
                    if self._is_one:
                        choice["index"] = 0  # of a response, litellm numbers the parts of its reasoning here
                    self._numbers.renumber(choice["delta"])
                    if choice["finish_reason"] == "tool_calls" and not self._numbers.has_calls:
                        choice["finish_reason"] = "stop"  # it was the call by which litellm has a schema kept
                    if self._by_function:
                        _call_by_function(choice, choice["delta"])
                    yield _event({**head, "choices": [choice]})
        except UpstreamError:
            raise
        except Exception as error:  # the door, as in `send`
            raise _cut(error, self._exchange) from error
        if usage is not None and self._reported():
            yield _event({**head, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"
        self._exchange.open.clear()

    async def close(self) -> None:
        await self._exchange.abort()
        await self._stream.aclose()

    async def _all(self) -> AsyncIterator[Any]:
        yield self._first
        async for chunk in self._stream:
            yield chunk

    def _believe(self, choice: Mapping[str, Any]) -> None:
        """Refuse the "stop" that litellm makes up for a stream whose provider never said it had finished."""
        if choice["finish_reason"] is None:
            return
        stream, exchange = self._stream, self._exchange
        said = getattr(stream, "received_finish_reason", None) or getattr(stream, "intermittent_finish_reason", None)
        if said is None or (exchange.end_marker is not None and not exchange.ended):
            raise UpstreamError("reset", "the stream ended before the provider said that it had finished")

    def _reported(self) -> bool:
        """Whether the usage is the provider's: litellm estimates one where none came, and says nothing of it."""
        return any(getattr(chunk, "usage", None) is not None for chunk in self._stream.chunks)


class _Recent(list[Any]):
    """litellm's chunks of one stream: it keeps all of them, to count what a provider does not report.

    We count ourselves. The latest are kept, which it looks at to see a model repeat itself, and those with usage.
    """

    def append(self, chunk: Any) -> None:
        super().append(chunk)
        if len(self) > 2 * _RECENT:
            self[:] = [one for one in self[:-_RECENT] if getattr(one, "usage", None)][-_RECENT:] + self[-_RECENT:]


_RECENT: Final = 128
"""More than its REPEATED_STREAMING_CHUNK_LIMIT, which is 100."""


def _import_litellm() -> Any:
    os.environ.update(_ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own code and pydantic's, about each other; nobody here can heed them
        litellm = importlib.import_module("litellm")
        for name in ("Message", "ModelResponse", "ModelResponseStream", "Usage"):
            getattr(litellm, name)()  # pydantic builds these at their first use: better now than in a request
    # The same of what it only imports when a provider is asked for.
    warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier", category=UserWarning)
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    for name, value in _SETTINGS.items():
        setattr(litellm, name, value)
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).disabled = True
    return litellm


def _speak_through(wire: Any, litellm: Any) -> None:
    """Have the clients that litellm makes by itself use our transport too: some providers take none that is handed."""
    kind = importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
    kind.create_async_transport = staticmethod(lambda *_, **__: wire)
    kind.create_httpx_proxy_mounts = staticmethod(lambda *_, **__: None)
    litellm.in_memory_llm_clients_cache.flush_cache()
    # The way to the Responses API asks whether its proxy has tools for the call, with packages that its wheel lacks.
    responses = importlib.import_module("litellm.responses.main")
    setattr(responses, "_responses_try_dispatch_mcp_gateway", lambda **_: None)  # noqa: B010  # a foreign private name
    way = "litellm.completion_extras.litellm_responses_transformation.transformation"
    write_as_documented(
        importlib.import_module(way).LiteLLMResponsesTransformationHandler,
        importlib.import_module("litellm.llms.anthropic.chat.transformation").AnthropicConfig,
        (importlib.import_module("litellm.llms.azure_ai.anthropic.transformation").AzureAnthropicConfig,),
    )


# ---- requests


def _unfetched(provider: str, messages: Any) -> str | None:
    """Return the first URL in the messages' media that litellm would have to fetch."""
    fetches = provider_of(provider).fetches
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or part.get("type") in _WORDS:
                continue
            for text in _strings(part):
                if "://" in text and not text.startswith(fetches):
                    return text
    return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


# ---- answers


def _ids(exchange: WireRecord) -> dict[str, str]:
    """Return what is passed on of the upstream's headers; Anthropic's name for its id becomes OpenAI's."""
    names = {"request-id": "x-request-id"}
    return {names.get(name, name): value for name, value in exchange.headers.items() if name != "content-type"}


def _plain(value: Any) -> Any:
    """Turn one of litellm's models into JSON without its nulls."""
    return value.model_dump(exclude_none=True, mode="json") if hasattr(value, "model_dump") else value


def _call_by_function(choice: dict[str, Any], said: dict[str, Any]) -> None:
    """Write a choice as those who sent `functions` read it."""
    parameters.as_function(said)
    if choice["finish_reason"] == "tool_calls":
        choice["finish_reason"] = "function_call"


def _completion(answer: Any, model: str, *, by_function: bool = False) -> dict[str, Any]:
    choices = []
    for choice in answer.choices:
        said = {name: value for name, value in _plain(choice.message).items() if value != []}
        message = {"role": "assistant", "content": None, **said}
        for call in message.get("tool_calls", ()):
            call.pop("index", None)  # belongs to streams, and counts other blocks too
        reason = choice.finish_reason
        if reason == "stop" and message.get("tool_calls"):
            reason = "tool_calls"  # litellm does not read Cohere's reason
        choices.append(
            {"index": choice.index, "message": message, "logprobs": _plain(getattr(choice, "logprobs", None)),
             "finish_reason": reason}
        )  # fmt: skip
        if by_function:
            _call_by_function(choices[-1], message)
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": model,
        "choices": choices,
        "usage": _usage(getattr(answer, "usage", None)),
    }


def _choices(chunk: Any) -> Iterator[dict[str, Any]]:
    for choice in chunk.choices:
        delta = _plain(choice.delta)
        if delta or choice.finish_reason is not None:
            yield {"index": choice.index, "delta": delta, "finish_reason": choice.finish_reason}


def _usage(usage: Any) -> dict[str, Any] | None:
    """Return usage as on OpenAI's wire: cached and cache-write tokens are in the prompt's, reasoning in the answer's.

    Without the cost that litellm works out: ours is the ledger's.
    """
    if usage is None:
        return None
    return {name: value for name, value in _plain(usage).items() if name != "cost"}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


# ---- failures


class _ErrorAnswer(Exception):
    """The upstream, or litellm in its place, answered with an error."""

    def __init__(self, reply: WholeReply) -> None:
        super().__init__(reply.status)
        self.reply: Final = reply


def _failure(error: Exception, exchange: WireRecord, litellm: Any) -> _ErrorAnswer | UpstreamError:
    """Say what a call that did not succeed comes to. The table of this door:

    | on the wire | here |
    |---|---|
    | no connection, silence, a break | that `UpstreamError` |
    | a status from 400 on | the same status, its body in OpenAI's shape |
    | a good status that litellm could not read | `garbage` |
    | nothing: litellm refused | its status where it blames the request, else `garbage` |
    """
    if exchange.trouble is not None:
        return exchange.trouble
    if exchange.error_body is not None and exchange.status is not None:
        return _ErrorAnswer(_error_reply(exchange.status, exchange.error_body, _ids(exchange)))
    if isinstance(error, litellm.Timeout):
        return UpstreamError("timeout", "no answer in time")
    status = getattr(error, "status_code", None)
    if exchange.status is None and status in _TYPES and not isinstance(error, litellm.RateLimitError):
        return _ErrorAnswer(_error_reply(status, _words(error, exchange).encode(), {}))
    return UpstreamError("garbage", "the answer could not be read", _words(error, exchange))


def _cut(error: Exception, exchange: WireRecord) -> UpstreamError:
    """Say what broke a stream: the connection, silence, or the provider with an error event."""
    if exchange.trouble is not None:
        return exchange.trouble
    return UpstreamError("reset", "the stream could not be read on", _words(error, exchange))


def _words(error: Exception, exchange: WireRecord) -> str:
    """Return an exception's text without secrets, and without the names that litellm puts before it."""
    text = exchange.secrets.out_of_text(str(getattr(error, "message", None) or error))
    while text.startswith("litellm.") and ": " in text:
        text = text.split(": ", 1)[1]
    return text.partition("\nTraceback (")[0][:1000]


def _error_reply(status: int, body: bytes, headers: Mapping[str, str]) -> WholeReply:
    """Write a provider's error in OpenAI's shape; its own object goes along as `provider_error`."""
    error = _error_object(body)
    message = str(error.get("message") or body[:1000].decode(errors="replace") or f"status {status}")
    kind = error.get("type")
    code = error.get("status") or error.get("code")
    if too_long(status, body) is not None:
        code = "context_length_exceeded"
    elif status == 429:
        code = "rate_limit_exceeded"
    kind = kind if isinstance(kind, str) else _TYPES.get(status, "api_error")
    text = _error_body(message, kind, code if isinstance(code, str) else None, None, error or None)
    return WholeReply(status, {**_JSON, **headers}, (text,))


def _error_object(body: bytes) -> dict[str, Any]:
    """Find the object that names an error: Anthropic and Gemini put it under `error`, a Gemini stream in a list."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(data, list) and data:
        data = data[0]
    error = data.get("error", data) if isinstance(data, dict) else None
    return error if isinstance(error, dict) else {}


def _error_body(message: str, kind: str, code: str | None, param: str | None, provider: Any) -> bytes:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return orjson.dumps({"error": error if provider is None else {**error, "provider_error": provider}})
