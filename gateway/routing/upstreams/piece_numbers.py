"""The numbers that pieces of a streamed answer bear: by them clients put calls and thoughts together. Pure."""

from __future__ import annotations

from typing import Any


class PieceNumbers:
    """Numbers the calls and the thoughts of one stream.

    Cohere and Ollama send each call as the first, others count more than calls. litellm gives thoughts no number, and
    OpenAI's client takes no list without (openai-python, `lib/streaming/_deltas.py`).
    """

    __slots__ = ("_next", "_open", "_thought_ends", "_thoughts")

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, int]] = {}
        self._next = 0
        self._thoughts, self._thought_ends = -1, True

    @property
    def has_calls(self) -> bool:
        """Whether a call has come."""
        return self._next > 0

    def renumber(self, delta: dict[str, Any]) -> None:
        """Give the pieces in a delta their numbers."""
        for call in delta.get("tool_calls") or ():
            given, call_id = call.get("index") or 0, call.get("id") or ""
            known = self._open.get(given)
            if known is None or (call_id and known[0] and call_id != known[0]):
                known = call_id, self._next
                self._next += 1
            self._open[given] = known[0] or call_id, known[1]
            call["index"] = known[1]
        thoughts = delta.get("thinking_blocks") or ()
        if thoughts and isinstance(own := delta.get("provider_specific_fields"), dict):
            own.pop("thinking_blocks", None)  # the same once more
        for thought in thoughts:
            is_whole = thought.get("type") != "thinking"
            if self._thought_ends or is_whole:
                self._thoughts += 1
            thought["index"] = self._thoughts
            self._thought_ends = is_whole or bool(thought.get("signature"))


def without_numbers(messages: Any) -> Any:
    """Return messages whose thoughts bear no numbers, which are for clients: their provider does not know them."""
    if not isinstance(messages, list):
        return messages
    return [_unnumbered(message) for message in messages]


def _unnumbered(message: Any) -> Any:
    thoughts = message.get("thinking_blocks") if isinstance(message, dict) else None
    if not isinstance(thoughts, list) or not any(isinstance(one, dict) and "index" in one for one in thoughts):
        return message
    bare = [{name: held for name, held in one.items() if name != "index"} if isinstance(one, dict) else one
            for one in thoughts]  # fmt: skip
    return {**message, "thinking_blocks": bare}
