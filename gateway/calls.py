"""The calls that one request makes: fitted for each model, tried on each deployment, planned again where too long.

What they came to is told as an outcome, and as facts in the request's entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial

from gateway.admission import Admitted
from gateway.budget.tokens import Counter
from gateway.cache_use import CacheUse, Held
from gateway.conversation import Changes
from gateway.fitting import (
    LONG_BODY,
    Fitted,
    Model,
    byte_edits,
    byte_sizes,
    fit,
    guesses,
    prompt_tokens,
    rooms_of,
    selection,
    writer_of,
)
from gateway.gateway import Gateway
from gateway.money.entry import Entry, runs
from gateway.prompt_caches import Sighting
from gateway.rewriting.plan import Edit, Plan, Refusal
from gateway.rewriting.retention import Retention, retention
from gateway.rewriting.summarize import Segment
from gateway.routing.attempts import Answer, Failure, Outcome, attempts, drive
from gateway.routing.deployment import Deployment
from gateway.routing.loads import Preference
from gateway.routing.too_long import TooLong, too_long
from gateway.routing.upstream import Reply, UpstreamError
from gateway.summaries import Job
from gateway.wire import completion
from gateway.wire.cache_marks import Marks
from gateway.wire.chat import Additions, ChatRequest, sent
from gateway.wire.completion import Completion
from gateway.wire.sse import EventRelay

_SAID = 200
"""Characters of an upstream's own words that are logged."""


def _refuses(outcome: Outcome, member: bytes) -> bool:
    """Whether an upstream refused a request and named this member of its body."""
    return isinstance(outcome, Failure) and outcome.status in {400, 422, 501} and member in outcome.body


def _told(edit: Edit) -> tuple[int, str | None, str, int, int]:
    """Give what the entry holds of an edit."""
    return edit.at, edit.tool, edit.remedy, edit.before, edit.after


@dataclass(slots=True)
class Stream:
    """A stream whose first bytes are here."""

    first: bytes
    chunks: AsyncIterator[bytes]
    relay: EventRelay
    content_type: str


class Calls:
    """The calls of one request."""

    __slots__ = (
        "admitted",
        "answer",
        "busy",
        "cache_use",
        "deployment",
        "entry",
        "fitted",
        "gateway",
        "reply",
        "request",
        "sighting",
        "too_long_at",
    )

    def __init__(
        self, gateway: Gateway, admitted: Admitted, request: ChatRequest, entry: Entry, held: Held | None = None
    ) -> None:
        """Take a request; `held` is set where it is sent for nothing but to keep a prefix in its cache."""
        self.gateway, self.admitted, self.request, self.entry = gateway, admitted, request, entry
        self.cache_use = CacheUse(gateway, admitted.policy, request, entry, held)
        self.fitted: dict[str, Fitted] = {}
        """By model name: fallbacks have windows of their own."""
        self.deployment: Deployment | None = None
        """The one that was called last."""
        self.busy: Deployment | None = None
        """The one that is at work for this request, where its load counts: until all of its answer is here."""
        self.reply: Reply | None = None
        """What may still have to be closed."""
        self.answer: Completion | Stream | None = None
        """As far as it is here: all of it, or a stream's beginning."""
        self.sighting: Sighting | None = None
        """What the prompt cache of the deployment that answers was believed to hold, where anything is known of it."""
        self.too_long_at: Fitted | None = None
        """Set where an upstream found the prompt too long even after a second plan."""

    @property
    def enforces(self) -> bool:
        return self.admitted.policy.mode == "enforce"

    def changes(self, fitted: Fitted) -> Changes | None:
        """Return what is really done to the request."""
        return fitted.changes if self.enforces else None

    def counter(self, model: Model) -> Counter:
        return self.gateway.counters.for_encoding(model.encoding)

    async def fit(self, model: Model) -> Fitted:
        """Plan the request for a model, and tell the books."""
        calibration, limit = self.gateway.calibrations.of(model), self.request.answer_limit
        window = model.bounds(self.admitted.policy, calibration, limit)
        policy, gateway, counter = self.admitted.policy, self.gateway, self.counter(model)
        known, summaries, threads = gateway.known, gateway.summaries, gateway.planning
        chosen = await selection(self.request, policy, model, counter, window, gateway.memo)
        request = self.request if chosen is None else chosen.request
        if self.enforces:
            self.request = self.cache_use.request = request
        early = self.cache_use.early_folds(model, window, counter)
        job = partial(self._job, model)
        fitted = await fit(
            request, policy, model, counter, window, known, summaries, early_folds=early, threads=threads, job=job
        )
        if chosen is not None:
            fitted = replace(fitted, plan=chosen.noted_in(fitted.plan))
        self._note(fitted)
        return fitted

    def summarise(self, fitted: Fitted) -> None:
        """Have written, in the background, what this request found to be without a summary."""
        summaries, plan = self.gateway.summaries, fitted.plan
        if summaries is None or not self.enforces or not isinstance(plan, Plan) or not plan.wanted:
            return
        for segment in plan.wanted:
            summaries.ask(self._job(fitted.model, segment))

    def _job(self, model: Model, segment: Segment) -> Job:
        """Make the job of summarising messages of this request, booked to whoever sent it."""
        policy, entry, request = self.admitted.policy, self.entry, self.request
        messages = tuple(request.conversation.messages[index] for index in segment.messages)
        purse = (entry.key, entry.team, entry.user, entry.tags)
        return Job(segment, messages, writer_of(policy, request), policy, self.counter(model), *purse)

    async def make(self) -> Outcome:
        """Call deployments until one answers or none is left."""
        gateway, model = self.gateway, self.admitted.model
        named = gateway.config.fallbacks
        fallbacks = [gateway.models[name] for name in named.get(model.name) or named.get(model.declared_as, ())]
        resting = gateway.health.resting(gateway.monotonic())
        groups = [tier for one in (model, *fallbacks) for tier in one.tiers(resting)]
        if all(len(group) < 2 for group in groups):
            return await drive(attempts(groups, gateway.draw, resting), self.call)
        fitted = self.fitted.get(model.name)
        conversation = self.request.conversation if fitted is None else fitted.steady(self.request)
        prefer = Preference(gateway.loads, conversation, resting, gateway.now())
        outcome = await drive(attempts(groups, gateway.draw, resting, prefer), self.call)
        if isinstance(outcome, Answer):
            prefer.answered(outcome.deployment, gateway.now())
        return outcome

    async def close(self) -> None:
        self._leave()
        if self.reply is not None:
            await self.reply.close()

    def note_system_text(self) -> None:
        """See how the system text differs from the one before it, once the request is over."""
        if self.deployment is not None:
            conversation, entry = self.fitted[self.deployment.model_name].steady(self.request), self.entry
            self.gateway.system_texts.note(conversation, entry.team or "", self.admitted.policy.label, entry.model)

    def _occupy(self, deployment: Deployment) -> None:
        """Count the call as load of a deployment that has others beside it, in place of the one before."""
        self._leave()
        if len(self.gateway.models[deployment.model_name].deployments) > 1:
            self.gateway.loads.begin(deployment.name, self.gateway.now())
            self.busy = deployment

    def _leave(self) -> None:
        if self.busy is not None:
            self.gateway.loads.end(self.busy.name)
            self.busy = None

    def _note(self, fitted: Fitted) -> None:
        """Keep the plan for the calls, and tell the books of it."""
        self.fitted[fitted.model.name] = fitted
        entry, plan = self.entry, fitted.plan
        entry.calibration = fitted.window.calibration.version
        entry.decision_lost = fitted.decision_lost
        entry.guessed_media = 0 if fitted.plan is None else guesses(self.request.conversation.messages)
        policy = self.admitted.policy
        entry.budget = None if policy.mode == "off" else fitted.window.budget(self.request.answer_limit or 0)
        if plan is None:
            entry.room = {} if entry.budget is None else rooms_of(policy, entry.budget, {})
            entry.counted, entry.before = "bytes", byte_sizes(self.request)
            entry.edits = runs([_told(edit) for edit in byte_edits(self.request, fitted)])
            entry.plan = "unchanged" if self.enforces or not entry.edits else "observed"
            return
        entry.counted, entry.before, entry.after = "tokens", plan.before, plan.before
        if isinstance(plan, Refusal):
            entry.plan = "refused" if self.enforces else "observed"
            entry.refusal = {"component": plan.component, "tokens": plan.tokens, "room": plan.room, "at": plan.at}
            if plan.ours:
                self.gateway.log.error("illegal rewrite", id=entry.id, policy=entry.policy)
            return
        entry.refusal, granted = None, plan.room if plan.rewrites else {}
        entry.room = {} if entry.budget is None else rooms_of(policy, entry.budget, plan.before, granted)
        if self.enforces:
            entry.plan = "rewritten" if plan.rewrites else "unchanged"
        else:
            entry.plan = "observed" if plan.edits else "unchanged"
        if self.enforces:
            entry.after = plan.after
        entry.planned_tokens = plan.tokens_after
        entry.edits = runs([_told(edit) for edit in plan.edits])
        entry.forced, entry.level = plan.forced, plan.level

    async def heed(self, heard: Completion | EventRelay, deployment: Deployment) -> None:
        """Tell the books what the rewrite took away, and what of it the answer used all the same.

        Under `observe` the plan is what would have been sent. Nothing is done where nothing was rewritten.
        """
        plan = self.fitted[deployment.model_name].plan
        if not isinstance(plan, Plan) or plan.changes is None or not plan.rewrites:
            return
        changes, known = plan.changes, self.gateway.known.values

        def found() -> Retention:
            said = heard.said()
            return retention(self.request.conversation, changes, said.texts, said.arguments, known)

        if max(len(self.request.body), heard.heard_bytes) < LONG_BODY:
            kept = found()
        else:
            kept = await asyncio.get_running_loop().run_in_executor(self.gateway.planning, found)
        self.entry.heed(kept.removed, kept.missed)

    # ------------------------------------------------------------ one deployment

    async def call(self, deployment: Deployment) -> Outcome:
        """Try one deployment, and once more with another plan where it finds the prompt too long."""
        model = self.gateway.models[deployment.model_name]
        fitted = self.fitted.get(model.name) or await self.fit(model)
        if isinstance(fitted.plan, Refusal) and self.enforces:
            return Failure(deployment, "unfit", message=f"{fitted.plan.component} does not fit {model.name}")
        outcome = await self._try(deployment, fitted)
        if isinstance(outcome, Failure) and outcome.status is not None and self.enforces:
            found = too_long(outcome.status, outcome.body)
            if found is not None:
                return await self._call_with_less(deployment, fitted, found, outcome)
        return outcome

    async def _call_with_less(self, deployment: Deployment, fitted: Fitted, found: TooLong, first: Failure) -> Outcome:
        """Plan once more with the room that the upstream leaves, and send that once."""
        model, counter = fitted.model, self.counter(fitted.model)
        ours = fitted.prompt_tokens or await prompt_tokens(
            self.request, model, counter.weighed(fitted.window.calibration.weights)
        )
        window = fitted.window.seen_smaller(ours, found.tokens, found.limit)
        policy, known, threads = self.admitted.policy, self.gateway.known, self.gateway.planning
        again = await fit(self.request, policy, model, counter, window, known, threads=threads)
        changes = self.changes(again)
        if changes is None or changes == self.changes(fitted):
            self.too_long_at = again
            return first
        self._note(again)
        outcome = await self._try(deployment, again)
        if isinstance(outcome, Failure) and outcome.status is not None and too_long(outcome.status, outcome.body):
            self.too_long_at = again
        return outcome

    async def _try(self, deployment: Deployment, fitted: Fitted) -> Outcome:
        gateway, entry, started = self.gateway, self.entry, self.gateway.monotonic()
        self.deployment, self.answer = deployment, None
        self._occupy(deployment)
        entry.deployment = f"{deployment.provider}/{deployment.model}"
        changes = self.changes(fitted)
        sighting = self.sighting = await self.cache_use.look(deployment, changes)
        marks = None if sighting is None or not self.enforces else self.cache_use.marks(sighting)
        asks = deployment.asks_usage and deployment.name not in gateway.without_usage
        outcome = await self._sent(deployment, changes, marks, asks=asks)
        if asks and self.request.stream and _refuses(outcome, b"stream_options"):
            outcome = await self._sent(deployment, changes, marks, asks=False)
            if not isinstance(outcome, Failure):
                gateway.without_usage.add(deployment.name)
                gateway.log.info("usage is not asked for any more", deployment=deployment.name)
        if isinstance(outcome, Failure) and outcome.kind == "unfit":
            self.deployment = None  # it was not asked
            return outcome
        if not isinstance(outcome, Failure):
            self.reply = outcome.reply
            try:
                outcome = await self._begun(deployment, outcome.reply) or outcome
            finally:  # a client that leaves now has had its prompt read
                if sighting is not None and (not isinstance(outcome, Failure) or outcome.begun):
                    self._note_sent(sighting, deployment, marks)
        now = gateway.monotonic()
        gateway.health.learn(outcome, now)
        failure = outcome if isinstance(outcome, Failure) else None
        entry.tried(
            deployment.name,
            200 if failure is None else failure.status,
            None if failure is None else failure.kind,
            now - started,
        )
        if failure is None:
            entry.first_byte = now
        elif failure.may_fall_back or failure.begun or failure.status in {401, 403}:
            gateway.log.warning(
                "upstream failed",
                id=entry.id,
                deployment=deployment.name,
                kind=failure.kind,
                status=failure.status,
                said=failure.message or failure.body[:_SAID].decode(errors="replace"),
            )
        return outcome

    async def _sent(
        self, deployment: Deployment, changes: Changes | None, marks: Marks | None, *, asks: bool
    ) -> Outcome:
        """Send the request as this deployment is to have it."""
        additions = Additions(deployment.defaults, deployment.left_out, asks, deployment.takes)
        body = sent(self.request, deployment.model, changes, marks, additions)
        gateway, stream, request_id = self.gateway, self.request.stream, self.entry.id
        return await gateway.upstreams.call(deployment, body, stream=stream, request_id=request_id, now=gateway.now())

    def _note_sent(self, one: Sighting, deployment: Deployment, marks: Marks | None) -> None:
        """Tell what is believed of its cache, and whoever keeps prefixes warm, that a request was taken."""
        self.gateway.prompt_caches.note(one)
        if self.admitted.policy.prompt_cache.warm and self.gateway.warm_ups is not None and self.enforces:
            key = None if marks is None else marks.key
            self.gateway.warm_ups.noted(one, deployment, self.admitted.policy, self.entry, key)

    async def _begun(self, deployment: Deployment, reply: Reply) -> Failure | None:
        """Take in the beginning of an answer; None where it is one. A stream without a first byte has not begun."""
        content_type = reply.headers.get("content-type", "")
        streams = content_type.startswith("text/event-stream")
        try:
            if streams:
                chunks = reply.chunks()
                if first := await anext(chunks, b""):
                    relay = EventRelay(hold_back_usage=not self.request.asks_usage)
                    self.answer = Stream(first, chunks, relay, content_type)
            else:
                self.answer = completion.read(await reply.read())
        except UpstreamError as error:
            return Failure(deployment, error.kind, message=error.message, begun=not streams)
        if self.answer is None:
            await reply.close()
            return Failure(deployment, "garbage", message="the answer is no chat completion", begun=not streams)
        return None
