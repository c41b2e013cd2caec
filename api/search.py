"""Finding over HTTP: whatever a text names, by code or by name, with the page of each."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field, WithJsonSchema

from api.auth import LedgerHere, MayReadRegister
from api.bodies import Input, documented_model, json_answer, parsed
from api.console.entries import found_as, found_at
from api.registry import looked_at
from ledger.access import Action
from ledger.finding import TEXT_MAX, find
from ledger.registry import Purpose

router = APIRouter(tags=["trace"])


class Search(Input):
    """What to look for. With a purpose also in personal data, and each record found so is a reading."""

    text: str = Field(examples=["339901003"], max_length=TEXT_MAX)
    purpose: Annotated[Purpose | None, WithJsonSchema({"type": "string", "enum": [*map(str, Purpose)]})] = Field(
        default=None, strict=False
    )


@router.post("/search", openapi_extra=documented_model(Search))
def search(
    ledger: LedgerHere, actor: MayReadRegister, wanted: Annotated[Search, Depends(parsed(Search))]
) -> Response:  # fmt: skip
    """All that a text names and that one may see: lots, packs, slips, entries, events, warnings, records of registers.

    The text comes in the body, since it may be somebody's name. Exact codes come first.
    """
    if wanted.purpose is not None:
        actor.require(Action.READ_PRIVATE)
    with ledger.database.read() as connection:
        private = wanted.purpose is not None
        found = find(connection, ledger.vault, wanted.text, actor, ledger.today(), private=private)
    personal = [one.record for one in found if one.record is not None and one.record.register.private_fields]
    looked_at(ledger, actor, personal, wanted.purpose)
    return json_answer({"found": [
        {"kind": one.kind, "chinese": found_as(one), "code": one.code, "name": one.name, "exact": one.exact,
         "page": found_at(one)}
        for one in found
    ]})  # fmt: skip
