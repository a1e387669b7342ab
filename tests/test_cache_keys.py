"""The `prompt_cache_key` of a prefix group: one, or several where it has many requests a minute."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_cache.cache_keys import key_of


def test_a_group_has_one_key_until_it_asks_too_often():
    assert key_of(7, 15, 1) == key_of(7, 0, 2) != key_of(8, 0, 1)
    assert len(key_of(7, 15, 1)) == 16
    busy = {key_of(7, 100, conversation) for conversation in range(200)}
    assert len(busy) == 8
    assert {one.split("-")[0] for one in busy} == {key_of(7, 0, 0)}


@given(st.integers(0, 2**64 - 1), st.floats(0, 1e9), st.integers(0, 2**64 - 1))
def test_a_key_is_short_stable_and_a_growing_group_only_splits(group: int, rate: float, conversation: int):
    key = key_of(group, rate, conversation)
    assert key == key_of(group, rate, conversation)
    assert len(key) <= 64
    shards = [int((key_of(group, per_minute, conversation) + "-0").split("-")[1]) for per_minute in (10, 20, 40, 80)]
    assert [shards[at + 1] % 2**at for at in range(3)] == shards[:3]
