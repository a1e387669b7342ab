"""`gateway serve` and `gateway demo`: the program that stays up, and the one that shows what it does."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.opening import (
    DEFAULT_CONFIG,
    FILE,
    NotThere,
    Refused,
    config_of,
    deployments_of,
    example,
    refuse_problems,
    terminal,
)

if TYPE_CHECKING:
    from gateway.config import Config

DEMO_FOLDER = Path("var") / "demo"


@example("gateway serve --config config.yaml --port 8080")
@click.command(short_help="Run the gateway.")
@click.option("--config", "path", type=FILE, default=DEFAULT_CONFIG, show_default=True, help="The configuration.")
@click.option("--host", help="Listen on this address instead of server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of on server.port; 0 = any free one.")
def serve(path: Path, host: str | None, port: int | None) -> None:
    """Serve until SIGTERM: requests come in on OPENAI_BASE_URL, answers and ledger lines come out."""
    sys.exit(_serve(path, host, port))


@example("gateway demo\ngateway demo --serve --port 8080")
@click.command(short_help="Show what it does, in under a minute and without a key.")
@click.option("--serve", "stay", is_flag=True, help="Start the demo's gateway for programs of your own, and stay up.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --serve: listen on this port; 0 = any free one.")
def demo(stay: bool, port: int | None) -> None:
    """Show what the gateway does, on a conversation of its own: no key, no network, under a minute."""
    if stay:
        from gateway.demo import settings

        path = DEMO_FOLDER / "config.yaml"
        click.echo(f"# configuration and ledger: {path if path.exists() else settings.write_config(DEMO_FOLDER)}")
        sys.exit(_serve(path, None, port))

    from gateway.demo import runner

    try:
        runner.run_demo(terminal())
    except runner.DemoFailed as error:
        raise NotThere(str(error)) from error


def _checked(path: Path, host: str | None, port: int | None) -> Config:
    """Read a configuration that can be served here and now, and say what is odd in it. Raises `Refused`."""
    import structlog

    from gateway.cli.trying import too_slow
    from gateway.config.startup import exposed, startup_problems
    from gateway.operators import logs
    from gateway.providers.credentials import every
    from gateway.routing.catalogue.warnings import notes, warnings

    config = config_of(path, host, port)
    logs.hide(every(config))
    deployments = [deployment for group in deployments_of(config).values() for deployment in group]
    refuse_problems(startup_problems(config))
    if slow := list(too_slow(config.policies.values(), at_start=True)):
        raise Refused("\n".join(slow))
    log = structlog.get_logger("gateway")
    for told in notes(config, deployments):
        log.info(told)
    for told in (*warnings(config, deployments, datetime.now(UTC)), *exposed(config)):
        log.warning(told)
    return config


def _serve(path: Path, host: str | None, port: int | None) -> int:
    import structlog

    from gateway import server
    from gateway.config.versions import config_digest
    from gateway.operators import logs

    rate = logs.configure()
    config = _checked(path, host, port)
    log = structlog.get_logger("gateway")
    try:
        listener = server.bind(config.server.host, config.server.port)
    except server.CannotStart as error:
        raise Refused(str(error)) from error
    address = server.local_url(listener)

    def reread() -> Config:
        try:
            return _checked(path, host, port)
        except Refused as refused:
            raise server.Unusable(refused.message) from refused

    with _exposed(config) as (metrics, refused, died):

        def started() -> None:
            facts = {"models": len(config.models), "keys": len(config.keys), "ledger": str(config.ledger.dir)}
            log.info("serving", address=address, **facts, **metrics, config=config_digest(config))
            click.echo(f"export OPENAI_BASE_URL={address}/v1")

        code = server.run(config, listener, server.Around(reread, started, refused, died))
    rate.flush()
    log.info("stopped", code=code)
    return code


@contextlib.contextmanager
def _exposed(config: Config) -> Iterator[tuple[dict[str, str], Callable[[], None], Callable[[], None]]]:
    """Expose metrics where the configuration says so; yields what the log says of it, what counts a refused
    reload, and what counts a worker that died.
    """
    if config.metrics.port is None and config.otel.endpoint is None:
        yield {}, lambda: None, lambda: None
        return
    from gateway.operators.metrics import CannotExpose, served_metrics

    with contextlib.ExitStack() as closing:
        try:
            exposition, facts = closing.enter_context(served_metrics(config.metrics, config.otel, os.environ))
        except CannotExpose as error:
            raise Refused(str(error)) from error
        yield facts, exposition.reload_failed, exposition.worker_died
