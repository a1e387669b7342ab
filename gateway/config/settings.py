"""`config.yaml`, section by section. The environment has been read in before.

A section that is a dataclass is the value that the gateway works with, the schema and the documentation in one. A
deployment is handed on as it is written (`ModelEntry`), and `gateway.config.Config` is put together of the whole file,
the policies beside it and the environment. A file's folders are relative to it: `gateway.config` resolves them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.dataclasses import dataclass as declared

from gateway.config import quantities
from gateway.config.fields import STRICT, Name, Seconds, Share, Strict, Tokens, Word, is_from_file, key
from gateway.config.limits import Budgets, RateLimits
from gateway.config.prompt_cache_rules import CachesFile
from gateway.config.webhooks import Webhooks


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("is not a sha256: 64 hex digits; `gateway keys new` makes a key and prints this line")
    return value.lower()


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a moment; write 2030-12-31 or 2030-12-31T18:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+[^#\s]*", value.strip()):
        raise ValueError("is not an address; it begins with http:// or https:// and holds neither white space nor a #")
    return value.strip()


def _credential(value: str) -> str:
    """Take white space off its ends, as a secret read from a file has it, and refuse what no header carries."""
    value = value.strip()
    strange = re.search(r"[^\x21-\x7e]", value)
    if strange is not None:
        at, code = strange.start() + 1, ord(strange[0])
        raise ValueError(f"is not a credential: character {at} of {len(value)} (U+{code:04X}) cannot stand in a header")
    return value


def _header_values(value: Any) -> Any:
    """Read headers to send along; what HTTP cannot carry is refused here, and not at each request."""
    if not isinstance(value, dict):
        raise ValueError("is not a mapping of header names to values")  # noqa: TRY004  # what pydantic reports
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ValueError(f"holds {name!r}, which is not the name of a header")
        if not isinstance(text, str | int | float) or not re.fullmatch(r"[\x20-\x7e\t]*", str(text).strip()):
            raise ValueError(f"gives {name} a value that is not text a header can carry")
    return {name: str(text).strip() for name, text in value.items()}


def _host(value: str) -> str:
    name = value.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    is_address = ":" in name and re.fullmatch(r"[0-9a-f:.]+", name) and name.count(":") > 1
    if not is_address and not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
        raise ValueError(
            f"{value!r} is not the name of a host; write it alone, as gateway.internal: no scheme, no port"
        )
    return name


def _origin(value: str) -> str:
    origin = value.strip().removesuffix("/").lower()
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/*@]+", origin):
        raise ValueError(f"{value!r} is not an origin; write scheme, host and port alone, as https://app.example.com")
    return origin


def _mode(value: Any, info: ValidationInfo) -> int:
    """Read the mode of a file as `chmod` takes it; YAML leaves of 0640 the number 640."""
    if isinstance(value, int) and not is_from_file(info):
        return value
    text = str(value).removeprefix("0o")
    mode = int(text, 8) if re.fullmatch(r"0?[0-7]{3}", text) else 0
    if isinstance(value, bool) or mode & 0o600 != 0o600 or mode & ~0o664:
        raise ValueError(f"{value!r} is not a mode for the ledger's files; write 0600, 0640, 0644 or 0660")
    return mode


def _redis_url(value: str) -> str:
    if not re.match(r"(rediss?|unix)://\S+", value):
        raise ValueError("is not a Redis address; it begins with redis://, rediss:// or unix://")
    return value


def _price(value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+(e-?[0-9]+)?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError(f"{value!r} is not a price; write US dollars for one token, as 1.25e-6")
    return float(value)


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")  # a number is an address to it
    except ValueError:
        raise ValueError(f"{value!r} is not an address or a network; write 10.0.0.7 or 10.0.0.0/8") from None


def _clock(value: Any) -> float:
    seconds = quantities.seconds(value)
    if not _SHORTEST_CLOCK <= seconds <= _LONGEST_CLOCK:
        raise ValueError(f"{value!r} is not between 100ms and 1d")
    return seconds


_SHORTEST_CLOCK, _LONGEST_CLOCK = 0.1, 86_400.0


def _wait(value: Any) -> float:
    if value == 0 or (isinstance(value, str) and re.fullmatch(r"0+(ms|s|m|h|d)?", value)):
        return 0.0
    return _clock(value)


def _not_empty(words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an empty list. The `min_length` of a tuple counts sound elements only."""
    if not words:
        raise ValueError("must not be empty")
    return words


def _folder(value: Any, word: ValidatorFunctionWrapHandler) -> Path:
    return value if isinstance(value, Path) else Path(word(value))


def _nothing_as(empty: Any) -> BeforeValidator:
    """Read `key:` with nothing after it as empty: what is left when every entry is commented out."""
    return BeforeValidator(lambda value: empty if value is None else value)


Price = Annotated[float, PlainValidator(_price), WithJsonSchema({"type": "number", "minimum": 0})]
Bytes = Annotated[
    int,
    PlainValidator(quantities.size_in_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": quantities.BYTES_PATTERN}]}
    ),
]
Sha256 = Annotated[str, AfterValidator(_sha256), Field(json_schema_extra={"pattern": "^[0-9a-fA-F]{64}$"})]
Moment = Annotated[datetime, PlainValidator(_moment), WithJsonSchema({"type": "string"})]
Url = Annotated[str, AfterValidator(_url), Field(json_schema_extra={"pattern": "^(https?://|os\\.environ/|\\$\\{)"})]
Credential = Annotated[str, AfterValidator(_credential)]
HeaderValues = Annotated[
    dict[str, Any],
    PlainValidator(_header_values),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number"]}}),
]
Mode = Annotated[
    int,
    PlainValidator(_mode),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^(0o|0)?[0-7]{3}$"}]}),
]
Folder = Annotated[
    Path, GetPydanticSchema(lambda _, handler: handler.generate_schema(Annotated[Word, WrapValidator(_folder)]))
]
SomeWords = Annotated[tuple[Word, ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})]
Host = Annotated[str, AfterValidator(_host)]
Origin = Annotated[str, AfterValidator(_origin)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
Clock = Annotated[
    float,
    PlainValidator(_clock),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": _SHORTEST_CLOCK, "maximum": _LONGEST_CLOCK},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"},
            ]
        }
    ),
]
Wait = Annotated[
    float,
    PlainValidator(_wait),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _LONGEST_CLOCK},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"},
            ]
        }
    ),
]
NetworkOf = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network, PlainValidator(_network), WithJsonSchema({"type": "string"})
]


class Open(BaseModel):
    """A mapping that takes keys we do not know, as LiteLLM's do."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_default=True, defer_build=True)


@declared(config=STRICT, frozen=True, slots=True)
class Server:
    """Where the gateway listens, and what a client may cost it."""

    host: Word = key("127.0.0.1", description="Address to listen on. Without keys only a loopback address is served.")
    port: Port = key(8080, description="Port to listen on; 0 takes any free one.")
    workers: int = key(1, ge=1, le=256, description="Processes that share the port.")
    max_body: Bytes = key(
        "32MB", description="Largest request body, unpacked where it came packed; a larger one is answered 413."
    )
    """In bytes, as is the next."""
    max_answer: Bytes = key(
        "64MB",
        description="Largest answer of an upstream, unpacked: a whole one, or one event of a stream. What is larger is"
        " cut, and is a failure of the upstream's.",
    )
    hosts: Annotated[tuple[Host, ...], _nothing_as(())] = key(
        [],
        description="Names by which a gateway without keys may be called, beside localhost and loopback addresses.",
    )
    header_timeout: Clock = key("10s", description="How long a client may take for its URL and headers.")
    body_timeout: Clock = key("30s", description="How long a body may make no progress.")
    keep_alive: Clock = key("75s", description="How long a connection may stay without a request.")
    write_timeout: Clock = key("60s", description="How long a client may take nothing of what it is sent.")
    connections_per_address: int | None = key(
        None,
        ge=1,
        description="Most connections of one address (of IPv6: of one /64) to each worker; left out, no limit.",
    )
    trusted_proxies: Annotated[tuple[NetworkOf, ...], _nothing_as(())] = key(
        [],
        description="Addresses and networks of your own proxies: whose X-Forwarded-For says whom a request is of.",
    )
    max_in_flight: int | None = key(
        None,
        ge=1,
        description="Most requests under way in each worker; near it, keys of a low priority are refused first. Left"
        " out, max_lag alone decides.",
    )
    max_lag: Clock = key(
        "500ms",
        description="How late a worker's event loop may be before requests of keys with priority 0 are refused; those"
        " with a lower one at a quarter of it, with a higher one at eight times.",
    )
    drain: Wait = key(
        "0s",
        description="How long a stop goes on taking requests, while /ready says 503 and each answer ends its"
        " connection: as long as those in front take to notice.",
    )
    grace: Clock | None = key(
        None,
        description="How long a stop then waits for answers under way; left out, the longest timeout of a deployment.",
    )
    control: Folder = key(
        "var/control", description="Folder of the socket by which `gateway reload` reaches the program that runs."
    )


DEPLOYMENT_TIMEOUT: Final = 600


class ParamsFile(Open):
    """How to reach a deployment, and what its requests hold where the client says nothing. As in LiteLLM, members of a
    request's body (temperature, max_tokens …) are such defaults, and a provider's own keys (aws_…, vertex_…) go along.
    """

    model: Word = Field(description="provider/model, as openai/gpt-5 or anthropic/claude-sonnet-5.")
    api_base: Url | None = key(None, description="The provider's address, where it is not the usual one.")
    api_key: Credential | None = key(
        None,
        description="The provider's credential; os.environ/NAME reads it from the environment. Left out, it is the"
        " provider's usual variable, as OPENAI_API_KEY; none sends no key at all.",
    )
    timeout: Seconds = key(DEPLOYMENT_TIMEOUT, description="Seconds without a byte after which a call has failed.")
    weight: float = key(
        1,
        ge=0,
        allow_inf_nan=False,
        description="This deployment's share of the conversations, against the others of its name.",
    )
    order: int | None = key(
        None, ge=0, description="Those of its name with a lower number are asked first; without one, last."
    )
    extra_headers: HeaderValues | None = key(None, description="Headers to send along.")
    organization: Credential | None = key(None, description="Of OpenAI: whom its account bills.")
    headers: HeaderValues | None = key(None, description="The same, under LiteLLM's other name.")
    extra_body: dict[str, Any] | None = key(
        None, description="Members of the request's body, of any name, where the client does not send them."
    )
    stream_options: dict[str, Any] | None = key(
        None, description="{include_usage: false} where the server takes no stream_options; else it is found out."
    )
    additional_drop_params: list[str] | None = key(
        None, description="Members of the request's body that are left out for this deployment."
    )


class InfoFile(Open):
    """Facts about a model where the price table is wrong or silent. Open-ended, as in LiteLLM."""

    max_input_tokens: Tokens | None = key(None, description="The context window.")
    max_output_tokens: Tokens | None = key(None, description="The longest answer.")
    input_cost_per_token: Price | None = key(None, description="US dollars for one prompt token.")
    output_cost_per_token: Price | None = key(None, description="US dollars for one completion token.")
    cache_read_input_token_cost: Price | None = key(None, description="US dollars for one cached prompt token.")
    cache_creation_input_token_cost: Price | None = key(
        None, description="US dollars for one prompt token written to the cache."
    )
    speaks: list[Literal["chat", "responses", "messages"]] | None = key(
        None, description="What a server of your own speaks beside chat completions: [responses]."
    )


class ModelFile(Strict):
    """One deployment. The same `model_name` twice makes two deployments to choose from."""

    model_name: Word = Field(description="What clients ask for.")
    litellm_params: ParamsFile = Field(description="How to reach it.")
    model_info: InfoFile = key({}, description="Facts where the price table is wrong or silent.")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of `model_list` as it was written: a deployment."""

    model_name: str
    params: Mapping[str, Any] = field(repr=False)
    """LiteLLM's `litellm_params`, the environment read in: it holds credentials, so it is never printed."""
    info: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None

    @classmethod
    def of(cls, entry: ModelFile, line: int | None) -> ModelEntry:
        """Return what a file gives, keys of other names included, without those that it leaves out or empty."""
        return cls(entry.model_name, _given(entry.litellm_params), _given(entry.model_info), line)


def _given(mapping: Open) -> dict[str, Any]:
    return {name: value for name, value in mapping.model_dump(exclude_unset=True).items() if value is not None}


@declared(config=STRICT, frozen=True, slots=True)
class Team:
    """A team."""

    policy: Word | None = key(None, description="The policy of the team's keys; left out, it is default_policy.")
    budgets: Budgets = key([], description="Amounts of money for a period, of the team.")
    limits: RateLimits = key({}, description="Requests and tokens a minute, and requests at the same time.")


@declared(config=STRICT, frozen=True, slots=True)
class FormerSecret:
    """The secret that a key had before it was rotated, good for a while beside the new one."""

    sha256: Sha256 = Field(description="Its hash.")
    until: Moment = Field(description="From this moment on it is refused.")


KeyOperation = Literal["chat", "responses", "messages", "embeddings", "completions", "moderations", "rerank", "compact"]


@declared(config=STRICT, frozen=True, slots=True)
class KeyEntry:
    """A virtual key. The key itself is nowhere, only its hash."""

    name: Name = Field(description="What reports call it.")
    sha256: Sha256 = Field(description="Hash of the key, 64 hex digits.")
    team: Word = key("default", description="Who pays; also whose policy applies.")
    models: SomeWords | None = key(None, description="Model names it may ask for; left out, all.")
    expires: Moment | None = key(
        None, description="From this moment on it is refused. UTC where no offset is given; a date is its first moment."
    )
    policy: Word | None = key(None, description="Its own policy, before the team's.")
    user: Word | None = key(None, description="Whom all its requests are for, whatever they say themselves.")
    paths: Annotated[tuple[KeyOperation, ...], AfterValidator(_not_empty)] | None = key(
        None, description="Operations that it may use, as [chat, embeddings]; left out, all."
    )
    not_before: Moment | None = key(None, description="Until this moment it is refused.")
    ips: Annotated[tuple[NetworkOf, ...], AfterValidator(_not_empty)] | None = key(
        None,
        description="Addresses and networks that it may be used from; left out, any. Behind server.trusted_proxies the"
        " client's own address counts.",
    )
    priority: int = key(0, ge=-100, le=100, description="Under load, keys of a higher one are served first.")
    former: Annotated[tuple[FormerSecret, ...], _nothing_as(())] = key(
        [], description="Hashes that it had before `gateway keys rotate`, each with its end."
    )
    revoked: Moment | None = key(
        None, description="When it was taken back: it is refused, and its line still explains old entries."
    )
    budgets: Budgets = key([], description="Amounts of money for a period, of this key.")
    limits: RateLimits = key({}, description="Requests and tokens a minute, and requests at the same time.")


class KeysFile(Strict):
    """The keys file, as `gateway keys` writes it."""

    keys: Annotated[list[KeyEntry], _nothing_as([])] = key([], description="Virtual keys.")


KEYS_FILE: Final = TypeAdapter(KeysFile)
"""Reads the keys file."""


@declared(config=STRICT, frozen=True, slots=True)
class StateSettings:
    """Where shared state is kept: a folder, or Redis for several machines."""

    dir: Folder | None = key(None, description="A folder, relative to this file. var/state where neither is given.")
    redis: RedisUrl | None = key(None, repr=False, description="A Redis address, redis://….")
    timeout: Seconds = key(
        "50ms",
        description="How long planning a request waits for the state, in all. Three answers that took longer within ten"
        " seconds, and requests are planned without it until it answers in time again.",
    )
    counters_timeout: Seconds = key(
        "1s",
        description="How long a request waits for the counters of limits. Three errors in a row, and they are down "
        "until they answer again.",
    )
    on_store_down: Literal["refuse", "allow"] = key(
        "refuse",
        description="What becomes of requests under limits while the counters are down: refused with 503, or served "
        "without limits and counted afterwards.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> StateSettings:
        if self.dir is not None and self.redis is not None:
            raise ValueError("give either dir or redis, not both")
        return self


@declared(config=STRICT, frozen=True, slots=True)
class ResponseCacheSettings:
    """Answers that are given again without asking an upstream."""

    embeddings: Seconds | None = key(
        None, description="How long vectors are kept by what was embedded, such as 30d. Left out, none are."
    )
    dir: Folder = key("var/vectors", description="A folder, relative to this file; with Redis, they lie there.")


@declared(config=STRICT, frozen=True, slots=True)
class LedgerSettings:
    """The books."""

    dir: Folder = key("var/ledger", description="A folder, relative to this file.")
    content: Literal["none", "requests"] = key(
        "none",
        description="What of the messages is kept, in files beside the books: none, or the requests as they came,"
        " for gateway simulate.",
    )
    mode: Mode | None = key(
        None, description="Mode of new ledger files. Left out: 0640 less the umask. Requests that are kept are 0600."
    )


@declared(config=STRICT, frozen=True, slots=True)
class MetricsSettings:
    """Metrics for Prometheus, of all workers, at a port of their own."""

    port: Port | None = key(None, description="Port of /metrics; 0 takes any free one. Left out, there are none.")
    host: Word = key(
        "127.0.0.1", description="Address to listen on. No key is asked for there, and teams and keys are named."
    )


@declared(config=STRICT, frozen=True, slots=True)
class OtelSettings:
    """Traces and metrics for a collector of OpenTelemetry's, over OTLP. Needs the extra `otel`."""

    endpoint: Url | None = key(
        None, description="Address of the collector, as http://127.0.0.1:4318. Left out, nothing is sent."
    )
    sample: Share = key(
        "100%", description="Share of the requests that are traced where the client's traceparent does not say."
    )
    headers: HeaderValues = key({}, repr=False, description="Headers for the collector, as a credential.")


LEAST_MEMORY: Final = 16_000_000


def _enough_memory(size: int) -> int:
    if size < LEAST_MEMORY:
        raise ValueError(f"{size} bytes are too little to remember a conversation in; write 16MB or more")
    return size


class ConfigFile(Strict):
    """The gateway's own file. os.environ/NAME reads the environment; paths are relative to the file."""

    server: Server = key({}, description="Where the gateway listens, and what a client may cost it.")
    model_list: Annotated[list[ModelFile], Field(min_length=1)] = Field(
        description="The deployments. A LiteLLM list can be pasted in."
    )
    fallbacks: Annotated[list[dict[str, list[Word]]], _nothing_as([])] = key(
        [],
        description="Models to try when all deployments of a name have failed, in order: [{gpt-5: [claude-sonnet]}].",
    )
    aliases: Annotated[dict[str, Word], _nothing_as({})] = key(
        {}, description="Other names of models, by which clients may ask for them: {gpt-4: gpt-5}."
    )
    teams: Annotated[dict[str, Team], _nothing_as({})] = key({}, description="Teams by name.")
    keys: Annotated[list[KeyEntry], _nothing_as([])] = key(
        [], description="Virtual keys. None at all = open to anybody who reaches the port."
    )
    keys_file: Word | None = key(
        None,
        description="A file of more keys, relative to this one: `gateway keys` writes it. With it the gateway is never"
        " open, even where it holds no key.",
    )
    policies: Word = key("policies", description="Folder of policy files, relative to this file.")
    budgets: Budgets = key([], description="Amounts of money for a period, of the whole gateway.")
    limits: RateLimits = key({}, description="Rates of the whole gateway, or of each team, user, model …")
    default_policy: Word = key("default", description="The policy where neither key nor team has one.")
    state: StateSettings = key({}, description="Where shared state is kept.")
    ledger: LedgerSettings = key({}, description="The books.")
    response_cache: ResponseCacheSettings = key({}, description="Answers that are given again.")
    metrics: MetricsSettings = key({}, description="Metrics for Prometheus.")
    otel: OtelSettings = key({}, description="Traces and metrics for OpenTelemetry.")
    unpriced: Literal["refuse", "allow"] = key(
        "refuse", description="A model without a price: refuse its requests, or allow them and enter them as unpriced."
    )
    memory: Annotated[Bytes, AfterValidator(_enough_memory)] = key(
        "256MB",
        description="What each worker may remember of texts, prompt caches and conversations. Less costs time, never"
        " an answer. At least 16MB.",
    )
    webhooks: Webhooks = key([], description="Addresses that are told once a period of a soft budget that is passed.")
    cors: Annotated[tuple[Origin, ...], _nothing_as(())] = key(
        [],
        description="Origins whose pages may call the gateway from a browser, as https://app.example.com.",
    )
    log_upstream_errors: bool = key(
        False,
        description="Log what upstreams say in errors: it may quote requests. Credentials are taken out all the same.",
    )
    watch: bool = key(
        False, description="Reload by itself when this file or a policy changes. SIGHUP and `gateway reload` always do."
    )
    prompt_caches: CachesFile = key(
        {}, description="What you know better of providers' prompt caches; it goes before what comes with the program."
    )


CONFIG_FILE: Final = TypeAdapter(ConfigFile)
"""Reads `config.yaml`, and is its schema."""
