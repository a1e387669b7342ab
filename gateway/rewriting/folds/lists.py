"""The notes and lists that stand where a fold left messages out: written once, and never again until all are.

A list may say what only the messages that are gone hold (artifacts.py chooses). It is read from what went since the
last list, within `effort`, and from a pool of what earlier lists had no room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import replace

from gateway.budget.components import OVERHEAD_MESSAGE
from gateway.conversation import Message
from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.folds.list_state import ListState
from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.values import FoldMessage, FoldRules
from gateway.rewriting.history.artifacts import listed
from gateway.rewriting.history.placed_snippets import PlacedSnippet, current, pieces_of, said_by
from gateway.rewriting.history.ranking import best, ranked_snippets
from gateway.rewriting.history.snippets import Snippet
from gateway.rewriting.history.value_places import ValuePlaces
from gateway.rewriting.ladder import LIGHT
from gateway.rewriting.ours import left_out, with_answer

LIST_SHARE = 0.3
"""Most tokens of a list, as a part of what it stands for."""
SMALL_ROOM, SMALL_TIMES = 4_000, 2
"""In a room of fewer tokens than the first, lists take so many times their share."""
THIN = 0.12
"""A new list that would be a smaller part than this of what it stands for is worth rewriting the older ones for."""
POOL = 1.5
"""The pieces for a list are kept in so many times the tokens that all lists may take."""
OUTPUT = "output"
"""Names a result that stands as a user message."""
LEAST_LIST = 40
"""Tokens below which a list says too little to stand there."""


def lists_wanted(rules: FoldRules) -> bool:
    """Tell whether the policy wants more than a note of how much went."""
    return bool(rules.artifacts) and (rules.asking is None or rules.asking.lists)


def share_of_lists(prefix: Prefix) -> int:
    """Return the most tokens of all lists: the share of the room, twice that where the room is small."""
    room = prefix.room
    return int(prefix.rules.artifacts * room * (SMALL_TIMES if room < SMALL_ROOM else 1))


def least_list(prefix: Prefix, stands_for: int) -> float:
    """Return the tokens below which a new list is not worth its place, where so many were left out."""
    return max(LEAST_LIST, THIN * min(stands_for, share_of_lists(prefix) / LIST_SHARE))


def with_note(draft: Draft, stands_for: Sequence[int], room: int) -> ListState:
    """Put a note, and a list as large as the room, behind the last of the messages that were left out."""
    lists, count, answer = draft.lists, draft.materials.count, draft.rules.answer
    if not lists.kept and not draft.summaries.standing:  # there was no room for a note on what went before
        stands_for = draft.missed()
    messages, tokens = len(stands_for), sum(draft.anatomy.tokens[index] for index in stands_for)
    text, values = with_answer(left_out(messages, tokens), answer), frozenset[str]()
    if lists_wanted(draft.rules) and room >= LEAST_LIST:
        head = with_answer(left_out(messages, tokens, quotes=True), answer)
        standing = _standing_values(draft)
        lists = _read_since(draft, lists, standing)
        elsewhere = standing.union(*[kept.values for kept in lists.kept])
        said, values = listed(lists.pool, lists.seen, elsewhere, room - OVERHEAD_MESSAGE - count(head) - 1, count)
        text = f"{head}\n{said}" if said else text
    kept, before = lists.kept, max(stands_for) + 1
    last = kept[-1] if kept else None
    if last is not None and not last.values and not values:
        kept = kept[:-1]
        messages, tokens, before = messages + last.messages, tokens + last.stands_for, max(before, last.before)
        text = with_answer(left_out(messages, tokens), answer)
    size = OVERHEAD_MESSAGE + count(text)
    return replace(lists, kept=(*kept, FoldMessage(before, text, size, messages, tokens, values)))


# ---------------------------------------------------------------- what a list is chosen from


def _read_since(draft: Draft, lists: ListState, standing: AbstractSet[str]) -> ListState:
    """Read what came and what went since the last list, and keep what a list may want to say; of the values, those
    that `standing` holds too.
    """
    seen, upto = _places(draft, lists), draft.prefix.upto
    pool = _up_to_date(draft, [*lists.pool, *_unread(draft, lists.unread)])
    kept = best(ranked_snippets(tuple(pool), seen), int(POOL * share_of_lists(draft.prefix)))
    seen.keep(standing | said_by(kept))
    return replace(lists, unread=(), pool=kept, seen=seen, seen_upto=upto)


def _places(draft: Draft, lists: ListState) -> ValuePlaces:
    """Note the values of what came since the last list, in a copy."""
    seen, reader = copy(lists.seen), draft.materials.reader
    for index in range(max(lists.seen_upto, draft.anatomy.head), draft.prefix.upto):
        message = _by_voice(draft, index)
        seen.add(message, reader.snippets(message))
    return seen


def _unread(draft: Draft, gone: Sequence[int]) -> Iterator[PlacedSnippet]:
    """Read messages that went, the newest first, within `effort`."""
    effort, materials = draft.rules.effort, draft.materials
    for index in reversed(gone):
        effort -= draft.anatomy.tokens[index]
        if effort < 0:
            return
        message = _by_voice(draft, index)
        who = OUTPUT if message.name == OUTPUT else materials.speakers.who(index)
        yield from pieces_of(index, who, materials.reader.snippets(message), message.role)


def _up_to_date(draft: Draft, pool: Sequence[PlacedSnippet]) -> Iterable[PlacedSnippet]:
    """Leave out what the newest result in the prefix that answers the same call says anew."""
    messages, upto = draft.anatomy.conversation.messages, draft.prefix.upto
    reader, speakers = draft.materials.reader, draft.materials.speakers

    def newer(index: int) -> tuple[Snippet, ...]:
        answer = speakers.newer(index, upto)
        return () if answer is None else reader.snippets(messages[answer])

    return current(pool, newer)


def _standing_values(draft: Draft) -> set[str]:
    """Collect the values that stand in the prefix; of what is shortened with loss, those that are left."""
    units = draft.anatomy.units
    standing = [index for n in range(draft.prefix.units) if n not in draft.gone for index in units[n]]
    values = draft.materials.reader.values
    return {value for index in (*range(draft.anatomy.head), *standing) for value in values(_as_it_stands(draft, index))}


def _as_it_stands(draft: Draft, index: int) -> Message:
    short, message = draft.shortened.get(index), _by_voice(draft, index)
    if short is None or (short.remedy in LIGHT and not short.lossy):
        return message
    return replace(message, text=short.text)


def _by_voice(draft: Draft, index: int) -> Message:
    """Return a message as who speaks in it: a program's output that stands as a user message is a result."""
    message = draft.anatomy.conversation.messages[index]
    is_output = message.role == "user" and draft.outline.voiced.voices[index] == "result"
    return replace(message, role="tool", name=OUTPUT) if is_output else message
