"""Bounds of the tokens of a text, from its bytes alone: for texts that are too long to be read.

Pure. A byte-level encoding cuts the bytes of a text into tokens, each of them an entry of its vocabulary.

- *At most* there are as many tokens as bytes: no token is empty.
- *At least*: let L(b) be the length of the longest entry that holds byte b. Each byte b weighs w(b) = ⌊255 / L(b)⌋. Of
  a token t of n bytes, every byte b is in an entry of n bytes, so L(b) ≥ n and w(b) ≤ 255 / n: the token weighs no more
  than n · 255 / n = 255. The bytes of a text are those of its tokens, so 255 times the number of tokens is no less than
  the weight of the text.

The second holds of any way to cut a text into entries, so of the encoding's own, whatever its rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

WHOLE: Final = 255
"""The most that the bytes of one token weigh."""
LONGEST_RUN: Final = 4_000_000
"""Characters of a run without a break up to which it is read: some two seconds, and 150 MB."""

_RUNS: Final = tuple(re.compile(f"{kind}{{{LONGEST_RUN // 2}}}") for kind in (r"[a-zA-Z\x80-\U0010ffff]", r"[\W_]"))
"""Classes of characters that the encodings take for one piece, however long it is: letters and their marks; or white
space and signs. Digits they cut into threes. """


def weights_by_byte(vocabulary: Iterable[bytes]) -> bytes:
    """Return what each byte weighs, at its place."""
    longest = [1] * 256
    for entry in sorted(vocabulary, key=len):
        for byte in entry:
            longest[byte] = len(entry)
    return bytes(WHOLE // length for length in longest)


def at_least(data: bytes, weights: bytes) -> int:
    """Return a number of tokens that these bytes have at least."""
    return -(-sum(data.translate(weights)) // WHOLE)


def has_endless_run(text: str) -> bool:
    """Tell whether a text holds a run that takes too long to be read.

    A run of twice so many characters holds one of so many that begins at a multiple of their number.
    """
    step = LONGEST_RUN // 2
    return any(run.match(text, at) for at in range(0, len(text) - step + 1, step) for run in _RUNS)
