"""What a slip's 20 digits stand for: the goods that left under them, who gave them, and whether they were received.

A slip of a sale is what its event makes; one of a trade goes with the goods, and stands among the papers of the event
that sends them and of the one that receives them (卡单同行). An event declared in error is passed over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from ledger.codes import LOT_URN, PARTY_URN, TRACE_URN, PartyCode, parse_party
from ledger.entries import Kind
from ledger.errors import UnreadableCode
from ledger.gs1 import Key
from ledger.index import Action, Role
from ledger.reads import entries_at, in_error
from ledger.steps import Amount
from ledger.tables import item_entry

Json = dict[str, Any]
EVENTS_MAX = 20
"""A slip has two or three events; whoever uses one code again and again is not followed for ever."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goods are spoken of. `giver` and `taker` are those of a slip; `left` counts the events that gave it away."""

    goods: Sequence[Amount] = ()
    slip: Key | None = None
    giver: PartyCode | None = None
    taker: PartyCode | None = None
    left: int = 0
    received: bool = False

    @property
    def quantity(self) -> Amount | None:
        """All of it as one amount, where it is told and of one unit."""
        total = Amount("", Decimal(0), self.goods[0].uom) if self.goods else None
        for one in self.goods:
            if total is None or total.quantity is None or one.quantity is None or one.uom != total.uom:
                return None
            total = replace(total, quantity=total.quantity + one.quantity)
        return total


def is_known(connection: Connection, lot: Key, node: int) -> bool:
    """Whether anything that stands says where this lot came from: it came into being, or another node had it.

    What `node` itself did with it, before anybody recorded how it came there, says nothing of that.
    """
    elsewhere = and_(item_entry.c.node != node, item_entry.c.action == Action.OBSERVE)
    came = or_(item_entry.c.role == Role.OUTPUT, item_entry.c.action == Action.ADD, elsewhere)
    return next(_events(connection, lot, came), None) is not None


def delivery_of_slip(connection: Connection, slip: Key, goods: str | None, node: int) -> Delivery:
    """What left under a slip; no goods if nothing recorded says it. 20 digits may be those of a lot of `goods`, too."""
    found = Delivery(slip=slip)
    for event in _events(connection, slip, item_entry.c.role.in_((Role.OUTPUT, Role.CERTIFICATE))):
        if event.get("bizStep") == "receiving":
            found = replace(found, received=True)
        elif event["type"] == "TransformationEvent":
            found = replace(found, goods=found.goods or _amounts(event["inputQuantityList"]), left=found.left + 1)
        elif event.get("bizStep") == "shipping":
            found = replace(
                found, goods=found.goods or _amounts(event["quantityList"]), left=found.left + 1,
                giver=found.giver or _party(event, "source"), taker=found.taker or _party(event, "destination"),
            )  # fmt: skip
    lot = f"{LOT_URN}{goods}:{slip.removeprefix(TRACE_URN)}"
    if not found.goods and goods is not None and is_known(connection, Key(lot), node):
        return Delivery([Amount(lot, None, None)])
    return found


def was_used(connection: Connection, slip: Key) -> bool:
    """Whether more than one event gave goods away under this slip."""
    question = select(func.count()).where(item_entry.c.item == slip)
    return connection.execute(question).scalar_one() > 1 and delivery_of_slip(connection, slip, None, 0).left > 1


def _events(connection: Connection, item: Key, wanted: ColumnElement[bool]) -> Iterator[Json]:
    """The wanted events that speak of an item and stand, oldest first, whole where that is not erased."""
    rows = connection.execute(
        select(item_entry.c.node, item_entry.c.seq)
        .where(item_entry.c.item == item, wanted)
        .order_by(item_entry.c.event_time)
        .limit(EVENTS_MAX)
    ).all()
    found = entries_at(connection, [(row.node, row.seq) for row in rows])
    events = [one.event for one in found if one.entry.kind is Kind.EVENT]
    wrong = in_error(connection, [event["eventID"] for event in events]) if events else set()
    yield from (event for event in events if event["eventID"] not in wrong)


def _amounts(elements: Sequence[Json]) -> list[Amount]:
    return [Amount(one["epcClass"], _decimal(one.get("quantity")), one.get("uom")) for one in elements]


def _decimal(quantity: Any) -> Decimal | None:
    return None if quantity is None else Decimal(quantity)


def _party(event: Json, end: str) -> PartyCode | None:
    for one in event.get(f"{end}List") or ():
        if one.get("type") == "owning_party":
            try:
                return parse_party(str(one[end]).removeprefix(PARTY_URN))
            except UnreadableCode:
                return None
    return None
