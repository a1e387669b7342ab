from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money.keys import OPEN, Caller, KeyRefusal, Keys, digest_of, new_key

NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Former:
    """A secret that a key had."""

    sha256: str
    until: datetime


@dataclass(frozen=True)
class Entry:
    """A key as the configuration would declare it."""

    name: str
    sha256: str
    team: str = "support"
    models: tuple[str, ...] | None = None
    expires: datetime | None = None
    policy: str | None = None
    user: str | None = None
    paths: tuple[str, ...] | None = None
    not_before: datetime | None = None
    ips: tuple[IPv4Network | IPv6Network, ...] | None = None
    priority: int = 0
    former: tuple[Former, ...] = ()
    revoked: datetime | None = None


def entry(key: str, name: str = "bot", **more: object) -> Entry:
    return Entry(name=name, sha256=digest_of(key), **more)  # type: ignore[arg-type]


def test_a_known_key_is_its_caller() -> None:
    keys = Keys([entry("sk-1", "bot", team="research", models=("gpt-5",), policy="rag"), entry("sk-2", "other")])
    assert keys.authenticate("sk-1", NOW) == Caller("bot", "research", frozenset({"gpt-5"}), "rag")
    assert keys.authenticate("sk-2", NOW) == Caller("other", "support", None, None)


@pytest.mark.parametrize("token", [None, "", "sk-2", "sk-1 ", "SK-1", "ключ", "\ud800", "x" * 100_000])
def test_a_missing_or_unknown_key_is_nobody(token: str | None) -> None:
    assert Keys([entry("sk-1")]).authenticate(token, NOW) is KeyRefusal.UNKNOWN


def test_without_any_key_everybody_may_come_in() -> None:
    assert Keys().authenticate(None, NOW) is OPEN
    assert Keys().authenticate("whatever", NOW) is OPEN


def test_a_key_ends_at_the_moment_it_expires() -> None:
    keys = Keys([entry("sk-1", expires=datetime.fromtimestamp(NOW, UTC))])
    assert isinstance(keys.authenticate("sk-1", NOW - 0.001), Caller)
    assert keys.authenticate("sk-1", NOW) is KeyRefusal.EXPIRED


def test_an_expiry_without_a_zone_is_utc() -> None:
    naive = datetime(2027, 1, 15, 8, 0)  # noqa: DTZ001  # the case under test
    there = datetime(2027, 1, 15, 10, 0, tzinfo=timezone(timedelta(hours=2)))
    for expires in (naive, there):
        keys, caller = Keys([entry("sk-1", expires=expires)]), Caller("bot", "support")
        assert keys.authenticate("sk-1", datetime(2027, 1, 15, 7, 59, tzinfo=UTC).timestamp()) == caller
        assert keys.authenticate("sk-1", datetime(2027, 1, 15, 8, 0, tzinfo=UTC).timestamp()) is KeyRefusal.EXPIRED


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


def test_a_rotated_key_has_two_secrets_for_a_while_and_is_one_caller() -> None:
    keys = Keys([entry("new", former=(Former(digest_of("old"), at(60)),))])
    assert keys.authenticate("new", NOW) == keys.authenticate("old", NOW) == Caller("bot", "support")
    assert keys.authenticate("old", NOW + 60) is KeyRefusal.REPLACED
    assert keys.authenticate("new", NOW + 60) == Caller("bot", "support")


def test_an_old_secret_is_no_longer_good_than_its_key() -> None:
    former = (Former(digest_of("old"), at(60)),)
    assert Keys([entry("new", former=former, revoked=at(-1))]).authenticate("old", NOW) is KeyRefusal.REVOKED
    assert Keys([entry("new", former=former, expires=at(0))]).authenticate("old", NOW) is KeyRefusal.EXPIRED


def test_why_a_key_is_refused() -> None:
    assert Keys([entry("sk-1", not_before=at(1))]).authenticate("sk-1", NOW) is KeyRefusal.NOT_YET
    assert Keys([entry("sk-1", revoked=at(0))]).authenticate("sk-1", NOW) is KeyRefusal.REVOKED
    assert Keys([entry("sk-1", revoked=at(0))]).authenticate("sk-2", NOW) is KeyRefusal.UNKNOWN


def test_a_gateway_whose_keys_file_is_empty_is_not_open() -> None:
    assert Keys(is_open=False).authenticate(None, NOW) is KeyRefusal.UNKNOWN


def test_a_caller_may_come_only_from_the_networks_of_his_key() -> None:
    caller = Caller("k", "t", networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
    assert all(caller.may_come_from(one) for one in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"))
    assert not any(caller.may_come_from(one) for one in ("11.0.0.1", "2001:db9::1", None, "", "unix", "10.0.0.1, x"))
    assert Caller("k", "t").may_come_from(None)


def test_a_caller_may_use_only_the_models_of_his_key() -> None:
    assert Caller("k", "t").may_use("anything")
    assert Caller("k", "t", frozenset({"gpt-5"})).may_use("gpt-5")
    assert not Caller("k", "t", frozenset({"gpt-5"})).may_use("gpt-5-mini")
    assert not Caller("k", "t", frozenset()).may_use("gpt-5")


def test_a_digest_may_be_written_in_capitals() -> None:
    assert Keys([Entry("bot", digest_of("sk-1").upper())]).authenticate("sk-1", NOW) == Caller("bot", "support")


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
    assert Keys([Entry("bot", sha256)]).authenticate(key, NOW) == Caller("bot", "support")
    assert new_key()[0] != key


def test_neither_keys_nor_digests_show_in_a_repr() -> None:
    assert repr(Keys([entry("sk-1")])) == "Keys(1 keys)"
    assert repr(Keys()) == "Keys(open)"


@given(held=st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=8), shown=st.text())
def test_only_a_held_key_ever_comes_in_and_always_as_itself(held: list[str], shown: str) -> None:
    keys = Keys([entry(key, name=str(at)) for at, key in enumerate(held)])
    for at, key in enumerate(held):
        caller = keys.authenticate(key, NOW)
        assert isinstance(caller, Caller)
        assert caller.key == str(at)
    assert isinstance(keys.authenticate(shown, NOW), Caller) == (shown in held)
