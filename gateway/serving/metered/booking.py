"""A metered request in the ledger: opened with an estimate, priced by what the upstream states or we count, settled
once.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.money.entry import BYTES_PER_TOKEN, Entry
from gateway.money.ledger import LedgerUnavailable
from gateway.money.row import AttemptRow, Status
from gateway.routing.attempts import Failure, Outcome
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.serving.services import Gateway
from gateway.serving.settle import LONGEST_ANSWER, USUAL_ANSWER
from gateway.wire import errors
from gateway.wire.metered.answers import Result
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.opening import Heard
from gateway.wire.sse import EventRelay
from gateway.wire.usage import Usage, billed_nanousd, mended, usage_from_openai


class MeteredBooking:
    """The entry of one request, on its way into the ledger."""

    __slots__ = ("entry", "gateway", "request", "settled", "unheard", "unused")

    def __init__(self, gateway: Gateway, request: MeteredRequest, entry: Entry) -> None:
        self.gateway, self.request, self.entry = gateway, request, entry
        self.settled = False
        self.unheard = 0
        """Tokens that a completion is taken to have where it was written for nobody."""
        self.unused: list[tuple[Deployment, Heard]] = []
        """Streams of calls that failed: paid for if something of an answer is in them."""
        entry.counted, entry.before = "bytes", {"input": request.input_bytes}

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def attempts(self) -> list[AttemptRow]:
        return self.entry.attempts

    @property
    def is_priced(self) -> bool:
        return self.entry.usage is not None

    async def open(self, model: Model) -> None:
        """Enter the request with an estimate of its cost. Raises GatewayError (503) where that cannot be written."""
        request, deployment = self.request, model.serving(self.request.operation)[0]
        completion = 0
        if request.operation == "completions":
            longest = min(request.answer_limit or USUAL_ANSWER, deployment.facts.max_output or LONGEST_ANSWER)
            self.unheard = min(longest, USUAL_ANSWER) * request.choices
            completion = longest * request.choices
        prompt = max(1, request.input_bytes // BYTES_PER_TOKEN)
        estimate = Usage(prompt=prompt, completion=completion, searches=self._searches(deployment), estimated=True)
        try:
            await self.gateway.ledger.append(self.entry.opened(estimate, self._cost(estimate, deployment)))
        except LedgerUnavailable as error:
            self.gateway.log.critical("ledger unavailable", id=self.id, reason=str(error))
            raise errors.ledger_unavailable() from error

    def tried(self, deployment: Deployment, outcome: Outcome, started: float, now: float) -> None:
        """Note one call, by the monotonic clock."""
        self.entry.deployment = f"{deployment.provider}/{deployment.model}"
        failure = outcome if isinstance(outcome, Failure) else None
        status, kind = (200, None) if failure is None else (failure.status, failure.kind)
        self.entry.tried(deployment.name, status, kind, now - started)
        if failure is None:
            self.entry.first_byte = now

    async def price(self, deployment: Deployment, answer: Result | EventRelay | None) -> None:
        """Enter what the upstream states; what it does not state is counted. None: nothing came back."""
        self.entry.deployment = f"{deployment.provider}/{deployment.model}"
        match answer:
            case None:
                usage = await self._counted(deployment, "")
                usage = usage if self.request.stream else replace(usage, completion=self.unheard)
                stated, tier = None, None
            case Result():
                usage, stated, tier = await self._used(deployment, answer), answer.fields.get("usage"), None
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
        self.entry.price(usage, price, tier or self.request.service_tier, self.gateway.now(), bill)

    async def pay_unused(self) -> None:
        """Enter what failed streams cost: what they said they used, or what was counted of an answer that broke off."""
        while self.unused:
            deployment, heard = self.unused[0]
            if heard.usage or heard.seen_text() or heard.grown(0):
                usage = await self._heard(deployment, heard)
                bill = billed_nanousd(heard.usage) if deployment.states_its_bill else None
                tier = heard.service_tier or self.request.service_tier
                self.entry.pay_unused(usage, deployment.price, tier, self.gateway.now(), bill)
            del self.unused[0]

    async def settle(self, status: Status) -> None:
        """Write the end, once. Money may have been spent: what the disk does not take now is kept and written first."""
        if self.settled:
            return
        self.settled = True
        try:
            await self.gateway.ledger.append(self.entry.settled(status, self.gateway.monotonic()), owed=True)
        except LedgerUnavailable as error:
            self.gateway.log.critical("entry lost", id=self.id, reason=str(error))

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
        texts, tokens = self.request.counted_input()
        counter = self.gateway.counters.for_encoding(deployment.facts.encoding)
        await counter.learn([*texts, said])
        prompt = tokens + sum(counter.counts(texts))
        return Usage(prompt=prompt, completion=counter.count(said), estimated=True)

    def _searches(self, deployment: Deployment) -> int:
        """Count the searches that are billed, where the provider bills by them."""
        return self.request.searches() if deployment.price is not None and deployment.price.per_search else 0

    def _cost(self, usage: Usage, deployment: Deployment) -> int | None:
        price = deployment.price
        return None if price is None else price.cost(usage, self.request.service_tier, self.gateway.now())
