"""Folding by hysteresis: which parts of a conversation are shortened or left out, since when, and what stands for them.

`values` are the rules and results, `voiced` is a conversation with its parts named, `state` is what a walk has decided
so far, `walk` asks at each prefix, `due` says whether it folds, `cutting` how, `lists` what is written of what goes.
Pure.
"""

from gateway.rewriting.folds.values import FoldedConversation, FoldMessage, FoldRules
from gateway.rewriting.folds.walk import fold, has_tools, reasoning_open

__all__ = ["FoldMessage", "FoldRules", "FoldedConversation", "fold", "has_tools", "reasoning_open"]
