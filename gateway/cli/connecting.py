"""The trials of `gateway check --connect`: Redis, and each address that is named, with calls that cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config import Config
from gateway.config.addresses import parse_address
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.direct import Direct
from gateway.routing.upstreams.upstream import UpstreamError
from gateway.state import StateUnavailable, open_state
from gateway.wire.errors import printable


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of one trial."""

    what: str
    told: str
    failed: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.told}"


async def tried(config: Config, deployments: Sequence[Deployment]) -> list[Tried]:
    """Try everybody at once, each for ten seconds at most; in the order of the file."""
    direct = Direct(config.network)
    try:
        found = await asyncio.gather(*(_reached(direct, one) for one in deployments))
    finally:
        await direct.close()
    return [*([await asyncio.to_thread(_redis, config)] if config.state.redis else []), *found]


def _redis(config: Config) -> Tried:
    try:
        state = open_state(config.state)
    except StateUnavailable as error:
        return Tried("state.redis", f"not reached: {error}", failed=True)
    try:
        state.get("gateway-check")
    except StateUnavailable as error:
        return Tried("state.redis", f"not reached: {error}", failed=True)
    finally:
        state.close()
    return Tried("state.redis", "reached")


async def _reached(direct: Direct, one: Deployment) -> Tried:
    """Ask a server which models it has; of one that speaks another way, whether it answers at all."""
    if one.kind == "demo":
        return Tried(one.name, "built in")
    address = None if one.api_base is None else parse_address(one.api_base)
    if address is None:
        return Tried(one.name, "not tried: it has no api_base, and its provider's own address is the library's to know")
    place = address.shown()
    try:
        status = await direct.reached(one)
    except UpstreamError as error:
        return Tried(one.name, f"not reached at {place} ({error.kind}): {_words(one, error)}", failed=True)
    if one.kind == "translated":
        return Tried(one.name, f"reached at {place}")
    if status in {401, 403}:
        return Tried(one.name, f"reached at {place}, and its key is refused ({status})", failed=True)
    return Tried(one.name, f"reached at {place} ({status})")


def _words(one: Deployment, error: UpstreamError) -> str:
    """Say what went wrong, with what is quoted of the upstream, but for the credentials that it may quote."""
    told = f"{error.message}: {error.said}" if error.said else error.message
    return printable(one.secrets.out_of_text(told), 500)
