"""The log: every place, tile, edge and cursor, and every checkpoint, signed as it says."""

import psycopg

from ledger.audit.report import Progress, Report, stream
from ledger.codes import node_text
from ledger.log import STEP_ENTRIES_MAX
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, TILE_WIDTH, Edge, leaf_hash
from ledger.notes import Checkpoint, NoteInvalid, Verifier, open_checkpoint


def check_log(
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
    for rows in stream(connection, "log", query, STEP_ENTRIES_MAX):
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
    for rows in stream(connection, "ranges", "SELECT start, node, first_seq, count FROM log_range ORDER BY start"):
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

    def check(self, full: dict[tuple[int, int], bytes]) -> None:
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
