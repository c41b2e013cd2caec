"""Pages of supervision: warnings and how they are handled, recalls, and who did what."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from api.auth import LedgerHere, MayCheckPacks, MayReadWarnings, MaySeeReadings
from api.console.pages import may, page
from api.ledger import now
from api.recalls import recall_json
from api.warnings import Filter, warning_with_steps
from ledger.access import Action
from ledger.codes import CITY
from ledger.entries import Kind, decode
from ledger.packs.recalls import AMOUNTS
from ledger.registers import HANDLING, RECALL
from ledger.registers.drugs import Grade, Nature, Origin, Range, Regime
from ledger.registers.supervision import Progress
from ledger.registry import Wanted, listing
from ledger.rules.form import Level
from ledger.rules.warnings import shown
from ledger.tables import entry
from ledger.warnings import Asked, list_warnings

Json = dict[str, Any]
router = APIRouter(tags=["pages"], include_in_schema=False)
LOG_MAX = 200
ANSWERED = ("found", "sold", "returned", "destroyed")
"""What a node says of a recalled lot."""


@router.get("/console/warnings")
def warnings_page(
    request: Request, ledger: LedgerHere, actor: MayReadWarnings, asked: Annotated[Filter, Query()]
) -> Response:  # fmt: skip
    """The list of warnings, filtered; live: what is new is told."""
    given = asked.model_dump()
    if "status" not in request.query_params:
        given["status"] = "unclosed"
    given = {name: value or None if isinstance(value, str) else value for name, value in given.items()}
    if given["status"] == "all":
        given["status"] = None
    with ledger.database.read() as connection:
        found = list_warnings(connection, Asked(**given), actor.reach)
    more = found[-1].id if len(found) == asked.limit else None
    return page(
        request, "warnings.html", actor, warnings=[shown(one) for one in found], asked=given, more=more,
        levels=list(Level), progress=list(Progress), query=str(request.query_params),
    )  # fmt: skip


@router.get("/console/warnings/{warning}")
def warning_page(request: Request, ledger: LedgerHere, actor: MayReadWarnings, warning: str) -> Response:
    """One warning: what, why, and the next steps that this reader may take."""
    found = warning_with_steps(ledger, actor, warning)
    steps = [
        step for step in HANDLING.steps
        if found["status"] in step.before and (step.by is None or actor.role in step.by)
    ]  # fmt: skip
    return page(
        request, "warning.html", actor, one=found, next_steps=steps if may(actor, Action.HANDLE) else [],
        may_hold=may(actor, Action.HOLD), values=sorted(found["values"].items()),
        everywhere=actor.sees_all,
    )  # fmt: skip


@router.get("/console/recalls")
def recalls_page(request: Request, ledger: LedgerHere, actor: MayCheckPacks) -> Response:
    """All recalls, and a new one for those who may."""
    with ledger.database.read() as connection:
        found = [one.shown() for one in listing(connection, ledger.vault, RECALL, Wanted(), None, 500)]
    words = {"grade": Grade, "origin": Origin, "nature": Nature, "range": Range, "regime": Regime}
    return page(
        request, "recalls.html", actor, recalls=found, may_recall=may(actor, Action.RECALL),
        words={name: list(kinds) for name, kinds in words.items()},
        now=now().astimezone(ledger.settings.zone).isoformat(timespec="minutes"),
    )  # fmt: skip


@router.get("/console/recalls/{recall}")
def recall_page(request: Request, ledger: LedgerHere, actor: MayCheckPacks, recall: str) -> Response:
    """A recall: its clocks, who holds what, answers, how far it is."""
    return page(request, "recall.html", actor, one=recall_json(ledger, actor, recall),
                amounts=AMOUNTS, answered=ANSWERED, may_recall=may(actor, Action.RECALL))  # fmt: skip


@router.get("/console/log")
def log_page(request: Request, ledger: LedgerHere, actor: MaySeeReadings, before: int | None = None) -> Response:
    """Who did what: changes of the registry, readings of personal data, decisions, as the city's chain has them."""
    question = select(entry.c.seq, entry.c.data).where(
        entry.c.node == CITY, entry.c.kind.in_([Kind.CHANGE, Kind.READING, Kind.DECISION, Kind.ERASURE])
    )
    if before is not None:
        question = question.where(entry.c.seq < before)
    with ledger.database.read() as connection:
        rows = connection.execute(question.order_by(entry.c.seq.desc()).limit(LOG_MAX)).all()
    lines = [_line(bytes(row.data)) for row in rows]
    more = rows[-1].seq if len(rows) == LOG_MAX else None
    return page(request, "log.html", actor, lines=lines, more=more)


def _line(data: bytes) -> Json:
    found = decode(data)
    body: Mapping[str, Any] = found.body
    match found.kind:
        case Kind.CHANGE:
            change = body["change"]
            status = change["row"].get("status")
            what = f"{change['table']} v{change['row']['version']}" + (f" → {status}" if status else "")
        case Kind.READING:
            what = f"reading: {body['reading']['purpose']} ({len(body['reading']['subjects'])})"
        case _:
            what = found.kind.name.lower()
    return {"at": found.record_time, "actor": found.actor, "what": what, "entry": found.name}
