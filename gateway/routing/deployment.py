"""A deployment: a model at one provider under one credential, as a frozen value, and how the config becomes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from gateway.budget.tokens import encoding_for
from gateway.config.addresses import parse_address
from gateway.config.litellm_keys import (
    BY_LIBRARY,
    CLIENTS,
    DEFAULTS,
    INFO_IN_PARAMS,
    LIMITS,
    OURS,
    WITHOUT_EFFECT,
)
from gateway.config.prompt_cache_rules import shipped_rules
from gateway.config.wildcards import filled
from gateway.money.prices.entries import PriceError, is_price
from gateway.money.prices.names import region_of
from gateway.money.prices.rates import Price
from gateway.money.prices.table import PriceBook
from gateway.packaged_data import anthropic_betas
from gateway.prompt_cache.rules import NOTHING, Book, CacheFacts, book_of, priced
from gateway.providers import refusals
from gateway.providers.credentials import credentials, logins
from gateway.providers.families import FAMILIES, family_of, reception
from gateway.providers.family import Encoding
from gateway.providers.key_variables import usual_variables
from gateway.providers.provider import Provider
from gateway.providers.spoken import UnknownShape, ways_to
from gateway.providers.table import PROVIDERS, provider_of
from gateway.routing.rates import DeploymentRates, RateError, rates_of
from gateway.wire.foreign import Reception
from gateway.wire.headers import NEVER
from gateway.wire.operations import Operation, operation_of
from gateway.wire.outgoing import PLAIN, Additions, ChatForm
from gateway.wire.secrets import Secrets

if TYPE_CHECKING:
    from gateway.config import Config, ModelEntry

Kind = Literal["direct", "translated", "signed", "demo"]

DEFAULT_TIMEOUT: Final = 600.0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts of a model that budgets need."""

    provider: str
    model: str
    window: int | None
    """The most tokens a request may have; None where nobody says."""
    max_output: int | None
    shared: bool
    """Whether input and output share the window."""
    encoding: Encoding
    exact: bool
    """Whether that encoding is the model's own."""
    thinks_unasked: bool = False
    """Whether it may think before it answers where the request says nothing of it."""
    streams: bool = True
    """Whether its answers come as they are written."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `model_list`, resolved."""

    name: str
    """Unique: "gpt-5#0:openai/gpt-5"."""
    model_name: str
    """The name that clients ask for."""
    provider: str
    model: str
    """The name that the upstream is asked for."""
    kind: Kind
    facts: ModelFacts
    price: Price | None
    """None: unpriced."""
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 600.0
    """Seconds of silence after which a call is given up."""
    weight: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The rest of `litellm_params`; may hold credentials, so it is never shown."""
    cache: CacheFacts = NOTHING
    """The rules of the provider's prompt cache for this model."""
    order: int | None = None
    """Those of its name with a lower number are asked first, those without one last."""
    keyless: bool = False
    """Whether the configuration says that no key is sent."""
    key_from: str | None = None
    """The environment variable that `api_key` was taken from without being named."""
    additions: Additions = PLAIN
    """Members that the bodies of its requests hold beyond the client's, and those that they do not hold."""
    answer_limit: int | None = None
    """Of the defaults among them: how long an answer may be."""
    mode: str = "chat"
    """The model's purpose, in the words of the price table."""
    operation: Operation | None = "chat"
    """The operation that it is asked for; None where its mode is none that is served."""
    takes_any_provider: bool = False
    """Whether the client's name says which provider is asked."""
    pattern: str | None = None
    """The name with asterisks that the client's name was found under."""
    forward_headers: tuple[str, ...] = ()
    """Headers of clients that go along besides those that the provider defines, in lower case; `x-team-*` is all that
    begin so."""
    betas: frozenset[str] | None = None
    """The values of `anthropic-beta` that it takes; None where the provider judges them itself."""
    ways: Mapping[Operation, Provider] = field(default_factory=dict, repr=False)
    """The ways to it in other shapes than chat completions, by the shape's name."""
    rates: DeploymentRates | None = None
    proxies: tuple[str, ...] = field(default=(), repr=False)
    """Through which it may be reached; they may hold passwords."""
    secrets: Secrets = field(init=False, repr=False, compare=False)
    """Its credentials and those of the proxies, to be taken out of what comes from it."""
    _spoken: Mapping[str, Deployment] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = credentials(self.api_key, self.api_base, self.params)
        object.__setattr__(self, "secrets", Secrets([*own, *logins(self.proxies)]))
        object.__setattr__(self, "_spoken", {shape: self._by(shape, way) for shape, way in self.ways.items()})

    def _by(self, shape: Operation, way: Provider) -> Deployment:
        model = self.model
        if self.kind == "translated" and way.route == "direct":  # its name says that litellm is to ask this very API
            model = model.removeprefix(provider_of(self.provider).translated_models)
        base = self.api_base or way.home
        betas = anthropic_betas(way.betas[""]) if way.betas else self.betas
        return replace(self, kind=way.route, model=model, api_base=base, operation=shape, betas=betas, ways={})

    def spoken(self, shape: str) -> Deployment | None:
        """Return this deployment as one that is asked in a shape; None where it has to be asked for a chat instead."""
        return self if shape == "chat" else self._spoken.get(shape)

    @property
    def is_chat(self) -> bool:
        return self.operation == "chat"

    @property
    def is_served(self) -> bool:
        """Whether the way to its provider has the operation."""
        return self.operation is not None and has_operation(self.kind, self.provider, self.operation)

    def asked_for(self, operation: Operation) -> Deployment:
        """Return this deployment as one that is asked for another operation, with a health of its own: a model may
        answer under one path alone.
        """
        return replace(self, name=f"{self.name}/{operation}", operation=operation)

    @property
    def is_providers_own(self) -> bool:
        """Whether it is the provider itself that answers, and takes all that its documentation says: not an engine or
        a proxy that speaks the same API.
        """
        return self._is_own_anywhere or _is_home(self.provider, self.api_base)

    @property
    def _is_own_anywhere(self) -> bool:
        return self.kind == "demo" or provider_of(self.provider).is_own_anywhere

    @property
    def needs_answer_limit(self) -> bool:
        """Whether every request must say how long its answer may be: the API asks for it, or litellm makes one up."""
        if self.kind != "translated" or self.answer_limit is not None:
            return False
        facts, family = provider_of(self.provider), family_of(self.provider, self.model)
        return facts.answers_limited or family.answers_limited

    @property
    def own_headers(self) -> frozenset[str]:
        """Headers of clients that its provider defines."""
        return provider_of(self.provider).headers

    @property
    def states_its_bill(self) -> bool:
        """Whether `usage.cost` of its answers is what its provider takes for them (wire/usage.py)."""
        return provider_of(self.provider).states_its_bill or _states_its_bill(self.api_base)


def has_operation(kind: Kind, provider: str, operation: Operation) -> bool:
    """Whether the way to a provider has an operation: the paths beside it where it is reached directly, or what is
    translated.
    """
    return kind != "translated" or operation == "chat" or operation in provider_of(provider).operations


class Unservable(ValueError):
    """Entries of `model_list` that cannot become deployments, all of them at once."""

    def __init__(self, complaints: Sequence[tuple[int | None, tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, _, message in complaints))
        self.complaints: Final = tuple(complaints)
        """Line, key path and what is wrong, for each."""


def provider_and_model(params: Mapping[str, Any]) -> tuple[str, str]:
    """Split `model` as LiteLLM does: `provider/model`; without a provider, the one whose name is plain from it."""
    model = str(params.get("model", ""))
    named = params.get("custom_llm_provider")
    if named:
        return str(named), model.removeprefix(f"{named}/")
    provider, slash, rest = model.partition("/")
    if slash:
        return provider, rest
    plain = (family.plain for family in FAMILIES if family.plain is not None)
    return next((owner for start, owner in plain if model.startswith(start)), "openai"), model


def deployments(config: Config, price_book: PriceBook) -> Mapping[str, tuple[Deployment, ...]]:
    """Return the deployments of each model name, in the file's order. Raises `Unservable`."""
    caches = book_of(shipped_rules(), config.prompt_caches)
    found: dict[str, list[Deployment]] = {}
    complaints: list[tuple[int | None, tuple[str | int, ...], str]] = []
    for index, entry in enumerate(config.models):
        same_name = found.setdefault(entry.model_name, [])
        try:
            same_name.append(_deployment(entry, len(same_name), price_book, caches, config))
        except PriceError as error:
            complaints.append((entry.line, ("model_list", index, "model_info"), str(error)))
        except (_Complaint, RateError) as error:
            complaints.append((entry.line, ("model_list", index, "litellm_params", error.key), str(error)))
    if complaints:
        raise Unservable(complaints)
    return {name: tuple(group) for name, group in found.items()}


def under_pattern(
    config: Config, pattern: str, name: str, parts: tuple[str, ...], price_book: PriceBook
) -> tuple[Deployment, ...]:
    """Return the deployments of a name that a pattern covers, `parts` being what its asterisks stand for.

    They keep the labels of their entries, with the provider where that is the client's choice: what a client makes up
    names nothing in logs, rests and reports, and the fault of one provider's key is no other's. An entry
    that cannot serve this name is left out.
    """
    caches, out = book_of(shipped_rules(), config.prompt_caches), []
    for position, entry in enumerate(one for one in config.models if one.model_name == pattern):
        asked = replace(entry, params={**entry.params, "model": filled(str(entry.params["model"]), parts)})
        try:
            made = _deployment(asked, position, price_book, caches, config)
        except (PriceError, _Complaint, RateError):
            continue
        anyone = is_any_provider(entry.params)
        label = f"{_label(entry, position)}:{made.provider}" if anyone else _label(entry, position)
        out.append(replace(made, name=label, model_name=name, takes_any_provider=anyone, pattern=pattern))
    return tuple(out)


def _label(entry: ModelEntry, position: int) -> str:
    provider, model = provider_and_model(entry.params)
    anyone = is_any_provider(entry.params)
    return f"{entry.model_name}#{position}:{model if anyone else f'{provider}/{model}'}"


def needs_no_key(one: Deployment) -> bool:
    """Whether nothing is missing where a deployment has no key: it said so, or many such servers want none."""
    told = one.kind == "demo" or provider_of(one.provider).keyless or one.takes_any_provider
    return told or one.keyless


def is_any_provider(params: Mapping[str, Any]) -> bool:
    """Whether the client's name says which provider is asked."""
    return str(params.get("model", "")).startswith("*") and not params.get("custom_llm_provider")


def facts_of(provider: str, model: str, book: PriceBook, overrides: Mapping[str, Any] | None = None) -> ModelFacts:
    """Gather what the price table, the config and the names say of a model."""
    known = book.facts(provider, model, overrides)
    encoding, exact = encoding_for(provider, model)
    return ModelFacts(
        provider=provider,
        model=model,
        window=known.max_input_tokens,
        max_output=known.max_output_tokens,
        shared=family_of(provider, model).shares_window(model, known.max_input_tokens),
        encoding=encoding,
        exact=exact,
        thinks_unasked=known.reasons is True and family_of(provider, model).thinks_unasked(model),
        streams=known.streams,
    )


class _Complaint(ValueError):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key: Final = key


_NOT_PASSED: Final = (OURS | DEFAULTS | WITHOUT_EFFECT.keys()) - {
    *("headers", "extra_headers", "organization", "cache_tokens", "additional_drop_params")
}


def _deployment(entry: ModelEntry, position: int, book: PriceBook, caches: Book, config: Config) -> Deployment:
    params, info = entry.params, _info(entry)
    provider, model = provider_and_model(params)
    given = params.get("api_base") or params.get("base_url")
    facts = book.facts(provider, model, info)
    operation = operation_of(facts.mode or "chat")
    kind, reached = _route(provider, model, given, operation)
    _refuse(provider, model, reached, params)
    api_base = str(given) if given else reached.home
    if "*" in model and "*" not in entry.model_name:
        raise _Complaint("model", f"{model!r} has an asterisk and model_name has none: nothing says what it stands for")
    key, key_from = _key(params, provider, kind, config.usual_keys)
    if kind == "direct":
        _refuse_address(provider, api_base, key)
    if _sends_key_anywhere(params, given):
        raise _Complaint("api_key", "one key for every provider: name the provider (openai/*), or leave api_key out "
                         "and each provider's usual variable is used")  # fmt: skip
    ordered = params if "order" in params else info
    price = book.price(provider, model, info, region_of(api_base, _text(params.get("vertex_location"))))
    newest_limit = reached.takes_newest_limit and _is_home(provider, api_base)
    body = _Body.of(params, kind, reception(provider, model), newest_limit=newest_limit)
    cache = _cache(provider, model, kind, api_base, caches)
    chats = ChatForm(
        is_claude=kind == "translated" and family_of(provider, model).takes_betas,
        takes_markers=cache.takes_anthropic_markers,
        limit=LIMITS[0] if newest_limit else LIMITS[1],
        takes_effort=kind == "translated"  # whose library leaves out what is not taken
        or provider_of(provider).takes_effort(facts.reasons, at_home=_is_home(provider, api_base)),
        most_answer=facts.max_output_tokens,
    )
    passed = {name: value for name, value in params.items() if name not in _NOT_PASSED and not is_price(name)}
    passed |= {name: params[name] for name in BY_LIBRARY & params.keys() if kind == "translated"}
    return Deployment(
        name=_label(entry, position),
        model_name=entry.model_name,
        provider=provider,
        model=_asked(model, reached, at_home=not given),
        kind=kind,
        facts=facts_of(provider, model, book, info),
        price=price,
        api_base=api_base,
        api_key=key,
        timeout=_number(params, "timeout", DEFAULT_TIMEOUT, above=0.0),
        weight=_number(params, "weight", 1.0, above=None),
        params=passed | ({"extra_body": body.foreign} if body.foreign else {}),
        cache=priced(cache, price),
        order=int(_number(ordered, "order", 0, above=None)) if ordered.get("order") is not None else None,
        keyless=str(params.get("api_key", "")).lower() == "none",
        key_from=key_from,
        additions=replace(body.additions, chats=chats),
        answer_limit=body.answer_limit,
        mode=facts.mode or "chat",
        operation=operation,
        takes_any_provider=is_any_provider(params),
        forward_headers=_forwarded(params.get("forward_headers")),
        betas=_betas(provider, model),
        ways=_ways(provider, model, api_base, params, info.get("speaks"), has_key=bool(key)),
        rates=rates_of(_label(entry, position), params),
        proxies=config.network.proxies,
    )


def _ways(
    provider: str, model: str, api_base: str | None, params: Mapping[str, Any], declared: object, *, has_key: bool
) -> Mapping[Operation, Provider]:
    """Return the ways to a deployment in other shapes than chat's."""
    facts = provider_of(provider)
    at_home = not api_base or facts.is_own_anywhere or facts.home is None or _is_home(provider, api_base)
    try:
        return ways_to(provider, model, api_base, params, declared, at_home=at_home, has_key=has_key)
    except UnknownShape as error:
        raise _Complaint("model", str(error)) from None


def _info(entry: ModelEntry) -> Mapping[str, Any]:
    """Return what an entry says of its model, prices and limits that stand among its parameters included."""
    told = {name: entry.params[name] for name in entry.params if name in INFO_IN_PARAMS or is_price(name)}
    return {**told, **entry.info} if told else entry.info


def _key(
    params: Mapping[str, Any], provider: str, kind: Kind, usual_keys: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return the credential, and the variable it is from where the entry does not name one."""
    given = params.get("api_key")
    here = next((name for name in usual_variables(provider) if name in usual_keys), None)
    if isinstance(given, str) and given.lower() == "none":
        if kind == "translated" and here is not None:
            raise _Complaint("api_key", f"none cannot be kept for {provider}, whose library reads {here} by itself: "
                             "unset that variable, or name a key")  # fmt: skip
        return None, None
    if given:
        return str(given), None
    if here is None or not OTHER_LOGIN.isdisjoint(params):
        return None, None
    return usual_keys[here], here


OTHER_LOGIN: Final = frozenset(
    {"azure_ad_token", "tenant_id", "client_id", "client_secret", "azure_username", "litellm_credential_name"}
)
"""Keys of an entry that logs in another way."""


def _refuse_address(provider: str, api_base: str | None, key: str | None) -> None:
    if not api_base:
        raise _Complaint("api_base", f"{provider} has no address of its own: name one")
    address = parse_address(api_base)
    if address is None:
        raise _Complaint("api_base", f"{api_base!r} is not an http(s) address")
    if address.has_login and key is not None:
        raise _Complaint("api_base", "holds a name and password, and a key is sent too: leave one of them out "
                         "(api_key: none sends none)")  # fmt: skip


def _sends_key_anywhere(params: Mapping[str, Any], given: object) -> bool:
    """Whether a key would go to whichever provider a client names."""
    return is_any_provider(params) and not given and str(params.get("api_key") or "none").lower() != "none"


@dataclass(frozen=True, slots=True)
class _Body:
    """The members of request bodies that an entry adds or removes."""

    additions: Additions
    foreign: Mapping[str, Any]
    """Of `extra_body`: what only the library that translates can put in its place."""
    answer_limit: int | None

    @staticmethod
    def of(params: Mapping[str, Any], kind: Kind, takes: Reception, *, newest_limit: bool) -> _Body:
        extra = params.get("extra_body") or {}
        if not isinstance(extra, Mapping):
            raise _Complaint("extra_body", f"{extra!r} is not a mapping")
        ours = DEFAULTS - BY_LIBRARY if kind == "translated" else DEFAULTS
        given = {name: _default(name, value) for name, value in params.items() if name in ours}
        given |= {name: value for name, value in extra.items() if kind != "translated" or name in ours}
        wrong = next((name for name in given if name in _NO_DEFAULTS), None)
        if wrong is not None:
            raise _Complaint("extra_body", f"{wrong} is for the client, or the gateway, to say: leave it out")
        limits = [limit for name in LIMITS if isinstance(limit := given.get(name), int) and limit > 0]
        if newest_limit and limits:
            given = {name: value for name, value in given.items() if name not in LIMITS} | {LIMITS[0]: limits[0]}
        options, dropped = params.get("stream_options"), params.get("additional_drop_params") or ()
        additions = Additions(
            defaults=tuple((name, _json(name, value)) for name, value in given.items()),
            left_out=frozenset(name for name in dropped if isinstance(name, str) and name not in _NEEDED),
            usage=not (isinstance(options, Mapping) and options.get("include_usage") is False),
            takes=takes,
        )
        foreign = {name: value for name, value in extra.items() if name not in given}
        return _Body(additions, foreign, limits[0] if limits else None)


_NO_DEFAULTS: Final = CLIENTS | {"model", "stream", "stream_options"}
_NEEDED: Final = frozenset({"model", "messages", "stream"})
_WORDS: Final = frozenset({"stop", "user", "reasoning_effort", "verbosity", "service_tier", "safety_identifier",
                           "prompt_cache_key", "prompt_cache_retention"})  # fmt: skip
"""Defaults that are text; any other text is a number out of the environment."""


def _json(name: str, value: Any) -> bytes:
    """Write a default. Numbers that no server reads alike are refused: beyond 64 bits, and without an end."""
    try:
        written = orjson.dumps(value)
    except TypeError as error:
        raise _Complaint(name, f"{name} cannot be sent: {error}") from None
    if value is not None and written == b"null":
        raise _Complaint(name, f"{value!r} is not a number that can be sent")
    return written


def _default(name: str, value: Any) -> Any:
    """Read a default; a number may be quoted, as it comes out of the environment."""
    if isinstance(value, str) and name not in _WORDS:
        try:
            value = int(value) if value.strip().isdigit() else float(value)
        except ValueError:
            raise _Complaint(name, f"{value!r} is not a number") from None
    if name in LIMITS and (not isinstance(value, int) or isinstance(value, bool) or value <= 0):
        raise _Complaint(name, f"{value!r} is not a number of tokens")
    return value


def _forwarded(given: object) -> tuple[str, ...]:
    """Read the names of headers that a deployment wants of clients."""
    names = [given] if isinstance(given, str) else given or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _Complaint("forward_headers", f"{given!r} is no list of header names: write [x-team, x-trace-*]")
    lower = tuple(name.strip().lower() for name in names)
    for name in lower:
        if not _HEADER.fullmatch(name):
            raise _Complaint("forward_headers", f"{name!r} is no header name; `*` may stand at its end alone")
        if name in NEVER:
            raise _Complaint("forward_headers", f"the header {name!r} holds a credential, or belongs to one connection")
    return lower


def _betas(provider: str, model: str) -> frozenset[str] | None:
    """Return the values of `anthropic-beta` that a deployment takes; None where its API judges them itself."""
    tables = provider_of(provider).betas
    if tables is None:
        return None
    if not family_of(provider, model).takes_betas:
        return frozenset()
    return anthropic_betas(next((table for start, table in tables.items() if model.startswith(start)), provider))


def _cache(provider: str, model: str, kind: Kind, api_base: str | None, caches: Book) -> CacheFacts:
    """Look up the prompt cache; a server of somebody's own that speaks like a provider is asked for nothing unusual."""
    facts, declared = caches.find(provider, model)
    at_home = kind != "direct" or _home(provider) is None or _is_home(provider, api_base)
    return facts if at_home or declared or facts.control == "affinity" else replace(facts, control="none")


@lru_cache(maxsize=1024)  # asked of every answer
def _is_home(provider: str, api_base: str | None) -> bool:
    """Whether an address is the provider's own, a regional host of it (`eu.api.openai.com`) included."""
    home, host = (_HOST.match((address or "").lower()) for address in (_home(provider), api_base))
    return home is not None and host is not None and (host[1] == home[1] or host[1].endswith(f".{home[1]}"))


_HEADER: Final = re.compile(r"[a-z0-9_-]+\*?")
_HOST: Final = re.compile(r"https?://(?:[^/@]*@)?([^/:?#@]+)")


def _home(provider: str) -> str | None:
    return provider_of(provider).home


@lru_cache(maxsize=1024)  # asked of every answer
def _states_its_bill(api_base: str | None) -> bool:
    """Whether an address is that of a provider who states its bill."""
    return any(facts.states_its_bill and _is_home(name, api_base) for name, facts in PROVIDERS.items())


def kind_of(provider: str, model: str, api_base: object) -> Kind:
    """Say how a deployment is reached."""
    return _route(provider, model, api_base)[0]


def _route(provider: str, model: str, api_base: object, operation: Operation | None = "chat") -> tuple[Kind, Provider]:
    """Say how a provider is reached. Whether there is such a provider is judged before (`catalogue`)."""
    facts = provider_of(provider)
    if provider == "demo":
        return "demo", facts
    if api_base:
        facts = facts.at_an_address or facts
    elif operation != "chat":
        facts = facts.beside_chat or facts
    if facts.translated_models and model.startswith(facts.translated_models):
        return "translated", replace(facts, route="translated")
    return facts.route, facts


def _refuse(provider: str, model: str, facts: Provider, params: Mapping[str, Any]) -> None:
    """Raise `_Complaint` for what could only fail at the first request."""
    if not model:
        raise _Complaint("model", "names no model: write provider/model")
    if (reason := refusals.elsewhere(provider, model)) is not None:
        raise _Complaint("model", reason)
    if (lacking := refusals.lacking(provider, facts, params)) is not None:
        raise _Complaint(*lacking)


def _asked(model: str, facts: Provider, *, at_home: bool) -> str:
    """Return the model's name as the provider knows it."""
    if facts.names_servers and at_home and model.count("/") == 2:
        served_by, name = model.split("/", 1)
        return f"{name}:{served_by}"
    if (start := next((start for start in facts.renamed if model.startswith(start)), None)) is not None:
        return model.removeprefix(start)
    return f"{facts.model_prefix}{model}" if facts.model_prefix and "/" not in model else model


def _number(params: Mapping[str, Any], key: str, otherwise: float, above: float | None) -> float:
    """Read a number of seconds or a weight; quoted ones are taken too, as they come out of environments."""
    value = params.get(key)
    if value is None:
        return otherwise
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _Complaint(key, f"{value!r} is not a number") from None
    if not 0 <= number < float("inf") or number == above:
        raise _Complaint(key, f"{value!r} is not a number {'above' if above == 0 else 'from'} 0")
    return number


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
