"""A stream of a message's events on its way through: relayed byte for byte, and read only where it matters. Pure.

Usage stands in two events: `message_start` says what was read, `message_delta` what there is in the end. The last event
is `message_stop` (platform.claude.com/docs/en/build-with-claude/streaming).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

from gateway.wire.chat.relay import PACK_BYTES, EventRelay
from gateway.wire.failures import error_in, named_error
from gateway.wire.messages.answer import tier_in
from gateway.wire.messages.composing import STOP, merged_usage
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.sse import events, events_with, fields_of

_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "text_delta": ("text", "content"),
    "thinking_delta": ("thinking", "reasoning_content"),
}
"""By the type of a delta: the member of it in which a model speaks, and the one of a chat's delta that is."""
_METRICS: Final = (
    ("input_tokens", "inputTokenCount"),
    ("output_tokens", "outputTokenCount"),
    ("cache_read_input_tokens", "cacheReadInputTokenCount"),
    ("cache_creation_input_tokens", "cacheWriteInputTokenCount"),
)
"""Members of usage, and their names in what Bedrock adds to the last event: input is what was neither read from its
cache nor written to it (litellm's bedrock/messages/…/anthropic_claude3_transformation.py, `_chunk_parser`)."""
_READ: Final = (b'"usage"', b"message_stop", b"error")


class MessageRelay(EventRelay):
    """One stream of a message's events."""

    __slots__ = ("_ended",)

    def __init__(self, secrets: Secrets = NO_SECRETS) -> None:
        """Begin. `secrets` are taken out of every event that may be an error."""
        super().__init__(hold_back_usage=False, secrets=secrets)
        self._ended = False

    def ending(self, rest: bytes) -> bytes:
        """Return the last event, for a complete answer that came without it."""
        return STOP if not rest or rest.endswith(b"\n\n") else b"\n\n" + STOP

    def is_over(self) -> bool:
        """Tell whether nothing more is awaited: the last event came, or an error."""
        return self.done or self.error is not None

    @property
    def finished(self) -> bool:
        """Whether the answer is complete: the reason why it stopped was seen, or the last event."""
        return self.done or self._ended

    def _pass(self, block: bytes) -> bytes:
        may_fail = block.find(b"error") >= 0
        if may_fail:
            block = self._secrets.out_of(block)
        for one in events_with(block, _READ):
            if (fields := fields_of(one)) is not None:
                self._look(fields)
        self._kept.append(block)
        self._kept_bytes += len(block)
        self._unread_bytes += len(block)
        if self._kept_bytes > PACK_BYTES:
            self._pack()
        return block

    def _look(self, fields: Mapping[str, Any]) -> None:
        """Take in an event that may matter."""
        match fields.get("type"):
            case "message_start" if isinstance(message := fields.get("message"), dict):
                self._note_usage(message.get("usage"), is_early=True)
            case "message_delta":
                self._note_usage(fields.get("usage"), is_early=False)
                delta = fields.get("delta")
                self._ended = self._ended or (isinstance(delta, dict) and bool(delta.get("stop_reason")))
            case "message_stop":
                self.done = True
                self._note_metrics(fields.get("amazon-bedrock-invocationMetrics"))
            case "error":
                self.error, self.error_is_shown = error_in(fields) or named_error(fields), True
            case None if fields.get("error"):
                self.error, self.error_is_shown = error_in(fields), False

    def _note_usage(self, usage: object, *, is_early: bool) -> None:
        if isinstance(usage, dict):
            self.usage, self.usage_is_early = merged_usage(self.usage, usage), is_early
            self.service_tier = self.service_tier or tier_in(self.usage)

    def _note_metrics(self, metrics: object) -> None:
        """Take in of Bedrock's own figures the cached tokens that no usage stated."""
        if isinstance(metrics, dict):
            stated = self.usage or {}
            more = {name: metrics[theirs] for name, theirs in _METRICS if theirs in metrics and name not in stated}
            self._note_usage({**stated, **more}, is_early=False)

    def _read_kept(self) -> None:
        """Reduce the bytes relayed so far to their text."""
        for block in chain(map(zlib.decompress, self._packed), self._kept):
            for whole in events(block):
                if (fields := fields_of(whole)) is not None:
                    self._hear(fields)
        self._kept, self._packed = [], []
        self._read_bytes += self._unread_bytes
        self._kept_bytes = self._packed_bytes = self._unread_bytes = 0

    def _hear(self, fields: Mapping[str, Any]) -> None:
        match fields:
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": str(said)}}:
                call = {"index": fields.get("index"), "function": {"arguments": said}}
                self._transcript.read([{"index": 0, "delta": {"tool_calls": [call]}}])
            case {"type": "content_block_start", "content_block": {"type": "tool_use", "name": str(name)}}:
                call = {"index": fields.get("index"), "function": {"name": name}}
                self._transcript.read([{"index": 0, "delta": {"tool_calls": [call]}}])
            case {"type": "content_block_delta", "delta": {"type": str(kind), **delta}} if kind in _TEXTS:
                member, chats = _TEXTS[kind]
                self._transcript.read([{"index": 0, "delta": {chats: delta.get(member)}}])
