"""Sentences, clauses and words of a text in any language. Pure, and linear in the text.

Sentence ends are those of Unicode (UAX 29, the property Sentence_Break), which uniseg reads at 50 µs a character and
this module at well under one. It differs from the standard where a reader would: an abbreviation, an initial or the
number of a list ends no sentence, nor does a mark inside an address (`?q=1`); a Greek `;` does. A line always ends one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import Stemmer

# Unicode 16: Sentence_Break=STerm of scripts in use, without the ASCII marks, which stand in addresses and code too.
_STOPS = (
    "\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362\u1367\u1368"
    "\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5e\u1b5f"
    "\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047-\u2049\u2e2e\u2e3c\u2e53\u2e54\u3002\ua4ff\ua60e\ua60f"
    "\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe12\ufe15\ufe16"
    "\ufe56\ufe57\uff01\uff1f\uff61"
)
_POINTS = ".\u2024\ufe52\uff0e\u2026"
"""Sentence_Break=ATerm, and the ellipsis: what may stand inside a number or behind an abbreviation."""
_COMMAS = (
    "\u060c\u061b\u0703-\u070a\u070c\u07f8\u0830-\u0835\u0838\u083a-\u083c\u0f08\u0f0d-\u0f12\u1361\u1363-\u1366"
    "\u17d6\u1802\u1804\u1808\u1b5d\u1c3d-\u1c3f\u2e41\u2e4c\u2e4e\u3001\ua4fe\ua60d\ua6f4-\ua6f6\ua9c7\ufe10"
    "\ufe11\ufe13\ufe14\ufe50\ufe51\ufe54\ufe55\uff0c\uff1a\uff1b\uff64"
)
"""Terminal_Punctuation that ends no sentence, without the ASCII marks: they never stand inside a word."""
_CLOSERS = (
    "\"'*_`)\\]}\u00bb\u2019\u201d\u203a\u3009\u300b\u300d\u300f\u3011\u3015\u3017\u3019\u301b\u301e\u301f\ufd3e"
    "\uff09\uff3d\uff5d\uff60\uff63"
)
_LINE = "\n\r\x0b\x0c\x85\u2028\u2029"
UNSPACED = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Letters of scripts whose words are not spaced: Thai, Lao, Burmese, Khmer, Han, kana."""

_SPACES = rf"[^\S{_LINE}]*+"
# What may end a sentence, all that goes with it, and the white space behind: one way to match, so the time is linear.
_END = re.compile(rf"(?:(?P<stop>[{_POINTS}!?;\u037e{_STOPS}]++)[{_CLOSERS}]*+)?+{_SPACES}(?P<line>[{_LINE}]++)?+")
_CANDIDATE = re.compile(rf"[{_POINTS}!?;\u037e{_STOPS}{_LINE}]")
_STOP = re.compile(rf"[{_STOPS}]")
_UNSPACED = re.compile(rf"[{UNSPACED}]")
_THAI = "\u0e01-\u0eff"
# In turn: a mark of another script; an ASCII mark, a dash or a stop before white space; a space between Thai letters.
_CLAUSE = re.compile(
    rf"[{_COMMAS}{_STOPS}]++[{_CLOSERS}]*+\s*+|[,;:!?{_POINTS}\u2013\u2014-]++[{_CLOSERS}]*+\s*+|(?<=[{_THAI}])\s++(?=[{_THAI}])"
)

_NEXT_CHARS, _BEFORE_CHARS = 12, 14
_SHORT_WORD = 4
_VOWELS = frozenset("aeiouy")
# What stands before a name and has vowels, and so is not told by its form: of the suppressions that Unicode lists
# (CLDR, common/segments), those that seldom end a sentence.
_SHORT_FORMS = """\
abb abs adj adm alt anm approx apr apt asst aug ausg av ave bd betr bldg brig cap capt col comdr corp dec dept
dez dipl dir doc dott dra eds eng env est etw excl exp ext fam feb fig figs gen gov hon hptm inc incl ing inkl
insp jan kap lic lieut lt maj med messrs mill min mio mlle mme mons mult nov núm oct okt op ord pag prof
profa pág ref reg rep resp rev sen sep sept sig sog sra srta sta sto tab tel univ usw vol vols zit αρ κ νο σελ англ
г гг гл гор дол др им инж исп кв кор корп напр обл оз пгт пер пл пос пр просп проф разг род руб рус с св сек см соц
ст стр тел тыс ул чел
"""
_ABBREVIATIONS = frozenset(_SHORT_FORMS.split())


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into its sentences: spans that cover it, each with the white space that follows it.

    Nothing but white space is no sentence of its own: it goes with the sentence before it, at the start with the first.
    """
    start = at = 0
    held: tuple[int, int] | None = None
    """The span before, for as long as white space may still follow it."""
    blank = True
    while (found := _CANDIDATE.search(text, at)) is not None:
        end = _END.match(text, found.start())
        assert end is not None  # every part of it is optional
        blank = blank and text[at : end.end()].isspace()
        at = end.end()
        if blank or (end["line"] is None and not _ends(text, end)):
            continue
        if held is not None:
            yield held
        held, start, blank = (start, at), at, True
    if held is None:
        if text:
            yield 0, len(text)
        return
    if blank and (start == len(text) or text[start:].isspace()):
        held = (held[0], len(text))
        start = len(text)
    yield held
    if start < len(text):
        yield start, len(text)


def _ends(text: str, found: re.Match[str]) -> bool:
    """Tell whether a mark ends a sentence, by what stands around it."""
    marks, at, end = found["stop"], found.start(), found.end()
    if _STOP.search(marks):
        return True
    if end == len(text):
        return True
    before, after = text[max(0, at - _BEFORE_CHARS) : at], text[end : end + _NEXT_CHARS]
    if found.end("stop") == end or not text[end - 1].isspace():  # nothing but closers behind it: inside a word
        return _UNSPACED.match(after) is not None and _UNSPACED.match(before[-1:]) is not None
    if marks.strip(";\u037e") == "":  # a question in Greek alone
        return "\u0370" <= before[-1:] <= "\u03ff" or "\u1f00" <= before[-1:] <= "\u1fff"
    if "!" in marks or "?" in marks:
        return True
    letter = next((ch for ch in after if ch.isalpha()), "")
    if letter.islower():
        return False
    word = before.split()[-1].strip("([{\"'“„«¿¡*_`#") if before.strip() and not before[-1].isspace() else ""
    return marks != "." or not _is_shortened(word, after[:1])


def _is_shortened(word: str, following: str) -> bool:
    """Tell whether a point behind a word belongs to it: an abbreviation, an initial, the number of a list or a day."""
    if not word:
        return False
    last = word.rsplit(".", 1)[-1]
    if last.isdigit():
        return len(last) <= 2 and last == word
    if len(last) == 1:
        return last.isalpha() and not _UNSPACED.match(last)
    if not last.isalpha() or len(last) > _SHORT_WORD + 2:
        return False
    folded = last.casefold()
    if folded in _ABBREVIATIONS:
        return True
    if following.isdigit() and len(last) <= _SHORT_WORD:
        return not _UNSPACED.match(last)
    return len(last) <= _SHORT_WORD and not last.isupper() and last.isascii() and not _VOWELS & set(folded)


def clauses(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into its clauses: spans that cover it, each with the comma, colon or dash that ends it.

    No mark inside a word, a number or an address ends one (`3,5`, `12:30`, `well-known`).
    """
    start, size = 0, len(text)
    for found in _CLAUSE.finditer(text):
        end = found.end()
        if end >= size:
            break
        mark = text[found.start()]
        if mark in ",;:!?-–—" + _POINTS and not text[end - 1].isspace():
            continue
        if mark in "-–—" and not (found.start() and text[found.start() - 1].isspace()):
            continue
        if mark == "." and not _point_ends(text, found):
            continue
        yield start, end
        start = end
    if start < size:
        yield start, size


def _point_ends(text: str, found: re.Match[str]) -> bool:
    """Tell whether a point ends a clause: not behind an abbreviation."""
    before = text[max(0, found.start() - _BEFORE_CHARS) : found.start()]
    word = before.split()[-1] if before.strip() and not before[-1].isspace() else ""
    return not _is_shortened(word.strip("([{\"'"), text[found.end() : found.end() + 1])


# ---------------------------------------------------------------- which language

_STOP_WORDS = {
    "english": "the of and to is that it for was with as are be this have from you not but they his which or your",
    "german": "der die das und ist nicht ich ein eine zu den mit von auf für sich dem des im wie wir sie auch aber",
    "french": "le la les des et est une que qui dans pour pas sur ce je vous avec il elle nous du au mon cette sont",
    "spanish": "el la los las que y en un una es por con para no se del lo mi su como más pero qué está al cuándo",
    "portuguese": "o a os as que e em um uma é por com para não se do da no na meu minha você mais mas como está",
    "italian": "il lo la gli le di che e è un una per con non si del della mi mio sono come più ma nel quando alla",
    "dutch": "de het een en van is dat niet ik te op met voor zijn die aan er mijn wat ook maar heb bij naar wanneer",
    "swedish": "och att det som en är på av för med den till inte jag har om ett mitt min när vi var så kan men från",
    "danish": "og at det er en på af for med den til ikke jeg har om et mit min hvornår vi var så kan men fra der",
    "norwegian": "og at det er en på av for med den til ikke jeg har om et mitt min når vi var så kan men fra som",
    "finnish": "ja on ei se että hän minun oli kun mutta ole ovat niin kuin myös voi sen minä joka mitä milloin tai",
    "polish": "i w nie na się z do jest że to co jak o po ale mój moja kiedy dla czy od mnie przez są ten tego",
    "czech": "a se v na je že to s z do o i jako po ale ve jsem si můj moje kdy pro jsou který mi bylo",
    "turkish": "ve bir bu için de da ne ile var mı mi benim çok daha gibi ama olarak olan ben sen zaman nasıl değil",
    "romanian": "și în de la cu nu pe un o este că mai din care pentru sunt să se mea meu când ce au dar această",
    "hungarian": "a az és hogy nem egy is van ez azt mi ki meg csak már mikor én volt de ha mint vagy az",
    "indonesian": "yang dan di itu dengan untuk tidak ini dari dalam saya akan pada juga ke adalah apa kapan bisa",
    "catalan": "el la els les que i en un una és per amb no es del meu meva com més però quan aquest dels perquè",
}
_SAYS = {
    word: frozenset(name for name, words in _STOP_WORDS.items() if word in words.split())
    for word in sorted({word for words in _STOP_WORDS.values() for word in words.split()})
}
_WORD = re.compile(r"[^\W\d_]+")
_READ_CHARS, _LEAST_STOP_WORDS = 2_000, 2


def language_of(text: str) -> str:
    """Guess the language of a text in Latin letters by its commonest words; "" where they do not say.

    Close relatives are told apart by the words that only one of them has; the first in order wins a draw.
    """
    votes = dict.fromkeys(_STOP_WORDS, 0)
    for word in _WORD.findall(text[:_READ_CHARS].lower()):
        for name in _SAYS.get(word, ()):
            votes[name] += 1
    best = max(votes, key=votes.__getitem__)
    return best if votes[best] >= _LEAST_STOP_WORDS else ""


STEMMED = frozenset(_STOP_WORDS) - {"english"}
"""Languages in Latin letters whose endings are taken off words."""


def without_ending(word: str, language: str) -> str:
    """Take the ending off a word in small letters, by Snowball's rules for its language (Porter, 2001).

    Each word gets a stemmer of its own: it holds state, and several threads ask.
    """
    stemmed: str = Stemmer.Stemmer(language, 0).stemWord(word)
    return stemmed
