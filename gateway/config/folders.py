"""The folders and files that the gateway makes for itself: nobody else on the machine reads them unless it is said.

An existing folder stays as it is, whatever its mode: its owner may have had a reason. `gateway.config.startup` warns of
it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o700
PRIVATE_FILE: Final = 0o600
_LEDGER_FILE: Final = 0o640


def make(folder: Path, mode: int = PRIVATE) -> None:
    """Make a folder with this mode, where it is not there."""
    try:
        folder.mkdir(mode, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(mode)  # whatever the umask takes or leaves


def make_file(path: Path, mode: int = PRIVATE_FILE) -> None:
    """Make an empty file with this mode, where there is none."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    os.close(file)


def open_to_append(path: Path, mode: int | None) -> int:
    """Open a file for reading and appending. A new one gets this mode; None is 0640, less what the umask takes."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        file = os.open(path, flags | os.O_EXCL, mode or _LEDGER_FILE)
    except FileExistsError:
        return os.open(path, flags, mode or _LEDGER_FILE)
    if mode is not None:
        os.fchmod(file, mode)
    return file


def ledger_folder_mode(mode: int | None, *, content: bool) -> int:
    """Say which mode a new folder of the books gets: who may read its files may list it.

    `mode` is that of the files, where it is configured. A folder with requests in it is private if the system has modes
    at all.
    """
    if mode is None and content:
        return PRIVATE
    readers = (mode or _LEDGER_FILE) & 0o044
    return PRIVATE | readers | readers >> 2
