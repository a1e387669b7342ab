r"""Values in a text: ids, numbers, dates, amounts, paths, addresses, names out of code. The rest is prose.

A later step can write prose again, but not a value that it cannot see any more. Pure: told from the characters alone,
in time linear in the text. Text that is JSON is read as it stands: what is escaped in it (`\n`, `\u00e9`) parts values
and belongs to none, so that the same values are found in a text and in its JSON.

A number of one or two digits is a value with its unit: a month, a currency, a measure (`2 July`, `5 EUR`, `3 kg`). In
scripts that do not space their words, a run of letters is prose; its dates and amounts, and the ids in it, are values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_MONTHS = (
    "january february march april may june july august september october november december"
    " jan feb mar apr jun jul aug sep sept oct nov dec januar februar märz maerz mai juni juli oktober dezember okt dez"
    " janvier février mars avril juin juillet août septembre octobre novembre décembre"
    " enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
    " gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre"
    " janeiro fevereiro março maio junho julho setembro outubro novembro dezembro"
    " januari februari maart augustus maj augusti marts stycznia lutego marca kwietnia maja czerwca lipca"
    " sierpnia września października listopada grudnia ledna února března dubna května června července srpna září"
    " října listopadu"
    " prosince ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık"
    " января февраля марта апреля мая июня июля августа сентября октября ноября декабря"
    " січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня"
    " يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر"
    " जनवरी फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर"
)
_NAMES_OF_MONTHS = frozenset(_MONTHS.split())
_MEASURES_AND_CURRENCIES = (
    "mm cm dm m km mg g kg t ml cl l ms s min h kb mb gb tb kib mib gib kw w v a hz khz mhz ghz °c °f px pt"
    " € $ £ ¥ ₹ ₩ ₽ ₺ zł kč kr usd eur gbp chf jpy cny inr pln czk sek nok dkk cad aud brl mxn krw try zar rub"
    " euro euros dollars"
)
_MEASURES = frozenset(_MEASURES_AND_CURRENCIES.split())
"""Units as the world writes them; of currencies the codes (ISO 4217) of those most used, any other in capitals."""
_CURRENCY = "$€£¥₹₩₽₺"
_UNSPACED = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Letters of scripts whose words are not spaced: Thai, Lao, Burmese, Khmer, Han, kana."""
_NUMERALS = "\\d〇零一二三四五六七八九十百千万萬億亿两兩"
_UNITS = "年月日号號時时点點分秒歳岁元円圆圓块塊個个人名本枚回次度天週周章頁页楼樓階号室%％"
_CLEAR_UNITS = frozenset("年月日号號元円圆時时")
"""Units that numerals in letters are an amount with; with others they are words (`十分`, `一点`)."""

# An escape of JSON, a short number with what may be its unit, a URL, or a run of what holds names, paths, dates and
# amounts together. Inside a run nothing is tried twice.
_WHOLE_WORD = r"(?![\w%:/@+#-]|[.,]\w)"
_RUN = re.compile(
    r"\\(?:[nrt\\\"]|u[\da-fA-F]{4})"
    rf"|[{_CURRENCY}] ?\d{_WHOLE_WORD}"
    rf"|\d{{1,2}}\.? (?:de )?(?:[^\W\d_]{{1,12}}|[°{_CURRENCY}]C?){_WHOLE_WORD}"
    rf"|[A-Z][A-Za-z]{{2,8}} \d{{1,2}}{_WHOLE_WORD}"
    r"|https?://[^\s\"'<>)\]},`\\]+"
    r"|[#~./]{0,3}\w(?:[\w.%:/@+,#-]*[\w%])?"
)
_BEFORE_UNIT = re.compile(r"(\d{1,2})\.? (?:de )?(\D+)\Z")
_AFTER_UNIT = re.compile(r"([A-Z][A-Za-z]+) (\d{1,2})\Z")
_GAP = re.compile(rf"[\"'<>)\]}}`\n\r\t]|(?<![\w.{_CURRENCY}])\s")
"""Characters that stand inside no run."""
_AT_ONCE_CHARS = 65_536
"""Characters that are searched in one go: other threads wait until the search returns."""
_HUMP = re.compile(r"[a-z\d][A-Z]|[A-Z][a-z]+[A-Z]|[A-Z]{3}")
_JOINED = re.compile(r"\w[_@]\w|\w::\w|\w\.[a-zA-Z_]\w|\A(?:~|\.{1,2})/\w|/[^/]+/")
_AMOUNT = rf"[{_NUMERALS}]{{1,16}}[{_UNITS}](?:[{_NUMERALS}]{{1,16}}[{_UNITS}]){{0,6}}"
_WHOLE_AMOUNT = re.compile(_AMOUNT)
_AMOUNT_OR_OTHER = re.compile(rf"{_AMOUNT}|[^{_UNSPACED}]+")
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_LONGEST_CHARS = 400
_LEAST_CHARS = 2
_REMEMBERED_CHARS = 64
"""Runs up to this long are remembered; what is longer hardly comes twice, and its length would be the caller's."""


def values(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, value) of each value, in order."""
    for match in _RUN.finditer(text):
        for value, at in _values_of(match[0]):
            start = match.start() + at
            yield start, start + len(value), value


def distinct(text: str) -> set[str]:
    """Return the values of a text, each once: half the price of going through all of them."""
    runs: set[str] = set()
    at = 0
    while at < len(text):
        gap = _GAP.search(text, at + _AT_ONCE_CHARS)
        end = len(text) if gap is None else gap.start()
        runs.update(_RUN.findall(text, at, end))
        at = end
    return {value for run in runs for value, _ in _values_of(run)}


def _values_of(run: str) -> tuple[tuple[str, int], ...]:
    return _remembered(run) if len(run) <= _REMEMBERED_CHARS else tuple(_parts(run))


@lru_cache(32_768)
def _remembered(run: str) -> tuple[tuple[str, int], ...]:
    return tuple(_parts(run))


def _parts(run: str) -> Iterator[tuple[str, int]]:
    """Cut a run at commas that do not stand inside a number; yield what is a value, with its place in the run."""
    if run[0] == "\\":
        return
    if " " in run:
        yield from _with_unit(run)
        return
    if not run.isascii() and _UNSPACED_LETTER.search(run):
        yield from _of_unspaced(run)
        return
    at = 0
    for part in (run,) if run.startswith("http") else re.split(r",(?!\d{3}(?!\d))", run):
        if is_value(part):
            yield part, at
        at += len(part) + 1


def _with_unit(run: str) -> Iterator[tuple[str, int]]:
    """Yield a short number with its unit; where the word beside it is none, what each of the two is by itself."""
    if run[0] in _CURRENCY or _is_unit(run):
        yield run, 0
        return
    first, _, last = run.partition(" ")
    for part, at in ((first.rstrip("."), 0), (last.rpartition(" ")[2], run.rfind(" ") + 1)):
        if is_value(part):
            yield part, at


def _is_unit(run: str) -> bool:
    """Tell whether the word beside a number is a month, a measure or a currency."""
    found = _BEFORE_UNIT.match(run)
    if found is None:
        found = _AFTER_UNIT.match(run)
        word = found[1] if found is not None else ""
        return word.lower() in _NAMES_OF_MONTHS or (len(word) == 3 and word.isupper())
    word = found[2].strip()
    return word.lower() in _NAMES_OF_MONTHS or word.lower() in _MEASURES or (len(word) == 3 and word.isupper())


def _of_unspaced(run: str) -> Iterator[tuple[str, int]]:
    """Yield what is a value in letters that are not spaced: amounts and dates, and ids of other letters."""
    for found in _AMOUNT_OR_OTHER.finditer(run):
        part = found[0].rstrip("./:@+,#-")
        lead = len(part) - len(part.lstrip("/:@+,-"))
        part = part[lead:]
        if is_value(part):
            yield part, found.start() + lead


def is_value(word: str) -> bool:
    """Whether a word is one that prose does not hold: a digit, an inner capital, or an inner joint gives it away."""
    if not _LEAST_CHARS <= len(word) <= _LONGEST_CHARS:
        return False
    if not word.isascii() and _UNSPACED_LETTER.search(word):
        return _is_amount(word)
    if any(map(str.isdigit, word)):
        return True
    return bool(_HUMP.search(word) or _JOINED.search(word))


def _is_amount(word: str) -> bool:
    """Tell a date or an amount from a word that begins with a numeral."""
    if _WHOLE_AMOUNT.fullmatch(word) is None:
        return False
    units = [letter for letter in word if letter in _UNITS]
    return len(units) > 1 or units[0] in _CLEAR_UNITS or any(map(str.isdigit, word))
