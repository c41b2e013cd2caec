"""MOFCOM's official records of the links of the chain: their fields, and how each becomes a scan and comes back.

A row a record, a row a field, each with where the name was seen (china.md 1.4: S12 is the ministry's own text, F.. are
deployed systems). The records of the supermarket's sale, the canteen and the origin have no official name that anybody
could read, so they are not in the table. Of the fields, those without `ours` are accepted and not kept: names of
parties belong to the registry, the rest has no place in a scan. Numbers of vouchers, goods classes and results differ
between cities: here results are 1 合格 and 0 不合格 [F7].

Pure: the city's time zone is an argument.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from ledger.balances import goods_of
from ledger.codes import LOT_URN, PARTY_URN, TRACE_URN, parse_node, parse_party
from ledger.errors import Breach, LedgerError, UnacceptableRecord
from ledger.gs1 import is_digits
from ledger.identifiers import canonical_key
from ledger.registers.supervision import VoucherKind
from ledger.steps import BY_NAME, How

Json = dict[str, Any]
Flat = Mapping[str, str]
_KINDS: Mapping[str, VoucherKind] = {str(kind): kind for kind in VoucherKind} | {
    kind.chinese: kind for kind in VoucherKind
}
_SCANS = UUID("3d6f2c0e-51a6-5f0b-9d0c-6b1f0c6a7f11")
"""The name space of the ids of scans that came as official records; it never changes."""
_VOUCHER = re.compile("[A-Za-z0-9\u4e00-\u9fff-]{1,40}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
VALUE_CHARACTERS_MAX = 200
_BEGINNING = 5
"""So many fields a record begins with say where, when and whose."""


@dataclass(frozen=True, slots=True)
class OfficialField:
    """One field: `ours` is a field of a scan, `voucher:KIND` a paper, `batch` the lot, None what is not kept."""

    name: str
    chinese: str
    ours: str | None
    source: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class OfficialRecord:
    """One record. Where `detail` is named, `name` is the base record, and `tran_id` links the two.

    `key` are the fields that make the scan's id: the same key with other content is a conflict at the ledger.
    """

    name: str
    detail: str | None
    chinese: str
    step: str
    key: tuple[str, ...]
    fields: tuple[OfficialField, ...]
    source: str
    constants: Mapping[str, str]
    base_only: frozenset[str] = frozenset()
    """Fields that stand in the base record; all others may stand in the detail."""

    @property
    def base_fields(self) -> frozenset[str]:
        """Where, when, whose and under which voucher: what a base record tells for all its details."""
        return frozenset({*(field.name for field in self.fields[:_BEGINNING]), *self.base_only, "tran_id"})

    def field(self, ours: str) -> OfficialField | None:
        """The field that is this of ours."""
        return next((field for field in self.fields if field.ours == ours), None)


def _f(name: str, chinese: str, ours: str | None, source: str, *, required: bool = False) -> OfficialField:
    return OfficialField(name, chinese, ours, source, required)


def _here(stem: str, chinese: str, at: str, party: str, source: str) -> tuple[OfficialField, ...]:
    """Where it was, when, and whose: the beginning of most records."""
    return (
        _f(f"{stem}_id", f"{chinese}编码", "node", source, required=True),
        _f(f"{stem}_name", f"{chinese}名称", None, source),
        _f(at, "日期", "at", source, required=True),
        _f(f"{party}_id", "经营者编码", "party", source, required=party == "retailer"),
        _f(f"{party}_name", "经营者名称", None, source),
    )


def _papers(source: str, *names: str) -> tuple[OfficialField, ...]:
    return tuple(field for field in (
        _f("tran_id", "交易凭证号", "voucher:transaction", source, required=True),
        _f("quarantine_animal_products_id", "动物产品检疫合格证号", "voucher:product", source),
        _f("inspection_meat_id", "肉品品质检验合格证号", "voucher:inspection", source),
        _f("prov_id", "产地证明号", "voucher:origin", source),
        _f("quarantine_vege_id", "蔬菜检测合格证号", "voucher:test", source),
    ) if field.name in names)  # fmt: skip


def _goods(source: str, *, meat: bool = False) -> tuple[OfficialField, ...]:
    stem = "meat" if meat else "goods"
    return (
        _f(f"{stem}_code", "商品编码", "goods", source, required=True), _f(f"{stem}_name", "商品名称", None, source),
        _f("weight", "重量", "quantity", source, required=True), _f("price", "单价", "price", source),
    )  # fmt: skip


def _origin(source: str) -> tuple[OfficialField, ...]:
    return (
        _f("area_origin_id", "产地编码", None, source), _f("area_origin_name", "产地名称", None, source),
        _f("ws_supplier_id", "供货商编码", "counterparty", source), _f("ws_supplier_name", "供货商名称", None, source),
    )  # fmt: skip


_BATCH = _f("batch_id", "进货批次号", "batch", "S12")
_IN_KEY = ("tran_id", "quarantine_animal_products_id", "batch_id", "goods_code")
_MEAT, _VEGE = ("tran_id", "quarantine_animal_products_id", "inspection_meat_id"), ("prov_id", "quarantine_vege_id")

RECORDS: tuple[OfficialRecord, ...] = (
    OfficialRecord("animal_in_info", None, "生猪进厂", "slaughter_intake", ("in_date", "seller_id", "quarantine_id"), (
        *_here("butcher_fac", "屠宰厂", "in_date", "party", "F1")[:3],
        _f("seller_id", "货主编码", "counterparty", "F1", required=True), _f("seller_name", "货主名称", None, "F1"),
        _f("quarantine_id", "产地检疫证号", "voucher:animal", "F1", required=True),
        _f("quarantine_num", "进场数量", "quantity", "F1", required=True), _f("price", "采购价", "price", "F1"),
        _f("farm_name", "养殖场", None, "F1"),
    ), "F1", {"goods": "pig", "unit": "H87"}),
    OfficialRecord("quarantine_info", None, "检疫检验", "quarantine", (
        "check_date", "quarantine_id", "quarantine_animal_products_id", "sample_id"), (
        *_here("butcher_fac", "屠宰厂", "check_date", "party", "F1")[:3],
        _f("seller_id", "货主编码", None, "F1"), _f("seller_name", "货主名称", None, "F1"),
        _f("quarantine_id", "产地检疫证号", "voucher:animal", "F1", required=True),
        _f("quarantine_animal_products_id", "动物产品检疫合格证号", "voucher:product", "F1"),
        _f("sample_num", "采样头数", None, "F1"), _f("sample_id", "样品编号", None, "F1"),
        _f("result", "检验结果", "result", "F7", required=True),
    ), "F1", {"goods": "pig"}),
    OfficialRecord("meat_out_info_base", "meat_out_info_detail", "肉品出厂", "carcass_out",
        ("tran_id", "quarantine_animal_products_id", "meat_code"), (
        *_here("butcher_fac", "屠宰厂", "tran_date", "seller", "F1"),
        _f("buyer_id", "买主编码", "counterparty", "F1", required=True), _f("buyer_name", "买主名称", None, "F1"),
        _f("dest", "到达地", None, "F1"), *_papers("F1", *_MEAT), *_goods("F1", meat=True),
    ), "F1", {"unit": "KGM"}, frozenset({"buyer_id", "buyer_name"})),
    OfficialRecord("wholesale_in_info_base", "wholesale_in_info_detail", "批发进场", "wholesale_entry",
        ("wholesaler_id", *_IN_KEY), (
        *_here("wholesale_market", "批发市场", "in_date", "wholesaler", "F1"), *_papers("F1", *_MEAT, *_VEGE), _BATCH,
        _f("transporter_id", "车牌号", None, "F1"), *_goods("F1"), *_origin("F1"),
        _f("base_name", "基地名称", None, "F6"),
    ), "F1 F6; the name of the node's field is by analogy with S12", {"unit": "KGM"}),
    OfficialRecord("wholesale_detection", None, "批发市场检验", "wholesale_test",
        ("wholesaler_id", "tran_id", "quarantine_animal_products_id", "batch_id", "detection_date"), (
        *_here("wholesale_market", "批发市场", "detection_date", "wholesaler", "F1"), *_papers("F1", *_MEAT),
        _BATCH, _f("goods_code", "商品编码", "goods", "ours: F1 does not say which goods", required=True),
        _f("sample", "样品", None, "F1"), _f("result", "检验结果", "result", "F1 F7", required=True),
    ), "F1", {}),
    OfficialRecord("wholesale_tran_info_base", "wholesale_tran_info_detail", "批发交易", "wholesale_trade",
        ("wholesaler_id", *_IN_KEY, "trace_id"), (
        *_here("wholesale_market", "批发市场", "tran_date", "wholesaler", "F1"),
        _f("retailer_id", "买主编码", "counterparty", "F1", required=True), _f("retailer_name", "买主名称", None, "F1"),
        *_papers("S12", *_MEAT[:2]), _BATCH, *_goods("S12"),
        _f("trace_id", "追溯码", "trace", "S12"), _f("dest", "到达地", None, "S12"),
    ), "S12 F6", {"unit": "KGM"}, frozenset({"retailer_id", "retailer_name"})),
    OfficialRecord("retail_market_in_info_base", "retail_market_in_info_detail", "零售进场", "retail_entry",
        ("retailer_id", *_IN_KEY), (
        *_here("retail_market", "零售市场", "in_date", "retailer", "S12"), *_papers("S12", *_MEAT, "prov_id"),
        _BATCH, *_goods("S12"), *_origin("S12"),
    ), "S12 (12), (13)", {"unit": "KGM"}),
    OfficialRecord("retail_market_tran_info_summ", None, "零售交易汇总", "retail_sale",
        ("retailer_id", "sale_tran_id", "batch_id", "goods_code"), (
        *_here("retail_market", "零售市场", "sale_date", "retailer", "S12"), _f("in_date", "进场日期", None, "S12"),
        _f("position_id", "摊位号", None, "S12"), *(
            OfficialField(one.name, one.chinese, one.ours, one.source) for one in _papers("S12", *_MEAT[:2])),
        _BATCH, *_goods("S12"), _f("sale_tran_id", "零售凭证号(追溯码)", "trace", "S12 F3", required=True),
    ), "S12 (14)", {"unit": "KGM"}),
    OfficialRecord("super_market_in_info_base", "super_market_in_info_detail", "超市进货", "supermarket_entry",
        ("supplier_id", *_IN_KEY), (
        _f("supermarket_id", "超市编码", "node", "S12", required=True),
        _f("supermarket_name", "超市名称", None, "S12"), _f("in_date", "进货日期", "at", "S12", required=True),
        _f("supplier_id", "供货商编码", "counterparty", "S12"), _f("supplier_name", "供货商名称", None, "S12"),
        *_papers("S12", *_MEAT, *_VEGE), _BATCH, *_goods("as (13): the detail (16) was not read"),
    ), "S12 (15); the detail's name is by analogy with (13)", {"unit": "KGM"}),
)  # fmt: skip
BY_RECORD: Mapping[str, OfficialRecord] = {row.name: row for row in RECORDS} | {
    row.detail: row for row in RECORDS if row.detail
}
BY_STEP: Mapping[str, OfficialRecord] = {row.step: row for row in RECORDS}


# --- Reading --------------------------------------------------------------------------------------------


def merged(records: Sequence[tuple[str, Flat]]) -> Iterator[tuple[str, Flat | UnacceptableRecord]]:
    """Each record of one document whole: the details of a base with its fields, linked by `tran_id`.

    In the place of one that is wrong stands what is wrong with it: of an unknown name, or a half without its other.
    """
    bases: dict[tuple[str, str], Flat] = {}
    twice: set[tuple[str, str]] = set()
    for name, given in records:
        row = BY_RECORD.get(name)
        if row is not None and row.detail and name == row.name:
            key = (name, given.get("tran_id", ""))
            twice |= {key} if key in bases else set()
            bases.setdefault(key, given)
    used = {
        (BY_RECORD[name].name, given.get("tran_id", "")) for name, given in records
        if name in BY_RECORD and name == BY_RECORD[name].detail
    }  # fmt: skip
    for name, given in records:
        row = BY_RECORD.get(name)
        if row is None:
            yield name, _wrong("record", f"{name[:60]!r} is no official record that is known here")
        elif row.detail is None:
            yield name, given
        else:
            key = (row.name, given.get("tran_id", ""))
            if key in twice:
                yield name, _wrong("tran_id", f"two {row.name} of this document have it; which one is meant?")
            elif name == row.detail:
                base = bases.get(key)
                lonely = _wrong("tran_id", f"no {row.name} of this document has it")
                yield row.name, lonely if base is None else _joined(base, given)
            elif key not in used:
                yield name, _wrong("tran_id", f"no {row.detail} of this document has it: nothing says which goods")


def _wrong(path: str, reason: str) -> UnacceptableRecord:
    return UnacceptableRecord([Breach(path, reason)])


def _joined(base: Flat, detail: Flat) -> Flat | UnacceptableRecord:
    """The detail's own word counts where the base is silent; where both speak they have to agree, but for `dest`."""
    differ = [
        name for name in base.keys() & detail.keys() if base[name] and detail[name] and base[name] != detail[name]
    ]
    differ = sorted(set(differ) - {"dest"})
    if differ:
        return UnacceptableRecord([Breach(name, "the base and the detail say different things") for name in differ])
    return {**base, **{name: value for name, value in detail.items() if value}}


def scan_of(name: str, given: Flat, zone: tzinfo) -> Json:
    """One whole record as the fields of a scan's body; `UnacceptableRecord` names all that is wrong.

    The id is a UUIDv5 of the record's name, its node and its `key`: uploaded twice it is one scan. It has happened
    elsewhere, so it is a scan that was made offline. Empty fields are as good as none.
    """
    row = BY_RECORD.get(name)
    if row is None:
        raise _wrong("record", f"{name[:60]!r} is no official record that is known here")
    values = {field: value for field, value in given.items() if value != ""}
    breaches = list(_breaches(row, values, zone))
    if breaches:
        raise UnacceptableRecord(breaches)
    scan: Json = {"step": row.step, **row.constants, "offline": True}
    vouchers: list[Json] = []
    for field in row.fields:
        value = values.get(field.name)
        if value is None or field.ours is None:
            continue
        if field.ours.startswith("voucher:"):
            vouchers.append({"kind": field.ours.removeprefix("voucher:"), "number": value})
        elif field.ours != "batch":
            scan[field.ours] = _time(value, zone) if field.ours == "at" else value
    batch = values.get("batch_id")
    if batch is not None:
        scan["lot"] = f"{LOT_URN}{scan['goods']}:{batch}"
    name_of_scan = "\0".join([row.name, scan["node"], *(values.get(field, "") for field in row.key)])
    return {"scan": str(uuid5(_SCANS, name_of_scan)), **scan, **({"vouchers": vouchers} if vouchers else {})}


def _breaches(row: OfficialRecord, values: Flat, zone: tzinfo) -> Iterator[Breach]:
    known = {field.name: field for field in row.fields}
    for name in values.keys() - known.keys():
        yield Breach(name[:60], f"{row.name} {row.chinese} has no such field")
    for field in row.fields:
        value = values.get(field.name)
        if value is None:
            if field.required:
                yield Breach(field.name, f"{row.chinese} {row.name} needs it")
            continue
        try:
            _check(field, value, zone)
        except (LedgerError, ValueError, OverflowError) as error:
            yield Breach(field.name, str(error))
    node, party = row.field("node"), row.field("party")
    given = values.get(party.name, "") if party else ""
    if node and party and len(given) == 13 and not given.startswith(values.get(node.name, "")):
        yield Breach(party.name, "it is no operator of this node")


def _check(field: OfficialField, value: str, zone: tzinfo) -> None:
    if len(value) > VALUE_CHARACTERS_MAX or _CONTROL.search(value):
        raise ValueError(f"it has control characters, or more than {VALUE_CHARACTERS_MAX}")
    if field.ours is None:
        return
    what = "voucher" if field.ours.startswith("voucher:") else field.ours
    if what == "at":
        _time(value, zone)
    else:
        _CHECKS[what](value)


def _matching(form: re.Pattern[str], what: str) -> Callable[[str], object]:
    def check(value: str) -> None:
        if not form.fullmatch(value):
            raise ValueError(f"give {what}")

    return check


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "node": parse_node,
    "party": parse_party,
    "counterparty": parse_party,
    "quantity": _matching(_DECIMAL, "a decimal number of at most 9 digits and 6 places"),
    "price": _matching(_DECIMAL, "a decimal number of at most 9 digits and 6 places"),
    "goods": _matching(re.compile("[0-9]{3,8}"), "a goods code of 3 to 8 digits (GB/T 7635.1)"),
    "batch": _matching(re.compile("[0-9]{1,20}"), "a batch number of at most 20 digits"),
    "trace": _matching(re.compile("[0-9]{20}"), "a trace code of 20 digits"),
    "result": _matching(re.compile("[01]"), "1 合格 or 0 不合格"),
    "voucher": _matching(_VOUCHER, "a number of at most 40 letters, digits and hyphens"),
}


def _time(text: str, zone: tzinfo) -> str:
    """yyyyMMddHHmmss, or yyyyMMdd for the beginning of the day, in the city's time, as ISO 8601 with its offset."""
    if not is_digits(text) or len(text) not in (8, 14):
        raise ValueError("give yyyyMMddHHmmss, or yyyyMMdd")
    at = datetime.strptime(text.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=zone)
    if not 2000 <= at.year <= 2100:
        raise ValueError("the year is from 2000 to 2100")
    return at.isoformat()


# --- Writing --------------------------------------------------------------------------------------------


def records_of(event: Json, names: Mapping[str, str], zone: tzinfo) -> list[tuple[str, dict[str, str]]]:
    """The official records of a scan's whole event, one for each lot that it took; none where there is no such record.

    `names` has the open names, by node and party code, that the registry shows; a name that is not there is left out.
    Without what was sealed (it is erased, or not the reader's) there is no record: it would be half of one.
    """
    raw = event.get("suyuan:scan")
    step = BY_NAME.get(str(raw.get("step"))) if isinstance(raw, dict) else None
    row = BY_STEP.get(step.name) if step else None
    if row is None or not isinstance(raw, dict) or "errorDeclaration" in event:
        return []
    made = step is not None and step.how is How.SELL
    lots = event.get("inputQuantityList" if made else "quantityList") or []
    return [(row.name, _record(row, raw, event, lot, names, zone)) for lot in lots]


def halves(records: Iterable[tuple[str, Flat]]) -> Iterator[tuple[str, Flat]]:
    """Whole records as they travel: a base once, then its details. `merged` puts them together again."""
    told: set[tuple[str, ...]] = set()
    for name, fields in records:
        row = BY_RECORD[name]
        if row.detail is None:
            yield name, fields
            continue
        base = {field: value for field, value in fields.items() if field in row.base_fields}
        if (mark := (name, *base.values())) not in told:
            told.add(mark)
            yield name, base
        yield row.detail, {f: value for f, value in fields.items() if f == "tran_id" or f not in base}


def _record(
    row: OfficialRecord, raw: Json, event: Json, lot: Json, names: Mapping[str, str], zone: tzinfo
) -> dict[str, str]:
    ours = _facts(raw, event, lot, row.constants.get("unit"), zone)
    record: dict[str, str] = {}
    for field in row.fields:
        if field.ours is not None and (value := ours.get(field.ours)) is not None:
            record[field.name] = value
        elif field.ours is None and field.name.endswith("_name"):
            code = record.get(f"{field.name.removesuffix('_name')}_id")
            if code is not None and code in names:
                record[field.name] = names[code]
    return record


def _facts(raw: Json, event: Json, lot: Json, unit: str | None, zone: tzinfo) -> dict[str, str]:
    """What there is to tell of a scan, by the names that rows use."""
    key = canonical_key(lot["epcClass"])
    at = datetime.fromisoformat(str(raw["at"])).astimezone(zone)
    found = {"node": raw["node"], "at": at.strftime("%Y%m%d%H%M%S"), "party": raw.get("party") or f"{raw['node']}0000"}
    goods = raw.get("goods") or goods_of(key)
    found |= {"goods": goods} if goods else {}
    if key.startswith(LOT_URN):
        found["batch"] = key.rpartition(":")[2]
    if "quantity" in lot and (lot.get("uom") or "H87") == unit:
        found["quantity"] = f"{Decimal(lot['quantity']):f}"
    for paper in raw.get("vouchers", []):
        found[f"voucher:{_KINDS[paper['kind']]}"] = paper["number"]
    slips = [one["epcClass"] for one in event.get("outputQuantityList", [])] + list(event.get("certificationInfo", []))
    traces = [one.removeprefix(TRACE_URN) for one in slips if one.startswith(TRACE_URN)]
    found |= {"trace": traces[0]} if traces else {}
    found |= {name: str(raw[name]) for name in ("price", "trace") if raw.get(name)}
    if event["bizStep"] == "shipping" and "trace" in found:
        found.setdefault("voucher:transaction", found["trace"])
    if event["bizStep"] == "inspecting":
        found["result"] = "0" if event["disposition"] == "non_conformant" else "1"
    other = raw.get("counterparty") or _other(event, found["party"])
    return found | ({"counterparty": other} if other else {})


def _other(event: Json, here: str) -> str | None:
    """The other side of a trade, where a slip said who it was."""
    sides = [one.get("source") or one.get("destination") for one in _sides(event)]
    codes = [str(one).removeprefix(PARTY_URN) for one in sides]
    return next((code for code in codes if code != here), None)


def _sides(event: Json) -> list[Json]:
    return [*event.get("sourceList", []), *event.get("destinationList", [])]
