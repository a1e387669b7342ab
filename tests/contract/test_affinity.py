"""Two deployments of one model, each with a prompt cache of its own: a conversation stays where it was read."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.contract.raw import post
from tests.contract.running import (
    Gateway,
    Program,
    Upstream,
    config,
    model,
    running_gateway,
    running_upstream,
    wait_for,
    write_setup,
)
from tests.upstream.script import mark

_numbers = count(1)
MOST_OPENINGS = 60
"""Half of all conversations go to each: that so many go to one is no chance any more."""


@dataclass
class Talk:
    """A conversation through the gateway, and who answered each of its requests."""

    gateway: Gateway
    messages: list[dict[str, Any]] = field(default_factory=lambda: [{"role": "system", "content": "You help."}])
    models: list[str] = field(default_factory=list)

    async def ask(self) -> str:
        """Send the next request; return the model that answered, which tells the deployments apart here."""
        id = f"affinity-{next(_numbers)}"
        self.messages.append({"role": "user", "content": f"Go on with {id}. {mark(id=id, text='So I do.')}"})
        answer = await post(self.gateway.port, {"model": "pair", "messages": self.messages, "user": id})
        assert answer.status == 200, answer
        self.messages.append({"role": "assistant", "content": "So I do."})
        row = await asyncio.to_thread(self.gateway.settled, id)
        self.models.append(row["deployment"].removeprefix("openai/"))
        return self.models[-1]


async def opened_at(gateway: Gateway, name: str) -> Talk | None:
    """Open one conversation; return it if it went to this deployment."""
    talk = Talk(gateway)
    return talk if await talk.ask() == name else None


async def talk_at(gateway: Gateway, name: str) -> Talk:
    """Open conversations until one goes to this deployment."""
    for _ in range(MOST_OPENINGS):
        if talk := await opened_at(gateway, name):
            return talk
    raise AssertionError(f"of {MOST_OPENINGS} conversations none went to {name}")


@contextmanager
def upstream_at(port: int) -> Iterator[Upstream]:
    """Start the provider again where it was."""
    program = Program.start([sys.executable, "-m", "tests.upstream", "--port", str(port)])
    try:
        wait_for(lambda: next(iter(program.lines), None), 30, "the provider's port")
        yield Upstream(program, port)
    finally:
        program.stop(3)


@pytest.fixture
def pair(upstream: Upstream, tmp_path: Path) -> Iterator[tuple[Gateway, Upstream]]:
    """A gateway with two deployments of one model, of which gpt-4o is at a provider that may be killed."""
    with running_upstream() as mortal:
        settings = config(upstream.url)
        settings["model_list"] += [model("pair", "gpt-5-mini", upstream.url), model("pair", "gpt-4o", mortal.url)]
        with running_gateway(write_setup(tmp_path, settings)) as gateway:
            yield gateway, mortal


async def test_a_conversation_leaves_a_dead_deployment_and_does_not_flap_when_it_is_back(
    pair: tuple[Gateway, Upstream],
) -> None:
    gateway, mortal = pair
    here, there = await talk_at(gateway, "gpt-5-mini"), await talk_at(gateway, "gpt-4o")
    for _ in range(3):
        await here.ask()
        await there.ask()
    assert {*here.models} == {"gpt-5-mini"}
    assert {*there.models} == {"gpt-4o"}

    mortal.program.kill()
    for _ in range(2):
        assert await there.ask() == "gpt-5-mini"
        assert await here.ask() == "gpt-5-mini"

    with upstream_at(mortal.port):
        await asyncio.sleep(1.2)  # the rest after a first failure is a second
        assert await talk_at(gateway, "gpt-4o")
        for _ in range(3):
            assert await there.ask() == "gpt-5-mini"  # it was read there; it comes back in a minute
            assert await here.ask() == "gpt-5-mini"
