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

from gateway.policy import Policy
from gateway.wire.chat import Memo
from tests.conftest import CHECKOUT, Conversations
from tests.laws import oracle, transcripts
from tests.laws.driving import counter_of, leave
from tests.laws.generators import Case, cases, model_of

SEEDS = ("1", "4711")


@dataclass(frozen=True)
class Elsewhere:
    """Other processes with hash seeds of their own, each with a memory of all that it was asked before."""

    processes: tuple[subprocess.Popen[bytes], ...]

    def fingerprints(self, case: Case, count: oracle.CountText) -> list[list[str]]:
        """Ask each process how the requests of a case leave there."""
        asked = base64.b64encode(pickle.dumps((case, count))) + b"\n"
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(asked)
            process.stdin.flush()
        told = []
        for process in self.processes:  # all are read, also where the first differs: the next case asks them again
            assert process.stdout is not None
            told.append(process.stdout.readline().decode().split())
        return told


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    processes = tuple(
        subprocess.Popen(
            [sys.executable, "-m", "tests.laws.again"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in SEEDS
    )
    yield Elsewhere(processes)
    for process in processes:
        process.communicate()
        assert process.returncode == 0


def fingerprints(case: Case, count: oracle.CountText, memo: Memo | None = None) -> list[str]:
    """Tell how each request of a case leaves, the longest first; without a memo, each as if it were the only one."""
    counter = counter_of(count)
    bodies = [case.talk.body(upto) for upto in reversed(case.talk.prefixes())]
    left = [leave(body, case.policy, case.model, counter, memo) for body in bodies]
    return [hashlib.sha256(one.fingerprint()).hexdigest()[:16] for one in left]


@given(cases(modes=("enforce", "enforce", "observe"), breaks=True))
def test_the_same_request_leaves_as_the_same_bytes_in_every_process(elsewhere: Elsewhere, case: Case) -> None:
    here = fingerprints(case, oracle.quarter)
    assert all(there == here for there in elsewhere.fingerprints(case, oracle.quarter))


@pytest.mark.parametrize("budget", transcripts.BUDGETS)
def test_recorded_requests_leave_as_the_same_bytes_in_every_process(
    elsewhere: Elsewhere, conversations: Conversations, budget: int
) -> None:
    for talk in islice(transcripts.talks(conversations), 0, None, 1 if transcripts.ALL else 4):
        for policy in transcripts.policies(budget):
            case = Case(talk, policy)
            here = fingerprints(case, oracle.tokens, Memo())
            assert all(there == here for there in elsewhere.fingerprints(case, oracle.tokens))


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
