"""A policy file: the rules of a policy and of its profiles, and its limits.

A file is read on its own here; `extends` and profiles are merged in `gateway.config.merging`, so every key may be left
out but `name`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic.dataclasses import dataclass as declared

from gateway.config.conditions import FACTS, compile_condition
from gateway.config.fields import STRICT, Name, Word, named_key
from gateway.config.limits import Budgets, RateLimits, Tightenings
from gateway.config.policy import PolicyBody


def _version(value: Any) -> Literal[2]:
    if value == 2 and not isinstance(value, bool | float):
        return 2
    if value == 1 and not isinstance(value, bool | float):
        raise ValueError("version 1 of the rewriting is no longer there; write 2, or leave it out")
    raise ValueError(f"{value!r} is no version of the rewriting; write 2, or leave it out")


def _condition(value: str) -> str:
    compile_condition(value)
    return value


Version = Annotated[Literal[2], PlainValidator(_version), WithJsonSchema({"const": 2})]


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
    budgets: Budgets = named_key([], description="Amounts of money for a period, of the keys that have this policy.")
    tighten: Tightenings = named_key(
        [], description="What is done as spend approaches a hard limit, step by step. Steps that are reached add up."
    )
    limits: RateLimits = named_key({}, description="Requests and tokens a minute, and requests at the same time.")
