"""A metered request as a deployment is to have it: its bytes, but for what the route must change. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from gateway.config.litellm_keys import DEFAULTS
from gateway.wire.lexical import splice
from gateway.wire.members import default_splices, usage_splice, without_members
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.outgoing import Additions

_OF_COMPLETIONS: Final = frozenset(
    """
    temperature top_p top_k min_p max_tokens presence_penalty frequency_penalty repetition_penalty seed stop logit_bias
    user
    """.split()  # noqa: SIM905  # a dozen words read better than a dozen strings
)
"""Defaults of chat completions that text completions know too (platform.openai.com/docs/api-reference/completions)."""


def metered_body(request: MeteredRequest, model: str, additions: Additions) -> bytes:
    """Write the request for a deployment: its model name, its defaults, and what is said to us alone taken out."""
    body, spans = request.body, request.spans
    out = [*request.ours, *_named(request, model), *_defaults(request, additions)]
    if request.stream and not request.asks_usage and additions.usage and "stream_options" not in additions.left_out:
        out.append(usage_splice(body, spans))
    out = without_members(out, body, spans, request.gone | additions.left_out, usage=additions.usage)
    return splice(body, out) if out else body


def _named(request: MeteredRequest, model: str) -> list[tuple[int, int, bytes]]:
    span, name = request.spans.get("model"), orjson.dumps(model)
    if span is None:
        at = request.body.index(b"{") + 1
        return [(at, at, b'"model":' + name + (b"," if request.spans else b""))]
    return [] if request.body[slice(*span)] == name else [(*span, name)]


def _defaults(request: MeteredRequest, additions: Additions) -> Iterator[tuple[int, int, bytes]]:
    """Put in what the client left to the deployment: of the defaults for chats those that the operation knows."""
    if request.operation == "compact":
        return
    known = _OF_COMPLETIONS if request.operation == "completions" else frozenset({"user"})
    wanted = [one for one in additions.defaults if one[0] in known or one[0] not in DEFAULTS]
    left = [one for one in wanted if one[0] not in additions.left_out]
    yield from default_splices(request.body, request.spans, left)
