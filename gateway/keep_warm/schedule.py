"""The schedule of warm-ups: prefixes that a policy names are read again before they expire in the provider's cache.

Requests report their prefixes. One task watches the expiry of each, decides (`keep_warm/decide.py`) and has it read
again. Of several workers and machines one does it: the first to claim it in the state. If the state is down, nothing is
read again. Gaps are those that this process observed. Re-reads by other processes show in the expiry of the prefix.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from hashlib import blake2b
from math import inf
from typing import Any, Final, Literal, NamedTuple, assert_never

from structlog.typing import FilteringBoundLogger

from gateway.config.policy import Policy
from gateway.keep_warm.decide import FORGIVEN, MOST_GAPS, KeepWarmTerms, reread_interval, reread_pays, write_pays
from gateway.memory import USUAL
from gateway.money.entry import BYTES_PER_TOKEN, RequestFacts
from gateway.money.prices.rates import Price
from gateway.prompt_cache.lookup import CacheLookup
from gateway.prompt_cache.tracker import PromptCaches
from gateway.request import HEAD_ANSWER_TOKENS
from gateway.routing.deployment import Deployment
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec, number, text
from gateway.state.store import Store
from gateway.wire.shape import shape_of

MOST_PREFIXES: Final = 200
"""Beyond this number, or beyond the bytes of all their requests, the prefix unused longest is dropped first."""
LONGEST_NAME: Final = 256
"""Characters of a first line that are compared."""
MOST_AT_ONCE: Final = 8
MOST_FAILURES: Final = 3
"""In a row, of one prefix."""
LONGEST_SLEEP: Final = 15.0
"""In seconds. A new prefix, or a call that failed, is seen after it."""


@dataclass(frozen=True, slots=True)
class Reread:
    """A call that was made and answered."""

    tokens: int
    """Tokens read from the cache."""
    cost_nanousd: int


WarmUpResult = Reread | Literal["nothing", "later"]
"""The result of a warm-up. nothing: the request cannot be cached as it is, so it was not sent. later: its deployment
rests after failures.
"""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The request that reads a prefix again, its deployment and its owner, as in the last request with the prefix."""

    body: bytes
    shape: str
    """The name of the shape that it is written in."""
    cache: int
    link: int
    """The end of the prefix, in the chain of the request as it is sent."""
    cache_key: str | None
    """The `prompt_cache_key` that the gateway gave that request."""
    deployment: Deployment
    model: str
    """The name in the client's request."""
    policy: Policy
    key: str
    team: str


class Claim(NamedTuple):
    """The process that reads a prefix again, as the state holds it."""

    by: str
    at: float


class WarmUpFailed(Exception):
    """The prefix could not be read. The message says why, without content."""


SendWarmUp = Callable[[WarmUp], Awaitable[WarmUpResult]]
"""Sends a warm-up. Raises WarmUpFailed."""


@dataclass(slots=True)
class _Prefix:
    """One named prefix at one cache."""

    warm_up: WarmUp
    last: float
    """The time of the last request that began with it."""
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_GAPS))
    """Seconds between two of its requests, if long enough for a re-read to be due."""
    balance: float = 0.0
    """The saving of re-reads so far less their cost, in plain tokens for each token of the prefix."""
    reread: float | None = None
    """The cost of the last re-read, in plain tokens for each token that it read."""
    failures: int = 0
    """In a row, since the last request."""
    empty_rereads: int = 0
    """Re-reads in a row that read nothing. A request does not reset them."""

    @property
    def is_abandoned(self) -> bool:
        return max(self.failures, self.empty_rereads) >= MOST_FAILURES


class NoWarmUps:
    """The warm-ups of a process whose policies name no prefix that is to be kept warm."""

    def set_sender(self, send: SendWarmUp) -> None:
        pass

    def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def note(
        self, lookup: CacheLookup, deployment: Deployment, policy: Policy, request: RequestFacts, cache_key: str | None
    ) -> None:
        pass

    def will_keep(self, lookup: CacheLookup, lifetime: int) -> bool:
        return False


class WarmUps:
    """The warm-ups of one process."""

    def __init__(
        self,
        caches: PromptCaches,
        store: Store,
        log: FilteringBoundLogger,
        now: Callable[[], float],
        name: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        most_bytes: int = USUAL.bytes_for("warm prefixes"),
    ) -> None:
        """Create the schedule. `now` is in Unix seconds, which machines share; `name` identifies this process."""
        self._most_bytes = most_bytes
        self._caches, self._store, self._log = caches, store, log
        self._now, self._name, self._sleep = now, name, sleep
        self._prefixes: OrderedDict[tuple[int, int], _Prefix] = OrderedDict()
        self._total_bytes = 0
        self._send: SendWarmUp | None = None
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._prefixes)

    def set_sender(self, send: SendWarmUp) -> None:
        """Set the function that makes the calls. Before that, none are made."""
        self._send = send

    def open(self) -> None:
        """Start the task that reads due prefixes until `close`."""
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._running.add_done_callback(self._report_end)

    async def close(self) -> None:
        """Cancel the calls under way, and wait for their ledger entries."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    # ------------------------------------------------------------ what requests tell

    def note(
        self, lookup: CacheLookup, deployment: Deployment, policy: Policy, request: RequestFacts, cache_key: str | None
    ) -> None:
        """Note a request that was sent, if its policy names the prefix it begins with."""
        facts, settings, price = lookup.facts, policy.prompt_cache, deployment.price
        if (
            not settings.warm
            or not lookup.head
            or not facts.refreshed
            or not facts.writes
            or price is None
            or not price.rates().input
        ):
            return
        name = _first_line(lookup)
        if not any(fnmatchcase(name, glob) for glob in settings.warm):
            return
        place = lookup.sent.cache, lookup.sent.chain.links[lookup.head]
        body, shape = shape_of(lookup.request).head(lookup.request, lookup.head), lookup.request.shape
        model, key, team = request.model, request.key, request.team
        warm_up = WarmUp(body, shape, *place, cache_key, deployment, model, policy, key, team)
        prefix = self._prefixes.pop(place, None)
        if prefix is None:
            prefix = _Prefix(warm_up, lookup.now)
        else:
            self._total_bytes -= len(prefix.warm_up.body)
            self._settle(prefix, lookup, settings.every)
        prefix.warm_up, prefix.last, prefix.failures = warm_up, lookup.now, 0
        self._prefixes[place] = prefix
        self._total_bytes += len(body)
        while len(self._prefixes) > MOST_PREFIXES or self._total_bytes > self._most_bytes:
            _, oldest = self._prefixes.popitem(last=False)
            self._total_bytes -= len(oldest.warm_up.body)

    def _settle(self, prefix: _Prefix, lookup: CacheLookup, every: float) -> None:
        """Add the gap before a request, and the saving of a re-read for it."""
        gap, facts = lookup.now - prefix.last, lookup.facts
        if gap <= reread_interval(every, min(facts.writes)):
            return
        prefix.gaps.append(gap)
        expiry = self._caches.expiry(prefix.warm_up.cache, prefix.warm_up.link)
        if expiry is None or expiry[1] not in facts.writes:
            return
        terms, read = _terms(prefix, expiry[1]), lookup.sent.match.read
        prefix.balance = max(prefix.balance, min(0.0, prefix.balance + FORGIVEN * terms.saving))
        if gap >= terms.lifetime and read is not None and read >= lookup.head:
            prefix.balance += terms.saving

    def will_keep(self, lookup: CacheLookup, lifetime: int) -> bool:
        """Check whether to write the prefix of a request that is about to be sent, because it will be kept warm."""
        prefix = self._prefixes.get((lookup.sent.cache, lookup.sent.chain.links[lookup.head]))
        if prefix is None or prefix.is_abandoned:
            return False
        return write_pays(prefix.gaps, _terms(prefix, lifetime), prefix.balance)

    # ------------------------------------------------------------ what is due

    async def turn(self) -> float:
        """Read again each prefix that is due and pays. Return the seconds until the next turn."""
        now = self._now()
        due_in = [(self._due_in(prefix, now), prefix) for prefix in self._prefixes.values()]
        due = [prefix for seconds, prefix in due_in if not seconds]
        ends = await asyncio.gather(*map(self._warm, due), return_exceptions=True)
        for prefix, fault in zip(due, ends, strict=True):
            if isinstance(fault, Exception):  # of ours: the log gets all of it, and the other prefixes go on
                prefix.failures += 1
                self._log.error("warm-up failed", exc_info=fault)
        return min([LONGEST_SLEEP, *(seconds for seconds, _ in due_in if seconds)])

    def _due_in(self, prefix: _Prefix, now: float) -> float:
        """Return the seconds until a prefix is due: 0 for now, inf for not before another request."""
        warm_up = prefix.warm_up
        expiry = self._caches.expiry(warm_up.cache, warm_up.link)
        if expiry is None or prefix.is_abandoned:
            return inf
        expires, lifetime = expiry
        if expires <= now or lifetime not in warm_up.deployment.cache.writes:
            return inf
        terms = _terms(prefix, lifetime)
        due = expires - lifetime + terms.reread_interval
        if now < due:
            return due - now
        return 0.0 if reread_pays(prefix.gaps, terms, now - prefix.last, expires - now, prefix.balance) else inf

    async def _warm(self, prefix: _Prefix) -> None:
        """Claim a re-read and have it made."""
        async with self._slots:
            warm_up = prefix.warm_up
            if self._send is None or not await self._claimed(warm_up) or self._due_in(prefix, self._now()):
                return  # or a request came meanwhile
            try:
                result = await self._send(warm_up)
            except WarmUpFailed as error:
                prefix.failures += 1
                self._log_failure(prefix, str(error))
                return
            match result:
                case Reread(tokens=0):
                    prefix.empty_rereads += 1
                    self._log_failure(prefix, "the provider read nothing from its cache")
                case Reread():
                    prefix.failures = prefix.empty_rereads = 0
                    prefix.reread = result.cost_nanousd / _plain_nanousd(warm_up) / result.tokens
                    prefix.balance -= prefix.reread
                case "nothing":
                    prefix.empty_rereads = MOST_FAILURES
                case "later":
                    pass
                case _:
                    assert_never(result)

    async def _claimed(self, warm_up: WarmUp) -> bool:
        """Claim a re-read for this process; False if another has, or if the state is down."""
        seconds = reread_interval(warm_up.policy.prompt_cache.every, min(warm_up.deployment.cache.writes)) / 2
        try:
            return await self._store.run(partial(self._claim, warm_up, seconds))
        except StateUnavailable:
            return False

    def _claim(self, warm_up: WarmUp, seconds: float, state: State) -> bool:
        """Claim a re-read, unless another process did less than so many seconds ago. Runs in a thread."""
        mine = Claim(self._name, self._now())

        def claimed(held: Claim | None) -> Claim:
            if held is None or held.by == mine.by or abs(mine.at - held.at) >= seconds:
                return mine
            return held

        digest = blake2b(f"{warm_up.cache:x} {warm_up.link:x}".encode(), digest_size=16).hexdigest()
        claim, _ = self._store.updated(state, f"warm/{digest}", CLAIMS, claimed, seconds)
        return claim == mine

    def _log_failure(self, prefix: _Prefix, reason: str) -> None:
        fields = {"policy": str(prefix.warm_up.policy), "deployment": prefix.warm_up.deployment.name, "reason": reason}
        self._log.warning("warm-up failed, prefix let go" if prefix.is_abandoned else "warm-up failed", **fields)

    async def _run(self) -> None:
        while True:
            await self._sleep(await self.turn())

    def _report_end(self, task: asyncio.Task[None]) -> None:
        """Log a fault that ended the task. Nobody waits for it."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._log.error("warm-ups ended", exc_info=fault)


def _first_line(lookup: CacheLookup) -> str:
    """Return the name of a prefix: the first line of its system text."""
    text = lookup.request.conversation.messages[0].text.lstrip()
    return text[: LONGEST_NAME + 1].partition("\n")[0][:LONGEST_NAME].rstrip()


def _terms(prefix: _Prefix, lifetime: int) -> KeepWarmTerms:
    """Return the terms of a prefix that is written for so many seconds."""
    settings, facts = prefix.warm_up.policy.prompt_cache, prefix.warm_up.deployment.cache
    read, reread = float(facts.read), prefix.reread
    if reread is None:
        reread = read + _reread_overhead(prefix.warm_up)
    return KeepWarmTerms(
        lifetime, reread_interval(settings.every, lifetime), read, float(facts.writes[lifetime]), reread
    )


def _reread_overhead(warm_up: WarmUp) -> float:
    """Estimate the extra cost of the first re-read, for each token of the prefix. It is tiny for a long one.

    It is the cost of a short answer, and of half a step of the tokens read. The prefix's length is estimated from its
    bytes.
    """
    deployment, rates = warm_up.deployment, _price(warm_up).rates()
    answer = HEAD_ANSWER_TOKENS * float(rates.output / rates.input)
    return (answer + deployment.cache.step / 2) * BYTES_PER_TOKEN / len(warm_up.body)


def _plain_nanousd(warm_up: WarmUp) -> float:
    """Return the plain price of a prompt token."""
    return float(_price(warm_up).rates().input * 10**9)


def _price(warm_up: WarmUp) -> Price:
    price = warm_up.deployment.price
    assert price is not None  # else it was never taken in
    return price


def _from_json(fields: Any) -> Claim:
    by, at = fields["by"], fields["at"]
    return Claim(text(by), number(at))


CLAIMS: Final = Codec("claim to a prefix", 1, Claim._asdict, _from_json)
