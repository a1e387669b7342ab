from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money.keys import OPEN, Caller, Keys, digest_of, new_key

NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Entry:
    """A key as the configuration would declare it."""

    name: str
    sha256: str
    team: str = "support"
    models: tuple[str, ...] | None = None
    expires: datetime | None = None
    policy: str | None = None


def entry(key: str, name: str = "bot", **more: object) -> Entry:
    return Entry(name=name, sha256=digest_of(key), **more)  # type: ignore[arg-type]


def test_a_known_key_is_its_caller() -> None:
    keys = Keys([entry("sk-1", "bot", team="research", models=("gpt-5",), policy="rag"), entry("sk-2", "other")])
    assert keys.authenticate("sk-1", NOW) == Caller("bot", "research", frozenset({"gpt-5"}), "rag")
    assert keys.authenticate("sk-2", NOW) == Caller("other", "support", None, None)


@pytest.mark.parametrize("token", [None, "", "sk-2", "sk-1 ", "SK-1", "ключ", "\ud800", "x" * 100_000])
def test_a_missing_or_unknown_key_is_nobody(token: str | None) -> None:
    assert Keys([entry("sk-1")]).authenticate(token, NOW) is None


def test_without_any_key_everybody_may_come_in() -> None:
    assert Keys().authenticate(None, NOW) is OPEN
    assert Keys().authenticate("whatever", NOW) is OPEN


def test_a_key_ends_at_the_moment_it_expires() -> None:
    keys = Keys([entry("sk-1", expires=datetime.fromtimestamp(NOW, UTC))])
    assert keys.authenticate("sk-1", NOW - 0.001) is not None
    assert keys.authenticate("sk-1", NOW) is None


def test_an_expiry_without_a_zone_is_utc() -> None:
    naive = datetime(2027, 1, 15, 8, 0)  # noqa: DTZ001  # the case under test
    there = datetime(2027, 1, 15, 10, 0, tzinfo=timezone(timedelta(hours=2)))
    for expires in (naive, there):
        keys = Keys([entry("sk-1", expires=expires)])
        assert keys.authenticate("sk-1", datetime(2027, 1, 15, 7, 59, tzinfo=UTC).timestamp()) is not None
        assert keys.authenticate("sk-1", datetime(2027, 1, 15, 8, 0, tzinfo=UTC).timestamp()) is None


def test_a_caller_may_use_only_the_models_of_his_key() -> None:
    assert Caller("k", "t").may_use("anything")
    assert Caller("k", "t", frozenset({"gpt-5"})).may_use("gpt-5")
    assert not Caller("k", "t", frozenset({"gpt-5"})).may_use("gpt-5-mini")
    assert not Caller("k", "t", frozenset()).may_use("gpt-5")


def test_a_digest_may_be_written_in_capitals() -> None:
    assert Keys([Entry("bot", digest_of("sk-1").upper())]).authenticate("sk-1", NOW) is not None


@pytest.mark.parametrize("sha256", ["", "abc", "sk-1", "0" * 63, "0" * 66, "g" * 64])
def test_what_is_no_sha256_is_refused_by_the_name_of_its_key(sha256: str) -> None:
    with pytest.raises(ValueError, match=r"'bot'.*64 hexadecimal"):
        Keys([Entry("bot", sha256)])


def test_the_same_key_twice_is_refused_with_both_names() -> None:
    with pytest.raises(ValueError, match="'a' and 'b'"):
        Keys([entry("sk-1", "a"), entry("sk-1", "b")])


def test_a_new_key_opens_with_the_digest_that_came_with_it() -> None:
    key, sha256 = new_key()
    assert key.startswith("sk-gw-")
    assert len(key) >= 40
    assert sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert Keys([Entry("bot", sha256)]).authenticate(key, NOW) is not None
    assert new_key()[0] != key


def test_neither_keys_nor_digests_show_in_a_repr() -> None:
    assert repr(Keys([entry("sk-1")])) == "Keys(1 keys)"
    assert repr(Keys()) == "Keys(open)"


@given(held=st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=8), shown=st.text())
def test_only_a_held_key_ever_comes_in_and_always_as_itself(held: list[str], shown: str) -> None:
    keys = Keys([entry(key, name=str(at)) for at, key in enumerate(held)])
    for at, key in enumerate(held):
        caller = keys.authenticate(key, NOW)
        assert caller is not None
        assert caller.key == str(at)
    assert (keys.authenticate(shown, NOW) is not None) == (shown in held)
