"""Conversations and policies for the laws: realistic in shape, nasty in detail.

A `Talk` keeps each message as the bytes a client would send, written in one of several JSON styles (spaces, escapes,
numbers like `1.10`), so that bytes are never those a library would write. A conversation is drawn as a small script and
expanded; texts come from a kind, a size and a seed, so that results repeat and examples shrink.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from hypothesis import strategies as st

from gateway.config.ladder import Ladder
from gateway.config.policy import Component, Documents, Fold, Policy, Reserve
from gateway.config.shares import Shares
from gateway.conversation import Media
from gateway.providers.anthropic import MESSAGES_API
from gateway.providers.gemini import GENERATE_CONTENT
from gateway.providers.mistral import TEMPLATES
from gateway.routing.models import Model
from gateway.wire.legality import CHAT, Rules
from tests.laws import oracle

ASKED, SENT = "asked/model", "sent-model"
"""The name the client asks for, and the deployment's."""

# ---------------------------------------------------------------- JSON as clients write it


@dataclass(frozen=True, slots=True)
class Number:
    """A number written as it stands here."""

    written: str


@dataclass(frozen=True, slots=True)
class Style:
    """How a client writes JSON."""

    comma: str = ","
    colon: str = ":"
    inside: str = ""
    """White space after an opening bracket and before a closing one."""
    ascii_only: bool = False
    slashes: bool = False
    """Whether `/` is written `\\/`, as PHP does."""

    def write(self, value: Any) -> str:
        match value:
            case Number():
                return value.written
            case str():
                text = json.dumps(value, ensure_ascii=self.ascii_only)
                return text.replace("/", "\\/") if self.slashes else text
            case dict():
                pairs = [self.write(key) + self.colon + self.write(item) for key, item in value.items()]
                return "{" + self.inside + self.comma.join(pairs) + self.inside + "}"
            case list():
                return "[" + self.inside + self.comma.join(map(self.write, value)) + self.inside + "]"
        return json.dumps(value)


STYLES = (
    Style(),
    Style(", ", ": ", ascii_only=True),
    Style(" ,\n  ", " : ", "\n\t"),
    Style(",", ":", " ", ascii_only=True, slashes=True),
)


# ---------------------------------------------------------------- texts

Text = tuple[str, int, int]
"""Kind, size in characters, seed."""

_WORDS = (
    *("order", "delivery", "refund", "the", "customer", "asked", "must", "keep", "invoice", "4711", "path"),
    *("src/app.py", "error", "timeout", "after", "before", "while", "retry", "https://shop.example/a?b=1", "never"),
    *("always", "account", "balance", "1.10", "EUR", "flight", "seat", "14C", "not", "found"),
)
_UNICODE = ("größe", "naïve", "日本語", "🙂🙃", "e\u0301", "\u202eabc", "\x7f", "\u2028", "ﬁ", "Ω")
_ESCAPES = ('say "hi"', "C:\\temp\\new", "tab\there", "line\r\nfeed", "\\u0041", "{not json", "</document>", "a\u0000b")


@lru_cache(maxsize=4096)
def text(drawn: Text) -> str:
    """Expand a drawn text."""
    kind, size, seed = drawn
    if kind == "blank":
        return ("", " ", "\n\n")[seed % 3]
    if kind in ("pretty", "compact", "airy"):
        return _json(kind, size, seed)
    words = {"prose": _WORDS, "unicode": _UNICODE, "escapes": _ESCAPES}.get(kind, _WORDS)
    joint = "\n" if kind == "log" else " "
    out: list[str] = []
    at = seed
    left = size
    while left > 0:
        out.append(f"{seed}:{at} {words[at % len(words)]}" if kind == "log" else words[at * 7 % len(words)])
        left -= len(out[-1]) + 1
        at += 1
    return joint.join(out)


def _json(kind: str, size: int, seed: int) -> str:
    records = [
        {
            "id": Number(f"{seed + 1}00{n}"),
            "name": f'n"{n}',
            "price": Number("1.10"),
            "big": Number("1" * 30),
            "ok": True,
        }
        for n in range(max(1, size // 90))
    ]
    value: Any = {"seed": Number(str(seed)), "rows": records, "note": "a  b\\n"}
    style = {"compact": Style(), "airy": Style(" , ", " :\t", " ")}.get(kind, Style(",\n    ", ": ", "\n  "))
    return style.write(value)


def texts(*sizes: int) -> st.SearchStrategy[Text]:
    kinds = ("prose", "pretty", "compact", "airy", "pretty", "log", "unicode", "escapes", "blank")
    return st.tuples(st.sampled_from(kinds), st.sampled_from(sizes), st.integers(0, 3))


SHORT, LONG = texts(5, 40, 300), texts(20, 300, 1500, 4000, 12_000)


# ---------------------------------------------------------------- conversations


_LONG_TALK = 60
"""Messages of a conversation beyond which not every prefix is tried."""


@dataclass(frozen=True, repr=False)
class Talk:
    """A conversation as its client keeps it. Each of its requests holds the messages so far."""

    messages: tuple[str, ...]
    """As written, from the first on."""
    opening: str = '{"model":"' + ASKED + '","messages":['
    between: str = ","
    closing: str = "]}"

    @cached_property
    def read(self) -> tuple[dict[str, Any], ...]:
        return tuple(json.loads(message) for message in self.messages)

    @cached_property
    def frame(self) -> dict[str, Any]:
        """The request without its messages."""
        frame: dict[str, Any] = json.loads(self.opening + self.closing)
        return frame

    def body(self, upto: int | None = None) -> bytes:
        return (self.opening + self.between.join(self.messages[:upto]) + self.closing).encode()

    def request(self, upto: int | None = None) -> dict[str, Any]:
        """Read the request with so many messages."""
        return {**self.frame, "messages": list(self.read[:upto])}

    def requests(self) -> list[int]:
        """Tell how many messages each request had: those an assistant answered, and the whole."""
        answered = [i for i, m in enumerate(self.read) if m["role"] == "assistant" and self._asks(i)]
        return [*answered, len(self.messages)]

    def prefixes(self) -> list[int]:
        """Tell how many messages each request may have had: also those that stopped in the middle and went on later.

        Of a long conversation only those that an assistant answered, or might have.
        """
        asked = self.requests()
        if len(self.messages) > _LONG_TALK:
            return asked
        stopped = [i for i in range(1, len(self.messages)) if self.read[i - 1]["role"] in {"user", "tool", "function"}]
        return sorted({*asked, *stopped})

    def _asks(self, upto: int) -> bool:
        """Whether somebody spoke before; examples are not turns that a model was asked for."""
        return oracle.head(self.read[:upto]) < upto and not _is_example(self.read[upto])

    def __repr__(self) -> str:
        """Show who speaks and how much; a failing case is built anew from its shape."""
        said = [
            (m["role"], [c[1] for c in oracle.calls(m)] or m.get("name", ""), len(oracle.content_text(m)))
            for m in self.read
        ]
        return f"Talk({self.opening!r}, {said}, {self.closing!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def _is_example(message: dict[str, Any]) -> bool:
    text = oracle.content_text(message).strip()
    return str(message.get("name", "")).startswith("example_") or text.startswith("<example>")


TOOLS = ("lookup", "search_web", "read_file", "tools.with-dots")


@st.composite
def scripts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw the messages of a conversation, as values."""
    out: list[dict[str, Any]] = []
    for role, said, shape in draw(HEAD):
        out.append(_said(role, said, shape))
    out += _examples(draw(SHOTS), draw(MARKED))
    namer = _Ids(draw(BOOLEANS))
    for asked, shape, steps in draw(TURNS):
        out.append(_said("user", asked, shape))
        for step in steps:
            out += _step(step, namer)
    return out


SHAPE = st.integers(0, 9)
"""How a message is dressed: as text, in parts, with a name, with unknown fields, …"""
RESULT = st.tuples(LONG, SHAPE, st.integers(0, len(TOOLS) - 1))
CALL = st.tuples(st.just("call"), st.lists(RESULT, min_size=1, max_size=3), SHORT, SHAPE)
STEP = st.one_of(
    CALL,
    CALL,
    st.tuples(st.just("say"), LONG, SHAPE),
    st.tuples(st.sampled_from(["system", "legacy", "user"]), SHORT, SHAPE),
)
TURN = st.tuples(SHORT | LONG, SHAPE, st.lists(STEP, min_size=1, max_size=5) | st.lists(STEP, max_size=1))

# Strategies stand here, not where they are drawn from: to make one takes longer than to draw from it.
HEAD = st.lists(st.tuples(st.sampled_from(["system", "developer"]), SHORT, SHAPE), max_size=2)
SHOTS = st.lists(st.tuples(SHORT, SHORT), max_size=3)
MARKED = st.sampled_from(["name", "system", "tag"])
TURNS = st.lists(TURN, min_size=2, max_size=7) | st.lists(TURN, min_size=1, max_size=1)
BOOLEANS = st.booleans()


class _Ids:
    """Ids of calls: each its own, or the same few again and again, as some clients do."""

    def __init__(self, reused: bool) -> None:
        self.reused, self.last = reused, 0

    def next(self, position: int) -> str:
        self.last += 1
        return f"call_{position}" if self.reused else f"call_{self.last:04d}"


def _said(role: str, drawn: Text, shape: int) -> dict[str, Any]:
    said = text(drawn)
    message: dict[str, Any] = {"role": role, "content": said}
    match shape:
        case 1:
            message["content"] = [{"type": "text", "text": said}]
        case 2:
            half = len(said) // 2
            message["content"] = [
                {"type": "text", "text": said[:half], "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": said[half:]},
            ]
        case 3:
            message = {"name": "alice", "content": said, "role": role}
        case 4:
            message["x_trace"] = {"ratio": Number("1.10"), "id": Number("9" * 30), "none": None}
        case 5 if role == "user":
            message["content"] = f"<document id='1'>{said}</document>\nAnd now?"
        case 6 if role == "user":
            url = "data:image/png;base64,iVBORw0KGgo="
            message["content"] = [{"type": "text", "text": said}, {"type": "image_url", "image_url": {"url": url}}]
    return message


def _examples(pairs: Sequence[tuple[Text, Text]], how: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for question, answer in pairs:
        if how == "tag":
            out.append({"role": "user", "content": f"<example>{text(question)}</example>"})
            out.append({"role": "assistant", "content": f"<example>{text(answer)}</example>"})
        else:
            roles = ("system", "system") if how == "system" else ("user", "assistant")
            out.append({"role": roles[0], "name": "example_user", "content": text(question)})
            out.append({"role": roles[1], "name": "example_assistant", "content": text(answer)})
    return out


def _step(step: tuple[Any, ...], ids: _Ids) -> Iterator[dict[str, Any]]:
    match step:
        case ("call", results, said, shape):
            yield from _called(results, said, shape, ids)
        case ("say", said, shape):
            message = _said("assistant", said, shape)
            if shape == 7:
                message |= {"reasoning_content": "thinking", "refusal": None}
            yield message
        case ("legacy", said, _):
            yield {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "lookup", "arguments": json.dumps({"q": text(said)})},
            }
            yield {"role": "function", "name": "lookup", "content": text(said)}
        case (role, said, shape):
            yield _said(role, said, shape)


def _called(results: Sequence[tuple[Text, int, int]], said: Text, shape: int, ids: _Ids) -> Iterator[dict[str, Any]]:
    named = [
        (ids.next(position), TOOLS[tool], drawn, dressed) for position, (drawn, dressed, tool) in enumerate(results)
    ]
    message: dict[str, Any] = {"role": "assistant"}
    if shape != 8:
        message["content"] = None if shape < 5 else text(said)
    arguments = json.dumps({"q": text(said), "n": 1.1}, indent=shape % 3 or None)
    message["tool_calls"] = [
        {"id": call, "type": "function", "function": {"name": tool, "arguments": arguments}}
        for call, tool, _, _ in named
    ]
    if shape == 7:
        message["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    yield message
    for call, tool, drawn, dressed in reversed(named) if shape == 9 else named:
        result = _said("tool", drawn, dressed)
        yield {**result, "tool_call_id": call, **({"name": tool} if dressed == 3 else {})}


@st.composite
def talks(draw: st.DrawFn, *, breaks: bool = False) -> Talk:
    """Draw a conversation; with `breaks`, one that may be illegal already."""
    messages = draw(SCRIPTS)
    if breaks and len(messages) > 1 and draw(BOOLEANS):
        del messages[draw(st.integers(0, len(messages) - 1))]
    style = draw(WRITTEN)
    options = ["model", *draw(OPTIONS)]
    split = draw(st.integers(0, len(options)))
    values = {**_OPTIONS, "stream_options": draw(STREAM_OPTIONS)}
    first, last = options[:split], options[split:]
    opening = "{" + "".join(f"{style.write(key)}{style.colon}{values[key]}{style.comma}" for key in first)
    closing = "".join(f"{style.comma}{style.write(key)}{style.colon}{values[key]}" for key in last)
    return Talk(
        messages=tuple(style.write(message) for message in messages),
        opening=f'{opening}"messages"{style.colon}[{style.inside}',
        between=style.comma,
        closing=f"{style.inside}]{closing}{style.inside}" + "}",
    )


_SCHEMA = '{ "type":"object" , "properties":{"q":{"type":"string","maximum":1.10}},"d":"größer \\u00e9","default":1 }'
_OPTIONS = {
    "model": f'"{ASKED}"',
    "temperature": "1.10",
    "seed": "123456789012345678901234567890",
    "stream": "true",
    "stream_options": "{}",
    "max_tokens": "700",
    "user": '"u\\u00e9"',
    "metadata": '{"tags":["a","b"],"n":1.0}',
    "x_unknown": '[ 1.10 ,{"a":{}, "a":[]} ]',
    "tools": f'[ {{"type":"function","function":{{"name":"lookup","parameters":{_SCHEMA}}}}} ]',
    "response_format": f'{{"type":"json_schema","json_schema":{{"name":"r","schema":{_SCHEMA}}}}}',
}

_STREAM_OPTIONS = ('{ "x_more" : 1.0 }', "{ }", "null", '{"include_usage" :false}', '{"include_usage":true}')
SCRIPTS, WRITTEN = scripts(), st.sampled_from(STYLES)
OPTIONS = st.lists(st.sampled_from(sorted(set(_OPTIONS) - {"model"})), unique=True, max_size=6)
STREAM_OPTIONS = st.sampled_from(_STREAM_OPTIONS)


# ---------------------------------------------------------------- policies


def no_media(part: Media) -> int:
    """Count a part that is not text as nothing: its formula is not the point here, and the oracle has none."""
    return 0


def model_of(window: int | None = None, shared: bool = True, legal: Rules = CHAT) -> Model:
    return Model(
        name=ASKED,
        deployments=(),
        window=window,
        max_output=None,
        shared=shared,
        encoding="o200k_base",
        exact=True,
        legal=(legal,),
        count_media=no_media,
    )


@dataclass(frozen=True, repr=False)
class Case:
    """A conversation under a policy, for a model."""

    talk: Talk
    policy: Policy
    model: Model = field(default_factory=model_of)

    def __repr__(self) -> str:
        policy, model = self.policy, self.model
        said = (policy.mode, policy.strict, policy.context_window, policy.reserve, policy.ladder, policy.fold)
        more = (policy.allocation, policy.borrow, policy.documents, model.window, model.shared, model.legal[0].name)
        last = (policy.recall, policy.protect, policy.preserve, policy.effort)
        return f"Case({self.talk!r}, {said}, {more}, {last})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def budget(self) -> int:
        """Give the most prompt tokens of the last request, worked out by hand."""
        limit = self.talk.frame.get("max_tokens", 0)
        reserve, margin = self.policy.reserve.output, self.policy.reserve.margin
        assert reserve is None or isinstance(reserve, int)
        widths = [window for window in (self.policy.context_window, self.model.window) if window is not None]
        usual = min(4000, min(widths) // 4) if reserve is None else reserve
        bounds = []
        if self.policy.context_window is not None:
            follows = min(limit, self.policy.context_window // 4) if limit and reserve is None else usual
            bounds.append(self.policy.context_window - follows)
        if self.model.window is not None:
            kept = limit if limit and reserve is None else max(usual, limit)
            bounds.append(self.model.window - (kept if self.model.shared else 0))
        most = min(bounds)
        assert margin is not None
        return max(0, most - (margin if isinstance(margin, int) else int(most * margin)))


RESULTS = (
    *((), ("minify",), ("stub",), ("minify", "stub"), ("minify", "dedupe", "stub"), ("dedupe", "minify"), ("crush",)),
    *(("minify", "dedupe", "crush"), ("dedupe", "crush", "stub")),
)
DROP = ("drop_oldest",)
FULL = Ladder()
LADDERS = st.one_of(
    st.just(FULL),
    st.just(Ladder((), (), (), DROP, ())),
    st.builds(
        Ladder,
        tool_results=st.sampled_from(RESULTS),
        documents=st.sampled_from([(), ("dedupe",), ("dedupe", "extract"), ("extract", "arrange"), ("arrange",)]),
        examples=st.sampled_from([(), DROP]),
        history=st.sampled_from([DROP, ()]),
        input=st.sampled_from([("crush",), ()]),
    ),
)
FOLDS = st.builds(
    Fold,
    trigger=st.sampled_from([1.0, 0.8, 0.5]),
    target=st.sampled_from([0.5, 0.25, 0.7, 0.0, 0.9]),
    keep_turns=st.sampled_from([2, 0, 1, 5]),
    keep_tool_results=st.sampled_from([3, 0, 1, 8]),
    clear_at_least=st.sampled_from([0.1, 0.0, 0.25, 0.02]),
    artifacts=st.sampled_from([0.2, 0.0, 0.1, 0.5]),
)
DOCUMENTS = st.builds(
    Documents,
    tools=st.sampled_from([(), ("search_*",)]),
    order=st.sampled_from(["as_is", "as_is", "rank", "bookend", "alternate", "interleave"]),
)
PRESERVED = st.sampled_from([(), (r"(?i)\b(must|never|always)\b", r"https?://\S+")])
SHARES = st.sampled_from([Shares(), Shares(0.2, 0.2, 0.1, 0.1, 0.3, 0.1), Shares(0.05, 0.05, 0.0, 0.0, 0.85, 0.05)])
BORROWS: st.SearchStrategy[tuple[Component, ...]] = st.sampled_from(
    [("input", "documents", "history"), (), ("history", "examples")]
)
PERCENT = st.integers(15, 75) | st.integers(2, 110)
OUTPUTS, MARGINS = st.sampled_from([0, 4000, None]), st.sampled_from([0, 0.05, 100])
FIFTHS = st.integers(0, 4)
RECALLS, PROTECTED = st.sampled_from([0.1, 0.0, 0.5]), st.sampled_from([3000, 0, 100])
EFFORTS = st.sampled_from([500_000, 500_000, 200])


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    modes: Sequence[Literal["enforce", "observe", "off"]] = ("enforce",),
    breaks: bool = False,
    strict: bool = True,
    legal: Sequence[Rules] = (CHAT,),
    limits: bool = True,
) -> Case:
    """Draw a conversation and a policy whose budget is near its size; `limits`: the client may bound its answer."""
    talk = draw(talks(breaks=breaks))
    if not limits:
        talk = without_limit(talk)
    total = oracle.prompt_tokens(talk.request(), oracle.quarter)
    budget = total * draw(PERCENT) // 100
    output = draw(OUTPUTS)
    reserve = Reserve(output, draw(MARGINS))
    over = budget + (output or 0) + (reserve.margin if isinstance(reserve.margin, int) else 0)
    policy = Policy(
        name="drawn",
        strict=strict and draw(FIFTHS) == 4,
        mode=draw(st.sampled_from(modes)),
        context_window=max(1, over),
        reserve=reserve,
        allocation=draw(SHARES),
        borrow=draw(BORROWS),
        documents=draw(DOCUMENTS),
        ladder=draw(LADDERS),
        fold=draw(FOLDS),
        recall=draw(RECALLS),
        protect=draw(PROTECTED),
        preserve=draw(PRESERVED),
        effort=draw(EFFORTS),
    )
    model = model_of(draw(st.sampled_from([None, over + 300])), draw(BOOLEANS), draw(st.sampled_from(legal)))
    return Case(talk, policy, model)


def without_limit(talk: Talk) -> Talk:
    """Leave the client's own answer limit out of reach."""
    return replace(
        talk,
        opening=talk.opening.replace('"max_tokens"', '"x_max_tokens"'),
        closing=talk.closing.replace('"max_tokens"', '"x_max_tokens"'),
    )


PROVIDERS = (CHAT, MESSAGES_API, GENERATE_CONTENT, TEMPLATES)
