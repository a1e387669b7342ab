"""The table of providers: every name that a list of models may use, and how it is reached.

Pure. Names are LiteLLM's. A provider whose API is chat completions is reached directly, whatever LiteLLM does on the
way to it; another is translated by litellm. A name that is in `REFUSED` is known and is no use here, and the reason
says why. tests/test_provider_table.py sends a request to a scripted server for every name of `PROVIDERS`, and compares
it with what litellm alone sends; docs/providers.md is written from it.

Addresses are those that litellm lists (its `get_llm_provider` and `llms/openai_like/providers.json`), but for ai21's
and DeepSeek's, which are their documentation's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.wire.operations import Operation

Route = Literal["direct", "translated"]


@dataclass(frozen=True, slots=True)
class Provider:
    """The way to a provider."""

    route: Route
    home: str | None = None
    """The address, where the list names none. None: it must be named, or litellm works it out from the parameters."""
    tail: str = "/chat/completions"
    """The rest of the path, behind the address; an overlap with the address is written once."""
    key_headers: tuple[str, ...] = ()
    """Headers that carry the key in place of `Authorization: Bearer`, or beside it where that is listed too."""
    model_prefix: str = ""
    """Written before a model name that has no `/`."""
    wants: tuple[str, ...] = ()
    """Parameters of which one must be given."""
    hint: str = ""
    """The form of such a parameter."""
    modules: tuple[str, ...] = ()
    """Modules that must be installed."""
    package: str = ""
    """The distribution that they come from."""
    extra: str = ""
    """Our extra that installs it."""


_BASE: Final = ("api_base", "base_url")


def _direct(
    home: str | None, tail: str = "/chat/completions", hint: str = "", **more: str | tuple[str, ...]
) -> Provider:
    wants = () if home else _BASE
    return Provider("direct", home, tail, wants=wants, hint=hint, **more)  # type: ignore[arg-type]  # names of fields


_LOCAL: Final = "http://127.0.0.1:8000/v1"
_V1: Final = "/v1/chat/completions"

AZURE: Final = "azure"
"""Reached by `addresses.azure`: the deployment is in the path."""

RESPONSES: Final = "responses/"
"""Before a model of OpenAI's or Azure's that only its Responses API serves; litellm translates to it."""

HEEDED: Final[Mapping[str, frozenset[str]]] = {AZURE: frozenset({"api_version", "azure_ad_token"})}
"""Keys of a provider's own that are acted on where it is reached directly (`addresses`)."""

PROVIDERS: Final[Mapping[str, Provider]] = {
    "abliteration": _direct("https://api.abliteration.ai/v1"),
    "ai21": _direct("https://api.ai21.com/studio/v1"),
    "ai21_chat": _direct("https://api.ai21.com/studio/v1"),
    "aihubmix": _direct("https://aihubmix.com/v1"),
    "aiml": _direct("https://api.aimlapi.com/v1"),
    "aiohttp_openai": _direct(None, hint=_LOCAL),
    "amazon_nova": _direct("https://api.nova.amazon.com/v1"),
    "apertis": _direct("https://api.stima.tech/v1"),
    "assemblyai": _direct("https://llm-gateway.assemblyai.com/v1"),
    AZURE: _direct(None, hint="https://NAME.openai.azure.com", key_headers=("api-key",)),
    "baseten": _direct("https://inference.baseten.co/v1"),
    "bedrock_mantle": _direct(None, hint="https://bedrock-mantle.us-east-1.api.aws/v1"),
    "cerebras": _direct("https://api.cerebras.ai/v1"),
    "charity_engine": _direct("https://api.charityengine.services/remotejobs/v2/inference"),
    "chutes": _direct("https://llm.chutes.ai/v1"),
    "cloudflare": _direct(None, hint="https://api.cloudflare.com/client/v4/accounts/ACCOUNT/ai/v1"),
    "codestral": _direct("https://codestral.mistral.ai/v1"),
    "cognition": _direct("https://api.cognition.ai/v1"),
    "cometapi": _direct("https://api.cometapi.com/v1", _V1),
    "compactifai": _direct("https://api.compactif.ai/v1"),
    "cortecs": _direct("https://api.cortecs.ai/v1"),
    "crusoe": _direct("https://managed-inference-api-proxy.crusoecloud.com/v1"),
    "custom_openai": _direct(None, hint=_LOCAL),
    "darkbloom": _direct("https://api.darkbloom.dev/v1"),
    "dashscope": _direct("https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "deepinfra": _direct("https://api.deepinfra.com/v1/openai"),
    "deepseek": _direct("https://api.deepseek.com/v1"),
    "docker_model_runner": _direct("http://localhost:22088/engines/llama.cpp"),
    "edenai": _direct("https://api.edenai.run/v3"),
    "empiriolabs": _direct("https://api.empiriolabs.ai/v1"),
    "empower": _direct("https://app.empower.dev/api/v1"),
    "featherless_ai": _direct("https://api.featherless.ai/v1"),
    "fireworks_ai": _direct("https://api.fireworks.ai/inference/v1", model_prefix="accounts/fireworks/models/"),
    "friendliai": _direct("https://api.friendli.ai/serverless/v1"),
    "galadriel": _direct("https://api.galadriel.com/v1"),
    "github": _direct("https://models.inference.ai.azure.com"),
    "gmi": _direct("https://api.gmi-serving.com/v1"),
    "groq": _direct("https://api.groq.com/openai/v1"),
    "helicone": _direct("https://ai-gateway.helicone.ai"),
    "heroku": _direct(None, _V1, hint="https://us.inference.heroku.com"),
    "hosted_vllm": _direct(None, hint=_LOCAL),
    # litellm asks huggingface.co who serves the model before each request; its router finds out by itself.
    "huggingface": _direct("https://router.huggingface.co/v1", _V1),
    "hyperbolic": _direct("https://api.hyperbolic.xyz/v1"),
    "inception": _direct("https://api.inceptionlabs.ai/v1"),
    "lambda_ai": _direct("https://api.lambda.ai/v1"),
    "lemonade": _direct("http://localhost:8000/api/v1"),
    "libertai": _direct("https://api.libertai.io/v1"),
    "litellm_proxy": _direct(None, hint="http://127.0.0.1:4000"),
    "llamafile": _direct("http://127.0.0.1:8080/v1"),
    "llamagate": _direct("https://api.llamagate.dev/v1"),
    "lm_studio": _direct(None, hint="http://127.0.0.1:1234/v1"),
    "maritalk": _direct("https://chat.maritaca.ai/api"),
    "meta": _direct("https://api.meta.ai/v1"),
    "meta_llama": _direct("https://api.llama.com/compat/v1"),
    "minimax": _direct("https://api.minimax.io/v1", _V1),
    "modelscope": _direct("https://api-inference.modelscope.cn/v1"),
    "moonshot": _direct("https://api.moonshot.ai/v1"),
    "morph": _direct("https://api.morphllm.com/v1"),
    "nadir": _direct("https://api.getnadir.com/v1"),
    "nano-gpt": _direct("https://nano-gpt.com/api/v1"),
    "nebius": _direct("https://api.studio.nebius.ai/v1"),
    "neosantara": _direct("https://api.neosantara.xyz/v1"),
    "novita": _direct("https://api.novita.ai/v3/openai"),
    "nscale": _direct("https://inference.api.nscale.com/v1"),
    "nvidia_nim": _direct("https://integrate.api.nvidia.com/v1"),
    "openai": _direct("https://api.openai.com/v1"),
    "openai_like": _direct(None, hint=_LOCAL),
    "openrouter": _direct("https://openrouter.ai/api/v1"),
    "ovhcloud": _direct("https://oai.endpoints.kepler.ai.cloud.ovh.net/v1"),
    "parasail": _direct("https://api.parasail.io/v1"),
    "perplexity": _direct("https://api.perplexity.ai"),
    "pinstripes": _direct("https://pinstripes.io/v1"),
    "poe": _direct("https://api.poe.com/v1"),
    "prism": _direct("https://api.prisminference.com/v1"),
    "publicai": _direct("https://api.publicai.co/v1"),
    "qwen_ai_platform": _direct("https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "qwencloud": _direct("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "reka": _direct("https://api.reka.ai/v1"),
    "sail": _direct("https://api.sailresearch.com/v1"),
    "sambanova": _direct("https://api.sambanova.ai/v1"),
    "sarvam": _direct("https://api.sarvam.ai/v1", key_headers=("authorization", "api-subscription-key")),
    "scaleway": _direct("https://api.scaleway.ai/v1"),
    "scx-ai": _direct("https://api.scx.ai/v1"),
    "synthetic": _direct("https://api.synthetic.new/openai/v1"),
    "tencent": _direct("https://tokenhub-intl.tencentcloudmaas.com/v1"),
    "tensormesh": _direct("https://serverless.tensormesh.ai/v1"),
    "together_ai": _direct("https://api.together.ai/v1"),
    "v0": _direct("https://api.v0.dev/v1"),
    "veniceai": _direct("https://api.venice.ai/api/v1"),
    "vercel_ai_gateway": _direct("https://ai-gateway.vercel.sh/v1"),
    # LiteLLM's own `vllm` runs the engine inside its process; nobody who names an address means that.
    "vllm": _direct(None, hint=_LOCAL),
    "volcengine": _direct("https://ark.cn-beijing.volces.com/api/v3"),
    "wandb": _direct("https://api.inference.wandb.ai/v1"),
    "xai": _direct("https://api.x.ai/v1"),
    "xiaomi_mimo": _direct("https://api.xiaomimimo.com/v1"),
    "zai": _direct("https://api.z.ai/api/paas/v4"),
    # ---- translated
    "anthropic": Provider("translated"),
    "azure_ai": Provider("translated", wants=_BASE, hint="https://NAME.services.ai.azure.com"),
    "bedrock": Provider("translated", modules=("boto3", "botocore"), package="boto3", extra="bedrock"),
    "cohere": Provider("translated"),
    "cohere_chat": Provider("translated"),
    "databricks": Provider("translated", wants=_BASE, hint="https://NAME.cloud.databricks.com/serving-endpoints"),
    "gemini": Provider("translated"),
    # Its API takes no `stream_options`, which every stream of ours asks for (docs.mistral.ai/api).
    "mistral": Provider("translated"),
    "ollama": Provider("translated"),
    "ollama_chat": Provider("translated"),
    "snowflake": Provider("translated", wants=("account_id", *_BASE), hint="ORGANISATION-ACCOUNT"),
    "vertex_ai": Provider("translated", modules=("google.auth", "requests"), package="google-auth", extra="vertex"),
}
"""Every provider that can be named, by name."""

_VECTORS: Final[frozenset[Operation]] = frozenset({"embeddings"})
TRANSLATED: Final[Mapping[str, frozenset[Operation]]] = {
    "azure_ai": frozenset({"rerank"}),
    "bedrock": _VECTORS,
    "cohere": _VECTORS | {"rerank"},
    "databricks": _VECTORS,
    "gemini": _VECTORS,
    "ollama": _VECTORS,
}
"""The operations beside chat that are translated to a provider, each of them tried against what its documentation says
(tests/test_translated_vectors.py)."""

DIRECT_BESIDE_CHAT: Final[Mapping[str, Provider]] = {"mistral": _direct("https://api.mistral.ai/v1")}
"""Providers whose chats are translated and whose other operations are OpenAI's (docs.mistral.ai/api)."""

KEYLESS: Final = frozenset(
    """
    aiohttp_openai custom_openai docker_model_runner hosted_vllm lemonade litellm_proxy llamafile lm_studio ollama
    ollama_chat openai_like vllm
    """.split()  # noqa: SIM905  # a dozen names read better than a dozen strings
)
"""Run by whoever uses them, often without a key."""

DIRECT_AT_AN_ADDRESS: Final[Mapping[str, Provider]] = {"mistral": _direct(None, _V1)}
"""Translated at home, direct where an `api_base` is given: an engine or a proxy of one's own."""

_TEXT: Final = (
    "speaks text completions alone; a server that speaks OpenAI's is reached as openai/MODEL with its api_base"
)
_AGENT: Final = "runs agents, which are no models: they keep conversations of their own"
_SIGN_IN: Final = "signs in through a browser, which a server cannot do"
_GONE: Final = "no longer exists"
_NO_CHAT: Final = "has no chat completions"
_UNTRIED: Final = "has an API of its own that nobody has tried with the gateway yet"
_PLAIN: Final = "is reached as openai/MODEL with api_base: "

REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("azure_text", "anthropic_text", "text-completion-openai", "text-completion-codestral",
         "text-completion-inception", "watsonx_text", "nlp_cloud", "petals", "oobabooga", "triton"), _TEXT
    ),
    **dict.fromkeys(
        ("a2a", "a2a_agent", "agentcore", "cursor", "langflow", "langgraph", "litellm_agent", "manus",
         "microsoft_365_copilot", "pydantic_ai_agents", "ragflow", "strands_decider"), _AGENT
    ),
    **dict.fromkeys(("chatgpt", "github_copilot"), _SIGN_IN),
    **dict.fromkeys(("aleph_alpha", "anyscale", "maritalk_text", "palm"), _GONE),
    **dict.fromkeys(
        ("apiserpent", "aws_polly", "aws_textract", "azure_speech", "bing_grounding", "black_forest_labs", "brave",
         "dataforseo", "deepgram", "dotprompt", "duckduckgo", "elevenlabs", "exa_ai", "fal_ai", "firecrawl",
         "google_pse", "humanloop", "langfuse", "laya", "linkup", "milvus", "mongodb", "nimble",
         "nvidia_riva", "parallel_ai", "pg_vector", "recraft", "reducto", "runwayml", "s3_vectors", "searxng", "serper",
         "soniox", "stability", "tavily", "tinyfish", "topaz", "transcribe", "typesafe", "valkey", "you_com"), _NO_CHAT
    ),
    **dict.fromkeys(
        ("bytez", "gdc", "gigachat", "oci", "predibase", "replicate", "sagemaker", "sagemaker_chat", "sagemaker_nova",
         "sap", "watsonx"), _UNTRIED
    ),
    # Their embeddings and rerankings are in OpenAI's form: docs.voyageai.com/reference, api.jina.ai/docs.
    "infinity": f"{_PLAIN}its address, and mode: embedding or rerank in model_info",
    "jina_ai": f"{_PLAIN}https://api.jina.ai/v1, and base_model: jina_ai/MODEL in model_info for its price and mode",
    "voyage": f"{_PLAIN}https://api.voyageai.com/v1, and base_model: voyage/MODEL in model_info for its price and mode",
    "xinference": f"{_PLAIN}its address, and mode: embedding or rerank in model_info",
    "clarifai": f"{_PLAIN}https://api.clarifai.com/v2/ext/openai/v1",
    "datarobot": f"{_PLAIN}https://app.datarobot.com/api/v2/genai/llmgw",
    "gradient_ai": f"{_PLAIN}https://inference.do-ai.run/v1",
    "vertex_ai_beta": "is called vertex_ai",
    "custom": "is a server that speaks LiteLLM's own protocol; write openai/MODEL where it speaks OpenAI's",
    "auto_router": "chooses a model by what is asked: name it in the request, or give it an alias",
    "azure_ai/agents": _AGENT,
    "azure_ai/doc-intelligence": _NO_CHAT,
    "bedrock_converse": "is what LiteLLM's price table calls it; write bedrock/MODEL",
    "nanogpt": "is called nano-gpt",
    "venice": "is called veniceai",
}  # fmt: skip
"""Names that LiteLLM knows, or its lists do, and why they are refused."""

REFUSED_MODELS: Final[Mapping[str, Mapping[str, str]]] = {
    "azure_ai": {"agents/": _AGENT, "doc-intelligence/": _NO_CHAT},
    "bedrock": {"agent/": _AGENT, "agentcore/": _AGENT},
    "vertex_ai": {"agent_engine/": _AGENT},
}
"""Beginnings of model names that lead elsewhere, by provider."""
