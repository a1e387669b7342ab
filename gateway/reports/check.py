"""Policies as `gateway check` prints them: in absolute tokens, deployment by deployment. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from textwrap import wrap

from gateway.budget.allocation import Window, usual_reserve
from gateway.budget.calibration import EXACT, Calibration
from gateway.config import Config, KeyEntry
from gateway.config.ladder import CUT
from gateway.config.policy import Policy, PromptCache
from gateway.config.shares import COMPONENTS
from gateway.rewriting.folds.summarize import LEAST


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """The window of a deployment, as far as it is known."""

    deployment: str
    window: int | None
    """In tokens; None where neither the price table nor `model_info.max_input_tokens` says."""
    shared: bool = True
    """Whether the answer is taken out of the same window."""
    calibration: Calibration = EXACT
    """The size of `margin: auto` for it, before anything was learned from answers."""
    max_output: int | None = None
    """The most tokens that it can write; None where nobody says."""


@dataclass(frozen=True, slots=True)
class Row:
    """A policy, or a profile of it, on one deployment; all amounts in tokens, None where no window is known."""

    policy: str
    deployment: str
    window: int | None
    budget: int | None
    """Most prompt tokens of a request that does not say how long its answer may be."""
    margin: int | None
    """Kept free for the error of the count; `budget` is without it."""
    shares: Mapping[str, int]
    """By component; empty where no window is known."""


def policy_rows(policies: Iterable[Policy], deployments: Sequence[DeploymentFacts]) -> tuple[Row, ...]:
    """Return every policy and every profile on every deployment."""
    return tuple(
        _row(variant, facts)
        for policy in sorted(policies, key=lambda policy: policy.name)
        for variant in policy.variants
        for facts in deployments
    )


def _row(policy: Policy, facts: DeploymentFacts) -> Row:
    declared = policy.reserve.margin
    calibration = facts.calibration if declared is None else EXACT
    bounds = [bound for bound in (policy.context_window, facts.window) if bound is not None]
    reserve = usual_reserve(policy.reserve.output, min(bounds, default=None), facts.max_output)
    window = Window(policy.context_window, facts.window, facts.shared, reserve, declared or 0, calibration)
    budget = window.budget()
    if budget is None:
        return Row(policy.label, facts.deployment, None, None, None, {})
    whole = replace(window, margin=0, calibration=EXACT).budget() or budget
    return Row(policy.label, facts.deployment, min(bounds), budget, whole - budget, policy.allocation.rooms(budget))


def render(policies: Iterable[Policy], deployments: Sequence[DeploymentFacts]) -> str:
    """Return the table, one block per policy with its rules in a sentence, ending in a newline."""
    blocks = []
    for policy in sorted(policies, key=lambda policy: policy.name):
        lines = [str(policy), *(line for told in _in_words(policy) for line in _wrapped(told))]
        table: list[tuple[str, ...]] = [("", "window", "margin", "prompt", *COMPONENTS)]
        for row in policy_rows([policy], deployments):
            name = row.deployment if row.policy == policy.name else f"{row.policy} {row.deployment}"
            amounts = (row.window, row.margin, row.budget, *(row.shares.get(c) for c in COMPONENTS))
            table.append((name, *("unknown" if amount is None else f"{amount:,}" for amount in amounts)))
        blocks.append("\n".join([*lines, *_aligned(table)]) + "\n")
    return "\n".join(blocks)


def _in_words(policy: Policy) -> Iterable[str]:
    margin = policy.reserve.margin
    strict = ", strict" if policy.strict else ""
    output = policy.reserve.output
    yield f"mode {policy.mode}{strict}; reserve {_amount(output)} for the answer, margin {_amount(margin)}"
    yield _shares(policy)
    remedies = [f"{name} {' > '.join(steps)}" for name in CUT if (steps := getattr(policy.ladder, name))]
    chosen = "auto: " if policy.ladder.auto else ""
    yield f"ladder: {chosen}" + ("; ".join(remedies) or "nothing is ever cut")
    fold = policy.fold
    listed = f"; a list of what went takes at most {fold.artifacts:.0%}" if policy.ladder.history else ""
    left = "of what tools and system text leave"
    due = "the prompt is over" + (", or sooner where that is cheaper" if fold.when == "cheaper" else "")
    if remedies:
        yield f"fold: when {due}, history down to {fold.target:.0%} {left}{listed}"
    if remedies:
        yield f"what people said: up to {policy.user_text:.0%} {left} stays word for word"
    if policy.tools.select is not None:
        kept = f"those that are called and the most relevant, {policy.tools.select} in all"
        yield f"tools: of a request that is over, {kept}"
    if policy.documents.in_system:
        yield "documents: looked for in system text too"
    if policy.preserve:
        yield f"preserve: sentences that match {_patterns(policy.preserve)}"
    if policy.summarize.enabled:
        writer = "the model asked for" if policy.summarize.model == "same" else policy.summarize.model
        yield (
            f"summaries: by {writer}, at most {policy.summarize.at_most:.0%} of what they stand for; none is asked for "
            f"where tools and system text leave less than about {_least_room(policy):,} tokens"
        )
    cache = policy.prompt_cache
    if cache != PromptCache():
        volatile = f"; text that matches {_patterns(cache.volatile)} moves" if cache.volatile else ""
        groups = f"a group for each {' and '.join(cache.group_by)}" if cache.group_by else "one group for everybody"
        warm = f"; prefixes that match {_patterns(cache.warm)} are kept warm" if cache.warm else ""
        yield f"prompt cache: markers {cache.markers}, ttl {cache.ttl}, {groups}{volatile}{warm}"
    for profile in policy.profiles:
        yield f"profile {profile.policy}: " + (f"when {profile.when.source}" if profile.when else "when asked for")


def access(config: Config) -> str:
    """Say who may ask for what under which policy, by team; ends in a newline."""
    if config.is_open:
        return f"open to anybody who reaches it, under policy {config.default_policy}\n"
    lines = []
    for team in dict.fromkeys([*config.teams, *(key.team for key in config.keys)]):
        own = config.policy_for(None, team).name
        keys = [key for key in config.keys if key.team == team]
        lines.append(f"team {team}, policy {own}" + ("" if keys else ": no key"))
        for key in keys:
            policy = config.policy_for(key.policy, team).name
            said = [f"policy {policy}" + ("" if policy == own else ", its own")]
            said.append("every model" if key.models is None else f"models {', '.join(key.models)}")
            said += _bounds(key)
            lines += _wrapped(f"key {key.name}: {'; '.join(said)}")
    return "\n".join(lines) + "\n"


def _bounds(key: KeyEntry) -> Iterator[str]:
    """Say when, from where and for what a key is good."""
    if key.revoked is not None:
        yield f"revoked on {key.revoked.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return
    if key.not_before is not None:
        yield f"from {key.not_before.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if key.expires is not None:
        yield f"until {key.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if key.paths is not None:
        yield f"for {', '.join(key.paths)} only"
    if key.ips is not None:
        yield f"from {', '.join(map(str, key.ips))} only"


def _shares(policy: Policy) -> str:
    """Say of what the shares are shares."""
    if policy.strict:
        return "shares: of the prompt; a component above its own is cut, or refused where it has no remedy"
    cut = {"history" if name == "tool_results" else name for name in CUT if getattr(policy.ladder, name)}
    uncut = [name for name in COMPONENTS if name not in cut]
    lent = f"; what one does not need goes to {', '.join(policy.borrow)}" if policy.borrow and cut else ""
    return f"shares: of what is left once {_listed(uncut)} have what they need{lent}" if cut else "shares: of no effect"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _least_room(policy: Policy) -> int:
    """Return the room below which what one fold leaves out is as a rule too short for a summary."""
    folded = max(0.01, policy.fold.trigger - policy.recall - policy.fold.target)
    return math.ceil(LEAST / max(0.001, policy.summarize.at_most) / folded)


def _amount(kept: float | None) -> str:
    return "auto" if kept is None else f"{kept:.1%}" if isinstance(kept, float) else f"{kept:,}"


def _patterns(patterns: Sequence[object]) -> str:
    return "one pattern" if len(patterns) == 1 else f"any of {len(patterns)} patterns"


def _wrapped(told: str) -> Sequence[str]:
    return wrap(
        told, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


WIDTH = 80
"""Columns of the terminal that is assumed."""


def _aligned(table: Sequence[Sequence[str]]) -> Sequence[str]:
    """Return the lines of a table: names and amounts side by side where that fits, else the amounts below each name."""
    apart = [line for name, *amounts in table for line in ((name,), ("", *amounts)) if line[0] or len(line) > 1]
    below = ((apart, "    ", "  "), (apart, "  ", "  "), (apart, " ", " "))
    for lines, indent, gap in ((table, "  ", "  "), (table, "  ", " "), *below):
        laid = _laid(lines, indent, gap)
        if all(len(line) <= WIDTH for line, cells in zip(laid, lines, strict=True) if len(cells) > 1):
            break
    return laid


def _laid(lines: Sequence[Sequence[str]], indent: str, gap: str) -> list[str]:
    rows = [line for line in lines if len(line) > 1]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    out = []
    for line in lines:
        if len(line) == 1:
            out.append(f"  {line[0]}")
            continue
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        name = [line[0].ljust(widths[0])] if widths[0] else []
        out.append((indent + gap.join([*name, *cells])).rstrip())
    return out
