"""The headers by which a client is told of the call that answered: the upstream's own, and what did not go along.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.routing.upstreams.upstream import DROPPED
from gateway.serving.calls_in_entry import AnyAttempt
from gateway.wire.headers import upstream_headers


def reply_headers(replied: AnyAttempt | None) -> Mapping[str, str]:
    """Return what a client is told of the headers of the last answer that began, without secrets."""
    if replied is None or replied.reply is None:
        return {}
    return replied.deployment.secrets.out_of_headers(upstream_headers(replied.reply.headers))


def dropped_parts(replied: AnyAttempt | None, betas: Sequence[str]) -> str:
    """List what did not go along with the call that answered: values of headers, and members of the body."""
    said = f"anthropic-beta: {', '.join(betas)}" if betas else ""
    members = "" if replied is None or replied.reply is None else replied.reply.headers.get(DROPPED, "")
    return "; ".join(filter(None, (said, members)))
