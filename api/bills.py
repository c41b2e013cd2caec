"""China's bills over HTTP: up to 3,500 codes under a number of the party's own, answered code by code.

The same bill again is answered as before; another content under its number is a conflict. Personal data of buyers,
which the official interface has fields for, are not taken: the ledger keeps none.
"""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from api.auth import LedgerHere, MayCheckPacks, MayCommand
from api.bodies import FieldReader, Input, documented_model, json_answer, parsed
from api.ledger import Ledger
from api.packs import Batch, Said, packs_of, verdict_json
from ledger.access import Actor
from ledger.codes import parse_node, parse_party
from ledger.documents import Json
from ledger.drafts import content_id, refusal_name
from ledger.errors import NotRecorded, UnacceptableRecord
from ledger.fields import moment
from ledger.packs.bills import BILL_TYPES, BillType, bill_document, bill_type
from ledger.packs.counter import PACKS_MAX, Answer, Ask
from ledger.packs.decision import Mode, Order
from ledger.reads import entries_of_ids

router = APIRouter(tags=["packs"])


class BillBody(Input):
    """A bill. Codes are as the device sent them, as URIs, or (01)…(21)…"""

    party: str = Field(examples=["3302120010000"], description="13 digits: whose bill it is")
    bill: str = Field(examples=["XS202611250001"], pattern=r"^[A-Za-z0-9_\-]{1,40}$", description="its own number")
    type: str = Field(examples=["102"], pattern="^[0-9]{3}$")
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"])
    codes: list[str] = Field(examples=[["81234560000000020002"]], min_length=1, max_length=PACKS_MAX)
    giver: str | None = Field(default=None, description="13 digits: who gave the packs")
    taker: str | None = Field(default=None, description="13 digits: who took them")
    mode: str = Field(default="scan", description="scan, manual or offline")
    batch: Batch = Field(default=None, description="of all the packs, where their codes do not say")
    expires: str | None = Field(default=None, max_length=20)
    sendsFnc1: bool = Field(default=False, description="calibration has shown that the scanner sends FNC1")


@router.get("/bills/types")
def bill_types(_: MayCheckPacks) -> list[dict[str, Any]]:
    """The types of bill, and the command that each is."""
    return [
        {"type": one.number, "chinese": one.chinese, "english": one.english, "command": str(one.command)}
        for one in BILL_TYPES
    ]


@router.post("/bills", status_code=201, openapi_extra=documented_model(BillBody))
async def post_bill(
    ledger: LedgerHere, actor: MayCommand, body: Annotated[BillBody, Depends(parsed(BillBody))]
) -> Response:  # fmt: skip
    """Hand in a bill. 201, or 200 if it was recorded before: each code has an answer of its own, taken or refused."""
    kind, ask = _ask(ledger, body, actor, ledger.today())
    if kind.roles is not None:
        actor.require_one_of(kind.roles, f"hand in bills of the type {kind.number} {kind.chinese}")
    answer = await ledger.ask(ledger.counter, ask)
    status = 200 if answer.before else 201
    return json_answer(_document(ledger, kind, body.bill, ask.node, answer), status)


def _document(ledger: Ledger, kind: BillType, bill: str, node: int, answer: Answer) -> Json:
    packs = [verdict_json(one, node, kind.command) for one in answer.verdicts]
    taken = sum(one["taken"] for one in packs)
    return {
        "bill": bill, "type": kind.number, "command": str(kind.command),
        "status": 3 if taken else 4, "taken": taken, "refused": len(packs) - taken,
        "packs": packs, "receipt": ledger.receipt(answer.places),
    }  # fmt: skip


def _ask(ledger: Ledger, body: BillBody, actor: Actor, today: date) -> tuple[BillType, Ask]:
    read = FieldReader()
    kind = read("type", lambda: bill_type(body.type))
    party = read("party", lambda: parse_party(body.party))
    at = read("at", lambda: moment(body.at))
    mode = read("mode", lambda: Mode.of(body.mode))
    giver = read("giver", lambda: parse_party(body.giver) if body.giver else None)
    taker = read("taker", lambda: parse_party(body.taker) if body.taker else None)
    given: list[Said] = packs_of(body.codes, today, body.batch, body.expires, read.breaches, sends_fnc1=body.sendsFnc1)
    if read.breaches or kind is None or party is None or at is None or mode is None:
        raise UnacceptableRecord(read.breaches)
    node = parse_node(party[:9])
    actor.require_node(node)
    scan = bill_scan(ledger.secret, party, body.bill)
    orders = tuple(
        Order(scan, kind.command, one.code, node, actor.name, at, mode, one.batch, one.expires, single=False)
        for one in given
    )
    return kind, Ask(
        scan, actor, orders, body.model_dump(exclude_none=True), bill_document(kind, party, body.bill, giver, taker)
    )


def bill_scan(secret: bytes, party: str, bill: str) -> str:
    """The id that a bill is recorded under: the same for the same number of the same party."""
    return str(UUID(content_id(secret, b"bill", party.encode(), bill.encode()).removeprefix("urn:uuid:")))


@router.get("/bills/{party}/{bill}")
def get_bill(ledger: LedgerHere, actor: MayCheckPacks, party: str, bill: str) -> Response:
    """What became of a bill: 3 recorded, 4 all of it refused (as 码上放心 numbers them). 404 if it never came."""
    code = parse_party(party)
    actor.require_node(parse_node(code[:9]))
    scan = bill_scan(ledger.secret, code, bill)
    with ledger.database.read() as connection:
        found = entries_of_ids(connection, [f"urn:uuid:{scan}", refusal_name(scan)])
    if not found:
        raise NotRecorded(f"no bill {bill[:40]} of {code} is recorded; hand it in again, that is safe")
    taken = [one for one in found if "event" in one.entry.body]
    refused = [pack for one in found for pack in one.entry.body.get("refusal", {}).get("packs", ())]
    document = {
        "bill": bill, "status": 3 if taken else 4, "entries": [one.entry.name for one in found],
        "taken": sum(len(one.event.get("epcList", ())) for one in taken), "refused": len(refused),
        "refusals": [{"code": one["code"], "reasons": one["reasons"], "alert": one["alert"]} for one in refused],
    }  # fmt: skip
    return json_answer(document)
