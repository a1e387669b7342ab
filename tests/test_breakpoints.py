"""The breakpoints of a request without our markers: each marker of the caller, wherever it stands."""

from typing import Any

import pytest

from gateway.conversation import Changes, Insertion
from gateway.prompt_cache.breakpoints import Breakpoint, callers
from gateway.prompt_cache.rules import NOTHING
from tests.talk import Wire, assistant, calls, request, result, system, user
from tests.test_markers import CLAUDE, GPT, MARK, MARK_HOUR, OLD_GPT, TOOL


@pytest.mark.parametrize(
    ("listed", "more", "expected"),
    [
        (
            [user([{"type": "text", "text": "a", "cache_control": MARK}, {"type": "text", "text": "b"}])],  # type: ignore[arg-type]
            {},
            [Breakpoint(1, 300, ours=False, whole=False)],
        ),
        (
            [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": MARK_HOUR}])],  # type: ignore[arg-type]
            {},
            [Breakpoint(1, 3600, ours=False)],
        ),
        (
            [user("a")],
            {"tools": [{**TOOL, "cache_control": MARK}, TOOL]},
            [Breakpoint(0, 300, ours=False, whole=False)],
        ),
        (
            [user("a")],
            {"tools": [TOOL, {"type": "function", "function": {**TOOL["function"], "cache_control": MARK}}]},
            [Breakpoint(0, 300, ours=False)],
        ),
        ([user("a"), assistant("b"), user("c")], {"cache_control": MARK_HOUR}, [Breakpoint(3, 3600, ours=False)]),
        (
            [user("a"), {**calls("c1 f"), "content": "b", "cache_control": MARK}, result("c1", "c")],
            {},
            [Breakpoint(2, 300, ours=False, whole=False)],
        ),
        (
            [
                user("a"),
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{**calls("c1 f")["tool_calls"][0], "cache_control": MARK}],
                },
                result("c1", "c"),
            ],
            {},
            [Breakpoint(2, 300, ours=False)],
        ),
        ([user("a", cache_control=None), user('say "cache_control"')], {}, []),
    ],
)
def test_the_callers_are_counted_wherever_they_stand(
    listed: list[Wire], more: dict[str, Any], expected: list[Breakpoint]
):
    assert list(callers(request(listed, **more), CLAUDE)) == expected


def test_a_marker_that_is_dropped_or_moved_with_its_message_is_counted_as_it_is_sent():
    parts = [{"type": "text", "text": "a", "cache_control": MARK_HOUR}, {"type": "text", "text": "b"}]
    listed = [user("Old.", cache_control=MARK), assistant("A."), user(parts), assistant("B."), user("Now?")]  # type: ignore[arg-type]
    changes = Changes({2: "short"}, frozenset({0, 1}), (Insertion(0, "What went."), Insertion(4, "Recalled.")))
    assert list(callers(request(listed), CLAUDE, changes)) == [Breakpoint(2, 3600, ours=False)]


def test_openais_and_anthropics_markers_are_not_each_others():
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    came = request([system([part]), user("b", cache_control=MARK)])  # type: ignore[arg-type]
    assert [one.link for one in callers(came, CLAUDE)] == [2]
    assert [one.link for one in callers(came, GPT)] == [1, 2]
    assert callers(came, OLD_GPT) == callers(came, NOTHING) == ()
