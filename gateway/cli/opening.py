"""Files and names that commands open: read, or refused with every reason."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.config import Config
    from gateway.config.problems import Problem
    from gateway.routing.catalogue import Catalogue
    from gateway.routing.models import Model

AnyCommand = TypeVar("AnyCommand", bound=click.Command)

Value = TypeVar("Value")

DEFAULT_CONFIG = Path("config.yaml")

MOST_PROBLEMS = 10
"""Lines of traffic that could not be used that are told one by one."""

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class NotThere(click.ClickException):
    """A name that does not exist."""

    exit_code = 1


class Refused(click.ClickException):
    """The program does not start; every reason is in the message."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as it is: each line of it names its own place."""
        click.echo(self.message, file=file or sys.stderr)


def example(text: str) -> Callable[[AnyCommand], AnyCommand]:
    """Show `text` below the options of a command."""

    def with_epilog(command: AnyCommand) -> AnyCommand:
        command.epilog = "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in text.splitlines())])
        return command

    return with_epilog


def config_of(
    path: Path,
    host: str | None = None,
    port: int | None = None,
    *,
    to_serve: bool = True,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration, with the address of the command line where one is given, or end with all its mistakes."""
    from gateway.config import ConfigErrors, load

    try:
        config = load(path, os.environ if environ is None else environ, to_serve=to_serve)
    except ConfigErrors as errors:
        raise Refused(str(errors)) from errors
    address = replace(config.server, host=host or config.server.host, port=config.server.port if port is None else port)
    return replace(config, server=address)


def refuse_problems(problems: Sequence[Problem]) -> None:
    """End with every problem, if there is one."""
    if problems:
        raise Refused("\n".join(map(str, problems)))


def deployments_of(config: Config) -> Catalogue:
    """Resolve `model_list`, or end with every entry that cannot be served."""
    from gateway.routing.catalogue import catalogue
    from gateway.routing.deployment import Unservable

    try:
        return catalogue(config)
    except Unservable as error:
        refuse_problems([config.problem(path, message) for _, path, message in error.complaints])
        raise


def named(what: str, name: str, known: Mapping[str, Value]) -> Value:
    if name not in known:
        raise NotThere(f"no {what} {name!r}; there is {', '.join(sorted(known))}")
    return known[name]


def first_of(problems: Sequence[Problem]) -> Iterator[str]:
    yield from map(str, problems[:MOST_PROBLEMS])
    if len(problems) > MOST_PROBLEMS:
        yield f"and {len(problems) - MOST_PROBLEMS:,} more"


def shipped(*models: str) -> Config:
    """Return a configuration of models as the price table knows them, with the policies that come with the program."""
    from gateway.config import Config, LedgerSettings, ModelEntry, Server, StateSettings
    from gateway.config.merging import load_policies, shipped_folder

    return Config(
        file=DEFAULT_CONFIG,
        server=Server(),
        models=tuple(ModelEntry(model, {"model": model}) for model in models),
        fallbacks={},
        teams={},
        keys=(),
        policies=load_policies(shipped_folder()).by_name,
        default_policy="default",
        state=StateSettings(),
        ledger=LedgerSettings(Path()),
        unpriced="allow",
    )


def facts_of_models(config: Config, asked: Iterable[str] = (), window: int | None = None) -> Mapping[str, Model]:
    """Return what is known of each model, with another window where one is given.

    `asked` are names that may be another's, or under asterisks.
    """
    from gateway.serving.services import Models

    every = Models(deployments_of(config), unpriced=True)
    known = dict(every) | {name: every[name] for name in asked if name in every}
    return known if window is None else {name: replace(facts, window=window) for name, facts in known.items()}


def ledgers_of(path: Path | None, folders: Sequence[Path]) -> Sequence[Path]:
    """Return the ledgers' folders, from either of the two options that name them."""
    if path is not None and folders:
        raise click.UsageError("give --config or --ledger, not both")
    if folders:
        return folders
    if path is None and not DEFAULT_CONFIG.exists():
        raise click.UsageError(f"give --config FILE or --ledger DIR (there is no {DEFAULT_CONFIG} here)")
    from gateway.config import ConfigErrors, ledger_dir

    try:
        return [ledger_dir(path or DEFAULT_CONFIG, os.environ)]
    except ConfigErrors as errors:
        raise Refused(str(errors)) from errors


def terminal() -> Console:
    """Return standard output; where it is no terminal, lines are as long as what they say."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else 140, soft_wrap=not terminal, highlight=False)
