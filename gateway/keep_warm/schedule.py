"""Prefixes that a policy names are read again before the provider's cache lets go of them, while traffic makes it pay.

Requests tell of theirs in passing; one task looks when each would expire, decides (`keep_warm/decide.py`), and has it
read again. Of several workers and machines one does: whoever claims it first in the state. With the state down, nothing
is read again. Gaps are those that this process saw; what others read is known by when the prefix expires.
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
from gateway.keep_warm.decide import FORGIVEN, MOST_GAPS, Keeping, interval, is_worth_writing, pays
from gateway.memory import USUAL
from gateway.money.entry import BYTES_PER_TOKEN, Entry
from gateway.money.prices.rates import Price
from gateway.prompt_cache.tracker import PromptCaches, Sighting
from gateway.routing.deployment import Deployment
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec, number, text
from gateway.state.store import Store
from gateway.wire.head import ANSWER_TOKENS, alone

MOST_PREFIXES: Final = 200
"""Beyond them, and beyond the bytes of all their requests, the longest unused goes first."""
LONGEST_NAME: Final = 256
"""Characters of a first line that are compared."""
MOST_AT_ONCE: Final = 8
MOST_FAILURES: Final = 3
"""In a row, of one prefix."""
LONGEST_SLEEP: Final = 15.0
"""In seconds: a new prefix, or a call that failed, is looked at after that."""


@dataclass(frozen=True, slots=True)
class Reread:
    """A call that was made and answered."""

    tokens: int
    """Read from the cache."""
    cost_nanousd: int


Warmed = Reread | Literal["nothing", "later"]
"""What came of it. nothing: nothing was sent, for it cannot be cached as it is. later: its deployment rests after
failures."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What is sent to read a prefix again, where, and whom it is booked to: as in the last request that read it."""

    body: bytes
    cache: int
    link: int
    """The end of the prefix, in the chain of what leaves."""
    cache_key: str | None
    """The `prompt_cache_key` that the gateway gave that request."""
    deployment: Deployment
    model: str
    """As asked for."""
    policy: Policy
    key: str
    team: str


class Claim(NamedTuple):
    """Who reads a prefix again, as told in the state."""

    by: str
    at: float


class NotWarmed(Exception):
    """It could not be read; the message says why, without content."""


Send = Callable[[WarmUp], Awaitable[Warmed]]
"""Has a prefix read. Raises NotWarmed."""


@dataclass(slots=True)
class _Prefix:
    """One named prefix at one cache."""

    warm_up: WarmUp
    last: float
    """When a request last began with it."""
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_GAPS))
    """Seconds between two of its requests, where they were long enough for a re-read to come due."""
    balance: float = 0.0
    """What re-reads have saved so far, less what they cost, in plain tokens for each token of the prefix."""
    reread: float | None = None
    """What the last re-read cost, in plain tokens for each token that it read."""
    failures: int = 0
    """In a row, since the last request."""
    unread: int = 0
    """Re-reads in a row that found nothing: requests do not take that back."""

    @property
    def is_let_go(self) -> bool:
        return max(self.failures, self.unread) >= MOST_FAILURES


class WarmUps:
    """One process's share of the re-reads."""

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
        """Take the way to the state; `now` is Unix seconds, which machines share, `name` is of this process."""
        self._most_bytes = most_bytes
        self._caches, self._store, self._log = caches, store, log
        self._now, self._name, self._sleep = now, name, sleep
        self._prefixes: OrderedDict[tuple[int, int], _Prefix] = OrderedDict()
        self._held_bytes = 0
        self._send: Send | None = None
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._prefixes)

    def sent_by(self, send: Send) -> None:
        """Say who makes the calls; before, none are made."""
        self._send = send

    def open(self) -> None:
        """Go on reading what is due until closed."""
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._running.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cut the calls that are under way, and wait for their entries."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    # ------------------------------------------------------------ what requests tell

    def noted(self, one: Sighting, deployment: Deployment, policy: Policy, entry: Entry, cache_key: str | None) -> None:
        """Take in a request that was sent, where its policy names the prefix it begins with."""
        facts, asked, price = one.facts, policy.prompt_cache, deployment.price
        if not one.head or not facts.refreshed or not facts.writes or price is None or not price.rates().input:
            return
        name = _first_line(one)
        if not any(fnmatchcase(name, glob) for glob in asked.warm):
            return
        place = one.sent.cache, one.sent.chain.links[one.head]
        body = alone(one.request, one.head)
        warm_up = WarmUp(body, *place, cache_key, deployment, entry.model, policy, entry.key, entry.team)
        known = self._prefixes.pop(place, None)
        if known is None:
            known = _Prefix(warm_up, one.now)
        else:
            self._held_bytes -= len(known.warm_up.body)
            self._settle(known, one, asked.every)
        known.warm_up, known.last, known.failures = warm_up, one.now, 0
        self._prefixes[place] = known
        self._held_bytes += len(body)
        while len(self._prefixes) > MOST_PREFIXES or self._held_bytes > self._most_bytes:
            _, gone = self._prefixes.popitem(last=False)
            self._held_bytes -= len(gone.warm_up.body)

    def _settle(self, prefix: _Prefix, one: Sighting, every: float) -> None:
        """Take in how long the gap before a request was, and what a re-read saved it."""
        gap, facts = one.now - prefix.last, one.facts
        if gap <= interval(every, min(facts.writes)):
            return
        prefix.gaps.append(gap)
        lasts = self._caches.lasts(prefix.warm_up.cache, prefix.warm_up.link)
        if lasts is None or lasts[1] not in facts.writes:
            return
        keeping, read = _keeping(prefix, lasts[1]), one.sent.match.read
        prefix.balance = max(prefix.balance, min(0.0, prefix.balance + FORGIVEN * keeping.saves))
        if gap >= keeping.lifetime and read is not None and read >= one.head:
            prefix.balance += keeping.saves

    def keeps(self, one: Sighting, lifetime: int) -> bool:
        """Whether the prefix of a request that is about to leave is worth writing, for it will be kept warm."""
        prefix = self._prefixes.get((one.sent.cache, one.sent.chain.links[one.head]))
        if prefix is None or prefix.is_let_go:
            return False
        return is_worth_writing(prefix.gaps, _keeping(prefix, lifetime), prefix.balance)

    # ------------------------------------------------------------ what is due

    async def turn(self) -> float:
        """Read again what is due and pays; return after how many seconds to look again."""
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
        """Say in how many seconds to read a prefix again, 0 for now; inf: not before another request."""
        warm_up = prefix.warm_up
        lasts = self._caches.lasts(warm_up.cache, warm_up.link)
        if lasts is None or prefix.is_let_go:
            return inf
        expires, lifetime = lasts
        if expires <= now or lifetime not in warm_up.deployment.cache.writes:
            return inf
        keeping = _keeping(prefix, lifetime)
        due = expires - lifetime + keeping.interval
        if now < due:
            return due - now
        return 0.0 if pays(prefix.gaps, keeping, now - prefix.last, expires - now, prefix.balance) else inf

    async def _warm(self, prefix: _Prefix) -> None:
        """Claim a re-read and have it made."""
        async with self._slots:
            warm_up = prefix.warm_up
            if self._send is None or not await self._claimed(warm_up) or self._due_in(prefix, self._now()):
                return  # or a request came meanwhile
            try:
                came = await self._send(warm_up)
            except NotWarmed as error:
                prefix.failures += 1
                self._tell(prefix, str(error))
                return
            match came:
                case Reread(tokens=0):
                    prefix.unread += 1
                    self._tell(prefix, "the provider read nothing from its cache")
                case Reread():
                    prefix.failures = prefix.unread = 0
                    prefix.reread = came.cost_nanousd / _plain_nanousd(warm_up) / came.tokens
                    prefix.balance -= prefix.reread
                case "nothing":
                    prefix.unread = MOST_FAILURES
                case "later":
                    pass
                case _:
                    assert_never(came)

    async def _claimed(self, warm_up: WarmUp) -> bool:
        """Claim a re-read for this process; False where another has, or where the state cannot say."""
        seconds = interval(warm_up.policy.prompt_cache.every, min(warm_up.deployment.cache.writes)) / 2
        try:
            return await self._store.run(partial(self._claim, warm_up, seconds))
        except StateUnavailable:
            return False

    def _claim(self, warm_up: WarmUp, seconds: float, state: State) -> bool:
        """Claim a re-read, unless another process did less than so many seconds ago. In a thread."""
        mine = Claim(self._name, self._now())

        def claimed(held: Claim | None) -> Claim:
            if held is None or held.by == mine.by or abs(mine.at - held.at) >= seconds:
                return mine
            return held

        digest = blake2b(f"{warm_up.cache:x} {warm_up.link:x}".encode(), digest_size=16).hexdigest()
        stands, _ = self._store.updated(state, f"warm/{digest}", CLAIMS, claimed, seconds)
        return stands == mine

    def _tell(self, prefix: _Prefix, reason: str) -> None:
        said = {"policy": str(prefix.warm_up.policy), "deployment": prefix.warm_up.deployment.name, "reason": reason}
        self._log.warning("warm-up failed, prefix let go" if prefix.is_let_go else "warm-up failed", **said)

    async def _run(self) -> None:
        while True:
            await self._sleep(await self.turn())

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of a fault that ended it all: nobody waits for it."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._log.error("warm-ups ended", exc_info=fault)


def _first_line(one: Sighting) -> str:
    """Name a prefix: by the first line of its system text."""
    text = one.request.conversation.messages[0].text.lstrip()
    return text[: LONGEST_NAME + 1].partition("\n")[0][:LONGEST_NAME].rstrip()


def _keeping(prefix: _Prefix, lifetime: int) -> Keeping:
    """Say what it takes to keep a prefix that is written for so many seconds."""
    asked, facts = prefix.warm_up.policy.prompt_cache, prefix.warm_up.deployment.cache
    read, reread = float(facts.read), prefix.reread
    if reread is None:
        reread = read + _besides(prefix.warm_up)
    return Keeping(lifetime, interval(asked.every, lifetime), read, float(facts.writes[lifetime]), reread)


def _besides(warm_up: WarmUp) -> float:
    """Guess what the first re-read costs beside the read, for each token of the prefix: next to nothing of a long one.

    That is the short answer, and half a step of what is read; the prefix's length is known by its bytes.
    """
    deployment, rates = warm_up.deployment, _price(warm_up).rates()
    answer = ANSWER_TOKENS * float(rates.output / rates.input)
    return (answer + deployment.cache.step / 2) * BYTES_PER_TOKEN / len(warm_up.body)


def _plain_nanousd(warm_up: WarmUp) -> float:
    """Return the plain price of a prompt token."""
    return float(_price(warm_up).rates().input * 10**9)


def _price(warm_up: WarmUp) -> Price:
    price = warm_up.deployment.price
    assert price is not None  # else it was never taken in
    return price


def _from_json(said: Any) -> Claim:
    by, at = said["by"], said["at"]
    return Claim(text(by), number(at))


CLAIMS: Final = Codec("claim to a prefix", 1, Claim._asdict, _from_json)
