"""Errors in a stream of a response, so that each program hears of them: OpenAI's SDKs raise at the event `error`, and
Codex looks for `response.failed`. Pure.
"""

from __future__ import annotations

from gateway.wire.errors import GatewayError
from gateway.wire.responses.composing import written_event


def error_events(error: GatewayError, request_id: str) -> bytes:
    """Write the events that tell of a failure after the first byte."""
    told = error.fields(request_id)
    code = told.get("code") or told.get("type")
    failed = {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": 0,
        "status": "failed",
        "error": {"code": "server_error" if error.status >= 500 else code, "message": told["message"]},
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    return written_event("response.failed", {"sequence_number": 0, "response": failed}) + written_event(
        "error",
        {"sequence_number": 1, "code": code, "message": told["message"], "param": told.get("param"), "error": told},
    )
