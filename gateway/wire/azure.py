"""Azure's way of naming a model: in the path, whatever the body says. Pure.

learn.microsoft.com/azure/ai-foundry/openai/reference: `/openai/deployments/{deployment}/chat/completions`.
"""

from __future__ import annotations

import orjson

from gateway.wire.lexical import DuplicateKey, NotJSON, object_spans, splice


def with_model(body: bytes, model: str) -> bytes:
    """Write the model of the path into a body; one that is not understood stays as it is, and is refused later."""
    try:
        spans = object_spans(body)
    except (NotJSON, DuplicateKey):
        return body
    name, span = orjson.dumps(model), spans.get("model")
    if span is not None:
        return body if body[slice(*span)] == name else splice(body, [(*span, name)])
    at = body.index(b"{") + 1
    return splice(body, [(at, at, b'"model":' + name + (b"," if spans else b""))])
