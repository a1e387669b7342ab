"""Messages as a wire shape: the functions of this folder under the names of `gateway.wire.shape.Shape`."""

from __future__ import annotations

from typing import Final

from gateway.request import Request
from gateway.wire.chat_answers import ChatListener
from gateway.wire.messages.composing import STOP
from gateway.wire.messages.crossing import put_together, take_apart
from gateway.wire.messages.errors import write_body, write_event
from gateway.wire.messages.from_chat import Translation
from gateway.wire.messages.head import alone
from gateway.wire.messages.meaning import (
    definitions_hash,
    digest,
    digest_inserted,
    digest_left,
    digest_reworded,
    setting,
)
from gateway.wire.messages.opening import MessageOpening
from gateway.wire.messages.read import NAME, parse
from gateway.wire.messages.to_chat import as_chat, unsaid_member
from gateway.wire.messages.tools import tools_of, with_tools
from gateway.wire.messages.write import is_limited, markers_left, may_mark, may_reword, message_bytes, question, sent
from gateway.wire.secrets import Secrets


class Messages:
    """The shape of Anthropic's Messages."""

    name: Final = NAME
    end: Final = STOP

    read = staticmethod(parse)
    write = staticmethod(sent)
    untranslatable = staticmethod(unsaid_member)
    as_chat = staticmethod(as_chat)
    ask = staticmethod(question)
    head = staticmethod(alone)
    message = staticmethod(message_bytes)
    is_limited = staticmethod(is_limited)
    may_reword = staticmethod(may_reword)

    tools = staticmethod(tools_of)
    with_tools = staticmethod(with_tools)

    markers = staticmethod(markers_left)
    may_mark = staticmethod(may_mark)
    digest = staticmethod(digest)
    digest_left = staticmethod(digest_left)
    digest_reworded = staticmethod(digest_reworded)
    digest_inserted = staticmethod(digest_inserted)
    definitions_hash = staticmethod(definitions_hash)
    setting = staticmethod(setting)

    listen = staticmethod(MessageOpening)
    error = staticmethod(write_body)
    error_event = staticmethod(write_event)

    def listen_to_chat(self, request: Request, *, secrets: Secrets) -> ChatListener:
        return ChatListener(Translation(request), streamed=request.stream, secrets=secrets)

    take_apart = staticmethod(take_apart)
    put_together = staticmethod(put_together)
