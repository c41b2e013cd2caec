"""Declarations of error: what an event moved is taken back once, whoever declares it, where, when and how often."""

import itertools
import threading
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.ledger import Ledger, now
from ledger import append as append_module
from ledger.append import Request, append
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import TraceScheme, parse_node
from ledger.documents import read_document, write_json
from ledger.errors import LedgerError
from ledger.nodes import OPERATOR, add_node, places_of
from ledger.scanning import left_of
from scanners.city import document
from tests.test_balances import KEY, event

NODES = (330212001, 330212002)
_fresh = itertools.count()


def at_node(ledger: Ledger, node: int, *events: dict[str, Any]) -> list[Request]:
    """One request of events whose place is `node`."""
    moved = [{**one, "readPoint": {"id": f"urn:suyuan:node:{node:09d}"}} for one in events]
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    return requests_of(
        read_document(write_json(document(moved, now()))), OPERATOR, places, ErrorBehaviour.ROLLBACK, ledger.secret
    )


def error_of(one: dict[str, Any], minute: int) -> dict[str, Any]:
    return {**one, "errorDeclaration": {"declarationTime": f"2026-11-24T00:{minute:02d}:00Z"}}


def left(ledger: Ledger) -> dict[str, Decimal]:
    with ledger.database.read() as connection:
        return {holder: quantity for holder, quantity, _ in left_of(connection, KEY) if quantity}


@pytest.fixture
def two(ledger: Ledger) -> Ledger:
    for node in NODES:
        ledger.record(add_node(parse_node(str(node)), "x", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    return ledger


STORY = st.lists(
    st.tuples(st.sampled_from(["event", "error"]), st.integers(0, 3), st.integers(0, 2), st.booleans()),
    min_size=1, max_size=14,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORY)
def test_an_event_ever_declared_in_error_moves_nothing(two: Ledger, story: list[tuple[Any, ...]]) -> None:
    """In any order, from either chain, in one request or several, whatever the declaration says that the event was."""
    run = next(_fresh)
    expected = left(two)
    happened = {number for kind, number, _, _ in story if kind == "event"}
    declared = {number for kind, number, _, _ in story if kind == "error"}
    batch: list[Request] = []
    for kind, number, minute, together in story:
        one = event(action="ADD", bizStep="commissioning", eventID=f"urn:x:{run}:{number}")
        one["quantityList"][0]["quantity"] = Decimal(number + 1 if kind == "event" else minute + 5)
        place = NODES[number % 2] if kind == "event" else NODES[(number + minute) % 2]
        batch += at_node(two, place, one if kind == "event" else error_of(one, minute))
        if not together:
            assert not any(isinstance(outcome, LedgerError) for outcome in two.lanes.record(batch))
            batch = []
    two.lanes.record(batch)
    for number in happened - declared:
        holder = str(NODES[number % 2])
        expected[holder] = expected.get(holder, Decimal(0)) + number + 1
    assert left(two) == expected


def test_rivals_who_declare_and_record_at_once_in_two_chains(two: Ledger) -> None:
    """The event, and two declarations of it in another chain, at the same moment: it moves nothing, fifty times."""
    for number in range(50):
        one = event(action="ADD", bizStep="commissioning", eventID=f"urn:rival:{number}")
        requests = [
            *at_node(two, NODES[0], one), *at_node(two, NODES[1], error_of(one, 1)),
            *at_node(two, NODES[0], error_of(one, 2)),
        ]  # fmt: skip
        ready = threading.Barrier(3)
        outcomes: list[Any] = []

        def write(request: Request, ready: threading.Barrier = ready, outcomes: list[Any] = outcomes) -> None:
            with two.database.connect() as connection:
                ready.wait()
                outcomes.extend(append(connection, [request], now))

        threads = [threading.Thread(target=write, args=(request,)) for request in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 3 and not any(isinstance(outcome, LedgerError) for outcome in outcomes)
    assert left(two) == {}


def test_whoever_must_know_what_all_record_waits_for_them(two: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declaration in another chain, while its event is in the middle of its commit, sees the event."""
    one = event(action="ADD", bizStep="commissioning")
    (original,), (declaration,) = at_node(two, NODES[0], one), at_node(two, NODES[1], error_of(one, 1))
    in_the_middle, go_on = threading.Event(), threading.Event()
    copy = append_module._copy

    def slow(*arguments: Any) -> None:
        if threading.current_thread().name == "slow":
            in_the_middle.set()
            go_on.wait(10)
        copy(*arguments)

    monkeypatch.setattr(append_module, "_copy", slow)

    def write(request: Request) -> None:
        with two.database.connect() as connection:
            append(connection, [request], now)

    first = threading.Thread(target=write, args=(original,), name="slow")
    second = threading.Thread(target=write, args=(declaration,))
    first.start()
    assert in_the_middle.wait(10)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert left(two) == {}
