"""What a scrape of the running program says: over real sockets, of several workers, against the ledger's own sums."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.running import (
    Gateway,
    Program,
    free_port,
    get,
    model,
    run_gateway,
    running_gateway,
    wait_for,
    write_setup,
)

NANO = 1e9
BROKEN = "model-4"
"""A model whose deployment cannot be reached."""
TEAMS, KEYS, MODELS = 10, 20, 6
BUDGET = 100_000
TOKENS = {f"key-{number}": f"sk-gw-metrics-{number:04}" for number in range(KEYS)}


def setup(folder: Path, port: int, workers: int) -> Path:
    keys = [
        {"name": name, "sha256": sha256(token.encode()).hexdigest(), "team": f"team-{number % TEAMS}"}
        for number, (name, token) in enumerate(TOKENS.items())
    ]
    listed = [{"model_name": f"model-{one}", "litellm_params": {"model": "demo/gpt-4o"}} for one in range(MODELS - 2)]
    listed.append(model(BROKEN, "gpt-4o", f"http://127.0.0.1:{free_port()}"))
    listed.append({"model_name": "free-*", "litellm_params": {"model": "demo/*"}})
    return write_setup(
        folder,
        {
            "server": {"port": 0, "workers": workers},
            "model_list": listed,
            "fallbacks": [{BROKEN: ["model-0"]}],
            "teams": {f"team-{number}": {} for number in range(TEAMS)}
            | {"team-1": {"budgets": {"max_budget": BUDGET}}},
            "budgets": {"per": "user", "max_budget": BUDGET},
            "keys": keys,
            "default_policy": "lean",
            "metrics": {"port": port},
            "state": {"dir": "state"},
            "ledger": {"dir": "ledger"},
        },
        {"lean": {"name": "lean", "context_window": 2000, "reserve": {"output": 0, "margin": 0}}},
    )


def ask(gateway: Gateway, key: str, name: str, user: str, *, stream: bool = False, long: bool = False) -> int:
    turns: list[dict[str, str]] = []
    for number in range(40 if long else 0):
        turns += [
            {"role": "user", "content": f"Question {number}: " + "tell me more about shipping. " * 12},
            {"role": "assistant", "content": f"Answer {number}: " + "it ships on Monday. " * 12},
        ]
    body = {
        "model": name,
        "user": user,
        "metadata": {"tags": [f"tag of {user}"]},
        "messages": [*turns, {"role": "user", "content": f"hello from {user}"}],
        "max_tokens": 20,
        "stream": stream,
    }
    headers = {"authorization": f"Bearer {TOKENS[key]}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def traffic(gateway: Gateway, requests: int) -> None:
    """Ask for everybody: each key, each model, plain and streamed, long and short, some that are refused."""
    names = list(TOKENS)

    def one(number: int) -> int:
        name = f"model-{number % MODELS}" if number % MODELS < MODELS - 1 else f"free-gpt-4o{'-mini' * (number % 2)}"
        if number % 17 == 0:
            name = f"no such model of {number}"
        how = {"stream": number % 3 == 0, "long": number % 11 == 0}
        return ask(gateway, names[number % KEYS], name, f"user-{number}", **how)

    with ThreadPoolExecutor(8) as threads:
        answered = list(threads.map(one, range(requests)))
    assert 200 in answered


Series = dict[tuple[tuple[str, str], ...], float]


def scraped(port: int) -> dict[str, Series]:
    status, body = get(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    found: dict[str, Series] = defaultdict(dict)
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def series_count(found: dict[str, Series]) -> int:
    return sum(map(len, found.values()))


def in_ledger(gateway: Gateway) -> dict[tuple[tuple[str, str], ...], int]:
    """Sum the ledger's costs as `gateway_cost_usd_total` does."""
    sums: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
    for row in gateway.rows():
        if row["event"] == "settled":
            name = row["model"]
            name = "unknown" if name.startswith("no such") else "free-*" if name.startswith("free-") else name
            sums[tuple(sorted({"team": row["team"], "key": row["key"], "model": name}.items()))] += row["cost_nanousd"]
    return sums


def nano(series: Series) -> dict[tuple[tuple[str, str], ...], int]:
    return {labels: round(value * NANO) for labels, value in series.items()}


def settled(gateway: Gateway) -> int:
    return sum(row["event"] == "settled" for row in gateway.rows())


def workers_of(gateway: Gateway) -> set[int]:
    """The processes that hold a file of the ledger: only workers do."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(gateway.program.pid)], capture_output=True, text=True, check=True
    )
    return {pid for pid in map(int, listed.stdout.split()) if _holds_a_ledger(pid)}


def _holds_a_ledger(pid: int) -> bool:
    try:
        return any("/ledger/" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ends meanwhile
        return False


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, int]]:
    """Two workers with metrics, after some traffic."""
    port = free_port()
    with running_gateway(setup(tmp_path_factory.mktemp("metrics"), port, 2)) as gateway:
        traffic(gateway, 150)
        yield gateway, port


def test_the_sums_of_all_workers_are_the_ledgers_to_the_nano_dollar(exposed: tuple[Gateway, int]):
    gateway, port = exposed
    assert 1 <= len(list(gateway.ledger.glob("*.jsonl"))) <= 2  # one worker may have taken them all
    found = scraped(port)
    assert nano(found["gateway_cost_usd_total"]) == in_ledger(gateway)
    assert sum(found["gateway_requests_total"].values()) == settled(gateway)
    assert sum(found["gateway_request_duration_seconds_count"].values()) == settled(gateway)
    assert sum(found["gateway_in_flight"].values()) == 0
    assert sum(found["gateway_tokens_removed_total"].values()) > 0
    assert found["gateway_fallbacks_total"][("from", BROKEN), ("to", "model-0")] > 0


def test_no_series_names_a_user_a_tag_or_a_clients_own_text(exposed: tuple[Gateway, int]):
    _, port = exposed
    _, body = get(f"http://127.0.0.1:{port}/metrics")
    page = body.decode()
    assert 'model="free-*"' in page
    assert 'model="unknown"' in page
    assert not re.search(r"user-\d|tag of|no such model|hello from|gw_[0-9A-Z]{26}|free-gpt", page)


def test_ten_teams_twenty_keys_and_six_models_stay_under_five_thousand_series(exposed: tuple[Gateway, int]):
    assert series_count(scraped(exposed[1])) <= 5_000


def test_gauges_of_every_worker_are_there(exposed: tuple[Gateway, int]):
    found = scraped(exposed[1])
    up = {dict(labels)["deployment"]: value for labels, value in found["gateway_deployment_up"].items()}
    assert len(up) == MODELS
    assert {name for name, value in up.items() if not value} <= {f"{BROKEN}#0:openai/gpt-4o"}
    assert found["gateway_state_up"][()] == 1.0
    memory = {dict(labels)["part"]: value for labels, value in found["gateway_memory_bytes"].items()}
    assert memory["resident"] > 2 * 50_000_000
    assert 0 <= found["gateway_event_loop_lag_seconds"][()] < 60


def test_what_is_left_of_budgets_is_shown_but_no_users(exposed: tuple[Gateway, int]):
    gateway, port = exposed
    spent = sum(row["cost_nanousd"] for row in gateway.rows() if row["event"] == "settled" and row["team"] == "team-1")
    labels = (("period", "1mo"), ("scope", "team=team-1"))

    def told() -> bool:
        return nano(scraped(port)["gateway_budget_remaining_usd"]) == {labels: BUDGET * 10**9 - spent}

    wait_for(told, 10, "what is left")
    assert scraped(port)["gateway_holds"] == {(("scope", "team=team-1"),): 0.0}


def test_the_page_is_served_alone_and_in_openmetrics_where_that_is_asked_for(exposed: tuple[Gateway, int]):
    _, port = exposed
    assert get(f"http://127.0.0.1:{port}/")[0] == 404
    status, body = get(f"http://127.0.0.1:{port}/metrics", {"accept": "application/openmetrics-text; version=1.0.0"})
    assert status == 200
    assert body.endswith(b"# EOF\n")


def test_a_killed_worker_loses_no_counts_and_is_counted(exposed: tuple[Gateway, int]):
    gateway, port = exposed
    before = wait_for(lambda: len(found := workers_of(gateway)) == 2 and found, 20, "two workers")
    assert isinstance(before, set)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    born = wait_for(lambda: {*gateway.children()} - before, 20, "its replacement")
    os.kill(min(born), signal.SIGKILL)  # which has not counted anything yet
    wait_for(lambda: len(workers_of(gateway) - {victim} - born) == 2, 20, "the replacement of that")
    traffic(gateway, 40)
    found = scraped(port)
    assert nano(found["gateway_cost_usd_total"]) == in_ledger(gateway)
    assert found["gateway_worker_restarts_total"][()] == len(gateway.told("worker died")) == 2
    assert found["gateway_state_up"][()] == 1.0


def test_the_configuration_that_workers_run_and_reloads_that_failed_are_told(exposed: tuple[Gateway, int]):
    gateway, port = exposed
    wait_for(lambda: list(scraped(port)["gateway_config_info"].values()) == [2.0], 20, "two workers")
    found = scraped(port)
    assert found["gateway_config_reload_failures_total"][()] == 0
    before = gateway.config.read_text(encoding="utf-8")
    gateway.config.write_text(before.replace("model_list", "modle_list"), encoding="utf-8")
    os.kill(gateway.program.pid, signal.SIGHUP)
    wait_for(lambda: scraped(port)["gateway_config_reload_failures_total"][()] == 1, 20, "a failure that is counted")
    assert scraped(port)["gateway_config_info"] == found["gateway_config_info"]
    gateway.config.write_text(before.replace("default_policy", "unpriced: allow\ndefault_policy"), encoding="utf-8")
    os.kill(gateway.program.pid, signal.SIGHUP)

    def changed() -> bool:
        now = scraped(port)["gateway_config_info"]
        return now.keys() != found["gateway_config_info"].keys() and list(now.values()) == [2.0]

    wait_for(changed, 20, "two workers under the other configuration")
    traffic(gateway, 20)
    assert nano(scraped(port)["gateway_cost_usd_total"]) == in_ledger(gateway)


def test_a_metrics_port_that_is_taken_is_named_with_the_remedy(exposed: tuple[Gateway, int], tmp_path: Path):
    done = run_gateway("serve", "--config", str(setup(tmp_path, exposed[1], 1)), "--port", "0")
    assert done.returncode == 2
    assert f"metrics: cannot listen on 127.0.0.1:{exposed[1]}" in done.stderr
    assert "metrics.port" in done.stderr


# ---------------------------------------------------------------- a real Prometheus


@contextmanager
def running_prometheus(folder: Path, target: int) -> Iterator[str]:
    """Start Prometheus, which scrapes five times a second; yields its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus on this machine")
    rules = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "rules.yaml"
    settings = {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    port = free_port()
    program = Program.start(
        [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
    )
    try:
        wait_for(lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200, 30, "Prometheus")
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def asked_of(address: str, query: str) -> list[dict[str, Any]]:
    """The result of a query now; it has to be one that Prometheus understands."""
    status, body = get(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    assert status == 200, f"{query}\n{body.decode()}"
    return list(json.loads(body)["data"]["result"])


def board_queries() -> Iterator[str]:
    """Every query of the board, its variables at all of their values."""
    board = json.loads((DEPLOY / "grafana" / "gateway.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    queries += [one["expr"] for one in board["annotations"]["list"]]
    for query in queries:
        yield query.replace("$__rate_interval", "30s").replace("$team", ".*").replace("$model", ".*")


QUIET = ("gateway_cache_lost", "gateway_cache_misses", "changes(gateway_config_info", "restarts", "missed")
"""What this traffic has nothing of, or not for sure."""


def test_a_real_prometheus_has_the_ledgers_sums_and_answers_every_query_of_the_board(
    exposed: tuple[Gateway, int], tmp_path: Path
):
    gateway, port = exposed
    with running_prometheus(tmp_path, port) as prometheus:
        wait_for(lambda: asked_of(prometheus, 'up{job="gateway"} == 1'), 20, "a first scrape")
        traffic(gateway, 40)
        expected, total = in_ledger(gateway), settled(gateway)
        wait_for(
            lambda: int(asked_of(prometheus, "sum(gateway_requests_total)")[0]["value"][1]) == total, 20, "a scrape"
        )
        found = asked_of(prometheus, "sum by (team, key, model) (gateway_cost_usd_total)")
        sums = {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in found}
        assert nano(sums) == expected
        series = asked_of(prometheus, 'count({job="gateway"})')[0]["value"][1]
        assert int(series) <= 5_000
        empty = [one for one in board_queries() if not asked_of(prometheus, one) and not any(q in one for q in QUIET)]
        assert empty == []
        status, body = get(f"{prometheus}/api/v1/rules")
        rules = [rule for group in json.loads(body)["data"]["groups"] for rule in group["rules"]]
        assert status == 200
        assert len(rules) > 10
        assert {rule["lastError"] for rule in rules if "lastError" in rule} == set()
        firing = asked_of(prometheus, 'ALERTS{alertstate="firing"}')
        assert {one["metric"]["alertname"] for one in firing} <= {"GatewayRewritingCosts"}


@pytest.mark.parametrize("checked", [("check", "rules", "rules.yaml"), ("test", "rules", "rules.test.yaml")])
def test_promtool_is_content_with_the_rules(checked: tuple[str, ...]):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine")
    done = subprocess.run([promtool, *checked], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_board_ask_for_metrics_and_labels_that_there_are():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))
    queries = [rule["expr"] for group in rules["groups"] for rule in group["rules"]] + list(board_queries())
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for one in queries for name in re.findall(r"gateway_\w+", one)}
    page = (Path(__file__).resolve().parents[2] / "docs" / "watch-it.md").read_text(encoding="utf-8")
    assert names == set(re.findall(r"^\| `(gateway_\w+)`", page, re.MULTILINE))
