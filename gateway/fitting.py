"""From a request and what is known of its model to a plan: the shell that measures, around the core that decides.

Nothing is tokenised where the bytes already prove that the prompt fits; what must be tokenised and is long is read off
the event loop first, so that deciding never holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.budget import media
from gateway.budget.allocation import Window
from gateway.budget.calibration import DEFAULT_MARGIN
from gateway.budget.components import CountMedia, Recognition, dissect, fits_by_bytes, texts
from gateway.budget.tokens import Counter
from gateway.conversation import Media, last_user, leading_system
from gateway.policy import Policy
from gateway.rewriting.plan import Plan, Refusal, plan, recognition_of
from gateway.routing.deployment import Deployment
from gateway.wire.chat import ChatRequest
from gateway.wire.legality import Rules, for_provider

_PLAIN = Recognition()

LONG_BODY = 256 * 1024
"""Bytes from which on a request is planned in a thread: below, deciding takes a few milliseconds at most."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a model name stands for: its deployments, and what budgets must know of all of them at once.

    The bytes that are sent must not depend on which deployment is drawn, so the smallest window counts.
    """

    name: str
    deployments: tuple[Deployment, ...]
    window: int | None
    max_output: int | None
    shared: bool
    encoding: str
    exact: bool
    legal: Rules
    count_media: CountMedia

    def bounds(self, policy: Policy, factor: float = 1.0, limit: int | None = None) -> Window:
        """Say what bounds a prompt under this policy.

        `factor` is how many tokens the provider counts for one of ours, and `limit` a window it named itself.
        """
        margin = policy.reserve.margin
        if margin is None:
            margin = 0 if self.exact or factor != 1.0 else DEFAULT_MARGIN
        known = [window for window in (self.window, limit) if window is not None]
        return Window(
            policy=policy.context_window,
            deployment=min(known, default=None),
            shared=self.shared,
            reserve=policy.reserve.output,
            margin=margin,
            factor=factor,
        )


def models_of(catalogue: Mapping[str, Sequence[Deployment]], *, unpriced: bool) -> dict[str, Model]:
    """Gather the deployments of each model name; without `unpriced`, those without a price are left out."""
    return {
        name: _model(name, [d for d in group if unpriced or d.price is not None]) for name, group in catalogue.items()
    }


def _model(name: str, deployments: Sequence[Deployment]) -> Model:
    facts = [deployment.facts for deployment in deployments]
    first = facts[0] if facts else None
    provider, model = (first.provider, first.model) if first is not None else ("", "")
    return Model(
        name=name,
        deployments=tuple(deployments),
        window=min((fact.window for fact in facts if fact.window is not None), default=None),
        max_output=min((fact.max_output for fact in facts if fact.max_output is not None), default=None),
        shared=any(fact.shared for fact in facts),
        encoding=first.encoding if first is not None else "o200k_base",
        exact=bool(facts) and all(fact.exact for fact in facts),
        legal=for_provider(provider, model),
        count_media=partial(_media_tokens, provider, model),
    )


def _media_tokens(provider: str, model: str, part: Media) -> int:
    match part.kind:
        case "image":
            return media.image_tokens(provider, model, part.data, part.detail)
        case "audio":
            return media.audio_tokens(provider, model, part.data, part.detail)
        case "file":
            return media.file_tokens(provider, model, part.data)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was decided for one request and one model. `plan` is None where bytes proved that it fits."""

    model: Model
    plan: Plan | Refusal | None
    window: Window

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt as it leaves, by our count; None where nobody counted."""
        return self.plan.tokens_after if isinstance(self.plan, Plan) else None


async def fit(
    request: ChatRequest, policy: Policy, model: Model, counter: Counter, factor: float = 1.0, limit: int | None = None
) -> Fitted:
    """Decide how the request leaves for this model."""
    window = model.bounds(policy, factor, limit)
    most = window.budget(request.answer_limit or 0)
    proven = most is None or fits_by_bytes(request.conversation, len(request.body), most)
    if policy.mode == "off" or (proven and not policy.strict):
        return Fitted(model, None, window)
    await counter.learn(texts(request.conversation))
    decide = partial(decided, request, policy, model, window, counter)
    if len(request.body) < LONG_BODY:
        return Fitted(model, decide(), window)
    return Fitted(model, await asyncio.get_running_loop().run_in_executor(None, decide), window)


def decided(request: ChatRequest, policy: Policy, model: Model, window: Window, counter: Counter) -> Plan | Refusal:
    """Count the request and plan it, here and now."""
    anatomy = dissect(request.conversation, recognition_of(policy), counter.count, model.count_media)
    return plan(anatomy, policy, window, request.answer_limit or 0, model.legal, counter.count)


async def prompt_tokens(request: ChatRequest, model: Model, counter: Counter) -> int:
    """Count the prompt as it came, for a request that nobody had to count before."""
    await counter.learn(texts(request.conversation))
    return dissect(request.conversation, _PLAIN, counter.count, model.count_media).total


def byte_sizes(request: ChatRequest) -> dict[str, int]:
    """Bytes of the body by component, for requests that are not counted; examples and documents count as history."""
    messages, spans = request.conversation.messages, request.message_spans
    head = leading_system(messages)
    tools = sum(
        end - start for key in ("tools", "functions") if key in request.spans for start, end in (request.spans[key],)
    )
    system = spans[head - 1].end - spans[0].start if head else 0
    last = len(messages) - 1
    while last > head and messages[last].is_result:
        last -= 1
    own = spans[-1].end - spans[last].start if last >= head else 0
    asked = last_user(messages)
    if asked is not None and head <= asked < last:
        own += spans[asked].end - spans[asked].start
    history = spans[-1].end - spans[0].start - system - own
    return {"system": system, "tools": tools, "history": max(0, history), "input": own}
