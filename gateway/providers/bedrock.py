"""Amazon Bedrock: many makers' models under names, routes and ARNs of its own. Its prompt cache: `bedrock.yaml`."""

from __future__ import annotations

import re
from typing import Final

from gateway.providers.anthropic import TOOL_USE_IDS
from gateway.providers.bedrock_events import BedrockEvents
from gateway.providers.provider import EMBEDDINGS, Billing, Envelope, Provider, direct
from gateway.providers.reasons import AGENT
from gateway.wire.foreign import REFUSES_ALL, Reception

TAKES: Final = Reception(TOOL_USE_IDS, REFUSES_ALL)
"""Of models other than Claude: Converse wants ids in the same form of all (Bedrock's ToolUseBlock)."""

GEOGRAPHY: Final = re.compile(r"(?:us|eu|au|jp|apac|ca|sa|global|us-gov)\.(?=.)")
"""Before the name of a model that is served across the regions of a geography."""

_INVOKE: Final = "invoke/"
ROUTES: Final = (
    *(_INVOKE, "converse/", "converse_like/", "async_invoke/", "chat_completions/", "openai/", "mantle/"),
    "claude_platform/",
)
"""Beginnings of names that say by which of its APIs a model is asked: litellm's llms/bedrock/common_utils.py,
`get_bedrock_route`."""

_BILLING: Final = Billing(owners=("bedrock*",), geography=GEOGRAPHY, routes=ROUTES)


def names_another_api(model: str) -> bool:
    """Whether a name says that the model is asked by another API than the one that takes Anthropic's shape."""
    return model.startswith(ROUTES) and not model.startswith(_INVOKE)


INVOKE: Final = Provider(
    "signed",
    envelope=Envelope(
        "aws",
        "bedrock-2023-05-31",
        frozenset({"model", "stream"}),
        holds_betas=True,
        edits=frozenset({"clear_tool_uses_20250919", "compact_20260112"}),
    ),
    stream_reader=BedrockEvents,
    betas={"": "bedrock"},
)
"""Claude in Anthropic's own shape: `InvokeModel` and `InvokeModelWithResponseStream` name the model in the path and say
by it whether a stream is wanted
(docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html). Its context edits:
…/model-parameters-anthropic-claude-messages-tool-use.html, and litellm's `BedrockInvokeAnthropicMessagesRequest`."""

BEDROCK: Final = Provider(
    "translated",
    operations=EMBEDDINGS,
    modules=("boto3", "botocore"),
    package="boto3",
    extra="bedrock",
    key_variables=(),  # signed with other credentials
    refused_models={"agent/": AGENT, "agentcore/": AGENT},
    takes_otherwise=TAKES,
    headers=frozenset({"anthropic-beta"}),
    betas={"invoke/": "bedrock", "": "bedrock_converse"},
    speaks={"messages": INVOKE},
    billing=_BILLING,
)

OTHER_BILLING: Final = Billing(owners=_BILLING.owners, geography=GEOGRAPHY)
"""Under its other names, no route stands before a model's."""

MANTLE: Final = direct(None, hint="https://bedrock-mantle.us-east-1.api.aws/v1", billing=OTHER_BILLING)

ARN: Final = re.compile(r"arn:[^/]+:([a-z-]+)/(.+)")
NAMING: Final = frozenset({"foundation-model", "inference-profile"})
"""Kinds of resources whose ARN ends in the model's own name:
docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html. All others end in an id."""
