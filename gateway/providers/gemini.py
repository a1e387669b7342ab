"""Google: the Gemini API, Vertex AI, and Gemini wherever it is served. Its prompt cache: `gemini.yaml`."""

from __future__ import annotations

from typing import Final

from gateway.providers.family import Family, ImageRule
from gateway.providers.formulas import GeminiLevels, GeminiTiles
from gateway.providers.provider import EMBEDDINGS, Billing, Envelope, Provider
from gateway.providers.reasons import AGENT
from gateway.wire.foreign import ANYTHING
from gateway.wire.legality import Rules

GENERATE_CONTENT: Final = Rules("Gemini", calls_open=False)
"""generateContent.

- "the number of function response parts is equal to the number of function call parts of the function call turn"
  (github.com/google-gemini/gemini-cli/issues/5443).
- "function call turn comes immediately after a user turn or after a function response turn"
  (github.com/google-gemini/gemini-cli/issues/11814). litellm joins assistant messages in a row into one turn.
- Thought signatures ride along with their calls (ai.google.dev/gemini-api/docs/thought-signatures). litellm reads them
  out of ids and fields, and thinking out of nothing else, so everything is taken.
"""

TILES: Final = GeminiTiles(tile=258, most=24, longest_side=3072, page=258, frame=258, low_frame=66)
"""Until 2.5. The largest image is 3072 by 384: 12 by 2 tiles of 256 pixels. A page of a PDF is its picture alone."""

LEVELS: Final = GeminiLevels(low=280, medium=560, usual=1120, ultra_high=2240, page=560, frame=70)
"""From 3 on."""

SOUND: Final = 32
"""Tokens of a second of a video's sound, and of audio."""

GEMINI: Final = Family(
    "Gemini",
    words=("gemini",),
    legality=GENERATE_CONTENT,
    takes_at={"gemini": ANYTHING, "vertex_ai": ANYTHING},
    # ai.google.dev/gemini-api/docs/tokens, …/image-understanding, …/media-resolution and …/video-understanding, read
    # 2026-11; measured in huggingface.co/datasets/JOHNISKING/image-token-cost (Gemini 3).
    images=(ImageRule(LEVELS, since=(3, 0)), ImageRule(TILES)),
    image=LEVELS,
    audio=(("", SOUND),),
    counts_answer_apart=True,  # ai.google.dev/gemini-api/docs/models
    plain=("gemini", "vertex_ai"),
)

GEMINI_API: Final = Provider(
    "translated",
    operations=EMBEDDINGS,
    host="generativelanguage.googleapis.com",
    key_variables=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    family=GEMINI,
    legality=GENERATE_CONTENT,
    takes=ANYTHING,
    fetches=("https://generativelanguage.googleapis.com/v1beta/files/",),  # litellm's `_process_gemini_media`
    end_marker=b'"finishReason"',
)

RAW_PREDICT: Final = Provider("signed", envelope=Envelope("google", "vertex-2023-10-16", frozenset({"model"})))
"""Claude in Anthropic's own shape: `rawPredict` and `streamRawPredict` name the model in the path
(docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude)."""

VERTEX: Final = Provider(
    "translated",
    modules=("google.auth", "requests"),
    package="google-auth",
    extra="vertex",
    key_variables=(),  # signed with other credentials
    refused_models={"agent_engine/": AGENT},
    headers=frozenset({"anthropic-beta"}),
    speaks={"messages": RAW_PREDICT},
    billing=Billing(owners=("vertex_ai*",)),
)
"""It serves Claude and others too: no mark ends its streams, and no family is its own."""
