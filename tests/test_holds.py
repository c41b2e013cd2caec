"""Holds and recalls of food: what is held goes nowhere from the next scan on, at scans, packs and the gate."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from api.ledger import now
from api.problems import problem
from ledger.access import Role
from ledger.entries import Kind
from ledger.errors import Held, Stop
from ledger.filing import Line, file_lines
from ledger.holds import STOPPED_STEPS
from ledger.nodes import OPERATOR
from ledger.registers import HOLD, NODE, PARTY, PRODUCT, RECALL, RECALL_ANSWER
from ledger.steps import STEPS
from scanners.terminal.outbox import Message, State
from scanners.terminal.sync import Answer, Verdict, judge
from tests.test_access import server
from tests.test_http import Server, problem_of
from tests.test_packs import BATCH, CORNER, DRUG, GTIN, HIGH_STREET, City, codes
from tests.test_registry import filed, kept
from tests.test_scans import ABATTOIR, FARM, KINDS, MARKET, STALL, WHOLESALE, body_of, left, opened, scan

__all__ = ["server"]

PORK = "21113011"


@pytest.fixture
def city(server: Server) -> httpx.Client:
    """An administrator's client, with a node of each kind; none refuses to sell more than is left."""
    filed(server.ledger, NODE, [
        {"node": node, "name": kind, "trace_scheme": "A", "kind": kind} for node, kind in KINDS.items()
    ])  # fmt: skip
    return server.client()


def hold(client: httpx.Client, scope: str, target: str, name: str = f"{MARKET}-1", **more: Any) -> None:
    answer = client.post("/registry/holds", json={"hold": name, "scope": scope, "target": target, **more})
    assert answer.status_code == 201, answer.text


def release(client: httpx.Client, name: str = f"{MARKET}-1") -> None:
    answer = client.post(f"/registry/holds/{name}/steps", json={"step": "release", "reason": "检测合格"})
    assert answer.status_code in (200, 201), answer.text


def refused(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    return problem_of(client.post("/scans", json=body), 409, "ResourceAlreadyExistsException")


# --- scans ----------------------------------------------------------------------------------------


def test_which_steps_a_hold_stops() -> None:
    goes_on = {step.name for step in STEPS} - STOPPED_STEPS
    assert goes_on == {
        "quarantine", "wholesale_test", "loss", "destruction", "return_in", "return_out", "stock_take",
        "origin_harvest", "uncoded_drug", "opening_stock",
    }  # fmt: skip


def test_the_terminal_shows_the_refusal_in_chinese_and_goes_on() -> None:
    stop = Stop("lot", "urn:suyuan:lot:21113011:1", f"{MARKET}-1", "2026-11-28T00:00:00Z")
    answer = Answer(409, problem(Held((stop,))))
    message = Message(1, "a", None, {}, State.WAITING, now(), None, None, "")
    assert judge(message, answer) is Verdict.ASIDE
    assert answer.reason.startswith("已停售,不得售出或转移") and "2026-11-28" in answer.reason


@pytest.mark.parametrize(
    ("scope", "target"),
    [("lot", ""), ("goods", "211"), ("goods", PORK), ("party", STALL), ("node", MARKET)],
)
def test_what_is_held_is_not_sold_from_the_next_scan_on(
    city: httpx.Client, server: Server, scope: str, target: str
) -> None:
    lot = opened(city, MARKET, "10", STALL)
    scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="1")
    hold(city, scope, target or lot, until=(now() + timedelta(hours=2)).isoformat())
    body = body_of(MARKET, "retail_sale", party=STALL, lot=lot, quantity="1.5")
    found = refused(city, body)
    assert "停售" in found["detail"] and f"{MARKET}-1" in found["detail"] and "authority" in found["detail"]
    assert [(one["hold"], one["scope"]) for one in found["holds"]] == [(f"{MARKET}-1", scope)]
    assert found["holds"][0]["until"] in found["detail"] and left(city, lot) == {STALL: 9}
    assert refused(city, body) == found, "decided twice, recorded once"
    with server.ledger.database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM entry WHERE kind = %s", [Kind.REFUSAL]).fetchone() == (1,)
    for step, more in (("loss", {}), ("destruction", {}), ("return_out", {"counterparty": f"{WHOLESALE}0000"})):
        scan(city, MARKET, step, party=STALL, lot=lot, quantity="1", **more)
    scan(city, MARKET, "stock_take", party=STALL, lot=lot, quantity="6")
    late = scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="2", offline=True)
    assert "held" in [one["code"] for one in late["warnings"]], "it has happened"
    release(city)
    assert refused(city, body)["refused"] == found["refused"], "under its id it stays refused"
    sold = scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="1.5")
    assert sold["warnings"] == []


def test_the_same_scan_refused_and_then_done_offline_is_recorded(city: httpx.Client) -> None:
    lot = opened(city, MARKET, "10", STALL)
    hold(city, "lot", lot)
    body = body_of(MARKET, "retail_sale", party=STALL, lot=lot, quantity="1")
    refused(city, body)
    assert city.post("/scans", json={**body, "offline": True}).status_code == 201


def test_a_hold_ends_by_itself_and_holds_where_it_says(city: httpx.Client) -> None:
    here, there = opened(city, MARKET, "10", STALL), opened(city, WHOLESALE, "10")
    hold(city, "goods", PORK, f"{WHOLESALE}-1")
    hold(city, "goods", "21113012", f"{MARKET}-2")
    hold(city, "lot", here, f"{MARKET}-3", until=(now() - timedelta(seconds=1)).isoformat())
    scan(city, MARKET, "retail_sale", party=STALL, lot=here, quantity="1")
    body = body_of(WHOLESALE, "wholesale_trade", lot=there, quantity="1", counterparty=STALL)
    assert [one["hold"] for one in refused(city, body)["holds"]] == [f"{WHOLESALE}-1"]
    release(city, f"{WHOLESALE}-1")
    hold(city, "goods", PORK, "000000000-1")
    assert [one["hold"] for one in refused(city, {**body, "scan": str(uuid.uuid4())})["holds"]] == ["000000000-1"]
    refused(city, body_of(MARKET, "retail_sale", party=STALL, lot=here, quantity="1"))


def test_a_product_is_held_by_its_goods_and_a_gs1_lot_by_its_batch_however_it_was_written(
    city: httpx.Client, server: Server
) -> None:
    filed(server.ledger, PRODUCT, [{"product": "06901234500103", "name": "肉", "kind": "food"}])
    lot = "https://id.gs1.org/01/06901234500103/10/L1"
    scan(city, MARKET, "opening_stock", party=STALL, lot=lot, quantity="5")
    ways = [("lot", "https://shop.example/01/06901234500103/10/L1"), ("batch", "06901234500103/L1"),
            ("goods", "06901234500103")]  # fmt: skip
    for number, (scope, target) in enumerate(ways):
        hold(city, scope, target, f"{MARKET}-{number}")
        body = body_of(MARKET, "retail_sale", party=STALL, lot=lot, quantity="1")
        assert [one["scope"] for one in refused(city, body)["holds"]] == [scope]
        release(city, f"{MARKET}-{number}")


def test_the_gate_refuses_what_is_held(city: httpx.Client, server: Server) -> None:
    filed(server.ledger, PARTY, [
        {"party": STALL, "kinds": "farm", "legal_name": "x", "credit_code": "91350100M000100Y43"}
    ])  # fmt: skip
    day = server.ledger.today().isoformat()
    body = {
        "node": MARKET, "party": STALL, "at": now().isoformat(), "goods": [{"goods": "01211", "quantity": "1"}],
        "documents": [{"type": "promise", "number": "1", "issued": day}],
    }  # fmt: skip

    def asked() -> tuple[str, list[str]]:
        answer = city.post("/access-checks", json={**body, "check": str(uuid.uuid4())}).json()
        return answer["decision"], [one["reason"] for one in answer["reasons"]]

    hold(city, "goods", "012")
    assert asked() == ("refused", ["held"])
    release(city)
    assert asked() == ("admitted", [])


# --- packs ----------------------------------------------------------------------------------------


@pytest.fixture
def drugs(server: Server) -> City:
    return City(server)


@pytest.mark.parametrize(
    ("scope", "target"),
    [("batch", f"{DRUG}/{BATCH}"), ("batch", f"{GTIN}/{BATCH}"), ("goods", DRUG), ("node", CORNER),
     ("party", f"{CORNER}0000")],
)  # fmt: skip
def test_held_packs_are_not_sold_or_shipped_and_raise_no_alert(drugs: City, scope: str, target: str) -> None:
    made = drugs.made("S1", "S2", "S3", "S4")
    hold(drugs.admin, scope, target, f"{CORNER}-1")
    asked = drugs.at[CORNER].get(f"/packs/{made[0]}").json()
    assert not asked["maySell"] and codes(drugs.at[CORNER].get(f"/packs/{made[0]}")) == ["held"]
    body = {"scan": str(uuid.uuid4())}
    for command in ("supply", "ship"):
        answer = drugs.give(CORNER, command, made[0], **({} if command == "ship" else body))
        assert (answer.status_code, codes(answer)) == (409, ["held"]), answer.text
        assert answer.json()["alert"] is False and answer.json()["holds"] == [f"{CORNER}-1"]
        assert answer.json()["reasons"][0]["chinese"] == "已停售" and answer.json()["entry"]
    assert codes(drugs.give(CORNER, "split", made[0], units=2)) == ["held"]
    bill = {"party": f"{CORNER}0000", "bill": "XS-1", "type": "321", "at": now().isoformat(), "codes": made[:2]}
    found = drugs.at[CORNER].post("/bills", json=bill).json()
    assert (found["taken"], found["refused"], found["status"]) == (0, 2, 4)
    late = drugs.give(CORNER, "supply", made[3], mode="offline")
    assert late.status_code == 201 and "held" in [one["code"] for one in late.json()["warnings"]]
    assert drugs.give(CORNER, "lock", made[1]).status_code == 201
    assert drugs.give(CORNER, "destroy", made[1]).status_code == 201
    assert drugs.give(HIGH_STREET, "supply", made[2]).status_code == 201, "it holds at its own node"
    release(drugs.admin, f"{CORNER}-1")
    assert drugs.give(CORNER, "supply", made[0]).status_code == 201


# --- recalls of food ------------------------------------------------------------------------------


def recall(number: str = "SP-1", **more: Any) -> dict[str, Any]:
    return {
        "recall": number, "grade": "1", "origin": "ordered", "nature": "real", "range": "city", "regime": "cn_food",
        "decided_at": now().isoformat(), **more,
    }  # fmt: skip


def test_a_recall_reaches_what_was_made_and_who_had_it_answers(city: httpx.Client, server: Server) -> None:
    pigs = scan(city, FARM, "origin_harvest", goods="pig", quantity="10", unit="H87")["made"]["lot"]
    pig = {"lot": pigs, "quantity": "10", "unit": "H87"}
    scan(city, FARM, "origin_out", **pig, counterparty=f"{ABATTOIR}0000")
    papers = [{"kind": "animal", "number": "330212000117"}]
    scan(city, ABATTOIR, "slaughter_intake", **pig, counterparty=f"{FARM}0000", vouchers=papers)
    pork = scan(city, ABATTOIR, "slaughter", **pig, goods=PORK, made="800")["made"]["lot"]
    scan(city, ABATTOIR, "carcass_out", lot=pork, quantity="300", counterparty=STALL)
    scan(city, MARKET, "retail_entry", party=STALL, lot=pork, quantity="300", counterparty=f"{ABATTOIR}0000")
    scan(city, MARKET, "retail_sale", party=STALL, lot=pork, quantity="120")
    answer = city.post("/registry/recalls", json=recall(lots=[pigs]))
    assert answer.status_code == 201, answer.text
    assert kept(server.ledger, RECALL, "SP-1").row["lots"] == [pigs, pork]
    found = refused(city, body_of(MARKET, "retail_sale", party=STALL, lot=pork, quantity="1"))
    assert [(one["hold"], one["recall"]) for one in found["holds"]] == [("SP-1", True)]
    scan(city, MARKET, "destruction", party=STALL, lot=pork, quantity="30")

    filed(server.ledger, RECALL_ANSWER, [{
        "answer": f"{MARKET}-SP-1", "acknowledged_at": now().isoformat(), "unit": "KGM", "found": "180", "sold": "110",
        "destroyed": "30", "returned": "0",
    }])  # fmt: skip
    seen = city.get("/recalls/SP-1").json(parse_float=Decimal)
    rows = {(one["node"], one["unit"]): one for one in seen["nodes"]}
    stall, abattoir = rows[MARKET, "KGM"], rows[ABATTOIR, "KGM"]
    assert (stall["received"], stall["sold"], stall["destroyed"], stall["left"]) == (300, 120, 30, 150)
    assert (abattoir["made"], abattoir["shipped"], abattoir["left"]) == (800, 300, 500)
    assert rows[ABATTOIR, "H87"]["used"] == 10 and rows[FARM, "H87"]["left"] == 0
    (kilograms,) = [one for one in seen["totals"] if one["unit"] == "KGM"]
    assert (kilograms["out"], kilograms["found"], kilograms["destroyed"], kilograms["returned"]) == (800, 180, 30, 0)
    assert kilograms["accounted"] == 290 and kilograms["accountedPercent"] == Decimal("36.2")
    assert seen["effectiveness"] == {"nodes": 3, "answered": 1, "answeredPercent": Decimal("33.3")}
    assert {one["clock"] for one in seen["clocks"]} == {"notify", "finish"}
    market = server.client(Role.MARKET, MARKET).get("/recalls/SP-1").json()
    assert {one["node"] for one in market["nodes"]} == {MARKET} == {one["node"] for one in market["answers"]}


def test_the_same_sheet_again_is_no_change_and_exercises_stop_nothing(city: httpx.Client, server: Server) -> None:
    lot = opened(city, MARKET, "9", STALL)
    given = recall(lots=lot, nature="exercise")
    filed(server.ledger, RECALL, [given])
    again = file_lines(
        server.ledger.database, server.ledger.lanes.record, server.ledger.registrar(OPERATOR), RECALL, [Line(2, given)]
    )
    assert [(one.same, one.refusals) for one in again] == [(1, [])]
    scan(city, MARKET, "retail_sale", party=STALL, lot=lot, quantity="1")
    unknown = "urn:suyuan:lot:01211:33021201426112500001"
    filed(server.ledger, RECALL, [recall("SP-2", lots=[unknown])])
    seen = city.get("/recalls/SP-2").json()
    assert (seen["lots"], seen["nodes"], seen["totals"]) == ([unknown], [], [])


def test_the_register_of_holds_keeps_one_form_of_a_lot(server: Server) -> None:
    given = {"hold": f"{MARKET}-1", "scope": "lot", "target": "https://x.example/01/06901234500103/10/L1"}
    filed(server.ledger, HOLD, [given])
    assert kept(server.ledger, HOLD, f"{MARKET}-1").row["target"] == "https://id.gs1.org/01/06901234500103/10/L1"
