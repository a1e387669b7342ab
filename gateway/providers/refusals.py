"""Why an entry of a list of models cannot be served: said when the list is read, never at the first request. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.config.problems import closest
from gateway.providers.azure import AZURE, ENTRA, SIGNED
from gateway.providers.provider import Provider
from gateway.providers.table import PROVIDERS, REFUSED, provider_of

PROJECT: Final = "gateway-llm"
"""The distribution whose extras are named."""


def unknown(provider: str) -> str | None:
    """Say why a provider's name is refused; None where it is taken."""
    if provider in PROVIDERS or provider == "demo":
        return None
    if (reason := REFUSED.get(provider)) is not None:
        return f"{provider!r} {reason}"
    meant = closest(provider, [*PROVIDERS, "demo"])
    told = f"there is no provider {provider!r}"
    return (
        f"{told}; did you mean {meant!r}?"
        if meant
        else f"{told} (for a server of your own: openai/MODEL with its api_base)"
    )


def elsewhere(provider: str, model: str) -> str | None:
    """Say why a model's name is refused that leads to another service of the provider."""
    found = (reason for start, reason in provider_of(provider).refused_models.items() if model.startswith(start))
    reason = next(found, None)
    return None if reason is None else f"{provider}/{model} {reason}"


def lacking(provider: str, facts: Provider, params: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name the parameter that is missing, and what it looks like."""
    if facts.wants and not any(params.get(name) for name in facts.wants):
        named = facts.wants[0]
        like = f", such as {facts.hint}" if facts.hint else ""
        if named == "api_base":
            return named, f"{provider} has no address of its own: name one{like}"
        return named, f"{provider} needs {named} or api_base{like}"
    if provider == AZURE and any(params.get(name) for name in ENTRA) and not any(params.get(n) for n in SIGNED):
        return "api_key", "the gateway does not sign in to Azure by itself: give api_key or azure_ad_token"
    return None


def not_installed(provider: str, facts: Provider, is_installed: Callable[[str], bool]) -> str | None:
    """Name the package that a provider needs and that is not there, with the line that installs it."""
    if all(map(is_installed, facts.modules)):
        return None
    return f"{provider} needs {facts.package}, which is not installed: pip install '{PROJECT}[{facts.extra}]'"
