"""A bound on lines of the log: the same line stands a few times in a window, and then the number of those left out.

A failure mostly comes at every request: without a bound, the log fills the disk that the ledger needs. The bound stands
at the door of the log, so that no caller has to think of it.

Two lines of ours are the same where logger, level, text and deployment are; what else differs (an id, a reason) does
not count. Two lines of a library are the same where the same line of its code wrote them: their texts hold values.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

WINDOW_SECONDS: Final = 10.0
MOST_LINES: Final = 5
"""Most copies of a line in a window."""
MOST_KINDS: Final = 256
"""Most different lines that are told apart. Beyond it all others are taken for the same one."""
MOST_OTHERS: Final = 50
"""Most of those in a window."""

_TELLS: Final = "_tells"
"""Marks our own line about others, which is never left out."""

Kind = tuple[str, str, str, str]
"""Logger, level, text or place in the code, deployment."""
Later = Callable[[float, Callable[[], None]], None]
_OTHERS: Final[Kind] = ("gateway", "warning", "", "")


@dataclass(slots=True)
class _Window:
    began: float
    text: str
    """The content of its first line."""
    lines: int = 0
    left_out: int = 0


class Rate(logging.Filter):
    """The bound on one log: a processor for our own lines, and a filter for those of libraries. Any thread may log."""

    def __init__(self, now: Callable[[], float] = time.monotonic, later: Later | None = None) -> None:
        """Take a clock, and what calls back after so many seconds; both are the system's unless a test says."""
        super().__init__()
        self._now = now
        self._later = later or _by_timer
        self._windows: dict[Kind, _Window] = {}
        self._lock = threading.Lock()
        self._is_due = False

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Let a line of ours through, or raise `DropEvent`."""
        if event.pop(_TELLS, False):
            return event
        text = str(event.get("event"))
        kind = (str(getattr(logger, "name", "")), method, text, str(event.get("deployment", "")))
        if not self._admits(kind, text):
            raise structlog.DropEvent
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a library's line through or not; ours have come by already."""
        if hasattr(record, "_logger"):
            return True
        kind = (record.name, record.levelname.lower(), f"{record.pathname}:{record.lineno}", "")
        return self._admits(kind, str(record.msg)[:200])

    def flush(self) -> None:
        """Say now how many lines were left out, unless the log has been configured anew and has another bound."""
        if self not in structlog.get_config()["processors"]:
            return
        with self._lock:
            self._is_due = False
            told = [(kind, window.text, window.left_out) for kind, window in self._windows.items() if window.left_out]
            for window in self._windows.values():
                window.left_out = 0
        log = structlog.get_logger("gateway")  # not the library's: others may hang filters of theirs on that
        for (name, level, _, deployment), text, count in told:
            facts = {"of": text, "by": name, "deployment": deployment}
            tell = getattr(log, level, log.warning)
            tell(
                "lines left out", left_out=count, **{key: fact for key, fact in facts.items() if fact}, **{_TELLS: True}
            )

    def _admits(self, kind: Kind, text: str) -> bool:
        now = self._now()
        with self._lock:
            window = self._window(kind, text, now)
            most = MOST_OTHERS if window is self._windows.get(_OTHERS) else MOST_LINES
            if window.lines < most:
                window.lines += 1
                return True
            window.left_out += 1
            is_first, self._is_due = not self._is_due, True
        if is_first:
            self._later(WINDOW_SECONDS, self.flush)
        return False

    def _window(self, kind: Kind, text: str, now: float) -> _Window:
        """Return the window that a line falls in. One that is over and has nothing to tell begins anew."""
        if kind not in self._windows and len(self._windows) >= MOST_KINDS:
            self._forget_quiet_ones(now)
            if len(self._windows) >= MOST_KINDS:
                kind, text = _OTHERS, "lines of many kinds"
        window = self._windows.setdefault(kind, _Window(now, text))
        if now - window.began >= WINDOW_SECONDS:
            window.began, window.lines = now, 0
        return window

    def _forget_quiet_ones(self, now: float) -> None:
        """Forget the windows that are over and have nothing to tell."""
        for kind, window in list(self._windows.items()):
            if now - window.began >= WINDOW_SECONDS and not window.left_out:
                del self._windows[kind]


def _by_timer(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
