"""What a key is told of its limits, over a socket."""

import http.client
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from gateway.config import load
from tests.served import listening

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {{model: demo/gpt-5}}
    model_info: {{input_cost_per_token: 1.0e-6, output_cost_per_token: 1.0e-5, max_output_tokens: 4000}}
  - {{model_name: other, litellm_params: {{model: demo/gpt-5-mini}}}}
{models}
teams:
  support: {{budgets: [{{max_budget: 2, soft_budget: 1, budget_duration: 1d, time_zone: Europe/Berlin}}]}}
  research: {{}}
keys:
  - {{name: bot, sha256: {bot}, team: support, models: [m]{key}}}
  - {{name: free, sha256: {free}, team: research}}
state: {{dir: state}}
ledger: {{dir: ledger}}
{more}
"""
TOKENS = {"bot": "sk-gw-bot", "free": "sk-gw-free"}

Ask = Callable[..., tuple[int, dict[str, Any]]]


@contextmanager
def serving(folder: Path, more: str = "", key: str = "", models: str = "") -> Iterator[Ask]:
    digests = {name: sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
    text = CONFIG.format(more=more, key=key, models=models, **digests)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    with listening(create_app(load(folder / "config.yaml", {}))) as port:

        def ask(
            path: str, body: Any = None, name: str = "bot", seen: list[Any] | None = None, **headers: str
        ) -> tuple[int, dict[str, Any]]:
            sent = {"authorization": f"Bearer {TOKENS[name]}", "content-type": "application/json", **headers}
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                data = None if body is None else json.dumps(body)
                connection.request("GET" if body is None else "POST", path, data, sent)
                response = connection.getresponse()
                if seen is not None:
                    seen.append({name.lower(): value for name, value in response.getheaders()})
                return response.status, json.loads(response.read())

        yield ask


def chat(ask: Ask, **more: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 20, **more}
    assert ask("/v1/chat/completions", body)[0] == 200


def spent(folder: Path) -> int:
    rows = [json.loads(line) for path in folder.glob("ledger/*.jsonl") for line in path.read_text().splitlines()]
    return sum(row["cost_nanousd"] for row in rows if row["event"] == "settled")


def test_a_key_is_told_what_is_spent_and_left_in_every_scope_that_binds_it(tmp_path):
    more = "budgets: [{max_budget: 100}, {per: user, max_budget: 1}, {per: model, max_budget: 3, window: rolling}]"
    with serving(tmp_path, more, ", limits: {rpm_limit: 60, max_parallel_requests: 5}") as ask:
        chat(ask, user="ann")
        chat(ask, user="bob")
        status, told = ask("/v1/usage", **{"x-gateway-user": "ann"})
        _, nobody = ask("/usage")
        _, free = ask("/v1/usage", name="free")
    assert status == 200
    assert (told["object"], told["key"], told["team"], told["user"]) == ("usage", "bot", "support", "ann")
    by_scope = {(one["scope"], one["counts"]): one for one in told["limits"]}
    assert set(by_scope) == {
        ("gateway", "money"), ("team=support/user=ann", "money"), ("model=m", "money"), ("team=support", "money"),
        ("key=bot", "requests"), ("key=bot", "parallel"),
    }  # fmt: skip
    team, rate = by_scope["team=support", "money"], by_scope["key=bot", "requests"]
    assert team["spent_nanousd"] == spent(tmp_path) > 0
    assert team["remaining_nanousd"] == 2 * 10**9 - spent(tmp_path)
    assert (team["limit_nanousd"], team["soft_nanousd"], team["held_nanousd"]) == (2 * 10**9, 10**9, 0)
    assert (team["period"], team["window"], team["place"]) == ("1d", "calendar", "team support")
    assert team["resets_at"].endswith(("T22:00:00+00:00", "T23:00:00+00:00"))  # midnight in Berlin
    assert 0 < by_scope["team=support/user=ann", "money"]["spent_nanousd"] < spent(tmp_path)
    assert (rate["limit"], rate["spent"], rate["remaining"]) == (60, 2, 58)
    assert by_scope["key=bot", "parallel"]["remaining"] == 5
    assert not any("user=" in one["scope"] for one in nobody["limits"])
    assert {one["scope"] for one in free["limits"]} == {"gateway", "model=m", "model=other"}


def test_a_gateway_without_limits_lists_none(tmp_path):
    with serving(tmp_path) as ask:
        assert ask("/v1/usage", name="free") == (
            200,
            {"object": "usage", "key": "free", "team": "research", "user": None, "policy": "default", "limits": []},
        )


def test_whoever_has_no_key_is_told_nothing(tmp_path):
    with serving(tmp_path) as ask:
        assert ask("/v1/usage", authorization="Bearer sk-gw-none")[0] == 401


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
def test_each_shape_is_told_of_the_nearest_rate_in_its_own_headers(tmp_path, path):
    turns = [{"role": "user", "content": "hello there"}]
    body = {"model": "m", "input": "hello there"} if path == "responses" else {"model": "m", "messages": turns}
    more = {"max_output_tokens": 20} if path == "responses" else {"max_tokens": 20}
    seen: list[dict[str, str]] = []
    with serving(tmp_path, "limits: {rpm_limit: 9, tpm_limit: 100k}", ", limits: {rpm_limit: 2}") as ask:
        for _ in range(3):
            status, _ = ask(f"/v1/{path}", body | more, seen=seen)
    first, last = seen[0], seen[-1]
    if path == "messages":
        assert (first["anthropic-ratelimit-requests-limit"], first["anthropic-ratelimit-requests-remaining"]) == (
            "2",
            "1",
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:00Z", last["anthropic-ratelimit-requests-reset"])
        assert "x-ratelimit-limit-requests" not in first
        remaining = "anthropic-ratelimit-requests-remaining"
    else:
        assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == ("2", "1")
        assert re.fullmatch(r"\d+s", last["x-ratelimit-reset-requests"])
        assert 0 < int(first["x-ratelimit-remaining-tokens"]) < 100_000
        remaining = "x-ratelimit-remaining-requests"
    if status == 429:  # unless a minute ended meanwhile
        assert (last[remaining], 1 <= int(last["retry-after"]) <= 60) == ("0", True)


def test_what_is_too_much_to_list_is_counted(tmp_path):
    budgets = ", ".join(f"{{per: model, max_budget: 5, budget_duration: {days + 1}d}}" for days in range(20))
    models = "\n".join(f"  - {{model_name: m{one}, litellm_params: {{model: demo/gpt-5}}}}" for one in range(11))
    with serving(tmp_path, f"aliases: {{best: m}}\nbudgets: [{budgets}]", "", models) as ask:
        assert len(ask("/v1/usage")[1]["limits"]) == 21
        _, told = ask("/v1/usage", name="free")
    assert (len(told["limits"]), told["more"]) == (200, 60)
