"""The artifact list of a fold: whole sentences, rows and lines that only the fold holds, quoted message by message.

By rule, and part of the frozen fold: of the pieces that messages were read into (message_snippets.py), `listed` chooses
those that later steps are likely to need (ranking.py) and that stand nowhere else, as far as there is room for them.
list_text.py writes them: each line names its message and speaker, and quotes. Pure; linear in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from gateway.rewriting.history.list_text import group_of, line_opening, list_text, piece_text
from gateway.rewriting.history.placed_snippets import PlacedSnippet, said_by
from gateway.rewriting.history.ranking import Ranking
from gateway.rewriting.history.snippets import estimated_tokens
from gateway.rewriting.history.value_places import ValuePlaces

Count = Callable[[str], int]

_ROUNDS, _FULL = 4, 0.95
_LEAST_PIECE = 2
"""Tokens below which no piece fits a list any more: one, and what parts it from the next."""
_MOST_TRIES, _LEAST_FILL = 12, 8
"""Times that a piece is tried in what room is left, and tokens below which none is."""
_MOST_TOO_LONG = 40
"""Pieces in a row that do not fit any more, after which the list is full."""


def listed(
    pieces: Iterable[PlacedSnippet], seen: ValuePlaces, elsewhere: AbstractSet[str], room: int, count: Count
) -> tuple[str, frozenset[str]]:
    """Write the list in at most `room` tokens: the text, and the values and sentences it holds.

    `elsewhere` is what needs no place here: it stands in what stays, or in an earlier list.
    """
    ranking = Ranking(pieces, seen, elsewhere)
    said, kept, aim = "", list[PlacedSnippet](), room
    for _ in range(_ROUNDS):
        chosen = _chosen(ranking, aim, count)
        text = list_text(chosen, seen)
        size = count(text)
        if size <= room and len(chosen) > len(kept):
            said, kept = text, chosen
        if _FULL * room <= size <= room or (size <= room and len(chosen) == len(ranking.candidates)):
            break
        aim += room - size  # in one line, pieces take other numbers of tokens than each for itself
    said, kept = _filled(said, kept, ranking, room, count)
    return said, said_by(kept)


def _filled(
    said: str, kept: list[PlacedSnippet], ranking: Ranking, room: int, count: Count
) -> tuple[str, list[PlacedSnippet]]:
    """Add what still fits, each piece counted as it is written: the estimates of `_chosen` leave some room."""
    choosing = ranking.choosing()
    for piece in kept:
        choosing.take(piece)
    left, tries = room - count(said), _MOST_TRIES
    for piece in choosing:
        if tries == 0 or left < _LEAST_FILL:
            break
        if estimated_tokens(piece.said.text) > left + left // 4:
            continue
        tries -= 1
        more = sorted([*kept, piece], key=_order)
        text = list_text(more, ranking.seen)
        size = count(text)
        if size <= room:
            said, kept, left = text, more, room - size
            choosing.take(piece)
    return said, kept


def _chosen(ranking: Ranking, room: int, count: Count) -> list[PlacedSnippet]:
    """Take the best pieces while they fit, each counted with what it adds to its line."""
    chosen: list[PlacedSnippet] = []
    named: set[int] = set()
    groups: set[tuple[object, ...]] = set()
    misses = 0
    choosing = ranking.choosing()
    for piece in choosing:
        if room < _LEAST_PIECE or misses > _MOST_TOO_LONG:
            break
        group = group_of(piece)
        size = _size(piece, ranking.seen, count, named, is_in_table=group in groups)
        if size > room:
            misses += 1
            continue
        room, misses = room - size, 0
        chosen.append(piece)
        choosing.take(piece)
        named.add(piece.at)
        if piece.said.kind in ("row", "call"):
            groups.add(group)
    return sorted(chosen, key=_order)


def _size(piece: PlacedSnippet, seen: ValuePlaces, count: Count, named: AbstractSet[int], *, is_in_table: bool) -> int:
    """Count about what a piece adds to the list."""
    said = piece.said
    cells = said.cells if said.names[-1:] != ("",) else (said.text.partition(", ")[2],)
    size = 3 + count(", ".join(cells) if is_in_table else piece_text(said, seen))
    if piece.at not in named and not is_in_table:
        size += count(line_opening([piece])) + 3
    if said.title and said.kind != "call":
        size += count(said.title) + 1
    return size


def _order(piece: PlacedSnippet) -> tuple[int, int, str]:
    return piece.at, piece.place, piece.who
