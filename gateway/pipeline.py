"""One request from arrival to ledger entry. Reads as DESIGN §3: wire, money, budget, rewriting, routing, money, wire.

The shell measures, the core decides, the shell acts: whatever decides is called from here and stands elsewhere. A
request ends in one of four ways (answered, refused, failed, cancelled), and each writes the entry before the response
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from structlog.typing import FilteringBoundLogger

from gateway import conditions
from gateway.budget.tokens import Counter, Counters
from gateway.config import Config
from gateway.conversation import Changes, leading_system
from gateway.fitting import Fitted, Model, byte_sizes, fit, prompt_tokens
from gateway.money.entry import BYTES_PER_TOKEN, MOST_TAGS, Entry, Status, runs
from gateway.money.keys import Caller, Keys
from gateway.money.ledger import Ledger, LedgerUnavailable
from gateway.money.prices import Usage, usage_from_openai
from gateway.policy import Policy, UnknownProfile
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.attempts import Answer, Failure, Outcome, attempts, drive
from gateway.routing.deployment import Deployment
from gateway.routing.health import Health
from gateway.routing.too_long import TooLong, too_long
from gateway.routing.upstream import Reply, UpstreamError
from gateway.routing.upstreams import Upstreams
from gateway.wire import errors
from gateway.wire.chat import ChatRequest, Memo, parse, sent
from gateway.wire.errors import GatewayError
from gateway.wire.sse import EventRelay, error_event

Headers = list[tuple[bytes, bytes]]

LESS_ROOM = 1 / 0.85
"""An upstream that finds the prompt too long without saying by how much gets 15% less."""
DRAIN_SECONDS = 0.5
"""How long a finished stream may take to close, so that its connection can serve again."""
USUAL_ANSWER = 1024
"""Tokens an answer is estimated at where neither the request nor the policy says anything."""
LONGEST_ANSWER = 1_000_000
"""Tokens at which an estimate ends where nobody knows what the model can give."""
LONG_BODY = 1024 * 1024
"""Bytes from which on a body is read in a thread."""
LONGEST_NAME = 256
"""Characters of a user or a tag that are kept in the books."""


class ClientGone(Exception):
    """The client left before its request was complete."""


class Client(Protocol):
    """The other side of one HTTP request."""

    headers: Mapping[bytes, bytes]
    """Lower-case names."""
    gone: bool
    started: bool
    """Whether the response has begun."""

    async def body(self, most: int) -> bytes:
        """Read the whole body. Raises GatewayError (413) and ClientGone."""

    def watch(self) -> None:
        """Cancel the running task when the client leaves."""

    def unwatch(self) -> None: ...

    async def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def end(self, data: bytes = b"") -> None: ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """What requests share; made and closed by the app."""

    config: Config
    keys: Keys
    models: Mapping[str, Model]
    counters: Counters
    ledger: Ledger
    upstreams: Upstreams
    health: Health
    memo: Memo
    log: FilteringBoundLogger
    now: Callable[[], float]
    monotonic: Callable[[], float]
    draw: Callable[[], float]
    """A number in [0, 1), for the choice between deployments."""


def authenticate(gateway: Gateway, headers: Mapping[bytes, bytes]) -> Caller:
    """Find who is asking. Raises GatewayError (401)."""
    shown = headers.get(b"authorization", b"")
    token = shown[7:].strip() if shown[:7].lower() == b"bearer " else headers.get(b"x-api-key")
    caller = gateway.keys.authenticate(token.decode("latin-1") if token else None, gateway.now())
    if caller is None:
        raise errors.invalid_key()
    return caller


async def answer(gateway: Gateway, client: Client, request_id: str) -> None:
    """Serve one chat completion. Raises GatewayError for who may not ask and for what is not a request."""
    started = gateway.monotonic()
    caller = authenticate(gateway, client.headers)
    try:
        body = await client.body(gateway.config.server.max_body)
    except ClientGone:
        return
    request = await _read(gateway, body)
    entry = Entry(
        request_id, caller.key, caller.team, model=request.model[:LONGEST_NAME], stream=request.stream, started=started
    )
    await Passage(gateway, client, caller, request, entry).run()


async def _read(gateway: Gateway, body: bytes) -> ChatRequest:
    if len(body) < LONG_BODY:
        return parse(body, gateway.memo)
    return await asyncio.get_running_loop().run_in_executor(None, parse, body, gateway.memo)


async def refuse(client: Client, error: GatewayError, request_id: str, headers: Headers | None = None) -> None:
    """Answer with an error in OpenAI's shape."""
    body = error.body(request_id)
    own = [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    await client.start(error.status, _head(request_id, b"application/json", len(body)) + own + (headers or []))
    await client.end(body)


def _head(request_id: str, content_type: bytes, length: int | None = None) -> Headers:
    head = [(b"content-type", content_type), (b"x-request-id", request_id.encode())]
    if length is not None:
        head.append((b"content-length", b"%d" % length))
    return head


class Passage:
    """One request on its way through."""

    __slots__ = (
        "caller",
        "client",
        "entry",
        "fitted",
        "gateway",
        "policy",
        "priced_by",
        "reply",
        "request",
        "settled",
        "too_long_at",
        "whole",
    )

    def __init__(self, gateway: Gateway, client: Client, caller: Caller, request: ChatRequest, entry: Entry) -> None:
        self.gateway, self.client, self.caller, self.request, self.entry = gateway, client, caller, request, entry
        self.policy: Policy | None = None
        self.fitted: dict[str, Fitted] = {}
        """By model name: fallbacks have windows of their own."""
        self.reply: Reply | None = None
        self.whole: _Whole | _Stream | None = None
        """The answer as far as it is here: all of it, or a stream's beginning."""
        self.priced_by: Deployment | None = None
        """The deployment that was called last."""
        self.too_long_at: Fitted | None = None
        """Set where an upstream found the prompt too long even after a second plan."""
        self.settled = False

    async def run(self) -> None:
        """Serve the request; whatever happens, it is entered once."""
        self.client.watch()
        try:
            await self._serve()
        except GatewayError as error:
            await self._end_with(error)
        except asyncio.CancelledError:
            await self._cancelled()
            if not self.client.gone:
                raise
        except Exception:  # the outermost handler: a fault of ours must not take the entry with it
            self.gateway.log.exception("request failed", id=self.entry.id)
            await self._end_with(errors.internal_error())
        finally:
            self.client.unwatch()
            if self.reply is not None:
                await self.reply.close()

    async def _serve(self) -> None:
        model = self._admit()
        fitted = await self._fit(model)
        await self._open(model, fitted)
        gateway = self.gateway
        fallbacks = [gateway.models[name] for name in gateway.config.fallbacks.get(model.name, ())]
        groups = [one.deployments for one in (model, *fallbacks)]
        outcome = await drive(attempts(groups, gateway.draw, gateway.health.resting(gateway.monotonic())), self._call)
        match outcome:
            case Answer():
                await self._deliver(outcome.deployment)
            case Failure():
                raise self._error_of(outcome)

    # ------------------------------------------------------------ money: who asks, under which policy

    def _admit(self) -> Model:
        gateway, request, caller, entry = self.gateway, self.request, self.caller, self.entry
        headers = self.client.headers
        policy = gateway.config.policy_for(caller.policy, caller.team)
        user = request.user or headers.get(b"x-gateway-user", b"").decode("latin-1")
        entry.user = user[:LONGEST_NAME] or None
        entry.tags = _tags(request.metadata.get("tags"), headers.get(b"x-gateway-tags"))
        entry.policy, entry.policy_version = str(policy), policy.version
        if not caller.may_use(request.model):
            raise errors.model_not_allowed(request.model)
        model = gateway.models.get(request.model)
        if model is None:
            raise errors.model_not_found(request.model)
        if not model.deployments:
            raise errors.model_unpriced(request.model)
        wanted = headers.get(b"x-gateway-profile", b"").decode("latin-1") or None
        try:
            self.policy = policy.choose(self._facts() if policy.profiles else {}, wanted)
        except UnknownProfile as error:
            raise errors.invalid_request(str(error), "x-gateway-profile") from None
        entry.policy = str(self.policy)
        return model

    def _facts(self) -> dict[str, Any]:
        """Gather what a profile's condition may ask about."""
        conversation = self.request.conversation
        head = conversation.messages[: leading_system(conversation.messages)]
        return conditions.facts(
            tools=conversation.tools,
            system=sum(len(message.text) for message in head),
            model=self.request.model,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in self.client.headers.items()},
            metadata=self.request.metadata,
        )

    # ------------------------------------------------------------ budget and rewriting: how it leaves

    async def _fit(self, model: Model) -> Fitted:
        """Plan for the model asked for. Raises GatewayError (400) for what cannot be made to fit."""
        assert self.policy is not None
        fitted = await fit(self.request, self.policy, model, self._counter(model))
        self._note(fitted)
        self.entry.planned = self.gateway.monotonic()
        if isinstance(fitted.plan, Refusal) and self.policy.mode == "enforce":
            raise self._refusal(fitted)
        return fitted

    def _counter(self, model: Model) -> Counter:
        return self.gateway.counters.for_encoding(model.encoding)

    def _note(self, fitted: Fitted) -> None:
        """Keep the plan for the calls, and tell the books of it."""
        self.fitted[fitted.model.name] = fitted
        entry, plan = self.entry, fitted.plan
        if plan is None:
            entry.counted, entry.before = "bytes", byte_sizes(self.request)
            return
        entry.counted, entry.before = "tokens", plan.before
        if isinstance(plan, Refusal):
            entry.plan = "refused" if self._enforces() else "observed"
            return
        entry.room = plan.room
        entry.plan = "unchanged" if plan.changes is None else "rewritten" if self._enforces() else "observed"
        entry.after = plan.after if entry.plan == "rewritten" else plan.before
        entry.edits = runs([(edit.at, edit.tool, edit.remedy, edit.before, edit.after) for edit in plan.edits])
        entry.forced = plan.forced

    def _enforces(self) -> bool:
        return self.policy is not None and self.policy.mode == "enforce"

    def _changes(self, fitted: Fitted) -> Changes | None:
        return fitted.plan.changes if isinstance(fitted.plan, Plan) and self._enforces() else None

    def _refusal(self, fitted: Fitted) -> GatewayError:
        refusal = fitted.plan
        assert isinstance(refusal, Refusal)
        if refusal.illegal is not None:
            return errors.invalid_request(
                f"The request does not fit and was not legal when it came, so it was not rewritten: {refusal.illegal}",
                refusal.at,
            )
        if refusal.ours:
            self.gateway.log.error("illegal rewrite", id=self.entry.id, policy=self.entry.policy)
        limit = self.request.answer_limit or 0
        window = fitted.window
        return errors.context_length_exceeded(
            window=min(w for w in (window.policy, window.deployment) if w is not None),
            prompt=refusal.prompt_tokens,
            completion=limit or window.reserve,
            policy=self.policy.name if self.policy is not None else "",
            component=refusal.component,
            tokens=refusal.tokens,
            room=refusal.room,
            at=refusal.at,
        )

    # ------------------------------------------------------------ the books are opened before anything is sent

    async def _open(self, model: Model, fitted: Fitted) -> None:
        """Enter the request with an estimate of its cost. Raises GatewayError (503) where that cannot be written."""
        request, deployment = self.request, model.deployments[0]
        prompt = fitted.prompt_tokens or len(request.body) // BYTES_PER_TOKEN
        limit = request.answer_limit or fitted.window.reserve or USUAL_ANSWER
        answer = min(limit, model.max_output or LONGEST_ANSWER)
        estimate = Usage(prompt=prompt, completion=answer * request.choices, estimated=True)
        price = deployment.price
        cost = None if price is None else price.cost(estimate, request.service_tier, self.gateway.now())
        try:
            await self.gateway.ledger.append(self.entry.opened(estimate, cost))
        except LedgerUnavailable as error:
            self.gateway.log.critical("ledger unavailable", id=self.entry.id, reason=str(error))
            raise errors.ledger_unavailable() from error

    # ------------------------------------------------------------ routing: calls

    async def _call(self, deployment: Deployment) -> Outcome:
        """Try one deployment, and once more with another plan where it finds the prompt too long."""
        model = self.gateway.models[deployment.model_name]
        fitted = self.fitted.get(model.name)
        if fitted is None:
            assert self.policy is not None
            fitted = await fit(self.request, self.policy, model, self._counter(model))
            if isinstance(fitted.plan, Refusal) and self._enforces():
                return Failure(deployment, "connect", message=f"the request does not fit the fallback {model.name}")
            self._note(fitted)
        outcome = await self._try(deployment, sent(self.request, deployment.model, self._changes(fitted)))
        if isinstance(outcome, Failure) and outcome.status is not None and self._enforces():
            found = too_long(outcome.status, outcome.body)
            if found is not None:
                return await self._call_with_less(deployment, fitted, found, outcome)
        return outcome

    async def _call_with_less(self, deployment: Deployment, fitted: Fitted, found: TooLong, first: Failure) -> Outcome:
        """Plan once more, with our count scaled to the upstream's, and send that once."""
        assert self.policy is not None
        model, counter = fitted.model, self._counter(fitted.model)
        ours = fitted.prompt_tokens or await prompt_tokens(self.request, model, counter)
        factor = max(1.0, found.tokens / ours) if found.tokens else LESS_ROOM
        again = await fit(self.request, self.policy, model, counter, factor, found.limit)
        if (
            isinstance(again.plan, Plan)
            and again.plan.changes is not None
            and again.plan.changes != self._changes(fitted)
        ):
            self._note(again)
            outcome = await self._try(deployment, sent(self.request, deployment.model, again.plan.changes))
            if not (
                isinstance(outcome, Failure) and outcome.status is not None and too_long(outcome.status, outcome.body)
            ):
                return outcome
            first = outcome
        self.too_long_at = again
        return first

    async def _try(self, deployment: Deployment, body: bytes) -> Outcome:
        gateway, started = self.gateway, self.gateway.monotonic()
        self.priced_by = deployment
        self.entry.deployment = f"{deployment.provider}/{deployment.model}"
        try:
            outcome = await self._exchange(deployment, body)
        except UpstreamError as error:
            outcome = Failure(deployment, error.kind, message=error.message)
        status = outcome.status if isinstance(outcome, Failure) else 200
        failed = (outcome.kind if outcome.status is None else "status") if isinstance(outcome, Failure) else None
        now = gateway.monotonic()
        self.entry.attempts.append(
            {"deployment": deployment.name, "status": status, "error": failed, "ms": round((now - started) * 1e3, 1)}
        )
        gateway.health.learn(outcome, now)
        if isinstance(outcome, Failure):
            gateway.log.warning(
                "upstream failed",
                id=self.entry.id,
                deployment=deployment.name,
                kind=failed,
                status=status,
                said=outcome.message,
            )
        return outcome

    async def _exchange(self, deployment: Deployment, body: bytes) -> Outcome:
        """Make one call and wait for its first byte: until then another deployment may still be asked."""
        outcome = await self.gateway.upstreams.call(
            deployment, body, stream=self.request.stream, request_id=self.entry.id, now=self.gateway.now()
        )
        if isinstance(outcome, Failure):
            return outcome
        self.reply = reply = outcome.reply
        if self.request.stream and reply.headers.get("content-type", "").startswith("text/event-stream"):
            chunks = reply.chunks()
            first = await anext(chunks, None)
            self.whole = None if first is None else _Stream(reply, first, chunks)
        else:
            self.whole = _read_whole(reply, await reply.read())
        if self.whole is None:
            await reply.close()
            return Failure(deployment, "garbage", message="the upstream's answer is not a chat completion")
        self.entry.first_byte = self.gateway.monotonic()
        return outcome

    def _error_of(self, failure: Failure) -> GatewayError:
        """Say to the client what the last upstream said, or what kept it from saying anything."""
        at = self.too_long_at
        if at is not None and failure.status is not None:
            return self._still_too_long(at, failure)
        if failure.status is None:
            kind = failure.kind
            return errors.upstream_failed(kind, f"The upstream for {self.request.model} gave no answer ({kind}).")
        return errors.upstream_refused(failure.status, failure.body, failure.headers.get("retry-after"))

    def _still_too_long(self, at: Fitted, failure: Failure) -> GatewayError:
        """Put the upstream's verdict in our wording: agents know it."""
        if isinstance(at.plan, Refusal) and at.plan.illegal is None:
            return self._refusal(at)
        found = too_long(failure.status or 400, failure.body)
        counted = (
            found.tokens if found is not None and found.tokens else int((at.prompt_tokens or 0) * at.window.factor)
        )
        window = (found.limit if found is not None else None) or at.window.deployment or at.window.policy or counted
        before = at.plan.before if at.plan is not None else {"input": counted}
        largest = max(before, key=lambda name: before[name])
        return errors.context_length_exceeded(
            window=window,
            prompt=counted,
            completion=self.request.answer_limit or at.window.reserve,
            policy=self.policy.name if self.policy is not None else "",
            component=largest,
            tokens=before[largest],
            room=max(0, window - at.window.reserve),
            at=None,
        )

    # ------------------------------------------------------------ the answer

    async def _deliver(self, deployment: Deployment) -> None:
        match self.whole:
            case _Whole() as whole:
                await self._deliver_whole(deployment, whole)
            case _Stream() as stream:
                await self._relay(deployment, stream)

    async def _deliver_whole(self, deployment: Deployment, whole: _Whole) -> None:
        usage = usage_from_openai(whole.fields.get("usage"), deployment.provider)
        await self._price(usage or await self._counted(_said(whole.fields)), deployment, whole.fields)
        self.entry.http_status = 200
        await self._settle("answered")
        headers = _head(self.entry.id, whole.content_type, len(whole.body)) + self._told(whole.upstream_id)
        if self.entry.cost_nanousd is not None:
            headers.append((b"x-gateway-cost-usd", usd(self.entry.cost_nanousd).encode()))
        await self.client.start(200, headers)
        await self.client.end(whole.body)

    async def _relay(self, deployment: Deployment, stream: _Stream) -> None:
        """Pass events on as they come; what ends the stream waits until the entry is written."""
        client, relay = self.client, EventRelay(hold_back_usage=not self.request.asks_usage)
        stream.relay = relay
        self.entry.http_status = 200
        await client.start(200, _head(self.entry.id, stream.content_type) + self._told(stream.upstream_id))
        trouble: UpstreamError | None = None
        out = relay.feed(stream.first)
        try:
            while not relay.done:
                if out:
                    await client.send(out)
                chunk = await anext(stream.chunks, None)
                if chunk is None:
                    out = relay.finish()
                    break
                out = relay.feed(chunk)
        except UpstreamError as error:
            trouble, out = error, b""
        if trouble is None and not relay.finished and relay.error is None:
            trouble = UpstreamError("reset", "the stream ended before the answer was complete")
        usage = usage_from_openai(relay.usage, deployment.provider)
        await self._price(usage or await self._counted(relay.seen_text()), deployment, {})
        if trouble is not None:
            failed = errors.upstream_failed(trouble.kind, f"The upstream's stream broke off ({trouble.kind}).")
            self.entry.error = failed.code
            out += error_event(failed, self.entry.id)
            self.gateway.log.warning(
                "stream cut by upstream", id=self.entry.id, deployment=deployment.name, kind=trouble.kind
            )
        elif relay.error is not None:
            self.entry.error = str(relay.error.get("code") or "upstream_error")[:LONGEST_NAME]
        await self._settle("answered" if self.entry.error is None else "failed")
        await client.end(out)
        if relay.done:
            await _drain(stream.chunks)

    def _told(self, upstream_id: str | None) -> Headers:
        """Say in headers what was done."""
        told = [
            (b"x-gateway-policy", self.entry.policy.encode("latin-1", "replace")),
            (b"x-gateway-plan", self._plan_header().encode("latin-1", "replace")),
        ]
        if upstream_id:
            told.append((b"x-gateway-upstream-request-id", upstream_id.encode("latin-1", "replace")))
        return told

    def _plan_header(self) -> str:
        fitted = self.fitted.get(self.priced_by.model_name) if self.priced_by is not None else None
        plan = fitted.plan if fitted is not None else None
        if isinstance(plan, Plan) and plan.changes is not None:
            return f"{self.entry.plan}; {plan.summary}"
        if isinstance(plan, Refusal):
            return f"{self.entry.plan}; tokens={plan.prompt_tokens}/{plan.prompt_tokens}; too_big={plan.component}"
        return self.entry.plan

    # ------------------------------------------------------------ money: what it cost

    async def _counted(self, said: str) -> Usage:
        """Count what the provider did not report: the prompt as it was sent, and what came back."""
        assert self.priced_by is not None
        fitted = self.fitted[self.priced_by.model_name]
        counter = self._counter(fitted.model)
        await counter.learn([said])
        rewritten = fitted.prompt_tokens if self._changes(fitted) is not None else None
        prompt = rewritten or await prompt_tokens(self.request, fitted.model, counter)
        return Usage(prompt=prompt, completion=counter.count(said) if said else 0, estimated=True)

    async def _price(self, usage: Usage, deployment: Deployment, fields: Mapping[str, Any]) -> None:
        tier = fields.get("service_tier") or self.request.service_tier
        self.entry.price(usage, deployment.price, tier if isinstance(tier, str) else None, self.gateway.now())

    async def _settle(self, status: Status) -> None:
        """Write the end, once. Money may have been spent: what the disk does not take now is kept and written first."""
        self.client.unwatch()
        if self.settled:
            return
        self.settled = True
        await self.gateway.ledger.append(self.entry.settled(status, self.gateway.monotonic()), owed=True)
        await asyncio.sleep(0)  # the write of this tick happens before the response ends

    async def _end_with(self, error: GatewayError) -> None:
        self.entry.error, self.entry.http_status = error.code or error.type, error.status
        await self._settle("failed" if self.priced_by is not None or error.status >= 500 else "refused")
        if self.client.started:
            await self.client.end(error_event(error, self.entry.id))
        else:
            await refuse(self.client, error, self.entry.id, self._told(None))

    async def _cancelled(self) -> None:
        """Stop the upstream of a client that left, and enter what was used until then."""
        if self.reply is not None:
            await self.reply.close()
        if self.settled:
            return
        if self.priced_by is not None and self.entry.usage is None:
            relay = self.whole.relay if isinstance(self.whole, _Stream) else None
            usage = usage_from_openai(relay.usage, self.priced_by.provider) if relay is not None else None
            await self._price(
                usage or await self._counted(relay.seen_text() if relay is not None else ""), self.priced_by, {}
            )
        self.entry.http_status, self.entry.error = 499, "client_gone" if self.client.gone else "gateway_stopped"
        await self._settle("cancelled")


# ---------------------------------------------------------------- pieces of an answer


@dataclass(slots=True)
class _Whole:
    """An answer that is all here."""

    body: bytes
    fields: Mapping[str, Any]
    content_type: bytes
    upstream_id: str | None


class _Stream:
    """A stream whose first bytes are here."""

    __slots__ = ("chunks", "content_type", "first", "relay", "upstream_id")

    def __init__(self, reply: Reply, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        self.first, self.chunks = first, chunks
        self.content_type = reply.headers.get("content-type", "text/event-stream").encode("latin-1", "replace")
        self.upstream_id = _upstream_id(reply.headers)
        self.relay: EventRelay | None = None


def _read_whole(reply: Reply, body: bytes) -> _Whole | None:
    """Read a whole answer; None where it is not one."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("choices"), list):
        return None
    return _Whole(body, fields, b"application/json", _upstream_id(reply.headers))


def _upstream_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-request-id") or headers.get("request-id")


def _said(fields: Mapping[str, Any]) -> str:
    """Join what the model said in a whole answer, for counting."""
    texts: list[str] = []
    for choice in fields["choices"]:
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict):
            texts += [
                text for key in ("content", "refusal", "reasoning_content") if isinstance(text := message.get(key), str)
            ]
            if message.get("tool_calls"):
                texts.append(orjson.dumps(message["tool_calls"]).decode())
    return "\n".join(texts)


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read to the end of a finished stream, briefly."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, UpstreamError):
        return


def _tags(listed: object, header: bytes | None) -> list[str]:
    """Read tags from the metadata or the header."""
    if listed is None and header is not None:
        listed = header.decode("latin-1")
    if isinstance(listed, str):
        listed = listed.split(",")
    found = [tag.strip()[:LONGEST_NAME] for tag in listed if isinstance(tag, str)] if isinstance(listed, list) else []
    return [tag for tag in dict.fromkeys(found) if tag][:MOST_TAGS]


def usd(nanousd: int) -> str:
    """Write an amount in dollars, exactly."""
    whole, rest = divmod(nanousd, 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else str(whole)
