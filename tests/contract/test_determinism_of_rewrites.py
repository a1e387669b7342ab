"""The same request leaves as the same bytes whichever gateway it comes to, and whatever that gateway saw before.

Requests of recorded conversations, and of a made-up one, go to gateways that differ in all that must not matter; what
the provider got is compared byte for byte. A sample of each source, or all of them with DETERMINISM=all. A gateway
learns nothing here from the order of requests: each one is a whole conversation up to some turn.
"""

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.contract.running import (
    CHECKOUT,
    KEYS,
    Gateway,
    Upstream,
    config,
    environment,
    get,
    model,
    running_gateway,
    running_upstream,
    write_setup,
)
from tests.load.recorded import MADE_UP, Body, data, joined, raw

ALL = os.environ.get("DETERMINISM") == "all"
WINDOW = 8_000
OVER_BYTES = 5 * WINDOW
"""A conversation of so many bytes is taken to be over the window."""
SAMPLE = 1
"""Conversations of each source, without DETERMINISM=all."""
SHARES = (1.0, 0.8, 0.6)
"""How far into a conversation its requests stand."""

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and the id by which the provider knows it."""

    id: str
    body: bytes


def _requests_of(name: str, conversation: Body) -> Iterator[Asked]:
    """Give requests of a conversation: up to its end, and up to some of its earlier answers."""
    messages = conversation["messages"]
    ends = [at for at in range(1, len(messages) + 1) if at == len(messages) or messages[at]["role"] == "assistant"]
    for end in dict.fromkeys(ends[int(share * (len(ends) - 1))] for share in SHARES):
        id = f"{name}-{end}"
        body: Body = {"model": "gpt-5", "messages": messages[:end], "metadata": {"script": json.dumps({"id": id})}}
        if conversation.get("tools"):
            body["tools"] = conversation["tools"]
        yield Asked(id, raw(body))


def _conversations() -> Iterator[tuple[str, Body]]:
    yield MADE_UP, joined(MADE_UP, 20_000)
    recorded = data()
    for name in recorded.names if recorded is not None else ():
        assert recorded is not None
        found = (one for one in recorded.read(name) if ALL or len(raw({"messages": one["messages"]})) > OVER_BYTES)
        for number, conversation in enumerate(islice(found, None if ALL else SAMPLE)):
            yield f"{name}-{number}", conversation


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    return [request for name, conversation in _conversations() for request in _requests_of(name, conversation)]


# ---------------------------------------------------------------- gateways


def _setup(folder: Path, upstream: Upstream, workers: int = 1) -> Path:
    policy = {"name": "measured", "context_window": WINDOW, "reserve": {"output": 0, "margin": 0}}
    settings = config(upstream.url, model_list=[model("gpt-5", "gpt-5", upstream.url)], fallbacks=[])
    settings |= {"teams": {"contract": {"policy": "measured"}}, "default_policy": "measured"}
    settings["keys"] = settings["keys"][:1]
    settings["server"] |= {"workers": workers, "max_body": "32MB"}
    return write_setup(folder, settings, {"measured": policy})


@contextmanager
def _running(folder: Path, workers: int = 1) -> Iterator[tuple[Gateway, Upstream]]:
    """Start a provider with empty books and a gateway in `folder`, which may hold the state of an earlier one."""
    with running_upstream() as upstream, running_gateway(_setup(folder, upstream, workers)) as gateway:
        yield gateway, upstream


def _send(gateway: Gateway, body: bytes) -> int:
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/chat/completions", data=body, headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _left(gateway: Gateway, upstream: Upstream, requests: Sequence[Asked], at_once: int = 1) -> dict[str, str]:
    """Send requests; return the digest of what the provider got of each, or that it was refused."""
    with ThreadPoolExecutor(at_once) as threads:
        statuses = list(threads.map(lambda one: _send(gateway, one.body), requests))
    assert set(statuses) <= {200, 400}, sorted(set(statuses))
    out: dict[str, str] = {}
    for request, status in zip(requests, statuses, strict=True):
        found, digest = get(f"{upstream.url}/received?id={request.id}&part=digest")
        assert (found == 200) == (status == 200), (request.id, status)
        out[request.id] = digest.decode() if found == 200 else REFUSED
    return out


@dataclass(frozen=True, slots=True)
class Reference:
    """What one gateway with one worker sent, and its folder."""

    folder: Path
    left: dict[str, str]


@pytest.fixture(scope="module")
def reference(asked: list[Asked], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    with _running(folder) as (gateway, upstream):
        left = _left(gateway, upstream, asked)
        plans = [row["plan"] for row in gateway.rows() if row["event"] == "settled"]
    over = sum(len(one.body) > OVER_BYTES for one in asked)
    assert plans.count("rewritten") > over // 2 > 0, f"{over} requests should be over; {Counter(plans)}"
    return Reference(folder, left)


def _shuffled(asked: Sequence[Asked]) -> list[Asked]:
    return random.Random(5).sample(asked, len(asked))


# ---------------------------------------------------------------- laws


def test_four_workers_send_what_one_sends(asked: list[Asked], reference: Reference, tmp_path: Path) -> None:
    with _running(tmp_path, workers=4) as (gateway, upstream):
        assert _left(gateway, upstream, asked, at_once=8) == reference.left


def test_a_restart_with_the_state_of_before_changes_nothing(asked: list[Asked], reference: Reference) -> None:
    with _running(reference.folder) as (gateway, upstream):
        assert _left(gateway, upstream, asked) == reference.left


def test_an_empty_store_changes_nothing(asked: list[Asked], reference: Reference) -> None:
    shutil.rmtree(reference.folder / "state")
    with _running(reference.folder) as (gateway, upstream):
        assert _left(gateway, upstream, asked) == reference.left


def test_another_replica_in_another_order_sends_the_same(
    asked: list[Asked], reference: Reference, tmp_path: Path
) -> None:
    with _running(tmp_path) as (gateway, upstream):
        assert _left(gateway, upstream, _shuffled(asked), at_once=4) == reference.left


def _in_process(seed: str, *options: str) -> Callable[[Sequence[Asked]], dict[str, str]]:
    """Plan without a gateway, in an interpreter with this hash seed."""

    def left(requests: Sequence[Asked]) -> dict[str, str]:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.load.rewriting_again", str(WINDOW), *options],
            input=b"".join(base64.b64encode(request.body) + b"\n" for request in requests),
            stdout=subprocess.PIPE,
            env=environment(PYTHONHASHSEED=seed),
            cwd=CHECKOUT,
            check=True,
        )
        refused = hashlib.sha256(b"refused").hexdigest()
        digests: list[Any] = ran.stdout.decode().split()
        named = {request.id: digest for request, digest in zip(requests, digests, strict=True)}
        return {id: REFUSED if digest == refused else digest for id, digest in named.items()}

    return left


@pytest.mark.parametrize(("seed", "options"), [("0", ()), ("1", ("--forget",)), ("4711", ())])
def test_the_order_of_hashes_and_what_is_remembered_change_nothing(
    asked: list[Asked], reference: Reference, seed: str, options: tuple[str, ...]
) -> None:
    order = _shuffled(asked) if seed == "4711" else asked
    assert _in_process(seed, *options)(order) == reference.left
