"""The words of a stream up to a bound, and the size of all of them. Pure.

The books need a count of tokens, and what was missed is looked for in the words themselves. A long answer is counted by
its beginning: what is not kept is taken to have as many tokens a byte as what is.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.request import Said
from gateway.wire import lenient
from gateway.wire.chat.output import finish_of, speaks, spoken

MOST_TEXT: Final = 48 * 1024
"""Bytes of text (UTF-8) that are kept of one stream: some 12,000 tokens of English."""
MOST_PLACES: Final = 512
"""Texts that are told apart in one stream: of choices, of their reasoning, of each argument of a call."""

_BYTES_PER_TOKEN: Final = 4
"""English and code in o200k_base: for what nobody read any of."""


class Transcript:
    """The words of one stream so far."""

    __slots__ = ("_ended", "_open", "_room", "_texts", "finish_reason", "size")

    def __init__(self) -> None:
        self._texts: dict[tuple[object, ...], bytearray] = {}
        self._room = MOST_TEXT
        self.size = 0
        """Bytes of all that was said (UTF-8)."""
        self._open: set[int] = set()  # choices that have begun and not ended
        self._ended = False
        self.finish_reason: str | None = None
        """The last one."""

    @property
    def finished(self) -> bool:
        """Whether a finish reason of each choice was seen."""
        return self._ended and not self._open

    def text(self) -> str:
        """Join what is kept: content, refusals, reasoning, names and arguments of calls."""
        return lenient.join_halves("\n".join(map(_read, self._texts.values())))

    def grown(self, tokens: int) -> int:
        """Scale a count of `text` to all that was said."""
        kept = MOST_TEXT - self._room
        if kept == self.size:
            return tokens
        return -(-tokens * self.size // kept) if kept else self.size // _BYTES_PER_TOKEN

    def said(self) -> Said:
        """Return what is kept of the answer proper."""
        texts = {key: lenient.join_halves(_read(text)) for key, text in self._texts.items()}
        return Said(
            tuple([text for key, text in texts.items() if key[1] == "content"]),
            tuple([text for key, text in texts.items() if key[-1] == "arguments"]),
        )

    def read(self, choices: object) -> None:
        """Take in the choices of one chunk."""
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            number = choice.get("index")
            index = number if isinstance(number, int) else 0
            if (reason := finish_of(choice)) is not None:
                self.end(reason, index)
            elif (not self._ended or speaks(choice)) and len(self._open) < MOST_PLACES:
                self._open.add(index)  # some engines send an empty chunk after the last
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                delta = choice.get("message")
            if isinstance(delta, dict):
                self._read_delta(index, delta)
            else:
                self._hear((index, "content"), choice.get("text"))  # of a text completion

    def end(self, reason: str, index: int = 0) -> None:
        """Note that a choice has ended."""
        self.finish_reason, self._ended = reason, True
        self._open.discard(index)

    def pass_over(self, size: int) -> None:
        """Count so many bytes of text that nobody read."""
        self.size += size

    def _read_delta(self, index: int, delta: dict[str, Any]) -> None:
        # Some engines send their reasoning under both names.
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        self._hear((index, "content"), delta.get("content"))
        self._hear((index, "refusal"), delta.get("refusal"))
        self._hear((index, "reasoning"), reasoning)
        calls = delta.get("tool_calls")
        calls = [*calls] if isinstance(calls, list) else []
        calls.append({"index": "function_call", "function": delta.get("function_call")})
        for call in calls:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                key = (index, "call", str(call.get("index"))[:20])
                self._hear((*key, "name"), function.get("name"))
                self._hear((*key, "arguments"), function.get("arguments"))

    def _hear(self, key: tuple[object, ...], said: object) -> None:
        for piece in spoken(said):
            text = piece.encode("utf-8", "surrogatepass")
            self.size += len(text)
            if not self._room or (key not in self._texts and len(self._texts) == MOST_PLACES):
                continue
            text = _cut(text, self._room)
            self._room -= len(text)
            self._texts.setdefault(key, bytearray()).extend(text)


def _cut(text: bytes, room: int) -> bytes:
    """Cut a text between two characters."""
    if len(text) <= room:
        return text
    while room and text[room] & 0xC0 == 0x80:
        room -= 1
    return text[:room]


def _read(text: bytearray) -> str:
    return text.decode("utf-8", "surrogatepass")
