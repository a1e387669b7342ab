"""Documents in leading system text, where a policy lets them shrink. Pure.

System text is the start of every prefix, so a cut there costs the whole prompt cache. It is therefore made once: to the
documents' share, by the task (what users said up to the first answer), so that every later request of the conversation
gets the same text. The rest of the system text stays byte for byte. Passages of the cut documents that later questions
need come back as excerpts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.budget.components import Anatomy, Count
from gateway.conversation import Changes, Message, PartEdit, reworded, with_parts
from gateway.rewriting.documents import extract, recognition
from gateway.rewriting.folds.voiced import Voiced
from gateway.rewriting.history.folded_messages import FoldedMessage
from gateway.rewriting.ladder import Ladders
from gateway.rewriting.memory import Known

REMEDY = "extract"
_TASK_CHARS = 6_000


@dataclass(frozen=True, slots=True)
class CutSystemText:
    """A conversation whose system text has fewer documents, and the system messages that say less than they did."""

    anatomy: Anatomy
    """As it stands after the cut."""
    lost: tuple[FoldedMessage, ...]
    """The messages as they came: what of them is not there any more can be asked for."""
    texts: dict[int, str]
    """New texts of whole messages."""
    parts: dict[int, tuple[PartEdit, ...]]
    """New texts of parts, where a content has several."""

    @property
    def indexes(self) -> list[int]:
        """List the messages that were cut."""
        return sorted({*self.texts, *self.parts})

    def changes(self, others: Changes | None) -> Changes:
        """Add the cut to what else is done to the conversation."""
        if others is None:
            return Changes(self.texts, parts=self.parts)
        return replace(others, texts={**self.texts, **others.texts}, parts={**self.parts, **others.parts})


_Text = tuple[int, int | None, str, str]
"""Of a message: its index, the number of the part (None: all of it), the text as it came, and as it leaves."""


def held(anatomy: Anatomy) -> int:
    """Return the tokens of the documents in leading system text."""
    return sum(anatomy.document_tokens[: anatomy.head])


def cut_documents(
    voiced: Voiced, ladders: Ladders, room: int, effort: int, count: Count, known: Known
) -> CutSystemText | None:
    """Cut the documents of leading system text to so many tokens; None where there is nothing to cut.

    A message that is marked for the provider's cache part by part keeps its parts: the largest text is cut.
    """
    anatomy = voiced.anatomy
    over = held(anatomy) - room
    if over <= 0 or anatomy.moved_tokens or not ladders.documents:
        return None
    messages, tokens, documented = anatomy.conversation.messages, anatomy.tokens, anatomy.document_tokens
    chosen = [i for i in range(anatomy.head) if documented[i] and messages[i].is_plain and tokens[i] <= effort]
    own = [(index, *_text_of(messages[index])) for index in chosen]
    said = [text for _, _, text in own]
    question = _task(voiced, known)
    if "dedupe" in ladders.documents:
        said = [extract.without_twins(text, recognition.known(text, voiced.tags, known.found)) for text in said]
    if "extract" in ladders.documents:
        found = [recognition.known(text, voiced.tags, known.found) for text in said]
        sources = [extract.DocumentSource(text, spans, question) for text, spans in zip(said, found, strict=True)]
        left = sum(count(text) for _, _, text in own) - over
        said = extract.shrink_all(sources, max(0, left), count, memory=known.extracted)
    cuts = [(index, part, before, text) for (index, part, before), text in zip(own, said, strict=True)]
    return _applied(voiced, cuts, count, known)


def _text_of(message: Message) -> tuple[int | None, str]:
    """Choose the text that is cut: all of the content, or its largest part by number."""
    if not message.parts:
        return None, message.text
    number = max(range(len(message.parts)), key=lambda n: len(message.parts[n] or ""))
    return number, message.parts[number] or ""


def _task(voiced: Voiced, known: Known) -> str:
    """Join what users said up to the first answer, without the documents in it: the same in every later request."""
    out: list[str] = []
    for message, voice in zip(voiced.anatomy.conversation.messages, voiced.voices, strict=True):
        if voice == "said":
            found = recognition.known(message.text, voiced.tags, known.found)
            out.append(recognition.question(message.text, found))
        elif out and voice in ("answer", "step"):
            break
    return "\n".join(out)[:_TASK_CHARS]


def _applied(voiced: Voiced, cuts: Sequence[_Text], count: Count, known: Known) -> CutSystemText | None:
    """Put the new texts in their places."""
    anatomy = voiced.anatomy
    messages, tokens = list(anatomy.conversation.messages), list(anatomy.tokens)
    held_by = list(anatomy.document_tokens)
    texts: dict[int, str] = {}
    parts: dict[int, tuple[PartEdit, ...]] = {}
    for index, part, before, text in cuts:
        freed = count(before) - count(text)
        if freed <= 0:
            continue
        if part is None:
            texts[index] = text
            messages[index] = reworded(messages[index], text)
        else:
            parts[index] = (PartEdit(part, text),)
            messages[index] = with_parts(messages[index], parts[index])
        tokens[index] -= freed
        held_by[index] = max(0, held_by[index] - freed)
    if not texts and not parts:
        return None
    conversation = replace(anatomy.conversation, messages=tuple(messages))
    cut_anatomy = replace(anatomy, conversation=conversation, tokens=tuple(tokens), document_tokens=tuple(held_by))
    lost = []
    for index in sorted({*texts, *parts}):
        message, text = anatomy.conversation.messages[index], anatomy.conversation.messages[index].text
        spans = tuple((one.start, one.end) for one in recognition.known(text, voiced.tags, known.found))
        lost.append(FoldedMessage(index, None, message.role, text, documents=spans, place=conversation.place(index)))
    return CutSystemText(cut_anatomy, tuple(lost), texts, parts)
