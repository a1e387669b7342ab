"""The fit of a request whose provider clears old results by itself: what is left of it counts.

Whoever's threshold comes first clears: ours, and the provider's is never reached; or the provider's, and what it clears
is neither counted nor folded here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.budget.clearing import cleared, comes_first, with_cleared
from gateway.budget.components import OVERHEAD_REPLY, counted, fits_by_bytes, texts, tools_tokens
from gateway.budget.tokens import Counter, Weighed
from gateway.conversation import Message
from gateway.request import Request
from gateway.rewriting.plan import Plan
from gateway.routing.models import Model
from gateway.serving.fit import LARGE_BODY, Fitted

Fit = Callable[[Request], Awaitable[Fitted]]


async def fit_after_clearing(
    request: Request, model: Model, counter: Counter | Weighed, most: int | None, fit: Fit
) -> Fitted:
    """Plan a request by what its provider leaves of it, where it clears before we would fold; else as it came."""
    clearing = request.clearing
    if clearing is None or most is None or len(request.body) >= LARGE_BODY:
        return await fit(request)
    conversation = request.conversation
    is_heard = all(one.spoken(request.shape) is not None for one in model.deployments)
    if not is_heard or conversation.elsewhere is not None or fits_by_bytes(conversation, request.most_tokens, most):
        return await fit(request)
    await counter.learn(texts(conversation, counter.messages))
    beside = OVERHEAD_REPLY + tools_tokens(conversation, counter.count)

    def size(message: Message) -> int:
        return counter.messages.get(message) or counted(message, counter.count, model.count_media, counter.messages)

    gone = cleared(conversation.messages, clearing, size, beside)
    if not gone or not comes_first(conversation.messages, clearing, size, beside, most):
        return await fit(request)
    fitted = await fit(replace(request, conversation=with_cleared(conversation, gone)))
    changes = fitted.changes
    if changes is None:
        return fitted if fitted.plan is None or isinstance(fitted.plan, Plan) else await fit(request)
    sent = changes.applied(conversation.messages)
    still = cleared(sent, clearing, size, beside)
    left = with_cleared(replace(conversation, messages=sent), still).messages
    if gone.isdisjoint(changes.changed) and beside + sum(map(size, left)) <= most:
        return fitted
    return await fit(request)
