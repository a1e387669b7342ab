"""What a client is told when its request does not fit, or no deployment answered. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from gateway.budget.allocation import Window
from gateway.fitting import Fitted
from gateway.policy import Policy
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.attempts import Failure
from gateway.routing.too_long import too_long
from gateway.routing.upstream import Trouble
from gateway.wire import errors
from gateway.wire.chat import ChatRequest
from gateway.wire.errors import GatewayError


def does_not_fit(refusal: Refusal, fitted: Fitted, request: ChatRequest, policy: Policy) -> GatewayError:
    """Refuse what cannot be made to fit, or came illegal and would have to be."""
    if refusal.illegal is not None:
        told = f"The request does not fit and was not legal when it came, so it was not rewritten: {refusal.illegal}"
        return errors.invalid_request(told, refusal.at)
    if _is_the_limits_fault(refusal, fitted.window, request, policy):
        return _limit_too_large(refusal, fitted.window, request, policy)
    completion = request.answer_limit or fitted.window.reserve
    return errors.context_length_exceeded(
        window=fitted.window.width or refusal.budget + completion,
        prompt=refusal.prompt_tokens,
        completion=completion,
        policy=policy.name,
        component=refusal.component,
        tokens=refusal.tokens,
        room=refusal.room,
        at=refusal.at,
        reason=_why(refusal, fitted.window, request, policy),
    )


def _why(refusal: Refusal, window: Window, request: ChatRequest, policy: Policy) -> str:
    """Say how the room came about: the window, what is kept free of it, and under `strict` the share."""
    limit = request.answer_limit or 0
    budget = window.budget(limit)
    if window.width is None or budget is None:
        return ""
    answer = window.kept_for(limit)
    error = window.width - answer - budget
    kept = [f"{answer} kept for the answer"] if answer else []
    kept += [f"{error} for the error of the count"] if error > 0 else []
    less = f", {window.width} less {' and '.join(kept)}" if kept else ""
    share = policy.allocation.in_words(refusal.component) if policy.strict and refusal.room < budget else ""
    return f"The prompt may have {budget} tokens{less}." + (
        f" Under strict, {refusal.component} may have {share}." if share else ""
    )


def _is_the_limits_fault(refusal: Refusal, window: Window, request: ChatRequest, policy: Policy) -> bool:
    """Whether the answer that the request asks for leaves no room, where one as long as the policy's would."""
    without = replace(window, follows=None).budget()
    if request.answer_limit is None or without is None or refusal.budget >= without:
        return False
    fits_without = refusal.prompt_tokens <= without and not policy.strict  # strict: its share may be what is too small
    return refusal.budget <= 0 or fits_without


def _limit_too_large(refusal: Refusal, window: Window, request: ChatRequest, policy: Policy) -> GatewayError:
    limit = request.answer_limit or 0
    assert window.width is not None, "an answer limit counts in a window alone"
    most = bisect_right(range(1, limit), -refusal.prompt_tokens, key=lambda answer: -(window.budget(answer) or 0))
    return errors.answer_limit_exceeded(
        window=window.width if window.deployment is None or window.follows else window.deployment,
        prompt=refusal.prompt_tokens,
        completion=limit,
        param=request.limited_by,
        most=most if most > 0 and not policy.strict else None,
    )


def still_too_long(failure: Failure, fitted: Fitted, request: ChatRequest, policy: Policy) -> GatewayError:
    """Put the verdict of an upstream that had two plans in our wording: agents know it."""
    plan = fitted.plan
    if isinstance(plan, Refusal):
        return does_not_fit(plan, fitted, request, policy)
    assert isinstance(plan, Plan)
    found = too_long(failure.status or 400, failure.body)
    counted = (found.tokens if found is not None else None) or plan.tokens_after
    room = fitted.window.budget(request.answer_limit or 0) or 0
    largest = max(plan.after, key=lambda name: plan.after[name])
    return errors.context_length_exceeded(
        window=(found.limit if found is not None else None) or fitted.window.width or room + fitted.window.reserve,
        prompt=counted,
        completion=request.answer_limit or fitted.window.reserve,
        policy=policy.name,
        component=largest,
        tokens=plan.after[largest],
        room=room,
        at=None,
    )


_GAVE_NO_ANSWER: dict[Trouble, str] = {
    "connect": "could not be reached",
    "timeout": "said nothing for too long",
    "reset": "broke the connection off",
    "garbage": "answered with something that is not a chat completion",
}


def unanswered(failure: Failure, model: str) -> GatewayError:
    """Say what the last upstream said, or what kept it from saying anything."""
    match failure.kind:
        case "status":
            return errors.upstream_refused(failure.status or 502, failure.body, failure.headers.get("retry-after"))
        case "unfit" if failure.param is not None:
            return errors.invalid_request(failure.message, failure.param)
        case "unfit":
            kind: Trouble = "connect"
        case trouble:
            kind = trouble
    return errors.upstream_failed(kind, f"The upstream for {errors.printable(model)} {_GAVE_NO_ANSWER[kind]}.")
