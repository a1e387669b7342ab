"""Answers of the demo model beside chat: vectors, text completions, moderations and rerankings. Deterministic.

Vectors are made of the words of a text, so that texts that share words are near each other, and a reranking by them
means something.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.routing.upstreams.demo import answers
from gateway.routing.upstreams.demo.prompt import as_object
from gateway.routing.upstreams.demo.rules import Complaint
from gateway.wire.operations import Operation

DIMENSIONS: Final = 1536
"""Of a vector where the request does not say; OpenAI's `text-embedding-3-small`."""
MOST_DIMENSIONS: Final = 3072
_PLACES: Final = 16
"""Components that one word of a text changes."""
_WORD: Final = re.compile(r"\w+")
USUAL_COMPLETION: Final = 16
"""Tokens of a text completion where the request does not say (platform.openai.com/docs/api-reference/completions)."""

_CATEGORIES: Final = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence"),
    "violence/graphic",
)
"""platform.openai.com/docs/api-reference/moderations/object"""

Count = Callable[[str], int]
Fields = Mapping[str, Any]


def reply(operation: Operation, fields: Fields, model: str, count: Count) -> list[bytes] | Complaint:
    """Answer a request, in the pieces in which it is sent; or say what is wrong with it."""
    key = hashlib.sha256(orjson.dumps(fields)).hexdigest()[:20]
    match operation:
        case "embeddings":
            return _embeddings(fields, model, count)
        case "completions":
            return _completions(fields, {"id": f"cmpl-demo-{key}", "model": model}, count)
        case "moderations":
            texts = [_text(one) for one in _inputs(fields.get("input"))]
            results = [_moderated(text) for text in texts]
            return [orjson.dumps({"id": f"modr-demo-{key}", "model": model, "results": results})]
        case _:
            return _rerank(fields, f"rerank-demo-{key}", count)


# ---------------------------------------------------------------- inputs


def _inputs(read: Any) -> Sequence[Any]:
    """List the inputs: of a list of numbers, which is one text in tokens, it is the one."""
    if isinstance(read, list) and not (read and all(isinstance(one, int) for one in read)):
        return read
    return [read]


def _text(one: Any) -> str:
    if isinstance(one, dict):
        return str(one.get("text") or "")
    return " ".join(map(str, one)) if isinstance(one, list) else str(one)


def _size(one: Any, count: Count) -> int:
    return len(one) if isinstance(one, list) else count(_text(one))


# ---------------------------------------------------------------- vectors


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return the unit vector of a text, in numbers of 32 bits."""
    sums = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4 * _PLACES).digest()
        for place, sign in struct.iter_unpack("<Hh", digest):
            sums[place % dimensions] += 1.0 if sign >= 0 else -1.0
    length = math.sqrt(sum(one * one for one in sums))
    if not length:
        sums[0], length = 1.0, 1.0
    return list(struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(one / length for one in sums))))


def _embeddings(fields: Fields, model: str, count: Count) -> list[bytes] | Complaint:
    dimensions, inputs = fields.get("dimensions") or DIMENSIONS, _inputs(fields.get("input"))
    if type(dimensions) is not int or not 0 < dimensions <= MOST_DIMENSIONS:
        return Complaint(f"dimensions must be a number from 1 to {MOST_DIMENSIONS}", "dimensions")
    if not inputs or any(one in ("", []) for one in inputs):
        return Complaint("input must not be empty", "input")
    packed = fields.get("encoding_format") == "base64"
    data = []
    for index, one in enumerate(inputs):
        made = vector(_text(one), dimensions)
        written = base64.b64encode(struct.pack(f"<{dimensions}f", *made)).decode() if packed else made
        data.append({"object": "embedding", "index": index, "embedding": written})
    prompt = sum(_size(one, count) for one in inputs)
    usage = {"prompt_tokens": prompt, "total_tokens": prompt}
    return [orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})]


# ---------------------------------------------------------------- text completions


def _completions(fields: Fields, head: Fields, count: Count) -> list[bytes] | Complaint:
    prompts, turns = _inputs(fields.get("prompt") or ""), fields.get("n") or 1
    if type(turns) is not int or not 0 < turns <= 128:
        return Complaint("n must be a number from 1 to 128", "n")
    limit = fields.get("max_tokens") or USUAL_COMPLETION
    if type(limit) is not int or limit < 1:
        return Complaint("max_tokens must be a number from 1", "max_tokens")
    limited = {"max_tokens": limit}
    said = [
        answers.say(limited, [{"role": "user", "content": _text(prompt)}], "", count, turn)
        for prompt in prompts
        for turn in range(turns)
    ]
    prompt, completion = sum(_size(one, count) for one in prompts), sum(one.tokens for one in said)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    head = {**head, "object": "text_completion", "created": answers.CREATED}
    if not fields.get("stream"):
        choices = [_choice(index, one.text, is_cut=one.is_cut, ends=True) for index, one in enumerate(said)]
        return [orjson.dumps({**head, "choices": choices, "usage": usage})]
    asked = as_object(fields.get("stream_options")).get("include_usage") is True
    return list(_events(head, said, usage if asked else None))


def _choice(index: int, text: str, *, is_cut: bool, ends: bool) -> dict[str, Any]:
    finish = ("length" if is_cut else "stop") if ends else None
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _events(head: Fields, said: Sequence[answers.DemoAnswer], usage: Fields | None) -> Iterator[bytes]:
    for index, one in enumerate(said):
        words = re.findall(r"\s*\S+", one.text) or [""]
        for number, word in enumerate(words, 1):
            choice = _choice(index, word, is_cut=one.is_cut, ends=number == len(words))
            yield b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"
    if usage is not None:
        yield b"data: " + orjson.dumps({**head, "choices": [], "usage": usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"


# ---------------------------------------------------------------- moderations and rerankings


def _moderated(text: str) -> dict[str, Any]:
    """Judge a text: the demo model flags nothing, and its scores are as small as they are arbitrary."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    scores = {name: digest[place] / 25_600 for place, name in enumerate(_CATEGORIES)}
    return {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }


def _rerank(fields: Fields, name: str, count: Count) -> list[bytes] | Complaint:
    query, documents, most = fields.get("query"), fields.get("documents"), fields.get("top_n")
    if not isinstance(query, str) or not query:
        return Complaint("query must be a text", "query")
    if not isinstance(documents, list) or not documents:
        return Complaint("documents must be a list that is not empty", "documents")
    asked = vector(query)
    texts = [_text(one) for one in documents]
    scores = [sum(a * b for a, b in zip(asked, vector(text), strict=True)) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))
    results = [
        {"index": index, "relevance_score": round(max(scores[index], 0.0), 6)}
        | ({"document": {"text": texts[index]}} if fields.get("return_documents") else {})
        for index in order[: most if isinstance(most, int) and most > 0 else None]
    ]
    tokens = count(query) + sum(map(count, texts))
    meta = {"billed_units": {"search_units": -(-len(texts) // 100)}, "tokens": {"input_tokens": tokens}}
    return [orjson.dumps({"id": name, "results": results, "meta": meta, "usage": {"total_tokens": tokens}})]
