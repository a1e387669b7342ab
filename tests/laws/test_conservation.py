"""Law 10, without limits: the sum of the ledger's entries is the report's total, and each request is settled once.

Requests of every kind of end, entered concurrently by several workers, some of them killed in mid-write.
"""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from gateway.money.entry import Bill
from gateway.money.ledger import Ledger, new_id
from gateway.money.row import Status
from gateway.reports.spend import By, spend_report
from gateway.wire.usage import Usage
from tests.entries import Entry, entry

NOON = 1_700_000_000.0
FIGURES = ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_nanousd")

AMOUNTS = st.integers(0, 10**6)
COSTS = st.none() | st.integers(0, 10**12)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "worker": st.sampled_from(["", "1", "2"]),
            "user": st.sampled_from([None, "ann", "bob", ""]),
            "team": st.sampled_from(["red", "blue"]),
            "tags": st.lists(st.sampled_from(["a", "b"]), max_size=3),
            "model": st.sampled_from(["gpt-5", "claude"]),
            "estimate": COSTS,
            "status": st.sampled_from([*get_args(Status), None]),
            "usage": st.builds(Usage, prompt=AMOUNTS, completion=AMOUNTS, cached=AMOUNTS, estimated=st.booleans()),
            "cost": COSTS,
            "opened": st.booleans(),
            "late": st.integers(0, 2 * 86_400),
        }
    ),
    max_size=12,
)


def entry_of(number: int, request: Mapping[str, Any]) -> Entry:
    return entry(
        new_id(NOON + number, number.to_bytes(10)),
        key="k",
        team=request["team"],
        user=request["user"],
        tags=request["tags"],
        model=request["model"],
        policy="default@0",
        bill=Bill(request["usage"], request["cost"]),
        before={"history": request["usage"].prompt},
    )


async def keep(folder: Path, requests: Sequence[Mapping[str, Any]]) -> None:
    """Enter all requests at once, each as the pipeline does: opened, then, if it ever ends, settled."""
    now = {"at": NOON}
    ledgers = {name: Ledger(folder, name or None, clock=lambda: now["at"]) for name in ("", "1", "2")}

    async def one(number: int, request: Mapping[str, Any]) -> None:
        made, ledger = entry_of(number, request), ledgers[request["worker"]]
        if request["opened"] or request["status"] is None:
            await ledger.append(made.opened(request["usage"], request["estimate"]))
        if request["status"] is not None:
            now["at"] = max(now["at"], NOON + request["late"])
            await ledger.append(made.settled(request["status"], 0.0), owed=True)

    await asyncio.gather(*[one(number, request) for number, request in enumerate(requests)])
    for ledger in ledgers.values():
        ledger.close()


def expected(requests: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Sum by hand what the books must say."""
    total: Counter[str] = Counter(requests=len(requests))
    for request in requests:
        ended = request["status"] is not None
        total[request["status"] or "unsettled"] += 1
        cost = request["cost"] if ended else request["estimate"]
        total["cost_nanousd"] += cost or 0
        total["unpriced"] += cost is None
        if ended:
            for name, figure in (
                ("prompt", "prompt_tokens"),
                ("completion", "completion_tokens"),
                ("cached", "cached_tokens"),
            ):
                total[figure] += getattr(request["usage"], name)
    return total


def lines(folder: Path) -> list[dict[str, Any]]:
    """Read the files as they are, without the ledger's help; a torn line is none."""
    out = []
    for file in folder.glob("*.jsonl"):
        for line in file.read_bytes().split(b"\n"):
            try:
                out.append(json.loads(line))
            except ValueError:
                continue
    return out


@given(REQUESTS, st.sampled_from(get_args(By)), st.just(0) | st.integers(0, 900))
def test_the_ledger_the_report_and_its_rows_are_one_sum(
    base: Any, requests: list[dict[str, Any]], by: By, torn: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(keep(folder, requests))
        for file in sorted(folder.glob("*.jsonl"))[:1] if torn else ():
            whole = file.read_bytes()
            file.write_bytes(whole[: max(0, len(whole) - torn)])
        written, shown = lines(folder), spend_report(folder, by, base=base)
    if not torn:
        assert {key: shown.total[key] for key in expected(requests)} == dict(expected(requests))
        assert len(written) == sum((r["opened"] or r["status"] is None) + (r["status"] is not None) for r in requests)
    settled = {line["id"]: line for line in written if line["event"] == "settled"}
    opened = {line["id"]: line for line in written if line["event"] == "opened"}
    assert len(settled) + len(opened) == len(written), "an id was settled twice"
    pending = [line for request, line in opened.items() if request not in settled]
    assert shown.total["requests"] == len(settled) + len(pending)
    assert shown.total["unsettled"] == len(pending)
    assert shown.total["unsettled_nanousd"] == sum(line["estimate_nanousd"] or 0 for line in pending)
    booked = sum(line["cost_nanousd"] or 0 for line in settled.values())
    assert shown.total["cost_nanousd"] - shown.total["unsettled_nanousd"] == booked
    assert shown.total["duplicates"] == 0
    if by != "tag":
        for figure in ("requests", *FIGURES):
            assert sum(row[figure] for row in shown.rows) == shown.total[figure]
