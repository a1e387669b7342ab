"""OpenAI: its API, and GPT wherever it is served."""

from __future__ import annotations

import re
from typing import Final

from gateway.providers.family import Family, ImageRule
from gateway.providers.formulas import Patches, Tiles
from gateway.providers.provider import Billing, Provider, direct
from gateway.wire.foreign import REFUSES_ALL, IdForm, Reception
from gateway.wire.legality import CHAT

GPT: Final = Family(
    "GPT",
    starts=(
        *("gpt-", "chatgpt-", "o1", "o3", "o4", "codex", "computer-use", "daybreak"),
        *("davinci-", "babbage-", "text-embedding-"),
    ),
    legality=CHAT,
    # tiktoken/model.py
    encodings=(
        *((start, "o200k_base") for start in ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "gpt-audio")),
        *((start, "o200k_base") for start in ("gpt-realtime", "chatgpt-4o", "o1", "o3", "o4-mini", "codex-mini")),
        ("computer-use-preview", "o200k_base"),
        *((start, "cl100k_base") for start in ("gpt-4", "gpt-3.5", "gpt-35", "davinci-002", "babbage-002")),
        *((start, "cl100k_base") for start in ("text-embedding-3", "text-embedding-ada")),
    ),
    # developers.openai.com/api/docs/guides/images-vision, "Calculating costs", read 2026-11. Measurements stand in for
    # multipliers that contradict what is billed: community.openai.com/t/1377015 (gpt-5.2 to 5.4) and
    # huggingface.co/datasets/JOHNISKING/image-token-cost (gpt-5.5, gpt-6).
    images=(
        ImageRule(Tiles(2833, 5667), "gpt-4o-mini"),
        ImageRule(Patches(1536, 1.62), "gpt-4.1-mini"),
        ImageRule(Patches(1536, 2.46), "gpt-4.1-nano"),
        ImageRule(Patches(1536, 1.72), "o4-mini"),
        ImageRule(Patches(1536, 1.72), "codex-mini"),
        ImageRule(Patches(1536, 1.62), "gpt-5-mini"),
        ImageRule(Patches(1536, 2.46), "gpt-5-nano"),
        # Published: 1.62 and 2.46 with 1,536 patches; billed: 1.2 with 2,500.
        ImageRule(Patches(2500, 1.2, low=256), "gpt-5.4-mini"),
        ImageRule(Patches(2500, 1.2, low=256), "gpt-5.4-nano"),
        ImageRule(Patches(1536, 1.2), "gpt-5.2"),
        ImageRule(Patches(1536, 1.2), "gpt-5.3"),
        ImageRule(Tiles(70, 140), "gpt-5.1"),
        ImageRule(Patches(2500, 1.2, low=256, auto=10_000), "gpt-5."),
        ImageRule(Tiles(70, 140), "gpt-5"),
        # No limit is published; 12 megapixels were billed as 11,970 patches.
        ImageRule(Patches(2500, 1.2, low=256, auto=12_000), "gpt-6"),
        ImageRule(Tiles(75, 150), "o1"),
        ImageRule(Tiles(75, 150), "o3"),
        ImageRule(Tiles(65, 129), "computer-use"),
        ImageRule(Tiles(85, 170), "gpt-4"),
        ImageRule(Tiles(85, 170), "chatgpt-4o"),
    ),
    # platform.openai.com/docs/guides/realtime-costs, read 2026-11
    audio=(("", 10),),
    # Windows of GPT-5 and later that the price table states for the input alone: 400,000 and 1,050,000 less 128,000 for
    # the answer (the sum for GPT-5: platform.openai.com/docs/models/gpt-5; for the later ones inferred from it). For
    # all other models of OpenAI it gives the whole window.
    input_windows=frozenset({272_000, 922_000}),
)

MAKER: Final = "openai/"
"""The path before GPT's names at routers and engines."""

IDS: Final = IdForm("OpenAI", re.compile(r".{1,40}\Z", re.DOTALL))
"""At most 40 characters: "string too long. Expected a string with maximum length 40, but got a string with length 46"
(github.com/anomalyco/opencode/issues/12653; github.com/camel-ai/camel/issues/2215)."""

TAKES: Final = Reception(IDS, REFUSES_ALL)

RESPONSES: Final = "responses/"
"""Before a model of OpenAI's or Azure's that only its Responses API serves; litellm translates to it."""

HEADERS: Final = frozenset({"openai-beta", "session-id", "session_id", "thread-id", "originator"})
"""Headers of clients that go along: OpenAI's own, and those in which Codex names its session
(github.com/openai/codex, `codex-rs/core/src/client.rs` and `codex-rs/codex-api`)."""

OPENAI: Final = direct(
    "https://api.openai.com/v1",
    family=GPT,
    legality=CHAT,
    takes=TAKES,
    headers=HEADERS,
    speaks={"responses": Provider("direct", "https://api.openai.com/v1", "/responses")},
    translated_models=RESPONSES,
    takes_newest_limit=True,
    billing=Billing(owners=("text-completion-openai",), routes=(RESPONSES,)),  # litellm's main.py
)

REGIONAL: Final = re.compile(r"https?://(eu|us)\.api\.openai\.com(?:[:/]|$)")
"""Its regional hosts, which have a price of their own."""
