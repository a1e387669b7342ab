"""Embeddings of which some or all are known: the upstream is asked for the others alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.response_cache.key import vector_keys
from gateway.response_cache.vectors import VectorCache
from gateway.routing.models import Model
from gateway.wire.metered.answers import Result
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.metered.vectors import inputs_of, settings_of, vectors_answer, vectors_in, with_inputs


@dataclass(frozen=True, slots=True)
class KnownVectors:
    """The inputs of a request, and the vectors that are known of them."""

    request: MeteredRequest
    keys: tuple[str, ...]
    vectors: tuple[bytes | None, ...]

    @property
    def missing(self) -> list[int]:
        """List the inputs that nothing is known of."""
        return [number for number, one in enumerate(self.vectors) if one is None]

    @property
    def count(self) -> int:
        """Return the number of inputs whose vectors are known."""
        return len(self.vectors) - len(self.missing)

    def rest(self) -> MeteredRequest:
        """Return the request as the upstream is asked: for what is missing."""
        return with_inputs(self.request, self.missing) if self.count else self.request

    def answer(self) -> bytes:
        """Write the answer to a request of which nothing is missing."""
        return vectors_answer(self.request.model, [one for one in self.vectors if one is not None], None)

    def completed(self, result: Result) -> tuple[Result, Mapping[str, bytes]] | None:
        """Put an upstream's answer together with what was known; return the vectors that are new, by key.

        An answer whose vectors are not understood is handed on as it came. None where it answers a part alone.
        """
        missing = self.missing
        new = vectors_in(result.body, len(missing))
        if not new:
            return None if self.count else (result, {})
        fresh = dict(zip([self.keys[number] for number in missing], new, strict=True))
        if not self.count:
            return result, fresh
        usage: Any = result.fields.get("usage")
        vectors = [one if one is not None else fresh[key] for key, one in zip(self.keys, self.vectors, strict=True)]
        model = result.fields.get("model")
        body = vectors_answer(
            model if isinstance(model, str) else self.request.model, vectors, usage if isinstance(usage, dict) else None
        )
        return Result(body, result.fields), fresh


async def known_vectors(cache: VectorCache, request: MeteredRequest, model: Model, team: str) -> KnownVectors | None:
    """Look up what is known of a request's inputs; None for a request that is not taken apart."""
    inputs = inputs_of(request)
    if not inputs:
        return None
    asked = {f"{one.provider}/{one.model}" for one in model.serving(request.operation)}
    keys = vector_keys(team, asked, settings_of(request), inputs)
    return KnownVectors(request, tuple(keys), tuple(await cache.get(keys)))
