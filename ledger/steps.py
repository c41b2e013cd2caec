"""The steps of the food chain: what each needs, and the EPCIS event that it becomes. A lawyer can review the table.

A scan is what somebody did at a counter: a step, a thing, a quantity. It becomes one event. Where the goods came from
is never invented: a lot that nobody recorded before begins with an open end.
Sources: MOFCOM's records of the links (their names are in `record`) and the laws given in the rows; EPCIS 2.0 and CBV
2.0 for types, steps and dispositions. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from ledger.codes import NODE_URN, PARTY_URN, TRACE_URN, PartyCode, node_text
from ledger.errors import Breach
from ledger.registers.places import NodeKind
from ledger.registers.supervision import VoucherKind

Json = dict[str, Any]
CERTIFICATE_URN, VOUCHER_URN = "urn:suyuan:certificate:", "urn:suyuan:voucher:"


class How(StrEnum):
    """What a step does with goods: this decides the form of its event."""

    ENTER = "enter"
    """They come in: of a lot that is known, or as a new one with an open end."""
    MAKE = "make"
    """They become other goods."""
    TEST = "test"
    LEAVE = "leave"
    """They go to somebody else, with a slip."""
    SELL = "sell"
    """They go to a customer, on a slip."""
    USE = "use"
    """They are eaten, lost or destroyed."""
    BEGIN = "begin"
    """They come into being, or were there before the ledger."""
    COUNT = "count"
    """What is there is counted: the difference is recorded."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: where it is taken, what it needs, and what it is in EPCIS's words and in the official records."""

    name: str
    chinese: str
    how: How
    at: frozenset[NodeKind] | None
    """Kinds of node where it is taken; None for any."""
    business_step: str
    disposition: str
    needs: frozenset[str] = frozenset()
    vouchers: tuple[frozenset[VoucherKind], ...] = ()
    """Of each group at least one has to be there, where the goods come without a lot that is known."""
    record: str = ""
    source: str = ""

    @property
    def gives_slip(self) -> bool:
        """Whether goods leave on a slip with a trace code: the buyer's terminal reads it."""
        return self.how in (How.SELL, How.LEAVE)


_V = VoucherKind
_MEAT_PAPERS = (frozenset({_V.PRODUCT, _V.INSPECTION, _V.ORIGIN, _V.TEST, _V.PROMISE, _V.PURCHASE, _V.TRANSACTION}),)
_ANY = None
_DECREE = "肉类/蔬菜流通追溯体系基本要求(试行)"
_SAFETY = "食品安全法 2021 art. 65"


def _at(*kinds: NodeKind) -> frozenset[NodeKind]:
    return frozenset(kinds)


STEPS: tuple[Step, ...] = (
    Step("slaughter_intake", "生猪进厂", How.ENTER, _at(NodeKind.SLAUGHTERHOUSE), "receiving", "in_progress",
         frozenset({"quantity"}), (frozenset({_V.ANIMAL}),), "animal_in_info", "生猪屠宰管理条例 2021 art. 13"),
    Step("quarantine", "检疫检验", How.TEST, _at(NodeKind.SLAUGHTERHOUSE), "inspecting", "conformant",
         frozenset({"result"}), record="quarantine_info", source="动物防疫法 2021 art. 51"),
    Step("slaughter", "屠宰", How.MAKE, _at(NodeKind.SLAUGHTERHOUSE), "killing", "active",
         frozenset({"quantity", "goods", "made"}), source="生猪屠宰管理条例 2021 arts 13-17"),
    Step("carcass_out", "肉品出厂", How.LEAVE, _at(NodeKind.SLAUGHTERHOUSE), "shipping", "in_transit",
         frozenset({"quantity", "counterparty"}), record="meat_out_info_base", source="生猪屠宰管理条例 2021 art. 17"),
    Step("wholesale_entry", "批发进场", How.ENTER, _at(NodeKind.WHOLESALE_MARKET, NodeKind.DISTRIBUTION_CENTRE),
         "receiving", "in_progress", frozenset({"quantity"}), _MEAT_PAPERS, "wholesale_in_info", _SAFETY),
    Step("wholesale_test", "批发检验", How.TEST, _at(NodeKind.WHOLESALE_MARKET), "inspecting", "conformant",
         frozenset({"result"}), record="wholesale_detection", source="食品安全法 2021 art. 64"),
    Step("wholesale_trade", "批发交易", How.LEAVE, _at(NodeKind.WHOLESALE_MARKET, NodeKind.DISTRIBUTION_CENTRE),
         "shipping", "in_transit", frozenset({"quantity", "counterparty"}), record="wholesale_tran_info",
         source=_DECREE),
    Step("retail_entry", "零售进场", How.ENTER, _at(NodeKind.MARKET), "receiving", "in_progress",
         frozenset({"quantity", "party"}), _MEAT_PAPERS, "retail_market_in_info", _SAFETY),
    Step("retail_sale", "零售", How.SELL, _at(NodeKind.MARKET), "retail_selling", "retail_sold",
         frozenset({"quantity", "party"}), record="retail_market_tran_info_summ", source=_DECREE),
    Step("supermarket_entry", "超市进货", How.ENTER, _at(NodeKind.SUPERMARKET), "receiving", "in_progress",
         frozenset({"quantity"}), _MEAT_PAPERS, "super_market_in_info", _SAFETY),
    Step("supermarket_packing", "超市分装", How.MAKE, _at(NodeKind.SUPERMARKET), "commissioning", "active",
         frozenset({"quantity", "goods", "made"}), source=_DECREE),
    Step("supermarket_sale", "超市销售", How.SELL, _at(NodeKind.SUPERMARKET), "retail_selling", "retail_sold",
         frozenset({"quantity"}), record="super_market_tran_info", source=_DECREE),
    Step("canteen_entry", "团体消费进货", How.ENTER, _at(NodeKind.CANTEEN, NodeKind.HOSPITAL), "receiving",
         "in_progress", frozenset({"quantity"}), _MEAT_PAPERS, "canteen_in_info", _SAFETY),
    Step("canteen_use", "团体消费使用", How.USE, _at(NodeKind.CANTEEN, NodeKind.HOSPITAL), "removing", "inactive",
         frozenset({"quantity"}), source=_DECREE),
    Step("origin_harvest", "产地采收", How.BEGIN, _at(NodeKind.FARM), "commissioning", "active",
         frozenset({"quantity", "goods"}), record="harvest_info", source="农产品质量安全法 2022"),
    Step("origin_out", "产地出场", How.LEAVE, _at(NodeKind.FARM), "shipping", "in_transit",
         frozenset({"quantity", "counterparty"}), record="origin_out_info", source="农产品质量安全法 2022"),
    Step("uncoded_drug", "无码药品登记", How.BEGIN, _at(NodeKind.PHARMACY, NodeKind.HOSPITAL), "stock_taking",
         "in_progress", frozenset({"quantity", "goods"}), source="国家医保局 2025: 无码药品清单"),
    Step("uncoded_drug_sale", "无码药品销售", How.SELL, _at(NodeKind.PHARMACY, NodeKind.HOSPITAL), "retail_selling",
         "retail_sold", frozenset({"quantity"}), source="国家医保局 2025: 无码药品清单"),
    Step("loss", "损耗", How.USE, _ANY, "removing", "inactive", frozenset({"quantity"}), source=_DECREE),
    Step("destruction", "销毁", How.USE, _ANY, "destroying", "destroyed", frozenset({"quantity"}), source=_SAFETY),
    Step("return_in", "退货入", How.ENTER, _ANY, "receiving", "returned", frozenset({"quantity"}), source=_DECREE),
    Step("return_out", "退货出", How.LEAVE, _ANY, "shipping", "returned", frozenset({"quantity", "counterparty"}),
         source=_DECREE),
    Step("opening_stock", "期初库存", How.BEGIN, _ANY, "stock_taking", "in_progress", frozenset({"quantity", "goods"})),
    Step("stock_take", "盘点", How.COUNT, _ANY, "stock_taking", "in_progress", frozenset({"quantity"})),
)  # fmt: skip
BY_NAME: Mapping[str, Step] = {step.name: step for step in STEPS} | {step.chinese: step for step in STEPS}


@dataclass(frozen=True, slots=True)
class Voucher:
    """A paper that came or goes with the goods."""

    kind: VoucherKind
    number: str


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity of one lot, as events give it; `uom` None for a count, `quantity` None where it is not told."""

    lot: str
    quantity: Decimal | None
    uom: str | None

    @property
    def element(self) -> Json:
        if self.quantity is None:
            return {"epcClass": self.lot}
        found: Json = {"epcClass": self.lot, "quantity": self.quantity}
        return found if self.uom is None else {**found, "uom": self.uom}


@dataclass(frozen=True, slots=True)
class Scan:
    """What was done, read and checked, before it is known which lots it takes."""

    scan: str
    step: Step
    node: int
    party: PartyCode
    at: datetime
    goods: str | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    made: Decimal | None = None
    made_unit: str | None = None
    price: Decimal | None = None
    counterparty: PartyCode | None = None
    trace: str | None = None
    """The slip's code, where the terminal printed it already."""
    vouchers: Sequence[Voucher] = ()
    result: str | None = None
    raw: Json | None = None
    """What the terminal sent, as it sent it: kept, sealed."""

    @property
    def event_id(self) -> str:
        return f"urn:uuid:{self.scan}"


RESULT = re.compile(r"[01]|passed|failed|合格|不合格|100(\.0{1,6})?|[1-9]?[0-9](\.[0-9]{1,6})?")
"""How a test's result is written: a word, or the inhibition in percent."""


def missing(scan: Scan, kind: str | None, *, known_lot: bool, told: bool) -> Iterator[Breach]:
    """What the step needs and the scan does not have; where the step is not taken at such a node.

    `told`: the slip says how much.
    """
    step = scan.step
    if step.at is not None and kind not in step.at:
        places = "、".join(sorted(one.chinese for one in step.at))
        yield Breach("step", f"{step.chinese} {step.name} is taken at {places}; this node is {kind or 'of no kind'}")
    for name in sorted(step.needs):
        value = scan.party if name == "party" else getattr(scan, name)
        if (value is None and not (told and name == "quantity")) or (name == "party" and scan.party.endswith("0000")):
            yield Breach(name, f"{step.chinese} {step.name} needs it ({step.source or 'to be recorded'})")
    if scan.quantity is not None and scan.quantity <= 0 and step.how is not How.COUNT:
        yield Breach("quantity", "it is more than 0")
    if scan.made is not None and scan.made <= 0:
        yield Breach("made", "it is more than 0")
    if step.how is How.TEST and scan.result is not None and not RESULT.fullmatch(scan.result):
        yield Breach("result", "give passed or failed, or the inhibition in percent, such as 12.5")
    for group in () if known_lot else step.vouchers:
        if not any(voucher.kind in group for voucher in scan.vouchers):
            names = "、".join(sorted(one.chinese for one in group))
            yield Breach(
                "vouchers", f"{step.chinese} of goods without a known lot needs one of {names} ({step.source})"
            )


def event_of(scan: Scan, taken: Sequence[Amount], made: Amount | None, slip: str | None = None) -> Json:
    """The event of a scan: `taken` are the lots that it concerns, `made` what comes into being (a lot or a slip).

    `slip` names the paper that goes or came with the goods: its code stands in the open, as that of a certificate.
    """
    step = scan.step
    event: Json = {
        "eventID": scan.event_id, "eventTime": scan.at.isoformat(timespec="milliseconds"),
        "eventTimeZoneOffset": _offset(scan.at), "bizStep": step.business_step,
        "disposition": _disposition(scan), "readPoint": {"id": place_of(scan)},
    }  # fmt: skip
    elements = [amount.element for amount in taken]
    if step.how in (How.MAKE, How.SELL):
        outputs = [] if made is None else [made.element]
        event |= {"type": "TransformationEvent", "inputQuantityList": elements, "outputQuantityList": outputs}
    else:
        event |= {"type": "ObjectEvent", "action": _action(scan, made), "quantityList": [*elements, *_new(made)]}
    certificates = [
        f"{CERTIFICATE_URN}{voucher.kind}:{voucher.number}"
        for voucher in scan.vouchers if voucher.kind is not VoucherKind.TRANSACTION
    ]  # fmt: skip
    if certificates or slip is not None:
        event["certificationInfo"] = certificates if slip is None else [*certificates, slip]
    deals = [voucher for voucher in scan.vouchers if voucher.kind is VoucherKind.TRANSACTION]
    if deals:
        event["bizTransactionList"] = [
            {"type": "desadv", "bizTransaction": f"{VOUCHER_URN}{one.number}"} for one in deals
        ]  # fmt: skip
    event |= _parties(scan)
    if step.how is How.TEST:
        event |= _reading(scan)
    if scan.price is not None:
        event["suyuan:price"] = scan.price
    if scan.raw is not None:
        event["suyuan:scan"] = scan.raw
    return event


def _new(made: Amount | None) -> list[Json]:
    return [] if made is None else [made.element]


def _action(scan: Scan, made: Amount | None) -> str:
    match scan.step.how:
        case How.BEGIN:
            return "ADD"
        case How.USE:
            return "DELETE"
        case How.COUNT:
            return "ADD" if made is not None else "DELETE"
        case How.ENTER if made is not None:
            return "ADD"
    return "OBSERVE"


def _disposition(scan: Scan) -> str:
    if scan.step.how is How.TEST and not passed(scan.result or ""):
        return "non_conformant"
    return scan.step.disposition


def passed(result: str) -> bool:
    """Whether a test was passed: 1, passed, 合格, or an inhibition below 50 % (GB/T 5009.199-2003)."""
    if result in ("1", "passed", "合格"):
        return True
    try:
        return Decimal(result) < 50 if result not in ("0", "failed", "不合格") else False
    except ArithmeticError:
        return False


def _reading(scan: Scan) -> Json:
    """A measured inhibition as a sensor report, in percent."""
    result = scan.result or ""
    if result in ("0", "1", "passed", "failed", "合格", "不合格"):
        return {}
    return {"sensorElementList": [{"sensorReport": [{"type": "Dimensionless", "value": Decimal(result), "uom": "P1"}]}]}


def place_of(scan: Scan) -> str:
    """A stall is a place of its own; the node's own operator is the node."""
    return NODE_URN + node_text(scan.node) if scan.party.endswith("0000") else PARTY_URN + scan.party


def _parties(scan: Scan) -> Json:
    if scan.counterparty is None:
        return {}
    here, there = PARTY_URN + scan.party, PARTY_URN + scan.counterparty
    giver, taker = (there, here) if scan.step.how is How.ENTER else (here, there)
    return {
        "sourceList": [{"type": "owning_party", "source": giver}],
        "destinationList": [{"type": "owning_party", "destination": taker}],
    }


def _offset(at: datetime) -> str:
    text = at.strftime("%z")
    return f"{text[:3]}:{text[3:]}"


def slip_of(trace: str, quantity: Decimal, uom: str | None) -> Amount:
    """What leaves on a slip."""
    return Amount(TRACE_URN + trace, quantity, uom)
