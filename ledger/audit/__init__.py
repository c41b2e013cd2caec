"""The audit: everything computed again from the stored bytes, and every disagreement named.

One snapshot of the database is read once from end to end, in bounded memory:

1. every chain: hashes, links, places, sealed parts and erasures, and its head;
2. what is derived: columns, ids and items of every event, in both directions; the registry's rows, their versions with
   private values, and the blind index;
3. the log: every place, tile, edge and cursor, and every checkpoint, signed as it says;
4. the checkpoint outside the database, and receipts that somebody brings: the log and the chains must hold them.

It always ends, and it changes nothing. What it cannot know: entries cut off a chain's end before they were under any
checkpoint or receipt; checkpoint rows taken away that no tick names.
It shares the derivations with the write path, but neither its SQL nor its order of work.
"""

import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import DateBinaryLoader, TimestamptzBinaryLoader

from ledger.audit.chains import check_chains
from ledger.audit.derived import Derived
from ledger.audit.log import check_log
from ledger.audit.report import Disagreement, Progress, Report, count
from ledger.codes import node_text
from ledger.database import Database
from ledger.fields import parse_time
from ledger.notes import Checkpoint, Recorded, Verifier
from ledger.vault import Vault

__all__ = ["Disagreement", "Report", "audit"]


def audit(
    database: Database,
    verifiers: list[Verifier],
    outside: Checkpoint | None,
    receipts: Iterable[Recorded] = (),
    progress: Progress = lambda *_: None,
    vault: Vault | None = None,
) -> Report:
    """Audit the whole ledger. `outside` is the last checkpoint signed, as kept outside the database.

    With the registry's `vault` private values are opened and held against their digests.
    """
    report = Report()
    with database.connect() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.adapters.register_loader("timestamptz", _Time)
        connection.adapters.register_loader("date", _Date)
        total = count(connection, "entry")
        derived = Derived(connection, report, vault)
        check_chains(connection, report, derived, lambda done: progress("entries", done, total))
        derived.finish(progress)
        check_log(connection, report, verifiers, outside, derived.ticked, progress)
        _receipts(connection, report, receipts)
        connection.rollback()
    return report


class _Time(TimestamptzBinaryLoader):
    """A time; or None, which no entry says, for what Python cannot hold: infinity, years before 1 or after 9999."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return None


class _Date(DateBinaryLoader):
    """A day; or the first of all, which no entry says, for what Python cannot hold."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return date.min


def _receipts(connection: psycopg.Connection, report: Report, receipts: Iterable[Recorded]) -> None:
    """What the ledger vouched for must still be there, at its place, with its hash."""
    for recorded in receipts:
        report.receipts += 1
        row = connection.execute(
            "SELECT data, record_time FROM entry WHERE node = %s AND seq = %s",
            [recorded.node, recorded.seq],
            binary=True,
        ).fetchone()
        where = f"entry {node_text(recorded.node)}/{recorded.seq}"
        if row is None:
            report.add(where, "a signed receipt vouches for it, but it is gone")
        elif hashlib.sha256(row[0]).digest() != recorded.hash or row[1] != parse_time(recorded.record_time):
            report.add(where, "it is other than a signed receipt vouches for")
