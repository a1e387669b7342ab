"""The part of a plan that the entry of a request holds: sizes, rooms, edits, and the refusal."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config.policy import Policy
from gateway.money.entry import PlanFacts, runs
from gateway.money.row import EditRow
from gateway.rewriting.plan import Edit, Level, Plan, Refusal
from gateway.serving.fit import Fitted, byte_edits, byte_sizes, guesses, rooms_of
from gateway.wire.chat import ChatRequest

InBooks = tuple[Sequence[EditRow], Level]
"""The entry's part of a plan's edits: their rows, and their level."""
NO_EDITS: InBooks = ((), "whole")


def edits_in_books(plan: Plan) -> InBooks:
    """Give what the entry holds of a plan's edits."""
    return runs([_row(edit) for edit in plan.edits]), plan.level


def _row(edit: Edit) -> tuple[int, str | None, str, int, int]:
    """Give what the entry holds of an edit."""
    return edit.at, edit.tool, edit.remedy, edit.before, edit.after


def plan_facts(request: ChatRequest, policy: Policy, fitted: Fitted, edits: InBooks) -> PlanFacts:
    """Return what the entry holds of a plan; under a policy that does not enforce, as it would have been."""
    budget = None if policy.mode == "off" else fitted.most
    match fitted.plan:
        case None:
            return _uncounted(request, policy, fitted, budget)
        case Refusal():
            return _refused(request, policy, fitted, fitted.plan, budget)
        case Plan():
            return _planned(request, policy, fitted, fitted.plan, budget, edits)


def _uncounted(request: ChatRequest, policy: Policy, fitted: Fitted, budget: int | None) -> PlanFacts:
    """Describe a request that nobody counted: its sizes are bytes."""
    edits = runs([_row(edit) for edit in byte_edits(request, fitted)]) if fitted.moved is not None else ()
    return PlanFacts(
        "unchanged" if policy.mode == "enforce" or not edits else "observed",
        "bytes",
        before=byte_sizes(request),
        room={} if budget is None else rooms_of(policy, budget, {}),
        budget=budget,
        edits=edits,
        calibration=fitted.window.calibration.version,
        decision_lost=fitted.decision_lost,
    )


def _refused(request: ChatRequest, policy: Policy, fitted: Fitted, refusal: Refusal, budget: int | None) -> PlanFacts:
    return PlanFacts(
        "refused" if policy.mode == "enforce" else "observed",
        refusal.bounded or "tokens",
        guesses(request.conversation.messages),
        refusal.before,
        refusal.before,
        budget=budget,
        refusal={
            "component": refusal.component,
            "tokens": refusal.tokens,
            "room": refusal.room,
            "at": refusal.at,
        },
        calibration=fitted.window.calibration.version,
        decision_lost=fitted.decision_lost,
    )


def _planned(
    request: ChatRequest, policy: Policy, fitted: Fitted, plan: Plan, budget: int | None, edits: InBooks
) -> PlanFacts:
    if enforces := policy.mode == "enforce":
        name = "rewritten" if plan.rewrites else "unchanged"
    else:
        name = "observed" if plan.edits else "unchanged"
    granted = plan.room if plan.rewrites else {}
    return PlanFacts(
        name,
        plan.bounded or "tokens",
        guesses(request.conversation.messages),
        plan.before,
        plan.after if enforces else plan.before,
        {} if budget is None else rooms_of(policy, budget, plan.before, granted),
        budget,
        *edits,
        forced=plan.forced,
        planned_tokens=plan.tokens_after,
        calibration=fitted.window.calibration.version,
        decision_lost=fitted.decision_lost,
    )
