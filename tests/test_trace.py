"""Traces: what is followed and what is not, where they end, and the same answer as a slow traversal gives."""

import io
import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from api.ledger import Ledger, now
from ledger import trace as trace_module
from ledger.access import Actor, Role
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import IMPORT, key_of_code
from ledger.documents import read_document, read_json, write_json
from ledger.errors import LedgerError, NotRecorded, UnreadableCode
from ledger.identifiers import Key, canonical_key, check_digit
from ledger.index import Action, Mention
from ledger.index import Role as MentionRole
from ledger.nodes import OPERATOR, places_of
from ledger.trace import Direction, Graph, Item, OpenEnd, Reason, Step, trace
from reports.trace import to_json, to_tree
from scanners.city import City, document, lot_uri

START = datetime(2026, 11, 23, tzinfo=UTC)
GTIN = "690123450050"
CLASS = lot_uri(GTIN, "x").partition("/10/")[0]
_numbers = itertools.count(1)


def lot(name: str) -> str:
    return lot_uri(GTIN, name)


def crate(number: int) -> str:
    body = f"0690123450{number:07d}"
    return f"https://id.gs1.org/00/{body}{check_digit(body)}"


def event(kind: str, minute: int, **fields: object) -> dict:
    at = (START + timedelta(minutes=minute)).isoformat()
    return {
        "type": kind, "eventID": f"urn:x:event:{next(_numbers)}", "eventTime": at, "eventTimeZoneOffset": "+00:00",
        **fields,
    }  # fmt: skip


def goods(names: Iterable[str], quantity: object = 1) -> list[dict]:
    return [{"epcClass": lot(name) if "/" not in name else name, "quantity": quantity, "uom": "KGM"} for name in names]


def made(minute: int, *names: str, step: str = "commissioning", action: str = "ADD") -> dict:
    return event("ObjectEvent", minute, action=action, bizStep=step, quantityList=goods(names))


def seen(minute: int, *names: str, step: str) -> dict:
    return made(minute, *names, step=step, action="OBSERVE")


def turned(minute: int, inputs: Iterable[str], outputs: Iterable[str], **fields: object) -> dict:
    lists = {"inputQuantityList": goods(inputs), "outputQuantityList": goods(outputs)}
    return event("TransformationEvent", minute, **{name: value for name, value in lists.items() if value}, **fields)


def packed(minute: int, number: int, *names: str, action: str = "ADD", **fields: object) -> dict:
    """Lots and crates (given as URIs) put into a crate, or taken out of it."""
    lots, crates = [name for name in names if "/" not in name], [name for name in names if "/" in name]
    children = {"childQuantityList": goods(lots)} if lots else {}
    children |= {"childEPCs": crates} if crates else {}
    return event("AggregationEvent", minute, action=action, parentID=crate(number), **children, **fields)


def consumed(minute: int, number: int, *outputs: str) -> dict:
    """A crate goes into a transformation as it is."""
    return event("TransformationEvent", minute, inputEPCList=[crate(number)], outputQuantityList=goods(outputs))


def record(ledger: Ledger, *events: dict) -> None:
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    checked = read_document(write_json(document(list(events), now())))
    for outcome in ledger.lanes.record(requests_of(checked, OPERATOR, places, ErrorBehaviour.ROLLBACK, ledger.secret)):
        assert not isinstance(outcome, LedgerError), outcome


def graph_of(ledger: Ledger, code: str, direction: Direction = Direction.BOTH, actor: Actor = OPERATOR) -> Graph:
    with ledger.database.read() as connection:
        return trace(connection, key_of_code(code), direction, actor)


def names(graph: Graph) -> set[str]:
    """The lots of a graph by their short names, crates as c1, c2, …"""
    found = set()
    for key in graph.items:
        if key.startswith("00/"):
            found.add(f"c{int(key[-8:-1])}")
        else:
            found.add(key.rpartition("/10/")[2])
    return found


def backward(ledger: Ledger, name: str) -> set[str]:
    return names(graph_of(ledger, lot(name), Direction.BACKWARD)) - {name}


def forward(ledger: Ledger, name: str) -> set[str]:
    return names(graph_of(ledger, lot(name), Direction.FORWARD)) - {name}


def ends(graph: Graph) -> set[tuple[str, str, str]]:
    return {(end.item.rpartition("/10/")[2], end.direction, end.reason) for end in graph.open_ends}


# --- transformations ------------------------------------------------------------------------------


def test_a_transformation_is_followed_both_ways_and_not_sideways(ledger: Ledger) -> None:
    record(ledger, made(0, "a", "b"), turned(1, "ab", ["m"]), turned(2, ["m"], "xy"), turned(3, "b", ["side"]))
    assert backward(ledger, "x") == {"m", "a", "b"} and forward(ledger, "a") == {"m", "x", "y"}
    assert names(graph_of(ledger, lot("m"))) == {"m", "a", "b", "x", "y"}
    assert ends(graph_of(ledger, lot("a"), Direction.FORWARD)) == {(name, "forward", "held") for name in "xy"}
    levels = {item.key[-1]: item.level for item in graph_of(ledger, lot("m")).items.values()}
    assert levels == {"m": 0, "a": -1, "b": -1, "x": 1, "y": 1}


def test_a_transformation_id_ties_events_together(ledger: Ledger) -> None:
    one, two = {"transformationID": "urn:x:batch:1"}, {"transformationID": "urn:x:batch:2"}
    record(
        ledger, turned(0, ["a"], [], **one), turned(1, ["b"], [], **one), turned(2, [], ["x"], **one),
        turned(3, [], ["y"], **one), turned(4, ["alien"], ["z"], **two),
    )  # fmt: skip
    assert {"a", "b"} <= backward(ledger, "x") and {"x", "y"} <= forward(ledger, "b")
    assert not {"alien", "z"} & (backward(ledger, "x") | forward(ledger, "b"))


def test_rework_in_a_circle_ends(ledger: Ledger) -> None:
    record(ledger, turned(0, ["a"], ["b"]), turned(1, ["b"], ["a"]), turned(2, ["a"], ["a"]))
    for name, other in (("a", "b"), ("b", "a")):
        assert backward(ledger, name) == forward(ledger, name) == {other}
        assert not graph_of(ledger, lot(name)).cut


def test_a_split_lot_reaches_everybody_who_got_of_it(ledger: Ledger) -> None:
    record(ledger, made(0, "a"), *(turned(i, ["a"], [f"slip{i}"]) for i in range(1, 6)), turned(9, ["slip1"], ["soup"]))
    assert forward(ledger, "a") == {"soup", *(f"slip{i}" for i in range(1, 6))}
    assert backward(ledger, "soup") == {"slip1", "a"}


def test_a_class_of_goods_is_shown_and_not_followed(ledger: Ledger) -> None:
    """Salt without a lot number goes into everything: following it would join all soups of the city."""
    record(ledger, turned(0, ["a", CLASS], ["x"]), turned(1, ["b", CLASS], ["y"]))
    assert backward(ledger, "x") == {"a"} and forward(ledger, "b") == {"y"}
    asked = graph_of(ledger, CLASS)
    assert list(asked.items) == [canonical_key(CLASS)] and len(asked.steps) == 2 and not asked.open_ends
    mentioned = {mention["item"] for mention in to_json(graph_of(ledger, lot("x")))["events"][0]["inputs"]}
    assert canonical_key(CLASS) in mentioned


def test_an_event_in_error_is_shown_and_not_followed(ledger: Ledger) -> None:
    wrong = turned(1, ["a"], ["x"])
    declared = wrong | {"errorDeclaration": {"declarationTime": "2026-11-24T00:00:00Z", "reason": "did_not_occur"}}
    record(ledger, made(0, "a", "b"), wrong, turned(2, ["b"], ["x"]))
    assert backward(ledger, "x") == {"a", "b"}
    record(ledger, declared)
    found = graph_of(ledger, lot("x"), Direction.BACKWARD)
    assert names(found) == {"x", "b"} and [step.in_error for step in found.steps.values()].count(True) == 2
    assert forward(ledger, "a") == set() and ("a", "forward", "held") in ends(graph_of(ledger, lot("a")))


# --- containers -----------------------------------------------------------------------------------


def test_a_reused_crate_does_not_join_unrelated_goods(ledger: Ledger) -> None:
    record(
        ledger, made(0, "a", "b"), packed(1, 1, "a"), consumed(5, 1, "x"), packed(6, 1, "a", action="DELETE"),
        packed(7, 1, "b"), consumed(9, 1, "y"), packed(10, 1, "b", action="DELETE"),
    )  # fmt: skip
    assert forward(ledger, "a") == {"c1", "x"} and forward(ledger, "b") == {"c1", "y"}
    assert backward(ledger, "x") == {"c1", "a"} and backward(ledger, "y") == {"c1", "b"}


def test_a_crate_that_was_emptied_holds_nothing_of_before(ledger: Ledger) -> None:
    """A DELETE that names no contents takes everything out; the goods' own events do not know of it."""
    record(
        ledger, made(0, "a", "b"), packed(1, 1, "a"), packed(2, 1, action="DELETE"), packed(3, 1, "b"),
        consumed(4, 1, "y"),
    )  # fmt: skip
    assert forward(ledger, "a") == {"c1"} and forward(ledger, "b") == {"c1", "y"}
    assert backward(ledger, "y") == {"c1", "b"}


def test_only_the_crates_way_while_the_goods_were_in_it_is_theirs(ledger: Ledger) -> None:
    """A crate's other journeys would drown the trace, and show other people's trade."""
    ship = {"action": "OBSERVE", "bizStep": "shipping", "epcList": [crate(1)]}
    journeys = {minute: event("ObjectEvent", minute, **ship) for minute in (1, 5, 20, 30)}
    record(ledger, made(0, "a"), packed(3, 1, "a"), packed(9, 1, "a", action="DELETE"), *journeys.values())
    shown = {step.event["eventID"] for step in graph_of(ledger, lot("a")).steps.values()}
    assert {minute for minute, one in journeys.items() if one["eventID"] in shown} == {5}


def test_a_crate_consumed_twice_gives_what_was_in_it_each_time(ledger: Ledger) -> None:
    record(
        ledger, packed(1, 1, "a"), consumed(2, 1, "x"), packed(3, 1, action="DELETE"), packed(4, 1, "b"),
        consumed(5, 1, "y"), packed(6, 1, action="DELETE"), packed(7, 1, "alien"), turned(8, "xy", ["mix"]),
    )  # fmt: skip
    assert backward(ledger, "mix") == {"x", "y", "c1", "a", "b"}


def test_a_crate_on_a_pallet_goes_the_pallets_way(ledger: Ledger) -> None:
    record(
        ledger, made(0, "a", "b"), packed(1, 1, "a"), packed(2, 2, crate(1)), consumed(3, 2, "x"),
        packed(4, 2, crate(1), action="DELETE"), packed(5, 2, "b"), consumed(6, 2, "y"),
    )  # fmt: skip
    assert forward(ledger, "a") == {"c1", "c2", "x"} and backward(ledger, "x") == {"c2", "c1", "a"}
    assert forward(ledger, "b") == {"c2", "y"} and backward(ledger, "y") == {"c2", "b"}


def test_a_crate_that_stood_on_the_pallet_already_goes_its_way_too(ledger: Ledger) -> None:
    record(ledger, packed(1, 2, crate(1)), packed(2, 1, "a"), consumed(3, 2, "x"))
    assert forward(ledger, "a") == {"c1", "c2", "x"} and backward(ledger, "x") == {"c2", "c1", "a"}


def test_what_left_the_crate_before_the_pallet_was_consumed_is_not_in_the_product(ledger: Ledger) -> None:
    record(
        ledger, packed(1, 1, "a", "b"), packed(2, 2, crate(1)), packed(3, 1, "a", action="DELETE"), consumed(4, 2, "x")
    )  # fmt: skip
    assert backward(ledger, "x") == {"c2", "c1", "b"} and "x" not in forward(ledger, "a")


def test_what_is_taken_out_the_moment_the_crate_is_consumed_is_not_in_the_product(ledger: Ledger) -> None:
    record(ledger, packed(1, 1, "a", "b"), packed(4, 1, "a", action="DELETE"), consumed(4, 1, "x"))
    assert backward(ledger, "x") == {"c1", "b"}
    assert "x" not in forward(ledger, "a") and "x" in forward(ledger, "b")


def test_a_container_that_is_asked_for_gives_its_contents_and_theirs(ledger: Ledger) -> None:
    record(
        ledger, made(0, "a"), turned(1, ["a"], ["b"]), packed(2, 1, "b"), packed(3, 2, crate(1)), packed(4, 3, "alien")
    )
    assert names(graph_of(ledger, crate(2))) == {"c2", "c1", "b", "a"}
    assert names(graph_of(ledger, crate(2), Direction.FORWARD)) == {"c2", "c1", "b"}


def test_what_was_in_the_crate_before_it_came_on_the_pallet_is_not_the_pallets(ledger: Ledger) -> None:
    record(
        ledger, packed(1, 1, "before"), packed(2, 1, action="DELETE"), packed(3, 1, "b"), packed(4, 2, crate(1)),
        packed(5, 2, crate(1), action="DELETE"), packed(6, 1, action="DELETE"), packed(7, 1, "after"),
    )  # fmt: skip
    assert names(graph_of(ledger, crate(2))) == {"c2", "c1", "b"}


def test_crates_in_each_other_end(ledger: Ledger) -> None:
    record(ledger, packed(1, 1, crate(2), "a"), packed(2, 2, crate(1), "b"), packed(3, 1, crate(1)))
    assert {"c1", "c2", "a", "b"} <= names(graph_of(ledger, crate(1)))
    assert forward(ledger, "a") == {"c1", "c2"}


def test_a_class_of_crates_joins_nothing(ledger: Ledger) -> None:
    """A returnable asset's type without a serial is a class of crates, not a crate."""
    grai = "https://id.gs1.org/8003/06901234500059"
    one, two = packed(1, 1, "a") | {"parentID": grai}, packed(1, 1, "b") | {"parentID": grai}
    taken = event(
        "TransformationEvent",
        3,
        inputEPCList=["https://id.gs1.org/8003/06901234500059X"],
        outputQuantityList=goods("x"),
    )
    record(ledger, one, two, taken)
    assert "x" not in forward(ledger, "a") and "b" not in names(graph_of(ledger, lot("a")))


# --- starts ---------------------------------------------------------------------------------------


def test_a_certificate_leads_to_its_goods(ledger: Ledger) -> None:
    certificate = "urn:suyuan:certificate:animal:000000001"
    record(ledger, made(0, "a") | {"certificationInfo": [certificate]}, turned(1, ["a"], ["x"]), made(2, "alien"))
    assert names(graph_of(ledger, certificate)) - {certificate} == {"a", "x"}
    assert certificate not in graph_of(ledger, lot("x")).items


def test_an_event_id_leads_to_its_goods(ledger: Ledger) -> None:
    asked = turned(1, ["a"], ["x"])
    record(ledger, made(0, "a"), asked, turned(2, ["x"], ["y"]))
    found = graph_of(ledger, asked["eventID"])
    assert names(found) == {"a", "x", "y"} and len(found.steps) == 3


def test_an_event_without_goods_is_shown_alone(ledger: Ledger) -> None:
    measured = event(
        "ObjectEvent", 1, action="OBSERVE", bizStep="sensor_reporting",
        readPoint={"id": "urn:x:cold-store"},
        sensorElementList=[{"sensorReport": [{"type": "Temperature", "value": Decimal("4.10"), "uom": "CEL"}]}],
    )  # fmt: skip
    record(ledger, measured)
    found = graph_of(ledger, measured["eventID"])
    assert len(found.steps) == 1 and not found.items and "sensor_reporting" in drawn(found)


def test_what_nobody_recorded_is_not_found(ledger: Ledger) -> None:
    record(ledger, made(0, "a"))
    for code in (lot("b"), "urn:x:event:nobody", crate(9), "33021200100010000001"):
        with pytest.raises(NotRecorded):
            graph_of(ledger, code)
    for code in ("urn:x:\0", "urn:x:\ud800", "x", ""):
        with pytest.raises(UnreadableCode):
            graph_of(ledger, code)


def test_who_has_nothing_of_it_finds_nothing(ledger: Ledger) -> None:
    made_ = made(0, "a")
    record(ledger, made_)
    stranger = Actor("stranger", Role.TERMINAL, frozenset([330212001]), 330212001)
    for code in (lot("a"), made_["eventID"]):
        with pytest.raises(NotRecorded):
            graph_of(ledger, code, actor=stranger)


# --- ends -----------------------------------------------------------------------------------------


def test_a_lot_that_comes_from_nowhere_is_an_open_end(ledger: Ledger) -> None:
    record(ledger, seen(1, "a", step="receiving"), turned(2, ["a", "b"], ["x"]), made(0, "b"))
    assert ends(graph_of(ledger, lot("x"), Direction.BACKWARD)) == {("a", "backward", "no_origin")}


def test_a_lot_that_was_shipped_and_not_received_is_an_open_end(ledger: Ledger) -> None:
    record(ledger, made(0, "a", "b"), seen(1, "a", "b", step="shipping"), seen(2, "b", step="receiving"))
    assert ends(graph_of(ledger, lot("a"), Direction.FORWARD)) == {("a", "forward", "not_received")}
    assert ends(graph_of(ledger, lot("b"), Direction.FORWARD)) == {("b", "forward", "held")}


@pytest.mark.parametrize("step", ["retail_selling", "dispensing", "destroying", "decommissioning"])
def test_a_lot_that_was_used_up_is_no_open_end(ledger: Ledger, step: str) -> None:
    record(ledger, made(0, "a"), seen(1, "a", step=step))
    assert ends(graph_of(ledger, lot("a"))) == set()


def test_goods_in_a_crate_on_a_pallet_are_where_the_pallet_is(ledger: Ledger) -> None:
    ship = event("ObjectEvent", 3, action="OBSERVE", bizStep="shipping", epcList=[crate(2)])
    record(ledger, made(0, "a"), packed(1, 1, "a"), packed(2, 2, crate(1)), ship)
    found = graph_of(ledger, lot("a"), Direction.FORWARD)
    assert ends(found) == {("a", "forward", "not_received")}
    assert found.steps[found.open_ends[0].last].event["eventID"] == ship["eventID"]
    record(ledger, event("ObjectEvent", 4, action="OBSERVE", bizStep="receiving", epcList=[crate(2)]))
    assert ends(graph_of(ledger, lot("a"), Direction.FORWARD)) == {("a", "forward", "held")}


# --- limits ---------------------------------------------------------------------------------------


def test_a_trace_beyond_the_depth_is_cut_and_says_where(ledger: Ledger) -> None:
    chain = [turned(i, [f"n{i}"], [f"n{i + 1}"]) for i in range(trace_module.DEPTH_MAX + 5)]
    record(ledger, *chain)
    found = graph_of(ledger, lot("n0"), Direction.FORWARD)
    (limit,) = [end for end in found.open_ends if end.reason is Reason.LIMIT]
    assert found.cut and limit.item == canonical_key(lot(f"n{trace_module.DEPTH_MAX}"))
    assert len(found.items) == trace_module.DEPTH_MAX
    rest = graph_of(ledger, lot(f"n{trace_module.DEPTH_MAX}"), Direction.FORWARD)
    assert not rest.cut and len(rest.items) == 6


@pytest.mark.parametrize(("limit", "most"), [("EVENTS_MAX", 50), ("ROWS_MAX", 50)])
def test_a_trace_beyond_its_size_is_cut_and_says_where(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    """Also where everything lies in one step: a list that is silently too short would be taken for the truth."""
    record(ledger, *(seen(i, "a", step="inspecting") for i in range(80)))
    monkeypatch.setattr(trace_module, limit, most)
    for direction in Direction:
        found = graph_of(ledger, lot("a"), direction)
        assert found.cut and len(found.steps) <= most
        assert {end.reason for end in found.open_ends} == {Reason.LIMIT}
        assert "ask from" in drawn(found) and to_json(found)["cut"] is True


def test_a_cut_on_the_way_back_does_not_hide_the_way_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "DEPTH_MAX", 3)
    record(ledger, *(turned(i, [f"n{i}"], [f"n{i + 1}"]) for i in range(9)), turned(10, ["n9"], ["end"]))
    found = graph_of(ledger, lot("n9"))
    assert found.cut and {"n8", "n7", "end"} <= names(found)
    assert {(end.item.rpartition("/")[2], end.reason) for end in found.open_ends if end.direction == "backward"} == {
        ("n6", Reason.LIMIT)
    }


def test_a_thousand_inputs_and_outputs_in_one_event(ledger: Ledger) -> None:
    wide = turned(5, [f"i{i}" for i in range(1000)], [f"o{i}" for i in range(1000)])
    record(ledger, made(0, *(f"i{i}" for i in range(1000))), wide)
    back, on = graph_of(ledger, lot("o7"), Direction.BACKWARD), graph_of(ledger, lot("i7"), Direction.FORWARD)
    assert len(back.items) == len(on.items) == 1001 and len(back.steps) == len(on.steps) == 2
    assert len(graph_of(ledger, wide["eventID"]).items) == 2000


def test_two_thousand_events_of_one_lot(ledger: Ledger) -> None:
    record(ledger, made(0, "a"), *(turned(1 + i, ["a"], [f"s{i}"]) for i in range(2000)))
    found = graph_of(ledger, lot("a"))
    assert len(found.steps) == 2001 and len(found.items) == 2001 and not found.cut
    assert drawn(found).count("commissioning") == 1


# --- documents ------------------------------------------------------------------------------------


def drawn(graph: Graph, width: int = 400) -> str:
    console = Console(file=io.StringIO(), width=width, emoji=False)
    console.print(to_tree(graph))
    return console.file.getvalue()


def test_quantities_stay_exact(ledger: Ledger) -> None:
    amounts = [Decimal("0.1"), Decimal("86.50"), Decimal("12345678901234567890.123456789"), Decimal("1E+3"), 7]
    record(ledger, *(made(i, f"q{i}") | {"quantityList": goods([f"q{i}"], a)} for i, a in enumerate(amounts)))
    for i, amount in enumerate(amounts):
        text = write_json(to_json(graph_of(ledger, lot(f"q{i}"))))
        (found,) = read_json(text)["events"][0]["objects"]
        assert found["quantity"] == amount and str(found["quantity"]) == str(amount)
        assert f" {amount} KGM" in drawn(graph_of(ledger, lot(f"q{i}")))


STRANGE = [
    "[red]",
    "[/]",
    "[/bold]",
    "urn:pig:cow:heart:x",
    "a\\",
    "a\\\\",
    "[link=https://example.org]",
    "[[",
    ":id:",
    "\\[b]",
]


@pytest.mark.parametrize("code", STRANGE)
def test_strange_codes_are_drawn_as_they_are(code: str) -> None:
    """To Rich they are markup and emoji: a closing tag of nothing would even stop the command."""
    key = Key(code)
    end = OpenEnd(key, Direction.FORWARD, Reason.HELD, None)
    happened = {"type": code, "eventTime": code, "eventID": code, "bizStep": code, "readPoint": {"id": code}}
    step = Step(1, 1, b"", START, happened, True, [Mention(MentionRole.OBJECT, key, 1, "KGM")], START, Action.ADD, code)
    found = Graph(key, {step.place: step}, {key: Item(key, 0, {step.place: None})}, [end])
    assert drawn(found).count(code) >= 5


def test_codes_in_urns_are_not_drawn_as_pictures(ledger: Ledger) -> None:
    place = "urn:epc:id:sgln:6901234.00000.0"
    record(ledger, made(0, "a") | {"readPoint": {"id": place}})
    assert place in drawn(graph_of(ledger, lot("a")))


def test_the_trace_of_a_fsma_document_is_found_by_a_code_in_it(ledger: Ledger, shared_data: Path) -> None:
    """Harvest, cooling, packing, shipping, receiving and transformation of one romaine, as the FDA's rule has them."""
    files = sorted((shared_data / "epcis/fsma204").glob("*.jsonld"))
    assert len(files) == 7
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    conflicts = 0
    for path in files:
        body = write_json(without_comments(json.loads(path.read_text(), parse_float=Decimal)))
        for outcome in ledger.lanes.record(
            requests_of(read_document(body), OPERATOR, places, ErrorBehaviour.PROCEED, ledger.secret)
        ):
            conflicts += isinstance(outcome, LedgerError)
    assert conflicts == 1  # shipping and receiving give one eventID to two different packings
    romaine, salad = "(01)00860009999923(10)ABC1234", "(01)10860009998039(10)SALAD-20260420-A"
    back = graph_of(ledger, salad, Direction.BACKWARD)
    assert key_of_code(romaine) in back.items and min(item.level for item in back.items.values()) == -2
    on = graph_of(ledger, romaine, Direction.FORWARD)
    assert key_of_code(salad) in on.items
    assert {"creating_class_instance", "transporting", "receiving"} <= {
        step.business_step for step in on.steps.values()
    }
    quantities = {m.quantity for step in on.steps.values() for m in step.mentions if m.key == key_of_code(romaine)}
    assert 25000 in quantities


def without_comments(value: object) -> object:
    if isinstance(value, dict):
        return {name: without_comments(inner) for name, inner in value.items() if not name.startswith("_comment")}
    return [without_comments(inner) for inner in value] if isinstance(value, list) else value


def test_a_slip_of_a_simulated_day_leads_back_to_the_farm(ledger: Ledger) -> None:
    city = City(7, START.date(), events=300, plant_every=0)
    moved = [{**one, "readPoint": {"id": f"urn:suyuan:node:{IMPORT:09d}"}} for one in city.events()]
    record(ledger, *moved)
    found = graph_of(ledger, city.slips[0], Direction.BACKWARD)
    assert not found.open_ends and min(item.level for item in found.items.values()) <= -2


# --- against a slow traversal ---------------------------------------------------------------------

LOTS, CRATES = "abcdef", (1, 2)


def happenings() -> st.SearchStrategy:
    some = st.lists(st.sampled_from(LOTS), min_size=1, max_size=2, unique=True)
    into = st.tuples(st.just("pack"), st.sampled_from(CRATES), some)
    out = st.tuples(st.just("unpack"), st.sampled_from(CRATES), st.one_of(st.just([]), some))
    load = st.tuples(st.sampled_from(["load", "unload"]), st.just(2), st.just([1]))
    use = st.tuples(st.just("use"), st.sampled_from(CRATES), some)
    turn = st.tuples(st.just("turn"), some, some)
    return st.lists(st.one_of(turn, turn, into, out, load, use), min_size=1, max_size=9)


def as_events(story: list, world: str) -> list[dict]:
    """The story as EPCIS events, a minute each, in a world of its own."""
    offset = int(world) * 10
    found = []
    for minute, (what, one, other) in enumerate(story):
        if what == "turn":
            found.append(turned(minute, [world + n for n in one], [world + n for n in other]))
        elif what == "use":
            found.append(consumed(minute, offset + one, *(world + n for n in other)))
        else:
            contents = [crate(offset + n) if isinstance(n, int) else world + n for n in other]
            action = "DELETE" if what.startswith("un") else "ADD"
            found.append(packed(minute, offset + one, *contents, action=action))
    return found


def slow(story: list) -> dict[tuple[object, object], None]:
    """Which lot or crate went directly into which lot, by simulating what stood where: the definition itself."""
    inside: dict[object, object] = {}  # (content, container) pairs that stand
    steps: dict[tuple[object, object], None] = {}

    def contents(container: object) -> set[object]:
        found: set[object] = set()
        waiting = [container]
        while waiting:
            around = waiting.pop()
            for content, holder in inside:
                if holder == around and content not in found:
                    found.add(content)
                    waiting.append(content)
        return found

    for what, one, other in story:
        if what == "turn":
            steps |= {(source, target): None for source in one for target in other}
        elif what == "use":
            steps |= {(source, target): None for source in (one, *contents(one)) for target in other}
        elif what in ("pack", "load"):
            inside |= {(content, one): None for content in other}
        else:
            for pair in [pair for pair in inside if pair[1] == one and (not other or pair[0] in other)]:
                del inside[pair]
    return steps


def reached(steps: dict, start: object, side: int) -> set[str]:
    """Lots connected with `start` over any number of steps; a crate carries on only where it was consumed itself."""
    found, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        for pair in steps:
            if pair[side] == here and pair[1 - side] not in found and not isinstance(pair[1 - side], int):
                found.add(pair[1 - side])
                waiting.append(pair[1 - side])
    return {one for one in found if isinstance(one, str)}


_worlds = itertools.count(1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=happenings())
def test_a_trace_finds_what_a_slow_traversal_finds(ledger: Ledger, story: list) -> None:
    world = f"{next(_worlds):04d}"
    record(ledger, *as_events(story, world))
    steps = slow(story)
    for name in LOTS:
        for direction, side in ((Direction.FORWARD, 0), (Direction.BACKWARD, 1)):
            try:
                found = graph_of(ledger, lot(world + name), direction)
            except NotRecorded:
                assert not any(name in pair for pair in steps)
                continue
            lots = {one.removeprefix(world) for one in names(found) if not one.startswith("c")}
            assert lots == reached(steps, name, side), (story, name, direction)
