"""The use that an answer makes of what the rewrite of its request took away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from gateway.budget.tokens import LONG_BODY
from gateway.request import Request
from gateway.rewriting.plan import Plan, Refusal
from gateway.rewriting.retention import Retention, Values, retention
from gateway.serving.fit import LARGE_BODY
from gateway.wire.answer import Heard


async def retained(
    request: Request, plan: Plan | Refusal | None, heard: Heard, known: Values, threads: Callable[[], Executor]
) -> Retention | None:
    """Set an answer against what a plan took away, a long text in a thread.

    None where nothing was rewritten, and for a large body: one pass over a text of its size holds the interpreter for
    longer than others should wait.
    """
    if len(request.body) >= LARGE_BODY or not isinstance(plan, Plan) or plan.changes is None or not plan.rewrites:
        return None
    changes = plan.changes

    def found() -> Retention:
        said = heard.said()
        return retention(request.conversation, changes, said.texts, said.arguments, known)

    if max(len(request.body), heard.heard_bytes) < LONG_BODY:
        return found()
    return await asyncio.get_running_loop().run_in_executor(threads(), found)
