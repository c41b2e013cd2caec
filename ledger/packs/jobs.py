"""Commands for many packs as a job: kept, done in parts, gone on with after a crash, and asked for by whoever gave it.

Each part is recorded under an id made of the job's, so that a part that was done is not done again.
"""

import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

from ledger.database import Database
from ledger.documents import Json, read_json, write_json
from ledger.errors import Conflict, NotRecorded

PART = 1_000
CODES_MAX = 500_000
_LOCKS = 0x5360
"""The class of advisory locks by which a process holds the job that it does."""
_COLUMNS = 'job, credential, created_at, finished_at, node, "order", total, done, error'


@dataclass(frozen=True, slots=True)
class Job:
    """A command for many packs: `order` is what is asked for each, `done` of `total` codes are decided."""

    job: uuid.UUID
    credential: str
    created_at: datetime
    finished_at: datetime | None
    node: int
    order: Json
    total: int
    done: int = 0
    error: str | None = None

    def parts(self) -> Iterator[tuple[int, int]]:
        """Its parts, as first and last + 1."""
        for first in range(0, self.total, PART):
            yield first, min(self.total, first + PART)


def keep_job(database: Database, job: Job, codes: list[str]) -> None:
    """Write a job down; `Conflict` where another one stands under its id. The same again is the same."""
    data = zlib.compress(write_json(codes), 1)
    with database.connection() as connection:
        made = connection.execute(
            'INSERT INTO pack_job (job, credential, created_at, finished_at, node, "order", codes, total, done)'
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                job.job, job.credential, job.created_at, job.finished_at, job.node, Jsonb(job.order), data, job.total,
                job.done,
            ],
        )  # fmt: skip
        if made.rowcount:
            return
        query = 'SELECT credential, "order", codes FROM pack_job WHERE job = %s'
        row = connection.execute(query, [job.job]).fetchone()
        if row is None or row[:2] != (job.credential, job.order) or bytes(row[2]) != data:
            raise Conflict(f"another job stands under the id {job.job}")


def get_job(connection: psycopg.Connection, job: uuid.UUID, credential: str) -> Job:
    """A job of this credential; `NotRecorded` where there is none."""
    found = _read(connection, "job = %s AND credential = %s", [job, credential])
    if not found:
        raise NotRecorded(f"there is no job {job} of yours")
    return found[0]


def unfinished(connection: psycopg.Connection) -> list[Job]:
    """Jobs that are not done, the oldest first."""
    return _read(connection, "finished_at IS NULL ORDER BY created_at LIMIT %s", [100])


def _read(connection: psycopg.Connection, condition: str, values: list[Any]) -> list[Job]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(f"SELECT {_COLUMNS} FROM pack_job WHERE {condition}", values).fetchall()  # noqa: S608 - both are ours
    return [Job(*row) for row in rows]


def codes_of(connection: psycopg.Connection, job: uuid.UUID) -> list[str]:
    """What the job was given, code by code."""
    row = connection.execute("SELECT codes FROM pack_job WHERE job = %s", [job]).fetchone()
    if row is None:
        raise NotRecorded(f"there is no job {job}")
    codes: list[str] = read_json(zlib.decompress(row[0]))
    return codes


def note_progress(database: Database, job: uuid.UUID, done: int, finished: datetime | None, error: str | None) -> None:
    """How far a job is; with `finished` it is over."""
    with database.connection() as connection:
        connection.execute(
            "UPDATE pack_job SET done = %s, finished_at = %s, error = %s WHERE job = %s", [done, finished, error, job]
        )


@contextmanager
def holding(connection: psycopg.Connection, job: uuid.UUID) -> Iterator[bool]:
    """Whether this process has the job now: no other one does it meanwhile. Lost with the connection."""
    key = [_LOCKS, int.from_bytes(job.bytes[:4], "big", signed=True)]
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", key).fetchone()
    mine = row == (True,)
    try:
        yield mine
    finally:
        if mine:
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", key)
