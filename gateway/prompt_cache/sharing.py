"""Telling other workers, and the next start, what was sent to whose prompt cache and how conversations went on.

Three values of the state hold it: the newest requests, the habits of each kind of conversation and the counts of prefix
groups, all bounded. A state that is down or holds nonsense costs a guess that is a little worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.prompt_cache.contents import Written
from gateway.prompt_cache.groups import Counts
from gateway.prompt_cache.tracker import Counted, PromptCaches, Sent
from gateway.prompt_cache.usage_patterns import NOTHING_KNOWN, Habits, aged, total, waited
from gateway.state.codec import Codec, number, text, whole
from gateway.state.shared import Shared, Sharing

SENT: Final = "prompt_caches/sent/1"
HABITS: Final = "prompt_caches/habits/1"
GROUPS: Final = "prompt_caches/groups/1"

MOST_SENT_BYTES: Final = 256 * 1024
MOST_KINDS: Final = 500
MOST_GROUPS: Final = 2000


class Record(NamedTuple):
    """One request that was sent."""

    writer: str
    """The process that tells of it."""
    number: int
    """Its place among those that this process told of."""
    sent: Sent


def share(sharing: Sharing, caches: PromptCaches, now: Callable[[], float], name: str) -> None:
    """Share the beliefs of one process. `now` is in Unix seconds, `name` is of this process."""
    requests = _Requests(caches, name)
    sharing.add(
        Shared(
            SENT,
            RECORDS,
            empty=tuple,
            add=lambda records, ours: newest([*records, *ours]),
            take_news=requests.take_news,
            give_back=requests.give_back,
            adopt=requests.adopt,
        )
    )
    sharing.add(
        Shared(
            HABITS,
            BY_KIND,
            empty=dict,
            add=lambda held, counted: _with_counted(held, counted, now()),
            take_news=caches.take_counted,
            give_back=caches.give_back_counted,
            adopt=caches.adopt_habits,
        )
    )
    sharing.add(
        Shared(
            GROUPS,
            BY_GROUP,
            empty=dict,
            add=_with_groups,
            take_news=caches.groups.take_news,
            give_back=caches.groups.give_back,
            adopt=caches.groups.adopt,
        )
    )


class _Requests:
    """Numbers what this process sent, and picks out what it has not heard yet of what others did."""

    def __init__(self, caches: PromptCaches, name: str) -> None:
        self._caches, self._name = caches, name
        self._number = 0
        self._heard: dict[str, int] = {}

    def take_news(self) -> Sequence[Record]:
        sent = self._caches.untold_sent.take()
        first, self._number = self._number + 1, self._number + len(sent)
        return [Record(self._name, at, one) for at, one in enumerate(sent, first)]

    def give_back(self, records: Sequence[Record]) -> None:
        self._caches.untold_sent.give_back([one.sent for one in records])

    def adopt(self, records: Sequence[Record]) -> None:
        heard = self._heard
        fresh = [one for one in records if one.writer != self._name and one.number > heard.get(one.writer, 0)]
        self._heard = {one.writer: heard.get(one.writer, 0) for one in records}
        for one in fresh:
            self._heard[one.writer] = max(one.number, self._heard[one.writer])
        self._caches.adopt_sent(one.sent for one in fresh)


def newest(records: Sequence[Record]) -> Sequence[Record]:
    """Return the newest of them, as many as there is room for."""
    held, first = 0, len(records)
    while first and (held := held + _bytes(records[first - 1])) <= MOST_SENT_BYTES:
        first -= 1
    return records[first:]


def _bytes(record: Record) -> int:
    """Say how long a record is as JSON, at most: a key has 20 digits, and a comma."""
    return 100 + sum([40 + 21 * len(part.keys) for part in record.sent.written])


def _with_counted(held: Mapping[str, Habits], counted: Iterable[Counted], now: float) -> Mapping[str, Habits]:
    """Add what requests say of their kinds; of too many kinds those go that were counted least lately."""
    out = dict(held)
    by_kind: dict[str, list[Habits]] = {}
    for one in counted:
        by_kind.setdefault(one.kind, []).append(one.delta())
    for kind, deltas in by_kind.items():
        out[kind] = aged(waited(total(deltas, out.pop(kind, NOTHING_KNOWN)), now))
    return dict(list(out.items())[-MOST_KINDS:])


def _with_groups(held: Mapping[int, Counts], news: Mapping[int, Counts]) -> Mapping[int, Counts]:
    out = dict(held)
    for group, more in news.items():
        known = out.pop(group, (0.0, 0.0, 0.0))
        out[group] = known[0] + more[0], known[1] + more[1], known[2] + more[2]
    return dict(list(out.items())[-MOST_GROUPS:])


# ---------------------------------------------------------------- as JSON


def _to_json(records: Sequence[Record]) -> Any:
    return [[writer, number, sent.at, sent.tokens, _parts(sent.written)] for writer, number, sent in records]


def _parts(written: Sequence[Written]) -> list[list[int]]:
    return [[part.sent + 2 * part.came, part.lifetime, *part.keys] for part in written if part.keys]


def _from_json(said: Any) -> Sequence[Record]:
    return [
        Record(text(writer), whole(place), Sent(number(at), whole(tokens), tuple([_part(*part) for part in parts])))
        for writer, place, at, tokens, parts in said
    ]


def _part(bits: Any, lifetime: Any, *keys: Any) -> Written:
    if not keys or not all(type(key) is int and 0 <= key < 2**64 for key in keys):
        raise ValueError("keys of a cache are numbers of 64 bits")
    whole(bits, most=3)
    return Written(bool(bits & 1), bool(bits & 2), whole(lifetime, most=10**9), keys)


def _group(group: Any, counts: Any) -> tuple[int, Counts]:
    sights, begun, went_on = counts
    return whole(int(group, 16), most=2**64 - 1), (number(sights), number(begun), number(went_on))


RECORDS: Final = Codec("requests to prompt caches", 1, _to_json, _from_json)
BY_KIND: Final[Codec[Mapping[str, Habits]]] = Codec(
    "habits of conversations",
    1,
    lambda held: {kind: one.to_json() for kind, one in held.items()},
    lambda said: {text(kind): Habits.from_json(one) for kind, one in said.items()},
)
BY_GROUP: Final[Codec[Mapping[int, Counts]]] = Codec(
    "prefix groups",
    1,
    lambda held: {f"{group:x}": counts for group, counts in held.items()},
    lambda said: dict([_group(group, counts) for group, counts in said.items()]),
)
