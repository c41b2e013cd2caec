"""What an event does to the quantities of lots: one table, after EPCIS's own words for what happens.

A lot's quantity is kept by lot, holder and unit. The holder is the operator's place that the event names as its read
point (13 digits), else its node (9 digits). Goods on a slip have left: they are nobody's stock. Everything is derived
from the open part of an event, so that the audit can derive it again. Pure.

Not counted: instances (packs have states of their own), and the content of containers that an event only names by the
container.
"""

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal
from typing import Any, NamedTuple

from ledger.codes import LOT_URN, PARTY_URN, TRACE_URN, node_text
from ledger.identifiers import identifies_goods_closely
from ledger.index import Role, named

Json = dict[str, Any]


class Holding(NamedTuple):
    """What a quantity is of, where, and in which unit ("" for a count)."""

    item: str
    holder: str
    uom: str


class Move(NamedTuple):
    """How much an event adds to a holding, or takes from it."""

    holding: Holding
    quantity: Decimal

    @property
    def back(self) -> "Move":
        """The move that undoes this one."""
        return Move(self.holding, self.quantity.copy_negate())


_OBSERVED = {"receiving": 1, "void_shipping": 1, "shipping": -1}
"""What goods that are only observed do: they come or go."""
_OBJECTS = {"ADD": 1, "DELETE": -1}
_TRANSFORMED = {Role.INPUT: -1, Role.OUTPUT: 1}


def moves_of(event: Json, node: int) -> Iterator[Move]:
    """What the open part of a checked event moves, if it is never declared in error (`ledger/declared.py`)."""
    if "errorDeclaration" in event:
        return
    for role, key, element in named(event):
        if "quantity" not in element:
            continue
        sign = _sign(event, role)
        if sign and not key.startswith(TRACE_URN) and identifies_goods_closely(key):
            holding = Holding(key, holder_of(event, node), element.get("uom", ""))
            quantity = Decimal(element["quantity"])
            yield Move(holding, quantity if sign > 0 else quantity.copy_negate())


def _sign(event: Json, role: Role) -> int:
    if event["type"] == "TransformationEvent":
        return _TRANSFORMED.get(role, 0)
    if event["type"] != "ObjectEvent" or role is not Role.OBJECT:
        return 0
    action = event["action"]
    return _OBJECTS[action] if action in _OBJECTS else _OBSERVED.get(event.get("bizStep", ""), 0)


def holder_of(event: Json, node: int) -> str:
    """Whose quantity an event at `node` changes."""
    place: str = event.get("readPoint", {}).get("id", "")
    return place.removeprefix(PARTY_URN) if place.startswith(PARTY_URN) else node_text(node)


def goods_of(item: str) -> str:
    """What a lot is a lot of: a goods code, or a GTIN; "" where its code does not say.

    >>> goods_of("01/06901234500103/10/P1"), goods_of("urn:suyuan:lot:21113011:33021200126112500001")
    ('06901234500103', '21113011')
    """
    if item.startswith(LOT_URN):
        return item.removeprefix(LOT_URN).partition(":")[0]
    return item.split("/")[1] if item.startswith("01/") else ""


EXACT = Context(prec=500)
"""Sums of quantities keep every digit, as the database's do."""


def added(total: dict[Holding, Decimal], moves: Iterable[Move]) -> dict[Holding, Decimal]:
    """`total` with these moves added to it."""
    for holding, quantity in moves:
        total[holding] = EXACT.add(total[holding], quantity) if holding in total else quantity
    return total
