"""The prompt caches of all providers, as one process tracks them: a lookup before each call, a note after it.

Nothing here delays a request. `settlement.py` compares the expectation with the usage that the provider reports.
`sharing.py` exchanges the news with other processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from gateway.budget.components import OVERHEAD_REPLY, CountMedia, texts
from gateway.budget.tokens import Counter
from gateway.conversation import Changes, leading_system
from gateway.memory import USUAL, MemoryPlan
from gateway.money.row import CacheSettlement
from gateway.prompt_cache.breakpoints import Breakpoint, callers, earlier_links
from gateway.prompt_cache.cache_identity import CacheNumbers, cache_number, message_settings, separated_by
from gateway.prompt_cache.cache_keys import CacheKeys, possible_keys
from gateway.prompt_cache.contents import ORIGINAL, SENT, CacheContents, CacheUpdate, RequestAtCache, write_records
from gateway.prompt_cache.groups import PrefixGroups
from gateway.prompt_cache.lookup import CacheLookup, ConversationOwner, is_uncacheable, opening_link
from gateway.prompt_cache.markers import MarkingInputs
from gateway.prompt_cache.misses import readable_tokens
from gateway.prompt_cache.observations import Observation, Observations
from gateway.prompt_cache.prefixes import Chain, Digests, chain_of, prefix_group, without_markers
from gateway.prompt_cache.rules import CacheFacts, CachingDeployment
from gateway.prompt_cache.settlement import Cost, settle
from gateway.prompt_cache.sizes import cumulative_sizes, inserted_texts, prefix_sizes
from gateway.prompt_cache.trails import Trail, Trails
from gateway.prompt_cache.usage_patterns import PreviousRequest, Stage, head_stage, turn_stage
from gateway.state.shared import Untold
from gateway.wire.chat import ChatRequest
from gateway.wire.usage import Usage

MOST_UPDATES: Final = 2000
"""The most cache updates that wait for the exchange with other processes. The oldest are dropped first."""


class PromptCaches:
    """The tracker of one process."""

    def __init__(self, memory: MemoryPlan = USUAL) -> None:
        self._digests = Digests(memory.bytes_for("prefix digests"))
        self._contents = CacheContents(memory.bytes_for("cached prefixes"))
        self._trails = Trails(memory.bytes_for("conversations"))
        self._keys = CacheKeys()
        self._numbers = CacheNumbers()
        self.groups = PrefixGroups(memory.bytes_for("prefix groups"))
        self.observations = Observations()
        self.updates: Untold[CacheUpdate] = Untold(MOST_UPDATES)
        """Updates of cache contents, for other processes."""

    # ------------------------------------------------------------ before a request is sent

    def look(
        self,
        deployment: CachingDeployment,
        request: ChatRequest,
        changes: Changes | None,
        owner: ConversationOwner,
        now: float,
    ) -> CacheLookup | None:
        """Compare a request that is about to be sent with the believed contents of the deployment's cache.

        Return None if the rules of this cache are unknown, or if the bytes prove that the prompt is too short for it.
        """
        facts = deployment.cache
        if is_uncacheable(deployment, request):
            return None
        settings, digests = message_settings(request, facts), self._digests
        account = self._numbers.of(deployment)
        cache = account ^ separated_by(request, facts)
        chain = chain_of(request, None, digests, settings)
        points = callers(request, facts)
        earlier = earlier_links(request, None, facts)
        original = self._at_cache(cache, chain, points, facts, now, ORIGINAL, earlier)
        if changes is None:
            sent = self._at_cache(cache, chain, points, facts, now, SENT, earlier)
        else:
            rewritten, points = chain_of(request, changes, digests, settings), callers(request, facts, changes)
            sent = self._at_cache(cache, rewritten, points, facts, now, SENT, earlier_links(request, changes, facts))
        head, scope = leading_system(request.conversation.messages), hash(owner.conversation)
        previous = None if owner.is_gateway else self._trails.find_previous(scope, chain, head)
        identity = chain
        if changes is not None and changes.system:
            identity = chain_of(request, Changes({}, system=changes.system), digests, settings)
        group = prefix_group(identity, head, owner.group)
        return CacheLookup(
            request, changes, facts, account, scope, head, now, sent, original, identity, previous, owner, group
        )

    def mark(self, lookup: CacheLookup, points: tuple[Breakpoint, ...], key: str | None = None) -> None:
        """Repeat the lookup with all breakpoints of the request, the caller's and ours.

        `key` is the `prompt_cache_key`, for a provider that keeps requests apart by it.
        """
        sent, earlier = lookup.sent, earlier_links(lookup.request, lookup.changes, lookup.facts)
        cache = sent.cache if key is None else sent.cache ^ cache_number(key)
        lookup.cache_key = key or lookup.cache_key
        lookup.sent = self._at_cache(cache, sent.chain, points, lookup.facts, lookup.now, SENT, earlier)

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
        """Hash the messages of a long request off the event loop, so that `look` does not have to."""
        read = asyncio.get_running_loop().run_in_executor
        for form in (None,) if changes is None else (None, changes):
            await read(None, chain_of, request, form, self._digests)

    def cached_links(self, lookup: CacheLookup) -> Iterator[int]:
        """Yield the links of the request that are in the cache, the deepest first.

        Some providers keep requests apart by `prompt_cache_key`. Before the key is chosen, the links are those under
        the key of ours that holds the most.
        """
        cache, chain, now = lookup.sent.cache, lookup.sent.chain, lookup.now
        if not lookup.facts.marks_itself or lookup.cache_key is not None or "prompt_cache_key" in lookup.request.spans:
            return self._contents.cached_links(cache, chain, now)
        caches = [cache, *(cache ^ cache_number(key) for key in possible_keys(lookup.group, opening_link(lookup)))]
        return iter(max([list(self._contents.cached_links(each, chain, now)) for each in caches]))

    def choose_cache_key(self, lookup: CacheLookup) -> str:
        """Choose the `prompt_cache_key` of a request: that of its group, or one of several for a busy group.

        Some providers keep requests apart by this key. There a conversation keeps the key under which it is read,
        whatever the rate of its group is now.
        """
        opening = opening_link(lookup)
        wanted = self._keys.choose(lookup.group, opening, lookup.now)
        if lookup.previous is None or not lookup.facts.marks_itself or self._is_read_under(lookup, wanted):
            return wanted
        keys = possible_keys(lookup.group, opening)
        return next((key for key in keys if self._is_read_under(lookup, key)), wanted)

    def _is_read_under(self, lookup: CacheLookup, key: str) -> bool:
        """Check whether the cache of a key holds more of the conversation than its system text."""
        sent, earlier = lookup.sent, earlier_links(lookup.request, lookup.changes, lookup.facts)
        cache = sent.cache ^ cache_number(key)
        read = self._contents.look(cache, sent.chain, sent.breakpoints, lookup.facts, lookup.now, SENT, earlier).read
        return read is not None and read > lookup.head

    # ------------------------------------------------------------ what a lookup says

    def stage(self, lookup: CacheLookup) -> Stage:
        """Return the stage of the conversation, as habits count it."""
        return turn_stage(lookup.turn, is_new=lookup.is_first_turn and not self.groups.sights(lookup.group))

    def marking_inputs(self, lookup: CacheLookup) -> MarkingInputs:
        """Return the inputs of the decision on markers."""
        sights = self.groups.sights(lookup.group) + lookup.is_first_turn
        return MarkingInputs(
            self.observations.habits(lookup.owner.kind), self.groups.history(lookup.group), self.stage(lookup), sights
        )

    def current_lifetime(self, lookup: CacheLookup) -> int | None:
        """Return the lifetime in seconds of the conversation's cached prefix; None if nothing of it is cached.

        The system text alone does not count: other conversations share it.
        """
        link = next(self.cached_links(lookup), 0)
        return self._contents.lifetime(lookup.sent.cache, lookup.sent.chain, link) if link > lookup.head else None

    def has_expired(self, lookup: CacheLookup) -> bool:
        """Check whether this deployment got the conversation's last request longer ago than its cache keeps one."""
        previous = lookup.previous
        if previous is None or previous.deployment != lookup.deployment:
            return False
        return lookup.now - previous.at >= max(lookup.facts.writes, default=0)

    def content_links(self, lookup: CacheLookup) -> tuple[int, ...]:
        """Return the links by the content of the messages alone, without the settings that a provider also compares.

        The settings (a tool choice, the presence of a picture) may change from request to request of one conversation.
        """
        if not message_settings(lookup.request, lookup.facts):
            return lookup.identity.links
        moved = None if lookup.changes is None else Changes({}, system=lookup.changes.system)
        return chain_of(lookup.request, moved, self._digests).links

    def count_cached(self, lookup: CacheLookup, counter: Counter, count_media: CountMedia) -> int:
        """Count the tokens of the cached prefix of a request, wherever its markers stand."""
        link = next(self.cached_links(lookup), 0)
        if not link:
            return 0
        conversation = lookup.request.conversation
        messages = conversation.messages if lookup.changes is None else lookup.changes.applied(conversation.messages)
        tools = sum([counter.count(text) for text in map(without_markers, conversation.definitions)])
        return readable_tokens(cumulative_sizes(tools, messages[:link], counter, count_media)[-1], lookup.facts)

    async def head_tokens(self, lookup: CacheLookup, counter: Counter, count_media: CountMedia) -> int:
        """Count the tokens of the tools and the leading system text, as they would be sent."""
        conversation = lookup.request.conversation
        head = replace(conversation, messages=conversation.messages[: lookup.head])
        asked = texts(head, counter.messages)
        await counter.learn([*asked, *map(without_markers, head.definitions), *inserted_texts(lookup.changes)])
        sent, _ = prefix_sizes(head, lookup.changes, None, counter, count_media)
        return sent.up_to(lookup.head)

    def expiry(self, cache: int, link: int) -> tuple[float, int] | None:
        """Return the time at which a prefix expires and its lifetime in seconds; None if it was never cached."""
        return self._contents.expiry(cache, link)

    # ------------------------------------------------------------ after it was sent, and answered

    def note(self, lookup: CacheLookup) -> None:
        """Note that the request was sent and that the deployment accepted it."""
        original = None if lookup.owner.is_gateway else lookup.original
        lookup.is_accepted, lookup.prefix = True, self._contents.note(lookup.sent, original, lookup.facts, lookup.now)
        if original is None:
            return
        identified = original._replace(chain=lookup.identity)
        lookup.trail = self._trails.note(
            lookup.scope, lookup.readable_links, identified, lookup.head, lookup.deployment, lookup.now, lookup.previous
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
        """Observe an answered request and settle it (`settlement.settle`)."""
        if lookup.is_accepted:  # else its client left while it was on its way
            self._observe(lookup, usage)
        if not usage.estimated:
            _set_tokens(lookup, usage)
        return await settle(lookup, usage, cost, counter, count_media, exact=exact)

    def adopt_updates(self, updates: Iterable[CacheUpdate]) -> None:
        """Add the cache contents that other processes wrote."""
        for update in updates:
            for record in update.records:
                self._contents.adopt(record, update.at, update.tokens)

    def _observe(self, lookup: CacheLookup, usage: Usage) -> None:
        """Observe the request for its group and its kind, and queue the update of its cache."""
        if lookup.trail is not None:
            self._observe_turn(lookup, lookup.trail, usage.prompt)
        tokens = 0 if usage.estimated else max(0, usage.prompt - OVERHEAD_REPLY)
        original = None if lookup.owner.is_gateway else lookup.original
        self.updates.append(CacheUpdate(lookup.now, tokens, write_records(lookup.sent, original, lookup.facts)))

    def _observe_turn(self, lookup: CacheLookup, trail: Trail, tokens: int) -> None:
        """Observe a request of a conversation. A request too short for the cache is no turn."""
        if tokens < lookup.facts.least:
            trail.turn -= 1
            return
        observation = self._observation(lookup, trail, tokens)
        self.observations.add(observation, decides=lookup.facts.matching == "breakpoints")

    def _observation(self, lookup: CacheLookup, trail: Trail, tokens: int) -> Observation:
        """Observe a request that is long enough for the cache."""
        previous, stage, group = lookup.previous, self.stage(lookup), lookup.group
        trail.stage = stage
        if previous is None or lookup.is_first_turn:
            last, sights = self.groups.note_start(group, lookup.now), self.groups.sights(group)
            before = None if last is None else PreviousRequest(head_stage(sights - 1), lookup.now - last)
            return Observation(lookup.owner.kind, stage, lookup.now, None, tokens, (head_stage(sights), before))
        gap = lookup.now - previous.at
        if previous.turn == 1 and gap <= max(lookup.facts.writes, default=0):
            self.groups.note_continuation(group)
        before = PreviousRequest(previous.stage, gap, min(previous.tokens, tokens))
        return Observation(lookup.owner.kind, stage, lookup.now, before, tokens)


def _set_tokens(lookup: CacheLookup, usage: Usage) -> None:
    """Set the provider's count of the prompt on the entries that later requests will match."""
    tokens = max(0, usage.prompt - OVERHEAD_REPLY)
    if lookup.prefix is not None and lookup.prefix.end == lookup.sent.chain.links[-1] ^ lookup.sent.cache:
        lookup.prefix.tokens = tokens
    if lookup.trail is not None:
        lookup.trail.tokens = tokens
