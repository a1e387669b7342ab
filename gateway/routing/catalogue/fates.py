"""The fate of each key of a `model_list`: acted on, without effect, or refused. Pure.

The facts by name are `config.litellm_keys`; here they meet the price table's keys and what an entry is for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.config.litellm_keys import (
    CLIENTS,
    DEFAULTS,
    INSTEAD,
    OF_INFO,
    OURS,
    PROVIDERS,
    RATES,
    WITHOUT_EFFECT,
)
from gateway.config.problems import closest
from gateway.money.prices.entries import is_price
from gateway.routing.deployment import Kind

_BY_TIME: Final = re.compile(r"(?:input_|output_)?cost_per_(?:second|character|pixel|query)\w*")
_OTHER_PRICE: Final = re.compile(r"\w*(?:cost|pric|dbu)\w*")
_ROUTERS: Final = re.compile(r"(?:auto|complexity|adaptive|quality)_router_\w+")


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of one key."""

    kind: Literal["acted on", "without effect", "refused"]
    reason: str = ""
    suggestion: str | None = None


_ACTED: Final = Fate("acted on")


def of_param(name: str, value: Any, kind: Kind, heeded: Collection[str] = ()) -> Fate:
    """Say what becomes of a key of `litellm_params` of a deployment that is reached in this way.

    `heeded`: those of providers' own keys that are acted on all the same where nothing is translated.
    """
    if value is None:
        return _ACTED
    if name in INSTEAD:
        if name == "ssl_verify" and value is True:
            return Fate("without effect", "certificates are always checked")
        return Fate("refused", INSTEAD[name])
    if name == "additional_drop_params" and kind != "translated":
        return _dropped(value)
    if name in OURS or name in DEFAULTS or name in RATES or is_price(name):
        return _ACTED
    if name in WITHOUT_EFFECT:
        return Fate("without effect", WITHOUT_EFFECT[name])
    if _ROUTERS.fullmatch(name):
        return Fate("refused", "a model is not chosen by what is asked: name it in the request, or give it an alias")
    if name in CLIENTS:
        return Fate("refused", "it is the request itself, which clients send: leave it out")
    if PROVIDERS.fullmatch(name):
        return (
            _ACTED
            if kind == "translated" or name in heeded
            else Fate("without effect", "this provider's wire has no place for it")
        )
    if (price := _price(name, value)) is not None:
        return price
    if name.startswith("supports_") or name in OF_INFO:
        return Fate("without effect", "stands in model_info, if anywhere")
    meant = closest(name, [*OURS, *DEFAULTS])
    told = f"unknown key {name!r}; a member of the request's body that clients leave out stands in extra_body"
    return Fate("refused", told, meant)


def of_info(name: str, value: Any) -> Fate:
    """Say what becomes of a key of `model_info`: LiteLLM takes any, as notes to the model."""
    if value is None or name in OF_INFO or is_price(name):
        return _ACTED
    if name == "pricing":
        return Fate("refused", INSTEAD[name])
    told = WITHOUT_EFFECT.get(name, "a note: no answer and no price depends on it")
    return _price(name, value) or Fate("without effect", told)


def _price(name: str, value: Any) -> Fate | None:
    """Judge a price that is not one for tokens; None where it is no price."""
    if _BY_TIME.fullmatch(name) and value not in (0, "0", 0.0):
        told = (
            "usage is told in tokens: give input_cost_per_token and output_cost_per_token instead (0 where it is free)"
        )
        return Fate("refused", told)
    if _OTHER_PRICE.fullmatch(name):
        return Fate("without effect", "not charged: usage does not tell how often that happened")
    return None


def _dropped(names: Any) -> Fate:
    """Judge `additional_drop_params`: whole members of the body are left out, not what is inside them."""
    deep = [name for name in names if "." in str(name) or "[" in str(name)] if isinstance(names, list) else []
    if deep:
        return Fate("refused", f"{deep[0]!r} is inside a member: only whole members of the body can be left out here")
    return _ACTED


Entry = tuple[int | None, Mapping[str, Any], Mapping[str, Any], Kind, Collection[str]]
"""Line, litellm_params, model_info, kind, and the keys of its provider's own that are heeded."""


def of_list(entries: Iterable[Entry]) -> Iterator[KeyFate]:
    """Judge every key of a list, in its order."""
    for index, (line, params, info, kind, heeded) in enumerate(entries):
        for name, value in params.items():
            yield KeyFate(index, line, ("litellm_params", str(name)), of_param(str(name), value, kind, heeded))
        for name, value in info.items():
            yield KeyFate(index, line, ("model_info", str(name)), of_info(str(name), value))


@dataclass(frozen=True, slots=True)
class KeyFate:
    """A key of one entry, and what becomes of it."""

    index: int
    line: int | None
    key: tuple[str, str]
    fate: Fate


def named_once(told: Iterable[KeyFate]) -> Iterator[str]:
    """Say which keys are without effect and why, a line for each name, however often it stands there."""
    found: dict[tuple[tuple[str, str], str], list[KeyFate]] = {}
    for one in told:
        if one.fate.kind == "without effect":
            found.setdefault((one.key, one.fate.reason), []).append(one)
    for (key, reason), those in found.items():
        lines = sorted({one.line for one in those if one.line is not None})
        times = "" if len(those) == 1 else f", {len(those)} times"
        where = f" (line {lines[0]}{times})" if lines else ""
        yield f"{'.'.join(key)}{where} is without effect: {reason}"
