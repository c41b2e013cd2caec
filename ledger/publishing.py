"""Reports that are published by themselves: which are due, what became of each, its file, and the entry that says so.

A publication is made in three steps, each of which may be the last before a crash. It is begun: a job is written down
as one that failed, so that a report that ends its process is not tried at once again. It is kept: the file, and what
its record will say of it, together and once only. It is filed: that record becomes an entry, made of what was kept.
Whoever goes on begins at the first step that is missing, and a step that was taken twice changes nothing.

Files stay as long as the ledger does. They are not in the chain, their hash is: a file that is not of that hash is
given to nobody.
"""

import hashlib
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ledger.access import Action, Actor, Role
from ledger.append import Request
from ledger.cadence import Period, ended, next_end, reported_day
from ledger.codes import CITY
from ledger.database import Database
from ledger.errors import LedgerDamaged, LimitExceeded, NotRecorded
from ledger.registers import PUBLISHED_REPORT, Value
from ledger.registers.publishing import PUBLICATION, Form, Scheduled, Tongue
from ledger.registrar import Registrar
from ledger.report_jobs import RESULT_BYTES_MAX, STAGES
from ledger.vault import Vault

OWN = Actor("publisher", Role.ADMIN, frozenset(), CITY, frozenset({Action.PUBLISH}))
"""The engine itself, where it says what it published. No credential's code is as short."""
AT_ONCE = 31
"""Publications of one schedule that are made one after the other before others have their turn."""
RETRY_LEAST, RETRY_MOST = timedelta(minutes=5), timedelta(hours=6)
BEGUN = "it is being made, or the process that made it ended"
_JOBS = uuid.UUID("6f1c2f0e-3a0b-4a53-9d55-5e1f3f0c8a17")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule in force; `since` is the city's day on which it was filed or revived."""

    code: str
    version: int
    report: Scheduled
    form: Form
    language: Tongue
    since: date

    @property
    def node(self) -> int:
        return int(self.code[:9])

    @property
    def reader(self) -> Actor:
        """Who reads for it: what its node's market may see, or, for the whole city, a regulator."""
        if self.node == CITY:
            return Actor(OWN.name, Role.REGULATOR, frozenset(), CITY)
        return Actor(OWN.name, Role.MARKET, frozenset({self.node}), self.node)


@dataclass(frozen=True, slots=True)
class Due:
    """A publication that is to be made: of a schedule and a period that is over."""

    schedule: Schedule
    period: Period

    @property
    def code(self) -> str:
        return f"{self.schedule.code}-{self.period.name}"

    @property
    def job(self) -> uuid.UUID:
        return job_of(self.code)

    @property
    def parameters(self) -> dict[str, str]:
        """What the report is asked for."""
        report = self.schedule.report
        return {} if report is Scheduled.INTEGRITY else {str(report.cadence): self.period.name}


@dataclass(frozen=True, slots=True)
class Failure:
    """A publication that could not be made: why, when that was, and when it is tried again."""

    due: Due
    error: str
    at: datetime
    again_at: datetime


@dataclass(frozen=True, slots=True)
class Round:
    """What there is to do now, the oldest first; what rests; and when to look again if nothing is filed meanwhile."""

    due: list[Due]
    resting: list[Failure]
    next_at: datetime


def job_of(published: str) -> uuid.UUID:
    """The job under which a publication is made and its file kept."""
    return uuid.uuid5(_JOBS, published)


# --- what is due ------------------------------------------------------------------------------------


def schedules(connection: psycopg.Connection, code: str | None = None) -> list[Schedule]:
    """The schedules in force, or the one of them that is named."""
    rows = connection.execute(
        "SELECT schedule, version, report, format, language, status_since FROM report_schedule"
        " WHERE status = 'active' AND schedule = coalesce(%s, schedule) ORDER BY schedule", [code],
    ).fetchall()  # fmt: skip
    return [
        Schedule(name, version, Scheduled.of(report), Form.of(form), Tongue.of(language or "zh"), since)
        for name, version, report, form, language, since in rows
    ]


_UNPUBLISHED = """
SELECT w.code, j.publication IS NOT NULL, j.error, j.created_at, j.finished_at, j.format, j.language
FROM unnest(%s::text[], %s::uuid[]) AS w (code, job)
LEFT JOIN report_job j ON j.job = w.job AND j.credential = %s
WHERE NOT EXISTS (SELECT FROM published_report p WHERE p.published = w.code)
"""


def look(connection: psycopg.Connection, found: Iterable[Schedule], now: datetime, zone: tzinfo) -> Round:
    """What these schedules ask for now: every period that is over, was not before the schedule, and is not published.

    Of each schedule `AT_ONCE` at most; what failed and rests stands in nobody's way.
    """
    today = reported_day(now, zone)
    wanted = {
        due.code: due for one in found for period in ended(one.report.cadence, one.since, today)
        for due in [Due(one, period)]
    }  # fmt: skip
    ready: dict[str, list[Due]] = {}
    resting: list[Failure] = []
    rows: Sequence[Any] = ()
    if wanted:
        given = [list(wanted), [due.job for due in wanted.values()], OWN.name]
        rows = connection.execute(_UNPUBLISHED, given).fetchall()
    for code, kept, error, began, last, form, language in rows:
        due = wanted[code]
        is_same = (form, language) == (due.schedule.form, due.schedule.language)
        if error is not None and not kept and is_same and (again := _again_at(began, last)) > now:
            resting.append(Failure(due, error, last, again))
        else:
            ready.setdefault(due.schedule.code, []).append(due)
    chosen = [due for some in ready.values() for due in sorted(some, key=_order)[:AT_ONCE]]
    next_at = min([next_end(now, zone), *(one.again_at for one in resting)])
    return Round(sorted(chosen, key=_order), sorted(resting, key=lambda one: _order(one.due)), next_at)


def _order(due: Due) -> tuple[date, str]:
    return due.period.end, due.code


def _again_at(began: datetime, last: datetime) -> datetime:
    """After as long again as it has been failing: each time twice as long, within bounds."""
    return last + min(max(last - began, RETRY_LEAST), RETRY_MOST)


# --- the three steps --------------------------------------------------------------------------------

_BEGIN = """
INSERT INTO report_job AS mine (
    job, credential, created_at, finished_at, report, parameters, format, language, total, done, error
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 0, %s)
ON CONFLICT (job) DO UPDATE SET
    credential = EXCLUDED.credential, finished_at = EXCLUDED.finished_at, report = EXCLUDED.report,
    parameters = EXCLUDED.parameters, format = EXCLUDED.format, language = EXCLUDED.language,
    done = 0, size = NULL, result = NULL, error = EXCLUDED.error, publication = NULL,
    created_at = CASE WHEN mine.credential = EXCLUDED.credential THEN mine.created_at ELSE EXCLUDED.created_at END
WHERE mine.credential <> EXCLUDED.credential OR mine.publication IS NULL
"""
"""A job that somebody gave under this id, which anybody can compute, gives way."""


def begin(database: Database, due: Due, now: datetime) -> None:
    """Write down that it is being made, as a failure from which to rest; nothing where its file is kept already."""
    one = due.schedule
    with database.connection() as connection:
        connection.execute(_BEGIN, [
            due.job, OWN.name, now, now, str(one.report), Jsonb(due.parameters), str(one.form), str(one.language),
            STAGES, BEGUN,
        ])  # fmt: skip


def fail(database: Database, due: Due, now: datetime, error: str) -> None:
    """It could not be made."""
    with database.connection() as connection:
        connection.execute(
            "UPDATE report_job SET finished_at = %s, error = %s"
            " WHERE job = %s AND credential = %s AND publication IS NULL", [now, error, due.job, OWN.name],
        )  # fmt: skip


def keep(database: Database, due: Due, now: datetime, data: bytes, as_of: datetime, size: int, hash_: str) -> None:
    """Keep the file with what its record will say: `size` of its checkpoint, `hash_` of its content.

    Nothing where another process kept one before. `LimitExceeded` where it is too large.
    """
    if len(data) > RESULT_BYTES_MAX:
        raise LimitExceeded(f"the file has {len(data)} bytes, of at most {RESULT_BYTES_MAX}: choose another format")
    one = due.schedule
    said = {
        "published": due.code, "report": str(one.report), "period": due.period.name, "format": str(one.form),
        "language": str(one.language), "as_of": as_of.isoformat(), "size": f"{size}", "hash": hash_,
        "sha256": hashlib.sha256(data).hexdigest(), "bytes": f"{len(data)}",
    }  # fmt: skip
    with database.connection() as connection:
        connection.execute(
            "UPDATE report_job SET finished_at = %s, done = total, size = %s, result = %s, error = NULL,"
            " publication = %s WHERE job = %s AND credential = %s AND publication IS NULL",
            [now, len(data), zlib.compress(data, 6), Jsonb(said), due.job, OWN.name],
        )


def to_file(connection: psycopg.Connection, vault: Vault, due: Due, today: date) -> Request | None:
    """The request that files what is kept, whoever kept it; None while nothing is."""
    row = connection.execute(
        "SELECT publication FROM report_job WHERE job = %s AND credential = %s AND publication IS NOT NULL",
        [due.job, OWN.name],
    ).fetchone()
    if row is None:
        return None
    registrar = Registrar(vault, b"", OWN, today)
    values: dict[str, Value] = registrar.read(PUBLISHED_REPORT, row[0])
    return registrar.file(PUBLISHED_REPORT, values)


def is_open(connection: psycopg.Connection, due: Due) -> bool:
    """Whether it is still to be made: its schedule is as it was, and nobody has filed it."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM report_schedule WHERE schedule = %s AND version = %s AND status = 'active')"
        " AND NOT EXISTS (SELECT FROM published_report WHERE published = %s)",
        [due.schedule.code, due.schedule.version, due.code],
    ).fetchone()
    return row == (True,)


# --- its file ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Published:
    """A published file."""

    code: str
    report: Scheduled
    form: Form
    data: bytes

    @property
    def node(self) -> int:
        return int(self.code[:9])

    @property
    def name(self) -> str:
        return f"suyuan-{self.code}.{self.form}"


def published(connection: psycopg.Connection, code: str) -> Published:
    """The file of a publication; `NotRecorded` where there is none, `LedgerDamaged` where it is not what was filed."""
    if not PUBLICATION.fullmatch(code):
        raise nothing_published(code)
    row = connection.execute(
        "SELECT p.report, p.format, p.sha256, j.result FROM published_report p"
        " LEFT JOIN report_job j ON j.job = %s AND j.credential = %s WHERE p.published = %s",
        [job_of(code), OWN.name, code],
    ).fetchone()
    if row is None:
        raise nothing_published(code)
    report, form, sha256, result = row
    try:
        data = b"" if result is None else zlib.decompress(result)
    except zlib.error:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise LedgerDamaged(f"the file of the published report {code} is not the one that its entry has the hash of")
    return Published(code, Scheduled.of(report), Form.of(form), data)


def nothing_published(code: str) -> NotRecorded:
    """What is said of a publication that is not there, or not to be seen: the same."""
    return NotRecorded(f"no report is published as {code[:80]!r}")
