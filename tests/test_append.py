"""The write path: what is acknowledged is there once, in order, and a rejected request leaves nothing."""

import itertools
import secrets
import threading
from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from api.ledger import Ledger, now
from ledger import append as append_module
from ledger.append import Change, Request, append
from ledger.balances import moves_of
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import CITY, IMPORT, TraceScheme
from ledger.documents import read_document, read_json, write_json
from ledger.drafts import Draft, draft
from ledger.entries import GENESIS, Kind, decode, hash_of
from ledger.errors import Busy, Conflict, LedgerError
from ledger.nodes import OPERATOR, add_node, get_node, places_of
from ledger.registers import NODE
from ledger.registry import record
from scanners.city import City, document
from tests.conftest import Own, check_ledger


def day(events: int, seed: int = 1) -> list[dict]:
    """The first events of a simulated day, from a slaughter's on, which is the second; without extension fields."""
    city = City(seed, date(2026, 11, 23), nodes=12, events=1_000, plant_every=0)
    told = [{name: value for name, value in one.items() if not name.startswith("suyuan:")} for one in city.events()]
    slaughter = next(place for place, one in enumerate(told) if one["bizStep"] == "killing")
    return told[slaughter - 1 :][:events]


def request_of(
    ledger: Ledger, events: list[dict], behaviour: ErrorBehaviour = ErrorBehaviour.ROLLBACK
) -> list[Request]:
    """Requests for events, all in the import chain unless a node of the city is registered."""
    moved = [{**event, "readPoint": {"id": "urn:suyuan:node:000000001"}} for event in events]
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    return requests_of(read_document(write_json(document(moved, now()))), OPERATOR, places, behaviour, ledger.secret)


def at_node(one: Draft, node: int) -> Draft:
    """The draft as if it had been made for another node's chain."""
    return one._replace(node=node, moves=tuple(moves_of(read_json(one.body)["event"], node)))


def rows(ledger: Ledger, table: str) -> int:
    with ledger.database.connect() as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_entries_follow_each_other(ledger: Ledger) -> None:
    """A chain whose entries did not name the hash before would not be a chain."""
    (outcome,) = ledger.lanes.record(request_of(ledger, day(50)))
    assert [place.seq for place in outcome] == list(range(1, 51))
    with ledger.database.connect() as connection:
        found = connection.execute("SELECT hash, data FROM entry WHERE node = %s ORDER BY seq", [IMPORT]).fetchall()
    before = GENESIS
    for place, (hash_, data) in zip(outcome, found, strict=True):
        entry = decode(data)
        assert entry.prev == before and hash_ == hash_of(data) == place.hash
        before = hash_


def test_the_same_request_again_is_the_same_answer(ledger: Ledger) -> None:
    requests = request_of(ledger, day(20))
    (first,) = ledger.lanes.record(requests)
    (second,) = ledger.lanes.record(request_of(ledger, day(20)))
    assert [place[:4] for place in first] == [place[:4] for place in second]
    assert all(place.duplicate for place in second) and not any(place.duplicate for place in first)
    assert rows(ledger, "entry") == 20 + 2


def test_an_id_with_other_content_conflicts_and_rolls_back(ledger: Ledger) -> None:
    events = day(10)
    ledger.lanes.record(request_of(ledger, events[:1]))
    changed = {**events[0], "disposition": "damaged"}
    (outcome,) = ledger.lanes.record(request_of(ledger, [*events[1:], changed]))
    assert isinstance(outcome, Conflict)
    assert rows(ledger, "entry") == 1 + 2 and rows(ledger, "event_id") == 1


def test_proceed_keeps_the_good_ones(ledger: Ledger) -> None:
    events = day(10)
    ledger.lanes.record(request_of(ledger, events[:1]))
    outcomes = ledger.lanes.record(
        request_of(ledger, [{**events[0], "disposition": "damaged"}, *events[1:]], ErrorBehaviour.PROCEED)
    )
    assert isinstance(outcomes[0], Conflict) and all(isinstance(o, list) for o in outcomes[1:])
    assert rows(ledger, "event") == 10


def test_an_id_twice_in_one_document(ledger: Ledger) -> None:
    """Once if it says the same, a conflict if not; a naive check against the database alone misses both."""
    events = day(2)
    (same,) = ledger.lanes.record(request_of(ledger, [events[0], events[0]]))
    assert same[0][:3] == same[1][:3]
    (other,) = ledger.lanes.record(request_of(ledger, [events[1], {**events[1], "disposition": "damaged"}]))
    assert isinstance(other, Conflict)


def test_an_error_declaration_is_a_second_entry_of_the_same_id(ledger: Ledger) -> None:
    event = day(1)[0]
    ledger.lanes.record(request_of(ledger, [event]))
    declared = {**event, "errorDeclaration": {"declarationTime": "2026-11-24T00:00:00Z", "reason": "did_not_occur"}}
    (outcome,) = ledger.lanes.record(request_of(ledger, [declared]))
    assert outcome[0].seq == 2 and not outcome[0].duplicate


def test_two_changes_of_one_row_in_one_batch(ledger: Ledger) -> None:
    """Both start from version 1: exactly one wins, whoever shares its transaction."""
    ledger.record(add_node(330212001, "市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    with ledger.database.read() as connection:
        present = record(connection, ledger.vault, NODE, ("330212001",))
    rivals = [ledger.registrar(OPERATOR).change(present, {"name": name}) for name in ("甲", "乙", "丙")]
    with ledger.database.connect() as connection:
        outcomes = append(connection, rivals, now)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, True, True]
    with ledger.database.read() as connection:
        assert get_node(connection, 330212001).name == "甲"


def test_a_lost_change_takes_its_entry_with_it(ledger: Ledger) -> None:
    before = rows(ledger, "entry")
    row = {"node": 330212009, "version": 7, "name": "x", "trace_scheme": "A", "locations": [], "open": True}
    change = Change("node", row)
    lost = Request([draft(CITY, Kind.CHANGE, change.body, secrets.token_bytes)], "operator", [change])
    (outcome,) = ledger.lanes.record([lost])
    assert isinstance(outcome, Conflict) and rows(ledger, "entry") == before


class Cut(Exception):
    """The connection of a test, cut where it said."""


def _statements() -> Iterator[str]:
    yield from ("_take", "_errors", "_apply_changes", "_place", "_copy", "_move")


@pytest.mark.parametrize("step", list(_statements()))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_anywhere_before_the_commit_writes_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    original = getattr(append_module, step)

    def failing(*arguments: object, **options: object) -> object:
        if when == "after":
            original(*arguments, **options)
        raise Cut

    count = {table: rows(ledger, table) for table in ("entry", "event", "event_id", "item_entry")}
    requests = request_of(ledger, day(5))
    monkeypatch.setattr(append_module, step, failing)
    with ledger.database.connect() as connection, pytest.raises(Cut):
        append(connection, requests, now)
    monkeypatch.undo()
    assert count == {table: rows(ledger, table) for table in count}
    (again,) = ledger.lanes.record(requests)
    assert len(again) == 5


def test_a_lost_answer_after_the_commit_is_safe_to_ask_again(ledger: Ledger, own: Own) -> None:
    """The outcome was unknown to the writer: the same request again gives the same places, once."""
    requests = request_of(ledger, day(5))
    with ledger.database.connect() as connection:
        append(connection, requests, now)
    (outcome,) = ledger.lanes.record(request_of(ledger, day(5)))
    assert all(place.duplicate for place in outcome) and rows(ledger, "event") == 5


def test_rivals_on_many_chains_with_the_same_ids(ledger: Ledger) -> None:
    """Eight writers, the same events in different orders, in different chains: each event once, nobody deadlocked."""
    codes = [330212001 + i for i in range(4)]
    for code in codes:
        ledger.record(add_node(code, "市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    events = day(40)
    (request,) = request_of(ledger, events)
    outcomes: list[object] = []

    def write(number: int) -> None:
        drafts = [at_node(one, codes[number % 4]) for one in request.drafts]
        ordered = drafts if number % 2 else drafts[::-1]
        with ledger.database.connect() as connection:
            for part in (ordered[:20], ordered[20:]):
                outcomes.extend(append(connection, [Request(part, "operator")], now))

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 16 and not any(isinstance(outcome, LedgerError) for outcome in outcomes)
    assert rows(ledger, "event") == 40


def test_forty_writers_on_five_nodes(ledger: Ledger) -> None:
    """Every acknowledged entry is there, none twice, under real contention; the audit follows."""
    codes = [330212001 + i for i in range(5)]
    for code in codes:
        ledger.record(add_node(code, "市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    requests = [request_of(ledger, day(10, seed), ErrorBehaviour.PROCEED) for seed in range(40)]
    acknowledged: list[tuple[int, int, bytes]] = []

    def write(number: int) -> None:
        moved = [Request([at_node(d, codes[number % 5]) for d in r.drafts], "operator") for r in requests[number]]
        for outcome in ledger.lanes.record(moved):
            assert isinstance(outcome, list)
            acknowledged.extend((place.node, place.seq, place.hash) for place in outcome)

    threads = [threading.Thread(target=write, args=[number]) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acknowledged) == len(set(acknowledged)) == 400
    with ledger.database.connect() as connection:
        stored = set(connection.execute("SELECT node, seq, hash FROM entry WHERE node > 1").fetchall())
    assert stored == set(acknowledged)


def test_without_the_lock_no_fork_is_committed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock broken on purpose: the compare-and-swap and the primary key are the second bolt."""
    ledger.lanes.record(request_of(ledger, day(1, 100)))  # the chain has a head
    real_take, classes = append_module._take, itertools.count(7000)
    barrier = threading.Barrier(2, timeout=30)

    def take(connection: psycopg.Connection, requests: object, *, alone: bool) -> object:
        with lock:  # each transaction locks under a class of its own, so nobody waits for anybody
            monkeypatch.setattr(append_module, "CHAIN_LOCKS", next(classes))
            found = real_take(connection, requests, alone=alone)
        barrier.wait()  # both have seen the same head
        return found

    lock = threading.Lock()
    monkeypatch.setattr(append_module, "_take", take)
    ended: list[object] = []

    def write(seed: int) -> None:
        try:
            with ledger.database.connect() as connection:
                ended.extend(append(connection, request_of(ledger, day(3, seed)), now))
        except (LedgerError, threading.BrokenBarrierError) as error:
            ended.append(error)

    threads = [threading.Thread(target=write, args=[seed]) for seed in (101, 102)]
    for thread in threads:
        thread.start()
    barrier_breaker = threading.Timer(5, barrier.abort)  # the loser's second attempt waits alone
    barrier_breaker.start()
    for thread in threads:
        thread.join()
    barrier_breaker.cancel()
    monkeypatch.undo()
    assert sum(isinstance(one, list) for one in ended) == 1, ended
    check_ledger(ledger)


def test_a_full_lane_says_busy(own: Own, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded: beyond that the writer is told, not kept."""
    monkeypatch.setattr("ledger.lanes.WAITING_ENTRIES_MAX", 10)
    with ledger.database.connect() as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(%s, %s)", [append_module.CHAIN_LOCKS, int(IMPORT)])
        answers = [ledger.lanes.submit(request) for request in request_of(ledger, day(8), ErrorBehaviour.PROCEED)]
        with pytest.raises(Busy):
            for request in request_of(ledger, day(30, 2), ErrorBehaviour.PROCEED):
                answers.append(ledger.lanes.submit(request))
        blocker.rollback()
    assert all(len(answer.result(timeout=30)) == 1 for answer in answers)
