"""Reports that are published by themselves: the thread that makes them, their files, and how a schedule does.

Schedules and publications are registers (`ledger/registers/publishing.py`): filing and listing them is the registry's.
"""

import logging
from datetime import UTC, datetime

import psycopg
from fastapi import APIRouter, Response

from api import reports
from api.auth import LedgerHere, MayTrace
from api.bodies import json_answer
from api.ledger import Ledger, now
from api.registry import record_of
from ledger.access import Actor
from ledger.append import Clock
from ledger.documents import Json
from ledger.entries import time_text
from ledger.errors import Conflict, LedgerError, LimitExceeded, Unavailable
from ledger.packs.jobs import holding
from ledger.publishing import (
    Due,
    Failure,
    Published,
    Schedule,
    begin,
    fail,
    is_open,
    keep,
    look,
    nothing_published,
    published,
    schedules,
    to_file,
)
from ledger.registers import REPORT_SCHEDULE
from reports.all import report_of
from reports.document import Language
from reports.render import render

router = APIRouter(tags=["reports"])
_log = logging.getLogger(__name__)


class Publisher:
    """Finds what is due, and makes it. One question where nothing is: it knows when to look again."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._seen: list[Schedule] = []
        self._rest_until = datetime.min.replace(tzinfo=UTC)

    def due(self, connection: psycopg.Connection) -> list[Due]:
        """What is to be made now, the oldest first."""
        at, found = self._clock(), schedules(connection)
        if found == self._seen and at < self._rest_until:
            return []
        looked = look(connection, found, at, self._ledger.settings.zone)
        self._seen, self._rest_until = found, at if looked.due else looked.next_at
        return looked.due

    def publish(self, connection: psycopg.Connection, due: Due) -> None:
        """Make, keep and file it, from the step that is missing, if no other process does; a failure is kept."""
        with holding(connection, due.job) as mine:
            if not mine or not is_open(connection, due):
                return
            begin(self._ledger.database, due, self._clock())
            if not self._file(connection, due):
                self._make(due)
                self._file(connection, due)

    def _file(self, connection: psycopg.Connection, due: Due) -> bool:
        """File what is kept; whether anything is. What cannot be filed now stays kept, for the next round."""
        today = self._clock().astimezone(self._ledger.settings.zone).date()
        try:
            request = to_file(connection, self._ledger.vault, due, today)
            if request is None:
                return False
            self._ledger.record(request)
        except Conflict:
            pass  # another process filed what was kept
        except LedgerError as error:
            _log.error("the report %s is made and cannot be filed yet: %s", due.code, error)
        return True

    def _make(self, due: Due) -> None:
        """Read, draw and keep it. Errors are kept, and rest; so does what a database out of reach cut off."""
        ledger, one = self._ledger, due.schedule
        try:
            document = reports.made(ledger, one.reader, report_of(one.report), due.parameters, at=self._clock())
            if document is None:
                raise LimitExceeded("the database ended a question that took too long")
            data = render(document, one.form, Language(one.language))
            rests = document.basis
            keep(ledger.database, due, self._clock(), data, rests.as_of, rests.size, document.hash)
            return
        except Unavailable:
            raise
        except LedgerError as error:
            reason = str(error)
            _log.error("the report %s cannot be published: %s", due.code, reason)
        except Exception:  # a mistake in one report must not end the thread that makes all of them
            reason = "it could not be made: the log of the server says why"
            _log.exception("the report %s cannot be published", due.code)
        fail(ledger.database, due, self._clock(), reason)


class Runner(reports.Runner):
    """The thread that makes reports, which looks each minute for those that are to be published."""

    every_s = 60.0

    def __init__(self, ledger: Ledger, clock: Clock = now) -> None:
        self._publisher = Publisher(ledger, clock)
        super().__init__(ledger)

    def _do_all(self, connection: psycopg.Connection) -> None:
        super()._do_all(connection)
        for due in self._publisher.due(connection):
            if self._closed.is_set():
                return
            self._publisher.publish(connection, due)
            if self._given.is_set():  # somebody waits for a report of his own
                self._given.clear()
                super()._do_all(connection)


# --- routes -----------------------------------------------------------------------------------------


def file_of(connection: psycopg.Connection, actor: Actor, code: str) -> Published:
    """The file of a publication, for whoever may see its node and may ask for such a report."""
    found = published(connection, code)
    if not actor.may_see(found.node):
        raise nothing_published(code)
    actor.require(report_of(found.report).action)
    return found


@router.get("/reports/published/{code}")
def get_published(ledger: LedgerHere, actor: MayTrace, code: str) -> Response:
    """The file of a published report, as its entry has the hash of it."""
    with ledger.database.connection() as connection:
        found = file_of(connection, actor, code)
    return reports.file_answer(found.code, found.form, found.data)


@router.get("/reports/schedules/{code}")
def get_schedule(ledger: LedgerHere, actor: MayTrace, code: str) -> Response:
    """How a schedule does: what waits to be published, what failed and when it is tried again, what comes next."""
    filed = record_of(ledger, actor, REPORT_SCHEDULE, code)
    with ledger.database.connection() as connection:
        looked = look(connection, schedules(connection, filed.key[0]), now(), ledger.settings.zone)
    return json_answer({
        **filed.shown(), "waiting": [due.code for due in looked.due],
        "failed": [_failure_json(one) for one in looked.resting], "looksAgainAt": time_text(looked.next_at),
    })  # fmt: skip


def _failure_json(one: Failure) -> Json:
    return {
        "published": one.due.code, "period": one.due.period.name, "error": one.error, "at": time_text(one.at),
        "againAt": time_text(one.again_at),
    }  # fmt: skip
