"""Lines that differ from the others of their text: `outlier_weights` weighs them; `is_log` knows a run of like lines.

A line is unusual where its template is rare (digits and ids masked, rare words left out; the idea is that of Drain and
SLCT), where a field that has few values holds a rare one, where its form is unlike the others', or where its words
report trouble in one of many languages. Rarity is always against the rest of the same text: where every line is unlike
every other, as in prose, none is rare. The whole block of a traceback shares the weight of its beginning.

drain3 was measured: 20 ms for 4,000 lines of one template and 1,000 ms for 4,000 lines without any, growing with the
number of templates. This counts instead: linear, and the same for any order of lines. Pure.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.rewriting.results.shapes import trouble

_LONGEST = 2000
"""Characters of a line that are looked at."""
_MOST_TOKENS = 48
_LEAST_LINES = 6
"""Lines of a text below which none is unusual by its form."""

_VARIABLE = re.compile(
    r"(?<![^\W_])(?=[A-Fa-f]{0,16}\d)[\dA-Fa-f]{7,64}(?:-[\dA-Fa-f]{4,12}){0,4}(?![^\W_])|\d+(?:[.,:/T-]\d+)*"
)
_FILLING = ".-=*_#~+:·•"
_RUN = re.compile(rf"([{re.escape(_FILLING)}])\1{{3,}}")
_TOKEN = re.compile(r"[^\s,;|\"'()\[\]{}<>=]+")
_NUMBER = re.compile(r"(?<![^\W_])\d++(?:[.,:/T-]\d++)*+(?![^\W\d_]{1,4}\d)")

_SUPPORT = 0.02
"""Share of the lines that hold a word which belongs to a template."""
_RARE, _USUAL = 0.02, 0.12
"""Share of the lines that are as rare as a line, or rarer: at most so many are unusual; from so many on none is."""
_FEW_VALUES = 12
_MOSTLY = 0.5
"""Share of its most frequent value in a field of which a rare value is unusual."""
_RARE_VALUE = 0.01
_LEAST_VALUES = 12
"""Values of a field below which none of them is rare."""
_HEAD = 6
"""Tokens at the beginning of a line that are fields: time, host, level."""

_BY_TEMPLATE, _BY_FIELD, _BY_FORM = 0.9, 0.9, 0.5
_LONGER = 2
"""Digits that a number has beyond the usual ones of its field where it is unusual."""
_BY_WORDS = 1.0
_FREQUENT_TROUBLE = 0.3
"""The weight of a report of trouble in a text that is full of such reports."""
_COMMON = 0.06
"""Share of the lines of a text from which a template is too common to belong to a block."""
_MOST_BLOCK = 60
"""Lines that one block may have, a traceback for instance."""

Line = TypeVar("Line")

_LEAST_LOG = 8
_LIKE = 0.7
"""Share of lines that follow few templates in a log."""
_MOST_RUNS, _LINES_IN_RUN = 12, 50
_LEVELS = frozenset({"level", "lvl", "severity", "loglevel", "log_level", "levelname", "priority", "severitytext"})


def outlier_weights(lines: Sequence[str]) -> list[float]:
    """Weigh how unlike the others each line is: 0.0 for a usual one, 1.0 for what reports trouble or stands alone."""
    if not lines:
        return []
    text = _Text.of(lines)
    out = _by_template(text)
    _raise(out, _by_words(text))
    _spread_blocks(text, out)
    _raise(out, _by_form(text))
    for column in _columns(text):
        _raise(out, column)
    return [0.0 if not line.strip() else weight for line, weight in zip(text.lines, out, strict=True)]


def is_log(lines: Sequence[str]) -> bool:
    """Tell whether lines are a run of few templates: a log, a listing, rows of a table, and no prose."""
    filled = sample([line for line in lines if line.strip()])
    if len(filled) < _LEAST_LOG:
        return False
    if _objects(filled) is not None:
        return True
    return are_alike(filled)


def has_levels(lines: Sequence[str]) -> bool:
    """Tell whether lines are JSON objects that each name a level: entries of a log, however different their words."""
    filled = sample([line for line in lines if line.strip()])
    objects = _objects(filled) if len(filled) >= _LEAST_LOG else None
    if objects is None:
        return False
    levels = sum(
        value is not None and any(key.rpartition(".")[2].casefold() in _LEVELS for key in value) for value in objects
    )
    return levels >= _LIKE * len(objects)


def are_alike(records: Sequence[str]) -> bool:
    """Tell whether records follow few templates: rows of values, not texts to be read."""
    if len(records) < _LEAST_LOG:
        return False
    text = _Text.of(sample(records))
    like = sum(text.often[n] for n in text.templates if text.often[n] >= 3 and text.fixed[n])
    return like >= _LIKE * len(text.lines)


def sample(lines: Sequence[Line]) -> Sequence[Line]:
    """Take runs of lines from all over a long text: enough to tell its kind."""
    if len(lines) <= _MOST_RUNS * _LINES_IN_RUN:
        return lines
    step = len(lines) // _MOST_RUNS
    return [line for n in range(_MOST_RUNS) for line in lines[n * step : n * step + _LINES_IN_RUN]]


def is_records(lines: Sequence[str]) -> bool:
    """Tell whether lines are records: JSON objects with much the same members, or rows of cells."""
    filled = [line for line in lines if line.strip()]
    if len(filled) < _LEAST_LOG:
        return False
    return _objects(filled) is not None or _cells(filled) is not None


# ---------------------------------------------------------------- templates


@dataclass(slots=True)
class _Text:
    """The lines of a text, and the template of each by number."""

    lines: list[str]
    masked: list[int]
    """By line: which masked line it is."""
    forms: list[str]
    """The masked lines that differ."""
    times: list[int]
    """By masked line: how often it stands."""
    tokens: list[list[str]]
    template: list[int]
    """By masked line: which template it follows."""
    often: list[int]
    """By template: lines that follow it."""
    fixed: list[bool]
    """By template: whether most of it is words that do not vary."""

    @classmethod
    def of(cls, lines: Sequence[str]) -> _Text:
        short = [line if len(line) <= _LONGEST else line[:_LONGEST] for line in lines]
        number: dict[str, int] = {}
        runs = _has_runs(short)
        masked = [number.setdefault(_masked(line, runs=runs), len(number)) for line in short]
        forms = list(number)
        times = [0] * len(forms)
        for n in masked:
            times[n] += 1
        tokens = [_TOKEN.findall(form)[:_MOST_TOKENS] for form in forms]
        template, often, fixed = _templates(tokens, times, len(short))
        return cls(short, masked, forms, times, tokens, template, often, fixed)

    @property
    def templates(self) -> range:
        return range(len(self.often))


def _masked(line: str, *, runs: bool) -> str:
    line = _VARIABLE.sub("#", line)
    return _RUN.sub(r"\1", line) if runs else line


def _has_runs(lines: Sequence[str]) -> bool:
    """Tell whether a sign of those that fill lines follows itself often somewhere."""
    text = "\n".join(lines)
    return any(sign * 4 in text for sign in _FILLING)


def _templates(
    tokens: Sequence[list[str]], times: Sequence[int], total: int
) -> tuple[list[int], list[int], list[bool]]:
    """Find the templates: what is left of a masked line without the words that few lines hold."""
    held: dict[str, int] = {}
    for words, n in zip(tokens, times, strict=True):
        for word in set(words):
            held[word] = held.get(word, 0) + n
    least = max(3.0, _SUPPORT * total)
    number: dict[tuple[str, ...], int] = {}
    template: list[int] = []
    often: list[int] = []
    fixed: list[bool] = []
    for words, n in zip(tokens, times, strict=True):
        kept: list[str] = []
        constant = 0
        for word in words:
            if held[word] >= least:
                kept.append(word)
                constant += 1
            elif not kept or kept[-1] != "\0":
                kept.append("\0")
        key = tuple(kept)
        at = number.get(key)
        if at is None:
            at = number[key] = len(often)
            often.append(0)
            fixed.append(2 * constant >= len(words))
        often[at] += n
        template.append(at)
    return template, often, fixed


def _by_template(text: _Text) -> list[float]:
    rarity = _rarity(text.often)
    by_form = [_BY_TEMPLATE * rarity[at] for at in text.template]
    return [by_form[n] for n in text.masked]


def _rarity(often: Sequence[int]) -> list[float]:
    """Weigh kinds by how many of all are as rare, or rarer: 1.0 where hardly any is, 0.0 where many are."""
    total = sum(often)
    if total < _LEAST_LINES:
        return [0.0] * len(often)
    of_size = Counter(often)
    weight: dict[int, float] = {}
    passed = 0
    for size in sorted(of_size):
        passed += size * of_size[size]
        share = passed / total
        if passed <= 1 or share <= _RARE:
            weight[size] = 1.0
        else:
            weight[size] = max(0.0, 1.0 - (share - _RARE) / (_USUAL - _RARE))
    return [weight[size] for size in often]


def _by_form(text: _Text) -> list[float]:
    """Weigh how a line looks, whatever its words: where it begins, how long it is, what kind of signs it has."""
    number: dict[tuple[bool, str, str, int], int] = {}
    shape: list[int] = []
    often: list[int] = []
    for form, n in zip(text.forms, text.times, strict=True):
        said = form.strip()
        key = (form[:1].isspace(), _kind(said[:1]), _kind(said[-1:]), len(said).bit_length())
        at = number.setdefault(key, len(often))
        if at == len(often):
            often.append(0)
        often[at] += n
        shape.append(at)
    rarity = _rarity(often)
    return [_BY_FORM * rarity[shape[n]] for n in text.masked]


def _kind(sign: str) -> str:
    if sign.isalpha():
        return "A" if sign.isupper() else "a"
    return sign


# ---------------------------------------------------------------- fields


def _columns(text: _Text) -> Iterable[list[float]]:
    """Weigh the lines by each of their fields, whatever form the fields have."""
    lines = text.lines
    if len(lines) < _LEAST_VALUES:
        return
    objects = _objects(lines)
    if objects is not None:
        yield from _by_members(objects)
        return
    cells = _cells(lines)
    if cells is not None:
        yield from _by_cells(cells)
    head = [text.tokens[n][:_HEAD] for n in text.masked]
    for place in range(_HEAD):
        yield _rare([words[place] if place < len(words) else None for words in head])
    yield _rare([line[:1] or None for line in lines])
    yield from _by_numbers(text)


def _objects(lines: Sequence[str]) -> list[dict[str, Any] | None] | None:
    """Read lines that are JSON objects, members of members under `a.b`; None where most lines are none."""
    if 2 * sum(line[:1] == "{" for line in lines) < len(lines):
        return None
    out: list[dict[str, Any] | None] = []
    read = 0
    for line in lines:
        value = None
        if line[:1] == "{":
            try:
                value = json.loads(line.rstrip().rstrip(","))
            except (ValueError, RecursionError):
                value = None
        if isinstance(value, dict):
            read += 1
            out.append(_flat(value))
        else:
            out.append(None)
    return out if 2 * read >= len(lines) else None


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, member in value.items():
        if isinstance(member, dict):
            out.update({f"{key}.{inner}": deep for inner, deep in member.items()})
        else:
            out[key] = member
    return out


def _by_members(objects: Sequence[dict[str, Any] | None]) -> Iterable[list[float]]:
    keys: dict[str, int] = {}
    for value in objects:
        for key in value or ():
            keys[key] = keys.get(key, 0) + 1
    for key in [key for key, n in keys.items() if n >= _LEAST_VALUES][:_MOST_TOKENS]:
        yield _rare([_plain(value.get(key)) if value is not None and key in value else None for value in objects])
    kinds: dict[tuple[str, ...] | None, int] = {}
    of = [kinds.setdefault(None if value is None else tuple(value), len(kinds)) for value in objects]
    often = Counter(of)
    rarity = _rarity([often[n] for n in range(len(kinds))])
    yield [_BY_FIELD * rarity[n] for n in of]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value[:64]
    return json.dumps(value)[:64] if isinstance(value, list | dict) else f"\0{value}"


def _cells(lines: Sequence[str]) -> list[list[str] | None] | None:
    """Cut lines into the cells of a table; None where most lines do not have as many."""
    for mark in ("|", "\t", ";", ","):
        counts = Counter([line.count(mark) for line in lines])
        number, times = max(counts.items(), key=lambda item: (item[1], item[0]))
        if 2 <= number <= _MOST_TOKENS and times >= 0.6 * len(lines):
            return [
                [cell.strip() for cell in line.split(mark)] if line.count(mark) == number else None for line in lines
            ]
    return None


def _by_cells(cells: Sequence[list[str] | None]) -> Iterable[list[float]]:
    width = max(len(row) for row in cells if row is not None)
    for place in range(width):
        column = [None if row is None else row[place] for row in cells]
        yield _rare(column)
        yield _rare([None if cell is None else _kind_of_cell(cell) for cell in column])
        yield _longer([cell if cell is not None and cell.isdigit() else None for cell in column])


def _kind_of_cell(cell: str) -> str:
    bare = cell.strip("\"'$€£% ")
    if not bare:
        return "empty"
    if bare[0] in "-\u2212(" and bare[1:2].isdigit():
        return "negative"
    return "number" if bare[0].isdigit() or bare[0] == "+" else "word"


def _by_numbers(text: _Text) -> Iterable[list[float]]:
    """Weigh the numbers that stand at one place of one template: a counter that is 0 everywhere but here."""
    groups: dict[int, list[int]] = {}
    for i, n in enumerate(text.masked):
        groups.setdefault(text.template[n], []).append(i)
    out = [0.0] * len(text.lines)
    for places in groups.values():
        if len(places) < _LEAST_VALUES:
            continue
        numbers = [_NUMBER.findall(text.lines[i]) for i in places]
        width = Counter(map(len, numbers)).most_common(1)[0][0]
        if not 0 < width <= _MOST_TOKENS:
            continue
        alike = [(i, row) for i, row in zip(places, numbers, strict=True) if len(row) == width]
        for place in range(width):
            column = [row[place] for _, row in alike]
            for weights in (_rare(column), _longer(column)):
                for (i, _), weight in zip(alike, weights, strict=True) if weights else ():
                    out[i] = max(out[i], weight)
    yield out


def _rare(values: Sequence[str | None]) -> list[float]:
    """Weigh the rare values of a field that has few; nothing where none is rare."""
    often = Counter(values)
    missing = often.pop(None, 0)
    total = len(values) - missing
    if len(often) < 2 or total < _LEAST_VALUES:
        return []
    usual = often.most_common(_FEW_VALUES + 1)
    spare = len(often) - len(usual)
    most = max(1.0, _RARE_VALUE * total)
    if usual[0][1] < _MOSTLY * total or (spare > 0 and usual[-1][1] > most) or len(often) > max(_FEW_VALUES, most):
        return []
    unusual = {value for value, n in often.items() if n <= most}
    rare = sum(often[value] for value in unusual)
    if not unusual or rare > max(1.0, _USUAL * total):
        return []
    return [_BY_FIELD if value in unusual else 0.0 for value in values]


def _longer(values: Sequence[str | None]) -> list[float]:
    """Weigh the numbers that have more digits than the usual ones of their field; nothing where none has."""
    lengths = Counter([len(value) for value in values if value is not None])
    total = sum(lengths.values())
    if total < _LEAST_VALUES or len(lengths) < 2:
        return []
    most, passed = max(1.0, _RARE_VALUE * total), 0
    usual = max(lengths)
    for length in sorted(lengths, reverse=True):
        passed += lengths[length]
        if passed > most:
            usual = length
            break
    if max(lengths) < usual + _LONGER:
        return []
    return [_BY_FIELD if value is not None and len(value) >= usual + _LONGER else 0.0 for value in values]


# ---------------------------------------------------------------- words


def _by_words(text: _Text) -> list[float]:
    """Weigh the lines that report trouble, less where many of the text do."""
    folded = [form.casefold() for form in text.forms]
    split = [_WORD.findall(form) for form in folded]
    vocabulary: dict[str, None] = {}
    for words in split:
        vocabulary.update(dict.fromkeys(words))
    bad = trouble.words(vocabulary)
    suspect = [not bad.isdisjoint(words) or trouble.has_phrase(form) for form, words in zip(folded, split, strict=True)]
    exits = [trouble.may_exit(form) for form in folded]
    total = len(text.lines)
    usual = [text.often[at] > _USUAL * total for at in text.template]
    reports = sum(n for i, n in enumerate(text.times) if suspect[i] and not usual[i])
    frequent = reports > max(3.0, _USUAL * total)
    out = [0.0] * total
    for i, n in enumerate(text.masked):
        if exits[n] and trouble.exits_badly(text.lines[i]):
            out[i] = _BY_WORDS
        elif suspect[n]:
            out[i] = _of_report(text, i, n, bad, frequent=frequent)
    return out


_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def _of_report(text: _Text, i: int, n: int, bad: frozenset[str], *, frequent: bool) -> float:
    share = text.often[text.template[n]] / len(text.lines)
    usual = share > _USUAL and len(text.lines) >= _LEAST_LINES
    if usual and share > _MOSTLY:
        return 0.0
    line = text.lines[i]
    bare = trouble.unless_none(line)
    if bare != line:
        folded = bare.casefold()
        if bad.isdisjoint(_WORD.findall(folded)) and not trouble.has_phrase(folded):
            return 0.0
    if usual or frequent:
        return _FREQUENT_TROUBLE if usual else (_FREQUENT_TROUBLE + _BY_WORDS) / 2
    return _BY_WORDS


# ---------------------------------------------------------------- blocks


def _spread_blocks(text: _Text, weights: list[float]) -> None:
    """Give the indented lines after an unusual line, and the line that ends their block, its weight.

    A line as most lines of the text are belongs to no block.
    """
    lines = text.lines
    at, total = 0, len(lines)
    often = [text.often[text.template[n]] for n in text.masked]
    most = max(3.0, _COMMON * total)
    while at < total:
        weight = weights[at]
        at += 1
        if weight < _BY_FIELD or at >= total or not _is_inside(lines[at], lines[at - 1]):
            continue
        head = lines[at - 1]
        end = at
        while end < total and end - at < _MOST_BLOCK and often[end] <= most and _is_inside(lines[end], head):
            end += 1
        if 2 <= end - at < _MOST_BLOCK and end < total and often[end] <= most and lines[end].strip():
            end += 1
        for inside in range(at, end):
            weights[inside] = max(weights[inside], weight)
        at = max(at, end)


def _is_inside(line: str, head: str) -> bool:
    """Tell whether a line belongs to the block that `head` begins: it is indented deeper, or says so."""
    said = line.lstrip()
    if not said:
        return False
    deeper = len(line) - len(said) > len(head) - len(head.lstrip())
    return deeper or said.startswith(("at ", "Caused by", "... ", "During handling", "The above exception"))


def _raise(weights: list[float], others: Sequence[float]) -> None:
    """Raise weights to others; none where nothing is unusual."""
    if others:
        weights[:] = list(map(max, weights, others))
