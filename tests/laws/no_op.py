"""Law 2. What fits is forwarded byte for byte, declared splices aside; what an edit does not touch keeps its bytes."""

import json

from gateway.conversation import Changes, PartEdits
from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.generators import SENT

USAGE = ',"stream_options":{"include_usage":true}'


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    for upto, left in zip(walk.upto, walk.left, strict=True):
        if left.body is None:
            continue
        came, went = oracle.Raw.of(walk.case.talk.body(upto)), oracle.Raw.of(left.body)
        check_usage_is_asked_for(came, went)
        changes = left.changes if walk.case.policy.mode == "enforce" else None
        if changes is None:
            assert undone(came, went).text == came.text
            continue
        if not walk.case.policy.strict:
            assert oracle.prompt_tokens(walk.case.talk.request(upto), walk.count) > walk.budget
        assert undone(came, went).around_messages() == came.around_messages()
        check_messages(came.messages(), went.messages(), changes)


def undone(came: oracle.Raw, went: oracle.Raw) -> oracle.Raw:
    """Take back what the route must change: the model's name, our own keys in metadata, the usage event asked for."""
    assert json.loads(went.member("model")) == SENT
    went = went.replaced("model", came.member("model"))
    if "metadata" in came.spans:
        assert went.member("metadata") == '{"n":1.0}'
        went = went.replaced("metadata", came.member("metadata"))
    if "stream_options" in came.spans:
        return went.replaced("stream_options", came.member("stream_options"))
    if "stream_options" in went.spans:
        before, found, after = went.text.rpartition(USAGE)
        assert found
        return oracle.Raw.of((before + after).encode())
    return went


def check_usage_is_asked_for(came: oracle.Raw, went: oracle.Raw) -> None:
    """Hold a stream's options to the client's own and the usage event, any other request's to none of ours."""
    own = oracle.exactly(came.member("stream_options")) if "stream_options" in came.spans else None
    now = oracle.exactly(went.member("stream_options")) if "stream_options" in went.spans else None
    streams = "stream" in came.spans
    assert now == ({**(own or {}), "include_usage": True} if streams else own)


def check_messages(came: list[str], went: list[str], changes: Changes) -> None:
    """Hold each message to its bytes, a changed one to all of it but its content, and that to its other parts."""
    left = iter(went)
    for index, raw in enumerate(came):
        for one in changes.inserted:
            if one.before == index:
                assert json.loads(next(left)) == {"role": "user", "content": one.text}
        if index in changes.dropped:
            continue
        now = next(left)
        if index not in changes.changed:
            assert now == raw
            continue
        was, short = oracle.Raw.of(raw.encode()), oracle.Raw.of(now.encode())
        assert not oracle.calls(json.loads(raw))
        assert short.replaced("content", was.member("content")).text == raw
        if index in changes.texts:
            assert oracle.content_text(json.loads(now)) == changes.texts[index]
        else:
            check_parts(was, short, changes.parts[index])
    assert next(left, None) is None


def check_parts(was: oracle.Raw, short: oracle.Raw, edits: PartEdits) -> None:
    """Hold the parts that no edit touches to their bytes."""
    edit_of = {edit.part: edit for edit in edits}
    now = iter(short.elements("content"))
    for number, part in enumerate(was.elements("content")):
        edit = edit_of.get(number)
        if edit is None:
            assert next(now) == part
        elif edit.text is not None:
            assert json.loads(next(now))["text"] == edit.text
        elif edit.detail is not None:
            assert json.loads(next(now))["image_url"]["detail"] == edit.detail
    assert next(now, None) is None
