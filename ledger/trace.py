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

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, Connection, LargeBinary, Text, any_, literal, select

from ledger.access import Actor
from ledger.disclosure import of_partner, whole
from ledger.documents import read_json
from ledger.drafts import id_key
from ledger.entries import Kind, decode
from ledger.errors import NotRecorded, UnreadableCode
from ledger.gs1 import Key
from ledger.identifiers import identifies_goods_closely
from ledger.index import Action, Mention, Role, columns, mentions
from ledger.reads import places_as_rows
from ledger.tables import entry, event_id, item_entry

Json = dict[str, Any]

DEPTH_MAX = 100
EVENTS_MAX = 20_000
ROWS_MAX = 200_000
_UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # PostgreSQL takes neither NUL nor lone surrogates


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
    by_role: dict[Role, dict[Key, None]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_role = {}
        for mention in self.mentions:
            self.by_role.setdefault(mention.role, {})[mention.key] = None

    @property
    def place(self) -> tuple[int, int]:
        return self.node, self.seq

    def items(self, *roles: Role) -> list[Key]:
        """The items in these roles, each once."""
        return list(dict.fromkeys(key for role in roles for key in self.by_role.get(role, ())))

    def has(self, key: Key, *roles: Role) -> bool:
        """Whether `key` stands in one of these roles."""
        return any(key in self.by_role.get(role, ()) for role in roles)


@dataclass(slots=True)
class Item:
    """One lot, pack or container of the trace: how many steps from the code asked for, and its events, each once."""

    key: Key
    level: int
    steps: dict[tuple[int, int], None] = field(default_factory=dict)


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

    @property
    def place(self) -> tuple[int, int]:
        return self.node, self.seq


class _Reads(NamedTuple):
    """How the pure part asks: rows of items, and the events behind them."""

    rows: Callable[[Iterable[Key]], list[Row]]
    steps: Callable[[Iterable[tuple[int, int]]], list[Step]]


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)


class _During(NamedTuple):
    """From one moment to another, both included; empty where the second is before the first."""

    since: datetime
    until: datetime

    def within(self, other: "_During") -> "_During":
        return _During(max(self.since, other.since), min(self.until, other.until))

    @property
    def and_its_end(self) -> "_During":
        """The event that ended it included."""
        return self if self.until == LAST else self._replace(until=self.until + _INSTANT)


_ALWAYS = _During(FIRST, LAST)


_Found = tuple[Key, _During]
"""An item, and for how long: goods and when a container's contents count; a container and when goods were in it."""

_CONSUMED = frozenset({"retail_selling", "dispensing", "destroying", "decommissioning", "killing"})
_LEAVING = frozenset({"shipping", "departing", "transporting", "consigning"})


class _Walk:
    """One direction of a trace, level by level."""

    def __init__(self, graph: Graph, direction: Direction, reads: _Reads, known: dict[Key, list[Row]]) -> None:
        self._graph, self._direction, self._reads, self._known = graph, direction, reads, known
        self._sign = -1 if direction is Direction.BACKWARD else 1
        self._cut = False
        self._crossed: set[tuple[tuple[int, int], tuple[Role, ...]]] = set()
        self._stays: set[tuple[Key, _During, int]] = set()
        self._aside: dict[tuple[int, int], Step] = {}
        self.visited: dict[Key, set[_During]] = {}
        """Goods followed, and for which times their contents were."""
        self.limited: dict[Key, None] = {}
        """Goods that were not followed to their end."""
        self.open_stays: dict[Key, list[_Found]] = {}
        """In which containers goods still are, as far as the records say."""

    def run(self, starts: Iterable[Key]) -> None:
        frontier: dict[_Found, None] = dict.fromkeys((key, _ALWAYS) for key in starts)
        for level in range(DEPTH_MAX + 1):
            frontier = {f: None for f in frontier if {f[1], _ALWAYS}.isdisjoint(self.visited.get(f[0], ()))}
            if not frontier:
                break
            if level == DEPTH_MAX or self._cut:
                self._cut = True
                self.limited |= dict.fromkeys(key for key, _ in frontier)
                break
            self._read((key, _ALWAYS) for key, _ in frontier if key not in self.visited)
            following: dict[_Found, None] = {}
            for key, during in frontier:
                following |= dict.fromkeys(self._follow(key, during, level))
                self.visited.setdefault(key, set()).add(during)
            frontier = following
        self._graph.cut |= self._cut
        self._graph.open_ends += [OpenEnd(key, self._direction, Reason.LIMIT, None) for key in self.limited]

    def _read_rows(self, keys: Iterable[Key]) -> None:
        """The rows of these items, each read once, in the order in which things happened."""
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        rows = self._reads.rows(new) if new else []
        if len(rows) >= ROWS_MAX:
            self._cut = True
            self.limited |= dict.fromkeys(new)
        self._known |= {key: [] for key in new}
        for row in sorted(rows, key=lambda row: (row.event_time, row.node, row.seq)):
            self._known[row.item].append(row)

    def _read(self, wanted: Iterable[_Found]) -> None:
        """The events of these items at these times, as far as they lie on this way.

        Where goods of a lot went otherwise says nothing of where they came from, and the other way round.
        """
        wanted = list(wanted)
        self._read_rows(key for key, _ in wanted)
        off_way = Role.INPUT if self._direction is Direction.BACKWARD else Role.OUTPUT
        rows = [
            row
            for key, during in wanted
            for row in self._known[key]
            if row.role != off_way and during.since <= row.event_time <= during.until
        ]
        new = sorted({row.place for row in rows} - self._graph.steps.keys())
        room = EVENTS_MAX - len(self._graph.steps)
        self._graph.steps |= {step.place: step for step in self._reads.steps(new[:room])}
        if beyond := set(new[room:]):
            self._cut = True
            self.limited |= {row.item: None for row in rows if row.place in beyond}

    def _valid(self, key: Key, during: _During) -> Iterator[tuple[Row, Step]]:
        """The item's events of this time that stand, in the order in which they happened; all are remembered."""
        for row in self._known[key]:
            step = self._graph.steps.get(row.place)
            if step is not None and during.since <= row.event_time <= during.until:
                self._graph.items[key].steps[step.place] = None
                if not step.in_error:
                    yield row, step

    def _follow(self, key: Key, during: _During, level: int) -> Iterator[_Found]:
        """The goods one step further from `key`."""
        self._graph.items.setdefault(key, Item(key, level * self._sign))
        rows = list(self._valid(key, _ALWAYS))
        if not identifies_goods_closely(key):
            return
        yield from self._contents(rows, during)
        if key in self.visited:
            return
        for row, step in rows:
            yield from self._through(Role(row.role), step)
        yield from self._carried(key, rows, level)

    def _through(self, role: Role, step: Step) -> Iterator[_Found]:
        """Goods on the other side of an event, as far as they are lots or packs; each event is crossed once."""
        near, far = (Role.OUTPUT, Role.INPUT) if self._direction is Direction.BACKWARD else (Role.INPUT, Role.OUTPUT)
        roles: tuple[Role, ...] = ()
        if role is near:
            roles = (far, Role.TRANSFORMATION)
        elif role in (Role.TRANSFORMATION, Role.CERTIFICATE):
            roles = (far,) if role is Role.TRANSFORMATION else _GOODS
        if (step.place, roles) in self._crossed:
            return
        self._crossed.add((step.place, roles))
        for key in step.items(*roles):
            if identifies_goods_closely(key):
                yield key, _During(step.time, step.time)

    def _contents(self, rows: list[tuple[Row, Step]], during: _During) -> Iterator[_Found]:
        """What was in a container at a time: at any, if it was asked for; the moment when it was consumed, if not."""
        for key, inside in _together(rows, Role.PARENT, Role.CHILD):
            both = inside.within(during)
            if both.since <= both.until and identifies_goods_closely(key):
                yield key, both

    def _carried(self, key: Key, rows: list[tuple[Row, Step]], level: int) -> Iterator[_Found]:
        """What happened to the containers while the goods were in them; containers in containers too."""
        waiting = [(key, *stay) for stay in _together(rows, Role.CHILD, Role.PARENT)]
        while waiting:
            waiting = list(self._until_emptied(waiting, level))
            self._read((container, stay.and_its_end) for _, container, stay in waiting)
            outer: list[tuple[Key, Key, _During]] = []
            for inner, container, stay in waiting:
                if stay.until == LAST:
                    self.open_stays.setdefault(inner, []).append((container, stay))
                self._graph.items.setdefault(container, Item(container, level * self._sign))
                for row, step in list(self._valid(container, stay.and_its_end)):
                    if row.role in (Role.INPUT, Role.OUTPUT) and step.time <= stay.until:
                        yield from self._through(Role(row.role), step)
                for further, while_ in _together(self._aside_rows(container, Role.CHILD), Role.CHILD, Role.PARENT):
                    outer.append((container, further, while_.within(stay)))
            waiting = outer

    def _until_emptied(self, waiting: list[tuple[Key, Key, _During]], level: int) -> Iterator[tuple[Key, Key, _During]]:
        """Stays not seen before, ended where the whole container was emptied: such an event names no contents."""
        waiting = [one for one in waiting if one[2].since <= one[2].until and identifies_goods_closely(one[1])]
        self._read_rows(container for _, container, _ in waiting)
        self._read_aside({container for _, container, _ in waiting})
        for inner, container, stay in waiting:
            ends = [
                step.time - _INSTANT
                for row, step in self._aside_rows(container, Role.PARENT)
                if stay.since < step.time <= stay.until and not step.items(Role.CHILD)
            ]
            found = stay._replace(until=min(ends, default=stay.until))
            if (container, found, level) not in self._stays:
                self._stays.add((container, found, level))
                yield inner, container, found

    def _read_aside(self, containers: Iterable[Key]) -> None:
        """What emptied these containers, and what they were in: not for the graph, which shows the goods' time only."""
        rows = [row for key in containers for row in self._known[key]]
        places = {row.place for row in rows if row.role == Role.CHILD or row.action == Action.DELETE}
        new = sorted(places - self._aside.keys())[:EVENTS_MAX]
        self._aside |= {step.place: step for step in self._reads.steps(new)}

    def _aside_rows(self, container: Key, role: Role) -> list[tuple[Row, Step]]:
        found = [(row, self._aside[row.place]) for row in self._known[container] if row.place in self._aside]
        return [(row, step) for row, step in found if row.role == role and not step.in_error]


def _together(rows: list[tuple[Row, Step]], role: Role, other: Role) -> Iterator[_Found]:
    """What was in a container, or what an item was in, and for how long, from its own events.

    ADD begins it, DELETE ends it (one that names no contents ends all), OBSERVE is a moment.
    """
    since: dict[Key, datetime] = {}
    for row, step in rows:
        if row.role != role:
            continue
        others = step.items(other)
        if step.action is Action.ADD:
            for key in others:
                since.setdefault(key, step.time)
        elif step.action is Action.DELETE:
            for key in others or list(since):
                if key in since:
                    yield key, _During(since.pop(key), step.time - _INSTANT)
        else:
            yield from ((key, _During(step.time, step.time)) for key in others if key not in since)
    yield from ((key, _During(at, LAST)) for key, at in since.items())


_GOODS = (Role.OBJECT, Role.PARENT, Role.CHILD, Role.INPUT, Role.OUTPUT)


def _open_ends(graph: Graph, walks: dict[Direction, _Walk]) -> Iterator[OpenEnd]:
    """Where the chain of records ends, for goods that were followed to their end."""
    for direction, one in walks.items():
        for key in one.visited:
            steps = _standing(graph, key)
            if not steps or key in one.limited:
                continue
            if direction is Direction.BACKWARD:
                if not any(_produces(step, key) for step in steps):
                    yield OpenEnd(key, direction, Reason.NO_ORIGIN, steps[0].place)
            elif not any(step.has(key, Role.INPUT) for step in steps):
                last = _last(graph, key, one, FIRST, set())
                if last is not None and last.action is not Action.DELETE and last.business_step not in _CONSUMED:
                    reason = Reason.NOT_RECEIVED if last.business_step in _LEAVING else Reason.HELD
                    yield OpenEnd(key, direction, reason, last.place)


def _standing(graph: Graph, key: Key) -> list[Step]:
    """The item's valid events in which it is goods, in order of time."""
    if not identifies_goods_closely(key) or key not in graph.items:
        return []
    steps = [graph.steps[place] for place in graph.items[key].steps]
    goods = [step for step in steps if not step.in_error and step.has(key, *_GOODS)]
    return sorted(goods, key=lambda step: (step.time, step.place))


def _produces(step: Step, key: Key) -> bool:
    created = step.event["type"] == "ObjectEvent" and step.action is Action.ADD and step.has(key, Role.OBJECT)
    packed = step.action is Action.ADD and step.has(key, Role.PARENT)
    return created or packed or step.has(key, Role.OUTPUT)


def _last(graph: Graph, key: Key, walked: _Walk, since: datetime, asked: set[Key]) -> Step | None:
    """The last that is known of goods: their own last event, or their container's while they are in it."""
    asked.add(key)
    found = [step for step in _standing(graph, key) if step.time >= since][-1:]
    for container, stay in walked.open_stays.get(key, ()):
        if container not in asked:
            last = _last(graph, container, walked, max(since, stay.since), asked)
            found += [last] if last else []
    return max(found, key=lambda step: (step.time, step.place), default=None)


def walk(start: Key, starts: Iterable[Key], direction: Direction, reads: _Reads) -> Graph:
    """The graph around `starts` (the code asked for, or the goods of the event or certificate that it names)."""
    graph, known, starts = Graph(start), dict[Key, list[Row]](), list(starts)
    ways = (Direction.BACKWARD, Direction.FORWARD) if direction is Direction.BOTH else (direction,)
    walks = {way: _Walk(graph, way, reads, known) for way in ways}
    for one in walks.values():
        one.run(starts)
        if graph.cut:
            known.clear()  # the other way meets the limits itself, and says where
    graph.open_ends += _open_ends(graph, walks)
    return graph


# --- reads ----------------------------------------------------------------------------------------


def trace(connection: Connection, start: Key, direction: Direction, actor: Actor) -> Graph:
    """The trace of a code, as far as `actor` may see; `NotRecorded` where nothing speaks of it.

    Who does not see everything can trace what occurs in entries of their own nodes: those whole, others' open parts,
    and of a step that a partner took with them who dealt and under which paper.
    Of a whole class of goods they see their own entries only, since everybody knows its code.
    """
    if _UNSTORABLE.search(start):
        raise UnreadableCode("code", start, "it holds a character that no code has")
    reads = _Reads(lambda keys: _rows(connection, keys, actor), lambda places: _steps(connection, places, actor))
    rows = reads.rows([start])
    id_of = select(event_id.c.node, event_id.c.seq).where(event_id.c.id == id_key(start))
    named = [] if rows else reads.steps((row.node, row.seq) for row in connection.execute(id_of))
    starts = list(dict.fromkeys(key for step in named for key in step.items(*_GOODS))) if named else [start]
    nodes = {row.node for row in rows or reads.rows(starts)} | {step.node for step in named}
    if not any(actor.may_see(node) for node in nodes):
        raise NotRecorded(f"nothing is recorded about {start}")
    graph = walk(start, starts, direction, reads)
    graph.steps = {step.place: step for step in named} | graph.steps
    return graph


def _rows(connection: Connection, keys: Iterable[Key], actor: Actor) -> list[Row]:
    """Which entries speak of these items?"""
    table = item_entry
    question = (
        select(table.c.item, table.c.node, table.c.seq, table.c.role, table.c.action, table.c.event_time)
        .where(table.c.item == any_(literal(list(keys), ARRAY(Text))))
        .limit(ROWS_MAX)
    )
    rows = [Row(*row) for row in connection.execute(question)]
    return [row for row in rows if actor.may_see(row.node) or identifies_goods_closely(row.item)]


def _steps(connection: Connection, places: Iterable[tuple[int, int]], actor: Actor) -> list[Step]:
    """The events at these places, from the hashed bytes, sealed parts joined where the actor may see them."""
    places = list(places)
    if not places:
        return []
    wanted = places_as_rows(places)
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
    c, named = columns(event), list(mentions(event))
    if may_see and sealed is not None:
        event = whole(event, read_json(bytes(sealed)))
    elif sealed is not None:
        event = whole(event, of_partner(read_json(bytes(sealed)), actor.may_see))
    is_whole = may_see and (sealed is not None or found.commitment is None)
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
