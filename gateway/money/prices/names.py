"""Names of models: under which one the price table has them, and who bills them. Pure."""

from __future__ import annotations

from gateway.money.prices.entries import PriceEntry
from gateway.providers.bedrock import ARN, NAMING
from gateway.providers.openai import REGIONAL
from gateway.providers.table import billing_of


def behind_router(provider: str, model: str) -> tuple[str, str] | None:
    """Return the provider and model that a router's name for a model stands for, without a variant (`:free`)."""
    maker, slash, name = model.partition("/")
    makers = billing_of(provider).makers
    if makers is None or not slash:
        return None
    return makers.get(maker, maker), name.partition(":")[0]


def names_no_model(model: str) -> bool:
    """Whether a name is the ARN of something that only its owner knows the model of (an application's inference
    profile, say): it has a price where `base_model` names that.
    """
    arn = ARN.search(model)
    return arn is not None and arn[1] not in NAMING


def split(model: str, provider: str = "openai") -> tuple[str, str]:
    """Split `provider/model`; a name without a provider has the one given."""
    head, slash, tail = model.partition("/")
    return (head, tail) if slash else (provider, model)


def region_of(api_base: str | None, location: str | None = None) -> str | None:
    """Return the region that a deployment pays extra for: OpenAI's regional hosts, or Vertex's location."""
    if location:
        return location.lower()
    match = REGIONAL.match(api_base or "")
    return match[1] if match else None


def candidates(provider: str, model: str) -> list[str]:
    """Return the table keys a model may stand under, the most exact first."""
    names = [f"{provider}/{model}", model]
    billing = billing_of(provider)
    route = next((prefix for prefix in billing.routes if model.startswith(prefix)), "")
    arn = ARN.fullmatch(model[len(route) :])
    if route or arn is not None:
        model = model[len(route) :] if arn is None else arn[2] if arn[1] in NAMING else ""
        names += [f"{provider}/{model}", model] if model else []
    if billing.geography is not None and (geography := billing.geography.match(model)):
        names.append(model[geography.end() :])
    if model.startswith("ft:"):  # ft:gpt-4o-2024-08-06:org::id
        names.append(":".join(model.split(":")[:2]))
    if provider == "demo" and "/" in model:  # demo/anthropic/claude-…: as Claude, else as demo/anthropic
        rules, _, name = model.partition("/")
        names += [name, f"demo/{rules}"]
    return names


def bills_as(provider: str, entry: PriceEntry) -> bool:
    """Say whether an entry without the provider in its key is that provider's."""
    owner = entry.get("litellm_provider")
    if not isinstance(owner, str) or owner == provider:
        return True
    return any(
        owner == name or (name.endswith("*") and owner.startswith(name[:-1])) for name in billing_of(provider).owners
    )
