"""Which lines of the leading system text change from request to request, and the pattern that would declare them.

Pure. A prefix family is a team, a policy and a model, with system texts of so many lines. Each request's text is
compared with the one before it of the same prompt, line by line; what is counted, and may leave the process, is a
line's number and a *label*: the words of the line that stand before what changed, digits masked, so that nothing of
what changes is ever told. Counts add up, so that workers put theirs together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

MOST_FAMILIES: Final = 200
MOST_CHANGING: Final = 12
"""Lines of one family that are counted, each with its label; of more, those that changed most often stay."""
MOST_PROMPTS: Final = 4
"""Texts of one family that are kept to compare with: a team may have several prompts of as many lines."""
LONGEST_TEXT: Final = 200_000
"""Characters of a text beyond which it is not compared."""
ALIKE: Final = 0.5
"""A text is of the same prompt as another where at least this part of its lines is the same."""
AGES_AT: Final = 4_000
"""Comparisons after which all counts of a family are halved, so that a prompt of last month is forgotten."""
LONGEST_PATTERN: Final = 80
_MOST: Final = 10**12
"""That is ever counted of anything."""
_LONGEST_LOOK: Final = 1000
"""Characters before what changed in which the words of its label are looked for."""
LEAST_COMPARED: Final = 20
"""Comparisons below which nothing is suggested."""
OFTEN: Final = 0.2
"""A line is told of where it changes in at least this part of the requests."""

_OF_A_DATE: Final = re.compile(
    r"(?i)\d|^(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|^(?:mon|tue|wed|thu|fri|sat|sun|am|pm|utc|gmt)[,.]?$"
    r"|^(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)(?:uary|ruary|ch|il|ust|ember|tember|ober)?[,.]?$"
)
_WORDS: Final = re.compile(r"\s*\S+\s*")
_NAME: Final = re.compile(r"[^\d\s:=]*[:=]")
"""What a value stands behind without a space: `id=`, `Time:`."""
_DIGITS: Final = re.compile(r"\d+")


class Family(NamedTuple):
    """Whose requests are compared with each other."""

    team: str
    policy: str
    model: str
    lines: int


@dataclass(frozen=True, slots=True)
class Head:
    """What was seen of one family."""

    compared: int = 0
    """Requests that were compared with one before them."""
    changed: Mapping[tuple[int, str], int] = field(default_factory=dict)
    """(line number from 1, label) → in how many of them it was another one."""

    def __add__(self, other: Head) -> Head:
        """Add up what two processes saw."""
        if not other.changed and self.compared + other.compared < AGES_AT:
            return Head(self.compared + other.compared, self.changed)
        changed = dict(self.changed)
        for (line, label), number in other.changed.items():
            same = [known for known in changed if known[0] == line and label.startswith(known[1])]
            key = min(same, key=lambda known: len(known[1]), default=(line, label))
            changed[key] = changed.get(key, 0) + number
        return _bounded(Head(self.compared + other.compared, changed))


Heads = Mapping[Family, Head]


class Suggestion(NamedTuple):
    """A line that breaks prefixes, and what would declare it."""

    family: Family
    line: int
    share: float
    """Of the requests, in how many it changes."""
    pattern: str | None
    """None where nothing of the line stays the same."""

    def __str__(self) -> str:
        where = f"{self.family.team}, policy {self.family.policy}, {self.family.model}"
        says = f"{where}: line {self.line} of the system text changes in {self.share:.0%} of requests"
        if self.pattern is None:
            return f"{says}; nothing of it stays the same, so move it into a message, or name it in a line of its own"
        quoted = self.pattern.replace("'", "''")
        return f"{says}; declare volatile: ['{quoted}']"


def added(one: Heads, other: Heads) -> dict[Family, Head]:
    """Add up two tables; where there are too many families, those that were seen least lately go."""
    out = dict(one)
    for family, head in other.items():
        out[family] = out.pop(family, Head()) + head
    return dict(list(out.items())[-MOST_FAMILIES:])


def suggestions(heads: Heads) -> list[Suggestion]:
    """Tell what breaks prefixes, the worst first."""
    found = [one for family, head in heads.items() if head.compared >= LEAST_COMPARED for one in _told(family, head)]
    return sorted(found, key=lambda one: (-one.share * heads[one.family].compared, one.family, one.line))


def _told(family: Family, head: Head) -> Iterator[Suggestion]:
    by_line: dict[int, dict[str, int]] = {}
    for (line, label), number in sorted(head.changed.items()):
        by_line.setdefault(line, {})[label] = number
    for line, labels in by_line.items():
        for label, number in _joined(labels).items():
            share = min(1.0, number / head.compared)
            if share >= OFTEN:
                yield Suggestion(family, line, share, f"{label}.*" if label.strip() else None)


def _joined(labels: Mapping[str, int]) -> dict[str, int]:
    """Put a label that goes on from a shorter one to that: what changes began sooner at times."""
    out: dict[str, int] = {}
    for label in sorted(labels, key=len):
        under = next((short for short in out if label.startswith(short)), label)
        out[under] = out.get(under, 0) + labels[label]
    return out


# ---------------------------------------------------------------- comparing


class Prompts:
    """The texts of one family that the next one is compared with. They stay in the process."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[tuple[str, list[str]]] = []

    def compared(self, text: str) -> Head:
        """Compare a text with the last one of its prompt, and keep it in that one's place."""
        same = next((at for at, (known, _) in enumerate(self._texts) if known == text), None)
        if same is not None:
            self._texts.append(self._texts.pop(same))
            return Head(1)
        lines = text.split("\n")
        best, differing = None, int(len(lines) * (1 - ALIKE)) + 1
        for at, (_, known) in enumerate(self._texts):
            number = sum(map(str.__ne__, known, lines))
            if number < differing:
                best, differing = at, number
        if best is None:
            self._texts = [*self._texts[-MOST_PROMPTS + 1 :], (text, lines)]
            return Head()
        _, known = self._texts.pop(best)
        self._texts.append((text, lines))
        return Head(1, _changes(known, lines))


def _changes(known: Sequence[str], lines: Sequence[str]) -> dict[tuple[int, str], int]:
    pairs = enumerate(zip(known, lines, strict=True), 1)
    found = [((number, label_of(was, now)), 1) for number, (was, now) in pairs if was != now]
    return dict(found[:MOST_CHANGING])


def label_of(was: str, now: str) -> str:
    r"""Return the beginning of a pattern: what two lines share before they differ, without the number or date that it
    breaks off in, escaped, with digits as \d+.
    """
    start = _shared(was, now)
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


def _shared(was: str, now: str) -> int:
    """Count the characters that two texts begin with alike, by halves."""
    least, most = 0, min(len(was), len(now))
    while least < most:
        middle = (least + most + 1) // 2
        if was.startswith(now[least:middle], least):
            least = middle
        else:
            most = middle - 1
    return least


def _cut(words: list[str]) -> str:
    """Write words as a pattern; of many the last ones."""
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


def _bounded(head: Head) -> Head:
    changed = head.changed
    if len(changed) > MOST_CHANGING:
        most = sorted(changed.items(), key=lambda one: (-one[1], one[0]))[:MOST_CHANGING]
        changed = dict(sorted(most))
    if head.compared < AGES_AT:
        return replace(head, changed=changed)
    halved = {key: number // 2 for key, number in changed.items() if number > 1}
    return Head(head.compared // 2, halved)


# ---------------------------------------------------------------- as JSON


def to_json(heads: Heads) -> list[Any]:
    """Return values that JSON has."""
    return [
        [
            *map(_sound, family[:3]),
            family.lines,
            head.compared,
            [[line, _sound(label), number] for (line, label), number in head.changed.items()],
        ]
        for family, head in heads.items()
    ]


def _sound(text: str) -> str:
    """Replace what is no character, which JSON cannot hold: half of a pair, say, that a client cut in two."""
    return text.encode(errors="replace").decode()


def from_json(read: Iterable[Any]) -> dict[Family, Head]:
    """Read what `to_json` wrote. Raises ValueError or TypeError for anything else."""
    out: dict[Family, Head] = {}
    for team, policy, model, lines, compared, changed in read:
        counts = {(_count(line), str(label)[:LONGEST_PATTERN]): _count(number) for line, label, number in changed}
        out[Family(str(team), str(policy), str(model), _count(lines))] = Head(_count(compared), counts)
    return out


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("nothing is counted like this")
    return value
