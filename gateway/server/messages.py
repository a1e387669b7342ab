"""What the process that keeps the workers and a worker say to each other, and the line between them.

Each end made the other, so the values are pickled as they are. A frame is its length and the value.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Final

from gateway.config import Config
from gateway.operators.instance import InstanceState

_LENGTH: Final = struct.Struct(">I")


# ------------------------------------------------------------ to a worker


@dataclass(frozen=True, slots=True)
class Begin:
    """Serve. The first message."""

    config: Config
    name: str
    """Stands in the names of its ledger files."""
    state: InstanceState


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build what a configuration asks for, and answer `Prepared`."""

    number: int
    config: Config


@dataclass(frozen=True, slots=True)
class Adopt:
    """Serve under what was prepared, and answer `Adopted`."""

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """End each connection with its answer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Take no more connections, finish what is under way, and end."""

    grace: float
    """Seconds for it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End now: the seconds are over."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer `Pong`."""


# ------------------------------------------------------------ from a worker


@dataclass(frozen=True, slots=True)
class Serving:
    """Requests are taken."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Whether all that is needed to answer at full speed is loaded."""

    is_loaded: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration can be served under, or why not."""

    number: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Adopted:
    """A configuration is served under."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The worker's loop turns."""


@dataclass(frozen=True, slots=True)
class EndAsked:
    """The worker was asked by a signal to end, and waits to be told so from here."""


Message = (
    Begin
    | Prepare
    | Adopt
    | Drain
    | Stop
    | Cut
    | Ping
    | InstanceState
    | Serving
    | Loaded
    | Prepared
    | Adopted
    | Pong
    | EndAsked
)


class WorkerLine:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, end: socket.socket) -> WorkerLine:
        """Speak over a connected socket, which is closed with the line."""
        return cls(*await asyncio.open_connection(sock=end))

    def tell(self, message: Message) -> None:
        """Send a message; lost where the other end is gone."""
        if not self._writer.is_closing():
            said = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(said)) + said)

    async def heard(self) -> Message | None:
        """Wait for a message; None once the other end is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            message: Message = pickle.loads(await self._reader.readexactly(length))  # noqa: S301  # our own process
        except (asyncio.IncompleteReadError, OSError):
            return None
        return message

    def close(self) -> None:
        self._writer.close()
