"""Erasing: what was sealed is gone, what was hashed stays, and the ledger says who decided it and why."""

import psycopg
import pytest

from api.ledger import Ledger, now
from ledger import erase as erase_module
from ledger.codes import CITY, IMPORT
from ledger.entries import Kind, decode
from ledger.erase import erase
from ledger.errors import Conflict, LedgerError, NotRecorded
from ledger.log import proof_file
from ledger.notes import verify_proof
from tests.conftest import Own, check_ledger, look, sign
from tests.test_append import day, request_of
from tests.test_log import A, small, write


def priced(event: dict, price: str) -> dict:
    """The event with a field that is sealed."""
    return {**event, "@context": {"example": "https://example.com/"}, "example:price": price}


@pytest.fixture
def sealed(ledger: Ledger) -> int:
    """The sequence of an entry in the import chain whose price is sealed, below others."""
    events = [*day(3)[1:], priced(day(3)[0], "12.50"), *day(9, 2)]
    (outcome,) = ledger.lanes.record(request_of(ledger, events))
    return outcome[2].seq


def row(ledger: Ledger, seq: int) -> tuple:
    with ledger.database.connect() as connection:
        return connection.execute(
            "SELECT node, seq, kind, record_time, hash, data, salt, sealed FROM entry WHERE node = %s AND seq = %s",
            [IMPORT, seq],
        ).fetchone()


def erasures(ledger: Ledger, node: int = IMPORT) -> list[dict]:
    with ledger.database.connect() as connection:
        rows = connection.execute(
            "SELECT data FROM entry WHERE node = %s AND kind = %s ORDER BY seq", [node, Kind.ERASURE]
        ).fetchall()
    return [decode(data).body["erasure"] for (data,) in rows]


def test_the_sealed_part_goes_and_everything_else_stays(ledger: Ledger, sealed: int) -> None:
    before = row(ledger, sealed)
    assert b"12.50" in before[-1]
    erase(ledger.database, IMPORT, sealed, "asked for by the seller", "operator", now)
    after = row(ledger, sealed)
    assert after[:-2] == before[:-2] and after[-2:] == (None, None)
    assert erasures(ledger) == [{"seq": sealed, "reason": "asked for by the seller"}]
    with ledger.database.connect() as connection:
        (data,) = connection.execute("SELECT data FROM entry WHERE kind = %s", [Kind.ERASURE]).fetchone()
    assert decode(data).actor == "operator"


def test_every_other_sealed_part_stays(ledger: Ledger, sealed: int) -> None:
    (other,) = ledger.lanes.record(request_of(ledger, [priced(day(1, 7)[0], "99")]))
    erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    assert b"99" in row(ledger, other[0].seq)[-1]


def test_a_proof_from_before_stays_good(ledger: Ledger, sealed: int) -> None:
    sign(ledger)
    with ledger.database.read() as connection:
        before = proof_file(connection, IMPORT, sealed)
    erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    sign(ledger)
    with ledger.database.read() as connection:
        after = proof_file(connection, IMPORT, sealed)
    data = row(ledger, sealed)[5]
    for proof in (before, after):
        assert verify_proof(proof, data, ledger.keys.verifiers())[0] >= 0


def test_erasing_again_changes_nothing_and_is_recorded_once(ledger: Ledger, sealed: int) -> None:
    erase(ledger.database, IMPORT, sealed, "first", "operator", now)
    erase(ledger.database, IMPORT, sealed, "second", "somebody", now)
    assert erasures(ledger) == [{"seq": sealed, "reason": "first"}]


def test_an_erasure_that_ended_half_way_is_finished_by_the_next(
    ledger: Ledger, sealed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision comes first: a part that is gone without an entry would look like an attack."""

    def cut(*_: object) -> None:
        raise OSError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(type(ledger.database), "as_owner", cut)
        with pytest.raises(OSError, match="cut"):
            erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    assert len(erasures(ledger)) == 1 and row(ledger, sealed)[-1] is not None
    check_ledger(ledger)
    erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    assert len(erasures(ledger)) == 1 and row(ledger, sealed)[-1] is None


def test_nothing_is_erased_before_the_decision_is_recorded(
    ledger: Ledger, sealed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_module, "append", lambda *_: [Conflict("no")])
    with pytest.raises(Conflict):
        erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    assert row(ledger, sealed)[-1] is not None


def test_the_captured_event_again_after_its_erasure_is_still_the_same(ledger: Ledger, sealed: int) -> None:
    erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    (outcome,) = ledger.lanes.record(request_of(ledger, [priced(day(3)[0], "12.50")]))
    assert outcome[0].duplicate and outcome[0].seq == sealed


def test_what_is_not_there_is_not_erased(ledger: Ledger, sealed: int) -> None:
    for node, seq in ((IMPORT, 999), (IMPORT, 0), (IMPORT, -1), (999999999, 1)):
        with pytest.raises(NotRecorded):
            erase(ledger.database, node, seq, "x", "operator", now)
        assert erasures(ledger, node) == []


def test_what_has_no_sealed_part_is_not_erased(ledger: Ledger, sealed: int) -> None:
    write(ledger.database, [small(A, 1)])
    erase(ledger.database, IMPORT, sealed, "x", "operator", now)
    last = len(day(3)) + len(day(9, 2)) + 1
    for node, seq in ((A, 1), (CITY, 1), (IMPORT, last)):
        with pytest.raises(Conflict, match="no sealed part"):
            erase(ledger.database, node, seq, "x", "operator", now)


def test_without_a_reason_that_can_be_recorded_nothing_is_erased(ledger: Ledger, sealed: int) -> None:
    for reason in ("", "x" * 501, "a\nb", "a\0b", "half a pair \udcff"):
        with pytest.raises(LedgerError, match="reason"):
            erase(ledger.database, IMPORT, sealed, reason, "operator", now)
    assert row(ledger, sealed)[-1] is not None and erasures(ledger) == []


def test_the_erasers_role_can_do_nothing_else(ledger: Ledger, sealed: int) -> None:
    for statement in (
        "UPDATE entry SET sealed = 'x', salt = 'x'",
        "UPDATE entry SET sealed = NULL",
        "UPDATE entry SET salt = NULL",
        "UPDATE entry SET data = 'x', salt = NULL, sealed = NULL",
        "UPDATE entry SET hash = hash, salt = NULL, sealed = NULL",
        "UPDATE entry SET kind = 1",
        "DELETE FROM entry",
        "TRUNCATE entry",
        "INSERT INTO entry SELECT * FROM entry",
        "SELECT sealed FROM entry",
        "SELECT data FROM entry",
        "UPDATE head SET seq = 1",
    ):
        with ledger.database.as_owner() as connection:
            connection.execute("SET LOCAL ROLE suyuan_eraser")
            with pytest.raises(psycopg.Error):
                connection.execute(statement)
            connection.rollback()


def test_the_application_cannot_erase(ledger: Ledger, sealed: int) -> None:
    with ledger.database.connect() as connection:
        for statement in ("UPDATE entry SET salt = NULL, sealed = NULL", "SET ROLE suyuan_eraser"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()


@pytest.mark.damages
def test_a_part_emptied_without_a_decision_is_found(own: Own, ledger: Ledger, sealed: int) -> None:
    with own.superuser() as connection:
        connection.execute("UPDATE entry SET salt = NULL, sealed = NULL WHERE seq = %s", [sealed])
    assert [one.where for one in look(ledger).disagreements] == [f"entry 000000001/{sealed}"]
