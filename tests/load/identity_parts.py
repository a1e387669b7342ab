"""The parts of a comparison: which gateways are started, and what they are asked. The same for every checkout."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.conftest import Conversations
from tests.load.identity_session import Json, Record, Session, Setup, running
from tests.load.recorded import made_up
from tests.test_cases import CASES, message, read

SEED = 12
PORT = 21_001
"""The first of those that both sides want."""
PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 1e-7}
BUDGETS = {"tight": "5k", "middle": "12k", "wide": "32k"}
SHIPPED = ("default", "chat", "coding-agent", "rag", "support")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of a run."""

    data: Path | None
    wire: Path | None
    quick: bool
    each: int
    """Conversations of each set."""
    most_turns: int
    """Requests of one conversation under one policy."""
    is_last: bool
    """Whether this side begins with the last one, where both want the same port."""
    keep: Path
    """Where a ledger stays for the commands that read it."""


Part = Callable[[Path, Record, Asked], Coroutine[Any, Any, None]]


def model(name: str, sent: str, **more: Any) -> Json:
    """One entry of `model_list`, at the provider's address unless it is the built-in one."""
    info = {**PRICES, **more.pop("info", {})}
    base = {} if sent.startswith("demo/") else {"api_base": "UP" if sent.startswith("anthropic/") else "UP/v1"}
    params = {"model": sent, **base, "api_key": "sk-up", "timeout": 60, **more}
    return {"model_name": name, "litellm_params": params} | ({} if sent.startswith("demo/") else {"model_info": info})


def config(models: Sequence[Json], policies: Sequence[str], **more: Any) -> Json:
    """A configuration with a team and a key for each policy, by its name."""
    keys = [{"name": n, "sha256": sha256(f"sk-{n}".encode()).hexdigest(), "team": f"of-{n}"} for n in policies]
    return {
        "server": {"port": 0, "max_body": "32MB"},
        "model_list": list(models),
        "teams": {f"of-{name}": {"policy": name} for name in policies},
        "keys": keys,
        "policies": "policies",
        "state": {"dir": "state", "timeout": "20s"},
        "ledger": {"dir": "ledger"},
        **more,
    }


# ---------------------------------------------------------------- recorded conversations


def chosen(asked: Asked) -> Iterator[tuple[str, int, Json]]:
    """Choose conversations of each set by the seed; made-up ones where there are no recorded ones."""
    if asked.data is None:
        yield from (("made-up", number, {"messages": made_up(number)}) for number in range(asked.each))
        return
    recorded = Conversations(asked.data)
    for name in recorded.names:
        every = list(recorded.read(name))
        picked = random.Random(f"{SEED}{name}").sample(range(len(every)), min(asked.each, len(every)))
        yield from ((name, number, every[number]) for number in sorted(picked))


def turns(conversation: Json, most: int) -> list[tuple[list[Json], Json]]:
    """Cut a conversation at the model's messages: what is sent before each, and what the model said; at most so many,
    spread over all of it.
    """
    messages = conversation["messages"]
    cuts = [at for at, one in enumerate(messages) if one["role"] == "assistant" and at]
    out = [(messages[:at], messages[at]) for at in cuts]
    if messages[-1]["role"] != "assistant":
        following = conversation.get("next_action") or {"role": "assistant", "content": "It is done."}
        out.append((messages, following))
    if len(out) <= most:
        return out
    return [out[(number + 1) * len(out) // most - 1] for number in range(most)]


async def replay(session: Session, label: str, conversation: Json, key: str, most: int, **fields: Any) -> None:
    """Send a conversation turn by turn; every other answer is streamed, and says what was said then."""
    tools = {"tools": conversation["tools"]} if conversation.get("tools") else {}
    for number, (sent, said) in enumerate(turns(conversation, most)):
        session.provider.next = {"role": "assistant", **said}
        stream = {"stream": True} if (number + len(label)) % 2 else {}
        body = {"model": "m", "messages": sent, **tools, "user": label, **stream, **fields}
        await session.ask(f"{label}/{key}/{number}", body, key=f"sk-{key}")


async def conversations(root: Path, record: Record, asked: Asked) -> None:
    """Replay recorded conversations at three budgets, and under a shipped policy in turn."""
    policies = {name: {"name": name, "context_window": window} for name, window in BUDGETS.items()}
    models = [model("m", "openai/gpt-4o", info={"max_input_tokens": 24_000})]
    settings = config(models, [*BUDGETS, *SHIPPED], default_policy="default")
    keep = asked.keep / "conversations"
    async with running(root, Setup("conversations", settings, policies, keep=keep), record) as session:
        if session is None:
            return
        for at, (name, number, conversation) in enumerate(chosen(asked)):
            for key in (*BUDGETS, SHIPPED[at % len(SHIPPED)]):
                await replay(session, f"{name}-{number}", conversation, key, asked.most_turns)


# ---------------------------------------------------------------- cases that are files


async def cases(root: Path, record: Record, asked: Asked) -> None:
    """Send the request of each case in tests/cases/plans, each under its policy and model."""
    read_cases = {path.stem: read(path) for path in CASES}
    models, policies = [], {}
    for name, case in read_cases.items():
        facts = dict(case.get("model", {}))
        info = {"max_input_tokens": facts.get("window", 128_000)}
        info |= {"max_output_tokens": facts["max_output"]} if facts.get("max_output") else {}
        sent = "openai/" + str(facts.get("model", "openai/gpt-4o")).rpartition("/")[2]
        models.append(model(name, sent, info=info))
        policies[name] = {"name": name, **case["policy"]}
    setup = Setup("cases", config(models, list(policies), default_policy="default"), policies)
    async with running(root, setup, record) as session:
        if session is None:
            return
        for name, case in read_cases.items():
            body = {**case["request"], "model": name, "messages": [message(one) for one in case["request"]["messages"]]}
            await session.ask(name, body, key=f"sk-{name}")
            await session.ask(f"{name} streamed", {**body, "stream": True}, key=f"sk-{name}")


async def wire(root: Path, record: Record, asked: Asked) -> None:
    """Run the cases of answers that upstreams really give, where their folder is named."""
    paths = sorted(asked.wire.glob("*.json")) if asked.wire is not None else []
    for at, path in sorted(enumerate(paths), reverse=asked.is_last):
        case = json.loads(path.read_text(encoding="utf-8"))
        before = "server: {port: 0}\nledger: {dir: ledger}\nstate: {dir: state, timeout: 20s}\nunpriced: allow\n"
        setup = Setup(
            f"wire/{path.stem}",
            before + case["config"],
            answers=case.get("upstream", {}),
            environment=case.get("env", {}),
            port=PORT + at,
        )
        if case.get("check"):
            continue  # identity.py runs `gateway check` on these
        async with running(root, setup, record) as session:
            if session is None:
                continue
            for number in range(case.get("times", 1)):
                body = json.dumps(case["request"]).replace("NUMBER", str(number)).encode()
                await session.ask(f"{number}", body, path=case.get("path", "/v1/chat/completions"))


async def several(root: Path, record: Record, asked: Asked) -> None:
    """Spread conversations over deployments of one name, of which one fails, and one stands behind the others."""
    sent = ("openai/gpt-4o", "openai/gpt-4o-mini", "openai/broken", "openai/gpt-4.1")
    models = [model("m", name, weight=1 + at, order=2 if at == 3 else 1) for at, name in enumerate(sent)]
    settings = config([*models, model("next", "openai/gpt-4.1")], ["default"], fallbacks=[{"m": ["next"]}])
    answers = {"broken": {"status": 500, "body": {"error": {"message": "oops"}}}}
    setup = Setup("several", {**settings, "default_policy": "default"}, answers=answers, port=PORT - 1)
    async with running(root, setup, record) as session:
        if session is None:
            return
        for turn in range(3):
            for number in range(6):
                listed, said = turns(grown(number, 4), 3)[turn]
                session.provider.next = {"role": "assistant", **said}
                await session.ask(f"{number}/{turn}", {"model": "m", "messages": listed}, key="sk-default")
            await session.rest()


# ---------------------------------------------------------------- prompt caches, summaries, warm-ups


def grown(number: int, steps: int = 12) -> Json:
    """A conversation with a system text and tools that are long enough to be cached."""
    messages = made_up(number, steps)
    told = "Rules of the house, which every answer keeps to. " + "Be exact, and name your sources. " * 220
    tool = {"name": "look_up", "description": "Finds one.", "parameters": {"type": "object", "properties": {}}}
    return {
        "messages": [{"role": "system", "content": f"{messages[0]['content']}\n{told}"}, *messages[1:]],
        "tools": [{"type": "function", "function": tool}],
    }


CACHES = {
    "models": [
        {"provider": ["anthropic"], "rules": "anthropic"},
        {"provider": ["openai"], "model": ["gpt-5.6*"], "rules": "openai-5.6"},
        {"provider": ["openai"], "rules": "openai"},
    ]
}
MARKING: Mapping[str, Json] = {
    "on-reuse": {},
    "always": {"prompt_cache": {"markers": "always", "ttl": "1h"}},
    "volatile": {"prompt_cache": {"volatile": ["Incident [0-9]+", "You look .*"]}},
    "cheaper": {"context_window": "12k", "fold": {"when": "cheaper", "target": "30%"}},
    "folding": {"context_window": "9k", "prompt_cache": {"markers": "always"}},
}
CACHING = (
    "anthropic/claude-sonnet-4-5",
    "openai/gpt-5.6",
    "demo/anthropic",
    "demo/openai-5.6",
    "demo/openai",
    "demo/vllm",
)


def marking(sent: str) -> Part:
    """Replay conversations whose beginnings are cached; what was learned is exchanged before each next request."""

    async def part(root: Path, record: Record, asked: Asked) -> None:
        policies = {name: {"name": name, **said} for name, said in MARKING.items()}
        settings = config([model("m", sent)], list(MARKING), default_policy="default", prompt_caches=CACHES)
        async with running(root, Setup(f"marking/{sent}", settings, policies), record) as session:
            if session is None:
                return
            for number in range(2 if asked.quick else 4):
                for key in MARKING:
                    most = 3 if asked.quick else 6
                    for at, (listed, said) in enumerate(turns(grown(number), most)):
                        session.provider.next = {"role": "assistant", **said}
                        pause = 400.0 if at == most - 2 else 20.0
                        body = {"model": "m", "messages": listed, "tools": grown(number)["tools"], "max_tokens": 500}
                        body |= {"stream": True} if at % 2 else {}
                        await session.ask(f"{number}/{key}/{at}", body, key=f"sk-{key}", seconds=pause)
                        await session.rest()

    return part


SUMMING = {"context_window": "6k", "reserve": {"output": 0, "margin": 0}}


def summaries(run: str) -> Part:
    """Let conversations grow whose folds are summed up by the provider's writer."""

    async def part(root: Path, record: Record, asked: Asked) -> None:
        told = {"enabled": True, "model": "writer", "timeout": "30s", "run": run}
        bare = {"summed": {"on_failure": "extract"}, "dropped": {"on_failure": "drop_oldest"}}
        policies = {name: {"name": name, **SUMMING, "summarize": {**told, **more}} for name, more in bare.items()}
        models = [model("m", "openai/gpt-4o"), model("writer", "openai/writer")]
        settings = config(models, list(policies), default_policy="default")
        async with running(
            root, Setup(f"summaries/{run}", settings, policies, in_order=run == "inline"), record
        ) as session:
            if session is None:
                return
            for label, conversation in _long_ones(asked):
                for key in policies:
                    for at, (listed, said) in enumerate(turns(conversation, 12 if asked.quick else 24)):
                        session.provider.next = {"role": "assistant", **said}
                        await session.ask(f"{label}/{key}/{at}", {"model": "m", "messages": listed}, key=f"sk-{key}")

    return part


def _long_ones(asked: Asked) -> list[tuple[str, Json]]:
    def said(turn: int) -> list[Json]:
        words = " ".join(f"part {turn}-{number} of the plan," for number in range(40))
        answer = f"Gone through, the questions about them settled: {words}"
        return [{"role": "user", "content": f"Question {turn}: {words}"}, {"role": "assistant", "content": answer}]

    plan = [one for turn in range(30) for one in said(turn)]
    out = [("plan", {"messages": plan})]
    if not asked.quick and asked.data is not None:
        named = ("beam", "tau2_bench", "swe_agent_java")
        out += [(name, next(Conversations(asked.data).read(name, 1))) for name in named]
    return out


async def warm_up(root: Path, record: Record, asked: Asked) -> None:
    """Ask in gaps in which a prefix would expire, until the gateway reads it again by itself."""
    policies = {"warm": {"name": "warm", "prompt_cache": {"warm": ["You look into*"], "every": "4m"}}}
    caches = {"models": [{"provider": ["openai"], "rules": "anthropic"}]}
    settings = config([model("m", "openai/gpt-5")], ["warm"], default_policy="default", prompt_caches=caches)
    async with running(root, Setup("warm-up", settings, policies), record) as session:
        if session is None:
            return
        listed = grown(1)["messages"]
        for number in range(6):
            body = {"model": "m", "messages": [listed[0], {"role": "user", "content": f"Question {number}"}]}
            await session.ask(f"{number}", body, key="sk-warm", seconds=400.0 if number else 0.0)
            await session.rest()
        session.wait(250.0)
        for _ in range(100):
            await asyncio.sleep(0.25)
            if session.provider.received:
                break
        await session.rest()
        session.see_received("warm-up/the gateway's own")
        session.record.see("warm-up/kinds", str(sum('"kind":"warm_up"' in line for line in session.ledger)))


# ---------------------------------------------------------------- refusals, and faults of providers


STREAMED = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
HI = {**STREAMED, "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
LAST = {**STREAMED, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {**STREAMED, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}
TOO_LONG = "This model's maximum context length is 4096 tokens. However, your messages resulted in 9000 tokens."
FAULTS: Mapping[str, Json] = {
    "bad-request": {"status": 400, "body": {"error": {"message": "no such parameter: foo", "param": "foo"}}},
    "bad-key": {"status": 401, "body": {"error": {"message": "bad key", "code": "invalid_api_key"}}},
    "no-credit": {"status": 402, "body": {"error": {"message": "Insufficient Balance"}}},
    "no-model": {"status": 404, "body": {"error": {"message": "no such model", "code": "model_not_found"}}},
    "too-long": {"status": 400, "body": {"error": {"message": TOO_LONG, "code": "context_length_exceeded"}}},
    "filtered": {"status": 400, "body": {"error": {"message": "filtered", "code": "content_filter"}}},
    "busy": {"status": 429, "headers": {"retry-after": "7"}, "body": {"error": {"message": "slow down"}}},
    "broken": {"status": 500, "body": "<html>oops</html>"},
    "away": {"status": 503, "body": ""},
    "garbage": {"body": "this is no JSON"},
    "empty": {"body": ""},
    "error-in-200": {"body": {"error": {"message": "quota", "code": 429}}},
    "first-event": {"stream": [{"error": {"message": "Rate limit exceeded", "code": 429}}, "data: [DONE]\n\n"]},
    "late-error": {"stream": [HI, {"error": {"message": "overloaded", "code": 500}}]},
    "cut": {"stream": [HI, "RESET"]},
    "no-end": {"stream": [HI]},
    "no-usage": {"stream": [HI, LAST, "data: [DONE]\n\n"]},
    "usage": {"stream": [HI, LAST, USAGE, "data: [DONE]\n\n"]},
    "no-options": {
        "forbid": "stream_options",
        "forbidden": {"status": 422, "body": {"error": {"message": "extra: stream_options"}}},
        "stream": [HI, LAST, USAGE, "data: [DONE]\n\n"],
    },
    "hangs": {"always": True, "stream": ["HANG"]},
}


async def faults(root: Path, record: Record, asked: Asked) -> None:
    """Ask of providers that fail in every way, alone and with a fallback."""
    models = [model("good", "openai/gpt-4o")]
    models += [model(name, f"openai/{name}", **({"timeout": 1} if name == "hangs" else {})) for name in FAULTS]
    models += [model(f"{name}-backed", f"openai/{name}", timeout=3) for name in FAULTS]
    backed = [{f"{name}-backed": ["good"]} for name in FAULTS]
    settings = config(models, ["default"], default_policy="default", fallbacks=backed)
    async with running(root, Setup("faults", settings, answers=FAULTS), record) as session:
        if session is None:
            return
        for name in [one["model_name"] for one in models]:
            for stream in (False, True):
                body = {"model": name, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
                await session.ask(f"{name}{' streamed' if stream else ''}", body, key="sk-default")


async def refusals(root: Path, record: Record, asked: Asked) -> None:
    """Ask for what is refused, and for pages."""
    policies: dict[str, Json] = {
        "small": {"name": "small", "context_window": 900, "reserve": {"output": 0, "margin": 0}, "strict": True},
        "profiled": {"name": "profiled", "profiles": {"night": {"context_window": "2k"}}},
        "watching": {"name": "watching", "mode": "observe", "context_window": "2k"},
        "off": {"name": "off", "mode": "off"},
    }
    settings = config([model("m", "openai/gpt-4o")], list(policies), default_policy="default")
    settings["server"]["max_body"] = "200KB"
    settings["keys"][0]["models"] = ["m"]
    async with running(root, Setup("refusals", settings, policies), record) as session:
        if session is None:
            return
        for name, body in _refused():
            for key in policies:
                await session.ask(f"{name}/{key}", body, key=f"sk-{key}")
        hello = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        await session.ask("no key", hello)
        await session.ask("a wrong key", hello, key="sk-nobody")
        for path in ("/v1/models", "/v1/models/m", "/health", "/ready", "/nowhere", "/v1/embeddings"):
            await session.ask(f"GET {path}", b"", key="sk-small", path=path, method="GET")
        for profile in ("night", "day"):
            headers = {"x-gateway-profile": profile, "x-gateway-tags": "a, b", "x-gateway-user": "ann"}
            await session.ask(f"profile {profile}", hello, key="sk-profiled", headers=headers)


def _refused() -> Iterator[tuple[str, bytes | Json]]:
    """Yield requests, most of which are refused by some policy."""
    user = {"role": "user", "content": "hello"}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    tags = {"tags": ["nightly"], "job": "a", "gateway_profile": "night"}
    yield "hello", {"model": "m", "messages": [user], "metadata": tags, "temperature": 0.5, "foo": [1, {"b": None}]}
    yield "no JSON", b"{"
    yield "no object", b"[1]"
    yield "no messages", {"model": "m"}
    yield "empty", {"model": "m", "messages": []}
    yield "a stranger", {"model": "n", "messages": [user]}
    yield "no model", {"messages": [user]}
    yield "a role", {"model": "m", "messages": [{"role": "chief", "content": "x"}]}
    yield "no call", {"model": "m", "messages": [user, {"role": "tool", "tool_call_id": "c9", "content": "x"}]}
    yield "no result", {"model": "m", "messages": [user, {"role": "assistant", "content": None, "tool_calls": [call]}]}
    yield "an image", {"model": "m", "messages": [{"role": "user", "content": [image, {"type": "text", "text": "x"}]}]}
    yield "long system", {"model": "m", "messages": [{"role": "system", "content": "rule " * 3000}, user]}
    yield "long input", {"model": "m", "messages": [{"role": "user", "content": "word " * 5000}]}
    yield "too large", {"model": "m", "messages": [{"role": "user", "content": "word " * 50_000}]}
    yield "long answer", {"model": "m", "messages": [user], "max_tokens": 99_999}
    yield "spaces", b' {"messages" : [ {"content":"h\\u00e9llo" , "role":"user"} ],\n "model":"m", "n": 1 } '
    yield "twice", b'{"model":"m","model":"m","messages":[{"role":"user","content":"a"}],"stop":["x"]}'


PACKED: tuple[Part, ...] = (cases, refusals, faults, summaries("inline"), wire)
"""These keep the processor busy, one after the other."""
PACED: tuple[Part, ...] = (*(marking(sent) for sent in CACHING), summaries("background"), warm_up, several)
"""These wait most of the time, so they run beside the others."""
