"""Paths of OpenAI's and Anthropic's APIs that are known and not served, and what to set instead. Pure.

A 404 or 501 makes programs try again, or blame the model's name; a 400 that names the remedy is read by somebody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.wire.errors import NOT_AGAIN, GatewayError, printable
from gateway.wire.messages.errors import write_body

PREFIXES: Final = ("/openai/v1", "/openai", "/v1", "")
"""The beginnings under which each path is served; the first two are Azure's."""

_CHAT: Final = "ask for chat completions, POST /v1/chat/completions"
_DIRECTLY: Final = "ask the provider itself, with a key of its own"

_REMEDIES: Final[Mapping[str, str]] = {
    # platform.openai.com/docs/api-reference
    "responses": "send the whole conversation to POST /v1/responses: it is made to fit as the policy says",
    "conversations": "send the whole conversation with each request, or have a model that OpenAI serves",
    "assistants": f"{_CHAT}, and send the conversation with each request",
    "threads": f"{_CHAT}, and send the conversation with each request",
    "realtime": f"{_CHAT}; sound is not served",
    "audio": _DIRECTLY,
    "images": _DIRECTLY,
    "videos": _DIRECTLY,
    "files": f"{_DIRECTLY}; text, images and documents may stand inside a chat's messages",
    "uploads": f"{_DIRECTLY}; text, images and documents may stand inside a chat's messages",
    "batches": f"send the requests one by one, or {_DIRECTLY}",
    "vector_stores": "search in a store of your own, with vectors of POST /v1/embeddings",
    "fine_tuning": _DIRECTLY,
    "evals": _DIRECTLY,
    "containers": _DIRECTLY,
    "edits": f"{_CHAT}; the provider has ended it",
    "engines": "name the model in the body, not in the path: POST /v1/completions or /v1/embeddings",
    # docs.anthropic.com/en/api
    "messages": f"send the requests one by one, POST /v1/messages, or {_DIRECTLY}",
    "complete": "ask for messages, POST /v1/messages; the provider has ended it",
}
"""By the first part of the path, without its prefix."""

_ANTHROPICS: Final = frozenset({"messages", "complete"})
_OVER_WEBSOCKETS: Final = frozenset({"responses", "realtime"})


class AnthropicError(GatewayError):
    """An error in the shape of Anthropic's API."""

    def body(self, request_id: str) -> bytes:
        return write_body(self, request_id)


def unserved(path: str, method: str, upgrade: str = "") -> GatewayError | None:
    """Return the error for a path that is known and not served; None for one that nobody knows.

    `upgrade` is the request's header of that name. An upgrade to a WebSocket is refused with 426, at which clients that
    can speak plain HTTP do so at once (Codex; 404 and 405 cost it five attempts).
    """
    name = _family(path)
    remedy = _REMEDIES.get(name)
    if remedy is None:
        return None
    if (refused := upgrade_refused(path, upgrade)) is not None:
        return refused
    told = f"{printable(method)} {printable(path, 200)} is not served by this gateway. Instead, {remedy}."
    shape = AnthropicError if name in _ANTHROPICS else GatewayError
    return shape(400, "invalid_request_error", told, code="path_not_served", headers=NOT_AGAIN)


def compaction_not_served(model: str) -> GatewayError:
    """Refuse to have a conversation compacted by a model none of whose deployments is asked in Responses."""
    told = (
        f"The model `{printable(model)}` is asked for chats here, which have no compaction. Instead, "
        f"{_REMEDIES['responses']}. A model whose provider speaks Responses compacts; for a server of your own the "
        "operator can say `speaks: [responses]` in its `model_info`."
    )
    return GatewayError(400, "invalid_request_error", told, code="path_not_served", param="model", headers=NOT_AGAIN)


def upgrade_refused(path: str, upgrade: str) -> GatewayError | None:
    """Return the error for an upgrade to a WebSocket where programs try one; None for anything else."""
    if upgrade.strip().lower() != "websocket" or _family(path) not in _OVER_WEBSOCKETS:
        return None
    told = "WebSockets are not spoken here: send the same request as a POST over HTTP."
    return GatewayError(426, "invalid_request_error", told, code="upgrade_required", headers={"upgrade": "HTTP/1.1"})


def _family(path: str) -> str:
    """Return the first part of a path behind its prefix, and of Azure's addresses behind the deployment."""
    for prefix in PREFIXES:
        if path.startswith(f"{prefix}/"):
            parts = path[len(prefix) + 1 :].split("/", 3)
            return parts[2] if prefix == "/openai" and parts[0] == "deployments" and len(parts) > 2 else parts[0]
    return ""
