"""Laws 10 and 11 of the counters: no interleaving passes a hard limit, and what is booked is what was settled.

Each of several limits counts for some of the requests. Steps come in any order, doubled, late, and from processes that
die; a settlement is never above what was granted. In memory and in a file.
"""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.money.reservations import Demand, RequestPrice, ways
from gateway.state.counters import (
    AccountCharge,
    Balance,
    Booked,
    CounterStore,
    Granted,
    Look,
    Recount,
    Renew,
    Settle,
    TakeHold,
    TopUp,
)
from gateway.state.counters_disk import DiskCounters
from gateway.state.counters_memory import MemoryCounters

SOURCE = "books"
HOLD = 60.0
LIMITS = {"$gateway": 3_000_000, "$team": 1_000_000, "$user": 700_000}
SETS = (("$gateway", "$team", "$user"), ("$gateway", "$team"), ("$gateway",), ("$user", "$gateway"))
DEMANDS = st.builds(
    Demand,
    prompt=st.integers(1, 2_000),
    longest=st.integers(1, 40_000),
    likely=st.integers(1, 3_000),
    may_clamp=st.booleans(),
)


def charges(names: tuple[str, ...]) -> list[AccountCharge]:
    return [AccountCharge(name, "money", 0, 0, LIMITS[name]) for name in names]


class Counted(RuleBasedStateMachine):
    """Requests under limits, as the store sees them."""

    def store(self) -> CounterStore:
        return MemoryCounters()

    @initialize()
    def begin(self) -> None:
        self.counters = self.store()
        self.counters.run([Recount({})], SOURCE)
        self.now, self.number = 0.0, 0
        self.live: dict[str, tuple[tuple[str, ...], int, float]] = {}
        self.booked = dict.fromkeys(LIMITS, 0)

    def run(self, step: Any) -> Any:
        [result] = self.counters.run([step], SOURCE)
        return result

    @rule(demand=DEMANDS, names=st.sampled_from(SETS))
    def admit(self, demand: Demand, names: tuple[str, ...]) -> None:
        price = RequestPrice(prompt=demand.prompt, million=10_000_000)
        self.number += 1
        name = f"r{self.number}"
        offers = [way.offer for way in ways(demand, price)]
        step = TakeHold(name, "me", charges(names), offers, self.now, self.now + HOLD)
        outcome = self.run(step)
        if isinstance(outcome, Granted):
            self.live[name] = (names, outcome.nanousd, self.now + HOLD)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        names, granted, expires = self.live[name]
        if expires <= self.now:  # its owner died: nobody settles it
            return
        cost = int(granted * share)
        step = Settle(name, charges(names), cost, 0, self.now)
        assert self.run(step) is True
        assert self.run(step) is False
        del self.live[name]
        for account in names:
            self.booked[account] += cost

    @precondition(lambda self: self.live)
    @rule(data=st.data(), amount=st.integers(1, 400_000))
    def top_up(self, data: st.DataObject, amount: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        names, granted, expires = self.live[name]
        if expires <= self.now or amount <= granted:
            return
        if isinstance(self.run(TopUp(name, "me", charges(names), amount, self.now, self.now + HOLD)), Granted):
            self.live[name] = (names, amount, self.now + HOLD)

    @rule(seconds=st.floats(1, 50))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.run(Renew([], self.now, self.now + HOLD))

    @rule()
    def recount(self) -> None:
        amounts = {(account, 0): spent for account, spent in self.booked.items() if spent}
        assert self.run(Booked()) == amounts
        self.run(Recount(amounts))

    @invariant()
    def nothing_passes_a_limit(self) -> None:
        if not hasattr(self, "counters"):
            return
        found = self.run(Look(charges(tuple(LIMITS)), self.now))
        for account, balance in zip(LIMITS, found, strict=True):
            assert isinstance(balance, Balance)
            held = [
                granted for names, granted, expires in self.live.values() if account in names and expires > self.now
            ]
            assert balance.spent == self.booked[account]
            assert (balance.most, balance.holds) == (sum(held), len(held))
            assert balance.spent + balance.most <= LIMITS[account]
            assert balance.expected <= balance.most


class CountedOnDisk(Counted):
    """The same in a file."""

    def store(self) -> CounterStore:
        self.folder = tempfile.TemporaryDirectory()
        return DiskCounters(Path(self.folder.name))

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.counters.close()
            self.folder.cleanup()


TestInMemory = Counted.TestCase
TestInMemory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOnDisk = CountedOnDisk.TestCase
TestOnDisk.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
