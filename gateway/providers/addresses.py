"""Addresses of providers that speak chat completions, and the headers that carry the key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.config.addresses import CHAT, parse_address
from gateway.providers.azure import AZURE, FOUNDRY, V1_VERSIONS, VERSION
from gateway.providers.provider import Provider
from gateway.providers.table import PROVIDERS
from gateway.wire.operations import PATHS, Operation

_CHAT: Final = Provider("direct")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One URL and the headers that go there with every request."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    """They hold the credential."""
    usual: Mapping[str, str] = field(default_factory=dict)
    """Others, where the client sends none of that name."""
    is_signed: bool = False
    """Whether a signature covers the URL, so that not one of its escapes may change."""


def operation_endpoint(
    provider: str,
    model: str,
    base: str,
    key: str | None,
    params: Mapping[str, Any],
    operation: Operation = "chat",
) -> Endpoint:
    """Return where an operation of a provider is asked for: beside its chat completions, under its own name."""
    if operation == "compact":
        there = operation_endpoint(provider, model, base, key, params, "responses")
        return replace(there, url=_with_call(there.url, PATHS[operation].removeprefix(PATHS["responses"])))
    listed = PROVIDERS.get(provider, _CHAT)
    call = PATHS[operation]
    if provider == AZURE and operation == "responses":
        return _azure_responses(base, key, params)
    if (spoken := listed.speaks.get(operation)) is not None:
        token = str(params.get("azure_ad_token") or "")
        headers = _headers(_CHAT, token) if provider == FOUNDRY and not key else _headers(spoken, key)
        return Endpoint(joined_path(base, spoken.tail), headers, spoken.usual_headers)
    facts = listed.at_an_address or listed
    if provider == AZURE:
        return _azure(base, model, key, params, call)
    tail = f"{facts.tail.removesuffix(CHAT)}{call}" if facts.tail.endswith(CHAT) else facts.tail
    return Endpoint(joined_path(_without_call(base, call), tail), _headers(facts, key))


def _without_call(base: str, call: str) -> str:
    """Return an address without the call that it may name, of chat or another: another one is asked beside it."""
    parts = parse_address(base)
    return base if parts is None or call == CHAT else replace(parts, path=parts.path.removesuffix(call)).of("")


def _with_call(url: str, call: str) -> str:
    """Write a call behind a URL, before its query."""
    parts = parse_address(url)
    return f"{url}{call}" if parts is None else parts.of(call)


def joined_path(base: str, tail: str) -> str:
    """Write a path behind an address, before its query; what the address ends in already is not written again."""
    parts = parse_address(base)
    return f"{base}{tail}" if parts is None else parts.of(_rest(parts.path, tail))


def _rest(path: str, tail: str) -> str:
    """Return what of `tail` is still to be written behind a path."""
    there, segments = path.split("/"), tail.strip("/").split("/")
    for length in range(len(segments), 0, -1):
        if there[-length:] == segments[:length]:
            return "".join(f"/{segment}" for segment in segments[length:])
    return tail


def _headers(facts: Provider, key: str | None) -> dict[str, str]:
    if not key:
        return {}
    named = facts.key_headers or ("authorization",)
    return {name: f"Bearer {key}" if name == "authorization" else key for name in named}


def _azure_responses(base: str, key: str | None, params: Mapping[str, Any]) -> Endpoint:
    """Name the deployment in the body: Responses have no path for each
    (learn.microsoft.com/azure/ai-foundry/openai/how-to/responses).
    """
    parts = parse_address(base)
    version, token = str(params.get("api_version") or VERSION), str(params.get("azure_ad_token") or "")
    call = PATHS["responses"]
    if parts is None or version in V1_VERSIONS or parts.path.endswith("/openai/v1"):
        return Endpoint(joined_path(base, f"/openai/v1{call}"), _headers(_CHAT, key or token))
    if "api-version=" not in parts.query:
        parts = replace(parts, query=f"{parts.query}&api-version={version}".lstrip("&"))
    return Endpoint(parts.of(_rest(parts.path, f"/openai{call}")), {"api-key": key} if key else _headers(_CHAT, token))


def _azure(base: str, model: str, key: str | None, params: Mapping[str, Any], call: str) -> Endpoint:
    """Name the deployment in the path, unless the address or the version says that the body does.

    The newer API takes the key as a bearer token, as OpenAI's does.
    """
    parts = parse_address(base)
    version, token = str(params.get("api_version") or VERSION), str(params.get("azure_ad_token") or "")
    if parts is None:
        return Endpoint(base, {})
    if version in V1_VERSIONS or parts.path.endswith("/openai/v1"):
        return Endpoint(joined_path(base, f"/openai/v1{call}"), _headers(_CHAT, key or token))
    if "api-version=" not in parts.query:
        parts = replace(parts, query=f"{parts.query}&api-version={version}".lstrip("&"))
    is_whole = f"{parts.path}{CHAT}" in base or "/openai/deployments/" in f"{parts.path}/"
    if parts.path.endswith(call):
        call = ""
    url = parts.of(call if is_whole else f"{_rest(parts.path, '/openai')}/deployments/{model}{call}")
    return Endpoint(url, {"api-key": key} if key else _headers(_CHAT, token))
