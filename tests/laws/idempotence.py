"""Law 8. Rewriting what was rewritten changes nothing."""

from tests.laws.driving import Walk, counter_of, leave
from tests.laws.generators import SENT


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    case, counter = walk.case, counter_of(walk.count)
    for left in walk.left:
        if left.body is None or left.changes is None:
            continue
        again = leave(left.body, case.policy, case.model, counter, name=SENT)
        assert again.body == left.body
