"""Anthropic: its API, and Claude wherever it is served. Its prompt cache: `anthropic.yaml`."""

from __future__ import annotations

import re
from typing import Final

from gateway.providers.family import Family, ImageRule
from gateway.providers.formulas import ClaudePatches
from gateway.providers.provider import Billing, Provider
from gateway.wire.foreign import IdForm, Reception
from gateway.wire.legality import Rules

MESSAGES_API: Final = Rules("Anthropic", user_first=True, empty_text=False, unique_calls=True)
"""Messages API. Results become blocks at the head of the next user message, so pairing is as for everybody.

- "`tool_use` ids were found without `tool_result` blocks immediately after"
  (github.com/anthropics/claude-code/issues/3632).
- "`tool_use` ids must be unique" (github.com/trycua/cua/issues/524).
- The first message is the user's: litellm refuses anything else (`prompt_templates/factory.py`, "Invalid first
  message").
- "all messages must have non-empty content except for the optional final assistant message"
  (github.com/glowingjade/obsidian-smart-composer/pull/156), "text content blocks must be non-empty".
- "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified"
  (github.com/anthropics/claude-code/issues/63284): whole messages go, or stay as they came. The newest models bind
  thinking to everything before it (platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5): folds are made
  at the boundary of a user's turn, and thinking behind the first change goes (`rewriting/folds`).
"""

TOOL_USE_IDS: Final = IdForm("Anthropic and Bedrock", re.compile(r"[a-zA-Z0-9_-]{1,64}\Z"))
"""docs.claude.com/en/api/messages, `tool_use_id`: ^[a-zA-Z0-9_-]+$; Bedrock's ToolUseBlock: at most 64."""

_TAKES: Final = Reception(TOOL_USE_IDS, frozenset({"unsigned"}))

CLAUDE: Final = Family(
    "Claude",
    words=("claude",),
    legality=MESSAGES_API,
    takes_at=dict.fromkeys(("anthropic", "bedrock", "vertex_ai", "azure_ai", "databricks"), _TAKES),
    # platform.claude.com/docs/en/build-with-claude/vision and …/vision-coordinates, read 2026-11; measured in
    # huggingface.co/datasets/JOHNISKING/image-token-cost.
    images=(ImageRule(ClaudePatches(4784, 2576), since=(4, 7)), ImageRule(ClaudePatches(1568, 1568))),
    # "By default, no thinking happens" (vercel.com/docs/ai-gateway/models-and-providers/reasoning/anthropic); some of
    # version 5 cannot do without (docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html)
    thinks_since=(5, 0),
    answers_limited=True,  # docs.claude.com/en/api/messages, `max_tokens`: required, and litellm makes one up
    takes_betas=True,
    plain=("claude", "anthropic"),
)

HOME: Final = "https://api.anthropic.com"

MESSAGES_WAY: Final = Provider(
    "direct",
    HOME,
    "/v1/messages",
    key_headers=("x-api-key",),
    usual_headers={"anthropic-version": "2023-06-01"},
)
"""docs.claude.com/en/api/overview and …/versioning: `POST /v1/messages`, the key as `x-api-key`, and a version."""

ANTHROPIC: Final = Provider(
    "translated",
    host="api.anthropic.com",
    family=CLAUDE,
    legality=MESSAGES_API,
    takes=_TAKES,
    headers=frozenset({"anthropic-beta", "anthropic-version"}),
    betas=None,
    answers_limited=True,
    speaks={"messages": MESSAGES_WAY},
    fetches=("https://",),  # litellm's `create_anthropic_image_param`
    billing=Billing(has_modifiers=True),
)
