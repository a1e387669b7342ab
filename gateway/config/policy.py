"""A policy as a value: what a team's requests may take up, and what is done to one that takes more.

`load_policies` reads a folder and resolves `extends`, profiles and what was left out; the rest here is pure. What a
file may say is in `gateway.config.policy_file`. How files become policies: each is validated on its own (so every
mistake is reported at its line), then built-in defaults, the `extends` chain and the file are merged key by key, then
each profile over the result. A ladder is replaced as a whole: a component that a given ladder does not name has no
remedy. Of a prompt for summaries the file stands in the policy file, its text in the value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from gateway.config.conditions import Condition, compile_condition, in_cel
from gateway.config.policy_file import COMPONENTS, FoldFile, PolicyFile
from gateway.config.problems import KeyPath, Problem, closest, from_validation, in_order
from gateway.config.yaml import Document, read

PROFILE_METADATA = "gateway_profile"
"""The key of a request's metadata that names a profile, for callers that cannot set the header x-gateway-profile."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is kept free of the window."""

    output: float | int | None = None
    """For the answer: an int is tokens, a float a share of the window, None follows the request's own answer limit."""
    margin: float | int | None = None
    """For the error of the count: an int is tokens, a float a share of the budget, None comes from measured errors."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Each component's share of the prompt's budget, as ratios that sum to 1, and what is given in tokens."""

    system: float = 0.10
    tools: float = 0.10
    examples: float = 0.05
    documents: float = 0.25
    history: float = 0.40
    input: float = 0.10
    tokens: tuple[tuple[str, int], ...] = ()
    """Components with an amount in place of a share, each with its tokens; their ratio is 0."""

    def by_component(self) -> dict[str, float]:
        """Return the ratios alone."""
        return {name: getattr(self, name) for name in COMPONENTS}

    def in_words(self, component: str) -> str:
        """Say what a component may have of the whole budget: `25% of that`, `12,000 tokens`."""
        tokens = dict(self.tokens).get(component)
        if tokens is not None:
            return f"{tokens:,} tokens"
        rest = f"what {sum(tokens for _, tokens in self.tokens):,} tokens leave of that" if self.tokens else "that"
        return f"{100 * getattr(self, component, 0.0):.3g}% of {rest}"

    def rooms(self, budget: int, among: Collection[str] = COMPONENTS, /) -> dict[str, int]:
        """Divide `budget` among these components, in whole tokens; the sum is never more than the budget.

        Amounts in tokens are taken off first, scaled down where together they are more than there is; the ratios of
        the others are scaled to the rest.
        """
        fixed = {name: tokens for name, tokens in self.tokens if name in among}
        asked = sum(fixed.values())
        budget = max(0, budget)
        if asked > budget:
            fixed = {name: tokens * budget // asked for name, tokens in fixed.items()}
        ratios = {name: getattr(self, name) for name in COMPONENTS if name in among and name not in fixed}
        rest, whole = budget - sum(fixed.values()), sum(ratios.values()) or 1.0
        shared = {name: int(rest * (ratio / whole)) for name, ratio in ratios.items()}
        return {name: fixed[name] if name in fixed else shared[name] for name in COMPONENTS if name in among}


@dataclass(frozen=True, slots=True)
class Fold:
    """When and how far old history is folded; shares are of the room of history."""

    trigger: float = 1.0
    target: float = 0.5
    artifacts: float = 0.1
    """Most of the room that the artifact list of one fold may take."""
    keep_turns: int = 2
    keep_tool_results: int = 3
    clear_at_least: float = 0.1
    when: Literal["over", "cheaper"] = "over"


CUT = ("tool_results", "documents", "examples", "history", "input")
"""What a ladder may name remedies for, in the order in which it is told."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Remedies by component, lightest first. An empty one means: this component is never cut."""

    tool_results: tuple[str, ...] = ("minify", "dedupe", "crush")
    """Results inside history; they are treated before `history`."""
    documents: tuple[str, ...] = ("dedupe", "extract")
    examples: tuple[str, ...] = ("drop_oldest",)
    history: tuple[str, ...] = ("drop_oldest",)
    input: tuple[str, ...] = ("crush",)
    auto: bool = True
    """Whether the gateway chose these; a ladder that a policy gives is taken as it stands."""


@dataclass(frozen=True, slots=True)
class Documents:
    """How documents are told from other text."""

    tags: tuple[str, ...] = ("document", "doc", "context")
    tools: tuple[str, ...] = ()
    """Globs of tool names whose results are documents."""
    in_system: bool = False
    """Whether documents are looked for in leading system text too."""
    order: Literal["auto", "as_is", "rank", "bookend", "alternate", "interleave"] = "auto"


@dataclass(frozen=True, slots=True)
class Summarize:
    """Whether a model writes summaries of what is folded, which one, and what they may cost."""

    enabled: bool = False
    model: str = "same"
    """A model name of the configuration, or `same`: the one that the request asks for."""
    at_most: float = 0.1
    """Largest summary, as a share of its source; a larger one is refused."""
    timeout: float = 8.0
    """In seconds."""
    run: Literal["background", "inline"] = "background"
    """inline: a request waits up to `timeout` for the summary of a fold."""
    on_failure: Literal["extract", "drop_oldest"] = "extract"
    """extract: what is folded leaves its artifact list alone. drop_oldest: it leaves nothing but a line."""
    prompt: str | None = None
    """The text that asks for a summary, in place of the built-in one."""


@dataclass(frozen=True, slots=True)
class Examples:
    """How examples are told from the conversation."""

    names: tuple[str, ...] = ("example_*",)
    """Globs of message names."""
    tags: tuple[str, ...] = ("example",)


@dataclass(frozen=True, slots=True)
class Tools:
    """Which tool definitions a request keeps."""

    select: int | None = None
    """At most so many, but for those that the conversation calls; None is all."""


Targets = tuple[tuple[str, tuple[float, float]], ...]
"""By component or `overall`: the range in which the average use of its room should lie."""


@dataclass(frozen=True, slots=True)
class PromptCache:
    """What is done for the provider's prompt cache."""

    markers: Literal["off", "on_reuse", "always"] = "on_reuse"
    ttl: Literal["auto", "5m", "1h"] = "auto"
    group_by: tuple[str, ...] = ("team", "model")
    """Whose requests are expected to share prefixes."""
    volatile: tuple[str, ...] = ()
    """Regular expressions: text in leading system messages that changes from request to request."""
    warm: tuple[str, ...] = ()
    """Globs of the first lines of system texts: prefixes that are read again before they expire."""
    every: float = 240.0
    """In seconds: how long after its last use one is, that is kept for five minutes."""


class UnknownProfile(Exception):
    """The caller named a profile that the policy does not have."""

    def __init__(self, wanted: str, policy: str, known: Iterable[str]) -> None:
        self.wanted = wanted
        self.known = tuple(known)
        has = f"it has {', '.join(self.known)}" if self.known else "it has no profiles"
        super().__init__(
            f"Policy {policy} has no profile {wanted!r}; {has}. Choose another x-gateway-profile, or leave it out."
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with nothing left open.

    `str()` is how headers, the ledger and `gateway check` name it: `support@4c1e09a2`, a profile of it
    `support/night@43016be8`.
    """

    name: str
    version: int = 2
    strict: bool = False
    mode: Literal["off", "observe", "enforce"] = "enforce"
    context_window: int | None = None
    """In tokens; None is exactly the deployment's own."""
    reserve: Reserve = field(default_factory=Reserve)
    allocation: Shares = field(default_factory=Shares)
    borrow: tuple[str, ...] = ("input", "documents", "history")
    documents: Documents = field(default_factory=Documents)
    ladder: Ladder = field(default_factory=Ladder)
    fold: Fold = field(default_factory=Fold)
    summarize: Summarize = field(default_factory=Summarize)
    user_text: float = 0.5
    """Share of the room (budget less tools and leading system text) for what people said earlier, word for word."""
    recall: float = 0.1
    """Share of the room for excerpts of folded parts that bear on the question; 0 is none.

    Once something is folded, the trigger is the room less this, so that there is room for excerpts."""
    protect: int = 3000
    """Tokens that must follow a tool result before it is shortened."""
    examples: Examples = field(default_factory=Examples)
    preserve: tuple[str, ...] = ()
    """Regular expressions; a sentence that matches one survives any fold."""
    tools: Tools = field(default_factory=Tools)
    utilization: Targets = ()
    """How full each room should be; for the report alone."""
    prompt_cache: PromptCache = field(default_factory=PromptCache)
    effort: int = 500_000
    """Tokens that one request may have read for the first time by the costlier remedies; beyond it the cheapest
    deterministic remedy serves, the same in every replica."""
    profile: str | None = None
    """The profile that is merged in, if one is."""
    profiles: tuple[Profile, ...] = ()
    digest: str = field(init=False)
    """Eight hex digits of everything above but `utilization`: what is the same has the same, on every machine."""

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


_DIGESTED = (
    *("name", "version", "strict", "mode", "context_window", "reserve", "allocation"),
    *("borrow", "documents", "ladder", "fold", "summarize", "recall", "protect", "examples", "preserve", "effort"),
    *("user_text", "tools", "prompt_cache", "profile"),
)
"""What decides about a request; `utilization` is for the report alone."""


def _digest(policy: Policy) -> str:
    said = {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
        for name in _DIGESTED
        for value in (getattr(policy, name),)
    }
    said["profiles"] = [
        (profile.name, profile.when.source if profile.when else None, profile.policy.digest)
        for profile in policy.profiles
    ]
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Policies:
    """What a folder of policy files says."""

    by_name: Mapping[str, Policy]
    problems: tuple[Problem, ...] = ()
    names: frozenset[str] = frozenset()
    """Every name that a file claims, those of broken files too: a reference to one of them is no mistake of its own."""
    shipped: frozenset[str] = frozenset()
    """Those that come with the program and that no file of the folder takes the place of."""
    asks_models: tuple[tuple[str, Problem], ...] = ()
    """Models that are to write summaries, each with what is to be told where the configuration has no such model."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One file that passed validation, as it stands."""

    document: Document
    said: Mapping[str, Any]


BUILT_IN = "default"
"""The policy that is there even when no file says so: the built-in defaults."""


def load_policies(folder: Path) -> Policies:
    """Read every `*.yaml` of a folder, and the shipped policies of which the folder has none of the same name."""
    return resolve(map(read, _files(folder)), map(read, _files(shipped_folder())))


def shipped_folder() -> Path:
    """Return where the policies that come with the program are: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return next((folder for folder in (package / "policies", package.parent / "policies") if folder.is_dir()), package)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    )


def resolve(documents: Iterable[Document], shipped: Iterable[Document] = ()) -> Policies:
    """Turn the documents of a folder into policies, with all that is wrong in any of them.

    A document of the folder takes the place of the shipped one of its name; without either, `default` is built in.
    """
    documents = list(documents)
    own = [document.data.get("name") for document in documents if isinstance(document.data, dict)]
    lent = [document for document in shipped if document.data["name"] not in own]
    found = _resolved([*documents, *lent])
    return replace(found, shipped=frozenset(document.data["name"] for document in lent))


def _resolved(documents: Iterable[Document]) -> Policies:
    problems: list[Problem] = []
    sources: dict[str, _Source] = {}
    names: dict[str, Document] = {}
    for document in documents:
        problems += document.problems
        name = document.data.get("name") if isinstance(document.data, dict) else None
        if isinstance(name, str) and name in names:
            problems.append(document.problem(("name",), f"policy {name!r} is already in {names[name].file}"))
            continue
        if isinstance(name, str):
            names[name] = document
        if document.data is not None:
            said, found = _validated(document)
            problems += found
            if said is not None:
                sources[said["name"]] = _Source(document, said)
    known = frozenset(names) | {BUILT_IN}
    problems += _bad_extends(sources, known)
    policies: dict[str, Policy] = {}
    for name, source in sources.items():
        chain = _chain(name, sources)
        if chain is not None:
            policy, found = _built(source, chain)
            problems += found
            policies[name] = policy
    if BUILT_IN not in names:
        policies[BUILT_IN] = Policy(BUILT_IN)
    return Policies(policies, in_order(problems), known, asks_models=tuple(_asked_models(sources.values())))


def _bodies(said: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield what a file says of the policy itself and of each of its profiles, with its place."""
    yield (), said
    yield from ((("profiles", name), body) for name, body in said.get("profiles", {}).items())


def _asked_models(sources: Iterable[_Source]) -> Iterator[tuple[str, Problem]]:
    for source in sources:
        for path, body in _bodies(source.said):
            model = body.get("summarize", {}).get("model", "same")
            if model != "same":
                told = f"there is no model {model!r}; name one of model_list, or same"
                yield model, source.document.problem((*path, "summarize", "model"), told)


def _validated(document: Document) -> tuple[dict[str, Any] | None, list[Problem]]:
    data = document.data
    if not isinstance(data, dict):
        return None, [document.problem((), "a policy is a mapping: name: …")]
    try:
        said = PolicyFile.model_validate(data).model_dump(exclude_unset=True)
    except ValidationError as error:
        return None, from_validation(error, PolicyFile, document, data)
    problems: list[Problem] = []
    for path, body in _bodies(said):
        summarize = body.get("summarize", {})
        if summarize.get("prompt") is not None:
            text, wrong = _prompt(document.file.parent / summarize["prompt"])
            summarize["prompt"] = text
            problems += [document.problem((*path, "summarize", "prompt"), wrong)] if wrong else []
    return said, problems


LONGEST_PROMPT = 20_000
"""Characters of a text that asks for a summary: it is sent with every one."""


def _prompt(file: Path) -> tuple[str | None, str | None]:
    """Read the text that asks for a summary; the second is what is wrong with it."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        return None, f"{file} cannot be read: {error.strerror}"
    except ValueError:
        return None, f"{file} is no file of UTF-8 text"
    if not text.strip():
        return None, f"{file} is empty; write what a summary is to hold, or leave `prompt` out"
    if len(text) > LONGEST_PROMPT:
        return None, f"{file} has {len(text):,} characters; at most {LONGEST_PROMPT:,}"
    return text, None


def _bad_extends(sources: Mapping[str, _Source], known: Iterable[str]) -> Iterator[Problem]:
    """Yield what is wrong with `extends`: names that nobody has, and each loop once."""
    looped: set[str] = set()
    for name, source in sources.items():
        parent = source.said.get("extends")
        if parent is not None and parent not in known:
            yield source.document.problem(("extends",), unknown_policy(parent, known), closest(parent, known))
        trail = [name]
        while (parent := _parent(trail[-1], sources)) is not None and parent not in trail:
            trail.append(parent)
        if parent == name and name not in looped:
            looped.update(trail)
            yield source.document.problem(("extends",), f"extends itself: {' → '.join([*trail, name])}")


def unknown_policy(name: str, known: Iterable[str]) -> str:
    """Say that nobody has this name, and which names there are."""
    return f"there is no policy {name!r}; there are {', '.join(sorted(known))}"


def _parent(name: str, sources: Mapping[str, _Source]) -> str | None:
    source = sources.get(name)
    parent: str | None = source.said.get("extends") if source else None
    return parent


def _chain(name: str, sources: Mapping[str, _Source]) -> list[_Source] | None:
    """Return the files to merge, furthest ancestor first; None where one of them is missing, broken or in a loop."""
    chain: list[_Source] = []
    step: str | None = name
    while step is not None:
        source = sources.get(step)
        if source is None:
            return chain if step == BUILT_IN and chain else None
        if source in chain:
            return None
        chain.insert(0, source)
        step = _parent(step, sources)
    return chain


def _built(source: _Source, chain: Iterable[_Source]) -> tuple[Policy, list[Problem]]:
    """Merge a chain and build the policy; contradictions of the merged whole are reported at the file's own keys."""
    merged = PolicyFile(name=source.said["name"]).model_dump()
    profiles: dict[str, dict[str, Any]] = {}
    for ancestor in chain:
        own = ancestor.said.get("profiles", {})
        inherited = {name: body for name, body in profiles.items() if name not in own}
        profiles = {name: _merged(profiles.get(name, {}), body) for name, body in own.items()} | inherited
        merged = _merged(merged, {key: value for key, value in ancestor.said.items() if key != "profiles"})
    problems = [source.document.problem(path, told) for path, told in _contradictions(merged)]
    variants = []
    for name, body in profiles.items():
        whole = _merged(merged, {key: value for key, value in body.items() if key != "when"})
        if not problems:
            problems += [
                source.document.problem(("profiles", name, *path), told) for path, told in _contradictions(whole)
            ]
        when = compile_condition(body["when"]) if body.get("when") is not None else None
        variants.append(Profile(name, when, _policy(whole, profile=name)))
    return _policy(merged, profiles=tuple(variants)), problems


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge key by key; lists, single values and the ladder are replaced."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = (
            _merged(below, value) if key != "ladder" and isinstance(value, dict) and isinstance(below, dict) else value
        )
    return result


def _contradictions(merged: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    shares, fold, reserve, window = (merged[key] for key in ("allocation", "fold", "reserve", "context_window"))
    amounts = {name: share for name, share in shares.items() if isinstance(share, int)}
    if not sum(shares.values()):
        yield ("allocation",), "all shares are 0"
    if window is not None and sum(amounts.values()) > window:
        told = f"{sum(amounts.values()):,} tokens for {', '.join(amounts)} are more than the window of {window:,}"
        yield ("allocation",), told
    if fold["target"] > fold["trigger"]:
        yield ("fold", "target"), f"target {fold['target']:.0%} is above trigger {fold['trigger']:.0%}"
    if fold["artifacts"] > fold["target"] and fold["artifacts"] != FoldFile().artifacts:
        yield ("fold", "artifacts"), f"artifacts {fold['artifacts']:.0%} is above target {fold['target']:.0%}"
    if not fold["trigger"]:
        yield ("fold", "trigger"), "a trigger of 0% would fold every request"
    yield from _reserves(reserve["output"], reserve["margin"], window)
    yield from _summaries(merged["ladder"], merged["summarize"])


def _reserves(output: float | None, margin: float | None, window: int | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with a declared reserve; one that follows the request always leaves something."""
    if isinstance(output, float) and output >= 1:
        yield ("reserve", "output"), "a reserve of 100% leaves nothing for the prompt"
    elif output is not None and window is not None:
        kept = int(output * window) if isinstance(output, float) else output
        error = margin if isinstance(margin, int) else 0
        if kept + error >= window:
            told = f"reserve.output {kept:,}" + (f" and reserve.margin {error:,}" if error else "")
            yield ("context_window",), f"{told} leave nothing of a window of {window:,} tokens"


def _summaries(
    ladder: Mapping[str, Any] | Literal["auto"], summarize: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    named = ladder != "auto" and "summarize" in ladder.get("history", ())
    if named and not summarize["enabled"]:
        told = "ladder.history names summarize, but summarize.enabled is false: write `summarize: {enabled: true}`, "
        yield ("ladder", "history"), told + "or leave the remedy out"
    if summarize["enabled"] and not named and ladder != "auto":
        told = "summarize.enabled is true, but ladder.history does not name summarize: write "
        yield ("summarize", "enabled"), told + "`history: [summarize, drop_oldest]`, or `ladder: auto`"
    if summarize["enabled"] and not summarize["at_most"]:
        yield ("summarize", "at_most"), "a summary of at most 0% of its source says nothing"


def _policy(merged: Mapping[str, Any], profile: str | None = None, profiles: tuple[Profile, ...] = ()) -> Policy:
    return Policy(
        name=merged["name"],
        version=merged["version"],
        strict=merged["strict"],
        mode=merged["mode"],
        context_window=merged["context_window"],
        reserve=Reserve(**merged["reserve"]),
        allocation=_shares(merged["allocation"]),
        borrow=tuple(merged["borrow"]),
        documents=Documents(**_frozen(merged["documents"])),
        ladder=_ladder(merged["ladder"], merged["summarize"]["enabled"]),
        fold=Fold(**merged["fold"] | {"artifacts": min(merged["fold"]["artifacts"], merged["fold"]["target"])}),
        summarize=Summarize(**merged["summarize"]),
        user_text=merged["user_text"],
        recall=merged["recall"],
        protect=merged["protect"],
        examples=Examples(**_frozen(merged["examples"])),
        preserve=tuple(merged["preserve"]),
        tools=Tools(**merged["tools"]),
        utilization=tuple((name, ends) for name, ends in merged["utilization"].items() if ends is not None),
        prompt_cache=_prompt_cache(merged["prompt_cache"]),
        effort=merged["effort"],
        profile=profile,
        profiles=profiles,
    )


def _shares(said: Mapping[str, float | int]) -> Shares:
    """Scale the ratios to sum to 1; ints are tokens."""
    ratios = {name: share for name, share in said.items() if isinstance(share, float)}
    whole = sum(ratios.values()) or 1.0
    scaled = {name: round(ratios.get(name, 0.0) / whole, 12) for name in COMPONENTS}
    return Shares(**scaled, tokens=tuple((name, tokens) for name, tokens in said.items() if isinstance(tokens, int)))


def _prompt_cache(said: Mapping[str, Any]) -> PromptCache:
    return PromptCache(**_frozen(said))


def _ladder(said: Mapping[str, Any] | Literal["auto"], summaries: bool) -> Ladder:
    if said == "auto":
        return replace(Ladder(), history=("summarize", *Ladder().history)) if summaries else Ladder()
    given: dict[str, Any] = {component: tuple(said.get(component, ())) for component in CUT}
    return Ladder(**given, auto=False)


def _frozen(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
