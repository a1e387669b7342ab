"""Learning each provider's count from its answers, together with every worker and machine that shares the state.

Planning uses only the values that the shared state held when it was last read or written, so that all processes plan
alike: an answer changes nothing here before it is merged there, between requests. A state that is down or holds
nonsense costs nothing but the learning: what was known is kept, else the defaults, and answers wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import orjson

from gateway.budget.calibration import EXACT, FORMAT, Calibration, Stats, observe, start, strictest, teaches
from gateway.budget.kinds import Kinds
from gateway.routing.deployment import ModelFacts
from gateway.routing.models import Model
from gateway.state.codec import Codec
from gateway.state.shared import Shared, Sharing, Untold

Answer = tuple[Kinds, int]
"""Our count of what was sent, by kind of text, and the provider's."""

MOST_WAITING: Final = 500
"""Answers of one model that are kept while the state is down; the oldest go first."""

MOST_MODELS: Final = 500
"""Of which something is learned: a name with asterisks may stand for any number of them."""


def _from_json(said: Any) -> Stats:
    read = Stats.from_json(said)
    if read.calibration == EXACT:
        raise ValueError("nothing is learned of a model that is counted exactly")
    return read


STATS: Final = Codec(
    "calibration", FORMAT, Stats.to_json, _from_json, earlier=lambda raw: _from_json(orjson.loads(raw))
)


class Calibrations:
    """The published calibration of each model without a public tokenizer. The state is not touched where there is
    none.
    """

    def __init__(self, models: Iterable[Model], sharing: Sharing) -> None:
        """Take the models that answers will come from."""
        self._sharing = sharing
        self._held: dict[str, Stats] = {}
        self._waiting: dict[str, Untold[Answer]] = {}
        self.add(models)

    def add(self, models: Iterable[Model]) -> None:
        """Take more models that answers will come from; what is known of others stays."""
        keys = {_key(one.facts) for model in models for one in model.deployments if not one.facts.exact}
        for key in sorted(keys - self._waiting.keys()):
            self._share(key)

    def of(self, model: Model) -> Calibration:
        """Return what holds for every deployment of a model: of several, the one that leaves the least room."""
        if model.exact:
            return EXACT
        published = [
            EXACT if one.facts.exact else self._stats(_key(one.facts)).calibration for one in model.deployments
        ]
        return strictest(published)

    def observe(self, facts: ModelFacts, ours: Kinds, reported: int) -> None:
        """Take in an answer: our own count of what was sent, and the provider's."""
        key, sample = _key(facts), (ours, reported)
        if not teaches(self._stats(key), *sample):
            return
        if key not in self._waiting and len(self._waiting) < MOST_MODELS:
            self._share(key)
        if key in self._waiting:
            self._waiting[key].append(sample)

    def _share(self, key: str) -> None:
        waiting = self._waiting[key] = Untold(MOST_WAITING)
        self._sharing.add(
            Shared(
                key,
                STATS,
                empty=partial(self._stats, key),  # a state that was emptied gets back what is known here
                add=_observed,
                take_news=waiting.take,
                give_back=waiting.give_back,
                adopt=partial(self._held.__setitem__, key),
            )
        )

    def _stats(self, key: str) -> Stats:
        return self._held.get(key) or start(exact=False)


def _observed(stats: Stats, answers: Sequence[Answer]) -> Stats:
    for ours, reported in answers:
        stats = observe(stats, ours, reported)
    return stats


def _key(facts: ModelFacts) -> str:
    return f"calibration/{FORMAT}/{facts.provider}/{facts.model}"
