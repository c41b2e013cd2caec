"""What a counter has to know beside its scans: the steps, codes to have at hand, and what is left of a lot."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi import Path as FromPath
from fastapi import Request as HttpRequest
from pydantic import Field

from api.auth import LedgerHere, MayCapture, MayTrace
from api.bodies import Input, documented_model, parsed
from api.paths import uri_in_path
from api.scans import node_here
from ledger.codes import key_of_code, parse_party
from ledger.documents import write_json
from ledger.errors import Breach, UnacceptableRecord
from ledger.registers.fields import day_of
from ledger.scanning import left_of
from ledger.serials import RANGE_MAX, of_day, slips
from ledger.steps import STEPS

router = APIRouter(tags=["scanning"])


class LeaseBody(Input):
    """How many codes a terminal wants to have at hand."""

    kind: str = Field(default="trace", pattern="^(trace|lot)$", examples=["trace"])
    node: str = Field(examples=["330212001"])
    party: str | None = None
    day: str | None = Field(default=None, examples=["2026-11-25"])
    count: int = Field(default=50, ge=1, le=RANGE_MAX)


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


@router.post("/leases", status_code=201, openapi_extra=documented_model(LeaseBody))
def post_lease(
    ledger: LedgerHere, actor: MayCapture, body: Annotated[LeaseBody, Depends(parsed(LeaseBody))]
) -> dict[str, Any]:
    """Codes for a terminal to have at hand, also when it is offline. What it does not use is never used by another."""
    with ledger.database.read() as connection:
        node = node_here(connection, actor, body.node)
    party = parse_party(body.party or f"{body.node}0000")
    if party[:9] != body.node:
        raise UnacceptableRecord([Breach("party", f"{party} is no operator of the node {body.node}")])
    day = ledger.today() if body.day is None else day_of(body.day)
    series = of_day(node.node, day) if body.kind == "lot" else slips(node.trace_scheme, node.node, party, day)
    found = ledger.numbers.lease(series, body.count, actor.name)
    return {
        "series": series.name, "codes": found.codes, "left": found.left,
        "runsOut": found.runs_out,
    }  # fmt: skip


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
