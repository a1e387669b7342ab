"""The program's own log: for people on a terminal, for machines elsewhere, and never with a credential in it."""

import io
import json
import logging

import pytest
import structlog

from gateway.operators import logs


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_each_event_is_one_json_object() -> None:
    out = io.StringIO()
    logs.configure(out)
    structlog.get_logger("gateway.test").info("deployment failed", deployment="openai/gpt-5", status=503)
    (line,) = lines(out)
    assert line["event"] == "deployment failed"
    assert line["level"] == "info"
    assert line["deployment"] == "openai/gpt-5"
    assert line["status"] == 503
    assert str(line["timestamp"]).endswith("Z")


def test_on_a_terminal_an_event_is_a_line_for_people() -> None:
    out = io.StringIO()
    logs.configure(out, terminal=True)
    structlog.get_logger("gateway.test").warning("ledger is behind", owed=3)
    assert "ledger is behind" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_loggers_of_libraries_come_out_in_the_same_shape_from_warning_on() -> None:
    out = io.StringIO()
    logs.configure(out)
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").error("boom %s", 1, extra={"color_message": "\x1b[31mboom"})
    (line,) = lines(out)
    assert line["event"] == "boom 1"
    assert line["logger"] == "uvicorn.error"
    assert "color_message" not in line


@pytest.mark.parametrize("terminal", [True, False])
def test_a_credential_never_reaches_the_log(terminal: bool) -> None:
    out = io.StringIO()
    logs.configure(out, terminal=terminal)
    log = structlog.get_logger("gateway.test")
    log.error("refused sk-gw-abcdefghijklmnop", authorization="Bearer hush-hush", params={"api_key": "hush-hush"})
    try:
        raise ValueError("Incorrect API key provided: sk-proj-hush-hush-hush, Bearer hush-hush")
    except ValueError:
        log.exception("upstream")
    assert "hush-hush" not in out.getvalue()
    assert "abcdefghijklmnop" not in out.getvalue()
    assert "ValueError" in out.getvalue()


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure(first)
    logs.configure(second)
    structlog.get_logger("gateway.test").info("hello")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1
