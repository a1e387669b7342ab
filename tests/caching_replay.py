"""Conversations sent turn by turn through a gateway in this process, to the demo provider, on a clock of the tests.

What the provider reports is the truth that the gateway's beliefs are held against; the provider shares no code with
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.config.policy import Policy
from gateway.config.prompt_cache_rules import shipped_rules
from gateway.money import ledger as books
from gateway.money.prices.entries import price_from
from gateway.prompt_cache.rules import CacheFacts, book_of, facts_for, priced
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.serving.pipeline import answer
from gateway.serving.services import Gateway
from tests.conftest import Conversations
from tests.load.recorded import Body, cut_at_requests
from tests.passage import COUNTERS, NOW, Caller, Script, Setting, deployment, new_id

RULES = ("openai", "openai-5.6", "anthropic", "gemini", "vllm")
"""The rule sets that the demo provider plays."""

PRICES: dict[str, dict[str, float]] = {
    "anthropic": {"cache_creation_input_token_cost": 1.25e-6, "cache_creation_input_token_cost_above_1hr": 2e-6},
    "openai-5.6": {"cache_creation_input_token_cost": 1.25e-6},
}
PRICE = {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6, "cache_read_input_token_cost": 1e-7}

WIDE = 4_000_000
"""Tokens of a window that nothing is too long for."""


def facts_of(rules: str) -> CacheFacts:
    """Return what the gateway knows of a rule set."""
    return priced(
        facts_for("demo", rules, book_of(shipped_rules())), price_from("demo", {**PRICE, **PRICES.get(rules, {})})
    )


@dataclass(slots=True)
class Clock:
    """Seconds, as the test says."""

    at: float = NOW

    def __call__(self) -> float:
        return self.at


@dataclass(slots=True)
class Replay:
    """A gateway with one demo deployment for each model name."""

    folder: Path
    models: Sequence[str]
    """`demo/…`, each asked for by that name."""
    policies: Iterable[Policy] = ()
    overrides: dict[str, CacheFacts] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    gateway: Gateway | None = None

    def open(self) -> Gateway:
        deployments = [
            deployment(
                name,
                f"demo/{name}",
                kind="demo",
                window=WIDE,
                price={**PRICE, **PRICES.get(name.partition("/")[0], {})},
                cache=self.overrides.get(name) or facts_of(name),
                params={"cache_tokens": 100_000_000},
            )
            for name in self.models
        ]
        setting = Setting(self.folder, self.policies, deployments, max_body=64_000_000, now=self.clock)
        upstreams = Upstreams(COUNTERS.for_encoding("o200k_base").count, now=self.clock)
        self.gateway = replace(setting.gateway(Script()), upstreams=upstreams)
        return self.gateway

    async def send(self, body: Body, model: str | None = None) -> Caller:
        """Send one request, and return what its client got."""
        gateway = self.gateway or self.open()
        raw = json.dumps({**body, "model": model or self.models[0]}, ensure_ascii=False).encode()
        client = Caller(raw, {})
        await answer(gateway, client, new_id())
        return client

    async def close(self) -> list[dict[str, Any]]:
        """Close the gateway, and return the settled rows in the order in which they were written."""
        gateway = self.gateway
        assert gateway is not None
        await gateway.upstreams.close()
        await gateway.sharing.close()
        gateway.ledger.close()
        return [row for row in books.rows(gateway.config.ledger.dir) if row["event"] == "settled"]


def requests_of(conversation: Body) -> Iterator[Body]:
    """Give the requests that a recorded conversation consists of."""
    tools = conversation.get("tools")
    body: Body = {"messages": conversation["messages"], **({"tools": tools} if tools else {})}
    yield from cut_at_requests(body)


def sampled(conversations: Conversations, each: int | None) -> Iterator[tuple[str, Body]]:
    """Give conversations of every source, at most so many of each; None: all of them."""
    for name in conversations.names:
        for conversation in conversations.read(name, each):
            yield name, conversation


def marked(body: Body) -> Body:
    """Mark a request as a client that knows Anthropic's cache does: the tools, the system text, the last message."""
    mark = {"cache_control": {"type": "ephemeral"}}
    messages = [dict(message) for message in body["messages"]]
    for at in {0, len(messages) - 1}:
        if messages[at]["role"] in ("system", "user", "tool") and messages[at].get("content"):
            messages[at] |= mark
    out = {**body, "messages": messages}
    if body.get("tools"):
        out["tools"] = [*body["tools"][:-1], {**body["tools"][-1], **mark}]
    return out
