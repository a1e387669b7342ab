"""Policies out of the files of a folder: `extends`, profiles, and values that several keys decide.

Each file is checked on its own, so that every mistake is reported at its line. Then the `extends` chain and the file
are merged key by key, as they are written, and each profile over the result; what nobody gives is a default of
`gateway.config.policy`. A ladder is replaced as a whole. Of a prompt for summaries the file stands in the policy file,
its text in the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from gateway.config.conditions import compile_condition
from gateway.config.fields import FROM_FILE
from gateway.config.policy import Fold, Policy, PolicyBody, Profile, Reserve
from gateway.config.policy_file import PolicyFile
from gateway.config.problems import KeyPath, Problem, closest, from_validation, in_order
from gateway.config.yaml import YamlDocument, read_yaml

POLICY_FILE: Final = TypeAdapter(PolicyFile)
"""Reads a policy file, and is its schema."""

_MERGED: Final = frozenset(one.name for one in fields(PolicyBody)) | {"version", "budgets", "limits", "tighten"}
"""Keys that a policy takes over from one that it extends."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a folder, and what is wrong with its files."""

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
    """One file that passed validation."""

    document: YamlDocument
    written: Mapping[str, Any]
    """Its data as they are written; of a prompt the text stands in them."""


BUILT_IN = "default"
"""The policy that is there even when no file says so: the built-in defaults."""


def load_policies(folder: Path) -> Policies:
    """Read every `*.yaml` of a folder, and the shipped policies of which the folder has none of the same name."""
    return resolve(map(read_yaml, _files(folder)), map(read_yaml, _files(shipped_folder())))


def shipped_folder() -> Path:
    """Return where the policies that come with the program are: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return next((folder for folder in (package / "policies", package.parent / "policies") if folder.is_dir()), package)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    )


def resolve(documents: Iterable[YamlDocument], shipped: Iterable[YamlDocument] = ()) -> Policies:
    """Turn the documents of a folder into policies, with all that is wrong in any of them.

    A document of the folder takes the place of the shipped one of its name; without either, `default` is built in.
    """
    documents = list(documents)
    own = [document.data.get("name") for document in documents if isinstance(document.data, dict)]
    lent = [document for document in shipped if document.data["name"] not in own]
    found = _resolved([*documents, *lent])
    return replace(found, shipped=frozenset(document.data["name"] for document in lent))


def _resolved(documents: Iterable[YamlDocument]) -> Policies:
    problems: list[Problem] = []
    sources: dict[str, _Source] = {}
    names: dict[str, YamlDocument] = {}
    for document in documents:
        problems += document.problems
        name = document.data.get("name") if isinstance(document.data, dict) else None
        if isinstance(name, str) and name in names:
            problems.append(document.problem(("name",), f"policy {name!r} is already in {names[name].file}"))
            continue
        if isinstance(name, str):
            names[name] = document
        if document.data is not None:
            written, found = _validated(document)
            problems += found
            if written is not None:
                sources[written["name"]] = _Source(document, written)
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


def _asked_models(sources: Iterable[_Source]) -> Iterator[tuple[str, Problem]]:
    for source in sources:
        profiles = source.written["profiles"].items()
        for path, body in (((), source.written), *((("profiles", name), body) for name, body in profiles)):
            model = body.get("summarize", {}).get("model", "same")
            if model != "same":
                told = f"there is no model {model!r}; name one of model_list, or same"
                yield model, source.document.problem((*path, "summarize", "model"), told)
        for place in (("tighten",), ("tighten", "*")):
            for path, step in source.document.matches(*place):
                if isinstance(step, dict) and isinstance(model := step.get("model"), str):
                    told = f"there is no model {model!r}; name one of model_list"
                    yield model, source.document.problem((*path, "model"), told)


def _validated(document: YamlDocument) -> tuple[dict[str, Any] | None, list[Problem]]:
    data = document.data
    if not isinstance(data, dict):
        return None, [document.problem((), "a policy is a mapping: name: …")]
    try:
        POLICY_FILE.validate_python(data, context=FROM_FILE)
    except ValidationError as error:
        return None, from_validation(error, POLICY_FILE, document, data)
    problems: list[Problem] = []
    written, profiles = _with_prompt(data, (), document, problems), {}
    for name, body in data.get("profiles", {}).items():
        profiles[name] = _with_prompt(body, ("profiles", name), document, problems)
    return written | {"profiles": profiles}, problems


def _with_prompt(
    body: Mapping[str, Any], path: KeyPath, document: YamlDocument, problems: list[Problem]
) -> dict[str, Any]:
    """Return what a file says with the text of the prompt that it names; what is wrong with that goes to `problems`."""
    summarize = body.get("summarize", {})
    if summarize.get("prompt") is None:
        return dict(body)
    text, wrong = _prompt(document.file.parent / summarize["prompt"])
    problems += [document.problem((*path, "summarize", "prompt"), wrong)] if wrong else []
    return {**body, "summarize": {**summarize, "prompt": text}}


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
        parent = source.written.get("extends")
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
    parent: str | None = source.written.get("extends") if source else None
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
    name: str = source.written["name"]
    merged: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}
    for ancestor in chain:
        own = ancestor.written["profiles"]
        inherited = {name: body for name, body in profiles.items() if name not in own}
        profiles = {name: _merged(profiles.get(name, {}), body) for name, body in own.items()} | inherited
        merged = _merged(merged, {key: value for key, value in ancestor.written.items() if key in _MERGED})
    policy = Policy(name, **merged)
    problems = [source.document.problem(path, told) for path, told in _contradictions(policy)]
    variants = []
    for of_profile, body in profiles.items():
        whole = _merged(merged, {key: value for key, value in body.items() if key in _MERGED})
        variant = Policy(name, **whole, profile=of_profile)
        if not problems:
            problems += [
                source.document.problem(("profiles", of_profile, *path), told)
                for path, told in _contradictions(variant)
            ]
        when = compile_condition(body["when"]) if body.get("when") is not None else None
        variants.append(Profile(of_profile, when, _decided(variant)))
    return replace(_decided(policy), profiles=tuple(variants)), problems


def _decided(policy: Policy) -> Policy:
    """Return a policy with the values that several of its keys decide together.

    The shares of an allocation are ratios of one another, and are computed of it where it is read (`Shares.of`).
    """
    fold, ladder = policy.fold, policy.ladder
    return replace(
        policy,
        fold=replace(fold, artifacts=min(fold.artifacts, fold.target)),
        ladder=ladder.with_summaries() if policy.summarize.enabled else ladder,
    )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge key by key; lists, single values and the ladder are replaced."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = (
            _merged(below, value) if key != "ladder" and isinstance(value, dict) and isinstance(below, dict) else value
        )
    return result


def _contradictions(policy: Policy) -> Iterator[tuple[KeyPath, str]]:
    shares, fold, window = policy.allocation, policy.fold, policy.context_window
    amounts = dict(shares.tokens)
    if not any(amounts.values()) and not any(shares.by_component().values()):
        yield ("allocation",), "all shares are 0"
    if window is not None and sum(amounts.values()) > window:
        told = f"{sum(amounts.values()):,} tokens for {', '.join(amounts)} are more than the window of {window:,}"
        yield ("allocation",), told
    if fold.target > fold.trigger:
        yield ("fold", "target"), f"target {fold.target:.0%} is above trigger {fold.trigger:.0%}"
    if fold.artifacts > fold.target and fold.artifacts != Fold().artifacts:
        yield ("fold", "artifacts"), f"artifacts {fold.artifacts:.0%} is above target {fold.target:.0%}"
    if not fold.trigger:
        yield ("fold", "trigger"), "a trigger of 0% would fold every request"
    yield from _reserves(policy.reserve, window)
    yield from _summaries(policy)


def _reserves(reserve: Reserve, window: int | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with a declared reserve; one that follows the request always leaves something."""
    output, margin = reserve.output, reserve.margin
    if isinstance(output, float) and output >= 1:
        yield ("reserve", "output"), "a reserve of 100% leaves nothing for the prompt"
    elif output is not None and window is not None:
        kept = int(output * window) if isinstance(output, float) else output
        error = margin if isinstance(margin, int) else 0
        if kept + error >= window:
            told = f"reserve.output {kept:,}" + (f" and reserve.margin {error:,}" if error else "")
            yield ("context_window",), f"{told} leave nothing of a window of {window:,} tokens"


def _summaries(policy: Policy) -> Iterator[tuple[KeyPath, str]]:
    ladder, summarize = policy.ladder, policy.summarize
    named = "summarize" in ladder.history
    if named and not summarize.enabled:
        told = "ladder.history names summarize, but summarize.enabled is false: write `summarize: {enabled: true}`, "
        yield ("ladder", "history"), told + "or leave the remedy out"
    if summarize.enabled and not named and not ladder.auto:
        told = "summarize.enabled is true, but ladder.history does not name summarize: write "
        yield ("summarize", "enabled"), told + "`history: [summarize, drop_oldest]`, or `ladder: auto`"
    if summarize.enabled and not summarize.at_most:
        yield ("summarize", "at_most"), "a summary of at most 0% of its source says nothing"
