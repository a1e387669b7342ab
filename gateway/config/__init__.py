"""`config.yaml`, the policies beside it and the environment, read once into frozen values.

Everything that is wrong anywhere is reported together, each with file, line and path (`ConfigErrors`). What can only
be known at the start of the program, such as whether a folder can be written, is in `startup_problems`.
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.config import folders
from gateway.config.environment import is_read_in, read_in, usual_keys
from gateway.config.fields import FROM_FILE
from gateway.config.merging import POLICY_FILE, Policies, load_policies, unknown_policy
from gateway.config.network import Network, faults_of, network_of
from gateway.config.policy import Policy
from gateway.config.problems import KeyPath, Problem, closest, from_validation, in_order, one_slip_from
from gateway.config.prompt_cache_rules import CachesFile, unknown_rules, without_lifetime
from gateway.config.settings import ConfigFile, InfoFile, LedgerFile, ParamsFile, StateFile
from gateway.config.wildcards import covering, is_pattern
from gateway.config.yaml import Document, read

CONFIG_FILE: Final = TypeAdapter(ConfigFile)
"""Reads `config.yaml`, and is its schema."""


class ConfigErrors(Exception):
    """The configuration cannot be used; `problems` has every reason, `str()` prints one per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Server:
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    max_body: int = 32_000_000
    """In bytes, as is the next."""
    max_answer: int = 64_000_000
    hosts: tuple[str, ...] = ()
    """Names beside those of loopback by which it may be called while there are no keys."""
    header_timeout: float = 10.0
    """Seconds, like the others."""
    body_timeout: float = 30.0
    keep_alive: float = 75.0
    write_timeout: float = 60.0
    connections_per_address: int | None = None
    """None sets no limit."""
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of `model_list`: a deployment as it was declared."""

    model_name: str
    params: Mapping[str, Any] = field(repr=False)
    """LiteLLM's `litellm_params`, the environment read in: it holds credentials, so it is never printed."""
    info: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Team:
    name: str
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class KeyEntry:
    name: str
    sha256: str
    team: str = "default"
    models: tuple[str, ...] | None = None
    """None is every model."""
    expires: datetime | None = None
    """With an offset, always."""
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Exactly one of the first two is set."""

    dir: Path | None = None
    redis: str | None = field(default=None, repr=False)
    timeout_seconds: float = 0.05
    """How long planning a request waits for it."""


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    dir: Path
    content: Literal["none", "requests"] = "none"
    """`requests`: what was asked is kept too, in files beside the books."""
    mode: int | None = None
    """Of new files of the books; None is what the umask leaves of 0640."""


@dataclass(frozen=True, slots=True)
class Config:
    file: Path
    server: Server
    models: tuple[ModelEntry, ...]
    fallbacks: Mapping[str, tuple[str, ...]]
    teams: Mapping[str, Team]
    keys: tuple[KeyEntry, ...]
    policies: Mapping[str, Policy]
    """All that there are: those of the folder, and the shipped ones that it does not replace."""
    default_policy: str
    state: State
    ledger: LedgerSettings
    unpriced: Literal["refuse", "allow"]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of models: name → the `model_name` that is meant."""
    usual_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What environment variables hold that may be providers' keys, for entries without one."""
    network: Network = field(default_factory=Network)
    """How upstreams are reached from here."""
    cors: tuple[str, ...] = ()
    """Origins whose pages are served."""
    log_upstream_errors: bool = False
    """Whether what upstreams say in errors goes into the log."""
    prompt_caches: CachesFile | None = None
    """What the operator says of providers' prompt caches, beyond what comes with the program."""
    shipped: frozenset[str] = frozenset()
    """Names of the policies that come with the program and are as they came."""
    lines: Mapping[KeyPath, int] = field(default_factory=dict, repr=False, compare=False)
    """Where each key stands in `file`, for what is found wrong later."""

    def policy_for(self, policy: str | None, team: str) -> Policy:
        """Return the policy that applies to a key: its own, else its team's, else the default. Nothing else decides."""
        of_team = self.teams.get(team)
        return self.policies[policy or (of_team.policy if of_team else None) or self.default_policy]

    def policies_in_use(self) -> tuple[Policy, ...]:
        """Return the policies of the folder, and those shipped ones that a key, a team or the default names."""
        named = {
            self.default_policy,
            *(key.policy for key in self.keys),
            *(team.policy for team in self.teams.values()),
        }
        return tuple(policy for name, policy in self.policies.items() if name in named or name not in self.shipped)

    def problem(self, path: KeyPath, message: str, suggestion: str | None = None) -> Problem:
        """Return `message` as a problem of the key at `path`, with the line it stands on."""
        around = path
        while around and around not in self.lines:
            around = around[:-1]
        return Problem(self.file, self.lines.get(around), path, message, suggestion)


def load(path: Path, environ: Mapping[str, str], *, to_serve: bool = True) -> Config:
    """Read a configuration and its policies; raises ConfigErrors with all that is wrong in any of the files.

    Unless it is to be served, environment variables need not be there: what they would give is left out or made up.
    """
    document = read(path)
    if document.data is None:
        raise ConfigErrors(document.problems)
    problems = list(document.problems)
    missing: list[Problem] = []
    data = read_in(document.data, (), document, environ, missing)
    if not to_serve:
        data, missing = _without(data, [problem.key_path for problem in missing]), []
    said = None
    try:
        said = CONFIG_FILE.validate_python(data, context=FROM_FILE)
    except ValidationError as error:
        unset = {problem.key_path for problem in missing}
        found = from_validation(error, CONFIG_FILE, document, data)
        problems += (_pointed(problem) for problem in found if problem.key_path not in unset)
    problems += _unsound_rules(said, document)
    folder = path.parent / _text(data, "policies", "policies")
    policies = load_policies(folder)
    problems += (*missing, *policies.problems, *_broken_references(document, policies), *_no_folder(document, folder))
    problems += (*_repeated(document), *_slips(document))
    if problems or said is None:
        raise ConfigErrors(problems)
    return _config(said, document, policies, environ)


SECTIONS = frozenset(
    """
    litellm_settings general_settings router_settings credential_list environment_variables health_check guardrails
    mcp_servers mcp_aliases vector_store_registry callback_settings finetune_settings files_settings search_tools
    assistant_settings agent_list prompts worker_registry include
    """.split()  # noqa: SIM905  # read better than strings
)
"""Top-level keys of a LiteLLM configuration, beside `model_list`."""


def _pointed(problem: Problem) -> Problem:
    """Say of a section of LiteLLM's where it is understood, in the place of a guess what was meant."""
    if len(problem.key_path) != 1 or problem.key_path[0] not in SECTIONS:
        return problem
    told = (
        f"{problem.key_path[0]} is a section of LiteLLM's: `gateway import litellm {problem.file.name}` writes this "
        "file in our form and says what becomes of each of its keys"
    )
    return replace(problem, message=told, suggestion=None)


def ledger_dir(path: Path, environ: Mapping[str, str]) -> Path:
    """Read where the ledger of a configuration is, and nothing else: neither keys nor policies need to be there.

    Raises ConfigErrors.
    """
    document, said, missing = _section(path, "ledger", environ)
    folder = said.get("dir", LedgerFile().dir) if isinstance(said, dict) else None
    if missing or not isinstance(folder, str) or not folder:
        raise ConfigErrors(missing or [document.problem(("ledger", "dir"), "names no folder")])
    return path.parent / folder


def state_place(path: Path, environ: Mapping[str, str]) -> State:
    """Read where the state of a configuration is, and nothing else. Raises ConfigErrors."""
    document, said, missing = _section(path, "state", environ)
    if missing:
        raise ConfigErrors(missing)
    try:
        return _state(StateFile.model_validate(said), path.parent)
    except ValidationError as error:
        raise ConfigErrors([document.problem(("state",), "names neither a folder nor a Redis server")]) from error


def _section(path: Path, name: str, environ: Mapping[str, str]) -> tuple[Document, Any, list[Problem]]:
    """Read one section of a configuration, and which variables are missing for it. Raises ConfigErrors."""
    document = read(path)
    if document.data is None:
        raise ConfigErrors(document.problems)
    if not isinstance(document.data, dict):
        raise ConfigErrors([document.problem((), "must be a mapping")])
    missing: list[Problem] = []
    return document, read_in(document.data.get(name, {}), (name,), document, environ, missing), missing


def _state(said: StateFile, folder: Path) -> State:
    if said.redis:
        return State(redis=said.redis, timeout_seconds=said.timeout)
    return State(dir=folder / (said.dir or "var/state"), timeout_seconds=said.timeout)


_MADE_UP: Mapping[str, str] = {
    "api_base": "http://not-set.invalid/v1",
    "base_url": "http://not-set.invalid/v1",
    "sha256": "0" * 64,
    "model": "demo/demo",
}
"""What stands for a variable that is not set where something must stand."""


def _without(data: Any, paths: Iterable[KeyPath]) -> Any:
    """Return `data` without the keys at these paths, `_MADE_UP` ones and elements of lists aside."""
    for path in filter(None, paths):
        around = data
        for step in path[:-1]:
            around = around[step]
        key = path[-1]
        if isinstance(key, str) and key in _MADE_UP:
            around[key] = _MADE_UP[key]
        elif isinstance(around, dict) and key not in ("model_name", "name"):
            around.pop(key, None)
    return data


def _text(data: Any, key: str, default: str) -> str:
    value = data.get(key, default) if isinstance(data, dict) else default
    return value if isinstance(value, str) else default


def _no_folder(document: Document, folder: Path) -> Iterator[Problem]:
    """Say that a folder of policies was named which is not there."""
    if isinstance(document.data, dict) and "policies" in document.data and not folder.is_dir():
        told = f"there is no folder {folder}; make it, or leave `policies` out: the shipped ones are there without it"
        yield document.problem(("policies",), told)


def _broken_references(document: Document, policies: Policies) -> Iterator[Problem]:
    """Yield every name that is used and nowhere declared.

    Works on what is written, not on what was validated, so that other mistakes hide none.
    """
    declared, other = _declared_models(document)
    models, patterns = declared | other, [name for name in declared if is_pattern(name)]
    teams = {path[-1] for path, _ in document.matches("teams", "*")} | {"default"}
    used: list[tuple[str, set[Any] | frozenset[str], list[tuple[KeyPath, Any]]]] = [
        ("team", teams, [*document.matches("keys", "*", "team")]),
        (
            "model",
            models,
            [*document.matches("keys", "*", "models", "*"), *document.matches("fallbacks", "*", "*", "*")],
        ),
        ("model", declared, [(path, path[-1]) for path, _ in document.matches("fallbacks", "*", "*")]),
        ("model", declared, [*document.matches("aliases", "*")]),
        (
            "policy",
            policies.names,
            [*document.matches("keys", "*", "policy"), *document.matches("teams", "*", "policy")],
        ),
        ("policy", policies.names, [*document.matches("default_policy")]),
    ]
    for what, known, places in used:
        for path, name in places:
            if what == "model" and isinstance(name, str) and covering(patterns, name) is not None:
                continue
            if isinstance(name, str) and not is_read_in(name) and name not in known:
                told = unknown_policy(name, policies.names) if what == "policy" else f"there is no {what} {name!r}"
                yield document.problem(path, told, closest(name, map(str, known)))
    asked = ((model, problem) for model, problem in policies.asks_models if model not in models)
    yield from (problem for model, problem in asked if covering(patterns, model) is None)
    for path, name in (*document.matches("fallbacks", "*", "*", "*"), *document.matches("aliases", "*")):
        if isinstance(name, str) and is_pattern(name):
            yield document.problem(path, f"{name!r} names no model: nothing says what its asterisk stands for")
    for name in declared & other:
        yield document.problem(("aliases", name), f"{name!r} is a model_name of model_list; it needs no other name")
    for path, names in document.matches("fallbacks", "*", "*"):
        if isinstance(names, list) and path[-1] in names:
            yield document.problem(path, f"{path[-1]!r} falls back to itself")


def _declared_models(document: Document) -> tuple[set[Any], set[Any]]:
    """Return the names in `model_list`, and the other names of models, as far as they are text."""
    listed = {value for _, value in document.matches("model_list", "*", "model_name") if isinstance(value, str)}
    return listed, {path[-1] for path, _ in document.matches("aliases", "*") if isinstance(path[-1], str)}


def _unsound_rules(said: ConfigFile | None, document: Document) -> Iterator[Problem]:
    """Yield the places that name a rule set of prompt caches which is nowhere, and rules that leave out a lifetime."""
    if said is None:
        return
    unknown = [*unknown_rules(said.prompt_caches)]
    for path, name, known in unknown:
        told = f"there is no rule set {name!r}; there are {', '.join(known)}"
        yield document.problem(("prompt_caches", *path), told, closest(name, known))
    for path in () if unknown else without_lifetime(said.prompt_caches):
        told = "says how the cache matches and not for how long it keeps; add writes, as {5m: 1.25}, or like"
        yield document.problem(("prompt_caches", *path), told)


def _slips(document: Document) -> Iterator[Problem]:
    """Yield keys of the open-ended mappings that are one letter away from one we act on, which is not there itself."""
    for mapping, known in (("litellm_params", ParamsFile.model_fields), ("model_info", InfoFile.model_fields)):
        for path, said in document.matches("model_list", "*", mapping):
            for name in said if isinstance(said, dict) else ():
                meant = one_slip_from(name, known) if name not in known else None
                if meant is not None and meant not in said:
                    yield document.problem((*path, name), f"unknown key {name!r}", meant)


def _repeated(document: Document) -> Iterator[Problem]:
    """Yield key names, key hashes and fallbacks that are declared a second time."""
    fallbacks = [(path, path[-1]) for path, _ in document.matches("fallbacks", "*", "*")]
    hashes = [(path, str(value).lower()) for path, value in document.matches("keys", "*", "sha256")]
    for what, places in (
        ("a key named", [*document.matches("keys", "*", "name")]),
        ("a key with the sha256", hashes),
        ("a fallback for", fallbacks),
    ):
        first: dict[Any, int | None] = {}
        for path, value in places:
            if not isinstance(value, str):
                continue
            if value in first:
                shown = value if len(value) < 20 else value[:8] + "…"
                yield document.problem(path, f"there is already {what} {shown!r} (line {first[value]})")
            else:
                first[value] = document.line(path)


def _config(said: ConfigFile, document: Document, policies: Policies, environ: Mapping[str, str]) -> Config:
    folder = document.file.parent
    state = _state(said.state, folder)
    return Config(
        file=document.file,
        server=Server(**said.server.model_dump()),
        models=tuple(
            ModelEntry(
                model_name=entry.model_name,
                params=_given(entry.litellm_params),
                info=_given(entry.model_info),
                line=document.line(("model_list", index)),
            )
            for index, entry in enumerate(said.model_list)
        ),
        fallbacks={name: tuple(others) for group in said.fallbacks for name, others in group.items()},
        teams={name: Team(name, team.policy) for name, team in said.teams.items()},
        keys=tuple(
            KeyEntry(**key.model_dump(exclude={"models"}), models=None if key.models is None else tuple(key.models))
            for key in said.keys
        ),
        policies=policies.by_name,
        default_policy=said.default_policy,
        state=state,
        ledger=LedgerSettings(folder / said.ledger.dir, said.ledger.content, said.ledger.mode),
        unpriced=said.unpriced,
        cors=said.cors,
        log_upstream_errors=said.log_upstream_errors,
        aliases=dict(said.aliases),
        usual_keys=usual_keys(environ),
        network=network_of(environ),
        prompt_caches=said.prompt_caches,
        shipped=policies.shipped,
        lines=document.lines,
    )


def _given(entry: BaseModel) -> dict[str, Any]:
    """Return what was written, unknown keys included, without what was left out or left empty."""
    return {name: value for name, value in entry.model_dump(exclude_unset=True).items() if value is not None}


def startup_problems(config: Config) -> tuple[Problem, ...]:
    """Return what would keep the program from serving here and now: folders, the port's range, an open door.

    Makes the ledger's and the state's folder if they are not there. Whether the port is taken is seen when it is bound.
    """
    books = folders.ledger_folder_mode(config.ledger.mode, content=config.ledger.content != "none")
    return in_order(
        (
            *_unwritable(config, ("ledger", "dir"), "the ledger folder", config.ledger.dir, books),
            *_unwritable(config, ("state", "dir"), "the state folder", config.state.dir, folders.PRIVATE),
            *_unreachable(config),
            *network_problems(config),
        )
    )


def _unwritable(config: Config, path: KeyPath, what: str, folder: Path | None, mode: int) -> Iterator[Problem]:
    if folder is None:
        return
    try:
        folders.make(folder, mode)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\n")
    except OSError as error:
        yield config.problem(path, f"cannot write to {what} {folder}: {error.strerror}")


def _unreachable(config: Config) -> Iterator[Problem]:
    host, port = config.server.host, config.server.port
    if not 0 <= port <= 65535:
        yield config.problem(("server", "port"), f"{port} is not a port; choose one from 0 (any free one) to 65535")
    if not config.keys and not _loopback(host):
        told = f"open on {host}: without keys only a loopback address such as 127.0.0.1 is served; add keys"
        yield config.problem(("server", "host"), told)


def network_problems(config: Config) -> Iterator[Problem]:
    """Say what of the proxies and certificates that the environment names cannot be used."""
    for told in faults_of(config.network):
        yield config.problem((), told)
    file = config.network.certificates
    if file is None:
        return
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # an SSLError where it holds no certificate
        reason = error.strerror or "it holds no certificate"
        yield config.problem(
            (), f"SSL_CERT_FILE={file}: {reason}; name a file of certificates in PEM form, or unset it"
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


SCHEMAS: Mapping[str, TypeAdapter[Any]] = {"policy": POLICY_FILE, "config": CONFIG_FILE}


def check_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a `policy` file or of `config`.yaml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[kind].json_schema()}
