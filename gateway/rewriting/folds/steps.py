"""The fold of a prefix, step by step: from the state of the last one to its own.

1. Old results are shortened without loss, all at once; where that leaves room enough, nothing else happens.
2. Else what is old goes, deep, in the order of its worth (leave_out.py). Messages that go leave a note and a list
   (lists.py), which is never written again: the next fold puts its own behind it. Only lists that have grown beyond
   their share are replaced by one that is written from the originals.
3. The claims give way, the least first, if all of that is not enough (force.py).
"""

from __future__ import annotations

from gateway.rewriting.folds.age import age_media
from gateway.rewriting.folds.documents import cut_old_documents, cut_to_shares, leave_out_repeated_documents
from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.folds.due import is_due, is_soon, unfolded_limit
from gateway.rewriting.folds.force import force_room
from gateway.rewriting.folds.leave_out import leave_out
from gateway.rewriting.folds.materials import Materials
from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.shorten import leave_out_repeats, shorten_without_loss, stub_results
from gateway.rewriting.folds.state import FoldState
from gateway.rewriting.folds.summaries import summaries_due


def folded_state(
    prefix: Prefix, state: FoldState, materials: Materials, budget: int, *, early: bool = False
) -> FoldState:
    """Make a prefix fit, and leave it room to grow where that can be had. `early`: it fits already."""
    asking = prefix.rules.asking if early or budget == prefix.rules.budget else None
    draft = Draft(prefix, state, materials, budget, asking)
    soon, most, due = is_soon(prefix, state.last), min(draft.least, budget), is_due(draft, state.last)
    cut_to_shares(draft)
    enough = unfolded_limit(draft, budget) - prefix.clear - int(prefix.rules.recall * prefix.room)
    _shorten(draft, enough, due=due)
    if draft.ladders.history and (draft.least > enough or draft.is_above_ceiling):
        summaries, coming = summaries_due(draft)
        draft.put_summaries(summaries)
        leave_out(draft, coming)
    forced = soon or draft.least > most - prefix.clear
    if draft.is_over:
        forced = True
        force_room(draft)
    return draft.finished(forced=forced)


def _shorten(draft: Draft, enough: int, *, due: bool) -> None:
    """Apply remedies that leave every message where it stands, the lightest first, as far as it takes."""
    if draft.least > enough and draft.ladders.documents:  # what they borrowed goes before history
        room = max(0, draft.rules.documents - draft.newest_documents)
        cut_old_documents(draft, room, but=frozenset(draft.units_of("task", set())))
    if draft.least > enough or due:
        shorten_without_loss(draft, enough)
    if draft.least > enough or due:
        leave_out_repeats(draft)
    if draft.least > enough:
        leave_out_repeated_documents(draft)
    if draft.least > enough:
        age_media(draft, enough)
    if draft.least > enough:
        stub_results(draft)
