"""The registers over HTTP: `/registry/{register}` for each, made from its table.

Personal data are masked everywhere but in the answers to `…/private` and to `…/export` with a purpose, which first
record that somebody looks. What is searched for comes in bodies, never in addresses: those end up in logs.
"""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.auth import LedgerHere, MayReadPrivate, MayReadRegister, MayRegister, MaySeeReadings
from api.bodies import SHEET_TYPES, Body, Input, Sheet, documented, documented_model, json_answer, parsed
from api.ledger import Ledger, now
from api.sheets import Format, read_sheet, write_sheet
from ledger.access import Action, Actor
from ledger.codes import CITY, node_text
from ledger.documents import read_json
from ledger.entries import time_text
from ledger.errors import Breach, NotRecorded, UnacceptableRecord
from ledger.filing import Filed, file_lines, file_one, require_references
from ledger.finding import search
from ledger.gs1 import is_digits
from ledger.registers import PARTY, REGISTERS, Register, register_of
from ledger.registers.fields import day_of, parse_region
from ledger.registry import (
    PAGE_MAX,
    Key,
    Purpose,
    Record,
    Version,
    Wanted,
    is_within,
    known_at,
    listing,
    missing_record,
    pages,
    reading_request,
    readings,
    record,
    region_path,
    versions,
)

router = APIRouter(prefix="/registry", tags=["registry"])
COLUMNS_SHOWN = 100
_PLURALS = [register.plural for register in REGISTERS]
Plural = Annotated[str, Path(description="which register", json_schema_extra={"enum": _PLURALS}, examples=["parties"])]
Code = Annotated[str, Path(description="the record's key; of several parts, joined by +", examples=["3302120010001"])]
Day = Annotated[str | None, Query(description="as it was known at the end of this day", examples=["2026-11-01"])]
_EXAMPLE = {field.name: [field.example] if field.many else field.example for field in PARTY.fields if field.required}
_EXAMPLE["credit_code"] = PARTY.field("credit_code").example
_SEARCH = documented({"type": "object"}, {"any": "李", "purpose": "inspection"}, "application/json")
_SHEET = documented(
    {"type": "string", "description": "CSV as here, or an XLSX workbook under its own media type"},
    "party,kinds,legal_name,credit_code\n3302120010002,wholesaler,虚构食品有限公司,91350100M000100Y43\n",
    SHEET_TYPES[0],
)  # fmt: skip
_RECORD = documented({"type": "object"}, {**_EXAMPLE, "reason": "new stall"}, "application/json")


_PURPOSES = {"type": "string", "enum": [*map(str, Purpose)]}


class TakeStep(Input):
    """A step to take."""

    step: str = Field(examples=["suspend"])
    reason: str = Field(examples=["licence under review"], description="why; it is kept, sealed")


class Look(Input):
    """What personal data are looked at for, and as of which day."""

    purpose: Annotated[Purpose, WithJsonSchema(_PURPOSES)] = Field(examples=["inspection"], strict=False)
    on: str | None = Field(default=None, description="as it was known at the end of this day")


class Export(Input):
    """A sheet of all records that one may see; with a purpose, with personal data."""

    format: Annotated[Format, WithJsonSchema({"type": "string", "enum": [*Format]})] = Field(
        default=Format.CSV, examples=["csv"], strict=False
    )
    purpose: Annotated[Purpose | None, WithJsonSchema(_PURPOSES)] = Field(default=None, strict=False)


def _object(body: bytes) -> tuple[dict[str, Any], str | None]:
    """The fields that a body gives, and the reason."""
    given = read_json(body)
    if not isinstance(given, dict):
        raise UnacceptableRecord([Breach("$", "give one JSON object: the record's fields")])
    reason = given.pop("reason", None)
    if reason is not None and not isinstance(reason, str):
        raise UnacceptableRecord([Breach("reason", "it is a text")])
    return given, reason


def key_of(register: Register, code: str) -> Key:
    """The key that a path names; `NotRecorded` where it has more or fewer parts."""
    parts = tuple(code.split("+"))
    if len(parts) != len(register.key):
        raise NotRecorded(f"no {register.name} is named so: give {'+'.join(register.key)}")
    return tuple(
        str(int(part)) if name in ("node", "region") and is_digits(part) and len(part) < 10 else part
        for name, part in zip(register.key, parts, strict=True)
    )


def record_of(ledger: Ledger, actor: Actor, register: Register, code: str, on: str | None = None) -> Record:
    """The record, as far as the actor may see it."""
    key = key_of(register, code)
    with ledger.database.read() as connection:
        found = record(connection, ledger.vault, register, key)
        if not is_within(found, actor.reach):
            raise missing_record(register, key)
        if on is None:
            return found
        return known_at(connection, ledger.vault, register, key, ledger.end_of(day_of(on))).record


def within_reach(ledger: Ledger, actor: Actor, form: Register, asked: Mapping[str, object]) -> Wanted:
    """What is asked for in words, of the actor's nodes alone."""
    wanted = Wanted.of(form, asked, ledger.today())
    if actor.reach is None:
        return wanted
    return replace(wanted, nodes=actor.reach if wanted.nodes is None else actor.reach & wanted.nodes)


@router.get("")
def registers(_: MayReadRegister) -> list[dict[str, Any]]:
    """All registers: their fields, which are needed and which personal, and their steps."""
    return [
        {
            "register": register.plural, "chinese": register.chinese, "key": list(register.key),
            "fields": [
                {
                    "name": field.name, "chinese": field.chinese, "help": field.help, "example": field.example,
                    "required": field.required, "many": field.many, "private": field.private, "search": str(field.find),
                }
                for field in register.fields
            ],
            "steps": [{"step": step.name, "chinese": step.chinese, "help": step.help} for step in register.steps],
        }
        for register in REGISTERS
    ]  # fmt: skip


class Filter(BaseModel):
    """Which records to list, and from where on."""

    model_config = ConfigDict(extra="forbid")
    node: str | None = None
    region: str | None = Field(default=None, description="that lie there now, whatever their codes say")
    party: str | None = None
    kind: str | None = None
    status: str | None = None
    expiring: int | None = Field(default=None, ge=0, le=36500, description="ends within so many days")
    after: str | None = Field(default=None, description="key of the last record seen")
    limit: int = Field(default=100, ge=1, le=PAGE_MAX)


@router.get("/{register}")
def list_records(
    ledger: LedgerHere, actor: MayReadRegister, register: Plural, asked: Annotated[Filter, Query()]
) -> Response:
    """Records in the order of their keys; `Link` names the next page."""
    form = register_of(register)
    wanted = within_reach(ledger, actor, form, asked.model_dump(exclude_none=True, exclude={"after", "limit"}))
    with ledger.database.read() as connection:
        last = None if asked.after is None else key_of(form, asked.after)
        found = listing(connection, ledger.vault, form, wanted, last, asked.limit)
    answer = json_answer([one.shown() for one in found])
    if len(found) == asked.limit:
        following = {**asked.model_dump(exclude_none=True), "after": "+".join(found[-1].key)}
        answer.headers["Link"] = f'</registry/{register}?{urlencode(following)}>; rel="next"'
    return answer


@router.post("/{register}", status_code=201, openapi_extra=_RECORD)
def file_record(ledger: LedgerHere, actor: MayRegister, register: Plural, body: Body) -> Response:
    """File a new record; 409 if its key is taken."""
    form = register_of(register)
    given, reason = _object(body)
    with ledger.database.read() as connection:
        request, key = file_one(connection, ledger.registrar(actor), form, given, reason)
    ledger.record(request)
    return json_answer(record_of(ledger, actor, form, "+".join(key)).shown(), 201)


@router.post("/{register}/import", openapi_extra=_SHEET)
def import_records(
    ledger: LedgerHere, actor: MayRegister, register: Plural, sheet: Sheet, dry_run: bool = False
) -> dict[str, Any]:
    """File the records of a CSV or XLSX sheet: good lines are taken, bad ones named; the same sheet again is safe."""
    form = register_of(register)
    lines, unused = read_sheet(BytesIO(sheet), form)
    total = Filed()
    registrar = ledger.registrar(actor)
    for part in file_lines(ledger.database, ledger.lanes.record, registrar, form, lines, dry_run=dry_run):
        total.add(part)
    refused = [
        {"line": one.line, "errors": [{"field": breach.path, "reason": breach.reason} for breach in one.breaches]}
        for one in total.refusals
    ]
    return {
        "dryRun": dry_run, "new": total.new, "changed": total.changed, "same": total.same,
        "refused": total.refused, "lines": refused, "unusedColumns": unused[:COLUMNS_SHOWN],
    }  # fmt: skip


@router.post(
    "/{register}/search",
    openapi_extra=_SEARCH,
)
def search_records(
    ledger: LedgerHere, actor: MayReadRegister, register: Plural, body: Body,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> Response:  # fmt: skip
    """Records by what their fields hold: `{"goods": "…"}`, or `{"any": "…"}` for whichever field.

    With a `purpose` personal data are looked into and shown, to those who may, and each record found is a reading.
    """
    asked, _ = _object(body)
    purpose = None if (word := asked.pop("purpose", None)) is None else _purpose(word)
    if purpose is not None:
        actor.require(Action.READ_PRIVATE)
    if not all(isinstance(text, str) for text in asked.values()):
        raise UnacceptableRecord([Breach("$", "give the text to search for, by the field's name")])
    with ledger.database.read() as connection:
        form, whole = register_of(register), purpose is not None
        found = search(connection, ledger.vault, form, asked, actor.reach, limit, private=whole)
    return json_answer([one.shown(private=whole) for one in looked_at(ledger, actor, found, purpose)])


def _purpose(word: object) -> Purpose:
    for purpose in Purpose:
        if word == purpose:
            return purpose
    raise UnacceptableRecord([Breach("purpose", f"it is one of {', '.join(Purpose)}")])


@router.post("/{register}/export", openapi_extra=documented_model(Export))
def export_records(
    ledger: LedgerHere, actor: MayReadRegister, register: Plural, wanted: Annotated[Export, Depends(parsed(Export))]
) -> Response:
    """A sheet of all records that one may see. Personal data are masked unless a purpose is given and allowed."""
    form = register_of(register)
    made = BytesIO()
    found = (
        one
        for page in pages(ledger.database, ledger.vault, form, Wanted(nodes=actor.reach))
        for one in looked_at(ledger, actor, page, wanted.purpose)
    )
    write_sheet(made, wanted.format, form, found, private=wanted.purpose is not None)
    kind = SHEET_TYPES[wanted.format is Format.XLSX]
    name = f'attachment; filename="{register}.{wanted.format}"'
    return Response(made.getvalue(), media_type=kind, headers={"Content-Disposition": name})


def looked_at(ledger: Ledger, actor: Actor, page: list[Record], purpose: Purpose | None) -> list[Record]:
    """First the entry that somebody looks, then what is looked at."""
    if purpose is not None and page:
        ledger.record(reading_request(actor, page, purpose, now()))
    return page


@router.get("/{register}/{code}")
def one_record(ledger: LedgerHere, actor: MayReadRegister, register: Plural, code: Code, on: Day = None) -> Response:
    """A record as it stands, or as it was known on a day."""
    return json_answer(record_of(ledger, actor, register_of(register), code, on).shown())


@router.get("/regions/{code}/path")
def path_of_region(ledger: LedgerHere, _: MayReadRegister, code: Code) -> Response:
    """A region code and what it became, step by step; the last is the present one."""
    with ledger.database.read() as connection:
        return json_answer([one.shown() for one in region_path(connection, ledger.vault, parse_region(code))])


@router.patch("/{register}/{code}", openapi_extra=_RECORD)
def change_record(ledger: LedgerHere, actor: MayRegister, register: Plural, code: Code, body: Body) -> Response:
    """Change what is given; what is left out stays, null clears. 409 if somebody else changed it meanwhile."""
    form = register_of(register)
    given, reason = _object(body)
    registrar = ledger.registrar(actor)
    changes = registrar.read(form, given)
    present = record_of(ledger, actor, form, code)
    request = registrar.change(present, changes, reason)
    if request is not None:
        with ledger.database.read() as connection:
            require_references(connection, form, changes)
        ledger.record(request)
    return json_answer(record_of(ledger, actor, form, code).shown())


@router.post("/{register}/{code}/steps", openapi_extra=documented_model(TakeStep))
def take_step(
    ledger: LedgerHere, actor: MayRegister, register: Plural, code: Code,
    wanted: Annotated[TakeStep, Depends(parsed(TakeStep))],
) -> Response:  # fmt: skip
    """Take a step of the record's life: suspend, resume, revoke, leave, return; close and reopen a node."""
    form = register_of(register)
    present = record_of(ledger, actor, form, code)
    ledger.record(ledger.registrar(actor).step(present, wanted.step, wanted.reason))
    return json_answer(record_of(ledger, actor, form, code).shown())


@router.get("/{register}/{code}/versions")
def record_versions(ledger: LedgerHere, actor: MayReadRegister, register: Plural, code: Code) -> Response:
    """All versions of a record, oldest first: when, by whom, and the entry that proves it."""
    form = register_of(register)
    present = record_of(ledger, actor, form, code)
    with ledger.database.read() as connection:
        found = versions(connection, ledger.vault, form, present.key)
    return json_answer([{**one.record.shown(), **_made(one)} for one in found])


def _made(version: Version) -> dict[str, str]:
    """When and by whom a version was made, and the entry that proves it."""
    entry = f"{node_text(CITY)}/{version.seq}"
    return {"recordTime": time_text(version.at), "actor": version.actor, "entry": entry}


@router.post("/{register}/{code}/private", openapi_extra=documented_model(Look))
def read_private(
    ledger: LedgerHere, actor: MayReadPrivate, register: Plural, code: Code,
    look: Annotated[Look, Depends(parsed(Look))],
) -> Response:  # fmt: skip
    """A record with personal data, and why its version was made. That you looked, and what for, is an entry first."""
    found = record_of(ledger, actor, register_of(register), code, look.on)
    (found,) = looked_at(ledger, actor, [found], look.purpose)
    return json_answer({**found.shown(private=True), "reason": found.reason})


@router.get("/{register}/{code}/readings")
def who_looked(ledger: LedgerHere, actor: MaySeeReadings, register: Plural, code: Code) -> list[Mapping[str, str]]:
    """Who was shown the record's personal data, and what for, the latest first."""
    present = record_of(ledger, actor, register_of(register), code)
    with ledger.database.read() as connection:
        found = readings(connection, present.subject)
    return [{"at": one.at, "actor": one.actor, "purpose": one.purpose, "entry": one.entry} for one in found]
