"""The kinds of requests that a load is mixed of, and what each has to leave in the books. No network."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.contract.running import KEYS
from tests.in_messages import messages_of
from tests.upstream.script import mark

Entry = Literal["answered", "failed", "cancelled", "refused", "none"]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request to send, and what is expected of it."""

    id: str
    kind: str
    body: bytes
    key: str
    statuses: tuple[int, ...]
    entry: Entry
    """How its one settled line ends; `none`: it is not to be entered at all."""
    leave_after: bytes | None = None
    """The client leaves once these bytes have come."""
    path: str = "/chat/completions"


Draw = random.Random
Make = Callable[[str, Draw], Sent]


def _body(
    id: str, model: str = "gpt-5", *, stream: bool = False, before: Any = (), fields: Any = None, **script: Any
) -> bytes:
    messages = [*before, {"role": "user", "content": f"Tell me of {id}. {mark(id=id, **script)}"}]
    body = {"model": model, "messages": messages, "user": id, **(fields or {})}
    return json.dumps(body | ({"stream": True} if stream else {})).encode()


def _model(draw: Draw) -> str:
    return draw.choice(("gpt-5", "gpt-5", "gpt-4o", "fast", "house"))


def _plain(id: str, draw: Draw) -> Sent:
    cached, reasoning = draw.choice((0, 0, 11)), draw.choice((0, 0, 64))
    body = _body(id, _model(draw), words=draw.randint(1, 60), cached=cached, reasoning=reasoning)
    return Sent(id, "plain", body, KEYS["main"], (200,), "answered")


def _streamed(id: str, draw: Draw) -> Sent:
    asked = {"stream_options": {"include_usage": True}} if draw.random() < 0.3 else None
    pieces, cached = draw.randint(1, 20), draw.choice((0, 9))
    body = _body(id, _model(draw), stream=True, fields=asked, words=40, chunks=pieces, cached=cached)
    return Sent(id, "streamed", body, KEYS["main"], (200,), "answered")


def _tools(id: str, draw: Draw) -> Sent:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    calls = [["look", json.dumps({"at": draw.random()})] for _ in range(draw.randint(1, 3))]
    body = _body(id, stream=draw.random() < 0.5, fields={"tools": [tool]}, calls=calls)
    return Sent(id, "tools", body, KEYS["main"], (200,), "answered")


def _without_usage(id: str, draw: Draw) -> Sent:
    body = _body(id, stream=draw.random() < 0.5, usage=False, words=draw.randint(5, 50))
    return Sent(id, "without usage", body, KEYS["main"], (200,), "answered")


def _history(draw: Draw, turns: int) -> list[dict[str, Any]]:
    words = [f"word{draw.randint(0, 999)}" for _ in range(30)]
    return [{"role": ("user", "assistant")[at % 2], "content": f"{at}: " + " ".join(words)} for at in range(turns)]


def _rewritten(id: str, draw: Draw) -> Sent:
    body = _body(id, stream=draw.random() < 0.5, before=_history(draw, draw.randint(60, 90)), words=9)
    return Sent(id, "rewritten", body, KEYS["tight"], (200,), "answered")


def _second_try(id: str, draw: Draw) -> Sent:
    failure: Any = draw.choice(({"status": 500}, {"status": 429}, {"reset": 0}))
    body = _body(id, "twins", stream=draw.random() < 0.5, fails=1, **failure)
    return Sent(id, "second try", body, KEYS["main"], (200,), "answered")


def _failing(id: str, draw: Draw) -> Sent:
    status, seen = draw.choice(((429, 429), (500, 500), (400, 400), (401, 502)))
    body = _body(id, stream=draw.random() < 0.5, status=status)
    return Sent(id, f"failing {status}", body, KEYS["main"], (seen,), "failed")


def _broken(id: str, draw: Draw) -> Sent:
    failure: dict[str, Any] = draw.choice(({"reset": 0}, {"garbage": True}))
    body = _body(id, stream=draw.random() < 0.5, **failure)
    return Sent(id, f"broken {next(iter(failure))}", body, KEYS["main"], (502,), "failed")


def _broken_off(id: str, draw: Draw) -> Sent:
    failure = draw.choice(("cut", "error_event"))
    stop: Any = {failure: draw.randint(1, 9)}
    body = _body(id, stream=True, words=40, chunks=12, **stop)
    # What came in one read with its error has not reached the client: then it is a failure like any other.
    seen = (200, 500) if failure == "error_event" else (200,)
    return Sent(id, f"broken off {failure}", body, KEYS["main"], seen, "failed")


def _too_long(id: str, draw: Draw) -> Sent:
    body = _body(id, text="never sent", before=[{"role": "user", "content": "ok"}], words=1)
    body = body.replace(b"Tell me of", b"lorem ipsum dolor " * draw.randint(1200, 2500), 1)
    return Sent(id, "refused: too long", body, KEYS["tight"], (400,), "refused")


def _no_such_model(id: str, draw: Draw) -> Sent:
    return Sent(id, "refused: model", _body(id, "gpt-99"), KEYS["main"], (404,), "refused")


def _not_allowed(id: str, draw: Draw) -> Sent:
    return Sent(id, "refused: not allowed", _body(id, "fast"), KEYS["narrow"], (403,), "refused")


def _stranger(id: str, draw: Draw) -> Sent:
    return Sent(id, "stranger", _body(id), draw.choice(("sk-gw-nobody", KEYS["expired"])), (401,), "none")


def _malformed(id: str, draw: Draw) -> Sent:
    body = _body(id)
    return Sent(id, "malformed", body[: draw.randint(0, len(body) - 1)], KEYS["main"], (400,), "none")


def _gone(id: str, draw: Draw) -> Sent:
    pieces = draw.randint(1, 8)
    text = " ".join(f"piece{at:02}" for at in range(12))
    body = _body(id, _model(draw), stream=True, text=text, chunks=12, hold=pieces)
    size = -(-len(text) // 12)
    shown = text[(pieces - 1) * size : pieces * size]
    return Sent(id, "client gone", body, KEYS["main"], (200,), "cancelled", leave_after=f'"{shown}"'.encode())


def _as_responses(id: str, draw: Draw) -> Sent:
    """Ask for what a chat asks for with a request of the Responses API, of a deployment that speaks them or not."""
    chat = _one_of(id, draw, SHAPED)
    fields = json.loads(chat.body)
    model, way = _whom(fields["model"], "native", draw)
    body = {"model": model, "user": id, "store": False, "input": fields["messages"]}
    body |= {"stream": fields.get("stream", False)}
    if "tools" in fields:
        body["tools"] = [{"type": "function", "strict": False, **tool["function"]} for tool in fields["tools"]]
    return replace(chat, kind=f"responses, {way}: {chat.kind}", body=json.dumps(body).encode(), path="/responses")


def _as_messages(id: str, draw: Draw) -> Sent:
    """Ask for what a chat asks for with Anthropic's Messages, of a deployment that speaks them or not."""
    chat = _one_of(id, draw, SHAPED)
    fields = json.loads(chat.body)
    model, way = _whom(fields["model"], "claude", draw)
    body = messages_of({**fields, "model": model, "max_tokens": 1000}, metadata={"user_id": id})
    body |= {"stream": fields.get("stream", False)}
    return replace(chat, kind=f"messages, {way}: {chat.kind}", body=json.dumps(body).encode(), path="/messages")


def _whom(model: str, native: str, draw: Draw) -> tuple[str, str]:
    """Choose between the deployment that speaks the shape, and the chat's own, which is reached by translation."""
    if draw.random() < 0.5:
        return model, "translated"
    return {"gpt-99": "gpt-99", "twins": f"{native}-twins"}.get(model, native), "direct"


def _count_tokens(id: str, draw: Draw) -> Sent:
    """Ask how long a prompt is: answered here, and not entered."""
    fields = json.loads(_plain(id, draw).body)
    body = messages_of({**fields, "model": draw.choice(("gpt-5", "claude"))}, metadata={"user_id": id})
    del body["max_tokens"]
    return Sent(
        id, "count_tokens", json.dumps(body).encode(), KEYS["main"], (200,), "none", path="/messages/count_tokens"
    )


def conversation(name: str, draw: Draw, turns: int = 24) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages of a conversation with a tool, as long as they are before each question."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": f"You keep the stock of {name}."}]
    for turn in range(turns):
        yield list(messages)
        stock = [draw.randint(0, 999) for _ in range(20)]
        rows = [{"id": f"{name}-{turn}-{row}", "stock": held, "open": True} for row, held in enumerate(stock)]
        call = {
            "id": f"call-{turn}",
            "type": "function",
            "function": {"name": "look", "arguments": f'{{"at": {turn}}}'},
        }
        messages += [
            {"role": "user", "content": f"Look after shelf {turn} of {name}."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call-{turn}", "content": json.dumps(rows, indent=1)},
            {"role": "assistant", "content": f"Shelf {turn} has {sum(stock)} pieces. " * 5},
        ]


def folding(id: str, draw: Draw, before: list[dict[str, Any]]) -> Sent:
    """Ask the next question of a conversation, under the tight policy."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    body = _body(id, stream=draw.random() < 0.5, before=before, fields={"tools": [tool]}, words=9)
    return Sent(id, "folding", body, KEYS["tight"], (200,), "answered")


def _metered(id: str, draw: Draw) -> Sent:
    """Ask one of the paths that are metered and not rewritten."""
    path: str = draw.choice(("/embeddings", "/completions", "/moderations", "/rerank"))
    said = mark(id=id, **({"text": "a b c"} if path == "/completions" else {}))
    every: dict[str, dict[str, Any]] = {
        "/embeddings": {"model": "embed", "input": [said, "and another"]},
        "/completions": {"model": "instruct", "prompt": said, "stream": draw.random() < 0.5},
        "/moderations": {"model": "guard", "input": said},
        "/rerank": {"model": "rank", "query": said, "documents": ["a", "b"]},
    }
    body = json.dumps({**every[path], "user": id}).encode()
    return Sent(id, f"metered {path[1:]}", body, KEYS["main"], (200,), "answered", path=path)


def _one_of(id: str, draw: Draw, mix: "Mix") -> Sent:
    (make,) = draw.choices([make for _, make in mix], [weight for weight, _ in mix])
    return make(id, draw)


Mix = tuple[tuple[int, Make], ...]
SHAPED: Mix = (
    (6, _plain),
    (6, _streamed),
    (3, _tools),
    (1, _without_usage),
    (2, _second_try),
    (2, _failing),
    (1, _broken),
    (1, _broken_off),
    (1, _too_long),
    (1, _no_such_model),
    (3, _gone),
)
"""The kinds that are asked in other shapes too."""
MIX: Mix = (
    (28, _plain),
    (24, _streamed),
    (4, _tools),
    (3, _without_usage),
    (5, _rewritten),
    (4, _second_try),
    (6, _failing),
    (3, _broken),
    (3, _broken_off),
    (3, _too_long),
    (2, _no_such_model),
    (2, _not_allowed),
    (1, _stranger),
    (2, _malformed),
    (10, _gone),
    (30, _as_responses),
    (30, _as_messages),
    (3, _count_tokens),
    (12, _metered),
)
SERVED: Mix = ((5, _plain), (4, _streamed), (1, _tools), (1, _rewritten), (1, _gone))


def mixed(name: str, count: int, seed: int, mix: Mix = MIX) -> list[Sent]:
    """Draw so many requests; the same seed draws the same ones."""
    draw = random.Random(seed)
    return [_one_of(f"{name}-{at}", draw, mix) for at in range(count)]


def endless(name: str, seed: int, folded: float = 0.06, at_once: int = 40) -> Iterator[Sent]:
    """Draw requests of every kind one by one; so many of them are turns of conversations, `at_once` of which go on."""
    draw = random.Random(seed)
    begun = itertools.count()

    def another() -> Iterator[list[dict[str, Any]]]:
        return conversation(f"store {next(begun)}", draw)

    open_ones = [another() for _ in range(at_once)]
    for at in itertools.count():
        if draw.random() >= folded:
            yield _one_of(f"{name}-{at}", draw, MIX)
            continue
        chosen = draw.randrange(at_once)
        if (before := next(open_ones[chosen], None)) is None:
            open_ones[chosen] = another()
            before = next(open_ones[chosen])
        yield folding(f"{name}-{at}", draw, before)
