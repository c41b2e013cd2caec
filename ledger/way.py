"""The way of food to whoever holds its code: of a trace only what lies behind them, never where else the goods went.

A trace backward knows all that happened to a lot, in every market that got some of it. A shopper's slip was made at one
stall: from there the way goes back from receipt to shipment, which are one delivery where they share a paper, a code
on a container, or the parties; else where the lot was sent off only once before. Where none of that holds nothing is
guessed: the way is open there, and goes on at the lot's beginning if that is known.

Sealed parts (who dealt with whom) are read to tell deliveries apart. None of them is in what comes out.
Pure functions of `ledger.trace.Graph`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ledger.codes import CITY, IMPORT, NODE_URN, PARTY_URN, TRACE_URN, node_text
from ledger.documents import Json
from ledger.gs1 import Key, is_digits
from ledger.identifiers import canonical_key
from ledger.index import Action, Role
from ledger.trace import LAST, Graph, Step

STEPS_MAX, THREADS_MAX = 200, 2_000
"""Steps that are told, and lots at places that are followed; beyond it is said that there is more."""
LEAVING = frozenset({"shipping", "departing", "transporting", "consigning", "loading", "staging_outbound"})
COMING = frozenset({"receiving", "arriving", "accepting", "unloading"})
_ELSEWHERE = frozenset({
    "retail_selling", "dispensing", "destroying", "decommissioning", "removing", "stock_taking", "void_shipping",
})  # fmt: skip
"""What happened to the rest of a lot: not to what was sold on this slip."""
_COUNTED = frozenset({"stock_taking", "receiving"})
"""Steps that begin a lot only where nothing else did."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a step was taken: nine digits of a node or a read point's key, and the stall there, if it was one."""

    site: str
    stall: str | None = None

    def covers(self, other: "Seat") -> bool:
        """Whether goods that are at `self` may be what a step at `other` is about."""
        return self.site == other.site and other.stall in (None, self.stall)


def seat_of(step: Step) -> Seat:
    """The seat of a step, from its read point or location, else from the chain that it is in."""
    place = step.event.get("readPoint") or step.event.get("bizLocation") or {}
    name = str(place.get("id", ""))
    for urn in (NODE_URN, PARTY_URN):
        code = name.removeprefix(urn)
        if code != name and len(code) >= 9 and is_digits(code):
            return Seat(code[:9], code if urn == PARTY_URN else _stall(step, code))
    if step.node not in (CITY, IMPORT) or not name:
        return Seat(node_text(step.node))
    return Seat(canonical_key(name))


def _stall(step: Step, node: str) -> str | None:
    """Whose step it was, where its place is the whole node: who took or gave there."""
    side = "destination" if step.business_step in COMING else "source"
    codes = [party.removeprefix(PARTY_URN) for party in _parties(step, side)]
    found = [code for code in codes if len(code) == 13 and code.startswith(node) and not code.endswith("0000")]
    return found[0] if len(found) == 1 else None


@dataclass(slots=True)
class Way:
    """What is told: steps by their place in the ledger, from where to where goods came and when they left, all lots."""

    steps: dict[tuple[int, int], Step] = field(default_factory=dict)
    links: dict[tuple[str, str], datetime] = field(default_factory=dict)
    lots: dict[Key, None] = field(default_factory=dict)
    open: dict[Key, None] = field(default_factory=dict)
    """Lots of which nothing recorded says where they came from."""
    cut: bool = False


def way_to(graph: Graph) -> Way:
    """The way to the code that the trace was asked for."""
    return _Walk(graph).run()


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._way = graph, Way(cut=graph.cut)
        self._waiting: list[tuple[Key, Seat, datetime]] = []
        self._seen: set[tuple[Key, Seat, datetime]] = set()
        self._events: dict[Key, list[Step]] = {}

    def run(self) -> Way:
        start = self._graph.start
        self._way.lots[start] = None
        own = self._of(start)
        sold = [step for step in own if step.has(start, Role.OUTPUT)]
        carried = [step for step in own if step.has(start, Role.CERTIFICATE)]
        if start.startswith(TRACE_URN):
            for step in sold:
                self._made(step)
            for step in carried:
                self._went_with(step)
        else:
            self._begun(start)
        while self._waiting:
            if len(self._seen) > THREADS_MAX or len(self._way.steps) > STEPS_MAX:
                self._way.cut = True
                break
            self._follow(*self._waiting.pop())
        return self._way

    # --- events of goods ---

    def _of(self, key: Key) -> list[Step]:
        """What happened to goods and stands, in the order of time: what befell a container with them in it, too."""
        if key not in self._events:
            keys = dict.fromkeys([key])
            for one in keys.copy():
                keys |= dict.fromkeys(self._around(one, set()))
            places = dict.fromkeys(place for one in keys for place in self._steps_of(one))
            steps = [self._graph.steps[place] for place in places if place in self._graph.steps]
            self._events[key] = sorted((step for step in steps if not step.in_error), key=lambda s: (s.time, s.place))
        return self._events[key]

    def _steps_of(self, key: Key) -> list[tuple[int, int]]:
        item = self._graph.items.get(key)
        return [] if item is None else list(item.steps)

    def _around(self, key: Key, seen: set[Key]) -> Iterator[Key]:
        for place in self._steps_of(key):
            step = self._graph.steps[place]
            for container in step.items(Role.PARENT) if step.has(key, Role.CHILD) else ():
                if container not in seen:
                    seen.add(container)
                    yield container
                    yield from self._around(container, seen)

    # --- the way back ---

    def _tell(self, step: Step) -> None:
        self._way.steps[step.place] = step

    def _wait(self, key: Key, seat: Seat, until: datetime) -> None:
        thread = (key, seat, until)
        if thread not in self._seen:
            self._seen.add(thread)
            self._waiting.append(thread)
            self._way.lots[key] = None

    def _made(self, step: Step) -> None:
        """Goods came out of this: what went in is followed from here."""
        self._tell(step)
        tied = [step]
        for key in step.items(Role.TRANSFORMATION):
            tied += [one for one in self._of(key) if one.items(Role.INPUT)]
        for one in tied:
            self._tell(one)
            for key in one.items(Role.INPUT):
                self._wait(key, seat_of(one), one.time)

    def _went_with(self, step: Step) -> None:
        """The code is that of the paper with a delivery: its two ends, and the goods from where they were sent."""
        self._tell(step)
        for key in step.items(Role.OBJECT, Role.PARENT):
            self._way.lots[key] = None
            if step.business_step in COMING:
                self._came(key, step)
            else:
                self._wait(key, seat_of(step), step.time)

    def _begun(self, key: Key) -> None:
        """A lot or container was asked for, which may be in many places: only its beginning is told."""
        begins = self._beginnings(key)
        if not begins or len({seat_of(step).site for step in begins}) > 1 or self._came_otherwise(key, begins):
            self._way.open[key] = None
            return
        self._begin(key, begins)
        seat = seat_of(begins[0])
        left = [one.time for one in self._of(key) if one.business_step in LEAVING and seat.covers(seat_of(one))]
        self._wait(key, seat, min(left, default=LAST))

    def _came_otherwise(self, key: Key, begins: list[Step]) -> bool:
        """Whether a lot that nobody here made came to others without having been at its first taker."""
        if any(step.business_step not in _COUNTED for step in begins):
            return False
        site = seat_of(begins[0]).site
        others = (one for one in self._of(key) if one.business_step in COMING and seat_of(one).site != site)
        return any(not self._sent(key, one) for one in others)

    def _begin(self, key: Key, begins: list[Step]) -> None:
        for step in begins:
            if step.has(key, Role.PARENT):
                self._tell(step)
                for child in step.items(Role.CHILD):
                    self._wait(child, seat_of(step), step.time)
            else:
                self._made(step)

    def _beginnings(self, key: Key) -> list[Step]:
        """What brought the lot into being; of a container that is used again, the last time that it was filled."""
        found = [step for step in self._of(key) if _makes(step, key)]
        packed = [step for step in found if step.has(key, Role.PARENT)]
        if packed:
            return packed[-1:]
        real = [step for step in found if step.business_step not in _COUNTED]
        return real or found

    def _follow(self, key: Key, seat: Seat, until: datetime) -> None:
        """What happened to the lot at this seat until then, and whence it came there."""
        explained = False
        for step in self._of(key):
            if step.time > until or not seat.covers(seat_of(step)) or step.has(key, Role.INPUT):
                continue
            if _makes(step, key):
                self._begin(key, [step])
                explained = True
            elif step.business_step in COMING:
                explained |= self._came(key, step)
            elif step.business_step not in LEAVING | _ELSEWHERE:
                self._tell(step)
        if not explained:
            self._from_its_beginning(key, seat)

    def _from_its_beginning(self, key: Key, seat: Seat) -> None:
        """How it came here is not recorded, or not clear: the way goes on where the lot began, if that is one place."""
        begins = self._beginnings(key)
        seats = {seat_of(step).site: seat_of(step) for step in begins}
        if len(seats) != 1 or all(step.business_step in _COUNTED for step in begins):
            self._way.open[key] = None
            return
        ((site, there),) = seats.items()
        self._begin(key, begins)
        if site != seat.site:
            self._way.open[key] = None
            self._link(there, seat, begins[0].time)

    def _came(self, key: Key, receipt: Step) -> bool:
        """Tell of a receipt, and go on where it was sent from; False where that is not known."""
        self._tell(receipt)
        sent = self._sent(key, receipt)
        for step in sent:
            self._tell(step)
            self._link(seat_of(step), seat_of(receipt), step.time)
            self._wait(key, seat_of(step), step.time)
        return bool(sent)

    def _sent(self, key: Key, receipt: Step) -> list[Step]:
        """The shipments that a receipt answers."""
        found = [one for one in self._of(key) if one.business_step in LEAVING and one.place != receipt.place]
        same = [one for one in found if _papers(one) & _papers(receipt)]
        if same:
            return same
        before = [one for one in found if one.time <= receipt.time]
        boxes = set(receipt.items(Role.PARENT))
        boxed = [one for one in before if boxes & set(one.items(Role.PARENT, Role.OBJECT))]
        if boxed:
            return boxed[-1:]
        stall = seat_of(receipt).stall
        here = _parties(receipt, "destination") | ({PARTY_URN + stall} if stall else set())
        dealt = [one for one in before if _parties(one, "destination") & here]
        return dealt[-1:] or (before if len(before) == 1 and len(found) == 1 else [])

    def _link(self, giver: Seat, taker: Seat, at: datetime) -> None:
        if giver.site != taker.site:
            known = self._way.links.get((giver.site, taker.site))
            self._way.links[giver.site, taker.site] = at if known is None else max(at, known)


def _makes(step: Step, key: Key) -> bool:
    """Whether the step brings the goods into being."""
    if step.has(key, Role.OUTPUT):
        return True
    added = step.action is Action.ADD and step.event["type"] in ("ObjectEvent", "AggregationEvent")
    return added and step.has(key, Role.OBJECT, Role.PARENT)


def _papers(step: Step) -> set[str]:
    """Slips and documents that go with goods."""
    found = {str(key) for key in step.items(Role.CERTIFICATE) if key.startswith(TRACE_URN)}
    return found | {str(one.get("bizTransaction")) for one in _listed(step, "bizTransactionList")}


def _parties(step: Step, side: str) -> set[str]:
    return {str(one.get(side)) for one in _listed(step, f"{side}List")}


def _listed(step: Step, name: str) -> list[Json]:
    found = step.event.get(name) or []
    return [one for one in found if isinstance(one, dict)]
