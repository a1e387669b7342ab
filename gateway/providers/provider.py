"""A provider: the facts of one company's API, whichever model it serves. Pure.

`table.py` lists every provider. One of whom more is known than an address has a file of its own, with the sources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from gateway.providers.family import Family
from gateway.wire.foreign import Reception
from gateway.wire.legality import Rules
from gateway.wire.operations import Operation

Route = Literal["direct", "translated", "signed"]
"""Bytes kept; through litellm; bytes kept under an address and a signature that are made for each request."""


class StreamReader(Protocol):
    """Something that turns the bytes of a provider's stream into those that litellm reads."""

    def feed(self, part: bytes) -> bytes: ...
    def end(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """The members of a body that a cloud wants otherwise than the maker of the model."""

    cloud: Literal["aws", "google"]
    """Signs the request."""
    version: str
    """Of the API, which the body names."""
    taken_out: frozenset[str]
    """Members that stand in the address instead."""
    holds_betas: bool = False
    """Whether the values of `anthropic-beta` stand in the body, in place of the header."""
    edits: frozenset[str] | None = None
    """Types of context edits that it takes; None for all. It would refuse the request for any other."""


@dataclass(frozen=True, slots=True)
class Billing:
    """The names and rules under which the price table holds what a provider charges."""

    owners: tuple[str, ...] = ()
    """Other providers whose entries are this one's too; `bedrock*` stands for all that begin so, `*` for everybody."""
    routes: tuple[str, ...] = ()
    """Beginnings of model names that say by which API the provider is asked, not what is billed."""
    makers: Mapping[str, str] | None = None
    """Of a router: makers whose names it writes otherwise than the table. None: no router."""
    geography: re.Pattern[str] | None = None
    """The form of a geography before a model's name, which has no price of its own."""
    reaches_at_threshold: bool = False
    """Whether a prompt of exactly a threshold has the price above it."""
    cached_divisor: int | None = None
    """The plain input price divided by it is the price of a cached token, where the table says nothing."""
    has_modifiers: bool = False
    """Whether what the table holds as specific to the provider are factors of prices."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The facts of one API. A fact that is left out is as for a server that speaks chat completions."""

    route: Route
    home: str | None = None
    """The address, where the list names none. None: it must be named, or litellm works it out from the parameters."""
    tail: str = "/chat/completions"
    """The rest of the path, behind the address; an overlap with the address is written once."""
    key_headers: tuple[str, ...] = ()
    """Headers that carry the key in place of `Authorization: Bearer`, or beside it where that is listed too."""
    usual_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that its API wants, in lower case, where the client sends none of that name."""
    model_prefix: str = ""
    """Written before a model name that has no `/`."""
    wants: tuple[str, ...] = ()
    """Parameters of which one must be given."""
    hint: str = ""
    """The form of such a parameter."""
    modules: tuple[str, ...] = ()
    """Modules that must be installed."""
    package: str = ""
    """The distribution that they come from."""
    extra: str = ""
    """Our extra that installs it."""
    host: str = ""
    """Its own host beside that of `home`, as its documentation names it."""
    is_own_anywhere: bool = False
    """Whether it is the provider itself that answers at any address that a list names."""
    operations: frozenset[Operation] = frozenset()
    """The operations beside chat that are translated to it, each of them tried against what its documentation says
    (tests/test_translated_vectors.py)."""
    beside_chat: Provider | None = None
    """The way to its other operations, where its chats are translated and those are OpenAI's."""
    speaks: Mapping[Operation, Provider] = field(default_factory=dict)
    """The ways to it in other shapes than chat completions, by the shape's name. A conversation in a shape that is not
    listed goes to it as a chat."""
    envelope: Envelope | None = None
    """The members that differ, of one whose requests are signed."""
    at_an_address: Provider | None = None
    """The way to it where an address is given: an engine or a proxy of one's own."""
    keyless: bool = False
    """Whether whoever uses it also runs it, often without a key."""
    key_variables: tuple[str, ...] | None = None
    """Variables that its key is looked for in, the first before the others; None: see `key_variables.py`."""
    own_parameters: frozenset[str] = frozenset()
    """Keys of its own that are acted on where it is reached directly (`addresses.py`)."""
    refused_models: Mapping[str, str] = field(default_factory=dict)
    """Beginnings of model names that lead to another of its services, and why they are refused."""
    translated_models: str = ""
    """The beginning of names of models that another API of its own serves, to which litellm translates."""
    names_servers: bool = False
    """Whether a name of three parts says who serves the model: `SERVER/OWNER/MODEL` is `OWNER/MODEL:SERVER` there."""
    always_reasons: str = ""
    """Part of the names of its models that reason unasked, where litellm would write into the prompt how to."""
    ignores_effort: bool = False
    """Whether it passes over an effort of reasoning that the model does not take."""
    takes_newest_limit: bool = False
    """Whether all its models take the newer of the two names of an answer limit, and the newest no other."""
    renamed: tuple[str, ...] = ()
    """Beginnings of model names that a list may hold and that are not sent."""
    family: Family | None = None
    """The family of models whose names do not say one."""
    legality: Rules | None = None
    """The rules of its API, whatever the model. None: those of the model's family."""
    takes: Reception | None = None
    """The traces of others' answers that its API takes, whatever the model. None: see `families.reception`."""
    takes_otherwise: Reception | None = None
    """The traces that it takes for models whose family does not say."""
    headers: frozenset[str] = frozenset()
    """Headers of clients that it defines, in lower case: they go along to it."""
    betas: Mapping[str, str] | None = field(default_factory=dict)
    """Beginnings of model names, and the provider under which litellm lists the values of `anthropic-beta` that are
    taken; the provider itself where none fits. None: the API judges them itself."""
    answers_limited: bool = False
    """Whether litellm makes up an answer limit where a request names none."""
    counts_as_we_do: bool = False
    """Whether its counts are made with our counter."""
    states_its_bill: bool = False
    """Whether `usage.cost` of its answers is what it takes for them."""
    fetches: tuple[str, ...] = ()
    """Beginnings of URLs in messages that it fetches itself: litellm hands these on as they are."""
    end_marker: bytes | None = None
    """The mark for the end of its stream, where litellm takes an early close of the connection for one."""
    writes_tools: bool = False
    """Whether litellm writes tools into its prompt."""
    stream_reader: Callable[[], StreamReader] | None = None
    """Makes a reader for its streams, where they are read by nobody as they come."""
    billing: Billing = Billing()

    def takes_effort(self, reasons: bool | None, *, at_home: bool) -> bool:
        """Whether a model of it may be told how much to reason; `reasons` is None where nobody knows that of it.

        Engines take it of every model. Providers refuse it of one that does not reason: "Unrecognized request argument
        supplied: reasoning_effort" (github.com/generative-computing/mellea/issues/270).
        """
        if self.ignores_effort:
            return True
        return not (self.is_own_anywhere or at_home) if reasons is None else reasons


EMBEDDINGS: Final[frozenset[Operation]] = frozenset({"embeddings"})

BASE: Final = ("api_base", "base_url")
"""The parameters that name an address."""

LOCAL: Final = "http://127.0.0.1:8000/v1"
V1: Final = "/v1/chat/completions"


def direct(home: str | None, tail: str = "/chat/completions", **facts: Any) -> Provider:
    """Return a provider that speaks chat completions; without a home its address must be named."""
    return Provider("direct", home, tail, wants=() if home else BASE, **facts)
