"""People's words that take more than their share: whole messages stay while they fit, then whole sentences of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from gateway.conversation import PartEdits, with_parts
from gateway.rewriting import media, speech
from gateway.rewriting.documents import extract, recognition
from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.ladder import Shortened

PASTE_SLACK = 1.25
"""A paste in the task is cut where it takes so many times what it may."""


def cut_what_was_said(draft: Draft, said: Sequence[int], share: int, paid: Mapping[int, int]) -> list[int]:
    """Bring what people said down to its share where it is over: the oldest go first, whole messages stay while
    they fit, then whole sentences from the start of each. `paid`: tokens of a unit that are not taken from the
    share. Return the units that are left out.
    """
    words = {n: draft.now(n) - paid.get(n, 0) for n in said}
    if sum(words.values()) <= share:
        return []
    left = max(0, share - draft.prefix.clear)
    short: list[int] = []
    for number in reversed(said):
        if words[number] <= left:
            left -= words[number]
        else:
            short.append(number)
    gone: list[int] = []
    for number in short:
        if number in paid and (beside := _cut_beside_documents(draft, number, left, paid[number])) is not None:
            left = max(0, left - beside)
            continue
        left -= max(0, cut_words(draft, number, left + paid.get(number, 0)) - paid.get(number, 0))
        if number in draft.gone:
            gone.append(number)
    return gone


def cut_down(draft: Draft, numbers: Sequence[int], *, documents: bool = True) -> None:
    """Cut what people said, the oldest first, until the prefix fits; without `documents` only words beside them."""
    for number in numbers:
        free = draft.free
        if free >= 0:
            return
        index, now = draft.anatomy.units[number].first, draft.now(number)
        held = draft.documents_in(index) if draft.ladders.documents else 0
        if not held:
            cut_words(draft, number, now + free)
        elif documents:
            _cut_with_documents(draft, number, now + free)
        elif (short := _cut_apart(draft, index, max(0, now - held + free), held)) is not None:
            _says_apart(draft, number, *short)


def _cut_with_documents(draft: Draft, number: int, room: int) -> None:
    """Cut the documents of a message, then the words beside them, to a room for all of it; else leave it out."""
    index = draft.anatomy.units[number].first
    words = draft.message_tokens(index) - draft.documents_in(index)
    short = _cut_apart(draft, index, words, max(0, room - words))
    if short is None:
        cut_words(draft, number, room)
        return
    if short[0].tokens > room:
        marks = short[0].tokens - words
        short = _cut_apart(draft, index, max(0, room - marks), 0)
    if short is None or short[0].tokens > room or draft.is_above_ceiling:  # then it is words that are too many
        draft.drop(number)
    else:
        _says_apart(draft, number, *short)


def cut_words(draft: Draft, number: int, room: int) -> int:
    """Cut what a person said to a room, or leave it out; return the tokens that it takes now."""
    index = draft.anatomy.units[number].first
    short = _shorter_words(draft, index, room)
    if short is None:
        draft.drop(number)
        return 0
    if short.tokens < draft.message_tokens(index):
        held = draft.documents_in(index)
        draft.says(number, index, short)
        if held:
            draft.hold(index, min(held, _documents_left(draft, index, short.text)))
    return draft.now(number)


def _documents_left(draft: Draft, index: int, text: str) -> int:
    """Count what stands of the documents of a message in a shorter text of it."""
    message, tags, known = draft.anatomy.conversation.messages[index], draft.outline.voiced.tags, draft.materials.known
    spans = recognition.known(message.text, tags, known.found)
    if not spans:
        return 0
    before, behind = message.text[: spans[0].start], message.text[spans[-1].end :]
    if not text.startswith(before):
        return 0
    end = spans[-1].end if text.startswith(message.text[: spans[-1].end]) else len(text)
    if behind.strip() and text.endswith(behind):
        end = len(text) - len(behind)
    return draft.materials.count(text[len(before) : end])


def _shorter_words(draft: Draft, index: int, room: int) -> Shortened | None:
    """Cut a message to so many tokens by its sentences and passages, images and files in it to a trace; None where
    nothing whole fits.
    """
    anatomy, count = draft.anatomy, draft.materials.count
    original = message = anatomy.conversation.messages[index]
    if message.content not in ("text", "parts"):
        return None
    traces: PartEdits = ()
    if message.media:
        before = next(islice(media.numbers(anatomy.conversation.messages), index, None))
        traces = media.traced(message, before)
        message = with_parts(message, traces)
    overhead = anatomy.tokens[index] - count(original.text) - sum(map(anatomy.count_media, original.media))
    text = speech.cut_speech(message.text, room - overhead, count, _asked(draft)) if room > overhead else None
    return None if text is None else Shortened("cut", text, overhead + count(text))


def _cut_beside_documents(draft: Draft, number: int, room: int, paid: int) -> int | None:
    """Cut the words before and behind the documents of a message, which take `paid` tokens, to a room, once; return
    the tokens of the words. None where they cannot be told from the documents.
    """
    index = draft.anatomy.units[number].first
    if index in draft.shortened:
        return draft.message_tokens(index) - paid
    short = _cut_apart(draft, index, room, paid)
    if short is None:
        return None
    _says_apart(draft, number, *short)
    return draft.message_tokens(index) - draft.documents_in(index)


def _cut_apart(draft: Draft, index: int, room: int, documents: int) -> tuple[Shortened, int] | None:
    """Cut the words of a message to a room, and its documents to so many tokens; return it with those of the documents.

    None where they cannot be told apart.
    """
    count, known, tags = draft.materials.count, draft.materials.known, draft.outline.voiced.tags
    message = draft.anatomy.conversation.messages[index]
    spans = recognition.known(message.text, tags, known.found) if message.is_plain else []
    if not spans or draft.anatomy.tokens[index] > draft.rules.effort:
        return None
    before, behind = message.text[: spans[0].start], message.text[spans[-1].end :]
    held = message.text[len(before) : len(message.text) - len(behind)]
    if count(held) > documents:
        asked, most = recognition.question(message.text, spans), count(message.text) - count(held) + documents
        text = extract.shrink(message.text, spans, asked, most, count, memory=known.extracted)
        held = text[len(before) : len(text) - len(behind)]
    said = []
    for words in (before, behind):
        fits = speech.cut_speech(words, room, count, _asked(draft)) if words.strip() else words
        said.append(f"{speech.GAP}\n" if fits is None else fits)
        room -= count(said[-1])
    text = f"{said[0]}{held}{said[1]}"
    return Shortened("cut", text, draft.anatomy.tokens[index] - count(message.text) + count(text)), count(held)


def _says_apart(draft: Draft, number: int, short: Shortened, documents: int) -> None:
    """Put words and documents that were cut apart in the place of a message, where that is shorter than it stands."""
    index = draft.anatomy.units[number].first
    if short.tokens < draft.message_tokens(index):
        draft.says(number, index, short)
        draft.hold(index, min(documents, short.tokens))


def cut_the_task(draft: Draft, hard: set[int], left: int, wanted: int, paid: Mapping[int, int]) -> int:
    """Cut pastes and demonstrations in the task where the newest units have too little beside it; return the
    tokens that this frees. The words of the task itself stay, and so do documents that are paid otherwise.
    """
    task = [n for n in draft.units_of("task", hard | set(draft.last_words())) if n not in paid]
    tokens = draft.tokens_of(task)
    most = left + tokens - min(wanted, max(0, (left + tokens) // 2))
    if tokens <= PASTE_SLACK * most:
        return 0
    over = before = tokens - most
    for number in task:
        if over <= 0:
            break
        over -= _cut_pastes(draft, number, over)
    return before - over


def _cut_pastes(draft: Draft, number: int, over: int) -> int:
    """Cut the pastes in a message by so many tokens, its words apart; return the tokens that this frees."""
    anatomy, count, now = draft.anatomy, draft.materials.count, draft.now(number)
    index = anatomy.units[number].first
    message = anatomy.conversation.messages[index]
    if not message.is_plain or not message.text:
        return 0
    own = count(message.text)
    pieces = speech.speech_parts(message.text, own)
    words = sum(count(piece.text) for piece in pieces if not piece.is_paste)
    overhead = anatomy.tokens[index] - own
    room = max(words + speech.PASTE_TOKENS, now - overhead - over)
    if room >= now - overhead or all(not piece.is_paste for piece in pieces):
        return 0
    text = speech.cut_speech(message.text, room, count, _asked(draft))
    short = None if text is None else Shortened("cut", text, overhead + count(text))
    if short is None or short.tokens >= now:
        return 0
    draft.says(number, index, short)
    return now - short.tokens


def _asked(draft: Draft) -> list[str]:
    """Return what people said last: what a paste is read for."""
    turn, anatomy = draft.prefix.turn, draft.anatomy
    return [] if turn is None else [anatomy.conversation.messages[anatomy.units[turn].first].text]
