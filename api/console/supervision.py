"""Pages of supervision: warnings and how they are handled, and recalls."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from api.auth import LedgerHere, MayCheckPacks, MayReadWarnings
from api.console.pages import may, page
from api.ledger import now
from api.recalls import recall_json
from api.warnings import Filter, after, warning_with_steps
from ledger.access import Action
from ledger.packs.recalls import AMOUNTS
from ledger.registers import HANDLING, RECALL
from ledger.registers.drugs import Grade, Nature, Origin, Range, Regime
from ledger.registers.supervision import Progress
from ledger.registry import Wanted, listing
from ledger.rules.form import Level
from ledger.rules.warnings import shown
from ledger.warnings import Asked, list_warnings

Json = dict[str, Any]
router = APIRouter(tags=["pages"], include_in_schema=False)
HEADS = (("level", "level"), ("message", ""), ("status", ""), ("node", "node"), ("raised", "raised"), ("due", "due"))
"""Columns of the list of warnings, and the order that each stands for."""
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
    kept = {name: value for name, value in request.query_params.items() if name not in ("after", "skip", "sort")}
    later = {**kept, "sort": asked.sort, **after(asked, found)} if len(found) == asked.limit else None
    return page(
        request, "warnings.html", actor, warnings=[shown(one) for one in found], asked=given,
        later=later and urlencode(later), filters=urlencode(kept), levels=list(Level), progress=list(Progress),
        heads=HEADS,
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
def recalls_page(request: Request, ledger: LedgerHere, actor: MayCheckPacks, lots: str = "") -> Response:
    """All recalls, and a new one for those who may; of `lots` where it came from their trace."""
    with ledger.database.read() as connection:
        found = [one.shown() for one in listing(connection, ledger.vault, RECALL, Wanted(), None, 500)]
    words = {"grade": Grade, "origin": Origin, "nature": Nature, "range": Range, "regime": Regime}
    return page(
        request, "recalls.html", actor, recalls=found, lots=lots, may_recall=may(actor, Action.RECALL),
        words={name: list(kinds) for name, kinds in words.items()},
        now=now().astimezone(ledger.settings.zone).isoformat(timespec="minutes"),
    )  # fmt: skip


@router.get("/console/recalls/{recall}")
def recall_page(request: Request, ledger: LedgerHere, actor: MayCheckPacks, recall: str) -> Response:
    """A recall: its clocks, who holds what, answers, how far it is."""
    return page(request, "recall.html", actor, one=recall_json(ledger, actor, recall),
                amounts=AMOUNTS, answered=ANSWERED, may_recall=may(actor, Action.RECALL))  # fmt: skip
