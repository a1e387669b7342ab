"""What a provider clears of a conversation by itself, and what is left of it then. Pure.

Nobody counts exactly as the provider does. So it is believed to clear only where our count is clearly past the
threshold, and as little as it may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gateway.conversation import Conversation, Message
from gateway.request import Clearing

SURE: Final = 1.05
"""By so much a threshold must be passed, in our count, before it counts as passed."""
PLACEHOLDER: Final = "[The result of this call was cleared by the provider.]"
"""Stands for what the provider puts there; its own words are not documented."""

Size = Callable[[Message], int]


def cleared(messages: Sequence[Message], clearing: Clearing, size: Size, beside: int) -> frozenset[int]:
    """Return the results that the provider clears, by index. `beside`: tokens of what is no message."""
    if not _is_due(messages, clearing, size, beside):
        return frozenset()
    named: Mapping[str, str] = {call.id: call.name for message in messages for call in message.calls}
    results = [
        index
        for index, message in enumerate(messages)
        if message.is_result and named.get(message.call_id or "", "") not in clearing.excluded
    ]
    going = results[: len(results) - clearing.keep] if clearing.keep else results
    if sum(max(0, size(messages[index]) - size(as_cleared(messages[index]))) for index in going) < (
        clearing.at_least * SURE
    ):
        return frozenset()
    return frozenset(going)


def _is_due(messages: Sequence[Message], clearing: Clearing, size: Size, beside: int) -> bool:
    if clearing.by_uses:
        return sum(len(message.calls) for message in messages) > clearing.threshold
    return beside + sum(map(size, messages)) > clearing.threshold * SURE


def comes_first(messages: Sequence[Message], clearing: Clearing, size: Size, beside: int, budget: int) -> bool:
    """Whether the provider begins to clear before the conversation outgrows a budget.

    Where it does not, the conversation was folded before, and never grows to the provider's threshold.
    """
    if not clearing.by_uses:
        return clearing.threshold * SURE <= budget
    total, uses = beside, 0
    for message in messages:
        total, uses = total + size(message), uses + len(message.calls)
        if uses > clearing.threshold:
            return total <= budget
    return True


def as_cleared(message: Message) -> Message:
    """Return a result as the model reads it once it was cleared."""
    return replace(message, text=PLACEHOLDER, parts=(), media=(), content="text")


def with_cleared(conversation: Conversation, gone: frozenset[int]) -> Conversation:
    """Return a conversation with the text of some results cleared."""
    messages = [as_cleared(one) if index in gone else one for index, one in enumerate(conversation.messages)]
    return replace(conversation, messages=tuple(messages))
