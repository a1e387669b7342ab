"""What a policy file may say: every key, what it means, its default, and what this release still refuses.

These models only read; what the gateway works with are the values of `gateway.config.policy`. A file is read on its own
here; `extends` and profiles are merged afterwards, so every key is optional but `name`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
)

from gateway.config import quantities
from gateway.config.conditions import FACTS, compile_condition
from gateway.config.patterns import why_slow
from gateway.config.problems import closest

COMPONENTS = ("system", "tools", "examples", "documents", "history", "input")
NOT_YET = "not in this release"

T = TypeVar("T")


def _count(description: str | None = None) -> dict[str, Any]:
    words = {"description": description} if description else {}
    return words | {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": quantities.TOKENS_PATTERN}]
    }


_SHARE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": quantities.SHARE_PATTERN}]
}

ShareOrTokens = Annotated[
    float | int,
    PlainValidator(quantities.share_or_tokens),
    WithJsonSchema({"anyOf": [*_SHARE_SCHEMA["anyOf"], *_count()["anyOf"]]}),
]
Span = Annotated[
    tuple[float, float],
    PlainValidator(quantities.span),
    WithJsonSchema({"type": "string", "pattern": quantities.SPAN_PATTERN}),
]
Tokens = Annotated[int, PlainValidator(quantities.tokens), WithJsonSchema(_count())]
Share = Annotated[float, PlainValidator(quantities.share), WithJsonSchema(_SHARE_SCHEMA)]


def _window(value: Any) -> int | None:
    if value == "deployment":
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

    def read(value: Any) -> float | int | None:
        if value == "auto":
            return None
        if isinstance(value, str) and value.endswith("%"):
            return quantities.share(value)
        if isinstance(value, float) and 0 < value < 1:
            return value
        try:
            return quantities.tokens(value)
        except ValueError:
            raise ValueError(f"{value!r} is no {what}; write auto, a share (2%) or tokens (500)") from None

    return PlainValidator(read)


def _version(value: Any) -> Literal[2]:
    if value == 2 and not isinstance(value, bool | float):
        return 2
    if value == 1 and not isinstance(value, bool | float):
        raise ValueError("version 1 of the rewriting is no longer there; write 2, or leave it out")
    raise ValueError(f"{value!r} is no version of the rewriting; write 2, or leave it out")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            f"{value!r} is not a name: letters, digits, dot, dash and underscore, at most 64, not beginning with a sign"
        )
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


LONGEST_PATTERN = 500
MOST_PATTERNS = 50


def _preserving(value: str) -> str:
    """Take a pattern that is run over every text that is folded: it must stay fast whatever the text is."""
    if len(value) > LONGEST_PATTERN:
        raise ValueError(f"a pattern of {len(value)} characters; at most {LONGEST_PATTERN}: make several of it")
    slow = why_slow(_pattern(value))
    if slow:
        raise ValueError(f"can take minutes on an unlucky text: {slow}")
    return value


def _not_too_many(patterns: list[str]) -> list[str]:
    if len(patterns) > MOST_PATTERNS:
        raise ValueError(f"has {len(patterns)} patterns; at most {MOST_PATTERNS}")
    return patterns


def _condition(value: str) -> str:
    compile_condition(value)
    return value


def _each_once(values: list[T]) -> list[T]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"names {value!r} twice")
    return values


def _later(off: Any, told: str | None = None) -> AfterValidator:
    """Refuse every value but the off one: a key that would be accepted and do nothing is worse than none."""

    def check(value: T) -> T:
        if value != off:
            what = f"{value!r} is {NOT_YET}" if isinstance(value, str) else NOT_YET
            said = told or ("" if off == [] else str(off).lower())
            raise ValueError(f"{what}; leave it out" + (f", or say {said}" if said else ""))
        return value

    return AfterValidator(check)


_AUTO_IS_WHOLE = "auto is for the whole ladder: write `ladder: auto`, or name the remedies of this component"


def _not_auto(value: Any) -> Any:
    if value == "auto":
        raise ValueError(_AUTO_IS_WHOLE)
    return value


def _one_of(*now: str) -> PlainValidator:
    """Take a remedy of this component."""

    def check(value: Any) -> str:
        if value in now:
            return str(value)
        if value == "auto":
            raise ValueError(_AUTO_IS_WHOLE)
        meant = closest(value, now) if isinstance(value, str) else None
        offer = f"there are {', '.join(now)}" if len(now) > 1 else f"there is {now[0]}"
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise ValueError(f"{value!r} is no remedy here; {offer}{hint}")

    return PlainValidator(check)


def _words(*known: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(known)})


def _no_remedy(value: Any) -> list[str]:
    if value != []:
        raise ValueError("this component has no remedy: it is never cut, so the ladder cannot name one")
    return []


Name = Annotated[
    str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
]
Word = Annotated[str, Field(min_length=1)]
Window = Annotated[
    int | None,
    PlainValidator(_window),
    WithJsonSchema({"anyOf": [{"const": "deployment"}, *_count()["anyOf"]]}),
]
_KEPT_FREE_SCHEMA = WithJsonSchema({"anyOf": [{"const": "auto"}, *_count()["anyOf"], *_SHARE_SCHEMA["anyOf"]]})
Margin = Annotated[float | int | None, _kept_free("margin"), _KEPT_FREE_SCHEMA]
Output = Annotated[float | int | None, _kept_free("reserve for the answer"), _KEPT_FREE_SCHEMA]
Version = Annotated[Literal[2], PlainValidator(_version), WithJsonSchema({"const": 2})]
Seconds = Annotated[
    float,
    PlainValidator(quantities.seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)$"},
            ]
        }
    ),
]
Period = Annotated[
    str, PlainValidator(quantities.period), WithJsonSchema({"type": "string", "pattern": quantities.DURATION_PATTERN})
]
Pattern = Annotated[str, AfterValidator(_pattern), Field(json_schema_extra={"format": "regex"})]
Component = Literal["system", "tools", "examples", "documents", "history", "input"]
Preserving = Annotated[
    str,
    Field(max_length=LONGEST_PATTERN * 100, json_schema_extra={"format": "regex", "maxLength": LONGEST_PATTERN}),
    AfterValidator(_preserving),
]
NoRemedy = Annotated[list[str], PlainValidator(_no_remedy), WithJsonSchema({"type": "array", "maxItems": 0})]


class Strict(BaseModel):
    """A mapping in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def key(default: Any, description: str, **more: Any) -> Any:
    """Describe a key that may be left out; its default is spelled as in a file, for the schema shows it."""
    return Field(default, description=description, **more)


class ReserveFile(Strict):
    """What is kept free of the window."""

    output: Output = key(
        "auto",
        description="Kept free for the answer: tokens, a share of the window, or auto: as many as the request says its "
        "answer may have, rounded up to a power of two; where it does not say, as many as the model can write, at most "
        "4k and at most a quarter of the window.",
    )
    margin: Margin = key(
        "auto",
        description="Kept free for the error of the count: tokens, a share of the budget, or auto (measured).",
    )


class AllocationFile(Strict):
    """Shares of the prompt's budget, or tokens. Tokens are taken off first; shares are ratios of what they leave."""

    system: ShareOrTokens = key("10%", description="Leading system and developer text.")
    tools: ShareOrTokens = key("10%", description="Tool definitions and the response schema.")
    examples: ShareOrTokens = key("5%", description="Example exchanges, see `examples`.")
    documents: ShareOrTokens = key("25%", description="Retrieved text, see `documents`.")
    history: ShareOrTokens = key(
        "40%", description="Everything before the input, agent steps and tool results included."
    )
    input: ShareOrTokens = key("10%", description="The last user message and the newest tool results.")


class UtilizationFile(Strict):
    """Targets for the report: how full each component's room should be on average. They change no request."""

    system: Span | None = key(None, description="A range of shares, as 60-75%.")
    tools: Span | None = key(None, description="A range of shares, as 60-75%.")
    examples: Span | None = key(None, description="A range of shares, as 60-75%.")
    documents: Span | None = key(None, description="A range of shares, as 60-75%.")
    history: Span | None = key(None, description="A range of shares, as 60-75%.")
    input: Span | None = key(None, description="A range of shares, as 60-75%.")
    overall: Span | None = key(None, description="Of the whole prompt's budget.")


class ToolsFile(Strict):
    """Whether tool definitions are left out of a request that does not fit."""

    select: int | None = key(
        None,
        ge=1,
        le=1000,
        description="Keep so many: those that the conversation calls, the one that the request names, and of the "
        "others those that bear most on the task. Left out, every definition stays.",
    )


class DocumentsFile(Strict):
    """How documents are told from other text, and how they are arranged."""

    tags: list[Word] = key(
        ["document", "doc", "context"], description="Text inside these tags is a document: <document>…</document>."
    )
    tools: list[Word] = key(
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


def _ladder_schema(schema: dict[str, Any]) -> None:
    """Say in the schema that the word auto stands for a whole ladder."""
    del schema["type"]
    schema["anyOf"] = [{"const": "auto"}, {"type": "object"}]


class LadderFile(Strict):
    """Remedies by component, lightest first, until the component fits. A component left out has no remedy."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, json_schema_extra=_ladder_schema)

    tool_results: Annotated[
        list[Annotated[str, _one_of("minify", "dedupe", "crush", "stub"), _words("minify", "dedupe", "crush", "stub")]],
        BeforeValidator(_not_auto),
        AfterValidator(_each_once),
    ] = key(
        [],
        description="Tool results inside history, treated before history. minify: whitespace of JSON goes. dedupe: of "
        "identical results the newest stays. crush: tables, logs and JSON are written shorter, nothing is lost. "
        "stub: one line instead of the result.",
    )
    documents: Annotated[
        list[Annotated[str, _one_of("dedupe", "extract", "arrange"), _words("dedupe", "extract", "arrange")]],
        BeforeValidator(_not_auto),
        AfterValidator(_each_once),
    ] = key(
        [],
        description="dedupe: of documents that say the same one stays. extract: what the question is about stays. "
        "arrange: they are put in the order that documents.order says.",
    )
    examples: Annotated[
        list[Annotated[str, _one_of("drop_oldest"), _words("drop_oldest")]],
        BeforeValidator(_not_auto),
        AfterValidator(_each_once),
    ] = key([], description="drop_oldest: the oldest examples go, in whole pairs.")
    history: Annotated[
        list[Annotated[str, _one_of("summarize", "drop_oldest"), _words("summarize", "drop_oldest")]],
        BeforeValidator(_not_auto),
        AfterValidator(_each_once),
    ] = key(
        [],
        description="drop_oldest: old units go, whole; a note stays that quotes from them. "
        "summarize: a model's summary stands beside that list; wants summarize.enabled.",
    )
    input: Annotated[
        list[Annotated[str, _one_of("crush"), _words("crush")]],
        BeforeValidator(_not_auto),
        AfterValidator(_each_once),
    ] = key(
        [],
        description="crush: newest results that alone do not fit are shortened to the room there is. Never the user's "
        "own words.",
    )
    system: NoRemedy = key([], description="Always empty: system text is never cut.")
    tools: NoRemedy = key([], description="Always empty: tool definitions are never cut.")


def _ladder_kind(value: Any) -> str:
    return "word" if isinstance(value, str) else "remedies"


def _ladder_reference(schema: dict[str, Any]) -> None:
    schema["$ref"] = next(one["$ref"] for one in schema.pop("oneOf") if "$ref" in one)


def _auto(value: Any) -> Any:
    if value != "auto":
        raise ValueError(f"{value!r} is no ladder; write auto, or the remedies of each component")
    return value


Auto = Annotated[Literal["auto"], PlainValidator(_auto), WithJsonSchema({"const": "auto"})]
LadderOrAuto = Annotated[
    Annotated[Auto, Tag("word")] | Annotated[LadderFile, Tag("remedies")], Discriminator(_ladder_kind)
]


class FoldFile(Strict):
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


class SummarizeFile(Strict):
    """Summaries of what is folded, written by a model in the background and stored; off unless enabled."""

    enabled: bool = key(False, description="Whether a model writes summaries. Their cost is the team's own.")
    model: Word = key("same", description="Who writes them: a model name of the gateway, or same (the request's own).")
    at_most: Share = key("10%", description="Largest summary, as a share of its source; a larger one is refused.")
    timeout: Seconds = key("8s", description="How long a summary may take.")
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


class ExamplesFile(Strict):
    """How examples are told from the conversation."""

    names: list[Word] = key(
        ["example_*"], description="Messages with such a `name` are examples; * stands for any letters."
    )
    tags: list[Word] = key(["example"], description="Messages that begin with such a tag are examples: <example>…")


class PromptCacheFile(Strict):
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
    group_by: Annotated[list[Literal["team", "model", "policy", "user", "key"]], AfterValidator(_each_once)] = key(
        ["team", "model"], description="Whose requests are expected to share prefixes."
    )
    volatile: Annotated[list[Preserving], AfterValidator(_not_too_many)] = key(
        [],
        description="Text in leading system messages that changes from request to request, as regular expressions.",
        json_schema_extra={"maxItems": MOST_PATTERNS},
    )
    warm: Annotated[list[Word], AfterValidator(_not_too_many)] = key(
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


class BudgetFile(Strict):
    """An amount of money for a period. Not in this release."""

    per: Literal["key", "user", "team", "model"] = Field(description="Whose spend is counted.")
    max_budget: float = Field(gt=0, allow_inf_nan=False, description="US dollars that may be spent in a period.")
    budget_duration: Period = key("1mo", description="The period: 1d, 30d, 1mo.")
    soft_budget: float | None = key(
        None, gt=0, allow_inf_nan=False, description="US dollars from which on a warning is logged."
    )
    without_user: Literal["skip", "refuse"] = key("skip", description="What happens to requests that name no user.")


class TightenFile(Strict):
    """A step to take when money runs low. Not in this release."""

    at: Share = Field(description="Share of the budget that is spent.")
    context_window: Window = key("deployment", description="The window from then on.")
    model: Word | None = key(None, description="The model from then on.")


class LimitsFile(Strict):
    """Rates. Not in this release."""

    per: Literal["key", "user", "team", "model"] = key("key", description="Whose requests are counted.")
    rpm_limit: Tokens | None = key(None, description="Requests per minute.")
    tpm_limit: Tokens | None = key(None, description="Tokens per minute.")
    max_parallel_requests: int | None = key(None, ge=1, description="Requests at the same time.")


def _nothing_said(value: LimitsFile) -> LimitsFile:
    if value.model_fields_set:
        raise ValueError(f"{NOT_YET}; leave it out")
    return value


class PolicyBody(Strict):
    """What both a policy and a profile of it may say."""

    strict: bool = key(
        False,
        description="Make every share a ceiling: a component above its share is cut, refused where it has no remedy.",
    )
    mode: Literal["off", "observe", "enforce"] = key(
        "enforce",
        description="off: pass everything on. observe: plan, log, send the original. enforce: send what was planned.",
    )
    context_window: Window = key(
        "deployment",
        description="Most tokens of prompt and answer; never more than the deployment's own. 32k, or deployment.",
    )
    reserve: ReserveFile = key({}, description="What is kept free of the window.")
    allocation: AllocationFile = key(
        {},
        description="Each component's share, or tokens. Under strict a share of the whole prompt's budget, otherwise "
        "of what is left after components without a remedy.",
    )
    utilization: UtilizationFile = key({}, description="How full each room should be, for `report --utilization`.")
    tools: ToolsFile = key({}, description="Which tool definitions a request keeps.")
    borrow: Annotated[list[Component], AfterValidator(_each_once)] = key(
        ["input", "documents", "history"], description="Who may take what the others leave, in this order."
    )
    documents: DocumentsFile = key({}, description="How documents are recognised and arranged.")
    ladder: LadderOrAuto = key(
        "auto",
        description="auto, or remedies by component. A ladder that is given replaces the inherited one as a whole.",
        json_schema_extra=_ladder_reference,
    )
    fold: FoldFile = key({}, description="When and how far old history is folded.")
    summarize: SummarizeFile = key({}, description="Summaries by a model.")
    user_text: Share = key(
        "50%",
        description="Share of the room (what tools and system text leave of the budget) that what people said earlier "
        "keeps, word for word, before anything that tools returned or models wrote.",
    )
    recall: Share = key(
        "10%",
        description="Share of the room for excerpts of folded parts that bear on the question; 0 is none. Once "
        "something is folded, a fold is due when history passes the room less this, so that there is some.",
    )
    protect: Tokens = key("3k", description="A tool result that fewer tokens follow is not shortened yet.")
    examples: ExamplesFile = key({}, description="How examples are recognised.")
    preserve: Annotated[list[Preserving], AfterValidator(_not_too_many)] = key(
        [],
        description="Sentences that survive any fold, as regular expressions.",
        json_schema_extra={"maxItems": MOST_PATTERNS},
    )
    prompt_cache: PromptCacheFile = key({}, description="What is done for the provider's prompt cache.")
    effort: Tokens = key(
        "500k",
        description="Tokens of one request that the costlier remedies may read for the first time; beyond it the "
        "cheapest remedy serves.",
    )


class ProfileFile(PolicyBody):
    """A variant of its policy. What it says is merged over the policy."""

    when: Annotated[str, AfterValidator(_condition)] | None = key(
        None,
        description="CEL expression; the first profile whose condition holds is taken. It may ask for "
        + "; ".join(f"{name}: {what}" for name, what in FACTS.items())
        + ".",
    )


class PolicyFile(PolicyBody):
    """A gateway policy: the token budget of a team's requests, and what is done to a request that is over it."""

    name: Name = Field(description="What configuration, headers and reports call this policy.")
    extends: Word | None = key(None, description="Name of a policy over which this one is merged, key by key.")
    version: Version = key(2, description="Version of the rewriting itself. Pins the bytes across upgrades.")
    profiles: dict[Name, ProfileFile] = key(
        {},
        description="Variants by name, chosen by the header x-gateway-profile, metadata.gateway_profile, or `when`.",
    )
    budgets: Annotated[list[BudgetFile], _later([])] = key([], description=f"Money limits. {NOT_YET.capitalize()}.")
    tighten: Annotated[list[TightenFile], _later([])] = key(
        [], description=f"What is done when money runs low. {NOT_YET.capitalize()}."
    )
    limits: Annotated[LimitsFile, AfterValidator(_nothing_said)] = key(
        {}, description=f"Rate limits. {NOT_YET.capitalize()}."
    )
