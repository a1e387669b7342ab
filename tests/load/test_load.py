"""Small versions of the load runs; each module's docstring tells how to run the full one."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from gateway.budget.tokens import Counter
from tests.conftest import Conversations
from tests.contract.running import running_upstream
from tests.load import (
    crushing,
    growing,
    kill_nine,
    mixed_load,
    mutated_bodies,
    planning,
    real_model,
    restarts,
    slow_state,
    streams,
    tokenising,
)
from tests.load.recorded import MADE_UP, joined
from tests.upstream.counting import prompt_tokens

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_after_mixed_load_ledger_report_and_upstream_are_one_number(tmp_path: Path) -> None:
    outcome = mixed_load.measure(tmp_path, 600)
    assert not outcome.problems, str(outcome)
    assert outcome.ledger_nanousd > 0


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_two_gateways_are_restarted_behind_nginx_and_nobody_notices(tmp_path: Path) -> None:
    asked = asyncio.run(restarts.rolling(tmp_path, workers=1, rounds=1, drain="0s"))
    assert asked.ends.keys() == {"answered"}, str(asked)


def test_kill_nine_loses_no_accepted_request(tmp_path: Path) -> None:
    outcome = kill_nine.measure(tmp_path, kills=2)
    assert not outcome.problems, str(outcome)
    assert outcome.accepted > 0


def test_a_state_that_hangs_is_in_the_way_of_neither_requests_nor_stop(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        run = slow_state.measure(tmp_path / "hung", upstream, "hung", requests=24)
    assert run.lost
    assert run.lines <= 3, str(run)
    assert run.stop < 6, str(run)  # 3 s above normal in the full run, on a machine that does nothing else


def test_mutated_bodies_break_nothing(tmp_path: Path) -> None:
    outcome = mutated_bodies.measure(tmp_path, bodies=1000, first=400)
    assert not outcome.problems, str(outcome)


def test_long_texts_do_not_hold_up_the_small_ones(tmp_path: Path) -> None:
    outcome = tokenising.measure(tmp_path, seconds=3)
    assert (outcome.failures, outcome.uncounted) == (0, 0)
    assert outcome.long_requests >= 2
    assert outcome.added_p99 < 150, str(outcome)  # 20 ms in the full run, on a machine that does nothing else


def test_slow_streams_take_little_and_a_client_that_leaves_is_heard_of(tmp_path: Path) -> None:
    outcome = streams.measure(tmp_path, 60, per_second=100, seconds=1, idle_seconds=0)
    assert not outcome.problems, str(outcome)


def test_of_a_stream_that_nobody_reads_little_is_held(tmp_path: Path) -> None:
    outcome = streams.measure_stalled(tmp_path, 20, seconds=1)
    assert not outcome.problems, str(outcome)


def test_mutation_is_reproducible_and_varied() -> None:
    legal = mutated_bodies.seeds()
    bodies = [mutated_bodies.mutated(number, 1, legal) for number in range(300)]
    assert bodies == [mutated_bodies.mutated(number, 1, legal) for number in range(300)]
    assert len(set(bodies)) > 280


def test_long_conversations_are_planned_and_do_not_hold_up_the_small_ones(tmp_path: Path) -> None:
    # The limits of the full runs are a tenth of these, on a machine that does nothing else.
    offline = planning.offline(MADE_UP, joined(MADE_UP, 30_000), 8_000)
    assert offline.first.total < 10 * planning.FIRST_SIGHT_MS, str(offline)
    assert offline.known < 10 * planning.KNOWN_MS, str(offline)
    live = planning.live(tmp_path, MADE_UP, 16_000, seconds=3, tokens=30_000)
    assert live.sound, str(live)


def test_a_late_turn_costs_little_more_than_an_early_one() -> None:
    *_, whole = growing.in_process(growing.grown(MADE_UP), growing.WINDOW)
    assert whole.ratio < 3 * growing.MOST_GROWTH, str(whole)


def test_results_shortened_without_loss_keep_what_later_turns_use(conversations: Conversations) -> None:
    count = Counter("o200k_base").count
    listed = [result for name in conversations.names for result in crushing.results(conversations.read(name, 20))]
    tally = crushing.without_loss(listed, count)
    assert tally.used > 100
    assert tally.share_kept >= crushing.KEPT, str(tally)  # verbatim: a line number that follows from the first is not


# The real model itself is a package of 250 MB and not asked here; what is laid before it is.


def test_the_questions_for_a_real_model_are_over_its_window_and_asked_once(conversations: Conversations) -> None:
    asked = real_model.questions(210)
    assert len({question.messages[-1]["content"] for question in asked}) == 210
    assert all(prompt_tokens({"messages": question.messages}) > real_model.WINDOW for question in asked)


def test_a_window_of_documents_fits_and_ends_with_the_question(conversations: Conversations) -> None:
    for question in real_model.questions(20):
        for first in (False, True):
            cut = real_model.windowed(question.messages, real_model.WINDOW, first)
            assert prompt_tokens({"messages": cut}) <= real_model.WINDOW
            ending = question.messages[-1]["content"].rpartition("Question: ")[2]
            assert cut[-1]["content"].endswith(ending)
            assert "Document [" in cut[len(real_model.EXAMPLES)]["content"]


def test_a_window_that_slides_fits_and_leaves_no_result_without_its_call(conversations: Conversations) -> None:
    _, window, bodies = real_model.transcript(real_model.TRANSCRIPTS[0], real_model.STEPS)
    for body in bodies:
        left = real_model.slid(body, window)["messages"]
        calls = {call["id"] for message in left for call in message.get("tool_calls") or ()}
        assert prompt_tokens({**body, "messages": left}) <= window
        assert {message["tool_call_id"] for message in left if message["role"] == "tool"} <= calls


def test_a_sign_test_is_exact() -> None:
    assert real_model.sign_test(0, 0) == real_model.sign_test(3, 3) == 1.0
    assert real_model.sign_test(5, 0) == real_model.sign_test(0, 5) == 2 / 32
    assert round(real_model.sign_test(2, 8), 4) == 0.1094
