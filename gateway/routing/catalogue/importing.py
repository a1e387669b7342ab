"""A LiteLLM configuration in our form, and what became of each of its keys, line by line.

Pure: the file has been read, the environment is an argument. A reference to a secret (os.environ/NAME) is written as it
is; no value of the environment is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from gateway.config.environment import is_read_in, read_in
from gateway.config.litellm_keys import INFO_IN_PARAMS
from gateway.config.problems import KeyPath, Problem
from gateway.config.yaml import YamlDocument
from gateway.money.prices.entries import is_price
from gateway.money.prices.table import PriceBook
from gateway.providers import refusals
from gateway.providers.key_variables import usual_variables
from gateway.providers.table import provider_of
from gateway.routing.catalogue import fates, sections
from gateway.routing.deployment import OTHER_LOGIN, is_any_provider, kind_of, provider_and_model
from gateway.wire.operations import operation_of

_FALLBACKS: Final = ("fallbacks", "default_fallbacks")
_REDIS: Final = ("redis_url", "redis_host", "redis_port", "redis_password")


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import."""

    config: Mapping[str, Any]
    """Our configuration, as plain data."""
    told: tuple[Problem, ...]
    """The fate of each key, in the order of the file."""


def imported(document: YamlDocument, book: PriceBook, known: frozenset[str], environ: Mapping[str, str]) -> Imported:
    """Turn what a LiteLLM file says into our form; `known` are the providers that can be reached at all."""
    work = _Import(document, book, known, environ)
    data = document.data if isinstance(document.data, dict) else {}
    settings = [name for name in ("litellm_settings", "general_settings", "router_settings") if name in data]
    work.credentials = _credentials(data.get("credential_list"))
    timeout = _timeout(data)
    for index, entry in enumerate(_listed(data.get("model_list"))):
        work.entry(index, entry, timeout)
    for name in settings:
        for key, value in _mapping(data[name]).items():
            work.setting(name, str(key), value)
    work.rest(data)
    told = sorted(work.told, key=lambda one: one.line or 0)
    return Imported(work.config(), tuple(dict.fromkeys(told)))


@dataclass(slots=True)
class _Import:
    """One import on its way."""

    document: YamlDocument
    book: PriceBook
    known: frozenset[str]
    environ: Mapping[str, str]
    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    fallbacks: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    redis: dict[str, Any] = field(default_factory=dict)
    told: list[Problem] = field(default_factory=list)

    def say(self, path: KeyPath, what: str) -> None:
        self.told.append(self.document.problem(path, what))

    def config(self) -> dict[str, Any]:
        out: dict[str, Any] = {"model_list": self.models}
        if self.aliases:
            out["aliases"] = self.aliases
        if self.fallbacks:
            out["fallbacks"] = [{name: others} for name, others in self.fallbacks.items()]
        if self.keys:
            out["keys"] = self.keys
        if (address := _redis_address(self.redis)) is not None:
            out["state"] = {"redis": address}
        return out

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(entry["model_name"] for entry in self.models))

    # ------------------------------------------------------------ one entry

    def entry(self, index: int, entry: Any, timeout: float | None) -> None:
        """Take over one entry of `model_list`, or say why not."""
        at: KeyPath = ("model_list", index)
        entry = _mapping(entry)
        name, given, info = (
            entry.get("model_name"),
            _mapping(entry.get("litellm_params")),
            _mapping(entry.get("model_info")),
        )
        if not isinstance(name, str) or not isinstance(given.get("model"), str):
            self.say(at, "left out: it names no model_name, or no litellm_params.model")
            return
        params = {**self._of_credential(at, given), **given}
        provider, model = provider_and_model(self._read(params))
        if (why := self._unserved(provider, model, params, info)) is not None:
            self.say(at, f"left out, the whole entry {name!r}: {why}")
            return
        self.say((*at, "model_name"), "kept")
        out_params, out_info = self._params(at, params, given), self._info(at, info)
        kept = {key: value for key, value in out_params.items() if not _is_info(key)}
        moved = {key: value for key, value in out_params.items() if _is_info(key)}
        self._usual_key(at, kept, provider)
        if timeout is not None:
            kept.setdefault("timeout", timeout)
        made: dict[str, Any] = {"model_name": name, "litellm_params": kept}
        if facts := {**moved, **out_info}:
            made["model_info"] = facts
        self.models.append(made)
        for key in entry.keys() - {"model_name", "litellm_params", "model_info"}:
            self.say((*at, key), f"left out: {sections.NO_COUNTERPART}")

    def _read(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read of the environment what decides where an entry goes."""
        read: Mapping[str, Any] = read_in(dict(params), (), self.document, self.environ, [])
        return read

    def _of_credential(self, at: KeyPath, given: Mapping[str, Any]) -> Mapping[str, Any]:
        name = given.get("litellm_credential_name")
        if name is None:
            return {}
        path = (*at, "litellm_params", "litellm_credential_name")
        found = self.credentials.get(str(name))
        if found is None:
            self.say(path, f"left out: credential_list has no {str(name)[:80]!r}; give api_key here")
            return {}
        self.say(path, f"written out: {', '.join(found)} of credential_list stand in the entry")
        return found

    def _unserved(self, provider: str, model: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> str | None:
        """Say why an entry cannot be served at all; None where it can."""
        if is_read_in(str(self._read(params)["model"])):
            return None  # nobody knows yet which model that is
        if provider not in self.known and not is_any_provider(params):
            return refusals.unknown(provider)
        if not model:
            return "its model names none: write provider/model"
        said = {key: each[key] for each in (params, info) for key in ("mode", "base_model") if key in each}
        mode = self.book.facts(provider, model, said).mode
        if mode is not None and operation_of(mode) is None:
            return f"it is for {mode.replace('_', ' ')}, which is not served"
        return None

    def _params(self, at: KeyPath, params: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of `litellm_params`, saying of each key that was given what became of it."""
        provider, model = provider_and_model(self._read(params))
        kind = kind_of(provider, model, params.get("api_base") or params.get("base_url"))
        out: dict[str, Any] = {}
        for key, value in params.items():
            if key == "litellm_credential_name":
                continue
            path = (*at, "litellm_params", key)
            fate = fates.of_param(str(key), value, kind, provider_of(provider).own_parameters)
            told = f"left out: {fate.reason}" + (f"; did you mean {fate.suggestion!r}?" if fate.suggestion else "")
            if value is None or value == "":
                told = "left out: it is empty"
            elif key == "drop_params":
                told = f"left out: {sections.KEYS['drop_params']}"
            elif fate.kind == "acted on":
                out[key] = value
                told = f"kept, as model_info.{key}" if _is_info(key) else "kept"
            if key in given:
                self.say(path, told)
        return out

    def _info(self, at: KeyPath, info: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in info.items():
            path = (*at, "model_info", key)
            inside = _mapping(value) if key == "pricing" else {}
            prices = {name: price for name, price in inside.items() if is_price(str(name))}
            fate = fates.of_info(str(key), value)
            if prices:
                out |= {name: price for name, price in prices.items() if name not in info}
                self.say(path, f"kept, one level higher: {', '.join(prices)}")
            elif value is not None and fate.kind == "acted on":
                out[key] = value
                self.say(path, "kept")
            else:
                self.say(path, f"left out: {fate.reason or 'it is empty'}")
        return out

    def _usual_key(self, at: KeyPath, kept: dict[str, Any], provider: str) -> None:
        """Write out which variable a provider's key is taken from where the entry names none."""
        if kept.get("api_key") is not None or is_any_provider(kept) or not OTHER_LOGIN.isdisjoint(kept):
            return
        if is_read_in(str(self._read(kept)["model"])):
            return
        names = usual_variables(provider)
        here = next((name for name in names if self.environ.get(name, "").strip()), None)
        if here is None and (not names or provider_of(provider).keyless):
            return
        kept["api_key"] = f"os.environ/{here or names[0]}"
        self.say((*at, "litellm_params"), f"api_key added: {here or names[0]}, where LiteLLM looks for it")

    # ------------------------------------------------------------ the other sections

    def setting(self, section: str, key: str, value: Any) -> None:
        """Take over one key of a section of settings, or say why not."""
        path = (section, key)
        if value is None:
            self.say(path, "left out: it is empty")
        elif key in _FALLBACKS:
            self._fallback(path, key, value)
        elif key == "model_group_alias":
            self._alias(path, value)
        elif key == "master_key":
            self._master_key(path, value)
        elif key in {"request_timeout", "timeout"} and isinstance(value, int | float):
            self.say(path, "kept, as timeout of each entry that names none")
        elif section == "router_settings" and key in _REDIS:
            self.redis[key] = value
            self.say(path, "kept, as state.redis")
        elif section == "litellm_settings" and key == "default_redis_batch_cache_expiry":
            self.say(path, f"left out: {sections.KEYS['cache']}")
        else:
            self.say(path, f"left out: {sections.KEYS.get(key, sections.NO_COUNTERPART)}")

    def _fallback(self, path: KeyPath, key: str, value: Any) -> None:
        if key == "default_fallbacks":
            others = [name for name in _listed(value) if isinstance(name, str) and "*" not in name]
            if not others:
                self.say(path, "left out: it names no model, or one with an asterisk")
            groups: list[tuple[KeyPath, str, Any]] = [
                (path, name, others) for name in self.names if others and name not in {*self.fallbacks, *others}
            ]
        else:
            groups = [((*path, index, name), name, others) for index, group in enumerate(_listed(value))
                      for name, others in _mapping(group).items()]  # fmt: skip
        for at, name, others in groups:
            wanted = [other for other in _listed(others) if other != name]
            there = [other for other in wanted if isinstance(other, str) and other in self.names and "*" not in other]
            if name not in self.names or not there:
                self.say(at, "left out: no entry of the list is left for it, or its name has an asterisk")
                continue
            self.fallbacks.setdefault(name, []).extend(other for other in there if other not in self.fallbacks[name])
            gone = [str(other)[:60] for other in wanted if other not in there]
            self.say(at, "kept, under fallbacks" + (f", but for {', '.join(gone)}, which no entry has" if gone else ""))

    def _alias(self, path: KeyPath, value: Any) -> None:
        for name, meant in _mapping(value).items():
            target = _mapping(meant).get("model") if isinstance(meant, dict) else meant
            if name in self.names or target not in self.names or "*" in str(target):
                why = "a model_name of the list is called so" if name in self.names else f"there is no model {target!r}"
                self.say((*path, name), f"left out: {why}")
                continue
            self.aliases[name] = str(target)
            self.say((*path, name), "kept, under aliases")

    def _master_key(self, path: KeyPath, value: Any) -> None:
        """Let in who shows the key that LiteLLM lets in, by its hash."""
        read = read_in(value, path, self.document, self.environ, [])
        if not isinstance(read, str) or (read == value and isinstance(value, str) and is_read_in(value)):
            self.say(path, "left out: its variable is not set here; `gateway keys new` makes a key")
            return
        self.keys.append({"name": "master", "sha256": sha256(read.strip().encode()).hexdigest()})
        self.say(path, "kept, as the hash of a key named master: clients go on with it, and administer nothing")

    def rest(self, data: Mapping[str, Any]) -> None:
        """Say what became of sections that hold no settings."""
        for index, one in enumerate(_listed(data.get("credential_list"))):
            used = "written into the entries that name it"
            self.say(("credential_list", index), f"{_mapping(one).get('credential_name')!r}: {used}")
        for name in _mapping(data.get("environment_variables")):
            told = "left out: set it in the environment that the gateway is started in"
            self.say(("environment_variables", name), told)
        known = {"model_list", "litellm_settings", "general_settings", "router_settings", "credential_list",
                 "environment_variables"}  # fmt: skip
        for name in data:
            if name not in known:
                self.say((name,), f"left out: {sections.SECTIONS.get(str(name), sections.NO_COUNTERPART)}")


def _is_info(key: str) -> bool:
    return key in INFO_IN_PARAMS or is_price(key)


def _credentials(listed: Any) -> dict[str, Mapping[str, Any]]:
    found = {}
    for one in _listed(listed):
        said = _mapping(one)
        found[str(said.get("credential_name"))] = _mapping(said.get("credential_values"))
    return found


def _timeout(data: Mapping[str, Any]) -> float | None:
    """Find the timeout of entries that name none."""
    places = (("router_settings", "timeout"), ("litellm_settings", "request_timeout"))
    said = (_mapping(data.get(section)).get(key) for section, key in places)
    return next((one for one in said if isinstance(one, int | float) and one > 0), None)


def _redis_address(said: Mapping[str, Any]) -> str | None:
    """Put a Redis address together; what comes from the environment stays a reference to it."""
    if "redis_url" in said:
        return str(said["redis_url"])
    if "redis_host" not in said:
        return None
    host, port, password = (_reference(said.get(f"redis_{part}")) for part in ("host", "port", "password"))
    return f"redis://{f':{password}@' if password else ''}{host}:{port or 6379}"


def _reference(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"${{{text.removeprefix('os.environ/')}}}" if text.startswith("os.environ/") else text


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
