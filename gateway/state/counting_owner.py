"""The process that counts, and the ledger whose requests it counts: who else is alive, and who died."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from pathlib import Path
from typing import Final

_FILE: Final = ".counting"


class CountingOwner:
    """This process among those that write one ledger."""

    def __init__(self, ledger: Path) -> None:
        place = f"{socket.gethostname()}:{ledger.resolve()}"
        self.source = hashlib.sha256(place.encode()).hexdigest()[:16]
        """Names the ledger in the counters."""
        self.name = str(os.getpid())
        self._path = ledger / _FILE
        self._lock = -1

    def __repr__(self) -> str:
        return f"CountingOwner({self.source}, {self.name})"

    def is_alone(self) -> bool:
        """Lock the ledger against other processes that begin; say whether none is alive. Call `share` afterwards."""
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            return False
        return True

    def share(self) -> None:
        """Let others begin. The lock is kept as long as the process lives."""
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def is_alive(self, owner: str) -> bool:
        """Say whether an owner of holds still runs. This process has none when it asks."""
        if owner == self.name or not owner.isdigit():
            return False
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
