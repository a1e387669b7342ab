"""The pages and host names that may reach the gateway through somebody's browser. Pure.

A page that a developer visits can send requests to his own machine. Its requests differ from a program's in headers
that the browser sets: `Origin` and `Sec-Fetch-Site` (fetch.spec.whatwg.org, w3.org/TR/fetch-metadata). A page whose own
name was pointed at the machine afterwards (DNS rebinding) differs in its `Host` alone.

With keys a page can do nothing, since it has none. Without keys a request of a page is refused, unless the page is of a
listed origin.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.wire import errors
from gateway.wire.errors import GatewayError

Headers = list[tuple[bytes, bytes]]

_OWN_SITES: Final = frozenset({b"same-origin", b"none"})
"""Values of `Sec-Fetch-Site` for a page of the gateway's own, and for an address that a person typed."""
_LISTED_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,2000}")
_PREFLIGHT_SECONDS: Final = 600
"""Seconds that a browser may remember the answer to a preflight; Chromium's own most is 7,200."""


@dataclass(frozen=True, slots=True)
class Origins:
    """The callers that are served."""

    is_open: bool
    """Whether there are no keys."""
    hosts: frozenset[str] = frozenset()
    """Names beside those of loopback by which an open gateway may be called, in lower case."""
    listed: frozenset[bytes] = frozenset()
    """Origins whose pages are served, with keys and without."""

    @property
    def is_needed(self) -> bool:
        """Whether any request has to be looked at."""
        return self.is_open or bool(self.listed)

    def refusal(self, hosts: Sequence[bytes], origin: bytes | None, site: bytes | None) -> GatewayError | None:
        """Say why a request is refused, from its `Host` headers, its `Origin` and its `Sec-Fetch-Site`."""
        if not self.is_open:
            return None
        foreign = [host for host in hosts if not _is_loopback(host) and _name(host) not in self.hosts]
        if foreign or not hosts:
            return errors.host_not_allowed(_name(foreign[0]) if foreign else None)
        if origin is not None:
            is_own = origin.lower().partition(b"://")[2] == hosts[0].lower()
            return None if is_own or origin in self.listed else errors.origin_not_allowed(_text(origin))
        return None if site is None or site in _OWN_SITES else errors.origin_not_allowed(None)

    def shared_with(self, origin: bytes) -> Headers:
        """Return the headers that let a page of a listed origin read an answer."""
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]

    def preflight(self, origin: bytes, names: bytes, *, private: bool) -> Headers:
        """Answer a browser that asks whether a page of a listed origin may send a request with headers of these names.

        `private`: whether it asks to reach from a public page into a private network.
        """
        out = [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-max-age", b"%d" % _PREFLIGHT_SECONDS),
            (b"vary", b"origin"),
        ]
        if names and _LISTED_NAMES.fullmatch(names):
            out.append((b"access-control-allow-headers", names))
        if private:
            out.append((b"access-control-allow-private-network", b"true"))
        return out


@lru_cache(maxsize=1024)
def _name(host: bytes) -> str:
    """Return the name in a `Host` header, without its port."""
    text = _text(host).strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


@lru_cache(maxsize=1024)
def _is_loopback(host: bytes) -> bool:
    name = _name(host)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _text(value: bytes) -> str:
    return value[:300].decode("latin-1")
