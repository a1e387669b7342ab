"""The fate of each key that a LiteLLM `model_list` may hold: facts, by name.

Sources: LiteLLM's documentation of its configuration (docs.litellm.ai/docs/proxy/config_settings and …/configs) and the
classes `GenericLiteLLMParams` and `CustomPricingLiteLLMParams` of its package. `routing.deployment` acts on them, and
`routing.catalogue.fates` tells what became of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

OURS: Final = frozenset(
    """
    model api_base base_url api_key timeout weight order custom_llm_provider organization headers extra_headers
    extra_body stream_options additional_drop_params base_model mode max_input_tokens max_output_tokens cache_tokens
    drop_params forward_headers
    """.split()  # noqa: SIM905  # read better than strings
)
"""Keys of `litellm_params` that the gateway acts on itself, prices and defaults aside."""

DEFAULTS: Final = frozenset(
    """
    temperature top_p top_k min_p max_tokens max_completion_tokens presence_penalty frequency_penalty
    repetition_penalty seed stop logit_bias logprobs top_logprobs reasoning_effort verbosity parallel_tool_calls
    service_tier user safety_identifier store prompt_cache_key prompt_cache_retention thinking web_search_options
    modalities safety_settings reasoning
    """.split()  # noqa: SIM905  # as above
)
"""Members of a request's body that an entry may give for requests without them."""

BY_LIBRARY: Final = frozenset({"min_p", "repetition_penalty", "prompt_cache_retention", "reasoning"})
"""Of these, what only the library puts in its place where a request is translated."""

LIMITS: Final = ("max_completion_tokens", "max_tokens")
"""The two names of the most that an answer may have: who gives one gives both."""

CLIENTS: Final = frozenset(
    "messages prompt input tools tool_choice functions function_call response_format n prediction audio".split()  # noqa: SIM905
)
"""Members of the body that are the request itself: an entry cannot give them without changing what was counted."""

PROVIDERS: Final = re.compile(
    r"(?:aws|vertex|azure|watsonx|wx|oci|sagemaker|s3|gcs|databricks|snowflake|gigachat|anthropic|openai|bedrock|sap|hf)_\w+"
    r"|api_version|api_type|region_name|tenant_id|client_id|client_secret|project|project_id|space_id|deployment_id"
    r"|token|zen_api_key|model_id|guardrailConfig|performanceConfig|allowed_openai_params|auth_type|account_id"
    r"|merge_reasoning_content_in_choices|use_chat_completions_api|use_xai_oauth|supports_system_message"
    r"|cache_control_injection_points|enable_json_schema_validation"
)
"""Keys that litellm's translation to a provider reads: its credentials, places and switches."""

_ATTEMPTS: Final = "which deployment is tried next, and when, is the gateway's own rule"
_LIMITED: Final = "limits of keys stand under `limits`, with `per: key`"
_BY_TAG: Final = "requests are not routed by tags: every deployment of a name serves it"
_BUDGETED: Final = "what may be spent is not bounded here yet"

RATES: Final = ("rpm", "tpm", "max_parallel_requests")
"""Rates of a deployment: one that is over is not called."""

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("itpm", "otpm"), "tokens are counted together: give tpm"),
    **dict.fromkeys(("default_api_key_rpm_limit", "default_api_key_tpm_limit"), _LIMITED),
    **dict.fromkeys(
        ("num_retries", "max_retries", "retry_after", "cooldown_time", "allowed_fails", "retry_policy"), _ATTEMPTS
    ),
    **dict.fromkeys(("tags", "tag_regex", "provider_affinity_header"), _BY_TAG),
    **dict.fromkeys(("max_budget", "budget_duration"), _BUDGETED),
    **dict.fromkeys(
        ("stream_timeout", "timeout_by_service_tier", "stream_timeout_by_service_tier"),
        "timeout counts seconds without a byte, in streams too",
    ),
    "stream": "whether an answer is streamed is for the client to say",
    "keepalive_seconds": "a client that waits is kept waiting by the gateway itself",
    "allow_client_keepalive_override": "a client that waits is kept waiting by the gateway itself",
    **dict.fromkeys(
        ("use_in_pass_through", "use_litellm_proxy", "configurable_clientside_auth_params"),
        "a client reaches upstreams through this list and with its credentials only",
    ),
    **dict.fromkeys(
        ("metadata", "litellm_trace_id", "model_info", "id", "description", "max_file_size_mb", "caching", "no-log"),
        "a note of LiteLLM's own",
    ),
    "access_groups": "which models a key may ask for stands with the key",
}
"""Keys of `litellm_params` that can be left out without changing any answer, and why."""

INSTEAD: Final[Mapping[str, str]] = {
    "litellm_credential_name": "no credential_list is read here: write its values into the entry, or have `gateway "
    "import litellm FILE` do so",
    "mock_response": "answers are not made up under a real model's name: use demo/MODEL",
    "fallbacks": "name them under the top-level `fallbacks`: [{gpt-5: [claude-sonnet]}]",
    "context_window_fallbacks": "prompts are made to fit instead; other models to try stand under `fallbacks`",
    "ssl_verify": "certificates are always checked: name your own authority's file in SSL_CERT_FILE",
    "pricing": "prices stand in model_info itself: input_cost_per_token and output_cost_per_token",
    "callbacks": "nothing is called back: what happened is in the ledger and the log",
}
"""Keys that are refused, and what to write in their place."""

OF_INFO: Final = frozenset(
    {
        "max_input_tokens",
        "max_output_tokens",
        "max_tokens",
        "mode",
        "base_model",
        "litellm_provider",
        "order",
        "speaks",
        "supports_reasoning",
        "supports_native_streaming",
    }
)
"""Keys of `model_info` that are acted on, prices aside."""

INFO_IN_PARAMS: Final = ("base_model", "mode", "max_input_tokens", "max_output_tokens")
"""Keys of `model_info` that LiteLLM takes among `litellm_params` too."""

CHAT_MODES: Final = frozenset({"chat", "completion", "responses"})
"""Modes of LiteLLM's table whose models answer chats; those of embeddings, images … do not."""
