"""What is derived from the entries: columns, ids and items of every event, and the registry's rows."""

from typing import Any, NamedTuple

import psycopg

from ledger.append import subject_of
from ledger.audit.balances import BalanceCheck
from ledger.audit.packs import PackCheck
from ledger.audit.registry import RegistryCheck, registry_key
from ledger.audit.report import UNREADABLE, Progress, Report, count, stream
from ledger.balances import Move, moves_of
from ledger.codes import CITY, node_text
from ledger.drafts import EventId, checked_items, erasure_name, id_key, identity, refusal_role
from ledger.entries import Entry, Kind, decode
from ledger.fields import parse_time
from ledger.index import Action, Role, columns, mentions
from ledger.packs.effects import Outcome, outcomes_of
from ledger.vault import Vault

Json = dict[str, Any]
_Place = tuple[int, int]


class _Rows(NamedTuple):
    """The rows that an entry says there must be: its event's, its items' by key, its id's, and its version's."""

    event: tuple[Any, ...] | None
    items: dict[tuple[str, int, int, int], tuple[int, Any]]
    identity: tuple[EventId, bytes] | None
    version: tuple[str, int] | None = None
    moves: tuple[Move, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


def _rows_of(entry: Entry) -> _Rows:
    """What is derived from `entry`; one of `UNREADABLE` where its body is not what its kind promises."""
    found = identity(entry.node, entry.kind, entry.body)
    if entry.kind is Kind.CHANGE and entry.node == CITY:
        table, row = entry.body["change"]["table"], entry.body["change"]["row"]
        return _Rows(None, {}, found, (subject_of(table, registry_key(table, row)), row["version"]))
    if entry.kind is Kind.READING:
        at = parse_time(entry.body["reading"]["at"])
        keys = [(subject, entry.node, entry.seq, int(Role.READ)) for subject in entry.body["reading"]["subjects"]]
        return _Rows(None, dict.fromkeys(keys, (int(Action.NONE), at)), found)
    if entry.kind is Kind.REFUSAL and "packs" in entry.body["refusal"]:
        at = parse_time(entry.body["refusal"]["at"])
        role = int(refusal_role(entry.body["refusal"]["mode"]))
        codes = [(one["code"], entry.node, entry.seq, role) for one in entry.body["refusal"]["packs"]]
        return _Rows(None, dict.fromkeys(codes, (int(Action.NONE), at)), found)
    if entry.kind is Kind.CHECK:
        at = parse_time(entry.body["check"]["at"])
        checked = [(key, entry.node, entry.seq, int(Role.CHECKED)) for key in checked_items(entry.body["check"])]
        return _Rows(None, dict.fromkeys(checked, (int(Action.NONE), at)), found)
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
    outcomes = tuple(outcomes_of(entry.body))
    return _Rows(row, items, found, moves=tuple(moves_of(event, entry.node)), outcomes=outcomes)


class Derived:
    """Compares `event`, `event_id`, `item_entry` and the registry with what the entries say they must be."""

    def __init__(self, connection: psycopg.Connection, report: Report, vault: Vault | None) -> None:
        self._connection, self._report = connection, report
        self._expected = {"event": 0, "event_id": 0, "item_entry": 0}
        self.ticked: dict[int, str] = {}
        """Sizes of checkpoints that ticks name, and one of these entries."""
        self._damaged: set[_Place] = set()
        """Entries named already, from whose bytes nothing can be derived."""
        self._balances = BalanceCheck(connection, report)
        self._packs = PackCheck(connection, report)
        self._registry = RegistryCheck(connection, report, vault, self._damaged)

    def add_damaged(self, node: int, seq: int, kind: int) -> None:
        """An entry that is named already: what depends on its bytes is not named again."""
        self._damaged.add((node, seq))
        self._balances.damaged |= kind == Kind.EVENT
        self._packs.damaged |= kind == Kind.EVENT
        self._registry.lost_changes += (node, kind) == (CITY, Kind.CHANGE)

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
        versions: dict[tuple[str, int], tuple[Entry, Json]] = {}
        for entry in entries:
            place = (entry.node, entry.seq)
            try:
                rows = _rows_of(entry)
                if entry.kind is Kind.CHANGE and entry.node == CITY:
                    self._registry.fold(entry, versions)
                elif entry.kind is Kind.TICK:
                    self.ticked.setdefault(entry.body["tick"]["checkpoint"]["size"], entry.name)
            except UNREADABLE as error:
                self._report.add(f"entry {entry.name}", f"its body is not what an entry of its kind holds: {error!r}")
                self.add_damaged(*place, entry.kind)
                continue
            if rows.event is not None:
                events[place] = rows.event
            items |= rows.items
            self._balances.add(rows.moves)
            if rows.outcomes:
                self._packs.add(entry, rows.outcomes)
            if rows.identity is not None:
                ids[rows.identity[0]] = (*place, rows.identity[1])
        self._check_events(events)
        self._check_ids(ids)
        self._check_items(items)
        self._registry.check_versions(versions)

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
        self._expected["registry_version"] = self._registry.versions
        for table, expected in self._expected.items():
            there = count(self._connection, table)
            if there > expected:
                self._find_extra(table, there, progress)
        self._balances.finish()
        self._packs.finish()
        self._registry.finish()

    def _find_extra(self, table: str, total: int, progress: Progress) -> None:
        key = {
            "event": "node, seq", "event_id": "node, seq, id, declaration", "item_entry": "node, seq, item, role",
            "registry_version": "node, seq, subject, version",
        }[table]  # fmt: skip
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


def _stands(table: str, row: tuple[Any, ...], behind: _Rows | None) -> bool:
    """Whether the entry says that there is this row."""
    if behind is None:
        return False
    if table == "event_id":
        return behind.identity is not None and behind.identity[0] == row[2:4]
    if table == "registry_version":
        return behind.version == row[2:4]
    return behind.event is not None if table == "event" else (row[2], *row[:2], row[3]) in behind.items
