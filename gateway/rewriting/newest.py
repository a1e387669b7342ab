"""Remedies for the newest messages, the question and the results just returned: the only ones that touch them, and only
if they must.

Documents inside the last user message shrink to what its question needs, its other text never does. The newest results
are shortened only where they alone do not fit: the one exception to "what is newest stays", for the agent that a single
huge result would kill. Last, what the question asks for and a fold holds comes back as excerpts. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.budget.components import OVERHEAD_MESSAGE, Anatomy, Count
from gateway.conversation import Message, Unit, last_user
from gateway.rewriting.documents import extract, recognition
from gateway.rewriting.documents.arrange import Order, arrange
from gateway.rewriting.folds import FoldedConversation, FoldMessage
from gateway.rewriting.history.folded_messages import FoldedMessage
from gateway.rewriting.history.search import Search
from gateway.rewriting.ladder import REPEATED, Ladders, Shortened
from gateway.rewriting.memory import Known
from gateway.rewriting.ours import left_out
from gateway.rewriting.results import crush
from gateway.rewriting.speech import level
from gateway.rewriting.voices import Voice

_CONTEXT_MESSAGES, _CONTEXT_CHARS = 4, 1500
_ASKED_CHARS = 600
MOST_RECALL, MOST_RECALL_PERHAPS = 12_000, 6_000
"""Tokens of all excerpts for a question about what was said, and for what only may be one."""
_LEAST_RECALL = 40
"""Tokens below which an excerpt says too little to stand there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The measures of the newest messages."""

    anatomy: Anatomy
    voices: Sequence[Voice]
    """By message."""
    ladders: Ladders
    tags: tuple[str, ...]
    order: Order
    count: Count
    known: Known
    effort: int
    lost: tuple[FoldedMessage, ...] = ()
    """System messages as they came, out of which documents were cut."""

    @property
    def messages(self) -> Sequence[Message]:
        return self.anatomy.conversation.messages

    @property
    def user(self) -> int | None:
        """The index of what a person said last; a tool's output that stands as a user message is none."""
        said = (index for index in range(len(self.messages) - 1, -1, -1) if self.voices[index] == "said")
        return next(said, last_user(self.messages))

    def context(self) -> list[str]:
        """List what was said before the question, newest first."""
        said = [m.text[:_CONTEXT_CHARS] for m in reversed(self.messages) if m.role in ("user", "assistant") and m.text]
        return said[1 : 1 + _CONTEXT_MESSAGES]

    def question(self) -> str:
        """Join the last user message, the newest call, and the end of what it returned."""
        own = self.anatomy.units[-1] if self.anatomy.units else ()
        parts = [] if self.user is None else [self.messages[self.user].text]
        for index in own:
            if index != self.user:
                parts += [call.arguments for call in self.messages[index].calls]
                parts.append(self.messages[index].text[-_ASKED_CHARS:])
        return "\n".join(parts)


def fit_newest(asked: Asked, folded: FoldedConversation, budget: int, *, strict: bool) -> FoldedConversation:
    """Shorten the documents of the last user message, then the newest results, where the prompt is still over."""
    if asked.ladders.documents and (user := asked.user) is not None and user == last_user(asked.messages):
        over = folded.total - budget
        if folded.documents_room is not None:
            over = max(over, asked.anatomy.document_tokens[user] - folded.documents_room)
        if over > 0:
            folded = _with_fewer_documents(asked, user, folded, over)
    if folded.total > budget and "crush" in asked.ladders.input and not strict:
        folded = _with_shorter_results(asked, folded, folded.total - budget)
    unit = _newest_results(asked, folded)
    if folded.total > budget and asked.ladders.history and unit is not None and unit != asked.anatomy.units[-1]:
        folded = _without(asked, folded, unit)
    if folded.total > budget and folded.kept:
        total = folded.total - sum(line.tokens for line in folded.kept)
        folded = replace(folded, kept=(), total=total, forced=True)
    return folded


def _with_fewer_documents(asked: Asked, index: int, folded: FoldedConversation, over: int) -> FoldedConversation:
    message, count = asked.messages[index], asked.count
    if not message.is_plain or asked.anatomy.tokens[index] > asked.effort:
        return folded
    found = recognition.known(message.text, asked.tags, asked.known.found)
    if not found:
        return folded
    text, remedy, room = message.text, "", count(message.text) - over
    question = recognition.question(text, found)
    if "dedupe" in asked.ladders.documents:
        text, remedy = extract.without_twins(text, found), "dedupe"
    if "extract" in asked.ladders.documents and count(text) > room:
        found = found if text is message.text else recognition.find_documents(text, asked.tags)
        memory = asked.known.extracted
        text = extract.shrink(text, found, question, room, count, context=asked.context(), memory=memory)
        remedy = "extract"
    if asked.order != "as_is":
        ordered = arrange(text, recognition.find_documents(text, asked.tags), asked.order, question)
        text = ordered if count(ordered) <= max(room, count(text)) else text
    return _saying(asked, folded, index, remedy, text)


def _with_shorter_results(asked: Asked, folded: FoldedConversation, over: int) -> FoldedConversation:
    """Shorten the newest results: what retrieval brought first, then the largest, all down to one size."""
    unit = _newest_results(asked, folded)
    results = [i for i in unit or () if asked.voices[i] == "result" and asked.messages[i].is_plain]
    if not results:
        return folded
    sizes = {index: asked.count(asked.messages[index].text) for index in results}
    retrieved = [index for index in results if asked.anatomy.component[index] == "documents"]
    for group in ([retrieved] if retrieved else []) + [results]:
        spare = sum(sizes[index] for index in group)
        most = level([sizes[index] for index in group], max(0, spare - over))
        for index in sorted(group, key=lambda i: -sizes[i]):
            if sizes[index] > most:
                folded = _saying(asked, folded, index, *_shorter(asked, index, most))
        if sum(asked.anatomy.tokens[i] - _tokens(asked, folded, i) for i in results) >= over:
            break
    return folded


def _newest_results(asked: Asked, folded: FoldedConversation) -> Unit | None:
    """Find the results that nobody has spoken to yet: they end the request, or the last user message follows them."""
    for unit in asked.anatomy.units[:-3:-1]:
        if any(asked.voices[index] == "result" for index in unit):
            return None if unit.first in folded.dropped else unit
        if unit.first != asked.user:
            return None
    return None


def _without(asked: Asked, folded: FoldedConversation, unit: Unit) -> FoldedConversation:
    """Leave a unit out, for this request; the note of a fold, where one stands, counts it too."""
    now = sum(_tokens(asked, folded, index) for index in unit)
    kept = list(folded.kept)
    at = next((n for n in reversed(range(len(kept))) if kept[n].summary_of is None), None)
    if at is not None:
        kept[at] = _counting(asked, kept[at], unit)
        now += folded.kept[at].tokens - kept[at].tokens
    dropped = {**folded.dropped, **dict.fromkeys(unit, "drop_oldest")}
    return replace(folded, dropped=dropped, kept=tuple(kept), total=folded.total - now, forced=True)


def _counting(asked: Asked, note: FoldMessage, unit: Unit) -> FoldMessage:
    """Let a note stand for the messages of a unit too."""
    was = left_out(note.messages, note.stands_for).removesuffix("]")
    messages = note.messages + unit.after - unit.first
    tokens = note.stands_for + sum(asked.anatomy.tokens[index] for index in unit)
    text = left_out(messages, tokens).removesuffix("]") + note.text.removeprefix(was)
    size = OVERHEAD_MESSAGE + asked.count(text)
    return replace(note, text=text, tokens=size, messages=messages, stands_for=tokens)


def _shorter(asked: Asked, index: int, room: int) -> tuple[str, str]:
    """Say a result in so many tokens: documents by what is asked, everything else by its structure."""
    message, tokens = asked.messages[index], asked.anatomy.tokens[index]
    if tokens > asked.effort:
        return "crush", _ends(message.text, room, asked.count)
    is_documents = asked.anatomy.component[index] == "documents"
    user = "" if asked.user is None else asked.messages[asked.user].text
    # All that decides how it is said: a request that is planned again, for another deployment say, says it alike.
    key = (message.text, room, asked.count, is_documents, asked.tags, user, asked.question(), *asked.context())
    said = asked.known.newest.get(key)
    if said is None:
        said = _said_shorter(asked, message.text, room, is_documents=is_documents)
        asked.known.newest.put(key, said, 2 * (len(message.text) + len(said[1]) + len(user)))
    return said


def _said_shorter(asked: Asked, text: str, room: int, *, is_documents: bool) -> tuple[str, str]:
    whole = crush.lossless(text)
    if asked.count(whole) <= room:
        return "crush", whole
    question = asked.question() if asked.user is None else asked.messages[asked.user].text
    if is_documents or recognition.has_marked_documents(text, asked.tags):
        found = recognition.known(text, asked.tags, asked.known.found, asks=False)
        memory = asked.known.extracted
        said = extract.shrink(text, found, question, room, asked.count, context=asked.context(), memory=memory)
        if asked.count(said) <= room:
            return "extract", said
    return "crush", crush.lossy(text, room, asked.count, crush.Wanted.of([asked.question()]))


def _ends(text: str, room: int, count: Count) -> str:
    """Keep the beginning and the end of a text that is too long to be read."""
    cut = "\n[… the middle of this result is left out to fit the context window …]\n"
    chars = 2 * max(0, room - count(cut))
    while chars > 0:
        said = text[: chars // 2] + cut + text[len(text) - chars // 2 :]
        if count(said) <= room:
            return said
        chars //= 2
    return cut.strip()


def _saying(asked: Asked, folded: FoldedConversation, index: int, remedy: str, text: str) -> FoldedConversation:
    now = _tokens(asked, folded, index)
    after = asked.anatomy.tokens[index] - asked.count(asked.messages[index].text) + asked.count(text)
    if after >= now:
        return folded
    shortened = {**folded.shortened, index: Shortened(remedy, text, after)}
    return replace(folded, shortened=shortened, total=folded.total + after - now)


def _tokens(asked: Asked, folded: FoldedConversation, index: int) -> int:
    """Tokens of a message as it stands."""
    return folded.shortened[index].tokens if index in folded.shortened else asked.anatomy.tokens[index]


# ---------------------------------------------------------------- recall


def with_recall(
    asked: Asked, folded: FoldedConversation, budget: int, share: float, *, recalls: bool = True
) -> FoldedConversation:
    """Put excerpts of what is gone before a question that asks for it, in the room that is free.

    `recalls` is False in an emergency: where the provider counts more than we do, there is no free room.
    """
    messages, unit = asked.messages, asked.anatomy.units[-1]
    room = budget - folded.total - OVERHEAD_MESSAGE
    is_whole = not _missing(folded) and not asked.lost
    if not recalls or asked.voices[unit.first] != "said" or is_whole or room < _LEAST_RECALL:
        return folded
    gone, question, memory = [*asked.lost, *_gone(asked, folded)], _question_alone(asked), asked.known.recalled
    before = [one.text for one in messages[: unit.first] if one.role == "user"]
    stand = [
        folded.shortened[i].text if i in folded.shortened else message.text
        for i, message in enumerate(messages[: unit.first])
        if i not in folded.dropped
    ]
    most = int(share * budget) if asked.anatomy.tool_of else MOST_RECALL
    search = Search(question, gone, memory)
    warranted = search.warranted(min(room, most), stand, before)
    asked_of = max(folded.documents_free, sum(asked.anatomy.tokens[one.at] for one in asked.lost))
    room = max(warranted, min(room, asked_of))
    if room < _LEAST_RECALL:
        return folded
    stand += [line.text for line in folded.kept]
    text = search.excerpts(room, asked.count, stand)
    if not text:
        return folded
    tokens = OVERHEAD_MESSAGE + asked.count(text)
    excerpt = FoldMessage(unit.first, text, tokens, 0, 0)
    return replace(folded, recalled=excerpt, total=folded.total + tokens)


def _question_alone(asked: Asked) -> str:
    """Return what the last user message asks, without the documents in it."""
    text = asked.question()
    found = recognition.known(text, asked.tags, asked.known.found) if len(text) > _ASKED_CHARS else []
    return recognition.question(text, found) if found else text


_WITH_LOSS = frozenset({"cut", "extract", "stub"})
"""Remedies that leave a part of a message to be asked for."""


def _missing(folded: FoldedConversation) -> set[int]:
    """List the messages that are left out, or stand only in part."""
    cut = {index for index, short in folded.shortened.items() if short.remedy in _WITH_LOSS}
    return cut | {index for index, remedy in folded.dropped.items() if remedy != REPEATED}


def _gone(asked: Asked, folded: FoldedConversation) -> list[FoldedMessage]:
    """List what is gone, in order; what exceeds the effort of one request is not read, the oldest first."""
    effort, out, anatomy = asked.effort, [], asked.anatomy
    tokens, component, tool_of = anatomy.tokens, anatomy.component, anatomy.tool_of
    places = anatomy.conversation.places
    for index in sorted(_missing(folded), reverse=True):
        effort -= tokens[index]
        if effort < 0:
            break
        if component[index] != "examples":
            message = asked.messages[index]
            media = tuple([part.kind for part in message.media]) if message.media else ()
            tool, parts = tool_of.get(index), _documents(asked, message)
            place = places[index] if places else None
            out.append(FoldedMessage(index, tool, message.role, message.text, message.name, media, parts, place))
    return out[::-1]


def _documents(asked: Asked, message: Message) -> tuple[tuple[int, int], ...]:
    """Find the documents of a message that holds several: each is recalled by itself."""
    if len(message.text) < _MANY_DOCUMENTS_CHARS or message.role == "assistant":
        return ()
    known = asked.known.recalled.cuts
    key = (message.text, message.role, asked.tags)
    spans = known.get(key)
    if spans is None:
        found = recognition.known(message.text, asked.tags, asked.known.found, asks=message.role == "user")
        spans = tuple((one.start, one.end) for one in found) if len(found) > 1 else ()
        known.put(key, spans, len(message.text) + 80 * len(spans))
    return spans


_MANY_DOCUMENTS_CHARS = 1_500
