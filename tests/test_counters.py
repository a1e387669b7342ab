"""Counters: the same for a dictionary, an SQLite file and a real Redis server."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.state import StateUnavailable
from gateway.state.counters import (
    AccountCharge,
    Balance,
    Begun,
    Booked,
    CounterStore,
    Granted,
    Hold,
    Holds,
    Look,
    Offer,
    Once,
    Recount,
    Renew,
    Settle,
    Short,
    TakeHold,
    TopUp,
)
from gateway.state.counters_disk import FILE, DiskCounters
from gateway.state.counters_memory import MemoryCounters
from gateway.state.counters_redis import RedisCounters
from tests import redis_server

TEAM = AccountCharge("$team", "money", 100, 100, 1_000)
USER = AccountCharge("$user", "money", 100, 40, 500)
RPM = AccountCharge("rpm", "requests", 60, 60, 3)
TPM = AccountCharge("tpm", "tokens", 60, 60, 100, 40)
PARALLEL = AccountCharge("parallel", "parallel", 0, 0, 2)
SOURCE = "books"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server.running(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["memory", "disk", "redis"])
def counters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CounterStore]:
    store: CounterStore
    if request.param == "memory":
        store = MemoryCounters()
    elif request.param == "disk":
        store = DiskCounters(tmp_path / "state")
    else:
        url = request.getfixturevalue("server")
        redis.Redis.from_url(url).flushall()
        store = RedisCounters(url, 2.0)
    store.run([Recount({})], SOURCE)
    yield store
    store.close()


def reserve(name: str, *offers: Offer, charges: tuple[AccountCharge, ...] = (TEAM,), now: float = 10.0) -> TakeHold:
    return TakeHold(name, "me", charges, offers or (Offer(100, 100, 100),), now, now + 60)


def balance(counters: CounterStore, charge: AccountCharge = TEAM, now: float = 10.0) -> Balance:
    [found] = counters.run([Look((charge,), now)], SOURCE)
    assert isinstance(found, list)
    assert isinstance(found[0], Balance)
    return found[0]


def test_a_hold_is_taken_and_settled_to_the_truth(counters):
    granted, settled = counters.run([reserve("a"), Settle("a", (TEAM,), 70, 0, 11.0)], SOURCE)
    assert granted == Granted(0, 100, [Balance()])
    assert settled is True
    assert balance(counters) == Balance(70, 0, 0, 0)


def test_a_hold_counts_until_it_is_settled(counters):
    counters.run([reserve("a", Offer(30, 300, 300))], SOURCE)
    assert balance(counters) == Balance(0, 30, 300, 1)


def test_settling_twice_books_once(counters):
    counters.run([reserve("a")], SOURCE)
    settle = Settle("a", (TEAM,), 70, 0, 11.0)
    assert counters.run([settle, settle], SOURCE) == [True, False]
    assert balance(counters).spent == 70


def test_what_was_never_held_is_booked_where_it_says_so(counters):
    assert counters.run([Settle("a", (TEAM,), 70, 0, 11.0, True)], SOURCE) == [True]
    assert balance(counters).spent == 70


def test_all_accounts_or_none(counters):
    poor = USER._replace(limit=50)
    [outcome] = counters.run([reserve("a", charges=(TEAM, poor))], SOURCE)
    assert outcome == Short(1, [Balance(), Balance()])
    assert balance(counters) == balance(counters, poor) == Balance()


def test_the_first_offer_that_fits_is_taken(counters):
    offers = Offer(100, 900, 900, 500), Offer(100, 2_000, 200)
    counters.run([Settle("past", (TEAM,), 500, 0, 1.0, True)], SOURCE)
    [outcome] = counters.run([reserve("a", *offers)], SOURCE)
    assert isinstance(outcome, Granted)
    assert (outcome.offer, outcome.nanousd) == (1, 500)


def test_a_share_is_left_free(counters):
    [outcome] = counters.run([reserve("a", Offer(901, 901, 901, 100))], SOURCE)
    assert isinstance(outcome, Short)
    [outcome] = counters.run([reserve("a", Offer(900, 900, 900, 100))], SOURCE)
    assert isinstance(outcome, Granted)


def test_no_more_requests_than_a_minute_may_have(counters):
    outcomes = counters.run([reserve(str(n), charges=(RPM,)) for n in range(5)], SOURCE)
    assert [type(one) for one in outcomes] == [Granted] * 3 + [Short] * 2
    counters.run([Settle(str(n), (RPM,), 0, 0, 11.0) for n in range(3)], SOURCE)
    assert isinstance(counters.run([reserve("late", charges=(RPM,))], SOURCE)[0], Short)
    next_minute = RPM._replace(bucket=120, first=120)
    assert isinstance(counters.run([reserve("next", charges=(next_minute,))], SOURCE)[0], Granted)


def test_tokens_are_held_and_settled(counters):
    outcomes = counters.run([reserve(str(n), charges=(TPM,)) for n in range(3)], SOURCE)
    assert [type(one) for one in outcomes] == [Granted, Granted, Short]
    counters.run([Settle("0", (TPM,), 0, 5, 11.0)], SOURCE)
    assert balance(counters, TPM) == Balance(5, 40, 40, 1)


def test_no_more_at_the_same_time_than_allowed(counters):
    outcomes = counters.run([reserve(str(n), charges=(PARALLEL,)) for n in range(3)], SOURCE)
    assert [type(one) for one in outcomes] == [Granted, Granted, Short]
    counters.run([Settle("0", (PARALLEL,), 0, 0, 11.0)], SOURCE)
    assert isinstance(counters.run([reserve("3", charges=(PARALLEL,))], SOURCE)[0], Granted)


def test_what_expired_holds_nothing_and_is_still_booked_once(counters):
    counters.run([reserve("a")], SOURCE)
    assert balance(counters, now=71.0) == Balance()
    settle = Settle("a", (TEAM,), 70, 0, 72.0)
    assert counters.run([settle, settle], SOURCE) == [True, False]
    assert balance(counters, now=73.0) == Balance(70)


def test_a_hold_is_renewed_and_taken_anew_where_it_was_lost(counters):
    hold = Hold("a", "me", (TEAM,), 100, 100)
    counters.run([reserve("a"), Renew([hold, hold._replace(id="lost")], 50.0, 110.0)], SOURCE)
    assert balance(counters, now=71.0) == Balance(0, 200, 200, 2)
    assert balance(counters, now=111.0) == Balance()


def test_a_hold_grows_while_there_is_room(counters):
    counters.run([reserve("a")], SOURCE)
    [grown] = counters.run([TopUp("a", "me", (TEAM, PARALLEL), 1_000, 11.0, 70.0)], SOURCE)
    assert isinstance(grown, Granted)
    assert balance(counters) == Balance(0, 1_000, 1_000, 1)
    [short] = counters.run([TopUp("a", "me", (TEAM, PARALLEL), 1_001, 11.0, 70.0)], SOURCE)
    assert isinstance(short, Short)
    assert balance(counters) == Balance(0, 1_000, 1_000, 1)
    assert balance(counters, PARALLEL).holds == 1


def test_only_buckets_of_the_window_count(counters):
    for bucket in (20, 50, 90):
        charge = USER._replace(bucket=bucket, first=bucket - 60)
        counters.run([Settle(str(bucket), (charge,), bucket, 0, 11.0, True)], SOURCE)
    assert balance(counters, USER).spent == 140


def test_a_source_that_is_not_known_is_counted_first(counters):
    assert counters.run([reserve("a"), Look((TEAM,), 1.0)], "other") == [Begun(), Begun()]
    counters.run([Recount({("$team", 100): 5})], "other")
    counters.run([Settle("a", (TEAM,), 70, 0, 11.0, True)], SOURCE)
    assert balance(counters).spent == 75
    assert counters.run([Booked()], "other") == [{("$team", 100): 5}]
    counters.run([Recount({("$team", 100): 6})], "other")
    assert balance(counters).spent == 76


def test_a_recount_leaves_rates_alone(counters):
    counters.run([reserve("a", charges=(RPM,)), Recount({})], SOURCE)
    assert balance(counters, RPM).spent == 1


def test_large_amounts_are_exact(counters):
    much = TEAM._replace(limit=9_000_000 * 10**9)
    counters.run([Settle("a", (much,), 8_999_999_999_999_999, 0, 1.0, True)], SOURCE)
    assert balance(counters, much).spent == 8_999_999_999_999_999
    [last] = counters.run([reserve("b", Offer(1, 1, 1), charges=(much,))], SOURCE)
    assert isinstance(last, Granted)
    [over] = counters.run([reserve("c", Offer(1, 1, 1), charges=(much,))], SOURCE)
    assert isinstance(over, Short)


def test_holds_are_listed_with_their_owner(counters):
    counters.run([reserve("a")], SOURCE)
    [holds] = counters.run([Holds()], SOURCE)
    assert [(hold.id, hold.owner, list(hold.charges)) for hold in holds] == [("a", "me", [TEAM])]


def test_a_thing_happens_once_until_it_expires(counters):
    once = Once("warned", 10.0, 12.0)
    assert counters.run([once, once], SOURCE) == [True, False]


def test_a_removed_file_is_begun_anew(tmp_path):
    counters = DiskCounters(tmp_path)
    counters.run([Recount({})], SOURCE)
    for path in tmp_path.glob(f"{FILE}*"):
        path.unlink()
    assert counters.run([reserve("a")], SOURCE) == [Begun()]
    counters.close()


def test_a_damaged_file_is_put_aside(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database at all " * 1000)
    counters = DiskCounters(tmp_path)
    with pytest.raises(StateUnavailable):
        counters.run([Recount({})], SOURCE)
    assert counters.run([Recount({})], SOURCE) == [None]
    counters.close()


def test_several_processes_share_a_file(tmp_path):
    first, second = DiskCounters(tmp_path), DiskCounters(tmp_path)
    first.run([Recount({}), reserve("a")], SOURCE)
    assert balance(second) == Balance(0, 100, 100, 1)
    with sqlite3.connect(tmp_path / FILE) as other:
        assert other.execute("SELECT COUNT(*) FROM hold").fetchone() == (1,)
    other.close()
    first.close()
    second.close()
