"""`demo/openai-5.6` obeys what OpenAI documents of prompt caching from GPT-5.6 on.

The examples are those of developers.openai.com/api/docs/guides/prompt-caching, read 2026-11.
"""

from typing import Any

import pytest

from tests.providers.cached import PRIMING, Provider, message, part, text, tool

EXPLICIT: dict[str, Any] = {"prompt_cache_options": {"mode": "explicit"}}
HERE: dict[str, Any] = {"mode": "explicit"}
MINUTE = 60.0
SCHEMA = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}}}


@pytest.fixture
def gpt() -> Provider:
    return Provider("demo/openai-5.6")


def marked(role: str, tokens: int, about: str = "w") -> dict[str, Any]:
    return {"role": role, "content": [part(tokens - 4, about, prompt_cache_breakpoint=HERE)]}


def talk(*sizes: int) -> list[dict[str, Any]]:
    """A conversation that begins with the user, of messages of so many tokens."""
    return [message(("user", "assistant")[at % 2], size, f"m{at}") for at, size in enumerate(sizes)]


async def test_the_guides_two_requests_read_and_write_what_it_says(gpt: Provider):
    tools = [tool(1)]
    frame = (await gpt.usage([message("user", 4 + 1)], tools=tools)).prompt - 5 - PRIMING
    tools = [tool(2000 - frame + 1)]
    start = [message("developer", 8000), message("user", 2000, "first")]
    first = await gpt.usage(start, tools=tools)
    assert (first.cached, first.cache_write) == (0, 12_000)
    second = await gpt.usage([*start, message("user", 3000, "second")], tools=tools)
    assert (second.cached, second.cache_write) == (12_000, 3000)


async def test_a_conversation_that_grows_reads_the_turn_before(gpt: Provider):
    whole = talk(1500, 100, 200, 100, 300)
    assert await gpt.charged(whole[:1]) == (0, 1500)
    assert await gpt.charged(whole[:3]) == (1500, 300)
    assert await gpt.charged(whole[:5]) == (1800, 400)


async def test_a_shared_start_is_not_read_where_no_breakpoint_ended(gpt: Provider):
    stable = message("user", 4000, "instructions")
    await gpt.charged([stable, message("assistant", 10), message("user", 100, "12:00")])
    assert await gpt.charged([stable, message("assistant", 10), message("user", 100, "12:01")]) == (0, 4110)


async def test_an_explicit_breakpoint_makes_the_shared_start_readable(gpt: Provider):
    stable = marked("system", 4000, "instructions")
    assert await gpt.charged([stable, message("user", 100, "a")]) == (0, 4100)
    assert await gpt.charged([stable, message("user", 100, "b")]) == (4000, 100)


async def test_explicit_mode_writes_nothing_after_the_last_breakpoint(gpt: Provider):
    stable = marked("system", 4000, "instructions")
    assert await gpt.charged([stable, message("user", 100, "a")], **EXPLICIT) == (0, 4000)
    assert await gpt.charged([stable, message("user", 100, "b")], **EXPLICIT) == (4000, 0)


async def test_explicit_mode_without_a_breakpoint_neither_reads_nor_writes(gpt: Provider):
    await gpt.charged(talk(2000))
    assert await gpt.charged(talk(2000), **EXPLICIT) == (0, 0)


async def test_the_least_length_is_1024_and_boundaries_are_exact(gpt: Provider):
    assert [await gpt.charged(talk(1023)) for _ in range(2)] == [(0, 0), (0, 0)]
    assert [await gpt.charged(talk(1025)) for _ in range(2)] == [(0, 1025), (1025, 0)]


async def test_the_last_result_of_a_run_is_an_eligible_end_and_an_answer_is_not(gpt: Provider):
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(2)]
    asked = [*talk(1500), {"role": "assistant", "content": None, "tool_calls": calls}]
    results = [message("tool", 300, f"r{n}", tool_call_id=f"c{n}") for n in range(2)]
    upto = (await gpt.usage([*asked, *results])).cache_write
    assert await gpt.charged([*asked, *results, message("assistant", 50)]) == (upto, 0)
    assert await gpt.charged([*asked, results[0], message("tool", 300, "other", tool_call_id="c1")]) == (0, upto)


async def test_a_result_inside_a_run_is_no_eligible_end(gpt: Provider):
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(2)]
    start = [message("user", 1500), {"role": "assistant", "content": None, "tool_calls": calls}]
    first = message("tool", 300, "r0", tool_call_id="c0")
    await gpt.charged([*start, first])
    read, _ = await gpt.charged([*start, first, message("tool", 300, "r1", tool_call_id="c1")])
    assert read == 0


async def test_the_end_of_the_leading_developer_messages_is_looked_up(gpt: Provider):
    lead = [message("developer", 1000, "a"), message("system", 1000, "b")]
    assert await gpt.charged(lead) == (0, 2000)
    assert await gpt.charged([*lead, message("user", 100)]) == (2000, 100)


async def test_at_most_four_prefixes_are_written_the_latest(gpt: Provider):
    marks = [marked("user", 1100, f"part{n}") for n in range(6)]
    for first, mode in ((3, EXPLICIT), (4, {})):
        for shorter, read in ((first, first * 1100), (first - 1, 0)):
            gpt = Provider("demo/openai-5.6")
            await gpt.charged([*marks, message("user", 100)], **mode)
            assert (await gpt.charged(marks[:shorter], **EXPLICIT))[0] == read


async def test_the_first_two_and_the_latest_fifty_breakpoints_are_looked_up(gpt: Provider):
    first, later = marked("user", 1100, "first"), [marked("user", 10, f"later{n}") for n in range(60)]
    await gpt.charged([first, *later[:2]], **EXPLICIT)
    assert (await gpt.charged([first, *later[:2], *later[3:]], **EXPLICIT))[0] == 1110
    for others, read in ((58, 1190), (59, 0)):
        gpt = Provider("demo/openai-5.6")
        await gpt.charged([first, *later[:9]], **EXPLICIT)
        assert (await gpt.charged([first, *later[:others]], **EXPLICIT))[0] == read


async def test_up_to_twenty_earlier_endings_are_looked_up(gpt: Provider):
    whole = talk(*[1500] + [10] * 60)
    await gpt.charged(whole[:1])
    assert (await gpt.charged(whole[:41]))[0] == 1500
    gpt = Provider("demo/openai-5.6")
    await gpt.charged(whole[:1])
    assert (await gpt.charged(whole[:43]))[0] == 0


async def test_an_entry_lives_thirty_minutes_since_it_was_last_used(gpt: Provider):
    await gpt.charged(talk(2000))
    for _ in range(5):
        gpt.now += 29 * MINUTE
        assert await gpt.charged(talk(2000)) == (2000, 0)
    gpt.now += 30 * MINUTE
    assert await gpt.charged(talk(2000)) == (0, 2000)


async def test_a_key_separates_what_is_cached(gpt: Provider):
    await gpt.charged(talk(2000), prompt_cache_key="alice")
    assert await gpt.charged(talk(2000), prompt_cache_key="bob") == (0, 2000)
    assert await gpt.charged(talk(2000)) == (0, 2000)
    assert await gpt.charged(talk(2000), prompt_cache_key="alice") == (2000, 0)


async def test_another_tool_or_schema_is_another_prefix(gpt: Provider):
    await gpt.charged(talk(2000), tools=[tool(10)])
    assert (await gpt.charged(talk(2000), tools=[tool(10, "other")]))[0] == 0
    assert (await gpt.charged(talk(2000), tools=[tool(10)], response_format=SCHEMA))[0] == 0


async def test_a_mark_on_a_part_is_a_boundary_inside_its_message(gpt: Provider):
    def asked(question: str) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [part(2000, prompt_cache_breakpoint=HERE), part(100, question)]}]

    assert await gpt.charged(asked("a"), **EXPLICIT) == (0, 2004)
    assert await gpt.charged(asked("b"), **EXPLICIT) == (2004, 0)


async def test_an_entry_is_readable_only_when_the_answer_that_writes_it_has_begun(gpt: Provider):
    first = await gpt.begin(talk(2000))
    assert await gpt.charged(talk(2000)) == (0, 2000)
    await first.read()
    assert await gpt.charged(talk(2000)) == (2000, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt_cache_options": {"mode": "auto"}}, "'implicit' and 'explicit'"),
        ({"prompt_cache_options": {"ttl": "1h"}}, "'30m'"),
        ({"tools": [{**tool(10), "prompt_cache_breakpoint": HERE}]}, "Unknown parameter"),
    ],
)
async def test_what_the_guide_does_not_know_is_refused(gpt: Provider, fields: dict[str, Any], said: str):
    assert said in await gpt.refused(talk(2000), **fields)


async def test_a_mark_anywhere_but_on_a_part_or_of_another_mode_is_refused(gpt: Provider):
    assert "messages[0]" in await gpt.refused([{**message("user", 2000), "prompt_cache_breakpoint": HERE}])
    auto = part(2000, prompt_cache_breakpoint={"mode": "auto"})
    assert "'explicit'" in await gpt.refused([{"role": "user", "content": [auto]}])


async def test_the_usage_names_what_was_read_and_written(gpt: Provider):
    told = await gpt.told(talk(2000, 100, 50))
    assert told["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 2150, "audio_tokens": 0}
    assert told["prompt_tokens"] == 2150 + PRIMING


async def test_cache_control_means_nothing_to_it(gpt: Provider):
    asked = [
        {"role": "user", "content": [{"type": "text", "text": text(2000), "cache_control": {"type": "ephemeral"}}]}
    ]
    assert await gpt.charged([*asked, message("assistant", 10)], **EXPLICIT) == (0, 0)
