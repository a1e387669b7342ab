"""The process that reads and plans large requests for a worker: `python -m gateway.serving.large.process FD`.

It knows no configuration, no state and no network: everything that a plan depends on comes with the question, and what
it remembers of texts only spares it work. So its plan is the worker's own, byte for byte (law 5). It ends with its
worker, or where one question takes more time or memory than any may; the time is its own, not the clock's, so that a
busy machine refuses nobody.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from array import array
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from gateway.budget.components import texts
from gateway.budget.tokens import Counters
from gateway.conversation import Message
from gateway.memory import Memory
from gateway.prompt_cache.prefixes import MOST_CHAINED, Digests
from gateway.request import Request
from gateway.rewriting.folds.summarize import SummaryFacts
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan
from gateway.routing.models import Model
from gateway.serving.fit import Form, moved_of
from gateway.serving.large import frames
from gateway.serving.large.blocks import give_back_large_blocks
from gateway.serving.large.questions import (
    MOST_KEPT,
    Counts,
    Forget,
    Planned,
    Read,
    SummaryLookup,
    error_fields,
)
from gateway.wire.errors import GatewayError, too_much_work
from gateway.wire.memo import Memo
from gateway.wire.shape import SHAPES, shape_of

NICE: Final = 10
"""The niceness of the process: it stands behind its worker if both want the same core."""
CPU_SECONDS: Final = 90
"""Seconds of computing that one question may take."""
SECONDS_VARIABLE: Final = "GATEWAY_LARGE_CPU_SECONDS"
"""A variable of the environment that says otherwise."""
MOST_BYTES: Final = 640 * 2**20
"""Memory that it may have."""


class AskedSummaries:
    """The worker's facts about summaries."""

    def __init__(self, line: socket.socket, *, decision: bool) -> None:
        self._line, self._decision = line, decision

    def get(self, key: str, /) -> object:
        frames.send(self._line, frames.ASKED, SummaryLookup(self._decision, key))
        return frames.receive(self._line)[1]


class Clerk:
    """Answers one question after the other."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._memo, self._known, self._counters = Memo(), Known(), Counters()
        self._read: OrderedDict[int, Request] = OrderedDict()
        self._form: tuple[Planned, Form] | None = None
        """The last one that was planned: with other summaries it is planned again."""

    def serve(self) -> None:
        """Answer until the worker is gone."""
        while True:
            question = frames.receive(self._line)[1]
            _allow(int(os.environ.get(SECONDS_VARIABLE, CPU_SECONDS)))
            try:
                match question:
                    case Forget():
                        self._forget(question.body)
                    case Read():
                        self._tell_read(self._request(question))
                    case Planned():
                        self._tell_plan(question, self._request(question))
            except GatewayError as error:
                frames.send(self._line, frames.FAULT, error_fields(error))
            except (MemoryError, RecursionError):
                self._forget(question.body)
                frames.send(self._line, frames.FAULT, error_fields(too_much_work()))

    def _forget(self, body: int) -> None:
        self._read.pop(body, None)
        if self._form is not None and self._form[0].body == body:
            self._form = None

    def _request(self, question: Read | Planned) -> Request:
        """Return the request with this body, which is asked for where it is not here."""
        number = question.body
        found = self._read.get(number)
        frames.send(self._line, frames.ASKED, found is None)
        if found is None:
            while len(self._read) >= MOST_KEPT:
                self._forget(next(iter(self._read)))
            body = frames.receive(self._line)[1]
            found = self._read[number] = SHAPES[question.shape].read(body, self._memo)
            if len(found.conversation.messages) <= MOST_CHAINED:
                Digests(0).digest_all(found)
        self._read.move_to_end(number)
        return found

    def _tell_read(self, request: Request) -> None:
        send, line = frames.send, self._line
        bare, numbers = shape_of(request).take_apart(request)
        send(line, frames.VALUE, bare)
        send(line, frames.VALUE, numbers)
        for piece in frames.list_pieces(request.conversation.messages, _chars):
            send(line, frames.VALUE, piece)
        send(line, frames.END)

    def _tell_plan(self, question: Planned, request: Request) -> None:
        send, line = frames.send, self._line
        form = self._form_of(question, request)
        facts = None
        if question.summaries_of is not None:
            asked = AskedSummaries(line, decision=False), AskedSummaries(line, decision=True)
            facts = SummaryFacts(*asked, question.summaries_of)  # type: ignore[arg-type]  # as the worker answers
        found = form.planned(facts, question.early)
        edits = found.edits if isinstance(found, Plan) else ()
        send(line, frames.VALUE, _counts(form, request))
        send(line, frames.VALUE, replace(found, edits=()) if isinstance(found, Plan) else found)
        for piece in frames.list_pieces(edits):
            send(line, frames.VALUE, piece)
        send(line, frames.END)

    def _form_of(self, question: Planned, request: Request) -> Form:
        """Make the form in which a request is planned, or find it where only the summaries are others."""
        if self._form is not None:
            before, form = self._form
            if before.body == question.body and replace(before, early=question.early) == question:
                return form
        request = replace(request, answer_limit=question.answer_limit)
        window, policy = question.window, question.policy
        counter = self._counters.for_encoding(question.encoding).weighed(window.calibration.weights)
        moved = moved_of(request, policy, self._known) if question.moves else None
        model = Model("", (), None, None, False, question.encoding, False, question.legal, question.count_media)
        form = Form(request, policy, model, window, counter, self._known, moved)
        self._form = question, form
        return form


def _chars(message: Message) -> int:
    return len(message.text) + sum([len(one.data) for one in message.media]) + 100 * len(message.calls)


def _counts(form: Form, request: Request) -> Counts:
    """Count every text of the request by itself, as whoever asks later will."""
    asked = texts(request.conversation, Memory(0))
    if form.least or form.least_of_all:  # some texts are many times too long, or all are too many: nobody counts them
        asked = []
    plain = form.plain.count
    weighed = None if form.plain is form.counter else array("q", map(form.counter.count, asked))
    return Counts(array("q", map(plain, asked)), weighed)


def _allow(seconds: int) -> None:
    """Let the process compute for so many seconds more; the system ends it then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def serve_worker() -> None:
    """Serve the worker at the other end of a socket."""
    line = socket.socket(fileno=int(sys.argv[1]))
    line.setblocking(True)
    os.nice(NICE)
    give_back_large_blocks()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or most > MOST_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, most))
    try:
        Clerk(line).serve()
    except frames.Ended:
        return


if __name__ == "__main__":
    serve_worker()
