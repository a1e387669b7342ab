"""The way to a program that runs: a socket in `server.control` that the owner of the program alone may open.

`gateway reload` writes a line and reads one. The socket is named after the port, so that programs of one configuration
on several ports each have their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.config import folders
from gateway.server.reloads import NotReloaded, Reloaded

RELOAD: Final = b"reload\n"
ANSWER_SECONDS: Final = 180.0
"""Seconds that a reload may take: patterns are tried, and every process builds."""


@contextlib.asynccontextmanager
async def controlled(
    folder: Path, port: int, reload: Callable[[], Awaitable[Reloaded | NotReloaded]], log: FilteringBoundLogger
) -> AsyncIterator[None]:
    """Answer over the socket until the end of the block. Where it cannot be made, SIGHUP is what is left."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            if await reader.readline() == RELOAD:
                writer.write(json.dumps(_told(await reload())).encode() + b"\n")
                await writer.drain()
        writer.close()

    path = folder / f"{port}.sock"
    try:
        folders.make(folder)
        _remove_if_dead(path)
        server = await asyncio.start_unix_server(answer, path)
        path.chmod(folders.PRIVATE_FILE)
    except OSError as error:
        log.warning("`gateway reload` cannot reach this program, SIGHUP can", socket=str(path), reason=str(error))
        yield
        return
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def _told(result: Reloaded | NotReloaded) -> dict[str, Any]:
    if isinstance(result, NotReloaded):
        return {"refused": result.reason}
    return {"digest": result.digest, "processes": result.processes, "need_restart": result.need_restart}


def reload_all(folder: Path, port: int | None = None) -> Iterator[tuple[str, Reloaded | NotReloaded]]:
    """Have the programs reload that listen in this folder, or the one of a port: its name, and what became of it.

    Blocks. Those whose program has died are passed over.
    """
    for path in sorted(folder.glob("*.sock" if port is None else f"{port}.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(ANSWER_SECONDS)
            try:
                line.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                continue
            yield path.stem, _asked(line)


def _asked(line: socket.socket) -> Reloaded | NotReloaded:
    try:
        line.sendall(RELOAD)
        with line.makefile() as answer:
            said = json.loads(answer.readline())
    except (OSError, ValueError) as error:
        return NotReloaded(f"no answer: {error}")
    if "refused" in said:
        return NotReloaded(said["refused"])
    return Reloaded(said["digest"], said["processes"], tuple(said["need_restart"]))


def _remove_if_dead(path: Path) -> None:
    """Remove the socket of a program that was killed. Raises OSError where one lives that has the same name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(f"another program answers at {path}")
