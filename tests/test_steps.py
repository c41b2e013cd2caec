"""The table of steps, and each step over HTTP: where it is taken, what it needs, what it is in EPCIS, what it moves.

`TABLE` is written by hand from EPCIS 2.0, CBV 2.0 and the records of MOFCOM, not from `ledger/steps.py`: were a row of
the product changed by mistake, the two would disagree. Then the steps in their chains, leases of
codes, and random days of several stalls against a model of a few lines.
"""

import itertools
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.ledger import now
from ledger.access import Role
from ledger.codes import PartyCode
from ledger.registers import NODE
from ledger.registers.places import NodeKind
from ledger.registers.supervision import VoucherKind
from ledger.registry import change_request
from ledger.serials import of_day
from ledger.steps import BY_NAME, STEPS, Amount, How, Scan, Voucher, event_of, missing, passed
from ledger.vocabulary import BUSINESS_STEPS, DISPOSITIONS
from tests.conftest import look, sign
from tests.test_access import server
from tests.test_http import Server, problem_of
from tests.test_registry import filed
from tests.test_scans import body_of, left, scan
from tests.test_scans import event_of as recorded

__all__ = ["server", "town"]

PORK, CUT, GTIN = "21113011", "2111301", "06901234567892"
PLACES = {kind: f"3302120{number}" for number, kind in enumerate(NodeKind, 41)}
STRICT, DAILY, ELSEWHERE = "330212061", "330212062", "330212063"
MARKET, WHOLESALE, SUPERMARKET = (
    PLACES[NodeKind.MARKET],
    PLACES[NodeKind.WHOLESALE_MARKET],
    PLACES[NodeKind.SUPERMARKET],
)
STALL, OTHER_STALL = f"{MARKET}0001", f"{MARKET}0002"
PRICE, DEAL = "18.371946", "DEAL-93415"
"""Marks that stand nowhere else: they are sealed, and shown to nobody else."""
PAPERS = frozenset({"product", "inspection", "origin", "test", "promise", "purchase", "transaction"})


@pytest.fixture
def town(server: Server) -> httpx.Client:
    """An administrator's client, and a node of each kind; `STRICT` is a market that refuses to take more than is left,
    `DAILY` one that numbers its slips by the day, `ELSEWHERE` one that has nothing to do with the others."""
    market = {"name": "市场", "kind": "market", "trace_scheme": "A"}
    filed(server.ledger, NODE, [
        *({**market, "node": node, "kind": str(kind)} for kind, node in PLACES.items()),
        {**market, "node": STRICT, "stock_limit": "refuse"}, {**market, "node": DAILY, "trace_scheme": "B"},
        {**market, "node": ELSEWHERE},
    ])  # fmt: skip
    return server.client()


def lot_at(client: httpx.Client, node: str, quantity: str = "10", party: str | None = None, **fields: Any) -> str:
    """A lot that is there before the ledger: pork, if nothing else is said."""
    stall = {"party": party} if party else {}
    given = {"goods": PORK, "quantity": quantity, "confirm": True, **stall, **fields}
    lot: str = scan(client, node, "opening_stock", **given)["made"]["lot"]
    return lot


def wrong_of(answer: httpx.Response) -> set[str]:
    """The fields that a refused scan names."""
    return {error["path"] for error in problem_of(answer, 400, "ValidationException")["errors"]}


def warned(answer: Mapping[str, Any]) -> list[str]:
    return [one["code"] for one in answer["warnings"]]


# --- The table, by itself -------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What a step should be, by hand. `moves` is what 4 kg of a lot do at the place where the step is taken."""

    at: str
    form: str
    business_step: str
    disposition: str
    needs: str
    moves: int
    papers: frozenset[str] = frozenset()


_IN, _OUT, _MADE, _SOLD = "ObjectEvent OBSERVE", "ObjectEvent OBSERVE", "TransformationEvent", "TransformationEvent"
_NEW, _GONE = "ObjectEvent ADD", "ObjectEvent DELETE"
TABLE = {
    "slaughter_intake": Row("slaughterhouse", _IN, "receiving", "in_progress", "quantity", 4, frozenset({"animal"})),
    "quarantine": Row("slaughterhouse", "ObjectEvent OBSERVE", "inspecting", "conformant", "result", 0),
    "slaughter": Row("slaughterhouse", _MADE, "killing", "active", "goods made quantity", -4),
    "carcass_out": Row("slaughterhouse", _OUT, "shipping", "in_transit", "counterparty quantity", -4),
    "wholesale_entry": Row(
        "distribution_centre wholesale_market", _IN, "receiving", "in_progress", "quantity", 4, PAPERS
    ),
    "wholesale_test": Row("wholesale_market", "ObjectEvent OBSERVE", "inspecting", "conformant", "result", 0),
    "wholesale_trade": Row(
        "distribution_centre wholesale_market", _OUT, "shipping", "in_transit", "counterparty quantity", -4
    ),
    "retail_entry": Row("market", _IN, "receiving", "in_progress", "party quantity", 4, PAPERS),
    "retail_sale": Row("market", _SOLD, "retail_selling", "retail_sold", "party quantity", -4),
    "supermarket_entry": Row("supermarket", _IN, "receiving", "in_progress", "quantity", 4, PAPERS),
    "supermarket_packing": Row("supermarket", _MADE, "commissioning", "active", "goods made quantity", -4),
    "supermarket_sale": Row("supermarket", _SOLD, "retail_selling", "retail_sold", "quantity", -4),
    "canteen_entry": Row("canteen hospital", _IN, "receiving", "in_progress", "quantity", 4, PAPERS),
    "canteen_use": Row("canteen hospital", _GONE, "removing", "inactive", "quantity", -4),
    "origin_harvest": Row("farm", _NEW, "commissioning", "active", "goods quantity", 4),
    "origin_out": Row("farm", _OUT, "shipping", "in_transit", "counterparty quantity", -4),
    "uncoded_drug": Row("hospital pharmacy", _NEW, "stock_taking", "in_progress", "goods quantity", 4),
    "uncoded_drug_sale": Row("hospital pharmacy", _SOLD, "retail_selling", "retail_sold", "quantity", -4),
    "loss": Row("*", _GONE, "removing", "inactive", "quantity", -4),
    "destruction": Row("*", _GONE, "destroying", "destroyed", "quantity", -4),
    "return_in": Row("*", _IN, "receiving", "returned", "quantity", 4),
    "return_out": Row("*", _OUT, "shipping", "returned", "counterparty quantity", -4),
    "opening_stock": Row("*", _NEW, "stock_taking", "in_progress", "goods quantity", 4),
    "stock_take": Row("*", _GONE, "stock_taking", "in_progress", "quantity", -4),
}
EACH = pytest.mark.parametrize("step", TABLE)


def kinds_of(step: str) -> set[str]:
    return set(NodeKind) if TABLE[step].at == "*" else set(TABLE[step].at.split())


def test_the_table_is_the_one_written_by_hand() -> None:
    """A step that is missing, renamed, taken elsewhere or that needs less would be recorded nowhere, or anyhow."""
    assert [step.name for step in STEPS] == list(TABLE) and len(TABLE) == 24
    for step in STEPS:
        row = TABLE[step.name]
        assert (set(step.at) if step.at is not None else set(NodeKind)) == kinds_of(step.name), step.name
        assert (step.business_step, step.disposition) == (row.business_step, row.disposition), step.name
        assert step.needs == set(row.needs.split()), step.name
        assert step.vouchers == ((row.papers,) if row.papers else ()), step.name


def test_every_word_is_cbvs_and_every_step_has_one_name_in_each_language() -> None:
    """A word of our own in place of a standard one would be read by nobody else; a name twice would be another step."""
    for step in STEPS:
        assert step.business_step in BUSINESS_STEPS.words and step.disposition in DISPOSITIONS.words, step.name
        assert BY_NAME[step.name] is BY_NAME[step.chinese] is step
    assert len(BY_NAME) == 2 * len(STEPS)
    records = [step.record for step in STEPS if step.record]
    assert len(records) == len(set(records)), "two steps would fill one official record"


def test_each_step_that_is_anybodys_needs_no_paper_and_no_kind_of_place() -> None:
    assert {step.name for step in STEPS if step.at is None} == {name for name, row in TABLE.items() if row.at == "*"}
    assert not [step.name for step in STEPS if step.at is None and step.vouchers]


def a_scan(step: str, **fields: Any) -> Scan:
    at = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
    party = PartyCode(fields.pop("party", STALL))
    return Scan(str(uuid.UUID(int=1)), BY_NAME[step], int(MARKET), party, at, **fields)


@pytest.mark.parametrize("kind", [None, *NodeKind])
def test_a_node_of_no_kind_takes_only_what_is_taken_anywhere(kind: NodeKind | None) -> None:
    """`missing` by itself, for every step: a node that was filed without its kind must not pass for any."""
    for step in STEPS:
        refused = "step" in {one.path for one in missing(a_scan(step.name), kind, known_lot=True, told=False)}
        assert refused == (kind not in kinds_of(step.name) and TABLE[step.name].at != "*"), step.name


def test_what_is_missing_is_named_all_at_once_and_nothing_else_is() -> None:
    """One breach at a time would send a person back and forth; one too many would send them looking for nothing."""
    everything = {
        "quantity": Decimal(1), "goods": PORK, "made": Decimal(1), "result": "1", "counterparty": PartyCode(STALL),
    }  # fmt: skip
    for step in STEPS:
        kind = next(iter(step.at)) if step.at else None
        found = [one.path for one in missing(a_scan(step.name), kind, known_lot=True, told=False)]
        assert sorted(found) == sorted(step.needs - {"party"}), step.name
        assert not [*missing(a_scan(step.name, **everything), kind, known_lot=True, told=False)], step.name
    owner = a_scan("retail_sale", party=f"{MARKET}0000", **everything)
    assert [one.path for one in missing(owner, "market", known_lot=True, told=False)] == ["party"]


@pytest.mark.parametrize("field", ["quantity", "made"])
@pytest.mark.parametrize("value", ["0", "-0", "-0.000001"])
def test_nothing_and_less_than_nothing_is_no_amount_except_of_what_was_counted(field: str, value: str) -> None:
    """A negative loss would make goods."""
    for step in STEPS:
        everything = {"quantity": Decimal(1), "goods": PORK, "made": Decimal(1), "result": "1"}
        given = a_scan(step.name, **{**everything, field: Decimal(value)}, counterparty=PartyCode(STALL))
        kind = next(iter(step.at)) if step.at else None
        found = [one.path for one in missing(given, kind, known_lot=True, told=False)]
        assert found == ([] if step.name == "stock_take" and field == "quantity" else [field]), step.name


@pytest.mark.parametrize(
    ("result", "good"),
    [("0.0", True), ("12.5", True), ("49.9", True), ("49.999999", True), ("1", True), ("passed", True), ("合格", True),
     ("50", False), ("50.0", False), ("50.000001", False), ("53.15", False), ("100", False), ("0", False),
     ("failed", False), ("不合格", False), ("", False), ("PASSED", False), ("NaN", False)],
)  # fmt: skip
def test_half_inhibited_fails_to_the_last_digit(result: str, good: bool) -> None:
    """GB/T 5009.199-2003: 50 % is a failure. `missing` lets no other text come as far as this."""
    assert passed(result) is good


def test_a_certificate_stands_in_the_open_and_a_deal_does_not() -> None:
    """The paper of a goods' origin is for everybody; under which deal it was bought is between the two."""
    papers = [Voucher(kind, f"N{kind}") for kind in VoucherKind]
    event = event_of(a_scan("retail_entry", vouchers=papers), [Amount("urn:suyuan:lot:21113011:1", None, None)], None)
    told = {one.removeprefix("urn:suyuan:certificate:") for one in event["certificationInfo"]}
    assert told == {f"{kind}:N{kind}" for kind in VoucherKind if kind != "transaction"}
    assert event["bizTransactionList"] == [{"type": "desadv", "bizTransaction": "urn:suyuan:voucher:Ntransaction"}]


# --- Each step over HTTP --------------------------------------------------------------------------


def taken(client: httpx.Client, step: str, node: str, party: str | None) -> tuple[str | None, dict[str, Any]]:
    """The lot that a step at a place is about, and all that the scan needs: 4 kg, where 10 are."""
    fields: dict[str, Any] = {"quantity": "4", "price": PRICE, "vouchers": [{"kind": "transaction", "number": DEAL}]}
    needs, row = TABLE[step].needs.split(), TABLE[step]
    if step in ("origin_harvest", "uncoded_drug", "opening_stock"):
        return None, {**fields, "goods": PORK}
    fields["lot"] = lot_at(client, ELSEWHERE if row.moves > 0 else node, party=None if row.moves > 0 else party)
    if step == "stock_take":
        fields["quantity"] = "6"
    if row.moves == 0:
        fields["result"] = "合格"
    if row.moves > 0 or "counterparty" in needs:
        fields["counterparty"] = f"{ELSEWHERE}0000"
    if "made" in needs:
        fields |= {"goods": CUT, "made": "3"}
    return fields["lot"], fields


def expected_lists(step: str, lot: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The lists of quantities and papers that the event should have."""
    row, four = TABLE[step], {"epcClass": lot, "quantity": Decimal(4), "uom": "KGM"}
    slip = f"urn:suyuan:trace:{answer['trace']}"
    if row.form == "TransformationEvent" and "made" in row.needs:
        made = {"epcClass": answer["made"]["lot"], "quantity": Decimal(3), "uom": "KGM"}
        return {"inputQuantityList": [four], "outputQuantityList": [made]}
    if row.form == "TransformationEvent":
        return {"inputQuantityList": [four], "outputQuantityList": [{**four, "epcClass": slip}]}
    papers = {"certificationInfo": [slip]} if row.business_step == "shipping" else {}
    return {"quantityList": [four], **papers}


@EACH
def test_a_step_is_the_event_that_epcis_has_for_it(town: httpx.Client, step: str) -> None:
    """Were type, action, step, list, place or party another, other readers of EPCIS would see goods come that left."""
    node = PLACES[NodeKind(sorted(kinds_of(step))[0])]
    check_event(town, step, node, f"{node}0001")
    if "party" not in TABLE[step].needs:
        check_event(town, step, node, None)


def check_event(town: httpx.Client, step: str, node: str, party: str | None) -> None:
    """A step by a stall, or by the node's own operator: its event, and what it moved."""
    row, holder = TABLE[step], party or node
    lot, fields = taken(town, step, node, party)
    answer = scan(town, node, step, **fields, **({"party": party} if party else {}))
    lot = lot or answer["made"]["lot"]
    event = recorded(town, answer)
    kind, _, action = row.form.partition(" ")
    assert (event["type"], event.get("action", "")) == (kind, action)
    assert (event["bizStep"], event["disposition"]) == (row.business_step, row.disposition)
    place = f"urn:suyuan:party:{party}" if party else f"urn:suyuan:node:{node}"
    assert event["readPoint"] == {"id": place} and "bizLocation" not in event
    names = ("quantityList", "inputQuantityList", "outputQuantityList", "certificationInfo", "epcList")
    lists = {name: event[name] for name in names if name in event}
    wanted = expected_lists(step, lot, answer)
    if row.moves == 0:
        wanted["quantityList"][0]["quantity"] = Decimal(4)
    assert lists == json.loads(json.dumps(wanted, default=float)), step
    ends = [event.get(f"{end}List", [{}])[0].get(end) for end in ("source", "destination")]
    here, there = f"urn:suyuan:party:{party or node + '0000'}", f"urn:suyuan:party:{ELSEWHERE}0000"
    came, went = row.business_step == "receiving", row.business_step == "shipping"
    assert ends == ([there, here] if came else [here, there] if went else [None, None])
    was = Decimal(10) if row.moves <= 0 else Decimal(0)
    assert left(town, lot).get(holder, 0) == was + row.moves
    if made := (answer["made"] if "made" in row.needs else None):
        assert left(town, made["lot"]) == {holder: 3} and f":{CUT}:" in made["lot"]


@EACH
def test_what_a_step_seals_is_shown_to_its_node_and_to_nobody_else(
    town: httpx.Client, server: Server, step: str
) -> None:
    """Price, deal, and what the terminal sent: a rival who has a share of the same lot must not read them."""
    node = PLACES[NodeKind(sorted(kinds_of(step))[0])]
    party = f"{node}0001"
    lot, fields = taken(town, step, node, party)
    answer = scan(town, node, step, party=party, **fields)
    lot = lot or answer["made"]["lot"]
    scan(town, STRICT, "return_in", lot=lot, quantity="1")
    owner, rival = server.client(Role.TERMINAL, node), server.client(Role.TERMINAL, STRICT)
    assert {one for one in (PRICE, DEAL, "suyuan:scan") if one in owner.get(f"/events/{answer['event']}").text} == {
        PRICE, DEAL, "suyuan:scan",
    }  # fmt: skip
    problem_of(rival.get(f"/events/{answer['event']}"), 404, "NoSuchNameException")
    problem_of(rival.get(f"/entries/{answer['entries'][0]}"), 404, "NoSuchNameException")
    for direction in ("backward", "forward", "both"):
        seen = rival.get(f"/trace/{lot}", params={"direction": direction})
        assert seen.status_code == 200 and not [one for one in (PRICE, DEAL, "suyuan:scan") if one in seen.text]
    assert answer["event"] in rival.get(f"/trace/{lot}").text, "the open part is there, or nothing was tested"
    assert set(left(rival, lot)) <= {STRICT}, "how much others have is theirs"


@EACH
def test_a_step_is_taken_at_its_kinds_of_node_and_refused_at_all_others(town: httpx.Client, step: str) -> None:
    """A retail sale at a slaughterhouse would be counted nowhere; a canteen that could not enter would be unlinked."""
    for kind in NodeKind:
        node = PLACES[kind]
        lot, fields = taken(town, step, node, f"{node}0001")
        before = left(town, lot) if lot else {}
        answer = town.post("/scans", json=body_of(node, step, party=f"{node}0001", confirm=True, **fields))
        if kind in kinds_of(step):
            assert answer.status_code == 201, (kind, answer.text)
        else:
            assert wrong_of(answer) == {"step"}, kind
            assert NodeKind(sorted(kinds_of(step))[0]).chinese in answer.json()["detail"]
            assert (left(town, lot) if lot else {}) == before


@EACH
def test_each_need_that_is_left_out_is_named_alone(town: httpx.Client, step: str) -> None:
    """Were a need not asked for, the official record would have a hole; nothing may be recorded of what is refused."""
    node = PLACES[NodeKind(sorted(kinds_of(step))[0])]
    party = f"{node}0001"
    lot, fields = taken(town, step, node, party)
    for need in sorted(TABLE[step].needs.split()):
        given = {name: value for name, value in {**fields, "party": party}.items() if name != need}
        answer = town.post("/scans", json=body_of(node, step, **given))
        named = wrong_of(answer)
        assert need in named and named <= {need, "scanned"}, (need, answer.text)
        detail = answer.json()["detail"]
        assert BY_NAME[step].chinese in detail and (BY_NAME[step].source or "to be recorded") in detail
        assert lot is None or Decimal(10) in left(town, lot).values()


@pytest.mark.parametrize("step", [name for name, row in TABLE.items() if row.papers])
def test_goods_of_no_known_lot_need_one_of_the_papers_of_the_step(town: httpx.Client, step: str) -> None:
    """食品安全法 65, 动物防疫法: meat without any paper must not enter, and any one that the law takes is enough."""
    for kind in kinds_of(step):
        node = PLACES[NodeKind(kind)]
        given = {"party": f"{node}0001", "goods": PORK, "quantity": "3"}
        assert wrong_of(town.post("/scans", json=body_of(node, step, **given))) == {"vouchers"}
        for number, voucher in enumerate(VoucherKind):
            for word in (str(voucher), voucher.chinese):
                paper = [{"kind": word, "number": f"P{number}"}]
                answer = town.post("/scans", json=body_of(node, step, **given, vouchers=paper, confirm=True))
                if voucher not in TABLE[step].papers:
                    assert wrong_of(answer) == {"vouchers"}, voucher
                    continue
                assert answer.status_code == 201 and warned(answer.json()) == ["open_end"], (voucher, answer.text)
                event = recorded(town, answer.json())
                assert (event["action"], event["bizStep"]) == ("ADD", "receiving"), "a lot of ours begins here"
                sealed = voucher is VoucherKind.TRANSACTION
                assert ("bizTransactionList" in event) == sealed and ("certificationInfo" in event) != sealed
                assert left(town, answer.json()["made"]["lot"]) == {f"{node}0001": 3}


# --- Units ----------------------------------------------------------------------------------------


UNITS = [
    ("750", "GRM", "0.75", "KGM"), ("0.001", "GRM", "0.000001", "KGM"), ("1.25", "TNE", "1250", "KGM"),
    ("12.5", "KGM", "12.5", "KGM"), ("12.5", None, "12.5", "KGM"), ("7", "H87", "7", "H87"),
    ("1.5", "LTR", "1.5", "LTR"), ("250", "MLT", "0.25", "LTR"), ("999999999", "TNE", "999999999000", "KGM"),
]  # fmt: skip


def test_units_are_kept_in_kilograms_litres_and_pieces(town: httpx.Client) -> None:
    """Kept as told, a gram and a kilogram of one lot would be two stocks. A piece has no unit in EPCIS."""
    for quantity, unit, kept, kept_unit in UNITS:
        given = {"party": STALL, "quantity": quantity, "confirm": True, **({} if unit is None else {"unit": unit})}
        made = scan(town, MARKET, "opening_stock", goods=PORK, **given)
        assert (made["made"]["quantity"], made["made"]["unit"]) == (Decimal(kept), kept_unit)
        lot = made["made"]["lot"]
        element = recorded(town, made)["quantityList"][0]
        assert element.get("uom") == (None if kept_unit == "H87" else kept_unit)
        sold = scan(town, MARKET, "retail_sale", lot=lot, **given)
        assert sold["lots"][0]["left"] == 0 and left(town, lot) == {}


def test_a_unit_that_is_none_is_refused(town: httpx.Client) -> None:
    """A jin taken for a kilogram would double the stock. An empty unit is kilograms, as one that is left out."""
    fields = {"party": STALL, "goods": PORK, "quantity": "1"}
    for unit in ("JIN", "kgm", "KG", "C62", "LBR", "斤", " KGM"):
        answer = town.post("/scans", json=body_of(MARKET, "opening_stock", **fields, unit=unit))
        assert wrong_of(answer) == {"quantity"} and "KGM, GRM, TNE, LTR, MLT, H87" in answer.json()["detail"]
    assert scan(town, MARKET, "opening_stock", **fields, unit="")["made"]["unit"] == "KGM"


def test_a_number_that_is_none_is_refused(town: httpx.Client) -> None:
    """Whatever Python would take for a number: a counter's typing mistake must not become a stock."""
    for number in ("1234567890", "0.0000001", "1e3", "+1", ".5", "5.", "１", "1 ", "1_0", "NaN", "Infinity", ""):
        for field in ("quantity", "made", "price"):
            fields = {"goods": PORK, "quantity": "1", field: number}
            answer = town.post("/scans", json=body_of(MARKET, "opening_stock", party=STALL, **fields))
            assert field in wrong_of(answer), (field, number)


TAKING = ("retail_sale", "loss", "destruction", "return_out", "supermarket_packing", "canteen_use")


def test_what_is_there_in_kilograms_is_not_taken_in_pieces(town: httpx.Client) -> None:
    """Taken in another unit, the kilograms would stay for ever; a tonne is kilograms, and more than is there."""
    for step in TAKING:
        node = PLACES[NodeKind(sorted(kinds_of(step) & {"market", "supermarket", "canteen"})[0])]
        party = f"{node}0001"
        lot, fields = taken(town, step, node, party)
        assert lot is not None
        for unit in ("H87", "LTR"):
            body = body_of(node, step, party=party, **{**fields, "quantity": "2", "unit": unit})
            answer = town.post("/scans", json=body)
            assert wrong_of(answer) == {"unit"} and "KGM" in answer.json()["detail"]
            assert left(town, lot) == {party: 10}
        more = scan(town, node, step, party=party, **{**fields, "quantity": "2", "unit": "TNE"})
        assert warned(more) == ["more_than_left"] and left(town, lot)[party] == -1990


# --- Chains of steps ------------------------------------------------------------------------------


def test_a_supermarket_packs_and_sells_packs(town: httpx.Client) -> None:
    """Ten kilograms become nineteen packs of 500 g: a slip of a pack has to lead to the lot, or a recall would stop."""
    entry = {"goods": PORK, "quantity": "10", "vouchers": [{"kind": "product", "number": "330212000117"}]}
    lot = scan(town, SUPERMARKET, "supermarket_entry", **entry)["made"]["lot"]
    packs = {"goods": GTIN, "made": "19", "madeUnit": "H87"}
    made = scan(town, SUPERMARKET, "supermarket_packing", lot=lot, quantity="9.5", **packs)["made"]
    assert made["lot"].startswith(f"https://id.gs1.org/01/{GTIN}/10/{SUPERMARKET}") and made["unit"] == "H87"
    batch = made["lot"].rpartition("/")[2]
    sold = scan(
        town, SUPERMARKET, "supermarket_sale", scanned=f"]d201{GTIN}10{batch}", sendsFnc1=True, quantity="2", unit="H87"
    )
    by_ean = scan(town, SUPERMARKET, "supermarket_sale", scanned=f"]E0{GTIN[1:]}", quantity="1", unit="H87")
    assert [one["lot"] for answer in (sold, by_ean) for one in answer["lots"]] == [made["lot"]] * 2
    assert left(town, lot) == {SUPERMARKET: Decimal("0.5")} and left(town, made["lot"]) == {SUPERMARKET: 16}
    traced = town.get(f"/trace/urn:suyuan:trace:{by_ean['trace']}", params={"direction": "backward"}).json()
    assert {lot, made["lot"].removeprefix("https://id.gs1.org/")} <= {item["item"] for item in traced["items"]}


def test_a_supermarket_packs_nothing_out_of_nothing(town: httpx.Client) -> None:
    """Packs whose meat nobody named, of no weight, or in another unit than is there."""
    lot, fields = lot_at(town, SUPERMARKET), {"goods": GTIN, "quantity": "5", "made": "10", "madeUnit": "H87"}
    for change, named in (
        ({"lot": None}, {"scanned"}), ({"made": "0"}, {"made"}), ({"quantity": "0"}, {"quantity"}),
        ({"made": "-1"}, {"made"}), ({"madeUnit": "box"}, {"made"}), ({"unit": "H87"}, {"unit"}),
        ({"goods": "6901234567893"}, {"scanned"}), ({"goods": "999"}, {"scanned"}),
    ):  # fmt: skip
        given = {name: value for name, value in {"lot": lot, **fields, **change}.items() if value is not None}
        answer = town.post("/scans", json=body_of(SUPERMARKET, "supermarket_packing", **given))
        assert wrong_of(answer) == named, change
    assert left(town, lot) == {SUPERMARKET: 10}


@pytest.mark.parametrize("kind", [NodeKind.CANTEEN, NodeKind.HOSPITAL])
def test_a_canteen_enters_with_one_scan_and_uses_first_what_came_first(town: httpx.Client, kind: NodeKind) -> None:
    """团体消费: what children or patients ate must be known by lot on the day that the lot is found bad."""
    node, lots = PLACES[kind], [lot_at(town, WHOLESALE, quantity) for quantity in ("3", "4")]
    for lot, quantity in zip(lots, ("3", "4"), strict=True):
        deal = {"lot": lot, "quantity": quantity, "counterparty": f"{node}0000"}
        trade = scan(town, WHOLESALE, "wholesale_trade", **deal)
        entered = scan(town, node, "canteen_entry", scanned=trade["trace"])
        assert warned(entered) == [] and entered["lots"][0]["lot"] == lot
    used = scan(town, node, "canteen_use", goods=PORK, quantity="5")
    assert [(one["lot"], one["quantity"], one["left"]) for one in used["lots"]] == [(lots[0], 3, 0), (lots[1], 2, 2)]
    assert used["trace"] is None, "nothing is sold: there is no slip"
    assert warned(scan(town, node, "canteen_use", goods=PORK, quantity="2.001")) == ["more_than_left"]
    refused = town.post("/scans", json=body_of(node, "retail_sale", party=f"{node}0001", goods=PORK, quantity="1"))
    assert wrong_of(refused) == {"step"}, "a canteen is no market"


@pytest.mark.parametrize(
    ("result", "disposition", "value"),
    [("passed", "conformant", None), ("failed", "non_conformant", None), ("1", "conformant", None),
     ("0", "non_conformant", None), ("合格", "conformant", None), ("不合格", "non_conformant", None),
     ("49.9", "conformant", "49.9"), ("50", "non_conformant", "50"), ("100", "non_conformant", "100")],
)  # fmt: skip
def test_a_test_at_a_wholesale_market(town: httpx.Client, result: str, disposition: str, value: str | None) -> None:
    """A failed test that read as passed would let the lot be sold; a measurement is kept as one, in percent (P1)."""
    lot = lot_at(town, WHOLESALE)
    tested = scan(town, WHOLESALE, "wholesale_test", lot=lot, result=result)
    event = recorded(town, tested)
    assert (event["type"], event["action"], event["disposition"]) == ("ObjectEvent", "OBSERVE", disposition)
    assert event["quantityList"] == [{"epcClass": lot}], "all of it: no quantity that would look like a part"
    reports = [report for one in event.get("sensorElementList", []) for report in one["sensorReport"]]
    shown = [(one["type"], Decimal(str(one["value"])), one["uom"]) for one in reports]
    assert shown == ([] if value is None else [("Dimensionless", Decimal(value), "P1")])
    assert left(town, lot) == {WHOLESALE: 10}


def test_a_test_says_nothing_of_what_is_not_there_and_takes_no_other_word(town: httpx.Client) -> None:
    for result in ("ok", "PASSED", "-1", "1e2", "50%", "1000", "12.", " 1", "合", "50.1234567"):
        lot = lot_at(town, WHOLESALE)
        answer = town.post("/scans", json=body_of(WHOLESALE, "wholesale_test", lot=lot, result=result))
        assert wrong_of(answer) == {"result"}, result
    nothing = town.post("/scans", json=body_of(WHOLESALE, "wholesale_test", goods="01211", result="1"))
    problem_of(nothing, 404, "NoSuchNameException")


def test_goods_go_back_to_the_seller_and_come_in_again_with_the_slip(town: httpx.Client) -> None:
    """退货: out at the buyer's, on the road nobody's, in at the seller's; the way back stands in the trace."""
    lot = lot_at(town, WHOLESALE)
    trade = scan(town, WHOLESALE, "wholesale_trade", lot=lot, quantity="10", counterparty=STALL)
    scan(town, MARKET, "retail_entry", party=STALL, scanned=trade["trace"])
    back = {"party": STALL, "lot": lot, "quantity": "4", "counterparty": f"{WHOLESALE}0000"}
    gone = scan(town, MARKET, "return_out", **back)
    assert left(town, lot) == {STALL: 6} and gone["trace"].startswith(STALL)
    came = scan(town, WHOLESALE, "return_in", scanned=gone["trace"])
    assert left(town, lot) == {STALL: 6, WHOLESALE: 4} and warned(came) == []
    event = recorded(town, came)
    assert event["disposition"] == "returned" and event["certificationInfo"] == [f"urn:suyuan:trace:{gone['trace']}"]
    assert event["sourceList"][0]["source"] == f"urn:suyuan:party:{STALL}"
    assert warned(scan(town, WHOLESALE, "return_in", scanned=gone["trace"], confirm=True)) == ["slip_received"]
    no_buyer = town.post("/scans", json=body_of(MARKET, "return_out", party=STALL, lot=lot, quantity="1"))
    assert wrong_of(no_buyer) == {"counterparty"}


@pytest.mark.parametrize("step", ["loss", "destruction"])
def test_what_is_lost_or_destroyed_is_gone_and_gives_no_slip(town: httpx.Client, step: str) -> None:
    """Were it only observed, meat that was burnt could be sold; where more than is left is refused, it is, too."""
    lot = lot_at(town, MARKET, "10", STALL)
    gone = scan(town, MARKET, step, party=STALL, lot=lot, quantity="10")
    assert gone["trace"] is None and gone["made"] is None and left(town, lot) == {}
    assert warned(scan(town, MARKET, step, party=STALL, lot=lot, quantity="1")) == ["more_than_left"]
    assert warned(scan(town, MARKET, step, party=OTHER_STALL, lot=lot, quantity="1")) == ["not_here"]
    kept, party = lot_at(town, STRICT, "2", f"{STRICT}0001"), f"{STRICT}0001"
    body = body_of(STRICT, step, party=party, lot=kept, quantity="2.000001")
    assert problem_of(town.post("/scans", json=body), 409, "ResourceAlreadyExistsException")["refused"]
    assert left(town, kept) == {party: 2}


@pytest.mark.parametrize(
    ("counted", "action", "difference"),
    [("12.5", "ADD", "2.5"), ("7.25", "DELETE", "2.75"), ("0", "DELETE", "10"), ("10", "ADD", "0"),
     ("10.000001", "ADD", "0.000001")],
)  # fmt: skip
def test_a_stock_take_records_the_difference(town: httpx.Client, counted: str, action: str, difference: str) -> None:
    """Were the count itself recorded, the stock would double; another holder's is not touched."""
    lot = lot_at(town, MARKET, "10", STALL)
    scan(town, MARKET, "return_in", party=OTHER_STALL, lot=lot, quantity="1")
    answer = scan(town, MARKET, "stock_take", party=STALL, lot=lot, quantity=counted)
    event = recorded(town, answer)
    assert event["action"] == action and Decimal(str(event["quantityList"][0]["quantity"])) == Decimal(difference)
    rest = {STALL: Decimal(counted)} if Decimal(counted) else {}
    assert left(town, lot) == {**rest, OTHER_STALL: 1}


def test_what_was_oversold_is_counted_up_and_a_count_names_its_lot(town: httpx.Client) -> None:
    lot = lot_at(town, MARKET, "1", STALL)
    trade = scan(town, MARKET, "return_out", party=STALL, lot=lot, quantity="3", counterparty=OTHER_STALL)
    assert left(town, lot) == {STALL: -2}
    scan(town, MARKET, "stock_take", party=STALL, lot=lot, quantity="0")
    assert left(town, lot) == {}
    for named in ({"goods": PORK}, {"scanned": trade["trace"]}, {"scanned": f"]E0{GTIN[1:]}"}):
        answer = town.post("/scans", json=body_of(MARKET, "stock_take", party=STALL, quantity="1", **named))
        assert wrong_of(answer) == {"scanned"}, named


def test_uncoded_drugs_are_pieces_of_a_product_and_sold_at_pharmacies(town: httpx.Client) -> None:
    """国家医保局 2025: a drug without a code is still sold once; sold beyond the register, it is told."""
    for kind in (NodeKind.PHARMACY, NodeKind.HOSPITAL):
        node, pieces = PLACES[kind], {"goods": GTIN, "unit": "H87"}
        lot = scan(town, node, "uncoded_drug", quantity="5", **pieces)["made"]["lot"]
        sold = scan(town, node, "uncoded_drug_sale", quantity="5", **pieces)
        assert sold["lots"] == [{"lot": lot, "quantity": 5, "unit": "H87", "left": 0}] and sold["trace"]
        assert warned(scan(town, node, "uncoded_drug_sale", quantity="1", **pieces)) == ["open_end"]
        for fields in ({"scanned": "81234567890123456789"}, {"goods": "812345"}, {"goods": "6901234567893"}):
            body = body_of(node, "uncoded_drug", quantity="1", unit="H87", **fields)
            assert wrong_of(town.post("/scans", json=body)) == {"scanned"}, "a drug with a code is no uncoded drug"


def test_a_slip_whose_entry_was_taken_back_is_entered_again_without_a_word(town: httpx.Client) -> None:
    lot = lot_at(town, WHOLESALE)
    trade = scan(town, WHOLESALE, "wholesale_trade", lot=lot, quantity="10", counterparty=STALL)
    entered = scan(town, MARKET, "retail_entry", party=STALL, scanned=trade["trace"])
    void(town, entered)
    assert warned(scan(town, MARKET, "retail_entry", party=STALL, scanned=trade["trace"])) == []
    assert left(town, lot) == {STALL: 10}


def void(client: httpx.Client, answer: Mapping[str, Any]) -> None:
    reason = {"reason": "did_not_occur", "at": now().isoformat()}
    assert client.post(f"/scans/{answer['scan']}/void", json=reason).status_code == 201


# --- Leases ---------------------------------------------------------------------------------------


def lease(client: httpx.Client, node: str, status: int = 201, **fields: Any) -> dict[str, Any]:
    answer = client.post("/leases", json={"node": node, **fields})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_leases_of_many_series_never_share_a_code(town: httpx.Client) -> None:
    """Twenty terminals at once, by stall, by node, by day and for lots: a code twice would be two slips' way mixed."""
    asked = [
        *((MARKET, {"party": f"{MARKET}{stall:04d}"}) for stall in range(4)),
        *((DAILY, {"day": f"2026-11-{day}", "party": f"{DAILY}000{day % 3}"}) for day in range(25, 29)),
        *((DAILY, {"day": f"2026-11-{day}", "kind": "lot"}) for day in range(25, 29)),
        *((MARKET, {"kind": "lot", "day": "2026-11-25"}), (MARKET, {"kind": "lot", "day": "2026-11-26"})),
    ]
    with ThreadPoolExecutor(14) as pool:
        found = [*pool.map(lambda one: lease(town, one[0], count=9, **one[1]), asked * 3)]
    codes = [code for one in found for code in one["codes"]]
    assert len(codes) == len(set(codes)) == 9 * 3 * len(asked)
    assert len({one["series"] for one in found}) == 4 + 4 + 2, "slips and lots of one day are one series"
    for one in found:
        numbers = [int(code[15:] if one["series"][0] == "B" else code[13:]) for code in one["codes"]]
        assert numbers == [*range(numbers[0], numbers[0] + 9)] and not one["runsOut"]


def test_a_lease_is_of_the_scheme_of_its_node_and_of_the_day(town: httpx.Client) -> None:
    """Scheme B's codes say the day: those of another would make a slip look older than its goods."""
    assert lease(town, MARKET, party=STALL, count=1)["codes"] == [f"{STALL}0000001"]
    assert lease(town, MARKET, count=1)["codes"] == [f"{MARKET}00000000001"]
    first, second = (lease(town, DAILY, day=day, count=2) for day in ("2026-11-30", "2026-12-01"))
    assert first["codes"] == [f"{DAILY}26113000001", f"{DAILY}26113000002"]
    assert second["codes"] == [f"{DAILY}26120100001", f"{DAILY}26120100002"] and second["left"] == 99997
    lot = lease(town, MARKET, kind="lot", day="2026-11-30", count=1)
    assert lot["codes"] == [f"{MARKET}26113000001"] and lot["series"] == f"B/{MARKET}/261130"


def test_a_lease_that_makes_no_sense_gives_nothing_away(town: httpx.Client, server: Server) -> None:
    """Another's stall, a day that is none, no node, too many or none: no number of any series is used up."""
    for fields in (
        {"party": f"{DAILY}0001"}, {"party": f"{STRICT}0000"}, {"party": "33021204"}, {"day": "2026-02-30"},
        {"day": "26-11-25"}, {"count": 0}, {"count": 501}, {"count": -1}, {"count": "5"}, {"kind": "slip"},
        {"kind": ""}, {"series": "A/1"},
    ):  # fmt: skip
        lease(town, MARKET, 400, **fields)
    lease(town, "330212099", 404)
    terminal = server.client(Role.TERMINAL, MARKET)
    for node in (DAILY, STRICT):
        lease(terminal, node, 403, party=f"{node}0001")
    lease(server.client(Role.REGULATOR), MARKET, 403)
    assert lease(terminal, MARKET, party=STALL, count=500)["codes"][0] == f"{STALL}0000001"


def test_a_series_that_runs_out_says_so_in_time_and_then_ends(town: httpx.Client, server: Server) -> None:
    """Less than a tenth left is told, on the lease and on the sale; the last number is given, and none after it."""
    series = of_day(int(DAILY), date(2026, 11, 25))
    row = {"series": series.name, "version": 1, "next": 89_999, "first": 1, "holder": "x"}
    server.ledger.record(change_request("code_series", row, "operator"))
    day = {"day": "2026-11-25"}
    assert not lease(town, DAILY, count=1, **day)["runsOut"]
    assert [lease(town, DAILY, count=1, **day)["runsOut"] for _ in range(2)] == [True, True]
    sale = {"party": f"{DAILY}0001", "goods": PORK, "quantity": "1", "at": "2026-11-25T08:00:00+08:00", "offline": True}
    assert warned(scan(town, DAILY, "retail_sale", **sale)) == ["open_end", "codes_run_out"]
    row = {**row, "version": server_version(server, series.name) + 1, "next": 99_998}
    server.ledger.record(change_request("code_series", row, "operator"))
    last = lease(town, DAILY, count=50, **day)
    assert [code[-5:] for code in last["codes"]] == ["99998", "99999"] and last["left"] == 0 and last["runsOut"]
    assert "given away" in town.post("/leases", json={"node": DAILY, **day}).json()["detail"]
    assert lease(town, DAILY, count=1, day="2026-11-26")["codes"], "the next day has numbers of its own"


def server_version(server: Server, series: str) -> int:
    with server.ledger.database.connect() as connection:
        row = connection.execute("SELECT version FROM code_series WHERE series = %s", [series]).fetchone()
    assert row is not None
    return int(row[0])


# --- Random days against a model ------------------------------------------------------------------

QUANTITIES = st.sampled_from("0.001 0.5 1 1.25 2 3.75 5 20".split())
"""Few and near each other: one sale then often takes of two lots, and what is left is often exactly nothing."""
NUMBER = st.integers(0, 1_000)
ACTS = st.one_of(
    *(
        st.tuples(st.just(act), NUMBER, NUMBER, QUANTITIES)
        for act in ("open", "trade", "trade", "receive", "receive", "sell", "sell", "lose", "bring", "count", "void",
                    "again")
    )
)  # fmt: skip
_days = itertools.count(1)
Moves = list[tuple[str, str, Decimal]]
"""Lot, holder, and how much comes."""


@dataclass
class Done:
    """A scan that was recorded, and what it moved."""

    body: dict[str, Any]
    answer: dict[str, Any]
    moves: Moves
    taken_back: bool = False


class Day:
    """A wholesaler, two stalls of a market and one of a market that refuses, and a plain model of what each has."""

    def __init__(self, client: httpx.Client) -> None:
        number = next(_days)
        self.client = client
        self.counters = [f"{node}{number:04d}" for node in (WHOLESALE, MARKET, STRICT)] + [f"{MARKET}{5000 + number}"]
        self.has: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.entered, self.gone = Decimal(0), Decimal(0)
        self.done: list[Done] = []
        self.lots: list[str] = []
        for counter in self.counters[1:3]:
            for quantity in ("2", "1.25"):
                self.send(counter, "opening_stock", {"goods": PORK, "quantity": quantity})

    def act(self, act: str, one: int, two: int, quantity: str) -> None:
        match act:
            case "receive":  # the slip of a trade, at the counter that bought: all of it
                self.come_in(one, "shipping", {})
            case "bring":  # a customer with a slip brings some of it back
                self.come_in(one, "retail_selling", {"quantity": quantity})
            case "void":
                self.void(one)
            case "again":
                self.again(one)
            case _:
                self.take(act, one, two, quantity)

    def take(self, act: str, one: int, two: int, quantity: str) -> None:
        """What a counter does with a lot, or with goods of which the ledger chooses the lots."""
        counter, other = self.counters[one % 4], self.counters[two % 4]
        wholesale = counter.startswith(WHOLESALE)
        named = {"lot": self.lots[two % len(self.lots)]} if self.lots and two % 2 else {"goods": PORK}
        if act == "open" or (act == "count" and "goods" in named):
            self.send(counter, "opening_stock", {"goods": PORK, "quantity": quantity})
        elif act == "count":
            self.send(counter, "stock_take", {**named, "quantity": quantity})
        elif act == "trade":
            step = "wholesale_trade" if wholesale else "return_out"
            self.send(counter, step, {**named, "quantity": quantity, "counterparty": other})
        else:
            step = "loss" if wholesale or act == "lose" else "retail_sale"
            self.send(counter, step, {**named, "quantity": quantity})

    def come_in(self, one: int, how: str, fields: dict[str, Any]) -> None:
        slips = [done for done in self.done if BY_NAME[done.body["step"]].business_step == how]
        if not slips:
            return
        slip = slips[one % len(slips)]
        counter = slip.body["counterparty" if how == "shipping" else "party"]
        step = "return_in" if how == "retail_selling" else (
            "wholesale_entry" if counter.startswith(WHOLESALE) else "retail_entry"
        )  # fmt: skip
        several = len(slip.moves) > 1 and fields and Decimal(fields["quantity"]) != -sum(q for _, _, q in slip.moves)
        status = 400 if slip.taken_back or several else 201
        moves = [(lot, counter, -quantity) for lot, _, quantity in slip.moves]
        if fields and len(moves) == 1:
            moves = [(moves[0][0], counter, Decimal(fields["quantity"]))]
        self.post(counter, step, {"scanned": slip.answer["trace"], **fields}, {status}, lambda _: moves)

    def send(self, counter: str, step: str, fields: dict[str, Any]) -> None:
        quantity, how = Decimal(fields["quantity"]), BY_NAME[step].how
        strict = counter.startswith(STRICT) and how not in (How.BEGIN, How.COUNT)
        there = {lot: has for (lot, at), has in self.has.items() if at == counter and has > 0}
        enough = (self.has[fields["lot"], counter] if "lot" in fields else sum(there.values())) >= quantity
        status = 201
        if strict and not enough:
            status = 404 if "goods" in fields and not there else 409

        def moved(answer: dict[str, Any]) -> Moves:
            if how is How.BEGIN:
                return [(answer["made"]["lot"], counter, quantity)]
            if how is How.COUNT:
                return [(fields["lot"], counter, quantity - self.has[fields["lot"], counter])]
            if "lot" in fields:
                return [(fields["lot"], counter, -quantity)]
            parts = [(one["lot"], counter, -one["quantity"]) for one in answer["lots"]]
            assert sum(part for _, _, part in parts) == -quantity, "what was taken is what was said"
            for lot, _, part in parts[:-1]:
                assert there[lot] == -part, "the one that comes first is used up before the next"
            odd = {"open_end"} if not there else {"more_than_left"} if not enough else set()
            assert odd == {*warned(answer)} & {"open_end", "more_than_left"}
            return parts

        self.post(counter, step, fields, {status}, moved)

    def post(
        self, counter: str, step: str, fields: dict[str, Any], statuses: set[int],
        moved: Callable[[dict[str, Any]], Moves],
    ) -> None:  # fmt: skip
        body = body_of(counter[:9], step, party=counter, confirm=True, **fields)
        sent = self.client.post("/scans", json=body)
        assert sent.status_code in statuses, (step, fields, sent.text, dict(self.has))
        if sent.status_code == 409:
            again = self.client.post("/scans", json=body)
            assert again.status_code == 409 and again.json()["refused"] == sent.json()["refused"]
        if sent.status_code == 201:
            answer = sent.json(parse_float=Decimal)
            moves = moved(answer)
            self.move(moves)
            self.done.append(Done(body, answer, moves))

    def move(self, moves: Moves) -> None:
        for lot, holder, quantity in moves:
            self.lots += [] if lot in self.lots else [lot]
            self.has[lot, holder] += quantity
            self.entered += max(quantity, Decimal(0))
            self.gone += max(-quantity, Decimal(0))

    def void(self, one: int) -> None:
        if self.done:
            done = self.done[one % len(self.done)]
            void(self.client, done.answer)
            if not done.taken_back:
                self.move([(lot, holder, -moved) for lot, holder, moved in done.moves])
            done.taken_back = True

    def again(self, one: int) -> None:
        """The same id with the same words is the same entry; with other words it is refused."""
        if self.done:
            done = self.done[one % len(self.done)]
            sent = self.client.post("/scans", json=done.body)
            assert sent.status_code == 200 and sent.json()["entries"] == done.answer["entries"]
            other = {**done.body, "price": "3.21"}
            problem_of(self.client.post("/scans", json=other), 409, "ResourceAlreadyExistsException")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, min_size=8, max_size=24))
def test_a_random_day_leaves_what_the_model_says(
    town: httpx.Client, server: Server, acts: list[tuple[str, int, int, str]]
) -> None:
    """Goods that are made, lost or counted twice by any order of entries, trades, voids and repeats would show here.

    Each example is a day of counters of its own in one ledger; the fixture audits the ledger after the last one.
    """
    day = Day(town)
    for act in acts:
        day.act(*act)
    with server.ledger.database.connect() as connection:
        rows = connection.execute(
            "SELECT item, holder, quantity FROM balance WHERE holder = ANY(%s) AND quantity <> 0", [day.counters]
        ).fetchall()
    assert {(lot, holder): quantity for lot, holder, quantity in rows} == {at: q for at, q in day.has.items() if q}
    assert sum(quantity for _, _, quantity in rows) == day.entered - day.gone
    sign(server.ledger)
    assert look(server.ledger).clean


# --- What a person may get wrong --------------------------------------------------------------------


@pytest.mark.parametrize("step", ["slaughter", "supermarket_packing"])
def test_what_is_made_is_named(town: httpx.Client, step: str) -> None:
    """Ten pigs would become 800 kg of living pig."""
    node = PLACES[NodeKind(TABLE[step].at)]
    pigs = lot_at(town, node, "10", goods="pig", unit="H87")
    answer = town.post("/scans", json=body_of(node, step, lot=pigs, quantity="10", unit="H87", made="800"))
    assert answer.status_code == 400, answer.json()["made"]


def test_a_count_in_another_unit_makes_no_second_stock(town: httpx.Client) -> None:
    """Nine kilograms counted as five pieces would be nine kilograms and five pieces."""
    lot = lot_at(town, MARKET, "9", STALL)
    answer = town.post("/scans", json=body_of(MARKET, "stock_take", party=STALL, lot=lot, quantity="5", unit="H87"))
    assert answer.status_code == 400, answer.json()["made"]


@pytest.mark.parametrize("step", ["retail_entry", "return_in"])
def test_what_comes_in_on_a_slip_is_in_its_unit(town: httpx.Client, step: str) -> None:
    """A slip of 10 kg entered as 7 pieces: the kilograms would be lost, and pieces come from nowhere."""
    lot = lot_at(town, WHOLESALE)
    trade = scan(town, WHOLESALE, "wholesale_trade", lot=lot, quantity="10", counterparty=STALL)
    pieces = {"scanned": trade["trace"], "quantity": "7", "unit": "H87"}
    answer = town.post("/scans", json=body_of(MARKET, step, party=STALL, **pieces))
    assert answer.status_code == 400, answer.json()["lots"]


@pytest.mark.parametrize(("step", "slip"), [("retail_entry", "trade"), ("return_in", "sale")])
def test_more_than_is_on_the_slip_is_told(town: httpx.Client, step: str, slip: str) -> None:
    """1000 kg enter on a slip of 10 kg, without a word: meat of no origin would go the way of good meat."""
    node, party = (WHOLESALE, f"{WHOLESALE}0001") if slip == "trade" else (MARKET, STALL)
    given = {"party": party, "lot": lot_at(town, node, party=party), "quantity": "10"}
    leave = {"wholesale_trade": {"counterparty": STALL}, "retail_sale": {}}
    name = "wholesale_trade" if slip == "trade" else "retail_sale"
    gone = scan(town, node, name, **given, **leave[name])
    entered = town.post("/scans", json=body_of(MARKET, step, party=STALL, scanned=gone["trace"], quantity="1000"))
    assert entered.status_code >= 400 or warned(entered.json()), entered.json()["lots"]


def test_a_slip_code_of_another_stall_is_refused(town: httpx.Client) -> None:
    """The neighbour's scale is borrowed, and the slip leads the inspector to the wrong stall."""
    lot = lot_at(town, MARKET, "9", STALL)
    (code,) = lease(town, MARKET, party=OTHER_STALL, count=1)["codes"]
    body = body_of(MARKET, "retail_sale", party=STALL, lot=lot, quantity="1", trace=code)
    assert town.post("/scans", json=body).status_code == 400


@pytest.mark.parametrize("how", ["taken back", "lost"])
def test_a_lot_that_nobody_brought_is_not_known(town: httpx.Client, how: str) -> None:
    """One scan that was a mistake, and meat enters without any paper, from then on, at every market."""
    lot = f"https://id.gs1.org/01/{GTIN}/10/NEW"
    if how == "lost":
        scan(town, MARKET, "loss", party=STALL, lot=lot, quantity="1")
    else:
        void(town, scan(town, MARKET, "opening_stock", party=STALL, lot=lot, quantity="5"))
    answer = town.post("/scans", json=body_of(MARKET, "retail_entry", party=OTHER_STALL, lot=lot, quantity="5"))
    assert answer.status_code == 400 and wrong_of(answer) == {"vouchers"}


def test_first_in_first_out_is_by_when_it_came_in(town: httpx.Client) -> None:
    """What came in first lies there until somebody names it: 多批次管理 is of the batches of a stall."""
    older, newer = lot_at(town, WHOLESALE), lot_at(town, WHOLESALE)
    for lot in (newer, older):
        scan(town, MARKET, "retail_entry", party=STALL, lot=lot, quantity="5")
    sold = scan(town, MARKET, "retail_sale", party=STALL, goods=PORK, quantity="1")
    assert [one["lot"] for one in sold["lots"]] == [newer]


def test_a_test_of_a_slip_is_of_all_that_is_on_it(town: httpx.Client) -> None:
    """The slip's sample failed: the second lot would be sold as if nobody had looked at it."""
    seller, buyer = f"{WHOLESALE}0001", f"{WHOLESALE}0002"
    lots = [lot_at(town, WHOLESALE, quantity, seller) for quantity in ("2", "3")]
    deal = {"party": seller, "goods": PORK, "quantity": "5", "counterparty": buyer}
    trade = scan(town, WHOLESALE, "wholesale_trade", **deal)
    scan(town, WHOLESALE, "wholesale_entry", party=buyer, scanned=trade["trace"])
    tested = scan(town, WHOLESALE, "wholesale_test", party=buyer, scanned=trade["trace"], result="60")
    assert [one["lot"] for one in tested["lots"]] == lots


def test_a_count_of_an_unknown_lot_has_an_open_end(town: httpx.Client) -> None:
    """Goods would come into the ledger by counting them, without paper and without a word."""
    lot = "urn:suyuan:lot:21113011:33021204526112599999"
    answer = town.post("/scans", json=body_of(MARKET, "stock_take", party=STALL, lot=lot, quantity="5"))
    assert answer.status_code >= 400 or warned(answer.json()) == ["open_end"]


@pytest.mark.parametrize("result", ["100.1", "999", "00", "01"])
def test_no_more_than_all_of_an_enzyme_is_inhibited(town: httpx.Client, result: str) -> None:
    """GB/T 5009.199: a part of 100 %. A slip of the finger (999 for 9.99) would condemn a lot."""
    body = body_of(WHOLESALE, "wholesale_test", lot=lot_at(town, WHOLESALE), result=result)
    assert town.post("/scans", json=body).status_code == 400
