"""A wire shape, as rooms outside `wire/` use it, and the table of those that there are.

A shape reads requests into neutral values, writes them again, and listens to their answers. A new one is a folder
beside `chat/` and a line in the tables below.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from gateway.conversation import Changes, Marker, MarkerForm, Message, MessageDigest
from gateway.request import Marks, Request, Setting, Tool
from gateway.wire.answer import Listener
from gateway.wire.chat.shape import Chat
from gateway.wire.errors import GatewayError
from gateway.wire.memo import Memo
from gateway.wire.messages.shape import Messages
from gateway.wire.operations import PATHS, Operation
from gateway.wire.outgoing import PLAIN, Additions
from gateway.wire.responses.shape import Responses
from gateway.wire.secrets import Secrets


class Shape(Protocol):
    """How one kind of client speaks."""

    @property
    def name(self) -> Operation:
        """Its name, as `Request.shape` says it, and of the operation that its requests ask for."""

    @property
    def end(self) -> bytes:
        """The marker that ends a stream."""

    # ------------------------------------------------------------ requests

    def read(self, body: bytes, memo: Memo, /) -> Request:
        """Read a body. Raises GatewayError (400, naming what and where) for what is no request."""

    def write(
        self,
        request: Request,
        model: str,
        changes: Changes | None = None,
        marks: Marks | None = None,
        additions: Additions = PLAIN,
        /,
    ) -> bytes:
        """Write a request for a deployment: its name of the model, its additions, changes and marks, spliced into the
        bytes that came.
        """

    def untranslatable(self, request: Request, /) -> str | None:
        """Name the member of a request that no chat completion can say; None where there is none."""

    def as_chat(
        self,
        request: Request,
        model: str,
        changes: Changes | None = None,
        marks: Marks | None = None,
        additions: Additions = PLAIN,
        /,
    ) -> bytes:
        """Write a request as a chat completion, for a deployment that does not speak this shape."""

    def ask(self, model: str, instruction: str, material: str, answer_limit: int, /) -> bytes:
        """Write a request of the gateway's own."""

    def head(self, request: Request, messages: int, /) -> bytes:
        """Write a request that begins as this one does, up to its first `messages`, and asks for next to nothing."""

    def message(self, request: Request, index: int, changes: Changes | None = None, /) -> bytes:
        """Return a message as it came, or as the changes leave it."""

    def is_limited(self, request: Request, /) -> bool:
        """Whether the client said how long its answer may be, in any way."""

    def may_reword(self, request: Request, index: int, texts: Mapping[int, str], /) -> bool:
        """Whether new texts can take the place of those of parts of a message, by their number."""

    # ------------------------------------------------------------ tools

    def tools(self, request: Request, /) -> list[Tool]:
        """List the tools that can be left out one by one."""

    def with_tools(self, request: Request, stay: Sequence[int], memo: Memo, /) -> Request:
        """Return the request with these of its tools alone, by index."""

    # ------------------------------------------------------------ prompt caches

    def markers(self, request: Request, index: int, changes: Changes | None = None, /) -> Sequence[Marker]:
        """List the client's markers on a message, as it came or as the changes leave it."""

    def may_mark(self, request: Request, index: int, form: MarkerForm, changes: Changes | None = None, /) -> bool:
        """Whether a marker of ours can stand at the end of a message."""

    def digest(self, request: Request, index: int, /) -> MessageDigest:
        """Return the digest of a message as it came."""

    def digest_left(self, raw: bytes, /) -> MessageDigest:
        """Return the digest of a message that `message` returned."""

    def digest_reworded(self, request: Request, index: int, text: str, /) -> MessageDigest:
        """Return the digest of a message whose content is replaced by a text."""

    def digest_inserted(self, text: str, /) -> MessageDigest:
        """Return the digest of a message that the gateway inserts."""

    def definitions_hash(self, texts: Sequence[str], /) -> int:
        """Return the hash of the definitions that stand before the messages."""

    def setting(self, request: Request, kind: Setting, /) -> int:
        """Return the hash of a setting by which providers keep requests apart; 0 if there is none."""

    # ------------------------------------------------------------ answers

    def listen(self, *, streamed: bool, hold_back_usage: bool, secrets: Secrets) -> Listener:
        """Listen to an answer that was asked for as a stream, or whole.

        The event that states the usage of a stream is held back if the client did not ask for it.
        """

    def listen_to_chat(self, request: Request, *, secrets: Secrets) -> Listener:
        """Listen to a chat completion, streamed or whole, that answers a request in this shape.

        Its bytes are those of this shape's answer.
        """

    def error(self, error: GatewayError, request_id: str, /) -> bytes:
        """Write the body of an error."""

    def error_event(self, error: GatewayError, request_id: str, /) -> bytes:
        """Write the event that tells of an error after the first byte of a stream."""

    # ------------------------------------------------------------ processes

    def take_apart(self, request: Request, /) -> tuple[Request, array[int]]:
        """Return a request without its body and messages, which cross to another process apart, and some numbers."""

    def put_together(self, bare: Request, body: bytes, numbers: array[int], messages: Sequence[Message], /) -> Request:
        """Return the request that was taken apart."""


CHAT: Final[Shape] = Chat()
RESPONSES: Final[Shape] = Responses()
MESSAGES: Final[Shape] = Messages()

SHAPES: Final[Mapping[str, Shape]] = {shape.name: shape for shape in (CHAT, RESPONSES, MESSAGES)}
"""By `Request.shape`."""

BY_PATH: Final[Mapping[str, Shape]] = {PATHS[shape.name]: shape for shape in SHAPES.values()}
"""By the path that clients ask at, with and without `/v1`."""

OWN: Final = CHAT
"""The shape of requests that the gateway makes for itself, of recorded traffic, and of files."""


def shape_of(request: Request) -> Shape:
    """Return the shape that a request came in."""
    return SHAPES[request.shape]
