"""The state of a program that serves, all its processes together: what `/ready` and metrics tell of it. A value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class InstanceState:
    """One program's state, as the process that keeps the others knows it; each has the newest."""

    digest: str
    """The digest of the configuration that every process serves under."""
    workers: int = 1
    """Processes that there should be."""
    serving: int = 0
    """Those that take requests."""
    loaded: int = 0
    """Those of them that have loaded what they need to answer at full speed."""
    is_draining: bool = False
    refusal: str | None = None
    """The place of the first fault in the file that was not taken in; None where the newest one was."""

    @property
    def is_ready(self) -> bool:
        """Whether all that take requests answer at full speed, and go on doing so."""
        return 0 < self.serving == self.loaded and not self.is_draining

    def to_json(self) -> dict[str, Any]:
        """Return what anybody may be told of it: no values of the configuration."""
        status = "draining" if self.is_draining else "ready" if self.is_ready else "loading"
        config: dict[str, Any] = {"digest": self.digest}
        if self.refusal is not None:
            config["refused"] = self.refusal
        return {"status": status, "workers": {"ready": self.loaded, "of": self.workers}, "config": config}
