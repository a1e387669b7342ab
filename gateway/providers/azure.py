"""Azure: OpenAI's models under deployment names of the customer's choice, and Azure AI with everybody's."""

from __future__ import annotations

from typing import Final

from gateway.providers.anthropic import MESSAGES_WAY
from gateway.providers.openai import GPT, HEADERS, RESPONSES, TAKES
from gateway.providers.provider import BASE, Billing, Provider, direct
from gateway.providers.reasons import AGENT, NO_CHAT
from gateway.wire.legality import CHAT

AZURE: Final = "azure"
"""Reached by `addresses.operation_endpoint`: the deployment is in the path."""

VERSION: Final = "2025-02-01-preview"
"""The API version that is asked for where the list names none: litellm's (`AZURE_DEFAULT_API_VERSION`)."""

V1_VERSIONS: Final = frozenset({"v1", "latest", "preview"})
"""Versions of Azure's newer API, which names the deployment in the body
(learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle)."""

FIRST_RESPONSES: Final = "2025-03-01-preview"
"""The first dated version with Responses
(learn.microsoft.com/azure/ai-foundry/openai/how-to/responses, "API support")."""

ENTRA: Final = ("tenant_id", "client_secret", "azure_username", "azure_ad_token_provider", "azure_scope")
"""Parameters by which LiteLLM signs in to Azure by itself."""

SIGNED: Final = ("api_key", "azure_ad_token")

_SERIES: Final = ("o_series/", "gpt5_series/")
"""Prefixes of a deployment's name that LiteLLM accepts in a list, and does not send
(its llms/azure/chat/{o_series,gpt_5}_transformation.py)."""

AZURE_OPENAI: Final = direct(
    None,
    hint="https://NAME.openai.azure.com",
    key_headers=("api-key",),
    key_variables=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    own_parameters=frozenset({"api_version", "azure_ad_token"}),
    renamed=_SERIES,
    family=GPT,
    legality=CHAT,
    takes=TAKES,
    headers=HEADERS,
    speaks={"responses": Provider("direct", None, "/responses")},
    is_own_anywhere=True,
    translated_models=RESPONSES,
    billing=Billing(routes=(RESPONSES, *_SERIES)),
)

FOUNDRY: Final = "azure_ai"

FOUNDRY_MESSAGES: Final = Provider(
    "direct",
    None,
    "/anthropic/v1/messages",
    key_headers=("x-api-key",),
    usual_headers=MESSAGES_WAY.usual_headers,
)
"""Claude at its maker's own path; a token of Entra's is a bearer token
(learn.microsoft.com/azure/ai-foundry/foundry-models/how-to/use-foundry-models-claude)."""

AZURE_AI: Final = Provider(
    "translated",
    operations=frozenset({"rerank"}),
    wants=BASE,
    hint="https://NAME.services.ai.azure.com",
    refused_models={"agents/": AGENT, "doc-intelligence/": NO_CHAT},
    takes_otherwise=TAKES,
    headers=frozenset({"anthropic-beta"}),
    speaks={"messages": FOUNDRY_MESSAGES},
    billing=Billing(owners=("azure", "openai"), routes=(RESPONSES,)),
)
