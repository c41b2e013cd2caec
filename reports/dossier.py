"""The trace dossier of a code: where it came from, where it went, what is missing, and the proof of every entry.

Made for a regulator and for a court: what must stand in it: `drugs_and_warnings.md` 4, last point. Its JSON carries
every entry of the trace with its path to the signed checkpoint, so that `reports/verifier.py` checks it offline. A
reader who does not see every node gets others' entries without their sealed parts.
Pure, but for `make`.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from ledger.access import Action
from ledger.balances import moves_of
from ledger.codes import NODE_URN, PARTY_URN, key_of_code, node_text
from ledger.fields import in_zone
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.index import Action as EventAction
from ledger.index import Role
from ledger.reporting import (
    Evidence,
    PackNow,
    Place,
    Stock,
    evidence,
    log_keys,
    node_names,
    packs_of,
    published,
    stock_of,
)
from ledger.trace import Direction, Graph, OpenEnd, Reason, Step, trace
from ledger.vocabulary import CHINESE
from reports.catalogue import Parameter, Report, Source
from reports.document import Basis, Cell, Column, Document, Facts, Grid, Kind, Note, Phrase, Section
from reports.movements import (
    BREAKS,
    GONE,
    IN_STOCK,
    UNKNOWN,
    USED,
    WAS_SOLD,
    Amount,
    Movement,
    amount,
    coverage,
    documents,
    in_time,
    movements,
    parties,
    singles,
    surplus,
    tally,
)
from reports.trace import REASON_TEXT

TITLE = Phrase("追溯档案", "Trace dossier")
FORM = "suyuan dossier proofs v1"
_SHOWN = 3
_CITED = 20
"""How many codes stand in a cell that names several, and how many entries in one that sums up."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a dossier is made of."""

    graph: Graph
    stock: Sequence[Stock]
    packs: Sequence[PackNow]
    names: Mapping[int, str]
    evidence: Sequence[Evidence]
    note: str
    """The signed checkpoint that the proofs lead to."""
    keys: Sequence[str]
    zone: ZoneInfo
    sees_all: bool


# --- the document -----------------------------------------------------------------------------------

_EVIDENCE = Column(Phrase("证据条目", "evidence"), Kind.ENTRIES)
_QUANTITY, _UNIT = Column(Phrase("数量", "quantity"), Kind.NUMBER), Column(Phrase("单位", "unit"))
_ITEM, _LEVEL = Column(Phrase("货品", "goods"), Kind.CODE), Column(Phrase("步数", "step"), Kind.NUMBER)
_DOCUMENT = Column(Phrase("单据", "document"), Kind.CODE)
_FROM, _TO = Column(Phrase("从", "from")), Column(Phrase("到", "to"))


def document(rows: Rows, basis: Basis) -> Document:
    """The dossier of these rows."""
    moved = movements(rows.graph)
    sections: list[Section] = [
        _summary(rows, moved, basis), *_notes(rows), _breaks(rows, moved, basis), _movements_grid(rows, moved),
        _events_grid(rows, moved), _holders(rows), _open_ends(rows.graph), _freshness(rows),
    ]  # fmt: skip
    return Document("dossier", TITLE, rows.graph.start, basis, sections, {"proofs": proofs(rows)})


def _summary(rows: Rows, moved: Sequence[Movement], basis: Basis) -> Facts:
    both, all_ = coverage(moved)
    steps = list(rows.graph.steps.values())
    newest = max(step.record_time for step in steps)
    delays = [(step.record_time - step.time).total_seconds() for step in steps]
    pairs: list[tuple[Phrase, Cell]] = [
        (Phrase("追溯对象", "subject"), rows.graph.start),
        (Phrase("截至", "as of"), basis.as_of.astimezone(rows.zone)),
        (Phrase("事件数", "events"), len(steps)),
        (Phrase("批次、包装与容器数", "lots, packs and cases"), len(rows.graph.items)),
        (Phrase("账内流转数", "movements within the ledger"), all_),
        (Phrase("其中两端均有记录", "of them recorded by both sides"), both),
        (Phrase("覆盖率 %", "coverage %"), round(Decimal(100 * both) / all_, 1) if all_ else None),
        (Phrase("断点数", "breaks"), sum(1 for one in moved if one.verdict in BREAKS)),
        (Phrase("最近一条记录", "newest record"), newest.astimezone(rows.zone)),
        (Phrase("数据时延中位数(分钟)", "median delay from event to record, minutes"), _minutes(median(delays))),
        (Phrase("是否截断", "cut at its limit"), rows.graph.cut),
    ]
    counts = tally(rows.graph, rows.stock, rows.packs, moved)
    for state in (IN_STOCK, WAS_SOLD, GONE, USED, UNKNOWN):
        units = {unit: quantity for (one, unit), quantity in counts.items() if one is state}
        shown = "; ".join(f"{quantity.normalize():f} {unit}".strip() for unit, quantity in sorted(units.items()))
        pairs.append((state, shown or "0"))
    return Facts(Phrase("概要", "Summary"), pairs)


def _minutes(seconds: float) -> Decimal:
    return round(Decimal(seconds) / 60, 1)


def _notes(rows: Rows) -> Iterator[Note]:
    if rows.graph.cut:
        yield Note(
            Phrase("本追溯因规模限制被截断,不完整。", "The trace was cut at its limit: it is not complete."), True
        )
    if pending := sum(1 for one in rows.evidence if one.index is None):
        yield Note(
            Phrase(
                f"有 {pending} 条记录尚未纳入已签名的检查点,暂不能验证:请稍后重新生成。",
                f"{pending} entries are under no signed checkpoint yet and prove nothing so far: make it again.",
            ),
            True,
        )
    if not rows.sees_all:
        yield Note(
            Phrase(
                "生成者只能看到本单位节点的库存和密封内容;其他节点的库存未计入,密封内容不在档案中。"
                "作为相邻交易方看到的对方单据不附密封内容,无法离线验证。",
                "Made for a reader who sees the stock and sealed parts of their own nodes only: others' stock is not "
                "counted, others' sealed parts are not in it. A partner's documents are shown, and cannot be proven.",
            )
        )


def _named(node: int, rows: Rows) -> str:
    return f"{node_text(node)} {rows.names.get(node, '')}".strip()


def _where(step: Step, rows: Rows) -> str:
    """Node and place of an event."""
    place = (step.event.get("readPoint") or step.event.get("bizLocation") or {"id": ""})["id"]
    short = canonical_key(place).removeprefix(PARTY_URN).removeprefix(NODE_URN) if place else ""
    node = _named(step.node, rows)
    return node if not short or short == node_text(step.node) else f"{node} · {short}"


def _names(places: Iterable[Place]) -> str:
    return " ".join(f"{node_text(node)}/{seq}" for node, seq in places)


def _proof(steps: Iterable[Step]) -> str:
    return _names(dict.fromkeys(step.place for step in steps))


def _short(keys: Sequence[str]) -> str:
    rest = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" … +{rest}" if rest > 0 else "")


def _movements_grid(rows: Rows, moved: Sequence[Movement]) -> Grid:
    """Goods with quantities a line each; single packs that went together on one line."""
    together: dict[object, list[Movement]] = {}
    for one in moved:
        counted = any(amount(step, one.item).quantities for step in one.steps)
        key = (one.verdict, *(step.place for step in one.steps), one.item if counted else None)
        together.setdefault(key, []).append(one)
    columns = [
        _LEVEL, _ITEM, _FROM, _TO, Column(Phrase("发货时间", "shipped at"), Kind.TIME),
        Column(Phrase("发货记录", "shipment recorded"), Kind.TIME),
        Column(Phrase("收货时间", "received at"), Kind.TIME),
        Column(Phrase("收货记录", "receipt recorded"), Kind.TIME),
        Column(Phrase("发货数量", "quantity shipped"), Kind.NUMBER),
        Column(Phrase("收货数量", "quantity received"), Kind.NUMBER), _UNIT, _DOCUMENT,
        Column(Phrase("判断", "finding")), _EVIDENCE,
    ]  # fmt: skip
    lines, marked = list[list[Cell]](), set[int]()
    for group in together.values():
        if group[0].verdict in BREAKS:
            marked.add(len(lines))
        lines.append(_movement_line(rows, group))
    return Grid(
        Phrase("流转:谁发给谁", "Movements: who shipped to whom"), columns, lines,
        Phrase("步数为负:来源方向;为正:去向。", "Steps below zero: where it came from; above: where it went."),
        frozenset(marked),
    )  # fmt: skip


def _movement_line(rows: Rows, group: Sequence[Movement]) -> list[Cell]:
    one, sent, received = group[0], group[0].sent, group[0].received
    given = amount(sent, one.item) if sent else Amount((), "")
    taken = amount(received, one.item) if received else Amount((), "")
    came = _where(sent, rows) if sent else _short(parties(received, "sourceList", "source")) if received else ""
    went = (
        _where(received, rows) if received else _short(parties(sent, "destinationList", "destination")) if sent else ""
    )
    unknown = "未记录 not recorded"
    papers = dict.fromkeys(paper for step in one.steps for paper in documents(step))
    times = [
        in_zone(at, rows.zone) if at else None
        for step in (sent, received)
        for at in ((step.time, step.record_time) if step else (None, None))
    ]
    return [
        one.level, _short([each.item for each in group]), came or unknown, went or unknown, *times, given.cell,
        taken.cell, given.unit or taken.unit, " ".join(papers), one.verdict.value.both, _proof(one.steps),
    ]  # fmt: skip


def _events_grid(rows: Rows, moved: Iterable[Movement]) -> Grid:
    """Everything that happened to the goods besides: made of what, packed, tested, sold, destroyed, put right."""
    told = {step.place for one in moved for step in one.steps}
    columns = [
        _LEVEL, Column(Phrase("事件", "what happened")), _FROM, _TO,
        Column(Phrase("发生时间", "event time"), Kind.TIME),
        Column(Phrase("记录时间", "recorded at"), Kind.TIME), _QUANTITY, _UNIT, _DOCUMENT, _EVIDENCE,
    ]  # fmt: skip
    lines: list[tuple[int, Step, list[Cell]]] = []
    for step in in_time(rows.graph):
        if step.place in told:
            continue
        what = step.business_step or str(step.event["type"])
        shown = f"{CHINESE.get(what, '')} {what}".strip() + (" 已更正 declared in error" if step.in_error else "")
        for level, came, went, much in _ways(rows, step):
            times = [in_zone(step.time, rows.zone), step.record_time.astimezone(rows.zone)]
            cells = [level, shown, came, went, *times, much.cell, much.unit, " ".join(documents(step)), _proof([step])]
            lines.append((level, step, cells))
    lines.sort(key=lambda line: line[0])
    wrong = frozenset(at for at, (_, step, _) in enumerate(lines) if step.in_error)
    title = Phrase("来源与去向:由什么制成、装入、检验、售出", "Made of what, packed, tested, sold")
    return Grid(title, columns, [cells for *_, cells in lines], None, wrong)


def _ways(rows: Rows, step: Step) -> Iterator[tuple[int, str, str, Amount]]:
    """The lines of one event: level, from, to, how much. Inputs lead to outputs, contents to their case."""
    items, place = rows.graph.items, _where(step, rows)

    def known(*roles: Role) -> list[Key]:
        keys = step.items(*roles)
        return [key for key in keys if key in items] or keys

    into, out_of = known(Role.INPUT, Role.CHILD, Role.OBJECT), known(Role.OUTPUT, Role.PARENT)
    level = {key: items[key].level if key in items else 0 for key in (*into, *out_of)}
    pieces = [key for key in into if not amount(step, key).quantities]
    if step.action is EventAction.DELETE and step.has(next(iter(out_of), Key("")), Role.PARENT):
        to, came = place, _short(out_of)
    else:
        to, came = _short(out_of) or place, ""
    for key in into:
        if key not in pieces:
            yield level[key], f"{came} {key}".strip(), to, amount(step, key)
    if pieces:
        yield min(level[key] for key in pieces), f"{came} {_short(pieces)}".strip(), to, Amount((), "")
    for key in out_of:
        much = amount(step, key)
        if much.quantities or not into:
            yield level[key], _short(into) or place, key, much
    if not into and not out_of:
        yield 0, place, "", Amount((), "")


def _breaks(rows: Rows, moved: Sequence[Movement], basis: Basis) -> Grid:
    """What does not fit together, each with the entries that show it."""
    lines: list[list[Cell]] = []
    told: set[object] = set()
    for one in moved:
        shipment = (one.item, *(step.place for step in one.steps[:1]))
        if one.verdict in BREAKS and shipment not in told:
            told.add(shipment)
            lines.append(_break(rows, one, basis, moved))
    more = Phrase("产出多于投入", "more came out than went in")
    for step in in_time(rows.graph):
        for unit, beyond in () if step.in_error else surplus(step):
            days = (basis.as_of - step.time).days
            lines.append([more.both, _short(step.items(Role.OUTPUT)), _where(step, rows), -beyond, unit, days,
                          _proof([step])])  # fmt: skip
    less = Phrase("出多于入", "more went out than came in")
    for held in rows.stock:
        if held.quantity < 0:
            lines.append([less.both, held.item, held.holder, held.quantity, held.unit, None,
                          _of_holding(rows, held)])  # fmt: skip
    columns = [
        Column(Phrase("断点", "break")), _ITEM, Column(Phrase("节点", "at")),
        Column(Phrase("缺少", "missing"), Kind.NUMBER), _UNIT, Column(Phrase("已过天数", "days since"), Kind.NUMBER),
        _EVIDENCE,
    ]  # fmt: skip
    none = Phrase("没有发现断点。", "No breaks were found.") if not lines else None
    return Grid(Phrase("断点与不平", "Breaks"), columns, lines, none, frozenset(range(len(lines))))


def _break(rows: Rows, one: Movement, basis: Basis, moved: Sequence[Movement]) -> list[Cell]:
    """One shipment that does not fit its receipts, or a receipt without one."""
    first = one.steps[0]
    given = amount(one.sent, one.item) if one.sent else amount(first, one.item)
    missing = (given.total - one.taken if one.sent else -given.total) if given.quantities else None
    steps = [step for each in moved if each.item == one.item and each.sent is one.sent for step in each.steps]
    return [one.verdict.value.both, one.item, _where(first, rows), missing, given.unit, (basis.as_of - first.time).days,
            _proof(steps if one.sent else one.steps)]  # fmt: skip


def _of_holding(rows: Rows, held: Stock) -> str:
    """The latest entries that changed a stock; those of the lot where it is none of this trace's."""
    graph = rows.graph
    steps = sorted((graph.steps[place] for place in graph.items[held.item].steps), key=lambda step: step.record_time)
    exact = [
        step for step in steps
        if any((move.holding.item, move.holding.holder) == (held.item, held.holder)
               for move in moves_of(step.event, step.node))
    ]  # fmt: skip
    return _proof((exact or steps)[-_CITED:])


def _holders(rows: Rows) -> Grid:
    """Who has what of it now: of the goods asked for, and of what was made of them."""
    graph = rows.graph
    lines: list[list[Cell]] = [
        [one.item, f"{one.holder} {rows.names.get(int(one.holder[:9]), '')}".strip(), IN_STOCK.both, one.quantity,
         one.unit, _of_holding(rows, one)]
        for one in rows.stock if one.quantity > 0 and graph.items[one.item].level >= 0
    ]  # fmt: skip
    lines += [
        [one.item, _where(one.last, rows), IN_STOCK.both, None, "", _proof([one.last])]
        for one in singles(rows.graph, rows.packs) if one.state is IN_STOCK
    ]  # fmt: skip
    columns = [
        _ITEM, Column(Phrase("持有者", "holder")), Column(Phrase("状态", "state")),
        Column(Phrase("现存", "left"), Kind.NUMBER), _UNIT, _EVIDENCE,
    ]  # fmt: skip
    return Grid(Phrase("现在在谁手里", "Who has it now"), columns, lines)


def _open_ends(graph: Graph) -> Grid:
    ways = {Direction.BACKWARD: Phrase("来源", "back"), Direction.FORWARD: Phrase("去向", "forward")}
    columns = [_ITEM, Column(Phrase("方向", "direction")), Column(Phrase("原因", "reason")), _EVIDENCE]
    ends = sorted(graph.open_ends, key=lambda end: (end.direction, end.item))
    lines = [[end.item, ways[end.direction].both, REASON_TEXT[end.reason], _of_end(graph, end)] for end in ends]
    marked = frozenset(at for at, end in enumerate(ends) if end.reason is not Reason.HELD)
    return Grid(Phrase("开放端", "Open ends"), columns, lines, None, marked)


def _of_end(graph: Graph, end: OpenEnd) -> str:
    last = end.last or next(reversed(graph.items[end.item].steps if end.item in graph.items else graph.steps))
    return _names([last])


def _freshness(rows: Rows) -> Grid:
    by_node: dict[int, list[Step]] = {}
    for step in rows.graph.steps.values():
        by_node.setdefault(step.node, []).append(step)
    lines: list[list[Cell]] = []
    for node, steps in sorted(by_node.items()):
        newest = max(steps, key=lambda step: (step.record_time, step.seq))
        slowest = max((step.record_time - step.time).total_seconds() for step in steps)
        lines.append([_named(node, rows), len(steps), newest.record_time.astimezone(rows.zone), _minutes(slowest),
                      _proof([newest])])  # fmt: skip
    columns = [
        Column(Phrase("节点", "node")), Column(Phrase("条目数", "entries"), Kind.NUMBER),
        Column(Phrase("记录时间", "recorded at"), Kind.TIME),
        Column(Phrase("最长时延(分钟)", "longest delay, minutes"), Kind.NUMBER), _EVIDENCE,
    ]  # fmt: skip
    return Grid(Phrase("数据新鲜度", "How fresh the data are"), columns, lines)


def proofs(rows: Rows) -> dict[str, Any]:
    """What the standalone verifier reads: checkpoint, and each entry with its path and its sealed part."""
    return {
        "form": FORM, "keys": list(rows.keys), "checkpoint": rows.note,
        "entries": [_entry_json(one) for one in rows.evidence],
    }  # fmt: skip


def _entry_json(one: Evidence) -> dict[str, Any]:
    found: dict[str, Any] = {
        "entry": one.entry.name, "data": _b64(one.entry.data), "index": one.index,
        "path": [_b64(hash_) for hash_ in one.path],
    }  # fmt: skip
    if one.salt is not None and one.sealed is not None:
        found["sealed"] = {"salt": one.salt.hex(), "data": _b64(one.sealed)}
    return found


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make(source: Source, given: Mapping[str, str]) -> Document:
    """The dossier of a code; `NotRecorded` where the reader may see nothing of it."""
    connection, actor = source.connection, source.actor
    graph = trace(connection, key_of_code(given["code"]), Direction.BOTH, actor)
    under = published(connection, source.basis.size)
    rows = Rows(
        graph, stock_of(connection, graph.items, actor), packs_of(connection, graph.items, actor),
        node_names(connection, {node for node, _ in graph.steps}),
        evidence(connection, graph.steps, under, actor), under.note,
        [str(verifier) for verifier in log_keys(source.vault).verifiers()], source.zone, actor.sees_all,
    )  # fmt: skip
    return document(rows, source.basis)


REPORT = Report(
    "dossier", TITLE,
    {"code": Parameter(Phrase("追溯码、批次或包装", "code of a lot, pack, case or slip"), "(01)06901234500103(10)P1")},
    Action.TRACE, make,
)  # fmt: skip
