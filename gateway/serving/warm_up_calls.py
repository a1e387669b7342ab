"""One re-read of a prefix, made through the gateway's own calls and entered in its books like any request.

Booked to the team and the key whose request read it last, as kind `warm_up`, without a user. It leaves as that request
did: to the same deployment and no other, with its declared volatile text moved, and its head marked as it was.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.config.policy import Policy, Reserve
from gateway.keep_warm.schedule import NotWarmed, Reread, Warmed, WarmUp
from gateway.money.entry import Entry
from gateway.money.ledger import ID_ENTROPY_BYTES, new_id
from gateway.rewriting.plan import Refusal
from gateway.serving.admission import Admitted
from gateway.serving.attempt import Calls
from gateway.serving.fit import Fitted
from gateway.serving.own_calls import NoAnswer, answered
from gateway.serving.prompt_cache_use import Held
from gateway.serving.services import Gateway
from gateway.wire.chat import parse
from gateway.wire.errors import GatewayError

TIMEOUT_SECONDS: Final = 20.0


async def send(gateway: Gateway, warm_up: WarmUp) -> Warmed:
    """Have a prefix read again. Raises NotWarmed, with the reason."""
    deployment, policy = warm_up.deployment, warm_up.policy
    lasts = gateway.prompt_caches.lasts(warm_up.cache, warm_up.link)
    if lasts is None or deployment.name in gateway.health.resting(gateway.monotonic()):
        return "later"
    entry = Entry(
        new_id(gateway.now(), os.urandom(ID_ENTROPY_BYTES)),
        warm_up.key,
        warm_up.team,
        model=warm_up.model,
        policy=str(policy),
        policy_version=policy.version,
        kind="warm_up",
        started=gateway.monotonic(),
    )
    alone = replace(gateway.models[deployment.model_name], deployments=(deployment,))
    plain = Policy(policy.name, reserve=Reserve(0, 0), prompt_cache=replace(policy.prompt_cache, warm=()))
    request, held = parse(warm_up.body, gateway.memo), Held(lasts[1], warm_up.cache_key)
    calls = Calls(gateway, Admitted(alone, plain), request, entry, held)
    try:
        fitted = await calls.fit(alone)
        if not await _is_kept(calls, fitted, warm_up):
            return "nothing"
        await answered(calls, fitted, partial(calls.call, deployment), TIMEOUT_SECONDS)
    except NoAnswer as error:
        raise NotWarmed(str(error)) from error
    except GatewayError as error:
        raise NotWarmed(error.message) from error
    finally:
        await calls.close()
    return Reread(0 if entry.usage is None else entry.usage.cached, entry.cost_nanousd or 0)


async def _is_kept(calls: Calls, fitted: Fitted, warm_up: WarmUp) -> bool:
    """Whether what would leave begins with the prefix, and that is long enough for the provider to keep it."""
    if isinstance(fitted.plan, Refusal):
        return False
    one = await calls.cache_use.look(warm_up.deployment, calls.changes(fitted))
    if one is None or one.sent.chain.links[one.head] != warm_up.link:
        return False
    tokens = await calls.gateway.prompt_caches.head_tokens(one, calls.counter(fitted.model), fitted.model.count_media)
    return tokens >= one.facts.least
