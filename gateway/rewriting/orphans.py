"""A request that is over and came illegal: what no provider takes goes first, and the rest is planned as if that had
never been there.

Pure. `legality.droppable` says which messages may go. Here a conversation is taken apart without them, and decisions
for the rest are told in the indexes of the conversation as it came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.budget.components import Anatomy
from gateway.conversation import Changes, place_at, units
from gateway.rewriting.folds.summarize import Segment

REMEDY = "drop_illegal"
REASON = "no provider takes it: a call without its results, or a result without its call"


@dataclass(frozen=True, slots=True)
class WithoutOrphans:
    """The rest of a conversation once illegal messages are gone."""

    anatomy: Anatomy
    gone: frozenset[int]
    places: tuple[int, ...]
    """The index that each message had as it came."""

    def early(self, prefixes: frozenset[int]) -> frozenset[int]:
        """Give each prefix the number of messages that are left in it."""
        return frozenset(number - sum(index < number for index in self.gone) for number in prefixes)

    def at(self, named: str) -> str:
        """Name the place of a size as it came."""
        if self.anatomy.conversation.places:
            return named
        return next((place_at(at) for index, at in enumerate(self.places) if place_at(index) == named), named)

    def changes(self, changes: Changes | None) -> Changes:
        """Say what is done to the conversation as it came."""
        if changes is None:
            return Changes({}, self.gone)
        places = self.places
        return replace(
            changes,
            texts={places[index]: text for index, text in changes.texts.items()},
            dropped=self.gone.union(places[index] for index in changes.dropped),
            inserted=tuple(replace(one, before=places[one.before]) for one in changes.inserted),
            unreasoned=frozenset(places[index] for index in changes.unreasoned),
            parts={places[index]: edits for index, edits in changes.parts.items()},
        )

    def segment(self, segment: Segment) -> Segment:
        """Say which messages a summary is wanted of."""
        return replace(segment, messages=tuple(self.places[index] for index in segment.messages))


def without_messages(anatomy: Anatomy, gone: frozenset[int]) -> WithoutOrphans:
    """Take a conversation apart without some of its messages, none of which is leading system text."""
    places = tuple(index for index in range(len(anatomy.tokens)) if index not in gone)
    left = {place: index for index, place in enumerate(places)}
    messages = tuple(anatomy.conversation.messages[index] for index in places)
    names = anatomy.conversation.places
    rest = replace(
        anatomy,
        conversation=replace(anatomy.conversation, messages=messages, places=names and tuple(names[i] for i in places)),
        units=tuple(units(messages, anatomy.head)),
        component=tuple(anatomy.component[index] for index in places),
        tokens=tuple(anatomy.tokens[index] for index in places),
        document_tokens=tuple(anatomy.document_tokens[index] for index in places),
        tool_of={left[index]: name for index, name in anatomy.tool_of.items() if index in left},
    )
    return WithoutOrphans(rest, gone, places)
