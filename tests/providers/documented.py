"""Where each provider's documentation puts its chat, and who it lets in: a server that answers nothing else.

Written apart from `gateway/providers/table.py`, from the providers' own pages. One server stands for all of them, each
below a path of its name. What is not asked for as documented is answered 404, or 401 where the key is missing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web

from gateway.providers.table import PROVIDERS
from tests.providers import wires
from tests.providers.serving import Received
from tests.providers.wires import Wire

KEY: Final = "key-of-"
TOKEN: Final = "token-of-vertex"
_BEARER: Final = ("authorization", "Bearer {key}")


@dataclass(frozen=True)
class Documented:
    """One provider's chat, relative to its server."""

    base: str = "/v1"
    """What `api_base` ends in."""
    path: str = "/v1/chat/completions"
    streamed: str = ""
    """The path of a stream, where it is another."""
    query: Mapping[str, str] = field(default_factory=dict)
    streamed_query: Mapping[str, str] = field(default_factory=dict)
    auth: tuple[str, str] = _BEARER
    """A header, and the pattern that its value matches; `{key}` stands for the key."""
    wire: Wire = wires.OPENAI
    model: str = "m"
    sent_model: str = ""
    """What the body calls it, where it is called otherwise there."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """More of `litellm_params`."""
    has_key: bool = True
    images: bool = True
    tools: bool = True
    usage: bool = True
    """Of a stream too."""


_AT_V1: Final = Documented("", "/v1/chat/completions")
_VERTEX: Final = "/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash"

DOCUMENTED: Final[Mapping[str, Documented]] = {
    # learn.microsoft.com/azure/ai-foundry/openai/reference
    "azure": Documented(
        "", "/openai/deployments/m/chat/completions", query={"api-version": "2024-10-21"}, auth=("api-key", "{key}"),
        params={"api_version": "2024-10-21"},
    ),
    # learn.microsoft.com/rest/api/aifoundry/model-inference
    "azure_ai": Documented(
        "", "/chat/completions", query={"api-version": "2024-05-01-preview"},
        params={"api_version": "2024-05-01-preview"},
    ),
    # docs.claude.com/en/api/messages
    "anthropic": Documented(
        "", "/v1/messages", auth=("x-api-key", "{key}"), wire=wires.ANTHROPIC, model="claude-sonnet-4-5"
    ),
    # docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    "bedrock": Documented(
        "", "/model/amazon.nova-pro-v1:0/converse", "/model/amazon.nova-pro-v1:0/converse-stream",
        auth=("authorization", r"AWS4-HMAC-SHA256 Credential=AKIATEST/\d{8}/eu-west-1/bedrock/aws4_request, .*"),
        wire=wires.BEDROCK, model="amazon.nova-pro-v1:0", has_key=False,
        params={
            "aws_access_key_id": "AKIATEST", "aws_secret_access_key": "made", "aws_region_name": "eu-west-1"
        },
    ),
    # docs.cohere.com/reference/chat
    "cohere": Documented("/v2/chat", "/v2/chat", wire=wires.COHERE, model="command-r-plus"),
    "cohere_chat": Documented("/v2/chat", "/v2/chat", wire=wires.COHERE, model="command-r-plus"),
    # docs.databricks.com/machine-learning/foundation-model-apis/api-reference
    "databricks": Documented("/serving-endpoints", "/serving-endpoints/chat/completions"),
    # ai.google.dev/api/generate-content
    "gemini": Documented(
        "/v1beta", "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent", streamed_query={"alt": "sse"},
        auth=("x-goog-api-key", "{key}"), wire=wires.GOOGLE, model="gemini-2.5-flash",
    ),
    # cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
    "vertex_ai": Documented(
        _VERTEX, f"{_VERTEX}:generateContent", f"{_VERTEX}:streamGenerateContent", streamed_query={"alt": "sse"},
        auth=("authorization", f"Bearer {TOKEN}"), wire=wires.GOOGLE, model="gemini-2.5-flash", has_key=False,
        params={"vertex_project": "p", "vertex_location": "us-central1"},
    ),
    # docs.ollama.com/api
    "ollama": Documented("", "/api/generate", wire=wires.OLLAMA, model="llava"),
    "ollama_chat": Documented("", "/api/chat", wire=wires.OLLAMA_CHAT, model="llava"),
    # docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api
    "snowflake": Documented("/api/v2", "/api/v2/cortex/v1/chat/completions", usage=False),
    # docs.fireworks.ai/api-reference/post-chatcompletions
    "fireworks_ai": Documented(
        "/inference/v1", "/inference/v1/chat/completions", sent_model="accounts/fireworks/models/m"
    ),
    "cometapi": _AT_V1, "heroku": _AT_V1, "minimax": _AT_V1, "mistral": _AT_V1,
    "huggingface": Documented("", "/v1/chat/completions"),
    "sarvam": Documented(auth=("api-subscription-key", "{key}")),
}  # fmt: skip
"""Those whose documentation says more than that the path is /chat/completions, and the key a bearer token."""

_CLAUDE_ON_VERTEX: Final = "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5"

VARIANTS: Final[Mapping[str, Documented]] = {
    # learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
    "azure+responses": Documented(
        "", "/openai/responses", query={"api-version": "2025-04-01-preview"}, auth=("api-key", "{key}"),
        wire=wires.RESPONSES, model="responses/gpt-5-codex", params={"api_version": "2025-04-01-preview"},
    ),
    # platform.openai.com/docs/api-reference/responses
    "openai+responses": Documented("/v1", "/v1/responses", wire=wires.RESPONSES, model="responses/gpt-5-codex"),
    # docs.claude.com/en/api/claude-on-vertex-ai
    "vertex_ai+claude": Documented(
        _CLAUDE_ON_VERTEX, f"{_CLAUDE_ON_VERTEX}:rawPredict", f"{_CLAUDE_ON_VERTEX}:streamRawPredict",
        streamed_query={"alt": "sse"}, auth=("authorization", f"Bearer {TOKEN}"), wire=wires.ANTHROPIC,
        model="claude-sonnet-4-5", has_key=False,
        params={"vertex_project": "p", "vertex_location": "us-east5"},
    ),
    "bedrock+claude": replace(
        DOCUMENTED["bedrock"], model="anthropic.claude-3-5-sonnet-20240620-v1:0",
        path="/model/anthropic.claude-3-5-sonnet-20240620-v1:0/converse",
        streamed="/model/anthropic.claude-3-5-sonnet-20240620-v1:0/converse-stream",
    ),
    # learn.microsoft.com/azure/ai-foundry/foundry-models/how-to/use-foundry-models-claude
    "azure_ai+claude": Documented(
        "", "/anthropic/v1/messages", auth=("x-api-key", "{key}"), wire=wires.ANTHROPIC, model="claude-sonnet-4-5"
    ),
}  # fmt: skip
"""Models of a provider that have a way of their own, by its name and theirs."""


def documented(name: str) -> Documented:
    return VARIANTS.get(name) or DOCUMENTED.get(name, Documented())


def provider(name: str) -> str:
    """Return the provider of one of the names that are asked."""
    return name.partition("+")[0]


@dataclass
class Proxy:
    """A proxy that lets nobody through, and remembers where they wanted to go."""

    asked: list[str] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        self.asked.append(line.decode())
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 502 Nobody Passes\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@dataclass
class Everybody:
    """The server. What came is kept by provider, for each of its two ports apart."""

    received: dict[str, dict[str, list[Received]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    urls: dict[str, str] = field(default_factory=dict)
    """By who is meant to ask there."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        _, name, *_ = request.path.split("/", 2)
        if name == "token":
            return web.json_response({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        raw = await request.read()
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        whose = next((who for who, url in self.urls.items() if url.endswith(f":{port}")), "")
        how = documented(name)
        streams = _streams(request, how, raw)
        headers = {key.lower(): value for key, value in request.headers.items()}
        self.received[whose][name].append(Received(request.path_qs, headers, raw, streams))
        if provider(name) not in PROVIDERS:
            return web.json_response({"error": {"message": f"nobody is called {name}"}}, status=404)
        return await _answer(request, how, name, json.loads(raw or b"{}"), streams=streams)


def _streams(request: web.Request, how: Documented, raw: bytes) -> bool:
    if how.streamed:
        return request.path.endswith(how.streamed)
    asked = json.loads(raw).get("stream")
    return asked is True or (asked is None and how.wire in (wires.OLLAMA, wires.OLLAMA_CHAT))  # its default


async def _answer(
    request: web.Request, how: Documented, name: str, body: dict[str, Any], *, streams: bool
) -> web.StreamResponse:
    path = (how.streamed if streams else "") or how.path
    query = (how.streamed_query if streams else {}) or how.query
    if request.method != "POST" or request.path != f"/{name}{path}" or dict(request.query) != dict(query):
        return web.json_response({"error": {"message": f"no route {request.path_qs}"}}, status=404)
    header, pattern = how.auth
    if not re.fullmatch(pattern.replace("{key}", KEY + re.escape(name)), request.headers.get(header, "")):
        return web.json_response({"error": {"message": f"{header} is not {pattern}"}}, status=401)
    if not streams:
        return web.json_response(how.wire.whole(body))
    response = web.StreamResponse(headers={"content-type": how.wire.content_type})
    await response.prepare(request)
    for event in how.wire.stream(body):
        await response.write(event)
    await response.write_eof()
    return response


HOMES: Final[Mapping[str, str]] = {
    "amazon_nova": "api.nova.amazon.com",
    "ai21": "api.ai21.com",
    "anthropic": "api.anthropic.com",
    "bedrock": "bedrock-runtime.eu-west-1.amazonaws.com",
    "cohere": "api.cohere.com",
    "cohere_chat": "api.cohere.com",
    "cometapi": "api.cometapi.com",
    "compactifai": "api.compactif.ai",
    "gemini": "generativelanguage.googleapis.com",
    "huggingface": "router.huggingface.co",
    "maritalk": "chat.maritaca.ai",
    "minimax": "api.minimax.io",
    "openai": "api.openai.com",
    "openrouter": "openrouter.ai",
    "ovhcloud": "oai.endpoints.kepler.ai.cloud.ovh.net",
    "snowflake": "org-account.snowflakecomputing.com",
    "vercel_ai_gateway": "ai-gateway.vercel.sh",
    "vertex_ai": "us-central1-aiplatform.googleapis.com",
}
"""Where they are, of those that litellm knows no address of before a request; from their own pages."""


def at_home(name: str, credentials: str) -> dict[str, Any]:
    """Return the `litellm_params` of a provider where it is; those that somebody must run have no home."""
    found = {key: value for key, value in params(name, "", credentials).items() if key != "api_base"}
    return found | ({"account_id": "org-account"} if name == "snowflake" else {})


def params(name: str, url: str, credentials: str) -> dict[str, Any]:
    """Return the `litellm_params` of a provider on this server; `credentials` is Vertex's service account, as JSON."""
    how = documented(name)
    found = {"model": f"{provider(name)}/{how.model}", "api_base": f"{url}/{name}{how.base}", **how.params}
    if how.has_key:
        found["api_key"] = KEY + name
    if provider(name) == "vertex_ai":
        found["vertex_credentials"] = credentials
    return found
