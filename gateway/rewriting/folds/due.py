"""The moments at which a prefix folds: whether it is due, too soon, and how much it may take until then. Pure."""

from __future__ import annotations

from gateway.rewriting.folds.state import Prefix
from gateway.rewriting.ladder import REPEATED


def is_soon(prefix: Prefix) -> bool:
    """Tell whether too little has come since the last fold for another; a first document, for which something is
    set aside, is a moment to fold.
    """
    state = prefix.state
    first_document = state.has_documents and not state.folded_with_documents and prefix.rules.documents
    if state.folded_at is None or first_document:
        return False
    return state.original - state.folded_at < prefix.clear


def is_due(prefix: Prefix) -> bool:
    """Tell whether a prefix that fits folds again: it was over once, and what folding now frees is worth it."""
    if prefix.state.folded_at is None or is_soon(prefix):
        return False
    bending = prefix.bending
    return bending > _trigger(prefix) and bending - prefix.rules.target * prefix.room >= prefix.clear


def _trigger(prefix: Prefix) -> int:
    """Return the most tokens that history takes before it folds: less what is kept for excerpts, once there is
    something to be excerpted.
    """
    free = prefix.rules.recall if _is_missed(prefix) else 0.0
    return int(max(prefix.rules.target, prefix.rules.trigger - free) * prefix.room)


def unfolded_limit(prefix: Prefix, budget: int) -> int:
    """Return the most tokens of the whole prefix at which it need not fold."""
    if not _is_missed(prefix):
        return budget
    return min(budget, prefix.fixed + prefix.state.examples_tokens + prefix.input + _trigger(prefix))


def _is_missed(prefix: Prefix) -> bool:
    """Tell whether anything is left out that no later message repeats."""
    return any(remedy != REPEATED for remedy in prefix.state.gone.values())
