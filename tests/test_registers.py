"""The registers: what is read, what is refused, what is shown to whom, and which steps there are."""

import string
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.access import ALLOWED, Role
from ledger.errors import NotRecorded, UnreadableCode
from ledger.registers import (
    CERTIFICATE,
    DRUG_MARKET,
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
    Field,
    Register,
    register_of,
)
from ledger.registers import fields as f
from ledger.registers.drugs import Grade, Market, Nature, Origin, Range, RecallStatus, Regime
from ledger.registers.form import MANY_MAX, MASK, Find, Word
from ledger.registers.goods import GoodsKind, ProductKind, Unit
from ledger.registers.parties import KEPT, NEEDED, Gap, LicenceKind, PartyKind, Status, licence_gap
from ledger.registers.places import NodeKind
from ledger.registers.publishing import Form, Scheduled, ScheduleStatus, Tongue
from ledger.registers.supervision import (
    RULES_BYTES_MAX,
    CertificateStatus,
    Channel,
    HoldStatus,
    Progress,
    RuleSetStatus,
    Scope,
    SilenceStatus,
    SubscriptionStatus,
    VoucherKind,
)
from ledger.tables import metadata

TODAY = date(2026, 11, 25)
PERSON, FIRM, TRADER = "11010519491231002X", "91350100M000100Y43", "92330212MA2YP00073"
EVERY = [(register, field) for register in REGISTERS for field in register.fields]
PRIVATE = [(register, field) for register, field in EVERY if field.private]
ids = [f"{register.name}-{field.name}" for register, field in EVERY]
ONE_OF_TWO = {"identity_number", "lots"}
"""Fields that stand for another: a record has exactly one of the two."""
private_ids = [f"{register.name}-{field.name}" for register, field in PRIVATE]


def read(register: Register, name: str, given: object) -> object:
    return register.field(name).read(given, TODAY)


# --- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("register", "field"), EVERY, ids=ids)
def test_every_example_can_be_read(register: Register, field: Field) -> None:
    """Help texts, the API and error messages show it: an example that is refused teaches the wrong thing."""
    found = field.read(field.example, TODAY)
    assert found is not None
    again = field.read([str(one) for one in found] if field.many else str(found), TODAY)
    if field.name not in ("node", "nodes", "region", "successor", "locations"):  # shown in another form
        assert again == found, "what is stored would change when it is filed again"


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_the_examples_together_are_a_record(register: Register) -> None:
    given = {field.name: field.example for field in register.fields if field.name not in ONE_OF_TWO}
    values, breaches = register.read(given, TODAY)
    assert breaches == [] and register.wrong({**values, "successor": None} if register is NODE else values) == []


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_a_register_fits_its_table(register: Register) -> None:
    """An open field without a column could not be filed; a private one with a column would lie in the open."""
    columns = set(metadata.tables[register.table].columns.keys())
    assert {field.name for field in register.open_fields} <= columns
    assert not {field.name for field in register.private_fields} & columns
    assert set(register.key) <= columns and {"version", "digest"} <= columns
    assert register.status is None or register.status in columns
    assert {field.refers for field in register.fields if field.refers} <= set(metadata.tables)


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_no_two_fields_have_one_name(register: Register) -> None:
    """A column of a sheet, or an option of the command, would mean two things."""
    names = [
        name
        for field in register.fields
        for name in {one.casefold() for one in (field.name, field.chinese, field.option, *field.aliases)} - {""}
    ]
    assert len(names) == len(set(names))


def test_every_private_field_has_a_mask_and_no_open_one() -> None:
    assert all((field.mask is not None) == field.private for _, field in EVERY)
    assert len(PRIVATE) == 15 and {register for register, _ in PRIVATE} == {PARTY, LICENCE, SUBSCRIPTION}


def test_registers_come_after_those_that_they_refer_to() -> None:
    """A city's sheets are loaded in this order."""
    before: set[str] = set()
    for register in REGISTERS:
        before.add(register.table)
        assert {field.refers for field in register.fields if field.refers} <= before
    assert [register_of(register.plural) for register in REGISTERS] == [*REGISTERS]


@pytest.mark.parametrize("name", ["party", "credential", "", "PARTIES", "parties "])
def test_there_is_no_other_register(name: str) -> None:
    with pytest.raises(NotRecorded, match="no register"):
        register_of(name)


LISTS = [
    PartyKind, LicenceKind, Status, NodeKind, GoodsKind, ProductKind, Unit,
    Grade, Origin, Nature, Range, Regime, RecallStatus, Market, Gap,
    VoucherKind, CertificateStatus, Scope, HoldStatus, SilenceStatus, Progress, RuleSetStatus, Channel,
    SubscriptionStatus, Scheduled, ScheduleStatus, Form, Tongue,
]  # fmt: skip


@pytest.mark.parametrize("words", LISTS, ids=lambda words: words.__name__)
def test_a_word_is_read_in_both_languages(words: type[Word]) -> None:
    parse = f.one_of(words)
    for word in words:
        assert parse(word.chinese, TODAY) == parse(str(word), TODAY) == str(word)
    assert len({word.chinese for word in words}) == len(words), "one Chinese word would mean two things"
    first = str(next(iter(words)))
    for bad in ("", "x", f"{first.swapcase()}x", "Ｆarm", *({first.swapcase()} - {first})):  # a grade is a digit
        with pytest.raises(UnreadableCode, match="it is one of"):
            parse(bad, TODAY)


# --- one field after the other --------------------------------------------------------------------

GOOD = [
    (PARTY, "party", "3302120010000", "3302120010000"),
    (PARTY, "party", " 3302120010001 ", "3302120010001"),
    (PARTY, "kinds", "retailer", ["retailer"]),
    (PARTY, "kinds", "零售商 批发商", ["retailer", "wholesaler"]),
    (PARTY, "kinds", "retailer; 批发商；farm", ["retailer", "wholesaler", "farm"]),
    (PARTY, "kinds", ["farm", "farm", "种养殖户"], ["farm"]),
    (PARTY, "nodes", "330212001 330212002", [330212001, 330212002]),
    (PARTY, "nodes", ["330212001"], [330212001]),
    (PARTY, "legal_name", "溯源 老李（蔬菜）", "溯源 老李（蔬菜）"),
    (PARTY, "legal_name", "字" * 200, "字" * 200),
    (PARTY, "credit_code", FIRM.lower(), FIRM),
    (PARTY, "identity_number", PERSON.lower(), PERSON),
    (PARTY, "phone", "+86 199-0000-0001", "+8619900000001"),
    (PARTY, "phone", "（0574）8700 0001", "057487000001"),
    (PARTY, "contact", "", None),
    (PARTY, "contact", None, None),
    (PARTY, "nodes", [], None),
    (LICENCE, "number", "JY1", "JY1"),
    (LICENCE, "number", "SC10133020000017", "SC10133020000017"),
    (LICENCE, "scan", "0123456789abcdef" * 4, "0123456789abcdef" * 4),
    (LICENCE, "kind", "营业执照", "business_licence"),
    (NODE, "node", "330212001", 330212001),
    (NODE, "node", "000000001", 1),
    (NODE, "trace_scheme", "B", "B"),
    (NODE, "region", "330213", 330213),
    (NODE, "locations", "https://id.gs1.org/414/6901234500011", ["414/6901234500011"]),
    (NODE, "locations", "urn:example:a urn:example:b", ["urn:example:a", "urn:example:b"]),
    (REGION, "region", "110000", 110000),
    (GOODS, "goods", "pig", "pig"),
    (GOODS, "goods", "012", "012"),
    (GOODS, "unit", "千克", "KGM"),
    (GOODS, "tolerance_percent", "2.50", "2.5"),
    (GOODS, "tolerance_percent", "50", "50"),
    (GOODS, "shelf_life_h", "072", 72),
    (GOODS, "storage_min_c", "-18", "-18"),
    (GOODS, "storage_min_c", "-0.0", "0"),
    (YIELD, "most", "100000", "100000"),
    (PRODUCT, "product", "8123456", "8123456"),
    (PRODUCT, "product", "6901234500301", "06901234500301"),
    (PRODUCT, "units_per_pack", "1000000", 1000000),
    (RECALL, "recall", "ZH-2026-0001", "ZH-2026-0001"),
    (RECALL, "product", "6901234500301", "06901234500301"),
    (RECALL, "batches", "20260101 B2；C3", ["20260101", "B2", "C3"]),
    (RECALL, "batches", "", None),  # the whole product
    (RECALL, "grade", "一级", "1"),
    (RECALL, "nature", "模拟演练", "exercise"),
    (RECALL, "decided_at", "2026-11-25T08:00:00+08:00", "2026-11-25T00:00:00Z"),
    (RECALL, "decided_at", "2026-11-25T00:00:00.9Z", "2026-11-25T00:00:00Z"),
    (RECALL, "lots", "urn:example:a https://example.com/b", ["urn:example:a", "https://example.com/b"]),
    (RECALL, "lots", "urn:epc:class:lgtin:6901234.050040.A1", ["https://id.gs1.org/01/06901234500400/10/A1"]),
    (RECALL, "lots", "https://example.com/01/06901234500400/10/A1", ["https://id.gs1.org/01/06901234500400/10/A1"]),
    (HOLD, "target", "urn:epc:class:lgtin:6901234.050040.A1", "https://id.gs1.org/01/06901234500400/10/A1"),
    (HOLD, "target", "330212001", "330212001"),
    (CERTIFICATE, "certificate", "animal:浙-330212-1", "animal:浙-330212-1"),
    (CERTIFICATE, "certificate", f"promise:{'1' * 40}", f"promise:{'1' * 40}"),
    (CERTIFICATE, "issued", "2026年11月24日", "2026-11-24"),
    (CERTIFICATE, "quantity", "0.000001", "0.000001"),
    (CERTIFICATE, "used", "0.00", "0"),
    (HOLD, "hold", "000000000-a", "000000000-a"),
    (HOLD, "hold", f"330212001-{'a' * 40}", f"330212001-{'a' * 40}"),
    (HOLD, "scope", "批次", "lot"),
    (HOLD, "until", "2026-11-28T08:00:00+08:00", "2026-11-28T00:00:00Z"),
    (SILENCE, "rule", "price_outlier", "price_outlier"),
    (HANDLING, "warning", f"330212001-{'0a' * 12}", f"330212001-{'0a' * 12}"),
    (RULE_SET, "rule_set", "meat-2", "meat-2"),
    (RULE_SET, "rules", "rules:\n\t- id: a\r\n", "rules:\n\t- id: a"),
    (RULE_SET, "rules", f"# {'字' * 80_000}", f"# {'字' * 80_000}"),
    (RULE_SET, "rules", "a ** b", "a ** b"),  # a power, no mask
    (SUBSCRIPTION, "channel", "电子邮件", "email"),
    (SUBSCRIPTION, "levels", "red orange red", ["red", "orange"]),
    (SUBSCRIPTION, "secret", f"whsec_{'A' * 86}==", f"whsec_{'A' * 86}=="),  # 64 bytes
    (RECALL_ANSWER, "answer", "330212001-ZH-2026-0001", "330212001-ZH-2026-0001"),
    (RECALL_ANSWER, "found", "0", "0"),
    (DRUG_MARKET, "rules", "欧盟", "eu"),
    (DRUG_MARKET, "soft", "0", 0),
    (DRUG_MARKET, "replay_s", "600", 600),
]  # fmt: skip


@pytest.mark.parametrize(("register", "name", "given", "stored"), GOOD)
def test_what_can_be_read(register: Register, name: str, given: object, stored: object) -> None:
    assert read(register, name, given) == stored


BAD = [
    (PARTY, "party", "330212001000"),  # 12 digits
    (PARTY, "party", "33021200100011"),
    (PARTY, "party", "9902120010001"),  # no such province
    (PARTY, "party", "330212001000X"),
    (PARTY, "party", "３３０２１２００１０００１"),  # digits of another script
    (PARTY, "kinds", "retail"),
    (PARTY, "kinds", ["retailer", "x"]),
    (PARTY, "kinds", ["retailer", None]),
    (PARTY, "kinds", ["retailer", ["farm"]]),
    (PARTY, "nodes", "33021200"),
    (PARTY, "nodes", [330212001]),  # a number has lost its zeros
    (PARTY, "nodes", [f"33021{number:04}" for number in range(MANY_MAX + 1)]),
    (PARTY, "legal_name", "字" * 201),
    (PARTY, "legal_name", "two\nlines"),
    (PARTY, "legal_name", "a\0b"),
    (PARTY, "legal_name", "half a pair \udcff"),
    (PARTY, "legal_name", "李**"),  # what was masked would take the place of the name
    (PARTY, "legal_name", 7),
    (PARTY, "legal_name", True),
    (PARTY, "legal_name", {"a": 1}),
    (PARTY, "credit_code", "91350100M000100Y44"),  # check character
    (PARTY, "credit_code", "91350100****43"),
    (PARTY, "credit_code", "91350100M000100Y4"),
    (PARTY, "credit_code", PERSON),
    (PARTY, "identity_number", "110105194912310021"),
    (PARTY, "identity_number", "11010519491231002"),
    (PARTY, "identity_number", "110105202711260027"),  # born after today
    (PARTY, "identity_number", 1.1010519491231e17),  # what a spreadsheet makes of it
    (PARTY, "phone", "1234"),
    (PARTY, "phone", "199****0001"),
    (PARTY, "phone", "1" * 21),
    (PARTY, "phone", "phone 12345"),
    (PARTY, "phone", "86+19900000001"),
    (LICENCE, "number", "SC10133020000018"),  # check digit
    (LICENCE, "number", "JY13****01"),
    (LICENCE, "number", "J" * 51),
    (LICENCE, "scan", "0" * 63),
    (LICENCE, "scan", "A" * 64),
    (LICENCE, "kind", "licence"),
    (NODE, "node", "000000002"),
    (NODE, "node", "33021200"),
    (NODE, "trace_scheme", "a"),
    (NODE, "trace_scheme", "C"),
    (NODE, "region", "33021"),
    (NODE, "region", "993300"),
    (NODE, "locations", "somewhere"),
    (NODE, "locations", "urn:suyuan:node:330212001"),  # another node's own name
    (GOODS, "goods", "pigs"),
    (GOODS, "goods", "01"),
    (GOODS, "goods", "013"),
    (GOODS, "goods", "211130111"),
    (GOODS, "unit", "kg"),
    (GOODS, "tolerance_percent", "50.000001"),
    (GOODS, "tolerance_percent", "-0.1"),
    (GOODS, "tolerance_percent", "1e1"),
    (GOODS, "tolerance_percent", "2,5"),
    (GOODS, "tolerance_percent", "0.0000001"),
    (GOODS, "tolerance_percent", ".5"),
    (GOODS, "tolerance_percent", "NaN"),
    (GOODS, "tolerance_percent", 2.5),
    (GOODS, "shelf_life_h", "0"),
    (GOODS, "shelf_life_h", "1.5"),
    (GOODS, "shelf_life_h", "-1"),
    (GOODS, "shelf_life_h", "1000001"),
    (GOODS, "storage_min_c", "-100.1"),
    (PRODUCT, "product", "7123456"),
    (PRODUCT, "product", "812345"),
    (PRODUCT, "product", "6901234500302"),  # check digit
    (PRODUCT, "national_code", "86900000000005"),
    (PRODUCT, "gtin", "8123456"),
    (RECALL, "recall", "zh-2026"),
    (RECALL, "recall", "ZH"),
    (RECALL, "recall", "-ZH1"),
    (RECALL, "product", "812345"),
    (RECALL, "batches", "批一"),
    (RECALL, "batches", "B" * 21),
    (RECALL, "grade", "4"),
    (RECALL, "range", "world"),
    (RECALL, "decided_at", "2026-11-25T08:00:00"),  # whose clock?
    (RECALL, "decided_at", "2026-11-25"),
    (RECALL, "decided_at", "1999-12-31T23:59:59Z"),
    (RECALL, "party", "330212001"),
    (RECALL, "lots", "猪肉"),
    (RECALL, "lots", "21113011:33021200126112500001"),
    (RECALL, "lots", "urn:epc:class:lgtin:6901234.050040"),
    (RECALL, "lots", "urn:example:a 21113011"),
    (RECALL, "lots", f"urn:example:{'a' * 300}"),
    (CERTIFICATE, "certificate", "330212000117"),  # of which kind?
    (CERTIFICATE, "certificate", "transaction:1"),  # a voucher of the market's own, which nobody issued
    (CERTIFICATE, "certificate", "product:"),
    (CERTIFICATE, "certificate", "product:a b"),
    (CERTIFICATE, "certificate", f"product:{'1' * 41}"),
    (CERTIFICATE, "issued", "2026-02-29"),
    (CERTIFICATE, "quantity", "0"),
    (CERTIFICATE, "used", "-1"),
    (CERTIFICATE, "unit", "kg"),
    (HOLD, "hold", "330212001"),
    (HOLD, "hold", "33021200-1"),
    (HOLD, "hold", "330212001-"),
    (HOLD, "hold", "330212001--1"),
    (HOLD, "hold", f"330212001-{'a' * 41}"),
    (HOLD, "hold", "330212001-a b"),  # the name of its row is its key: a space would part it
    (HOLD, "scope", "everything"),
    (HOLD, "until", "2026-11-28T08:00:00"),
    (SILENCE, "rule", "Price"),
    (SILENCE, "until", "tomorrow"),
    (HANDLING, "warning", f"330212001-{'0A' * 12}"),
    (HANDLING, "warning", f"330212001-{'0a' * 11}"),
    (HANDLING, "assignee", "330212001"),
    (RULE_SET, "rule_set", "Meat"),
    (RULE_SET, "rule_set", "m"),
    (RULE_SET, "rules", "a\0b"),  # the database could not keep it, and the change would be a fault of ours
    (RULE_SET, "rules", "half a pair \udcff"),
    (RULE_SET, "rules", "x" * (RULES_BYTES_MAX + 1)),
    (RULE_SET, "rules", "字" * (RULES_BYTES_MAX // 3 + 1)),  # bytes, not characters
    (SUBSCRIPTION, "subscription", "erp"),
    (SUBSCRIPTION, "channel", "sms"),
    (SUBSCRIPTION, "levels", "red pink"),
    (SUBSCRIPTION, "secret", "whsec_c2hvcnQ="),
    (SUBSCRIPTION, "secret_before", "c3V5dWFuLXN1eXVhbi1zdXl1YW4tc3V5dWFu"),
    (RECALL_ANSWER, "answer", "ZH-2026-0001"),
    (RECALL_ANSWER, "answer", "330212001-zh-2026"),
    (RECALL_ANSWER, "sold", "-1"),
    (RECALL_ANSWER, "acknowledged_at", "2026-11-25"),
    (DRUG_MARKET, "market", "food"),
    (DRUG_MARKET, "rules", "us"),
    (DRUG_MARKET, "soft", "10"),
    (DRUG_MARKET, "soft", "-1"),
    (DRUG_MARKET, "replay_s", "601"),
]  # fmt: skip


@pytest.mark.parametrize(("register", "name", "given"), BAD)
def test_what_is_refused(register: Register, name: str, given: object) -> None:
    values, breaches = register.read({name: given}, TODAY)
    assert values == {} and [breach.path for breach in breaches] == [name] and breaches[0].reason


def test_no_region_is_zero() -> None:
    """The ledger's own chains lie in region 000000, which is nobody's: nothing else can be filed there."""
    for register, name in ((REGION, "region"), (REGION, "successor"), (NODE, "region")):
        with pytest.raises(UnreadableCode):
            read(register, name, "000000")


@pytest.mark.parametrize("given", [";", "；", " ; ；"])
def test_separators_alone_are_no_list(given: str) -> None:
    """A party of no kind would be filed, and nobody could say how long its file is kept."""
    values, breaches = PARTY.read(
        {"party": "3302120010001", "kinds": given, "legal_name": "x", "credit_code": FIRM}, TODAY
    )
    assert breaches or any(breach.path == "kinds" for breach in PARTY.wrong(values))


def test_a_field_that_is_not_there_is_named() -> None:
    _, breaches = PARTY.read({"parti": "1", "party": "3302120010001"}, TODAY)
    assert [breach.path for breach in breaches] == ["parti"] and "legal_name" in breaches[0].reason


def test_all_breaches_at_once() -> None:
    given = {"party": "1", "kinds": "x", "legal_name": "\n", "phone": "no"}
    assert {breach.path for breach in PARTY.read(given, TODAY)[1]} == set(given)


# --- dates and numbers, by definition -------------------------------------------------------------

FORMS = ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日"]


@given(st.dates(min_value=date(1000, 1, 1)), st.sampled_from(FORMS))
def test_a_day_is_read_in_all_forms(day: date, form: str) -> None:
    assert f.day(day.strftime(form), TODAY) == day.isoformat() and f.day_of(day.strftime(form)) == day


@given(st.dates(min_value=date(1000, 1, 1)))
def test_a_day_needs_no_zeros_between_separators(day: date) -> None:
    for form in ("{0}-{1}-{2}", "{0}/{1}/{2}", "{0}年{1}月{2}日"):
        assert f.day(form.format(day.year, day.month, day.day), TODAY) == day.isoformat()


@pytest.mark.parametrize(
    "given",
    [
        "", "2026", "2026-11", "2026-02-29", "2026-13-01", "2026-00-01", "20260001", "0000-01-01", "26-11-23",
        "23.11.2026", "2026-1123", "202611-23", "2026 11 23", "2026-11-23T00:00:00Z", "２０２６-11-23", "2026-11-23\n",
        "today", "46349",
    ],
)  # fmt: skip
def test_what_is_no_day(given: str) -> None:
    with pytest.raises(UnreadableCode, match="2026-11-23"):
        f.day(given, TODAY)


@given(st.decimals(min_value=-100, max_value=100, places=6))
def test_a_decimal_number_is_exact_and_shortest(number: Decimal) -> None:
    stored = f.decimal("-100", "100")(f"{number:f}", TODAY)
    assert Decimal(str(stored)) == number
    assert f.decimal("-100", "100")(str(stored), TODAY) == stored
    assert "E" not in str(stored) and (not str(stored).endswith("0") or "." not in str(stored))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2))
def test_a_decimal_number_out_of_bounds_is_refused(number: Decimal) -> None:
    parse = f.decimal("0", "50")
    if 0 <= number <= 50:
        assert Decimal(str(parse(f"{number.copy_abs():f}", TODAY))) == number
    else:
        with pytest.raises(UnreadableCode, match="from 0 to 50"):
            parse(f"{number:f}", TODAY)


# --- what goes together ---------------------------------------------------------------------------


def of(register: Register, **changes: str | None) -> dict[str, object]:
    """A whole record of examples, with these changes."""
    given = {field.name: field.example for field in register.fields if field.name not in ONE_OF_TWO}
    values, breaches = register.read({**given, **changes}, TODAY)
    assert breaches == []
    return dict(values)


LOT = "urn:suyuan:lot:21113011:33021200126112500001"
APART = [
    (PARTY, {"credit_code": None}, "credit_code, identity_number"),
    (PARTY, {"identity_number": PERSON}, "credit_code, identity_number"),
    (LICENCE, {"valid_from": "2026-01-02", "valid_to": "2026-01-01"}, "valid_to"),
    (LICENCE, {"kind": "business_licence", "number": "91350100M000100Y44"}, "number"),
    (NODE, {"node": "000000000"}, "node"),
    (REGION, {"successor": "330212"}, "successor"),
    (REGION, {"since": "2021-04-09"}, "until"),
    (REGION, {"until": None}, "until"),
    (GOODS, {"storage_min_c": "8.1"}, "storage_max_c"),
    (GOODS, {"storage_min_c": "10", "storage_max_c": "9"}, "storage_max_c"),
    (YIELD, {"least": "90.000001"}, "most"),
    (PRODUCT, {"kind": "food", "product": "06901234500301", "national_code": None, "approval": None}, "dosage_form"),
    (PRODUCT, {"kind": "food", "national_code": None, "approval": None, "dosage_form": None}, "product"),
    (PRODUCT, {"storage_max_c": "-1"}, "storage_max_c"),
    (RECALL, {"notified_at": "2026-11-25T07:59:59+08:00"}, "notified_at"),
    (RECALL, {"planned_at": "2026-11-25T09:00:00+10:00"}, "planned_at"),  # the same clock says later, and it is earlier
    (RECALL, {"progress_at": "2026-11-24T23:59:59Z"}, "progress_at"),
    (RECALL, {"product": None}, "product, lots"),  # a recall of nothing
    (RECALL, {"lots": LOT}, "product, lots"),  # a recall of two things
    (RECALL, {"product": None, "batches": None}, "product, lots"),
    (CERTIFICATE, {"issued": "2026-11-29"}, "expires"),
    (CERTIFICATE, {"unit": None}, "unit"),  # 500 of what?
    (CERTIFICATE, {"quantity": None}, "unit"),
    (HOLD, {"scope": "lot", "target": "21113011"}, "target"),
    (HOLD, {"scope": "lot", "target": "猪肉"}, "target"),
    (HOLD, {"scope": "lot", "target": f"{LOT} {LOT}"}, "target"),
    (HOLD, {"scope": "goods", "target": LOT}, "target"),
    (HOLD, {"scope": "goods", "target": "21"}, "target"),
    (HOLD, {"scope": "goods", "target": "pigs"}, "target"),
    (HOLD, {"scope": "goods", "target": "8" * 15}, "target"),
    (HOLD, {"scope": "batch", "target": "8123456"}, "target"),  # the product, and no batch
    (HOLD, {"scope": "batch", "target": "8123456/"}, "target"),
    (HOLD, {"scope": "batch", "target": "7123456/B1"}, "target"),
    (HOLD, {"scope": "batch", "target": "6901234500301/B1"}, "target"),  # a GTIN has 14 digits where it is stored
    (HOLD, {"scope": "batch", "target": f"8123456/{'B' * 21}"}, "target"),
    (HOLD, {"scope": "party", "target": "330212001"}, "target"),
    (HOLD, {"scope": "party", "target": "33021200100011"}, "target"),
    (HOLD, {"scope": "node", "target": "3302120010001"}, "target"),
    (HOLD, {"scope": "node", "target": "33021200"}, "target"),
    (HOLD, {"scope": "node", "target": LOT}, "target"),
    (SILENCE, {"silence": "000000000-1", "rule": None, "subject": None}, "rule, subject"),  # it would silence all
]  # fmt: skip


@pytest.mark.parametrize(("register", "changes", "path"), APART)
def test_what_does_not_go_together(register: Register, changes: dict, path: str) -> None:
    assert [breach.path for breach in register.wrong(of(register, **changes))] == [path]


TOGETHER = [
    (PARTY, {"credit_code": None, "identity_number": PERSON}),
    (LICENCE, {"valid_from": "2026-01-01", "valid_to": "2026-01-01"}),
    (LICENCE, {"kind": "business_licence", "number": FIRM}),
    (LICENCE, {"kind": "business_licence", "number": "330212000000001"}),  # the 15 digits of before 2015
    (REGION, {"until": None, "successor": None}),
    (GOODS, {"storage_min_c": "8"}),
    (GOODS, {"storage_min_c": "9", "storage_max_c": "10"}),  # as numbers, not as texts
    (YIELD, {"least": "90"}),
    (RECALL, {"batches": None}),  # a withdrawal
    (RECALL, {"notified_at": "2026-11-25T00:00:00Z", "planned_at": None, "progress_at": None}),
    (RECALL, {"product": None, "lots": LOT, "batches": None}),  # of food
    (CERTIFICATE, {"issued": "2026-11-28"}),  # of its last day
    (CERTIFICATE, {"expires": None, "quantity": None, "unit": None, "goods": None, "node": None, "used": None}),
    (HOLD, {"scope": "lot", "target": "https://example.com/01/06901234500400/10/A1"}),
    (HOLD, {"scope": "lot", "target": "urn:epc:class:lgtin:6901234.050040.A1"}),
    (HOLD, {"scope": "goods", "target": "pig"}),
    (HOLD, {"scope": "goods", "target": "211"}),
    (HOLD, {"scope": "goods", "target": "06901234500301"}),
    (HOLD, {"scope": "batch", "target": "8123456/B1"}),
    (HOLD, {"scope": "batch", "target": f"06901234500301/{'B' * 20}"}),
    (HOLD, {"scope": "party", "target": "3302120010001", "until": None, "warning": None}),
    (HOLD, {"scope": "node", "target": "330212001"}),
    (SILENCE, {"silence": "000000000-1", "subject": None}),  # one rule, everywhere
    (SILENCE, {"silence": "000000000-1", "rule": None}),  # one subject, whatever is said of it
    (SILENCE, {"rule": None, "subject": None}),  # one node
    (HANDLING, {"assignee": None, "due": None, "measures": None}),
    (SUBSCRIPTION, {"secret_before": None, "levels": None, "nodes": None}),
    (RECALL_ANSWER, {"unit": None, "found": None, "sold": None, "returned": None, "destroyed": None}),
    (DRUG_MARKET, {"soft": None, "replay_s": None}),
]


@pytest.mark.parametrize(("register", "changes"), TOGETHER)
def test_what_goes_together(register: Register, changes: dict) -> None:
    assert register.wrong(of(register, **changes)) == []


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_what_is_missing_is_named_and_nothing_else(register: Register) -> None:
    """With nothing given the checks of what goes together have nothing to look at, and must not be asked."""
    assert [breach.path for breach in register.wrong({})] == [one.name for one in register.fields if one.required]


# --- what is shown, and what never is -------------------------------------------------------------


def shown(**values: str) -> dict:
    return PARTY.shown(values)  # type: ignore[arg-type]


def test_a_persons_data_are_masked() -> None:
    found = shown(
        legal_name="欧阳虚构", identity_number=PERSON, legal_representative="李四", contact="王五六",
        phone="19900000001", address="樟木区虚构路 1 号", position="A-12",
    )  # fmt: skip
    assert found == {
        "party": None, "kinds": None, "nodes": None, "credit_code": None, "legal_name": "欧**",
        "identity_number": "1101****2X", "legal_representative": "李**", "contact": "王**", "phone": "199****0001",
        "address": "****", "position": "****",
    }  # fmt: skip


def test_an_organisations_name_and_code_are_public() -> None:
    found = shown(legal_name="虚构食品有限公司", credit_code=FIRM, contact="王五")
    assert (found["legal_name"], found["credit_code"], found["contact"]) == ("虚构食品有限公司", FIRM, "王**")


def test_a_sole_traders_are_not() -> None:
    """The name of a shop of one person is that person's, and so is its code."""
    found = shown(legal_name="虚构李氏蔬菜摊", credit_code=TRADER)
    assert (found["legal_name"], found["credit_code"]) == ("虚**", "923302****73")


def test_a_licence_is_masked() -> None:
    found = LICENCE.shown({"number": "JY13302120000001", "scope": "散装", "issuer": "局", "kind": "other"})
    assert (found["number"], found["scope"], found["issuer"], found["kind"]) == ("JY13****01", "****", "****", "other")


OPEN_TO_SEE = {"position", "scan"}
"""Private since they are part of a file that is erased; shown to whoever may see the record at all."""
HIDDEN = [(register, field) for register, field in PRIVATE if field.name not in OPEN_TO_SEE]


@pytest.mark.parametrize(("register", "field"), HIDDEN, ids=[f"{r.name}-{one.name}" for r, one in HIDDEN])
@given(value=st.text("甲乙丙丁ABC0123456789", min_size=1, max_size=20))
def test_a_mask_hides_enough(register: Register, field: Field, value: str) -> None:
    """At least four characters of a number, all but the first of a name; never the whole."""
    if field.name == "credit_code":
        value = f"92{value}"  # of a sole trader; an organisation's is public
    masked = register.shown({field.name: value})[field.name]
    assert isinstance(masked, str) and MASK * 2 in masked
    left = masked.replace(MASK, "")
    if field.mask in (f.mask_name, f.mask_legal_name):
        assert left in (value[:1], "")
        assert left != value, "a name of one character is shown whole"
    else:
        assert left == "" or len(value) - len(left) >= 4


@pytest.mark.parametrize(("register", "field"), HIDDEN, ids=[f"{r.name}-{one.name}" for r, one in HIDDEN])
def test_what_was_masked_is_not_taken_for_the_value(register: Register, field: Field) -> None:
    """Whoever exports a sheet with masks and imports it again would overwrite all names."""
    values = {field.name: field.example} if field.name != "legal_name" else {"legal_name": field.example}
    masked = register.shown({field.name: values[field.name]})[field.name]
    if masked != field.example:  # an organisation's code is public
        assert register.read({field.name: masked}, TODAY)[1]


def spoiled(example: str) -> Iterator[str]:
    for at in range(len(example)):
        yield example[:at] + "?\x07" + example[at:]
        yield example[:at] + "0" + example[at + 1 :]
        yield example[:at] + example[at + 1 :]


def unlike(value: str) -> str:
    """Another value of the same form: each letter, digit and sign of writing is another one."""

    def other(one: str) -> str:
        if one in string.digits:
            return str((int(one) + 1) % 10)
        if one in string.ascii_letters:
            return chr(ord(one) + 1) if one not in "zZ" else chr(ord(one) - 25)
        return "龘" if one.isalpha() and not one.isascii() else one

    return "".join(map(other, value))


def told_of(register: Register, field: Field, value: str) -> str:
    values, breaches = register.read({field.name: value}, TODAY)
    breaches += register.wrong({**of(register), **values})
    return " ".join(f"{breach} {breach.reason}" for breach in breaches)


@pytest.mark.parametrize(("register", "field"), PRIVATE, ids=private_ids)
@settings(max_examples=25)
@given(junk=st.text(min_size=1, max_size=600))
def test_no_breach_repeats_a_private_value(register: Register, field: Field, junk: str) -> None:
    """Breaches are logged, printed and sent: six characters in a row would be half a name or number.

    What is said just so of a value without those characters is the message's own.
    """
    example = field.example
    for value in (*spoiled(example), junk, f"獬豸貔貅饕餮{junk}", f"{example}{junk}", f"9{example}"):
        said = told_of(register, field, value)
        pieces = {value[at : at + 6] for at in range(len(value) - 5)}
        repeated = [piece for piece in pieces if piece in said and piece.strip("* ")]
        own = told_of(register, field, unlike(value)) + "whsec_ https://" if repeated else ""  # so they all begin
        assert not [piece for piece in repeated if piece not in own]


def test_no_value_is_repeated_but_where_it_is_wrong_is_said() -> None:
    """In a slipped column an identity number stands where the code should; the field and the character find it."""
    (breach,) = PARTY.read({"party": "3302120010001X"}, TODAY)[1]
    assert "3302120010001X" not in breach.reason and breach.path == "party" and "character 14" in breach.reason
    (breach,) = PARTY.read({"李四": "x"}, TODAY)[1]
    assert "李四" not in str(breach)


# --- steps ----------------------------------------------------------------------------------------

TRADING = {("suspend", "active", "suspended"), ("resume", "suspended", "active")}
ENDING = {("revoke", "active", "revoked"), ("revoke", "suspended", "revoked")}
LEAVING = {("leave", before, "left") for before in ("active", "suspended", "revoked")}
STEPS = {
    "party": TRADING | ENDING | LEAVING | {("return", "left", "active"), ("reinstate", "revoked", "active")},
    "licence": TRADING | ENDING,
    "node": {("close", True, False), ("reopen", False, True)},
    "recall": {("end", "active", "ended")},
    "difference": {("resolve", "open", "resolved")},
    "certificate": {("void", "valid", "void"), ("forge", "valid", "forged"), ("forge", "void", "forged")},
    "hold": {("release", "active", "released")},
    "silence": {("end", "active", "ended")},
    "handling": {
        ("assign", "open", "assigned"), ("assign", "assigned", "assigned"), ("start", "assigned", "rectifying"),
        ("submit", "assigned", "submitted"), ("submit", "rectifying", "submitted"),
        ("reject", "submitted", "rectifying"), ("reject", "verified", "rectifying"),
        ("verify", "submitted", "verified"),
        ("close", "open", "closed"), ("close", "verified", "closed"), ("reopen", "closed", "open"),
    },
    "rule-set": {("retire", "live", "retired"), ("revive", "retired", "live")},
    "report-schedule": {("end", "active", "ended"), ("revive", "ended", "active")},
    "subscription": {
        ("pause", "active", "paused"), ("resume", "paused", "active"), ("end", "active", "ended"),
        ("end", "paused", "ended"),
    },
}  # fmt: skip
AGAIN = {("handling", "assign")}
"""Steps that may be taken again: who has to do something can be somebody else."""


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_the_steps_are_these(register: Register) -> None:
    found = {(step.name, before, step.after) for step in register.steps for before in step.before}
    assert found == STEPS.get(register.name, set())


def test_no_step_leads_nowhere_or_to_where_it_began() -> None:
    for register in REGISTERS:
        for step in register.steps:
            assert step.before and (step.after in step.before) is ((register.name, step.name) in AGAIN)
            assert register.step(step.name) is step


def test_only_supervisors_revoke() -> None:
    for register in (PARTY, LICENCE):
        assert register.step("revoke").by == {Role.REGULATOR, Role.ADMIN}
        for step in register.steps:
            assert step.by is None or step.by < (ALLOWED[register.keep] or set())


def test_whoever_may_not_revoke_may_not_undo_it() -> None:
    """A market that opens its doors again to a revoked seller would make the regulator's word worth nothing."""
    for step in PARTY.steps:
        if "revoked" in step.before and step.after == "active":
            assert step.by is not None and Role.MARKET not in step.by


def test_only_supervisors_recall_and_only_the_operator_says_whose_rules_hold() -> None:
    assert ALLOWED[RECALL.keep] == {Role.REGULATOR, Role.ADMIN} and ALLOWED[DRUG_MARKET.keep] == {Role.ADMIN}


KEEPERS = [
    (CERTIFICATE, {Role.MARKET, Role.REGULATOR, Role.ADMIN}), (HOLD, {Role.MARKET, Role.REGULATOR, Role.ADMIN}),
    (SILENCE, {Role.MARKET, Role.REGULATOR, Role.ADMIN}), (HANDLING, {Role.MARKET, Role.REGULATOR, Role.ADMIN}),
    (RULE_SET, {Role.ADMIN}), (SUBSCRIPTION, {Role.SUBSCRIBER, Role.MARKET, Role.REGULATOR, Role.ADMIN}),
    (RECALL_ANSWER, set(Role) - {Role.SUBSCRIBER}),
    (REPORT_SCHEDULE, {Role.MARKET, Role.REGULATOR, Role.ADMIN}), (PUBLISHED_REPORT, set()),
]  # fmt: skip


@pytest.mark.parametrize(("register", "roles"), KEEPERS, ids=[register.name for register, _ in KEEPERS])
def test_who_keeps_what_supervision_keeps(register: Register, roles: set[Role]) -> None:
    """A till that releases a hold could sell what it was stopped from selling; a subscriber only hears."""
    assert ALLOWED[register.keep] == roles


@pytest.mark.parametrize(
    ("register", "code"),
    [
        (HOLD, "330212001-1"), (SILENCE, "330212001-1"), (HANDLING, f"330212001-{'0a' * 12}"),
        (SUBSCRIPTION, "330212001-erp"), (RECALL_ANSWER, "330212001-ZH-2026-0001"),
        (REPORT_SCHEDULE, "330212001-morning"), (PUBLISHED_REPORT, "330212001-morning-2026-11-25"),
    ],
)  # fmt: skip
def test_what_begins_with_a_node_belongs_to_it(register: Register, code: str) -> None:
    """Else a market could keep what concerns another's node, or all."""
    assert register.node_of is not None
    for node in (330212001, 330203007, 0):
        values, breaches = register.read({register.key[0]: f"{node:09}{code[9:]}"}, TODAY)
        assert breaches == [] and register.node_of(values) == node
    assert CERTIFICATE.node_of is None and RULE_SET.node_of is None


def test_what_a_hold_is_of_is_never_changed() -> None:
    """What was refused by it would look as if it had been refused for nothing."""
    assert {field.name for field in HOLD.fields if field.stays} == {"hold", "scope", "target"}


def test_what_a_recall_is_of_is_never_changed() -> None:
    """Its packs were refused, or sold, by it: another product, lot, batch or nature is another recall."""
    assert {field.name for field in RECALL.fields if field.stays} == {
        "recall", "product", "lots", "batches", "nature", "decided_at",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", "Suspend", "suspended", "erase"])
def test_there_is_no_other_step(name: str) -> None:
    with pytest.raises(UnreadableCode, match="suspend, resume, revoke, leave, return"):
        PARTY.step(name)


def test_how_long_a_file_is_kept_is_said_for_every_kind() -> None:
    assert set(KEPT) == set(PartyKind) and all(months >= 6 and source for months, source in KEPT.values())


def test_personal_fields_are_found_as_their_kind_of_value_is() -> None:
    """Names by any part, numbers as a whole: a number found by parts could be guessed part by part."""
    numbers = {"credit_code", "identity_number", "phone", "number", "position", "destination"}
    for _, field in PRIVATE:
        wanted = (
            Find.NOT
            if field.name in ("scan", "secret", "secret_before")
            else Find.EXACT
            if field.name in numbers
            else Find.TEXT
        )
        assert field.find is wanted, field.name
    assert PARTY.node_of is not None and PARTY.node_of({"party": "3302120010001"}) == 330212001


# --- what licence a party lacks -------------------------------------------------------------------


def filed(
    kind: LicenceKind, status: Status = Status.ACTIVE, begins: str = "2026-01-01", ends: str | None = None
) -> dict:
    """A row of the licences' table, as far as it is looked at."""
    return {"kind": str(kind), "status": str(status), "valid_from": begins, "valid_to": ends}


FOOD, BUSINESS, DRUGS = LicenceKind.FOOD_OPERATION, LicenceKind.BUSINESS, LicenceKind.DRUG_OPERATION
DAY = TODAY.isoformat()


def gap(
    *licences: dict, kinds: tuple[str, ...] = (PartyKind.RETAILER,), day: str = DAY
) -> tuple[Gap, LicenceKind] | None:
    found = licence_gap(kinds, licences, day)
    assert found is None or found[2] == next(source for kind in kinds if kind in NEEDED for source in [NEEDED[kind][1]])
    return found and found[:2]


def test_what_is_needed_is_said_for_every_kind_that_needs_something() -> None:
    """A kind that was forgotten could trade without a licence, and nobody would be told."""
    assert set(PartyKind) - set(NEEDED) == {
        PartyKind.FARM, PartyKind.DISTRIBUTOR, PartyKind.MARKET_OPENER, PartyKind.REGULATOR,
    }  # fmt: skip
    assert all(kinds and source for kinds, source in NEEDED.values())


@pytest.mark.parametrize("kind", NEEDED)
def test_every_kind_lacks_its_licence_and_has_it(kind: str) -> None:
    wanted, source = NEEDED[kind]
    assert licence_gap([kind], [], DAY) == (Gap.MISSING, wanted[0], source)
    for one in wanted:
        assert licence_gap([kind], [filed(one)], DAY) is None
        others = [filed(other) for other in LicenceKind if other not in wanted]
        assert licence_gap([kind], others, DAY) == (Gap.MISSING, wanted[0], source)


GAPS = [
    (filed(FOOD, begins="2026-11-26"), Gap.NOT_YET),
    (filed(FOOD, ends="2026-11-24"), Gap.EXPIRED),
    (filed(FOOD, Status.SUSPENDED), Gap.SUSPENDED),
    (filed(FOOD, Status.REVOKED), Gap.REVOKED),
    (filed(FOOD, Status.SUSPENDED, ends="2026-11-24"), Gap.SUSPENDED),  # the supervisor's word, before the calendar's
]


@pytest.mark.parametrize(("licence", "why"), GAPS)
def test_why_a_licence_does_not_count(licence: dict, why: Gap) -> None:
    assert gap(licence) == (why, FOOD)
    assert gap(licence, filed(FOOD)) is None and gap(filed(FOOD), licence) is None, "one in force is enough"
    assert gap(licence, filed(DRUGS)) == (why, FOOD), "one of another kind is none"


def test_every_word_for_a_gap_is_used() -> None:
    assert {why for _, why in GAPS} | {Gap.MISSING} == set(Gap)


def test_where_a_food_licence_is_filed_it_counts_before_a_business_licence() -> None:
    """Whoever lost the food licence would go on selling food under the business licence that everybody has."""
    assert gap() == (Gap.MISSING, FOOD) and gap(filed(BUSINESS)) is None
    for licence, why in GAPS:
        assert gap(licence, filed(BUSINESS)) == gap(filed(BUSINESS), licence) == (why, FOOD)
    assert gap(filed(FOOD), filed(BUSINESS, Status.REVOKED)) is None
    assert gap(filed(BUSINESS, Status.REVOKED)) == (Gap.REVOKED, BUSINESS)


def test_of_several_kinds_each_needs_its_licence() -> None:
    """A supermarket with a pharmacy in it needs both; what needs nothing takes nothing away."""
    both = (PartyKind.SUPERMARKET, PartyKind.PHARMACY)
    assert licence_gap(both, [filed(FOOD), filed(DRUGS)], DAY) is None
    assert licence_gap(both, [filed(FOOD)], DAY) == (Gap.MISSING, DRUGS, NEEDED[PartyKind.PHARMACY][1])
    assert licence_gap(both[::-1], [filed(FOOD)], DAY) == (Gap.MISSING, DRUGS, NEEDED[PartyKind.PHARMACY][1])
    assert licence_gap(both, [filed(DRUGS)], DAY) == (Gap.MISSING, FOOD, NEEDED[PartyKind.SUPERMARKET][1])
    for nothing in ((PartyKind.FARM,), ()):
        assert licence_gap(nothing, [], DAY) is None
    assert gap(kinds=(PartyKind.FARM, PartyKind.RETAILER)) == (Gap.MISSING, FOOD)


@pytest.mark.parametrize(
    ("day", "why"),
    [("2026-03-31", Gap.NOT_YET), ("2026-04-01", None), ("2026-04-30", None), ("2026-05-01", Gap.EXPIRED)],
)
def test_a_licence_counts_from_its_first_day_to_its_last(day: str, why: Gap | None) -> None:
    found = gap(filed(FOOD, begins="2026-04-01", ends="2026-04-30"), day=day)
    assert found == (None if why is None else (why, FOOD))


def test_a_licence_without_an_end_has_none() -> None:
    assert gap(filed(FOOD), day="2099-12-31") is None


def test_the_dates_of_a_row_may_be_dates() -> None:
    """So the database gives them; an entry has texts."""
    row = {**filed(FOOD), "valid_from": date(2026, 1, 1), "valid_to": date(2026, 11, 24)}
    assert gap(row) == (Gap.EXPIRED, FOOD) and gap(row, day="2026-11-24") is None
