"""The keys file, written: comments, order and quotes stay as they are. The door of ruamel.yaml.

One writer at a time: whoever writes holds a lock on a file beside it. The new file is complete before it takes the
place of the old one, so a gateway that reads meanwhile reads either.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from gateway.config.yaml import reads_as_text

_MODE: Final = 0o600


class KeysFileError(Exception):
    """The keys file cannot be changed as it is wished, and why."""


class KeysDocument:
    """The keys file as it is written."""

    def __init__(self, data: Any, path: Path) -> None:
        """Raise `KeysFileError` for what is not a list of keys under `keys`."""
        self._path = path
        self.data: Any = CommentedMap() if data is None else data
        if not isinstance(self.data, dict):
            raise KeysFileError(f"{path}: must be a mapping with `keys`")
        if not self.data.get("keys"):
            self.data["keys"] = CommentedSeq()
        if not isinstance(self.data["keys"], list):
            raise KeysFileError(f"{path}: `keys` must be a list")

    def add(self, members: Mapping[str, Any]) -> None:
        """Add a key at the end."""
        self.data["keys"].append(CommentedMap({name: _written(value) for name, value in members.items()}))

    def entry(self, name: str) -> Any:
        """Return the key of a name. Raises `KeysFileError`."""
        for one in self.data["keys"]:
            if isinstance(one, dict) and one.get("name") == name:
                return one
        raise KeysFileError(f"{self._path}: there is no key {name!r}; `gateway keys list` shows which there are")

    def rotate(self, name: str, digest: str, now: datetime, until: datetime) -> None:
        """Give a key another secret; the one before is good until a moment. Raises `KeysFileError`."""
        entry = self._living(name)
        former = entry.setdefault("former", CommentedSeq())
        former[:] = [one for one in former if not _is_over(one, now)]
        former.append(CommentedMap({"sha256": _written(str(entry["sha256"])), "until": _written(until)}))
        entry["sha256"] = _written(digest)

    def revoke(self, name: str, now: datetime) -> None:
        """Take a key back; its line stays. Raises `KeysFileError`."""
        self._living(name)["revoked"] = _written(now)

    def _living(self, name: str) -> Any:
        entry = self.entry(name)
        if entry.get("revoked"):
            raise KeysFileError(f"{self._path}: key {name!r} was revoked on {entry['revoked']}; make a new one")
        return entry


def _is_over(former: Any, now: datetime) -> bool:
    """Say whether an old secret has ended; of one that cannot be read nobody knows."""
    try:
        until = datetime.fromisoformat(str(former["until"]))
    except (KeyError, TypeError, ValueError):
        return False
    return (until if until.tzinfo else until.replace(tzinfo=UTC)) <= now


def change_keys(path: Path, change: Callable[[KeysDocument], None]) -> None:
    """Read the keys file, change it and write it, while nobody else does. Raises `KeysFileError` and `OSError`."""
    path = path.resolve()
    with _locked(path):
        yaml = _yaml()
        try:
            data = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None
        except (YAMLError, UnicodeDecodeError) as error:
            raise KeysFileError(f"{path}: {' '.join(str(error).split())}") from error
        document = KeysDocument(data, path)
        change(document)
        text = StringIO()
        yaml.dump(document.data, text)
        _replace(path, text.getvalue())


def as_moment(moment: datetime) -> str:
    """Write a moment as the keys file has it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Words(VersionedResolver):
    """A resolver to which all that is not quoted is text, so that it is written again just as it was."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and value:
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Resolver = _Words
    yaml.preserve_quotes = True
    yaml.width = 4096  # lines of people stay as long as they are
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _written(value: Any) -> Any:
    """Return a value as it is written: with quotes where it would be read as anything but text."""
    if isinstance(value, datetime):
        return as_moment(value)
    if isinstance(value, str):
        return value if reads_as_text(value) else DoubleQuotedScalarString(value)
    if isinstance(value, list | tuple):
        listed = CommentedSeq([_written(one) for one in value])
        listed.fa.set_flow_style()
        return listed
    return str(value)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file: that of another, which is never replaced."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, text: str) -> None:
    """Put a file in the place of another in one step, as one that only its owner reads."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # whatever ends it, no half a file is left; the error goes on
        Path(temporary).unlink()
        raise
