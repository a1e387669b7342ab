"""What workers and machines remember together: the same promises from a folder and from a Redis server."""

import multiprocessing
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import diskcache
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.state import State, StateUnavailable, open_state
from gateway.state.disk import _BytesOnly
from tests.conftest import examples
from tests.redis_server import free_port, running

Opens = Callable[[], State]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["disk", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> config.StateSettings:
    """An empty state, as the configuration names it."""
    if request.param == "disk":
        return config.StateSettings(dir=tmp_path / "state")
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return config.StateSettings(redis=url)


@pytest.fixture
def state(where: config.StateSettings) -> Iterator[State]:
    opened = open_state(where)
    yield opened
    opened.close()


def one_more(before: bytes | None) -> bytes:
    return b"%d" % (int(before or 0) + 1)


def count_up(where: config.StateSettings, times: int, all_here: Barrier) -> None:
    """What another process does."""
    state = open_state(where)
    all_here.wait(60)
    for _ in range(times):
        state.update("counter", one_more)
    state.close()


def no_change(before: bytes | None) -> bytes | None:
    raise LookupError("on second thought, no")


# ---------------------------------------------------------------- the promises


def test_what_was_put_is_there_and_what_was_not_is_none(state):
    assert state.get("a") is None
    state.put("a", b"1")
    assert state.get("a") == b"1"
    assert state.get("b") is None


def test_several_values_are_read_in_one_step_in_the_order_of_their_keys(state):
    state.put("a", b"1")
    state.put("c", b"3")
    assert state.get_many(["c", "b", "a"]) == [b"3", None, b"1"]
    assert state.get_many([]) == []


def test_the_first_value_stands_and_what_comes_behind_another_one_is_not_put(state):
    assert state.put_first([("a", b"1"), ("b", b"2")], 60) == [b"1", b"2"]
    assert state.put_first([("a", b"1"), ("c", b"3")], 60) == [b"1", b"3"]
    assert state.put_first([("a", b"1"), ("b", b"other"), ("d", b"4")], 60) == [b"1", b"2"]
    assert state.get_many(["a", "b", "c", "d"]) == [b"1", b"2", b"3", None]


def test_what_stands_is_kept_from_the_last_time_it_was_put(state):
    state.put_first([("a", b"1")], 0.3)
    state.put_first([("a", b"1"), ("b", b"2")], 60)
    state.put_first([("c", b"3")], 0.3)
    time.sleep(0.4)
    assert state.get_many(["a", "b", "c"]) == [b"1", b"2", None]


def test_a_later_value_replaces_the_earlier(state):
    state.put("a", b"1")
    state.put("a", b"2")
    assert state.get("a") == b"2"


def test_an_empty_value_is_a_value(state):
    state.put("a", b"")
    assert state.get("a") == b""
    assert state.update("a", lambda before: b"was empty" if before == b"" else None) == b"was empty"
    assert state.update("a", lambda before: b"") == b""
    assert state.get("a") == b""


def test_everybody_who_opens_it_sees_the_same(where, state):
    state.put("a", b"1")
    other = open_state(where)
    assert other.get("a") == b"1"
    other.put("a", b"2")
    assert state.get("a") == b"2"
    other.close()


def test_it_outlives_a_close(state):
    state.put("a", b"1")
    state.close()
    assert state.get("a") == b"1"


def test_a_value_goes_when_its_time_is_over(state):
    state.put("short", b"1", expires_seconds=0.3)
    state.put("long", b"2", expires_seconds=60)
    assert state.get("short") == b"1"
    time.sleep(0.4)
    assert state.get("short") is None
    assert state.get("long") == b"2"
    assert state.update("short", one_more) == b"1"


def test_putting_it_again_without_a_time_keeps_it_for_good(state):
    state.put("a", b"1", expires_seconds=0.2)
    state.put("a", b"2")
    time.sleep(0.3)
    assert state.get("a") == b"2"


def test_an_update_sees_what_is_there_and_returns_what_is_then(state):
    assert state.update("counter", one_more) == b"1"
    assert state.update("counter", one_more) == b"2"
    assert state.get("counter") == b"2"


def test_an_update_to_none_removes(state):
    state.put("a", b"1")
    assert state.update("a", lambda before: None) is None
    assert state.get("a") is None
    assert state.update("a", lambda before: None) is None


def test_an_update_leaves_the_time_it_has_left(state):
    state.put("a", b"1", expires_seconds=0.4)
    assert state.update("a", one_more) == b"2"
    assert state.get("a") == b"2"
    time.sleep(0.5)
    assert state.get("a") is None


def test_an_update_may_give_a_time_in_the_same_step(state):
    assert state.update("a", one_more, 0.4) == b"1"
    assert state.update("a", one_more, 60) == b"2"
    assert state.update("b", one_more, 0.4) == b"1"
    time.sleep(0.5)
    assert state.get("a") == b"2"
    assert state.get("b") is None


def test_an_update_that_fails_changes_nothing(state):
    state.put("a", b"1")
    with pytest.raises(LookupError):
        state.update("a", no_change)
    assert state.get("a") == b"1"
    assert state.update("a", one_more) == b"2"


@pytest.mark.long
def test_processes_that_count_at_once_lose_nothing(where, state):
    spawn = multiprocessing.get_context("spawn")
    all_here = spawn.Barrier(4)
    others = [spawn.Process(target=count_up, args=(where, 100, all_here)) for _ in range(3)]
    for other in others:
        other.start()
    count_up(where, 100, all_here)
    for other in others:
        other.join(60)
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert state.get("counter") == b"400"


def test_threads_that_count_at_once_lose_nothing(state):
    def count() -> None:
        for _ in range(50):
            state.update("counter", one_more)
        state.close()

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert state.get("counter") == b"300"


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(st.characters(exclude_categories=["Cs"]), max_size=40), value=st.binary(max_size=200))
def test_any_bytes_come_back_under_any_text(state, key, value):
    state.put(key, value)
    assert state.get(key) == value
    assert state.update(key, lambda before: None if before is None else before + value) == value + value


def test_a_large_value_is_one_too(state):
    large = bytes(range(256)) * 8192
    state.put("large", large)
    assert state.get("large") == large


# ---------------------------------------------------------------- a folder


class Planted:
    """What runs code where it is unpickled: it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.mkdir, (self.mark,))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[State]:
    opened = open_state(config.StateSettings(dir=tmp_path / "state"))
    yield opened
    opened.close()


@pytest.mark.parametrize("size", [0, 100_000], ids=["in the database", "in a file"])
def test_a_planted_pickle_is_never_loaded(disk, tmp_path, size):
    mark = tmp_path / "code ran"
    planted = Planted(mark)
    with diskcache.Cache(str(tmp_path / "state"), disk_min_file_size=32 if size else 1 << 20) as cache:
        cache.set("a", (planted, b"." * size))
    disk = open_state(config.StateSettings(dir=tmp_path / "state"))
    assert disk.get("a") is None
    assert disk.update("a", one_more) == b"1"
    assert disk.get("a") == b"1"
    disk.close()
    assert not mark.exists()
    pickle.loads(pickle.dumps(planted))
    assert mark.exists(), "the pickle would have run"


def test_a_planted_key_is_never_loaded(disk, tmp_path):
    mark = tmp_path / "code ran"
    with diskcache.Cache(str(tmp_path / "state")) as cache:
        cache.set(Planted(mark), b"1")
    assert disk.get("a") is None
    disk.put("a", b"2")
    assert [key for key in plain_keys(disk) if key is not None] == ["a"]
    assert not mark.exists()


def plain_keys(disk):
    """The keys as the cache itself lists them; None for what it refuses to read."""
    with sqlite3.connect(disk._directory / "cache.db") as database:
        rows = database.execute("SELECT key, raw FROM Cache").fetchall()
    database.close()
    for key, raw in rows:
        try:
            yield _BytesOnly(str(disk._directory)).get(key, raw)
        except OSError:
            yield None


def test_a_planted_file_name_is_neither_read_nor_removed(disk, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    disk.put("a", b"1")
    with sqlite3.connect(tmp_path / "state" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 2, filename = '../secret', value = NULL")
    database.close()
    assert disk.get("a") is None
    disk.put("a", b"2")
    assert disk.get("a") == b"2"
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("value", ["text", 7, 1.5])
def test_what_is_not_bytes_is_not_there(disk, tmp_path, value):
    with diskcache.Cache(str(tmp_path / "state")) as cache:
        cache.set("a", value)
    assert disk.get("a") is None


def test_a_damaged_file_is_begun_anew_and_told(tmp_path):
    (tmp_path / "cache.db").write_bytes(b"this is no database, whatever its name says" * 100)
    told: list[str] = []
    state = open_state(config.StateSettings(dir=tmp_path), told.append)
    assert state.update("a", one_more) == b"1"
    assert len(told) == 1
    assert (tmp_path / "cache.db.damaged").read_bytes().startswith(b"this is no database")
    state.close()


def overwritten(folder: Path) -> None:
    for file in (folder / "cache.db", folder / "cache.db-wal"):
        with file.open("r+b") as opened:
            opened.write(random.Random(7).randbytes(100_000))


def emptied(folder: Path) -> None:
    for file in (folder / "cache.db", folder / "cache.db-wal"):
        file.write_bytes(b"")


def replaced_by_another(folder: Path) -> None:
    shutil.rmtree(folder)
    open_state(config.StateSettings(dir=folder)).close()


@pytest.mark.parametrize("harm", [shutil.rmtree, overwritten, emptied, replaced_by_another])
def test_a_folder_that_is_removed_or_damaged_in_use_heals_for_all_who_use_it(tmp_path, harm):
    told: list[str] = []
    one, other = (open_state(config.StateSettings(dir=tmp_path / "state"), told.append) for _ in range(2))
    one.put("a", b"1")
    assert other.get("a") == b"1"
    harm(tmp_path / "state")
    for state in (one, other):
        state.update("b", one_more)  # may still go to what was there, out of pages that are kept in memory
    for state in (one, other, one, other):
        state.update("c", one_more)
    assert one.get("c") == other.get("c") == b"4"
    assert 0 < len(told) <= 2
    assert [*(tmp_path / "state").glob("cache.db")], "and the next start finds it"
    for state in (one, other):
        state.close()


def test_threads_that_find_a_folder_gone_at_once_begin_it_anew_once(tmp_path):
    told: list[str] = []
    state = open_state(config.StateSettings(dir=tmp_path / "state"), told.append)
    for times in range(1, 6):
        shutil.rmtree(tmp_path / "state")
        all_here = threading.Barrier(6)

        def count(all_here: threading.Barrier = all_here) -> None:
            all_here.wait(60)
            state.update("a", one_more)
            state.close()

        threads = [threading.Thread(target=count) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert state.get("a") == b"6"
        assert len(told) == times


def test_text_that_is_none_is_begun_anew(disk, tmp_path):
    disk.put("a", b"1")
    with sqlite3.connect(tmp_path / "state" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = CAST(x'ff' AS TEXT)")
    database.close()
    assert disk.get_many(["a", "b"]) == [None, None]
    assert disk.update("a", one_more) == b"1"


def test_settings_in_the_file_are_nobodys_but_ours(disk, tmp_path):
    with sqlite3.connect(tmp_path / "state" / "cache.db") as database:
        database.execute("UPDATE Settings SET value = 'nonsense' WHERE key NOT LIKE 'sqlite%'")
        database.execute("INSERT INTO Cache(key, raw, expire_time, mode, value) VALUES ('b', 1, 'never', 1, x'31')")
    database.close()
    again = open_state(config.StateSettings(dir=tmp_path / "state"))
    assert again.update("a", one_more) == b"1"
    assert again.update("b", one_more) == b"2"
    again.close()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises(StateUnavailable):
        open_state(config.StateSettings(dir=tmp_path / "state"))


@pytest.mark.long
def test_a_state_that_another_holds_too_long_is_unavailable(disk, tmp_path):
    disk.put("a", b"1")
    with sqlite3.connect(tmp_path / "state" / "cache.db", isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnavailable, match="too long"):
            disk.update("a", one_more)
        database.execute("ROLLBACK")
    database.close()
    assert disk.update("a", one_more) == b"2"


# ---------------------------------------------------------------- a Redis server


def test_without_a_server_redis_is_unavailable_at_once():
    state = open_state(config.StateSettings(redis=f"redis://:secret@127.0.0.1:{free_port()}/0"))
    started = time.monotonic()
    for use in (lambda: state.get("a"), lambda: state.put("a", b"1"), lambda: state.update("a", one_more)):
        with pytest.raises(StateUnavailable) as caught:
            use()
        assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 3
    state.close()


def test_a_server_that_comes_back_is_used_again(tmp_path):
    port = free_port()
    with running(tmp_path, port) as url:
        state = open_state(config.StateSettings(redis=url))
        state.put("a", b"1")
    with pytest.raises(StateUnavailable):
        state.get("a")
    with running(tmp_path, port):
        assert state.get("a") is None
        assert state.update("a", one_more) == b"1"
        state.close()


def test_what_others_keep_on_the_server_is_not_ours(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.set("a", b"theirs")
        state = open_state(config.StateSettings(redis=redis_url))
        assert state.get("a") is None
        state.put("a", b"ours")
        assert client.get("a") == b"theirs"
        assert client.get("gateway:a") == b"ours"
        client.delete("gateway:a")
        client.lpush("gateway:a", b"not a value")
        assert state.get("a") is None
        assert state.get_many(["a", "b"]) == [None, None]
        assert state.update("a", one_more) == b"1"
        state.close()


def test_an_address_that_makes_no_sense_is_unavailable():
    with pytest.raises(StateUnavailable):
        open_state(config.StateSettings(redis="redis://127.0.0.1:many"))


# ---------------------------------------------------------------- the door


def test_only_the_state_that_is_configured_is_loaded(tmp_path):
    imports = "import sys; from pathlib import Path; from gateway.config import StateSettings; "
    imports += "from gateway.state import open_state;"
    code = f"{imports} open_state(StateSettings(dir=Path({str(tmp_path)!r}))).close(); print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_no_state_at_all_is_unavailable():
    with pytest.raises(StateUnavailable):
        open_state(config.StateSettings())
