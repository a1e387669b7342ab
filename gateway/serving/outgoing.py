"""The request as one deployment is to have it: what is added for it, and its body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

from gateway.budget.tokens import Counter
from gateway.conversation import Changes
from gateway.request import Marks, Request
from gateway.routing.deployment import Deployment
from gateway.serving.fit import LARGE_BODY, Fitted, prompt_tokens
from gateway.wire.outgoing import Additions
from gateway.wire.shape import shape_of


async def additions_for(
    request: Request, deployment: Deployment, fitted: Fitted, counter: Counter, prompt: int | None
) -> Additions:
    """Give what is added for a deployment: an answer limit too, where it needs one and the client names none.

    `prompt` is the number of prompt tokens that are sent, where they were counted.
    """
    additions = deployment.additions
    if deployment.needs_answer_limit and not shape_of(request).is_limited(request):
        limit = await _answer_limit(request, fitted, counter, prompt)
        additions = replace(additions, answer_limit=limit)
    return additions


async def _answer_limit(request: Request, fitted: Fitted, counter: Counter, prompt: int | None) -> int:
    """Say how long the answer may be, for a provider that must be told and a client that does not."""
    window, model = fitted.window, fitted.model
    most = model.max_output
    if prompt is None and not any(message.media for message in request.conversation.messages):
        longest = window.answer(window.calibration.grown(request.most_tokens), most)
        if longest == most:
            return longest  # its bytes prove it: nobody has to count
    if prompt is None:
        prompt = await prompt_tokens(request, model, counter.weighed(window.calibration.weights))
    return window.answer(prompt, most)


async def body_for(
    request: Request,
    deployment: Deployment,
    changes: Changes | None,
    marks: Marks | None,
    additions: Additions,
    threads: Callable[[], Executor],
) -> bytes:
    """Write the request for a deployment, a large one off the event loop. It is a chat where that does not speak the
    shape.
    """
    shape, spoken = shape_of(request), deployment.spoken(request.shape)
    write, model = (shape.as_chat, deployment.model) if spoken is None else (shape.write, spoken.model)
    if len(request.body) < LARGE_BODY:
        return write(request, model, changes, marks, additions)
    run = asyncio.get_running_loop().run_in_executor
    return await run(threads(), write, request, model, changes, marks, additions)
