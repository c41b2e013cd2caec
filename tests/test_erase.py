"""Erasing: what was sealed is gone, what was hashed stays, and the ledger says who decided it and why."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from api.ledger import Ledger, now
from ledger import erase as erase_module
from ledger.access import Actor, Role
from ledger.codes import CITY, IMPORT, TraceScheme
from ledger.entries import Kind, decode
from ledger.erase import erase, erase_party, kept_until
from ledger.errors import Conflict, LedgerError, NotAllowed, NotRecorded, UnacceptableRecord
from ledger.filing import Line, file_lines
from ledger.finding import search
from ledger.log import proof_file
from ledger.nodes import OPERATOR, add_node
from ledger.notes import verify_proof
from ledger.registers import LICENCE, PARTY, Register
from ledger.registers.parties import KEPT
from ledger.registrar import Registrar
from ledger.registry import Record, Wanted, known_at, listing, record, versions
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


# --- a party that left ----------------------------------------------------------------------------

PERSON = "11010519491231002X"
LEFT = date(2026, 8, 31)
LAST = date(2027, 2, 28)
"""Six months later, in a month that has no 31st."""


def registrar(ledger: Ledger, today: date, actor: Actor = OPERATOR) -> Registrar:
    return Registrar(ledger.vault, ledger.secret, actor, today)


def filed(ledger: Ledger, register: Register, given: list[dict[str, str]]) -> None:
    lines = [Line(number, one) for number, one in enumerate(given)]
    for done in file_lines(ledger.database, ledger.lanes.record, registrar(ledger, LEFT), register, lines):
        assert done.new == len(given), [*map(str, done.refusals)]


LICENCE_1 = {
    "party": f"{A}0001",
    "number": "JY13302120000001",
    "kind": "other",
    "valid_from": "2026-01-01",
    "scope": "散装",
}


@pytest.fixture
def gone(ledger: Ledger) -> Ledger:
    """A retailer with two licences that changed once, was suspended, and left; and another with one, who stays."""
    ledger.record(add_node(A, "市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    first = {
        "party": f"{A}0001", "kinds": "retailer", "legal_name": "溯源老李蔬菜摊", "identity_number": PERSON,
        "phone": "19900000001",
    }  # fmt: skip
    filed(ledger, PARTY, [first, {**first, "party": f"{A}0002"}])
    filed(ledger, LICENCE, [
        LICENCE_1, {**LICENCE_1, "number": "JY13302120000002"}, {**LICENCE_1, "party": f"{A}0002"},
    ])  # fmt: skip
    keeper = registrar(ledger, LEFT)
    request = keeper.change(party(ledger), {"contact": "王五"}, "a reason that names 溯源老李")
    assert request is not None
    ledger.record(request)
    ledger.record(keeper.step(licences(ledger)[0], "suspend", "x"))
    for name in ("suspend", "leave"):
        ledger.record(keeper.step(party(ledger), name, "gave up"))
    return ledger


def party(ledger: Ledger, code: str = f"{A}0001") -> Record:
    with ledger.database.read() as connection:
        return record(connection, ledger.vault, PARTY, (code,))


def licences(ledger: Ledger, code: str = f"{A}0001") -> list[Record]:
    with ledger.database.read() as connection:
        return listing(connection, ledger.vault, LICENCE, Wanted({"party": code}), None, 10)


def sealed_versions(ledger: Ledger, code: str) -> list[tuple[str, int]]:
    """Versions of a party and its licences that still have private values."""
    with ledger.database.connect() as connection:
        rows = connection.execute(
            "SELECT split_part(subject, ' ', 1), version FROM registry_version WHERE private IS NOT NULL"
            " AND (subject = %s OR subject LIKE %s) ORDER BY subject, version",
            [f"party {code}", f"licence {code} %"],
        ).fetchall()
    return [(table, version) for table, version in rows]


def state(ledger: Ledger) -> list[object]:
    with ledger.database.connect() as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("entry", "party", "licence", "registry_version", "registry_search")
        ]


def found(ledger: Ledger, register: Register, **asked: str) -> set[str]:
    with ledger.database.read() as connection:
        return {one.key[0] for one in search(connection, ledger.vault, register, asked, None, 100, private=True)}


def erase_now(ledger: Ledger, today: date = LAST + timedelta(days=1), *, order: bool = False) -> None:
    erase_party(ledger.database, registrar(ledger, today), party(ledger), "asked for it", now, order=order)


def test_a_party_that_left_is_erased_with_its_licences(gone: Ledger) -> None:
    """Values of all versions, what they are found by, reasons too; of others nothing."""
    before = state(gone)
    erase_now(gone)
    erased = party(gone)
    assert erased.row["erased"] is True and erased.row["status"] == "left" and erased.version == 5
    assert {name for name, value in erased.values.items() if value is not None} == {"party", "kinds", "nodes"}
    assert sealed_versions(gone, f"{A}0001") == [("party", 5)] and erased.reason == "asked for it"
    for one in licences(gone):
        assert {n for n, v in one.values.items() if v is not None} == {"party", "kind", "valid_from"}
    with gone.database.read() as connection:
        for one in versions(connection, gone.vault, PARTY, (f"{A}0001",))[:-1]:
            assert one.record.reason is None and one.record.values["legal_name"] is None
        old = known_at(connection, gone.vault, PARTY, (f"{A}0001",), datetime(2100, 1, 1, tzinfo=UTC)).record
        assert old.values["identity_number"] is None
    for register, asked in (
        (PARTY, {"legal_name": "李"}), (PARTY, {"identity_number": PERSON}), (PARTY, {"any": "19900000001"}),
        (LICENCE, {"number": "JY13302120000001"}), (LICENCE, {"any": "散"}),
    ):  # fmt: skip
        assert found(gone, register, **asked) == {f"{A}0002"}, asked
    assert found(gone, PARTY, contact="王") == set() and found(gone, LICENCE, number="JY13302120000002") == set()
    assert found(gone, PARTY, party=f"{A}0001") == found(gone, LICENCE, party=f"{A}0001") == {f"{A}0001"}
    assert sealed_versions(gone, f"{A}0002") == [("licence", 1), ("party", 1)]
    assert party(gone, f"{A}0002").values["legal_name"] == "溯源老李蔬菜摊"
    assert state(gone)[0][: len(before[0])] == before[0], "no entry changed"  # type: ignore[index,arg-type]
    check_ledger(gone)


def test_what_finds_an_erased_record_says_nothing_of_it(gone: Ledger) -> None:
    """The index of what was erased is that of a record that never held anything but its code."""
    erase_now(gone)
    with gone.database.connect() as connection:
        tokens = dict(
            connection.execute("SELECT subject, tokens FROM registry_search WHERE subject LIKE %s", [f"% {A}0001%"])
        )
    assert tokens.pop(f"party {A}0001") == gone.vault.tokens(PARTY.fields, {"party": f"{A}0001"})
    assert [*tokens.values()] == [gone.vault.tokens(LICENCE.fields, {"party": f"{A}0001"})] * 2


def test_too_early_nothing_is_erased(gone: Ledger) -> None:
    """On the last day the file must still be kept; and before a party has left there is no last day."""
    before = state(gone)
    assert kept_until(party(gone)) == LAST
    for today in (LEFT, LAST - timedelta(days=1), LAST):
        with pytest.raises(Conflict, match=f"kept until {LAST}, unless an authority orders otherwise"):
            erase_now(gone, today)
    other = party(gone, f"{A}0002")
    assert kept_until(other) is None
    with pytest.raises(Conflict, match="as long as it has not left"):
        erase_party(gone.database, registrar(gone, date(2100, 1, 1)), other, "x", now)
    assert state(gone) == before
    erase_now(gone, LAST + timedelta(days=1))
    assert sealed_versions(gone, f"{A}0001") == [("party", 5)]


def test_by_order_it_is_erased_at_any_time(gone: Ledger) -> None:
    other = party(gone, f"{A}0002")
    erase_party(gone.database, registrar(gone, LEFT), other, "order 7 of a court", now, order=True)
    assert sealed_versions(gone, f"{A}0002") == [("party", 2)] and party(gone, f"{A}0002").row["status"] == "active"
    assert party(gone).values["legal_name"] is not None


def test_erasing_a_party_again_changes_nothing(gone: Ledger) -> None:
    erase_now(gone)
    before = state(gone)
    erase_now(gone)
    assert state(gone) == before


def test_an_erasure_of_a_party_that_ended_half_way_is_finished_by_the_next(
    gone: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the decision and before the emptying; the audit is content with both."""

    def cut(*_: object) -> None:
        raise OSError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(type(gone.database), "as_owner", cut)
        with pytest.raises(OSError, match="cut"):
            erase_now(gone)
    assert len(sealed_versions(gone, f"{A}0001")) == 5 + 3 and party(gone).row["erased"] is True
    check_ledger(gone)
    entries = len(state(gone)[0])  # type: ignore[arg-type]
    erase_now(gone)
    assert sealed_versions(gone, f"{A}0001") == [("party", 5)] and found(gone, LICENCE, any="散") == {f"{A}0002"}
    assert len(state(gone)[0]) == entries  # type: ignore[arg-type]
    check_ledger(gone)


def test_no_party_is_erased_before_the_decision_is_recorded(gone: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    before, stale = state(gone), party(gone)
    with monkeypatch.context() as patch:
        patch.setattr(erase_module, "append", lambda *_: [Conflict("no")])
        with pytest.raises(Conflict, match="no"):
            erase_now(gone)
    for reason in ("", "  ", "x" * 501, "a\nb"):
        with pytest.raises(UnacceptableRecord, match="reason"):
            erase_party(gone.database, registrar(gone, LAST), stale, reason, now, order=True)
    assert state(gone) == before
    gone.record(registrar(gone, LEFT).step(stale, "return", "x"))
    with pytest.raises(Conflict, match="meanwhile"):  # somebody came back while the decision was made
        erase_party(gone.database, registrar(gone, LAST + timedelta(days=1)), stale, "x", now)
    assert party(gone).values["legal_name"] == "溯源老李蔬菜摊"


def test_whoever_may_not_keep_the_register_may_not_erase(gone: Ledger) -> None:
    """As of filing, changing and steps: the registrar checks, whoever calls it."""
    before = state(gone)
    for actor in (
        Actor("scale", Role.TERMINAL, frozenset([A]), A), Actor("market", Role.MARKET, frozenset([A + 1]), A + 1),
    ):  # fmt: skip
        with pytest.raises(NotAllowed):
            erase_party(gone.database, registrar(gone, LAST, actor), party(gone), "x", now, order=True)
    assert state(gone) == before


def test_an_erased_party_is_filed_anew_before_anything_else(gone: Ledger) -> None:
    erase_now(gone)
    keeper = registrar(gone, LAST)
    with pytest.raises(Conflict, match="erased; change it to file them anew"):
        keeper.step(party(gone), "return", "x")
    request = keeper.change(party(gone), {"legal_name": "又来的老李", "identity_number": PERSON})
    assert request is not None
    gone.record(request)
    assert party(gone).row["erased"] is False and found(gone, PARTY, legal_name="又来") == {f"{A}0001"}
    gone.record(keeper.step(party(gone), "return", "came back"))
    assert party(gone).row["status"] == "active" and kept_until(party(gone)) is None
    assert [table for table, _ in sealed_versions(gone, f"{A}0001")] == ["party"] * 3
    check_ledger(gone)


def test_whoever_came_back_may_file_the_same_licence_again(gone: Ledger) -> None:
    """Its number was erased and its code is still there: neither a new record nor a change may be impossible."""
    erase_now(gone)
    keeper = registrar(gone, LAST)
    request = keeper.change(party(gone), {"legal_name": "又来的老李", "identity_number": PERSON})
    assert request is not None
    gone.record(request)
    (done,) = file_lines(gone.database, gone.lanes.record, keeper, LICENCE, [Line(2, LICENCE_1)])
    assert done.refusals == [], str(done.refusals[0])
    assert "JY13302120000001" in {one.values["number"] for one in licences(gone)}


def test_a_licence_filed_after_the_erasure_is_not_emptied_without_a_decision(gone: Ledger) -> None:
    """Doing an erasure again finishes what was decided, no more: what came later nobody has decided on."""
    erase_now(gone)
    (done,) = file_lines(
        gone.database, gone.lanes.record, registrar(gone, LAST), LICENCE, [Line(2, {**LICENCE_1, "number": "JY9"})]
    )
    erase_now(gone)
    assert done.refusals or found(gone, LICENCE, number="JY9")
    check_ledger(gone)


@pytest.mark.damages
def test_private_values_emptied_without_a_decision_are_found(own: Own, gone: Ledger) -> None:
    with own.superuser() as connection:
        connection.execute("UPDATE registry_version SET private = NULL WHERE subject LIKE %s", [f"% {A}0002%"])
    named = [one.where for one in look(gone).disagreements]
    assert f"registry_version party {A}0002 1" in named and any(w.startswith("registry_version licence") for w in named)


@pytest.mark.parametrize(
    ("kinds", "left", "until"),
    [
        ("retailer", "2026-01-15", "2026-07-15"), ("retailer", "2026-08-31", "2027-02-28"),
        ("retailer", "2027-08-29", "2028-02-29"), ("retailer", "2027-08-31", "2028-02-29"),
        ("farm", "2026-03-31", "2026-09-30"), ("farm", "2026-06-30", "2026-12-30"),
        ("farm", "2026-12-31", "2027-06-30"), ("farm", "2026-07-01", "2027-01-01"),
        ("slaughterer", "2026-02-28", "2028-02-28"),
        ("slaughterer", "2024-02-29", "2026-02-28"), ("pharmacy", "2024-02-29", "2029-02-28"),
        ("pharmacy", "2026-12-01", "2031-12-01"), ("retailer slaughterer", "2026-12-31", "2028-12-31"),
        ("pharmacy slaughterer retailer", "2026-05-31", "2031-05-31"),
        ("retailer hospital", "2026-05-31", "2031-05-31"),
    ],
)  # fmt: skip
def test_until_when_a_file_is_kept(kinds: str, left: str, until: str) -> None:
    """To the same day of the month, or its last; of several kinds the longest holds, in whichever order."""
    for order in (kinds.split(), kinds.split()[::-1]):
        row = {"party": f"{A}0001", "status": "left", "status_since": left, "kinds": order}
        assert kept_until(Record(PARTY, row, {})) == date.fromisoformat(until)
        for status in ("active", "suspended", "revoked"):
            assert kept_until(Record(PARTY, {**row, "status": status}, {})) is None


def test_a_file_is_kept_at_least_as_many_months_as_the_table_says() -> None:
    """Counted slowly: the day after the last is more months away than the table says, or in a shorter month."""
    for kind, (months, _) in KEPT.items():
        for number in range(0, 800, 7):
            left = date(2026, 1, 1) + timedelta(days=number)
            until = kept_until(
                Record(PARTY, {"status": "left", "status_since": left.isoformat(), "kinds": [str(kind)]}, {})
            )
            assert until is not None and (until.year - left.year) * 12 + until.month - left.month == months
            assert until.day == left.day or (until.day < left.day and (until + timedelta(days=1)).day == 1)
