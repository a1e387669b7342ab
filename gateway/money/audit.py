"""The ledger counted anew: what its entries say that the counters of limits should hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from gateway.money.ledger import id_time, rows
from gateway.money.limits import Limits, Parties
from gateway.state.counting import Recounted


def recounted(limits: Limits, directory: Path, now: float, wanted: Collection[str] = ()) -> Recounted:
    """Sum the entries of a ledger by account and window, as far back as a window reaches that counts now.

    An entry counts in the window that its id was made in. Those of the `wanted` requests that it holds are named.
    """
    amounts: dict[tuple[str, int], int] = defaultdict(int)
    found: dict[str, int] = {}
    for members in rows(directory, _day(limits.earliest(now)) - timedelta(days=1)):
        if members.get("event") != "settled":
            continue
        request_id, nanousd = members.get("id"), members.get("cost_nanousd")
        at = id_time(request_id) if isinstance(request_id, str) else None
        if request_id is None or at is None:
            continue
        cost = nanousd if isinstance(nanousd, int) else 0
        if request_id in wanted:
            found[request_id] = cost
        if not cost:
            continue
        for charge in limits.money(_parties(members), policy_name(str(members.get("policy", ""))), at):
            amounts[charge.account, charge.bucket] += cost
    return Recounted(dict(amounts), found)


def policy_name(label: str) -> str:
    """Return the name of a policy of which an entry says profile and digest too: `support/night@43016be8`."""
    return label.partition("@")[0].partition("/")[0]


def _parties(members: dict[str, object]) -> Parties:
    tags, user = members.get("tags"), members.get("user")
    listed = tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()
    key, team, model = (str(members.get(name, "")) for name in ("key", "team", "model"))
    return Parties(key, team, user if isinstance(user, str) else None, listed, model)


def _day(moment: float) -> date:
    return datetime.fromtimestamp(max(moment, 86_400.0), UTC).date()
