"""Reports over HTTP: which there are, making one at once, and long ones as jobs with progress and download.

What takes longer than `DIRECT_S` to read, or is too large to be drawn at once, becomes a job by itself; whoever gives a
job's id has it made as a job from the start. A job is made by the process that was given it; where that dies, by
whichever starts or is given one next.
"""

import hashlib
import logging
import uuid
from datetime import datetime
from typing import Annotated, Literal

import psycopg
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import OperationalError

from api import bulk
from api.auth import LedgerHere, MayTrace
from api.bodies import Input, documented_model, json_answer, parsed
from api.ledger import Ledger, now
from ledger.access import ALLOWED, Actor
from ledger.credentials import get_credential
from ledger.documents import Json
from ledger.entries import time_text
from ledger.errors import LedgerError, Unavailable, UnreadableCode
from ledger.packs.jobs import holding
from ledger.report_jobs import (
    ReportJob,
    finish_report,
    get_report,
    keep_report,
    note_report,
    result_of,
    unfinished_reports,
)
from ledger.tables import checkpoint
from reports.all import REPORTS, report_of
from reports.catalogue import Report, Source
from reports.document import Basis, Document, Grid, Language, Phrase
from reports.render import FORMATS, MEDIA, render

router = APIRouter(tags=["reports"])
DIRECT_S = 8
DIRECT_CELLS = {"pdf": 15_000, "xlsx": 200_000}
DIRECT_CELLS_ELSE = 500_000
"""How many cells of tables are drawn while somebody waits: a page of PDF takes longest."""
Said = Annotated[str, Field(max_length=1_000, pattern="^[^\\x00]*$")]
_log = logging.getLogger(__name__)


class ReportBody(Input):
    """What to make, and how."""

    parameters: dict[str, Said] = Field(default={}, examples=[{"month": "2026-10"}], max_length=20)
    format: Literal["html", "pdf", "xlsx", "csv", "json"] = Field(default="json", examples=["pdf"])
    language: Literal["zh", "en"] = Field(default="zh", examples=["zh"])
    job: str | None = Field(default=None, description="a UUID of yours: it is made as a job of this id")


# --- making -----------------------------------------------------------------------------------------


def basis(connection: Connection, ledger: Ledger, actor: Actor, at: datetime) -> Basis:
    """What a report made now rests on: the latest checkpoint."""
    question = select(checkpoint.c.size, checkpoint.c.root).order_by(checkpoint.c.size.desc()).limit(1)
    row = connection.execute(question).one_or_none()
    size, root = (0, hashlib.sha256().digest()) if row is None else (row.size, bytes(row.root))
    return Basis(ledger.settings.origin, at, size, root.hex(), actor.name, at)


def made(
    ledger: Ledger, actor: Actor, report: Report, parameters: dict[str, str], within_s: int | None = None,
    at: datetime | None = None,
) -> Document | None:  # fmt: skip
    """The document, from one snapshot, as of `at`; None where a question of it takes longer than `within_s`."""
    with ledger.database.read() as connection:
        try:
            if within_s is not None:
                connection.execute(text(f"SET LOCAL statement_timeout = '{int(within_s)}s'"))
            found = basis(connection, ledger, actor, at or now())
            return report.made(Source(connection, actor, ledger.vault, ledger.settings.zone, found), parameters)
        except OperationalError as error:
            if isinstance(error.orig, psycopg.errors.QueryCanceled):
                return None
            raise


def directly(
    ledger: Ledger, actor: Actor, report: Report, parameters: dict[str, str], form: str
) -> Document | None:  # fmt: skip
    """The document, where it is one to wait for; None where it is one for a job."""
    document = made(ledger, actor, report, parameters, DIRECT_S)
    if document is None:
        return None
    cells = sum(len(one.rows) * len(one.columns) for one in document.sections if isinstance(one, Grid))
    return document if cells <= DIRECT_CELLS.get(form, DIRECT_CELLS_ELSE) else None


def file_answer(report: str, form: str, data: bytes) -> Response:
    """A report as a file; as a page of its own it may do nothing but look as it does."""
    return Response(data, media_type=MEDIA[form], headers={
        "Content-Disposition": f'{"inline" if form in ("html", "json") else "attachment"}; '
        f'filename="suyuan-{report}.{form}"',
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
    })  # fmt: skip


class Runner(bulk.Runner):
    """A process's thread that makes reports."""

    def _do_all(self, connection: psycopg.Connection) -> None:
        for job in unfinished_reports(connection):
            with holding(connection, job.job) as mine:
                if mine and not self._closed.is_set() and get_report(connection, job.job, job.credential) == job:
                    self._make(job)

    def _make(self, job: ReportJob) -> None:
        """Read, draw and keep it; what stops it is kept with it. A database out of reach is waited for."""
        ledger = self._ledger
        try:
            with ledger.database.read() as connection:
                actor = get_credential(connection, job.credential).acting(now())
            document = made(ledger, actor, report_of(job.report), job.parameters)
            note_report(ledger.database, job.job, 1)
            result: bytes | str = b"" if document is None else render(document, job.format, Language(job.language))
            note_report(ledger.database, job.job, 2)
        except Unavailable:
            raise
        except LedgerError as error:
            result = str(error)
        except Exception:  # a mistake in one report must not end the thread that makes all of them
            _log.exception("the report %s of job %s failed", job.report, job.job)
            result = "it could not be made: the log of the server says why"
        finish_report(ledger.database, job.job, now(), result)


# --- routes -----------------------------------------------------------------------------------------


def may_ask(actor: Actor, report: Report) -> bool:
    """Whether the reader's role covers a report."""
    allowed = ALLOWED[report.action]
    return allowed is None or actor.role in allowed


def job_id(said: str | None) -> uuid.UUID:
    """The id that was given, or a new one."""
    try:
        return uuid.uuid4() if said is None else uuid.UUID(said)
    except ValueError:
        raise UnreadableCode("job", said or "", "it is a UUID") from None


def start(
    request: Request, actor: Actor, report: Report, parameters: dict[str, str], form: str, language: str, job: uuid.UUID
) -> ReportJob:  # fmt: skip
    """Give a report to be made as a job."""
    actor.require(report.action)
    found = ReportJob(job, actor.name, now(), None, report.name, parameters, form, language)
    keep_report(request.app.state.ledger.database, found)
    request.app.state.reports.wake()
    return found


@router.get("/reports")
async def get_reports(actor: MayTrace) -> Response:
    """The reports that this credential may ask for, with their parameters and formats."""
    return json_answer({
        "reports": [
            {"report": one.name, "title": _phrase(one.title), "parameters": {
                name: {"help": _phrase(asked.help), "example": asked.example, "required": asked.required}
                for name, asked in one.parameters.items()
            }}
            for one in REPORTS.values() if may_ask(actor, one)
        ],
        "formats": list(FORMATS), "languages": list(Language),
    })  # fmt: skip


def _phrase(one: Phrase) -> Json:
    return {"zh": one.zh, "en": one.en}


@router.post("/reports/{report}", openapi_extra=documented_model(ReportBody))
def post_report(
    ledger: LedgerHere, actor: MayTrace, request: Request, report: str,
    body: Annotated[ReportBody, Depends(parsed(ReportBody))],
) -> Response:  # fmt: skip
    """Make a report: answered with it, or, where it takes long, with 202 and `Location` of the job that makes it."""
    wanted = report_of(report)
    if body.job is None:
        document = directly(ledger, actor, wanted, body.parameters, body.format)
        if document is not None:
            return file_answer(wanted.name, body.format, render(document, body.format, Language(body.language)))
    job = start(request, actor, wanted, body.parameters, body.format, body.language, job_id(body.job))
    return json_answer(job_json(job), 202, {"Location": f"/reports/jobs/{job.job}"})


@router.get("/reports/jobs/{job}")
def get_job(ledger: LedgerHere, actor: MayTrace, job: uuid.UUID) -> Response:
    """How far a job is."""
    with ledger.database.connection() as connection:
        return json_answer(job_json(get_report(connection, job, actor.name)))


@router.get("/reports/jobs/{job}/result")
def get_result(ledger: LedgerHere, actor: MayTrace, job: uuid.UUID) -> Response:
    """What a job became, for some days."""
    with ledger.database.connection() as connection:
        found = get_report(connection, job, actor.name)
        data = result_of(connection, job)
    return file_answer(found.report, found.format, data)


def job_json(job: ReportJob) -> Json:
    """A job as programs see it."""
    return {
        "job": str(job.job), "report": job.report, "parameters": job.parameters, "format": job.format,
        "language": job.language, "total": job.total, "done": job.done, "running": job.finished_at is None,
        "size": job.size, "error": job.error, "createdAt": time_text(job.created_at),
        "finishedAt": job.finished_at and time_text(job.finished_at),
    }  # fmt: skip
