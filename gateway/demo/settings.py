"""The configuration of the demo, written as a file so that a reader can open it and change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

POLICIES = ("stub", "drop")
BASELINE = "untouched"
"""The policy that does nothing, to compare with."""
MODEL = "gpt-5"

_TEMPLATE = """\
# The demo's gateway: a built-in provider that needs no key and no network, priced like the model it stands for.
server: {{host: 127.0.0.1, port: 8080}}
model_list:
  - model_name: {model}
    litellm_params: {{model: demo/{model}}}
  - model_name: "*"          # any other name that a program asks for
    litellm_params: {{model: demo/{model}}}
teams: {{{teams}}}
keys: {keys}
policies: {policies}
default_policy: {default}
ledger: {{dir: ledger}}
"""


@dataclass(frozen=True, slots=True)
class Key:
    """A virtual key of the demo; its name is that of the policy it works under."""

    policy: str
    sha256: str


def write_config(folder: Path, keys: Sequence[Key] = ()) -> Path:
    """Write `config.yaml` into `folder` and return its path; without keys the gateway is open."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"\n  - {{name: {key.policy}-bot, sha256: {key.sha256}, team: {key.policy}-team}}" for key in keys]
    path = folder / "config.yaml"
    path.write_text(
        _TEMPLATE.format(
            model=MODEL,
            teams=", ".join(f"{policy}-team: {{policy: {policy}}}" for policy in (*POLICIES, BASELINE)),
            keys="".join(lines) or "[]      # open: any key will do",
            policies=files("gateway.demo").joinpath("policies"),
            default=POLICIES[0],
        ),
        encoding="utf-8",
    )
    return path
