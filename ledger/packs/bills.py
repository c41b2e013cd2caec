"""China's bills 单据: what each type does with packs, as one reviewed table.

Source: the bill types of 码上放心 (`china.md` 2.2) and what each set of companies uses: the hospitals' set is 102, 103,
107, 202, 205, 206, 209; the shops' lacks 101, 106 and 208. What goes out other than by sale leaves supervision only
where the type says so. A bill's number is its party's own; the same bill again is the same bill. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.access import Role
from ledger.codes import PARTY_URN
from ledger.documents import Json
from ledger.errors import UnreadableCode
from ledger.packs.states import Command

BILL_URN = "urn:suyuan:bill:"


@dataclass(frozen=True, slots=True)
class BillType:
    """One type of bill: its number and name, the command that it is, and the CBV type of the document (CBV 2.0, 7.4).

    `roles` narrows who hands it in; None: whoever may give the command.
    """

    number: str
    chinese: str
    english: str
    command: Command
    document: str
    roles: frozenset[Role] | None = None


_MAKERS = frozenset({Role.MANUFACTURER})
_SHOPS = frozenset({Role.PHARMACY})
_R, _S = Command.RECEIVE, Command.SHIP

BILL_TYPES: tuple[BillType, ...] = (
    BillType("101", "生产入库", "made", Command.COMMISSION, "prodorder", _MAKERS),
    BillType("102", "采购入库", "bought", _R, "recadv"),
    BillType("103", "退货入库", "returned by a customer firm", _R, "rma"),
    BillType("104", "调拨入库", "moved in", _R, "recadv"),
    BillType("106", "零头入库", "remainder in", _R, "recadv", _MAKERS),
    BillType("107", "供应入库", "supplied in", _R, "recadv"),
    BillType("108", "召回入库", "recalled, come in", Command.LOCK, "rma"),
    BillType("110", "赠品入库", "gift in", _R, "recadv"),
    BillType("111", "盘盈入库", "found at stock-take", _R, "recadv"),
    BillType("112", "报废入库", "scrap in", Command.LOCK, "recadv"),
    BillType("113", "其他入库", "other in", _R, "recadv"),
    BillType("116", "消费者退货入库", "returned by a consumer", Command.RETURN, "rma", _SHOPS),
    BillType("201", "销售出库", "sold to a firm", _S, "desadv"),
    BillType("202", "退货出库", "returned to the seller", _S, "rma"),
    BillType("203", "调拨出库", "moved out", _S, "desadv"),
    BillType("204", "返工出库", "out for rework", Command.CHECK_OUT, "prodorder"),
    BillType("205", "销毁出库", "out to be destroyed", Command.DESTROY, "cert"),
    BillType("206", "抽检出库", "sample for an authority", Command.SAMPLE, "testprd"),
    BillType("207", "直调出库", "sent directly", _S, "desadv"),
    BillType("208", "生产出库", "out of production", _S, "desadv", _MAKERS),
    BillType("209", "供应出库", "supplied out", _S, "desadv"),
    BillType("210", "零头出库", "remainder out", _S, "desadv"),
    BillType("211", "召回出库", "recalled, sent back", _S, "rma"),
    BillType("212", "赠品出库", "gift out", Command.FREE_SAMPLE, "desadv"),
    BillType("214", "盘亏出库", "missing at stock-take", Command.LOCK, "desadv"),
    BillType("215", "损坏出库", "damaged", Command.LOCK, "desadv"),
    BillType("216", "报废出库", "scrapped", Command.DESTROY, "cert"),
    BillType("217", "其他出库", "other out", _S, "desadv"),
    BillType("237", "直调退货", "sent back directly", _S, "rma"),
    BillType("321", "零售出库", "sold to a consumer", Command.SUPPLY, "inv", _SHOPS),
    BillType("322", "疫苗接种", "vaccinated", Command.SUPPLY, "inv", _SHOPS),
    BillType("323", "零售出库", "sold to a consumer", Command.SUPPLY, "inv", _SHOPS),
)
_BY_NUMBER: Mapping[str, BillType] = {one.number: one for one in BILL_TYPES}


def bill_type(number: str) -> BillType:
    """The type of that number; `UnreadableCode` lists those that there are."""
    found = _BY_NUMBER.get(number)
    if found is None:
        raise UnreadableCode("bill type", number, f"the types are {', '.join(_BY_NUMBER)}")
    return found


def bill_uri(party: str, bill: str) -> str:
    """How an event names a bill: by its party and the party's own number."""
    return f"{BILL_URN}{party}:{bill}"


def bill_document(kind: BillType, party: str, bill: str, giver: str | None, taker: str | None) -> Json:
    """What a bill adds to its event: the document, and who gave and who took (sealed)."""
    found: Json = {"bizTransactionList": [{"type": kind.document, "bizTransaction": bill_uri(party, bill)}]}
    if giver is not None:
        found["sourceList"] = [{"type": "owning_party", "source": PARTY_URN + giver}]
    if taker is not None:
        found["destinationList"] = [{"type": "owning_party", "destination": PARTY_URN + taker}]
    return found
