"""A conversation after its folds, read off the state of its last prefix. Pure."""

from __future__ import annotations

from gateway.budget.components import Anatomy
from gateway.conversation import Message
from gateway.rewriting.folds.outline import spare
from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.standing import Standing
from gateway.rewriting.folds.state import FoldState
from gateway.rewriting.folds.values import FoldedConversation


def folded_conversation(prefix: Prefix, state: FoldState) -> FoldedConversation:
    """Write down what becomes of every message."""
    standing, cuts = Standing(prefix, state), state.cuts
    anatomy, messages = standing.anatomy, standing.anatomy.conversation.messages
    unreasoned = _unreasoned(prefix, state)
    empty = [index for index in unreasoned - cuts.gone_messages.keys() if not _says(messages[index])]
    return FoldedConversation(
        cuts.shortened,
        {**cuts.gone_messages, **dict.fromkeys(empty, "drop_oldest")},
        state.lines,
        standing.total - spare(anatomy) - sum(anatomy.tokens[index] for index in empty),
        state.forced,
        events=state.summaries.events,
        wanted=state.summaries.wanted(prefix.rules.asking),
        unreasoned=unreasoned,
        documents=cuts.documents,
        documents_room=_documents_room(standing),
        documents_free=_documents_free(standing),
        folds_now=state.last is not None and state.last.messages == len(messages),
    )


# ---------------------------------------------------------------- documents


def _documents_room(standing: Standing) -> int | None:
    """Return the most that documents of the newest message take: all that is left where history is not folded;
    else their share, and what history has not grown into; under `strict` their ceiling.
    """
    if not standing.newest_documents or not standing.prefix.ladders.documents:
        return None
    if standing.rules.ceilings is None and not standing.gone:
        return None
    return max(0, _documents_most(standing) - standing.old_documents())


def _documents_free(standing: Standing) -> int:
    """Return the tokens that documents may take and do not."""
    if not standing.prefix.has_documents:
        return 0
    return max(0, _documents_most(standing) - standing.old_documents() - standing.newest_documents)


def _documents_most(standing: Standing) -> int:
    """Return the most that all documents may take: what history leaves, a tenth of its room apart once it is
    folded, for that it grows into soon.
    """
    prefix, rules = standing.prefix, standing.rules
    if rules.ceilings is not None:
        return rules.ceilings["documents"]
    history, given = standing.bending - standing.old_documents(), standing.input
    if standing.gone:
        history = max(history, prefix.room - given - prefix.clear)
    return max(rules.documents, prefix.whole_room - given - history)


# ---------------------------------------------------------------- reasoning


def _unreasoned(prefix: Prefix, state: FoldState) -> frozenset[int]:
    """List the messages that stand behind the first change and came before the last fold was made.

    Without tools a turn is one answer, so there is none whose reasoning is still open; excerpts move with each
    question. The last message stays, so it keeps its reasoning where it says nothing else.
    """
    rules, anatomy = prefix.rules, prefix.outline.voiced.anatomy
    messages = anatomy.conversation.messages
    changed = [*state.cuts.shortened, *state.cuts.gone_messages, *(line.before for line in state.lines)]
    if not rules.binds_reasoning or not changed:
        return frozenset()
    moves = rules.recall and not has_tools(anatomy)
    upto = len(messages) if moves else 0 if state.last is None else state.last.messages
    reasons = [index for index in range(min(changed), upto) if messages[index].reasons]
    return frozenset([index for index in reasons if index < len(messages) - 1 or _says(messages[index])])


def has_tools(anatomy: Anatomy) -> bool:
    return bool(anatomy.tools_tokens or anatomy.tool_of)


def _says(message: Message) -> bool:
    """Tell whether a message says anything beside its reasoning."""
    return bool(message.calls or message.text.strip() or message.media)
