"""MOFCOM's official records over HTTP: a document of them is recorded record by record, and given back on request."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy import Connection, select

from api import scans
from api.auth import LedgerHere, MayCapture, MayRead
from api.bodies import documented, reader
from api.ledger import Ledger, now
from api.problems import problem
from ledger.access import Actor
from ledger.codes import NodeCode, node_text, parse_node
from ledger.documents import Json, write_json
from ledger.errors import Breach, LedgerError, NotRecorded, UnacceptableRecord
from ledger.exchange import RECORDS_MAX, Document, read_document, write_document
from ledger.official import BY_RECORD, RECORDS, OfficialRecord, halves, merged, records_of, scan_of
from ledger.reads import entries_at, in_error
from ledger.registers import NODE
from ledger.registry import records
from ledger.steps import BY_NAME
from ledger.tables import event

router = APIRouter(tags=["scanning"])
XML_TYPES = ("application/xml", "text/xml")
KINDS = (*XML_TYPES, "application/json")
PAGE_MAX = 200
_Document = Annotated[bytes, Depends(reader(KINDS))]
_EXAMPLE = {
    "DataExchangeReq": {
        "NodeId": "330212001", "RequestTime": "20261125080000000", "VerifyCode": "", "Index": "", "Count": "1",
        "DataDate": "20261125", "Address": [{"retail_market_tran_info_summ": {
            "retail_market_id": "330212001", "sale_date": "20261125080000", "retailer_id": "3302120010001",
            "goods_code": "21113011", "weight": "1.25", "price": "25.8", "sale_tran_id": "33021200100010000001",
        }}],
    }
}  # fmt: skip


@router.post("/official", openapi_extra=documented({"type": "object"}, _EXAMPLE, "application/json"))
def post_official(ledger: LedgerHere, actor: MayCapture, request: Request, body: _Document) -> Response:
    """Record a document of official records, JSON or XML. What became of each is told; a bad one stops no other.

    The same document again records nothing twice.
    """
    kind = request.headers["content-type"].split(";")[0].strip().lower()
    document = read_document(body, xml=kind in XML_TYPES)
    answers = [_recorded(ledger, actor, name, given) for name, given in merged(document.records)]
    return Response(write_json({"records": answers}), media_type="application/json")


def _recorded(ledger: Ledger, actor: Actor, name: str, given: Any) -> Json:
    """What became of one record: its scan, entries and receipt, or the problem."""
    answer: Json = {"record": name, "scan": None}
    try:
        if isinstance(given, UnacceptableRecord):
            raise given
        found = scan_of(name, given, ledger.settings.zone)
        answer["scan"] = found["scan"]
        told, status = scans.record(ledger, actor, _body(found))
    except LedgerError as error:
        return {**answer, "problem": problem(error)}
    kept = ("event", "entries", "receipt", "warnings")
    return {**answer, "status": status, **{field: told[field] for field in kept}}


def _body(found: Json) -> scans.ScanBody:
    try:
        return scans.ScanBody.model_validate(found)
    except ValidationError as error:
        raise UnacceptableRecord(
            [Breach(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
        ) from None


@router.get("/official/{record}")
def get_official(
    ledger: LedgerHere, actor: MayRead, request: Request,
    record: Annotated[str, Path(examples=["retail_market_tran_info_summ"])],
    node: Annotated[str, Query(examples=["330212001"])],
    since: Annotated[date | None, Query(alias="from", description="the first day")] = None,
    until: Annotated[date | None, Query(alias="to", description="the last day")] = None,
    after: Annotated[int, Query(ge=0, le=(1 << 62), description="where in the chain the last page ended")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="entries that are looked at")] = PAGE_MAX,
) -> Response:  # fmt: skip
    """The official records of a node's scans, by place in its chain; a scan that was taken back is not among them.

    The header Next-After has where the next page begins; without it this is the last.
    """
    row = BY_RECORD.get(record)
    if row is None:
        raise NotRecorded(f"there is no such record; there are {', '.join(one.name for one in RECORDS)}")
    code = parse_node(node)
    actor.require_node(code)
    with ledger.database.read() as connection:
        found = page(connection, ledger, code, row, since=since, until=until, after=after, limit=limit)
    day = (until or ledger.today()).strftime("%Y%m%d")
    document = Document(node_text(code), moment(ledger), day, list(halves(found.records)))
    xml = any(kind in request.headers.get("accept", "") for kind in XML_TYPES)
    headers = {"Next-After": str(found.seen)} if found.more else {}
    return Response(
        write_document(document, xml=xml), media_type="application/xml" if xml else "application/json", headers=headers
    )


def moment(ledger: Ledger) -> str:
    """Now by the city's clock as documents have it: yyyyMMddHHmmssSSS."""
    at = now().astimezone(ledger.settings.zone)
    return at.strftime("%Y%m%d%H%M%S") + f"{at.microsecond // 1000:03d}"


@dataclass(frozen=True, slots=True)
class Page:
    """Records in the order of the chain, `places` beside them; `seen` is where the next page begins."""

    records: list[tuple[str, dict[str, str]]]
    places: list[tuple[int, int]]
    """Of each record the entry's sequence, and which of its lots it is of."""
    seen: int
    more: bool


def page(
    connection: Connection, ledger: Ledger, node: NodeCode, row: OfficialRecord, *, since: date | None = None,
    until: date | None = None, after: int = 0, limit: int = PAGE_MAX,
) -> Page:  # fmt: skip
    """The records of at most `limit` entries of a node behind the place `after`."""
    zone = ledger.settings.zone
    question = (
        select(event.c.seq)
        .where(event.c.node == node, event.c.seq > after, event.c.business_step == BY_NAME[row.step].business_step)
        .order_by(event.c.seq)
        .limit(limit + 1)
    )
    if since is not None:
        question = question.where(event.c.event_time >= datetime.combine(since, time(), zone))
    if until is not None:
        question = question.where(event.c.event_time < datetime.combine(until + timedelta(days=1), time(), zone))
    seqs = connection.execute(question).scalars().all()
    read = sorted(entries_at(connection, [(node, seq) for seq in seqs[:limit]]), key=lambda one: one.entry.seq)
    events = [(one.entry.seq, one.event) for one in read]
    gone = in_error(connection, [found["eventID"] for _, found in events])
    names = _names(connection, ledger, [found for _, found in events])
    made = Page([], [], events[-1][0] if events else after, len(seqs) > limit)
    for seq, found in events:
        ours = [] if found["eventID"] in gone else records_of(found, names, zone)
        ours = [one for one in ours if one[0] == row.name]
        if made.records and len(made.records) + len(ours) > RECORDS_MAX // 2:
            return replace(made, seen=seq - 1, more=True)
        made.records.extend(ours)
        made.places.extend((seq, place) for place in range(len(ours)))
    return made


def _names(connection: Connection, ledger: Ledger, events: list[Json]) -> dict[str, str]:
    """The names of the nodes that are spoken of: they are open. Those of parties are private, and left out."""
    codes = set(_nodes(events))
    found = records(connection, ledger.vault, NODE, [(code,) for code in sorted(codes)]) if codes else {}
    names = {code: str(one.values["name"]) for (code, *_), one in ((key, one) for key, one in found.items())}
    return names | {f"{code}0000": name for code, name in names.items()}


def _nodes(events: list[Json]) -> Iterator[str]:
    for one in events:
        raw = one.get("suyuan:scan")
        if isinstance(raw, dict):
            yield from (str(code)[:9] for code in (raw.get("node"), raw.get("counterparty")) if code)
