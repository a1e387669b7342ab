"""Documents change places, nothing else does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.documents.arrange import arrange, document_order
from gateway.rewriting.documents.recognition import find_documents

FILL = "and then there is more to say about it in general terms that nobody asks for. " * 3
BODIES = [
    "looms are old",
    "violins and violins only",
    "the violins of one town",
    "kites fly",
    "violins, once, in a long text " + FILL,
]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("as_is", [0, 1, 2, 3, 4]),
        ("rank", [3, 1, 0, 2, 4]),
        ("bookend", [3, 0, 2, 4, 1]),
        ("alternate", [3, 0, 4, 2, 1]),
    ],
)
def test_orders(how, expected):
    assert document_order([2.0, 3.0, 2.0, 9.0, 0.0], how) == expected


def test_interleaved_titles_take_turns():
    assert document_order([9, 8, 7, 6, 5], "interleave", ["a", "a", "a", "b", ""]) == [0, 3, 4, 1, 2]


@given(st.lists(st.floats(0, 10)), st.sampled_from(["as_is", "rank", "bookend", "alternate", "interleave"]))
def test_an_order_always_holds_every_document_once(scores, how):
    assert sorted(document_order(scores, how)) == list(range(len(scores)))


def test_marks_travel_with_their_documents_and_the_frame_stays():
    text = (
        "Read.\n\n"
        + "\n\n".join(f"[{n}] {body} {FILL}".strip() for n, body in enumerate(BODIES, 1))
        + "\n\nQuestion: violins?"
    )
    out = arrange(text, find_documents(text), "rank", "violins")
    assert out.startswith("Read.\n\n[2] violins and violins only")
    assert out.endswith("\n\nQuestion: violins?")
    assert sorted(out) == sorted(text)
    assert arrange(text, find_documents(text), "as_is", "violins") is text


def test_json_stays_json():
    rows = [{"id": n, "text": body + FILL} for n, body in enumerate(BODIES)]
    text = json.dumps({"results": rows}, indent=2)
    out = json.loads(arrange(text, find_documents(text), "bookend", "violins"))["results"]
    assert out[0]["id"] == 1
    assert sorted(row["id"] for row in out) == [0, 1, 2, 3, 4]
