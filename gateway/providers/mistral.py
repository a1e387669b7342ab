"""Mistral: its API, and its models wherever they are served."""

from __future__ import annotations

import re
from typing import Final

from gateway.providers.bedrock import TAKES as BEDROCK_TAKES
from gateway.providers.family import Family
from gateway.providers.provider import V1, Provider, direct
from gateway.wire.foreign import REFUSES_ALL, IdForm, Reception
from gateway.wire.legality import Rules

TEMPLATES: Final = Rules("Mistral", alternates=True)
"""Mistral's models behind an engine that renders their own template.

- "After the optional system message, conversation roles must alternate user and assistant roles except for tool calls
  and results" (github.com/mistralai/mistral-vibe/issues/255, github.com/vllm-project/vllm/issues/6862).
"""

NINE: Final = IdForm("Mistral", re.compile(r"[a-zA-Z0-9]{9}\Z"), "", 9)
"""Exactly 9: "must be a-z, A-Z, 0-9, with a length of 9" (github.com/langchain-ai/langchain/pull/24668), wherever
Mistral's models are served (github.com/openclaw/openclaw/issues/57672, by OpenRouter)."""

_TAKES: Final = Reception(NINE, REFUSES_ALL)

MISTRAL: Final = Family(
    "Mistral",
    words=("mistral", "mixtral", "ministral", "magistral", "devstral", "codestral", "pixtral", "voxtral"),
    legality=TEMPLATES,
    takes_at={"bedrock": BEDROCK_TAKES},
    takes=_TAKES,
    audio=(("voxtral", 12.5),),  # docs.mistral.ai, Voxtral, read 2026-11
)

MISTRAL_API: Final = Provider(
    "translated",  # its API takes no `stream_options`, which every stream of ours asks for (docs.mistral.ai/api)
    host="api.mistral.ai",
    beside_chat=direct("https://api.mistral.ai/v1"),  # docs.mistral.ai/api
    at_an_address=direct(None, V1),
    family=MISTRAL,
    legality=TEMPLATES,
    takes=_TAKES,
    always_reasons="magistral",  # docs.mistral.ai/capabilities/reasoning, native reasoning
)
