"""The provider `demo/…`: no network, deterministic answers, real usage numbers, the prompt cache of whom its name says.

It stands in for others, and it judges what the gateway believes of prompt caches; so it shares no code with
`gateway.prompt_cache` (an import contract) and is written from the providers' documentation alone. The name chooses the
rules: `demo/openai` (GPT-5.5 and before), `demo/openai-5.6`, `demo/anthropic`, `demo/gemini`, `demo/vllm`, each
optionally followed by `/` and a model, whose least length then applies; every other name has the first. Each deployment
is an account of its own, with a cache of its own. It serves demonstrations and tests, not load.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from gateway.budget.media import part_tokens
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.demo import answers, metered, wanted
from gateway.routing.upstreams.demo.anthropic import Anthropic, anthropic_least
from gateway.routing.upstreams.demo.breakpoints import Breakpoints
from gateway.routing.upstreams.demo.engine import MEMORY, Engine
from gateway.routing.upstreams.demo.entries import Entries
from gateway.routing.upstreams.demo.prefix import Gemini, OpenAI, gemini_least
from gateway.routing.upstreams.demo.prompt import as_object, prompt_of
from gateway.routing.upstreams.demo.rules import Complaint, RuleSet
from gateway.routing.upstreams.upstream import Reply, WholeReply
from gateway.wire.headers import NO_HEADERS
from gateway.wire.media import media_of
from gateway.wire.operations import Operation

_JSON: Final = {"content-type": "application/json"}
_EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8"}


class Demo:
    """The upstream of every deployment of kind `demo`."""

    def __init__(self, count: Callable[[str], int], now: Callable[[], float]) -> None:
        """`count` returns the tokens of a text; `now` the time in seconds, on which cached prompts grow old."""
        self._count = count
        self._now = now
        self._caches: dict[str, tuple[RuleSet, Entries]] = {}

    async def send(
        self,
        deployment: Deployment,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Reply:
        if deployment.operation not in ("chat", None):
            return self._metered(deployment, deployment.operation, body, stream=stream)
        now = self._now()
        try:
            fields = orjson.loads(body)
            messages = [message for message in fields["messages"] if isinstance(message, dict)]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _refusal("the body is not a chat completion request", "messages")
        rules, entries = self._cache(deployment)
        prompt = prompt_of(fields, messages, self._count, rules.settings(fields), partial(_media_tokens, deployment))
        window = deployment.facts.window
        if window is not None and prompt.tokens > window:
            return _refusal(_too_long(window, prompt.tokens), "messages", "context_length_exceeded")
        complaint = rules.complaint(fields, prompt) or wanted.complaint(fields)
        if complaint is not None:
            return _refusal(complaint.message, complaint.param)
        key = hashlib.sha256(body).hexdigest()
        said = [
            answers.say(fields, messages, f"call_demo_{key[:12]}", self._count, turn)
            for turn in range(wanted.choices(fields))
        ]
        charge = rules.charge(fields, prompt, entries, now)
        usage = rules.usage(prompt.tokens, sum(one.tokens for one in said), charge)
        head = {"id": f"chatcmpl-demo-{key[:20]}", "created": answers.CREATED, "model": deployment.model}
        if stream:
            asked = as_object(fields.get("stream_options")).get("include_usage") is True
            parts = tuple(answers.stream_events(head, said, usage if asked else None))
        else:
            parts = (answers.whole_answer(head, said, usage),)
        headers = {**(_EVENTS if stream else _JSON), "x-request-id": f"req_demo_{key[:16]}"}
        return _Begins(200, headers, parts, lambda: entries.keep(charge.entries))

    def _metered(self, deployment: Deployment, operation: Operation, body: bytes, *, stream: bool) -> Reply:
        """Answer what is no chat."""
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _refusal("the body holds a number that nobody reads", None)
        said = metered.reply(operation, fields, deployment.model, self._count)
        if isinstance(said, Complaint):
            return _refusal(said.message, said.param)
        key = hashlib.sha256(body).hexdigest()
        return WholeReply(200, {**(_EVENTS if stream else _JSON), "x-request-id": f"req_demo_{key[:16]}"}, said)

    async def close(self) -> None:
        self._caches.clear()

    def _cache(self, deployment: Deployment) -> tuple[RuleSet, Entries]:
        if deployment.name not in self._caches:
            self._caches[deployment.name] = _rules_of(deployment)
        return self._caches[deployment.name]


@dataclass(frozen=True, slots=True)
class _Begins:
    """A reply that says when it has begun: from then on other requests can read what its request wrote."""

    status: int
    headers: Mapping[str, str]
    parts: Sequence[bytes]
    begun: Callable[[], None]
    is_over = False  # what it remembers of a request is written by reading

    async def read(self) -> bytes:
        self.begun()
        return b"".join(self.parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        self.begun()
        for part in self.parts:
            yield part

    async def close(self) -> None:
        return None


def _rules_of(deployment: Deployment) -> tuple[RuleSet, Entries]:
    """Choose the rules by the deployment's model, with an empty cache."""
    name, _, model = deployment.model.partition("/")
    match name:
        case "openai":
            return OpenAI(refuses_later=True), Entries()
        case "openai-5.6":
            return Breakpoints(), Entries()
        case "anthropic":
            return Anthropic(anthropic_least(model)), Entries()
        case "gemini":
            return Gemini(gemini_least(model)), Entries(renews=False)
        case "vllm":
            room = deployment.params.get("cache_tokens")
            return Engine(), Entries(room if isinstance(room, int) else MEMORY)
    return OpenAI(), Entries()


def _media_tokens(deployment: Deployment, part: Any) -> int:
    """Count an image, audio or file as the model does whose name the deployment has."""
    read = media_of(part, 0)
    return 0 if read is None else part_tokens(deployment.provider, deployment.model, read)


def _too_long(window: int, prompt: int) -> str:
    return (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {prompt} tokens. "
        "Please reduce the length of the messages."
    )


def _refusal(message: str, param: str | None, code: str | None = None) -> WholeReply:
    error: dict[str, Any] = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return WholeReply(400, _JSON, (orjson.dumps({"error": error}),))
