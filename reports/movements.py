"""Movements of goods in a trace: a shipment with its receipt, or what of the two is recorded; what became of it. Pure.

The two are put together by goods (or the case that they were in); of several shipments that a receipt can be of, the
one with its document is taken, else that of the same quantity, else the latest. Nothing is put together that the
records speak against: another destination, or another document of the same type.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import NamedTuple

from ledger.balances import moves_of
from ledger.codes import PARTY_URN
from ledger.gs1 import Key, is_digits
from ledger.identifiers import identifies_goods_closely
from ledger.index import Action, Role
from ledger.packs.states import State
from ledger.reporting import PackNow, Place, Stock
from ledger.trace import Direction, Graph, Reason, Step
from reports.document import Cell, Phrase

SENT, RECEIVED, VOIDED = frozenset({"shipping", "consigning"}), "receiving", "void_shipping"


SOLD = frozenset({"retail_selling", "dispensing"})
DESTROYED = frozenset({"destroying", "decommissioning"})
LOST = frozenset({"removing"})


class Verdict(Enum):
    """What the records say of a movement."""

    COMPLETE = Phrase("两端齐全", "complete")
    DIFFERS = Phrase("数量不符", "quantities differ")
    NOT_RECEIVED = Phrase("已发未收", "shipped, not received")
    NOT_SENT = Phrase("已收未发", "received, not shipped")
    FROM_OUTSIDE = Phrase("来自账外", "from outside the ledger")
    VOIDED = Phrase("已撤销", "shipment voided")


class Amount(NamedTuple):
    """The quantities that an event gives of an item, and their unit."""

    quantities: tuple[Decimal, ...]
    unit: str

    @property
    def cell(self) -> Cell:
        """The number, or those of an item that is named several times."""
        if len(self.quantities) > 1:
            return " ".join(f"{one.normalize():f}" for one in self.quantities)
        return self.quantities[0] if self.quantities else None

    @property
    def total(self) -> Decimal:
        return sum(self.quantities, Decimal(0))


@dataclass(frozen=True, slots=True)
class Movement:
    """Goods that went from one to another: shipment, receipt, or what of the two is recorded."""

    item: Key
    level: int
    sent: Step | None
    received: Step | None
    verdict: Verdict
    taken: Decimal = Decimal(0)
    """How much of the shipment was received in all."""

    @property
    def steps(self) -> list[Step]:
        return [step for step in (self.sent, self.received) if step is not None]


def amount(step: Step, item: Key) -> Amount:
    """How much of an item the event speaks of."""
    found = [one for one in step.mentions if one.key == item and one.quantity is not None]
    return Amount(tuple(Decimal(one.quantity or 0) for one in found), (found[0].uom or "") if found else "")


def documents(step: Step) -> list[str]:
    """The documents of an event, as far as the reader may see them."""
    return [str(one["bizTransaction"]) for one in step.event.get("bizTransactionList", ())]


def parties(step: Step, field: str, side: str) -> list[str]:
    """Those who gave or took, as far as the reader may see them."""
    return list(dict.fromkeys(str(one[side]) for one in step.event.get(field, ())))


def in_time(graph: Graph) -> list[Step]:
    """The events in the order in which they happened."""
    return sorted(graph.steps.values(), key=lambda step: (step.time, step.place))


_Name = object
"""A document, a destination, a destination with a quantity, or a sender: what shipments are found by."""


class _Waiting:
    """Shipments that nothing was received of so far, found by goods and what else a receipt says."""

    def __init__(self) -> None:
        self._found: dict[tuple[Key, _Name], dict[Place, Step]] = {}

    def add(self, key: Key, step: Step) -> None:
        """A shipment of these goods."""
        for name in self._names(key, step):
            self._found.setdefault((key, name), {})[step.place] = step

    def remove(self, key: Key, step: Step) -> None:
        """It was received."""
        for name in self._names(key, step):
            del self._found[key, name][step.place]

    @staticmethod
    def _names(key: Key, step: Step) -> set[_Name]:
        towards, much = _towards(step) or {None}, amount(step, key)
        return {*documents(step), *towards, *((node, much) for node in towards), ("from", step.node)}

    def best(self, key: Key, kin: Iterable[Key], received: Step) -> tuple[Key, Step] | None:
        """The shipment that a receipt is of: one under its document, else of its quantity, else the latest."""
        node, much = received.node, amount(received, key)
        groups: list[list[_Name]] = [[*documents(received)], [(node, much), (None, much)], [node, None]]
        for names in [[("from", node)]] if received.business_step == VOIDED else groups:
            found = [
                (sent_key, step) for sent_key in (key, *kin) for name in names
                for step in islice(reversed(self._found.get((sent_key, name), {}).values()), _COMPARED)
                if _may_be(step, received, sent_key == key)
            ]  # fmt: skip
            if found:
                return max(found, key=lambda one: _likeness(one[1], received, key))
        return None


_COMPARED = 50
"""Of shipments that are alike in all that they are found by, the latest."""


def movements(graph: Graph) -> list[Movement]:
    """Every shipment and receipt of the trace, put together where they belong together; those declared in error not."""
    standing = [step for step in in_time(graph) if not step.in_error]
    kin, waiting, pairs = _kin(standing), _Waiting(), list[tuple[Key, Step | None, Step | None]]()
    taken: dict[tuple[Key, Place], Decimal] = {}
    for step in standing:
        keys = [key for key in step.items(Role.OBJECT, Role.PARENT) if key in graph.items]
        for key in filter(identifies_goods_closely, keys):
            if step.business_step in SENT:
                waiting.add(key, step)
                pairs.append((key, step, None))
            elif step.business_step in (RECEIVED, VOIDED):
                best = waiting.best(key, kin.get(key, ()), step)
                if best is not None:
                    name = (best[0], best[1].place)
                    taken[name] = taken.get(name, Decimal(0)) + amount(step, best[0]).total
                    if best[0] == key and not _is_partly(best[1], step, taken[name], key):
                        waiting.remove(*best)
                if best is not None or step.business_step == RECEIVED:
                    pairs.append((key, best and best[1], step))
    found = [
        Movement(
            key, graph.items[key].level, sent, received, _verdict(key, sent, received, taken),
            taken.get((key, sent.place), Decimal(0)) if sent else Decimal(0),
        )
        for key, sent, received in pairs
        if received is not None or (sent is not None and (key, sent.place) not in taken)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.level, one.steps[0].time, one.item, one.steps[0].place))


def _towards(sent: Step) -> set[str | int | None]:
    """The nodes that a shipment goes to, as far as it says so in our own codes."""
    found = (one.removeprefix(PARTY_URN) for one in parties(sent, "destinationList", "destination")
             if one.startswith(PARTY_URN))  # fmt: skip
    return {int(one[:9]) for one in found if is_digits(one)}


def _kin(steps: Iterable[Step]) -> dict[Key, set[Key]]:
    """For each item the cases that it was in, and what was in it: a case is shipped, its packs are received."""
    found: dict[Key, set[Key]] = {}
    for step in steps:
        for parent in step.items(Role.PARENT):
            for child in step.items(Role.CHILD):
                found.setdefault(parent, set()).add(child)
                found.setdefault(child, set()).add(parent)
    return found


def _may_be(sent: Step, received: Step, same: bool) -> bool:
    """Whether the receipt can be of the shipment of the same goods: later, and nothing recorded speaks against it."""
    if sent.time > received.time:
        return False
    if received.business_step == VOIDED:
        return same and sent.node == received.node
    if (towards := _towards(sent)) and received.node not in towards:
        return False
    by_type: list[dict[str, set[str]]] = [{}, {}]
    for types, step in zip(by_type, (sent, received), strict=True):
        for one in step.event.get("bizTransactionList", ()):
            types.setdefault(str(one.get("type")), set()).add(str(one["bizTransaction"]))
    return all(by_type[0][kind] & by_type[1][kind] for kind in by_type[0].keys() & by_type[1].keys())


def _likeness(sent: Step, received: Step, key: Key) -> tuple[bool, bool, datetime]:
    same_document = not set(documents(sent)).isdisjoint(documents(received))
    return same_document, amount(sent, key) == amount(received, key), sent.time


def _is_partly(sent: Step, received: Step, taken: Decimal, key: Key) -> bool:
    """Whether more of a shipment may still come: under its document, less than was sent came."""
    shared = not set(documents(sent)).isdisjoint(documents(received))
    return shared and taken < amount(sent, key).total


def _verdict(
    key: Key, sent: Step | None, received: Step | None, taken: Mapping[tuple[Key, Place], Decimal]
) -> Verdict:  # fmt: skip
    """What all that was `taken` of the shipment makes of it."""
    if received is None:
        return Verdict.NOT_RECEIVED
    if sent is None:
        return Verdict.FROM_OUTSIDE if received.action is Action.ADD else Verdict.NOT_SENT
    if received.business_step == VOIDED:
        return Verdict.VOIDED
    given, came = amount(sent, key), amount(received, key)
    if not given.quantities or not came.quantities:
        return Verdict.COMPLETE
    same = (given.total, given.unit) == (taken.get((key, sent.place), came.total), came.unit)
    return Verdict.COMPLETE if same else Verdict.DIFFERS


BREAKS = frozenset({Verdict.DIFFERS, Verdict.NOT_RECEIVED, Verdict.NOT_SENT})
BOTH_SIDES = frozenset({Verdict.COMPLETE, Verdict.DIFFERS})
ONE_SIDE = frozenset({Verdict.NOT_RECEIVED, Verdict.NOT_SENT})


def coverage(moved: Sequence[Movement]) -> tuple[int, int]:
    """How many movements are recorded by both sides, and how many there are within the ledger."""
    both = sum(1 for one in moved if one.verdict in BOTH_SIDES)
    return both, both + sum(1 for one in moved if one.verdict in ONE_SIDE)


def surplus(step: Step) -> Iterator[tuple[str, Decimal]]:
    """By unit, how much more a transformation made than went into it; nothing of several events under one id."""
    if step.event["type"] != "TransformationEvent" or step.items(Role.TRANSFORMATION):
        return
    sums: dict[Role, dict[str, Decimal]] = {Role.INPUT: {}, Role.OUTPUT: {}}
    for one in step.mentions:
        if one.role in sums and one.quantity is not None:
            units = sums[one.role]
            units[one.uom or ""] = units.get(one.uom or "", Decimal(0)) + Decimal(one.quantity)
    for unit, went_in in sums[Role.INPUT].items():
        if (more := sums[Role.OUTPUT].get(unit, Decimal(0)) - went_in) > 0:
            yield unit, more


# --- what became of it ------------------------------------------------------------------------------

IN_STOCK, WAS_SOLD, GONE, USED, UNKNOWN = (
    Phrase("在库", "in stock"), Phrase("已售", "sold"), Phrase("已销毁", "destroyed"),
    Phrase("损耗、使用或离开监管链", "lost, used, or out of the supervised chain"),
    Phrase("去向不明(在途或未展开)", "unknown (under way, or not followed)"),
)  # fmt: skip
_BY_STATE = {
    State.ACTIVE: IN_STOCK, State.LOCKED: IN_STOCK, State.SUPPLIED: WAS_SOLD, State.DESTROYED: GONE,
}  # fmt: skip


def tally(
    graph: Graph, stock: Iterable[Stock], packs: Sequence[PackNow], moved: Iterable[Movement]
) -> dict[tuple[Phrase, str], Decimal]:
    """What became of the goods asked for and of what was made of them, by state and unit."""
    found: dict[tuple[Phrase, str], Decimal] = {}

    def add(state: Phrase, unit: str, quantity: Decimal) -> None:
        found[state, unit] = found.get((state, unit), Decimal(0)) + quantity

    downstream = {key for key, item in graph.items.items() if item.level >= 0}
    for one in stock:
        if one.item in downstream and one.quantity > 0:
            add(IN_STOCK, one.unit, one.quantity)
    for step in graph.steps.values():
        state = next((state for steps, state in _LEFT if step.business_step in steps), None)
        for move in () if state is None or step.in_error else moves_of(step.event, step.node):
            if state is not None and move.quantity < 0 and move.holding.item in downstream:
                add(state, move.holding.uom, -move.quantity)
    for way in moved:
        if way.verdict is Verdict.NOT_RECEIVED and way.item in downstream and way.sent is not None:
            given = amount(way.sent, way.item)
            if given.quantities:
                add(UNKNOWN, given.unit, given.total)
    for piece in singles(graph, packs):
        add(piece.state, "", Decimal(1))
    return found


_LEFT = ((SOLD, WAS_SOLD), (DESTROYED, GONE), (LOST, USED))


class Single(NamedTuple):
    """An item that is one piece: its state, and the event that it was seen in last, in its case or alone."""

    item: Key
    state: Phrase
    last: Step


def singles(graph: Graph, packs: Iterable[PackNow]) -> Iterator[Single]:
    """What became of each piece of the goods asked for, as a pack of a drug, or by its last event."""
    by_code = {one.code: one for one in packs}
    ends = {end.item: end for end in graph.open_ends if end.direction is Direction.FORWARD}
    for key, item in graph.items.items():
        steps = [graph.steps[place] for place in item.steps if not graph.steps[place].in_error]
        steps = [step for step in steps if step.has(key, Role.OBJECT, Role.CHILD, Role.INPUT, Role.OUTPUT)]
        if item.level < 0 or not steps or not identifies_goods_closely(key):
            continue
        is_case = key.startswith("00/") or any(step.has(key, Role.PARENT) for step in steps)
        if is_case or any(amount(step, key).quantities for step in steps):
            continue
        last, end = max(steps, key=lambda step: (step.time, step.place)), ends.get(key)
        if end is not None and end.last is not None:
            last = graph.steps[end.last]
        if (pack := by_code.get(key)) is not None:
            state = UNKNOWN if pack.state is State.ACTIVE and not pack.held else _BY_STATE.get(pack.state, USED)
        elif end is not None:
            state = IN_STOCK if end.reason is Reason.HELD else UNKNOWN
        else:
            state = next((state for steps_, state in _LEFT if last.business_step in steps_), IN_STOCK)
            state = USED if last.has(key, Role.INPUT) and state is IN_STOCK else state
        yield Single(key, state, last)
