"""Nodes as the write path needs them: which chains there are, whether they are open, and which places are theirs.

How they are filed and changed: `ledger/registry.py`, as every register.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, select

from ledger.access import Actor, Role
from ledger.append import Request
from ledger.codes import CITY, IMPORT, NODE_URN, NodeCode, TraceScheme, node_text
from ledger.errors import NotRecorded, UnacceptableRecord
from ledger.gs1 import Key
from ledger.registers import NODE
from ledger.registers.places import StockLimit
from ledger.registry import change_request
from ledger.tables import node as node_table

OPERATOR = Actor("operator", Role.ADMIN, frozenset(), IMPORT)
"""Whoever runs `suyuan` on the machine itself; the operating system decided who may."""


@dataclass(frozen=True, slots=True)
class Node:
    """A registered node. `locations` are the canonical keys of its read points."""

    node: NodeCode
    version: int
    name: str
    trace_scheme: TraceScheme
    locations: tuple[Key, ...]
    open: bool
    kind: str | None = None
    refuses_over_stock: bool = False


def _node(row: Row[Any]) -> Node:
    return Node(
        NodeCode(row.node), row.version, row.name, TraceScheme(row.trace_scheme),
        tuple(Key(location) for location in row.locations), row.open,
        row.kind, row.stock_limit == StockLimit.REFUSE,
    )  # fmt: skip


def get_node(connection: Connection, code: NodeCode) -> Node:
    """The node `code`; `NotRecorded` if it is not registered."""
    row = connection.execute(select(node_table).where(node_table.c.node == code)).one_or_none()
    if row is None:
        raise NotRecorded(f"no node {node_text(code)} is registered; register it with: suyuan node add")
    return _node(row)


def add_node(code: NodeCode, name: str, trace_scheme: TraceScheme, locations: Iterable[str], actor: str) -> Request:
    """Register a node with what a chain needs. Its `locations` (GLN links, URNs) say which read points are its own."""
    given = {"node": node_text(code), "name": name, "trace_scheme": str(trace_scheme), "locations": list(locations)}
    values, breaches = NODE.read(given, date.min)
    if breaches:
        raise UnacceptableRecord(breaches)
    empty = dict.fromkeys(("kind", "region", "stock_limit", "digest"))
    row = {**empty, **values, "locations": values["locations"] or [], "open": True}
    return change_request("node", {**row, "version": 1}, actor)


def places_of(connection: Connection, actor: Actor) -> Mapping[Key, NodeCode]:
    """Which read points belong to which of the actor's nodes, and each open node's own name."""
    question = select(node_table.c.node, node_table.c.locations).where(node_table.c.open).order_by(node_table.c.node)
    if actor.role is not Role.ADMIN:
        question = question.where(node_table.c.node.in_(actor.nodes))
    places: dict[Key, NodeCode] = {}
    for code, locations in connection.execute(question):
        places[Key(NODE_URN + node_text(code))] = NodeCode(code)
        for location in locations:
            places.setdefault(Key(location), NodeCode(code))
    return places


def first_nodes(connection: Connection) -> list[Request]:
    """Requests for the ledger's own two nodes, where they are not registered yet."""
    own = {CITY: "city: what the operator does, and the minute ticks", IMPORT: "files captured without naming a node"}
    present = {row.node for row in connection.execute(select(node_table.c.node).where(node_table.c.node.in_(own)))}
    missing = [(code, name) for code, name in own.items() if code not in present]
    return [add_node(code, name, TraceScheme.NODE_DAY_SERIAL, [], OPERATOR.name) for code, name in missing]
