"""The relay of a stream: bytes through untouched, usage read, and the same whatever the chunks."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import openai
import orjson
import pytest
from httpx import MockTransport, Request, Response
from hypothesis import example, given
from hypothesis import strategies as st
from openai import OpenAI

from gateway.wire import sse
from gateway.wire.chat.relay import DONE, KEEP_BYTES, LONGEST_HELD, MOST_PACKED, PACK_BYTES, EventRelay, error_event
from gateway.wire.chat.transcript import MOST_PLACES, MOST_TEXT
from gateway.wire.errors import upstream_failed
from gateway.wire.failures import ErrorObject
from gateway.wire.sse import event
from tests.timing import within

USAGE = {"prompt_tokens": 120, "completion_tokens": 50, "total_tokens": 170}


def chunk(delta: dict[str, Any] | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None, **more.pop("choice", {})}
    return event(orjson.dumps({"id": "chatcmpl-1", "choices": [choice], "usage": None, **more}))


def usage_only(usage: dict[str, Any] = USAGE) -> bytes:
    return event(orjson.dumps({"id": "chatcmpl-1", "choices": [], "usage": usage}))


HELLO = chunk({"role": "assistant", "content": ""}) + chunk({"content": "Hel"}) + chunk({"content": "lo"})
STOP = chunk(choice={"finish_reason": "stop"})


def relay(*chunks: bytes, hold_back: bool = True) -> tuple[bytes, EventRelay]:
    through = EventRelay(hold_back)
    out = b"".join(through.feed(piece) for piece in chunks)
    return out + through.finish(), through


# --- what comes out


def test_events_pass_byte_for_byte_and_the_usage_only_event_is_held_back():
    out, seen = relay(HELLO + STOP + usage_only() + DONE)
    assert out == HELLO + STOP + DONE
    assert seen.usage == USAGE


def test_the_usage_only_event_passes_to_a_client_that_asked_for_it():
    out, seen = relay(HELLO + STOP + usage_only() + DONE, hold_back=False)
    assert out == HELLO + STOP + usage_only() + DONE
    assert seen.usage == USAGE


def test_a_whole_chunk_comes_out_as_the_object_it_came_in_as():
    through = EventRelay(hold_back_usage=True)
    assert through.feed(HELLO) is HELLO


def test_an_event_leaves_as_soon_as_it_is_complete_and_not_before():
    through = EventRelay(hold_back_usage=True)
    first = chunk({"content": "Hel"})
    assert through.feed(first[:20]) == b""
    assert through.feed(first[20:-1]) == b""
    assert through.feed(first[-1:] + b"data: {") == first
    assert through.finish() == b"data: {"


def test_the_first_event_of_azure_has_no_choices_and_passes():
    filters = event(b'{"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}')
    out, seen = relay(filters + HELLO)
    assert out == filters + HELLO
    assert seen.usage is None


def test_usage_beside_choices_is_read_and_passes():
    last = chunk(choice={"finish_reason": "stop"}, usage=USAGE)
    out, seen = relay(HELLO + last + DONE)
    assert out == HELLO + last + DONE
    assert seen.usage == USAGE


def test_of_several_usages_the_last_counts_where_it_does_not_say_less():
    running = chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1})
    assert relay(running + usage_only())[1].usage == USAGE
    nought = usage_only({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    assert relay(usage_only() + nought)[1].usage == USAGE


def test_what_an_earlier_usage_says_besides_stays():
    early = chunk({"content": "a"}, usage={"prompt_tokens": 120, "prompt_tokens_details": {"cached_tokens": 64}})
    seen = relay(early + usage_only({**USAGE, "prompt_tokens_details": None}))[1]
    assert seen.usage == {**USAGE, "prompt_tokens_details": {"cached_tokens": 64}}


@pytest.mark.parametrize("place", [{"choice": {"usage": USAGE}}, {"x_groq": {"id": "req_1", "usage": USAGE}}])
def test_usage_is_read_wherever_it_is_put(place):
    out, seen = relay(HELLO + chunk(**place) + STOP + DONE)
    assert seen.usage == USAGE
    assert out == HELLO + chunk(**place) + STOP + DONE


def test_usage_beside_an_answer_that_goes_on_is_early():
    placeholder = chunk({"content": "a"}, usage={"prompt_tokens": 120, "completion_tokens": 0})
    assert relay(placeholder)[1].usage_is_early
    assert not relay(placeholder + usage_only())[1].usage_is_early
    assert not relay(placeholder + chunk(choice={"finish_reason": "stop"}, usage=USAGE))[1].usage_is_early


def test_usage_beside_choices_that_are_null_is_held_back():
    null = event(orjson.dumps({"choices": None, "usage": USAGE}))
    out, seen = relay(HELLO + null + DONE)
    assert (out, seen.usage) == (HELLO + DONE, USAGE)


def test_the_service_tier_is_read_from_any_event():
    assert relay(chunk({"content": "a"}, service_tier="priority") + usage_only())[1].service_tier == "priority"
    assert relay(chunk({"content": '"service_tier":"flex"'}) + usage_only())[1].service_tier is None


@pytest.mark.parametrize(
    "spelled",
    [
        b'{"choices": [], "usage": {"prompt_tokens": 1}}',
        b'{"choices" : [ ] , "usage" :\t{"prompt_tokens" : 1}}',
        b'{"usage":{"prompt_tokens":1},"choices":[]}',
    ],
)
@pytest.mark.parametrize("prefix", [b"data: ", b"data:", b": ping\ndata: ", b"event: chunk\nid: 7\ndata: "])
def test_usage_is_found_however_it_is_spelled(spelled, prefix):
    out, seen = relay(HELLO + prefix + spelled + b"\n\n" + DONE)
    assert out == HELLO + DONE
    assert seen.usage == {"prompt_tokens": 1}


def test_usage_is_found_where_the_json_goes_on_in_another_data_line():
    out, seen = relay(b'data: {"choices":[],"usage":\ndata: {"prompt_tokens":1}}\n\n' + DONE)
    assert out == DONE
    assert seen.usage == {"prompt_tokens": 1}


def test_text_that_looks_like_usage_is_text():
    talk = chunk({"content": '"usage":{"prompt_tokens":1},"choices":[]'}) + chunk({"content": "usage"})
    out, seen = relay(talk)
    assert out == talk
    assert seen.usage is None


def test_a_comment_that_looks_like_usage_is_a_comment():
    comment = b': {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    out, seen = relay(comment + HELLO)
    assert out == comment + HELLO
    assert seen.usage is None


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_any_line_ending_ends_an_event(ending):
    stream = (HELLO + STOP + usage_only() + DONE).replace(b"\n", ending)
    out, seen = relay(stream)
    assert out == (HELLO + STOP + DONE).replace(b"\n", ending)
    assert seen.usage == USAGE
    assert seen.done
    assert seen.finish_reason == "stop"
    assert seen.seen_text() == "Hello"


def test_a_line_feed_that_comes_late_belongs_to_the_event_that_was_held_back():
    held = usage_only().replace(b"\n", b"\r\n")
    through = EventRelay(hold_back_usage=True)
    assert through.feed(held[:-1]) == b""
    assert through.feed(held[-1:] + DONE) == DONE


def test_what_follows_a_held_back_event_keeps_its_own_line_feed():
    held = usage_only().replace(b"\n", b"\r")
    assert relay(held + b"data: x", b"\n\n")[0] == b"data: x\n\n"


def test_a_stream_that_ends_without_a_blank_line_is_passed_and_read_to_the_end():
    out, seen = relay(HELLO + usage_only() + b"data: [DONE]")
    assert out == HELLO + b"data: [DONE]"
    assert seen.done
    out, seen = relay(HELLO + usage_only().rstrip())
    assert out == HELLO
    assert seen.usage == USAGE


def test_garbage_passes():
    garbage = b'data: {"usage": {{{\n\n\xff\xfe\x00"error"\n\ndata: [1]\n\nnonsense "usage"\n\n\n'
    out, seen = relay(garbage)
    assert out == garbage
    assert (seen.usage, seen.error, seen.finished) == (None, None, False)


def test_an_empty_stream_is_empty():
    out, seen = relay(b"", b"")
    assert out == b""
    assert not seen.finished


# --- what is learned


def test_done_is_the_marker_and_not_the_word():
    assert relay(chunk({"content": "[DONE]"}))[1].done is False
    assert relay(DONE + b"\n")[1].done is True
    assert relay(b"data:[DONE]\n\n")[1].done is True
    assert relay(DONE + chunk({"content": "[DONE]"}))[1].done is True


def test_a_stream_is_finished_by_the_marker_or_by_a_finish_reason():
    assert not relay(HELLO)[1].finished
    assert relay(HELLO + DONE)[1].finished
    seen = relay(HELLO + STOP)[1]
    assert seen.finished
    assert seen.finish_reason == "stop"


def test_an_empty_finish_reason_is_none():
    assert not relay(chunk({"content": "an ans"}, choice={"finish_reason": ""}))[1].finished


def test_a_stream_of_several_choices_is_finished_when_each_of_them_is():
    both = chunk({"content": "a"}) + chunk({"content": "b"}, choice={"index": 1}) + STOP
    assert not relay(both)[1].finished
    assert relay(both + chunk(choice={"index": 1, "finish_reason": "stop"}))[1].finished
    assert relay(HELLO + STOP + chunk())[1].finished, "some engines send an empty chunk after the last"


def test_an_index_that_is_no_number_breaks_nothing():
    odd = chunk({"content": "a", "tool_calls": [{"index": [1], "function": {"name": "f"}}]}, choice={"index": {}})
    assert relay(odd)[1].seen_text() == "a\nf"


def test_an_error_event_passes_and_is_noted():
    failed = event(b'{"error":{"message":"overloaded","type":"server_error","code":null}}')
    out, seen = relay(HELLO + failed)
    assert out == HELLO + failed
    assert seen.error is not None
    assert seen.error.members == {"message": "overloaded", "type": "server_error", "code": None}


def test_an_error_that_is_a_mere_string_is_an_object_all_the_same():
    assert relay(event(b'{"error":"overloaded"}'))[1].error == ErrorObject({"message": "overloaded"})


@pytest.mark.parametrize("failed", [{"error": {"code": 502, "message": "gone"}}, {"finish_reason": "error"}])
def test_an_error_in_a_choice_is_noted_though_no_client_looks_there(failed):
    seen = relay(HELLO + chunk(choice=failed))[1]
    assert seen.error is not None
    assert not seen.error_is_shown
    assert relay(HELLO + event(b'{"error":{"message":"gone"}}'))[1].error_is_shown


def test_an_event_that_is_called_an_error_is_one_whatever_it_holds():
    seen = relay(HELLO + b'event: error\ndata: {"type":"overloaded_error","message":"busy"}\n\n')[1]
    assert seen.error is not None
    assert (seen.error.members["message"], seen.error.status) == ("busy", 529)
    told = relay(HELLO + b"event: error\ndata: upstream timed out\n\n")[1].error
    assert told == ErrorObject({"message": "upstream timed out"})


def test_an_error_that_says_nothing_is_none():
    for nothing in ({}, {"code": 0, "message": ""}, "", False):
        assert relay(chunk({"content": "a"}, error=nothing))[1].error is None


def test_no_error_is_no_error():
    assert relay(chunk({"content": "error"}, error=None))[1].error is None


def test_an_error_beside_usage_is_not_held_back():
    both = event(b'{"choices":[],"usage":{"prompt_tokens":1},"error":{"message":"cut"}}')
    out, seen = relay(both)
    assert out == both
    assert seen.usage == {"prompt_tokens": 1}


def test_an_older_event_with_an_error_does_not_bring_back_its_usage():
    both = event(b'{"choices":[],"usage":{"prompt_tokens":1},"error":{"message":"slow"}}')
    assert relay(both + usage_only())[1].usage == USAGE


def test_the_text_seen_is_content_refusal_reasoning_and_calls():
    call = {"index": 0, "id": "call_1", "function": {"name": "search", "arguments": ""}}
    stream = (
        chunk({"reasoning_content": "Let me ", "reasoning": "Let me "})
        + chunk({"reasoning_content": "look."})
        + chunk({"content": "Loo"})
        + chunk({"content": "king"})
        + chunk({"refusal": "no"})
        + chunk({"tool_calls": [call]})
        + chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"q":'}}]})
        + chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"x"}'}}]})
        + chunk({"function_call": {"name": "old", "arguments": "{}"}})
        + chunk({"content": [{"type": "thinking", "thinking": [{"text": " hard"}]}, {"type": "text", "text": "!"}]})
    )
    assert relay(stream)[1].seen_text().split("\n") == [
        "Let me look.",
        "Looking hard!",
        "no",
        "search",
        '{"q":"x"}',
        "old",
        "{}",
    ]


def test_the_text_of_several_choices_is_kept_apart():
    stream = b"".join(
        chunk({"content": t}, choice={"index": i}) for t, i in [("Hel", 0), ("Bon", 1), ("lo", 0), ("jour", 1)]
    )
    assert relay(stream)[1].seen_text() == "Hello\nBonjour"


def test_halves_of_a_surrogate_pair_in_two_deltas_meet():
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    stream += b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}\n\n'
    assert relay(stream)[1].seen_text() == "😀"
    assert relay(stream[: len(stream) // 2])[1].seen_text().encode()  # a lone half can be encoded, too


def test_a_long_stream_is_kept_as_its_text_only():
    through = EventRelay(hold_back_usage=True)
    for number in range(3 * KEEP_BYTES // 100):
        through.feed(chunk({"content": f"{number} "}))
        assert through._kept_bytes <= PACK_BYTES
        assert through._unread_bytes <= KEEP_BYTES + PACK_BYTES
    assert through.seen_text().split() == [str(number) for number in range(3 * KEEP_BYTES // 100)]
    assert through.grown(100) == 100


@pytest.mark.long
def test_of_a_very_long_stream_the_beginning_is_kept_and_all_of_it_counted():
    through, pieces = EventRelay(hold_back_usage=True), 6 * MOST_TEXT // 10
    tracemalloc.start()
    for number in range(pieces):
        through.feed(chunk({"content": f"{number:9} "}))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 150_000
    assert len(through.seen_text()) == MOST_TEXT
    assert through.seen_text().split()[:3] == ["0", "1", "2"]
    assert through.grown(1_000) == pytest.approx(6_000, rel=0.01)


def test_text_is_cut_between_two_characters_and_the_number_of_places_is_bounded():
    through = EventRelay(hold_back_usage=True)
    through.feed(chunk({"content": "a" + "\u4e2d" * MOST_TEXT}))
    assert len(through.seen_text()) == 1 + (MOST_TEXT - 1) // 3
    many = EventRelay(hold_back_usage=True)
    for number in range(3 * MOST_PLACES):
        many.feed(chunk({"content": "x"}, choice={"index": number}))
    assert many.seen_text() == "\n".join("x" * MOST_PLACES)
    assert many.grown(10) == 30


def test_chunks_that_do_not_pack_are_read_sooner():
    draw, through = random.Random(1), EventRelay(hold_back_usage=True)
    for _ in range(KEEP_BYTES // 1000):
        through.feed(chunk({"content": draw.randbytes(500).hex()}))
        assert through._packed_bytes <= MOST_PACKED + PACK_BYTES
    assert len(through.seen_text()) == MOST_TEXT


def test_one_large_event_in_many_small_chunks_is_not_scanned_again_and_again():
    large = chunk({"content": "x" * 2_000_000})
    out, seen = relay(*(large[at : at + 100] for at in range(0, len(large), 100)))
    assert out == large
    assert len(seen.seen_text()) == MOST_TEXT
    assert seen.grown(MOST_TEXT) == 2_000_000


# --- an event that is too long to be held


def passing(*chunks: bytes) -> tuple[list[bytes], EventRelay]:
    through = EventRelay(hold_back_usage=True)
    through.passes_long_events = True
    return [through.feed(piece) for piece in chunks], through


@pytest.mark.parametrize("size", [1, 997, 30_000, 200_000])
def test_a_long_event_is_passed_on_as_it_comes_and_what_follows_is_read(size: int):
    usage = {"prompt_tokens": 7, "completion_tokens": 9}
    long = chunk({"content": "x" * 100_000}, choice={"finish_reason": "stop"}, usage=usage)
    stream = chunk({"content": "Hi"}) + long + chunk({"content": "!"}) + DONE
    out, seen = passing(*(stream[at : at + size] for at in range(0, len(stream), size)))
    assert b"".join(out) == stream
    if size < 100_000:
        assert max(map(len, out)) <= LONGEST_HELD + 2 * size
        assert seen.grown(1) > 100_000 / 4
    assert (seen.usage, seen.usage_is_early, seen.done, seen.held_bytes) == (usage, False, True, 0)
    assert seen.finish_reason == "stop"


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_the_end_of_a_long_event_is_found_wherever_the_chunks_are_cut(ending: str):
    long = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * LONGEST_HELD + b'"}}]}'
    stream = (long + b"\n\n" + chunk({"content": "!"})).replace(b"\n", ending.encode())
    for at in range(len(long) - 2, len(long) + 8):
        out, seen = passing(stream[:at], stream[at : at + 1], stream[at + 1 :])
        assert b"".join(out) == stream
        assert seen.seen_text().endswith("!")


def test_media_in_a_long_event_are_not_counted_as_text():
    image = chunk({"images": [{"image_url": {"url": "data:image/png;base64," + "A" * 100_000}}]})
    _, seen = passing(*(image[at : at + 9_000] for at in range(0, len(image), 9_000)))
    assert seen.grown(0) == 0


def test_an_event_without_end_is_passed_on_and_its_size_known():
    out, seen = passing(b"data: ", *[b"x" * 10_000] * 100)
    assert sum(map(len, out)) == seen.held_bytes == 1_000_006


def test_a_long_event_at_the_end_of_a_stream_is_ended_there():
    long = chunk({"content": "x" * 40_000}, choice={"finish_reason": "stop"}).removesuffix(b"\n\n")
    out, seen = passing(*(long[at : at + 9_000] for at in range(0, len(long), 9_000)))
    assert seen.cut() == b"\n\n"
    assert b"".join(out) + seen.finish() == long + b"\n\n"
    assert (seen.cut(), seen.finished, seen.finish()) == (b"", True, b"")


def test_where_somebody_reads_whole_events_they_are_held():
    through = EventRelay(hold_back_usage=True)
    assert through.feed(b"data: " + b"x" * 100_000) == b""
    assert through.held_bytes == 100_006


# --- events of our own


def test_an_event_of_several_lines_has_several_data_lines():
    assert event(b"a\nb\r\nc") == b"data: a\ndata: b\ndata: c\n\n"


def test_openais_client_raises_at_our_error_event():
    failure = upstream_failed("reset", "The upstream closed the connection.")
    body = HELLO + error_event(failure, "gw_1")
    said: list[str | None] = []

    def answer(request: Request) -> Response:
        return Response(200, headers={"content-type": "text/event-stream"}, content=body)

    with OpenAI(
        api_key="k",
        base_url="http://gateway/v1",
        http_client=openai.DefaultHttpxClient(transport=MockTransport(answer)),
    ) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
        with pytest.raises(openai.APIError) as raised:
            said.extend(part.choices[0].delta.content for part in stream)
    assert said == ["", "Hel", "lo"]
    assert raised.value.code == "upstream_reset"
    assert raised.value.message.endswith("[gw_1]")


# --- always: a reader written by the standard's own words, byte by byte


@dataclass
class Reference:
    """Parses the whole stream one byte at a time, with no regard for speed."""

    stream: bytes
    passed: bytes = b""
    usage: Any = None
    error: Any = None
    done: bool = False
    finish_reason: Any = None
    lines: list[bytes] = field(default_factory=list)

    def read(self, hold_back: bool) -> Reference:
        raw, at = b"", 0
        while at < len(self.stream):
            line = b""
            while at < len(self.stream) and self.stream[at : at + 1] not in (b"\n", b"\r"):
                line += self.stream[at : at + 1]
                at += 1
            ending = self.stream[at : at + 1]
            if self.stream[at : at + 2] == b"\r\n":
                ending = b"\r\n"
            at += len(ending)
            if not raw and not line:
                self.passed += ending
                continue
            raw += line + ending
            if line:
                self.lines.append(line)
            if not line or at >= len(self.stream):
                if not (self.dispatch() and hold_back):
                    self.passed += raw
                raw, self.lines = b"", []
        return self

    def dispatch(self) -> bool:
        values = []
        for line in self.lines:
            name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
            if name == b"data":
                values.append(value[1:] if value[:1] == b" " else value)
        data = b"\n".join(values)
        if data.startswith(b"[DONE]"):
            self.done = True
        try:
            fields = json.loads(data)
        except ValueError:
            return False
        if not isinstance(fields, dict):
            return False
        for choice in fields.get("choices") or ():
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if fields.get("error"):
            self.error = fields["error"]
        if not isinstance(fields.get("usage"), dict):
            return False
        before, usage = self.usage or {}, fields["usage"]
        says_less = usage.get("prompt_tokens", 0) < before.get("prompt_tokens", 0)
        self.usage = {**usage, **before} if says_less else {**before, **usage}
        return fields.get("choices") == [] and not fields.get("error")


def documents() -> st.SearchStrategy[bytes]:
    texts = st.sampled_from(["", "a", "é", "😀", '"usage":{}', "usage", "[DONE]", "error", "\n\n", "\r"])
    usages = st.sampled_from([None, {}, {"prompt_tokens": 1}, {"prompt_tokens": 2}])
    dicts = st.one_of(
        st.builds(
            lambda text, usage, reason: {
                "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}],
                "usage": usage,
            },
            texts,
            usages,
            st.sampled_from([None, None, "stop", "length"]),
        ),
        st.builds(lambda usage: {"choices": [], "usage": usage}, usages),
        st.sampled_from([{"error": {"message": "a"}}, {"error": None}, {"usage": {"prompt_tokens": 3}}, {"x": 1}]),
    )
    dumps = st.sampled_from(
        [
            lambda d: json.dumps(d).encode(),
            lambda d: json.dumps(d, separators=(",", ":"), ensure_ascii=False).encode(),
            lambda d: json.dumps(d, indent=1).encode(),
        ]
    )
    plain = st.sampled_from([b"[DONE]", b"[DONE] ", b"", b"[1]", b"not json", b'{"usage":{'])
    return st.one_of(st.builds(lambda dump, fields: dump(fields), dumps, dicts), plain)


def events() -> st.SearchStrategy[bytes]:
    def build(document: bytes, ending: bytes, space: bytes, extra: bytes, blank: bytes) -> bytes:
        lines = [extra] if extra else []
        lines += [b"data:" + space + line for line in document.split(b"\n")]
        return ending.join(lines) + ending + blank

    endings = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"])
    return st.one_of(
        st.builds(
            lambda document: b"data: " + document.replace(b"\n", b"") + b"\n\n",
            documents(),
        ),
        st.builds(
            build,
            documents(),
            endings,
            st.sampled_from([b" ", b" ", b""]),
            st.sampled_from([b"", b"", b": ping", b"event: x", b"id: 1", b"data"]),
            st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"", b"\n\n", b"\n\n\n", b"\r\r\n"]),
        ),
        st.sampled_from([b": keep-alive\n\n", b"\n", b"\r", b"\r\n", b'"usage"', b"\xff\n\n"]),
    )


streams = st.builds(
    lambda pieces, rest: b"".join(pieces) + rest,
    st.lists(events(), max_size=8),
    st.sampled_from([b"", b"", b"data: [DONE]", b'data: {"choices":[],"usage":{}}', b"data: {", b"\r"]),
)


@given(streams, st.data(), st.booleans())
@example(usage_only().replace(b"\n", b"\r") + b"\n" + DONE, None, True)
@example(usage_only().replace(b"\n", b"\r\n") * 2 + DONE, None, True)
def test_however_a_stream_is_cut_what_comes_out_and_what_is_learned_is_the_same(stream, data, hold_back):
    if data is None:
        cuts = list(range(len(stream)))
    elif data.draw(st.booleans()):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    else:
        step = data.draw(st.integers(1, 7))
        cuts = list(range(0, len(stream), step))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = Reference(stream).read(hold_back)
    whole_out, whole = relay(stream, hold_back=hold_back)
    out, cut = relay(*pieces, hold_back=hold_back)
    for seen_out, seen in ((whole_out, whole), (out, cut)):
        assert seen_out == expected.passed
        assert seen.usage == expected.usage
        assert (None if seen.error is None else seen.error.members) == expected.error
        assert seen.done == expected.done
        assert seen.finish_reason == expected.finish_reason
    assert whole.seen_text() == cut.seen_text()


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_without_usage_always_pass_unchanged(pieces):
    out, _ = relay(*pieces)
    assert out == b"".join(pieces)


@given(streams, st.integers(0, 400))
def test_what_has_passed_at_any_moment_is_always_whole_events(stream, cut):
    through = EventRelay(hold_back_usage=False)
    out = through.feed(stream[:cut])
    assert stream.startswith(out)
    assert not out or out.endswith((b"\n\n", b"\r\r", b"\n\r", b"\r\n"))


def test_line_endings_of_two_bytes_cost_no_more_than_others():
    many = b"".join(chunk({"content": "x"}).replace(b"\n", b"\r\n") for _ in range(4_000))
    with within(4.0):  # in one piece; each event once looked for endings of another kind up to the end
        passed, read = relay(many)
    assert passed == many
    assert len(read.seen_text()) == 4_000


@given(
    st.lists(st.text("xy", max_size=6), max_size=12),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.lists(st.sampled_from([b"x", b"yy", b"xyx"]), max_size=3),
)
def test_of_all_events_those_with_a_mark_are_cut_out(said, ending, marks):
    block = "".join([f"data: {one}{ending}{ending}" for one in said]).encode()
    every = [one.strip() for one in sse.events(block)]
    marked = [one.strip() for one in sse.events_with(block, marks)]
    assert marked == [one for one in every if any(mark in one for mark in marks)]
