"""The load of each deployment, and the conversations that run elsewhere than where their ranking sends them.

The clock is an argument, in Unix seconds, because `routing/placements.py` shares with other processes what moved. One a
process, bounded in memory; what is forgotten costs one reading of a prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

from gateway.conversation import Conversation
from gateway.memory import USUAL, Memory
from gateway.routing.affinity import Group, Load, affinity_group, deployment_order, rank, seeds
from gateway.routing.deployment import Deployment

LATELY_SECONDS: Final = 600.0
"""A request counts as load by e^(-age / this): about as long as what was read stays in a busy cache."""
AWAY_SECONDS: Final = 600.0
"""A conversation that load sent elsewhere stays there until it has been idle this long, or a quarter less: not much of
it is left in a busy cache by then."""
BACK_SECONDS: Final = 60.0
"""A conversation whose deployment failed comes back after this, if it is well by then. Not at the first sign: one that
fails on and off would have it read anew each time."""

_STAY_BYTES: Final = 160
_MOST_MOVED: Final = 5000
"""Moves that wait to be shared, while the state is down."""


@dataclass(frozen=True, slots=True)
class Stay:
    """The place of a conversation that is not at home."""

    at: str
    until: float
    for_load: bool
    """Whether it was passed on for load, and so has nothing to come back to."""


class Loads:
    """The facts that the choice between deployments is made from."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("placements")) -> None:
        self._in_flight: dict[str, int] = {}
        self._recent: dict[str, tuple[float, float]] = {}
        self._seeds: dict[str, int] = {}
        self._stays: Memory[int, Stay] = Memory(most_bytes // 2)
        self._moved: dict[int, Stay] = {}
        self.digests: Memory[str, bytes] = Memory(most_bytes // 2)

    def __repr__(self) -> str:
        return f"Loads(in_flight={self._in_flight}, away={len(self._stays)})"

    def begin(self, name: str, now: float) -> None:
        """Count a call to a deployment; each is ended once."""
        self._in_flight[name] = self._in_flight.get(name, 0) + 1
        self._recent[name] = (self._lately(name, now) + 1, now)

    def end(self, name: str) -> None:
        self._in_flight[name] -= 1

    def of(self, name: str, now: float) -> Load:
        return Load(self._in_flight.get(name, 0), self._lately(name, now))

    def ranked(self, key: int, deployments: Sequence[Deployment]) -> list[Deployment]:
        """Rank the deployments of one model."""
        try:
            return rank(key, deployments, self._seeds)
        except KeyError:
            self._seeds |= seeds(deployments)
            return rank(key, deployments, self._seeds)

    def stay(self, group: Group) -> Stay | None:
        """Say where a conversation runs, if not at home. One that begins runs nowhere yet."""
        if not group.turns:
            return None
        return self._stays.get(group.trail) or self._stays.get(group.key)

    def settle(self, group: Group, stay: Stay) -> None:
        """Remember where a conversation runs, and that it is to be shared."""
        trail = group.trail if group.turns else group.key
        self._stays.put(trail, stay, _STAY_BYTES)
        if len(self._moved) < _MOST_MOVED:
            self._moved[trail] = stay

    def take_moved(self) -> dict[int, Stay]:
        """Hand over what moved since the last time."""
        moved, self._moved = self._moved, {}
        return moved

    def give_back(self, moved: Mapping[int, Stay]) -> None:
        """Take back what could not be shared."""
        self._moved = {**moved, **self._moved}

    def adopt(self, stays: Mapping[int, Stay]) -> None:
        """Take over what all know, but for what has moved again since."""
        for trail, stay in stays.items():
            if trail not in self._moved and self._stays.get(trail) != stay:
                self._stays.put(trail, stay, _STAY_BYTES)

    def _lately(self, name: str, now: float) -> float:
        found = self._recent.get(name)
        return 0.0 if found is None else found[0] * exp(min(found[1] - now, 0.0) / LATELY_SECONDS)


class Preference:
    """The order in which one request asks the deployments of a model, and what its answer teaches.

    Nothing is worked out before there is a choice to make.
    """

    __slots__ = ("_asked", "_conversation", "_group", "_homes", "_loads", "_now", "_resting", "_stay")

    def __init__(self, loads: Loads, conversation: Conversation, resting: Collection[str], now: float) -> None:
        self._loads, self._conversation, self._resting, self._now = loads, conversation, resting, now
        self._group: Group | None = None
        self._stay: Stay | None = None
        self._homes: dict[str, str] = {}
        """By model name: the deployment that the ranking alone would choose."""
        self._asked: list[str] = []
        """The deployments in the order in which they are asked."""

    def __call__(self, deployments: Sequence[Deployment]) -> list[Deployment]:
        """Return all of them: the healthy ones by preference, then those at rest."""
        if self._group is None:
            self._group = affinity_group(self._conversation, self._loads.digests)
            self._stay = self._loads.stay(self._group)
        ranked = self._loads.ranked(self._group.key, deployments)
        home, stay = ranked[0].name, self._stay
        self._homes[ranked[0].model_name] = home
        away = stay is not None and (self._now < stay.until or home in self._resting)
        healthy = [one for one in ranked if one.name not in self._resting] if self._resting else ranked
        loads = {one.name: self._loads.of(one.name, self._now) for one in healthy}
        first = deployment_order(
            healthy, loads, turns=self._group.turns, stays=stay.at if stay is not None and away else None
        )
        out = first if len(first) == len(ranked) else first + [one for one in ranked if one.name in self._resting]
        self._asked += [one.name for one in out]
        return out

    def answered(self, deployment: Deployment, now: float) -> None:
        """Learn where the conversation runs now."""
        group, stay, home = self._group, self._stay, self._homes.get(deployment.model_name)
        if group is None or home is None or deployment.name not in self._asked:
            return  # the only one of its order: there was nothing to choose
        held = stay is not None and now < stay.until
        if deployment.name == home:
            if held and stay is not None and stay.at != home:
                self._loads.settle(group, Stay(home, now + AWAY_SECONDS, for_load=False))
            return
        known = stay is not None and held and stay.at == deployment.name
        if stay is not None and known and (not stay.for_load or stay.until - now > AWAY_SECONDS * 3 / 4):
            return  # what is away after a failure comes back when it was to; the rest is renewed, not at each request
        came_down = home in self._resting or self._asked.index(home) < self._asked.index(deployment.name)
        for_load = known or not came_down
        self._loads.settle(group, Stay(deployment.name, now + (AWAY_SECONDS if for_load else BACK_SECONDS), for_load))
