"""The fate of images, audio and files of old messages: first low detail, then a trace that numbers them.

Pure. Everything else that a message says stays as it came. A trace is the same in every request of a conversation: it
numbers what it stands for from the beginning, and does not say how many there are in all, which grows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gateway.budget.components import Anatomy, Count, CountMedia
from gateway.conversation import Media, Message, PartEdit, PartEdits, with_parts
from gateway.rewriting.ladder import Shortened

LOW, TRACED = "low_detail", "trace"
"""Names of the two remedies, lightest first."""
MOST_NAME_CHARS = 80
"""Of a file's name in its trace; a longer one loses its middle."""

Numbers = Mapping[str, int]
"""By kind of media: how many of it stand before a message, in the conversation."""


def numbers(messages: Sequence[Message]) -> Iterator[Numbers]:
    """Yield what stands before each message."""
    seen: Counter[str] = Counter()
    for message in messages:
        yield dict(seen) if message.media else {}
        seen.update(media.kind for media in message.media)


def low(message: Message, count_media: CountMedia) -> PartEdits:
    """Change the images of a message to low detail where that takes fewer tokens; nothing where it does nowhere."""
    return tuple([PartEdit(one.part, detail="low") for one in message.media if _lowers(one, count_media)])


def _lowers(one: Media, count_media: CountMedia) -> bool:
    if one.kind != "image" or one.detail == "low" or one.is_foreign:
        return False
    return count_media(Media("image", one.data, "low")) < count_media(one)


def traced(message: Message, before: Numbers) -> PartEdits:
    """Put a trace in the place of each image, audio, file and video of a message; other parts stay."""
    seen = Counter(before)
    edits = []
    for one in message.media:
        seen[one.kind] += 1
        if one.kind != "other":
            edits.append(PartEdit(one.part, trace(one, seen[one.kind])))
    return tuple(edits)


def trace(one: Media, number: int) -> str:
    """Write what stands for an image, audio or file; a name is quoted, as anybody may choose it."""
    if not one.name:
        return f"[{one.kind} {number} left out]"
    name = one.name
    if len(name) > MOST_NAME_CHARS:
        half = MOST_NAME_CHARS // 2
        name = f"{name[:half]}…{name[-half:]}"
    return f"[{one.kind} {number} left out: {json.dumps(name, ensure_ascii=False)}]"


def reworded_texts(message: Message, text: str) -> PartEdits:
    """Put a text in the place of the texts of a message, and leave its images, audio and files where they are."""
    media = {one.part for one in message.media}
    spoken = [number for number, _ in enumerate(message.parts) if number not in media]
    return tuple([PartEdit(number, text if number == spoken[0] else None) for number in spoken])


def shortened(
    anatomy: Anatomy, index: int, remedy: str, edits: PartEdits, count: Count, count_media: CountMedia
) -> Shortened | None:
    """Return a message with changes to its parts, counted; None where that takes no fewer tokens."""
    message = anatomy.conversation.messages[index]
    if not edits:
        return None
    left = with_parts(message, edits)
    media = sum(map(count_media, left.media)) - sum(map(count_media, message.media))
    after = anatomy.tokens[index] + count(left.text) - count(message.text) + media
    return Shortened(remedy, left.text, after, edits) if after < anatomy.tokens[index] else None


def merged(first: PartEdits, second: PartEdits) -> PartEdits:
    """Join two changes to the parts of one message; where both change a part, the second does."""
    return tuple(sorted({edit.part: edit for edit in (*first, *second)}.values(), key=lambda edit: edit.part))
