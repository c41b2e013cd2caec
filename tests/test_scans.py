"""Scans: from the pig to the slip over HTTP, with what is left after each step; and all that is refused or asked."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from api.ledger import now
from ledger.access import Role
from ledger.entries import Kind
from ledger.registers import NODE
from ledger.steps import STEPS, How, passed
from tests.test_access import server
from tests.test_http import Server, problem_of
from tests.test_registry import filed

__all__ = ["server"]

FARM, ABATTOIR, WHOLESALE, MARKET, STRICT = "330212011", "330212012", "330212013", "330212014", "330212015"
STALL = f"{MARKET}0001"
KINDS = {FARM: "farm", ABATTOIR: "slaughterhouse", WHOLESALE: "wholesale_market", MARKET: "market", STRICT: "market"}


@pytest.fixture
def city(server: Server) -> httpx.Client:
    """An administrator's client, with a node of each kind; `STRICT` refuses to sell more than is left."""
    filed(server.ledger, NODE, [
        {
            "node": node, "name": kind, "trace_scheme": "A", "kind": kind,
            "stock_limit": "refuse" if node == STRICT else "warn",
        }
        for node, kind in KINDS.items()
    ])  # fmt: skip
    return server.client()


def body_of(node: str, step: str, **fields: Any) -> dict[str, Any]:
    return {"scan": str(uuid.uuid4()), "node": node, "step": step, "at": now().isoformat(), **fields}


def scan(client: httpx.Client, node: str, step: str, *, status: int = 201, **fields: Any) -> dict[str, Any]:
    answer = client.post("/scans", json=body_of(node, step, **fields))
    assert answer.status_code == status, answer.text
    return answer.json(parse_float=Decimal)


def left(client: httpx.Client, lot: str) -> dict[str, Decimal]:
    """What is left of a lot, by holder, without what is nothing."""
    rows = client.get(f"/balances/{lot}").json(parse_float=Decimal)["balances"]
    return {row["holder"]: row["quantity"] for row in rows if row["quantity"]}


def opened(client: httpx.Client, node: str, quantity: str, party: str | None = None) -> str:
    """A lot of pork that is there."""
    party_ = {"party": party} if party else {}
    made = scan(client, node, "opening_stock", goods="21113011", quantity=quantity, confirm=True, **party_)
    return made["made"]["lot"]


# --- the whole way --------------------------------------------------------------------------------


def test_from_the_pig_to_the_slip(city: httpx.Client) -> None:
    pigs = scan(city, FARM, "origin_harvest", goods="pig", quantity="10", unit="H87")["made"]["lot"]
    deal = [{"kind": "transaction", "number": "T1"}, {"kind": "animal", "number": "330212000117"}]
    scan(city, FARM, "origin_out", lot=pigs, quantity="10", unit="H87", counterparty=f"{ABATTOIR}0000", vouchers=deal)
    assert left(city, pigs) == {}, "on the road they are nobody's stock"
    scan(
        city,
        ABATTOIR,
        "slaughter_intake",
        lot=pigs,
        quantity="10",
        unit="H87",
        counterparty=f"{FARM}0000",
        vouchers=deal,
    )
    assert left(city, pigs) == {ABATTOIR: 10}
    assert scan(city, ABATTOIR, "quarantine", lot=pigs, result="1")["lots"][0]["left"] == 10
    pork = scan(city, ABATTOIR, "slaughter", lot=pigs, quantity="10", unit="H87", goods="21113011", made="801.5")[
        "made"
    ]["lot"]
    assert left(city, pigs) == {} and left(city, pork) == {ABATTOIR: Decimal("801.5")}
    way = [
        (ABATTOIR, "carcass_out", WHOLESALE, "wholesale_entry"),
        (WHOLESALE, "wholesale_trade", MARKET, "retail_entry"),
    ]
    for amount, (giver, leave, taker, enter) in zip(("801.5", "100"), way, strict=True):
        buyer = STALL if taker == MARKET else f"{taker}0000"
        scan(city, giver, leave, lot=pork, quantity=amount, counterparty=buyer, price="18.50")
        party = {"party": STALL} if taker == MARKET else {}
        scan(city, taker, enter, lot=pork, quantity=amount, counterparty=f"{giver}0000", **party)
    sold = scan(city, MARKET, "retail_sale", party=STALL, goods="21113011", quantity="1250", unit="GRM", price="25.8")
    assert sold["lots"] == [{"lot": pork, "quantity": Decimal("1.250"), "unit": "KGM", "left": Decimal("98.750")}]
    assert sold["trace"].startswith(STALL) and sold["warnings"] == [] and "suyuan receipt" in sold["receipt"]
    assert left(city, pork) == {WHOLESALE: Decimal("701.5"), STALL: Decimal("98.750")}
    traced = city.get(f"/trace/urn:suyuan:trace:{sold['trace']}", params={"direction": "backward"}).json()
    assert {item["item"] for item in traced["items"]} >= {pork, pigs}
    assert not [end for end in traced["openEnds"] if end["reason"] == "no_origin"]


def test_what_came_from_nowhere_has_an_open_end(city: httpx.Client) -> None:
    """It is never invented: the step is recorded, the person told, and the trace says so."""
    papers = [{"kind": "product", "number": "123"}]
    entered = scan(city, MARKET, "retail_entry", party=STALL, goods="21113011", quantity="9", vouchers=papers)
    assert [one["code"] for one in entered["warnings"]] == ["open_end"]
    sold = scan(city, MARKET, "retail_sale", party=f"{MARKET}0002", goods="21113011", quantity="1")
    assert [one["code"] for one in sold["warnings"]] == ["open_end"] and sold["trace"]
    traced = city.get(f"/trace/{sold['lots'][0]['lot']}").json()
    assert "no_origin" in [end["reason"] for end in traced["openEnds"]]


# --- first in, first out, and limits --------------------------------------------------------------


def test_the_lot_that_came_first_goes_first_unless_the_person_says_otherwise(city: httpx.Client) -> None:
    lots = [opened(city, MARKET, quantity, STALL) for quantity in ("2", "3", "4")]
    sold = scan(city, MARKET, "retail_sale", party=STALL, goods="21113011", quantity="4")
    assert [(one["lot"], one["quantity"]) for one in sold["lots"]] == [(lots[0], 2), (lots[1], 2)]
    chosen = scan(city, MARKET, "retail_sale", party=STALL, lot=lots[2], quantity="1")
    assert [one["lot"] for one in chosen["lots"]] == [lots[2]] and left(city, lots[2]) == {STALL: 3}


def test_more_than_is_left_is_warned_of_or_refused(city: httpx.Client, server: Server) -> None:
    lot = opened(city, MARKET, "2", STALL)
    warned = scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="5")
    assert [one["code"] for one in warned["warnings"]] == ["more_than_left"] and left(city, lot) == {STALL: -3}
    kept, party = opened(city, STRICT, "2", f"{STRICT}0001"), f"{STRICT}0001"
    body = body_of(STRICT, "retail_sale", party=party, lot=kept, quantity="5")
    refusals = [city.post("/scans", json=body) for _ in range(2)]
    first = problem_of(refusals[0], 409, "ResourceAlreadyExistsException")
    assert first["refused"] == refusals[1].json()["refused"], "decided twice, recorded once"
    assert left(city, kept) == {party: 2}
    with server.ledger.database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM entry WHERE kind = %s", [Kind.REFUSAL]).fetchone() == (1,)
    offline = scan(city, STRICT, "retail_sale", party=party, lot=kept, quantity="5", offline=True)
    assert offline["lots"][0]["left"] == -3, "what happened is recorded"
    nothing = city.post(
        "/scans", json=body_of(STRICT, "retail_sale", party=f"{STRICT}0002", goods="21113011", quantity="1")
    )
    problem_of(nothing, 404, "NoSuchNameException")


def test_of_many_who_want_the_last_kilogram_one_gets_it(city: httpx.Client) -> None:
    lot, party = opened(city, STRICT, "1", f"{STRICT}0001"), f"{STRICT}0001"

    def sell(_: int) -> int:
        sale = body_of(STRICT, "retail_sale", party=party, lot=lot, quantity="1", confirm=True)
        return city.post("/scans", json=sale).status_code

    with ThreadPoolExecutor(12) as pool:
        codes = sorted(pool.map(sell, range(24)))
    assert codes == [201] + [409] * 23 and left(city, lot) == {}


# --- again, and back ------------------------------------------------------------------------------


def test_the_same_scan_is_one_scan(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "9", STALL)
    body = body_of(MARKET, "retail_sale", party=STALL, lot=lot, quantity="1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: city.post("/scans", json=body), range(8)))
    assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
    assert len({one.json()["trace"] for one in answers}) == 1 and left(city, lot) == {STALL: 8}
    problem_of(city.post("/scans", json={**body, "quantity": "2"}), 409, "ResourceAlreadyExistsException")


def test_the_same_thing_twice_within_seconds_is_asked_about(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "9", STALL)
    sale = {"party": STALL, "lot": lot, "quantity": "1"}
    scan(city, MARKET, "retail_sale", **sale)
    asked = scan(city, MARKET, "retail_sale", status=409, **sale)
    assert asked["again"] is True and left(city, lot) == {STALL: 8}
    scan(city, MARKET, "retail_sale", confirm=True, **sale)
    scan(city, MARKET, "retail_sale", offline=True, **sale)
    scan(city, MARKET, "retail_sale", **{**sale, "quantity": "2"})
    assert left(city, lot) == {STALL: 4}


def test_a_scan_is_taken_back_once(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "9", STALL)
    sold = scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="4")
    reason = {"reason": "incorrect_data", "at": now().isoformat()}
    first, again = (city.post(f"/scans/{sold['scan']}/void", json=reason) for _ in range(2))
    assert first.status_code == again.status_code == 201 and first.json()["entries"] == again.json()["entries"]
    assert left(city, lot) == {STALL: 9}
    other = city.post(f"/scans/{sold['scan']}/void", json={**reason, "reason": "did_not_occur"})
    problem_of(other, 409, "ResourceAlreadyExistsException")
    problem_of(city.post(f"/scans/{uuid.uuid4()}/void", json=reason), 404, "NoSuchNameException")


def test_what_is_counted_is_put_right(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "9", STALL)
    for counted in ("7.5", "8"):
        scan(city, MARKET, "stock_take", party=STALL, lot=lot, quantity=counted)
        assert left(city, lot) == {STALL: Decimal(counted)}
    scan(city, MARKET, "loss", party=STALL, lot=lot, quantity="0.5")
    scan(city, MARKET, "return_in", party=STALL, lot=lot, quantity="1")
    scan(city, MARKET, "return_out", party=STALL, lot=lot, quantity="2", counterparty=f"{WHOLESALE}0000")
    scan(city, MARKET, "destruction", party=STALL, lot=lot, quantity="6.5")
    assert left(city, lot) == {}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_each_step_names_what_it_needs_and_where_it_is_taken(city: httpx.Client, step: Any) -> None:
    node = next((node for node, kind in KINDS.items() if step.at and kind not in step.at), None)
    if node is not None:
        said = scan(city, node, step.name, goods="21113011", quantity="1", status=400)
        assert "step" in [error["path"] for error in said["errors"]]
    home = next((node for node, kind in KINDS.items() if step.at is None or kind in step.at), None)
    if home is not None:
        missing = {error["path"] for error in scan(city, home, step.name, status=400)["errors"]}
        assert missing >= step.needs - {"party"} and step.chinese
        assert ("vouchers" in missing) == bool(step.vouchers)
    assert step.source or step.how in (How.BEGIN, How.COUNT), "a row has its source"


def test_an_aged_clock_is_told_and_both_times_are_kept(city: httpx.Client, server: Server) -> None:
    lot, early = opened(city, MARKET, "9", STALL), datetime.now(UTC) - timedelta(hours=3)
    sold = scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="1", at=early.isoformat())
    assert sold["clockOffSeconds"] in range(-10810, -10790) and [w["code"] for w in sold["warnings"]] == ["clock_off"]
    node, seq = sold["entries"][0].split("/")
    entry = city.get(f"/entries/{node}/{seq}").json()
    assert datetime.fromisoformat(entry["body"]["event"]["eventTime"]) < early + timedelta(seconds=1)


def test_a_terminal_scans_at_its_own_node_only(city: httpx.Client, server: Server) -> None:
    terminal = server.client(Role.TERMINAL, MARKET)
    lot = opened(terminal, MARKET, "9", STALL)
    elsewhere = terminal.post("/scans", json=body_of(STRICT, "opening_stock", goods="21113011", quantity="1"))
    problem_of(elsewhere, 403, "SecurityException")
    problem_of(terminal.post("/leases", json={"node": STRICT}), 403, "SecurityException")
    scan(city, MARKET, "return_out", party=STALL, lot=lot, quantity="4", counterparty=f"{STRICT}0000")
    scan(city, STRICT, "retail_entry", party=f"{STRICT}0001", lot=lot, quantity="4")
    assert left(terminal, lot) == {STALL: 5}, "what others have is theirs"
    assert left(city, lot) == {STALL: 5, f"{STRICT}0001": 4}


HOSTILE: list[dict[str, Any]] = [
    {"scan": "x"}, {"scan": 1}, {"node": "33021201"}, {"step": "theft"}, {"at": "yesterday"},
    {"at": "2026-11-25T08:00"},
    {"quantity": 1}, {"quantity": "1e9"}, {"quantity": "-1"}, {"quantity": "0"}, {"quantity": "1,5"}, {"unit": "JIN"},
    {"party": f"{STRICT}0001"}, {"party": "x"}, {"goods": "999"}, {"lot": "nonsense"}, {"lot": "urn:x:\0"},
    {"scanned": "06901234567890"}, {"scanned": "x" * 1001}, {"vouchers": [{"kind": "love", "number": "1"}]},
    {"vouchers": [{"kind": "product", "number": "a b"}]}, {"unknown": 1}, {"price": "free"}, {"trace": 7},
    {"counterparty": "1"}, {"at": "9999-12-31T23:59:59+00:00"},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: json.dumps(change)[:30])
def test_what_makes_no_sense_is_refused_with_its_reason(
    city: httpx.Client, server: Server, change: dict[str, Any]
) -> None:
    good = body_of(MARKET, "opening_stock", goods="21113011", quantity="1", party=STALL)
    answer = city.post("/scans", json=good | change)
    assert answer.status_code == 400 and answer.json()["detail"], answer.text
    with server.ledger.database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)


@pytest.mark.parametrize(
    ("result", "good"),
    [("1", True), ("0", False), ("passed", True), ("failed", False), ("49.9", True), ("50", False), ("53.15", False),
     ("合格", True), ("不合格", False), ("x", False)],
)  # fmt: skip
def test_half_of_the_enzyme_inhibited_is_a_failure(result: str, good: bool) -> None:
    """GB/T 5009.199-2003: an inhibition of 50 % fails."""
    assert passed(result) is good


def test_leased_codes_are_used_and_a_second_use_is_told(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "9", STALL)
    codes = city.post("/leases", json={"node": MARKET, "party": STALL, "count": 2}).json()["codes"]
    sale = {"party": STALL, "lot": lot, "quantity": "1", "trace": codes[0]}
    assert scan(city, MARKET, "retail_sale", **sale)["trace"] == codes[0]
    twice = scan(city, MARKET, "retail_sale", confirm=True, **sale)
    assert [one["code"] for one in twice["warnings"]] == ["trace_used"]
    assert scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="2")["trace"] not in codes


def test_what_would_spoil_the_stock_is_refused(city: httpx.Client) -> None:
    """Another unit, a slip or a class instead of a lot, nothing made, pork made of pork that is not there."""
    lot = opened(city, MARKET, "9", STALL)
    sale = {"party": STALL, "quantity": "1"}
    for field, change in (
        ("unit", {"lot": lot, "unit": "H87"}), ("scanned", {"lot": "urn:suyuan:trace:33021201400010000001"}),
        ("scanned", {"lot": "https://id.gs1.org/01/06901234500103"}),
    ):  # fmt: skip
        said = scan(city, MARKET, "retail_sale", status=400, **sale, **change)
        assert [error["path"] for error in said["errors"]] == [field]
    pigs = scan(city, ABATTOIR, "opening_stock", goods="pig", quantity="10", unit="H87")["made"]["lot"]
    heads = {"quantity": "10", "unit": "H87", "goods": "21113011"}
    for field, change in (("made", {"lot": pigs, "made": "0"}), ("scanned", {"made": "800"})):
        said = scan(city, ABATTOIR, "slaughter", status=400, **heads, **change)
        assert [error["path"] for error in said["errors"]] == [field]
    assert left(city, lot) == {STALL: 9} and left(city, pigs) == {ABATTOIR: 10}


def test_a_code_of_somebody_else_stands_on_no_slip(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "9", STALL)
    for trace in ("x", "1" * 20, "3" * 19, f"{STRICT}00010000001"):
        scan(city, MARKET, "retail_sale", status=400, party=STALL, lot=lot, quantity="1", trace=trace)
    assert left(city, lot) == {STALL: 9}


def test_a_result_that_is_none_is_refused_and_an_id_in_capitals_is_the_same(city: httpx.Client) -> None:
    lot = opened(city, WHOLESALE, "9")
    for result in ("abc", "", "-5", "1E+3", "NaN"):
        said = scan(city, WHOLESALE, "wholesale_test", status=400, lot=lot, result=result)
        assert [error["path"] for error in said["errors"]] == ["result"]
    body = body_of(WHOLESALE, "wholesale_test", lot=lot, result="49.9")
    assert city.post("/scans", json=body).status_code == 201
    assert city.post("/scans", json={**body, "scan": body["scan"].upper()}).status_code == 200


# --- slips between nodes ----------------------------------------------------------------------------


def event_of(client: httpx.Client, answer: dict[str, Any]) -> dict[str, Any]:
    (event,) = client.get(f"/events/{answer['event']}").json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    return event


def traded(client: httpx.Client, *quantities: str, buyer: str = STALL) -> dict[str, Any]:
    """What a wholesaler answers who sold so much pork to a stall, of one lot for each quantity, on one slip."""
    for quantity in quantities:
        opened(client, WHOLESALE, quantity)
    total = str(sum(map(Decimal, quantities)))
    return scan(client, WHOLESALE, "wholesale_trade", goods="21113011", quantity=total, counterparty=buyer, price="18")


def test_one_scan_of_the_sellers_slip_enters_the_goods(city: httpx.Client, server: Server) -> None:
    """卡单同行: no quantity, no lot, no party to type; the next sale takes from it; the slip traces to the lot."""
    trade = traded(city, "100")
    (lot,) = [one["lot"] for one in trade["lots"]]
    assert trade["trace"].startswith(f"{WHOLESALE}0000")
    entered = scan(city, MARKET, "retail_entry", party=STALL, scanned=f"]C0{trade['trace']}")
    assert entered["lots"] == [{"lot": lot, "quantity": 100, "unit": "KGM", "left": 100}] and entered["warnings"] == []
    event = event_of(city, entered)
    assert event["sourceList"] == [{"type": "owning_party", "source": f"urn:suyuan:party:{WHOLESALE}0000"}]
    assert left(city, lot) == {STALL: 100}
    traced = city.get(f"/trace/urn:suyuan:trace:{trade['trace']}").json()
    assert lot in {item["item"] for item in traced["items"]}


def test_a_slip_of_several_lots_enters_them_all_or_the_one_that_is_named(city: httpx.Client) -> None:
    trade = traded(city, "2", "3")
    lots = [one["lot"] for one in trade["lots"]]
    assert len(lots) == 2
    wrong = city.post("/scans", json=body_of(MARKET, "retail_entry", party=STALL, scanned=trade["trace"], quantity="4"))
    assert lots[0] in problem_of(wrong, 400, "ValidationException")["detail"]
    scan(city, MARKET, "retail_entry", party=STALL, scanned=trade["trace"], quantity="5")
    assert [left(city, lot) for lot in lots] == [{STALL: 2}, {STALL: 3}]
    sold = scan(city, MARKET, "retail_sale", party=STALL, scanned=trade["trace"], quantity="4")
    assert [(one["lot"], one["quantity"]) for one in sold["lots"]] == [(lots[0], 2), (lots[1], 2)]


def test_what_is_odd_about_a_slip_is_said(city: httpx.Client) -> None:
    """The neighbour's slip, the same slip twice, and less than what is on it."""
    trade, other = traded(city, "10"), f"{MARKET}0002"
    entered = scan(city, MARKET, "retail_entry", party=other, scanned=trade["trace"], quantity="4")
    assert [one["code"] for one in entered["warnings"]] == ["other_buyer"] and entered["lots"][0]["left"] == 4
    entered = scan(city, MARKET, "retail_entry", party=STALL, scanned=trade["trace"], quantity="6")
    assert [one["code"] for one in entered["warnings"]] == ["slip_received"]


def test_a_trade_that_was_taken_back_is_on_no_slip(city: httpx.Client) -> None:
    trade = traded(city, "10")
    void = {"reason": "did_not_occur", "at": now().isoformat()}
    assert city.post(f"/scans/{trade['scan']}/void", json=void).status_code == 201
    body = body_of(MARKET, "retail_entry", party=STALL, scanned=trade["trace"])
    assert "nothing recorded is on this slip" in problem_of(city.post("/scans", json=body), 400, "ValidationException")[
        "detail"
    ]  # fmt: skip


def test_a_slip_of_another_city_is_a_paper_and_an_open_end(city: httpx.Client) -> None:
    entered = scan(
        city, MARKET, "retail_entry", party=STALL, scanned="11010100100010000001", goods="21113011", quantity="3"
    )
    assert [one["code"] for one in entered["warnings"]] == ["open_end"]
    event = event_of(city, entered)
    assert event["certificationInfo"] == ["urn:suyuan:trace:11010100100010000001"]
    assert event["bizTransactionList"] == [
        {"type": "desadv", "bizTransaction": "urn:suyuan:voucher:11010100100010000001"}
    ]
    body = body_of(MARKET, "retail_entry", party=STALL, scanned="11010100100010000001", quantity="4")
    problem_of(city.post("/scans", json=body), 400, "ValidationException")


def test_a_customer_brings_goods_back_with_the_slip(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "5", STALL)
    sold = scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="2")
    back = scan(city, MARKET, "return_in", party=STALL, scanned=sold["trace"], quantity="0.5")
    assert back["lots"] == [{"lot": lot, "quantity": Decimal("0.5"), "unit": "KGM", "left": Decimal("3.5")}]
    assert back["warnings"] == []


def test_the_digits_of_a_lot_are_no_slips(city: httpx.Client, server: Server) -> None:
    """In scheme B a lot and a slip of one day would show the same 20 digits, and the next node enter the wrong one."""
    filed(server.ledger, NODE, [{"node": "330212021", "name": "b", "trace_scheme": "B", "kind": "wholesale_market"}])
    lots = [opened(city, "330212021", "1").rpartition(":")[2] for _ in range(3)]
    trade = scan(city, "330212021", "wholesale_trade", goods="21113011", quantity="3", counterparty=STALL)
    assert trade["trace"] not in lots and trade["trace"][:15] == lots[0][:15]
    entered = scan(city, MARKET, "retail_entry", party=STALL, scanned=lots[0], goods="21113011", quantity="1")
    assert entered["lots"][0]["lot"] == f"urn:suyuan:lot:21113011:{lots[0]}"


# --- asked, refused, and without a quantity ---------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        ("opening_stock", {"goods": "21113011", "quantity": "9"}),
        ("retail_sale", {"goods": "21113011", "quantity": "3"}),  # the first takes from one lot, the second from two
        ("retail_sale", {"goods": "01211", "quantity": "3"}),  # nothing is there: a lot of its own each time
        ("loss", {"goods": "21113011", "quantity": "1"}),
    ],
)
def test_the_same_twice_within_seconds_is_asked_about_whatever_it_makes(
    city: httpx.Client, step: str, fields: dict[str, str]
) -> None:
    for quantity in ("4", "5"):
        opened(city, MARKET, quantity, STALL)
    scan(city, MARKET, step, party=STALL, **fields)
    body = body_of(MARKET, step, party=STALL, **fields)
    assert problem_of(city.post("/scans", json=body), 409, "ResourceAlreadyExistsException")["again"]
    scan(city, MARKET, step, party=f"{MARKET}0002", **fields)  # another stall is another counter
    other = scan(city, MARKET, step, party=STALL, **{**fields, "quantity": "2"})
    void = {"reason": "incorrect_data", "at": now().isoformat()}
    assert city.post(f"/scans/{other['scan']}/void", json=void).status_code == 201
    scan(city, MARKET, step, party=STALL, **{**fields, "quantity": "2"})  # what was taken back may be done again
    assert city.post("/scans", json={**body, "confirm": True}).status_code == 201


def test_a_refused_scan_stays_refused_until_it_has_happened(city: httpx.Client) -> None:
    """The same id is the same answer, also when stock has come since: the person scans again."""
    party = f"{STRICT}0001"
    lot = opened(city, STRICT, "1", party)
    body = body_of(STRICT, "retail_sale", party=party, lot=lot, quantity="3")
    first = problem_of(city.post("/scans", json=body), 409, "ResourceAlreadyExistsException")
    scan(city, STRICT, "return_in", party=party, lot=lot, quantity="9")
    again = problem_of(city.post("/scans", json=body), 409, "ResourceAlreadyExistsException")
    assert (again["refused"], again["detail"]) == (first["refused"], first["detail"])
    assert left(city, lot) == {party: 10}
    assert city.post("/scans", json={**body, "offline": True}).status_code == 201
    assert left(city, lot) == {party: 7} and city.post("/scans", json=body).status_code == 200


def test_a_test_of_an_oversold_lot_tells_no_quantity(city: httpx.Client) -> None:
    lot = opened(city, WHOLESALE, "1")
    scan(city, WHOLESALE, "wholesale_trade", lot=lot, quantity="3", counterparty=STALL)
    tested = scan(city, WHOLESALE, "wholesale_test", lot=lot, result="12.5")
    assert tested["lots"] == [{"lot": lot, "quantity": None, "unit": "H87", "left": -2}]


def test_drugs_without_a_code_are_registered_and_sold_as_such(city: httpx.Client, server: Server) -> None:
    """By GTIN with or without the batch that is printed on the pack, or by the 7 digits of the product."""
    pharmacy = "330212031"
    filed(server.ledger, NODE, [{"node": pharmacy, "name": "p", "trace_scheme": "A", "kind": "pharmacy"}])
    pieces = {"unit": "H87"}
    made = scan(city, pharmacy, "uncoded_drug", scanned="(01)06901234567892(10)A1", quantity="20", **pieces)
    assert made["made"]["lot"] == "https://id.gs1.org/01/06901234567892/10/A1"
    other = scan(city, pharmacy, "uncoded_drug", goods="6901234567892", quantity="5", **pieces)
    assert other["made"]["lot"].startswith("https://id.gs1.org/01/06901234567892/10/330212031")
    sold = scan(city, pharmacy, "uncoded_drug_sale", goods="06901234567892", quantity="21", **pieces)
    assert [one["left"] for one in sold["lots"]] == [0, 4]
    seven = scan(city, pharmacy, "uncoded_drug", goods="8123456", quantity="2", **pieces)
    assert seven["made"]["lot"].startswith("urn:suyuan:lot:8123456:")
    for step, goods in (("uncoded_drug", "6901234567892"), ("uncoded_drug_sale", "8123456")):
        body = body_of(MARKET, step, party=STALL, goods=goods, quantity="1")
        problem_of(city.post("/scans", json=body), 400, "ValidationException")


def test_goods_that_are_not_those_of_the_lot_are_refused(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "5", STALL)
    wrong = city.post("/scans", json=body_of(MARKET, "retail_sale", party=STALL, lot=lot, goods="01211", quantity="1"))
    assert "is of the goods 21113011" in problem_of(wrong, 400, "ValidationException")["detail"]
    scan(city, MARKET, "retail_sale", party=STALL, lot=lot, goods="2111", quantity="1")


def test_a_scanner_that_is_known_to_send_separators_may_send_serials_of_digits(city: httpx.Client) -> None:
    """Without that knowledge a serial of digits may hide an expiry date whose separator was lost."""
    body = body_of(
        MARKET, "loss", party=STALL, scanned="]d20106901234567892211234567817281231", quantity="1", unit="H87"
    )
    problem_of(city.post("/scans", json=body), 400, "ValidationException")
    assert city.post("/scans", json={**body, "sendsFnc1": True}).status_code == 201


def test_the_weight_on_a_label_is_the_quantity(city: httpx.Client) -> None:
    """(3103) counts thousandths of a kilogram; what the person types, or another unit, comes before it."""
    label = "(01)06901234500103(3103)001250(10)P1"
    made = scan(city, MARKET, "opening_stock", scanned=label, party=STALL)["made"]
    assert made["quantity"] == Decimal("1.25") and made["unit"] == "KGM"
    typed = scan(city, MARKET, "opening_stock", scanned=label, party=STALL, quantity="2", confirm=True)["made"]
    assert typed["quantity"] == Decimal(2)
    pieces = scan(city, MARKET, "opening_stock", scanned=label, party=STALL, unit="H87", status=400, confirm=True)
    assert "quantity" in str(pieces)
