"""Virtual keys: from the credential a caller shows to who the caller is.

Only SHA-256 digests are kept; a key itself is seen once, when it is made. No clock: the moment is an argument.

Why a dict and not a loop of constant-time compares: what is looked up is not the token but its digest. Measuring the
time of a lookup tells, at most, something about the first bits of the digest of a chosen token; to use it, one would
have to find tokens with chosen digests, and SHA-256 rules that out. The digest that was found is still compared in
constant time, and one that was not found is compared with a dummy, so that known, unknown and expired keys take the
same steps. Why a key is refused is told only to whom shows it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

_PREFIX = "sk-gw-"


IPNetwork = IPv4Network | IPv6Network


class OldSecret(Protocol):
    """A secret that a key had before, and when it ends."""

    @property
    def sha256(self) -> str: ...
    @property
    def until(self) -> datetime: ...


class KeyEntry(Protocol):
    """One key as the configuration declares it."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def team(self) -> str: ...
    @property
    def models(self) -> Iterable[str] | None: ...
    @property
    def expires(self) -> datetime | None: ...
    @property
    def policy(self) -> str | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def paths(self) -> Iterable[str] | None: ...
    @property
    def not_before(self) -> datetime | None: ...
    @property
    def ips(self) -> Iterable[IPNetwork] | None: ...
    @property
    def priority(self) -> int: ...
    @property
    def former(self) -> Iterable[OldSecret]: ...
    @property
    def revoked(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request."""

    key: str
    """The key's name, never the key."""
    team: str
    models: frozenset[str] | None = None
    """The model names it may ask for; None = all."""
    policy: str | None = None
    """The key's own policy, if it has one."""
    user: str | None = None
    """Whom all its requests are for, whatever they say themselves."""
    operations: frozenset[str] | None = None
    """The operations it may use; None = all."""
    networks: tuple[IPNetwork, ...] | None = None
    """The networks it may come from; None = any."""
    priority: int = 0
    """Under load, callers of a higher one are served first."""

    def may_use(self, model: str) -> bool:
        """Say whether this caller may ask for `model`."""
        return self.models is None or model in self.models

    def may_come_from(self, address: str | None) -> bool:
        """Say whether this caller may ask from an address; one that cannot be read is nowhere."""
        if self.networks is None:
            return True
        try:
            found = ip_address(address or "")
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self.networks)


OPEN = Caller(key="open", team="open")
"""The caller of a gateway without keys: for a laptop, never on a public address."""


class KeyRefusal(Enum):
    """The reason for which a token is no key that is good now."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    NOT_YET = "not_yet_valid"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class _Held:
    digest: bytes
    caller: Caller
    begins: float = -math.inf
    ends: float = math.inf
    ended: KeyRefusal = KeyRefusal.EXPIRED
    """Why it is refused once it has ended."""


_NOBODY = _Held(digest=bytes(32), caller=OPEN)


class Keys:
    """All keys, by digest. None at all = open to everybody, unless it is said not to be."""

    def __init__(self, entries: Iterable[KeyEntry] = (), *, is_open: bool | None = None) -> None:
        """Raise `ValueError` for a digest that is not SHA-256 in hex, and for the same key twice."""
        self._by_digest: dict[bytes, _Held] = {}
        for held in (each for entry in entries for each in _secrets(entry)):
            twin = self._by_digest.get(held.digest)
            if twin is not None:
                raise ValueError(
                    f"keys {twin.caller.key!r} and {held.caller.key!r} have the same sha256: one key, one entry"
                )
            self._by_digest[held.digest] = held
        self._is_open = not self._by_digest if is_open is None else is_open

    def __repr__(self) -> str:
        return "Keys(open)" if self._is_open else f"Keys({len(self._by_digest)} keys)"

    def authenticate(self, token: str | None, now: float) -> Caller | KeyRefusal:
        """Return who shows this token at `now` (Unix seconds), or why it is refused."""
        if self._is_open:
            return OPEN
        digest = hashlib.sha256((token or "").encode("utf-8", "surrogatepass")).digest()
        held = self._by_digest.get(digest, _NOBODY)
        if not hmac.compare_digest(held.digest, digest) or not token:
            return KeyRefusal.UNKNOWN
        if held.begins <= now < held.ends:
            return held.caller
        return held.ended if now >= held.ends else KeyRefusal.NOT_YET


def new_key() -> tuple[str, str]:
    """Make a key: the key to hand out once, and the `sha256` to configure."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, digest_of(key)


def digest_of(key: str) -> str:
    """Return the `sha256` to configure for a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _secrets(entry: KeyEntry) -> Iterator[_Held]:
    """Yield the secret of a key, and those that it had before its rotation: all are one caller."""
    caller = Caller(
        key=entry.name,
        team=entry.team,
        models=None if entry.models is None else frozenset(entry.models),
        policy=entry.policy,
        user=entry.user,
        operations=None if entry.paths is None else frozenset(entry.paths),
        networks=None if entry.ips is None else tuple(entry.ips),
        priority=entry.priority,
    )
    begins, ends, ended = _moment(entry.not_before, -math.inf), _moment(entry.expires, math.inf), KeyRefusal.EXPIRED
    if entry.revoked is not None and (revoked := _moment(entry.revoked, math.inf)) < ends:
        ends, ended = revoked, KeyRefusal.REVOKED
    yield _Held(_digest(entry.name, entry.sha256), caller, begins, ends, ended)
    for old in entry.former:
        until, digest = _moment(old.until, math.inf), _digest(entry.name, old.sha256)
        is_first = until < ends
        yield _Held(digest, caller, begins, min(until, ends), KeyRefusal.REPLACED if is_first else ended)


def _moment(moment: datetime | None, otherwise: float) -> float:
    """Return Unix seconds; a moment without a zone is UTC."""
    if moment is None:
        return otherwise
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _digest(name: str, sha256: str) -> bytes:
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"key {name!r}: sha256 must be 64 hexadecimal digits (`gateway keys new` prints them)")
    return digest
