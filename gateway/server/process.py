"""The interpreter of a process that serves, and one that has died."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import Final

SWITCH_SECONDS: Final = 0.0001
"""Seconds that a thread which plans a long request may keep the interpreter from the event loop. Python's own is 5 ms;
but the event loop lets go of the interpreter at every call of the system, a dozen times for a small request, and waits
that long to have it back each time. While only one thread has work nobody waits, and nothing is switched."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
LIVED_SECONDS: Final = 60.0
"""Seconds after which a process that dies is taken to have served well until then."""


def calm_interpreter() -> None:
    """Let threads that plan take turns with the event loop as it needs it."""
    sys.setswitchinterval(SWITCH_SECONDS)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process that nobody asked for."""

    signal: int | None
    code: int | None
    most_memory: int
    """Bytes that it held at most."""
    lived_seconds: float

    @property
    def by(self) -> str:
        """What ended it, in words: `SIGKILL`, or `exit code 3`."""
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


def death_of(status: int, most_kilobytes: int, lived_seconds: float) -> Death:
    """Read what `os.wait4` says of a process. Memory is in kilobytes, as Linux says it; macOS says bytes."""
    code = os.waitstatus_to_exitcode(status)
    memory = most_kilobytes * (1 if sys.platform == "darwin" else 1024)
    return Death(-code if code < 0 else None, code if code >= 0 else None, memory, lived_seconds)


def pause_before(deaths: int) -> float:
    """Return the seconds before a process is replaced that has died so many times in a row without serving well."""
    if deaths <= 1:
        return 0.0
    return min(FIRST_PAUSE * 2.0 ** min(deaths - 2, 16), LONGEST_PAUSE)
