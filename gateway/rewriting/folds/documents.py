"""Old documents and examples that take more than their shares: they are cut before history is."""

from __future__ import annotations

from gateway.budget.allocation import allocate
from gateway.rewriting.documents import extract, recognition
from gateway.rewriting.documents.recognition import Document
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
    leave_out_repeated_documents(draft)
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


def leave_out_repeated_documents(draft: Draft) -> None:
    """Leave out the documents of old messages that those of a later message nearly repeat."""
    if "dedupe" not in draft.ladders.documents:
        return
    held = [(number, index, _documents_of(draft, index)) for number, index in _holders(draft, set())]
    held = [(number, index, spans) for number, index, spans in held if spans]
    if len(held) < 2:
        return
    hard, shingles = draft.hard(), draft.materials.shingles
    order = [(number, index, at) for number, index, spans in reversed(held) for at in reversed(range(len(spans)))]
    for _, index, spans in held:
        if index not in shingles:
            shingles[index] = extract.shingles_of(_text(draft, index), spans)
    twins = extract.twins_of(shingles[index][at] for _, index, at in order)
    repeated: dict[int, set[int]] = {}
    for (_, index, at), twin in zip(order, twins, strict=True):
        if twin is not None and order[twin][1] != index:
            repeated.setdefault(index, set()).add(at)
    for number, index, spans in held:
        if index in repeated and number not in hard:
            text = extract.without(_text(draft, index), spans, repeated[index], "one of a later message")
            _says(draft, number, index, "dedupe", text)


def _holders(draft: Draft, hard: set[int]) -> list[tuple[int, int]]:
    """List the units and messages that hold documents, but those of some units, the oldest first."""
    component = draft.anatomy.component
    return [
        (number, index)
        for number, unit in enumerate(draft.anatomy.units[: draft.prefix.units])
        if number not in hard and number not in draft.gone
        for index in range(unit.first, unit.after)
        if draft.documents_in(index) or (component[index] == "documents" and index > unit.first)
    ]


def _documents_of(draft: Draft, index: int, text: str | None = None) -> list[Document]:
    """Locate the documents of a message that stands as it came, or in another text of it."""
    voiced = draft.outline.voiced
    message = draft.anatomy.conversation.messages[index]
    if not message.is_plain or draft.anatomy.tokens[index] > draft.rules.effort:
        return []
    stands = draft.shortened.get(index)
    if text is None and stands is not None and stands.remedy != "dedupe":
        return []
    asks = voiced.voices[index] != "result"
    return recognition.known(
        message.text if text is None else text, voiced.tags, draft.materials.known.found, asks=asks
    )


def _text(draft: Draft, index: int) -> str:
    return draft.anatomy.conversation.messages[index].text


def _says(draft: Draft, number: int, index: int, remedy: str, text: str) -> None:
    """Put a text in the place of a message's, where it is shorter than what stands."""
    count = draft.materials.count
    overhead = draft.anatomy.tokens[index] - count(_text(draft, index))
    short = Shortened(remedy, text, overhead + count(text))
    if short.tokens < draft.message_tokens(index):
        draft.says(number, index, short)


def _cut_documents_of(draft: Draft, number: int, index: int, over: int) -> None:
    """Cut the documents of one message by so many tokens, to what bears on the words they came with."""
    count, stands = draft.materials.count, draft.shortened.get(index)
    text = stands.text if stands is not None and stands.remedy == "dedupe" else _text(draft, index)
    spans = _documents_of(draft, index, text)
    if not spans:
        return
    is_result = draft.outline.voiced.voices[index] == "result"
    overhead = draft.anatomy.tokens[index] - count(_text(draft, index))
    question = _question_before(draft, number) if is_result else recognition.question(text, spans)
    room = max(0, draft.message_tokens(index) - overhead - over)
    shorter = extract.shrink(text, spans, question, room, count, memory=draft.materials.known.extracted)
    _says(draft, number, index, "extract", shorter)


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
