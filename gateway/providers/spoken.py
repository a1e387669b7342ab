"""The shapes beside chat completions that a provider is asked in, and the ways there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.config.addresses import parse_address
from gateway.providers.anthropic import CLAUDE
from gateway.providers.azure import AZURE, FIRST_RESPONSES, FOUNDRY, V1_VERSIONS, VERSION
from gateway.providers.bedrock import names_another_api
from gateway.providers.families import family_of
from gateway.providers.provider import Provider
from gateway.providers.table import provider_of
from gateway.wire.operations import PATHS, Operation

SHAPES: Final[tuple[Operation, ...]] = ("responses", "messages")
"""Shapes that an entry may say its server speaks."""

ANTHROPIC: Final = "anthropic"
BEDROCK: Final = "bedrock"


class UnknownShape(ValueError):
    """Something else than a list of shapes."""


def ways_to(
    provider: str,
    model: str,
    api_base: str | None,
    params: Mapping[str, Any],
    declared: object,
    *,
    at_home: bool,
    has_key: bool,
) -> Mapping[Operation, Provider]:
    """Return the ways to a deployment in other shapes than chat's: those of its provider, where it is the provider that
    answers, and those that its entry declares (`model_info.speaks`). Raises UnknownShape.
    """
    own = provider_of(provider).speaks
    ways = dict(own) if at_home else {}
    if provider == AZURE and not _has_responses(api_base, params):
        ways.pop("responses", None)
    if not _has_messages(provider, model, params, has_key=has_key):
        ways.pop("messages", None)
    if declared is None:
        return ways
    named = [declared] if isinstance(declared, str) else declared
    if not isinstance(named, list) or not all(name in SHAPES or name == "chat" for name in named):
        raise UnknownShape(
            f"{declared!r} is no list of shapes: write [{', '.join(SHAPES)}], or [chat] for none of them"
        )
    return {name: own.get(name) or Provider("direct", None, PATHS[name]) for name in SHAPES if name in named}


def _has_messages(provider: str, model: str, params: Mapping[str, Any], *, has_key: bool) -> bool:
    """Whether a model of a provider is asked in Anthropic's shape: on a cloud, Claude alone, and not where its name
    says another API, or litellm signs in by itself.
    """
    if provider == ANTHROPIC:
        return True
    if family_of(provider, model) is not CLAUDE or (provider == BEDROCK and names_another_api(model)):
        return False
    return provider != FOUNDRY or has_key or bool(params.get("azure_ad_token"))


def _has_responses(api_base: str | None, params: Mapping[str, Any]) -> bool:
    """Whether this version of Azure's API has Responses, and its address names no single deployment."""
    parts, version = parse_address(api_base or ""), str(params.get("api_version") or VERSION)
    if parts is None or "/openai/deployments/" in f"{parts.path}/":
        return False
    return version in V1_VERSIONS or parts.path.endswith("/openai/v1") or version >= FIRST_RESPONSES
