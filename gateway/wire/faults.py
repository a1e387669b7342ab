"""The fault behind a failed call, from its status and body: the client's request, this deployment, or everybody's.

Pure. The table is `_by_status`; what a body says is read from its machine-readable names (code, type, status, reason),
split into words, and from its message only where numbers or the name of the model decide. Error bodies of any shape
are read, and of those that are huge only the status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.wire import lenient

Whose = Literal["request", "deployment", "everybody"]
Kind = Literal["illegal", "moderation", "key", "credit", "model", "rate", "size", "trouble", "unfit"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The meaning of a failure for those who took part."""

    whose: Whose
    kind: Kind
    rests: bool = False
    """Whether other requests will meet it too. A fault that depends on the request rests nobody."""
    lasts: bool = False
    """Whether every request will meet it until somebody mends it: then one trial at a time is enough."""

    @property
    def ends_the_search(self) -> bool:
        """Whether no other deployment is asked: the request itself was judged."""
        return self.whose == "request"


ILLEGAL: Final = Fault("request", "illegal")
MODERATION: Final = Fault("request", "moderation")
KEY: Final = Fault("deployment", "key", rests=True, lasts=True)
FORBIDDEN: Final = Fault("deployment", "key", rests=True)
"""A refusal without a name: it may be a firewall's, which looks at what is in the request."""
CREDIT: Final = Fault("deployment", "credit", rests=True, lasts=True)
MODEL: Final = Fault("deployment", "model", rests=True, lasts=True)
ADDRESS: Final = Fault("deployment", "model", rests=True)
"""Nothing is there, and nobody says that it is the model."""
THIS_MODEL: Final = Fault("deployment", "model")
"""A model that the client named under a wildcard, or one that cannot do what this request asks."""
RATE: Final = Fault("deployment", "rate", rests=True)
SIZE: Final = Fault("deployment", "size")
"""More tokens than this account may have at once or can pay: a smaller request, or another account, passes."""
TROUBLE: Final = Fault("everybody", "trouble", rests=True)
UNFIT: Final = Fault("deployment", "unfit")
BUSY: Final = Fault("deployment", "rate")

LONGEST_BODY: Final = 64 * 1024
"""Bytes of an error body that are read; no provider's own error is longer."""

_MODERATION: Final = (
    {"moderation"},  # OpenAI `moderation_blocked`
    {
        "content",
        "filter",
    },  # Azure `content_filter`: learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter
    {"content", "policy"},  # OpenAI `content_policy_violation`
    {"responsible", "ai"},  # Azure `ResponsibleAIPolicyViolation`
    {"data", "inspection"},  # Alibaba `DataInspectionFailed`: help.aliyun.com/zh/model-studio/error-code
    {"safety"},
)
_RATE: Final = (
    {"throttling"},  # Bedrock `ThrottlingException`, Alibaba `Throttling.AllocationQuota`
    {"rate", "limit"},  # OpenAI `rate_limit_exceeded`, Anthropic `rate_limit_error`, Azure `RateLimitReached`
    {"service", "quota"},  # Bedrock `ServiceQuotaExceededException`
)
_CREDIT: Final = (
    {"quota"},  # OpenAI `insufficient_quota`, Moonshot `exceeded_current_quota_error`
    {"billing"},  # OpenAI `billing_hard_limit_reached`, Anthropic `billing_error`
    {"credit"},
    {"credits"},
    {"balance"},  # DeepSeek, Moonshot
    {"arrearage"},  # Alibaba
    {"overdue"},  # Volcengine `AccountOverdueError`
    {"payment"},
)
_KEY: Final = (
    {"api", "key"},  # OpenAI `invalid_api_key`, Google `API_KEY_INVALID` (in a 400)
    {"authentication"},  # Anthropic `authentication_error`
    {"unauthorized"},
    {"permission", "denied"},  # Google `PERMISSION_DENIED`
    {"access", "denied"},  # Bedrock `AccessDeniedException`
    {"organization", "restricted"},  # Groq: console.groq.com/docs/errors
)
_NO_MODEL: Final = (
    {"model", "not"},  # OpenAI `model_not_found`, Groq `model_not_active`
    {"deployment", "not"},  # Azure `DeploymentNotFound`
    {"invalid", "model"},  # Mistral `invalid_model`
    {"unknown", "model"},  # GitHub Models `unknown_model`
    {"unavailable", "model"},  # GitHub Models `unavailable_model`
    {"model", "decommissioned"},  # Groq, in a 400
    {"model", "terms"},  # Groq `model_terms_required`
)
_NOT_FOUND: Final = ({"not", "found"}, {"notfound"})
_NOT_SUPPORTED: Final = ({"not", "supported"}, {"unsupported"})

_PLAIN: Final = (
    # Anthropic, in a 400 whose type is invalid_request_error: docs.claude.com/en/api/errors
    (re.compile(r"your credit balance is too low to access"), CREDIT),
    # xAI, in a 400 whose code is that of a bad argument: docs.x.ai/docs/key-information/debugging
    (re.compile(r"(?:incorrect|invalid) api key"), KEY),
    # DeepSeek, in a 400: api-docs.deepseek.com/quick_start/error_codes
    (re.compile(r"model not exist"), MODEL),
)
"""Beginnings of messages of providers that give such faults no name of their own."""

_OF_THE_ACCOUNT: Final = ((_RATE, RATE), (_CREDIT, CREDIT), (_KEY, KEY), (_NO_MODEL, MODEL))

_OVER: Final = re.compile(r"limit:? (\d[\d,]{0,11}).{0,80}?requested:? (\d[\d,]{0,11})", re.DOTALL)
"""OpenAI's and Groq's words for a limit by the minute: "Limit 30000, Used 12, Requested 45000"."""
_BY_TIME: Final = re.compile(r"\bper[ -](?:second|minute|hour|day)\b")
"""Words that tell a limit in time from credit, where a name says quota of both."""
_SO_MANY: Final = re.compile(r"\d tokens?\b|\btokens?\b.{0,80}\d", re.DOTALL)
_OF_A_THING: Final = re.compile(r"\b(?:files?|cached ?contents?|vector stores?)\b")
"""A file that the client uploaded, and names: ai.google.dev/gemini-api/docs/files answers 403 for one that is gone."""
_OF_A_MODEL: Final = re.compile(r"\b(?:model|deployment|engine)\b")
_NOBODY_CAN: Final = "no endpoints found"
"""OpenRouter's words, also where no provider can do what is asked: openrouter.ai/docs/guides/routing."""
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAMES: Final = ("code", "type", "__type", "status", "reason", "error_code")
_PASSING: Final = frozenset({408, 409, 423, 424, 425, 498, 499})
"""Not in time, in another's way, locked, another's failure (Bedrock's model errors), too early, no capacity (Groq)."""


@dataclass(frozen=True, slots=True)
class _Said:
    """An error body, as far as it decides."""

    message: str
    """In lower case."""
    names: tuple[frozenset[str], ...]
    """The words of each machine-readable name."""
    is_object: bool
    """Whether it is an error of an API at all."""
    flagged: bool
    """Whether it lists what moderation found."""

    def has(self, *kinds: set[str]) -> bool:
        return any(kind <= name for kind in kinds for name in self.names)


def fault_of(status: int, body: bytes, *, model: str, wildcard: bool = False) -> Fault:
    """Say whose fault an error answer tells of. `wildcard`: the client chose `model`, not the deployment's entry."""
    said = _read(body)
    if status < 500 and (said.flagged or said.has(*_MODERATION)):
        return MODERATION
    fault = _by_status(status, said, model)
    return THIS_MODEL if wildcard and fault.kind == "model" else fault


def _by_status(status: int, said: _Said, model: str) -> Fault:
    if status >= 500 or status in _PASSING:
        return TROUBLE
    if status in {403, 404} and _OF_A_THING.search(said.message):
        return ILLEGAL
    match status:
        case 401:
            return KEY
        case 402:  # OpenRouter: "… requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but …"
            return SIZE if _SO_MANY.search(said.message) else CREDIT
        case 403:
            return _named(said) or FORBIDDEN
        case 404 | 410:
            return _missing(said, model)
        case 413:
            return SIZE if said.has(*_RATE) or _OVER.search(said.message) else ILLEGAL
        case 429:
            return _too_much(said)
    return _named(said) or ILLEGAL


def _named(said: _Said) -> Fault | None:
    """Find the fault that a name, or a message without one, tells of."""
    for kinds, fault in _OF_THE_ACCOUNT:
        if said.has(*kinds):
            return THIS_MODEL if fault is MODEL and said.has(*_NOT_SUPPORTED) else fault
    return next((fault for pattern, fault in _PLAIN if pattern.match(said.message)), None)


def _missing(said: _Said, model: str) -> Fault:
    """Tell a model that is not there from a thing that the request asked for."""
    if not said.is_object or said.message in {"", "not found", "resource not found"}:
        return ADDRESS
    if said.has(*_NO_MODEL):
        return MODEL
    if model.rsplit("/", 1)[-1].lower() in said.message or _OF_A_MODEL.search(said.message):
        return MODEL if said.has(*_NOT_FOUND) else ADDRESS
    return THIS_MODEL if said.message.startswith(_NOBODY_CAN) else ILLEGAL


def _too_much(said: _Said) -> Fault:
    over = _OVER.search(said.message)
    if over is not None and _number(over[2]) > _number(over[1]):
        return SIZE
    if said.has(*_CREDIT) and not said.has({"throttling"}, {"service", "quota"}, {"too", "many"}):
        return RATE if _BY_TIME.search(said.message) else CREDIT
    return RATE


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _read(body: bytes) -> _Said:
    fields = lenient.read(body) if 0 < len(body) <= LONGEST_BODY else None
    if isinstance(fields, list) and fields:  # Gemini wraps its error in a list
        fields = fields[0]
    if not isinstance(fields, dict):
        return _Said("", (), is_object=False, flagged=False)
    error = fields.get("error")
    objects = [one for one in (error, fields) if isinstance(one, dict)]
    message = next((text for one in objects if isinstance(text := one.get("message"), str)), None)
    if message is None:
        message = next((text for text in (error, fields.get("detail")) if isinstance(text, str)), "")
    metadata = objects[0].get("metadata")  # OpenRouter: openrouter.ai/docs/api-reference/errors
    flagged = isinstance(metadata, dict) and bool(metadata.get("flagged_input") or metadata.get("reasons"))
    names = tuple(frozenset(word.lower() for word in _WORD.findall(name[:200])) for name in _names(objects))
    return _Said(message[:2000].strip().lower(), names, is_object=True, flagged=flagged)


def _names(objects: list[dict[str, Any]]) -> Iterator[str]:
    """List the machine-readable names of an error: its own, its cause's, and what a translation kept of it."""
    for one in objects:
        yield from _own_names(one)
        for inner in ("innererror", "provider_error"):
            if isinstance(one.get(inner), dict):
                yield from _own_names(one[inner])


def _own_names(error: Mapping[str, Any]) -> Iterator[str]:
    for name in _NAMES:
        if isinstance(value := error.get(name), str):
            yield value
    details = error.get("details")  # google.rpc.ErrorInfo: cloud.google.com/apis/design/errors
    for detail in details[:10] if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(reason := detail.get("reason"), str):
            yield reason
