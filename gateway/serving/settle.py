"""A request in the books: opened with an estimate, priced by what the provider reports or we count, settled once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.money.entry import (
    BYTES_PER_TOKEN,
    NO_BILL,
    NO_PLAN,
    End,
    Removal,
    RequestFacts,
    cost_of,
    durations,
    opened,
    removal,
    settled,
)
from gateway.money.reservations import Demand
from gateway.money.row import NO_CACHE, CacheSettlement, Status
from gateway.prompt_cache.lookup import miss_without_lookup
from gateway.request import Request, Usage
from gateway.rewriting.plan import Plan
from gateway.routing.deployment import Deployment
from gateway.serving.admission import Admitted
from gateway.serving.attempt import Attempt, Calls
from gateway.serving.calls_in_entry import call_facts, first_byte
from gateway.serving.fit import LARGE_BODY, Fitted, kinds_sent, prompt_tokens
from gateway.serving.holds import RunningHold
from gateway.serving.ledger import enter_opened, enter_settled
from gateway.serving.limiting import Admission, prices_of, servers_of
from gateway.serving.retained import retained
from gateway.serving.services import Gateway
from gateway.serving.stored import note_stored
from gateway.wire.answer import Heard
from gateway.wire.usage import billed_nanousd, mended, usage_from_openai

USUAL_ANSWER = 1024
"""Tokens an answer is estimated at where neither the request nor the policy says anything."""
LONGEST_ANSWER = 1_000_000
"""Tokens at which an estimate ends where nobody knows what the model can give."""


class Booking:
    """One request in the ledger. What is known of it at its end becomes one row (money/entry.py), written once."""

    __slots__ = (
        "admission",
        "bill",
        "cache",
        "facts",
        "gateway",
        "is_settled",
        "paid",
        "planned",
        "refusal",
        "removal",
        "request",
        "started",
        "unheard",
    )

    def __init__(self, gateway: Gateway, request: Request, facts: RequestFacts, started: float) -> None:
        """Take a request and when it came, by the monotonic clock."""
        self.gateway, self.request, self.facts, self.started = gateway, request, facts, started
        self.planned = 0.0
        """The moment at which it was planned; 0 before that."""
        self.bill = NO_BILL
        self.cache = NO_CACHE
        self.removal: Removal | None = None
        self.refusal: Mapping[str, Any] | None = None
        """Why it was refused, where the client was told more than the plan says."""
        self.paid = 0
        """The number of attempts whose cost is in the bill, where they failed."""
        self.unheard = 0
        """Tokens that an answer is taken to have where it was written for nobody."""
        self.is_settled = False
        self.admission: Admission | None = None
        """Under limits: how it was let in."""

    def admit(self, request: Request, admitted: Admitted, tightened: int = 0) -> None:
        """Take the request as it goes on, and the policy that was chosen for it, with its steps where it has some."""
        self.request = request
        if tightened:
            self.facts = self.facts._replace(tightened=tightened)
        if (policy := str(admitted.policy)) != self.facts.policy:
            self.facts = self.facts._replace(policy=policy)

    async def open(self, admitted: Admitted, fitted: Fitted) -> None:
        """Enter the request with an estimate of its cost. Raises GatewayError (503) where that cannot be written."""
        request, model, deployment = self.request, admitted.model, admitted.model.deployments[0]
        prompt = fitted.prompt_tokens or len(request.body) // BYTES_PER_TOKEN
        limit = request.answer_limit or fitted.window.reserve or USUAL_ANSWER
        longest = min(limit, model.max_output or LONGEST_ANSWER)
        self.unheard = min(longest, USUAL_ANSWER) * request.choices
        estimate = Usage(prompt=prompt, completion=longest * request.choices, estimated=True)
        cost = cost_of(estimate, deployment.price, request.service_tier, self.gateway.now())
        if self.gateway.limits is not None and self.facts.kind == "request":
            await self._take_hold(admitted, fitted)
        await enter_opened(self.gateway, opened(self.facts, estimate, cost))

    async def _take_hold(self, admitted: Admitted, fitted: Fitted) -> None:
        """Hold what the request may cost. Raises GatewayError where its limits leave too little."""
        request, model, limiting = self.request, admitted.model, self.gateway.limiting
        assert limiting is not None
        servers = servers_of(self.gateway, model, "chat")
        thinks = may_think(request, servers)
        prompt = fitted.prompt_tokens or request.most_tokens
        cap = model.max_output or LONGEST_ANSWER
        longest = min(request.answer_limit or cap, cap) * request.choices
        likely = limiting.lengths.likely(self.facts.model, admitted.policy.name) * request.choices
        demand = Demand(
            prompt if model.exact else prompt * 5 // 4,
            longest,
            min(longest, likely),
            request.choices,
            may_clamp=not (request.conversation.definitions or request.conversation.required_word or thinks),
            may_grow=request.answer_limit is None
            and request.is_countable
            and not thinks
            and all(one.facts.streams for one in servers),
        )
        self.admission = await limiting.admit(self.facts, demand, prices_of(servers), request.service_tier)

    def hold(self, calls: Calls) -> RunningHold | None:
        """Return the hold of the request, which grows while it is served; None where no budget bounds it."""
        admission, limiting = self.admission, self.gateway.limiting
        if admission is None or limiting is None or not (admission.is_held and admission.has_hard_budget):
            return None

        async def paid() -> int:
            await self.pay_unused(calls)
            return self.bill.unused_nanousd or 0

        return RunningHold(limiting, self.facts.id, admission, paid)

    async def enter(self, calls: Calls, attempt: Attempt, heard: Heard | None) -> None:
        """Enter what an answer cost, and what of it the rewrite took away. None: nothing came back."""
        if self.request.keeps_answer:
            note_stored(self.gateway.stored, self.facts, attempt.deployment, heard)
        await self.price(calls, attempt, heard)
        if heard is not None:
            await self.note_removal(calls, attempt, heard)

    async def price(self, calls: Calls, attempt: Attempt, heard: Heard | None) -> None:
        """Enter what the provider reported; what it did not report is counted. None: nothing came back."""
        deployment = attempt.deployment
        if heard is None:
            usage = await self._counted(calls, "", attempt)
            if not self.request.stream:
                # A whole answer is written before any of it is sent, and paid for whether or not anybody waits for it.
                usage = replace(usage, completion=self.unheard)
        else:
            usage = await self._used(calls, heard, attempt)
            if not usage.estimated and not deployment.facts.exact:
                self._learn(calls, usage, attempt)
        bill = _bill(heard, deployment)
        if bill is None and deployment.price is not None and deployment.price.is_for_holds:
            usage = replace(usage, estimated=True)
        tier, now = (heard.service_tier if heard is not None else None) or self.request.service_tier, self.gateway.now()
        self.bill = self.bill.with_answer(usage, cost_of(usage, deployment.price, tier, now, bill))
        self.cache = await self._cache_settlement(calls, usage, attempt, tier, now)

    async def pay_unused(self, calls: Calls) -> None:
        """Enter what failed calls cost: what they said they used, or what was counted of an answer that broke off."""
        while self.paid < len(calls.attempts):
            attempt = calls.attempts[self.paid]
            heard, bill = attempt.unused, self.bill
            if heard is not None and (heard.usage or heard.seen_text() or heard.grown(0)):
                usage, price = await self._used(calls, heard, attempt), attempt.deployment.price
                tier, billed = heard.service_tier or self.request.service_tier, _bill(heard, attempt.deployment)
                bill = bill.with_unused(usage, cost_of(usage, price, tier, self.gateway.now(), billed))
            self.bill, self.paid = bill, self.paid + 1  # in one step: whoever is cancelled here pays it once

    async def note_removal(self, calls: Calls, attempt: Attempt, heard: Heard) -> None:
        """Note what the rewrite took away, and what of it the answer used all the same.

        Under `observe` the plan is what would have been sent.
        """
        known = self.gateway.known.values
        retention = await retained(calls.request, attempt.fitted.plan, heard, known, calls.threads)
        if retention is not None:
            self.removal = removal(retention.removed, retention.missed)

    async def settle(
        self, status: Status, http_status: int, error: str | None = None, calls: Calls | None = None
    ) -> None:
        """Write the end, once."""
        if self.is_settled:
            return
        self.is_settled = True
        plan, attempts = (NO_PLAN, ()) if calls is None else (calls.plan, calls.attempts)
        ms = durations(self.started, self.planned, first_byte(attempts), self.gateway.monotonic())
        end = End(status, http_status, error, ms, self.refusal)
        row = settled(self.facts, end, plan, call_facts(attempts), self.bill, self.cache, self.removal)
        await enter_settled(self.gateway, row, attempts)

    async def _used(self, calls: Calls, heard: Heard, attempt: Attempt) -> Usage:
        """Read what an answer says it used; where that is nothing, a placeholder or absurd, our own count decides."""
        said = usage_from_openai(heard.usage)
        if said is None:
            return await self._counted(calls, heard.seen_text(), attempt, heard.grown)
        doubts_completion = not said.completion or heard.usage_is_early or not heard.finished
        text = heard.seen_text() if doubts_completion else ""
        doubts_prompt = said.contradicts or not said.prompt
        if not text and not doubts_prompt:
            return said
        ours = await self._counted(calls, text, attempt, heard.grown if doubts_completion else int)
        if said.contradicts:
            said = usage_from_openai(heard.usage, ours.prompt) or ours
        return mended(said, ours.prompt if not said.prompt else None, ours.completion)

    async def _counted(self, calls: Calls, said: str, attempt: Attempt, grown: Callable[[int], int] = int) -> Usage:
        """Count the prompt as it was sent, and what came back; `grown` scales what is kept of it to all of it."""
        fitted = attempt.fitted
        counter = calls.counter(fitted.model)
        await counter.learn([said])
        rewritten = fitted.prompt_tokens if calls.changes(fitted) is not None else None
        prompt = rewritten or await prompt_tokens(self.request, fitted.model, counter)
        return Usage(prompt=prompt, completion=grown(counter.count(said)), estimated=True)

    async def _cache_settlement(
        self, calls: Calls, usage: Usage, attempt: Attempt, tier: str | None, now: float
    ) -> CacheSettlement:
        """Say what the provider's cache was expected to give, why it gave less, and what the rewriting saved."""
        lookup, deployment, model = attempt.lookup, attempt.deployment, attempt.fitted.model
        price = deployment.price

        def cost(used: Usage) -> int | None:
            return None if price is None else price.cost(used, tier, now)

        if lookup is None:
            miss, saved = miss_without_lookup(deployment, lookup), self._saved_uncached(calls, usage, attempt, cost)
            return CacheSettlement(miss=miss, saved_nanousd=saved) if miss or saved != 0 else NO_CACHE
        return await self.gateway.prompt_caches.settle(
            lookup, usage, cost, calls.counter(model), model.count_media, exact=deployment.facts.exact
        )

    def _saved_uncached(
        self, calls: Calls, usage: Usage, attempt: Attempt, cost: Callable[[Usage], int | None]
    ) -> int | None:
        """Say what the rewriting saved where no cache was looked at; None where nobody knows what one would have given.

        A prompt too short for the cache is all paid for, so that the part that was left out is saved at the plain
        price.
        """
        fitted = attempt.fitted
        plan = fitted.plan
        if self.facts.kind != "request" or not isinstance(plan, Plan) or calls.changes(fitted) is None:
            return 0
        if usage.estimated or attempt.deployment.cache.matching == "none":
            return None
        instead, paid = cost(replace(usage, prompt=usage.prompt + plan.tokens_before - plan.tokens_after)), cost(usage)
        return None if instead is None or paid is None else instead - paid

    def _learn(self, calls: Calls, usage: Usage, attempt: Attempt) -> None:
        """Learn from the provider's count where it was compared with ours: of text, as it was sent.

        A large body would tell no more than others, and take long to look through. Of one that the provider may have
        cleared by itself, nobody knows what was counted.
        """
        fitted = attempt.fitted
        ours = fitted.prompt_tokens if calls.changes(fitted) is not None else fitted.original_tokens
        if (
            ours is not None
            and self.request.clearing is None
            and len(self.request.body) < LARGE_BODY
            and not any(message.media for message in self.request.conversation.messages)
        ):
            kinds = kinds_sent(self.request, calls.changes(fitted), calls.counter(fitted.model))
            self.gateway.calibrations.observe(attempt.deployment.facts, kinds, usage.prompt)


def may_think(request: Request, servers: Sequence[Deployment]) -> bool:
    """Whether an answer may hold thinking, which is paid for and need not be told."""
    if request.reasons is None:
        return request.thinking > 0 or any(one.facts.thinks_unasked for one in servers)
    return request.reasons


def _bill(heard: Heard | None, deployment: Deployment) -> int | None:
    """Return what the provider itself says it takes, where it is one that says so."""
    return billed_nanousd(heard.usage) if heard is not None and deployment.states_its_bill else None
