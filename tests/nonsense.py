"""What may lie in the state: every kind of value as it is written, and nonsense made of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.budget.calibration import Stats, observe
from gateway.budget.kinds import Kinds
from gateway.keep_warm import schedule
from gateway.keep_warm.schedule import Claim
from gateway.prompt_cache import sharing as shared_caches
from gateway.prompt_cache import system_text_sharing
from gateway.prompt_cache.contents import CacheUpdate, WriteRecord
from gateway.prompt_cache.observations import Observation
from gateway.prompt_cache.system_text_changes import LineChanges, PromptFamily
from gateway.prompt_cache.tracker import PromptCaches
from gateway.prompt_cache.usage_patterns import Habits, PreviousRequest, request_habits
from gateway.routing import calibrations, placements
from gateway.routing.deployment import ModelFacts
from gateway.routing.loads import Loads, Stay
from gateway.serving import early_folds, tightening
from gateway.state.codec import Codec
from gateway.state.shared import Shared
from gateway.summaries import store
from gateway.summaries.store import Lease
from tests.sharing import sharing

NOW = 1_750_000_000.0
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 7, 2**53, 2**63, 2**64 - 1, -(2**63), 1e308, -1e308, 5e-324, 0.1, "", "x", "\0", "é" * 50,
    "-f", " 1", "1_0", [], {}, [[]], [None], {"v": 1, "is": 1}, {"": ""}, ["x", 1e308, True], [[1] * 50] * 3,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of value: how it is read, one that was written, and what is done with it."""

    codec: Codec[Any]
    genuine: bytes
    shared: Callable[[], Shared[Any, Any]] | None = None
    news: Any = None

    def take_in(self, raw: bytes) -> bool:
        """Read bytes and do all that the gateway does with it; whether they were understood. Raises what it raises."""
        try:
            value = self.codec.read(raw)
        except ValueError:
            return False
        again = self.codec.read(self.codec.write(value))
        assert self.codec.write(again) == self.codec.write(value)
        if self.shared is not None:
            shared = self.shared()
            shared.adopt(value)
            added = shared.add(value, self.news)
            self.codec.read(self.codec.write(added))
            shared.adopt(added)
        return True


def _kinds() -> list[Kind]:
    previous = PreviousRequest(1, 20.0, 900)
    habits = request_habits(2, NOW, previous, 1000) + request_habits(0, NOW)
    stats = Stats()
    for number in range(60):
        stats = observe(stats, Kinds(1000, number, number), 1200 + number)
    sent = CacheUpdate(NOW, 1700, (WriteRecord(sent=True, original=False, lifetime=300, keys=(2**60 - 1, 3)),))
    records = [shared_caches.SharedUpdate("writer", number, sent) for number in (1, 2)]
    stays = {2**63: Stay("a", NOW + 600, for_load=True), 7: Stay("b", NOW + 60, for_load=False)}
    head = {PromptFamily("team", "p@1", "gpt", 3): LineChanges(30, {(2, "Time: "): 20, (3, ""): 4})}
    by_kind: dict[str, Habits] = {"team/p/m": habits}
    return [
        Kind(
            placements.STAYS,
            placements.STAYS.write(stays),
            lambda: placements.shared_placements(Loads(), lambda: NOW),
            stays,
        ),
        Kind(calibrations.STATS, calibrations.STATS.write(stats), _calibration, [(Kinds(900), 1000)]),
        Kind(calibrations.STATS, orjson.dumps(stats.to_json())),
        Kind(shared_caches.UPDATES, shared_caches.UPDATES.write(records), _of_caches(shared_caches.SENT), records),
        Kind(
            shared_caches.BY_KIND,
            shared_caches.BY_KIND.write(by_kind),
            _of_caches(shared_caches.HABITS),
            [Observation("team/p/m", 2, NOW, previous, 1000), Observation("other", 0, NOW, None, 10, (9, None))],
        ),
        Kind(
            shared_caches.BY_GROUP,
            shared_caches.BY_GROUP.write({7: (1.0, 1.0, 0.0), 2**60: (3.0, 2.0, 1.0)}),
            _of_caches(shared_caches.GROUPS),
            {7: (1.0, 0.0, 0.0)},
        ),
        Kind(
            system_text_sharing.LINE_CHANGES,
            system_text_sharing.LINE_CHANGES.write(head),
            lambda: system_text_sharing.share_system_texts(system_text_sharing.SystemTextWatch()),
            head,
        ),
        Kind(schedule.CLAIMS, schedule.CLAIMS.write(Claim("a", NOW))),
        Kind(early_folds.LINKS, early_folds.LINKS.write(frozenset({7, 2**60}))),
        Kind(early_folds.LINKS, b"[7,8]"),
        Kind(tightening.STEPS, tightening.STEPS.write({7: 1, 2**60: 2})),
        Kind(store.TEXTS, store.TEXTS.write("The plan was gone through.")),
        Kind(store.TEXTS, b"The plan was gone through."),
        Kind(store.DECISIONS, store.DECISIONS.write(("abc", "def"))),
        Kind(store.DECISIONS, b"abc def"),
        Kind(store.LEASES, store.LEASES.write(Lease(NOW, "a", rests=False))),
    ]


def _nowhere() -> Any:
    raise AssertionError("the state was opened")


def _of_caches(key: str) -> Callable[[], Shared[Any, Any]]:
    """Make a process of its own each time, and give what it shares under a key."""

    def made() -> Shared[Any, Any]:
        shares = sharing(_nowhere)
        shared_caches.share_prompt_caches(shares, PromptCaches(), lambda: NOW, "me")
        return shares._shared[key]

    return made


def _calibration() -> Shared[Any, Any]:
    shares = sharing(_nowhere)
    facts = ModelFacts("anthropic", "m", 1, None, shared=True, encoding="o200k_base", exact=False)
    calibrations.Calibrations([], shares).observe(facts, Kinds(1000), 1100)
    return next(iter(shares._shared.values()))


KINDS = _kinds()


def nonsense(draw: random.Random, genuine: bytes) -> bytes:
    """Make one piece of nonsense: of nothing, of a value that was cut or changed, or of JSON of another shape."""
    match draw.randrange(7):
        case 0:
            return draw.randbytes(draw.randrange(200))
        case 1:
            return genuine[: draw.randrange(len(genuine) + 1)]
        case 2:
            changed = bytearray(genuine)
            for _ in range(draw.randrange(1, 4)):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            return bytes(changed)
        case 3:
            return draw.choice([b"[" * 10_000, b'{"v":1,"is":' + b"[" * 5_000 + b"]" * 5_000 + b"}", b"1" * 5_000])
        case 4:
            return orjson.dumps({"v": draw.choice([1, 2, "1", True, None]), "is": draw.choice(ODD)})
        case _:
            try:
                said = orjson.loads(genuine)
            except orjson.JSONDecodeError:
                return genuine[::-1]
            return orjson.dumps(_changed(draw, said))


def _changed(draw: random.Random, said: Any) -> Any:
    """Put something odd in one place of a JSON value."""
    if not isinstance(said, dict | list) or not said or draw.random() < 0.1:
        return draw.choice(ODD)
    if isinstance(said, list):
        at = draw.randrange(len(said))
        if draw.random() < 0.2:
            return [*said[:at], *said[at + 1 :]] if draw.random() < 0.5 else [*said, draw.choice(ODD)]
        return [*said[:at], _changed(draw, said[at]), *said[at + 1 :]]
    key = draw.choice(list(said))
    if draw.random() < 0.2:
        rest = {name: value for name, value in said.items() if name != key}
        return rest if draw.random() < 0.5 else rest | {draw.choice(["", "x", "-1", "f" * 20]): said[key]}
    return said | {key: _changed(draw, said[key])}
