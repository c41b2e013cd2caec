"""What an audit reports, and how it reads: in batches, through server-side cursors. Pure, but for the reading."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ledger.errors import LedgerError

BATCH = 2_000
SHOWN_MAX = 10_000
"""Disagreements kept; more are counted."""
UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, LedgerError,
)  # fmt: skip
"""What comes of reading hostile bytes as an entry or event: always a finding, never the end of the audit."""

Progress = Callable[[str, int, int], None]
"""`progress(step, done, total)`: called after every batch."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that does not agree: where (an entry, a row, a checkpoint) and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Report:
    """What an audit found. It is clean only if nothing disagrees."""

    entries: int = 0
    chains: int = 0
    log_size: int = 0
    checkpoints: int = 0
    receipts: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    count: int = 0

    @property
    def clean(self) -> bool:
        return self.count == 0

    def add(self, where: str, what: str) -> None:
        """Note a disagreement."""
        self.count += 1
        if self.count <= SHOWN_MAX:
            self.disagreements.append(Disagreement(where, what))


def count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return int(row[0]) if row else 0


def stream(connection: psycopg.Connection, name: str, query: str, *values: int) -> Iterator[list[Any]]:
    """The rows of `query` in batches, through a server-side cursor."""
    with connection.cursor(name, binary=True) as cursor:
        cursor.execute(query, values or None)
        while rows := cursor.fetchmany(BATCH):
            yield rows
