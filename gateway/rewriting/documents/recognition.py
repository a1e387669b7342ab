"""Documents inside a text: what was put there to be read, told apart from what is asked. Pure.

Recognised are tags, numbered passages (`[3] …`, `Document [3](Title: …)`), blocks that begin with the same label
(`Title: …`), JSON arrays and objects of records, markdown sections and rules between blocks, one text under a label
(`Context: …`), and the forms of `forms/`: printed objects, tables, files, sources, mails, hits, elements, fences and
texts that are merely joined. Everything else is the frame; it stays byte for byte. A user's message may end with a
question, a tool's result does not. If it is unclear where the last document ends before such a question, the doubtful
text belongs to the frame.

The lines of a log and the rows of a listing are no documents, whatever they begin with: `logs` finds those.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from gateway.budget.components import document_spans
from gateway.memory import Memory
from gateway.rewriting.documents.forms import elements, joins, labels, reprs, tables
from gateway.rewriting.documents.forms.document import Document, left_out_notes, reads_as_list, total_characters
from gateway.rewriting.documents.forms.labels import stand_last
from gateway.rewriting.results.records import long_strings, record_sets, title_of
from gateway.rewriting.results.shapes import outliers

__all__ = [
    "LEAST_CHARACTERS",
    "SEPARATORS",
    "Document",
    "Found",
    "document_rows",
    "find_documents",
    "frame",
    "has_marked_documents",
    "known",
    "logs",
    "question",
    "spans_of_rows",
]

LEAST_CHARACTERS = 400
"""Documents shorter than this together are left alone."""
SEPARATORS = " \t\r\n,"
"""Text that may stand between two documents of a group and goes with them."""
_LONG_STRING_CHARS = 200
_LEAST_ROWS = 12
"""Lines or records below which nothing is taken for a log."""
_MOST_ROW_CHARS = 600
_LINE_PER_BLOCK = 0.6
"""Share of the lines of a text that begin a block where its blocks are lines."""

_NOUN = (
    r"(?:documents?|doc|passages?|sources?|(?:search[ _]?)?results?|snippets?|contexts?|chunks?|articles?|pages?"
    r"|records?|references?|excerpts?|evidence|items?|hits?|paragraphs?)"
)
_NOUN_ELSEWHERE = (
    "(?:dokumente?|dokumentas|quellen?|abschnitt|auszug|textstelle|fundstelle|treffer|bron|fragment|zdroj|źródło"
    "|źródła|wynik|documentos?|fuentes?|fragmentos?|pasajes?|resultados?|art[íi]culos?|fontes?|trechos?"
    "|passagens?|documenti|documento|fonti|brani?|brano|estratti?|risultati?|extraits?|résultats?|textes?"
    "|passages?|källa|källor|avsnitt|kilde[r]?|uddrag|lähde|asiakirja|kaynak|belge|bölüm|sonuç|forrás"
    "|dokumentum|sursă|document|nguồn|tài liệu|đoạn|sumber|dokumen|έγγραφο|πηγή|απόσπασμα|документ[ыа]?"
    "|источник[и]?|фрагмент|отрывок|джерело|уривок|المستند|مستند|الوثيقة|وثيقة|المصدر|مصدر|مقطع|النتيجة|מסמך"
    "|מקור|קטע|سند|منبع|दस्तावेज़|दस्तावेज|स्रोत|अनुच्छेद|เอกสาร|แหล่งที่มา|文档|文檔|文件|资料|資料|来源|來源|段落|片段|结果|結果"
    "|参考|參考|材料|文章|文書|出典|ドキュメント|文献|문서|자료|출처|단락|결과)"
)
_NUMBER_SIGN = r"(?:no\.?|number|id|#|n[°º]|nr\.?|№|номер|رقم)"
_NUMBERED = re.compile(
    rf"^[ \t]*+(?:#{{1,6}} |[*_>-]{{1,3}} ?)?[【［]?+"
    rf"(?:(?P<noun>{_NOUN}|{_NOUN_ELSEWHERE})[ \t]*+{_NUMBER_SIGN}?+[ \t:=：]*+(?P<plain>[\[【［]?[(（]?#?)"
    rf"|(?P<ordinal>第)|(?P<mark>\[\^?|(?<=[【［])))(?P<number>\d{{1,5}})"
    rf"(?:[\])}}】］）]+|[ ]?[篇条條份段个個](?:[文资資材参參])?\w{{0,3}}|(?=[ \t]*(?:[.:：．、。(（–—-]|\*\*|$)))",
    re.IGNORECASE | re.MULTILINE,
)
_LABELLED = re.compile(
    r"^(?:[-*#>]{1,3} ?)?(?:\*\*)?"
    rf"(?P<label>title|source|url|link|id|name|file|path|{_NOUN}(?:[ _](?:id|title|name))?)"
    r"(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*\S",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"^(#{1,5}) +\S[^\n]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*([-=*_~])\1{2,}[ \t\r]*$", re.MULTILINE)
_INTRODUCED = re.compile(
    rf"^(?:#{{1,4}} )?(?:\*\*)?(?:[\w'’-]++ ){{0,4}}(?:{_NOUN}|text|background|story|transcript|information|knowledge"
    r"|material|report|email|thread)(?: [\w'’-]+){0,3}(?:\*\*)?[ \t]*:(?:\*\*)?",
    re.IGNORECASE | re.MULTILINE,
)
_ASKING = re.compile(
    r"^[ \t]*+(?:#{1,6} |\*\*|<)?"
    r"(?:(?:the|my|our|your|user(?:['’]s)?|current|new|final|follow-?up|here is (?:the|my)) )*"
    r"(?:question|query|q|task|instructions?|request|problem|prompt|claim|key|user|human|input|search query)"
    r"(?: \d+)?(?:\*\*)?[ \t]*[:>]",
    re.IGNORECASE | re.MULTILINE,
)
_PARAGRAPH = re.compile(r"(?<=\n)(?=[ \t]*+\n)")
_KEY = re.compile(r'"(?:[^"\\]|\\.)*+"\s*+:\s*+')
_BLANK = re.compile(r"\n[ \t\r\xa0]*\n")
_ANSWER = re.compile(
    r"^[ \t]*+(?:[\w'’-]++ ){0,3}(?:answer|response|output|value|solution)[ \t]*:[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_LIKE_DOCUMENTS = (
    "passage",
    "result",
    "search_result",
    "source",
    "snippet",
    "article",
    "chunk",
    "record",
    "excerpt",
    "item",
    "file",
    "page",
    "hit",
    "entry",
    "email",
    "chapter",
    "paragraph",
    "web_result",
)
_ATTRIBUTE = re.compile(r"""\b(?:title|name|source|url|path|id|index)\s*=\s*["']?([^"'<>]{1,200})""", re.IGNORECASE)
_INNER_TITLE = re.compile(r"\s*+<(title|source|name|url)>([^<]{0,400})</\1>\s*+", re.IGNORECASE)
_TITLE_FIELD = re.compile(r"\(?\btitle\s*:\s*([^\n]{1,300})", re.IGNORECASE)
_GAP = "…"
_CUT = re.compile(r"(?<![\w.…])…(?![\w.…])")
_MOST_GAP = 12
_MOST_INNER_TITLES = 3
_SHORT_CHARS = 300
_MOST_SENTENCES_BEFORE = 3
_ABOUT_AS_FAR = 0.7


def find_documents(
    text: str, tags: Sequence[str] = ("document", "doc", "context"), *, asks: bool = True
) -> list[Document]:
    """Locate the documents of a text, in order and apart from one another.

    `asks`: whether the text may hold a question too, as a user's message does. The result of a retrieval tool does not:
    if nothing else is recognised there, it is one document.
    """
    if len(text) < LEAST_CHARACTERS and _GAP not in text:
        return []
    notes = left_out_notes(text) if asks else []
    found = _tagged(text, tuple(tags)) or _first(text, asks)
    if notes and not found:
        found = _before_note(text, notes[0][0])
    if not found and not asks and not _is_log(text, 0, len(text)) and not _holds_log(text):
        found = [Document(0, len(text), "", ((0, len(text)),))]
    is_enough = total_characters(found) >= LEAST_CHARACTERS or notes or (asks and _is_cut(text, found))
    return found if is_enough else []


def _is_cut(text: str, documents: Sequence[Document]) -> bool:
    """Tell whether documents stand as extract.py left them: shorter, they are documents still."""
    return any(_CUT.search(text, one.start, one.end) for one in documents)


def _before_note(text: str, note: int) -> list[Document]:
    """Take what stands before a note that others are left out as the one document that is left: from its mark on, or
    the last paragraph.
    """
    stop = len(text[:note].rstrip(SEPARATORS))
    marks = [found.start() for form in (_NUMBERED, _LABELLED, _HEADING) if (found := form.search(text, 0, stop))]
    paragraphs = [0, *(found.end() for found in _BLANK.finditer(text, 0, stop))]
    start = min(marks, default=paragraphs[-1])
    return [Document(start, stop, "", ((start, stop),))] if stop > start else []


def has_marked_documents(text: str, tags: Sequence[str]) -> bool:
    """Tell whether a text holds documents with marks of their own: tags, numbers, labels, or records of JSON.

    A tool's result that does is cut as documents are, whatever the tool; other forms are cut by their structure.
    """
    if len(text) < LEAST_CHARACTERS:
        return False
    found = _tagged(text, tuple(tags)) or _records(text, True) or _blocks(text, 0, len(text), True)
    return total_characters(found) >= LEAST_CHARACTERS


Found = Memory[tuple[str, tuple[str, ...], bool], list[Document]]
"""The documents of texts, by the text, the tags that were looked for, and whether it may ask."""


def known(text: str, tags: tuple[str, ...], memory: Found, *, asks: bool = True) -> list[Document]:
    """Locate the documents of a text as `find_documents` does; a text that was seen before is not read again."""
    key = (text, tags, asks)
    found = memory.get(key)
    if found is None:
        found = find_documents(text, tags, asks=asks)
        memory.put(key, found, 2 * len(text) + _DOCUMENT_BYTES * len(found))
    return found


_DOCUMENT_BYTES = 250


def _first(text: str, asks: bool) -> list[Document]:
    """Take the first form that holds about as much of the text as any; others are looked for where it holds little."""
    found = _records(text, asks) or _blocks(text, 0, len(text), asks)
    files, hits = labels.pasted_files(text), labels.hits(text)
    if files and total_characters(files) >= _MOST_OF_THEM * total_characters(found):
        return files
    if total_characters(hits) > total_characters(found) and found and not _are_log(text, hits):
        return hits
    if len(found) > 1 and total_characters(found) >= _MOST_OF_IT * len(text):
        return found
    labelled = labels.labelled(text)
    if labelled and _are_turned_down(text, labelled, asks):
        labelled = []
    forms = [reprs.find_reprs(text), labelled, *_texts(text, hits)]
    if asks:
        forms += [tables.find_tables(text), elements.find_elements(text)]
        forms += _texts(text, joins.ruled(text), joins.headed(text), joins.fenced(text), joins.joined_sources(text))
    forms = [documents for documents in forms if total_characters(documents) >= LEAST_CHARACTERS]
    forms = [*forms, found] if len(found) == 1 else [found, *forms]
    longest = max(map(total_characters, forms))
    return next((documents for documents in forms if total_characters(documents) >= _ABOUT_AS_MUCH * longest), found)


def _are_turned_down(text: str, labelled: list[Document], asks: bool) -> bool:
    """Tell whether blocks under labels are lines of a log or entries; one that names a source is believed."""
    if asks and labels.names_a_source(text, labelled[0].start):
        return _are_lines(text, _starts(labelled), labelled[-1].end)
    return _are_log(text, labelled)


def _starts(documents: Sequence[Document]) -> list[tuple[int, int]]:
    return [(document.start, document.body) for document in documents]


def _texts(text: str, *forms: list[Document]) -> list[list[Document]]:
    """Leave out forms whose blocks are lines of a log, or entries of a few values."""
    return [documents for documents in forms if documents and not _are_log(text, documents)]


def _are_log(text: str, documents: Sequence[Document]) -> bool:
    bodies = [text[start:end] for document in documents for start, end in document.bodies]
    if sum(map(len, bodies)) < total_characters(documents) / 2:
        return _are_entries(text, documents) or _is_log(text, documents[0].start, documents[-1].end)
    return _is_log(said := "\n".join(bodies), 0, len(said))


_MOST_OF_IT, _ABOUT_AS_MUCH, _MOST_OF_THEM = 0.6, 0.6, 0.9


def logs(text: str) -> list[tuple[int, int]]:
    """Locate the logs of a text: runs of lines of few templates, and sets of records that are entries or rows.

    Text around them, a question for instance, is not part of them.
    """
    sets = [spans for spans in record_sets(text) if _are_rows(text, spans, asks=True)]
    if sets:
        return [(spans[0][0], spans[-1][1]) for spans in sets]
    out: list[tuple[int, int]] = []
    at = 0
    for part in _PARAGRAPH.split(text):
        if len(part) >= LEAST_CHARACTERS and _is_log(text, at, at + len(part)):
            if out and not text[out[-1][1] : at].strip():
                out[-1] = (out[-1][0], at + len(part))
            else:
                out.append((at, at + len(part)))
        at += len(part)
    return out


def _is_log(text: str, start: int, end: int) -> bool:
    """Tell whether a part of a text is lines of a log."""
    lines = [line for line in text[start:end].split("\n") if line.strip()]
    return len(lines) >= _LEAST_ROWS and end - start <= _MOST_ROW_CHARS * len(lines) and outliers.is_log(lines)


def _are_rows(text: str, spans: Sequence[tuple[int, int]], *, asks: bool) -> bool:
    """Tell whether records are entries of a log or rows of values, not texts to be read."""
    if len(spans) < _LEAST_ROWS:
        return False
    first = _value_at(text, *spans[0])
    if text[first] != "{" or spans[-1][1] - first > _MOST_ROW_CHARS * len(spans):
        return False
    looked_at = outliers.sample(spans)
    records = [" ".join(text[_value_at(text, start, end) : end].split()) for start, end in looked_at]
    return outliers.has_levels(records) or (not asks and outliers.are_alike(records))


def _value_at(text: str, start: int, end: int) -> int:
    """Find where the value of a record begins: after its key, where it has one."""
    key = _KEY.match(text, start, end)
    return start if key is None else key.end()


def _holds_log(text: str) -> bool:
    """Tell whether a text is JSON whose records are rows, or one of whose strings is a log."""
    if any(_are_rows(text, spans, asks=False) for spans in record_sets(text)):
        return True
    said = text.replace("\\n", "\n")
    return len(said) < len(text) and _is_log(said, 0, len(said))


def frame(text: str, documents: Sequence[Document]) -> str:
    """Join what is not a document."""
    out, at = [], 0
    for document in documents:
        out.append(text[at : document.start].strip())
        at = document.end
    out.append(text[at:].strip())
    return "\n".join(part for part in out if part.strip(SEPARATORS))


def document_rows(text: str, documents: Sequence[Document]) -> list[range]:
    """Group the documents into rows that have nothing between them but white space and commas."""
    out: list[range] = []
    for at, document in enumerate(documents):
        before = documents[at - 1]
        if (
            at
            and (before.form, before.group) == (document.form, document.group)
            and not text[before.end : document.start].strip(SEPARATORS)
        ):
            out[-1] = range(out[-1].start, at + 1)
        else:
            out.append(range(at, at + 1))
    return out


def spans_of_rows(text: str, documents: Sequence[Document]) -> list[tuple[int, int]]:
    """Locate what documents take of a text: each row of several, or of one that is tagged, from its first to its last,
    with a note behind it that says that more are left out; and such a note where none is left.
    """
    notes = left_out_notes(text)
    several = len(documents) > 1 or bool(notes) or any(text.startswith("<", one.start) for one in documents)
    rows = document_rows(text, documents) if several else []
    spans = sorted([*((documents[row.start].start, documents[row.stop - 1].end) for row in rows), *notes])
    out: list[tuple[int, int]] = []
    for start, end in spans:
        if out and (start < out[-1][1] or ((start, end) in notes and not text[out[-1][1] : start].strip(SEPARATORS))):
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def question(text: str, documents: Sequence[Document]) -> str:
    """Find what a text with documents asks: the labelled question, else all of its frame."""
    said = frame(text, documents)
    labels = list(_ASKING.finditer(said))
    if not labels:
        return said
    asked = said[labels[-1].end() :]
    asked = _ANSWER.sub("", asked).strip()
    return asked or said


# ---------------------------------------------------------------- tags and records


def _tagged(text: str, tags: tuple[str, ...]) -> list[Document]:
    spans = document_spans(text, tags)
    if not spans:
        spans = [s for s in document_spans(text, _LIKE_DOCUMENTS) if s[1] - s[0] >= 20]
        if len(spans) < 2:
            return []
    out: list[Document] = []
    for start, end in spans:
        opened, closing = text.index(">", start) + 1, text.rindex("<", start, end)
        inside = _blocks(text, opened, closing, False) if closing - opened >= LEAST_CHARACTERS else []
        if len(spans) == 1 and not inside:
            inside = [_moved(d, opened) for d in _records(text[opened:closing], False)]
        if len(inside) > 1:
            out += inside
            continue
        title, body = "", opened
        if attribute := _ATTRIBUTE.search(text, start, opened):
            title = attribute[1]
        for _ in range(_MOST_INNER_TITLES):
            if inner := _INNER_TITLE.match(text, body, closing):
                title, body = f"{title} {inner[2]}".strip(), inner.end()
        out.append(Document(start, end, title, ((body, max(body, closing)),)))
    return out


def _moved(document: Document, by: int) -> Document:
    bodies = tuple((a + by, b + by) for a, b in document.bodies)
    return Document(document.start + by, document.end + by, document.title, bodies, document.group, document.form)


def _records(text: str, asks: bool) -> list[Document]:
    out, notes = [], left_out_notes(text) if asks else []
    for group, spans in enumerate(record_sets(text, notes)):
        if _are_rows(text, spans, asks=asks):
            continue
        for start, end in spans:
            if (start, end) in notes:
                continue
            bodies = (
                tuple(long_strings(text, start, end, _LONG_STRING_CHARS)) if end - start > _LONG_STRING_CHARS else ()
            )
            out.append(Document(start, end, title_of(text, start, end), bodies, group, "json"))
    return out


# ---------------------------------------------------------------- blocks of text


def _blocks(text: str, start: int, end: int, asks: bool) -> list[Document]:
    """Find blocks that begin alike between two places of a text.

    Of several ways to cut, the first that reaches about as far as any: marks inside one document hide no other.
    """
    introduced = _INTRODUCED.search(text, start, end) if asks else None
    after = start if introduced is None else introduced.end()
    ways = [_numbered(text, start, end), _labelled(text, start, end)]
    if not asks or introduced is not None:
        ways += [_headed(text, after, end), _ruled(text, after, end)]
    longest = max((end - starts[0][0] for starts in ways if starts), default=0)
    for starts in ways:
        if starts and end - starts[0][0] >= _ABOUT_AS_FAR * longest:
            if _are_lines(text, starts, end):
                return []
            blocks = _between(text, starts, end, asks)
            return [] if not asks and _are_entries(text, blocks) else blocks
    if introduced is None or logs(text[after:end]):
        return []
    return _under_label(text, after, end)


def _are_lines(text: str, starts: Sequence[tuple[int, int]], end: int) -> bool:
    """Tell whether blocks are hardly more than the lines of a log."""
    first = starts[0][0]
    lines = sum(1 for line in text[first:end].split("\n") if line.strip())
    return len(starts) >= max(_LEAST_ROWS, _LINE_PER_BLOCK * lines) and _is_log(text, first, end)


def _are_entries(text: str, blocks: Sequence[Document]) -> bool:
    """Tell whether blocks are entries that differ in a few values only, as those of an event log do."""
    if len(blocks) < _LEAST_ROWS or blocks[-1].end - blocks[0].start > _MOST_ROW_CHARS * len(blocks):
        return False
    return outliers.are_alike([" ".join(text[block.start : block.end].split()) for block in blocks])


def _numbered(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Find the longest run of marks of one form whose numbers rise, each as (start, end of the mark)."""
    forms: dict[str, list[tuple[int, int, int]]] = {}
    for found in _NUMBERED.finditer(text, start, end):
        form = (found["noun"] or found["ordinal"] or "").lower().rstrip("s") + (found["plain"] or "")
        form += found["mark"] or ""
        forms.setdefault(form, []).append((int(found["number"]), found.start(), found.end()))
    runs = [_rising(marks) for marks in forms.values() if len(marks) > 1]
    best = max(runs, key=len, default=[])
    return best if len(best) > 1 else []


def _rising(marks: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Take marks in order: the next number where it still comes, a higher one where it does not."""
    places: dict[int, list[int]] = {}
    for place, (number, _, _) in enumerate(marks):
        places.setdefault(number, []).append(place)
    at: int | None = next((place for place, mark in enumerate(marks) if mark[0] in (0, 1)), 0)
    run = []
    while at is not None:
        run.append(marks[at][1:])
        at = _following(places, marks[at][0], at)
    return run


def _following(places: dict[int, list[int]], number: int, after: int) -> int | None:
    for step in range(1, _MOST_GAP + 1):
        where = places.get(number + step, [])
        nearest = bisect_right(where, after)
        if nearest < len(where):
            return where[nearest]
    return None


def _labelled(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Find lines with the same label; the label that comes first and again begins a block."""
    labels: dict[str, list[tuple[int, int]]] = {}
    for found in _LABELLED.finditer(text, start, end):
        labels.setdefault(found["label"].lower(), []).append((found.start(), found.end() - 1))
    return next((places for places in labels.values() if len(places) > 1 and not stand_last(text, places)), [])


def _headed(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Find the markdown headings of the level that comes first and again, and of those above it."""
    found = [(len(heading[1]), heading.span()) for heading in _HEADING.finditer(text, start, end)]
    often = Counter(level for level, _ in found)
    chosen = next((level for level, _ in found if often[level] > 1), 0)
    return [span for level, span in found if level <= chosen]


def _ruled(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Find blocks between rules."""
    rules = [found.span() for found in _RULE.finditer(text, start, end)]
    if len(rules) < 2:
        return []
    first = start if text[start : rules[0][0]].strip() else None
    out = [] if first is None else [(first, first)]
    return out + [rule for rule in rules if text[rule[1] : end].strip()]


def _between(text: str, starts: list[tuple[int, int]], end: int, asks: bool) -> list[Document]:
    """Make documents of the text from each start to the next."""
    ends = [following for following, _ in starts[1:]]
    ends.append(_last_end(text, starts, end, asks))
    out = []
    for (start, after), to in zip(starts, ends, strict=True):
        stop = start + len(text[start:to].rstrip())
        body, title = _head(text, after, stop)
        out.append(Document(start, stop, title, ((body, stop),)))
    return out


def _head(text: str, after: int, stop: int) -> tuple[int, str]:
    """Find where the body of a block begins, and its title: what stands beside its mark."""
    line = text.find("\n", after, stop)
    line = stop if line < 0 else line
    rest = text[after:line]
    if field := _TITLE_FIELD.match(rest.lstrip(" .:-–—")):
        title = field[1]
        if rest.lstrip(" .:-–—").startswith("(") and (close := _closing(text, text.index("(", after))) > 0:
            return min(close, stop), text[text.index("(", after) + 1 : close - 1].partition(":")[2].strip()
        return line, title.strip()
    if line < stop and line - after <= 160:
        return line, rest.strip(" .:-–—*")
    return min(after, stop), ""


def _closing(text: str, opening: int) -> int:
    """Find where a bracket on one line is closed; 0 where it is not."""
    depth = 0
    for at in range(opening, min(len(text), opening + 400)):
        if text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
            if not depth:
                return at + 1
        elif text[at] == "\n":
            return 0
    return 0


def _last_end(text: str, starts: list[tuple[int, int]], end: int, asks: bool) -> int:
    """Decide where the last document ends and the frame goes on."""
    if not asks:
        return end
    begins = starts[-1][1]
    stop = begins + len(text[begins:end].rstrip())
    paragraphs = [found.end() for found in _BLANK.finditer(text, begins, stop)]
    labels = [found.start() for found in _ASKING.finditer(text, begins, stop)]
    if labels:
        return _question_start(text, paragraphs, labels)
    asked_before = bool(_ASKING.search(text, 0, starts[0][0]))
    if not paragraphs or (asked_before and stop - paragraphs[-1] > _SHORT_CHARS):
        return stop
    if not any(_BLANK.search(text, a[1], b[0] - 2) for a, b in pairwise(starts)):
        return paragraphs[0]
    return _widened(text, paragraphs, paragraphs[-1])


def _question_start(text: str, paragraphs: list[int], labels: list[int]) -> int:
    """Find where the frame begins that ends in a labelled question."""
    last = paragraphs[-1] if paragraphs else labels[-1]
    within = bisect_left(labels, last)
    at = min(labels[within], last) if within < len(labels) else labels[-1]
    return _widened(text, paragraphs, at)


def _widened(text: str, paragraphs: list[int], at: int) -> int:
    """Take short sentences right before the question into the frame: they may say how to answer it."""
    before = bisect_left(paragraphs, at) - 1
    for place in range(before, max(-1, before - _MOST_SENTENCES_BEFORE), -1):
        said = text[paragraphs[place] : at].strip()
        if len(said) > _SHORT_CHARS or not said.endswith((".", "?", "!", ":")):
            break
        at = paragraphs[place]
    return at


def _under_label(text: str, start: int, end: int) -> list[Document]:
    """Take the text between a label that introduces it and the question as one document."""
    stop = start + len(text[start:end].rstrip())
    paragraphs = [found.end() for found in _BLANK.finditer(text, start, stop)]
    labels = [found.start() for found in _ASKING.finditer(text, start, stop)]
    if labels:
        stop = _question_start(text, paragraphs, labels)
    elif paragraphs and stop - paragraphs[-1] <= _SHORT_CHARS:
        stop = _widened(text, paragraphs, paragraphs[-1])
    elif not _ASKING.search(text, 0, start):
        return []
    stop = start + len(text[start:stop].rstrip())
    begin = stop - len(text[start:stop].lstrip())
    if stop - begin < LEAST_CHARACTERS or reads_as_list(text[begin:stop]):
        return []
    return [Document(begin, stop, "", ((begin, stop),))]
