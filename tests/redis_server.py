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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def command() -> str:
    """Find the server. Where there is none the test is skipped and says so; under CI, which installs one, it fails."""
    found = shutil.which("redis-server")
    if found is None and os.environ.get("CI"):
        pytest.fail("redis-server is not installed; .ci/run installs it")
    if found is None:
        pytest.skip("redis-server is not installed: what machines share over Redis is not tested here")
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
