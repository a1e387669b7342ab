"""The credentials among the values that a deployment is declared with: they must never be quoted. Pure.

A parameter is one by its name. A header is one unless its name is known to hold something else: headers that a list
adds for a proxy of its own mostly sign in somewhere, under names of somebody's choice.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.config.addresses import parse_address
from gateway.wire.secrets import Secrets

if TYPE_CHECKING:
    from gateway.config import Config

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ENDS: Final = ("key", "token", "secret", "password", "passwd", "passphrase", "credential", "credentials", "jwt",
                "authorization", "cookie", "signature", "bearer")  # fmt: skip
"""Endings of a word in the name of a credential, as of `apikey` and `api_key`."""
_ABOUT: Final = frozenset({"type", "uri", "url"})
"""Last words of a name that only says something of a credential, as `token_type` and `token_uri` do."""
_IN_QUERIES: Final = frozenset({"sig", "code"})
"""Names of secrets in addresses beyond those, as Azure's storage and functions use."""

_SCHEME: Final = re.compile(r"(?i:bearer|basic|token|apikey|api-key|key|digest|aws4-[a-z0-9-]+)[ ]+")

PUBLIC: Final = frozenset(
    """
    accept accept-encoding accept-language connection content-length content-type host http-referer openai-beta
    openai-organization openai-project anthropic-beta anthropic-version referer user-agent x-anthropic-beta
    x-client-request-id x-openrouter-categories x-openrouter-title x-request-id x-title editor-version
    editor-plugin-version copilot-integration-id
    """.split()  # noqa: SIM905  # read better than strings
)
"""Headers that hold no credential. Their values stand in errors that a client should read."""


@lru_cache(maxsize=512)
def is_credential(name: str) -> bool:
    """Whether a name is that of a credential."""
    words = [word.lower() for word in _WORD.findall(name)]
    return bool(words) and words[-1] not in _ABOUT and any(word.endswith(_ENDS) for word in words)


def credentials(api_key: str | None, api_base: str | None, params: Mapping[str, Any]) -> Iterator[str]:
    """Yield every credential of a deployment, of any length."""
    if api_key:
        yield api_key
    yield from _of_address(api_base or "")
    for name, value in params.items():
        if name in ("headers", "extra_headers") and isinstance(value, Mapping):
            yield from _of_headers(value)
        else:
            yield from _of_value(value, named=is_credential(name))


def every(config: Config) -> Secrets:
    """Return all that a log must not hold of a configuration: its entries' credentials, providers' keys of the
    environment, passwords of proxies and of Redis, headers for a collector.
    """
    found = [*config.usual_keys.values(), *config.otel.headers.values()]
    for entry in config.models:
        api_base = entry.params.get("api_base") or entry.params.get("base_url")
        found += credentials(str(entry.params.get("api_key") or ""), str(api_base or ""), entry.params)
    return Secrets([*found, *logins((*config.network.proxies, config.state.redis or ""))])


def logins(addresses: Iterable[str]) -> Iterator[str]:
    """Yield the passwords in the addresses of servers of any kind."""
    for address in addresses:
        password = address.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]
        yield from filter(None, {password, _unquoted(password)})


def signatures(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the credentials among the headers of a request, as a library made them: its tokens and signatures."""
    for name, value in headers.items():
        if is_credential(name):
            yield from _of_header(value)


def _of_address(address: str) -> Iterator[str]:
    parts = parse_address(address)
    if parts is None:
        return
    user, colon, password = parts.authority.rpartition("@")[0].partition(":")
    login = password if colon else user
    yield from filter(None, {login, _unquoted(login)})
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if is_credential(name) or name.lower() in _IN_QUERIES:
            yield from filter(None, {value, _unquoted(value)})


def _of_headers(headers: Mapping[str, Any]) -> Iterator[str]:
    for name, value in headers.items():
        if str(name).lower() in PUBLIC:
            continue
        if is_credential(str(name)) or not any(char.isspace() for char in _SCHEME.sub("", str(value).strip(), 1)):
            yield from _of_header(str(value).strip())


def _of_header(value: str) -> Iterator[str]:
    """Yield what a header signs in with: without its scheme; of `Basic`, the password; of a signature, its parts."""
    scheme = _SCHEME.match(value)
    rest = value if scheme is None else value[scheme.end() :].strip()
    yield rest
    if scheme is not None and scheme[0].lower().startswith("basic"):
        yield _decoded(rest).partition(":")[2]
    if ", " in rest or "," in rest:
        yield from (part.strip().partition("=")[2] for part in rest.split(","))


def _of_value(value: Any, *, named: bool) -> Iterator[str]:
    """Yield the credentials in a value: itself where it is named as one, and whatever in it is."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _of_value(inner, named=is_credential(str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _of_value(inner, named=named)
    elif isinstance(value, str | int) and not isinstance(value, bool) and named:
        yield str(value)
        yield from _of_value(_document(str(value)), named=False)


def _document(text: str) -> Any:
    """Read a credential that is a document, as a service account's is; None where it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _unquoted(text: str) -> str:
    """Undo the escapes of an address."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    return raw.decode("utf-8", "replace")
