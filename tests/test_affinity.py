"""Which deployment a conversation goes to: the same one each time, and another only for a reason."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Conversation, Message
from gateway.routing.affinity import IDLE, Digests, Load, affinity_group, deployment_order, rank, seeds
from gateway.routing.deployment import Deployment
from gateway.routing.loads import AWAY_SECONDS, BACK_SECONDS, LATELY_SECONDS, Loads, Preference
from gateway.routing.placements import STAYS, holding
from tests.conftest import Conversations
from tests.providers.deployments import deployment
from tests.replicas import PrefixCache, Request, interleaved, made_up, play, requests_of

KEYS = st.integers(0, 2**64 - 1)
NOBODY: frozenset[str] = frozenset()


def replicas(number: int, weight: float = 1.0) -> list[Deployment]:
    return [deployment(name=f"r{at}", url=f"http://10.0.0.{at}/v1", weight=weight) for at in range(number)]


def ranking(key: int, deployments: Sequence[Deployment]) -> list[str]:
    return [one.name for one in rank(key, deployments, seeds(deployments))]


def talk(*said: str, system: str = "You help.") -> Conversation:
    """System, then user and assistant in turn."""
    roles = ["user", "assistant"] * len(said)
    spoken = [Message(role, text) for role, text in zip(roles, said, strict=False)]
    return Conversation((Message("system", system), *spoken))


def digests() -> Digests:
    return Digests(2**20)


# ---------------------------------------------------------------- the ranking


@given(KEYS, st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=1, max_size=9))
def test_a_ranking_always_names_each_deployment_once(key: int, weights: list[float]):
    some = [replace(one, weight=weight) for one, weight in zip(replicas(9), weights, strict=False)]
    assert sorted(ranking(key, some)) == sorted(one.name for one in some)


@given(KEYS, st.integers(2, 9), st.data())
def test_a_deployment_that_is_lost_never_changes_the_order_of_the_others(key: int, number: int, data: st.DataObject):
    some = replicas(number)
    lost = data.draw(st.sampled_from(some))
    rest = [one for one in some if one is not lost]
    assert ranking(key, rest) == [name for name in ranking(key, some) if name != lost.name]


@given(KEYS, st.permutations(replicas(5)))
def test_the_place_in_the_list_never_matters(key: int, shuffled: list[Deployment]):
    assert ranking(key, shuffled) == ranking(key, replicas(5))


def test_the_choice_is_the_same_in_every_process_and_release():
    assert [ranking(key, replicas(4))[0] for key in range(10)] == [f"r{at}" for at in (1, 0, 3, 0, 0, 3, 0, 1, 0, 0)]


@pytest.mark.long
def test_a_deployment_that_is_added_takes_its_share_and_nothing_else_moves():
    draw = random.Random(1)
    keys = [draw.getrandbits(64) for _ in range(4000)]
    before, after = ([ranking(key, replicas(number))[0] for key in keys] for number in (7, 8))
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"r7"}
    assert len(moved) / len(keys) == pytest.approx(1 / 8, abs=0.02)


def test_weights_are_shares():
    draw = random.Random(2)
    some = [replace(one, weight=weight) for one, weight in zip(replicas(3), (1.0, 3.0, 6.0), strict=True)]
    first = Counter(ranking(draw.getrandbits(64), some)[0] for _ in range(4000))
    assert [first[name] / 4000 for name in ("r0", "r1", "r2")] == pytest.approx([0.1, 0.3, 0.6], abs=0.03)


@given(KEYS)
def test_a_weight_of_zero_is_always_last(key: int):
    unused, *others = replicas(4)
    assert ranking(key, [replace(unused, weight=0.0), *others])[-1] == "r0"


def test_weights_of_zero_throughout_are_even():
    draw = random.Random(3)
    first = Counter(ranking(draw.getrandbits(64), replicas(4, weight=0.0))[0] for _ in range(2000))
    assert min(first.values()) > 400


def test_two_accounts_at_one_address_have_groups_of_their_own():
    twins = [deployment(name=name, url="http://10.0.0.1/v1") for name in ("a", "b")]
    assert {ranking(key, twins)[0] for key in range(40)} == {"a", "b"}


def test_a_region_is_told_by_its_settings_and_not_by_its_number():
    east, west = (deployment(name=name, aws_region_name=name) for name in ("east", "west"))
    assert seeds([east, west]) == seeds([west, east])
    assert seeds([east])["east"] == seeds([west, east])["east"]


# ---------------------------------------------------------------- what a group is


def test_a_conversation_is_one_group_however_long_it_grows():
    first, second, third = talk("a"), talk("a", "b", "c"), talk("a", "b", "c", "d", "e")
    groups = [affinity_group(one, digests()) for one in (first, second, third)]
    assert len({group.key for group in groups}) == 1
    assert groups[1].trail == groups[2].trail
    assert [group.turns for group in groups] == [0, 1, 2]


def test_conversations_that_begin_otherwise_are_groups_of_their_own():
    known = digests()
    assert len({affinity_group(one, known).key for one in (talk("a"), talk("b"), talk("a", system="Else."))}) == 3


def test_conversations_that_only_begin_alike_are_told_apart_by_what_follows():
    one, other = (affinity_group(talk("hello", "hello", said), digests()) for said in ("my order", "my invoice"))
    assert one.key == other.key
    assert one.trail != other.trail


def test_instructions_and_the_task_in_two_user_messages_are_both_the_opening():
    def asked(task: str) -> Conversation:
        return Conversation((Message("user", "Here is how you work."), Message("user", task)))

    assert affinity_group(asked("fix"), digests()).key != affinity_group(asked("test"), digests()).key


def test_a_greeting_and_marked_examples_are_part_of_the_opening():
    head = (Message("user", "2+2?", name="example_user"), Message("assistant", "4", name="example_assistant"))
    greeted = (Message("assistant", "Hi! What is it?"), Message("user", "my order"))
    group = affinity_group(Conversation((*head, *greeted)), digests())
    assert group.turns == 0
    assert group.key != affinity_group(Conversation((*head, *greeted[:1], Message("user", "my bill"))), digests()).key


def test_tools_do_not_enter_because_a_change_of_them_makes_every_cache_cold():
    assert affinity_group(replace(talk("a"), definitions=("[1]",), tools=1), digests()) == affinity_group(
        talk("a"), digests()
    )


def test_a_long_text_is_the_same_group_remembered_or_not():
    known, long = digests(), talk("x" * 5000)
    assert affinity_group(long, known) == affinity_group(long, known) == affinity_group(long, digests())
    assert len(known) == 1


# ---------------------------------------------------------------- the order under load


LOADS = st.builds(Load, st.integers(0, 50), st.floats(0, 500))


@given(KEYS, st.lists(LOADS, min_size=5, max_size=5), st.integers(0, 30), st.sampled_from(["r0", "r3", "gone", None]))
def test_under_any_load_each_deployment_is_always_tried_once(key, loads, turns, stays):
    ranked = rank(key, replicas(5), seeds(replicas(5)))
    tried = deployment_order(ranked, {f"r{at}": load for at, load in enumerate(loads)}, turns=turns, stays=stays)
    assert sorted(one.name for one in tried) == [f"r{at}" for at in range(5)]


@given(KEYS, st.integers(0, 30), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_little_load_never_changes_the_ranking(key: int, turns: int, recent: list[int]):
    ranked = rank(key, replicas(4), seeds(replicas(4)))
    assert (
        deployment_order(ranked, {f"r{at}": Load(0, number) for at, number in enumerate(recent)}, turns=turns) == ranked
    )


def busy(name: str, recent: float, others: float = 100.0, in_flight: int = 0) -> dict[str, Load]:
    return {f"r{at}": Load(0, others) for at in range(4)} | {name: Load(in_flight, recent)}


def test_what_begins_goes_past_a_deployment_that_has_more_than_its_share():
    ranked = replicas(4)
    assert [one.name for one in deployment_order(ranked, busy("r0", 150.0))] == ["r1", "r2", "r3", "r0"]


def test_what_runs_there_stays_until_it_is_clearly_too_full():
    ranked = replicas(4)
    assert deployment_order(ranked, busy("r0", 120.0), turns=3)[0].name == "r0"
    assert deployment_order(ranked, busy("r0", 300.0), turns=3)[0].name == "r1"
    assert deployment_order(ranked, busy("r2", 120.0), turns=3, stays="r2")[0].name == "r2"


def test_an_agent_that_works_alone_never_flees_from_itself():
    assert deployment_order(replicas(4), {"r0": Load(1, 400.0)}, turns=400)[0].name == "r0"


def test_a_deployment_that_is_stuck_is_passed_by_whoever_asks():
    assert deployment_order(replicas(4), busy("r0", 100.0, in_flight=40), turns=3)[0].name == "r1"


def test_a_heavier_deployment_may_hold_more():
    one, other = replicas(2)
    heavy = replace(one, weight=3.0)
    assert deployment_order([heavy, other], {"r0": Load(0, 290.0), "r1": Load(0, 100.0)})[0].name == "r0"


# ---------------------------------------------------------------- where a conversation runs, over time


class Traffic:
    """One process's requests to eight deployments, some of which may rest."""

    def __init__(self) -> None:
        self.loads, self.deployments = Loads(), replicas(8)

    def ask(self, conversation: Conversation, now: float, resting: frozenset[str] = NOBODY, fails: int = 0) -> str:
        """Return who answers, after `fails` of them could not."""
        preference = Preference(self.loads, conversation, resting, now)
        chosen = preference(self.deployments)[fails]
        self.loads.begin(chosen.name, now)
        self.loads.end(chosen.name)
        preference.answered(chosen, now)
        return chosen.name


OPENING, RUNS = talk("0"), talk(*map(str, range(41)))


def test_a_conversation_leaves_a_deployment_that_rests_and_comes_back_once():
    traffic = Traffic()
    home = traffic.ask(RUNS, 0.0)
    away = traffic.ask(RUNS, 1.0, frozenset({home}))
    assert away != home
    seen = [traffic.ask(RUNS, now) for now in (2.0, 30.0, BACK_SECONDS, BACK_SECONDS + 2, BACK_SECONDS + 3)]
    assert seen == [away, away, away, home, home]


def test_a_deployment_that_rests_on_and_off_does_not_pull_a_conversation_to_and_fro():
    traffic = Traffic()
    home = traffic.ask(RUNS, 0.0)
    away = traffic.ask(RUNS, 1.0, frozenset({home}))
    blinking = [traffic.ask(RUNS, now, frozenset({home} if now % 20 else ())) for now in range(5, int(BACK_SECONDS), 5)]
    assert set(blinking) == {away}


def test_a_conversation_stays_away_while_its_deployment_is_down_for_long():
    traffic = Traffic()
    home = traffic.ask(RUNS, 0.0)
    down = [traffic.ask(RUNS, now, frozenset({home})) for now in (1.0, 100.0, 200.0, 300.0)]
    assert len({*down}) == 1


def test_a_failure_within_a_request_is_learnt_like_a_rest():
    traffic = Traffic()
    home = traffic.ask(RUNS, 0.0)
    away = traffic.ask(RUNS, 1.0, fails=1)
    assert [traffic.ask(RUNS, now) for now in (2.0, BACK_SECONDS + 2)] == [away, home]


def test_a_conversation_that_load_sent_elsewhere_stays_there_until_it_has_been_idle():
    traffic = Traffic()
    home = Traffic().ask(OPENING, 0.0)
    for _ in range(100):
        traffic.loads.begin(home, 0.0)
    for _ in range(100):
        traffic.loads.end(home)
    away = traffic.ask(OPENING, 0.0)
    assert away != home
    seen = [traffic.ask(RUNS, now) for now in (1.0, 400.0, 800.0, 1200.0)]
    assert set(seen) == {away}
    assert traffic.ask(RUNS, 1201.0 + AWAY_SECONDS) == home


def test_load_is_forgotten_with_time_and_what_is_under_way_is_not():
    loads = Loads()
    loads.begin("r0", 0.0)
    assert loads.of("r0", 0.0) == Load(1, 1.0)
    assert loads.of("r0", 10 * LATELY_SECONDS).recent < 0.001
    assert loads.of("r0", 10 * LATELY_SECONDS).in_flight == 1
    loads.end("r0")
    assert loads.of("r0", 0.0).in_flight == 0
    assert loads.of("r1", 0.0) == IDLE


def test_memory_is_bounded_however_many_conversations_are_away():
    loads = Loads(most_bytes=200_000)
    traffic = Traffic()
    traffic.loads = loads
    for number in range(3000):
        traffic.ask(talk(f"{number}", "b", "c"), 0.0, fails=1)
    assert len(loads._stays) * 360 <= 200_000


# ---------------------------------------------------------------- eight replicas with small caches


Schedule = list[tuple[float, int, Request]]
MIXED = ("tau2_bench", "tau_bench", "mtrag_un", "bfcl_multi_turn", "swe_agent_java", "openhands", "livemcp", "litm_nq")
CALL_SECONDS = 4.0


class Front:
    """A gateway in front of eight replicas, as far as its choice goes."""

    def __init__(self) -> None:
        self.loads, self.running, self.resting = Loads(), list[tuple[float, str]](), NOBODY
        self.deployments = replicas(8)

    def __call__(self, conversation: Conversation, now: float) -> str:
        while self.running and self.running[0][0] <= now:
            self.loads.end(self.running.pop(0)[1])
        preference = Preference(self.loads, conversation, self.resting, now)
        chosen = preference(self.deployments)[0]
        self.loads.begin(chosen.name, now)
        self.running.append((now + CALL_SECONDS, chosen.name))
        preference.answered(chosen, now)
        return chosen.name


def blocks_of(schedule: Schedule) -> int:
    return len({block for _, _, (_, blocks) in schedule for block in blocks})


def small_caches(schedule: Schedule) -> dict[str, PrefixCache]:
    """Eight that together hold six tenths of all that is said."""
    return {one.name: PrefixCache(blocks_of(schedule) * 6 // 80) for one in replicas(8)}


@pytest.fixture(scope="module", params=["one system prompt", "forty system prompts", "recorded"])
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """Three hundred conversations side by side."""
    draw = random.Random(5)
    if request.param == "recorded":
        recorded: Conversations = request.getfixturevalue("conversations")
        read = [requests_of(one["messages"]) for name in MIXED for one in recorded.read(name, 60)][:300]
    else:
        prompts = 1 if request.param.startswith("one") else 40
        read = [requests_of(made_up(number, prompts, draw)) for number in range(300)]
    return interleaved(read, draw)


@pytest.mark.long
def test_small_caches_hit_as_one_big_one_would_and_none_is_much_busier_than_the_rest(schedule: Schedule):
    big = play(schedule, {"big": PrefixCache(blocks_of(schedule) * 6 // 10)}, lambda *_: "big")
    apart = play(schedule, small_caches(schedule), Front())
    assert apart.hits >= 0.97 * big.hits
    assert apart.busiest <= 1.25
    draw = random.Random(6)
    blind = play(schedule, small_caches(schedule), lambda *_: draw.choice(replicas(8)).name)
    assert blind.hits <= 0.75 * big.hits


def next_places(
    schedule: Schedule, lost: frozenset[str] = NOBODY, *, restarts: bool = False
) -> dict[int, tuple[str, str]]:
    """Lose replicas, or restart, half way: where each conversation that goes on ran last, and where it runs next."""
    front, caches, half = Front(), small_caches(schedule), len(schedule) // 2
    first = play(schedule[:half], caches, front).served
    if restarts:
        moved, front = front.loads.take_moved(), Front()
        front.loads.adopt(STAYS.read(STAYS.write(holding(moved, schedule[half][0]))))
    front.resting = lost
    then = play(schedule[half:], caches, front).served
    assert not any(lost & {*run} for run in then.values())
    return {number: (first[number][-1], then[number][0]) for number in first.keys() & then.keys()}


def moves(places: dict[int, tuple[str, str]]) -> set[int]:
    return {number for number, (last, then) in places.items() if last != then}


@pytest.mark.long
def test_when_a_replica_is_lost_only_what_ran_there_moves_and_to_several_others(schedule: Schedule):
    anyway, places = moves(next_places(schedule)), next_places(schedule, frozenset({"r3"}))
    homeless = {number for number, (last, _) in places.items() if last == "r3"}
    assert homeless <= moves(places) <= homeless | anyway
    assert len({places[number][1] for number in homeless}) > 1


@pytest.mark.long
def test_a_restart_moves_nothing_where_what_moved_before_is_shared(schedule: Schedule):
    assert moves(next_places(schedule, restarts=True)) <= moves(next_places(schedule))


def test_several_workers_hit_as_one_would_where_what_moved_is_shared(schedule: Schedule):
    draw, workers = random.Random(7), [Front() for _ in range(4)]

    def any_worker(conversation: Conversation, now: float) -> str:
        chosen = draw.choice(workers)
        answer = chosen(conversation, now)
        moved = chosen.loads.take_moved()
        for worker in workers:
            worker.loads.adopt(moved)
        return answer

    apart = play(schedule, small_caches(schedule), any_worker)
    big = play(schedule, {"big": PrefixCache(blocks_of(schedule) * 6 // 10)}, lambda *_: "big")
    assert apart.hits >= 0.97 * big.hits
    assert apart.busiest <= 1.25
