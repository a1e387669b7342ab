"""The summaries of a fold: what comes in, what is asked for, and their place beside the lists.

summary_state.py decides; nothing happens where the policy wants none, or where none are asked for at this fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.folds.summary_state import StandingSummary, SummaryState, most_of

Coming = tuple[StandingSummary, ...]


def summaries_due(draft: Draft) -> tuple[SummaryState, Coming]:
    """Decide which summaries of what earlier folds left out come in now."""
    state, asking, key = draft.summaries, draft.asking, _key(draft)
    if asking is None or key is None:
        return state, ()
    return state.decided(asking, key, _most(draft), draft.materials.count)


def enter_summaries(draft: Draft, coming: Coming, before: int, gone: Sequence[int], free: Callable[[], int]) -> None:
    """Put in those that come, ask for one of what is gone, and put that in too where the request waited for it.

    `free` returns the room for lines of ours as it stands.
    """
    draft.put_summaries(draft.summaries.entered(coming, before, free()))
    draft.put_summaries(with_wanted(draft, gone))
    asking, key = draft.asking, _key(draft)
    if asking is not None and key is not None:
        state, late = draft.summaries.decided_at_once(asking, key, _most(draft), draft.materials.count)
        draft.put_summaries(state.entered(late, before, free()))


def with_wanted(draft: Draft, gone: Sequence[int]) -> SummaryState:
    """Choose what is to be summarised now."""
    asking, anatomy = draft.asking, draft.anatomy
    if asking is None:
        return draft.summaries
    messages, clear = anatomy.conversation.messages, draft.prefix.clear
    return draft.summaries.asking_for(asking, messages, anatomy.tokens, gone, _most(draft), clear)


def _most(draft: Draft) -> int:
    is_chat = not draft.anatomy.tools_tokens and not draft.prefix.results
    return most_of(draft.prefix.room, is_chat=is_chat)


def _key(draft: Draft) -> str | None:
    """Name the prefix, where any summary waits to come in at it."""
    prefixes = draft.materials.prefixes
    if prefixes is None or draft.asking is None or not draft.summaries.waiting:
        return None
    return prefixes.key(draft.prefix.upto)
