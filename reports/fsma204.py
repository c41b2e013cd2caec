"""FSMA 204: the sortable spreadsheet of a lot's critical tracking events, with the PTI's column heads.

Sources: 21 CFR 1.1340 (shipping), 1.1345 (receiving), 1.1350 (transformation); the heads are those of the Produce
Traceability Initiative's templates (`drugs_and_warnings.md` 4). One line for each event and lot; where a key data
element is not recorded, or not for this reader, the line says so and what to do. Pure, but for `make`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from ledger.access import Action
from ledger.balances import goods_of
from ledger.bulletins import goods_names
from ledger.codes import NODE_URN, PARTY_URN, key_of_code, node_text
from ledger.errors import Breach, UnacceptableRecord
from ledger.fields import in_zone
from ledger.gs1 import Key
from ledger.identifiers import canonical_key, identifies_goods_closely, uri_of
from ledger.index import Role
from ledger.reporting import node_names
from ledger.trace import Direction, Graph, Step, trace
from reports.catalogue import Parameter, Report, Source
from reports.document import Basis, Cell, Column, Document, Grid, Kind, Note, Phrase, Section
from reports.movements import amount, in_time, parties

TITLE = Phrase("FSMA 204 可排序表格", "FSMA 204 sortable spreadsheet")
LOT = (
    "(1) TLC-GTIN", "(1) TLC-Batch", "Date Code", "Date Type", "VoiceCode", "Pallet ID", "TLC-Assigned By",
    "(2) Qty & UOM", "(3) Product Description",
)  # fmt: skip
SOURCE = ("(7) TLC Source Ref GLN", "FFRN", "URL", "GGN", "Assigned By")
ADDRESS = (
    "TLC Source Name", "TLC Source Street", "TLC Source City", "TLC Source State", "TLC Source Country",
    "TLC Source Zip", "TLC Source Phone",
)  # fmt: skip
DOCUMENT = "(8) Ref Doc Type and Number"
HEADS: Mapping[str, tuple[str, ...]] = {
    "shipping": (
        *LOT, "(4) Ship-To Location", "Ship-To ID", "(5) Ship-From Location", "Ship-From ID", "(6) Ship Date", *SOURCE,
        DOCUMENT,
    ),
    "receiving": (
        *LOT, "(a)(4) Immediate Previous Source", "(a)(5) Receive Location", "(a)(6) Receive Date", *SOURCE, *ADDRESS,
        DOCUMENT,
    ),
    "transformation": (
        "Input or Output", *LOT, "Transformation Location", "Transformation Location ID", "Transformation Date",
        *SOURCE, DOCUMENT,
    ),
}  # fmt: skip
"""By critical tracking event. The PTI has no template for transformation; its heads follow the other two."""
TITLES = {
    "shipping": Phrase("发货 21 CFR 1.1340", "Shipping, 21 CFR 1.1340"),
    "receiving": Phrase("收货 21 CFR 1.1345", "Receiving, 21 CFR 1.1345"),
    "transformation": Phrase("加工 21 CFR 1.1350", "Transformation, 21 CFR 1.1350"),
}
CHECK, ENTRY = "Check", "Ledger Entry"
DATE_TYPES = (
    ("packDate", "Pack Date"), ("productionDate", "Production Date"), ("bestBeforeDate", "Best Before"),
    ("sellByDate", "Sell By"), ("itemExpirationDate", "Expiration"), ("harvestEndDate", "Harvest Date"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rows:
    """What the spreadsheet is made of: a trace, names of nodes and goods, and between which days."""

    graph: Graph
    nodes: Mapping[int, str]
    goods: Mapping[str, str]
    zone: ZoneInfo
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Needed:
    """A key data element: the head that it stands under, in words, its clause, and whom to ask."""

    head: str
    what: str
    clause: str
    ask: str = "your supplier"


_TLC = ("(1) TLC-Batch", "the traceability lot code")
_QTY, _WHAT = (
    ("(2) Qty & UOM", "the quantity and unit of measure"),
    ("(3) Product Description", "the product description"),
)
_REF, _PAPER = (SOURCE[0], "TLC source reference"), (DOCUMENT, "the reference document type and number")
NEEDS: Mapping[str, tuple[Needed, ...]] = {
    "shipping": (
        Needed(*_TLC, "21 CFR 1.1340(a)(1)"), Needed(*_QTY, "21 CFR 1.1340(a)(2)", "who shipped it"),
        Needed(*_WHAT, "21 CFR 1.1340(a)(3)", "who shipped it"),
        Needed("(4) Ship-To Location", "the location of the immediate subsequent recipient", "21 CFR 1.1340(a)(4)",
               "who shipped it"),
        Needed("(5) Ship-From Location", "the location it was shipped from", "21 CFR 1.1340(a)(5)", "who shipped it"),
        Needed("(6) Ship Date", "the date it was shipped", "21 CFR 1.1340(a)(6)", "who shipped it"),
        Needed(*_REF, "21 CFR 1.1340(a)(7)"), Needed(*_PAPER, "21 CFR 1.1340(a)(8)", "who shipped it"),
    ),
    "receiving": (
        Needed(*_TLC, "21 CFR 1.1345(a)(1)"), Needed(*_QTY, "21 CFR 1.1345(a)(2)", "who received it"),
        Needed(*_WHAT, "21 CFR 1.1345(a)(3)"),
        Needed("(a)(4) Immediate Previous Source", "the location of the immediate previous source",
               "21 CFR 1.1345(a)(4)"),
        Needed("(a)(5) Receive Location", "the location it was received at", "21 CFR 1.1345(a)(5)", "who received it"),
        Needed("(a)(6) Receive Date", "the date it was received", "21 CFR 1.1345(a)(6)", "who received it"),
        Needed(*_REF, "21 CFR 1.1345(a)(7)"), Needed(*_PAPER, "21 CFR 1.1345(a)(8)"),
    ),
    "transformation": (
        Needed(*_TLC, "21 CFR 1.1350(a)", "who made it"), Needed(*_QTY, "21 CFR 1.1350(a)", "who made it"),
        Needed(*_WHAT, "21 CFR 1.1350(a)", "who made it"),
        Needed("Transformation Location", "the location it was transformed at", "21 CFR 1.1350(a)(2)", "who made it"),
        Needed("Transformation Date", "the date transformation was completed", "21 CFR 1.1350(a)(2)", "who made it"),
        Needed(*_PAPER, "21 CFR 1.1350(a)", "who made it"),
    ),
}  # fmt: skip


def event_of(step: Step) -> str | None:
    """Which critical tracking event a step is; None for any other."""
    if step.event["type"] == "TransformationEvent":
        return "transformation"
    return {"shipping": "shipping", "consigning": "shipping", "receiving": "receiving"}.get(step.business_step or "")


def voice_code(gtin: str, lot: str, packed: date | None) -> str:
    """The PTI's voice pick code: CRC-16 (polynomial 0xA001, reflected) of GTIN, lot and date, its last four digits.

    >>> voice_code("61414100734933", "32abcd", date(2003, 1, 2))
    '8079'
    """
    crc = 0
    for byte in f"{gtin}{lot}{'' if packed is None else f'{packed:%y%m%d}'}".encode():
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return f"{crc % 10_000:04d}"


# --- lines ------------------------------------------------------------------------------------------


def lines_of(rows: Rows, kind: str) -> Iterator[dict[str, Cell]]:
    """One line for each event of a kind and each lot in it, by its heads, in the order in which things happened."""
    sources = _sources(rows)
    for step in in_time(rows.graph):
        if step.in_error or event_of(step) != kind or not _is_within(rows, step):
            continue
        sides: tuple[tuple[str, tuple[Role, ...]], ...] = (("", (Role.OBJECT, Role.CHILD, Role.PARENT)),)
        if kind == "transformation":
            sides = (("Input", (Role.INPUT,)), ("Output", (Role.OUTPUT,)))
        for side, roles in sides:
            for key in step.items(*roles):
                if identifies_goods_closely(key) and not key.startswith("00/"):
                    line = {**_lot(rows, step, key), **_place(rows, step, kind), **_source(rows, sources.get(key))}
                    line |= {
                        "Input or Output": side,
                        DOCUMENT: _paper(step),
                        ENTRY: f"{node_text(step.node)}/{step.seq}",
                    }
                    yield line | {CHECK: check(kind, line)}


def check(kind: str, line: Mapping[str, Cell]) -> str:
    """What is missing from a line, and what to do; "Passed" if nothing is."""
    return " ".join(
        f"Failed: {kind} event lacks {one.what} ({one.clause}). Ask {one.ask}."
        for one in NEEDS[kind] if line.get(one.head) in ("", None)
    ) or "Passed"  # fmt: skip


def _is_within(rows: Rows, step: Step) -> bool:
    return (rows.since is None or step.time >= rows.since) and (rows.until is None or step.time < rows.until)


def _lot(rows: Rows, step: Step, key: Key) -> dict[str, Cell]:
    parts = key.split("/")
    is_gs1 = parts[0] == "01"
    gtin = parts[1] if is_gs1 else ""
    qualifiers = dict(zip(parts[2::2], parts[3::2], strict=False)) if is_gs1 else {}
    batch = unquote(qualifiers.get("10", qualifiers.get("21", ""))) if is_gs1 else uri_of(key)
    day, word = _dated(rows, key)
    much = amount(step, key)
    pallet = next((one.removeprefix("00/") for one in step.items(Role.PARENT) if one.startswith("00/")), "")
    maker = _first(rows, key)
    return {
        "(1) TLC-GTIN": gtin, "(1) TLC-Batch": batch, "Date Code": day, "Date Type": word,
        "VoiceCode": voice_code(gtin, batch, _as_date(day)) if gtin and batch else "", "Pallet ID": pallet,
        "TLC-Assigned By": "" if maker is None else rows.nodes.get(maker.node, node_text(maker.node)),
        "(2) Qty & UOM": f"{much.total.normalize():f} {much.unit}".strip() if much.quantities else _single(key),
        "(3) Product Description": rows.goods.get(goods_of(key), "") or _described(rows, key),
    }  # fmt: skip


def _single(key: Key) -> str:
    """A piece with a serial is one of it."""
    return "1 EA" if "/21/" in key else ""


def _as_date(said: str) -> date | None:
    try:
        return date.fromisoformat(said[:10]) if said else None
    except ValueError:
        return None


def _masters(rows: Rows, key: Key) -> Iterator[Mapping[str, object]]:
    """What the lot's events say of it (EPCIS's ilmd), the first first."""
    for step in in_time(rows.graph):
        if step.has(key, Role.OBJECT, Role.OUTPUT) and isinstance(step.event.get("ilmd"), dict):
            yield step.event["ilmd"]


def _dated(rows: Rows, key: Key) -> tuple[str, str]:
    for said in _masters(rows, key):
        for name, word in DATE_TYPES:
            if found := said.get(f"cbvmda:{name}"):
                return str(found), word
    return "", ""


def _described(rows: Rows, key: Key) -> str:
    names = ("descriptionShort", "functionalName", "descriptionLong")
    return next((str(said[f"cbvmda:{name}"]) for said in _masters(rows, key) for name in names
                 if said.get(f"cbvmda:{name}")), "")  # fmt: skip


def _first(rows: Rows, key: Key) -> Step | None:
    """The event in which the lot came into being, as far as it is recorded."""
    made = (
        step for step in in_time(rows.graph)
        if not step.in_error and (step.has(key, Role.OUTPUT) or (
            step.business_step in ("commissioning", "packing") and step.has(key, Role.OBJECT)))
    )  # fmt: skip
    return next(made, None)


def _sources(rows: Rows) -> dict[Key, Step]:
    return {key: made for key in rows.graph.items if (made := _first(rows, key)) is not None}


def _source(rows: Rows, made: Step | None) -> dict[str, Cell]:
    """Where the traceability lot code was assigned, as a reference. What the ledger does not keep stays empty."""
    found: dict[str, Cell] = dict.fromkeys((*SOURCE, *ADDRESS), "")
    if made is not None:
        name, code = _here(rows, made)
        found |= {SOURCE[0]: code, "Assigned By": name, ADDRESS[0]: name}
        found["URL"] = code if "://" in code else ""
    return found


def _here(rows: Rows, step: Step) -> tuple[str, str]:
    """Name and id of the place of an event: a GLN where it has one, else the node's code or the place's own URI."""
    place = (step.event.get("bizLocation") or step.event.get("readPoint") or {"id": ""})["id"]
    return rows.nodes.get(step.node, ""), _id(place) or node_text(step.node)


def _id(uri: str) -> str:
    if not uri:
        return ""
    key = canonical_key(uri)
    return key.split("/")[1] if key.startswith(("414/", "417/")) else key.removeprefix(NODE_URN).removeprefix(PARTY_URN)


def _party(rows: Rows, said: Sequence[str]) -> tuple[str, str]:
    """Name and id of the first of those who gave or took; names are those of nodes, since people's are not here."""
    code = _id(said[0]) if said else ""
    node = int(code[:9]) if len(code) == 13 and code.isdigit() else None
    return rows.nodes.get(node or -1, "") or code, code


def _place(rows: Rows, step: Step, kind: str) -> dict[str, Cell]:
    name, code = _here(rows, step)
    day = in_zone(step.time, rows.zone).date()
    to, to_id = _party(rows, parties(step, "destinationList", "destination"))
    came, came_id = _party(rows, parties(step, "sourceList", "source"))
    match kind:
        case "shipping":
            return {
                "(4) Ship-To Location": to, "Ship-To ID": to_id, "(5) Ship-From Location": name or code,
                "Ship-From ID": code, "(6) Ship Date": day,
            }  # fmt: skip
        case "receiving":
            said = came if came == came_id else f"{came} {came_id}"
            return {
                "(a)(4) Immediate Previous Source": said, "(a)(5) Receive Location": f"{name} {code}".strip(),
                "(a)(6) Receive Date": day,
            }  # fmt: skip
    return {
        "Transformation Location": name or code, "Transformation Location ID": code, "Transformation Date": day,
    }  # fmt: skip


def _paper(step: Step) -> str:
    """The first document of the event: its type and number."""
    papers = step.event.get("bizTransactionList") or ({"bizTransaction": ""},)
    return f"{papers[0].get('type', '')} {papers[0]['bizTransaction']}".strip()


# --- the document -----------------------------------------------------------------------------------


def grid_of(rows: Rows, kind: str) -> Grid:
    """The sheet of one kind of critical tracking event."""
    lines = list(lines_of(rows, kind))
    heads = (*HEADS[kind], CHECK, ENTRY)
    kinds: Callable[[str], Kind] = lambda head: Kind.ENTRIES if head == ENTRY else Kind.TEXT  # noqa: E731
    failed = frozenset(at for at, line in enumerate(lines) if line[CHECK] != "Passed")
    return Grid(
        TITLES[kind], [Column(Phrase(head, head), kinds(head)) for head in heads],
        [[line[head] for head in heads] for line in lines], None, failed,
    )  # fmt: skip


def document(rows: Rows, basis: Basis, only: str | None = None) -> Document:
    """The spreadsheet: one sheet for each kind of event; with `only` that one alone, as one table of a CSV file."""
    sections: list[Section] = [grid_of(rows, kind) for kind in HEADS if only in (None, kind)]
    if rows.graph.cut:
        sections.insert(0, Note(Phrase("追溯超出上限,未完整。", "The trace was cut at its limit."), alert=True))
    return Document("fsma204", TITLE, rows.graph.start, basis, sections)


def make(source: Source, given: Mapping[str, str]) -> Document:
    """The spreadsheet of a code, between two days of the city."""
    only = given.get("event")
    wrong = [] if only is None or only in HEADS else [Breach("event", f"it is one of {', '.join(HEADS)}")]
    days: dict[str, date] = {}
    for name in ("from", "to"):
        if name in given:
            try:
                days[name] = date.fromisoformat(given[name])
            except ValueError:
                wrong.append(Breach(name, f"{given[name][:40]!r} is no day; such as 2026-11-24"))
    if wrong:
        raise UnacceptableRecord(wrong)
    since = datetime.combine(days["from"], time(), source.zone) if "from" in days else None
    until = datetime.combine(days["to"] + timedelta(days=1), time(), source.zone) if "to" in days else None
    graph = trace(source.connection, key_of_code(given["code"]), Direction.BOTH, source.actor)
    names = node_names(source.connection, nodes_of(graph))
    goods = goods_names(source.connection, {goods_of(key) for key in graph.items})
    return document(Rows(graph, names, goods, source.zone, since, until), source.basis, only)


def nodes_of(graph: Graph) -> set[int]:
    """The nodes of a trace, and those of the parties that its events name."""
    found = {step.node for step in graph.steps.values()}
    for step in graph.steps.values():
        for field, side in (("sourceList", "source"), ("destinationList", "destination")):
            codes = (one.removeprefix(PARTY_URN) for one in parties(step, field, side))
            found |= {int(code[:9]) for code in codes if len(code) == 13 and code.isdigit()}
    return found


REPORT = Report(
    "fsma204", TITLE,
    {
        "code": Parameter(Phrase("批次码", "code of the lot"), "(01)06901234500103(10)P1"),
        "from": Parameter(Phrase("从哪天", "from which day"), "2026-11-01", required=False),
        "to": Parameter(Phrase("到哪天", "to which day"), "2026-11-30", required=False),
        "event": Parameter(
            Phrase("只要一种事件(CSV 为一张表)", "one kind of event only: then a CSV file is one table"), "shipping",
            required=False,
        ),
    },
    Action.TRACE, make,
)  # fmt: skip
