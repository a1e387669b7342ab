"""The address of a connection's client, and the places that it holds among those of its address."""

from __future__ import annotations

from typing import Any

from gateway.server import head
from gateway.server.open_connections import OpenConnections
from gateway.wire import errors
from gateway.wire.errors import GatewayError

Endpoint = tuple[str, int]


class ClientAddress:
    """An address, behind which others may be: a trusted proxy says for whom each of its requests is."""

    def __init__(self, every: OpenConnections, name: Any) -> None:
        self._every, self._address = every, head.endpoint(name)
        self._is_proxy = False
        self._held: list[str] = []

    def enter(self) -> GatewayError | None:
        """Count the connection under its address, unless that is a proxy's; returns a refusal of one too many."""
        settings = self._every.settings
        if self._address is None or not (settings.trusted_proxies or settings.connections_per_address):
            return None
        self._is_proxy = head.is_among(head.forwarded_address(self._address[0]), settings.trusted_proxies)
        return None if self._is_proxy else self._count(self._address[0])

    def client_of(self, headers: list[tuple[bytes, bytes]]) -> tuple[Endpoint | None, GatewayError | None]:
        """Return whom a request is from, counted under the address that a proxy says, or a refusal."""
        told = [value for name, value in headers if name == b"x-forwarded-for"] if self._is_proxy else []
        address = head.forwarded_for(told, self._every.settings.trusted_proxies) if told else None
        return (self._address, None) if address is None else ((address, 0), self._count(address))

    def end_request(self) -> None:
        """Give back the place of a request."""
        if self._is_proxy and self._held:
            self._every.leave_address(self._held.pop())

    def leave(self) -> None:
        """Give back every place."""
        while self._held:
            self._every.leave_address(self._held.pop())

    def _count(self, address: str) -> GatewayError | None:
        limit = self._every.settings.connections_per_address
        if limit is None:
            return None
        held = self._every.enter_address(address)
        if held is None:
            return errors.too_many_connections(limit)
        self._held.append(held)
        return None
