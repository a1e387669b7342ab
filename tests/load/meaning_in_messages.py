"""Cases of what a rewrite must keep, asked in Anthropic's Messages of a deployment that speaks chat completions.

`python -m tests.load.meaning_in_messages MEANING --gateway COMMAND` takes the path of the script with the cases, which
judges what the upstream got. Cases that Messages have no words for (names of speakers, JSON mode) are told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.in_messages import compact, messages_of

_SAID: frozenset[str] = frozenset({"max_tokens", "max_completion_tokens"})


def loaded(path: Path) -> Any:
    """Load the script with the cases; ends the command where it is not there."""
    if not path.is_file():
        raise SystemExit(f"{path} is not there: the cases stand in it.")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("meaning", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["meaning"] = module
    spec.loader.exec_module(module)
    return module


def in_messages(case: Any) -> Any | None:
    """Return a case as Messages can say it; None where they cannot."""
    listed = compact(case.messages)
    if listed is None or case.extra.keys() - _SAID:
        return None
    return replace(case, messages=listed)


async def run(meaning: Any, gateway: str, seeds: int, only: list[str]) -> int:
    """Ask every case in both shapes; return how many hold in chat and not here."""
    asked = [
        (name, seed, meaning.FAMILIES[name](random.Random(f"{name} {seed}")))
        for name in only or meaning.FAMILIES
        for seed in range(1, seeds + 1)
    ]
    said = [(name, seed, case) for name, seed, made in asked if (case := in_messages(made)) is not None]

    class Rig(meaning.Rig):  # type: ignore[misc]  # loaded by its path
        speaks_messages = False

        async def send(self, i: int, case: Any, messages: list[Any]) -> tuple[int, Any, str]:
            if not self.speaks_messages:
                answered: tuple[int, Any, str] = await super().send(i, case, messages)
                return answered
            limit = case.extra.get("max_tokens") or case.extra.get("max_completion_tokens") or 1
            chat = {"model": "gpt-5", "messages": messages, "tools": case.tools, "max_tokens": limit}
            body = messages_of(chat, metadata={"user_id": f"u{i}"})
            self.got.pop(f"u{i}", None)
            key = {"x-api-key": f"sk-{i}"}
            async with self.client.post(self.base + "/v1/messages", json=body, headers=key) as reply:
                return reply.status, self.got.get(f"u{i}"), await reply.text()

    found: dict[bool, list[list[str]]] = {}
    for speaks_messages in (False, True):  # each with a gateway of its own: a summary is written once
        async with Rig(gateway, [case for _, _, case in said]) as rig:
            rig.speaks_messages = speaks_messages
            found[speaks_messages] = [await rig.ask(i, case) for i, (_, _, case) in enumerate(said)]
    both = zip(said, found[False], found[True], strict=True)
    lost = [(name, seed, here) for (name, seed, _), chat, here in both if here and not chat]
    chats, here = (sum(not bad for bad in found[shape]) for shape in (False, True))
    for name, seed, faults in lost:
        print(f"{name} {seed}: {'; '.join(faults[:2])[:300]}")
    print(f"{len(asked)} cases, {len(said)} of them can be said; as a chat {chats} hold, as Messages {here}; "
          f"{len(lost)} hold in chat alone")  # fmt: skip
    return len(lost)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meaning", type=Path)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--families", nargs="*", default=[])
    told = parser.parse_args()
    sys.exit(bool(asyncio.run(run(loaded(told.meaning), told.gateway, told.seeds, told.families))))


if __name__ == "__main__":
    main()
