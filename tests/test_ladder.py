"""The order of remedies, and what each makes of one result."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import OVERHEAD_MESSAGE
from gateway.rewriting.ladder import Ladders, Results
from gateway.rewriting.memory import Known
from gateway.rewriting.results.crush import NOTHING_WANTED
from tests.talk import anatomy, calls, count, result, user, words

SPACED = '{ "a": [ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24 ] }'


def results(*texts) -> Results:
    listed = [user("x"), *(m for n, text in enumerate(texts) for m in (calls(f"c{n} read"), result(f"c{n}", text)))]
    return Results(anatomy([*listed, user("y")]), count, Known())


def test_remedies_that_lose_nothing_are_told_from_those_that_do():
    mixed = Ladders(tool_results=("minify", "stub", "crush"))
    assert mixed.light == ("minify", "crush")
    assert mixed.heavy == ("stub",)
    assert (Ladders().light, Ladders().heavy) == (("minify", "dedupe", "crush"), ())


def test_a_component_has_a_remedy_where_its_ladder_has_one_and_results_are_history():
    assert Ladders().with_remedy == {"documents", "examples", "history"}
    assert Ladders(history=(), documents=(), examples=()).with_remedy == {"history"}
    assert Ladders((), (), (), ()).with_remedy == frozenset()


def test_minify_gives_the_shorter_json_with_its_count():
    short = results(SPACED).shorten("minify", 2, None)
    assert short is not None
    assert (short.remedy, short.text, short.tokens) == ("minify", SPACED.replace(" ", ""), OVERHEAD_MESSAGE + 1)


def test_minify_leaves_plain_text_alone():
    assert results(words(50)).shorten("minify", 2, None) is None


def test_dedupe_points_to_the_later_result_that_says_the_same():
    held = results(words(50), words(50))
    short = held.shorten("dedupe", 2, 4)
    assert short is not None
    assert short.text == "[same as the later result of read, call c1]"
    assert held.shorten("dedupe", 2, None) is None


def test_dedupe_leaves_alone_what_a_stub_could_not_shorten():
    assert results(words(9), words(9)).shorten("dedupe", 2, 4) is None


def test_stub_gives_one_line_where_that_is_shorter():
    held = results(words(50), words(9))
    short = held.shorten("stub", 2, None)
    assert short is not None
    assert short.text.startswith("[result of read: 50 tokens")
    assert held.shorten("stub", 4, None) is None


def test_results_with_media_are_left_alone_because_only_their_text_could_go():
    image = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    held = results([{"type": "text", "text": words(90)}, image], SPACED)
    assert held.shorten("stub", 2, None) is None
    assert held.shorten("minify", 4, None) is not None


def test_a_remedy_that_nobody_knows_does_nothing():
    assert results(words(50)).shorten("polish", 2, None) is None


def test_crush_says_the_same_in_fewer_tokens():
    rows = json.dumps([{"id": n, "state": "open"} for n in range(30)], indent=1)
    short = results(rows).shorten("crush", 2, None)
    assert short is not None
    assert short.remedy == "crush"
    assert all(str(n) in short.text for n in range(30))


def test_crushing_to_a_size_gives_no_more_than_that_size_or_nothing():
    log = "\n".join(f"step {n} of the build took a while and then it was done" for n in range(200))
    held = results(log)
    short = held.crushed_to(2, 150, NOTHING_WANTED)
    assert short is not None
    assert short.tokens <= 150
    assert held.crushed_to(2, OVERHEAD_MESSAGE, NOTHING_WANTED) is None


def test_dedupe_says_what_was_different_in_a_result_that_is_nearly_the_same():
    lines = [f"{n}: {words(5, f'w{n}')}" for n in range(60)]
    held = results("\n".join([*lines[:30], "30: it was otherwise", *lines[31:]]), "\n".join(lines))
    short = held.shorten("dedupe", 2, 4)
    assert short is not None
    assert short.text.startswith("[as the later result of read, call c1, but for what follows]\n")
    assert "30: it was otherwise" in short.text


def test_dedupe_does_not_liken_what_is_not_alike():
    assert results(words(90, "one"), words(90, "other")).shorten("dedupe", 2, 4) is None


def test_what_was_worked_out_once_is_remembered_for_every_conversation():
    known = Known()
    listed = [user("x"), calls("c0 read"), result("c0", SPACED), user("y")]
    first = Results(anatomy(listed), count, known).minified(2)
    assert Results(anatomy(listed), count, known).minified(2) is first


@given(st.text(max_size=200) | st.integers(0, 80).map(words), st.sampled_from(["minify", "dedupe", "crush", "stub"]))
def test_a_remedy_never_makes_a_result_larger_and_always_says_its_true_size(text, remedy):
    held = results(text, text)
    short = held.shorten(remedy, 2, 4)
    if short is not None:
        assert short.tokens == OVERHEAD_MESSAGE + count(short.text) < held.anatomy.tokens[2]
