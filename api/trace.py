"""Tracing a code and reading entries over HTTP."""

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from api.auth import LedgerHere, MayRead, MayTrace
from api.paths import uri_in_path
from ledger.codes import key_of_code, parse_node
from ledger.documents import write_json
from ledger.reads import get_entry
from ledger.trace import Direction, trace
from reports.trace import to_json

router = APIRouter(tags=["trace"])
Node = Annotated[str, Path(description="9-digit node code", examples=["330212001"])]
Seq = Annotated[int, Path(ge=1, le=2**62, description="place in the node's chain, from 1")]


@router.get("/trace/{code:path}")
def trace_code(
    ledger: LedgerHere,
    actor: MayTrace,
    request: Request,
    code: Annotated[str, Path(description="URI, (01)… with lot or serial, 20 digits, SSCC or GTIN", examples=[
        "(01)06901234500103(10)P20261122A"
    ])],
    direction: Annotated[Direction, Query()] = Direction.BOTH,
) -> Response:  # fmt: skip
    """Where a code came from and where everything made of it went: items, events, open ends."""
    start = key_of_code(uri_in_path(request, "/trace/", code))
    with ledger.database.read() as connection:
        graph = trace(connection, start, direction, actor)
    return Response(write_json(to_json(graph)), media_type="application/json")


@router.get("/entries/{node}/{seq}")
def entry(ledger: LedgerHere, actor: MayRead, request: Request, node: Node, seq: Seq) -> Response:
    """An entry. `Accept: application/octet-stream` gives just the bytes whose SHA-256 is its hash."""
    with ledger.database.read() as connection:
        found = get_entry(connection, parse_node(node), seq, actor)
    if request.headers.get("accept") == "application/octet-stream":
        return Response(found.entry.data, media_type="application/octet-stream")
    shown: dict[str, Any] = {
        "entry": found.entry.name, "hash": found.entry.hash.hex(), "data": base64.b64encode(found.entry.data).decode(),
        "body": found.entry.body,
    }  # fmt: skip
    if found.salt is not None and found.sealed is not None:
        shown["sealed"] = {"salt": found.salt.hex(), "data": base64.b64encode(found.sealed).decode()}
    return Response(write_json(shown), media_type="application/json")
