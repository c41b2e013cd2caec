"""What is derived from the entries: columns, ids and items of every event, and the registry's rows."""

from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ledger.audit.report import UNREADABLE, Progress, Report, count, stream
from ledger.codes import CITY, node_text
from ledger.documents import write_json
from ledger.drafts import EventId, erasure_name, id_key, identity
from ledger.entries import Entry, Kind, decode
from ledger.index import columns, mentions
from ledger.tables import REGISTRY

Json = dict[str, Any]
_Place = tuple[int, int]


class _Rows(NamedTuple):
    """The rows that an entry says there must be: its event's, its items' by key, and its id's."""

    event: tuple[Any, ...] | None
    items: dict[tuple[str, int, int, int], tuple[int, Any]]
    identity: tuple[EventId, bytes] | None


def _rows_of(entry: Entry) -> _Rows:
    """What is derived from `entry`; one of `UNREADABLE` where its body is not what its kind promises."""
    found = identity(entry.node, entry.kind, entry.body)
    if entry.kind is not Kind.EVENT:
        return _Rows(None, {}, found)
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
    return _Rows(row, items, found)


class Derived:
    """Compares `event`, `event_id`, `item_entry` and the registry with what the entries say they must be."""

    def __init__(self, connection: psycopg.Connection, report: Report) -> None:
        self._connection, self._report = connection, report
        self._expected = {"event": 0, "event_id": 0, "item_entry": 0}
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

    def check(self, entries: list[Entry]) -> None:
        """A batch of entries: what must be there is looked up by key."""
        events: dict[_Place, tuple[Any, ...]] = {}
        items: dict[tuple[str, int, int, int], tuple[int, Any]] = {}
        ids: dict[EventId, tuple[int, int, bytes]] = {}
        for entry in entries:
            place = (entry.node, entry.seq)
            try:
                rows = _rows_of(entry)
                if entry.kind is Kind.CHANGE and entry.node == CITY:
                    self._fold(entry)
                elif entry.kind is Kind.TICK:
                    self.ticked.setdefault(entry.body["tick"]["checkpoint"]["size"], entry.name)
            except UNREADABLE as error:
                self._report.add(f"entry {entry.name}", f"its body is not what an entry of its kind holds: {error!r}")
                self.add_damaged(*place, entry.kind)
                continue
            if rows.event is not None:
                events[place] = rows.event
            items |= rows.items
            if rows.identity is not None:
                ids[rows.identity[0]] = (*place, rows.identity[1])
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

    def _check_ids(self, expected: dict[EventId, tuple[int, int, bytes]]) -> None:
        self._expected["event_id"] += len(expected)
        found = self._connection.execute(
            "SELECT id, declaration, node, seq, digest FROM event_id"
            " JOIN unnest(%b::bytea[], %b::bigint[]) AS p(id, declaration) USING (id, declaration)",
            [[key.id for key in expected], [key.declaration for key in expected]],
            binary=True,
        )
        stored = {EventId(*row[:2]): row[2:] for row in found}
        for key, said in expected.items():
            if stored.get(key) != said:
                where = f"event_id of {node_text(said[0])}/{said[1]}"
                self._report.add(where, "the row is missing or other than the entry says")

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
        """Rows that nothing stands behind, and the registry. Extra rows are only searched where counts differ."""
        for table, expected in self._expected.items():
            there = count(self._connection, table)
            if there > expected:
                self._find_extra(table, there, progress)
        for registry in REGISTRY:
            self._check_registry(registry.name)

    def _find_extra(self, table: str, total: int, progress: Progress) -> None:
        key = {"event": "node, seq", "event_id": "node, seq, id, declaration", "item_entry": "node, seq, item, role"}[
            table
        ]
        done = 0
        query = f"SELECT {key} FROM {table}"  # noqa: S608 - both are from the line above
        for rows in stream(self._connection, f"extra_{table}", query):
            entries = self._entries({(row[0], row[1]) for row in rows})
            for row in rows:
                place = (row[0], row[1])
                if place not in self._damaged and not _stands(table, row, entries.get(place)):
                    shown = "" if table == "event" else f" {row[2].hex() if isinstance(row[2], bytes) else row[2]}"
                    self._report.add(
                        f"{table}{shown} of {node_text(row[0])}/{row[1]}", "no entry stands behind this row"
                    )
            done += len(rows)
            progress(table, done, total)

    def _entries(self, places: set[_Place]) -> dict[_Place, _Rows]:
        """What the entries at `places` say; those that cannot be read are named already."""
        found = self._connection.execute(
            "SELECT node, seq, data FROM entry JOIN unnest(%b::int[], %b::bigint[]) AS p(node, seq) USING (node, seq)",
            [[node for node, _ in places], [seq for _, seq in places]],
            binary=True,
        )
        return {(row[0], row[1]): _rows_of(decode(row[2])) for row in found if (row[0], row[1]) not in self._damaged}

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
