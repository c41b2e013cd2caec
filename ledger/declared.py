"""Declarations of error: an event that is declared in error moves nothing, however often and in whatever order.

The first declaration takes back what its event moved, read from the event itself and not from what the declaration
repeats of it. A declaration that comes before its event keeps the event from moving anything.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from ledger.balances import Move, moves_of
from ledger.drafts import Draft, EventId, id_key
from ledger.entries import decode

BATCH = 1_000


@dataclass(slots=True)
class Declared:
    """What a batch has to know: which events were declared in error before, and what those moved that are now."""

    before: set[bytes]
    now: set[bytes]
    moved: dict[bytes, tuple[Move, ...]] = field(default_factory=dict)

    def moves(self, draft: Draft) -> Iterable[Move]:
        """What the draft moves, given all that was recorded before it."""
        key = draft.event_id
        if key is None:
            return draft.moves
        if key.id in self.before:
            return ()
        if key.declaration:
            self.before.add(key.id)
            return [move.back for move in self.moved.pop(key.id, ())]
        if key.id in self.now:
            self.moved[key.id] = draft.moves
        return draft.moves


def declared(drafts: Iterable[Draft], known: Mapping[EventId, tuple[int, int, bytes]]) -> tuple[Declared, bool]:
    """What is known of errors before `drafts` are recorded, and whether that is safe from rivals.

    It is where each declaration stands in the chain of its event, whose lock is held. If not, a rival may be recording
    the event, or another declaration, at this moment.
    """
    before = {key.id for key in known if key.declaration}
    now: set[bytes] = set()
    safe = True
    for draft in drafts:
        key = draft.event_id
        if key is not None and key.declaration and key not in known and key.id not in before:
            now.add(key.id)
            event = known.get(EventId(key.id, 0))
            safe &= event is not None and event[0] == draft.node
    return Declared(before, now), safe


def read_moves(
    connection: psycopg.Connection, places: Mapping[bytes, tuple[int, int]], skip: tuple[type[Exception], ...] = ()
) -> dict[bytes, tuple[Move, ...]]:
    """What the events at these places moved, by the ids that the places are given under.

    `skip` are errors for which an entry is passed over: the audit has named it already.
    """
    found = connection.execute(
        "SELECT id, data FROM unnest(%b::bytea[], %b::int[], %b::bigint[]) AS p(id, node, seq) JOIN entry"
        " USING (node, seq)",
        [[*places], [node for node, _ in places.values()], [seq for _, seq in places.values()]],
        binary=True,
    )
    moved: dict[bytes, tuple[Move, ...]] = {}
    for id_, data in found:
        with suppress(*skip):
            entry = decode(data)
            event = entry.body["event"]
            if id_key(event["eventID"]) == id_:
                moved[id_] = tuple(moves_of(event, entry.node))
    return moved


def taken_back(connection: psycopg.Connection, skip: tuple[type[Exception], ...] = ()) -> Iterator[Move]:
    """What declarations took back, in the whole ledger: the moves of every event that was ever declared in error."""
    with connection.cursor("declared", binary=True) as cursor:
        cursor.execute("SELECT DISTINCT id FROM event_id WHERE declaration <> 0")
        while rows := cursor.fetchmany(BATCH):
            found = connection.execute(
                "SELECT id, node, seq FROM event_id WHERE declaration = 0 AND id = ANY(%b)", [[id_ for (id_,) in rows]],
                binary=True,
            )  # fmt: skip
            for moved in read_moves(connection, {id_: (node, seq) for id_, node, seq in found}, skip).values():
                yield from (move.back for move in moved)
