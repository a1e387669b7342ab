"""`gateway simulate`: what policies would have done to traffic of your own."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.opening import (
    DEFAULT_CONFIG,
    FILE,
    NotThere,
    config_of,
    example,
    facts_of_models,
    first_of,
    named,
    shipped,
    terminal,
)

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.config.problems import Problem
    from gateway.reports.simulating.price_rules import Rule
    from gateway.reports.simulating.traffic import Traffic, Turn
    from gateway.routing.models import Model


@example("""\
gateway simulate --policy support --requests var/ledger --config config.yaml
gateway simulate --policy default --policy chat --requests day.jsonl.gz --window 32000 --model gpt-5
gateway simulate --policy support --requests day.jsonl --prices "cached .1 write 1" --picture day.png""")
@click.command(short_help="Tell what policies would have done to your own traffic.")
@click.option("--policy", "policies", multiple=True, required=True, help="A policy to try, by name; repeat to compare.")
@click.option(
    "--requests",
    "path",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="JSON lines (.gz too), a folder of them, or a ledger that keeps content.",
)
@click.option(
    "--as",
    "form",
    type=click.Choice(["requests", "conversations"]),
    help="What the lines are.  [default: told from each]",
)
@click.option("--team", help="Of a ledger with content: only this team's requests.")
@click.option("--config", "config_file", type=FILE, help="The configuration, for its policies and models.")
@click.option("--window", type=click.IntRange(min=1), help="The model's context window to assume, in tokens.")
@click.option("--model", help="The model to assume instead of the requests' own.")
@click.option(
    "--prices", "prices", multiple=True, metavar="NAME", help="A price rule; repeat to compare.  [default: all]"
)
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--picture", type=FILE, help="Draw prompt length over turns into this PNG too.")
def simulate(
    *,
    policies: Sequence[str],
    path: Path,
    form: Any,
    team: str | None,
    config_file: Path | None,
    window: int | None,
    model: str | None,
    prices: Sequence[str],
    style: str,
    picture: Path | None,
) -> None:
    """Tell what policies would have done to requests that were made: how much is cut, lost, saved. Nothing is sent.

    A line of --requests is the body of a chat completion (one that begins with all messages of an earlier one is the
    next turn of its conversation), a whole conversation (it ends in an assistant message, or has id, source or
    next_action), or what a ledger with `content: requests` wrote.
    """
    from gateway.budget.tokens import Counters
    from gateway.reports.simulating import judging, rendering

    if picture is not None and (picture.suffix != ".png" or not picture.parent.is_dir()):
        raise click.UsageError(f"--picture {picture}: name a .png in a folder that is there")
    rules = _rules(prices)
    config, traffic = _traffic(config_file, path, form, model, team)
    wanted = [named("policy", name, config.policies) for name in dict.fromkeys(policies)]
    models = facts_of_models(config, {turn.model for turn in traffic.turns} | ({model} if model else set()), window)
    turns, problems = _of_known_models(traffic, models, model)
    if not turns:
        raise NotThere("\n".join(["no request to simulate on:", *first_of(problems)]))
    counters = Counters()
    found = judging.judge_policies(
        turns,
        wanted,
        lambda turn: models[model or turn.model],
        lambda facts: counters.for_encoding(facts.encoding),
        rules,
    )
    if picture is not None:
        picture.write_bytes(rendering.picture(found))
    if style == "json":
        click.echo(json.dumps(rendering.as_json(found, problems), indent=2))
    else:
        console = terminal()
        console.print(rendering.tables(found, path.name or str(path), console.width))
    for line in first_of(problems):
        click.echo(line, err=True)


def _rules(names: Sequence[str]) -> Mapping[str, Rule]:
    """Return the price rules of these names, or all."""
    from gateway.reports.simulating.price_rules import RULES

    return {name: named("price rule", name, RULES) for name in dict.fromkeys(names)} if names else RULES


def _traffic(
    config_file: Path | None, path: Path, form: Any, model: str | None, team: str | None
) -> tuple[Config, Traffic]:
    """Read the traffic and the configuration; without one, the shipped policies and the models that the traffic names.

    Requests that name no model are for the single one of a configuration.
    """
    from gateway.reports.simulating import traffic

    if config_file is None and DEFAULT_CONFIG.exists():
        config_file = DEFAULT_CONFIG
    if config_file is None:
        read = traffic.read_traffic(path, form, model, team)
        return (shipped(model) if model else _servable(sorted({turn.model for turn in read.turns}))), read
    config = config_of(config_file, to_serve=False)
    names = {entry.model_name for entry in config.models}
    return config, traffic.read_traffic(path, form, model or (names.pop() if len(names) == 1 else None), team)


def _servable(names: Sequence[str]) -> Config:
    """Return the shipped configuration for those of the models that anybody knows how to reach."""
    from gateway.routing.catalogue import catalogue
    from gateway.routing.deployment import Unservable

    while True:
        config = shipped(*names)
        try:
            catalogue(config)
        except Unservable as error:
            strange = {path[1] for _, path, _ in error.complaints}
            names = [name for index, name in enumerate(names) if index not in strange]
        else:
            return config


def _of_known_models(
    traffic: Traffic, models: Mapping[str, Model], model: str | None
) -> tuple[list[Turn], list[Problem]]:
    """Return the turns that can be planned, and all problems: one for each model that nobody knows too."""
    from gateway.config.problems import Problem, closest

    if model is not None:
        named("model", model, models)
        return list(traffic.turns), list(traffic.problems)
    strangers: dict[str, Turn] = {}
    for turn in traffic.turns:
        if turn.model not in models:
            strangers.setdefault(turn.model, turn)
    told = "there is no model {!r}; give --model to plan its requests as another one"
    problems = [
        Problem(turn.file, turn.line, (), told.format(name), closest(name, models)) for name, turn in strangers.items()
    ]
    return [turn for turn in traffic.turns if turn.model in models], [*traffic.problems, *problems]
