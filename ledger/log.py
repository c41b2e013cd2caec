"""The log: every entry of every chain in one Merkle tree, integrated, signed, and read for proofs.

The integrator takes the chains from where it left off, in ascending order of nodes, gives every entry its place, and
signs the tree. It alone writes `log_range`, `tile`, `edge`, `log_cursor` and `checkpoint`. The order of a checkpoint:
commit the tree, sign, write the file outside the database, publish. Whatever happens between two of these steps, the
next start goes on from there: nothing is ever signed that does not extend the file outside.
"""

from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, select

from ledger.codes import node_text
from ledger.entries import hash_of
from ledger.errors import LedgerDamaged, LogRolledBack, Misconfigured, NotRecorded
from ledger.keys import KeyFolder
from ledger.merkle import HASH_BYTES, TILE_WIDTH, Edge, ReadTile, consistency_proof, inclusion_proof, leaf_hash, root
from ledger.notes import Checkpoint, Signer, format_proof, sign_note
from ledger.tables import checkpoint, edge, entry, log_range, tile

STEP_ENTRIES_MAX = 20_000


class Integrator:
    """The one writer of the log. Use it only while holding the leader's lock."""

    def __init__(self, connection: psycopg.Connection, keys: KeyFolder, signer: Signer) -> None:
        self._connection, self._keys, self._signer = connection, keys, signer
        self._edge = _load_edge(connection)
        self.published = _published_size(connection)
        self._require_extends_outside()
        require_present_key(keys, signer)

    def _require_extends_outside(self) -> None:
        """`LogRolledBack` unless the log extends the last checkpoint that was signed."""
        outside = self._keys.last_checkpoint()
        if outside is None:
            if self.published:
                raise LogRolledBack(
                    f"the database holds a signed checkpoint of {self.published} entries, but {self._keys.path} none; "
                    f"bring the key folder back, or decide with: suyuan key replace"
                )
            return
        size = self._edge.size
        try:
            if size >= outside.size and root(outside.size, _tile_reader(self._connection)) == outside.root:
                return
        except ValueError as error:
            raise LedgerDamaged(f"the tiles of the log do not hold together ({error}); run: suyuan audit") from error
        was = "shorter than" if size < outside.size else "other than"
        raise LogRolledBack(
            f"the log is {was} what was signed last ({outside.size} entries; there are {size} now); was an old back-up "
            f"restored? Restore a newer one, or decide with: suyuan key replace"
        )

    def step(self) -> int:
        """Integrate what is new, sign and publish it; how many entries that were. 0 means that nothing waits."""
        taken = self._integrate()
        if self._edge.size > self.published:
            self._sign()
        return taken

    def _integrate(self) -> int:
        """Give new entries their places and grow the tree, in one transaction."""
        with self._connection.transaction():
            ranges = self._connection.execute(_NEW_RANGES, {"most": STEP_ENTRIES_MAX}, binary=True).fetchall()
            if not ranges:
                return 0
            columns: list[list[int]] = [list(column) for column in zip(*ranges, strict=True)]
            found = self._connection.execute(_HASHES, columns, binary=True).fetchall()
            starts, start = [], self._edge.size
            for _, _, count in ranges:
                starts.append(start)
                start += count
            if len(found) != start - self._edge.size:
                raise LedgerDamaged("a chain has fewer entries than its head says; run: suyuan audit")
            grown = Edge(self._edge.size, self._edge.partial)
            full = grown.append(leaf_hash(hash_) for (hash_,) in found)
            self._connection.execute(_ADD_RANGES, [starts, *columns])
            self._connection.execute(_MOVE_CURSORS, columns)
            keys = [*full]
            self._connection.execute(_ADD_TILES, [[k[0] for k in keys], [k[1] for k in keys], [*full.values()]])
            levels = [*grown.partial]
            self._connection.execute(_MOVE_EDGE, [levels, [grown.partial[level] for level in levels]])
        self._edge = grown
        return len(found)

    def _sign(self) -> None:
        signed = Checkpoint(self._signer.name, self._edge.size, self._edge.root())
        note = sign_note(signed.text, self._signer)
        with self._connection.transaction():
            # Inserted first: whoever lost the connection, and with it the lead, gets no further.
            self._connection.execute(
                "INSERT INTO checkpoint (size, root, note) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [signed.size, signed.root, note],
            )
            self._keys.keep_note(note)
            # The point of no return: from here on the log must extend this checkpoint for ever. The commit publishes.
        self.published = signed.size


def require_present_key(keys: KeyFolder, signer: Signer) -> None:
    """`Misconfigured` if the key was replaced since `signer` was read: a retired key signs nothing more."""
    if keys.signer(signer.name).verifier != signer.verifier:
        raise Misconfigured("the signing key was replaced after this process read it; start it again")


def begin_anew(connection: psycopg.Connection, keys: KeyFolder, signer: Signer) -> None:
    """Sign the log as it stands with a new key, whatever the old one signed: an operator's decision, made elsewhere."""
    grown = _load_edge(connection)
    if grown.size:
        keys.keep_note(sign_note(Checkpoint(signer.name, grown.size, grown.root()).text, signer))


_NEW_RANGES = """
SELECT node, first_seq, least(count, %(most)s - before)::int AS count FROM (
    SELECT node, coalesce(c.seq, 0) + 1 AS first_seq, h.seq - coalesce(c.seq, 0) AS count,
           sum(h.seq - coalesce(c.seq, 0)) OVER (ORDER BY node) - (h.seq - coalesce(c.seq, 0)) AS before
    FROM head h LEFT JOIN log_cursor c USING (node) WHERE h.seq > coalesce(c.seq, 0)
) AS waiting WHERE before < %(most)s ORDER BY node
"""
_HASHES = """
SELECT hash FROM unnest(%b::int[], %b::bigint[], %b::int[]) WITH ORDINALITY AS r(node, first_seq, count, number)
CROSS JOIN LATERAL (SELECT hash, seq FROM entry e WHERE e.node = r.node AND e.seq >= r.first_seq
                    AND e.seq < r.first_seq + r.count) AS e ORDER BY r.number, e.seq
"""
_ADD_RANGES = """
INSERT INTO log_range (start, node, first_seq, count)
SELECT * FROM unnest(%b::bigint[], %b::int[], %b::bigint[], %b::int[])
"""
_MOVE_CURSORS = """
INSERT INTO log_cursor (node, seq) SELECT node, first_seq + count - 1
FROM unnest(%b::int[], %b::bigint[], %b::int[]) AS r(node, first_seq, count)
ON CONFLICT (node) DO UPDATE SET seq = excluded.seq
"""
_ADD_TILES = """
INSERT INTO tile (level, n, hashes) SELECT * FROM unnest(%b::smallint[], %b::bigint[], %b::bytea[])
"""
_MOVE_EDGE = """
INSERT INTO edge (level, hashes) SELECT * FROM unnest(%b::smallint[], %b::bytea[])
ON CONFLICT (level) DO UPDATE SET hashes = excluded.hashes
"""


def _load_edge(connection: psycopg.Connection) -> Edge:
    with connection.transaction():
        last = connection.execute("SELECT start + count FROM log_range ORDER BY start DESC LIMIT 1").fetchone()
        partial: dict[int, bytes] = dict(connection.execute("SELECT level, hashes FROM edge").fetchall())
    try:
        return Edge(last[0] if last else 0, partial)
    except ValueError as error:
        raise LedgerDamaged(f"the edge of the log does not fit its size ({error}); run: suyuan audit") from error


def _published_size(connection: psycopg.Connection) -> int:
    with connection.transaction():
        row = connection.execute("SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    return row[0] if row else 0


def _tile_reader(connection: psycopg.Connection) -> ReadTile:
    def read(level: int, n: int) -> bytes:
        with connection.transaction():
            row = connection.execute(
                "SELECT hashes FROM tile WHERE level = %s AND n = %s UNION ALL"
                " SELECT hashes FROM edge WHERE level = %s LIMIT 1",
                [level, n, level],
            ).fetchone()
        return row[0] if row else b""

    return read


# --- reads ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Published:
    """A published checkpoint and its signed note."""

    size: int
    root: bytes
    note: str


def latest(connection: Connection) -> Published:
    """The newest checkpoint; `NotRecorded` while nothing has been signed yet."""
    row = connection.execute(select(checkpoint).order_by(checkpoint.c.size.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotRecorded("nothing has been signed yet; the worker signs within a second: is it running?")
    return Published(row.size, row.root, row.note)


def read_tiles(connection: Connection) -> ReadTile:
    """Tiles of the log as stored, each read once; to be used within one snapshot."""
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, n: int) -> bytes:
        if (level, n) not in known:
            known[level, n] = _read_tile(connection, level, n)
        return known[level, n]

    return read


def _read_tile(connection: Connection, level: int, n: int) -> bytes:
    full = connection.execute(select(tile.c.hashes).where(tile.c.level == level, tile.c.n == n)).scalar_one_or_none()
    if full is not None:
        return bytes(full)
    partial = connection.execute(select(edge.c.hashes).where(edge.c.level == level)).scalar_one_or_none()
    return bytes(partial or b"")


def tile_bytes(connection: Connection, level: int, n: int, width: int) -> bytes:
    """A tile of `width` hashes as C2SP serves it; `NotRecorded` where no published tree has it."""
    available = latest(connection).size >> (8 * level)
    if not 0 < width <= TILE_WIDTH or n * TILE_WIDTH + width > available:
        raise NotRecorded("no checkpoint published so far has this tile")
    return _read_tile(connection, level, n)[: width * HASH_BYTES]


def bundle_bytes(connection: Connection, n: int, width: int) -> bytes:
    """An entry bundle as C2SP serves it: for each entry its length, 32, and its hash, which is the leaf's data."""
    if not 0 < width <= TILE_WIDTH or n * TILE_WIDTH + width > latest(connection).size:
        raise NotRecorded("no checkpoint published so far has this bundle")
    hashes = _hashes_at(connection, n * TILE_WIDTH, width)
    if len(hashes) != width:
        raise LedgerDamaged(f"entries of bundle {n} are gone; run: suyuan audit")
    return b"".join(HASH_BYTES.to_bytes(2, "big") + hash_ for hash_ in hashes)


def _hashes_at(connection: Connection, first: int, count: int) -> list[bytes]:
    """The entry hashes at places `first` … of the log."""
    before = select(log_range.c.start).where(log_range.c.start <= first).order_by(log_range.c.start.desc()).limit(1)
    question = (
        select(entry.c.hash)
        .join(log_range, log_range.c.node == entry.c.node)
        .where(
            log_range.c.start >= before.scalar_subquery(),
            log_range.c.start < first + count,
            entry.c.seq >= log_range.c.first_seq,
            entry.c.seq < log_range.c.first_seq + log_range.c.count,
            log_range.c.start + entry.c.seq - log_range.c.first_seq >= first,
            log_range.c.start + entry.c.seq - log_range.c.first_seq < first + count,
        )
        .order_by(log_range.c.start, entry.c.seq)
    )
    return [bytes(hash_) for hash_ in connection.execute(question).scalars()]


def index_of(connection: Connection, node: int, seq: int) -> int:
    """The place of an entry in the log; `NotRecorded` if it has none (yet)."""
    question = (
        select(log_range.c.start, log_range.c.first_seq, log_range.c.count)
        .where(log_range.c.node == node, log_range.c.first_seq <= seq)
        .order_by(log_range.c.first_seq.desc())
        .limit(1)
    )
    row = connection.execute(question).one_or_none()
    if row is None or seq >= row.first_seq + row.count:
        raise NotRecorded(f"the entry {node_text(node)}/{seq} is not in the log; new entries are within a second")
    return int(row.start + seq - row.first_seq)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """An entry's place in the log and the path to a published root."""

    index: int
    size: int
    path: list[bytes]
    leaf: bytes
    note: str


def prove_inclusion(connection: Connection, node: int, seq: int, size: int | None = None) -> Inclusion:
    """That an entry is in the log of the newest checkpoint, or of the published one of `size`."""
    index = index_of(connection, node, seq)
    under = latest(connection) if size is None else _published(connection, size)
    if index >= under.size:
        raise NotRecorded(f"the entry {node_text(node)}/{seq} is not under the checkpoint of {under.size} entries")
    question = select(entry.c.data).where(entry.c.node == node, entry.c.seq == seq)
    data = connection.execute(question).scalar_one_or_none()
    if data is None:
        raise LedgerDamaged(f"the entry {node_text(node)}/{seq} is in the log, but gone; run: suyuan audit")
    path = inclusion_proof(index, under.size, read_tiles(connection))
    return Inclusion(index, under.size, path, leaf_hash(hash_of(bytes(data))), under.note)


def _published(connection: Connection, size: int) -> Published:
    row = connection.execute(select(checkpoint).where(checkpoint.c.size == size)).one_or_none()
    if row is None:
        raise NotRecorded(f"no checkpoint of {size} entries was published; leave the size out for the newest")
    return Published(row.size, row.root, row.note)


def proof_file(connection: Connection, node: int, seq: int) -> str:
    """A C2SP `tlog-proof` file for an entry, under the newest checkpoint."""
    found = prove_inclusion(connection, node, seq)
    return format_proof(found.index, found.path, found.note)


def prove_consistency(connection: Connection, old: int, new: int | None = None) -> tuple[int, list[bytes]]:
    """The size of the newer tree, and the proof that the tree of `old` entries is its beginning."""
    newest = latest(connection).size
    size = newest if new is None else new
    if not 0 < old <= size <= newest:
        raise NotRecorded(f"sizes must be 0 < old <= new <= {newest}")
    return size, consistency_proof(old, size, read_tiles(connection))
