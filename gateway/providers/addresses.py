"""Addresses of providers that speak chat completions, and the headers that carry the key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.config.addresses import CHAT, parse_address
from gateway.providers.azure import AZURE, V1_VERSIONS, VERSION
from gateway.providers.provider import Provider
from gateway.providers.table import PROVIDERS

_CHAT: Final = Provider("direct")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One URL and the headers that go there with every request."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    """They hold the credential."""


def chat_endpoint(provider: str, model: str, base: str, key: str | None, params: Mapping[str, Any]) -> Endpoint:
    """Return where chat completions of a provider are asked for."""
    listed = PROVIDERS.get(provider, _CHAT)
    facts = listed.at_an_address or listed
    if provider == AZURE:
        return _azure(base, model, key, params)
    return Endpoint(joined_path(base, facts.tail), _headers(facts, key))


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


def _azure(base: str, model: str, key: str | None, params: Mapping[str, Any]) -> Endpoint:
    """Name the deployment in the path, unless the address or the version says that the body does.

    The newer API takes the key as a bearer token, as OpenAI's does.
    """
    parts = parse_address(base)
    version, token = str(params.get("api_version") or VERSION), str(params.get("azure_ad_token") or "")
    if parts is None:
        return Endpoint(base, {})
    if version in V1_VERSIONS or parts.path.endswith("/openai/v1"):
        return Endpoint(joined_path(base, "/openai/v1/chat/completions"), _headers(_CHAT, key or token))
    if "api-version=" not in parts.query:
        parts = replace(parts, query=f"{parts.query}&api-version={version}".lstrip("&"))
    is_whole = f"{parts.path}{CHAT}" in base or "/openai/deployments/" in f"{parts.path}/"
    url = parts.of(CHAT if is_whole else f"{_rest(parts.path, '/openai')}/deployments/{model}{CHAT}")
    return Endpoint(url, {"api-key": key} if key else _headers(_CHAT, token))
