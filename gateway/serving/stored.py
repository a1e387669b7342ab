"""What providers keep for clients: whose it is, and which deployment has it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.money.entry import RequestFacts
from gateway.request import Request
from gateway.routing.deployment import Deployment
from gateway.serving.services import Gateway
from gateway.serving.stored_ids import Holding, StoredIds
from gateway.wire import errors
from gateway.wire.answer import StoredAnswer


def note_stored(ids: StoredIds, facts: RequestFacts, deployment: Deployment, heard: object) -> None:
    """Remember under which ids an answer is kept, for whom and by whom."""
    if isinstance(heard, StoredAnswer):
        ids.note(heard.stored, Holding(facts.team or "", facts.key, deployment.model_name, deployment.name))


async def owned(gateway: Gateway, member: str, wanted: str, team: str | None) -> Deployment:
    """Return the deployment that has something of this team's. Raises GatewayError (404)."""
    holding = await gateway.stored.holder(wanted)
    if holding is None or holding.team != (team or ""):
        raise errors.stored_not_found(member, wanted)
    model = gateway.models.get(holding.model)
    found = next((one for one in (() if model is None else model.deployments) if one.name == holding.deployment), None)
    if found is None:
        raise errors.stored_not_found(member, wanted)
    return found


async def bound(
    gateway: Gateway, request: Request, team: str | None, groups: Sequence[tuple[Deployment, ...]]
) -> list[tuple[Deployment, ...]]:
    """Keep the deployments that have what a request builds on: those of the same account.

    Where none of them speaks the request's shape, all stay: they refuse it by name. Raises GatewayError (404, 400).
    """
    if not request.named or not any(one.spoken(request.shape) for group in groups for one in group):
        return list(groups)
    left = list(groups)
    for member, wanted in request.named:
        left = of_the_account(left, member, await owned(gateway, member, wanted, team), request.model)
    return left


def of_the_account(
    groups: Sequence[tuple[Deployment, ...]], member: str, holder: Deployment, model: str
) -> list[tuple[Deployment, ...]]:
    """Keep the deployments of the account that has something. Raises GatewayError (400) where none is left."""
    left = [tuple(one for one in group if _same_account(one, holder)) for group in groups]
    if not any(left):
        raise errors.stored_elsewhere(member, holder.name, model)
    return [group for group in left if group]


def _same_account(one: Deployment, other: Deployment) -> bool:
    return (one.provider, one.api_base, one.api_key) == (other.provider, other.api_base, other.api_key)
