"""The entry of one request in the books: facts are noted as they become known, and become rows (money/row.py).

Content-free: ids, sizes, names of tools, causes. A row stays under a kilobyte: lists are bounded, and what is as it
nearly always is stands in no row (`counted: tokens`, not streamed, no error, nothing forced).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from secrets import token_bytes
from typing import Any, Final

import orjson

from gateway.money.prices.rates import Price
from gateway.money.row import (
    AttemptRow,
    ComponentSizes,
    Counted,
    EditRow,
    EntryKind,
    LedgerRow,
    Milliseconds,
    RefusalReason,
    Status,
)
from gateway.wire.usage import Usage

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


@dataclass(slots=True)
class Entry:
    """One request's entry, opened at admission and settled once."""

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
    plan: str = "unchanged"
    counted: Counted = "tokens"
    """at least, at most: text was too long to be counted, and the tokens as it came are what its bytes can have."""
    guessed_media: int = 0
    """The number of images, audio, files and other parts whose count is a guess: their content is not here."""
    before: Mapping[str, int] = field(default_factory=dict)
    """By component; in bytes of the body where `counted` is bytes, until the provider's count is known."""
    after: Mapping[str, int] = field(default_factory=dict)
    room: Mapping[str, int] = field(default_factory=dict)
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
    values_removed: int | None = None
    """Different values (ids, numbers, paths, names) that the rewrite took out and that stand nowhere in what is sent.
    None where nothing was rewritten. Under `observe` the rewrite is not sent: then it is what would have been removed.
    """
    missed: int = 0
    """The number of them that the answer used all the same. Under `observe`: how many *would* have been missed, which
    is what tells an operator before enforcing; the model saw them, so that there every use counts. """
    missed_values: Sequence[str] = ()
    """Fingerprints of those, never the values, up to a number."""
    refusal: Mapping[str, Any] | None = None
    """Why nothing could be planned: {component, tokens, room, at}; {at, illegal: true} where why may be content."""
    calibration: int = 0
    """Version of what was known of the provider's count when the plan was made; 0 is nothing but the default."""
    decision_lost: bool = False
    """Whether summaries were left out because the shared state could not be asked or told."""
    deployment: str | None = None
    """provider/model that was called last."""
    attempts: list[AttemptRow] = field(default_factory=list)
    usage: Usage | None = None
    """Of the answer."""
    unused: Usage | None = None
    """Of calls that failed and were paid for all the same."""
    unused_nanousd: int | None = 0
    cost_nanousd: int | None = 0
    """Of all of them."""
    expected_cached: int = 0
    """Prompt tokens that the provider should have read from its cache, by its own rules."""
    miss: str | None = None
    """Why it read less than the conversation's previous request had made possible (prompt_cache/misses.py)."""
    lost: int = 0
    """Tokens that were not read for that reason, and what they cost more for it."""
    lost_nanousd: int | None = 0
    saved_nanousd: int | None = 0
    """The cost of the request as it came, under the same cache rules, less its real cost; may be negative. None where
    it was changed and nobody can say: no rules of its cache, no price, or no report of the provider's. """
    markers: int = 0
    """Cache markers that we set."""
    http_status: int = 0
    error: str | None = None
    started: float = 0.0
    """By the monotonic clock, in seconds; as the next three."""
    planned: float = 0.0
    first_byte: float = 0.0

    def opened(self, estimate: Usage, estimate_nanousd: int | None) -> LedgerRow:
        """Make the row of admission: who, what, and the estimate that stands if nothing follows."""
        return LedgerRow(
            event="opened",
            id=self.id,
            kind=self.kind,
            key=self.key,
            team=self.team,
            user=self.user,
            tags=tuple(self.tags),
            model=self.model,
            policy=self.policy,
            estimate_prompt=estimate.prompt,
            estimate_completion=estimate.completion,
            estimate_nanousd=estimate_nanousd,
            operation=self.operation,
        )

    def tried(self, deployment: str, status: int | None, error: str | None, seconds: float) -> None:
        """Note one call."""
        self.attempts.append(AttemptRow(deployment, status, error, _milliseconds(seconds)))

    def price(
        self, usage: Usage, price: Price | None, service_tier: str | None, now: float, billed: int | None = None
    ) -> None:
        """Take in what the answer used; without a price the cost is unknown, never nothing. `billed` is the provider's
        own figure, where it states one.
        """
        self.usage = usage
        self.cost_nanousd = _sum(_cost(usage, price, service_tier, now, billed), self.unused_nanousd)

    def pay_unused(
        self, usage: Usage, price: Price | None, service_tier: str | None, now: float, billed: int | None = None
    ) -> None:
        """Take in what a call used that failed: its tokens and its cost stand in the row beside the answer's."""
        self.unused = usage if self.unused is None else self.unused + usage
        self.unused_nanousd = _sum(_cost(usage, price, service_tier, now, billed), self.unused_nanousd)
        self.cost_nanousd = self.unused_nanousd

    def heed(self, removed: int, missed: Sequence[str]) -> None:
        """Take in what a rewrite removed and what of it the answer used; counts and fingerprints are all that stays."""
        self.values_removed, self.missed = removed, len(missed)
        self.missed_values = [fingerprint(value) for value in missed[:MOST_MISSED_VALUES]]

    def settled(self, status: Status, now: float) -> LedgerRow:
        """Make the row of the end; `now` is by the monotonic clock."""
        return settled(self, status, now)


def settled(entry: Entry, status: Status, now: float) -> LedgerRow:
    """Make the row of a request's end from what is known of it then; `now` is by the monotonic clock."""
    answer = entry.usage or Usage()
    usage = answer if entry.unused is None else answer + entry.unused
    before, after = sizes(entry.counted, entry.before, entry.after, answer.prompt)
    if entry.deployment is None:  # nothing was sent
        after = dict.fromkeys(before, 0)
    is_retried = len(entry.attempts) > 1 or bool(entry.attempts and entry.attempts[0].error)
    is_rewritten = entry.values_removed is not None
    would_send = entry.plan == "observed" and entry.refusal is None and entry.counted != "bytes"
    return LedgerRow(
        event="settled",
        id=entry.id,
        status=status,
        kind=entry.kind,
        key=entry.key,
        team=entry.team,
        user=entry.user,
        tags=tuple(entry.tags),
        model=entry.model,
        deployment=entry.deployment,
        policy=entry.policy,
        policy_version=entry.policy_version,
        stream=entry.stream,
        http_status=entry.http_status,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        cost_nanousd=entry.cost_nanousd,
        estimated=usage.estimated,
        tokens_before=sum(before.values()),
        tokens_after=sum(after.values()),
        counted=entry.counted,
        guessed_media=entry.guessed_media,
        components=components(before, after, entry.room),
        budget=entry.budget,
        plan=entry.plan,
        error=entry.error,
        ms=durations(entry.started, entry.planned, entry.first_byte, now),
        unpriced=entry.cost_nanousd is None,
        expected_cached=entry.expected_cached,
        miss=entry.miss,
        lost=entry.lost,
        lost_nanousd=entry.lost_nanousd or 0,
        saved_nanousd=entry.saved_nanousd or 0,
        markers=entry.markers,
        saved_unknown=entry.saved_nanousd is None,
        calibration=entry.calibration,
        decision_lost=entry.decision_lost,
        refusal=None if entry.refusal is None else RefusalReason.read(entry.refusal),
        tokens_planned=entry.planned_tokens if would_send else None,
        **told(entry.edits),
        level=entry.level if entry.edits else "whole",
        forced=entry.forced and bool(entry.edits),
        values_removed=entry.values_removed,
        missed=entry.missed if is_rewritten else None,
        missed_values=tuple(entry.missed_values) if is_rewritten else (),
        attempts=tuple(entry.attempts) if is_retried else (),
        operation=entry.operation,
    )


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


def _cost(usage: Usage, price: Price | None, tier: str | None, now: float, billed: int | None) -> int | None:
    if billed is not None:
        return billed
    return None if price is None else price.cost(usage, tier, now)


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
