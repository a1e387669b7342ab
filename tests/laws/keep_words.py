"""Law 3 as to words: what people said stays before what tools returned and models wrote, word for word.

In the order of claims: the task, the last exchange, later system and developer messages, few-shot pairs, and what
people said otherwise, up to `user_text` of the room. Each stays wherever it fits beside what comes before it, in this
request and in all before it; for the last of these with room for a note, and to grow. Documents and pastes among a
person's words are none of his words.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.laws import oracle
from tests.laws.driving import Walk, set_aside
from tests.laws.leaving import Leaving, Message, exchange, hard, kinds, requests, rewritten

LONG = 200
"""Tokens from which on what a person sends may be a paste or documents."""
NOTE = 40
"""Tokens of the notes that say that something is left out."""
SHOTS = 0.1
"""Of the room, what few-shot pairs may take."""
WORDS = "a person's words"


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    if not walk.case.policy.ladder.history or walk.case.policy.strict:
        return
    prefixes: list[Prefix] = []
    for leaving in rewritten(walk):
        known = {prefix.upto for prefix in prefixes}
        prefixes += [Prefix(walk, upto) for upto in requests(leaving.came) if upto not in known]
        check_one(leaving, [prefix for prefix in prefixes if prefix.upto <= leaving.upto])


@dataclass(frozen=True)
class Prefix:
    """What the claims of a prefix take, each with those before it. Tokens."""

    walk: Walk
    upto: int

    @cached_property
    def came(self) -> Sequence[Message]:
        return self.walk.case.talk.read[: self.upto]

    @cached_property
    def kinds(self) -> list[str]:
        return kinds(self.came)

    @cached_property
    def hard(self) -> set[int]:
        return hard(self.came, self.kinds)

    def all(self, kind: str) -> set[int]:
        return {n for n, one in enumerate(self.kinds) if one == kind} - self.hard

    @cached_property
    def exchange(self) -> set[int]:
        return set(exchange(self.came, self.kinds)) - self.hard

    def size(self, numbers: set[int]) -> int:
        return sum(self._sizes[n] for n in numbers)

    @cached_property
    def _sizes(self) -> list[int]:
        return [oracle.message_tokens(message, self.walk.count) for message in self.came]

    @cached_property
    def room(self) -> int:
        return oracle.room(self.walk.case.talk.request(self.upto), self.walk.budget, self.walk.count)

    def claims(self) -> Iterator[tuple[str, set[int], set[int]]]:
        """Give what must stay, in order, with it and all that comes before it."""
        stay = set(self.hard)
        for name, numbers in (
            ("the task", self.all("task")),
            ("the last exchange", self.exchange),
            ("a later rule", self.all("rule")),
            ("a few-shot pair", self.all("shot")),
            (WORDS, self.all("said")),
        ):
            stay |= numbers
            yield name, numbers, set(stay)

    def may_stay(self, name: str, numbers: set[int], stay: set[int]) -> bool:
        """Tell whether there is room for a claim, beside all of `stay`."""
        policy, tokens = self.walk.case.policy, self.size(stay)
        unsure = self.size({n for n, one in enumerate(self.came) if one.get("x_unsure")} - self.hard)
        if name == "a few-shot pair" and self.size(numbers) > SHOTS * self.room:
            return False
        if name == WORDS and self.size(numbers) + unsure > policy.user_text * self.room:
            return False
        if name == "the task":
            return tokens <= self.room
        if name != WORDS:
            return tokens + self.documents_beside(stay) <= self.room
        room = self.room - self.aside
        slack = NOTE + int(policy.fold.clear_at_least * room)
        task = self.all("task")  # its documents stay with it, before what people said otherwise
        documents = self.documents(n for n in range(self.upto) if n not in task)
        mine = self.size(self.hard) - self.documents(self.hard)
        unused = max(0, self.aside - documents)
        return tokens + unsure - documents - mine + max(0, mine - unused) + slack <= room

    def documents(self, numbers: Iterable[int]) -> int:
        """Count the documents of messages; where the ladder has no remedy for them they are words like others."""
        if not self.walk.case.policy.ladder.documents:
            return 0
        return sum(self.walk.count(doc) for n in numbers for doc in self.came[n].get("x_docs", ()))

    def documents_beside(self, stay: set[int]) -> int:
        """Count the documents of all other messages, as far as they are within what is set aside for them (law 12)."""
        return min(self.aside, self.documents(n for n in range(self.upto) if n not in stay))

    @cached_property
    def aside(self) -> int:
        """What is set aside for documents, where there are any: only they, excerpts and the newest unit may take it."""
        if not self.documents(range(self.upto)):
            return 0
        return set_aside(self.walk.case.policy, self.room)


def check_one(leaving: Leaving, prefixes: Sequence[Prefix]) -> None:
    """Hold a request to keeping each claim that fitted in all requests up to it."""
    now = prefixes[-1]
    fits: dict[str, bool] = {}
    for prefix in prefixes:
        for name, numbers, stay in prefix.claims():
            fits[name] = fits.get(name, True) and prefix.may_stay(name, numbers, stay)
    for name, numbers, _ in now.claims():
        if fits[name]:
            for number in numbers:
                check_message(leaving, number, name, prefixes)


def check_message(leaving: Leaving, number: int, name: str, prefixes: Sequence[Prefix]) -> None:
    """Hold a message to standing word for word; documents and pastes in it may shrink."""
    if name == "the last exchange" and not all(was_kept(prefix, number) for prefix in prefixes if prefix.upto > number):
        return
    if leaving.is_whole(number):
        return
    assert number in leaving.standing, f"{name} is missing: messages[{number}]"
    message = leaving.came[number]
    now = oracle.content_text(leaving.standing[number])
    assert may_shrink(message, leaving.tokens(number)), f"{name} is cut: messages[{number}]"
    for words in message.get("x_words", ()):
        assert words in now, f"{name} is cut: messages[{number}]"


def may_shrink(message: Message, tokens: int) -> bool:
    """Tell whether a message holds documents or a paste: what is told so, or is long and looks like one."""
    text = oracle.content_text(message)
    told = bool(message.get("x_docs")) or "```" in text
    return told or ("x_words" not in message and tokens > LONG and ("\n" in text or "<" in text))


def was_kept(prefix: Prefix, number: int) -> bool:
    """Tell whether a message was among what stays in an earlier request."""
    return number in prefix.hard or number in prefix.exchange
