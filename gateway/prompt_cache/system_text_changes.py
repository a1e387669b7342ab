"""The lines of the leading system text that change from request to request, and the patterns that would declare them.

Pure. A prompt family is a team, a policy and a model, with system texts of so many lines. Each text is compared line by
line with the one before it of the same prompt. The number of a changed line is counted together with a *label*: the
words of the line before the change, with digits masked. Only these leave the process, so that no changing text is ever
shared. Counts can be added, so that workers put theirs together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

MOST_FAMILIES: Final = 200
MOST_CHANGING: Final = 12
"""Lines of one family that are counted, each with its label. If there are more, those that changed most often stay."""
MOST_PROMPTS: Final = 4
"""Texts of one family that are kept for comparison. A team may have several prompts of as many lines."""
LONGEST_TEXT: Final = 200_000
"""The longest text that is compared, in characters."""
ALIKE: Final = 0.5
"""The share of equal lines from which on two texts are of the same prompt."""
AGES_AT: Final = 4_000
"""Comparisons after which all counts of a family are halved, so that a prompt of last month is forgotten."""
LONGEST_PATTERN: Final = 80
_MOST: Final = 10**12
"""The highest count that is read."""
_LONGEST_LOOK: Final = 1000
"""Characters before the change in which the words of a label are searched."""
LEAST_COMPARED: Final = 20
"""Comparisons below which nothing is suggested."""
OFTEN: Final = 0.2
"""The least share of requests with a change for which a line is suggested."""

_OF_A_DATE: Final = re.compile(
    r"(?i)\d|^(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|^(?:mon|tue|wed|thu|fri|sat|sun|am|pm|utc|gmt)[,.]?$"
    r"|^(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)(?:uary|ruary|ch|il|ust|ember|tember|ober)?[,.]?$"
)
_WORDS: Final = re.compile(r"\s*\S+\s*")
_NAME: Final = re.compile(r"[^\d\s:=]*[:=]")
"""A name directly before a value: `id=`, `Time:`."""
_DIGITS: Final = re.compile(r"\d+")


class PromptFamily(NamedTuple):
    """The requests that are compared with each other."""

    team: str
    policy: str
    model: str
    lines: int


@dataclass(frozen=True, slots=True)
class LineChanges:
    """The changes of one family."""

    compared: int = 0
    """Requests that were compared with one before them."""
    changed: Mapping[tuple[int, str], int] = field(default_factory=dict)
    """(line number from 1, label) → the requests in which the line differed."""

    def __add__(self, other: LineChanges) -> LineChanges:
        """Add the counts of two processes."""
        if not other.changed and self.compared + other.compared < AGES_AT:
            return LineChanges(self.compared + other.compared, self.changed)
        changed = dict(self.changed)
        for (line, label), number in other.changed.items():
            same = [earlier for earlier in changed if earlier[0] == line and label.startswith(earlier[1])]
            key = min(same, key=lambda earlier: len(earlier[1]), default=(line, label))
            changed[key] = changed.get(key, 0) + number
        return _bounded(LineChanges(self.compared + other.compared, changed))


ChangesByFamily = Mapping[PromptFamily, LineChanges]


class Suggestion(NamedTuple):
    """A line that breaks prefixes, and the pattern that would declare it."""

    family: PromptFamily
    line: int
    share: float
    """The share of the requests in which it changes."""
    pattern: str | None
    """None if nothing of the line stays the same."""

    def __str__(self) -> str:
        where = f"{self.family.team}, policy {self.family.policy}, {self.family.model}"
        says = f"{where}: line {self.line} of the system text changes in {self.share:.0%} of requests"
        if self.pattern is None:
            return f"{says}; nothing of it stays the same, so move it into a message, or name it in a line of its own"
        quoted = self.pattern.replace("'", "''")
        return f"{says}; declare volatile: ['{quoted}']"


def merge_changes(first: ChangesByFamily, other: ChangesByFamily) -> dict[PromptFamily, LineChanges]:
    """Add two tables. If there are too many families, those seen least lately are dropped."""
    out = dict(first)
    for family, changes in other.items():
        out[family] = out.pop(family, LineChanges()) + changes
    return dict(list(out.items())[-MOST_FAMILIES:])


def suggestions(changes_by_family: ChangesByFamily) -> list[Suggestion]:
    """List the lines that break prefixes, the worst first."""
    listed = [
        suggestion
        for family, changes in changes_by_family.items()
        if changes.compared >= LEAST_COMPARED
        for suggestion in _suggestions_of(family, changes)
    ]
    return sorted(
        listed, key=lambda line: (-line.share * changes_by_family[line.family].compared, line.family, line.line)
    )


def _suggestions_of(family: PromptFamily, changes: LineChanges) -> Iterator[Suggestion]:
    by_line: dict[int, dict[str, int]] = {}
    for (line, label), number in sorted(changes.changed.items()):
        by_line.setdefault(line, {})[label] = number
    for line, labels in by_line.items():
        for label, number in _merge_labels(labels).items():
            share = min(1.0, number / changes.compared)
            if share >= OFTEN:
                yield Suggestion(family, line, share, f"{label}.*" if label.strip() else None)


def _merge_labels(labels: Mapping[str, int]) -> dict[str, int]:
    """Merge a label into a shorter one that it begins with: the change begins earlier at times."""
    out: dict[str, int] = {}
    for label in sorted(labels, key=len):
        under = next((short for short in out if label.startswith(short)), label)
        out[under] = out.get(under, 0) + labels[label]
    return out


# ---------------------------------------------------------------- comparing


class RecentTexts:
    """The texts of one family with which the next one is compared. They stay in the process."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[tuple[str, list[str]]] = []

    def compared(self, text: str) -> LineChanges:
        """Compare a text with the last one of its prompt, and keep it in that one's place."""
        same = next((at for at, (earlier, _) in enumerate(self._texts) if earlier == text), None)
        if same is not None:
            self._texts.append(self._texts.pop(same))
            return LineChanges(1)
        lines = text.split("\n")
        best, differing = None, int(len(lines) * (1 - ALIKE)) + 1
        for at, (_, earlier) in enumerate(self._texts):
            number = sum(map(str.__ne__, earlier, lines))
            if number < differing:
                best, differing = at, number
        if best is None:
            self._texts = [*self._texts[-MOST_PROMPTS + 1 :], (text, lines)]
            return LineChanges()
        _, earlier = self._texts.pop(best)
        self._texts.append((text, lines))
        return LineChanges(1, _changes(earlier, lines))


def _changes(earlier: Sequence[str], lines: Sequence[str]) -> dict[tuple[int, str], int]:
    pairs = enumerate(zip(earlier, lines, strict=True), 1)
    differing = [((number, label_of(was, now)), 1) for number, (was, now) in pairs if was != now]
    return dict(differing[:MOST_CHANGING])


def label_of(was: str, now: str) -> str:
    r"""Return the beginning of a pattern: the common beginning of two lines, escaped, with digits as \d+.

    A number or a date that is cut off by the change is left out.
    """
    start = _common_length(was, now)
    first = max(0, start - _LONGEST_LOOK)
    words = _WORDS.findall(now[first:start])
    if first and words:
        words.pop(0)  # a part of one
    broken = words.pop() if words and not now[start - 1].isspace() else ""
    named = _NAME.match(broken)
    if named is None:
        while words and _OF_A_DATE.search(words[-1].strip()):
            words.pop()
    return _cut([*words, named[0]] if named is not None else words)


def _common_length(was: str, now: str) -> int:
    """Count the characters that two texts have in common from the start, by halves."""
    least, most = 0, min(len(was), len(now))
    while least < most:
        middle = (least + most + 1) // 2
        if was.startswith(now[least:middle], least):
            least = middle
        else:
            most = middle - 1
    return least


def _cut(words: list[str]) -> str:
    """Write words as a pattern. If there are many, only the last ones."""
    said, room = list[str](), LONGEST_PATTERN - len(".*")
    for word in reversed(words):
        written = _DIGITS.sub(r"\\d+", _escaped(word))
        room -= len(written)
        if room < 0:
            break
        said.append(written)
    return "".join(reversed(said))


def _escaped(text: str) -> str:
    return re.sub(r"[\\^$.|?*+()\[\]{}]", r"\\\g<0>", text)


def _bounded(changes: LineChanges) -> LineChanges:
    changed = changes.changed
    if len(changed) > MOST_CHANGING:
        most = sorted(changed.items(), key=lambda item: (-item[1], item[0]))[:MOST_CHANGING]
        changed = dict(sorted(most))
    if changes.compared < AGES_AT:
        return replace(changes, changed=changed)
    halved = {key: number // 2 for key, number in changed.items() if number > 1}
    return LineChanges(changes.compared // 2, halved)


# ---------------------------------------------------------------- as JSON


def to_json(changes_by_family: ChangesByFamily) -> list[Any]:
    """Return plain JSON values."""
    return [
        [
            *map(_sound, family[:3]),
            family.lines,
            changes.compared,
            [[line, _sound(label), number] for (line, label), number in changes.changed.items()],
        ]
        for family, changes in changes_by_family.items()
    ]


def _sound(text: str) -> str:
    """Replace characters that JSON cannot hold, for example half of a surrogate pair that a client cut in two."""
    return text.encode(errors="replace").decode()


def from_json(read: Iterable[Any]) -> dict[PromptFamily, LineChanges]:
    """Read the values of `to_json`. Raises ValueError or TypeError for anything else."""
    out: dict[PromptFamily, LineChanges] = {}
    for team, policy, model, lines, compared, changed in read:
        counts = {(_count(line), str(label)[:LONGEST_PATTERN]): _count(number) for line, label, number in changed}
        out[PromptFamily(str(team), str(policy), str(model), _count(lines))] = LineChanges(_count(compared), counts)
    return out


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("nothing is counted like this")
    return value
