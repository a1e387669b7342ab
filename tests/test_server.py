"""What the program that stays up needs of the machine, said clearly where it is missing."""

import asyncio
import os
import socket

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from gateway import server
from gateway.config import Server
from gateway.server.service import Service


def test_port_zero_takes_a_free_port_and_the_address_names_it() -> None:
    with server.bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert server.local_url(listener) == f"http://127.0.0.1:{port}"


def test_a_client_that_comes_before_the_workers_waits_instead_of_being_refused() -> None:
    with server.bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=2) as client:
        assert client.getpeername() == listener.getsockname()


def test_an_address_on_all_interfaces_is_shown_as_one_that_can_be_reached() -> None:
    with server.bind("0.0.0.0", 0) as listener:
        assert server.local_url(listener).startswith("http://127.0.0.1:")


def test_a_taken_port_is_named_with_the_remedy() -> None:
    with server.bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(server.CannotStart, match=rf"cannot listen on 127\.0\.0\.1:{port}: .* --port"):
            server.bind("127.0.0.1", port)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(server.CannotStart, match=r"cannot listen on 192\.0\.2\.1:0"):
        server.bind("192.0.2.1", 0)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop, and answer nobody."""
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def test_a_worker_that_begins_makes_nobody_wait_at_the_port_they_share() -> None:
    with server.bind("127.0.0.1", 0) as listener, socket.socket(fileno=os.dup(listener.fileno())) as handed:
        Service(_nothing, Server(), handed)  # type: ignore[arg-type]  # any application does
        handed.dup().close()
        assert not os.get_blocking(listener.fileno())


def test_connections_that_wait_are_taken_in_a_few_turns_of_a_busy_loop() -> None:
    listener = server.bind("127.0.0.1", 0)
    waiting = [socket.create_connection(listener.getsockname()) for _ in range(100)]

    async def taken_in(turns: int) -> int:
        service = Service(_nothing, Server(), listener)  # type: ignore[arg-type]  # any application does
        await service.open()
        for _ in range(turns):
            await asyncio.sleep(0)
        taken = len(service.server_state.connections)
        for one in waiting:
            one.close()
        await service.stop(1, asyncio.Event())
        return taken

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(taken_in(turns=8)) == 100
