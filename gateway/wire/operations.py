"""The operations that clients ask for, each under a path of its own. Pure.

Conversations are planned and may be rewritten, whatever shape they come in. The others are metered: they leave as they
came, and are routed, priced and entered in the ledger alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from gateway.config.litellm_keys import CHAT_MODES

Operation = Literal["chat", "responses", "messages", "embeddings", "completions", "moderations", "rerank", "compact"]

PATHS: Final[Mapping[Operation, str]] = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "messages": "/messages",
    "embeddings": "/embeddings",
    "completions": "/completions",
    "moderations": "/moderations",
    "rerank": "/rerank",
    "compact": "/responses/compact",
}
"""The end of each operation's path, at a provider's address and at ours."""

METERED: Final[tuple[Operation, ...]] = ("embeddings", "completions", "moderations", "rerank", "compact")

ALLOWED_AS: Final[Mapping[Operation, Operation]] = {"compact": "responses"}
"""Operations that a key may ask for where it may ask for another."""

_MODES: Final[Mapping[str, Operation]] = {
    **dict.fromkeys(CHAT_MODES, "chat"),
    "embedding": "embeddings",
    "moderation": "moderations",
    "rerank": "rerank",
}

MODES: Final[Mapping[Operation, str]] = {
    "chat": "chat",
    "responses": "chat",
    "messages": "chat",
    "embeddings": "embedding",
    "completions": "chat",
    "moderations": "moderation",
    "rerank": "rerank",
    "compact": "chat",
}
"""The mode that the configuration declares for models of an operation."""

NAMES: Final[Mapping[Operation, str]] = {
    "chat": "chat completions",
    "responses": "responses",
    "messages": "messages",
    "embeddings": "embeddings",
    "completions": "text completions",
    "moderations": "moderations",
    "rerank": "reranking",
    "compact": "the compaction of responses",
}
"""Each operation as a message names it."""


def operation_of(mode: str) -> Operation | None:
    """Return the operation that models of a mode of LiteLLM's price table serve; None for images, sound and the like.

    The modes: litellm's `model_prices_and_context_window.json`, its member `mode`.
    """
    return _MODES.get(mode)
