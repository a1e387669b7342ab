"""The command `gateway`: serve | reload | demo | check | explain | simulate | report | audit | keys | import.

A file a command. Each command imports what it needs when it runs, so that `serve` loads neither tables nor reports and
`--help` is instant.
Exit codes: 0 done, 1 asked for something that is not there, 2 wrong usage, configuration or machine.
"""

from __future__ import annotations

import click

from gateway.cli.audit import audit
from gateway.cli.check import check
from gateway.cli.explain import explain
from gateway.cli.importing import import_
from gateway.cli.keys import keys
from gateway.cli.opening import example
from gateway.cli.reload import reload
from gateway.cli.report import report
from gateway.cli.serve import demo, serve
from gateway.cli.simulate import simulate


@example("gateway demo\ngateway serve --config config.yaml")
@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gateway-llm", prog_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """A gateway between your programs and your models: every request fits its budget and is in the books."""  # noqa: D401


for command in (serve, reload, demo, check, explain, simulate, report, audit, keys, import_):
    main.add_command(command)
