"""The wire of metered requests: what is read, what leaves, what an answer is, and how Azure names a model."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing.upstreams.demo import metered
from gateway.routing.upstreams.demo.rules import Complaint
from gateway.wire.azure import with_model
from gateway.wire.errors import GatewayError
from gateway.wire.failures import ErrorObject
from gateway.wire.metered.answers import NoResult, Result, judged
from gateway.wire.metered.read import MeteredRequest, metered_request
from gateway.wire.metered.write import metered_body
from gateway.wire.operations import METERED, Operation
from gateway.wire.outgoing import PLAIN, Additions
from gateway.wire.unserved import unserved
from tests.conftest import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
OPERATIONS = st.sampled_from(METERED)
TOP = ("model", "input", "prompt", "query", "documents", "user", "metadata", "stream", "stream_options", "n")
NAMES = st.sampled_from(TOP)
WHOLE = {"model": "m", "input": "a", "query": "q", "documents": ["d"]}


def read_or_refused(operation: Operation, body: bytes) -> MeteredRequest | None:
    """Read a body; None where it is refused, which is always a 400."""
    try:
        return metered_request(operation, body)
    except GatewayError as error:
        if error.status != 400:
            raise
        return None


@settings(max_examples=examples(200))
@given(OPERATIONS, st.dictionaries(NAMES | st.text(max_size=5), JSON), st.booleans())
def test_a_request_of_any_shape_is_read_or_refused_and_leaves_as_it_came(
    operation: Operation, fields: dict[str, object], is_whole: bool
):
    fields = {**WHOLE, **fields} if is_whole else fields
    request = read_or_refused(operation, orjson.dumps(fields))
    if request is None:
        return
    left = orjson.loads(metered_body(request, "the model", Additions(usage=False)))
    gone = {"stream_options", "metadata"}
    assert {name: value for name, value in left.items() if name not in gone} == {
        **{name: value for name, value in fields.items() if name not in gone},
        "model": "the model",
    }
    texts, tokens = request.counted_input()
    assert all(isinstance(text, str) for text in texts)
    assert tokens >= 0
    assert request.searches() >= (operation == "rerank")
    orjson.loads(metered_body(request, "the model", PLAIN))


@settings(max_examples=examples(200))
@given(OPERATIONS, st.binary(max_size=60))
def test_bytes_of_any_kind_are_read_or_refused(operation: Operation, body: bytes):
    read_or_refused(operation, body)


@settings(max_examples=examples(200))
@given(OPERATIONS, st.binary(max_size=40) | JSON.map(orjson.dumps), st.booleans())
def test_an_answer_of_any_bytes_is_one_of_three_things(operation: Operation, body: bytes, is_long: bool):
    if is_long:
        body = body.replace(b"{", b'{"pad":"%b",' % (b"x" * 20_000), 1)
    found = judged(operation, body)
    assert isinstance(found, Result | ErrorObject | NoResult)
    if isinstance(found, Result):
        assert found.body == body
        assert found.usage() is None or found.usage().prompt >= 0  # type: ignore[union-attr]  # the same twice
        assert isinstance(found.text(), str)


@pytest.mark.parametrize(
    ("input", "texts", "tokens"),
    [
        ('"a"', ["a"], 0),
        ('["a","b"]', ["a", "b"], 0),
        ("[1,2,3]", [], 3),
        ("[[1],[2,3]]", [], 3),
        ('[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]', ["a"], 0),
        ("[]", [], 0),
        ("7", [], 0),
    ],
)  # fmt: skip
def test_what_is_asked_about_is_texts_and_tokens(input: str, texts: list[str], tokens: int):  # noqa: A002  # its name
    request = metered_request("embeddings", b'{"model":"m","input":%b}' % input.encode())
    assert request.counted_input() == (texts, tokens)


def test_documents_are_counted_by_their_texts_and_fields():
    documents = b'["a",{"text":"b","id":"x"},{"title":"c","body":"d"}]'
    request = metered_request("rerank", b'{"model":"m","query":"q","documents":%b}' % documents)
    assert request.counted_input() == (["q", "a", "b", "c", "d"], 0)


@pytest.mark.parametrize(
    ("came", "left"),
    [
        (b"{}", b'{"model":"m"}'),
        (b'{"input":1.10}', b'{"model":"m","input":1.10}'),
        (b' {"a":1,"model": "x" }', b' {"a":1,"model": "m" }'),
        (b'{"model":"m"}', b'{"model":"m"}'),
        (b'{"model":null}', b'{"model":"m"}'),
        (b"[1]", b"[1]"),
        (b"{", b"{"),
        (b'{"model":1,"model":2}', b'{"model":1,"model":2}'),
    ],
)
def test_the_model_of_a_path_is_written_into_the_body(came: bytes, left: bytes):
    assert with_model(came, "m") == left


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/x", "/chat/completions", "/openai/deployments", "/v1/messagesx"])
def test_a_path_that_nobody_knows_is_none_of_these(path: str):
    assert unserved(path, "POST") is None


@settings(max_examples=examples(100))
@given(OPERATIONS, st.dictionaries(NAMES, JSON))
def test_the_demo_model_answers_or_refuses_whatever_it_is_asked(operation: Operation, fields: dict[str, object]):
    said = metered.reply(operation, {**WHOLE, **fields, "dimensions": 4}, "m", len)
    assert isinstance(said, Complaint) or isinstance(judged(operation, said[0]), Result | NoResult)
