"""Questions of a worker to a process that plans for it, and their answers. Values alone.

A question names the body it is about by a number; the body itself follows where the process does not have it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.budget.allocation import Window
from gateway.budget.components import CountMedia
from gateway.config.policy import Policy
from gateway.rewriting.plan import Edit, Plan, Refusal
from gateway.wire.errors import GatewayError
from gateway.wire.legality import Rules

MOST_KEPT: Final = 2
"""Requests that a process keeps between reading and planning them."""


@dataclass(frozen=True, slots=True)
class Read:
    """Read this body."""

    body: int
    shape: str


@dataclass(frozen=True, slots=True)
class Planned:
    """Plan the request with this body. See `fitting.Form`: all that its plan depends on, but for what is looked up."""

    body: int
    answer_limit: int | None
    policy: Policy
    """Without its profiles: one was chosen."""
    window: Window
    legal: tuple[Rules, ...]
    count_media: CountMedia
    encoding: str
    moves: bool
    """Whether declared volatile text leaves at another place."""
    early: frozenset[int]
    summaries_of: str | None
    """The model that writes summaries, if any may enter; their texts, and decisions, are asked for."""
    shape: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget this body."""

    body: int


@dataclass(frozen=True, slots=True)
class SummaryLookup:
    """A question back, for something that is known of summaries."""

    decision: bool
    key: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of each text that counting a conversation asks for, in the order of `components.texts`."""

    tokens: array[int]
    weighed: array[int] | None
    """Their weights at the provider, if these differ."""


Fault = tuple[int, str, str, str | None, str | None, Mapping[str, str], Mapping[str, Any] | None]


def error_fields(error: GatewayError) -> Fault:
    return error.status, error.type, error.message, error.code, error.param, dict(error.headers), error.extra


def error_of(fault: Fault) -> GatewayError:
    """Return the error that a process met."""
    status, kind, message, code, param, headers, extra = fault
    return GatewayError(status, kind, message, code=code, param=param, headers=headers, extra=extra)


def with_edits(found: Plan | Refusal, edits: list[Edit]) -> Plan | Refusal:
    return replace(found, edits=tuple(edits)) if edits and isinstance(found, Plan) else found
