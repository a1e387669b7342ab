"""The headers by which a client is told of the call that answered: the upstream's own, and what did not go along.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.routing.upstreams.upstream import DROPPED
from gateway.serving.calls_in_entry import AnyAttempt, last_replied
from gateway.serving.client import Headers, header
from gateway.wire.headers import upstream_headers


def call_headers(calls: Sequence[AnyAttempt]) -> Headers:
    """Return what a client is told of a request's calls: the headers of the last answer that began, without secrets,
    and the headers and members that did not go along.
    """
    if not calls:
        return []
    replied, betas = last_replied(calls), calls[-1].dropped
    told_betas = f"anthropic-beta: {', '.join(betas)}" if betas else ""
    said = "; ".join(filter(None, (told_betas, ", ".join(calls[-1].left_out))))
    if replied is None or replied.reply is None:
        return [header(DROPPED.encode(), said)] if said else []
    came = replied.reply.headers
    own = replied.deployment.secrets.out_of_headers(upstream_headers(came))
    told = [header(name.encode(), value) for name, value in own.items()]
    if dropped := "; ".join(filter(None, (said, came.get(DROPPED, "")))):
        told.append(header(DROPPED.encode(), dropped))
    return told
