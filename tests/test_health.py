"""When a deployment rests, for how long, and what an operator is told of it."""

from gateway.routing.attempts import Answer, Failure
from gateway.routing.health import Health
from gateway.routing.upstreams.upstream import WholeReply
from tests.providers.deployments import deployment

A = deployment(name="A")
UNREACHED = Failure(A, "connect")
BROKEN = Failure(A, "status", 500)
REFUSED = Failure(A, "status", 401)
GOOD = Answer(A, WholeReply(200, {}, ()))


def learn(health: Health, outcome: Answer | Failure, now: float, conversation: str = "one") -> str | None:
    return health.learn(outcome, now, lambda: conversation)


def failing(*times: float, first: Failure = BROKEN, **settings: float) -> Health:
    """A deployment that two conversations saw fail, and that then failed each trial at these times."""
    health = Health(**settings)
    learn(health, first, times[0], "one")
    for time in times:
        health.begin("A", time)
        learn(health, first, time, "two")
    return health


def test_nobody_rests_at_first():
    assert Health().resting(now=0.0) == frozenset()


def test_what_one_conversation_met_rests_nobody_however_often():
    health = Health()
    for now in range(5):
        assert learn(health, BROKEN, now) is None
    assert health.resting(now=4.0) == frozenset()
    assert learn(health, BROKEN, 5.0, "another") == "rests"
    assert health.resting(now=5.1) == {"A"}


def test_one_that_cannot_be_reached_rests_at_once():
    health = Health(first_rest=1.0)
    assert learn(health, UNREACHED, 100.0) == "rests"
    assert health.resting(now=100.9) == {"A"}
    assert health.resting(now=101.1) == frozenset()


def test_an_answer_in_between_begins_anew():
    health = Health()
    learn(health, BROKEN, 0.0, "one")
    assert learn(health, GOOD, 0.1, "three") is None
    assert learn(health, BROKEN, 0.2, "two") is None
    assert health.resting(now=0.3) == frozenset()


def test_each_trial_that_fails_doubles_the_rest_up_to_the_longest():
    health = failing(0.0, 1.5, 4.0, first_rest=1.0, longest_rest=5.0)
    assert health.resting(now=7.9) == {"A"}
    assert health.resting(now=8.1) == frozenset()
    for now in range(10, 3000, 10):
        health.begin("A", now)
        learn(health, BROKEN, now)
    assert health.resting(now=2994.9) == {"A"}
    assert health.resting(now=2995.1) == frozenset()


def test_what_fails_during_a_rest_began_before_it_and_makes_it_no_longer():
    health = failing(0.0, first_rest=1.0)
    for conversation in "abcdefgh":
        learn(health, BROKEN, 0.5, conversation)
    assert health.resting(now=1.1) == frozenset()


def test_it_is_told_once_that_one_rests_and_once_that_it_is_well():
    health = Health()
    learn(health, REFUSED, 0.0, "one")
    told = [learn(health, REFUSED, 0.1, "two")]
    for now in range(2, 400):
        health.begin("A", now)
        told.append(learn(health, REFUSED, now, "three"))
    assert health.is_told("A")
    told += [learn(health, GOOD, 500.0), learn(health, GOOD, 501.0)]
    assert [news for news in told if news] == ["rests", "well"]
    assert not health.is_told("A")


def test_after_a_rest_one_request_is_the_trial_and_the_others_go_elsewhere():
    health = failing(0.0, first_rest=1.0)
    assert health.resting(now=1.5) == frozenset()
    assert health.begin("A", 1.5) is None
    assert health.resting(now=1.6) == {"A"}
    learn(health, GOOD, 1.7)
    assert health.resting(now=1.8) == frozenset()


def test_a_trial_that_never_ends_holds_nobody_up_for_longer_than_a_rest():
    health = failing(0.0, first_rest=1.0)
    health.begin("A", 1.5)
    assert health.resting(now=2.6) == frozenset()


def test_what_lasts_through_three_trials_is_asked_once_each_rest_and_otherwise_known():
    refused = Failure(A, "status", 401, b"no", {"x-request-id": "r"}, retry_after=0.5)
    health = failing(0.0, 1.1, first=refused)
    assert health.begin("A", 1.2) is None, "it may have been a moment's"
    assert health.begin("A", 3.2) is None
    learn(health, refused, 3.3)
    known = health.begin("A", 3.4)
    assert known is not None
    assert (known.status, known.body, dict(known.headers), known.retry_after) == (401, b"no", {}, None)
    assert health.begin("A", 7.4) is None
    assert health.begin("A", 7.5) is not None
    learn(health, BROKEN, 7.6)
    assert health.begin("A", 7.7) is None, "it is another fault now"


def test_two_conversations_that_met_different_faults_rest_nobody():
    health = Health()
    outcomes = [REFUSED, BROKEN, Failure(A, "status", 402), Failure(A, "status", 429)]
    assert [learn(health, one, 0.0, str(number)) for number, one in enumerate(outcomes)] == [None] * 4
    assert health.resting(now=0.1) == frozenset()


def test_what_may_pass_is_asked_each_time_where_nobody_else_is_left():
    health = failing(0.0, first=BROKEN)
    assert health.begin("A", 0.5) is None


def test_an_upstream_that_asks_for_a_pause_gets_it_within_reason():
    asks = Failure(A, "status", 429, retry_after=20.0)
    health = failing(0.0, first=asks, longest_rest=60.0)
    assert health.resting(now=19.0) == {"A"}
    assert health.resting(now=21.0) == frozenset()
    health = failing(0.0, first=Failure(A, "status", 429, retry_after=86_400.0), longest_rest=60.0)
    assert health.resting(now=61.0) == frozenset()


def test_an_upstream_that_refuses_a_bad_request_is_a_healthy_one():
    health = failing(0.0)
    assert learn(health, Failure(A, "status", 400), 0.1) == "well"
    assert health.resting(now=0.2) == frozenset()


def test_what_depends_on_the_request_says_nothing_of_the_deployment():
    health = Health()
    large = Failure(A, "status", 402, b'{"error":{"message":"You requested up to 64000 tokens"}}')
    for conversation in "abc":
        assert learn(health, large, 0.0, conversation) is None
    assert health.resting(now=0.1) == frozenset()
    sick = failing(0.0, first_rest=10.0)
    learn(sick, large, 0.1)
    assert sick.resting(now=0.2) == {"A"}
    learn(sick, Failure(A, "reset", begun=True), 0.3)
    assert sick.resting(now=0.4) == {"A"}
