"""The audit: everything computed again from the stored bytes, and every disagreement named.

One snapshot of the database is read once from end to end, in bounded memory:

1. every chain: hashes, links, places, sealed parts and erasures, and its head;
2. what is derived: columns, ids and items of every event, in both directions, and the registry's rows;
3. the log: every place, tile, edge and cursor, and every checkpoint, signed as it says;
4. the checkpoint outside the database, and receipts that somebody brings: the log and the chains must hold them.

It always ends, and it changes nothing. What it cannot know: entries cut off a chain's end before they were under any
checkpoint or receipt; checkpoint rows taken away that no tick names; the id or digest that was made of what is erased.
It shares the derivations with the write path, but neither its SQL nor its order of work.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzBinaryLoader
from psycopg.types.json import Jsonb

from ledger.codes import CITY, node_text
from ledger.database import Database
from ledger.documents import read_json, write_json
from ledger.drafts import EventId, erasure_name, id_key, identity_again
from ledger.entries import GENESIS, Entry, Kind, commitment, decode, hash_of
from ledger.errors import LedgerError
from ledger.fields import parse_time
from ledger.index import columns, mentions
from ledger.log import STEP_ENTRIES_MAX
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, TILE_WIDTH, Edge, leaf_hash
from ledger.notes import Checkpoint, NoteInvalid, Recorded, Verifier, open_checkpoint
from ledger.tables import REGISTRY

BATCH = 2_000
SHOWN_MAX = 10_000
"""Disagreements kept; more are counted."""
_UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, LedgerError,
)  # fmt: skip
"""What comes of reading hostile bytes as an entry or event: always a finding, never the end of the audit."""

Json = dict[str, Any]
Progress = Callable[[str, int, int], None]
"""`progress(step, done, total)`: called after every batch."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that does not agree: where (an entry, a row, a checkpoint) and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Report:
    """What an audit found. It is clean only if nothing disagrees."""

    entries: int = 0
    chains: int = 0
    log_size: int = 0
    checkpoints: int = 0
    receipts: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    count: int = 0

    @property
    def clean(self) -> bool:
        return self.count == 0

    def add(self, where: str, what: str) -> None:
        """Note a disagreement."""
        self.count += 1
        if self.count <= SHOWN_MAX:
            self.disagreements.append(Disagreement(where, what))


def audit(
    database: Database,
    verifiers: list[Verifier],
    outside: Checkpoint | None,
    receipts: Iterable[Recorded] = (),
    progress: Progress = lambda *_: None,
) -> Report:
    """Audit the whole ledger. `outside` is the last checkpoint signed, as kept outside the database."""
    report = Report()
    with database.connect() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.adapters.register_loader("timestamptz", _Time)
        total = _count(connection, "entry")
        derived = _Derived(connection, report)
        _chains(connection, report, derived, lambda done: progress("entries", done, total))
        derived.finish(progress)
        _log(connection, report, verifiers, outside, derived.ticked, progress)
        _receipts(connection, report, receipts)
        connection.rollback()
    return report


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return int(row[0]) if row else 0


def _stream(connection: psycopg.Connection, name: str, query: str, *values: int) -> Iterator[list[Any]]:
    """The rows of `query` in batches, through a server-side cursor."""
    with connection.cursor(name, binary=True) as cursor:
        cursor.execute(query, values or None)
        while rows := cursor.fetchmany(BATCH):
            yield rows


class _Time(TimestamptzBinaryLoader):
    """A time; or None, which no entry says, for what Python cannot hold: infinity, years before 1 or after 9999."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return None


# --- 1. chains ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Chain:
    node: int
    seq: int = 0
    hashes: tuple[bytes, ...] = (GENESIS,)
    """What the next entry may name as the hash before: where an entry is damaged, that of its bytes or that stored."""
    bare: set[int] = field(default_factory=set)
    """Entries whose sealed part is gone, and no erasure has said so yet."""
    erased: set[int] = field(default_factory=set)


def _chains(
    connection: psycopg.Connection, report: Report, derived: "_Derived", progress: Callable[[int], None]
) -> None:
    heads = {node: (seq, hash_) for node, seq, hash_ in connection.execute("SELECT node, seq, hash FROM head")}
    chain: _Chain | None = None
    query = "SELECT node, seq, kind, record_time, hash, data, salt, sealed FROM entry ORDER BY node, seq"
    for rows in _stream(connection, "entries", query):
        good: list[_Checked] = []
        for row in rows:
            if chain is None or chain.node != row[0]:
                _end_chain(chain, heads, derived, report)
                chain = _Chain(row[0])
                report.chains += 1
            checked = _check_entry(row, chain, report)
            if checked is None:
                derived.add_damaged(*row[:3])
            else:
                good.append(checked)
        report.entries += len(rows)
        derived.check(good)
        progress(report.entries)
    _end_chain(chain, heads, derived, report)
    for node, head in heads.items():
        if head != (0, GENESIS):
            report.add(f"chain {node_text(node)}", f"its head stands at {head[0]}, but it has no entries")


_Checked = tuple[Entry, Json | None]
"""An entry whose bytes have their hash, and its sealed part: {} where nothing is sealed, None where it is erased."""


def _check_entry(row: tuple[Any, ...], chain: _Chain, report: Report) -> _Checked | None:
    """The entry of `row`, or None where its bytes are damaged: nothing can be derived from those."""
    node, seq, kind, record_time, hash_, data, salt, sealed = row
    where = f"entry {node_text(node)}/{seq}"
    expected = chain.hashes
    if seq != chain.seq + 1:
        gap = f"{chain.seq + 1} to {seq - 1} are" if seq > chain.seq + 2 else f"{chain.seq + 1} is"
        report.add(where, f"before it, {gap} missing from the chain")
        expected = ()
    computed = hash_of(data)
    chain.seq, chain.hashes = seq, (computed,) if computed == hash_ else (computed, hash_)
    if computed != hash_:
        report.add(where, f"its bytes hash to {computed.hex()}, stored is {hash_.hex()}: bytes or hash were changed")
        return None
    try:
        entry = decode(data)
        if entry.kind is Kind.ERASURE:
            chain.erased.add(entry.body["erasure"]["seq"])
            chain.bare.discard(entry.body["erasure"]["seq"])
    except _UNREADABLE as error:
        report.add(where, f"its bytes cannot be read as an entry: {error}")
        return None
    if (entry.node, entry.seq) != (node, seq) or type(entry.seq) is not int:
        report.add(where, f"its bytes say that it is {entry.name}")
        return None
    if expected and entry.prev not in expected:
        report.add(where, "it does not name the hash of the entry before: one of the two was replaced")
    if (entry.kind, entry.record_time) != (kind, record_time):
        report.add(where, "kind or record time of the row are not those in its bytes")
    return entry, _check_sealed(entry, salt, sealed, chain, report)


def _check_sealed(entry: Entry, salt: bytes | None, sealed: bytes | None, chain: _Chain, report: Report) -> Json | None:
    """The sealed part; {} where nothing is sealed; None where it is erased or damaged."""
    where = f"entry {entry.name}"
    if entry.commitment is None:
        if sealed is not None:
            report.add(where, "it holds a sealed part, but its bytes say that nothing is sealed")
        return {}
    if salt is None or sealed is None:
        if entry.seq not in chain.erased:
            chain.bare.add(entry.seq)
        return None
    if commitment(salt, sealed) != entry.commitment:
        report.add(where, "its sealed part or the salt was changed: they do not have the hash in its bytes")
        return None
    try:
        value = read_json(sealed)
    except LedgerError:
        value = None
    if not isinstance(value, dict):
        report.add(where, "its sealed part is no JSON object")
        return None
    return value


def _end_chain(chain: _Chain | None, heads: dict[int, tuple[int, bytes]], derived: "_Derived", report: Report) -> None:
    if chain is None:
        return
    for seq in sorted(chain.bare):
        if not derived.erased_by_damaged(chain.node, seq):
            where = f"entry {node_text(chain.node)}/{seq}"
            report.add(where, "its sealed part is gone, and no entry says that it was erased")
    head = heads.pop(chain.node, None)
    if head is None:
        report.add(f"chain {node_text(chain.node)}", "it has entries but no head")
    elif head[0] != chain.seq or head[1] not in chain.hashes:
        last = f"its last entry is {chain.seq} with {chain.hashes[0].hex()}"
        report.add(f"chain {node_text(chain.node)}", f"its head says {head[0]} with hash {head[1].hex()}, {last}")


# --- 2. what is derived ---------------------------------------------------------------------------

_Place = tuple[int, int]


class _Rows(NamedTuple):
    """The rows that an entry says there must be: its event's, its items' by key, and its id's."""

    event: tuple[Any, ...] | None
    items: dict[tuple[str, int, int, int], tuple[int, Any]]
    identity: tuple[EventId, bytes | None] | None


def _rows_of(entry: Entry, sealed: Json | None) -> _Rows:
    """What is derived from `entry`; one of `_UNREADABLE` where its body is not what its kind promises."""
    identity = identity_again(entry.node, entry.kind, entry.body, sealed)
    if entry.kind is not Kind.EVENT:
        return _Rows(None, {}, identity)
    event = entry.body["event"]
    c = columns(event)
    items: dict[tuple[str, int, int, int], tuple[int, Any]] = {
        (key, entry.node, entry.seq, int(role)): (int(c.action), c.event_time) for role, key, _, _ in mentions(event)
    }
    if any("\0" in key for key, *_ in items):
        raise ValueError("it names an item with a NUL in it")
    row = (
        entry.record_time, c.type, int(c.action), c.event_time, c.business_step, c.disposition, c.read_point,
        c.business_location,
    )  # fmt: skip
    return _Rows(row, items, identity)


class _Derived:
    """Compares `event`, `event_id`, `item_entry` and the registry with what the entries say they must be."""

    def __init__(self, connection: psycopg.Connection, report: Report) -> None:
        self._connection, self._report = connection, report
        self._expected = {"event": 0, "event_id": 0, "item_entry": 0}
        self._unknown_ids: dict[_Place, int] = {}
        """Envelopes whose id was made from what is erased, and how many rows there are for each."""
        self.ticked: dict[int, str] = {}
        """Sizes of checkpoints that ticks name, and one of these entries."""
        self._damaged: set[_Place] = set()
        """Entries named already, from whose bytes nothing can be derived."""
        self._lost_changes = 0
        """How many of these were changes of the registry."""
        self._registry: dict[str, dict[tuple[str, ...], tuple[Entry, Json]]] = {table.name: {} for table in REGISTRY}

    def add_damaged(self, node: int, seq: int, kind: int) -> None:
        """An entry that is named already: what depends on its bytes is not named again."""
        self._damaged.add((node, seq))
        self._lost_changes += (node, kind) == (CITY, Kind.CHANGE)

    def _lost(self, versions: int) -> bool:
        """Whether that many changes of a registry row can be those in damaged entries; each explains one."""
        explained = 0 < versions <= self._lost_changes
        self._lost_changes -= versions if explained else 0
        return explained

    def erased_by_damaged(self, node: int, seq: int) -> bool:
        """Whether the entry that said that this sealed part was erased is itself damaged."""
        row = self._connection.execute(
            "SELECT node, seq FROM event_id WHERE id = %s AND declaration = 0", [id_key(erasure_name(node, seq))]
        ).fetchone()
        return row in self._damaged

    def check(self, entries: list[_Checked]) -> None:
        """A batch of entries: what must be there is looked up by key."""
        events: dict[_Place, tuple[Any, ...]] = {}
        items: dict[tuple[str, int, int, int], tuple[int, Any]] = {}
        ids: dict[EventId, tuple[int, int, bytes | None]] = {}
        for entry, sealed in entries:
            place = (entry.node, entry.seq)
            try:
                rows = _rows_of(entry, sealed)
                if entry.kind is Kind.CHANGE and entry.node == CITY:
                    self._fold(entry)
                elif entry.kind is Kind.TICK:
                    self.ticked.setdefault(entry.body["tick"]["checkpoint"]["size"], entry.name)
            except _UNREADABLE as error:
                self._report.add(f"entry {entry.name}", f"its body is not what an entry of its kind holds: {error!r}")
                self.add_damaged(*place, entry.kind)
                continue
            if rows.event is not None:
                events[place] = rows.event
            items |= rows.items
            if rows.identity is not None:
                ids[rows.identity[0]] = (*place, rows.identity[1])
            elif entry.kind is Kind.DOCUMENT:
                self._unknown_ids[place] = 0
        self._check_events(events)
        self._check_ids(ids)
        self._check_items(items)

    def _fold(self, entry: Entry) -> None:
        change = entry.body["change"]
        table, row, version = change["table"], change["row"], change["row"]["version"]
        rows, key = self._registry[table], _registry_key(table, row)
        if type(version) is not int:
            raise ValueError(f"its version is {version!r}")
        write_json(row)  # what cannot be written cannot be compared
        before = rows[key][1]["version"] if key in rows else 0
        if version != before + 1 and not self._lost(version - before - 1):
            self._report.add(f"entry {entry.name}", f"it makes version {version} after version {before}")
        rows[key] = (entry, row)

    def _check_events(self, expected: dict[_Place, tuple[Any, ...]]) -> None:
        self._expected["event"] += len(expected)
        found = self._connection.execute(
            "SELECT node, seq, record_time, type, action, event_time, business_step, disposition, read_point,"
            " business_location FROM event JOIN unnest(%b::int[], %b::bigint[]) AS p(node, seq) USING (node, seq)",
            [[node for node, _ in expected], [seq for _, seq in expected]],
            binary=True,
        )
        self._compare("event", expected, {(row[0], row[1]): row[2:] for row in found})

    def _check_ids(self, expected: dict[EventId, tuple[int, int, bytes | None]]) -> None:
        self._expected["event_id"] += len(expected)
        found = self._connection.execute(
            "SELECT id, declaration, node, seq, digest FROM event_id"
            " JOIN unnest(%b::bytea[], %b::bigint[]) AS p(id, declaration) USING (id, declaration)",
            [[key.id for key in expected], [key.declaration for key in expected]],
            binary=True,
        )
        stored = {EventId(*row[:2]): row[2:] for row in found}
        for key, (node, seq, digest) in expected.items():
            row = stored.get(key)
            if row is None or row[:2] != (node, seq) or digest not in (None, row[2]):
                self._report.add(
                    f"event_id of {node_text(node)}/{seq}", "the row is missing or other than the entry says"
                )

    def _check_items(self, expected: dict[tuple[str, int, int, int], tuple[int, Any]]) -> None:
        self._expected["item_entry"] += len(expected)
        keys = [list(column) for column in zip(*expected, strict=True)] if expected else [[], [], [], []]
        found = self._connection.execute(
            "SELECT item, node, seq, role, action, event_time FROM item_entry"
            " JOIN unnest(%b::text[], %b::int[], %b::bigint[], %b::smallint[]) AS p(item, node, seq, role)"
            " USING (item, node, seq, role)",
            keys,
            binary=True,
        )
        self._compare("item_entry", expected, {row[:4]: row[4:] for row in found})

    def _compare(self, table: str, expected: dict[Any, Any], found: dict[Any, Any]) -> None:
        for key, value in expected.items():
            if found.get(key) != value:
                node, seq = key[:2] if table == "event" else key[1:3]
                row = "" if table == "event" else f" {key[0]}"
                self._report.add(
                    f"{table}{row} of {node_text(node)}/{seq}",
                    "the row is missing" if key not in found else "the row is other than the entry says",
                )

    def finish(self, progress: Progress) -> None:
        """Rows that nothing stands behind, and the registry. Extra rows are only searched where they are possible."""
        for table, expected in self._expected.items():
            there = _count(self._connection, table)
            if there > expected or (table == "event_id" and self._unknown_ids):
                self._find_extra(table, there, progress)
        for (node, seq), count in self._unknown_ids.items():
            if count != 1:
                self._report.add(f"event_id of {node_text(node)}/{seq}", f"there are {count} rows, one belongs there")
        for registry in REGISTRY:
            self._check_registry(registry.name)

    def _find_extra(self, table: str, total: int, progress: Progress) -> None:
        key = {"event": "node, seq", "event_id": "node, seq, id, declaration", "item_entry": "node, seq, item, role"}[
            table
        ]
        done = 0
        query = f"SELECT {key} FROM {table}"  # noqa: S608 - both are from the line above
        for rows in _stream(self._connection, f"extra_{table}", query):
            entries = self._entries({(row[0], row[1]) for row in rows})
            for row in rows:
                place = (row[0], row[1])
                if table == "event_id" and place in self._unknown_ids and row[3] == 0:
                    self._unknown_ids[place] += 1
                elif place not in self._damaged and not _stands(table, row, entries.get(place)):
                    shown = "" if table == "event" else f" {row[2].hex() if isinstance(row[2], bytes) else row[2]}"
                    self._report.add(
                        f"{table}{shown} of {node_text(row[0])}/{row[1]}", "no entry stands behind this row"
                    )
            done += len(rows)
            progress(table, done, total)

    def _entries(self, places: set[_Place]) -> dict[_Place, _Rows]:
        """What the entries at `places` say, but for digests; those that cannot be read are named already."""
        found = self._connection.execute(
            "SELECT node, seq, data, sealed FROM entry"
            " JOIN unnest(%b::int[], %b::bigint[]) AS p(node, seq) USING (node, seq)",
            [[node for node, _ in places], [seq for _, seq in places]],
            binary=True,
        )
        entries = {}
        for node, seq, data, sealed in found:
            if (node, seq) not in self._damaged:
                entry = decode(data)
                whole = entry.kind is Kind.DOCUMENT and (node, seq) not in self._unknown_ids
                entries[node, seq] = _rows_of(entry, read_json(sealed) if whole else None)
        return entries

    def _check_registry(self, table: str) -> None:
        name = sql.Identifier(table)
        rows = self._readable(table)
        # The database itself turns the JSON of the entry into a row, as the write path did, and compares.
        question = sql.SQL(
            "SELECT coalesce(to_jsonb(t), to_jsonb(v)), t.version, v.version FROM {0} t"
            " FULL JOIN jsonb_populate_recordset(NULL::{0}, %s) v ON {1} WHERE t IS DISTINCT FROM v"
        ).format(name, sql.SQL(" AND ").join(sql.SQL("t.{0} = v.{0}").format(sql.Identifier(c)) for c in _keys(table)))
        for row, present, recorded in self._connection.execute(question, [_jsonb(rows)]).fetchall():
            what = (
                "is missing"
                if present is None
                else "has no entry behind it"
                if recorded is None
                else "is other than its last entry says"
            )
            if not self._lost((present or 0) - (recorded or 0)):
                self._report.add(f"{table} {' '.join(_registry_key(table, row))}", f"the row {what}")

    def _readable(self, table: str) -> list[Json]:
        """The registry's rows as the entries say, without those that the database cannot take: these are named."""
        question = sql.SQL("SELECT count(v) FROM jsonb_populate_recordset(NULL::{}, %s) v").format(
            sql.Identifier(table)
        )

        def takes(rows: list[Json]) -> bool:
            try:
                with self._connection.transaction():
                    self._connection.execute(question, [_jsonb(rows)])
            except psycopg.DataError:
                return False
            return True

        rows = [row for _, row in self._registry[table].values()]
        if takes(rows):
            return rows
        for entry, row in self._registry[table].values():
            if not takes([row]):
                self._report.add(f"entry {entry.name}", f"its change is no row of {table}")
        return [row for row in rows if takes([row])]


def _jsonb(rows: list[Json]) -> Jsonb:
    return Jsonb(rows, dumps=write_json)


def _keys(table: str) -> list[str]:
    return [column.name for found in REGISTRY if found.name == table for column in found.primary_key]


def _registry_key(table: str, row: Json) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in _keys(table))


def _stands(table: str, row: tuple[Any, ...], behind: _Rows | None) -> bool:
    """Whether the entry says that there is this row."""
    if behind is None:
        return False
    if table == "event_id":
        return behind.identity is not None and behind.identity[0] == row[2:4]
    return behind.event is not None and (table == "event" or (row[2], *row[:2], row[3]) in behind.items)


# --- 3. the log -----------------------------------------------------------------------------------


def _log(
    connection: psycopg.Connection, report: Report, verifiers: list[Verifier], outside: Checkpoint | None,
    ticked: dict[int, str], progress: Progress,
) -> None:  # fmt: skip
    total, in_order = _ranges(connection, report)
    grown = Edge()
    wanted = _checkpoints(connection, report, verifiers, outside, ticked)
    tiles = _TileCheck(connection, report, total, in_order)
    query = (
        "SELECT r.node, r.first_seq + i, sha256(e.data), e.hash FROM (SELECT start, node, count,"
        " greatest(least(first_seq, 1::bigint << 62), -1::bigint << 62) AS first_seq FROM log_range) AS r"
        " CROSS JOIN LATERAL generate_series(0, least(r.count, %s) - 1) AS i"
        " LEFT JOIN entry e ON e.node = r.node AND e.seq = r.first_seq + i ORDER BY r.start, i"
    )
    first_wrong, wrong = "", 0
    for rows in _stream(connection, "log", query, STEP_ENTRIES_MAX):
        for node, seq, computed, stored in rows:
            leaf = tiles.leaf(grown.size, node, seq, computed, stored)
            tiles.check(grown.append([leaf]))
            for size, root, where in wanted.pop(grown.size, ()):
                if grown.root() != root:
                    first_wrong, wrong = first_wrong or f"{where} of {size} entries", wrong + 1
        progress("log", grown.size, total)
    report.log_size = grown.size
    if wrong:
        others = f", and {wrong - 1} later ones," if wrong > 1 else ""
        report.add(first_wrong, f"this checkpoint{others} is not of the entries that the log holds: some were changed")
    for size, root, where in (found for group in wanted.values() for found in group):
        if size or root != EMPTY_ROOT:
            report.add(where, f"it is of {size} entries, but the log has {grown.size}: entries are gone")
    tiles.finish(grown)


def _ranges(connection: psycopg.Connection, report: Report) -> tuple[int, bool]:
    """How many entries the log has, and whether its ranges are in order.

    They follow each other without gaps, in the log and in each chain; cursors stand at their ends.
    """
    expected, chains, before, in_order = 0, dict[int, int](), "the beginning", True
    for rows in _stream(connection, "ranges", "SELECT start, node, first_seq, count FROM log_range ORDER BY start"):
        for start, node, first_seq, count in rows:
            where = f"log_range {start}"
            if start != expected or not 0 < count <= STEP_ENTRIES_MAX:
                report.add(where, f"it holds {count} entries, and {before} ends at {expected}")
                in_order = False
            if first_seq != chains.get(node, 0) + 1:
                report.add(where, f"chain {node_text(node)} was in the log up to {chains.get(node, 0)}")
                in_order = False
            expected, chains[node], before = start + count, first_seq + count - 1, where
    cursors: dict[int, int] = dict(connection.execute("SELECT node, seq FROM log_cursor").fetchall())
    for node in cursors.keys() | chains.keys():
        if cursors.get(node) != chains.get(node):
            report.add(f"log_cursor {node_text(node)}", f"it says {cursors.get(node)}, the log has {chains.get(node)}")
    return expected, in_order


_Wanted = dict[int, list[tuple[int, bytes, str]]]


def _checkpoints(
    connection: psycopg.Connection, report: Report, verifiers: list[Verifier], outside: Checkpoint | None,
    ticked: dict[int, str],
) -> _Wanted:  # fmt: skip
    """Size, root and name of every checkpoint to hold the log against, by size; bad signatures are reported."""
    wanted: _Wanted = {}
    gone = {size: entry for size, entry in ticked.items() if size != 0}
    for size, root, note in connection.execute("SELECT size, root, note FROM checkpoint ORDER BY size"):
        where = f"checkpoint {size}"
        report.checkpoints += 1
        gone.pop(size, None)
        try:
            signed = open_checkpoint(note, verifiers)
            if (signed.size, signed.root) != (size, root):
                report.add(where, f"the row is not what was signed (size {signed.size}, root {signed.root.hex()})")
                gone.pop(signed.size, None)
            wanted.setdefault(signed.size, []).append((signed.size, signed.root, where))
        except NoteInvalid as error:
            report.add(where, str(error))
    for size, entry in gone.items():
        report.add(f"checkpoint {size}", f"the tick {entry} says that it was published, but it is gone")
    if outside is not None:
        wanted.setdefault(outside.size, []).append((outside.size, outside.root, "checkpoint outside the database"))
    return wanted


class _TileCheck:
    """Holds stored tiles against those computed, in the order in which they fill."""

    def __init__(self, connection: psycopg.Connection, report: Report, size: int, in_order: bool) -> None:
        self._connection, self._report, self._size, self._in_order = connection, report, size, in_order
        self._edge: dict[int, bytes] = dict(connection.execute("SELECT level, hashes FROM edge").fetchall())
        self._leaves = b""
        """The stored leaf hashes of the tile that is being computed."""
        self._shifted: tuple[str, int] = ("", 0)
        """Where ranges are not in order: the first place that holds another entry, and how many more do."""

    def leaf(self, index: int, node: int, seq: int, computed: bytes | None, stored: bytes | None) -> bytes:
        """The leaf hash at `index`, named where the tile says otherwise.

        Of a damaged entry, named already, whichever of its two hashes the log holds: so one change is told once.
        """
        if index % TILE_WIDTH == 0:
            last = index // TILE_WIDTH == self._size // TILE_WIDTH
            self._leaves = self._stored(0, index // TILE_WIDTH) or (self._edge.get(0, b"") if last else b"")
        at = index % TILE_WIDTH * HASH_BYTES
        in_tile = self._leaves[at : at + HASH_BYTES]
        where = f"entry {node_text(node)}/{seq}"
        if computed is None or stored is None:
            self._differs(where, f"it is place {index} of the log, but gone from its chain")
            return in_tile or leaf_hash(b"")
        for candidate in (leaf_hash(computed), leaf_hash(stored)):
            if candidate == in_tile:
                return candidate
        if self._leaves:  # else the tile is missing, and is named by itself
            self._differs(where, f"the log holds another hash at its place, {index}: the entry or the log was changed")
        return leaf_hash(computed)

    def _differs(self, where: str, what: str) -> None:
        if self._in_order:
            self._report.add(where, what)
        else:
            self._shifted = (self._shifted[0] or f"{where}: {what}", self._shifted[1] + 1)

    def _stored(self, level: int, n: int) -> bytes | None:
        row = self._connection.execute("SELECT hashes FROM tile WHERE level = %s AND n = %s", [level, n]).fetchone()
        return row[0] if row else None

    def check(self, full: dict[_Place, bytes]) -> None:
        for (level, n), hashes in full.items():
            stored = self._stored(level, n)
            if stored is None:
                self._report.add(f"tile {level}/{n}", "it is missing")
            elif stored != hashes and level > 0:  # at level 0 each entry was held against its leaf
                self._report.add(f"tile {level}/{n}", "it is other than the tiles below it say")

    def finish(self, grown: Edge) -> None:
        first, count = self._shifted
        if count:
            self._report.add("log", f"as its ranges are not in order, {count} places hold other entries, first {first}")
        for level in self._edge.keys() | grown.partial.keys():
            stored, computed = self._edge.get(level), grown.partial.get(level)
            # At level 0 each entry was held against its leaf.
            same = stored == computed if level or stored is None or computed is None else len(stored) == len(computed)
            if not same:
                self._report.add(f"edge {level}", "the partial tile is other than the entries say")
        beyond = "SELECT level, n FROM tile WHERE level NOT BETWEEN 0 AND 7 OR n < 0 OR n >= %s >> (8 * (level + 1))"
        for level, n in self._connection.execute(beyond, [grown.size]):
            self._report.add(f"tile {level}/{n}", "it lies beyond the log")


# --- 4. receipts ----------------------------------------------------------------------------------


def _receipts(connection: psycopg.Connection, report: Report, receipts: Iterable[Recorded]) -> None:
    """What the ledger vouched for must still be there, at its place, with its hash."""
    for recorded in receipts:
        report.receipts += 1
        row = connection.execute(
            "SELECT data, record_time FROM entry WHERE node = %s AND seq = %s",
            [recorded.node, recorded.seq],
            binary=True,
        ).fetchone()
        where = f"entry {node_text(recorded.node)}/{recorded.seq}"
        if row is None:
            report.add(where, "a signed receipt vouches for it, but it is gone")
        elif hashlib.sha256(row[0]).digest() != recorded.hash or row[1] != parse_time(recorded.record_time):
            report.add(where, "it is other than a signed receipt vouches for")
