"""Patterns of policies, each tried on long texts that are made to be slow for it, in a process that can be ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.config.patterns import worst_texts
from gateway.config.policy import Policy

TEXT_CHARS: Final = 20_000
"""The length of the text. While serving, most pieces that a pattern sees have a few hundred characters."""
SHORT_CHARS: Final = 500
"""The length of the texts of which the slowest is chosen."""
CPU_SECONDS: Final = 15
r"""The time that a pattern may take. One that looks on to the end from each character (`(\w+\s)+`) takes up to seven;
one that does so again from each place it comes to takes hours."""
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


def too_slow(policies: Iterable[Policy]) -> Iterator[str]:
    """Yield what is wrong with each pattern that takes too long, each pattern tried once."""
    tried: set[str] = set()
    for variant in (variant for policy in policies for variant in policy.variants):
        for key, pattern in _patterns(variant):
            if pattern not in tried and not is_quick(pattern):
                yield (
                    f"policy {variant.name}: {key}: {pattern!r} takes more than {CPU_SECONDS} seconds on a text of "
                    f"{TEXT_CHARS:,} characters; let it begin with a word or with ^, and name what .* may be"
                )
            tried.add(pattern)


def _patterns(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield each pattern of a policy behind the key that it stands under."""
    yield from (("preserve", pattern) for pattern in policy.preserve)
    yield from (("prompt_cache.volatile", pattern) for pattern in policy.prompt_cache.volatile)


def is_quick(pattern: str) -> bool:
    """Whether a pattern, which must compile, is through with its own worst text in time."""
    short, long = worst_texts(pattern, SHORT_CHARS), worst_texts(pattern, TEXT_CHARS)
    said = json.dumps({"pattern": pattern, "seconds": CPU_SECONDS, "short": short, "long": long})
    command = [sys.executable, "-I", "-c", _TRIAL]
    try:
        ended = subprocess.run(  # noqa: S603 - our own words
            command, input=said, text=True, capture_output=True, timeout=_WALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0
