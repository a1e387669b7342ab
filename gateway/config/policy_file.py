"""A policy file: the rules of a policy and of its profiles, and keys that this release does not act on yet.

A file is read on its own here; `extends` and profiles are merged in `gateway.config.merging`, so every key may be left
out but `name`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic.dataclasses import dataclass as declared

from gateway.config import quantities
from gateway.config.conditions import FACTS, compile_condition
from gateway.config.fields import STRICT, Name, Share, Strict, Tokens, Word, key, named_key
from gateway.config.policy import ContextWindow, PolicyBody

NOT_YET: Final = "not in this release"

T = TypeVar("T")


def _version(value: Any) -> Literal[2]:
    if value == 2 and not isinstance(value, bool | float):
        return 2
    if value == 1 and not isinstance(value, bool | float):
        raise ValueError("version 1 of the rewriting is no longer there; write 2, or leave it out")
    raise ValueError(f"{value!r} is no version of the rewriting; write 2, or leave it out")


def _condition(value: str) -> str:
    compile_condition(value)
    return value


def _none_yet(entries: list[T]) -> list[T]:
    """Refuse any entry: a key that would be accepted and do nothing is worse than none."""
    if entries:
        raise ValueError(f"{NOT_YET}; leave it out")
    return entries


Version = Annotated[Literal[2], PlainValidator(_version), WithJsonSchema({"const": 2})]
Period = Annotated[
    str, PlainValidator(quantities.period), WithJsonSchema({"type": "string", "pattern": quantities.DURATION_PATTERN})
]


class BudgetFile(Strict):
    """An amount of money for a period. Not in this release."""

    per: Literal["key", "user", "team", "model"] = Field(description="Whose spend is counted.")
    max_budget: float = Field(gt=0, allow_inf_nan=False, description="US dollars that may be spent in a period.")
    budget_duration: Period = key("1mo", description="The period: 1d, 30d, 1mo.")
    soft_budget: float | None = key(
        None, gt=0, allow_inf_nan=False, description="US dollars from which on a warning is logged."
    )
    without_user: Literal["skip", "refuse"] = key("skip", description="What happens to requests that name no user.")


class TightenFile(Strict):
    """A step to take when money runs low. Not in this release."""

    at: Share = Field(description="Share of the budget that is spent.")
    context_window: ContextWindow = key("deployment", description="The window from then on.")
    model: Word | None = key(None, description="The model from then on.")


class LimitsFile(Strict):
    """Rates. Not in this release."""

    per: Literal["key", "user", "team", "model"] = key("key", description="Whose requests are counted.")
    rpm_limit: Tokens | None = key(None, description="Requests per minute.")
    tpm_limit: Tokens | None = key(None, description="Tokens per minute.")
    max_parallel_requests: int | None = key(None, ge=1, description="Requests at the same time.")


def _nothing_said(value: LimitsFile) -> LimitsFile:
    if value.model_fields_set:
        raise ValueError(f"{NOT_YET}; leave it out")
    return value


@declared(config=STRICT, frozen=True, slots=True, kw_only=True)
class ProfileFile(PolicyBody):
    """A variant of its policy. Its keys are merged over the policy."""

    when: Annotated[str, AfterValidator(_condition)] | None = named_key(
        None,
        description="CEL expression; the first profile whose condition holds is taken. It may ask for "
        + "; ".join(f"{name}: {what}" for name, what in FACTS.items())
        + ".",
    )


@declared(config=STRICT, frozen=True, slots=True, kw_only=True)
class PolicyFile(PolicyBody):
    """A gateway policy: the token budget of a team's requests, and what is done to a request that is over it."""

    name: Name = Field(kw_only=True, description="What configuration, headers and reports call this policy.")
    extends: Word | None = named_key(None, description="Name of a policy over which this one is merged, key by key.")
    version: Version = named_key(2, description="Version of the rewriting itself. Pins the bytes across upgrades.")
    profiles: dict[Name, ProfileFile] = named_key(
        {},
        description="Variants by name, chosen by the header x-gateway-profile, metadata.gateway_profile, or `when`.",
    )
    budgets: Annotated[list[BudgetFile], AfterValidator(_none_yet)] = named_key(
        [], description=f"Money limits. {NOT_YET.capitalize()}."
    )
    tighten: Annotated[list[TightenFile], AfterValidator(_none_yet)] = named_key(
        [], description=f"What is done when money runs low. {NOT_YET.capitalize()}."
    )
    limits: Annotated[LimitsFile, AfterValidator(_nothing_said)] = named_key(
        {}, description=f"Rate limits. {NOT_YET.capitalize()}."
    )
