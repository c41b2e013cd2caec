"""What a node's assessment rests on: a month of each node, by the questions that bulletins ask too.

Bounded as they are (`ledger/bulletins.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Text, and_, any_, func, literal, select, true
from sqlalchemy.dialects.postgresql import ARRAY

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
from ledger.codes import CITY, IMPORT, node_text
from ledger.documents import Json
from ledger.entries import Kind
from ledger.gs1 import is_digits
from ledger.tables import event, licence, registry_version
from ledger.tables import node as node_table

CITED, LATE_MAX = 5, 10_000
"""How many of a node's latest records are named, and of all nodes together."""
PARTIES_MAX = 10_000


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
) -> tuple[list[NodeMonth], list["PartyMonth"]]:  # fmt: skip
    """What is known of a month: of each open node and each that recorded anything, and of parties (`_parties`)."""
    found_slices = slices(connection, period, heads_of(connection, nodes))
    found = _nodes(connection, period, found_slices, zone, late_after, nodes)
    mixed = [one for one in found_slices if one.node not in found or one.size > found[one.node].events]
    others, _ = others_of(connection, mixed)
    for refusal in refusals_of(others):
        if refusal.place[0] in found:
            found[refusal.place[0]].refusals.append(refusal)
    warnings = warnings_of(connection, period, now, nodes)
    for raised in warnings:
        if raised.node in found:
            found[raised.node].warnings.append(raised)
    checks = [(place, body["check"]) for place, _, kind, body in others if kind is Kind.CHECK]
    return list(found.values()), _parties(connection, checks, warnings, now.astimezone(zone).date(), nodes)


def _nodes(
    connection: Connection, period: Period, found_slices: list[Slice], zone: ZoneInfo, late_after: timedelta,
    nodes: frozenset[int] | None,
) -> dict[int, NodeMonth]:  # fmt: skip
    """By node: its events of the month, and how many of them were late."""
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
    return found


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


# --- parties ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class PartyMonth:
    """What a party's score rests on: its licences as they stand, its checks at gates, warnings of it."""

    party: str
    licences: dict[str, bool] = field(default_factory=dict)
    """By the entry of each one's latest version, whether it is in force."""
    checks: list[tuple[Place, bool]] = field(default_factory=list)
    """Where each check stands, and whether the goods were refused."""
    warnings: list[Raised] = field(default_factory=list)

    @property
    def node(self) -> int:
        return int(self.party[:9])


def _parties(
    connection: Connection, checks: Iterable[tuple[Place, Json]], warnings: Iterable[Raised], today: date,
    nodes: frozenset[int] | None,
) -> list[PartyMonth]:  # fmt: skip
    """What is known of each party that was checked or warned of in a month, or has a licence that lapsed.

    Parties of whom nothing is to be said are not in it; of more than `PARTIES_MAX` the first by code.
    """
    found: dict[str, PartyMonth] = {}

    def of(party: str) -> PartyMonth:
        return found.setdefault(party, PartyMonth(party))

    for place, check in checks:
        of(check["party"]).checks.append((place, check["decision"] == "refused"))
    for raised in warnings:
        if len(raised.subject) == 13 and is_digits(raised.subject):
            of(raised.subject).warnings.append(raised)
    own = true() if nodes is None else func.left(licence.c.party, 9).in_([node_text(node) for node in sorted(nodes)])
    lapsed = select(licence.c.party).where(licence.c.status == "active", licence.c.valid_to < today, own).distinct()
    for party in connection.execute(lapsed.order_by(licence.c.party).limit(PARTIES_MAX)).scalars():
        of(party)
    kept = sorted(found)[:PARTIES_MAX]
    subject = func.concat("licence ", licence.c.party, " ", licence.c.licence)
    question = (
        select(licence.c.party, licence.c.status, licence.c.valid_to, registry_version.c.node, registry_version.c.seq)
        .join(registry_version, and_(registry_version.c.subject == subject,
                                     registry_version.c.version == licence.c.version))
        .where(licence.c.party == any_(literal(kept, ARRAY(Text))))
        .order_by(licence.c.party, licence.c.licence)
    )  # fmt: skip
    for row in connection.execute(question):
        in_force = row.status == "active" and (row.valid_to is None or row.valid_to >= today)
        found[row.party].licences[f"{node_text(row.node)}/{row.seq}"] = in_force
    return [found[party] for party in kept]
