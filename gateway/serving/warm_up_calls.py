"""One re-read of a prefix, made through the gateway's own calls and entered in the ledger like any request.

It is booked to the team and the key of the last request with the prefix, as kind `warm_up`, without a user. It is sent
as that request was: to the same deployment, with its declared volatile text moved, and with its head marked.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.config.policy import Policy, Reserve
from gateway.keep_warm.schedule import Reread, WarmUp, WarmUpFailed, WarmUpResult
from gateway.money.entry import RequestFacts
from gateway.money.ledger import ID_ENTROPY_BYTES, new_id
from gateway.rewriting.plan import Refusal
from gateway.serving.admission import Admitted
from gateway.serving.attempt import Calls
from gateway.serving.fit import Fitted
from gateway.serving.own_calls import NoAnswer, answer_of
from gateway.serving.prompt_cache_use import KeepWarmTarget
from gateway.serving.services import Gateway
from gateway.wire.chat import parse
from gateway.wire.errors import GatewayError

TIMEOUT_SECONDS: Final = 20.0


async def send_warm_up(gateway: Gateway, warm_up: WarmUp) -> WarmUpResult:
    """Send a warm-up. Raises WarmUpFailed, with the reason."""
    deployment, policy = warm_up.deployment, warm_up.policy
    expiry = gateway.prompt_caches.expiry(warm_up.cache, warm_up.link)
    if expiry is None or deployment.name in gateway.health.resting(gateway.monotonic()):
        return "later"
    started = gateway.monotonic()
    facts = RequestFacts(
        new_id(gateway.now(), os.urandom(ID_ENTROPY_BYTES)),
        warm_up.key,
        warm_up.team,
        model=warm_up.model,
        policy=str(policy),
        policy_version=policy.version,
        kind="warm_up",
    )
    alone = replace(gateway.models[deployment.model_name], deployments=(deployment,))
    plain = Policy(policy.name, reserve=Reserve(0, 0), prompt_cache=replace(policy.prompt_cache, warm=()))
    request, target = parse(warm_up.body, gateway.memo), KeepWarmTarget(expiry[1], warm_up.cache_key)
    calls = Calls(gateway, Admitted(alone, plain), request, facts, target)
    try:
        fitted = await calls.fit(alone)
        if not await _is_cacheable(calls, fitted, warm_up):
            return "nothing"
        made = await answer_of(calls, fitted, partial(calls.call, deployment), started, TIMEOUT_SECONDS)
    except NoAnswer as error:
        raise WarmUpFailed(str(error)) from error
    except GatewayError as error:
        raise WarmUpFailed(error.message) from error
    finally:
        await calls.close()
    return Reread(0 if made.bill.usage is None else made.bill.usage.cached, made.bill.cost_nanousd or 0)


async def _is_cacheable(calls: Calls, fitted: Fitted, warm_up: WarmUp) -> bool:
    """Check whether the request would begin with the prefix, and whether it is long enough for the cache."""
    if isinstance(fitted.plan, Refusal):
        return False
    lookup = await calls.cache_use.look(warm_up.deployment, calls.changes(fitted))
    if lookup is None or lookup.sent.chain.links[lookup.head] != warm_up.link:
        return False
    tokens = await calls.gateway.prompt_caches.head_tokens(
        lookup, calls.counter(fitted.model), fitted.model.count_media
    )
    return tokens >= lookup.facts.least
