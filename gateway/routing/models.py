"""Models that clients ask for: the deployments behind a name, and what budgets must know of all of them at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.budget import media
from gateway.budget.allocation import Window, usual_reserve
from gateway.budget.calibration import EXACT, UNKNOWN, Calibration
from gateway.budget.components import CountMedia
from gateway.config.policy import Policy
from gateway.conversation import Media
from gateway.memory import Memory
from gateway.providers.families import rules_of
from gateway.routing.deployment import Deployment
from gateway.wire.legality import Rules
from gateway.wire.operations import METERED, Operation

_SHORT_FILE_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Model:
    """A model name's deployments, and the facts that budgets must know of all of them at once.

    The bytes that are sent must not depend on which deployment is drawn, so the smallest window counts.
    """

    name: str
    deployments: tuple[Deployment, ...]
    window: int | None
    max_output: int | None
    shared: bool
    encoding: str
    exact: bool
    legal: tuple[Rules, ...]
    """The rules of every provider that may be asked."""
    count_media: CountMedia
    answer_limit: int | None = None
    """The longest answer to a request that does not say, as far as the configuration does."""
    declared_as: str = ""
    """Its name in `model_list`: another one where asterisks cover it."""
    metered: Mapping[Operation, tuple[Deployment, ...]] = field(default_factory=dict)
    """The deployments that serve other operations than chat."""
    declared: tuple[Deployment, ...] = ()
    """All that stand behind it, those included that are not called: without a price, or of no operation."""

    @property
    def is_served(self) -> bool:
        """Whether it is asked for anything."""
        return bool(self.deployments or self.metered)

    def serving(self, operation: Operation) -> tuple[Deployment, ...]:
        """Return the deployments that serve an operation."""
        return self.deployments if operation == "chat" else self.metered.get(operation, ())

    def tiers(self, resting: Collection[str], operation: Operation = "chat") -> list[tuple[Deployment, ...]]:
        """Return the deployments by `order`, the lowest first; what is wholly at rest comes after the others."""
        deployments = self.serving(operation)
        if len(deployments) < 2:
            return [deployments]
        by_order: dict[float, list[Deployment]] = {}
        for one in deployments:
            by_order.setdefault(math.inf if one.order is None else one.order, []).append(one)
        found = [tuple(by_order[order]) for order in sorted(by_order)]
        return sorted(found, key=lambda tier: all(one.name in resting for one in tier)) if len(found) > 1 else found

    def bounds(
        self,
        policy: Policy,
        calibration: Calibration = UNKNOWN,
        answer_limit: int | None = None,
        thinking: int = 0,
    ) -> Window:
        """Say what bounds a prompt under this policy.

        `answer_limit` is how long the request says its answer may be; a reserve that is `auto` follows it. `thinking`
        is how much of it may be thinking, as far as the request says so: where it names no limit, that comes on top.
        `calibration` is what is known of the provider's count. It does not enter where the tokenizer is public, nor
        where the policy declares a margin: then that is kept free, no more and no less.
        """
        declared, output = policy.reserve.margin, policy.reserve.output
        widths = [window for window in (policy.context_window, self.window) if window is not None]
        reserve = usual_reserve(output, min(widths, default=None), self.max_output)
        more = 0 if answer_limit else thinking
        follows = answer_limit or (reserve + more if more else None)
        return Window(
            policy=policy.context_window,
            deployment=self.window,
            shared=self.shared,
            reserve=reserve,
            margin=declared or 0,
            calibration=calibration if declared is None and not self.exact else EXACT,
            follows=follows if output is None else None,
            thinking=more,
        )


def models_of(catalogue: Mapping[str, Sequence[Deployment]], *, unpriced: bool) -> dict[str, Model]:
    """Gather the deployments of each model name; without `unpriced`, those without a price are left out."""
    return {name: model_of(name, group, unpriced=unpriced) for name, group in catalogue.items()}


def model_of(name: str, group: Sequence[Deployment], *, unpriced: bool, declared_as: str | None = None) -> Model:
    """Gather the deployments of a model name, as `models_of` does, by the operation that they serve.

    A model that asterisks cover has a price of its own, or none.
    """
    called = [one for one in group if unpriced or one.price is not None or "*" in name]
    deployments = [one for one in called if one.is_chat]
    limits = [one.answer_limit for one in deployments]
    facts = [deployment.facts for deployment in deployments]
    encodings = sorted({fact.encoding for fact in facts}) or ["o200k_base"]
    asked = sorted({(fact.provider, fact.model) for fact in facts})
    return Model(
        name=name,
        deployments=tuple(deployments),
        window=min((fact.window for fact in facts if fact.window is not None), default=None),
        max_output=min((fact.max_output for fact in facts if fact.max_output is not None), default=None),
        shared=any(fact.shared for fact in facts),
        encoding=encodings[-1],
        exact=len(encodings) == 1 and bool(facts) and all(fact.exact for fact in facts),
        legal=tuple(dict.fromkeys(_legal(deployment) for deployment in sorted(deployments, key=_by_model))),
        count_media=_MediaCounter(tuple(asked)),
        answer_limit=max((limit for limit in limits if limit is not None), default=None),
        declared_as=declared_as or name,
        metered=_metered(called),
        declared=tuple(group),
    )


def _metered(group: Sequence[Deployment]) -> Mapping[Operation, tuple[Deployment, ...]]:
    """Gather the deployments that serve other operations than chat.

    Chat models may speak text completions too; those of the demo provider stand in for any other model.
    """
    served = [one for one in group if one.is_served and not one.is_chat]
    for one in group:
        if one.is_chat and one.kind != "translated":
            served += [one.asked_for(other) for other in (_OF_DEMO if one.kind == "demo" else ("completions",))]
        if one.is_chat and (spoken := one.spoken("responses")) is not None:
            served.append(spoken.asked_for("compact"))
    found = {operation: tuple(one for one in served if one.operation == operation) for operation in METERED}
    return {operation: deployments for operation, deployments in found.items() if deployments}


_OF_DEMO: Final = tuple(operation for operation in METERED if operation != "compact")


def _by_model(deployment: Deployment) -> tuple[str, str]:
    return deployment.provider, deployment.model


def _legal(deployment: Deployment) -> Rules:
    rules = rules_of(deployment.provider, deployment.model)
    return replace(rules, binds_reasoning=True) if deployment.cache.binds_reasoning else rules


class _MediaCounter:
    """Counts a part that is not text as the provider that makes the most of it.

    The pages of a file are remembered: they are found by walking through it. By the interpreter's own hash and the
    length, so that no file is held.
    """

    def __init__(self, asked: Sequence[tuple[str, str]]) -> None:
        self._asked = asked
        self._files: Memory[tuple[int, int, int | None], int] = Memory(256 * 1024)

    def __call__(self, part: Media) -> int:
        if part.kind != "file" or len(part.data) < _SHORT_FILE_CHARS:
            return self._counted(part)
        key = hash(part.data), len(part.data), part.size
        known = self._files.get(key)
        if known is None:
            known = self._counted(part)
            self._files.put(key, known, 0)
        return known

    def __reduce__(self) -> tuple[type[_MediaCounter], tuple[Sequence[tuple[str, str]]]]:
        """Leave behind what is remembered: the hashes of another process are others."""
        return _MediaCounter, (self._asked,)

    def _counted(self, part: Media) -> int:
        return max((media.part_tokens(provider, model, part) for provider, model in self._asked), default=0)
