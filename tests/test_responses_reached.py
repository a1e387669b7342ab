"""Who is asked for Responses natively, where, and under which name."""

from typing import Any

import pytest

from gateway.providers.addresses import operation_endpoint
from gateway.routing.deployment import Deployment, Unservable
from tests.test_deployment import one

MINE = "https://mine.openai.azure.com"


def url(asked: Deployment) -> str | None:
    """Where a deployment is asked for Responses; None where it is asked for a chat."""
    spoken = asked.spoken("responses")
    if spoken is None:
        return None
    assert (spoken.kind, spoken.operation) == ("direct", "responses")
    return operation_endpoint(
        spoken.provider, spoken.model, spoken.api_base or "", spoken.api_key, spoken.params, "responses"
    ).url


@pytest.mark.parametrize(
    ("model", "params", "address"),
    [
        ("openai/gpt-5", {}, "https://api.openai.com/v1/responses"),
        ("openai/gpt-5", {"api_base": "https://eu.api.openai.com/v1"}, "https://eu.api.openai.com/v1/responses"),
        ("openai/gpt-5", {"api_base": "http://10.0.0.1:8000/v1"}, None),
        ("xai/grok-4", {}, "https://api.x.ai/v1/responses"),
        ("openrouter/openai/gpt-5", {}, "https://openrouter.ai/api/v1/responses"),
        ("hosted_vllm/m", {"api_base": "http://10.0.0.1:8000/v1"}, None),
        ("anthropic/claude-sonnet-4-5", {}, None),
        ("demo/gpt-4o", {}, None),
        ("azure/gpt-5", {"api_base": MINE}, None),
        ("azure/gpt-5", {"api_base": MINE, "api_version": "2024-10-21"}, None),
        ("azure/gpt-5", {"api_base": MINE, "api_version": "preview"}, f"{MINE}/openai/v1/responses"),
        ("azure/gpt-5", {"api_base": f"{MINE}/openai/v1"}, f"{MINE}/openai/v1/responses"),
        (
            "azure/gpt-5",
            {"api_base": MINE, "api_version": "2025-04-01-preview"},
            f"{MINE}/openai/responses?api-version=2025-04-01-preview",
        ),
        ("azure/gpt-5", {"api_base": f"{MINE}/openai/deployments/x", "api_version": "preview"}, None),
    ],
)
def test_a_provider_that_speaks_responses_is_asked_for_them(model: str, params: dict[str, Any], address: str | None):
    assert url(one(model, api_key="k", **params)) == address


def test_a_server_of_ones_own_is_asked_as_its_entry_says():
    assert url(one("hosted_vllm/m", {"speaks": ["responses"]}, api_base="http://10.0.0.1:8000/v1")) == (
        "http://10.0.0.1:8000/v1/responses"
    )
    assert url(one("openai/gpt-5", {"speaks": ["chat"]}, api_key="k")) is None
    with pytest.raises(Unservable, match="is no list of shapes"):
        one("openai/gpt-5", {"speaks": ["telepathy"]}, api_key="k")


def test_a_model_that_nothing_else_serves_is_asked_by_its_own_name():
    asked = one("openai/responses/gpt-5-pro", api_key="k")
    assert asked.kind == "translated"
    spoken = asked.spoken("responses")
    assert spoken is not None
    assert (spoken.kind, spoken.model) == ("direct", "gpt-5-pro")
    assert url(asked) == "https://api.openai.com/v1/responses"
