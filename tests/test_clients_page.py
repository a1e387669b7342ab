"""The page of clients, and the programs that it is made from."""

from tests.clients.__main__ import NODE, PYTHON, folds
from tests.clients.agents import AGENTS
from tests.clients.page import PACKAGES, PAGE, TABLE, rows, table, versions
from tests.clients.worker_model import DONE, PLAIN, STEPS, Model

PROGRAMS = {*(shown for shown, _ in PYTHON.values()), *NODE.values(), *(agent.name for agent in AGENTS)}
RESULTS = [
    {"program": "openai (Node)", "check": "chat_plain", "ok": True, "note": ""},
    {"program": "openai (Node)", "check": "chat_loop", "ok": False, "note": ""},
    {"program": "anthropic (Python)", "check": "count_tokens", "ok": True, "note": ""},
    {"program": "codex", "check": "loop", "ok": True, "note": ""},
]
TOOL = {"type": "function", "function": {"name": "run", "parameters": {"properties": {"command": {"type": "string"}}}}}


def test_each_program_is_pinned_and_on_the_page():
    assert PACKAGES.keys() == PROGRAMS
    assert versions().keys() == PROGRAMS
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert {line.split(" | ")[0].removeprefix("| ") for line in found[0].splitlines()[2:]} == PROGRAMS


def test_results_are_grouped_by_the_way_that_a_program_asked():
    assert rows(RESULTS) == {
        ("openai (Node)", "chat"): {"plain": True, "loop": False},
        ("anthropic (Python)", "count_tokens"): {"plain": True},
        ("codex", ""): {"loop": True},
    }
    assert table(RESULTS).splitlines()[2].endswith("| chat | yes |  |  |  | **no** |")


def test_a_fold_is_seen_where_more_is_left_out_than_before():
    rows = [{"plan": "rewritten", "tokens_before": before, "tokens_after": 2000} for before in (4000, 4100, 9000)]
    assert folds([{"plan": "unchanged"}, *rows]) == 2


def test_the_model_works_through_a_run_however_much_is_folded():
    model, asked = Model(), {"role": "user", "content": "Do run-abcdef01."}
    called = [model.message({"messages": [asked], "tools": [TOOL]}) for _ in range(STEPS)]
    assert all(one["tool_calls"][0]["function"]["name"] == "run" for one in called)
    assert model.message({"messages": [asked], "tools": [TOOL]})["content"] == DONE
    assert model.message({"messages": [{"role": "user", "content": "Hello"}], "tools": [TOOL]})["content"] == PLAIN
