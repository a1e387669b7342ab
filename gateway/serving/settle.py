"""A request in the books: opened with an estimate, priced by what the provider reports or we count, settled once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.money.entry import BYTES_PER_TOKEN, Entry
from gateway.money.ledger import LedgerUnavailable
from gateway.money.row import Status
from gateway.prompt_cache.lookup import miss_without_lookup
from gateway.request import Request, Usage
from gateway.rewriting.plan import Plan
from gateway.routing.deployment import Deployment
from gateway.serving.admission import Admitted
from gateway.serving.attempt import Calls
from gateway.serving.fit import LARGE_BODY, Fitted, kinds_sent, prompt_tokens
from gateway.serving.services import Gateway
from gateway.wire import errors
from gateway.wire.answer import Heard
from gateway.wire.usage import billed_nanousd, mended, usage_from_openai

USUAL_ANSWER = 1024
"""Tokens an answer is estimated at where neither the request nor the policy says anything."""
LONGEST_ANSWER = 1_000_000
"""Tokens at which an estimate ends where nobody knows what the model can give."""


class Booking:
    """The entry of one request, on its way into the ledger."""

    __slots__ = ("entry", "gateway", "request", "settled", "unheard")

    def __init__(self, gateway: Gateway, request: Request, entry: Entry) -> None:
        self.gateway, self.request, self.entry = gateway, request, entry
        self.settled = False
        self.unheard = 0
        """Tokens that an answer is taken to have where it was written for nobody."""

    async def open(self, admitted: Admitted, fitted: Fitted) -> None:
        """Enter the request with an estimate of its cost. Raises GatewayError (503) where that cannot be written."""
        request, model, deployment = self.request, admitted.model, admitted.model.deployments[0]
        prompt = fitted.prompt_tokens or len(request.body) // BYTES_PER_TOKEN
        limit = request.answer_limit or fitted.window.reserve or USUAL_ANSWER
        longest = min(limit, model.max_output or LONGEST_ANSWER)
        self.unheard = min(longest, USUAL_ANSWER) * request.choices
        estimate = Usage(prompt=prompt, completion=longest * request.choices, estimated=True)
        price = deployment.price
        cost = None if price is None else price.cost(estimate, request.service_tier, self.gateway.now())
        try:
            await self.gateway.ledger.append(self.entry.opened(estimate, cost))
        except LedgerUnavailable as error:
            self.gateway.log.critical("ledger unavailable", id=self.entry.id, reason=str(error))
            raise errors.ledger_unavailable() from error

    async def price(self, calls: Calls, heard: Heard | None, deployment: Deployment) -> None:
        """Enter what the provider reported; what it did not report is counted. None: nothing came back."""
        if heard is None:
            usage = await self._counted(calls, "", deployment)
            if not self.request.stream:
                # A whole answer is written before any of it is sent, and paid for whether or not anybody waits for it.
                usage = replace(usage, completion=self.unheard)
        else:
            usage = await self._used(calls, heard, deployment)
            if not usage.estimated and not deployment.facts.exact:
                self._learn(calls, usage, deployment)
        bill = _bill(heard, deployment)
        if bill is None and deployment.price is not None and deployment.price.is_for_holds:
            usage = replace(usage, estimated=True)
        tier, now = (heard.service_tier if heard is not None else None) or self.request.service_tier, self.gateway.now()
        self.entry.price(usage, deployment.price, tier, now, bill)
        await self._settle_cache(calls, usage, deployment, tier, now)

    async def pay_unused(self, calls: Calls) -> None:
        """Enter what failed calls cost: what they said they used, or what was counted of an answer that broke off."""
        while calls.unused:
            deployment, heard = calls.unused[0]
            if heard.usage or heard.seen_text() or heard.grown(0):
                usage = await self._used(calls, heard, deployment)
                tier = heard.service_tier or self.request.service_tier
                self.entry.pay_unused(usage, deployment.price, tier, self.gateway.now(), _bill(heard, deployment))
            del calls.unused[0]  # with the entry, in one step: whoever is cancelled here pays it once

    async def _used(self, calls: Calls, heard: Heard, deployment: Deployment) -> Usage:
        """Read what an answer says it used; where that is nothing, a placeholder or absurd, our own count decides."""
        said = usage_from_openai(heard.usage)
        if said is None:
            return await self._counted(calls, heard.seen_text(), deployment, heard.grown)
        doubts_completion = not said.completion or heard.usage_is_early or not heard.finished
        text = heard.seen_text() if doubts_completion else ""
        doubts_prompt = said.contradicts or not said.prompt
        if not text and not doubts_prompt:
            return said
        ours = await self._counted(calls, text, deployment, heard.grown if doubts_completion else int)
        if said.contradicts:
            said = usage_from_openai(heard.usage, ours.prompt) or ours
        return mended(said, ours.prompt if not said.prompt else None, ours.completion)

    async def settle(self, status: Status) -> None:
        """Write the end, once. Money may have been spent: what the disk does not take now is kept and written first."""
        if self.settled:
            return
        self.settled = True
        try:
            await self.gateway.ledger.append(self.entry.settled(status, self.gateway.monotonic()), owed=True)
        except LedgerUnavailable as error:
            self.gateway.log.critical("entry lost", id=self.entry.id, reason=str(error))

    async def _counted(
        self, calls: Calls, said: str, deployment: Deployment, grown: Callable[[int], int] = int
    ) -> Usage:
        """Count the prompt as it was sent, and what came back; `grown` scales what is kept of it to all of it."""
        fitted = calls.fitted[deployment.model_name]
        counter = calls.counter(fitted.model)
        await counter.learn([said])
        rewritten = fitted.prompt_tokens if calls.changes(fitted) is not None else None
        prompt = rewritten or await prompt_tokens(self.request, fitted.model, counter)
        return Usage(prompt=prompt, completion=grown(counter.count(said)), estimated=True)

    async def _settle_cache(
        self, calls: Calls, usage: Usage, deployment: Deployment, tier: str | None, now: float
    ) -> None:
        """Enter what the provider's cache was expected to give, why it gave less, and what the rewriting saved."""
        one, price = calls.cache_lookup, deployment.price
        self.entry.miss = miss_without_lookup(deployment, one)

        def cost(used: Usage) -> int | None:
            return None if price is None else price.cost(used, tier, now)

        if one is None:
            self.entry.saved_nanousd = self._saved_uncached(calls, usage, deployment, cost)
            return
        model = calls.fitted[deployment.model_name].model
        found = await self.gateway.prompt_caches.settle(
            one, usage, cost, calls.counter(model), model.count_media, exact=deployment.facts.exact
        )
        entry = self.entry
        entry.expected_cached, entry.miss, entry.markers = found.expected, found.miss, found.markers
        entry.lost, entry.lost_nanousd, entry.saved_nanousd = found.lost, found.lost_nanousd, found.saved_nanousd

    def _saved_uncached(
        self, calls: Calls, usage: Usage, deployment: Deployment, cost: Callable[[Usage], int | None]
    ) -> int | None:
        """Say what the rewriting saved where no cache was looked at; None where nobody knows what one would have given.

        A prompt too short for the cache is all paid for, so that the part that was left out is saved at the plain
        price.
        """
        fitted = calls.fitted[deployment.model_name]
        plan = fitted.plan
        if self.entry.kind != "request" or not isinstance(plan, Plan) or calls.changes(fitted) is None:
            return 0
        if usage.estimated or deployment.cache.matching == "none":
            return None
        instead, paid = cost(replace(usage, prompt=usage.prompt + plan.tokens_before - plan.tokens_after)), cost(usage)
        return None if instead is None or paid is None else instead - paid

    def _learn(self, calls: Calls, usage: Usage, deployment: Deployment) -> None:
        """Learn from the provider's count where it was compared with ours: of text, as it was sent.

        A large body would tell no more than others, and take long to look through.
        """
        fitted = calls.fitted[deployment.model_name]
        ours = fitted.prompt_tokens if calls.changes(fitted) is not None else fitted.original_tokens
        if (
            ours is not None
            and len(self.request.body) < LARGE_BODY
            and not any(message.media for message in self.request.conversation.messages)
        ):
            kinds = kinds_sent(self.request, calls.changes(fitted), calls.counter(fitted.model))
            self.gateway.calibrations.observe(deployment.facts, kinds, usage.prompt)


def _bill(heard: Heard | None, deployment: Deployment) -> int | None:
    """Return what the provider itself says it takes, where it is one that says so."""
    return billed_nanousd(heard.usage) if heard is not None and deployment.states_its_bill else None
