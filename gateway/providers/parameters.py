"""The fate of a request's parameters at a provider whose API has no word for all of them. Pure.

Three kinds. A parameter that equals its default is left out in silence. Hints, which an answer may ignore, are dropped
and named to the client. A parameter that changes the form of the answer is mapped, or the deployment is unfit for the
request: another one is asked, and where none takes it the client is told the parameter.

The parameters that a provider's API takes are litellm's knowledge (`get_supported_openai_params`) and an argument here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

OPENAI: Final = frozenset(
    """
    functions function_call temperature top_p n stop max_tokens max_completion_tokens modalities prediction audio
    presence_penalty frequency_penalty logit_bias user response_format seed tools tool_choice parallel_tool_calls
    logprobs top_logprobs reasoning_effort verbosity safety_identifier service_tier store web_search_options
    prompt_cache_key
    """.split()  # noqa: SIM905  # thirty words read better than thirty strings
)
"""OpenAI's parameters that are translated where the provider has a word for them
(platform.openai.com/docs/api-reference/chat/create)."""

PROVIDERS_OWN: Final = frozenset({"top_k", "thinking", "cache_control", "safety_settings"})
"""Parameters that providers add, passed on to whoever knows them."""

_OURS: Final = frozenset({"model", "messages", "stream", "stream_options"})

_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "functions": ([],),
    "function_call": ("auto",),
    "tools": ([],),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "stop": ([], ""),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    "metadata": ({},),
}
"""Values that say what is so without them; null says it of every parameter."""

_DEARER: Final = frozenset({"service_tier"})
"""Never translated where it is the default: elsewhere "auto" may mean a tier that costs more."""

_FORM: Final = frozenset(
    {"n", "response_format", "functions", "tools", "logprobs", "top_logprobs", "audio", "modalities"}
)
"""Parameters that an answer may not ignore."""

_MOST_NAMED: Final = 20
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The parameters of a request that go to a provider."""

    fields: Mapping[str, Any]
    dropped: tuple[str, ...]
    """Hints that it has no word for."""
    unfit: str | None
    """The parameter that it cannot serve, where there is one."""
    calls_by_function: bool
    """Whether the client calls tools as `functions`, so that the answer must too."""


def provider_parameters(fields: Mapping[str, Any], supported: Collection[str], *, writes_tools: bool = False) -> Chosen:
    """Choose from a request what a provider takes.

    `writes_tools`: whether tools are written into the prompt for it, so that it takes them all the same.
    """
    mapped, by_function = _as_tools(fields, supported)
    going: dict[str, Any] = {}
    dropped: list[str] = []
    unfit = None
    for name, value in mapped.items():
        if name in _OURS or value is None:
            continue
        is_default = _is_default(name, value)
        if is_default and name in _DEARER:
            continue
        if name in PROVIDERS_OWN or (name in OPENAI and _takes(name, supported, writes_tools)):
            going[name] = value
        elif is_default:
            continue
        elif name in _FORM:
            unfit = unfit or name
        else:
            dropped.append(name)
    named = tuple(name if _NAME.match(name) else "…" for name in dropped[:_MOST_NAMED])
    return Chosen(going, named, unfit, by_function)


def _takes(name: str, supported: Collection[str], writes_tools: bool) -> bool:
    if name in ("tools", "tool_choice") and writes_tools:
        return True
    return name in supported or name in ("max_tokens", "max_completion_tokens")


def _is_default(name: str, value: Any) -> bool:
    return any(value == default and type(value) is type(default) for default in _DEFAULTS.get(name, ())) or (
        isinstance(value, float) and value in _DEFAULTS.get(name, ())
    )


def _as_tools(fields: Mapping[str, Any], supported: Collection[str]) -> tuple[Mapping[str, Any], bool]:
    """Write the older `functions` as tools, which every provider that calls anything knows.

    An answer in the older form holds one call, so one at a time is asked for where that can be said.
    """
    functions = fields.get("functions")
    if not isinstance(functions, list) or not functions or fields.get("tools") or "tools" not in supported:
        return fields, False
    rest = {name: value for name, value in fields.items() if name not in ("functions", "function_call", "tools")}
    rest["tools"] = [{"type": "function", "function": function} for function in functions]
    choice = fields.get("function_call")
    if isinstance(choice, dict):
        rest["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif choice is not None:
        rest["tool_choice"] = choice
    if "parallel_tool_calls" in supported:
        rest["parallel_tool_calls"] = False
    return rest, True


def as_function(said: dict[str, Any]) -> bool:
    """Write the first call of a message, or of a piece of one, in the older form; whether there was one."""
    calls = said.pop("tool_calls", None) or ()
    function = next((call.get("function") for call in calls if not call.get("index")), None)
    if function is None:
        return False
    said["function_call"] = {name: value for name, value in function.items() if value is not None}
    return True
