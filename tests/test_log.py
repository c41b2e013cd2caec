"""The log: every entry once, tiles and proofs as the RFC says, and never two roots for one size, whatever breaks."""

import contextlib
import dataclasses
import functools
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest
from sqlalchemy import Connection

from api.ledger import Ledger, now
from ledger import log as log_module
from ledger.append import Request, append
from ledger.codes import CITY, IMPORT, NodeCode
from ledger.database import Database
from ledger.drafts import draft
from ledger.embedded import APPLICATION, OWNER, SUPERUSER
from ledger.entries import Kind, hash_of
from ledger.errors import LedgerDamaged, LogRolledBack, Misconfigured, NotRecorded
from ledger.keys import KeyFolder
from ledger.log import (
    Integrator,
    bundle_bytes,
    index_of,
    latest,
    proof_file,
    prove_consistency,
    prove_inclusion,
    tile_bytes,
)
from ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash, verify_consistency, verify_inclusion
from ledger.notes import open_checkpoint, verify_proof
from tests.conftest import Own, check_ledger, sign
from tests.test_append import day, request_of

A, B, C = NodeCode(330212001), NodeCode(330212002), NodeCode(330212003)


def small(node: int, count: int) -> Request:
    """`count` small entries of a chain, in one request. Decisions have no rows but their own."""
    body = {"decision": {"reason": "a test"}}
    return Request([draft(node, Kind.DECISION, body, secrets.token_bytes) for _ in range(count)], "operator")


def write(database: Database, requests: Sequence[Request]) -> None:
    """Record on a connection of our own, which is gone afterwards."""
    with database.connect() as connection:
        for outcome in append(connection, requests, now):
            assert isinstance(outcome, list), outcome


def tree_head(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, of a list of leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(tree_head(leaves[:k]), tree_head(leaves[k:]))


def places(ledger: Ledger) -> list[tuple[int, int, bytes]]:
    """Node, sequence and bytes of every entry in the order of the log, by a query of the test's own."""
    with ledger.database.connect() as connection:
        found = connection.execute(
            "SELECT r.start + e.seq - r.first_seq, e.node, e.seq, e.data FROM entry e"
            " JOIN log_range r ON r.node = e.node AND e.seq BETWEEN r.first_seq AND r.first_seq + r.count - 1"
            " ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in found] == list(range(len(found)))
    return [row[1:] for row in found]


def leaves_of(ledger: Ledger) -> list[bytes]:
    return [leaf_hash(hash_of(data)) for _, _, data in places(ledger)]


def count(ledger: Ledger, table: str) -> int:
    with ledger.database.connect() as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def checkpoints(ledger: Ledger) -> dict[int, bytes]:
    """Every published checkpoint, its note opened."""
    with ledger.database.connect() as connection:
        rows = connection.execute("SELECT size, root, note FROM checkpoint ORDER BY size").fetchall()
    for size, root, note in rows:
        signed = open_checkpoint(note, ledger.keys.verifiers())
        assert (signed.size, signed.root) == (size, root)
    return {size: root for size, root, _ in rows}


@contextlib.contextmanager
def integrating(ledger: Ledger) -> Iterator[Integrator]:
    with ledger.database.connect() as connection:
        connection.autocommit = True
        yield Integrator(connection, ledger.keys, ledger.signer)


@pytest.fixture
def grown(ledger: Ledger) -> Ledger:
    """A log of 641 entries of four chains, signed at nine sizes on both sides of two tiles' borders."""
    for node, number in ((A, 1), (B, 100), (C, 152), (A, 1), (IMPORT, 1), (B, 130), (C, 124), (A, 1), (B, 129)):
        write(ledger.database, [small(node, number)])
        sign(ledger)
    assert [*checkpoints(ledger)] == [3, 103, 255, 256, 257, 387, 511, 512, 641]
    return ledger


def test_every_published_root_is_the_rfcs(grown: Ledger) -> None:
    leaves = leaves_of(grown)
    assert len(leaves) == count(grown, "entry")
    for size, root in checkpoints(grown).items():
        assert root == tree_head(leaves[:size])


def test_every_tile_of_every_width_is_served_and_nothing_beyond(grown: Ledger) -> None:
    """A verifier who saw an older checkpoint asks for partial tiles of its size; they are cached for ever."""
    rows = [leaves_of(grown)]
    while rows[-1]:
        rows.append([tree_head(rows[-1][i : i + 256]) for i in range(0, len(rows[-1]) // 256 * 256, 256)])
    assert [len(row) for row in rows] == [641, 2, 0]
    with grown.database.read() as connection:
        for level, row in enumerate(rows):
            for end in range(1, len(row) + 1):
                n, width = divmod(end - 1, 256)
                assert tile_bytes(connection, level, n, width + 1) == b"".join(row[n * 256 : end])
            for n, width in ((len(row) // 256, len(row) % 256 + 1), (len(row) // 256 + 1, 1)):
                with pytest.raises(NotRecorded):
                    tile_bytes(connection, level, n, width)


def test_every_bundle_of_every_width_is_served_and_nothing_beyond(grown: Ledger) -> None:
    hashes = [hash_of(data) for _, _, data in places(grown)]
    with grown.database.read() as connection:
        for end in range(1, len(hashes) + 1):
            n, width = divmod(end - 1, 256)
            expected = b"".join(b"\0\x20" + hash_ for hash_ in hashes[n * 256 : end])
            assert bundle_bytes(connection, n, width + 1) == expected
        for n, width in ((2, 130), (2, 256), (3, 1), (10**9, 1)):
            with pytest.raises(NotRecorded):
                bundle_bytes(connection, n, width)


def test_a_tile_has_one_to_256_hashes(grown: Ledger) -> None:
    with grown.database.read() as connection:
        for serve in (functools.partial(tile_bytes, connection, 0), functools.partial(bundle_bytes, connection)):
            for width in (0, -1, 257):
                with pytest.raises(NotRecorded):
                    serve(0, width)


def test_what_is_integrated_but_not_signed_is_not_served(grown: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are immutable to caches: one that no checkpoint vouches for must not get out."""
    write(grown.database, [small(A, 3)])
    monkeypatch.setattr(Integrator, "_sign", lambda _: None)
    with integrating(grown) as integrator:
        assert integrator.step() == 3
    with grown.database.read() as connection:
        assert latest(connection).size == 641 and len(tile_bytes(connection, 0, 2, 129)) == 129 * 32
        with pytest.raises(NotRecorded):
            tile_bytes(connection, 0, 2, 130)
        with pytest.raises(NotRecorded, match="not under the checkpoint"):
            prove_inclusion(connection, A, 6)
        with pytest.raises(NotRecorded):
            prove_consistency(connection, 641, 642)


def test_every_entry_is_proved_under_every_checkpoint_that_covers_it(grown: Ledger) -> None:
    sizes = checkpoints(grown)
    with grown.database.read() as connection:
        for index, (node, seq, data) in [*enumerate(places(grown))][::7]:
            assert index_of(connection, node, seq) == index
            for size, root in sizes.items():
                if index >= size:
                    with pytest.raises(NotRecorded):
                        prove_inclusion(connection, node, seq, size)
                    continue
                found = prove_inclusion(connection, node, seq, size)
                assert (found.index, found.size, found.leaf) == (index, size, leaf_hash(hash_of(data)))
                verify_inclusion(index, size, found.leaf, found.path, root)
            assert verify_proof(proof_file(connection, node, seq), data, grown.keys.verifiers())[0] == index


def test_any_two_published_sizes_are_consistent(grown: Ledger) -> None:
    sizes = checkpoints(grown)
    with grown.database.read() as connection:
        for old, old_root in sizes.items():
            for new, new_root in sizes.items():
                if old <= new:
                    size, proof = prove_consistency(connection, old, new)
                    verify_consistency(old, size, old_root, new_root, proof)
            assert prove_consistency(connection, old)[0] == 641


def test_what_is_not_there_or_not_published_has_no_proof(grown: Ledger) -> None:
    with grown.database.read() as connection:
        for old, new in ((0, 5), (-1, 5), (6, 5), (1, 642), (642, None), (642, 642)):
            with pytest.raises(NotRecorded):
                prove_consistency(connection, old, new)
        for node, seq in ((A, 4), (A, 0), (A, -1), (999999999, 1), (B, 10**18)):
            with pytest.raises(NotRecorded):
                prove_inclusion(connection, node, seq)
        with pytest.raises(NotRecorded, match="no checkpoint of 640"):
            prove_inclusion(connection, A, 1, 640)


def test_nothing_is_served_before_the_first_checkpoint(ledger: Ledger) -> None:
    questions: list[Callable[[Connection], object]] = [
        latest,
        lambda c: tile_bytes(c, 0, 0, 1),
        lambda c: bundle_bytes(c, 0, 1),
        lambda c: prove_inclusion(c, CITY, 1),
        lambda c: prove_consistency(c, 1),
    ]
    with ledger.database.read() as connection:
        for question in questions:
            with pytest.raises(NotRecorded):
                question(connection)


@pytest.mark.damages
def test_a_bundle_or_proof_without_its_entries_says_so(own: Own, grown: Ledger) -> None:
    """Shorter bytes under a name that caches keep for ever would be worse than none."""
    with own.superuser() as connection:
        connection.execute("DELETE FROM entry WHERE node = %s AND seq = 100", [B])
    with grown.database.read() as connection:
        with pytest.raises(LedgerDamaged):
            bundle_bytes(connection, 0, 256)
        with pytest.raises(LedgerDamaged):
            prove_inclusion(connection, B, 100)


def test_entries_of_all_chains_follow_in_small_steps(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that ends inside a chain must go on there, and not before or after it."""
    monkeypatch.setattr(log_module, "STEP_ENTRIES_MAX", 7)
    write(ledger.database, [small(A, 20), small(B, 1), small(C, 300)])
    with integrating(ledger) as integrator:
        taken = [integrator.step() for _ in range(50)]
    assert taken == [7] * 46 + [1, 0, 0, 0] and len(places(ledger)) == 323
    leaves = leaves_of(ledger)
    assert all(root == tree_head(leaves[:size]) for size, root in checkpoints(ledger).items())


def test_integrating_while_others_write_takes_every_entry_once(ledger: Ledger) -> None:
    def writer(node: int) -> None:
        for number in range(40):
            write(ledger.database, [small(node, 1 + number % 5)])

    threads = [threading.Thread(target=writer, args=[node]) for node in (A, B, C, A)]
    with integrating(ledger) as integrator:
        for thread in threads:
            thread.start()
        steps = 0
        while any(thread.is_alive() for thread in threads):
            steps += integrator.step() > 0
        while integrator.step():
            pass
    found = [(node, seq) for node, seq, _ in places(ledger)]
    assert steps > 5 and len(found) == len(set(found)) == count(ledger, "entry") == 2 + 4 * 120
    for node in (A, B, C):
        seqs = [seq for at, seq in found if at == node]
        assert seqs == sorted(seqs)
    leaves = leaves_of(ledger)
    assert all(root == tree_head(leaves[:size]) for size, root in checkpoints(ledger).items())


class Cut(Exception):
    """The process, ended where the test says."""


STEPS = [
    (log_module.Integrator, "_integrate", "before"),
    (log_module.Edge, "append", "after"),  # inside the transaction of the tree
    (log_module.Integrator, "_integrate", "after"),  # the tree is committed, nothing signed
    (log_module, "sign_note", "after"),  # signed, but kept nowhere
    (KeyFolder, "keep_note", "before"),
    (KeyFolder, "keep_note", "after"),  # in the file outside, not published
    (log_module.Integrator, "_sign", "after"),  # published
]


@pytest.mark.parametrize(("where", "step", "when"), STEPS, ids=[f"{when} {step}" for _, step, when in STEPS])
def test_an_integrator_that_ends_anywhere_is_followed_by_one_that_agrees(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, where: object, step: str, when: str
) -> None:
    """Whatever was signed, seen or not, the next start extends it: one root for each size, for ever."""
    signed: list[str] = []
    original_sign = log_module.sign_note

    def signing(text: str, signer: object) -> str:
        signed.append(original_sign(text, signer))
        return signed[-1]

    write(ledger.database, [small(A, 254)])
    sign(ledger)
    for round_ in range(3):
        write(ledger.database, [small(A, 1), small(C, 2)])
        with monkeypatch.context() as patch:
            patch.setattr(log_module, "sign_note", signing)
            original = getattr(where, step)

            def cut(*arguments: object, original: Callable[..., object] = original) -> object:
                if when == "after":
                    original(*arguments)
                raise Cut

            patch.setattr(where, step, cut)
            with integrating(ledger) as integrator, pytest.raises(Cut):
                integrator.step()
        write(ledger.database, [small(B, 1)] * (round_ % 2))
        with monkeypatch.context() as patch, integrating(ledger) as integrator:
            patch.setattr(log_module, "sign_note", signing)
            while integrator.step():
                pass
    leaves = leaves_of(ledger)
    assert len(leaves) == count(ledger, "entry") and latest_size(ledger) == len(leaves)
    for note in signed:
        found = open_checkpoint(note, ledger.keys.verifiers())
        assert found.root == tree_head(leaves[: found.size])
    assert ledger.keys.last_checkpoint().size == len(leaves)


def latest_size(ledger: Ledger) -> int:
    return max(checkpoints(ledger), default=0)


def test_an_integrator_whose_connection_is_gone_signs_nothing(own: Own, ledger: Ledger) -> None:
    """It has lost the lead: another may have signed more, and its file must not be replaced by an older one."""
    write(ledger.database, [small(A, 3)])
    with integrating(ledger) as first:
        first._integrate()
        with own.superuser() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [first._connection.info.backend_pid])
        write(ledger.database, [small(A, 1)])
        sign(ledger)
        kept = ledger.keys.last_note()
        with pytest.raises(psycopg.OperationalError):
            first._sign()
        assert ledger.keys.last_note() == kept and ledger.keys.last_checkpoint().size == 6


def test_a_second_integrator_cannot_fork_the_log(ledger: Ledger) -> None:
    """The leader's lock is broken on purpose: the primary key of the ranges is the second bolt."""
    with integrating(ledger) as first, integrating(ledger) as second:
        write(ledger.database, [small(A, 3)])
        assert first.step() == 5
        write(ledger.database, [small(A, 1)])
        with pytest.raises(psycopg.errors.UniqueViolation):
            second.step()
        assert first.step() == 1
    assert [*checkpoints(ledger)] == [5, 6]


@contextlib.contextmanager
def back_up(own: Own, ledger: Ledger) -> Iterator[Ledger]:
    """A copy of the database as it is now, with the same keys."""
    name = f"{own.name}_copy"
    own.database.close()
    with psycopg.connect(own.cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [own.name]
        )
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {own.name} OWNER {OWNER}")
    copy = Database(own.cluster.url(APPLICATION, name), own.cluster.url(OWNER, name))
    yield dataclasses.replace(ledger, database=copy)
    copy.close()
    with psycopg.connect(own.cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_restored_back_up_is_not_signed(own: Own, ledger: Ledger) -> None:
    write(ledger.database, [small(A, 300)])
    sign(ledger)
    with back_up(own, ledger) as old:
        write(ledger.database, [small(A, 5)])
        sign(ledger)
        kept, published = ledger.keys.last_note(), checkpoints(old)
        with pytest.raises(LogRolledBack, match="shorter than what was signed"):
            sign(old)
        write(old.database, [small(B, 10)])  # now it is longer, but another
        with pytest.raises(LogRolledBack):
            sign(old)
        assert ledger.keys.last_note() == kept and checkpoints(old) == published


def test_a_restored_back_up_that_grew_as_long_is_not_signed(own: Own, ledger: Ledger) -> None:
    """The dangerous one: sizes agree, and only the roots tell."""
    write(ledger.database, [small(A, 5)])
    sign(ledger)
    with back_up(own, ledger) as old:
        write(ledger.database, [small(A, 3)])
        sign(ledger)
        write(old.database, [small(A, 3)])
        with monkeypatched_outside(old, None), integrating_unchecked(old) as integrator:
            integrator._integrate()
        assert count(old, "log_range") == count(ledger, "log_range")
        with pytest.raises(LogRolledBack, match="other than what was signed"):
            sign(old)


@contextlib.contextmanager
def monkeypatched_outside(ledger: Ledger, note: str | None) -> Iterator[None]:
    """The file outside taken away for a while."""
    file = ledger.keys.path / "checkpoint"
    kept = file.read_text()
    file.unlink()
    yield
    file.write_text(kept)


@contextlib.contextmanager
def integrating_unchecked(ledger: Ledger) -> Iterator[Integrator]:
    with pytest.MonkeyPatch.context() as patch, ledger.database.connect() as connection:
        patch.setattr(Integrator, "_require_extends_outside", lambda _: None)
        connection.autocommit = True
        yield Integrator(connection, ledger.keys, ledger.signer)


def test_a_lost_key_folder_is_not_silently_replaced(ledger: Ledger) -> None:
    """A new key on an old log looks like a new log to whoever holds the old key."""
    write(ledger.database, [small(A, 3)])
    sign(ledger)
    kept = ledger.keys.path.with_name("kept")
    ledger.keys.path.rename(kept)
    anew = ledger.keys.signer(ledger.settings.origin)
    published = checkpoints_raw(ledger)
    write(ledger.database, [small(A, 3)])
    with pytest.raises(LogRolledBack, match="bring the key folder back"):
        sign(dataclasses.replace(ledger, signer=anew))
    assert checkpoints_raw(ledger) == published and ledger.keys.last_note() is None
    shutil.rmtree(ledger.keys.path)
    kept.rename(ledger.keys.path)
    sign(ledger)


def checkpoints_raw(ledger: Ledger) -> list[tuple[int, bytes, str]]:
    with ledger.database.connect() as connection:
        return connection.execute("SELECT size, root, note FROM checkpoint ORDER BY size").fetchall()


@pytest.mark.parametrize("file", ["checkpoint", "signing.key"])
def test_a_damaged_key_folder_signs_nothing(ledger: Ledger, file: str) -> None:
    sign(ledger)
    path = ledger.keys.path / file
    kept = path.read_bytes()
    path.write_bytes(kept[:-10] + b"AAAA" + kept[-6:])
    write(ledger.database, [small(A, 3)])
    with pytest.raises(Misconfigured, match="damaged"):
        sign(ledger)
    path.write_bytes(kept)
    sign(ledger)


@pytest.mark.damages  # the fixture's own audit would sign with the key that it opened
def test_a_key_that_was_replaced_meanwhile_signs_nothing(ledger: Ledger) -> None:
    """A process that waited for the lead while the key was replaced still holds the old one in memory."""
    sign(ledger)
    successor = ledger.keys.replace(ledger.signer)
    with ledger.database.connect() as connection:
        log_module.begin_anew(connection, ledger.keys, successor)
    with pytest.raises(Misconfigured, match="start it again"):
        sign(ledger)
    check_ledger(dataclasses.replace(ledger, signer=successor))


@pytest.mark.damages
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE edge SET hashes = substring(hashes FROM 33) WHERE level = 0", "edge"),
        ("DELETE FROM edge", "edge"),
        ("UPDATE edge SET hashes = sha256(hashes) WHERE level = 1", "other than what was signed"),
        ("DELETE FROM log_range WHERE start = (SELECT max(start) FROM log_range)", "edge"),
    ],
)
def test_a_log_that_does_not_hold_together_is_not_signed(
    own: Own, ledger: Ledger, statement: str, message: str
) -> None:
    write(ledger.database, [small(A, 300)])
    sign(ledger)
    kept = ledger.keys.last_note()
    with own.superuser() as connection:
        connection.execute(statement)
    write(ledger.database, [small(A, 1)])
    with pytest.raises(LedgerDamaged, match=message):
        sign(ledger)
    assert ledger.keys.last_note() == kept


@pytest.mark.damages
def test_a_chain_that_lost_entries_before_they_were_integrated_is_not_signed(own: Own, ledger: Ledger) -> None:
    write(ledger.database, [small(A, 5)])
    with own.superuser() as connection:
        connection.execute("DELETE FROM entry WHERE node = %s AND seq = 3", [A])
    with pytest.raises(LedgerDamaged, match="fewer entries than its head says"):
        sign(ledger)
    assert ledger.keys.last_note() is None and checkpoints(ledger) == {}


def test_captured_events_are_in_the_log_under_a_second_checkpoint(ledger: Ledger) -> None:
    (places_,) = ledger.lanes.record(request_of(ledger, day(30)))
    sign(ledger)
    ledger.record(small(CITY, 1))
    sign(ledger)
    with ledger.database.read() as connection:
        assert prove_inclusion(connection, IMPORT, places_[-1].seq).size == 33
        assert prove_inclusion(connection, IMPORT, places_[-1].seq, 32).size == 32
