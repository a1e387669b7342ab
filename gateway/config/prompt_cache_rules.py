"""Rules of providers' prompt caches, as files give them: those of `providers/`, one for each family, and
`prompt_caches` of config.yaml, which goes before them.

These models only read; what the gateway works with are the values of `gateway.prompt_cache.rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from gateway.config import quantities
from gateway.config.fields import Name, Strict, Tokens, Word, key
from gateway.config.problems import KeyPath
from gateway.config.yaml import read_yaml


def _multiple(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError(f"{value!r} is not a multiple of the plain input price; write 0.1 for a tenth")
    return Decimal(str(value))


def _lifetimes(value: Any) -> dict[int, Decimal]:
    if not isinstance(value, dict) or not value:
        raise ValueError("must be a mapping of lifetimes to prices, as {5m: 1.25, 1h: 2}")
    found: dict[int, Decimal] = {}
    for lifetime, price in value.items():
        seconds = quantities.seconds(lifetime)
        if seconds != int(seconds):
            raise ValueError(f"{lifetime!r} is not a whole number of seconds")
        found[int(seconds)] = _multiple(price)
    return dict(sorted(found.items()))


def _date(value: str) -> str:
    if not re.fullmatch(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]", value):
        raise ValueError(f"{value!r} is not a date; write 2026-11-27")
    return value


Multiple = Annotated[Decimal, PlainValidator(_multiple), WithJsonSchema({"type": "number", "minimum": 0})]
Lifetimes = Annotated[
    dict[int, Decimal],
    PlainValidator(_lifetimes),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}),
]
Globs = Annotated[list[Word], Field(min_length=1)]


class FactsFile(Strict):
    """Facts about a provider's prompt cache. A fact that is left out is as in the rule set, or as if nothing were
    known.
    """

    matching: Literal["none", "prefix", "breakpoints"] | None = key(
        None, description="none; prefix: all that was sent can be read again; breakpoints: what a breakpoint wrote."
    )
    control: Literal["none", "key", "cache_control", "cache_point", "breakpoints", "affinity"] | None = key(
        None, description="How a request says what is to be kept."
    )
    least: Tokens | None = key(None, description="Tokens below which nothing is cached.")
    step: int | None = key(None, ge=1, description="Tokens; what is read is a multiple of it.")
    read: Multiple | None = key(
        None, description="Price of a cached token, as a multiple of the plain one; the price table goes before it."
    )
    writes: Lifetimes | None = key(
        None, description="Lifetime to the price of a written token, as a multiple of the plain one: {5m: 1.25, 1h: 2}."
    )
    refreshed: bool | None = key(None, description="Whether a read renews the lifetime.")
    most_markers: int | None = key(None, ge=0, le=100, description="Markers that one request may carry.")
    look_back: int | None = key(
        None, ge=0, description="Blocks before a marker in which an older entry is found; 0 is no bound."
    )
    binds_reasoning: bool | None = key(
        None, description="Whether reasoning that comes back is only taken behind the very messages it was given after."
    )
    certain: bool | None = key(None, description="Whether what is alive is always read; false: mostly.")
    source: Word | None = key(None, description="Where it says so.")
    date: Annotated[str, AfterValidator(_date)] | None = key(None, description="When it said so, as 2026-11-27.")


class RulesFile(FactsFile):
    """A rule set."""

    like: Name | None = key(None, description="The rule set that fills in what this one leaves out.")


class ModelsFile(FactsFile):
    """Models, and the rule set that they follow. The first entry that fits counts; a fact beside it goes before the
    rule set's.
    """

    provider: Globs = Field(description="Providers; * stands for any letters.")
    model: Globs = key(["*"], description="Models of theirs, as in litellm_params but without the provider.")
    rules: Name = Field(description="The rule set, or none.")


NONE = "none"
"""The rule set of what nobody knows."""


class CachesFile(Strict):
    """Facts about providers' prompt caches."""

    rules: dict[str, RulesFile] = key({}, description="Rule sets by name.")
    models: list[ModelsFile] = key([], description="Which models follow which; the first that fits counts.")

    @model_validator(mode="after")
    def _known(self) -> CachesFile:
        for name in self.rules:
            seen = [name]
            while (under := self.rules[seen[-1]].like) in self.rules and under is not None:
                if under in seen:
                    raise ValueError(f"rule sets are like one another in a circle: {' → '.join([*seen, under])}")
                seen.append(under)
        return self


@cache
def shipped_rules() -> CachesFile:
    """Return what comes with the program, read once. No model is in two files, so their order says nothing."""
    said = [CachesFile.model_validate(read_yaml(file).data) for file in shipped_files()]
    rules = {name: rule for one in said for name, rule in one.rules.items()}
    return CachesFile(rules=rules, models=[entry for one in said for entry in one.models])


def shipped_files() -> list[Path]:
    """List the files of rules that come with the program."""
    return sorted((Path(__file__).resolve().parent.parent / "providers").glob("*.yaml"))


def unknown_rules(said: CachesFile) -> Iterator[tuple[KeyPath, str, list[str]]]:
    """Yield where an operator names a rule set that is nowhere, its name, and those that there are."""
    known = sorted({NONE, *shipped_rules().rules, *said.rules})
    named: list[tuple[KeyPath, str | None]] = [
        *((("rules", name, "like"), one.like) for name, one in said.rules.items()),
        *((("models", index, "rules"), one.rules) for index, one in enumerate(said.models)),
    ]
    yield from ((path, name, known) for path, name in named if name is not None and name not in known)


def without_lifetime(said: CachesFile) -> Iterator[KeyPath]:
    """Yield where an operator says how a cache matches, and nobody for how long it keeps anything."""
    files = [said, shipped_rules()]
    for name in said.rules:
        if _keeps_no_time(layers(name, files)):
            yield "rules", name
    for index, entry in enumerate(said.models):
        is_told_above = entry.rules in said.rules and not entry.matching
        if not is_told_above and _keeps_no_time([entry, *layers(entry.rules, files)]):
            yield "models", index


def _keeps_no_time(said: Sequence[FactsFile]) -> bool:
    matching = next((one.matching for one in said if one.matching is not None), "none")
    return matching != "none" and not any(one.writes for one in said)


def layers(name: str, files: Sequence[CachesFile]) -> list[FactsFile]:
    """List what files say of a rule set and of those that it is like; what counts most comes first, files too."""
    out: list[FactsFile] = []
    step: str | None = name
    while step is not None and step != NONE:
        own = [file.rules[step] for file in files if step in file.rules]
        out += own
        step = next((one.like for one in own if one.like is not None), None)
    return out
