"""What happened in a period, as bulletins and assessments ask it: a few questions, whatever the ledger's age.

Where in each chain a period begins and ends is found by halves, all chains in one question; so the past is not read.
Events of all nodes are found by their BRIN index of record times, those of a market by their places, and so is what is
no event. A period is of record times: what was recorded in it, by the ledger's own clock. Bounded: what is beyond the
limits is not read, and `cut` says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import (
    ARRAY,
    Connection,
    Integer,
    Text,
    and_,
    any_,
    false,
    func,
    literal,
    or_,
    select,
    text,
    true,
)

from ledger.balances import goods_of
from ledger.codes import CITY, IMPORT, node_text
from ledger.drafts import why_refused
from ledger.entries import Kind
from ledger.fields import EPOCH, parse_time
from ledger.index import Role
from ledger.reads import in_error, places_as_rows
from ledger.registers.supervision import Progress
from ledger.rules.form import Level
from ledger.rules.warnings import DEADLINES
from ledger.steps import passed
from ledger.tables import entry, event, goods, handling, head, item_entry, product, region, registry_version, warning
from ledger.tables import node as node_table

Json = dict[str, Any]
Place = tuple[int, int]
OTHERS_MAX, TESTS_MAX, WARNINGS_MAX = 200_000, 100_000, 100_000
"""How many entries that are no events, tests, and warnings of a period are read."""
_PART = 10_000
LOT_URN = "urn:suyuan:lot:"


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment until before another."""

    since: datetime
    until: datetime


class Slice(NamedTuple):
    """The entries of a chain that lie in a period."""

    node: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A scan or a command for packs that was decided against."""

    place: Place
    at: datetime
    why: str
    """held, not_enough or pack."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A check at the gate."""

    place: Place
    at: datetime
    decision: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """A test of goods of one code; `origin` is a region's code, or empty where nobody said it."""

    place: Place
    goods: str
    origin: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Raised:
    """A warning of the period, and whether it was closed before its deadline; None while it may still be."""

    id: str
    rule: str
    name: tuple[str, str]
    level: Level
    node: int
    subject: str
    in_time: bool | None
    open: bool
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Silent:
    """An open node without an entry in the period, and its last entry, if it has any."""

    node: int
    last: int | None
    at: datetime | None


@dataclass(slots=True)
class Figures:
    """All that a bulletin says of one period."""

    period: Period
    slices: list[Slice] = field(default_factory=list)
    by_time: dict[datetime, int] = field(default_factory=dict)
    """Events by the city's hour or day."""
    by_node: dict[int, int] = field(default_factory=dict)
    """Events by node."""
    by_step: dict[str, int] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    checks: list[Checked] = field(default_factory=list)
    tests: list[Tested] = field(default_factory=list)
    warnings: list[Raised] = field(default_factory=list)
    silent: list[Silent] = field(default_factory=list)
    cut: bool = False

    @property
    def entries(self) -> int:
        return sum(one.size for one in self.slices)

    @property
    def events(self) -> int:
        return sum(self.by_node.values())


def figures(
    connection: Connection, period: Period, now: datetime, zone: ZoneInfo, unit: str, nodes: frozenset[int] | None
) -> Figures:
    """What was recorded at these nodes (None: at all); `unit`: by hour or by day."""
    found = Figures(period)
    heads = heads_of(connection, nodes)
    found.slices = slices(connection, period, heads)
    recorded = recorded_in(period, found.slices, nodes)
    found.by_time, found.by_node, found.by_step = _events(connection, zone, unit, recorded)
    mixed = [one for one in found.slices if one.size > found.by_node.get(one.node, 0)]
    others, cut = others_of(connection, mixed)
    found.refusals = list(refusals_of(others))
    checks = [(place, at, body["check"]) for place, at, kind, body in others if kind == Kind.CHECK]
    found.checks = [
        Checked(place, at, one["decision"], tuple(reason["reason"] for reason in one["reasons"]))
        for place, at, one in checks
    ]
    inspected = _inspected(connection, recorded)
    found.tests = [*_told_tests(checks), *_tested(connection, inspected)]
    found.warnings = warnings_of(connection, period, now, nodes)
    found.silent = silent_in(connection, period, found.slices, nodes)
    found.cut = cut or len(inspected) >= TESTS_MAX or len(found.warnings) >= WARNINGS_MAX
    return found


# --- entries ----------------------------------------------------------------------------------------


def mine(column_: Any, nodes: frozenset[int] | None) -> Any:
    """Of these nodes; None for all but the city's own chain."""
    return column_ != CITY if nodes is None else column_.in_(sorted(nodes))


def heads_of(connection: Connection, nodes: frozenset[int] | None) -> dict[int, int]:
    """The last sequence of each chain that has an entry."""
    rows = connection.execute(select(head.c.node, head.c.seq).where(mine(head.c.node, nodes), head.c.seq > 0))
    return {row.node: row.seq for row in rows}


def slices(connection: Connection, period: Period, heads: Mapping[int, int]) -> list[Slice]:
    """Where in each chain a period lies; chains without an entry in it are missing."""
    begin, end = places_since(connection, heads, period.since), places_since(connection, heads, period.until)
    return [Slice(node, begin[node], end[node] - 1) for node in sorted(heads) if begin[node] < end[node]]


_PLACES_SINCE = text("""
    WITH RECURSIVE half(node, low, high) AS (
        SELECT node, CAST(1 AS bigint), seq + 1
        FROM unnest(CAST(:nodes AS int[]), CAST(:seqs AS bigint[])) AS h(node, seq)
        UNION ALL
        SELECT half.node, CASE WHEN later THEN low ELSE (low + high) / 2 + 1 END,
               CASE WHEN later THEN (low + high) / 2 ELSE high END
        FROM half LEFT JOIN LATERAL (
            SELECT record_time >= :at AS later FROM entry WHERE node = half.node AND seq = (low + high) / 2 LIMIT 1
        ) AS looked ON true
        WHERE low < high
    )
    SELECT node, low FROM half WHERE low = high
""")


def places_since(connection: Connection, heads: Mapping[int, int], at: datetime) -> dict[int, int]:
    """In each chain the first sequence recorded at that moment or later; one past its end where none was."""
    asked = {"nodes": list(heads), "seqs": list(heads.values()), "at": at}
    return {row.node: row.low for row in connection.execute(_PLACES_SINCE, asked)}


def recorded_in(period: Period, found: Iterable[Slice], nodes: frozenset[int] | None) -> Any:
    """Of events: recorded in the period, whose slices these are, at these nodes (None: at all but the city's own)."""
    if nodes is None:
        return (event.c.record_time >= period.since) & (event.c.record_time < period.until) & (event.c.node != CITY)
    places = (and_(event.c.node == one.node, event.c.seq.between(one.first, one.last)) for one in found)
    return or_(false(), *places)


def _events(
    connection: Connection, zone: ZoneInfo, unit: str, recorded: Any
) -> tuple[dict[datetime, int], dict[int, int], dict[str, int]]:
    """Events by time, node and step: two passes over those of the period."""
    quarter = func.date_bin(timedelta(minutes=15), event.c.record_time, EPOCH)  # no zone's hours begin within one
    quarters = select(quarter.label("quarter"), func.count().label("n")).where(recorded).group_by("quarter").subquery()
    at = func.date_trunc(unit, func.timezone(zone.key, quarters.c.quarter)).label("at")
    by_time = connection.execute(select(at, func.sum(quarters.c.n).label("n")).group_by("at"))
    step = func.coalesce(event.c.business_step, "").label("step")
    counted = select(event.c.node, step, func.count().label("n")).where(recorded).group_by(event.c.node, "step")
    by_node, by_step = Counter[int](), Counter[str]()
    for row in connection.execute(counted):
        by_node[row.node] += row.n
        by_step[row.step] += row.n
    return {row.at: int(row.n) for row in by_time}, dict(by_node), dict(by_step)


_OTHERS = text("""
    SELECT s.node, o.seq
    FROM unnest(CAST(:nodes AS int[]), CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[])) AS s(node, first, last)
    CROSS JOIN LATERAL (
        SELECT n AS seq FROM generate_series(s.first, s.last) AS n
        EXCEPT SELECT seq FROM event WHERE event.node = s.node AND event.seq BETWEEN s.first AND s.last
    ) AS o
    LIMIT :most
""")


def _other_places(connection: Connection, asked: Sequence[Slice]) -> list[Place]:
    """Where in these slices entries stand that are no events, as many as are read."""
    nodes, firsts, lasts = ([one[at] for one in asked] for at in range(3))
    rows = connection.execute(_OTHERS, {"nodes": nodes, "firsts": firsts, "lasts": lasts, "most": OTHERS_MAX})
    return [(row.node, row.seq) for row in rows]


def kinds_of(connection: Connection, asked: Sequence[Slice]) -> Counter[Kind]:
    """How many entries of each kind there are in these slices, but for events."""
    places = _other_places(connection, asked)
    found = Counter[Kind]()
    for begin in range(0, len(places), _PART):
        wanted = places_as_rows(places[begin : begin + _PART])
        question = (
            select(entry.c.kind, func.count().label("n"))
            .join_from(wanted, entry, (entry.c.node == wanted.c.node) & (entry.c.seq == wanted.c.seq))
            .group_by(entry.c.kind)
        )
        found.update({Kind(row.kind): row.n for row in connection.execute(question)})
    return found


_Other = tuple[Place, datetime, Kind, Json]


def others_of(connection: Connection, asked: Sequence[Slice]) -> tuple[list[_Other], bool]:
    """Refusals and checks in these slices, in the order in which they were recorded; and whether there are more."""
    places = _other_places(connection, asked)
    found = _read(connection, places, entry.c.kind.in_([Kind.REFUSAL, Kind.CHECK]))
    return sorted(found, key=lambda one: (one[1], one[0])), len(places) >= OTHERS_MAX


def _read(connection: Connection, places: Sequence[Place], condition: Any) -> Iterator[_Other]:
    """The open bodies of the entries at these places."""
    for begin in range(0, len(places), _PART):
        wanted = places_as_rows(places[begin : begin + _PART])
        question = (
            select(entry.c.node, entry.c.seq, entry.c.record_time, entry.c.kind, entry.c.data)
            .join_from(wanted, entry, (entry.c.node == wanted.c.node) & (entry.c.seq == wanted.c.seq))
            .where(condition)
        )
        for row in connection.execute(question):
            yield (row.node, row.seq), row.record_time, Kind(row.kind), orjson.loads(bytes(row.data))["body"]


def refusals_of(others: Iterable[_Other]) -> Iterator[Refusal]:
    """The refusals among these entries."""
    for place, at, kind, body in others:
        if kind is Kind.REFUSAL:
            yield Refusal(place, at, why_refused(body["refusal"]))


# --- tests ------------------------------------------------------------------------------------------


def _told_tests(checks: Iterable[tuple[Place, datetime, Json]]) -> Iterator[Tested]:
    """Tests that checks at the gate were told of: of the goods that they name, or of all of the check."""
    for place, _, check in checks:
        for test in check["tests"]:
            for one in check["goods"]:
                if test["goods"] in (None, one["goods"]):
                    yield Tested(place, one["goods"], one["origin"] or "", passed(test["result"]))


def _inspected(connection: Connection, recorded: Any) -> list[tuple[Place, bool]]:
    """Inspections among these events, and whether the goods conformed."""
    question = (
        select(event.c.node, event.c.seq, event.c.disposition)
        .where(
            recorded, event.c.business_step == "inspecting",
            event.c.disposition.in_(["conformant", "non_conformant"]),
        )
        .order_by(event.c.node, event.c.seq)
        .limit(TESTS_MAX)
    )  # fmt: skip
    return [((row.node, row.seq), row.disposition == "conformant") for row in connection.execute(question)]


def _tested(connection: Connection, inspected: Sequence[tuple[Place, bool]]) -> Iterator[Tested]:
    """Each good of each inspection once, unless it was declared in error; its origin as a check was told it, else
    the region in the lot's own code."""
    results = dict(inspected)
    events = [(place, body["event"]) for place, _, _, body in
              _read(connection, list(results), entry.c.kind == Kind.EVENT)]  # fmt: skip
    wrong: set[str] = set()
    for begin in range(0, len(events), _PART):
        wrong |= in_error(connection, [one["eventID"] for _, one in events[begin : begin + _PART]])
    standing = [
        (place, one) for place, one in sorted(events, key=lambda one: one[0])
        if one["eventID"] not in wrong and "errorDeclaration" not in one
    ]  # fmt: skip
    lots = {lot for _, one in standing for lot in _lots(one)}
    origins = _origins(connection, sorted(lots))
    for place, one in standing:
        for code, origin in dict.fromkeys((goods_of(lot), origins.get(lot) or _region(lot)) for lot in _lots(one)):
            yield Tested(place, code, origin, results[place])


def _lots(one: Json) -> list[str]:
    named = [element["epcClass"] for element in one.get("quantityList", ())] + list(one.get("epcList", ()))
    return [name.removeprefix("https://id.gs1.org/") for name in named]


def _region(lot: str) -> str:
    code = lot.removeprefix(LOT_URN).partition(":")[2] if lot.startswith(LOT_URN) else ""
    return code[:6]


def _origins(connection: Connection, lots: Sequence[str]) -> dict[str, str]:
    """Where lots came from, as checks at the gate were told."""
    places: set[Place] = set()
    for begin in range(0, len(lots), _PART):
        asked = literal(lots[begin : begin + _PART], ARRAY(Text))
        rows = connection.execute(
            select(item_entry.c.node, item_entry.c.seq).where(
                item_entry.c.item == any_(asked), item_entry.c.role == Role.CHECKED
            )
        )
        places |= {(row.node, row.seq) for row in rows}
    found: dict[str, str] = {}
    for _, _, _, body in _read(connection, sorted(places), entry.c.kind == Kind.CHECK):
        for one in body["check"]["goods"]:
            if one["item"] is not None and one["origin"]:
                found[one["item"].removeprefix("https://id.gs1.org/")] = one["origin"]
    return found


# --- warnings and silence ---------------------------------------------------------------------------


def warnings_of(
    connection: Connection, period: Period, now: datetime, nodes: frozenset[int] | None
) -> list[Raised]:  # fmt: skip
    """Warnings raised in the period that somebody was told of, as they stand at `now`, oldest first."""
    said = warning.c.body
    told = (said["name"]["zh"].astext.label("zh"), said["name"]["en"].astext.label("en"),
            said["evidence"].astext.label("evidence"), said["handling"].astext.label("handling"))  # fmt: skip
    columns = (warning.c[name] for name in ("warning", "rule", "level", "node", "subject", "raised_at", "status"))
    question = (
        select(*columns, *told, handling.c.due)
        .join_from(warning, handling, handling.c.warning == warning.c.warning, isouter=True)
        .where(
            warning.c.raised_at >= period.since, warning.c.raised_at < period.until, warning.c.hidden.is_(None),
            true() if nodes is None else mine(warning.c.node, nodes),
        )
        .order_by(warning.c.raised_at, warning.c.warning)
        .limit(WARNINGS_MAX)
    )  # fmt: skip
    return [_raised(row, now) for row in connection.execute(question).all()]


def _raised(row: Any, now: datetime) -> Raised:
    closed = [parse_time(one["at"]) for one in orjson.loads(row.handling or "[]") if one["status"] == Progress.CLOSED]
    level, is_open = Level(row.level), row.status != Progress.CLOSED
    deadline, end = _deadline(row.raised_at, level, row.due), now if is_open or not closed else closed[-1]
    in_time = None if is_open and end < deadline else not is_open and end <= deadline
    evidence = tuple(orjson.loads(row.evidence))
    return Raised(row.warning, row.rule, (row.zh, row.en), level, row.node, row.subject, in_time, is_open, evidence)


def _deadline(raised_at: datetime, level: Level, due: str | None) -> datetime:
    """As it was given by hand, else that of its level: one that went up a level was late by both."""
    return raised_at + DEADLINES[level] if due is None else parse_time(due)


def silent_in(
    connection: Connection, period: Period, found: Iterable[Slice], nodes: frozenset[int] | None
) -> list[Silent]:  # fmt: skip
    """Open nodes that were registered before the period's end, and recorded nothing in it."""
    lively = {one.node for one in found}
    open_ = select(node_table.c.node).where(
        node_table.c.open, node_table.c.node.not_in([CITY, IMPORT]), mine(node_table.c.node, nodes)
    )
    codes = [code for code in connection.execute(open_).scalars() if code not in lively]
    subjects = literal([f"node {node_text(code)}" for code in codes], ARRAY(Text))
    late = set(connection.execute(select(registry_version.c.subject).where(
        registry_version.c.subject == any_(subjects), registry_version.c.version == 1,
        registry_version.c.record_time >= period.until,
    )).scalars())  # fmt: skip
    codes = [code for code in codes if f"node {node_text(code)}" not in late]
    last = (
        select(head.c.node, head.c.seq, entry.c.record_time)
        .join_from(head, entry, (entry.c.node == head.c.node) & (entry.c.seq == head.c.seq))
        .where(head.c.node == any_(literal(codes, ARRAY(Integer))))
    )
    rows = {row.node: (row.seq, row.record_time) for row in connection.execute(last)}
    return [Silent(code, *rows.get(code, (None, None))) for code in sorted(codes)]


# --- names ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """How nodes, goods and regions are called, by their codes."""

    nodes: Mapping[int, str]
    goods: Mapping[str, str]
    regions: Mapping[str, str]


def names_of(connection: Connection, found: Iterable[Figures]) -> Names:
    """The names of all that these figures speak of, as far as they are registered."""
    several = list(found)
    nodes = {one.node for each in several for one in each.slices}
    nodes |= {one.node for each in several for one in each.silent}
    nodes |= {one.node for each in several for one in each.warnings}
    codes = {one.goods for each in several for one in each.tests}
    regions = sorted({int(one.origin) for each in several for one in each.tests if one.origin.isdigit()})
    places = select(region.c.region, region.c.name).where(region.c.region == any_(literal(regions, ARRAY(Integer))))
    here = select(node_table.c.node, node_table.c.name).where(
        node_table.c.node == any_(literal(sorted(nodes), ARRAY(Integer)))
    )
    return Names(
        {row.node: row.name for row in connection.execute(here)},
        goods_names(connection, codes),
        {f"{row.region:06d}": row.name for row in connection.execute(places)},
    )


def goods_names(connection: Connection, codes: Iterable[str]) -> dict[str, str]:
    """How goods and products of these codes are called, as far as they are registered."""
    asked = literal(sorted(set(codes)), ARRAY(Text))
    kinds = connection.execute(select(goods.c.goods, goods.c.name).where(goods.c.goods == any_(asked)))
    brands = connection.execute(
        select(product.c.product, product.c.gtin, product.c.name).where(
            (product.c.product == any_(asked)) | (product.c.gtin == any_(asked))
        )
    )
    called = {code: row.name for row in brands for code in (row.product, row.gtin) if code is not None}
    return called | {row.goods: row.name for row in kinds}
