"""Where requests to a provider that speaks chat completions go, and which headers carry the key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.providers.table import AZURE, DIRECT_AT_AN_ADDRESS, PROVIDERS, Provider

AZURE_VERSION: Final = "2025-02-01-preview"
"""The API version that is asked for where the list names none: litellm's (`AZURE_DEFAULT_API_VERSION`)."""

_AZURE_V1: Final = frozenset({"v1", "latest", "preview"})
"""Versions of Azure's newer API, which names the deployment in the body
(learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle)."""

_CHAT: Final = Provider("direct")


@dataclass(frozen=True, slots=True)
class Address:
    """One URL and the headers that go there with every request."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    """They hold the credential."""


def address(provider: str, model: str, base: str, key: str | None, params: Mapping[str, Any]) -> Address:
    """Return where chat completions of a provider are asked for."""
    facts = DIRECT_AT_AN_ADDRESS.get(provider) or PROVIDERS.get(provider, _CHAT)
    if provider == AZURE:
        return _azure(base, model, key, params)
    return Address(joined(base, facts.tail), _headers(facts, key))


def joined(base: str, tail: str) -> str:
    """Write a path behind an address, before its query; what the address ends in already is not written again."""
    whole, _, query = base.partition("?")
    whole = whole.rstrip("/")
    segments = tail.strip("/").split("/")
    there = whole.split("/")
    for length in range(len(segments), 0, -1):
        if there[-length:] == segments[:length]:
            segments = segments[length:]
            break
    path = "/".join([whole, *segments])
    return f"{path}?{query}" if query else path


def _headers(facts: Provider, key: str | None) -> dict[str, str]:
    if not key:
        return {}
    named = facts.key_headers or ("authorization",)
    return {name: f"Bearer {key}" if name == "authorization" else key for name in named}


def _azure(base: str, model: str, key: str | None, params: Mapping[str, Any]) -> Address:
    """Name the deployment in the path, unless the address or the version says that the body does.

    The newer API takes the key as a bearer token, as OpenAI's does.
    """
    whole, _, query = base.partition("?")
    version = str(params.get("api_version") or AZURE_VERSION)
    path = "/" + whole.partition("://")[2].partition("/")[2].rstrip("/")
    token = str(params.get("azure_ad_token") or "")
    if version in _AZURE_V1 or path.endswith(("/openai/v1", "/openai/v1/chat/completions")):
        return Address(joined(base, "/openai/v1/chat/completions"), _headers(_CHAT, key or token))
    if path.endswith("/chat/completions") or "/openai/deployments/" in f"{path}/":
        url = joined(whole, "/chat/completions")
    else:
        url = joined(whole, f"/openai/deployments/{model}/chat/completions")
    if "api-version=" not in query:
        query = f"{query}&api-version={version}".lstrip("&")
    headers = {"api-key": key} if key else _headers(_CHAT, token)
    return Address(f"{url}?{query}", headers)
