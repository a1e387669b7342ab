"""A request for embeddings, a text completion, a moderation or a reranking: bytes in, a value out. Pure.

It leaves as it came, so only what the gateway acts on is read; the rest is proven to be JSON and rides along. Sources:
platform.openai.com/docs/api-reference (embeddings/create, completions/create, moderations/create) and
docs.cohere.com/reference/rerank, whose form LiteLLM, Jina, vLLM and others speak under `/v1/rerank`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.wire.errors import invalid_request
from gateway.wire.lexical import Span, array_spans, value
from gateway.wire.members import MOST_CHOICES, ours_in_metadata, positive, read_members
from gateway.wire.operations import Operation

INPUT: Final[Mapping[Operation, tuple[str, ...]]] = {
    "embeddings": ("input",),
    "completions": ("prompt",),
    "moderations": ("input",),
    "rerank": ("query", "documents"),
    "compact": ("input",),
}
"""The members that hold what is asked about."""

_OPTIONAL: Final = frozenset({"prompt"})
"""Those that may be absent: a completion without a prompt begins a text."""

_BEFORE: Final = "previous_response_id"
"""What a compaction may be asked of, in place of an input, or before it."""
_COMPACTED: Final = f"send the conversation that is to be compacted, or the `{_BEFORE}` that it ends in"

_READ: Final = frozenset(
    {"model", "stream", "stream_options", "max_tokens", "user", "metadata", "n", "best_of", "service_tier"}
)

DOCUMENTS_PER_SEARCH: Final = 100
"""Documents of one search as Cohere bills it (cohere.com/pricing: a query with up to 100 documents)."""


@dataclass(frozen=True, slots=True)
class MeteredRequest:
    """One request that is metered, as it came."""

    operation: Operation
    body: bytes
    spans: Mapping[str, Span]
    """Places of the values of top-level members in `body`."""
    model: str
    """Empty where a moderation names none."""
    stream: bool
    asks_usage: bool
    """Whether the client itself asked for the usage event of a stream."""
    answer_limit: int | None
    choices: int
    """The number of answers that are written, as far as a provider writes so many."""
    user: str | None
    metadata: Mapping[str, Any]
    service_tier: str | None
    ours: tuple[tuple[int, int, bytes], ...] = ()
    """Splices that take what is said to us alone out of `metadata`."""
    gone: frozenset[str] = frozenset()
    """Members that hold nothing else, and leave no more."""
    named: tuple[tuple[str, str], ...] = ()
    """Ids of what the provider keeps and a compaction builds on, each behind the member that names it."""

    @property
    def has_stream_options(self) -> bool:
        """Whether the client says anything about the events of its stream."""
        return "stream_options" in self.spans

    @property
    def input_bytes(self) -> int:
        """The length of what is asked about, as it is written."""
        spans = self.spans
        return sum(spans[name].end - spans[name].start for name in INPUT[self.operation] if name in spans)

    def counted_input(self) -> tuple[list[str], int]:
        """Return the texts of what is asked about, and the number of its tokens that came as numbers. Parses it: ask
        only where the upstream does not say what it used.
        """
        texts: list[str] = []
        tokens = 0
        for name in INPUT[self.operation]:
            for piece in _pieces(self._value(name)):
                if isinstance(piece, str):
                    texts.append(piece)
                else:
                    tokens += piece
        return texts, tokens

    def searches(self) -> int:
        """Return the searches that a reranking is billed for where the provider bills by them, and does not say how
        many it was.
        """
        if self.operation != "rerank":
            return 0
        span = self.spans["documents"]
        count = len(array_spans(self.body, span)) if self.body[span.start : span.start + 1] == b"[" else 1
        return max(1, -(-count // DOCUMENTS_PER_SEARCH))

    def _value(self, name: str) -> Any:
        span = self.spans.get(name)
        return None if span is None else value(self.body[span.start : span.end])


def _pieces(read: Any) -> Iterator[str | int]:
    """Yield the texts in an input, and the length of each list of tokens. Media are not counted."""
    if isinstance(read, str):
        yield read
    elif isinstance(read, dict):
        if isinstance(read.get("text"), str):
            yield read["text"]
        elif "type" not in read:  # a document of fields; other parts are media
            yield from (text for text in read.values() if isinstance(text, str))
    elif isinstance(read, list):
        numbers = sum(isinstance(one, int) for one in read)
        if numbers:
            yield numbers
        if numbers < len(read):
            for one in read:
                yield from _pieces(one)


def metered_request(operation: Operation, body: bytes) -> MeteredRequest:
    """Read a request body.

    Raises GatewayError (400, naming what and where) for what is not JSON, not an object, names a key twice, nests too
    deeply, or lacks what the operation is about.
    """
    spans, fields = read_members(body, _READ)
    model = fields.get("model")
    if not isinstance(model, str) and not (model is None and operation == "moderations"):
        raise invalid_request("`model` must be the name of a model, as a string.", "model")
    if model == "":
        raise invalid_request("`model` is empty; name a model.", "model")
    for name in INPUT[operation]:
        if (
            name not in _OPTIONAL
            and not (operation == "compact" and _BEFORE in spans)
            and (name not in spans or body[slice(*spans[name])] == b"null")
        ):
            meant = _COMPACTED if operation == "compact" else f"it is what {operation} are asked of"
            raise invalid_request(f"`{name}` is missing: {meant}.", name)
    stream = fields.get("stream")
    if not isinstance(stream, bool | None):
        raise invalid_request("`stream` must be true or false; servers read anything else as they like.", "stream")
    if stream and operation != "completions":
        raise invalid_request(f"`stream` is not for {operation}: leave it out.", "stream")
    metadata, options, user = fields.get("metadata"), fields.get("stream_options"), fields.get("user")
    tier = fields.get("service_tier")
    ours, gone = ours_in_metadata(body, spans, metadata)
    return MeteredRequest(
        operation=operation,
        body=body,
        spans=spans,
        model=model or "",
        stream=stream is True,
        asks_usage=isinstance(options, dict) and options.get("include_usage") is True,
        answer_limit=positive(fields.get("max_tokens")) if operation == "completions" else None,
        choices=min(max(positive(fields.get("n")) or 1, positive(fields.get("best_of")) or 1), MOST_CHOICES),
        user=user if isinstance(user, str) and user else None,
        metadata=metadata if isinstance(metadata, dict) else {},
        service_tier=tier if isinstance(tier, str) else None,
        ours=ours,
        gone=gone,
        named=tuple(_named(body, spans)) if operation == "compact" else (),
    )


def _named(body: bytes, spans: Mapping[str, Span]) -> Iterator[tuple[str, str]]:
    """Yield the ids that a compaction builds on: of a response, and of items that the input only names."""
    if _BEFORE in spans and isinstance(given := value(body[slice(*spans[_BEFORE])]), str):
        yield _BEFORE, given
    listed = value(body[slice(*spans["input"])]) if "input" in spans else None
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and item.get("type") == "item_reference" and isinstance(item.get("id"), str):
            yield "item_reference", item["id"]
