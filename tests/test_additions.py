"""What one deployment's requests hold beyond the client's: spliced into its bytes, nothing else is written anew."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.request import with_limit
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from gateway.wire.outgoing import Additions
from tests.conftest import examples

BODY = b'{ "model":"m", "messages":[{"role":"user","content":"1.10"}] , "temperature" : null,"seed":1.50 }'


def left(body: bytes, additions: Additions, model: str = "m") -> bytes:
    return sent(parse(body, Memo()), model, additions=additions)


def test_without_any_the_bytes_are_the_clients():
    assert left(BODY, Additions()) == BODY


def test_a_default_stands_behind_the_clients_members_or_in_the_place_of_its_null():
    got = left(BODY, Additions((("temperature", b"0.2"), ("top_k", b"5"), ("seed", b"7"))))
    assert got == (
        b'{ "model":"m", "messages":[{"role":"user","content":"1.10"}] , "temperature" : 0.2,"seed":1.50 ,"top_k":5}'
    )


@pytest.mark.parametrize("own", ["max_tokens", "max_completion_tokens"])
def test_a_client_that_limits_its_answer_is_given_no_other_limit(own: str):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], own: 9}).encode()
    assert left(body, Additions((("max_tokens", b"77"),))) == body


def test_usage_is_not_asked_for_where_that_is_refused_and_no_client_asks():
    plain = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'
    body = plain.replace(b"true}", b'true,"stream_options":{"include_usage":true}}')
    assert left(plain, Additions()) != plain
    assert left(plain, Additions(usage=False)) == plain
    assert left(body, Additions(usage=False)) == plain
    assert left(plain, Additions(left_out=frozenset({"stream_options"}))) == plain


def test_members_that_are_left_out_go_with_their_commas():
    body = b'{"seed":1,"user":"a", "model":"m","store":true , "messages":[{"role":"user","content":"x"}],"n":1}'
    got = left(body, Additions(left_out=frozenset({"seed", "user", "store", "n"})), "other")
    assert json.loads(got) == {"model": "other", "messages": [{"role": "user", "content": "x"}]}
    assert left(body, Additions(left_out=frozenset({"absent"}))) == body


NAMES = ["seed", "user", "store", "n", "stream_options", "temperature", "x"]
VALUES = (
    st.none()
    | st.integers(0, 9)
    | st.text(max_size=5)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


@settings(max_examples=examples(100))
@given(
    st.permutations([*NAMES, "model", "messages", "stream"]),
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.frozensets(st.sampled_from(NAMES)),
    st.dictionaries(st.sampled_from([*NAMES[:4], "fresh"]), st.integers(0, 9)),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_whatever_is_added_or_left_out_what_leaves_is_the_object_that_is_meant(
    order, given_, gone, defaults, usage, indent
):
    fields = {**given_, "model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    options = fields.get("stream_options")
    body = json.dumps({name: fields[name] for name in order if name in fields}, indent=indent).encode()
    additions = Additions(tuple((name, str(value).encode()) for name, value in defaults.items()), gone, usage)
    got = json.loads(left(body, additions, "other"))
    meant = {**{k: v for k, v in defaults.items() if fields.get(k) is None}, "model": "other"}
    wanted = {k: v for k, v in {**fields, **meant}.items() if k not in gone}
    if not usage or "stream_options" in gone:
        wanted.pop("stream_options", None)
    else:
        wanted["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    assert got == wanted


def test_a_limit_of_the_deployment_counts_as_the_requests_own_where_it_has_none():
    request = parse(BODY, Memo())
    assert with_limit(request, 77).answer_limit == 77
    assert with_limit(request, None) is request
    own = parse(BODY.replace(b'"seed":1.50', b'"max_tokens":5'), Memo())
    assert with_limit(own, 77) is own
