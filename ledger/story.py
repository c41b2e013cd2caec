"""What is told to anybody who shows a code: of food its way from farm to stall, of drugs how often a pack was sold.

Everything told of a step is read from the entry's bytes, which hold only its open part: so it can be proved to whoever
reads it, and nothing sealed can slip in. No quantities, no parties, no stall's number: of a place its kind and name.
Codes of certificates, events, parties and records are none that can be asked for: whoever knows one would learn who
traded under it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from sqlalchemy import ARRAY, Connection, Text, cast, or_, select

from ledger.access import Actor, Role
from ledger.balances import goods_of
from ledger.codes import CITY, DRUG_URN, LOT_URN, TRACE_URN, NodeCode, key_of_code
from ledger.documents import Json
from ledger.errors import NotRecorded
from ledger.gs1 import Key, is_digits
from ledger.holds import held
from ledger.identifiers import GS1_URI, canonical_key, identifies_goods_closely, uri_of
from ledger.index import Role as ItemRole
from ledger.packs.effects import is_pack, product_of
from ledger.packs.sales import sales_of
from ledger.reads import ReadEntry, entries_at
from ledger.registers.drugs import Nature
from ledger.registers.goods import ProductKind
from ledger.registers.places import NodeKind
from ledger.registers.supervision import Scope
from ledger.steps import CERTIFICATE_URN
from ledger.tables import goods, node, pack, product, recall
from ledger.trace import Direction, Graph, Step, trace
from ledger.way import Way, seat_of, way_to

_CITY = Actor("story", Role.REGULATOR, frozenset(), CITY)
"""The way goes through every node; what of it is told is decided here."""
_PRIMARY = re.compile(r"(?:https?://[^/]+)?/?((?:00|01|8003|8004|8006)/.+)")
_DRUG_PLACES = frozenset({NodeKind.DRUG_PLANT, NodeKind.DRUG_WHOLESALER, NodeKind.PHARMACY})
_DATES = ("harvestStartDate", "harvestEndDate", "firstFreezeDate", "bestBeforeDate", "sellByDate", "itemExpirationDate")
NOTHING = (
    "没有这个号码的记录,请与小票、标签或包装核对 nothing is recorded under this code: compare it with what is printed"
)


@dataclass(frozen=True, slots=True)
class Name:
    """What goods are called; `code` where nobody registered them."""

    code: str
    chinese: str | None = None
    english: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happened: a node by its name and kind, or a read point that no node is registered for."""

    site: str
    kind: NodeKind | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One step of the way, from its entry."""

    read: ReadEntry
    at: datetime
    step: str | None
    site: str
    goods: tuple[str, ...]
    """Codes of the goods on this way that it is about."""
    certificates: tuple[tuple[str, str], ...]
    """Kind and number."""
    passed: bool | None = None
    """Of a test."""
    value: Decimal | None = None
    unit: str | None = None

    @property
    def entry(self) -> str:
        return self.read.entry.name


@dataclass(frozen=True, slots=True)
class Alert:
    """A recall, or a stop of sale, of what the code stands for or was made of."""

    recall: bool
    number: str
    active: bool
    since: str | None = None
    until: str | None = None
    grade: str | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """What is told. Of drugs there are `sales`, and no steps."""

    code: Key
    names: tuple[Name, ...] = ()
    steps: tuple[Told, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    links: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    dates: tuple[tuple[str, str], ...] = ()
    alerts: tuple[Alert, ...] = ()
    sales: tuple[datetime, ...] | None = None
    drug: bool = False
    origin_known: bool = True
    cut: bool = False


def asked_key(text: str) -> Key:
    """The key of a code as a shopper types or scans it; `UnreadableCode`, or `NotRecorded` for what is no goods'.

    >>> asked_key("3302 1201 4000 1000 0042"), asked_key("01/06901234500103/10/P1")
    ('urn:suyuan:trace:33021201400010000042', '01/06901234500103/10/P1')
    """
    text = unicodedata.normalize("NFKC", text).strip()
    digits = re.sub(r"[\s\-]", "", text)
    link = _PRIMARY.fullmatch(text)
    key = canonical_key(GS1_URI + link[1]) if link else key_of_code(digits if is_digits(digits) else text)
    if not key.startswith((TRACE_URN, LOT_URN, DRUG_URN, "00/", "01/", "8003/", "8004/", "8006/")):
        raise NotRecorded(NOTHING)
    return key


def tell(connection: Connection, code: Key, now: datetime) -> Story:
    """The story of a code; `NotRecorded`, in the same words, for whatever nothing is told of."""
    kinds = _kinds(connection, [_product(code)])
    kind = kinds.get(_product(code))
    if code.startswith(DRUG_URN) or kind in (ProductKind.DRUG, ProductKind.VACCINE):
        return _of_drug(connection, code)
    if not identifies_goods_closely(code):
        if kind is None:
            raise NotRecorded(NOTHING)
        return _alarmed(connection, Story(code, _names(connection, [_product(code)]), origin_known=False), [], now)
    try:
        graph = trace(connection, code, Direction.BACKWARD, _CITY)
        if _stands(graph):
            return _of_food(connection, graph, now)
    except NotRecorded:
        pass
    bare = Story(code, _names(connection, [_product(code)]), origin_known=False)
    if not code.startswith(TRACE_URN):  # a lot may be recalled of which nothing is recorded
        bare = _alarmed(connection, bare, [code], now)
    if not bare.alerts:
        raise NotRecorded(NOTHING)
    return bare


def _product(code: Key) -> str:
    return product_of(code) if is_pack(code) else goods_of(code)


def _stands(graph: Graph) -> bool:
    """Whether an event that stands speaks of the goods: a refused sale or a mere error is no story."""
    item = graph.items.get(graph.start)
    return item is not None and any(not graph.steps[place].in_error for place in item.steps if place in graph.steps)


# --- drugs ----------------------------------------------------------------------------------------


def _of_drug(connection: Connection, code: Key) -> Story:
    """Sales and recalls, and nothing of its way: stock moves shown to buyers as scans were the complaint."""
    sales = tuple(sales_of(connection, code)) if is_pack(code) else None
    names = _names(connection, [_product(code)])
    return Story(code, names, alerts=tuple(_drug_recalls(connection, code)), sales=sales, drug=True)


def _drug_recalls(connection: Connection, code: Key) -> Iterator[Alert]:
    """Of the product or of the pack's batch."""
    one = _product(code)
    known = select(product.c.product, product.c.gtin).where(or_(product.c.product == one, product.c.gtin == one))
    codes = {one, *(name for row in connection.execute(known) for name in row if name)}
    batch = connection.execute(select(pack.c.batch).where(pack.c.code == code)).scalar_one_or_none()
    if "/10/" in code:
        batch = unquote(code.split("/10/")[1].partition("/")[0])
    question = select(recall).where(recall.c.product.in_(sorted(codes)), recall.c.nature == str(Nature.REAL))
    for row in connection.execute(question.order_by(recall.c.decided_at.desc())):
        if not row.batches or batch in row.batches:
            yield Alert(True, row.recall, row.status == "active", row.decided_at, grade=row.grade)


# --- food -----------------------------------------------------------------------------------------


def _of_food(connection: Connection, graph: Graph, now: datetime) -> Story:
    way = way_to(graph)
    reads = {(one.entry.node, one.entry.seq): one for one in entries_at(connection, list(way.steps))}
    steps = sorted(
        (_told(step, reads[place], way) for place, step in way.steps.items()), key=lambda one: (one.at, one.entry)
    )
    sites = {one.site for one in steps} | {site for link in way.links for site in link}
    places = _places(connection, sites)
    ingredients = [goods_of(key) for key in way.lots if goods_of(key)]
    kinds = _kinds(connection, ingredients)
    if any(place.kind in _DRUG_PLACES for place in places.values()) or set(kinds.values()) & {"drug", "vaccine"}:
        return replace(_of_drug(connection, graph.start), sales=tuple(
            step.time for step in way.steps.values() if step.business_step in ("retail_selling", "dispensing")
        ))  # fmt: skip
    story = Story(
        graph.start, _names(connection, _what_it_is(graph, way)), tuple(steps), places, dict(way.links),
        tuple(_dates(steps)), origin_known=not way.open, cut=way.cut,
    )  # fmt: skip
    return _alarmed(connection, story, list(way.lots), now)


def _what_it_is(graph: Graph, way: Way) -> list[str]:
    """The goods that the code itself stands for: of a slip those that were sold on it."""
    own = goods_of(graph.start)
    if own:
        return [own]
    steps = [step for step in way.steps.values() if step.has(graph.start, ItemRole.OUTPUT, ItemRole.CERTIFICATE,
                                                             ItemRole.PARENT)]  # fmt: skip
    roles = (ItemRole.INPUT, ItemRole.OBJECT, ItemRole.CHILD)
    return [code for code in dict.fromkeys(goods_of(key) for step in steps for key in step.items(*roles)) if code]


def _told(step: Step, read: ReadEntry, way: Way) -> Told:
    """The step as its bytes tell it."""
    event: Json = read.entry.body["event"]
    near = step.items(ItemRole.OUTPUT) or step.items(ItemRole.OBJECT, ItemRole.CHILD, ItemRole.PARENT)
    if step.business_step in ("retail_selling", "dispensing"):
        near = step.items(ItemRole.INPUT)
    found = Told(
        read, step.time, step.business_step, seat_of(step).site,
        tuple(dict.fromkeys(goods_of(key) for key in near if key in way.lots and goods_of(key))),
        tuple(_certificates(event)),
    )  # fmt: skip
    if step.business_step != "inspecting":
        return found
    word = str(event.get("disposition", "")).rpartition("-")[2].rpartition("/")[2]
    value, unit = _reading(event)
    return replace(found, passed={"conformant": True, "non_conformant": False}.get(word), value=value, unit=unit)


def _certificates(event: Json) -> Iterator[tuple[str, str]]:
    """Kind and number of those that are ours to name; a slip's code and foreign addresses are not told."""
    given = event.get("certificationInfo") or []
    for one in given if isinstance(given, list) else [given]:
        kind, _, number = str(one).removeprefix(CERTIFICATE_URN).partition(":")
        if str(one).startswith(CERTIFICATE_URN) and number:
            yield kind, unquote(number)


def _reading(event: Json) -> tuple[Decimal | None, str | None]:
    for element in event.get("sensorElementList") or ():
        for report in element.get("sensorReport") or ():
            if "value" in report:
                return Decimal(str(report["value"])), report.get("uom")
    return None, None


def _dates(steps: Sequence[Told]) -> Iterator[tuple[str, str]]:
    """Days that the goods' own data give, the last word on each."""
    found: dict[str, str] = {}
    for one in steps:
        ilmd = one.read.entry.body["event"].get("ilmd") or {}
        for name in _DATES:
            if isinstance(given := ilmd.get(f"cbvmda:{name}"), str) and re.match(r"\d{4}-\d\d-\d\d", given):
                found[name] = given[:10]
    yield from ((name, found[name]) for name in _DATES if name in found)


def _places(connection: Connection, sites: Iterable[str]) -> dict[str, Place]:
    codes = [int(site) for site in sites if len(site) == 9 and is_digits(site)]
    rows = connection.execute(select(node.c.node, node.c.name, node.c.kind).where(node.c.node.in_(codes)))
    found = {f"{row.node:09d}": row for row in rows}
    kinds = {str(kind): kind for kind in NodeKind}
    return {
        site: Place(site, kinds.get(found[site].kind or ""), found[site].name) if site in found else Place(site)
        for site in sites
    }


def _alarmed(connection: Connection, story: Story, lots: list[Key], now: datetime) -> Story:
    """The story with recalls, also past ones, and with what may not be sold now, here or anywhere."""
    uris = [uri_of(key) for key in lots]
    question = select(recall).where(
        recall.c.lots.overlap(cast(uris, ARRAY(Text))), recall.c.nature == str(Nature.REAL)
    )  # fmt: skip
    alerts = [
        Alert(True, row.recall, row.status == "active", row.decided_at, grade=row.grade)
        for row in connection.execute(question.order_by(recall.c.decided_at.desc()))
    ]
    codes = [code for code in dict.fromkeys(map(goods_of, [story.code, *lots])) if code]
    last = story.steps[-1].site if story.steps else ""
    here = NodeCode(int(last)) if len(last) == 9 and is_digits(last) else CITY
    for stop in held(connection, here, None, lots, codes, now):
        if not stop.recall and stop.scope in (Scope.LOT, Scope.PRODUCT_BATCH, Scope.GOODS):
            alerts.append(Alert(False, stop.order, True, until=stop.until))
    alerts.sort(key=lambda one: not one.active)
    return replace(story, alerts=tuple(dict.fromkeys(alerts)))


# --- names ----------------------------------------------------------------------------------------


def _kinds(connection: Connection, codes: Iterable[str]) -> dict[str, str]:
    """Of which kind these products are: food or a drug."""
    wanted = [code for code in codes if code]
    question = select(product.c.product, product.c.gtin, product.c.kind)
    rows = connection.execute(question.where(or_(product.c.product.in_(wanted), product.c.gtin.in_(wanted)))).all()
    return {name: row.kind for row in rows for name in (row.product, row.gtin) if name in wanted}


def names_of(connection: Connection, story: Story) -> dict[str, Name]:
    """What all goods on the way are called."""
    codes = dict.fromkeys(code for one in story.steps for code in one.goods)
    return {one.code: one for one in _names(connection, list(codes))}


def _names(connection: Connection, codes: Sequence[str]) -> tuple[Name, ...]:
    """Names from the registers, in the order asked."""
    found: dict[str, Any] = {}
    columns = (product.c.product, product.c.gtin, product.c.name, product.c.english)
    where = or_(product.c.product.in_(codes), product.c.gtin.in_(codes))
    for row in connection.execute(select(*columns).where(where)):
        found |= {name: row for name in (row.product, row.gtin) if name}
    known = select(goods.c.goods, goods.c.name, goods.c.english).where(goods.c.goods.in_(codes))
    found |= {row.goods: row for row in connection.execute(known)}
    return tuple(Name(one, found[one].name, found[one].english) if one in found else Name(one) for one in codes if one)
