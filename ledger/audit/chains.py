"""Every chain: hashes, links, places, sealed parts and erasures, and its head."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ledger.audit.derived import Derived
from ledger.audit.report import UNREADABLE, Report, stream
from ledger.codes import node_text
from ledger.entries import GENESIS, Entry, Kind, commitment, decode, hash_of


@dataclass(slots=True)
class _Chain:
    node: int
    seq: int = 0
    hashes: tuple[bytes, ...] = (GENESIS,)
    """What the next entry may name as the hash before: where an entry is damaged, that of its bytes or that stored."""
    bare: set[int] = field(default_factory=set)
    """Entries whose sealed part is gone, and no erasure has said so yet."""
    erased: set[int] = field(default_factory=set)


def check_chains(
    connection: psycopg.Connection, report: Report, derived: Derived, progress: Callable[[int], None]
) -> None:
    heads = {node: (seq, hash_) for node, seq, hash_ in connection.execute("SELECT node, seq, hash FROM head")}
    chain: _Chain | None = None
    query = "SELECT node, seq, kind, record_time, hash, data, salt, sealed FROM entry ORDER BY node, seq"
    for rows in stream(connection, "entries", query):
        good: list[Entry] = []
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


def _check_entry(row: tuple[Any, ...], chain: _Chain, report: Report) -> Entry | None:
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
    except UNREADABLE as error:
        report.add(where, f"its bytes cannot be read as an entry: {error}")
        return None
    if (entry.node, entry.seq) != (node, seq) or type(entry.seq) is not int:
        report.add(where, f"its bytes say that it is {entry.name}")
        return None
    if expected and entry.prev not in expected:
        report.add(where, "it does not name the hash of the entry before: one of the two was replaced")
    if (entry.kind, entry.record_time) != (kind, record_time):
        report.add(where, "kind or record time of the row are not those in its bytes")
    _check_sealed(entry, salt, sealed, chain, report)
    return entry


def _check_sealed(entry: Entry, salt: bytes | None, sealed: bytes | None, chain: _Chain, report: Report) -> None:
    where = f"entry {entry.name}"
    if entry.commitment is None:
        if sealed is not None:
            report.add(where, "it holds a sealed part, but its bytes say that nothing is sealed")
    elif salt is None or sealed is None:
        if entry.seq not in chain.erased:
            chain.bare.add(entry.seq)
    elif commitment(salt, sealed) != entry.commitment:
        report.add(where, "its sealed part or the salt was changed: they do not have the hash in its bytes")


def _end_chain(chain: _Chain | None, heads: dict[int, tuple[int, bytes]], derived: Derived, report: Report) -> None:
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
