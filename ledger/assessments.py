"""What a node's assessment rests on: a month of each node, by the questions that bulletins ask too.

Bounded as they are (`ledger/bulletins.py`).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from ledger.board import BROKEN_LINKS
from ledger.bulletins import (
    Period,
    Place,
    Raised,
    Refusal,
    Slice,
    heads_of,
    mine,
    others_of,
    recorded_in,
    refusals_of,
    silent_in,
    slices,
    warnings_of,
)
from ledger.codes import CITY, IMPORT
from ledger.tables import event
from ledger.tables import node as node_table

CITED, LATE_MAX = 5, 10_000
"""How many of a node's latest records are named, and of all nodes together."""


@dataclass(slots=True)
class NodeMonth:
    """What a node's score rests on."""

    node: int
    name: str
    slice: Slice | None = None
    events: int = 0
    late: int = 0
    """Events recorded later than they should."""
    latest: tuple[Place, ...] = ()
    """The latest of them."""
    receipts: int = 0
    days: int = 0
    """Days of the city with an event."""
    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[Raised] = field(default_factory=list)

    @property
    def broken(self) -> list[Raised]:
        """Warnings that say that a link of the chain is missing."""
        return [one for one in self.warnings if one.rule in BROKEN_LINKS]


def months(
    connection: Connection, period: Period, now: datetime, zone: ZoneInfo, late_after: timedelta,
    nodes: frozenset[int] | None,
) -> list[NodeMonth]:  # fmt: skip
    """What is known of each open node, and of each that recorded anything, in a month."""
    found_slices = slices(connection, period, heads_of(connection, nodes))
    names = select(node_table.c.node, node_table.c.name, node_table.c.open).where(
        node_table.c.node.not_in([CITY, IMPORT]), mine(node_table.c.node, nodes)
    )
    by_node = {one.node: one for one in found_slices}
    silent = {one.node for one in silent_in(connection, period, found_slices, nodes)}
    found = {
        row.node: NodeMonth(row.node, row.name, by_node.get(row.node))
        for row in connection.execute(names.order_by(node_table.c.node))
        if row.node in by_node or row.node in silent
    }
    recorded = recorded_in(period, found_slices, nodes)
    late = event.c.record_time - event.c.event_time > late_after
    day = func.date_trunc("day", func.timezone(zone.key, event.c.record_time)).label("day")
    by_day = select(
        event.c.node, day, func.count().label("events"), func.count().filter(late).label("late"),
        func.count().filter(event.c.business_step == "receiving").label("receipts"),
    ).where(recorded).group_by(event.c.node, "day").subquery()  # fmt: skip
    total = (func.sum(by_day.c[name]).label(name) for name in ("events", "late", "receipts"))
    for row in connection.execute(select(by_day.c.node, *total, func.count().label("days")).group_by(by_day.c.node)):
        if (one := found.get(row.node)) is not None:
            one.events, one.late, one.receipts = int(row.events), int(row.late), int(row.receipts)
            one.days = row.days
    for code, places in _latest(connection, recorded, late_after).items():
        if code in found:
            found[code].latest = tuple(places)
    for refusal in refusals_of(others_of(connection, found_slices)[0]):
        if refusal.place[0] in found:
            found[refusal.place[0]].refusals.append(refusal)
    for raised in warnings_of(connection, period, now, nodes):
        if raised.node in found:
            found[raised.node].warnings.append(raised)
    return list(found.values())


def _latest(connection: Connection, recorded: Any, late_after: timedelta) -> dict[int, list[Place]]:
    """Of each node those of these events that were recorded latest after they happened."""
    delay = event.c.record_time - event.c.event_time
    number = func.row_number().over(partition_by=event.c.node, order_by=(delay.desc(), event.c.seq)).label("number")
    late = select(event.c.node, event.c.seq, number).where(recorded, delay > late_after).subquery()
    found: dict[int, list[Place]] = {}
    rows = connection.execute(
        select(late).where(late.c.number <= CITED).order_by(late.c.node, late.c.seq).limit(LATE_MAX)
    )
    for row in rows:
        found.setdefault(row.node, []).append((row.node, row.seq))
    return found
