"""The rules that bound the folds of one conversation, and a conversation after its folds, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.budget.allocation import Rooms
from gateway.conversation import Changes, Insertion, Kind
from gateway.rewriting.folds.summarize import Asking, Event, Segment
from gateway.rewriting.folds.summary_state import StandingSummary
from gateway.rewriting.ladder import Shortened


@dataclass(frozen=True, slots=True)
class FoldRules:
    """Bounds of the folds of one conversation. Tokens, and shares of the room (budget less tools and system text)."""

    budget: int
    """Of every prefix, with the reserve."""
    final_budget: int
    """Of this request, whose answer limit may ask for more than the reserve."""
    trigger: float
    target: float
    clear_at_least: float
    keep_turns: int
    keep_tool_results: int
    shares: Rooms
    borrow: tuple[str, ...]
    documents: int = 0
    """Tokens that documents may take where the conversation has some; history's room is less by so much."""
    documents_in_tokens: bool = False
    """Whether the policy gives them as such an amount, and not as a share, which is less beside a large input."""
    ceilings: Mapping[str, int] | None = None
    """Under `strict`: the most each component may take."""
    artifacts: float = 0.0
    user_text: float = 0.5
    protect: int = 0
    effort: int = 500_000
    preserve: tuple[str, ...] = ()
    asking: Asking | None = None
    """Set where a model writes summaries."""
    binds_reasoning: bool = False
    """True where messages before reasoning that is still open must not change."""
    early: frozenset[int] = frozenset()
    """Prefixes, by their number of messages, that fold though they fit: decided once, when that was cheap (law 5)."""
    answer: str | None = None
    """The form of the answer, where our notes have to say it (`legality.wanted_word`)."""
    recall: float = 0.0
    """Share of the room that stays free for excerpts once something is left out."""


@dataclass(frozen=True, slots=True)
class FoldMessage:
    """A message of ours that stands for messages that were left out: a note, with a list; a summary; excerpts."""

    before: int
    """Index of the message that it is put before."""
    text: str
    tokens: int
    """Of the whole message."""
    messages: int
    """The number of messages that it stands for, and of their tokens."""
    stands_for: int
    values: frozenset[str] = frozenset()
    summary_of: str | None = None
    """Of a summary: the key of its segment."""


@dataclass(frozen=True, slots=True)
class FoldedConversation:
    """A conversation after its folds."""

    shortened: Mapping[int, Shortened]
    """Messages with a new text, by index."""
    dropped: Mapping[int, str]
    """Messages left out: index → remedy."""
    kept: tuple[FoldMessage, ...]
    total: int
    forced: bool = False
    """True where the last fold, made for this very request, came sooner than `clear_at_least` allows, freed less, or
    made room for a longer answer than the reserve: that one the next request knows nothing of.
    """
    recalled: FoldMessage | None = None
    """Excerpts of what is gone, for what is asked now."""
    events: tuple[Event, ...] = ()
    wanted: tuple[Segment, ...] = ()
    """Segments that stand without a summary that nobody has written yet."""
    unreasoned: frozenset[int] = frozenset()
    """Messages whose reasoning was given before what stands before them changed."""
    documents: Mapping[int, int] = field(default_factory=dict)
    """By message: tokens of the documents that a person sent in it, where folds left fewer than came."""
    documents_room: int | None = None
    """Tokens that documents of the last user message may take; None where the conversation has none."""

    documents_free: int = 0
    """Tokens set aside for documents that none take: room for excerpts of documents."""
    folds_now: bool = False
    """Whether the last fold was made for this very request."""

    @property
    def lines(self) -> tuple[FoldMessage, ...]:
        """Our messages in the conversation, in order."""
        kept = sorted(self.kept, key=lambda line: line.before)
        return tuple(kept) if self.recalled is None else (*kept, self.recalled)

    @property
    def changes(self) -> Changes:
        short_of = {index: short for index, short in self.shortened.items() if index not in self.dropped}
        return Changes(
            texts={index: short.text for index, short in short_of.items() if not short.parts},
            dropped=frozenset(self.dropped),
            inserted=tuple(Insertion(line.before, line.text, self._kind(line)) for line in self.lines),
            unreasoned=self.unreasoned - self.dropped.keys(),
            parts={index: short.parts for index, short in short_of.items() if short.parts},
        )

    def _kind(self, line: FoldMessage) -> Kind:
        if line is self.recalled:
            return "excerpts"
        return "note" if line.summary_of is None else "summary"


def as_kept(standing: StandingSummary) -> FoldMessage:
    """Give a summary as a message of ours."""
    segment = standing.segment
    return FoldMessage(
        standing.before, standing.text, standing.tokens, len(segment.messages), segment.tokens, summary_of=segment.key
    )
