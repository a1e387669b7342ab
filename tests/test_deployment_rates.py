"""Rates of deployments: one that is over is left out, over all workers, and 429 answered where none is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.routing.rates import DeploymentRates, RateError, rates_of
from tests.passage import Script, Setting, deployment, says

BODY = orjson.dumps({"model": "asked", "messages": [{"role": "user", "content": "go"}]})


def setting(folder: Path, *rates: DeploymentRates | None, now: float = 1_000_000_040.0, **more: Any) -> Setting:
    found = [deployment(number=number, rates=one) for number, one in enumerate(rates)]
    return Setting(folder, deployments=found, now=lambda: now, **more)


def called(script: Script) -> list[str]:
    return [call.deployment for call in script.calls]


async def test_a_deployment_that_is_over_is_left_out_until_its_minute_ends(tmp_path):
    rates = DeploymentRates("first", rpm=2), None
    asked = []
    for _ in range(3):
        passed = await setting(tmp_path, *rates)(BODY, script := Script(says()))
        assert passed.client.status == 200
        asked += called(script)
    assert [name[:7] for name in asked] == ["asked#0", "asked#0", "asked#1"]
    later = await setting(tmp_path, *rates, now=1_000_000_100.0)(BODY, script := Script(says()))
    assert (later.client.status, called(script)[0][:7]) == (200, "asked#0")


async def test_where_none_is_left_the_answer_is_to_come_again(tmp_path):
    around = setting(tmp_path, DeploymentRates("first", rpm=1))
    assert (await around(BODY, Script(says()))).client.status == 200
    passed = await around(BODY, script := Script(says()))
    assert (passed.client.status, called(script)) == (429, [])
    assert passed.client.error["code"] == "rate_limit_exceeded"
    assert passed.client.got["retry-after"] == "40"
    last = passed.rows[-1]
    assert (last["status"], last["cost_nanousd"]) == ("refused", 0)
    assert not [line for line in passed.log if line["log_level"] in ("warning", "error")]


async def test_tokens_are_settled_to_the_truth(tmp_path):
    """Each call holds more than 2,000; the 120 that are used leave room for the next."""
    around = setting(tmp_path, DeploymentRates("first", tpm=2_400))
    statuses = [(await around(BODY, Script(says()))).client.status for _ in range(3)]
    assert statuses == [200, 200, 200]
    refused = [(await around(BODY, Script(says()))).client.status for _ in range(3)]
    assert refused[-1] == 429


async def test_calls_at_the_same_time_end_with_their_requests(tmp_path):
    around = setting(tmp_path, DeploymentRates("first", parallel=1))
    assert [(await around(BODY, Script(says()))).client.status for _ in range(3)] == [200, 200, 200]


def test_rates_are_read_as_litellm_has_them():
    assert rates_of("a", {"model": "openai/x"}) is None
    assert rates_of("a", {"rpm": "60", "tpm": 1e5}) == DeploymentRates("a", 60, 100_000, None)
    assert rates_of("a", {"max_parallel_requests": 4}) == DeploymentRates("a", None, None, 4)


@pytest.mark.parametrize("wrong", [0, -1, True, "many", 1.5, 1e300, [3]])
def test_what_is_no_rate_is_refused(wrong):
    with pytest.raises(RateError, match="is not a whole number from 1"):
        rates_of("a", {"rpm": wrong})
