"""Tool results said in fewer tokens: what `lossless` prints can be read back; what `lossy` prints fits its room."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rewriting.results.crush import SAME, Wanted, difference, lossless, lossy
from gateway.rewriting.results.shapes import lines
from gateway.rewriting.results.shapes.values import NotAValue, Number, read_cut, read_literal
from tests.conftest import examples
from tests.test_outliers import LOGS, TROUBLE, log, prose
from tests.timing import within

HOSTILE_SECONDS = 20.0
"""For a megabyte, on a busy machine; what is not linear takes minutes."""


def words(text: str) -> int:
    """Count tokens, roughly as an encoding does."""
    return len(re.findall(r"\w{1,6}|[^\w\s]", text))


# ---------------------------------------------------------------- a reader of what `lossless` prints


class Reader:
    """Reads values back: written from the forms named in shapes/values.py, not from the code that writes them."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.seen: set[str] = set()
        self.first: dict[str, Any] = {}

    def next(self, expected: str) -> bool:
        if self.text.startswith(expected, self.at):
            self.at += len(expected)
            return True
        return False

    def need(self, expected: str) -> None:
        assert self.next(expected), (expected, self.text[self.at : self.at + 60])

    def value(self) -> Any:
        if self.next("{*"):
            return self.keyed()
        if self.next("{"):
            return self.object()
        if self.next("["):
            return self.array()
        if self.next("'"):
            held = self.value()
            if self.next("(cut off)"):
                held = ["cut", held, self.value()]
            self.need("'")
            return held
        if self.next('"""'):
            end = self.text.index('"""', self.at)
            said, self.at = self.text[self.at : end], end + 3
            return said
        return self.scalar()

    def scalar(self) -> Any:
        if self.text[self.at] == '"':
            value, self.at = json.decoder.scanstring(self.text, self.at + 1)  # type: ignore[attr-defined]
            return value
        found = re.compile(r"[-+\w.]+").match(self.text, self.at)
        assert found, self.text[self.at : self.at + 60]
        self.at = found.end()
        return {"true": True, "false": False, "null": None}.get(found[0], Number(found[0]))

    def name(self) -> str:
        if self.text[self.at] == '"':
            return str(self.scalar())
        found = re.compile(r"[A-Za-z_][\w.#/ -]*").match(self.text, self.at)
        assert found, self.text[self.at : self.at + 60]
        self.at = found.end()
        return found[0]

    def object(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while not self.next("}"):
            if self.next("null:"):
                out[self.name()] = None
                while self.next(","):
                    out[self.name()] = None
                continue
            key = str(self.scalar())
            self.need(":")
            first = key not in self.seen
            self.seen.add(key)
            if self.next("(same as first "):
                out[key] = self.first[self.name()]
                self.need(")")
            else:
                out[key] = self.value()
            if first:
                self.first[key] = out[key]
            self.next(",")
        return out

    def array(self) -> list[Any]:
        start = self.at
        if self.next("{") and (columns := self.columns()) is not None and self.next("\n"):
            self.seen |= {name for name, _, _ in columns}
            rows = [self.row(columns)]
            while self.next("\n"):
                rows.append(self.row(columns))
            self.need("]")
            return rows
        self.at = start
        out: list[Any] = []
        while not self.next("]"):
            out.append(self.value())
            self.next(",")
        return out

    def keyed(self) -> dict[str, Any]:
        same = self.name() if self.next("=") else ""
        self.need(":{")
        columns = self.columns()
        assert columns is not None
        self.seen |= {name for name, _, _ in columns}
        out: dict[str, Any] = {}
        while self.next("\n"):
            key = str(self.scalar())
            self.need(":")
            out[key] = {**({same: key} if same else {}), **self.row(columns)}
        self.need("}")
        return out

    def columns(self) -> list[tuple[str, Any, Any]] | None:
        """Read (name, inner columns, constant in a list) up to the closing brace; None where this is no header."""
        out: list[tuple[str, Any, Any]] = []
        while re.match(r'[A-Za-z_"]', self.text[self.at]):
            name = self.name()
            inner = self.columns() if self.next("{") else None
            out.append((name, inner, [self.scalar()] if self.next("=") else None))
            if self.next("}"):
                return out
            if not self.next(","):
                return None
        return None

    def row(self, columns: list[tuple[str, Any, Any]]) -> dict[str, Any]:
        out, _ = self.cells(columns, begun=False)
        return out

    def cells(self, columns: list[tuple[str, Any, Any]], begun: bool) -> tuple[dict[str, Any], bool]:
        out: dict[str, Any] = {}
        for name, inner, constant in columns:
            if constant is not None:
                out[name] = constant[0]
            elif inner is not None:
                out[name], begun = self.cells(inner, begun)
            else:
                if begun:
                    self.need(",")
                begun = True
                if self.at < len(self.text) and self.text[self.at] not in ",\n]}":
                    out[name] = self.value()
        return out, begun


def read_back(said: str) -> Any:
    reader = Reader(said)
    value = reader.value()
    assert reader.at == len(said)
    return value


def meant(value: Any) -> Any:
    """Say what a value means: JSON inside a string is JSON, several lines are what `lines` makes of them."""
    if isinstance(value, dict):
        return {key: meant(member) for key, member in value.items()}
    if isinstance(value, list):
        return [meant(item) for item in value]
    if not isinstance(value, str) or isinstance(value, Number):
        return value
    if len(value) > 2 and value[0] in "{[":
        try:
            if value[-1] in "}]":
                held = read_literal(value)
                return meant(held) if held else value
            if len(value) > 1000:
                held, rest = read_cut(value)
                return ["cut", meant(held), rest] if held else value
        except NotAValue:
            pass
    if value.count("\n") >= 3 and '"""' not in value and value[-1] not in '"\\':
        said = lines.shorten(value)
        return value if '"""' in said or said[-1:] in ('"', "\\") else said
    return value


def alike(a: Any, b: Any) -> bool:
    """Tell whether two values are one, types and spelling of numbers included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(alike, a, b))
    return bool(a == b)


def assert_reads_back(text: str) -> str:
    said = lossless(text)
    if said != text:
        assert alike(read_back(said), meant(read_literal(text.strip())))
    return said


# ---------------------------------------------------------------- values, without loss

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(
        ["5", "true", "null", "a b", "#W12", "it's", 'say "x"', "l1\nl2\nl3\nl4", '{"in": [1, 2]}', "a,b", "(same"]
    ),
)
keys = st.sampled_from(["id", "name", "price", "a b", "odd,key", "x=y", "null", "*", "ünï", ""])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(keys, inner, max_size=5),
        st.lists(
            st.fixed_dictionaries({"id": inner, "name": scalars}, optional={"price": inner}), min_size=2, max_size=4
        ),
        st.dictionaries(
            st.text(max_size=4), st.fixed_dictionaries({"id": scalars, "of": inner}), min_size=3, max_size=4
        ),
        st.lists(
            st.fixed_dictionaries({"at": st.fixed_dictionaries({"x": inner, "y": scalars})}), min_size=2, max_size=3
        ),
    ),
    max_leaves=25,
)


@settings(max_examples=examples(400), deadline=None)
@given(st.one_of(st.lists(values, max_size=4), st.dictionaries(keys, values, max_size=6)), st.sampled_from([None, 2]))
def test_a_value_can_always_be_read_back(value, indent):
    assert_reads_back(json.dumps(value, indent=indent))


def test_objects_that_are_alike_become_a_header_and_rows():
    rows = [{"id": f"i{n}", "name": f"thing {n}", "at": {"x": n, "y": 1.50}} for n in range(3)]
    assert assert_reads_back(json.dumps(rows)) == (
        '[{id,name,at{x,y}}\n"i0","thing 0",0,1.5\n"i1","thing 1",1,1.5\n"i2","thing 2",2,1.5]'
    )


def test_json_lines_become_a_header_and_rows():
    text = "\n".join(json.dumps({"level": "info", "n": n, "msg": f"größer {n}"}) for n in range(4))
    assert read_back(lossless(text)) == [{"level": "info", "n": str(n), "msg": f"größer {n}"} for n in range(4)]
    assert lossless(text).startswith("[{level,n,msg}\n")
    assert lossless(f"{text}\nnot one of them") == f"{text}\nnot one of them"
    assert lossless('{"a": 1},\n{"b": 2}, {"c": 3}\n{"d": 4}') == '{"a": 1},\n{"b": 2}, {"c": 3}\n{"d": 4}'


def test_a_member_that_repeats_its_key_is_said_once():
    text = json.dumps({f"k{n}": {"id": f"k{n}", "color": "dark red", "price": n} for n in range(3)})
    assert assert_reads_back(text) == '{*=id:{color,price}\n"k0":"dark red",0\n"k1":"dark red",1\n"k2":"dark red",2}'


def test_members_that_are_null_are_named_together():
    assert assert_reads_back('{"a": null, "b": 1, "c": null}') == '{"b":1,null:a,c}'


def test_what_is_the_same_on_every_row_is_said_once_where_words_remain():
    rows = [{"name": f"one two three four {n}", "kind": "book"} for n in range(3)]
    assert assert_reads_back(json.dumps(rows)).startswith('[{name,kind="book"}\n"one two three four 0"\n')
    bare = [{"at": n, "kind": "book"} for n in range(3)]
    assert 'kind="book"' not in lossless(json.dumps(bare))


def test_numbers_keep_their_spelling():
    assert lossless('{ "a": 1.10, "b": 1e5, "c": 123456789012345678901234567890 }') == (
        '{"a":1.10,"b":1e5,"c":123456789012345678901234567890}'
    )


def test_the_number_five_and_the_text_five_stay_apart():
    said = assert_reads_back('[ {"a": 5, "b": "x"}, {"a": "5", "b": "x"}, {"a": 5, "b": "x"} ]')
    assert '"5"' in said


def test_json_in_a_string_is_read_out():
    inner = json.dumps({"query": "a", "found": [1, 2]}, indent=2)
    assert assert_reads_back(json.dumps({"text": inner})) == '{"text":\'{"query":"a","found":[1,2]}\'}'


def test_a_member_that_was_said_before_is_named():
    result = {"query": "where is it", "found": [{"id": 1, "name": "here"}, {"id": 2, "name": "there"}], "total": 2}
    said = assert_reads_back(json.dumps({"text": json.dumps(result), "structured": {"result": result}}))
    assert '"result":(same as first text)' in said


def test_an_object_with_a_key_twice_stays_as_it_came():
    assert lossless('{"a": 1,   "a": 2}') == '{"a": 1,   "a": 2}'


def test_a_value_that_is_cut_off_is_read_up_to_there():
    text = json.dumps([{"id": n, "name": f"thing {n}"} for n in range(50)], indent=2)[:1500]
    said = lossless(text)
    assert len(said) < len(text) / 2
    assert said.startswith('[{id,name}\n0,"thing 0"\n1,"thing 1"')


def test_a_literal_is_read_out_of_its_escapes():
    inner = json.dumps({"files": ["a.txt", "b.txt"], "more": "x" * 80}, indent=2)
    said = lossless(f"result=[Text(text={inner!r}, note=None)]")
    assert said == "result=[Text(text='" + json.dumps(json.loads(inner), separators=(",", ":")) + "', note=None)]"


@pytest.mark.parametrize(
    "text", ["", "ok", "{", "[]", "{}", "no result", '{"a":1}', "1", '"x"', "\n", "\ud800", '{"a": "\\ud800"}']
)
def test_what_cannot_be_said_shorter_is_given_back(text):
    assert lossless(text) in (text, "")


@settings(max_examples=examples(200), deadline=None)
@given(st.one_of(st.text(), st.lists(values, max_size=3).map(lambda value: json.dumps(value, indent=1))))
def test_what_is_printed_is_never_longer(text):
    assert len(lossless(text)) <= len(text)


# ---------------------------------------------------------------- lines, without loss


def numbered_again(text: str) -> list[str]:
    """Give each line of a run its number back: from its first numbered line on, up to the last."""
    out: list[str] = []
    open_: list[str] = []
    number, mark = 0, ""
    for line in text.split("\n"):
        found = re.match(r"(\d+)(:|\t)(.*)", line, re.DOTALL)
        if found is None:
            open_.append(line)
            continue
        here = int(found[1])
        if number and here == number + len(open_) + 1:
            open_ = [f"{number + 1 + i}{mark}{said}" for i, said in enumerate(open_)]
        out += [*open_, line]
        open_, number, mark = [], here, found[2]
    return out + open_


@given(st.integers(1, 2000), st.lists(st.text(alphabet="abc (){}=.", max_size=12), min_size=6, max_size=60))
def test_the_numbers_of_lines_can_always_be_read_back(start, code):
    whole = [f"{start + i}:{said}".rstrip() for i, said in enumerate(code)]
    assert numbered_again(lines.shorten("\n".join(whole))) == whole


def test_every_tenth_line_keeps_its_number():
    text = "\n".join(f"{n:6}\tline of code" for n in range(18, 33))
    said = lines.thinned(lines.tidy(text)).split("\n")
    assert [line for line in said if line[0].isdigit()] == [f"{n}\tline of code" for n in (18, 20, 30, 32)]


def test_lines_that_follow_themselves_are_counted():
    assert lossless("start\n" + "waiting for the server\n" * 40 + "done") == (
        "start\nwaiting for the server\n[line above: 40 times]\ndone"
    )
    assert lossless("ping host\nno answer yet\n" * 9 + "end") == (
        "ping host\nno answer yet\n[2 lines above: 9 times]\nend"
    )


def test_hits_in_one_file_stand_under_its_name():
    assert lossless("src/long/name.py:3:import a\nsrc/long/name.py:9:import b\nother.py:1:c") == (
        "src/long/name.py:\n3:import a\n9:import b\nother.py:1:c"
    )


def test_paths_of_a_listing_stand_under_their_folder():
    paths = [f"/project/source/main/{name}.py" for name in "abcdefghij"]
    assert lossless("\n".join(paths)) == "/project/source/main/: " + " ".join(f"{name}.py" for name in "abcdefghij")


def test_trees_are_indented():
    assert lossless("top\n├── one\n│   ├── two\n│   └── three\n└── four") == "top\n  one\n    two\n    three\n  four"


def test_colours_and_long_runs_say_nothing():
    assert lossless("\x1b[32;1mOK\x1b[0m all passed") == "OK all passed"
    assert lossless("a" * 5000 + "!") == "[a × 5000]!"


# ---------------------------------------------------------------- to a room

ORDERS = json.dumps(
    [
        {"order_id": f"#W{7000 + n}", "note": "left at the door as was agreed with the customer", "total": 10.5 + n}
        for n in range(40)
    ]
)
CODE = "\n".join(
    f"{n}:    " + ("def load_table(self, path):" if n == 70 else "# a remark that says nothing at all about it")
    for n in range(1, 120)
)


@settings(max_examples=examples(150), deadline=None)
@given(st.one_of(st.text(max_size=3000), st.sampled_from([ORDERS, CODE])), st.integers(0, 400))
def test_what_is_printed_always_fits_its_room(text, room):
    assert words(lossy(text, room, words)) <= room


def test_a_result_that_fits_loses_nothing():
    assert lossy(ORDERS, 10**6, words) == lossless(ORDERS)


def test_ids_go_last():
    text = "\n".join(f"order #W{7000 + n} is open\nit was left at the door as was agreed" for n in range(40))
    said = lossy(text, words(text) * 6 // 10, words)
    assert sum(f"order #W{7000 + n} is open" in said for n in range(40)) == 40


def test_what_the_conversation_speaks_of_is_kept():
    text = "\n".join(f"see module.part{chr(97 + n % 26)}_{chr(97 + n // 26)}.handler for it" for n in range(200))
    wanted = Wanted.of(["what does module.partc_e.handler do?"])
    assert "module.partc_e.handler" not in lossy(text, 120, words)
    assert "module.partc_e.handler" in lossy(text, 120, words, wanted)


def test_definitions_outlive_remarks_and_keep_their_line_number():
    assert "70:    def load_table(self, path):" in lossy(CODE, 120, words)


def test_errors_and_both_ends_of_a_log_are_kept():
    log = [
        "job started",
        *["still working on it"] * 3,
        *[f"step number {chr(97 + n % 26)} went well" for n in range(90)],
        "job ended",
    ]
    log.insert(50, "ERROR disk is full")
    said = lossy("\n".join(log), 120, words)
    assert said.startswith("job started")
    assert "ERROR disk is full" in said
    assert "job ended" in said
    assert re.search(r"\[… \d+ of \d+ lines left out\]", lossy("\n".join(log), 220, words))


def test_a_value_keeps_the_key_of_its_list():
    text = json.dumps({"remarks": "word " * 60, "orders": [f"#W{7000 + n}" for n in range(30)]})
    assert re.search(r"orders\W+#W7", lossy(text, 60, words))


def test_bytes_and_markup_are_left_out_first():
    page = (
        "<html><body>"
        + "<div class='box'><p>Price: 41.50</p></div>" * 12
        + "<a href='/next/page'>next</a></body></html>"
    )
    said = lossy(page, 60, words)
    assert "41.50" in said
    assert "/next/page" in said
    assert "class" not in said
    coded = "name: photo.png\ndata: " + "iVBORw0KGgo8Zz9" * 400
    assert lossy(coded, 60, words).startswith("name: photo.png\ndata: iVBORw0KGgo8Zz9iVBORw0KG[… ")


# ---------------------------------------------------------------- to a room: what stands out

NOTE = re.compile(r"\[… ([\d,]+) of ([\d,]+) (lines|rows) left out\]")


def entry_of(n: int) -> dict[str, Any]:
    return {"id": n, "pod": {"name": f"web-{n % 5}"}, "level": "info", "msg": f"served request {n * 7919 % 10007}"}


ENTRIES = [entry_of(n) for n in range(300)]
WITH_ONE = [
    *ENTRIES[:170],
    {"id": 170, "pod": {"name": "web-3"}, "level": "error", "msg": "disk sdb1 is full"},
    *ENTRIES[171:],
]
VALUES = {
    "array": json.dumps(WITH_ONE),
    "pretty array": json.dumps(WITH_ONE, indent=2),
    "nested": json.dumps({"query": "x", "results": WITH_ONE, "total": 300}),
    "nested twice": json.dumps({"data": {"items": WITH_ONE}}, indent=1),
    "keyed": json.dumps({f"e{entry['id']}": entry for entry in WITH_ONE}),
    "JSON lines": "\n".join(map(json.dumps, WITH_ONE)),
    "encoded": json.dumps({"output": json.dumps(WITH_ONE)}),
    "text of a member": json.dumps(
        {"stdout": "\n".join([*log("syslog")[:200], "disk sdb1 is full", *log("syslog")[200:]])}
    ),
    "printed": f"Result(code=0, text={json.dumps(WITH_ONE, indent=2)!r})",
}


def assert_whole(text: str, said: str) -> None:
    """Every line that stands is one of the text's, a mark, or the note, whose numbers are so."""
    there = text.split("\n")
    *kept, note = said.split("\n")
    assert {line for line in kept if line != "…"} <= set(there)
    found = NOTE.fullmatch(note)
    assert found, note
    assert int(found[2].replace(",", "")) == len(there)
    assert int(found[1].replace(",", "")) == len(there) - sum(line != "…" for line in kept)


@pytest.mark.parametrize("language", ["English", "Japanese", "Arabic", "no word of trouble"])
@pytest.mark.parametrize("name", LOGS)
def test_a_report_of_trouble_stays_with_two_lines_around_it_and_all_lines_are_whole(name, language):
    lines = log(name, 600)
    lines.insert(333, TROUBLE[language])
    text = "\n".join(lines)
    room = words(text) // 8
    said = lossy(text, room, words)
    assert "\n".join(lines[331:336]) in said
    assert lines[0] in said.split("\n")
    assert lines[-1] in said.split("\n")
    assert_whole(text, said)
    assert room * 0.8 <= words(said) <= room


@pytest.mark.parametrize("name", VALUES)
def test_an_entry_that_reports_trouble_stays_in_a_value_of_any_shape(name):
    said = lossy(VALUES[name], 600, words)
    assert "disk sdb1 is full" in said
    assert words(said) >= 400
    if name not in ("JSON lines", "text of a member"):
        assert re.search(r'"e?170"?|\b170\b', next(line for line in said.split("\n") if "sdb1" in line))
    assert NOTE.search(said)


def test_rows_are_counted_as_rows():
    said = lossy(VALUES["nested"], 600, words)
    found = NOTE.search(said)
    assert found
    rows = [line for line in said.split("\n") if re.match(r"\d+,", line)]
    assert (found[1], found[2], found[3]) == (str(300 - len(rows)), "300", "rows")


def test_a_warning_among_prose_stays():
    lines = prose(1500)
    lines.insert(700, "Warning: the river rose over the mill.")
    said = lossy("\n".join(lines), 1000, words)
    assert lines[700] in said
    assert_whole("\n".join(lines), said)


def test_a_test_that_failed_among_three_thousand_dots_stays():
    rows = ["." * 60 for _ in range(50)]
    rows[31] = "." * 11 + "F" + "." * 48
    assert rows[31] in lossy("\n".join(rows), 300, words).split("\n")
    one = lossy("collected\n" + "." * 2000 + "F" + "." * 1000 + "\n1 failed", 60, words)
    assert "]F[" in one


def test_entries_of_several_lines_stay_whole():
    def entry(n: int, level: str, said: str) -> str:
        return f"TimeCreated : 3/{n % 28 + 1}/2026\nId          : {n}\nLevel       : {level}\nMessage     : {said}\n"

    entries = [entry(n, "Information", f"The service {n} entered the running state.") for n in range(80)]
    entries[33] = entry(33, "Kritisch", "Sektor 7 nicht lesbar.")
    said = lossy("\n".join(entries), 300, words)
    assert entries[33] in said
    found = re.findall(r"^TimeCreated.*\nId .*\nLevel .*\nMessage .*$", said, re.MULTILINE)
    assert len(found) == said.count("TimeCreated") == said.count("Message") > 3


def test_an_entry_of_a_tree_stands_under_its_folders():
    tree = ["top"]
    for folder in "abcdefghij":
        tree += [f"├── folder_{folder}", *[f"│   ├── {folder}{n}.py" for n in range(12)]]
    said = lossy("\n".join(tree), 100, words, Wanted.of(["what is in h7.py?"])).split("\n")
    at = next(i for i, line in enumerate(said) if line.endswith("h7.py"))
    assert next(line for line in reversed(said[:at]) if "folder" in line).strip() == "folder_h"


def test_a_line_that_is_longer_than_its_room_is_cut_between_words():
    line = " ".join(f"word{n}" for n in range(500))
    said = lossy(line, 50, words)
    assert said.endswith(" …")
    assert set(said.removesuffix(" …").split()) <= set(line.split())
    assert words(said) > 40


def test_members_and_sentences_are_never_cut():
    value = {
        "title": "A long one",
        "text": "This is a sentence of some words. " * 40,
        "ids": [f"#W{n}" for n in range(90)],
    }
    said = lossy(json.dumps(value), 150, words)
    assert set(re.findall(r"#W\d+", said)) <= {f"#W{n}" for n in range(90)}
    assert not re.search(r"of some(?! words)|sent(?!ence)", said)


log_lines = st.lists(
    st.tuples(st.sampled_from(sorted(LOGS)), st.integers(0, 299)).map(lambda at: log(at[0], 300)[at[1]]), min_size=2
)


@settings(max_examples=examples(60), deadline=None)
@given(log_lines, st.integers(200, 900), st.text(alphabet="abc \n", max_size=20))
def test_what_stands_of_lines_is_always_whole_lines(lines, room, more):
    text = "\n".join([*lines, *more.split("\n"), *log("klog", 80)])
    said = lossy(text, room, words)
    assert words(said) <= room
    stands = {line.strip() for line in text.split("\n")} | {"…", ""}
    odd = [line for line in said.split("\n") if line.strip() not in stands]
    assert all(NOTE.fullmatch(line) or re.fullmatch(r"\[(line|\d+ lines) above: \d+ times\]", line) for line in odd)


# ---------------------------------------------------------------- beside another result


def test_a_result_that_came_again_is_named():
    assert difference("x" * 400 + " y", "x" * 400 + " y") is None, "no shorter than the run is said anyway"
    assert difference(CODE, CODE) == SAME


def test_members_that_differ_are_named_with_what_they_are_there():
    order = {"id": "#W1", "status": "pending", "items": [{"id": n, "name": f"thing {n}"} for n in range(40)]}
    later = {**order, "status": "cancelled", "reason": "late"}
    assert difference(json.dumps(order), json.dumps(later)) == (
        '[as the other result, but for what follows]\nstatus: "cancelled" (there "pending")\nreason: "late" (only here)'
    )


def test_nothing_is_said_to_have_been_whichever_result_came_first():
    polls = [
        json.dumps({"job": "j1", "done": n, "steps": [f"step {i} of the job" for i in range(30)]}) for n in range(3)
    ]
    for other, this in ((polls[0], polls[2]), (polls[2], polls[0])):
        said = difference(other, this)
        assert said is not None
        assert said.endswith(f"done: {json.loads(this)['done']} (there {json.loads(other)['done']})")
        assert "was" not in said.split()
        assert "new" not in said.split()


def test_members_of_one_path_have_no_difference():
    long = "x " * 300
    assert (
        difference(json.dumps({"a.b": 1, "a": {"b": 2}, "c": long}), json.dumps({"a.b": 3, "a": {"b": 2}, "c": long}))
        is None
    )


def applied(older: list[str], said: list[str]) -> list[str]:
    """Make the newer lines of the older ones, as the difference says."""
    out: list[str] = []
    done = at = 0
    while at < len(said):
        line = said[at]
        at += 1
        new = 0
        if found := re.fullmatch(r"after line (\d+) there, (\d+) more:", line):
            start = end = int(found[1])
            new = int(found[2])
        elif found := re.fullmatch(r"lines (\d+)-(\d+) there are these (\d+) here:", line):
            start, end, new = int(found[1]) - 1, int(found[2]), int(found[3])
        else:
            found = re.fullmatch(r"lines (\d+)-(\d+) stand only there", line)
            assert found
            start, end = int(found[1]) - 1, int(found[2])
        out += older[done:start] + said[at : at + new]
        done, at = end, at + new
    return out + older[done:]


some_lines = st.lists(st.sampled_from("abcdefgh"), max_size=25)


@given(some_lines, some_lines)
def test_the_newer_lines_can_always_be_made_of_the_older(older, newer):
    from gateway.rewriting.results.shapes.differences import line_differences

    assert applied(older, line_differences(older, newer)) == newer


def test_results_that_have_little_in_common_have_no_difference():
    assert difference(CODE, ORDERS) is None
    assert difference("[1, 2]", '{"a": 1}') is None


# ---------------------------------------------------------------- hostile texts, and the same bytes everywhere

MEGABYTE = 1_000_000
HOSTILE = {
    "one line of JSON": json.dumps([{"id": n, "name": f"user {n}", "v": n * 1.1} for n in range(20_000)]),
    "nested": "[" * (MEGABYTE // 2) + "]" * (MEGABYTE // 2),
    "nested and open": '{"a":' * (MEGABYTE // 5),
    "encoded again": json.dumps(json.dumps(json.dumps({"a": ["x"] * 60_000}))),
    "NUL": "\0" * MEGABYTE,
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd " * (MEGABYTE // 6),
    "spaces": " " * MEGABYTE + "x",
    "quotes": "x='" + "\\'" * (MEGABYTE // 2),
    "backslashes": "\\" * MEGABYTE,
    "dots": "." * MEGABYTE + " :",
    "colons": "a:" * (MEGABYTE // 2),
    "line breaks": "\n" * MEGABYTE,
    "short lines": "\u00a0\nb\n" * (MEGABYTE // 4),
    "numbers": "[" + "1," * (MEGABYTE // 2),
    "tags": "<html>" + "<a " * (MEGABYTE // 3) + "</" * 20,
    "scripts": "<html>" + "</" * 20 + "<script>" * (MEGABYTE // 8),
    "runs": ("=" * 199 + "x") * (MEGABYTE // 200),
    "escapes": "[text='" + "\\u0041" * (MEGABYTE // 6),
    "our own marks": "[… 3 of 9 lines left out]\n[line above: 9 times]\n(same as first a)\n" * (MEGABYTE // 70),
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name):
    text = HOSTILE[name]
    with within(HOSTILE_SECONDS):
        shorter, lost = lossless(text), lossy(text, 300, words, Wanted.of(["x"]))
        difference(text, text + "!")
    assert len(shorter) <= len(text)
    assert words(lost) <= 300


def test_the_same_text_gives_the_same_bytes_in_any_process():
    script = (
        "import sys; from gateway.rewriting.results.crush import *; text = sys.stdin.read()\n"
        "wanted = Wanted.of(['load_table path #W7003 door agreed'])\n"
        "print(lossless(text)); print(lossy(text, 150, len, wanted)); print(lossy(text, 1500, len, wanted))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            input=f"{ORDERS}\n{CODE}",
            env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            cwd=Path(__file__).resolve().parent.parent,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
