"""The summaries of one conversation between its folds, as values. Sizes are words."""

from dataclasses import replace

import pytest

from gateway.config.ladder import Ladder
from gateway.config.policy import Policy, Summarize
from gateway.rewriting.folds.summarize import LEAST, LINE, Asking, Segment, SummaryFacts, asking_of, line
from gateway.rewriting.folds.summary_state import (
    AT_ONCE,
    PART,
    SMALL,
    StandingSummary,
    SummaryState,
    least_room,
    least_source,
    most_of,
)
from tests.talk import count, messages, user, words

SAID = messages([user(words(100, f"part-{n}")) for n in range(40)])
TOKENS = [100] * len(SAID)
MOST, CLEAR = 400, 300


def asking(*, inline: bool = False, texts: dict[str, str] | None = None, **decisions: tuple[str, ...]) -> Asking:
    told = Summarize(enabled=True, model="writer", run="inline" if inline else "background")
    policy = Policy("p", summarize=told, ladder=Ladder(history=("summarize", "drop_oldest")))
    found = asking_of(policy, SummaryFacts(texts or {}, decisions, "writer"))
    assert found is not None
    return found


def gone(state: SummaryState, upto: int, asks: Asking | None = None) -> SummaryState:
    """Let the first so many messages be gone."""
    return state.asking_for(asks or asking(), SAID, TOKENS, range(upto), MOST, CLEAR)


def keys(state: SummaryState) -> tuple[str, ...]:
    return tuple(segment.key for segment in state.waiting)


def standing(state: SummaryState) -> list[tuple[int, ...]]:
    return [one.segment.messages for one in state.standing]


def fold(state: SummaryState, prefix: str, upto: int, asks: Asking, room: int = 1000) -> SummaryState:
    """Make one whole fold: decide, enter, ask, and enter at once where requests wait."""
    state, coming = state.decided(asks, prefix, MOST, count)
    state = gone(state.entered(coming, upto, room), upto, asks)
    state, coming = state.decided_at_once(asks, prefix, MOST, count)
    return state.entered(coming, upto, room)


# ---------------------------------------------------------------- what is asked for


def test_what_is_gone_is_asked_for_once_there_is_enough_of_it():
    assert gone(SummaryState(), 2).waiting == ()
    state = gone(SummaryState(), 10)
    assert [segment.messages for segment in state.waiting] == [tuple(range(10))]
    assert state.waiting[0].limit == 100


def test_what_nobody_wrote_in_time_is_asked_for_with_what_went_since():
    state = gone(gone(SummaryState(), 10), 20)
    assert [segment.messages for segment in state.waiting] == [tuple(range(20))]


def test_only_what_no_summary_speaks_of_is_asked_for_while_there_is_room():
    first = gone(SummaryState(), 10)
    state = fold(first, "p", 20, asking(texts={keys(first)[0]: words(50, "said")}))
    assert standing(state) == [tuple(range(10))]
    assert [segment.messages for segment in state.waiting] == [tuple(range(10, 20))]


def test_no_more_is_wanted_than_nobody_has_written():
    state = gone(SummaryState(), 10)
    assert state.wanted(asking()) == state.waiting
    assert state.wanted(asking(texts={keys(state)[0]: "x"})) == ()
    assert state.wanted(None) == ()


# ---------------------------------------------------------------- what comes in


def test_a_summary_enters_at_the_fold_after_it_was_written_and_that_is_an_event():
    first = gone(SummaryState(), 10)
    text = words(50, "said")
    asks = asking(texts={keys(first)[0]: text})
    state, coming = first.decided(asks, "p", MOST, count)
    assert state.events[0].decision == keys(first)
    state = state.entered(coming, 10, 1000)
    assert (state.waiting, state.standing[0].before) == ((), 10)
    assert state.standing[0].text == line(first.waiting[0], text)
    assert state.tokens == 4 + count(state.standing[0].text)
    assert state.holds(asking(texts={keys(first)[0]: text}, p=state.events[0].decision))
    assert not state.holds(asking())


def test_what_was_decided_before_is_followed():
    first = gone(SummaryState(), 10)
    state, coming = first.decided(asking(texts={keys(first)[0]: "said"}, p=()), "p", MOST, count)
    assert (coming, state.events[0].decision, state.waiting) == ((), (), first.waiting)


def test_a_prefix_that_folds_a_second_time_has_decided():
    first = gone(SummaryState(), 10)
    state, coming = first.decided(asking(), "p", MOST, count)
    again, more = state.decided(asking(texts={keys(first)[0]: "said"}), "p", MOST, count)
    assert (again, coming, more) == (state, (), ())


def test_what_has_no_room_waits_for_the_next_fold():
    first = gone(SummaryState(), 10)
    asks = asking(texts={keys(first)[0]: words(50, "said")})
    state, coming = first.decided(asks, "p", MOST, count)
    assert state.entered(coming, 10, 20).waiting == first.waiting
    assert first.decided(asks, "p", 20, count)[1] == ()


# ---------------------------------------------------------------- what stands


def filled() -> tuple[SummaryState, dict[str, str]]:
    """Two summaries that take all that summaries may."""
    texts: dict[str, str] = {}
    state = SummaryState()
    for prefix, upto in (("p", 20), ("q", 40), ("r", 40)):
        state = fold(state, prefix, upto, asking(texts=texts))
        texts |= {segment.key: words(segment.limit, "said") for segment in state.waiting}
    return state, texts


def test_a_summary_stands_through_folds_at_which_nothing_comes():
    first = gone(SummaryState(), 10)
    state = fold(first, "p", 20, asking(texts={keys(first)[0]: "said"}))
    for number, upto in enumerate((24, 30, 36, 40)):
        state = fold(state, f"q{number}", upto, asking(texts={keys(first)[0]: "said"}))
        assert standing(state) == [tuple(range(10))]


def test_a_merged_one_is_of_originals_and_the_others_stand_until_it_is_there():
    state, texts = filled()
    assert standing(state) == [tuple(range(20)), tuple(range(20, 40))]
    said, sizes = (*SAID, *SAID[:40]), TOKENS * 2
    state = state.asking_for(asking(texts=texts), said, sizes, range(79), MOST, CLEAR)
    assert state.waiting == (), "not before as much again is gone"
    state = state.asking_for(asking(texts=texts), said, sizes, range(80), MOST, CLEAR)
    assert [segment.messages for segment in state.waiting] == [tuple(range(80))]
    assert len(state.standing) == 2
    without, _ = state.decided(asking(texts=texts), "s", MOST, count)
    assert len(without.standing) == 2
    texts[keys(state)[0]] = words(100, "merged")
    state, coming = state.decided(asking(texts=texts), "s", MOST, count)
    assert state.tokens_with(coming) < state.tokens
    state = state.entered(coming, 80, 0)
    assert standing(state) == [tuple(range(80))], "it needs no room, having taken that of the others"


def test_what_is_taken_back_may_enter_again():
    first = gone(SummaryState(), 10)
    asks = asking(texts={keys(first)[0]: "said"})
    state = fold(first, "p", 20, asks).taken_back()
    assert (state.tokens, keys(state)[:1]) == (0, keys(first))
    assert standing(fold(state, "q", 20, asks))[0] == tuple(range(10))


# ---------------------------------------------------------------- at once


def test_where_requests_wait_a_fold_takes_in_the_summary_of_what_it_leaves_out():
    state = gone(SummaryState(), 10)
    asks = asking(inline=True, texts={keys(state)[0]: "said"})
    state = fold(SummaryState(), "p", 10, asks)
    assert standing(state) == [tuple(range(10))]
    assert [event.prefix for event in state.events] == ["p" + AT_ONCE]


def test_that_it_did_not_come_in_time_is_decided_as_well():
    key = keys(gone(SummaryState(), 10))[0]
    late = asking(inline=True, texts={key: "said"}, **{"p" + AT_ONCE: ()})
    state = fold(SummaryState(), "p", 10, late)
    assert (state.standing, state.events[0].candidates) == ((), (key,))
    assert standing(fold(state, "q", 20, late)) == [tuple(range(10))]


def test_what_a_fold_offered_is_not_offered_at_once_again():
    state = fold(gone(SummaryState(), 10), "p", 11, asking(inline=True))
    assert [event.prefix for event in state.events] == ["p", "p" + AT_ONCE]
    state = gone(SummaryState(), 10)
    state, _ = state.decided(asking(inline=True), "p", MOST, count)
    assert state.decided_at_once(asking(inline=True), "p", MOST, count) == (state, ())


def test_in_the_background_nothing_enters_at_once():
    state = gone(SummaryState(), 10)
    assert state.decided_at_once(asking(texts={keys(state)[0]: "said"}), "p", MOST, count) == (state, ())


# ---------------------------------------------------------------- room


def test_summaries_take_a_tenth_of_the_room_and_half_of_that_in_a_chat():
    assert most_of(20_000, is_chat=False) == 2000
    assert most_of(20_000, is_chat=True) == 1000
    assert most_of(2500, is_chat=True) == SMALL
    assert most_of(1000, is_chat=True) == 1000 // PART


@pytest.mark.parametrize("is_chat", [True, False])
def test_below_the_least_room_none_is_ever_asked_for(is_chat: bool) -> None:
    def asked(room: int) -> tuple[Segment, ...]:
        most = most_of(room, is_chat=is_chat)
        return SummaryState().asking_for(asking(), SAID, TOKENS, range(40), most, CLEAR).waiting

    assert asked(least_room())
    assert not asked(least_room() - PART)
    assert least_source(0.1) == 10 * LEAST


def test_a_summary_that_is_replaced_gives_its_room():
    old = StandingSummary(Segment("a", (0, 1), 500, 100), "old", 60)
    new = StandingSummary(Segment("b", (0, 1, 2), 900, 100), "new", 90)
    state = replace(SummaryState(), standing=(old,))
    assert state.tokens_with([new]) == 90
    assert state.entered([new], 3, 29).standing == (old,)
    assert [one.text for one in state.entered([new], 3, 30).standing] == ["new"]
    assert least_room() == 2 * (LEAST + LINE) * PART
