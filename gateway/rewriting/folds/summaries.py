"""The summaries of one prefix: what comes in at a fold, what is asked for, and their place beside the lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.budget.components import Count
from gateway.rewriting.folds.state import Prefix
from gateway.rewriting.folds.summarize import Asking, Prefixes
from gateway.rewriting.folds.summary_state import StandingSummary, most_of


class FoldSummaries:
    """The steps of a fold that have to do with summaries (summary_state.py); nothing where the policy wants none."""

    def __init__(self, prefix: Prefix, count: Count) -> None:
        self.prefix, self.count = prefix, count
        self.asking: Asking | None = None
        """Set for a fold at which summaries are asked for."""
        self.coming: tuple[StandingSummary, ...] = ()
        self._prefixes: Prefixes | None = None

    def begin(self, *, wanted: bool) -> None:
        """Begin a fold."""
        self.asking, self.coming = self.prefix.rules.asking if wanted else None, ()

    def tokens(self) -> int:
        """Return the tokens of the summaries that stand once those that come are in."""
        return self.prefix.state.summaries.tokens_with(self.coming)

    def decide(self) -> None:
        """Decide which summaries of what earlier folds left out come in now."""
        state, asking = self.prefix.state, self.asking
        if asking is not None and state.summaries.waiting:
            state.summaries, self.coming = state.summaries.decided(asking, self._key(asking), self._most(), self.count)

    def enter(self, before: int, gone: Sequence[int], free: Callable[[], int]) -> None:
        """Put in those that come, ask for one of what is gone, and put that in too where the request waited for it.

        `free` returns the room for lines of ours as it stands.
        """
        state, asking = self.prefix.state, self.asking
        self._enter(self.coming, before, free())
        self.ask(gone)
        if asking is not None and state.summaries.waiting:
            state.summaries, coming = state.summaries.decided_at_once(
                asking, self._key(asking), self._most(), self.count
            )
            self._enter(coming, before, free())

    def _enter(self, coming: Sequence[StandingSummary], before: int, room: int) -> None:
        state = self.prefix.state
        tokens = state.summaries.tokens
        state.summaries = state.summaries.entered(coming, before, room)
        state.total += state.summaries.tokens - tokens

    def ask(self, gone: Sequence[int]) -> None:
        """Choose what is to be summarised now."""
        state, asking = self.prefix.state, self.asking
        if asking is not None:
            tokens = self.prefix.anatomy.tokens
            state.summaries = state.summaries.asking_for(
                asking, self.prefix.messages, tokens, gone, self._most(), self.prefix.clear
            )

    def take_back(self) -> None:
        """Take out all summaries, where nothing else makes the prefix fit."""
        state = self.prefix.state
        state.total -= state.summaries.tokens
        state.summaries = state.summaries.taken_back()

    def _most(self) -> int:
        anatomy = self.prefix.anatomy
        is_chat = not anatomy.tools_tokens and not self.prefix.state.with_results
        return most_of(self.prefix.room, is_chat=is_chat)

    def _key(self, asking: Asking) -> str:
        if self._prefixes is None:
            ceilings = tuple((self.prefix.rules.ceilings or {}).items())
            facts = (self.prefix.rules.budget, self.prefix.anatomy.tools_tokens, ceilings)
            self._prefixes = Prefixes(asking, self.prefix.messages, *facts)
        return self._prefixes.key(self.prefix.upto)
