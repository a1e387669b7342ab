"""The order in which documents stand. Models read best what stands first and last. Pure.

Liu et al., "Lost in the Middle" (2023), https://arxiv.org/abs/2307.03172. Marks and numbers travel with their document,
so that citations stay true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from gateway.rewriting.documents.recognition import Document, document_rows
from gateway.rewriting.documents.relevance import Corpus, ReadingMemory

Order = Literal["as_is", "rank", "bookend", "alternate", "interleave"]


def arrange(
    text: str, documents: Sequence[Document], how: Order, question: str, memory: ReadingMemory | None = None
) -> str:
    """Put the documents of each row of a text in order; everything else stays where it is."""
    if how == "as_is" or len(documents) < 2:
        return text
    passages = [text[document.start : document.end] for document in documents]
    scores = Corpus(passages, memory).scores(question)
    out: list[str] = []
    at = 0
    for row in document_rows(text, documents):
        titles = [documents[n].title for n in row]
        for place, chosen in zip(row, document_order(scores[row.start : row.stop], how, titles), strict=True):
            out += (text[at : documents[place].start], passages[row.start + chosen])
            at = documents[place].end
    out.append(text[at:])
    return "".join(out)


def document_order(scores: Sequence[float], how: Order, titles: Sequence[str] = ()) -> list[int]:
    """Give the places of documents in their new order. Documents that score the same stay in the order they came.

    rank: best first. bookend: best first, second best last, the others as they came. alternate: from both ends inwards
    (1 3 5 … 6 4 2). interleave: best first, documents of different titles taking turns.
    """
    came = list(range(len(scores)))
    ranked = sorted(came, key=lambda n: (-scores[n], n))
    match how:
        case "as_is":
            return came
        case "rank":
            return ranked
        case "bookend":
            ends = ranked[:2]
            return [*ends[:1], *(n for n in came if n not in ends), *ends[1:]]
        case "alternate":
            return ranked[::2] + ranked[1::2][::-1]
        case "interleave":
            return _in_turns(ranked, titles)
        case _:
            assert_never(how)


def _in_turns(ranked: Sequence[int], titles: Sequence[str]) -> list[int]:
    turn: dict[str, int] = {}
    keyed: list[tuple[int, int, int]] = []
    for rank, n in enumerate(ranked):
        title = titles[n] if n < len(titles) and titles[n] else f"\0{n}"
        keyed.append((turn.get(title, 0), rank, n))
        turn[title] = turn.get(title, 0) + 1
    return [n for _, _, n in sorted(keyed)]
