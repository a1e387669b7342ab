"""Components and sizes in tokens of the messages of a prompt.

Pure: counting is a function handed in. Components: tools, system, examples, documents, history, input.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from gateway.conversation import Conversation, Media, Message, Unit, leading_system, units
from gateway.memory import Memory

COMPONENTS = ("system", "tools", "examples", "documents", "history", "input")

Count = Callable[[str], int]
CountMedia = Callable[[Media], int]

OVERHEAD_REPLY = 3
"""Tokens that prime the answer. This and the next three: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken,
rounded up where models differ (a message is 3 tokens on newer ones, 4 on older)."""
OVERHEAD_MESSAGE = 4
OVERHEAD_NAME = 1
OVERHEAD_CALL = 8


@dataclass(frozen=True, slots=True)
class Recognition:
    """A policy's marks of examples and documents."""

    example_names: tuple[str, ...] = ("example_*",)
    example_tags: tuple[str, ...] = ("example",)
    document_tags: tuple[str, ...] = ("document", "doc", "context")
    document_tools: tuple[str, ...] = ()


def _nothing(_: Media) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A conversation taken apart: units after the leading system text, the component and the tokens of each message."""

    conversation: Conversation
    head: int
    """The number of messages of leading system text."""
    units: tuple[Unit, ...]
    component: tuple[str, ...]
    """By message."""
    tokens: tuple[int, ...]
    """By message, overhead included."""
    document_tokens: tuple[int, ...]
    """By message: how many of its tokens are documents inside a message of another component."""
    tools_tokens: int
    tool_of: Mapping[int, str]
    """Name of the tool that a result (by message index) came from."""
    count_media: CountMedia = field(default=_nothing, compare=False, repr=False)
    """Counts a part that is not text."""
    moved_tokens: int = 0
    """Of system text that leaves in a message of its own (rewriting/volatile.py), overhead included."""

    @property
    def system_tokens(self) -> int:
        return OVERHEAD_REPLY + sum(self.tokens[: self.head])

    @property
    def total(self) -> int:
        return OVERHEAD_REPLY + self.tools_tokens + sum(self.tokens) + self.moved_tokens

    def by_component(self) -> dict[str, int]:
        """Tokens by component; their sum is `total`."""
        out = dict.fromkeys(COMPONENTS, 0)
        out["tools"] = self.tools_tokens
        out["system"] = OVERHEAD_REPLY
        out["history"] = self.moved_tokens
        for component, tokens, documents in zip(self.component, self.tokens, self.document_tokens, strict=True):
            out[component] += tokens - documents
            out["documents"] += documents
        return out


Sizes = Memory[Message, int]
"""Tokens of whole messages without media, so that a conversation that grows by one message counts one."""


def dissect(
    conversation: Conversation,
    recognition: Recognition,
    count: Count,
    count_media: CountMedia,
    sizes: Sizes | None = None,
) -> Anatomy:
    """Take a conversation apart and count it; `sizes` remembers what `count` said of messages."""
    sizes = Memory(0) if sizes is None else sizes
    messages = conversation.messages
    head = leading_system(messages)
    tail = tuple(units(messages, head))
    tool_of = {index: name for unit in tail for index, name in _results(messages, unit)}
    component = _components(messages, head, tail, tool_of, recognition)
    tags = recognition.document_tags
    documents = tuple(
        _document_tokens(message, tags, count) if component[i] in ("history", "input") and message.role == "user" else 0
        for i, message in enumerate(messages)
    )
    return Anatomy(
        conversation=conversation,
        head=head,
        units=tail,
        component=component,
        tokens=tuple(message_sizes(messages, count, count_media, sizes)),
        document_tokens=documents,
        tools_tokens=tools_tokens(conversation, count),
        tool_of=tool_of,
        count_media=count_media,
    )


def message_sizes(messages: Sequence[Message], count: Count, count_media: CountMedia, sizes: Sizes) -> Iterator[int]:
    """Yield the tokens of each message; what `sizes` does not know is counted, and remembered."""
    for message, size in zip(messages, sizes.get_all(messages), strict=True):
        yield size or counted(message, count, count_media, sizes)


def counted(message: Message, count: Count, count_media: CountMedia, sizes: Sizes) -> int:
    """Count one message, and remember it."""
    tokens = message_tokens(message, count, count_media)
    if not message.media:
        sizes.put(message, tokens, 2 * len(message.text))
    return tokens


def message_tokens(message: Message, count: Count, count_media: CountMedia) -> int:
    """Count one message with its overhead, its calls and its media. A call that is joined to a message is within it."""
    is_within = message.joined and message.calls and not message.text
    total = count(message.text) + (0 if is_within else OVERHEAD_MESSAGE)
    for call in message.calls:
        total += OVERHEAD_CALL + count(call.name) + count(call.arguments)
    if message.name:
        total += OVERHEAD_NAME + count(message.name)
    for part in message.media:
        total += count_media(part)
    return total


def tools_tokens(conversation: Conversation, count: Count) -> int:
    """Count the definitions as minified JSON: an upper bound of what providers render them to."""
    return sum([count(text) for text in conversation.definitions])


def texts(conversation: Conversation, sizes: Sizes) -> list[str]:
    """List every text that counting the conversation will ask for, beside the messages in `sizes`."""
    out = list(conversation.definitions)
    known = sizes.get_all(conversation.messages)
    for message in [message for message, size in zip(conversation.messages, known, strict=True) if size is None]:
        out.append(message.text)
        out += [text for call in message.calls for text in (call.name, call.arguments)]
    return out


def fits_by_bytes(conversation: Conversation, most_tokens: int, budget: int) -> bool:
    """Whether the bytes of a request alone prove that its prompt is within the budget.

    Media may count more tokens than the bytes of their URL.
    """
    return most_tokens <= budget and not any(message.media for message in conversation.messages)


def _results(messages: Sequence[Message], unit: Unit) -> list[tuple[int, str]]:
    calls = {call.id: call.name for call in messages[unit.first].calls}
    out: list[tuple[int, str]] = []
    for i in range(unit.first + 1, unit.after):
        message = messages[i]
        if message.joined:
            calls.update({call.id: call.name for call in message.calls})
        else:
            out.append((i, calls.get(message.call_id or "", "") or message.name or "tool"))
    return out


def _components(
    messages: Sequence[Message], head: int, tail: Sequence[Unit], tool_of: Mapping[int, str], recognition: Recognition
) -> tuple[str, ...]:
    out = ["system"] * head + ["history"] * (len(messages) - head)
    for index in _examples(messages, head, recognition):
        out[index] = "examples"
    for index, tool in tool_of.items():
        if recognition.document_tools and any(fnmatchcase(tool, glob) for glob in recognition.document_tools):
            out[index] = "documents"
    for index in range(len(messages) - 1, head - 1, -1):
        if messages[index].role == "user" and OURS.match(messages[index].text) is None:
            out[index] = "input"
            break
    if tail:
        for index in tail[-1]:
            out[index] = "input"
    return tuple(out)


OURS = re.compile(r"\[… (?:[\d,]+ messages?\b|quoted from earlier messages)|Current values, moved here from ")
"""The beginnings of our own messages (rewriting/ours.py, rewriting/volatile.py). In a request that leaves a second time
such a message may be the last of a user's; it is history still, whatever it quotes. It is kept like any other
message."""


def _examples(messages: Sequence[Message], head: int, recognition: Recognition) -> set[int]:
    """Find the examples. A question that is marked as one takes its answer along, and an answer its question."""
    marked = {index for index in range(head, len(messages)) if _is_example(messages[index], recognition)}
    pairs = {at for index in marked for at in (index - 1, index) if head <= at < len(messages) - 1}
    return marked.union(*[(at, at + 1) for at in pairs if _is_exchange(messages, at)])


def _is_exchange(messages: Sequence[Message], index: int) -> bool:
    """Whether a message is a question, and the next one an answer in words."""
    asked, answer = messages[index], messages[index + 1]
    return asked.role == "user" and answer.role == "assistant" and not answer.calls


def _is_example(message: Message, recognition: Recognition) -> bool:
    if message.name is not None and any(fnmatchcase(message.name, glob) for glob in recognition.example_names):
        return True
    text = message.text
    return bool(text) and text.lstrip()[:1] == "<" and _whole(recognition.example_tags, text)


def _whole(tags: Sequence[str], text: str) -> bool:
    stripped = text.strip()
    return any(stripped.startswith((f"<{tag}>", f"<{tag} ")) and stripped.endswith(f"</{tag}>") for tag in tags)


@lru_cache(maxsize=64)
def _tag(tags: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(map(re.escape, tags))
    return re.compile(rf"<(/)?({names})(?(1)|\b[^<>]*)>", re.IGNORECASE)


def _document_tokens(message: Message, tags: tuple[str, ...], count: Count) -> int:
    text = message.text
    spans = document_spans(text, tags)
    return min(sum(count(text[start:end]) for start, end in spans), count(text)) if spans else 0


def document_spans(text: str, tags: tuple[str, ...]) -> list[tuple[int, int]]:
    """Locate the documents inside a text, by the policy's tags: from each opening tag to the next one that closes it.

    Every tag is looked at once, so that text full of tags that nobody closes takes no longer than other text.
    """
    if not tags or "</" not in text:
        return []
    found = list(_tag(tags).finditer(text))
    closings: dict[str, list[int]] = {}
    for tag in found:
        if tag[1]:
            closings.setdefault(tag[2].lower(), []).append(tag.end())
    spans: list[tuple[int, int]] = []
    at = 0
    for tag in found:
        ends = closings.get(tag[2].lower(), ())
        following = bisect_right(ends, tag.end())
        if not tag[1] and tag.start() >= at and following < len(ends):
            at = ends[following]
            spans.append((tag.start(), at))
    return spans
