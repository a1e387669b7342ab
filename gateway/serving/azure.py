"""A client that speaks to Azure: the model stands in the path of its requests."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from gateway.budget.tokens import LONG_BODY
from gateway.serving.client import HTTPClient, Room
from gateway.wire.azure import with_model


class AzureClient(HTTPClient):
    """A client over ASGI whose path names the model, as `name`."""

    __slots__ = ("_model",)

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._model: str = scope["path_params"]["name"]

    async def body(self, most: int, room: Room | None = None) -> bytes:
        """Read the body, and have it name the model of the path."""
        body = await super().body(most, room)
        if len(body) < LONG_BODY:
            return with_model(body, self._model)
        return await asyncio.to_thread(with_model, body, self._model)
