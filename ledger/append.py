"""The one write path: requests go in, entries and their places come out.

Nothing else in Suyuan inserts, updates or deletes ledger rows, but the integrator its own (`ledger/log.py`) and the
eraser sealed columns (`ledger/erase.py`). `ledger/lanes.py` gathers requests and calls `append`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ledger import rows
from ledger.balances import Holding, Move, added, goods_of
from ledger.declared import Declared, declared, read_moves
from ledger.documents import read_json
from ledger.drafts import Draft, EventId, with_outcome
from ledger.entries import GENESIS, Kind, encode, hash_of, time_text
from ledger.errors import Busy, Conflict, LedgerDamaged, LedgerError, NotEnough
from ledger.gs1 import Key
from ledger.notes import Recorded
from ledger.packs.positions import Positions
from ledger.tables import metadata

Json = dict[str, Any]
Clock = Callable[[], datetime]
Outcome = list[Recorded] | LedgerError

CHAIN_LOCKS = 0x5359
"""The class of advisory locks that chains are taken by; the number within it is the node."""
EVERYTHING = -1
"""In that class: shared by whoever records, held alone by whoever must know what all others record."""
ATTEMPTS_MAX = 8
_TAKE_SHARED, _TAKE_ALL = "SELECT pg_advisory_xact_lock_shared(%s, %s)", "SELECT pg_advisory_xact_lock(%s, %s)"
_KIND_NAMES = {kind: kind.name.lower() for kind in Kind}


@dataclass(frozen=True, slots=True)
class Change:
    """A registry row's next state. It is written only if the row is still at the version before.

    `table` has a `version`, which counts from 1; `row` holds every column, as JSON. `tokens` is what the blind index
    finds it by; None where it is found by its columns.
    """

    table: str
    row: Json
    tokens: Sequence[int] | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(self.row[column]) for column in _key_columns(self.table))

    @property
    def subject(self) -> str:
        """How the registry's own tables name the row."""
        return subject_of(self.table, self.key)

    @property
    def body(self) -> Json:
        """What the entry says of it: enough to write the row again."""
        return {"change": {"table": self.table, "row": self.row}}


def subject_of(table: str, key: Iterable[str]) -> str:
    """The name of a registry row: its table and key.

    >>> subject_of("party", ["3302120010001"])
    'party 3302120010001'
    """
    return " ".join((table, *key))


@dataclass(frozen=True, slots=True)
class Request:
    """What is recorded together or not at all, in this order, by one actor.

    `within_stock`: rejected with `NotEnough` if it would take more of a lot than is left where it is.
    `expects`: rejected with `Outpaced` unless these packs are at these versions (0: unknown).
    """

    drafts: Sequence[Draft]
    actor: str
    changes: Sequence[Change] = ()
    within_stock: bool = False
    expects: Mapping[Key, int] = field(default_factory=dict)


_Known = dict[EventId, tuple[int, int, bytes]]
"""Node, sequence and digest of ids that are recorded already."""
_Content = tuple[bytes, bytes | None, bool]
"""What stands under an id: the digest of the open part, the sealed part, and whether that was erased since."""
_NOTHING_SEALED = b'"sealed":null}'


@dataclass(frozen=True, slots=True)
class _Moment:
    """The batch's record time, also as it stands in entries, and as a column."""

    at: datetime
    text: str
    column: bytes


@dataclass(slots=True)
class _Head:
    seq: int
    hash: bytes
    before: int


@dataclass(slots=True)
class _Batch:
    """One transaction: what it knows, and its rows, a list of bytes for each table's COPY."""

    moment: _Moment
    heads: dict[int, _Head]
    places: dict[EventId, Recorded]
    errors: Declared
    packs: Positions
    entry: list[bytes] = field(default_factory=list)
    event: list[bytes] = field(default_factory=list)
    event_id: list[tuple[bytes, bytes]] = field(default_factory=list)
    item_entry: list[bytes] = field(default_factory=list)
    registry_version: list[bytes] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


class _Lost(Exception):
    """Rivals were faster for these requests; everything is rolled back and decided again without them."""

    def __init__(self, outcomes: dict[int, LedgerError]) -> None:
        self.outcomes = outcomes


class _Overtaken(Exception):
    """Another process moved one of these packs meanwhile: everything is rolled back and tried again."""


class _NotAlone(Exception):
    """An error is declared of an event that a rival may be recording at this moment: everything is rolled back."""


_RIVALS = (
    psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, _Overtaken,
)  # fmt: skip


def append(connection: psycopg.Connection, requests: Sequence[Request], clock: Clock) -> list[Outcome]:
    """Record `requests` durably; the result tells for each where its entries stand, or why it was rejected.

    On return whatever is reported as recorded is on disk, and of a rejected request nothing was written. A request
    that was recorded before is answered with the places of that time. If a psycopg error comes out, nothing is known
    to be written; the same requests again are safe. `Busy` where rivals won `ATTEMPTS_MAX` times in a row.
    """
    outcomes: dict[int, Outcome] = {}
    lost_to_others = 0  # rounds in which nothing was decided; every other round decides at least one request
    alone = False
    while lost_to_others < ATTEMPTS_MAX:
        now = {index: requests[index] for index in _without_clashes(requests, outcomes)}
        if not now:
            return [outcomes[index] for index in range(len(requests))]
        try:
            outcomes |= _transaction(connection, now, clock, alone=alone)
        except _Lost as lost:
            connection.rollback()
            outcomes |= lost.outcomes
        except _NotAlone:
            connection.rollback()
            alone = True
        except _RIVALS:
            connection.rollback()  # another lane recorded an id or moved a pack meanwhile: the next attempt sees it
            lost_to_others += 1
        except BaseException:
            if not connection.closed:
                connection.rollback()
            raise
    raise Busy("others keep writing the same things; try again")


def _without_clashes(requests: Sequence[Request], done: dict[int, Outcome]) -> Iterable[int]:
    """Requests not done yet, without those that change a row which an earlier one changes: they wait a round."""
    changed: set[tuple[str, ...]] = set()
    for index, request in enumerate(requests):
        if index in done:
            continue
        keys = {(change.table, *change.key) for change in request.changes}
        if request.within_stock:
            keys |= {("balance", *move.holding) for draft in request.drafts for move in draft.moves}
        if changed.isdisjoint(keys):
            yield index
        changed |= keys


def _transaction(
    connection: psycopg.Connection, requests: dict[int, Request], clock: Clock, *, alone: bool
) -> dict[int, Outcome]:
    # 1. Take the heads of all chains, in ascending order, and look up the ids.
    heads, known = _take(connection, requests.values(), alone=alone)
    # 2. Answer what was already recorded; a conflicting id rejects its whole request.
    outcomes: dict[int, Outcome] = {}
    places, seen = _recorded(connection, known)
    fresh: dict[int, Request] = {}
    for index, request in requests.items():
        if (conflict := _conflict(request, seen)) is not None:
            outcomes[index] = conflict
        else:
            fresh[index] = request
    errors = _errors(connection, fresh, known, alone=alone)
    # 3. Apply changes where the row is still at the version before.
    _apply_changes(connection, fresh)
    # 4. Number, encode and hash; a command is recorded only if its packs are as they were when it was decided.
    now = clock()
    packs = Positions(connection, [draft for request in fresh.values() for draft in request.drafts])
    batch = _Batch(_Moment(now, time_text(now), rows.time(now)), heads, places, errors, packs)
    for index, request in fresh.items():
        new = any(draft.event_id not in places for draft in request.drafts)
        lost = packs.outpaced(request.expects) if new else None
        outcomes[index] = lost or [_place(draft, request.actor, batch) for draft in request.drafts]
    # 5. Copy entries, columns, ids and items in, and move packs and balances.
    _copy(connection, batch)
    if not packs.write():
        raise _Overtaken
    _balance(connection, batch.moves, fresh)
    # 6. Move the heads: only if nobody else did.
    _move(connection, heads)
    # 7. Commit. From here on it happened.
    connection.commit()
    return outcomes


def _take(
    connection: psycopg.Connection, requests: Iterable[Request], *, alone: bool
) -> tuple[dict[int, _Head], _Known]:
    requests = list(requests)
    nodes = sorted({draft.node for request in requests for draft in request.drafts})
    ids = sorted({draft.event_id.id for request in requests for draft in request.drafts if draft.event_id})
    with connection.pipeline():
        connection.execute(_TAKE_ALL if alone else _TAKE_SHARED, [CHAIN_LOCKS, EVERYTHING])
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s, node) FROM unnest(%b::int[]) AS node", [CHAIN_LOCKS, nodes]
        )
        found = connection.execute("SELECT node, seq, hash FROM head WHERE node = ANY(%b)", [nodes], binary=True)
        recorded = connection.execute(
            "SELECT id, declaration, node, seq, digest FROM event_id WHERE id = ANY(%b)", [ids], binary=True
        )
    heads = {node: _Head(seq, hash_, seq) for node, seq, hash_ in found}
    new = [node for node in nodes if node not in heads]
    if new:
        connection.execute("INSERT INTO head SELECT node, 0, %b FROM unnest(%b::int[]) AS node", [GENESIS, new])
        heads |= {node: _Head(0, GENESIS, 0) for node in new}
    return heads, {EventId(id_, declaration): (node, seq, digest) for id_, declaration, node, seq, digest in recorded}


def _errors(connection: psycopg.Connection, requests: dict[int, Request], known: _Known, *, alone: bool) -> Declared:
    """What this batch has to know of events declared in error."""
    errors, safe = declared((draft for request in requests.values() for draft in request.drafts), known)
    if not safe and not alone:
        raise _NotAlone
    events = {id_: known[key][:2] for id_ in errors.now - errors.before if (key := EventId(id_, 0)) in known}
    if events:
        errors.moved |= read_moves(connection, events)
    return errors


def _recorded(connection: psycopg.Connection, known: _Known) -> tuple[dict[EventId, Recorded], dict[EventId, _Content]]:
    """Where the known ids are recorded, and what stands under them."""
    if not known:
        return {}, {}
    nodes, seqs = [node for node, _, _ in known.values()], [seq for _, seq, _ in known.values()]
    found = connection.execute(
        "SELECT node, seq, hash, record_time, sealed, sealed IS NULL AND substr(data, length(data) - 13) <> %b"
        " FROM entry JOIN unnest(%b::int[], %b::bigint[]) AS p(node, seq) USING (node, seq)",
        [_NOTHING_SEALED, nodes, seqs],
        binary=True,
    )
    rows_ = {(row[0], row[1]): row for row in found}
    places: dict[EventId, Recorded] = {}
    contents: dict[EventId, _Content] = {}
    for key, (node, seq, digest) in known.items():
        _, _, hash_, at, sealed, erased = rows_[node, seq]
        places[key] = Recorded(node, seq, hash_, time_text(at))
        contents[key] = (digest, sealed, erased)
    return places, contents


def _conflict(request: Request, seen: dict[EventId, _Content]) -> Conflict | None:
    """Whether an id of `request` stands for other content already; its own ids join `seen` if not."""
    mine: dict[EventId, _Content] = {}
    for draft in request.drafts:
        key = draft.event_id
        if key is None:
            continue
        before = seen.get(key) or mine.get(key)
        if before is None:
            mine[key] = (draft.digest, draft.sealed, False)
            continue
        digest, sealed, erased = before
        if digest != draft.digest or (sealed != draft.sealed and not erased):
            return Conflict(
                f"{_name(draft)} is recorded already with other content; "
                f"to correct an event, send it with an errorDeclaration and record the right one under a new id"
            )
    seen |= mine
    return None


def _name(draft: Draft) -> str:
    """What a person knows the draft by."""
    event = read_json(draft.body).get("event")
    return f"the event {event['eventID']}" if event else "what this request records once"


def _apply_changes(connection: psycopg.Connection, requests: dict[int, Request]) -> None:
    """One statement a table and kind of write. Where a row is not at the version before, its request has lost."""
    wanted: dict[tuple[str, bool], dict[tuple[str, ...], tuple[int, Json]]] = {}
    for index, request in requests.items():
        for change in request.changes:
            wanted.setdefault((change.table, change.row["version"] == 1), {})[change.key] = (index, change.row)
    lost: dict[int, LedgerError] = {}
    for (table, insert), by_key in sorted(wanted.items()):
        statement = _insert_statement(table) if insert else _update_statement(table)
        done = connection.execute(statement, [Jsonb([row for _, row in by_key.values()])])
        written = {tuple(map(str, key)) for key in done}
        for key, (index, _) in by_key.items():
            if key not in written:
                what = (
                    "exists already" if insert else "was changed by somebody else meanwhile; look at it and try again"
                )
                lost[index] = Conflict(f"{table} {' '.join(key)} {what}")
    if lost:
        raise _Lost(lost)
    _index(connection, [change for request in requests.values() for change in request.changes])


def _index(connection: psycopg.Connection, changes: Iterable[Change]) -> None:
    """What each changed row is found by from now on."""
    found = {change.subject: change.tokens for change in changes if change.tokens is not None}
    if found:
        connection.execute(
            "INSERT INTO registry_search SELECT s, t::int[] FROM unnest(%b::text[], %b::text[]) AS n(s, t) ORDER BY s"
            " ON CONFLICT (subject) DO UPDATE SET tokens = EXCLUDED.tokens",
            [[*found], [f"{{{','.join(map(str, tokens))}}}" for tokens in found.values()]],
        )


def _key_columns(table: str) -> list[str]:
    return [column.name for column in metadata.tables[table].primary_key]


def _insert_statement(table: str) -> sql.Composed:
    return sql.SQL(
        "INSERT INTO {0} SELECT * FROM jsonb_populate_recordset(NULL::{0}, %s) ORDER BY {1} ON CONFLICT DO NOTHING"
        " RETURNING {1}"
    ).format(sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, _key_columns(table))))


def _update_statement(table: str) -> sql.Composed:
    columns, keys = [column.name for column in metadata.tables[table].columns], _key_columns(table)
    return sql.SQL(
        "UPDATE {0} AS t SET ({1}) = ROW({2}) FROM jsonb_populate_recordset(NULL::{0}, %s) AS v"
        " WHERE {3} AND t.version = v.version - 1 RETURNING {4}"
    ).format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Identifier("v", column) for column in columns),
        sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier("t", k), sql.Identifier("v", k)) for k in keys),
        sql.SQL(", ").join(sql.Identifier("t", key) for key in keys),
    )


def _place(draft: Draft, actor: str, batch: _Batch) -> Recorded:
    """The next place in the draft's chain, its rows added to `batch`; or its place of before, if its id has one."""
    key = draft.event_id
    if key and (before := batch.places.get(key)):
        return before._replace(duplicate=True)
    head, node, moment = batch.heads[draft.node], draft.node, batch.moment
    head.seq += 1
    batch.moves += batch.errors.moves(draft)
    outcome = _move_packs(draft, actor, batch)
    body = draft.body if outcome is None else with_outcome(draft.body, outcome)
    data = encode(
        node, head.seq, head.hash, moment.text, actor, _KIND_NAMES[draft.kind], draft.salt, body, draft.commitment
    )
    head.hash = hash_of(data)
    place = rows.place(node, head.seq)
    batch.entry += (_ENTRY, place, moment.column, rows.data(head.hash), rows.data(data), draft.entry_tail)
    if draft.version_tail:
        batch.registry_version += (_VERSION, place, moment.column, draft.version_tail)
    if draft.event_tail:
        batch.event += (_EVENT, place, moment.column, draft.event_tail)
    item = _ITEM + place
    for tail in draft.item_tails:
        batch.item_entry += (item, tail)
    recorded = Recorded(node, head.seq, head.hash, moment.text)
    if key:
        batch.event_id.append((key.id, _EVENT_ID + place + draft.event_id_tail))
        batch.places[key] = recorded
    return recorded


def _move_packs(draft: Draft, actor: str, batch: _Batch) -> list[Json] | None:
    """What becomes of the packs that the draft names, as its entry will say it."""
    key = draft.event_id
    if draft.effects and not (key and key.id in batch.errors.before):
        return batch.packs.move(draft, batch.moment.at, actor)
    if key and key.declaration and key.id in batch.errors.now:
        event = batch.places.get(EventId(key.id, 0))
        return batch.packs.move_back(draft, event and (event.node, event.seq))
    return None


_ENTRY, _EVENT, _EVENT_ID, _ITEM, _VERSION = (
    rows.START[table] for table in ("entry", "event", "event_id", "item_entry", "registry_version")
)


def _copy(connection: psycopg.Connection, batch: _Batch) -> None:
    """Ids first and in order: rivals for the same ids then wait for each other instead of deadlocking."""
    ids = [row for _, row in sorted(batch.event_id)]
    with connection.cursor() as cursor:
        for table, parts in (
            ("event_id", ids), ("entry", batch.entry), ("event", batch.event), ("item_entry", batch.item_entry),
            ("registry_version", batch.registry_version),
        ):  # fmt: skip
            if parts:
                with cursor.copy(rows.COPY[table]) as copy:
                    copy.write(rows.HEADER + b"".join(parts) + rows.TRAILER)


def _balance(connection: psycopg.Connection, moves: list[Move], requests: dict[int, Request]) -> None:
    """Add what moved to each holding, in the order of their keys, so that rivals wait instead of deadlocking."""
    total = sorted(added({}, moves).items())
    if not total:
        return
    limited = any(request.within_stock for request in requests.values())
    left = connection.execute(
        "INSERT INTO balance AS b (item, holder, uom, goods, quantity)"
        " SELECT item, holder, uom, goods, quantity::numeric FROM"
        " unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[]) AS v(item, holder, uom, goods, quantity)"
        " ORDER BY 1, 2, 3 ON CONFLICT (item, holder, uom) DO UPDATE SET quantity = b.quantity + EXCLUDED.quantity"
        + (" RETURNING item, holder, uom, quantity" if limited else ""),
        [
            [holding.item for holding, _ in total], [holding.holder for holding, _ in total],
            [holding.uom for holding, _ in total], [goods_of(holding.item) for holding, _ in total],
            [f"{quantity:f}" for _, quantity in total],
        ],
    )  # fmt: skip
    if limited:
        _require_stock({Holding(*row[:3]): row[3] for row in left if row[3] < 0}, requests)


def _require_stock(short: dict[Holding, Decimal], requests: dict[int, Request]) -> None:
    """Whoever asked not to take more than is left, and did, has lost."""
    lost: dict[int, LedgerError] = {}
    for index, request in requests.items():
        if request.within_stock:
            taken = {move.holding for draft in request.drafts for move in draft.moves if move.quantity < 0}
            for holding in taken & short.keys():
                lost[index] = NotEnough(holding.item, holding.holder, -short[holding], holding.uom)
    if lost:
        raise _Lost(lost)


def _move(connection: psycopg.Connection, heads: dict[int, _Head]) -> None:
    moved = {node: head for node, head in heads.items() if head.seq != head.before}
    done = connection.execute(
        "UPDATE head SET seq = v.seq, hash = v.hash"
        " FROM unnest(%b::int[], %b::bigint[], %b::bigint[], %b::bytea[]) AS v(node, before, seq, hash)"
        " WHERE head.node = v.node AND head.seq = v.before",
        [
            [*moved],
            [h.before for h in moved.values()],
            [h.seq for h in moved.values()],
            [h.hash for h in moved.values()],
        ],
    )
    if done.rowcount != len(moved):
        raise LedgerDamaged("the head of a chain moved although its lock was held; stop writing and run: suyuan audit")
