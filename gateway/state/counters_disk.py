"""Counters in a folder that the workers of one machine share: an SQLite file of their own.

A batch of steps is one transaction, begun as a writer's: no other process comes between a look and its hold. Nothing
is synced: what a crash of the machine takes is counted anew from the ledger. A file that is removed or damaged is
begun anew, and counted anew too.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.config import folders
from gateway.state import StateUnavailable
from gateway.state.counters import (
    EXPIRED_SECONDS,
    MONEY,
    AccountCharge,
    Balance,
    Begun,
    Booked,
    Granted,
    Hold,
    Holds,
    Look,
    Once,
    Recount,
    Renew,
    Result,
    Settle,
    Step,
    TakeHold,
    TopUp,
    after_top_up,
    booked,
    decide,
    held_by,
)

FILE: Final = "counters.db"
_WAIT_SECONDS: Final = 5.0
"""Seconds that another process's batch is waited for; each takes a millisecond or so."""
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA}

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS source (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (account TEXT, bucket INTEGER, source TEXT, amount INTEGER NOT NULL,
    PRIMARY KEY (account, bucket, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (account TEXT PRIMARY KEY, expected INTEGER NOT NULL, most INTEGER NOT NULL,
    holds INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hold (id TEXT PRIMARY KEY, source TEXT NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL,
    live INTEGER NOT NULL, expected INTEGER NOT NULL, most INTEGER NOT NULL, charges TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS hold_expires ON hold (live, expires);
CREATE TABLE IF NOT EXISTS once (name TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
"""
_SPENT: Final = "SELECT SUM(amount) FROM spent WHERE account = ? AND bucket >= ?"
_HELD: Final = "SELECT expected, most, holds FROM held WHERE account = ?"
_HOLD: Final = (
    "INSERT INTO held VALUES (?1, ?2, ?3, ?4) ON CONFLICT (account) DO UPDATE SET"
    " expected = expected + ?2, most = most + ?3, holds = holds + ?4"
)
_PUT: Final = "INSERT OR REPLACE INTO hold VALUES (?, ?, ?, ?, 1, ?, ?, ?)"
_TAKE: Final = "DELETE FROM hold WHERE id = ? RETURNING live, expected, most, charges, owner, source, expires"
_ADD: Final = "UPDATE spent SET amount = amount + ? WHERE account = ? AND bucket = ? AND source = ?"


class DiskCounters:
    """Counters in an SQLite file. For one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"DiskCounters({self._path})"

    def run(self, steps: Sequence[Step], source: str) -> list[Result]:
        with self._known_failures():
            database = self._opened()
            database.execute("BEGIN IMMEDIATE")
            try:
                transaction = _Transaction(database, source)
                results = [transaction.done(step) for step in steps]
                database.execute("COMMIT")
            except BaseException:  # whatever ends it, no transaction is left open; the error goes on
                database.rollback()
                raise
            return results

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def _opened(self) -> sqlite3.Connection:
        """Return the database; opened anew where its file is gone or has become another one."""
        if self._database is not None and _identity(self._path) == self._file:
            return self._database
        self.close()
        folders.make(self._path.parent)
        folders.make_file(self._path)
        database = sqlite3.connect(self._path, _WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with _alone(self._path.parent):  # nobody waits for whoever switches a new file to its log
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_SCHEMA)
            database.execute("PRAGMA synchronous = OFF")
        except BaseException:  # whatever ends it, the file is closed; the error goes on
            database.close()
            raise
        self._database, self._file = database, _identity(self._path)
        return database

    @contextmanager
    def _known_failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                self._set_aside()
            raise StateUnavailable(f"the counters in {self._path}: {error}") from error

    def _set_aside(self) -> None:
        """Put a damaged file out of the way: the next batch begins a new one."""
        for ending in ("-wal", "-shm", ""):
            path = self._path.with_name(f"{FILE}{ending}")
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold what only one process at a time may do in the folder."""
    folder = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Transaction:
    """The steps of one batch."""

    __slots__ = ("_database", "_is_known", "_source")

    def __init__(self, database: sqlite3.Connection, source: str) -> None:
        self._database, self._source = database, source
        known = database.execute("SELECT 1 FROM source WHERE name = ?", (source,)).fetchone()
        self._is_known = known is not None

    def done(self, step: Step) -> Result:
        if isinstance(step, Recount):
            self._recount(step)
            return None
        if not self._is_known:
            return Begun()
        match step:
            case TakeHold():
                return self._reserve(step)
            case TopUp():
                return self._top_up(step)
            case Settle():
                return self._settle(step)
            case Renew():
                self._renew(step)
            case Look():
                self._expire(step.now)
                return self._balances(step.charges)
            case Booked():
                rows = self._database.execute(
                    "SELECT account, bucket, amount FROM spent WHERE source = ?", (self._source,)
                )
                return {(row[0], row[1]): row[2] for row in rows if row[0].startswith(MONEY) and row[2]}
            case Holds():
                rows = self._database.execute(
                    "SELECT id, owner, charges, expected, most FROM hold WHERE source = ?", (self._source,)
                )
                return [Hold(row[0], row[1], _charges(row[2]), row[3], row[4]) for row in rows]
            case Once():
                return self._first(step)
        return None

    def _reserve(self, step: TakeHold) -> Result:
        self._expire(step.now)
        outcome = decide(step.charges, step.offers, self._balances(step.charges))
        if isinstance(outcome, Granted):
            expected = step.offers[outcome.offer].expected
            self._put(Hold(step.id, step.owner, step.charges, expected, outcome.nanousd), step.expires)
            for charge in step.charges:
                if charge.kind == "requests":
                    self._add(charge, charge.amount)
        return outcome

    def _top_up(self, step: TopUp) -> Result:
        self._expire(step.now)
        standing = self._take(step.id)
        money = [charge for charge in step.charges if charge.kind == "money"]
        outcome = after_top_up(money, step.amount, self._balances(money))
        if isinstance(outcome, Granted):
            self._put(Hold(step.id, step.owner, step.charges, step.amount, step.amount), step.expires)
        elif standing is not None:
            hold, expires = standing
            self._put(hold, expires)
        return outcome

    def _settle(self, step: Settle) -> bool:
        if self._take(step.id) is None and not step.is_unheld:
            return False
        for charge in step.charges:
            if amount := booked(charge, step.nanousd, step.tokens):
                self._add(charge, amount)
        return True

    def _renew(self, step: Renew) -> None:
        self._expire(step.now)
        run = self._database.execute
        for hold in step.holds:
            renewed = run("UPDATE hold SET expires = ? WHERE id = ? AND live = 1", (step.expires, hold.id))
            if not renewed.rowcount:
                self._take(hold.id)
                self._put(hold, step.expires)
        run("DELETE FROM hold WHERE live = 0 AND expires < ?", (step.now - EXPIRED_SECONDS,))
        run("DELETE FROM once WHERE expires < ?", (step.now,))

    def _recount(self, step: Recount) -> None:
        run, source = self._database.execute, self._source
        run("INSERT OR IGNORE INTO source VALUES (?)", (source,))
        run("DELETE FROM spent WHERE source = ? AND substr(account, 1, 1) = ?", (source, MONEY))
        rows = [(account, bucket, source, amount) for (account, bucket), amount in step.amounts.items()]
        self._database.executemany("INSERT INTO spent VALUES (?, ?, ?, ?)", rows)
        self._is_known = True

    def _first(self, step: Once) -> bool:
        run = self._database.execute
        run("DELETE FROM once WHERE name = ? AND expires <= ?", (step.name, step.now))
        return run("INSERT OR IGNORE INTO once VALUES (?, ?)", (step.name, step.expires)).rowcount == 1

    # ------------------------------------------------------------ rows

    def _balances(self, charges: Iterable[AccountCharge]) -> list[Balance]:
        run, out = self._database.execute, []
        for charge in charges:
            spent = 0 if charge.kind == "parallel" else run(_SPENT, (charge.account, charge.first)).fetchone()[0] or 0
            holds = None if charge.kind == "requests" else run(_HELD, (charge.account,)).fetchone()
            out.append(Balance(spent, *(holds or ())))
        return out

    def _put(self, hold: Hold, expires: float) -> None:
        charges = json.dumps(hold.charges)
        row = (hold.id, self._source, hold.owner, expires, hold.expected, hold.most, charges)
        self._database.execute(_PUT, row)
        self._hold(hold, 1)

    def _hold(self, hold: Hold, sign: int) -> None:
        """Add a hold to its accounts, or take it from them."""
        for charge in hold.charges:
            if (amounts := held_by(charge, hold.expected, hold.most)) is not None:
                self._database.execute(_HOLD, (charge.account, sign * amounts[0], sign * amounts[1], sign))

    def _take(self, name: str) -> tuple[Hold, float] | None:
        """Remove a hold, be it expired; None where there is none."""
        row = self._database.execute(_TAKE, (name,)).fetchone()
        if row is None:
            return None
        hold = Hold(name, row[4], _charges(row[3]), row[1], row[2])
        if row[0]:
            self._hold(hold, -1)
        return hold, row[6]

    def _expire(self, now: float) -> None:
        """Let what expired hold nothing any more; it is remembered for its settlement."""
        run = self._database.execute
        for row in run(
            "SELECT id, owner, charges, expected, most FROM hold WHERE live = 1 AND expires <= ?", (now,)
        ).fetchall():
            self._hold(Hold(row[0], row[1], _charges(row[2]), row[3], row[4]), -1)
            run("UPDATE hold SET live = 0 WHERE id = ?", (row[0],))

    def _add(self, charge: AccountCharge, amount: int) -> None:
        """Book an amount; with a new bucket, those go that no window reaches any more."""
        run, at = self._database.execute, (charge.account, charge.bucket, self._source)
        if not run(_ADD, (amount, *at)).rowcount:
            run("INSERT INTO spent VALUES (?, ?, ?, ?)", (*at, amount))
            run("DELETE FROM spent WHERE account = ? AND bucket < ?", (charge.account, charge.first))


def _charges(text: str) -> list[AccountCharge]:
    return [AccountCharge(*row) for row in json.loads(text)]
