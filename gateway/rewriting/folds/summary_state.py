"""The summaries of one conversation between its folds: which segments wait for one, which stand, what comes in when.

A fold goes through four steps: `decided` (what comes in of what waited), `entered`, `asking_for` (what is to be
written of what is gone now) and, where requests wait for their summary, `decided_at_once` with `entered` for that one.
A summary that stands stays until one enters that is of all its messages and more; only `taken_back` lets it go, where
nothing else fits. Frozen values: each step gives a new state. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.budget.components import OVERHEAD_MESSAGE
from gateway.conversation import Message
from gateway.rewriting.folds.summarize import LEAST, LINE, Asking, Count, Event, Segment, line, segment_of

PART: Final = 10
"""All summaries take at most this part of the room."""
CHAT_PART: Final = 20
"""The same in a chat, where what they take is lost to excerpts."""
SMALL: Final = 200
"""So many tokens they may have in a chat too, as long as they are at most `PART` of the room."""
AT_ONCE: Final = ".now"
"""Ends the key of a fold's decision on the segment that it leaves out itself."""


def most_of(room: int, *, is_chat: bool) -> int:
    """Give the most tokens that all summaries may take of a room: the budget without tools and leading system text."""
    return max(room // (CHAT_PART if is_chat else PART), min(SMALL, room // PART))


def least_room() -> int:
    """Give the room below which no summary is ever asked for, whatever the policy says of them.

    The room of a deployment is its prompt budget without tools and leading system text.
    """
    return 2 * (LEAST + LINE) * PART


def least_source(at_most: float) -> int:
    """Give the tokens that must be left out before a summary of at most this share of them is asked for."""
    return math.ceil(LEAST / at_most)


@dataclass(frozen=True, slots=True)
class StandingSummary:
    """A summary in the conversation."""

    segment: Segment
    text: str
    """The line of ours, with the summary."""
    tokens: int
    """Of the whole message."""
    before: int = 0
    """Index of the message that it is put before."""

    @property
    def messages(self) -> frozenset[int]:
        return frozenset(self.segment.messages)


@dataclass(frozen=True, slots=True)
class SummaryState:
    """The facts at one prefix. The walk owns it and hands each new one on."""

    waiting: tuple[Segment, ...] = ()
    """Those without a summary in the conversation, each asked for or taken back."""
    standing: tuple[StandingSummary, ...] = ()
    events: tuple[Event, ...] = ()
    """Every fold at which one could have entered, and what did."""

    @property
    def tokens(self) -> int:
        """Tokens of the summaries that stand."""
        return sum(one.tokens for one in self.standing)

    def tokens_with(self, coming: Sequence[StandingSummary]) -> int:
        """Count what would stand once these are in."""
        return self.tokens - sum(one.tokens for one in _replaced(self.standing, coming)) + sum(c.tokens for c in coming)

    def holds(self, asking: Asking | None) -> bool:
        """Whether planning anew, with what is known now, would come to this state."""
        return asking is None or all(event.holds(asking.facts) for event in self.events)

    def wanted(self, asking: Asking | None) -> tuple[Segment, ...]:
        """List what nobody has written yet."""
        if asking is None:
            return ()
        return tuple(segment for segment in self.waiting if asking.facts.texts.get(segment.key) is None)

    # ------------------------------------------------------------ what comes in

    def decided(
        self, asking: Asking, prefix: str, most: int, count: Count
    ) -> tuple[SummaryState, tuple[StandingSummary, ...]]:
        """Decide which of those that wait come in at a fold: what is there, as far as recorded and as `most` allows.

        Everything that follows depends on this alone, so it is an event even where nothing comes of it. A prefix that
        folds a second time has decided already.
        """
        return self._decided(self.waiting, asking, prefix, most, count)

    def decided_at_once(
        self, asking: Asking, prefix: str, most: int, count: Count
    ) -> tuple[SummaryState, tuple[StandingSummary, ...]]:
        """Decide on what this very fold asks for, where requests wait for it; nothing where they do not."""
        offered = {key for event in self.events if event.prefix == prefix for key in event.candidates}
        fresh = tuple(segment for segment in self.waiting[-1:] if segment.key not in offered)
        return self._decided(fresh, asking, prefix + AT_ONCE, most, count) if asking.inline else (self, ())

    def _decided(
        self, candidates: Sequence[Segment], asking: Asking, prefix: str, most: int, count: Count
    ) -> tuple[SummaryState, tuple[StandingSummary, ...]]:
        if not candidates or any(event.prefix == prefix for event in self.events):
            return self, ()
        decision = asking.facts.decisions.get(prefix)
        coming: dict[str, StandingSummary] = {}
        texts: dict[str, str] = {}
        for segment in reversed(candidates):  # the newest speaks of the most
            text = asking.facts.texts.get(segment.key)
            if text is None or (decision is not None and segment.key not in decision):
                continue
            said = line(segment, text)
            one = StandingSummary(segment, said, OVERHEAD_MESSAGE + count(said))
            is_spoken_of = any(one.messages <= other.messages for other in coming.values())
            if not is_spoken_of and self.tokens_with([*coming.values(), one]) <= most:
                coming[segment.key], texts[segment.key] = one, text
        keys = [segment.key for segment in candidates]
        entered = tuple((key, texts[key]) for key in keys if key in texts)
        state = replace(self, events=(*self.events, Event(prefix, tuple(keys), entered)))
        return state, tuple(coming[key] for key in keys if key in coming)

    def entered(self, coming: Iterable[StandingSummary], before: int, room: int) -> SummaryState:
        """Put in those that come, before a message, as far as there is room beside all that stands."""
        state = self
        for one in coming:
            if state.tokens_with([one]) - state.tokens <= room:
                room -= state.tokens_with([one]) - state.tokens
                replaced = _replaced(state.standing, [one])
                standing = tuple(other for other in state.standing if other not in replaced)
                waiting = tuple(segment for segment in state.waiting if not one.messages.issuperset(segment.messages))
                state = replace(state, standing=(*standing, replace(one, before=before)), waiting=waiting)
        return state

    def taken_back(self) -> SummaryState:
        """Take out all that stand, where nothing else makes a prefix fit; each may enter again at the next fold."""
        return replace(self, standing=(), waiting=(*(one.segment for one in self.standing), *self.waiting))

    # ------------------------------------------------------------ what is asked for

    def asking_for(
        self,
        asking: Asking,
        messages: Sequence[Message],
        tokens: Sequence[int],
        gone: Sequence[int],
        most: int,
        clear: int,
    ) -> SummaryState:
        """Choose what is to be written now: all that is gone and that no summary speaks of.

        Once summaries have filled the room of all of them, one of everything is asked for, but only when as much again
        is gone as they speak of: so all summaries together read a conversation about twice. They stand until it is
        there.
        """
        written = {key for event in self.events for key in event.decision}
        taken_back = tuple(segment for segment in self.waiting if segment.key in written)
        spoken_of = {index for segment in taken_back for index in segment.messages}
        spoken_of |= {index for one in self.standing for index in one.segment.messages}
        rest = [index for index in gone if index not in spoken_of]
        grown, known = (sum(tokens[index] for index in part) for part in (rest, spoken_of))
        room = most - self.tokens
        if taken_back or room < LEAST + LINE:
            if grown < max(clear, known):
                return self
            rest, grown, room = list(gone), grown + known, most
        elif grown < clear:
            return self
        segment = segment_of(asking, messages, rest, grown, min(room, most // 2) - LINE)
        return self if segment is None else replace(self, waiting=(*taken_back, segment))


def _replaced(standing: Sequence[StandingSummary], coming: Sequence[StandingSummary]) -> list[StandingSummary]:
    """List those that stand and whose messages one that comes speaks of."""
    spoken_of = [one.messages for one in coming]
    return [one for one in standing if any(one.messages <= messages for messages in spoken_of)]
