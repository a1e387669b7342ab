"""Documents in every form in which programs and people put them into a message, in many languages; and what is none."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.documents.extract import shrink
from gateway.rewriting.documents.recognition import find_documents, frame, question
from tests.test_extract import count
from tests.timing import within

SENTENCES = {
    "en": (
        "The chapter goes through the history of the method, from small workshops to the large plants of today.",
        "It closes with a comparison of two schools and leaves it open which of them was right.",
        "Good habits matter more than good tools, the author says, and gives three cases.",
    ),
    "zh": (
        "三国时期群雄并起，各据一方，赤壁之战中联军以火攻取胜，从此形成三足鼎立的局面。",
        "后人多有诗词咏叹，民间也流传着许多故事，其中有些写进了后来的小说。",
        "这种方法最初在小作坊里使用，后来才进入大工厂，工人们慢慢学会了它。",
    ),
    "ru": (
        "В этой главе речь идёт о старых ремесленных мастерских и о том, как выбирали дерево.",
        "Корабли каждую весну уходили на север с вином и маслом, а осенью возвращались домой.",
        "Автор приводит три случая, ни один из которых не убеждает читателя до конца.",
    ),
    "de": (
        "Die Hanse war ein Bund norddeutscher Kaufleute und Städte, und Lübeck galt als ihre Königin.",
        "Von dort aus wurde der Handel mit Heringen, Tuch und Salz im ganzen Ostseeraum gesteuert.",
        "Das Kapitel endet mit Ratschlägen für Anfänger, die heute noch oft zitiert werden.",
    ),
    "ar": (
        "كان يا ما كان في قديم الزمان ملك عظيم له وزير حكيم وابنة ذكية تحب الكتب والحكايات.",
        "وكانت تحكي له كل ليلة حكاية جديدة حتى يطلع الصباح فتسكت عن الكلام المباح.",
        "ثم عاد التاجر من السفر ومعه هدايا كثيرة لأهل البيت ولجيرانه الطيبين.",
    ),
    "hi": (
        "इस अध्याय में पुराने कारीगरों की कार्यशालाओं का वर्णन है और यह बताया गया है कि लकड़ी कैसे चुनी जाती थी।",
        "हर वसंत में जहाज़ उत्तर की ओर जाते थे और पतझड़ में घर लौटते थे, माल से भरे हुए।",
        "लेखक तीन उदाहरण देता है, जिनमें से कोई भी पाठक को पूरी तरह संतुष्ट नहीं करता।",
    ),
}
ASKS = {
    "en": "What does the book say about habits?",
    "zh": "书里怎么说习惯？",
    "ru": "Что сказано о привычках?",
    "de": "Was steht dort über Gewohnheiten",
    "ar": "ماذا يقول الكتاب عن العادات؟",
    "hi": "किताब आदतों के बारे में क्या कहती है?",
}
LANGUAGES = sorted(SENTENCES)
MANY = 7


def body(language: str, seed: int, sentences: int = 9) -> str:
    draw = random.Random(f"{language} {seed}")
    between = "" if language == "zh" else " "
    return between.join(draw.choice(SENTENCES[language]) for _ in range(sentences))


def code(seed: int) -> str:
    return "\n\n".join(f"def step_{seed}_{n}(items):\n    return combine_{n}(items[:{n}])" for n in range(9))


def joined(one, language: str, between: str = "\n\n", lead: str = "", close: str = "") -> str:
    return lead + between.join(one(n) for n in range(MANY)) + close + "\n\n" + ASKS[language]


PROSE = {
    "tag": ('<document id="{n}">\n{b}\n</document>', "\n"),
    "bracket": ("[{n}] {b}", "\n\n"),
    "document [n]": ("Document [{n}](Title: T {n}) {b}", "\n"),
    "文档": ("文档 {n}：{b}", "\n\n"),
    "【文档】": ("【文档{n}】\n{b}", "\n\n"),
    "資料": ("資料{n}\n{b}", "\n\n"),
    "Документ": ("Документ {n}: {b}", "\n\n"),
    "Dokument": ("Dokument {n}:\n{b}", "\n\n"),
    "Fuente": ("Fuente {n}: {b}", "\n\n"),
    "مستند": ("مستند {n}: {b}", "\n\n"),
    "문서": ("문서 {n}: {b}", "\n\n"),
    "दस्तावेज़": ("दस्तावेज़ {n}: {b}", "\n\n"),
    "第n篇": ("第{n}篇：{b}", "\n\n"),
    "section": ("## Part of the book {n}\n\n{b}", "\n\n"),
    "wiki": ("== Part {n} ==\n{b}", "\n\n"),
    "printed": ("Document(metadata={{'source': 'a{n}.md'}}, page_content='{b}')", "\n"),
    "printed pairs": ("page_content='{b}' metadata={{'source': 'a{n}.md', 'page': {n}}}", "\n"),
    "printed nested": ("Scored(node=TextNode(id_='{n}', text=\"{b}\"), score=0.5)", "\n"),
    "printed small": ('passage(title="t {n}", text="{b}")', ", "),
    "printed dict": ("{{'title': 't{n}', 'text': '{b}'}}", ",\n"),
    "rule": ("{b}", "\n\n---\n\n"),
    "rule of equals": ("{b}", "\n=====\n"),
    "rule of stars": ("{b}", "\n***\n"),
    "blank lines": ("{b}", "\n\n"),
    "source before": ("Source: a{n}.md\n{b}", "\n\n"),
    "source after": ("{b}\nSource: a{n}.md", "\n\n"),
    "address after": ("{b}\nhttps://x.example/{n}", "\n\n"),
    "url": ("URL: https://x.example/{n}\n\n{b}", "\n\n"),
    "Quelle": ("Quelle: Bericht {n}\n{b}", "\n\n"),
    "Источник": ("Источник: отчёт {n}\n{b}", "\n\n"),
    "来源": ("来源：报告{n}\n{b}", "\n\n"),
    "出典": ("出典：報告{n}\n{b}", "\n\n"),
    "स्रोत": ("स्रोत: रिपोर्ट {n}\n{b}", "\n\n"),
    "unknown label": ("Gelnor: report {n}\n{b}", "\n\n"),
    "mail": ("From: p{n}@x.example\nTo: q@x.example\nSubject: Re: plan {n}\n\n{b}", "\n\n"),
    "Mail": ("Von: P {n}\nGesendet: Montag, 3. März 10:{n}0\nBetreff: AW: Plan {n}\n\n{b}", "\n\n"),
    "邮件": ("发件人：张{n}\n主题：计划{n}\n\n{b}", "\n\n"),
    "письмо": ("От: И. {n}\nТема: План {n}\n\n{b}", "\n\n"),
    "hits": ("{n}. Page {n}\n   https://x.example/{n}\n   {b}", "\n\n"),
    "bold hits": ("{n}) **Page {n}**\nURL: https://x.example/{n}\n{b}", "\n"),
    "hits without numbers": ("Page {n}\nhttps://x.example/{n}\n{b}", "\n\n"),
    "fences": ("```\n{b}\n```", "\n\n"),
    "text fences": ("```text\n{b}\n```", "\n"),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["tag", "bracket", "section", "wiki", "rule", "Quelle", "hits", "文档", "fences"])
def test_a_question_as_long_as_a_document_is_asked_and_not_cut(form, language):
    """Each document is one paragraph, so what follows the last one is what the user says, however long it is."""
    one, between = PROSE[form]
    texts = between.join(one.format(n=n, b=body(language, n)) for n in range(MANY))
    said = " ".join([ASKS[language], *SENTENCES[language], ASKS[language]])
    text = f"{texts}\n\n{said}"
    assert frame(text, find_documents(text)).endswith(said)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", PROSE)
def test_texts_are_documents_in_every_form_and_language(form, language):
    shape, between = PROSE[form]
    text = joined(lambda n: shape.format(n=n + 1, b=body(language, n)), language, between)
    found = find_documents(text)
    assert len(found) == MANY
    assert frame(text, found) == ASKS[language]
    assert question(text, found) == ASKS[language]
    for n, document in enumerate(found):
        assert body(language, n) in text[document.start : document.end]


FILES = {
    "file_path": "file_path: src/part_{n}.py\n{b}",
    "File": "File: src/part_{n}.py\n```python\n{b}\n```",
    "Datei": "Datei: src/part_{n}.py\n{b}",
    "ファイル": "ファイル：src/part_{n}.py\n{b}",
    "bold": "**src/part_{n}.py**\n```python\n{b}\n```",
    "comment": "# src/part_{n}.py\n{b}",
    "slashes": "// lib/part_{n}.ts\n{b}",
    "ticks": "`lib/part_{n}.rb`:\n```\n{b}\n```",
    "equals": "=== src/part_{n}.py ===\n{b}",
    "tag": '<file path="src/part_{n}.py">\n{b}\n</file>',
}


@pytest.mark.parametrize("form", FILES)
def test_files_that_are_pasted_are_documents(form):
    text = joined(lambda n: FILES[form].format(n=n, b=code(n)), "en", lead="Here is my code.\n\n")
    found = find_documents(text)
    assert len(found) == MANY
    assert frame(text, found) == f"Here is my code.\n{ASKS['en']}"
    assert [f"part_{n}" in text[d.start : d.end] for n, d in enumerate(found)] == [True] * MANY


@pytest.mark.parametrize("form", ["File", "bold", "ticks", "file_path"])
def test_of_a_file_whole_blocks_stay_between_its_path_and_its_fence(form):
    text = joined(lambda n: FILES[form].format(n=n, b=code(n)), "en")
    out = shrink(text, find_documents(text), "What does step_3_4 combine_4?", count(text) // 3, count)
    assert "def step_3_4(items):\n    return combine_4(items[:4])" in out
    assert out.count("```") % 2 == 0
    assert out.count("def step") == out.count("return combine")


def rows(mark: str) -> list[str]:
    return [mark.join([str(1000 + n), f"buyer {n * 7}", "paid" if n % 3 else "open", f"{n}.50"]) for n in range(60)]


HEADER = ("id", "buyer", "state", "price")
TABLES = {
    "commas": (",".join(HEADER), rows(",")),
    "semicolons": (";".join(HEADER), rows(";")),
    "tabs": ("\t".join(HEADER), rows("\t")),
    "quoted": (",".join(f'"{name}"' for name in HEADER), [f'{n},"Ada, of {n}",open,{n}.5' for n in range(60)]),
    "bars": (f"| {' | '.join(HEADER)} |\n|---|:--|---|--:|", [f"| {row} |" for row in rows(" | ")]),
    "编号": ("编号,姓名,城市,价格", rows(",")),
    "номер": ("номер;имя;город;цена", rows(";")),
}


@pytest.mark.parametrize("fence", ["", "```csv\n", "```\n"])
@pytest.mark.parametrize("form", TABLES)
def test_the_rows_of_a_table_go_and_its_header_stays(form, fence):
    header, listed = TABLES[form]
    table = "\n".join([header, *listed])
    close = "\n```" if fence else ""
    text = f"My orders:\n{fence}{table}{close}\n\nWhich order did buyer 210 make?"
    found = find_documents(text)
    assert [text[d.start : d.end] for d in found] == listed
    out = shrink(text, found, "Which order did buyer 210 make?", count(text) // 3, count)
    assert out.startswith(f"My orders:\n{fence}{header}\n")
    assert out.endswith(f"{close}\n\nWhich order did buyer 210 make?")
    left = [line for line in out.split("\n") if line in listed]
    assert f"[… {60 - len(left)} more rows left out]" in out
    assert form == "quoted" or any("buyer 210" in line for line in left)
    assert {line for line in out.split("\n") if "left out" not in line} <= {*text.split("\n")}


def test_elements_of_one_name_in_a_row_are_documents():
    orders = [f'<order id="{n}"><buyer>B{n}</buyer><total>{n * 7}</total></order>' for n in range(30)]
    text = "Data:\n<orders>\n" + "\n".join(f"  {order}" for order in orders) + "\n</orders>\n\nWho is B12?"
    found = find_documents(text)
    assert [text[d.start : d.end] for d in found] == orders
    out = shrink(text, found, "Who is B12?", count(text) // 3, count)
    assert orders[12] in out
    assert "<orders>" in out
    assert "</orders>" in out


def test_what_stays_of_a_printed_object_is_still_one():
    texts = [f"{body('en', n)} It's {n}." for n in range(MANY)]
    text = f"Context: [{', '.join(f'Doc(n={n}, text={said!r})' for n, said in enumerate(texts))}]\n\n{ASKS['en']}"
    out = shrink(text, find_documents(text), ASKS["en"], count(text) // 3, count)
    listed = out[out.index("[") : out.rindex("]") + 1]
    read = eval(listed, {"Doc": lambda n, text: (n, text)})  # the text of this test alone
    kept = [one for one in read if isinstance(one, tuple)]
    assert kept
    assert read[-1] == f"… {MANY - len(kept)} more documents left out"
    for n, said in kept:
        for piece in said.split("…"):
            assert piece.strip() in texts[n]


def test_json_lines_and_records_stay_documents():
    for text in (
        joined(lambda n: json.dumps({"id": n, "text": body("en", n)}), "en", "\n"),
        joined(lambda n: json.dumps({"id": n, "text": body("zh", n)}, ensure_ascii=False), "en", ",\n", "[", "]"),
    ):
        found = find_documents(text)
        assert len(found) == MANY
        assert {one.form for one in found} == {"json"}


# ---------------------------------------------------------------- what is no document

NOT_DOCUMENTS = {
    "examples": "".join(f"Review: {body('en', n, 4)}\nMood: good\n\n" for n in range(6)) + "Review: I liked it.\nMood:",
    "inputs": "".join(f"Input: {body('en', n, 4)}\nOutput: {body('en', n, 1)}\n\n" for n in range(6))
    + "Input: x\nOutput:",
    "Eingaben": "".join(f"Eingabe: {body('de', n, 4)}\nAusgabe: {body('de', n, 1)}\n\n" for n in range(6))
    + "Eingabe: x",
    "steps": joined(lambda n: f"Step {n}: {body('en', n, 4)}", "en"),
    "Schritte": joined(lambda n: f"Schritt {n}: {body('de', n, 4)}", "de"),
    "шаги": joined(lambda n: f"Шаг {n}: {body('ru', n, 4)}", "ru"),
    "步骤": joined(lambda n: f"步骤{n}：{body('zh', n, 8)}", "zh"),
    "numbered": joined(lambda n: f"{n}. {body('en', n, 3)}", "en", "\n"),
    "bullets": joined(lambda n: f"- {body('en', n, 2)}", "en", "\n", lead="Rules:\n"),
    "talk": joined(lambda n: f"{('Anna', 'Bob')[n % 2]}: {body('en', n, 4)}", "en", "\n"),
    "turns": joined(lambda n: f"User: {body('en', n, 2)}\nAssistant: {body('en', n, 3)}", "en"),
    "questionnaire": joined(lambda n: f"Question {n}: {body('en', n, 2)}\nA) yes\nB) no", "en"),
    "prompt": f"# Role\nYou write.\n\n# Task\n{body('en', 1, 4)}\n\n# Rules\n- one\n- two\n- three\n\n# Output\nJSON.",
    "prompt by rules": f"You write.\n---\n{body('en', 1, 4)}\n---\n- one\n- two\n- three\n---\nGo.",
    "code": f"Please rename combine in this:\n```python\n{code(1)}\n{code(2)}\n```\nThanks.",
    "two versions": f"Old:\n```python\n{code(1)}\n```\nNew:\n```python\n{code(2)}\n```\nWhich is faster?",
    "bare code": f"{code(1)}\n\n{code(2)}\n\nAdd a test.",
    "build file": "```xml\n"
    + "".join(f"<dependency><id>x{n}</id></dependency>\n" for n in range(30))
    + "```\nAdd one.",
    "page": "<ul>\n" + "".join(f"<li>{body('en', n, 1)}</li>\n" for n in range(20)) + "</ul>\nMake it a table.",
    "letter": joined(lambda n: f"I think that {body('en', n, 1)}", "en", lead="Hello,\n\n"),
    "essay": f"Please correct this.\n\n{body('en', 1, 14)}\n\nThanks!",
    "drafts": f"Which is better?\n\n{body('en', 1, 5)}\n\n{body('en', 2, 5)}",
    "diff": "--- a/x.py\n+++ b/x.py\n@@ -1,4 +1,4 @@\n"
    + "\n".join(f"+{x}" for x in code(1).split("\n"))
    + "\n\nReview it.",
    "settings": joined(lambda n: f"key_{n}: value {n}\nother_{n}: {n * n * 1000}", "en", "\n") * 8,
    "manifests": joined(lambda n: f"kind: Service\nmetadata:\n  name: s{n}\nspec:\n  port: {n}", "en", "\n---\n") * 2,
    "traceback": "\n".join(f'  File "/a/b{n}.py", line {n}, in f\n    g(x={n})' for n in range(30))
    + "\nValueError: x\n\nWhy?",
    "calls": "\n".join(f'parser.add_argument("--x{n}", help="{SENTENCES["en"][2]}")' for n in range(30))
    + "\n\nSort these.",
    "inserts": "\n".join(f"INSERT INTO t (a, b, c) VALUES ({n}, 'x{n}', {n});" for n in range(60)) + "\n\nAdd d.",
    "paths": "Look at:\n" + "\n".join(f"src/a/b{n}.py" for n in range(60)) + "\n\nWhich is unused?",
    "days": joined(lambda n: f"Day {n}: {body('en', n, 4)}", "en"),
    "poem": "\n\n".join("\n".join(body("en", n, 1)[:45] for _ in range(4)) for n in range(12)) + "\n\nIs it good?",
    "report": f"### Description\n\n{body('en', 1, 6)}\n\n### Steps\n\n```\n{code(1)}\n```\n\n### Expected\n\nNo error.",
}


@pytest.mark.parametrize("kind", NOT_DOCUMENTS)
def test_what_a_person_says_asks_for_or_works_on_is_no_document(kind):
    assert find_documents(NOT_DOCUMENTS[kind]) == []


@given(
    st.lists(
        st.sampled_from(
            [
                *("\n", "\n\n", "---\n", "=== a ===\n", "```\n", "```csv\n", "Source: a.md\n", "来源：a\n", "## H\n"),
                *("src/a.py\n", "Doc(t='x', u='", "')", "{'a': 'b", "a,b,c\n", "1,2,3\n", "| a | b |\n", "|---|---|\n"),
                *("<row>", "</row>", "1. T\n", "https://x.example/1\n", "From: a\nTo: b\n", "文档 1：", "\r\n"),
                body("en", 1, 3),
                body("zh", 1, 3),
            ]
        ),
        max_size=60,
    )
)
def test_documents_of_any_form_lie_in_order_and_what_is_left_is_the_frame(parts):
    text = "".join(parts)
    for asks in (True, False):
        found = find_documents(text, asks=asks)
        at = 0
        for document in found:
            assert at <= document.start < document.end <= len(text)
            inner = document.start
            for start, end in document.bodies:
                assert inner <= start <= end <= document.end
                inner = end
            at = document.end
        left = shrink(text, found, "habits", 5, count)
        assert all(piece.strip() in left for piece in frame(text, found).split("\n"))


HOSTILE = [
    *("a(b='" * 80_000, "A(x='y', " * 40_000, "{'a':" * 60_000, "a='b' " * 60_000, "'" * 300_000, "\\'" * 150_000),
    *("A: b\n" * 80_000, "a b c: d\n" * 40_000, "From: x\n\n" * 40_000, "：" * 200_000, "x.py\n" * 80_000),
    *("a,b,c\n" * 60_000, "a,b\n1,2,3\n" * 30_000, "|" * 300_000, "|-" * 150_000, "|---|\n" * 60_000, '","' * 100_000),
    *(
        "<a>" * 100_000,
        "<a" * 150_000,
        "<r>x</r>" * 40_000,
        "<row a='" * 40_000,
        "</a>" * 80_000,
        "<a " + "b" * 300_000,
    ),
    *(
        "---\n" * 80_000,
        "- " * 150_000,
        "=== " * 80_000,
        "```\n" * 80_000,
        "~~~" * 100_000,
        "# " * 100_000,
        "#" * 300_000,
    ),
    *(
        "1. a\n" * 60_000,
        "https://" * 40_000,
        "www." * 80_000,
        ("a" * 300 + "\n\n") * 1_500,
        "a/" * 150_000,
        "a." * 150_000,
    ),
]


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:14]))
def test_hostile_forms_take_bounded_time(text):
    with within(5):
        for asks in (True, False):
            find_documents(text, asks=asks)
