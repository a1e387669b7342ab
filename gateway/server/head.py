"""The head of a request: where it ends, which path it names, whose address it tells; and where chunks end. Pure.

Everything here works on raw bytes that are bounded before: a parser sees a head only once it is whole.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

MOST_BYTES: Final = 65_536
"""Bytes of a head: the line with the URL and every header together."""
MOST_LINES: Final = 1_000
"""Lines of a head. Each costs a call of Python: 64 kB of shortest headers would be 13,000 of them, some 4 ms."""
MOST_FORWARDED: Final = 32
"""Addresses of X-Forwarded-For that are looked at, from its end."""

ONCE: Final = (b"host", b"authorization", b"x-api-key", b"api-key")
"""Headers that say who asks and where. A second one is refused: one program would read the first, another the last."""

_END: Final = b"\r\n\r\n"


def end_of(data: bytearray, start: int, stop: int) -> int:
    """Return where the head that begins at `start` ends; 0 where it does not end before `stop`."""
    found = data.find(_END, start, stop)
    return found + len(_END) if found >= 0 else 0


class Chunks:
    """Finds where a body in chunks ends, without looking into the chunks (RFC 9112, 7.1).

    A parser says so as well, but not where. It judges the framing: what is found here is only how far it is fed.
    """

    __slots__ = ("_left", "_line", "_trailers")

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk under way, and of the line break behind it
        self._line = b""  # the beginning of a line that is not whole
        self._trailers = False

    def end(self, data: bytearray, start: int, stop: int) -> int:
        """Return where the body ends in what came of it, or `stop`."""
        while start < stop:
            if self._left:
                step = min(self._left, stop - start)
                self._left -= step
                start += step
                continue
            found = data.find(b"\n", start, stop)
            if found < 0:
                self._line += data[start:stop]
                return stop
            line, self._line = (self._line + data[start:found]).rstrip(b"\r"), b""
            start = found + 1
            if not self._trailers:
                self._take(line)
            elif not line:
                return start
        return stop

    def _take(self, line: bytes) -> None:
        """Take in the size of a chunk; what is none is for the parser to refuse."""
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return
        self._trailers = size == 0
        self._left = size + 2 if size > 0 else 0


def is_nonsense(data: bytearray, start: int, stop: int) -> bool:
    """Tell whether the beginning of a head can only become one that is refused.

    A method begins with a letter (a TLS client does not), and every line ends in CR LF.
    """
    begins = data[start : start + 1]
    return not begins.isalpha() or data.find(b"\n\n", start, stop) >= 0 or data.find(b"\n\r\n", start, stop) >= 0


def is_too_long(data: bytearray, start: int, end: int) -> bool:
    """Tell whether a whole head has more bytes or more lines than are read."""
    return end - start > MOST_BYTES or data.count(b"\n", start, end) > MOST_LINES


def repeated(names: Sequence[bytes]) -> bytes | None:
    """Return the first header that may stand once and stands twice."""
    return next((name for name in ONCE if names.count(name) > 1), None)


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """Split what a request names into path, raw path and query. `//` and a slash at the end make no other path.

    A proxy's form (`http://host/path`) is read as its path (RFC 9112, 3.2.2).
    """
    raw, _, query = url.partition(b"#")[0].partition(b"?")
    if not raw.startswith(b"/") and (at := raw.find(b"://")) > 0:
        raw = b"/" + raw[at + 3 :].partition(b"/")[2]
    path = raw.decode("latin-1") if b"%" not in raw else urllib.parse.unquote_to_bytes(raw).decode("utf-8", "replace")
    if "//" in path:
        path = re.sub("/{2,}", "/", path)
    if path.endswith("/") and path != "/":
        path = path[:-1]
    return path, raw, query


def forwarded_address(text: str) -> Address | None:
    """Read an address as X-Forwarded-For may hold it: with a port, in brackets, an IPv4 one inside an IPv6 one."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_among(address: Address | None, networks: Networks) -> bool:
    """Tell whether an address lies in one of the networks."""
    return address is not None and any(address in network for network in networks)


def forwarded_for(values: Sequence[bytes], trusted: Networks) -> str | None:
    """Return whom trusted proxies ask for: the last address that is not one of theirs.

    Addresses before it were written by that client and prove nothing. None where a proxy tells no address.
    """
    nearest = b",".join(values).rsplit(b",", MOST_FORWARDED)[-MOST_FORWARDED:]
    told: Address | None = None
    for text in reversed(nearest):
        address = forwarded_address(text.decode("latin-1"))
        if address is None:
            break
        told = address
        if not is_among(address, trusted):
            break
    return None if told is None else str(told)


def household(address: str) -> str:
    """Return what a limit counts an address under: itself, or of IPv6 the /64 that one client may pick from."""
    found = forwarded_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return address


def endpoint(name: Any) -> tuple[str, int] | None:
    """Return address and port of a socket's name; a socket of the file system has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
