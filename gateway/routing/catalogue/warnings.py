"""Warnings about a sound configuration: where requests and keys go, and values that may not be meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from gateway.config import Config
from gateway.config.addresses import CHAT, parse_address
from gateway.config.litellm_keys import PROVIDERS
from gateway.money.prices.names import names_no_model
from gateway.providers.key_variables import usual_variables
from gateway.providers.table import provider_of
from gateway.routing.catalogue import meant, without_effect
from gateway.routing.deployment import OTHER_LOGIN, Deployment, needs_no_key
from gateway.wire.operations import NAMES

DEAREST: Final = Decimal("0.001")
"""Dollars for one token above which somebody has given the price of a thousand or a million."""

_NAMED: Final = 5
"""Names in a line; what is more is counted."""


def notes(config: Config, deployments: Sequence[Deployment]) -> Iterator[str]:
    """Say what is understood without being written: whose key goes where, what has no effect, what is not served."""
    for (variable, place, own), names in _implied(deployments).items():
        if own:
            yield f"{config.file}: {variable} is sent to {place} ({_listed(names)})"
    for told in without_effect(config.models):
        yield f"{config.file}: {told}"
    for one in deployments:
        if one.operation is None:
            kind = one.mode.replace("_", " ")
            yield f"{config.file}: {one.name} is for {kind}: it is not served (mode: chat in its model_info if it is)"
        elif not one.is_served:
            what = f"{NAMES[one.operation]}, which is not translated to {one.provider}"
            yield f"{config.file}: {one.name} is for {what}: it is not served"


def warnings(
    config: Config, deployments: Sequence[Deployment], now: datetime, *, environment: bool = True
) -> Iterator[str]:
    """Say what may not be meant; without `environment` nothing is said of what stands there."""
    for told in (
        *_expired(config, now),
        *_unpriced(config, deployments),
        *_dear(deployments),
        *_smaller_fallbacks(config, deployments),
        *_unusual_addresses(deployments),
        *_strange_hosts(deployments),
        *(_without_key(deployments) if environment else ()),
    ):
        yield f"{config.file}: {told}"


def _expired(config: Config, now: datetime) -> Iterator[str]:
    for key in config.keys:
        if key.revoked is None and key.expires is not None and key.expires <= now:
            yield f"key {key.name} expired on {key.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC: it is refused"


def _unpriced(config: Config, deployments: Sequence[Deployment]) -> Iterator[str]:
    consequence = (
        "it is called, and its cost is entered as unknown"
        if config.unpriced == "allow"
        else "it is never called; give its prices in model_info, or set unpriced: allow"
    )
    unpriced = [one for one in deployments if one.price is None and one.is_served and "*" not in one.model_name]
    likely = meant(unpriced)
    for deployment in unpriced:
        hint = f"; did you mean {likely[deployment.name]!r}?" if deployment.name in likely else ""
        if names_no_model(deployment.model):
            hint = "; its ARN does not say which model it is: name that in model_info.base_model (bedrock/MODEL)"
        yield f"{deployment.name} has no price: {consequence}{hint}"


def _dear(deployments: Sequence[Deployment]) -> Iterator[str]:
    for one in deployments:
        rates = None if one.price is None else one.price.rates()
        if rates is not None and (most := max(rates.input, rates.output)) > DEAREST:
            yield f"{one.name} costs ${most:f} a token: prices are for one token, as 1.25e-6, not for a million"


def _smaller_fallbacks(config: Config, deployments: Sequence[Deployment]) -> Iterator[str]:
    windows: dict[str, int] = {}
    for one in deployments:
        if one.facts.window is not None:
            windows[one.model_name] = min(one.facts.window, windows.get(one.model_name, one.facts.window))
    for name, others in config.fallbacks.items():
        for other in others:
            if name in windows and windows.get(other, windows[name]) < windows[name]:
                yield (
                    f"{name} falls back to {other}, whose window is {windows[other]:,} tokens and not "
                    f"{windows[name]:,}: what does not fit there is made to, or refused"
                )


def _unusual_addresses(deployments: Sequence[Deployment]) -> Iterator[str]:
    """Say where an address is asked as it stands though most servers answer one level deeper."""
    for one in deployments:
        address = parse_address(one.api_base) if one.kind == "direct" and one.api_base else None
        if address is not None and not address.has_version and not _is_own(one):
            yield f"{one.name} is asked at {address.shown(CHAT)}: most servers answer under /v1 of it"


def _strange_hosts(deployments: Sequence[Deployment]) -> Iterator[str]:
    for (variable, place, own), names in _implied(deployments).items():
        if not own:
            yield (
                f"{variable} is sent to {place}, which is not the provider's own ({_listed(names)}): name the key "
                "that is meant for it as api_key, or write api_key: none"
            )


def _without_key(deployments: Sequence[Deployment]) -> Iterator[str]:
    """Say who is asked without a key that it asks for."""
    for one in deployments:
        names = usual_variables(one.provider)
        other = any(PROVIDERS.fullmatch(name) for name in one.params) or not OTHER_LOGIN.isdisjoint(one.params)
        somewhere = not _is_own(one)
        if one.api_key is None and names and not other and not somewhere and not needs_no_key(one):
            yield f"{one.name} is asked without a key: it has no api_key, and {names[0]} is not set"


def _implied(deployments: Sequence[Deployment]) -> Mapping[tuple[str, str, bool], list[str]]:
    """Gather, by variable and host, the models that are sent a key which the file does not name."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for one in deployments:
        if one.key_from is None:
            continue
        address = parse_address(one.api_base) if one.api_base else None
        place = one.provider if address is None else address.place
        names = found.setdefault((one.key_from, place, _is_own(one)), [])
        if one.model_name not in names:
            names.append(one.model_name)
    return found


def _is_own(one: Deployment) -> bool:
    """Whether a deployment is at its provider's own host."""
    address = parse_address(one.api_base) if one.api_base else None
    return address is None or one.is_providers_own or address.host == provider_of(one.provider).host


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
