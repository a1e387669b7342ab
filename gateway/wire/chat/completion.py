"""A whole chat completion, as an upstream gave it: what it used, and what it said. The twin of `relay.EventRelay`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.request import Said
from gateway.wire import lenient
from gateway.wire.answer import FirstChoice
from gateway.wire.chat.output import spoken
from gateway.wire.chat.read import message_of
from gateway.wire.usage import found_in


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that is all here. Its bytes are passed on as they came."""

    body: bytes
    fields: Mapping[str, Any]

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The usage that it states, wherever that is put."""
        return found_in(self.fields)

    usage_is_early = False  # as those of `EventRelay`: what is all here is complete
    finished = True

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""
        tier = self.fields.get("service_tier")
        return tier if isinstance(tier, str) else None

    def said_bytes(self) -> int:
        """Return the size of all that the model said."""
        return len(self.seen_text().encode("utf-8", "surrogatepass"))

    def seen_text(self) -> str:
        """Join what the model said, for counting an answer that came without usage."""
        texts: list[str] = []
        for message in self._messages():
            # Some engines send their reasoning under both names.
            reasoning = message.get("reasoning_content") or message.get("reasoning")
            for said in (message.get("content"), message.get("refusal"), reasoning):
                texts += spoken(said)
            for calls in (message.get("tool_calls"), message.get("function_call")):
                texts += [lenient.write(calls).decode()] if calls else []
        return lenient.join_halves("\n".join(texts))

    def grown(self, tokens: int) -> int:
        """Scale a count of `seen_text` to all that was said: here that is all of it."""
        return tokens

    @property
    def heard_bytes(self) -> int:
        """The length of the answer."""
        return len(self.body)

    def said(self) -> Said:
        """Return what the model said. Total: what has an unexpected shape says nothing."""
        texts, arguments = [], []
        for message in self._messages():
            read = message_of(message)
            texts.append(read.text)
            arguments += [call.arguments for call in read.calls]
        return Said(tuple(filter(None, texts)), tuple(filter(None, arguments)))

    def first(self) -> FirstChoice:
        """Return the first of its answers."""
        choices = self.fields.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        text = message_of(message).text if isinstance(message, dict) else None
        return FirstChoice(text, choice.get("finish_reason"))

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        choices = self.fields.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                yield message
