"""Formulas by which models count images, as values: `budget/media.py` applies them, each family has its numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tiles:
    """OpenAI until GPT-5.1: into 2048 by 2048, shortest side down to 768, then tiles of 512 pixels."""

    base: int
    tile: int


@dataclass(frozen=True, slots=True)
class Patches:
    """OpenAI's newer models: patches of 32 pixels, at most `most` of them by `detail`, times a multiplier."""

    most: int
    multiplier: float = 1.0
    low: int | None = None
    """Patches of a `low` detail image; None where detail changes nothing."""
    auto: int | None = None
    """Most patches at detail `auto` or `original`; None where they are as `high`."""


@dataclass(frozen=True, slots=True)
class ClaudePatches:
    """Claude: patches of 28 pixels of the largest copy that is within `most` patches and `longest_side` pixels."""

    most: int
    longest_side: int


@dataclass(frozen=True, slots=True)
class GeminiTiles:
    """Gemini up to 2.5: tiles whose size follows the image's; both sides up to 384 pixels are one tile."""

    tile: int
    most: int
    """Tiles of the largest image."""
    longest_side: int
    page: int
    """Tokens of a page of a PDF."""
    frame: int
    """Tokens of a frame of a video."""
    low_frame: int
    """Tokens of a frame at `low` detail."""


@dataclass(frozen=True, slots=True)
class GeminiLevels:
    """Gemini from 3 on: a fixed allowance for each image by resolution, whatever its size."""

    low: int
    medium: int
    usual: int
    ultra_high: int
    page: int
    frame: int


Formula = Tiles | Patches | ClaudePatches | GeminiTiles | GeminiLevels
