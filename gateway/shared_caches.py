"""Telling other workers, and the next start, what was sent to whose prompt cache and how conversations went on.

Once a second, in a thread, never at a request's cost. Three values of the state hold it: the newest requests, the
habits of each kind of conversation and the counts of prefix groups, all bounded. A state that is down or holds nonsense
costs a guess that is a little worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.caching.groups import Counts
from gateway.caching.habits import NOTHING_KNOWN, Habits, aged, total, waited
from gateway.caching.seen import Written
from gateway.prompt_caches import Counted, News, PromptCaches, Sent
from gateway.state import State, StateUnavailable
from gateway.state_thread import StateThread

SENT: Final = "prompt_caches/sent"
HABITS: Final = "prompt_caches/habits"
GROUPS: Final = "prompt_caches/groups"

EVERY_SECONDS: Final = 1.0
MOST_SENT_BYTES: Final = 256 * 1024
MOST_KINDS: Final = 500
MOST_GROUPS: Final = 2000

_UNREADABLE: Final = (AttributeError, KeyError, TypeError, ValueError, OverflowError)

Record = list[Any]
"""[who wrote it, its number there, when, tokens, [[state bits, lifetime, *keys], …]]."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the state held after an exchange."""

    sent: list[Sent]
    habits: dict[str, Habits]
    groups: dict[int, Counts]


class SharedCaches:
    """Keeps the beliefs of this process and those in the state alike."""

    def __init__(
        self,
        caches: PromptCaches,
        opens: Callable[[], State],
        log: FilteringBoundLogger,
        now: Callable[[], float],
        name: str,
    ) -> None:
        """Take beliefs to keep alike; `opens` opens the state, `now` is in Unix seconds, `name` is of this process."""
        self._caches, self._log, self._now, self._name = caches, log, now, name
        self._number = 0
        self._heard: dict[str, int] = {name: 0}
        self._way = StateThread("caches", opens, log, "prompt caches are not shared")

    async def open(self) -> None:
        """Read what there is, before the first request, and go on exchanging until closed."""
        await self.exchange()
        self._way.repeat(self.exchange, EVERY_SECONDS)

    async def close(self) -> None:
        """Tell the rest, and let go of the state."""
        await self._way.close(self.exchange)

    async def exchange(self) -> None:
        """Tell what happened here, and hear what happened elsewhere."""
        news = self._caches.take_news()
        try:
            found = await self._way.run(partial(self._exchanged, news))
        except StateUnavailable:
            self._caches.give_back(news)
        else:
            self._caches.adopt(found.sent, found.habits, found.groups)

    # ------------------------------------------------------------ in the thread

    def _exchanged(self, news: News, state: State) -> Found:
        return Found(self._sent(state, news), self._habits(state, news), self._groups(state, news))

    def _sent(self, state: State, news: News) -> list[Sent]:
        """Add this process's newest requests, and return those of others that are new to it."""
        first = self._number
        ours = [_record(self._name, first + at, one) for at, one in enumerate(news.sent, 1)]
        records: list[Record] = []

        def change(raw: bytes | None) -> bytes:
            nonlocal records
            records = [*self._understood(raw, _records, []), *ours]
            return _written(records)

        if ours:
            state.update(SENT, change)
            self._number = first + len(ours)
            news.sent.clear()  # what is told is not given back where the rest cannot be
        else:
            records = self._understood(state.get(SENT), _records, [])
        fresh = [one for one in records if one[0] != self._name and one[1] > self._heard.get(one[0], 0)]
        for writer, number, *_ in fresh:
            self._heard[writer] = max(number, self._heard.get(writer, 0))
        return [_sent(one) for one in fresh]

    def _habits(self, state: State, news: News) -> dict[str, Habits]:
        deltas = _deltas(news.counted)
        now, held = self._now(), dict[str, Habits]()

        def change(raw: bytes | None) -> bytes:
            nonlocal held
            held = self._understood(raw, _habits, {})
            for kind, delta in deltas.items():
                held[kind] = aged(waited(held.pop(kind, NOTHING_KNOWN) + delta, now))
            held = dict(list(held.items())[-MOST_KINDS:])
            return orjson.dumps({kind: one.to_json() for kind, one in held.items()})

        if deltas:
            state.update(HABITS, change)
            news.counted.clear()
            return held
        return dict(self._understood(state.get(HABITS), _habits, {}))

    def _groups(self, state: State, news: News) -> dict[int, Counts]:
        held: dict[int, Counts] = {}

        def change(raw: bytes | None) -> bytes:
            nonlocal held
            held = self._understood(raw, _groups, {})
            for group, more in news.groups.items():
                held[group] = _sum(held.pop(group, (0.0, 0.0, 0.0)), more)
            held = dict(list(held.items())[-MOST_GROUPS:])
            return orjson.dumps({f"{group:x}": counts for group, counts in held.items()})

        if news.groups:
            state.update(GROUPS, change)
            return held
        return dict(self._understood(state.get(GROUPS), _groups, {}))

    def _understood(self, raw: bytes | None, read: Callable[[Any], Any], otherwise: Any) -> Any:
        """Read what the state holds; nonsense is begun anew."""
        try:
            return otherwise if raw is None else read(orjson.loads(raw))
        except _UNREADABLE as error:
            self._log.warning("shared prompt caches unreadable, begun anew", reason=str(error))
            return otherwise


# ---------------------------------------------------------------- as JSON


def _record(name: str, number: int, one: Sent) -> Record:
    written = [[part.sent + 2 * part.came, part.lifetime, *part.keys] for part in one.written]
    return [name, number, one.at, one.tokens, written]


def _sent(record: Record) -> Sent:
    _, _, at, tokens, written = record
    parts = [
        Written(bool(bits & 1), bool(bits & 2), lifetime, tuple(keys)) for bits, lifetime, *keys in written if keys
    ]
    return Sent(at, tokens, tuple(parts))


def _records(read: Any) -> list[Record]:
    """Check what was read. Raises one of several errors for anything else."""
    for writer, number, at, tokens, written in read:
        numbers = [number, tokens, *(part for parts in written for part in parts)]
        if (
            not isinstance(writer, str)
            or not isinstance(at, float | int)
            or any(type(one) is not int for one in numbers)
        ):
            raise TypeError(f"{[writer, number, at]!r} was never sent")
    return list(read)


def _written(records: list[Record]) -> bytes:
    """Write the newest of them, as many as there is room for."""
    held, kept = 2, list[bytes]()
    for record in reversed(records):
        one = orjson.dumps(record)
        held += len(one) + 1
        if held > MOST_SENT_BYTES:
            break
        kept.append(one)
    return b"[" + b",".join(reversed(kept)) + b"]"


def _habits(read: Any) -> dict[str, Habits]:
    return {str(kind): Habits.from_json(one) for kind, one in read.items()}


def _groups(read: Any) -> dict[int, Counts]:
    out: dict[int, Counts] = {}
    for group, (sights, begun, went_on) in read.items():
        out[int(group, 16)] = (float(sights), float(begun), float(went_on))
    return out


def _deltas(counted: Iterable[Counted]) -> Mapping[str, Habits]:
    """Add up what each request says of its kind."""
    by_kind: dict[str, list[Habits]] = {}
    for one in counted:
        by_kind.setdefault(one.kind, []).append(one.delta())
    return {kind: total(deltas) for kind, deltas in by_kind.items()}


def _sum(one: Counts, other: Counts) -> Counts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
