"""Golden cases: what an answer states, by provider, and what it costs to the nano-dollar.

A case is an entry of a file in tests/cases/usage/: its source, the usage as the provider states it, the prices, and the
bill by hand, as a formula in words whose terms are tokens × nano-dollars.
"""

from __future__ import annotations

import json
import re
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from litellm.llms.bedrock.chat.converse_transformation import AmazonConverseConfig
from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import VertexGeminiConfig

from gateway.money.prices.entries import price_from
from gateway.request import Usage
from gateway.routing.upstreams.translated import _usage as stated_usage
from gateway.wire.metered.answers import Result
from gateway.wire.usage import billed_nanousd, found_in, usage_from_openai
from gateway.wire.usage_shapes import usage_of_messages, usage_of_responses

FOLDER: Final = Path(__file__).parent / "cases" / "usage"
TERM: Final = re.compile(r"([\d,]+) [^×+=]*?× ([\d.]+)")
CASES: Final = [(path.stem, case) for path in sorted(FOLDER.glob("*.json")) for case in json.loads(path.read_text())]


def by_hand(formula: str) -> int:
    """Work the formula of a case out."""
    terms, _, factor = formula.removeprefix("(").partition(") × ")
    total = sum((Decimal(number) * Decimal(price) for number, price in TERM.findall(terms)), Decimal(0))
    return int((total * Decimal(factor or 1)).quantize(Decimal(1), ROUND_HALF_EVEN))


def stated(shape: str, usage: Any) -> Any:
    """Put what a provider states into the form that is priced, as its listener does."""
    match shape:
        case "responses":
            return usage_of_responses(usage)
        case "messages":
            return usage_of_messages(*(usage if isinstance(usage, list) else [usage]))
        case "event":
            return found_in(usage)
        case "converse":
            return stated_usage(AmazonConverseConfig().transform_usage(usage))
        case "gemini":
            return stated_usage(VertexGeminiConfig._calculate_usage({"usageMetadata": usage}))
    return usage


def read(shape: str, usage: Any) -> Usage | None:
    return Result(b"", usage).usage() if shape == "rerank" else usage_from_openai(stated(shape, usage))


def test_there_are_cases_of_many_providers_each_with_its_source() -> None:
    assert len(CASES) >= 80
    assert len({file for file, _ in CASES}) >= 10
    assert all(case["source"].startswith("https://") for _, case in CASES)
    assert len({(file, case["name"]) for file, case in CASES}) == len(CASES)


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file}: {case['name']}" for file, case in CASES])
def test_an_answer_costs_what_its_provider_bills(file: str, case: dict[str, Any]) -> None:
    bill = billed_nanousd(stated(case["shape"], case["usage"])) if file == "openrouter" else None
    if bill is None:
        usage, price = read(case["shape"], case["usage"]), price_from(case["model"], case["prices"])
        assert usage is not None
        assert price is not None
        bill = price.cost(usage, case.get("service_tier"))
    assert bill == case["nanousd"] == by_hand(case["formula"])
