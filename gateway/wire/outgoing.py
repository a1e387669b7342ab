"""What a deployment's requests hold beyond the client's. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.wire.foreign import Reception


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The form in which a deployment takes chats that are made of another shape's requests."""

    is_claude: bool = False
    """Whether litellm writes them for Claude: `thinking` and `top_k` go along, and media inside results."""
    takes_markers: bool = False
    """Whether `cache_control` is taken."""
    limit: str = "max_tokens"
    """The name of the answer limit."""
    most_answer: int | None = None
    """The longest answer that its model gives; one that asks for more would be refused."""


USUAL: Final = ChatForm()


@dataclass(frozen=True, slots=True)
class Additions:
    """Members that one deployment's requests hold beyond the client's, and those that they do not hold."""

    defaults: tuple[tuple[str, bytes], ...] = ()
    """Members, as JSON, where the client does not send them, or sends null."""
    left_out: frozenset[str] = frozenset()
    """Members that do not leave."""
    usage: bool = True
    """Whether a stream is asked for its usage event; otherwise the client does not ask for it either."""
    takes: Reception | None = None
    """The parts of other providers' answers that are taken; None for everything."""
    answer_limit: int | None = None
    """The answer limit, where neither the client nor `defaults` name one."""
    chats: ChatForm = USUAL


PLAIN = Additions()
