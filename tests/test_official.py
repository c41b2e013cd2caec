"""Official records: into scans and back without loss, recorded once however often they come, refused with reasons."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ledger import Ledger
from ledger.access import Role
from ledger.codes import parse_party
from ledger.errors import UnacceptableRecord
from ledger.exchange import Document, read_document, write_document
from ledger.official import BY_RECORD, RECORDS, OfficialRecord, merged, records_of, scan_of
from ledger.registers import NODE
from ledger.registers.supervision import VoucherKind
from ledger.steps import BY_NAME, Amount, How, Scan, Voucher, event_of
from tests.test_http import Server, problem_of, serving
from tests.test_registry import filed

ZONE = ZoneInfo("Asia/Shanghai")
MARKET, WHOLESALE, ABATTOIR = "330212014", "330212013", "330212012"
STALL = f"{MARKET}0001"


def sale(**fields: str) -> dict[str, str]:
    return {
        "retail_market_id": MARKET, "sale_date": "20261125080000", "retailer_id": STALL, "goods_code": "21113011",
        "weight": "1.25", "price": "25.8", "sale_tran_id": f"{STALL}0000001", "batch_id": "20261124000000000001",
    } | fields  # fmt: skip


# --- the table ------------------------------------------------------------------------------------


def test_every_row_names_a_step_and_where_it_was_seen() -> None:
    for row in RECORDS:
        assert row.step in BY_NAME and row.source and row.chinese
        names = [field.name for field in row.fields]
        assert len(names) == len(set(names)) and set(row.key) <= set(names), row.name
        assert all(field.source and field.chinese for field in row.fields)
        assert row.name.startswith(BY_NAME[row.step].record), "the stem that the step gives"
        assert row.detail is None or any(field.name == "tran_id" and field.required for field in row.fields)


def values_for(row: OfficialRecord) -> st.SearchStrategy[dict[str, str]]:
    def value(ours: str | None) -> st.SearchStrategy[str]:
        digits = {
            "node": st.just(MARKET), "party": st.just(STALL), "counterparty": st.just(f"{WHOLESALE}0003"),
            "at": st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(lambda at: at.strftime("%Y%m%d%H%M%S")),
            "quantity": st.decimals("0.001", "999999", places=3).map(lambda d: f"{d:f}"),
            "result": st.sampled_from("01"),
            "price": st.decimals("0.01", "999", places=2).map(lambda d: f"{d:f}"),
            "goods": st.sampled_from(["21113011", "01211"]),
            "batch": st.from_regex("[0-9]{16}|[0-9]{20}", fullmatch=True),
            "trace": st.just(f"{STALL}0000001"),
        }  # fmt: skip
        return digits.get(ours or "", st.from_regex("[A-Z0-9]{1,20}", fullmatch=True))

    must = {field.name: value(field.ours) for field in row.fields if field.required and field.ours}
    may = {field.name: value(field.ours) for field in row.fields if not field.required and field.ours}
    return st.fixed_dictionaries(must, optional=may)


def event_of_body(body: dict[str, Any]) -> dict[str, Any]:
    """The event that the ledger makes of a scan's body, where the lot is as named."""
    step, raw = BY_NAME[body["step"]], {name: value for name, value in body.items() if name != "offline"}
    amount = Decimal(body["quantity"]) if "quantity" in body else None
    uom = None if body.get("unit") == "H87" else body.get("unit")
    lot = Amount(body.get("lot") or f"urn:suyuan:lot:{body['goods']}:1", amount, uom)
    made = Amount(f"urn:suyuan:trace:{body['trace']}", amount, uom) if step.how is How.SELL else None
    scan = Scan(
        body["scan"], step, int(body["node"]), parse_party(body.get("party", f"{body['node']}0000")),
        datetime.fromisoformat(body["at"]), body.get("goods"), amount, uom, price=body.get("price"),
        counterparty=body.get("counterparty"), trace=body.get("trace"), result=body.get("result"), raw=raw,
        vouchers=[Voucher(next(k for k in VoucherKind if k == one["kind"]), one["number"])
                  for one in body.get("vouchers", [])],
    )  # fmt: skip
    slip = f"urn:suyuan:trace:{body['trace']}" if step.how is How.LEAVE and "trace" in body else None
    return event_of(scan, [lot], made, slip)


@pytest.mark.parametrize("row", RECORDS, ids=lambda row: row.name)
@given(data=st.data())
def test_what_comes_as_a_record_goes_out_as_the_same(row: OfficialRecord, data: st.DataObject) -> None:
    """Record to scan to event to record: no field of ours is lost or changed."""
    record = data.draw(values_for(row))
    ((name, back),) = records_of(event_of_body(scan_of(row.name, record, ZONE)), {}, ZONE)
    assert name == row.name and back.items() >= record.items()


def test_the_names_of_nodes_are_given_and_of_others_left_out() -> None:
    ((_, back),) = records_of(event_of_body(scan_of(RECORDS[-2].name, sale(), ZONE)), {MARKET: "城东"}, ZONE)
    assert back["retail_market_name"] == "城东" and "retailer_name" not in back


def test_what_is_erased_is_no_half_record() -> None:
    event = event_of_body(scan_of("retail_market_tran_info_summ", sale(), ZONE))
    del event["suyuan:scan"]
    assert records_of(event, {}, ZONE) == []


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("weight", "1,5"), ("weight", "-1"), ("weight", "1e3"), ("weight", ""), ("price", "free"), ("sale_date", "2026"),
     ("sale_date", "20261325080000"), ("sale_date", "19991231"), ("retailer_id", f"{WHOLESALE}0001"),
     ("retailer_id", "1"), ("retail_market_id", "33021"), ("sale_tran_id", "1"), ("goods_code", "pork"),
     ("batch_id", "x"), ("tran_id", "a b"), ("goods_name", "x\0"), ("goods_name", "x" * 201), ("goods_class", "0"),
     ("sale_date", "２０２６１１２５")],
)  # fmt: skip
def test_a_field_that_makes_no_sense_is_named(field: str, value: str) -> None:
    with pytest.raises(UnacceptableRecord) as refused:
        scan_of("retail_market_tran_info_summ", sale(**{field: value}), ZONE)
    assert [one.path for one in refused.value.breaches] == [field]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UnacceptableRecord) as refused:
        scan_of("retail_market_tran_info_summ", {"weight": "x", "other": "y"}, ZONE)
    required = {field.name for field in BY_RECORD["retail_market_tran_info_summ"].fields if field.required}
    assert {one.path for one in refused.value.breaches} == required | {"weight", "other"}


def test_an_unknown_record_is_refused() -> None:
    with pytest.raises(UnacceptableRecord, match="no official record"):
        scan_of("meat_theft_info", {}, ZONE)


BASE, DETAIL = "wholesale_in_info_base", "wholesale_in_info_detail"


def test_details_take_what_their_base_says() -> None:
    given_ = [(DETAIL, {"tran_id": "T1", "weight": "2"}), (BASE, {"tran_id": "T1", "in_date": "20261125"}),
              (DETAIL, {"tran_id": "T1", "weight": "3"})]  # fmt: skip
    whole = [{"tran_id": "T1", "in_date": "20261125", "weight": weight} for weight in "23"]
    assert list(merged(given_)) == [(BASE, one) for one in whole]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([(BASE, {"tran_id": "T1"})], "no wholesale_in_info_detail"),
        ([(DETAIL, {"tran_id": "T1"})], "no wholesale_in_info_base"),
        ([(BASE, {"tran_id": "T1"}), (DETAIL, {"tran_id": "T2"})], "of this document has it"),
        ([(BASE, {"tran_id": "T1"}), (BASE, {"tran_id": "T1"}), (DETAIL, {"tran_id": "T1"})], "two"),
        ([(BASE, {"tran_id": "T1", "price": "1"}), (DETAIL, {"tran_id": "T1", "price": "2"})], "different"),
        ([("x", {})], "no official record"),
    ],
)  # fmt: skip
def test_halves_without_their_other_half_are_told(records: list[Any], said: str) -> None:
    found = [one for _, one in merged(records)]
    assert any(isinstance(one, UnacceptableRecord) and said in str(one) for one in found)
    assert not [one for one in found if isinstance(one, dict)]


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def server(ledger: Ledger) -> Iterator[Server]:
    with serving(ledger) as found:
        yield found


@pytest.fixture
def city(server: Server) -> httpx.Client:
    kinds = {ABATTOIR: "slaughterhouse", WHOLESALE: "wholesale_market", MARKET: "market"}
    rows = [{"node": node, "name": kind, "trace_scheme": "A", "kind": kind} for node, kind in kinds.items()]
    filed(server.ledger, NODE, rows)
    return server.client()


def document(*records: tuple[str, dict[str, str]]) -> Document:
    return Document(MARKET, datetime.now(UTC).strftime("%Y%m%d%H%M%S000"), "20261125", records)


def send(client: httpx.Client, *records: tuple[str, dict[str, str]], xml: bool = True) -> list[dict[str, Any]]:
    data = write_document(document(*records), xml=xml)
    kind = "application/xml" if xml else "application/json"
    answer = client.post("/official", content=data, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    return answer.json()["records"]


def events(server: Server) -> int:
    with server.ledger.database.connect() as connection:
        connection: psycopg.Connection
        return connection.execute("SELECT count(*) FROM event").fetchone()[0]


SALE = "retail_market_tran_info_summ"


@pytest.mark.parametrize("xml", [True, False])
def test_a_document_is_recorded_once_and_given_back(city: httpx.Client, server: Server, xml: bool) -> None:
    first, again = (send(city, (SALE, sale()), xml=xml)[0] for _ in range(2))
    assert first["status"] == 201 and again["status"] == 200, (first, again)
    assert first["entries"] == again["entries"] and events(server) == 1
    accept = {"Accept": "application/xml" if xml else "application/json"}
    answer = city.get(f"/official/{SALE}", params={"node": MARKET}, headers=accept)
    ((name, back),) = read_document(answer.content, xml=xml).records
    assert name == SALE and back == sale() | {"retail_market_name": "market"}


def test_one_bad_record_stops_no_other(city: httpx.Client, server: Server) -> None:
    bad, elsewhere = sale(weight="x"), sale(retail_market_id="330212999", retailer_id="3302129990001")
    answers = send(city, (SALE, bad), (SALE, elsewhere), ("theft", {}), (SALE, sale()))
    assert [one.get("status") for one in answers] == [None, None, None, 201]
    assert answers[0]["problem"]["errors"][0]["path"] == "weight" and events(server) == 1


def test_the_same_key_with_other_content_conflicts(city: httpx.Client, server: Server) -> None:
    send(city, (SALE, sale()))
    (answer,) = send(city, (SALE, sale(weight="9")))
    assert answer["problem"]["status"] == 409 and events(server) == 1


def test_base_and_detail_are_one_scan_each_detail(city: httpx.Client, server: Server) -> None:
    base = {"wholesale_market_id": WHOLESALE, "in_date": "20261125060000", "wholesaler_id": f"{WHOLESALE}0001",
            "tran_id": "T1", "quarantine_animal_products_id": "330212000117"}  # fmt: skip
    details = [{"tran_id": "T1", "batch_id": f"2026112400000000000{n}", "goods_code": "21113011", "weight": "5"}
               for n in range(2)]  # fmt: skip
    answers = send(city, (BASE, base), *((DETAIL, one) for one in details))
    assert [one.get("status") for one in answers] == [201, 201], answers
    back = city.get(f"/official/{BASE}", params={"node": WHOLESALE})
    found = list(merged(read_document(back.content, xml=False).records))
    assert [dict(fields).items() >= (base | one).items() for (_, fields), one in
            zip(found, details, strict=True) if not isinstance(fields, UnacceptableRecord)] == [True, True]  # fmt: skip


def test_pages_follow_the_chain_and_days_bound_them(city: httpx.Client) -> None:
    send(city, *((SALE, sale(sale_tran_id=f"{STALL}{n:07d}", sale_date=f"2026112{n}080000")) for n in range(1, 6)))
    seen, after = [], "0"
    while after is not None:
        answer = city.get(f"/official/{SALE}", params={"node": MARKET, "limit": 2, "after": after})
        seen += [one["sale_tran_id"] for _, one in read_document(answer.content, xml=False).records]
        after = answer.headers.get("next-after")
    assert seen == [f"{STALL}{n:07d}" for n in range(1, 6)]
    days = city.get(f"/official/{SALE}", params={"node": MARKET, "from": "2026-11-22", "to": "2026-11-23"})
    assert len(read_document(days.content, xml=False).records) == 2


def test_what_was_taken_back_is_not_given(city: httpx.Client) -> None:
    (made,) = send(city, (SALE, sale()))
    reason = {"reason": "incorrect_data", "at": "2026-11-25T09:00:00+08:00"}
    assert city.post(f"/scans/{made['scan']}/void", json=reason).status_code == 201
    answer = city.get(f"/official/{SALE}", params={"node": MARKET})
    assert read_document(answer.content, xml=False).records == []


def test_nobody_sees_or_writes_another_nodes_records(city: httpx.Client, server: Server) -> None:
    send(city, (SALE, sale()))
    other = server.client(Role.TERMINAL, WHOLESALE)
    (answer,) = send(other, (SALE, sale(sale_tran_id=f"{STALL}0000002")))
    assert answer["problem"]["status"] == 403 and events(server) == 1
    assert other.get(f"/official/{SALE}", params={"node": MARKET}).status_code == 403
    assert server.with_key(None).get(f"/official/{SALE}", params={"node": MARKET}).status_code == 401


def test_what_is_no_document_or_record_is_a_problem(city: httpx.Client) -> None:
    kind = {"Content-Type": "application/xml"}
    problem_of(city.post("/official", content=b"<!DOCTYPE x><x/>", headers=kind), 400, "ValidationException")
    assert city.post("/official", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    problem_of(city.get("/official/theft", params={"node": MARKET}), 404, "NoSuchNameException")


def test_what_is_given_back_can_be_taken_again(city: httpx.Client) -> None:
    """A base and its details come out as they go in: flat, another city would refuse each as half a record."""
    base = {"wholesale_market_id": WHOLESALE, "in_date": "20261125060000", "wholesaler_id": f"{WHOLESALE}0001",
            "tran_id": "T9", "prov_id": "P9"}  # fmt: skip
    details = [{"tran_id": "T9", "goods_code": code, "weight": "12.5"} for code in ("01211", "01231201")]
    send(city, (BASE, base), *((DETAIL, one) for one in details))
    found = read_document(city.get(f"/official/{BASE}", params={"node": WHOLESALE}).content, xml=False)
    assert [name for name, _ in found.records] == [BASE, DETAIL, DETAIL]
    assert set(found.records[0][1]) >= {"wholesale_market_id", "in_date", "wholesaler_id", "tran_id"}
    again = list(merged(found.records))
    assert [fields["goods_code"] for _, fields in again if not isinstance(fields, UnacceptableRecord)] == [
        "01211", "01231201",
    ]  # fmt: skip
