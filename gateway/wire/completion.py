"""A whole chat completion, as an upstream gave it: what it used, and what it said. The twin of `sse.EventRelay`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.wire.chat import message_of
from gateway.wire.sse import Said, read_leniently


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that is all here. Its bytes are passed on as they came."""

    body: bytes
    fields: Mapping[str, Any]

    @property
    def usage(self) -> Any:
        return self.fields.get("usage")

    @property
    def service_tier(self) -> object:
        """The tier that the provider says it served."""
        return self.fields.get("service_tier")

    def seen_text(self) -> str:
        """Join what the model said, for counting an answer that came without usage."""
        texts: list[str] = []
        for message in self._messages():
            said = (message.get(key) for key in ("content", "refusal", "reasoning_content"))
            texts += [text for text in said if isinstance(text, str)]
            if message.get("tool_calls"):
                texts.append(orjson.dumps(message["tool_calls"]).decode())
        return "\n".join(texts)

    @property
    def heard_bytes(self) -> int:
        """How long the answer is."""
        return len(self.body)

    def said(self) -> Said:
        """Return what the model said. Total: what has an unexpected shape says nothing."""
        texts, arguments = [], []
        for message in self._messages():
            read = message_of(message)
            texts.append(read.text)
            arguments += [call.arguments for call in read.calls]
        return Said(tuple(filter(None, texts)), tuple(filter(None, arguments)))

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        for choice in self.fields["choices"]:
            message = choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                yield message


def read(body: bytes) -> Completion | None:
    """Read an answer; None where it is no chat completion."""
    fields = read_leniently(body)
    if not isinstance(fields, dict) or not isinstance(fields.get("choices"), list):
        return None
    return Completion(body, fields)
