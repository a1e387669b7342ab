"""Responses as a wire shape: the functions of this folder under the names of `gateway.wire.shape.Shape`."""

from __future__ import annotations

from typing import Final

from gateway.request import Request
from gateway.wire.chat_answers import ChatListener
from gateway.wire.errors import error_body
from gateway.wire.responses.crossing import put_together, take_apart
from gateway.wire.responses.errors import error_events
from gateway.wire.responses.from_chat import Translation
from gateway.wire.responses.head import alone
from gateway.wire.responses.meaning import (
    definitions_hash,
    digest,
    digest_inserted,
    digest_left,
    digest_reworded,
    setting,
)
from gateway.wire.responses.opening import ResponseOpening
from gateway.wire.responses.read import NAME, parse
from gateway.wire.responses.to_chat import as_chat, member_unsaid
from gateway.wire.responses.tools import tools_of, with_tools
from gateway.wire.responses.write import is_limited, markers_left, may_mark, may_reword, message_bytes, question, sent
from gateway.wire.secrets import Secrets


class Responses:
    """The shape of OpenAI's Responses."""

    name: Final = NAME
    end: Final = b""

    read = staticmethod(parse)
    write = staticmethod(sent)
    untranslatable = staticmethod(member_unsaid)
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

    listen = staticmethod(ResponseOpening)

    def listen_to_chat(self, request: Request, *, secrets: Secrets) -> ChatListener:
        return ChatListener(Translation(request), streamed=request.stream, secrets=secrets)

    error = staticmethod(error_body)
    error_event = staticmethod(error_events)

    take_apart = staticmethod(take_apart)
    put_together = staticmethod(put_together)
