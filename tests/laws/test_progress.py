"""Law 9. A fold that was not forced frees at least `clear_at_least` of the room."""

import json

from gateway.config.policy import Fold, Policy, Reserve
from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.generators import Case, Talk


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    for before, after in walk.pairs():
        left = walk.left[after]
        if before != after - 1 or left.forced or not walk.folded(before, after):
            continue
        assert left.body is not None
        unfolded = sum(oracle.message_tokens(json.loads(m), walk.count) for m in walk.unfolded(before, after))
        folded = sum(oracle.message_tokens(json.loads(m), walk.count) for m in walk.lasting(after))
        assert unfolded - folded >= walk.clear(after)


def test_a_fold_that_would_free_too_little_is_put_off_while_the_request_fits() -> None:
    said = [("user", 40)] + [("assistant", 400), ("user", 40)] * 30
    talk = Talk(tuple(json.dumps({"role": role, "content": "x" * size}) for role, size in said))
    fold = Fold(trigger=0.52, target=0.5, clear_at_least=0.1)
    walk = Walk(Case(talk, Policy(name="p", context_window=1100, reserve=Reserve(0, 0), fold=fold)))
    check(walk)
    assert any(walk.folded(before, after) for before, after in walk.pairs())
    assert not any(left.forced for left in walk.left)
