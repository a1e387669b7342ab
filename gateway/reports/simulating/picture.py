"""Prompt length over turns, drawn: in braille for terminals, and as a PNG. Pure: numbers in, text or bytes out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

Lengths = Sequence[int | None]
"""Tokens of each turn; None where nothing was sent."""


# ---------------------------------------------------------------- braille

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille cell, by column and row: https://www.unicode.org/charts/PDF/U2800.pdf."""
_BRAILLE = 0x2800


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: its lines from the top down, each with its label at the left."""

    labels: tuple[str, ...]
    rows: tuple[str, ...]


def panel(filled: Lengths, outlined: Lengths, columns: int, rows: int, top: int | None = None) -> Panel:
    """Draw one series as an area and the other as a line above it, `columns` by `rows` characters.

    `top` is the number at the upper end; the same for all panels that are to be compared.
    """
    top = max(1, top or highest(filled, outlined))
    wide, high = 2 * columns, 4 * rows
    cells = [[0] * columns for _ in range(rows)]

    def dot(x: int, level: int) -> None:
        y = high - 1 - level
        cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]

    for x in range(wide):
        inside, line = _at(filled, x, wide), _at(outlined, x, wide)
        for level in range(_level(inside, top, high) + 1 if inside else 0):
            dot(x, level)
        if line:
            dot(x, _level(line, top, high))
    labels = [""] * rows
    labels[0], labels[-1] = f"{top:,}", "0"
    if rows > 4:
        labels[rows // 2] = f"{round(top * (1 - (rows // 2) / (rows - 1))):,}"
    return Panel(tuple(labels), tuple("".join(chr(_BRAILLE + cell) for cell in row) for row in cells))


def highest(*series: Lengths) -> int:
    """Return the largest number of all series."""
    return max((length for lengths in series for length in lengths if length), default=0)


def _at(lengths: Lengths, x: int, wide: int) -> int | None:
    """Return the value at a column; a turn is as wide as its share. Of several in a column, the largest counts."""
    count = len(lengths)
    first = x * count // wide
    after = max(first + 1, (x + 1) * count // wide)
    return max((length for length in lengths[first:after] if length is not None), default=None)


def _level(length: int, top: int, high: int) -> int:
    return min(high - 1, length * (high - 1) // top)


# ---------------------------------------------------------------- PNG

_WIDE, _HIGH = 960, 480
_LEFT, _RIGHT, _UPPER, _LOWER = 90, 20, 24, 44
_WHITE, _BLACK, _PALE = 0, 1, 2
_COLOURS = (
    *((255, 255, 255), (40, 40, 40), (226, 226, 226), (140, 140, 140)),
    *((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233)),
)
"""White, black, grid, as it came; then for policies, told apart by the colour-blind too (Okabe and Ito, 2008)."""
_CAME = 3

_GLYPHS = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-.,/:@_",
        (
            *("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71244", "75757", "75717"),
            *("25755", "65656", "34443", "65556", "74647", "74644", "34553", "55755", "72227", "11152"),
            *("55655", "44447", "57755", "65555", "25552", "65644", "25563", "65655", "34216", "72222"),
            *("55557", "55552", "55775", "55255", "55222", "71247"),
            *("00700", "00002", "00024", "11244", "02020", "25543", "00007"),
        ),
        strict=True,
    )
)
"""Three by five dots a letter, a digit a row, top first. A character that is not here is drawn as a gap."""
_SCALE = 2
_LETTER = 4 * _SCALE


class _Canvas:
    def __init__(self) -> None:
        self.rows = [bytearray(_WIDE) for _ in range(_HIGH)]

    def box(self, left: int, upper: int, right: int, lower: int, colour: int) -> None:
        """Fill from (left, upper) up to, not including, (right, lower)."""
        left, right = max(0, left), min(_WIDE, right)
        for row in self.rows[max(0, upper) : max(0, lower)]:
            row[left:right] = bytes([colour]) * max(0, right - left)

    def text(self, left: int, upper: int, words: str, colour: int) -> None:
        for place, letter in enumerate(words.upper()):
            for y, digit in enumerate(_GLYPHS.get(letter, "00000")):
                for x in range(3):
                    if int(digit) >> (2 - x) & 1:
                        at, down = left + place * _LETTER + x * _SCALE, upper + y * _SCALE
                        self.box(at, down, at + _SCALE, down + _SCALE, colour)

    def steps(self, lengths: Lengths, top: int, colour: int, thick: int) -> None:
        """Draw a series as steps, one for each turn; nothing where there is none."""
        wide, before = _WIDE - _LEFT - _RIGHT, None
        for turn, length in enumerate(lengths):
            if length is None:
                before = None
                continue
            left, right = (_LEFT + wide * n // len(lengths) for n in (turn, turn + 1))
            y = _height(length, top) - thick // 2
            self.box(left, y, right + thick, y + thick, colour)
            if before is not None:
                self.box(left, min(before, y), left + thick, max(before, y) + thick, colour)
            before = y


def _height(length: int, top: int) -> int:
    return _HIGH - _LOWER - (_HIGH - _LOWER - _UPPER) * length // top


def png(title: str, came: Lengths, policies: Sequence[tuple[str, Lengths]]) -> bytes:
    """Draw prompt length over turns: as it came in grey, each policy in a colour of its own."""
    canvas = _Canvas()
    top = _round_up(highest(came, *(lengths for _, lengths in policies)))
    for part in range(5):
        number = top * part // 4
        y = _height(number, top)
        canvas.box(_LEFT, y, _WIDE - _RIGHT, y + 1, _PALE)
        label = f"{number:,}"
        canvas.text(_LEFT - 8 - len(label) * _LETTER, y - 4, label, _BLACK)
    canvas.text(_LEFT, 8, f"prompt tokens of each turn, {title}", _BLACK)
    canvas.text(_LEFT, _HIGH - _LOWER + 8, "1", _BLACK)
    canvas.text(_WIDE - _RIGHT - len(str(len(came))) * _LETTER, _HIGH - _LOWER + 8, str(len(came)), _BLACK)
    at = _LEFT
    colours = len(_COLOURS) - _CAME - 1
    for place, (name, lengths) in enumerate([("as it came", came), *policies]):
        colour = _CAME if not place else _CAME + 1 + (place - 1) % colours
        canvas.steps(lengths, top, colour, 5 if not place else 2)
        canvas.box(at, _HIGH - 16, at + 14, _HIGH - 10, colour)
        canvas.text(at + 20, _HIGH - 18, name, _BLACK)
        at += 36 + len(name) * _LETTER
    return _as_png(canvas.rows)


def _round_up(number: int) -> int:
    """Return the next number that a scale may end at: a multiple of half the power of ten below it."""
    step = max(4, int(10 ** max(0, len(str(number)) - 1)) // 2)
    return max(step, -(-number // step) * step)


def _as_png(rows: Sequence[bytes | bytearray]) -> bytes:
    """Write rows of palette indices. The format: https://www.w3.org/TR/png-3."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    palette = bytes(value for colour in _COLOURS for value in colour)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
