"""What reports ask of the ledger: the questions that nobody else has, each a few reads whatever the answer's size.

Everything is read within the caller's snapshot. Who may see what is decided here for sealed parts and stock; what of a
trace is shown to whom: `ledger/trace.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Connection,
    SmallInteger,
    Text,
    any_,
    column,
    func,
    literal,
    select,
    true,
)

from ledger.access import Actor
from ledger.entries import Entry, decode
from ledger.errors import NotRecorded
from ledger.gs1 import Key
from ledger.keys import KeyFolder
from ledger.log import Published, read_tiles
from ledger.merkle import ProofInvalid, ReadTile, consistency_proof, inclusion_proof, root, verify_consistency
from ledger.notes import Checkpoint
from ledger.packs.states import State
from ledger.reads import places_as_rows
from ledger.tables import (
    balance,
    checkpoint,
    entry,
    event,
    head,
    item_entry,
    log_cursor,
    log_range,
    node,
    pack,
    product,
    registry_version,
    tile,
)
from ledger.vault import Vault

Place = tuple[int, int]
"""Node and sequence: where an entry stands."""


def log_keys(vault: Vault) -> KeyFolder:
    """The folder with the log's keys: the one that the vault's keys lie in."""
    return vault._folder


# --- proofs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """An entry with what proves it. `index` is None while it is not under the checkpoint.

    `salt` and `sealed` are None where the reader may not see them, nothing is sealed, or it was erased.
    """

    entry: Entry
    index: int | None
    path: Sequence[bytes]
    salt: bytes | None
    sealed: bytes | None


def published(connection: Connection, size: int) -> Published:
    """The checkpoint of that size; `NotRecorded` if none was published."""
    row = connection.execute(select(checkpoint).where(checkpoint.c.size == size)).one_or_none()
    if row is None:
        raise NotRecorded(f"no checkpoint of {size} entries was published; the worker signs within a second")
    return Published(row.size, row.root, row.note)


def evidence(connection: Connection, places: Iterable[Place], under: Published, actor: Actor) -> list[Evidence]:
    """The entries at these places, in the order of their chains, each with its path to the checkpoint's root.

    Four reads, however many they are. An entry's bytes are for whoever holds a code of it (DESIGN, 5); its sealed part
    is for who may see the node.
    """
    places = list(places)
    if not places:
        return []
    wanted = places_as_rows(sorted(set(places)))
    indices = _indices(connection, places)
    inside = [index for index in indices.values() if index < under.size]
    read = _tiles_for(connection, inside, under.size)
    question = (
        select(entry.c.node, entry.c.seq, entry.c.data, entry.c.salt, entry.c.sealed)
        .join_from(entry, wanted, (entry.c.node == wanted.c.node) & (entry.c.seq == wanted.c.seq))
        .order_by(entry.c.node, entry.c.seq)
    )
    found = []
    for row in connection.execute(question):
        index = indices.get((row.node, row.seq), under.size)
        is_under, shown = index < under.size, actor.may_see(row.node) and row.sealed is not None
        found.append(
            Evidence(
                decode(bytes(row.data)), index if is_under else None,
                inclusion_proof(index, under.size, read) if is_under else (),
                bytes(row.salt) if shown else None, bytes(row.sealed) if shown else None,
            )
        )  # fmt: skip
    return found


def _indices(connection: Connection, places: Iterable[Place]) -> dict[Place, int]:
    """Where these entries lie in the log; those that are not in it yet are missing."""
    wanted = places_as_rows(sorted(set(places)))
    nearest = (
        select(log_range.c.start, log_range.c.first_seq, log_range.c.count)
        .where(log_range.c.node == wanted.c.node, log_range.c.first_seq <= wanted.c.seq)
        .order_by(log_range.c.first_seq.desc())
        .limit(1)
        .lateral("nearest")
    )
    question = select(wanted.c.node, wanted.c.seq, nearest.c.start, nearest.c.first_seq, nearest.c.count).join_from(
        wanted, nearest, true()
    )
    return {
        (row.node, row.seq): row.start + row.seq - row.first_seq
        for row in connection.execute(question)
        if row.seq < row.first_seq + row.count
    }


def _tiles_for(connection: Connection, indices: Iterable[int], size: int) -> ReadTile:
    """A reader of tiles that has those on the way of these leaves already; others it reads one by one."""
    last = max(size - 1, 0)
    levels = range((last.bit_length() + 7) // 8)
    names = sorted({(level, index >> 8 * (level + 1)) for index in (*indices, last) for level in levels})
    question = select(tile.c.level, tile.c.n, tile.c.hashes)
    numbers = func.unnest(
        literal([level for level, _ in names], ARRAY(SmallInteger)), literal([n for _, n in names], ARRAY(BigInteger))
    ).table_valued(column("level", SmallInteger), column("n", BigInteger))
    asked = numbers.render_derived(name="asked")
    rows = connection.execute(
        question.join_from(tile, asked, (tile.c.level == asked.c.level) & (tile.c.n == asked.c.n))
    )
    known = {(row.level, row.n): bytes(row.hashes) for row in rows} if names else {}
    others = read_tiles(connection)
    return lambda level, n: known[level, n] if (level, n) in known else others(level, n)


# --- dossiers ---------------------------------------------------------------------------------------


def node_names(connection: Connection, codes: Iterable[int]) -> dict[int, str]:
    """What these nodes are called, as far as they are registered."""
    question = select(node.c.node, node.c.name).where(node.c.node.in_(sorted(set(codes))))
    return {row.node: row.name for row in connection.execute(question)}


@dataclass(frozen=True, slots=True)
class Stock:
    """How much of a lot is where. The holder is a node (9 digits), or an operator's place at it (13)."""

    item: Key
    holder: str
    unit: str
    quantity: Decimal


def stock_of(connection: Connection, items: Iterable[Key], actor: Actor) -> list[Stock]:
    """What is left of these lots at nodes that the actor may see, as the balances say; also what is below nothing."""
    question = (
        select(balance.c.item, balance.c.holder, balance.c.uom, balance.c.quantity)
        .where(balance.c.item == any_(literal(sorted(set(items)), ARRAY(Text))), balance.c.quantity != 0)
        .order_by(balance.c.item, balance.c.holder, balance.c.uom)
    )
    rows = connection.execute(question)
    return [Stock(Key(row[0]), *row[1:]) for row in rows if actor.may_see(int(row.holder[:9]))]


@dataclass(frozen=True, slots=True)
class PackNow:
    """How a pack stands: its state, since when, and the node that it is or was at."""

    code: Key
    node: int
    state: State
    held: bool
    since: datetime


def packs_of(connection: Connection, items: Iterable[Key], actor: Actor) -> list[PackNow]:
    """How those of these items that are packs of drugs stand, at nodes that the actor may see."""
    question = (
        select(pack.c.code, pack.c.node, pack.c.state, pack.c.held, pack.c.since)
        .where(pack.c.code == any_(literal(sorted(set(items)), ARRAY(Text))))
        .order_by(pack.c.code)
    )
    rows = connection.execute(question)
    return [PackNow(Key(row.code), row.node, State(row.state), row.held, row.since) for row in rows
            if actor.may_see(row.node)]  # fmt: skip


# --- recalls ----------------------------------------------------------------------------------------


def entries_of_records(connection: Connection, subjects: Iterable[str]) -> dict[str, list[Place]]:
    """Which entries made the versions of these records of the registry, oldest first."""
    question = (
        select(registry_version.c.subject, registry_version.c.node, registry_version.c.seq)
        .where(registry_version.c.subject == any_(literal(sorted(set(subjects)), ARRAY(Text))))
        .order_by(registry_version.c.subject, registry_version.c.version)
    )
    found: dict[str, list[Place]] = {}
    for row in connection.execute(question):
        found.setdefault(row.subject, []).append((row.node, row.seq))
    return found


def entries_of_lots(connection: Connection, items: Iterable[Key], at_most: int) -> dict[int, tuple[list[Place], int]]:
    """For each node which entries speak of these lots, the latest `at_most` of them, and how many there are."""
    places = (
        select(item_entry.c.node, item_entry.c.seq)
        .where(item_entry.c.item == any_(literal(sorted(set(items)), ARRAY(Text))))
        .distinct()
        .subquery()
    )
    numbered = select(
        places.c.node, places.c.seq,
        func.row_number().over(partition_by=places.c.node, order_by=places.c.seq.desc()).label("number"),
        func.count().over(partition_by=places.c.node).label("total"),
    ).subquery()  # fmt: skip
    question = select(numbered).where(numbered.c.number <= at_most).order_by(numbered.c.node, numbered.c.seq)
    found: dict[int, tuple[list[Place], int]] = {}
    for row in connection.execute(question):
        found.setdefault(row.node, ([], row.total))[0].append((row.node, row.seq))
    return found


def product_codes(connection: Connection, code: str) -> set[str]:
    """All codes of a product of drugs: its GTIN and the 7 digits of its trace codes."""
    question = select(product.c.product, product.c.gtin).where((product.c.product == code) | (product.c.gtin == code))
    return {code} | {name for row in connection.execute(question) for name in row if name is not None}


Standing = tuple[int, State, bool]
"""Where packs are or were, in which state, and whether they are there."""


def entries_of_packs(
    connection: Connection, products: Iterable[str], batches: Sequence[str] | None, at_most: int
) -> dict[Standing, tuple[list[Place], int]]:
    """For each standing of the packs of these batches, the latest entries that brought packs there, and how many.

    An event that moves packs gives them its own record time; so one pack of each moment leads to the event of all, and
    only the latest moments are looked up: of a product many thousand packs may be anywhere.
    """
    standing = [pack.c.node, pack.c.state, pack.c.held]
    one_each = select(*standing, pack.c.since, func.min(pack.c.code).label("code")).where(
        pack.c.product.in_(sorted(set(products)))
    )
    if batches:
        one_each = one_each.where(pack.c.batch.in_(batches))
    moments = one_each.group_by(*standing, pack.c.since).subquery()
    alike = [moments.c.node, moments.c.state, moments.c.held]
    ranked = select(
        moments,
        func.row_number().over(partition_by=alike, order_by=moments.c.since.desc()).label("number"),
        func.count().over(partition_by=alike).label("total"),
    ).subquery()  # fmt: skip
    latest = [ranked.c.node, ranked.c.state, ranked.c.held, ranked.c.total]
    seq = func.max(event.c.seq).label("seq")
    question = (
        select(*latest, seq)
        .join_from(ranked, item_entry, (item_entry.c.item == ranked.c.code) & (item_entry.c.node == ranked.c.node))
        .join(
            event,
            (event.c.node == item_entry.c.node) & (event.c.seq == item_entry.c.seq)
            & (event.c.record_time == ranked.c.since),
        )
        .where(ranked.c.number <= at_most)
        .group_by(*latest, ranked.c.since)
        .order_by(ranked.c.node, "seq")
    )  # fmt: skip
    found: dict[Standing, tuple[list[Place], int]] = {}
    for row in connection.execute(question):
        key = (row.node, State(row.state), row.held)
        found.setdefault(key, ([], row.total))[0].append((row.node, row.seq))
    return found


# --- integrity --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChainNow:
    """A chain: how many entries it has, how many of them are in the log, its last entry's hash and record time."""

    node: int
    name: str | None
    entries: int
    in_log: int
    hash: bytes
    last: datetime | None


def chains(connection: Connection) -> list[ChainNow]:
    """Every chain as its head says it."""
    question = (
        select(head.c.node, node.c.name, head.c.seq, func.coalesce(log_cursor.c.seq, 0), head.c.hash,
               entry.c.record_time)
        .outerjoin_from(head, node, node.c.node == head.c.node)
        .outerjoin(log_cursor, log_cursor.c.node == head.c.node)
        .outerjoin(entry, (entry.c.node == head.c.node) & (entry.c.seq == head.c.seq))
        .order_by(head.c.node)
    )  # fmt: skip
    return [ChainNow(*row[:4], bytes(row[4]), row[5]) for row in connection.execute(question)]


@dataclass(frozen=True, slots=True)
class LogNow:
    """The log as its tables say: how many ranges and entries it has, and the checkpoint that speaks of it last."""

    ranges: int
    size: int
    latest: Published
    computed_root: bytes | None
    """The root of the latest checkpoint's size, from the stored tiles; None where they do not hold together."""


def log_now(connection: Connection, size: int) -> LogNow:
    """The log, and the published checkpoint of `size` with its root computed again from the tiles."""
    ranges = connection.execute(select(func.count()).select_from(log_range)).scalar_one()
    end = select(log_range.c.start + log_range.c.count).order_by(log_range.c.start.desc()).limit(1)
    latest = published(connection, size)
    return LogNow(ranges, connection.execute(end).scalar() or 0, latest, _root(connection, latest.size))


def _root(connection: Connection, size: int) -> bytes | None:
    try:
        return root(size, read_tiles(connection))
    except ValueError:
        return None


def extends(connection: Connection, latest: Published, outside: Checkpoint) -> bool | None:
    """Whether the published checkpoint and the one outside the database are of one growing log.

    Shown by a consistency proof from the smaller to the larger (RFC 6962, 2.1.2), made from the stored tiles. None
    where the one outside is ahead of what is in the log at all.
    """
    trees: Mapping[int, bytes] = {outside.size: outside.root, latest.size: latest.root}
    old, new = sorted((outside.size, latest.size))
    if old == new:
        return outside.root == latest.root
    if old == 0:
        return True
    try:
        proof = consistency_proof(old, new, read_tiles(connection))
    except ValueError:
        return None
    try:
        verify_consistency(old, new, trees[old], trees[new], proof)
    except ProofInvalid:
        return False
    return True
