"""A prompt as prompt caches see it: a run of blocks, each with a hash of all up to its end and the tokens so far.

The order is that of all providers: tools, then the leading system text, then the messages. A block is the smallest
thing that a cached prefix may end behind: a tool, a part of a message, a call, a result. Marks for caches are read and
then left out of every hash and count, and a text is the same block whether it is written as a string or as one part:
so a mark may move freely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

Level = Literal["tools", "system", "messages"]
LEVELS: Final[tuple[Level, ...]] = ("tools", "system", "messages")
Kind = Literal["tool", "text", "media", "thinking", "call", "result"]
CountMedia = Callable[[Any], int]
"""Returns the tokens of a part that is not text."""

PRIMING: Final = 3
"""Tokens after the last message that prime the answer: part of every prompt, never of a cached prefix."""

SYSTEM_ROLES: Final = ("system", "developer")

_MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
_APART: Final = frozenset({"content", "tool_calls", "function_call", "thinking_blocks", *_MARKS})
"""The fields of a message that are blocks of their own, or no content."""

_PER_MESSAGE: Final = 4
_PER_CALL: Final = 8


@dataclass(frozen=True, slots=True)
class Block:
    """One block and where it stands."""

    link: bytes
    """Hash of the prompt up to and with this block."""
    upto: int
    """Tokens of the prompt up to and with this block."""
    kind: Kind
    level: Level
    role: str
    text: str
    """Its text."""
    path: str
    """The place that a refusal names: `tools.0`, `system.1`, `messages.3.content.0`."""
    control: Any
    """Its `cache_control`, as it came; None = unmarked."""
    cache_breakpoint: Any
    """Its `prompt_cache_breakpoint`, as it came; None = unmarked."""
    ends_message: bool
    """The last block of a message, or the last tool."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request's prompt, in blocks."""

    start: bytes
    """The hash before the first block."""
    blocks: tuple[Block, ...]
    tokens: int
    """Of the whole prompt."""


def prompt_of(
    fields: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    count: Callable[[str], int],
    settings: Mapping[Level, Any],
    count_media: CountMedia = lambda _: 0,
) -> Prompt:
    """Cut a request into blocks.

    `settings`: what else decides, from each level on, whether two prompts are the same. `count_media` returns the
    tokens of a part that is not text. The functions of older programs and the schema of the answer stand before all
    blocks: they count, and no prefix ends with them.
    """
    chain = _Chain(settings)
    start = chain.link
    chain.upto = sum(
        count(orjson.dumps(said).decode()) for said in (fields.get("functions"), answer_schema(fields)) if said
    )
    blocks = [
        chain.add(tool, "tools", "", f"tools.{at}", last) for at, (tool, last) in enumerate(_tools(fields, count))
    ]
    leading = next((at for at, one in enumerate(messages) if one.get("role") not in SYSTEM_ROLES), len(messages))
    parts = 0
    for at, message in enumerate(messages):
        level: Level = "system" if at < leading else "messages"
        pieces = list(_pieces(message, count, count_media))
        role = message.get("role")
        for position, piece in enumerate(pieces):
            path = f"system.{parts}" if at < leading else f"messages.{at - leading}.content.{position}"
            last = position + 1 == len(pieces)
            blocks.append(chain.add(piece, level, role if isinstance(role, str) else "", path, last))
            parts += 1
    return Prompt(start, tuple(blocks), chain.upto + PRIMING)


def meaning(message: Mapping[str, Any]) -> bytes:
    """Return a message as bytes that do not depend on marks, on the order of keys, or on how a lone text is written."""
    return b"\n".join(piece.identity for piece in _pieces(message, lambda _: 0, lambda _: 0))


def unmarked_tools(fields: Mapping[str, Any]) -> list[Any]:
    """Return the tools without their marks; inside a schema, `cache_control` is a name like any other."""
    return [_unmarked_tool(tool) for tool in as_list(fields.get("tools"))]


def content_text(content: Any) -> str:
    """Return the text of a message's content, its parts joined by line breaks."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in as_list(content) if _has_text(part))


def as_list(value: Any) -> list[Any]:
    """Return the value where it is a list, else nothing."""
    return value if isinstance(value, list) else []


def answer_schema(fields: Mapping[str, Any]) -> Any:
    """Return the schema that an answer is to follow: "The structured output schema serves as a prefix to the system
    message and can be cached" (developers.openai.com/api/docs/guides/prompt-caching). Of JSON without one nothing is
    said.
    """
    wanted = as_object(fields.get("response_format"))
    return wanted.get("json_schema") if wanted.get("type") == "json_schema" else None


def as_object(value: Any) -> dict[str, Any]:
    """Return the value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block before it has its place in the chain."""

    kind: Kind
    text: str
    size: int
    marks: tuple[Any, Any] = (None, None)
    """`cache_control` and `prompt_cache_breakpoint`."""
    identity: bytes = b""
    """The identity of the block, besides its place."""


class _Chain:
    """The hash and the tokens of a prompt so far."""

    def __init__(self, settings: Mapping[Level, Any]) -> None:
        self.upto = 0
        self.link = b""
        self._settings = settings
        self._entered = 0
        self._enter("tools")

    def add(self, piece: _Piece, level: Level, role: str, path: str, last: bool) -> Block:
        self._enter(level)
        self.link = _hash(self.link, piece.identity or piece.text.encode())
        self.upto += piece.size
        return Block(self.link, self.upto, piece.kind, level, role, piece.text, path, *piece.marks, ends_message=last)

    def _enter(self, level: Level) -> None:
        """Mix in, once, what decides from this level on, and from those before it that had no blocks."""
        for each in LEVELS[self._entered : LEVELS.index(level) + 1]:
            self._entered += 1
            setting = self._settings.get(each)
            if setting is not None:
                self.link = _hash(self.link, _dumps(setting).encode())


def _tools(fields: Mapping[str, Any], count: Callable[[str], int]) -> Iterator[tuple[_Piece, bool]]:
    """Yield each tool and whether it is the last. They count as their JSON in the order of keys in which it came."""
    tools = unmarked_tools(fields)
    texts = [orjson.dumps(tool).decode() for tool in tools]
    sizes = _shares(count, texts, orjson.dumps(tools).decode() if tools else "")
    for at, (came, text, size) in enumerate(zip(as_list(fields.get("tools")), texts, sizes, strict=True)):
        outer, inner = _marks(came), _marks(as_object(came).get("function"))  # LiteLLM takes both
        marks = outer if outer != (None, None) else inner
        yield _Piece("tool", text, size, marks, _dumps(tools[at]).encode()), at + 1 == len(tools)


def _pieces(message: Mapping[str, Any], count: Callable[[str], int], count_media: CountMedia) -> Iterator[_Piece]:
    """Yield the blocks of a message: at least one, the first with what else the message says of itself."""
    header = _dumps({name: value for name, value in message.items() if name not in _APART})
    name = message.get("name")
    own = _PER_MESSAGE + (1 + count(content_text(name)) if name else 0)
    for piece in _contents(message, count, count_media) or [_Piece("text", "", 0)]:
        identity = f"{header}\n{piece.kind}\n".encode() + (piece.identity or piece.text.encode())
        yield _Piece(piece.kind, piece.text, own + piece.size, piece.marks, identity)
        header, own = "", 0


def _contents(message: Mapping[str, Any], count: Callable[[str], int], count_media: CountMedia) -> list[_Piece]:
    """Return what a message consists of: thinking first, then its text and media, then its calls."""
    content, mark = message.get("content"), (message.get("cache_control"), None)
    pieces = [
        _Piece("thinking", "", 0, identity=_dumps(block).encode()) for block in as_list(message.get("thinking_blocks"))
    ]
    if message.get("role") in ("tool", "function"):
        # One block whatever it holds; LiteLLM takes its mark from the message, Anthropic also from a part of it.
        inner = [_marks(part) for part in as_list(content)]
        marked = next((found for found in (mark, *reversed(inner)) if found != (None, None)), mark)
        text = content_text(content)
        size = count(text) + sum(count_media(part) for part in as_list(content) if not _has_text(part))
        return [*pieces, _Piece("result", text, size, marked, _content_identity(content))]
    if isinstance(content, str):
        if content:
            pieces.append(_Piece("text", content, count(content), mark))
    else:
        pieces += _parts(as_list(content), count, count_media)
    legacy = message.get("function_call")
    for call in (*as_list(message.get("tool_calls")), *([{"function": legacy}] if legacy else [])):
        function = as_object(as_object(call).get("function") or as_object(call).get("custom"))
        name, arguments = (
            content_text(function.get("name")),
            content_text(function.get("arguments") or function.get("input")),
        )
        size = _PER_CALL + count(name) + count(arguments)
        pieces.append(_Piece("call", f"{name}{arguments}", size, _marks(call), _dumps(_unmarked(call)).encode()))
    return pieces


def _parts(parts: Sequence[Any], count: Callable[[str], int], count_media: CountMedia) -> Iterator[_Piece]:
    texts = [part["text"] for part in parts if _has_text(part)]
    sizes = iter(_shares(count, texts, "\n".join(texts)))
    for part in parts:
        if _has_text(part):
            identity = b"" if _is_plain_text(part) else _dumps(_unmarked(part)).encode()
            yield _Piece("text", part["text"], next(sizes), _marks(part), identity)
        else:
            yield _Piece("media", "", count_media(part), _marks(part), _dumps(_unmarked(part)).encode())


def _shares(count: Callable[[str], int], texts: Sequence[str], joined: str) -> list[int]:
    """Divide the tokens of a joined text among its parts, so that they add up to the whole."""
    whole, shares, used = count(joined) if joined else 0, [], 0
    for position, text in enumerate(texts):
        upto = whole if position + 1 == len(texts) else min(whole, used + count(f"{text}\n"))
        shares.append(upto - used)
        used = upto
    return shares


def _content_identity(content: Any) -> bytes:
    parts = as_list(content)
    if len(parts) == 1 and _is_plain_text(parts[0]):
        return _dumps(parts[0]["text"]).encode()
    return _dumps([_unmarked(part) for part in parts] if parts else content).encode()


def _has_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _is_plain_text(part: Any) -> bool:
    return _has_text(part) and part.get("type") == "text" and part.keys() <= {"type", "text", *_MARKS}


def _unmarked(part: Any) -> Any:
    return {name: value for name, value in part.items() if name not in _MARKS} if isinstance(part, dict) else part


def _unmarked_tool(tool: Any) -> Any:
    bare = _unmarked(tool)
    if isinstance(bare, dict) and isinstance(bare.get("function"), dict):
        return {**bare, "function": _unmarked(bare["function"])}
    return bare


def _marks(marked: Any) -> tuple[Any, Any]:
    fields = as_object(marked)
    return fields.get("cache_control"), fields.get("prompt_cache_breakpoint")


def _hash(link: bytes, more: bytes) -> bytes:
    return hashlib.blake2b(link + more, digest_size=16).digest()


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
