"""Addresses of upstreams, taken apart and put together: what stands before the path, the path, and the query. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

CHAT: Final = "/chat/completions"
MODELS: Final = "/models"

_PARTS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#\s]+)(?P<path>/[^?#\s]*)?(?:\?(?P<query>[^#\s]*))?\Z"
)
_VERSION: Final = re.compile(r"/v\d+[a-z0-9]*(?:/|\Z)")


@dataclass(frozen=True, slots=True)
class Address:
    """An `api_base`, taken apart."""

    scheme: str
    authority: str
    """Host and port, and before them a name and password where somebody wrote any."""
    path: str
    """Without slashes at its end; without the call itself where the whole address of one was given."""
    query: str

    @property
    def host(self) -> str:
        """The host alone, in lower case, as IPv6 without its brackets."""
        name = self.authority.rpartition("@")[2]
        return (name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]).lower()

    @property
    def place(self) -> str:
        """Host and port, as a message may show them."""
        return self.authority.rpartition("@")[2]

    def shown(self, call: str = "") -> str:
        """Return the address as a message may show it: a login and a query may hold a secret."""
        return f"{self.scheme}://{self.place}{self.path}{call}{'?…' if self.query else ''}"

    @property
    def has_login(self) -> bool:
        return "@" in self.authority

    @property
    def has_version(self) -> bool:
        """True if the path names a version, as /v1 or /api/paas/v4."""
        return _VERSION.search(self.path) is not None

    def of(self, call: str) -> str:
        """Return the address of a call, as `/chat/completions`; the query stays where it belongs."""
        whole = f"{self.scheme}://{self.authority}{self.path}{call}"
        return f"{whole}?{self.query}" if self.query else whole


def parse_address(text: str) -> Address | None:
    """Take an address apart; None where it is none that can be asked: no scheme, no host, white space, a fragment."""
    found = _PARTS.match(text.strip())
    if found is None:
        return None
    path = (found["path"] or "").rstrip("/")
    return Address(found["scheme"], found["authority"], path.removesuffix(CHAT).rstrip("/"), found["query"] or "")
