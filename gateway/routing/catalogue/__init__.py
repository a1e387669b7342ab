"""The deployments that a configuration names, with prices and windows of litellm's table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec

from gateway import packaged_data
from gateway.config import Config, ModelEntry
from gateway.config.problems import closest
from gateway.config.wildcards import covering, filling, is_pattern
from gateway.money.prices.names import split
from gateway.money.prices.table import PriceBook
from gateway.providers import refusals
from gateway.providers.table import PROVIDERS, provider_of
from gateway.routing.catalogue import fates
from gateway.routing.deployment import (
    Deployment,
    Unservable,
    deployments,
    kind_of,
    provider_and_model,
    under_pattern,
)

Complaint = tuple[int | None, tuple[str | int, ...], str]


class Catalogue(Mapping[str, tuple[Deployment, ...]]):
    """The deployments of each `model_name`, and those of names that one with asterisks covers."""

    def __init__(self, config: Config, declared: Mapping[str, tuple[Deployment, ...]], book: PriceBook) -> None:
        self._config, self._declared, self._book = config, declared, book
        self._patterns = [name for name in declared if is_pattern(name)]

    def __getitem__(self, name: str) -> tuple[Deployment, ...]:
        return self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def under(self, name: str) -> tuple[str, tuple[Deployment, ...]] | None:
        """Find the pattern that covers a name and what is deployed under it; None where nothing is."""
        pattern = covering(self._patterns, name)
        parts = None if pattern is None else filling(pattern, name)
        if pattern is None or parts is None:
            return None
        found = under_pattern(self._config, pattern, name, parts, self._book)
        known = [one for one in found if one.provider != "demo" or not one.takes_any_provider]
        known = [one for one in known if _refused_provider(one.provider) is None]
        return (pattern, tuple(known)) if known else None

    def names_under(self, pattern: str) -> list[str]:
        """List what a pattern is known to cover: the priced chat models of a provider at its own address."""
        (one, *others) = self._declared[pattern]
        somewhere = one.is_providers_own or one.api_base is None
        if others or pattern.count("*") != 1 or one.model != "*" or one.takes_any_provider or not somewhere:
            return []
        return sorted(pattern.replace("*", name) for name in self._book.names(one.provider))

    @property
    def aliases(self) -> Mapping[str, str]:
        return self._config.aliases


def catalogue(config: Config) -> Catalogue:
    """Return the deployments of each model name. Raises `Unservable` for entries that cannot become one."""
    wanted = [provider_and_model(entry.params) for entry in config.models]
    complaints = [*_strangers(config.models, [provider for provider, _ in wanted]), *_refused(config.models)]
    bases = [base for entry in config.models for base in _bases(entry)]
    whole = any(is_pattern(entry.model_name) for entry in config.models)
    book = PriceBook.read(packaged_data.price_table(), None if whole else [*wanted, *map(split, bases)])
    try:
        found = deployments(config, book)
    except Unservable as error:
        raise Unservable([*complaints, *error.complaints]) from None
    if complaints:
        raise Unservable(complaints)
    return Catalogue(config, found, book)


def known_providers() -> frozenset[str]:
    """Return every provider that can be named."""
    return frozenset({*PROVIDERS, "demo"})


def meant(unpriced: Iterable[Deployment]) -> Mapping[str, str]:
    """Return, by a deployment's name, the model of its provider that was probably meant, where there is one.

    Models at an address of one's own are called what their owner likes.
    """
    asked = [one for one in unpriced if one.is_providers_own or one.api_base is None]
    book = PriceBook.read(packaged_data.price_table()) if asked else PriceBook({})
    found = {one.name: (one.provider, closest(one.model, book.names(one.provider))) for one in asked}
    return {name: f"{provider}/{model}" for name, (provider, model) in found.items() if model is not None}


def without_effect(models: Iterable[ModelEntry]) -> Iterator[str]:
    """Say which keys of the list change nothing, each once."""
    return fates.named_once(_told(models))


def _bases(entry: ModelEntry) -> Iterator[str]:
    for said in (entry.info, entry.params):
        base = said.get("base_model")
        if isinstance(base, str):
            yield base


def _told(models: Iterable[ModelEntry]) -> Iterator[fates.KeyFate]:
    return fates.of_list(map(_listed, models))


def _listed(entry: ModelEntry) -> fates.Entry:
    provider, model = provider_and_model(entry.params)
    kind = kind_of(provider, model, entry.params.get("api_base") or entry.params.get("base_url"))
    return entry.line, entry.params, entry.info, kind, provider_of(provider).own_parameters


def _refused(models: Iterable[ModelEntry]) -> Iterator[Complaint]:
    """Yield the keys that no entry may hold, each with what to write instead."""
    for one in _told(models):
        if one.fate.kind == "refused":
            hint = f"; did you mean {one.fate.suggestion!r}?" if one.fate.suggestion else ""
            yield one.line, ("model_list", one.index, *one.key), one.fate.reason + hint


def _strangers(models: Iterable[ModelEntry], providers: list[str]) -> Iterator[Complaint]:
    """Yield the providers that cannot be reached from here: at start, not at the first request."""
    for index, (entry, provider) in enumerate(zip(models, providers, strict=True)):
        if provider != "*" and (told := _refused_provider(provider)) is not None:
            yield entry.line, ("model_list", index, "litellm_params", "model"), told


def _refused_provider(provider: str) -> str | None:
    """Say why a provider cannot be served by this installation; None where it can."""
    told, facts = refusals.unknown(provider), PROVIDERS.get(provider)
    if told is None and facts is not None:
        told = refusals.not_installed(provider, facts, _is_installed)
    return told


@cache
def _is_installed(module: str) -> bool:
    """Look for a module without running it; of a module inside a package, the packages around it are imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
