"""Which deployments a configuration names, with what litellm's table says of their models: prices and windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec

from gateway import litellm_files
from gateway.config import Config
from gateway.money.prices import PriceBook, split
from gateway.problems import closest
from gateway.providers import refusals
from gateway.providers.table import PROVIDERS
from gateway.routing.deployment import Deployment, Unservable, deployments, provider_and_model


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
    """Raise `Unservable` for providers that cannot be reached from here: at start, not at the first request."""
    complaints = []
    for index, (entry, provider) in enumerate(zip(config.models, providers, strict=True)):
        told = refusals.unknown(provider)
        if told is None and (facts := PROVIDERS.get(provider)) is not None:
            told = refusals.not_installed(provider, facts, _is_installed)
        if told is not None:
            complaints.append((entry.line, ("model_list", index, "litellm_params", "model"), told))
    if complaints:
        raise Unservable(complaints)


@cache
def _is_installed(module: str) -> bool:
    """Look for a module without running it; of a module inside a package, the packages around it are imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
