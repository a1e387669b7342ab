"""The key under which the vector of an input is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

_PREFIX: Final = "vector:1:"
"""With the version of what is kept."""


def vector_keys(team: str, models: Iterable[str], settings: bytes, inputs: Iterable[bytes]) -> list[str]:
    """Return a key for each input of a team: nobody learns what another team has embedded.

    `models` are the models that may be asked, `settings` all that decides a vector besides.
    """
    around = blake2b(repr((team, sorted(models))).encode() + b"\n" + settings, digest_size=32).digest()
    return [_PREFIX + blake2b(one, digest_size=24, key=around).hexdigest() for one in inputs]
