"""What the command line shows of one request, read as a person reads it."""

import io
from typing import Any

from rich.console import Console

from gateway.operators.tables import request_tables

REFUSED = {
    "id": "gw_1",
    "settled_at": "2026-01-31T12:00:00.000Z",
    "status": "refused",
    "http_status": 400,
    "model": "gpt-5",
    "policy": "support@4c1e09a2",
    "plan": "refused",
    "tokens_before": 10_000,
    "tokens_after": 0,
    "cost_nanousd": 0,
    "refusal": {"component": "input", "tokens": 9005, "room": 6992, "at": "messages[3]"},
}


def shown(**fields: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(request_tables(REFUSED | fields))
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # it is the StringIO above


def test_a_refusal_is_told_in_one_line() -> None:
    assert "input needs 9,005, room 6,992, at messages[3]" in shown()
    assert "0 →" not in shown()


def test_a_request_that_never_got_a_plan_has_no_line_for_one() -> None:
    told = shown(refusal=None, plan="unchanged", tokens_before=0, error="invalid_api_key")
    assert "→" not in told
    assert "0 prompt" not in told


def test_what_was_only_observed_says_what_would_have_come() -> None:
    told = shown(status="answered", refusal=None, plan="observed", tokens_after=10_000, tokens_planned=7_000)
    assert "observed: 10,000 → 10,000 tokens by our count; it would have been 7,000" in told


def test_a_cost_has_all_its_digits() -> None:
    assert "$0.003347501" in shown(status="answered", cost_nanousd=3_347_501)


def test_an_edit_of_several_messages_names_the_first_and_the_last() -> None:
    told = shown(status="answered", edits=[[12, None, "drop_oldest", 700, 0, 18], [20, "read", "stub", 90, 9]])
    assert "messages[12–18]" in told
    assert "messages[20]" in told
