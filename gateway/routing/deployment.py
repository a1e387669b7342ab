"""A deployment: a model at one provider under one credential, as a frozen value, and how the config becomes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.budget.tokens import encoding_for
from gateway.caching.facts import NOTHING, Book, CacheFacts, book_of, priced
from gateway.caching_schema import shipped
from gateway.money.prices import Price, PriceBook, PriceError, region_of
from gateway.providers import refusals
from gateway.providers.table import AZURE, DIRECT_AT_AN_ADDRESS, PROVIDERS, Provider

if TYPE_CHECKING:
    from gateway.config import Config, ModelEntry

Kind = Literal["direct", "translated", "demo"]

DEFAULT_TIMEOUT: Final = 600.0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model, as far as budgets need it."""

    provider: str
    model: str
    window: int | None
    """The most tokens a request may have; None where nobody says."""
    max_output: int | None
    shared: bool
    """Whether input and output share the window."""
    encoding: Literal["o200k_base", "cl100k_base"]
    exact: bool
    """Whether that encoding is the model's own."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `model_list`, resolved."""

    name: str
    """Unique: "gpt-5#0:openai/gpt-5"."""
    model_name: str
    """What clients ask for."""
    provider: str
    model: str
    """What the upstream is asked for."""
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
    """How the provider's prompt cache works for this model."""

    @property
    def is_providers_own(self) -> bool:
        """Whether it is the provider itself that answers, and takes all that its documentation says: not an engine or
        a proxy that speaks the same API.
        """
        return self.kind == "demo" or self.provider == "azure" or _is_home(self.provider, self.api_base)


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
    return next((owner for prefix, owner in _PLAIN_NAMES if model.startswith(prefix)), "openai"), model


def deployments(config: Config, price_book: PriceBook) -> Mapping[str, tuple[Deployment, ...]]:
    """Return the deployments of each model name, in the file's order. Raises `Unservable`."""
    caches = book_of(shipped(), config.prompt_caches)
    found: dict[str, list[Deployment]] = {}
    complaints: list[tuple[int | None, tuple[str | int, ...], str]] = []
    for index, entry in enumerate(config.models):
        same_name = found.setdefault(entry.model_name, [])
        try:
            same_name.append(_deployment(entry, len(same_name), price_book, caches))
        except PriceError as error:
            complaints.append((entry.line, ("model_list", index, "model_info"), str(error)))
        except _Complaint as error:
            complaints.append((entry.line, ("model_list", index, "litellm_params", error.key), str(error)))
    if complaints:
        raise Unservable(complaints)
    return {name: tuple(group) for name, group in found.items()}


def facts_of(provider: str, model: str, book: PriceBook, overrides: Mapping[str, Any] | None = None) -> ModelFacts:
    """Gather what the price table, the config and the names say of a model."""
    known = book.facts(provider, model, overrides)
    encoding, exact = encoding_for(provider, model)
    return ModelFacts(
        provider=provider,
        model=model,
        window=known.max_input_tokens,
        max_output=known.max_output_tokens,
        shared=_shares_window(model, known.max_input_tokens),
        encoding="cl100k_base" if encoding == "cl100k_base" else "o200k_base",
        exact=exact,
    )


_PLAIN_NAMES: Final = (("claude", "anthropic"), ("gemini", "vertex_ai"))

_INPUT_ALONE: Final = frozenset({272_000, 922_000})
"""What the price table says of GPT-5 and later where it means the input alone: 400,000 and 1,050,000 less 128,000 for
the answer (the sum for GPT-5: platform.openai.com/docs/models/gpt-5; for the later ones inferred from it). For all
other models of OpenAI it gives the whole window."""


def _shares_window(model: str, window: int | None) -> bool:
    """Whether the answer must fit into the window too. Gemini counts it apart: ai.google.dev/gemini-api/docs/models."""
    name = model.rsplit("/", 1)[-1]
    if name.startswith("gemini"):
        return False
    return not (name.startswith(("gpt-", "daybreak")) and window in _INPUT_ALONE)


class _Complaint(ValueError):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key: Final = key


_TAKEN: Final = frozenset({"model", "api_base", "base_url", "api_key", "timeout", "weight", "custom_llm_provider"})


def _deployment(entry: ModelEntry, position: int, book: PriceBook, caches: Book) -> Deployment:
    params = entry.params
    provider, model = provider_and_model(params)
    given = params.get("api_base") or params.get("base_url")
    kind, facts = _route(provider, given)
    _refuse(provider, model, facts, params)
    api_base = str(given) if given else facts.home
    if kind == "direct" and not str(api_base).startswith(("http://", "https://")):
        raise _Complaint("api_base", f"{api_base!r} is not an http(s) address")
    key = params.get("api_key")
    price = book.price(provider, model, entry.info, region_of(api_base, _text(params.get("vertex_location"))))
    return Deployment(
        name=f"{entry.model_name}#{position}:{provider}/{model}",
        model_name=entry.model_name,
        provider=provider,
        model=_asked(provider, model, facts),
        kind=kind,
        facts=facts_of(provider, model, book, entry.info),
        price=price,
        api_base=api_base,
        api_key=str(key) if key else None,
        timeout=_number(params, "timeout", DEFAULT_TIMEOUT, above=0.0),
        weight=_number(params, "weight", 1.0, above=None),
        params={name: value for name, value in params.items() if name not in _TAKEN},
        cache=priced(_cache(provider, model, kind, api_base, caches), price),
    )


def _cache(provider: str, model: str, kind: Kind, api_base: str | None, caches: Book) -> CacheFacts:
    """Look up the prompt cache; a server of somebody's own that speaks like a provider is asked for nothing unusual."""
    facts, declared = caches.find(provider, model)
    at_home = kind != "direct" or _home(provider) is None or _is_home(provider, api_base)
    return facts if at_home or declared or facts.control == "affinity" else replace(facts, control="none")


def _is_home(provider: str, api_base: str | None) -> bool:
    """Whether an address is the provider's own, a regional host of it (`eu.api.openai.com`) included."""
    home, host = (_HOST.match((address or "").lower()) for address in (_home(provider), api_base))
    return home is not None and host is not None and (host[1] == home[1] or host[1].endswith(f".{home[1]}"))


_HOST: Final = re.compile(r"https?://(?:[^/@]*@)?([^/:?#@]+)")


_NOTHING: Final = Provider("translated")


def _home(provider: str) -> str | None:
    return PROVIDERS.get(provider, _NOTHING).home


def _route(provider: str, api_base: object) -> tuple[Kind, Provider]:
    """Say how a provider is reached. Whether there is such a provider is judged before (`catalogue`)."""
    if provider == "demo":
        return "demo", _NOTHING
    facts = PROVIDERS.get(provider, _NOTHING)
    if api_base:
        facts = DIRECT_AT_AN_ADDRESS.get(provider, facts)
    return facts.route, facts


def _refuse(provider: str, model: str, facts: Provider, params: Mapping[str, Any]) -> None:
    """Raise `_Complaint` for what could only fail at the first request."""
    if not model:
        raise _Complaint("model", "names no model: write provider/model")
    if (reason := refusals.elsewhere(provider, model)) is not None:
        raise _Complaint("model", reason)
    if (lacking := refusals.lacking(provider, facts, params)) is not None:
        raise _Complaint(*lacking)


_AZURE_SERIES: Final = ("o_series/", "gpt5_series/")
"""What LiteLLM lets a list write before an Azure deployment's name, and does not send."""


def _asked(provider: str, model: str, facts: Provider) -> str:
    """Return the model's name as the provider knows it."""
    if provider == AZURE:
        return next((model.removeprefix(start) for start in _AZURE_SERIES if model.startswith(start)), model)
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
