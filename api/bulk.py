"""Commands for up to 500,000 packs over HTTP: a job with its progress, and an answer for each code.

A job is done in parts by the process that was given it; where that dies, by whichever starts or is given one next.
"""

import logging
import threading
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Annotated

import psycopg
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, WithJsonSchema

from api.auth import LedgerHere, MayCheckPacks, MayCommand
from api.bodies import FieldReader, Input, documented_model, json_answer, parsed
from api.ledger import Ledger, now
from api.packs import Batch, Said, packs_of, state_of, verdict_json
from ledger.access import Actor
from ledger.codes import node_text, parse_node
from ledger.credentials import get_credential
from ledger.documents import Json, write_json
from ledger.entries import time_text
from ledger.errors import Breach, Busy, LedgerError, LimitExceeded, NotRecorded, UnacceptableRecord, Unavailable
from ledger.fields import moment
from ledger.packs.counter import Answer, Ask, Counter
from ledger.packs.decision import Mode, Order
from ledger.packs.jobs import (
    CODES_MAX,
    PART,
    Job,
    codes_of,
    get_job,
    holding,
    keep_job,
    note_progress,
    unfinished,
)
from ledger.packs.states import Command

router = APIRouter(tags=["packs"])
PAUSE_S = 1.0
_log = logging.getLogger(__name__)


class BulkBody(Input):
    """One command for many packs."""

    job: str = Field(description="a UUID of yours; the same job is sent under the same", examples=[
        "0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a02"
    ])  # fmt: skip
    node: str = Field(examples=["330212001"])
    command: Annotated[Command, WithJsonSchema({"type": "string", "enum": [*Command]})] = Field(
        examples=["receive"], strict=False
    )
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"])
    codes: list[str] = Field(examples=[["81234560000000030003"]], min_length=1, max_length=CODES_MAX)
    mode: str = Field(default="scan", description="scan, manual or offline")
    batch: Batch = Field(default=None, description="of all the packs, where their codes do not say")
    expires: str | None = Field(default=None, max_length=20)
    sendsFnc1: bool = Field(default=False, description="calibration has shown that the scanner sends FNC1")
    undoes: str | None = Field(default=None, description="the state to be undone")


class Runner:
    """A process's thread that does jobs."""

    every_s: float | None = None
    """It looks again after so long, also where nobody wakes it; None: it does not."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._given = threading.Event()
        self._given.set()  # jobs that another process left
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bulk", daemon=True)
        self._thread.start()
        ledger.exits.callback(self._close)

    def wake(self) -> None:
        """There is a job."""
        self._given.set()

    def _close(self) -> None:
        self._closed.set()
        self._given.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._given.wait(self.every_s)
            self._given.clear()
            try:
                with self._ledger.database.connect() as connection:
                    connection.autocommit = True
                    self._do_all(connection)
            except (psycopg.Error, Unavailable):
                _log.exception("jobs are interrupted; they go on when the database does")
                self._given.set()
                self._closed.wait(PAUSE_S)

    def _do_all(self, connection: psycopg.Connection) -> None:
        for job in unfinished(connection):
            with holding(connection, job.job) as mine:
                if mine and not self._closed.is_set():
                    self._do(job, codes_of(connection, job.job))

    def _do(self, job: Job, codes: list[str]) -> None:
        """Part by part, from where it is; what stops it is kept with it."""
        ledger, done = self._ledger, job.done
        while done < job.total and not self._closed.is_set():
            last = min(job.total, done + PART)
            try:
                with ledger.database.read() as connection:
                    actor = get_credential(connection, job.credential).acting(now())
                for _ in answers(ledger.counter, job, actor, codes, done, last, ledger.today()):
                    pass  # what was decided is recorded, and found again by its id
            except (Busy, Unavailable):
                self._closed.wait(PAUSE_S)
                continue
            except LedgerError as error:
                note_progress(ledger.database, job.job, done, now(), str(error))
                return
            done = last
            note_progress(ledger.database, job.job, done, now() if done == job.total else None, None)


def answers(
    counter: Counter, job: Job, actor: Actor, codes: list[str], first: int, last: int, today: date
) -> Iterator[tuple[list[Said], Answer | LedgerError | None, list[Breach]]]:  # fmt: skip
    """What is decided for codes `first` … `last - 1`, or was: by parts that a bill could hold, containers opened.

    With each part the packs that it names, and the codes that cannot be read; None where no other are left.
    """
    breaches: list[Breach] = []
    batch, expires = job.order.get("batch"), job.order.get("expires")
    given = packs_of(codes[first:last], today, batch, expires, breaches, sends_fnc1=job.order.get("sendsFnc1", False))
    if not given:
        yield given, None, breaches
        return
    try:
        found: Answer | LedgerError = counter.ask(_ask(job, actor, given, first, last)).result()
    except (LimitExceeded, NotRecorded) as error:  # cases with too much in them together, or one that is not known
        if last - first > 1:
            middle = (first + last) // 2
            yield from answers(counter, job, actor, codes, first, middle, today)
            yield from answers(counter, job, actor, codes, middle, last, today)
            return
        found = error
    yield given, found, breaches


def _ask(job: Job, actor: Actor, given: list[Said], first: int, last: int) -> Ask:
    order = job.order
    command = Command.of(order["command"])
    scan = str(uuid.uuid5(job.job, f"{first}-{last}"))
    at, mode, undoes = moment(order["at"]), Mode.of(order["mode"]), state_of(order.get("undoes"))
    orders = tuple(
        Order(scan, command, one.code, job.node, actor.name, at, mode, one.batch, one.expires, 0, undoes, single=False)
        for one in given
    )
    raw = {"job": str(job.job), "first": first, "last": last}
    return Ask(scan, actor, orders, raw, only_asks=command is Command.VERIFY)


@router.post("/packs/bulk", status_code=202, openapi_extra=documented_model(BulkBody))
def post_bulk(
    ledger: LedgerHere, actor: MayCommand, request: Request, body: Annotated[BulkBody, Depends(parsed(BulkBody))]
) -> Response:  # fmt: skip
    """Give a command for many packs. It is done in parts; `Location` says how far it is, and what was decided."""
    read = FieldReader()
    job_id = read("job", lambda: uuid.UUID(body.job))
    node = read("node", lambda: parse_node(body.node))
    read("at", lambda: moment(body.at))
    read("mode", lambda: Mode.of(body.mode))
    read("undoes", lambda: state_of(body.undoes))
    packs_of([], ledger.today(), body.batch, body.expires, read.breaches)
    if body.command is Command.SPLIT:
        read.breaches.append(Breach("command", "units of packs are sold one by one"))
    if read.breaches or job_id is None or node is None:
        raise UnacceptableRecord(read.breaches)
    actor.require_node(node)
    order = body.model_dump(mode="json", exclude_none=True, exclude={"job", "node", "codes"})
    job = Job(job_id, actor.name, now(), None, node, order, len(body.codes))
    keep_job(ledger.database, job, body.codes)
    request.app.state.bulk.wake()
    return json_answer(_progress(job), 202, {"Location": f"/packs/bulk/{job.job}"})


@router.get("/packs/bulk/{job}")
def get_bulk(ledger: LedgerHere, actor: MayCheckPacks, job: uuid.UUID) -> Response:
    """How far a job is."""
    with ledger.database.connection() as connection:
        return json_answer(_progress(get_job(connection, job, actor.name)))


@router.get("/packs/bulk/{job}/results")
def get_results(ledger: LedgerHere, actor: MayCheckPacks, job: uuid.UUID) -> StreamingResponse:
    """The answer for each pack, a line of JSON each, as far as the job is."""
    with ledger.database.connection() as connection:
        found = get_job(connection, job, actor.name)
        codes = codes_of(connection, job)
    command = Command.of(found.order["command"])

    def lines() -> Iterator[bytes]:
        for first, last in found.parts():
            if last > found.done:
                return
            for given, answer, breaches in answers(ledger.counter, found, actor, codes, first, last, ledger.today()):
                yield from (write_json({"error": str(breach)}) + b"\n" for breach in breaches)
                if isinstance(answer, LedgerError):
                    yield from (write_json({"code": one.code, "error": str(answer)}) + b"\n" for one in given)
                    continue
                for verdict in answer.verdicts if answer is not None else ():
                    yield write_json(verdict_json(verdict, found.node, command)) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _progress(job: Job) -> Json:
    return {
        "job": str(job.job), "node": node_text(job.node), "order": job.order, "total": job.total, "done": job.done,
        "running": job.finished_at is None, "error": job.error,
        "createdAt": time_text(job.created_at), "finishedAt": job.finished_at and time_text(job.finished_at),
    }  # fmt: skip
