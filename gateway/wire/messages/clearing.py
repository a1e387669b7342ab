"""The wish that the provider clear old results of tools before the model reads them. Pure and total.

Source: platform.claude.com/docs/en/build-with-claude/context-editing and the types of Anthropic's SDK. What it says of
thinking changes no count of ours, since thinking is not counted; a compaction is the provider's own, and rides along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.request import Clearing
from gateway.wire.members import positive

MEMBER: Final = "context_management"
_RESULTS: Final = "clear_tool_uses_20250919"
_TRIGGER_TOKENS: Final = 100_000
_KEEP: Final = 3


def clearing_of(said: Any) -> Clearing | None:
    """Read which results are cleared, and when; None where none are, or it is said in a way that nobody documented."""
    edits = said.get("edits") if isinstance(said, dict) else None
    found = [one for one in edits if isinstance(one, dict)] if isinstance(edits, list) else []
    wanted = next((one for one in found if one.get("type") == _RESULTS), None)
    return None if wanted is None else _clearing(wanted)


def _clearing(said: Mapping[str, Any]) -> Clearing | None:
    trigger, keep, least = said.get("trigger"), said.get("keep"), said.get("clear_at_least")
    excluded = said.get("exclude_tools") or ()
    try:
        kind, value = ("input_tokens", _TRIGGER_TOKENS) if trigger is None else (trigger["type"], trigger["value"])
        kept = _KEEP if keep is None else keep["value"]
        freed = 0 if least is None else least["value"]
        names = frozenset(excluded)
    except (KeyError, TypeError):
        return None
    counts = [positive(value), 0 if kept == 0 else positive(kept), 0 if freed == 0 else positive(freed)]
    if None in counts or kind not in ("input_tokens", "tool_uses"):
        return None
    return Clearing(kind == "tool_uses", value, kept, freed, names)
