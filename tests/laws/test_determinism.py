"""Law 5. Same request, policy and facts, same bytes: in every process, in any order, whatever was read before."""

import base64
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pytest
from hypothesis import given

from gateway.config.policy import Policy
from gateway.wire.memo import Memo
from tests.conftest import CHECKOUT, Conversations
from tests.laws import oracle, transcripts
from tests.laws.driving import counter_of, leave
from tests.laws.generators import Case, cases, model_of

SOME = 5
"""Requests of a conversation that leave here, each as if it were the only one; elsewhere all do, one after another."""


@dataclass(frozen=True)
class Elsewhere:
    """Another process, with a hash seed of its own and a memory of all that it was asked before."""

    process: subprocess.Popen[bytes]

    def fingerprints(self, case: Case, count: oracle.CountText) -> list[str]:
        """Ask how the requests of a case leave there, the longest first."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(base64.b64encode(pickle.dumps((case, count))) + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().split()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.laws.again"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    yield Elsewhere(process)
    process.communicate()
    assert process.returncode == 0


def check(elsewhere: Elsewhere, case: Case, count: oracle.CountText, memo: Memo | None = None) -> None:
    """Hold a conversation to leaving here as elsewhere: the longest request first, and without a memory of others."""
    counter, prefixes = counter_of(count), case.talk.prefixes()[::-1]
    there = elsewhere.fingerprints(case, count)
    assert len(there) == len(prefixes)
    for place in range(0, len(prefixes), -(-len(prefixes) // SOME)):
        left = leave(case.talk.body(prefixes[place]), case.policy, case.model, counter, memo)
        assert hashlib.sha256(left.fingerprint()).hexdigest()[:16] == there[place]


@given(cases(modes=("enforce", "enforce", "observe"), breaks=True))
def test_the_same_request_leaves_as_the_same_bytes_in_every_process(elsewhere: Elsewhere, case: Case) -> None:
    check(elsewhere, case, oracle.quarter)


@pytest.mark.parametrize("budget", transcripts.BUDGETS)
def test_recorded_requests_leave_as_the_same_bytes_in_every_process(
    elsewhere: Elsewhere, conversations: Conversations, budget: int
) -> None:
    for talk in islice(transcripts.talks(conversations), 0, None, 1 if transcripts.ALL else 4):
        for policy in transcripts.policies(budget):
            check(elsewhere, Case(talk, policy), oracle.tokens, Memo())


MESSAGE = b'{"role":"user","content":"hi"}'


@pytest.mark.parametrize("key", ["tools", "functions"])
def test_the_same_bytes_in_another_place_are_read_as_what_they_are_there(key: str) -> None:
    plain = b'{"model":"m","messages":[' + MESSAGE + b"]}"
    odd = plain[:-1] + b',"' + key.encode() + b'":' + MESSAGE + b"}"
    policy, model, counter = Policy(name="p", context_window=8000), model_of(), counter_of(oracle.quarter)
    for order in ((plain, odd), (odd, plain)):
        memo = Memo()
        for body in order:
            assert leave(body, policy, model, counter, memo) == leave(body, policy, model, counter)
