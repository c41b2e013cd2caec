"""The trace of a code: where it came from, where everything made of it went, and what is missing from the chain.

A step takes two indexed reads whatever its width: which entries speak of these items (`item_entry`), then those
entries. What is shown comes from the hashed bytes. The event is the hub between what went in and what came out.

How goods are followed:
* backward through an output to the inputs of that event, forward through an input to its outputs; a
  transformationID ties the inputs and outputs of several events together;
* into a container for what happens to it between ADD and DELETE: then its ways are the goods' ways, but whatever else
  is in it is not; so a reused crate does not join unrelated goods;
* from a container to its contents, if the container itself was asked for or was consumed;
* a class of goods (a GTIN without lot or serial) is shown and never followed: it would join unrelated goods;
* an event declared in error is shown and not followed.

The first half is pure; the reads are at the end.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, Integer, LargeBinary, Text, any_, column, func, literal, select

from ledger.access import Actor
from ledger.disclosure import whole
from ledger.documents import read_json
from ledger.drafts import id_key
from ledger.entries import Kind, decode
from ledger.errors import NotRecorded
from ledger.identifiers import Key, identifies_goods_closely
from ledger.index import Action, Mention, Role, columns, mentions
from ledger.tables import entry, event_id, item_entry

Json = dict[str, Any]

DEPTH_MAX = 100
EVENTS_MAX = 20_000
ROWS_MAX = 200_000
ALWAYS = datetime.max.replace(tzinfo=UTC)


class Direction(StrEnum):
    """Which way to follow."""

    BACKWARD = "backward"
    FORWARD = "forward"
    BOTH = "both"


class Reason(StrEnum):
    """Why the trace ends where it ends."""

    NO_ORIGIN = "no_origin"
    """Nothing recorded says where this came from."""
    NOT_RECEIVED = "not_received"
    """It was shipped, and nobody has received it."""
    HELD = "held"
    """Nothing says that it was sold, consumed or destroyed: it is where it was seen last."""
    LIMIT = "limit"
    """The trace was cut here: ask from this item on."""


@dataclass(slots=True)
class Step:
    """One event of the trace, from its entry. `event` is whole where the reader may see it, else its open part."""

    node: int
    seq: int
    hash: bytes
    record_time: datetime
    event: Json
    is_whole: bool
    mentions: list[Mention]
    time: datetime
    action: Action
    business_step: str | None
    in_error: bool = False

    @property
    def place(self) -> tuple[int, int]:
        return self.node, self.seq

    def items(self, *roles: Role) -> list[Key]:
        """The items in these roles, each once."""
        return list(dict.fromkeys(mention.key for mention in self.mentions if mention.role in roles))


@dataclass(slots=True)
class Item:
    """One lot, pack or container of the trace: how many steps from the code asked for, and its events."""

    key: Key
    level: int
    steps: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OpenEnd:
    """Where the chain of records ends, in which direction, and why."""

    item: Key
    direction: Direction
    reason: Reason
    last: tuple[int, int] | None


@dataclass(slots=True)
class Graph:
    """A trace: items and the events that tie them, open ends, and whether it had to be cut."""

    start: Key
    steps: dict[tuple[int, int], Step] = field(default_factory=dict)
    items: dict[Key, Item] = field(default_factory=dict)
    open_ends: list[OpenEnd] = field(default_factory=list)
    cut: bool = False


class Row(NamedTuple):
    """A row of `item_entry`."""

    item: Key
    node: int
    seq: int
    role: int
    action: int
    event_time: datetime


class _Reads(NamedTuple):
    """How the pure part asks: rows of items, and the events behind them."""

    rows: Callable[[Iterable[Key]], list[Row]]
    steps: Callable[[Iterable[tuple[int, int]]], list[Step]]


class _Stay(NamedTuple):
    """Goods were in this container from one time to another."""

    container: Key
    since: datetime
    until: datetime


_CONSUMED = frozenset({"retail_selling", "dispensing", "destroying", "decommissioning", "killing"})
_LEAVING = frozenset({"shipping", "departing", "transporting", "consigning"})


class _Walk:
    """One direction of a trace, level by level."""

    def __init__(self, graph: Graph, direction: Direction, reads: _Reads, known: dict[Key, list[Row]]) -> None:
        self._graph, self._direction, self._reads, self._known = graph, direction, reads, known
        self._sign = -1 if direction is Direction.BACKWARD else 1
        self.visited: dict[Key, datetime | None] = {}
        """Goods followed, and the moment for which a container's contents count (None: always)."""
        self._stays: set[tuple[_Stay, int]] = set()

    def run(self, starts: Iterable[Key]) -> None:
        frontier: dict[Key, datetime | None] = dict.fromkeys(starts)
        for level in range(DEPTH_MAX + 1):
            frontier = {key: at for key, at in frontier.items() if key not in self.visited}
            if not frontier or self._graph.cut:
                return
            if level == DEPTH_MAX or len(self._graph.steps) > EVENTS_MAX:
                self._graph.cut = True
                self._end(frontier, Reason.LIMIT)
                return
            self.visited |= frontier
            self._read(frontier)
            following: dict[Key, datetime | None] = {}
            for key, at in frontier.items():
                self._graph.items.setdefault(key, Item(key, level * self._sign))
                for next_key, moment in self._follow(key, at, level):
                    following.setdefault(next_key, moment)
            frontier = following

    def _end(self, keys: Iterable[Key], reason: Reason) -> None:
        self._graph.open_ends += [OpenEnd(key, self._direction, reason, None) for key in keys]

    def _read(self, keys: Iterable[Key]) -> None:
        """The rows of these items, each read once, and the events behind them that lie on this way.

        Where goods of a lot went otherwise says nothing of where they came from, and the other way round.
        """
        keys = list(keys)
        new = [key for key in keys if key not in self._known]
        rows = self._reads.rows(new)
        self._graph.cut |= len(rows) >= ROWS_MAX
        self._known |= {key: [] for key in new}
        for row in rows:
            self._known[row.item].append(row)
        off_way = Role.INPUT if self._direction is Direction.BACKWARD else Role.OUTPUT
        places = {(row.node, row.seq) for key in keys for row in self._known[key] if row.role != off_way}
        for step in self._reads.steps(sorted(places - self._graph.steps.keys())[: EVENTS_MAX + 1]):
            self._graph.steps[step.place] = step

    def _valid(self, key: Key) -> Iterator[tuple[Row, Step]]:
        """The item's events that stand, in the order in which they happened."""
        for row in sorted(self._known[key], key=lambda row: (row.event_time, row.node, row.seq)):
            step = self._graph.steps.get((row.node, row.seq))
            if step is not None:
                self._remember(key, step)
                if not step.in_error:
                    yield row, step

    def _remember(self, key: Key, step: Step) -> None:
        steps = self._graph.items[key].steps
        if step.place not in steps:
            steps.append(step.place)

    def _follow(self, key: Key, at: datetime | None, level: int) -> Iterator[tuple[Key, datetime | None]]:
        """The goods one step further from `key`."""
        rows = list(self._valid(key))
        for row, step in rows:
            yield from self._through(Role(row.role), step)
        yield from self._contents(rows, at)
        yield from self._carried(_stays(rows), level)

    def _through(self, role: Role, step: Step) -> Iterator[tuple[Key, datetime | None]]:
        """Goods on the other side of an event, as far as they are lots or packs."""
        near, far = (Role.OUTPUT, Role.INPUT) if self._direction is Direction.BACKWARD else (Role.INPUT, Role.OUTPUT)
        roles: tuple[Role, ...] = ()
        if role is near:
            roles = (far, Role.TRANSFORMATION)
        elif role is Role.TRANSFORMATION:
            roles = (far,)
        elif role is Role.CERTIFICATE:
            roles = (Role.OBJECT, Role.CHILD, Role.INPUT, Role.OUTPUT, Role.PARENT)
        for key in step.items(*roles):
            if identifies_goods_closely(key):
                yield key, step.time

    def _contents(self, rows: list[tuple[Row, Step]], at: datetime | None) -> Iterator[tuple[Key, datetime | None]]:
        """What was in a container that was asked for, or in it `at` the moment when it was consumed."""
        added = [(step, key) for row, step in rows if row.role == Role.PARENT for key in step.items(Role.CHILD)]
        for step, key in added:
            if step.action is Action.DELETE or not identifies_goods_closely(key):
                continue
            taken_out = min((out.time for out in _removals(rows, key) if out.time >= step.time), default=ALWAYS)
            if at is None or step.time <= at < taken_out:
                yield key, None if at is None else step.time

    def _carried(self, stays: Iterable[_Stay], level: int) -> Iterator[tuple[Key, datetime | None]]:
        """What happened to the containers while the goods were in them; containers in containers too."""
        waiting = list(stays)
        while waiting:
            waiting = [stay for stay in waiting if (stay, level) not in self._stays]
            self._stays |= {(stay, level) for stay in waiting}
            self._read({stay.container for stay in waiting})
            outer: list[_Stay] = []
            for stay in waiting:
                self._graph.items.setdefault(stay.container, Item(stay.container, level * self._sign))
                rows = [
                    (row, step) for row, step in self._valid(stay.container) if stay.since <= step.time <= stay.until
                ]
                for row, step in rows:
                    if row.role in (Role.INPUT, Role.OUTPUT):
                        yield from self._through(Role(row.role), step)
                outer += [_Stay(s.container, max(s.since, stay.since), min(s.until, stay.until)) for s in _stays(rows)]
            waiting = [stay for stay in outer if stay.since <= stay.until]


def _removals(rows: list[tuple[Row, Step]], key: Key) -> Iterator[Step]:
    """Events that take `key` out of the container; one without children takes out everything."""
    for row, step in rows:
        if row.role == Role.PARENT and step.action is Action.DELETE:
            children = step.items(Role.CHILD)
            if not children or key in children:
                yield step


def _stays(rows: list[tuple[Row, Step]]) -> list[_Stay]:
    """In which containers an item was, from its own events: ADD opens a stay, DELETE ends it, OBSERVE is a moment."""
    open_since: dict[Key, datetime] = {}
    stays: list[_Stay] = []
    for row, step in rows:
        if row.role != Role.CHILD:
            continue
        for container in step.items(Role.PARENT):
            if step.action is Action.ADD:
                open_since.setdefault(container, step.time)
            elif step.action is Action.DELETE:
                stays.append(_Stay(container, open_since.pop(container, step.time), step.time))
            elif container not in open_since:
                stays.append(_Stay(container, step.time, step.time))
    return stays + [_Stay(container, since, ALWAYS) for container, since in open_since.items()]


def _open_ends(graph: Graph, backward: Iterable[Key], forward: Iterable[Key]) -> Iterator[OpenEnd]:
    for key in backward:
        steps = _standing(graph, key)
        if steps and not any(_produces(step, key) for step in steps):
            yield OpenEnd(key, Direction.BACKWARD, Reason.NO_ORIGIN, steps[0].place)
    for key in forward:
        steps = _standing(graph, key)
        if not steps or any(key in step.items(Role.INPUT) for step in steps):
            continue
        last = _last(graph, key, steps)
        if last.action is not Action.DELETE and last.business_step not in _CONSUMED:
            reason = Reason.NOT_RECEIVED if last.business_step in _LEAVING else Reason.HELD
            yield OpenEnd(key, Direction.FORWARD, reason, last.place)


def _standing(graph: Graph, key: Key) -> list[Step]:
    """The item's valid events in which it is goods, in order of time."""
    if not identifies_goods_closely(key) or key not in graph.items:
        return []
    steps = [graph.steps[place] for place in graph.items[key].steps]
    goods = [step for step in steps if not step.in_error and key in step.items(*_GOODS)]
    return sorted(goods, key=lambda step: (step.time, step.place))


_GOODS = (Role.OBJECT, Role.PARENT, Role.CHILD, Role.INPUT, Role.OUTPUT)


def _produces(step: Step, key: Key) -> bool:
    created = step.event["type"] == "ObjectEvent" and step.action is Action.ADD and key in step.items(Role.OBJECT)
    packed = step.action is Action.ADD and key in step.items(Role.PARENT)
    return created or packed or key in step.items(Role.OUTPUT)


def _last(graph: Graph, key: Key, steps: list[Step]) -> Step:
    """The last that is known of goods: their own last event, or their container's while they are in it."""
    last = steps[-1]
    rows = [
        (Row(key, *step.place, Role.CHILD, step.action, step.time), step)
        for step in steps
        if key in step.items(Role.CHILD)
    ]
    for stay in _stays(rows):
        if stay.until == ALWAYS and stay.container in graph.items:
            inside = [step for step in _standing(graph, stay.container) if step.time >= stay.since]
            last = max([last, *inside], key=lambda step: (step.time, step.place))
    return last


def walk(start: Key, starts: Iterable[Key], direction: Direction, reads: _Reads) -> Graph:
    """The graph around `starts` (the code asked for, or the goods of the event or certificate that it names)."""
    graph = Graph(start)
    known: dict[Key, list[Row]] = {}
    starts = list(starts)
    visited: dict[Direction, Iterable[Key]] = {Direction.BACKWARD: (), Direction.FORWARD: ()}
    for way in visited:
        if direction in (way, Direction.BOTH):
            one = _Walk(graph, way, reads, known)
            one.run(starts)
            visited[way] = one.visited
    graph.open_ends += _open_ends(graph, visited[Direction.BACKWARD], visited[Direction.FORWARD])
    return graph


# --- reads ----------------------------------------------------------------------------------------


def trace(connection: Connection, start: Key, direction: Direction, actor: Actor) -> Graph:
    """The trace of a code, as far as `actor` may see; `NotRecorded` where nothing speaks of it.

    Who does not see everything can trace what occurs in entries of their own nodes: those whole, others' open parts.
    """
    reads = _Reads(lambda keys: _rows(connection, keys), lambda places: _steps(connection, places, actor))
    starts = [start]
    rows = reads.rows(starts)
    if not rows:
        named = _event_named(connection, start)
        starts = [key for step in reads.steps(named) for key in step.items(*_GOODS)]
        rows = reads.rows(starts)
    if not rows or not (actor.sees_all or any(actor.may_see(row.node) for row in rows)):
        raise NotRecorded(f"nothing is recorded about {start}")
    return walk(start, starts, direction, reads)


def _rows(connection: Connection, keys: Iterable[Key]) -> list[Row]:
    """Which entries speak of these items?"""
    table = item_entry
    question = (
        select(table.c.item, table.c.node, table.c.seq, table.c.role, table.c.action, table.c.event_time)
        .where(table.c.item == any_(literal(list(keys), ARRAY(Text))))
        .limit(ROWS_MAX)
    )
    return [Row(*row) for row in connection.execute(question)]


def _event_named(connection: Connection, uri: Key) -> list[tuple[int, int]]:
    """Where is the event with this id recorded?"""
    question = select(event_id.c.node, event_id.c.seq).where(event_id.c.id == id_key(uri))
    return [(row.node, row.seq) for row in connection.execute(question)]


def _steps(connection: Connection, places: Iterable[tuple[int, int]], actor: Actor) -> list[Step]:
    """The events at these places, from the hashed bytes, sealed parts joined where the actor may see them."""
    places = list(places)
    if not places:
        return []
    nodes = literal([node for node, _ in places], ARRAY(Integer))
    seqs = literal([seq for _, seq in places], ARRAY(BigInteger))
    wanted = (
        func.unnest(nodes, seqs)
        .table_valued(column("node", Integer), column("seq", BigInteger))
        .render_derived(name="wanted")
    )
    question = (
        select(entry.c.hash, entry.c.data, entry.c.sealed)
        .join_from(entry, wanted, (entry.c.node == wanted.c.node) & (entry.c.seq == wanted.c.seq))
        .where(entry.c.kind == Kind.EVENT)
    )
    steps = [_step(bytes(row.hash), bytes(row.data), row.sealed, actor) for row in connection.execute(question)]
    declared = _declared_in_error(connection, {step.event["eventID"] for step in steps})
    for step in steps:
        step.in_error = "errorDeclaration" in step.event or step.event["eventID"] in declared
    return steps


def _step(hash_: bytes, data: bytes, sealed: bytes | None, actor: Actor) -> Step:
    found = decode(data)
    event, may_see = found.body["event"], actor.may_see(found.node)
    c = columns(event)
    if may_see and sealed is not None:
        event = whole(event, read_json(bytes(sealed)))
    is_whole = may_see and (sealed is not None or found.commitment is None)
    named = list(mentions(event))
    return Step(
        found.node, found.seq, hash_, found.record_time, event, is_whole, named, c.event_time, c.action, c.business_step
    )


def _declared_in_error(connection: Connection, names: set[str]) -> set[str]:
    """Which of these events were declared in error later?"""
    by_key = {id_key(name): name for name in names}
    question = select(event_id.c.id).where(
        event_id.c.id == any_(literal(list(by_key), ARRAY(LargeBinary))), event_id.c.declaration != 0
    )
    return {by_key[bytes(key)] for key in connection.execute(question).scalars()}
