"""The speakers of the messages of a conversation, and the results that read anew what an older one did. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from gateway.conversation import Message


class Speakers:
    """The speakers of the messages of a conversation, and the results that read anew what an older one did."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._calls: dict[str, tuple[str, str]] = {}
        """By id: the newest call, its name and its arguments."""
        self._asked: dict[int, tuple[str, str]] = {}
        self._readings: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._upto = 0

    def _read(self, upto: int) -> None:
        for index in range(self._upto, min(upto, len(self._messages))):
            message = self._messages[index]
            for call in message.calls:
                self._calls[call.id] = (call.name, call.arguments)
            if message.is_result:
                asked = self._calls.get(message.call_id or "", (message.name or message.role, ""))
                self._asked[index] = asked
                self._readings[asked].append(index)
        self._upto = max(self._upto, upto)

    def who(self, index: int) -> str:
        """Name the speaker: the name of the message, the tool of a result with its file, else the role."""
        self._read(index + 1)
        message = self._messages[index]
        tool, arguments = self._asked.get(index, ("", ""))
        name = message.name or tool or message.role
        if message.is_result:
            return _named(" ".join([name, *_file_of(arguments)]))
        return _named(name if name == message.role else f"{message.role} {name}")

    def newer(self, index: int, upto: int) -> int | None:
        """Find the newest result before `upto` that answers the same call as this one, later."""
        self._read(upto)
        asked = self._asked.get(index)
        if asked is None or not asked[1]:
            return None
        later = [at for at in self._readings[asked][-_MOST_READINGS:] if index < at < upto]
        return later[-1] if later else None


_MOST_READINGS = 64
_ARGUMENT_TEXT = re.compile(r'"([^"\\]{2,80})"\s*[,}]')


@lru_cache(4096)
def _file_of(arguments: str) -> tuple[str, ...]:
    """Find the file, or other short place, that a call names: its first argument that looks like a path."""
    return next(
        ((said,) for said in _ARGUMENT_TEXT.findall(arguments[:2000]) if "." in said[1:] and " " not in said), ()
    )


def _named(name: str) -> str:
    """Write a name so that it cannot be taken for anything else: names are foreign text too."""
    name = " ".join(name.split())
    return name if len(name) <= 100 and not set(name) & set('"`[]{}<>') else "…"
