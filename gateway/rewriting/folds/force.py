"""Where a fold did not make room: the claims give way, the least first; then examples; then our own lines."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.rewriting.folds.cut_words import cut_down
from gateway.rewriting.folds.documents import drop_examples
from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.folds.leave_out import firm_units
from gateway.rewriting.folds.lists import share_of_lists, with_note
from gateway.rewriting.folds.shorten import is_pointed_at
from gateway.rewriting.folds.summaries import with_wanted
from gateway.rewriting.ladder import Shortened
from gateway.rewriting.results.crush import NOTHING_WANTED

_HALVINGS = 10


def force_room(draft: Draft) -> None:
    """Make room at the cost of what a fold keeps."""
    if draft.ladders.history:
        _give_way(draft)
        _write_one_list(draft)
    elif "crush" in draft.ladders.tool_results:
        _crush_with_loss(draft)
    drop_examples(draft, 0)
    if draft.is_over and not draft.newest_is_cut:
        draft.put_lists(draft.lists.taken_back())
    if draft.is_over:
        draft.put_summaries(draft.summaries.taken_back())


def _give_way(draft: Draft) -> None:
    """Let the claims give way, the least first: lists, the tail, what was said, few-shot pairs, rules, the last
    exchange, the task.

    Documents among what was said have a share of their own: they give way to the task alone.
    """
    draft.put_lists(draft.lists.taken_back())
    hard = draft.hard()
    exchange = set(draft.exchange()) - hard
    firm = exchange | firm_units(draft, hard)
    _drop_while_over(draft, [n for n in range(draft.prefix.units) if draft.bends(n, hard | firm)])
    last = draft.last_words()
    said, task = draft.units_of("said", hard | exchange | set(last)), draft.units_of("task", hard | set(last))
    cut_down(draft, said, documents=False)
    _drop_while_over(draft, draft.units_of("shot", hard))
    _drop_while_over(draft, draft.units_of("rule", hard))
    with_documents = {n for n in exchange if draft.documents_in(draft.anatomy.units[n].first)}
    _drop_while_over(draft, sorted(exchange - with_documents, reverse=True))
    if draft.is_above_ceiling:
        cut_down(draft, task, documents=False)
    cut_down(draft, [n for n in (*said, *sorted(with_documents)) if n not in draft.gone])
    cut_down(draft, task)
    if draft.hard_tokens <= draft.budget:  # else the newest results are what is cut
        cut_down(draft, last)


def _drop_while_over(draft: Draft, numbers: Sequence[int]) -> None:
    for number in numbers:
        if not draft.is_over:
            return
        draft.drop(number)


def _write_one_list(draft: Draft) -> None:
    """Write one list for all that is gone, as large as there is room."""
    all_gone = draft.missed()
    if all_gone:
        share = share_of_lists(draft.prefix)
        room = min(share, draft.free)
        room = max(room, share // 2) if draft.newest_is_cut else room
        draft.put_summaries(with_wanted(draft, all_gone))
        draft.put_lists(with_note(draft, all_gone, room))


def _crush_with_loss(draft: Draft) -> None:
    """Halve old results, the oldest first, as often as it takes, if nothing may be left out."""
    hard, tokens, results = draft.hard(), draft.anatomy.tokens, draft.materials.results
    for _ in range(_HALVINGS):
        before = draft.total
        for number in draft.prefix.results:
            for index in draft.outline.voiced.results_of(number):
                if not draft.is_over:
                    return
                if number in hard or is_pointed_at(draft, index) or tokens[index] > draft.rules.effort:
                    continue
                short = results.crushed_to(index, draft.message_tokens(index) // 2, NOTHING_WANTED)
                if short is not None and _is_shorter(draft, index, short):
                    draft.says(number, index, short)
        if draft.total == before:
            return


def _is_shorter(draft: Draft, index: int, short: Shortened) -> bool:
    """Tell whether a result would say less than it does, in tokens and characters; a stub is the least there is."""
    said = draft.shortened.get(index)
    if said is not None and (said.remedy == "stub" or len(short.text) >= len(said.text)):
        return False
    return short.tokens < draft.message_tokens(index)
