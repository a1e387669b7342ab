"""The parts of a message that are not text: images, audio, files, videos, and what nobody knows.

OpenAI's own parts are read as they are specified. Others name their kind in their type (`video_url`, `input_image`,
`document`), or hold data that says what it is; they are counted by that and never changed in their bytes. Total, and
bounded: a few values are looked at, a few levels deep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import orjson

from gateway.conversation import Media
from gateway.wire.chat.reasoning import PARTS

Kind = Literal["image", "audio", "file", "video", "other"]

_SPOKEN: Final = (*PARTS, "refusal")
"""Types of parts that are read elsewhere; no set, as what a client calls a type may be anything."""
_NAMED: Final[tuple[tuple[str, Kind], ...]] = (
    ("video", "video"),
    ("audio", "audio"),
    ("image", "image"),
    ("document", "file"),
    ("pdf", "file"),
    ("file", "file"),
)
_DATA: Final[tuple[tuple[str, Kind], ...]] = (
    ("data:image/", "image"),
    ("data:audio/", "audio"),
    ("data:video/", "video"),
    ("data:application/", "file"),
    ("data:text/", "file"),
    ("iVBORw0KGgo", "image"),
    ("/9j/", "image"),
    ("R0lGOD", "image"),
    ("JVBERi0", "file"),
)
_ADDRESSES: Final = ("data:", "http://", "https://", "gs://", "s3://")
_MOST_VALUES: Final = 32
_MOST_LEVELS: Final = 3
_LEAST_DATA_CHARS: Final = 64
_SIZES: Final = ("bytes", "size", "file_size", "size_bytes")
_NAMES: Final = ("filename", "file_name", "name", "title")
_MOST_SIZE: Final = 2**40


def media_of(part: Any, number: int) -> Media | None:
    """Read a part, by its number in the content; None for text, reasoning, and what is no object."""
    match part:
        case {"type": "image_url", "image_url": {"url": str(url), **rest}}:
            return Media("image", url, _string(rest.get("detail")), number)
        case {"type": "image_url", "image_url": str(url)}:
            return Media("image", url, part=number)
        case {"type": "input_audio", "input_audio": {"data": str(data), **rest}}:
            return Media("audio", data, _string(rest.get("format")), number)
        case {"type": "file", "file": {"file_data": str(data), **rest}}:
            return Media("file", data, part=number, name=_string(rest.get("filename")))
        case {"type": "file"}:
            return Media("file", "", part=number, name=_name(part), size=_size(part))
        case {"type": kind} if kind in _SPOKEN:
            return None
        case {"text": str()}:
            return None
        case {}:
            return _foreign(part, number)
    return None


def _foreign(part: Mapping[str, Any], number: int) -> Media:
    data = next(filter(_is_data, _strings(part)), "")
    kind = _kind(part.get("type"), data)
    if kind == "other":
        return Media("other", orjson.dumps(part).decode(), part=number, is_foreign=True)
    detail = next((value for name, value in _members(part) if name in ("detail", "format")), None)
    return Media(kind, data, _string(detail), number, _name(part), _size(part), is_foreign=True)


def _kind(said: Any, data: str) -> Kind:
    name = said.lower() if isinstance(said, str) else ""
    named: list[Kind] = [kind for word, kind in _NAMED if word in name]
    held: list[Kind] = [kind for start, kind in _DATA if data.startswith(start)]
    return [*named, *held, "other"][0]


def _is_data(text: str) -> bool:
    begun = text[:_LEAST_DATA_CHARS]
    return begun.lower().startswith(_ADDRESSES) or (len(text) >= _LEAST_DATA_CHARS and not any(map(str.isspace, begun)))


def _members(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the members of a part and of the objects in it, the outer ones first."""
    level, left = [part], _MOST_VALUES
    for _ in range(_MOST_LEVELS):
        below: list[Mapping[str, Any]] = []
        for one in level:
            for name, value in one.items():
                if left == 0:
                    return
                left -= 1
                yield name, value
                if isinstance(value, Mapping):
                    below.append(value)
        level = below


def _strings(part: Mapping[str, Any]) -> Iterator[str]:
    return (value for name, value in _members(part) if isinstance(value, str) and name != "type")


def _name(part: Mapping[str, Any]) -> str | None:
    return next((value for name, value in _members(part) if name in _NAMES and isinstance(value, str)), None)


def _size(part: Mapping[str, Any]) -> int | None:
    sizes = (value for name, value in _members(part) if name in _SIZES and isinstance(value, int))
    return next((size for size in sizes if not isinstance(size, bool) and 0 < size <= _MOST_SIZE), None)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
