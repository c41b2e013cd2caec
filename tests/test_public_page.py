"""The public page: a shopper's slip over HTTP and in real Chromium on a phone, and all that it must not tell."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.app import create_app
from api.city import load_city
from api.console.looks import BURST, Looks, counted_as
from api.ledger import Ledger, now
from ledger.entries import decode
from ledger.gs1 import check_digit
from ledger.merkle import Edge, inclusion_proof, leaf_hash
from ledger.notes import Checkpoint, Signer, sign_note
from ledger.registers import GOODS, NODE, PARTY, PRODUCT, RECALL
from ledger.story import asked_key, tell
from reports.waymap import Spot, way_map
from scanners.city import City as SimulatedCity
from scanners.city import write
from tests.conftest import VECTORS, sign
from tests.test_access import server
from tests.test_http import Server, problem_of
from tests.test_packs import City
from tests.test_registry import filed
from tests.test_scans import scan

__all__ = ["server"]

CHROMIUM = "/usr/bin/chromium"
SCRIPT = Path(__file__).parents[1] / "api" / "console" / "static" / "verify.js"
FARM, ABATTOIR, WHOLESALE, MARKET, OTHER_MARKET = "330212011", "330212012", "330212013", "330212014", "330212016"
NAMES = {
    FARM: ("farm", "绿野生猪养殖基地"), ABATTOIR: ("slaughterhouse", "城北定点屠宰厂"),
    WHOLESALE: ("wholesale_market", "江东肉类批发市场"), MARKET: ("market", "幸福里农贸市场"),
    OTHER_MARKET: ("market", "和平路菜市场"),
}  # fmt: skip
STALL, NEXT_STALL, DEALER, FAR_STALL = f"{MARKET}0001", f"{MARKET}0002", f"{WHOLESALE}0007", f"{OTHER_MARKET}0003"
PORK, PERSON = "21113011", "秘密姓名王小二"
DEAL, PRICE, QUARANTINE = "T-SECRET-77", "18.53", "330212000117"
HTML, JSON = {"Accept": "text/html"}, {"Accept": "application/json"}


@dataclass
class Street:
    """A day on which pork came to two markets from one farm, and what a shopper has of it."""

    server: Server
    admin: httpx.Client
    stranger: httpx.Client
    pigs: str = ""
    pork: str = ""
    slip: str = ""
    far_slip: str = ""

    def sell(self, node: str, party: str, lot: str) -> str:
        made = scan(self.admin, node, "retail_sale", party=party, lot=lot, quantity="0.75", price=PRICE, confirm=True)
        return str(made["trace"])

    def story(self, code: str) -> dict[str, Any]:
        answer = self.stranger.get(f"/t/{quote(code, safe='')}", headers=JSON)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json(parse_float=Decimal)
        return found


@pytest.fixture
def street(server: Server) -> Street:
    filed(server.ledger, NODE, [
        {"node": node, "name": name, "trace_scheme": "A", "kind": kind} for node, (kind, name) in NAMES.items()
    ])  # fmt: skip
    filed(server.ledger, GOODS, [
        {"goods": PORK, "name": "猪肉", "english": "pork", "kind": "meat", "unit": "KGM"},
        {"goods": "pig", "name": "生猪", "english": "pigs", "kind": "live_animal", "unit": "H87"},
    ])  # fmt: skip
    filed(server.ledger, PARTY, [
        {"party": STALL, "kinds": ["farm"], "legal_name": PERSON, "credit_code": "91350100M000100Y43"}
    ])  # fmt: skip
    found = Street(server, server.client(), server.with_key(None))
    _fill(found)
    sign(server.ledger)
    return found


def _fill(street: Street) -> None:
    """From the farm through the abattoir and a dealer to three stalls in two markets."""
    admin, deal = street.admin, [{"kind": "transaction", "number": DEAL}, {"kind": "animal", "number": QUARANTINE}]
    street.pigs = scan(admin, FARM, "origin_harvest", goods="pig", quantity="10", unit="H87")["made"]["lot"]
    pigs = {"lot": street.pigs, "quantity": "10", "unit": "H87"}
    scan(admin, FARM, "origin_out", **pigs, counterparty=f"{ABATTOIR}0000", vouchers=deal)
    scan(admin, ABATTOIR, "slaughter_intake", **pigs, counterparty=f"{FARM}0000", vouchers=deal)
    scan(admin, ABATTOIR, "quarantine", lot=street.pigs, result="1")
    made = scan(admin, ABATTOIR, "slaughter", **pigs, goods=PORK, made="800")
    street.pork = made["made"]["lot"]
    _hand_over(street, ABATTOIR, f"{ABATTOIR}0000", "carcass_out", WHOLESALE, DEALER, "wholesale_entry", "800")
    scan(admin, WHOLESALE, "wholesale_test", lot=street.pork, party=DEALER, result="12.5")
    for node, stall in ((OTHER_MARKET, FAR_STALL), (MARKET, NEXT_STALL), (MARKET, STALL)):
        _hand_over(street, WHOLESALE, DEALER, "wholesale_trade", node, stall, "retail_entry", "50")
    street.far_slip = street.sell(OTHER_MARKET, FAR_STALL, street.pork)
    street.sell(MARKET, NEXT_STALL, street.pork)
    street.slip = street.sell(MARKET, STALL, street.pork)


def _hand_over(
    street: Street, giver: str, by: str, leave: str, taker: str, to: str, enter: str, quantity: str
) -> None:  # fmt: skip
    """A delivery with its slip, as terminals do it."""
    party = {} if by.endswith("0000") else {"party": by}
    left = scan(
        street.admin, giver, leave, lot=street.pork, quantity=quantity, counterparty=to, price=PRICE, **party,
        confirm=True,
    )  # fmt: skip
    scan(street.admin, taker, enter, scanned=left["trace"], party=to, confirm=True)


def texts_of(story: dict[str, Any]) -> str:
    """All that a story says, the bytes of entries opened."""
    steps = [{**one, "bytes": base64.b64decode(one["bytes"]).decode()} for one in story.get("steps", ())]
    return json.dumps({**story, "steps": steps}, ensure_ascii=False, default=str)


# --- what is told ---------------------------------------------------------------------------------


def test_a_slip_tells_its_way_from_farm_to_stall(street: Street) -> None:
    story = street.story(street.slip)
    assert [(one["place"], one["step"]) for one in story["steps"]] == [
        (FARM, "commissioning"), (FARM, "shipping"), (ABATTOIR, "receiving"), (ABATTOIR, "inspecting"),
        (ABATTOIR, "killing"), (ABATTOIR, "shipping"), (WHOLESALE, "receiving"), (WHOLESALE, "inspecting"),
        (WHOLESALE, "shipping"), (MARKET, "receiving"), (MARKET, "retail_selling"),
    ]  # fmt: skip
    assert story["names"] == [{"code": PORK, "chinese": "猪肉", "english": "pork"}] and story["originKnown"]
    assert {one["name"] for one in story["places"]} == {NAMES[node][1] for node in (FARM, ABATTOIR, WHOLESALE, MARKET)}
    assert [(one["from"], one["to"]) for one in story["ways"]] and len(story["ways"]) == 3
    tests = [one for one in story["steps"] if one["step"] == "inspecting"]
    assert [(one["passed"], one["value"]) for one in tests] == [(True, None), (True, Decimal("12.5"))]
    papers = {(one["kind"], one["number"]) for step in story["steps"] for one in step["certificates"]}
    assert papers == {("animal", QUARANTINE)}
    page = street.stranger.get(f"/t/{street.slip}", headers=HTML)
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    for text in (
        "猪肉",
        "检验合格",
        "抑制率",
        "12.5%",
        QUARANTINE,
        "没有召回",
        *(NAMES[n][1] for n in (FARM, ABATTOIR, MARKET)),
    ):
        assert text in page.text, text


def test_the_bytes_of_each_step_are_those_of_its_entry(street: Street) -> None:
    for one in street.story(street.slip)["steps"]:
        data = base64.b64decode(one["bytes"])
        assert hashlib.sha256(data).hexdigest() == one["hash"]
        assert decode(data).name == one["entry"] and decode(data).body["event"]["bizStep"] == one["step"]


def test_nothing_is_told_of_trade_people_prices_and_where_the_rest_went(street: Street) -> None:
    page = street.stranger.get(f"/t/{street.slip}", headers=HTML).text
    for text in (page, texts_of(street.story(street.slip))):
        for secret in (PERSON, DEAL, PRICE, "91350100M000100Y43", "suyuan:price", "destinationList", "sourceList",
                       OTHER_MARKET, NAMES[OTHER_MARKET][1], NEXT_STALL, FAR_STALL, street.far_slip):  # fmt: skip
            assert secret not in text, secret
    assert DEALER not in page and STALL not in page.replace(street.slip, "")


def test_a_lot_tells_where_it_began_and_not_where_it_went(street: Street) -> None:
    story = street.story(street.pork)
    assert {one["place"] for one in story["steps"]} == {FARM, ABATTOIR}
    assert [one["step"] for one in story["steps"]][-1] == "killing"
    for node in (WHOLESALE, MARKET, OTHER_MARKET):
        assert node not in texts_of(story)


def test_two_slips_of_one_lot_tell_two_ways(street: Street) -> None:
    near, far = street.story(street.slip), street.story(street.far_slip)
    assert near["steps"][-1]["place"] == MARKET and far["steps"][-1]["place"] == OTHER_MARKET
    assert MARKET not in texts_of(far)


def test_a_lot_that_came_to_several_stalls_from_nowhere_names_none(street: Street) -> None:
    """Each stall entered it with its label: who has the label learns nothing of the stalls."""
    code, papers = "(01)06901234500103(10)L77", [{"kind": "product", "number": "123"}]
    for node, stall in ((MARKET, STALL), (OTHER_MARKET, FAR_STALL)):
        scan(street.admin, node, "retail_entry", party=stall, scanned=code, quantity="9", vouchers=papers)
    story = street.story(code)
    assert story["steps"] == [] and story["places"] == [] and not story["originKnown"]
    sold = street.story(street.sell(MARKET, STALL, "https://id.gs1.org/01/06901234500103/10/L77"))
    assert {one["place"] for one in sold["steps"]} == {MARKET} and OTHER_MARKET not in texts_of(sold)


def test_example_documents_of_others_are_told_too(server: Server) -> None:
    """Places by GLN without a node, deliveries known by their papers, a correction, a crate used twice."""
    admin, stranger = server.client(), server.with_key(None)
    for name in ("pork", "vegetables", "reused-crate", "correction"):
        document = (VECTORS / "epcis" / f"{name}.jsonld").read_bytes()
        assert admin.post("/capture", content=document, headers={"Content-Type": "application/json"}).is_success
    story = stranger.get("/t/33020300100010000042", headers=JSON).json()
    assert [one["step"] for one in story["steps"]] == [
        "receiving", "commissioning", "shipping", "receiving", "retail_selling"
    ]  # fmt: skip
    assert len(story["ways"]) == 1 and "6901234500905" not in texts_of(story)
    page = stranger.get("/t/33020300100010000042", headers=HTML)
    assert page.status_code == 200 and "330000123456" in page.text


def test_a_sale_that_was_taken_back_is_no_story(street: Street) -> None:
    sold = scan(street.admin, MARKET, "retail_sale", party=STALL, lot=street.pork, quantity="3", confirm=True)
    street.story(sold["trace"])
    reason = {"reason": "did_not_occur", "at": now().isoformat()}
    assert street.admin.post(f"/scans/{sold['scan']}/void", json=reason).status_code == 201
    problem_of(street.stranger.get(f"/t/{sold['trace']}", headers=JSON), 404, "NoSuchNameException")


def _taker(event: dict[str, Any]) -> str:
    return str(event["destinationList"][0]["destination"])


class Oracle:
    """The way to a slip by the simulated city's own events: receipts and shipments by their papers. No code shared."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.ids: set[str] = set()

    def way(self, lot: str, node: str, party: str | None, until: str) -> None:
        for event in self.events:
            at, step = event["eventTime"], event["bizStep"]
            here = event["readPoint"]["id"].endswith(node) and at <= until
            made = any(one["epcClass"] == lot for one in event.get("outputQuantityList", ()))
            moved = any(one["epcClass"] == lot for one in event.get("quantityList", ()))
            if here and (made or (moved and event["action"] == "ADD")):
                self.ids.add(event["eventID"])
                for one in event.get("inputQuantityList", ()):
                    self.way(one["epcClass"], node, None, at)
            elif here and moved and step in ("inspecting", "sensor_reporting"):
                self.ids.add(event["eventID"])
            elif here and moved and step == "receiving" and party in (None, _taker(event)):
                self.ids.add(event["eventID"])
                self.sent(lot, event["bizTransactionList"])

    def sent(self, lot: str, papers: list[dict[str, str]]) -> None:
        for event in self.events:
            if event["bizStep"] == "shipping" and event.get("bizTransactionList") == papers:
                self.ids.add(event["eventID"])
                giver = event["sourceList"][0]["source"]
                self.way(lot, event["readPoint"]["id"][-9:], None if giver.endswith("0000") else giver,
                         event["eventTime"])  # fmt: skip


def test_every_slip_of_the_simulated_city_tells_its_own_way(ledger: Ledger, tmp_path: Path) -> None:
    city = SimulatedCity(5, date(2026, 11, 23), nodes=14, events=700, plant_every=0)
    write(city, tmp_path / "city", lambda *_: None)
    load_city(ledger, tmp_path / "city", lambda *_: None)
    events = [*city.events()]
    sales = [event for event in events if event["bizStep"] == "retail_selling" and "outputQuantityList" in event]
    assert len(sales) > 200
    told = set()
    for sale in sales[::7]:
        slip, party = sale["outputQuantityList"][0]["epcClass"], sale["sourceList"][0]["source"]
        oracle = Oracle(events)
        oracle.ids.add(sale["eventID"])
        for one in sale["inputQuantityList"]:
            oracle.way(one["epcClass"], sale["readPoint"]["id"][-9:], None if party.endswith("0000") else party,
                       sale["eventTime"])  # fmt: skip
        with ledger.database.read() as connection:
            story = tell(connection, asked_key(slip), now())
        assert {one.read.entry.body["event"]["eventID"] for one in story.steps} == oracle.ids, slip
        told.add(len(story.steps))
        assert not story.cut and story.links.keys() and {one.kind for one in story.places.values()} - {None}
    assert max(told) > 8, "there are long ways among them"


# --- what is not told -----------------------------------------------------------------------------


def test_unknown_codes_and_codes_that_are_none_get_one_answer(street: Street) -> None:
    """Also the neighbours of a slip, certificates, parties, events, records: whoever knows one learns nothing."""
    near = str(int(street.slip) + 1)
    event = json.loads(base64.b64decode(street.story(street.slip)["steps"][0]["bytes"]))["body"]["event"]["eventID"]
    asked = [
        near, "33021499900010000042", f"urn:suyuan:certificate:animal:{QUARANTINE}", f"urn:suyuan:party:{STALL}",
        f"urn:suyuan:node:{MARKET}", event, "urn:suyuan:lot:21113011:33021200126112500001",
        "(01)06901234500103(10)NONE", "(01)06901234500103", "https://example.com/x",
    ]  # fmt: skip
    pages, problems = set(), set()
    for number, code in enumerate(asked):
        path = f"/t/{quote(code, safe='')}"
        problem = street.stranger.get(path, headers=JSON)
        problem_of(problem, 404, "NoSuchNameException")
        problems.add(problem.text)
        if number < 8:  # a minute's look-ups are counted
            page = street.stranger.get(path, headers=HTML)
            assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
            pages.add(page.text)
    assert len(pages) == len(problems) == 1


def test_a_mistyped_code_is_explained(street: Street) -> None:
    answer = street.stranger.get("/t/330212", headers=HTML)
    assert answer.status_code == 400 and "查无此码" in answer.text
    assert street.stranger.get("/t/%3Cscript%3Ealert(1)%3C%2Fscript%3E", headers=HTML).text.count("<script>") == 0


def test_what_shoppers_type_is_understood() -> None:
    for text in ("3302 1201 4000 1000 0042", "３３０２１２０１４０００１０００００４２", "33021201400010000042 "):
        assert asked_key(text) == "urn:suyuan:trace:33021201400010000042"
    link = "01/06901234500103/10/P1"
    for text in (link, f"https://shop.example/{link}", "(01)06901234500103(10)P1", f"/{link}"):
        assert asked_key(text) == link


# --- recalls, holds, drugs ------------------------------------------------------------------------


def recall(street: Street, number: str, **fields: Any) -> None:
    filed(street.server.ledger, RECALL, [{
        "recall": number, "grade": "1", "origin": "ordered", "nature": "real", "range": "city", "regime": "cn_food",
        "decided_at": now().isoformat(), **fields,
    }])  # fmt: skip


def test_a_recalled_lot_is_red_at_the_top(street: Street) -> None:
    recall(street, "ZH-1", lots=[street.pigs])
    recall(street, "ZH-2", lots=[street.pork], nature="exercise")
    for code in (street.slip, street.pork, street.far_slip):
        story = street.story(code)
        assert [(one["kind"], one["number"], one["active"]) for one in story["alerts"]] == [("recall", "ZH-1", True)]
    page = street.stranger.get(f"/t/{street.slip}", headers=HTML).text
    assert page.index('role="alert"') < page.index("<h1>") and "没有召回" not in page and "ZH-2" not in page
    ended = street.admin.post("/registry/recalls/ZH-1/steps", json={"step": "end", "reason": "x"})
    assert ended.is_success, ended.text
    assert [one["active"] for one in street.story(street.slip)["alerts"]] == [False]
    assert "曾被召回" in street.stranger.get(f"/t/{street.slip}", headers=HTML).text


def test_a_lot_that_is_recalled_and_that_nobody_recorded_is_red_too(street: Street) -> None:
    recall(street, "ZH-3", lots=["https://id.gs1.org/01/06901234500103/10/ELSEWHERE"])
    story = street.story("(01)06901234500103(10)ELSEWHERE")
    assert [one["number"] for one in story["alerts"]] == ["ZH-3"] and story["steps"] == []
    page = street.stranger.get("/t/01/06901234500103/10/ELSEWHERE", headers=HTML)
    assert page.status_code == 200 and 'role="alert"' in page.text


def test_what_is_held_is_red_too_where_it_is(street: Street) -> None:
    held = {"hold": f"{OTHER_MARKET}-1", "scope": "lot", "target": street.pork}
    assert street.admin.post("/registry/holds", json=held).status_code == 201
    assert [one["number"] for one in street.story(street.far_slip)["alerts"]] == [f"{OTHER_MARKET}-1"]
    assert street.story(street.slip)["alerts"] == [], "the other market's hold is its own"
    everywhere = {"hold": "000000000-2", "scope": "goods", "target": PORK}
    assert street.admin.post("/registry/holds", json=everywhere).status_code == 201
    assert [(one["kind"], one["number"]) for one in street.story(street.slip)["alerts"]] == [("hold", "000000000-2")]


def test_of_a_drug_only_sales_are_told(server: Server) -> None:
    city, stranger = City(server), server.with_key(None)
    sold, kept = city.made("S1", "S2")
    assert city.give("330212023", "supply", sold).status_code == 201
    path = "/t/01/06901234500301/21/S1"
    story = stranger.get(path, headers=JSON).json()
    assert story["sales"] == 1 and len(story["times"]) == 1 and "steps" not in story
    assert story == {**story, **{name: stranger.get(f"/public/packs/{quote(sold, safe='')}").json()[name]
                                 for name in ("sales", "times")}}  # fmt: skip
    unsold = stranger.get("/t/01/06901234500301/21/S2", headers=JSON).json()
    unknown = stranger.get("/t/01/06901234500301/21/NONE", headers=JSON).json()
    assert {**unsold, "code": ""} == {**unknown, "code": ""}, "an unsold pack and one that nobody made: the same"
    page = stranger.get(path, headers=HTML).text
    assert "销售一次" in page and "330212" not in page and "阿莫西林胶囊" in page
    batch = stranger.get("/t/01/06901234500301/10/B2026", headers=JSON).json()
    assert batch["sales"] == 0 and "steps" not in batch
    filed(server.ledger, RECALL, [{
        "recall": "ZH-9", "product": "8123456", "batches": ["B2026"], "grade": "1", "origin": "ordered",
        "nature": "real", "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    }])  # fmt: skip
    assert [one["number"] for one in stranger.get(path, headers=JSON).json()["alerts"]] == ["ZH-9"]
    assert kept


# --- GS1 Digital Link -----------------------------------------------------------------------------


def test_digital_links_lead_to_the_page(street: Street) -> None:
    lot = "01/06901234500103/10/L%2F1"
    for path in (lot, "01/06901234500103", "01/06901234500103/21/S1", "00/069012345000000017"):
        number = path.replace("069012345000000017", "06901234500000001" + check_digit("06901234500000001"))
        answer = street.stranger.get(f"/{number}")
        assert answer.status_code == 307 and answer.headers["location"] == f"/t/{number}", answer.text
    both = street.stranger.get("/01/06901234500103/10/L1/21/S1")
    assert both.headers["location"] == "/t/01/06901234500103/21/S1", "the serial names it"
    recalls = street.stranger.get(f"/{lot}?linkType=gs1:recallStatus")
    assert recalls.headers["location"].endswith("#alerts")
    for wrong in ("01/06901234500104/10/L1", "00/069012345000000010", "01/0690", "01/06901234500103/99/x"):
        problem_of(street.stranger.get(f"/{wrong}", headers=JSON), 404, "NoSuchNameException")
    problem_of(street.stranger.get(f"/{lot}?linkType=gs1:epil"), 404, "NoSuchNameException")
    assert street.stranger.get("/01/06901234500104/10/L1", headers=HTML).headers["content-type"].startswith("text/html")


def test_all_links_are_a_linkset(street: Street) -> None:
    scan(street.admin, MARKET, "opening_stock", party=STALL, scanned="(01)06901234500103(10)L1", quantity="3")
    path = "/01/06901234500103/10/L1"
    answer = street.stranger.get(path, params={"linkType": "all"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/linkset+json"
    (one,) = answer.json()["linkset"]
    assert one["anchor"] == f"{street.server.url}{path}"
    for kind in ("pip", "traceability", "recallStatus", "defaultLink"):
        for link in one[f"https://gs1.org/voc/{kind}"]:
            assert street.stranger.get(link["href"], headers={"Accept": link["type"]}).status_code == 200
    problem_of(street.stranger.get(path + "x", params={"linkType": "linkset"}), 404, "NoSuchNameException")


# --- how often ------------------------------------------------------------------------------------


def test_one_address_may_not_try_many_codes(street: Street) -> None:
    answers = [street.stranger.get(f"/t/3302149990001{n:07d}", headers=JSON) for n in range(BURST + 5)]
    assert {one.status_code for one in answers} == {404, 429}
    late = problem_of(answers[-1], 429, "ImplementationException")
    assert late["title"] == "Too often" and int(answers[-1].headers["retry-after"]) >= 1
    page = street.stranger.get(f"/t/{street.slip}", headers=HTML)
    assert page.status_code == 429 and "查询太频繁" in page.text and page.headers["retry-after"]
    assert street.stranger.get("/01/06901234500103/10/L1?linkType=all").status_code == 429
    assert street.stranger.get("/checkpoint").status_code == 200, "only looking up codes is counted"


def test_buckets_fill_again_and_stay_few() -> None:
    looks = Looks(per_minute=60, burst=3, addresses_max=10)
    assert [looks.wait_s("192.0.2.1", 0) for _ in range(4)] == [0, 0, 0, 1.0]
    assert looks.wait_s("192.0.2.2", 0) == 0 and looks.wait_s("192.0.2.1", 1.5) == 0
    assert looks.wait_s("192.0.2.1", 1.6) == pytest.approx(0.4)
    for n in range(100):
        looks.wait_s(f"198.51.100.{n}", 2)
    assert len(looks) == 10
    assert counted_as("2001:db8::1") == counted_as("2001:db8::ffff:1") != counted_as("2001:db8:0:1::1")
    assert counted_as(None) == counted_as("x") == ""


def test_what_a_stranger_writes_into_a_header_counts_for_nothing(street: Street) -> None:
    """Asked of the application itself: uvicorn believes a proxy on its own machine, and only that."""
    import anyio  # noqa: PLC0415 - comes with httpx

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(create_app(street.server.ledger), client=("203.0.113.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return [
                (await client.get("/t/33021499900010000042", headers={"X-Forwarded-For": f"192.0.2.{n}"})).status_code
                for n in range(BURST + 3)
            ]

    assert 429 in anyio.run(ask)


# --- the picture ----------------------------------------------------------------------------------


def test_the_picture_is_escaped_and_stays_within_its_width() -> None:
    bad = '<script>alert(1)</script>"&'
    spots = [Spot(f"s{n}", "农", bad, bad * 3, last=n == 6) for n in range(7)]
    links = {(f"s{n}", "s6"): bad for n in range(6)} | {("s6", "s0"): "back"}
    drawn = way_map(spots, links, bad)
    assert "<script" not in drawn and drawn.count("<rect") == 7 and "…" in drawn and " style=" not in drawn
    assert way_map([], {}, "x") == ""


# --- the script that verifies ---------------------------------------------------------------------

CASES = """
async (verify, vector) => {
  const results = {};
  const bytes = verify.fromBase64(vector.entry);
  const flipped = (data, at) => { const copy = data.slice(); copy[at] ^= 1; return copy; };
  const b64 = (text, at) => verify.toBase64(flipped(verify.fromBase64(text), at));
  const attempt = async (name, run) => {
    try { await run(); results[name] = "ok"; }
    catch (error) { results[name] = error instanceof verify.Disagreement ? error.step : `${error}`; }
  };
  const open = async (note, ...lines) => verify.openCheckpoint(note, await Promise.all(lines.map(verify.parseKey)));
  const checkpoint = await open(vector.note, vector.key);
  results.signed = checkpoint.signed;
  const proof = (more) => verify.checkProof(bytes, { ...vector.proof, ...more }, checkpoint);
  await attempt("bytes", () => verify.checkBytes(bytes, vector.hash));
  await attempt("bytes tampered", () => verify.checkBytes(flipped(bytes, 40), vector.hash));
  await attempt("says", () => verify.checkSays(bytes, vector.shown));
  for (const [name, value] of Object.entries(vector.lies)) {
    await attempt(`says another ${name}`, () => verify.checkSays(bytes, { ...vector.shown, [name]: value }));
  }
  await attempt("proof", () => proof({}));
  await attempt("proof of other bytes", () => verify.checkProof(flipped(bytes, 3), vector.proof, checkpoint));
  await attempt("proof tampered", () => proof({ path: [b64(vector.proof.path[0], 5), ...vector.proof.path.slice(1)] }));
  await attempt("proof too short", () => proof({ path: vector.proof.path.slice(1) }));
  await attempt("proof too long", () => proof({ path: [...vector.proof.path, vector.proof.path[0]] }));
  await attempt("proof at another place", () => proof({ index: vector.proof.index ^ 1 }));
  await attempt("proof beyond the tree", () => proof({ index: vector.proof.size }));
  await attempt("proof of another size", () => proof({ size: vector.proof.size - 1 }));
  await attempt("proof no base64", () => proof({ path: ["*", ...vector.proof.path.slice(1)] }));
  await attempt("note", () => open(vector.note, vector.key));
  await attempt("note with another size", () => open(vector.note.replace(/\\n13\\n/, "\\n12\\n"), vector.key));
  await attempt("note with a changed signature", () => {
    const [head, line] = vector.note.split("\\n\\n");
    const words = line.trim().split(" ");
    return open(`${head}\\n\\n${words[0]} ${words[1]} ${b64(words[2], 20)}\\n`, vector.key);
  });
  await attempt("note of another key", () => open(vector.note, vector.other));
  await attempt("note of a key of the same name", () => open(vector.note, vector.impostor));
  await attempt("note of a witness only", () => open(vector.witnessed, vector.witness));
  await attempt("note with a witness", () => open(vector.both, vector.key));
  await attempt("note without signature", () => open(vector.note.split("\\n\\n")[0] + "\\n\\n", vector.key));
  await attempt("key with another id", () => verify.parseKey(vector.key.replace(/\\+[0-9a-f]{8}\\+/, "+00000000+")));
  await attempt("key with other bytes", () => {
    const at = vector.key.indexOf("+", vector.key.indexOf("+") + 1) + 1;
    return verify.parseKey(vector.key.slice(0, at) + b64(vector.key.slice(at), 9));
  });
  await attempt("no key", () => verify.parseKey("x"));
  for (const one of vector.trees) {
    const leaf = await verify.leafHash(verify.fromBase64(one.data));
    const root = await verify.rootFrom(one.index, one.size, leaf, one.path.map(verify.fromBase64));
    if (verify.toBase64(root) !== one.root) results[`tree ${one.size}/${one.index}`] = "another root";
  }
  return results;
}
"""


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _tree(size: int) -> tuple[list[bytes], bytes, Callable[[int], list[bytes]]]:
    """A tree's leaf data, its root, and its proofs, by the ledger's own code."""
    data = [hashlib.sha256(b"%d" % n).digest() for n in range(size)]
    edge = Edge()
    edge.append(leaf_hash(one) for one in data)
    hashes = b"".join(leaf_hash(one) for one in data)
    return data, edge.root(), lambda index: inclusion_proof(index, size, lambda _, __: hashes)


@pytest.fixture
def vector() -> dict[str, Any]:
    """An entry, its proof in a log of 13, the signed checkpoint, keys, and lies about it."""
    event = {"eventID": "x", "eventTime": "2026-11-23T01:10:00.000+08:00", "bizStep": "inspecting",
             "disposition": "conformant"}  # fmt: skip
    entry = json.dumps({"v": 1, "node": MARKET, "seq": 5, "body": {"event": event}, "note": "检"}).encode()
    data, _, _ = _tree(13)
    data[6] = hashlib.sha256(entry).digest()
    edge = Edge()
    edge.append(leaf_hash(one) for one in data)
    hashes = b"".join(leaf_hash(one) for one in data)
    path = inclusion_proof(6, 13, lambda _, __: hashes)
    own, other, impostor, witness = (
        Signer(name, Ed25519PrivateKey.generate()) for name in ("a.example/log", "b.example/log", "a.example/log", "w")
    )
    text = Checkpoint(own.name, 13, edge.root()).text
    note, witnessed = sign_note(text, own), sign_note(text, witness)
    trees = []
    for size in (1, 2, 3, 7, 8, 21):
        leaves, root, proof = _tree(size)
        trees += [
            {"size": size, "index": i, "data": _b64(leaves[i]), "root": _b64(root), "path": [*map(_b64, proof(i))]}
            for i in range(size)
        ]
    return {
        "entry": _b64(entry), "hash": hashlib.sha256(entry).hexdigest(), "note": note, "witnessed": witnessed,
        "both": note + witnessed.split("\n\n")[1], "key": str(own.verifier), "other": str(other.verifier),
        "impostor": str(impostor.verifier), "witness": str(witness.verifier), "trees": trees,
        "proof": {"index": 6, "size": 13, "path": [*map(_b64, path)]},
        "shown": {"entry": f"{MARKET}/5", "at": "2026-11-22T17:10:00.000000Z", "step": "inspecting", "passed": "True"},
        "lies": {"entry": f"{MARKET}/6", "at": "2026-11-22T18:10:00.000000Z", "step": "killing", "passed": "False"},
    }  # fmt: skip


def must_be(results: dict[str, Any]) -> None:
    wanted = {
        "signed": True, "bytes": "ok", "bytes tampered": "bytes", "says": "ok", "proof": "ok", "note": "ok",
        "note with a witness": "ok", **{f"says another {name}": "says" for name in ("entry", "at", "step", "passed")},
    } | {name: name.split()[0] for name in (
        "proof of other bytes", "proof tampered", "proof too short", "proof too long", "proof at another place",
        "proof beyond the tree", "proof of another size", "proof no base64", "note with another size",
        "note with a changed signature", "note of another key", "note of a key of the same name",
        "note of a witness only", "note without signature", "key with another id", "key with other bytes",
    )} | {"no key": "key"}  # fmt: skip
    assert results == wanted


def test_the_script_agrees_and_finds_each_tampering_in_node(vector: dict[str, Any], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here; the same cases run in Chromium")
    (tmp_path / "verify.mjs").write_text(SCRIPT.read_text())
    (tmp_path / "run.mjs").write_text(
        f"import * as verify from './verify.mjs';\nconst vector = {json.dumps(vector)};\n"
        f"console.log(JSON.stringify(await ({CASES})(verify, vector)));\n"
    )
    done = subprocess.run([node, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    must_be(json.loads(done.stdout))


# --- in the browser -------------------------------------------------------------------------------


@dataclass
class Browser:
    """Chromium, and what its pages complained of or asked of others."""

    open: Callable[[int], Any]
    complaints: list[str]


@pytest.fixture
def browser(server: Server) -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs {CHROMIUM} for the journeys")
        pytest.skip(f"{CHROMIUM} is not here")
    complaints: list[str] = []
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(width: int) -> Any:
            context = running.new_context(viewport={"width": width, "height": 800}, locale="zh-CN")
            found = context.new_page()
            found.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
            found.on("pageerror", lambda error: complaints.append(str(error)))
            found.on("dialog", lambda one: (complaints.append(one.message), one.dismiss()))
            found.on("request", lambda one: None if one.url.startswith(server.url) or one.url.startswith("data:")
                     else complaints.append(one.url))  # fmt: skip
            return found

        yield Browser(opened, complaints)
        running.close()


def accessible(page: Any) -> None:
    """What axe finds: nothing. Its script is put into a world of its own, past the policy of the page."""
    import axe_playwright_python  # noqa: PLC0415 - only where there is a browser

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    session = page.context.new_cdp_session(page)
    frame = session.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
    world = session.send("Page.createIsolatedWorld", {"frameId": frame})["executionContextId"]
    session.send("Runtime.evaluate", {"expression": axe, "contextId": world})
    found = session.send("Runtime.evaluate", {
        "expression": "axe.run().then((found) => JSON.stringify(found.violations))", "contextId": world,
        "awaitPromise": True, "returnByValue": True,
    })  # fmt: skip
    broken = json.loads(found["result"]["value"])
    assert broken == [], [(one["id"], [node["html"] for node in one["nodes"]]) for one in broken]


def fits(page: Any) -> bool:
    """Nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def shoot(page: Any, name: str) -> None:
    """A picture for whoever wants to look: where SUYUAN_SHOTS names a folder."""
    if folder := os.environ.get("SUYUAN_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("width", [360, 1440])
def test_a_shopper_looks_up_a_slip_and_checks_it(street: Street, browser: Browser, width: int) -> None:
    page = browser.open(width)
    page.goto(street.server.url)
    page.get_by_label("追溯码").fill(f"{street.slip[:4]} {street.slip[4:]}")
    page.keyboard.press("Enter")
    page.wait_for_url("**/t/**")
    assert "猪肉" in page.inner_text("h1") and page.locator("li[data-entry]").count() == 11
    assert page.locator("svg.way rect").count() == 4 and fits(page)
    page.click("#check")
    page.wait_for_selector('[data-verdict="yes"]:visible')
    checks = page.locator("#checks li").all_inner_texts()
    assert len(checks) == 5 and all(one.startswith("✓ 通过") for one in checks), checks
    assert page.locator(".verified.yes").count() == 11 and fits(page)
    accessible(page)
    shoot(page, f"slip-{width}")
    assert browser.complaints == []


@pytest.mark.parametrize("width", [360, 1440])
def test_a_recalled_lot_is_seen_at_once(street: Street, browser: Browser, width: int) -> None:
    recall(street, "ZH-1", lots=[street.pork])
    page = browser.open(width)
    page.goto(f"{street.server.url}/t/{street.slip}")
    box = page.locator('[role="alert"]').bounding_box()
    assert box["y"] < 200 and "请勿食用" in page.inner_text('[role="alert"]') and fits(page)
    assert page.locator('[role="alert"]').evaluate("(e) => getComputedStyle(e).backgroundColor") == "rgb(176, 0, 32)"
    accessible(page)
    shoot(page, f"recall-{width}")
    assert browser.complaints == []


def test_pages_of_drugs_errors_and_open_ends_are_accessible(street: Street, browser: Browser) -> None:
    filed(street.server.ledger, PRODUCT, [{"product": "8123456", "name": "阿莫西林胶囊", "kind": "drug"}])
    page = browser.open(360)
    for name, code in (("drug", "81234560000000010001"), ("unknown", "33021499900010000042"), ("lot", street.pork)):
        page.goto(f"{street.server.url}/t/{quote(code, safe='')}")
        accessible(page)
        assert fits(page)
        shoot(page, name)
    assert [one for one in browser.complaints if "404" not in one] == []


def test_what_was_tampered_with_is_said_in_words(street: Street, browser: Browser) -> None:
    """A server, or whoever sits between, that changes the bytes, a proof, the checkpoint, or what the page says."""
    page = browser.open(360)
    path = f"{street.server.url}/t/{street.slip}"

    def changed(pattern: str, change: Callable[[str], str]) -> None:
        page.route(pattern, lambda route: _changed(route, change))

    def flip(text: str) -> str:
        story = json.loads(text)
        data = bytearray(base64.b64decode(story["steps"][2]["bytes"]))
        data[-40] ^= 1
        story["steps"][2]["bytes"] = _b64(bytes(data))
        return json.dumps(story)

    def lie(text: str) -> str:
        return text.replace('data-passed="True"', 'data-passed="False"', 1)

    lies: list[tuple[str, Callable[[str], str], set[str]]] = [
        ("**/t/*", lambda text: flip(text) if text.startswith("{") else text, {"bytes", "proof"}),
        ("**/t/*", lambda text: text if text.startswith("{") else lie(text), {"says"}),
        ("**/proof/inclusion*", lambda text: text.replace('"index":', '"index":1'), {"proof"}),
        ("**/checkpoint", lambda text: text.replace("\n", "\n1", 1), {"note"}),
        ("**/key", lambda text: text.replace("+", "+0", 1), {"key"}),
    ]
    for pattern, change, failing in lies:
        changed(pattern, change)
        page.goto(path)
        page.click("#check")
        page.wait_for_selector('[data-verdict="no"]:visible')
        wrong = page.locator("#checks li.no").evaluate_all("(all) => all.map((one) => one.dataset.check)")
        assert set(wrong) == failing, (pattern, wrong)
        assert page.locator("#checks li").last.bounding_box()["x"] >= 0, "what was not checked is seen too"
        page.unroute(pattern)
    shoot(page, "tampered")


def _changed(route: Any, change: Callable[[str], str]) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, body=change(answer.text()))


def test_the_script_finds_each_tampering_in_the_browser(
    street: Street, browser: Browser, vector: dict[str, Any]
) -> None:  # fmt: skip
    page = browser.open(360)
    page.goto(street.server.url)
    run = f"async (vector) => ({CASES})(await import('/static/verify.js'), vector)"
    must_be(page.evaluate(run, vector))


def test_a_browser_without_ed25519_says_so(street: Street, browser: Browser) -> None:
    page = browser.open(360)
    page.add_init_script(
        "const real = crypto.subtle.importKey.bind(crypto.subtle);"
        "crypto.subtle.importKey = (format, key, name, ...rest) =>"
        "  name === 'Ed25519' ? Promise.reject(new Error()) : real(format, key, name, ...rest);"
    )
    page.goto(f"{street.server.url}/t/{street.slip}")
    page.click("#check")
    page.wait_for_selector('[data-verdict="part"]:visible')
    assert page.locator('[data-reason="ed25519"]').is_visible()
    assert page.locator('#checks [data-check="note"]').inner_text().startswith("– 未核验")
    assert page.locator('#checks [data-check="proof"]').inner_text().startswith("✓")


def test_names_and_codes_that_would_be_scripts_are_inert(server: Server, browser: Browser) -> None:
    bad = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    filed(server.ledger, NODE, [{"node": MARKET, "name": bad, "trace_scheme": "A", "kind": "market"}])
    filed(server.ledger, GOODS, [{"goods": PORK, "name": bad[:90], "kind": "meat", "unit": "KGM"}])
    admin = server.client()
    papers = [{"kind": "product", "number": "1"}]
    scan(admin, MARKET, "retail_entry", party=STALL, goods=PORK, quantity="9", vouchers=papers)
    sold = scan(admin, MARKET, "retail_sale", party=STALL, goods=PORK, quantity="1")
    page = browser.open(360)
    lot = quote(f"https://id.gs1.org/01/06901234500103/10/{quote('<b>x', safe='')}", safe="")
    for code in (sold["trace"], quote(bad, safe=""), lot):
        page.goto(f"{server.url}/t/{code}")
        assert page.locator("main img, main script").count() == 0
        page.wait_for_timeout(100)
    assert [one for one in browser.complaints if "404" not in one and "400" not in one] == []


def test_the_ids_of_scans_are_not_told(street: Street) -> None:
    """A page holds no id by which a scan could be taken back."""
    page = street.stranger.get(f"/t/{street.slip}", headers=HTML).text
    for one in street.story(street.slip)["steps"]:
        name = json.loads(base64.b64decode(one["bytes"]))["body"]["event"]["eventID"].removeprefix("urn:uuid:")
        assert str(uuid.UUID(name)) not in page
