"""From a scan to what is recorded: which lots it takes, what it makes, and whether that may be.

Several open batches of one good are taken first in, first out, unless the person names one (多批次管理). What is taken
beyond what is left is refused or warned of, as the node has it (限量控制); what happened offline has happened, and is
recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, func, select

from ledger.balances import EXACT
from ledger.codes import LOT_URN, node_text
from ledger.documents import Json
from ledger.entries import Kind, decode
from ledger.errors import Breach, NotRecorded, UnacceptableRecord
from ledger.gs1 import Key
from ledger.index import Role
from ledger.nodes import Node
from ledger.steps import Amount, How, Scan, event_of, missing, slip_of
from ledger.tables import balance, entry, item_entry, product

GS1_URI = "https://id.gs1.org/"
AGAIN_S = 10
"""Two scans of the same at the same counter within so many seconds are asked about."""
LOTS_MAX = 100
Number = Callable[[], str]
"""The next lot's 20 digits, or the next slip's."""
_TAKING = (How.MAKE, How.LEAVE, How.SELL, How.USE, How.COUNT, How.TEST)


@dataclass(frozen=True, slots=True)
class Held:
    """How much of a lot is left where the scan is taken."""

    lot: Key
    quantity: Decimal
    uom: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record for a scan: the event, the lots that it takes or concerns, what it makes, and what is odd."""

    event: Json
    taken: Sequence[Amount]
    made: Amount | None
    warnings: list[str] = field(default_factory=list)


def uri_of(key: str) -> str:
    """A canonical key as the URI that an event names it by."""
    return key if key.startswith("urn:") or "://" in key else GS1_URI + key


def lot_uri(goods: str, batch: str) -> str:
    """A lot that we number: of goods by their GTIN a GS1 lot, of others one of ours."""
    return f"{GS1_URI}01/{goods}/10/{batch}" if len(goods) == 14 else f"{LOT_URN}{goods}:{batch}"


def held(connection: Connection, holder: str, goods: str) -> list[Held]:
    """Open lots of a good at a stall or node, the one that came first at the head."""
    gtins = select(product.c.product).where(product.c.goods == goods)
    question = (
        select(balance.c.item, balance.c.quantity, balance.c.uom)
        .join_from(balance, item_entry, balance.c.item == item_entry.c.item)
        .where(balance.c.holder == holder, balance.c.quantity > 0)
        .where((balance.c.goods == goods) | balance.c.goods.in_(gtins))
        .group_by(balance.c.item, balance.c.quantity, balance.c.uom)
        .order_by(func.min(item_entry.c.event_time), balance.c.item)
        .limit(LOTS_MAX)
    )
    return [Held(Key(row.item), row.quantity, row.uom) for row in connection.execute(question)]


def lot_at(connection: Connection, holder: str, lot: Key) -> list[Held]:
    """What is left of one lot there, in each unit."""
    question = select(balance.c.quantity, balance.c.uom).where(balance.c.item == lot, balance.c.holder == holder)
    return [Held(lot, row.quantity, row.uom) for row in connection.execute(question)]


def left_of(connection: Connection, lot: Key) -> list[tuple[str, Decimal, str]]:
    """What is left of a lot, and where: holder, quantity, unit. One indexed read."""
    question = select(balance.c.holder, balance.c.quantity, balance.c.uom).where(balance.c.item == lot)
    return [(row.holder, row.quantity, row.uom) for row in connection.execute(question.order_by(balance.c.holder))]


def is_known(connection: Connection, lot: Key) -> bool:
    """Whether any entry speaks of this lot."""
    return connection.execute(select(item_entry.c.seq).where(item_entry.c.item == lot).limit(1)).first() is not None


def slip_entries(connection: Connection, slip: Key) -> int:
    """How many entries made this slip: more than one is one too many."""
    question = select(func.count()).where(item_entry.c.item == slip, item_entry.c.role == Role.OUTPUT)
    return connection.execute(question).scalar_one()


def plan(
    connection: Connection, scan: Scan, lot: Key | None, node: Node, new_lot: Number, new_slip: Number, *,
    strict: bool = False,
) -> Plan:  # fmt: skip
    """What to record; `UnacceptableRecord` names all that is missing or does not go together.

    Goods of which nothing is left here are refused where `strict`; else they are of a lot with an open end.
    """
    known = lot is not None and is_known(connection, lot)
    breaches = list(missing(scan, node.kind, known_lot=known or scan.step.how is not How.ENTER))
    if scan.goods is None and lot is None:
        breaches.append(Breach("scanned", "scan or name the lot, or name the goods"))
    if scan.step.how is How.MAKE and lot is None:
        breaches.append(Breach("scanned", "scan or name the lot that it is made of; the goods are what is made"))
    if breaches:
        raise UnacceptableRecord(breaches)
    holder = node_text(scan.node) if scan.party.endswith("0000") else str(scan.party)
    warnings: list[str] = []
    taken: list[Amount] = []
    made: Amount | None = None
    how = scan.step.how
    if how is How.COUNT:
        taken, made = _counted(connection, scan, holder, lot)
    elif how in _TAKING:
        open_lots = lot_at(connection, holder, lot) if lot else held(connection, holder, scan.goods or "")
        if not open_lots and lot is None:
            if strict or scan.quantity is None:
                raise NotRecorded(f"nothing of {scan.goods} is left here; scan the lot, or record where it came from")
            warnings.append("open_end")
            taken = [_amount(scan, lot_uri(scan.goods or "", new_lot()))]
        else:
            taken = _take(scan, open_lots, lot, warnings)
    elif how is How.ENTER and lot is not None and known:
        taken = [_amount(scan, uri_of(lot))]
    else:
        if lot is None or how is How.BEGIN:
            made = _amount(scan, lot_uri(scan.goods or "", new_lot()))
        else:
            made = _amount(scan, uri_of(lot))
        warnings += ["open_end"] if how is How.ENTER else []
    if how is How.MAKE and scan.made is not None:
        made = Amount(lot_uri(scan.goods or "", new_lot()), scan.made, scan.made_unit)
    if how is How.SELL and scan.quantity is not None:
        made = slip_of(scan.trace or new_slip(), scan.quantity, taken[0].uom if taken else scan.unit)
    return Plan(event_of(scan, taken, made), taken, made, warnings)


def _amount(scan: Scan, lot: str) -> Amount:
    if scan.quantity is None:
        raise UnacceptableRecord([Breach("quantity", "say how much")])
    return Amount(lot, scan.quantity, scan.unit)


def _take(scan: Scan, open_lots: list[Held], lot: Key | None, warnings: list[str]) -> list[Amount]:
    """Of the open lots as much as the scan says, first in, first out; a test takes nothing and concerns all of one."""
    if not open_lots:
        warnings.append("not_here")
        return [Amount(uri_of(lot or Key("")), scan.quantity if scan.quantity is not None else Decimal(0), scan.unit)]
    if scan.quantity is None:
        return [Amount(uri_of(open_lots[0].lot), open_lots[0].quantity, open_lots[0].uom or None)]
    wanted, taken = scan.quantity, list[Amount]()
    fitting = [one for one in open_lots if (one.uom or None) == scan.unit]
    if not fitting:
        units = ", ".join(sorted({one.uom or "H87" for one in open_lots}))
        raise UnacceptableRecord([Breach("unit", f"what is there is counted in {units}")])
    for one in fitting:
        part = min(wanted, max(one.quantity, Decimal(0)))
        if part > 0:
            taken.append(Amount(uri_of(one.lot), part, one.uom or None))
            wanted = EXACT.subtract(wanted, part)
    if wanted > 0:
        warnings.append("more_than_left")
        last = taken.pop() if taken else Amount(uri_of(fitting[-1].lot), Decimal(0), fitting[-1].uom or None)
        taken.append(replace(last, quantity=EXACT.add(last.quantity, wanted)))
    return taken


def _counted(connection: Connection, scan: Scan, holder: str, lot: Key | None) -> tuple[list[Amount], Amount | None]:
    """The difference between what was counted and what should be there: taken away, or made."""
    if lot is None:
        raise UnacceptableRecord([Breach("scanned", "scan the lot that was counted")])
    there = next((one for one in lot_at(connection, holder, lot) if (one.uom or None) == scan.unit), None)
    counted = scan.quantity if scan.quantity is not None else Decimal(0)
    difference = EXACT.subtract(counted, there.quantity if there else Decimal(0))
    amount = Amount(uri_of(lot), abs(difference), scan.unit)
    return ([], amount) if difference >= 0 else ([amount], None)


def recent_like(connection: Connection, scan: Scan, event: Json, since: datetime) -> str | None:
    """The entry of a scan of the same step, place, goods and quantity recorded since then, if there is one."""
    question = select(entry.c.data).where(entry.c.node == scan.node).order_by(entry.c.seq.desc()).limit(LOTS_MAX)
    for data in connection.execute(question).scalars():
        found = decode(bytes(data))
        if found.record_time < since:
            return None
        if found.kind is Kind.EVENT and all(found.body["event"].get(name) == event.get(name) for name in _SAME):
            return found.name
    return None


_SAME = ("type", "bizStep", "readPoint", "quantityList", "inputQuantityList")
