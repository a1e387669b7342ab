"""Terms, what is remembered of texts, and BM25."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.documents.relevance import Corpus, Index, ReadingMemory, stem, terms
from tests.timing import within


def whole(text):
    return ((0, len(text)),)


def test_a_code_name_counts_whole_and_by_its_parts():
    assert terms("getUserName") == ("getusername", "get", "user", "name")
    assert terms("user_id") == ("user_id", "user", "id")
    assert terms("src/app/main.py") == ("src/app/main.py", "src", "app", "main", "py")


def test_an_id_a_date_and_an_amount_stay_whole():
    assert terms("#W123-45")[0] == "w123-45"
    assert terms("2024-03-05")[0] == "2024-03-05"
    assert terms("$1,299.50") == ("1299.50",)
    assert terms("12,000") == ("12000",)


def test_case_accents_and_plurals_are_one_term():
    assert terms("JOSÉ") == terms("José") == terms("jose")
    assert terms("Orders studies") == terms("order study")
    assert [stem(word) for word in ("status", "class", "bus", "W12s", "gas")] == [
        "status",
        "class",
        "bus",
        "W12s",
        "gas",
    ]


def test_a_possessive_is_the_name_itself():
    assert terms("Anna’s") == terms("Anna's") == terms("Anna")


def test_words_without_spaces_are_read_as_pairs_of_letters():
    assert terms("東京都") == ("東京", "京都")
    assert terms("예약은") == ("예약", "약은")
    assert terms("会員番号はA-55120です")[-4:] == ("号は", "a-55120", "55120", "です")


def test_signs_on_letters_stay_with_their_word():
    assert len(terms("हिन्दी")) == 1
    assert terms("שָׁלוֹם") == terms("שלום")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("", ["встреча", "встречу", "встречи"]),
        ("", ["موعد", "وموعد"]),
        ("", ["γενέθλια", "γενεθλίων"]),
        ("", ["बेटी", "बेटियों"]),
        ("german", ["Kündigung", "Kündigungen"]),
        ("french", ["réservation", "réservations"]),
        ("spanish", ["consulta", "consultas"]),
        ("polish", ["spotkanie", "spotkania"]),
        ("turkish", ["randevum", "randevumuz"]),
    ],
)
def test_forms_of_one_word_are_one_term(language, words):
    assert len({terms(word, language) for word in words}) == 1


def test_a_prefix_of_hebrew_may_be_there_or_not():
    assert set(terms("והמשלוח")) & set(terms("המשלוח")) or set(terms("המשלוח")) & set(terms("משלוח"))


def test_one_text_in_two_languages_is_two_readings():
    memory = ReadingMemory()
    text = "las consultas"
    assert memory.read(text, whole(text)).bags != memory.read(text, whole(text), "spanish").bags
    assert len(memory) == 2


def test_the_passage_that_speaks_of_it_scores_highest_and_a_stranger_scores_nothing():
    scores = Corpus(["the order W12 was shipped", "an order was cancelled", "nice weather"]).scores(
        "where is order W12?"
    )
    assert scores[0] > scores[1] > scores[2] == 0.0


def test_a_rare_word_counts_more_than_a_common_one():
    scores = Corpus(["red apple", "red pear", "red plum", "green plum"]).scores("red apple")
    assert scores[0] > 2 * scores[1]


def test_no_passages_and_no_query_are_fine():
    assert Corpus([]).scores("anything") == []
    assert Corpus(["a text"]).scores("") == [0.0]


def test_a_known_text_is_not_cut_again():
    memory, asked = ReadingMemory(), []

    def spans():
        asked.append(1)
        yield from whole("some text")

    assert memory.read("some text", spans()) is memory.read("some text", spans())
    assert asked == [1]


def test_what_is_remembered_is_bounded_and_the_newest_stays():
    memory = ReadingMemory(most_bytes=20_000)
    for n in range(500):
        text = f"message {n} " + "word " * 20
        memory.read(text, whole(text))
    assert len(memory) < 100
    assert memory.get("message 499 " + "word " * 20) is not None
    assert memory.get("message 0 " + "word " * 20) is None


def test_an_empty_memory_that_is_handed_in_is_used():
    memory = ReadingMemory()
    Corpus(["one text", "another text"], memory)
    assert len(memory) == 2


def test_the_index_of_the_turn_before_is_used_again():
    memory = ReadingMemory()
    readings = [memory.read(text, whole(text)) for text in ("one", "two")]
    assert memory.index(readings) is memory.index(list(readings))
    assert memory.index(readings[:1]) is not memory.index(readings)
    assert isinstance(memory.index([]), Index)


WORDS = st.lists(st.text("ab c", max_size=12), max_size=6)


@given(WORDS, WORDS, WORDS, st.text("ab c", max_size=6))
def test_an_index_that_is_continued_always_scores_as_one_made_at_once(first, more, other, ask):
    memory = ReadingMemory()
    read = [memory.read(text, whole(text)) for text in (*first, *more)]
    branch = [*read[: len(first)], *(memory.read(text, whole(text)) for text in other)]
    begun = memory.index(read[: len(first)])
    wanted = dict.fromkeys(memory.numbers(ask), 1.0)
    before = begun.scores(begun.weighed(wanted))
    between = [*read[: len(first)], *branch[len(first) :], *read[len(first) :]]
    for readings in (read, branch, between, between[::-1], read):
        continued, fresh = memory.index(readings), Index(readings)
        assert continued.scores(continued.weighed(wanted)) == fresh.scores(fresh.weighed(wanted))
        assert list(continued.bags[: len(continued)]) == list(fresh.bags)
    assert begun.scores(begun.weighed(wanted)) == before


def test_what_stands_between_known_readings_is_all_that_is_read():
    memory = ReadingMemory()
    one, two, three = (memory.read(text, whole(text)) for text in ("one", "two", "three"))
    begun = memory.index([one, three])
    assert memory.index([one, two, three]).postings is begun.postings
    assert len(begun.postings.readings) == 3


def test_what_one_thread_is_continuing_another_makes_for_itself():
    memory = ReadingMemory()
    readings = [memory.read(text, whole(text)) for text in ("one", "two", "three")]
    begun = Index(readings[:1])

    def during():
        aside = Index(readings, begun)
        assert aside.postings is not begun.postings
        assert len(aside) == 3
        yield from readings[1:]

    assert begun.postings.continued(1, during())
    assert len(begun) == 1


@given(st.lists(st.text(max_size=60), max_size=8), st.text(max_size=40))
def test_scores_are_always_one_number_of_at_least_zero_for_each_passage(passages, query):
    scores = Corpus(passages).scores(query)
    assert len(scores) == len(passages)
    assert all(score >= 0 for score in scores)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.text(max_size=40))
def test_what_is_remembered_never_changes_a_score(passages, query):
    memory = ReadingMemory()
    Corpus([*passages, "something else"], memory)
    assert Corpus(passages, memory).scores(query) == Corpus(passages).scores(query)


@pytest.mark.long
def test_hostile_texts_take_bounded_time():
    texts = [
        "a" * 1_000_000,
        "a-" * 500_000,
        "1," * 500_000,
        "_" * 1_000_000,
        "\0" * 1_000_000,
        "東" * 500_000,
        "aB" * 500_000,
    ]
    with within(10):
        for text in texts:
            terms(text)


def test_scores_are_the_same_in_every_process():
    program = (
        "from gateway.rewriting.documents.relevance import Corpus;"
        "print(Corpus(['alpha beta gamma', 'beta delta', 'Élan vital 42']).scores('gamma delta beta 42'))"
    )
    out = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(out) == 1
