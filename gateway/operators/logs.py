"""The program's own log: structlog and the standard library's loggers in one stream, for people or for machines.

On a terminal each event is a coloured line, anywhere else one JSON object. Credentials are taken out here, once, so
that no caller has to think of it. Nothing is logged per request: what happened to a request is in the ledger.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_NAMES = frozenset({"api_key", "authorization", "x-api-key", "x_api_key", "token", "secret", "password"})
_SECRET_TEXT = re.compile(r"\b(sk-[A-Za-z0-9_-]{3})[A-Za-z0-9_-]{6,}|\b([Bb]earer )\S+")
_HIDDEN = "***"


def configure(stream: IO[str] | None = None, *, terminal: bool | None = None, level: int = logging.INFO) -> None:
    """Send every log to `stream` (standard error), as a person or a machine wants it. May be called again."""
    out = stream if stream is not None else sys.stderr
    for_people = out.isatty() if terminal is None else terminal
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
        _without_colour_copy,
        structlog.processors.format_exc_info,  # before `redact`: a message of an exception may hold a key as well
        redact,
    ]
    handler = logging.StreamHandler(out)
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
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace credentials, by the name of their field or by their look, in the event and one level below it."""
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name.lower() in _SECRET_NAMES:
        return _HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda found: (found[1] or found[2]) + _HIDDEN, value)
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    return value


def _without_colour_copy(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's second copy of its message, with escape codes
    return event


def _renderer(for_people: bool) -> Processor:
    if for_people:  # the plain traceback: the richer ones print local variables, keys among them
        return structlog.dev.ConsoleRenderer(pad_event_to=24, exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer()
