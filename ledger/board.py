"""Today's board: what lives, what is silent, what was refused, what is warned of, and how far the log is signed.

Every question is about one day, and answered from indexes: where in each chain it begins is found by halves, as
bulletins do. What a market sees is its own nodes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, cast, func, literal, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from ledger.balances import goods_of
from ledger.bulletins import (
    Period,
    Slice,
    goods_names,
    heads_of,
    kinds_of,
    places_since,
    recorded_in,
)
from ledger.codes import CITY, IMPORT
from ledger.entries import Kind
from ledger.identifiers import canonical_key
from ledger.reads import places_as_rows
from ledger.rules.form import Level
from ledger.rules.told import product_code
from ledger.tables import checkpoint, entry, event, head, log_range, product, warning
from ledger.tables import node as node_table

LAST = datetime.max.replace(tzinfo=UTC)
RECEIPTS_MAX = 20_000
"""The latest receipts of a day that are looked into for which goods they are of."""
_NAMED = ("quantityList[*].epcClass", "epcList[*]", "childQuantityList[*].epcClass", "childEPCs[*]")
BROKEN_LINKS = ("missing_upstream", "synthetic_link", "received_not_shipped", "shipped_not_received")
"""Rules whose warnings say that a link of the chain is missing."""


def completeness(receipts: int, broken: int) -> float | None:
    """The share of receipts whose other end is recorded; None where nothing was received."""
    return max(0.0, 1 - broken / receipts) if receipts else None


@dataclass(frozen=True, slots=True)
class NodeToday:
    """A node's day: entries, receipts, and warnings that say that a link is missing."""

    node: int
    name: str
    kind: str | None
    open: bool
    entries: int
    receipts: int
    broken: int
    last: datetime | None

    @property
    def complete(self) -> float | None:
        return completeness(self.receipts, self.broken)


@dataclass(frozen=True, slots=True)
class Board:
    """The day so far."""

    nodes: list[NodeToday]
    refusals: int
    checks: int
    open_warnings: dict[Level, int]
    size: int
    entries: int
    signed: datetime | None
    """When the last entry under the newest checkpoint was recorded; None before the first."""

    @property
    def live(self) -> int:
        return sum(1 for one in self.nodes if one.entries)

    @property
    def silent(self) -> list[NodeToday]:
        return [one for one in self.nodes if one.open and not one.entries]

    @property
    def complete(self) -> float | None:
        return completeness(sum(one.receipts for one in self.nodes), sum(one.broken for one in self.nodes))


def read_board(connection: Connection, since: datetime, nodes: frozenset[int] | None) -> Board:
    """The board since a moment, of these nodes (None: of all)."""

    def mine(column: Any) -> Any:
        return column.not_in([CITY, IMPORT]) if nodes is None else column.in_(sorted(nodes))

    today = _slices_since(connection, since, nodes)
    kinds = kinds_of(connection, today)
    events, receipts = _events(connection, since, today, nodes)
    broken_ = and_(warning.c.raised_at >= since, warning.c.rule.in_(BROKEN_LINKS), mine(warning.c.node))
    broken = {row.node: row.n for row in connection.execute(
        select(warning.c.node, func.count().label("n")).where(broken_).group_by(warning.c.node)
    )}  # fmt: skip
    question = (
        select(node_table.c.node, node_table.c.name, node_table.c.kind, node_table.c.open, entry.c.record_time)
        .join_from(node_table, head, head.c.node == node_table.c.node, isouter=True)
        .join(entry, and_(entry.c.node == head.c.node, entry.c.seq == head.c.seq), isouter=True)
        .where(mine(node_table.c.node))
        .order_by(node_table.c.node)
    )
    rows = [
        NodeToday(row.node, row.name, row.kind, row.open, events.get(row.node, 0), receipts.get(row.node, 0),
                  broken.get(row.node, 0), row.record_time)
        for row in connection.execute(question)
    ]  # fmt: skip
    levels = select(warning.c.level, func.count()).where(warning.c.status != "closed", warning.c.hidden.is_(None))
    counted = connection.execute(levels.where(mine(warning.c.node)).group_by(warning.c.level))
    open_ = {Level(level): count for level, count in counted}
    size, signed = _signed(connection)
    return Board(
        rows, kinds[Kind.REFUSAL], kinds[Kind.CHECK],
        {level: open_.get(level, 0) for level in Level}, size, sum(events.values()), signed,
    )  # fmt: skip


def _slices_since(connection: Connection, since: datetime, nodes: frozenset[int] | None) -> list[Slice]:
    """What each chain has since a moment; of the import chain nothing but to who has it."""
    heads = {node: seq for node, seq in heads_of(connection, nodes).items() if nodes is not None or node != IMPORT}
    begins = places_since(connection, heads, since)
    return [Slice(node, begins[node], seq) for node, seq in heads.items() if begins[node] <= seq]


def _signed(connection: Connection) -> tuple[int, datetime | None]:
    """How many entries the newest checkpoint signs, and when the last of them was recorded."""
    size = int(connection.execute(select(func.max(checkpoint.c.size))).scalar() or 0)
    if size == 0:
        return 0, None
    last = select(log_range).where(log_range.c.start < size).order_by(log_range.c.start.desc()).limit(1).subquery()
    question = select(entry.c.record_time).join(
        last, and_(entry.c.node == last.c.node, entry.c.seq == last.c.first_seq + (size - 1 - last.c.start))
    )
    return size, connection.execute(question).scalar()


def _events(
    connection: Connection, since: datetime, today: list[Slice], nodes: frozenset[int] | None
) -> tuple[dict[int, int], dict[int, int]]:
    """By node: events, and how many of them are receipts. Of the import chain nothing is told but to who has it."""
    received = func.count().filter(event.c.business_step == "receiving").label("receipts")
    question = select(event.c.node, func.count().label("events"), received).group_by(event.c.node)
    rows = connection.execute(question.where(recorded_in(Period(since, LAST), today, nodes))).all()
    shown = [row for row in rows if nodes is not None or row.node != IMPORT]
    return {row.node: row.events for row in shown}, {row.node: row.receipts for row in shown}


# --- by goods -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GoodsToday:
    """Receipts of one kind of goods, and warnings that say that a link of it is missing."""

    goods: str
    name: str
    receipts: int
    broken: int

    @property
    def complete(self) -> float | None:
        return completeness(self.receipts, self.broken)


def read_goods(connection: Connection, since: datetime, nodes: frozenset[int] | None) -> tuple[list[GoodsToday], bool]:
    """Receipts since a moment by goods, the least complete first; whether there were more than `RECEIPTS_MAX`.

    A receipt of several goods counts for each, and so does a warning that names none, by the entries that prove it.
    What no code says of which goods it is counts as "".
    """
    today = _slices_since(connection, since, nodes)
    question = select(event.c.node, event.c.seq).where(
        event.c.business_step == "receiving", recorded_in(Period(since, LAST), today, nodes)
    )
    found = connection.execute(question.order_by(event.c.record_time.desc()).limit(RECEIPTS_MAX + 1)).all()
    mine = literal(True) if nodes is None else warning.c.node.in_(sorted(nodes))
    missing = select(warning.c.goods, warning.c.body["evidence"].label("cited")).where(
        warning.c.raised_at >= since, warning.c.rule.in_(BROKEN_LINKS), mine
    )
    links = connection.execute(missing.limit(RECEIPTS_MAX)).all()
    proofs = {_place(one) for link in links if link.goods is None for one in link.cited}
    sorts = _sorts(connection, [*((row.node, row.seq) for row in found), *proofs])
    receipts = Counter(code for row in found for code in sorts.get((row.node, row.seq), ()))
    broken = Counter[str]()
    for link in links:
        named = {code for one in link.cited for code in sorts.get(_place(one), ())}
        broken.update([link.goods] if link.goods is not None else named)
    codes = receipts.keys() | broken.keys()
    names = goods_names(connection, codes)
    made = [GoodsToday(code, names.get(code, ""), receipts[code], broken[code]) for code in codes]
    return sorted(made, key=lambda one: (one.complete or 0, -one.receipts, one.goods)), len(found) > RECEIPTS_MAX


def _place(name: str) -> tuple[int, int]:
    node, _, seq = name.partition("/")
    return int(node), int(seq)


def _sorts(connection: Connection, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], set[str]]:
    """Of which goods the events at these places speak; of products, the goods that they are registered as."""
    wanted = places_as_rows(places)
    said = cast(func.convert_from(entry.c.data, "UTF8"), JSONB)
    named: Any = literal_column("'[]'::jsonb")
    for name in _NAMED:
        named = named.op("||")(func.jsonb_path_query_array(said, cast(f"$.body.event.{name}", JSONPATH)))
    question = select(entry.c.node, entry.c.seq, cast(named, JSONB).label("uris")).join_from(
        wanted, entry, (entry.c.node == wanted.c.node) & (entry.c.seq == wanted.c.seq)
    )
    found = {
        (row.node, row.seq): {_sort(canonical_key(uri)) for uri in row.uris} for row in connection.execute(question)
    }
    codes = {code for some in found.values() for code in some}
    named_so = or_(product.c.product.in_(codes), product.c.gtin.in_(codes))
    kinds = select(product.c.product, product.c.gtin, product.c.goods).where(named_so, product.c.goods.is_not(None))
    as_goods = {code: row.goods for row in connection.execute(kinds) for code in (row.product, row.gtin)}
    return {place: {as_goods.get(code, code) for code in some} for place, some in found.items()}


def _sort(key: str) -> str:
    return goods_of(key) or product_code(key)
