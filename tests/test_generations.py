"""A memory in generations: it is bounded in bytes, and the newest values stay."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_cache.generations import Generations


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 300)), max_size=200))
def test_memory_is_bounded_and_what_was_put_in_last_is_there(put):
    most = 8_000
    held: Generations[int, int] = Generations(most)
    for key, size in put:
        held.put(key, size, size)
        assert held.get(key) == size
        assert key in held
    assert len(held) <= most / 72 + 4
