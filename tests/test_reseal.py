"""Replacing the registry's key: nothing is lost, nothing is left behind, and the ledger goes on meanwhile."""

import threading
from collections.abc import Callable

import psycopg
import pytest

from api.ledger import Ledger, now
from ledger import reseal
from ledger.codes import TraceScheme
from ledger.erase import erase_party
from ledger.errors import LedgerDamaged, LedgerError
from ledger.filing import Line, file_lines
from ledger.finding import search
from ledger.nodes import OPERATOR, add_node
from ledger.registers import LICENCE, PARTY, SUBSCRIPTION, Register, Values
from ledger.registry import Record, Wanted, listing, record, versions
from ledger.reseal import replace_registry_key
from ledger.vault import Vault
from tests.conftest import Own, check_ledger, look
from tests.test_log import A
from tests.test_vault import key_folder

PERSON = "11010519491231002X"
COUNT = 12
SUBSCRIBERS = ("erp", "city")


def of(number: int) -> dict[str, str]:
    return {
        "party": f"{A}{number:04}", "kinds": "retailer", "legal_name": f"虚构第{number}摊", "identity_number": PERSON,
    }  # fmt: skip


def file(ledger: Ledger, register: Register, given: list[dict[str, str]]) -> None:
    lines = [Line(number, one) for number, one in enumerate(given)]
    for done in file_lines(ledger.database, ledger.lanes.record, ledger.registrar(OPERATOR), register, lines):
        assert done.new == len(given), [*map(str, done.refusals)]


@pytest.fixture
def market(ledger: Ledger) -> Ledger:
    """A dozen parties, each with a licence, half of them changed once; and two subscriptions."""
    ledger.record(add_node(A, "市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    file(ledger, PARTY, [of(number) for number in range(COUNT)])
    file(ledger, LICENCE, [
        {"party": f"{A}{number:04}", "number": f"JY{number}", "kind": "other", "valid_from": "2026-01-01"}
        for number in range(COUNT)
    ])  # fmt: skip
    file(ledger, SUBSCRIPTION, [
        {"subscription": f"{A}-{name}", "channel": "webhook", "destination": f"https://{name}.example/hook"}
        for name in SUBSCRIBERS
    ])  # fmt: skip
    for number in range(0, COUNT, 2):
        change(ledger, number, {"contact": "王五"}, "moved")
    return ledger


def party(ledger: Ledger, number: int) -> Record:
    with ledger.database.read() as connection:
        return record(connection, ledger.vault, PARTY, (f"{A}{number:04}",))


def change(ledger: Ledger, number: int, changes: Values, reason: str | None = None) -> None:
    request = ledger.registrar(OPERATOR).change(party(ledger, number), changes, reason)
    assert request is not None
    ledger.record(request)


def replace(ledger: Ledger) -> int:
    return replace_registry_key(ledger.database, ledger.keys, lambda *_: None)


def everything(ledger: Ledger) -> list[object]:
    """All that is known of everybody, all versions with reasons."""
    with ledger.database.read() as connection:
        return [
            [one.record for one in versions(connection, ledger.vault, register, found.key)]
            for register in (PARTY, LICENCE, SUBSCRIPTION)
            for found in listing(connection, ledger.vault, register, Wanted(), None, 1000)
        ]


def sealed_with(ledger: Ledger) -> set[bytes]:
    """The ids of the keys with which anything is sealed."""
    with ledger.database.connect() as connection:
        found = connection.execute(
            "SELECT DISTINCT substr(private, 2, 4) FROM registry_version WHERE private IS NOT NULL"
        )
        return {bytes(id_) for (id_,) in found}


def tokens(ledger: Ledger) -> dict[str, list[int]]:
    with ledger.database.connect() as connection:
        return dict(connection.execute("SELECT subject, tokens FROM registry_search").fetchall())


def found(ledger: Ledger, register: Register, **asked: str) -> int:
    with ledger.database.read() as connection:
        return len(search(connection, ledger.vault, register, asked, None, 1000, private=True))


def ids(ledger: Ledger) -> list[bytes]:
    present = ledger.vault.keys()
    return [key.id for key in present]


def erased(ledger: Ledger, number: int) -> None:
    erase_party(ledger.database, ledger.registrar(OPERATOR), party(ledger, number), "an order", now, order=True)


def test_everything_is_sealed_anew_and_says_the_same(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches that cut between a record's versions, too."""
    monkeypatch.setattr(reseal, "BATCH", 5)
    before, said, (old,), indexed = everything(market), [], ids(market), tokens(market)
    total = replace_registry_key(market.database, market.keys, lambda done, total: said.append((done, total)))
    assert total == 2 * COUNT + COUNT // 2 + len(SUBSCRIBERS) and said[-1][0] == said[-1][1] > total, "then the index"
    assert [done for done, _ in said][:7] == [5, 10, 15, 20, 25, 30, total]
    assert ids(market)[1:] == [old] and sealed_with(market) == {ids(market)[0]} != {old}
    assert everything(market) == before
    after = tokens(market)
    assert after.keys() == indexed.keys() and not [one for one in after if set(after[one]) & set(indexed[one])]
    assert found(market, PARTY, legal_name="摊") == found(market, PARTY, identity_number=PERSON) == COUNT
    assert found(market, PARTY, contact="王") == COUNT // 2 and found(market, LICENCE, number="jy3") == 1
    assert found(market, SUBSCRIPTION, destination="https://erp.example/hook") == 1
    check_ledger(market)


def test_entries_are_not_touched(market: Ledger) -> None:
    """The digest is of the plain bytes: what was proved before stays proved, and no entry is added."""
    with market.database.connect() as connection:
        before = connection.execute("SELECT * FROM entry ORDER BY node, seq").fetchall()
        connection.rollback()
        replace(market)
        assert connection.execute("SELECT * FROM entry ORDER BY node, seq").fetchall() == before


def test_the_old_key_goes_at_the_next_time(market: Ledger) -> None:
    (first,) = ids(market)
    replace(market)
    second = ids(market)[0]
    assert ids(market) == [second, first]
    replace(market)
    third = ids(market)[0]
    assert ids(market) == [third, second] and len({first, second, third}) == 3
    assert found(market, PARTY, legal_name="摊") == COUNT


def test_a_key_that_is_in_use_never_goes(market: Ledger) -> None:
    """What was under way while the key was replaced is sealed with the old one; losing that is losing the values."""
    keeper = market.registrar(OPERATOR)
    late = keeper.file(PARTY, keeper.read(PARTY, of(90)))
    (first,) = ids(market)
    replace(market)
    market.record(late)
    assert sealed_with(market) == {first, ids(market)[0]}
    assert party(market, 90).values["legal_name"] == "虚构第90摊" and found(market, PARTY, legal_name="90") == 1
    replace(market)
    assert first in ids(market) and sealed_with(market) == {ids(market)[0]}
    assert found(market, PARTY, legal_name="90") == 1
    replace(market)
    assert first not in ids(market) and party(market, 90).values["legal_name"] == "虚构第90摊"


def test_what_was_under_way_is_no_damage(market: Ledger) -> None:
    """Sealed and indexed with the key before, recorded after: the audit must not call an honest row changed."""
    keeper = market.registrar(OPERATOR)
    late = keeper.file(PARTY, keeper.read(PARTY, of(90)))
    replace(market)
    market.record(late)
    report = look(market)
    replace(market)
    assert report.clean, [*map(str, report.disagreements)]


def test_others_file_and_change_meanwhile(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads write while the key is replaced, in batches of three: nothing is refused, nothing lost."""
    monkeypatch.setattr(reseal, "BATCH", 3)
    failed: list[BaseException] = []
    begun = threading.Barrier(5)

    def write(thread: int) -> None:
        try:
            for number in range(100 * thread, 100 * thread + 15):
                file(market, PARTY, [of(number)])
                change(market, number, {"contact": f"联系{number}"}, "later")
                if number == 100 * thread:
                    begun.wait()
        except BaseException as error:
            failed.append(error)
            begun.abort()

    threads = [threading.Thread(target=write, args=[thread]) for thread in range(1, 5)]
    for thread in threads:
        thread.start()
    begun.wait()
    replace(market)
    for thread in threads:
        thread.join()
    assert failed == []

    def complete() -> bool:
        return all(
            party(market, number).values["contact"] == f"联系{number}"
            and found(market, PARTY, contact=f"系{number}") == 1
            for thread in range(1, 5)
            for number in range(100 * thread, 100 * thread + 15)
        )

    assert complete()
    replace(market)
    assert sealed_with(market) == {ids(market)[0]} and complete()
    check_ledger(market)


class Cut(Exception):
    """The process, killed where the test said."""


def cut_at(monkeypatch: pytest.MonkeyPatch, batch: int, *, after: bool) -> None:
    original, count = reseal._seal_again, 0

    def failing(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == batch and not after:
            raise Cut
        done = original(*arguments)  # type: ignore[arg-type]
        if count == batch:
            raise Cut
        return done

    monkeypatch.setattr(reseal, "_seal_again", failing)


@pytest.mark.parametrize(("batch", "after"), [(1, False), (3, True)])
def test_cut_off_in_the_middle_everything_opens_and_the_next_time_finishes_it(
    market: Ledger, monkeypatch: pytest.MonkeyPatch, batch: int, after: bool
) -> None:
    monkeypatch.setattr(reseal, "BATCH", 5)
    before, (first,) = everything(market), ids(market)
    with monkeypatch.context() as patch:
        cut_at(patch, batch, after=after)
        with pytest.raises(Cut):
            replace(market)
    assert len(ids(market)) == 2 and first in sealed_with(market), "a batch is done whole or not"
    assert everything(market) == before and found(market, PARTY, legal_name="摊") == COUNT
    replace(market)
    assert sealed_with(market) == {ids(market)[0]} and first in ids(market), "it was still in use"
    assert everything(market) == before and found(market, PARTY, legal_name="摊") == COUNT
    check_ledger(market)
    replace(market)
    assert first not in ids(market) and everything(market) == before


def test_cut_off_before_anything_is_sealed_anew_nothing_is_lost(
    market: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new key is on disk first: were it the other way round, what it sealed could be lost with it."""
    before = everything(market)

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(type(market.database), "as_owner", cut)
        with pytest.raises(Cut):
            replace(market)
    assert len(ids(market)) == 2 and everything(market) == before
    change(market, 1, {"contact": "赵六"})
    assert sealed_with(market) == set(ids(market)), "what is filed now has the new key"
    replace(market)
    assert len(sealed_with(market)) == 1


def test_a_replacement_half_done_is_no_damage(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit while it goes on, or after it was cut off: part of the index is under the old key, and right."""
    monkeypatch.setattr(reseal, "BATCH", 5)
    with monkeypatch.context() as patch:
        cut_at(patch, 3, after=False)
        with pytest.raises(Cut):
            replace(market)
    report = look(market)
    replace(market)
    assert report.clean, [*map(str, report.disagreements)]


def test_where_there_is_nothing_the_key_is_replaced(ledger: Ledger) -> None:
    (first,) = ids(ledger)
    assert replace(ledger) == 0 and first not in ids(ledger)[:1]


def test_after_an_erasure_the_index_is_still_right(market: Ledger) -> None:
    """What is left of an erased party and its licences is found by its code, under the new key as under the old."""
    erased(market, 1)
    check_ledger(market)
    replace(market)
    assert found(market, PARTY, party=f"{A}0001") == found(market, LICENCE, party=f"{A}0001") == 1
    check_ledger(market)


def test_after_an_erasure_and_two_new_keys_it_is_still_found(market: Ledger) -> None:
    erased(market, 1)
    replace(market)
    replace(market)
    assert found(market, PARTY, party=f"{A}0001") == found(market, LICENCE, party=f"{A}0001") == 1


def test_what_is_erased_meanwhile_stays_erased(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read, then emptied by an erasure, then written again: the values of somebody who was promised would be back."""
    original = Vault.seal_bytes

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(type(market.database), "as_owner", cut)
        with pytest.raises(Cut):
            erased(market, 1)  # decided, and cut off before anything was emptied

    def slow(vault: Vault, *arguments: object) -> object:
        """Between reading a batch and writing it again."""
        if not waiting:
            waiting.append(threading.Thread(target=erased, args=[market, 1]))
            waiting[0].start()
            waiting[0].join(1)  # it is done, or waits until the batch is
        return original(vault, *arguments)  # type: ignore[arg-type]

    waiting: list[threading.Thread] = []
    monkeypatch.setattr(Vault, "seal_bytes", slow)
    replace(market)
    for finish in waiting:
        finish.join()
    with market.database.connect() as connection:
        left = connection.execute(
            "SELECT subject, version FROM registry_version WHERE private IS NOT NULL AND (subject = %s AND version = 1"
            " OR subject LIKE %s)",
            [f"party {A}0001", f"licence {A}0001 %"],
        ).fetchall()
    assert left == []


@pytest.mark.damages
def test_what_cannot_be_opened_stops_the_replacement(market: Ledger, own: Own) -> None:
    """Sealing junk anew would make damage look whole; the old key must stay for whoever mends it."""
    with own.superuser() as connection:
        connection.execute(
            "UPDATE registry_version SET private = set_byte(private, 40, 255 - get_byte(private, 40))"
            " WHERE subject = %s", [f"party {A}0003"],
        )  # fmt: skip
    (first,) = ids(market)
    with pytest.raises(LedgerDamaged, match=rf"{A}0003, version 1, were changed"):
        replace(market)
    assert first in ids(market)
    with pytest.raises(LedgerError):
        replace(market)
    assert first in ids(market) and party(market, 2).values["legal_name"] == "虚构第2摊"


@pytest.mark.damages
def test_with_anothers_keys_nothing_is_replaced(market: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Somebody mixed up two folders: the audit says so, and nothing is sealed with the wrong key."""
    stranger = key_folder(tmp_path_factory.mktemp("stranger"))
    with pytest.raises(LedgerDamaged, match="a key that is not here"):
        replace_registry_key(market.database, stranger, lambda *_: None)
    assert sealed_with(market) == set(ids(market)) and Vault(stranger).keys()[0].id not in sealed_with(market)


def run_as_eraser(own: Own, statement: str) -> Callable[[], None]:
    def run() -> None:
        with own.database.as_owner() as connection:
            connection.execute("SET LOCAL ROLE suyuan_eraser")
            connection.execute(statement)

    return run


def test_whoever_reseals_can_do_nothing_else(market: Ledger, own: Own) -> None:
    for statement in (
        "UPDATE registry_version SET seq = 1", "UPDATE registry_version SET version = version + 1",
        "UPDATE registry_version SET subject = 'x'", "DELETE FROM registry_version", "DELETE FROM registry_search",
        "SELECT tokens FROM registry_search", "UPDATE registry_search SET subject = 'x'",
        "UPDATE party SET erased = true",
        "INSERT INTO registry_version SELECT * FROM registry_version", "SELECT * FROM party",
        "TRUNCATE registry_search",
    ):  # fmt: skip
        with pytest.raises(psycopg.Error):
            run_as_eraser(own, statement)()
