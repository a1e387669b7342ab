"""The choice of a deployment for a conversation, where each has a prompt cache of its own: the one that has read it
before.

Weighted rendezvous hashing ranks the deployments anew for each prefix group, so that every worker and every restart
ranks alike, one that is lost moves nothing but its own groups, and one that is added takes its share from all alike
(Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; the weights: Schindelhauer and
Schomaker, "Weighted distributed hash tables", 2005). Load bounds it: a deployment that has more than its share passes
on what is new (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016). A running
conversation stays, because moving loses what was read, until its place is clearly too full.

Pure: no clock, no randomness. `loads.py` keeps what the decision is made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import log
from operator import itemgetter
from sys import getsizeof
from typing import Final, NamedTuple

from gateway.conversation import Conversation, Message
from gateway.memory import Memory
from gateway.routing.deployment import Deployment

NEW_OVER_SHARE: Final = 1.05
"""A conversation that begins is passed on by a deployment that has more than its share times this."""
RUNNING_OVER_SHARE: Final = 1.2
"""A conversation that runs is passed on only from here on: it would have to be read anew elsewhere."""
RECENT_SLACK: Final = 4.0
"""Requests over its share that are no load yet: with little traffic, the ranking alone decides."""
IN_FLIGHT_OVER_SHARE: Final = 1.5
IN_FLIGHT_SLACK: Final = 8.0
"""Requests under way: a deployment that holds this many over its share is stuck or swamped, whoever it is that asks.
Random arrivals pass it about once in ten thousand."""

Digests = Memory[str, bytes]
"""Long text → its digest, so that a known one is never hashed twice."""

_LONG_TEXT: Final = 1024
"""Characters below which hashing is cheaper than remembering."""
_WORD: Final = 2**64 - 1
_SCORE: Final = itemgetter(0, 1)
_PLACE: Final = (
    "aws_region_name",
    "azure_deployment",
    "organization",
    "project",
    "region_name",
    "vertex_location",
    "vertex_project",
)
"""Settings that tell where a deployment is or whose it is: with them it keeps its groups when the list is reordered."""


@dataclass(frozen=True, slots=True)
class Group:
    """A key that requests with the same prompt cache entry have in common."""

    key: int
    """64 bits of the opening: all before the model's first answer, so the same for a whole conversation."""
    trail: int
    """64 bits up to the first message after that answer: tells conversations apart that only opened alike."""
    turns: int
    """About how often the model has answered before: what was read is worth staying for. 0: the first request."""


class Load(NamedTuple):
    """The load of a deployment by requests of this process. A bound that each of several workers keeps is kept in
    sum.
    """

    in_flight: int = 0
    recent: float = 0.0
    """Requests begun lately, older ones counting less."""


IDLE: Final = Load()


def affinity_group(conversation: Conversation, digests: Digests) -> Group:
    """Tell the prefix group of a request by its content.

    The tools are left out: when they change, the whole prompt is read anew wherever it goes, so moving gains nothing.
    The opening's user messages are in it: by the system prompt alone, one product would be one group, too large for any
    deployment. Some agents open with the same instructions each time and tell the task in a second message.
    """
    opening = blake2b(digest_size=8)
    messages = iter(conversation.messages)
    asked, turns = False, 0
    trail = opening
    for at, message in enumerate(messages):
        if message.role == "assistant" and asked and not _is_example(message):
            turns = (len(conversation.messages) - at + 1) // 2  # an answer and what is said to it take turns
            trail = opening.copy()
            _take(trail, message, digests)
            break
        asked = asked or (message.role == "user" and not _is_example(message))
        _take(opening, message, digests)
    for message in messages:  # what is left of them
        _take(trail, message, digests)
        if message.role != "assistant":
            break
    key = int.from_bytes(opening.digest())
    return Group(key, key if trail is opening else int.from_bytes(trail.digest()), turns)


def seeds(deployments: Sequence[Deployment]) -> dict[str, int]:
    """Return, by name, the 64 bits that stand for each deployment of a model in the ranking.

    They come from what it is and where, not from its place in the list; of several that are alike, from their number.
    """
    met: Counter[str] = Counter()
    out = {}
    for one in deployments:
        where = [f"{name}={one.params[name]}" for name in _PLACE if one.params.get(name)]
        what = "\n".join([f"{one.model_name}\n{one.provider}/{one.model}\n{one.api_base or ''}", *where])
        met[what] += 1
        out[one.name] = int.from_bytes(blake2b(f"{what}\n{met[what]}".encode(), digest_size=8).digest())
    return out


def rank(key: int, deployments: Sequence[Deployment], seed: Mapping[str, int]) -> list[Deployment]:
    """Order deployments for a group, in proportion to their weights; a weight of zero comes last."""
    weights = weights_of(deployments)
    scored = []
    for one, weight in zip(deployments, weights, strict=True):
        drawn = _mixed(key ^ seed[one.name])
        scored.append((-weight / log(((drawn >> 12) + 0.5) / 2**52), drawn, one))
    scored.sort(key=_SCORE, reverse=True)
    return [one for _, _, one in scored]


def weights_of(deployments: Sequence[Deployment]) -> list[float]:
    """Return what each is to have of the whole; zero throughout is even."""
    weights = [one.weight for one in deployments]
    return weights if any(weights) else [1.0] * len(weights)


def deployment_order(
    ranked: Sequence[Deployment], loads: Mapping[str, Load], *, turns: int = 0, stays: str | None = None
) -> list[Deployment]:
    """Order healthy deployments by where the group should go now, given their ranking and loads.

    `stays` names the one where a conversation of so many turns runs; without it, that is the first of the ranking. Its
    own turns are no load to it: they would only go along.
    """
    if len(ranked) < 2:
        return list(ranked)
    weights = weights_of(ranked)
    held = [loads.get(one.name, IDLE) for one in ranked]
    whole, recent, in_flight = sum(weights), 1.0, 1
    for load in held:
        recent += load.recent
        in_flight += load.in_flight
    free: list[Deployment] = []
    full: list[Deployment] = []
    kept: list[Deployment] = []
    for one, load, weight in zip(ranked, held, weights, strict=True):
        share = weight / whole
        runs_here = turns > 0 and (one.name == stays if stays is not None else one is ranked[0])
        own = min(load.recent, turns) if runs_here else 0
        over = RUNNING_OVER_SHARE if runs_here else NEW_OVER_SHARE
        swamped = load.in_flight + 1 > IN_FLIGHT_OVER_SHARE * share * in_flight + IN_FLIGHT_SLACK
        if swamped or load.recent - own + 1 > over * share * (recent - own) + RECENT_SLACK:
            full.append(one)
        else:
            (kept if runs_here else free).append(one)
    return kept + free + full


def _is_example(message: Message) -> bool:
    return (message.name or "").startswith("example_")


def _take(hashed: blake2b, message: Message, digests: Digests) -> None:
    hashed.update(message.role.encode() + b"\n" + _brief(message.text, digests))
    for call in message.calls:
        hashed.update(_brief(f"{call.name}\n{call.arguments}", digests))
    for part in message.media:
        hashed.update(_brief(part.data, digests))


def _brief(text: str, digests: Digests) -> bytes:
    """Return what stands for a text: itself and its length, or the digest of a long one."""
    if len(text) < _LONG_TEXT:
        return b"%d\n%b" % (len(text), text.encode(errors="surrogatepass"))
    found = digests.get(text)
    if found is None:
        found = blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
        digests.put(text, found, getsizeof(text))
    return found


def _mixed(word: int) -> int:
    """Spread 64 bits over 64 bits, each over all (the finaliser of SplitMix64: Steele, Lea and Flood, 2014)."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _WORD
    return word ^ (word >> 31)
