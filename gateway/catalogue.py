"""Which deployments a configuration names, with what litellm's table says of their models: prices and windows."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import litellm_files
from gateway.config import Config
from gateway.money.prices import PriceBook, split
from gateway.routing.deployment import Deployment, deployments, provider_and_model


def catalogue(config: Config) -> Mapping[str, tuple[Deployment, ...]]:
    """Return the deployments of each model name. Raises `Unservable` for entries that cannot become one."""
    wanted = [provider_and_model(entry.params) for entry in config.models]
    bases = [base for entry in config.models if isinstance(base := entry.info.get("base_model"), str)]
    return deployments(config, PriceBook.read(litellm_files.price_table(), [*wanted, *map(split, bases)]))
