"""Receiving over HTTP: what was scanned against what was sent, received, and each difference a case to settle."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from api.auth import LedgerHere, MayCommand
from api.bills import bill_scan
from api.bodies import FieldReader, Input, documented_model, json_answer, parsed
from api.ledger import Ledger
from api.packs import packs_of, verdict_json
from ledger.access import Actor
from ledger.codes import NODE_URN, PARTY_URN, node_text, parse_node, parse_party
from ledger.documents import Json
from ledger.entries import Kind
from ledger.errors import Breach, Conflict, NotRecorded, UnacceptableRecord
from ledger.fields import moment
from ledger.gs1 import Key
from ledger.identifiers import canonical_key, uri_of
from ledger.nodes import get_node
from ledger.packs.bills import bill_uri
from ledger.packs.contents import packs_in
from ledger.packs.counter import PACKS_MAX, Ask, Verdict
from ledger.packs.decision import Mode, Order
from ledger.packs.effects import is_pack
from ledger.packs.receiving import Difference, Shipment, differences
from ledger.packs.states import Command
from ledger.reads import entries_of_ids, in_error
from ledger.registers import DIFFERENCE
from ledger.registers.drugs import REQUESTED
from ledger.registry import records

router = APIRouter(tags=["packs"])
CODES_SHOWN, DIFFERENCES_MAX = 100, 999


class ReceivingBody(Input):
    """What was scanned of a shipment. The shipment is named by the sender's bill, or by the id of its event."""

    scan: str = Field(examples=["0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a03"])
    node: str = Field(examples=["330212001"])
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"])
    sender: str | None = Field(default=None, examples=["3302120010000"], description="13 digits")
    bill: str | None = Field(
        default=None, max_length=40, examples=["XS202611250001"], description="the sender's number"
    )
    event: str | None = Field(default=None, max_length=1000, description="id of the shipping event, instead")
    codes: list[str] = Field(examples=[["81234560000000020002"]], max_length=PACKS_MAX)
    sendsFnc1: bool = Field(default=False, description="calibration has shown that the scanner sends FNC1")


@router.post("/receiving", status_code=201, openapi_extra=documented_model(ReceivingBody))
async def post_receiving(
    ledger: LedgerHere, actor: MayCommand, body: Annotated[ReceivingBody, Depends(parsed(ReceivingBody))]
) -> Response:  # fmt: skip
    """Receive a shipment: each pack is answered, each difference filed under /registry/differences."""
    read = FieldReader()
    scan = read("scan", lambda: str(uuid.UUID(body.scan)))
    node = read("node", lambda: parse_node(body.node))
    at = read("at", lambda: moment(body.at))
    sender = read("sender", lambda: parse_party(body.sender) if body.sender else None)
    given = packs_of(body.codes, ledger.today(), None, None, read.breaches, sends_fnc1=body.sendsFnc1)
    if (body.event is None) == (sender is None or body.bill is None):
        read.breaches.append(Breach("event", "name the shipment by sender and bill, or by the id of its event"))
    if read.breaches or scan is None or node is None or at is None:
        raise UnacceptableRecord(read.breaches)
    actor.require_node(node)
    name = body.event or f"urn:uuid:{bill_scan(ledger.secret, str(sender), str(body.bill))}"
    shown = body.event or bill_uri(str(sender), str(body.bill))
    loop = asyncio.get_running_loop()
    shipment = await loop.run_in_executor(None, _shipment, ledger, name, shown, node)
    orders = tuple(
        Order(scan, Command.RECEIVE, one.code, node, actor.name, at, Mode.SCAN, one.batch, one.expires, single=False)
        for one in given
    )
    before: list[Verdict] = []
    packs: list[Json] = []
    receipt = ""
    if orders:
        questions = tuple(replace(order, command=Command.VERIFY) for order in orders)
        before = (await ledger.ask(ledger.counter, Ask("", actor, questions, only_asks=True))).verdicts
    scanned = {one.code for one in before}
    if shipment.comes_here is None and shipment.codes.isdisjoint(scanned):
        raise NotRecorded(f"nothing that was scanned is in the shipment {shown}, which does not say that it comes here")
    if orders:
        answer = await ledger.ask(ledger.counter, Ask(scan, actor, orders, body.model_dump(exclude_none=True)))
        packs = [verdict_json(one, node, Command.RECEIVE) for one in answer.verdicts]
        receipt = ledger.receipt(answer.places)
    recorded = {one.code for one in before if one.standing is not None}
    found = [*differences(shipment, scanned, recorded)]
    filed = await loop.run_in_executor(None, _filed, ledger, actor, f"{body.node}-{scan[:8]}", shown, found)
    document = {"scan": scan, "shipment": shown, "packs": packs, "differences": filed, "receipt": receipt}
    return json_answer(document, 201)


def _shipment(ledger: Ledger, name: str, shown: str, node: int) -> Shipment:
    """What the sender's event says; `NotRecorded` where there is none that stands."""
    with ledger.database.read() as connection:
        found = [one for one in entries_of_ids(connection, [name]) if one.entry.kind is Kind.EVENT]
        if not found or in_error(connection, [name]):
            raise NotRecorded(f"no shipment {shown} is recorded")
        places = get_node(connection, parse_node(node_text(node))).locations
    event = found[0].event
    named = [canonical_key(epc) for epc in event.get("epcList", ())]
    codes = {key for key in named if is_pack(key)}
    with ledger.database.connection() as connection:
        for container in named:
            codes |= {*packs_in(connection, container, PACKS_MAX)}
    return Shipment(frozenset(codes), _comes_here(event, node, places))


def _comes_here(event: Json, node: int, places: Sequence[Key]) -> bool | None:
    """Whether the event's destination is this node, one of its places, or an operator at it; None if it has none."""
    ends = [canonical_key(str(one["destination"])) for one in event.get("destinationList", ())]
    if not ends:
        return None
    here = node_text(node)
    return any(end in places or end == NODE_URN + here or end.startswith(PARTY_URN + here) for end in ends)


def _filed(ledger: Ledger, actor: Actor, prefix: str, shipment: str, found: Sequence[Difference]) -> list[Json]:
    """The differences as cases; those of before where this scan has filed some."""
    registrar = ledger.registrar(actor)
    for number, one in enumerate(found, 1):
        values = registrar.read(DIFFERENCE, {
            "number": f"{prefix}-{number}", "kind": str(one.kind), "shipment": shipment, "product": one.product,
            "quantity": str(len(one.codes)), "codes": [uri_of(code) for code in one.codes[:CODES_SHOWN]],
            "request": str(REQUESTED[one.kind]),
        })  # fmt: skip
        try:
            ledger.record(registrar.file(DIFFERENCE, values))
        except Conflict:  # filed when the same scan came first
            break
    with ledger.database.read() as connection:
        keys = [(f"{prefix}-{number}",) for number in range(1, DIFFERENCES_MAX + 1)]
        return [one.shown() for one in records(connection, ledger.vault, DIFFERENCE, keys).values()]
