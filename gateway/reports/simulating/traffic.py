"""Traffic from files of JSON lines: each request that was made, which conversation it is a turn of, and its answer.

Three forms of line are read, `.gz` too, and folders of such files:

- a **request**: the body of a chat completion. One whose messages begin with all those of an earlier one, and go on, is
  the next turn of its conversation; conversations may be interleaved. System text at the beginning may change.
- a **conversation**: `messages` that run to the end, `tools` beside them. All that stands before an assistant message
  was a request, and the message its answer; so was the whole, where `next_action` is its answer or nobody answered
  before. A line is a conversation when its messages end in an assistant message, or when it has one of the keys `id`,
  `source` and `next_action`, which no request has.
- **content** as the ledger keeps it: `{"event": "content", "ts": …, "request": {…}}`. Only this one carries a time.

A line that cannot be used is told with its place and what would be right; the others are used all the same.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gateway.config.problems import Problem, closest
from gateway.conversation import Message, leading_system
from gateway.money.ledger import content_files, files
from gateway.wire.errors import GatewayError
from gateway.wire.lexical import DuplicateKey, NotJSON
from gateway.wire.memo import Memo
from gateway.wire.recorded import RecordedLine, RecordedRequest
from gateway.wire.shape import OWN

Form = Literal["requests", "conversations"]

_OF_CONVERSATIONS = ("id", "source", "next_action")
_UNPLACED = -1
"""As the number of a turn: its conversation is not known yet."""
_BOOKS = ("opened", "settled")
_NO_CONTENT = (
    "this ledger holds no content to simulate on; set `ledger: {content: requests}`, serve some traffic,"
    " and name its folder"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation."""

    file: Path
    line: int
    conversation: str
    number: int
    """Of the turn in its conversation, from 0."""
    at: float | None
    """Unix seconds, where somebody noted them."""
    answer: Message | None
    """Its answer, if a later turn or the line itself shows it."""
    model: str
    _recorded: RecordedRequest = field(repr=False)

    @property
    def body(self) -> bytes:
        """The request as it was sent, or as it must have been."""
        return self._recorded.body


@dataclass(frozen=True, slots=True)
class Traffic:
    """All turns, in the order in which they were sent, and what could not be used."""

    turns: tuple[Turn, ...]
    problems: tuple[Problem, ...]


class _Unusable(ValueError):
    """A line that is not traffic; the message says what is wrong and what would be right."""


def read_traffic(path: Path, form: Form | None = None, model: str | None = None, team: str | None = None) -> Traffic:
    """Read a file or a folder; `form` overrules what its lines look like.

    `model` is for lines that name none. With `team`, only what the ledger kept of that team is read.
    """
    reader = _Reader(form, model, team)
    found = _files(path)
    for file in found:
        reader.read(file)
    if not found:
        reader.problems.append(
            Problem(path, None, (), "holds no *.jsonl or *.jsonl.gz; one JSON object a line is read")
        )
    elif not reader.turns and not reader.problems:
        reader.problems.append(_nothing_in(path, team, reader.teams))
    turns = reader.turns
    if all(turn.at is not None for turn in turns):
        turns = sorted(turns, key=lambda turn: turn.at or 0.0)
    return Traffic(tuple(_in_conversations(turns, reader.memo)), tuple(reader.problems))


def _nothing_in(path: Path, team: str | None, teams: Collection[str]) -> Problem:
    """Say why files that can be read gave no request."""
    if team is None:
        return Problem(path, None, (), "holds no request; one JSON object a line is read")
    there = f"there is {', '.join(sorted(teams))}" if teams else "none of its requests has a team"
    return Problem(path, None, (), f"keeps no request of team {team!r}; {there}", closest(team, teams))


def _in_conversations(turns: Sequence[Turn], memo: Memo) -> list[Turn]:
    """Give the requests that came one by one their place in a conversation, and the answers that later ones show."""
    out: list[Turn] = []
    waiting = _OpenConversations()
    for turn in turns:
        placed = turn
        if turn.number == _UNPLACED:
            found = waiting.place(len(out), OWN.read(turn.body, memo).conversation.messages)
            placed = replace(turn, number=0)
            if found is not None:
                before = out[found.index]
                out[found.index] = replace(before, answer=found.answer)
                placed = replace(turn, conversation=before.conversation, number=before.number + 1)
        out.append(placed)
    return out


def _files(path: Path) -> list[Path]:
    """Return the files to read: of a ledger that keeps content, only those with content."""
    if not path.is_dir():
        return [path]
    kept = content_files(path)
    books = set(files(path)) if kept else set()
    return [file for file in sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")]) if file not in books]


class _Reader:
    def __init__(self, form: Form | None, model: str | None, team: str | None) -> None:
        self.turns: list[Turn] = []
        self.problems: list[Problem] = []
        self._form, self._model, self._team = form, model, team
        self._names: set[str] = set()
        self.teams: set[str] = set()
        """The owners of the requests that a ledger keeps."""
        self.memo = Memo()

    def read(self, file: Path) -> None:
        number = 0
        try:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip() and not self._line(file, number, line.strip()):
                        return
        except (OSError, EOFError, zlib.error) as error:
            told = "is not a whole .gz file" if file.suffix == ".gz" and not _is_gone(error) else "cannot be read"
            reason = getattr(error, "strerror", None) or error
            self.problems.append(Problem(file, number + 1 if number else None, (), f"{told}: {reason}"))

    def _line(self, file: Path, number: int, line: bytes) -> bool:
        """Read one line; return whether the file may hold more."""
        try:
            self._sort(_Place(file, number, f"{file.name}:{number}"), RecordedLine.read(line))
        except _Books:
            if not any(problem.message == _NO_CONTENT for problem in self.problems):
                self._refuse(file, number, _NO_CONTENT)
            return False
        except UnicodeDecodeError as error:
            self._refuse(file, number, f"is not UTF-8 (byte {error.start}); write the file as UTF-8")
        except NotJSON as error:
            self._refuse(file, number, f"is not a JSON object: {error}; each line must be a whole one")
        except DuplicateKey as error:
            self._refuse(file, number, f"names the key {error.key!r} twice; leave one out")
        except GatewayError as error:
            self._refuse(file, number, error.message)
        except _Unusable as error:
            self._refuse(file, number, str(error))
        return True

    def _refuse(self, file: Path, number: int, told: str) -> None:
        self.problems.append(Problem(file, number, (), told))

    def _sort(self, place: _Place, line: RecordedLine) -> None:
        """Take a line for what it is."""
        if "request" in line and "messages" not in line:
            told = {key: line.value(key) for key in ("id", "ts", "team") if key in line}
            if isinstance(of_team := told.get("team"), str):
                self.teams.add(of_team)
            if self._team is None or of_team == self._team:
                name = told["id"] if isinstance(told.get("id"), str) else place.name
                at = _moment(told.get("ts"))
                self._request(replace(place, name=name), line.within("request"), at)
            return
        if "messages" not in line:
            if "event" in line and line.value("event") in _BOOKS:
                raise _Books
            raise _Unusable('has no "messages"; a line is the body of a chat completion, or a conversation')
        if self._team is not None:
            raise _Unusable("says nothing of teams; leave --team out, or name a ledger that keeps content")
        form = self._form or ("conversations" if _is_conversation(line) else "requests")
        if form == "requests":
            self._request(place, line, None)
        else:
            self._conversation(place, line)

    def _request(self, place: _Place, line: RecordedLine, at: float | None) -> None:
        recorded = line.request(None if "model" in line else self._model_or_refuse())
        turn = Turn(place.file, place.line, self._unique(place), _UNPLACED, at, None, "", recorded)
        self.turns.append(replace(turn, model=OWN.read(turn.body, self.memo).model))

    def _unique(self, place: _Place) -> str:
        name = place.name if place.name not in self._names else f"{place.name} ({place.file.name}:{place.line})"
        self._names.add(name)
        return name

    def _conversation(self, place: _Place, line: RecordedLine) -> None:
        """Take a conversation apart into the requests that it must have been."""
        named = line.value("model") if "model" in line and self._model is None else None
        model = named if isinstance(named, str) and named else self._model_or_refuse()
        recorded = line.conversation(model)
        messages = OWN.read(recorded.whole, self.memo).conversation.messages
        told = line.value("id") if "id" in line else None
        answered = list(_answered(messages, line.message("next_action")))
        name = self._unique(replace(place, name=told) if isinstance(told, str) and told else place)
        for number, (after, answer) in enumerate(answered):
            request = recorded.request(after)
            self.turns.append(Turn(place.file, place.line, name, number, None, answer, model, request))

    def _model_or_refuse(self) -> str:
        if self._model is None:
            raise _Unusable('names no model; give --model, or write "model" into it')
        return self._model


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    line: int
    name: str


class _Books(Exception):
    """A line of a ledger's own books."""


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def _is_conversation(line: RecordedLine) -> bool:
    return any(key in line for key in _OF_CONVERSATIONS) or line.ends_in_an_answer


def _answered(messages: Sequence[Message], following: Message | None) -> Iterator[tuple[int, Message | None]]:
    """Yield, for each request that a conversation shows, how many messages it had, and its answer."""
    asked = next((i for i, message in enumerate(messages) if message.role == "user"), len(messages))
    answers = [i for i, message in enumerate(messages) if message.role == "assistant" and i > asked]
    if asked == len(messages) or (not answers and messages[-1].role == "assistant"):
        raise _Unusable("has no user message before an answer, so no request can be told from it")
    for index in answers:
        yield index, messages[index]
    if messages[-1].role != "assistant" and (following is not None or not answers):
        yield len(messages), following


def _moment(said: Any) -> float | None:
    if said is None or (isinstance(said, int | float) and not isinstance(said, bool)):
        return said
    try:
        moment = datetime.fromisoformat(said)
    except (TypeError, ValueError):
        raise _Unusable(f"ts: {said!r} is not a moment; write 2026-01-31T09:30:00Z, or Unix seconds") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# ---------------------------------------------------------------- which conversation a request goes on with


@dataclass(frozen=True, slots=True)
class _Follows:
    index: int
    """Of the turn that came before."""
    answer: Message | None


@dataclass(slots=True)
class _OpenConversations:
    """The last request of each conversation, found again by a hash of its messages.

    Two requests of the very same messages are two conversations, until one of them goes on.
    """

    _last: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By the hash of the messages after the system text: the system text's hash and the turn's index, oldest first."""

    def place(self, index: int, messages: Sequence[Message]) -> _Follows | None:
        """Find the request that this one, the `index`-th turn, goes on from; from now on it is the last itself."""
        head = leading_system(messages)
        system = hash(tuple(_identity(message) for message in messages[:head]))
        marks, mark = [], 0
        for message in messages[head:]:
            mark = hash((mark, _identity(message)))
            marks.append(mark)
        found = self._found(marks[:-1], system, messages, head)
        if marks:
            self._last.setdefault(marks[-1], []).append((system, index))
        return found

    def _found(self, marks: Sequence[int], system: int, messages: Sequence[Message], head: int) -> _Follows | None:
        for length in range(len(marks), 0, -1):
            waiting = self._last.get(marks[length - 1])
            if not waiting:
                continue
            alike = [place for place, (its_system, _) in enumerate(waiting) if its_system == system]
            _, before = waiting.pop(alike[-1] if alike else -1)
            following = messages[head + length]
            return _Follows(before, following if following.role == "assistant" else None)
        return None


def _identity(message: Message) -> int:
    calls = tuple((call.id, call.name, call.arguments) for call in message.calls)
    return hash(
        (message.role, message.text, message.name, message.call_id, calls, tuple(p.data for p in message.media))
    )
