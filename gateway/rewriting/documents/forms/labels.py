"""Blocks of text with a line that says where each is from: sources, files, mails, hits of a search. Pure.

A line says so by a label (`Quelle: …`), by a path or an address that stands alone on it, or by two labels and more that
come again and again in the same order. Labels that are known count at once; others where they come often, with values
that look like names of texts, before text of some length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from gateway.rewriting.documents.forms.document import (
    SHORT_CHARS,
    Document,
    end_of_lone_paragraph,
    lines,
    paragraph_spans,
    reads_as_prose,
    size,
)

_LETTER = "(?:[^\\W\\d]|[.'’/()\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0900-\u0dff\u0e31\u0e34-\u0e4e\u200c-])"
"""Of a label: a letter, or a sign that is written on one."""
_LABEL = re.compile(
    r"[ \t]{0,8}(?:[>#*-]{1,6} {0,2})?(?:\*\*|__|`)?"
    rf"(?P<label>[^\W\d_]{_LETTER}{{0,24}}(?: {_LETTER}{{1,20}}){{0,3}})"
    r"(?:\*\*|__|`)?[ \t]{0,8}[:：](?!//)(?:\*\*|__|`)?[ \t\u3000]{0,40}(?P<value>[^\n]{0,400})$",
)
_KNOWN_WORDS = (
    "source|sources|url|uri|link|title|file|filename|file name|file path|filepath|file_path|path|document|doc"
    "|page|website|site|reference|citation|article|quelle|quellen|titel|datei|dateiname|pfad|dokument|seite"
    "|adresse|bron|bestand|pad|källa|fil|sökväg|kilde|kilder|sti|lähde|tiedosto|polku|fuente|título|titulo|archivo"
    "|ruta|enlace|documento|página|fonte|fichero|ficheiro|arquivo|caminho|ligação|titolo|percorso|collegamento"
    "|pagina|fichier|chemin|titre|lien|sursă|sursa|fișier|titlu|cale|źródło|plik|tytuł|ścieżka|strona|zdroj|soubor"
    "|název|cesta|stránka|forrás|fájl|cím|útvonal|kaynak|dosya|başlık|yol|bağlantı|πηγή|αρχείο|τίτλος|διαδρομή"
    "|источник|файл|заголовок|название|путь|ссылка|документ|страница|джерело|назва|шлях|посилання|сторінка|المصدر"
    "|مصدر|الملف|العنوان|الرابط|المسار|מקור|קובץ|כותרת|קישור|منبع|فایل|عنوان|पृष्ठ|स्रोत|फ़ाइल|शीर्षक|लिंक"
    "|แหล่งที่มา|ไฟล์|ชื่อเรื่อง|nguồn|tệp|tiêu đề|đường dẫn|sumber|berkas|judul|tautan|来源|來源|出处|出處|标题|標題|文件|檔案"
    "|文件名|路径|路徑|链接|連結|网址|網址|出典|タイトル|ファイル|ファイル名|パス|リンク|題名|출처|제목|파일|경로|링크"
)
_KNOWN = frozenset(_KNOWN_WORDS.split("|"))
"""Labels of where a text is from, or what it is called."""
_ASKS = re.compile(
    r"(?:q|question|a|answer|input|output|user|assistant|human|ai|task|query|prompt|instruction|system)(?: ?\d*)\Z",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?。！？؟।…][\"'”’)\]]{0,2}\s*\Z")
_ADDRESS = re.compile(
    r"[ \t]{0,12}(?:[-*>#•]{1,4} {0,3})?(?:[^\W\d_]{2,16} ?[:：] ?)?"
    r"[<(\[]?(?:https?://|www\.)[^\s<>]{2,500}[>)\]]?[ \t]*\Z",
    re.IGNORECASE,
)
_PATH = re.compile(
    r"[ \t]{0,4}(?:(?:[#/*;-]{1,4}|<!--|={2,8}|-{2,8}|>{1,3}) {0,2})?(?:\*\*|`)?"
    r"(?:[^\W\d_][\w ]{1,20} ?[:：] {0,2})?(?:\*\*|`)?\"?"
    r"(?P<path>(?:[\w@~.+-]{0,60}[/\\]){1,20}[\w@.+-]{0,80}\.[A-Za-z]\w{0,9}|[\w+-][\w@.+-]{0,80}\.[A-Za-z]\w{0,7})\"?"
    r"(?:\*\*|`)?(?: \((?:[^()\n]{1,60})\))? {0,2}:?(?:\*\*)? {0,2}(?:-->|\*/|={2,8}|-{2,8})?[ \t]*\Z"
)
_HIT = re.compile(r"[ \t]{0,4}(?:[\[(#]?(\d{1,4})[\])]?[.)：:]?|[-*•])[ \t]{1,4}\S")
_LEAST_KNOWN, _LEAST_OTHER = 2, 3
_LEAST_BODY, _LEAST_PROSE = 60, 240
_LEAST_FILE, _LEAST_FILES_CHARS = 120, 1_500
_LEAST_RECORDS = 5
_MOST_LINES = 400_000


@dataclass(frozen=True, slots=True)
class _Head:
    """A run of lines that say what the text after them is."""

    start: int
    end: int
    labels: tuple[str, ...]
    values: tuple[str, ...]
    follows_text: bool
    """True if text stands on the line right before."""
    leads_text: bool
    """True if text stands on the line right after."""

    @property
    def title(self) -> str:
        return next((value for value in self.values if value), "")[:200]


# ---------------------------------------------------------------- labels


def labelled(text: str) -> list[Document]:
    """Locate blocks under, or above, lines with the same labels."""
    heads = _heads(text)
    firsts = Counter(head.labels[0] for head in heads)
    for label, often in firsts.items():
        if often < _LEAST_KNOWN or _ASKS.match(label):
            continue
        own = [head for head in heads if head.labels[0] == label]
        if found := _after(text, own) if _stand_last(own) else _before(text, own):
            return found
    return []


def names_a_source(text: str, at: int) -> bool:
    """Tell whether the line at a place begins with a known label."""
    found = _LABEL.match(text[at : _line_end(text, at, len(text))])
    return found is not None and found["label"].casefold() in _KNOWN


def _heads(text: str) -> list[_Head]:
    """Find the runs of lines with a label each, outside of fences."""
    out: list[_Head] = []
    run: list[tuple[int, int, str, str]] = []
    fence, before, run_follows = "", False, False
    for number, (start, end) in enumerate(lines(text, 0, len(text))):
        if number > _MOST_LINES:
            break
        line = text[start:end]
        bare = line.strip()
        found = _LABEL.match(line.rstrip()) if ":" in line[:120] or "：" in line[:120] else None
        if fence:
            fence = "" if bare.startswith(fence) else fence
            found = None
        elif bare.startswith(("```", "~~~")):
            fence, found = bare[:3], None
        if found is not None:
            if not run:
                run_follows = before
            run.append((start, end, found["label"].casefold(), found["value"].strip()))
        elif run:
            out.append(_head(run, run_follows, bool(bare)))
            run = []
        before = bool(bare)
    if run:
        out.append(_head(run, run_follows, False))
    return out


def _head(run: Sequence[tuple[int, int, str, str]], follows: bool, leads: bool) -> _Head:
    return _Head(run[0][0], run[-1][1], tuple(r[2] for r in run), tuple(r[3] for r in run), follows, leads)


def _stand_last(heads: Sequence[_Head]) -> bool:
    """Tell whether the labels stand below their text: it is right above each of them, and nothing right below."""
    below = sum(head.follows_text and not head.leads_text for head in heads)
    return below >= 0.8 * len(heads) and len(heads) > 1


def stand_last(text: str, places: Sequence[tuple[int, int]]) -> bool:
    """Tell whether lines stand below the text that they name: right behind a line of it, and before a blank one."""
    below = 0
    for start, _ in places:
        line_end = text.find("\n", start)
        above = text.rfind("\n", 0, max(0, start - 1)) + 1
        below_end = text.find("\n", line_end + 1)
        follows = start > 0 and bool(text[above:start].strip())
        leads = line_end >= 0 and bool(text[line_end : None if below_end < 0 else below_end].strip())
        below += follows and not leads
    return below >= 0.8 * len(places)


def _before(text: str, heads: Sequence[_Head]) -> list[Document]:
    """Make documents of the text from each head to the next, where they are what is known to be documents."""
    ends = [head.start for head in heads[1:]]
    others = [(a.end, b.start) for a, b in pairwise(heads)]
    lone = end_of_lone_paragraph(text, others, heads[-1].end)
    ends.append(_last_end(text, heads[-1].end, [b - a for a, b in others]) if lone is None else lone)
    bodies = [text[head.end : end].strip() for head, end in zip(heads, ends, strict=True)]
    if not _are_sources(heads, bodies):
        return []
    out = []
    for head, end in zip(heads, ends, strict=True):
        stop = head.start + len(text[head.start : end].rstrip())
        begin = min(head.end, stop)
        out.append(Document(head.start, stop, head.title, ((begin, stop),) if begin < stop else ()))
    return out


def _are_sources(heads: Sequence[_Head], bodies: Sequence[str]) -> bool:
    """Tell whether blocks are texts with their sources, and not turns of a talk, examples or a form to fill in."""
    if any(not head.values[0] and not body for head, body in zip(heads, bodies, strict=True)):
        return False
    values = [value for head in heads for value in head.values]
    if sum(_SENTENCE.search(value) is not None for value in values) > 0.3 * len(values):
        return False
    common = set(heads[0].labels).intersection(*(head.labels for head in heads[1:]))
    if any(_ASKS.match(label) for label in common) or set(heads[-1].labels) < common:
        return False
    said = median([size(body) for body in bodies])
    if heads[0].labels[0] in _KNOWN:
        return said >= _LEAST_BODY or (len(common) > 1 and len(heads) >= _LEAST_RECORDS)
    if len(common) > 1:
        return said >= _LEAST_BODY or (len(common) > 2 and len(heads) >= _LEAST_RECORDS)
    if len(heads) < _LEAST_OTHER or any(not head.values[0] or size(head.values[0]) > 120 for head in heads):
        return False
    prose = sum(reads_as_prose(body) for body in bodies)
    return said >= _LEAST_PROSE and prose >= 0.8 * len(bodies) and len({head.values[0] for head in heads}) > 2


def _after(text: str, heads: Sequence[_Head]) -> list[Document]:
    """Make documents of the text before each head up to the one before it."""
    if heads[0].labels[0] not in _KNOWN:
        return []
    spans = []
    at = _first_start(text, heads)
    for head in heads:
        start = at + len(text[at : head.start]) - len(text[at : head.start].lstrip())
        spans.append((start, head.start, head.end))
        at = head.end
    if median([size(text[start:stop]) for start, stop, _ in spans]) < _LEAST_BODY:
        return []
    return [
        Document(start, end, head.title, ((start, start + len(text[start:stop].rstrip())),))
        for (start, stop, end), head in zip(spans, heads, strict=True)
    ]


def _first_start(text: str, heads: Sequence[_Head]) -> int:
    """Find where the text of the first head begins: as many paragraphs back as the others have at most."""
    before = paragraph_spans(text, 0, heads[0].start)
    most = max([len(paragraph_spans(text, a.end, b.start)) for a, b in pairwise(heads)], default=1)
    own = before[-most:] if most else before[-1:]
    while len(own) > 1 and size(text[slice(*own[0])]) <= SHORT_CHARS and text[own[0][1] - 1] in ":：?？.":
        own = own[1:]
    return own[0][0] if own else heads[0].start


def _last_end(text: str, begin: int, others: Sequence[int]) -> int:
    """Find where the last block ends: a short paragraph at the very end is the question."""
    found = paragraph_spans(text, begin, len(text))
    if len(found) < 2:
        return len(text)
    end = len(found)
    typical = max(others, default=0)
    while end > 1 and size(text[slice(*found[end - 1])]) <= SHORT_CHARS and not _is_body(text, found[end - 1]):
        end -= 1
        if found[-1][1] - found[end][0] > SHORT_CHARS or found[end - 1][1] - begin <= typical:
            break
    return found[end - 1][1]


def _is_body(text: str, span: tuple[int, int]) -> bool:
    """Tell whether a short paragraph is code or quoted: it goes on with what stands before it."""
    said = text[slice(*span)]
    return said.startswith((" ", "\t", ">", "}", ")", "```"))


# ---------------------------------------------------------------- files, hits


def pasted_files(text: str) -> list[Document]:
    """Locate what was pasted under lines that are nothing but a path."""
    marks: list[tuple[int, int, str]] = []
    fence = ""
    for start, end in lines(text, 0, len(text)):
        if end - start > 300:
            continue
        line = text[start:end]
        bare = line.strip()
        if fence:
            fence = "" if bare.startswith(fence) and not bare.strip(fence[0]) else fence
            continue
        if bare.startswith(("```", "~~~")):
            fence = bare[:3]
        elif ("." in bare or "/" in bare or "\\" in bare) and (found := _PATH.match(line)):
            marks.append((start, end, found["path"]))
    if len(marks) < 2 or len({path for _, _, path in marks}) < max(2, 0.6 * len(marks)):
        return []
    if stand_last(text, [(start, end) for start, end, _ in marks]):
        return []
    spans = []
    for at, (start, after, path) in enumerate(marks):
        last = at + 1 == len(marks)
        end = _end_of_file(text, after) if last else marks[at + 1][0]
        stop = start + len(text[start:end].rstrip())
        spans.append((start, min(after, stop), stop, path))
    bodies = [stop - after for _, after, stop, _ in spans]
    if median(bodies) < _LEAST_FILE or sum(bodies) < _LEAST_FILES_CHARS or min(bodies) < 8:
        return []
    if any("\n" not in text[a:b].strip() and b - a < 40 for _, a, b, _ in spans):
        return []
    return [
        Document(start, stop, path, (_inside_fence(text, after, stop),), 0, "code")
        for start, after, stop, path in spans
    ]


def _inside_fence(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out a fence around all of a file: it stays as long as the file does."""
    opening = _FENCED.match(text, start, end)
    closing = text.rfind("\n", start, end)
    if opening is None or not text[closing:end].strip().startswith(opening[1]) or closing <= opening.end():
        return start, end
    return opening.end(), closing


_FENCED = re.compile(r"\s{0,40}(`{3,}|~{3,})[^\n`]{0,100}\n")


def _end_of_file(text: str, begin: int) -> int:
    """Find where the last file ends: after its fence, or before short last paragraphs that are no code."""
    found = paragraph_spans(text, begin, len(text))
    if not found:
        return len(text)
    if text[slice(*found[0])].lstrip().startswith(("```", "~~~")):
        return found[0][1]
    end = len(found)
    while end > 1 and size(text[slice(*found[end - 1])]) <= SHORT_CHARS and _is_said(text[slice(*found[end - 1])]):
        end -= 1
    return found[end - 1][1]


def _is_said(paragraph: str) -> bool:
    """Tell whether a paragraph is a person's words and not code."""
    signs = sum(sign in "{}<>=;()[]|_\\" for sign in paragraph)
    return not paragraph.startswith((" ", "\t")) and signs <= max(2, 0.06 * len(paragraph))


def hits(text: str) -> list[Document]:
    """Locate paragraphs, or numbered entries, that each hold a line that is nothing but an address."""
    found = paragraph_spans(text, 0, len(text))
    entries = _numbered(text, found)
    spans = entries or found
    own = [span for span in spans if _has_address(text, span)]
    if len(own) < (2 if entries else 3) or len(own) < 0.6 * len(spans) or median([b - a for a, b in own]) < _LEAST_BODY:
        return []
    first, last = spans.index(own[0]), spans.index(own[-1])
    if len(own) < 0.8 * (last - first + 1):
        return []
    return [_hit(text, start, end) for start, end in spans[first : last + 1]]


def _hit(text: str, start: int, end: int) -> Document:
    """Make a document of a hit: its title and address stay as long as it does, wherever they stand."""
    title_end = _line_end(text, start, end)
    title, body = text[start:title_end].strip(" \t*#.0123456789)[]-")[:200], (title_end, end)
    for number, (first, last) in enumerate(lines(text, start, end)):
        if _is_address(text, first, last):
            body = (last, end) if number < _LINES_BEFORE_ADDRESS and end - last > last - start else (start, first)
            break
    return Document(start, end, title, (body,) if text[slice(*body)].strip() else ())


def _numbered(text: str, found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut at lines that begin with rising numbers; an entry ends where its paragraph does."""
    out: list[tuple[int, int]] = []
    wanted = 0
    for start, end in found:
        first = True
        for begin, stop in lines(text, start, end):
            mark = _HIT.match(text, begin, stop)
            number = int(mark[1]) if mark is not None and mark[1] else -1
            if number >= 0 and (number == wanted + 1 or not out):
                if not first and out:
                    out[-1] = (out[-1][0], begin)
                out.append((begin, end))
                wanted = number
            elif first and out and not reads_as_prose(text[start:end]) and _has_address(text, (start, end)):
                out[-1] = (out[-1][0], end)
            first = False
    return [(a, a + len(text[a:b].rstrip())) for a, b in out]


def _has_address(text: str, span: tuple[int, int]) -> bool:
    return any(_is_address(text, start, end) for start, end in lines(text, *span))


def _is_address(text: str, start: int, end: int) -> bool:
    if end - start >= _LONGEST_ADDRESS or ("://" not in (line := text[start:end]) and "www." not in line):
        return False
    return _ADDRESS.match(text, start, end) is not None


_LONGEST_ADDRESS, _LINES_BEFORE_ADDRESS = 600, 3


def _line_end(text: str, start: int, end: int) -> int:
    stop = text.find("\n", start, end)
    return end if stop < 0 else stop
