"""Law 4. If a request was legal for a provider, what is sent is; what came illegal and is over leaves legal."""

import json
from collections.abc import Sequence

from gateway.rewriting.plan import Refusal
from tests.laws import oracle
from tests.laws.driving import Walk


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    provider = walk.case.model.legal[0].name
    for upto, left in zip(walk.upto, walk.left, strict=True):
        came = walk.case.talk.read[:upto]
        faults = oracle.violations(came)
        if isinstance(left.plan, Refusal):
            assert left.plan.illegal is None or faults
            assert left.plan.illegal is None or stays_illegal(came), "old orphans may go"
        if left.body is None or left.changes is None:
            continue
        went = json.loads(left.body)["messages"]
        assert not oracle.violations(went)
        assert not oracle.provider_violations(went, provider) - oracle.provider_violations(came, provider)


def stays_illegal(came: Sequence[oracle.Body]) -> bool:
    """Whether a conversation is illegal even without all that tools and models said before its end."""
    last = len(came) - 1
    while last and came[last]["role"] == "tool" and came[last - 1]["role"] in {"tool", "assistant"}:
        last -= 1
    old = [message for message in came[:last] if message["role"] not in {"tool", "assistant"}]
    return bool(oracle.violations([*old, *came[last:]]))
