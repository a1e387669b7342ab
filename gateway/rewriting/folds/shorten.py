"""Old results written shorter: without loss all at once, with loss the oldest first; and repeated exchanges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from gateway.rewriting.folds.draft import Draft
from gateway.rewriting.ladder import REPEATED


def shorten_without_loss(draft: Draft, enough: int) -> None:
    """Shorten old results without loss; what keeps turns yields first, then what keeps results."""
    units, results = draft.anatomy.units, draft.prefix.results
    for spared in _spared(draft):
        for number in results:
            if number not in spared and number not in draft.gone:
                for remedy in draft.ladders.light:
                    shorten_results(draft, number, remedy, "history")
                draft.settled.update(units[number])
        if draft.least <= enough:
            return


def stub_results(draft: Draft) -> None:
    """Shorten old results with loss, the oldest first, down to the goal."""
    goal, results = _goal(draft), draft.prefix.results
    for spared in _spared(draft):
        for remedy in draft.ladders.heavy:
            for number in results:
                if draft.least <= goal:
                    return
                if number not in spared and number not in draft.gone:
                    shorten_results(draft, number, remedy, "history")


def _goal(draft: Draft) -> int:
    """Choose the total to come down to: `target` of the room for history, and less where input leaves less."""
    prefix, target = draft.prefix, draft.rules.target
    fixed = draft.outline.fixed + draft.examples_tokens + draft.input
    left = draft.budget - fixed
    history = min(int(target * prefix.room), max(left - prefix.clear, int(left * target)))
    return fixed + max(0, history)


def _spared(draft: Draft) -> Iterator[set[int]]:
    """Yield what stays untouched in each attempt."""
    prefix, rules, hard = draft.prefix, draft.rules, draft.hard()
    results = set(prefix.results[-rules.keep_tool_results :] if rules.keep_tool_results else ())
    followed, most = 0, min(rules.protect, int(rules.target * prefix.room))
    for number in range(prefix.last, -1, -1):
        if followed >= most:
            break
        followed += draft.now(number)
        results.add(number)
    if rules.keep_turns and prefix.turns:
        first = prefix.turns[-rules.keep_turns :][0]
        yield hard | results | set(range(first, prefix.units))
    yield hard | results
    yield hard


# ---------------------------------------------------------------- single results


def shorten_results(draft: Draft, number: int, remedy: str, component: Literal["history", "documents"]) -> None:
    """Apply a remedy to the results of a unit that are such a component, where it makes them smaller."""
    components, tokens = draft.anatomy.component, draft.anatomy.tokens
    for index in draft.outline.voiced.results_of(number):
        if (components[index] == "documents") != (component == "documents"):
            continue
        if index in draft.settled and remedy != "stub":
            continue
        if remedy == "stub" and is_pointed_at(draft, index):
            continue
        if remedy == "crush" and (tokens[index] > draft.rules.effort or _is_compared_with(draft, index)):
            continue
        newer = _twin(draft, number, index) if remedy == "dedupe" else None
        short = draft.materials.results.shorten(remedy, index, newer)
        if short is None or (short.tokens >= draft.message_tokens(index) and remedy != "stub"):
            continue
        if newer is not None:
            draft.pointers[newer] = (*draft.pointers.get(newer, ()), index)
        draft.says(number, index, short)


def is_pointed_at(draft: Draft, index: int) -> bool:
    """Tell whether a pointer to this result still stands: documents keep theirs, having no heavier remedy."""
    return any(True for _ in _pointers(draft, index))


def _is_compared_with(draft: Draft, index: int) -> bool:
    """Tell whether an older result stands as its differences from this one: they are told of the text as it came."""
    minified = draft.materials.results.minified
    return any(minified(older) != minified(index) for older in _pointers(draft, index))


def _pointers(draft: Draft, index: int) -> Iterator[int]:
    """Yield the older results that stand as pointers to this one."""
    for older in draft.pointers.get(index, ()):
        if older not in draft.gone_messages and draft.shortened[older].remedy == "dedupe":
            yield older


def _twin(draft: Draft, number: int, index: int) -> int | None:
    """Find the newest later result in the prefix that says the same, or answers the same call, as it came.

    None also for a result that an older one points to: it stays, or the pointer would lead to a pointer.
    """
    if index in draft.pointers:
        return None
    twins, units = draft.materials.twins, draft.prefix.units
    newest = twins.newest_same(index, units)
    if newest > index:
        return newest if _stands(draft, newest, ("minify", "crush")) else None
    newest = twins.newest_answer(number, index, units)
    return newest if newest > index and _stands(draft, newest, ()) else None


def _stands(draft: Draft, index: int, remedies: Sequence[str]) -> bool:
    """Tell whether a result stands as it came, or as one of these remedies left it."""
    short = draft.shortened.get(index)
    return index not in draft.gone_messages and (short is None or short.remedy in remedies)


# ---------------------------------------------------------------- exchanges


def leave_out_repeats(draft: Draft) -> None:
    """Leave out an exchange without tools that a later one repeats word for word: nothing of it is gone."""
    parts, gone = draft.parts, draft.gone
    if "dedupe" not in draft.ladders.light or not draft.ladders.history:
        return
    spared = draft.hard() | set(draft.exchange())
    later: set[tuple[str | None, str | None]] = set()
    for answer in range(draft.prefix.last, 0, -1):
        asked = answer - 1
        if parts[answer] != "answer" or parts[asked] != "said" or asked in gone or answer in gone:
            continue
        said = _as_it_came(draft, asked), _as_it_came(draft, answer)
        if None in said:
            continue
        if said in later and asked not in spared and answer not in spared:
            draft.drop(asked, REPEATED)
            draft.drop(answer, REPEATED)
        later.add(said)


def _as_it_came(draft: Draft, number: int) -> str | None:
    """Return the text of a unit that is nothing but text, and is not shortened."""
    unit = draft.anatomy.units[number]
    message = draft.anatomy.conversation.messages[unit.first]
    is_text = unit.after == unit.first + 1 and message.is_plain and not message.media
    return message.text if is_text and unit.first not in draft.shortened else None
