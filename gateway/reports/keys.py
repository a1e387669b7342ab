"""The list of virtual keys, a row for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gateway.config import KeyEntry


def key_rows(entries: Iterable[KeyEntry], used: Mapping[str, datetime], now: datetime) -> list[dict[str, Any]]:
    """Return a row for each key, as JSON has it."""
    return [
        {
            "name": entry.name,
            "team": entry.team,
            "user": entry.user,
            "status": key_status(entry, now),
            "models": None if entry.models is None else list(entry.models),
            "paths": None if entry.paths is None else list(entry.paths),
            "ips": None if entry.ips is None else [str(network) for network in entry.ips],
            "policy": entry.policy,
            "priority": entry.priority,
            "not_before": _moment(entry.not_before),
            "expires": _moment(entry.expires),
            "revoked": _moment(entry.revoked),
            "old_secrets_until": [_moment(old.until) for old in entry.former if old.until > now],
            "last_used": _moment(used.get(entry.name)),
        }
        for entry in entries
    ]


def key_status(entry: KeyEntry, now: datetime) -> str:
    """Say whether a key is good at a moment, and else why not."""
    if entry.revoked is not None and entry.revoked <= now:
        return "revoked"
    if entry.expires is not None and entry.expires <= now:
        return "expired"
    if entry.not_before is not None and now < entry.not_before:
        return "not yet"
    return "rotating" if any(old.until > now for old in entry.former) else "good"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
