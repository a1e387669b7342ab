"""Virtual keys: from the credential a caller shows to who the caller is.

Only SHA-256 digests are kept; a key itself is seen once, when it is made. No clock: the moment is an argument.

Why a dict and not a loop of constant-time compares: what is looked up is not the token but its digest. Measuring the
time of a lookup tells, at most, something about the first bits of the digest of a chosen token; to use it, one would
have to find tokens with chosen digests, and SHA-256 rules that out. The digest that was found is still compared in
constant time, and one that was not found is compared with a dummy, so that known, unknown and expired keys take the
same steps.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

_PREFIX = "sk-gw-"


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

    def may_use(self, model: str) -> bool:
        """Say whether this caller may ask for `model`."""
        return self.models is None or model in self.models


OPEN = Caller(key="open", team="open")
"""The caller of a gateway without keys: for a laptop, never on a public address."""


@dataclass(frozen=True, slots=True)
class _Held:
    digest: bytes
    caller: Caller
    expires: float | None


_NOBODY = _Held(digest=bytes(32), caller=OPEN, expires=None)


class Keys:
    """All keys, by digest. None at all = open to everybody."""

    def __init__(self, entries: Iterable[KeyEntry] = ()) -> None:
        """Raise `ValueError` for a digest that is not SHA-256 in hex, and for the same key twice."""
        self._by_digest: dict[bytes, _Held] = {}
        for entry in entries:
            held = _hold(entry)
            twin = self._by_digest.get(held.digest)
            if twin is not None:
                raise ValueError(
                    f"keys {twin.caller.key!r} and {entry.name!r} have the same sha256: one key, one entry"
                )
            self._by_digest[held.digest] = held

    def __repr__(self) -> str:
        return f"Keys({len(self._by_digest)} keys)" if self._by_digest else "Keys(open)"

    def authenticate(self, token: str | None, now: float) -> Caller | None:
        """Return who shows this token at `now` (Unix seconds), or None for a missing, unknown or expired one."""
        if not self._by_digest:
            return OPEN
        digest = hashlib.sha256((token or "").encode("utf-8", "surrogatepass")).digest()
        held = self._by_digest.get(digest, _NOBODY)
        is_known = hmac.compare_digest(held.digest, digest)
        is_alive = held.expires is None or now < held.expires
        return held.caller if is_known and is_alive and token else None


def new_key() -> tuple[str, str]:
    """Make a key: the key to hand out once, and the `sha256` to configure."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, digest_of(key)


def digest_of(key: str) -> str:
    """Return the `sha256` to configure for a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _hold(entry: KeyEntry) -> _Held:
    try:
        digest = bytes.fromhex(entry.sha256)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"key {entry.name!r}: sha256 must be 64 hexadecimal digits (`gateway keys new` prints them)")
    models = None if entry.models is None else frozenset(entry.models)
    caller = Caller(key=entry.name, team=entry.team, models=models, policy=entry.policy)
    return _Held(digest=digest, caller=caller, expires=_seconds(entry.expires))


def _seconds(moment: datetime | None) -> float | None:
    """Unix seconds; a moment without a time zone is UTC, never the machine's own."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
