"""How far a request is marked for the provider's prompt cache, for how long, and where the next one agrees with it."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.conversation import Changes, Insertion
from gateway.prompt_cache.markers import MarkingInputs, StableEnds, find_stable_ends, lifetime_of, mark_up_to
from gateway.prompt_cache.rules import CacheFacts
from gateway.prompt_cache.usage_patterns import (
    KNOWN,
    NEW,
    NO_HISTORY,
    NOTHING_KNOWN,
    Habits,
    PreviousRequest,
    head_stage,
    request_habits,
    turn_stage,
)

FACTS = CacheFacts(
    "anthropic",
    "breakpoints",
    "cache_control",
    1024,
    read=Decimal("0.1"),
    writes={300: Decimal("1.25"), 3600: Decimal(2)},
)
FRESH = MarkingInputs(NOTHING_KNOWN, NO_HISTORY, NEW, 1)


def going_on(times: int, gap_seconds: float = 10.0) -> Habits:
    """What is known once so many conversations sent a second request."""
    out = NOTHING_KNOWN
    for n in range(times):
        out += request_habits(NEW, 1000.0 * n) + request_habits(
            turn_stage(2), 1000.0 * n + gap_seconds, PreviousRequest(NEW, gap_seconds, 5000), 6000
        )
    return out


def test_a_first_request_of_whom_nothing_is_known_is_not_marked():
    assert mark_up_to("on_reuse", FRESH, FACTS, 300) == "nothing"


def test_the_first_request_of_a_team_whose_conversations_go_on_is_marked():
    assert mark_up_to("on_reuse", replace(FRESH, habits=going_on(3)), FACTS, 300) == "all"


def test_the_second_request_of_a_conversation_is_marked():
    assert mark_up_to("on_reuse", replace(FRESH, stage=turn_stage(2)), FACTS, 300) == "all"


def test_a_head_that_others_begin_with_is_marked_where_the_conversation_may_end():
    habits = NOTHING_KNOWN
    for n in range(2, 6):
        habits += request_habits(KNOWN, 10.0 * n) + request_habits(
            head_stage(n), 10.0 * n, PreviousRequest(head_stage(n - 1), 10.0)
        )
    assert mark_up_to("on_reuse", MarkingInputs(habits, NO_HISTORY, KNOWN, 6), FACTS, 300) == "head"


@pytest.mark.parametrize(("markers", "extent"), [("always", "all"), ("off", "nothing")])
def test_a_policy_may_say_always_or_off(markers, extent):
    assert mark_up_to(markers, FRESH, FACTS, 300) == extent
    assert mark_up_to(markers, replace(FRESH, habits=going_on(9)), FACTS, 300) == extent


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 300), ("1h", 3600)])
def test_a_policy_may_name_the_lifetime(ttl, seconds):
    assert lifetime_of(ttl, going_on(9), FACTS, None, 0.0) == seconds
    assert lifetime_of(ttl, going_on(9), FACTS, 3600, 0.0) == seconds


def test_a_lifetime_that_the_provider_does_not_offer_gives_way_to_the_nearest():
    assert lifetime_of("1h", NOTHING_KNOWN, replace(FACTS, writes={300: Decimal("1.25")}), None, 0.0) == 300


def test_a_conversation_keeps_its_lifetime_and_a_new_one_gets_what_suits_the_gaps():
    assert lifetime_of("auto", going_on(9), FACTS, 3600, 9e4) == 3600
    assert lifetime_of("auto", going_on(9), FACTS, None, 9e4) == 300
    assert lifetime_of("auto", going_on(9, gap_seconds=1500.0), FACTS, None, 9e4) == 3600


def test_what_came_and_what_is_frozen_ends_where_the_last_list_does():
    changes = Changes({}, frozenset({1, 2}), (Insertion(1, "a list"), Insertion(3, "another list")))
    assert find_stable_ends(changes, 6) == StableEnds(fold_end=3, stable_end=None)


def test_what_is_for_this_request_alone_stands_behind_what_the_next_one_will_have():
    changes = Changes({}, frozenset({1, 2}), (Insertion(1, "a list"), Insertion(5, "said before", "excerpts")))
    assert find_stable_ends(changes, 6) == StableEnds(fold_end=2, stable_end=4)


def test_without_messages_of_ours_there_is_nothing_to_tell():
    assert find_stable_ends(None, 6) == StableEnds()
    assert find_stable_ends(Changes({3: "shorter"}), 6) == StableEnds()
