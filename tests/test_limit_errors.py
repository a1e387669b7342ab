"""Errors of limits: what a caller is told of a budget."""

from gateway.wire.limit_errors import budget_exceeded

SPENT = "$0.000004 of $0.01 for 1d is spent"


def test_a_budget_of_which_something_is_left_is_not_called_used_up():
    error = budget_exceeded("team=t", SPENT, "$0.065745", 60, {})
    assert error.message == (
        "The gateway's budget for team=t does not pay for this request: $0.000004 of $0.01 for 1d is spent, and it may "
        "cost $0.065745. Ask for a shorter answer, or a cheaper model. It is this gateway's budget, not the provider's "
        "quota. It begins anew in 60 seconds."
    )
    assert (error.status, error.type, error.code) == (429, "budget_exceeded", "insufficient_quota")


def test_a_budget_of_which_nothing_is_left_is_used_up():
    error = budget_exceeded("user=ann", "$5 of $5 for 1d is spent", None, 60, {})
    assert error.message.startswith("The gateway's budget for user=ann is used up: $5 of $5 for 1d is spent. It is ")
    assert error.headers["x-should-retry"] == "false"
