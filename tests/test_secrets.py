"""The secrets of a deployment: which of its values they are, and that none is left in what came from it."""

import base64
import html
import json
import re
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config import load
from gateway.providers.credentials import credentials, every, is_credential, signatures
from gateway.routing.attempts import Failure
from gateway.wire.chat.relay import DONE, EventRelay
from gateway.wire.secrets import HIDDEN, NO_SECRETS, Secrets
from tests.passage import deployment

KEY = "sk-proj-Ab3/dE+f==&9\"'\\x"
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": json.dumps,
    "JSON with slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON in a string of JSON": lambda text: json.dumps(json.dumps({"echo": text})),
    "JSON as .NET writes it": lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text),
    "HTML": html.escape,
    "HTML by numbers": lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "URL twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "form": urllib.parse.quote_plus,
    "a shell's and Python's": repr,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_however_it_is_escaped(form):
    told = f"you sent {FORMS[form](KEY)}, which is wrong"
    cleaned = Secrets([KEY]).out_of_text(told)
    assert re.fullmatch(r"you sent \W*(echo)?\W*\*\*\*\W*, which is wrong", cleaned), cleaned
    json.loads(Secrets([KEY]).out_of(json.dumps({"error": {"message": told}}).encode()))


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@given(WORDS, st.text(max_size=8), st.text(max_size=8), st.booleans())
@example("aaaaaaaa", "", "a", False)
def test_no_secret_is_ever_left_and_none_of_its_base64(secret, before, after, url_safe):
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    basic = encode(f"{before}{secret}{after}".encode("utf-8", "surrogatepass"))
    cleaned = Secrets([secret]).out_of(b"<" + secret.encode() + b"|" + basic + b">")
    assert cleaned.count(HIDDEN.encode()) == 2 or "*" in secret
    assert secret.encode() not in cleaned
    assert all(basic[at : at + 6] not in cleaned for at in range(max(1, len(basic) - 6))) or len(basic) < 6


@given(st.lists(WORDS, max_size=3), st.binary(max_size=200))
def test_what_holds_no_secret_stays_as_it_is(secrets, data):
    one = Secrets(secrets)
    if not any(secret.encode() in data for secret in secrets):
        assert one.out_of(data) == data
    assert NO_SECRETS.out_of(data) is data
    headers = {"x-request-id": "abc"}
    assert one.out_of_headers(headers) == headers


def test_a_longer_secret_goes_whole_before_one_that_it_holds():
    assert Secrets(["secret-12", "secret-12-and-more"]).out_of_text("secret-12-and-more secret-12") == "*** ***"


def test_a_secret_of_backslashes_is_searched_for_in_good_time():
    secret = "a" + "\\" * 40 + "b/" * 20
    hostile = ("a" + "\\" * 4000).encode() * 20
    began = time.process_time()
    assert Secrets([secret]).out_of(hostile + b"b") == hostile + b"b"
    assert secret not in Secrets([secret]).out_of_text(f"-{secret}-{json.dumps(secret)}-")
    assert time.process_time() - began < 2


def test_seven_characters_are_any_word():
    assert Secrets(["hunter2"]).out_of(b"hunter2") == b"hunter2"


def test_a_repr_shows_none():
    assert repr(Secrets([KEY])) == "Secrets(1)"
    assert KEY[:8] not in repr(deployment(api_key=KEY))


ACCOUNT = {"type": "service_account", "private_key": "-----BEGIN KEY-----\nabc\n", "client_email": "a@b.example",
           "private_key_id": "0123456789abcdef", "token_uri": "https://oauth2.googleapis.com/token"}  # fmt: skip


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"aws_secret_access_key": "aws-secret", "aws_region_name": "eu-west-1"}, {"aws-secret"}),
        ({"azure_ad_token": "ad-token", "client_secret": "the-secret", "tenant_id": "t"}, {"ad-token", "the-secret"}),
        ({"extra_headers": {"X-Proxy-Login": "hush-hush", "anthropic-beta": "context-1m"}}, {"hush-hush"}),
        ({"headers": {"Authorization": "Bearer hush-hush"}}, {"hush-hush"}),
        ({"extra_headers": {"X-Team": "a name of several words"}}, set()),
        ({"extra_body": {"login": {"apiKey": "in-body-1"}, "top_k": 5}}, {"in-body-1"}),
        ({"vertex_credentials": ACCOUNT}, {ACCOUNT["private_key"], ACCOUNT["private_key_id"]}),
        ({"api_version": "2024-10-21", "organization": "org-12345678", "token_type": "something"}, set()),
    ],
)
def test_a_parameter_is_a_credential_by_its_name_and_a_header_unless_it_is_known(params, expected):
    assert set(credentials(None, None, params)) - {""} == expected


def test_a_service_account_given_as_text_is_read():
    text = json.dumps(ACCOUNT)
    assert set(credentials(None, None, {"vertex_credentials": text})) >= {text, ACCOUNT["private_key"]}


def test_an_address_may_hold_a_password_and_a_key():
    found = set(credentials("the-key", "https://user:p%40ssw0rd@host/v1?sig=abc&api-version=2024-10-21", {}))
    assert found == {"the-key", "p%40ssw0rd", "p@ssw0rd", "abc"}
    assert set(credentials(None, "https://tok-en@host/v1", {})) == {"tok-en"}


def test_what_a_library_signed_a_request_with_is_known_from_its_headers():
    basic = base64.b64encode(b"user:hush-hush").decode()
    signed = "AWS4-HMAC-SHA256 Credential=AKIA1/x, SignedHeaders=host, Signature=0a1b2c3d4e"
    assert {"hush-hush", basic} <= set(signatures({"authorization": f"Basic {basic}", "accept": "application/json"}))
    found = set(signatures({"Authorization": signed, "X-Amz-Security-Token": "FwoG-session", "User-Agent": "litellm"}))
    assert {"0a1b2c3d4e", "FwoG-session"} <= found
    assert "litellm" not in found


def test_a_log_hides_all_that_a_configuration_holds(tmp_path: Path):
    text = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_base: 'http://me:in-address@h/v1'}}]\n"
    (tmp_path / "config.yaml").write_text(text + "state: {redis: 'redis://:of-redis-1@h:6379/0'}\n")
    environ = {"ANTHROPIC_API_KEY": "usual-key-1", "HTTPS_PROXY": "http://me:of%2Dproxy@h:3128", "HOME": "no-secret"}
    assert set(every(load(tmp_path / "config.yaml", environ)).texts) == {
        "in-address", "of-redis-1", "usual-key-1", "of%2Dproxy", "of-proxy",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["api_key", "apiKey", "x-goog-api-key", "hf_token", "vertex_credentials"])
def test_names_of_credentials(name):
    assert is_credential(name)


@pytest.mark.parametrize("name", ["model", "auth_type", "token_uri", "aws_region_name", "timeout", "keyboard_layout"])
def test_names_of_other_things(name):
    assert not is_credential(name)


def test_a_failure_never_holds_a_secret_of_its_deployment():
    one = Failure(
        deployment(api_key="hush-hush-1"), "status", 401, b'{"error": "hush-hush-1"}', {"x-request-id": "hush-hush-1"},
        message="at hush-hush-1", said="quoting hush-hush-1",
    )  # fmt: skip
    assert "hush-hush-1" not in repr(one)
    assert one.body == b'{"error": "***"}'


CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "bad key hush-hush-1"}}\n\n',
        b'event: error\ndata: {"detail": "bad key hush-hush-1"}\n\n',
        b"event: error\r\ndata: bad key hush-hush-1\r\n\r\n",
        b'data: {"detail": "bad key hush-hush-1", "status": 401}\n\n',
    ],
)
@pytest.mark.parametrize("before", [b"", CHUNK])
@pytest.mark.parametrize("after", [b"", CHUNK, b"data: [DONE]\n\n"])
def test_an_event_that_is_no_chunk_of_an_answer_is_passed_on_without_secrets(event, before, after):
    block = before + event + after
    for size in (1, 7, len(block)):
        relay = EventRelay(hold_back_usage=False, secrets=Secrets(["hush-hush-1"]))
        out = b"".join(relay.feed(block[at : at + size]) for at in range(0, len(block), size)) + relay.finish()
        assert out == block.replace(b"hush-hush-1", b"***")
        assert "hush" not in repr(relay.error)


@pytest.mark.parametrize("after", [b"", DONE])
def test_what_a_model_says_is_not_looked_at(after):
    said = CHUNK.replace(b"hi", b"hush-hush-1") + after
    for size in (1, 7, len(said)):
        relay = EventRelay(hold_back_usage=False, secrets=Secrets(["hush-hush-1"]))
        assert b"".join(relay.feed(said[at : at + size]) for at in range(0, len(said), size)) == said


def test_nothing_hides_beside_the_end_marker():
    for end in (b"id: hush-hush-1\n" + DONE, b": hush-hush-1\n" + DONE, b"data: hush-hush-1\n" + DONE):
        relay = EventRelay(hold_back_usage=False, secrets=Secrets(["hush-hush-1"]))
        assert relay.feed(CHUNK + end) == CHUNK + end.replace(b"hush-hush-1", b"***")
