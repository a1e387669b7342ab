"""How long a piece of pure work takes, whatever else the machine and the other tests of this process are doing."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block takes this thread more CPU seconds.

    Other threads do not count, and nothing is collected meanwhile: a collection walks all that earlier tests left.
    """
    collects = gc.isenabled()
    gc.disable()
    began = time.thread_time()
    try:
        yield
    finally:
        took = time.thread_time() - began
        if collects:
            gc.enable()
    assert took < seconds, f"{took:.3f} s of CPU, not {seconds}"
