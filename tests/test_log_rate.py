"""A line that repeats itself is bounded at the door of the log, and it is said how many were left out."""

import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.operators import logs
from gateway.operators.rate import MOST_KINDS, MOST_LINES, MOST_OTHERS, WINDOW_SECONDS, Rate
from gateway.wire.secrets import Secrets
from tests.test_leaks import ANSWERS, place


class Clock:
    """A clock that stands until it is moved, and calls back what is due."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.seconds

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.seconds + seconds, call))

    def move(self, seconds: float) -> None:
        self.seconds += seconds
        due, self.due = self.due, []
        for at, call in due:
            if at <= self.seconds:
                call()
            else:
                self.due.append((at, call))


class Told:
    """A log behind a bound, without a door around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rate = Rate(self.clock.now, self.clock.later)
        self.lines: list[dict[str, Any]] = []
        structlog.configure(processors=[self.rate, self._keep], logger_factory=structlog.stdlib.LoggerFactory())
        self.log = structlog.get_logger("gateway")

    def _keep(self, _logger: object, method: str, event: Any) -> Any:
        self.lines.append({"level": method, **event})
        raise structlog.DropEvent


def test_the_same_line_comes_a_few_times_and_then_its_count():
    told = Told()
    for number in range(100):
        told.log.critical("ledger unavailable", id=number)
    assert [line["id"] for line in told.lines] == list(range(MOST_LINES))
    told.clock.move(WINDOW_SECONDS)
    assert told.lines[MOST_LINES:] == [
        {
            "level": "critical",
            "event": "lines left out",
            "of": "ledger unavailable",
            "by": "gateway",
            "left_out": 100 - MOST_LINES,
        }
    ]
    told.log.critical("ledger unavailable", id=100)
    assert told.lines[-1]["id"] == 100
    told.clock.move(10 * WINDOW_SECONDS)
    assert told.lines[-1]["id"] == 100, "nothing more was left out"


def test_twelve_seconds_of_a_full_disk_are_a_few_lines():
    told = Told()
    for _ in range(4941):
        told.log.critical("ledger unavailable")
        told.clock.move(12 / 4941)
    told.rate.flush()
    assert len(told.lines) <= 2 * MOST_LINES + 2
    assert sum(line.get("left_out", 1) for line in told.lines) == 4941


def test_a_bound_that_was_replaced_says_nothing_in_the_log_of_another():
    first = Told()
    for _ in range(100):
        first.log.critical("ledger unavailable")
    second = Told()
    first.clock.move(WINDOW_SECONDS)
    assert second.lines == []


def test_each_deployment_has_lines_of_its_own():
    told = Told()
    for number in range(40):
        told.log.warning("deployment rests", deployment=f"d{number}")
    assert len(told.lines) == 40


def test_lines_of_endless_kinds_are_bounded_too():
    told = Told()
    for kind in (f"kind {number}" for number in range(10_000)):
        told.log.warning(kind)
    assert len(told.lines) == MOST_KINDS + MOST_OTHERS
    told.clock.move(WINDOW_SECONDS)
    assert told.lines[-1]["left_out"] == 10_000 - MOST_KINDS - MOST_OTHERS
    told.log.warning("a new kind")
    assert told.lines[-1]["event"] == "a new kind"


class Formatting(logging.Filter):
    """Puts values into texts before anybody else sees them, as litellm's does on the loggers of others."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage(), ()
        return True


@pytest.mark.parametrize("filters", [[], [Formatting()]])
def test_what_libraries_log_is_bounded_by_the_place_that_logs_it(monkeypatch, filters):
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", filters)
    out = io.StringIO()
    rate = logs.configure(out)
    for number in range(50):
        logging.getLogger("asyncio").error("task %d failed", number)
    logging.getLogger("asyncio").error("another")
    rate.flush()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        *(f"task {number} failed" for number in range(MOST_LINES)), "another", "lines left out",
    ]  # fmt: skip
    assert lines[-1]["of"].startswith("task ")
    assert (lines[-1]["by"], lines[-1]["logger"]) == ("asyncio", "gateway")
    assert lines[-1]["left_out"] == 50 - MOST_LINES


def test_a_known_secret_stands_in_no_line_whatever_its_look():
    out = io.StringIO()
    logs.configure(out, hidden=Secrets(["hush/hush"]))
    try:
        raise ValueError("https://me:hush%2Fhush@host")
    except ValueError:
        structlog.get_logger("gateway").exception("at hush/hush", params={"x": "hush/hush"})
    assert "hush" not in out.getvalue()


async def test_a_gateway_that_fails_at_every_request_logs_a_few_lines(tmp_path: Path):
    async with place(tmp_path) as one:
        one.echo.answer = ANSWERS["plain text"]
        for _ in range(40):
            assert (await one.ask("key", stream=False)).startswith("HTTP/1.1 502 ")
        shutil.rmtree(tmp_path / "ledger")
        for _ in range(40):
            assert (await one.ask("key", stream=False)).startswith("HTTP/1.1 503 ")
        one.rate.flush()
        lines = [json.loads(line) for line in one.log.getvalue().splitlines()]
    unavailable = [line for line in lines if "ledger unavailable" in (line["event"], line.get("of"))]
    assert len(unavailable) == MOST_LINES + 1
    assert unavailable[-1]["left_out"] == 40 - MOST_LINES
    assert len(lines) < 25
