"""A policy: the token budget of a team's requests, and what is done to a request that is over it.

Each class here is a value that the gateway works with, the schema of its part of a policy file, and that part's
documentation. A file is put together with those that it extends in `gateway.config.merging`. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Final, Literal

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from pydantic.dataclasses import dataclass as declared

from gateway.config import quantities
from gateway.config.conditions import Condition, in_cel
from gateway.config.fields import (
    COUNT_SCHEMA,
    MOST_PATTERNS,
    SHARE_SCHEMA,
    STRICT,
    EachOnce,
    Pattern,
    Seconds,
    Share,
    SomePatterns,
    Span,
    Tokens,
    Word,
    is_from_file,
    key,
    named_key,
)
from gateway.config.ladder import Ladder
from gateway.config.limits import Budgets, RateLimits, Tightenings
from gateway.config.shares import COMPONENTS, Shares

PROFILE_METADATA = "gateway_profile"
"""The key of a request's metadata that names a profile, for callers that cannot set the header x-gateway-profile."""


def _window(value: Any, info: ValidationInfo) -> int | None:
    if value == "deployment" or (value is None and not is_from_file(info)):
        return None
    try:
        tokens = quantities.tokens(value)
    except ValueError as error:
        raise ValueError(f"{error}, or the word deployment") from error
    if not tokens:
        raise ValueError("a window of 0 tokens lets nothing through")
    return tokens


def _kept_free(what: str) -> PlainValidator:
    """Take auto (None), a share (a float) or tokens (an int); `what` says in the message for what it is kept free."""

    def read(value: Any, info: ValidationInfo) -> float | int | None:
        if value == "auto":
            return None
        if isinstance(value, float | None) and not is_from_file(info):
            return value
        if isinstance(value, str) and value.endswith("%"):
            return quantities.share(value)
        if isinstance(value, float) and 0 < value < 1:
            return value
        try:
            return quantities.tokens(value)
        except ValueError:
            raise ValueError(f"{value!r} is no {what}; write auto, a share (2%) or tokens (500)") from None

    return PlainValidator(read)


_KEPT_FREE_SCHEMA = WithJsonSchema({"anyOf": [{"const": "auto"}, *COUNT_SCHEMA["anyOf"], *SHARE_SCHEMA["anyOf"]]})
Output = Annotated[float | int | None, _kept_free("reserve for the answer"), _KEPT_FREE_SCHEMA]
Margin = Annotated[float | int | None, _kept_free("margin"), _KEPT_FREE_SCHEMA]
ContextWindow = Annotated[
    int | None,
    PlainValidator(_window),
    WithJsonSchema({"anyOf": [{"const": "deployment"}, *COUNT_SCHEMA["anyOf"]]}),
]
Component = Literal["system", "tools", "examples", "documents", "history", "input"]


@declared(config=STRICT, frozen=True, slots=True)
class Reserve:
    """What is kept free of the window."""

    output: Output = key(
        "auto",
        description="Kept free for the answer: tokens, a share of the window, or auto: as many as the request says its "
        "answer may have, rounded up to a power of two; where it does not say, as many as the model can write, at most "
        "4k and at most a quarter of the window.",
    )
    """An int is tokens, a float a share of the window; None is auto."""
    margin: Margin = key(
        "auto",
        description="Kept free for the error of the count: tokens, a share of the budget, or auto (measured).",
    )
    """An int is tokens, a float a share of the budget; None is auto."""


@declared(config=STRICT, frozen=True, slots=True)
class Utilization:
    """Targets for the report: how full each component's room should be on average. They change no request."""

    system: Span | None = key(None, description="A range of shares, as 60-75%.")
    tools: Span | None = key(None, description="A range of shares, as 60-75%.")
    examples: Span | None = key(None, description="A range of shares, as 60-75%.")
    documents: Span | None = key(None, description="A range of shares, as 60-75%.")
    history: Span | None = key(None, description="A range of shares, as 60-75%.")
    input: Span | None = key(None, description="A range of shares, as 60-75%.")
    overall: Span | None = key(None, description="Of the whole prompt's budget.")

    @property
    def targets(self) -> dict[str, tuple[float, float]]:
        """The ranges that are given, by component or `overall`."""
        return {name: ends for name in (*COMPONENTS, "overall") if (ends := getattr(self, name)) is not None}


@declared(config=STRICT, frozen=True, slots=True)
class Tools:
    """Whether tool definitions are left out of a request that does not fit."""

    select: int | None = key(
        None,
        ge=1,
        le=1000,
        description="Keep so many: those that the conversation calls, the one that the request names, and of the "
        "others those that bear most on the task. Left out, every definition stays.",
    )


@declared(config=STRICT, frozen=True, slots=True)
class Documents:
    """How documents are told from other text, and how they are arranged."""

    tags: tuple[Word, ...] = key(
        ["document", "doc", "context"], description="Text inside these tags is a document: <document>…</document>."
    )
    tools: tuple[Word, ...] = key(
        [], description="Results of these tools are documents; * stands for any letters (search_*)."
    )
    in_system: bool = key(
        False, description="Whether leading system text may hold documents too, which may then be shortened."
    )
    order: Literal["auto", "as_is", "rank", "bookend", "alternate", "interleave"] = key(
        "auto",
        description="How documents are arranged once a request is over. auto: bookend where the ladder names arrange, "
        "else as_is. as_is: the caller's order. rank: best first. "
        "bookend: best first and last. alternate: from both ends inwards. interleave: sources take turns.",
    )


@declared(config=STRICT, frozen=True, slots=True)
class Fold:
    """When old history is replaced by something shorter, and how much of it. Shares are of the room of history."""

    trigger: Share = key("100%", description="Once a prompt was over: fold when history passes this.")
    target: Share = key(
        "50%",
        description="Fold down to this: the newest history that takes up to target less artifacts stays whole. Low "
        "enough, and the next fold is far away and the provider's cache stays warm.",
    )
    artifacts: Share = key(
        "10%",
        description="Most that the list of one fold may take: rows, sentences, ids, numbers and paths of the folded "
        "part. All lists together take at most twice this.",
    )
    keep_turns: int = key(
        2, ge=0, le=1000, description="Newest turns that no remedy shortens, while they fit what a fold keeps whole."
    )
    keep_tool_results: int = key(
        3, ge=0, le=1000, description="Newest results that no remedy shortens, while they fit what a fold keeps whole."
    )
    clear_at_least: Share = key("10%", description="A fold that frees less than this is entered as forced.")
    when: Literal["over", "cheaper"] = key(
        "over",
        description="over: only when the request does not fit. cheaper: also when that is expected to cost less over "
        "the rest of the conversation.",
    )


@declared(config=STRICT, frozen=True, slots=True)
class Summarize:
    """Summaries of what is folded, written by a model in the background and stored; off unless enabled."""

    enabled: bool = key(False, description="Whether a model writes summaries. Their cost is the team's own.")
    model: Word = key("same", description="Who writes them: a model name of the gateway, or same (the request's own).")
    at_most: Share = key("10%", description="Largest summary, as a share of its source; a larger one is refused.")
    timeout: Seconds = key("8s", description="How long a summary may take.")
    """In seconds."""
    run: Literal["background", "inline"] = key(
        "background",
        description="background: a request never waits for its summary. inline: it waits up to timeout, so that "
        "already the first fold has one.",
    )
    on_failure: Literal["extract", "drop_oldest"] = key(
        "extract",
        description="What stands where no summary came. extract: the list alone. drop_oldest: only how much went.",
    )
    prompt: Word | None = key(
        None,
        description="A file with the text that asks for a summary, relative to this one; left out, the built-in text.",
    )
    """Of a policy, the text itself: `config.merging` reads the file."""


@declared(config=STRICT, frozen=True, slots=True)
class Examples:
    """How examples are told from the conversation."""

    names: tuple[Word, ...] = key(
        ["example_*"], description="Messages with such a `name` are examples; * stands for any letters."
    )
    tags: tuple[Word, ...] = key(
        ["example"], description="Messages that begin with such a tag are examples: <example>…"
    )


@declared(config=STRICT, frozen=True, slots=True)
class PromptCache:
    """What is done for the provider's prompt cache. Who is unknown gets no markers, whatever is said here."""

    markers: Literal["off", "on_reuse", "always"] = key(
        "on_reuse",
        description="on_reuse: what is expected to be read again often enough to pay for being kept is marked. always: "
        "every request is. off: none is; what the caller marked stays, always.",
    )
    ttl: Literal["auto", "5m", "1h"] = key(
        "auto",
        description="How long it is kept, where the provider leaves a choice. auto: by the gaps between requests so "
        "far.",
    )
    group_by: Annotated[tuple[Literal["team", "model", "policy", "user", "key"], ...], EachOnce] = key(
        ["team", "model"], description="Whose requests are expected to share prefixes."
    )
    volatile: Annotated[tuple[Pattern, ...], SomePatterns] = key(
        [],
        description="Text in leading system messages that changes from request to request, as regular expressions.",
        json_schema_extra={"maxItems": MOST_PATTERNS},
    )
    warm: Annotated[tuple[Word, ...], SomePatterns] = key(
        [],
        description="Prefixes that are read again before they expire, while that pays: the first lines of their system "
        "texts; * stands for any letters.",
        json_schema_extra={"maxItems": MOST_PATTERNS},
    )
    every: Seconds = key(
        "4m",
        description="How long after it was last used such a prefix is read again where it is kept for 5 minutes; one "
        "that is kept longer, as long before its end.",
    )
    """In seconds."""


def _ladder_reference(schema: dict[str, Any]) -> None:
    schema["$ref"] = next(one["$ref"] for one in schema.pop("oneOf") if "$ref" in one)


@declared(config=STRICT, frozen=True, slots=True, kw_only=True)
class PolicyBody:
    """The keys that both a policy and a profile of it may give."""

    strict: bool = named_key(
        False,
        description="Make every share a ceiling: a component above its share is cut, refused where it has no remedy.",
    )
    mode: Literal["off", "observe", "enforce"] = named_key(
        "enforce",
        description="off: pass everything on. observe: plan, log, send the original. enforce: send what was planned.",
    )
    context_window: ContextWindow = named_key(
        "deployment",
        description="Most tokens of prompt and answer; never more than the deployment's own. 32k, or deployment.",
    )
    """In tokens; None is exactly the deployment's own."""
    reserve: Reserve = named_key({}, description="What is kept free of the window.")
    allocation: Shares = named_key(
        {},
        description="Each component's share, or tokens. Under strict a share of the whole prompt's budget, otherwise "
        "of what is left after components without a remedy.",
    )
    utilization: Utilization = named_key({}, description="How full each room should be, for `report --utilization`.")
    tools: Tools = named_key({}, description="Which tool definitions a request keeps.")
    borrow: Annotated[tuple[Component, ...], EachOnce] = named_key(
        ["input", "documents", "history"], description="Who may take what the others leave, in this order."
    )
    documents: Documents = named_key({}, description="How documents are recognised and arranged.")
    ladder: Ladder = named_key(
        "auto",
        description="auto, or remedies by component. A ladder that is given replaces the inherited one as a whole.",
        json_schema_extra=_ladder_reference,
    )
    fold: Fold = named_key({}, description="When and how far old history is folded.")
    summarize: Summarize = named_key({}, description="Summaries by a model.")
    user_text: Share = named_key(
        "50%",
        description="Share of the room (what tools and system text leave of the budget) that what people said earlier "
        "keeps, word for word, before anything that tools returned or models wrote.",
    )
    recall: Share = named_key(
        "10%",
        description="Share of the room for excerpts of folded parts that bear on the question; 0 is none. Once "
        "something is folded, a fold is due when history passes the room less this, so that there is some.",
    )
    protect: Tokens = named_key("3k", description="A tool result that fewer tokens follow is not shortened yet.")
    examples: Examples = named_key({}, description="How examples are recognised.")
    preserve: Annotated[tuple[Pattern, ...], SomePatterns] = named_key(
        [],
        description="Sentences that survive any fold, as regular expressions.",
        json_schema_extra={"maxItems": MOST_PATTERNS},
    )
    prompt_cache: PromptCache = named_key({}, description="What is done for the provider's prompt cache.")
    effort: Tokens = named_key(
        "500k",
        description="Tokens of one request that the costlier remedies may read for the first time; beyond it the "
        "cheapest remedy serves.",
    )


class UnknownProfile(Exception):
    """The caller named a profile that the policy does not have."""

    def __init__(self, wanted: str, policy: str, known: Iterable[str]) -> None:
        self.wanted = wanted
        self.known = tuple(known)
        has = f"it has {', '.join(self.known)}" if self.known else "it has no profiles"
        super().__init__(
            f"Policy {policy} has no profile {wanted!r}; {has}. Choose another x-gateway-profile, or leave it out."
        )


@declared(config=STRICT, frozen=True, slots=True)
class Policy(PolicyBody):
    """A policy with nothing left open.

    `str()` is how headers, the ledger and `gateway check` name it: `support@4c1e09a2`, a profile of it
    `support/night@43016be8`.
    """

    name: str
    version: int = 2
    profile: str | None = None
    """The profile that is merged in, if one is."""
    profiles: tuple[Profile, ...] = ()
    budgets: Budgets = ()
    limits: RateLimits = ()
    tighten: Tightenings = ()
    digest: str = field(init=False)
    """Eight hex digits of all that decides bytes: what is the same has the same, on every machine."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest(self))

    def __str__(self) -> str:
        return f"{self.label}@{self.digest}"

    @property
    def label(self) -> str:
        """Its name, with the profile's where one is merged in: `support/night`."""
        return f"{self.name}/{self.profile}" if self.profile else self.name

    @property
    def document_order(self) -> Literal["as_is", "rank", "bookend", "alternate", "interleave"]:
        """Resolve `documents.order: auto`: a ladder that arranges wants the best documents first and last."""
        if self.documents.order == "auto":
            return "bookend" if "arrange" in self.ladder.documents else "as_is"
        return self.documents.order

    @property
    def variants(self) -> tuple[Policy, ...]:
        """All that a request under this policy may meet: itself, then each profile merged over it."""
        return (self, *(profile.policy for profile in self.profiles))

    def with_profile(self, name: str) -> Policy:
        """Return this policy with the profile merged in; raises UnknownProfile."""
        for profile in self.profiles:
            if profile.name == name:
                return profile.policy
        raise UnknownProfile(name, self.name, (profile.name for profile in self.profiles))

    def choose(self, facts: Mapping[str, Any], wanted: str | None = None) -> Policy:
        """Return what applies to a request: the profile it names, else the first whose `when` holds, else this policy.

        `wanted` is the header x-gateway-profile; `facts` come from `conditions.facts`, read only if there are profiles.
        Raises UnknownProfile: a caller who names a profile must not silently get another budget.
        """
        if wanted:
            return self.with_profile(wanted)
        if not self.profiles:
            return self
        named = facts["metadata"].get(PROFILE_METADATA)
        if isinstance(named, str) and named:
            return self.with_profile(named)
        conditional = [(profile.when, profile.policy) for profile in self.profiles if profile.when is not None]
        context = in_cel(facts) if conditional else None
        return next((policy for when, policy in conditional if when.holds(context)), self)


@dataclass(frozen=True, slots=True)
class Profile:
    """A variant of a policy, already merged over it."""

    name: str
    when: Condition | None
    policy: Policy


_APART: Final = frozenset({"utilization", "budgets", "limits", "profiles", "tighten", "digest"})
"""Left out of the digest: targets for the report, limits, which change no byte, and what is entered in another form."""


def _digest(policy: Policy) -> str:
    entered = {name: getattr(policy, name) for name in _NAMES if name not in _APART}
    entered["profiles"] = [
        (profile.name, profile.when.source if profile.when else None, profile.policy.digest)
        for profile in policy.profiles
    ]
    if policy.tighten:
        entered["tighten"] = policy.tighten
    canonical = json.dumps(entered, default=asdict, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


_NAMES: Final = tuple(one.name for one in fields(Policy))
