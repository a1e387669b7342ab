"""The changes of one request, as a value: `plan(...)` gives a Plan or a Refusal.

Pure. Precedence of the laws: legality, then fit, then what must stay. The shares, `keep_*` and `clear_at_least` yield
before a request is refused; a refusal names the component that is too big, its size and its room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.budget.allocation import Window, allocate
from gateway.budget.components import COMPONENTS, OVERHEAD_MESSAGE, Anatomy, Count, Recognition
from gateway.conversation import Changes, last_user, place_at
from gateway.rewriting.documents import in_system
from gateway.rewriting.folds import FoldedConversation, FoldMessage, FoldRules, fold, has_tools, reasoning_open
from gateway.rewriting.folds.summarize import REMEDY as SUMMARIZE
from gateway.rewriting.folds.summarize import Event, Segment, SummaryFacts, asking_of
from gateway.rewriting.folds.voiced import Voiced
from gateway.rewriting.folds.voiced import voiced as voiced_of
from gateway.rewriting.history.folded_messages import FoldedMessage
from gateway.rewriting.ladder import REPEATED, Ladders
from gateway.rewriting.media import LOW, TRACED
from gateway.rewriting.memory import Known
from gateway.rewriting.newest import Asked, fit_newest, with_recall
from gateway.rewriting.orphans import REASON as DROP_ILLEGAL_REASON
from gateway.rewriting.orphans import REMEDY as DROP_ILLEGAL
from gateway.rewriting.orphans import WithoutOrphans, without_messages
from gateway.rewriting.ours import answer_form as answer_note
from gateway.rewriting.turns import REASON as JOIN_REASON
from gateway.rewriting.turns import REMEDY as JOIN
from gateway.rewriting.turns import in_turns
from gateway.wire.legality import Rules as LegalRules
from gateway.wire.legality import Violation, droppable, introduced, lacks_word, violations, wanted_word

if TYPE_CHECKING:
    from gateway.config.policy import Policy

SIZES = Mapping[str, int]


VOLATILE, VOLATILE_LEFT = "volatile", "volatile_left"
MOVES = frozenset({VOLATILE, VOLATILE_LEFT})
"""Remedies that stand for declared volatile text (moved.py): where it is moved the request counts as it came."""


Bounded = Literal["at least", "at most"]
"""The stand-in for the count of a text that is too long to be read: the fewest, or the most, tokens that its bytes can
have."""

Level = Literal["whole", "lossless", "lists", "dropped"]

LOSSLESS = frozenset({"minify", "dedupe", "crush", "reasoning"})
"""Remedies that lose nothing, unless the newest results alone do not fit: those are cut."""
LEAVES_OUT = frozenset({"drop_oldest", DROP_ILLEGAL})
STANDS_FOR = frozenset({"artifacts", SUMMARIZE})
NOTED = "says how much is left out here, and no more"
"""The reason of a line of ours without a list."""


class Edit(NamedTuple):
    """One message that does not leave as it came. Content-free."""

    at: int
    remedy: str
    tool: str | None
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The form in which a request leaves. `changes` is None where it leaves as it came."""

    before: SIZES
    """Tokens by component."""
    after: SIZES
    room: SIZES
    """The tokens that the allocation granted each component."""
    changes: Changes | None = None
    edits: tuple[Edit, ...] = ()
    forced: bool = False
    events: tuple[Event, ...] = ()
    """Folds at which summaries could enter, and which did."""
    wanted: tuple[Segment, ...] = ()
    """The messages that nobody has summarised yet."""
    bounded: Bounded | None = None
    """Set where text was too long to be counted: then the tokens as it came are a bound."""
    places: tuple[str, ...] = ()
    """`Conversation.places`."""
    folds_now: bool = False
    """Whether it folded anew for this very request."""

    @property
    def tokens_before(self) -> int:
        return sum(self.before.values())

    @property
    def tokens_after(self) -> int:
        return sum(self.after.values())

    @property
    def rewrites(self) -> bool:
        """Whether more is done than to move what the policy declares volatile."""
        return any(edit.remedy not in MOVES for edit in self.edits)

    @property
    def level(self) -> Level:
        """Say how far the remedies had to go.

        whole: nothing is done; lossless: old results are written shorter and say the same; lists: something is left
        out, and what stands for it says what it held; dropped: something is left out, and nothing does.
        """
        edits = [edit for edit in self.edits if edit.remedy not in MOVES]
        if not edits:
            return "whole"
        if all(edit.remedy in LOSSLESS and edit.reason != _NEWEST for edit in edits):
            return "lossless"
        is_left_out = any(edit.remedy in LEAVES_OUT for edit in edits)
        is_listed = any(edit.remedy in STANDS_FOR and edit.reason != NOTED for edit in edits)
        return "dropped" if is_left_out and not is_listed else "lists"

    @property
    def summary(self) -> str:
        """The changes, as the plan header says them, without the leading verb."""
        counts = Counter(edit.remedy for edit in self.edits if edit.before or edit.remedy not in MOVES)
        done = [f"{remedy}={number}" for remedy, number in counts.items()]
        if not self.rewrites:
            return "; ".join(done)
        first = next(edit.at for edit in self.edits if edit.remedy not in MOVES)
        changed = f"first_changed={place_at(first, self.places)}"
        told = [f"tokens={self.tokens_before}/{self.tokens_after}", *done, changed]
        return "; ".join([*told, "forced"] if self.forced else told)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request cannot be made to fit."""

    component: str
    tokens: int
    room: int
    at: str
    """The place of the size: messages[41], tools."""
    prompt_tokens: int
    budget: int
    before: SIZES
    illegal: str | None = None
    """Set where the request came illegal: what no provider takes is not rewritten either."""
    ours: bool = False
    """Whether the rewrite would have been illegal, which is our fault and is logged as such."""
    bounded: Bounded | None = None
    """Set where text was too long to be counted: then its tokens are a bound."""


def ladders_of(policy: Policy) -> Ladders:
    ladder = policy.ladder
    return Ladders(ladder.tool_results, ladder.documents, ladder.examples, ladder.history, ladder.input)


def recognition_of(policy: Policy) -> Recognition:
    return Recognition(policy.examples.names, policy.examples.tags, policy.documents.tags, policy.documents.tools)


def plan(
    anatomy: Anatomy,
    policy: Policy,
    window: Window,
    answer_limit: int,
    legal: Sequence[LegalRules],
    count: Count,
    known: Known | None = None,
    facts: SummaryFacts | None = None,
    early: frozenset[int] = frozenset(),
    lost: tuple[FoldedMessage, ...] = (),
) -> Plan | Refusal:
    """Decide how the request leaves; `answer_limit` is what the request itself asks for, in tokens, or 0.

    `known` is what the process remembers of texts; without it everything is worked out anew, to the same end.
    `facts` is what is known of summaries, where the policy wants them. `early` are the prefixes, by their number of
    messages, that it was decided to fold though they fit. `lost` are system messages that documents were cut out of.
    """
    known = known or Known()
    budget, final = window.budget(), window.budget(answer_limit)
    before = anatomy.by_component()
    if budget is None or final is None:
        return Plan(before, before, before)
    most = policy.allocation.rooms(final, COMPONENTS) if policy.strict else None
    case = _Case(anatomy, policy, window, budget, final, most, tuple(legal), count, known, facts, early, lost)
    if most is not None or early or lost or anatomy.total > final:
        return _decided(case, answer_limit)
    return Plan(before, before, allocate(final, before, policy.allocation, policy.borrow, case.ladders.with_remedy))


@dataclass(frozen=True, slots=True)
class _Case:
    """A request with all that its plan depends on."""

    anatomy: Anatomy
    policy: Policy
    window: Window
    budget: int
    """Of every prefix, and `final` of the request itself."""
    final: int
    most: Mapping[str, int] | None
    """Under `strict`: the most that each component may take."""
    legal: tuple[LegalRules, ...]
    count: Count
    known: Known
    facts: SummaryFacts | None
    early: frozenset[int]
    lost: tuple[FoldedMessage, ...]

    @property
    def ladders(self) -> Ladders:
        return ladders_of(self.policy)

    @property
    def folds_to(self) -> int:
        """Tokens of every prefix: fewer where a fold may not come later, in the middle of what a model thinks about."""
        return min(self.budget, self.final) if self.binds else self.budget

    @property
    def binds(self) -> bool:
        """True where a provider takes reasoning back only behind what it was given after."""
        return any(rules.binds_reasoning for rules in self.legal)

    @property
    def recalls(self) -> bool:
        """True where excerpts may come back: not where the provider counted more than we did, nor under `strict`."""
        bound = self.binds and has_tools(self.anatomy)
        return bool(self.policy.recall) and self.window.at_most is None and self.most is None and not bound


def _decided(case: _Case, answer_limit: int) -> Plan | Refusal:
    """Decide for a request that is over, may be over a share, or was decided to fold."""
    policy, documents = case.policy, case.policy.documents
    voiced = voiced_of(case.anatomy, documents.tags, case.count, case.known, in_system=documents.in_system)
    anatomy = replace(case.anatomy, document_tokens=voiced.documents)
    case, before = replace(case, anatomy=anatomy), anatomy.by_component()
    room = case.most or allocate(case.final, before, policy.allocation, policy.borrow, case.ladders.with_remedy)
    as_it_came = Plan(before, before, room)
    within = case.most is None or all(before[name] <= case.most[name] for name in COMPONENTS)
    fits = anatomy.total <= case.final and within
    if fits and not case.lost and (not case.early or case.most is not None):
        return as_it_came
    illegal = violations(anatomy.conversation.messages)
    if illegal:
        return as_it_came if fits else _without_illegal(case, answer_limit, illegal)
    if documents.in_system and not fits and not case.lost:
        found = _with_cut_system(case, replace(voiced, anatomy=anatomy), answer_limit)
        if found is not None:
            return found
    return _rewritten(case, voiced, as_it_came, fits=fits)


def _again(
    case: _Case, anatomy: Anatomy, answer_limit: int, early: frozenset[int], lost: tuple[FoldedMessage, ...] = ()
) -> Plan | Refusal:
    """Plan for another form of the conversation."""
    policy, window, legal = case.policy, case.window, case.legal
    return plan(anatomy, policy, window, answer_limit, legal, case.count, case.known, case.facts, early, lost)


def _without_illegal(case: _Case, answer_limit: int, illegal: Sequence[Violation]) -> Plan | Refusal:
    """Plan for the conversation without what no provider takes, where that is old enough to go; else refuse."""
    anatomy = case.anatomy
    gone = droppable(anatomy.conversation.messages, illegal)
    if gone is None:
        return _illegal(anatomy, anatomy.by_component(), case.final, illegal[0].index, illegal[0].message)
    rest = without_messages(anatomy, gone)
    return _of_all(anatomy, rest, _again(case, rest.anatomy, answer_limit, rest.early(case.early), case.lost))


def _rewritten(case: _Case, voiced: Voiced, as_it_came: Plan, *, fits: bool) -> Plan | Refusal:
    """Fold, fit the newest messages, bring back what is asked for, and keep to the rules of the providers."""
    anatomy, policy, ladders, count, final = case.anatomy, case.policy, case.ladders, case.count, case.final
    folded = fold(voiced, _rules_of(case), ladders, count, case.known)
    if fits and not folded.dropped and not folded.shortened and not case.lost:
        return as_it_came
    events, wanted, tags = folded.events, folded.wanted, policy.documents.tags
    order, effort = policy.document_order, policy.effort
    asked = Asked(anatomy, voiced.voices, ladders, tags, order, count, case.known, effort, case.lost)
    held = case.binds and len(anatomy.units) in reasoning_open(anatomy)
    if not held:
        folded = fit_newest(asked, folded, final, strict=policy.strict)
    if case.recalls and folded.total <= final:
        folded = with_recall(asked, folded, final if case.lost else min(final, anatomy.total), policy.recall)
    before = as_it_came.before
    if folded.total > final:
        return _too_big(anatomy, before, _after(anatomy, folded, count), final)
    lawful = _lawful(anatomy, folded, ladders, case.legal, final, count, held=held)
    if lawful is None:
        return as_it_came if fits else replace(_too_big(anatomy, before, before, final), ours=True)
    after = _after(anatomy, lawful, count)
    if (over := _over_its_ceiling(after, case.most)) is not None and case.most is not None:
        return Refusal(over, after[over], case.most[over], _largest(anatomy, over), anatomy.total, final, before)
    edits = _edits(anatomy, lawful)
    room, places = as_it_came.room, anatomy.conversation.places
    folds_now = folded.folds_now
    return Plan(
        before, after, room, lawful.changes, edits, lawful.forced, events, wanted, places=places, folds_now=folds_now
    )


def _over_its_ceiling(after: SIZES, most: Mapping[str, int] | None) -> str | None:
    """Name the first component that is above its ceiling."""
    return None if most is None else next((name for name in COMPONENTS if after[name] > most[name]), None)


def _of_all(anatomy: Anatomy, rest: WithoutOrphans, found: Plan | Refusal) -> Plan | Refusal:
    """Tell what was decided for the rest of a conversation as what is done to all of it."""
    before = anatomy.by_component()
    if isinstance(found, Refusal):
        return replace(found, at=rest.at(found.at), before=before, prompt_tokens=anatomy.total)
    own = [edit._replace(at=rest.places[edit.at]) for edit in found.edits]
    tokens, tool_of = anatomy.tokens, anatomy.tool_of
    own += [Edit(at, DROP_ILLEGAL, tool_of.get(at), tokens[at], 0, DROP_ILLEGAL_REASON) for at in rest.gone]
    return replace(
        found,
        before=before,
        changes=rest.changes(found.changes),
        edits=tuple(sorted(own, key=lambda edit: edit.at)),
        wanted=tuple(map(rest.segment, found.wanted)),
        places=anatomy.conversation.places,
    )


def _documents_share(case: _Case) -> int:
    """Return the tokens that documents may take, those in system text among them."""
    if case.most is not None:
        return case.most["documents"]
    anatomy, with_remedy = case.anatomy, case.ladders.with_remedy
    among = [name for name in ("documents", "examples", "history") if name in with_remedy]
    among = [name for name in among if name != "examples" or "examples" in anatomy.component]
    room = case.folds_to - anatomy.tools_tokens - anatomy.system_tokens + in_system.held(anatomy)
    return case.policy.allocation.rooms(max(0, room), among).get("documents", 0)


def _with_cut_system(case: _Case, voiced: Voiced, answer_limit: int) -> Plan | Refusal | None:
    """Plan for the conversation with fewer documents in its system text; None where none are cut.

    They come down to their share, to half of it where the first user message holds some too; further only before a
    refusal.
    """
    anatomy, held = case.anatomy, in_system.held
    share = _documents_share(case)
    first = next((unit.first for unit in anatomy.units if voiced.voices[unit.first] == "said"), 0)
    room = share // 2 if first and voiced.documents[first] else share
    found: Plan | Refusal | None = None
    for _ in range(_CUTS_OF_SYSTEM):
        cut = in_system.cut_documents(voiced, case.ladders, room, case.policy.effort, case.count, case.known)
        if cut is None:
            break
        found = _of_cut(anatomy, cut, _again(case, cut.anatomy, answer_limit, case.early, cut.lost))
        if not isinstance(found, Refusal) or case.policy.strict or not held(cut.anatomy):
            break
        room = max(0, held(cut.anatomy) - max(1, found.tokens - found.room))
    return found


_CUTS_OF_SYSTEM = 3


def _of_cut(anatomy: Anatomy, cut: in_system.CutSystemText, found: Plan | Refusal) -> Plan | Refusal:
    """Tell what was decided after a cut of the system text as what is done to the request as it came."""
    before = anatomy.by_component()
    if isinstance(found, Refusal):
        return replace(found, before=before, prompt_tokens=anatomy.total)
    remedy = in_system.REMEDY
    own = [
        Edit(index, remedy, None, anatomy.tokens[index], cut.anatomy.tokens[index], _REASONS[remedy])
        for index in cut.indexes
    ]
    edits = tuple(sorted([*own, *found.edits], key=lambda edit: edit.at))
    return replace(found, before=before, changes=cut.changes(found.changes), edits=edits)


def _rules_of(case: _Case) -> FoldRules:
    """Read the bounds of folds from a policy, and what this request adds to them."""
    policy, fold_ = case.policy, case.policy.fold
    documents = max(0, _documents_share(case) - in_system.held(case.anatomy))
    return FoldRules(
        budget=case.folds_to,
        final_budget=case.final,
        trigger=fold_.trigger,
        target=fold_.target,
        clear_at_least=fold_.clear_at_least,
        keep_turns=fold_.keep_turns,
        keep_tool_results=fold_.keep_tool_results,
        shares=policy.allocation,
        borrow=policy.borrow,
        documents=documents,
        documents_in_tokens="documents" in dict(policy.allocation.tokens),
        ceilings=None if case.most is None else {**case.most, "documents": documents},
        artifacts=fold_.artifacts,
        user_text=policy.user_text,
        protect=policy.protect,
        effort=policy.effort,
        preserve=policy.preserve,
        asking=asking_of(policy, case.facts),
        binds_reasoning=case.binds,
        early=case.early if case.most is None else frozenset(),
        recall=policy.recall if case.most is None else 0.0,
        answer=wanted_word(case.anatomy.conversation, case.legal),
    )


def _lawful(
    anatomy: Anatomy,
    folded: FoldedConversation,
    ladders: Ladders,
    legal: Sequence[LegalRules],
    final: int,
    count: Count,
    *,
    held: bool,
) -> FoldedConversation | None:
    """Give the fold in a form that every provider takes and that fits; None where there is none.

    Our own line is left out if it stands in the way of a rule; everything that may go goes if the cut does. Neither is
    done while reasoning is held open: what stands before it was sent already.
    """
    messages = anatomy.conversation.messages
    bare = replace(folded, recalled=None)
    forms = [folded, in_turns(anatomy, folded, count), bare, in_turns(anatomy, bare, count)]
    if not held:
        forms.append(replace(bare, kept=()))
    if ladders.history and not held:
        forms.append(_barest(anatomy, ladders))
    for form in forms:
        said = _with_answer(anatomy, form, legal, count)
        after = said.changes.applied(messages)
        if said.total <= final and not any(introduced(messages, after, rules) for rules in legal):
            return said
    return None


def _with_answer(
    anatomy: Anatomy, folded: FoldedConversation, legal: Sequence[LegalRules], count: Count
) -> FoldedConversation:
    """Say the form of the answer in a line of its own where the fold left nothing that says it."""
    conversation = anatomy.conversation
    word = conversation.required_word
    if word is None or not lacks_word(conversation, folded.changes.applied(conversation.messages), legal):
        return folded
    text, first = answer_note(word), min([*folded.dropped, *folded.shortened], default=anatomy.units[-1].first)
    before = next(unit.first for unit in anatomy.units if first < unit.after)
    line = FoldMessage(before, text, OVERHEAD_MESSAGE + count(text), 0, 0)
    return replace(folded, kept=(*folded.kept, line), total=folded.total + line.tokens)


def _barest(anatomy: Anatomy, ladders: Ladders) -> FoldedConversation:
    """Leave out all but system text, the last user message and the newest unit; examples only where they may go."""
    asked = last_user(anatomy.conversation.messages)
    kept = () if ladders.examples else ("examples",)
    gone = [i for unit in anatomy.units[:-1] for i in unit if i != asked and anatomy.component[unit.first] not in kept]
    total = anatomy.total - sum(anatomy.tokens[i] for i in gone)
    return FoldedConversation({}, dict.fromkeys(gone, "drop_oldest"), (), total, forced=True)


# ---------------------------------------------------------------- the plan in words


def _after(anatomy: Anatomy, folded: FoldedConversation, count: Count) -> dict[str, int]:
    out = anatomy.by_component()
    tokens, documents, component = anatomy.tokens, anatomy.document_tokens, anatomy.component
    for index in folded.dropped:
        out[component[index]] -= tokens[index] - documents[index]
        out["documents"] -= documents[index]
    for index, short in folded.shortened.items():
        if index not in folded.dropped:
            own = tokens[index] - documents[index]
            if short.tokens > tokens[index]:  # what is joined grows
                kept = short.tokens - documents[index]
            elif index in folded.documents:
                kept = short.tokens - folded.documents[index]
            else:  # what shrinks are the documents, as long as there are any
                kept = min(short.tokens, own)
            out[component[index]] += kept - own
            out["documents"] += short.tokens - kept - documents[index]
    out["history"] += sum(OVERHEAD_MESSAGE + count(line.text) for line in folded.lines)
    return out


def _edits(anatomy: Anatomy, folded: FoldedConversation) -> tuple[Edit, ...]:
    edits = [
        Edit(line.before, "artifacts", None, 0, line.tokens, _REASONS["artifacts"] if line.values else NOTED)
        if line.summary_of is None
        else Edit(line.before, SUMMARIZE, None, 0, line.tokens, _REASONS[SUMMARIZE])
        for line in folded.kept
    ]
    if folded.recalled is not None:
        line = folded.recalled
        edits.append(Edit(line.before, "recall", None, 0, line.tokens, _REASONS["recall"]))
    tokens, component, tool_of = anatomy.tokens, anatomy.component, anatomy.tool_of
    edits += [
        Edit(index, remedy, tool_of.get(index), tokens[index], 0, _gone(remedy, component[index]))
        for index, remedy in folded.dropped.items()
    ]
    edits += [_shortening(anatomy, folded, index) for index in folded.shortened if index not in folded.dropped]
    edits += [
        Edit(index, "reasoning", None, anatomy.tokens[index], anatomy.tokens[index], _REASONS["reasoning"])
        for index in folded.unreasoned - folded.dropped.keys()
    ]
    return tuple(sorted(edits, key=lambda edit: edit.at))  # what is put in before the message that it is put before


def _gone(remedy: str, component: str) -> str:
    if remedy == REPEATED:
        return "a later exchange says the same"
    return JOIN_REASON if remedy == JOIN else f"{component} was over; oldest first"


def _shortening(anatomy: Anatomy, folded: FoldedConversation, index: int) -> Edit:
    short, before, tool = folded.shortened[index], anatomy.tokens[index], anatomy.tool_of.get(index)
    newest = tool is not None and index >= anatomy.units[-1].first
    return Edit(index, short.remedy, tool, before, short.tokens, _NEWEST if newest else _REASONS[short.remedy])


_REASONS = {
    "minify": "white space of JSON carries nothing",
    "dedupe": "a later result says the same",
    "stub": "older results were over; oldest first",
    "crush": "the same values in fewer tokens",
    "extract": "documents were over; what bears on the question stays",
    "cut": "what people said was over its share; the oldest first",
    LOW: "old images were over; what was said goes after them",
    TRACED: "old images and files were over; what was said goes after them",
    JOIN: JOIN_REASON,
    "artifacts": "stands for what was left out",
    SUMMARIZE: "a model's summary of what was left out",
    "recall": "the question asks for what was left out",
    "reasoning": "it was given before what stands before it changed",
}
_NEWEST = "the newest results alone do not fit"


# ---------------------------------------------------------------- refusals


def _too_big(anatomy: Anatomy, before: SIZES, least: SIZES, budget: int) -> Refusal:
    """Name the component that does not fit; `least` is what each takes once every remedy was tried.

    The component with the fewest remedies takes its room first; of system text and tools the larger is named.
    """
    fixed = ("system", "tools") if least["tools"] >= least["system"] else ("tools", "system")
    component, room = "input", budget
    for component in (*fixed, "input", "documents", "examples", "history"):
        if least[component] > room:
            break
        room -= least[component]
    return Refusal(component, least[component], room, _largest(anatomy, component), anatomy.total, budget, before)


def _illegal(anatomy: Anatomy, before: SIZES, budget: int, index: int, message: str) -> Refusal:
    component = anatomy.component[index] if index < len(anatomy.component) else "history"
    return Refusal(
        component, before[component], budget, anatomy.conversation.place(index), anatomy.total, budget, before, message
    )


def _largest(anatomy: Anatomy, component: str) -> str:
    """Name the place of most of a component's tokens."""
    if component == "tools":
        return "tools"
    if component == "input":
        asked = last_user(anatomy.conversation.messages)
        own = [*(anatomy.units[-1] if anatomy.units else ()), *([asked] if asked is not None else [])]
    else:
        own = [i for i, name in enumerate(anatomy.component) if name == component]
        own += [i for i, tokens in enumerate(anatomy.document_tokens) if tokens and component == "documents"]
    at = max(own, key=lambda i: anatomy.tokens[i], default=None)
    return component if at is None else anatomy.conversation.place(at)
