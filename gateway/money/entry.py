"""The entry of one request in the ledger: its two rows (money/row.py), made from values that were known at its end.

Pure but for the key of fingerprints, which each process draws.

Content-free: ids, sizes, names of tools, causes. A row stays under a kilobyte: lists are bounded, and what is as it
nearly always is stands in no row (`counted: tokens`, not streamed, no error, nothing forced).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from secrets import token_bytes
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from gateway.money.prices.rates import Price
from gateway.money.row import (
    NO_CACHE,
    AttemptRow,
    CacheSettlement,
    ComponentSizes,
    Counted,
    EditRow,
    EntryKind,
    LedgerRow,
    Milliseconds,
    RefusalReason,
    Status,
)
from gateway.request import Usage

EDITS_BYTES = 90
"""Bytes that the edits of a row may take one by one; more edits are summed by remedy, none left out."""
MOST_TAGS = 10
MOST_MISSED_VALUES = 2

_FINGERPRINT_KEY: Final = token_bytes(16)
"""Drawn anew by each process and written nowhere. A plain hash of a value says what it was (there are ten thousand
numbers of four digits), and so does one with a key that lies in the state folder, beside the ledger, for whoever is
given both. The price: two processes, or one before and after a restart, give one value two fingerprints. Inside a
process they tell the one value that is missed again and again from many that are missed once, which is all they are
for; how often cutting hurt is a count.
"""


NO_USAGE: Final = Usage()
_EMPTY: Final[Mapping[str, int]] = MappingProxyType({})


# Tuples: each request makes one of every kind, and a frozen dataclass takes five times as long to make.
class RequestFacts(NamedTuple):
    """The facts of a request that are known when it is admitted. Both of its rows hold them."""

    id: str
    key: str
    team: str
    user: str | None = None
    tags: Sequence[str] = ()
    model: str = ""
    """As asked for."""
    policy: str = ""
    """Name and digest."""
    policy_version: int = 2
    stream: bool = False
    kind: EntryKind = "request"
    """`summary`, `warm_up`: the gateway's own, booked to those whom they were made for."""
    operation: str = "chat"
    """The part of the API that was asked (wire/operations.py)."""
    tightened: int = 0
    """The number of steps of its policy's `tighten` that it is under."""


class PlanFacts(NamedTuple):
    """The part of a plan that the row of a request holds."""

    plan: str = "unchanged"
    """unchanged, rewritten, observed, refused."""
    counted: Counted = "tokens"
    """at least, at most: text was too long to be counted, and the tokens as it came are what its bytes can have."""
    guessed_media: int = 0
    """The number of images, audio, files and other parts whose count is a guess: their content is not here."""
    before: Mapping[str, int] = _EMPTY
    """By component; in bytes of the body where `counted` is bytes, until the provider's count is known."""
    after: Mapping[str, int] = _EMPTY
    room: Mapping[str, int] = _EMPTY
    """The room of each component, in tokens, whatever `counted` says."""
    budget: int | None = None
    """Most tokens of the prompt; None where nothing bounds it."""
    edits: Sequence[EditRow] = ()
    level: str = "whole"
    """The level that rewriting reached: whole, lossless, lists, dropped (rewriting/plan.py). Under `observe`, would
    have."""
    forced: bool = False
    planned_tokens: int = 0
    """Tokens of the prompt as planned; under `observe` it leaves as it came all the same."""
    refusal: Mapping[str, Any] | None = None
    """Why nothing could be planned: {component, tokens, room, at}."""
    calibration: int = 0
    """Version of what was known of the provider's count when the plan was made; 0 is nothing but the default."""
    decision_lost: bool = False
    """Whether summaries were left out because the shared state could not be asked or told."""


NO_PLAN: Final = PlanFacts()


class CallFacts(NamedTuple):
    """The calls that were made for a request."""

    deployment: str | None = None
    """provider/model that was called last; None where nothing was sent."""
    attempts: Sequence[AttemptRow] = ()
    """Those that came to an end; none need be told of where it was one good call."""


NO_CALLS: Final = CallFacts()


class Bill(NamedTuple):
    """The usage of a request and its cost."""

    usage: Usage | None = None
    """Of the answer."""
    cost_nanousd: int | None = 0
    """Of all calls. Without a price it is unknown, never nothing."""
    unused: Usage | None = None
    """Of calls that failed and were paid for all the same."""
    unused_nanousd: int | None = 0

    def with_answer(self, usage: Usage, nanousd: int | None) -> Bill:
        """Add the answer."""
        return Bill(usage, _sum(nanousd, self.unused_nanousd), self.unused, self.unused_nanousd)

    def with_unused(self, usage: Usage, nanousd: int | None) -> Bill:
        """Add a call that failed: its tokens and its cost stand in the row beside the answer's."""
        cost = _sum(nanousd, self.unused_nanousd)
        return Bill(self.usage, cost, usage if self.unused is None else self.unused + usage, cost)


NO_BILL: Final = Bill()


class Removal(NamedTuple):
    """The different values (ids, numbers, paths, names) that a rewrite took out and that stand nowhere in what is sent.

    Under `observe` the rewrite is not sent: then it is what would have been removed.
    """

    values: int
    missed: int
    """The number of them that the answer used all the same. Under `observe`: how many *would* have been missed, which
    is what tells an operator before enforcing; the model saw them, so that there every use counts. """
    fingerprints: tuple[str, ...] = ()
    """Of those that were missed, never the values, up to a number."""


def removal(values: int, missed: Sequence[str]) -> Removal:
    """Reduce what a rewrite removed, and what of it the answer used, to counts and fingerprints."""
    return Removal(values, len(missed), tuple([fingerprint(value) for value in missed[:MOST_MISSED_VALUES]]))


class End(NamedTuple):
    """The end of a request."""

    status: Status
    http_status: int = 0
    error: str | None = None
    ms: Milliseconds = Milliseconds()
    refusal: Mapping[str, Any] | None = None
    """Why it was refused, where its plan does not say it: {component, tokens, room, at}; {at, illegal: true} where why
    may be content."""
    known_inputs: int = 0
    """Inputs of a request for embeddings whose vectors were known."""


def opened(request: RequestFacts, estimate: Usage, estimate_nanousd: int | None) -> LedgerRow:
    """Make the row of admission: who, what, and the estimate that stands if nothing follows."""
    return LedgerRow(
        event="opened",
        id=request.id,
        kind=request.kind,
        key=request.key,
        team=request.team,
        user=request.user,
        tags=tuple(request.tags),
        model=request.model,
        policy=request.policy,
        estimate_prompt=estimate.prompt,
        estimate_completion=estimate.completion,
        estimate_nanousd=estimate_nanousd,
        operation=request.operation,
    )


def settled(
    request: RequestFacts,
    end: End,
    plan: PlanFacts = NO_PLAN,
    calls: CallFacts = NO_CALLS,
    bill: Bill = NO_BILL,
    cache: CacheSettlement = NO_CACHE,
    removed: Removal | None = None,
) -> LedgerRow:
    """Make the only row of a request's end from all that is known of it. `removed` is None if nothing was rewritten."""
    answer, attempts, refusal = bill.usage or NO_USAGE, calls.attempts, end.refusal or plan.refusal
    usage = answer if bill.unused is None else answer + bill.unused
    before, after = sizes(plan.counted, plan.before, plan.after, answer.prompt)
    if calls.deployment is None:  # nothing was sent
        after = dict.fromkeys(before, 0)
    is_retried = len(attempts) > 1 or bool(attempts and attempts[0].error)
    would_send = plan.plan == "observed" and refusal is None and plan.counted != "bytes"
    return LedgerRow(
        event="settled",
        id=request.id,
        status=end.status,
        kind=request.kind,
        key=request.key,
        team=request.team,
        user=request.user,
        tags=tuple(request.tags),
        model=request.model,
        deployment=calls.deployment,
        policy=request.policy,
        policy_version=request.policy_version,
        stream=request.stream,
        http_status=end.http_status,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        cost_nanousd=bill.cost_nanousd,
        estimated=usage.estimated,
        tokens_before=sum(before.values()),
        tokens_after=sum(after.values()),
        counted=plan.counted,
        guessed_media=plan.guessed_media,
        components=components(before, after, plan.room),
        budget=plan.budget,
        plan=plan.plan,
        error=end.error,
        ms=end.ms,
        unpriced=bill.cost_nanousd is None,
        calibration=plan.calibration,
        decision_lost=plan.decision_lost,
        refusal=None if refusal is None else RefusalReason.read(refusal),
        tokens_planned=plan.planned_tokens if would_send else None,
        attempts=tuple(attempts) if is_retried else (),
        operation=request.operation,
        known_inputs=end.known_inputs,
        tightened=request.tightened,
        **_rewrite_columns(plan, removed),
        **_cache_columns(cache),
    )


def _rewrite_columns(plan: PlanFacts, removed: Removal | None) -> dict[str, Any]:
    """Say what a plan changes and what that took away; most requests have no such columns."""
    columns = {**told(plan.edits), "level": plan.level, "forced": plan.forced} if plan.edits else {}
    if removed is not None:
        columns |= {
            "values_removed": removed.values,
            "missed": removed.missed,
            "missed_values": removed.fingerprints,
        }
    return columns


def _cache_columns(cache: CacheSettlement) -> dict[str, Any]:
    if cache is NO_CACHE:
        return {}
    return {
        "expected_cached": cache.expected,
        "miss": cache.miss,
        "lost": cache.lost,
        "lost_nanousd": cache.lost_nanousd or 0,
        "saved_nanousd": cache.saved_nanousd or 0,
        "markers": cache.markers,
        "saved_unknown": cache.saved_nanousd is None,
    }


def sizes(
    counted: Counted, before: Mapping[str, int], after: Mapping[str, int], prompt: int
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return tokens by component, before and after; what was only measured in bytes is scaled to the provider's count
    of the prompt.
    """
    if counted != "bytes":
        return before, after or before
    scaled = _scaled(before, prompt)
    return scaled, scaled


def _scaled(sizes: Mapping[str, int], prompt: int) -> Mapping[str, int]:
    """Scale bytes to a prompt's tokens, or to as many as they usually are."""
    whole = sum(sizes.values()) or 1
    tokens = prompt or whole // BYTES_PER_TOKEN
    scaled = {name: size * tokens // whole for name, size in sizes.items()}
    largest = max(scaled, key=lambda name: scaled[name], default=None)
    if largest is not None:
        scaled[largest] += tokens - sum(scaled.values())
    return scaled


def components(before: Mapping[str, int], after: Mapping[str, int], room: Mapping[str, int]) -> ComponentSizes:
    """Pair the sizes; a room is entered where it is not what was asked for."""
    tokens = {name: (size, after.get(name, size)) for name, size in before.items() if size or after.get(name)}
    told = {name: size for name, size in room.items() if size != tokens.get(name, (0,))[0]} if room else None
    return ComponentSizes(tokens, told)


def durations(started: float, planned: float, first_byte: float, now: float) -> Milliseconds:
    """Return how long the parts of a request took, from moments by the monotonic clock; 0 = it did not come to that."""
    return Milliseconds(
        _milliseconds(now - started),
        _milliseconds(planned - started) if planned else None,
        _milliseconds(first_byte - (planned or started)) if first_byte else None,
    )


def cost_of(
    usage: Usage, price: Price | None, service_tier: str | None, now: float, billed: int | None = None
) -> int | None:
    """Return the cost of a usage; None without a price. `billed` is the provider's own figure, where it states one."""
    if billed is not None:
        return billed
    return None if price is None else price.cost(usage, service_tier, now)


def _sum(one: int | None, other: int | None) -> int | None:
    """Add two costs; what is unknown stays so."""
    return None if one is None or other is None else one + other


def fingerprint(value: str) -> str:
    """Return eight hexadecimal digits that stand for a value as long as this process lives."""
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=4, key=_FINGERPRINT_KEY).hexdigest()


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 1)


BYTES_PER_TOKEN = 4
"""English text and code in o200k_base, for an estimate that the provider's figure replaces."""


def runs(edits: Iterable[tuple[int, str | None, str, int, int]]) -> list[EditRow]:
    """Join neighbours that were left out by one remedy into one row, as an entry has room for."""
    out: list[EditRow] = []
    for is_gone, neighbours in groupby(enumerate(edits), key=_place):
        run = [edit for _, edit in neighbours]
        if is_gone is None or len(run) == 1:
            out += run
        else:
            first, last = run[0], run[-1]
            out.append((first[0], None, first[2], sum(edit[3] for edit in run), 0, last[0]))
    return out


def told(edits: Sequence[EditRow]) -> dict[str, Any]:
    """Tell edits one by one (`edits`), or by remedy where they are many: `edited`, {remedy: [messages, tokens before,
    tokens after, first message]}.
    """
    if not edits or len(orjson.dumps(edits)) <= EDITS_BYTES:
        return {"edits": tuple(edits)}
    sums: dict[str, tuple[int, int, int, int]] = {}
    for at, _, remedy, before, after, *last in edits:
        messages = last[0] - at + 1 if last else 1
        known = sums.get(remedy, (0, 0, 0, at))
        sums[remedy] = known[0] + messages, known[1] + before, known[2] + after, min(known[3], at)
    return {"edited": sums}


def _place(numbered: tuple[int, tuple[int, str | None, str, int, int]]) -> tuple[int, str] | None:
    """Give what neighbours that were left out have in common; None for a message that stands."""
    number, (at, _, remedy, _, after) = numbered
    return (at - number, remedy) if after == 0 else None
