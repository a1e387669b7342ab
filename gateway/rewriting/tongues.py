"""The language of a text, told from its script and then from its commonest words. Deterministic and linear.

Short, mixed or unknown text has no language: nothing is concluded from it. The table holds closed classes of words, the
ones that every text of a language is full of, and the pronouns by which a speaker speaks of himself and to another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MOST_CHARS: Final = 40_000
"""Characters of a text that are looked at, half of them from its end."""
LEAST_LETTERS: Final = 12
_LEAST_HITS, _LEAST_SHARE, _LEAD = 2, 0.08, 1.25
_CODE = re.compile(r"```[^`]*```|`[^`\n]*`|https?://\S+")
# Letters, with the marks of scripts that write vowels as marks; those are no `\w`.
_LETTER = (
    r"(?:[^\W\d_]|[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0971-\u0dff"
    r"\u0e31-\u0e4e\u0eb1-\u0ece\u102b-\u103f\u17b4-\u17d3])"
)
_WORD = re.compile(rf"{_LETTER}+(?:['’]{_LETTER}+)*")

# First and last letter of each range that a script has; what stands in none is `other`.
_RANGES: Final = (
    (0x0041, 0x024F, "latin"),
    (0x1E00, 0x1EFF, "latin"),
    (0x0370, 0x03FF, "greek"),
    (0x0400, 0x052F, "cyrillic"),
    (0x0530, 0x058F, "armenian"),
    (0x0590, 0x05FF, "hebrew"),
    (0x0600, 0x077F, "arabic"),
    (0x0900, 0x097F, "devanagari"),
    (0x0980, 0x09FF, "bengali"),
    (0x0A00, 0x0A7F, "gurmukhi"),
    (0x0A80, 0x0AFF, "gujarati"),
    (0x0B80, 0x0BFF, "tamil"),
    (0x0C00, 0x0C7F, "telugu"),
    (0x0C80, 0x0CFF, "kannada"),
    (0x0D00, 0x0D7F, "malayalam"),
    (0x0E00, 0x0E7F, "thai"),
    (0x0E80, 0x0EFF, "lao"),
    (0x1000, 0x109F, "burmese"),
    (0x10A0, 0x10FF, "georgian"),
    (0x1200, 0x137F, "ethiopic"),
    (0x1780, 0x17FF, "khmer"),
    (0x3040, 0x30FF, "kana"),
    (0x3400, 0x9FFF, "han"),
    (0xAC00, 0xD7AF, "hangul"),
    (0x20000, 0x3FFFF, "han"),
)
_KANA_SHARE: Final = 0.05
_UNSPACED_WEIGHT: Final = 3
"""A letter of Chinese is half a word, and names in Latin letters stand between them."""
UNSPACED: Final = frozenset({"han", "kana", "hangul", "thai", "lao", "burmese", "khmer"})
"""Scripts whose words are not parted by spaces, or carry so much at their ends that pairs of letters say more."""
NO_WORDS: Final = UNSPACED - {"hangul"}
"""Scripts in which a length is given in characters."""
_ALONE: Final = {
    "greek": "el",
    "hebrew": "he",
    "hangul": "ko",
    "thai": "th",
    "han": "zh",
    "kana": "ja",
    "armenian": "hy",
    "bengali": "bn",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "lao": "lo",
    "burmese": "my",
    "georgian": "ka",
    "ethiopic": "am",
    "khmer": "km",
}
"""Scripts that one language stands for."""


@dataclass(frozen=True, slots=True)
class Tongue:
    """One language."""

    name: str
    """In English, as a prompt says it."""
    common: frozenset[str] = frozenset()
    """Words that a text of it is full of."""
    speaker: frozenset[str] = frozenset()
    """Pronouns of one who speaks of himself."""
    hearer: frozenset[str] = frozenset()
    """Pronouns of one who is spoken to, but those that mean others as well."""


def _tongue(name: str, common: str = "", speaker: str = "", hearer: str = "") -> Tongue:
    said, heard = frozenset(speaker.split()), frozenset(hearer.split())
    return Tongue(name, frozenset(common.split()), said, heard)


TONGUES: Final[Mapping[str, Tongue]] = {
    "en": _tongue(
        "English",
        "the of and to in is was for on that with as it by at from are be this they which or an were has had not but "
        "their its will would what there been",
        "i i'm i'll i've i'd me my mine",
        "you your yours you're you'll you've you'd",
    ),
    "de": _tongue(
        "German",
        "der die das und ist nicht ein eine einen einem einer mit für auf von zu den dem des im als auch wird wurde "
        "sich bei nach war sind es am aus oder noch dass",
        "ich mich mir mein meine meinen",
        "du dich dir dein deine deinen euch ihnen",
    ),
    "fr": _tongue(
        "French",
        "le la les des une et est dans pour que qui sur pas avec au aux du par ce cette sont été ont plus ne se il "
        "elle ou mais d'un d'une l'on",
        "je j'ai moi mon j'aimerais",
        "vous votre vos tu toi ton",
    ),
    "es": _tongue(
        "Spanish",
        "el la los las una y es en para que por con del se no lo al como más fue son está su un pero ha sus este esta",
        "yo me mi mis",
        "usted ustedes tú te ti tu tus contigo",
    ),
    "it": _tongue(
        "Italian",
        "il lo la gli le una e è di che per con non del della nel sono si da al dei delle un più anche ha come alla "
        "questo questa stato",
        "io mi mio mia",
        "tu ti tuo tua voi vostro vostra",
    ),
    "pt": _tongue(
        "Portuguese",
        "o os as uma e é em para que por com do da dos das não se no na ao mais foi são como um seu sua à está pelo "
        "pela também",
        "eu me meu minha",
        "você vocês te teu tua",
    ),
    "nl": _tongue(
        "Dutch",
        "de het een en is van in op te voor dat met niet zijn aan er ook door naar bij om als wordt werd uit maar nog "
        "die heeft worden",
        "ik mij mijn me",
        "je jij jou jouw jullie u uw",
    ),
    "sv": _tongue(
        "Swedish",
        "och att det är som en på för av med till den inte har om ett var de från kan när så ska efter hade mellan",
        "jag mig min mitt",
        "du dig din ditt ni er",
    ),
    "da": _tongue(
        "Danish",
        "og at det er som en på for af med til den ikke har om et var de fra kan når så skal efter havde mellem blev "
        "av ble etter",
        "jeg mig meg min mit mitt",
        "du dig deg din dit ditt",
    ),
    "fi": _tongue(
        "Finnish",
        "ja on ei se että oli ovat tai kun mutta myös joka jotka niin hän sen mukaan ole jo vain olla sekä",
        "minä minun minua minulle",
        "sinä sinun sinua teidän te",
    ),
    "pl": _tongue(
        "Polish",
        "i w na z do jest nie się że to od po za dla jak jego oraz był była są ale przez przy ma który która które co",
        "ja mnie mój moja moje",
        "ty ciebie ci twój twoja pan pani państwa",
    ),
    "cs": _tongue(
        "Czech",
        "a v na je se že to z do od po pro jak byl byla jsou ale který která které při nebo není i ve ze za tak jako",
        "já mě můj moje",
        "ty tě tvůj vy vás vám váš",
    ),
    "ro": _tongue(
        "Romanian",
        "și în la de cu pe din este nu că pentru sau a fost mai o un care se au sunt dar după prin al ale lui",
        "eu mie meu mea",
        "tu dumneavoastră voi vostru ta tău",
    ),
    "hu": _tongue(
        "Hungarian",
        "a az és hogy nem is egy volt van meg már csak de vagy ez mint kell lehet el után azt ezt minden",
        "én engem nekem",
        "te téged neked önnek ön",
    ),
    "tr": _tongue(
        "Turkish",
        "ve bir bu da de için ile olarak çok daha gibi olan en kadar sonra ancak ama değil her ne var olduğu",
        "ben bana beni benim",
        "sen sana seni senin siz size sizi sizin",
    ),
    "id": _tongue(
        "Indonesian",
        "yang dan di untuk dari dengan ini itu pada tidak adalah akan ke dalam oleh juga atau telah sudah karena para "
        "bisa mereka ada",
        "saya aku",
        "anda kamu kalian",
    ),
    "vi": _tongue(
        "Vietnamese",
        "và là của có không được cho một các trong với người đã để này những khi về từ đến như cũng ở ra vào",
        "tôi mình",
        "bạn",
    ),
    "ru": _tongue(
        "Russian",
        "и в не на что с по это из к от для как был была было но или за же его она они при о до также который все бы",
        "я мне меня мой моя",
        "ты тебя тебе вы вас вам вами ваш ваша ваши",
    ),
    "uk": _tongue(
        "Ukrainian",
        "і в не на що з до це із та від для як був була було але або за його вона вони при про також який які й є у",
        "я мені мене мій моя",
        "ти тебе тобі ви вас вам ваш ваша",
    ),
    "bg": _tongue(
        "Bulgarian",
        "и в не на че с по това от за към като беше е са но или да се при до също който които ще си",
        "аз мен мой моя",
        "ти теб вие вас ви ваш ваша",
    ),
    "ar": _tongue(
        "Arabic",
        "في من على إلى أن هذا هذه التي الذي كان كانت لا ما عن مع قد هو هي أو ثم كل بعد لم بين ذلك",
        "أنا لي عندي",
        "أنت أنتم لك لكم عليك",
    ),
    "fa": _tongue(
        "Persian",
        "و در به از که این را با است برای آن یک تا بر هم می شد شده بود نیز هر یا ها های اما",
        "من",
        "شما تو",
    ),
    "hi": _tongue(
        "Hindi",
        "के का की है में से को और पर यह वह ने एक हैं था थी थे नहीं कि भी लिए तो ही या कर गया",
        "मैं मुझे मेरा मेरी मेरे",
        "आप आपका आपकी आपके आपको तुम तुम्हारा",
    ),
    "zh": _tongue("Chinese", "", "我", "你 您 你们"),
    "ja": _tongue("Japanese", "", "私 僕", "あなた ください お手伝い ましょうか"),
    "ko": _tongue("Korean", "", "저는 제가", "당신 드릴까요 하세요 주세요 있으신가요 필요하시면"),
    "th": _tongue("Thai", "", "ฉัน ผม", "คุณ"),
    "el": _tongue("Greek", "και να το η ο των την του της με για που δεν σε από", "εγώ μου", "εσύ εσείς σας σου"),
    "he": _tongue("Hebrew", "של את על לא זה עם הוא היא כי אם או גם", "אני לי שלי", "אתה את לך שלך לכם"),
    "bn": _tongue("Bengali"),
    "ta": _tongue("Tamil"),
}


@dataclass(frozen=True, slots=True)
class Speech:
    """The facts about a text's language."""

    script: str | None = None
    """The one that most letters are of; None where there are too few letters."""
    code: str | None = None
    """The language; None where the script is of several and the words do not tell."""
    scripts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Share of what is written by script."""
    hits: Mapping[str, float] = field(default_factory=dict[str, float])
    """Share of the words that are common ones, by language."""

    @property
    def name(self) -> str | None:
        """The language as a prompt says it."""
        tongue = TONGUES.get(self.code or "")
        return None if tongue is None else tongue.name

    def is_other_than(self, source: Speech) -> bool:
        """Whether a text is surely in no language of a source: another script, or the words of another language."""
        if self.script is None or source.script is None:
            return False
        if self.script != source.script:
            return source.scripts.get(self.script, 0.0) < _ALSO_SHARE
        if self.code is None or source.code is None or self.code == source.code:
            return False
        return source.hits.get(self.code, 0.0) < _ALSO_SPOKEN * source.hits.get(source.code, 1.0)


_ALSO_SHARE: Final = 0.2
"""Share of a source's letters from which on a summary may be in that script too."""
_ALSO_SPOKEN: Final = 0.6
"""The same for a language of the same script, against the words of the source's own."""


def speech_of(text: str) -> Speech:
    """Tell the language of a text; code and addresses in it say nothing."""
    if len(text) > MOST_CHARS:
        text = f"{text[: MOST_CHARS // 2]}\n{text[-MOST_CHARS // 2 :]}"
    text = _CODE.sub(" ", text)
    written = Counter(_script(char) for char in text if char.isalpha())
    written.pop("other", None)
    for script in UNSPACED & written.keys():
        written[script] *= _UNSPACED_WEIGHT
    total = sum(written.values())
    if total < LEAST_LETTERS:
        return Speech()
    if written["kana"] >= _KANA_SHARE * (written["kana"] + written["han"]):
        written["kana"] += written.pop("han", 0)  # Japanese holds both, Chinese no kana
    shares = {script: number / total for script, number in sorted(written.items()) if number}
    script = max(shares, key=lambda name: (shares[name], name))
    if script in _ALONE:
        return Speech(script, _ALONE[script], shares)
    return Speech(script, *_by_words(text, script, shares))


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text, folded to lower case, with one kind of apostrophe."""
    for match in _WORD.finditer(text):
        yield match[0].casefold().replace("’", "'")


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script that is read in pairs of letters."""
    return not word.isascii() and _script(word[0]) in UNSPACED


def _by_words(
    text: str, script: str, shares: Mapping[str, float]
) -> tuple[str | None, Mapping[str, float], Mapping[str, float]]:
    words = list(words_of(text))
    known = Counter(words)
    hits = {
        code: sum(known[word] for word in tongue.common | tongue.speaker | tongue.hearer) / max(1, len(words))
        for code, tongue in TONGUES.items()
        if tongue.common and _script(min(tongue.common)[0]) == script
    }
    best = sorted(hits, key=lambda code: (-hits[code], code))[:2]
    if not best or hits[best[0]] < max(_LEAST_SHARE, (_LEAST_HITS - 0.5) / max(1, len(words))):
        return None, shares, hits
    if len(best) > 1 and hits[best[0]] < _LEAD * hits[best[1]]:
        return None, shares, hits
    return best[0], shares, hits


@lru_cache(8192)
def _script(char: str) -> str:
    at = ord(char)
    for first, last, script in _RANGES:
        if first <= at <= last:
            return script
    return "other"


def joined(texts: Sequence[str]) -> str:
    """Join texts as far as they are looked at."""
    out: list[str] = []
    left = MOST_CHARS
    for text in texts:
        if left <= 0:
            break
        out.append(text[:left])
        left -= len(text)
    return "\n".join(out)
