"""How much of what is kept comes from constants that were fitted to the recorded conversations.

Every tuned weight of lists, excerpts, cut results and cut documents is tried at half and at twice its value over all
sets. Kept are values that later turns use, what people said before, and the telling words of the answers to questions
about documents and long chats. For each weight, the value that keeps most on four fifths of the conversations is judged
on the fifth that it never saw, five times; that is set beside the best value for all of them at once. A difference
inside the bootstrap interval of 90% is chance. Prints a table; weights for which the minutes do not suffice are named.

    python -m tests.load.generality                             # every weight; about half an hour of one processor
    python -m tests.load.generality --only TROUBLE THIN --each 6
    python -m tests.load.generality --minutes 10
"""

import argparse
import importlib
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from gateway.budget.allocation import Window
from gateway.budget.components import Anatomy, dissect
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.request import Request
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, plan, recognition_of
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.legality import CHAT
from gateway.wire.memo import Memo
from tests.load.recorded import Body, raw, recorded

_CONSTANTS = {
    "history.warrant._ODDS": "the odds that a message asks about older ones, before anything is known of it",
    "history.warrant._PER_CLAUSE": "the same, by each clause of it",
    "history.warrant._ASKING": "the same, where it asks",
    "history.warrant._AS_USUAL": "the same, where it is as messages of the chat are",
    "history.warrant._PER_LONGER": "the same, where it is longer than they are",
    "history.warrant._NEW": "the same, by words that are new",
    "history.warrant._GONE": "the same, by words of what is gone",
    "history.warrant._LAST": "the same, by words of the last exchange",
    "history.warrant._AHEAD": "the same, by how far what is gone is ahead of what stands",
    "history.warrant._STEEPNESS": "how fast an excerpt's worth falls with its odds",
    "history.recall._OWN_MESSAGE": "a passage's message, beside the passage",
    "history.recall._OWN_DOCUMENT": "a passage's document",
    "history.recall._MESSAGE_BEFORE": "the message before it",
    "history.recall._MESSAGE_AFTER": "the message behind it",
    "history.recall._BESIDE": "what stands beside a passage that matches",
    "history.recall._SAID_BY_USER": "what people said, where anything in it matches",
    "history.recall._FLOOR": "the least relevance that brings a passage back",
    "history.recall._OF_THE_RELEVANT": "a term's worth by the relevant passages, and by all",
    "history.recall._COMMON_WORTH": "a term that stands nearly everywhere",
    "history.question._PER_LETTER": "a term of the question, by its letters",
    "history.question._TELLING": "a term that tells more than others",
    "history.question._COMMON": "a term that stands in many passages",
    "history.question._FEEDBACK": "a term of the passages that match best",
    "history.ranking._SHARPNESS": "how much more a better value counts in a list",
    "history.ranking._SPOKEN_WORD": "a word that somebody speaks of later",
    "history.ranking._MOST_SPOKEN_WORTH": "the most that such words count",
    "history.ranking._SPOKEN_OF": "a definition that somebody speaks of",
    "history.ranking._AGAIN": "a value that a list holds already",
    "history.ranking._RESULT_WORDS": "the words of a result",
    "history.snippets.TROUBLE": "a line that tells of trouble, in a list",
    "results.shapes.choice.OUTLIER": "the weight from which a line stands out",
    "results.shapes.choice._OUTLIERS": "of a cut log, what lines take that stand out",
    "results.shapes.choice._NEAR": "of that, what stands beside them",
    "results.shapes.choice._ENDS": "of a cut log, its first and last lines",
    "results.shapes.choice._SPOKEN": "of a cut log, lines that somebody speaks of",
    "results.shapes.choice._REPORT": "a line of a text that stands out nearly everywhere",
    "results.shapes.pieces._WORTH_NAMING": "a piece whose key is worth naming",
    "results.shapes.pieces._ENDS": "the first and last piece of a text",
    "results.shapes.outliers._RARE": "the share of lines up to which a template is rare",
    "results.shapes.outliers._USUAL": "the share from which it is usual",
    "results.shapes.outliers._BY_TEMPLATE": "the weight of a rare template",
    "results.shapes.outliers._BY_FIELD": "the weight of a rare value of a field",
    "results.shapes.outliers._BY_FORM": "the weight of a rare form",
    "results.shapes.outliers._BY_WORDS": "the weight of words of trouble",
    "documents.extract.CONTEXT_WEIGHT": "a word that only earlier messages hold",
    "documents.extract.DOCUMENT_WEIGHT": "a sentence's document",
    "documents.extract.NEIGHBOUR_WEIGHT": "its neighbours",
    "documents.extract.LEAD_WEIGHT": "the first sentence of a document",
    "documents.extract.WHOLE_WEIGHT": "a document that comes near the best",
    "folds.leave_out.SMALL_TARGET": "how much of the target a small room is left with beside a list",
    "folds.lists.LIST_SHARE": "the most that a list takes of what it stands for",
    "folds.lists.THIN": "how thin a new list is before older ones are written again",
    "folds.lists.POOL": "how much a list chooses from",
    "folds.cut_words.PASTE_SLACK": "how much more than its room a paste in the task may take",
    "speech._ENDS": "of a cut paste, its first and last passages",
}
_BUDGETS = {
    "tau2_bench": 8000,
    "tau_bench": 6000,
    "livemcp": 8000,
    "swe_agent_java": 16000,
    "openhands": 8000,
    "beam": 24000,
}
_ASKED_BUDGETS = {"beam": 16000, "litm_nq": 2000, "litm_kv": 2000, "mtrag_un": 4000}
"""Of sets whose questions are asked."""
_TIMES = (1.0, 0.5, 2.0)
_PARTS = 5
_MOST_REQUESTS = 4
"""Of one conversation: those in front of the turns that use older values, evenly chosen; or its questions."""
_BOOTSTRAPS = 2000
_TELLING = re.compile(r"\w*\d[\w.,:/-]*\w|\w{5,}")
"""Words of an answer that tell whether it can be given."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one conversation: all that is wanted in its requests, and how much of it stands."""

    asked: int
    stands: int


@dataclass(frozen=True, slots=True)
class Step:
    """One request that is over, and the texts that are wanted in it, as JSON writes them."""

    request: Request
    anatomy: Anatomy
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Requests of one conversation, read and counted once."""

    budget: int
    steps: tuple[Step, ...]


def main() -> None:
    """Try every weight and print what was learned of it."""
    asked, began = _arguments(), time.monotonic()
    conversations = list(_conversations(asked.each))
    requests = sum(len(one.steps) for one in conversations)
    named = [next(k for k in _CONSTANTS if k == name or k.endswith(f".{name}")) for name in asked.only]
    print(f"{len(conversations)} conversations, {requests} requests of {', '.join({**_BUDGETS, **_ASKED_BUDGETS})}\n")
    print("| weight | it is | as it is | x0.5 | x2 | best | on unseen fifths | difference, 90% of 2,000 draws | |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    usual, left = _judged(conversations), []
    for name in named or _CONSTANTS:
        if time.monotonic() - began > 60 * asked.minutes:
            left.append(name)
            continue
        found = {1.0: usual}
        for times in _TIMES[1:]:
            found[times] = _with(name, times, partial(_judged, conversations))
        print(f"| `{name}` | {_CONSTANTS[name]} | {_learned(found)} |", flush=True)
    print(f"\nnot judged in {asked.minutes} minutes: {', '.join(left)}" if left else "\nall of them judged")


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        prog="generality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--only", nargs="*", default=[], help="weights, by their last name")
    made.add_argument("--each", type=int, default=6, help="conversations of each set that grow over their budget")
    made.add_argument("--minutes", type=int, default=60, help="after so many no other weight is begun")
    return made.parse_args()


# ---------------------------------------------------------------- what is judged


def _conversations(each: int) -> Iterator[Conversation]:
    """Choose conversations of each set, those that use older values once they are over, and those that are asked."""
    counter = Counter("o200k_base")
    for budgets, steps_of in ((_BUDGETS, _turns), (_ASKED_BUDGETS, _questions)):
        for name, budget in budgets.items():
            talks = [talk for talk in recorded().read(name) if len(raw(talk)) > 4 * budget]
            random.Random(name).shuffle(talks)
            made = (Conversation(budget, tuple(steps_of(talk, budget, counter))) for talk in talks)
            yield from islice((one for one in made if one.steps), each)


def _turns(talk: Body, budget: int, counter: Counter) -> Iterator[Step]:
    """Read the requests whose answers use values of older messages."""
    memo, turns = Memo(), dict[int, list[str]]()
    for value in talk.get("carried") or ():
        turns.setdefault(value["turn"], []).append(str(value["value"]))
    steps = sorted(turns)
    for turn in steps[:: max(1, len(steps) // _MOST_REQUESTS)]:
        messages = talk["messages"][:turn]
        yield from _step(talk, messages, [*turns[turn], *_said(messages)], budget, counter, memo)


def _questions(talk: Body, budget: int, counter: Counter) -> Iterator[Step]:
    """Read a conversation with each of its questions behind it, where it does not end in that."""
    memo = Memo()
    for question in [one for one in talk.get("qa") or () if one.get("kind") != "abstention"][:_MOST_REQUESTS]:
        messages, said = talk["messages"], question["question"]
        if said.strip().lower() not in str(messages[-1]["content"]).lower():
            messages = [*messages, {"role": "user", "content": said}]
        words = dict.fromkeys(_TELLING.findall(str(question["answer"])))
        yield from _step(talk, messages, list(words), budget, counter, memo)


def _step(
    talk: Body, messages: Sequence[Body], wanted: Sequence[str], budget: int, counter: Counter, memo: Memo
) -> Iterator[Step]:
    """Read one request; none where it fits, or where nothing that is wanted stands in it."""
    body = {"model": "gpt-5", "messages": messages, **({"tools": talk["tools"]} if talk.get("tools") else {})}
    written = json.dumps(messages, ensure_ascii=False)
    asked = [text for one in wanted if (text := json.dumps(one, ensure_ascii=False)[1:-1]) in written]
    request = parse(raw(body), memo)
    anatomy = dissect(request.conversation, recognition_of(_policy(budget)), counter.count, lambda part: 0)
    if asked and anatomy.total > budget:
        yield Step(request, anatomy, tuple(asked))


def _said(messages: Sequence[Body]) -> list[str]:
    """Give what people said before, a text a message, where it is short enough to be asked for as a whole."""
    texts = [message["content"] for message in messages if message["role"] == "user"][:-1]
    return [text for text in texts if isinstance(text, str) and len(text) < 400]


def _policy(budget: int) -> Policy:
    return Policy("measured", context_window=budget, reserve=Reserve(0, 0))


# ---------------------------------------------------------------- how it is judged


def _judged(conversations: Sequence[Conversation]) -> list[Kept]:
    """Rewrite every conversation as the weights stand now."""
    return [_of_one(one) for one in conversations]


_COUNTER = Counter("o200k_base")


def _of_one(conversation: Conversation) -> Kept:
    budget, known, asked, stands = conversation.budget, Known(), 0, 0
    window, policy = Window(budget, None, False, 0, 0), _policy(budget)
    for step in conversation.steps:
        made = plan(step.anatomy, policy, window, 0, (CHAT,), _COUNTER.count, known)
        asked += len(step.wanted)
        if isinstance(made, Plan):
            left = json.dumps(json.loads(sent(step.request, "gpt-5", made.changes))["messages"], ensure_ascii=False)
            stands += sum(text in left for text in step.wanted)
    return Kept(asked, stands)


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
    shares = " | ".join(f"{_share(found[times]):.4f}" for times in _TIMES)
    held = "holds" if difference <= 0.01 or low <= 0 else "FITTED"
    return f"{shares} | x{best:g} | {_share(unseen):.4f} | {difference:+.4f} [{low:+.4f}, {high:+.4f}] | {held}"


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
