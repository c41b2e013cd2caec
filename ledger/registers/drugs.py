"""Recalls of drugs and food, withdrawals of drugs, and whose rules for packs hold here.

Source of a recall's words: the recall record of 码上放心 (`china.md` 2.3): nature, grade, kind, range, batches. A
recall of batches and the withdrawal of a product are for good (EMVO, `drugs_and_warnings.md` 1.1): ending one says that
the work is done, and its packs stay refused. An exercise refuses nothing.
"""

from collections.abc import Iterator, Mapping

from ledger.access import Action
from ledger.errors import Breach
from ledger.gs1 import parse_gln
from ledger.registers import fields as f
from ledger.registers.form import Field, Find, Register, Step, Values, Word
from ledger.registers.goods import PRODUCT


class Grade(Word):
    """How dangerous it is."""

    ONE = "1", "一级"
    TWO = "2", "二级"
    THREE = "3", "三级"


class Origin(Word):
    """Whose decision it was."""

    VOLUNTARY = "voluntary", "主动召回"
    ORDERED = "ordered", "责令召回"


class Nature(Word):
    """Whether it is meant."""

    REAL = "real", "真实召回"
    EXERCISE = "exercise", "模拟演练"


class Range(Word):
    """How far it reaches."""

    NATION = "nation", "全国"
    PROVINCE = "province", "全省"
    CITY = "city", "全市"


class Regime(Word):
    """Whose clocks run (`ledger/packs/recalls.py`)."""

    CHINA_DRUG = "cn_drug", "药品召回管理办法"
    CHINA_FOOD = "cn_food", "食品召回管理办法"


class DifferenceKind(Word):
    """How what came differs from what was sent (PDG, `drugs_and_warnings.md` 2)."""

    NO_DATA = "missing_data", "有货无数据"
    NO_PRODUCT = "missing_product", "有数据无货"
    OVERAGE = "overage", "多货"
    UNDERAGE = "underage", "少货"
    GLN = "gln_error", "收货地点不符"
    GTIN = "gtin_error", "品种不符"


class Resolution(Word):
    """What is asked for, and what was done."""

    SEND_DATA = "send_data", "补传数据"
    CORRECT_DATA = "correct_data", "更正数据"
    SEND_PRODUCT = "send_product", "补发货物"
    RETURN = "return", "退回货物"
    ACCEPT = "accept", "接受"
    DESTROY = "destroy", "销毁"


REQUESTED: Mapping[DifferenceKind, Resolution] = {
    DifferenceKind.NO_DATA: Resolution.SEND_DATA, DifferenceKind.NO_PRODUCT: Resolution.SEND_PRODUCT,
    DifferenceKind.OVERAGE: Resolution.CORRECT_DATA, DifferenceKind.UNDERAGE: Resolution.SEND_PRODUCT,
    DifferenceKind.GLN: Resolution.RETURN, DifferenceKind.GTIN: Resolution.RETURN,
}  # fmt: skip
"""What the receiver asks for first."""


class DifferenceStatus(Word):
    """Whether it is settled."""

    OPEN = "open", "待处理"
    RESOLVED = "resolved", "已处理"


class RecallStatus(Word):
    """Where a recall stands."""

    ACTIVE = "active", "召回中"
    ENDED = "ended", "已结束"


def _in_time(values: Values) -> Iterator[Breach]:
    if (values.get("product") is None) == (values.get("lots") is None):
        yield Breach("product, lots", "give exactly one of the two: a drug by its product, food by its lots")
    begin = values.get("decided_at")
    for name in ("notified_at", "planned_at", "progress_at"):
        at = values.get(name)
        if isinstance(at, str) and isinstance(begin, str) and at < begin:
            yield Breach(name, f"{at} is before the decision at {begin}")


_BATCH = f.pattern("batch", r"[!-~]{1,20}", "1 to 20 characters without spaces (GS1 General Specifications, 3.4.1)")

RECALL = Register(
    "recall", "recalls", "召回", "recall", ("recall",),
    (
        Field("recall", "召回编号", "its number: digits, capitals and hyphens",
              f.pattern("number of a recall", "[A-Z0-9][A-Z0-9-]{2,29}", "3 to 30 digits, capitals and hyphens"),
              "ZH-2026-0001", required=True, names=True, find=Find.EXACT),
        Field("product", "产品标识码", "GTIN, or the first 7 digits of its drug trace codes",
              PRODUCT.field("product").parse, "8123456",
              fixed=True, find=Find.EXACT, refers="product"),
        Field("lots", "追溯批次", "of food: the lots as URIs; all that was made of them is recalled with them",
              f.lot, "urn:suyuan:lot:21113011:33021200126112500001", many=True, option="lot", fixed=True,
              most=1_000),
        Field("batches", "批号", "the batches; the whole product is withdrawn where none is named", _BATCH, "20260101",
              many=True, option="batch", fixed=True),
        Field("grade", "召回级别", "how dangerous it is: 1 is the worst", f.one_of(Grade), "1", required=True),
        Field("origin", "召回类型", "whose decision it was", f.one_of(Origin), "ordered", required=True),
        Field("nature", "召回性质", "real, or an exercise, which refuses nothing", f.one_of(Nature), "real",
              required=True, fixed=True),
        Field("range", "召回范围", "how far it reaches", f.one_of(Range), "city", required=True),
        Field("regime", "适用规定", "whose clocks run", f.one_of(Regime), "cn_drug", required=True),
        Field("party", "召回主体", "who recalls: 13 digits", f.PARTY_CODE, "3302120010001", find=Find.EXACT,
              refers="party"),
        Field("decided_at", "决定时间", "when it was decided", f.utc_moment, "2026-11-25T08:00:00+08:00",
              required=True, fixed=True),
        Field("notified_at", "通知时间", "when all who have it were told", f.utc_moment, "2026-11-25T20:00:00+08:00"),
        Field("planned_at", "报送计划时间", "when the plan was handed in", f.utc_moment, "2026-11-25T21:00:00+08:00"),
        Field("progress_at", "最近进展报告", "when it was told last", f.utc_moment, "2026-11-26T08:00:00+08:00"),
    ),
    Action.RECALL, _in_time,
    steps=(Step("end", "结束", "what could be brought back is back", (str(RecallStatus.ACTIVE),),
                str(RecallStatus.ENDED)),),
    status="status", statuses=RecallStatus,
)  # fmt: skip


class Market(Word):
    """Whose rules for packs hold."""

    CHINA = "china", "中国"
    EU = "eu", "欧盟"


DRUG_MARKET = Register(
    "drug-market", "drug-markets", "药品追溯规则", "drug_market", ("market",),
    (
        Field("market", "市场", "there is one: drugs", f.pattern("market", "drugs", "it is drugs"), "drugs",
              required=True, names=True),
        Field("rules", "规则", "whose rules for packs hold; china where nothing is filed", f.one_of(Market), "china",
              required=True),
        Field("soft", "软拒绝次数", "refusals of a second sale at one place before the alert; 2 if left out",
              f.whole(0, 9), "2"),
        Field("replay_s", "重复扫码秒数", "the same again within so many seconds is the same scan; 60 if left out",
              f.whole(0, 600), "60", option="replay"),
        Field("gln", "应答方 GLN", "who answers verifications (DSCSA): a GLN of 13 digits", f.code(parse_gln),
              "6901234500004"),
    ),
    Action.ADMINISTER, lambda _: iter(()),
)  # fmt: skip

DIFFERENCE = Register(
    "difference", "differences", "收货差异", "receiving_difference", ("number",),
    (
        Field("number", "编号", "the node that received, and a number", f.pattern(
              "number of a difference", "[0-9]{9}-[0-9a-f]{8}-[0-9]{1,3}", "9 digits of node, 8 of scan, a number"),
              "330212023-0d3c5a52-1", required=True, names=True, find=Find.EXACT),
        Field("kind", "差异类型", "how what came differs", f.one_of(DifferenceKind), "missing_product", required=True),
        Field("shipment", "发货单据", "the bill or event that says what was sent", f.text(200),
              "urn:suyuan:bill:3302120220000:CK-1", required=True, fixed=True, find=Find.EXACT),
        Field("product", "产品标识码", "GTIN, or the first 7 digits of its drug trace codes",
              PRODUCT.field("product").parse, "8123456", required=True, fixed=True, find=Find.EXACT),
        Field("quantity", "数量", "how many packs", f.whole(1, 1_000_000), "3", required=True),
        Field("codes", "追溯码", "the packs, the first hundred of them", f.text(200),
              "urn:suyuan:drug:81234560000000010001", many=True, option="code"),
        Field("request", "处理请求", "what the receiver asks for", f.one_of(Resolution), "send_product", required=True),
        Field("response", "处理结果", "what was done", f.one_of(Resolution), "send_product"),
    ),
    Action.GIVE_COMMANDS, lambda _: iter(()),
    steps=(Step("resolve", "处理完毕", "it is settled", (str(DifferenceStatus.OPEN),),
                str(DifferenceStatus.RESOLVED)),),
    status="status", statuses=DifferenceStatus, node_of=lambda values: int(str(values["number"])[:9]),
)  # fmt: skip
"""Differences found at receiving, as cases that somebody settles."""
