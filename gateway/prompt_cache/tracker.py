"""The providers' prompt caches as one process believes them to be: looked at before a call, told of it, settled after.

Nothing here waits for anything before a request is sent. What an answer brings (how much was read, and of how many
tokens) is compared with what was expected afterwards: `Settled` is what the ledger says of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import exp
from typing import Final

from gateway.budget.components import (
    OVERHEAD_REPLY,
    CountMedia,
    fits_by_bytes,
    texts,
)
from gateway.budget.tokens import LONG_BODY, Counter
from gateway.conversation import Changes, leading_system
from gateway.memory import USUAL, MemoryPlan
from gateway.prompt_cache.contents import (
    CAME,
    SENT,
    Generations,
    Kept,
    Seen,
    Told,
    Trail,
    Trails,
    Written,
    own_endings,
    written_by,
)
from gateway.prompt_cache.groups import Groups
from gateway.prompt_cache.markers import RATES_OF_KEYS, Breakpoint, callers, key_of
from gateway.prompt_cache.marking import Ends, Standing, ends_of
from gateway.prompt_cache.misses import BELOW_MINIMUM, Figures, Miss, miss_of, readable
from gateway.prompt_cache.prefixes import Chain, Digests, chain_of, group_of, settings_of, unmarked
from gateway.prompt_cache.rules import CacheFacts, CachingDeployment
from gateway.prompt_cache.sizes import Sizes, as_it_came, cumulated, new_texts, sizes_of
from gateway.prompt_cache.usage_patterns import (
    NOTHING_KNOWN,
    Follows,
    Habits,
    Stage,
    head_stage,
    seen,
    total,
    turn_stage,
    waited,
)
from gateway.state.shared import Untold
from gateway.wire.chat import ChatRequest
from gateway.wire.usage import Usage

_OF_MESSAGES: Final = ("tool_choice", "thinking", "reasoning_effort")
_SEPARATE: Final = ("prompt_cache_key",)
_SALT: Final = ("cache_salt",)
"""Members of a request that keep it apart from others in the cache: OpenAI from GPT-5.6 on, and vLLM."""

MINUTE: Final = 60.0
_RATE_BYTES: Final = 160
MOST_NEWS: Final = 2000
"""Requests that wait to be told to other processes; the oldest go first."""

Cost = Callable[[Usage], int | None]
"""What usage costs at this deployment, at this moment; None = it has no price."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whom a request is from, as far as caches and habits are concerned."""

    conversation: tuple[str, ...]
    """Whom conversations never pass between."""
    group: tuple[str, ...]
    """What the policy's `group_by` tells prefix groups apart by."""
    kind: str
    """Whose habits are learned together: a team, under one policy, of one model."""
    ours: bool = False
    """Whether it is the gateway's own, a summary say: it goes on from nothing, nothing is learned from it, and nobody
    would have sent it without the gateway.
    """


@dataclass(slots=True)
class Sighting:
    """One request at one deployment: what its cache was believed to hold when it was sent."""

    request: ChatRequest
    changes: Changes | None
    facts: CacheFacts
    deployment: int
    scope: int
    head: int
    """How many leading system messages there are."""
    now: float
    sent: Told
    """What leaves, with the caller's breakpoints and the provider's own, and ours once they are `marked`."""
    came: Told
    """What it would be had everything always left as it came."""
    steady: Chain
    """The chain by which the client is told from others: as it came, without the system text that was moved."""
    previous: Trail | None
    """The conversation's last request."""
    whose: Whose
    group: int
    """Its prefix group: the same tools and system text, among those that the policy's `group_by` puts together."""
    arrived: bool = False
    key: str | None = None
    """The `prompt_cache_key` that we give it, where the provider keeps apart what is sent with one."""
    kept: Kept | None = None
    trail: Trail | None = None
    """Of the conversation, once it arrived; a request of our own leaves none."""

    @property
    def turn(self) -> int:
        """How many requests of the conversation were long enough to be cached, this one included if it is."""
        return 1 if self.previous is None else self.previous.turn + 1

    @property
    def begins(self) -> bool:
        """Whether none before it was: then it counts as the conversation's first."""
        return self.turn == 1

    @property
    def gap_seconds(self) -> float | None:
        """The time since the conversation's last request."""
        return None if self.previous is None else self.now - self.previous.at

    @property
    def ends(self) -> Ends:
        """Where the conversation's next request will agree with this one."""
        return ends_of(self.changes, len(self.request.conversation.messages))

    @property
    def left(self) -> Sequence[int]:
        """The links that it leaves for the next request to read: none behind what was put in for it alone."""
        links, steady = self.sent.chain.links, self.ends.steady
        if self.facts.matching != "breakpoints":
            return links if steady is None else links[: steady + 1]
        points = [point.link for point in self.sent.points if point.whole]
        if points and steady is None:
            return links
        return links[: max([link for link in points if steady is not None and link <= steady], default=-1) + 1]

    @property
    def came_uncached(self) -> bool:
        """Whether it left with its own text, which would have been neither read nor written had it left unmarked."""
        return self.sent.chain is self.came.chain and not self.came.points and self.came.match.read is None

    @property
    def is_as_it_came(self) -> bool:
        """Whether nothing tells what was sent from what came, in this cache. Of our own requests nothing came."""
        if self.whose.ours:
            return True
        sent, came = self.sent, self.came
        same = sent.chain is came.chain and sent.points == came.points and sent.cache == came.cache
        return same and sent.match.read == came.match.read


@dataclass(frozen=True, slots=True)
class Settled:
    """What the books say of one request and its provider's cache."""

    expected: int = 0
    """Tokens that should have been read."""
    miss: str | None = None
    lost: int = 0
    """Tokens that the miss did not read."""
    lost_nanousd: int | None = 0
    saved_nanousd: int | None = 0
    """What the original would have cost, less what was paid; negative where it would have been cheaper. None: nobody
    can say."""
    markers: int = 0
    """Markers of ours."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one answered request adds to the habits of its kind."""

    kind: str
    stage: int
    now: float
    follows: Follows | None
    tokens: int
    head: tuple[Stage, Follows | None] | None = None
    """Of a first request: how often its head was seen, and when last."""

    def delta(self) -> Habits:
        """Return what it adds."""
        out = seen(self.stage, self.now, self.follows, self.tokens)
        return out if self.head is None else out + seen(self.head[0], self.now, self.head[1])


@dataclass(frozen=True, slots=True)
class Sent:
    """What one answered request left in a cache."""

    at: float
    tokens: int
    """Up to the last key, by the provider's report."""
    written: tuple[Written, ...]


class PromptCaches:
    """One for a process."""

    def __init__(self, memory: MemoryPlan = USUAL) -> None:
        self._digests = Digests(memory.bytes_for("prefix digests"))
        self._seen = Seen(memory.bytes_for("cached prefixes"))
        self._trails = Trails(memory.bytes_for("conversations"))
        self._rates: Generations[int, tuple[float, float]] = Generations(2**20)
        """By prefix group: when its last request was, and requests a minute until then."""
        self._names: dict[str, int] = {}
        self.untold_sent: Untold[Sent] = Untold(MOST_NEWS)
        """What was left in caches, for other processes to hear."""
        self._untold_counted: Untold[Counted] = Untold(MOST_NEWS)
        self.groups = Groups(memory.bytes_for("prefix groups"))
        self._habits: dict[str, Habits] = {}
        """By kind; as they were when last exchanged."""
        self._telling: dict[str, Habits] = {}
        self._untold: dict[str, Habits] = {}
        """What was counted here since then, where it decides about markers; and what is being told."""

    def look(
        self, deployment: CachingDeployment, request: ChatRequest, changes: Changes | None, whose: Whose, now: float
    ) -> Sighting | None:
        """Compare a request that is about to be sent with what the deployment's cache is believed to hold.

        None: nothing is known of this cache, or the bytes prove that the prompt is too short for it.
        """
        facts = deployment.cache
        if is_unseen(deployment, request):
            return None
        settings, digests = _settings(request, facts), self._digests
        account = self._cache(deployment)
        cache = account ^ settings_of(request, _SEPARATE if facts.marks_itself else _SALT)
        chain = chain_of(request, None, digests, settings)
        points = callers(request, facts)
        endings = _endings(request, None, facts)
        came = self._told(cache, chain, points, facts, now, CAME, endings)
        if changes is None:
            sent = self._told(cache, chain, points, facts, now, SENT, endings)
        else:
            left, points = chain_of(request, changes, digests, settings), callers(request, facts, changes)
            sent = self._told(cache, left, points, facts, now, SENT, _endings(request, changes, facts))
        head, scope = leading_system(request.conversation.messages), hash(whose.conversation)
        previous = None if whose.ours else self._trails.before(scope, chain, head)
        steady = chain
        if changes is not None and changes.system:
            steady = chain_of(request, Changes({}, system=changes.system), digests, settings)
        group = group_of(steady, head, whose.group)
        return Sighting(request, changes, facts, account, scope, head, now, sent, came, steady, previous, whose, group)

    def stage(self, one: Sighting) -> Stage:
        """Say where the conversation stands, as habits count it."""
        return turn_stage(one.turn, is_new=one.begins and not self.groups.sights(one.group))

    def habits(self, kind: str) -> Habits:
        """Return what is known of a kind of conversation."""
        parts = (self._telling.get(kind), self._untold.get(kind))
        return total([part for part in parts if part is not None], self._habits.get(kind, NOTHING_KNOWN))

    def standing(self, one: Sighting) -> Standing:
        """Say what the markers of a request are decided by."""
        sights = self.groups.sights(one.group) + one.begins
        return Standing(self.habits(one.whose.kind), self.groups.own(one.group), self.stage(one), sights)

    def alive(self, one: Sighting) -> int | None:
        """Return for how many seconds what is cached of the conversation was written; None where nothing is, or nothing
        but the system text, which it shares with others.
        """
        link = next(self.known(one), 0)
        return self._seen.lifetime(one.sent.cache, one.sent.chain, link) if link > one.head else None

    def has_expired(self, one: Sighting) -> bool:
        """Whether the conversation's last request was sent here, and longer ago than this cache keeps anything."""
        previous = one.previous
        if previous is None or previous.deployment != one.deployment:
            return False
        return one.now - previous.at >= max(one.facts.writes, default=0)

    def beginnings(self, one: Sighting) -> tuple[int, ...]:
        """Return the links of what a request says, whatever else its provider tells prompts apart by.

        A tool choice, and whether there is a picture, may change from request to request of one conversation.
        """
        if not _settings(one.request, one.facts):
            return one.steady.links
        moved = None if one.changes is None else Changes({}, system=one.changes.system)
        return chain_of(one.request, moved, self._digests).links

    def warm(self, one: Sighting, counter: Counter, count_media: CountMedia) -> int:
        """Count the tokens at the beginning of what would be sent that can be read, wherever markers stand."""
        link = next(self.known(one), 0)
        if not link:
            return 0
        conversation = one.request.conversation
        messages = conversation.messages if one.changes is None else one.changes.applied(conversation.messages)
        tools = sum([counter.count(text) for text in map(unmarked, conversation.definitions)])
        return readable(cumulated(tools, messages[:link], counter, count_media)[-1], one.facts)

    async def head_tokens(self, one: Sighting, counter: Counter, count_media: CountMedia) -> int:
        """Count the tools and the leading system text of what would be sent."""
        conversation = one.request.conversation
        head = replace(conversation, messages=conversation.messages[: one.head])
        asked = texts(head, counter.messages)
        await counter.learn([*asked, *map(unmarked, head.definitions), *new_texts(one.changes)])
        sent, _ = sizes_of(head, one.changes, None, counter, count_media)
        return sent.upto(one.head)

    def lasts(self, cache: int, link: int) -> tuple[float, int] | None:
        """Return until when a beginning can be read and for how many seconds it was written; None: it never was."""
        return self._seen.lasts(cache, link)

    def known(self, one: Sighting) -> Iterator[int]:
        """Yield the links of what is about to be sent that are in the cache already, from the deepest on.

        Where the provider keeps apart what is sent with a key, and that is not chosen yet, it is what it holds under
        the one of ours under which it holds most.
        """
        cache, chain, now = one.sent.cache, one.sent.chain, one.now
        if not one.facts.marks_itself or one.key is not None or "prompt_cache_key" in one.request.spans:
            return self._seen.known(cache, chain, now)
        caches = [cache, *(cache ^ named(key) for key in self._keys(one))]
        return iter(max([list(self._seen.known(each, chain, now)) for each in caches]))

    def key(self, one: Sighting) -> str:
        """Name the `prompt_cache_key` of a request: its group's, or one of several where it has many requests.

        Where the provider keeps apart what is sent with it, a conversation under way keeps the key under which it is
        read, however many requests its group has by now.
        """
        group = one.group
        at, rate = self._rates.get(group) or (one.now, 0.0)
        rate = rate * exp(min(at - one.now, 0.0) / MINUTE) + 1.0  # clocks may be set back
        self._rates.put(group, (one.now, rate), _RATE_BYTES)
        wanted = key_of(group, rate, _opening(one))
        if one.previous is None or not one.facts.marks_itself or self._goes_on_under(one, wanted):
            return wanted
        return next((key for key in self._keys(one) if self._goes_on_under(one, key)), wanted)

    def _keys(self, one: Sighting) -> Iterator[str]:
        """Yield all keys that a conversation may have had, each once."""
        return iter(dict.fromkeys([key_of(one.group, rate, _opening(one)) for rate in RATES_OF_KEYS]))

    def _goes_on_under(self, one: Sighting, key: str) -> bool:
        """Whether more than the system text of the conversation would be read under a key."""
        told, endings = one.sent, _endings(one.request, one.changes, one.facts)
        cache = told.cache ^ named(key)
        read = self._seen.look(cache, told.chain, told.points, one.facts, one.now, SENT, endings).read
        return read is not None and read > one.head

    def mark(self, one: Sighting, points: tuple[Breakpoint, ...], key: str | None = None) -> None:
        """Look again, at the breakpoints that the request leaves with: all of them, the caller's and ours.

        `key` is set where the provider keeps apart what is sent with it.
        """
        told, endings = one.sent, _endings(one.request, one.changes, one.facts)
        cache = told.cache if key is None else told.cache ^ named(key)
        one.key = key or one.key
        one.sent = self._told(cache, told.chain, points, one.facts, one.now, SENT, endings)

    def _told(
        self,
        cache: int,
        chain: Chain,
        points: tuple[Breakpoint, ...],
        facts: CacheFacts,
        now: float,
        state: int,
        endings: Sequence[int],
    ) -> Told:
        return Told(cache, chain, points, self._seen.look(cache, chain, points, facts, now, state, endings))

    async def digest(self, request: ChatRequest, changes: Changes | None) -> None:
        """Read the messages of a long request that nobody has read yet, off the event loop, so that `look` need not."""
        read = asyncio.get_running_loop().run_in_executor
        for form in (None,) if changes is None else (None, changes):
            await read(None, chain_of, request, form, self._digests)

    def note(self, one: Sighting) -> None:
        """Take in that the request was sent, and taken."""
        came = None if one.whose.ours else one.came
        one.arrived, one.kept = True, self._seen.note(one.sent, came, one.facts, one.now)
        if came is None:
            return
        told = came._replace(chain=one.steady)
        one.trail = self._trails.note(one.scope, one.left, told, one.head, one.deployment, one.now, one.previous)

    async def settle(
        self, one: Sighting, usage: Usage, cost: Cost, counter: Counter, count_media: CountMedia, *, exact: bool = False
    ) -> Settled:
        """Compare what the provider reports with what was expected, and the cost with that of the original.

        `exact`: whether `counter` counts as the provider does, so that no more is counted than what was read.
        """
        markers = sum(point.ours for point in one.sent.points)
        if one.arrived:  # else its client left while it was on its way
            self._count(one, usage)
        if usage.estimated:
            return Settled(markers=markers, saved_nanousd=0 if one.is_as_it_came else None)
        self._learn(one, usage)
        upto, is_same = _known_tokens(one), one.is_as_it_came or one.came_uncached
        if upto is not None and is_same:
            return _settled(one, usage, cost, upto, Sizes.of_whole(usage.prompt), markers)
        conversation = one.request.conversation
        if exact and is_same:
            conversation = replace(conversation, messages=conversation.messages[: one.sent.match.read])
        asked = texts(conversation, counter.messages)
        await counter.learn([*asked, *map(unmarked, conversation.definitions), *new_texts(one.changes)])

        def weigh() -> tuple[Sizes, Sizes]:
            return sizes_of(conversation, one.changes, None if exact and is_same else usage, counter, count_media)

        if len(one.request.body) < LONG_BODY:
            sizes = weigh()
        else:
            sizes = await asyncio.get_running_loop().run_in_executor(None, weigh)
        if upto is None:
            upto = sizes[0].upto(one.sent.match.read or 0)
        came = Sizes.of_whole(usage.prompt) if exact and is_same else sizes[1]
        return _settled(one, usage, cost, upto, came, markers)

    # ------------------------------------------------------------ with other processes

    def adopt_sent(self, sent: Iterable[Sent]) -> None:
        """Take in what other processes left there."""
        for one in sent:
            for written in one.written:
                self._seen.adopt(written, one.at, one.tokens)

    def take_counted(self) -> Sequence[Counted]:
        """Return what was counted since this was last asked."""
        self._telling, self._untold = self._untold, {}
        return self._untold_counted.take()

    def give_back_counted(self, counted: Sequence[Counted]) -> None:
        """Take back what could not be told."""
        self._untold_counted.give_back(counted)
        for kind, told in self._telling.items():
            self._untold[kind] = told + self._untold.get(kind, NOTHING_KNOWN)
        self._telling = {}

    def adopt_habits(self, habits: Mapping[str, Habits]) -> None:
        """Take in what all have counted together."""
        self._habits.update(habits)
        self._telling = {}

    # ------------------------------------------------------------ what is meant by it

    def _cache(self, deployment: CachingDeployment) -> int:
        """Name the cache that a deployment reads, as a number: one for each model under one credential."""
        found = self._names.get(deployment.name) if deployment.pattern is None else None
        if found is None:
            own = deployment.name if deployment.kind == "demo" else ""  # each an account of its own
            parts = (deployment.provider, deployment.model, deployment.api_base, deployment.api_key, own)
            found = self._names[deployment.name] = named("\n".join([part or "" for part in parts]))
        return found

    def _learn(self, one: Sighting, usage: Usage) -> None:
        """Keep the provider's own count of the prompt for the requests that begin with it."""
        tokens = max(0, usage.prompt - OVERHEAD_REPLY)
        if one.kept is not None and one.kept.end == one.sent.chain.links[-1] ^ one.sent.cache:
            one.kept.tokens = tokens
        if one.trail is not None:
            one.trail.tokens = tokens

    def _count(self, one: Sighting, usage: Usage) -> None:
        """Count what the request says of its group and of its kind, and what it left in the cache."""
        if one.trail is not None:
            self._learn_habits(one, one.trail, usage.prompt)
        tokens = 0 if usage.estimated else max(0, usage.prompt - OVERHEAD_REPLY)
        came = None if one.whose.ours else one.came
        self.untold_sent.append(Sent(one.now, tokens, written_by(one.sent, came, one.facts)))

    def _learn_habits(self, one: Sighting, trail: Trail, tokens: int) -> None:
        """Count a request of a conversation; one that is too short to be cached is none of its turns."""
        if tokens < one.facts.least:
            trail.turn -= 1
            return
        counted = self._counted(one, trail, tokens)
        self._untold_counted.append(counted)
        if one.facts.matching == "breakpoints":
            kind = counted.kind
            self._untold[kind] = waited(self._untold.get(kind, NOTHING_KNOWN) + counted.delta(), one.now)

    def _counted(self, one: Sighting, trail: Trail, tokens: int) -> Counted:
        """Count a request that is long enough to be cached."""
        previous, stage, group = one.previous, self.stage(one), one.group
        trail.stage = stage
        if previous is None or one.begins:
            last, sights = self.groups.begun(group, one.now), self.groups.sights(group)
            seen_before = None if last is None else Follows(head_stage(sights - 1), one.now - last)
            return Counted(one.whose.kind, stage, one.now, None, tokens, (head_stage(sights), seen_before))
        gap = one.now - previous.at
        if previous.turn == 1 and gap <= max(one.facts.writes, default=0):
            self.groups.went_on(group)
        follows = Follows(previous.stage, gap, min(previous.tokens, tokens))
        return Counted(one.whose.kind, stage, one.now, follows, tokens)


def _opening(one: Sighting) -> int:
    """Return what stays with a conversation: its beginning, up to the first message after the system text."""
    links = one.steady.links
    return links[min(one.head + 1, len(links) - 1)]


def named(said: str) -> int:
    """Give the number of what keeps one cache apart from others."""
    return int.from_bytes(blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 4


def is_unseen(deployment: CachingDeployment, request: ChatRequest) -> bool:
    """Whether nothing is known of a deployment's cache, or bytes prove that the request is too short for it."""
    facts = deployment.cache
    if facts.matching == "none" or fits_by_bytes(request.conversation, request.most_tokens, facts.least - 1):
        return True
    prompt = request.message_spans[-1].end - request.message_spans[0].start
    return prompt < facts.least and _is_shorter(request, len(request.message_spans), facts.least - OVERHEAD_REPLY)


def too_short(deployment: CachingDeployment, sighting: Sighting | None) -> str | None:
    """Name the cause where a cache that we know of was not even looked at."""
    return BELOW_MINIMUM if sighting is None and deployment.cache.matching != "none" else None


def _known_tokens(one: Sighting) -> int | None:
    """Return the tokens of what should have been read, where they are known without counting: 0 for nothing."""
    read, _, tokens = one.sent.match
    if read is None or tokens:
        return tokens
    return 0 if one.changes is None and _is_shorter(one.request, read, one.facts.least) else None


def _is_shorter(request: ChatRequest, link: int, tokens: int) -> bool:
    """Whether bytes prove that tools and so many messages have fewer tokens."""
    conversation, spans = request.conversation, request.message_spans
    most = link + sum([len(text.encode()) for text in conversation.definitions])
    most += spans[link - 1].end - spans[0].start if link else 0
    return most < tokens and not any(message.media for message in conversation.messages[:link])


def _settled(one: Sighting, usage: Usage, cost: Cost, upto: int, came: Sizes, markers: int) -> Settled:
    """Say what there is to say; `upto`: tokens of what should have been read; `came`: of what came."""
    facts, paid = one.facts, cost(usage)
    figures = Figures(usage.prompt, usage.cached, readable(upto, facts))
    miss = miss_of(figures, one.sent, one.steady, one.previous, facts, one.deployment, one.now)
    saved: int | None = 0
    if not one.is_as_it_came:
        instead = cost(as_it_came(usage, came, one.came.points, one.came.match, facts))
        saved = None if instead is None or paid is None else instead - paid
    return Settled(
        expected=figures.expected,
        miss=None if miss is None else miss.cause,
        lost=0 if miss is None else miss.tokens,
        lost_nanousd=_lost(miss, usage, cost, paid),
        saved_nanousd=saved,
        markers=markers,
    )


def _lost(miss: Miss | None, usage: Usage, cost: Cost, paid: int | None) -> int | None:
    """Price a miss: what was paid, less what would have been had its tokens been read."""
    if miss is None or not miss.tokens or paid is None:
        return 0
    tokens = min(miss.tokens, usage.prompt - usage.cached)
    written = max(0, usage.cache_write - tokens)
    read = replace(
        usage,
        cached=usage.cached + tokens,
        cache_write=written,
        cache_write_1h=min(usage.cache_write_1h, written),
    )
    instead = cost(read)
    return None if instead is None else paid - instead


# ---------------------------------------------------------------- what else a cache goes by


def _endings(request: ChatRequest, changes: Changes | None, facts: CacheFacts) -> Sequence[int]:
    """List where OpenAI looks for earlier breakpoints of its own, unless the caller has it set none."""
    span = request.spans.get("prompt_cache_options")
    if not facts.marks_itself or (span is not None and b'"explicit"' in request.body[span.start : span.end]):
        return ()
    came = request.conversation.messages
    return own_endings(came if changes is None else changes.applied(came), leading_system(came))


def _settings(request: ChatRequest, facts: CacheFacts) -> int:
    """Return what else Anthropic tells message lists apart by: "What invalidates the cache", prompt-caching guide."""
    if facts.control not in ("cache_control", "cache_point"):
        return 0
    pictures = any(part.kind == "image" for message in request.conversation.messages for part in message.media)
    return settings_of(request, _OF_MESSAGES) + pictures
