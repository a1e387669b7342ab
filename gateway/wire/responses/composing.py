"""A response written event by event, in the order in which OpenAI does it. Pure.

Source of the order: https://platform.openai.com/docs/api-reference/responses-streaming, and the types of the installed
`openai`. What the model says comes as deltas of an item that is open; an item is closed before the next one is opened,
but for calls whose arguments are not complete, since some engines write several at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from gateway.wire import lenient

ItemKind = Literal["message", "reasoning", "function_call", "custom_tool_call"]

_DELTA_OF: Final[Mapping[str, tuple[str, str]]] = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}
"""The events in which a call is written, and the member that holds it."""


def written_event(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Write an event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), lenient.write({"type": kind, **fields}))


class Composer:
    """One response that is being written."""

    __slots__ = ("_at", "_head", "_number", "_open", "_parts", "output", "whole")

    def __init__(self, head: Mapping[str, Any]) -> None:
        """Begin with the members of the response, its output and usage aside."""
        self._head = head
        self._number = 0
        self._open: dict[object, dict[str, Any]] = {}
        self._at: dict[object, int] = {}
        self._parts: dict[object, str] = {}
        self.output: list[dict[str, Any]] = []
        self.whole: dict[str, Any] = {}
        """The response, once it is over."""

    def event(self, kind: str, **fields: Any) -> bytes:
        """Write the next event."""
        number, self._number = self._number, self._number + 1
        return written_event(kind, {"sequence_number": number, **fields})

    def begin(self) -> bytes:
        """Write the first two events."""
        under_way = {**self._head, "status": "in_progress", "output": [], "usage": None}
        return self.event("response.created", response=under_way) + self.event(
            "response.in_progress", response=under_way
        )

    def open(self, key: object, item: dict[str, Any]) -> bytes:
        """Open an item; those that are complete are closed before."""
        out = self.close_complete()
        self._open[key], self._at[key] = item, len(self.output)
        self.output.append(item)
        return out + self.event("response.output_item.added", output_index=self._at[key], item=dict(item))

    def amend(self, key: object, members: Mapping[str, Any]) -> None:
        """Give an item that is open more members."""
        self._open[key].update(members)

    def is_open(self, key: object) -> bool:
        """Whether an item is open."""
        return key in self._open

    def say(self, key: object, part: Literal["output_text", "refusal"], delta: str) -> bytes:
        """Write a piece of a message."""
        item, at, out = self._open[key], self._at[key], b""
        if self._parts.get(key) != part:
            out += self._close_part(key)
            begun: dict[str, Any] = {"type": part, "text": "", "annotations": [], "logprobs": []}
            begun = begun if part == "output_text" else {"type": part, "refusal": ""}
            item["content"].append(begun)
            self._parts[key] = part
            place = {"item_id": item["id"], "output_index": at, "content_index": len(item["content"]) - 1}
            out += self.event("response.content_part.added", **place, part=dict(begun))
        place = {"item_id": item["id"], "output_index": at, "content_index": len(item["content"]) - 1}
        last = item["content"][-1]
        last["text" if part == "output_text" else "refusal"] += delta
        more: dict[str, Any] = {"logprobs": []} if part == "output_text" else {}
        return out + self.event(f"response.{part}.delta", **place, delta=delta, **more)

    def think(self, key: object, delta: str) -> bytes:
        """Write a piece of reasoning, as a summary."""
        item, out = self._open[key], b""
        place = {"item_id": item["id"], "output_index": self._at[key], "summary_index": 0}
        if not item["summary"]:
            item["summary"].append({"type": "summary_text", "text": ""})
            out = self.event("response.reasoning_summary_part.added", **place, part=dict(item["summary"][0]))
        item["summary"][0]["text"] += delta
        return out + self.event("response.reasoning_summary_text.delta", **place, delta=delta)

    def call(self, key: object, delta: str) -> bytes:
        """Write a piece of the arguments of a call."""
        item = self._open[key]
        events, member = _DELTA_OF[item["type"]]
        item[member] += delta
        return self.event(f"{events}.delta", item_id=item["id"], output_index=self._at[key], delta=delta)

    def close_complete(self) -> bytes:
        """Close what is open, but for calls whose arguments are not complete."""
        complete = [key for key, item in self._open.items() if _is_complete(item)]
        return b"".join([self.close(key) for key in complete])

    def close_all(self, status: str = "completed") -> bytes:
        """Close whatever is open."""
        return b"".join([self.close(key, status) for key in list(self._open)])

    def close(self, key: object, status: str = "completed") -> bytes:
        """Close an item."""
        item, at = self._open[key], self._at[key]
        place, out = {"item_id": item["id"], "output_index": at}, b""
        if item["type"] == "message":
            out = self._close_part(key)
        elif item["type"] == "reasoning" and item["summary"]:
            text = item["summary"][0]["text"]
            out = self.event("response.reasoning_summary_text.done", **place, summary_index=0, text=text)
            part = dict(item["summary"][0])
            out += self.event("response.reasoning_summary_part.done", **place, summary_index=0, part=part)
        elif item["type"] in _DELTA_OF:
            events, member = _DELTA_OF[item["type"]]
            named = {"name": item["name"]} if item["type"] == "function_call" else {}
            out = self.event(f"{events}.done", **place, **named, **{member: item[member]})
        if "status" in item:
            item["status"] = status
        del self._open[key]
        return out + self.event("response.output_item.done", output_index=at, item=item)

    def _close_part(self, key: object) -> bytes:
        """Write that a part of a message is over."""
        part = self._parts.pop(key, None)
        if part is None:
            return b""
        item = self._open[key]
        place = {"item_id": item["id"], "output_index": self._at[key], "content_index": len(item["content"]) - 1}
        last = dict(item["content"][-1])
        member = "text" if part == "output_text" else "refusal"
        more: dict[str, Any] = {"logprobs": []} if part == "output_text" else {}
        out = self.event(f"response.{part}.done", **place, **{member: last[member]}, **more)
        return out + self.event("response.content_part.done", **place, part=last)

    def end(self, ended: Mapping[str, Any]) -> bytes:
        """Write the last event: the response as it is now, with these members."""
        self.whole = {**self._head, "output": self.output, **ended}
        return self.event(f"response.{self.whole['status']}", response=self.whole)


def _is_complete(item: Mapping[str, Any]) -> bool:
    if item["type"] == "custom_tool_call":
        return bool(item["input"])
    if item["type"] != "function_call":
        return True
    return isinstance(lenient.read(item["arguments"].encode()), dict)


def as_events(whole: Mapping[str, Any]) -> bytes:
    """Write a whole response as the events of a stream."""
    head = {name: held for name, held in whole.items() if name not in ("output", "usage", "status")}
    composer = Composer(head)
    out = [composer.begin()]
    for number, item in enumerate(whole.get("output") or ()):
        if isinstance(item, dict):
            out.append(_played(composer, number, item))
    status = whole.get("status")
    ended = status if status in ("completed", "incomplete", "failed") else "completed"
    composer.output = list(whole.get("output") or ())
    out.append(composer.end({"status": ended, "usage": whole.get("usage")}))
    return b"".join(out)


def _played(composer: Composer, number: int, item: Mapping[str, Any]) -> bytes:
    """Write the events of one item that is all here."""
    kind = str(item.get("type"))
    own = {**item, "status": "in_progress"} if "status" in item else dict(item)
    parts = [part for part in item.get("content") or () if isinstance(part, dict)]
    if kind == "message":
        out = composer.open(number, {**own, "content": []})
        for part in parts:
            for name, member in (("output_text", "text"), ("refusal", "refusal")):
                if part.get("type") == name and isinstance(part.get(member), str):
                    out += composer.say(number, name, part[member])  # type: ignore[arg-type]  # one of the two
    elif kind in _DELTA_OF and isinstance(item.get(_DELTA_OF[kind][1]), str):
        out = composer.open(number, {**own, _DELTA_OF[kind][1]: ""})
        out += composer.call(number, item[_DELTA_OF[kind][1]])
    else:
        composer.output.append(own)
        at = len(composer.output) - 1
        added = composer.event("response.output_item.added", output_index=at, item=own)
        return added + composer.event("response.output_item.done", output_index=at, item=dict(item))
    return out + composer.close(number, str(item.get("status") or "completed"))
