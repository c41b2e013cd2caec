"""Scanning over HTTP: steps of the food chain, codes for terminals, and what is left of a lot.

A scan has an id of its own, which makes its event: sent again it is answered with what was recorded. The answer is
given when the entry is on disk.
"""

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import Field, WithJsonSchema
from sqlalchemy import Connection

from api.auth import LedgerHere, MayCapture
from api.bodies import FieldReader, Input, documented_model, parsed
from api.ledger import Ledger, now
from ledger.access import Actor
from ledger.append import Request
from ledger.balances import goods_of, holder_of
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import TRACE_URN, NodeCode, key_of_code, node_text, parse_node, parse_party, parse_trace_code
from ledger.documents import Json, read_document, write_json
from ledger.drafts import draft_once, refusal_name
from ledger.entries import Kind, time_text
from ledger.errors import AskAgain, Breach, Conflict, Held, NotEnough, Stop, UnacceptableRecord, UnreadableCode
from ledger.fields import moment, parse_time
from ledger.gs1 import Key, is_digits
from ledger.holds import STOPPED_STEPS, held
from ledger.identifiers import canonical_key, identifies_goods_closely
from ledger.nodes import Node, get_node, places_of
from ledger.notes import Recorded
from ledger.reads import entries_of_event, entries_of_ids
from ledger.registers.goods import GOODS, PRODUCT, Unit, in_base_unit
from ledger.registers.supervision import VoucherKind
from ledger.scanning import AGAIN_S, Plan, lots_at, plan, recent_like
from ledger.serials import Series, of_day, slips
from ledger.slips import was_used
from ledger.steps import BY_NAME, Scan, Voucher
from scanners.symbols import Reading, parse_symbol

router = APIRouter(tags=["scanning"])
CLOCK_OFF_S = 120
_QUANTITY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"suyuan": "https://suyuan.example/ns/"}]


WARNINGS: dict[str, tuple[str, str]] = {
    "open_end": ("来源未记录,请补凭证", "nothing recorded says where this came from"),
    "not_here": ("本摊位没有该批次的进货记录", "this lot was never brought here"),
    "more_than_left": ("超出剩余数量", "more than is left of it"),
    "clock_off": ("终端时钟不准", "the terminal's clock is off"),
    "slip_received": ("该交易凭证的货已进过场", "the goods on this slip were received before"),
    "more_than_on_slip": ("超出交易凭证上的数量", "more than is on the slip"),
    "other_buyer": ("该交易凭证写的是别的买方", "this slip was made out to another buyer"),
    "codes_run_out": ("追溯码快用完了", "the trace codes of this series run out"),
    "trace_used": ("该追溯码已用过", "this trace code stands on another slip"),
    "held": ("已停售或已召回,请下架封存", "it is held or recalled: keep it apart"),
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
    sendsFnc1: bool | None = Field(default=None, description="calibration has shown that the scanner sends FNC1")
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


class VoidBody(Input):
    """Why a scan is taken back."""

    reason: str = Field(pattern="^(did_not_occur|incorrect_data)$", examples=["incorrect_data"])
    at: str = Field(examples=["2026-11-25T08:05:00+08:00"])


@router.post("/scans", status_code=201, openapi_extra=documented_model(ScanBody))
def post_scan(ledger: LedgerHere, actor: MayCapture, body: Annotated[ScanBody, Depends(parsed(ScanBody))]) -> Response:
    """Record a scan. 200 if it was recorded before; 409 with `again` where the person has to be asked."""
    answer, status = record(ledger, actor, body)
    return Response(write_json(answer), status, media_type="application/json")


def record(ledger: Ledger, actor: Actor, body: ScanBody) -> tuple[Json, int]:
    """Record a scan: the answer to it, and 201, or 200 if it was recorded before.

    A scan that was refused stays refused under its id. `AskAgain` where the same was recorded seconds ago.
    """
    raw = body.model_dump(exclude_none=True, exclude={"offline", "confirm"})
    raw["scan"] = body.scan.lower()
    with ledger.database.read() as connection:  # one snapshot before, one after: the counter waits for each
        node = node_here(connection, actor, body.node)
        if (known := _known(connection, body, raw)) is not None:
            return _answer(ledger, connection, *known, []), 200
        scan, named = _scan(body, raw, ledger.today())
        _require_own(scan, node)
        made = _plan(ledger, connection, actor, scan, named, node, body)
        stops = _stops(connection, scan, made.event)
        places = places_of(connection, actor)
    if stops and not body.offline:
        error = Held(tuple(stops))
        error.refusal = _refuse(ledger, actor, scan, {"held": [asdict(one) for one in stops]})
        raise error
    refuses = node.refuses_over_stock and not body.offline and made.event["bizStep"] != "inspecting"
    try:
        (place,) = ledger.record(_request(ledger, actor, places, made.event, within_stock=refuses))
    except NotEnough as short:
        what = {"item": short.item, "holder": short.holder, "missing": f"{short.missing:f}", "uom": short.uom}
        short.refusal = _refuse(ledger, actor, scan, what)
        raise
    except Conflict:  # the same scan came twice at once, and the other was faster
        with ledger.database.read() as connection:
            if (known := _known(connection, body, raw)) is None:
                raise
            return _answer(ledger, connection, *known, []), 200
    with ledger.database.read() as connection:
        odd = [*(["held"] if stops else []), *_odd(ledger, connection, body, scan, node)]
        return _answer(ledger, connection, made.event, place, [*made.warnings, *odd]), 201


def _plan(
    ledger: Ledger, connection: Connection, actor: Actor, scan: Scan, named: Key | None, node: Node, body: ScanBody
) -> Plan:
    strict = node.refuses_over_stock and not body.offline
    if not body.offline and not body.confirm:
        like = recent_like(connection, scan, now() - timedelta(seconds=AGAIN_S))
        if like is not None:
            raise AskAgain(f"the same was recorded as {like} less than {AGAIN_S} s ago; was it done twice?")
    lots = of_day(scan.node, _day(ledger, scan))
    return plan(
        connection, scan, named, node, lambda: ledger.numbers.take(lots, actor.name),
        lambda: ledger.numbers.take(_slips(ledger, scan, node), actor.name), strict=strict,
    )  # fmt: skip


def _stops(connection: Connection, scan: Scan, event: Json) -> list[Stop]:
    """What keeps the lots, goods, stall or node of a scan from what it does with them."""
    if scan.step.name not in STOPPED_STEPS:
        return []
    elements = [*event.get("quantityList", ()), *event.get("inputQuantityList", ())]
    lots = [canonical_key(element["epcClass"]) for element in elements]
    goods = [code for code in (scan.goods, *map(goods_of, lots)) if code]
    return held(connection, scan.node, scan.party, lots, goods, now())


def _require_own(scan: Scan, node: Node) -> None:
    """A slip's code is one of this node, and where it says whose, of this stall."""
    if scan.trace is not None:
        code = parse_trace_code(scan.trace, node.trace_scheme)
        if code.node != node.node or code.party not in (None, scan.party):
            raise UnacceptableRecord([Breach("trace", "this is no trace code of this stall; lease some from /leases")])


def node_here(connection: Connection, actor: Actor, code: str) -> Node:
    """The node that a body names; `NotAllowed` for one that is not the actor's."""
    number = parse_node(code)
    actor.require_node(number)
    return get_node(connection, number)


def _scan(body: ScanBody, raw: Json, today: date) -> tuple[Scan, Key | None]:
    """The scan, read and checked, and the lot or slip that it names; `UnacceptableRecord` names all that is wrong."""
    read = FieldReader()
    step = BY_NAME.get(body.step)
    if step is None:
        read.breaches.append(Breach("step", f"{body.step[:40]!r} is no step; GET /steps lists them"))
    scan_id = read("scan", lambda: str(UUID(body.scan)))
    party = read("party", lambda: parse_party(body.party or f"{body.node}0000"))
    at = read("at", lambda: moment(body.at))
    counterparty = read("counterparty", lambda: parse_party(body.counterparty) if body.counterparty else None)
    amount = read("quantity", lambda: _amount(body.quantity, body.unit) or _on_label(body, today))
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


_MEASURES = {"310": Unit.KILOGRAM, "315": Unit.LITRE}
"""Net weight and volume in element strings (GS1 General Specifications, 3.6); the fourth digit counts the decimals."""


def _on_label(body: ScanBody, today: date) -> tuple[Decimal, str | None] | None:
    """The quantity that stands in the symbol itself, where the person says none and no other unit."""
    if body.scanned is None or body.quantity is not None:
        return None
    with suppress(UnreadableCode):  # told where the code itself is read
        for ai, value in parse_symbol(body.scanned, today=today, sends_fnc1=body.sendsFnc1 is True).others:
            unit = _MEASURES.get(ai[:3]) if len(ai) == 4 else None
            if unit is not None and body.unit in (None, unit):
                return Decimal(value).scaleb(-int(ai[3])), str(unit)
    return None


def _voucher_kind(kind: str) -> VoucherKind:
    for known in VoucherKind:
        if kind in (known, known.chinese):
            return known
    raise ValueError(f"the kinds of voucher are {', '.join(VoucherKind)}")


def _named(body: ScanBody, today: date) -> tuple[Key | None, str | None]:
    """The lot or slip that is named, and the goods: by what was scanned, else by what the person chose."""
    goods = None if body.goods is None else _goods(body.goods, today)
    if body.lot is not None:
        lot = key_of_code(body.lot)
        if lot.startswith(TRACE_URN) or not identifies_goods_closely(lot):
            raise ValueError("this names no lot; name the one that it was taken from")
        return lot, goods
    if body.scanned is None:
        return None, goods
    code = parse_symbol(body.scanned, today=today, sends_fnc1=body.sendsFnc1 is True)
    if code.kind is Reading.PRODUCT and not code.in_store and code.gtin is not None:
        return None, goods or code.gtin
    if code.kind in (Reading.LOT, Reading.LINK, Reading.PACK) and identifies_goods_closely(code.key):
        return code.key, goods
    if code.kind is Reading.TRACE:
        return code.key, goods
    if code.in_store and goods is not None:  # the shop's own number, with the weight in it: the goods are named
        return None, goods
    raise ValueError(f"this is a {code.kind} code; scan the label of the lot, or the goods")


def _goods(text: str, today: date) -> str:
    """A goods code, or a product: a GTIN, or the 7 digits that a drug's codes begin with."""
    if is_digits(text) and (len(text) > 8 or (len(text) == 7 and text[0] == "8")):
        return str(PRODUCT.field("product").parse(text, today))
    return str(GOODS.field("goods").parse(text, today))


# --- what is recorded -----------------------------------------------------------------------------


def _request(
    ledger: Ledger, actor: Actor, places: Mapping[Key, NodeCode], event: Json, *, within_stock: bool
) -> Request:
    """The event checked against the standard, as every capture is."""
    document = read_document(write_json({"@context": _CONTEXT, **event}))
    (request,) = requests_of(document, actor, places, ErrorBehaviour.ROLLBACK, ledger.secret)
    return replace(request, within_stock=within_stock)


def _known(connection: Connection, body: ScanBody, raw: Json) -> tuple[Json, Recorded] | None:
    """The scan's event and place, if it was recorded; `Conflict` if it was another one under the same id.

    `NotEnough` or `Held` if it was refused, unless it has happened since, out of the ledger's reach.
    """
    try:
        name = f"urn:uuid:{UUID(body.scan)}"
    except ValueError:
        return None
    found = entries_of_ids(connection, [name, refusal_name(name.removeprefix("urn:uuid:"))])
    for one in found:
        if one.entry.kind is Kind.EVENT:
            if one.event.get("suyuan:scan") != raw:
                raise Conflict(f"the scan {body.scan} is recorded already, and was another one")
            return one.event, one.place
    if found and not body.offline:
        refusal = found[0].entry.body["refusal"]
        if "packs" in refusal:
            raise Conflict(f"under the id {body.scan} a command for packs was refused")
        error = _refused(refusal)
        error.refusal = found[0].entry.name
        raise error
    return None


def _refused(refusal: Json) -> NotEnough | Held:
    """Why a scan was decided against, as its entry says."""
    if "held" in refusal:
        return Held(tuple(Stop(**one) for one in refusal["held"]))
    return NotEnough(refusal["item"], refusal["holder"], Decimal(refusal["missing"]), refusal["uom"])


def _refuse(ledger: Ledger, actor: Actor, scan: Scan, why: Json) -> str:
    """That a scan was decided against is an entry: its name."""
    body = {"refusal": {"scan": scan.scan, "step": scan.step.name, **why}}
    name = refusal_name(scan.scan)
    refusal = draft_once(scan.node, Kind.REFUSAL, body, name, secrets.token_bytes)
    (place,) = ledger.record(Request([refusal], actor.name))
    return f"{node_text(place.node)}/{place.seq}"


def _odd(ledger: Ledger, connection: Connection, body: ScanBody, scan: Scan, node: Node) -> list[str]:
    """What to tell the person besides."""
    found: list[str] = []
    if not body.offline and abs((scan.at - now()).total_seconds()) > CLOCK_OFF_S:
        found.append("clock_off")
    if scan.trace is not None and scan.step.gives_slip and was_used(connection, Key(TRACE_URN + scan.trace)):
        found.append("trace_used")
    if scan.step.gives_slip and ledger.numbers.runs_out(_slips(ledger, scan, node)):
        found.append("codes_run_out")
    return found


def _answer(ledger: Ledger, connection: Connection, event: Json, place: Recorded, warnings: list[str]) -> Json:
    lots = event.get("inputQuantityList") or event.get("quantityList") or []
    outputs = event.get("outputQuantityList") or []
    holder = holder_of(event, place.node)
    shown = _lots_json(connection, lots, holder)
    slips_ = [one["epcClass"] for one in outputs if one["epcClass"].startswith(TRACE_URN)]
    if event["bizStep"] == "shipping":
        slips_ = [one for one in event["certificationInfo"] if one.startswith(TRACE_URN)]
    made = [one for one in outputs if not one["epcClass"].startswith(TRACE_URN)]
    if event.get("action") == "ADD":
        made = lots
    off = round((parse_time(event["eventTime"]) - parse_time(place.record_time)).total_seconds())
    return {
        "scan": event["eventID"].removeprefix("urn:uuid:"), "event": event["eventID"],
        "entries": [f"{node_text(place.node)}/{place.seq}"], "receipt": ledger.receipt([place]), "lots": shown,
        "made": {"lot": made[0]["epcClass"], "quantity": made[0]["quantity"], "unit": made[0].get("uom", "H87")}
        if made else None,
        "trace": slips_[0].removeprefix(TRACE_URN) if slips_ else None,
        "warnings": [
            {"code": word, "chinese": WARNINGS[word][0], "english": WARNINGS[word][1]} for word in warnings
        ],
        "clockOffSeconds": off if "clock_off" in warnings else None,
    }  # fmt: skip


def _lots_json(connection: Connection, elements: list[Json], holder: str) -> list[Json]:
    """The lots of the event, with what is left of each at the stall; a quantity that is not told is null."""
    keys = [canonical_key(element["epcClass"]) for element in elements]
    left = {(one.lot, one.uom): one.quantity for one in lots_at(connection, holder, keys)}
    return [
        {
            "lot": element["epcClass"], "quantity": element.get("quantity"), "unit": element.get("uom") or "H87",
            "left": left.get((key, element.get("uom", "")), _only(left, key) if "quantity" not in element else 0),
        }
        for key, element in zip(keys, elements, strict=True)
    ]  # fmt: skip


def _only(left: dict[tuple[Key, str], Decimal], key: Key) -> Decimal | int:
    """What is left of a lot, where the event does not say in which unit."""
    found = [quantity for (lot, _), quantity in left.items() if lot == key]
    return found[0] if len(found) == 1 else 0


def _slips(ledger: Ledger, scan: Scan, node: Node) -> Series:
    return slips(node.trace_scheme, scan.node, scan.party, _day(ledger, scan))


def _day(ledger: Ledger, scan: Scan) -> date:
    """The city's day of a scan."""
    return scan.at.astimezone(ledger.settings.zone).date()


@router.post("/scans/{scan}/void", status_code=201, openapi_extra=documented_model(VoidBody))
def void_scan(
    ledger: LedgerHere, actor: MayCapture, scan: UUID, body: Annotated[VoidBody, Depends(parsed(VoidBody))]
) -> dict[str, Any]:
    """Take back a scan that was a mistake: an error declaration, never a change. What it moved is moved back."""
    with ledger.database.read() as connection:
        found = entries_of_event(connection, f"urn:uuid:{scan}", actor)
        places = places_of(connection, actor)
    event = found[0].event
    if len(found) > 1:  # sent again, or by somebody else: it is taken back, once
        if found[-1].event["errorDeclaration"]["reason"] != body.reason:
            raise Conflict(f"the scan {scan} was taken back already, for another reason")
        return _voided(ledger, scan, found[-1].place)
    event["errorDeclaration"] = {"declarationTime": time_text(moment(body.at)), "reason": body.reason}
    (place,) = ledger.record(_request(ledger, actor, places, event, within_stock=False))
    return _voided(ledger, scan, place)


def _voided(ledger: Ledger, scan: UUID, place: Recorded) -> dict[str, Any]:
    return {"scan": str(scan), "entries": [f"{node_text(place.node)}/{place.seq}"], "receipt": ledger.receipt([place])}
