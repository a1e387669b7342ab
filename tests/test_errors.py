"""What a client is told, and that the real clients raise their own right exception at it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from httpx import MockTransport, Request, Response
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import SecretStr

from gateway.money.keys import KeyRefusal
from gateway.wire import errors
from gateway.wire.chat.relay import error_event
from gateway.wire.errors import GatewayError, printable

INPUT: dict[str, Any] = {
    "window": 32000,
    "prompt": 41310,
    "completion": 4000,
    "policy": "support",
    "component": "input",
    "tokens": 38900,
    "room": 25590,
    "at": "messages[41]",
}
TOO_LONG = errors.context_length_exceeded(**INPUT)
FINAL = errors.prompt_too_large_for_policy(
    room="The prompt may have 4.5k tokens.",
    fixed={"tools": 4707},
    component="tools",
    tokens=4707,
    most=2488,
    at="tools",
    param="tools",
    do="Send fewer.",
)
LIMIT = errors.answer_limit_exceeded(
    window=128000, prompt=9, completion=128000, param="max_completion_tokens", most=127991
)
REFUSED = {
    "error": {"message": "Bad temperature", "type": "invalid_request_error", "param": "temperature", "code": "x"}
}

CASES: list[tuple[GatewayError, type[openai.APIStatusError], int, str | None, str | None, str]] = [
    (errors.invalid_request("Bad", "n"), openai.BadRequestError, 400, None, "n", "invalid_request_error"),
    (TOO_LONG, openai.BadRequestError, 400, "context_length_exceeded", "messages", "invalid_request_error"),
    (FINAL, openai.BadRequestError, 400, "prompt_too_large_for_policy", "tools", "invalid_request_error"),
    (LIMIT, openai.BadRequestError, 400, "context_length_exceeded", "max_completion_tokens", "invalid_request_error"),
    (errors.invalid_key(), openai.AuthenticationError, 401, "invalid_api_key", None, "invalid_request_error"),
    (
        errors.host_not_allowed("evil.example"),
        openai.PermissionDeniedError,
        403,
        "host_not_allowed",
        None,
        "invalid_request_error",
    ),
    (
        errors.origin_not_allowed("https://evil.example"),
        openai.PermissionDeniedError,
        403,
        "origin_not_allowed",
        None,
        "invalid_request_error",
    ),
    (
        errors.model_not_allowed("gpt-5"),
        openai.PermissionDeniedError,
        403,
        "model_not_allowed",
        "model",
        "invalid_request_error",
    ),
    (errors.model_not_found("gpt-5"), openai.NotFoundError, 404, "model_not_found", "model", "invalid_request_error"),
    (
        errors.model_unpriced("gpt-5"),
        openai.PermissionDeniedError,
        403,
        "model_unpriced",
        "model",
        "invalid_request_error",
    ),
    (errors.request_not_found("gw_1"), openai.NotFoundError, 404, "request_not_found", "id", "invalid_request_error"),
    (errors.not_found("/v1/x"), openai.NotFoundError, 404, "unknown_url", None, "invalid_request_error"),
    (
        errors.method_not_allowed("GET", "/v1/chat/completions", "POST"),
        openai.APIStatusError,
        405,
        "method_not_allowed",
        None,
        "invalid_request_error",
    ),
    (
        errors.unknown_encoding("br", ("gzip", "deflate")),
        openai.APIStatusError,
        415,
        "unknown_encoding",
        "content-encoding",
        "invalid_request_error",
    ),
    (errors.too_large(32_000_000), openai.APIStatusError, 413, "request_too_large", None, "invalid_request_error"),
    (errors.internal_error(), openai.InternalServerError, 500, "internal_error", None, "server_error"),
    (
        errors.upstream_failed("reset", "Cut off."),
        openai.InternalServerError,
        502,
        "upstream_reset",
        None,
        "server_error",
    ),
    (errors.ledger_unavailable(), openai.InternalServerError, 503, "ledger_unavailable", None, "server_error"),
    (
        errors.upstream_failed("timeout", "Silent."),
        openai.InternalServerError,
        504,
        "upstream_timeout",
        None,
        "server_error",
    ),
    (
        errors.upstream_refused(400, json.dumps(REFUSED).encode()),
        openai.BadRequestError,
        400,
        "x",
        "temperature",
        "invalid_request_error",
    ),
]


def answering(error: GatewayError) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        headers = {"content-type": "application/json", "x-request-id": "gw_01J9", **error.headers}
        return Response(error.status, headers=headers, content=error.body("gw_01J9"))

    return answer


def raised_by_openai(error: GatewayError, retries: int = 0) -> openai.APIStatusError:
    http = openai.DefaultHttpxClient(transport=MockTransport(answering(error)))
    with (
        OpenAI(api_key="k", base_url="http://gateway/v1", max_retries=retries, http_client=http) as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    return raised.value


def told(error: GatewayError) -> dict[str, Any]:
    body = json.loads(error.body("gw_01J9"))
    assert list(body) == ["error"]
    fields: dict[str, Any] = body["error"]
    return fields


@pytest.mark.parametrize(
    ("error", "exception", "status", "code", "param", "error_type"), CASES, ids=lambda c: str(c)[:40]
)
def test_openais_client_raises_its_own_right_exception(error, exception, status, code, param, error_type):
    raised = raised_by_openai(error)
    assert type(raised) is exception
    assert raised.status_code == error.status == status
    assert raised.code == error.code == code
    assert raised.param == error.param == param
    assert raised.type == error.type == error_type
    assert raised.request_id == "gw_01J9"
    assert raised.body is not None
    assert told(error)["message"].endswith(" [gw_01J9]")
    assert told(error)["message"] in str(raised.body)


def test_what_does_not_fit_is_told_in_the_words_of_the_design():
    assert told(TOO_LONG) == {
        "message": "This model's maximum context length is 32000 tokens. However, you requested 45310 tokens "
        "(41310 prompt, 4000 completion). Please reduce the length of the messages. "
        "Policy support: input needs 38900, room 25590. [gw_01J9]",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
        "gateway": {"component": "input", "tokens": 38900, "room": 25590, "at": "messages[41]"},
    }


def test_langchain_sees_a_context_overflow():
    http = openai.DefaultHttpxClient(transport=MockTransport(answering(TOO_LONG)))
    model = ChatOpenAI(model="m", api_key=SecretStr("k"), base_url="http://gateway/v1", max_retries=0, http_client=http)
    with http, pytest.raises(ContextOverflowError):
        model.invoke("hi")


def test_litellm_sees_a_context_overflow():
    # What its SDK matches, in litellm/litellm_core_utils/exception_mapping_utils.py.
    assert "this model's maximum context length is" in TOO_LONG.message.lower()


def test_a_wrong_method_names_the_right_one_in_the_header():
    assert errors.method_not_allowed("GET", "/v1/chat/completions", "POST").headers == {"allow": "POST"}


def test_missing_and_unknown_keys_get_one_text_and_ended_ones_their_own():
    message = errors.invalid_key().message
    for cause in ("missing", "unknown"):
        assert cause in message
    assert len({errors.invalid_key(one.value).message for one in KeyRefusal}) == len(KeyRefusal)
    assert errors.invalid_key(KeyRefusal.UNKNOWN.value).message == message


@pytest.mark.parametrize("error", [case[0] for case in CASES if not isinstance(case[0], errors.UpstreamRefusal)])
def test_a_message_is_one_printable_line(error):
    assert error.message.isprintable()
    assert error.message.strip()
    assert len(error.message) <= errors.MESSAGE_LIMIT


@given(st.integers(-5_000, 3_000_000))
@example(1_429_500)
@example(502_345)
@example(7_502)
def test_a_figure_never_looks_like_a_status_and_is_near_enough(tokens: int):
    text = errors.figure(tokens)
    assert errors.is_clean(text)
    scale = {"k": 1_000, "M": 1_000_000}.get(text[-1], 1)
    assert abs(float(text.rstrip("kM")) * scale - tokens) <= max(10, 0.02 * abs(tokens))


def holds_two_statuses(number: int) -> bool:
    """Tell whether a number looks like a status wherever its point is put: it has no other form."""
    digits = str(abs(number))
    return not any(errors.is_clean(f"{digits[:at]}.{digits[at:]}") for at in range(1, len(digits)))


@given(st.integers(-5_000, 3_000_000))
@example(524288)  # in hundreds it begins as a status does
def test_a_number_in_a_refusal_stays_and_never_looks_like_a_status(tokens: int):
    error = errors.prompt_too_large_for_policy(
        room="", fixed={"tools": 9}, component="tools", tokens=tokens, most=0, at=None, param="tools", do=""
    )
    assert json.loads(error.body("gw_1"))["error"]["gateway"]["tokens"] == tokens
    assert errors.is_clean(error.body("gw_1").decode()) or holds_two_statuses(tokens)


# --- an upstream's own error


def test_an_upstreams_error_keeps_its_status_code_and_every_other_member():
    body = {"message": "Slow down.\nPlease.", "type": "tokens", "code": "rate_limit_exceeded", "more": [1]}
    error = errors.upstream_refused(429, json.dumps({"error": body}).encode())
    assert error.status == 429
    assert told(error) == {
        "message": "Slow down.\nPlease. [gw_01J9]",
        "type": "tokens",
        "code": "rate_limit_exceeded",
        "param": None,
        "more": [1],
    }


def test_a_refusal_of_our_own_credential_is_our_fault_and_asking_again_does_not_help():
    error = errors.key_refused(401)
    assert (error.status, error.code) == (502, "upstream_authentication")
    assert error.headers == {"x-should-retry": "false"}


DEEP: dict[str, Any] = {"message": "too deep", "code": "odd"}
for _ in range(600):
    DEEP = {"message": "too deep", "code": "odd", "inner": DEEP}


@pytest.mark.parametrize("error", [DEEP, {"message": "too deep", "code": "odd", "inner": "x" * 1_000_000}])
def test_an_upstreams_error_that_nobody_could_read_is_cut_to_what_names_it(error: dict[str, Any]):
    body = errors.upstream_refused(400, json.dumps({"error": error}).encode()).body("gw_1")
    assert len(body) < 70_000
    assert json.loads(body)["error"]["message"] == "too deep [gw_1]"
    assert json.loads(body)["error"]["code"] == "odd"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"out of memory"}', "out of memory"),
        (b'{"object":"error","message":"too long","type":"BadRequestError","code":400}', "too long"),
        (b'[{"error":{"code":400,"message":"bad turn","status":"INVALID_ARGUMENT"}}]', "bad turn"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"<html>Bad\x00 Gateway</html>", "<html>Bad\\x00 Gateway</html>"),
        (b"", "The upstream answered with status 400."),
        (b"[]", "The upstream answered with status 400."),
        (b"null", "The upstream answered with status 400."),
        (b'{"error":{"message":null}}', "The upstream answered with status 400."),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_an_error_in_any_shape_becomes_openais(body, message):
    error = errors.upstream_refused(400, body)
    fields = told(error)
    assert fields["message"] == f"{message} [gw_01J9]"
    assert fields["type"]
    assert {"param", "code"} <= set(fields)
    assert isinstance(raised_by_openai(error), openai.BadRequestError)


@pytest.mark.parametrize("status", [100, 204, 302, 304])
def test_a_status_that_is_no_error_is_a_bad_gateway(status):
    assert errors.upstream_refused(status, b"").status == 502


# --- always: whatever the client or the upstream put into it


def test_a_long_name_is_cut_and_says_so():
    assert printable("m" * 5_000) == "m" * 60 + "… (5,000 characters)"
    assert "5,000 characters" in errors.model_not_found("m" * 5_000).message


def test_control_characters_are_escaped():
    assert printable("a\r\nset-cookie: x\x1b[2J\u202eb\ud800") == "a\\r\\nset-cookie: x\\x1b[2J\\u202eb\\ud800"


anything = st.text(st.characters(), max_size=300) | st.text(st.characters(categories=["Cs", "Cc", "Cf"]), max_size=300)


@given(anything, st.integers(30, 200))
def test_printable_text_is_always_printable_and_never_too_long(text, limit):
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@given(anything, anything)
def test_a_body_can_always_be_written_whatever_is_in_it(one, two):
    for error in (
        errors.invalid_request(one, two, two),
        errors.model_not_found(one),
        errors.model_not_allowed(one),
        errors.model_unpriced(one),
        errors.not_found(one, two),
        errors.method_not_allowed(one, two, "POST"),
        errors.request_not_found(one),
        errors.upstream_failed("connect", one),
        errors.context_length_exceeded(
            window=1, prompt=2, completion=3, policy=one, component="input", tokens=2, room=1, at=two
        ),
    ):
        fields = told(error)
        assert fields["message"].isprintable()
        assert fields["message"].endswith(" [gw_01J9]")
        assert len(fields["message"]) < errors.MESSAGE_LIMIT + 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | anything,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "param", "detail", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.integers(100, 999), json_values | st.builds(lambda value: {"error": value}, json_values))
def test_whatever_an_upstream_answers_the_client_always_gets_an_error_it_can_read(status, value):
    error = errors.upstream_refused(status, json.dumps(value).encode())
    fields = told(error)
    assert fields["message"].endswith(" [gw_01J9]")
    assert 400 <= error.status <= 599


@given(st.binary(max_size=200))
def test_bytes_that_are_no_json_are_always_told_safely(body):
    assert told(errors.upstream_refused(500, body))["message"].endswith(" [gw_01J9]")


# --- the page

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "errors.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


"""Nothing in this release answers with these, so the page does not speak of them."""


def test_the_page_on_errors_names_every_code_with_its_status():
    told = {(error.status, error.code) for error, *_ in CASES if not isinstance(error, errors.UpstreamRefusal)}
    told |= {(errors.upstream_failed(kind, "").status, f"upstream_{kind}") for kind in get_args(errors.UpstreamFault)}
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    missing = [
        (status, code)
        for status, code in sorted(told, key=str)
        if code and not any(f"| {status} |" in row and f"`{code}`" in row for row in rows)
    ]
    assert missing == []


def test_the_body_on_the_page_is_the_one_that_is_sent():
    reason = "The prompt may have 28000 tokens, 32000 less 4000 kept for the answer."
    shown = errors.context_length_exceeded(**INPUT, reason=reason).body("gw_01J9")
    assert json.loads(blocks("json")[0]) == json.loads(shown)


def test_the_event_on_the_page_is_the_one_that_is_sent():
    cut = errors.upstream_failed("reset", "The upstream's stream broke off (reset).")
    assert blocks("text")[-1].encode() == error_event(cut, "gw_01J9").rstrip(b"\n") + b"\n"


def test_the_python_on_the_page_runs(capsys):
    http = openai.DefaultHttpxClient(transport=MockTransport(answering(TOO_LONG)))
    with OpenAI(api_key="k", base_url="http://gateway/v1", http_client=http) as client:
        exec(blocks("python")[0], {"client": client, "messages": [{"role": "user", "content": "hi"}]})
    assert capsys.readouterr().out == "input: 38900 tokens where there is room for 25590 (messages[41]), gw_01J9\n"
