"""What becomes of a request's parameters on the way to an API that does not know all of them."""

from typing import Any

import pytest

from gateway.providers.parameters import as_function, provider_parameters

CLAUDE = frozenset({"stream", "temperature", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stop"})
GEMINI = CLAUDE | {"n", "seed", "logprobs", "functions"}
ASKED: dict[str, Any] = {"model": "m", "messages": [], "stream": True, "stream_options": {}, "max_tokens": 9}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 1), ("logprobs", False), ("top_logprobs", 0), ("response_format", {"type": "text"}), ("functions", []),
        ("presence_penalty", 0), ("presence_penalty", 0.0), ("logit_bias", {}), ("store", False), ("metadata", {}),
        ("modalities", ["text"]), ("service_tier", "auto"), ("service_tier", "default"), ("verbosity", "medium"),
        ("seed", None), ("n", None), ("audio", None), ("something_new", None),
    ],
)  # fmt: skip
def test_what_says_no_more_than_leaving_it_out_is_left_out_in_silence(name: str, value: Any):
    got = provider_parameters(ASKED | {name: value}, CLAUDE - {"response_format"})
    assert (dict(got.fields), got.dropped, got.unfit) == ({"max_tokens": 9}, (), None)


def test_a_default_tier_is_never_translated_into_another():
    assert "service_tier" not in provider_parameters(ASKED | {"service_tier": "auto"}, CLAUDE | {"service_tier"}).fields
    assert (
        provider_parameters(ASKED | {"service_tier": "flex"}, CLAUDE | {"service_tier"}).fields["service_tier"]
        == "flex"
    )


def test_hints_are_dropped_and_named():
    hints = {"seed": 7, "user": "u", "store": True, "prediction": {"type": "content"}, "verbosity": "low",
             "prompt_cache_key": "k", "metadata": {"a": "b"}, "parallel_tool_calls": False}  # fmt: skip
    got = provider_parameters(ASKED | hints, frozenset())
    assert sorted(got.dropped) == sorted(hints)
    assert (dict(got.fields), got.unfit) == ({"max_tokens": 9}, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2), ("response_format", {"type": "json_object"}), ("logprobs", True), ("top_logprobs", 3),
        ("functions", [{"name": "f"}]), ("tools", [{}]), ("audio", {"voice": "alloy"}),
        ("modalities", ["text", "audio"]),
    ],
)  # fmt: skip
def test_what_changes_the_form_of_the_answer_makes_the_deployment_unfit(name: str, value: Any):
    assert provider_parameters(ASKED | {name: value}, frozenset({"temperature"})).unfit == name


def test_what_the_provider_has_a_word_for_goes_there():
    wanted = {"n": 2, "seed": 7, "logprobs": True, "temperature": 0.5, "top_k": 4, "safety_settings": []}
    got = provider_parameters(ASKED | wanted, GEMINI)
    assert (dict(got.fields), got.dropped, got.unfit) == ({"max_tokens": 9, **wanted}, (), None)


def test_tools_that_are_written_into_the_prompt_are_taken():
    assert provider_parameters(ASKED | {"tools": [{"a": 1}]}, frozenset(), writes_tools=True).fields["tools"] == [
        {"a": 1}
    ]


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        ("none", "none"),
        ("auto", "auto"),
        ({"name": "f"}, {"type": "function", "function": {"name": "f"}}),
        (None, None),
    ],
)
def test_functions_become_tools_one_call_at_a_time(choice: Any, becomes: Any):
    function = {"name": "f", "parameters": {"type": "object"}}
    got = provider_parameters(ASKED | {"functions": [function], "function_call": choice}, CLAUDE)
    assert got.fields["tools"] == [{"type": "function", "function": function}]
    assert got.fields.get("tool_choice") == becomes
    assert got.fields["parallel_tool_calls"] is False
    assert (got.unfit, got.dropped, got.calls_by_function) == (None, (), True)


def test_a_call_is_told_as_a_function_call_to_whoever_sent_functions():
    said: dict[str, Any] = {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    assert as_function(said)
    assert said == {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    assert not as_function({"content": "words"})


def test_names_that_a_client_makes_up_never_break_a_header():
    got = provider_parameters(
        ASKED | {"a\r\nset-cookie: b": 1, "é" * 9: 2, "x" * 999: 3} | {f"p{n}": n for n in range(99)}, CLAUDE
    )
    assert got.dropped[:3] == ("…", "…", "…")
    assert len(got.dropped) == 20
