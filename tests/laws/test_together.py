"""Laws that ask something of the same conversations, made and recorded: each is walked once, and held to all of them.

What each law asks stands in its own file, and so do cases of its own.
"""

import pytest
from hypothesis import given

from tests.conftest import Conversations
from tests.laws import (
    authority,
    idempotence,
    keep_words,
    legality,
    meant,
    no_op,
    test_fit,
    test_keep,
    test_lightest_first,
    test_progress,
    test_shares,
    test_stability,
    transcripts,
    truth,
)
from tests.laws.driving import Walk
from tests.laws.generators import PROVIDERS, Case, cases
from tests.laws.leaving import recorded_walks


@given(cases(modes=("enforce", "enforce", "enforce", "observe", "off"), breaks=True))
def test_what_leaves_fits_or_is_refused_for_what_is_too_big_and_untouched_bytes_stay(case: Case) -> None:
    walk = Walk(case)
    no_op.check(walk)
    test_fit.check(walk)


@given(cases())
def test_what_must_stay_arrives_as_it_came_and_rewriting_again_changes_nothing(case: Case) -> None:
    walk = Walk(case)
    test_keep.check(walk)
    idempotence.check(walk)


@given(cases(legal=PROVIDERS, breaks=True))
def test_what_came_legal_leaves_legal_and_a_pointer_leads_to_what_is_there(case: Case) -> None:
    walk = Walk(case)
    legality.check(walk)
    test_keep.check_pointers(walk)


@given(cases(strict=False, limits=False))
def test_only_what_the_ladder_names_is_cut_and_between_folds_nothing_changes(case: Case) -> None:
    walk = Walk(case)
    test_keep.check_remedies(walk)
    test_stability.check_edits_are_what_was_done(walk)
    test_stability.check_stability(walk)
    test_stability.check_one_way(walk)
    test_progress.check(walk)


@given(meant.cases())
def test_what_people_said_stays_shares_bind_and_what_we_say_is_quoted_and_so(case: Case) -> None:
    walk = Walk(case)
    keep_words.check(walk)
    test_shares.check(walk)
    authority.check(walk)
    truth.check(walk)


@pytest.mark.parametrize("part", range(3))
def test_recorded_conversations_keep_the_laws(conversations: Conversations, part: int) -> None:
    for walk in transcripts.walks(conversations, part):
        no_op.check(walk)
        test_fit.check(walk)
        test_keep.check(walk)
        legality.check(walk)
        test_progress.check(walk)
        test_stability.check_stability(walk)
        test_stability.check_one_way(walk)
        idempotence.check(walk)


@pytest.mark.parametrize("part", range(3))
def test_in_recorded_conversations_what_people_said_stays_and_what_we_say_is_so(
    conversations: Conversations, part: int
) -> None:
    for walk in recorded_walks(conversations, part):
        keep_words.check(walk)
        test_lightest_first.check(walk)
        authority.check(walk)
        truth.check(walk)
