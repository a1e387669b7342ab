"""The program's own log: structlog and the standard library's loggers in one stream, for people or for machines.

On a terminal each event is a coloured line, anywhere else one JSON object. Credentials are taken out here, once, and a
line that repeats itself is bounded here, once, so that no caller has to think of either. Nothing is logged per request:
what happened to a request is in the ledger.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.operators.rate import Rate
from gateway.wire.secrets import HIDDEN, NO_SECRETS, Secrets

_SECRET_NAMES = frozenset(
    {"api_key", "authorization", "api-key", "x-api-key", "x_api_key", "token", "secret", "password"}
)
_SECRET_TEXT = re.compile(r"\b(sk-[A-Za-z0-9_-]{3})[A-Za-z0-9_-]{6,}|\b([Bb]earer )\S+")


def configure(
    stream: IO[str] | None = None,
    *,
    terminal: bool | None = None,
    level: int = logging.INFO,
    hidden: Secrets = NO_SECRETS,
) -> Rate:
    """Send every log to `stream` (standard error), as a person or a machine wants it. May be called again.

    `hidden` stands in no line, whatever its look. Return the bound on lines that repeat themselves, to be flushed at
    the end.
    """
    rate = Rate()
    out = stream if stream is not None else sys.stderr
    for_people = out.isatty() if terminal is None else terminal
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
        _without_colour_copy,
        structlog.processors.format_exc_info,  # before what is hidden: a message of an exception may hold a key as well
        _Hiding(hidden),
    ]
    handler = logging.StreamHandler(out)
    handler.addFilter(rate)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(for_people)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("gateway").setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            rate,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return rate


def hide(hidden: Secrets) -> None:
    """Let these stand in no line either, beside those that the log was configured with."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, _Hiding):
            processor.hide(hidden)


class _Hiding:
    """A processor: replaces credentials in an event: known ones, and others by their field's name or their look."""

    def __init__(self, hidden: Secrets) -> None:
        self._hidden = hidden

    def hide(self, hidden: Secrets) -> None:
        """Hide more."""
        self._hidden = Secrets((*self._hidden.texts, *hidden.texts))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in event.items():
            if not name.startswith("_"):
                event[name] = self._shown(name, value)
        return event

    def _shown(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name.lower() in _SECRET_NAMES:
            return HIDDEN
        if isinstance(value, str):
            return _SECRET_TEXT.sub(lambda found: (found[1] or found[2]) + HIDDEN, self._hidden.out_of_text(value))
        if isinstance(value, Mapping):
            return {key: self._shown(str(key), inner) for key, inner in value.items()}
        return value


def _without_colour_copy(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's second copy of its message, with escape codes
    return event


def _renderer(for_people: bool) -> Processor:
    if for_people:  # the plain traceback: the richer ones print local variables, keys among them
        return structlog.dev.ConsoleRenderer(pad_event_to=24, exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer()
