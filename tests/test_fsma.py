"""FSMA 204's sheets: heads to the letter, one line an event and lot, what is missing; and DSCSA's information."""

import csv
import io
from typing import Any

import httpx
import pytest
from openpyxl import load_workbook

from api.reports import made
from ledger.access import Role
from ledger.nodes import OPERATOR
from ledger.registers import PRODUCT
from reports.all import REPORTS
from reports.document import Document, Facts, Grid, Language
from reports.dscsa import STATEMENT
from reports.fsma204 import HEADS, NEEDS, voice_code
from reports.render import FORMATS, render
from tests.conftest import sign
from tests.test_access import server
from tests.test_http import NODE, OTHER, Server, capture, problem_of
from tests.test_registry import filed

__all__ = ["server"]

Json = dict[str, Any]
GTIN, MADE_GTIN, DRUG = "06901234500103", "06901234500202", "06901234500301"
LOT, MADE = f"https://id.gs1.org/01/{GTIN}/10/P-1", f"https://id.gs1.org/01/{MADE_GTIN}/10/M-1"
PALLET = "https://id.gs1.org/00/069012345000000019"
SHIPPING = (
    "(1) TLC-GTIN | (1) TLC-Batch | Date Code | Date Type | VoiceCode | Pallet ID | TLC-Assigned By | (2) Qty & UOM | "
    "(3) Product Description | (4) Ship-To Location | Ship-To ID | (5) Ship-From Location | Ship-From ID | "
    "(6) Ship Date | (7) TLC Source Ref GLN | FFRN | URL | GGN | Assigned By | (8) Ref Doc Type and Number"
)
RECEIVING = ("(a)(4) Immediate Previous Source", "(a)(5) Receive Location", "(a)(6) Receive Date")


def at(node: str, name: str, step: str, when: str, **more: Any) -> Json:
    return {
        "type": "ObjectEvent", "action": "OBSERVE", "eventID": f"urn:x:fsma:{name}", "bizStep": step,
        "eventTime": f"2026-11-{when}:00:00+08:00", "eventTimeZoneOffset": "+08:00",
        "readPoint": {"id": f"urn:suyuan:node:{node}"}, **more,
    }  # fmt: skip


def goods(lot: str, quantity: int, field: str = "quantityList") -> Json:
    return {field: [{"epcClass": lot, "quantity": quantity, "uom": "KGM"}]}


def dealt(seller: str, buyer: str, paper: str) -> Json:
    return {
        "sourceList": [{"type": "owning_party", "source": f"urn:suyuan:party:{seller}0000"}],
        "destinationList": [{"type": "owning_party", "destination": f"urn:suyuan:party:{buyer}0000"}],
        "bizTransactionList": [{"type": "desadv", "bizTransaction": f"urn:suyuan:voucher:{paper}"}],
    }  # fmt: skip


@pytest.fixture
def farm(server: Server) -> httpx.Client:
    """A lot that was made, shipped, received, and made into another, which went without a paper."""
    client = server.client()
    ilmd = {"cbvmda:bestBeforeDate": "2026-12-01", "cbvmda:descriptionShort": '=HYPERLINK("x")'}
    filed(server.ledger, PRODUCT, [{"product": MADE_GTIN, "name": "@salad", "kind": "food"}])
    events = [
        at(NODE, "made", "commissioning", "20T08", action="ADD", ilmd=ilmd, **goods(LOT, 100)),
        at(NODE, "sent", "shipping", "20T10", **goods(LOT, 60), **dealt(NODE, OTHER, "D-1")),
        at(OTHER, "came", "receiving", "21T06", **goods(LOT, 60), **dealt(NODE, OTHER, "D-1")),
        {**at(OTHER, "cut", "commissioning", "21T09"), "type": "TransformationEvent",
         **goods(LOT, 50, "inputQuantityList"), **goods(MADE, 45, "outputQuantityList")},
        at(OTHER, "away", "shipping", "22T09", **goods(MADE, 45)),
    ]  # fmt: skip
    del events[3]["action"]
    answer = capture(client, [{"@context": CONTEXT, **one} for one in events])
    assert answer.json()["success"], answer.text
    sign(server.ledger)
    return client


CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]


def make(server: Server, name: str, **given: str) -> Document:
    found = made(server.ledger, OPERATOR, REPORTS[name], given)
    assert found is not None
    return found


def lines(document: Document, title: str) -> list[Json]:
    (found,) = [one for one in document.sections if isinstance(one, Grid) and title in one.title.en]
    heads = [column.head.en for column in found.columns]
    return [dict(zip(heads, row, strict=True)) for row in found.rows]


def test_the_heads_are_the_templates_to_the_letter() -> None:
    """A buyer's system reads them by name."""
    assert " | ".join(HEADS["shipping"]) == SHIPPING
    lot, source = SHIPPING.split(" | ")[:9], SHIPPING.split(" | ")[14:19]
    assert HEADS["receiving"][:9] == tuple(lot) and HEADS["receiving"][9:12] == RECEIVING
    assert HEADS["receiving"][12:17] == tuple(source)
    assert all(one.head in HEADS[kind] for kind, needs in NEEDS.items() for one in needs)


def test_each_event_and_lot_is_a_line_with_its_elements(server: Server, farm: httpx.Client) -> None:
    document = make(server, "fsma204", code=LOT)
    first, second = lines(document, "Shipping")
    assert {**first, "VoiceCode": "", "Ledger Entry": ""} == {
        "(1) TLC-GTIN": GTIN, "(1) TLC-Batch": "P-1", "Date Code": "2026-12-01", "Date Type": "Best Before",
        "VoiceCode": "", "Pallet ID": "", "TLC-Assigned By": f"市场 {NODE}", "(2) Qty & UOM": "60 KGM",
        "(3) Product Description": '=HYPERLINK("x")', "(4) Ship-To Location": f"市场 {OTHER}",
        "Ship-To ID": f"{OTHER}0000", "(5) Ship-From Location": f"市场 {NODE}", "Ship-From ID": NODE,
        "(6) Ship Date": first["(6) Ship Date"], "(7) TLC Source Ref GLN": NODE, "FFRN": "", "URL": "", "GGN": "",
        "Assigned By": f"市场 {NODE}", "(8) Ref Doc Type and Number": "desadv urn:suyuan:voucher:D-1",
        "Check": "Passed", "Ledger Entry": "",
    }  # fmt: skip
    assert str(first["(6) Ship Date"]) == "2026-11-20" and first["Ledger Entry"].startswith(f"{NODE}/")
    assert first["VoiceCode"] == voice_code(GTIN, "P-1", first["(6) Ship Date"].replace(month=12, day=1))
    assert second["(3) Product Description"] == "@salad" and second["Check"] == (
        "Failed: shipping event lacks the location of the immediate subsequent recipient (21 CFR 1.1340(a)(4)). Ask "
        "who shipped it. Failed: shipping event lacks the reference document type and number (21 CFR 1.1340(a)(8)). "
        "Ask who shipped it."
    )
    (came,) = lines(document, "Receiving")
    assert [came[head] for head in RECEIVING[:2]] == [f"市场 {NODE} {NODE}0000", f"市场 {OTHER} {OTHER}"]
    assert came["Check"] == "Passed" and came["TLC Source Name"] == f"市场 {NODE}" and came["TLC Source Zip"] == ""
    cut = {(one["Input or Output"], one["(1) TLC-Batch"], one["(2) Qty & UOM"]) for one in
           lines(document, "Transformation")}  # fmt: skip
    assert cut == {("Input", "P-1", "50 KGM"), ("Output", "M-1", "45 KGM")}


def test_who_may_not_see_a_deal_is_told_that_it_is_missing(server: Server, farm: httpx.Client) -> None:
    answer = server.client(Role.WHOLESALER, OTHER).post("/reports/fsma204", json={"parameters": {"code": LOT}})
    assert answer.status_code == 200
    problem_of(
        server.client(Role.WHOLESALER, "000000001").post("/reports/fsma204", json={"parameters": {"code": LOT}}), 404,
        "NoSuchNameException",
    )  # fmt: skip


def test_days_and_one_kind_of_event(server: Server, farm: httpx.Client) -> None:
    some = make(server, "fsma204", code=LOT, **{"from": "2026-11-21", "to": "2026-11-21"})
    assert (len(lines(some, "Shipping")), len(lines(some, "Receiving"))) == (0, 1)
    only = make(server, "fsma204", code=LOT, event="shipping")
    rows = list(csv.reader(io.StringIO(render(only, "csv", Language.ENGLISH).decode("utf-8-sig"))))
    assert rows[0][:20] == SHIPPING.split(" | ") and len(rows) == 3, "one table, sortable"
    for wrong in ({"event": "selling"}, {"from": "yesterday"}):
        body = {"parameters": {"code": LOT, **wrong}}
        problem_of(farm.post("/reports/fsma204", json=body), 400, "ValidationException")


def test_no_cell_is_a_formula_in_any_format(server: Server, farm: httpx.Client) -> None:
    """A description that a stranger wrote must not run on a regulator's machine."""
    document = make(server, "fsma204", code=LOT)
    for form in FORMATS:
        assert render(document, form, Language.CHINESE)
    text = render(document, "csv", Language.ENGLISH).decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert '\'=HYPERLINK("x")' in cells and "'@salad" in cells
    workbook = load_workbook(io.BytesIO(render(document, "xlsx", Language.ENGLISH)))
    cells = [cell for sheet in workbook for row in sheet.iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f" or str(cell.value or "")[:1] in ("=", "@", "+")]


# --- DSCSA --------------------------------------------------------------------------------------------


@pytest.fixture
def drugs(server: Server) -> Server:
    """Two packs of a lot that were made, shipped and received; one of them was shipped on."""
    filed(server.ledger, PRODUCT, [{
        "product": DRUG, "gtin": DRUG, "name": "阿莫西林胶囊", "english": "Amoxicillin", "kind": "drug",
        "dosage_form": "胶囊", "specification": "0.25 g", "units_per_pack": "24", "unit": "H87",
    }])  # fmt: skip
    packs = [f"https://id.gs1.org/01/{DRUG}/21/{serial}" for serial in ("S1", "S2")]
    ilmd = {"cbvmda:lotNumber": "B9", "cbvmda:itemExpirationDate": "2028-06-30"}
    events = [
        at(NODE, "drug-made", "commissioning", "20T08", action="ADD", epcList=packs, ilmd=ilmd),
        at(NODE, "drug-sent", "shipping", "20T10", epcList=packs, **dealt(NODE, OTHER, "D-7")),
        at(OTHER, "drug-came", "receiving", "21T06", epcList=packs, **dealt(NODE, OTHER, "D-7")),
        at(OTHER, "drug-away", "shipping", "22T09", epcList=packs[:1]),
    ]  # fmt: skip
    answer = capture(server.client(), [{"@context": CONTEXT, **one} for one in events])
    assert answer.json()["success"], answer.text
    sign(server.ledger)
    return server


def test_a_packs_information_history_and_statement(drugs: Server) -> None:
    document = make(drugs, "dscsa", code=f"(01){DRUG}(21)S1")
    (facts,) = [one for one in document.sections if isinstance(one, Facts)]
    said = {name.en: value for name, value in facts.pairs}
    assert (said["proprietary or established name (A)"], said["lot number (F)"], said["expiry"]) == (
        "阿莫西林胶囊", "B9", "2028-06-30",
    )  # fmt: skip
    assert (said["container size (D)"], said["number of containers (E)"], said["serial number"]) == ("24 H87", 1, "S1")
    first, second = lines(document, "history")
    assert first["from whom (I)"] == f"{NODE} 市场 {NODE}" and first["to whom (J)"] == f"{OTHER} 市场 {OTHER}"
    assert str(first["date of the transaction (G)"]) == "2026-11-20" and first["missing"] == ""
    assert first["entries"].split() == [f"{NODE}/2", f"{OTHER}/1"] or len(first["entries"].split()) == 2
    assert second["missing"] == "转入方 to whom; 单据 document"
    assert [line["item"] for line in lines(document, "statement")] == [letter for letter, _ in STATEMENT]
    for form in FORMATS:
        assert render(document, form, Language.CHINESE)


def test_a_lot_is_its_packs_together(drugs: Server) -> None:
    document = make(drugs, "dscsa", code=f"(01){DRUG}(10)B9")
    (facts,) = [one for one in document.sections if isinstance(one, Facts)]
    said = {name.en: value for name, value in facts.pairs}
    assert (said["number of containers (E)"], said["lot number (F)"]) == (2, "B9")
    assert [line["containers"] for line in lines(document, "history")] == [2, 1]


def test_what_it_is_not_of_is_a_problem(drugs: Server) -> None:
    client = drugs.client()
    for code, status, name in (
        ("(00)069012345000000019", 400, "QueryParameterException"), (f"(01){DRUG}(10)NONE", 404, "NoSuchNameException"),
        ("", 400, "ValidationException"),
    ):  # fmt: skip
        problem_of(client.post("/reports/dscsa", json={"parameters": {"code": code}}), status, name)
