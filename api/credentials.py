"""Credentials over HTTP, for the role admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field, WithJsonSchema

from api.auth import LedgerHere, MayAdminister
from api.bodies import Input, documented_model, parsed
from api.ledger import now
from ledger.access import Role
from ledger.codes import node_text
from ledger.credentials import Credential, credentials, get_credential, issue, revoke
from ledger.entries import time_text

router = APIRouter(tags=["administration"])


class NewCredential(Input):
    """A credential to issue."""

    role: Annotated[Role, WithJsonSchema({"type": "string", "enum": [*Role]})] = Field(examples=["terminal"])
    label: str = Field(examples=["stall 12, scale"], description="what it is for; no personal data")
    nodes: list[str] = Field(default=[], max_length=1000, examples=[["330212001"]], description="the first is its home")
    days: int = Field(default=365, ge=1, le=3650)


def credential_json(credential: Credential) -> dict[str, Any]:
    """A credential without its hash."""
    shown = {name: value for name, value in credential.row.items() if name != "key_hash"}
    nodes_ = [node_text(code) for code in credential.nodes]
    return {**shown, "nodes": nodes_, "home_node": node_text(credential.home_node)}


@router.get("/credentials")
def list_credentials(
    ledger: LedgerHere,
    _: MayAdminister,
    after: Annotated[str, Query(pattern="^[a-z2-7]{0,10}$")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """All credentials, revoked ones too, without secrets."""
    with ledger.database.read() as connection:
        return [credential_json(credential) for credential in credentials(connection, after, limit)]


@router.post(
    "/credentials",
    status_code=201,
    openapi_extra=documented_model(NewCredential),
)
def post_credential(
    ledger: LedgerHere, actor: MayAdminister, new: Annotated[NewCredential, Depends(parsed(NewCredential))]
) -> dict[str, Any]:
    """Issue a credential. `key` is shown this once; only its hash is kept."""
    with ledger.database.read() as connection:
        request, made, key = issue(connection, new.role, new.label, new.nodes, new.days, actor.name, now())
    ledger.record(request)
    return {**credential_json(made), "key": key}


@router.delete("/credentials/{code}")
def delete_credential(ledger: LedgerHere, actor: MayAdminister, code: str) -> dict[str, Any]:
    """Revoke a credential, at once and for good. It stays listed."""
    with ledger.database.read() as connection:
        present = get_credential(connection, code)
    at = now()
    ledger.record(revoke(present, actor.name, at))
    return {"credential": code, "revoked_at": time_text(at)}
