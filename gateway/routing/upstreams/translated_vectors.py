"""Embeddings and rerankings on the way through litellm: what of a request goes along, and how the answer is written.

Pure: litellm is asked by `translated`. What would change the form of the answer is mapped here, or makes the deployment
unfit: a vector of another length than was asked for is no answer.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.routing.upstreams.upstream import Unfit

_ESTIMATES: Final = frozenset({"gemini"})
"""Providers that state no usage of embeddings, so that litellm 1.106 puts a count of its own there
(ai.google.dev/api/embeddings: `embeddings` is all that an answer holds)."""

SIZED: Final = frozenset({"gemini"})
"""Providers that make vectors as long as is asked for, beside those that litellm says so of
(ai.google.dev/api/embeddings, `outputDimensionality`)."""

_OF_RERANK: Final = ("query", "documents", "top_n", "rank_fields", "return_documents", "max_chunks_per_doc",
                     "max_tokens_per_doc")  # fmt: skip


def embedding_fields(fields: Mapping[str, Any], name: str, *, sized: bool) -> dict[str, Any]:
    """Choose what of a request for embeddings goes along to a deployment of this name; `sized` says whether it makes
    vectors as long as is asked for. Raises `Unfit`.
    """
    read = fields.get("input")
    texts = read if isinstance(read, list) else [read]
    if not all(isinstance(text, str) for text in texts):
        raise Unfit("input", f"{name} takes texts alone: send a string, or a list of strings, as `input`.")
    chosen: dict[str, Any] = {"input": texts}
    if fields.get("dimensions") is not None:
        if not sized:
            raise Unfit(
                "dimensions", f"`dimensions` cannot be served by {name}: leave it out, or ask for another model."
            )
        chosen["dimensions"] = fields["dimensions"]
    return chosen


def rerank_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Choose what of a reranking goes along."""
    return {name: fields[name] for name in _OF_RERANK if fields.get(name) is not None}


def written_embeddings(answer: Any, model: str, provider: str, *, packed: bool) -> bytes:
    """Write litellm's answer as OpenAI's, the vectors in numbers or packed as base64."""
    data = []
    for index, one in enumerate(answer.data or ()):
        vector = one["embedding"]
        vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": vector})
    said: dict[str, Any] = {"object": "list", "data": data, "model": model}
    prompt = getattr(getattr(answer, "usage", None), "prompt_tokens", None)
    if prompt and provider not in _ESTIMATES:
        said["usage"] = {"prompt_tokens": prompt, "total_tokens": prompt}
    return orjson.dumps(said)


def written_reranking(answer: Any) -> bytes:
    """Write litellm's answer to a reranking, without what is null."""
    return orjson.dumps(answer.model_dump(exclude_none=True, mode="json"))
