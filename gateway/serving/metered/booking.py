"""A metered request in the ledger: opened with an estimate, priced by what the upstream states or we count, settled
once.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from gateway.budget.tokens import LONG_BODY
from gateway.money.entry import (
    BYTES_PER_TOKEN,
    NO_BILL,
    End,
    PlanFacts,
    RequestFacts,
    cost_of,
    durations,
    opened,
    settled,
)
from gateway.money.reservations import Demand
from gateway.money.row import Status
from gateway.request import Usage
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.serving.calls_in_entry import call_facts, first_byte
from gateway.serving.ledger import enter_opened, enter_settled
from gateway.serving.limiting import Admission, prices_of, servers_of
from gateway.serving.metered.calls import MeteredAttempt, MeteredCalls
from gateway.serving.services import Gateway
from gateway.serving.settle import LONGEST_ANSWER, USUAL_ANSWER
from gateway.wire.answer import Heard, Relay
from gateway.wire.metered.answers import Result
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.usage import billed_nanousd, mended, usage_from_openai

_WRITTEN: Final = frozenset({"completions", "compact"})
"""Operations whose answers a model writes, token by token."""


class MeteredBooking:
    """The entry of one request, on its way into the ledger."""

    __slots__ = (
        "admission",
        "bill",
        "facts",
        "gateway",
        "is_settled",
        "known_inputs",
        "paid",
        "request",
        "started",
        "unheard",
    )

    def __init__(self, gateway: Gateway, request: MeteredRequest, facts: RequestFacts, started: float) -> None:
        """Take a request and when it came, by the monotonic clock."""
        self.gateway, self.request, self.facts, self.started = gateway, request, facts, started
        self.bill = NO_BILL
        self.paid = 0
        """The number of attempts whose cost is in the bill, where they failed."""
        self.unheard = 0
        """Tokens that a completion is taken to have where it was written for nobody."""
        self.is_settled = False
        self.admission: Admission | None = None
        """Under limits: how it was let in."""
        self.known_inputs = 0
        """Inputs that no upstream was asked for."""

    async def open(self, model: Model) -> None:
        """Enter the request with an estimate of its cost. Raises GatewayError (503) where that cannot be written."""
        request, deployment = self.request, model.serving(self.request.operation)[0]
        completion = 0
        if request.operation in _WRITTEN:
            longest = min(request.answer_limit or USUAL_ANSWER, deployment.facts.max_output or LONGEST_ANSWER)
            self.unheard = min(longest, USUAL_ANSWER) * request.choices
            completion = longest * request.choices
        prompt = max(1, request.input_bytes // BYTES_PER_TOKEN)
        estimate = Usage(prompt=prompt, completion=completion, searches=self._searches(deployment), estimated=True)
        cost = cost_of(estimate, deployment.price, request.service_tier, self.gateway.now())
        if self.gateway.limits is not None:
            await self._take_hold(model, deployment)
        await enter_opened(self.gateway, opened(self.facts, estimate, cost))

    async def _take_hold(self, model: Model, deployment: Deployment) -> None:
        """Hold what the request may cost. Raises GatewayError where its limits leave too little."""
        request, limiting = self.request, self.gateway.limiting
        assert limiting is not None
        longest = likely = 0
        if request.operation in _WRITTEN:
            cap = deployment.facts.max_output or LONGEST_ANSWER
            longest = min(request.answer_limit or cap, cap) * request.choices
            likely = min(longest, limiting.lengths.likely(self.facts.model, "") * request.choices)
        searches = self._searches(deployment)
        prompt = max(1, request.input_bytes)
        demand = Demand(
            prompt, longest, likely, request.choices, may_clamp=request.operation != "compact", searches=searches
        )
        prices = prices_of(servers_of(self.gateway, model, request.operation))
        self.admission = await limiting.admit(self.facts, demand, prices, request.service_tier)

    async def enter(self, _calls: MeteredCalls, attempt: MeteredAttempt, answer: Result | Relay | None) -> None:
        """Enter what the upstream states; what it does not state is counted. None: nothing came back."""
        deployment = attempt.deployment
        match answer:
            case None:
                usage = await self._counted(deployment, "")
                usage = usage if self.request.stream else replace(usage, completion=self.unheard)
                stated, tier = None, None
            case Result():
                usage, stated = await self._used(deployment, answer), answer.fields.get("usage")
                tier = answer.service_tier
            case _:
                usage, stated = await self._heard(deployment, answer), answer.usage
                tier = answer.service_tier
        price = deployment.price
        if price is not None and price.per_search and not usage.searches:
            usage = replace(usage, searches=self._searches(deployment))
        bill = billed_nanousd(stated) if deployment.states_its_bill else None
        if bill is None and price is not None and price.is_for_holds:
            usage = replace(usage, estimated=True)
        cost = cost_of(usage, price, tier or self.request.service_tier, self.gateway.now(), bill)
        self.bill = self.bill.with_answer(usage, cost)

    async def pay_unused(self, calls: MeteredCalls) -> None:
        """Enter what failed streams cost: what they said they used, or what was counted of an answer that broke off."""
        while self.paid < len(calls.attempts):
            attempt, bill = calls.attempts[self.paid], self.bill
            heard, deployment = attempt.unused, attempt.deployment
            if heard is not None and (heard.usage or heard.seen_text() or heard.grown(0)):
                usage = await self._heard(deployment, heard)
                billed = billed_nanousd(heard.usage) if deployment.states_its_bill else None
                tier = heard.service_tier or self.request.service_tier
                cost = cost_of(usage, deployment.price, tier, self.gateway.now(), billed)
                bill = bill.with_unused(usage, cost)
            self.bill, self.paid = bill, self.paid + 1  # in one step: whoever is cancelled here pays it once

    async def settle(self, status: Status, http_status: int, error: str | None, calls: MeteredCalls | None) -> None:
        """Write the end, once."""
        if self.is_settled:
            return
        self.is_settled = True
        attempts = () if calls is None else calls.attempts
        ms = durations(self.started, 0.0, first_byte(attempts), self.gateway.monotonic())
        plan = PlanFacts(counted="bytes", before={"input": self.request.input_bytes})
        end = End(status, http_status, error, ms, known_inputs=self.known_inputs)
        row = settled(self.facts, end, plan, call_facts(attempts), self.bill)
        await enter_settled(self.gateway, row, attempts)

    async def _used(self, deployment: Deployment, result: Result) -> Usage:
        """Read what a whole answer says it used; where that is nothing, our own count decides."""
        said, text = result.usage(), result.text()
        if said is not None and said.prompt and (said.completion or not text) and not said.contradicts:
            return said
        ours = await self._counted(deployment, text)
        if said is None:
            return ours
        if said.contradicts:
            said = usage_from_openai(result.fields.get("usage"), ours.prompt) or ours
        searches, said = said.searches, mended(said, ours.prompt if not said.prompt else None, ours.completion)
        return replace(said, searches=searches)

    async def _heard(self, deployment: Deployment, heard: Heard) -> Usage:
        """Read what a stream says it used; where that is nothing or early, our own count of its text decides."""
        said = usage_from_openai(heard.usage)
        is_sure = said is not None and said.completion and not heard.usage_is_early and heard.finished
        if said is not None and is_sure and said.prompt and not said.contradicts:
            return said
        ours = await self._counted(deployment, heard.seen_text())
        ours = replace(ours, completion=heard.grown(ours.completion))
        if said is None:
            return ours
        if said.contradicts:
            said = usage_from_openai(heard.usage, ours.prompt) or ours
        return mended(said, ours.prompt if not said.prompt else None, None if is_sure else ours.completion)

    async def _counted(self, deployment: Deployment, said: str) -> Usage:
        """Count what was asked about, and what came back."""
        texts, tokens = await self._input()
        counter = self.gateway.counters.for_encoding(deployment.facts.encoding)
        await counter.learn([*texts, said])
        prompt = tokens + sum(counter.counts(texts))
        return Usage(prompt=prompt, completion=counter.count(said), estimated=True)

    async def _input(self) -> tuple[list[str], int]:
        """Read what was asked about; what is long, off the event loop."""
        request, size = self.request, len(self.request.body)
        if size < LONG_BODY:
            return request.counted_input()
        threads = self.gateway.planning.of(self.facts.key, size)
        return await asyncio.get_running_loop().run_in_executor(threads, request.counted_input)

    def _searches(self, deployment: Deployment) -> int:
        """Count the searches that are billed, where the provider bills by them."""
        return self.request.searches() if deployment.price is not None and deployment.price.per_search else 0
