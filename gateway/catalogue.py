"""Which deployments a configuration names, with what litellm's table says of their models: prices and windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway import litellm_files
from gateway.config import Config
from gateway.money.prices import PriceBook, split
from gateway.problems import closest
from gateway.routing.deployment import (
    DIRECT,
    DIRECT_ELSEWHERE,
    Deployment,
    Unservable,
    deployments,
    provider_and_model,
)

_OURS = frozenset({*DIRECT, *DIRECT_ELSEWHERE, "demo"})


def catalogue(config: Config) -> Mapping[str, tuple[Deployment, ...]]:
    """Return the deployments of each model name. Raises `Unservable` for entries that cannot become one."""
    wanted = [provider_and_model(entry.params) for entry in config.models]
    _refuse_strangers(config, [provider for provider, _ in wanted])
    bases = [base for entry in config.models if isinstance(base := entry.info.get("base_model"), str)]
    return deployments(config, PriceBook.read(litellm_files.price_table(), [*wanted, *map(split, bases)]))


def meant(unpriced: Iterable[Deployment]) -> Mapping[str, str]:
    """Return, by a deployment's name, the model of its provider that was probably meant, where there is one.

    Models at an address of one's own are called what their owner likes.
    """
    asked = [one for one in unpriced if one.is_providers_own or one.api_base is None]
    book = PriceBook.read(litellm_files.price_table()) if asked else PriceBook({})
    found = {one.name: (one.provider, closest(one.model, book.names(one.provider))) for one in asked}
    return {name: f"{provider}/{model}" for name, (provider, model) in found.items() if model is not None}


def _refuse_strangers(config: Config, providers: list[str]) -> None:
    """Raise `Unservable` for providers that nobody knows how to reach: at start, not at the first request."""
    if _OURS.issuperset(providers):
        return
    known = _OURS | litellm_files.providers()
    complaints = []
    for index, (entry, provider) in enumerate(zip(config.models, providers, strict=True)):
        if provider not in known:
            meant = closest(provider, known)
            told = f"there is no provider {provider!r}" + (f"; did you mean {meant!r}?" if meant else "")
            hint = " (for a server of your own: openai/MODEL with its api_base)" if not meant else ""
            complaints.append((entry.line, ("model_list", index, "litellm_params", "model"), told + hint))
    if complaints:
        raise Unservable(complaints)
