"""What the command line shows of one request, read as a person reads it."""

import io
import re
from typing import Any

from rich.console import Console

from gateway.money.ledger.lookup import LedgerRecord
from gateway.money.row import LedgerRow
from gateway.reports.tables import as_text, dry_run_tables, request_tables

REFUSED = {
    "event": "settled",
    "id": "gw_1",
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
    console.print(
        request_tables(LedgerRecord(LedgerRow.from_members(REFUSED | fields), None, "2026-01-31T12:00:00.000Z", {}))
    )
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # it is the StringIO above


def test_a_refusal_is_told_in_one_line() -> None:
    assert "input needs 9,005, room 6,992, at messages[3]" in shown()
    assert "0 →" not in shown()


def test_a_refusal_shows_the_room_of_what_was_too_big_and_no_other() -> None:
    told = shown(components={"system": [12, 0], "input": [9_005, 0]})
    assert re.search(r"system +12 +0 +- *$", told, re.MULTILINE)
    assert re.search(r"input +9,005 +0 +6,992 *$", told, re.MULTILINE)


def test_what_came_illegal_says_where_and_who_was_told_why() -> None:
    told = shown(refusal={"at": "messages[1]", "illegal": True}, error="invalid_request_error")
    assert "it does not fit and came illegal, at messages[1]: the message to the client says why" in told


def test_a_request_that_never_got_a_plan_has_no_line_for_one() -> None:
    told = shown(refusal=None, plan="unchanged", tokens_before=0, error="invalid_api_key")
    assert "→" not in told
    assert "0 prompt" not in told


def test_what_was_only_observed_says_what_would_have_come() -> None:
    told = shown(status="answered", refusal=None, plan="observed", tokens_after=10_000, tokens_planned=7_000)
    assert "observed: 10,000 → 10,000 tokens by our count; it would have been 7,000" in told


def test_how_far_a_rewrite_went_is_told_beside_the_plan() -> None:
    told = shown(status="answered", refusal=None, plan="rewritten", level="lossless", tokens_after=7_000)
    assert "rewritten (lossless): 10,000 → 7,000" in told


def test_a_cost_has_all_its_digits() -> None:
    assert "$0.003347501" in shown(status="answered", cost_nanousd=3_347_501)


def test_an_edit_of_several_messages_names_the_first_and_the_last() -> None:
    summed = shown(status="answered", edited={"stub": [8, 1_720, 72, 12]})
    assert "stub" in summed
    assert "1,720" in summed
    assert "messages[12]" in summed
    told = shown(status="answered", edits=[[12, None, "drop_oldest", 700, 0, 18], [20, "read", "stub", 90, 9]])
    assert "messages[12–18]" in told
    assert "messages[20]" in told


def test_what_a_rewrite_removed_and_what_was_missed_is_told_without_content() -> None:
    rewritten = {"status": "answered", "refusal": None, "plan": "rewritten", "values_removed": 1412}
    told = shown(**rewritten, missed=2, missed_values=["6e029d94", "0a1b2c3d"])
    assert "1,412 removed; 2 of them missed by the answer (6e029d94, 0a1b2c3d)" in told
    assert "1,412 removed; none of them missed" in shown(**rewritten, missed=0)
    assert "1,412 would have been removed; none of them would have been missed" in shown(
        **rewritten | {"plan": "observed"}
    )
    assert "removed" not in shown(status="answered", refusal=None, plan="unchanged")


# ---------------------------------------------------------------- a dry run


def message(at: int | None, **more: Any) -> dict[str, Any]:
    usual = {"leaves_at": at, "role": "user", "tool": None, "before": 12, "after": 12, "remedy": None, "reason": None}
    said: dict[str, Any] = {"words": "hello there", "text": None, "kept": 0, "gone": 0, "values_gone": []}
    said["stays"] = None
    return {"at": at, **usual, **said, **more}


def dropped(at: int, **more: Any) -> dict[str, Any]:
    edit = {"remedy": "drop_oldest", "reason": "history was over; oldest first"}
    return message(at, **{"leaves_at": None, "after": 0, **edit, **more})


def drawn(*messages: dict[str, Any], width: int = 80) -> str:
    run = {
        "model": "gpt-5",
        "policy": "support@4c1e09a2",
        "mode": "enforce",
        "budget": 7_000,
        "plan": "rewritten; tokens=9000/6000",
        "components": {"history": {"before": 9_000, "after": 6_000, "room": 7_000, "share": "40%", "bound": True}},
        "level": "lists",
        "edits": [{"at": 1}],
        "refusal": None,
        "values_removed": 19,
        "conversation": messages,
    }
    console = Console(file=io.StringIO(), width=width)
    console.print(dry_run_tables(run))
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # it is the StringIO above


def test_a_message_that_leaves_as_it_came_is_one_line() -> None:
    told = drawn(message(0, words="word " * 30), message(1, role="tool", tool="read_file"))
    (line,) = [line for line in told.splitlines() if "messages[0]" in line]
    assert line.rstrip().endswith("…")
    assert "user, 12 tokens: word word" in line
    assert "tool read_file, 12 tokens: hello there" in told


def test_each_share_says_whether_it_bound_and_the_plan_how_far_it_went() -> None:
    told = drawn()
    assert "40%, bound: 2,000 over" in told
    assert "lists: something is left out" in told


def test_what_is_gone_names_what_stays_of_its_kind() -> None:
    told = drawn(dropped(1, stays=5), dropped(2, stays=8), message(5))
    assert "oldest first; the next like it that stays: messages[5]" in " ".join(told.split())


def test_a_changed_message_is_told_with_its_edit_its_text_and_its_values() -> None:
    edit = {"remedy": "stub", "reason": "older results were over; oldest first", "text": "[result of read]"}
    told = drawn(
        message(
            3, **edit, role="tool", tool="read", after=5, words="[result of read]", kept=2, gone=1, values_gone=["W-1"]
        )
    )
    assert "stub: tool read, 12 → 5 tokens" in told
    assert "[result of read]" in told
    assert "older results were over; oldest first" in told
    assert "values: 2 kept, 1 gone: W-1" in told


def test_neighbours_that_are_left_out_for_one_reason_are_one_block() -> None:
    told = drawn(
        *(dropped(n, kept=1, gone=8, values_gone=[f"W-{n}{k}" for k in range(8)]) for n in (1, 2, 3)), dropped(5)
    )
    assert re.search(r"messages\[1–3\] +drop_oldest: 3 messages, 36 → 0 tokens", told)
    assert "values: 3 kept, 24 gone: W-10," in told
    assert "and 12 more" in told
    assert re.search(r"messages\[5\] +drop_oldest: user, 12 → 0 tokens", told)
    assert "was: hello there" in told


def test_a_message_of_ours_is_told_as_put_in() -> None:
    told = drawn(message(None, leaves_at=1, before=None, after=9, words="[left out]", text="[left out]", kept=3))
    assert "put in" in told
    assert "user, 9 tokens" in told
    assert "values: 3\n" in "\n".join(line.rstrip() for line in told.splitlines()) + "\n"


def test_the_conversation_fits_80_columns_whatever_stands_in_it() -> None:
    wild = "\x1b[31mred\x07 [bold]no markup[/bold] \u202eright to left"
    told = drawn(
        message(0, words=wild, role="tool", tool="\x1b[2J" + "t" * 90),
        dropped(1, words=wild, gone=1, values_gone=["v" * 400]),
        message(1234567, words="w" * 160, text="w" * 160, remedy="crush, stub", reason="r" * 300),
    )
    assert all(len(line) <= 80 for line in told.splitlines())
    assert not {"\x1b", "\x07", "\u202e"} & set(told)
    assert "[bold]no markup[/bold]" in told


def test_nothing_is_drawn_of_a_conversation_that_leaves_as_it_came() -> None:
    console = Console(file=io.StringIO(), width=80)
    run = {
        "model": "m",
        "policy": "p",
        "mode": "enforce",
        "budget": 9,
        "plan": "unchanged",
        "level": "whole",
        "components": {},
        "edits": [],
    }
    console.print(dry_run_tables({**run, "refusal": None, "values_removed": 0, "conversation": [message(0)]}))
    assert "messages[0]" not in console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above


def test_what_a_cache_gave_is_told_with_the_cause_of_less() -> None:
    told = shown(status="answered", cached_tokens=1309, expected_cached=1309, miss="client_changed:7", lost=8263)
    assert "1,309 tokens read, 1,309 expected" in told
    assert "client_changed (messages[7]): the client changed or took out a message that it had sent before" in told
    assert "8,263 tokens lost, $0" in told


def test_what_was_saved_is_told_with_its_sign() -> None:
    assert " $0.0000005 against the request as it came" in shown(status="answered", saved_nanousd=500)
    assert "-$0.0000005 against the request as it came" in shown(status="answered", saved_nanousd=-500)
    assert "as it came" not in shown(status="answered")


# ---------------------------------------------------------------- as text


def sent(at: int | None, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "role": "user",
        "name": None,
        "text": "hello",
        "answers": None,
        "calls": [],
        "media": [],
        "tokens": 5,
    }
    return {"at": at, "changed": False, **usual, **more}


def text_of(*messages: dict[str, Any], **more: Any) -> str:
    run = {
        "model": "gpt-5",
        "policy": "support@4c1e09a2",
        "mode": "enforce",
        "budget": 7_000,
        "tokens": [9_000, 6_000],
        "level": "lists",
        "components": {"tools": {"before": 30, "after": 30}},
        "refusal": None,
        "sent": messages,
    }
    return as_text({**run, **more})


def test_a_request_as_text_is_what_the_model_would_receive_message_by_message() -> None:
    call = {"id": "c1", "name": "find", "arguments": '{"a": 1}'}
    told = text_of(
        sent(0, role="system", text="Be kind.\nAlways."),
        sent(None, text="[… 3 messages, 90 tokens left out]"),
        sent(4, role="assistant", text="", calls=[call]),
        sent(5, role="tool", answers="c1", text="short", changed=True),
        sent(6, name="ann", media=["image, low"]),
    )
    head, *blocks = told.split("\n\n")
    assert head.splitlines()[0] == "support@4c1e09a2, gpt-5: 9,000 → 6,000 of 7,000 tokens"
    assert "tools: 30 tokens of definitions" in head
    assert blocks == [
        "── [0] system, 5 tokens\nBe kind.\nAlways.",
        "── [1] user, put in by the gateway, 5 tokens\n[… 3 messages, 90 tokens left out]",
        '── [2] assistant, was [4], 5 tokens\n→ find({"a": 1})  c1',
        "── [3] tool, was [5], not as it came, answers c1, 5 tokens\nshort",
        "── [4] user ann, was [6], 5 tokens\nhello\n▪ image, low\n",
    ]


def test_nothing_in_a_message_steers_the_terminal() -> None:
    told = text_of(sent(0, text="\x1b[31mred\x07\r\n\ttab", name="\x1b[2J"))
    assert not {"\x1b", "\x07", "\r"} & set(told)
    assert "    tab" in told


def test_a_refused_request_as_text_says_why() -> None:
    refusal = {"component": "input", "tokens": 9005, "room": 6992, "at": "messages[3]"}
    assert text_of(refusal=refusal) == "refused: input needs 9,005, room 6,992, at messages[3]\n"


def test_what_is_no_chat_says_what_it_is() -> None:
    assert "operation" not in shown()
    told = shown(operation="embeddings", status="answered", refusal=None, plan="unchanged", prompt_tokens=8)
    assert re.search(r"operation +embeddings", told)
