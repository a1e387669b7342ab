"""What a request tells this provider to do, as a value. Pure.

The client writes it into the newest message that may not be touched, as `<<{"id": "a1", "hold": 3}>>`, or as JSON text
in `metadata.script`; a request without one is answered plainly.
"""

import json
import re
from dataclasses import dataclass, fields
from typing import Any

from tests.upstream.counting import content_text

_MARK = re.compile(r"<<(\{.*?\})>>", re.DOTALL)
_WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "juniper", "knoll", "lagoon")


@dataclass(frozen=True, slots=True)
class Script:
    """One instruction; every field left out means the ordinary thing."""

    id: str = ""
    text: str | None = None
    words: int = 6
    """How long the answer is where `text` does not say it."""
    calls: tuple[tuple[str, str], ...] = ()
    """Tool calls to answer with: (name, arguments)."""
    chunks: int = 3
    """In how many pieces a streamed answer comes."""
    delay: float = 0.0
    """Seconds before the first byte."""
    pause: float = 0.0
    """Seconds between two pieces."""
    stall: bool = False
    """Take the request and never say anything."""
    stall_after: int | None = None
    """Say nothing more after this many pieces, but keep the connection."""
    hold: int | None = None
    """Send this many pieces, then wait for the client to leave, and bill what was sent."""
    cut: int | None = None
    """End the connection properly (FIN) after this many pieces, without the end of the body."""
    reset: int | None = None
    """Reset the connection (RST) after this many pieces; 0 = before any answer."""
    garbage: bool = False
    """Answer 200 with bytes that are no JSON."""
    error_event: int | None = None
    """After this many pieces send an error event and end the stream."""
    status: int = 200
    code: str | None = None
    retry_after: str | None = None
    fails: int | None = None
    """Only the first so many calls with this id end in `status`; the next is answered."""
    window: int | None = None
    """A prompt that counts more is refused as OpenAI does."""
    scale: float = 1.0
    """How this provider's count differs from o200k."""
    prompt: int | None = None
    """Prompt tokens to report instead of counting."""
    cached: int = 0
    reasoning: int = 0
    usage: bool = True
    """Whether to report usage at all."""
    linebreak: str = "\n"
    """What ends a line of the stream."""

    @property
    def answer(self) -> str:
        """The text of the answer."""
        if self.text is not None:
            return self.text
        return " ".join(_WORDS[(len(self.id) + at) % len(_WORDS)] for at in range(self.words))

    def pieces(self) -> list[str]:
        """The text of the answer cut into `chunks` pieces of whole characters, none of them lost."""
        text, size = self.answer, max(1, -(-len(self.answer) // max(1, self.chunks)))
        return [text[at : at + size] for at in range(0, len(text), size)]


_NAMES = {field.name for field in fields(Script)}


def mark(**instruction: Any) -> str:
    """Write an instruction as the text that `read` finds again."""
    unknown = instruction.keys() - _NAMES
    if unknown:
        raise ValueError(f"no such instruction: {', '.join(sorted(unknown))}")
    return f"<<{json.dumps(instruction)}>>"


def read(body: dict[str, Any]) -> Script:
    """Find the instruction of a request; raises ValueError or TypeError where it makes no sense."""
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    values: dict[str, Any] = {}
    if isinstance(metadata.get("script"), str):
        values = json.loads(metadata["script"])
    else:
        for message in reversed(body["messages"]):
            found = _MARK.findall(content_text(message))
            if found:
                values = json.loads(found[-1])
                break
    values = {name: value for name, value in values.items() if name in _NAMES}
    if isinstance(metadata.get("id"), str):
        values.setdefault("id", metadata["id"])
    if "calls" in values:
        values["calls"] = tuple((str(name), str(arguments)) for name, arguments in values["calls"])
    return Script(**values)
