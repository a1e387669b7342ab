"""The speaker of each message, and its purpose: the measure of what goes first when a conversation is folded.

People's words come before assistants' prose, and that before results. A tool's output that a text agent sends as a
user message is a result: it is known by its form, by families of shapes and not by the names of frameworks. Pure, and
linear in the first and last characters of a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from gateway.conversation import Message
from gateway.memory import Memory

Voice = Literal["said", "rule", "answer", "step", "result"]
"""said: a person's words. rule: system or developer text. answer: an assistant's prose. step: an assistant's message
with calls. result: what a tool returned, in whatever role it stands."""

_ENDS_CHARS = 4_000
"""Characters of each end of a text that are looked at."""

_OUTPUT_NOUN = (
    r"(?:output|results?|observations?|response|stdout|stderr|std_?out|std_?err|return_?code|exit_?code|status_?code"
    r"|console|terminal|logs?|traceback|file_?contents?|environment(?:_?details)?)"
)
_TAGGED = re.compile(
    rf"<(?:[a-z]{{1,20}}[_-])?{_OUTPUT_NOUN}(?:[_-][a-z]{{1,20}})?(?:\s[^<>]{{0,200}})?>", re.IGNORECASE
)
"""An element that holds a program's output opens the message."""
_BRACKETED = re.compile(
    rf"\[[^\[\]\n]{{1,200}}\]\s*(?:{_OUTPUT_NOUN})\s*[:：]"
    r"|\[[A-Za-z][\w ]{0,30}:?\s[^\[\]\n]{1,200}\([\d,]+ (?:lines?|bytes|rows|tokens)[^\[\]\n()]{0,40}\)\]",
    re.IGNORECASE,
)
"""`[read_file for 'a.py'] Result:`, `[File: /a.py (80 lines total)]`."""
_LABELLED = re.compile(
    rf"(?:[\w#*]{{1,20}}[ \t]){{0,3}}[#*]{{0,3}}{_OUTPUT_NOUN}[*]{{0,2}}"
    r"(?:[ \t](?:of|from|for)[ \t][^\n:：]{1,120})?[ \t]*[:：][*]{0,2}",
    re.IGNORECASE,
)
_LABELLED_ELSEWHERE = re.compile(
    "(?:观察|观测|结果|输出|執行結果|执行结果|観察|結果|出力|実行結果|관찰|결과|출력|Beobachtung|Ausgabe|Ergebnis|Observación|Resultado|Salida"
    "|Observation|Résultat|Sortie|Osservazione|Risultato|Observação|Saída|Наблюдение|Результат|Вывод|الملاحظة|النتيجة)"
    r"[ \t]*[:：]",
    re.IGNORECASE,
)
"""The same label in other languages."""
_PROMPT = re.compile(r"(?:^|\n)(?:\([^()\n]{1,60}\)\s?)?[\w.@:~/\\-]{0,120}[$#>%❯]{1,3}\s*\Z")
"""A shell's or an interpreter's prompt ends the message: `bash-$`, `root@host:/app# `, `>>>`."""
_ONE_FENCE = re.compile(r"(`{3,}|~{3,})[^\n`]{0,40}\n")


def voice(message: Message) -> Voice:
    """Tell whose words a message holds, from the message alone."""
    if message.is_system:
        return "rule"
    if message.is_result:
        return "result"
    if message.role == "assistant":
        return "step" if message.calls else "answer"
    return "result" if message.role == "user" and _is_output(message.text) else "said"


def voices(messages: Sequence[Message], known: Memory[Message, Voice]) -> tuple[Voice, ...]:
    """Tell whose words each message holds. Words of users before the first answer to them are never a result.

    What an assistant says or thinks in front of a call that is joined to it is part of that step.
    """
    found = known.get_all(messages)
    out: list[Voice] = []
    spoken = answered = False
    for message, before in zip(messages, found, strict=True):
        own = before
        if own is None:
            own = voice(message)
            known.put(message, own, 64)
        if own == "result" and message.role == "user" and not answered:
            own = "said"
        spoken = spoken or own == "said"
        answered = answered or (spoken and message.role == "assistant")
        if own == "step" and message.joined:
            _lead_to_call(messages, out)
        out.append(own)
    return tuple(out)


def _lead_to_call(messages: Sequence[Message], out: list[Voice]) -> None:
    """Make what stands in front of a call that is joined to it a step."""
    at = len(out) - 1
    while at >= 0 and out[at] == "answer":
        out[at] = "step"
        if not messages[at].joined:
            return
        at -= 1


def _is_output(text: str) -> bool:
    """Whether a user message has the form of a program's output."""
    start, end = text[:_ENDS_CHARS].lstrip(), text[-_ENDS_CHARS:].rstrip()
    if not start:
        return False
    if _TAGGED.match(start) or _BRACKETED.match(start):
        return True
    if (_LABELLED.match(start) or _LABELLED_ELSEWHERE.match(start)) and _is_written_by_a_program(start):
        return True
    if _PROMPT.search(end[-200:]) and "\n" in text.strip():
        return True
    if fence := _ONE_FENCE.match(start):
        return end.endswith(fence[1]) and text.count(fence[1]) == 2
    return False


def _is_written_by_a_program(start: str) -> bool:
    """Whether what follows a label is set apart from it, as programs do: on lines of its own, or as code or JSON."""
    _, _, rest = start.replace("：", ":").partition(":")
    body = rest.lstrip(" \t*")
    return body[:1] in ("\n", "{", "[", "<", "`", "") or rest.count("\n") >= 2 or len(rest) > 400
