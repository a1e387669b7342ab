"""A family of models: the facts of one maker's models that hold wherever they are served. Pure.

The values stand in a file for each family, with their sources: `openai.py`, `anthropic.py`, `gemini.py`, `mistral.py`.
`families.py` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.providers.formulas import ClaudePatches, Formula
from gateway.wire.foreign import Reception
from gateway.wire.legality import CHAT, Rules

Encoding = Literal["o200k_base", "cl100k_base"]

UNKNOWN_IMAGE = ClaudePatches(4784, 2576)
"""No published formula is known: the most demanding of those that are common, which is Claude's from 4.7 on."""

UNKNOWN_AUDIO = 32.0
"""Tokens of a second of audio: the most demanding of those that are known."""


@dataclass(frozen=True, slots=True)
class ImageRule:
    """A formula, and the models of a family that it holds for."""

    formula: Formula
    start: str = ""
    """The beginning of their names."""
    since: tuple[int, int] = (0, 0)
    """The first version that it holds for."""


@dataclass(frozen=True, slots=True)
class Family:
    """The facts of one maker's models. A fact that is left out is as for a model that nobody knows."""

    name: str
    starts: tuple[str, ...] = ()
    """Beginnings of its models' names."""
    words: tuple[str, ...] = ()
    """Words that stand anywhere in its models' names."""
    legality: Rules = CHAT
    """The rules by which its models' requests are refused, where the API behind has no rules of its own."""
    takes_at: Mapping[str, Reception] = field(default_factory=dict)
    """The traces of others' answers that its models take, by provider."""
    takes: Reception | None = None
    """The same at every other provider; None: as that provider says."""
    encodings: tuple[tuple[str, Encoding], ...] = ()
    """Beginnings of names, and the public encoding of these models; the first that fits counts."""
    images: tuple[ImageRule, ...] = ()
    """The first that fits counts."""
    image: Formula = UNKNOWN_IMAGE
    """The formula of models that no rule fits, and of those that only the provider says are of this family."""
    audio: tuple[tuple[str, float], ...] = ()
    """Words in names, and the tokens that a second of audio counts; the first that fits counts."""
    counts_answer_apart: bool = False
    """Whether the answer need not fit into the context window."""
    input_windows: frozenset[int] = frozenset()
    """Windows of the price table that are the input's alone."""
    thinks_since: tuple[int, int] = (0, 0)
    """The first version whose models may think unasked; those before it think where the request says so."""
    answers_limited: bool = False
    """Whether every request must say how long its answer may be."""
    takes_betas: bool = False
    """Whether `anthropic-beta` goes along to its models at other providers than Anthropic."""
    plain: tuple[str, str] | None = None
    """The beginning of names that need no provider before them in a list of models, and the provider they are then
    asked at (litellm's `get_llm_provider`)."""

    def owns(self, name: str) -> bool:
        """Whether a name, as `bare` returns it, is one of its models'."""
        return name.startswith(self.starts) or self.is_named_in(name)

    def is_named_in(self, name: str) -> bool:
        """Whether one of its words stands in a name in lower case: the path before a model's name included."""
        return any(word in name for word in self.words)

    def encoding(self, model: str) -> Encoding | None:
        """Return the public encoding of a model; None where there is none."""
        name = bare(model)
        return next((encoding for start, encoding in self.encodings if name.startswith(start)), None)

    def image_formula(self, model: str) -> Formula:
        """Return the formula by which a model counts images."""
        name = bare(model)
        if not self.owns(name):
            return self.image
        version = version_of(name)
        fits = (rule.formula for rule in self.images if name.startswith(rule.start) and version >= rule.since)
        return next(fits, self.image)

    def audio_rate(self, model: str) -> float:
        """Return the tokens that a second of audio counts."""
        name = bare(model)
        return next((rate for word, rate in self.audio if word in name), UNKNOWN_AUDIO)

    def thinks_unasked(self, model: str) -> bool:
        """Whether a model that can think may do so where the request says nothing of it."""
        return version_of(bare(model)) >= self.thinks_since

    def shares_window(self, model: str, window: int | None) -> bool:
        """Whether the answer of a model must fit into its window too."""
        return not (self.owns(bare(model)) and (self.counts_answer_apart or window in self.input_windows))


OTHER = Family("other")
"""Models of whose maker nothing is known."""


def bare(model: str) -> str:
    """Return a model's own name in lower case: without the path before it, and the marks of fine tunes and clouds."""
    return model.rsplit("/", 1)[-1].lower().removeprefix("ft:").removeprefix("openai.")


def version_of(name: str) -> tuple[int, int]:
    """Return the version in a model's name: `claude-opus-4-7`, `claude-3-5-sonnet-20241022`, `gemini-2.5-pro`.

    A name without one is taken for the newest.
    """
    numbers = [int(digits) for digits in re.findall(r"(?<![a-z\d])\d{1,2}(?!\d)", name)]
    if not numbers:
        return (99, 0)
    return numbers[0], numbers[1] if len(numbers) > 1 else 0
