"""`gateway keys`: virtual keys are made, listed, rotated and revoked."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.opening import DEFAULT_CONFIG, FILE, Refused, config_of, example, terminal

if TYPE_CHECKING:
    from gateway.config.keys_writing import KeysDocument
    from gateway.config.yaml import YamlDocument

CONFIG = click.option("--config", "path", type=FILE, help="The configuration, for the keys file that it names.")


def _not_empty(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse a name of nothing: no report could tell whose it is."""
    if not value.strip():
        raise click.BadParameter("must not be empty")
    return value


def _words(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    """Read a list that is separated by commas."""
    return None if value is None else [word.strip() for word in value.split(",") if word.strip()]


def _lifetime(_context: click.Context, _option: click.Parameter, value: str) -> timedelta:
    from gateway.config import quantities

    try:
        return timedelta(seconds=quantities.seconds(value)) if value != "0" else timedelta()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from error


@example("gateway keys new --name support-bot --team support")
@click.group()
def keys() -> None:
    """Make, list, rotate and revoke virtual keys."""


@example("gateway keys new --name support-bot --team support --models gpt-5 --expires 2030-12-31")
@keys.command()
@CONFIG
@click.option("--name", required=True, callback=_not_empty, help="What the key is called in the ledger.")
@click.option(
    "--team", required=True, callback=_not_empty, help="Whose policy it has, and under whose name it is entered."
)
@click.option("--user", help="Whom all its requests are for.")
@click.option("--policy", help="Its own policy, before the team's.")
@click.option("--models", callback=_words, help="Models it may ask for, separated by commas. Left out, all.")
@click.option("--paths", callback=_words, help="Operations it may use: chat, embeddings, …. Left out, all.")
@click.option("--ips", callback=_words, help="Addresses and networks it may be used from. Left out, any.")
@click.option("--not-before", help="Until this moment it is refused.")
@click.option("--expires", help="From this moment on it is refused: 2030-12-31 or 2030-12-31T18:00:00+01:00.")
@click.option("--priority", type=int, help="Under load, keys of a higher one are served first.")
def new(path: Path | None, name: str, team: str, **more: Any) -> None:
    """Make a key, and print it once. Its line goes into the keys file, where there is one, else it is printed."""
    from gateway.money.keys import new_key

    key, digest = new_key()
    members = {"name": name, "sha256": digest, "team": team}
    members |= {member: value for member, value in more.items() if value is not None}
    place, document = _keys_file(path)
    if place is None or document is None:
        _check(members)
        click.echo(f"The key, shown only now:\n\n{key}\n\nIts line under `keys:` in config.yaml:\n")
        written = ", ".join(f"{member}: {_in_flow(member, value)}" for member, value in members.items())
        click.echo(f"  - {{{written}}}")
        return

    def add(keys: KeysDocument) -> None:
        from gateway.config.keys_writing import KeysFileError

        there = {entry.get("name") for entry in keys.data["keys"] if isinstance(entry, dict)}
        inline = {value for _, value in document.matches("keys", "*", "name")}
        if name in there | inline:
            raise KeysFileError(
                f"there is already a key {name!r}; `gateway keys rotate {name}` gives it another secret"
            )
        keys.add(members)

    _change(place, add, members)
    click.echo(f"The key, shown only now:\n\n{key}\n\nIts line is in {place}. {_RELOAD}")


@example("gateway keys rotate support-bot --overlap 24h")
@keys.command()
@CONFIG
@click.argument("name")
@click.option(
    "--overlap", default="24h", show_default=True, callback=_lifetime, help="How long the old secret stays good."
)
def rotate(path: Path | None, name: str, overlap: timedelta) -> None:
    """Give a key another secret, and print it once. It stays one key in the ledger."""
    from gateway.config.keys_writing import as_moment
    from gateway.money.keys import new_key

    key, digest = new_key()
    now = datetime.now(UTC)
    try:
        until = now + overlap
    except OverflowError as error:
        raise click.UsageError("--overlap is longer than any calendar") from error
    _change(_place(path), lambda keys: keys.rotate(name, digest, now, until))
    click.echo(f"The new secret of {name}, shown only now:\n\n{key}\n\nThe old one is good until {as_moment(until)}.")
    click.echo(_RELOAD)


@example("gateway keys revoke support-bot")
@keys.command()
@CONFIG
@click.argument("name")
def revoke(path: Path | None, name: str) -> None:
    """Take a key back. Its line stays, marked, so that old entries of the ledger can be explained."""
    _change(_place(path), lambda keys: keys.revoke(name, datetime.now(UTC)))
    click.echo(f"Key {name} is revoked. {_RELOAD}")


@example("gateway keys list --format json")
@keys.command(name="list")
@CONFIG
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_keys(path: Path | None, style: str) -> None:
    """List the keys: whose they are, when they end, what they may ask for and when they were last used."""
    from gateway.money.ledger.last_used import last_used
    from gateway.reports.keys import key_rows
    from gateway.reports.tables import keys_table

    config = config_of(path or DEFAULT_CONFIG, to_serve=False)
    used = last_used(config.ledger.dir, {entry.name for entry in config.keys})
    rows = key_rows(config.keys, used, datetime.now(UTC))
    if style == "json":
        click.echo(json.dumps({"keys": rows}, indent=2))
    else:
        terminal().print(keys_table(rows))


_RELOAD = "A running gateway takes it in with `gateway reload`, or by itself where it watches its files."


def _keys_file(path: Path | None) -> tuple[Path | None, YamlDocument | None]:
    """Return the keys file that a configuration names, and the configuration; None where there is none."""
    from gateway.config.keys_file import keys_place
    from gateway.config.yaml import read_yaml

    if path is None and not DEFAULT_CONFIG.exists():
        return None, None
    document = read_yaml(path or DEFAULT_CONFIG)
    if document.data is None:
        raise Refused("\n".join(map(str, document.problems)))
    return keys_place(document), document


def _place(path: Path | None) -> Path:
    place, _ = _keys_file(path)
    if place is None:
        raise click.UsageError("the configuration names no keys_file; keys in config.yaml are changed there by hand")
    return place


def _change(place: Path, change: Callable[[KeysDocument], None], members: dict[str, Any] | None = None) -> None:
    """Change the keys file, or end with why not."""
    from gateway.config.keys_writing import KeysFileError, change_keys

    if members is not None:
        _check(members)
    try:
        change_keys(place, change)
    except KeysFileError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"{place}: cannot be written: {error.strerror}") from error


def _check(members: dict[str, Any]) -> None:
    """Refuse what the gateway would refuse to read, with every reason."""
    from pydantic import TypeAdapter, ValidationError

    from gateway.config.fields import FROM_FILE
    from gateway.config.settings import KeyEntry

    try:
        TypeAdapter(KeyEntry).validate_python(members, context=FROM_FILE)
    except ValidationError as error:
        said = [f"--{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise click.UsageError("\n".join(said)) from error


def _in_flow(member: str, value: Any) -> str:
    return str(value) if member == "sha256" else json.dumps(value)
