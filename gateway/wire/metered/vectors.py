"""A request for embeddings taken apart into its inputs, and an answer into its vectors. Pure.

Inputs and vectors keep their bytes: what is put together again is what an upstream wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.wire.lexical import DuplicateKey, NotJSON, Span, array_spans, object_spans, splice
from gateway.wire.metered.read import MeteredRequest, metered_request

MOST_INPUTS: Final = 2_048
"""Inputs of one request, as OpenAI bounds them (platform.openai.com/docs/api-reference/embeddings/create)."""

_NO_MATTER: Final = frozenset({"model", "input", "user", "metadata"})
"""Members that do not decide what the vector of an input is."""
_NUMBER: Final = b"-0123456789"


def inputs_of(request: MeteredRequest) -> tuple[bytes, ...]:
    """Return the inputs, each as it is written. None: empty, or in a form that is not known, such as parts of media."""
    places = _places(request)
    return tuple([request.body[slice(*span)] for span in places])


def _places(request: MeteredRequest) -> list[Span]:
    """Locate the inputs: texts, or lists of tokens."""
    body, whole = request.body, request.spans["input"]
    if body[whole.start : whole.start + 1] == b'"':
        return [whole]
    if body[whole.start : whole.start + 1] != b"[":
        return []
    try:
        elements = array_spans(body, whole)
    except NotJSON:
        return []
    first = {body[span.start] for span in elements}
    if elements and first <= set(_NUMBER):
        return [whole]
    return elements if elements and first <= set(b'"[') and len(elements) <= MOST_INPUTS else []


def settings_of(request: MeteredRequest) -> bytes:
    """Return all members that decide what a vector is, beside the model and the input, in one order."""
    body, spans = request.body, request.spans
    return b"\n".join(
        b"%b=%b" % (name.encode(), body[slice(*spans[name])]) for name in sorted(spans.keys() - _NO_MATTER)
    )


def with_inputs(request: MeteredRequest, numbers: Collection[int]) -> MeteredRequest:
    """Return the request for these of its inputs alone."""
    places = _places(request)
    left = b"[" + b",".join([request.body[slice(*places[number])] for number in sorted(numbers)]) + b"]"
    body = splice(request.body, [(*request.spans["input"], left)])
    return replace(metered_request(request.operation, body), model=request.model)


def vectors_in(answer: bytes, count: int) -> list[bytes]:
    """Return the vectors of an answer in the order of the inputs, each as it is written; none where one is missing."""
    try:
        data = object_spans(answer)["data"]
        found: dict[int, bytes] = {}
        for at, span in enumerate(array_spans(answer, data)):
            item = answer[slice(*span)]
            members = object_spans(item)
            index = orjson.loads(item[slice(*members["index"])]) if "index" in members else at
            found[index] = item[slice(*members["embedding"])]
        return [found[number] for number in range(count)] if len(found) == count else []
    except (KeyError, TypeError, NotJSON, DuplicateKey, orjson.JSONDecodeError):
        return []


def vectors_answer(model: str, vectors: Sequence[bytes], usage: Mapping[str, Any] | None) -> bytes:
    """Write an answer of these vectors; `usage` is of what an upstream was asked for, none where it was nothing."""
    listed = [b'{"object":"embedding","index":%d,"embedding":%b}' % one for one in enumerate(vectors)]
    used = {"prompt_tokens": 0, "total_tokens": 0} if usage is None else dict(usage)
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (
        b",".join(listed),
        orjson.dumps(model),
        orjson.dumps(used),
    )
