"""What becomes of the images, audio and files of old messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import Recognition, dissect, message_tokens
from gateway.conversation import Changes, Media, Message, PartEdit, with_parts
from gateway.rewriting.media import LOW, TRACED, low, merged, numbers, reworded_texts, shortened, traced
from tests.talk import assistant, conversation, count

PICTURE = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
SMALL = {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}
SPEECH = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}


def count_media(one: Media) -> int:
    return {"image": 85 if one.detail == "low" else 765, "audio": 50, "file": 3_000}[one.kind]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def file(name: str | None) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": "JVBE"} | ({} if name is None else {"filename": name})}


def message(*parts: dict[str, Any]) -> Message:
    return conversation([user(list(parts))]).messages[0]


def test_images_go_to_low_detail_where_that_saves_tokens():
    assert low(message(text("a"), PICTURE, SPEECH, SMALL), count_media) == (PartEdit(1, detail="low"),)
    assert low(message(PICTURE), lambda one: 258) == ()


def test_a_trace_numbers_what_it_stands_for_by_its_kind():
    listed = conversation([user([PICTURE, PICTURE]), assistant("b"), user([text("c"), SPEECH, PICTURE])]).messages
    before = list(numbers(listed))[2]
    assert with_parts(listed[2], traced(listed[2], before)).text == "c\n[audio 1 left out]\n[image 3 left out]"


def test_a_trace_says_the_name_of_a_file_quoted_and_bounded():
    edits = traced(message(file('a "b"\n.pdf'), file("x" * 300), file(None)), {})
    assert edits[0].text == '[file 1 left out: "a \\"b\\"\\n.pdf"]'
    assert len(edits[1].text or "") < 120
    assert edits[2].text == "[file 3 left out]"


def test_a_video_gets_a_trace_and_what_nobody_knows_stays():
    came = message({"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}}, {"type": "new", "x": 1})
    assert traced(came, {}) == (PartEdit(0, "[video 1 left out]"),)
    assert low(message({"type": "input_image", "image_url": "https://x.example/a.png"}), count_media) == ()


def test_a_text_is_replaced_beside_an_image_that_stays():
    came = message(text("one"), PICTURE, text("two"))
    left = with_parts(came, reworded_texts(came, "short"))
    assert (left.text, left.media) == ("short\n", (Media("image", "https://x.example/a.png", None, 1),))


def test_two_changes_to_a_message_join():
    came = message(text("one"), PICTURE)
    assert merged(low(came, count_media), reworded_texts(came, "s")) == (PartEdit(0, "s"), PartEdit(1, detail="low"))
    assert merged(low(came, count_media), traced(came, {})) == traced(came, {})


@pytest.mark.parametrize(("remedy", "least"), [(LOW, 600), (TRACED, 700)])
def test_a_remedy_is_counted_as_the_message_that_leaves(remedy, least):
    talk = conversation([user([text("what is this"), PICTURE]), assistant("b"), user("c")])
    anatomy = dissect(talk, Recognition(), count, count_media)
    edits = low(talk.messages[0], count_media) if remedy == LOW else traced(talk.messages[0], {})
    short = shortened(anatomy, 0, remedy, edits, count, count_media)
    assert short is not None
    assert anatomy.tokens[0] - short.tokens > least
    left = Changes({}, parts={0: short.parts}).applied(talk.messages)[0]
    assert (left.text, message_tokens(left, count, count_media)) == (short.text, short.tokens)


def test_a_remedy_that_takes_no_fewer_tokens_is_none():
    anatomy = dissect(conversation([user([SPEECH])]), Recognition(), count, lambda one: 1)
    came = anatomy.conversation.messages[0]
    assert shortened(anatomy, 0, TRACED, traced(came, {}), count, lambda one: 1) is None
    assert shortened(anatomy, 0, LOW, (), count, lambda one: 1) is None


PARTS = st.lists(st.sampled_from([PICTURE, SPEECH, file(None), text("a")]), min_size=1, max_size=4)


@given(st.lists(PARTS, min_size=1))
def test_the_traces_of_a_conversation_are_always_those_of_its_beginning_and_more(listed):
    whole = conversation([user(parts) for parts in listed]).messages
    begun = whole[: len(whole) // 2]
    said = [traced(one, before) for one, before in zip(whole, numbers(whole), strict=True)]
    assert said[: len(begun)] == [traced(one, before) for one, before in zip(begun, numbers(begun), strict=True)]
    each = [edit.text for edits in said for edit in edits]
    assert len(set(each)) == len(each)
