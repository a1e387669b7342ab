"""The form of one kind of value in the state: JSON with a version, so that no release takes another's value for its
own.

Reading any bytes gives a value or raises `Unreadable`, and nothing else. A value that was read can be written again.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import orjson

LONGEST: Final = 4 * 2**20
"""Bytes of a value that is read. Each kind is bounded below that where it is written."""

_WRONG: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""The exceptions that taking apart JSON of another shape may raise."""

V = TypeVar("V")


class Unreadable(ValueError):
    """A value is not what this release writes. The message holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """Writes and reads one kind of value."""

    kind: str
    """Its name in the log."""
    version: int
    to_json: Callable[[V], Any] = field(repr=False)
    from_json: Callable[[Any], V] = field(repr=False)
    """May raise whatever taking apart JSON raises; what it returns is valid."""
    earlier: Callable[[bytes], V] | None = field(default=None, repr=False)
    """Reads what was written before values had a version, where that must not be lost."""

    def write(self, value: V) -> bytes:
        """Return the bytes of a value."""
        return orjson.dumps({"v": self.version, "is": self.to_json(value)})

    def read(self, raw: bytes) -> V:
        """Return the value of bytes. Raises Unreadable."""
        if len(raw) > LONGEST:
            raise Unreadable(f"it has {len(raw):,} bytes; at most {LONGEST:,} are read")
        try:
            return self._read(raw)
        except Unreadable:
            raise
        except _WRONG as error:
            raise Unreadable(f"it is not what this release writes ({type(error).__name__})") from error

    def _read(self, raw: bytes) -> V:
        try:
            said = orjson.loads(raw)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, Mapping) or "v" not in said or "is" not in said:
            if self.earlier is None:
                raise Unreadable("it has no version")
            return self.earlier(raw)
        if said["v"] != self.version or type(said["v"]) is not int:
            raise Unreadable(f"it is of another version; this release reads version {self.version}")
        return self.from_json(said["is"])


# ---------------------------------------------------------------- what JSON holds, each or a ValueError


def text(value: Any, longest: int = LONGEST) -> str:
    """Return a text of so many characters at most."""
    if type(value) is not str or len(value) > longest:
        raise ValueError(f"no text of at most {longest} characters")
    return value


def whole_number(value: Any, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return a whole number within bounds."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"no whole number from {least} to {most}")
    return value


def number(value: Any, least: float = 0.0, most: float = 1e15) -> float:
    """Return a number within bounds that leave room to add many of them up."""
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"no number from {least} to {most}")
    return float(value)


def flag(value: Any) -> bool:
    """Return a truth value."""
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value
