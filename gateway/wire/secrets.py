r"""The secrets of a deployment, found in what came from it, and taken out. Pure.

An upstream may echo what it was sent: a key in the words of an error, a header, a whole request. A secret is found in
three forms: as it is; with its special characters escaped as JSON, URLs and HTML do; inside base64, wherever it begins
there. The third covers `Authorization: Basic …` for any user name. A text that was cut off inside a secret, or that
was hashed, is not found.

Most texts hold none. So each form has a needle: its longest run of letters and digits, which no escape changes. Only a
text with the needle in it is searched with a pattern.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

LEAST: Final = 8
"""Characters of a secret that is looked for: a shorter one may be any word."""
HIDDEN: Final = "***"

_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_PARTS: Final = re.compile(r"[A-Za-z0-9]+|\\+|.", re.DOTALL)
"""Runs of what no escape changes, runs of backslashes, and other characters each by itself."""
_NAMED: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
"""Characters with a name in HTML."""
_LETTERS: Final = {"\n": "n", "\r": "r", "\t": "t"}
"""Characters that JSON escapes with a letter."""
_BASE64_BEFORE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_%\\")
_BASE64_AFTER: Final = re.compile(rb"(?:[A-Za-z0-9+/_=-]|\\+/|%2[BbFf]|%3[Dd])*")


class Secrets:
    """The secrets that must never leave, in all their forms."""

    __slots__ = ("_forms", "texts")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Take secrets, longest first where one holds another; those shorter than `LEAST` are none."""
        self.texts: Final = tuple(sorted({text for text in texts if len(text) >= LEAST}, key=lambda t: (-len(t), t)))
        plain = [(_needle(text), text, False) for text in self.texts]
        encoded = [(_needle(middle), middle, True) for text in self.texts for middle in _in_base64(text)]
        self._forms: Final = tuple(
            (needle, needle.encode(), text, is_base64) for needle, text, is_base64 in (*plain, *encoded)
        )

    def __repr__(self) -> str:
        return f"Secrets({len(self.texts)})"

    def out_of(self, data: bytes) -> bytes:
        """Return `data` with every secret replaced; itself where it holds none."""
        for _, needle, text, is_base64 in self._forms:
            if needle in data:
                data = _without(data, _pattern(text, is_base64), whole_words=is_base64)
        return data

    def out_of_text(self, text: str) -> str:
        """Return `text` with every secret replaced; itself where it holds none."""
        if not any(form[0] in text for form in self._forms):
            return text
        return self.out_of(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def out_of_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers with every secret replaced in their values; the same mapping where they hold none."""
        joined = "\n".join(headers.values())
        for form in self._forms:  # no generator: this is asked of every answer
            if form[0] in joined:
                return {name: self.out_of_text(value) for name, value in headers.items()}
        return headers


NO_SECRETS: Final = Secrets()


@lru_cache(maxsize=256)
def secrets(texts: tuple[str, ...]) -> Secrets:
    """Return the secrets among these texts. Remembered: tokens that a library made come again with each request."""
    return Secrets(texts)


def _needle(text: str) -> str:
    return max(_RUN.findall(text), key=len, default="")


def _in_base64(text: str) -> list[str]:
    """Return what base64 makes of a text behind 0, 1 and 2 other bytes: the digits that the text alone decides.

    A text that stands behind more bytes looks as behind one of these, since three bytes make four digits.
    """
    data, found = text.encode("utf-8", "surrogatepass"), []
    for before in range(3):
        digits = base64.b64encode(bytes(before) + data).decode()
        found.append(digits[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    return found


def _without(data: bytes, pattern: re.Pattern[bytes], *, whole_words: bool) -> bytes:
    """Replace what a pattern finds; with `whole_words`, the base64 text around it too: its ends hold bits of it."""
    pieces, end = [], 0
    for hit in pattern.finditer(data):
        start, stop = hit.span()
        if stop <= end:
            continue
        if whole_words:
            while start > end and data[start - 1] in _BASE64_BEFORE:
                start -= 1
            after = _BASE64_AFTER.match(data, stop)
            stop = stop if after is None else after.end()
        pieces += [data[end : max(start, end)], HIDDEN.encode()]
        end = stop
    return b"".join([*pieces, data[end:]])


@lru_cache(maxsize=1024)
def _pattern(text: str, is_base64: bool) -> re.Pattern[bytes]:
    url_safe = {"+": "-", "/": "_"} if is_base64 else {}
    return re.compile(b"".join(_characters(part, url_safe.get(part)) for part in _PARTS.findall(text)))


def _characters(part: str, instead: str | None) -> bytes:
    r"""Return a pattern of a part of a secret, as it is and escaped: `\/`, `\u002F` (JSON), `%2F` (URL), `&#47;`.

    Escapes may have been escaped again, as JSON inside a string of JSON is. `instead` may stand in its place.
    """
    if _RUN.fullmatch(part):
        return part.encode()
    escaped = b"".join(_escaped(char) for char in part)
    if part.startswith("\\"):  # one quantifier for all of them: several beside each other would be tried in every way
        return rb"(?i:\\{%d,%d}|%b)" % (len(part), 8 * len(part), escaped)
    ways = [rb"\\{0,8}" + re.escape(part.encode("utf-8", "surrogatepass")), escaped]
    if part in _LETTERS:
        ways.append(rb"\\{1,8}" + _LETTERS[part].encode())
    if part == " ":
        ways.append(rb"\+")
    if instead is not None:
        ways.append(re.escape(instead).encode())
    return b"(?i:" + b"|".join(ways) + b")"


def _escaped(char: str) -> bytes:
    """Return a pattern of a character that is written by its number, or by its name."""
    units = char.encode("utf-16-be", "surrogatepass")
    in_json = b"".join(rb"\\{1,8}u" + units[at : at + 2].hex().encode() for at in range(0, len(units), 2))
    in_url = b"".join(b"%%(?:25){0,3}%02x" % byte for byte in char.encode("utf-8", "surrogatepass"))
    names = [f"#x0{{0,6}}{ord(char):x}", f"#0{{0,6}}{ord(char)}", *([_NAMED[char]] if char in _NAMED else [])]
    in_html = f"&(?:amp;)?(?:{'|'.join(names)});".encode()
    return b"(?:" + b"|".join([in_json, in_url, in_html]) + b")"
