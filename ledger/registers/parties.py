"""Parties 流通主体 and their licences: real names, kept encrypted, and what may become of them.

Sources: MOFCOM's `manager_base_info` and node filing records (official field names are taken as heads of columns);
Food Safety Law 2021, art. 65; rules on market openers' files (2016). How long a file is kept after its party has left
is the table `KEPT`.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ledger.access import SUPERVISORS, Action
from ledger.codes import parse_credit_code, parse_food_licence
from ledger.errors import Breach, UnreadableCode
from ledger.registers import fields as f
from ledger.registers.form import Field, Find, Register, Step, Value, Values, Word


class PartyKind(Word):
    """What a party does; several may be true at once."""

    FARM = "farm", "种养殖户"
    SLAUGHTERER = "slaughterer", "屠宰企业"
    WHOLESALER = "wholesaler", "批发商"
    RETAILER = "retailer", "零售商"
    SUPERMARKET = "supermarket", "超市"
    CANTEEN = "canteen", "团体消费单位"
    DISTRIBUTOR = "distributor", "配送企业"
    MANUFACTURER = "manufacturer", "药品生产企业"
    DRUG_WHOLESALER = "drug_wholesaler", "药品批发企业"
    PHARMACY = "pharmacy", "药店"
    HOSPITAL = "hospital", "医疗机构"
    MARKET_OPENER = "market_opener", "市场开办者"
    REGULATOR = "regulator", "监管机构"


class Status(Word):
    """Where a party or licence stands."""

    ACTIVE = "active", "正常"
    SUSPENDED = "suspended", "暂停"
    REVOKED = "revoked", "吊销"
    LEFT = "left", "退出"


class LicenceKind(Word):
    """Kinds of licence."""

    BUSINESS = "business_licence", "营业执照"
    FOOD_OPERATION = "food_operation", "食品经营许可证"
    FOOD_PRODUCTION = "food_production", "食品生产许可证"
    SLAUGHTER = "slaughter", "定点屠宰证"
    EPIDEMIC_PREVENTION = "animal_epidemic_prevention", "动物防疫条件合格证"
    DRUG_PRODUCTION = "drug_production", "药品生产许可证"
    DRUG_OPERATION = "drug_operation", "药品经营许可证"
    MEDICAL = "medical_institution", "医疗机构执业许可证"
    HEALTH = "health_certificate", "健康证"
    OTHER = "other", "其他"


_A, _S, _R, _L = (str(status) for status in Status)

KEPT: Mapping[str, tuple[int, str]] = {
    PartyKind.FARM: (6, "市场开办者档案规则 2016: 6 months after the seller leaves"),
    PartyKind.RETAILER: (6, "市场开办者档案规则 2016: 6 months after the seller leaves"),
    PartyKind.WHOLESALER: (6, "市场开办者档案规则 2016: 6 months after the seller leaves"),
    PartyKind.SUPERMARKET: (6, "食品安全法 2021 art. 65: 6 months"),
    PartyKind.CANTEEN: (6, "食品安全法 2021 art. 65: 6 months"),
    PartyKind.DISTRIBUTOR: (6, "食品安全法 2021 art. 65: 6 months"),
    PartyKind.MARKET_OPENER: (6, "市场开办者档案规则 2016: 6 months"),
    PartyKind.REGULATOR: (6, "no rule found; as the others"),
    PartyKind.SLAUGHTERER: (24, "生猪屠宰管理条例 2021 arts 13-17: 2 years"),
    PartyKind.MANUFACTURER: (60, "疫苗管理法 2019: records 5 years; the same for drugs, to be checked against GSP"),
    PartyKind.DRUG_WHOLESALER: (60, "疫苗管理法 2019: records 5 years; the same for drugs, to be checked against GSP"),
    PartyKind.PHARMACY: (60, "疫苗管理法 2019: records 5 years; the same for drugs, to be checked against GSP"),
    PartyKind.HOSPITAL: (60, "疫苗管理法 2019: records 5 years; the same for drugs, to be checked against GSP"),
}
"""Months that a file is kept after its party has left, and why. Of several kinds the longest holds."""


_FOOD = ((LicenceKind.FOOD_OPERATION, LicenceKind.BUSINESS), "食品安全法 2021 art. 35")
NEEDED: Mapping[str, tuple[tuple[LicenceKind, ...], str]] = {
    PartyKind.RETAILER: _FOOD, PartyKind.WHOLESALER: _FOOD, PartyKind.SUPERMARKET: _FOOD, PartyKind.CANTEEN: _FOOD,
    PartyKind.SLAUGHTERER: ((LicenceKind.SLAUGHTER,), "生猪屠宰管理条例 2021 art. 2"),
    PartyKind.MANUFACTURER: ((LicenceKind.DRUG_PRODUCTION,), "药品管理法 2019 art. 41"),
    PartyKind.DRUG_WHOLESALER: ((LicenceKind.DRUG_OPERATION,), "药品管理法 2019 art. 51"),
    PartyKind.PHARMACY: ((LicenceKind.DRUG_OPERATION,), "药品管理法 2019 art. 51"),
    PartyKind.HOSPITAL: ((LicenceKind.MEDICAL,), "医疗机构管理条例: 医疗机构执业许可证"),
}  # fmt: skip
"""A licence of that kind a party holds. Whoever sells edible farm products alone needs no food licence (food safety
law, art. 35), so a business licence does; but where a food licence is filed, it is the one that counts.
"""


class Gap(Word):
    """Why a party has no licence in force."""

    MISSING = "missing", "未登记许可证"
    NOT_YET = "not_yet", "许可证尚未生效"
    EXPIRED = "expired", "许可证已过期"
    SUSPENDED = "suspended", "许可证已暂停"
    REVOKED = "revoked", "许可证已吊销"


def licence_gap(
    kinds: Sequence[str], licences: Iterable[Mapping[str, Any]], day: str
) -> tuple[Gap, LicenceKind, str] | None:
    """What a party of these kinds lacks on a day (ISO 8601): why, of which kind, by which law; None for nothing.

    `licences` are rows of that register.
    """
    filed = list(licences)
    for kind in kinds:
        if kind not in NEEDED:
            continue
        wanted, source = NEEDED[kind]
        counts = next((one for one in wanted if any(row["kind"] == one for row in filed)), wanted[0])
        gaps = [_gap(row, day) for row in filed if row["kind"] == counts]
        if not gaps or all(gaps):
            return next((gap for gap in gaps if gap is not None), Gap.MISSING), counts, source
    return None


def _gap(row: Mapping[str, Any], day: str) -> Gap | None:
    if row["status"] != Status.ACTIVE:
        return Gap.SUSPENDED if row["status"] == Status.SUSPENDED else Gap.REVOKED
    if day < str(row["valid_from"]):
        return Gap.NOT_YET
    return Gap.EXPIRED if row["valid_to"] is not None and day > str(row["valid_to"]) else None


def _one_identity(values: Values) -> Iterator[Breach]:
    given = [name for name in ("credit_code", "identity_number") if values.get(name) is not None]
    if len(given) != 1:
        yield Breach("credit_code, identity_number", "give exactly one of the two: who is this by real name?")


PARTY = Register(
    "party", "parties", "主体", "party", ("party",),
    (
        Field("party", "经营者编码", "13 digits: the node that files it, and a serial; 0000 is the node itself",
              f.PARTY_CODE, "3302120010001", required=True, names=True, find=Find.EXACT,
              aliases=("经营者代码", "id")),
        Field("kinds", "类型", "what it does", f.one_of(PartyKind), "retailer",
              required=True, many=True, option="kind", aliases=("type", "经营者类型")),
        Field("nodes", "所在节点", "nodes where it acts; its own node if left out", f.NODE_CODE, "330212001", many=True,
              option="node", aliases=("节点编码",), refers="node"),
        Field("legal_name", "名称", "name as it stands in the licence or identity card", f.text(200), "溯源老李蔬菜摊",
              required=True, private=True, mask=f.mask_legal_name, find=Find.TEXT, option="name",
              aliases=("name", "经营者名称")),
        Field("credit_code", "统一社会信用代码", "18 characters, of an organisation or sole trader; or else:",
              f.credit_code, "91350100M000100Y43", private=True, mask=f.mask_credit_code, find=Find.EXACT),
        Field("identity_number", "身份证号", "18 characters, of a person without a credit code",
              f.identity_number, "11010519491231002X", private=True, mask=f.mask_middle(4, 2), find=Find.EXACT),
        Field("legal_representative", "法定代表人", "who answers for it", f.text(100), "李四", private=True,
              mask=f.mask_name, find=Find.TEXT, option="representative", aliases=("legal_represent",)),
        Field("contact", "联系人", "whom to ask for", f.text(100), "王五", private=True, mask=f.mask_name,
              find=Find.TEXT),
        Field("phone", "联系电话", "telephone", f.phone, "19900000001", private=True, mask=f.mask_middle(3, 4),
              find=Find.EXACT, aliases=("tel", "电话")),
        Field("address", "地址", "postal address", f.text(300), "樟木区虚构路 1 号", private=True, mask=f.mask_all,
              find=Find.TEXT),
        Field("position", "摊位号", "stall or position at its market", f.text(50), "A-12", private=True,
              mask=f.mask_all, find=Find.EXACT, aliases=("position_id",)),
    ),
    Action.REGISTER, _one_identity,
    steps=(
        Step("suspend", "暂停", "it may not trade for a time", (_A,), _S),
        Step("resume", "恢复", "it may trade again", (_S,), _A),
        Step("revoke", "吊销", "it may not trade any more", (_A, _S), _R, SUPERVISORS),
        Step("leave", "退出", "it gave up; its file is kept as long as the law says", (_A, _S, _R), _L),
        Step("return", "重新备案", "it came back under its old code", (_L,), _A),
        Step("reinstate", "恢复资格", "its revocation was lifted", (_R,), _A, SUPERVISORS),
    ),
    status="status", statuses=Status, node_of=lambda values: int(str(values["party"])[:9]),
)  # fmt: skip


def licence_code(values: Values, secret: bytes) -> Mapping[str, Value]:
    """A code for a licence's number, which may be a person's: the same number of the same party has the same code."""
    text = f"{values['party']}\n{values['number']}".encode()
    return {"licence": hmac.digest(secret, text, "sha256")[:8].hex()}


def _licence_number(given: str, today: object) -> str:
    if given.startswith("SC"):
        return parse_food_licence(given)
    return str(f.text(50)(given, today))  # type: ignore[arg-type]


def _valid(values: Values) -> Iterator[Breach]:
    since, until = values.get("valid_from"), values.get("valid_to")
    if isinstance(since, str) and isinstance(until, str) and until < since:
        yield Breach("valid_to", f"it ends on {until}, before it begins on {since}")
    number = values.get("number")
    if values.get("kind") == LicenceKind.BUSINESS and isinstance(number, str) and len(number) == 18:
        try:
            parse_credit_code(number)
        except UnreadableCode as error:
            yield Breach("number", f"a business licence's number is its credit code: {error.reason}")


LICENCE = Register(
    "licence", "licences", "证照", "licence", ("party", "licence"),
    (
        Field("party", "经营者编码", "whose it is: 13 digits", f.PARTY_CODE, "3302120010001", required=True, names=True,
              find=Find.EXACT, refers="party"),
        Field("number", "证号", "number of the licence", _licence_number, "JY13302120000001", required=True, names=True,
              private=True, mask=f.mask_middle(4, 2), find=Find.EXACT, aliases=("licence_no", "许可证号")),
        Field("kind", "证照类型", "kind of licence", f.one_of(LicenceKind), "food_operation", required=True),
        Field("scope", "许可范围", "what it allows", f.text(), "散装食品销售", private=True, mask=f.mask_all,
              find=Find.TEXT),
        Field("issuer", "发证机关", "who issued it", f.text(200), "樟木区市场监督管理局", private=True, mask=f.mask_all,
              find=Find.TEXT),
        Field("valid_from", "有效期起", "first day on which it is valid", f.day, "2026-01-01", required=True),
        Field("valid_to", "有效期至", "last day on which it is valid; left out where it has no end", f.day,
              "2030-12-31"),
        Field("scan", "扫描件摘要", "SHA-256 of the scan, 64 hexadecimal digits; the file itself is yours to keep",
              f.pattern("SHA-256", "[0-9a-f]{64}", "it is 64 small hexadecimal digits"), "0" * 64, private=True,
              mask=f.mask_all),
    ),
    Action.REGISTER, _valid,
    steps=(
        Step("suspend", "暂停", "it is not valid for a time", (_A,), _S),
        Step("resume", "恢复", "it is valid again", (_S,), _A),
        Step("revoke", "吊销", "it is not valid any more", (_A, _S), _R, SUPERVISORS),
    ),
    status="status", statuses=Status, node_of=lambda values: int(str(values["party"])[:9]), derive=licence_code,
)  # fmt: skip
