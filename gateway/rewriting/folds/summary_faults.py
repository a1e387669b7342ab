"""Faults of a text that a model gave for a summary: judged by kinds, so that nonsense enters in no language.

First by form (nothing, markup, our own notes, a transcript, code, repetition), then against its source (language,
vocabulary, named values, one message copied), then by how it speaks (of itself, to somebody), and last by a short
table of openings. Reasons hold nothing of the text. Pure; linear in the text and its source.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from gateway.conversation import Message
from gateway.rewriting.tongues import TONGUES, Speech, Tongue, is_unspaced, joined, speech_of, words_of
from gateway.values import distinct, is_value

MOST_CHARS: Final = 400_000
"""Characters of a source that are read, half of them from its end."""
LEAST_TERMS: Final = 6
"""Words, or pairs of letters in scripts without spaces, that a text needs to say anything."""
LEAST_WEIGHT: Final = 24
"""The same in letters, of which one of Chinese counts three."""
VALUES_SHARE: Final = 0.1
"""Of the source's named values, what a summary holds."""
TOKENS_PER_VALUE: Final = 20
"""Of the most tokens of a summary, what one named value is asked for at least: no list of ids is wanted."""
LEAST_OVERLAP: Final = 0.25
"""Of a summary's words, what its source says."""
OVERLAP_OF_SPEECH: Final = 0.5
"""Of a sentence that speaks of its speaker or to a hearer, what the source says where it is a record all the same."""
_SMALL: Final = 100
_MOST_SENTENCES: Final = 400


@dataclass(frozen=True)
class SummarySource:
    """The source that a summary is judged by."""

    messages: tuple[Message, ...]
    prompt: str = ""
    """The text that asked for the summary."""

    @cached_property
    def text(self) -> str:
        """All that is said in it, with calls."""
        texts = [
            text
            for message in self.messages
            for text in (message.name or "", message.text, *(f"{call.name} {call.arguments}" for call in message.calls))
        ]
        whole = "\n".join(texts)
        return whole if len(whole) <= MOST_CHARS else f"{whole[: MOST_CHARS // 2]}\n{whole[-MOST_CHARS // 2 :]}"

    @cached_property
    def speech(self) -> Speech:
        """The language that people speak in it; that of the others where they say too little."""
        for roles in ({"user"}, {"user", "assistant"}):
            said = joined([message.text for message in self.messages if message.role in roles])
            if (found := speech_of(said)).script is not None:
                return found
        return speech_of(self.text)

    @cached_property
    def terms(self) -> frozenset[str]:
        return frozenset(_terms(self.text))

    @cached_property
    def named(self) -> frozenset[str]:
        return named_values(self.text)


def form_fault(text: str, source: SummarySource, limit: int) -> str | None:
    """Say what is wrong with a text as a summary of at most so many tokens; None where it may stand."""
    checks = (_says_nothing, _is_marked_up, _is_like_ours, _is_transcript, _is_code, _repeats_itself)
    for check in checks:
        if (wrong := check(text, source)) is not None:
            return wrong
    if speech_of(text).is_other_than(source.speech):
        return "it is not in the language of its source"
    if (wrong := _is_strange(text, source) or _lacks_values(text, source, limit) or _is_copy(text, source)) is not None:
        return wrong
    return _speaks(text, source) or _opens_as_talk(text)


# ---------------------------------------------------------------- form


def _says_nothing(text: str, _source: SummarySource) -> str | None:
    if "\ufffd" in text or any(
        unicodedata.category(char) in ("Cc", "Co", "Cs", "Cn") for char in set(text) - {*"\n\r\t"}
    ):
        return "it holds characters that no text is written with"
    words = list(words_of(text))
    weight = sum(3 * len(word) if is_unspaced(word) else len(word) for word in words)
    terms = sum(max(1, len(word) - 1) if is_unspaced(word) else 1 for word in words)
    return "it is too short to say anything" if terms < LEAST_TERMS or weight < LEAST_WEIGHT else None


_TAG = re.compile(r"[<＜◁][|/｜]?\s?([^\W\d_][\w:.-]{0,40})[^<>＜＞\n]{0,80}[>＞▷]|\[/?(?:INST|THINK)\]", re.IGNORECASE)
_THINKS = re.compile(r"[<＜◁\[]\W{0,2}(?:\w+:)?(?:think|thought|reason|reflect|scratchpad|analysis)", re.IGNORECASE)


def _is_marked_up(text: str, source: SummarySource) -> str | None:
    """Find tags of thinking, and any that the source does not hold."""
    if _THINKS.search(text):
        return "it holds the model's thinking"
    if any(match[0] not in source.text for match in _TAG.finditer(text)):
        return "it holds markup that its source does not"
    return None


_BULLET = re.compile(r"^[\s>*_#•·\-–—\"'`]*(?:\d{1,3}[.)]\s+)?[*_\"'`]*")
_BOX = re.compile(r"\[[ xX✓]?\]\s|\[[^\]\n]{1,200}\]\(")
_BRACKET = ("[", "［", "【")
_SHAPE = re.compile(r"\[\s*(?:…|\.\.\.)")
_LABEL = re.compile(r"([^\W\d_][\w'’ .-]{0,29}?)\s*[*_]{0,2}\s*[:：]")
_ROLE_NAMES: Final = """
system developer user assistant tool function human ai bot gpt chatgpt claude chatbot
benutzer benutzerin nutzer nutzerin assistent assistentin werkzeug mensch
utilisateur utilisatrice système outil humain usuario usuaria asistente sistema herramienta humano
utente assistente strumento umano usuário usuária ferramenta gebruiker systeem
användare användaren assistenten verktyg bruger bruker käyttäjä avustaja
użytkownik asystent narzędzie człowiek uživatel systém utilizator felhasználó asszisztens
пользователь ассистент система помощник инструмент человек користувач асистент потребител
kullanıcı asistan sistem pengguna asisten
المستخدم المساعد النظام کاربر دستیار سیستم उपयोगकर्ता सहायक सिस्टम
用户 使用者 助手 助理 系统 系統 工具 人类 ユーザー ユーザ アシスタント システム ツール 사용자 어시스턴트 시스템 도구
ผู้ใช้ ผู้ช่วย ระบบ χρήστης βοηθός σύστημα משתמש עוזר מערכת
"""
_ROLES: Final = frozenset(_ROLE_NAMES.split())


def _lines(text: str) -> Iterator[str]:
    """Yield the lines without what lists and quotations begin them with."""
    for line in text.splitlines():
        bare = line[_end_of_bullet(line) :].strip()
        if bare:
            yield bare


def _end_of_bullet(line: str) -> int:
    match = _BULLET.match(line)
    return match.end() if match is not None else 0


def _is_like_ours(text: str, _source: SummarySource) -> str | None:
    """Find lines in brackets, as our notes are."""
    for line in _lines(text):
        if (line.startswith(_BRACKET) and _BOX.match(line) is None) or _SHAPE.search(line):
            return "it is shaped like a note of the gateway"
    return None


def _is_transcript(text: str, source: SummarySource) -> str | None:
    """Find lines that a role speaks, and speakers that come back."""
    said = [match[1].strip() for line in _lines(text) if (match := _LABEL.match(line)) is not None]
    labels = [label.casefold() for label in said]
    names = {message.name.casefold() for message in source.messages if message.name}
    for label, came in zip(labels, said, strict=True):
        words = set(label.split())
        if words <= _ROLES or (came.isupper() and words & _ROLES):
            return "it has lines that a role speaks"
    turns = [label for label, before in zip(labels, ["", *labels], strict=False) if label != before]
    again = [label for label, number in Counter(turns).items() if number > 1]
    if len(again) > 1 or any(label in names for label in again):
        return "it is a transcript"
    return None


_FENCES: Final = ("```", "~~~")
_OPENS = re.compile(
    r"(?:def|class|import|from|return|const|let|var|function|public|private|static|func|fn|package|using|if|for|while|"
    r"else|try|except|catch|assert|print|echo|SELECT|INSERT|CREATE|sudo|git|pip|npm|#include|#!)(?!\w)"
)
_ENDS = re.compile(r"[{};\\]$|[)\]}][;:,]?$|=>$")
_SIGN = re.compile(r"[{}\[\]=<>;$]")


def _is_code(text: str, _source: SummarySource) -> str | None:
    """Find text that is JSON, or mostly code."""
    bare = text.strip()
    prose, fenced = _without_fences(bare)
    if bare.startswith("{") or any(part.lstrip("json \n").startswith("{") for part in fenced):
        return "it is JSON"
    lines = [line.strip() for line in prose.splitlines() if line.strip()]
    coded = sum(_reads_as_code(line) for line in lines)
    mostly = sum(map(str.isalpha, prose)) * 2 < sum(map(str.isalpha, bare))
    return "it is code" if mostly or coded * 2 > len(lines) else None


def _without_fences(text: str) -> tuple[str, list[str]]:
    """Give a text without its fenced parts, and those; a fence that is never closed takes all that follows."""
    outside: list[str] = []
    parts: list[list[str]] = []
    is_open = False
    for line in text.splitlines():
        if line.lstrip().startswith(_FENCES):
            is_open = not is_open
            if is_open:
                parts.append([line.strip().lstrip("`~")])
        else:
            (parts[-1] if is_open else outside).append(line)
    return "\n".join(outside), ["\n".join(part) for part in parts]


def _reads_as_code(line: str) -> bool:
    opens, ends, signs = _OPENS.match(line), _ENDS.search(line), _SIGN.search(line)
    return bool((ends and (signs or opens)) or (opens and signs))


def _repeats_itself(text: str, source: SummarySource) -> str | None:
    """Find the same over and over, and the instruction given back."""
    terms = _in_order(text)
    grams = list(zip(terms, terms[1:], terms[2:], terms[3:], strict=False))
    if len(grams) >= 12 and len(set(grams)) < 0.6 * len(grams):
        return "it repeats itself"
    lines = Counter(line for line in _lines(text) if len(line) > 8)
    if any(number > 2 for number in lines.values()):
        return "it repeats itself"
    asked = _in_order(source.prompt[:MOST_CHARS])
    asked_grams = set(zip(asked, asked[1:], asked[2:], asked[3:], strict=False))
    if grams and sum(gram in asked_grams for gram in grams) > 0.3 * len(grams):
        return "it repeats what it was asked with"
    return None


# ---------------------------------------------------------------- against the source


def _is_strange(text: str, source: SummarySource) -> str | None:
    """Weigh how much of what it says the source speaks of."""
    return "it is not about its source" if _overlap(text, source) < LEAST_OVERLAP else None


def _overlap(text: str, source: SummarySource) -> float:
    """Give the share of a text's terms that its source says; 1 where it has none."""
    terms = set(_terms(text))
    return len(terms & source.terms) / len(terms) if terms else 1.0


def _lacks_values(text: str, source: SummarySource, limit: int) -> str | None:
    """Ask for a tenth of the named values, rounded, and for no more than a summary of this length can hold."""
    least = min(int(VALUES_SHARE * len(source.named) + 0.5), max(1, limit // TOKENS_PER_VALUE))
    if least == 0:
        return None
    folded, held = text.casefold(), named_values(text)
    number = sum(value in held or (len(value) > 4 and value in folded) for value in source.named)
    return f"it holds {number} of {len(source.named):,} named values" if number < least else None


def named_values(text: str) -> frozenset[str]:
    """Collect the values of a text, folded to lower case, without numbers under a hundred."""
    return frozenset(piece.casefold() for value in distinct(text) for piece in _pieces(value) if not _is_small(piece))


_SPACED_PIECE = re.compile(r"[\x21-\x7e\u00c0-\u024f\u0370-\u052f]+")


def _pieces(value: str) -> Iterator[str]:
    """Cut a value out of words that are not parted from it by spaces."""
    if value.isascii() or not any(is_unspaced(char) for char in value):
        yield value
        return
    for match in _SPACED_PIECE.finditer(value):
        if is_value(match[0]):
            yield match[0]


def _is_small(value: str) -> bool:
    digits = value.strip("#.%+-~/,:")
    return digits.isdecimal() and len(digits) <= 4 and int(digits) < _SMALL


def _is_copy(text: str, source: SummarySource) -> str | None:
    """Find one message, of several, that is given back nearly word for word."""
    said = [message.text[:MOST_CHARS] for message in source.messages if message.text]
    if len(said) < 3:
        return None
    grams = _shingles(_in_order(text))
    if not grams:
        return None
    whole = sum(map(len, said))
    for other in said:
        if 2 * len(other) < whole and len(grams & _shingles(_in_order(other))) > 0.8 * len(grams):
            return "it repeats one message"
    return None


def _shingles(terms: Sequence[str]) -> set[tuple[str, ...]]:
    return set(zip(terms, terms[1:], terms[2:], strict=False))


# ---------------------------------------------------------------- how it speaks

_QUOTED = re.compile(
    r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”|«[^»\n]{1,300}»|„[^“”\n]{1,300}[“”]|「[^」\n]{1,300}」|`[^`\n]{1,300}`"
)
_END = re.compile(r"(?<=[.!?…])[\"'”»)*_]*\s+|(?<=[。！？؟।])[」』”)]*\s*|\n+")
_ASKS = re.compile(r"[?？؟;՞]\W*$|(?:か|吗|嗎|呢)[。．.]?\W*$")
_CALLS = re.compile(r"[!！]\W*$")
_ACTS = re.compile(r"(?:^|\n)\s*[*（(][^\s*][^*\n]{1,80}[^\s*][*）)]")


def first_sentences(text: str) -> list[str]:
    """Cut a text into its first sentences, as many as are looked at, without what it quotes."""
    found = _END.split(_QUOTED.sub('""', text), maxsplit=_MOST_SENTENCES)
    return [sentence.strip() for sentence in found if sentence.strip()]


def _speaks(text: str, source: SummarySource) -> str | None:
    """Find who answers instead of recording: speaks of himself or to somebody, asks, greets, plays a part."""
    said = first_sentences(text)
    if not said:
        return None
    if _ACTS.match(text) and text.lstrip()[0] in "*（(":
        return "it plays a part"
    tongue = _tongue_of(text, source)
    asks = [sentence for sentence in said if _ASKS.search(sentence)]
    if len(asks) * 2 > len(said):
        return "it asks instead of recording"
    for edge in dict.fromkeys((said[0], said[-1])):
        if _is_talk(edge, tongue, source, is_first=edge is said[0], is_only=len(said) == 1):
            return "it speaks to somebody instead of recording"
    to_you = sum(_says(sentence, tongue.hearer) for sentence in said)
    if to_you * 2 >= len(said) and not (len(said) == 1 and _overlap(said[0], source) >= OVERLAP_OF_SPEECH):
        return "it speaks to somebody instead of recording"
    return None


def _is_talk(sentence: str, tongue: Tongue, source: SummarySource, *, is_first: bool, is_only: bool) -> bool:
    known = _overlap(sentence, source)
    if _ASKS.search(sentence) and (_says(sentence, tongue.hearer) or known < OVERLAP_OF_SPEECH):
        return True
    if _CALLS.search(sentence) and known < OVERLAP_OF_SPEECH:
        return True
    if is_first and not is_only and sentence.endswith((":", "：")) and known < LEAST_OVERLAP:
        return sum(1 for _ in words_of(sentence)) > _MOST_LABEL_WORDS
    if _says(sentence, tongue.speaker) and known < OVERLAP_OF_SPEECH:
        return True
    return _says(sentence, tongue.hearer) and (is_first or known < OVERLAP_OF_SPEECH)


_MOST_LABEL_WORDS: Final = 4


def _tongue_of(text: str, source: SummarySource) -> Tongue:
    code = speech_of(text).code or source.speech.code
    return TONGUES.get(code or "", Tongue(""))


def _says(sentence: str, pronouns: AbstractSet[str]) -> bool:
    """Whether a sentence holds one of the pronouns: as a word, or anywhere where words are not parted."""
    if not pronouns:
        return False
    if any(is_unspaced(word) for word in pronouns):
        return any(word in sentence for word in pronouns)
    return any(word in pronouns for word in _joint_words(sentence))


_JOINT = re.compile(r"-(?=[^\W\d_])")


def _joint_words(sentence: str) -> Iterator[str]:
    """Yield words, those with a hyphen as one: a rendez-vous speaks to nobody."""
    return words_of(_JOINT.sub("'", sentence))


_OPENINGS: Final = (
    *("sure", "of course", "certainly", "absolutely", "okay", "ok", "here is", "here's", "here are", "i'm sorry"),
    *(
        "i am sorry",
        "sorry",
        "i apologize",
        "i apologise",
        "i can't",
        "i cannot",
        "i'm unable",
        "i am unable",
        "as an ai",
    ),
    *("as a large language", "as a language model", "i'd be happy", "i'm happy to", "i don't have", "i do not have"),
    *("thank you", "thanks for", "got it", "understood", "no problem", "great question", "please provide", "let me"),
    *("unfortunately, i", "i will", "i'll", "happy to help", "there is no conversation", "no conversation"),
    *(
        "natürlich",
        "gerne",
        "gern",
        "klar",
        "selbstverständlich",
        "hier ist",
        "hier sind",
        "es tut mir leid",
        "tut mir leid",
    ),
    *("entschuldigung", "leider kann ich", "als ki", "als sprachmodell", "ich kann", "vielen dank", "verstanden"),
    *(
        "bien sûr",
        "voici",
        "je suis désolé",
        "désolé",
        "en tant qu'",
        "en tant que mod",
        "je ne peux",
        "malheureusement, je",
    ),
    *("certainement", "d'accord", "avec plaisir", "merci"),
    *(
        "claro",
        "por supuesto",
        "aquí tienes",
        "aquí está",
        "lo siento",
        "como modelo",
        "como ia",
        "lamento",
        "no puedo",
    ),
    *("entendido", "con gusto", "desde luego", "gracias"),
    *("certo", "certamente", "ecco", "mi dispiace", "come modello", "in quanto", "non posso", "purtroppo non posso"),
    *("com certeza", "aqui está", "desculpe", "sinto muito", "como um modelo", "como uma ia", "não posso", "obrigado"),
    *("natuurlijk", "zeker", "hier is", "het spijt me", "als ai", "als taalmodel", "ik kan", "graag gedaan"),
    *("självklart", "visst", "här är", "jag är ledsen", "tyvärr", "som en ai", "jag kan", "selvfølgelig", "beklager"),
    *(
        "undskyld",
        "jeg kan",
        "her er",
        "oczywiście",
        "jasne",
        "oto",
        "przepraszam",
        "przykro mi",
        "niestety",
        "jako model",
    ),
    *("nie mogę", "samozřejmě", "omlouvám se", "bohužel", "zde je", "jako jazykový", "desigur", "îmi pare rău", "iată"),
    *("persze", "természetesen", "sajnálom", "sajnos nem", "íme", "totta kai", "valitettavasti", "olen pahoillani"),
    *(
        "tabii",
        "elbette",
        "üzgünüm",
        "maalesef",
        "bir yapay zeka",
        "işte",
        "tentu",
        "baik",
        "maaf",
        "berikut",
        "sebagai ai",
    ),
    *("chắc chắn", "xin lỗi", "rất tiếc", "dưới đây", "là một mô hình", "tôi không thể", "vâng"),
    *("конечно", "вот", "извините", "простите", "к сожалению", "как языковая модель", "как ии", "я не могу", "хорошо"),
    *("звичайно", "вибачте", "на жаль", "ось", "разбира се", "съжалявам", "ето"),
    *("بالطبع", "بالتأكيد", "إليك", "آسف", "عذرا", "عذرًا", "أعتذر", "كنموذج", "لا أستطيع", "لا يمكنني", "حسنا", "حسنًا"),
    *("متأسفم", "متاسفم", "البته", "حتما", "ज़रूर", "जरूर", "माफ़", "माफ", "क्षमा", "मुझे खेद", "यहाँ", "एक एआई", "बिल्कुल"),
    *("φυσικά", "βεβαίως", "λυπάμαι", "συγγνώμη", "ορίστε", "כמובן", "בוודאי", "מצטער", "הנה", "סליחה"),
)
_UNSPACED_OPENINGS: Final = (
    *(
        "好的",
        "当然",
        "當然",
        "抱歉",
        "对不起",
        "對不起",
        "很抱歉",
        "非常抱歉",
        "作为一个",
        "作为ai",
        "作为人工",
        "作为语言",
    ),
    *("以下是", "我无法", "我不能", "我無法", "没问题", "您好", "你好", "谢谢", "感谢", "可以的", "明白了"),
    *(
        "申し訳",
        "すみません",
        "ごめん",
        "もちろん",
        "はい",
        "承知",
        "かしこまり",
        "以下は",
        "以下に",
        "了解",
        "ありがとう",
        "aiとして",
    ),
    *("죄송", "물론", "네,", "네!", "네.", "알겠", "다음은", "인공지능", "ai로서", "안녕하세요", "감사합니다", "미안"),
    *("แน่นอน", "ขออภัย", "ขอโทษ", "ได้ครับ", "ได้ค่ะ", "นี่คือ", "ในฐานะ"),
)


def _opens_as_talk(text: str) -> str | None:
    """Find the openings that models are known for; the last test, and the only one of phrases."""
    start = text[_end_of_bullet(text) :][:80].casefold().replace("’", "'").lstrip(" ¡¿\"'“«")
    for opening in _OPENINGS:
        if start.startswith(opening) and not start[len(opening) : len(opening) + 1].isalpha():
            return "it opens as an answer does"
    return "it opens as an answer does" if start.startswith(_UNSPACED_OPENINGS) else None


# ---------------------------------------------------------------- terms

_CLITICS = ("وال", "فال", "بال", "كال", "ال")
_STEM: Final = 5


def _terms(text: str) -> Iterator[str]:
    """Yield what a text speaks of: stems of the words that are not common ones, pairs of letters, longer numbers."""
    for word in words_of(text):
        if is_unspaced(word):
            yield from (word[at : at + 2] for at in range(len(word) - 1))
        elif word not in _COMMON and (len(word) > 2 or not word.isascii()):
            yield _stem(word)
    yield from _NUMBER.findall(text)


_NUMBER = re.compile(r"(?<!\d)\d{3,20}(?!\d)")
_COMMON: Final = frozenset(
    word for tongue in TONGUES.values() for word in tongue.common | tongue.speaker | tongue.hearer
)


def _stem(word: str) -> str:
    for clitic in _CLITICS:
        if word.startswith(clitic) and len(word) > len(clitic) + 2:
            word = word[len(clitic) :]
            break
    return word[:_STEM]


def _in_order(text: str) -> list[str]:
    """List the words of a text as they come; letters where words are not parted."""
    out: list[str] = []
    for word in _TOKEN.findall(text.casefold()):
        out += list(word) if is_unspaced(word) else [word]
    return out


_TOKEN = re.compile(r"[^\W_]+")
