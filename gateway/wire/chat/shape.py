"""Chat completions as a wire shape: the functions of this folder under the names of `gateway.wire.shape.Shape`."""

from __future__ import annotations

from typing import Final

from gateway.request import Request
from gateway.wire.chat.crossing import put_together, take_apart
from gateway.wire.chat.head import alone
from gateway.wire.chat.meaning import (
    definitions_hash,
    digest,
    digest_inserted,
    digest_left,
    digest_reworded,
    setting,
)
from gateway.wire.chat.opening import Opening
from gateway.wire.chat.read import NAME, parse
from gateway.wire.chat.relay import DONE, error_event
from gateway.wire.chat.tools import tools_of, with_tools
from gateway.wire.chat.write import is_limited, markers_left, may_mark, may_reword, message_bytes, question, sent
from gateway.wire.errors import error_body
from gateway.wire.secrets import Secrets


class Chat:
    """The shape of OpenAI's chat completions."""

    name: Final = NAME
    end = DONE

    read = staticmethod(parse)
    write = staticmethod(sent)
    as_chat = staticmethod(sent)
    ask = staticmethod(question)
    head = staticmethod(alone)
    message = staticmethod(message_bytes)
    is_limited = staticmethod(is_limited)
    may_reword = staticmethod(may_reword)

    def untranslatable(self, _request: Request) -> None:
        return None

    def listen_to_chat(self, request: Request, *, secrets: Secrets) -> Opening:
        return Opening(streamed=request.stream, hold_back_usage=not request.asks_usage, secrets=secrets)

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

    listen = staticmethod(Opening)
    error = staticmethod(error_body)
    error_event = staticmethod(error_event)

    take_apart = staticmethod(take_apart)
    put_together = staticmethod(put_together)
