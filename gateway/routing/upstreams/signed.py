"""Claude on Amazon Bedrock and on Vertex AI in Anthropic's own shape: the bytes of messages as they are, under an
address and a signature that are made for each request.

litellm knows every way of signing in to the two clouds: keys, roles, profiles, service accounts, metadata servers. Its
signers are asked here, in threads where they may wait for somebody; none of its translations is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.providers.addresses import Endpoint
from gateway.providers.bedrock_events import BrokenFrame
from gateway.providers.credentials import signatures
from gateway.providers.provider import Envelope, Provider, StreamReader
from gateway.providers.table import provider_of
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.direct import Direct, DirectReply
from gateway.routing.upstreams.upstream import ERROR_BYTES, UpstreamError
from gateway.wire.headers import NO_HEADERS
from gateway.wire.outgoing import with_edits_of, with_other_members
from gateway.wire.secrets import Secrets, secrets

BETA: Final = "anthropic-beta"
FRAMES: Final = "application/vnd.amazon.eventstream"
_EVENTS: Final = "text/event-stream; charset=utf-8"
_JSON: Final = {"Content-Type": "application/json"}
_OF_THE_CONNECTION: Final = frozenset({"host", "content-length"})

_BEDROCK: Final = "llms.bedrock.messages.invoke_transformations.anthropic_claude3_transformation"
_AWS: Final = "llms.bedrock.base_aws_llm"
_VERTEX: Final = "llms.vertex_ai.vertex_ai_partner_models.anthropic.experimental_pass_through.transformation"
_PARTNERS: Final = "types.llms.vertex_ai"

Door = Callable[[str], Awaitable[Any]]
"""Returns one of litellm's modules."""


class Signed:
    """The upstream of every deployment of kind `signed`."""

    def __init__(self, direct: Direct, door: Door) -> None:
        """Load nothing yet. What is signed is sent by `direct`."""
        self._direct, self._door = direct, door
        self._modules: dict[str, Any] = {}
        self._signers: dict[str, Any] = {}
        self._places: dict[tuple[str, bool], _Place] = {}

    async def send(
        self,
        deployment: Deployment,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> SignedReply:
        way = _way(deployment)
        assert way.envelope is not None
        body, headers = enveloped(body, way.envelope, headers)
        try:
            there = await self._signed(deployment, way.envelope, body, stream=stream)
        except UpstreamError:
            raise
        except Exception as error:  # whatever a library of a cloud raises where nobody lets it sign in
            said = deployment.secrets.out_of_text(f"{type(error).__name__}: {error}"[:300])
            raise UpstreamError("authentication", f"the request could not be signed: {said}") from error
        reply = await self._direct.send_signed(
            deployment, there, body, stream=stream, request_id=request_id, headers=headers
        )

        def made() -> Secrets:
            return secrets(tuple(dict.fromkeys((*deployment.secrets.texts, *signatures(there.headers)))))

        return SignedReply(reply, made, way)

    async def close(self) -> None:
        await self._direct.close()

    async def _signed(self, deployment: Deployment, envelope: Envelope, body: bytes, *, stream: bool) -> Endpoint:
        """Return the address of a request, and the headers that sign it."""
        if envelope.cloud == "google":
            return await self._on_vertex(deployment, stream=stream)
        signer = await self._signer(_BEDROCK, "AmazonAnthropicClaudeMessagesConfig")
        aws = await self._module(_AWS)
        at = deployment.name, stream
        place = self._places.get(at)
        if place is None or place.deployment is not deployment:
            place = self._places[at] = await asyncio.to_thread(_bedrock_place, signer, deployment, stream)
        return await asyncio.to_thread(_on_bedrock, signer, aws, place, body)

    async def _on_vertex(self, deployment: Deployment, *, stream: bool) -> Endpoint:
        """Return the address of a model on Vertex AI, and a token that is kept until it is about to end."""
        signer = await self._signer(_VERTEX, "VertexAIPartnerModelsAnthropicMessagesConfig")
        partner = (await self._module(_PARTNERS)).VertexPartnerProvider.claude
        params = dict(deployment.params)
        named = signer.safe_get_vertex_ai_project(params)
        token, project = await signer.ensure_access_token_async(
            signer.safe_get_vertex_ai_credentials(params), named, "vertex_ai"
        )
        url = signer.get_complete_vertex_url(
            custom_api_base=deployment.api_base,
            vertex_location=signer.safe_get_vertex_ai_location(params),
            vertex_project=named,
            project_id=project or "",
            partner=partner,
            stream=stream,
            model=deployment.model,
        )
        return Endpoint(url, {"Authorization": f"Bearer {token}"}, is_signed=True)

    async def _signer(self, module: str, name: str) -> Any:
        """Return one of litellm's signers; each keeps the tokens that it was given."""
        signer = self._signers.get(name)
        if signer is None:
            signer = self._signers[name] = getattr(await self._module(module), name)()
        return signer

    async def _module(self, name: str) -> Any:
        """Return one of litellm's modules, which is asked for at the first request alone."""
        module = self._modules.get(name)
        if module is None:
            module = self._modules[name] = await self._door(name)
        return module


@dataclass(frozen=True, slots=True)
class _Place:
    """The parts of a signature that all requests to one address have in common."""

    deployment: Deployment
    url: str
    region: str
    headers: Mapping[str, str] = field(repr=False)
    """Of the entry's own, those that AWS wants signed are."""


def _bedrock_place(signer: Any, deployment: Deployment, stream: bool) -> _Place:
    """Work out the address and the region of a model on Bedrock, which may ask the machine for its own."""
    params = dict(deployment.params)
    region = signer.get_aws_region_name(dict(params), deployment.model)
    url = signer.get_complete_url(deployment.api_base, deployment.api_key, deployment.model, params, {}, stream=stream)
    own = {**deployment.params.get("headers", {}), **deployment.params.get("extra_headers", {})}
    return _Place(deployment, url, region, {name: str(value) for name, value in own.items()})


def _on_bedrock(signer: Any, aws: Any, place: _Place, body: bytes) -> Endpoint:
    """Sign a request to Bedrock; where there is a key of Bedrock's, that goes along instead."""
    one = place.deployment
    credentials = None
    if aws.bedrock_bearer_token(one.api_key) is None:
        credentials = signer.resolve_credentials(aws.AwsAuthParams(**one.params), place.region)
    signed = signer.get_request_headers(
        credentials, place.region, None, place.url, body, {**place.headers, **_JSON}, one.api_key
    )
    made = {name: str(value) for name, value in signed.headers.items() if name.lower() not in _OF_THE_CONNECTION}
    return Endpoint(place.url, made, is_signed=True)


def _way(deployment: Deployment) -> Provider:
    """Return the way by which a deployment is asked."""
    assert deployment.operation is not None
    return provider_of(deployment.provider).speaks[deployment.operation]


def enveloped(body: bytes, envelope: Envelope, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """Return a body as a cloud wants it, and the headers that still go beside it."""
    put_in: dict[str, Any] = {"anthropic_version": envelope.version}
    if envelope.holds_betas and BETA in headers:
        put_in["anthropic_beta"] = headers[BETA].split(",")
        headers = {name: value for name, value in headers.items() if name != BETA}
    if envelope.edits is not None:
        body = with_edits_of(body, envelope.edits)
    return with_other_members(body, envelope.taken_out, put_in), headers


class SignedReply:
    """An answer that is still arriving, its frames taken off, and what signed the request taken out of an error."""

    __slots__ = ("_reader", "_reply", "_signed", "headers", "status")

    def __init__(self, reply: DirectReply, secrets_of: Callable[[], Secrets], way: Provider) -> None:
        self._reply, self._signed = reply, secrets_of
        self.status = reply.status
        self.headers = reply.headers
        self._reader: StreamReader | None = None
        if reply.status >= 400:
            self.headers = secrets_of().out_of_headers(reply.headers)
        elif way.stream_reader is not None and reply.headers.get("content-type", "").startswith(FRAMES):
            self._reader = way.stream_reader()
            self.headers = {**reply.headers, "content-type": _EVENTS}

    def __repr__(self) -> str:
        return f"SignedReply({self.status})"

    async def read(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.status >= 400:
            yield self._signed().out_of(await self._beginning())
            return
        reader = self._reader
        try:
            async for part in self._reply.chunks():
                if said := part if reader is None else reader.feed(part):
                    yield said
        except BrokenFrame as error:
            await self._reply.close()
            raise UpstreamError("garbage", "the stream could not be read on", str(error)) from error

    async def _beginning(self) -> bytes:
        """Read an error answer, as far as anybody looks at one."""
        parts: list[bytes] = []
        size = 0
        async for part in self._reply.chunks():
            parts.append(part)
            size += len(part)
            if size >= ERROR_BYTES:
                await self._reply.close()
                break
        return b"".join(parts)

    @property
    def is_over(self) -> bool:
        return self._reply.is_over

    async def close(self) -> None:
        await self._reply.close()
