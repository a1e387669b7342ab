"""`gateway import`: the configuration of another program, in our form."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.cli.opening import FILE, Refused, config_of, deployments_of, example, refuse_problems


@example("gateway import litellm litellm.yaml > config.yaml\ngateway import litellm litellm.yaml --output config.yaml")
@click.group(name="import")
def import_() -> None:
    """Take over the configuration of another program."""


@example("gateway import litellm litellm.yaml > config.yaml")
@import_.command()
@click.argument("path", metavar="FILE", type=FILE)
@click.option("--output", type=FILE, help="Write the configuration here, in a file that is not there yet.")
def litellm(path: Path, output: Path | None) -> None:
    """Print a LiteLLM configuration in our form, and on standard error what became of each of its keys."""
    from gateway import packaged_data
    from gateway.config.yaml import read_yaml, written
    from gateway.money.prices.table import PriceBook
    from gateway.routing.catalogue import known_providers
    from gateway.routing.catalogue.importing import imported

    document = read_yaml(path)
    refuse_problems(document.problems)
    if not isinstance(document.data, dict) or not document.data.get("model_list"):
        raise Refused(f"{path}: holds no model_list: it is no LiteLLM configuration")
    found = imported(document, PriceBook.read(packaged_data.price_table()), known_providers(), os.environ)
    text = f"# What {path.name} says, in our form: written by `gateway import litellm`.\n{written(found.config)}"
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise Refused(f"cannot write {output}: {error.strerror}; name a file that is not there yet") from error
    for line in (*map(str, found.told), *_left_to_do(text)):
        click.echo(line, err=True)


def _left_to_do(text: str) -> Iterator[str]:
    """Say what of a configuration that was written would still be refused."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            deployments_of(config_of(path, to_serve=False))
        except Refused as error:
            yield "left to do by hand:"
            yield error.message.replace(f"{folder}/", "")
