"""Pages of the registers, made from their tables: lists that filter, sort, page and export, records, and new ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup

from api.auth import LedgerHere, MayReadRegister, MayRegister
from api.bodies import SHEET_TYPES
from api.console.pages import HEADERS, local, may, page, worded
from api.registry import record_of, within_reach
from api.sheets import Format, write_sheet
from ledger.access import Action, Actor
from ledger.codes import CITY, IMPORT, node_text
from ledger.errors import NotRecorded
from ledger.registers import BY_TABLE, HANDLING, NODE, REGISTERS, SUBSCRIPTION, Field, Register, register_of
from ledger.registers.form import Find, Value, Word
from ledger.registers.places import Openness
from ledger.registers.publishing import schedule_of
from ledger.registry import Purpose, Record, pages, register_columns, sorted_listing, versions

router = APIRouter(tags=["pages"], include_in_schema=False)
ROWS = 100
COLUMNS = 7
"""How many fields of a record a list shows."""
EXPIRING_DAYS = (0, 30, 60, 90)
_ELSEWHERE = frozenset({HANDLING.name, SUBSCRIPTION.name})
"""Registers whose records begin elsewhere: handlings with a warning's first step, subscriptions with their secret."""
_OWN_PAGES = {"recall": "/console/recalls/", "handling": "/console/warnings/"}
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})")


def page_of(register: Register, code: str) -> str:
    """The page of a record."""
    own = _OWN_PAGES.get(register.name)
    return f"{own}{code}" if own else f"/console/registry/{register.plural}/{code}"


# --- a list -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """A field of a filter: what it may be, where that is a list."""

    name: str
    chinese: str
    words: Sequence[tuple[str, str]]
    given: str


def choices(register: Register, given: Mapping[str, str]) -> list[Choice]:
    """What a list can be filtered by: node, status, expiry, open fields of words, or found by their value."""
    found: list[Choice] = []

    def offer(name: str, chinese: str, words: Sequence[tuple[str, str]] = ()) -> None:
        found.append(Choice(name, chinese, words, given.get(name, "")))

    if register.node_of is not None or "node" in register_columns(register):
        offer("node", "节点")
    statuses = register.statuses or (Openness if register.status == "open" else None)
    if statuses is not None:
        offer("status", "状态", _words(tuple(statuses)))
    if "valid_to" in register_columns(register):
        offer("expiring", "几天内到期", [(str(days), f"≤ {days}") for days in EXPIRING_DAYS])
    for one in register.open_fields:
        if one.name not in {each.name for each in found} and (one.words or one.find is Find.EXACT):
            offer(one.name, one.chinese, _words(one.words))
    return found


def _words(words: Sequence[Word]) -> list[tuple[str, str]]:
    return [(str(word), f"{word.chinese} {word}") for word in words]


@router.get("/console/registry")
def registers_page(request: Request, actor: MayReadRegister) -> Response:
    """All registers."""
    return page(request, "registers.html", actor, registers=REGISTERS)


@router.get("/console/registry/{register}")
def register_page(
    request: Request, ledger: LedgerHere, actor: MayReadRegister, register: str, sort: str = "",
    skip: Annotated[int, Query(ge=0)] = 0,
) -> Response:  # fmt: skip
    """A register's records: filtered, sorted by a column, a page at a time."""
    form = register_of(register)
    given = _given(form, request)
    wanted = within_reach(ledger, actor, form, given)
    by = sort.removeprefix("-") or ("valid_to" if "expiring" in given else form.key[0])
    with ledger.database.read() as connection:
        found = sorted_listing(
            connection, ledger.vault, form, wanted, by, down=sort.startswith("-"), skip=skip, limit=ROWS + 1
        )
    shown, zone = columns(form), ledger.settings.zone
    rows = [(page_of(form, one.code), one.code, [cell(field, one, zone) for field in shown], status_of(one))
            for one in found[:ROWS]]  # fmt: skip
    asked = {**given, **({"sort": sort} if sort else {})}
    return page(
        request, "register.html", actor, form=form, rows=rows, columns=shown, choices=choices(form, given), by=by,
        down=sort.startswith("-"), filters=urlencode(given),
        sortable={one.name for one in shown if not one.private and not one.many},
        earlier=None if skip == 0 else urlencode({**asked, "skip": max(0, skip - ROWS)}),
        later=None if len(found) <= ROWS else urlencode({**asked, "skip": skip + ROWS}), skip=skip,
        may_file=may(actor, form.keep) and form.name not in _ELSEWHERE, formats=list(Format),
    )  # fmt: skip


def _given(form: Register, request: Request) -> dict[str, str]:
    """What the list is filtered by, without what is left empty; `NotRecorded` for what it is not filtered by."""
    known = {one.name for one in choices(form, {})}
    given = {name: text.strip() for name, text in request.query_params.items() if text.strip()}
    if unknown := [name for name in given if name not in known and name not in ("sort", "skip")]:
        raise NotRecorded(f"{form.plural} cannot be listed by {unknown[0][:40]}")
    return {name: text for name, text in given.items() if name in known}


@router.get("/console/registry/{register}/sheet.{form}")
def register_sheet(
    request: Request, ledger: LedgerHere, actor: MayReadRegister, register: str, form: Format
) -> Response:  # fmt: skip
    """All that the filter lets through as a sheet, personal data masked."""
    kept = register_of(register)
    wanted = within_reach(ledger, actor, kept, _given(kept, request))
    made = BytesIO()
    found = (one for some in pages(ledger.database, ledger.vault, kept, wanted) for one in some)
    write_sheet(made, form, kept, found, private=False)
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{register}.{form}"'}
    return Response(made.getvalue(), media_type=SHEET_TYPES[form is Format.XLSX], headers=headers)


def columns(form: Register) -> list[Field]:
    """The fields that a list shows: those that name a record, then those that it must have, then others."""
    order = sorted(
        (one for one in form.fields if not one.lines), key=lambda one: (not one.names, not one.required, one.private)
    )
    return order[:COLUMNS]


# --- a record ---------------------------------------------------------------------------------------


def cell(field: Field, one: Record, zone: Any) -> Markup | str:
    """A value as people read it: words in Chinese, moments in the city's time, codes of others as links; masked."""
    value = one.shown().get(field.name)
    shown = [_shown(field, each, zone) for each in (value if isinstance(value, list) else [value]) if each is not None]
    return Markup(" ").join(shown)


def _shown(field: Field, value: Value, zone: Any) -> Markup | str:
    if value in field.words:
        return worded(field.words, str(value))
    text = str(value)
    if _MOMENT.fullmatch(text):
        return local(text, zone)
    other = BY_TABLE.get(field.refers) or (NODE if field.name in ("node", "nodes") else None)
    if other is not None and len(other.key) == 1 and not field.names:
        return Markup('<a href="{}">{}</a>').format(page_of(other, text), text)
    return text


def status_of(one: Record) -> Markup | str:
    """How a record stands, in words."""
    register = one.register
    if register.status is None:
        return ""
    value = one.row[register.status]
    words = register.statuses or Openness
    if isinstance(value, bool):
        value = str(Openness.OPEN if value else Openness.CLOSED)
    return worded(words, str(value))


@router.get("/console/registry/{register}/new")
def new_page(request: Request, actor: MayRegister, register: str) -> Response:
    """A form for a new record, made of the register's fields."""
    form = register_of(register)
    if form.name in _ELSEWHERE:
        raise NotRecorded(f"{form.plural} do not begin on this page")
    return page(request, "record_new.html", actor, form=form)


@router.get("/console/registry/{register}/{code:path}")
def record_page(request: Request, ledger: LedgerHere, actor: MayReadRegister, register: str, code: str) -> Response:
    """A record: its fields, its versions with the entries that prove them, and what may be done with it."""
    form = register_of(register)
    present = record_of(ledger, actor, form, code)
    with ledger.database.read() as connection:
        past = versions(connection, ledger.vault, form, present.key)
    zone = ledger.settings.zone
    keeps = may(actor, form.keep) and (form.node_of is None or actor.may_see(form.node_of(present.values)))
    state = present.row[form.status] if form.status and not _stands_still(present) else None
    steps = [one for one in form.steps if state in one.before and (one.by is None or actor.role in one.by)]
    return page(
        request, "record.html", actor, form=form, one=present, code=present.code, standing=status_of(present),
        fields=[(field, cell(field, present, zone)) for field in form.fields], links=_links(present, actor),
        past=_told(past, zone), sees_entries=actor.may_see(CITY), steps=steps if keeps else [],
        changeable=[(field, _text(present, field)) for field in form.fields if not field.stays] if keeps else [],
        purposes=list(Purpose) if form.private_fields and may(actor, Action.READ_PRIVATE) else [],
    )  # fmt: skip


def _stands_still(one: Record) -> bool:
    """Whether no step can be taken: of who is erased, and of the two own chains (`ledger/registrar.py`)."""
    return bool(one.row.get("erased")) or (one.register is NODE and one.row["node"] in (CITY, IMPORT))


def _text(one: Record, field: Field) -> str:
    """What stands in the form for a field before somebody changes it; nothing for what is masked."""
    value = None if field.private else one.shown().get(field.name)
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _told(past: Sequence[Any], zone: Any) -> list[dict[str, Any]]:
    """Versions, the latest first: when, by whom, what changed, the entry that proves it."""
    told: list[dict[str, Any]] = []
    before: Mapping[str, Any] = {}
    for one in past:
        now = one.record.shown(private=True)  # of these the names alone are told
        changed = [name for name in now if name != "version" and now[name] != before.get(name)]
        told.append({
            "at": local(one.at, zone), "actor": one.actor, "entry": f"{node_text(CITY)}/{one.seq}",
            "version": now["version"], "changed": changed if before else [], "status": status_of(one.record),
        })  # fmt: skip
        before = now
    return told[::-1]


def _links(one: Record, actor: Actor) -> list[tuple[str, str]]:
    """Where a reader goes on from here: names of texts, and pages that the reader may see."""
    row, code = one.row, one.code
    found: list[tuple[str, str]] = []
    match one.register.name:
        case "node" if actor.may_see(row["node"]):
            found = [
                ("recent", f"/console/entries?node={code}"), ("warnings", f"/console/warnings?node={code}"),
                ("market", f"/console/market?node={code}"), ("parties", f"/console/registry/parties?node={code}"),
            ]  # fmt: skip
        case "party":
            found = [
                ("licences", f"/console/registry/licences?party={code}"),
                ("warnings", f"/console/warnings?status=all&text={code}"),
                ("node", f"/console/registry/nodes/{code[:9]}"),
            ]
        case "licence":
            found = [("party", f"/console/registry/parties/{row['party']}")]
        case "hold" | "silence" if int(code[:9]):
            found = [("node", f"/console/registry/nodes/{code[:9]}")]
        case "report-schedule":
            published = f"/console/registry/published-reports?node={code[:9]}&sort=-as_of"
            found = [("published_reports", published), ("progress", f"/reports/schedules/{code}")]
        case "published-report":
            schedule = f"/console/registry/report-schedules/{schedule_of(code, row['period'])}"
            found = [("download", f"/reports/published/{code}"), ("schedules", schedule)]
        case "product":
            found = [("recalls", f"/console/registry/recalls?product={code}")]
    return found
