"""Recalls: which clocks run, who holds what of the recalled packs at the moment, who had what of recalled food.

The clocks are data, a row for each regime and clock from a day on, since they differ and change. Source:
`drugs_and_warnings.md` 4. What stands there as from memory is marked in the row: check it before quoting.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from ledger.access import Actor, Role
from ledger.balances import moves_of
from ledger.codes import CITY, LOT_URN, NodeCode
from ledger.errors import Breach, NotRecorded, UnacceptableRecord
from ledger.gs1 import Key
from ledger.identifiers import canonical_key, uri_of
from ledger.packs.states import State
from ledger.registers.drugs import RECALL, Grade, Regime
from ledger.registers.form import Word
from ledger.registers.goods import Unit, in_base_unit
from ledger.tables import balance, pack, product, recall_answer
from ledger.trace import Direction, Graph, trace


class Clock(Word):
    """What has to be done in time."""

    NOTIFY = "notify", "通知停售停用"
    PLAN = "plan", "报送召回计划"
    PROGRESS = "progress", "报告召回进展"
    FINISH = "finish", "完成召回"


@dataclass(frozen=True, slots=True)
class Term:
    """How long a clock runs for each grade, of recalls decided from a day on. Progress is due again and again."""

    regime: Regime
    clock: Clock
    since: date
    within: Mapping[Grade, timedelta]
    source: str


def _days(one: int, two: int, three: int) -> Mapping[Grade, timedelta]:
    return {Grade.ONE: timedelta(one), Grade.TWO: timedelta(two), Grade.THREE: timedelta(three)}


_CN, _FOOD = Regime.CHINA_DRUG, Regime.CHINA_FOOD
_OLD, _NEW = date(2007, 12, 10), date(2022, 11, 1)
TERMS: tuple[Term, ...] = (
    Term(_CN, Clock.NOTIFY, _OLD, _days(1, 2, 3), "药品召回管理办法 2007: 24/48/72 h"),
    Term(_CN, Clock.PLAN, _OLD, _days(1, 3, 7), "药品召回管理办法 2007: 1/3/7 days"),
    Term(_CN, Clock.PROGRESS, _OLD, _days(1, 3, 7), "药品召回管理办法 2007: every 1/3/7 days"),
    Term(_CN, Clock.NOTIFY, _NEW, _days(1, 3, 7), "药品召回管理办法 2022: 1/3/7 days (from memory)"),
    Term(_CN, Clock.PLAN, _NEW, _days(1, 3, 7), "药品召回管理办法 2022: taken as before (no text found)"),
    Term(_CN, Clock.PROGRESS, _NEW, _days(1, 3, 7), "药品召回管理办法 2022: taken as before (no text found)"),
    Term(_FOOD, Clock.NOTIFY, date(2015, 9, 1), _days(1, 2, 3), "食品召回管理办法 2015: start in 24/48/72 h"),
    Term(_FOOD, Clock.FINISH, date(2015, 9, 1), _days(14, 28, 42), "食品召回管理办法 2015: 10/20/30 working days"),
)


@dataclass(frozen=True, slots=True)
class Due:
    """One clock of a recall: until when, when it was done, and whether it was done in time. `late` from `now` on."""

    clock: Clock
    by: datetime
    done: datetime | None
    late: bool
    source: str


_DONE: Mapping[Clock, str] = {
    Clock.NOTIFY: "notified_at", Clock.PLAN: "planned_at", Clock.PROGRESS: "progress_at", Clock.FINISH: "ended_at",
}  # fmt: skip


def clocks(recall: Mapping[str, Any], now: datetime) -> Iterator[Due]:
    """The clocks of a recall as its record stands: those of its regime in force on the day it was decided.

    Working days are counted as weekdays with the weekends in between, without holidays.
    """
    decided = datetime.fromisoformat(str(recall["decided_at"]))
    grade, regime = Grade.of(str(recall["grade"])), Regime.of(str(recall["regime"]))
    ended = recall["status"] == "ended"
    for clock in Clock:
        rows = [row for row in TERMS if (row.regime, row.clock) == (regime, clock) and row.since <= decided.date()]
        if not rows:
            continue
        term = max(rows, key=lambda row: row.since)
        done = _moment(recall.get(_DONE[clock]))
        if clock is Clock.FINISH and ended:
            done = datetime.combine(date.fromisoformat(str(recall["status_since"])), datetime.min.time(), UTC)
        start = decided if done is None or clock is not Clock.PROGRESS else done
        by = start + term.within[grade]
        if clock is Clock.PROGRESS:  # due again after each report, until the recall has ended
            yield Due(clock, by, done, not ended and now > by, term.source)
        else:
            yield Due(clock, by, done, (done or now) > by, term.source)


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None


@dataclass(frozen=True, slots=True)
class Held:
    """How many packs stand alike at a node. `held`: they are there; else they left it that way."""

    node: int
    state: State
    held: bool
    count: int


def who_holds(connection: Connection, recall: Mapping[str, Any]) -> list[Held]:
    """Who holds what of the recalled packs at the moment, by node and state. One indexed read for each batch."""
    names = _names(connection, str(recall["product"]))
    question = (
        select(pack.c.node, pack.c.state, pack.c.held, func.count())
        .where(pack.c.product.in_(names))
        .group_by(pack.c.node, pack.c.state, pack.c.held)
        .order_by(pack.c.node, pack.c.state, pack.c.held)
    )
    batches: Sequence[str] | None = recall["batches"]
    if batches:
        question = question.where(pack.c.batch.in_(batches))
    return [Held(node, State(state), held, count) for node, state, held, count in connection.execute(question)]


def _names(connection: Connection, code: str) -> set[str]:
    """All codes of a product: its GTIN and the 7 digits of its trace codes."""
    question = select(product.c.product, product.c.gtin).where((product.c.product == code) | (product.c.gtin == code))
    return {code} | {name for row in connection.execute(question) for name in row if name is not None}


# --- food: by lots ----------------------------------------------------------------------------------

_CITY = Actor("recall", Role.REGULATOR, frozenset(), CITY)
"""Recalls follow goods through every node; what of it whom is shown is decided where it is shown."""


def with_what_was_made(connection: Connection, lots: Iterable[str]) -> list[str]:
    """These lots and all lots that were made of them, as URIs; `UnacceptableRecord` where they are too many.

    A lot of which nothing is recorded stands for itself. Slips are no lots: who bought is nobody to be told here.
    """
    found = dict.fromkeys(uri_of(canonical_key(lot)) for lot in lots)
    for graph in _followed(connection, [canonical_key(lot) for lot in found]):
        found |= dict.fromkeys(uri_of(key) for key in graph.items if _is_lot(key))
        most = RECALL.field("lots").most
        if graph.cut or len(found) > most:
            raise UnacceptableRecord(
                [Breach("lots", f"more than {most} lots were made of these: recall them in parts")]
            )
    return [*found]


def _is_lot(key: Key) -> bool:
    return key.startswith(LOT_URN) or (key.startswith("01/") and "/10/" in key and "/21/" not in key)


def _followed(connection: Connection, lots: Iterable[Key]) -> Iterator[Graph]:
    """Where these lots went; those that were met on the way of another are not followed again."""
    met: set[Key] = set()
    for lot in lots:
        if lot in met:
            continue
        try:
            graph = trace(connection, lot, Direction.FORWARD, _CITY)
        except NotRecorded:
            continue
        met |= graph.items.keys()
        yield graph


@dataclass(slots=True)
class Had:
    """What a node had of recalled lots, in one unit: `left` is there now; the others are what happened with it."""

    node: NodeCode
    unit: str
    amounts: dict[str, Decimal] = field(default_factory=dict)

    def add(self, name: str, quantity: Decimal) -> None:
        """More of one of them."""
        self.amounts[name] = self.amounts.get(name, Decimal(0)) + quantity

    @property
    def out(self) -> Decimal:
        """For how much the node has to answer: what is there, and what it sold or destroyed."""
        return sum((max(Decimal(0), self.amounts.get(name, Decimal(0))) for name in _ANSWERED_FOR), Decimal(0))


GONE = frozenset({State.SUPPLIED, State.EXPORTED, State.STOLEN, State.FREE_SAMPLE, State.CHECKED_OUT})
SAFE = frozenset({State.DESTROYED, State.LOCKED, State.SAMPLED})
"""Recalled packs in these states are out of reach; in those, out of harm's way."""
AMOUNTS = ("received", "made", "shipped", "sold", "destroyed", "used", "left")
_ANSWERED_FOR = ("sold", "destroyed", "left")
_IN = {"receiving": "received", "void_shipping": "received"}
_OUT = {"shipping": "shipped", "retail_selling": "sold", "dispensing": "sold", "destroying": "destroyed"}
"""What an event's step says of goods that come to a node, and of those that leave it; "made" and "used" else."""


def who_had(connection: Connection, recall: Mapping[str, Any]) -> list[Had]:
    """What each node had of the recalled lots, by the events that stand, and what is left there by the balances."""
    lots = {canonical_key(lot) for lot in recall["lots"]}
    found: dict[tuple[int, str], Had] = {}

    def of(holder: str, uom: str) -> Had:
        node, unit = int(holder[:9]), uom or str(Unit.PIECE)
        return found.setdefault((node, unit), Had(NodeCode(node), unit))

    steps = {place: step for graph in _followed(connection, sorted(lots)) for place, step in graph.steps.items()}
    for step in steps.values():
        for move in () if step.in_error else moves_of(step.event, step.node):
            if move.holding.item in lots:
                names, other = (_IN, "made") if move.quantity > 0 else (_OUT, "used")
                had = of(move.holding.holder, move.holding.uom)
                had.add(names.get(step.business_step or "", other), abs(move.quantity))
    for row in connection.execute(select(balance).where(balance.c.item.in_(lots))):
        of(row.holder, row.uom).add("left", row.quantity)
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a node answered, in the unit that balances are kept in."""

    node: NodeCode
    at: datetime
    unit: str
    found: Decimal
    sold: Decimal
    returned: Decimal
    destroyed: Decimal


def answers_to(connection: Connection, recall: str) -> list[Answered]:
    """What the nodes answered to a recall."""
    table = recall_answer
    rows = connection.execute(select(table).where(func.substr(table.c.answer, 11) == recall).order_by(table.c.answer))
    return [_answered(row) for row in rows]


def _answered(row: Any) -> Answered:
    unit = row.unit or str(Unit.PIECE)
    amounts = [
        in_base_unit(given or Decimal(0), unit)[0] for given in (row.found, row.sold, row.returned, row.destroyed)
    ]
    at = datetime.fromisoformat(row.acknowledged_at)
    return Answered(NodeCode(int(row.answer[:9])), at, in_base_unit(Decimal(1), unit)[1], *amounts)


@dataclass(slots=True)
class Effect:
    """How far a recall has come, in one unit: quantities out, and what the nodes say became of them."""

    unit: str
    out: Decimal = Decimal(0)
    found: Decimal = Decimal(0)
    sold: Decimal = Decimal(0)
    returned: Decimal = Decimal(0)
    destroyed: Decimal = Decimal(0)
    accounted: Decimal = Decimal(0)
    """Of each node what it found, sold and sent back, and never more than it had."""


def effects(had: Iterable[Had], answers: Sequence[Answered]) -> list[Effect]:
    """By unit, what is out and what is accounted for. Pure."""
    totals: dict[str, Effect] = {}
    said = {(one.node, one.unit): one for one in answers}
    for one in answers:
        total = totals.setdefault(one.unit, Effect(one.unit))
        total.found, total.sold = total.found + one.found, total.sold + one.sold
        total.returned, total.destroyed = total.returned + one.returned, total.destroyed + one.destroyed
    for node in had:
        total = totals.setdefault(node.unit, Effect(node.unit))
        total.out += node.out
        if (answer := said.get((node.node, node.unit))) is not None:
            total.accounted += min(node.out, answer.found + answer.sold + answer.returned)
    return [totals[unit] for unit in sorted(totals)]
