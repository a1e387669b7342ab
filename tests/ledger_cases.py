"""One entry of every kind that requests end in, for the lines of the ledger that are kept as golden files."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.money.entry import NO_BILL, Removal, runs
from gateway.money.ledger import Ledger, new_id
from gateway.money.prices.entries import price_from
from gateway.money.row import AttemptRow, CacheSettlement, Status
from gateway.wire.usage import Usage
from tests.entries import Entry, bill_of
from tests.entries import entry as entry_of

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC).timestamp()
PRICE = price_from(
    "x",
    {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 1e-7},
)
ESTIMATE = Usage(prompt=900, completion=1024, estimated=True)
BEFORE = {"tools": 120, "system": 80, "examples": 0, "documents": 3_000, "history": 9_000, "input": 40}
AFTER = {"tools": 120, "system": 80, "examples": 0, "documents": 1_900, "history": 4_000, "input": 40}
ROOM = {"tools": 120, "system": 80, "examples": 30, "documents": 2_000, "history": 4_200, "input": 40}

Case = tuple[Entry, Status | None]
"""An entry, and how its request ended: None where it never did."""


def entry(number: int, **more: Any) -> Entry:
    usual = {"model": "gpt-5", "policy": "support@4c1e09a2", "deployment": "openai/gpt-5", "started": 10.0}
    request_id = new_id(NOON + number, number.to_bytes(10, "big"))
    return entry_of(request_id, "support-bot", "support", **{**usual, "planned": 10.0021, "http_status": 200, **more})


def paid(number: int, usage: Usage, **more: Any) -> Entry:
    """Make an entry whose answer is paid for at the usual price."""
    return entry(number, bill=bill_of(usage, PRICE), **more)


def cases() -> Iterator[Case]:
    """Yield the entries, each with an end of its own."""
    yield from _answered()
    yield from _rewritten()
    yield from _not_answered()
    yield from _own_calls()


def _answered() -> Iterator[Case]:
    sizes = {"before": BEFORE, "budget": 26_000, "room": ROOM}
    yield paid(1, Usage(prompt=12_300, completion=210), user="ann", tags=["chat", "eu"], **sizes), "answered"
    yield (
        paid(
            2,
            Usage(prompt=12_300, completion=210, cached=10_000, cache_write=99, reasoning=64),
            user="ann",
            stream=True,
            first_byte=10.2754,
            calibration=7,
            cache=CacheSettlement(11_000, "client_changed:3", 1_000, 900_000, 1_250_000, 2),
            **sizes,
        ),
        "answered",
    )
    in_bytes = {"counted": "bytes", "before": {"system": 100, "history": 0, "input": 300}, "guessed_media": 2}
    yield paid(3, Usage(prompt=50, completion=9, estimated=True), budget=0, **in_bytes), "answered"
    unpriced = entry(
        4,
        user='né "ü" \u2028 \x1b[31m',
        model="modèle",
        before={"input": 12},
        bill=bill_of(Usage(prompt=12, completion=3), None),
        cache=CacheSettlement(lost_nanousd=None, saved_nanousd=None),
    )
    yield unpriced, "answered"
    tried = entry(
        5,
        before={"input": 12},
        attempts=[AttemptRow("azure/gpt-5", 500, "status", 250.0), AttemptRow("openai/gpt-5", 200, None, 1500.0)],
        bill=bill_of(Usage(prompt=12, completion=3), PRICE, Usage(prompt=12, completion=1), billed=77),
    )
    yield tried, "answered"
    yield entry(6, before={"input": 12}), None


def _rewritten() -> Iterator[Case]:
    sizes = {"before": BEFORE, "after": AFTER, "room": ROOM, "budget": 6_200}
    few = paid(
        11,
        Usage(prompt=6_140, completion=88),
        user="bob",
        plan="rewritten",
        level="lists",
        policy_version=3,
        edits=runs([(3, "read", "stub", 2_900, 9), (5, None, "drop_oldest", 40, 0), (6, None, "drop_oldest", 10, 0)]),
        removed=Removal(412, 2, ("6e029d94", "0a1b2c3d")),
        **sizes,
    )
    yield few, "answered"
    many = paid(
        12,
        Usage(prompt=6_140, completion=88, cached=4_096),
        user="bob",
        plan="rewritten",
        level="dropped",
        forced=True,
        decision_lost=True,
        edits=[(n, "read", ("stub", "crush", "dedupe")[n % 3], 900, 90) for n in range(2, 40)],
        removed=Removal(0, 0),
        cache=CacheSettlement(saved_nanousd=-4_000),
        **sizes,
    )
    yield many, "answered"
    observed = {"plan": "observed", **sizes, "after": BEFORE}
    edits = [(3, "read", "minify", 2_900, 1_900)]
    would_edit = {"planned_tokens": 6_140, "level": "lossless", "edits": edits, "removed": Removal(0, 0)}
    yield paid(13, Usage(prompt=12_240, completion=5), **observed, **would_edit), "answered"
    refusal = {"component": "input", "tokens": 9_005, "room": 6_992, "at": "messages[3]"}
    yield paid(14, Usage(prompt=12_240, completion=5), **observed, refusal=refusal), "answered"


def _not_answered() -> Iterator[Case]:
    refused = entry(
        21,
        plan="refused",
        deployment=None,
        before=BEFORE,
        budget=6_200,
        http_status=400,
        refusal={"component": "input", "tokens": 9_005, "room": 6_992, "at": "messages[3]"},
        error="context_length_exceeded",
    )
    yield refused, "refused"
    illegal = {"refusal": {"at": "messages[1]", "illegal": True}, "error": "invalid_request_error"}
    yield entry(22, plan="refused", deployment=None, before=BEFORE, http_status=400, **illegal), "refused"
    bad_key = entry(23, policy="", deployment=None, planned=0.0, http_status=401, error="invalid_api_key")
    yield bad_key, "refused"
    failed = entry(
        24,
        before=BEFORE,
        http_status=502,
        error="upstream_failed",
        attempts=[AttemptRow("openai/gpt-5", None, "connect", 30.1)],
        bill=NO_BILL.with_unused(Usage(prompt=12_240, estimated=True), None),
    )
    yield failed, "failed"
    yield paid(25, ESTIMATE, before=BEFORE, stream=True, first_byte=10.3, error="stream_cut"), "failed"
    yield paid(26, ESTIMATE, before=BEFORE, http_status=499, error="client_gone"), "cancelled"


def _own_calls() -> Iterator[Case]:
    yield paid(31, Usage(prompt=900, completion=77), kind="summary", before={"input": 900}), "answered"
    read = {"before": {"history": 9_000}, "cache": CacheSettlement(expected=8_999)}
    yield paid(32, Usage(prompt=9_000, completion=1, cached=8_999), kind="warm_up", **read), "answered"
    yield entry(33, kind="summary", http_status=502, error="timeout", before={"input": 900}), "failed"
    yield entry(34, kind="warm_up", before={"history": 9_000}), None


def write_ledger(folder: Path) -> None:
    """Enter the entries as the pipeline does: each opened, then, if it ever ended, settled; a refusal only settled."""

    async def write() -> None:
        now = NOON
        ledger = Ledger(folder, clock=lambda: now)
        for one, end in cases():
            now += 1.0625
            if end != "refused":
                cost = None if one.bill.cost_nanousd is None else 11_140_000
                await ledger.append(one.opened(ESTIMATE, cost))
            now += 0.5
            if end is not None:
                await ledger.append(one.settled(end, 11.2345), owed=True)
        ledger.close()

    asyncio.run(write())
