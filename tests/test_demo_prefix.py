"""`demo/openai` and `demo/gemini`: the longest run of messages sent before is read, nothing is paid for writing."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gateway.routing.upstreams.demo import Demo
from gateway.routing.upstreams.demo.prefix import gemini_least
from tests.conftest import Conversations
from tests.providers.cached import Provider, message, text, tool, words
from tests.providers.deployments import deployment

HOUR = 3600.0
SCHEMA = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}}}


@pytest.fixture
def gpt() -> Provider:
    return Provider("demo/openai")


def talk(*sizes: int) -> list[dict[str, Any]]:
    return [message(("user", "assistant")[at % 2], size, f"m{at}") for at, size in enumerate(sizes)]


async def test_caching_begins_at_1024_tokens(gpt: Provider):
    assert [await gpt.charged(talk(1023)) for _ in range(2)] == [(0, 0), (0, 0)]
    assert [await gpt.charged(talk(1024)) for _ in range(2)] == [(0, 0), (1024, 0)]


@pytest.mark.parametrize(("sent", "read"), [(1151, 1024), (1152, 1152), (1999, 1920), (2006, 1920), (2048, 2048)])
async def test_cached_tokens_come_in_steps_of_128(gpt: Provider, sent: int, read: int):
    """1,920 of 2,006 is the usage that OpenAI's guide shows."""
    await gpt.charged(talk(sent))
    assert await gpt.charged(talk(sent, 100)) == (read, 0)


async def test_the_longest_start_that_was_sent_before_is_read_wherever_requests_part(gpt: Provider):
    await gpt.charged(talk(1280, 640, 640))
    assert await gpt.charged([*talk(1280, 640), message("user", 640, "another")]) == (1920, 0)
    assert await gpt.charged([message("user", 1280, "another"), *talk(1280, 640)[1:]]) == (0, 0)


async def test_another_tool_or_response_schema_is_another_prefix(gpt: Provider):
    await gpt.charged(talk(2048), tools=[tool(10)])
    assert await gpt.charged(talk(2048), tools=[tool(10, "other")]) == (0, 0)
    assert await gpt.charged(talk(2048), tools=[tool(10)], response_format=SCHEMA) == (0, 0)
    assert (await gpt.charged(talk(2048), tools=[tool(10)]))[0] == 2048


async def test_a_key_only_routes_and_there_is_one_machine(gpt: Provider):
    await gpt.charged(talk(2048), prompt_cache_key="alice")
    assert await gpt.charged(talk(2048), prompt_cache_key="bob") == (2048, 0)


async def test_an_entry_lives_a_day_or_in_memory_ten_minutes(gpt: Provider):
    in_memory = {"prompt_cache_retention": "in_memory"}
    await gpt.charged(talk(2048))
    gpt.now += 23 * HOUR
    assert await gpt.charged(talk(2048)) == (2048, 0)
    gpt.now += 24 * HOUR
    assert await gpt.charged(talk(2048), **in_memory) == (0, 0)
    gpt.now += 599
    assert await gpt.charged(talk(2048), **in_memory) == (2048, 0)
    gpt.now += 600
    assert await gpt.charged(talk(2048), **in_memory) == (0, 0)


async def test_an_entry_is_readable_only_when_the_answer_that_writes_it_has_begun(gpt: Provider):
    first = await gpt.begin(talk(2048))
    assert await gpt.charged(talk(2048)) == (0, 0)
    await first.read()
    assert await gpt.charged(talk(2048)) == (2048, 0)


async def test_what_only_later_models_take_is_refused_by_demo_openai_alone(gpt: Provider):
    here = {"type": "text", "text": text(2048), "prompt_cache_breakpoint": {"mode": "explicit"}}
    marked = [{"role": "user", "content": [here]}]
    assert "prompt_cache_breakpoint" in await gpt.refused(marked)
    assert "prompt_cache_options" in await gpt.refused(talk(10), prompt_cache_options={"mode": "implicit"})
    other = Provider("demo/gpt-5")
    assert await other.charged(marked, prompt_cache_options={"mode": "implicit"}) == (0, 0)
    assert await other.charged([{"role": "user", "content": text(2048)}]) == (2048, 0)


# -------------------------------------------------------------------------------------------- against recorded traffic


def requests_of(conversation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a client sent: before each answer, everything up to it."""
    tools = {"tools": conversation["tools"]} if conversation.get("tools") else {}
    for at, one in enumerate(conversation["messages"]):
        if one["role"] == "assistant" and at:
            yield {"messages": conversation["messages"][:at], **tools}


class Tree:
    """Everything that was sent, as a tree of messages: the cache of OpenAI's guide in its plainest form."""

    def __init__(self) -> None:
        self.children: dict[bytes, Tree] = {}

    def cached(self, request: dict[str, Any]) -> int:
        """Return the tokens shared with anything sent before, then add the request."""
        steps = [(orjson.dumps(request.get("tools") or []), tools_tokens(request))]
        steps += [(orjson.dumps(one, option=orjson.OPT_SORT_KEYS), message_tokens(one)) for one in request["messages"]]
        node, shared, known = self, 0, True
        for step, tokens in steps:
            known = known and step in node.children
            shared += tokens if known else 0
            node = node.children.setdefault(step, Tree())
        return shared - shared % 128 if shared >= 1024 else 0


def tools_tokens(request: dict[str, Any]) -> int:
    return words(orjson.dumps(request["tools"]).decode()) if request.get("tools") else 0


def message_tokens(one: dict[str, Any]) -> int:
    content = one.get("content")
    said = content if isinstance(content, str) else "\n".join(part["text"] for part in content or () if "text" in part)
    calls = [call["function"] for call in one.get("tool_calls") or ()]
    called = sum(8 + words(call["name"]) + words(call.get("arguments") or "") for call in calls)
    return 4 + words(said) + called + (1 + words(one["name"]) if one.get("name") else 0)


async def test_recorded_conversations_are_cached_as_a_tree_of_messages_says(conversations: Conversations):
    demo, tree, target = Demo(words, lambda: 0.0), Tree(), deployment("demo/openai", kind="demo")
    compared = hits = 0
    for conversation in conversations.all(limit=1):
        for request in requests_of(conversation):
            reply = await demo.send(target, orjson.dumps(request), stream=False, request_id="gw_1")
            usage = orjson.loads(await reply.read())["usage"]
            expected = tree.cached(request)
            assert usage["prompt_tokens_details"]["cached_tokens"] == expected
            assert usage["prompt_tokens"] == 3 + tools_tokens(request) + sum(map(message_tokens, request["messages"]))
            compared, hits = compared + 1, hits + (expected > 0)
    assert compared > 100
    assert hits > 50


# -------------------------------------------------------------------------------------------------------------- Gemini


@pytest.mark.parametrize(
    ("model", "least"), [("", 2048), ("gemini-2.5-flash", 2048), ("gemini-2.5-pro", 2048), ("gemini-3.5-flash", 4096)]
)
async def test_gemini_begins_at_the_models_least_length_and_is_exact(model: str, least: int):
    gemini = Provider(f"demo/gemini/{model}")
    assert gemini_least(model) == least
    assert [await gemini.charged(talk(least - 1)) for _ in range(2)] == [(0, 0), (0, 0)]
    await gemini.charged(talk(least + 1))
    assert await gemini.charged(talk(least + 1, 100)) == (least + 1, 0)


async def test_geminis_entries_expire_a_day_after_they_were_made_though_they_are_read():
    gemini = Provider("demo/gemini")
    await gemini.charged(talk(3000))
    gemini.now += 23 * HOUR
    assert await gemini.charged(talk(3000)) == (3000, 0)
    gemini.now += 1 * HOUR
    assert await gemini.charged(talk(3000)) == (0, 0)


async def test_geminis_usage_is_what_litellm_makes_of_it():
    from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import VertexGeminiConfig

    gemini = Provider("demo/gemini")
    for cached in ({}, {"cachedContentTokenCount": 3000}):
        told = await gemini.told(talk(3000, 100))
        native = {
            "promptTokenCount": 3103,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3103}],
            "candidatesTokenCount": told["completion_tokens"],
            "totalTokenCount": 3103 + told["completion_tokens"],
            **cached,
        }
        if cached:
            native["cachedContentTokenCount"] = 3100
        converted = VertexGeminiConfig._calculate_usage({"usageMetadata": native})
        assert told == converted.model_dump(exclude_none=True)
