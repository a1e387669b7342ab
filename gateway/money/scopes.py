"""The limits that a configuration declares, each with the parties that it names: no users, no tags. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.config import Config
from gateway.money.keys import OPEN
from gateway.money.limits import Applied, Limits, Parties


def declared_scopes(config: Config, limits: Limits, models: Iterable[str], at: float) -> Iterator[Sequence[Applied]]:
    """Yield the limits of one key after the other, each limit once, at a moment."""
    callers = [(key.name, key.team, key.policy) for key in config.keys]
    if config.is_open:
        callers.append((OPEN.key, OPEN.team, None))
    named, seen = list(models), set[str]()
    for key, team, policy in callers:
        found = limits.binding(Parties(key, team), config.policy_for(policy, team).name, named, at)
        yield [one for one in found if one.charge.account not in seen]
        seen.update(one.charge.account for one in found)
