"""Law 15. A note of ours says only what is so: counts, names, speakers; and nothing is cut inside a word or number."""

import html
import json
import re

from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.leaving import Leaving, quotations, rewritten, unquoted

COUNTS = re.compile(r"\[… (\d[\d,]*) messages?(?:, ([\d,]+) tokens)? left out")
ADVICE = re.compile(
    r"(?i)\b(call|again|please|only|all|every|relevant|complete|everything|nothing|ask|see|use|repeat)\b"
)
NUMBERS = re.compile(r"\s*(?:\[([\d, ]+)\]|messages\[(\d+)\]) ([^\x00]*?): ?")
CELL = re.compile(r'[,;\n:›=().|…{}<>\[\]"\\]')
MOST_NAMES = 12
PAIR = re.compile(r"\\+(u[dD][89abAB][\da-fA-F]{2})\\+(u[dD][c-fC-F][\da-fA-F]{2})")
"""A character beyond the first 65,536, as JSON escapes it."""
TAG = re.compile(r"<[^<>]*>")
SPACES = re.compile(r"\s+")
UNSPACED = 0x2E80
"""From this character on, scripts write words without spaces between them, mostly."""


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    for leaving in rewritten(walk):
        check_counts(leaving)
        for text in leaving.ours:
            check_wording(text)
            check_quotations(leaving, text)
        for number in leaving.standing:
            if not leaving.is_whole(number):
                check_altered(leaving, number)


def check_counts(leaving: Leaving) -> None:
    """Hold the numbers in our notes to adding up to what is missing."""
    notes = [note for text in leaving.ours if (note := COUNTS.match(text)) is not None]
    if notes:
        gone = [n for n in leaving.missing if not oracle.is_example(leaving.came[n])]
        assert sum(int(note[1].replace(",", "")) for note in notes) == len(gone), "messages"
        assert sum(int(note[2].replace(",", "")) for note in notes) == sum(map(leaving.tokens, gone)), "tokens"


def check_wording(text: str) -> None:
    """Hold our own words to giving no advice and claiming nothing of what is not there."""
    first, _, rest = text.partition("\n")
    assert not ADVICE.search(first)
    for line in unquoted(rest).split("\n"):
        said = NUMBERS.sub("", line)
        assert not ADVICE.search(said), "advice, or a claim"


def check_quotations(leaving: Leaving, text: str) -> None:
    """Hold each quotation to standing in a message of its number, said by its speaker, cut at the edges of words."""
    for numbers, who, pieces in quotations(text.partition("\n")[2]):
        assert all(number < leaving.upto for number in numbers)
        for number in numbers:
            assert is_speaker(leaving, number, who), (who, number)
        said = [text for number in numbers for text in sayings(leaving, number)]
        said += [name for number in numbers for _, name, _ in oracle.calls(leaving.came[number])]
        for piece in map(bare, pieces):
            whole = any(ENCODED.search(piece) or stands(piece, text) or is_lines(piece, text) for text in said)
            parts = (names(piece), cells(piece))
            assert whole or any(
                listed and all(any(stands(part, text) for text in said) for part in listed) for listed in parts
            ), piece


def bare(piece: str) -> str:
    """Leave out the marks that say that a sentence is cut."""
    return piece.removeprefix("… ").removesuffix(" …")


def names(piece: str) -> list[str]:
    """Give the words of a piece that has few: the names on the way to a member, or the attributes of an element."""
    found = [word for word in re.split(r"[\s=()]+", piece) if word]
    return found if len(found) <= MOST_NAMES else []


def is_lines(piece: str, said: str) -> bool:
    """Tell whether a piece is lines of a text one after another, perhaps with others between them: of a listing."""
    left = piece
    for line in map(str.strip, _unescaped(said).split("\n")):
        if line and left.startswith(line) and not left[len(line) : len(line) + 1].strip():
            left = left[len(line) :].lstrip()
    return not left


def cells(piece: str) -> list[str]:
    """Give the fields of a row or a call as a list writes it, or those of a table."""
    return [said for cell in CELL.split(piece) if (said := cell.strip(" '`*_#"))]


def sayings(leaving: Leaving, number: int) -> list[str]:
    """Give what a message says: its text and its calls, every string inside of them, and markup without its tags."""
    message = leaving.came[number]
    texts = [oracle.content_text(message), *[arguments for _, _, arguments in oracle.calls(message)]]
    texts += [said for text in texts for said in _strings(text, 3)]
    return [*texts, *[html.unescape(TAG.sub("", text)) for text in texts if "<" in text]]


def _strings(text: str, deep: int) -> list[str]:
    if not deep or text.lstrip()[:1] not in ("{", "[", '"'):
        return []
    try:
        todo, out = [json.loads(text, strict=False)], list[str]()
    except ValueError:
        return []
    while todo:
        match todo.pop():
            case str() as said:
                out += [said, *_strings(said, deep - 1)]
            case dict() as members:
                todo += members.values()
            case list() as members:
                todo += members
    return out


def is_speaker(leaving: Leaving, number: int, who: str) -> bool:
    """Tell whether a message is its speaker's: by role, name, or tool and file."""
    message = leaving.came[number]
    said = {message["role"], message.get("name"), message.get("x_tool"), f"{message['role']} {message.get('name')}"}
    said |= {"output"} if message["x_kind"] == "result" else set()  # a tool's, in a user message
    return who in said or who.split(" ", maxsplit=1)[0] in said or who == "…"


def stands(piece: str, said: str) -> bool:
    """Tell whether a piece stands in a text, cut at the edges of words; white space and escapes may differ."""
    spaced = not any(one.isalpha() and ord(one) >= UNSPACED for one in piece)
    for text in (said, _unescaped(said), _unescaped(said).replace("\\", "")):
        if _stands(
            SPACES.sub(" " * spaced, piece if "\\" in text else piece.replace("\\", "")).strip(),
            SPACES.sub(" " * spaced, text),
        ):
            return True
    return False


def _unescaped(said: str) -> str:
    said = said.replace("\\n", "\n").replace("\\t", "\t").replace("\\xa0", "\xa0")
    if "\\u" in said:
        said = PAIR.sub(lambda found: json.loads(rf'"\{found[1]}\{found[2]}"'), said)
    return re.sub(r'\\(["\\/])', r"\1", said)


def _stands(piece: str, said: str) -> bool:
    at = said.find(piece)
    while at >= 0:
        before, after = said[at - 1 : at] + piece[:1], piece[-1:] + said[at + len(piece) :][:1]
        if not (_joins(before) or _joins(after)):
            return True
        at = said.find(piece, at + 1)
    return False


def _joins(two: str) -> bool:
    """Tell whether two characters are of one word or number; scripts without spaces have words of any length."""
    return len(two) == 2 and all(one.isalnum() and ord(one) < UNSPACED for one in two)


STUB = re.compile(r'\[result(?: of (\S+))?: ([\d,]+) tokens left out(?:; began (".*")( …)?)?\]')
POINTER = re.compile(r"\[(?:same )?as (?:the later result of (\S+), call ([^\],]+)|a later result)")
ENCODED = re.compile(r"\[… [\d,]+ characters …\]")
MARKS = re.compile(r"\[… [^\n\]]*\]|\[…\]|…|\[[a-z]+ \d+ left out[^\]]*\]")
LINES = re.compile(r"\n\[… ([\d,]+) of ([\d,]+) (\w+) left out\]\Z")


def check_altered(leaving: Leaving, number: int) -> None:
    """Hold the notes inside a message that is shorter to being true."""
    was, now = oracle.content_text(leaving.came[number]), oracle.content_text(leaving.standing[number])
    if was == now:
        return
    if stub := STUB.fullmatch(now):
        assert int(stub[2].replace(",", "")) == leaving.walk.count(was)
        if stub[3]:
            assert stands(json.loads(stub[3]), was), "how it began"
    elif pointer := POINTER.match(now):
        later = [m for m in leaving.went if m.get("x_id", -1) > number and m.get("tool_call_id") == pointer[2]]
        assert later, "a pointer to nothing"
        return
    elif lines := LINES.search(now):
        gone, total = (int(lines[place].replace(",", "")) for place in (1, 2))
        assert 0 < gone < total
        if lines[3] == "lines" and not was.lstrip().startswith(("{", "[")):
            assert total <= was.count("\n") + 1
    if leaving.came[number]["x_kind"] == "said":
        for piece in (line for part in MARKS.split(now) for line in part.split("\n")):
            assert not piece.strip() or stands(piece, was), piece
