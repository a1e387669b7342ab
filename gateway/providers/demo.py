"""The demo provider, which plays the others and takes what comes. Its prompt caches: `demo.yaml`."""

from __future__ import annotations

from typing import Final

from gateway.providers.provider import Billing, Provider
from gateway.wire.foreign import ANYTHING
from gateway.wire.legality import CHAT

DEMO: Final = Provider(
    "translated",
    key_variables=(),
    legality=CHAT,
    takes=ANYTHING,
    counts_as_we_do=True,
    billing=Billing(owners=("*",)),
)
"""Its route is never asked: it is of a kind of its own (`routing/upstreams/demo`)."""
