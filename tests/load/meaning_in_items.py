"""Send the made conversations of `meaning.py` as Responses, and judge what the model receives as it would of a chat.

    python -m tests.load.meaning_in_items --tools FOLDER --gateway PATH [--families a,b] [--seeds 1-5] [--show 3]

Each case is asked in both shapes of one gateway before one recording provider; the script ends with 1 where a case that
holds as a chat does not hold as items. `FOLDER` is the one that holds `meaning.py`, which is no part of this checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

from tests.items import as_items

Json = dict[str, Any]


def tools(folder: Path) -> Any:
    """Import `meaning.py` of a folder."""
    path = folder / "meaning.py"
    if not path.is_file():
        raise SystemExit(f"there is no {path}: name the folder that holds meaning.py with --tools")
    spec = importlib.util.spec_from_file_location("meaning", path)
    assert spec is not None
    assert spec.loader is not None
    found = sys.modules["meaning"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


async def send_items(rig: Any, i: int, case: Any, messages: list[Json]) -> tuple[int, Json | None, str]:
    """Send a case as `Rig.send` does, in the other shape."""
    chat = {"model": "gpt-5", "messages": messages, "user": f"u{i}", **case.extra}
    body = as_items(chat | ({"tools": case.tools} if case.tools else {}))
    rig.got.pop(f"u{i}", None)
    headers = {"authorization": f"Bearer sk-{i}"}
    async with rig.client.post(f"{rig.base}/v1/responses", json=body, headers=headers) as answer:
        return answer.status, rig.got.get(f"u{i}"), await answer.text()


async def run(meaning: Any, args: argparse.Namespace) -> int:
    low, _, high = args.seeds.partition("-")
    names = args.families.split(",") if args.families else list(meaning.FAMILIES)
    seeds = range(int(low), int(high or low) + 1)
    asked = [(name, seed, meaning.FAMILIES[name](random.Random(f"{name} {seed}"))) for name in names for seed in seeds]
    # A case with a summary is asked several times, and would find it in the state the second time.
    # Items have no names of speakers.
    asked = [one for one in asked if one[2].summary is None and not any("name" in said for said in one[2].messages)]
    lost: list[str] = []
    chats = items = 0
    async with meaning.Rig(args.gateway, [case for _, _, case in asked]) as rig:
        for number, (name, seed, case) in enumerate(asked):
            as_chat = await rig.ask(number, case)
            case.role = "system" if case.role == "developer" else case.role  # as which it reaches a chat's model
            as_responses = meaning.failures(case, *await send_items(rig, number, case, case.messages))
            chats, items = chats + (not as_chat), items + (not as_responses)
            if as_responses and not as_chat:
                lost.append(f"{name} seed {seed}: {'; '.join(as_responses[:2])}")
    print(f"{len(asked)} cases: {chats} hold as chats, {items} as items; {len(lost)} as chats alone")
    print("".join(f"    {one}\n" for one in lost[: args.show]), end="")
    return int(bool(lost))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--gateway", default="gateway")
    parser.add_argument("--families", default="")
    parser.add_argument("--seeds", default="1-3")
    parser.add_argument("--show", type=int, default=20)
    args = parser.parse_args()
    return asyncio.run(run(tools(args.tools), args))


if __name__ == "__main__":
    sys.exit(main())
