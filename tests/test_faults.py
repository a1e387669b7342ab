"""Whose fault an error answer tells of: a table of answers that providers give, from their pages and from reports."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.faults import Fault, fault_of
from tests.conftest import examples


def fault(status: int, body: Any, model: str = "gpt-5", *, wildcard: bool = False) -> Fault:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return fault_of(status, raw, model=model, wildcard=wildcard)


def error(message: str = "no", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


LASTS = [
    ("OpenAI, a wrong key", 401, error("Incorrect API key provided", code="invalid_api_key"), "key"),
    ("anybody, a 401 without a word", 401, b"", "key"),
    ("Gemini, a wrong key in a 400", 400,
     error("API key not valid.", status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]), "key"),
    ("xAI, a wrong key in a 400", 400,
     {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***."}, "key"),
    ("Google, no permission", 403, error("denied", status="PERMISSION_DENIED"), "key"),
    ("Bedrock, no access", 403, {"__type": "AccessDeniedException", "message": "You don't have access"}, "key"),
    ("DeepSeek, no money", 402, error("Insufficient Balance"), "credit"),
    ("OpenAI, no money", 429, error("You exceeded your current quota", code="insufficient_quota"), "credit"),
    ("Anthropic, no money in a 400", 400,
     error("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"), "credit"),
    ("Alibaba, no money in a 400", 400, {"code": "Arrearage", "message": "Access denied"}, "credit"),
    ("Azure, no such deployment", 404, error("The API deployment does not exist.", code="DeploymentNotFound"), "model"),
    ("OpenAI, no such model", 404, error("The model `gpt-5` does not exist", code="model_not_found"), "model"),
    ("Anthropic, no such model", 404, error("model: gpt-5", type="not_found_error"), "model"),
    ("vLLM, no such model", 404,
     error("The model `gpt-5` does not exist.", type="NotFoundError", code=404), "model"),
    ("Groq, a model that is gone", 400, error("gone", code="model_decommissioned"), "model"),
    ("Mistral, no such model", 400, {"message": "Invalid model: x", "type": "invalid_model"}, "model"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), [case[1:] for case in LASTS], ids=[case[0] for case in LASTS])
def test_what_is_wrong_with_a_deployment_whoever_asks_falls_back_rests_it_and_lasts(status: int, body: Any, kind: str):
    found = fault(status, body)
    assert (found.whose, found.kind, found.rests, found.lasts) == ("deployment", kind, True, True)
    assert not found.ends_the_search


RESTS = [
    ("OpenAI, too many requests", 429, error("Rate limit reached", type="requests", code="rate_limit_exceeded"),
     "rate"),
    ("OpenAI, the minute's tokens are used up", 429,
     error("on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.", type="tokens"), "rate"),
    ("Cerebras, the minute's tokens are used up", 429,
     {"message": "Tokens per minute limit exceeded - too many tokens processed.", "type": "too_many_tokens_error",
      "code": "token_quota_exceeded"}, "rate"),
    ("Gemini, too many requests", 429, error("Resource exhausted", status="RESOURCE_EXHAUSTED"), "rate"),
    ("Alibaba, throttled by its quota", 429, {"code": "Throttling.AllocationQuota", "message": "slow"}, "rate"),
    ("Bedrock, throttled in a 400", 400, {"__type": "ThrottlingException", "message": "slow"}, "rate"),
    ("a firewall's page", 403, b"<html>Forbidden</html>", "key"),
    ("anybody, without a name for it", 404, error("model not found"), "model"),
    ("a wrong address", 404, b"<html>nothing here</html>", "model"),
    ("a wrong address of FastAPI", 404, {"detail": "Not Found"}, "model"),
    ("Anthropic, overloaded", 529, error("Overloaded", type="overloaded_error"), "trouble"),
    ("Bedrock, its model failed", 424, {"message": "the model failed"}, "trouble"),
    ("a timeout", 408, b"", "trouble"),
    ("a server error", 500, error("boom"), "trouble"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), [case[1:] for case in RESTS], ids=[case[0] for case in RESTS])
def test_what_passes_falls_back_and_rests_and_is_still_tried_where_nobody_else_is(status: int, body: Any, kind: str):
    found = fault(status, body)
    assert (found.kind, found.rests, found.lasts) == (kind, True, False)
    assert not found.ends_the_search


DEPENDS = [
    ("OpenRouter, less credit than the answer may cost", 402,
     error("You requested up to 64000 tokens, but can only afford 1203.", code=402), "size"),
    ("Groq, more tokens than a minute has", 413,
     error("Request too large on tokens per minute (TPM): Limit 6000, Requested 7000", type="tokens",
           code="rate_limit_exceeded"), "size"),
    ("OpenAI, more tokens than a minute has", 429,
     error("Request too large (TPM): Limit 30,000, Requested 45,000.", type="tokens"), "size"),
    ("OpenRouter, nobody can do what is asked", 404, error("No endpoints found that support tool use", code=404),
     "model"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), [case[1:] for case in DEPENDS], ids=[case[0] for case in DEPENDS])
def test_what_depends_on_the_request_falls_back_and_rests_nobody(status: int, body: Any, kind: str):
    found = fault(status, body)
    assert (found.whose, found.kind, found.rests, found.lasts) == ("deployment", kind, False, False)


def test_a_model_that_the_client_named_under_a_wildcard_rests_nobody():
    assert not fault(404, error("no such model", code="model_not_found"), wildcard=True).rests
    assert fault(401, b"", wildcard=True).rests


REQUEST = [
    ("a bad parameter", 400, error("Unknown parameter: 'x'", code="unknown_parameter", param="x")),
    ("a text that speaks of keys and credit", 400, error("messages[0]: 'my api key has no credit' is no object")),
    ("a body without a word", 400, b""),
    ("FastAPI's complaint", 422, {"detail": [{"loc": ["body"], "msg": "field required"}]}),
    ("a body that is too large", 413, b"<html>413 Request Entity Too Large</html>"),
    ("a prompt that is too long", 400, error("too long", code="context_length_exceeded")),
    ("an answer limit that is too high", 400, error("max_tokens is too large", type="invalid_request_error")),
    ("for legal reasons", 451, b""),
    ("a file that is not there", 404, error("No such File object: file-1", param="id")),
    ("Gemini, a file that is gone", 403,
     error("You do not have permission to access the File abc or it may not exist.", status="PERMISSION_DENIED")),
    ("Gemini, cached content that is gone", 404,
     error("CachedContent not found (or permission denied) for model gpt-5", status="NOT_FOUND")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), [case[1:] for case in REQUEST], ids=[case[0] for case in REQUEST])
def test_a_fault_of_the_request_is_nobody_elses(status: int, body: Any):
    found = fault(status, body)
    assert (found.whose, found.kind) == ("request", "illegal")
    assert found.ends_the_search


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("filtered", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"})),
        (400, error("rejected", code="moderation_blocked")),
        (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
        (403, error("flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "…"})),
    ],
)
def test_what_a_provider_finds_wrong_with_the_words_goes_to_the_client(status: int, body: Any):
    assert fault(status, body).kind == "moderation"
    assert fault(status, body).ends_the_search


def test_what_a_translation_kept_of_a_providers_own_error_counts():
    kept = {"error": {"message": "m", "type": "x", "code": None, "provider_error": {"status": "PERMISSION_DENIED"}}}
    assert fault(400, kept).kind == "key"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "details", "metadata", "reason", "message"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(100))
@given(status=st.integers(100, 999), body=st.binary(max_size=80) | JSON.map(lambda said: json.dumps(said).encode()))
def test_no_body_is_too_odd_to_be_judged(status: int, body: bytes):
    assert isinstance(fault_of(status, body, model="gpt-5"), Fault)


def test_a_body_that_is_huge_or_deep_is_judged_by_its_status():
    deep = b'{"error":' * 5000 + b"1" + b"}" * 5000
    assert fault(400, deep).kind == "illegal"
    assert fault(401, b'{"error":"' + b"x" * 10_000_000 + b'"}').kind == "key"
