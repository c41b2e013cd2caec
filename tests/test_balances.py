"""Balances: what each event moves, by a plain model, and to the last digit."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ledger import Ledger
from ledger.balances import EXACT, Holding, added, goods_of, holder_of, moves_of
from ledger.codes import parse_node
from ledger.nodes import add_node
from ledger.scanning import left_of
from tests.conftest import Own, look, sign
from tests.test_append import request_of

LOT = "https://id.gs1.org/01/06901234500103/10/P1"
KEY = "01/06901234500103/10/P1"
SLIP = "urn:suyuan:trace:33021200100010000001"
NODE = 330212001


def event(**fields: Any) -> dict[str, Any]:
    return {
        "type": "ObjectEvent", "action": "OBSERVE", "bizStep": "inspecting", "eventID": "urn:x:1",
        "eventTime": "2026-11-23T10:00:00+08:00", "eventTimeZoneOffset": "+08:00",
        "quantityList": [{"epcClass": LOT, "quantity": Decimal("5.5"), "uom": "KGM"}], **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "moved"),
    [
        ({"action": "ADD", "bizStep": "commissioning"}, "5.5"), ({"action": "DELETE", "bizStep": "destroying"}, "-5.5"),
        ({"bizStep": "receiving"}, "5.5"), ({"bizStep": "shipping"}, "-5.5"), ({"bizStep": "void_shipping"}, "5.5"),
        ({"bizStep": "inspecting"}, None), ({"bizStep": "stocking"}, None),
        ({"bizStep": "receiving", "errorDeclaration": {"declarationTime": "2026-11-24T00:00:00Z"}}, None),
        ({"action": "ADD", "errorDeclaration": {"declarationTime": "2026-11-24T00:00:00Z"}}, None),
        ({"type": "TransactionEvent", "action": "ADD"}, None), ({"type": "AggregationEvent", "action": "ADD"}, None),
        ({"action": "ADD", "quantityList": [{"epcClass": LOT[:-6], "quantity": 1}]}, None),
        ({"action": "ADD", "quantityList": [{"epcClass": LOT}]}, None),
        ({"action": "ADD", "epcList": ["https://id.gs1.org/01/06901234500103/21/A"], "quantityList": []}, None),
    ],
)  # fmt: skip
def test_what_an_object_event_moves(fields: dict[str, Any], moved: str | None) -> None:
    expected = [] if moved is None else [(Holding(KEY, "330212001", "KGM"), Decimal(moved))]
    assert list(moves_of(event(**fields), NODE)) == expected


def test_a_transformation_takes_its_inputs_and_makes_its_outputs_but_no_slip() -> None:
    """A slip has left the shop: counted, it would be stock that nobody has."""
    other = LOT.replace("P1", "P2")
    made = event(
        type="TransformationEvent", inputQuantityList=[{"epcClass": LOT, "quantity": 3}],
        outputQuantityList=[{"epcClass": other, "quantity": 2, "uom": "KGM"}, {"epcClass": SLIP, "quantity": 1}],
    )  # fmt: skip
    del made["quantityList"], made["action"]
    assert {move.holding.item[-2:]: move.quantity for move in moves_of(made, NODE)} == {"P1": -3, "P2": 2}


def test_a_stall_is_a_holder_of_its_own() -> None:
    assert holder_of(event(), NODE) == "330212001"
    assert holder_of(event(readPoint={"id": "urn:suyuan:party:3302120010007"}), NODE) == "3302120010007"
    assert holder_of(event(readPoint={"id": "https://id.gs1.org/414/6901234500011"}), NODE) == "330212001"


@pytest.mark.parametrize(
    ("item", "goods"),
    [
        (KEY, "06901234500103"), ("01/06901234500103/21/A", "06901234500103"),
        ("urn:suyuan:lot:21113011:1", "21113011"),
        ("urn:x:y", ""), ("00/069012345000000017", ""), ("urn:suyuan:lot:", ""),
    ],
)  # fmt: skip
def test_what_a_lot_is_a_lot_of(item: str, goods: str) -> None:
    assert goods_of(item) == goods


NUMBERS = st.decimals(min_value="0.000001", max_value="1e20", places=18)
MOVES = st.lists(st.tuples(st.sampled_from(["receiving", "shipping", "inspecting"]), NUMBERS), max_size=30)


@given(MOVES)
def test_sums_keep_every_digit(steps: list[tuple[str, Decimal]]) -> None:
    """Against whole numbers: with 28 digits, as Python adds by itself, a gram would be lost in a shipload."""
    total: dict[Holding, Decimal] = {}
    expected = 0
    for step, quantity in steps:
        one = event(bizStep=step, quantityList=[{"epcClass": LOT, "quantity": quantity, "uom": "KGM"}])
        added(total, moves_of(one, NODE))
        expected += {"receiving": 1, "shipping": -1, "inspecting": 0}[step] * int(quantity.scaleb(18, EXACT))
    assert int(total.get(Holding(KEY, "330212001", "KGM"), Decimal(0)).scaleb(18, EXACT)) == expected


def recorded(ledger: Ledger, *events: dict[str, Any]) -> list[Any]:
    """Through the write path, at the import node."""
    return ledger.lanes.record(request_of(ledger, [{**one} for one in events]))


def test_the_database_adds_up_as_exactly(ledger: Ledger) -> None:
    tiny, huge = Decimal("0.000000000000000000000000000001"), Decimal("99999999999999999.5")
    for number, quantity in enumerate((huge, tiny, tiny)):
        amount = [{"epcClass": LOT, "quantity": quantity, "uom": "KGM"}]
        recorded(ledger, event(action="ADD", bizStep="commissioning", eventID=f"urn:x:{number}", quantityList=amount))
    with ledger.database.read() as connection:
        ((_, quantity, _),) = left_of(connection, KEY)
    assert str(quantity) == "99999999999999999.500000000000000000000000000002"


def test_the_same_event_twice_moves_once(ledger: Ledger) -> None:
    one = event(action="ADD", bizStep="commissioning")
    recorded(ledger, one)
    recorded(ledger, one)
    with ledger.database.read() as connection:
        assert left_of(connection, KEY) == [("000000001", Decimal("5.5"), "KGM")]


@pytest.mark.damages
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE balance SET quantity = quantity + 0.001", "the entries add up to"),
        ("DELETE FROM balance", "the row is missing"),
        ("INSERT INTO balance VALUES ('urn:x:y', '330212001', 'KGM', '', 1)", "no entry moved it"),
        ("UPDATE balance SET goods = 'x'", "goods"),
        ("UPDATE balance SET holder = '330212009'", "no entry moved it"),
        ("UPDATE balance SET quantity = 'NaN'", "NaN"),
    ],
)
def test_a_changed_balance_is_named(ledger: Ledger, own: Own, change: str, what: str) -> None:
    ledger.record(add_node(parse_node("330212001"), "x", "A", [], "operator"))  # type: ignore[arg-type]
    recorded(ledger, event(action="ADD", bizStep="commissioning"))
    sign(ledger)
    assert look(ledger).clean
    with own.superuser() as superuser:
        superuser.execute(change)
    said = [str(one) for one in look(ledger).disagreements]
    assert said and any(what in one and one.startswith("balance ") for one in said), said
