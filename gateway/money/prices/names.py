"""Names of models: under which one the price table has them, and who bills them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.money.prices.entries import PriceEntry

_ANY_PROVIDER = ("demo", "litellm_proxy", "github")
"""Providers that stand in for others: a model's plain name is looked up whoever makes it."""

_SHARED_TABLES = {
    "azure_ai": ("azure", "openai"),
    "azure_text": ("azure",),
    "fireworks_ai": ("fireworks_ai-embedding-models",),
    "openai": ("text-completion-openai",),
    "text-completion-openai": ("openai",),
}

_ROUTES: Mapping[str, tuple[str, ...]] = {
    # litellm's main.py (`responses/`), llms/azure/chat/{o_series,gpt_5}_transformation.py
    "azure": ("responses/", "o_series/", "gpt5_series/"),
    "azure_ai": ("responses/",),
    "openai": ("responses/",),
    # litellm's llms/bedrock/common_utils.py, `get_bedrock_route`
    "bedrock": (
        *("converse/", "converse_like/", "invoke/", "async_invoke/", "chat_completions/", "openai/", "mantle/"),
        "claude_platform/",
    ),
}
"""Prefixes of model names that say by which API the provider is asked, not what is billed."""

_ARN = re.compile(r"arn:[^/]+:([a-z-]+)/(.+)")
_NAMING = frozenset({"foundation-model", "inference-profile"})
"""Kinds of Bedrock's resources whose ARN ends in the model's own name:
docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html. All others end in an id."""

_BEDROCK_GEO = re.compile(r"(?:us|eu|au|jp|apac|ca|sa|global|us-gov)\.(?=.)")


def behind_router(provider: str, model: str) -> tuple[str, str] | None:
    """Return the provider and model that OpenRouter's name for a model stands for, without a variant (`:free`)."""
    maker, slash, name = model.partition("/")
    if provider != "openrouter" or not slash:
        return None
    return _MAKERS.get(maker, maker), name.partition(":")[0]


_MAKERS = {"google": "gemini", "x-ai": "xai", "mistralai": "mistral", "meta-llama": "meta_llama"}
"""Makers whose names at OpenRouter (openrouter.ai/models) are others than in the table."""


def names_no_model(model: str) -> bool:
    """Whether a name is the ARN of something that only its owner knows the model of (an application's inference
    profile, say): it has a price where `base_model` names that.
    """
    arn = _ARN.search(model)
    return arn is not None and arn[1] not in _NAMING


def split(model: str, provider: str = "openai") -> tuple[str, str]:
    """Split `provider/model`; a name without a provider has the one given."""
    head, slash, tail = model.partition("/")
    return (head, tail) if slash else (provider, model)


def region_of(api_base: str | None, location: str | None = None) -> str | None:
    """Return the region that a deployment pays extra for: OpenAI's regional hosts, or Vertex's location."""
    if location:
        return location.lower()
    match = re.match(r"https?://(eu|us)\.api\.openai\.com(?:[:/]|$)", api_base or "")
    return match[1] if match else None


def candidates(provider: str, model: str) -> list[str]:
    """Return the table keys a model may stand under, the most exact first."""
    names = [f"{provider}/{model}", model]
    route = next((prefix for prefix in _ROUTES.get(provider, ()) if model.startswith(prefix)), "")
    arn = _ARN.fullmatch(model[len(route) :])
    if route or arn is not None:
        model = model[len(route) :] if arn is None else arn[2] if arn[1] in _NAMING else ""
        names += [f"{provider}/{model}", model] if model else []
    if provider.startswith("bedrock") and (geo := _BEDROCK_GEO.match(model)):
        names.append(model[geo.end() :])
    if model.startswith("ft:"):  # ft:gpt-4o-2024-08-06:org::id
        names.append(":".join(model.split(":")[:2]))
    if provider == "demo" and "/" in model:  # demo/anthropic/claude-…: as Claude, else as demo/anthropic
        rules, _, name = model.partition("/")
        names += [name, f"demo/{rules}"]
    return names


def bills_as(provider: str, entry: PriceEntry) -> bool:
    """Say whether an entry without the provider in its key is that provider's."""
    owner = entry.get("litellm_provider")
    if not isinstance(owner, str) or owner == provider or provider in _ANY_PROVIDER:
        return True
    if provider.startswith("bedrock"):
        return owner.startswith("bedrock")
    return (provider == "vertex_ai" and owner.startswith("vertex_ai")) or owner in _SHARED_TABLES.get(provider, ())
