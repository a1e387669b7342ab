"""How much of what is kept comes from constants that were fitted to the recorded conversations.

Every tuned weight of the lists and excerpts is tried at half and at twice its value over all sets. For each, the value
that keeps most on four fifths of the conversations is judged on the fifth that it never saw, five times; that is set
beside the best value for all of them at once. A difference inside the bootstrap interval of 90% is chance.

    python -m tests.load.generality                     # every constant; about an hour of one processor
    python -m tests.load.generality --only TROUBLE THIN --each 6
"""

import argparse
import importlib
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.budget.allocation import Window
from gateway.budget.components import dissect
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, plan, recognition_of
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.legality import CHAT
from gateway.wire.memo import Memo
from tests.load.recorded import Body, raw, recorded

_CONSTANTS = {
    "history.warrant._STEEPNESS": "how fast an excerpt's worth falls with its odds",
    "history.recall._BESIDE": "what stands beside a passage that matches",
    "history.recall._SAID_BY_USER": "what people said, where anything in it matches",
    "history.recall._FLOOR": "the least relevance that brings a passage back",
    "history.recall._OF_THE_RELEVANT": "a term's worth by the relevant passages, and by all",
    "history.ranking._SHARPNESS": "how much more a better value counts in a list",
    "history.ranking._SPOKEN_OF": "a definition that somebody speaks of",
    "history.ranking._AGAIN": "a value that a list holds already",
    "results.shapes.choice.OUTLIER": "the weight from which a line stands out",
    "results.shapes.choice._REPORT": "a line of a text that stands out nearly everywhere",
    "results.shapes.pieces._ENDS": "the first and last piece of a text",
    "history.snippets.TROUBLE": "a line that tells of trouble, in a list",
    "folds.lists.LIST_SHARE": "the most that a list takes of what it stands for",
    "folds.lists.THIN": "how thin a new list is before older ones are written again",
    "folds.lists.POOL": "how much a list chooses from",
}
_BUDGETS = {
    "tau2_bench": 8000,
    "tau_bench": 6000,
    "livemcp": 8000,
    "swe_agent_java": 16000,
    "openhands": 8000,
    "beam": 24000,
}
_TIMES = (1.0, 0.5, 2.0)
_PARTS = 5
_MOST_REQUESTS = 6
"""Of one conversation: those in front of the turns that use older values, evenly chosen."""
_BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one conversation: values that later turns use and people's earlier messages, and how many of both stand."""

    asked: int
    stands: int


def main() -> None:
    """Try every constant and print what was learned of it."""
    asked = _arguments()
    conversations = list(_conversations(asked.each))
    print(f"{len(conversations)} conversations of {', '.join(_BUDGETS)}", flush=True)
    usual = _judged(conversations)
    for name in asked.only or _CONSTANTS:
        named = next(known for known in _CONSTANTS if known == name or known.endswith(f".{name}"))
        found = {1.0: usual}
        for times in _TIMES[1:]:
            found[times] = _with(named, times, partial(_judged, conversations))
        print(f"{named} ({_CONSTANTS[named]}): {_learned(found)}", flush=True)


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        prog="generality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--only", nargs="*", default=[], help="constants, by their last name")
    made.add_argument("--each", type=int, default=20, help="conversations of each set that grow over their budget")
    return made.parse_args()


def _conversations(each: int) -> Iterator[tuple[int, Body]]:
    """Choose conversations of each set that use older values once they are over, with the budget they are judged at."""
    for name, budget in _BUDGETS.items():
        found = [talk for talk in recorded().read(name) if talk.get("carried") and len(raw(talk)) > 4 * budget]
        random.Random(name).shuffle(found)
        for talk in found[:each]:
            yield budget, talk


def _judged(conversations: Sequence[tuple[int, Body]]) -> list[Kept]:
    """Rewrite every conversation as the constants stand now."""
    counter = Counter("o200k_base")
    return [_of_one(talk, budget, counter) for budget, talk in conversations]


def _of_one(talk: Body, budget: int, counter: Counter) -> Kept:
    policy = Policy("measured", context_window=budget, reserve=Reserve(0, 0))
    memo, known, asked, stands = Memo(), Known(), 0, 0
    turns: dict[int, list[str]] = {}
    for value in talk["carried"]:
        turns.setdefault(value["turn"], []).append(str(value["value"]))
    steps = sorted(turns)
    for turn in steps[:: max(1, len(steps) // _MOST_REQUESTS)]:
        body = {"model": "gpt-5", "messages": talk["messages"][:turn]}
        if talk.get("tools"):
            body["tools"] = talk["tools"]
        request = parse(raw(body), memo)
        anatomy = dissect(request.conversation, recognition_of(policy), counter.count, lambda part: 0)
        made = plan(anatomy, policy, Window(budget, None, False, 0, 0), 0, (CHAT,), counter.count, known)
        if not isinstance(made, Plan) or not made.edits:
            continue
        left = json.dumps(json.loads(sent(request, "gpt-5", made.changes))["messages"], ensure_ascii=False)
        wanted = [*turns[turn], *_said(body["messages"])]
        asked += len(wanted)
        stands += sum(json.dumps(one, ensure_ascii=False)[1:-1] in left for one in wanted)
    return Kept(asked, stands)


def _said(messages: Sequence[dict[str, Any]]) -> list[str]:
    """Give what people said before, a text a message, where it is short enough to be asked for as a whole."""
    texts = [message["content"] for message in messages if message["role"] == "user"][:-1]
    return [text for text in texts if isinstance(text, str) and len(text) < 400]


def _with(named: str, times: float, do: Callable[[], list[Kept]]) -> list[Kept]:
    """Do something while a constant, wherever it was imported to, is so many times its value."""
    module, _, name = named.rpartition(".")
    value = getattr(importlib.import_module(f"gateway.rewriting.{module}"), name)
    holders = [m for n, m in sys.modules.items() if n.startswith("gateway.rewriting") and vars(m).get(name) is value]
    for holder in holders:
        setattr(holder, name, value * times)
    try:
        return do()
    finally:
        for holder in holders:
            setattr(holder, name, value)


def _learned(found: dict[float, list[Kept]]) -> str:
    """Set the value that is best for all beside the values that are best without the fifth they are judged on."""
    size = len(found[1.0])
    places = list(range(size))
    random.Random(5).shuffle(places)
    parts = [places[part::_PARTS] for part in range(_PARTS)]
    best = _best(found, places)
    chosen = {at: _best(found, [n for n in places if n not in set(part)]) for part in parts for at in part}
    unseen = [found[chosen[at]][at] for at in range(size)]
    difference = _share(found[best]) - _share(unseen)
    low, high = _interval(found[best], unseen)
    shares = ", ".join(f"x{times:g} {_share(kept):.4f}" for times, kept in found.items())
    held = "holds" if difference <= 0.01 or low <= 0 else "FITTED"
    return (
        f"{shares}; best x{best:g}; on unseen {_share(unseen):.4f}, {difference:+.4f} [{low:+.4f}, {high:+.4f}] {held}"
    )


def _best(found: dict[float, list[Kept]], places: Sequence[int]) -> float:
    return max(found, key=lambda times: (_share([found[times][at] for at in places]), times == 1.0))


def _share(kept: Sequence[Kept]) -> float:
    return sum(one.stands for one in kept) / max(1, sum(one.asked for one in kept))


def _interval(all_of_them: Sequence[Kept], unseen: Sequence[Kept]) -> tuple[float, float]:
    """Draw conversations again and again, and give the middle 90% of the differences."""
    draw, drawn, places = random.Random(9), [], range(len(unseen))
    for _ in range(_BOOTSTRAPS):
        chosen = draw.choices(places, k=len(unseen))
        drawn.append(_share([all_of_them[at] for at in chosen]) - _share([unseen[at] for at in chosen]))
    drawn.sort()
    return drawn[len(drawn) // 20], drawn[-len(drawn) // 20]


if __name__ == "__main__":
    main()
