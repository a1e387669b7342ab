"""The notes and lists that stand where a fold left messages out: written once, and never again until all are.

A list may say what only the messages that are gone hold (artifacts.py chooses). It is read from what went since the
last list, within `effort`, and from a pool of what earlier lists had no room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.budget.components import OVERHEAD_MESSAGE, Count
from gateway.conversation import Message
from gateway.rewriting.folds.state import Prefix
from gateway.rewriting.folds.values import FoldMessage
from gateway.rewriting.history.artifacts import listed
from gateway.rewriting.history.placed_snippets import current, pieces_of, said_by
from gateway.rewriting.history.ranking import best, ranked_snippets
from gateway.rewriting.history.snippet_reader import Reader
from gateway.rewriting.history.snippets import Snippet
from gateway.rewriting.history.speakers import Speakers
from gateway.rewriting.ladder import LIGHT
from gateway.rewriting.memory import Known
from gateway.rewriting.ours import left_out, with_answer

LIST_SHARE = 0.3
"""Most tokens of a list, as a part of what it stands for."""
SMALL_ROOM, SMALL_TIMES = 4_000, 2
"""In a room of fewer tokens than the first, lists take so many times their share."""
THIN = 0.12
"""A new list that would be a smaller part than this of what it stands for is worth rewriting the older ones for."""
POOL = 1.5
"""The pieces for a list are kept in so many times the tokens that all lists may take."""
OUTPUT = "output"
"""Names a result that stands as a user message."""
LEAST_LIST = 40
"""Tokens below which a list says too little to stand there."""


class Lists:
    """The notes and lists of one prefix."""

    def __init__(self, prefix: Prefix, count: Count, known: Known) -> None:
        self.prefix, self.count = prefix, count
        self.rules, self.anatomy, self.messages = prefix.rules, prefix.anatomy, prefix.messages
        self.reader = Reader(known.snippets, prefix.rules.preserve)
        self.speakers = Speakers(prefix.messages)

    def share(self) -> int:
        """Return the most tokens of all lists: the share of the room, twice that where the room is small."""
        room = self.prefix.room
        return int(self.rules.artifacts * room * (SMALL_TIMES if room < SMALL_ROOM else 1))

    def tokens(self) -> int:
        """Return the tokens of the notes and lists that stand."""
        return sum(kept.tokens for kept in self.prefix.state.kept)

    def least(self, stands_for: int) -> float:
        """Return the tokens below which a new list is not worth its place, where so many were left out."""
        return max(LEAST_LIST, THIN * min(stands_for, self.share() / LIST_SHARE))

    def take_back(self) -> None:
        """Take out all notes and lists, so that one is written for everything."""
        state = self.prefix.state
        state.total -= self.tokens()
        state.kept.clear()

    def write(self, stands_for: Sequence[int], room: int, *, with_list: bool) -> None:
        """Put a note, and a list as large as the room, behind the last of the messages that were left out."""
        state, answer = self.prefix.state, self.rules.answer
        stands_for = self._unsaid(stands_for)
        messages, tokens = len(stands_for), sum(self.anatomy.tokens[index] for index in stands_for)
        text, values = with_answer(left_out(messages, tokens), answer), frozenset[str]()
        if with_list and room >= LEAST_LIST:
            head = with_answer(left_out(messages, tokens, quotes=True), answer)
            said, values = self._listed(room - OVERHEAD_MESSAGE - self.count(head) - 1)
            text = f"{head}\n{said}" if said else text
        last = state.kept[-1] if state.kept else None
        before = max(stands_for) + 1
        if last is not None and not last.values and not values:
            state.kept.pop()
            state.total -= last.tokens
            messages, tokens, before = messages + last.messages, tokens + last.stands_for, max(before, last.before)
            text = with_answer(left_out(messages, tokens), answer)
        size = OVERHEAD_MESSAGE + self.count(text)
        state.kept.append(FoldMessage(before, text, size, messages, tokens, values))
        state.total += size

    def _unsaid(self, fresh: Sequence[int]) -> Sequence[int]:
        """List all that is gone where no note stands for what went before: there was no room for one."""
        state = self.prefix.state
        return fresh if state.kept or state.summaries.standing else self.prefix.missed()

    def _listed(self, room: int) -> tuple[str, frozenset[str]]:
        """Write a list of what only the messages that are gone hold, in at most `room` tokens."""
        state = self.prefix.state
        standing = self._standing_values()
        self._read_what_is_gone()
        state.pool = best(ranked_snippets(state.pool, state.seen), int(POOL * self.share()))
        state.seen.keep(standing | said_by(state.pool))
        elsewhere = standing.union(*[kept.values for kept in state.kept])
        return listed(state.pool, state.seen, elsewhere, room, self.count)

    def _standing_values(self) -> set[str]:
        """Collect the values that stand in the prefix; of what is shortened with loss, those that are left."""
        state = self.prefix.state
        standing = [
            index
            for number in range(len(state.now))
            if number not in state.gone
            for index in self.anatomy.units[number]
        ]
        return {
            value
            for index in (*range(self.anatomy.head), *standing)
            for value in self.reader.values(self._as_it_stands(index))
        }

    def _as_it_stands(self, index: int) -> Message:
        short, message = self.prefix.state.shortened.get(index), self._by_voice(index)
        if short is None or (short.remedy in LIGHT and not short.lossy):
            return message
        return replace(message, text=short.text)

    def _by_voice(self, index: int) -> Message:
        """Return a message as who speaks in it: a program's output that stands as a user message is a result."""
        message = self.messages[index]
        is_output = message.role == "user" and self.prefix.voiced.voices[index] == "result"
        return replace(message, role="tool", name=OUTPUT) if is_output else message

    def _read_what_is_gone(self) -> None:
        """Read what came and what went since the last list; of what went the newest, within `effort`."""
        state, upto = self.prefix.state, self.prefix.upto
        for message in map(self._by_voice, range(max(state.seen_upto, self.anatomy.head), upto)):
            state.seen.add(message, self.reader.snippets(message))
        state.seen_upto = upto
        effort, pool = self.rules.effort, list(state.pool)
        for index in reversed(state.unread):
            effort -= self.anatomy.tokens[index]
            if effort < 0:
                break
            message = self._by_voice(index)
            who = OUTPUT if message.name == OUTPUT else self.speakers.who(index)
            pool += pieces_of(index, who, self.reader.snippets(message), message.role)
        state.pool, state.unread = tuple(current(pool, self._newer)), ()

    def _newer(self, index: int) -> tuple[Snippet, ...]:
        """Read the newest result in the prefix that answers the same call as this one, later."""
        newer = self.speakers.newer(index, self.prefix.upto)
        return () if newer is None else self.reader.snippets(self.messages[newer])
