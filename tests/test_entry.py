"""What the books say of one request."""

import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money.entry import (
    BYTES_PER_TOKEN,
    EDITS_BYTES,
    MOST_MISSED_VALUES,
    NO_BILL,
    Bill,
    fingerprint,
    removal,
    runs,
    told,
)
from gateway.money.prices.entries import price_from
from gateway.money.row import AttemptRow, CacheSettlement, LedgerRow
from gateway.wire.usage import Usage
from tests.entries import Entry, bill_of
from tests.entries import entry as entry_of

PRICE = price_from("x", {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5})

TOO_BIG = {"component": "input", "tokens": 9, "room": 5, "at": "messages[0]"}


def line(row: LedgerRow) -> dict[str, Any]:
    """Return the row as it stands in the ledger."""
    members: dict[str, Any] = orjson.loads(row.to_json())
    return members


def entry(**more) -> Entry:
    return entry_of("gw_1", "bot", "care", **{"model": "asked", "policy": "p@1", "deployment": "o/m", **more})


def test_the_opened_row_says_who_what_and_the_estimate_until_it_is_settled():
    row = line(entry(user="ann", tags=["a"]).opened(Usage(prompt=7, completion=9, estimated=True), 123))
    assert row == {
        "event": "opened",
        "id": "gw_1",
        "key": "bot",
        "team": "care",
        "user": "ann",
        "tags": ["a"],
        "model": "asked",
        "policy": "p@1",
        "estimate_prompt": 7,
        "estimate_completion": 9,
        "estimate_nanousd": 123,
    }


def test_a_call_that_failed_is_paid_for_beside_the_answer():
    one = entry(bill=bill_of(Usage(prompt=100), PRICE, Usage(prompt=50, estimated=True)))
    row = line(one.settled("answered"))
    assert (row["prompt_tokens"], row["cost_nanousd"], row["estimated"]) == (150, 150_000, True)
    unpriced = NO_BILL.with_unused(Usage(prompt=50), None).with_answer(Usage(prompt=100), 7)
    assert (unpriced.cost_nanousd, unpriced.unused_nanousd) == (None, None)


def test_a_request_that_nothing_was_spent_on_costs_nothing():
    row = line(entry().settled("refused", 10.5))
    assert (row["cost_nanousd"], row["prompt_tokens"], row["completion_tokens"]) == (0, 0, 0)
    assert "unpriced" not in row
    assert row["ms"] == {"total": 500.0}


def test_what_was_never_sent_left_no_tokens():
    row = line(entry(deployment=None, before={"input": 9}, refusal=TOO_BIG).settled("refused", 10.5))
    assert (row["tokens_before"], row["tokens_after"], row["refusal"]) == (9, 0, TOO_BIG)


def test_usage_is_priced_and_entered_by_class():
    usage = Usage(prompt=100, completion=20, cached=60, cache_write=5, reasoning=7)
    row = line(entry(bill=bill_of(usage, PRICE)).settled("answered", 11.0))
    assert [
        row[name]
        for name in ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens")
    ] == [100, 60, 5, 20, 7]
    assert row["cost_nanousd"] == 300_000


def test_without_a_price_the_cost_is_unknown_and_never_nothing():
    row = line(entry(bill=bill_of(Usage(prompt=100), None)).settled("answered", 11.0))
    assert (row["cost_nanousd"], row["unpriced"]) == (None, True)


def test_tokens_by_component_are_told_before_and_after():
    one = entry(
        before={"system": 5, "tools": 0, "history": 90},
        after={"system": 5, "tools": 0, "history": 40},
        room={"history": 45, "tools": 0},
    )
    row = line(one.settled("answered", 11.0))
    assert row["components"] == {"system": [5, 5], "history": [90, 40], "room": {"history": 45}}
    assert (row["tokens_before"], row["tokens_after"]) == (95, 45)


def test_a_room_is_told_where_it_is_not_what_was_asked_for():
    sizes = {"system": 5, "input": 9, "documents": 7, "history": 90}
    room = {"system": 5, "input": 9, "documents": 0, "history": 45, "examples": 3}
    row = line(entry(before=sizes, room=room).settled("answered", 11.0))
    assert row["components"]["room"] == {"documents": 0, "history": 45, "examples": 3}


def test_what_is_as_it_nearly_always_is_stands_in_no_row():
    row = line(entry().settled("answered", 11.0))
    assert row.keys().isdisjoint(
        {"policy_version", "stream", "counted", "error", "estimated", "forced", "reasoning_tokens"}
    )
    one = entry(
        kind="summary",
        policy_version=3,
        stream=True,
        counted="bytes",
        error="timeout",
        edits=[(1, None, "stub", 9, 1)],
        forced=True,
        bill=Bill(Usage(prompt=9, reasoning=3, cache_write=2, estimated=True)),
    )
    row = line(one.settled("answered", 11.0))
    assert (row["kind"], row["stream"], row["counted"], row["error"]) == ("summary", True, "bytes", "timeout")
    assert row["policy_version"] == 3
    assert (row["forced"], row["estimated"], row["reasoning_tokens"], row["cache_write_tokens"]) == (True, True, 3, 2)


def test_what_was_not_rewritten_is_after_what_it_was_before():
    row = line(entry(before={"input": 9}).settled("answered", 11.0))
    assert (row["tokens_before"], row["tokens_after"]) == (9, 9)


def test_bytes_are_scaled_to_the_providers_count():
    sizes = {"system": 100, "history": 0, "input": 300}
    one = entry(counted="bytes", before=sizes, bill=bill_of(Usage(prompt=50), PRICE))
    row = line(one.settled("answered", 11.0))
    assert row["components"] == {"system": [12, 12], "input": [38, 38]}
    assert row["tokens_before"] == row["tokens_after"] == 50


def test_bytes_without_any_count_are_estimated():
    row = line(entry(counted="bytes", before={"input": 400}).settled("failed", 11.0))
    assert row["tokens_before"] == 400 // BYTES_PER_TOKEN


@given(
    st.dictionaries(st.sampled_from(["system", "tools", "history", "input"]), st.integers(0, 10**7), min_size=1),
    st.integers(0, 10**6),
)
def test_scaled_sizes_always_add_up_to_the_prompt(sizes, prompt):
    one = entry(counted="bytes", before=sizes, bill=bill_of(Usage(prompt=prompt), PRICE))
    row = line(one.settled("answered", 11.0))
    assert row["tokens_before"] == (prompt or (sum(sizes.values()) or 1) // BYTES_PER_TOKEN)
    assert all(size >= 0 for pair in row["components"].values() for size in pair)


def test_a_few_edits_are_told_one_by_one():
    edits = [(3, "read", "stub", 90, 9), (5, None, "drop_oldest", 40, 0, 8)]
    row = line(entry(edits=edits, forced=True).settled("answered", 11.0))
    assert row["edits"] == [[3, "read", "stub", 90, 9], [5, None, "drop_oldest", 40, 0, 8]]
    assert (row["forced"], "edited" in row) == (True, False)
    assert "forced" not in line(entry(edits=edits).settled("answered", 11.0))


def test_many_edits_are_summed_by_remedy():
    edits = [(2, None, "artifacts", 0, 30), (2, None, "drop_oldest", 400, 0, 11)]
    edits += [(n, "read", "stub", 90, 9) for n in range(12, 20)]
    row = line(entry(edits=edits).settled("answered", 11.0))
    assert row["edited"] == {"artifacts": [1, 0, 30, 2], "drop_oldest": [10, 400, 0, 2], "stub": [8, 720, 72, 12]}
    assert "edits" not in row


def test_messages_left_out_side_by_side_are_one_edit():
    edits = [
        (1, None, "drop_oldest", 10, 0),
        (2, "read", "drop_oldest", 20, 0),
        (3, "read", "stub", 50, 9),
        (5, None, "drop_oldest", 7, 0),
        (7, None, "drop_oldest", 8, 0),
        (8, None, "drop_oldest", 9, 0),
    ]
    assert runs(edits) == [
        (1, None, "drop_oldest", 30, 0, 2),
        (3, "read", "stub", 50, 9),
        (5, None, "drop_oldest", 7, 0),
        (7, None, "drop_oldest", 17, 0, 8),
    ]


EDITS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.none(),
        st.sampled_from(["stub", "drop_oldest"]),
        st.integers(5, 99),
        st.sampled_from([0, 4]),
    ),
    unique_by=lambda e: e[0],
).map(sorted)


@given(EDITS)
def test_joining_never_loses_a_token(edits):
    joined = runs(edits)
    assert sum(edit[3] for edit in joined) == sum(edit[3] for edit in edits)
    assert [edit[0] for edit in joined] == sorted({edit[0] for edit in joined})


@given(EDITS)
def test_telling_never_loses_a_token_or_a_message(edits):
    row = {name: orjson.loads(orjson.dumps(value)) for name, value in told(runs(edits)).items()}
    assert len(row) == 1
    assert "edited" in row or len(orjson.dumps(row["edits"])) <= EDITS_BYTES
    sums = [edit[3:5] for edit in row["edits"]] if "edits" in row else [sums[1:3] for sums in row["edited"].values()]
    assert [sum(column) for column in zip(*sums, strict=True)] == [
        sum(column) for column in zip(*[edit[3:5] for edit in edits], strict=True)
    ]
    assert "edits" in row or sum(sums[0] for sums in row["edited"].values()) == len(edits)


def test_what_was_removed_and_missed_is_told_as_counts_and_fingerprints():
    one = entry(plan="rewritten", removed=removal(412, ["W-7300112", "241.50"]))
    row = line(one.settled("answered", 11.0))
    assert (row["values_removed"], row["missed"]) == (412, 2)
    assert row["missed_values"] == [fingerprint("W-7300112"), fingerprint("241.50")]
    assert b"7300112" not in orjson.dumps(row)
    assert "W-7300112" not in repr(one)


def test_a_rewrite_says_that_nothing_was_missed_and_a_request_without_one_does_not():
    one = entry(plan="rewritten", removed=removal(0, []))
    row = line(one.settled("answered", 11.0))
    assert (row["values_removed"], row["missed"], "missed_values" in row) == (0, 0, False)
    assert line(entry().settled("answered", 11.0)).keys().isdisjoint({"values_removed", "missed", "missed_values"})


def test_misses_are_all_counted_and_fingerprinted_up_to_a_number():
    one = entry(removed=removal(99, [f"value_{n}" for n in range(50)]))
    row = line(one.settled("answered", 11.0))
    assert (row["missed"], len(row["missed_values"])) == (50, MOST_MISSED_VALUES)


@given(st.text())
def test_a_fingerprint_is_eight_digits_the_same_throughout_the_process(value):
    assert fingerprint(value) == fingerprint(value)
    assert len(bytes.fromhex(fingerprint(value))) == 4


def test_another_process_gives_another_fingerprint_so_that_nobody_can_try_values_out():
    program = "from gateway.money.entry import fingerprint; print(fingerprint('1234'), fingerprint('1234'))"
    told = [subprocess.check_output([sys.executable, "-c", program], text=True).split() for _ in range(2)]
    assert {len(set(one)) for one in told} == {1}
    assert len({told[0][0], told[1][0], fingerprint("1234")}) == 3


def test_attempts_are_told_where_there_was_more_than_one_good_one():
    good, bad = (
        AttemptRow("a", 200, None, 1.0),
        AttemptRow("b", 500, "status", 1.0),
    )
    assert entry(attempts=[good]).settled("answered", 11.0).attempts == ()
    assert entry(attempts=[bad]).settled("failed", 11.0).attempts == (bad,)
    row = entry(attempts=[bad, good]).settled("answered", 11.0)
    assert row.attempts == (bad, good)
    assert line(row)["attempts"][0] == {"deployment": "b", "status": 500, "error": "status", "ms": 1.0}


def test_times_are_told_in_milliseconds():
    row = line(entry(planned=10.002, first_byte=10.102).settled("answered", 10.25))
    assert row["ms"] == {"total": 250.0, "plan": 2.0, "upstream_first": 100.0}


REMEDIES = ("artifacts", "drop_oldest", "recall", "crush", "dedupe")


@pytest.mark.parametrize("status", ["answered", "refused", "failed", "cancelled"])
def test_a_busy_row_stays_under_a_kilobyte(status):
    one = entry_of(
        "gw_0198f2c3d4e5f6a7b8c9d0e1f2",
        "support-bot",
        "customer-care",
        user="ann@example.com",
        model="claude-sonnet",
        deployment="anthropic/claude-sonnet-4-5",
        policy="support-long@1",
        plan="rewritten",
        stream=True,
        http_status=200,
        before={"system": 1820, "tools": 15230, "documents": 14011, "history": 92111, "input": 1021},
        after={"system": 1820, "tools": 15230, "documents": 12011, "history": 18111, "input": 1021},
        room={"system": 1820, "tools": 15230, "documents": 12711, "history": 21111, "input": 1021},
        edits=[(n, "get_reservation_details", REMEDIES[n % 5], 12345, 5678) for n in range(2, 99)],
        planned=10.1523,
        first_byte=11.5,
        removed=removal(12_345, [str(n) for n in range(1234, 1334)]),
        bill=Bill(Usage(prompt=28193, completion=533, cached=18304, cache_write=2001), 123_456_789),
    )
    assert len(one.settled(status, 15.1234).to_json("2026-11-27T03:12:01.123456Z")) < 1000


def test_what_is_known_of_the_prompt_cache_is_told_and_what_is_nothing_is_left_out():
    assert (
        line(entry().settled("answered", 11.0)).keys().isdisjoint({"expected_cached", "miss", "lost", "saved_nanousd"})
    )
    cache = CacheSettlement(1024, "expired", 9, 90, -7)
    row = line(entry(cache=cache).settled("answered", 11.0))
    told = [row[name] for name in ("expected_cached", "miss", "lost", "lost_nanousd", "saved_nanousd")]
    assert told == [1024, "expired", 9, 90, -7]
