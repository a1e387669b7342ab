"""The rules of a provider's prompt cache, as a value. Pure. `gateway.config.prompt_cache_rules` reads them from files.

An unknown provider gets NOTHING: no markers and no assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from gateway.config.prompt_cache_rules import NONE, CachesFile, FactsFile, ModelsFile, layers

if TYPE_CHECKING:
    from gateway.money.prices.rates import Price

Matching = Literal["none", "prefix", "breakpoints"]
Control = Literal["none", "key", "cache_control", "cache_point", "breakpoints", "affinity"]

HOUR: Final = 3600
"""In seconds: the lifetime that has a price of its own in a price table."""


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """The rules of a provider's cache for one model."""

    rules: str
    """Name of the rule set."""
    matching: Matching = "none"
    """prefix: any prefix that was sent can be read again; breakpoints: only a prefix that a breakpoint wrote."""
    control: Control = "none"
    """The means by which a request controls the cache."""
    least: int = 0
    """Tokens below which nothing is cached."""
    step: int = 1
    """Tokens. The tokens read are a multiple of it."""
    read: Decimal = Decimal(1)
    """Price of a cached token, as a multiple of the plain input price."""
    writes: Mapping[int, Decimal] = field(default_factory=dict, hash=False)
    """Lifetime in seconds → price of a written token, as a multiple of the plain input price; the shortest first."""
    refreshed: bool = False
    """True if a read renews the lifetime."""
    most_markers: int = 0
    look_back: int = 0
    """Blocks before a breakpoint in which an older entry is found; 0 is no bound."""
    binds_reasoning: bool = False
    """True if reasoning is accepted only behind the same messages after which it was given."""
    certain: bool = True
    """True if a cached prefix is always read before it expires; False: mostly."""
    source: str = ""
    date: str = ""

    @property
    def marks_itself(self) -> bool:
        """True if the provider sets a breakpoint of its own, at the latest message of the user or a tool."""
        return self.matching == "breakpoints" and self.control in ("breakpoints", "key")

    @property
    def takes_anthropic_markers(self) -> bool:
        """True if the provider reads Anthropic's markers, as they are or as litellm carries them over."""
        return self.control in ("cache_control", "cache_point")

    @property
    def takes_markers(self) -> bool:
        """True if the provider reads markers on messages, in any form."""
        return self.control == "breakpoints" or self.takes_anthropic_markers

    @property
    def takes_end_marker(self) -> bool:
        """True if the provider reads a marker for the whole prompt."""
        return self.control == "cache_control"


class CachingDeployment(Protocol):
    """The part of a deployment that its prompt cache depends on: its account, and the rules."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def api_base(self) -> str | None: ...
    @property
    def api_key(self) -> str | None: ...
    @property
    def cache(self) -> CacheFacts: ...


NOTHING: Final = CacheFacts(NONE)
"""The facts of an unknown cache."""


@dataclass(frozen=True, slots=True)
class Book:
    """The rules of all files, the operator's before the shipped ones."""

    models: tuple[tuple[ModelsFile, CacheFacts], ...]
    own: int = 0
    """The number of the operator's entries. They are the first ones."""

    def find(self, provider: str, model: str) -> tuple[CacheFacts, bool]:
        """Return the facts of a model, and True if the operator wrote them."""
        for number, (entry, facts) in enumerate(self.models):
            if _fits(provider, entry.provider) and _fits(model, entry.model):
                return facts, number < self.own
        return NOTHING, False


def book_of(shipped: CachesFile, own: CachesFile | None = None) -> Book:
    """Merge the operator's file over the shipped one: rule sets fact by fact; the first matching entry counts."""
    files = [shipped] if own is None else [shipped, own]
    names = dict.fromkeys(name for file in files for name in file.rules)
    rules = {name: _with(replace(NOTHING, rules=name), layers(name, files[::-1])[::-1]) for name in names}
    entries = [entry for file in reversed(files) for entry in file.models]
    models = tuple((entry, _with(rules.get(entry.rules, NOTHING), [entry])) for entry in entries)
    return Book(models, 0 if own is None else len(own.models))


def facts_for(provider: str, model: str, book: Book) -> CacheFacts:
    """Return the facts of the cache behind a model; NOTHING if it is unknown."""
    return book.find(provider, model)[0]


def priced(facts: CacheFacts, price: Price | None) -> CacheFacts:
    """Return the facts with the prices of this deployment, as far as its price distinguishes reads and writes.

    On Bedrock Converse, the lifetime of an hour is asked for only if the price table has a price for it: litellm passes
    it on for no other model (`is_claude_4_5_on_bedrock`).
    """
    if price is None or facts.matching == "none":
        return facts
    rates = price.rates()
    if not rates.input:
        return facts
    writes = dict(facts.writes)
    if facts.control == "cache_point" and rates.cache_write_1h == rates.cache_write and len(writes) > 1:
        writes.pop(HOUR, None)
    for lifetime in writes:
        rate = rates.cache_write_1h if lifetime == HOUR and len(writes) > 1 else rates.cache_write
        if rate != rates.input:
            writes[lifetime] = rate / rates.input
    read = facts.read if rates.cached == rates.input else rates.cached / rates.input
    return replace(facts, read=read, writes=writes)


def _fits(name: str, globs: Sequence[str]) -> bool:
    """Return True if a name fits, in any case of its letters: Azure's deployments are called as their owner likes."""
    return any(fnmatchcase(name.lower(), glob.lower()) for glob in globs)


def _with(facts: CacheFacts, files: Sequence[FactsFile]) -> CacheFacts:
    """Set the facts that files define. The last file has precedence."""
    fields: dict[str, Any] = {}
    for layer in files:
        fields |= {name: value for name in _FACTS if (value := getattr(layer, name)) is not None}
    return replace(facts, **fields)


_FACTS: Final = tuple(FactsFile.model_fields)
