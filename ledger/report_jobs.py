"""Reports that take long, as jobs: kept, made by whichever process has time, gone on with after a crash.

A job that a crash cut off is made anew: a report only reads, so that nothing of it can be there twice. What schedules
ask for is kept in the same table (`ledger/publishing.py`), and stays.
"""

import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

from ledger.database import Database
from ledger.errors import Conflict, LimitExceeded, NotRecorded

STAGES = 3
"""What a job's progress counts: its rows are read, the document is drawn, the result is kept."""
RESULT_BYTES_MAX = 64 << 20
UNFINISHED_MAX = 10
"""How many jobs of a credential may wait."""
KEPT_FOR = timedelta(days=7)
_COLUMNS = "job, credential, created_at, finished_at, report, parameters, format, language, total, done, size, error"


@dataclass(frozen=True, slots=True)
class ReportJob:
    """A report that somebody asked for, and how far it is."""

    job: uuid.UUID
    credential: str
    created_at: datetime
    finished_at: datetime | None
    report: str
    parameters: dict[str, str]
    format: str
    language: str
    total: int = STAGES
    done: int = 0
    size: int | None = None
    error: str | None = None


def keep_report(database: Database, job: ReportJob) -> None:
    """Write a job down. The same again is the same; `Conflict` where another one stands under its id.

    `LimitExceeded` while too many of this credential wait. Results of its jobs that are old are emptied.
    """
    with database.connection() as connection:
        known = _read(connection, "job = %s", [job.job])
        if known:
            one = known[0]
            same = (one.credential, one.report, one.parameters, one.format, one.language)
            if same != (job.credential, job.report, job.parameters, job.format, job.language):
                raise Conflict(f"another job stands under the id {job.job}")
            return
        waiting = connection.execute(
            "SELECT count(*) FROM report_job WHERE credential = %s AND finished_at IS NULL", [job.credential]
        ).fetchone()
        if waiting is not None and waiting[0] >= UNFINISHED_MAX:
            raise LimitExceeded(f"{waiting[0]} reports of yours are being made; wait until one is done")
        connection.execute(
            "UPDATE report_job SET result = NULL WHERE credential = %s AND created_at < %s AND result IS NOT NULL",
            [job.credential, job.created_at - KEPT_FOR],
        )
        connection.execute(
            "INSERT INTO report_job (job, credential, created_at, report, parameters, format, language, total, done)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                job.job, job.credential, job.created_at, job.report, Jsonb(job.parameters), job.format, job.language,
                job.total, job.done,
            ],
        )  # fmt: skip


def get_report(connection: psycopg.Connection, job: uuid.UUID, credential: str) -> ReportJob:
    """A job of this credential; `NotRecorded` where there is none."""
    found = _read(connection, "job = %s AND credential = %s", [job, credential])
    if not found:
        raise NotRecorded(f"there is no job {job} of yours")
    return found[0]


def reports_of(connection: psycopg.Connection, credential: str) -> list[ReportJob]:
    """The latest jobs of this credential, the newest first."""
    return _read(connection, "credential = %s ORDER BY created_at DESC LIMIT %s", [credential, 50])


def unfinished_reports(connection: psycopg.Connection) -> list[ReportJob]:
    """Jobs that are not done, the oldest first."""
    return _read(connection, "finished_at IS NULL ORDER BY created_at LIMIT %s", [100])


def _read(connection: psycopg.Connection, condition: str, values: list[Any]) -> list[ReportJob]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(f"SELECT {_COLUMNS} FROM report_job WHERE {condition}", values).fetchall()  # noqa: S608 - both are ours
    return [ReportJob(*row) for row in rows]


def result_of(connection: psycopg.Connection, job: uuid.UUID) -> bytes:
    """What a job became; `NotRecorded` while there is nothing, or not any more."""
    row = connection.execute("SELECT result FROM report_job WHERE job = %s", [job]).fetchone()
    if row is None or row[0] is None:
        raise NotRecorded(f"there is no result of {job}: it is being made, it failed, or it is emptied; see the job")
    return zlib.decompress(row[0])


def note_report(database: Database, job: uuid.UUID, done: int) -> None:
    """How far a job is."""
    with database.connection() as connection:
        connection.execute("UPDATE report_job SET done = %s WHERE job = %s", [done, job])


def finish_report(database: Database, job: uuid.UUID, at: datetime, result: bytes | str) -> None:
    """It is over: with its bytes, or with the reason why there are none."""
    if isinstance(result, bytes) and len(result) > RESULT_BYTES_MAX:
        result = f"the result has {len(result)} bytes, of at most {RESULT_BYTES_MAX}: ask for less at once"
    is_made = isinstance(result, bytes)
    values = [
        at, STAGES if is_made else 0, len(result) if is_made else None,
        zlib.compress(result, 6) if isinstance(result, bytes) else None, None if is_made else result, job,
    ]  # fmt: skip
    with database.connection() as connection:
        connection.execute(
            "UPDATE report_job SET finished_at = %s, done = %s, size = %s, result = %s, error = %s WHERE job = %s",
            values,
        )
