"""Runs the demo: a real gateway in a process of its own, the real `openai` client, two policies, three shapes, books.

It prints only what any client can see: the plan header, the usage in the answer, and `GET /v1/requests/{id}`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import openai
from rich.console import Console
from rich.text import Text

from gateway.config import load as load_config
from gateway.demo import conversation, settings
from gateway.demo.conversation import DemoTurn, Recording
from gateway.demo.shapes import SENDERS, Sender, send_chat
from gateway.money.amounts import rounded
from gateway.money.keys import new_key
from gateway.money.ledger import lookup
from gateway.reports import tables
from gateway.reports.spend import spend_report

_EXPORT = re.compile(r"export OPENAI_BASE_URL=(\S+)")
_START_SECONDS = 30.0
SHOWN: Final = "stub"
"""The policy under which the conversation goes in each shape."""
_ABOUT = {
    "stub": "old tool results become one line each; every message stays",
    "drop": "the oldest messages go, and leave a list of the values that only they held",
}


class DemoFailed(Exception):
    """The gateway did not start or did not answer; the message carries what it said."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one request, in the provider's own numbers."""

    request_id: str
    before: int
    after: int
    done: str
    cached: int
    cost_nanousd: int


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """The `x-gateway-plan` header, read back."""

    kind: str
    before: int | None
    after: int | None
    remedies: tuple[tuple[str, int], ...]


def read_plan(header: str) -> PlanHeader:
    """Parse `rewritten; tokens=45120/27644; stub=12; first_changed=messages[3]`; what is not a count is left out."""
    kind, *fields = (part.strip() for part in header.split(";"))
    before = after = None
    remedies: list[tuple[str, int]] = []
    for name, _, value in (field.partition("=") for field in fields):
        if name == "tokens":
            before, after = (int(number) for number in value.split("/"))
        elif value.isdigit():
            remedies.append((name, int(value)))
    return PlanHeader(kind, before, after, tuple(remedies))


def run_demo(console: Console) -> None:
    """Show the whole demo on `console`. Raises `DemoFailed`, or the client's own error when an answer is one."""
    recording = conversation.load_conversation()
    _introduce(console, recording)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as name:
        folder = Path(name)
        with ThreadPoolExecutor() as aside:
            quiet = Console(quiet=True)
            baseline = aside.submit(_play, quiet, folder / "untouched", settings.BASELINE, recording)
            others = {
                path: aside.submit(_play, quiet, folder / sender.__name__, SHOWN, recording, sender)
                for path, sender in SENDERS.items()
                if sender is not send_chat
            }
            runs = {policy: _play(console, folder, policy, recording) for policy in settings.POLICIES}
            with console.status("the same once more: untouched, and in two other shapes"):
                compared = {"sent as it is": baseline.result()} | {f"policy {name}": run for name, run in runs.items()}
                shapes = {path: others[path].result() if path in others else runs[SHOWN] for path in SENDERS}
        _compare(console, compared)
        _compare_shapes(console, shapes)
        _conclude(console, load_config(folder / "config.yaml", os.environ).ledger.dir, runs[SHOWN])


@contextmanager
def _running_gateway(config: Path) -> Iterator[str]:
    """Start `gateway serve` on a free port and give its base URL; stop it as an operator would."""
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    with (config.parent / "gateway.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 - our own words
        try:
            yield _base_url(process, log.name)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_START_SECONDS)


def _base_url(process: subprocess.Popen[str], log: str) -> str:
    """Read the line to export and wait until the gateway says that it is ready."""
    if process.stdout is None:
        raise DemoFailed("the gateway has no output to read")
    found = next((match for line in process.stdout if (match := _EXPORT.search(line))), None)
    if found is None:
        raise DemoFailed(f"the gateway did not start:\n{Path(log).read_text(encoding='utf-8')}")
    base_url = found[1]
    deadline = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=base_url) as client:
        while client.get("/ready").status_code != httpx.codes.OK:
            if time.monotonic() > deadline:
                raise DemoFailed(f"the gateway was not ready after {_START_SECONDS:.0f} s")
            time.sleep(0.05)
    return base_url


def _introduce(console: Console, recording: Recording) -> None:
    turns = recording.turns()
    users = sorted({turn.user for turn in turns})
    console.print(
        f"One conversation of {len(recording.messages)} messages and {len(recording.tools)} tools, in {len(turns)}"
        f" requests from {', '.join(users[:-1])} and {users[-1]},\n"
        "goes through a gateway turn by turn, sent by the openai client, under two policies with a window of 16,000"
        f" tokens.\nThe provider is the built-in one: answers made up, tokens, prompt cache and prices as of"
        f" {settings.MODEL}."
    )


def _play(
    console: Console, folder: Path, policy: str, recording: Recording, sender: Sender = send_chat
) -> list[Outcome]:
    """Send every turn under one policy, to a gateway whose provider has seen nothing yet; print a line for each."""
    secret, digest = new_key()
    config = settings.write_config(folder, [settings.Key(policy, digest)])
    outcomes: list[Outcome] = []
    with _running_gateway(config) as url, openai.OpenAI(base_url=url, api_key=secret, max_retries=0) as client:
        console.print()
        console.print(Text(f"Policy {policy}", style="bold"), Text(_ABOUT.get(policy, ""), style="dim"), sep="  ")
        console.print(Text(_HEADING, style="dim"))
        for turn in recording.turns():
            outcome = _outcome(client, recording, turn, sender)
            fresh = not outcomes or outcome.done != outcomes[-1].done
            outcomes.append(outcome)
            console.print(_line(turn, outcome, fresh))
    console.print(_total(outcomes))
    return outcomes


def _outcome(client: openai.OpenAI, recording: Recording, turn: DemoTurn, sender: Sender) -> Outcome:
    """Send one turn, and ask the gateway what became of it."""
    sent = sender(client, recording, turn)
    request_id, plan = sent.headers["x-request-id"], read_plan(sent.headers["x-gateway-plan"])
    entry = client.get(f"/requests/{request_id}", cast_to=httpx.Response).json()
    return Outcome(
        request_id=request_id,
        before=plan.before if plan.before is not None else sent.prompt_tokens,
        after=sent.prompt_tokens,
        done=", ".join(f"{name} {count}" for name, count in plan.remedies) or plan.kind,
        cached=sent.cached_tokens,
        cost_nanousd=entry["cost_nanousd"],
    )


_HEADING = f"{'turn':>4}  {'user':<6} {'how':<6} {'before':>8} {'after':>8} {'cached':>7} {'cost':>9}  what was done"


def _line(turn: DemoTurn, outcome: Outcome, fresh: bool) -> Text:
    how = "stream" if turn.stream else "plain"
    line = Text(f"{turn.number:>4}  {turn.user:<6} {how:<6} {outcome.before:>8,}")
    line.append(f" {outcome.after:>8,}", style="green" if outcome.after < outcome.before else "")
    line.append(f" {outcome.cached / outcome.after:>7.0%} {rounded(outcome.cost_nanousd):>9}")
    line.append(f"  {outcome.done}", style="yellow" if fresh and outcome.done != "unchanged" else "dim")
    return line


def _total(outcomes: list[Outcome]) -> Text:
    before, after = sum(o.before for o in outcomes), sum(o.after for o in outcomes)
    cached = sum(o.cached for o in outcomes) / after
    cost = rounded(sum(o.cost_nanousd for o in outcomes))
    saved = f"{1 - after / before:.0%} fewer tokens sent"
    return Text(f" all  {'':<13} {before:>8,} {after:>8,} {cached:>7.0%} {cost:>9}  {saved}", style="bold")


def _compare(console: Console, runs: Mapping[str, list[Outcome]]) -> None:
    """Print what the conversation came to under each policy, beside what it costs when nothing is done to it."""
    rows = []
    for name, outcomes in runs.items():
        sent = sum(outcome.after for outcome in outcomes)
        cached = sum(outcome.cached for outcome in outcomes) / sent
        cost = rounded(sum(outcome.cost_nanousd for outcome in outcomes))
        rows.append((name, f"{sent:,}", f"{cached:.0%}", cost))
    console.print()
    console.print(tables.table(("the whole conversation", ">tokens sent", ">cached", ">cost"), rows))


def _compare_shapes(console: Console, shapes: Mapping[str, list[Outcome]]) -> None:
    """Print what the same conversation came to in each shape under one policy: one plan serves all."""
    rows = []
    for path, outcomes in shapes.items():
        cut = sum(outcome.done not in ("unchanged", "as sent") for outcome in outcomes)
        cost = rounded(sum(outcome.cost_nanousd for outcome in outcomes))
        before, after = sum(one.before for one in outcomes), sum(one.after for one in outcomes)
        rows.append((path, f"{cut} of {len(outcomes)}", f"{before:,}", f"{after:,}", cost, outcomes[-1].done))
    console.print()
    console.print(
        tables.table(
            (f"policy {SHOWN}, asked at", ">rewritten", ">before", ">tokens sent", ">cost", "the last one"), rows
        )
    )


def _conclude(console: Console, books: Path, outcomes: list[Outcome]) -> None:
    """Print who spent what, and all that the books know of the request that was cut most."""
    console.print()
    console.print(Text("gateway report --by user", style="bold"))
    console.print(*tables.report_tables(spend_report(books, by="user"), console.width), sep="\n")
    shown = max(outcomes, key=lambda outcome: outcome.before - outcome.after)
    record = lookup.find(books, shown.request_id)
    if record is None:
        raise DemoFailed(f"request {shown.request_id} was answered but is not in the ledger")
    console.print()
    console.print(Text(f"gateway explain {shown.request_id}", style="bold"))
    console.print(tables.request_tables(record))
    console.print()
    console.print("To put it in front of a program of yours: [bold]make serve[/], then docs/quickstart.md.")
