"""`config.yaml`, the policies beside it and the environment, read once into frozen values.

All mistakes are reported together, each with file, line and path (`ConfigErrors`). Problems of this machine, such as a
folder that cannot be written to, are in `gateway.config.startup`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from gateway.config import keys_file, references
from gateway.config.environment import read_in, usual_keys
from gateway.config.fields import FROM_FILE
from gateway.config.limits import Budget, RateLimit
from gateway.config.merging import POLICY_FILE, Policies, load_policies
from gateway.config.network import Network, network_of
from gateway.config.policy import Policy
from gateway.config.problems import KeyPath, Problem, from_validation, in_order
from gateway.config.prompt_cache_rules import CachesFile
from gateway.config.settings import (
    CONFIG_FILE,
    DEPLOYMENT_TIMEOUT,
    ConfigFile,
    KeyEntry,
    LedgerSettings,
    MetricsSettings,
    ModelEntry,
    OtelSettings,
    ResponseCacheSettings,
    Server,
    StateSettings,
    Team,
)
from gateway.config.webhooks import Webhook
from gateway.config.yaml import YamlDocument, read_yaml
from gateway.memory import DEFAULT_BYTES

__all__ = [
    "Config",
    "ConfigErrors",
    "KeyEntry",
    "LedgerSettings",
    "MetricsSettings",
    "ModelEntry",
    "OtelSettings",
    "ResponseCacheSettings",
    "Server",
    "StateSettings",
    "Team",
    "check_schema",
    "control_folder",
    "ledger_dir",
    "load",
    "state_place",
]

_STATE: Final = TypeAdapter(StateSettings)


class ConfigErrors(Exception):
    """The configuration cannot be used; `problems` has every reason, `str()` prints one per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


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
    state: StateSettings
    ledger: LedgerSettings
    unpriced: Literal["refuse", "allow"]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of models: name → the `model_name` that is meant."""
    usual_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of the environment variables that may be providers' keys, for entries without one."""
    network: Network = field(default_factory=Network)
    """The proxies and certificates by which upstreams are reached."""
    memory: int = DEFAULT_BYTES
    """Bytes that each worker may remember."""
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    otel: OtelSettings = field(default_factory=OtelSettings)
    response_cache: ResponseCacheSettings = field(default_factory=ResponseCacheSettings)
    cors: tuple[str, ...] = ()
    """Origins whose pages are served."""
    log_upstream_errors: bool = False
    """True if the errors of upstreams are logged in their own words."""
    prompt_caches: CachesFile | None = None
    """The operator's rules of providers' prompt caches; they go before the shipped ones."""
    policies_folder: Path = Path("policies")
    keys_file: Path | None = None
    """The file of keys beside `file`. Its keys are among `keys`."""
    watch: bool = False
    """Whether a change of its files is taken in at once."""
    shipped: frozenset[str] = frozenset()
    """Names of the policies that come with the program and are as they came."""
    budgets: tuple[Budget, ...] = ()
    """Of the whole gateway."""
    limits: tuple[RateLimit, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    lines: Mapping[KeyPath, int] = field(default_factory=dict, repr=False, compare=False)
    """The line of each key in `file`, for problems that are seen later."""

    @property
    def is_open(self) -> bool:
        """Whether anybody may ask, without a key."""
        return not self.keys and self.keys_file is None

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

    @property
    def control(self) -> Path:
        """The folder of the socket by which the program that runs is reached."""
        return self.file.parent / self.server.control

    @property
    def grace(self) -> float:
        """Seconds that a stop waits for answers under way."""
        timeouts = (float(entry.params.get("timeout") or DEPLOYMENT_TIMEOUT) for entry in self.models)
        return self.server.grace or max(timeouts, default=DEPLOYMENT_TIMEOUT)

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
    document = read_yaml(path)
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
    problems += references.unsound_rules(said, document)
    folder = path.parent / _text(data, "policies", "policies")
    policies = load_policies(folder)
    keys = keys_file.load_keys(keys_file.keys_place(document))
    problems += (*missing, *policies.problems, *keys.problems)
    problems += references.broken_references(document, policies, keys.document)
    problems += (
        *references.no_folder(document, folder),
        *references.declared_twice(document, keys.document),
        *references.slips(document),
    )
    if problems or said is None:
        raise ConfigErrors(problems)
    return _config(said, document, policies, environ, keys.entries)


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
    folder = said.get("dir", str(LedgerSettings().dir)) if isinstance(said, dict) else None
    if missing or not isinstance(folder, str) or not folder:
        raise ConfigErrors(missing or [document.problem(("ledger", "dir"), "names no folder")])
    return path.parent / folder


def control_folder(path: Path) -> Path:
    """Read where the program that runs is reached, and nothing else: the rest may be broken. Raises ConfigErrors."""
    document = read_yaml(path)
    said = document.data.get("server") if isinstance(document.data, dict) else None
    return path.parent / _text(said, "control", str(Server().control))


def state_place(path: Path, environ: Mapping[str, str]) -> StateSettings:
    """Read where the state of a configuration is, and nothing else. Raises ConfigErrors."""
    document, said, missing = _section(path, "state", environ)
    if missing:
        raise ConfigErrors(missing)
    try:
        return _located(_STATE.validate_python(said), path.parent)
    except ValidationError as error:
        raise ConfigErrors([document.problem(("state",), "names neither a folder nor a Redis server")]) from error


def _section(path: Path, name: str, environ: Mapping[str, str]) -> tuple[YamlDocument, Any, list[Problem]]:
    """Read one section of a configuration, and which variables are missing for it. Raises ConfigErrors."""
    document = read_yaml(path)
    if document.data is None:
        raise ConfigErrors(document.problems)
    if not isinstance(document.data, dict):
        raise ConfigErrors([document.problem((), "must be a mapping")])
    missing: list[Problem] = []
    return document, read_in(document.data.get(name, {}), (name,), document, environ, missing), missing


def _located(state: StateSettings, folder: Path) -> StateSettings:
    """Return where the state is kept; folders are relative to the configuration."""
    return state if state.redis else replace(state, dir=folder / (state.dir or "var/state"))


_MADE_UP: Mapping[str, str] = {
    "api_base": "http://not-set.invalid/v1",
    "base_url": "http://not-set.invalid/v1",
    "sha256": "0" * 64,
    "model": "demo/demo",
}
"""Placeholders for variables that are not set, where a value must stand."""


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


def _config(
    said: ConfigFile,
    document: YamlDocument,
    policies: Policies,
    environ: Mapping[str, str],
    keys: Iterable[KeyEntry],
) -> Config:
    folder = document.file.parent
    return Config(
        file=document.file,
        server=said.server,
        models=tuple(
            ModelEntry.of(entry, document.line(("model_list", index))) for index, entry in enumerate(said.model_list)
        ),
        fallbacks={name: tuple(others) for group in said.fallbacks for name, others in group.items()},
        teams=said.teams,
        keys=(*said.keys, *keys),
        keys_file=keys_file.keys_place(document),
        policies=policies.by_name,
        default_policy=said.default_policy,
        state=_located(said.state, folder),
        ledger=replace(said.ledger, dir=folder / said.ledger.dir),
        unpriced=said.unpriced,
        metrics=said.metrics,
        otel=said.otel,
        response_cache=replace(said.response_cache, dir=folder / said.response_cache.dir),
        cors=said.cors,
        budgets=said.budgets,
        limits=said.limits,
        webhooks=said.webhooks,
        memory=said.memory,
        log_upstream_errors=said.log_upstream_errors,
        aliases=said.aliases,
        usual_keys=usual_keys(environ),
        network=network_of(environ),
        prompt_caches=said.prompt_caches,
        policies_folder=folder / said.policies,
        watch=said.watch,
        shipped=policies.shipped,
        lines=document.lines,
    )


SCHEMAS: Mapping[str, TypeAdapter[Any]] = {"policy": POLICY_FILE, "config": CONFIG_FILE}


def check_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a `policy` file or of `config`.yaml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[kind].json_schema()}
