"""The moments at which a prefix folds: whether it is over or due, or too soon, and how much it may take. Pure."""

from __future__ import annotations

from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.standing import Standing
from gateway.rewriting.folds.state import LastFold
from gateway.rewriting.ladder import REPEATED


def is_over(standing: Standing, last: LastFold | None) -> bool:
    """Tell whether a prefix takes more than its budget or, under `strict`, than a ceiling; or folds again."""
    prefix, ceilings = standing.prefix, standing.rules.ceilings
    if standing.least > standing.rules.budget:
        return True
    if ceilings is not None and any(
        tokens > ceilings[name]
        for name, tokens in standing.demand().items()
        if name in prefix.ladders.with_remedy and (name != "documents" or standing.old_documents())
    ):
        return True
    return is_due(standing, last)


def is_soon(prefix: Prefix, last: LastFold | None) -> bool:
    """Tell whether too little has come since the last fold for another; a first document, for which something is
    set aside, is a moment to fold.
    """
    if last is None or (prefix.has_documents and not last.with_documents and prefix.rules.documents):
        return False
    return prefix.as_it_came - last.tokens < prefix.clear


def is_due(standing: Standing, last: LastFold | None) -> bool:
    """Tell whether a prefix that fits folds again: it was over once, and what folding now frees is worth it."""
    prefix = standing.prefix
    if last is None or is_soon(prefix, last):
        return False
    bending = standing.bending
    return bending > _trigger(standing) and bending - prefix.rules.target * prefix.room >= prefix.clear


def _trigger(standing: Standing) -> int:
    """Return the most tokens that history takes before it folds: less what is kept for excerpts, once there is
    something to be excerpted.
    """
    rules = standing.rules
    free = rules.recall if _is_missed(standing) else 0.0
    return int(max(rules.target, rules.trigger - free) * standing.prefix.room)


def unfolded_limit(standing: Standing, budget: int) -> int:
    """Return the most tokens of the whole prefix at which it need not fold."""
    if not _is_missed(standing):
        return budget
    return min(budget, standing.outline.fixed + standing.examples_tokens + standing.input + _trigger(standing))


def _is_missed(standing: Standing) -> bool:
    """Tell whether anything is left out that no later message repeats."""
    return any(remedy != REPEATED for remedy in standing.gone.values())
