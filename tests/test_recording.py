"""A worker's counts: what a settled row adds to, exactly, and under which labels."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.money.row import ComponentSizes, LedgerRow, Milliseconds, RefusalReason, Status
from gateway.operators import families
from gateway.operators.families import BY_NAME, MOST_SERIES, OTHER, UNKNOWN
from gateway.operators.metrics import Exposition
from gateway.operators.recording import Recorder
from gateway.operators.tallies import VARIABLE, Key, Tally
from gateway.serving.services import declared_name
from tests.conftest import examples
from tests.passage import WHOLE_STREAM, Script, Setting, breaks, deployment, fails, says, streams

WATCH_IT = Path(__file__).resolve().parent.parent / "docs" / "watch-it.md"

Sums = dict[Key, list[int]]


def recorder(folder: Path) -> Recorder:
    names = {f"model-{number}": f"model-{number}" for number in range(6)}
    names |= {"gpt-5": "gpt-5", "claude": "claude", "llama-7b": "llama-*"}
    return Recorder(Tally(folder), names.get, structlog.get_logger("gateway"))


def row(**columns: Any) -> LedgerRow:
    usual: dict[str, Any] = {
        "id": "gw_1",
        "status": "answered",
        "key": "bot",
        "team": "support",
        "model": "gpt-5",
        "policy": "lean@4c1e",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cost_nanousd": 1_234_567,
        "ms": Milliseconds(1500.0, 0.7, 400.0),
    }
    return LedgerRow(event="settled", **{**usual, **columns})


def counted(folder: Path, *rows: LedgerRow, **how: Any) -> Sums:
    one = recorder(folder)
    for each in rows:
        one.settled(each, **how)
    return Exposition(folder).sums()


def value(sums: Sums, family: families.MetricFamily, *labels: str) -> int:
    assert len(labels) == len(family.labels)
    return sums.get((family.name, *labels), [0])[0]


# ---------------------------------------------------------------- what a row adds


def test_a_row_adds_to_every_family_that_it_has_something_for(tmp_path: Path):
    sums = counted(tmp_path, row(cached_tokens=64, cache_write_tokens=8, reasoning_tokens=5))
    assert value(sums, families.REQUESTS, "support", "gpt-5", "/chat/completions", "answered", "false") == 1
    assert value(sums, families.COST, "support", "bot", "gpt-5") == 1_234_567
    assert value(sums, families.PLANS, "lean", "unchanged") == 1
    kinds = {
        kind: value(sums, families.TOKENS, "support", "gpt-5", kind) for kind in ("prompt", "cached", "completion")
    }
    assert kinds == {"prompt": 100, "cached": 64, "completion": 20}
    assert value(sums, families.TOKENS, "support", "gpt-5", "cache_write") == 8
    assert value(sums, families.TOKENS, "support", "gpt-5", "reasoning") == 5


def test_durations_fall_into_the_bucket_that_ends_at_or_above_them(tmp_path: Path):
    sums = counted(
        tmp_path, row(ms=Milliseconds(50.0, 0.5, None)), row(ms=Milliseconds(50.1)), row(ms=Milliseconds(9e9))
    )
    duration = sums[families.DURATION.name, "gpt-5", "answered"]
    assert duration[:2] == [1, 1]
    assert duration[len(families.DURATION.bounds)] == 1
    assert duration[-1] == 500 + 501 + 90_000_000_000
    assert sums[families.PLANNING.name,][0] == 1


def test_a_first_chunk_is_of_streams_alone_and_counted_from_the_arrival(tmp_path: Path):
    sums = counted(tmp_path, row(stream=True, ms=Milliseconds(900.0, 10.0, 240.0)), row())
    first = sums[families.FIRST_CHUNK.name, "gpt-5"]
    assert sum(first[:-1]) == 1
    assert first[-1] == 2500


def test_the_rest_is_counted_where_there_is_something_of_it(tmp_path: Path):
    sums = counted(
        tmp_path,
        row(
            plan="rewritten",
            deployment="openai/gpt-5",
            components=ComponentSizes({"history": (900, 400), "input": (30, 30)}),
            missed=2,
            saved_nanousd=-77,
            miss="expired",
            lost_nanousd=55,
        ),
        row(status="refused", plan="refused", refusal=RefusalReason("tools", 9, 8), cost_nanousd=0),
        row(status="refused", error="model_not_allowed", cost_nanousd=0),
    )
    assert value(sums, families.REMOVED, "lean", "history") == 500
    assert (families.REMOVED.name, "lean", "input") not in sums
    assert value(sums, families.MISSED, "lean") == 2
    assert value(sums, families.SAVED, "support", "lean") == -77
    assert value(sums, families.CACHE_MISSES, "lean", "expired") == 1
    assert value(sums, families.CACHE_LOST, "expired") == 55
    assert value(sums, families.REFUSALS, "lean", "tools") == 1
    assert value(sums, families.REFUSALS, "lean", "model_not_allowed") == 1


def test_what_was_only_observed_removes_nothing(tmp_path: Path):
    sizes = ComponentSizes({"history": (900, 0)})
    sums = counted(
        tmp_path, row(plan="observed", deployment="a/b", components=sizes), row(plan="rewritten", components=sizes)
    )
    assert not [key for key in sums if key[0] == families.REMOVED.name]


def test_a_request_is_under_way_from_its_opening_to_its_end(tmp_path: Path):
    one, exposition = recorder(tmp_path), Exposition(tmp_path)
    one.opened(LedgerRow(event="opened", id="gw_1", model="gpt-5"))
    one.opened(LedgerRow(event="opened", id="gw_2", model="gpt-5", kind="summary"))
    assert value(exposition.sums(), families.IN_FLIGHT, "gpt-5") == 1
    one.settled(row(id="gw_9", status="refused"))
    assert value(exposition.sums(), families.IN_FLIGHT, "gpt-5") == 1
    one.settled(row(id="gw_1"))
    assert value(exposition.sums(), families.IN_FLIGHT, "gpt-5") == 0


def test_the_gateways_own_calls_have_a_path_of_their_own(tmp_path: Path):
    sums = counted(tmp_path, row(kind="summary"))
    assert value(sums, families.REQUESTS, "support", "gpt-5", "summary", "answered", "false") == 1


# ---------------------------------------------------------------- labels


def test_a_model_is_called_as_its_entry_and_unknown_where_it_has_none(tmp_path: Path):
    sums = counted(tmp_path, row(model="llama-7b"), row(model="My name is Bob"), called="claude")
    assert value(sums, families.COST, "support", "bot", "llama-*") == 1_234_567
    assert value(sums, families.COST, "support", "bot", UNKNOWN) == 1_234_567
    assert value(sums, families.FALLBACKS, "llama-*", "claude") == 1
    assert not [key for key in sums if "Bob" in "".join(key) or "7b" in "".join(key)]


def test_no_family_has_a_label_for_users_tags_ids_or_what_clients_write():
    labels = {label for family in families.FAMILIES for label in family.labels}
    assert not labels & {"user", "tag", "tags", "id", "request_id", "profile", "error", "message"}


def test_values_beyond_the_bound_of_a_label_are_counted_together(tmp_path: Path):
    with capture_logs() as log:
        sums = counted(tmp_path, *(row(team=f"team-{number}") for number in range(250)))
    teams = Counter(key[1] for key in sums if key[0] == families.COST.name)
    assert len(teams) == 201
    assert value(sums, families.COST, OTHER, "bot", "gpt-5") == 50 * 1_234_567
    assert [(line["label"], line["most"]) for line in log] == [("team", 200)]


def test_series_beyond_the_bound_of_a_worker_are_counted_together(tmp_path: Path):
    with capture_logs() as log:
        one = recorder(tmp_path)
        for team in range(180):
            for key in range(60):
                one.settled(row(team=f"t{team}", key=f"k{key}"))
        sums = Exposition(tmp_path).sums()
    costs = {key: numbers[0] for key, numbers in sums.items() if key[0] == families.COST.name}
    assert sum(costs.values()) == 180 * 60 * 1_234_567
    assert costs[families.COST.name, OTHER, OTHER, OTHER] > 0
    assert len(sums) <= MOST_SERIES + len(BY_NAME)
    assert [line["label"] for line in log] == ["series"]


def test_a_number_that_64_bits_do_not_hold_breaks_no_request(tmp_path: Path):
    with capture_logs() as log:
        sums = counted(tmp_path, row(cost_nanousd=2**80), row())
    assert value(sums, families.COST, "support", "bot", "gpt-5") == 1_234_567
    assert [line["event"] for line in log] == ["metrics cannot count a row"]


def test_ten_teams_and_ten_thousand_users_are_few_series(tmp_path: Path):
    one = recorder(tmp_path)
    draw = random.Random(14)
    statuses: tuple[Status, ...] = ("answered", "refused", "failed", "cancelled")
    for number in range(40_000):
        key, model = draw.randrange(20), draw.randrange(6)
        one.settled(
            row(
                id=f"gw_{number}",
                user=f"user-{draw.randrange(10_000)}",
                team=f"team-{key % 10}",
                key=f"key-{key}",
                model=f"model-{model}",
                policy=f"policy-{key % 10}@4c1e",
                status=draw.choice(statuses),
                stream=draw.random() < 0.5,
                operation=draw.choice(["chat", "responses", "messages"]),
                plan=draw.choice(["unchanged", "rewritten", "refused"]),
                deployment="openai/gpt-5",
                components=ComponentSizes(dict.fromkeys(("tools", "system", "documents", "history", "input"), (9, 5))),
                miss=draw.choice(["expired", "evicted", "changed", None]),
                saved_nanousd=5,
            ),
            calls=((f"model-{model}#0:openai/gpt-5", draw.choice(["answered", "timeout", "rate", "trouble"])),),
        )
    samples = sum(len(family.samples) for family in Exposition(tmp_path).collect())
    assert samples <= 5_000
    assert f"are some {round(samples, -2):,} series" in WATCH_IT.read_text(encoding="utf-8")


def test_the_table_of_the_documentation_is_that_of_the_program():
    lines = WATCH_IT.read_text(encoding="utf-8").splitlines()
    told = [tuple(cell.strip() for cell in line.split("|")[1:5]) for line in lines if line.startswith("| `gateway_")]
    assert told == [
        (f"`{one.name}`", " ".join(one.labels) or "–", one.kind, one.description) for one in families.FAMILIES
    ]


# ---------------------------------------------------------------- several workers


@settings(max_examples=examples(100))
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**12)), max_size=30))
def test_sums_are_exact_whoever_counted(tmp_path_factory: pytest.TempPathFactory, costs: list[tuple[str, int]]):
    folder = tmp_path_factory.mktemp("tallies")
    workers = [recorder(folder) for _ in range(3)]
    for number, (team, cost) in enumerate(costs):
        workers[number % 3].settled(row(team=team, cost_nanousd=cost))
    exposition = Exposition(folder)
    sums = exposition.sums()
    for team in "abc":
        expected = sum(cost for one, cost in costs if one == team)
        assert value(sums, families.COST, team, "bot", "gpt-5") == expected
    exposition.close()


def test_a_worker_that_is_gone_leaves_its_counts_and_takes_its_gauges(tmp_path: Path):
    one, other, exposition = recorder(tmp_path), recorder(tmp_path), Exposition(tmp_path)
    for each in (one, other):
        each.opened(LedgerRow(event="opened", id="gw_5", model="gpt-5"))
        each.settled(row(saved_nanousd=5))
        each.set(families.STATE_UP, 1)
    assert value(exposition.sums(), families.IN_FLIGHT, "gpt-5") == 2
    one.close()
    for _ in range(2):
        sums = exposition.sums()
        assert value(sums, families.COST, "support", "bot", "gpt-5") == 2 * 1_234_567
        assert value(sums, families.SAVED, "support", "lean") == 10
        assert value(sums, families.IN_FLIGHT, "gpt-5") == 1
    assert len(list(tmp_path.iterdir())) == 1


DIES = """
import os, sys, structlog
from pathlib import Path
from gateway.operators.recording import Recorder
from gateway.operators.tallies import Tally
from tests.test_recording import row
one = Recorder(Tally(Path(sys.argv[1])), str, structlog.get_logger())
one.settled(row())
os.kill(os.getpid(), 9)
"""


def test_a_worker_that_is_killed_loses_nothing_that_it_counted(tmp_path: Path):
    root = Path(__file__).resolve().parent.parent
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], env=env, cwd=root, check=False)
    assert done.returncode == -9
    exposition = Exposition(tmp_path)
    for _ in range(2):
        sums = exposition.sums()
        assert value(sums, families.COST, "support", "bot", "gpt-5") == 1_234_567


def test_of_gauges_the_worst_worker_counts(tmp_path: Path):
    one, other = recorder(tmp_path), recorder(tmp_path)
    for each, lag, up in ((one, 30, 0), (other, 700, 1)):
        each.set(families.LOOP_LAG, lag)
        each.set(families.STATE_UP, up)
        each.rest(["a#0", "b#0"], {"a#0"} if up else set())
        each.configured("1111")
    other.configured("2222")
    sums = Exposition(tmp_path).sums()
    assert value(sums, families.LOOP_LAG) == 700
    assert value(sums, families.STATE_UP) == 0
    assert [value(sums, families.DEPLOYMENT_UP, name) for name in ("a#0", "b#0")] == [0, 1]
    assert [value(sums, families.CONFIG_INFO, digest) for digest in ("1111", "2222")] == [1, 1]


def test_a_gauge_whose_series_is_no_more_is_shown_no_more(tmp_path: Path):
    one, other = recorder(tmp_path), recorder(tmp_path)
    exposition = Exposition(tmp_path)
    for each, left in ((one, 300), (other, 200)):
        each.set(families.BUDGET_REMAINING, left, "team=a", "1mo")
    assert value(exposition.sums(), families.BUDGET_REMAINING, "team=a", "1mo") == 200
    other.set(families.BUDGET_REMAINING, families.GONE, "team=a", "1mo")
    assert value(exposition.sums(), families.BUDGET_REMAINING, "team=a", "1mo") == 300
    one.set(families.BUDGET_REMAINING, families.GONE, "team=a", "1mo")
    assert not [key for key in exposition.sums() if key[0] == families.BUDGET_REMAINING.name]
    exposition.close()


def test_a_file_that_is_none_of_ours_is_passed_over(tmp_path: Path):
    (tmp_path / "empty.tally").touch()
    (tmp_path / "strange.tally").write_bytes(b"\xff" * 4096)
    assert value(counted(tmp_path, row()), families.COST, "support", "bot", "gpt-5") == 1_234_567


# ---------------------------------------------------------------- in a gateway


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    (tmp_path / "counts").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "counts"))
    return Setting(tmp_path)


def asked(model: str = "asked", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **more}).encode()


async def test_what_the_ledger_took_is_what_is_counted(setting: Setting, tmp_path: Path):
    setting.deployments = (deployment("asked"), deployment("other"))
    setting.fallbacks = {"asked": ("other",)}
    exposition, rows = Exposition(tmp_path / "counts"), []
    for body, script in (
        (asked(), Script()),
        (asked(stream=True), Script(streams(*WHOLE_STREAM))),
        (asked(), Script(breaks(), says())),
        (asked(), Script(fails(429), fails(500))),
        (asked("nothing"), Script()),
    ):
        passed = await setting(body, script)
        rows = [one for one in passed.rows if one["event"] == "settled"]
    sums = exposition.sums()
    requests = {key[1:]: numbers[0] for key, numbers in sums.items() if key[0] == families.REQUESTS.name}
    assert sum(requests.values()) == len(rows) == 5
    assert sum(numbers[0] for key, numbers in sums.items() if key[0] == families.COST.name) == sum(
        one["cost_nanousd"] for one in rows
    )
    assert value(sums, families.FALLBACKS, "asked", "other") == 2
    attempts = {key[1:]: numbers[0] for key, numbers in sums.items() if key[0] == families.ATTEMPTS.name}
    assert attempts == {
        ("asked#0:openai/gpt-4o", "answered"): 2,
        ("asked#0:openai/gpt-4o", "connect"): 1,
        ("asked#0:openai/gpt-4o", "rate"): 1,
        ("other#0:openai/gpt-4o", "answered"): 1,
        ("other#0:openai/gpt-4o", "trouble"): 1,
    }
    assert {key[1] for key in sums if key[0] == families.IN_FLIGHT.name} == {"asked"}
    assert value(sums, families.IN_FLIGHT, "asked") == 0


async def test_without_metrics_nothing_is_counted(tmp_path: Path):
    passed = await Setting(tmp_path)(asked())
    assert passed.gateway.recorder is None


async def test_a_name_of_the_configuration_is_the_one_its_entry_has(tmp_path: Path):
    models = Setting(tmp_path, deployments=(deployment("asked"),)).gateway(Script()).models
    assert declared_name(models, "asked") == "asked"
    assert declared_name(models, "what a client wrote") is None
