"""Documents are shortened to what bears on the question; the rest of the text stays as it is."""

import json
import re
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rewriting.documents.extract import DocumentSource, dedupe, shrink, shrink_all, without_twins
from gateway.rewriting.documents.recognition import find_documents
from gateway.rewriting.documents.relevance import ReadingMemory


def count(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


TOPICS = ["harbours", "orchids", "glaciers", "looms", "violins", "beehives", "lanterns", "canals", "kites", "bridges"]
SENTENCES = [
    "{t} have a long history in this country.",
    "The first book about {t} was printed in 1{n}42.",
    "Many people who work with {t} learn it from their parents.",
    "An inspector visits the {t} every second spring.",
    "The largest collection of {t} belongs to Mrs Abernathy-{n}.",
]


def passage(n):
    return " ".join(sentence.format(t=TOPICS[n % 10], n=n) for sentence in SENTENCES)


def numbered(asked, many=10):
    passages = "\n\n".join(f"[{n + 1}] {TOPICS[n % 10].title()}\n{passage(n)}" for n in range(many))
    return f"Use only the passages.\n\n{passages}\n\nQuestion: {asked}\nAnswer:"


def shrunk(text, asked, room, asks=True):
    return shrink(text, find_documents(text, asks=asks), asked, room, count)


def test_what_fits_is_the_same_text():
    text = numbered("who has the largest collection of violins?")
    assert shrunk(text, "violins", count(text)) is text


def test_the_document_that_is_asked_for_comes_whole_with_its_mark_and_title():
    out = shrunk(numbered("x"), "who owns the largest collection of violins?", 150)
    assert "[5] Violins\n" + passage(4) in out


def test_what_is_not_a_document_stays_byte_for_byte():
    text = numbered("who owns the largest  collection\tof violins?")
    out = shrunk(text, "violins", 120)
    assert out.startswith("Use only the passages.\n\n[")
    assert out.endswith("\n\nQuestion: who owns the largest  collection\tof violins?\nAnswer:")


def test_how_many_are_left_out_is_said():
    out = shrunk(numbered("x"), "violins", 110)
    left = len(re.findall(r"^\[\d+\] ", out, re.MULTILINE))
    assert f"[… {10 - left} more documents left out]" in out


def test_sentences_of_a_long_document_come_with_a_mark_where_something_is_missing():
    text = " ".join(passage(n) for n in range(40))
    out = shrunk(text, "Who owns the largest collection, Mrs Abernathy-17?", 80, asks=False)
    assert "belongs to Mrs Abernathy-17." in out
    assert "…" in out
    for piece in out.split("…"):
        assert piece.strip() in text


def test_a_key_that_is_asked_for_brings_its_record_and_the_object_stays_json():
    data = {f"{n:08x}-77aa": f"value {n * 7919:09d}" for n in range(300)}
    text = f'JSON data:\n{json.dumps(data, indent=1)}\n\nKey: "{123:08x}-77aa"\nCorresponding value:'
    out = shrunk(text, f'"{123:08x}-77aa"', 400)
    read = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert read[f"{123:08x}-77aa"] == data[f"{123:08x}-77aa"]
    assert {key: value for key, value in data.items() if key in read}.items() <= read.items()
    assert out.endswith(f'\n\nKey: "{123:08x}-77aa"\nCorresponding value:')


def test_a_result_that_was_json_is_json_and_keeps_ids_and_ranks():
    rows = [
        {"rank": n, "id": f"doc-{n}", "text": passage(n) + '\n\n\n "quoted\\n" \\ \u00e9' + passage(n + 3)}
        for n in range(12)
    ]
    text = json.dumps({"query": "violins", "results": rows})
    out = json.loads(shrunk(text, "who owns the violins?", 260, asks=False))
    kept = [row for row in out["results"] if isinstance(row, dict)]
    assert out["query"] == "violins"
    assert {"rank": 4, "id": "doc-4"}.items() <= next(row for row in kept if row["rank"] == 4).items()
    assert out["results"][-1] == f"… {12 - len(kept)} more documents left out"


def test_talk_before_the_question_decides_where_the_question_does_not():
    text = numbered("Which is the largest?")
    out = shrink(text, find_documents(text), "Which is the largest?", 130, count, context=("Tell me about glaciers.",))
    assert "[3] Glaciers" in out
    assert passage(2) in out


def test_several_texts_share_one_room_by_what_they_say():
    texts = ["\n\n".join(f"[{n}] {passage(n)}" for n in some) for some in (range(5), range(5, 10))]
    sources = [DocumentSource(text, find_documents(text, asks=False), "Who inspects the canals?") for text in texts]
    first, second = shrink_all(sources, 160, count)
    assert count(first) + count(second) <= 160
    assert passage(7) in second


def test_a_frame_that_is_too_big_leaves_no_document_and_stays():
    text = numbered("violins " * 200)
    out = shrunk(text, "violins", 50)
    assert "Question: " + "violins " * 200 in out
    assert "have a long history" not in out


def test_what_was_read_once_is_not_read_again():
    text, memory = numbered("violins?"), ReadingMemory()
    first = shrink(text, find_documents(text), "violins", 120, count, memory=memory)
    known = len(memory)
    assert shrink(text, find_documents(text), "violins", 120, count, memory=memory) == first
    assert len(memory) == known


def test_near_duplicates_point_to_the_first():
    assert dedupe([passage(1) * 3, passage(2) * 3, passage(1) * 3 + " And more.", "", passage(2)[:40]]) == [
        None,
        None,
        0,
        None,
        None,
    ]


def test_documents_that_repeat_another_are_left_out():
    text = "\n\n".join(f"[{n}] {passage(n % 3)}" for n in range(1, 7))
    out = without_twins(text, find_documents(text, asks=False))
    assert [out.count(passage(n)) for n in range(3)] == [1, 1, 1]
    assert out.endswith("[… 3 more documents left out: nearly the same as another]")
    assert without_twins(out, find_documents(out, asks=False)) == out


ANY = st.lists(
    st.sampled_from(
        [
            passage(1),
            passage(4),
            "\n\n",
            "[1] ",
            "\n[2] ",
            "\n[3] ",
            "<doc>",
            "</doc>",
            "\nTitle: a\n",
            "Question: x?",
            " ",
            "\\n",
            "é…",
        ]
    ),
    max_size=14,
)


@settings(deadline=None)
@given(ANY, st.integers(0, 200), st.booleans())
def test_the_result_is_never_over_where_the_frame_leaves_room(parts, room, asks):
    text = "".join(parts)
    documents = find_documents(text, asks=asks)
    out = shrink(text, documents, "violins", room, count)
    if documents and out is not text:
        at = 0
        for document in documents:
            assert text[at : document.start].strip(" \n,") in out
            at = document.end
        none = shrink(text, documents, "violins", -1, count)
        assert count(out) <= max(room, count(none))


@settings(deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"id": st.integers(), "text": st.text(max_size=600)}), min_size=2, max_size=12),
    st.integers(10, 300),
    st.booleans(),
)
def test_json_is_always_json_afterwards(rows, room, escaped):
    text = json.dumps(rows, ensure_ascii=escaped)
    out = json.loads(shrunk(text, "violins 0 a", room, asks=False)) if find_documents(text) else rows
    kept = [row["id"] for row in out if isinstance(row, dict)]
    ids = iter(row["id"] for row in rows)
    assert all(id in ids for id in kept)


@pytest.mark.parametrize("seed", ["0", "1", "77"])
def test_the_same_text_gives_the_same_bytes_in_every_process(seed):
    program = (
        "from tests.test_extract import *\n"
        "import zlib\n"
        "text = numbered('q', 60)\n"
        "out = shrunk(text, 'who inspects canals and kites', 300) + without_twins(text, find_documents(text))\n"
        "print(zlib.crc32(out.encode()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
    )
    text = numbered("q", 60)
    mine = zlib.crc32(
        (shrunk(text, "who inspects canals and kites", 300) + without_twins(text, find_documents(text))).encode()
    )
    assert int(done.stdout) == mine


def test_a_memory_that_knows_a_text_with_other_documents_changes_nothing():
    text, memory = "\n".join(f"<passage>{passage(n)}</passage>" for n in range(8)), ReadingMemory()
    whole, several = find_documents(text, asks=False)[:1], find_documents(text)
    shrink(text, whole, "violins", 60, count, memory=memory)
    assert shrink(text, several, "violins", 90, count, memory=memory) == shrink(text, several, "violins", 90, count)
