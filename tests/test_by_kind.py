"""The upstreams of a process: only those that are configured are loaded."""

import os
import subprocess
import sys

import pytest

from gateway.routing.upstreams.by_kind import Upstreams
from tests.conftest import CHECKOUT

LATE = ("aiohttp", "cel", "diskcache", "duckdb", "litellm", "redis")


def loaded(code: str) -> set[str]:
    asked = f"import sys; {code}; print(*({LATE!r} & sys.modules.keys()))".replace(repr(LATE), repr(set(LATE)))
    run = subprocess.run(
        [sys.executable, "-c", asked], cwd=CHECKOUT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("kinds", "libraries"), [("", set()), ("'demo'", set()), ("'translated'", set()), ("'direct'", {"aiohttp"})]
)
def test_a_library_is_loaded_for_the_kind_that_needs_it(kinds: str, libraries: set[str]):
    code = (
        f"import gateway.app; from gateway.routing.upstreams.by_kind import Upstreams; Upstreams(len, kinds=[{kinds}])"
    )
    assert loaded(code) == libraries


async def test_upstreams_that_were_never_asked_are_closed_too():
    await Upstreams(len, kinds=["direct", "demo"]).close()
    await Upstreams(len).close()
