"""Patterns of policies, each tried on long texts that are made to be slow for it, in a process that can be ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.config.patterns import may_be_cubic, worst_texts
from gateway.config.policy import Policy

TEXT_CHARS: Final = 20_000
"""The length of the text. While serving, most pieces that a pattern sees have a few hundred characters."""
SHORT_CHARS: Final = 500
"""The length of the texts of which the slowest is chosen."""
CPU_SECONDS: Final = 15
r"""The time that a pattern may take. One that looks on to the end from each character (`(\w+\s)+`) takes up to seven;
one that does so again from each place it comes to takes hours."""
START_CHARS: Final = 5_000
START_SECONDS: Final = 2
"""The same at a start, which is not to take long: a quarter of the text takes a sixteenth of the time, or, where the
pattern is cubic, still many seconds."""
_WALL_SECONDS: Final = 120.0

_TRIAL: Final = """
import json, re, sys, time
said = json.load(sys.stdin)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (said["seconds"], said["seconds"]))
except ImportError:
    pass
pattern = re.compile(said["pattern"])

def took(text):
    started = time.process_time()
    for _ in pattern.finditer(text):
        pass
    return time.process_time() - started

times = [took(text) for text in said["short"]]
if times:
    took(said["long"][times.index(max(times))])
"""


def too_slow(policies: Iterable[Policy], *, at_start: bool = False) -> Iterator[str]:
    """Yield what is wrong with each pattern that takes too long, each pattern tried once.

    At a start those alone are tried of which nothing shows that they are quick enough, and on shorter texts.
    """
    chars, seconds = (START_CHARS, START_SECONDS) if at_start else (TEXT_CHARS, CPU_SECONDS)
    tried: set[str] = set()
    for variant in (variant for policy in policies for variant in policy.variants):
        for key, pattern in _patterns(variant):
            if pattern in tried or (at_start and not may_be_cubic(pattern)):
                continue
            tried.add(pattern)
            if not is_quick(pattern, chars, seconds):
                yield (
                    f"policy {variant.name}: {key}: {pattern!r} takes more than {seconds} seconds on a text of "
                    f"{chars:,} characters; let it begin with a word or with ^, and name what .* may be"
                )


def _patterns(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield each pattern of a policy behind the key that it stands under."""
    yield from (("preserve", pattern) for pattern in policy.preserve)
    yield from (("prompt_cache.volatile", pattern) for pattern in policy.prompt_cache.volatile)


def is_quick(pattern: str, chars: int, seconds: int) -> bool:
    """Whether a pattern, which must compile, is through with its own worst text in time."""
    short, long = worst_texts(pattern, SHORT_CHARS), worst_texts(pattern, chars)
    said = json.dumps({"pattern": pattern, "seconds": seconds, "short": short, "long": long})
    command = [sys.executable, "-I", "-c", _TRIAL]
    try:
        ended = subprocess.run(  # noqa: S603 - our own words
            command, input=said, text=True, capture_output=True, timeout=_WALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0
