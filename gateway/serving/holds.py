"""Holds that grow while their request is served: ahead of an answer that nothing limits, and for another attempt.

An answer is counted as it comes. Where its budget pays for no more of it, the call is closed and the answer ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from gateway.budget.tokens import Counter
from gateway.money.amounts import dollars
from gateway.money.reservations import AHEAD
from gateway.routing.upstreams.upstream import Reply
from gateway.serving.limiting import Admission, Limiting
from gateway.state import StateUnavailable
from gateway.state.counters import Short
from gateway.wire.answer import Heard, Listener
from gateway.wire.errors import GatewayError
from gateway.wire.limit_errors import answer_ended, counters_unavailable

LAST: Final = AHEAD // 4
"""Tokens that are left of a hold when an answer is ended: the upstream may have written more than has come."""
_AGAIN_BYTES: Final = 512
"""Bytes of an answer after which a hold that could not grow is tried again: others may have ended."""


class AnswerEnded(Exception):
    """The budget pays for no more of an answer under way."""

    def __init__(self, error: GatewayError, heard: Heard) -> None:
        super().__init__(error.message)
        self.error: Final = error
        self.heard: Final = heard


class RunningHold:
    """The hold of one request."""

    __slots__ = ("_admission", "_id", "_limiting", "_paid", "_paid_nanousd", "nanousd", "party")

    def __init__(
        self, limiting: Limiting, request_id: str, admission: Admission, paid: Callable[[], Awaitable[int]]
    ) -> None:
        """Take a hold as it was granted. `paid` tells what failed calls of the request have cost so far."""
        self._limiting, self._id, self._admission, self._paid = limiting, request_id, admission, paid
        self._paid_nanousd = 0
        self.nanousd = admission.held_nanousd
        self.party = admission.money_party(0)
        """The party whose budget was short last, in words."""

    def __repr__(self) -> str:
        return f"RunningHold({self._id}, {dollars(self.nanousd)})"

    @property
    def is_counted(self) -> bool:
        """Whether nothing but the hold bounds the answer."""
        return self._admission.is_counted

    @property
    def ahead(self) -> int:
        """The tokens that the hold is to be ahead of the answers."""
        return AHEAD * self._admission.choices

    def tokens(self) -> int:
        """Return how many tokens of answer it pays for, beside failed calls."""
        return self._admission.price.tokens(self.nanousd - self._paid_nanousd)

    def cost(self, tokens: int) -> int:
        """Return the highest cost of the request with an answer of so many tokens."""
        return self._admission.price.cost(tokens)

    async def grow(self, tokens: int) -> bool:
        """Raise it to an answer of so many tokens. Raises GatewayError where the counters cannot be asked."""
        return await self._raise(self._paid_nanousd + self.cost(tokens))

    async def pays_again(self) -> bool:
        """Make it pay for another call beside those that failed; False where its budget does not."""
        paid = await self._paid()
        if paid <= self._paid_nanousd:
            return True
        needed = paid + self._admission.held_nanousd
        if needed > self.nanousd and not await self._raise(needed):
            return False
        self._paid_nanousd = paid
        return True

    async def _raise(self, nanousd: int) -> bool:
        limiting = self._limiting
        try:
            outcome = await limiting.counting.top_up(self._id, self._admission.charges, nanousd)
        except StateUnavailable:
            if not limiting.serves_without:
                raise counters_unavailable() from None
        else:
            if isinstance(outcome, Short):
                self.party = self._admission.money_party(outcome.charge)
                return False
        self.nanousd = nanousd
        return True


class AnswerMeter:
    """The count of one answer under way."""

    __slots__ = ("_counted", "_counter", "_hold", "_percent", "_said", "look_at")

    def __init__(self, hold: RunningHold, counter: Counter, *, is_exact: bool) -> None:
        """Take the hold that grows with it. A count that is not the provider's own is taken a quarter higher."""
        self._hold, self._counter, self._percent = hold, counter, 100 if is_exact else 125
        self._counted = self._said = 0
        self.look_at = self._room(0)
        """The bytes of the answer, as it comes, before which nobody need look at it."""

    async def look(self, heard: Heard, size: int) -> None:
        """Count an answer of which `size` bytes have come, where that is due, and raise its hold.

        Raises AnswerEnded. Between two counts a token is taken to have two bytes; it has one at least, and the hold is
        twice as far ahead.
        """
        room = self._room(heard.said_bytes())
        if room <= 0:
            await self._count(heard)
            room = self._room(self._said)
        if room <= 0:
            await self._grow(heard)
            room = max(_AGAIN_BYTES, self._room(self._said))
        self.look_at = size + room

    def _room(self, said: int) -> int:
        """Return the bytes that may still be said before the answer is counted again."""
        return 2 * (self._hold.tokens() - self._hold.ahead - self._counted) - (said - self._said)

    async def _count(self, heard: Heard) -> None:
        text, self._said = heard.seen_text(), heard.said_bytes()
        await self._counter.learn([text])
        self._counted = heard.grown(self._counter.count(text)) * self._percent // 100

    async def _grow(self, heard: Heard) -> None:
        hold, counted = self._hold, self._counted
        try:
            if await hold.grow(counted + 2 * hold.ahead):
                return
            error = answer_ended(hold.party, counted, dollars(hold.cost(counted)))
        except GatewayError as unavailable:
            error = unavailable
        if hold.tokens() - counted <= LAST:
            raise AnswerEnded(error, heard)


class MeteredChunks:
    """The bytes of an answer, each counted before the next are read."""

    __slots__ = ("_chunks", "_listener", "_meter", "_reply", "_size")

    def __init__(self, reply: Reply, listener: Listener, meter: AnswerMeter) -> None:
        """Take an answer, and whoever listens to it."""
        self._reply, self._listener, self._meter = reply, listener, meter
        self._chunks, self._size = reply.chunks(), 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._size >= self._meter.look_at and (heard := self._listener.heard) is not None:
            try:
                await self._meter.look(heard, self._size)
            except AnswerEnded:
                await self._reply.close()
                raise
        chunk = await anext(self._chunks)
        self._size += len(chunk)
        return chunk
