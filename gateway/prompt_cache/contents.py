"""The believed contents of the providers' prompt caches. Pure: the time is an argument.

Each cache is kept in two states: its contents after the requests as they were *sent*, and its contents had every
request been sent in its *original* form. The saving is measured against the second. Where a request is sent unchanged,
both states share one entry.

The memory is bounded in bytes; the entries used least lately go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

from gateway.prompt_cache.breakpoints import Breakpoint
from gateway.prompt_cache.generations import Generations
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts

SENT: Final = 0
ORIGINAL: Final = 1
"""The two states: by what left, and by what came."""
NEVER: Final = float("-inf")
SHARED_LINKS: Final = 3
"""How many of a request's first links are told to other processes each time: tools, system text and one message more,
where conversations part. Of the others only what is new."""
PREFIX_BYTES: Final = 136
"""An entry with its times; the beginnings of one request share it."""


@dataclass(slots=True)
class CachedPrefix:
    """How long a beginning stays in a cache; shared by the beginnings of one request, and by those that are alike."""

    until: float
    """By what was sent: read until this moment; `NEVER` = not there."""
    lifetime: int
    original_until: float
    original_lifetime: int
    end: int
    """The last link of the request that wrote it."""
    tokens: int
    """Tokens up to there, by the provider's own report; 0 as long as it has not said."""


class Match(NamedTuple):
    """What a cache is believed to hold of a request."""

    read: int | None
    """Index of the deepest link that is read."""
    expired: int | None
    """Index of the deepest link that was there once and has expired."""
    tokens: int
    """Tokens up to `read`, where the provider reported them; 0 = not known."""


class RequestAtCache(NamedTuple):
    """One request at one cache, in one of the two states."""

    cache: int
    chain: Chain
    breakpoints: tuple[Breakpoint, ...]
    match: Match


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Beginnings that one request wrote or renewed for one lifetime: what other processes are told of it."""

    sent: bool
    original: bool
    """In which of the two states."""
    lifetime: int
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CacheUpdate:
    """What one answered request left in a cache."""

    at: float
    tokens: int
    """Up to the last key, by the provider's report."""
    records: tuple[WriteRecord, ...]


def write_records(sent: RequestAtCache, original: RequestAtCache | None, facts: CacheFacts) -> tuple[WriteRecord, ...]:
    """List what a request wrote or renewed; of a prefix, what stands before the deepest link read is left out.

    `original` is None for a request of the gateway's own.
    """
    if facts.matching == "prefix":
        lifetime = max(facts.writes, default=0)
        if original is None:
            return (WriteRecord(True, False, lifetime, _prefix_keys(sent)),)
        if sent.chain is original.chain and sent.match.read == original.match.read:
            return (WriteRecord(True, True, lifetime, _prefix_keys(sent)),)
        return WriteRecord(True, False, lifetime, _prefix_keys(sent)), WriteRecord(
            False, True, lifetime, _prefix_keys(original)
        )
    if original is not None and sent.chain is original.chain and sent.breakpoints == original.breakpoints:
        return tuple([WriteRecord(True, True, *one) for one in _breakpoint_writes(sent)])
    ours = [WriteRecord(True, False, *one) for one in _breakpoint_writes(sent)]
    return (
        tuple(ours)
        if original is None
        else (*ours, *(WriteRecord(False, True, *one) for one in _breakpoint_writes(original)))
    )


def _prefix_keys(request: RequestAtCache) -> tuple[int, ...]:
    first, links = request.match.read or 0, request.chain.links
    return tuple([link ^ request.cache for link in (*links[: min(first, SHARED_LINKS)], *links[first:])])


def _breakpoint_writes(request: RequestAtCache) -> Iterator[tuple[int, tuple[int, ...]]]:
    for point in request.breakpoints:
        if point.whole:
            yield point.lifetime, (request.chain.links[point.link] ^ request.cache,)


class CacheContents:
    """The believed state of all caches. A cache is named by a number: whatever tells one from another, hashed."""

    def __init__(self, most_bytes: int = 32 * 2**20) -> None:
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
        """Say what would be read of a request that is sent now. Whether it is long enough is for who knows tokens.

        `earlier`: links that a provider without a look-back looks at besides the breakpoints (`earlier_breakpoints`).
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
        """Yield the links of what is sent that are in the cache, whether or not it looks there, from the deepest on."""
        for index in range(len(chain.links) - 1, -1, -1):
            prefix = self._prefixes.get(chain.links[index] ^ cache)
            if prefix is not None and prefix.until > now:
                yield index

    def lifetime(self, cache: int, chain: Chain, link: int) -> int | None:
        """Return for how many seconds a link was written, by what was sent."""
        prefix = self._prefixes.get(chain.links[link] ^ cache)
        return None if prefix is None else prefix.lifetime

    def expiry(self, cache: int, link: int) -> tuple[float, int] | None:
        """Return until when what ends at a link can be read, by what was sent, and for how many seconds it was written;
        None where it never was.
        """
        prefix = self._prefixes.get(link ^ cache)
        return None if prefix is None or prefix.until == NEVER else (prefix.until, prefix.lifetime)

    def note(
        self, sent: RequestAtCache, original: RequestAtCache | None, facts: CacheFacts, now: float
    ) -> CachedPrefix | None:
        """Take in a request that was sent at `now`: as it left, and as it came; None for one of the gateway's own,
        which nobody would have sent without it.

        Returns what is to be told the provider's count of the prompt, once that is known.
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
        """Take in what another process wrote at some moment, as far as it is not known to live longer.

        `tokens` is what the provider counted up to the last key; 0 = not known.
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
            ours = CachedPrefix(until, lifetime, NEVER, 0, end, 0)
            self._write_links(cache, sent.links, ours, now, facts.refreshed)
            return self._prefixes.get(end) or ours
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
        """Keep each link as `new` says; what is alive in a state that `new` does not renew stays as it is there."""
        for before, keys in groupby([link ^ cache for link in links], self._prefixes.get):
            after = _merge(before, new, now, refreshed)
            self._prefixes.put_all(keys, after, PREFIX_BYTES if after is not new else 0)

    # ------------------------------------------------------------ only what a breakpoint wrote

    def _deepest_at(self, cache: int, chain: Chain, candidates: Iterable[int], now: float, state: int) -> Match:
        """Find the deepest entry that an earlier request wrote at one of these links, given from the deepest on."""
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
        """Write what stands before each breakpoint, and renew what was read."""
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


def _match_of(cache: int, chain: Chain, read: int | None, expired: int | None, last: CachedPrefix | None) -> Match:
    cached_links = read is not None and last is not None and last.end == chain.links[read] ^ cache
    return Match(read, expired, last.tokens if cached_links and last is not None else 0)


def _merge(before: CachedPrefix | None, new: CachedPrefix, now: float, refreshed: bool) -> CachedPrefix:
    """Return what holds after `new`, in both states."""
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
