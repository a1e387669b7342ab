"""Errors for a request that does not fit, or that no deployment answered. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from gateway.budget.allocation import Window
from gateway.config.policy import Policy
from gateway.request import Request
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.attempts import Failure
from gateway.routing.too_long import too_long
from gateway.routing.upstreams.upstream import Trouble
from gateway.serving.fit import MOST_REWRITTEN, Fitted
from gateway.wire import errors
from gateway.wire.errors import GatewayError
from gateway.wire.headers import told_of_failure
from gateway.wire.limit_errors import rate_limited
from gateway.wire.operations import Operation
from gateway.wire.overflow import Overflow


def does_not_fit(refusal: Refusal, fitted: Fitted, request: Request, policy: Policy) -> GatewayError:
    """Refuse what cannot be made to fit, or came illegal and would have to be."""
    if refusal.illegal is not None:
        told = f"The request does not fit and was not legal when it came, so it was not rewritten: {refusal.illegal}"
        return errors.invalid_request(told, refusal.at)
    if _is_the_limits_fault(refusal, fitted.window, request, policy):
        return _limit_too_large(refusal, fitted.window, request, policy)
    if _is_final(refusal, request, policy):
        return _cannot_be_cut(refusal, fitted.window, request, policy)
    completion = fitted.window.kept_for(request.answer_limit or 0)
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
        bound=refusal.bounded,
    )


_NEVER_CUT = {"tools": "tools", "system": "leading system text", "input": "newest message"}
_SHORTER = {
    "tools": "Send fewer or shorter tools, have the operator let the policy choose among them (`tools: {select: …}`)",
    "system": "Shorten the system text",
    "input": "Shorten the newest message",
}


def _is_final(refusal: Refusal, request: Request, policy: Policy) -> bool:
    """Whether a client that shortens its conversation gains nothing: what never leaves it has no room beside the rest.

    An agent that compacts sends its conversation without tools to have it summarised, and then asks as before, for as
    long as the first succeeds. A newest message or results of tools that are too long by themselves are an overflow
    like any other: there, compacting fails as well or does help (opencode-ai 1.18: 3 requests, and it stops).
    """
    if refusal.budget <= 0:  # all of the window is kept for the answer: what is too big cannot be told
        return False
    if refusal.component in {"tools", "system"}:
        return True
    alone = refusal.before.get("input", 0)
    is_beside = policy.strict and refusal.component == "input" and _ends_with_a_person(request)
    return alone <= refusal.budget and (is_beside or sum(_fixed(refusal, request).values()) > refusal.budget)


def _ends_with_a_person(request: Request) -> bool:
    return request.conversation.messages[-1].role == "user"


def _fixed(refusal: Refusal, request: Request) -> dict[str, int]:
    """Count what may not be cut, whoever tries: the newest message where a person wrote it."""
    names = ("tools", "system", "input") if _ends_with_a_person(request) else ("tools", "system")
    return {name: refusal.before.get(name, 0) for name in names}


def _cannot_be_cut(refusal: Refusal, window: Window, request: Request, policy: Policy) -> GatewayError:
    fixed = _fixed(refusal, request)
    over = refusal.component if refusal.component in _SHORTER else max(fixed, key=lambda name: fixed[name])
    name, is_the_models = errors.printable(policy.name), window.policy is None or window.width != window.policy
    needs = sum(fixed.values()) + (window.width or 0) - refusal.budget
    while not errors.is_clean(str(needs)):
        needs += 1
    larger = "use a model with" if is_the_models else f"have the operator give policy {name}"
    do = f"{_SHORTER[over]}, or {larger} a window of {needs} tokens or more."
    if sum(fixed.values()) <= refusal.budget:
        do = f"{_SHORTER[over]}, or have the operator give {over} a larger share in policy {name}."
    return errors.prompt_too_large_for_policy(
        room=f"Policy {name}: {_why(refusal, window, request, policy, errors.figure)}",
        fixed={_NEVER_CUT[name]: tokens for name, tokens in fixed.items()},
        component=refusal.component,
        tokens=refusal.tokens,
        most=refusal.room,
        at=refusal.at,
        param="tools" if over == "tools" else "messages",
        do=f"{do} (What it holds is too long to be counted: {refusal.bounded} so much.)" if refusal.bounded else do,
    )


def _why(refusal: Refusal, window: Window, request: Request, policy: Policy, figure: Callable[[int], str] = str) -> str:
    """Say how the room came about: the window, what is kept free of it, and under `strict` the share."""
    limit = request.answer_limit or 0
    budget = window.budget(limit)
    if window.width is None or budget is None:
        return ""
    answer = window.kept_for(limit)
    error = window.width - answer - budget
    kept = [f"{figure(answer)} kept for the answer"] if answer else []
    kept += [f"{figure(error)} for the error of the count"] if error > 0 else []
    less = f", {figure(window.width)} less {' and '.join(kept)}" if kept else ""
    share = policy.allocation.in_words(refusal.component) if policy.strict and refusal.room < budget else ""
    told = f"The prompt may have {figure(budget)} tokens{less}."
    if share:
        told += f" Under strict, {refusal.component} may have {share}."
    if len(request.conversation.messages) > MOST_REWRITTEN:
        told += f" A conversation of more than {MOST_REWRITTEN:,} messages is not rewritten."
    return told


def _is_the_limits_fault(refusal: Refusal, window: Window, request: Request, policy: Policy) -> bool:
    """Whether the answer that the request asks for leaves no room, where one as long as the policy's would."""
    without = replace(window, follows=None).budget()
    if request.answer_limit is None or without is None or refusal.budget >= without:
        return False
    fits_without = refusal.prompt_tokens <= without and not policy.strict  # strict: its share may be what is too small
    return refusal.budget <= 0 or fits_without


def _limit_too_large(refusal: Refusal, window: Window, request: Request, policy: Policy) -> GatewayError:
    """Name the answer limit, and the highest with which this prompt fits; for good where a shorter one would not."""
    limit, param = request.answer_limit or 0, request.limited_by
    assert window.width is not None, "an answer limit counts in a window alone"
    found = bisect_right(range(1, limit), -refusal.prompt_tokens, key=lambda answer: -(window.budget(answer) or 0))
    most = found if found > 0 and not policy.strict else None
    width = window.width if window.deployment is None or window.follows else window.deployment
    if sum(_fixed(refusal, request).values()) <= refusal.budget:
        return errors.answer_limit_exceeded(
            window=width, prompt=refusal.prompt_tokens, completion=limit, param=param, most=most
        )
    while most and not errors.is_clean(str(most)):
        most -= 1
    fits = f" to {most} or less" if most else ""
    error = errors.prompt_too_large_for_policy(
        room=f"The window is {errors.figure(width)} tokens, and {param} keeps {errors.figure(limit)} for the answer.",
        fixed={_NEVER_CUT[name]: tokens for name, tokens in _fixed(refusal, request).items()},
        component="completion",
        tokens=limit,
        most=most or 0,
        at=param,
        param=param,
        do=f"Lower {param}{fits}, or leave it out.",
    )
    error.overflow = Overflow(width, refusal.prompt_tokens, limit, error.message, most, is_the_limits=True)
    return error


def still_too_long(failure: Failure, fitted: Fitted, request: Request, policy: Policy) -> GatewayError:
    """Put the verdict of an upstream that had two plans in our wording: agents know it. Its window must be known: else
    the numbers in it would be ours alone, and the upstream's own words tell more.
    """
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
        completion=fitted.window.kept_for(request.answer_limit or 0),
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
    "garbage": "answered with something that is not {answer}",
    "too_large": "answered with more bytes than an answer may have",
    "authentication": "could not be signed in to with the gateway's own credentials",
}


_ANSWERS: dict[Operation, str] = {
    "chat": "a chat completion",
    "embeddings": "a list of embeddings",
    "completions": "a text completion",
    "moderations": "a moderation",
    "rerank": "a reranking",
    "compact": "a compaction",
}


def unanswered(failure: Failure, model: str, now: float, operation: Operation = "chat") -> GatewayError:
    """Say what the last upstream said, or what kept it from saying anything, and whether to ask again.

    `now`: Unix seconds, for upstreams that say when by a date.
    """
    match failure.kind:
        case "status":
            status, fault = failure.status or 502, failure.fault
            if fault.kind == "key" or status == 401:
                return errors.key_refused(status)
            headers = told_of_failure(failure.headers, now, again=fault.kind in {"rate", "trouble"})
            return errors.upstream_refused(status, failure.body, headers)
        case "busy":
            seconds = max(1, math.ceil(failure.retry_after or 1.0))
            return rate_limited("every deployment has its rate", f"model={errors.printable(model)}", seconds, None)
        case "unfit" if failure.param is not None:
            return errors.invalid_request(failure.message, failure.param)
        case "unfit":
            kind: Trouble = "connect"
        case trouble:
            kind = trouble
    said = _GAVE_NO_ANSWER[kind].format(answer=_ANSWERS[operation])
    return errors.upstream_failed(kind, f"The upstream for {errors.printable(model)} {said}.")
