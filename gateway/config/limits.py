"""Limits as files declare them: money for a period, rates, and the steps that are taken as money runs low.

One form serves a policy, `teams`, `keys` and the top of `config.yaml`. Whose spend an entry counts is its `per`; where
it is left out, the place decides: of a policy and of a key the key, of a team the team, at the top the whole gateway.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.dataclasses import dataclass as declared
from pydantic.json_schema import JsonSchemaValue

from gateway.config import quantities
from gateway.config.fields import STRICT, Share, Tokens, Word, key

Scope = Literal["key", "user", "team", "model", "tag", "gateway"]
"""The party that a limit counts for."""

MOST_DOLLARS: Final = 9_000_000
"""Nano-dollars up to here are exact in every store: Redis computes in doubles, whole up to 2**53."""
MOST_LIMITS: Final = 20
"""Limits in one list: each is looked at by every request that it applies to."""
_LONGEST_DAYS: Final = 3660


def _dollars(value: Any) -> Decimal:
    """Read an amount of US dollars exactly, to the nano-dollar."""
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if isinstance(value, bool) or not 0 < amount <= MOST_DOLLARS or amount * 10**9 % 1:
        shown = repr(value)[:60]
        raise ValueError(f"{shown} is not a budget; write US dollars as 500 or 0.25, at most {MOST_DOLLARS:,}")
    return amount


def _period(value: Any) -> str:
    """Check a period: at least a second, at most ten years, of whole units."""
    word = quantities.period(value)
    amount, unit = period_parts(word)
    days = amount * {"s": 1 / 86_400, "m": 1 / 1_440, "h": 1 / 24, "d": 1, "w": 7, "mo": 31}[unit]
    if amount < 1 or not re.fullmatch(r"[0-9]+[a-z]+", word) or days > _LONGEST_DAYS:
        raise ValueError(f"{word!r} is not a period; write a whole number of s, m, h, d, w or mo, at most ten years")
    return word


def period_parts(word: str) -> tuple[int, str]:
    """Split a period into its number and its unit: `30d` into (30, "d")."""
    unit = word.lstrip("0123456789.")
    return int(float(word.removesuffix(unit))), unit


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone; write its name, as Europe/Berlin, or UTC") from None
    return value


def _is_whole(value: Any) -> Any:
    if value is not None and quantities.tokens(value) == 0:
        raise ValueError("a limit of 0 lets nothing through; take the key away instead")
    return value


def _limits_list(value: Any) -> Any:
    """Take one mapping for a list of one, and an empty one for none."""
    if isinstance(value, dict):
        return [value] if value else []
    return () if value is None else value


def _not_too_many(limits: Sequence[Any]) -> Any:
    if len(limits) > MOST_LIMITS:
        raise ValueError(f"has {len(limits)} entries; at most {MOST_LIMITS}")
    return limits


Dollars = Annotated[
    Decimal,
    PlainValidator(_dollars),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": MOST_DOLLARS}),
]
Period = Annotated[
    str, PlainValidator(_period), WithJsonSchema({"type": "string", "pattern": "^[0-9]+(s|m|h|d|w|mo)$"})
]
Zone = Annotated[str, AfterValidator(_zone)]
Rate = Annotated[Tokens, BeforeValidator(_is_whole)]


@declared(config=STRICT, frozen=True, slots=True)
class Budget:
    """An amount of money for a period."""

    max_budget: Dollars | None = key(
        None, description="Hard limit: US dollars that may be spent in a period; what would pass it is refused."
    )
    soft_budget: Dollars | None = key(
        None, description="US dollars from which on a warning is logged and sent, once a period."
    )
    budget_duration: Period = key("1mo", description="The period: 1h, 1d, 30d, 1w, 1mo.")
    window: Literal["calendar", "rolling"] = key(
        "calendar",
        description="calendar: spend begins anew at midnight, on Monday, on the first. rolling: always the last so "
        "much time.",
    )
    time_zone: Zone = key("UTC", description="Whose midnight: Europe/Berlin.")
    per: Scope | None = key(None, description="Whose spend is counted; left out, that of the place it stands at.")
    only: tuple[Word, ...] | None = key(
        None, description="Names of models, tags, users … that it is for; left out, each has its own."
    )
    without_user: Literal["skip", "refuse"] = key("skip", description="What happens to requests that name no user.")

    @model_validator(mode="after")
    def _says_something(self) -> Budget:
        if self.max_budget is None and self.soft_budget is None:
            raise ValueError("says no amount; give max_budget, soft_budget or both")
        if self.max_budget is not None and self.soft_budget is not None and self.soft_budget > self.max_budget:
            raise ValueError("soft_budget is above max_budget, so nobody would be warned before the refusal")
        return self

    @property
    def hard_nanousd(self) -> int | None:
        return None if self.max_budget is None else int(self.max_budget * 10**9)

    @property
    def soft_nanousd(self) -> int | None:
        return None if self.soft_budget is None else int(self.soft_budget * 10**9)


@declared(config=STRICT, frozen=True, slots=True)
class RateLimit:
    """Rates: each minute of the clock begins anew."""

    per: Scope | None = key(None, description="Whose requests are counted; left out, that of the place it stands at.")
    rpm_limit: Rate | None = key(None, description="Requests a minute.")
    tpm_limit: Rate | None = key(None, description="Tokens a minute, of prompts and answers.")
    max_parallel_requests: int | None = key(None, ge=1, description="Requests at the same time.")
    only: tuple[Word, ...] | None = key(None, description="Names of models, tags, users … that it is for.")
    without_user: Literal["skip", "refuse"] = key("skip", description="What happens to requests that name no user.")


@declared(config=STRICT, frozen=True, slots=True)
class Tightening:
    """A step that is taken once so much of a hard limit is spent, and stays until its window ends."""

    at: Share = Field(description="Share of the budget that is spent.")
    context_window: Tokens | None = key(None, description="Most tokens of prompt and answer from then on.")
    model: Word | None = key(None, description="The model that is asked instead, from then on.")
    summaries: bool = key(True, description="false: no model writes summaries from then on.")
    recall: bool = key(True, description="false: nothing folded is recalled from then on.")
    refuse: bool = key(False, description="true: nothing is served from then on.")

    @model_validator(mode="after")
    def _does_something(self) -> Tightening:
        if not self.context_window and not self.model and self.summaries and self.recall and not self.refuse:
            raise ValueError(
                "does nothing; give context_window, model, summaries: false, recall: false or refuse: true"
            )
        if not 0 < self.at <= 1 or math.isnan(self.at):
            raise ValueError("`at` is the share of a budget that is spent, above 0%")
        return self


class _OneOrMany:
    """Says in the schema that one mapping may stand for a list of one."""

    @staticmethod
    def __get_pydantic_json_schema__(schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        one = handler(schema)["items"]
        return {"anyOf": [one, {"type": "array", "maxItems": MOST_LIMITS}], "items": one}


_SOME: Final = (_OneOrMany(), BeforeValidator(_limits_list), AfterValidator(_not_too_many))
Budgets = Annotated[tuple[Budget, ...], *_SOME]
RateLimits = Annotated[tuple[RateLimit, ...], *_SOME]
Tightenings = Annotated[tuple[Tightening, ...], *_SOME]
