"""Addresses that are told of events, as a configuration declares them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass as declared

from gateway.config.fields import STRICT

MOST_WEBHOOKS: Final = 5
_LEAST_SECRET: Final = 16
_PREFIX: Final = "whsec_"


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.username is not None or any(not "!" <= char <= "~" for char in value):
        raise ValueError("is not the address of a webhook; write http://… or https://…, without a user in it")
    return value


def _secret(value: str) -> str:
    if value.startswith(_PREFIX):
        try:
            length = len(base64.b64decode(value.removeprefix(_PREFIX), validate=True))
        except (ValueError, binascii.Error):
            raise ValueError(f"begins with {_PREFIX} and is no base64 behind it") from None
    else:
        length = len(value.encode())
    if length < _LEAST_SECRET:
        raise ValueError(
            f"is too short; a secret has at least {_LEAST_SECRET} bytes, as `openssl rand -base64 32` makes"
        )
    return value


def _none_as_none(value: Any) -> Any:
    return () if value is None else value


def _not_too_many(hooks: Sequence[Any]) -> Any:
    if len(hooks) > MOST_WEBHOOKS:
        raise ValueError(f"has {len(hooks)} entries; at most {MOST_WEBHOOKS}")
    return hooks


@declared(config=STRICT, frozen=True, slots=True)
class Webhook:
    """An address that is told once of each soft budget that is passed."""

    url: Annotated[str, AfterValidator(_address)] = Field(repr=False, description="Where to, http:// or https://.")
    secret: Annotated[str, AfterValidator(_secret)] = Field(
        repr=False, description="What signs each message: at least 16 bytes, or whsec_ and base64."
    )

    @property
    def signing_key(self) -> bytes:
        """Return the bytes that sign."""
        is_encoded = self.secret.startswith(_PREFIX)
        return base64.b64decode(self.secret.removeprefix(_PREFIX)) if is_encoded else self.secret.encode()

    @property
    def host(self) -> str:
        """Return the part of the address that may be logged: paths of webhooks are often secrets."""
        return urlsplit(self.url).hostname or ""


Webhooks = Annotated[
    tuple[Webhook, ...],
    BeforeValidator(_none_as_none),
    AfterValidator(_not_too_many),
    Field(json_schema_extra={"maxItems": MOST_WEBHOOKS}),
]
