"""What every test may use: hypothesis profiles, recorded conversations (`GATEWAY_DATA`), logging that is put back.

Profiles are chosen by `HYPOTHESIS_PROFILE`: `ci` (the same 500 examples each time, the default; what fails is shown as
it was found), `small` (the same, made as small as it can be: minutes for each law), `fresh` (500 others each time),
`long` (20,000 others) and `quick` (25, as `make quick` runs them: without recorded conversations, and a test that
starts a program is skipped).
Async tests need no marker: pytest-asyncio runs in auto mode.
"""

import gzip
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings

# No test needs the internet: litellm would fetch its price table while it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

CHECKOUT = Path(__file__).resolve().parent.parent

# No deadline: these run on shared machines, where the time of one example says nothing.
_SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_FOUND = (Phase.explicit, Phase.generate)
settings.register_profile("ci", _SHARED, max_examples=500, derandomize=True, phases=_FOUND)
settings.register_profile("small", _SHARED, max_examples=500, derandomize=True)
settings.register_profile("fresh", _SHARED, max_examples=500)
settings.register_profile("long", _SHARED, max_examples=20_000)
settings.register_profile("ci of one module", settings.get_profile("ci"), max_examples=200)
settings.register_profile("quick", _SHARED, max_examples=25, derandomize=True, phases=_FOUND)
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.load_profile(_PROFILE)


def examples(number: int) -> int:
    """Give how many examples a property tries that needs fewer than the 500 of a law: in other profiles as many times
    more or fewer.
    """
    return max(1, number * settings().max_examples // 500)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """In `ci`, have a law tried 500 times and a property of one module 200 times: what a test says is read as it is
    imported.
    """
    if _PROFILE == "ci" and isinstance(collector, pytest.Module):
        settings.load_profile("ci" if "laws" in collector.path.parts else "ci of one module")


def _start_no_program(event: str, arguments: tuple[Any, ...]) -> None:
    """Skip the test that is about to start a program; the workers of pytest-xdist are started outside of tests.

    One that holds something open by then, or starts it elsewhere than in a test's own thread, is marked `long` instead.
    """
    if event in {"subprocess.Popen", "os.posix_spawn", "os.fork"} and "PYTEST_CURRENT_TEST" in os.environ:
        pytest.skip("starts a program: not in the profile `quick`")


if _PROFILE == "quick":
    sys.addaudithook(_start_no_program)


@dataclass(frozen=True, slots=True)
class Conversations:
    """The recorded conversations: a folder with one `NAME.jsonl.gz` a source."""

    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The sources that hold conversations (`toolsets` holds tool lists only and is left out)."""
        found = sorted(file.name.removesuffix(".jsonl.gz") for file in self.folder.glob("*.jsonl.gz"))
        return tuple(name for name in found if name != "toolsets")

    def read(self, name: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the conversations of one source as they were recorded, at most `limit` of them."""
        with gzip.open(self.folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for position, line in enumerate(lines):
                if limit is not None and position >= limit:
                    return
                yield json.loads(line)

    def all(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the conversations of every source, at most `limit` of each."""
        for name in self.names:
            yield from self.read(name, limit)


def _data_folder() -> Path | None:
    """Find the folder of `GATEWAY_DATA`, else the one that may lie beside the checkout."""
    named = os.environ.get("GATEWAY_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data" / "conversations"
    if _PROFILE == "quick":
        return None
    return folder if any(folder.glob("*.jsonl.gz")) else None


def _data_says() -> str:
    """Say in one line where the conversations are read from, or what to do where there are none."""
    folder = _data_folder()
    if folder is not None:
        return f"conversations: {folder}"
    if _PROFILE == "quick":
        return "conversations: not read in the profile `quick`"
    named = os.environ.get("GATEWAY_DATA")
    where = f"GATEWAY_DATA={named} holds no *.jsonl.gz" if named else "GATEWAY_DATA is not set"
    return f"conversations: MISSING ({where}); tests over recorded conversations are skipped"


@pytest.fixture(scope="session")
def conversations() -> Conversations:
    """The recorded conversations; a test that asks for them is skipped, with the reason, where there are none."""
    folder = _data_folder()
    if folder is None:
        pytest.skip(_data_says())
    return Conversations(folder)


@pytest.fixture(scope="session")
def base() -> Iterator[Any]:
    """A database that stays open for many reports; of one thread, as they are small and the machine is shared."""
    from gateway.reports.spend import database

    with database() as opened:
        opened.execute("SET threads = 1")
        yield opened


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Have logging be as it was before, whatever a test, or a command that it runs, configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def pytest_report_header() -> str:
    return _data_says()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it once more at the end, where it is read: a green run without the conversations proves less."""
    if _data_folder() is None:
        terminalreporter.write_line(_data_says(), yellow=True, bold=True)
