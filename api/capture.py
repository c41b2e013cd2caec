"""EPCIS 2.0 capture over HTTP: `POST /capture`, `POST /events`, and how captures ended.

A capture is answered when its entries are on disk: 202 as the standard has it, and the job that `Location` names has
ended already.
"""

import asyncio
import base64
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from api.auth import Anybody, LedgerHere, MayCapture, MayRead
from api.bodies import JSON_TYPES, Body, documented
from api.examples import BARE_EVENT, DOCUMENT
from api.ledger import Ledger, now
from api.paths import uri_in_path
from api.problems import LIMIT_HEADERS, NotAcceptable, problem
from ledger import append
from ledger.access import Actor
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import NodeCode, node_text
from ledger.documents import read_document, write_json
from ledger.entries import time_text
from ledger.errors import Breach, LedgerError, UnacceptableEvent
from ledger.jobs import Job, get_job, jobs_of, keep_job
from ledger.nodes import OPERATOR, places_of
from ledger.notes import Recorded
from ledger.reads import entries_of_event, get_entry

EPCIS_CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
VERSIONS = {"GS1-EPCIS-Version": "2.0.0", "GS1-CBV-Version": "2.0.0"}
_OPTIONS = {
    **VERSIONS,
    **LIMIT_HEADERS,
    "GS1-EPCIS-Min": "2.0.0",
    "GS1-EPCIS-Max": "2.0.0",
    "GS1-CBV-Min": "2.0.0",
    "GS1-CBV-Max": "2.0.0",
    "GS1-EPC-Format": "Never_Translates",
    "GS1-Capture-Error-Behaviour": "all",
}


def _number(version: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}", version):
        raise NotAcceptable(f"{version!r} is no version, such as 2.0.0")
    return (*map(int, version.split(".")), 0, 0, 0)[:4]


async def _require_our_version(request: Request) -> None:
    """The caller's headers of versions, where there are any, leave room for ours."""
    for name, version in VERSIONS.items():
        ours = _number(version)
        for bound, fits in (("Version", ours.__eq__), ("Min", ours.__ge__), ("Max", ours.__le__)):
            header = name.replace("Version", bound)
            asked = request.headers.get(header)
            if asked is not None and not fits(_number(asked)):
                raise NotAcceptable(f"{header} is {asked}, but this speaks {version}")


router = APIRouter(tags=["EPCIS 2.0"], dependencies=[Depends(_require_our_version)])

_preparing = ThreadPoolExecutor(2, thread_name_prefix="prepare")
"""Checking a document is work for one core: more threads than this would only wait for each other."""


def _body(example: dict[str, Any]) -> dict[str, Any]:
    return documented({"type": "object"}, example, *reversed(JSON_TYPES))


def prepare(ledger: Ledger, actor: Actor, body: bytes, behaviour: ErrorBehaviour) -> list[append.Request]:
    """Check a body and make its requests; raises what is wrong with it."""
    document = read_document(body)
    with ledger.database.read() as connection:
        places = places_of(connection, actor)
    return requests_of(document, actor, places, behaviour, ledger.secret)


async def _prepared(ledger: Ledger, actor: Actor, body: bytes, behaviour: ErrorBehaviour) -> list[append.Request]:
    return await asyncio.get_running_loop().run_in_executor(_preparing, prepare, ledger, actor, body, behaviour)


async def _record(ledger: Ledger, requests: list[append.Request]) -> list[append.Outcome]:
    """Hand all to the lanes and wait without holding a thread."""
    answers = [asyncio.wrap_future(ledger.lanes.submit(request)) for request in requests]
    outcomes: list[append.Outcome] = []
    for outcome in await asyncio.gather(*answers, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, LedgerError):
            raise outcome
        outcomes.append(outcome)
    return outcomes


Behaviour = Annotated[
    ErrorBehaviour,
    Header(alias="GS1-Capture-Error-Behaviour", description="all or nothing, or each event by itself"),
]


@router.post("/capture", status_code=202, openapi_extra=_body(DOCUMENT))
async def capture(
    ledger: LedgerHere, actor: MayCapture, body: Body, behaviour: Behaviour = ErrorBehaviour.ROLLBACK
) -> Response:
    """Capture an EPCISDocument or EPCISQueryDocument. Everything is on disk, or refused, when this is answered."""
    began = now()
    requests = await _prepared(ledger, actor, body, behaviour)
    outcomes = await _record(ledger, requests)
    recorded = [place for outcome in outcomes if isinstance(outcome, list) for place in outcome]
    errors = [error for error in outcomes if isinstance(error, LedgerError)]
    for error in errors:
        if problem(error)["status"] >= 500 and not recorded:
            raise error  # nothing was written, and the same request again may well succeed
    job = Job(
        uuid.uuid4(), actor.name, began, now(), not errors, behaviour, [problem(error) for error in errors],
        ledger.receipt(recorded),
    )  # fmt: skip
    await asyncio.get_running_loop().run_in_executor(None, keep_job, ledger.database, job)
    return _json(_job_json(job), 202, {"Location": f"/capture/{job.job}"})


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(write_json(value), status, {**VERSIONS, **(headers or {})}, "application/json")


def _job_json(job: Job) -> dict[str, Any]:
    return {
        "captureID": str(job.job), "createdAt": time_text(job.created_at), "finishedAt": time_text(job.finished_at),
        "running": False, "success": job.success, "captureErrorBehaviour": str(job.error_behaviour),
        "errors": list(job.errors), "suyuan:receipt": job.receipt,
    }  # fmt: skip


@router.get("/capture/{capture_id}")
def capture_job(ledger: LedgerHere, actor: MayCapture, capture_id: uuid.UUID) -> Response:
    """How a capture ended, with its signed receipt."""
    with ledger.database.read() as connection:
        return _json(_job_json(get_job(connection, capture_id, actor.name)))


@router.get("/capture")
def capture_jobs(
    ledger: LedgerHere,
    actor: MayCapture,
    per_page: Annotated[int, Query(alias="perPage", ge=1, le=100)] = 30,
    after: Annotated[uuid.UUID | None, Query(alias="nextPageToken")] = None,
) -> Response:
    """Your captures, newest first; `Link` names the next page."""
    with ledger.database.read() as connection:
        before = get_job(connection, after, actor.name) if after else None
        jobs = jobs_of(connection, actor.name, before, per_page + 1)
    shown = jobs[:per_page]
    headers = {}
    if len(jobs) > per_page:
        headers["Link"] = f'</capture?perPage={per_page}&nextPageToken={shown[-1].job}>; rel="next"'
    return _json([_job_json(job) for job in shown], headers=headers)


@router.post("/events", status_code=201, openapi_extra=_body(BARE_EVENT))
async def capture_event(ledger: LedgerHere, actor: MayCapture, body: Body) -> Response:
    """Capture one event, synchronously. The headers say where it stands, with the signed receipt in base64."""
    requests = await _prepared(ledger, actor, body, ErrorBehaviour.ROLLBACK)
    if len(requests) != 1 or len(requests[0].drafts) != 1:
        raise UnacceptableEvent([Breach("$", "POST /events takes one event; send documents to /capture")])
    (outcome,) = await _record(ledger, requests)
    if isinstance(outcome, LedgerError):
        raise outcome
    name, event = await asyncio.get_running_loop().run_in_executor(None, _event_at, ledger, outcome[0])
    return _json(event, 201, {"Location": f"/events/{quote(name, safe='')}", **_place_headers(ledger, outcome)})


def _place_headers(ledger: Ledger, recorded: list[Recorded]) -> dict[str, str]:
    receipt = base64.b64encode(ledger.receipt(recorded).encode()).decode()
    return {"Suyuan-Entry": f"{node_text(recorded[0].node)}/{recorded[0].seq}", "Suyuan-Receipt": receipt}


def _event_at(ledger: Ledger, recorded: Recorded) -> tuple[str, Any]:
    """The event as it is recorded, for its writer: with the id that it got."""
    with ledger.database.read() as connection:
        found = get_entry(connection, NodeCode(recorded.node), recorded.seq, OPERATOR)
    return found.event["eventID"], _with_context(found.event, found.entry.body.get("@context", []))


def _with_context(event: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
    return {"@context": [EPCIS_CONTEXT, *parts], **event}


@router.get("/events/{event_id:path}")
def event(ledger: LedgerHere, actor: MayRead, request: Request, event_id: str) -> Response:
    """An event, and its error declaration if there is one, as an EPCISQueryDocument."""
    with ledger.database.read() as connection:
        found = entries_of_event(connection, uri_in_path(request, "/events/", event_id), actor)
    events = []
    for one in found:
        recorded = {"recordTime": time_text(one.entry.record_time), **one.event}
        parts = one.entry.body.get("@context", [])
        events.append({"@context": parts, **recorded} if parts else recorded)
    return _json(
        {
            "@context": [EPCIS_CONTEXT], "type": "EPCISQueryDocument", "schemaVersion": "2.0",
            "creationDate": time_text(now()),
            "epcisBody": {"queryResults": {"queryName": "eventByID", "resultsBody": {"eventList": events}}},
        }
    )  # fmt: skip


@router.options("/capture")
def capture_options(_: Anybody) -> Response:
    """What capture takes: versions, limits, error behaviours."""
    return Response(status_code=204, headers={**_OPTIONS, "Allow": "GET, POST, OPTIONS"})


@router.options("/events")
def events_options(_: Anybody) -> Response:
    """What capturing one event takes."""
    return Response(status_code=204, headers={**_OPTIONS, "Allow": "POST, OPTIONS"})


@router.options("/capture/{capture_id}", include_in_schema=False)
@router.options("/events/{event_id:path}", include_in_schema=False)
def one_options(_: Anybody) -> Response:
    """What can be asked of one capture or one event."""
    return Response(status_code=204, headers={**_OPTIONS, "Allow": "GET, OPTIONS"})
