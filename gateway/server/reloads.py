"""A change of the configuration while the program runs: read, checked and built, then taken in by all or by none.

How processes are asked is the caller's (`alone.py`, `keeper.py`). One reload is made at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.config import Config
from gateway.config.versions import config_digest, with_running_sections

_PLACE: Final = re.compile(r"(\S+):(\d+): ")
"""The beginning of a problem of a file (`gateway.config.problems.Problem`)."""


class Unusable(Exception):
    """The files do not give a configuration; every reason is in the message, a line each."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a program that serves asks of the command that started it, and tells it."""

    reread: Callable[[], Config]
    """Reads and checks the configuration anew, in a thread. Raises `Unusable`."""
    started: Callable[[], None] = lambda: None
    """Called once answers can be given."""
    refused: Callable[[], None] = lambda: None
    """Called when a changed configuration could not be used."""
    died: Callable[[], None] = lambda: None
    """Called when a worker has died without being told to."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Every process serves under a configuration."""

    digest: str
    processes: int
    need_restart: tuple[str, ...] = ()
    """Keys that were changed and hold from the next start on."""


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """Nothing was changed."""

    reason: str

    @property
    def place(self) -> str:
        """The file and line of the first fault, as anybody may be told: no value of the configuration."""
        found = _PLACE.match(self.reason)
        return "see the log" if found is None else f"{Path(found[1]).name}:{found[2]}"


@dataclass(slots=True)
class Reloads:
    """The configuration that a program serves under, and its changes."""

    config: Config
    around: Around
    prepare: Callable[[Config], Awaitable[Sequence[str]]]
    """Has every process build what a configuration asks for; returns why one cannot."""
    adopt: Callable[[Config], Awaitable[int]]
    """Has every process serve under what it has built; returns how many do."""
    log: FilteringBoundLogger
    told: Callable[[], None] = lambda: None
    """Called after each reload, whatever became of it."""
    last_refusal: NotReloaded | None = None
    """None where the newest files were taken in."""
    digest: str = field(init=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while processes change from one configuration to the next."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.digest = config_digest(self.config)

    @property
    def refusal(self) -> str | None:
        """The place of the first fault in the newest files; None where they were taken in."""
        return None if self.last_refusal is None else self.last_refusal.place

    async def reload(self) -> Reloaded | NotReloaded:
        """Take in what the files say now, in all processes or in none."""
        async with self._turn:
            result = await self._reload()
        self.told()
        return result

    async def _reload(self) -> Reloaded | NotReloaded:
        try:
            read = await asyncio.to_thread(self.around.reread)
        except Unusable as error:
            return self._refused(NotReloaded(str(error)))
        config, need_restart = with_running_sections(self.config, read)
        async with self.lock:
            if problems := await self.prepare(config):
                return self._refused(NotReloaded("\n".join(dict.fromkeys(problems))))
            self.config, self.digest, self.last_refusal = config, config_digest(config), None
            processes = await self.adopt(config)
        self.log.info("configuration reloaded", digest=self.digest, processes=processes, keys=len(config.keys))
        if need_restart:
            self.log.warning("changed in the configuration, and holds from the next start on", keys=list(need_restart))
        return Reloaded(self.digest, processes, need_restart)

    def _refused(self, refused: NotReloaded) -> NotReloaded:
        """Go on with what there is; say so once for the same reason."""
        self.around.refused()
        if refused != self.last_refusal:
            self.last_refusal = refused
            self.log.error("configuration not reloaded, the last good one stays", reason=refused.reason)
        return refused
