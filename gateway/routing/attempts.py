"""The order in which deployments are tried: a conversation with upstreams as a generator.

Pure: no clock, no randomness, no network. Preferences and the deployments at rest are arguments; the driver makes the
calls. The order: the healthy ones of a group as preferred (by a weighted draw where nobody prefers), then those of that
group at rest, so that a cool-down never refuses what a call could have served and never prefers another model; then the
fallback groups in theirs.

Fallback is for failures before the first byte went to the client; what fails later is not an attempt any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import Reply, Trouble
from gateway.wire.faults import BUSY, TROUBLE, UNFIT, Fault, fault_of


@dataclass(frozen=True, slots=True)
class Answer:
    """The upstream answered with a status below 400: its reply is the client's."""

    deployment: Deployment
    reply: Reply


@dataclass(frozen=True, slots=True)
class Failure:
    """The upstream could not, or would not."""

    deployment: Deployment
    kind: Trouble | Literal["status", "unfit", "busy"]
    """`unfit`: the request cannot be made to fit this one, so it was not called. `busy`: it is over a rate of ours."""
    status: int | None = None
    body: bytes = b""
    """With a status: the upstream's own words, passed on as they came but for the secrets of the deployment."""
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    """Seconds, where the upstream named them."""
    message: str = ""
    """The event, in our words or a library's."""
    said: str = ""
    """A library's quotation of the upstream, beside the message."""
    param: str | None = None
    """With `unfit`: the parameter of the request that the deployment cannot serve, where it is one."""
    begun: bool = False
    """Whether the answer had begun to arrive: it is paid for, and asking another would buy it twice."""
    fault: Fault = field(init=False)
    """The party at fault."""

    def __post_init__(self) -> None:
        """Take the deployment's secrets out of all that it said, before anybody reads it."""
        secrets = self.deployment.secrets
        object.__setattr__(self, "body", secrets.out_of(self.body))
        object.__setattr__(self, "headers", secrets.out_of_headers(self.headers))
        object.__setattr__(self, "message", secrets.out_of_text(self.message))
        object.__setattr__(self, "said", secrets.out_of_text(self.said))
        object.__setattr__(self, "fault", self._fault())

    def _fault(self) -> Fault:
        if self.status is None:
            return {"unfit": UNFIT, "busy": BUSY}.get(self.kind, TROUBLE)
        model = self.deployment.model
        return fault_of(self.status, self.body, model=model, wildcard=self.deployment.pattern is not None)

    @property
    def may_fall_back(self) -> bool:
        """Whether another deployment may do better: not where the upstream judged the request, or began to answer."""
        return not self.begun and not self.fault.ends_the_search


Outcome = Answer | Failure
Attempts = Generator[Deployment, Outcome, Outcome]
Prefer = Callable[[Sequence[Deployment]], Sequence[Deployment]]
"""Puts the deployments of one model in order, all of them; asked only where there are several."""


def attempts(
    groups: Sequence[Sequence[Deployment]],
    draw: Callable[[], float],
    resting: Collection[str] = frozenset(),
    prefer: Prefer | None = None,
) -> Attempts:
    """Yield deployments to call, be sent each outcome, and return the one that the client gets.

    `groups`: the deployments of the model asked for, then those of each fallback, at least one in all.
    `draw` returns a number in [0, 1). `resting` holds names of deployments in their cool-down. `prefer` takes the place
    of the draw.
    """
    failures: list[Failure] = []
    for deployment in _order(groups, draw, resting, prefer):
        outcome = yield deployment
        if isinstance(outcome, Answer) or not outcome.may_fall_back:
            return outcome
        failures.append(outcome)
    return min(failures, key=_telling)


async def drive(flow: Attempts, call: Callable[[Deployment], Awaitable[Outcome]]) -> Outcome:
    """Make the calls that `flow` asks for until it returns."""
    deployment = next(flow)
    while True:
        outcome = await call(deployment)
        try:
            deployment = flow.send(outcome)
        except StopIteration as end:
            final: Outcome = end.value
            return final


_TELLING: Final = {
    "timeout": 2,
    "reset": 3,
    "garbage": 3,
    "too_large": 3,
    "authentication": 4,
    "connect": 4,
    "unfit": 7,
    "busy": 0,
}
_TELLING_FAULT: Final = {"rate": 0, "size": 5}


def _telling(failure: Failure) -> int:
    """Rank failures by what they tell: "later", then "broken", then "not reached"; the first of equals wins.

    After them "too much for this account", then what is wrong with a deployment whoever asks: the client can do
    nothing about it.
    """
    if failure.status is None:
        return _TELLING[failure.kind]
    return _TELLING_FAULT.get(failure.fault.kind, 1 if failure.fault.whose == "everybody" else 6)


def _order(
    groups: Sequence[Sequence[Deployment]],
    draw: Callable[[], float],
    resting: Collection[str],
    prefer: Prefer | None,
) -> Iterator[Deployment]:
    seen: set[str] = set()
    for group in groups:
        named = {deployment.name: deployment for deployment in group if deployment.name not in seen}
        seen.update(named)
        fresh: Sequence[Deployment] = list(named.values())
        if prefer is not None and len(fresh) > 1:
            fresh = prefer(fresh)
        healthy = [deployment for deployment in fresh if deployment.name not in resting]
        yield from healthy if prefer is not None else _shuffled(healthy, draw)
        yield from (deployment for deployment in fresh if deployment.name in resting)


def _shuffled(group: list[Deployment], draw: Callable[[], float]) -> Iterator[Deployment]:
    """Yield each once, a heavier one earlier in proportion to its weight. A group of one takes no draw."""
    while len(group) > 1:
        weights = [deployment.weight for deployment in group]
        if sum(weights) <= 0:
            weights = [1.0] * len(group)
        point = draw() * sum(weights)
        chosen = 0
        while chosen < len(group) - 1 and point >= weights[chosen]:
            point -= weights[chosen]
            chosen += 1
        yield group.pop(chosen)
    yield from group
