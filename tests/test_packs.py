"""Packs over HTTP: from the plant to the buyer, rivals, bills, recalls, cases and jobs of many."""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.ledger import now
from ledger.access import Role
from ledger.registers import DRUG_MARKET, NODE, PRODUCT, RECALL
from tests.test_access import server
from tests.test_http import Server
from tests.test_registry import filed

__all__ = ["server"]

PLANT, HOUSE, CORNER, HIGH_STREET = "330212021", "330212022", "330212023", "330212024"
GTIN, DRUG = "06901234500301", "8123456"
BATCH, EXPIRES = "B2026", "2028-06-30"


class City:
    """A plant, a wholesaler and two pharmacies, each with a credential; a drug under its GTIN and its 7 digits."""

    def __init__(self, server: Server) -> None:
        self.server = server
        ledger = server.ledger
        kinds = {PLANT: "drug_plant", HOUSE: "drug_wholesaler", CORNER: "pharmacy", HIGH_STREET: "pharmacy"}
        filed(ledger, NODE, [
            {"node": node, "name": "药", "trace_scheme": "A", "kind": kind} for node, kind in kinds.items()
        ])  # fmt: skip
        filed(ledger, PRODUCT, [
            {"product": DRUG, "name": "阿莫西林胶囊", "kind": "drug", "gtin": GTIN, "units_per_pack": "24"},
        ])  # fmt: skip
        roles = {PLANT: Role.MANUFACTURER, HOUSE: Role.WHOLESALER, CORNER: Role.PHARMACY, HIGH_STREET: Role.PHARMACY}
        self.at = {node: server.client(role, node) for node, role in roles.items()}
        self.second_till = server.client(Role.PHARMACY, CORNER)
        self.regulator = server.client(Role.REGULATOR)
        self.admin = server.client()

    def give(
        self, node: str, command: str, code: str, *, till: httpx.Client | None = None, **fields: Any
    ) -> httpx.Response:
        body = {"scan": str(uuid.uuid4()), "node": node, "at": now().isoformat(), **fields}
        return (till or self.at[node]).post(f"/packs/{quote(code, safe='')}/{command}", json=body)

    def made(self, *serials: str, batch: str = BATCH, expires: str = EXPIRES) -> list[str]:
        """Packs that the plant has made, as they are printed."""
        codes = [pack(serial, batch, expires) for serial in serials]
        for code in codes:
            answer = self.give(PLANT, "commission", code)
            assert answer.status_code == 201, answer.text
        return codes


def pack(serial: str, batch: str | None = BATCH, expires: str | None = EXPIRES) -> str:
    """What is printed under the code of a pack."""
    dated = f"(17){expires[2:4]}{expires[5:7]}{expires[8:10]}" if expires else ""
    return f"(01){GTIN}(21){serial}{dated}" + (f"(10){batch}" if batch else "")


@pytest.fixture
def city(server: Server) -> City:
    return City(server)


@pytest.fixture
def eu(city: City) -> City:
    filed(city.server.ledger, DRUG_MARKET, [{"market": "drugs", "rules": "eu"}])
    return city


def codes(answer: httpx.Response) -> list[str]:
    return [one["code"] for one in answer.json()["reasons"]]


def test_a_pack_from_the_plant_to_the_buyer(city: City) -> None:
    (code,) = city.made("S1")
    for node, command in ((PLANT, "ship"), (HOUSE, "receive"), (HOUSE, "ship"), (CORNER, "receive")):
        assert city.give(node, command, code).status_code == 201
    asked = city.at[CORNER].get(f"/packs/{quote(code, safe='')}").json()
    assert asked["maySell"] and asked["place"] == "here" and asked["state"] == "active" and asked["batch"] == BATCH
    sold = city.give(CORNER, "supply", code)
    assert sold.status_code == 201 and sold.json()["state"] == "supplied" and sold.json()["receipt"]
    assert sold.json()["product"] == {"name": "阿莫西林胶囊", "units": 24, "nationalCode": None}
    asked = city.at[HIGH_STREET].get(f"/packs/{quote(code, safe='')}").json()
    assert not asked["maySell"] and asked["place"] == "elsewhere" and asked["state"] == "supplied"
    refused = city.give(HIGH_STREET, "supply", code).json()
    told = city.at[HIGH_STREET].get(f"/entries/{refused['entry']}").text
    assert refused["place"] == "elsewhere" and refused["alert"] and refused["alertId"] == refused["entry"]
    assert CORNER not in told and "already_elsewhere" in told, "that it was sold elsewhere, and not where"


def test_of_a_hundred_rivals_one_is_taken(city: City) -> None:
    """And each of the others learns on which side the sale was."""
    (code,) = city.made("S1")
    with ThreadPoolExecutor(40) as pool:
        asked = [
            (CORNER, city.second_till if n % 4 == 0 else None) if n % 2 else (HIGH_STREET, None) for n in range(100)
        ]
        answers = [*pool.map(lambda one: (one[0], city.give(one[0], "supply", code, till=one[1])), asked)]
    taken = [node for node, answer in answers if answer.status_code == 201]
    assert len(taken) == 1
    for node, answer in answers:
        assert answer.status_code in (201, 200, 409), answer.text
        if answer.status_code == 409:
            side = "here" if node == taken[0] else "elsewhere"
            assert answer.json()["place"] == side and codes(answer) == [f"already_{side}"]


def test_a_bill_is_answered_code_by_code_and_is_one_bill(city: City) -> None:
    made = city.made("S1", "S2", "S3")
    city.give(HIGH_STREET, "supply", made[2])
    bill = {"party": f"{CORNER}0000", "bill": "XS-1", "type": "321", "at": now().isoformat(), "codes": made}
    answer = city.at[CORNER].post("/bills", json=bill)
    assert answer.status_code == 201 and (answer.json()["taken"], answer.json()["refused"]) == (2, 1)
    again = city.at[CORNER].post("/bills", json=bill)
    assert again.status_code == 200 and again.json()["taken"] == 2
    assert {one["code"]: one["taken"] for one in again.json()["packs"]} == {
        one["code"]: one["taken"] for one in answer.json()["packs"]
    }
    other = city.at[CORNER].post("/bills", json={**bill, "codes": made[:1]})
    assert other.status_code == 409
    status = city.at[CORNER].get(f"/bills/{CORNER}0000/XS-1").json()
    assert (status["status"], status["taken"], status["refused"]) == (3, 2, 1)


def test_a_recalled_batch_is_refused_at_once_everywhere(city: City) -> None:
    code, other = city.made("S1")[0], city.made("S2", batch="B9")[0]
    filed(city.server.ledger, RECALL, [{
        "recall": "ZH-1", "product": DRUG, "batches": [BATCH], "grade": "1", "origin": "ordered", "nature": "real",
        "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    }])  # fmt: skip
    refused = city.give(CORNER, "supply", code)
    assert refused.status_code == 409 and codes(refused) == ["recalled"] and refused.json()["recalls"] == ["ZH-1"]
    assert not refused.json()["alert"]
    assert city.give(CORNER, "supply", other).status_code == 201
    seen = city.regulator.get("/recalls/ZH-1").json()
    assert seen["packs"] == {"recorded": 1, "safe": 0, "gone": 0, "outstanding": 1}
    assert {one["clock"] for one in seen["clocks"]} == {"notify", "plan", "progress"}


def test_a_case_is_sold_as_what_is_in_it(city: City) -> None:
    made = city.made("S1", "S2")
    uris = [f"https://id.gs1.org/01/{GTIN}/21/{serial}" for serial in ("S1", "S2")]
    event = {
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"], "type": "AggregationEvent",
        "action": "ADD", "eventTime": now().isoformat(), "eventTimeZoneOffset": "+00:00", "bizStep": "packing",
        "parentID": "https://id.gs1.org/00/069012345000000011", "childEPCs": uris,
    }  # fmt: skip
    assert city.at[PLANT].post("/events", json=event).status_code == 201
    answer = city.give(CORNER, "receive", "(00)069012345000000011")
    assert answer.status_code == 201 and len(answer.json()["packs"]) == 2
    assert city.at[CORNER].get(f"/packs/{quote(made[0], safe='')}").json()["place"] == "here"


def test_a_job_of_many_packs_answers_for_each(city: City) -> None:
    made = city.made("S1", "S2", "S3")
    city.give(HIGH_STREET, "supply", made[2])
    job = str(uuid.uuid4())
    body = {"job": job, "node": CORNER, "command": "supply", "at": now().isoformat(), "codes": [*made, "nonsense"]}
    given = city.at[CORNER].post("/packs/bulk", json=body)
    assert given.status_code == 202, given.text
    for _ in range(200):
        seen = city.at[CORNER].get(given.headers["location"]).json()
        if not seen["running"]:
            break
        time.sleep(0.05)
    assert (seen["done"], seen["total"], seen["error"]) == (4, 4, None)
    lines = [json.loads(line) for line in city.at[CORNER].get(f"/packs/bulk/{job}/results").text.splitlines()]
    assert [line.get("taken") for line in lines if "code" in line] == [True, True, False]
    assert sum("codes[3]" in line.get("error", "") for line in lines) == 1
    assert city.at[CORNER].post("/packs/bulk", json=body).status_code == 202, "the same job again is the same"
    assert city.at[CORNER].post("/packs/bulk", json={**body, "codes": made}).status_code == 409
    assert city.at[HIGH_STREET].get(f"/packs/bulk/{job}").status_code == 404


def test_what_came_is_held_against_what_was_sent(city: City) -> None:
    """Each pack is in one difference, by its type; the same scan again files nothing anew."""
    made = city.made(*(f"S{number}" for number in range(6)))
    bill = {
        "party": f"{HOUSE}0000", "bill": "CK-1", "type": "201", "at": now().isoformat(), "codes": made[:4],
        "taker": f"{CORNER}0000",
    }  # fmt: skip
    assert city.at[HOUSE].post("/bills", json=bill).json()["taken"] == 4
    body = {
        "scan": str(uuid.uuid4()), "node": CORNER, "at": now().isoformat(), "sender": f"{HOUSE}0000", "bill": "CK-1",
        "codes": [*made[:3], made[5], pack("NOBODY-KNOWS-IT")],
    }  # fmt: skip
    answer = city.at[CORNER].post("/receiving", json=body)
    assert answer.status_code == 201, answer.text
    found = {one["kind"]: one for one in answer.json()["differences"]}
    assert {kind: one["quantity"] for kind, one in found.items()} == {"underage": 1, "overage": 1, "missing_data": 1}
    assert found["underage"]["request"] == "send_product" and found["underage"]["status"] == "open"
    again = city.at[CORNER].post("/receiving", json=body).json()["differences"]
    assert again == answer.json()["differences"]
    number = found["underage"]["number"]
    settled = city.at[CORNER].patch(f"/registry/differences/{number}", json={"response": "send_product"})
    assert settled.status_code == 200, settled.text
    steps = city.at[CORNER].post(f"/registry/differences/{number}/steps", json={"step": "resolve", "reason": "补发"})
    assert steps.status_code == 200 and steps.json()["status"] == "resolved"
    assert city.at[HIGH_STREET].get(f"/registry/differences/{number}").status_code == 404
    elsewhere = {**body, "scan": str(uuid.uuid4()), "node": HIGH_STREET}
    wrong = city.at[HIGH_STREET].post("/receiving", json=elsewhere).json()["differences"]
    assert {one["kind"] for one in wrong} == {"gln_error"}


def test_a_command_that_changes_nothing_is_answered_the_same_when_sent_again(city: City) -> None:
    """A locked pack that is received where it is: recorded, moved nowhere, and no answer is lost."""
    (code,) = city.made("S1")
    assert city.give(CORNER, "receive", code).status_code == 201
    assert city.give(CORNER, "lock", code).status_code == 201
    scan, at = str(uuid.uuid4()), now().isoformat()
    first = city.give(CORNER, "receive", code, scan=scan, at=at)
    again = city.give(CORNER, "receive", code, scan=scan, at=at)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["state"] == again.json()["state"] == "locked" and first.json()["entry"] == again.json()["entry"]


def test_a_date_that_is_none_is_the_askers_fault(city: City) -> None:
    (code,) = city.made("S1")
    for text in ("289999", "280631", "2028-02-30", "soon"):
        asked = city.at[CORNER].get(f"/packs/{quote(code.partition('(17)')[0], safe='')}", params={"expires": text})
        assert asked.status_code == 400, (text, asked.text)
    asked = city.at[CORNER].get(f"/packs/{quote(code.partition('(17)')[0], safe='')}", params={"expires": "280600"})
    assert asked.status_code == 200 and asked.json()["maySell"]
