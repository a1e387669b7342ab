"""Folding by hysteresis: which parts of a conversation are shortened or left out, since when, and what stands for them.

Values first: `values` are the rules and results, `voiced` is a conversation with its parts named, `outline` its sizes,
`prefix` the part of it that was one request, `state` the decisions so far, `standing` both together. `walk` steps from
prefix to prefix, `due` says whether one folds, `steps` in which order: `documents`, `shorten`, `age`, `leave_out` with
`cut_words`, `lists` and `summaries`, `force`. They work on a `draft`, which ends as the next state; `result` writes
down the last one. Pure.
"""

from gateway.rewriting.folds.result import has_tools
from gateway.rewriting.folds.values import FoldedConversation, FoldMessage, FoldRules
from gateway.rewriting.folds.walk import fold, reasoning_open

__all__ = ["FoldMessage", "FoldRules", "FoldedConversation", "fold", "has_tools", "reasoning_open"]
