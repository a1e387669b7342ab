"""What Anthropic's clients ask for beside messages: the count of a prompt, and models as their own list has them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.budget.tokens import LONG_BODY
from gateway.config.wildcards import is_pattern
from gateway.serving.admission import admitted_model, authenticate
from gateway.serving.client import Client, Headers, HTTPClient
from gateway.serving.fit import prompt_tokens
from gateway.serving.services import Gateway
from gateway.wire.shape import MESSAGES

MOST_LISTED: Final = 1_000
"""Models of one page (platform.claude.com/docs/en/api/models/list, `limit`)."""
_CREATED: Final = "1970-01-01T00:00:00Z"


class MessagesClient(HTTPClient):
    """A client over ASGI that looks for our id where Anthropic has its own."""

    __slots__ = ()

    async def start(self, status: int, headers: Headers) -> None:
        """Begin the response, with our id as `request-id` too."""
        ours = [(b"request-id", value) for name, value in headers if name == b"x-request-id"]
        await super().start(status, [*headers, *ours])


async def count_prompt(gateway: Gateway, client: Client) -> dict[str, int]:
    """Count a prompt as it came, as a plan counts it. Nothing is sent anywhere, and nothing is entered.

    Raises GatewayError for who may not ask, and for what is no request.
    """
    caller = authenticate(gateway.keys, client, gateway.now(), "messages")
    body = await client.body(gateway.config.server.max_body)
    if len(body) < LONG_BODY:
        request = MESSAGES.read(body, gateway.memo)
    else:
        threads = gateway.planning.of(caller.key, len(body))
        request = await asyncio.get_running_loop().run_in_executor(threads, MESSAGES.read, body, gateway.memo)
    model = admitted_model(gateway.models, caller, request.model, "chat")
    counter = gateway.counters.for_encoding(model.encoding).weighed(gateway.calibrations.of(model).weights)
    return {"input_tokens": await prompt_tokens(request, model, counter)}


def in_their_form(listed: Sequence[Mapping[str, Any]], query: bytes) -> dict[str, Any]:
    """Write a list of models as Anthropic does, the page of it that the query asks for."""
    asked = dict(parse_qsl(query.decode("latin-1")))
    models = [described_as_theirs(one) for one in listed if not is_pattern(str(one["id"]))]
    names = [one["id"] for one in models]
    limit = int(asked["limit"]) if asked.get("limit", "").isdecimal() and len(asked["limit"]) < 8 else MOST_LISTED
    limit = min(max(limit, 1), MOST_LISTED)
    if (before := asked.get("before_id")) in names:
        at = names.index(str(before))
        page, more = models[max(0, at - limit) : at], at > limit
    else:
        after = asked.get("after_id")
        at = names.index(str(after)) + 1 if after in names else 0
        page, more = models[at : at + limit], at + limit < len(models)
    ends = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return {"data": page, "has_more": more, "first_id": ends[0], "last_id": ends[1]}


def described_as_theirs(one: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a model as Anthropic does (platform.claude.com/docs/en/api/models)."""
    told = {"type": "model", "id": one["id"], "display_name": one["id"], "created_at": _CREATED}
    limits = {"max_input_tokens": one.get("context_window"), "max_tokens": one.get("max_completion_tokens")}
    return told | {name: number for name, number in limits.items() if number is not None}
