"""A real Redis server for tests: a process of its own on a free loopback port, in an empty folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SWITCH = "GATEWAY_TESTS_WITHOUT_REDIS"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def command() -> str:
    """Find the server; without it the test fails, for a green run that never saw Redis would say too much."""
    found = shutil.which("redis-server")
    if found is None and os.environ.get(SWITCH):
        pytest.skip(f"redis-server is not installed, and {SWITCH} is set")
    if found is None:
        pytest.fail(f"redis-server is not installed: install it, or set {SWITCH}=1 to do without these tests")
    return found


@contextmanager
def running(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a server; yields its address."""
    port = port or free_port()
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no", "daemonize": "no"}
    told = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen([command(), *told], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "redis-server ended at once"
                assert time.monotonic() < deadline, "redis-server does not listen"
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()  # nothing in it is to be kept
        process.wait(10)
