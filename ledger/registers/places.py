"""Regions and nodes: where things happen. Region codes change; old ones lead to what they have become.

Sources: GB/T 2260 (regions); MOFCOM's lists of node types, by 6 and by 10 values.
"""

from collections.abc import Iterator

from ledger.access import Action
from ledger.codes import CITY, IMPORT, NODE_URN, TraceScheme
from ledger.errors import Breach, UnreadableCode
from ledger.identifiers import canonical_key
from ledger.registers import fields as f
from ledger.registers.form import Field, Find, Register, Step, Values, Word


class NodeKind(Word):
    """What a node is."""

    FARM = "farm", "种养殖基地"
    SLAUGHTERHOUSE = "slaughterhouse", "屠宰企业"
    WHOLESALE_MARKET = "wholesale_market", "批发市场"
    DISTRIBUTION_CENTRE = "distribution_centre", "配送中心"
    MARKET = "market", "菜市场"
    SUPERMARKET = "supermarket", "超市"
    CANTEEN = "canteen", "团体消费单位"
    DRUG_PLANT = "drug_plant", "药品生产企业"
    DRUG_WHOLESALER = "drug_wholesaler", "药品批发企业"
    PHARMACY = "pharmacy", "药店"
    HOSPITAL = "hospital", "医疗机构"
    OTHER = "other", "其他"


class Openness(Word):
    """Whether a node takes entries."""

    OPEN = "open", "开放"
    CLOSED = "closed", "关闭"


class StockLimit(Word):
    """What becomes of taking more of a lot than is left."""

    WARN = "warn", "预警"
    REFUSE = "refuse", "拒绝"


def _location(given: str, _: object) -> str:
    if not f.LOCATION.fullmatch(given) or given.startswith(NODE_URN):
        raise UnreadableCode("location", given, "give a read point as URI, such as https://id.gs1.org/414/…")
    return canonical_key(given)


def _scheme(given: str, _: object) -> str:
    if given not in set(TraceScheme):
        raise UnreadableCode("trace scheme", given, "it is A (party and serial) or B (node, day and serial)")
    return given


def _own_nodes(values: Values) -> Iterator[Breach]:
    if values["node"] in (CITY, IMPORT) and values.get("kind") is not None:
        yield Breach("node", "the ledger's own two chains are no places")


NODE = Register(
    "node", "nodes", "节点", "node", ("node",),
    (
        Field("node", "节点编码", "9 digits: region and filing serial", f.NODE_CODE, "330212001", required=True,
              names=True, find=Find.EXACT, aliases=("流通节点编码",)),
        Field("name", "节点名称", "what it is called; no personal data", f.text(200), "城东农贸市场", required=True,
              find=Find.TEXT, positional=True),
        Field("trace_scheme", "追溯码方案", "how it numbers slips: A (party and serial) or B (day and serial)", _scheme,
              "A", required=True, fixed=True, option="scheme"),
        Field("kind", "节点类型", "kind of place", f.one_of(NodeKind), "market"),
        Field("region", "现行区划", "region it lies in now, where that is not the one in its code",
              f.REGION_CODE, "330213"),
        Field("stock_limit", "限量控制", "when more of a lot is taken than is left: warn or refuse; warn if left out",
              f.one_of(StockLimit), "refuse", option="limit"),
        Field("locations", "位置", "read points as URIs (GLN links, URNs): events there belong to it", _location,
              "https://id.gs1.org/414/6901234500011", many=True, option="location"),
    ),
    Action.ADMINISTER, _own_nodes,
    steps=(
        Step("close", "关闭", "it takes no entries any more", (True,), False),
        Step("reopen", "重新开放", "it takes entries again", (False,), True),
    ),
    status="open",
)  # fmt: skip


def _not_its_own(values: Values) -> Iterator[Breach]:
    if values.get("successor") == values["region"]:
        yield Breach("successor", "a region does not succeed itself")
    since, until = values.get("since"), values.get("until")
    if isinstance(since, str) and isinstance(until, str) and until < since:
        yield Breach("until", f"it ends on {until}, before it begins on {since}")
    if values.get("successor") is not None and until is None:
        yield Breach("until", "a region that was succeeded ended on a day: give it")


REGION = Register(
    "region", "regions", "行政区划", "region", ("region",),
    (
        Field("region", "区划代码", "6 digits of GB/T 2260", f.REGION_CODE, "330212", required=True, names=True,
              find=Find.EXACT),
        Field("name", "区划名称", "what it is or was called", f.text(100), "樟木区", required=True, find=Find.TEXT),
        Field("successor", "后继代码", "the region that it became, or the larger part of it", f.REGION_CODE, "330213"),
        Field("since", "启用日期", "first day of this code", f.day, "2016-01-01"),
        Field("until", "停用日期", "last day of this code", f.day, "2021-04-08"),
    ),
    Action.ADMINISTER, _not_its_own,
)  # fmt: skip
