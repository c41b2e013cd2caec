"""Sheets: what people save out of spreadsheets is read as they meant it or refused, and what is written is safe."""

import csv
import io
import zipfile
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from api import sheets
from api.ledger import Ledger
from api.sheets import Format, read_sheet, write_sheet
from ledger.errors import LedgerError, LimitExceeded, UnacceptableRecord, UnreadableCode
from ledger.filing import Filed, Line, file_lines
from ledger.nodes import OPERATOR
from ledger.publishing import OWN as PUBLISHER
from ledger.registers import (
    CERTIFICATE,
    GOODS,
    HANDLING,
    HOLD,
    LICENCE,
    NODE,
    PARTY,
    PRODUCT,
    PUBLISHED_REPORT,
    RECALL,
    RECALL_ANSWER,
    REGION,
    REGISTERS,
    REPORT_SCHEDULE,
    RULE_SET,
    SILENCE,
    SUBSCRIPTION,
    YIELD,
    Register,
)
from ledger.registry import Record, Wanted, pages
from reports.document import FORMULAS

TODAY = date(2026, 11, 25)
FIRM = "91350100M000100Y43"
SHEET = [["party", "kinds", "legal_name", "credit_code"], ["3302120010001", "retailer", "虚构蔬菜", FIRM]]


def as_csv(rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(encoding)


def as_xlsx(rows: Sequence[Sequence[object]]) -> bytes:
    workbook, file = Workbook(), io.BytesIO()
    sheet: Any = workbook.active
    for row in rows:
        sheet.append(row)
    workbook.save(file)
    return file.getvalue()


def lines(data: bytes, register: Register = PARTY) -> list[Line]:
    return list(read_sheet(io.BytesIO(data), register)[0])


def texts(data: bytes, register: Register = PARTY) -> list[dict]:
    return [dict(line.given) for line in lines(data, register)]


def repacked(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """A workbook with one of its parts changed."""
    source, made = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for part in source.namelist():
            packed.writestr(part, change(source.read(part)) if part == name else source.read(part))
    return made.getvalue()


WANTED = [dict(zip(SHEET[0], SHEET[1], strict=True))]

# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "gb2312"])
def test_a_text_is_read_in_all_encodings_that_spreadsheets_save(encoding: str) -> None:
    assert texts(as_csv(SHEET, encoding)) == WANTED


def test_gb_18030_is_noticed_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Chinese character of a long sheet may stand on its last line."""
    rows = [["party", "legal_name"], *([f"330212001{n:04}", "ascii"] for n in range(3000)), ["3302120019999", "樟木"]]
    assert texts(as_csv(rows, "gb18030"))[-1] == {"party": "3302120019999", "legal_name": "樟木"}


def test_a_character_of_four_bytes_is_read() -> None:
    rows = [SHEET[0], ["3302120010001", "retailer", "\u3400\U00020000蔬菜", FIRM]]
    for encoding in ("utf-8", "gb18030"):
        assert texts(as_csv(rows, encoding))[0]["legal_name"] == "\u3400\U00020000蔬菜"


def test_a_workbook_is_read() -> None:
    assert texts(as_xlsx(SHEET)) == WANTED


HEADS = {
    "party": ["party", "Party", " PARTY ", "经营者编码", "经营者代码", "id"],
    "kinds": ["kinds", "类型", "kind", "type", "经营者类型", "KINDS"],
    "legal_name": ["legal_name", "名称", "name", "经营者名称", "Legal_Name", "\u3000名称"],
    "credit_code": ["credit_code", "统一社会信用代码"],
}


def test_heads_are_english_chinese_or_official() -> None:
    for turn in range(6):
        head = [names[turn % len(names)] for names in HEADS.values()]
        assert texts(as_csv([head, SHEET[1]])) == WANTED, head


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_every_name_of_every_field_heads_its_column(register: Register) -> None:
    needed = {field.name: field.example for field in register.naming}
    for field in register.fields:
        for name in {field.name, field.chinese, field.option, *field.aliases} - {""}:
            columns = {**needed, name: field.example} if field.name not in needed else {**needed, field.name: "x"}
            rows = [[name if column == field.name else column for column in columns], list(columns.values())]
            (found,) = texts(as_csv(rows), register)
            assert field.name in found


def test_the_order_of_columns_says_nothing_and_unknown_ones_are_named() -> None:
    rows = [["remark", "名称", "", "party"], ["x", "虚构蔬菜", "", "3302120010001"]]
    found, unused = read_sheet(io.BytesIO(as_csv(rows)), PARTY)
    assert [line.given["legal_name"] for line in found] == ["虚构蔬菜"] and unused == ["remark"]


@pytest.mark.parametrize("make", [as_csv, as_xlsx], ids=["csv", "xlsx"])
def test_columns_without_a_head_are_nothing(make: Callable) -> None:
    """Spreadsheets save empty columns to the right of the last one, and notes beside the table."""
    assert texts(make([[*SHEET[0], "", ""], [*SHEET[1], "", "a note"]])) == WANTED


def test_empty_lines_and_short_lines_are_read() -> None:
    data = as_csv([*SHEET, [], ["", "", "", ""], ["3302120010002"]])
    assert [(line.number, line.given["legal_name"]) for line in lines(data)] == [(2, "虚构蔬菜"), (5, "")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_keep_their_numbers_when_a_cell_has_several(end: str) -> None:
    """A bad line is found by its number in the editor, not by how many records stood before it."""
    text = end.join([
        "party,legal_name,address", f'3302120010001,甲,"two{end}lines"', "3302120010002,乙,x",
        f'3302120010003,"{end}{end}丙",x', "", "3302120010004,丁,x",
    ])  # fmt: skip
    assert [(line.number, line.given["party"]) for line in lines(text.encode())] == [
        (2, "3302120010001"), (4, "3302120010002"), (5, "3302120010003"), (9, "3302120010004"),
    ]  # fmt: skip


def test_the_rows_of_a_workbook_keep_their_numbers() -> None:
    assert [line.number for line in lines(as_xlsx([*SHEET, [], [], SHEET[1]]))] == [2, 5]


def test_what_a_spreadsheet_made_a_date_or_number_is_read_as_it_looks() -> None:
    rows = [
        ["party", "证号", "kind", "valid_from", "valid_to"],
        [3302120010001, 123456, "other", datetime(2026, 1, 2, 3, 4), date(2030, 12, 31)],
    ]
    assert texts(as_xlsx(rows), LICENCE) == [
        {"party": "3302120010001", "number": "123456", "kind": "other", "valid_from": "2026-01-02",
         "valid_to": "2030-12-31"},
    ]  # fmt: skip
    (goods,) = texts(as_xlsx([["goods", "tolerance", "shelf-life", "min-c"], ["pig", 2.5, 72.0, -18]]), GOODS)
    assert goods == {"goods": "pig", "tolerance_percent": "2.5", "shelf_life_h": "72", "storage_min_c": "-18"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [110105194912310020, 1.1010519491231e17, 10**15, -(10**15)])
def test_a_number_that_lost_its_digits_is_named(lost: float) -> None:
    """A spreadsheet keeps 15 digits of an identity number and fills up with zeros: that is somebody else's number."""
    (line,) = lines(as_xlsx([["party", "name", "身份证号"], ["3302120010001", "甲", lost]]))
    with pytest.raises(UnreadableCode, match="15 digits"):
        PARTY.field("identity_number").read(line.given["identity_number"], TODAY)
    with pytest.raises(UnreadableCode, match="15 digits"):
        PARTY.field("legal_name").read(line.given["identity_number"], TODAY)


@pytest.mark.parametrize("lost", ["1.10105E+17", "1.10105194912310E17", "110105194912310000"])
def test_a_number_that_a_text_file_lost_is_refused_by_its_field(lost: str) -> None:
    (line,) = lines(as_csv([["party", "name", "身份证号"], ["3302120010001", "甲", lost]]))
    with pytest.raises(UnreadableCode):
        PARTY.field("identity_number").read(line.given["identity_number"], TODAY)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ([], "needs the column party"),
        (["legal_name"], "needs the column party"),
        (["remark", "x"], "needs the column party"),
        (["party", "party"], "two columns are party"),
        (["party", "name", "名称"], "two columns are legal_name"),
        (["3302120010001", "retailer"], "needs the column party"),
    ],
)
@pytest.mark.parametrize("make", [as_csv, as_xlsx], ids=["csv", "xlsx"])
def test_a_sheet_without_its_heads_is_refused(head: list[str], why: str, make: Callable) -> None:
    with pytest.raises(UnacceptableRecord, match=why):
        read_sheet(io.BytesIO(make([head, SHEET[1]])), PARTY)


def test_a_sheet_of_another_register_is_refused() -> None:
    with pytest.raises(UnacceptableRecord, match="number 证号"):
        read_sheet(io.BytesIO(as_csv(SHEET)), LICENCE)


GARBAGE = {
    "nothing": b"",
    "zeros": bytes(1000),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10,
    "utf-16": as_csv(SHEET, "utf-16"),
    "an old workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512),
    "no zip": b"PK\x03\x04" + bytes(100),
    "half a workbook": as_xlsx(SHEET)[:-200],
    "json": b'[{"party": "3302120010001"}]',
    "an open quote": 'party,legal_name\n3302120010001,"甲\n'.encode(),
    "a quote in the middle": 'party,legal_name\n3302120010001,"甲"乙\n'.encode(),
    "bad bytes": b"party,legal_name\n3302120010001,\xff\xff\n",
    "a long cell": b"party,legal_name\n3302120010001," + b"x" * 200_000,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(UnacceptableRecord):
        lines(data)


def test_another_zip_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("party.csv", as_csv(SHEET))
    with pytest.raises(UnacceptableRecord, match="no whole XLSX workbook"):
        lines(file.getvalue())


PARTS = ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml", "xl/styles.xml")


@pytest.mark.parametrize("part", PARTS)
def test_a_workbook_with_a_damaged_part_is_refused(part: str) -> None:
    """An upload that broke off and was packed again; an error of the XML reader would be ours, a 500."""
    for change in (lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"<a/>", lambda data: data[::-1]):
        try:
            found = lines(repacked(as_xlsx(SHEET), part, change))
        except LedgerError:
            continue
        assert part == "xl/styles.xml" and [line.given for line in found] == WANTED


def test_a_workbook_with_a_damaged_byte_is_refused() -> None:
    data = as_xlsx([["party", "legal_name"], *([f"330212001{n:04}", f"甲{n}"] for n in range(500))])
    packed = zipfile.ZipFile(io.BytesIO(data)).getinfo("xl/worksheets/sheet1.xml")
    at = packed.header_offset + 100 + packed.compress_size // 2
    with pytest.raises(UnacceptableRecord):
        lines(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])


def test_a_bad_byte_is_named_by_its_line() -> None:
    data = b"party,legal_name\n" + b"3302120010001,x\n" * 8 + b"3302120010001,\xff\xff\n"
    with pytest.raises(UnacceptableRecord, match="line 10:"):
        lines(data)


def test_a_workbook_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip bomb: small to send, and it says itself how large it is."""
    bomb = repacked(as_xlsx(SHEET), "xl/styles.xml", lambda data: data + b" " * (20 << 20))
    assert len(bomb) < 100_000
    monkeypatch.setattr(sheets, "UNPACKED_BYTES_MAX", 10 << 20)
    with pytest.raises(LimitExceeded, match="more than 10 MiB"):
        lines(bomb)
    monkeypatch.setattr(sheets, "UNPACKED_BYTES_MAX", 30 << 20)
    assert texts(bomb) == WANTED


def test_a_workbook_that_lies_about_its_size_is_refused() -> None:
    honest = repacked(as_xlsx(SHEET), "xl/worksheets/sheet1.xml", lambda data: data + b" " * (4 << 20))
    size = zipfile.ZipFile(io.BytesIO(honest)).getinfo("xl/worksheets/sheet1.xml").file_size
    lying = honest.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != honest
    with pytest.raises(LedgerError):
        lines(lying)


def test_a_long_list_is_read_whole_or_refused() -> None:
    """A list cut off in the middle of a place would be filed as another place."""
    places = [f"urn:example:a:rather:long:name:of:a:place:{number:03}" for number in range(60)]
    for make in (as_csv, as_xlsx):
        try:
            (found,) = texts(make([["node", "locations"], ["330212001", " ".join(places)]]), NODE)
            values, breaches = NODE.read(found, TODAY)
        except LedgerError:
            continue
        assert breaches or values["locations"] == places


# --- what is written ------------------------------------------------------------------------------

OPEN_ROW = {"kinds": ["retailer"], "nodes": [330212001], "status": "active", "version": 1, "party": "3302120010001"}


def party(**values: object) -> Record:
    return Record(PARTY, dict(OPEN_ROW), {**{"party": "3302120010001", "kinds": ["retailer"]}, **values})  # type: ignore[dict-item]


def written(form: Format, records: list[Record], register: Register = PARTY, *, private: bool = True) -> bytes:
    file = io.BytesIO()
    assert write_sheet(file, form, register, records, private=private) == len(records)
    return file.getvalue()


def cells(data: bytes) -> list[list[str]]:
    """All cells, as a spreadsheet sees them."""
    if data[:2] == b"PK":
        sheet: Any = load_workbook(io.BytesIO(data)).worksheets[0]
        assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row), "a formula"
        return [["" if cell is None else str(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))


@pytest.mark.parametrize("form", [*Format])
@pytest.mark.parametrize("text", ["=1+1", "+8619900000001", "@SUM(A1)", "-2+3", '=HYPERLINK("http://x","y")', "+", "-"])
def test_no_cell_becomes_a_formula(form: Format, text: str) -> None:
    """A seller may call himself =HYPERLINK(…); whoever opens the regulator's export must not run it."""
    data = written(form, [party(legal_name=text, address="x")])
    row = cells(data)[1]
    assert f"'{text}" in row and not any(cell.startswith(FORMULAS) for cell in row)
    assert texts(data)[0]["legal_name"] == text, "read again, it is what it was"


def test_a_negative_number_stays_one() -> None:
    goods = Record(GOODS, {"goods": "pig", "version": 1}, {"goods": "pig", "storage_min_c": "-18.5", "name": "-1"})
    assert "-18.5" in cells(written(Format.CSV, [goods], GOODS))[1]


def test_a_text_file_says_that_it_is_utf_8() -> None:
    """Without the mark Excel in China reads it as GBK, and every name is garbage."""
    assert written(Format.CSV, [party(legal_name="李")]).startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("form", [*Format])
def test_an_empty_export_has_its_heads(form: Format) -> None:
    assert cells(written(form, [])) == [[*(field.name for field in PARTY.fields), "status"]]


@pytest.mark.parametrize("form", [*Format])
def test_private_values_are_masked_unless_asked_for(form: Format) -> None:
    one = party(legal_name="李四四", identity_number="11010519491231002X", phone="19900000001", address="虚构路 1 号")
    assert not {"李四四", "11010519491231002X", "19900000001", "虚构路 1 号"} & {
        *cells(written(form, [one], private=False))[1]
    }
    assert {"李四四", "11010519491231002X"} <= {*cells(written(form, [one]))[1]}


LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])


@pytest.mark.parametrize("form", [*Format])
@settings(max_examples=60)
@example(text="'=x")  # an apostrophe of its own before what looks like a formula
@example(text="_x0041_")  # what XLSX would take for an escaped A
@example(text="\uffff")  # no character of XML
@given(text=st.text(LETTERS | st.sampled_from("'=+-@_x0041 \"，,"), min_size=1, max_size=30))
def test_what_is_written_is_read_again(text: str, form: Format) -> None:
    """An export that is corrected in one line and imported again would otherwise change others."""
    values, breaches = PARTY.read({"legal_name": text}, TODAY)
    if not breaches and values["legal_name"]:
        (found,) = texts(written(form, [party(legal_name=values["legal_name"])]))
        assert found["legal_name"] == values["legal_name"]


# --- there and back -------------------------------------------------------------------------------

LOT = "urn:suyuan:lot:21113011:33021200126112500001"
DECIDED = {"grade": "1", "origin": "ordered", "nature": "real", "range": "city", "regime": "cn_food",
           "decided_at": "2026-11-25T08:00:00+08:00"}  # fmt: skip
CITY = {
    REGION: [{"region": "330212", "name": "樟木区", "successor": "330213", "since": "2016-01-01",
              "until": "2021-04-08"}],
    NODE: [{"node": "330212001", "name": "市场", "trace_scheme": "A", "kind": "market", "region": "330213",
            "locations": "https://id.gs1.org/414/6901234500011 urn:example:b"},
           {"node": "330212002", "name": "无", "trace_scheme": "B"}],
    GOODS: [{"goods": "pig", "name": "生猪", "kind": "live_animal", "unit": "H87"},
            {"goods": "21113011", "name": "猪肉", "kind": "meat", "unit": "KGM", "tolerance_percent": "2.50",
             "shelf_life_h": "72", "storage_min_c": "-18.0", "storage_max_c": "4"}],
    YIELD: [{"source": "pig", "goods": "21113011", "least": "70", "most": "100"}],
    PARTY: [{"party": "3302120010001", "kinds": "retailer;farm", "nodes": "330212001 330212002", "position": "A-12",
             "legal_name": "=溯源, \"老李\"", "identity_number": "11010519491231002x", "phone": "+86 19900000001",
             "legal_representative": "李四", "contact": "@王五", "address": "樟木区虚构路 1 号"},
            {"party": "3302120010000", "kinds": "market_opener", "legal_name": "虚构市场", "credit_code": FIRM}],
    LICENCE: [{"party": "3302120010001", "number": "JY13302120000001", "kind": "food_operation", "scope": "散装",
               "issuer": "局", "valid_from": "2026/1/2", "valid_to": "20301231", "scan": "0" * 64},
              {"party": "3302120010001", "number": "12345", "kind": "other", "valid_from": "2026-01-01"}],
    PRODUCT: [{"product": "8123456", "name": "胶囊", "kind": "drug", "gtin": "6901234500301", "units_per_pack": "24",
               "holder": "3302120010000", "approval": "国药准字H00000001", "storage_max_c": "-5"}],
    RECALL: [{**DECIDED, "recall": "ZH-2026-0001", "product": "8123456", "batches": "B1 B2"},
             {**DECIDED, "recall": "ZH-2026-0002", "lots": f"{LOT} urn:epc:class:lgtin:6901234.050040.A1"}],
    CERTIFICATE: [{"certificate": "product:330212000117", "issued": "2026/11/24", "expires": "20261128",
                   "quantity": "500.50", "unit": "千克", "goods": "21113011", "node": "330212001", "used": "0"},
                  {"certificate": "origin:产地-1", "issuer": "局", "issued": "2026-11-25"}],
    HOLD: [{"hold": "330212001-1", "scope": "lot", "target": "urn:epc:class:lgtin:6901234.050040.A1"},
           {"hold": "330212001-2", "scope": "batch", "target": "8123456/=B1", "until": "2026-11-28T08:00:00+08:00"},
           {"hold": "000000000-3", "scope": "party", "target": "3302120010001"}],
    SILENCE: [{"silence": "330212001-1", "subject": LOT, "until": "2026-11-28T08:00:00Z", "cause": "=促销"}],
    HANDLING: [{"warning": f"330212001-{'0a' * 12}", "assignee": "3302120010001", "due": "2026-11-28T08:00:00Z",
                "measures": "-下架"}],
    RULE_SET: [{"rule_set": "meat", "rules": "# 猪肉, \"牛肉\"\nrules: []"}],
    SUBSCRIPTION: [{"subscription": "330212001-erp", "channel": "webhook", "destination": "https://erp.example/hook",
                    "levels": "red orange", "goods": "211 012", "regions": "330212", "kinds": "warning.raised"},
                   {"subscription": "330212001-mail", "channel": "email", "destination": "li@example.com"}],
    RECALL_ANSWER: [{"answer": "330212001-ZH-2026-0001", "acknowledged_at": "2026-11-25T09:00:00+08:00",
                     "unit": "KGM", "found": "12.50", "sold": "37.5", "returned": "0", "destroyed": "12.5"}],
    REPORT_SCHEDULE: [{"schedule": "000000000-morning", "report": "周分析", "format": "电子表格", "language": "en"},
                      {"schedule": "330212001-a", "report": "daily", "format": "pdf"}],
    PUBLISHED_REPORT: [{"published": "330212001-a-2026-11-25", "report": "daily", "period": "2026-11-25",
                        "format": "pdf", "language": "zh", "as_of": "2026-11-26T00:05:12+08:00", "size": "2000",
                        "hash": "0" * 64, "sha256": "1" * 64, "bytes": "48211"}],
}  # fmt: skip
"""A line or two of every register, in the order in which they refer to each other."""


def file(ledger: Ledger, register: Register, given: list[Line]) -> Filed:
    total = Filed()
    keeper = ledger.registrar(PUBLISHER if register is PUBLISHED_REPORT else OPERATOR)
    for part in file_lines(ledger.database, ledger.lanes.record, keeper, register, given):
        total.add(part)
    return total


@pytest.fixture
def city(ledger: Ledger) -> Ledger:
    for register, filed in CITY.items():
        done = file(ledger, register, [Line(number, one) for number, one in enumerate(filed, 2)])
        assert (done.new, done.refusals) == (len(filed), [])
    return ledger


def exported(ledger: Ledger, form: Format, register: Register, *, private: bool) -> bytes:
    data = io.BytesIO()
    every = (one for page in pages(ledger.database, ledger.vault, register, Wanted()) for one in page)
    write_sheet(data, form, register, every, private=private)
    return data.getvalue()


def entries(ledger: Ledger) -> int:
    with ledger.database.connect() as connection:
        return connection.execute("SELECT count(*) FROM entry").fetchone()[0]


def test_an_export_with_all_values_imported_again_changes_nothing(city: Ledger) -> None:
    before = entries(city)
    for register, filed in CITY.items():
        for form in Format:
            data = exported(city, form, register, private=True)
            done = file(city, register, lines(data, register))
            assert done.refusals == [] and done.changed == done.new == 0, (register.name, form)
            assert done.same >= len(filed)
    assert entries(city) == before


def test_an_export_with_masks_imported_again_is_refused(city: Ledger) -> None:
    """Line by line, and nothing is overwritten by asterisks; a public line of it is the same as before."""
    before = entries(city)
    for form in Format:
        done = file(city, PARTY, lines(exported(city, form, PARTY, private=False)))
        assert (done.new, done.changed, done.same) == (0, 0, 1) and [one.line for one in done.refusals] == [3]
        assert {breach.path for breach in done.refusals[0].breaches} >= {"legal_name", "identity_number", "phone"}
        done = file(city, LICENCE, lines(exported(city, form, LICENCE, private=False), LICENCE))
        assert (done.new, done.changed, done.same, len(done.refusals)) == (0, 0, 0, 2)
    assert entries(city) == before
