"""What is old goes, in the order of its worth, and leaves a note and a list.

Results and calls go first, then assistants' prose, then what people said, beyond its share of the room. The task, later
rules, few-shot pairs and the last exchange stay. The newest units stay whole in what is left of `target`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from gateway.rewriting.folds.cut_words import cut_the_task, cut_what_was_said
from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.folds.lists import LIST_SHARE, SMALL_ROOM, least_list, lists_wanted, share_of_lists, with_note
from gateway.rewriting.folds.summaries import Coming, enter_summaries

SHOTS = 0.1
"""Of the room: most that few-shot pairs take."""
SMALL_TARGET = 0.8
"""In a small room, how much of `target` a fold with a list leaves standing: the list says what few whole units would,
and the next step takes a large part of the rest.
"""
GREETING = 64
"""Most tokens of what the model said before anybody spoke: it stays, for all behind it would be bought again."""


def leave_out(draft: Draft, coming: Coming) -> None:
    """Leave out what is old: people's words beyond their share, pastes in the task, and all beyond the tail.

    `coming` are summaries that come in at this fold.
    """
    hard = draft.hard()
    base, most = _room_and_goal(draft)
    firm = firm_units(draft, hard)
    exchange = set(draft.exchange()) - hard - firm
    said = draft.units_of("said", hard | firm)
    if not draft.rules.binds_reasoning or draft.tokens_of({*firm, *said, *exchange}) <= most:
        firm |= exchange  # else the steps that come have too little room, and no fold may be made between them
    held = draft.tokens_of(firm)
    said = [n for n in said if n not in firm]
    paid = _paid_otherwise(draft, firm | set(said))
    fresh = cut_what_was_said(draft, said, _share_of_words(draft, firm, said, paid, base), paid)
    greeting = _greeting(draft) - firm
    held += draft.tokens_of(said) + draft.tokens_of(greeting)
    rest = [n for n in range(draft.prefix.units) if draft.bends(n, hard | firm | greeting)]
    wanted = draft.tokens_of(rest)
    lists = max(0, min(share_of_lists(draft.prefix), most - held, int(LIST_SHARE * wanted)))
    left = most - held - lists - draft.summaries.tokens_with(coming)
    left += cut_the_task(draft, hard, left, wanted, paid)
    gone, left = _drop_before_the_tail(draft, rest, left)
    _say_what_went(draft, sorted([*fresh, *gone]), max(0, left), coming)


def _room_and_goal(draft: Draft) -> tuple[int, int]:
    """Return the tokens that history may take, and those that this fold leaves of it."""
    rules, ceilings = draft.rules, draft.rules.ceilings
    base = max(0, draft.prefix.room - draft.input)
    says_less = base < SMALL_ROOM and lists_wanted(rules)
    most = int(rules.target * base * (SMALL_TARGET if says_less else 1.0))
    if ceilings is None:
        return base, most
    beside = _documents_beside(draft)
    goal = int(ceilings["history"] * (rules.target or 1.0))
    return min(base, ceilings["history"] + beside), min(most, goal + beside)


def _documents_beside(draft: Draft) -> int:
    """Return the tokens of documents among people's words that have a ceiling of their own."""
    hard = draft.hard()
    return sum(_documents_among(draft, {n for n in range(draft.prefix.units) if n not in hard}).values())


def _drop_before_the_tail(draft: Draft, rest: Sequence[int], left: int) -> tuple[list[int], int]:
    """Leave out units from the newest on that does not fit any more; return them, and the tokens that are left."""
    gone: list[int] = []
    for number in reversed(rest):
        now = draft.now(number)
        if not gone and now <= left:
            left -= now
        else:
            draft.drop(number)
            gone.append(number)
    return gone, left


# ---------------------------------------------------------------- what stays


def firm_units(draft: Draft, hard: set[int]) -> set[int]:
    """List the units that stay before all others: the task, what was said last, later rules, and few-shot pairs as
    far as they may.
    """
    units = {*draft.units_of("task", hard), *draft.last_words(), *draft.units_of("rule", hard)} - hard
    room = int(SHOTS * draft.prefix.whole_room)
    shots = draft.units_of("shot", hard)
    for first in range(0, len(shots) - 1, 2):
        room -= draft.tokens_of(shots[first : first + 2])
        if room < 0:
            break
        units.update(shots[first : first + 2])
    return units


def _greeting(draft: Draft) -> set[int]:
    """List the units in which the model spoke first, where that is short."""
    units, parts = draft.prefix.units, draft.parts
    opening = list(takewhile(lambda n: parts[n] == "answer", range(units)))
    if len(opening) == units:
        return set()
    hard = draft.hard() if opening else set[int]()
    standing = {n for n in opening if n not in draft.gone and n not in hard}
    return standing if draft.tokens_of(standing) <= GREETING else set()


def _share_of_words(draft: Draft, firm: set[int], said: Sequence[int], paid: Mapping[int, int], base: int) -> int:
    """Return the tokens that what people said may take, beside what stays before it."""
    room = _room_for_words(draft, firm | set(said), base)
    share = room - draft.tokens_of(firm) - sum([paid.get(n, 0) for n in said])
    return max(0, min(int(draft.rules.user_text * draft.prefix.whole_room), share))


def _room_for_words(draft: Draft, numbers: set[int], base: int) -> int:
    """Return the tokens for what people said: documents among their words are paid for by what is set aside for
    documents, and so is input as far as documents leave that unused. Nothing more is left free than a fold frees.
    """
    prefix = draft.prefix
    if not prefix.has_documents or draft.rules.ceilings is not None:
        return base - prefix.clear
    held, aside = sum(_documents_among(draft, numbers).values()), draft.rules.documents
    unused = max(0, aside - draft.old_documents() - draft.newest_documents)
    room = max(0, prefix.room - max(0, draft.input - unused))
    return room + min(held, aside) - prefix.clear


def _paid_otherwise(draft: Draft, numbers: set[int]) -> Mapping[int, int]:
    """Tell by unit the documents among people's words that what is set aside for documents pays for as a whole."""
    documents = _documents_among(draft, numbers)
    return documents if sum(documents.values()) <= draft.rules.documents else {}


def _documents_among(draft: Draft, numbers: set[int]) -> dict[int, int]:
    if not draft.prefix.has_documents:
        return {}
    units = draft.anatomy.units
    return {n: tokens for n in numbers if (tokens := draft.documents_in(units[n].first))}


# ---------------------------------------------------------------- what is said of the rest


def _say_what_went(draft: Draft, numbers: Sequence[int], spare: int, coming: Coming) -> None:
    """Put a note and a list where units were left out; where room is short, one for all that is gone. `spare` are
    tokens of the target that no whole unit fits.
    """
    prefix, anatomy = draft.prefix, draft.anatomy
    fresh = [index for number in numbers for index in anatomy.units[number]]
    if not fresh:
        return
    all_gone, tokens = draft.missed(), sum(anatomy.tokens[index] for index in fresh)
    share, least = share_of_lists(prefix) + spare, least_list(prefix, tokens)
    enter_summaries(draft, coming, max(fresh) + 1, all_gone, lambda: int(draft.free - prefix.clear - least))
    standing = draft.summaries.tokens + draft.lists.tokens
    room = min(int(LIST_SHARE * tokens), share - standing, draft.free - prefix.clear)
    if room < least:
        draft.put_lists(draft.lists.taken_back())
        fresh, room = all_gone, min(share, int(0.7 * draft.free))
    draft.put_lists(with_note(draft, fresh, room))
