"""The fates of the sections that a LiteLLM configuration has beside its `model_list`: facts, by key.

Source: docs.litellm.ai/docs/proxy/config_settings. `importing` takes over what it can; here are the reasons for leaving
out the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_LOG: Final = "what happened is in the ledger and the log: nothing is called back"
_CACHE: Final = "answers are not kept to be given again"
_ATTEMPTS: Final = "which deployment is tried next, and when, is the gateway's own rule"
_DATABASE: Final = "there is no database: keys and teams stand in this file, the books in the ledger's folder"
_LEVEL: Final = "the log is JSON, one line an event, at one level"
_ROUTES: Final = "docs/which-paths-are-served.md lists the paths that there are"
_LOGIN: Final = "who may ask is said by `keys`"
_WINDOWS: Final = "prompts are made to fit their model by its policy"
_LIMITED: Final = "budgets and rates are declared in `budgets` and `limits`: docs/limit-what-is-spent.md"

SECTIONS: Final[Mapping[str, str]] = {
    "health_check": "GET /health and GET /ready are always there",
    "guardrails": "what is said is not judged here",
    "mcp_servers": "tools are the client's own",
    "mcp_aliases": "tools are the client's own",
    "agent_list": "agents are the client's own",
    "search_tools": "tools are the client's own",
    "prompts": "prompts are the client's own",
    "vector_store_registry": "nothing is looked up: documents come with the request",
    "callback_settings": _LOG,
    "files_settings": _ROUTES,
    "finetune_settings": _ROUTES,
    "assistant_settings": _ROUTES,
    "worker_registry": "each gateway reads its own file",
    "include": "one file is read: import the others too and put their lists together",
}
"""Whole sections."""

KEYS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("callbacks", "success_callback", "failure_callback", "service_callback"), _LOG),
    **dict.fromkeys(("langfuse_default_tags", "turn_off_message_logging", "redact_user_api_key_info"), _LOG),
    **dict.fromkeys(("alerting", "alerting_threshold", "alert_types", "alert_to_webhook_url"), _LOG),
    **dict.fromkeys(("use_langfuse", "store_prompts_in_spend_logs", "disable_spend_logs"), _LOG),
    **dict.fromkeys(("cache", "cache_params", "cache_responses", "enable_caching", "caching_groups"), _CACHE),
    **dict.fromkeys(
        (
            *("num_retries", "num_retries_per_request", "retry_after", "retry_policy", "model_group_retry_policy"),
            *("allowed_fails", "allowed_fails_policy", "cooldown_time", "disable_cooldowns", "enable_cooldowns"),
            *("routing_strategy", "routing_strategy_args", "enable_load_balancing", "max_fallbacks"),
        ),
        _ATTEMPTS,
    ),
    **dict.fromkeys(
        (
            *("database_url", "store_model_in_db", "database_connection_pool_limit", "proxy_batch_write_at"),
            *("database_connection_timeout", "allow_requests_on_db_unavailable", "supported_db_objects"),
            *("use_redis_transaction_buffer", "disable_reset_budget", "default_team_settings", "default_user_params"),
        ),
        _DATABASE,
    ),
    **dict.fromkeys(("set_verbose", "json_logs", "log_verbose", "log_level", "debug_level", "detailed_debug"), _LEVEL),
    **dict.fromkeys(
        ("allowed_routes", "admin_only_routes", "public_routes", "pass_through_endpoints", "forward_client_headers"),
        _ROUTES,
    ),
    **dict.fromkeys(
        (
            *("custom_auth", "enable_jwt_auth", "litellm_jwtauth", "enable_oauth2_auth", "key_management_system"),
            *("key_management_settings", "ui_access_mode", "salt_key", "litellm_key_header_name", "allowed_ips"),
        ),
        _LOGIN,
    ),
    **dict.fromkeys(("enable_pre_call_checks", "optional_pre_call_checks", "context_window_fallbacks"), _WINDOWS),
    "content_policy_fallbacks": "what a provider refuses to answer is told to the client, and not asked elsewhere",
    **dict.fromkeys(
        (
            *("max_parallel_requests", "global_max_parallel_requests", "max_budget", "budget_duration"),
            *("max_internal_user_budget", "default_max_internal_user_budget", "max_end_user_budget"),
        ),
        _LIMITED,
    ),
    "drop_params": "what a provider does not know is left out on the way to it anyway",
    "modify_params": "requests are made legal for each provider anyway",
    "enable_cors": "answers carry no CORS headers: put a proxy before the gateway for browsers",
    "cors_allow_origins": "answers carry no CORS headers: put a proxy before the gateway for browsers",
    "disable_request_timeout": "timeout of an entry counts seconds without a byte",
    "stream_timeout": "timeout of an entry counts seconds without a byte, in streams too",
    "background_health_checks": "a deployment that fails rests and is tried again by requests",
    "health_check_interval": "a deployment that fails rests and is tried again by requests",
    "telemetry": "nothing is sent to anybody",
    "ssl_verify": "certificates are always checked: name your own authority's file in SSL_CERT_FILE",
}
"""Keys of `litellm_settings`, `general_settings` and `router_settings`; any other has no counterpart."""

NO_COUNTERPART: Final = "there is nothing like it here"
