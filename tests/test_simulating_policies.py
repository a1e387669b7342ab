"""Policies judged by traffic, and requests that a ledger kept for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from gateway.budget.tokens import Counter
from gateway.config import load
from gateway.config.merging import load_policies
from gateway.config.policy import Policy
from gateway.money.ledger import Ledger, content_files, files, rows
from gateway.money.ledger.lookup import find
from gateway.money.row import LedgerRow
from gateway.reports.simulating.judging import Simulation, judge_policies
from gateway.reports.simulating.price_rules import RULES, Rule
from gateway.reports.simulating.rendering import as_json, tables
from gateway.reports.simulating.traffic import Turn, read_traffic
from gateway.routing.catalogue import catalogue
from gateway.routing.models import Model, models_of
from tests.conftest import Conversations

CASES = Path(__file__).resolve().parent / "cases" / "traffic"
COUNTER = Counter()


@pytest.fixture(scope="module")
def policies() -> Mapping[str, Policy]:
    return load(CASES / "config.yaml", {}).policies


@pytest.fixture(scope="module")
def model() -> Model:
    return models_of(catalogue(load(CASES / "config.yaml", {})), unpriced=True)["assistant"]


def judged(
    turns: Sequence[Turn], policies: Sequence[Policy], model: Model, rules: Mapping[str, Rule] = RULES
) -> Simulation:
    return judge_policies(turns, policies, lambda _: model, lambda _: COUNTER, rules)


@pytest.fixture(scope="module")
def workshop() -> Sequence[Turn]:
    return read_traffic(CASES / "conversations.jsonl").turns


def test_a_policy_that_touches_nothing_costs_what_the_traffic_costs(
    workshop: Sequence[Turn], policies: Mapping[str, Policy], model: Model
) -> None:
    found = judged(workshop, [policies["default"]], model)
    (verdict,) = found.verdicts
    assert (verdict.requests, verdict.touched, verdict.refusals, verdict.lost) == (51, 0, 0, 0)
    assert verdict.tokens_after == verdict.tokens_before == found.as_it_came.tokens_after
    assert verdict.lengths == found.as_it_came.lengths
    for rule in RULES:
        assert verdict.relative(rule) == 1
        assert verdict.bills[rule] == found.as_it_came.bills[rule]


@pytest.mark.long
def test_what_leaves_fits_and_is_cheaper_without_a_cache(
    workshop: Sequence[Turn], policies: Mapping[str, Policy], model: Model
) -> None:
    found = judged(workshop, [policies["roomy"], policies["tight"]], model)
    for verdict, most in zip(found.verdicts, (6000, 3000), strict=True):
        sent = [length for lengths in verdict.lengths.values() for length in lengths]
        assert sum(length for length in sent if length) == verdict.tokens_after == verdict.bills["no cache"].tokens
        assert all(length <= most for length in sent if length)
        assert verdict.touched
        assert verdict.tokens_after < verdict.tokens_before
        relative = verdict.relative("no cache")
        assert relative == pytest.approx(verdict.tokens_after / verdict.tokens_before)
        assert 0 <= verdict.lost <= verdict.carried_when_touched <= verdict.carried
        assert len(verdict.examples) <= 5


def test_the_bill_of_a_conversation_is_the_one_worked_out_by_hand(model: Model, tmp_path: Path) -> None:
    """Two turns: the second reads of the first what is whole steps, and pays for the rest."""
    first = {"role": "user", "content": "word " * 2000}
    second = [first, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "word " * 500}]
    lines = [{"model": "assistant", "messages": messages} for messages in ([first], second)]
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    came = judged(read_traffic(path).turns, [], model).as_it_came
    one = COUNTER.count(first["content"]) + 4
    two = one + 2 * 4 + COUNTER.count("Yes.") + COUNTER.count("word " * 500)
    assert came.lengths == {"two.jsonl:1": [one + 3, two + 3]}  # three tokens prime the answer
    assert came.bills["no cache"].cost == one + two + 6
    cached = one // 128 * 128
    assert came.bills["cached .5 write 1"].cached == cached
    assert came.bills["cached .5 write 1"].cost == one + two + 6 - cached / 2
    assert came.bills["cached .1 write 1.25"].cost == pytest.approx(1.25 * (two + 6) + 0.1 * one)


def test_a_turn_after_the_caches_lifetime_pays_for_all_of_it(model: Model, tmp_path: Path) -> None:
    message = {"role": "user", "content": "word " * 2000}
    path = tmp_path / "2026-01-31.content.jsonl"
    lines = [
        {"event": "content", "id": f"gw_{n}", "ts": ts, "request": {"model": "assistant", "messages": [message]}}
        for n, ts in enumerate(["2026-01-31T12:00:00.000Z", "2026-01-31T12:04:59.000Z", "2026-01-31T12:14:00.000Z"])
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = judged(read_traffic(path).turns, [], model)
    assert found.timed
    assert found.as_it_came.bills["cached .1 write 1.25"].cached == 2005  # five minutes
    assert found.as_it_came.bills["cached .1 write 1"].cached == 2 * 1920  # ten minutes


def test_a_refused_request_is_told_with_its_reason_and_counts_nowhere_else(
    policies: Mapping[str, Policy], model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "day.jsonl"
    lines = [{"model": "assistant", "messages": [{"role": "user", "content": "word " * n}]} for n in (4000, 5000, 10)]
    path.write_text("\n".join(map(json.dumps, lines)))
    (verdict,) = judged(read_traffic(path).turns, [policies["tight"]], model).verdicts
    (refused,) = verdict.refused.values()
    assert (refused.why, refused.count, refused.at, refused.conversation) == (
        "input too large", 2, "messages[0]", "day.jsonl:2",
    )  # fmt: skip
    assert refused.tokens > 5000 > refused.room
    assert verdict.tokens_before == verdict.tokens_after < 20
    assert verdict.relative("no cache") == 1
    assert list(verdict.lengths.values())[:2] == [[None], [None]]


def test_what_rests_on_live_traffic_is_named_as_left_out(model: Model, tmp_path: Path) -> None:
    (tmp_path / "early.yaml").write_text(
        "name: early\nfold: {when: cheaper}\nprompt_cache: {warm: ['You*']}\nprofiles: {plain: {fold: {when: over}}}\n"
    )
    line = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    (tmp_path / "day.jsonl").write_text(json.dumps(line))
    early = load_policies(tmp_path).by_name["early"]
    found = judged(read_traffic(tmp_path / "day.jsonl").turns, [early], model)
    assert found.verdicts[0].left_out == {"fold.when: cheaper", "prompt_cache.warm"}
    assert as_json(found, [])["policies"][0]["left_out"] == ["fold.when: cheaper", "prompt_cache.warm"]
    console = Console(width=100)
    with console.capture() as captured:
        console.print(tables(found, "day.jsonl", 100))
    told = "early: left out: fold.when: cheaper, prompt_cache.warm; what they do rests on live traffic."
    assert told in " ".join(captured.get().split())


def test_an_unknown_profile_is_a_refusal(model: Model, tmp_path: Path) -> None:
    (tmp_path / "profiled.yaml").write_text("name: profiled\nprofiles: {night: {context_window: 3k}}\n")
    line = {"model": "m", "messages": [{"role": "user", "content": "a"}], "metadata": {"gateway_profile": "day"}}
    path = tmp_path / "day.jsonl"
    path.write_text(json.dumps(line))
    (verdict,) = judged(read_traffic(path).turns, [load_policies(tmp_path).by_name["profiled"]], model).verdicts
    assert "no profile 'day'" in next(iter(verdict.refused))


@pytest.mark.long
def test_the_same_traffic_gives_the_same_verdict(
    workshop: Sequence[Turn], policies: Mapping[str, Policy], model: Model
) -> None:
    assert (
        judged(workshop, [policies["tight"]], model).verdicts == judged(workshop, [policies["tight"]], model).verdicts
    )


def test_fifty_requests_take_seconds(
    conversations: Conversations, policies: Mapping[str, Policy], model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "many.jsonl.gz"
    with gzip.open(path, "wt") as out:
        out.writelines(json.dumps(one) + "\n" for one in conversations.read("swe_agent_java", 30))
    turns = read_traffic(path, model="assistant").turns[:50]
    before = time.process_time()
    found = judged(turns, [policies["roomy"]], model)
    assert found.as_it_came.tokens_after > 50 * 4000
    assert time.process_time() - before < 15  # of a processor that others use too


# ---------------------------------------------------------------- content beside the books


async def test_a_request_is_kept_as_it_came_beside_the_books(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "7", content=True)
    body = b'{"model": "m",\r\n "temperature": 1.10, "messages": [{"role": "user", "content": "a\\nb"}]}'
    ledger.keep("gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D", "care", body)
    await ledger.append(LedgerRow("opened", "gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D"))
    await asyncio.sleep(0)
    ledger.close()
    (kept,) = content_files(tmp_path)
    (day,) = files(tmp_path)
    assert kept.name == day.name.replace(".jsonl", ".content.jsonl")
    (line,) = kept.read_bytes().splitlines()
    assert json.loads(line).keys() == {"event", "id", "team", "request", "ts"}
    (turn,) = read_traffic(tmp_path).turns
    assert turn.body == body.replace(b"\r\n", b"  ")
    assert turn.at is not None


async def test_no_reader_of_the_books_sees_content(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, content=True)
    ledger.keep("gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D", "care", b'{"model": "m", "messages": []}')
    await ledger.append(LedgerRow("opened", "other"))
    await asyncio.sleep(0)
    ledger.close()
    assert [row["id"] for row in rows(tmp_path)] == ["other"]
    assert find(tmp_path, "gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D") is None


async def test_a_ledger_that_keeps_no_content_makes_no_file_for_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep("gw_1", "care", b"{}")
    await ledger.append(LedgerRow("opened", "gw_1"))
    ledger.close()
    assert content_files(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1


async def test_content_that_cannot_be_kept_stops_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(tmp_path, content=True)
    ledger.close()
    ledger.keep("gw_1", "care", b"{}")
    assert "request not kept" in capfd.readouterr().out


@pytest.mark.parametrize(("said", "kept"), [("none", False), ("requests", True)])
def test_the_configuration_says_whether_content_is_kept(tmp_path: Path, said: str, kept: bool) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"model_list: [{{model_name: m, litellm_params: {{model: demo/m}}}}]\nledger: {{content: {said}}}\n"
    )
    assert (load(path, {}).ledger.content == "requests") is kept
