"""Changes of the configuration's files, as they happen. The door of watchfiles.

Folders are watched and not files: editors and Kubernetes put another file, or another folder, in the place of the old.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from watchfiles import awatch

from gateway.config import Config

_SETTLE_MS: Final = 400
"""Milliseconds without another change after which files are read: an editor writes more than once."""


async def changes(config: Callable[[], Config]) -> AsyncIterator[None]:
    """Tell each change of what the files hold, until cancelled."""
    held = _content(config())
    folders = {folder.resolve() for folder in _folders(config()) if folder.is_dir()} | _named(config())
    async for _ in awatch(*folders, recursive=False, debounce=4 * _SETTLE_MS, step=_SETTLE_MS):
        content = _content(config())
        if content != held:
            held = content
            yield


def _named(config: Config) -> set[Path]:
    """Return the folders as they are named: of a link, the one it lies in changes with it."""
    return {folder for folder in _folders(config) if folder.is_dir()}


def _folders(config: Config) -> tuple[Path, ...]:
    files = [config.file] if config.keys_file is None else [config.file, config.keys_file]
    return *(folder for file in files for folder in (file.parent, file.resolve().parent)), config.policies_folder


def _content(config: Config) -> bytes:
    """Return a digest of the files as they are; one that cannot be read counts as empty."""
    digest = hashlib.sha256()
    policies, files = config.policies_folder, {config.file, config.keys_file or config.file}
    for path in (*sorted(files), *(sorted(policies.iterdir()) if policies.is_dir() else ())):
        if path in files or path.suffix in {".yaml", ".yml"}:
            try:
                digest.update(f"\n{path}\n".encode() + path.read_bytes())
            except OSError:
                digest.update(f"\n{path} cannot be read\n".encode())
    return digest.digest()
