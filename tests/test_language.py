"""Sentences and clauses in any language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.language import clauses, language_of, sentences
from tests.timing import within


def cut(text, by=sentences):
    return [text[start:end].strip() for start, end in by(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He paid $5.00! Really?! He left.", ["He paid $5.00!", "Really?!", "He left."]),
        ('He said "yes." Then he left.', ['He said "yes."', "Then he left."]),
        ("赤壁之战以火攻取胜！真的吗？是的。", ["赤壁之战以火攻取胜！", "真的吗？", "是的。"]),
        ("会員番号です。「はい。」 次へ", ["会員番号です。", "「はい。」", "次へ"]),
        ("예약은 두 시입니다. 알겠습니다.", ["예약은 두 시입니다.", "알겠습니다."]),
        ("هل هذا صحيح؟ نعم. شكرا", ["هل هذا صحيح؟", "نعم.", "شكرا"]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("Он живёт здесь. Встреча в мае.", ["Он живёт здесь.", "Встреча в мае."]),
        ("Πότε είναι το ραντεβού; Αύριο.", ["Πότε είναι το ραντεβού;", "Αύριο."]),
        ("Բարև։ Ինչպես ես։", ["Բարև։", "Ինչպես ես։"]),
        ("ကျေးဇူးတင်ပါတယ်။ နေကောင်းလား။", ["ကျေးဇူးတင်ပါတယ်။", "နေကောင်းလား။"]),
        ("ሰላም። እንዴት ነህ።", ["ሰላም።", "እንዴት ነህ።"]),
        ("¿Dónde vive? ¡Aquí!", ["¿Dónde vive?", "¡Aquí!"]),
        ("one line\nanother\n\n- a point\n2. two", ["one line", "another", "- a point", "2. two"]),
    ],
)
def test_a_sentence_ends_where_its_language_ends_it(text, expected):
    assert cut(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "We met e.g. in Porto, i.e. at 3.5 km.",
        "Nr. 5 and No. 12 and Fig. 3 are missing.",
        "Dr. Smith and Prof. Jones met J. Doe.",
        "Am 3. März kam z. B. Herr Müller.",
        "Das kostet 3,5 Mio. Euro.",
        "В 1990 г. на ул. Ленина.",
        "La Sra. López vive en la Av. Mayor.",
        "See https://a.b/?q=1&x=2!y for more.",
        "1. First of all",
        "it costs 5. then he paid",
        "Version 1.2.3 of config.yaml is a.b.c here.",
    ],
)
def test_abbreviations_numbers_and_addresses_end_none(text):
    assert cut(text) == [text]


def test_clauses_end_at_commas_of_any_script():
    assert cut("请注意，我们讨论了，客户、中午；好", clauses) == ["请注意，", "我们讨论了，", "客户、", "中午；", "好"]
    assert cut("كان يا ما كان، في قديم؛ ملك", clauses) == ["كان يا ما كان،", "في قديم؛", "ملك"]
    assert cut("first, then – well-known – at 12:30, for 1,299.50; done", clauses) == [
        "first,",
        "then –",
        "well-known –",
        "at 12:30,",
        "for 1,299.50;",
        "done",
    ]
    assert cut("ฉันชื่อสมชาย วันเกิดคือวันที่สิบสอง", clauses) == ["ฉันชื่อสมชาย", "วันเกิดคือวันที่สิบสอง"]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", "The argument here is that good habits matter more than good tools."),
        ("german", "Die Hanse war ein Bund von Kaufleuten, und Lübeck galt als ihre Königin."),
        ("french", "Ce chapitre parle des anciens ateliers du port et de la façon dont on choisissait le bois."),
        ("spanish", "El capítulo habla de los viejos talleres del puerto y de cómo se elegía la madera."),
        ("portuguese", "O capítulo fala das antigas oficinas do porto e de como se escolhia a madeira para os navios."),
        ("italian", "Il capitolo parla delle vecchie botteghe del porto e di come si sceglieva il legno."),
        ("dutch", "Het hoofdstuk gaat over de oude werkplaatsen in de haven en hoe het hout werd gekozen."),
        ("polish", "W tym rozdziale mowa o tym, jak wybierano drewno, i o statkach, które płynęły na północ."),
        ("turkish", "Bu bölüm limandaki eski atölyeleri ve gemileri anlatıyor, ama bir de çok daha eskisi var."),
        ("", "三国时期群雄并起"),
        ("", "x = 12"),
        ("", ""),
    ],
)
def test_the_language_of_a_text_is_told_by_its_commonest_words(language, text):
    assert language_of(text) == language


TEXTS = st.text(alphabet=st.sampled_from("aZ1 .,;:!?\"'»)\n\r\t。、，؟।東ก가é-\u2028\ud800"), max_size=300)


@pytest.mark.parametrize("by", [sentences, clauses])
@given(text=TEXTS)
def test_spans_always_cover_the_text_and_none_is_blank(by, text):
    spans = list(by(text))
    assert "".join(text[start:end] for start, end in spans) == text
    assert by is clauses or text.isspace() or all(text[start:end].strip() for start, end in spans)


@given(TEXTS)
def test_a_number_or_an_address_is_never_cut(text):
    for end in [end for by in (sentences, clauses) for _, end in by(text)][:-1]:
        assert not (text[end - 1 : end] in (".", ",", ":") and text[end : end + 1].isdigit())


@pytest.mark.long
@pytest.mark.parametrize("text", [".", ".x", '."', " ", "\n", " \n", ", ", "a. ", "。", "?!x", "é", "ก ", "- "])
def test_hostile_texts_take_linear_time(text):
    text = text * (2_000_000 // len(text))
    with within(8):
        assert sum(1 for _ in sentences(text)) + sum(1 for _ in clauses(text))
