"""Administration of nodes and credentials over HTTP, for the role admin."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.auth import LedgerHere, MayAdminister
from api.bodies import documented, parsed
from api.ledger import now
from ledger.access import Role
from ledger.codes import TraceScheme, node_text, parse_node
from ledger.entries import time_text
from ledger.registry import (
    Credential,
    Node,
    add_node,
    change_node,
    credentials,
    get_credential,
    get_node,
    issue,
    nodes,
    revoke,
)

router = APIRouter(tags=["administration"])
Code = Annotated[str, Path(description="9-digit node code", examples=["330212001"])]
Limit = Annotated[int, Query(ge=1, le=1000)]


def _one_of(values: type[StrEnum]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": [*values]})


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class NewNode(_Input):
    """A node to register."""

    node: str = Field(examples=["330212001"], description="9 digits: region and filing serial")
    name: str = Field(examples=["城东农贸市场"])
    trace_scheme: Annotated[TraceScheme, _one_of(TraceScheme)] = Field(
        examples=["A"], description="A: party and serial; B: day and serial"
    )
    locations: list[str] = Field(default=[], max_length=100, examples=[["https://id.gs1.org/414/6901234500011"]])


class NodeChange(_Input):
    """What to change of a node; what is left out stays."""

    name: str | None = Field(default=None, examples=["城东农贸市场"])
    locations: list[str] | None = Field(default=None, max_length=100)
    open: bool | None = Field(default=None, examples=[False])


class NewCredential(_Input):
    """A credential to issue."""

    role: Annotated[Role, _one_of(Role)] = Field(examples=["terminal"])
    label: str = Field(examples=["stall 12, scale"], description="what it is for; no personal data")
    nodes: list[str] = Field(default=[], max_length=1000, examples=[["330212001"]], description="the first is its home")
    days: int = Field(default=365, ge=1, le=3650)


def _body(model: type[_Input]) -> dict[str, Any]:
    """What OpenAPI shows of a body: the model, and the example that its fields make."""
    example = {name: field.examples[0] for name, field in model.model_fields.items() if field.examples}
    return documented(model.model_json_schema(), example, "application/json")


def node_json(node: Node) -> dict[str, Any]:
    """A node as people and programs read it."""
    return {**node.row, "node": node_text(node.node)}


def credential_json(credential: Credential) -> dict[str, Any]:
    """A credential without its hash."""
    shown = {name: value for name, value in credential.row.items() if name != "key_hash"}
    nodes_ = [node_text(code) for code in credential.nodes]
    return {**shown, "nodes": nodes_, "home_node": node_text(credential.home_node)}


@router.get("/nodes")
def list_nodes(
    ledger: LedgerHere, _: MayAdminister, after: str | None = None, limit: Limit = 100
) -> list[dict[str, Any]]:
    """Registered nodes in the order of their codes."""
    with ledger.database.read() as connection:
        return [node_json(node) for node in nodes(connection, -1 if after is None else parse_node(after), limit)]


@router.post("/nodes", status_code=201, openapi_extra=_body(NewNode))
def post_node(
    ledger: LedgerHere, actor: MayAdminister, new: Annotated[NewNode, Depends(parsed(NewNode))]
) -> dict[str, Any]:
    """Register a node; 409 if its code is taken."""
    code = parse_node(new.node)
    ledger.record(add_node(code, new.name, new.trace_scheme, new.locations, actor.name))
    with ledger.database.read() as connection:
        return node_json(get_node(connection, code))


@router.get("/nodes/{code}")
def one_node(ledger: LedgerHere, _: MayAdminister, code: Code) -> dict[str, Any]:
    """A registered node."""
    with ledger.database.read() as connection:
        return node_json(get_node(connection, parse_node(code)))


@router.patch("/nodes/{code}", openapi_extra=_body(NodeChange))
def patch_node(
    ledger: LedgerHere, actor: MayAdminister, code: Code, change: Annotated[NodeChange, Depends(parsed(NodeChange))]
) -> dict[str, Any]:
    """Rename, move, close or reopen a node; 409 if somebody else changed it meanwhile."""
    with ledger.database.read() as connection:
        present = get_node(connection, parse_node(code))
    request = change_node(present, actor.name, name=change.name, locations=change.locations, open=change.open)
    ledger.record(request)
    with ledger.database.read() as connection:
        return node_json(get_node(connection, present.node))


@router.get("/credentials")
def list_credentials(
    ledger: LedgerHere,
    _: MayAdminister,
    after: Annotated[str, Query(pattern="^[a-z2-7]{0,10}$")] = "",
    limit: Limit = 100,
) -> list[dict[str, Any]]:
    """All credentials, revoked ones too, without secrets."""
    with ledger.database.read() as connection:
        return [credential_json(credential) for credential in credentials(connection, after, limit)]


@router.post("/credentials", status_code=201, openapi_extra=_body(NewCredential))
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
