"""Which component each message belongs to, and what it counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import (
    COMPONENTS,
    OVERHEAD_CALL,
    OVERHEAD_MESSAGE,
    OVERHEAD_NAME,
    OVERHEAD_REPLY,
    Recognition,
    document_spans,
    fits_by_bytes,
    message_tokens,
    texts,
)
from gateway.memory import Memory
from tests.talk import (
    anatomy,
    assistant,
    body,
    calls,
    conversation,
    count,
    count_media,
    loop,
    messages,
    request,
    result,
    step,
    system,
    user,
    words,
)
from tests.timing import within

TAGS = ("document", "doc", "context")
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}


def kinds(listed, **recognition):
    return list(anatomy(listed, Recognition(**recognition)).component)


# ---------------------------------------------------------------- components


def test_system_text_is_what_stands_before_everything_else():
    listed = [system("a"), {"role": "developer", "content": "b"}, user("c"), system("later"), user("d")]
    assert kinds(listed) == ["system", "system", "history", "history", "input"]


def test_input_is_the_last_user_message():
    assert kinds([user("a"), assistant("b"), user("c")]) == ["history", "history", "input"]


def test_in_a_loop_input_is_the_last_user_message_and_the_newest_unit():
    listed = [
        user("a"),
        assistant("b"),
        user("c"),
        *loop(2, 3),
        calls("x read", "y read"),
        result("x", "1"),
        result("y", "2"),
    ]
    assert kinds(listed) == ["history", "history", "input", *["history"] * 4, "input", "input", "input"]


def test_an_answer_to_go_on_with_is_input_too():
    assert kinds([user("a"), assistant("b"), user("c"), assistant("d")]) == ["history", "history", "input", "input"]


def test_examples_are_told_by_their_names():
    listed = [user("q", name="example_user"), assistant("a", name="example_assistant"), user("c")]
    assert kinds(listed) == ["examples", "examples", "input"]
    assert kinds(listed, example_names=()) == ["history", "history", "input"]
    assert kinds([user("q", name="demo"), user("c")], example_names=("demo*",)) == ["examples", "input"]


def test_an_example_that_is_marked_on_one_side_is_a_pair():
    listed = [
        user("q", name="example_user"),
        assistant("a"),
        user("q2"),
        assistant("a2", name="example_bot"),
        user("c"),
    ]
    assert kinds(listed) == ["examples"] * 4 + ["input"]
    assert kinds([user("<example>q</example>"), assistant("a"), user("b"), assistant("c"), user("d")]) == [
        *("examples", "examples", "history", "history", "input")
    ]
    assert kinds([user("q", name="example_user"), user("b"), assistant("c"), user("d")])[1] == "history"


def test_examples_are_told_by_a_tag_around_the_whole_message():
    listed = [
        user(" <example>q</example>\n"),
        assistant('<example id="1">a</example>'),
        user("<example>q</example> b"),
        user("c"),
    ]
    assert kinds(listed) == ["examples", "examples", "history", "input"]


def test_what_the_user_asks_is_input_even_where_it_looks_like_an_example():
    assert kinds([assistant("a"), user("q", name="example_user")]) == ["history", "input"]


def test_results_of_retrieval_tools_are_documents_and_their_calls_are_history():
    listed = [user("a"), *step(1, 3, "search_web"), *step(2, 3, "read"), assistant("b"), user("c")]
    assert kinds(listed, document_tools=("search_*",)) == ["history", "history", "documents", *["history"] * 3, "input"]


def test_the_newest_results_are_input_whoever_brought_them():
    assert kinds([user("a"), *step(1, 3, "search_web")], document_tools=("search_*",)) == ["input"] * 3


def test_parallel_results_belong_to_the_tools_that_they_answer():
    listed = [user("a"), calls("x search", "y read"), result("y", "1"), result("x", "2"), user("b")]
    found = anatomy(listed, Recognition(document_tools=("search",)))
    assert dict(found.tool_of) == {2: "read", 3: "search"}
    assert found.component == ("history", "history", "history", "documents", "input")


# ---------------------------------------------------------------- documents inside messages


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a <document>b</document> c", ["<document>b</document>"]),
        ("<doc id=1>b</doc><DOC>c</Doc>", ["<doc id=1>b</doc>", "<DOC>c</Doc>"]),
        ("<doc>\n1\n</doc>\n<context>2</context>", ["<doc>\n1\n</doc>", "<context>2</context>"]),
        ("<doc>a <document>b</document></doc> c", ["<doc>a <document>b</document></doc>"]),
        ("<doc>a <doc>b</doc> c</doc>", ["<doc>a <doc>b</doc>"]),
        ("<doc> never closed, <document>b</document>", ["<document>b</document>"]),
        ("</doc> <doc>b</doc>", ["<doc>b</doc>"]),
        ("<docs>a</docs> <doctor>b</doctor> doc </doc>", []),
        ("<doc>a", []),
        ("a < b </doc>", []),
        ("", []),
    ],
)
def test_a_document_reaches_from_its_tag_to_the_next_one_that_closes_it(text, found):
    assert [text[start:end] for start, end in document_spans(text, TAGS)] == found


def test_without_tags_nothing_is_a_document():
    assert document_spans("<doc>a</doc>", ()) == []


@pytest.mark.parametrize("piece", ["<doc>", "<doc ", "</doc>", "<", "</", "<doc></", "<document><doc>"])
def test_a_text_full_of_tags_never_takes_long(piece):
    text = piece * (400_000 // len(piece)) + "</x"
    with within(1):  # 60 ms
        document_spans(text, TAGS)


PIECES = st.lists(
    st.sampled_from(["<doc>", "</doc>", "<context a=1>", "</context>", "<DOC>", "x ", "<", ">"]), max_size=20
)


@given(PIECES.map("".join))
def test_documents_never_overlap_and_always_begin_and_end_with_their_tag(text):
    at = 0
    for start, end in document_spans(text, TAGS):
        assert start >= at
        found = text[start:end].lower()
        name = "doc" if found.startswith("<doc") else "context"
        assert found.startswith(f"<{name}")
        assert found.endswith(f"</{name}>")
        at = end


def test_documents_inside_user_messages_count_as_documents():
    asked = f"please <doc>{words(5)}</doc> thanks"
    found = anatomy([system("s"), user(asked), assistant("a <doc>b</doc>"), user(f"<doc>{words(3)}</doc>")])
    sizes = found.by_component()
    assert found.document_tokens == (0, 5, 0, 3)
    assert sizes["documents"] == 8
    assert sizes["input"] == OVERHEAD_MESSAGE


# ---------------------------------------------------------------- tokens


def test_a_message_counts_its_text_its_name_its_calls_its_media_and_its_overhead():
    listed = [user("one two"), user("one", name="ann"), calls("c1 read a b c", "c2 list"), IMAGE, result("c1", "x y")]
    assert [message_tokens(message, count, count_media) for message in messages(listed)] == [
        OVERHEAD_MESSAGE + 2,
        OVERHEAD_MESSAGE + 1 + OVERHEAD_NAME + 1,
        OVERHEAD_MESSAGE + OVERHEAD_CALL + 1 + 3 + OVERHEAD_CALL + 1 + 1,
        OVERHEAD_MESSAGE + 100,
        OVERHEAD_MESSAGE + 2,
    ]


def test_the_total_is_tools_and_messages_and_what_primes_the_answer():
    found = anatomy([system(words(10)), user(words(5))], tools=[words(7), words(2)])
    assert found.total == OVERHEAD_REPLY + 9 + 14 + 9
    assert found.system_tokens == OVERHEAD_REPLY + 14
    assert found.by_component() == {"system": 17, "tools": 9, "examples": 0, "documents": 0, "history": 0, "input": 9}


def test_every_text_that_counting_asks_for_is_named_before():
    asked = set()

    def ask(text: str) -> int:
        asked.add(text)
        return count(text)

    said = conversation([system("s"), user("a"), calls("c1 read {}"), result("c1", "x")], ["{}"])
    for message in said.messages:
        message_tokens(message, ask, count_media)
    assert asked <= set(texts(said, Memory(0)))


MESSAGES = st.lists(
    st.one_of(
        st.builds(lambda n: [system(words(n))], st.integers(0, 9)),
        st.builds(lambda n: [user(words(n) + " <doc>d d</doc>")], st.integers(0, 9)),
        st.builds(
            lambda n: [user(words(n), name="example_user"), assistant("a", name="example_bot")], st.integers(0, 9)
        ),
        st.builds(lambda n, tool: step(n, n, tool), st.integers(0, 9), st.sampled_from(["read", "search"])),
        st.builds(lambda n: [result(f"c{n}", "orphan")], st.integers(0, 9)),
    ),
    min_size=1,
    max_size=12,
).map(lambda groups: [message for group in groups for message in group])


@given(MESSAGES)
def test_the_components_always_add_up_to_the_total(listed):
    found = anatomy(listed, Recognition(document_tools=("search",)), tools=["a b"])
    assert sum(found.by_component().values()) == found.total
    assert all(size >= 0 for size in found.by_component().values())
    assert set(found.component) <= set(COMPONENTS)


@given(MESSAGES)
def test_leading_system_text_is_never_anything_else_and_the_rest_is_never_system(listed):
    found = anatomy(listed)
    assert all((name == "system") == (index < found.head) for index, name in enumerate(found.component))


@given(MESSAGES)
def test_bytes_never_prove_that_a_prompt_fits_which_does_not(listed):
    found = request(listed)
    assert fits_by_bytes(found.conversation, len(found.body), len(found.body))
    assert anatomy(listed).total <= len(found.body)


def test_bytes_prove_nothing_where_there_are_media():
    found = request([IMAGE])
    assert not fits_by_bytes(found.conversation, len(found.body), 10**9)
    assert not fits_by_bytes(request([user("a")]).conversation, len(body([user("a")])), 10)
