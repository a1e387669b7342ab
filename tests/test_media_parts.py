"""What a part of a message is that is not text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Media
from gateway.wire.media import media_of

DATA = "A" * 90


@pytest.mark.parametrize(
    ("part", "kind", "data"),
    [
        ({"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}}, "video", "https://x.example/a.mp4"),
        ({"type": "video_url", "video_url": "data:video/mp4;base64,AAAA"}, "video", "data:video/mp4;base64,AAAA"),
        ({"type": "audio_url", "audio_url": {"url": "https://x.example/a.mp3"}}, "audio", "https://x.example/a.mp3"),
        ({"type": "input_image", "image_url": "https://x.example/a.png"}, "image", "https://x.example/a.png"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, "image", DATA),
        ({"type": "document", "source": {"type": "base64", "data": DATA}, "title": "A"}, "file", DATA),
        ({"type": "input_file", "file_id": "file-1", "size": 70_000}, "file", ""),
        ({"type": "screen", "content": "data:image/png;base64,AAAA"}, "image", "data:image/png;base64,AAAA"),
        ({"type": "screen", "content": "iVBORw0KGgo" + DATA}, "image", "iVBORw0KGgo" + DATA),
        ({"type": "image_url", "image_url": 7}, "image", ""),
        ({"type": "new_kind", "weight": 3}, "other", '{"type":"new_kind","weight":3}'),
        ({}, "other", "{}"),
    ],
)
def test_a_part_is_told_by_its_type_or_by_what_it_holds(part: dict[str, Any], kind: str, data: str):
    found = media_of(part, 4)
    assert found is not None
    assert (found.kind, found.data, found.part, found.is_foreign) == (kind, data, 4, True)


def test_a_declared_size_and_a_name_are_read():
    part = {"type": "file", "file": {"file_id": "f", "filename": "a.pdf", "bytes": 9000}}
    assert media_of(part, 0) == Media("file", "", None, 0, "a.pdf", 9000)
    assert media_of({"type": "file", "file": {"file_id": "f", "bytes": True}}, 0) == Media("file", "")


@pytest.mark.parametrize(
    "part",
    [{"type": "text", "text": "a"}, {"text": ""}, {"type": "thinking", "thinking": "hm"}, {"type": "refusal"}, "a", 7],
)
def test_text_reasoning_and_what_is_no_object_are_no_media(part: Any):
    assert media_of(part, 0) is None


NAMES = st.sampled_from(["type", "file", "image_url", "url", "text", "data", "size", "x"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9) | st.just(DATA),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "file", "image_url", "url", "text", "data", "size", "x"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@given(ANY)
def test_a_part_of_any_shape_is_always_read(part: Any):
    found = media_of(part, 0)
    assert found is None or isinstance(found.data, str)


def test_a_part_is_looked_into_only_so_far():
    part: dict[str, Any] = {"type": "x", "url": "https://x.example/a"}
    for _ in range(100):
        part = {"type": "x", "in": part}
    found = media_of(part, 0)
    assert found is not None
    assert found.kind == "other"
