"""`demo/vllm`: blocks of 16 tokens, wherever messages begin, in a memory that is bounded."""

from typing import Any

from tests.providers.cached import Provider, message, tool

FOUR = "abc "
"""A word and its blank: four characters a token, so that 16 tokens are the 64 characters that are compared."""


def said(tokens: int, first: str = "abc") -> dict[str, Any]:
    """A user's message of so many tokens without its frame."""
    return {"role": "user", "content": (f"{first} " + FOUR * (tokens - 1))}


async def test_what_was_sent_before_is_read_in_blocks_of_sixteen_tokens():
    engine = Provider("demo/vllm")
    asked = [message("user", 100)]
    assert [await engine.charged(asked) for _ in range(2)] == [(0, 0), (96, 0)]
    assert await engine.charged([*asked, message("assistant", 30)]) == (96, 0)
    assert await engine.charged([*asked, message("assistant", 30), message("user", 30)]) == (128, 0)


async def test_a_prompt_that_parts_inside_a_message_is_read_up_to_the_block_where_it_parts():
    engine = Provider("demo/vllm")
    await engine.charged([said(640)])
    parted = {"role": "user", "content": FOUR * 320 + "xyz " * 320}
    read, _ = await engine.charged([parted])
    assert read == 320


async def test_less_than_a_block_is_nothing():
    engine = Provider("demo/vllm")
    assert [await engine.charged([message("user", 12)]) for _ in range(2)] == [(0, 0), (0, 0)]


async def test_the_last_token_is_always_computed():
    engine = Provider("demo/vllm")
    asked = [message("user", 16 * 5 - 3)]
    assert [await engine.charged(asked) for _ in range(2)] == [(0, 0), (64, 0)]


async def test_tools_and_roles_are_part_of_every_block():
    engine = Provider("demo/vllm")
    await engine.charged([message("user", 400)], tools=[tool(100)])
    assert await engine.charged([message("user", 400)]) == (0, 0)
    assert await engine.charged([message("assistant", 400)]) == (0, 0)
    assert (await engine.charged([message("user", 400)], tools=[tool(100)]))[0] >= 496


async def test_it_never_grows_old():
    engine = Provider("demo/vllm")
    await engine.charged([message("user", 400)])
    engine.now += 1e9
    assert await engine.charged([message("user", 400)]) == (400, 0)


async def test_a_salt_separates():
    engine = Provider("demo/vllm")
    await engine.charged([message("user", 400)], cache_salt="alice")
    assert await engine.charged([message("user", 400)], cache_salt="bob") == (0, 0)
    assert await engine.charged([message("user", 400)], cache_salt="alice") == (400, 0)


async def test_what_was_unused_for_longest_is_forgotten_first():
    engine = Provider("demo/vllm", cache_tokens=1200)
    for about in ("a", "b"):
        await engine.charged([message("user", 480, about)])
    assert await engine.charged([message("user", 480, "a")]) == (480, 0)
    await engine.charged([message("user", 480, "c")])
    assert await engine.charged([message("user", 480, "a")]) == (480, 0)
    assert (await engine.charged([message("user", 480, "b")]))[0] < 480


async def test_of_one_prompt_the_end_is_forgotten_before_the_beginning():
    engine = Provider("demo/vllm", cache_tokens=1000)
    first = [message("user", 320, "a"), message("assistant", 320, "b")]
    await engine.charged(first)
    await engine.charged([message("user", 640, "c")])
    read, _ = await engine.charged(first)
    assert 0 < read < 640


async def test_a_memory_too_small_for_one_prompt_keeps_its_beginning():
    engine = Provider("demo/vllm", cache_tokens=320)
    asked = [message("user", 3200)]
    await engine.charged(asked)
    read, _ = await engine.charged(asked)
    assert 256 <= read <= 320


async def test_its_usage_is_vllms():
    told = await Provider("demo/vllm").told([message("user", 100)])
    assert told["prompt_tokens_details"] == {"cached_tokens": 0}
    assert set(told) == {"prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"}
