"""The balances of limits as gauges: each worker reads the shared counters from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway.config.wildcards import is_pattern
from gateway.money.limits import Applied, Limits
from gateway.money.scopes import declared_scopes
from gateway.operators import families
from gateway.operators.recording import Recorder
from gateway.serving.services import Gateway
from gateway.state import StateUnavailable
from gateway.state.counters import Balance

MOST_SCOPES: Final = 400
"""Limits that are shown: those of the first keys of the configuration."""


class LimitGauges:
    """The gauges of one worker. Limits of users and tags are never among them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._limits: Limits | None = None
        self._scopes: Sequence[Applied] = ()
        self._shown: set[tuple[families.MetricFamily, tuple[str, ...]]] = set()

    async def note(self, gateway: Gateway) -> None:
        """Read and show what is left. While the counters are down, the last values stay."""
        if gateway.limits is not self._limits:
            self._limits, self._scopes = gateway.limits, await _scopes(gateway)
        now, limiting = gateway.now(), gateway.limiting
        applied = [one.moved_to(now) for one in self._scopes]
        if not applied or limiting is None:
            self._show({})
            return
        try:
            balances = await limiting.balances(applied, now)
        except StateUnavailable:
            return
        self._show(_values(applied, balances))

    def _show(self, values: dict[tuple[families.MetricFamily, tuple[str, ...]], int]) -> None:
        for family, labels in self._shown - values.keys():
            self._recorder.set(family, families.GONE, *labels)
        for (family, labels), value in values.items():
            self._recorder.set(family, value, *labels)
        self._shown = set(values)


async def _scopes(gateway: Gateway) -> Sequence[Applied]:
    """List what a configuration limits; others are served in between."""
    out: list[Applied] = []
    if gateway.limits is None:
        return out
    models = [name for name in gateway.models if not is_pattern(name)]
    for found in declared_scopes(gateway.config, gateway.limits, models, gateway.now()):
        out += found
        if len(out) >= MOST_SCOPES:
            break
        await asyncio.sleep(0)
    return out[:MOST_SCOPES]


def _values(
    applied: Sequence[Applied], balances: Sequence[Balance]
) -> dict[tuple[families.MetricFamily, tuple[str, ...]], int]:
    """Return the value of each series: of two limits with the same labels, the one with less left."""
    out: dict[tuple[families.MetricFamily, tuple[str, ...]], int] = {}
    for one, balance in zip(applied, balances, strict=True):
        limit = one.charge.limit
        if one.rule.kind == "money" and limit is not None:
            at, left = (families.BUDGET_REMAINING, (one.party, one.rule.period)), limit - balance.spent - balance.most
            out[at] = min(left, out.get(at, left))
        if one.rule.kind != "requests":
            holds = (families.HOLDS, (one.party,))
            out[holds] = max(balance.holds, out.get(holds, 0))
    return out
