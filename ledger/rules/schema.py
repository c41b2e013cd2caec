"""What rules may ask: the facts of each thing that can be watched, with their types. Pure.

A fact that is not known of a thing is not there: a condition that asks for it is not evaluated, and that is counted.
Facts of an event are facts of its items, documents, readings and packs too. Numbers are decimal fractions unless they
count something: write `30.0` beside the one and `3` beside the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

Value = str | bool | int | float | datetime


class Watch(StrEnum):
    """What a rule looks at, one at a time."""

    EVENT = "event"
    ITEM = "item"
    """Each lot, pack or container of an event, in each role."""
    DOCUMENT = "document"
    """Each certificate that goods are received under."""
    READING = "reading"
    """Each spell of a sensor."""
    PACK = "pack"
    """What became of each pack of a drug."""
    REFUSAL = "refusal"
    """What was decided against: each pack, or goods beyond what was left."""
    CHECK = "check"
    """Each good of an access check."""
    LICENCE = "licence"
    """Each licence 30, 7 and 0 days before it ends."""
    DIFFERENCE = "difference"
    """What came otherwise than it was sent."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its Chinese name, what it is, and a value of its type."""

    chinese: str
    help: str
    sample: Value


_MOMENT = datetime(2026, 11, 25, 8, tzinfo=UTC)
_PLACE: Mapping[str, Fact] = {
    "node": Fact("节点", "9 digits of the node", "330212001"),
    "node_kind": Fact("节点类型", "what kind of node it is", "market"),
    "region": Fact("区划", "6 digits of the region in which it lies now", "330212"),
    "time": Fact("发生时间", "when it happened", _MOMENT),
    "recorded": Fact("记录时间", "when the ledger recorded it", _MOMENT),
    "delay_h": Fact("迟报小时数", "hours from the one to the other", 0.5),
    "actor": Fact("记录者", "the credential that recorded it", "c-1"),
}
_EVENT: Mapping[str, Fact] = {
    **_PLACE,
    "step": Fact("业务步骤", "business step, in CBV's words", "retail_selling"),
    "disposition": Fact("状态", "disposition, in CBV's words", "retail_sold"),
    "action": Fact("动作", "ADD, OBSERVE, DELETE, or nothing for a transformation", "OBSERVE"),
    "type": Fact("事件类型", "EPCIS's type", "ObjectEvent"),
    "holder": Fact("持有者", "whose stock it moves: 13 digits of a stall, else 9 of the node", "3302120010001"),
    "party": Fact("主体", "who acts: 13 digits", "3302120010001"),
    "partner": Fact("对方", "the other side of the deal: 13 digits", "3302120020001"),
    "partner_known": Fact("对方已备案", "whether the other side is registered", True),
    "registered": Fact("主体已备案", "whether who acts is registered", True),
    "licence": Fact("许可证", "ok, or why there is none in force: missing, not_yet, expired, suspended, revoked", "ok"),
    "link": Fact("凭证", "the voucher or slip that ties a shipping to its receipt", "urn:suyuan:voucher:1"),
    "price": Fact("单价", "yuan a unit", 25.8),
    "documents": Fact("证明数", "how many certificates and vouchers it names", 1),
    "sources": Fact("来源数", "how many parties it names as source", 1),
    "gate": Fact("设有准入检查", "whether this node checked goods within the last 30 days", True),
}
_GOODS: Mapping[str, Fact] = {
    "item": Fact("批次", "key of the lot, pack or container", "urn:suyuan:lot:21113011:33021200126112500001"),
    "goods": Fact("商品", "goods code", "21113011"),
    "goods_kind": Fact("商品类别", "live_animal, meat, vegetable or other", "meat"),
    "goods_name": Fact("商品名称", "Chinese name of the goods or drug", "猪肉"),
    "product": Fact("产品", "GTIN, or 7 digits of a drug's codes", "06901234500103"),
    "drug": Fact("药品", "whether it is a drug or vaccine, or a container of such", False),
    "storage_min": Fact("最低贮存温度", "°C", 0.0),
    "storage_max": Fact("最高贮存温度", "°C", 8.0),
}
_ITEM: Mapping[str, Fact] = {
    **_EVENT,
    **_GOODS,
    "role": Fact("角色", "object, input, output, parent or child", "input"),
    "is_pack": Fact("单件", "whether it is one thing with a serial of its own", False),
    "is_slip": Fact("小票", "whether it is a customer's slip", False),
    "quantity": Fact("数量", "how much of it this event speaks of", 1.25),
    "unit": Fact("单位", "unit of measure; nothing for a count", "KGM"),
    "received": Fact("累计进货", "how much of it has come to this holder so far", 100.0),
    "issued": Fact("累计出货", "how much of it has left this holder so far", 20.0),
    "tolerance": Fact("平衡允差", "percent that may leave more than came", 2.0),
    "first_sale": Fact("首次出售", "whether nothing of it was sold by this holder before", True),
    "held_h": Fact("停留小时数", "hours since it came to this holder first", 3.5),
    "recalled_h": Fact("召回后小时数", "hours since it was recalled", 0.5),
    "stopped_h": Fact("停售后小时数", "hours since a hold on it was placed", 0.5),
    "days_left": Fact("剩余保质天数", "whole days until its last day; negative afterwards", 20),
    "origin": Fact("产地", "6 digits of the region where it was grown or made", "330212"),
    "price_ratio": Fact("单价倍数", "price over the usual price of these goods (median of the last 100)", 1.1),
    "weight_ratio": Fact("重量倍数", "quantity over the usual of a sale of these goods (median of the last 100)", 1.1),
    "checked": Fact("准入结论", "what the last access check of it here said; nothing where there was none", "admitted"),
}

FACTS: Mapping[Watch, Mapping[str, Fact]] = {
    Watch.EVENT: _EVENT,
    Watch.ITEM: _ITEM,
    Watch.DOCUMENT: {
        **_EVENT,
        "document": Fact("证明", "its kind, a colon, its number", "product:330212000117"),
        "document_kind": Fact("证明类型", "its kind", "product"),
        "document_status": Fact("证明状态", "as it is registered: valid, void or forged", "valid"),
        "valid_days": Fact("剩余有效天数", "whole days until its last day; negative afterwards", 2),
        "issued_days": Fact("开具天数", "whole days since it was issued; negative before", 1),
        "document_quantity": Fact("证明数量", "for how much it was issued", 500.0),
        "used": Fact("本次使用", "how much comes in under it now", 120.0),
        "goods": _GOODS["goods"],
    },
    Watch.READING: {
        **_EVENT,
        **_GOODS,
        "reading": Fact("读数类型", "what was measured: Temperature, …", "Temperature"),
        "minimum": Fact("最低值", "lowest value of the spell", 2.0),
        "maximum": Fact("最高值", "highest value of the spell", 5.0),
        "minutes": Fact("分钟数", "how long the spell was", 45.0),
    },
    Watch.PACK: {
        **_EVENT,
        **_GOODS,
        "before": Fact("原状态", "state before; nothing where it was not known", "active"),
        "after": Fact("现状态", "state now", "supplied"),
        "done": Fact("操作", "what was done with it; nothing where only its data came, or it was moved", "supply"),
        "before_node": Fact("原节点", "where that was brought about", "330212001"),
        "returned": Fact("已退回", "whether it was taken back since it was sold", False),
        "alert": Fact("报警", "whether it was taken with an alert", False),
        "batch": Fact("批号", "its batch", "B1"),
        "days_left": _ITEM["days_left"],
    },
    Watch.REFUSAL: {
        **_PLACE,
        **_GOODS,
        "reason": Fact("拒绝原因", "why", "already_supplied"),
        "alert": Fact("报警", "whether it raised an alert", True),
        "late": Fact("离线补传", "whether it came late from an outbox", False),
    },
    Watch.CHECK: {
        **_PLACE,
        **_GOODS,
        "party": _EVENT["party"],
        "decision": Fact("准入结论", "admitted, refused or conditional", "refused"),
        "reasons": Fact("原因", "the reasons' words, with spaces between", "no_quarantine"),
        "quantity": _ITEM["quantity"],
        "origin": _ITEM["origin"],
    },
    Watch.LICENCE: {
        "node": _PLACE["node"],
        "region": _PLACE["region"],
        "time": _PLACE["time"],
        "party": _EVENT["party"],
        "licence_kind": Fact("证照类型", "kind of licence", "food_operation"),
        "valid_days": Fact("剩余有效天数", "30, 7 or 0", 7),
    },
    Watch.DIFFERENCE: {
        "node": _PLACE["node"],
        "region": _PLACE["region"],
        "time": _PLACE["time"],
        "difference": Fact("差异", "its number", "330212023-0d3c5a52-1"),
        "difference_kind": Fact("差异类型", "how what came differs", "missing_product"),
        "product": _GOODS["product"],
        "units": Fact("件数", "how many packs", 3),
    },
}
"""All facts, by what is watched."""

COUNTED: Mapping[str, Fact] = {
    "count": Fact("次数", "how many there are in the window: hits, or different values", 3),
    "sum": Fact("合计", "the sum of the values in the window", 42.0),
}
"""What a window's own condition may ask besides."""


def samples(watch: Watch) -> dict[str, Value]:
    """A value for each fact, to try a condition on."""
    return {name: fact.sample for name, fact in FACTS[watch].items()}
