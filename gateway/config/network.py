"""The way from this machine to upstreams: proxies, and certificates to believe.

Read once from the environment and handed on. Neither HTTP library is told to look there itself: that mode also takes
passwords out of `.netrc`. Pure: the environment is an argument.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.config.addresses import parse_address


@dataclass(frozen=True, slots=True)
class Network:
    """Proxies by scheme, who is asked without one, and the file of certificates to believe."""

    http: str | None = field(default=None, repr=False)
    """May hold a password."""
    https: str | None = field(default=None, repr=False)
    without_proxy: tuple[str, ...] = ()
    """Hosts, domains, addresses and networks, as `NO_PROXY` lists them."""
    certificates: str | None = None
    """A file of certificates in the place of the system's own."""

    def proxy_for(self, scheme: str, host: str, port: int | None) -> str | None:
        """Return the proxy that a host is reached through; None where it is asked directly."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or any(_covers(one, host.lower(), port) for one in self.without_proxy):
            return None
        return proxy

    @property
    def proxies(self) -> tuple[str, ...]:
        """Every proxy there is, once each."""
        return tuple(dict.fromkeys(one for one in (self.http, self.https) if one is not None))


HERE: Final = Network()
"""A machine that reaches everybody directly and believes the system's certificates."""


def network_of(environ: Mapping[str, str]) -> Network:
    """Read the variables by which programs are told of proxies and certificates; the lower-case name goes first."""
    every = _either(environ, "all_proxy")
    listed = (_either(environ, "no_proxy") or "").split(",")
    return Network(
        http=_either(environ, "http_proxy") or every,
        https=_either(environ, "https_proxy") or every,
        without_proxy=tuple(name for one in listed if (name := one.strip().lower())),
        certificates=environ.get("SSL_CERT_FILE", "").strip() or None,
    )


def faults_of(network: Network) -> Iterator[str]:
    """Say which proxies cannot be used, without the password that one may hold."""
    for proxy in network.proxies:
        address = parse_address(proxy)
        if address is None:
            shown = proxy.rpartition("@")[2]
            yield f"the proxy {shown!r} is no http:// or https:// address: set HTTP_PROXY and HTTPS_PROXY to one"


def _either(environ: Mapping[str, str], name: str) -> str | None:
    """Read a variable under both of its names; one that is set to nothing says that there is none."""
    value = environ.get(name, environ.get(name.upper(), "")).strip()
    if value and "://" not in value and name != "no_proxy":
        return f"http://{value}"
    return value or None


def _covers(listed: str, host: str, port: int | None) -> bool:
    """Say whether one element of `NO_PROXY` names a host: `*`, itself, a domain above it, or a network around it."""
    if listed == "*":
        return True
    name, colon, wanted = listed.rpartition(":")
    if colon and wanted.isdigit() and not name.endswith(":") and name.count(":") == 0:
        if port is None or int(wanted) != port:
            return False
        listed = name
    address = _ip(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(listed.strip("[]"), strict=False)
        except ValueError:
            return False
    domain = listed.removeprefix("*").removeprefix(".")
    return host == domain or host.endswith(f".{domain}")


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
