"""The log over HTTP, for verifiers: checkpoint, tiles (C2SP tlog-tiles) and proofs.

Public: hashes show nobody's trade.
"""

import base64
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse

from api.auth import Anybody, LedgerHere
from ledger.codes import parse_node
from ledger.errors import NotRecorded
from ledger.log import bundle_bytes, latest, proof_file, prove_consistency, prove_inclusion, tile_bytes
from ledger.merkle import TILE_WIDTH

router = APIRouter(tags=["log"])
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
_NUMBER = re.compile(r"((?:x[0-9]{3}/){0,10})([0-9]{3})(?:\.p/([0-9]{1,3}))?")
_LEVEL = re.compile(r"[0-9]|[1-5][0-9]|6[0-3]")
Node = Annotated[str, Query(description="9-digit node code", examples=["330212001"])]
Seq = Annotated[int, Query(ge=1, le=2**62)]
Size = Annotated[int | None, Query(ge=1, le=2**62)]


@router.get("/checkpoint")
def checkpoint(ledger: LedgerHere, _: Anybody) -> Response:
    """The newest signed checkpoint (C2SP tlog-checkpoint)."""
    with ledger.database.read() as connection:
        note = latest(connection).note
    return PlainTextResponse(note, headers={"Cache-Control": "public, max-age=1"})


@router.get("/key")
def key(ledger: LedgerHere, _: Anybody) -> Response:
    """The public keys of this log, a vkey a line, the present one first. Compare them with what you were given."""
    return PlainTextResponse("".join(f"{verifier}\n" for verifier in ledger.keys.verifiers()))


def _tile_number(text: str) -> tuple[int, int]:
    """Number and width from a C2SP tile path such as x001/x234/067.p/8."""
    match = _NUMBER.fullmatch(text)
    if match is None or (match[1].startswith("x000/")):
        raise NotRecorded(f"{text!r} is no tile number: groups of three digits, such as x001/234 or 005.p/17")
    width = TILE_WIDTH if match[3] is None else int(match[3])
    if match[3] is not None and (not 0 < width < TILE_WIDTH or match[3][0] == "0"):
        raise NotRecorded("a partial tile has 1 to 255 hashes")
    return int(match[1].replace("x", "").replace("/", "") + match[2]), width


@router.get("/tile/entries/{number:path}")
def entries_tile(ledger: LedgerHere, _: Anybody, number: Annotated[str, Path(examples=["000.p/12"])]) -> Response:
    """An entry bundle: for each entry its length, 32, and its SHA-256, which is the leaf's data."""
    n, width = _tile_number(number)
    with ledger.database.read() as connection:
        data = bundle_bytes(connection, n, width)
    return Response(data, media_type="application/octet-stream", headers=_IMMUTABLE)


@router.get("/tile/{level}/{number:path}")
def tile(
    ledger: LedgerHere,
    _: Anybody,
    level: Annotated[str, Path(examples=["0"])],
    number: Annotated[str, Path(examples=["000.p/12"])],
) -> Response:
    """A tile of the Merkle tree."""
    if not _LEVEL.fullmatch(level):
        raise NotRecorded(f"{level!r} is no level of the tree: 0 to 63, without leading zeros")
    n, width = _tile_number(number)
    with ledger.database.read() as connection:
        data = tile_bytes(connection, int(level), n, width)
    return Response(data, media_type="application/octet-stream", headers=_IMMUTABLE)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@router.get("/proof/inclusion")
def inclusion(ledger: LedgerHere, _: Anybody, node: Node, seq: Seq, size: Size = None) -> dict[str, Any]:
    """That an entry is in the log (RFC 6962, 2.1.1): its place, its leaf hash, the path, and the checkpoint."""
    with ledger.database.read() as connection:
        found = prove_inclusion(connection, parse_node(node), seq, size)
    return {
        "index": found.index, "size": found.size, "leafHash": _b64(found.leaf), "path": [_b64(h) for h in found.path],
        "checkpoint": found.note,
    }  # fmt: skip


@router.get("/proof/file")
def file(ledger: LedgerHere, _: Anybody, node: Node, seq: Seq) -> Response:
    """The same as a `.tlog-proof` file (C2SP tlog-proof), to be kept with the entry and checked offline."""
    with ledger.database.read() as connection:
        text = proof_file(connection, parse_node(node), seq)
    return PlainTextResponse(text)


@router.get("/proof/consistency")
def consistency(
    ledger: LedgerHere, _: Anybody, old: Annotated[int, Query(alias="from", ge=1, le=2**62)],
    new: Annotated[int | None, Query(alias="to", ge=1, le=2**62)] = None,
) -> dict[str, Any]:  # fmt: skip
    """That the tree of `from` entries is the beginning of the tree of `to` (default: the newest; RFC 6962, 2.1.2)."""
    with ledger.database.read() as connection:
        size, proof = prove_consistency(connection, old, new)
    return {"from": old, "to": size, "proof": [_b64(h) for h in proof]}
