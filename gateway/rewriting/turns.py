"""Roles that take turns: for models that want it, user messages in a row leave as one, joined by a blank line.

A fold keeps what people said and puts notes beside it, so that several user messages may stand in a row. Nothing of
them is lost here: the last of a row says all of it, in order. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.budget.components import OVERHEAD_MESSAGE, Anatomy, Count
from gateway.rewriting.folds import FoldedConversation, FoldMessage
from gateway.rewriting.ladder import Shortened

REMEDY = "join"
REASON = "said in the user message behind it: for this model roles take turns"


@dataclass(frozen=True, slots=True)
class _Said:
    """A user message in a row: one that came, by its index, or a line of ours."""

    text: str
    tokens: int
    index: int | None = None
    line: FoldMessage | None = None


def in_turns(anatomy: Anatomy, folded: FoldedConversation, count: Count) -> FoldedConversation:
    """Join the user messages that stand in a row in a conversation as it leaves; itself where none do."""
    for row in list(_rows(anatomy, folded)):
        folded = _joined(anatomy, folded, row, count)
    return folded


def _rows(anatomy: Anatomy, folded: FoldedConversation) -> Iterator[list[_Said]]:
    row: list[_Said] = []
    for said in _as_it_leaves(anatomy, folded):
        if said is not None:
            row.append(said)
            continue
        if len(row) > 1:
            yield row
        row = []
    if len(row) > 1:
        yield row


def _as_it_leaves(anatomy: Anatomy, folded: FoldedConversation) -> Iterator[_Said | None]:
    """Yield each user message, and None for any other."""
    lines = list(folded.lines)
    for index, message in enumerate(anatomy.conversation.messages):
        while lines and lines[0].before <= index:
            line = lines.pop(0)
            yield _Said(line.text, line.tokens, line=line)
        if index in folded.dropped:
            continue
        if message.role != "user" or not message.is_plain:
            yield None
            continue
        short = folded.shortened.get(index)
        text, tokens = (message.text, anatomy.tokens[index]) if short is None else (short.text, short.tokens)
        yield _Said(text, tokens, index)


def _joined(anatomy: Anatomy, folded: FoldedConversation, row: Sequence[_Said], count: Count) -> FoldedConversation:
    """Say a row in its last message that came; where all of it is ours, in its first line."""
    text = "\n\n".join(said.text for said in row)
    lines = {id(said.line) for said in row if said.line is not None}
    kept = tuple(line for line in folded.kept if id(line) not in lines)
    recalled = None if folded.recalled is not None and id(folded.recalled) in lines else folded.recalled
    own = [said.index for said in row if said.index is not None]
    before = sum(said.tokens for said in row)
    if not own:
        first = next(said.line for said in row if said.line is not None)
        tokens = OVERHEAD_MESSAGE + count(text)
        stand = replace(first, text=text, tokens=tokens)
        return replace(folded, kept=(*kept, stand), recalled=recalled, total=folded.total + tokens - before)
    last = own[-1]
    tokens = anatomy.tokens[last] - count(anatomy.conversation.messages[last].text) + count(text)
    return replace(
        folded,
        shortened={**folded.shortened, last: Shortened(REMEDY, text, tokens)},
        dropped={**folded.dropped, **dict.fromkeys(own[:-1], REMEDY)},
        kept=kept,
        recalled=recalled,
        total=folded.total + tokens - before,
    )
