"""Calls about what providers keep: passed to the deployment that has it, for the team that it belongs to.

They cost nothing, so nothing of them is entered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from gateway.config.wildcards import is_pattern
from gateway.money.keys import Caller
from gateway.routing.attempts import Answer, Failure
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import Reply, StoredCall, UpstreamError
from gateway.serving.admission import admit, authenticate, may_use
from gateway.serving.client import STREAM_HEADERS, Client, Headers, head, header
from gateway.serving.fit import prompt_tokens
from gateway.serving.refusals import unanswered
from gateway.serving.services import Gateway
from gateway.serving.stored import bound, owned
from gateway.serving.stored_ids import Holding
from gateway.wire import errors, lenient
from gateway.wire.headers import upstream_headers
from gateway.wire.shape import RESPONSES
from gateway.wire.unserved import unserved

PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "/responses/{id}": ("GET", "DELETE"),
    "/responses/{id}/cancel": ("POST",),
    "/responses/{id}/input_items": ("GET",),
    "/conversations/{id}": ("GET", "POST", "DELETE"),
    "/conversations/{id}/items": ("GET", "POST"),
    "/conversations/{id}/items/{item}": ("GET", "DELETE"),
}
"""The paths with an id, and the methods of each (platform.openai.com/docs/api-reference/responses and
…/conversations)."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ASKED: Final = frozenset(
    {"include", "include[]", "stream", "starting_after", "include_obfuscation", "limit", "order", "after"}
)
"""Members of a query that go along."""


async def answer_stored(
    gateway: Gateway, client: Client, request_id: str, method: str, path: str, ids: Mapping[str, str], query: bytes
) -> None:
    """Serve a call about one thing. Raises GatewayError: 404 for an id that is not this team's."""
    caller = authenticate(gateway.keys, client, gateway.now(), RESPONSES.name)
    for one in ids.values():
        if not _ID.fullmatch(one):
            raise errors.stored_not_found("id", one)
    body = await client.body(gateway.config.server.max_body) if method == "POST" else b""
    deployment = await owned(gateway, "id", ids["id"], caller.team)
    for name, one in ids.items():
        path = path.replace(f"{{{name}}}", one)
    asked = [(name, held) for name, held in parse_qsl(query.decode("latin-1")) if name in _ASKED]
    await _pass(gateway, client, request_id, deployment, StoredCall(method, path, asked, body))


async def begin_conversation(gateway: Gateway, client: Client, request_id: str) -> None:
    """Have a conversation made by the first deployment of this key's models that keeps any."""
    caller = authenticate(gateway.keys, client, gateway.now(), RESPONSES.name)
    body = await client.body(gateway.config.server.max_body)
    deployment = _keeper(gateway, caller)
    if deployment is None:
        raise unserved("/conversations", "POST") or errors.not_found("/conversations")
    reply = await _asked(gateway, request_id, deployment, StoredCall("POST", "/conversations", body=body or b"{}"))
    made = await _whole(gateway, deployment, reply)
    fields = lenient.read(made)
    if isinstance(fields, dict) and isinstance(fields.get("id"), str):
        holding = Holding(caller.team, caller.key, deployment.model_name, deployment.name)
        gateway.stored.note([fields["id"]], holding)
    await _deliver(client, request_id, deployment, reply, made)


async def count_input(gateway: Gateway, client: Client, request_id: str) -> None:
    """Count the tokens of an input: by the provider where it speaks Responses, else here."""
    caller = authenticate(gateway.keys, client, gateway.now(), RESPONSES.name)
    request = RESPONSES.read(await client.body(gateway.config.server.max_body), gateway.memo)
    model = admit(gateway.config, gateway.models, caller, request, client.headers).model
    [first, *_] = await bound(gateway, request, caller.team, model.tiers(()))
    spoken = first[0].spoken(request.shape)
    if spoken is not None:
        call = StoredCall("POST", "/responses/input_tokens", body=RESPONSES.write(request, spoken.model))
        await _pass(gateway, client, request_id, first[0], call)
        return
    tokens = await prompt_tokens(request, model, gateway.counters.for_encoding(model.encoding))
    body = lenient.write({"object": "response.input_tokens", "input_tokens": tokens})
    await client.start(200, head(request_id, b"application/json", len(body)))
    await client.end(body)


def _keeper(gateway: Gateway, caller: Caller) -> Deployment | None:
    """Return the first deployment that keeps conversations, of a model that this caller may ask for."""
    models = ((name, model) for name, model in gateway.models.items() if not is_pattern(name))
    found = (one for name, model in models if may_use(caller, name, model) for one in model.deployments)
    return next((one for one in found if one.spoken(RESPONSES.name) is not None), None)


async def _asked(gateway: Gateway, request_id: str, deployment: Deployment, call: StoredCall) -> Reply:
    spoken = deployment.spoken(RESPONSES.name)
    if spoken is None:
        raise errors.stored_not_found("id", "")
    outcome = await gateway.upstreams.ask(spoken, call, request_id=request_id, now=gateway.now())
    match outcome:
        case Answer():
            return outcome.reply
        case failure:
            raise unanswered(failure, deployment.model_name, gateway.now())


async def _pass(gateway: Gateway, client: Client, request_id: str, deployment: Deployment, call: StoredCall) -> None:
    """Make a call, and pass its answer on, without the deployment's secrets."""
    reply = await _asked(gateway, request_id, deployment, call)
    if "event-stream" not in reply.headers.get("content-type", ""):
        await _deliver(client, request_id, deployment, reply, await _whole(gateway, deployment, reply))
        return
    headers = [*head(request_id, b"text/event-stream"), *STREAM_HEADERS, *_told(deployment, reply)]
    client.watch()
    try:
        await client.start(200, headers)
        async for chunk in reply.chunks():
            await client.send(deployment.secrets.out_of(chunk))
    except UpstreamError as error:
        cut = errors.upstream_failed(error.kind, f"The upstream's stream broke off ({error.kind}).")
        await client.send(RESPONSES.error_event(cut, request_id))
    finally:
        client.unwatch()
        await reply.close()
    await client.end()


async def _whole(gateway: Gateway, deployment: Deployment, reply: Reply) -> bytes:
    """Read an answer that is no longer than one may be. Raises GatewayError."""
    parts, size, most = [], 0, gateway.config.server.max_answer
    failure: Failure | None = None
    try:
        async for part in reply.chunks():
            parts.append(part)
            size += len(part)
            if size > most:
                failure = Failure(deployment, "too_large", message=f"it is longer than {most:,} bytes")
                break
    except UpstreamError as error:
        failure = Failure(deployment, error.kind, message=error.message, said=error.said)
    if failure is not None:
        await reply.close()
        raise unanswered(failure, deployment.model_name, gateway.now())
    return deployment.secrets.out_of(b"".join(parts))


async def _deliver(client: Client, request_id: str, deployment: Deployment, reply: Reply, body: bytes) -> None:
    await client.start(200, head(request_id, b"application/json", len(body)) + _told(deployment, reply))
    await client.end(body)


def _told(deployment: Deployment, reply: Reply) -> Headers:
    own = deployment.secrets.out_of_headers(upstream_headers(reply.headers))
    return [header(name.encode(), value) for name, value in own.items()]
