"""The failures of upstreams as operators are told of them, and one that names a member which it does not take. Pure."""

from __future__ import annotations

from typing import Any

from gateway.routing.attempts import Failure, Outcome
from gateway.routing.deployment import Deployment
from gateway.wire.errors import printable
from gateway.wire.failures import complaints

_SAID = 500
"""Characters of an error that are logged."""


def refuses(outcome: Outcome, member: str) -> bool:
    """Whether an upstream refused a request and named this member of its body. Some quote all of it besides."""
    if not isinstance(outcome, Failure) or outcome.status not in {400, 422, 501} or member.encode() not in outcome.body:
        return False
    return any(member in text for text in complaints(outcome.body))


def is_upstreams(failure: Failure) -> bool:
    """Whether it is more than what a client is told of its own request, or what is known of a rest."""
    return failure.begun or (failure.fault.whose != "request" and failure.kind not in ("unfit", "busy"))


def failure_facts(failure: Failure, *, quotes: bool) -> dict[str, Any]:
    """Return what an operator is told of a failure; with `quotes`, what the upstream said as well."""
    facts = {
        "deployment": failure.deployment.name,
        "kind": failure.kind,
        "status": failure.status,
        "fault": failure.fault.kind,
    }
    if failure.message:
        facts["reason"] = printable(failure.message, _SAID)
    if quotes and (said := failure.said or failure.body[: 4 * _SAID].decode(errors="replace")):
        facts["said"] = printable(said, _SAID)
    return facts


def busy(deployment: Deployment, seconds: float) -> Failure:
    """Say that a deployment is over a rate that the configuration names, and was not called."""
    return Failure(deployment, "busy", retry_after=seconds, message="it is over its rate")


def untranslatable(deployment: Deployment, shape: str, member: str) -> Failure:
    """Say that a deployment which is asked for chat completions cannot be told a member of another shape's request."""
    said = f"`{member}` cannot be served by {deployment.provider}, which is asked for chat completions: leave it out, "
    said += f"or ask for a model whose provider takes {shape} as they come."
    return Failure(deployment, "unfit", message=said, param=member)
