"""The ledger's schema: one row, the JSON line that it is written as, and its columns for DuckDB. Pure.

A request has two lines: `opened` at admission, `settled` at its end. A line holds the columns of its event in the order
of `LedgerRow`. Columns that an event always has stand in each of its lines; any other is left out while it is at its
default. Ledgers are kept for years: a column may be added, but never renamed, moved or given another meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

import orjson

Event = Literal["opened", "settled"]
Status = Literal["answered", "refused", "failed", "cancelled"]
EntryKind = Literal["request", "summary", "warm_up"]
Counted = Literal["tokens", "bytes", "at least", "at most"]

EditRow = tuple[int, str | None, str, int, int] | tuple[int, None, str, int, int, int]
"""(message, tool, remedy, tokens before, after), and for a run of messages that were left out the last of them."""

Members = Mapping[str, Any]
"""A JSON object as it was read."""


# -------------------------------------------------------------------------------------------------------------- parts

Value = TypeVar("Value", str, int, float)


def _one_of(kind: type[Value], value: Any) -> Value | None:
    """Return a value of this kind, else None."""
    return value if isinstance(value, kind) or (kind is float and type(value) is int) else None


@dataclass(frozen=True, slots=True)
class ComponentSizes:
    """Tokens of each component of a prompt, and the room that it had."""

    tokens: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Before and after, by component."""
    room: Mapping[str, int] | None = None
    """Of the components whose room is not what was asked for; None where no room is known."""

    @classmethod
    def read(cls, members: Members) -> Self:
        tokens = {name: (int(pair[0]), int(pair[1])) for name, pair in members.items() if name != "room"}
        room = members.get("room")
        return cls(tokens, None if room is None else {name: int(size) for name, size in room.items()})

    def written(self) -> dict[str, Any]:
        return dict(self.tokens) if self.room is None else {**self.tokens, "room": self.room}


@dataclass(frozen=True, slots=True)
class RefusalReason:
    """The part of a prompt for which it was refused, or would have been."""

    component: str | None = None
    tokens: int | None = None
    room: int | None = None
    at: str | None = None
    """The place of the largest piece, or of what is illegal: `messages[3]`."""
    illegal: bool = False
    """The request came illegal. The reason may quote content, so it stands in the answer to the client alone."""

    @classmethod
    def read(cls, members: Members) -> Self:
        return cls(
            _one_of(str, members.get("component")),
            _one_of(int, members.get("tokens")),
            _one_of(int, members.get("room")),
            _one_of(str, members.get("at")),
            illegal=bool(members.get("illegal")),
        )

    def written(self) -> dict[str, Any]:
        if self.illegal:
            return {"at": self.at, "illegal": True}
        return {"component": self.component, "tokens": self.tokens, "room": self.room, "at": self.at}


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """Durations of a request's parts."""

    total: float | None = None
    plan: float | None = None
    """Up to the plan; None where none was made."""
    upstream_first: float | None = None
    """From the plan to the first byte from upstream; None where none came."""

    @classmethod
    def read(cls, members: Members) -> Self:
        times = (members.get(name) for name in ("total", "plan", "upstream_first"))
        return cls(*(_one_of(float, time) for time in times))

    def written(self) -> dict[str, float | None]:
        out = {"total": self.total}
        if self.plan is not None:
            out["plan"] = self.plan
        if self.upstream_first is not None:
            out["upstream_first"] = self.upstream_first
        return out


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One call to a deployment. Its JSON is its fields."""

    deployment: str
    status: int | None
    """None where no answer came."""
    error: str | None
    ms: float | None

    @classmethod
    def read(cls, members: Members) -> Self:
        status, error, ms = members.get("status"), members.get("error"), members.get("ms")
        return cls(str(members["deployment"]), _one_of(int, status), _one_of(str, error), _one_of(float, ms))


@dataclass(frozen=True, slots=True)
class CacheSettlement:
    """The figures of one request and its provider's cache (prompt_cache/settlement.py)."""

    expected: int = 0
    """Tokens that the cache should have read, by the provider's own rules."""
    miss: str | None = None
    """Why it read less than the conversation's previous request had made possible (prompt_cache/misses.py)."""
    lost: int = 0
    """Tokens that the miss did not read."""
    lost_nanousd: int | None = 0
    saved_nanousd: int | None = 0
    """The cost of the original request, under the same cache rules, less the cost that was paid. Negative if the
    original would have been cheaper; None if unknown: no rules of its cache, no price, or no report of the provider's.
    """
    markers: int = 0
    """The number of markers that the gateway set."""


NO_CACHE: Final = CacheSettlement()


# ------------------------------------------------------------------------------------------------------------ columns


@dataclass(frozen=True, slots=True)
class _Type:
    """A type of columns: its name in SQL, and how its values are read from JSON and written to it."""

    sql: str
    read: Callable[[Any], Any]
    """Raises `ValueError`, `TypeError`, `LookupError` or `AttributeError` for a value of another kind."""
    write: Callable[[Any], Any] | None = None
    """None: as it is."""


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return read


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_exactly(str), _exactly(list)(value)))


def _edits(value: Any) -> tuple[EditRow, ...]:
    return tuple(tuple(edit) for edit in value if len(edit) >= 5)


def _sums(value: Any) -> dict[str, tuple[int, int, int, int]]:
    return {remedy: (int(n), int(before), int(after), int(at)) for remedy, (n, before, after, at) in value.items()}


def _attempts(value: Any) -> tuple[AttemptRow, ...]:
    return tuple(map(AttemptRow.read, value))


_TEXT: Final = _Type("VARCHAR", _exactly(str))
_NUMBER: Final = _Type("BIGINT", _exactly(int))
_FLAG: Final = _Type("BOOLEAN", _exactly(bool))
_TEXTS: Final = _Type("VARCHAR[]", _texts)
_SIZES: Final = _Type("JSON", ComponentSizes.read, ComponentSizes.written)
_REASON: Final = _Type("JSON", RefusalReason.read, RefusalReason.written)
_TIMES: Final = _Type("JSON", Milliseconds.read, Milliseconds.written)
_EDITS: Final = _Type("JSON", _edits)
_SUMS: Final = _Type("JSON", _sums)
_ATTEMPTS: Final = _Type("JSON", _attempts)

_OPENED: Final = ("opened",)
_SETTLED: Final = ("settled",)
_BOTH: Final = ("opened", "settled")


def _column(
    kind: _Type,
    usual: Any = None,
    *,
    of: tuple[Event, ...] = _SETTLED,
    always: tuple[Event, ...] = (),
    reported: bool = False,
) -> Any:
    """Declare a column of the rows of some events, which always stands in the lines of some of them; `reported` columns
    are read by reports.
    """
    return field(default=usual, metadata={"kind": kind, "of": of, "always": always, "reported": reported})


@dataclass(frozen=True)
class LedgerRow:
    """One line of the ledger.

    An instance holds only the columns that it was given; the class holds the defaults. Every request makes two rows,
    and with slots each would set all fifty columns one by one: 5 µs a row instead of 0.4.
    """

    event: Event = _column(_TEXT, "settled", of=_BOTH, always=_BOTH, reported=True)
    id: str = _column(_TEXT, "", of=_BOTH, always=_BOTH, reported=True)
    status: Status | None = _column(_TEXT, always=_SETTLED, reported=True)
    kind: EntryKind = _column(_TEXT, "request", of=_BOTH, always=_SETTLED, reported=True)
    """`summary`, `warm_up`: the gateway's own, booked to those whom they were made for."""
    key: str = _column(_TEXT, "", of=_BOTH, always=_BOTH, reported=True)
    team: str = _column(_TEXT, "", of=_BOTH, always=_BOTH, reported=True)
    user: str | None = _column(_TEXT, of=_BOTH, always=_BOTH, reported=True)
    tags: Sequence[str] = _column(_TEXTS, (), of=_BOTH, always=_BOTH, reported=True)
    model: str = _column(_TEXT, "", of=_BOTH, always=_BOTH, reported=True)
    """As asked for."""
    deployment: str | None = _column(_TEXT, always=_SETTLED)
    """provider/model that was called last; None where nothing was sent."""
    policy: str = _column(_TEXT, "", of=_BOTH, always=_BOTH, reported=True)
    """Name and digest."""
    policy_version: int = _column(_NUMBER, 2)
    stream: bool = _column(_FLAG, False)
    http_status: int = _column(_NUMBER, 0, always=_SETTLED)
    prompt_tokens: int = _column(_NUMBER, 0, always=_SETTLED, reported=True)
    cached_tokens: int = _column(_NUMBER, 0, always=_SETTLED, reported=True)
    cache_write_tokens: int = _column(_NUMBER, 0, reported=True)
    completion_tokens: int = _column(_NUMBER, 0, always=_SETTLED, reported=True)
    reasoning_tokens: int = _column(_NUMBER, 0, reported=True)
    cost_nanousd: int | None = _column(_NUMBER, always=_SETTLED, reported=True)
    """None where there is no price."""
    estimated: bool = _column(_FLAG, False, reported=True)
    """The tokens were counted here: the provider did not say."""
    tokens_before: int = _column(_NUMBER, 0, always=_SETTLED, reported=True)
    tokens_after: int = _column(_NUMBER, 0, always=_SETTLED, reported=True)
    counted: Counted = _column(_TEXT, "tokens", reported=True)
    guessed_media: int = _column(_NUMBER, 0)
    """Images, audio, files and other parts that the count only guesses."""
    components: ComponentSizes = _column(_SIZES, ComponentSizes(), always=_SETTLED, reported=True)
    budget: int | None = _column(_NUMBER, reported=True)
    """Most tokens of the prompt; None where nothing bounds it."""
    plan: str = _column(_TEXT, "unchanged", always=_SETTLED, reported=True)
    error: str | None = _column(_TEXT)
    ms: Milliseconds = _column(_TIMES, Milliseconds(), always=_SETTLED)
    unpriced: bool = _column(_FLAG, False, reported=True)
    expected_cached: int = _column(_NUMBER, 0, reported=True)
    """Prompt tokens that the provider should have read from its cache, by its own rules."""
    miss: str | None = _column(_TEXT, reported=True)
    """The cause of reading less than the conversation's previous request had made possible (caching/misses.py)."""
    lost: int = _column(_NUMBER, 0, reported=True)
    """Tokens that were not read for that cause, and what they cost more for it."""
    lost_nanousd: int = _column(_NUMBER, 0, reported=True)
    saved_nanousd: int = _column(_NUMBER, 0, reported=True)
    """The cost of the request as it came, under the same cache rules, less its cost; may be negative."""
    markers: int = _column(_NUMBER, 0)
    """Cache markers that the gateway set."""
    saved_unknown: bool = _column(_FLAG, False, reported=True)
    calibration: int = _column(_NUMBER, 0)
    """Version of what was known of the provider's count when the plan was made."""
    decision_lost: bool = _column(_FLAG, False)
    """Summaries were left out because the shared state could not be asked or told."""
    refusal: RefusalReason | None = _column(_REASON, reported=True)
    tokens_planned: int | None = _column(_NUMBER, reported=True)
    """Under `observe`: tokens of the prompt as it would have left."""
    edits: Sequence[EditRow] = _column(_EDITS, ())
    """The edits one by one, where they are few."""
    edited: Mapping[str, Sequence[int]] | None = _column(_SUMS)
    """The edits by remedy, where they are many: messages, tokens before, tokens after, first message."""
    level: str = _column(_TEXT, "whole")
    """The level that rewriting reached: whole, lossless, lists, dropped. Under `observe`: would have."""
    forced: bool = _column(_FLAG, False)
    more_edits: int = _column(_NUMBER, 0)
    """Of earlier versions, which told eight edits and counted the others."""
    values_removed: int | None = _column(_NUMBER, reported=True)
    """Different values that the rewrite took out and that stand nowhere in the prompt; None where none was made."""
    missed: int | None = _column(_NUMBER, reported=True)
    """The number of them that the answer used all the same."""
    missed_values: Sequence[str] = _column(_TEXTS, ())
    """Fingerprints of those, up to a number."""
    attempts: Sequence[AttemptRow] = _column(_ATTEMPTS, ())
    """The calls, where there was more than one good one."""
    estimate_prompt: int | None = _column(_NUMBER, of=_OPENED, always=_OPENED)
    estimate_completion: int | None = _column(_NUMBER, of=_OPENED, always=_OPENED)
    estimate_nanousd: int | None = _column(_NUMBER, of=_OPENED, always=_OPENED, reported=True)
    """The cost that stands where no settled line follows; None where there is no price."""
    operation: str = _column(_TEXT, "chat", of=_BOTH, reported=True)
    """Asked for: chat, responses, messages, embeddings, completions, moderations, rerank."""
    known_inputs: int = _column(_NUMBER, 0, reported=True)
    """Inputs of a request for embeddings whose vectors were known: no upstream was asked for them."""
    tightened: int = _column(_NUMBER, 0)
    """The number of steps of its policy's `tighten` that it was under."""
    ts: str = _column(_TEXT, "", of=_BOTH, reported=True)
    """The time of writing: UTC, ISO 8601, to the millisecond."""

    if not TYPE_CHECKING:  # type checkers see the dataclass's own, a parameter for each column

        def __init__(self, event: Event, id: str = "", **columns: Any) -> None:
            columns["event"], columns["id"] = event, id
            object.__setattr__(self, "__dict__", columns)

    def to_json(self, now: str = "") -> bytes:
        """Write the line; `now` is its time where the row has none."""
        members = self.members()
        if now and not self.ts:
            members["ts"] = now
        return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)

    def members(self) -> dict[str, Any]:
        """Return the members of the line, in their order."""
        get = self.__dict__.get
        out = {name: value for name, usual, left_out in _WRITTEN[self.event] if (value := get(name, usual)) != left_out}
        for name, write in _NESTED:
            if name in out:
                out[name] = write(out[name])
        return out

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read a line of this or an earlier version. Raises `ValueError` where it is none of a ledger's."""
        return cls.from_members(orjson.loads(line))

    @classmethod
    def from_members(cls, members: Any) -> Self:
        """Read the members of a line. A member of another kind than its column's counts as absent, an unknown one is
        passed over. Raises `ValueError` where they are no line of a ledger.
        """
        if not isinstance(members, Mapping) or members.get("event") not in _BOTH:
            raise ValueError("a line of the ledger is an object whose event is opened or settled")
        values: dict[str, Any] = {}
        for name, read in _READ:
            value = members.get(name)
            if value is not None:
                try:
                    values[name] = read(value)
                except (ValueError, TypeError, LookupError, AttributeError):
                    continue
        return cls(**values)


_READ: Final = tuple((one.name, one.metadata["kind"].read) for one in fields(LedgerRow))
_NO_VALUE: Final = object()

_WRITTEN: Final = {
    event: tuple(
        (one.name, one.default, _NO_VALUE if event in one.metadata["always"] else one.default)
        for one in fields(LedgerRow)
        if event in one.metadata["of"]
    )
    for event in _BOTH
}
"""The columns of each event in order, each with its usual value and the value at which it is left out."""
_NESTED: Final = tuple(
    (one.name, one.metadata["kind"].write) for one in fields(LedgerRow) if one.metadata["kind"].write is not None
)


def duckdb_columns() -> dict[str, str]:
    """Return the columns that reports read, each with its type in SQL."""
    return {one.name: one.metadata["kind"].sql for one in fields(LedgerRow) if one.metadata["reported"]}
