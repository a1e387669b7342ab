"""Documents are found where they are, and everything else is the frame."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.documents.recognition import (
    document_rows,
    find_documents,
    frame,
    logs,
    question,
    spans_of_rows,
)
from tests.test_outliers import LOGS, log, prose
from tests.timing import within

LONG = "The dam was finished in 1931 after four years of work. It holds the water of two rivers and feeds a mill. " * 3


def _cut(text, documents):
    return [text[d.start : d.end] for d in documents]


@pytest.mark.parametrize(
    "mark",
    [
        "[{n}] ",
        "Document [{n}](Title: Dam {n}) ",
        "Document {n}: ",
        "Passage {n}\n",
        "### Source {n}\n",
        "Result #{n} - ",
        "**Document {n}**\n",
    ],
)
def test_numbered_passages_are_documents_and_the_question_after_them_is_not(mark):
    passages = [mark.format(n=n) + LONG.strip() for n in (1, 2, 3)]
    text = "Answer from these.\n\n" + "\n\n".join(passages) + "\n\nQuestion: when was the dam finished?\nAnswer:"
    found = find_documents(text)
    assert _cut(text, found) == passages
    assert frame(text, found) == "Answer from these.\nQuestion: when was the dam finished?\nAnswer:"
    assert question(text, found) == "when was the dam finished?"


def test_a_question_without_a_label_is_frame_too():
    text = "\n\n".join(f"[{n}] {LONG}" for n in (1, 2, 3)) + "\n\nWhen was it finished, and by whom?\n\nBe short."
    assert frame(text, find_documents(text)) == "When was it finished, and by whom?\n\nBe short."


def test_a_number_in_brackets_inside_a_passage_does_not_end_the_row():
    text = "\n".join([f"[1] {LONG}", "[7] is a citation.", f"[2] {LONG}", f"[3] {LONG}"])
    assert [d.start for d in find_documents(text, asks=False)] == [text.index(f"[{n}] T") for n in (1, 2, 3)]


def test_numbered_instructions_are_not_documents():
    assert find_documents("".join(f"{n}. Do this, then that, and mind the gap. {LONG}\n" for n in range(1, 9))) == []


@pytest.mark.parametrize("tag", ["document", "doc", "context", "passage", "search_result"])
def test_tags_are_documents(tag):
    parts = [f'<{tag} title="Dam {n}">{LONG}</{tag}>' for n in (1, 2)]
    text = "Read:\n" + "\n".join(parts) + "\nWhen was it finished?"
    found = find_documents(text)
    assert _cut(text, found) == parts
    assert [d.title for d in found] == ["Dam 1", "Dam 2"]
    assert text[found[0].bodies[0][0] : found[0].bodies[0][1]] == LONG


def test_passages_inside_one_tag_are_the_documents():
    inside = "\n\n".join(f"[{n}] {LONG}".strip() for n in (1, 2, 3))
    text = f"<context>\n{inside}\n</context>\nWhen?"
    found = find_documents(text)
    assert len(found) == 3
    assert frame(text, found) == "<context>\n</context>\nWhen?"


def test_blocks_that_begin_with_the_same_label_are_documents():
    blocks = [f"Title: Dam {n}\nURL: http://example.com/{n}\n{LONG.strip()}" for n in (1, 2, 3)]
    text = "\n\n".join(blocks)
    found = find_documents(text, asks=False)
    assert _cut(text, found) == blocks
    assert found[1].start == text.index("Title: Dam 2")


def test_the_records_of_a_json_array_are_documents_wherever_it_stands():
    rows_ = [{"rank": n, "text": LONG} for n in range(4)]
    for text in (
        json.dumps(rows_),
        json.dumps({"query": "dam", "results": rows_, "took": 3}, indent=1),
        f"JSON data:\n{json.dumps(rows_)}\n\nWhich row?",
    ):
        found = find_documents(text)
        assert [json.loads(part) for part in _cut(text, found)] == rows_
        assert {d.form for d in found} == {"json"}
        assert text[slice(*found[0].bodies[0])] == LONG


def test_an_object_with_many_members_is_a_set_of_records_and_one_with_fields_is_not():
    many = json.dumps({f"key-{n}": f"value-{n}" * 4 for n in range(40)})
    assert [d.title for d in find_documents(many)][:2] == ["key-0", "key-1"]
    assert find_documents(json.dumps({"name": "a" * 500, "city": "b" * 300})) == []


def test_json_lines_are_records():
    text = "\n".join(json.dumps({"id": n, "text": "a b c " * 20}) for n in range(8))
    assert len(find_documents(text, asks=False)) == 8


def test_markdown_sections_are_documents_in_a_result_and_under_a_label_only():
    sections = "\n".join(f"## Part {n}\n\n{LONG}" for n in (1, 2, 3))
    assert [d.title for d in find_documents(sections, asks=False)] == ["", "", ""]
    assert find_documents(sections + "\n\nDo all of this.") == []
    text = "# Search results:\n" + sections + "\n\nQuestion: when?"
    assert len(find_documents(text)) == 3
    assert question(text, find_documents(text)) == "when?"


def test_one_text_between_a_label_and_a_question_is_a_document():
    text = f"Use the text.\n\nContext: {LONG}{LONG}\n\nQuestion: when was it finished?"
    (only,) = find_documents(text)
    assert text[only.start : only.end] == (LONG + LONG).strip()


def test_short_sentences_between_the_last_document_and_the_question_are_frame():
    passages = "\n\n".join(f"[{n}] {LONG}\n\n{LONG}" for n in (1, 2, 3))
    text = f"{passages}\n\nUse nothing else.\n\nQuestion: when?"
    assert frame(text, find_documents(text)) == "Use nothing else.\n\nQuestion: when?"


def test_marks_inside_one_document_do_not_hide_the_others():
    parts = [f"Title: Dam {n}\n{LONG}" for n in range(6)]
    text = "\n\n".join(parts) + "\n[1] A reference.\n[2] Another."
    assert len(find_documents(text, asks=False)) == 6


def test_a_result_without_structure_is_one_document_and_a_message_without_is_none():
    assert len(find_documents(LONG * 3, asks=False)) == 1
    assert find_documents(LONG * 3) == []
    assert find_documents("short", asks=False) == []


def test_rows_end_where_other_text_stands_between_documents():
    text = f"<doc>{LONG}</doc>\n<doc>{LONG}</doc>\nAnd this one:\n<doc>{LONG}</doc>"
    assert document_rows(text, find_documents(text)) == [range(2), range(2, 3)]


@given(
    st.lists(
        st.sampled_from(
            ["[1] ", "[2]\n", "<doc>", "</doc>", "{", "}", '"a": ', "\n\n", "Question: ", LONG, "Title: x\n"]
        )
    )
)
def test_documents_never_overlap_and_stay_inside_the_text(parts):
    text = "".join(parts)
    for asks in (True, False):
        at = 0
        for document in find_documents(text, asks=asks):
            assert at <= document.start <= document.end <= len(text)
            inner = document.start
            for start, end in document.bodies:
                assert inner <= start <= end <= document.end
                inner = end
            at = document.end


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        " " * 400_000,
        " \n" * 200_000,
        "[1,\n" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "<document>" * 40_000,
        "Document " + " " * 200_000,
        "the my our " * 40_000 + "\nquestion:",
        "\x00" * 200_000,
        "\u202e\u05d0\u05d1 " * 80_000,
        "[1] \ud800 x\n" * 40_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_hostile_text_takes_bounded_time(text):
    with within(5):
        for asks in (True, False):
            question(text, find_documents(text, asks=asks))


# ---------------------------------------------------------------- logs are no documents


def entries(members: dict[str, object]) -> list[dict[str, object]]:
    return [{"n": n, **members, "msg": f"served request {n * 7919 % 10007}"} for n in range(60)]


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("asks", [True, False])
def test_the_lines_of_a_log_are_never_documents(name, asks):
    text = "\n".join(log(name, 200))
    assert find_documents(text, asks=asks) == []
    assert find_documents(f"Here is the output:\n{text}\n\nWhy did it stop?", asks=True) == []


@pytest.mark.parametrize("indent", [None, 2])
def test_entries_with_a_level_are_never_documents(indent):
    value = entries({"level": "info"})
    for text in (json.dumps(value, indent=indent), json.dumps({"results": value}, indent=indent)):
        assert find_documents(text) == []
        assert find_documents(text, asks=False) == []


def test_rows_of_a_result_are_no_documents_and_texts_are():
    assert find_documents(json.dumps(entries({"state": "paid"})), asks=False) == []
    assert find_documents(json.dumps({f"job_{n}": {"rc": 0, "host": f"h{n % 3}"} for n in range(60)}), asks=False) == []
    texts = [{"title": f"About {n}", "text": " ".join(prose(60)[n : n + 2])} for n in range(40)]
    assert len(find_documents(json.dumps(texts), asks=False)) == 40


def test_events_of_several_lines_in_a_result_are_no_documents():
    event = "Id: {n}\nLevel: Information\nMessage: The service {n} entered the running state."
    assert find_documents("\n\n".join(event.format(n=n) for n in range(60)), asks=False) == []


def test_where_the_logs_of_a_message_stand_can_be_told():
    lines = "\n".join(log("syslog", 100))
    text = f"My server stopped.\n\n{lines}\n\nWhy? Please be brief."
    [(start, end)] = logs(text)
    assert text[start:end].strip() == lines
    entry = json.dumps(entries({"level": "info"}))
    [(start, end)] = logs(f"What is wrong here?\n{entry}\n")
    assert text.count("\n") > 0
    assert (start, end) == (len("What is wrong here?\n["), len(f"What is wrong here?\n{entry}") - 1)
    assert logs("\n".join(prose(50))) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"rows": [{"id": 7}, "… 43 more documents left out"]}', ['{"id": 7}']),
        ('{"rows": {"a7": {"id": 7}, "…": "9 more documents left out"}}', ['"a7": {"id": 7}']),
        ("[7] The dam feeds a mill.\n\n[… 3 more documents left out]\n\nWhich one?", ["[7] The dam feeds a mill."]),
        ("Read this.\n\nThe dam feeds a mill.\n\n[… 1 more document left out]", ["The dam feeds a mill."]),
        ("[… 4 documents left out]\n\nWhich one feeds a mill?", []),
    ],
)
def test_what_is_left_of_documents_is_found_however_short_it_is(text, left):
    found = find_documents(text)
    assert _cut(text, found) == left
    note = next(re.finditer(r"\[…[^\]]*\]|\"….*?left out\"", text))
    assert spans_of_rows(text, found)[-1][1] == note.end()


def test_a_short_text_with_a_gap_that_is_not_ours_is_no_document():
    assert find_documents("1. wait … 2. and see [...] Which one?") == []
