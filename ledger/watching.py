"""What the watcher keeps in the database: its place in the log, the book, windows, warnings, notices.

Every question and every write is about all keys of a part of the log at once. One transaction holds them all, and
moves the cursor only from where it was.
"""

import contextlib
from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_dumps

from ledger.documents import read_json
from ledger.entries import Entry, decode, time_text
from ledger.errors import LedgerDamaged
from ledger.fields import parse_time
from ledger.index import Action, Role
from ledger.rules.book import Key as Page
from ledger.rules.form import Level, Rule
from ledger.rules.told import Told
from ledger.rules.warnings import Notice, Warning, words_of_warning
from ledger.rules.windows import SEEN_MAX, Clocks, Hit, Memory, Seen, Waiting

Json = dict[str, Any]
WATCHER = "watcher"
PRUNE_EVERY = 5_000
"""What is over in every window is deleted after so many entries."""


@dataclass(slots=True)
class State:
    """How far the watcher is, and what its clocks show."""

    position: int
    clocks: Json


@dataclass(slots=True)
class Count:
    """How often a rule looked, and what came of it."""

    evaluated: int = 0
    matched: int = 0
    missing: int = 0
    raised: int = 0


@dataclass(slots=True)
class Shelf:
    """The warnings that a part of the log may change."""

    by_id: dict[str, Warning] = field(default_factory=dict)
    by_fingerprint: dict[bytes, list[Warning]] = field(default_factory=dict)
    by_subject: dict[str, list[Warning]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def put(self, warning: Warning) -> None:
        """A warning that is there."""
        self.by_id[warning.id] = warning
        for some in (
            self.by_fingerprint.setdefault(warning.fingerprint, []), self.by_subject.setdefault(warning.subject, []),
        ):  # fmt: skip
            insort(some, warning, key=lambda one: (one.position, one.id))  # the same order, new or read

    def add(self, warning: Warning) -> None:
        """A new warning."""
        self.put(warning)
        self.changed.add(warning.id)


class Store:
    """The watcher's tables, on its connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        set_json_dumps(_dumps, connection)
        self._from = 0
        self.counts: dict[str, Count] = {}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of a step, or nothing of it."""
        self.counts = {}
        with self._connection.transaction():
            yield

    def state(self) -> State:
        """Where the watcher is; at the beginning of the log, where it has never been."""
        row = self._connection.execute("SELECT position, state FROM follower WHERE name = %s", [WATCHER]).fetchone()
        self._from = row[0] if row else 0
        return State(row[0], row[1]) if row else State(0, {})

    # --- the log ----------------------------------------------------------------------------------------

    def entries(self, position: int, most: int) -> list[Told]:
        """The next entries of the log, at most so many, in its order."""
        found = self._connection.execute(_RANGES, {"position": position, "most": most}, binary=True).fetchall()
        parts: list[tuple[int, int, int, int]] = []
        left = most
        for start, node, first, count in found:
            skip = max(0, position - start)
            taken = min(count - skip, left)
            if taken > 0:
                parts.append((start + skip, node, first + skip, taken))
                left -= taken
        if not parts:
            return []
        columns = [list(column) for column in zip(*parts, strict=True)]
        rows = self._connection.execute(_ENTRIES, columns, binary=True).fetchall()
        if [row[0] for row in rows] != list(range(position, position + len(rows))):
            raise LedgerDamaged(f"the log has no entry at {position}, or not all after it; run: suyuan audit")
        return [Told(decode(data), at, {} if sealed is None else read_json(sealed), {}) for at, data, sealed in rows]

    def births(self, wanted: Sequence[tuple[int, str]]) -> dict[int, dict[str, str]]:
        """Of packs that are put into containers at these places of the log: their last day, as said before that."""
        if not wanted:
            return {}
        asked = [[position for position, _ in wanted], [child for _, child in wanted]]
        found: dict[int, dict[str, str]] = {}
        for position, child, data in self._connection.execute(_BIRTHS, [*asked, Role.OBJECT, Action.ADD], binary=True):
            ilmd = decode(data).body["event"].get("ilmd", {})
            last = ilmd.get("cbvmda:itemExpirationDate")
            if isinstance(last, str):
                found.setdefault(position, {})[child] = last[:10]
        return found

    def meant(self, wanted: Sequence[tuple[int, bytes]]) -> dict[int, Entry]:
        """What is declared in error at these places of the log: the events' entries, where they stand before that."""
        if not wanted:
            return {}
        asked = [[position for position, _ in wanted], [id_ for _, id_ in wanted]]
        rows = self._connection.execute(_MEANT, asked, binary=True)
        return {position: decode(data) for position, data in rows}

    # --- the book ---------------------------------------------------------------------------------------

    def pages(self, keys: list[Page]) -> dict[Page, Json]:
        """The pages that are there."""
        asked = [[topic for topic, _ in keys], [key for _, key in keys]]
        rows = self._connection.execute(
            "SELECT topic, key, value FROM rule_book JOIN unnest(%b::text[], %b::text[]) AS p(topic, key)"
            " USING (topic, key)", asked,
        )  # fmt: skip
        return {(topic, key): value for topic, key, value in rows}

    def licences_ending(self, days: list[str]) -> list[tuple[str, str, str]]:
        """Party, kind and last day of each licence in force that ends on one of these days."""
        rows = self._connection.execute(
            "SELECT b.key, l.value->>'kind', l.value->>'valid_to' FROM rule_book b, jsonb_each(b.value) AS l"
            " WHERE b.topic = 'licences' AND l.value->>'valid_to' = ANY(%s) AND l.value->>'status' = 'active'"
            " ORDER BY 1, 2, 3", [days],
        )  # fmt: skip
        return [(party, kind, last) for party, kind, last in rows]

    # --- windows ----------------------------------------------------------------------------------------

    def postpone(self, gap: timedelta) -> None:
        """Nothing is missed for the time that the ledger was away."""
        self._connection.execute(
            "UPDATE rule_pending SET due_event = due_event + %(gap)s, due_record = due_record + %(gap)s", {"gap": gap}
        )

    def forget(self, event: bytes) -> None:
        """An event was declared in error."""
        self._connection.execute("DELETE FROM rule_window WHERE event = %s", [event])
        self._connection.execute("DELETE FROM rule_pending WHERE event = %s", [event])

    def memory(self, hits: Iterable[Hit], live: Mapping[str, Rule], until: Clocks) -> Memory:
        """What rules remember of the keys of these hits, and what is due until then."""
        memory = Memory()
        keys = list(dict.fromkeys((hit.rule.key, hit.key) for hit in hits if hit.rule.window or hit.rule.lasting))
        asked: list[Any] = [[rule for rule, _ in keys], [key for _, key in keys]]
        rows = self._connection.execute(_SEEN, [*asked, SEEN_MAX]) if keys else ()
        for rule, key, at, position, part, event, value in rows:
            seen = Seen(at, position, part, value["place"], event and bytes(event), value["value"])
            memory.seen.setdefault((rule, key), []).append(seen)
        orphans: list[str] = []
        for row in self._connection.execute(_WAITING, [*asked, until.event, until.record]).fetchall():
            rule, key, position, part, event, at, due_event, due_record, value = row
            if rule not in live:
                orphans.append(rule)
                continue
            one = Waiting(
                live[rule], key, at, position, part, value["place"], event and bytes(event), _facts(value["facts"]),
                due_event, due_record,
            )  # fmt: skip
            memory.wait(one, new=False)
        if orphans:  # of rules that are no more
            self._connection.execute("DELETE FROM rule_pending WHERE rule = ANY(%s)", [list(set(orphans))])
        return memory

    def keep_memory(self, memory: Memory, clocks: Clocks, position: int) -> None:
        """Write what rules saw, wait for, and do not wait for any more."""
        seen = [
            (rule.key, key, one.at, one.position, one.part, one.event, {"place": one.place, "value": one.value},
             ends(rule, one.at))
            for rule, key, one in memory.new_seen
        ]  # fmt: skip
        self._insert("rule_window", "rule key at position part event value until", seen)
        waiting = [
            (one.rule.key, one.key, one.position, one.part, one.event, one.at, one.due_event, one.due_record,
             {"place": one.place, "facts": _kept(one.facts)})
            for one in memory.new_waiting.values()
        ]  # fmt: skip
        self._insert("rule_pending", "rule key position part event at due_event due_record value", waiting)
        if memory.gone_waiting:
            columns = [list(column) for column in zip(*memory.gone_waiting, strict=True)]
            self._connection.execute(
                "DELETE FROM rule_pending w USING unnest(%s::text[], %s::text[], %s::bigint[], %s::int[])"
                " AS g(rule, key, position, part) WHERE (w.rule, w.key, w.position, w.part)"
                " = (g.rule, g.key, g.position, g.part)", columns,
            )  # fmt: skip
        if position // PRUNE_EVERY != self._from // PRUNE_EVERY:
            self._connection.execute("DELETE FROM rule_window WHERE until < %s", [clocks.event])

    def _insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        names = columns.split()
        with self._connection.cursor() as cursor:
            statement = f"COPY {table} ({', '.join(names)}) FROM STDIN"  # all names are from the lines above
            with cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row([Jsonb(value) if isinstance(value, dict) else value for value in row])

    # --- warnings and notices -----------------------------------------------------------------------------

    def shelf(
        self, fingerprints: Collection[bytes], subjects: Collection[str], ids: Collection[str], now: datetime
    ) -> Shelf:  # fmt: skip
        """Warnings with these fingerprints, open red ones of these subjects, those named, and those due by `now`."""
        shelf = Shelf()
        rows = self._connection.execute(_SHELF, [list(fingerprints), list(subjects), list(ids), now])
        for row in rows:
            shelf.put(warning_of(row))
        return shelf

    def keep_warnings(self, shelf: Shelf) -> None:
        """Write those that are new or changed."""
        changed = [shelf.by_id[one] for one in sorted(shelf.changed)]
        if changed:
            with self._connection.cursor() as cursor:
                cursor.executemany(_KEEP_WARNING, [_columns_of(one) for one in changed])

    def keep_notices(self, notices: Sequence[Notice], number: int) -> int:
        """Write notices under the numbers after `number`; the last number."""
        rows = [
            (number + at, one.at, one.type, one.about, one.revision, one.level, one.rule, int(one.node),
             int(one.region), one.goods, one.subject, one.body)
            for at, one in enumerate(notices, 1)
        ]  # fmt: skip
        self._insert("notice", "number at type warning revision level rule node region goods subject body", rows)
        return number + len(rows)

    def keep(self, pages: Mapping[Page, Json], position: int, clocks: Json) -> None:
        """Write the book and the counts, and move the cursor: only from where it was."""
        if pages:
            columns = [[topic for topic, _ in pages], [key for _, key in pages]]
            self._connection.execute(_KEEP_PAGES, [*columns, [_dumps(page).decode() for page in pages.values()]])
        if self.counts:
            rows = [(rule, one.evaluated, one.matched, one.missing, one.raised) for rule, one in self.counts.items()]
            self._connection.execute(_KEEP_COUNTS, [list(column) for column in zip(*sorted(rows), strict=True)])
        moved = self._connection.execute(
            "INSERT INTO follower AS f (name, position, state) VALUES (%s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET position = EXCLUDED.position, state = EXCLUDED.state"
            " WHERE f.position = %s", [WATCHER, position, Jsonb(clocks), self._from],
        )  # fmt: skip
        if moved.rowcount != 1:
            raise LedgerDamaged("another watcher moved the cursor, although this one leads")
        self._from = position


def ends(rule: Rule, at: datetime) -> datetime:
    """Until when what a rule saw can count."""
    window = rule.window
    return at if window is None else at + window.span + window.lateness


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=str)


def _kept(facts: Mapping[str, Any]) -> Json:
    """Facts as JSON; a moment says that it is one."""
    return {k: {"time": time_text(v)} if isinstance(v, datetime) else v for k, v in facts.items()}


def _facts(kept: Json) -> Json:
    return {name: parse_time(value["time"]) if isinstance(value, dict) else value for name, value in kept.items()}


WARNING_COLUMNS = (
    "warning, revision, rule, rule_version, fingerprint, level, node, region, goods, subject, raised_at, changed_at,"
    " position, status, due_at, hidden, count, body"
)


def warning_of(row: Sequence[Any]) -> Warning:
    """A warning from its columns."""
    (id_, revision, rule, version, mark, level, node, region, goods, subject, raised_at, changed_at, position, status,
     due_at, hidden, count, body) = row  # fmt: skip
    return Warning(
        id_, revision, rule, version, bytes(mark), Level(level), f"{node:09d}", f"{region:06d}", goods, subject,
        raised_at, changed_at, position, status, due_at, hidden, count, body,
    )  # fmt: skip


def _columns_of(one: Warning) -> list[Any]:
    return [
        one.id, one.revision, one.rule, one.rule_version, one.fingerprint, int(one.level), int(one.node),
        int(one.region), one.goods, one.subject, one.raised_at, one.changed_at, one.position, one.status, one.due_at,
        one.hidden, one.count, Jsonb(one.body), words_of_warning(one),
    ]  # fmt: skip


_RANGES = """
SELECT start, node, first_seq, count FROM log_range
WHERE start >= (SELECT coalesce(max(start), 0) FROM log_range WHERE start <= %(position)s) ORDER BY start LIMIT %(most)s
"""
_ENTRIES = """
SELECT r.start + e.seq - r.first_seq, e.data, e.sealed
FROM unnest(%b::bigint[], %b::int[], %b::bigint[], %b::int[]) AS r(start, node, first_seq, count)
JOIN LATERAL (SELECT seq, data, sealed FROM entry WHERE entry.node = r.node AND entry.seq >= r.first_seq
              AND entry.seq < r.first_seq + r.count) AS e ON true ORDER BY 1
"""
_BIRTHS = """
SELECT w.position, w.item, e.data FROM unnest(%b::bigint[], %b::text[]) AS w(position, item)
JOIN item_entry i ON i.item = w.item AND i.role = %b AND i.action = %b
JOIN LATERAL (SELECT start + i.seq - first_seq AS position, first_seq + count AS after FROM log_range r
              WHERE r.node = i.node AND r.first_seq <= i.seq ORDER BY first_seq DESC LIMIT 1) AS p ON i.seq < p.after
JOIN entry e ON e.node = i.node AND e.seq = i.seq
WHERE p.position < w.position ORDER BY p.position
"""
_MEANT = """
SELECT w.position, e.data FROM unnest(%b::bigint[], %b::bytea[]) AS w(position, id)
JOIN event_id i ON i.id = w.id AND i.declaration = 0
JOIN LATERAL (SELECT start + i.seq - first_seq AS position, first_seq + count AS after FROM log_range r
              WHERE r.node = i.node AND r.first_seq <= i.seq ORDER BY first_seq DESC LIMIT 1) AS p ON i.seq < p.after
JOIN entry e ON e.node = i.node AND e.seq = i.seq WHERE p.position < w.position
"""
_SEEN = """
SELECT k.rule, k.key, s.at, s.position, s.part, s.event, s.value FROM unnest(%b::text[], %b::text[]) AS k(rule, key)
JOIN LATERAL (SELECT * FROM rule_window w WHERE w.rule = k.rule AND w.key = k.key
              ORDER BY w.at DESC, w.position DESC, w.part DESC LIMIT %s) AS s ON true
"""
_WAITING = """
WITH k AS (SELECT * FROM unnest(%b::text[], %b::text[]) AS k(rule, key)), wanted AS (
    SELECT w.* FROM rule_pending w JOIN k USING (rule, key)
    UNION SELECT * FROM rule_pending WHERE due_event <= %s
    UNION SELECT * FROM rule_pending WHERE due_record <= %s
)
SELECT rule, key, position, part, event, at, due_event, due_record, value FROM wanted
"""
_SHELF = f"""
SELECT {WARNING_COLUMNS} FROM warning WHERE fingerprint = ANY(%s)
UNION SELECT {WARNING_COLUMNS} FROM warning WHERE subject = ANY(%s) AND level = 1 AND status <> 'closed'
UNION SELECT {WARNING_COLUMNS} FROM warning WHERE warning = ANY(%s)
UNION SELECT {WARNING_COLUMNS} FROM warning WHERE due_at <= %s AND status <> 'closed'
ORDER BY raised_at, warning
"""  # noqa: S608 - the columns are from above
_KEEP_WARNING = f"""
INSERT INTO warning ({WARNING_COLUMNS}, words) VALUES ({", ".join(["%s"] * 19)})
ON CONFLICT (warning) DO UPDATE SET revision = EXCLUDED.revision, level = EXCLUDED.level,
changed_at = EXCLUDED.changed_at, status = EXCLUDED.status, due_at = EXCLUDED.due_at, hidden = EXCLUDED.hidden,
count = EXCLUDED.count, body = EXCLUDED.body, words = EXCLUDED.words
"""  # noqa: S608 - the columns are from above
_KEEP_PAGES = """
INSERT INTO rule_book (topic, key, value) SELECT t, k, v::jsonb FROM unnest(%b::text[], %b::text[], %b::text[])
AS p(t, k, v) ON CONFLICT (topic, key) DO UPDATE SET value = EXCLUDED.value
"""
_KEEP_COUNTS = """
INSERT INTO rule_count AS c (rule, evaluated, matched, missing, raised)
SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
ON CONFLICT (rule) DO UPDATE SET evaluated = c.evaluated + EXCLUDED.evaluated, matched = c.matched + EXCLUDED.matched,
missing = c.missing + EXCLUDED.missing, raised = c.raised + EXCLUDED.raised
"""
