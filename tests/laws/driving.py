"""The pure path of a request as the pipeline drives it: bytes, values, a plan, bytes. No clock, no socket."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from gateway.budget.components import fits_by_bytes
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy
from gateway.conversation import Changes
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.models import Model
from gateway.serving.fit import decided
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from tests.laws import oracle
from tests.laws.generators import SENT, Case


class Quarters(Counter):
    """A counter that takes no time: four characters are a token."""

    def count(self, text: str) -> int:
        return oracle.quarter(text)


@lru_cache(maxsize=2)
def counter_of(count: oracle.CountText) -> Counter:
    """Give the gateway's counter for a count of the oracle."""
    return Quarters() if count is oracle.quarter else Counter("o200k_base")


@dataclass(frozen=True, slots=True)
class Left:
    """How one request left."""

    plan: Plan | Refusal | None
    """None: nothing was counted, because the bytes prove that it fits, or the mode is `off`."""
    body: bytes | None
    """None: refused."""

    @property
    def refusal(self) -> Refusal | None:
        return self.plan if isinstance(self.plan, Refusal) and self.body is None else None

    @property
    def changes(self) -> Changes | None:
        return self.plan.changes if isinstance(self.plan, Plan) else None

    @property
    def forced(self) -> bool:
        return isinstance(self.plan, Plan) and self.plan.forced

    def fingerprint(self) -> bytes:
        """Everything a caller can tell, as bytes."""
        return self.body if self.body is not None else repr(self.plan).encode()


def leave(
    body: bytes,
    policy: Policy,
    model: Model,
    counter: Counter,
    memo: Memo | None = None,
    name: str = SENT,
    known: Known | None = None,
) -> Left:
    """Send one request on its way, as `fitting.fit` and `pipeline.Passage` do."""
    request = parse(body, Memo() if memo is None else memo)
    window = model.bounds(policy, answer_limit=request.answer_limit, thinking=request.thinking)
    most = window.budget(request.answer_limit or 0)
    proven = most is None or fits_by_bytes(request.conversation, len(request.body), most)
    declares = bool(policy.prompt_cache.volatile)  # it moves in what fits too, however that is found out
    if policy.mode == "off" or (proven and not policy.strict and not declares):
        return Left(None, sent(request, name))
    plan = decided(request, policy, model, window, counter, known)
    if policy.mode == "observe":
        return Left(plan, sent(request, name))
    if isinstance(plan, Refusal):
        return Left(plan, None)
    return Left(plan, sent(request, name, plan.changes))


def divided(policy: Policy, budget: int, among: Sequence[str]) -> dict[str, int]:
    """Divide a budget: amounts in tokens first, the rest by ratio."""
    fixed = {name: tokens for name, tokens in policy.allocation.tokens if name in among}
    asked = sum(fixed.values())
    if asked > budget:
        fixed = {name: tokens * budget // asked for name, tokens in fixed.items()}
    ratios = {name: getattr(policy.allocation, name) for name in among if name not in fixed}
    whole = sum(ratios.values()) or 1.0
    rest = budget - sum(fixed.values())
    return {name: fixed[name] if name in fixed else int(rest * ratios[name] / whole) for name in among}


def set_aside(policy: Policy, room: int) -> int:
    """Give the most of a room that a policy can be read to set aside for documents."""
    among = [("documents", "history"), ("examples", "documents", "history")]
    return max(divided(policy, room, names)["documents"] for names in among)


class Walk:
    """A conversation turn by turn: each request as it came and as it left. What left is kept; the rest is made anew."""

    def __init__(self, case: Case, count: oracle.CountText = oracle.quarter, known: Known | None = None) -> None:
        """Walk it; `known` is what other walks of the conversation have read of it."""
        self.case, self.count = case, count
        self.upto = case.talk.requests()
        counter, memo, known = counter_of(count), Memo(), Known() if known is None else known
        self.left = [
            leave(case.talk.body(upto), case.policy, case.model, counter, memo, known=known) for upto in self.upto
        ]

    @cached_property
    def budget(self) -> int:
        return self.case.budget()

    @cached_property
    def room(self) -> int:
        return oracle.room(self.case.talk.request(), self.budget, self.count)

    def clear(self, step: int) -> int:
        """Give what a fold frees, and what lies between two: of the room, less what is set aside for documents once the
        conversation had some.
        """
        plan, policy, room = self.left[step].plan, self.case.policy, self.room
        if plan is not None and plan.before["documents"]:
            room -= set_aside(policy, room)
        return int(policy.fold.clear_at_least * room)

    def original_tokens(self, upto: int) -> int:
        """Count the messages of a request as they came."""
        return sum(self._sizes[:upto])

    @cached_property
    def _sizes(self) -> list[int]:
        return [oracle.message_tokens(message, self.count) for message in self.case.talk.read]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Give each request that was served with the one served before it, as numbers of steps."""
        served = [step for step, left in enumerate(self.left) if left.body is not None]
        return pairwise(served)

    def sent_messages(self, step: int) -> list[str]:
        """Give the messages of a request as they left, each as it is written."""
        body = self.left[step].body
        assert body is not None
        return oracle.Raw.of(body).messages()

    def for_now(self, step: int) -> set[int]:
        """Tell which messages may be said in other words for one request alone.

        Those are the documents of the last user message, and the results that nobody has spoken to yet.
        """
        read, policy = self.case.talk.read[: self.upto[step]], self.case.policy
        asked = oracle.last_user(read)
        bends = "crush" in policy.ladder.input and not policy.strict
        return {*(oracle.unanswered(read) if bends else ()), *([] if asked is None else [asked])}

    def lasting(self, step: int) -> list[str]:
        """Give what the next request must agree with: without recall, and what was made for now alone as it came."""
        sent, left, now = iter(self.sent_messages(step)), self.left[step], self.for_now(step)
        came = self.case.talk.messages[: self.upto[step]]
        if left.changes is None:
            return list(came)
        ours = [(one.before, one.text) for one in left.changes.inserted]
        recalled = isinstance(left.plan, Plan) and any(edit.remedy == "recall" for edit in left.plan.edits)
        out: list[str] = []
        for index, raw in enumerate(came):
            here = [text for before, text in ours if before == index]
            for place, _ in enumerate(here):
                said = next(sent)
                if not (recalled and index == max(before for before, _ in ours) and place == len(here) - 1):
                    out.append(said)
            if index not in left.changes.dropped:
                said = next(sent)
                out.append(raw if index in now else said)
            elif index in now:
                out.append(raw)
        return out

    def unfolded(self, before: int, after: int) -> list[str]:
        """Give what the later request would be if nothing had been folded since the one before it."""
        return [*self.lasting(before), *self.case.talk.messages[self.upto[before] : self.upto[after]]]

    def folded(self, before: int, after: int) -> bool:
        if self.left[before].changes is None and self.left[after].changes is None:
            return False  # byte equality of what nobody edits is law 2
        return self.lasting(after) != self.unfolded(before, after)
