"""The fold of a prefix: messages that are shortened, messages that are left out, and their stand-ins.

1. Old results are shortened without loss, all at once; where that leaves room enough, nothing else happens.
2. Else what is old goes, deep, in the order of its worth: results and calls, then assistants' prose, then what people
   said, beyond its share of the room. The task, later rules, few-shot pairs, the last exchange and people's words stay.
   The newest units stay whole in what is left of `target`. Messages that go leave a note and a list (`lists.py`), which
   is never written again: the next fold puts its own behind it. Only lists that have grown beyond their share are
   replaced by one that is written from the originals.
3. The claims give way, the least first, if all of that is not enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile

from gateway.budget.allocation import allocate
from gateway.budget.components import Count
from gateway.conversation import PartEdits, with_parts
from gateway.rewriting import media, speech
from gateway.rewriting.documents import extract, recognition
from gateway.rewriting.folds.due import is_due, is_soon, unfolded_limit
from gateway.rewriting.folds.lists import LIST_SHARE, SMALL_ROOM, Lists
from gateway.rewriting.folds.state import Prefix
from gateway.rewriting.folds.summaries import FoldSummaries
from gateway.rewriting.folds.voiced import Part
from gateway.rewriting.ladder import REPEATED, Ladders, Results, Shortened
from gateway.rewriting.memory import Known
from gateway.rewriting.results.crush import NOTHING_WANTED

SHOTS = 0.1
"""Of the room: most that few-shot pairs take."""
PASTE_SLACK = 1.25
"""A paste in the task is cut where it takes so many times what it may."""
SMALL_TARGET = 0.8
"""In a small room, how much of `target` a fold with a list leaves standing: the list says what few whole units would,
and the next step takes a large part of the rest.
"""
GREETING = 64
"""Most tokens of what the model said before anybody spoke: it stays, for all behind it would be bought again."""
_HALVINGS = 5


class Cutting:
    """The folds of one prefix. Numbers are units unless they are called messages."""

    def __init__(self, prefix: Prefix, ladders: Ladders, count: Count, known: Known) -> None:
        self.prefix, self.ladders, self.count, self.known = prefix, ladders, count, known
        self.rules, self.anatomy, self.messages = prefix.rules, prefix.anatomy, prefix.messages
        self.results = Results(prefix.anatomy, count, known)
        self.lists = Lists(prefix, count, known)
        self.summaries = FoldSummaries(prefix, count)
        self.twins: dict[str, list[int]] = {}
        self.repeats: dict[tuple[str, str], list[int]] = {}
        """Results by the tool and the arguments of their call."""
        self.twins_upto = 0

    # ------------------------------------------------------------ the fold

    def fold(self, budget: int, *, early: bool = False) -> None:
        """Make the prefix fit, and leave it room to grow where that can be had."""
        prefix, state = self.prefix, self.prefix.state
        soon, most, due = is_soon(prefix), min(prefix.least, budget), is_due(prefix)
        state.folded_at, state.folded_with_documents = state.original, state.has_documents
        state.unreasoned_upto = prefix.upto
        self.summaries.begin(wanted=early or budget == self.rules.budget)
        self._fold_examples_and_documents(budget)
        enough = unfolded_limit(prefix, budget) - prefix.clear - int(self.rules.recall * prefix.room)
        if prefix.least > enough and self.ladders.documents:  # what they borrowed goes before history
            room = max(0, self.rules.documents - prefix.newest_documents)
            self._cut_old_documents(room, but=frozenset(self._units("task", set())))
        if prefix.least > enough or due:
            self._shorten_without_loss(enough)
        if prefix.least > enough or due:
            self._leave_out_repeats()
        if prefix.least > enough:
            self._age_media(enough)
        if prefix.least > enough:
            self._stub(budget)
        if self.ladders.history and (prefix.least > enough or self._above_ceiling()):
            self.summaries.decide()
            self._leave_out(budget)
        state.forced = soon or prefix.least > most - prefix.clear
        if self._over(budget) > 0:
            state.forced = True
            self._force(budget)

    def _shorten_without_loss(self, enough: int) -> None:
        """Shorten old results without loss; what keeps turns yields first, then what keeps results."""
        state = self.prefix.state
        for spared in self._spared():
            for number in state.with_results:
                if number not in spared and number not in state.gone:
                    for remedy in self.ladders.light:
                        self._shorten(number, remedy, "history")
                    state.settled.update(self.anatomy.units[number])
            if self.prefix.least <= enough:
                return

    def _leave_out_repeats(self) -> None:
        """Leave out an exchange without tools that a later one repeats word for word: nothing of it is gone."""
        prefix, state, parts = self.prefix, self.prefix.state, self.prefix.voiced.parts
        if "dedupe" not in self.ladders.light or not self.ladders.history:
            return
        spared = prefix.hard() | set(prefix.exchange())
        later: set[tuple[str | None, str | None]] = set()
        for answer in range(len(state.now) - 1, 0, -1):
            asked = answer - 1
            if parts[answer] != "answer" or parts[asked] != "said" or {asked, answer} & state.gone.keys():
                continue
            said = self._as_it_came(asked), self._as_it_came(answer)
            if None in said:
                continue
            if said in later and not {asked, answer} & spared:
                self._drop(asked, REPEATED)
                self._drop(answer, REPEATED)
            later.add(said)

    def _as_it_came(self, number: int) -> str | None:
        """Return the text of a unit that is nothing but text, and is not shortened."""
        unit = self.anatomy.units[number]
        message = self.messages[unit.first]
        is_text = unit.after == unit.first + 1 and message.is_plain and not message.media
        return message.text if is_text and unit.first not in self.prefix.state.shortened else None

    def _age_media(self, enough: int) -> None:
        """Lower the detail of old images; where that is not enough, leave a trace of each image, audio and file."""
        prefix, state = self.prefix, self.prefix.state
        spared = prefix.hard() | set(prefix.exchange())
        old = [n for n in range(len(state.now)) if n not in spared and n not in state.gone]
        holders = [(n, index) for n in old for index in self.anatomy.units[n] if self.messages[index].media]
        before = dict(enumerate(media.numbers(self.messages))) if holders else {}
        for remedy in (media.LOW, media.TRACED):
            for number, index in holders:
                message, stands = self.messages[index], state.shortened.get(index)
                if stands is not None and stands.remedy not in (media.LOW, remedy):
                    continue
                edits = (
                    media.low(message, self.anatomy.count_media)
                    if remedy == media.LOW
                    else media.traced(message, before[index])
                )
                short = media.shortened(self.anatomy, index, remedy, edits, self.count, self.anatomy.count_media)
                if short is not None and short.tokens < prefix.message_tokens(index):
                    self._now_says(number, index, short)
            if prefix.least <= enough:
                return

    def _stub(self, budget: int) -> None:
        """Shorten old results with loss, the oldest first, down to the goal."""
        state = self.prefix.state
        for spared in self._spared():
            for remedy in self.ladders.heavy:
                for number in state.with_results:
                    if self.prefix.least <= self._goal(budget):
                        return
                    if number not in spared and number not in state.gone:
                        self._shorten(number, remedy, "history")

    def _goal(self, budget: int) -> int:
        """Choose the total to come down to: `target` of the room for history, and less where input leaves less."""
        prefix = self.prefix
        fixed = prefix.fixed + prefix.state.examples_tokens + prefix.input
        left = budget - fixed
        history = min(int(self.rules.target * prefix.room), max(left - prefix.clear, int(left * self.rules.target)))
        return fixed + max(0, history)

    def _spared(self) -> Iterator[set[int]]:
        """Yield what stays untouched in each attempt."""
        prefix, state = self.prefix, self.prefix.state
        hard = prefix.hard()
        results = set(state.with_results[-self.rules.keep_tool_results :] if self.rules.keep_tool_results else ())
        followed = 0
        for number in range(prefix.last, -1, -1):
            if followed >= min(self.rules.protect, int(self.rules.target * prefix.room)):
                break
            followed += state.now[number]
            results.add(number)
        if self.rules.keep_turns and state.turns:
            first = state.turns[-self.rules.keep_turns :][0]
            yield hard | results | set(range(first, len(state.now)))
        yield hard | results
        yield hard

    # ------------------------------------------------------------ leaving out

    def _leave_out(self, budget: int) -> None:
        """Leave out what is old: people's words beyond their share, pastes in the task, and all beyond the tail."""
        prefix, state = self.prefix, self.prefix.state
        hard = prefix.hard()
        base = max(0, prefix.room - prefix.input)
        says_less = base < SMALL_ROOM and self._lists_wanted()
        most = int(self.rules.target * base * (SMALL_TARGET if says_less else 1.0))
        if self.rules.ceilings is not None:
            most = min(most, int(self.rules.ceilings["history"] * (self.rules.target or 1.0)))
            base = min(base, self.rules.ceilings["history"])
        firm = self._firm(hard)
        exchange = set(prefix.exchange()) - hard - firm
        said = self._units("said", hard | firm)
        if not self.rules.binds_reasoning or prefix.tokens_of({*firm, *said, *exchange}) <= most:
            firm |= exchange  # else the steps that come have too little room, and no fold may be made between them
        held = prefix.tokens_of(firm)
        said = [n for n in said if n not in firm]
        paid = self._paid_otherwise(firm | set(said))
        share = self._room_for_words(firm | set(said), base) - held - sum(paid.get(n, 0) for n in said)
        share = max(0, min(int(self.rules.user_text * prefix.whole_room), share))
        fresh = self._cut_what_was_said(said, share, paid)
        greeting = self._greeting() - firm
        held += sum(state.now[n] for n in (*said, *greeting))
        rest = [n for n in range(len(state.now)) if self._bends(n, hard | firm | greeting)]
        wanted = sum(state.now[n] for n in rest)
        lists = max(0, min(self.lists.share(), most - held, int(LIST_SHARE * wanted)))
        left = most - held - lists - self.summaries.tokens()
        left += self._cut_the_task(hard, left, wanted, paid)
        tail = 0
        for number in reversed(rest):
            if tail < len(rest) and state.now[number] <= left:
                left -= state.now[number]
                tail += 1
            else:
                tail = len(rest)
                self._drop(number, "drop_oldest")
                fresh.append(number)
        self._say_what_went(sorted(fresh), budget, max(0, left))

    def _room_for_words(self, numbers: set[int], base: int) -> int:
        """Return the tokens for what people said: documents among their words are paid for by what is set aside for
        documents, and so is input as far as documents leave that unused. Nothing more is left free than a fold frees.
        """
        prefix = self.prefix
        if not prefix.state.has_documents or self.rules.ceilings is not None:
            return base - prefix.clear
        held, aside = sum(self._documents_among(numbers).values()), self.rules.documents
        unused = max(0, aside - prefix.old_documents() - prefix.newest_documents)
        room = max(0, prefix.room - max(0, prefix.input - unused))
        return room + min(held, aside) - prefix.clear

    def _paid_otherwise(self, numbers: set[int]) -> Mapping[int, int]:
        """Tell by unit the documents among people's words that what is set aside for documents pays for as a whole."""
        found = {} if self.rules.ceilings is not None else self._documents_among(numbers)
        return found if sum(found.values()) <= self.rules.documents else {}

    def _documents_among(self, numbers: set[int]) -> dict[int, int]:
        documents, units = self.prefix.state.documents, self.anatomy.units
        return {n: tokens for n in numbers if (tokens := documents.get(units[n].first, 0))}

    def _firm(self, hard: set[int]) -> set[int]:
        """List the units that stay before all others: the task, what was said last, later rules, and few-shot pairs as
        far as they may.
        """
        state = self.prefix.state
        units = {*self._units("task", hard), *self.prefix.last_words(), *self._units("rule", hard)} - hard
        room = int(SHOTS * self.prefix.whole_room)
        shots = self._units("shot", hard)
        for first in range(0, len(shots) - 1, 2):
            room -= state.now[shots[first]] + state.now[shots[first + 1]]
            if room < 0:
                break
            units.update(shots[first : first + 2])
        return units

    def _greeting(self) -> set[int]:
        """List the units in which the model spoke first, where that is short."""
        state, parts = self.prefix.state, self.prefix.voiced.parts
        opening = list(takewhile(lambda n: parts[n] == "answer", range(len(state.now))))
        standing = {n for n in opening if n not in state.gone and n not in self.prefix.hard()}
        is_short = sum(state.now[n] for n in standing) <= GREETING
        return standing if is_short and len(opening) < len(state.now) else set()

    def _units(self, part: Part, but: set[int]) -> list[int]:
        """List the units that are such a part and stand, in order."""
        return [n for n in range(len(self.prefix.state.now)) if self._is_free(n, part, but)]

    def _is_free(self, number: int, part: Part, but: set[int]) -> bool:
        return self.prefix.voiced.parts[number] == part and number not in but and number not in self.prefix.state.gone

    def _bends(self, number: int, but: set[int]) -> bool:
        """Tell whether a unit may be left out before anything that people said."""
        part = self.prefix.voiced.parts[number]
        return part not in ("example", "said") and number not in but and number not in self.prefix.state.gone

    def _cut_what_was_said(self, said: Sequence[int], share: int, paid: Mapping[int, int]) -> list[int]:
        """Bring what people said down to its share where it is over: the oldest go first, whole messages stay while
        they fit, then whole sentences from the start of each. `paid`: tokens of a unit that are not taken from the
        share. Return the units that are left out.
        """
        state = self.prefix.state
        words = {n: state.now[n] - paid.get(n, 0) for n in said}
        if sum(words.values()) <= share:
            return []
        left = max(0, share - self.prefix.clear)
        short: list[int] = []
        for number in reversed(said):
            if words[number] <= left:
                left -= words[number]
            else:
                short.append(number)
        gone: list[int] = []
        for number in short:
            if number in paid and (beside := self._cut_beside_documents(number, left, paid[number])) is not None:
                left = max(0, left - beside)
                continue
            left -= max(0, self._cut(number, left + paid.get(number, 0)) - paid.get(number, 0))
            if number in state.gone:
                gone.append(number)
        return gone

    def _cut(self, number: int, room: int) -> int:
        """Cut what a person said to a room, or leave it out; return the tokens that it takes now."""
        state, index = self.prefix.state, self.anatomy.units[number].first
        short = self._shorter_words(index, room)
        if short is None:
            self._drop(number, "drop_oldest")
            return 0
        if short.tokens < self.prefix.message_tokens(index):
            self._now_says(number, index, short)
        return state.now[number]

    def _shorter_words(self, index: int, room: int) -> Shortened | None:
        """Cut a message to so many tokens by its sentences and passages, images and files in it to a trace; None where
        nothing whole fits.
        """
        message = self.messages[index]
        if message.content not in ("text", "parts"):
            return None
        traces: PartEdits = ()
        if message.media:
            before = next(islice(media.numbers(self.messages), index, None))
            traces = media.traced(message, before)
            message = with_parts(message, traces)
        overhead = self.anatomy.tokens[index] - self.count(self.messages[index].text)
        overhead -= sum(map(self.anatomy.count_media, self.messages[index].media))
        text = speech.cut_speech(message.text, room - overhead, self.count, self._asked()) if room > overhead else None
        return None if text is None else Shortened("cut", text, overhead + self.count(text))

    def _cut_beside_documents(self, number: int, room: int, paid: int) -> int | None:
        """Cut the words before and behind the documents of a message, which take `paid` tokens, to a room, once; return
        the tokens of the words. None where they cannot be told from the documents.
        """
        state, index = self.prefix.state, self.anatomy.units[number].first
        message, stands = self.messages[index], self.prefix.message_tokens(index)
        if index in state.shortened:
            return stands - paid
        spans = recognition.known(message.text, self.prefix.voiced.tags, self.known.found) if message.is_plain else []
        if not spans:
            return None
        first, last = spans[0].start, spans[-1].end
        said = []
        for words in (message.text[:first], message.text[last:]):
            fits = speech.cut_speech(words, room, self.count, self._asked()) if words.strip() else words
            said.append(f"{speech.GAP}\n" if fits is None else fits)
            room -= self.count(said[-1])
        text = f"{said[0]}{message.text[first:last]}{said[1]}"
        short = Shortened("cut", text, self.anatomy.tokens[index] - self.count(message.text) + self.count(text))
        if short.tokens >= stands:
            return stands - paid
        self._now_says(number, index, short)
        state.documents[index] = min(paid, short.tokens)
        return short.tokens - state.documents[index]

    def _asked(self) -> list[str]:
        """Return what people said last: what a paste is read for."""
        turns = self.prefix.state.turns
        return [self.messages[self.anatomy.units[number].first].text for number in turns[-1:]]

    def _cut_the_task(self, hard: set[int], left: int, wanted: int, paid: Mapping[int, int]) -> int:
        """Cut pastes and demonstrations in the task where the newest units have too little beside it; return the
        tokens that this frees. The words of the task itself stay, and so do documents that are paid otherwise.
        """
        state = self.prefix.state
        task = [n for n in self._units("task", hard | set(self.prefix.last_words())) if n not in paid]
        tokens = sum(state.now[n] for n in task)
        most = left + tokens - min(wanted, max(0, (left + tokens) // 2))
        if tokens <= PASTE_SLACK * most:
            return 0
        before = tokens
        for number in task:
            if tokens <= most:
                break
            index = self.anatomy.units[number].first
            message = self.messages[index]
            if not message.is_plain or not message.text:
                continue
            own = self.count(message.text)
            pieces = speech.speech_parts(message.text, own)
            words = sum(self.count(piece.text) for piece in pieces if not piece.is_paste)
            overhead = self.anatomy.tokens[index] - own
            room = max(words + speech.PASTE_TOKENS, state.now[number] - overhead - (tokens - most))
            if room >= state.now[number] - overhead or all(not piece.is_paste for piece in pieces):
                continue
            text = speech.cut_speech(message.text, room, self.count, self._asked())
            short = None if text is None else Shortened("cut", text, overhead + self.count(text))
            if short is not None and short.tokens < state.now[number]:
                tokens -= state.now[number] - short.tokens
                self._now_says(number, index, short)
        return before - tokens

    def _say_what_went(self, numbers: Sequence[int], budget: int, spare: int) -> None:
        """Put a note and a list where units were left out; where room is short, one for all that is gone. `spare` are
        tokens of the target that no whole unit fits.
        """
        fresh = [index for number in numbers for index in self.anatomy.units[number]]
        if not fresh:
            return
        all_gone, tokens = self.prefix.missed(), sum(self.anatomy.tokens[index] for index in fresh)
        share, least = self.lists.share() + spare, self.lists.least(tokens)
        self.summaries.enter(max(fresh) + 1, all_gone, lambda: int(self._free(budget) - self.prefix.clear - least))
        standing = self.prefix.state.summaries.tokens + self.lists.tokens()
        room = min(int(LIST_SHARE * tokens), share - standing, self._free(budget) - self.prefix.clear)
        if room < least:
            self.lists.take_back()
            fresh, room = all_gone, min(share, int(0.7 * self._free(budget)))
        self.lists.write(fresh, room, with_list=self._lists_wanted())

    def _lists_wanted(self) -> bool:
        asking = self.rules.asking
        return bool(self.rules.artifacts) and (asking is None or asking.lists)

    def _free(self, budget: int) -> int:
        free = budget - self.prefix.least
        if self.rules.ceilings is not None:
            free = min(free, self.rules.ceilings["history"] - self.prefix.demand()["history"])
        return free

    def _over(self, budget: int) -> int:
        """Return the tokens that the prefix, or under `strict` its history, takes beyond what it may."""
        return -self._free(budget)

    def _above_ceiling(self) -> bool:
        return self.rules.ceilings is not None and self.prefix.demand()["history"] > self.rules.ceilings["history"]

    # ------------------------------------------------------------ where that is not enough

    def _force(self, budget: int) -> None:
        """Make room where a fold did not: the claims give way, the least first; then examples; then our own lines."""
        if self.ladders.history:
            self._give_way(budget)
            self._write_one_list(budget)
        elif "crush" in self.ladders.tool_results:
            self._crush_with_loss(budget)
        self._drop_examples(0, budget)
        if self._over(budget) > 0 and not self._newest_bends(budget):
            self.lists.take_back()
        if self._over(budget) > 0:
            self.summaries.take_back()

    def _give_way(self, budget: int) -> None:
        """Let the claims give way, the least first: lists, the tail, what was said, few-shot pairs, rules, the last
        exchange, the task.
        """
        prefix, state = self.prefix, self.prefix.state
        self.lists.take_back()
        hard = prefix.hard()
        exchange = set(prefix.exchange()) - hard
        firm = exchange | self._firm(hard)
        self._drop_while_over([n for n in range(len(state.now)) if self._bends(n, hard | firm)], budget)
        last = self.prefix.last_words()
        self._cut_down(self._units("said", hard | exchange | set(last)), budget)
        for part in ("shot", "rule"):
            self._drop_while_over(self._units(part, hard), budget)
        self._drop_while_over(sorted(exchange, reverse=True), budget)
        self._cut_down(self._units("task", hard | set(last)), budget)
        if prefix.fixed + prefix.tokens_of(hard) <= budget:  # else the newest results are what is cut
            self._cut_down(last, budget)

    def _drop_while_over(self, numbers: Sequence[int], budget: int) -> None:
        for number in numbers:
            if self._over(budget) <= 0:
                return
            self._drop(number, "drop_oldest")

    def _cut_down(self, numbers: Sequence[int], budget: int) -> None:
        """Cut what people said, the oldest first, until the prefix fits."""
        for number in numbers:
            over = self._over(budget)
            if over <= 0:
                return
            self._cut(number, self.prefix.state.now[number] - over)

    def _newest_bends(self, budget: int) -> bool:
        """Tell whether the newest results will be shortened for this prefix (newest.py): a list can be had as well."""
        prefix, last = self.prefix, self.prefix.last
        ends_with_results = last in prefix.state.with_results or (last > 0 and prefix.is_unanswered(last - 1))
        return prefix.newest_bend and ends_with_results and prefix.fixed + prefix.tokens_of(prefix.hard()) > budget

    def _write_one_list(self, budget: int) -> None:
        """Write one list for all that is gone, as large as there is room."""
        all_gone = self.prefix.missed()
        if all_gone:
            share = self.lists.share()
            room = min(share, self._free(budget))
            room = max(room, share // 2) if self._newest_bends(budget) else room
            self.summaries.ask(all_gone)
            self.lists.write(all_gone, room, with_list=self._lists_wanted())

    def _crush_with_loss(self, budget: int) -> None:
        """Halve old results, the oldest first, as often as it takes, if nothing may be left out."""
        state, hard = self.prefix.state, self.prefix.hard()
        for _ in range(_HALVINGS):
            for number in state.with_results:
                for index in self.prefix.voiced.results_of(number):
                    if self._over(budget) <= 0:
                        return
                    if number in hard or self._is_pointed_at(index) or self.anatomy.tokens[index] > self.rules.effort:
                        continue
                    half = self.prefix.message_tokens(index) // 2
                    short = self.results.crushed_to(index, half, NOTHING_WANTED)
                    if short is not None and self._is_shorter(index, short):
                        self._now_says(number, index, short)

    def _is_shorter(self, index: int, short: Shortened) -> bool:
        """Tell whether a result would say less than it does, in tokens and characters; a stub is the least there is."""
        said = self.prefix.state.shortened.get(index)
        if said is not None and (said.remedy == "stub" or len(short.text) >= len(said.text)):
            return False
        return short.tokens < self.prefix.message_tokens(index)

    # ------------------------------------------------------------ examples and documents

    def _fold_examples_and_documents(self, budget: int) -> None:
        state, prefix = self.prefix.state, self.prefix
        if not state.examples and not prefix.old_documents():
            return
        demand = prefix.demand()
        limit = allocate(budget, demand, self.rules.shares, self.rules.borrow, self.ladders.with_remedy)
        if self.rules.ceilings is not None:
            limit = {name: min(room, self.rules.ceilings[name]) for name, room in limit.items()}
        if self.ladders.documents and demand["documents"] > limit["documents"]:
            self._cut_old_documents(max(0, limit["documents"] - prefix.newest_documents))
        if demand["examples"] > limit["examples"]:
            self._drop_examples(limit["examples"], budget)

    def _cut_old_documents(self, room: int, but: frozenset[int] = frozenset()) -> None:
        """Cut the documents of old messages, `but` those of some units: near-duplicates first, then the oldest, to a
        share of their room that leaves them some time to grow.
        """
        prefix, state, hard = self.prefix, self.prefix.state, self.prefix.hard() | but
        for number in state.with_results:
            if number not in hard and number not in state.gone:
                for remedy in self.ladders.documents:
                    self._shorten(number, remedy, "documents")
        if prefix.old_documents() <= room or "extract" not in self.ladders.documents:
            return
        goal = int(self.rules.target * room)
        for number, index in self._holders(hard):
            over = prefix.old_documents() - goal
            if over <= 0:
                return
            self._cut_documents_of(number, index, over)

    def _holders(self, hard: set[int]) -> list[tuple[int, int]]:
        """List the units and messages that hold old documents, the oldest first."""
        state, component = self.prefix.state, self.anatomy.component
        out = []
        for number, unit in enumerate(self.anatomy.units[: len(state.now)]):
            if number in hard or number in state.gone:
                continue
            out += [
                (number, index)
                for index in range(unit.first, unit.after)
                if state.documents.get(index) or (component[index] == "documents" and index > unit.first)
            ]
        return out

    def _cut_documents_of(self, number: int, index: int, over: int) -> None:
        """Cut the documents of one message by so many tokens, to what bears on the words they came with."""
        message = self.messages[index]
        if not message.is_plain or self.anatomy.tokens[index] > self.rules.effort:
            return
        result = self.prefix.voiced.voices[index] == "result"
        spans = recognition.known(message.text, self.prefix.voiced.tags, self.known.found, asks=not result)
        if not spans:
            return
        before = self.prefix.message_tokens(index)
        overhead = self.anatomy.tokens[index] - self.count(message.text)
        question = self._question_before(number) if result else recognition.question(message.text, spans)
        room = max(0, before - overhead - over)
        text = extract.shrink(message.text, spans, question, room, self.count, memory=self.known.extracted)
        short = Shortened("extract", text, overhead + self.count(text))
        if short.tokens < before:
            self._now_says(number, index, short)

    def _question_before(self, number: int) -> str:
        turn = next((n for n in reversed(self.prefix.state.turns) if n < number), None)
        return "" if turn is None else self.messages[self.anatomy.units[turn].first].text

    def _drop_examples(self, room: int, budget: int) -> None:
        """Leave out the oldest pairs until the examples take no more than their room; to the last only where over."""
        state = self.prefix.state
        if not self.ladders.examples:
            return
        for pair in self._pairs():
            if state.examples_tokens <= room or (room == 0 and self.prefix.least <= budget):
                return
            for number in pair:
                self._drop(number, "drop_oldest")
        state.examples = [n for n in state.examples if n not in state.gone]

    def _pairs(self) -> list[list[int]]:
        """Group examples in pairs: a question, and what follows it up to the next question."""
        out: list[list[int]] = []
        for number in self.prefix.state.examples:
            message = self.messages[self.anatomy.units[number].first]
            asks = message.role == "user" or (message.name or "").endswith("user")
            if number in self.prefix.state.gone:
                continue
            if asks or not out:
                out.append([])
            out[-1].append(number)
        return out

    # ------------------------------------------------------------ single messages

    def _shorten(self, number: int, remedy: str, component: str) -> None:
        state = self.prefix.state
        for index in self.prefix.voiced.results_of(number):
            if (self.anatomy.component[index] == "documents") != (component == "documents"):
                continue
            if index in state.settled and remedy != "stub":
                continue
            if remedy in ("stub", "crush") and self._is_pointed_at(index):
                continue
            if remedy == "crush" and self.anatomy.tokens[index] > self.rules.effort:
                continue
            newer = self._twin(number, index) if remedy == "dedupe" else None
            short = self.results.shorten(remedy, index, newer)
            before = self.prefix.message_tokens(index)
            if short is None or (short.tokens >= before and remedy != "stub"):
                continue
            if newer is not None:
                state.pointers[newer] = (*state.pointers.get(newer, ()), index)
            self._now_says(number, index, short)

    def _now_says(self, number: int, index: int, short: Shortened) -> None:
        state = self.prefix.state
        change = short.tokens - self.prefix.message_tokens(index)
        if index in state.documents:  # they are what shrinks, as long as there are any
            words = self.anatomy.tokens[index] - self.prefix.voiced.documents[index]
            state.documents[index] = max(0, min(state.documents[index], short.tokens - words))
        state.shortened[index] = short
        state.now[number] += change
        state.total += change

    def _is_pointed_at(self, index: int) -> bool:
        """Tell whether a pointer to this result still stands: documents keep theirs, having no heavier remedy."""
        state = self.prefix.state
        return any(
            older not in state.gone_messages and state.shortened[older].remedy == "dedupe"
            for older in state.pointers.get(index, ())
        )

    def _drop(self, number: int, remedy: str) -> None:
        state, unit = self.prefix.state, self.anatomy.units[number]
        state.gone[number] = remedy
        state.total -= state.now[number]
        if self.prefix.is_example(number):
            state.examples_tokens -= state.now[number]
        elif remedy != REPEATED:
            state.unread = (*state.unread, *unit)
        state.now[number] = 0
        for index in unit:
            state.gone_messages[index] = remedy
            state.documents.pop(index, None)

    def _twin(self, number: int, index: int) -> int | None:
        """Find the newest later result in the prefix that says the same, or answers the same call, as it came.

        None also for a result that an older one points to: it stays, or the pointer would lead to a pointer.
        """
        state, units = self.prefix.state, self.anatomy.units
        if index in state.pointers:
            return None
        while self.twins_upto < len(state.now):
            for result in self.prefix.voiced.results_of(self.twins_upto):
                self.twins.setdefault(self.results.minified(result), []).append(result)
                self.repeats.setdefault(self._asked_by(units[self.twins_upto].first, result), []).append(result)
            self.twins_upto += 1
        newest = self.twins[self.results.minified(index)][-1]
        if newest > index:
            return newest if self._stands(newest, ("minify", "crush")) else None
        newest = self.repeats[self._asked_by(units[number].first, index)][-1]
        return newest if newest > index and self._stands(newest, ()) else None

    def _stands(self, index: int, remedies: Sequence[str]) -> bool:
        state = self.prefix.state
        short = state.shortened.get(index)
        return index not in state.gone_messages and (short is None or short.remedy in remedies)

    def _asked_by(self, first: int, index: int) -> tuple[str, str]:
        call_id = self.messages[index].call_id
        arguments = next((call.arguments for call in self.messages[first].calls if call.id == call_id), call_id)
        return self.anatomy.tool_of.get(index, ""), f"messages[{index}]" if arguments is None else arguments
