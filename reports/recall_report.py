"""The report of a recall: its clocks, who has or had what, what they answered, and how far it has come.

For drugs by packs, for food by lots; what is counted and how: `ledger/packs/recalls.py`. Pure, but for `make`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from ledger.access import Action, Actor
from ledger.append import subject_of
from ledger.codes import node_text
from ledger.identifiers import canonical_key
from ledger.packs.recalls import (
    AMOUNTS,
    GONE,
    SAFE,
    Answered,
    Due,
    Effect,
    Had,
    Held,
    answers_to,
    clocks,
    effects,
    who_had,
    who_holds,
)
from ledger.packs.states import STATE_NAMES, State
from ledger.registers.drugs import RECALL
from ledger.registry import Record, record
from ledger.reporting import (
    Place,
    Standing,
    entries_of_lots,
    entries_of_packs,
    entries_of_records,
    node_names,
    product_codes,
)
from reports.catalogue import Parameter, Report, Source
from reports.document import (
    Basis,
    Cell,
    Chart,
    Column,
    Document,
    Facts,
    Grid,
    Kind,
    Note,
    Phrase,
    Section,
    Series,
)

TITLE = Phrase("召回报告", "Recall report")
"""As `GET /recalls/{recall}` counts them: packs that nobody can take any more, and packs that left the chain."""
CITED = 50
"""Entries that a line names; how many there are stands beside them."""
_LOTS_SHOWN = 5
Cited = tuple[Sequence[Place], int]

_NAMES = {
    "received": Phrase("收货", "received"), "made": Phrase("生产", "made"), "shipped": Phrase("发出", "shipped"),
    "sold": Phrase("已售", "sold"), "destroyed": Phrase("销毁", "destroyed"),
    "used": Phrase("使用或损耗", "used or lost"),
    "left": Phrase("现存", "left"), "found": Phrase("查到", "found"), "returned": Phrase("退回", "returned"),
    "out": Phrase("应追回", "out"), "accounted": Phrase("已落实", "accounted for"),
}  # fmt: skip
_EVIDENCE = Column(Phrase("证据条目", "evidence"), Kind.ENTRIES)
_COUNT = Column(Phrase("条目数", "entries"), Kind.NUMBER)
_NODE, _UNIT = Column(Phrase("节点", "node")), Column(Phrase("单位", "unit"))


@dataclass(frozen=True, slots=True)
class Rows:
    """What a recall report is made of. Of a drug `held` is told, of food `had`; only nodes that the reader may see.

    `totals`, `packs` and `nodes` are of all nodes, as the recall itself is.
    """

    recall: Record
    clocks: Sequence[Due]
    held: Sequence[Held]
    packs: Mapping[State, int]
    had: Sequence[Had]
    answers: Sequence[Answered]
    totals: Sequence[Effect]
    nodes: tuple[int, int]
    """How many nodes have or had of it, and how many of them answered."""
    names: Mapping[int, str]
    by_record: Mapping[str, Sequence[Place]]
    by_node: Mapping[int, Cited]
    by_standing: Mapping[Standing, Cited]
    zone: ZoneInfo
    sees_all: bool

    @property
    def number(self) -> str:
        return str(self.recall.row["recall"])

    def cite(self, subject: str) -> str:
        """The entries that made the versions of a record."""
        return _names(self.by_record.get(subject, ()))

    def called(self, node: int) -> str:
        """Code and name of a node."""
        return f"{node_text(node)} {self.names.get(node, '')}".strip()


def _names(places: Iterable[Place]) -> str:
    return " ".join(f"{node_text(node)}/{seq}" for node, seq in places)


def document(rows: Rows, basis: Basis) -> Document:
    """The report of these rows."""
    sections: list[Section] = [_about(rows)]
    if any(due.late for due in rows.clocks):
        sections.append(Note(Phrase("有时限已超过。", "A clock has run out."), alert=True))
    if not rows.sees_all:
        sections.append(Note(Phrase(
            "明细只含本单位节点;合计为全部节点。", "Lines are of the reader's own nodes only; sums are of all nodes.",
        )))  # fmt: skip
    sections += [_clocks(rows), _effectiveness(rows)]
    if rows.recall.row["lots"]:
        sections += [_totals(rows), *map(_chart, rows.totals), _had(rows), _lots(rows)]
    else:
        sections += [_packs(rows), _held(rows)]
    sections.append(_answers(rows))
    return Document("recall", TITLE, rows.number, basis, sections)


def _about(rows: Rows) -> Facts:
    shown, pairs = rows.recall.shown(), list[tuple[Phrase, Cell]]()
    for field in RECALL.fields:
        value = shown.get(field.name)
        if isinstance(value, list):
            rest = len(value) - _LOTS_SHOWN
            value = ", ".join(map(str, value[:_LOTS_SHOWN])) + (f" … +{rest}" if rest > 0 else "")
        if value is not None:
            pairs.append((Phrase(field.chinese, field.name), str(value)))
    pairs.append((Phrase("状态", "status"), str(rows.recall.row["status"])))
    pairs.append((Phrase("状态日期", "status since"), str(rows.recall.row["status_since"])))
    pairs.append((Phrase("登记条目", "entries of the record"), rows.cite(rows.recall.subject)))
    return Facts(Phrase("召回信息", "The recall"), pairs)


def _clocks(rows: Rows) -> Grid:
    columns = [
        Column(Phrase("时限", "clock")), Column(Phrase("截止", "by"), Kind.TIME),
        Column(Phrase("完成", "done"), Kind.TIME),
        Column(Phrase("逾期", "late")), Column(Phrase("依据", "source")), _EVIDENCE,
    ]  # fmt: skip
    proof = rows.cite(rows.recall.subject)
    lines: list[list[Cell]] = [
        [f"{due.clock.chinese} {due.clock}", due.by.astimezone(rows.zone), due.done and due.done.astimezone(rows.zone),
         due.late, due.source, proof]
        for due in rows.clocks
    ]  # fmt: skip
    late = frozenset(at for at, due in enumerate(rows.clocks) if due.late)
    return Grid(Phrase("时限", "Clocks"), columns, lines, None, late)


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    return round(100 * part / whole, 1) if whole else None


def _effectiveness(rows: Rows) -> Facts:
    """How many answered, how fast, and how much of what is out is accounted for."""
    nodes, answered = rows.nodes
    told = datetime.fromisoformat(str(rows.recall.row.get("notified_at") or rows.recall.row["decided_at"]))
    hours = sorted(round(Decimal((one.at - told).total_seconds()) / 3600, 1) for one in rows.answers)
    pairs: list[tuple[Phrase, Cell]] = [
        (Phrase("涉及节点", "nodes that have or had it"), nodes),
        (Phrase("已反馈节点", "of them answered"), answered),
        (Phrase("反馈率 %", "answered %"), _percent(Decimal(answered), Decimal(nodes))),
        (Phrase("最快反馈(小时)", "fastest answer, hours"), hours[0] if hours else None),
        (Phrase("最慢反馈(小时)", "slowest answer, hours"), hours[-1] if hours else None),
    ]
    for one in rows.totals:
        name = Phrase(f"落实率 % ({one.unit})", f"accounted for % ({one.unit})")
        pairs.append((name, _percent(one.accounted, one.out)))
    if rows.packs:
        total = sum(rows.packs.values())
        safe = sum(rows.packs.get(state, 0) for state in SAFE)
        name = Phrase("已控制率 %(按药品包装)", "safe % (of packs recorded)")
        pairs.append((name, _percent(Decimal(safe), Decimal(total))))
    return Facts(Phrase("召回效果", "Effectiveness"), pairs)


_EFFECT = ("out", "found", "sold", "returned", "destroyed", "accounted")


def _totals(rows: Rows) -> Facts:
    pairs: list[tuple[Phrase, Cell]] = [
        (Phrase(f"{_NAMES[name].zh} ({one.unit})", f"{_NAMES[name].en} ({one.unit})"), getattr(one, name))
        for one in rows.totals for name in _EFFECT
    ]  # fmt: skip
    return Facts(Phrase("数量:应追回与已查到", "Quantities: out against found"), pairs)


def _chart(one: Effect) -> Chart:
    values = [float(getattr(one, name)) for name in _EFFECT]
    title = Phrase(f"召回进度 ({one.unit})", f"How far it has come ({one.unit})")
    labels = [_NAMES[name].both for name in _EFFECT]
    return Chart(title, labels, [Series(Phrase("数量", "quantity"), values)], Phrase(one.unit, one.unit))


def _had(rows: Rows) -> Grid:
    answered = {one.node for one in rows.answers}
    columns = [
        _NODE, *(Column(_NAMES[name], Kind.NUMBER) for name in AMOUNTS), _UNIT, Column(Phrase("已反馈", "answered")),
        _COUNT, _EVIDENCE,
    ]  # fmt: skip
    lines: list[list[Cell]] = []
    for one in rows.had:
        places, count = rows.by_node.get(one.node, ((), 0))
        lines.append([
            rows.called(one.node), *(one.amounts.get(name, Decimal(0)) for name in AMOUNTS), one.unit,
            one.node in answered, count, _names(places),
        ])  # fmt: skip
    silent = frozenset(at for at, one in enumerate(rows.had) if one.node not in answered)
    return Grid(
        Phrase("谁有过、现在有多少", "Who had it, and what is left"), columns, lines,
        Phrase(f"标红:尚未反馈。每行最多列最近 {CITED} 条。", f"Red: no answer yet. A line names the latest {CITED}."),
        silent,
    )  # fmt: skip


def _lots(rows: Rows) -> Grid:
    proof = rows.cite(rows.recall.subject)
    lines: list[list[Cell]] = [[str(lot), proof] for lot in rows.recall.row["lots"]]
    return Grid(Phrase("召回批次", "Lots recalled"), [Column(Phrase("批次", "lot"), Kind.CODE), _EVIDENCE], lines)


def _packs(rows: Rows) -> Facts:
    total = sum(rows.packs.values())
    gone = sum(rows.packs.get(state, 0) for state in GONE)
    safe = sum(rows.packs.get(state, 0) for state in SAFE)
    pairs: list[tuple[Phrase, Cell]] = [
        (Phrase("有记录的包装", "packs recorded"), total),
        (Phrase("已封存(查到)", "locked (found)"), rows.packs.get(State.LOCKED, 0)),
        (Phrase("已抽检", "sampled"), rows.packs.get(State.SAMPLED, 0)),
        (Phrase("已销毁", "destroyed"), rows.packs.get(State.DESTROYED, 0)),
        (Phrase("已售出或离开监管链", "sold, or out of the supervised chain"), gone),
        (Phrase("仍待追回", "outstanding"), total - safe - gone),
    ]
    return Facts(Phrase("药品包装:查到、销毁与待追回", "Packs: found, destroyed, outstanding"), pairs)


def _held(rows: Rows) -> Grid:
    columns = [
        _NODE, Column(Phrase("状态", "state")), Column(Phrase("在该处", "there")),
        Column(Phrase("包装数", "packs"), Kind.NUMBER), _COUNT, _EVIDENCE,
    ]  # fmt: skip
    lines: list[list[Cell]] = []
    for one in rows.held:
        places, count = rows.by_standing.get((one.node, one.state, one.held), ((), 0))
        state = f"{STATE_NAMES[one.state]} {one.state.word}"
        lines.append([rows.called(one.node), state, one.held, one.count, count, _names(places)])
    open_ = frozenset(at for at, one in enumerate(rows.held) if one.state not in SAFE | GONE)
    return Grid(Phrase("谁持有", "Who holds it"), columns, lines, None, open_)


def _answers(rows: Rows) -> Grid:
    said = ("found", "sold", "returned", "destroyed")
    columns = [
        _NODE, Column(Phrase("签收时间", "acknowledged at"), Kind.TIME),
        *(Column(_NAMES[name], Kind.NUMBER) for name in said), _UNIT, _EVIDENCE,
    ]  # fmt: skip
    lines: list[list[Cell]] = [
        [rows.called(one.node), one.at.astimezone(rows.zone), *(getattr(one, name) for name in said), one.unit,
         rows.cite(_answer_subject(one, rows.number))]
        for one in rows.answers
    ]  # fmt: skip
    return Grid(Phrase("各节点反馈", "Answers"), columns, lines)


def _answer_subject(one: Answered, recall: str) -> str:
    return subject_of("recall_answer", [f"{node_text(one.node)}-{recall}"])


def make(source: Source, given: Mapping[str, str]) -> Document:
    """The report of a recall; `NotRecorded` if there is none of that number."""
    return document(rows_of(source, given["recall"]), source.basis)


def rows_of(source: Source, number: str) -> Rows:
    """What is told of a recall to this reader."""
    connection, actor = source.connection, source.actor
    found = record(connection, source.vault, RECALL, (number,))
    row, lots = found.row, found.row["lots"] or ()
    had = who_had(connection, row) if lots else []
    held = [] if lots else who_holds(connection, row)
    answers = answers_to(connection, number)
    nodes: set[int] = {one.node for one in had} | {one.node for one in held}
    answered = {one.node for one in answers}
    packs: dict[State, int] = {}
    for one in held:
        packs[one.state] = packs.get(one.state, 0) + one.count
    products = set() if lots else product_codes(connection, str(row["product"]))
    seen = [one for one in answers if actor.may_see(one.node)]
    subjects = [found.subject, *(_answer_subject(one, number) for one in seen)]
    return Rows(
        found, list(clocks(row, source.now)), [one for one in held if actor.may_see(one.node)], packs,
        [one for one in had if actor.may_see(one.node)], seen, effects(had, answers) if lots else [],
        (len(nodes), len(nodes & answered)), node_names(connection, nodes | answered),
        entries_of_records(connection, subjects),
        _visible(entries_of_lots(connection, map(canonical_key, lots), CITED) if lots else {}, actor),
        entries_of_packs(connection, products, row["batches"], CITED) if products else {}, source.zone, actor.sees_all,
    )  # fmt: skip


def _visible(by_node: Mapping[int, Cited], actor: Actor) -> dict[int, Cited]:
    return {node: cited for node, cited in by_node.items() if actor.may_see(node)}


REPORT = Report(
    "recall", TITLE, {"recall": Parameter(Phrase("召回编号", "number of the recall"), "ZH-2026-0001")},
    Action.CHECK_PACKS, make,
)  # fmt: skip
