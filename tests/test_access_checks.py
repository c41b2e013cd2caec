"""Checks at the gate over HTTP: admitted, refused, conditional; one certificate in many hands; the same check again."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from api.ledger import now
from ledger.access import Role
from ledger.registers import CERTIFICATE, HOLD, LICENCE, NODE, PARTY, PRODUCT, RECALL
from tests.test_access import server
from tests.test_http import Server, problem_of
from tests.test_registry import filed, kept

__all__ = ["server"]

GATE, OTHER, SHOP = "330212031", "330212032", "330212033"
SELLER, RIVAL = f"{GATE}0001", f"{OTHER}0001"
LOT = "urn:suyuan:lot:01211:33021203126112500001"
JAB, GTIN = "81234570000000010001", "06901234500301"


class Gate:
    """Two markets and a pharmacy, each with a filed and licensed seller; a client for each."""

    def __init__(self, server: Server) -> None:
        self.server, ledger = server, server.ledger
        kinds = {GATE: "wholesale_market", OTHER: "market", SHOP: "pharmacy"}
        filed(ledger, NODE, [
            {"node": node, "name": "市场", "trace_scheme": "A", "kind": kind} for node, kind in kinds.items()
        ])  # fmt: skip
        sellers = {SELLER: "wholesaler", RIVAL: "retailer", f"{SHOP}0001": "pharmacy"}
        filed(ledger, PARTY, [
            {"party": party, "kinds": kind, "legal_name": "某商户", "credit_code": "91350100M000100Y43"}
            for party, kind in sellers.items()
        ])  # fmt: skip
        filed(ledger, LICENCE, [
            {
                "party": party, "number": f"JY{party}1", "valid_from": "2020-01-01",
                "kind": "drug_operation" if kind == "pharmacy" else "food_operation",
            }
            for party, kind in sellers.items()
        ])  # fmt: skip
        filed(ledger, PRODUCT, [
            {
                "product": "8123457", "name": "疫苗", "kind": "vaccine", "storage_min_c": "2", "storage_max_c": "8",
                "gtin": GTIN,
            },
        ])  # fmt: skip
        self.at = {node: server.client(Role.MARKET, node) for node in kinds}
        self.today = ledger.today()

    def body(self, *documents: dict[str, Any], node: str = GATE, **more: Any) -> dict[str, Any]:
        wanted = {"goods": "21113011", "quantity": more.pop("quantity", "100"), **more.pop("of", {})}
        return {
            "check": str(uuid.uuid4()), "node": node, "party": f"{node}0001", "at": now().isoformat(),
            "goods": [wanted], "documents": list(documents), **more,
        }  # fmt: skip

    def ask(self, *documents: dict[str, Any], node: str = GATE, **more: Any) -> dict[str, Any]:
        answer = self.at[node].post("/access-checks", json=self.body(*documents, node=node, **more))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def paper(self, kind: str, number: str = "1", **more: Any) -> dict[str, Any]:
        return {"type": kind, "number": number, "issuer": "动物卫生监督所", "issued": self.today.isoformat(), **more}

    def pork(self, number: str = "1", **more: Any) -> list[dict[str, Any]]:
        return [self.paper("product", number, **more), self.paper("inspection", number)]


@pytest.fixture
def gate(server: Server) -> Gate:
    return Gate(server)


def reasons(answer: dict[str, Any]) -> list[str]:
    return [one["reason"] for one in answer["reasons"]]


# --- one check ----------------------------------------------------------------------------------------


def test_goods_with_their_papers_come_in_and_the_certificate_is_used(gate: Gate) -> None:
    body = gate.body(*gate.pork(quantity="0.25", unit="TNE"), supplier="外省某屠宰场")
    first = gate.at[GATE].post("/access-checks", json=body)
    found = first.json()
    assert first.status_code == 201 and (found["decision"], found["reasons"]) == ("admitted", [])
    assert found["chinese"] == "准予入场" and "suyuan receipt" in found["receipt"] and found["holdUntil"] is None
    again = gate.at[GATE].post("/access-checks", json=body)
    assert (again.status_code, again.json()) == (200, found)
    row = kept(gate.server.ledger, CERTIFICATE, "product:1").row
    assert (row["used"], row["quantity"], row["unit"], row["version"]) == ("0.1", "0.25", "TNE", 1)
    assert row["node"] == int(GATE)
    entry = gate.at[GATE].get(f"/entries/{found['entry']}").json()
    assert entry["body"]["check"]["decision"] == "admitted"
    seen = gate.at[GATE].get(f"/access-checks/{body['check']}").json()
    assert seen["asked"]["supplier"] == "外省某屠宰场" and "某" not in str(entry["body"]), "sealed"
    problem_of(gate.at[OTHER].get(f"/access-checks/{body['check']}"), 404, "NoSuchNameException")
    other = {**body, "supplier": "别人"}
    problem_of(gate.at[GATE].post("/access-checks", json=other), 409, "ResourceAlreadyExistsException")


def test_refused_with_every_reason_what_to_bring_and_the_law(gate: Gate) -> None:
    stale = gate.paper("product", issued=(gate.today - timedelta(days=9)).isoformat())
    found = gate.ask(stale, party=f"{GATE}0009")
    assert found["decision"] == "refused"
    assert set(reasons(found)) == {"certificate_expired", "no_paper", "seller_not_filed"}
    for one in found["reasons"]:
        assert one["chinese"] and one["english"] and one["bring"] and one["source"] and one["since"] and one["about"]
    row = kept(gate.server.ledger, CERTIFICATE, "product:1").row
    assert (row["version"], row["used"], row["node"]) == (1, None, None), "registered, and not used"


def test_greens_wait_for_a_test_and_a_failure_is_remembered(gate: Gate) -> None:
    greens = {"of": {"goods": "01211", "lot": LOT}}
    waits = gate.ask(**greens)
    assert (waits["decision"], reasons(waits)) == ("conditional", ["test_first"]) and waits["holdUntil"]
    failed = now() - timedelta(hours=2)
    told = gate.ask(**greens, tests=[{"kind": "rapid", "result": "50", "at": failed.isoformat()}])
    assert (told["decision"], reasons(told)) == ("refused", ["rapid_test_failed", "test_first"])
    assert "4 hours" in told["reasons"][0]["bring"]
    rapid = {"kind": "rapid", "result": "1", "at": now().isoformat()}
    assert "rapid_test_failed" in reasons(gate.ask(**greens, tests=[rapid])), "it is not forgotten"
    elsewhere = gate.ask(**greens, tests=[rapid], node=OTHER)
    assert elsewhere["decision"] == "refused", "nor at the next market"
    lab = {**rapid, "kind": "laboratory", "retestOf": failed.isoformat()}
    assert gate.ask(**greens, tests=[lab])["decision"] == "admitted"
    assert gate.ask(**greens, tests=[rapid])["decision"] == "admitted", "the re-test is remembered, too"


def test_vaccines_and_recalled_batches(gate: Gate) -> None:
    jab: dict[str, Any] = {"node": SHOP, "of": {"goods": "8123457", "lot": JAB, "quantity": "1", "unit": "H87"}}
    cold = {"min": "2.5", "max": "7.9", "minutesAbove": 0, "unbroken": True}
    assert reasons(gate.ask(**jab)) == ["no_temperature_record"]
    assert reasons(gate.ask(**jab, temperature={**cold, "max": "8.5"})) == ["temperature_out_of_range"]
    assert gate.ask(**jab, temperature=cold)["decision"] == "admitted"
    filed(gate.server.ledger, RECALL, [{
        "recall": "ZH-1", "product": "8123457", "batches": ["B1"], "grade": "1", "origin": "ordered", "nature": "real",
        "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    }])  # fmt: skip
    assert reasons(gate.ask(**jab, temperature=cold)) == ["batch_unknown"]
    for batch, found in (("B1", ["recalled"]), ("B2", [])):
        named = {**jab["of"], "goods": GTIN, "lot": f"(01){GTIN}(10){batch}"}
        assert reasons(gate.ask(node=SHOP, of=named, temperature=cold)) == found, "under its other name, too"
    filed(gate.server.ledger, RECALL, [{
        "recall": "ZH-2", "product": "8123457", "grade": "1", "origin": "ordered", "nature": "real",
        "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    }])  # fmt: skip
    assert set(reasons(gate.ask(**jab, temperature=cold))) == {"batch_unknown", "recalled"}


def test_a_held_batch_and_a_code_that_only_a_check_knows(gate: Gate) -> None:
    given = {"hold": f"{SHOP}-1", "scope": "batch", "target": "8123457/B7"}
    filed(gate.server.ledger, HOLD, [given])
    cold = {"min": "2.5", "max": "7.9", "minutesAbove": 0, "unbroken": True}
    named = {"goods": GTIN, "lot": f"(01){GTIN}(10)B7", "quantity": "1", "unit": "H87"}
    assert reasons(gate.ask(node=SHOP, of=named, temperature=cold)) == ["held"]
    traced = gate.at[SHOP].get(f"/trace/https://id.gs1.org/01/{GTIN}/10/B7").json()
    assert traced["events"] == [], "a check is no event"


def test_who_may_not_and_what_cannot_be_read(gate: Gate, server: Server) -> None:
    body = gate.body(*gate.pork())
    problem_of(gate.at[OTHER].post("/access-checks", json=body), 403, "SecurityException")
    wrong = {
        **body, "check": "x", "at": "noon",
        "goods": [{"goods": "99", "quantity": "0", "unit": "斤", "origin": "1", "lot": "06901234500103"}],
        "documents": [{**gate.paper("passport"), "quantity": "1", "expires": "2020-01-01"}],
        "tests": [
            {"kind": "rapid", "result": "rather good", "at": "noon"},
            {"kind": "rapid", "result": "1", "at": (now() + timedelta(hours=1)).isoformat()},
        ],
        "temperature": {"min": "5", "max": "2", "minutesAbove": 0, "unbroken": True},
    }  # fmt: skip
    told = problem_of(gate.at[GATE].post("/access-checks", json=wrong), 400, "ValidationException")
    paths = {one["path"] for one in told["errors"]}
    assert paths == {
        "check", "at", "goods[0].goods", "goods[0].quantity", "goods[0].unit", "goods[0].origin", "goods[0].lot",
        "documents[0].type", "documents[0].unit", "documents[0].expires", "tests[0].at", "tests[0].result",
        "tests[1].at", "temperature.max",
    }  # fmt: skip
    many = {**body, "goods": body["goods"] * 21}
    assert gate.at[GATE].post("/access-checks", json=many).status_code == 400
    assert gate.at[GATE].post("/access-checks", json={**body, "goods": []}).status_code == 400
    with server.ledger.database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM entry WHERE kind = 9").fetchone() == (0,)


# --- one certificate, many hands ----------------------------------------------------------------------


def test_one_certificate_at_two_places(gate: Gate) -> None:
    assert gate.ask(*gate.pork())["decision"] == "admitted"
    second = gate.ask(*gate.pork(), node=OTHER)
    assert (second["decision"], set(reasons(second))) == ("refused", {"certificate_used_elsewhere"})
    assert gate.ask(*gate.pork())["decision"] == "admitted", "at its own place it still is one"


def test_in_parts_to_the_last_gram_and_not_one_more(gate: Gate) -> None:
    papers = gate.pork(quantity="100", unit="KGM")
    for part in ("59.999", "40", "0.001"):
        assert gate.ask(*papers, quantity=part)["decision"] == "admitted", part
    over = gate.ask(*papers, quantity="0.000001")
    assert (over["decision"], reasons(over)) == ("refused", ["certificate_over_quantity"])
    row = kept(gate.server.ledger, CERTIFICATE, "product:1").row
    assert (row["used"], row["version"]) == ("100", 3)


@pytest.mark.parametrize(("step", "reason"), [("void", "certificate_void"), ("forge", "certificate_forged")])
def test_void_and_forged(gate: Gate, step: str, reason: str) -> None:
    given = {"certificate": "product:1", "issuer": "动物卫生监督所", "issued": gate.today.isoformat()}
    filed(gate.server.ledger, CERTIFICATE, [given])
    admin = gate.server.client()
    taken = admin.post("/registry/certificates/product:1/steps", json={"step": step, "reason": "发证单位通报"})
    assert taken.status_code in (200, 201), taken.text
    assert reasons(gate.ask(*gate.pork())) == [reason]


def test_what_is_registered_and_what_the_paper_says(gate: Gate) -> None:
    given = {"certificate": "product:1", "issuer": "别的监督所", "issued": gate.today.isoformat(), "quantity": "80",
             "unit": "KGM"}  # fmt: skip
    filed(gate.server.ledger, CERTIFICATE, [given])
    found = gate.ask(*gate.pork(quantity="100", unit="KGM"))
    assert set(reasons(found)) == {"certificate_contradicts", "certificate_over_quantity"}
    assert "issuer" in found["reasons"][0]["english"] and "quantity" in found["reasons"][0]["english"]


def rivals(gate: Gate, quantity: str) -> list[dict[str, Any]]:
    bodies = [
        gate.body(*gate.pork(quantity="100", unit="KGM"), node=(GATE, OTHER)[n % 2], quantity=quantity)
        for n in range(20)
    ]  # fmt: skip

    def ask(body: dict[str, Any]) -> httpx.Response:
        return gate.at[body["node"]].post("/access-checks", json=body)

    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(ask, bodies)]
    assert {one.status_code for one in answers} == {201}, [one.text for one in answers]
    return [one.json() for one in answers]


def test_of_twenty_rivals_for_all_of_it_one_gets_it(gate: Gate) -> None:
    found = rivals(gate, "100")
    assert sorted(one["decision"] for one in found) == ["admitted"] + ["refused"] * 19
    row = kept(gate.server.ledger, CERTIFICATE, "product:1").row
    (winner,) = [one for one in found if one["decision"] == "admitted"]
    assert (row["used"], row["node"]) == ("100", int(winner["node"]))


def test_twenty_rivals_for_parts_of_it_take_no_more_than_there_is(gate: Gate) -> None:
    found = rivals(gate, "30")
    admitted = [one for one in found if one["decision"] == "admitted"]
    assert len(admitted) == 3 and len({one["node"] for one in admitted}) == 1
    assert Decimal(kept(gate.server.ledger, CERTIFICATE, "product:1").row["used"]) == 90


def test_the_same_check_ten_times_at_once_is_one(gate: Gate) -> None:
    body = gate.body(*gate.pork())
    with ThreadPoolExecutor(10) as pool:
        answers = [*pool.map(lambda _: gate.at[GATE].post("/access-checks", json=body), range(10))]
    assert sorted(one.status_code for one in answers) == [200] * 9 + [201]
    assert len({one.text for one in answers}) == 1
    assert kept(gate.server.ledger, CERTIFICATE, "product:1").row["used"] == "100"
