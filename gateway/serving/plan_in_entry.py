"""The part of a plan that the entry of a request holds: sizes, rooms, edits, and the refusal."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config.policy import Policy
from gateway.money.entry import Entry, runs
from gateway.money.row import EditRow
from gateway.request import Request
from gateway.rewriting.plan import Edit, Level, Plan, Refusal
from gateway.serving.fit import Fitted, byte_edits, byte_sizes, guesses, rooms_of

InBooks = tuple[Sequence[EditRow], Level]
"""The entry's part of a plan's edits: their rows, and their level."""
NO_EDITS: InBooks = ((), "whole")


def edits_in_books(plan: Plan) -> InBooks:
    """Give what the entry holds of a plan's edits."""
    return runs([_row(edit) for edit in plan.edits]), plan.level


def _row(edit: Edit) -> tuple[int, str | None, str, int, int]:
    """Give what the entry holds of an edit."""
    return edit.at, edit.tool, edit.remedy, edit.before, edit.after


def note_plan(entry: Entry, request: Request, policy: Policy, fitted: Fitted, edits: InBooks) -> None:
    """Write a plan into the entry; under a policy that does not enforce, as it would have been."""
    plan, enforces = fitted.plan, policy.mode == "enforce"
    entry.calibration = fitted.window.calibration.version
    entry.decision_lost = fitted.decision_lost
    entry.guessed_media = 0 if plan is None else guesses(request.conversation.messages)
    entry.budget = None if policy.mode == "off" else fitted.window.budget(request.answer_limit or 0)
    if plan is None:
        entry.room = {} if entry.budget is None else rooms_of(policy, entry.budget, {})
        entry.counted, entry.before = "bytes", byte_sizes(request)
        entry.edits = runs([_row(edit) for edit in byte_edits(request, fitted)])
        entry.plan = "unchanged" if enforces or not entry.edits else "observed"
        return
    entry.counted, entry.before, entry.after = plan.bounded or "tokens", plan.before, plan.before
    if isinstance(plan, Refusal):
        entry.plan = "refused" if enforces else "observed"
        entry.refusal = {"component": plan.component, "tokens": plan.tokens, "room": plan.room, "at": plan.at}
        return
    entry.refusal, granted = None, plan.room if plan.rewrites else {}
    entry.room = {} if entry.budget is None else rooms_of(policy, entry.budget, plan.before, granted)
    if enforces:
        entry.plan = "rewritten" if plan.rewrites else "unchanged"
    else:
        entry.plan = "observed" if plan.edits else "unchanged"
    if enforces:
        entry.after = plan.after
    entry.planned_tokens = plan.tokens_after
    entry.edits, entry.level = edits
    entry.forced = plan.forced
