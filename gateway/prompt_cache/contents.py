"""What the providers' caches are believed to hold, and the request that each conversation made last.

Pure: the time is an argument, and nothing is asked or told. Of each cache two states are kept: what it holds by what
was *sent*, and what it would hold had every request left *as it came*, which is what the saving is measured against.
Where nothing is rewritten or marked the two are one, and are stored once.

Everything is bounded in bytes and forgotten a generation at a time, what was used least lately first.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from typing import Final, Generic, NamedTuple, TypeVar

from gateway.conversation import RESULT_ROLES, Message
from gateway.memory import USUAL
from gateway.prompt_cache.markers import Breakpoint
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts

SENT: Final = 0
CAME: Final = 1
"""The two states: by what left, and by what came."""

NEVER: Final = float("-inf")

GENERATIONS: Final = 4

SHARED_BEGINNING: Final = 3
"""How many of a request's first links are told to other processes each time: tools, system text and one message more,
where conversations part. Of the others only what is new."""

SLOT_BYTES: Final = 72
"""A key of 60 bits, and its place in a dictionary that has just grown."""
KEPT_BYTES: Final = 136
"""An entry with its times; the beginnings of one request share it."""

MOST_ENDINGS: Final = 21
"""Of a provider's own earlier breakpoints, how many are looked at, the present one included."""

FARTHEST: Final = 40
"""How many messages back a conversation's previous request is looked for."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generations(Generic[Key, Value]):
    """Values by key, bounded in bytes, in four generations: when the youngest is full, the oldest is gone."""

    __slots__ = ("_held", "_most", "_older", "_young")

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes // GENERATIONS
        self._young: dict[Key, Value] = {}
        self._older: list[dict[Key, Value]] = []
        self._held = 0

    def __len__(self) -> int:
        return len(set(self._young).union(*self._older))

    def __contains__(self, key: Key) -> bool:
        return key in self._young or any(key in one for one in self._older)

    def get(self, key: Key) -> Value | None:
        """Return a value. To be asked for does not keep it: to be put in again does."""
        found = self._young.get(key)
        if found is None:
            for older in self._older:
                found = older.get(key)
                if found is not None:
                    return found
        return found

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes; in place of one of the youngest generation it takes no more than that did."""
        self.put_all((key,), value, size if self._young.get(key) is None else 0)

    def put_all(self, keys: Iterable[Key], value: Value, size: int) -> None:
        """Keep one value of `size` bytes under several keys."""
        young = self._young
        before = len(young)
        young.update(zip(keys, repeat(value), strict=False))
        self._held += size + SLOT_BYTES * (len(young) - before)
        if self._held > self._most:
            self._older = [young, *self._older[: GENERATIONS - 2]]
            self._young, self._held = {}, 0


@dataclass(slots=True)
class Kept:
    """How long a beginning stays in a cache; shared by the beginnings of one request, and by those that are alike."""

    until: float
    """By what was sent: read until this moment; `NEVER` = not there."""
    lifetime: int
    until_came: float
    lifetime_came: int
    end: int
    """The last link of the request that wrote it."""
    tokens: int
    """Tokens up to there, by the provider's own report; 0 as long as it has not said."""


class Match(NamedTuple):
    """What a cache is believed to hold of a request."""

    read: int | None
    """Index of the deepest link that is read."""
    gone: int | None
    """Index of the deepest link that was there once and has expired."""
    tokens: int
    """Tokens up to `read`, where the provider reported them; 0 = not known."""


class Told(NamedTuple):
    """One request at one cache, in one of the two states."""

    cache: int
    chain: Chain
    points: tuple[Breakpoint, ...]
    match: Match


@dataclass(frozen=True, slots=True)
class Written:
    """Beginnings that one request wrote or renewed for one lifetime: what other processes are told of it."""

    sent: bool
    came: bool
    """In which of the two states."""
    lifetime: int
    keys: tuple[int, ...]


def written_by(sent: Told, came: Told | None, facts: CacheFacts) -> tuple[Written, ...]:
    """List what a request wrote or renewed; of a prefix, what stands before the deepest link read is left out.

    `came` is None for a request of the gateway's own.
    """
    if facts.matching == "prefix":
        lifetime = max(facts.writes, default=0)
        if came is None:
            return (Written(True, False, lifetime, _keys(sent)),)
        if sent.chain is came.chain and sent.match.read == came.match.read:
            return (Written(True, True, lifetime, _keys(sent)),)
        return Written(True, False, lifetime, _keys(sent)), Written(False, True, lifetime, _keys(came))
    if came is not None and sent.chain is came.chain and sent.points == came.points:
        return tuple([Written(True, True, *one) for one in _at_points(sent)])
    ours = [Written(True, False, *one) for one in _at_points(sent)]
    return tuple(ours) if came is None else (*ours, *(Written(False, True, *one) for one in _at_points(came)))


def _keys(told: Told) -> tuple[int, ...]:
    first, links = told.match.read or 0, told.chain.links
    return tuple([link ^ told.cache for link in (*links[: min(first, SHARED_BEGINNING)], *links[first:])])


def _at_points(told: Told) -> Iterator[tuple[int, tuple[int, ...]]]:
    for point in told.points:
        if point.whole:
            yield point.lifetime, (told.chain.links[point.link] ^ told.cache,)


class Seen:
    """The believed state of all caches. A cache is named by a number: whatever tells one from another, hashed."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("cached prefixes")) -> None:
        self._kept: Generations[int, Kept] = Generations(most_bytes)

    def __len__(self) -> int:
        return len(self._kept)

    def look(
        self,
        cache: int,
        chain: Chain,
        breakpoints: Sequence[Breakpoint],
        facts: CacheFacts,
        now: float,
        state: int = SENT,
        endings: Sequence[int] = (),
    ) -> Match:
        """Say what would be read of a request that is sent now. Whether it is long enough is for who knows tokens.

        `endings`: links that a provider looks at besides the breakpoints (`own_endings`), where it does not look back.
        """
        match facts.matching:
            case "none":
                return Match(None, None, 0)
            case "prefix" if facts.refreshed:  # whatever read the deepest link has renewed all before it
                return self._at_places(cache, chain, range(len(chain.links) - 1, -1, -1), now, state)
            case "prefix":
                return self._without_a_gap(cache, chain, now, state)
            case "breakpoints":
                places = _places(chain, breakpoints, endings, facts)
                return self._at_places(cache, chain, places, now, state)

    def known(self, cache: int, chain: Chain, now: float) -> Iterator[int]:
        """Yield the links of what is sent that are in the cache, whether or not it looks there, from the deepest on."""
        for index in range(len(chain.links) - 1, -1, -1):
            kept = self._kept.get(chain.links[index] ^ cache)
            if kept is not None and kept.until > now:
                yield index

    def lifetime(self, cache: int, chain: Chain, link: int) -> int | None:
        """Return for how many seconds a link was written, by what was sent."""
        kept = self._kept.get(chain.links[link] ^ cache)
        return None if kept is None else kept.lifetime

    def lasts(self, cache: int, link: int) -> tuple[float, int] | None:
        """Return until when what ends at a link can be read, by what was sent, and for how many seconds it was written;
        None where it never was.
        """
        kept = self._kept.get(link ^ cache)
        return None if kept is None or kept.until == NEVER else (kept.until, kept.lifetime)

    def note(self, sent: Told, came: Told | None, facts: CacheFacts, now: float) -> Kept | None:
        """Take in a request that was sent at `now`: as it left, and as it came; None for one of the gateway's own,
        which nobody would have sent without it.

        Returns what is to be told the provider's count of the prompt, once that is known.
        """
        if facts.matching == "none":
            return None
        end = sent.chain.links[-1] ^ sent.cache
        if facts.matching == "breakpoints":
            self._mark(sent, facts, now, SENT, end)
            if came is not None:
                self._mark(came, facts, now, CAME, end)
            return self._kept.get(end)
        return self._note_prefix(sent.cache, sent.chain, None if came is None else came.chain, facts, now, end)

    def adopt(self, written: Written, at: float, tokens: int) -> None:
        """Take in what another process wrote at some moment, as far as it is not known to live longer.

        `tokens` is what the provider counted up to the last key; 0 = not known.
        """
        until = at + written.lifetime
        for key in written.keys:
            kept = self._kept.get(key)
            if kept is None:
                kept = Kept(NEVER, 0, NEVER, 0, written.keys[-1], tokens)
            else:
                kept = replace(kept)  # it is shared with beginnings that are not renewed
            if written.sent and kept.until < until:
                kept.until, kept.lifetime = until, written.lifetime
            if written.came and kept.until_came < until:
                kept.until_came, kept.lifetime_came = until, written.lifetime
            self._kept.put_all((key,), kept, KEPT_BYTES)  # a copy counts, whatever it takes the place of

    # ------------------------------------------------------------ everything that was sent can be read

    def _without_a_gap(self, cache: int, chain: Chain, now: float, state: int) -> Match:
        get = self._kept.get
        read = gone = None
        last = None
        for index, link in enumerate(chain.links):
            kept = get(link ^ cache)
            if kept is None:
                break
            until = kept.until if state == SENT else kept.until_came
            if until <= now:
                gone = index if until != NEVER else None
                break
            read, last = index, kept
        return _match(cache, chain, read, gone, last)

    def _note_prefix(
        self, cache: int, sent: Chain, came: Chain | None, facts: CacheFacts, now: float, end: int
    ) -> Kept:
        lifetime = max(facts.writes, default=0)
        until = now + lifetime
        if came is None:
            ours = Kept(until, lifetime, NEVER, 0, end, 0)
            self._add(cache, sent.links, ours, now, facts.refreshed)
            return self._kept.get(end) or ours
        kept = Kept(until, lifetime, until, lifetime, end, 0)
        common = len(sent.links) if sent is came else sent.shared(came)
        if facts.refreshed:
            self._kept.put_all([link ^ cache for link in sent.links[:common]], kept, KEPT_BYTES)
        else:
            self._add(cache, sent.links[:common], kept, now)
        if common < len(sent.links):
            self._add(cache, sent.links[common:], Kept(until, lifetime, NEVER, 0, end, 0), now, facts.refreshed)
        if common < len(came.links):
            gone = came.links[-1] ^ cache
            self._add(cache, came.links[common:], Kept(NEVER, 0, until, lifetime, gone, 0), now, facts.refreshed)
        return self._kept.get(end) or kept

    def _add(self, cache: int, links: Sequence[int], new: Kept, now: float, refreshed: bool = False) -> None:
        """Keep each link as `new` says; what is alive in a state that `new` does not renew stays as it is there."""
        for before, keys in groupby([link ^ cache for link in links], self._kept.get):
            after = _merged(before, new, now, refreshed)
            self._kept.put_all(keys, after, KEPT_BYTES if after is not new else 0)

    # ------------------------------------------------------------ only what a breakpoint wrote

    def _at_places(self, cache: int, chain: Chain, places: Iterable[int], now: float, state: int) -> Match:
        """Find the deepest entry that an earlier request wrote at one of these links, given from the deepest on."""
        get, links = self._kept.get, chain.links
        gone = None
        for index in places:
            kept = get(links[index] ^ cache)
            if kept is None:
                continue
            until = kept.until if state == SENT else kept.until_came
            if until > now:
                return _match(cache, chain, index, gone, kept)
            if until != NEVER and gone is None:
                gone = index
        return Match(None, gone, 0)

    def _mark(self, told: Told, facts: CacheFacts, now: float, state: int, end: int) -> None:
        """Write what stands before each breakpoint, and renew what was read."""
        links, read = told.chain.links, told.match.read
        if read is not None and facts.refreshed:
            self._touch(links[read] ^ told.cache, 0, facts, now, state, end)
        for point in told.points:
            if point.whole:
                self._touch(links[point.link] ^ told.cache, point.lifetime, facts, now, state, end)

    def _touch(self, key: int, lifetime: int, facts: CacheFacts, now: float, state: int, end: int) -> None:
        before = self._kept.get(key)
        kept = Kept(NEVER, 0, NEVER, 0, end, 0) if before is None else before
        until, lived = (kept.until, kept.lifetime) if state == SENT else (kept.until_came, kept.lifetime_came)
        lived = lived if until > now else lifetime  # what is alive keeps its lifetime: nothing is paid for another
        if until <= now or facts.refreshed:
            until = now + lived
        if state == SENT:
            kept.until, kept.lifetime = until, lived
        else:
            kept.until_came, kept.lifetime_came = until, lived
        self._kept.put(key, kept, KEPT_BYTES if before is None else 0)


def _places(
    chain: Chain, breakpoints: Sequence[Breakpoint], endings: Sequence[int], facts: CacheFacts
) -> Iterable[int]:
    """Return the links at which a provider looks for an entry, the deepest first: breakpoints, and back from them."""
    points = {point.link for point in breakpoints}
    if facts.marks_itself:
        return sorted(points.union(endings), reverse=True)
    found: set[int] = set()
    for point in sorted(points):  # a later one sees less far back, so that what it meets here was looked through
        lowest = chain.blocks[point] - facts.look_back if facts.look_back else -1
        for index in range(point, -1, -1):
            if index in found and index != point:
                break
            if chain.blocks[index] <= lowest:
                break
            found.add(index)
    return sorted(found, reverse=True)


def own_endings(messages: Sequence[Message], head: int) -> list[int]:
    """Return the links that a provider which sets its own breakpoint looks at: where it may have set earlier ones.

    OpenAI's stand at the end of a user's message, of the last of a run of results, and of the leading system text; up
    to 20 before the present one are looked at (developers.openai.com/api/docs/guides/prompt-caching).
    """
    ends: list[int] = [head] if head else []
    following = ""
    for link in range(len(messages), head, -1):
        role = messages[link - 1].role
        if role == "user" or (role in RESULT_ROLES and following not in RESULT_ROLES):
            ends.append(link)
            if len(ends) > MOST_ENDINGS:
                break
        following = role
    return ends


def _match(cache: int, chain: Chain, read: int | None, gone: int | None, last: Kept | None) -> Match:
    known = read is not None and last is not None and last.end == chain.links[read] ^ cache
    return Match(read, gone, last.tokens if known and last is not None else 0)


def _merged(before: Kept | None, new: Kept, now: float, refreshed: bool) -> Kept:
    """Return what holds after `new`, in both states."""
    if before is None:
        return new
    until, lifetime, until_came, lifetime_came = new.until, new.lifetime, new.until_came, new.lifetime_came
    if until == NEVER or (not refreshed and before.until > now):
        until, lifetime = before.until, before.lifetime
    if until_came == NEVER or (not refreshed and before.until_came > now):
        until_came, lifetime_came = before.until_came, before.lifetime_came
    return Kept(until, lifetime, until_came, lifetime_came, new.end, new.tokens)


# ---------------------------------------------------------------- the last request of each conversation


@dataclass(slots=True)
class Trail:
    """One request of a conversation, as far as the next one is compared with it."""

    came: bytes
    """Its links as it came, eight bytes each."""
    left: bytes | None
    """Those that it left to be read, where they are others: none where nothing was marked that had to be, and none from
    what we put in for it alone on."""
    head: int
    """Its leading system messages."""
    deployment: int
    """Where it was sent."""
    at: float
    tokens: int
    """Of what was sent, by the provider's report; 0 as long as it has not said."""
    turn: int
    """How many requests of the conversation were long enough to be cached, this one included if it is."""
    stage: int = 0
    """Where the conversation stood with it (habits.py)."""


class Trails:
    """The latest requests of conversations, found by how they begin: no session has an id here."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("conversations")) -> None:
        self._trails: Generations[int, Trail] = Generations(most_bytes)

    def __len__(self) -> int:
        return len(self._trails)

    def before(self, scope: int, chain: Chain, head: int) -> Trail | None:
        """Return the request before this one: the latest that this one begins with, to the word.

        Where there is none, the client may have changed the system text, a tool or an old message: the latest whose
        last messages stand somewhere in this one, unless this one says no more than it: then somebody else has opened a
        conversation in the same words. `scope` is whoever conversations never pass between, as a number.
        """
        own, links, get = chain.own, chain.links, self._trails.get
        last = len(own) - 1
        places = range(last, max(last - FARTHEST, min(head, last) - 1), -1)
        for index in places:
            found = get(hash((scope, links[index + 1])))
            if found is not None:
                return found
        for index in places[1:]:
            found = get(_place(scope, own, index, head))
            if found is not None:
                return found
        return None

    def note(
        self,
        scope: int,
        left: Sequence[int],
        came: Told,
        head: int,
        deployment: int,
        now: float,
        previous: Trail | None,
    ) -> Trail:
        """Keep a request for the next one of its conversation. Its tokens are told once they are known."""
        others = None if left == came.chain.links else array("Q", left).tobytes()
        turn = 1 if previous is None else previous.turn + 1
        trail = Trail(array("Q", came.chain.links).tobytes(), others, head, deployment, now, 0, turn)
        size = 240 + len(trail.came) + (len(others) + 40 if others is not None else 0)
        chain = came.chain
        keys = hash((scope, chain.links[-1])), _place(scope, chain.own, len(chain.own) - 1, head)
        self._trails.put_all(keys, trail, size)
        return trail


def _place(scope: int, own: Sequence[int], index: int, head: int) -> int:
    """Return where a message stands, by its own words and those of the message before it, the system text left out."""
    before = own[index - 1] if index > head else 0
    return hash((scope, before, own[index]))


def shared(links: bytes, chain: Chain) -> int:
    """Count the links that a trail and a chain have in common, from the first on."""
    theirs = memoryview(links).cast("Q")
    count = 0
    for ours, other in zip(chain.links, theirs, strict=False):
        if ours != other:
            break
        count += 1
    return count
