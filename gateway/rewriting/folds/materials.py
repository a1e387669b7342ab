"""The texts of one conversation as its folds need them. Each is worked on once, whichever fold asks first.

Nothing here depends on what a fold decided: two walks that ask for the same get the same. Pure.
"""

from __future__ import annotations

from gateway.budget.components import Count
from gateway.rewriting.folds.outline import Outline
from gateway.rewriting.folds.summarize import Prefixes
from gateway.rewriting.folds.twins import Twins
from gateway.rewriting.folds.values import FoldRules
from gateway.rewriting.history.snippet_reader import Reader
from gateway.rewriting.history.speakers import Speakers
from gateway.rewriting.ladder import Results
from gateway.rewriting.memory import Known


class Materials:
    """Everything that is read of a conversation's texts."""

    __slots__ = ("count", "known", "prefixes", "reader", "results", "shingles", "speakers", "twins")

    def __init__(self, outline: Outline, rules: FoldRules, count: Count, known: Known) -> None:
        anatomy = outline.voiced.anatomy
        messages = anatomy.conversation.messages
        self.count, self.known = count, known
        self.results = Results(anatomy, count, known)
        self.reader = Reader(known.snippets, rules.preserve)
        self.speakers = Speakers(messages)
        self.twins = Twins(outline, self.results)
        self.shingles: dict[int, list[set[int]]] = {}
        """By message: what its documents are compared by."""
        facts = (rules.budget, anatomy.tools_tokens, tuple((rules.ceilings or {}).items()))
        self.prefixes = None if rules.asking is None else Prefixes(rules.asking, messages, *facts)
        """The keys of prefixes at which summaries come in; None where the policy wants none."""
