"""Problems of a sound configuration on this machine: what keeps the program from serving, and what it warns of."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gateway.config import Config, folders
from gateway.config.network import faults_of
from gateway.config.problems import KeyPath, Problem, in_order

_OTLP: Final = "opentelemetry.exporter.otlp.proto.http"
_OTHERS: Final = 0o077
"""The rights of everybody but the owner."""


def startup_problems(config: Config) -> tuple[Problem, ...]:
    """Return what would keep the program from serving here and now: folders, an open door, the network.

    Makes the ledger's and the state's folder if they are not there. Whether the port is taken is seen when it is bound.
    """
    books = folders.ledger_folder_mode(config.ledger.mode, content=config.ledger.content != "none")
    return in_order(
        (
            *_unwritable(config, ("ledger", "dir"), "the ledger folder", config.ledger.dir, books),
            *_unwritable(config, ("state", "dir"), "the state folder", config.state.dir, folders.PRIVATE),
            *_unwritable(config, ("response_cache", "dir"), "the folder of vectors", _vectors(config), folders.PRIVATE),
            *_unreachable(config),
            *network_problems(config),
            *_not_installed(config),
        )
    )


def _unwritable(config: Config, path: KeyPath, what: str, folder: Path | None, mode: int) -> Iterator[Problem]:
    if folder is None:
        return
    try:
        folders.make(folder, mode)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\n")
    except OSError as error:
        yield config.problem(path, f"cannot write to {what} {folder}: {error.strerror}")


def _vectors(config: Config) -> Path | None:
    """Return the folder of vectors, where they are kept in one."""
    return None if config.response_cache.embeddings is None or config.state.redis else config.response_cache.dir


def _unreachable(config: Config) -> Iterator[Problem]:
    host = config.server.host
    if config.is_open and not _loopback(host):
        told = f"open on {host}: without keys only a loopback address such as 127.0.0.1 is served; add keys"
        yield config.problem(("server", "host"), told)


def _not_installed(config: Config) -> Iterator[Problem]:
    if config.otel.endpoint is not None and not _is_installed(_OTLP):
        told = "needs OpenTelemetry, which is not installed: pip install 'gateway-llm[otel]', or leave endpoint out"
        yield config.problem(("otel", "endpoint"), told)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def network_problems(config: Config) -> Iterator[Problem]:
    """Say what of the proxies and certificates that the environment names cannot be used."""
    for told in faults_of(config.network):
        yield config.problem((), told)
    file = config.network.certificates
    if file is None:
        return
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # an SSLError where it holds no certificate
        reason = error.strerror or "it holds no certificate"
        yield config.problem(
            (), f"SSL_CERT_FILE={file}: {reason}; name a file of certificates in PEM form, or unset it"
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def exposed(config: Config) -> Iterator[str]:
    """Say what of the state and of kept requests others on this machine can reach."""
    places = [] if config.state.dir is None else [("state", config.state.dir, folders.PRIVATE)]
    if (vectors := _vectors(config)) is not None:
        places.append(("vectors", vectors, folders.PRIVATE))
    if config.ledger.content != "none":
        places.append(("ledger", config.ledger.dir, folders.ledger_folder_mode(config.ledger.mode, content=True)))
    for name, folder, mode in places:
        has = _mode(folder)
        if has & _OTHERS & ~mode:
            yield (
                f"the {name} folder {folder} has mode {has:04o}, so others on this machine can reach what is in it: "
                f"chmod {mode:o} {folder}"
            )
        elif has & _OTHERS:
            files = sorted(path.name for path in folder.glob("*.content.jsonl*") if _mode(path) & _OTHERS)
            if files:
                yield f"{len(files)} files of requests in {folder} can be read by others, as {files[0]}: chmod 600 them"


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0
