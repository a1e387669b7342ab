"""The providers' prompt caches as one process believes them to be: looked at before a call, told of it, settled after.

Nothing here waits for anything before a request is sent. What an answer brings (how much was read, and of how many
tokens) is compared with what was expected afterwards: `CacheSettlement` is what the ledger says of it.
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
from gateway.prompt_cache.contents import (
    ORIGINAL,
    SENT,
    CacheContents,
    CachedPrefix,
    Generations,
    RequestAtCache,
    Trail,
    Trails,
    WriteRecord,
    earlier_breakpoints,
    write_records,
)
from gateway.prompt_cache.groups import PrefixGroups
from gateway.prompt_cache.markers import RATES_OF_KEYS, Breakpoint, callers, key_of
from gateway.prompt_cache.marking import MarkingInputs, StableEnds, find_stable_ends
from gateway.prompt_cache.misses import BELOW_MINIMUM, Miss, TokenReport, cause_of_miss, readable_tokens
from gateway.prompt_cache.prefixes import Chain, Digests, chain_of, members_hash, prefix_group, without_markers
from gateway.prompt_cache.rules import CacheFacts, CachingDeployment
from gateway.prompt_cache.sizes import PrefixSizes, cumulative_sizes, inserted_texts, original_usage, prefix_sizes
from gateway.prompt_cache.usage_patterns import (
    NOTHING_KNOWN,
    Habits,
    PreviousRequest,
    Stage,
    end_waiting,
    head_stage,
    request_habits,
    sum_habits,
    turn_stage,
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
class ConversationOwner:
    """Whom a request is from, as far as caches and habits are concerned."""

    conversation: tuple[str, ...]
    """Whom conversations never pass between."""
    group: tuple[str, ...]
    """What the policy's `group_by` tells prefix groups apart by."""
    kind: str
    """Whose habits are learned together: a team, under one policy, of one model."""
    is_gateway: bool = False
    """Whether it is the gateway's own, a summary say: it goes on from nothing, nothing is learned from it, and nobody
    would have sent it without the gateway.
    """


@dataclass(slots=True)
class CacheLookup:
    """One request at one deployment: what its cache was believed to hold when it was sent."""

    request: ChatRequest
    changes: Changes | None
    facts: CacheFacts
    deployment: int
    scope: int
    head: int
    """How many leading system messages there are."""
    now: float
    sent: RequestAtCache
    """What leaves, with the caller's breakpoints and the provider's own, and ours once they are `marked`."""
    original: RequestAtCache
    """What it would be had everything always left as it came."""
    identity: Chain
    """The chain by which the client is told from others: as it came, without the system text that was moved."""
    previous: Trail | None
    """The conversation's last request."""
    owner: ConversationOwner
    group: int
    """Its prefix group: the same tools and system text, among those that the policy's `group_by` puts together."""
    is_accepted: bool = False
    cache_key: str | None = None
    """The `prompt_cache_key` that we give it, where the provider keeps apart what is sent with one."""
    prefix: CachedPrefix | None = None
    trail: Trail | None = None
    """Of the conversation, once it arrived; a request of our own leaves none."""

    @property
    def turn(self) -> int:
        """How many requests of the conversation were long enough to be cached, this one included if it is."""
        return 1 if self.previous is None else self.previous.turn + 1

    @property
    def is_first_turn(self) -> bool:
        """Whether none before it was: then it counts as the conversation's first."""
        return self.turn == 1

    @property
    def gap_seconds(self) -> float | None:
        """The time since the conversation's last request."""
        return None if self.previous is None else self.now - self.previous.at

    @property
    def stable_ends(self) -> StableEnds:
        """Where the conversation's next request will agree with this one."""
        return find_stable_ends(self.changes, len(self.request.conversation.messages))

    @property
    def readable_links(self) -> Sequence[int]:
        """The links that it leaves for the next request to read: none behind what was put in for it alone."""
        links, identity = self.sent.chain.links, self.stable_ends.stable_end
        if self.facts.matching != "breakpoints":
            return links if identity is None else links[: identity + 1]
        points = [point.link for point in self.sent.breakpoints if point.whole]
        if points and identity is None:
            return links
        return links[: max([link for link in points if identity is not None and link <= identity], default=-1) + 1]

    @property
    def is_original_uncached(self) -> bool:
        """Whether it left with its own text, which would have been neither read nor written had it left unmarked."""
        return (
            self.sent.chain is self.original.chain
            and not self.original.breakpoints
            and self.original.match.read is None
        )

    @property
    def is_billed_as_original(self) -> bool:
        """Whether nothing tells what was sent from what came, in this cache. Of our own requests nothing came."""
        if self.owner.is_gateway:
            return True
        sent, original = self.sent, self.original
        same = (
            sent.chain is original.chain and sent.breakpoints == original.breakpoints and sent.cache == original.cache
        )
        return same and sent.match.read == original.match.read


@dataclass(frozen=True, slots=True)
class CacheSettlement:
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
class Observation:
    """What one answered request adds to the habits of its kind."""

    kind: str
    stage: int
    now: float
    previous: PreviousRequest | None
    tokens: int
    head: tuple[Stage, PreviousRequest | None] | None = None
    """Of a first request: how often its head was seen, and when last."""

    def delta(self) -> Habits:
        """Return what it adds."""
        out = request_habits(self.stage, self.now, self.previous, self.tokens)
        return out if self.head is None else out + request_habits(self.head[0], self.now, self.head[1])


@dataclass(frozen=True, slots=True)
class CacheUpdate:
    """What one answered request left in a cache."""

    at: float
    tokens: int
    """Up to the last key, by the provider's report."""
    records: tuple[WriteRecord, ...]


class PromptCaches:
    """One for a process."""

    def __init__(self) -> None:
        self._digests = Digests()
        self._contents = CacheContents()
        self._trails = Trails()
        self._key_rates: Generations[int, tuple[float, float]] = Generations(2**20)
        """By prefix group: when its last request was, and requests a minute until then."""
        self._numbers: dict[str, int] = {}
        self.updates: Untold[CacheUpdate] = Untold(MOST_NEWS)
        """What was left in caches, for other processes to hear."""
        self._observations: Untold[Observation] = Untold(MOST_NEWS)
        self.groups = PrefixGroups()
        self._habits: dict[str, Habits] = {}
        """By kind; as they were when last exchanged."""
        self._habits_in_exchange: dict[str, Habits] = {}
        self._habits_since_exchange: dict[str, Habits] = {}
        """What was counted here since then, where it decides about markers; and what is being told."""

    def look(
        self,
        deployment: CachingDeployment,
        request: ChatRequest,
        changes: Changes | None,
        owner: ConversationOwner,
        now: float,
    ) -> CacheLookup | None:
        """Compare a request that is about to be sent with what the deployment's cache is believed to hold.

        None: nothing is known of this cache, or the bytes prove that the prompt is too short for it.
        """
        facts = deployment.cache
        if is_uncacheable(deployment, request):
            return None
        settings, digests = _message_settings(request, facts), self._digests
        account = self._cache_of(deployment)
        cache = account ^ members_hash(request, _SEPARATE if facts.marks_itself else _SALT)
        chain = chain_of(request, None, digests, settings)
        points = callers(request, facts)
        earlier = _earlier_links(request, None, facts)
        original = self._at_cache(cache, chain, points, facts, now, ORIGINAL, earlier)
        if changes is None:
            sent = self._at_cache(cache, chain, points, facts, now, SENT, earlier)
        else:
            rewritten, points = chain_of(request, changes, digests, settings), callers(request, facts, changes)
            sent = self._at_cache(cache, rewritten, points, facts, now, SENT, _earlier_links(request, changes, facts))
        head, scope = leading_system(request.conversation.messages), hash(owner.conversation)
        previous = None if owner.is_gateway else self._trails.find_previous(scope, chain, head)
        identity = chain
        if changes is not None and changes.system:
            identity = chain_of(request, Changes({}, system=changes.system), digests, settings)
        group = prefix_group(identity, head, owner.group)
        return CacheLookup(
            request, changes, facts, account, scope, head, now, sent, original, identity, previous, owner, group
        )

    def stage(self, lookup: CacheLookup) -> Stage:
        """Say where the conversation stands, as habits count it."""
        return turn_stage(lookup.turn, is_new=lookup.is_first_turn and not self.groups.sights(lookup.group))

    def habits(self, kind: str) -> Habits:
        """Return what is known of a kind of conversation."""
        parts = (self._habits_in_exchange.get(kind), self._habits_since_exchange.get(kind))
        return sum_habits([part for part in parts if part is not None], self._habits.get(kind, NOTHING_KNOWN))

    def marking_inputs(self, lookup: CacheLookup) -> MarkingInputs:
        """Say what the markers of a request are decided by."""
        sights = self.groups.sights(lookup.group) + lookup.is_first_turn
        return MarkingInputs(
            self.habits(lookup.owner.kind), self.groups.history(lookup.group), self.stage(lookup), sights
        )

    def current_lifetime(self, lookup: CacheLookup) -> int | None:
        """Return for how many seconds what is cached of the conversation was written; None where nothing is, or nothing
        but the system text, which it shares with others.
        """
        link = next(self.cached_links(lookup), 0)
        return self._contents.lifetime(lookup.sent.cache, lookup.sent.chain, link) if link > lookup.head else None

    def has_expired(self, lookup: CacheLookup) -> bool:
        """Whether the conversation's last request was sent here, and longer ago than this cache keeps anything."""
        previous = lookup.previous
        if previous is None or previous.deployment != lookup.deployment:
            return False
        return lookup.now - previous.at >= max(lookup.facts.writes, default=0)

    def content_links(self, lookup: CacheLookup) -> tuple[int, ...]:
        """Return the links of what a request says, whatever else its provider tells prompts apart by.

        A tool choice, and whether there is a picture, may change from request to request of one conversation.
        """
        if not _message_settings(lookup.request, lookup.facts):
            return lookup.identity.links
        moved = None if lookup.changes is None else Changes({}, system=lookup.changes.system)
        return chain_of(lookup.request, moved, self._digests).links

    def count_cached(self, lookup: CacheLookup, counter: Counter, count_media: CountMedia) -> int:
        """Count the tokens at the beginning of what would be sent that can be read, wherever markers stand."""
        link = next(self.cached_links(lookup), 0)
        if not link:
            return 0
        conversation = lookup.request.conversation
        messages = conversation.messages if lookup.changes is None else lookup.changes.applied(conversation.messages)
        tools = sum([counter.count(text) for text in map(without_markers, conversation.definitions)])
        return readable_tokens(cumulative_sizes(tools, messages[:link], counter, count_media)[-1], lookup.facts)

    async def head_tokens(self, lookup: CacheLookup, counter: Counter, count_media: CountMedia) -> int:
        """Count the tools and the leading system text of what would be sent."""
        conversation = lookup.request.conversation
        head = replace(conversation, messages=conversation.messages[: lookup.head])
        asked = texts(head, counter.messages)
        await counter.learn([*asked, *map(without_markers, head.definitions), *inserted_texts(lookup.changes)])
        sent, _ = prefix_sizes(head, lookup.changes, None, counter, count_media)
        return sent.upto(lookup.head)

    def expiry(self, cache: int, link: int) -> tuple[float, int] | None:
        """Return until when a beginning can be read and for how many seconds it was written; None: it never was."""
        return self._contents.expiry(cache, link)

    def cached_links(self, lookup: CacheLookup) -> Iterator[int]:
        """Yield the links of what is about to be sent that are in the cache already, from the deepest on.

        Where the provider keeps apart what is sent with a key, and that is not chosen yet, it is what it holds under
        the one of ours under which it holds most.
        """
        cache, chain, now = lookup.sent.cache, lookup.sent.chain, lookup.now
        if not lookup.facts.marks_itself or lookup.cache_key is not None or "prompt_cache_key" in lookup.request.spans:
            return self._contents.cached_links(cache, chain, now)
        caches = [cache, *(cache ^ cache_number(key) for key in self._keys(lookup))]
        return iter(max([list(self._contents.cached_links(each, chain, now)) for each in caches]))

    def choose_cache_key(self, lookup: CacheLookup) -> str:
        """Name the `prompt_cache_key` of a request: its group's, or one of several where it has many requests.

        Where the provider keeps apart what is sent with it, a conversation under way keeps the key under which it is
        read, however many requests its group has by now.
        """
        group = lookup.group
        at, rate = self._key_rates.get(group) or (lookup.now, 0.0)
        rate = rate * exp(min(at - lookup.now, 0.0) / MINUTE) + 1.0  # clocks may be set back
        self._key_rates.put(group, (lookup.now, rate), _RATE_BYTES)
        wanted = key_of(group, rate, _opening(lookup))
        if lookup.previous is None or not lookup.facts.marks_itself or self._goes_on_under(lookup, wanted):
            return wanted
        return next((key for key in self._keys(lookup) if self._goes_on_under(lookup, key)), wanted)

    def _keys(self, lookup: CacheLookup) -> Iterator[str]:
        """Yield all keys that a conversation may have had, each once."""
        return iter(dict.fromkeys([key_of(lookup.group, rate, _opening(lookup)) for rate in RATES_OF_KEYS]))

    def _goes_on_under(self, lookup: CacheLookup, key: str) -> bool:
        """Whether more than the system text of the conversation would be read under a key."""
        told, earlier = lookup.sent, _earlier_links(lookup.request, lookup.changes, lookup.facts)
        cache = told.cache ^ cache_number(key)
        read = self._contents.look(cache, told.chain, told.breakpoints, lookup.facts, lookup.now, SENT, earlier).read
        return read is not None and read > lookup.head

    def mark(self, lookup: CacheLookup, points: tuple[Breakpoint, ...], key: str | None = None) -> None:
        """Look again, at the breakpoints that the request leaves with: all of them, the caller's and ours.

        `key` is set where the provider keeps apart what is sent with it.
        """
        told, earlier = lookup.sent, _earlier_links(lookup.request, lookup.changes, lookup.facts)
        cache = told.cache if key is None else told.cache ^ cache_number(key)
        lookup.cache_key = key or lookup.cache_key
        lookup.sent = self._at_cache(cache, told.chain, points, lookup.facts, lookup.now, SENT, earlier)

    def _at_cache(
        self,
        cache: int,
        chain: Chain,
        points: tuple[Breakpoint, ...],
        facts: CacheFacts,
        now: float,
        state: int,
        earlier: Sequence[int],
    ) -> RequestAtCache:
        return RequestAtCache(
            cache, chain, points, self._contents.look(cache, chain, points, facts, now, state, earlier)
        )

    async def digest(self, request: ChatRequest, changes: Changes | None) -> None:
        """Read the messages of a long request that nobody has read yet, off the event loop, so that `look` need not."""
        read = asyncio.get_running_loop().run_in_executor
        for form in (None,) if changes is None else (None, changes):
            await read(None, chain_of, request, form, self._digests)

    def note(self, lookup: CacheLookup) -> None:
        """Take in that the request was sent, and taken."""
        original = None if lookup.owner.is_gateway else lookup.original
        lookup.is_accepted, lookup.prefix = True, self._contents.note(lookup.sent, original, lookup.facts, lookup.now)
        if original is None:
            return
        told = original._replace(chain=lookup.identity)
        lookup.trail = self._trails.note(
            lookup.scope, lookup.readable_links, told, lookup.head, lookup.deployment, lookup.now, lookup.previous
        )

    async def settle(
        self,
        lookup: CacheLookup,
        usage: Usage,
        cost: Cost,
        counter: Counter,
        count_media: CountMedia,
        *,
        exact: bool = False,
    ) -> CacheSettlement:
        """Compare what the provider reports with what was expected, and the cost with that of the original.

        `exact`: whether `counter` counts as the provider does, so that no more is counted than what was read.
        """
        markers = sum(point.ours for point in lookup.sent.breakpoints)
        if lookup.is_accepted:  # else its client left while it was on its way
            self._observe(lookup, usage)
        if usage.estimated:
            return CacheSettlement(markers=markers, saved_nanousd=0 if lookup.is_billed_as_original else None)
        self._note_tokens(lookup, usage)
        upto, is_same = _known_tokens(lookup), lookup.is_billed_as_original or lookup.is_original_uncached
        if upto is not None and is_same:
            return settlement_of(lookup, usage, cost, upto, PrefixSizes.of_whole(usage.prompt), markers)
        conversation = lookup.request.conversation
        if exact and is_same:
            conversation = replace(conversation, messages=conversation.messages[: lookup.sent.match.read])
        asked = texts(conversation, counter.messages)
        await counter.learn([*asked, *map(without_markers, conversation.definitions), *inserted_texts(lookup.changes)])

        def weigh() -> tuple[PrefixSizes, PrefixSizes]:
            return prefix_sizes(
                conversation, lookup.changes, None if exact and is_same else usage, counter, count_media
            )

        if len(lookup.request.body) < LONG_BODY:
            sizes = weigh()
        else:
            sizes = await asyncio.get_running_loop().run_in_executor(None, weigh)
        if upto is None:
            upto = sizes[0].upto(lookup.sent.match.read or 0)
        original = PrefixSizes.of_whole(usage.prompt) if exact and is_same else sizes[1]
        return settlement_of(lookup, usage, cost, upto, original, markers)

    # ------------------------------------------------------------ with other processes

    def adopt_updates(self, updates: Iterable[CacheUpdate]) -> None:
        """Take in what other processes left there."""
        for update in updates:
            for record in update.records:
                self._contents.adopt(record, update.at, update.tokens)

    def take_observations(self) -> Sequence[Observation]:
        """Return what was counted since this was last asked."""
        self._habits_in_exchange, self._habits_since_exchange = self._habits_since_exchange, {}
        return self._observations.take()

    def give_back_observations(self, observations: Sequence[Observation]) -> None:
        """Take back what could not be told."""
        self._observations.give_back(observations)
        for kind, told in self._habits_in_exchange.items():
            self._habits_since_exchange[kind] = told + self._habits_since_exchange.get(kind, NOTHING_KNOWN)
        self._habits_in_exchange = {}

    def adopt_habits(self, habits: Mapping[str, Habits]) -> None:
        """Take in what all have counted together."""
        self._habits.update(habits)
        self._habits_in_exchange = {}

    # ------------------------------------------------------------ what is meant by it

    def _cache_of(self, deployment: CachingDeployment) -> int:
        """Name the cache that a deployment reads, as a number: one for each model under one credential."""
        found = self._numbers.get(deployment.name) if deployment.pattern is None else None
        if found is None:
            history = deployment.name if deployment.kind == "demo" else ""  # each an account of its own
            parts = (deployment.provider, deployment.model, deployment.api_base, deployment.api_key, history)
            found = self._numbers[deployment.name] = cache_number("\n".join([part or "" for part in parts]))
        return found

    def _note_tokens(self, lookup: CacheLookup, usage: Usage) -> None:
        """Keep the provider's own count of the prompt for the requests that begin with it."""
        tokens = max(0, usage.prompt - OVERHEAD_REPLY)
        if lookup.prefix is not None and lookup.prefix.end == lookup.sent.chain.links[-1] ^ lookup.sent.cache:
            lookup.prefix.tokens = tokens
        if lookup.trail is not None:
            lookup.trail.tokens = tokens

    def _observe(self, lookup: CacheLookup, usage: Usage) -> None:
        """Count what the request says of its group and of its kind, and what it left in the cache."""
        if lookup.trail is not None:
            self._observe_turn(lookup, lookup.trail, usage.prompt)
        tokens = 0 if usage.estimated else max(0, usage.prompt - OVERHEAD_REPLY)
        original = None if lookup.owner.is_gateway else lookup.original
        self.updates.append(CacheUpdate(lookup.now, tokens, write_records(lookup.sent, original, lookup.facts)))

    def _observe_turn(self, lookup: CacheLookup, trail: Trail, tokens: int) -> None:
        """Count a request of a conversation; one that is too short to be cached is none of its turns."""
        if tokens < lookup.facts.least:
            trail.turn -= 1
            return
        observation = self._observation(lookup, trail, tokens)
        self._observations.append(observation)
        if lookup.facts.matching == "breakpoints":
            kind = observation.kind
            self._habits_since_exchange[kind] = end_waiting(
                self._habits_since_exchange.get(kind, NOTHING_KNOWN) + observation.delta(), lookup.now
            )

    def _observation(self, lookup: CacheLookup, trail: Trail, tokens: int) -> Observation:
        """Count a request that is long enough to be cached."""
        previous, stage, group = lookup.previous, self.stage(lookup), lookup.group
        trail.stage = stage
        if previous is None or lookup.is_first_turn:
            last, sights = self.groups.note_start(group, lookup.now), self.groups.sights(group)
            seen_before = None if last is None else PreviousRequest(head_stage(sights - 1), lookup.now - last)
            return Observation(lookup.owner.kind, stage, lookup.now, None, tokens, (head_stage(sights), seen_before))
        gap = lookup.now - previous.at
        if previous.turn == 1 and gap <= max(lookup.facts.writes, default=0):
            self.groups.note_continuation(group)
        before = PreviousRequest(previous.stage, gap, min(previous.tokens, tokens))
        return Observation(lookup.owner.kind, stage, lookup.now, before, tokens)


def _opening(lookup: CacheLookup) -> int:
    """Return what stays with a conversation: its beginning, up to the first message after the system text."""
    links = lookup.identity.links
    return links[min(lookup.head + 1, len(links) - 1)]


def cache_number(said: str) -> int:
    """Give the number of what keeps one cache apart from others."""
    return int.from_bytes(blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 4


def is_uncacheable(deployment: CachingDeployment, request: ChatRequest) -> bool:
    """Whether nothing is known of a deployment's cache, or bytes prove that the request is too short for it."""
    facts = deployment.cache
    if facts.matching == "none" or fits_by_bytes(request.conversation, request.most_tokens, facts.least - 1):
        return True
    prompt = request.message_spans[-1].end - request.message_spans[0].start
    return prompt < facts.least and _is_shorter(request, len(request.message_spans), facts.least - OVERHEAD_REPLY)


def miss_without_lookup(deployment: CachingDeployment, cache_lookup: CacheLookup | None) -> str | None:
    """Name the cause where a cache that we know of was not even looked at."""
    return BELOW_MINIMUM if cache_lookup is None and deployment.cache.matching != "none" else None


def _known_tokens(lookup: CacheLookup) -> int | None:
    """Return the tokens of what should have been read, where they are known without counting: 0 for nothing."""
    read, _, tokens = lookup.sent.match
    if read is None or tokens:
        return tokens
    return 0 if lookup.changes is None and _is_shorter(lookup.request, read, lookup.facts.least) else None


def _is_shorter(request: ChatRequest, link: int, tokens: int) -> bool:
    """Whether bytes prove that tools and so many messages have fewer tokens."""
    conversation, spans = request.conversation, request.message_spans
    most = link + sum([len(text.encode()) for text in conversation.definitions])
    most += spans[link - 1].end - spans[0].start if link else 0
    return most < tokens and not any(message.media for message in conversation.messages[:link])


def settlement_of(
    lookup: CacheLookup, usage: Usage, cost: Cost, upto: int, original: PrefixSizes, markers: int
) -> CacheSettlement:
    """Say what there is to say; `upto`: tokens of what should have been read; `original`: of what came."""
    facts, paid = lookup.facts, cost(usage)
    figures = TokenReport(usage.prompt, usage.cached, readable_tokens(upto, facts))
    miss = cause_of_miss(figures, lookup.sent, lookup.identity, lookup.previous, facts, lookup.deployment, lookup.now)
    saved: int | None = 0
    if not lookup.is_billed_as_original:
        instead = cost(original_usage(usage, original, lookup.original.breakpoints, lookup.original.match, facts))
        saved = None if instead is None or paid is None else instead - paid
    return CacheSettlement(
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


def _earlier_links(request: ChatRequest, changes: Changes | None, facts: CacheFacts) -> Sequence[int]:
    """List where OpenAI looks for earlier breakpoints of its own, unless the caller has it set none."""
    span = request.spans.get("prompt_cache_options")
    if not facts.marks_itself or (span is not None and b'"explicit"' in request.body[span.start : span.end]):
        return ()
    original = request.conversation.messages
    return earlier_breakpoints(original if changes is None else changes.applied(original), leading_system(original))


def _message_settings(request: ChatRequest, facts: CacheFacts) -> int:
    """Return what else Anthropic tells message lists apart by: "What invalidates the cache", prompt-caching guide."""
    if facts.control not in ("cache_control", "cache_point"):
        return 0
    pictures = any(part.kind == "image" for message in request.conversation.messages for part in message.media)
    return members_hash(request, _OF_MESSAGES) + pictures
