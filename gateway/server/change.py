"""The change of one process from one configuration to the next: built beside the requests, then taken in at once."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.app import Application
from gateway.config import Config
from gateway.operators import logs
from gateway.providers.credentials import every
from gateway.routing.deployment import Unservable
from gateway.serving.services import Configured


@dataclass(slots=True)
class Change:
    """The next configuration of one process, as far as it is built."""

    app: Application
    prepared: Configured | None = None

    async def prepare(self, config: Config) -> str | None:
        """Build; returns why that cannot be."""
        try:
            self.prepared = await self.app.prepare(config)
        except (Unservable, ValueError) as error:
            return str(error)
        return None

    def adopt(self) -> None:
        """Serve under what was built."""
        if self.prepared is not None:
            logs.hide(every(self.prepared.config))
            self.app.adopt(self.prepared)
            self.prepared = None
