"""Reports for people: a form for each, the result shown or downloaded, long ones as jobs; and the assessment."""

import uuid
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from markupsafe import Markup

from api import problems
from api.auth import LedgerHere, MayTrace, Rule
from api.console.pages import page
from api.reports import directly, file_answer, job_json, may_ask
from ledger.access import Action, Actor
from ledger.errors import LedgerError, UnacceptableRecord
from ledger.report_jobs import get_report, reports_of
from reports.all import REPORTS, report_of
from reports.assessment import REPORT as ASSESSMENT
from reports.catalogue import Report
from reports.document import Grid, Language
from reports.render import FORMATS, html_body, render

router = APIRouter(tags=["pages"], include_in_schema=False)
SeesBoard = Annotated[Actor, Depends(Rule(Action.SEE_BOARD))]
_OWN = frozenset({"format", "language"})


@router.get("/console/reports")
def reports_page(request: Request, ledger: LedgerHere, actor: MayTrace) -> Response:
    """A form for each report that the reader may ask for, and their jobs."""
    with ledger.database.connection() as connection:
        jobs = [job_json(one) for one in reports_of(connection, actor.name)]
    return page(
        request, "reports.html", actor, reports=[one for one in REPORTS.values() if may_ask(actor, one)], jobs=jobs,
        formats=FORMATS, languages=list(Language), shown=None, job=None, wrong=None, long=None,
    )  # fmt: skip


@router.get("/console/reports/jobs/{job}")
def job_page(request: Request, ledger: LedgerHere, actor: MayTrace, job: uuid.UUID) -> Response:
    """How far a job is, looking again by itself until it is done."""
    with ledger.database.connection() as connection:
        found = get_report(connection, job, actor.name)
    return _page(request, actor, report_of(found.report), found.parameters, job=job_json(found))


@router.get("/console/reports/{report}")
def report_page(
    request: Request, ledger: LedgerHere, actor: MayTrace, report: str,
    form: Annotated[str, Query(alias="format", pattern=f"^({'|'.join(FORMATS)})$")] = "html",
    language: Language = Language.CHINESE,
) -> Response:  # fmt: skip
    """The report that a form asked for: shown, as a file, or as what is to be given as a job."""
    wanted = report_of(report)
    actor.require(wanted.action)
    given = {name: value.strip() for name, value in request.query_params.items() if name not in _OWN}
    given = {name: value for name, value in given.items() if value}
    try:
        document = directly(ledger, actor, wanted, given, form)
    except LedgerError as error:
        return _page(request, actor, wanted, given, wrong=str(error), status=problems.STATUS[type(error)][0])
    if document is None:
        long = {"format": form, "language": str(language), "job": str(uuid.uuid4())}
        return _page(request, actor, wanted, given, long=long)
    if form != "html":
        return file_answer(wanted.name, form, render(document, form, language))
    shown = Markup(html_body(document, language))  # noqa: S704 - all texts in it are escaped there
    return _page(request, actor, wanted, given, shown=shown)


def _page(
    request: Request, actor: Actor, wanted: Report, given: dict[str, str], status: int = 200, **more: Any
) -> Response:  # fmt: skip
    rest: dict[str, Any] = {"shown": None, "job": None, "wrong": None, "long": None} | more
    return page(
        request, "reports.html", actor, status, reports=[wanted], jobs=[], given=given, formats=FORMATS,
        languages=list(Language), **rest,
    )  # fmt: skip


@router.get("/console/assessment")
def assessment_page(
    request: Request, ledger: LedgerHere, actor: SeesBoard, month: str = "", *, whole: bool = False
) -> Response:  # fmt: skip
    """Each node's and party's score of a month, with the entries behind it: the page first, then what takes longer."""
    if not whole:
        part = f"/console/assessment?{urlencode({'month': month, 'whole': 'true'})}"
        return page(request, "assessment.html", actor, grids=[], month=month, wrong=None, long=False, part=part)
    try:
        document = directly(ledger, actor, ASSESSMENT, {"month": month} if month else {}, "html")
        wrong = None
    except UnacceptableRecord as error:
        document, wrong = None, str(error)
    grids = [] if document is None else [one for one in document.sections if isinstance(one, Grid)]
    return page(
        request, "assessment.html", actor, 200 if wrong is None else 400, grids=grids, wrong=wrong, part=None,
        month=month if document is None else document.subject, long=document is None and wrong is None,
    )  # fmt: skip
