"""The table of providers: every name that a list of models may use, and how it is reached.

Pure. Names are LiteLLM's. A provider whose API is chat completions is reached directly, whatever LiteLLM does on the
way to it; another is translated by litellm. A name that is in `REFUSED` is known and is no use here, and the reason
says why. tests/test_provider_table.py sends a request to a scripted server for every name of `PROVIDERS`, and compares
it with what litellm alone sends; docs/providers.md is written from it.

A provider of whom an address is all that is known is a line here. One of whom more is known has a file, and its line
names the value of that file.

Addresses are those that litellm lists (its `get_llm_provider` and `llms/openai_like/providers.json`), but for ai21's
and DeepSeek's, which are their documentation's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.azure import AZURE, AZURE_AI, AZURE_OPENAI
from gateway.providers.bedrock import BEDROCK, MANTLE, OTHER_BILLING
from gateway.providers.cohere import COHERE, COHERE_CHAT
from gateway.providers.demo import DEMO
from gateway.providers.fireworks import FIREWORKS
from gateway.providers.gemini import GEMINI_API, VERTEX
from gateway.providers.mistral import MISTRAL_API
from gateway.providers.openai import OPENAI, TAKES
from gateway.providers.openrouter import OPENROUTER
from gateway.providers.provider import BASE, EMBEDDINGS, LOCAL, V1, Billing, Provider, direct
from gateway.providers.reasons import AGENT, GONE, NO_CHAT, PLAIN, SIGN_IN, TEXT, UNTRIED
from gateway.providers.xai import XAI
from gateway.wire.foreign import ANYTHING

PROVIDERS: Final[Mapping[str, Provider]] = {
    "abliteration": direct("https://api.abliteration.ai/v1"),
    "ai21": direct("https://api.ai21.com/studio/v1"),
    "ai21_chat": direct("https://api.ai21.com/studio/v1"),
    "aihubmix": direct("https://aihubmix.com/v1"),
    "aiml": direct("https://api.aimlapi.com/v1"),
    "aiohttp_openai": direct(None, hint=LOCAL, keyless=True),
    "amazon_nova": direct("https://api.nova.amazon.com/v1"),
    "apertis": direct("https://api.stima.tech/v1"),
    "assemblyai": direct("https://llm-gateway.assemblyai.com/v1"),
    AZURE: AZURE_OPENAI,
    "baseten": direct("https://inference.baseten.co/v1"),
    "bedrock_mantle": MANTLE,
    "cerebras": direct("https://api.cerebras.ai/v1"),
    "charity_engine": direct("https://api.charityengine.services/remotejobs/v2/inference"),
    "chutes": direct("https://llm.chutes.ai/v1"),
    "cloudflare": direct(None, hint="https://api.cloudflare.com/client/v4/accounts/ACCOUNT/ai/v1"),
    "codestral": direct("https://codestral.mistral.ai/v1"),
    "cognition": direct("https://api.cognition.ai/v1"),
    "cometapi": direct("https://api.cometapi.com/v1", V1),
    "compactifai": direct("https://api.compactif.ai/v1"),
    "cortecs": direct("https://api.cortecs.ai/v1"),
    "crusoe": direct("https://managed-inference-api-proxy.crusoecloud.com/v1"),
    "custom_openai": direct(None, hint=LOCAL, keyless=True, key_variables=("OPENAI_API_KEY",)),
    "darkbloom": direct("https://api.darkbloom.dev/v1"),
    "dashscope": direct(
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        host="dashscope-intl.aliyuncs.com",
        headers=frozenset({"x-dashscope-datainspection"}),
    ),
    "deepinfra": direct("https://api.deepinfra.com/v1/openai"),
    "deepseek": direct("https://api.deepseek.com/v1"),
    "docker_model_runner": direct("http://localhost:22088/engines/llama.cpp", keyless=True),
    "edenai": direct("https://api.edenai.run/v3"),
    "empiriolabs": direct("https://api.empiriolabs.ai/v1"),
    "empower": direct("https://app.empower.dev/api/v1"),
    "featherless_ai": direct("https://api.featherless.ai/v1"),
    "fireworks_ai": FIREWORKS,
    "friendliai": direct(
        "https://api.friendli.ai/serverless/v1", key_variables=("FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN")
    ),
    "galadriel": direct("https://api.galadriel.com/v1"),
    "github": direct(
        "https://models.inference.ai.azure.com",
        key_variables=("GITHUB_API_KEY",),
        takes_otherwise=TAKES,
        billing=Billing(owners=("*",)),
    ),
    "gmi": direct("https://api.gmi-serving.com/v1"),
    "groq": direct("https://api.groq.com/openai/v1", headers=frozenset({"groq-model-version"})),
    "helicone": direct("https://ai-gateway.helicone.ai"),
    "heroku": direct(None, V1, hint="https://us.inference.heroku.com"),
    "hosted_vllm": direct(None, hint=LOCAL, keyless=True),
    # litellm asks huggingface.co who serves the model before each request; its router finds out by itself.
    # Its names say who serves a model: huggingface.co/docs/inference-providers.
    "huggingface": direct(
        "https://router.huggingface.co/v1", V1, key_variables=("HF_TOKEN", "HUGGINGFACE_API_KEY"), names_servers=True
    ),
    "hyperbolic": direct("https://api.hyperbolic.xyz/v1"),
    "inception": direct("https://api.inceptionlabs.ai/v1"),
    "lambda_ai": direct("https://api.lambda.ai/v1", key_variables=("LAMBDA_API_KEY",)),
    "lemonade": direct("http://localhost:8000/api/v1", keyless=True),
    "libertai": direct("https://api.libertai.io/v1"),
    "litellm_proxy": direct(
        None, hint="http://127.0.0.1:4000", keyless=True, takes=ANYTHING, billing=Billing(owners=("*",))
    ),
    "llamafile": direct("http://127.0.0.1:8080/v1", keyless=True),
    "llamagate": direct("https://api.llamagate.dev/v1"),
    "lm_studio": direct(None, hint="http://127.0.0.1:1234/v1", keyless=True),
    "maritalk": direct("https://chat.maritaca.ai/api"),
    "meta": direct("https://api.meta.ai/v1"),
    "meta_llama": direct("https://api.llama.com/compat/v1", key_variables=("LLAMA_API_KEY",)),
    "minimax": direct("https://api.minimax.io/v1", V1),
    "modelscope": direct("https://api-inference.modelscope.cn/v1"),
    "moonshot": direct("https://api.moonshot.ai/v1"),
    "morph": direct("https://api.morphllm.com/v1"),
    "nadir": direct("https://api.getnadir.com/v1"),
    "nano-gpt": direct("https://nano-gpt.com/api/v1"),
    "nebius": direct("https://api.studio.nebius.ai/v1"),
    "neosantara": direct("https://api.neosantara.xyz/v1"),
    "novita": direct("https://api.novita.ai/v3/openai"),
    "nscale": direct("https://inference.api.nscale.com/v1"),
    "nvidia_nim": direct("https://integrate.api.nvidia.com/v1"),
    "openai": OPENAI,
    "openai_like": direct(None, hint=LOCAL, keyless=True),
    "openrouter": OPENROUTER,
    "ovhcloud": direct("https://oai.endpoints.kepler.ai.cloud.ovh.net/v1"),
    "parasail": direct("https://api.parasail.io/v1"),
    "perplexity": direct("https://api.perplexity.ai", key_variables=("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY")),
    "pinstripes": direct("https://pinstripes.io/v1"),
    "poe": direct("https://api.poe.com/v1"),
    "prism": direct("https://api.prisminference.com/v1"),
    "publicai": direct("https://api.publicai.co/v1"),
    "qwen_ai_platform": direct("https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "qwencloud": direct("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "reka": direct("https://api.reka.ai/v1"),
    "sail": direct("https://api.sailresearch.com/v1"),
    "sambanova": direct("https://api.sambanova.ai/v1"),
    "sarvam": direct("https://api.sarvam.ai/v1", key_headers=("authorization", "api-subscription-key")),
    "scaleway": direct("https://api.scaleway.ai/v1"),
    "scx-ai": direct("https://api.scx.ai/v1"),
    "synthetic": direct("https://api.synthetic.new/openai/v1"),
    "tencent": direct("https://tokenhub-intl.tencentcloudmaas.com/v1"),
    "tensormesh": direct("https://serverless.tensormesh.ai/v1"),
    "together_ai": direct(
        "https://api.together.ai/v1",
        key_variables=("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
    ),
    "v0": direct("https://api.v0.dev/v1"),
    "veniceai": direct("https://api.venice.ai/api/v1"),
    "vercel_ai_gateway": direct("https://ai-gateway.vercel.sh/v1"),
    # LiteLLM's own `vllm` runs the engine inside its process; nobody who names an address means that.
    "vllm": direct(None, hint=LOCAL, keyless=True),
    "volcengine": direct(
        "https://ark.cn-beijing.volces.com/api/v3", key_variables=("ARK_API_KEY", "VOLCENGINE_API_KEY")
    ),
    "wandb": direct("https://api.inference.wandb.ai/v1"),
    "xai": XAI,
    "xiaomi_mimo": direct("https://api.xiaomimimo.com/v1"),
    "zai": direct("https://api.z.ai/api/paas/v4"),
    # ---- translated
    "anthropic": ANTHROPIC,
    "azure_ai": AZURE_AI,
    "bedrock": BEDROCK,
    "cohere": COHERE,
    "cohere_chat": COHERE_CHAT,
    "databricks": Provider(
        "translated",
        operations=EMBEDDINGS,
        wants=BASE,
        hint="https://NAME.cloud.databricks.com/serving-endpoints",
        key_variables=("DATABRICKS_API_KEY", "DATABRICKS_TOKEN"),
        headers=frozenset({"anthropic-beta"}),
    ),
    "gemini": GEMINI_API,
    "mistral": MISTRAL_API,
    "ollama": Provider("translated", operations=EMBEDDINGS, keyless=True, writes_tools=True),
    "ollama_chat": Provider("translated", keyless=True, key_variables=("OLLAMA_API_KEY",)),
    "snowflake": Provider("translated", wants=("account_id", *BASE), hint="ORGANISATION-ACCOUNT", answers_limited=True),
    "vertex_ai": VERTEX,
}
"""Every provider that can be named, by name."""

UNKNOWN: Final = Provider("translated")
"""A provider that no list may name."""

_BILLING: Final[Mapping[str, Billing]] = {
    "azure_text": Billing(owners=("azure",)),
    "bedrock_converse": OTHER_BILLING,
    "text-completion-openai": Billing(owners=("openai",)),
}
"""Billing of names that no list may name and `base_model` may."""


def provider_of(name: str) -> Provider:
    """Return the facts of a provider, the demo provider's too."""
    return DEMO if name == "demo" else PROVIDERS.get(name, UNKNOWN)


def billing_of(name: str) -> Billing:
    """Return the names and rules under which the price table holds what a provider charges."""
    return _BILLING.get(name) or provider_of(name).billing


REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("azure_text", "anthropic_text", "text-completion-openai", "text-completion-codestral",
         "text-completion-inception", "watsonx_text", "nlp_cloud", "petals", "oobabooga", "triton"), TEXT
    ),
    **dict.fromkeys(
        ("a2a", "a2a_agent", "agentcore", "cursor", "langflow", "langgraph", "litellm_agent", "manus",
         "microsoft_365_copilot", "pydantic_ai_agents", "ragflow", "strands_decider"), AGENT
    ),
    **dict.fromkeys(("chatgpt", "github_copilot"), SIGN_IN),
    **dict.fromkeys(("aleph_alpha", "anyscale", "maritalk_text", "palm"), GONE),
    **dict.fromkeys(
        ("apiserpent", "aws_polly", "aws_textract", "azure_speech", "bing_grounding", "black_forest_labs", "brave",
         "dataforseo", "deepgram", "dotprompt", "duckduckgo", "elevenlabs", "exa_ai", "fal_ai", "firecrawl",
         "google_pse", "humanloop", "langfuse", "laya", "linkup", "milvus", "mongodb", "nimble",
         "nvidia_riva", "parallel_ai", "pg_vector", "recraft", "reducto", "runwayml", "s3_vectors", "searxng", "serper",
         "soniox", "stability", "tavily", "tinyfish", "topaz", "transcribe", "typesafe", "valkey", "you_com"), NO_CHAT
    ),
    **dict.fromkeys(
        ("bytez", "gdc", "gigachat", "oci", "predibase", "replicate", "sagemaker", "sagemaker_chat", "sagemaker_nova",
         "sap", "watsonx"), UNTRIED
    ),
    # Their embeddings and rerankings are in OpenAI's form: docs.voyageai.com/reference, api.jina.ai/docs.
    "infinity": f"{PLAIN}its address, and mode: embedding or rerank in model_info",
    "jina_ai": f"{PLAIN}https://api.jina.ai/v1, and base_model: jina_ai/MODEL in model_info for its price and mode",
    "voyage": f"{PLAIN}https://api.voyageai.com/v1, and base_model: voyage/MODEL in model_info for its price and mode",
    "xinference": f"{PLAIN}its address, and mode: embedding or rerank in model_info",
    "clarifai": f"{PLAIN}https://api.clarifai.com/v2/ext/openai/v1",
    "datarobot": f"{PLAIN}https://app.datarobot.com/api/v2/genai/llmgw",
    "gradient_ai": f"{PLAIN}https://inference.do-ai.run/v1",
    "vertex_ai_beta": "is called vertex_ai",
    "custom": "is a server that speaks LiteLLM's own protocol; write openai/MODEL where it speaks OpenAI's",
    "auto_router": "chooses a model by what is asked: name it in the request, or give it an alias",
    "azure_ai/agents": AGENT,
    "azure_ai/doc-intelligence": NO_CHAT,
    "bedrock_converse": "is what LiteLLM's price table calls it; write bedrock/MODEL",
    "nanogpt": "is called nano-gpt",
    "venice": "is called veniceai",
}  # fmt: skip
"""Names that LiteLLM knows, or its lists do, and why they are refused."""
