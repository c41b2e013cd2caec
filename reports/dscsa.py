"""DSCSA: transaction information, transaction statement, and the history of transfers, of a pack or a lot.

Sources: Federal Food, Drug, and Cosmetic Act, section 581: (25) history, (26) information, (27) statement.
History is no duty any more since 27 November 2023; it is here as the ledger has it. What the ledger does not hold, such
as a business address, is left empty and named as missing: the statement is the seller's own, and unsigned here. Pure,
but for `make`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from ledger.access import Action
from ledger.balances import goods_of
from ledger.codes import PARTY_URN, key_of_code, node_text
from ledger.errors import UnreadableCode
from ledger.fields import in_zone
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.reporting import node_names
from ledger.trace import Direction, Graph, Step, trace
from ledger.transfers import Product, lot_trace, product_of
from reports.catalogue import Parameter, Report, Source
from reports.document import Basis, Cell, Column, Document, Facts, Grid, Kind, Note, Phrase, Section
from reports.fsma204 import nodes_of
from reports.movements import Movement, Verdict, amount, documents, movements, parties

TITLE = Phrase("DSCSA 交易信息", "DSCSA transaction information")
STATEMENT: tuple[tuple[str, Phrase], ...] = (
    ("A", Phrase("依法获得授权", "is authorized as required under the DSCSA")),
    ("B", Phrase("产品来自获得授权者", "received the product from a person that is authorized as required")),
    ("C", Phrase(
        "收到上一所有者的交易信息和交易声明",
        "received transaction information and a transaction statement from the prior owner of the product",
    )),
    ("D", Phrase("未故意运送可疑或非法产品", "did not knowingly ship a suspect or illegitimate product")),
    ("E", Phrase(
        "有符合法定核验要求的系统和程序",
        "had systems and processes in place to comply with verification requirements",
    )),
    ("F", Phrase("未故意提供虚假交易信息", "did not knowingly provide false transaction information")),
    ("G", Phrase("未故意篡改交易历史", "did not knowingly alter the transaction history")),
)  # fmt: skip
"""What the seller states of each transaction: section 581 (27), in its order."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What it is made of: a trace of a pack or lot, what it is, and the names of nodes."""

    graph: Graph
    product: Product | None
    nodes: Mapping[int, str]
    zone: ZoneInfo
    packs: int | None = None
    """How many packs of the lot are recorded; None for a pack."""


# --- transfers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transfer:
    """One change of ownership: what both sides recorded of it, for packs that went together."""

    items: tuple[Key, ...]
    sent: Step | None
    received: Step | None
    verdict: Verdict

    @property
    def steps(self) -> list[Step]:
        return [step for step in (self.sent, self.received) if step is not None]


def transfers(graph: Graph) -> list[Transfer]:
    """The transfers of a trace in the order of their events; shipments that were voided are none."""
    together: dict[object, list[Movement]] = {}
    for one in movements(graph):
        if one.verdict is not Verdict.VOIDED:
            together.setdefault((one.verdict, *(step.place for step in one.steps)), []).append(one)
    found = [
        Transfer(tuple(dict.fromkeys(one.item for one in some)), some[0].sent, some[0].received, some[0].verdict)
        for some in together.values()
    ]
    return sorted(found, key=lambda one: (one.steps[0].time, one.steps[0].place))


def lot_of(rows: Rows) -> tuple[str, str]:
    """Lot number and expiry of what is asked for: from its code, else from what was said when it was made."""
    parts = rows.graph.start.split("/")
    coded = dict(zip(parts[2::2], parts[3::2], strict=False)) if parts[0] == "01" else {}
    batch, expires = unquote(coded.get("10", "")), ""
    for step in sorted(rows.graph.steps.values(), key=lambda one: (one.time, one.place)):
        said = step.event.get("ilmd") or {}
        batch = batch or str(said.get("cbvmda:lotNumber", ""))
        expires = expires or str(said.get("cbvmda:itemExpirationDate", ""))
    return batch, expires


# --- the document -----------------------------------------------------------------------------------


def document(rows: Rows, basis: Basis) -> Document:
    """Information, history and statement of these rows."""
    moved = transfers(rows.graph)
    sections: list[Section] = [_information(rows), _transactions(rows, moved), *_notes(rows, moved), *_statement(moved)]
    return Document("dscsa", TITLE, rows.graph.start, basis, sections)


def _information(rows: Rows) -> Facts:
    """Section 581 (26) (A) to (F): what it is. The rest is of each transaction."""
    batch, expires = lot_of(rows)
    one = rows.product
    parts = rows.graph.start.split("/")
    serial = unquote(parts[parts.index("21") + 1]) if "21" in parts[2::2] else ""
    size = f"{one.units_per_pack} {one.unit or ''}".strip() if one is not None and one.units_per_pack else ""
    pairs: list[tuple[Phrase, Cell]] = [
        (Phrase("名称 (A)", "proprietary or established name (A)"), "" if one is None else one.name),
        (Phrase("英文名", "English name"), "" if one is None else one.english),
        (Phrase("规格与剂型 (B)", "strength and dosage form (B)"),
         "" if one is None else f"{one.specification or ''} {one.dosage_form or ''}".strip()),
        (Phrase("国家药品编码 (C)", "National Drug Code (C)"), "" if one is None else one.national_code),
        (Phrase("GTIN", "GTIN"), "" if one is None else one.gtin),
        (Phrase("包装规格 (D)", "container size (D)"), size),
        (Phrase("包装数 (E)", "number of containers (E)"), 1 if rows.packs is None else rows.packs),
        (Phrase("批号 (F)", "lot number (F)"), batch),
        (Phrase("有效期", "expiry"), expires),
        (Phrase("序列号", "serial number"), serial),
    ]  # fmt: skip
    return Facts(Phrase("交易信息:产品", "Transaction information: the product"), pairs)


def _transactions(rows: Rows, moved: Sequence[Transfer]) -> Grid:
    """Section 581 (26) (G) to (J), a line for each transaction: together they are the history."""
    columns = [
        Column(Phrase("交易日期 (G)", "date of the transaction (G)"), Kind.TIME),
        Column(Phrase("发货日期 (H)", "date of the shipment, if more than 24 hours later (H)"), Kind.TIME),
        Column(Phrase("转出方 (I)", "from whom (I)")), Column(Phrase("转入方 (J)", "to whom (J)")),
        Column(Phrase("包装数", "containers"), Kind.NUMBER), Column(Phrase("单据", "document"), Kind.CODE),
        Column(Phrase("记录", "recorded by")), Column(Phrase("缺项", "missing")),
        Column(Phrase("证据条目", "entries"), Kind.ENTRIES),
    ]  # fmt: skip
    lines = [_line(rows, one) for one in moved]
    marked = frozenset(at for at, line in enumerate(lines) if line[-2])
    return Grid(Phrase("交易信息与历史", "Transactions: information and history"), columns, lines, None, marked)


def _line(rows: Rows, one: Transfer) -> list[Cell]:
    came, went = _from(rows, one), _to(rows, one)
    papers = list(dict.fromkeys(paper for step in one.steps for paper in documents(step)))
    missing = [
        word for word, value in (
            ("转出方 from whom", came), ("转入方 to whom", went), ("单据 document", papers),
        ) if not value
    ]  # fmt: skip
    dealt, shipped = _dates(rows, one)
    return [
        dealt, shipped, came, went, _containers(one), " ".join(papers), one.verdict.value.both, "; ".join(missing),
        " ".join(f"{node_text(step.node)}/{step.seq}" for step in one.steps),
    ]  # fmt: skip


def _dates(rows: Rows, one: Transfer) -> tuple[date, date | None]:
    """The day of the transaction, and that of the shipment where it was more than 24 hours later.

    The ledger knows no contract: the transaction is what was recorded first.
    """
    first = one.steps[0].time
    late = one.sent is not None and one.sent.time - first > timedelta(hours=24)
    shipped = in_zone(one.sent.time, rows.zone).date() if one.sent is not None and late else None
    return in_zone(first, rows.zone).date(), shipped


def _from(rows: Rows, one: Transfer) -> str:
    if one.sent is not None:
        return _node(rows, one.sent)
    said = parties(one.received, "sourceList", "source") if one.received is not None else []
    return _named(rows, said)


def _to(rows: Rows, one: Transfer) -> str:
    if one.received is not None:
        return _node(rows, one.received)
    said = parties(one.sent, "destinationList", "destination") if one.sent is not None else []
    return _named(rows, said)


def _node(rows: Rows, step: Step) -> str:
    return f"{node_text(step.node)} {rows.nodes.get(step.node, '')}".strip()


def _named(rows: Rows, said: Sequence[str]) -> str:
    code = canonical_key(said[0]).removeprefix(PARTY_URN) if said else ""
    node = int(code[:9]) if len(code) == 13 and code.isdigit() else None
    return f"{code} {rows.nodes.get(-1 if node is None else node, '')}".strip()


def _containers(one: Transfer) -> Decimal:
    """How many packs went: those with a serial one by one, others by their quantity."""
    step, total = one.steps[0], Decimal(0)
    for item in one.items:
        much = amount(step, item)
        total += much.total if much.quantities else Decimal(not item.startswith("00/"))
    return total


def _notes(rows: Rows, moved: Sequence[Transfer]) -> Iterator[Note]:
    if not moved:
        yield Note(Phrase("账本中没有该药品的转移记录。", "The ledger has no transfer of it."), alert=True)
    if rows.graph.cut:
        yield Note(Phrase("记录超出上限,未完整。", "There was more than its limits: it is not complete."), alert=True)
    if any(one.verdict is not Verdict.COMPLETE for one in moved):
        yield Note(Phrase(
            "部分转移只有一方记录或数量不符,见各行。", "Of some transfers one side alone is recorded: see each line."
        ))  # fmt: skip
    yield Note(Phrase(
        "经营地址为个人或企业信息,账本不公开,请从登记簿按目的查阅。",
        "Business addresses are kept sealed in the registry: whoever needs them asks there, for a purpose.",
    ))  # fmt: skip


def _statement(moved: Sequence[Transfer]) -> Iterator[Section]:
    """The statement that each seller makes: the ledger prints its words, and what it knows for or against each."""
    columns = [
        Column(Phrase("项", "item")), Column(Phrase("声明", "the entity transferring ownership states that it")),
        Column(Phrase("账本所见", "what the ledger knows of it")),
    ]  # fmt: skip
    paired = sum(1 for one in moved if one.sent is not None and one.received is not None)
    known = {
        "C": f"{paired} / {len(moved)} 转移两端均有记录 transfers recorded by both sides",
        "G": "记录不可更改,可离线验证 entries cannot be changed unnoticed: see the dossier",
    }
    lines: list[list[Cell]] = [[letter, words.both, known.get(letter, "")] for letter, words in STATEMENT]
    yield Grid(Phrase("交易声明 581(27)", "Transaction statement, section 581(27)"), columns, lines)
    yield Note(Phrase("声明由转出方签署后生效。", "It is the seller's statement once the seller has signed it."))


# --- reading ----------------------------------------------------------------------------------------


def make(source: Source, given: Mapping[str, str]) -> Document:
    """Of a pack by its own trace; of a lot by those of its packs together."""
    key = key_of_code(given["code"])
    if key.startswith("00/"):
        raise UnreadableCode("code", given["code"], "it is a case: ask for one of its packs, or their lot")
    product = product_of(source.connection, key, goods_of(key))
    found = lot_trace(source.connection, key, product, source.actor)
    graph, packs = (trace(source.connection, key, Direction.BOTH, source.actor), None) if found is None else found
    names = node_names(source.connection, nodes_of(graph))
    return document(Rows(graph, product, names, source.zone, packs), source.basis)


REPORT = Report(
    "dscsa", TITLE,
    {"code": Parameter(Phrase("药品包装或批次码", "code of a pack or lot"), "(01)06901234500301(21)1001")},
    Action.TRACE, make,
)  # fmt: skip
