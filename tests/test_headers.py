"""Which headers pass between a client and an upstream, and that none of them breaks an answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.providers.table import provider_of
from gateway.wire.headers import LONGEST_VALUE, client_headers, kept, retry_after, told_of_failure, upstream_headers
from tests.conftest import examples

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# ---------------------------------------------------------------- from an upstream


def test_only_what_is_acted_on_or_passed_on_is_kept():
    headers = {"Content-Type": "a", "Set-Cookie": "b", "X-RateLimit-Limit-Tokens": "9", "openai-organization": "ours"}
    assert kept(CIMultiDict(headers)) == {"content-type": "a", "x-ratelimit-limit-tokens": "9"}


def test_limits_of_our_account_come_back_under_a_name_of_our_own():
    assert upstream_headers(
        {
            "x-ratelimit-remaining-tokens": "29",
            "anthropic-ratelimit-tokens-remaining": "7",
            "openai-processing-ms": "12",
            "x-request-id": "req_1",
            "retry-after": "9",
        }
    ) == {
        "x-gateway-upstream-ratelimit-remaining-tokens": "29",
        "x-gateway-upstream-ratelimit-tokens-remaining": "7",
        "openai-processing-ms": "12",
        "x-gateway-upstream-request-id": "req_1",
    }


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("req\x1b[31m_1", "req_1"),
        ("\x1b]0;title\x07req_1\x1b[2J", "req_1"),
        ("req\x1b", "req?"),
        ("r\x00e\x7fq\u202e", "r?e?q?"),
        ("caf\xe9", "caf?"),
    ],
)
def test_an_id_comes_without_commands_to_a_terminal(given: str, passed: str):
    assert upstream_headers({"x-request-id": given}) == {"x-gateway-upstream-request-id": passed}


def test_a_wait_comes_without_commands_to_a_terminal():
    headers = {"retry-after": "\x1b[31m7\x1b[0m", "retry-after-ms": "1\x1b(B500"}
    assert told_of_failure(headers, 50.0, again=True) == {"retry-after": "7", "retry-after-ms": "1500"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 99999 00:01:00 GMT"}, None),
        ({"retry-after": "Thu, 99 Jan 1970 99:01:00 GMT"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, None),
        ({"retry-after": "\x1b[31m7\x1b[0m"}, 7.0),
        ({"retry-after": "7\x07"}, None),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "604800"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_a_number_or_a_date_within_reason(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers, now=50.0) == seconds
    waits = [name for name in told_of_failure(headers, 50.0, again=True) if name.startswith("retry-after")]
    assert bool(waits) == (seconds is not None)


@pytest.mark.parametrize(
    ("said", "again", "told_so"),
    [
        (None, True, None),
        (None, False, "false"),
        ("true", False, "true"),
        ("False", True, "false"),
        ("maybe", True, None),
    ],
)
def test_whether_to_ask_again_is_for_the_upstream_to_say_and_else_for_the_fault(
    said: str | None, again: bool, told_so: str | None
):
    headers = {} if said is None else {"x-should-retry": said}
    assert told_of_failure(headers, 0.0, again=again).get("x-should-retry") == told_so


NAMES = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-x", "openai-processing-ms", "x-request-id"]
)


@settings(max_examples=examples(100))
@given(headers=st.dictionaries(NAMES, st.text(max_size=30) | st.text(min_size=LONGEST_VALUE, max_size=LONGEST_VALUE)))
def test_whatever_an_upstream_writes_what_comes_back_can_be_written(headers: dict[str, str]):
    for name, value in told_of_failure(headers, 1e9, again=False).items():
        assert name.isascii()
        assert value.isascii()
        assert value.isprintable()
        assert len(value) <= LONGEST_VALUE
    retry_after(headers, 1e9)


# ---------------------------------------------------------------- to an upstream

CLIENT = {
    b"authorization": b"Bearer ours",
    b"user-agent": b"x",
    b"traceparent": TRACE.encode(),
    b"tracestate": b"a=1",
    b"x-client-request-id": b"mine",
    b"idempotency-key": b"once",
    b"openai-beta": b"assistants=v2",
    b"anthropic-beta": b"context-1m-2025-08-07, made-up-1, oauth-2025-04-20",
    b"http-referer": b"https://app.example",
    b"x-title": b"App",
    b"x-team": b"blue",
}
ALL = {"traceparent": TRACE, "tracestate": "a=1", "x-client-request-id": "mine", "idempotency-key": "once"}


def test_a_header_goes_to_the_family_that_defines_it_alone():
    assert dict(client_headers(CLIENT, provider_of("openai").headers, betas=frozenset()).headers) == ALL | {
        "openai-beta": "assistants=v2"
    }
    assert dict(client_headers(CLIENT, provider_of("openrouter").headers, betas=frozenset()).headers) == ALL | {
        "http-referer": "https://app.example",
        "x-title": "App",
    }
    assert dict(client_headers(CLIENT, provider_of("groq").headers, betas=frozenset()).headers) == ALL


def test_betas_go_where_they_are_known_and_those_that_do_not_are_named():
    own = client_headers(CLIENT, provider_of("anthropic").headers, betas=None)
    assert own.headers["anthropic-beta"] == "context-1m-2025-08-07,made-up-1"
    assert own.dropped == ("oauth-2025-04-20",)
    bedrock = client_headers(CLIENT, provider_of("bedrock").headers, betas=frozenset({"context-1m-2025-08-07"}))
    assert bedrock.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert bedrock.dropped == ("made-up-1", "oauth-2025-04-20")
    elsewhere = client_headers(CLIENT, provider_of("groq").headers, betas=frozenset())
    assert "anthropic-beta" not in elsewhere.headers
    assert len(elsewhere.dropped) == 3


def test_an_idempotency_key_goes_with_the_first_attempt_alone():
    assert (
        "idempotency-key" not in client_headers(CLIENT, provider_of("openai").headers, betas=None, first=False).headers
    )


def test_a_deployment_may_ask_for_more_and_never_for_credentials():
    assert client_headers(CLIENT, provider_of("groq").headers, betas=None, more=("x-team",)).headers["x-team"] == "blue"
    everything = client_headers(CLIENT, provider_of("groq").headers, betas=None, more=("*",)).headers
    assert everything["user-agent"] == "x"
    assert "authorization" not in everything


def test_a_trace_that_is_none_stays_behind_with_its_state():
    headers = client_headers({**CLIENT, b"traceparent": b"00-zz"}, provider_of("openai").headers, betas=None).headers
    assert "traceparent" not in headers
    assert "tracestate" not in headers


@settings(max_examples=examples(100))
@given(headers=st.dictionaries(st.sampled_from(sorted(CLIENT)), st.binary(max_size=40)))
def test_whatever_a_client_writes_what_goes_along_can_be_written(headers: dict[bytes, bytes]):
    for provider in ("openai", "anthropic", "openrouter"):
        found = client_headers(headers, provider_of(provider).headers, betas=None, more=("x-*",))
        assert all(value and value.isascii() and value.isprintable() for value in found.headers.values())
        assert "authorization" not in found.headers


def test_without_headers_that_concern_anybody_nothing_is_worked_out():
    assert client_headers({b"user-agent": b"x"}, provider_of("openai").headers, betas=None) == client_headers(
        {}, provider_of("openai").headers, betas=None
    )
