"""The fold of one prefix while it is made. It copies what it changes, so the state that it began with stays a value."""

from __future__ import annotations

from gateway.rewriting.folds.list_state import ListState
from gateway.rewriting.folds.materials import Materials
from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.standing import Standing
from gateway.rewriting.folds.state import Cuts, FoldState, LastFold
from gateway.rewriting.folds.summarize import Asking
from gateway.rewriting.folds.summary_state import SummaryState
from gateway.rewriting.ladder import REPEATED, Shortened


class Draft(Standing):
    """A prefix as one fold leaves it so far."""

    __slots__ = ("asking", "budget", "ladders", "lists", "materials", "pointers", "settled", "summaries")

    shortened: dict[int, Shortened]
    gone: dict[int, str]
    gone_messages: dict[int, str]
    tokens: dict[int, int]
    documents: dict[int, int]

    def __init__(
        self, prefix: Prefix, state: FoldState, materials: Materials, budget: int, asking: Asking | None
    ) -> None:
        """Begin with a state; `asking` is set where summaries are asked for at this fold."""
        super().__init__(prefix, state)
        cuts = state.cuts
        self.materials, self.ladders, self.budget, self.asking = materials, prefix.ladders, budget, asking
        self.shortened, self.gone, self.gone_messages = {**cuts.shortened}, {**cuts.gone}, {**cuts.gone_messages}
        self.tokens, self.documents = {**cuts.tokens}, {**cuts.documents}
        self.settled, self.pointers = {*cuts.settled}, {**cuts.pointers}
        self.lists: ListState = state.lists
        self.summaries: SummaryState = state.summaries

    def finished(self, *, forced: bool) -> FoldState:
        """Give the state after this fold; the draft must not change any more."""
        prefix = self.prefix
        cuts = Cuts(
            shortened=self.shortened,
            settled=self.settled,
            pointers=self.pointers,
            gone=self.gone,
            gone_messages=self.gone_messages,
            tokens=self.tokens,
            documents=self.documents,
            saved=prefix.as_it_came - self.total + self.lists.tokens + self.summaries.tokens,
            examples_saved=self.examples_saved,
            documents_saved=self.documents_saved,
        )
        last = LastFold(prefix.as_it_came, prefix.has_documents, prefix.upto)
        return FoldState(cuts, self.lists, self.summaries, last, forced)

    # ------------------------------------------------------------ single messages

    def says(self, number: int, index: int, short: Shortened) -> None:
        """Put a shorter form in the place of a message."""
        change = short.tokens - self.message_tokens(index)
        if held := self.documents_in(index):  # they are what shrinks, as long as there are any
            words = self.anatomy.tokens[index] - self.outline.voiced.documents[index]
            self.hold(index, max(0, min(held, short.tokens - words)))
        self.shortened[index] = short
        self.tokens[number] = self.now(number) + change
        self.total += change

    def hold(self, index: int, documents: int) -> None:
        """Count so many tokens of documents in a message that a person sent."""
        self.documents_saved += self.documents_in(index) - documents
        self.documents[index] = documents

    def drop(self, number: int, remedy: str = "drop_oldest") -> None:
        """Leave a unit out."""
        unit, now = self.anatomy.units[number], self.now(number)
        self.gone[number] = remedy
        self.total -= now
        if self.is_example(number):
            self.examples_saved += now
        elif remedy != REPEATED:
            self.lists = self.lists.left_out(unit)
        self.tokens[number] = 0
        for index in unit:
            self.gone_messages[index] = remedy
            if self.documents_in(index):
                self.hold(index, 0)

    # ------------------------------------------------------------ lines of ours

    def put_lists(self, lists: ListState) -> None:
        """Put other lists in the place of those that stand."""
        self.total += lists.tokens - self.lists.tokens
        self.lists = lists

    def put_summaries(self, summaries: SummaryState) -> None:
        """Put other summaries in the place of those that stand."""
        self.total += summaries.tokens - self.summaries.tokens
        self.summaries = summaries

    # ------------------------------------------------------------ the budget

    @property
    def free(self) -> int:
        """Tokens that the prefix, or under `strict` its history, may take and does not; negative where it is over."""
        free, ceilings = self.budget - self.least, self.rules.ceilings
        return free if ceilings is None else min(free, ceilings["history"] - self.demand()["history"])

    @property
    def is_over(self) -> bool:
        return self.free < 0

    @property
    def is_above_ceiling(self) -> bool:
        """Whether history is, under `strict`."""
        ceilings = self.rules.ceilings
        return ceilings is not None and self.demand()["history"] > ceilings["history"]

    @property
    def newest_is_cut(self) -> bool:
        """Whether the newest results will be shortened for this prefix (newest.py): a list can be had as well."""
        prefix, last = self.prefix, self.prefix.last
        ends_with_results = prefix.results[-1:] == (last,) or (last > 0 and self.is_unanswered(last - 1))
        return prefix.newest_bend and ends_with_results and self.hard_tokens > self.budget

    @property
    def hard_tokens(self) -> int:
        """Tokens of the prefix if nothing else were left of it than what no fold may touch."""
        return self.outline.fixed + self.tokens_of(self.hard())
