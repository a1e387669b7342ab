"""Law 8. Rewriting what was rewritten changes nothing."""

import pytest

from tests.laws.conftest import Recorded
from tests.laws.driving import Walk, counter_of, leave
from tests.laws.generators import SENT
from tests.laws.transcripts import BUDGETS


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    case, counter = walk.case, counter_of(walk.count)
    for left in walk.left:
        if left.body is None or left.changes is None:
            continue
        again = leave(left.body, case.policy, case.model, counter, name=SENT)
        assert again.body == left.body


@pytest.mark.parametrize("budget", BUDGETS)
def test_rewriting_a_rewritten_recorded_conversation_changes_nothing(recorded: Recorded, budget: int) -> None:
    for walk in recorded(budget):
        check(walk)
