"""Words by which programs report trouble, in many languages; a counter that is zero reports none.

A small table of stems, looked up in the vocabulary of a text and not in the text, so that the work is bounded by how
many different words there are. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection
from itertools import accumulate

_STEMS = """
    error exception fatal failed failure failing traceback backtrace stacktrace segfault segmentation panic crash abort
    denied refused rejected invalid unable unreachable unauthorized forbidden unresolved unexpected unrecognized
    undefined undeclared corrupt timeout deadlock overflow violation mismatch deprecat warn killed oomkill
    fehler fehlgeschl ungültig verweiger abgebroch abgelehnt warnung ausnahme abgestürzt gescheitert zeitüberschr
    erreur échec échou refusé avertissement introuvable interrompu impossible
    falló fallid denegad rechazad excepción advertencia inválid agotado falha exceção recusad negado
    errore_ fallit_ impossibil mislukt geweigerd waarschuwing misslyckad varning ogiltig
    błąd ostrzeżeni niepowodz chyba selhal varování başarısız uyarı geçersiz gagal kesalahan peringatan lỗi
    ошибк сбой сбоя сбое отказ предупрежд неверн исключени недопустим аварийн критическ неудач прервано помилк збій
    σφάλμα αποτυχία שגיאה נכשל אזהרה خطأ فشل تعذر تحذير مرفوض رفض استثناء خطا
    त्रुटि विफल असफल चेतावनी अमान्य ข้อผิดพลาด ล้มเหลว
    错误 失败 异常 警告 拒绝 无效 超时 无法 崩溃 致命 未找到 中止 故障 錯誤 失敗 異常 拒絕 無效 逾時 無法 當機
    エラー 例外 拒否 無効 タイムアウト できません 見つかりません 中断
    오류 에러 실패 예외 경고 거부 초과 없습니다 치명 중단
"""
"""Stems that tell trouble wherever they stand in a word; `_` ends a word."""
_WHOLE = """
    err fail fails fault faulty critical crit emerg severe alert cannot can't couldn't won't missing conflict oom nack
    ng ko unhandled uncaught stalled lost broken fehlt kritisch erro erros falla fallo aviso avviso fout hata echec
"""
"""Words that tell trouble only where they stand alone."""
_ANYWHERE, _ALONE = tuple(_STEMS.split()), frozenset(_WHOLE.split())
_PHRASES = (
    "not found",
    "no such",
    "timed out",
    "core dumped",
    "out of memory",
    "could not",
    "exited with",
    "nicht gefunden",
    "konnte nicht",
    "no se pudo",
    "no se encontr",
    "não foi possível",
    "não encontrad",
    "не удалось",
    "не найден",
    "n'a pas pu",
    "ne peut pas",
    "لم يتم العثور",
    "انتهت المهلة",
    "غير صالح",
)
_NOTHING = re.compile(
    r"\b\w{0,24}(?:err|fail|warn|fault|exception|crash|fehler|échec|erreur|erro|falh|fall|ошиб|сбо[йяе])\w{0,16}[\"']?\s?"
    r"[=:]\s?(?:0+\b|none\b|null\b|false\b|no\b|nil\b|\[\]|\{\}|\"\"|'')"
    r"|\b(?:0|no|zero|without|not any|keine?|0 x|ohne|sans|sin|sem|без|нет|senza|zonder)\s"
    r"(?:\w{1,16}\s)?\w{0,24}(?:err|fail|warn|fault|exception|fehler|échec|erreur|erro|falh|fall|ошиб|сбо[йяе])\w{0,16}",
    re.IGNORECASE,
)
_EXIT = re.compile(
    r"(?:\bexit(?:ed|s)?[ _-]?(?:with )?(?:code|status)?|\breturn(?:ed)?[ _-]?(?:code|status)"
    r"|\bterminated with(?: code)?)"
    r"[\"'>]?\s?[=:]?\s?(-?\d{1,10})\b",
    re.IGNORECASE,
)
_EXITS = ("exit", "return", "terminated")


def words(vocabulary: Collection[str]) -> frozenset[str]:
    """Find the words of a vocabulary (in folded case) that tell trouble."""
    known = list(vocabulary)
    text = "\n".join([f"{word}_" for word in known])
    starts = list(accumulate([len(word) + 2 for word in known], initial=0))
    found: set[str] = set()
    for stem in _ANYWHERE:
        at = text.find(stem)
        while at >= 0:
            place = bisect_right(starts, at) - 1
            found.add(known[place])
            at = text.find(stem, starts[place + 1])
    return frozenset(found.union(_ALONE.intersection(known)))


def has_phrase(line: str) -> bool:
    """Tell whether a line in folded case holds one of the phrases that tell trouble."""
    return any(phrase in line for phrase in _PHRASES)


def unless_none(line: str) -> str:
    """Take out of a line what says that there is no trouble: `errors=0`, `no failures`, `"error": null`."""
    return _NOTHING.sub(" ", line)


def may_exit(line: str) -> bool:
    """Tell whether a line in folded case speaks of an exit."""
    return any(word in line for word in _EXITS)


def exits_badly(line: str) -> bool:
    """Tell whether a line tells an exit with another code than zero."""
    return any(code.strip("-0") for code in _EXIT.findall(line))
