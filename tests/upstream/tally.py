"""This provider's books: every call it took, what it sent, what it charges for it. No clock, no network."""

from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.upstream.prices import PRICES

_KEEP_BYTES = 256 * 2**20


@dataclass(slots=True)
class Call:
    """One HTTP request as this provider saw it."""

    id: str
    model: str
    stream: bool
    asked_for_usage: bool
    end: str = "open"
    """open | answered | error | left (the caller went) | cut | reset | stalled"""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanousd: int = 0
    pieces_sent: int = 0
    stated: bool = False
    """Whether it told its caller what the answer costs in tokens."""
    open: bool = True
    """Whether the connection is still being served."""

    def bill(self, prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0) -> None:
        """Charge for the answer, or for the part of it that was sent."""
        self.prompt_tokens, self.completion_tokens = prompt, completion
        self.cached_tokens, self.reasoning_tokens = cached, reasoning
        self.cost_nanousd = PRICES[self.model].cost(prompt, cached, completion)


@dataclass(slots=True)
class Received:
    """The bytes and headers of one call as they came."""

    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Tally:
    """All calls by the id their client gave them, and the newest bodies up to a bound in bytes."""

    calls: dict[str, list[Call]] = field(default_factory=dict)
    received: OrderedDict[str, list[Received]] = field(default_factory=OrderedDict)
    kept_bytes: int = 0
    nameless: int = 0

    def enter(self, call: Call, received: Received) -> None:
        """Enter a call when it comes; one without an id gets a number."""
        if not call.id:
            self.nameless += 1
            call.id = f"nameless-{self.nameless}"
        self.calls.setdefault(call.id, []).append(call)
        self.received.setdefault(call.id, []).append(received)
        self.kept_bytes += len(received.body)
        while self.kept_bytes > _KEEP_BYTES and len(self.received) > 1:
            _, oldest = self.received.popitem(last=False)
            self.kept_bytes -= sum(len(one.body) for one in oldest)

    def summary(self, ids: list[str] | None, *, rows: bool) -> dict[str, Any]:
        """The books as JSON: of these ids, or of all."""
        chosen = self.calls if ids is None else {name: self.calls[name] for name in ids if name in self.calls}
        calls = [call for of_one in chosen.values() for call in of_one]
        answer: dict[str, Any] = {
            "requests": len(chosen),
            "calls": len(calls),
            "open": sum(call.open for call in calls),
            "cost_nanousd": sum(call.cost_nanousd for call in calls),
            "prompt_tokens": sum(call.prompt_tokens for call in calls),
            "completion_tokens": sum(call.completion_tokens for call in calls),
        }
        if rows:
            answer["rows"] = {name: [asdict(call) for call in of_one] for name, of_one in chosen.items()}
        return answer
