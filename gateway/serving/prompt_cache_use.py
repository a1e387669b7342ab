"""The use of the provider's prompt cache by one request: the lookup, the markers, the key, and early folds.

It gathers the inputs. The decisions are in `gateway/prompt_cache` and `gateway/serving/early_folds.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from gateway.budget.allocation import Window
from gateway.budget.tokens import LONG_BODY, Counter
from gateway.config.policy import Policy
from gateway.conversation import Changes
from gateway.money.entry import BYTES_PER_TOKEN, RequestFacts
from gateway.prompt_cache.breakpoints import Breakpoint
from gateway.prompt_cache.economics import USUAL_GROWTH, outlook
from gateway.prompt_cache.lookup import CacheLookup, ConversationOwner, is_uncacheable
from gateway.prompt_cache.markers import MarkUpTo, lifetime_of, mark_up_to, markable, marks_of, place_markers
from gateway.rewriting.moved import may_move
from gateway.rewriting.volatile import Moved, moved_from
from gateway.routing.deployment import Deployment
from gateway.routing.loads import Preference
from gateway.routing.models import Model
from gateway.serving.early_folds import NO_FOLD_DECISIONS, Beginnings, ByCost, FoldDecisions, Never
from gateway.serving.services import Gateway
from gateway.wire.cache_marks import Marks
from gateway.wire.chat import ChatRequest


@dataclass(frozen=True, slots=True)
class KeepWarmTarget:
    """The cached head that a warm-up keeps. The warm-up is marked up to its end, in the same way and no further."""

    lifetime: int
    """The lifetime with which it was written, in seconds."""
    key: str | None
    """The `prompt_cache_key` that the gateway gave it."""


class CacheUse:
    """One request, and the caches of its deployments."""

    __slots__ = ("facts", "gateway", "policy", "request", "target")

    def __init__(
        self,
        gateway: Gateway,
        policy: Policy,
        request: ChatRequest,
        facts: RequestFacts,
        target: KeepWarmTarget | None = None,
    ) -> None:
        self.gateway, self.policy, self.request, self.facts, self.target = gateway, policy, request, facts, target

    async def look(self, deployment: Deployment, changes: Changes | None) -> CacheLookup | None:
        """Compare a request that is about to be sent with the believed contents of the deployment's cache."""
        caches, request = self.gateway.prompt_caches, self.request
        if is_uncacheable(deployment, request):
            return None
        if len(request.body) >= LONG_BODY:
            await caches.digest(request, changes)
        return caches.look(deployment, request, changes, self._owner(), self.gateway.now())

    def marks(self, lookup: CacheLookup) -> Marks | None:
        """Return the markers and the key for the deployment's cache, and repeat the lookup with them."""
        settings, facts = self.policy.prompt_cache, lookup.facts
        if settings.markers == "off":
            return None
        if facts.control == "key" or facts.marks_itself:
            return self._key(lookup)
        if facts.control not in ("cache_control", "cache_point"):
            return None
        extent, lifetime = self._extent(lookup)
        if extent == "nothing":
            return None
        points = self._breakpoints(lookup, lifetime, lookup.head if extent == "head" else lookup.stable_ends.stable_end)
        if points != lookup.sent.breakpoints:
            self.gateway.prompt_caches.mark(lookup, points)
        return marks_of(points, facts)

    def _extent(self, lookup: CacheLookup) -> tuple[MarkUpTo, int]:
        """Decide how far to mark, and for how many seconds."""
        if self.target is not None:
            return "head", self.target.lifetime
        settings, caches, facts = self.policy.prompt_cache, self.gateway.prompt_caches, lookup.facts
        inputs = caches.marking_inputs(lookup)
        lifetime = lifetime_of(settings.ttl, inputs.habits, facts, caches.current_lifetime(lookup), lookup.now)
        extent = mark_up_to(settings.markers, inputs, facts, lifetime)
        if extent == "nothing" and settings.warm and self.gateway.warm_ups.will_keep(lookup, lifetime):
            extent = "head"
        return extent, lifetime

    def _breakpoints(self, lookup: CacheLookup, lifetime: int, stable_end: int | None) -> tuple[Breakpoint, ...]:
        """Place markers up to a link, or to the end, beside the existing breakpoints."""
        caches, sent, facts = self.gateway.prompt_caches, lookup.sent, lookup.facts
        return place_markers(
            sent.chain,
            facts,
            sent.breakpoints,
            lookup.head,
            lookup.stable_ends.fold_end,
            caches.cached_links(lookup),
            lifetime,
            may_mark=markable(self.request, facts, lookup.changes),
            stable_end=stable_end,
        )

    def _key(self, lookup: CacheLookup) -> Marks | None:
        """Return the key of the prefix group, for a provider that keeps requests with one key together.

        A server of the operator's own that speaks a provider's API gets the key only if `prompt_caches` says so.
        Otherwise its facts have no control (routing/deployment.py).
        """
        if "prompt_cache_key" in self.request.spans:
            return None
        key = self.gateway.prompt_caches.choose_cache_key(lookup) if self.target is None else self.target.key
        points = lookup.sent.breakpoints
        if lookup.facts.marks_itself:
            # The provider marks the newest message itself. Ours stand where the next request still agrees if that
            # message is gone. A token is written once, however many markers stand behind it, so ours cost nothing
            # (developers.openai.com/api/docs/guides/prompt-caching).
            self.gateway.prompt_caches.mark(lookup, points, key)
            points = self._breakpoints(
                lookup, min(lookup.facts.writes), lookup.stable_ends.stable_end if self.target is None else lookup.head
            )
            if points != lookup.sent.breakpoints:
                self.gateway.prompt_caches.mark(lookup, points)
        return marks_of(points, lookup.facts, key)

    def _owner(self) -> ConversationOwner:
        policy, facts = self.policy, self.facts
        parts = {
            "team": facts.team,
            "model": facts.model,
            "policy": policy.name,
            "user": facts.user or "",
            "key": facts.key,
        }
        return ConversationOwner(
            conversation=(facts.team, facts.key, facts.user or "", facts.model),
            group=tuple([parts[name] for name in policy.prompt_cache.group_by]),
            kind=f"{facts.team}/{policy.name}/{facts.model}",
            is_gateway=facts.kind != "request",
        )

    # ------------------------------------------------------------ early folds

    def early_folds(self, model: Model, window: Window, counter: Counter) -> FoldDecisions:
        """Return the decisions on voluntary folds for this model; there are none if its cache is unknown."""
        if not model.deployments or model.deployments[0].cache.matching == "none":
            return NO_FOLD_DECISIONS
        return self.gateway.early_folds, lambda: self._beginnings(model, window, counter)

    def _beginnings(self, model: Model, window: Window, counter: Counter) -> Beginnings | None:
        """Return the beginnings of the conversation and their judge; None if it is too short for a cache."""
        caches, now, owner, moved = self.gateway.prompt_caches, self.gateway.now(), self._owner(), self._moved(model)
        stable_end = None if moved is None else Changes({}, system=moved.system)
        first, deployment = model.deployments[0], self._preferred(model, moved, now)
        if is_uncacheable(first, self.request):  # by the first, whichever is asked: every process has to say the same
            return None
        lookup = caches.look(deployment, self.request, stable_end, owner, now)
        has_judge = lookup is not None and bool(deployment.cache.writes)
        lookup = lookup or caches.look(first, self.request, stable_end, owner, now)
        if lookup is None:
            return None
        facts = lookup.facts
        links, head = caches.content_links(lookup), lookup.head
        parts = f"{self.policy}/{links[min(head + 1, len(links) - 1)]:x}"
        group = blake2b(parts.encode(), digest_size=16).hexdigest()
        if not has_judge or (self.policy.fold.when == "over" and not caches.has_expired(lookup)):
            return Beginnings(group, links, Never())
        growth = self._growth(lookup)
        expected = outlook(
            caches.observations.habits(owner.kind), facts, min(facts.writes), lookup.turn, growth, now, facts.least
        )

        def warm(changes: Changes | None) -> int:
            left = changes if moved is None else moved.added_to(changes)
            other = lookup if left is None else caches.look(deployment, self.request, left, owner, now)
            return 0 if other is None else caches.count_cached(other, counter, model.count_media)

        return Beginnings(group, links, ByCost(self.policy.fold.when, expected, window.budget(), warm))

    def _growth(self, lookup: CacheLookup) -> float:
        """Estimate the tokens that each request adds, by the messages since the conversation began."""
        spans, opening = self.request.message_spans, lookup.head + 1
        if lookup.turn < 2 or opening >= len(spans):
            return USUAL_GROWTH
        return (spans[-1].end - spans[opening].start) / BYTES_PER_TOKEN / (lookup.turn - 1)

    def _preferred(self, model: Model, moved: Moved | None, now: float) -> Deployment:
        """Return the deployment that the conversation goes to first."""
        if len(model.deployments) < 2:
            return model.deployments[0]
        gateway, conversation = self.gateway, self.request.conversation if moved is None else moved.conversation
        prefer = Preference(gateway.loads, conversation, gateway.health.resting(gateway.monotonic()), now)
        return prefer(model.deployments)[0]

    def _moved(self, model: Model) -> Moved | None:
        policy, patterns = self.policy, self.policy.prompt_cache.volatile
        if not patterns or policy.mode != "enforce" or not may_move(model.legal):
            return None
        return moved_from(self.request, patterns, self.gateway.known.volatile)
