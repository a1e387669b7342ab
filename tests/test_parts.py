"""Changes to single parts of a message, spliced into its bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Changes, Message, PartEdit, with_parts
from gateway.request import Request
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo

IMAGE = '{ "type":"image_url" ,"image_url":{"url":"https://x.example/a.png","detail":"high"}, "x":1.10}'
BARE = '{"type":"image_url","image_url":"https://x.example/b.png"}'
PLAIN = '{"image_url": {"url":"https://x.example/c.png"},"type":"image_url"}'
TEXT = '{"type": "text", "text":"one" , "cache_control":{"type":"ephemeral"}}'
OTHER = '{"type":"new_kind","weight":1234567890123456789012345678901}'
FILE = '{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBE"}}'


def read(*parts: str, role: str = "user", more: str = "") -> Request:
    content = " , ".join(parts)
    raw = f'{{"model":"m","messages":[{{"role":"{role}",{more}"content": [{content}] ,"name": "n"}}]}}'
    return parse(raw.encode(), Memo())


def left(found: Request, *edits: PartEdit) -> str:
    return sent(found, "m", Changes({}, parts={0: edits})).decode()


def parts_of(raw: str) -> list[Any]:
    return list(json.loads(raw)["messages"][0]["content"])


def says(message: Message) -> tuple[Any, ...]:
    return message.text, message.parts, message.media


def test_the_detail_of_an_image_is_spliced_and_every_other_byte_stays():
    found = read(TEXT, IMAGE, OTHER)
    assert left(found, PartEdit(1, detail="low")) == found.body.decode().replace('"high"', '"low"')


def test_an_image_without_a_detail_gets_one():
    found = read(PLAIN, BARE)
    lowered = '{"image_url": {"detail":"low","url":"https://x.example/c.png"},"type":"image_url"}'
    bare = '{"type":"image_url","image_url":{"url":"https://x.example/b.png","detail":"low"}}'
    out = left(found, PartEdit(0, detail="low"), PartEdit(1, detail="low"))
    assert out == found.body.decode().replace(PLAIN, lowered).replace(BARE, bare)


def test_a_part_is_replaced_by_a_text_and_the_others_keep_their_bytes():
    found = read(OTHER, IMAGE, TEXT)
    out = left(found, PartEdit(1, "[image 3 left out]"))
    assert out == found.body.decode().replace(IMAGE, '{"type":"text","text":"[image 3 left out]"}')


def test_a_cache_marker_of_a_part_that_is_replaced_stays():
    marked = FILE[:-1] + ',"cache_control":{"type":"ephemeral", "ttl":"1h"}}'
    traced = '{"type":"text","text":"[file 1 left out]","cache_control":{"type":"ephemeral", "ttl":"1h"}}'
    found = read(marked)
    assert left(found, PartEdit(0, "[file 1 left out]")) == found.body.decode().replace(marked, traced)


def test_a_part_of_text_gets_a_new_one_and_keeps_its_other_members():
    found = read(TEXT, IMAGE)
    assert left(found, PartEdit(0, 'two "2"')) == found.body.decode().replace('"one"', '"two \\"2\\""')


def test_a_part_goes_and_the_others_keep_their_bytes():
    found = read(IMAGE, TEXT, OTHER)
    assert left(found, PartEdit(1)) == found.body.decode().replace(f"{IMAGE} , {TEXT} , {OTHER}", f"{IMAGE},{OTHER}")


def test_a_part_that_names_a_key_twice_is_written_anew():
    twice = '{"type":"text","text":"a","text":"b"}'
    doubled = '{"type":"image_url","image_url":{"url":"u","detail":"high","detail":"auto"}}'
    out = left(read(twice, doubled), PartEdit(0, "c"), PartEdit(1, detail="low"))
    assert parts_of(out) == [
        {"type": "text", "text": "c"},
        {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
    ]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer", "tool"])
def test_a_text_of_any_message_changes_and_role_name_and_all_else_stay(role):
    raw = f'{{"messages":[ {{"x":1.10, "role":"{role}","name":"Ana" ,"content":"long"}}],"model":"m"}}'
    found = parse(raw.encode(), Memo())
    assert sent(found, "m", Changes({0: "short"})).decode() == raw.replace('"long"', '"short"')


def test_a_single_part_of_text_keeps_its_other_members_under_a_new_text():
    found = read(TEXT)
    assert sent(found, "m", Changes({0: "short"})).decode() == found.body.decode().replace('"one"', '"short"')


def test_a_message_changes_its_text_and_loses_its_reasoning_at_once():
    found = read(TEXT, role="assistant", more='"reasoning_content":"hm",')
    out = json.loads(sent(found, "m", Changes({0: "short"}, unreasoned=frozenset({0}))))["messages"][0]
    assert (out["content"][0]["text"], "reasoning_content" in out) == ("short", False)


def test_only_what_we_put_in_is_ours():
    [message] = read(TEXT).conversation.messages
    assert message.ours is None
    assert all(one.ours is None for one in Changes({0: "[1 message, 3 tokens left out]"}).applied([message]))


KINDS = st.sampled_from([IMAGE, BARE, PLAIN, TEXT, OTHER, FILE])


def edits_of(parts: list[str]) -> st.SearchStrategy[tuple[PartEdit, ...]]:
    def one(number: int) -> st.SearchStrategy[PartEdit | None]:
        texts = st.text(max_size=9).map(lambda text: PartEdit(number, text))
        own = st.just(PartEdit(number, detail="low")) if "image_url" in parts[number] else st.nothing()
        return st.none() | texts | own | st.just(PartEdit(number))

    drawn = st.tuples(*[one(number) for number in range(len(parts))])
    return drawn.map(lambda edits: tuple([edit for edit in edits if edit is not None]))


@given(st.lists(KINDS, min_size=1, max_size=6), st.data())
def test_changes_to_parts_always_leave_all_other_bytes_and_say_what_the_values_say(parts: list[str], data: Any):
    found = read(*parts)
    edits = data.draw(edits_of(parts))
    out = left(found, *edits)
    before, after = found.body.decode().split(" , ".join(parts))
    assert out.startswith(before)
    assert out.endswith(after)
    touched = {edit.part for edit in edits}
    at = 0
    for number, part in enumerate(parts):
        if number not in touched:
            at = out.index(part, at) + len(part)
    [came] = found.conversation.messages
    [went] = parse(out.encode(), Memo()).conversation.messages
    assert says(went) == says(with_parts(came, edits))
