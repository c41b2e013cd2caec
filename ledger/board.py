"""Today's board: what lives, what is silent, what was refused, what is warned of, and how far the log is signed.

Every question is about one day, and answered from indexes; what a market sees is its own nodes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, select

from ledger.codes import CITY, IMPORT
from ledger.entries import Kind
from ledger.rules.form import Level
from ledger.tables import checkpoint, entry, event, head, log_range, warning
from ledger.tables import node as node_table

BROKEN_LINKS = ("missing_upstream", "synthetic_link", "received_not_shipped", "shipped_not_received")
"""Rules whose warnings say that a link of the chain is missing."""


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
        """The share of receipts whose other end is recorded; None where nothing was received."""
        return max(0.0, 1 - self.broken / self.receipts) if self.receipts else None


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
        receipts, broken = sum(one.receipts for one in self.nodes), sum(one.broken for one in self.nodes)
        return max(0.0, 1 - broken / receipts) if receipts else None


def read_board(connection: Connection, since: datetime, nodes: frozenset[int] | None) -> Board:
    """The board since a moment, of these nodes (None: of all)."""

    def mine(column: Any) -> Any:
        return column.not_in([CITY, IMPORT]) if nodes is None else column.in_(sorted(nodes))

    events = dict(_by_node(connection, event.c.node, and_(event.c.record_time >= since, mine(event.c.node)), event))
    received = and_(event.c.record_time >= since, event.c.business_step == "receiving", mine(event.c.node))
    receipts = dict(_by_node(connection, event.c.node, received, event))
    broken_ = and_(warning.c.raised_at >= since, warning.c.rule.in_(BROKEN_LINKS), mine(warning.c.node))
    broken = dict(_by_node(connection, warning.c.node, broken_, warning))
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
        rows, _kind_count(connection, Kind.REFUSAL, since, mine), _kind_count(connection, Kind.CHECK, since, mine),
        {level: open_.get(level, 0) for level in Level}, size, sum(events.values()), signed,
    )  # fmt: skip


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


def _by_node(connection: Connection, column: Any, where: Any, table: Any) -> list[tuple[int, int]]:
    question = select(column, func.count()).select_from(table).where(where).group_by(column)
    return [(node, count) for node, count in connection.execute(question)]


def _kind_count(connection: Connection, kind: Kind, since: datetime, mine: Any) -> int:
    """Entries of a kind: by each chain's end, so that the past is not read."""
    chains = select(head.c.node, head.c.seq).where(mine(head.c.node)).subquery()
    question = (
        select(func.count())
        .select_from(entry)
        .join(chains, and_(chains.c.node == entry.c.node, entry.c.seq > chains.c.seq - RECENT_MAX))
        .where(entry.c.kind == kind, entry.c.record_time >= since)
    )
    return int(connection.execute(question).scalar() or 0)


RECENT_MAX = 20_000
"""How far back in each chain a day's refusals are looked for."""
