"""The text of excerpts: pieces of each message under its number and its speaker, quoted word for word. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from gateway.conversation import place_at
from gateway.rewriting.history.folded_messages import FoldedMessage
from gateway.rewriting.ours import QUOTED, quoted

HEADER = f"[… {QUOTED}]"
"""Stands above the excerpts; they are what stands right before the question."""
GAP = " […] "


def place_of(message: FoldedMessage) -> str:
    """Say which message it is, who speaks, and what of it is no text."""
    speaker = message.name or message.tool or message.role
    if not _NAME.fullmatch(speaker):
        speaker = _string(speaker)
    media = "".join([f"[{kind}] " for kind in message.media[:_MOST_MEDIA]])
    return f"{message.place or place_at(message.at)} {speaker}: {media}"


_NAME, _MOST_MEDIA = re.compile(r"[\w .@+-]{1,64}"), 8


def quoted_pieces(pieces: Sequence[str]) -> str:
    """Quote pieces of one message: side by side where each is a line, else in one fence with a gap between them.

    A line that begins as a speaker's would (`System: …`) is never one of its own.
    """
    if any(_LIKE_A_SPEAKER.search(piece) for piece in pieces):
        return GAP.join([" ".join([_string(line) for line in piece.split("\n") if line.strip()]) for piece in pieces])
    return quoted(GAP_LINE.join(pieces))


def _string(line: str) -> str:
    """Quote a line so that it stays in the line that it is quoted in."""
    return json.dumps(line, ensure_ascii=False)


_LIKE_A_SPEAKER = re.compile(r"^[ \t]*[^\W\d_]{2,12}[ \t]?[:\uff1a]", re.MULTILINE)
GAP_LINE = "\n[…]\n"
