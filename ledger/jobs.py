"""Capture jobs: how a capture ended, kept so that it can be asked for again (EPCIS 2.0, CaptureJob).

A job is written once, when its capture has ended: the answer to a capture is given after its entries are on disk, so
there is never a job that still runs or that a crash could lose.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Row, select, tuple_

from ledger.capture import ErrorBehaviour
from ledger.database import Database
from ledger.errors import NotRecorded
from ledger.tables import capture_job


@dataclass(frozen=True, slots=True)
class Job:
    """How one capture ended. `errors` are problem documents."""

    job: uuid.UUID
    credential: str
    created_at: datetime
    finished_at: datetime
    success: bool
    error_behaviour: ErrorBehaviour
    errors: Sequence[dict[str, Any]]
    receipt: str


def keep_job(database: Database, job: Job) -> None:
    """Write the job down."""
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO capture_job"
            " (job, credential, created_at, finished_at, success, error_behaviour, errors, receipt)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                job.job, job.credential, job.created_at, job.finished_at, job.success, str(job.error_behaviour),
                Jsonb(list(job.errors)), job.receipt,
            ],
        )  # fmt: skip


def _job(row: Row[Any]) -> Job:
    return Job(
        row.job, row.credential, row.created_at, row.finished_at, row.success, ErrorBehaviour(row.error_behaviour),
        row.errors, row.receipt,
    )  # fmt: skip


def get_job(connection: Connection, job: uuid.UUID, credential: str) -> Job:
    """A capture of this credential; `NotRecorded` where there is none."""
    question = select(capture_job).where(capture_job.c.job == job, capture_job.c.credential == credential)
    row = connection.execute(question).one_or_none()
    if row is None:
        raise NotRecorded(f"there is no capture {job} of yours")
    return _job(row)


def jobs_of(connection: Connection, credential: str, before: Job | None, limit: int) -> list[Job]:
    """The captures of this credential, newest first, from the one after `before` on."""
    table = capture_job
    question = select(table).where(table.c.credential == credential)
    if before is not None:
        question = question.where(tuple_(table.c.created_at, table.c.job) < (before.created_at, before.job))
    question = question.order_by(table.c.created_at.desc(), table.c.job.desc()).limit(limit)
    return [_job(row) for row in connection.execute(question)]
