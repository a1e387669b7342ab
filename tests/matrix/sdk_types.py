"""Requests and answers held against the types of the providers' own SDKs: what each SDK would not write is a fault.

    python tests/matrix/sdk_types.py < LINES > FAULTS

It runs by itself in whatever environment has the SDK: a line in is `[form, direction, JSON, extras]`, a line out the
list of faults. `extras` are members that a provider's documentation adds to a type, by the type's name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions

Extras = Mapping[str, Sequence[str]]
Check = Callable[[Any, Extras], Iterator[str]]

MODULES = {
    "chat": "openai",
    "responses": "openai",
    "messages": "anthropic",
    "converse": "botocore",
    "generate_content": "google.genai",
    "mistral": "mistralai.client",
    "ollama": "ollama",
}
"""The SDK of each form."""


def is_here(form: str) -> bool:
    """Whether the SDK of a form is installed beside us."""
    try:
        return importlib.util.find_spec(MODULES[form]) is not None
    except ModuleNotFoundError:
        return False


# ---------------------------------------------------------------- dictionaries with types


def typed_faults(kind: Any, value: Any, extras: Extras, at: str = "") -> Iterator[str]:
    """Yield the places at which a value is not of a type: unknown members, missing ones, other values."""
    kind = _bare(kind)
    origin = _origin(kind)
    if kind is Any or kind is object or isinstance(kind, typing.TypeVar):
        return
    if origin in (Union, types.UnionType):
        yield from _union_faults(get_args(kind), value, extras, at)
    elif origin is Literal:
        if value not in get_args(kind):
            yield f"{at}: {value!r:.60} is none of {get_args(kind)}"
    elif typing.is_typeddict(kind) or typing_extensions.is_typeddict(kind):
        yield from _members_faults(kind, value, extras, at)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from _mapping_faults(get_args(kind)[-1], value, extras, at)
    elif isinstance(origin, type) and issubclass(origin, Iterable):
        yield from _list_faults(get_args(kind)[0], value, extras, at)
    elif not _is_plain(kind, value):
        yield f"{at}: {value!r:.60} is no {getattr(kind, '__name__', kind)}"


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _bare(kind: Any) -> Any:
    """Return a type without its name, its notes and whether it is required."""
    while True:
        origin = _origin(kind)
        if origin is Annotated or origin in _REQUIRED:
            kind = get_args(kind)[0]
        elif isinstance(kind, typing_extensions.TypeAliasType):
            kind = kind.__value__
        elif isinstance(origin, typing_extensions.TypeAliasType):
            kind = origin.__value__[get_args(kind)]
        else:
            return kind


_REQUIRED: tuple[Any, ...] = (
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
)


def _is_plain(kind: Any, value: Any) -> bool:
    if kind is type(None):
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind)


def _union_faults(kinds: Sequence[Any], value: Any, extras: Extras, at: str) -> Iterator[str]:
    """Yield the faults against the variant that comes closest: the one whose first fault lies deepest."""
    closest: list[str] = []
    for kind in kinds:
        found = list(typed_faults(kind, value, extras, at))
        if not found:
            return
        if not closest or _depth(found) > _depth(closest):
            closest = found
    yield from closest


def _depth(faults: Sequence[str]) -> tuple[bool, int]:
    """Say how far a variant went: one whose `type` or `role` is another was not meant."""
    where = faults[0].partition(": ")[0]
    return not where.endswith((".type", ".role")), where.count(".") + where.count("[")


def _members_faults(kind: Any, value: Any, extras: Extras, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: {value!r:.60} is no {kind.__name__}"
        return
    members = _members(kind)
    for name in ("type", "role"):  # first, since they say which variant is meant
        if name in members and name in value:
            wrong = list(typed_faults(members[name][0], value[name], extras, f"{at}.{name}"))
            if wrong:
                yield from wrong
                return
    yield from (f"{at}: {kind.__name__} wants {name}" for name, (_, is_due) in members.items()
                if is_due and name not in value)  # fmt: skip
    for name, held in value.items():
        if name in members:
            yield from typed_faults(members[name][0], held, extras, f"{at}.{name}")
        elif name not in extras.get(kind.__name__, ()):
            yield f"{at}.{name}: {kind.__name__} has no such member"


_WRITTEN_OTHERWISE = {("JSONSchemaTypedDict", "schema_definition"): "schema"}
"""Members that an SDK sends under another name than it has for them."""


@functools.cache
def _members(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the members of a dictionary's type, each with whether it must be there."""
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    due: dict[str, bool] = {}
    for one in reversed([kind, *_ancestors(kind)]):  # one that inherits lists the members of its ancestors too
        due = dict.fromkeys(one.__annotations__, one.__total__) | due
    found = {}
    for name, hint in hints.items():
        origin = _origin(hint)
        is_due = due.get(name, True)
        if origin in _REQUIRED:
            is_due = origin in (typing.Required, typing_extensions.Required)
        found[_WRITTEN_OTHERWISE.get((kind.__name__, name), name)] = hint, is_due
    return found


def _ancestors(kind: Any) -> Iterator[Any]:
    for base in getattr(kind, "__orig_bases__", ()):
        if typing.is_typeddict(base) or typing_extensions.is_typeddict(base):
            yield base
            yield from _ancestors(base)


def _mapping_faults(kind: Any, value: Any, extras: Extras, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: {value!r:.60} is no object"
        return
    for name, held in value.items():
        yield from typed_faults(kind, held, extras, f"{at}.{name}")


def _list_faults(kind: Any, value: Any, extras: Extras, at: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{at}: {value!r:.60} is no list"
        return
    for number, held in enumerate(value):
        yield from typed_faults(kind, held, extras, f"{at}[{number}]")


def _typed(module: str, plain: str, streaming: str) -> Check:
    def check(value: Any, extras: Extras) -> Iterator[str]:
        listed = importlib.import_module(module)
        streams = isinstance(value, dict) and value.get("stream") is True
        yield from typed_faults(getattr(listed, streaming if streams else plain), value, extras)

    return check


# ---------------------------------------------------------------- models of pydantic


def _modelled(module: str, name: str) -> Check:
    def check(value: Any, extras: Extras) -> Iterator[str]:
        if value.get("type") == "ping":  # docs.claude.com/en/api/messages-streaming: it may come anywhere
            return
        yield from model_faults(getattr(importlib.import_module(module), name), value)

    return check


def model_faults(kind: Any, value: Any) -> Iterator[str]:
    """Yield what pydantic says against a value; of a union, against the variant whose `type` it names."""
    variants = [one for one in get_args(_bare(kind)) if hasattr(one, "model_fields") and "type" in one.model_fields]
    if variants and isinstance(value, dict):
        named = [one for one in variants if value.get("type") in get_args(one.model_fields["type"].annotation)]
        if not named:
            yield f"type: {value.get('type')!r} is none that the SDK knows"
            return
        kind = functools.reduce(operator.or_, named)
    try:
        _adapter(kind).validate_json(json.dumps(value))
    except importlib.import_module("pydantic").ValidationError as error:
        for one in error.errors(include_url=False)[:5]:
            yield f"{'.'.join(map(str, one['loc']))}: {one['msg']}"


@functools.cache  # they take far longer to build than to use
def _adapter(kind: Any) -> Any:
    return importlib.import_module("pydantic").TypeAdapter(kind)


_GOOGLE = {
    "contents": "list[Content]",
    "systemInstruction": "Content",
    "tools": "list[Tool]",
    "toolConfig": "ToolConfig",
    "safetySettings": "list[SafetySetting]",
    "generationConfig": "GenerationConfig",
    "cachedContent": "str",
    "labels": "dict[str, str]",
}
"""ai.google.dev/api/generate-content: the members of a request, and the SDK's types for them."""


def _generate_content(value: Any, extras: Extras) -> Iterator[str]:
    listed = importlib.import_module("google.genai.types")
    for name, held in value.items():
        camel = name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:])
        if camel not in _GOOGLE:
            yield f".{name}: generateContent has no such member"
            continue
        written = _GOOGLE[camel]
        inner = written.removeprefix("list[").removesuffix("]") if written.startswith("list") else written
        kind: Any = getattr(listed, inner, None) or {"str": str}.get(inner, dict[str, str])
        kind = list[kind] if written.startswith("list") else kind
        yield from (f".{name}.{fault}" for fault in model_faults(kind, held))


def _ollama(value: Any, extras: Extras) -> Iterator[str]:
    """Hold a request against the SDK's model, and its members against the names in it."""
    request = importlib.import_module("ollama._types").ChatRequest
    yield from model_faults(request, _without_images(value))
    yield from (f".{name}: ChatRequest has no such member" for name in value if name not in request.model_fields)


def _without_images(value: Any) -> Any:
    """Return a request without its pictures: the SDK takes a name of a file there, and sends what is in it."""
    messages = [{name: held for name, held in one.items() if name != "images"} for one in value["messages"]]
    return {**value, "messages": messages}


# ---------------------------------------------------------------- shapes of botocore


@functools.cache
def _amazons() -> Any:
    session = importlib.import_module("botocore.session").get_session()
    return session.get_service_model("bedrock-runtime").operation_model("Converse")


def _converse(part: str) -> Check:
    def check(value: Any, extras: Extras) -> Iterator[str]:
        operation = _amazons()
        shape = operation.input_shape if part == "request" else operation.output_shape
        told = {"modelId": "m", **value} if part == "request" else value
        report = importlib.import_module("botocore.validate").ParamValidator().validate(told, shape)
        if report.has_errors():
            yield from report.generate_report().splitlines()

    return check


_CHECKS: Mapping[tuple[str, str], Check] = {
    ("chat", "request"): _typed(
        "openai.types.chat.completion_create_params",
        "CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming",
    ),
    ("responses", "request"): _typed(
        "openai.types.responses.response_create_params",
        "ResponseCreateParamsNonStreaming", "ResponseCreateParamsStreaming",
    ),
    ("messages", "request"): _typed(
        "anthropic.types.message_create_params",
        "MessageCreateParamsNonStreaming", "MessageCreateParamsStreaming",
    ),
    ("mistral", "request"): _typed(
        "mistralai.client.models", "ChatCompletionRequestTypedDict", "ChatCompletionStreamRequestTypedDict"
    ),
    ("converse", "request"): _converse("request"),
    ("generate_content", "request"): _generate_content,
    ("ollama", "request"): _ollama,
    ("chat", "answer"): _modelled("openai.types.chat", "ChatCompletion"),
    ("chat", "event"): _modelled("openai.types.chat", "ChatCompletionChunk"),
    ("responses", "answer"): _modelled("openai.types.responses", "Response"),
    ("responses", "event"): _modelled("openai.types.responses", "ResponseStreamEvent"),
    ("messages", "answer"): _modelled("anthropic.types", "Message"),
    ("messages", "event"): _modelled("anthropic.types", "RawMessageStreamEvent"),
    ("converse", "answer"): _converse("answer"),
    ("generate_content", "answer"): _modelled("google.genai.types", "GenerateContentResponse"),
    ("generate_content", "event"): _modelled("google.genai.types", "GenerateContentResponse"),
    ("mistral", "answer"): _modelled("mistralai.client.models", "ChatCompletionResponse"),
    ("mistral", "event"): _modelled("mistralai.client.models", "CompletionChunk"),
    ("ollama", "answer"): _modelled("ollama", "ChatResponse"),
    ("ollama", "event"): _modelled("ollama", "ChatResponse"),
}  # fmt: skip


def faults(form: str, direction: str, value: Any, extras: Extras | None = None) -> list[str]:
    """List what of a request, an answer or an event its SDK would not write, or not read."""
    return list(_CHECKS[form, direction](value, extras or {}))


if __name__ == "__main__":
    for line in sys.stdin:
        form, direction, value, extras = json.loads(line)
        print(json.dumps(faults(form, direction, value, extras)), flush=True)
