"""What a terminal has to send, and the trace codes that it may use: an SQLite file, of which nothing is ever lost.

WAL with synchronous=FULL: when a method that writes returns, it is on disk; each is one transaction, so a power cut
leaves it done or not begun. Messages keep their id and their order for ever. A trace code that was used is bound to
its message in the transaction that keeps the message, and a trigger forbids that it becomes free again.

It knows no network and no clock: times are arguments.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from ledger.errors import Busy, Conflict, Misconfigured, NotRecorded, Unavailable
from scanners.terminal.settings import sync_folder

Json = dict[str, Any]
WAITING_MAX = 500_000
"""A week of a scan every second in opening hours; then nothing more is taken, and the person is told."""
LOCKED_S = 10.0
_APPLICATION_ID, _VERSION = 0x53555930, 1
_SCHEMA = (
    """CREATE TABLE message (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        target TEXT,
        body TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'acknowledged', 'asked', 'aside', 'dropped')),
        put_at TEXT NOT NULL,
        ended_at TEXT,
        status INTEGER,
        reply TEXT,
        reason TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    "CREATE INDEX message_by_state ON message (state, number)",
    "CREATE INDEX message_by_target ON message (target) WHERE target IS NOT NULL",
    """CREATE TABLE leased_code (
        code TEXT PRIMARY KEY,
        series TEXT NOT NULL,
        leased_at TEXT NOT NULL,
        message TEXT REFERENCES message (id) DEFERRABLE INITIALLY DEFERRED
    ) STRICT""",
    "CREATE INDEX leased_code_free ON leased_code (series, code) WHERE message IS NULL",
    "CREATE INDEX leased_code_by_message ON leased_code (message) WHERE message IS NOT NULL",
    """CREATE TRIGGER used_once BEFORE UPDATE ON leased_code
        WHEN OLD.message IS NOT NULL OR OLD.code IS NOT NEW.code OR NEW.message IS NULL
        BEGIN SELECT RAISE(ABORT, 'a leased code is used once'); END""",
    """CREATE TRIGGER same_for_ever BEFORE UPDATE ON message
        WHEN OLD.id IS NOT NEW.id OR OLD.number IS NOT NEW.number OR OLD.target IS NOT NEW.target
          OR OLD.put_at IS NOT NEW.put_at OR OLD.state = 'acknowledged'
        BEGIN SELECT RAISE(ABORT, 'a message keeps its id, its place and its end'); END""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_VERSION}",
)


class State(StrEnum):
    WAITING = "waiting"
    ACKNOWLEDGED = "acknowledged"
    ASKED = "asked"
    """The server wants to know from the person whether it really happened twice."""
    ASIDE = "aside"
    """It cannot be recorded as it is; those behind it go on."""
    DROPPED = "dropped"
    """A person decided that it is not sent; it stays here with the reason until it is pruned."""


@dataclass(frozen=True, slots=True)
class Message:
    """One scan, or with `target` the undoing of one. `reply` is what the server answered last."""

    number: int
    id: str
    target: str | None
    body: Json
    state: State
    put_at: datetime
    status: int | None
    reply: Json | None
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in the outbox: `since` is when the oldest waiting message was kept, `codes` are free ones by series."""

    waiting: int
    since: datetime | None
    acknowledged: int
    aside: Sequence[Message]
    codes: Mapping[str, int]


class Outbox:
    """The file at `path`, made if it is not there. Threads may share it; so may processes, if only one sends."""

    def __init__(self, path: Path, *, waiting_max: int = WAITING_MAX) -> None:
        self._path, self._waiting_max, self._lock = path, waiting_max, threading.RLock()
        new = not path.exists()
        try:
            self._db = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from error
        if new:
            sync_folder(path.parent)

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 200", "trusted_schema = OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        with self._transaction() as run:
            version = run("PRAGMA user_version").fetchone()[0]
            if version == 0 and not run("SELECT 1 FROM sqlite_schema").fetchone():
                for statement in _SCHEMA:
                    run(statement)
            elif version != _VERSION or run("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                raise Misconfigured(f"{self._path} is no outbox of this release of the terminal")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """One transaction, on disk when the context is left without an error; otherwise as if it had not begun."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db.execute
                self._db.execute("COMMIT")  # the point of no return
            except BaseException as error:
                with suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise self._trouble(error) from error
                raise

    def _read(self, statement: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.Error) -> Unavailable | Misconfigured:
        text = str(error)
        if "full" in text:
            return Unavailable(f"the disk is full: nothing was kept in {self._path}; make room, then scan again")
        if "malformed" in text or "not a database" in text:
            return Misconfigured(f"{self._path} is damaged ({text}): keep the file for the operator, and set up anew")
        return Unavailable(f"nothing was kept in {self._path}: {text}")

    # --- Keeping ----------------------------------------------------------------------------------------

    def put(self, id: str, body: Json, at: datetime, *, series: str | None = None) -> Message:
        """Keep a scan: it is on disk when this returns. The same id again changes nothing and gives what is kept.

        With a `series` its lowest free trace code, if there is one, goes into the body and is used up by the same
        transaction. `Unavailable` (a full disk) and `Busy` (too many wait): nothing was kept.
        """
        with self._transaction() as run:
            if not run("SELECT 1 FROM message WHERE id = ?", (id,)).fetchone():
                self._require_room(run)
                code = None
                if series is not None:
                    code = run(
                        "SELECT code FROM leased_code WHERE series = ? AND message IS NULL ORDER BY code LIMIT 1",
                        (series,),
                    ).fetchone()
                if code is not None:
                    body = {**body, "trace": code[0]}
                self._insert(run, id, None, body, at)
                if code is not None:
                    run("UPDATE leased_code SET message = ? WHERE code = ?", (id, code[0]))
            return self._one(run, id)

    def put_void(self, id: str, target: str, body: Json, at: datetime) -> Message:
        """Keep the undoing of a scan; it is sent behind it. A scan is undone once: again gives what is kept.

        `NotRecorded` for a scan that is not here, `Conflict` for one that has not been recorded and will not be.
        """
        with self._transaction() as run:
            before = run("SELECT id FROM message WHERE target = ?", (target,)).fetchone()
            if before is not None:
                return self._one(run, before[0])
            scan = self._one(run, target)
            if scan.state not in (State.WAITING, State.ACKNOWLEDGED):
                raise Conflict(f"the scan {target} is {scan.state}: there is nothing to undo")
            self._require_room(run)
            self._insert(run, id, target, body, at)
            return self._one(run, id)

    def _require_room(self, run: Callable[..., sqlite3.Cursor]) -> None:
        count = run("SELECT count(*) FROM message WHERE state IN ('waiting', 'asked', 'aside')").fetchone()[0]
        if count >= self._waiting_max:
            raise Busy(f"nothing was kept: {count} scans wait here, which is the most; connect the terminal")

    @staticmethod
    def _insert(run: Callable[..., sqlite3.Cursor], id: str, target: str | None, body: Json, at: datetime) -> None:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        run(
            "INSERT INTO message (id, target, body, state, put_at) VALUES (?, ?, ?, 'waiting', ?)",
            (id, target, text, time_text(at)),
        )

    def _one(self, run: Callable[..., sqlite3.Cursor], id: str) -> Message:
        row = run("SELECT * FROM message WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise NotRecorded(f"{self._path} holds no scan {id}")
        return _message(row)

    # --- What became of it ------------------------------------------------------------------------------

    def first_waiting(self) -> Message | None:
        """The oldest message that has to be sent."""
        rows = self._read("SELECT * FROM message WHERE state = 'waiting' ORDER BY number LIMIT 1")
        return _message(rows[0]) if rows else None

    def end(self, id: str, state: State, at: datetime, *, status: int, reply: Json | None, reason: str = "") -> None:
        """The server's answer is kept: acknowledged, asked or set aside. What was acknowledged stays so.

        The undoing of a scan that is set aside or asked about has become moot, and is dropped with it.
        """
        text = None if reply is None else json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
        with self._transaction() as run:
            run(
                "UPDATE message SET state = ?, ended_at = ?, status = ?, reply = ?, reason = ? "
                "WHERE id = ? AND state IN ('waiting', 'asked', 'aside')",
                (state, time_text(at), status, text, reason, id),
            )
            if state in (State.ASIDE, State.ASKED):
                self._drop_undoing(run, id, at)

    @staticmethod
    def _drop_undoing(run: Callable[..., sqlite3.Cursor], id: str, at: datetime) -> None:
        """Its scan goes, too: the person took it back before it was recorded."""
        moot = run("SELECT id FROM message WHERE target = ? AND state = 'waiting'", (id,)).fetchone()
        if moot is not None:
            run(
                "UPDATE message SET state = 'dropped', ended_at = ?, reason = reason || ' (taken back)' "
                "WHERE id IN (?, ?)",
                (time_text(at), id, moot[0]),
            )

    def confirm(self, id: str) -> None:
        """Yes, it really happened twice: it is sent again, under its id and in its place."""
        with self._transaction() as run:
            message = self._one(run, id)
            text = json.dumps({**message.body, "confirm": True}, ensure_ascii=False, separators=(",", ":"))
            run(
                "UPDATE message SET state = 'waiting', body = ?, ended_at = NULL "
                "WHERE id = ? AND state IN ('asked', 'waiting')",
                (text, id),
            )

    def mark_offline(self, id: str) -> None:
        """It happened out of the ledger's reach. With and without this mark it is the same scan to the ledger."""
        with self._transaction() as run:
            message = self._one(run, id)
            if message.state is State.WAITING and message.target is None:
                text = json.dumps({**message.body, "offline": True}, ensure_ascii=False, separators=(",", ":"))
                run("UPDATE message SET body = ? WHERE id = ?", (text, id))

    def retry(self, id: str | None = None) -> int:
        """How many that were set aside wait again, in their old places; all of them, or the one with this id."""
        with self._transaction() as run:
            if id is not None:
                self._one(run, id)
            done = run(
                "UPDATE message SET state = 'waiting', ended_at = NULL WHERE state = 'aside' AND ifnull(id = ?, TRUE)",
                (id,),
            )
            return done.rowcount

    def drop(self, id: str, reason: str, at: datetime) -> None:
        """It will not be sent. `Conflict` for one that waits or is acknowledged: only what stands still can go."""
        with self._transaction() as run:
            message = self._one(run, id)
            if message.state not in (State.ASIDE, State.ASKED):
                raise Conflict(
                    f"the scan {id} is {message.state}; only what was set aside or asked about can be dropped"
                )
            run(
                "UPDATE message SET state = 'dropped', ended_at = ?, reason = ? WHERE id = ?",
                (time_text(at), reason, id),
            )

    # --- Looking ----------------------------------------------------------------------------------------

    def get(self, id: str) -> Message:
        """The message; `NotRecorded` if there is none."""
        with self._lock:
            return self._one(self._db.execute, id)

    def last(self) -> Message | None:
        """The scan that was kept last."""
        rows = self._read("SELECT * FROM message WHERE target IS NULL ORDER BY number DESC LIMIT 1")
        return _message(rows[0]) if rows else None

    def undone(self, id: str) -> bool:
        """Whether the undoing of this scan is kept."""
        return bool(self._read("SELECT 1 FROM message WHERE target = ?", id))

    def asked(self) -> Message | None:
        """The oldest scan that the server asks about."""
        rows = self._read("SELECT * FROM message WHERE state = 'asked' ORDER BY number LIMIT 1")
        return _message(rows[0]) if rows else None

    def waiting(self) -> int:
        """How many messages are to be sent."""
        return int(self._read("SELECT count(*) FROM message WHERE state = 'waiting'")[0][0])

    def summary(self, *, shown: int = 100) -> Summary:
        """The counts, and the first `shown` messages that stand aside or are asked about."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                counts = dict(self._read("SELECT state, count(*) FROM message GROUP BY state"))
                first = self.first_waiting()
                rows = self._read(
                    "SELECT * FROM message WHERE state IN ('aside', 'asked') ORDER BY number LIMIT ?", shown
                )
                codes = dict(
                    self._read(
                        "SELECT series, count(*) - count(message) FROM leased_code GROUP BY series ORDER BY series"
                    )
                )
            finally:
                self._db.execute("COMMIT")
        return Summary(
            counts.get(State.WAITING, 0), first.put_at if first else None, counts.get(State.ACKNOWLEDGED, 0),
            [_message(row) for row in rows], codes,
        )  # fmt: skip

    # --- Codes ------------------------------------------------------------------------------------------

    def add_codes(self, series: str, codes: Sequence[str], at: datetime) -> int:
        """How many of the leased codes are new here; one that was here before stays as it is, used or free."""
        with self._transaction() as run:
            return sum(
                run(
                    "INSERT INTO leased_code (code, series, leased_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (code, series, time_text(at)),
                ).rowcount
                for code in codes
            )

    def free_codes(self, series: str) -> int:
        """How many leased codes of the series are left."""
        return int(self._read("SELECT count(*) FROM leased_code WHERE series = ? AND message IS NULL", series)[0][0])

    # --- Keeping it small -------------------------------------------------------------------------------

    def prune(self, before: datetime, *, most: int = 10_000) -> int:
        """How many messages that ended before then were forgotten, at most so many at once; what waits stays.

        A code goes with its message, a day's codes (series NODE/DAY) with their day. The last scan stays, so that a
        person can always see and undo it.
        """
        with self._transaction() as run:
            old = run(
                "SELECT id FROM message WHERE state IN ('acknowledged', 'dropped') AND ended_at < ? AND number < "
                "(SELECT max(number) FROM message WHERE target IS NULL) "
                "AND NOT EXISTS (SELECT 1 FROM message AS other WHERE other.target = message.id "
                "AND other.state NOT IN ('acknowledged', 'dropped')) ORDER BY number LIMIT ?",
                (time_text(before), most),
            ).fetchall()
            for (id,) in old:
                run("DELETE FROM leased_code WHERE message = ?", (id,))
                run("DELETE FROM message WHERE id = ?", (id,))
            day = before.date().isoformat()
            run(
                "DELETE FROM leased_code WHERE message IS NULL AND series LIKE '%/%' AND substr(series, 11) < ?", (day,)
            )
            return len(old)


def _message(row: tuple[Any, ...]) -> Message:
    number, id, target, body, state, put_at, _, status, reply, reason = row
    return Message(
        number, id, target, json.loads(body), State(state), datetime.fromisoformat(put_at), status,
        None if reply is None else json.loads(reply), reason,
    )  # fmt: skip


def time_text(at: datetime) -> str:
    """UTC with microseconds: texts that sort as the times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def days_before(at: datetime, days: int) -> datetime:
    return at - timedelta(days=days)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """While the context lasts no other process runs this folder's terminal; `Conflict` if one does.

    The lock is SQLite's on a file of its own, which the system lets go of however the process ends.
    """
    lock = sqlite3.connect(folder / "running.sqlite", timeout=0, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise Unavailable(f"the lock of {folder} cannot be taken: {error}") from error
            raise Conflict(f"another process runs the terminal in {folder}: end it first") from None
        yield
    finally:
        lock.close()
