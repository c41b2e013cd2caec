"""From a scan to what is recorded: which lots it takes, what it makes, and whether that may be.

Several open batches of one good are taken first in, first out, unless the person names one (多批次管理). What is taken
beyond what is left is refused or warned of, as the node has it (限量控制); what happened offline has happened, and is
recorded.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, func, select, tuple_

from ledger.balances import EXACT, goods_of
from ledger.codes import LOT_URN, TRACE_URN, node_text
from ledger.documents import Json, read_json
from ledger.entries import Kind, decode
from ledger.errors import Breach, NotRecorded, UnacceptableRecord
from ledger.gs1 import Key
from ledger.identifiers import GS1_URI, canonical_key, uri_of
from ledger.nodes import Node
from ledger.registers.supervision import VoucherKind
from ledger.slips import Delivery, delivery_of_slip, is_known
from ledger.steps import Amount, How, Scan, Voucher, event_of, missing, place_of, slip_of
from ledger.tables import balance, entry, event, head, item_entry, product

AGAIN_S = 10
"""Two scans of the same at the same counter within so many seconds are asked about."""
LOTS_MAX = 100
RECENT_MAX = 2_000
"""How far back in a chain the same is looked for: a market of 400 stalls in so many seconds."""
Number = Callable[[], str]
"""The next lot's 20 digits, or the next slip's."""
_TAKING = (How.MAKE, How.LEAVE, How.SELL, How.USE, How.TEST)


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
    warnings: list[str] = field(default_factory=list)


def lot_uri(goods: str, batch: str) -> str:
    """A lot that we number: of goods by their GTIN a GS1 lot, of others one of ours."""
    return f"{GS1_URI}01/{goods}/10/{batch}" if len(goods) == 14 else f"{LOT_URN}{goods}:{batch}"


def held(connection: Connection, holder: str, goods: str) -> list[Held]:
    """Open lots of a good at a stall or node, the one that came there first at the head."""
    gtins = select(product.c.product).where(product.c.goods == goods)
    question = (
        select(balance.c.item, balance.c.quantity, balance.c.uom)
        .join_from(balance, item_entry, balance.c.item == item_entry.c.item)
        .where(balance.c.holder == holder, balance.c.quantity > 0)
        .where((balance.c.goods == goods) | balance.c.goods.in_(gtins))
        .group_by(balance.c.item, balance.c.quantity, balance.c.uom)
        .order_by(func.min(item_entry.c.event_time).filter(item_entry.c.node == int(holder[:9])), balance.c.item)
        .limit(LOTS_MAX)
    )
    return [Held(Key(row.item), row.quantity, row.uom) for row in connection.execute(question)]


def lots_at(connection: Connection, holder: str, lots: Iterable[Key]) -> list[Held]:
    """What is left of these lots there, in each unit, in the order given."""
    wanted = list(lots)
    question = select(balance.c.item, balance.c.quantity, balance.c.uom)
    rows = connection.execute(question.where(balance.c.item.in_(wanted), balance.c.holder == holder))
    found = [Held(Key(row.item), row.quantity, row.uom) for row in rows]
    return sorted(found, key=lambda one: wanted.index(one.lot))


def left_of(connection: Connection, lot: Key) -> list[tuple[str, Decimal, str]]:
    """What is left of a lot, and where: holder, quantity, unit. One indexed read."""
    question = select(balance.c.holder, balance.c.quantity, balance.c.uom).where(balance.c.item == lot)
    return [(row.holder, row.quantity, row.uom) for row in connection.execute(question.order_by(balance.c.holder))]


def plan(
    connection: Connection, scan: Scan, named: Key | None, node: Node, new_lot: Number, new_slip: Number, *,
    strict: bool = False,
) -> Plan:  # fmt: skip
    """What to record of a scan that names a lot or slip, or goods; `UnacceptableRecord` names all that is wrong.

    Goods of which nothing is left here are refused where `strict`; else they are of a lot with an open end.
    """
    scan, came, known = _with_papers(connection, scan, named)
    breaches = list(missing(scan, node.kind, known_lot=known or scan.step.how is not How.ENTER, told=_told(scan, came)))
    if scan.goods is None and not came.goods:
        what = "nothing recorded is on this slip; name the goods" if came.slip else "scan the lot, or name the goods"
        breaches.append(Breach("scanned", what))
    breaches += _other_goods(scan, came)
    if scan.step.how is How.MAKE and not came.goods:
        breaches.append(Breach("scanned", "scan or name the lot that it is made of; the goods are what is made"))
    if breaches:
        raise UnacceptableRecord(breaches)
    holder = node_text(scan.node) if scan.party.endswith("0000") else str(scan.party)
    warnings = _odd_papers(scan, came)
    how, slip, made = scan.step.how, came.slip if scan.step.how is How.ENTER else None, None
    if how is How.COUNT:
        taken, made = _counted(connection, scan, holder, came)
        warnings += ["open_end"] if made is not None and not known else []
    elif how in _TAKING:
        taken = _taken(connection, scan, holder, came, warnings, new_lot, strict=strict)
    elif how is How.ENTER and known:
        taken = _entered(scan, came)
    else:
        taken, made = [], _amount(scan, came.goods[0].lot if came.goods else lot_uri(scan.goods or "", new_lot()))
        warnings += ["open_end"] if how is How.ENTER else []
    if how is How.MAKE and scan.made is not None:
        made = Amount(lot_uri(scan.goods or "", new_lot()), scan.made, scan.made_unit)
    if how is How.SELL and scan.quantity is not None:
        made = slip_of(scan.trace or new_slip(), scan.quantity, taken[0].uom if taken else scan.unit)
    if how is How.LEAVE:
        slip = Key(TRACE_URN + (scan.trace or new_slip()))
    return Plan(event_of(scan, taken, made, slip), warnings)


def _with_papers(connection: Connection, scan: Scan, named: Key | None) -> tuple[Scan, Delivery, bool]:
    """The scan with what its slip says, the goods that it speaks of, and whether anything is recorded of them."""
    if named is None:
        return scan, Delivery(), False
    if not named.startswith(TRACE_URN):
        known = is_known(connection, named, scan.node)
        if scan.goods is None and scan.step.how is not How.MAKE:  # there the goods are what is made
            scan = replace(scan, goods=goods_of(named) or None)
        return scan, Delivery([Amount(uri_of(named), None, None)]), known
    came = delivery_of_slip(connection, named, scan.goods, scan.node)
    if scan.step.how is How.ENTER:
        scan = replace(scan, counterparty=scan.counterparty or came.giver)
        if not came.goods:
            paper = Voucher(VoucherKind.TRANSACTION, named.removeprefix(TRACE_URN))
            scan = replace(scan, vouchers=[*scan.vouchers, paper])
    return scan, came, bool(came.goods)


def _other_goods(scan: Scan, came: Delivery) -> Iterator[Breach]:
    """Goods named beside a lot that is of others: only where both are named by goods codes, of which one is wider."""
    if scan.goods is None or scan.step.how is How.MAKE:
        return
    for one in came.goods:
        goods = goods_of(canonical_key(one.lot))
        if 14 not in (len(goods), len(scan.goods)) and goods and not goods.startswith(scan.goods):
            yield Breach("goods", f"{one.lot} is of the goods {goods}, not of {scan.goods}")


def _told(scan: Scan, came: Delivery) -> bool:
    """Whether the slip says how much comes in."""
    told = bool(came.goods) and all(one.quantity is not None for one in came.goods)
    return told and scan.step.how is How.ENTER


def _odd_papers(scan: Scan, came: Delivery) -> list[str]:
    if scan.step.how is not How.ENTER or came.slip is None:
        return []
    found = ["slip_received"] if came.received else []
    total = came.quantity
    if total and total.quantity is not None and scan.quantity is not None and scan.quantity > total.quantity:
        found.append("more_than_on_slip")
    found += ["other_buyer"] if came.taker not in (None, scan.party) and scan.step.name != "return_in" else []
    return found


def _entered(scan: Scan, came: Delivery) -> list[Amount]:
    """What comes in: as much as the person says of the one lot, or all that is on the slip."""
    if scan.quantity is None:
        return list(came.goods)
    if len(came.goods) == 1:
        if came.slip is not None and scan.unit != came.goods[0].uom:
            raise UnacceptableRecord([Breach("unit", f"on the slip it is counted in {came.goods[0].uom or 'H87'}")])
        return [_amount(scan, came.goods[0].lot)]
    total = came.quantity
    if total is None or (total.quantity, total.uom) != (scan.quantity, scan.unit):
        lots = ", ".join(one.lot for one in came.goods[:5])
        reason = f"the slip is of several lots ({lots}): leave the quantity out for all of it, or name the lot"
        raise UnacceptableRecord([Breach("quantity", reason)])
    return list(came.goods)


def _amount(scan: Scan, lot: str) -> Amount:
    if scan.quantity is None:
        raise UnacceptableRecord([Breach("quantity", "say how much")])
    return Amount(lot, scan.quantity, scan.unit)


def _taken(
    connection: Connection, scan: Scan, holder: str, came: Delivery, warnings: list[str], new_lot: Number, *,
    strict: bool,
) -> list[Amount]:  # fmt: skip
    """Of the open lots as much as the scan says, first in, first out; a test takes nothing and concerns all of one."""
    lots = [canonical_key(one.lot) for one in came.goods]
    open_lots = lots_at(connection, holder, lots) if lots else held(connection, holder, scan.goods or "")
    if not open_lots and lots:
        warnings.append("not_here")
        return [Amount(came.goods[0].lot, scan.quantity, scan.unit)]
    if not open_lots:
        if strict or scan.quantity is None:
            raise NotRecorded(f"nothing of {scan.goods} is left here; scan the lot, or record where it came from")
        warnings.append("open_end")
        return [_amount(scan, lot_uri(scan.goods or "", new_lot()))]
    if scan.quantity is None:
        tested = dict.fromkeys(one.lot for one in (open_lots if lots else open_lots[:1]))
        return [Amount(uri_of(lot), None, None) for lot in tested]
    return _in_order(scan.quantity, scan.unit, open_lots, warnings)


def _in_order(wanted: Decimal, unit: str | None, open_lots: list[Held], warnings: list[str]) -> list[Amount]:
    fitting = [one for one in open_lots if (one.uom or None) == unit]
    if not fitting:
        units = ", ".join(sorted({one.uom or "H87" for one in open_lots}))
        raise UnacceptableRecord([Breach("unit", f"what is there is counted in {units}")])
    taken: list[Amount] = []
    for one in fitting:
        part = min(wanted, max(one.quantity, Decimal(0)))
        if part > 0:
            taken.append(Amount(uri_of(one.lot), part, one.uom or None))
            wanted = EXACT.subtract(wanted, part)
    if wanted > 0:
        warnings.append("more_than_left")
        last = taken.pop() if taken else Amount(uri_of(fitting[-1].lot), Decimal(0), fitting[-1].uom or None)
        taken.append(replace(last, quantity=EXACT.add(last.quantity or Decimal(0), wanted)))
    return taken


def _counted(
    connection: Connection, scan: Scan, holder: str, came: Delivery
) -> tuple[list[Amount], Amount | None]:  # fmt: skip
    """The difference between what was counted and what should be there: taken away, or made."""
    if len(came.goods) != 1 or came.slip is not None:
        raise UnacceptableRecord([Breach("scanned", "scan the lot that was counted")])
    lot = came.goods[0].lot
    here = lots_at(connection, holder, [canonical_key(lot)])
    there = [one for one in here if (one.uom or None) == scan.unit]
    if not there and any(one.quantity for one in here):
        raise UnacceptableRecord([Breach("unit", f"what is there is counted in {here[0].uom or 'H87'}")])
    counted = scan.quantity if scan.quantity is not None else Decimal(0)
    difference = EXACT.subtract(counted, there[0].quantity if there else Decimal(0))
    amount = Amount(lot, abs(difference), scan.unit)
    return ([], amount) if difference >= 0 else ([amount], None)


def recent_like(connection: Connection, scan: Scan, since: datetime) -> str | None:
    """The entry of a scan that said the same at the same counter, recorded since then and not taken back."""
    last = select(head.c.seq).where(head.c.node == scan.node).scalar_subquery()
    recent = (
        select(event.c.seq)
        .where(event.c.node == scan.node, event.c.seq > last - RECENT_MAX, event.c.record_time >= since)
        .where(event.c.business_step == scan.step.business_step, event.c.read_point == canonical_key(place_of(scan)))
        .order_by(event.c.seq.desc())
        .limit(LOTS_MAX)
    )
    places = [(scan.node, seq) for seq in connection.execute(recent).scalars()]
    if not places:
        return None
    question = select(entry.c.data, entry.c.sealed).where(tuple_(entry.c.node, entry.c.seq).in_(places))
    taken_back: set[str] = set()
    for data, sealed in connection.execute(question.order_by(entry.c.seq.desc())):
        found = decode(bytes(data))
        if found.kind is not Kind.EVENT or sealed is None:
            continue
        if "errorDeclaration" in found.body["event"]:
            taken_back.add(found.body["event"]["eventID"])
        elif found.body["event"]["eventID"] not in taken_back:
            raw = read_json(bytes(sealed)).get("/suyuan:scan")
            if isinstance(raw, dict) and said(raw) == said(scan.raw or {}):
                return found.name
    return None


def said(raw: Json) -> Json:
    """What the person said: all but the scan's id, its moment and the code of its slip."""
    return {name: value for name, value in raw.items() if name not in ("scan", "at", "trace")}
