"""The believed contents of the providers' prompt caches. Pure: the time is an argument.

Each cache is kept in two states: its contents after the requests as they were *sent*, and its contents if every request
had been sent in its *original* form. The saving is measured against the second. An unchanged request has one entry for
both states.

The memory is bounded in bytes. The entries used least lately are dropped first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

from gateway.memory import USUAL
from gateway.prompt_cache.breakpoints import Breakpoint
from gateway.prompt_cache.generations import Generations
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts

SENT: Final = 0
ORIGINAL: Final = 1
"""The two states of a cache: after the requests as sent, and after the requests in their original form."""
NEVER: Final = float("-inf")
SHARED_LINKS: Final = 3
"""The first links of each request are always shared with other processes: tools, system text, and the first message, at
which conversations part. Of the other links only the new ones are shared.
"""
PREFIX_BYTES: Final = 136
"""The size of an entry with its times. All prefixes of one request share it."""


@dataclass(slots=True)
class CachedPrefix:
    """The times for which a prefix stays in a cache. Prefixes of one request share an entry, and so do prefixes with
    equal times.
    """

    until: float
    """Expiry in the state *sent*; `NEVER` if it is not there."""
    lifetime: int
    original_until: float
    original_lifetime: int
    end: int
    """The last link of the request that wrote it."""
    tokens: int
    """Tokens up to `end`, by the provider's report; 0 until it is known."""


class Match(NamedTuple):
    """The part of a request that a cache is believed to hold."""

    read: int | None
    """Index of the deepest link that is read."""
    expired: int | None
    """Index of the deepest link that was cached once and has expired."""
    tokens: int
    """Tokens up to `read`, by the provider's report; 0 if unknown."""


class RequestAtCache(NamedTuple):
    """One request at one cache, in one of the two states."""

    cache: int
    chain: Chain
    breakpoints: tuple[Breakpoint, ...]
    match: Match


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """The prefixes that one request wrote or renewed for one lifetime, in a form for other processes."""

    sent: bool
    original: bool
    """The states in which it was written: `sent`, `original` or both."""
    lifetime: int
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CacheUpdate:
    """The changes that one answered request made to a cache."""

    at: float
    tokens: int
    """Tokens up to the last key, by the provider's report; 0 if unknown."""
    records: tuple[WriteRecord, ...]


def write_records(sent: RequestAtCache, original: RequestAtCache | None, facts: CacheFacts) -> tuple[WriteRecord, ...]:
    """List the prefixes that a request wrote or renewed.

    In a cache that matches by prefix, the links before the deepest one read are left out. `original` is None for a
    request of the gateway itself.
    """
    if facts.matching == "prefix":
        lifetime = max(facts.writes, default=0)
        if original is None:
            return (WriteRecord(True, False, lifetime, _prefix_keys(sent)),)
        if sent.chain is original.chain and sent.match.read == original.match.read:
            return (WriteRecord(True, True, lifetime, _prefix_keys(sent)),)
        written = WriteRecord(True, False, lifetime, _prefix_keys(sent))
        return written, WriteRecord(False, True, lifetime, _prefix_keys(original))
    if original is not None and sent.chain is original.chain and sent.breakpoints == original.breakpoints:
        return tuple([WriteRecord(True, True, *write) for write in _breakpoint_writes(sent)])
    records = [WriteRecord(True, False, *write) for write in _breakpoint_writes(sent)]
    if original is not None:
        records += [WriteRecord(False, True, *write) for write in _breakpoint_writes(original)]
    return tuple(records)


def _prefix_keys(request: RequestAtCache) -> tuple[int, ...]:
    first, links = request.match.read or 0, request.chain.links
    return tuple([link ^ request.cache for link in (*links[: min(first, SHARED_LINKS)], *links[first:])])


def _breakpoint_writes(request: RequestAtCache) -> Iterator[tuple[int, tuple[int, ...]]]:
    for point in request.breakpoints:
        if point.whole:
            yield point.lifetime, (request.chain.links[point.link] ^ request.cache,)


class CacheContents:
    """The believed contents of all caches. A cache is named by a number (`cache_identity.py`)."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("cached prefixes")) -> None:
        self._prefixes: Generations[int, CachedPrefix] = Generations(most_bytes)

    def __len__(self) -> int:
        return len(self._prefixes)

    def look(
        self,
        cache: int,
        chain: Chain,
        breakpoints: Sequence[Breakpoint],
        facts: CacheFacts,
        now: float,
        state: int = SENT,
        earlier: Sequence[int] = (),
    ) -> Match:
        """Return the part of a request that would be read if it were sent now. The least length is not checked here.

        `earlier`: the links of earlier breakpoints of the provider's own (`breakpoints.earlier_links`).
        """
        match facts.matching:
            case "none":
                return Match(None, None, 0)
            case "prefix" if facts.refreshed:  # whatever read the deepest link has renewed all before it
                return self._deepest_at(cache, chain, range(len(chain.links) - 1, -1, -1), now, state)
            case "prefix":
                return self._longest_unbroken(cache, chain, now, state)
            case "breakpoints":
                candidates = _lookup_links(chain, breakpoints, earlier, facts)
                return self._deepest_at(cache, chain, candidates, now, state)

    def cached_links(self, cache: int, chain: Chain, now: float) -> Iterator[int]:
        """Yield the links of a request that are in the cache, the deepest first, whether or not the provider looks
        there.
        """
        index = len(chain.links)
        for prefix in self._prefixes.get_each(map(cache.__xor__, reversed(chain.links))):
            index -= 1
            if prefix is not None and prefix.until > now:
                yield index

    def lifetime(self, cache: int, chain: Chain, link: int) -> int | None:
        """Return the lifetime in seconds of a link, in the state *sent*."""
        prefix = self._prefixes.get(chain.links[link] ^ cache)
        return None if prefix is None else prefix.lifetime

    def expiry(self, cache: int, link: int) -> tuple[float, int] | None:
        """Return the expiry of a link and its lifetime in seconds, in the state *sent*; None if never written."""
        prefix = self._prefixes.get(link ^ cache)
        return None if prefix is None or prefix.until == NEVER else (prefix.until, prefix.lifetime)

    def note(
        self, sent: RequestAtCache, original: RequestAtCache | None, facts: CacheFacts, now: float
    ) -> CachedPrefix | None:
        """Add a request that was sent at `now`, in both states. `original` is None for a request of the gateway itself.

        Return the entry whose `tokens` are to be set once the provider reported them.
        """
        if facts.matching == "none":
            return None
        end = sent.chain.links[-1] ^ sent.cache
        if facts.matching == "breakpoints":
            self._write_at_breakpoints(sent, facts, now, SENT, end)
            if original is not None:
                self._write_at_breakpoints(original, facts, now, ORIGINAL, end)
            return self._prefixes.get(end)
        return self._note_links(sent.cache, sent.chain, None if original is None else original.chain, facts, now, end)

    def adopt(self, record: WriteRecord, at: float, tokens: int) -> None:
        """Add the prefixes that another process wrote at `at`, unless they are known to live longer.

        `tokens`: the provider's count up to the last key; 0 if unknown.
        """
        until = at + record.lifetime
        for key in record.keys:
            prefix = self._prefixes.get(key)
            if prefix is None:
                prefix = CachedPrefix(NEVER, 0, NEVER, 0, record.keys[-1], tokens)
            else:
                prefix = replace(prefix)  # it is shared with beginnings that are not renewed
            if record.sent and prefix.until < until:
                prefix.until, prefix.lifetime = until, record.lifetime
            if record.original and prefix.original_until < until:
                prefix.original_until, prefix.original_lifetime = until, record.lifetime
            self._prefixes.put_all((key,), prefix, PREFIX_BYTES)  # a copy counts, whatever it takes the place of

    # ------------------------------------------------------------ everything that was sent can be read

    def _longest_unbroken(self, cache: int, chain: Chain, now: float, state: int) -> Match:
        get = self._prefixes.get
        read = expired = None
        last = None
        for index, link in enumerate(chain.links):
            prefix = get(link ^ cache)
            if prefix is None:
                break
            until = prefix.until if state == SENT else prefix.original_until
            if until <= now:
                expired = index if until != NEVER else None
                break
            read, last = index, prefix
        return _match_of(cache, chain, read, expired, last)

    def _note_links(
        self, cache: int, sent: Chain, original: Chain | None, facts: CacheFacts, now: float, end: int
    ) -> CachedPrefix:
        lifetime = max(facts.writes, default=0)
        until = now + lifetime
        if original is None:
            entry = CachedPrefix(until, lifetime, NEVER, 0, end, 0)
            self._write_links(cache, sent.links, entry, now, facts.refreshed)
            return self._prefixes.get(end) or entry
        prefix = CachedPrefix(until, lifetime, until, lifetime, end, 0)
        common = len(sent.links) if sent is original else sent.common_links(original)
        if facts.refreshed:
            self._prefixes.put_all([link ^ cache for link in sent.links[:common]], prefix, PREFIX_BYTES)
        else:
            self._write_links(cache, sent.links[:common], prefix, now)
        if common < len(sent.links):
            self._write_links(
                cache, sent.links[common:], CachedPrefix(until, lifetime, NEVER, 0, end, 0), now, facts.refreshed
            )
        if common < len(original.links):
            original_end = original.links[-1] ^ cache
            self._write_links(
                cache,
                original.links[common:],
                CachedPrefix(NEVER, 0, until, lifetime, original_end, 0),
                now,
                facts.refreshed,
            )
        return self._prefixes.get(end) or prefix

    def _write_links(
        self, cache: int, links: Sequence[int], new: CachedPrefix, now: float, refreshed: bool = False
    ) -> None:
        """Set each link to `new`. A state that is alive and that `new` does not renew keeps its times."""
        for before, keys in groupby([link ^ cache for link in links], self._prefixes.get):
            after = _merge(before, new, now, refreshed)
            self._prefixes.put_all(keys, after, PREFIX_BYTES if after is not new else 0)

    # ------------------------------------------------------------ only what a breakpoint wrote

    def _deepest_at(self, cache: int, chain: Chain, candidates: Iterable[int], now: float, state: int) -> Match:
        """Find the deepest entry at one of these links, given from the deepest on."""
        get, links = self._prefixes.get, chain.links
        expired = None
        for index in candidates:
            prefix = get(links[index] ^ cache)
            if prefix is None:
                continue
            until = prefix.until if state == SENT else prefix.original_until
            if until > now:
                return _match_of(cache, chain, index, expired, prefix)
            if until != NEVER and expired is None:
                expired = index
        return Match(None, expired, 0)

    def _write_at_breakpoints(
        self, request: RequestAtCache, facts: CacheFacts, now: float, state: int, end: int
    ) -> None:
        """Write the prefix before each breakpoint, and renew the prefix that was read."""
        links, read = request.chain.links, request.match.read
        if read is not None and facts.refreshed:
            self._renew(links[read] ^ request.cache, 0, facts, now, state, end)
        for point in request.breakpoints:
            if point.whole:
                self._renew(links[point.link] ^ request.cache, point.lifetime, facts, now, state, end)

    def _renew(self, key: int, lifetime: int, facts: CacheFacts, now: float, state: int, end: int) -> None:
        before = self._prefixes.get(key)
        prefix = CachedPrefix(NEVER, 0, NEVER, 0, end, 0) if before is None else before
        until, current = (
            (prefix.until, prefix.lifetime) if state == SENT else (prefix.original_until, prefix.original_lifetime)
        )
        current = current if until > now else lifetime  # what is alive keeps its lifetime: nothing is paid for another
        if until <= now or facts.refreshed:
            until = now + current
        if state == SENT:
            prefix.until, prefix.lifetime = until, current
        else:
            prefix.original_until, prefix.original_lifetime = until, current
        self._prefixes.put(key, prefix, PREFIX_BYTES if before is None else 0)


def _lookup_links(
    chain: Chain, breakpoints: Sequence[Breakpoint], earlier: Sequence[int], facts: CacheFacts
) -> Iterable[int]:
    """Return the links at which a provider looks for an entry, the deepest first: breakpoints, and back from them."""
    points = {point.link for point in breakpoints}
    if facts.marks_itself:
        return sorted(points.union(earlier), reverse=True)
    links: set[int] = set()
    for point in sorted(points):  # a later one sees less far back, so that what it meets here was looked through
        lowest = chain.blocks[point] - facts.look_back if facts.look_back else -1
        for index in range(point, -1, -1):
            if index in links and index != point:
                break
            if chain.blocks[index] <= lowest:
                break
            links.add(index)
    return sorted(links, reverse=True)


def _match_of(cache: int, chain: Chain, read: int | None, expired: int | None, last: CachedPrefix | None) -> Match:
    cached_links = read is not None and last is not None and last.end == chain.links[read] ^ cache
    return Match(read, expired, last.tokens if cached_links and last is not None else 0)


def _merge(before: CachedPrefix | None, new: CachedPrefix, now: float, refreshed: bool) -> CachedPrefix:
    """Return the entry after a write of `new`, in both states."""
    if before is None:
        return new
    until, lifetime, original_until, original_lifetime = (
        new.until,
        new.lifetime,
        new.original_until,
        new.original_lifetime,
    )
    if until == NEVER or (not refreshed and before.until > now):
        until, lifetime = before.until, before.lifetime
    if original_until == NEVER or (not refreshed and before.original_until > now):
        original_until, original_lifetime = before.original_until, before.original_lifetime
    return CachedPrefix(until, lifetime, original_until, original_lifetime, new.end, new.tokens)
