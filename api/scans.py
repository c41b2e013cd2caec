"""Scanning over HTTP: steps of the food chain, codes for terminals, and what is left of a lot.

A scan has an id of its own, which makes its event: sent again it is answered with what was recorded. The answer is
given when the entry is on disk.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from fastapi import Path as FromPath
from fastapi import Request as HttpRequest
from pydantic import Field, WithJsonSchema
from sqlalchemy import Connection

from api.auth import LedgerHere, MayCapture, MayTrace
from api.bodies import Input, documented_model, parsed
from api.ledger import Ledger, now
from api.paths import uri_in_path
from ledger.access import Actor
from ledger.append import Request
from ledger.balances import holder_of
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import TRACE_URN, key_of_code, node_text, parse_node, parse_party, parse_trace_code
from ledger.documents import Json, read_document, write_json
from ledger.drafts import draft_once, refusal_name
from ledger.entries import Kind, time_text
from ledger.errors import AskAgain, Breach, Conflict, LedgerError, NotEnough, NotRecorded, UnacceptableRecord
from ledger.fields import parse_time
from ledger.gs1 import Key
from ledger.identifiers import canonical_key, identifies_goods_closely
from ledger.nodes import OPERATOR, Node, get_node, places_of
from ledger.notes import Recorded
from ledger.reads import ReadEntry, entries_of_event
from ledger.registers.fields import day_of
from ledger.registers.goods import GOODS, Unit, in_base_unit
from ledger.scanning import AGAIN_S, Plan, left_of, lot_at, plan, recent_like, slip_entries
from ledger.serials import RANGE_MAX, lots_of_day, slips
from ledger.steps import BY_NAME, STEPS, Scan, Voucher, VoucherKind
from scanners.symbols import Reading, parse_symbol

T = TypeVar("T")
router = APIRouter(tags=["scanning"])
CLOCK_OFF_S = 120
LOW_SHARE = 10
"""A series that has less than one part in so many left is said to run out."""
_QUANTITY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"suyuan": "https://suyuan.example/ns/"}]


WARNINGS: dict[str, tuple[str, str]] = {
    "open_end": ("来源未记录,请补凭证", "nothing recorded says where this came from"),
    "not_here": ("本摊位没有该批次的进货记录", "this lot was never brought here"),
    "more_than_left": ("超出剩余数量", "more than is left of it"),
    "clock_off": ("终端时钟不准", "the terminal's clock is off"),
    "trace_used": ("该追溯码已用过", "this trace code stands on another slip"),
}
"""What is odd about a scan that was recorded, in words for the counter."""


class VoucherBody(Input):
    """A paper that came with the goods."""

    kind: str = Field(examples=["product"])
    number: str = Field(pattern="^[A-Za-z0-9\u4e00-\u9fff-]{1,40}$", examples=["330212000117"])


class ScanBody(Input):
    """What was done at a counter. Quantities, prices and times are texts."""

    scan: str = Field(description="a UUID of the terminal's own; the same scan is sent under the same", examples=[
        "0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a01"
    ])  # fmt: skip
    node: str = Field(examples=["330212001"])
    step: str = Field(examples=["opening_stock"])
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"], description="by the terminal's clock")
    party: str | None = Field(default=None, description="13 digits: the stall; the node itself if left out")
    scanned: str | None = Field(default=None, max_length=1000, description="what the device sent, unchanged")
    lot: str | None = Field(default=None, max_length=1000, description="the lot that the person chose")
    goods: str | None = Field(default=None, examples=["21113011"])
    quantity: str | None = Field(default=None, examples=["12.5"])
    unit: str | None = Field(default=None, examples=["KGM"], description="KGM if left out")
    made: str | None = Field(default=None, description="how much a step makes")
    madeUnit: str | None = None
    price: str | None = Field(default=None, description="a unit, in yuan")
    counterparty: str | None = None
    vouchers: Annotated[
        list[VoucherBody], WithJsonSchema({"type": "array", "items": VoucherBody.model_json_schema()})
    ] = Field(default=[], max_length=20)
    result: str | None = Field(default=None, max_length=20)
    trace: str | None = Field(default=None, description="a leased code that stands on the slip already")
    offline: bool = Field(default=False, description="it happened while the server could not be reached")
    confirm: bool = Field(default=False, description="yes, the same thing really happened twice")


class LeaseBody(Input):
    """How many codes a terminal wants to have at hand."""

    kind: str = Field(default="trace", pattern="^(trace|lot)$", examples=["trace"])
    node: str = Field(examples=["330212001"])
    party: str | None = None
    day: str | None = Field(default=None, examples=["2026-11-25"])
    count: int = Field(default=50, ge=1, le=RANGE_MAX)


class VoidBody(Input):
    """Why a scan is taken back."""

    reason: str = Field(pattern="^(did_not_occur|incorrect_data)$", examples=["incorrect_data"])
    at: str = Field(examples=["2026-11-25T08:05:00+08:00"])


@router.get("/steps")
def steps(_: MayCapture) -> list[dict[str, Any]]:
    """The steps of the food chain: where each is taken and what it needs, with its source."""
    return [
        {
            "step": step.name, "chinese": step.chinese, "at": sorted(step.at) if step.at else None,
            "needs": sorted(step.needs), "vouchers": [sorted(group) for group in step.vouchers],
            "bizStep": step.business_step, "disposition": step.disposition, "record": step.record,
            "source": step.source,
        }
        for step in STEPS
    ]  # fmt: skip


@router.post("/scans", status_code=201, openapi_extra=documented_model(ScanBody))
def post_scan(ledger: LedgerHere, actor: MayCapture, body: Annotated[ScanBody, Depends(parsed(ScanBody))]) -> Response:
    """Record a scan. 200 if it was recorded before; 409 with `again` where the person has to be asked."""
    node = _node(ledger, actor, body.node)
    raw = body.model_dump(exclude_none=True, exclude={"offline", "confirm"})
    raw["scan"] = body.scan.lower()
    if (known := _known(ledger, body.scan, raw)) is not None:
        return _answer(ledger, known, [], 200)
    scan, lot = _scan(body, raw, ledger.today())
    if scan.trace is not None and parse_trace_code(scan.trace, node.trace_scheme).node != node.node:
        raise UnacceptableRecord([Breach("trace", "this is no trace code of this node; lease some from /leases")])
    with ledger.database.read() as connection:
        numbers = (_lots(ledger, actor, scan), _slips(ledger, actor, scan, node))
        made = plan(connection, scan, lot, node, *numbers, strict=node.refuses_over_stock and not body.offline)
        if not body.offline and not body.confirm:
            like = recent_like(connection, scan, made.event, now() - timedelta(seconds=AGAIN_S))
            if like is not None:
                raise AskAgain(f"the same was recorded as {like} less than {AGAIN_S} s ago; was it done twice?")
    refuses = node.refuses_over_stock and not body.offline and made.event["bizStep"] != "inspecting"
    try:
        ledger.record(_request(ledger, actor, made.event, within_stock=refuses))
    except NotEnough as error:
        error.refusal = _refuse(ledger, actor, scan, error)
        raise
    except Conflict:  # the same scan came twice at once, and the other was faster
        if (known := _known(ledger, body.scan, raw)) is None:
            raise
        return _answer(ledger, known, [], 200)
    warnings = [*made.warnings, *_odd(ledger, body, scan, made)]
    known = _known(ledger, body.scan, raw)
    if known is None:
        raise NotRecorded(f"the scan {body.scan} is not to be found")
    return _answer(ledger, known, warnings, 201)


def _node(ledger: Ledger, actor: Actor, code: str) -> Node:
    number = parse_node(code)
    actor.require_node(number)
    with ledger.database.read() as connection:
        return get_node(connection, number)


def _scan(body: ScanBody, raw: Json, today: date) -> tuple[Scan, Key | None]:
    """The scan, read and checked, and the lot that it names; `UnacceptableRecord` names all that is wrong."""
    read = _Reader()
    step = BY_NAME.get(body.step)
    if step is None:
        read.breaches.append(Breach("step", f"{body.step[:40]!r} is no step; GET /steps lists them"))
    scan_id = read("scan", lambda: str(UUID(body.scan)))
    party = read("party", lambda: parse_party(body.party or f"{body.node}0000"))
    at = read("at", lambda: _time(body.at))
    counterparty = read("counterparty", lambda: parse_party(body.counterparty) if body.counterparty else None)
    amount = read("quantity", lambda: _amount(body.quantity, body.unit))
    made = read("made", lambda: _amount(body.made, body.madeUnit))
    price = read("price", lambda: _decimal(body.price))
    vouchers = read("vouchers", lambda: [Voucher(_voucher_kind(one.kind), one.number) for one in body.vouchers])
    lot, goods = read("scanned", lambda: _named(body, today)) or (None, None)
    if party and party[:9] != body.node:
        read.breaches.append(Breach("party", f"{party} is no operator of the node {body.node}"))
    if read.breaches or step is None or scan_id is None or party is None or at is None:
        raise UnacceptableRecord(read.breaches)
    quantity, unit = amount or (None, _unit(body.unit))
    how_much, made_unit = made or (None, None)
    return Scan(
        scan_id, step, parse_node(body.node), party, at, goods, quantity, unit, how_much, made_unit, price,
        counterparty, body.trace, vouchers or [], body.result, raw,
    ), lot  # fmt: skip


class _Reader:
    """Reads fields one by one and keeps all that is wrong."""

    def __init__(self) -> None:
        self.breaches: list[Breach] = []

    def __call__(self, name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (LedgerError, ValueError) as error:
            self.breaches.append(Breach(name, str(error)))
            return None


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or not 2000 <= at.year <= 2100:
        raise ValueError("give the time with its offset, such as 2026-11-25T08:00:00+08:00")
    return at


def _decimal(text: str | None) -> Decimal | None:
    if text is None:
        return None
    if not _QUANTITY.fullmatch(text):
        raise ValueError("give a decimal number of at most 9 digits and 6 places, as text")
    return Decimal(text)


def _unit(unit: str | None) -> str | None:
    """KGM where nothing is said; a piece is a count, which has no unit."""
    word = unit or Unit.KILOGRAM
    if word not in [*map(str, Unit)]:
        raise ValueError(f"the units are {', '.join(Unit)}")
    return None if word == Unit.PIECE else str(word)


def _amount(text: str | None, unit: str | None) -> tuple[Decimal, str | None] | None:
    quantity, word = _decimal(text), _unit(unit)
    if quantity is None:
        return None
    return (quantity, None) if word is None else in_base_unit(quantity, word)


def _voucher_kind(kind: str) -> VoucherKind:
    for known in VoucherKind:
        if kind in (known, known.chinese):
            return known
    raise ValueError(f"the kinds of voucher are {', '.join(VoucherKind)}")


def _named(body: ScanBody, today: date) -> tuple[Key | None, str | None]:
    """The lot that is named, and the goods: by what was scanned, else by what the person chose."""
    goods = body.goods
    if goods is not None:
        goods = str(GOODS.field("goods").parse(goods, today))
    if body.lot is not None:
        lot = key_of_code(body.lot)
        if lot.startswith(TRACE_URN) or not identifies_goods_closely(lot):
            raise ValueError("this names no lot; name the one that it was taken from")
        return lot, goods
    if body.scanned is None:
        return None, goods
    code = parse_symbol(body.scanned, today=today)
    if code.kind is Reading.PRODUCT and not code.in_store and code.gtin is not None:
        return None, goods or code.gtin
    if code.kind in (Reading.LOT, Reading.LINK, Reading.PACK) and identifies_goods_closely(code.key):
        return code.key, goods
    raise ValueError(f"this is a {code.kind} code; scan the label of the lot, or the goods")


# --- what is recorded -----------------------------------------------------------------------------


def _request(ledger: Ledger, actor: Actor, event: Json, *, within_stock: bool) -> Request:
    """The event checked against the standard, as every capture is."""
    document = read_document(write_json({"@context": _CONTEXT, **event}))
    with ledger.database.read() as connection:
        places = places_of(connection, actor)
    (request,) = requests_of(document, actor, places, ErrorBehaviour.ROLLBACK, ledger.secret)
    return replace(request, within_stock=within_stock)


def _known(ledger: Ledger, scan: str, raw: Json) -> ReadEntry | None:
    """The scan as it was recorded, if it was; `Conflict` if it was another one under the same id."""
    try:
        with ledger.database.read() as connection:
            (found, *_) = entries_of_event(connection, f"urn:uuid:{UUID(scan)}", OPERATOR)
    except (NotRecorded, ValueError):
        return None
    if found.event.get("suyuan:scan") != raw:
        raise Conflict(f"the scan {scan} is recorded already, and was another one")
    return found


def _refuse(ledger: Ledger, actor: Actor, scan: Scan, error: NotEnough) -> str:
    """That a scan was decided against is an entry: its name."""
    body = {"refusal": {
        "scan": scan.scan, "step": scan.step.name, "item": error.item, "missing": error.missing, "uom": error.uom,
    }}  # fmt: skip
    name = refusal_name(scan.scan)
    refusal = draft_once(scan.node, Kind.REFUSAL, body, name, secrets.token_bytes)
    (place,) = ledger.record(Request([refusal], actor.name))
    return f"{node_text(place.node)}/{place.seq}"


def _odd(ledger: Ledger, body: ScanBody, scan: Scan, made: Plan) -> list[str]:
    """What to tell the person besides."""
    found: list[str] = []
    if not body.offline and abs((scan.at - now()).total_seconds()) > CLOCK_OFF_S:
        found.append("clock_off")
    if scan.trace is not None and made.made is not None:
        with ledger.database.read() as connection:
            if slip_entries(connection, Key(TRACE_URN + scan.trace)) > 1:
                found.append("trace_used")
    return found


def _answer(ledger: Ledger, found: ReadEntry, warnings: list[str], status: int) -> Response:
    event, entry = found.event, found.entry
    lots = event.get("inputQuantityList") or event.get("quantityList") or []
    outputs = event.get("outputQuantityList") or []
    holder = holder_of(event, entry.node)
    with ledger.database.read() as connection:
        shown = [_lot_json(connection, element, holder) for element in lots]
    slips_ = [one["epcClass"] for one in outputs if one["epcClass"].startswith(TRACE_URN)]
    made = [one for one in outputs if not one["epcClass"].startswith(TRACE_URN)]
    if event.get("action") == "ADD":
        made = lots
    recorded = Recorded(entry.node, entry.seq, entry.hash, time_text(entry.record_time))
    off = round((parse_time(event["eventTime"]) - entry.record_time).total_seconds())
    answer = {
        "scan": event["eventID"].removeprefix("urn:uuid:"), "event": event["eventID"], "entries": [entry.name],
        "receipt": ledger.receipt([recorded]), "lots": shown,
        "made": {"lot": made[0]["epcClass"], "quantity": made[0]["quantity"], "unit": made[0].get("uom", "H87")}
        if made else None,
        "trace": slips_[0].removeprefix(TRACE_URN) if slips_ else None,
        "warnings": [
            {"code": word, "chinese": WARNINGS[word][0], "english": WARNINGS[word][1]} for word in warnings
        ],
        "clockOffSeconds": off if "clock_off" in warnings else None,
    }  # fmt: skip
    return Response(write_json(answer), status, media_type="application/json")


def _lot_json(connection: Connection, element: Json, holder: str) -> Json:
    """A lot of the event, with what is left of it at the stall."""
    uom = element.get("uom", "")
    left = [one.quantity for one in lot_at(connection, holder, canonical_key(element["epcClass"])) if one.uom == uom]
    found = {"lot": element["epcClass"], "quantity": element["quantity"], "unit": uom or "H87"}
    return {**found, "left": left[0] if left else 0}


# --- codes ----------------------------------------------------------------------------------------


def _lots(ledger: Ledger, actor: Actor, scan: Scan) -> Callable[[], str]:
    return lambda: ledger.numbers.take(lots_of_day(scan.node, _day(ledger, scan)), actor.name)


def _slips(ledger: Ledger, actor: Actor, scan: Scan, node: Node) -> Callable[[], str]:
    return lambda: ledger.numbers.take(slips(node.trace_scheme, scan.node, scan.party, _day(ledger, scan)), actor.name)


def _day(ledger: Ledger, scan: Scan) -> date:
    """The city's day of a scan."""
    return scan.at.astimezone(ledger.settings.zone).date()


@router.post("/leases", status_code=201, openapi_extra=documented_model(LeaseBody))
def post_lease(
    ledger: LedgerHere, actor: MayCapture, body: Annotated[LeaseBody, Depends(parsed(LeaseBody))]
) -> dict[str, Any]:
    """Codes for a terminal to have at hand, also when it is offline. What it does not use is never used by another."""
    node = _node(ledger, actor, body.node)
    party = parse_party(body.party or f"{body.node}0000")
    if party[:9] != body.node:
        raise UnacceptableRecord([Breach("party", f"{party} is no operator of the node {body.node}")])
    day = ledger.today() if body.day is None else day_of(body.day)
    series = lots_of_day(node.node, day) if body.kind == "lot" else slips(node.trace_scheme, node.node, party, day)
    found = ledger.numbers.lease(series, body.count, actor.name)
    return {
        "series": series.name, "codes": found.codes, "left": found.left,
        "runsOut": found.left * LOW_SHARE < series.last,
    }  # fmt: skip


@router.post("/scans/{scan}/void", status_code=201, openapi_extra=documented_model(VoidBody))
def void_scan(
    ledger: LedgerHere, actor: MayCapture, scan: UUID, body: Annotated[VoidBody, Depends(parsed(VoidBody))]
) -> dict[str, Any]:
    """Take back a scan that was a mistake: an error declaration, never a change. What it moved is moved back."""
    with ledger.database.read() as connection:
        found = entries_of_event(connection, f"urn:uuid:{scan}", actor)
    event = found[0].event
    if len(found) > 1:  # sent again, or by somebody else: it is taken back, once
        declared = found[-1].entry
        if found[-1].event["errorDeclaration"]["reason"] != body.reason:
            raise Conflict(f"the scan {scan} was taken back already, for another reason")
        place = Recorded(declared.node, declared.seq, declared.hash, time_text(declared.record_time))
        return _voided(ledger, scan, place)
    event["errorDeclaration"] = {"declarationTime": time_text(_time(body.at)), "reason": body.reason}
    (place,) = ledger.record(_request(ledger, actor, event, within_stock=False))
    return _voided(ledger, scan, place)


def _voided(ledger: Ledger, scan: UUID, place: Recorded) -> dict[str, Any]:
    return {"scan": str(scan), "entries": [f"{node_text(place.node)}/{place.seq}"], "receipt": ledger.receipt([place])}


@router.get("/balances/{code:path}")
def balances(
    ledger: LedgerHere, actor: MayTrace, request: HttpRequest,
    code: Annotated[str, FromPath(description="a lot", examples=["(01)06901234500103(10)P20261122A"])],
) -> Response:  # fmt: skip
    """What is left of a lot, and where; of others' nodes only for those who see all."""
    lot = key_of_code(uri_in_path(request, "/balances/", code))
    with ledger.database.read() as connection:
        found = [(holder, *rest) for holder, *rest in left_of(connection, lot) if actor.may_see(int(holder[:9]))]
    rows = [{"holder": holder, "quantity": quantity, "unit": uom or "H87"} for holder, quantity, uom in found]
    return Response(write_json({"lot": lot, "balances": rows}), media_type="application/json")
