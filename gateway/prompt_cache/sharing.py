"""The exchange of prompt-cache state and conversation statistics between workers, and across restarts.

Three values in the state hold them, each bounded: the newest requests, the habits of each kind of conversation, and the
counts of prefix groups. If the state is down or unreadable, the beliefs are a little less precise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.prompt_cache.contents import CacheUpdate, WriteRecord
from gateway.prompt_cache.groups import Counts
from gateway.prompt_cache.observations import Observation
from gateway.prompt_cache.tracker import PromptCaches
from gateway.prompt_cache.usage_patterns import NOTHING_KNOWN, Habits, end_waiting, halve_old, sum_habits
from gateway.state.codec import Codec, number, text, whole_number
from gateway.state.shared import Shared, Sharing

SENT: Final = "prompt_caches/sent/1"
HABITS: Final = "prompt_caches/habits/1"
GROUPS: Final = "prompt_caches/groups/1"

MOST_SENT_BYTES: Final = 256 * 1024
MOST_KINDS: Final = 500
MOST_GROUPS: Final = 2000


class SharedUpdate(NamedTuple):
    """One cache update, as the state holds it."""

    writer: str
    """The process that wrote it."""
    number: int
    """Its number among the updates of that process."""
    update: CacheUpdate


def share_prompt_caches(sharing: Sharing, caches: PromptCaches, now: Callable[[], float], name: str) -> None:
    """Share the prompt caches of one process. `now` is in Unix seconds, `name` identifies this process."""
    requests = _Updates(caches, name)
    sharing.add(
        Shared(
            SENT,
            UPDATES,
            empty=tuple,
            add=lambda stored, ours: newest([*stored, *ours]),
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
            add=lambda stored, observations: _with_observations(stored, observations, now()),
            take_news=caches.observations.take_news,
            give_back=caches.observations.give_back,
            adopt=caches.observations.adopt,
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


class _Updates:
    """The updates of this process, numbered, and the filter for those of others that are new to it."""

    def __init__(self, caches: PromptCaches, name: str) -> None:
        self._caches, self._name = caches, name
        self._number = 0
        self._newest_adopted: dict[str, int] = {}

    def take_news(self) -> Sequence[SharedUpdate]:
        updates = self._caches.updates.take()
        first, self._number = self._number + 1, self._number + len(updates)
        return [SharedUpdate(self._name, at, update) for at, update in enumerate(updates, first)]

    def give_back(self, shared: Sequence[SharedUpdate]) -> None:
        self._caches.updates.give_back([one.update for one in shared])

    def adopt(self, shared: Sequence[SharedUpdate]) -> None:
        newest_adopted = self._newest_adopted
        fresh = [one for one in shared if one.writer != self._name and one.number > newest_adopted.get(one.writer, 0)]
        self._newest_adopted = {one.writer: newest_adopted.get(one.writer, 0) for one in shared}
        for one in fresh:
            self._newest_adopted[one.writer] = max(one.number, self._newest_adopted[one.writer])
        self._caches.adopt_updates(one.update for one in fresh)


def newest(shared: Sequence[SharedUpdate]) -> Sequence[SharedUpdate]:
    """Return the newest updates, as many as there is room for."""
    size, first = 0, len(shared)
    while first and (size := size + _bytes(shared[first - 1])) <= MOST_SENT_BYTES:
        first -= 1
    return shared[first:]


def _bytes(shared: SharedUpdate) -> int:
    """Return the length of an update as JSON, at most: a key has 20 digits and a comma."""
    return 100 + sum([40 + 21 * len(part.keys) for part in shared.update.records])


def _with_observations(
    stored: Mapping[str, Habits], observations: Iterable[Observation], now: float
) -> Mapping[str, Habits]:
    """Add observations to the habits of their kinds. If there are too many kinds, those observed least lately are
    dropped.
    """
    out = dict(stored)
    by_kind: dict[str, list[Habits]] = {}
    for observation in observations:
        by_kind.setdefault(observation.kind, []).append(observation.delta())
    for kind, deltas in by_kind.items():
        out[kind] = halve_old(end_waiting(sum_habits(deltas, out.pop(kind, NOTHING_KNOWN)), now))
    return dict(list(out.items())[-MOST_KINDS:])


def _with_groups(stored: Mapping[int, Counts], news: Mapping[int, Counts]) -> Mapping[int, Counts]:
    out = dict(stored)
    for group, more in news.items():
        known = out.pop(group, (0.0, 0.0, 0.0))
        out[group] = known[0] + more[0], known[1] + more[1], known[2] + more[2]
    return dict(list(out.items())[-MOST_GROUPS:])


# ---------------------------------------------------------------- as JSON


def _to_json(shared: Sequence[SharedUpdate]) -> Any:
    return [[writer, number, update.at, update.tokens, _parts(update.records)] for writer, number, update in shared]


def _parts(records: Sequence[WriteRecord]) -> list[list[int]]:
    return [[part.sent + 2 * part.original, part.lifetime, *part.keys] for part in records if part.keys]


def _from_json(data: Any) -> Sequence[SharedUpdate]:
    return [
        SharedUpdate(
            text(writer),
            whole_number(place),
            CacheUpdate(number(at), whole_number(tokens), tuple([_part(*part) for part in parts])),
        )
        for writer, place, at, tokens, parts in data
    ]


def _part(bits: Any, lifetime: Any, *keys: Any) -> WriteRecord:
    if not keys or not all(type(key) is int and 0 <= key < 2**64 for key in keys):
        raise ValueError("keys of a cache are numbers of 64 bits")
    whole_number(bits, most=3)
    return WriteRecord(bool(bits & 1), bool(bits & 2), whole_number(lifetime, most=10**9), keys)


def _group(group: Any, counts: Any) -> tuple[int, Counts]:
    sights, begun, went_on = counts
    return whole_number(int(group, 16), most=2**64 - 1), (number(sights), number(begun), number(went_on))


UPDATES: Final = Codec("requests to prompt caches", 1, _to_json, _from_json)
BY_KIND: Final[Codec[Mapping[str, Habits]]] = Codec(
    "habits of conversations",
    1,
    lambda stored: {kind: habits.to_json() for kind, habits in stored.items()},
    lambda data: {text(kind): Habits.from_json(habits) for kind, habits in data.items()},
)
BY_GROUP: Final[Codec[Mapping[int, Counts]]] = Codec(
    "prefix groups",
    1,
    lambda stored: {f"{group:x}": counts for group, counts in stored.items()},
    lambda data: dict([_group(group, counts) for group, counts in data.items()]),
)
