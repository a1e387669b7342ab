"""How long a deployment rests after it failed."""

from gateway.routing.attempts import Answer, Failure
from gateway.routing.health import Health
from gateway.routing.upstream import WholeReply
from tests.providers.deployments import deployment

A = deployment(name="A")
DOWN = Failure(A, "connect")
GOOD = Answer(A, WholeReply(200, {}, ()))


def test_nobody_rests_at_first():
    assert Health().resting(now=0.0) == frozenset()


def test_a_failure_rests_a_deployment_for_a_moment():
    health = Health(first_rest=1.0)
    health.learn(DOWN, now=100.0)
    assert health.resting(now=100.9) == {"A"}
    assert health.resting(now=101.1) == frozenset()


def test_failures_in_a_row_double_the_rest_up_to_the_longest():
    health = Health(first_rest=1.0, longest_rest=5.0)
    for _ in range(3):
        health.learn(DOWN, now=100.0)
    assert health.resting(now=103.9) == {"A"}
    for _ in range(2000):
        health.learn(DOWN, now=100.0)
    assert health.resting(now=104.9) == {"A"}
    assert health.resting(now=105.1) == frozenset()


def test_an_answer_ends_the_row():
    health = Health(first_rest=1.0)
    health.learn(DOWN, now=100.0)
    health.learn(GOOD, now=100.1)
    assert health.resting(now=100.2) == frozenset()
    health.learn(DOWN, now=200.0)
    assert health.resting(now=201.1) == frozenset()


def test_an_upstream_that_asks_for_a_pause_gets_it_within_reason():
    health = Health(longest_rest=60.0)
    health.learn(Failure(A, "status", 429, retry_after=20.0), now=0.0)
    assert health.resting(now=19.0) == {"A"}
    assert health.resting(now=21.0) == frozenset()
    health.learn(Failure(A, "status", 429, retry_after=86_400.0), now=0.0)
    assert health.resting(now=61.0) == frozenset()


def test_an_upstream_that_refuses_a_bad_request_is_a_healthy_one():
    health = Health()
    health.learn(Failure(A, "status", 400), now=0.0)
    assert health.resting(now=0.0) == frozenset()
