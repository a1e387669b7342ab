"""A stream of a response's events on its way through: relayed byte for byte, and read only where it matters. Pure.

An event is `event: TYPE` and `data: {"type": TYPE, "sequence_number": n, …}`; the last one holds the whole response,
its usage included (https://platform.openai.com/docs/api-reference/responses-streaming). There is no marker behind it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

from gateway.wire.chat.relay import EventRelay
from gateway.wire.failures import error_in, named_error
from gateway.wire.responses.answer import ids_in
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.sse import events, events_with, fields_of
from gateway.wire.usage import found_in

ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
"""Types of events that end a stream, and hold the whole response."""
BEFORE_OUTPUT: Final = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive", "ping"})
"""Types of events that come before the model says anything."""
_DELTAS: Final[Mapping[str, str]] = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_content",
    "response.reasoning_summary_text.delta": "reasoning_content",
}
"""Types of events in which a model speaks, and the member of a chat's delta that is."""
_ARGUMENTS: Final = (
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
    "response.mcp_call_arguments.delta",
    "response.code_interpreter_call_code.delta",
)
_END: Final = re.compile(rb'"type": ?"(?:%b)"' % b"|".join(re.escape(name.encode()) for name in sorted(ENDS)))
_HEAD_BYTES: Final = 4096


class ResponseRelay(EventRelay):
    """One stream of a response's events."""

    __slots__ = ("_ends_long", "response", "stored")

    def __init__(self, secrets: Secrets = NO_SECRETS) -> None:
        """Begin. `secrets` are taken out of every event that may be an error."""
        super().__init__(hold_back_usage=False, secrets=secrets)
        self._ends_long = False
        self.response: Mapping[str, Any] | None = None
        """The whole response, once it has come."""
        self.stored: list[str] = []
        """The ids of the response and of its items, as far as they have come."""

    @property
    def is_under_way(self) -> bool:
        """False: its stream is heard to the end."""
        return False

    def ending(self, rest: bytes) -> bytes:
        """Return nothing: the last event is the end."""
        return b""

    def is_over(self) -> bool:
        """Tell whether nothing more is awaited: the last event came, or an error."""
        return self.done or self.error is not None

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self.done

    def _pass(self, block: bytes) -> bytes:
        may_fail = block.find(b"error") >= 0
        if may_fail:  # each event with a whole response in it, too: it has a member of that name
            block = self._secrets.out_of(block)
        for one in events_with(block, _READ):
            self._look(one)
        self._kept.append(block)
        self._kept_bytes += len(block)
        self._unread_bytes += len(block)
        if self._kept_bytes > _PACK_BYTES:
            self._pack()
        return block

    def _look(self, one: bytes) -> None:
        """Take in an event that may be the last."""
        fields = fields_of(one)
        if fields is None:
            return
        kind, response = fields.get("type"), fields.get("response")
        self._note_ids(response if isinstance(response, dict) else {"output": [fields.get("item")]})
        if isinstance(response, dict) and self.service_tier is None and kind in ENDS:
            tier = response.get("service_tier")
            self.service_tier = tier if isinstance(tier, str) else None
        if kind == "error" or (kind not in ENDS and fields.get("error")):
            self.error, self.error_is_shown, self.done = error_in(fields) or named_error(fields), True, True
        elif kind in ENDS and isinstance(response, dict):
            self.response, self.done = response, True
            self.usage = found_in({"usage": response.get("usage")})
            if kind == "response.failed":
                self.error = error_in({"error": response.get("error")}) or named_error({})
                self.error_is_shown = True

    def _note_ids(self, response: Mapping[str, Any]) -> None:
        self.stored += [one for one in ids_in(response) if one not in self.stored][:MOST_IDS]

    # --- an event that is too long to be held

    def _begin_long(self) -> bytes:
        head = super()._begin_long()
        self._ends_long = _END.search(head[:_HEAD_BYTES]) is not None
        return head

    def _read_long(self, long: Any) -> None:
        super()._read_long(long)
        self.done = self.done or self._ends_long

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
        kind, said = str(fields.get("type")), fields.get("delta")
        if not isinstance(said, str):
            return
        if kind in _DELTAS:
            self._transcript.read([{"index": 0, "delta": {_DELTAS[kind]: said}}])
        elif kind in _ARGUMENTS:
            call = {"index": fields.get("output_index"), "function": {"arguments": said}}
            self._transcript.read([{"index": 0, "delta": {"tool_calls": [call]}}])


_PACK_BYTES: Final = 24 * 1024
_READ: Final = (b'"usage"', b"error", b'"response.output_item.done"')
MOST_IDS: Final = 1_000
"""Ids of one event that are remembered."""
