"""Facts: of real entries each has a name and a type that the schema promises, and stocks are those of the ledger.

The book here is a dictionary: what the engine keeps in the database is JSON too.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger.balances import moves_of
from ledger.disclosure import split
from ledger.documents import read_json, write_json
from ledger.entries import Entry, Kind, decode, encode, time_text
from ledger.gs1 import Key
from ledger.packs.effects import Outcome, Standing, outcomes_json
from ledger.packs.states import State
from ledger.rules.book import Book
from ledger.rules.facts import Teller
from ledger.rules.registry import learn
from ledger.rules.schema import FACTS, Watch
from ledger.rules.told import Told, first_children
from loadtests.rules import FIRST, ZONE
from scanners.city import City

Json = dict[str, Any]
A, STALL = "330212001", "3302120010001"
LOT, MEAT = "urn:suyuan:lot:21113011:33021200126112500001", "urn:suyuan:lot:21113011:33021200126112500002"
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def entry_of(body: Json, at: datetime = NOW, node: int = int(A), kind: Kind = Kind.EVENT) -> Entry:
    """An entry as it is read again: numbers and texts as the ledger's bytes hold them."""
    data = encode(node, 1, bytes(32), time_text(at), "c-1", kind.name.lower(), bytes(16), write_json(body), None)
    return decode(data)


class Desk:
    """A teller and its book, and a place in the log that counts up."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], Json] = {}
        self.book = Book(lambda keys: {key: self.stored[key] for key in keys if key in self.stored})
        self.teller = Teller(self.book, ZONE)
        self.position = 0

    def anew(self) -> None:
        """Start again from what is kept: JSON, as the database gives it back."""
        for key, page in self.book.changed.items():
            self.stored[key] = json.loads(json.dumps(page, default=str))
        self.__dict__["book"] = Book(lambda keys: {key: self.stored[key] for key in keys if key in self.stored})
        self.teller = Teller(self.book, ZONE)

    def learn(self, table: str, at: datetime = NOW, **row: object) -> None:
        learn(self.book, table, row, at)

    def tell(self, entry: Entry, sealed: Json | None = None, births: Json | None = None) -> list[tuple[Watch, Json]]:
        self.position += 1
        told = Told(entry, self.position, {} if sealed is None else read_json(write_json(sealed)), births or {})
        self.book.load(self.teller.pages(told))
        self.book.load(self.teller.more_pages(told))
        return [(watch, dict(facts)) for watch, facts in self.teller.tell(told)]

    def event(self, step: str = "retail_selling", **more: Any) -> list[tuple[Watch, Json]]:
        at = more.pop("at", NOW)
        erased = more.pop("erased", False)
        event = {
            "type": "ObjectEvent", "eventID": f"urn:uuid:{self.position}", "action": "OBSERVE", "bizStep": step,
            "eventTime": time_text(at), "eventTimeZoneOffset": "+08:00",
            "readPoint": {"id": f"urn:suyuan:party:{STALL}"},
        } | more  # fmt: skip
        opened, sealed = split(event)
        return self.tell(entry_of({"event": opened}, max(at, NOW)), {} if erased else sealed)

    def item(self, step: str = "retail_selling", lot: str = LOT, quantity: float = 1, **more: Any) -> Json:
        """The facts of the first item."""
        amount = [{"epcClass": lot, "quantity": quantity, "uom": "KGM"}]
        found = self.event(step, quantityList=amount, **more)
        return next(facts for watch, facts in found if watch is Watch.ITEM)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def right(watch: Watch, facts: Json) -> None:
    """Every fact is one that the schema names, and is of its type: a condition was tried on no other."""
    for name, value in facts.items():
        assert name in FACTS[watch], f"{watch} has no fact {name}"
        sample = FACTS[watch][name].sample
        assert type(value) is type(sample), f"{watch} {name}: {value!r} is no {type(sample).__name__}"
    assert {"node", "region", "time"} <= facts.keys()


def city_entries(seed: int) -> Iterator[tuple[Entry, Json, Json]]:
    """The events of a planted city, each as its entry with its sealed part."""
    for event in City(seed, FIRST, nodes=30, events=1_500, days=1, plant_every=1).events():
        opened, sealed = split(read_json(write_json(event)))
        place = str(event.get("readPoint", {}).get("id", "")).rpartition(":")[2]
        at = datetime.fromisoformat(str(event["eventTime"])).astimezone(UTC)
        yield entry_of({"event": opened}, at, int(place[:9]) if place[:9].isdigit() else 0), sealed, event


@pytest.mark.parametrize("again", [False, True])
def test_every_fact_of_a_city_is_one_that_the_schema_promises(desk: Desk, again: bool) -> None:
    """Also after a start in the middle, when pages come back as JSON."""
    seen: dict[Watch, set[str]] = {}
    for row in City(8, FIRST, nodes=30, events=1_500, days=1).products():
        desk.learn("product", **{name: row[name] or None for name in row})
    for number, (entry, sealed, _) in enumerate(city_entries(8)):
        if again and number % 200 == 0:
            desk.anew()
        for watch, facts in desk.tell(entry, sealed):
            right(watch, facts)
            seen.setdefault(watch, set()).update(facts)
    assert {Watch.EVENT, Watch.ITEM, Watch.DOCUMENT, Watch.READING} <= seen.keys()
    assert {"price", "partner", "link", "holder", "documents"} <= seen[Watch.EVENT]
    assert {"received", "issued", "held_h", "origin", "days_left", "price_ratio", "weight_ratio"} <= seen[Watch.ITEM]
    assert {"valid_days", "document_quantity", "used"} <= seen[Watch.DOCUMENT]


def test_stocks_are_the_sums_of_what_the_ledger_moves(desk: Desk) -> None:
    """The table `balance` is the sum of `moves_of`: what the book says came and went has the same difference."""
    total: dict[str, Decimal] = {}
    for entry, sealed, _ in city_entries(8):
        desk.tell(entry, sealed)
        for move in moves_of(entry.body["event"], entry.node):
            key = f"{move.holding.item}|{move.holding.holder}|{move.holding.uom}"
            total[key] = total.get(key, Decimal(0)) + move.quantity
    stocks = {key: page for (topic, key), page in desk.book.changed.items() if topic == "stock"}
    assert len(total) > 50
    assert {key: Decimal(page["in"]) - Decimal(page["out"]) for key, page in stocks.items()} == total


def test_what_is_erased_is_not_known(desk: Desk) -> None:
    """Price, partner and voucher lie in the sealed part; a rule that asks for them is then not evaluated."""
    more = {"suyuan:price": Decimal("3.5"), "bizTransactionList": [{"bizTransaction": "urn:suyuan:voucher:1"}]}
    whole, erased = desk.item(**more), desk.item(**more, erased=True)
    assert (whole["price"], whole["link"]) == (3.5, "urn:suyuan:voucher:1")
    assert not {"price", "link", "price_ratio"} & erased.keys()


def test_received_and_issued_count_per_holder_and_unit(desk: Desk) -> None:
    desk.item("receiving", action="ADD", quantity=100)
    first = desk.item(action="DELETE", quantity=30, at=NOW + timedelta(hours=14))
    second = desk.item(action="DELETE", quantity=71.5, at=NOW + timedelta(hours=15))
    assert (first["received"], first["issued"], first["first_sale"], first["held_h"]) == (100.0, 30.0, True, 14.0)
    assert (second["issued"], second["first_sale"]) == (101.5, False)
    elsewhere = desk.item(action="DELETE", readPoint={"id": f"urn:suyuan:node:{A}"})
    assert (elsewhere["received"], elsewhere["holder"]) == (0.0, A)


def transform(desk: Desk, inputs: list[str], output: str, **more: Any) -> None:
    def quantities(lots: list[str]) -> list[Json]:
        return [{"epcClass": lot, "quantity": 1, "uom": "KGM"} for lot in lots]

    desk.event("commissioning", type="TransformationEvent", inputQuantityList=quantities(inputs),
               outputQuantityList=quantities([output]), **more)  # fmt: skip


def lot(number: int) -> str:
    return f"urn:suyuan:lot:21113011:330212001261125{number:05d}"


def test_what_is_made_of_a_recalled_lot_is_recalled(desk: Desk) -> None:
    """However many steps lie between, and whether the recall came as an event or as a record."""
    transform(desk, [lot(1)], lot(2))
    transform(desk, [lot(2), lot(3)], lot(4))
    assert "recalled_h" not in desk.item(lot=lot(4))
    at = time_text(NOW - timedelta(minutes=30))
    row = {"recall": "R-1", "decided_at": at, "nature": "real", "batches": None, "product": None}
    desk.learn("recall", **row, lots=[lot(1)])
    assert desk.item(lot=lot(4))["recalled_h"] == desk.item(lot=lot(1))["recalled_h"] == 0.5
    assert "recalled_h" not in desk.item(lot=lot(3))
    desk.item("holding", lot=lot(3), disposition="recalled", at=NOW - timedelta(hours=2))
    assert desk.item(lot=lot(4))["recalled_h"] == 2.0


def test_a_drill_recalls_nothing_and_batches_only_themselves(desk: Desk) -> None:
    product = "06901234500103"
    row = {"recall": "R-1", "decided_at": time_text(NOW - DAY), "product": product, "lots": None}
    desk.learn("recall", **row, nature="drill", batches=None)
    assert "recalled_h" not in desk.item(lot=f"https://id.gs1.org/01/{product}/10/B1")
    desk.learn("recall", **row, nature="real", batches=["B1"])
    assert desk.item(lot=f"https://id.gs1.org/01/{product}/10/B1")["recalled_h"] == 24.0
    assert "recalled_h" not in desk.item(lot=f"https://id.gs1.org/01/{product}/10/B2")


@pytest.mark.parametrize(
    ("scope", "target"), [("lot", LOT), ("party", STALL), ("node", A), ("goods", "21113011"), ("goods", "211")]
)
def test_a_hold_stops_by_what_it_names_until_its_end(desk: Desk, scope: str, target: str) -> None:
    row = {"hold": "000000000-1", "scope": scope, "target": target, "until": time_text(NOW + timedelta(hours=1))}
    assert "stopped_h" not in desk.item()
    desk.learn("hold", NOW - timedelta(hours=3), **row, status="active")
    assert desk.item()["stopped_h"] == 3.0
    assert "stopped_h" not in desk.item(at=NOW + timedelta(hours=1)), "it ends by itself"
    desk.learn("hold", NOW, **row, status="released")
    assert "stopped_h" not in desk.item()


def test_a_hold_stops_a_batch_of_a_product(desk: Desk) -> None:
    desk.learn("hold", NOW - DAY, hold="000000000-1", scope="batch", target="06901234500103/B(1", until=None,
               status="active")  # fmt: skip
    assert desk.item(lot="https://id.gs1.org/01/06901234500103/10/B%281")["stopped_h"] == 24.0
    assert "stopped_h" not in desk.item(lot="https://id.gs1.org/01/06901234500103/10/B2")


def test_a_hold_of_another_node_does_not_stop(desk: Desk) -> None:
    desk.learn("hold", NOW, hold="330212002-1", scope="lot", target=LOT, until=None, status="active")
    assert "stopped_h" not in desk.item()


def test_origin_goes_through_what_is_made(desk: Desk) -> None:
    desk.item("commissioning", lot=lot(1), action="ADD")
    transform(desk, [lot(1)], lot(2), readPoint={"id": "urn:suyuan:node:330203001"})
    assert desk.item(lot=lot(2))["origin"] == "330212"


def test_days_left_count_by_the_citys_days_to_the_earliest_end(desk: Desk) -> None:
    """23:30 in Shanghai is still that day; 17:00Z is the next."""
    ilmd = {"cbvmda:sellByDate": "2026-11-26", "cbvmda:bestBeforeDate": "2026-11-27"}
    desk.item("commissioning", action="ADD", ilmd=ilmd)
    assert desk.item()["days_left"] == 1
    assert desk.item(at=datetime(2026, 11, 25, 15, 30, tzinfo=UTC))["days_left"] == 1
    assert desk.item(at=datetime(2026, 11, 26, 17, tzinfo=UTC))["days_left"] == -1


PACK = "urn:suyuan:drug:81234567890123456789"


def test_days_left_of_a_pallet_are_those_of_the_packs_in_its_cases(desk: Desk) -> None:
    case, pallet = "https://id.gs1.org/00/006141411234567890", "https://id.gs1.org/00/006141411234567906"
    event = {"type": "AggregationEvent", "eventID": "urn:1", "eventTime": time_text(NOW), "action": "ADD",
             "bizStep": "packing", "parentID": case, "childEPCs": [PACK]}  # fmt: skip
    packed = entry_of({"event": event})
    assert list(first_children(packed)) == [PACK]
    desk.tell(packed, births={PACK: "2026-12-15"})
    desk.tell(entry_of({"event": event | {"eventID": "urn:2", "parentID": pallet, "childEPCs": [case]}}))
    (facts,) = [facts for watch, facts in desk.event("receiving", epcList=[pallet]) if watch is Watch.ITEM]
    assert (facts["days_left"], facts["drug"], facts["is_pack"]) == (20, True, False)


def test_a_makers_data_that_come_late_are_no_second_sale(desk: Desk) -> None:
    """Broken: whoever loads a day in the order of its nodes alarms everybody for each pack that was sold."""
    code = Key("urn:suyuan:drug:81990010000000010001")
    sold = Standing(State.SUPPLIED, NOW, int(A), "c-1", "supply", False)

    def done(before: Standing, after: Standing) -> object:
        event = {
            "type": "ObjectEvent", "eventID": "urn:uuid:x", "action": "OBSERVE", "bizStep": "dispensing",
            "eventTime": time_text(NOW), "eventTimeZoneOffset": "+08:00", "epcList": [code],
        }  # fmt: skip
        body = {"event": event, "packs": outcomes_json([Outcome(code, 2, before, after)], 1)}
        return next(facts for watch, facts in desk.tell(entry_of(body)) if watch is Watch.PACK)["done"]

    assert done(sold, replace(sold, batch="B1", made=True)) == ""
    assert done(sold, replace(sold, since=NOW + DAY)) == "supply"
    assert done(sold, sold) == "supply", "twice in one document"


def test_price_and_weight_compare_with_the_median_of_the_last(desk: Desk) -> None:
    """Of fewer than eight nothing is usual yet; the sale itself does not count."""
    sales = [desk.item(quantity=2, action="DELETE", **{"suyuan:price": 5 + n % 3}) for n in range(9)]
    assert all("price_ratio" not in one for one in sales[:8])
    assert (sales[8]["price_ratio"], sales[8]["weight_ratio"]) == (7 / 6, 1.0)
    odd = desk.item(quantity=80, action="DELETE", **{"suyuan:price": 60})
    assert (odd["price_ratio"], odd["weight_ratio"]) == (10.0, 40.0)


def documents(desk: Desk, said: object) -> list[Json]:
    found = desk.event("receiving", quantityList=[{"epcClass": LOT, "quantity": 120, "uom": "KGM"}],
                       certificationInfo=["urn:suyuan:certificate:product:1"],
                       **{"suyuan:documents": said})  # fmt: skip
    return [facts for watch, facts in found if watch is Watch.DOCUMENT]


def test_documents_say_what_the_event_says_and_else_what_is_registered(desk: Desk) -> None:
    desk.learn("certificate", certificate="product:1", status="valid", issued="2026-11-20", expires="2026-11-24",
               quantity="500", unit="KGM")  # fmt: skip
    (one,) = documents(desk, None)
    right(Watch.DOCUMENT, one)
    assert (one["document"], one["document_kind"], one["document_status"]) == ("product:1", "product", "valid")
    assert (one["valid_days"], one["issued_days"], one["document_quantity"], one["used"]) == (-1, 5, 500.0, 120.0)
    full = {"number": "product:1", "issued": "2026-11-25", "expires": "2026-11-26", "quantity": 100, "unit": "TNE"}
    one, other = documents(desk, [full, {"number": "origin:7"}])
    assert (one["valid_days"], one["issued_days"], one["document_quantity"]) == (1, 0, 100.0) and "used" not in one
    assert other["document"] == "origin:7" and "valid_days" not in other and "document_status" not in other


@pytest.mark.parametrize(
    "said", [{"number": "a\0b"}, {"number": ""}, {"number": "x" * 301}, {"quantity": 1}, "text", 7, None, [[]]]
)
def test_nonsense_among_documents_is_passed_over(desk: Desk, said: object) -> None:
    assert [one["document"] for one in documents(desk, [said])] == ["product:1"]


@pytest.mark.parametrize("quantity", ["many", True, [], Decimal("1e400"), None])
def test_a_quantity_that_is_none_is_not_known(desk: Desk, quantity: object) -> None:
    (one,) = documents(desk, [{"number": "product:1", "quantity": quantity}])
    assert "document_quantity" not in one


def test_the_registry_is_learned_in_the_order_of_the_log(desk: Desk) -> None:
    """What was registered later says nothing of what came before it."""
    before = desk.item("receiving", action="ADD")
    assert before["registered"] is False and "licence" not in before and "goods_kind" not in before
    desk.learn("party", party=STALL, kinds=["retailer"], status="active", nodes=[int(A)])
    desk.learn("goods", goods="21113011", kind="meat", name="猪肉", tolerance_percent="2", storage_min_c=None,
               storage_max_c="8")  # fmt: skip
    desk.learn("node", node=int(A), kind="market", region=330203, name="x", open=True)
    after = desk.item()
    assert (after["registered"], after["goods_kind"], after["goods_name"]) == (True, "meat", "猪肉")
    assert (after["tolerance"], after["storage_max"]) == (2.0, 8.0)
    assert (after["region"], after["node_kind"]) == ("330203", "market")
    assert after["licence"] == "missing" and "storage_min" not in after
    licence = {"party": STALL, "licence": "L1", "kind": "food_operation", "status": "active"}
    desk.learn("licence", **licence, valid_from="2026-01-01", valid_to="2026-11-25")
    assert desk.item()["licence"] == "ok"
    assert desk.item(at=NOW + DAY)["licence"] == "expired"


def test_the_schema_has_a_sample_of_each_facts_type() -> None:
    types = {type(fact.sample) for facts in FACTS.values() for fact in facts.values()}
    assert types == {str, bool, int, float, datetime}
    assert FACTS.keys() == set(Watch)
