"""Limits over a socket: money, rates, what is told, and a restart that forgets nothing."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

from tests.contract.running import Program, environment, free_port, gateway_command, get, wait_for

MODEL = """model_list:
  - model_name: m
    litellm_params: {model: demo/gpt-4.1}
    model_info: {input_cost_per_token: 1.0e-6, output_cost_per_token: 1.0e-5, max_output_tokens: 4000}
"""


@contextmanager
def serving(folder: Path, limits: str) -> Iterator[int]:
    port = free_port()
    (folder / "config.yaml").write_text(f"server: {{port: {port}}}\n{MODEL}{limits}\n", encoding="utf-8")
    program = Program.start([*gateway_command(), "serve", "--config", str(folder / "config.yaml")])
    try:
        wait_for(lambda: get(f"http://127.0.0.1:{port}/health")[0] == 200, 30, "the gateway serves")
        yield port
    finally:
        program.stop()
    assert not program.tracebacks, program.log


def ask(port: int, **more: Any) -> tuple[int, Message, dict[str, Any]]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello there"}], **more}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as response:
            return response.status, response.headers, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.loads(error.read())


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = [line for path in sorted(folder.glob("var/ledger/*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def spent(folder: Path) -> int:
    return sum(row["cost_nanousd"] for row in rows(folder) if row["event"] == "settled")


def audit(folder: Path, *more: str) -> tuple[int, str]:
    command = [*gateway_command(), "audit", "--config", str(folder / "config.yaml"), *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    return done.returncode, done.stdout


def test_a_rate_is_kept_and_told(tmp_path):
    with serving(tmp_path, "limits: {rpm_limit: 2}") as port:
        first = ask(port)
        answers = [ask(port) for _ in range(3)]
    assert first[1]["x-ratelimit-limit-requests"] == "2"
    assert first[1]["x-ratelimit-remaining-requests"] == "1"
    status, headers, body = answers[-1]
    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "rate_limit_exceeded", "rate_limit_exceeded")
    assert 1 <= int(headers["retry-after"]) <= 60
    assert body["error"]["gateway"]["scope"] == "gateway"
    ends = [row["status"] for row in rows(tmp_path) if row["event"] == "settled"]
    assert sorted(ends)[:2] == ["answered", "answered"]
    assert "refused" in ends


def test_money_is_never_passed_and_a_restart_forgets_nothing(tmp_path):
    limits = "budgets: [{max_budget: 0.02, budget_duration: 1w}]"
    with serving(tmp_path, limits) as port:
        answers = [ask(port, max_tokens=1_500)]
        while answers[-1][0] == 200 and len(answers) < 200:
            answers.append(ask(port, max_tokens=1_500))
    status, headers, body = answers[-1]
    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "budget_exceeded", "insufficient_quota")
    assert "does not pay for this request: " in body["error"]["message"]  # some of it is left
    assert headers["x-should-retry"] == "false"
    assert "not the provider's quota" in body["error"]["message"]
    assert body["error"]["gateway"]["limit_nanousd"] == 20_000_000
    assert body["error"]["gateway"]["spent_nanousd"] == spent(tmp_path) <= 20_000_000
    clamped = [one[1]["x-gateway-clamped"] for one in answers if "x-gateway-clamped" in one[1]]
    assert clamped
    assert clamped[0].startswith("max_completion_tokens=1500->")
    assert audit(tmp_path) == (0, "1 sums, 0 differ\n")
    for path in (tmp_path / "var" / "state").glob("counters.db*"):
        path.unlink()
    assert audit(tmp_path)[0] == 1
    assert audit(tmp_path, "--repair")[1].endswith("1 differ, repaired\n")
    assert audit(tmp_path)[0] == 0
    with serving(tmp_path, limits) as port:
        again = ask(port, max_tokens=1_500)
    assert again[0] == 429
    assert again[2]["error"]["gateway"]["spent_nanousd"] == spent(tmp_path)


def test_one_user_does_not_spend_anothers(tmp_path):
    limits = "budgets: [{per: user, max_budget: 0.001, without_user: refuse}]"
    with serving(tmp_path, limits) as port:
        assert ask(port)[2]["error"]["param"] == "user"
        ends = [ask(port, user="ann", max_tokens=20)[0] for _ in range(40)]
        assert ends[0] == 200
        assert ends[-1] == 429
        assert ask(port, user="bob", max_tokens=20)[0] == 200
