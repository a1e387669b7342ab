"""The caller of a request, its model and its policy. Decides; nothing here is sent or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.config import Config, conditions
from gateway.config.policy import Policy, UnknownProfile
from gateway.config.problems import closest
from gateway.config.wildcards import is_pattern
from gateway.conversation import leading_system
from gateway.money.entry import MOST_TAGS, RequestFacts
from gateway.money.keys import Caller, KeyRefusal, Keys
from gateway.request import Request
from gateway.routing.deployment import has_operation
from gateway.routing.models import Model
from gateway.serving.client import header_text
from gateway.wire import errors
from gateway.wire.errors import GatewayError
from gateway.wire.operations import NAMES, Operation
from gateway.wire.unserved import compaction_not_served

LONGEST_NAME = 256
"""Characters of a name that somebody else chose (a user, a tag, a model) that are kept in the books."""

Received = Mapping[bytes, bytes]
"""Request headers, names in lower case."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go on."""

    model: Model
    policy: Policy


class KeyBearer(Protocol):
    """A client, as far as its key is concerned."""

    @property
    def headers(self) -> Received: ...
    @property
    def address(self) -> str | None: ...


def authenticate(keys: Keys, client: KeyBearer, now: float, operation: Operation | None = None) -> Caller:
    """Find who is asking. Raises GatewayError: 401 no key that is good now, 403 not from there or not for that."""
    headers = client.headers
    shown = headers.get(b"authorization", b"")
    token = shown[7:].strip() if shown[:7].lower() == b"bearer " else None
    token = token or headers.get(b"x-api-key") or headers.get(b"api-key")
    caller = keys.authenticate(token.decode("latin-1") if token else None, now)
    if isinstance(caller, KeyRefusal):
        raise errors.invalid_key(caller.value)
    if caller.networks is not None and not caller.may_come_from(client.address):
        raise errors.address_not_allowed(client.address)
    if operation is not None and caller.operations is not None and operation not in caller.operations:
        raise errors.operation_not_allowed(NAMES[operation])
    return caller


def admit(config: Config, models: Mapping[str, Model], caller: Caller, request: Request, headers: Received) -> Admitted:
    """Choose model and policy. Raises GatewayError: 403 not for this key, 404 no such model, 400 no such profile."""
    model = admitted_model(models, caller, request.model, "chat")
    return Admitted(model, chosen_policy(config.policy_for(caller.policy, caller.team), request, headers))


def admitted_model(models: Mapping[str, Model], caller: Caller, name: str, operation: Operation) -> Model:
    """Find the model that a caller asks for. Raises GatewayError: 403 not for this key, 404 no such model, 400 none
    that serves this operation.
    """
    model = None if is_pattern(name) else models.get(name)
    if not may_use(caller, name, model):
        raise errors.model_not_allowed(name)
    if model is None:
        raise errors.model_not_found(name, nearest_model(name, models, caller))
    if not model.serving(operation):
        raise _not_served(model, name, operation)
    return model


def _not_served(model: Model, name: str, operation: Operation) -> GatewayError:
    """Say why none of a model's deployments serves an operation: another is meant, nobody translates it, no price."""
    if operation == "compact" and any(one.is_chat for one in model.declared):
        return compaction_not_served(name)
    own: Operation = "chat" if operation == "completions" else operation
    of_its_kind = [one for one in model.declared if one.operation == own]
    if not of_its_kind:
        if operation == "chat":
            return errors.model_not_for_chat(name, next((one.operation for one in model.declared), None))
        return errors.model_not_for(name, operation)
    lacking = [one for one in of_its_kind if not has_operation(one.kind, one.provider, operation)]
    if lacking and (len(lacking) == len(of_its_kind)):
        return errors.operation_not_translated(lacking[0].name, operation)
    return errors.model_unpriced(name)


def may_use(caller: Caller, name: str, model: Model | None) -> bool:
    """Whether a key names a model, or the one that an alias or asterisks stand for."""
    if caller.may_use(name):
        return True
    return model is not None and (caller.may_use(model.name) or caller.may_use(model.declared_as))


def nearest_model(wanted: str, models: Mapping[str, Model], caller: Caller) -> str | None:
    """Return the model of this caller that was probably meant: it is named to him, and never taken in its place."""
    if len(wanted) > LONGEST_NAME:
        return None
    names = [name for name in models if caller.may_use(name) and not is_pattern(name)]
    shorter = [name for name in names if wanted.startswith(name) or name.startswith(wanted)]
    return max(shorter, key=len, default=None) or closest(wanted, names)


def chosen_policy(policy: Policy, request: Request, headers: Received) -> Policy:
    """Choose the policy's profile for a request. Raises GatewayError (400) for one that is not there."""
    wanted = header_text(headers.get(b"x-gateway-profile", b"")) or None
    if wanted is None and not policy.profiles:
        return policy
    messages = request.conversation.messages
    facts = conditions.request_facts(
        tools=request.conversation.tools,
        system=sum(len(message.text) for message in messages[: leading_system(messages)]),
        model=request.model,
        headers={header_text(name): header_text(value) for name, value in headers.items()},
        metadata=request.metadata,
    )
    try:
        return policy.choose(facts, wanted)
    except UnknownProfile as error:
        raise errors.invalid_request(str(error), "x-gateway-profile") from None


class Attributed(Protocol):
    """A request that says which model it asks, and whom it is for."""

    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def user(self) -> str | None: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


def entry_facts(
    request: Attributed,
    headers: Received,
    caller: Caller,
    policy: Policy,
    request_id: str,
    operation: Operation = "chat",
) -> RequestFacts:
    """Gather what both rows of a request hold: who asks for whom, and what of."""
    return RequestFacts(
        request_id,
        caller.key,
        caller.team,
        caller.user or user_of(request, headers),
        tags_of(request, headers),
        request.model[:LONGEST_NAME],
        str(policy),
        policy.version,
        request.stream,
        operation=operation,
    )


def user_of(request: Attributed, headers: Received) -> str | None:
    """Name whom the request is for: its `user`, else the header."""
    return (request.user or "")[:LONGEST_NAME] or caller_user(headers)


def caller_user(headers: Received) -> str | None:
    """Name whom a caller's header says that it asks for."""
    return header_text(headers.get(b"x-gateway-user", b""))[:LONGEST_NAME] or None


def tags_of(request: Attributed, headers: Received) -> list[str]:
    """Read the tags: `metadata.tags`, else the header, comma-separated."""
    listed: object = request.metadata.get("tags")
    return caller_tags(headers) if listed is None else _tags(listed)


def caller_tags(headers: Received) -> list[str]:
    """Read the tags that a caller's header names."""
    return _tags(header_text(headers[b"x-gateway-tags"])) if b"x-gateway-tags" in headers else []


def _tags(listed: object) -> list[str]:
    if isinstance(listed, str):
        listed = listed.split(",")
    found = [tag.strip()[:LONGEST_NAME] for tag in listed if isinstance(tag, str)] if isinstance(listed, list) else []
    return [tag for tag in dict.fromkeys(found) if tag][:MOST_TAGS]
