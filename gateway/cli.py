"""The command `gateway`: serve | demo | check | explain | simulate | report | keys.

Each command imports what it needs when it runs, so that `serve` loads neither tables nor reports and `--help` is
instant.
Exit codes: 0 done, 1 asked for something that is not there, 2 wrong usage, configuration or machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.config import Config
    from gateway.fitting import Model
    from gateway.problems import Problem
    from gateway.routing.deployment import Deployment
    from gateway.simulating.prices import Rule
    from gateway.simulating.traffic import Traffic, Turn

AnyCommand = TypeVar("AnyCommand", bound=click.Command)

Value = TypeVar("Value")

DEFAULT_CONFIG = Path("config.yaml")
DEMO_FOLDER = Path("var") / "demo"
DIMENSIONS = ("user", "team", "key", "model", "policy", "tag", "day")

MOST_PROBLEMS = 10
"""Lines of traffic that could not be used that are told one by one."""

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


class NotThere(click.ClickException):
    """What was asked for does not exist."""

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


@example("gateway demo\ngateway serve --config config.yaml")
@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gateway-llm", prog_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """A gateway between your programs and your models: every request fits its budget and is in the books."""  # noqa: D401


@example("gateway serve --config config.yaml --port 8080")
@main.command(short_help="Run the gateway.")
@click.option("--config", "path", type=_FILE, default=DEFAULT_CONFIG, show_default=True, help="The configuration.")
@click.option("--host", help="Listen on this address instead of server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of on server.port; 0 = any free one.")
def serve(path: Path, host: str | None, port: int | None) -> None:
    """Serve until SIGTERM: requests come in on OPENAI_BASE_URL, answers and ledger lines come out."""
    sys.exit(_serve(path, host, port))


@example("gateway demo\ngateway demo --serve --port 8080")
@main.command(short_help="Show what it does, in under a minute and without a key.")
@click.option("--serve", "stay", is_flag=True, help="Start the demo's gateway for programs of your own, and stay up.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --serve: listen on this port; 0 = any free one.")
def demo(stay: bool, port: int | None) -> None:
    """Show what the gateway does, on a conversation of its own: no key, no network, under a minute."""
    if stay:
        from gateway.demo import settings

        path = DEMO_FOLDER / "config.yaml"
        click.echo(f"# configuration and ledger: {path if path.exists() else settings.write(DEMO_FOLDER)}")
        sys.exit(_serve(path, None, port))

    from gateway.demo import runner

    try:
        runner.run(_console())
    except runner.DemoFailed as error:
        raise NotThere(str(error)) from error


@example("gateway check --config config.yaml\ngateway check --schema policy > policy.schema.json")
@main.command(short_help="Check the configuration and its policies.")
@click.option("--config", "path", type=_FILE, default=DEFAULT_CONFIG, show_default=True, help="The configuration.")
@click.option("--schema", type=click.Choice(["policy", "config"]), help="Print a JSON Schema for editors instead.")
def check(path: Path, schema: str | None) -> None:
    """Check the configuration and its policies; print every mistake, else each policy in absolute tokens."""
    if schema is not None:
        from gateway.config import check_schema

        click.echo(json.dumps(check_schema(schema), indent=2))
        return

    from gateway import check as checks
    from gateway.budget.calibration import EXACT, UNKNOWN

    config = _config(path)
    deployments = [deployment for group in _deployments(config).values() for deployment in group]
    known = [
        checks.Facts(
            one.name, one.facts.window, one.facts.shared, EXACT if one.facts.exact else UNKNOWN, one.facts.max_output
        )
        for one in deployments
    ]
    used = config.policies_in_use()
    click.echo(checks.render(used, known), nl=False)
    others = ", ".join(sorted(config.policies.keys() - {policy.name for policy in used}))
    if others:
        click.echo(f"\nalso there, used by nobody: {others}")
    for warning in _warnings(config, deployments):
        click.echo(warning, err=True)


@example("""\
gateway explain gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D --config config.yaml
gateway explain --request request.json --policy support --format text
gateway explain --request request.json --policy support --format json""")
@main.command(short_help="Tell what was done to a request, or what would be.")
@click.argument("request_id", metavar="ID", required=False)
@click.option("--config", "path", type=_FILE, help="The configuration, for its ledger, policies and models.")
@click.option("--ledger", type=_FOLDER, help="The ledger's folder, where there is no configuration at hand.")
@click.option("--request", "request_file", type=click.File("rb"), help="A request body to try, - = standard input.")
@click.option("--policy", help="With --request: the policy to try, by name.  [default: default_policy]")
@click.option("--window", type=click.IntRange(min=1), help="With --request: the context window to assume, in tokens.")
@click.option("--model", help="With --request: the model to assume instead of the request's own.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "text", "json"]),
    default="table",
    show_default=True,
    help="text: with --request, the messages as the model would receive them.",
)
def explain(
    *,
    request_id: str | None,
    path: Path | None,
    ledger: Path | None,
    request_file: Any,
    policy: str | None,
    window: int | None,
    model: str | None,
    style: str,
) -> None:
    """Tell what was done to a past request, or what a policy would do to the one in a file."""
    if (request_id is None) == (request_file is None):
        raise click.UsageError("give either the ID of a past request or --request FILE")
    if request_file is None and style == "text":
        raise click.UsageError("--format text needs --request FILE: the ledger has no messages")
    if request_file is not None:
        shown = _dry_run(request_file.read(), path, policy, window, model, as_sent=style == "text")
    else:
        shown = _past_request(str(request_id), _ledger(path, ledger))
    if style == "json":
        click.echo(json.dumps(shown, indent=2))
        return

    from gateway.operators import tables

    if style == "text":
        click.echo(tables.as_text(shown), nl=False)
        return
    _console().print(tables.dry_run_tables(shown) if request_file is not None else tables.request_tables(shown))


@example("""\
gateway simulate --policy support --requests var/ledger --config config.yaml
gateway simulate --policy default --policy chat --requests day.jsonl.gz --window 32000 --model gpt-5
gateway simulate --policy support --requests day.jsonl --prices "cached .1 write 1" --picture day.png""")
@main.command(short_help="Tell what policies would have done to your own traffic.")
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
@click.option("--config", "config_file", type=_FILE, help="The configuration, for its policies and models.")
@click.option("--window", type=click.IntRange(min=1), help="The model's context window to assume, in tokens.")
@click.option("--model", help="The model to assume instead of the requests' own.")
@click.option(
    "--prices", "prices", multiple=True, metavar="NAME", help="A price rule; repeat to compare.  [default: all]"
)
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--picture", type=_FILE, help="Draw prompt length over turns into this PNG too.")
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
    from gateway.simulating import judging, shown

    if picture is not None and (picture.suffix != ".png" or not picture.parent.is_dir()):
        raise click.UsageError(f"--picture {picture}: name a .png in a folder that is there")
    rules = _rules(prices)
    config, traffic = _traffic(config_file, path, form, model, team)
    wanted = [_named("policy", name, config.policies) for name in dict.fromkeys(policies)]
    models = _models(config, window)
    turns, problems = _of_known_models(traffic, models, model)
    if not turns:
        raise NotThere("\n".join(["no request to simulate on:", *_first_of(problems)]))
    counters = Counters()
    found = judging.simulate(
        turns,
        wanted,
        lambda turn: models[model or turn.model],
        lambda facts: counters.for_encoding(facts.encoding),
        rules,
    )
    if picture is not None:
        picture.write_bytes(shown.picture(found))
    if style == "json":
        click.echo(json.dumps(shown.as_json(found, problems), indent=2))
    else:
        console = _console()
        console.print(shown.tables(found, path.name or str(path), console.width))
    for line in _first_of(problems):
        click.echo(line, err=True)


@example("""\
gateway report --config config.yaml --by team --since 2026-03-01
gateway report --ledger var/ledger --by user --format csv""")
@main.command(short_help="Tell who spent what.")
@click.option("--config", "path", type=_FILE, help="The configuration, for its ledger.")
@click.option("--ledger", type=_FOLDER, help="The ledger's folder, where there is no configuration at hand.")
@click.option("--by", type=click.Choice(DIMENSIONS), default="team", show_default=True, help="A row for each.")
@click.option("--since", help="From this moment on: 2026-03-01, 2026-03-01T09:30, today, yesterday, 7d, 12h (UTC).")
@click.option("--until", help="Until this moment; a day is meant whole (UTC).")
@click.option("--utilization", is_flag=True, help="Add how far each component fills its room.")
@click.option("--retention", is_flag=True, help="Add what rewriting removed, and how often an answer missed it.")
@click.option("--caching", is_flag=True, help="Add what prompt caches gave, and why they gave less than they could.")
@click.option("--saving", is_flag=True, help="Add what the gateway saved, net, by team and policy.")
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def report(
    *,
    path: Path | None,
    ledger: Path | None,
    by: Any,
    since: str | None,
    until: str | None,
    utilization: bool,
    retention: bool,
    caching: bool,
    saving: bool,
    style: str,
) -> None:
    """Tell who spent what, from the ledger: requests, tokens before and after, cached, cost, unsettled."""
    from gateway.money import report as reports
    from gateway.money.figures import printable

    asked = {"--utilization": utilization, "--retention": retention, "--caching": caching, "--saving": saving}
    several = [option for option, is_given in asked.items() if is_given]
    if style == "csv" and len(several) > 1:
        raise click.UsageError(f"a csv is one table: give one of {', '.join(several)}, or --format json for all")
    now = datetime.now(UTC)
    try:
        first = None if since is None else reports.parse_moment(since, now)
        last = None if until is None else reports.parse_moment(until, now, is_end=True)
        found = reports.report(
            _ledger(path, ledger),
            by,
            first,
            last,
            utilization=utilization,
            retention=retention,
            caching=caching,
            saving=saving,
            targets=_targets(path) if utilization and ledger is None else None,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except FileNotFoundError as error:
        raise NotThere(str(error)) from error
    if style == "table":
        console = _console()
        for number, one in enumerate(found.tables(console.width)):
            if number:
                console.print()
            console.print(one)
        breaks = _breaks(path) if caching and ledger is None else []
        if breaks:
            console.print("", *map(printable, breaks), sep="\n", markup=False)
    else:
        click.echo(found.csv() if style == "csv" else found.json(), nl=False)


def _targets(path: Path | None) -> dict[str, dict[str, tuple[float, float]]]:
    """Read how full the rooms of each policy should be, its profiles' too."""
    policies = _config(path or DEFAULT_CONFIG, to_serve=False).policies.values()
    variants = [variant for one in policies for variant in (one, *(profile.policy for profile in one.profiles))]
    return {variant.label: dict(variant.utilization) for variant in variants if variant.utilization}


def _breaks(path: Path | None) -> list[str]:
    """Tell what breaks prefixes, as far as the state knows."""
    from gateway.config import ConfigErrors, state_place
    from gateway.shared_heads import suggested
    from gateway.state import StateUnavailable, open_state

    try:
        state = open_state(state_place(path or DEFAULT_CONFIG, os.environ))
    except (ConfigErrors, StateUnavailable) as error:
        return [f"What breaks prefixes is not known: {error}."]
    try:
        return [str(one) for one in suggested(state)]
    except StateUnavailable as error:
        return [f"What breaks prefixes is not known: {error}."]
    finally:
        state.close()


def _not_empty(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse a name of nothing: no report could tell whose it is."""
    if not value.strip():
        raise click.BadParameter("must not be empty")
    return value


@example("gateway keys new --name support-bot --team support")
@main.group()
def keys() -> None:
    """Make virtual keys."""


@example("gateway keys new --name support-bot --team support")
@keys.command()
@click.option("--name", required=True, callback=_not_empty, help="What the key is called in the ledger.")
@click.option(
    "--team", required=True, callback=_not_empty, help="Whose policy it has, and under whose name it is entered."
)
def new(name: str, team: str) -> None:
    """Print a new key, once, and the line for `keys:` in the configuration, which holds only its digest."""
    from gateway.money.keys import new_key

    key, digest = new_key()
    click.echo(f"The key, shown only now:\n\n{key}\n\nIts line under `keys:` in config.yaml:\n")
    click.echo(f"  - {{name: {json.dumps(name)}, sha256: {digest}, team: {json.dumps(team)}}}")


def _serve(path: Path, host: str | None, port: int | None) -> int:
    import structlog

    from gateway import server
    from gateway.config import startup_problems
    from gateway.operators import logs

    logs.configure()
    log = structlog.get_logger("gateway")
    config = _config(path, host, port)
    deployments = [deployment for group in _deployments(config).values() for deployment in group]
    _refuse(startup_problems(config))
    for warning in _warnings(config, deployments):
        log.warning(warning)
    try:
        listener = server.bind(config.server.host, config.server.port)
    except server.CannotStart as error:
        raise Refused(str(error)) from error
    address = server.address(listener)

    def started() -> None:
        log.info(
            "serving", address=address, models=len(deployments), keys=len(config.keys), ledger=str(config.ledger.dir)
        )
        click.echo(f"export OPENAI_BASE_URL={address}/v1")

    code = server.run(config, path, listener, started=started)
    log.info("stopped", code=code)
    return code


def _config(path: Path, host: str | None = None, port: int | None = None, *, to_serve: bool = True) -> Config:
    """Read the configuration, with the address of the command line where one is given, or end with all its mistakes."""
    from gateway.config import ConfigErrors, load

    try:
        config = load(path, os.environ, to_serve=to_serve)
    except ConfigErrors as errors:
        raise Refused(str(errors)) from errors
    address = replace(config.server, host=host or config.server.host, port=config.server.port if port is None else port)
    return replace(config, server=address)


def _refuse(problems: Sequence[Problem]) -> None:
    """End with every problem, if there is one."""
    if problems:
        raise Refused("\n".join(map(str, problems)))


def _deployments(config: Config) -> Mapping[str, tuple[Deployment, ...]]:
    """Resolve `model_list`, or end with every entry that cannot be served."""
    from gateway.catalogue import catalogue
    from gateway.routing.deployment import Unservable

    try:
        return catalogue(config)
    except Unservable as error:
        _refuse([config.problem(path, message) for _, path, message in error.complaints])
        raise


def _warnings(config: Config, deployments: Sequence[Deployment]) -> Iterator[str]:
    """Say which keys have expired, and which deployments have no price and what comes of that."""
    from gateway.catalogue import meant
    from gateway.money.prices import names_no_model

    consequence = (
        "it is called, and its cost is entered as unknown"
        if config.unpriced == "allow"
        else "it is never called; give its prices in model_info, or set unpriced: allow"
    )
    now = datetime.now(UTC)
    for key in config.keys:
        if key.expires is not None and key.expires <= now:
            moment = f"{key.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            yield f"{config.file}: key {key.name} expired on {moment}: it is refused"
    unpriced = [deployment for deployment in deployments if deployment.price is None]
    likely = meant(unpriced)
    for deployment in unpriced:
        hint = f"; did you mean {likely[deployment.name]!r}?" if deployment.name in likely else ""
        if names_no_model(deployment.model):
            hint = "; its ARN does not say which model it is: name that in model_info.base_model (bedrock/MODEL)"
        yield f"{config.file}: {deployment.name} has no price: {consequence}{hint}"


def _ledger(path: Path | None, folder: Path | None) -> Path:
    """Return the ledger's folder, from either of the two options that name it."""
    if path is not None and folder is not None:
        raise click.UsageError("give --config or --ledger, not both")
    if folder is not None:
        return folder
    if path is None and not DEFAULT_CONFIG.exists():
        raise click.UsageError(f"give --config FILE or --ledger DIR (there is no {DEFAULT_CONFIG} here)")
    from gateway.config import ConfigErrors, ledger_dir

    try:
        return ledger_dir(path or DEFAULT_CONFIG, os.environ)
    except ConfigErrors as errors:
        raise Refused(str(errors)) from errors


def _past_request(request_id: str, folder: Path) -> dict[str, Any]:
    from gateway.money import ledger

    entry = ledger.find(folder, request_id)
    if entry is None:
        raise NotThere(f"no request {request_id} in {folder}")
    return entry


def _dry_run(
    body: bytes, path: Path | None, policy: str | None, window: int | None, model: str | None, *, as_sent: bool
) -> dict[str, Any]:
    """Plan a request that is not sent, with a configuration's models and policies or with the shipped ones."""
    from gateway.budget.tokens import Counters
    from gateway.explain import dry_run
    from gateway.fitting import models_of
    from gateway.wire.chat import Memo, parse
    from gateway.wire.errors import GatewayError

    try:
        name = model or parse(body, Memo()).model
        if path is None and DEFAULT_CONFIG.exists():
            path = DEFAULT_CONFIG
        config = _shipped(name) if path is None else _config(path, to_serve=False)
        wanted = _named("policy", policy or config.default_policy, config.policies)
        facts = _named("model", name, models_of(_deployments(config), unpriced=True))
        facts = facts if window is None else replace(facts, window=window)
        return dry_run(body, wanted, facts, Counters().for_encoding(facts.encoding), as_sent=as_sent)
    except GatewayError as error:
        raise NotThere(error.message) from error


def _rules(names: Sequence[str]) -> Mapping[str, Rule]:
    """Return the price rules of these names, or all."""
    from gateway.simulating.prices import RULES

    return {name: _named("price rule", name, RULES) for name in dict.fromkeys(names)} if names else RULES


def _traffic(
    config_file: Path | None, path: Path, form: Any, model: str | None, team: str | None
) -> tuple[Config, Traffic]:
    """Read the traffic and the configuration; without one, the shipped policies and the models that the traffic names.

    Where a configuration has a single model, requests that name none are for that one.
    """
    from gateway.simulating import traffic

    if config_file is None and DEFAULT_CONFIG.exists():
        config_file = DEFAULT_CONFIG
    if config_file is None:
        read = traffic.read(path, form, model, team)
        return (_shipped(model) if model else _servable(sorted({turn.model for turn in read.turns}))), read
    config = _config(config_file, to_serve=False)
    names = {entry.model_name for entry in config.models}
    return config, traffic.read(path, form, model or (names.pop() if len(names) == 1 else None), team)


def _servable(names: Sequence[str]) -> Config:
    """Return the shipped configuration for those of the models that anybody knows how to reach."""
    from gateway.catalogue import catalogue
    from gateway.routing.deployment import Unservable

    while True:
        config = _shipped(*names)
        try:
            catalogue(config)
        except Unservable as error:
            strange = {path[1] for _, path, _ in error.complaints}
            names = [name for index, name in enumerate(names) if index not in strange]
        else:
            return config


def _models(config: Config, window: int | None) -> Mapping[str, Model]:
    """Return what is known of each model, with another window where one is given."""
    from gateway.fitting import models_of

    known = models_of(_deployments(config), unpriced=True)
    return known if window is None else {name: replace(facts, window=window) for name, facts in known.items()}


def _of_known_models(
    traffic: Traffic, models: Mapping[str, Model], model: str | None
) -> tuple[list[Turn], list[Problem]]:
    """Return the turns that can be planned, and all problems: one for each model that nobody knows too."""
    from gateway.problems import Problem, closest

    if model is not None:
        _named("model", model, models)
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


def _first_of(problems: Sequence[Problem]) -> Iterator[str]:
    yield from map(str, problems[:MOST_PROBLEMS])
    if len(problems) > MOST_PROBLEMS:
        yield f"and {len(problems) - MOST_PROBLEMS:,} more"


def _named(what: str, name: str, known: Mapping[str, Value]) -> Value:
    if name not in known:
        raise NotThere(f"no {what} {name!r}; there is {', '.join(sorted(known))}")
    return known[name]


def _shipped(*models: str) -> Config:
    """Return a configuration of models as the price table knows them, with the policies that come with the program."""
    from gateway.config import Config, LedgerSettings, ModelEntry, Server, State
    from gateway.policy import load_policies, shipped_folder

    return Config(
        file=DEFAULT_CONFIG,
        server=Server(),
        models=tuple(ModelEntry(model, {"model": model}) for model in models),
        fallbacks={},
        teams={},
        keys=(),
        policies=load_policies(shipped_folder()).by_name,
        default_policy="default",
        state=State(),
        ledger=LedgerSettings(Path()),
        unpriced="allow",
    )


def _console() -> Console:
    """Return standard output; where it is no terminal, lines are as long as what they say."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else 140, soft_wrap=not terminal, highlight=False)
