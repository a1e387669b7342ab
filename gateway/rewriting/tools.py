"""The selection of tool definitions, for policies that ask for it. Pure.

The selection must not move while a conversation goes on: definitions stand first in every provider's prompt cache. So a
definition is chosen by the task, which never changes, and by the calls in the conversation; a call can only be of a
tool that was sent, so that later calls add none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.conversation import Conversation
from gateway.request import Tool
from gateway.rewriting.documents.relevance import Corpus

REMEDY = "tools_selected"

_READ_CHARS = 2000
"""Of a definition's description."""
_TASK_CHARS = 20_000


def select(definitions: Sequence[Tool], task: str, called: Collection[str], most: int) -> tuple[int, ...]:
    """Choose the definitions that stay, by index, in their order.

    Those that are `called` stay, however many they are; up to `most` in all, the others that bear most on the task
    follow, by BM25 over name and description, the earlier first where two bear as much.
    """
    stays = {i for i, tool in enumerate(definitions) if tool.name is None or tool.stays or tool.name in called}
    room = most - len(stays)
    if room > 0:
        others = [i for i in range(len(definitions)) if i not in stays]
        passages = [f"{tool.name} {tool.description[:_READ_CHARS]}" for tool in definitions]
        scores = Corpus(passages).scores(task[:_TASK_CHARS]) if others else []
        stays.update(sorted(others, key=lambda i: (-scores[i], i))[:room])
    return tuple(sorted(stays))


def called(conversation: Conversation) -> frozenset[str]:
    """List the names of all tools that the conversation calls."""
    return frozenset(call.name for message in conversation.messages for call in message.calls)


def task(conversation: Conversation) -> str:
    """Return what users said up to the first answer to them."""
    said: list[str] = []
    for message in conversation.messages:
        if message.role == "user":
            said.append(message.text)
        elif message.role == "assistant" and said:
            break
    return "\n".join(said)
