"""What a process remembers: by key, bounded in bytes, and of no consequence for what is sent."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import Recognition
from gateway.memory import DEFAULT_BYTES, ENTRY_BYTES, SHARES, Memory, MemoryPlan
from gateway.rewriting.folds import fold
from gateway.rewriting.folds.voiced import voiced
from gateway.rewriting.ladder import Ladders
from gateway.rewriting.memory import Known
from tests.talk import anatomy, assistant, calls, count, result, user, words
from tests.test_folds import RULES


def test_what_was_put_in_is_found_again_by_its_key():
    memory: Memory[str, int] = Memory(10_000)
    memory.put("a", 1, 10)
    assert memory.get("a") == 1
    assert memory.get("b") is None


def test_what_was_put_in_twice_is_held_once():
    memory: Memory[str, int] = Memory(10_000)
    memory.put("a", 1, 10)
    memory.put("a", 2, 10)
    assert memory.get("a") == 2
    assert len(memory) == 1


def test_a_value_larger_than_a_quarter_of_the_whole_is_not_held():
    memory: Memory[str, int] = Memory(10_000)
    memory.put("small", 1, 10)
    memory.put("large", 1, 2_501)
    assert memory.get("large") is None
    assert memory.get("small") == 1


def test_what_is_asked_for_again_and_again_stays():
    memory: Memory[str, int] = Memory(20 * ENTRY_BYTES)
    memory.put("asked for", 1, 10)
    for number in range(200):
        memory.put(f"other {number}", number, 10)
        assert memory.get("asked for") == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3000), st.booleans()), max_size=80))
def test_it_never_holds_more_than_its_bytes(asked):
    most = 10_000
    memory: Memory[int, int] = Memory(most)
    sizes: dict[int, int] = {}
    for key, size, reads in asked:
        if reads:
            memory.get(key)
        else:
            memory.put(key, size, size)
            sizes[key] = size
    held = [key for key in sizes if key in memory._young] + [key for key in sizes if key in memory._old]
    assert sum((memory._young.get(key) or memory._old[key])[1] for key in held) <= most + 2 * max([*sizes.values(), 0])


def test_it_says_how_much_it_holds():
    memory: Memory[str, int] = Memory(10_000)
    memory.put("a", 1, 10)
    assert repr(memory) == f"Memory(1 entries, {10 + ENTRY_BYTES} bytes of at most 5000 in the younger half)"


SAID = st.lists(
    st.one_of(
        st.integers(1, 90).map(lambda n: [user(words(n, f"q{n}"))]),
        st.integers(1, 90).map(lambda n: [assistant(words(n, f"order #W{n}"))]),
        st.tuples(st.integers(0, 9), st.integers(1, 120)).map(
            lambda p: [calls(f"c{p[0]} read"), result(f"c{p[0]}", words(p[1], f"id-{p[1]}"))]
        ),
    ),
    min_size=2,
    max_size=20,
)


@given(SAID, st.booleans())
def test_a_fold_is_always_the_same_whether_its_process_remembers_or_not(groups, all_of_it):
    listed = [message for group in groups for message in group]
    rules, known = replace(RULES, budget=300, final_budget=300, artifacts=0.2), Known()
    ends = range(1, len(listed) + 1) if all_of_it else [len(listed)] * 2
    for end in ends:
        taken = anatomy(listed[:end])
        named = voiced(taken, Recognition().document_tags, count, known)
        anew = voiced(taken, Recognition().document_tags, count, Known())
        assert fold(named, rules, Ladders(), count, known) == fold(anew, rules, Ladders(), count)


def test_the_parts_of_a_memory_are_never_more_than_the_whole():
    for total in (16_000_000, DEFAULT_BYTES, 10**10):
        plan = MemoryPlan(total)
        parts = [plan.bytes_for(part) for part in SHARES]
        assert total - len(parts) <= sum(parts) <= total
