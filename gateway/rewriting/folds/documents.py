"""Old documents and examples that take more than their shares: they are cut before history is."""

from __future__ import annotations

from gateway.budget.allocation import allocate
from gateway.rewriting.documents import extract, recognition
from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.folds.shorten import shorten_results
from gateway.rewriting.ladder import Shortened


def cut_to_shares(draft: Draft) -> None:
    """Cut documents and examples to what the allocation gives them beside all that is asked for."""
    rules = draft.rules
    if all(number in draft.gone for number in _examples(draft)) and not draft.old_documents():
        return
    demand = draft.demand()
    limit = allocate(draft.budget, demand, rules.shares, rules.borrow, draft.ladders.with_remedy)
    if rules.ceilings is not None:
        limit = {name: min(room, rules.ceilings[name]) for name, room in limit.items()}
    if draft.ladders.documents and demand["documents"] > limit["documents"]:
        cut_old_documents(draft, max(0, limit["documents"] - draft.newest_documents))
    if demand["examples"] > limit["examples"]:
        drop_examples(draft, limit["examples"])


# ---------------------------------------------------------------- documents


def cut_old_documents(draft: Draft, room: int, but: frozenset[int] = frozenset()) -> None:
    """Cut the documents of old messages, `but` those of some units: near-duplicates first, then the oldest, to a
    share of their room that leaves them some time to grow.
    """
    hard, remedies = draft.hard() | but, draft.ladders.documents
    for number in draft.prefix.results:
        if number not in hard and number not in draft.gone:
            for remedy in remedies:
                shorten_results(draft, number, remedy, "documents")
    if draft.old_documents() <= room or "extract" not in remedies:
        return
    goal = int(draft.rules.target * room)
    for number, index in _holders(draft, hard):
        over = draft.old_documents() - goal
        if over <= 0:
            return
        _cut_documents_of(draft, number, index, over)


def _holders(draft: Draft, hard: set[int]) -> list[tuple[int, int]]:
    """List the units and messages that hold old documents, the oldest first."""
    component = draft.anatomy.component
    return [
        (number, index)
        for number, unit in enumerate(draft.anatomy.units[: draft.prefix.units])
        if number not in hard and number not in draft.gone
        for index in range(unit.first, unit.after)
        if draft.documents_in(index) or (component[index] == "documents" and index > unit.first)
    ]


def _cut_documents_of(draft: Draft, number: int, index: int, over: int) -> None:
    """Cut the documents of one message by so many tokens, to what bears on the words they came with."""
    voiced, known, count = draft.outline.voiced, draft.materials.known, draft.materials.count
    message = draft.anatomy.conversation.messages[index]
    if not message.is_plain or draft.anatomy.tokens[index] > draft.rules.effort:
        return
    is_result = voiced.voices[index] == "result"
    spans = recognition.known(message.text, voiced.tags, known.found, asks=not is_result)
    if not spans:
        return
    before = draft.message_tokens(index)
    overhead = draft.anatomy.tokens[index] - count(message.text)
    question = _question_before(draft, number) if is_result else recognition.question(message.text, spans)
    room = max(0, before - overhead - over)
    text = extract.shrink(message.text, spans, question, room, count, memory=known.extracted)
    short = Shortened("extract", text, overhead + count(text))
    if short.tokens < before:
        draft.says(number, index, short)


def _question_before(draft: Draft, number: int) -> str:
    anatomy = draft.anatomy
    turn = next((n for n in reversed(draft.prefix.turns) if n < number), None)
    return "" if turn is None else anatomy.conversation.messages[anatomy.units[turn].first].text


# ---------------------------------------------------------------- examples


def drop_examples(draft: Draft, room: int) -> None:
    """Leave out the oldest pairs until the examples take no more than their room; to the last only where over."""
    if not draft.ladders.examples:
        return
    for pair in _pairs(draft):
        if draft.examples_tokens <= room or (room == 0 and draft.least <= draft.budget):
            return
        for number in pair:
            draft.drop(number)


def _examples(draft: Draft) -> tuple[int, ...]:
    return tuple([n for n in draft.outline.examples.numbers if n < draft.prefix.units])


def _pairs(draft: Draft) -> list[list[int]]:
    """Group examples in pairs: a question, and what follows it up to the next question."""
    anatomy = draft.anatomy
    out: list[list[int]] = []
    for number in _examples(draft):
        message = anatomy.conversation.messages[anatomy.units[number].first]
        asks = message.role == "user" or (message.name or "").endswith("user")
        if number in draft.gone:
            continue
        if asks or not out:
            out.append([])
        out[-1].append(number)
    return out
