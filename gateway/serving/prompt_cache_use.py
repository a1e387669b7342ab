"""What one request does with its provider's prompt cache: what is expected of it, the markers and the key that it is
sent with, and whether it is folded while that is cheap. The deciding is done in `gateway/prompt_cache` and
`gateway/serving/early_folds.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from gateway.budget.allocation import Window
from gateway.budget.tokens import LONG_BODY, Counter
from gateway.config.policy import Policy
from gateway.conversation import Changes
from gateway.money.entry import BYTES_PER_TOKEN, Entry
from gateway.prompt_cache.economics import USUAL_GROWTH, outlook
from gateway.prompt_cache.markers import Breakpoint, markable, marks_of, place
from gateway.prompt_cache.marking import Reach, lifetime_of, reach
from gateway.prompt_cache.tracker import Sighting, Whose, is_unseen
from gateway.rewriting.moved import may_move
from gateway.rewriting.volatile import Moved, moved_from
from gateway.routing.deployment import Deployment
from gateway.routing.loads import Preference
from gateway.routing.models import Model
from gateway.serving.early_folds import Beginnings, ByCost, EarlyFolds, Never
from gateway.serving.services import Gateway
from gateway.wire.cache_marks import Marks
from gateway.wire.chat import ChatRequest


@dataclass(frozen=True, slots=True)
class Held:
    """How the head of an earlier request is held in its cache. What is sent to keep it there is marked up to its end,
    in the same way and no further.
    """

    lifetime: int
    """For how many seconds it was written."""
    key: str | None
    """The `prompt_cache_key` that it got from us."""


class CacheUse:
    """One request, and the caches that its deployments have."""

    __slots__ = ("entry", "gateway", "held", "policy", "request")

    def __init__(
        self, gateway: Gateway, policy: Policy, request: ChatRequest, entry: Entry, held: Held | None = None
    ) -> None:
        self.gateway, self.policy, self.request, self.entry, self.held = gateway, policy, request, entry, held

    async def look(self, deployment: Deployment, changes: Changes | None) -> Sighting | None:
        """Compare what is about to be sent with what the deployment's prompt cache is believed to hold."""
        caches, request = self.gateway.prompt_caches, self.request
        if is_unseen(deployment, request):
            return None
        if len(request.body) >= LONG_BODY:
            await caches.digest(request, changes)
        return caches.look(deployment, request, changes, self._whose(), self.gateway.now())

    def marks(self, one: Sighting) -> Marks | None:
        """Decide what is said to the deployment's prompt cache, and expect of it accordingly."""
        asked, facts = self.policy.prompt_cache, one.facts
        if asked.markers == "off":
            return None
        if facts.control == "key" or facts.marks_itself:
            return self._key(one)
        if facts.control not in ("cache_control", "cache_point"):
            return None
        reached, lifetime = self._reach(one)
        if reached == "nothing":
            return None
        points = self._placed(one, lifetime, one.head if reached == "head" else one.ends.steady)
        if points != one.sent.points:
            self.gateway.prompt_caches.mark(one, points)
        return marks_of(points, facts)

    def _reach(self, one: Sighting) -> tuple[Reach, int]:
        """Decide how far to mark, and for how many seconds."""
        if self.held is not None:
            return "head", self.held.lifetime
        asked, caches, facts = self.policy.prompt_cache, self.gateway.prompt_caches, one.facts
        standing = caches.standing(one)
        lifetime = lifetime_of(asked.ttl, standing.habits, facts, caches.alive(one), one.now)
        reached, warm_ups = reach(asked.markers, standing, facts, lifetime), self.gateway.warm_ups
        if reached == "nothing" and asked.warm and warm_ups is not None and warm_ups.keeps(one, lifetime):
            reached = "head"
        return reached, lifetime

    def _placed(self, one: Sighting, lifetime: int, steady: int | None) -> tuple[Breakpoint, ...]:
        """Place markers up to a link, or to the end, beside those that stand there."""
        known, may = self.gateway.prompt_caches.known(one), markable(self.request, one.facts, one.changes)
        chain, points, frozen = one.sent.chain, one.sent.points, one.ends.frozen
        return place(chain, one.facts, points, one.head, frozen, known, lifetime, may=may, steady=steady)

    def _key(self, one: Sighting) -> Marks | None:
        """Name the prefix group to a provider that keeps together what is sent under one name.

        A server of somebody's own that speaks like a provider is asked for it where `prompt_caches` says so: otherwise
        its facts have no control (routing/deployment.py).
        """
        if "prompt_cache_key" in self.request.spans:
            return None
        key = self.gateway.prompt_caches.key(one) if self.held is None else self.held.key
        points = one.sent.points
        if one.facts.marks_itself:
            # The provider marks the newest message itself; marked beside it is what the next request has though that be
            # gone. A token is written once, however many markers stand behind it, so these cost nothing
            # (developers.openai.com/api/docs/guides/prompt-caching).
            self.gateway.prompt_caches.mark(one, points, key)
            points = self._placed(one, min(one.facts.writes), one.ends.steady if self.held is None else one.head)
            if points != one.sent.points:
                self.gateway.prompt_caches.mark(one, points)
        return marks_of(points, one.facts, key)

    def _whose(self) -> Whose:
        policy, entry = self.policy, self.entry
        named = {
            "team": entry.team,
            "model": entry.model,
            "policy": policy.name,
            "user": entry.user or "",
            "key": entry.key,
        }
        return Whose(
            conversation=(entry.team, entry.key, entry.user or "", entry.model),
            group=tuple([named[name] for name in policy.prompt_cache.group_by]),
            kind=f"{entry.team}/{policy.name}/{entry.model}",
            ours=entry.kind != "request",
        )

    # ------------------------------------------------------------ early folds

    def early_folds(
        self, model: Model, window: Window, counter: Counter
    ) -> tuple[EarlyFolds, Callable[[], Beginnings | None]] | None:
        """Return how folds that nothing forces are decided for this model; None where its cache is not known."""
        folds = self.gateway.early_folds
        if folds is None or not model.deployments or model.deployments[0].cache.matching == "none":
            return None
        return folds, lambda: self._beginnings(model, window, counter)

    def _beginnings(self, model: Model, window: Window, counter: Counter) -> Beginnings | None:
        """Name the conversation by its beginnings, and who judges for it; None where it is too short for a cache."""
        caches, now, whose, moved = self.gateway.prompt_caches, self.gateway.now(), self._whose(), self._moved(model)
        steady = None if moved is None else Changes({}, system=moved.system)
        first, deployment = model.deployments[0], self._preferred(model, moved, now)
        if is_unseen(first, self.request):  # by the first, whichever is asked: every process has to say the same
            return None
        one = caches.look(deployment, self.request, steady, whose, now)
        judges = one is not None and bool(deployment.cache.writes)
        one = one or caches.look(first, self.request, steady, whose, now)
        if one is None:
            return None
        facts = one.facts
        links, head = caches.beginnings(one), one.head
        named = f"{self.policy}/{links[min(head + 1, len(links) - 1)]:x}"
        group = blake2b(named.encode(), digest_size=16).hexdigest()
        if not judges or (self.policy.fold.when == "over" and not caches.has_expired(one)):
            return Beginnings(group, links, Never())
        growth = self._growth(one)
        expected = outlook(caches.habits(whose.kind), facts, min(facts.writes), one.turn, growth, now, facts.least)

        def warm(changes: Changes | None) -> int:
            left = changes if moved is None else moved.added_to(changes)
            seen = one if left is None else caches.look(deployment, self.request, left, whose, now)
            return 0 if seen is None else caches.warm(seen, counter, model.count_media)

        return Beginnings(group, links, ByCost(self.policy.fold.when, expected, window.budget(), warm))

    def _growth(self, one: Sighting) -> float:
        """Estimate the tokens that each request adds, by what was said since the conversation began."""
        spans, opening = self.request.message_spans, one.head + 1
        if one.turn < 2 or opening >= len(spans):
            return USUAL_GROWTH
        return (spans[-1].end - spans[opening].start) / BYTES_PER_TOKEN / (one.turn - 1)

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
