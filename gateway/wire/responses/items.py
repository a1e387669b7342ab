"""The items of a Responses request as messages. Pure and total: an item that nobody knows rides along.

An item is one message. A call and its output are told by `call_id`; what a provider's own tool did (a search, a
picture, an MCP call) is one item of both, and is counted as it stands. Source of the shapes:
https://platform.openai.com/docs/api-reference/responses/create, and the types of the installed `openai`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.conversation import Call, Media, Message, joined_text
from gateway.wire.chat.cache_marks import is_marked, markers_of
from gateway.wire.responses.parts import media_in, text_of

CALLS: Final[Mapping[str, str]] = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "computer_call": "action",
    "tool_search_call": "arguments",
    "mcp_approval_request": "arguments",
    "program": "code",
}
"""Types of items that call, and the member that says with what."""
RESULTS: Final = frozenset({f"{name}_output" for name in CALLS} | {"mcp_approval_response"})
"""Types of items that answer a call."""
HARMLESS: Final = ("web_search", "web_search_preview", "image_generation", "tool_search")
"""Types of the provider's tools that a model does without: nothing that is asked for depends on them."""
UNSEEN: Final = "item_reference"
"""The type of an item that only names another, which the provider holds."""
OURS: Final = "gateway:"
"""Before the encrypted reasoning of an answer that was translated: the thinking of a model of another wire."""
_OURS_TRACE: Final = ("ours",)

_NO_MESSAGE: Final = (Media("other", ""),)


def item_kind(item: Mapping[str, Any]) -> str:
    """Return the type of an item; one without a type, and with a role, is a message."""
    kind = item.get("type")
    return kind if isinstance(kind, str) and kind else "message"


def item_message(item: Mapping[str, Any]) -> Message:
    """Read one item."""
    kind = item_kind(item)
    if kind == "message" and "role" in item:
        return _said(item)
    if kind == "reasoning":
        is_ours = str(item.get("encrypted_content") or "").startswith(OURS)
        trace = _OURS_TRACE if is_ours else ()
        return Message("assistant", content="null", reasons=True, speaks_otherwise=True, foreign=trace)
    if kind == "compaction":  # it stands for all that came before it
        return Message("developer", content="other", speaks_otherwise=True)
    call_id = _call_id(item, kind)
    if kind in CALLS and call_id:
        call = Call(call_id, _name(item, kind), _written(item.get(CALLS[kind])))
        return Message("assistant", calls=(call,), content="null")
    if kind in RESULTS and call_id:
        return _result(item, call_id)
    return Message("assistant", media=(_whole(item),), content="other", speaks_otherwise=True)


def _call_id(item: Mapping[str, Any], kind: str) -> str:
    """Return the id by which a call and its result are told to belong together."""
    named = {"mcp_approval_request": "id", "mcp_approval_response": "approval_request_id"}
    found = item.get(named.get(kind, "call_id"))
    if not found and kind == "local_shell_call_output":
        found = item.get("id")
    return found if isinstance(found, str) else ""


def _name(item: Mapping[str, Any], kind: str) -> str:
    name, space = item.get("name"), item.get("namespace")
    named = name if isinstance(name, str) and name else kind.removesuffix("_call")
    return f"{space}.{named}" if isinstance(space, str) and space else named


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode() if value is not None else ""


def _said(item: Mapping[str, Any]) -> Message:
    """Read a message: of the system, the user or the model."""
    role, content = item.get("role"), item.get("content")
    text, shape, parts, media, refuses = _content(content, "content" in item)
    return Message(
        role=role if isinstance(role, str) else "",
        text=text,
        parts=parts,
        media=media,
        content=shape,  # type: ignore[arg-type]  # one of the literals of `Message.content`
        speaks_otherwise=refuses,
        markers=markers_of(item) if is_marked(item) else (),
    )


def _result(item: Mapping[str, Any], call_id: str) -> Message:
    """Read the result of a call: a text, parts, or what only the provider reads."""
    output = item.get("output")
    text, shape, parts, media, _ = _content(output, is_there=True)
    if shape in ("null", "other") and not isinstance(output, list):
        text, shape = "", "other"  # a screenshot, or an approval
        media = (_whole(output),) if isinstance(output, dict) else ()
    elif shape == "other" and isinstance(output, list):
        text = text or joined_text(_printed(part) for part in output)
    is_list = isinstance(output, list)
    marked = {"role": "tool", "content": output}
    markers = markers_of(marked) if is_list and is_marked(marked) else ()
    return Message(
        "tool",
        text,
        call_id=call_id,
        parts=parts,
        media=media,
        content=shape,  # type: ignore[arg-type]  # one of the literals of `Message.content`
        markers=markers,
    )


def _printed(part: Any) -> str:
    """Return what a command of a shell printed."""
    fields = part if isinstance(part, dict) else {}
    return "".join([text for name in ("stdout", "stderr") if isinstance(text := fields.get(name), str)])


def _content(content: Any, is_there: bool) -> tuple[str, str, tuple[str | None, ...], tuple[Media, ...], bool]:
    """Read a content: its text and shape, its parts, its media, and whether it refuses."""
    if isinstance(content, str):
        return content, "text", (), (), False
    if not isinstance(content, list):
        return "", "null" if content is None and is_there else "missing" if content is None else "other", (), (), False
    parts = tuple([text_of(part) if isinstance(part, dict) else None for part in content])
    media = tuple([one for number, part in enumerate(content) if (one := media_in(part, number)) is not None])
    known = sum([isinstance(part, dict) and isinstance(part.get("text"), str) for part in content])
    known += sum([not one.is_foreign for one in media])
    refuses = any(isinstance(part, dict) and part.get("type") == "refusal" for part in content)
    return joined_text(parts), "parts" if known == len(content) else "other", parts, media, refuses


def _whole(item: Mapping[str, Any]) -> Media:
    """Count an item, or what stands in it, by all that it is; a picture as a picture."""
    kind = item_kind(item)
    data = item.get("result") if kind == "image_generation_call" else item.get("image_url")
    if isinstance(data, str) and data:
        return Media("image", data, is_foreign=True)
    return Media("other", orjson.dumps(item).decode(), is_foreign=True)


# ---------------------------------------------------------------- what goes together


def joined_marks(messages: Sequence[Message]) -> list[bool]:
    """Tell of each message whether it can only go together with the one before it.

    Reasoning stays with the item behind it ("reasoning … was provided without its required following item",
    github.com/openai/openai-python/issues/2561); a call, with the words before it and with all up to its output.
    """
    answers = _answers(messages)
    marks: list[bool] = []
    reach, reasons, is_assistants = -1, False, False
    for index, message in enumerate(messages):
        calls = message.calls
        if message.call_id is not None:
            marks.append(False)
        else:
            marks.append(index <= reach or reasons or (calls != () and is_assistants))
        if calls and (end := answers.get(index, -1)) > reach:
            reach = end
        reasons, is_assistants = message.reasons, message.role == "assistant"
    return marks


def _answers(messages: Sequence[Message]) -> dict[int, int]:
    """Give each message that calls the place of the last result that answers it; ids may come again later."""
    open_calls: dict[str, int] = {}
    found: dict[int, int] = {}
    for index, message in enumerate(messages):
        if message.calls:
            for call in message.calls:
                open_calls[call.id] = index
        elif message.call_id is not None and (caller := open_calls.pop(message.call_id, None)) is not None:
            found[caller] = index
    return found


def both(message: Message) -> tuple[Message, Message]:
    """Return a message by itself, and as one that is joined to the message before it."""
    return message, message if message.is_result else replace(message, joined=True)
