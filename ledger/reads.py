"""Reading entries: one by its place, or those of an event id, as far as the reader may see."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Connection,
    Integer,
    LargeBinary,
    Row,
    TableValuedAlias,
    any_,
    column,
    func,
    literal,
    select,
    tuple_,
)

from ledger.access import Actor
from ledger.codes import NodeCode, node_text
from ledger.disclosure import whole
from ledger.documents import read_json
from ledger.drafts import id_key
from ledger.entries import Entry, Kind, actor_name, decode, time_text
from ledger.errors import NotRecorded
from ledger.notes import Recorded
from ledger.tables import entry, event, event_id

Json = dict[str, Any]
STRETCH_MAX = 50_000
"""How many entries of a chain one question looks at."""
_ENTRIES = "SELECT data FROM unnest(%b::int[], %b::bigint[]) AS p(node, seq) JOIN entry USING (node, seq)"


def places_as_rows(places: Iterable[tuple[int, int]]) -> TableValuedAlias:
    """Places (node, sequence) as rows of a table `wanted`, for joins."""
    asked = list(places)
    nodes = literal([node for node, _ in asked], ARRAY(Integer))
    seqs = literal([seq for _, seq in asked], ARRAY(BigInteger))
    both = func.unnest(nodes, seqs).table_valued(column("node", Integer), column("seq", BigInteger))
    return both.render_derived(name="wanted")


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An entry as stored. `salt` and `sealed` are None where nothing is sealed, or it is erased."""

    entry: Entry
    salt: bytes | None
    sealed: bytes | None

    @property
    def place(self) -> Recorded:
        """Where it stands, as a receipt says it."""
        return Recorded(self.entry.node, self.entry.seq, self.entry.hash, time_text(self.entry.record_time))

    @property
    def event(self) -> Json:
        """The event whole, for an entry that is one."""
        event: Json = self.entry.body["event"]
        return whole(event, read_json(self.sealed)) if self.sealed else event


def get_entry(connection: Connection, node: NodeCode, seq: int, actor: Actor) -> ReadEntry:
    """The entry; `NotRecorded` if there is none that `actor` may see: which of the two is not told."""
    question = select(entry.c.data, entry.c.salt, entry.c.sealed).where(entry.c.node == node, entry.c.seq == seq)
    there_could_be = 0 < seq < 1 << 63  # beyond, it is no bigint
    row = connection.execute(question).one_or_none() if there_could_be and actor.may_see(node) else None
    if row is None:
        raise NotRecorded(f"there is no entry {node_text(node)}/{seq} among those that you may see")
    return _read(row)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries of a chain, the latest first. `before`: where to go on; None at the chain's beginning."""

    entries: list[Entry]
    before: int | None


def stretch(
    connection: Connection, node: int, first: int, last: int, *, kinds: Collection[Kind] = (), step: str = "",
    by: str = "", limit: int = 100,
) -> Stretch:  # fmt: skip
    """The latest entries of a chain from `last` back to `first`: of these kinds, this business step, by this actor.

    Each asks nothing where it is empty. It looks at `STRETCH_MAX` entries at most, so that it may find none although
    there are some before; then `before` says where to go on.
    """
    begin = max(first, last - STRETCH_MAX + 1)
    question = select(entry.c.seq, entry.c.data).where(entry.c.node == node, entry.c.seq.between(begin, last))
    if kinds:
        question = question.where(entry.c.kind.in_(sorted(kinds)))
    if by:  # entries have it in their bytes alone
        needle = literal(f'"actor":"{actor_name(by)}"'.encode(), LargeBinary)
        question = question.where(func.position(needle.op("IN")(entry.c.data)) > 0)
    if step:
        question = question.join(event, (event.c.node == entry.c.node) & (event.c.seq == entry.c.seq))
        question = question.where(event.c.business_step == step)
    rows = connection.execute(question.order_by(entry.c.seq.desc()).limit(limit + 1)).all()
    found = [decode(bytes(row.data)) for row in rows[:limit]]
    if len(rows) > limit:
        return Stretch(found, found[-1].seq)
    return Stretch(found, begin if begin > first else None)


def entries_at(connection: Connection, places: Sequence[tuple[int, int]]) -> list[ReadEntry]:
    """The entries at these places (node, sequence), oldest first, for whoever may see all."""
    if not places:
        return []
    question = (
        select(entry.c.data, entry.c.salt, entry.c.sealed)
        .where(tuple_(entry.c.node, entry.c.seq).in_(places))
        .order_by(entry.c.record_time, entry.c.node, entry.c.seq)
    )
    return [_read(row) for row in connection.execute(question)]


def read_entries(connection: psycopg.Connection, places: Sequence[tuple[int, int]]) -> list[Entry]:
    """The same for whoever writes, on the writer's connection, in no order and without what is sealed."""
    asked = [[node for node, _ in places], [seq for _, seq in places]]
    return [decode(data) for (data,) in connection.execute(_ENTRIES, asked, binary=True)]


def entries_of_ids(connection: Connection, names: Sequence[str]) -> list[ReadEntry]:
    """All entries of any kind that are recorded under these ids, oldest first, for whoever may see all."""
    ids = [id_key(name) for name in names]
    found = connection.execute(select(event_id.c.node, event_id.c.seq).where(event_id.c.id.in_(ids))).all()
    return entries_at(connection, [(row.node, row.seq) for row in found])


def in_error(connection: Connection, names: Iterable[str]) -> set[str]:
    """Which of the events with these ids were declared in error."""
    ids = {id_key(name): name for name in names}
    named = event_id.c.id == any_(literal([*ids], ARRAY(LargeBinary)))
    question = select(event_id.c.id).where(named, event_id.c.declaration != 0)
    return {ids[bytes(found)] for found in connection.execute(question).scalars()}


def entries_of_event(connection: Connection, name: str, actor: Actor) -> list[ReadEntry]:
    """The event with this id and its error declarations, oldest first; `NotRecorded` if the actor may see none."""
    found = connection.execute(select(event_id.c.node, event_id.c.seq).where(event_id.c.id == id_key(name))).all()
    places = [(row.node, row.seq) for row in found if actor.may_see(row.node)]
    events = [one for one in entries_at(connection, places) if one.entry.kind is Kind.EVENT]  # ticks have names too
    if not events:
        raise NotRecorded(f"there is no event {name} among those that you may see")
    return events


def _read(row: Row[Any, Any, Any]) -> ReadEntry:
    return ReadEntry(
        decode(bytes(row.data)),
        None if row.salt is None else bytes(row.salt),
        None if row.sealed is None else bytes(row.sealed),
    )
