"""DSCSA verification by GS1 Lightweight Messaging 1.1: is this pack one that was made, and may it be sold again?

Source: `drugs_and_warnings.md` 2. Serial first, then lot and expiry; no reason beyond the standard's own words. The
record of the pack answers, since the city's ledger is asked in place of its maker.
"""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from api.auth import LedgerHere, MayCheckPacks
from api.bodies import json_answer
from api.ledger import now
from ledger.entries import time_text
from ledger.errors import NotRecorded
from ledger.gs1 import digital_link_key, parse_gln, parse_gtin
from ledger.packs.counter import Ask, Verdict
from ledger.packs.decision import Order, Reason
from ledger.packs.states import Command, State

router = APIRouter(tags=["packs"])


class Asked(BaseModel):
    """What a request says beside the pack (GS1 Lightweight Messaging 1.1)."""

    exp: str = Field(pattern="^[0-9]{6}$", description="YYMMDD, as in (17)")
    link_type: Literal["verificationService"] = Field(default="verificationService", alias="linkType")
    context: Literal["dscsaSaleableReturn"] = "dscsaSaleableReturn"
    requester: str | None = Field(default=None, alias="reqGLN")
    correlation: str | None = Field(default=None, alias="corrUUID", max_length=60)


@router.get("/verify/gtin/{gtin}/lot/{lot:path}/ser/{serial:path}")
async def verify(
    ledger: LedgerHere, actor: MayCheckPacks, gtin: str, lot: str, serial: str, asked: Annotated[Asked, Query()]
) -> Response:  # fmt: skip
    """Verify a pack: JSON with `verified`, and why not."""
    if asked.requester is not None:
        parse_gln(asked.requester)
    code = digital_link_key([("01", parse_gtin(gtin)), ("21", serial)])
    order = Order("", Command.VERIFY, code, actor.home_node, actor.name, now(), batch=lot)
    answer = await ledger.ask(ledger.counter, Ask("", actor, (order,), only_asks=True))
    (verdict,) = answer.verdicts
    if verdict.product is None:
        raise NotRecorded(f"the GTIN {gtin} is not registered here")
    document: dict[str, Any] = {
        "verificationTimestamp": time_text(now()), "responderGLN": answer.variant.gln,
        "data": _data(verdict, lot, asked.exp), "corrUUID": asked.correlation,
    }  # fmt: skip
    return json_answer(document)


@router.get("/verify/checkConnectivity")
def check_connectivity(
    _: MayCheckPacks, gtin: str, requester: Annotated[str | None, Query(alias="reqGLN")] = None
) -> dict[str, str]:  # fmt: skip
    """That a verification of this GTIN would be answered here."""
    if requester is not None:
        parse_gln(requester)
    return {"gtin": parse_gtin(gtin)}


def _data(verdict: Verdict, lot: str, exp: str) -> dict[str, Any]:
    standing = verdict.standing
    if standing is None:
        return {"verified": False, "verificationFailureReason": "No_match_GTIN_Serial"}
    wrong = "_Lot" if standing.batch is not None and standing.batch != lot else ""
    if standing.expires is not None and not _is_day(exp, standing.expires):
        wrong += "_Expiry"
    if wrong:
        return {"verified": False, "verificationFailureReason": f"No_match_GTIN_Serial{wrong}"}
    found: dict[str, Any] = {"verified": True}
    if standing.state is not State.ACTIVE:
        found = {"verified": False, "verificationFailureReason": "Not_for_re-distribution"}
    if standing.state is State.STOLEN:
        found["additionalInfo"] = "Illegitimate"
    for reason, word in ((Reason.RECALLED, "Recalled"), (Reason.WITHDRAWN, "Recalled"), (Reason.EXPIRED, "Expired")):
        if reason in verdict.decision.unsaleable:
            found.setdefault("additionalInfo", word)
    return found


def _is_day(exp: str, recorded: date) -> bool:
    """Day 00 is the last of the month (GS1 General Specifications, 3.4.7)."""
    return exp[:4] == f"{recorded:%y%m}" and exp[4:] in (f"{recorded:%d}", "00")
