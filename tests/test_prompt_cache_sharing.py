"""Workers that share a state believe the same of prompt caches; a state that is down costs nothing but that."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.money.row import CacheSettlement
from gateway.prompt_cache.groups import PrefixGroups
from gateway.prompt_cache.lookup import CacheLookup, ConversationOwner
from gateway.prompt_cache.sharing import GROUPS, MOST_SENT_BYTES, SENT, share_prompt_caches
from gateway.prompt_cache.tracker import PromptCaches
from gateway.prompt_cache.usage_patterns import KNOWN, NEW, NOTHING_KNOWN
from gateway.state import State, StateUnavailable
from gateway.state.disk import DiskState
from gateway.state.shared import Sharing
from gateway.wire.usage import Usage
from tests.caching_replay import facts_of
from tests.contract.running import eventually
from tests.passage import COUNTERS, NOW, deployment
from tests.sharing import at, sharing
from tests.talk import Wire, assistant, request, system, user, words

OWNER = ConversationOwner(("team", "key", "", "m"), ("team", "m"), "team/policy/m")
FIRST: list[Wire] = [system(words(1500)), user("one")]
SECOND: list[Wire] = [*FIRST, assistant("1"), user("two")]


async def ask(
    caches: PromptCaches,
    listed: list[Wire],
    now: float,
    prompt: int,
    rules: str = "openai",
    owner: ConversationOwner = OWNER,
) -> CacheSettlement:
    """Send a request and have it answered."""
    model = deployment("m", f"demo/{rules}", kind="demo", cache=facts_of(rules))
    one = caches.look(model, request(listed), None, owner, now)
    assert one is not None
    caches.note(one)
    return await caches.settle(one, Usage(prompt=prompt), lambda _: 0, COUNTERS.for_encoding("o200k_base"), lambda _: 0)


def worker(folder: Path, name: str, opens: Callable[[], State] | None = None) -> tuple[PromptCaches, Sharing]:
    caches, shares = PromptCaches(), sharing(opens or at(folder), rest_seconds=0.1)
    share_prompt_caches(shares, caches, lambda: NOW, name)
    return caches, shares


async def test_a_conversation_that_another_worker_began_is_expected_to_be_read(tmp_path: Path):
    (first, telling), (second, hearing) = worker(tmp_path, "a"), worker(tmp_path, "b")
    await ask(first, FIRST, NOW, 1603)
    await telling.exchange()
    await hearing.exchange()
    assert (await ask(second, SECOND, NOW + 5, 1700)).expected == 1536
    for one in (telling, hearing):
        await one.close()


async def test_the_next_start_goes_on_from_what_was_known(tmp_path: Path):
    caches, shared = worker(tmp_path, "a")
    await shared.open()
    await ask(caches, FIRST, NOW, 1603)
    await shared.close()
    caches, shared = worker(tmp_path, "b")
    await shared.open()
    assert (await ask(caches, SECOND, NOW + 5, 1700)).expected == 1536
    await shared.close()


async def test_groups_and_habits_are_counted_together(tmp_path: Path):
    workers = [worker(tmp_path, name) for name in "abc"]
    for number, (caches, shared) in enumerate(workers):
        await ask(caches, [FIRST[0], user(f"question {number}")], NOW, 1603)
        await shared.exchange()
    for _, shared in workers:
        await shared.exchange()
    model = deployment("m", "demo/openai", kind="demo", cache=facts_of("openai"))
    for caches, shared in workers:
        one = caches.look(model, request(FIRST), None, OWNER, NOW)
        assert one is not None
        assert caches.groups.sights(one.group) == 3
        assert (
            sum(
                count
                for (_, stage), count in caches.observations.habits("team/policy/m").waiting.items()
                if stage == KNOWN
            )
            == 0
        )
        assert (
            sum(
                count
                for (_, stage), count in caches.observations.habits("team/policy/m").waiting.items()
                if stage == NEW
            )
            == 3
        )
        await shared.close()


async def test_a_request_of_the_gateways_own_is_shared_and_taken_for_nobodys_habit(tmp_path: Path):
    (first, telling), (second, hearing) = worker(tmp_path, "a"), worker(tmp_path, "b")
    ours = replace(OWNER, is_gateway=True)
    assert await ask(first, FIRST, NOW, 1603, owner=ours) == CacheSettlement(miss="first_sight")
    await telling.exchange()
    await hearing.exchange()
    assert (await ask(second, SECOND, NOW + 5, 1700, owner=ours)).expected == 1536
    for caches, shared in ((first, telling), (second, hearing)):
        assert caches.observations.habits(OWNER.kind) == NOTHING_KNOWN
        assert len(caches.groups) == 0
        await shared.close()


async def test_own_requests_are_not_heard_back_as_somebody_elses(tmp_path: Path):
    caches, shared = worker(tmp_path, "a")
    await ask(caches, FIRST, NOW, 1603)
    await shared.exchange()
    held = len(caches._contents)
    await shared.exchange()
    assert len(caches._contents) == held
    await shared.close()


@pytest.mark.parametrize(
    "nonsense", [b"\xff", b'[["w",1,1,1,[[]]]]', b'{"v":2,"sent":[]}', b'{"v":1,"is":[["w",1,1,1,[[]]]]}']
)
async def test_nonsense_in_the_state_is_begun_anew(tmp_path: Path, nonsense: bytes):
    state = DiskState(tmp_path)
    state.put(SENT, nonsense)
    state.close()
    caches, shared = worker(tmp_path, "a")
    await ask(caches, FIRST, NOW, 1603)
    await shared.exchange()
    other, hearing = worker(tmp_path, "b")
    await hearing.exchange()
    assert (await ask(other, SECOND, NOW + 5, 1700)).expected == 1536
    for one in (shared, hearing):
        await one.close()


@pytest.mark.long
async def test_what_is_shared_is_bounded(tmp_path: Path):
    caches, shared = worker(tmp_path, "a")
    listed = [system(words(1500)), *(user(f"line {number}") for number in range(300))]
    for number in range(60):
        await ask(caches, [*listed, user(f"question {number}")], NOW + number, 5000)
        if number % 20 == 19:
            await shared.exchange()
    state = DiskState(tmp_path)
    assert len(state.get(SENT) or b"") <= MOST_SENT_BYTES
    state.close()
    await shared.close()


async def test_what_another_worker_reads_renews_no_more_than_it_reads(tmp_path: Path):
    facts = replace(facts_of("openai"), writes={300: facts_of("openai").writes[86_400]})
    short = deployment("m", "demo/openai", kind="demo", cache=facts)
    (first, telling), (second, hearing) = worker(tmp_path, "a"), worker(tmp_path, "b")

    def sees(caches: PromptCaches, listed: list[Wire], now: float) -> CacheLookup:
        one = caches.look(short, request(listed), None, OWNER, now)
        assert one is not None
        return one

    async def sends(caches: PromptCaches, listed: list[Wire], now: float) -> None:
        one = sees(caches, listed, now)
        caches.note(one)
        counter = COUNTERS.for_encoding("o200k_base")
        await caches.settle(one, Usage(prompt=1600), lambda _: 0, counter, lambda _: 0)

    long = [FIRST[0], user(words(3000))]
    await sends(first, long, NOW)
    await sends(second, FIRST, NOW + 290)
    await hearing.exchange()
    await telling.exchange()
    assert sees(first, [*long, assistant("ok"), user("go on")], NOW + 400).sent.match.read == 1
    for one in (telling, hearing):
        await one.close()


async def test_what_was_told_before_the_state_went_down_is_not_told_again(tmp_path: Path):
    class GoesDown(DiskState):
        is_up = False

        def update(
            self,
            key: str,
            change: Callable[[bytes | None], bytes | None],
            expires_seconds: float | None = None,
        ) -> bytes | None:
            if key == GROUPS and not self.is_up:
                self.is_up = True
                raise StateUnavailable("down")
            return super().update(key, change, expires_seconds)

    caches, shared = worker(tmp_path, "a", lambda: GoesDown(tmp_path))
    await ask(caches, FIRST, NOW, 1603)
    await shared.exchange()
    await eventually(lambda: not shared.store.is_down, 5)
    await shared.exchange()
    habits = caches.observations.habits("team/policy/m")
    assert sum(count for (_, stage), count in habits.waiting.items() if stage == NEW) == 1
    await shared.close()


def test_hearing_of_the_same_groups_each_second_pushes_no_other_out():
    groups = PrefixGroups()
    for _ in range(3):
        groups.note_start(1, 0.0)
    groups.take_news()
    for _ in range(60):
        groups.adopt(dict.fromkeys(range(2, 2002), (3.0, 3.0, 1.0)))
    assert groups.sights(1) == 3
