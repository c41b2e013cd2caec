"""The leader: one at a time, replaced at once, told of trouble once; ticks that never lie; keys replaced on record."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from api.ledger import Ledger, now
from ledger import log as log_module
from ledger import worker as worker_module
from ledger.codes import CITY
from ledger.entries import Kind, decode
from ledger.errors import Conflict, LogRolledBack, Misconfigured, Unavailable
from ledger.keys import KeyFolder
from ledger.merkle import leaf_hash
from ledger.notes import open_checkpoint
from ledger.worker import LEADER_LOCK, Worker, integrate_now, replace_key
from tests.conftest import Own, audit, check_ledger, look, sign
from tests.test_log import (
    A,
    B,
    C,
    back_up,
    checkpoints,
    checkpoints_raw,
    latest_size,
    leaves_of,
    small,
    tree_head,
    write,
)

PATIENCE_S = 30


def until(what: Callable[[], bool]) -> None:
    """Return once `what` holds; a failure if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, 10, 0, 30, tzinfo=UTC)
        self.asked = 0

    def __call__(self) -> datetime:
        self.asked += 1
        return self.at


@pytest.fixture
def start(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    """Starts workers, each in a thread of its own; all are stopped at the end."""
    monkeypatch.setattr(worker_module, "FOLLOW_S", 0.05)
    running: list[tuple[Worker, threading.Thread]] = []

    def begin(clock: Callable[[], datetime] = now, of: Ledger = ledger) -> Worker:
        worker = Worker(of.database, of.keys, of.signer, clock)
        thread = threading.Thread(target=worker.run)
        thread.start()
        running.append((worker, thread))
        return worker

    yield begin
    for worker, _ in running:
        worker.stop()
    for _, thread in running:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def leaders(own: Own) -> list[int]:
    """The server processes that hold the leader's lock."""
    with own.superuser() as connection:
        found = connection.execute(
            "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE locktype = 'advisory' AND classid = %s AND granted AND datname = %s",
            [LEADER_LOCK, own.name],
        ).fetchall()
    return [pid for (pid,) in found]


def ticks(ledger: Ledger) -> list[str]:
    """The minutes ticked, in the order of the city's chain."""
    with ledger.database.connect() as connection:
        rows = connection.execute(
            "SELECT data FROM entry WHERE node = %s AND kind = %s ORDER BY seq", [CITY, Kind.TICK]
        ).fetchall()
    return [decode(data).body["tick"]["minute"][11:16] for (data,) in rows]


def test_a_worker_signs_what_is_recorded_and_stops_when_told(
    own: Own, ledger: Ledger, start: Callable[..., Worker]
) -> None:
    worker = start()
    write(ledger.database, [small(A, 30)])
    until(lambda: latest_size(ledger) >= 33)
    assert worker.trouble is None and len(leaders(own)) == 1
    worker.stop()
    until(lambda: not leaders(own))


def test_one_of_three_workers_leads_and_another_takes_over(
    own: Own, ledger: Ledger, start: Callable[..., Worker]
) -> None:
    """Killed as the server kills: whatever the leader was doing, what follows agrees with what it signed."""
    workers = [start() for _ in range(3)]
    killed = set()
    for round_ in range(4):
        until(lambda: len(leaders(own)) == 1 and leaders(own)[0] not in killed)
        write(ledger.database, [small(A, 1 + round_ * 50), small(B, 3)])
        with own.superuser() as connection:
            (leader,) = leaders(own)
            connection.execute("SELECT pg_terminate_backend(%s)", [leader])
            killed.add(leader)
    until(lambda: latest_size(ledger) >= 2 + sum(4 + i * 50 for i in range(4)))
    leaves = leaves_of(ledger)
    assert all(root == tree_head(leaves[:size]) for size, root in checkpoints(ledger).items())
    until(lambda: all(worker.trouble is None for worker in workers))


def test_workers_and_writers_at_once_lose_nothing(own: Own, ledger: Ledger, start: Callable[..., Worker]) -> None:
    start(), start()
    threads = [
        threading.Thread(target=lambda node=node: [write(ledger.database, [small(node, 2)]) for _ in range(30)])
        for node in (A, B, C)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    integrate_now(ledger.database, ledger.keys, ledger.signer)
    assert latest_size(ledger) >= 2 + 3 * 60


# --- ticks ----------------------------------------------------------------------------------------


def test_each_minute_is_ticked_once_and_none_is_filled_in(
    own: Own, ledger: Ledger, start: Callable[..., Worker]
) -> None:
    clock = Clock()
    start(clock)
    until(lambda: ticks(ledger) == ["10:00"])
    clock.at += timedelta(seconds=29)
    until(lambda asked=clock.asked: clock.asked > asked + 5)
    clock.at += timedelta(seconds=1)
    until(lambda: ticks(ledger) == ["10:00", "10:01"])
    clock.at += timedelta(minutes=7)  # an outage
    until(lambda: ticks(ledger) == ["10:00", "10:01", "10:08"])
    clock.at += timedelta(hours=24)  # the same minute of another day
    until(lambda: ticks(ledger) == ["10:00", "10:01", "10:08", "10:08"])


def test_a_clock_set_back_ticks_nothing_until_it_is_further(
    own: Own, ledger: Ledger, start: Callable[..., Worker]
) -> None:
    """A tick for a minute that passed would say of a time long ago that nothing happened in it."""
    clock = Clock()
    start(clock)
    until(lambda: ticks(ledger) == ["10:00"])
    clock.at -= timedelta(minutes=3)
    until(lambda asked=clock.asked: clock.asked > asked + 5)
    assert ticks(ledger) == ["10:00"]
    clock.at += timedelta(minutes=4)
    until(lambda: ticks(ledger) == ["10:00", "10:01"])


def test_a_new_leader_does_not_tick_a_minute_again(own: Own, ledger: Ledger, start: Callable[..., Worker]) -> None:
    clock = Clock()
    start(clock), start(clock)
    until(lambda: ticks(ledger) == ["10:00"])
    for _ in range(3):
        (leader,) = leaders(own)
        with own.superuser() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [leader])
        until(lambda leader=leader: leaders(own) not in ([], [leader]))
        until(lambda asked=clock.asked: clock.asked > asked + 5)
    assert ticks(ledger) == ["10:00"]


def test_a_tick_names_the_last_checkpoint_published(ledger: Ledger, start: Callable[..., Worker]) -> None:
    write(ledger.database, [small(A, 5)])
    start(Clock())
    until(lambda: ticks(ledger) != [])
    with ledger.database.connect() as connection:
        (data,) = connection.execute("SELECT data FROM entry WHERE kind = %s", [Kind.TICK]).fetchone()
    assert decode(data).body["tick"] == {"minute": "2026-11-23T10:00:00.000000Z", "checkpoint": {"size": 7}}


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), psycopg.OperationalError("gone")])
def test_trouble_is_told_once_and_waited_out(
    ledger: Ledger, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:  # fmt: skip
    """A full disk under the key folder must not end the worker for good."""
    attempts = []

    def failing(*_: object) -> None:
        attempts.append(1)
        raise error

    monkeypatch.setattr(KeyFolder, "keep_note", failing)
    with caplog.at_level(logging.ERROR):
        worker = start()
        until(lambda: len(attempts) > 3)
        assert str(error) in worker.trouble and latest_size(ledger) == 0
        assert len([record for record in caplog.records if "not being signed" in record.message]) == 1
    monkeypatch.undo()
    until(lambda: latest_size(ledger) >= 2 and worker.trouble is None)


@pytest.mark.parametrize("file", ["checkpoint", "vkey", "signing.key"])
def test_a_key_file_full_of_garbage_is_trouble_and_not_the_end(
    ledger: Ledger, start: Callable[..., Worker], file: str
) -> None:
    sign(ledger)
    path = ledger.keys.path / file
    kept = path.read_bytes()
    path.write_bytes(b"\xff\xfe" * 40)
    worker = start()
    until(lambda: worker.trouble is not None)
    path.write_bytes(kept)
    until(lambda: worker.trouble is None)
    write(ledger.database, [small(A, 1)])
    until(lambda: latest_size(ledger) >= 3)


@pytest.mark.damages
def test_a_damaged_log_is_trouble_and_not_the_end(own: Own, ledger: Ledger, start: Callable[..., Worker]) -> None:
    write(ledger.database, [small(A, 254)])
    sign(ledger)
    with own.superuser() as connection:
        connection.execute("UPDATE edge SET hashes = '' WHERE level = 1")
    worker = start()
    until(lambda: "suyuan audit" in (worker.trouble or ""))
    assert latest_size(ledger) == 256


# --- integrate_now --------------------------------------------------------------------------------


def test_signing_now_ends_while_others_keep_writing(ledger: Ledger) -> None:
    """What is recorded after the call began is not waited for: else it might never end."""
    ending = threading.Event()

    def writer() -> None:
        while not ending.is_set():
            write(ledger.database, [small(A, 1)])

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(3):
            with ledger.database.connect() as connection:
                entries = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
            sign(ledger)
            assert latest_size(ledger) >= entries
    finally:
        ending.set()
        thread.join()


def test_signing_now_ends_while_others_keep_writing_and_another_leads(
    ledger: Ledger, start: Callable[..., Worker]
) -> None:
    start()
    test_signing_now_ends_while_others_keep_writing(ledger)


def test_signing_now_says_so_if_the_leader_does_not_get_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "WAIT_FOR_LEADER_S", 0.3)
    with ledger.database.connect() as idle:
        idle.execute("SELECT pg_advisory_lock(%s, 0)", [LEADER_LOCK])
        with pytest.raises(Unavailable):
            sign(ledger)
    assert latest_size(ledger) == 0


def test_signing_an_empty_ledger_signs_nothing(own: Own, ledger: Ledger) -> None:
    sign(ledger)
    size = latest_size(ledger)
    sign(ledger)
    assert size == 2 and [*checkpoints(ledger)] == [2]


# --- replacing the key ----------------------------------------------------------------------------


def decisions(ledger: Ledger) -> list[dict]:
    with ledger.database.connect() as connection:
        rows = connection.execute(
            "SELECT data FROM entry WHERE node = %s AND kind = %s ORDER BY seq", [CITY, Kind.DECISION]
        ).fetchall()
    return [decode(data).body["decision"] for (data,) in rows]


def replaced(ledger: Ledger, reason: str = "a new year") -> Ledger:
    signer = replace_key(ledger.database, ledger.keys, ledger.signer, reason, "operator", now)
    return dataclasses.replace(ledger, signer=signer)


@pytest.mark.damages  # here and below: the fixture's own audit would sign with the key that it opened
def test_a_replaced_key_is_on_record_with_its_last_checkpoint(ledger: Ledger) -> None:
    write(ledger.database, [small(A, 5)])
    sign(ledger)
    kept = ledger.keys.last_note()
    after = replaced(ledger)
    assert decisions(ledger) == [
        {
            "key": str(ledger.signer.verifier), "checkpoint": kept, "successor": str(after.signer.verifier),
            "reason": "a new year",
        }
    ]  # fmt: skip
    assert ledger.keys.verifiers() == [after.signer.verifier, ledger.signer.verifier]
    open_checkpoint(ledger.keys.last_note(), [after.signer.verifier])
    write(ledger.database, [small(A, 5)])
    check_ledger(after)
    twice = replaced(after)
    check_ledger(twice)
    assert len(ledger.keys.verifiers()) == 3 and len(decisions(ledger)) == 2


@pytest.mark.damages
def test_a_replaced_key_goes_on_from_a_restored_back_up(own: Own, ledger: Ledger) -> None:
    """An operator may decide so; whoever holds the old checkpoint can see it, and see that it was decided."""
    write(ledger.database, [small(A, 300)])
    sign(ledger)
    with back_up(own, ledger) as old:
        write(ledger.database, [small(A, 5)])
        sign(ledger)
        kept = ledger.keys.last_note()
        with pytest.raises(LogRolledBack):
            sign(old)
        assert not look(old).clean
        after = replaced(old, "restored the back-up of last night")
        assert decisions(old)[-1]["checkpoint"] == kept
        write(old.database, [small(B, 5)])
        check_ledger(after)
        lost = open_checkpoint(kept, [ledger.signer.verifier])
        (found,) = audit(old.database, old.keys.verifiers(), lost).disagreements
        assert found.where == f"checkpoint outside the database of {lost.size} entries"


@pytest.mark.damages
def test_a_lost_key_folder_can_be_decided_too(ledger: Ledger) -> None:
    """The old signatures can then be checked only with a copy of the old public key: the audit says so."""
    write(ledger.database, [small(A, 5)])
    sign(ledger)
    old = ledger.signer.verifier
    ledger.keys.path.rename(ledger.keys.path.with_name("lost"))
    anew = dataclasses.replace(ledger, signer=ledger.keys.signer(ledger.settings.origin))
    with pytest.raises(LogRolledBack):
        sign(anew)
    after = replaced(anew, "the key folder was lost")
    assert decisions(ledger)[-1]["checkpoint"] is None
    sign(after)
    assert [one.where for one in look(after).disagreements] == ["checkpoint 7"]
    assert audit(ledger.database, [*ledger.keys.verifiers(), old], ledger.keys.last_checkpoint()).clean


@pytest.mark.damages
def test_a_waiting_worker_never_signs_with_the_key_that_was_retired(
    own: Own, ledger: Ledger, start: Callable[..., Worker]
) -> None:
    """After a roll-back the worker holds no lock, so the key can be replaced while it runs with the old one: it would
    sign a second history with it."""
    write(ledger.database, [small(A, 5)])
    sign(ledger)
    with back_up(own, ledger) as old:
        write(ledger.database, [small(A, 5)])
        sign(ledger)
        worker = start(of=old)
        until(lambda: "restored" in (worker.trouble or ""))
        after = replaced(old, "restored the back-up of last night")
        until(lambda: "start it again" in (worker.trouble or ""))
        write(old.database, [small(A, 5)])
        check_ledger(after)
        assert [size for size, _, note in checkpoints_raw(old) if not _opens(note, after)] == [7]
        worker.stop()


def _opens(note: str, ledger: Ledger) -> bool:
    try:
        open_checkpoint(note, [ledger.signer.verifier])
    except ValueError:
        return False
    return True


def test_the_key_is_not_replaced_while_a_worker_signs(ledger: Ledger, own: Own, start: Callable[..., Worker]) -> None:
    start()
    until(lambda: len(leaders(own)) == 1)
    with pytest.raises(Conflict, match="stop suyuan serve"):
        replaced(ledger)
    assert ledger.keys.verifiers() == [ledger.signer.verifier] and decisions(ledger) == []


@pytest.mark.damages
def test_a_key_that_was_replaced_already_is_not_replaced_again(ledger: Ledger) -> None:
    """Two operators at once: the second would throw the first's new key away, with what it signed."""
    sign(ledger)
    after = replaced(ledger)
    with pytest.raises(Misconfigured, match="start it again"):
        replaced(ledger)
    assert len(ledger.keys.verifiers()) == 2
    check_ledger(after)


def test_a_reason_that_cannot_be_recorded_changes_nothing(ledger: Ledger) -> None:
    for reason in ("", "x" * 501, "a\nb", "a\0b", "half a pair \udcff"):
        with pytest.raises(Conflict, match="reason"):
            replaced(ledger, reason)
    assert ledger.keys.verifiers() == [ledger.signer.verifier]


@pytest.mark.damages
@pytest.mark.parametrize("step", ["append", "begin_anew", "integrate_now"])
def test_a_replacement_that_ends_half_way_signs_nothing_without_a_decision(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The new key signs only once the entry that says why is on disk; doing it again finishes it."""
    write(ledger.database, [small(A, 5)])
    sign(ledger)

    def cut(*_: object) -> None:
        raise OSError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(worker_module, step, cut)
        with pytest.raises(OSError, match="cut"):
            replaced(ledger)
    half = dataclasses.replace(ledger, signer=ledger.keys.signer(ledger.settings.origin))
    assert half.signer != ledger.signer
    if step == "integrate_now":
        sign(half)
    else:
        assert ledger.keys.last_note() is None
        with pytest.raises(LogRolledBack):
            sign(half)
        half = replaced(half)
    assert len(decisions(ledger)) == {"append": 1, "begin_anew": 2, "integrate_now": 1}[step]
    check_ledger(half)


def test_leaves_are_hashes_of_entries(ledger: Ledger) -> None:
    """What the tests above compare with is what a stranger would compute from the public bundles."""
    sign(ledger)
    with ledger.database.read() as connection:
        bundle = log_module.bundle_bytes(connection, 0, 2)
    assert leaves_of(ledger) == [leaf_hash(bundle[2:34]), leaf_hash(bundle[36:68])]
