"""Names and keys of a configuration that lead nowhere, and what it declares twice.

Works on what is written, not on what was validated, so that other mistakes hide none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.config.environment import is_read_in
from gateway.config.merging import Policies, unknown_policy
from gateway.config.problems import KeyPath, Problem, closest, one_slip_from
from gateway.config.prompt_cache_rules import unknown_rules, without_lifetime
from gateway.config.settings import ConfigFile, InfoFile, ParamsFile
from gateway.config.wildcards import covering, is_pattern
from gateway.config.yaml import YamlDocument


def no_folder(document: YamlDocument, folder: Path) -> Iterator[Problem]:
    """Say that a folder of policies was named which is not there."""
    if isinstance(document.data, dict) and "policies" in document.data and not folder.is_dir():
        told = f"there is no folder {folder}; make it, or leave `policies` out: the shipped ones are there without it"
        yield document.problem(("policies",), told)


def broken_references(
    document: YamlDocument, policies: Policies, keys: YamlDocument | None = None
) -> Iterator[Problem]:
    """Yield every name that is used and nowhere declared; `keys` is the keys file."""
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
    of_keys: list[tuple[str, set[Any] | frozenset[str], list[tuple[KeyPath, Any]]]] = [
        (what, known, [] if keys is None else [*keys.matches("keys", "*", *member)])
        for what, known, *member in (("team", teams, "team"), ("model", models, "models", "*"))
    ]
    if keys is not None:
        of_keys.append(("policy", policies.names, [*keys.matches("keys", "*", "policy")]))
    for file, uses in ((document, used), (keys or document, of_keys)):
        for what, known, places in uses:
            for path, name in places:
                if what == "model" and isinstance(name, str) and covering(patterns, name) is not None:
                    continue
                if isinstance(name, str) and not is_read_in(name) and name not in known:
                    told = unknown_policy(name, policies.names) if what == "policy" else f"there is no {what} {name!r}"
                    yield file.problem(path, told, closest(name, map(str, known)))
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


def _declared_models(document: YamlDocument) -> tuple[set[Any], set[Any]]:
    """Return the names in `model_list`, and the other names of models, as far as they are text."""
    listed = {value for _, value in document.matches("model_list", "*", "model_name") if isinstance(value, str)}
    return listed, {path[-1] for path, _ in document.matches("aliases", "*") if isinstance(path[-1], str)}


def unsound_rules(said: ConfigFile | None, document: YamlDocument) -> Iterator[Problem]:
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


def slips(document: YamlDocument) -> Iterator[Problem]:
    """Yield keys of the open-ended mappings that are one letter away from one we act on, which is not there itself."""
    for mapping, known in (("litellm_params", ParamsFile.model_fields), ("model_info", InfoFile.model_fields)):
        for path, said in document.matches("model_list", "*", mapping):
            for name in said if isinstance(said, dict) else ():
                meant = one_slip_from(name, known) if name not in known else None
                if meant is not None and meant not in said:
                    yield document.problem((*path, name), f"unknown key {name!r}", meant)


def declared_twice(document: YamlDocument, keys: YamlDocument | None = None) -> Iterator[Problem]:
    """Yield key names, key hashes and fallbacks that are declared a second time; `keys` is the keys file."""
    files = [document] if keys is None else [document, keys]
    hashed = [("keys", "*", "sha256"), ("keys", "*", "former", "*", "sha256")]
    names = [(file, path, value) for file in files for path, value in file.matches("keys", "*", "name")]
    hashes = [(file, *found) for file in files for pattern in hashed for found in file.matches(*pattern)]
    for what, places in (
        ("a key named", names),
        ("a key with the sha256", [(file, path, str(value).lower()) for file, path, value in hashes]),
        ("a fallback for", [(document, path, path[-1]) for path, _ in document.matches("fallbacks", "*", "*")]),
    ):
        first: dict[Any, str] = {}
        for file, path, value in places:
            if not isinstance(value, str):
                continue
            if value in first:
                shown = value if len(value) < 20 else value[:8] + "…"
                yield file.problem(path, f"there is already {what} {shown!r} ({first[value]})")
            else:
                first[value] = f"line {file.line(path)}" + (f" of {file.file.name}" if keys is not None else "")
