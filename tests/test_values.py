"""What in a text is a value, and that finding it takes time in proportion to the text, whatever the text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.values import distinct, is_value, values
from tests.timing import within


def found(text: str) -> list[str]:
    return [value for _, _, value in values(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Order #W12 was delivered on 2024-05-28.", ["#W12", "2024-05-28"]),
        ("it cost 1,234.50, or 1,234.50 again", ["1,234.50", "1,234.50"]),
        ("a1,b2,c3", ["a1", "b2", "c3"]),
        ("see ./src/main.py:12, then ~/notes", ["./src/main.py:12", "~/notes"]),
        ("mail ann@example.com!", ["ann@example.com"]),
        ("(https://example.com/a?b=c&d=e).", ["https://example.com/a?b=c&d=e"]),
        ("call getUserName or user_name or std::move or os.path", ["getUserName", "user_name", "std::move", "os.path"]),
        ("50% of them", ["50%"]),
        ("nothing here but prose, and a dash - or two.", []),
        ("I said e.g. this. And that", []),
        ("7 of 9", []),
        ("2 July, July 2, the 2. März and 3 de mayo", ["2 July", "July 2", "2. März", "3 de mayo"]),
        ("5 EUR, EUR 5, $5, 5 €, 3 kg, 7 °C", ["5 EUR", "EUR 5", "$5", "5 €", "3 kg", "7 °C"]),
        ("12 files, 3 user_name and 4 foo.bar", ["12", "user_name", "foo.bar"]),
        ("/task and/or his/her", []),
        ("/var/log/x a/b/c src/app.py", ["/var/log/x", "a/b/c", "src/app.py"]),
        ("我买了苹果和3个梨，生日是三月十二日。", ["3个", "三月十二日"]),
        ("会员号是A-55120，十分感谢你的一点帮助", ["A-55120"]),
        ("会員番号はK-7741です。十月三日の予約", ["K-7741", "十月三日"]),
        ("رقم ٤٤٨٢١ يوم 12 مايو", ["٤٤٨٢١", "12 مايو"]),
    ],
)
def test_ids_numbers_dates_paths_addresses_and_code_names_are_values_not_prose(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize("text", ["a\nfile_1.py\tb2", 'say "x_1" now\r\nthen y_2', "café_1 naïve2", "back\\slash_1"])
def test_a_text_and_its_json_hold_the_same_values(text):
    assert set(found(json.dumps(text, ensure_ascii=False))) == set(found(text))


def test_an_escape_of_json_is_no_value():
    assert found(json.dumps("né à Orléans")) == []


@given(st.text(alphabet=st.sampled_from('aA1_./:@,#~%-\\n" éhtps\n'), max_size=200))
def test_each_value_stands_where_it_says_and_after_the_one_before(text):
    end = 0
    for start, after, value in values(text):
        assert start >= end
        assert text[start:after] == value
        assert is_value(value)
        end = after


@given(st.text(max_size=300))
def test_the_distinct_values_are_always_those_that_are_found(text):
    assert distinct(text) == set(found(text))


@pytest.mark.parametrize(
    "piece", ["a_1 ", 'say "b-2", \\n', "https://e.com/?a=b;c=1 ", "<i>c3</i>", "d4,", '{"e":"\\u00e9f5"}', "(g_6)`h7`"]
)
def test_a_long_text_is_read_in_pieces_and_no_value_is_cut(piece):
    text = "".join(piece.replace("1", str(n)).replace("5", str(n)) for n in range(25_000))
    assert len(text) > 65_536
    assert distinct(text) == set(found(text))


HOSTILE = {
    "numerals": "一二三" * 300_000,
    "numerals and units": "三月" * 500_000,
    "short numbers": "3 a " * 250_000,
    "capitals and numbers": "Abc 1" * 200_000,
    "one word": "a" * 1_000_000,
    "long words": ("abcdefghij" * 40 + " ") * 2_500,
    "dots": "a." * 500_000,
    "a dotted tail": ("a" + "." * 399 + " ") * 2_500,
    "marks": "./#~" * 250_000,
    "commas": "a" + "," * 1_000_000,
    "numbers in one line": "1,22,333," * 110_000,
    "backslashes": "\\" * 1_000_000,
    "beginnings of addresses": "http://" * 140_000,
    "joints": "a::" * 330_000,
    "many different": " ".join(f"v{n}" for n in range(120_000)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_anything_takes_less_than_two_seconds(name):
    with within(2):
        sum(1 for _ in values(HOSTILE[name]))
        distinct(HOSTILE[name])
