"""The calls that one request makes: fitted for each model, tried on each deployment, planned again where too long.

Each is an `Attempt`, a value. Of them and of the plan the entry is made once the request is over (settle.py).

fit.py plans the request for a model, outgoing.py writes it for a deployment, answer_beginning.py reads how the answer
begins. plan_in_entry.py says what the entry holds of the plan.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from gateway.budget.tokens import Counter
from gateway.conversation import Changes
from gateway.money.entry import BYTES_PER_TOKEN, NO_PLAN, PlanFacts, RequestFacts
from gateway.prompt_cache.lookup import CacheLookup
from gateway.request import Marks, Request
from gateway.rewriting.folds.summarize import Segment
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.affinity import affinity_group
from gateway.routing.attempts import Failure, Outcome, attempts, drive
from gateway.routing.deployment import Deployment
from gateway.routing.loads import Preference
from gateway.routing.models import Model
from gateway.routing.rates import DeploymentRates
from gateway.routing.too_long import TooLong, too_long
from gateway.routing.upstreams.upstream import Reply
from gateway.serving.admission import Admitted
from gateway.serving.answer_beginning import NO_START, AnswerStart, Stream, answer_start, drain
from gateway.serving.calls_in_entry import is_sent, last_replied
from gateway.serving.failures import busy, failure_facts, is_upstreams, refuses, untranslatable
from gateway.serving.fit import (
    LONG_PLAN,
    Fitted,
    Planner,
    fit,
    prompt_tokens,
    selection,
    writer_of,
)
from gateway.serving.holds import AnswerEnded, AnswerMeter, MeteredChunks, RunningHold
from gateway.serving.ledger import trace_headers
from gateway.serving.limiting import clamped
from gateway.serving.occupied import Occupied
from gateway.serving.outgoing import additions_for, body_for
from gateway.serving.plan_in_entry import NO_EDITS, edits_in_books, plan_facts
from gateway.serving.prompt_cache_use import CacheUse, KeepWarmTarget
from gateway.serving.provider_clearing import fit_after_clearing
from gateway.serving.services import Gateway
from gateway.serving.stated_windows import believed, narrowed
from gateway.serving.stored import bound
from gateway.summaries.jobs import Job
from gateway.wire.answer import Heard, WholeAnswer
from gateway.wire.headers import ClientHeaders, Received, client_headers
from gateway.wire.outgoing import Additions, as_streamed
from gateway.wire.shape import shape_of

MANY_EDITS = 2_000
"""Edits of a plan beyond which they are told in a thread: a thousand take a millisecond or two."""

_NO_HEADERS: Received = {}


class Attempt(NamedTuple):
    """One call to a deployment, as far as it came."""

    deployment: Deployment
    fitted: Fitted
    """The plan by which the request was sent."""
    dropped: tuple[str, ...] = ()
    """Betas of the client's that the deployment does not take."""
    left_out: tuple[str, ...] = ()
    """Members of the request that are not said to it."""
    lookup: CacheLookup | None = None
    """The expected contents of the deployment's prompt cache, where anything is known of it."""
    outcome: Outcome | None = None
    """None while it is under way, and where it was given up before anybody could say."""
    reply: Reply | None = None
    """The answer that may still have to be closed."""
    answer: WholeAnswer | Stream | None = None
    """As far as it is here: all of it, or a stream's beginning."""
    unused: Heard | None = None
    """The part of an answer that came before it failed: paid for if it holds anything."""
    seconds: float = 0.0
    ended: float = 0.0
    """By the monotonic clock; of an answer, when it began."""

    @property
    def is_sent(self) -> bool:
        """Whether the deployment was asked: not one that the request turned out not to fit."""
        return is_sent(self.outcome)


class Calls:
    """The calls of one request."""

    __slots__ = (
        "admitted",
        "attempts",
        "cache_use",
        "desk",
        "facts",
        "fitted",
        "gateway",
        "headers",
        "hold",
        "occupied",
        "plan",
        "request",
        "too_long_at",
    )

    def __init__(
        self,
        gateway: Gateway,
        admitted: Admitted,
        request: Request,
        facts: RequestFacts,
        target: KeepWarmTarget | None = None,
        headers: Received = _NO_HEADERS,
        desk: Planner | None = None,
    ) -> None:
        """Take a request, and its client's headers where it has one; `desk` plans it where it is large.

        `target` is set where it is sent for nothing but to keep a prefix in its cache.
        """
        self.gateway, self.admitted, self.request, self.facts = gateway, admitted, request, facts
        self.headers, self.desk = headers, desk
        self.cache_use = CacheUse(gateway, admitted.policy, request, facts, target)
        self.fitted: dict[str, Fitted] = {}
        """By model name: fallbacks have windows of their own."""
        self.plan: PlanFacts = NO_PLAN
        """What the entry holds of the last of them."""
        self.attempts: list[Attempt] = []
        """In the order they were made; the last may be under way."""
        self.hold: RunningHold | None = None
        """The hold of its answers, where a budget bounds them."""
        self.occupied = Occupied(gateway.loads)
        """The deployment that is at work for this request, where its load counts."""
        self.too_long_at: Fitted | None = None
        """Set where an upstream found the prompt too long even after a second plan."""

    @property
    def sent(self) -> Attempt | None:
        """The last call; None where the deployment was not asked, or none was."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].is_sent else None

    @property
    def replied(self) -> Attempt | None:
        """The last call that brought an answer, of whatever kind."""
        return last_replied(self.attempts)

    @property
    def enforces(self) -> bool:
        return self.admitted.policy.mode == "enforce"

    @property
    def is_counted(self) -> bool:
        """Whether the answer is counted while it comes, since nothing but its hold bounds it."""
        return self.hold is not None and self.hold.is_counted

    @property
    def streams(self) -> bool:
        """Whether the upstream is asked to stream: for the client, or to be counted and gathered."""
        return self.request.stream or self.is_counted

    def changes(self, fitted: Fitted) -> Changes | None:
        """Return what is really done to the request."""
        return fitted.changes if self.enforces else None

    def counter(self, model: Model) -> Counter:
        return self.gateway.counters.for_encoding(model.encoding)

    async def fit(self, model: Model) -> Fitted:
        """Plan the request for a model."""
        policy, gateway, counter = self.admitted.policy, self.gateway, self.counter(model)
        window = model.bounds(policy, gateway.calibrations.of(model), self.request.answer_limit, self.request.thinking)
        window = narrowed(
            window, policy, gateway.windows.of((one.name for one in model.deployments), gateway.monotonic())
        )
        known, summaries = gateway.known, gateway.summaries
        threads = self.threads() if len(self.request.body) >= LONG_PLAN else None
        chosen = await selection(self.request, policy, model, counter, window, gateway.memo, threads)
        request = self.request if chosen is None else chosen.request
        if self.enforces:
            self.request = self.cache_use.request = request
        plain = partial(
            fit,
            policy=policy,
            model=model,
            counter=counter,
            window=window,
            known=known,
            summaries=summaries,
            early_folds=self.cache_use.early_folds(model, window, counter),
            threads=threads,
            job=partial(self._job, model),
            planner=self.desk,
        )
        most = window.budget(request.answer_limit or 0)
        weighed = counter.weighed(window.calibration.weights)
        fitted = await fit_after_clearing(request, model, weighed, most, plain)
        if chosen is not None:
            fitted = replace(fitted, plan=chosen.noted_in(fitted.plan))
        await self._note(fitted)
        return fitted

    def threads(self) -> Executor:
        """Return the threads for what takes long, as this request's key has them."""
        return self.gateway.planning.of(self.facts.key, len(self.request.body))

    def summarise(self, fitted: Fitted) -> None:
        """Have written, in the background, what this request found to be without a summary."""
        if self.enforces and isinstance(fitted.plan, Plan):
            for segment in fitted.plan.wanted:
                self.gateway.summaries.ask(self._job(fitted.model, segment))

    def _job(self, model: Model, segment: Segment) -> Job:
        """Make the job of summarising messages of this request, booked to whoever sent it."""
        policy, facts, request = self.admitted.policy, self.facts, self.request
        messages = tuple(request.conversation.messages[index] for index in segment.messages)
        purse = (facts.key, facts.team, facts.user, facts.tags)
        return Job(segment, messages, writer_of(policy, request), policy, self.counter(model), *purse)

    async def make(self) -> Outcome:
        """Call deployments until one answers or none is left."""
        gateway, model = self.gateway, self.admitted.model
        named = gateway.config.fallbacks
        fallbacks = [gateway.models[name] for name in named.get(model.name) or named.get(model.declared_as, ())]
        resting = gateway.health.resting(gateway.monotonic())
        groups = [tier for one in (model, *fallbacks) for tier in one.tiers(resting)]
        groups = await bound(gateway, self.request, self.facts.team, groups)
        prefer = None
        if any(len(group) > 1 for group in groups):
            fitted = self.fitted.get(model.name)
            conversation = self.request.conversation if fitted is None else fitted.steady(self.request)
            prefer = Preference(gateway.loads, conversation, resting, gateway.now())
        outcome = await drive(attempts(groups, gateway.draw, resting, prefer), self.call)
        if isinstance(outcome, Failure):
            self._tell(outcome)
        elif prefer is not None:
            prefer.answered(outcome.deployment, gateway.now())
        return outcome

    def _tell(self, failure: Failure) -> None:
        """Log what a client was not spared; not what it was told of its own request, nor what is known of a rest."""
        if is_upstreams(failure) and not self.gateway.health.is_told(failure.deployment.name):
            self.gateway.log.warning("upstream failed", id=self.facts.id, **self._failure_facts(failure))

    def _failure_facts(self, failure: Failure) -> dict[str, Any]:
        return failure_facts(failure, quotes=self.gateway.config.log_upstream_errors)

    async def close(self) -> None:
        self.occupied.end()
        if (replied := self.replied) is not None and replied.reply is not None:
            await replied.reply.close()

    def note_system_text(self) -> None:
        """See how the system text differs from the one before it, once the request is over."""
        if (sent := self.sent) is not None:
            conversation, facts = sent.fitted.steady(self.request), self.facts
            self.gateway.system_texts.note(conversation, facts.team or "", self.admitted.policy.label, facts.model)

    def _occupy(self, deployment: Deployment) -> None:
        """Count the call as load of a deployment that has others beside it, in place of the one before."""
        self.occupied.end()
        if len(self.gateway.models[deployment.model_name].deployments) > 1:
            self.occupied.begin(deployment.name, self.gateway.now())

    async def _note(self, fitted: Fitted) -> None:
        """Keep the plan for the calls and for the entry."""
        edits = NO_EDITS
        if isinstance(fitted.plan, Plan):
            many = len(fitted.plan.edits) > MANY_EDITS
            run = asyncio.get_running_loop().run_in_executor
            edits = await run(self.threads(), edits_in_books, fitted.plan) if many else edits_in_books(fitted.plan)
        self.fitted[fitted.model.name] = fitted
        self.plan = plan_facts(self.request, self.admitted.policy, fitted, edits)
        if isinstance(fitted.plan, Refusal) and fitted.plan.ours:
            self.gateway.log.error("illegal rewrite", id=self.facts.id, policy=self.facts.policy)

    # ------------------------------------------------------------ one deployment

    async def call(self, deployment: Deployment) -> Outcome:
        """Try one deployment, and once more with another plan where it finds the prompt too long."""
        model = self.gateway.models[deployment.model_name]
        if self.attempts and self.hold is not None and not await self.hold.pays_again():
            return Failure(deployment, "unfit", message="the budget pays for no other attempt")
        if (known := self.gateway.health.begin(deployment.name, self.gateway.monotonic())) is not None:
            return known
        fitted = self.fitted.get(model.name) or await self.fit(model)
        if isinstance(fitted.plan, Refusal) and self.enforces:
            return Failure(deployment, "unfit", message=f"{fitted.plan.component} does not fit {model.name}")
        if deployment.rates is not None and (seconds := await _turn(self, deployment.rates, fitted)) is not None:
            return busy(deployment, seconds)
        outcome = await self._try(deployment, fitted)
        if isinstance(outcome, Failure) and outcome.status is not None and self.enforces:
            found = too_long(outcome.status, outcome.body)
            if found is not None:
                return await self._call_with_less(deployment, fitted, found, outcome)
        return outcome

    async def _call_with_less(self, deployment: Deployment, fitted: Fitted, found: TooLong, first: Failure) -> Outcome:
        """Plan once more with the room that the upstream leaves, without recall, and send that once."""
        model, counter = fitted.model, self.counter(fitted.model)
        ours = fitted.prompt_tokens or await prompt_tokens(
            self.request, model, counter.weighed(fitted.window.calibration.weights)
        )
        _learn_window(self.gateway, deployment, found, ours, self.request.answer_limit or 0)
        window = fitted.window.seen_smaller(ours, found.tokens, found.limit, found.over)
        policy, known, threads = self.admitted.policy, self.gateway.known, self.threads()
        policy = replace(policy, recall=0.0)
        again = await fit(self.request, policy, model, counter, window, known, threads=threads, planner=self.desk)
        changes = self.changes(again)
        if changes is None or changes == self.changes(fitted):
            self.too_long_at = again
            return first
        await self._note(again)
        outcome = await self._try(deployment, again)
        if isinstance(outcome, Failure) and outcome.status is not None and too_long(outcome.status, outcome.body):
            self.too_long_at = again
        return outcome

    async def _try(self, deployment: Deployment, fitted: Fitted) -> Outcome:
        """Call a deployment once. Whatever happens, what came of it is the last attempt."""
        gateway, started, changes = self.gateway, self.gateway.monotonic(), self.changes(fitted)
        self._occupy(deployment)
        along = self._along(deployment, first=not (self.attempts and any(one.is_sent for one in self.attempts)))
        left_out = self.request.left_from_chats if deployment.spoken(self.request.shape) is None else ()
        self.attempts.append(Attempt(deployment, fitted, along.dropped, left_out))
        lookup: CacheLookup | None = None
        marks: Marks | None = None
        outcome: Outcome | None = None
        reply: Reply | None = None
        start = NO_START
        is_taken = False
        try:
            lookup = await self.cache_use.look(deployment, changes)
            marks = None if lookup is None or not self.enforces else self.cache_use.marks(lookup)
            sent = await self._sent(deployment, fitted, marks, along)
            if isinstance(sent, Failure):
                outcome = sent
            else:
                reply, is_taken = sent.reply, True  # a client that leaves now has had its prompt read
                start = await _start(self, deployment, fitted, reply)
                outcome, is_taken = start.failure or sent, start.is_taken
        except AnswerEnded as ended:
            start = AnswerStart(unused=ended.heard)
            raise ended.error from None
        finally:
            now = gateway.monotonic()
            self.attempts[-1] = Attempt(
                deployment,
                fitted,
                along.dropped,
                left_out,
                lookup,
                outcome,
                reply,
                start.answer,
                start.unused,
                now - started,
                now,
            )
            if is_taken and lookup is not None:
                self._note_sent(lookup, deployment, marks)
        if reply is not None and start.rest is not None:
            await drain(reply, start.rest)
        if self.attempts[-1].is_sent:
            self._learn(outcome, fitted, now)
        return outcome

    def _along(self, deployment: Deployment, *, first: bool) -> ClientHeaders:
        """Choose the headers of the client that go along."""
        more, betas = deployment.forward_headers, (deployment.spoken(self.request.shape) or deployment).betas
        return client_headers(self.headers, deployment.own_headers, betas=betas, more=more, first=first)

    async def _additions(self, deployment: Deployment, fitted: Fitted) -> Additions:
        """Give what is added for a deployment; not the wish for usage, where it has refused that."""
        prompt = fitted.prompt_tokens if self.enforces else fitted.original_tokens
        additions = await additions_for(self.request, deployment, fitted, self.counter(fitted.model), prompt)
        return replace(additions, usage=False) if deployment.name in self.gateway.without_usage else additions

    async def _sent(self, deployment: Deployment, fitted: Fitted, marks: Marks | None, along: ClientHeaders) -> Outcome:
        """Send the request as this deployment is to have it; without the wish for usage, where it refuses that."""
        gateway, request, changes = self.gateway, self.request, self.changes(fitted)
        additions = await self._additions(deployment, fitted)
        outcome = await self._called(deployment, changes, marks, additions, along)
        if additions.usage and self.streams and refuses(outcome, "stream_options"):
            along = self._along(deployment, first=False)
            outcome = await self._called(deployment, changes, marks, replace(additions, usage=False), along)
            if not isinstance(outcome, Failure) and not request.has_stream_options:
                gateway.without_usage.add(deployment.name)
                gateway.log.info("usage is not asked for any more", deployment=deployment.name)
        return outcome

    async def _called(
        self,
        deployment: Deployment,
        changes: Changes | None,
        marks: Marks | None,
        additions: Additions,
        along: ClientHeaders,
    ) -> Outcome:
        gateway, asked = self.gateway, deployment.spoken(self.request.shape)
        if asked is None and (member := shape_of(self.request).untranslatable(self.request)) is not None:
            return untranslatable(deployment, self.request.shape, member)
        body = await body_for(self.request, deployment, changes, marks, additions, self.threads)
        if gateway.limits is not None:
            body = clamped(gateway, self.facts.id, body, "max_tokens" if asked is None else self.request.limited_by)
        if self.streams and not self.request.stream:
            is_chat = asked is None or asked.operation == "chat"
            body = as_streamed(body, asks_usage=is_chat and additions.usage)
        return await gateway.upstreams.call(
            asked or deployment,
            body,
            stream=self.streams,
            request_id=self.facts.id,
            headers=trace_headers(gateway, self.facts.id, len(self.attempts) - 1, along.headers),
            now=gateway.now(),
        )

    def _learn(self, outcome: Outcome, fitted: Fitted, now: float) -> None:
        """Learn how the deployment is, and tell the operator once that it rests, and once that it is well again."""
        gateway, name = self.gateway, outcome.deployment.name

        def conversation() -> int:
            return affinity_group(fitted.steady(self.request), gateway.loads.digests).key

        match gateway.health.learn(outcome, now, conversation):
            case "rests" if isinstance(outcome, Failure):
                gateway.log.warning("deployment rests", id=self.facts.id, **self._failure_facts(outcome))
            case "well":
                gateway.log.info("deployment is well again", deployment=name)

    def _note_sent(self, one: CacheLookup, deployment: Deployment, marks: Marks | None) -> None:
        """Tell what is believed of its cache, and whoever keeps prefixes warm, that a request was taken."""
        self.gateway.prompt_caches.note(one)
        if self.admitted.policy.prompt_cache.warm and self.enforces:
            key = None if marks is None else marks.key
            self.gateway.warm_ups.note(one, deployment, self.admitted.policy, self.facts, key)


async def _start(calls: Calls, deployment: Deployment, fitted: Fitted, reply: Reply) -> AnswerStart:
    """Take in an answer until it is known what it is; one that nothing else bounds is counted as it comes."""
    request, gateway, shape = calls.request, calls.gateway, shape_of(calls.request)
    if deployment.spoken(request.shape) is None:
        listener = shape.listen_to_chat(request, secrets=deployment.secrets)
    else:
        listener = shape.listen(
            streamed=request.stream, hold_back_usage=not request.asks_usage, secrets=deployment.secrets
        )
    chunks = None
    if calls.hold is not None and calls.is_counted:
        meter = AnswerMeter(calls.hold, calls.counter(fitted.model), is_exact=fitted.model.exact)
        chunks = MeteredChunks(reply, listener, meter)
    return await answer_start(deployment, reply, listener, gateway.config.server.max_answer, gateway.now, chunks)


def _learn_window(gateway: Gateway, deployment: Deployment, found: TooLong, ours: int, answer_limit: int) -> None:
    """Remember what a deployment said that it takes and counts; `ours` is our count of what was sent."""
    declared, stated = deployment.facts.window, believed(found, ours, answer_limit)
    if stated is None:
        return
    is_news = gateway.windows.learn(deployment.name, stated, gateway.monotonic())
    if is_news and (declared is None or stated.limit < declared):
        facts = {"deployment": deployment.name, "declared": declared, "said": stated.limit}
        gateway.log.warning("window is smaller than declared", **facts)


async def _turn(calls: Calls, rates: DeploymentRates, fitted: Fitted) -> float | None:
    """Count a call among those that a deployment may have; the seconds to wait where it is none of them."""
    limiting, request = calls.gateway.limiting, calls.request
    if limiting is None or calls.gateway.limits is None:
        return None
    likely = limiting.lengths.likely(calls.facts.model, calls.admitted.policy.name) * request.choices
    answer = min(likely, (request.answer_limit or likely) * request.choices)
    tokens = (fitted.prompt_tokens or request.most_tokens // BYTES_PER_TOKEN) + answer
    return await limiting.rated_calls.take(rates, calls.facts.id, len(calls.attempts), tokens)
