"""The providers of the matrix: how a list names each, and where its documentation puts its API, in which form.

Written from the providers' own pages, apart from `gateway/providers`. Addresses are whole: who is asked at another
host, another path or without its credential has not been asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from tests.matrix import openai_forms, other_forms
from tests.matrix.features import Said

Json = dict[str, Any]
Encoding = Literal["data", "named", "lines", "frames", "chunks"]
LOCAL: Final = "http://local"
"""Stands for the address of a server of one's own."""


class Form(Protocol):
    """One API's answers."""

    def whole(self, body: Json, said: Said) -> Json: ...
    def stream(self, body: Json, said: Said) -> Iterator[Json]: ...


@dataclass(frozen=True)
class Place:
    """One address of a provider, and what is spoken there."""

    url: str
    types: str
    """The SDK's types that its requests and answers have (`sdk_types.py`)."""
    form: Form
    encoding: Encoding
    source: str
    """Its documentation."""
    streamed: str = ""
    """The address of a stream, where it is another."""

    @property
    def urls(self) -> tuple[str, str]:
        return self.url, self.streamed or self.url


@dataclass(frozen=True)
class Row:
    """One provider."""

    name: str
    slug: str
    params: Mapping[str, Any]
    places: tuple[Place, ...]
    auth: tuple[str, str] = ("authorization", "Bearer {key}")
    """The header of the credential, and the pattern of its value."""
    info: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Members that its documentation adds to those of the SDK's types."""
    reasons: str = ""
    """What a request that asks for reasoning holds, as a pattern; where a model decides by itself, what it lacks."""
    shows_reasoning: tuple[str, ...] = ("chat", "responses", "messages")
    """The shapes that are answered with reasoning as text."""
    signs: bool = False
    """Whether reasoning goes back to it signed, or encrypted."""
    rethinks: bool = False
    """Whether the thoughts themselves go back to it, whole."""
    counts_reasoning: bool = True
    counts_cached: bool = True
    counts_written: bool = False
    refuses: Mapping[str, tuple[int, Json, str]] = field(default_factory=dict)
    """By feature: the status and the body with which it refuses, and its documentation."""

    @property
    def key(self) -> str:
        return f"key-of-{self.slug}"

    def lets_in(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the credential."""
        name, pattern = self.auth
        return re.fullmatch(pattern.replace("{key}", re.escape(self.key)), headers.get(name, "")) is not None


def _chat(url: str, form: Form, source: str, types: str = "chat") -> Place:
    return Place(url, types, form, "data", source)


def _responses(url: str) -> Place:
    source = "platform.openai.com/docs/api-reference/responses"
    return Place(url, "responses", openai_forms.Responses(), "named", source)


_GPT: Final = {"max_input_tokens": 272_000, "max_output_tokens": 64_000}
_EFFORT: Final = r'"reasoning_effort": ?"(low|medium|high)"'
_GOOGLE: Final = other_forms.GenerateContent()
_GEMINI_HOST: Final = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
_VERTEX: Final = (
    "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/google/models/"
    "gemini-2.5-flash"
)
_BEDROCK: Final = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
_CLAUDE_ELSEWHERE: Final = {
    "MessageCreateParamsNonStreaming": ("anthropic_version", "anthropic_beta"),
    "MessageCreateParamsStreaming": ("anthropic_version", "anthropic_beta"),
}
"""Where the path names Claude, its body has these, and no model."""
VERTEX_TOKEN: Final = "token-of-vertex"

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "OpenAI, chat completions", "openai-chat", {"model": "openai/gpt-5"}, info={"speaks": ["chat"]},
        places=(_chat("https://api.openai.com/v1/chat/completions", openai_forms.OPENAI,
                      "platform.openai.com/docs/api-reference/chat"),),
        reasons=_EFFORT, shows_reasoning=(),
    ),
    Row(
        "OpenAI, Responses", "openai-responses", {"model": "openai/responses/gpt-5"},
        places=(_responses("https://api.openai.com/v1/responses"),),
        reasons=r'"effort": ?"(low|medium|high)"', shows_reasoning=("responses",), signs=True,
    ),
    Row(
        "Azure", "azure",
        {"model": "azure/my-gpt", "api_base": "https://mine.openai.azure.com", "api_version": "2025-04-01-preview"},
        info={"base_model": "azure/gpt-5"}, auth=("api-key", "{key}"),
        places=(
            _chat("https://mine.openai.azure.com/openai/deployments/my-gpt/chat/completions"
                  "?api-version=2025-04-01-preview", openai_forms.OPENAI,
                  "learn.microsoft.com/azure/ai-foundry/openai/reference"),
            _responses("https://mine.openai.azure.com/openai/responses?api-version=2025-04-01-preview"),
        ),
        reasons=r'"(reasoning_effort|effort)": ?"(low|medium|high)"', shows_reasoning=("responses",),
    ),
    Row(
        "Anthropic", "anthropic", {"model": "anthropic/claude-sonnet-4-5"}, auth=("x-api-key", "{key}"),
        places=(Place("https://api.anthropic.com/v1/messages", "messages", other_forms.Messages(), "named",
                      "docs.claude.com/en/api/messages"),),
        reasons=r'"thinking": ?\{', signs=True, counts_reasoning=False, counts_written=True,
        rethinks=True,
    ),
    Row(
        "Bedrock", "bedrock",
        {"model": "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws_access_key_id": "AKIATEST",
         "aws_secret_access_key": "made", "aws_region_name": "eu-west-1"},
        auth=("authorization", r"AWS4-HMAC-SHA256 Credential=AKIATEST/\d{8}/eu-west-1/bedrock/aws4_request, .*"),
        extras=_CLAUDE_ELSEWHERE,
        places=(
            Place(f"{_BEDROCK}/converse", "converse", other_forms.Converse(), "frames",
                  "docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
                  f"{_BEDROCK}/converse-stream"),
            Place(f"{_BEDROCK}/invoke", "messages", other_forms.Messages(), "chunks",
                  "docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html",
                  f"{_BEDROCK}/invoke-with-response-stream"),
        ),
        reasons=r'"thinking": ?\{', signs=True, counts_reasoning=False, counts_written=True,
        rethinks=True,
    ),
    Row(
        "Vertex AI", "vertex",
        {"model": "vertex_ai/gemini-2.5-flash", "vertex_project": "p", "vertex_location": "us-central1"},
        auth=("authorization", f"Bearer {VERTEX_TOKEN}"),
        places=(Place(f"{_VERTEX}:generateContent", "generate_content", _GOOGLE, "data",
                      "cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
                      f"{_VERTEX}:streamGenerateContent?alt=sse"),),
        reasons=r'"includeThoughts": ?true', signs=True,
    ),
    Row(
        "Gemini", "gemini", {"model": "gemini/gemini-2.5-flash"}, auth=("x-goog-api-key", "{key}"),
        places=(Place(f"{_GEMINI_HOST}:generateContent", "generate_content", _GOOGLE, "data",
                      "ai.google.dev/api/generate-content", f"{_GEMINI_HOST}:streamGenerateContent?alt=sse"),),
        reasons=r'"includeThoughts": ?true', signs=True,
    ),
    Row(
        "Mistral", "mistral", {"model": "mistral/magistral-medium-latest"},
        places=(_chat("https://api.mistral.ai/v1/chat/completions", openai_forms.MISTRAL, "docs.mistral.ai/api",
                      "mistral"),),
        reasons="^(?!.*SYSTEM_PROMPT)", counts_reasoning=False,
    ),
    Row(
        "DeepSeek", "deepseek", {"model": "deepseek/deepseek-chat"},
        # api-docs.deepseek.com/api/create-chat-completion, …/guides/thinking_mode
        extras={"ChatCompletionAssistantMessageParam": ("reasoning_content",)},
        places=(
            _chat("https://api.deepseek.com/v1/chat/completions", openai_forms.DEEPSEEK,
                  "api-docs.deepseek.com/api/create-chat-completion"),
            _chat("https://api.deepseek.com/chat/completions", openai_forms.DEEPSEEK,
                  "api-docs.deepseek.com/api/create-chat-completion"),
        ),
        refuses={
            "images": (
                400,
                {"error": {"message": "Failed to deserialize the JSON body into the target type: messages[1]: unknown "
                           "variant `image_url`, expected `text`", "type": "invalid_request_error", "param": None,
                           "code": "invalid_request_error"}},
                "api-docs.deepseek.com/api/create-chat-completion: the content of a user's message is a text",
            ),
            "structured": (
                400,
                {"error": {"message": "This response_format type is unavailable now", "type": "invalid_request_error",
                           "param": None, "code": "invalid_request_error"}},
                "api-docs.deepseek.com/guides/json_mode: `json_object` alone",
            ),
        },
        rethinks=True,
    ),
    Row(
        "OpenRouter", "openrouter", {"model": "openrouter/anthropic/claude-sonnet-4.5"},
        # openrouter.ai/docs/api-reference/parameters, …/use-cases/reasoning-tokens
        extras={"ChatCompletionAssistantMessageParam": ("reasoning", "reasoning_details", "reasoning_content"),
                "CompletionCreateParamsNonStreaming": ("reasoning",),
                "CompletionCreateParamsStreaming": ("reasoning",)},
        places=(
            _chat("https://openrouter.ai/api/v1/chat/completions", openai_forms.OPENROUTER,
                  "openrouter.ai/docs/api-reference/chat-completion"),
            Place("https://openrouter.ai/api/v1/responses", "responses", openai_forms.Responses(), "named",
                  "openrouter.ai/docs/api-reference/responses"),
        ),
        reasons=r'"(reasoning_effort|effort)": ?"(low|medium|high)"', signs=True,
        rethinks=True,
    ),
    Row(
        "Ollama", "ollama", {"model": "ollama_chat/qwen3-vl", "api_base": LOCAL},
        places=(Place(f"{LOCAL}/api/chat", "ollama", other_forms.Ollama(), "lines", "docs.ollama.com/api/chat"),),
        auth=("authorization", "(Bearer {key})?"), reasons=r'"think": ?("low"|"medium"|"high"|true)',
        counts_reasoning=False, counts_cached=False,
    ),
    Row(
        "vLLM", "vllm", {"model": "hosted_vllm/qwen3-vl", "api_base": f"{LOCAL}/v1"}, info=_GPT,
        # docs.vllm.ai/en/latest/features/reasoning_outputs, …/serving/openai_compatible_server
        extras={"ChatCompletionAssistantMessageParam": ("reasoning", "reasoning_content")},
        places=(_chat(f"{LOCAL}/v1/chat/completions", openai_forms.VLLM,
                      "docs.vllm.ai/en/latest/serving/openai_compatible_server"),),
        reasons=_EFFORT, counts_reasoning=False,
        rethinks=True,
    ),
)  # fmt: skip
"""The first seven refuse nothing but what their documentation says; of the rest at most a tenth is refused."""

FIRST: Final = 7

_VERTEX_CLAUDE: Final = (
    "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/"
    "claude-sonnet-4-5"
)
_NOVA: Final = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.nova-pro-v1:0"

MORE: Final[tuple[Row, ...]] = (
    Row(
        "Azure, the API without versions", "azure-v1",
        {"model": "azure/my-gpt", "api_base": "https://mine.openai.azure.com", "api_version": "v1"},
        info={"base_model": "azure/gpt-5"},
        places=(
            _chat("https://mine.openai.azure.com/openai/v1/chat/completions", openai_forms.OPENAI,
                  "learn.microsoft.com/azure/ai-foundry/openai/latest"),
            _responses("https://mine.openai.azure.com/openai/v1/responses"),
        ),
        reasons=r'"(reasoning_effort|effort)": ?"(low|medium|high)"', shows_reasoning=("responses",),
    ),
    Row(
        "Azure AI, Claude", "azure-claude",
        {"model": "azure_ai/claude-sonnet-4-5", "api_base": "https://mine.services.ai.azure.com/anthropic"},
        auth=("x-api-key", "{key}"),
        places=(
            Place("https://mine.services.ai.azure.com/anthropic/v1/messages", "messages", other_forms.Messages(),
                  "named",
                  "learn.microsoft.com/azure/ai-foundry/foundry-models/how-to/use-foundry-models-claude"),
        ),
        reasons=r'"thinking": ?\{', signs=True, counts_reasoning=False, counts_written=True, rethinks=True,
    ),
    Row(
        "Vertex AI, Claude", "vertex-claude",
        {"model": "vertex_ai/claude-sonnet-4-5", "vertex_project": "p", "vertex_location": "us-east5"},
        auth=("authorization", f"Bearer {VERTEX_TOKEN}"), extras=_CLAUDE_ELSEWHERE,
        places=(
            Place(f"{_VERTEX_CLAUDE}:rawPredict", "messages", other_forms.Messages(), "named",
                  "docs.claude.com/en/api/claude-on-vertex-ai", f"{_VERTEX_CLAUDE}:streamRawPredict?alt=sse"),
            Place(f"{_VERTEX_CLAUDE}:rawPredict", "messages", other_forms.Messages(), "named",
                  "docs.claude.com/en/api/claude-on-vertex-ai", f"{_VERTEX_CLAUDE}:streamRawPredict"),
        ),
        reasons=r'"thinking": ?\{', signs=True, counts_reasoning=False, counts_written=True, rethinks=True,
    ),
    Row(
        "Bedrock, Nova", "bedrock-nova",
        {"model": "bedrock/amazon.nova-pro-v1:0", "aws_access_key_id": "AKIATEST", "aws_secret_access_key": "made",
         "aws_region_name": "eu-west-1"},
        auth=("authorization", r"AWS4-HMAC-SHA256 Credential=AKIATEST/\d{8}/eu-west-1/bedrock/aws4_request, .*"),
        places=(Place(f"{_NOVA}/converse", "converse", other_forms.Converse(), "frames",
                      "docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
                      f"{_NOVA}/converse-stream"),),
        counts_reasoning=False, counts_written=True,
    ),
)  # fmt: skip
"""Other ways to some of them: `python -m tests.load.provider_matrix --more`."""
