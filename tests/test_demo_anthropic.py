"""`demo/anthropic` obeys the rules of Anthropic's documentation, example by example.

The examples are those of platform.claude.com/docs/en/build-with-claude/prompt-caching, read 2026-11.
"""

from typing import Any

import orjson
import pytest

from gateway.routing.upstreams.demo.anthropic import anthropic_least
from tests.providers.cached import PRIMING, Provider, message, part, text, tool

FIVE: dict[str, Any] = {"type": "ephemeral"}
HOUR: dict[str, Any] = {"type": "ephemeral", "ttl": "1h"}
MINUTE = 60.0


@pytest.fixture
def claude() -> Provider:
    return Provider("demo/anthropic")


def marked(one: dict[str, Any], control: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**one, "cache_control": control or FIVE}


def system(tokens: int, control: dict[str, Any] | None = FIVE, about: str = "system") -> dict[str, Any]:
    one = message("system", tokens, about)
    return one if control is None else marked(one, control)


def blocks(upto: int, *marks: int) -> list[dict[str, Any]]:
    """Messages of 200 tokens each, numbered from 1; those in `marks` are marked."""
    roles = ("assistant", "user")
    made = [message(roles[at % 2], 200, f"block{at}") for at in range(1, upto + 1)]
    return [marked(one) if at in marks else one for at, one in enumerate(made, 1)]


# -------------------------------------------------------------------------------------------- what is read and written


async def test_a_book_is_written_once_and_read_when_only_the_question_changes(claude: Provider):
    book = {"role": "system", "content": [part(20, "instructions"), part(188_062, "pride", cache_control=FIVE)]}
    first = await claude.usage([book, message("user", 18, "themes")])
    again = await claude.usage([book, message("user", 18, "characters")])
    assert (first.cache_write, first.cached, first.prompt - first.cache_write) == (188_086, 0, 21)
    assert (again.cache_write, again.cached, again.prompt - again.cached) == (0, 188_086, 21)


async def test_nothing_is_read_or_written_without_a_mark(claude: Provider):
    asked = [message("system", 5000), message("user", 100)]
    assert [await claude.charged(asked) for _ in range(2)] == [(0, 0), (0, 0)]


async def test_a_mark_at_the_end_of_each_turn_reads_the_turn_before_and_writes_what_is_new(claude: Provider):
    assert await claude.charged(blocks(10, 10)) == (0, 2000)
    assert await claude.charged(blocks(15, 15)) == (2000, 1000)


async def test_the_lookback_is_twenty_positions_the_marks_own_the_first(claude: Provider):
    await claude.usage(blocks(15, 15))
    assert await claude.charged(blocks(34, 34)) == (3000, 3800)
    claude = Provider("demo/anthropic")
    await claude.usage(blocks(15, 15))
    assert await claude.charged(blocks(35, 35)) == (0, 7000)


async def test_a_second_mark_starts_a_lookback_of_its_own(claude: Provider):
    await claude.usage(blocks(15, 15))
    assert await claude.charged(blocks(35, 15, 35)) == (3000, 4000)


async def test_a_run_of_calls_and_a_run_of_results_are_one_position_each(claude: Provider):
    start = blocks(9)
    await claude.usage([*start[:-1], marked(start[-1])])
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(15)]
    results = [message("tool", 50, f"result{n}", tool_call_id=f"c{n}") for n in range(15)]
    turn = [{"role": "assistant", "content": None, "tool_calls": calls}, *results[:-1], marked(results[-1])]
    read, written = await claude.charged([*start, *turn])
    assert (read, written > 750) == (1800, True)


async def test_equal_text_is_not_found_where_nothing_was_written(claude: Provider):
    def asked(clock: str) -> list[dict[str, Any]]:
        return [*blocks(5), marked(message("user", 200, clock))]

    assert await claude.charged(asked("12:00")) == (0, 1200)
    assert await claude.charged(asked("12:01")) == (0, 1200)


async def test_a_mark_on_the_last_stable_block_is_read_whatever_follows(claude: Provider):
    assert await claude.charged([*blocks(6, 6), message("user", 200, "12:00")]) == (0, 1200)
    assert await claude.charged([*blocks(6, 6), message("user", 200, "12:01")]) == (1200, 0)


async def test_a_mark_in_another_place_changes_nothing_else(claude: Provider):
    await claude.usage(blocks(10, 10))
    assert await claude.charged(blocks(12, 9, 10, 12)) == (2000, 400)


async def test_a_string_and_one_marked_part_of_it_are_the_same_block(claude: Provider):
    words = text(2000)
    plain = [{"role": "user", "content": words, "cache_control": FIVE}]
    parted = [{"role": "user", "content": [{"type": "text", "text": words, "cache_control": FIVE}]}]
    assert await claude.charged(plain) == (0, 2004)
    assert await claude.charged(parted) == (2004, 0)


# --------------------------------------------------------------------------------------------- the order of the prompt


async def test_tools_come_first_then_system_then_messages(claude: Provider):
    asked = [system(1500), marked(message("user", 300))]
    tools = [tool(1200), marked(tool(1300, "second"))]
    first = await claude.usage(asked, tools=tools)
    assert first.cache_write == first.prompt - PRIMING
    other_question = [system(1500), marked(message("user", 300, "other"))]
    assert (await claude.charged(other_question, tools=tools))[0] == first.cache_write - 300
    other_system = [system(1500, about="other"), marked(message("user", 300))]
    assert (await claude.charged(other_system, tools=tools))[0] == first.cache_write - 1800


async def test_another_tool_invalidates_everything(claude: Provider):
    asked = [system(1500), marked(message("user", 300))]
    await claude.usage(asked, tools=[marked(tool(1200))])
    assert (await claude.charged(asked, tools=[marked(tool(1200, "renamed"))]))[0] == 0


async def test_tools_in_another_order_invalidate_everything(claude: Provider):
    asked, pair = [system(1500)], [tool(1200, "a"), tool(1200, "b")]
    await claude.usage(asked, tools=pair)
    assert (await claude.charged(asked, tools=pair[::-1]))[0] == 0


@pytest.mark.parametrize(
    "change", [{"tool_choice": "none"}, {"thinking": {"type": "enabled"}}, {"reasoning_effort": "low"}]
)
async def test_another_tool_choice_or_thinking_invalidates_the_messages_only(claude: Provider, change: dict[str, Any]):
    asked = [system(1500), marked(message("user", 300))]
    tools = [marked(tool(1200))]
    whole = (await claude.usage(asked, tools=tools)).cache_write
    assert await claude.charged(asked, tools=tools, **change) == (whole - 300, 300)


@pytest.mark.parametrize("change", [{"speed": "fast"}, {"web_search_options": {}}])
@pytest.mark.parametrize("head", [[system(1500)], []])
async def test_web_search_and_speed_invalidate_all_but_the_tools(
    claude: Provider, change: dict[str, Any], head: list[dict[str, Any]]
):
    asked, tools = [*head, marked(message("user", 300))], [marked(tool(1200))]
    await claude.usage(asked, tools=tools)
    alone = (await Provider("demo/anthropic").usage([], tools=tools)).cache_write
    assert (await claude.charged(asked, tools=tools, **change))[0] == alone


async def test_the_first_image_invalidates_the_messages_only(claude: Provider):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    await claude.usage([system(1500), marked(message("user", 300))])
    with_image = [
        system(1500),
        message("user", 300),
        {"role": "user", "content": [image, part(96, cache_control=FIVE)]},
    ]
    unread = 4784  # an image whose size nobody can read counts as the largest
    assert await claude.charged(with_image) == (1500, 400 + unread)


async def test_a_later_system_message_stays_where_it_is(claude: Provider):
    start = [system(1500), message("user", 300), marked(message("assistant", 300))]
    await claude.usage(start)
    assert await claude.charged([*start, message("system", 100, "reminder"), marked(message("user", 100))]) == (
        2100,
        200,
    )


# -------------------------------------------------------------------------------------------------------- least length


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-opus-5", 512),
        ("claude-opus-5-5", 512),
        ("claude-fable-5-1", 512),
        ("claude-opus-4-8", 1024),
        ("claude-sonnet-5", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-opus-4-1", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-3-5-haiku-20241022", 2048),
        ("claude-opus-4-6", 4096),
        ("claude-opus-4.5", 4096),
        ("claude-haiku-4-5", 4096),
        ("", 1024),
    ],
)
async def test_below_the_models_least_length_nothing_is_cached_and_nothing_said(model: str, least: int):
    assert anthropic_least(model) == least
    short, enough = Provider(f"demo/anthropic/{model}"), Provider(f"demo/anthropic/{model}")
    assert [await short.charged([system(least - 1), message("user", 9000)]) for _ in range(2)] == [(0, 0), (0, 0)]
    assert await enough.charged([system(least), message("user", 9000)]) == (0, least)
    assert await enough.charged([system(least), message("user", 9000)]) == (least, 0)


async def test_what_counts_is_the_whole_prefix_not_the_marked_block(claude: Provider):
    assert await claude.charged([system(1000, None), marked(message("user", 24))]) == (0, 1024)


# ----------------------------------------------------------------------------------------------------------- lifetimes


async def test_an_entry_lives_five_minutes(claude: Provider):
    asked = [system(2000), message("user", 100)]
    await claude.usage(asked)
    claude.now += 5 * MINUTE
    assert await claude.charged(asked) == (0, 2000)


async def test_a_read_renews_the_lifetime_for_free(claude: Provider):
    asked = [system(2000), message("user", 100)]
    await claude.usage(asked)
    for _ in range(10):
        claude.now += 4.9 * MINUTE
        assert await claude.charged(asked) == (2000, 0)


async def test_an_entry_marked_one_hour_lives_an_hour(claude: Provider):
    asked = [system(2000, HOUR), message("user", 100)]
    written = await claude.usage(asked)
    assert (written.cache_write, written.cache_write_1h) == (2000, 2000)
    claude.now += 59 * MINUTE
    assert await claude.charged(asked) == (2000, 0)
    claude.now += 60 * MINUTE
    assert await claude.charged(asked) == (0, 2000)


async def test_the_lifetime_is_measured_from_the_start_of_the_request(claude: Provider):
    asked = [system(2000), message("user", 100)]
    slow = await claude.begin(asked)
    claude.now += 4 * MINUTE
    await slow.read()
    claude.now += 1.5 * MINUTE
    assert await claude.charged(asked) == (0, 2000)


async def test_a_marked_prefix_is_renewed_when_a_longer_one_is_read(claude: Provider):
    def asked(turn: int) -> list[dict[str, Any]]:
        return [system(2000), *blocks(turn, turn)]

    await claude.usage(asked(1))
    for turn in range(2, 6):
        claude.now += 4 * MINUTE
        await claude.usage(asked(turn))
    assert await claude.charged([system(2000), marked(message("user", 200, "fresh"))]) == (2000, 200)


async def test_the_two_lifetimes_are_charged_apart(claude: Provider):
    """Position A is the highest hit, B the last one-hour mark after it, C the last mark."""
    first = await claude.usage([system(1800, HOUR), marked(message("user", 300, "a"))])
    assert (first.cached, first.cache_write_1h, first.cache_write) == (0, 1800, 2100)
    asked = [system(1800, HOUR), marked(message("user", 100, "b"), HOUR), marked(message("user", 456, "c"))]
    mixed = await claude.usage(asked)
    assert (mixed.cached, mixed.cache_write_1h, mixed.cache_write) == (1800, 100, 556)
    assert (await claude.charged(asked)) == (2356, 0)


async def test_an_entry_is_readable_only_when_the_answer_that_writes_it_has_begun(claude: Provider):
    asked = [system(2000), message("user", 100)]
    first = await claude.begin(asked)
    assert await claude.charged(asked) == (0, 2000)
    await first.read()
    assert await claude.charged(asked) == (2000, 0)


async def test_a_stream_has_begun_with_its_first_chunk(claude: Provider):
    asked = [system(2000), message("user", 100)]
    body = orjson.dumps({"messages": asked, "stream": True})
    stream = await claude.demo.send(claude.deployment, body, stream=True, request_id="gw_1")
    async for _ in stream.chunks():
        break
    assert await claude.charged(asked) == (2000, 0)


async def test_a_limit_of_nothing_warms_the_cache_and_is_not_answered(claude: Provider):
    warmed = await claude.usage([system(2000), message("user", 8, "warmup")], max_tokens=0)
    assert (warmed.cache_write, warmed.completion) == (2000, 0)
    assert await claude.charged([system(2000), message("user", 100)]) == (2000, 0)
    assert "max_tokens" in await claude.refused([system(2000), message("user", 8)], max_tokens=0, stream=True)


async def test_deployments_do_not_share_what_they_keep():
    one, other = Provider("demo/anthropic", name="a"), Provider("demo/anthropic", name="b")
    other.demo = one.demo
    asked = [system(2000), message("user", 100)]
    await one.usage(asked)
    assert await other.charged(asked) == (0, 2000)
    assert await one.charged(asked) == (2000, 0)


# --------------------------------------------------------------------------------------------------- automatic caching


async def test_automatic_caching_moves_its_mark_to_the_last_block(claude: Provider):
    turns = [system(1500, None), *blocks(6)]
    assert await claude.charged(turns[:3], cache_control=FIVE) == (0, 1900)
    assert await claude.charged(turns[:5], cache_control=FIVE) == (1900, 400)
    assert await claude.charged(turns[:7], cache_control=FIVE) == (2300, 400)


async def test_automatic_caching_does_nothing_where_the_last_block_is_marked_alike(claude: Provider):
    three = [marked(one) for one in blocks(8)[:3]]
    assert (await claude.charged([*three, *blocks(8, 8)[3:]], cache_control=FIVE)) == (0, 1600)


async def test_automatic_caching_with_another_lifetime_than_the_last_mark_is_refused(claude: Provider):
    assert "another ttl" in await claude.refused(blocks(8, 8), cache_control=HOUR)


async def test_automatic_caching_takes_one_of_the_four(claude: Provider):
    assert (await claude.charged(blocks(10, 1, 2, 3), cache_control=FIVE))[1] == 2000
    assert "Found 5" in await claude.refused(blocks(10, 1, 2, 3, 4), cache_control=FIVE)


async def test_automatic_caching_passes_over_what_cannot_be_marked(claude: Provider):
    turns = [system(1500, None), {"role": "assistant", "content": ""}]
    assert await claude.charged(turns, cache_control=FIVE) == (0, 1500)


# ------------------------------------------------------------------------------------------------------------ refusals


async def test_more_than_four_marks_are_refused_in_anthropics_words(claude: Provider):
    assert await claude.charged(blocks(10, 1, 2, 3, 10)) == (0, 2000)
    assert await claude.refused([*blocks(10, 1, 2, 3, 4)], tools=[marked(tool(10))]) == (
        "A maximum of 4 blocks with cache_control may be provided. Found 5."
    )


async def test_one_hour_after_five_minutes_is_refused_whichever_level_they_are_on(claude: Provider):
    said = await claude.refused([system(2000, HOUR), message("user", 9)], tools=[marked(tool(10))])
    assert said == (
        "system.0.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
        "block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
    )
    assert "messages.1.content.0" in await claude.refused([*blocks(1, 1), marked(message("user", 9), HOUR)])
    assert (await claude.charged([system(2000, HOUR), marked(message("user", 9))]))[1] == 2009


async def test_other_lifetimes_and_types_are_refused(claude: Provider):
    assert "'5m' or '1h'" in await claude.refused([system(2000, {"type": "ephemeral", "ttl": "2h"})])
    assert "'ephemeral'" in await claude.refused([system(2000, {"type": "forever"})])


async def test_a_refused_request_writes_nothing(claude: Provider):
    await claude.refused(blocks(10, 1, 2, 3, 9, 10))
    assert await claude.charged(blocks(10, 10)) == (0, 2000)


async def test_a_tool_may_be_marked_on_its_function_and_a_name_in_its_schema_is_no_mark(claude: Provider):
    asked = [message("user", 100)]
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    plain = {"type": "function", "function": {"name": "f", "description": text(2000), "parameters": schema}}
    inner = {**plain, "function": {**plain["function"], "cache_control": FIVE}}  # type: ignore[dict-item]
    written = await claude.usage(asked, tools=[inner])
    assert written.cache_write >= 2000
    assert await claude.charged(asked, tools=[marked(plain)]) == (written.cache_write, 0)
    assert await claude.charged(asked, tools=[plain]) == (0, 0)


# --------------------------------------------------------------------------------------------------------- on the wire


async def test_the_usage_is_what_litellm_makes_of_anthropics(claude: Provider):
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    await claude.told([system(1800, HOUR), marked(message("user", 300, "a"))])
    asked = [system(1800, HOUR), marked(message("user", 100, "b"), HOUR), marked(message("user", 456, "c"))]
    told = await claude.told([*asked, message("user", 18)])
    native = {
        "input_tokens": 21,
        "cache_read_input_tokens": 1800,
        "cache_creation_input_tokens": 556,
        "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100},
        "output_tokens": told["completion_tokens"],
    }
    converted = AnthropicConfig().calculate_usage(native, None)
    assert told == converted.model_dump(exclude_none=True)
