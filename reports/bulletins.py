"""Bulletins: daily monitoring 日监测, weekly analysis 周分析, monthly bulletin 月通报; each beside the period before.

What is counted, and how: `ledger/bulletins.py`. Every line names the entries that prove it, where they are few; a line
that sums up many names the first of them, or from which to which they go. Pure, but for `make`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from ledger.access import Action
from ledger.bulletins import Figures, Names, Place, Raised, Tested, figures, names_of
from ledger.codes import node_text
from ledger.market_access.grounds import GROUNDS, Ground, Outcome
from ledger.rules.form import Level
from reports.catalogue import Parameter, Report, Source
from reports.document import (
    Basis,
    Cell,
    Chart,
    Column,
    Document,
    Grid,
    Kind,
    Note,
    Phrase,
    Section,
    Series,
)
from reports.periods import Days, day_of, month_of, week_of

CITED, LINES_MAX, BARS_MAX = 20, 200, 12
"""How many entries stand in a cell, how many lines in a table by node or goods, and bars in a chart."""
WHY = {
    "held": Phrase("已停售", "held: its sale is stopped"), "not_enough": Phrase("库存不足", "more than is left"),
    "pack": Phrase("药品核验不通过", "a command for packs"),
}  # fmt: skip
LEVELS = {level: Phrase(level.chinese, level.word) for level in Level}
_ENTRIES = Column(Phrase("证据条目", "entries"), Kind.ENTRIES)
_NODE = Column(Phrase("节点", "node"), Kind.CODE)
_NAME = Column(Phrase("名称", "name"))


def _number(zh: str, en: str) -> Column:
    return Column(Phrase(zh, en), Kind.NUMBER)


_NOW, _BEFORE, _CHANGE = _number("本期", "this period"), _number("上期", "before"), _number("变化 %", "change %")


@dataclass(frozen=True, slots=True)
class Rows:
    """What a bulletin is made of."""

    days: Days
    now: Figures
    before: Figures
    names: Names
    zone: ZoneInfo
    unit: str


def change(now: float, before: float) -> float | None:
    """By how many percent it grew or fell; None from nothing."""
    return round(100 * (now - before) / before, 1) if before else None


def rate(part: int, of: int) -> float | None:
    """In percent; None of nothing."""
    return round(100 * part / of, 1) if of else None


def cite(places: Iterable[Place | str]) -> str:
    """These entries, as many as stand in a cell, each once."""
    names = list(dict.fromkeys(one if isinstance(one, str) else f"{node_text(one[0])}/{one[1]}" for one in places))
    return " ".join(names[:CITED]) + (f" … +{len(names) - CITED}" if len(names) > CITED else "")


# --- the document -----------------------------------------------------------------------------------


def document(name: str, title: Phrase, rows: Rows, basis: Basis) -> Document:
    """The bulletin of these rows."""
    last = rows.days.end - timedelta(days=1)
    subject = f"{rows.days.begin}" if rows.days.count == 1 else f"{rows.days.begin} … {last}"
    sections: list[Section] = [
        *_notes(rows, basis), _overview(rows), _by_time(rows), *_checks(rows), _refusals(rows), *_tests(rows),
        *_warnings(rows), _nodes(rows), _silent(rows),
    ]  # fmt: skip
    return Document(name, title, subject, basis, sections)


def _notes(rows: Rows, basis: Basis) -> Iterable[Note]:
    if rows.now.period.until > basis.as_of:
        yield Note(Phrase(
            "本期尚未结束,数字截至生成时;上期为完整一期。",
            "This period is not over: it counts until now, and the one before is whole.",
        ), alert=True)  # fmt: skip
    if rows.now.cut or rows.before.cut:
        yield Note(
            Phrase("数量超过上限,部分未计入。", "There was more than its limits: it is not complete."), alert=True
        )


def _overview(rows: Rows) -> Grid:
    columns = [Column(Phrase("项目", "figure")), _NOW, _BEFORE, _CHANGE, _ENTRIES]
    lines = [_figure(name, count, rows) for name, count in _FIGURES] + [
        _rate_line(Phrase("检测不合格率 %", "failure rate of tests, %"), rows, _failure_rate),
        _rate_line(Phrase("按期销号率 %", "closed in time, % of those due"), rows, _in_time_rate),
    ]
    note = Phrase("按记录时间统计;预警按其现在的状态。", "Counted by record time; warnings as they stand now.")
    return Grid(Phrase("概览", "Overview"), columns, lines, note)


_Find = Callable[[Figures], Sequence[Place | str]]


def _figure(name: Phrase, find: "_Find | Callable[[Figures], int]", rows: Rows) -> list[Cell]:
    found, before = find(rows.now), find(rows.before)
    if isinstance(found, int) or isinstance(before, int):
        counts = [one if isinstance(one, int) else len(one) for one in (found, before)]
        return [name.both, *counts, change(counts[0], counts[1]), ""]
    return [name.both, len(found), len(before), change(len(found), len(before)), cite(found)]


def _decided(outcome: Outcome) -> _Find:
    return lambda one: [check.place for check in one.checks if check.decision == outcome]


_FIGURES: tuple[tuple[Phrase, "_Find | Callable[[Figures], int]"], ...] = (
    (Phrase("记录", "entries"), lambda one: one.entries),
    (Phrase("其中事件", "of them events"), lambda one: one.events),
    (Phrase("有记录的节点", "nodes with entries"), lambda one: len(one.slices)),
    (Phrase("无记录的节点", "nodes silent"), lambda one: len(one.silent)),
    (Phrase("拒绝", "refusals"), lambda one: [refusal.place for refusal in one.refusals]),
    (Phrase("准入检查", "access checks"), lambda one: len(one.checks)),
    *(
        (Phrase(f"其中{outcome.chinese}", f"of them {outcome}"), _decided(outcome))
        for outcome in (Outcome.ADMITTED, Outcome.CONDITIONAL, Outcome.REFUSED)
    ),
    (Phrase("检测", "tests"), lambda one: len(one.tests)),
    (Phrase("检测不合格", "tests failed"), lambda one: [test.place for test in one.tests if not test.passed]),
    (Phrase("预警", "warnings raised"), lambda one: len(one.warnings)),
    (Phrase("其中红色", "of them red"), lambda one: [
        place for raised in one.warnings if raised.level is Level.RED for place in raised.evidence[:1]
    ]),
    (Phrase("逾期未销号或逾期销号", "closed late, or overdue"), lambda one: [
        raised.id for raised in one.warnings if raised.in_time is False
    ]),
)  # fmt: skip


def _rate_line(name: Phrase, rows: Rows, of: Callable[[Figures], float | None]) -> list[Cell]:
    now, before = of(rows.now), of(rows.before)
    grown = None if now is None or before is None else change(now, before)
    return [name.both, now, before, grown, ""]


def _failure_rate(one: Figures) -> float | None:
    return rate(sum(1 for test in one.tests if not test.passed), len(one.tests))


def _in_time_rate(one: Figures) -> float | None:
    due = [raised for raised in one.warnings if raised.in_time is not None]
    return rate(sum(1 for raised in due if raised.in_time), len(due))


def _by_time(rows: Rows) -> Chart:
    """Events of this period and the one before, hour by hour or day by day."""
    if rows.unit == "hour":
        labels = [f"{hour:02d}" for hour in range(24)]
        of = [_by_hour(one) for one in (rows.now, rows.before)]
    else:
        days = [rows.days.begin + timedelta(days=number) for number in range(rows.days.count)]
        labels = [f"{day:%m-%d}" for day in days]
        of = [_by_day(one, rows) for one in (rows.now, rows.before)]
    series = [
        Series(name, [float(found.get(at, 0)) for at in range(len(labels))])
        for name, found in zip((_NOW.head, _BEFORE.head), of, strict=True)
    ]
    return Chart(Phrase("事件数", "Events"), labels, series, Phrase("条", "events"), lines=True)


def _by_hour(one: Figures) -> Mapping[int, int]:
    found: Counter[int] = Counter()
    for at, count in one.by_time.items():
        found[at.hour] += count
    return found


def _by_day(one: Figures, rows: Rows) -> Mapping[int, int]:
    begin = one.period.since.astimezone(rows.zone).date()
    return {(at.date() - begin).days: count for at, count in one.by_time.items()}


# --- checks and refusals ----------------------------------------------------------------------------


def _checks(rows: Rows) -> Iterable[Grid]:
    """Why goods did not come in, or not yet."""
    found: dict[str, list[Place]] = defaultdict(list)
    for one in rows.now.checks:
        for reason in dict.fromkeys(one.reasons):
            found[reason].append(one.place)
    before = Counter(reason for one in rows.before.checks for reason in dict.fromkeys(one.reasons))
    columns = [Column(Phrase("原因", "reason")), _NOW, _BEFORE, _CHANGE, _ENTRIES]
    lines = [
        [_ground(reason), len(places), before[reason], change(len(places), before[reason]), cite(places)]
        for reason, places in sorted(found.items(), key=lambda one: (-len(one[1]), one[0]))
    ]
    yield Grid(Phrase("准入检查未放行的原因", "Why goods did not come in"), columns, lines)


def _ground(reason: str) -> str:
    known = {str(ground): ground for ground in Ground}.get(reason)
    return reason if known is None else f"{known.chinese} {GROUNDS[known].english}"


def _refusals(rows: Rows) -> Grid:
    found: dict[str, list[Place]] = defaultdict(list)
    for one in rows.now.refusals:
        found[one.why].append(one.place)
    before = Counter(one.why for one in rows.before.refusals)
    columns = [Column(Phrase("原因", "reason")), _NOW, _BEFORE, _CHANGE, _ENTRIES]
    lines = [
        [word.both, len(found[why]), before[why], change(len(found[why]), before[why]), cite(found[why])]
        for why, word in WHY.items() if found[why] or before[why]
    ]  # fmt: skip
    return Grid(Phrase("拒绝", "Refusals"), columns, lines)


# --- tests ------------------------------------------------------------------------------------------


def _tests(rows: Rows) -> Iterable[Section]:
    """Failure rates by goods and by origin, the worst first."""
    nobody = Phrase("未知", "not known").both
    for title, key, names in (
        (Phrase("按品种的检测不合格率", "Failure rates by goods"), lambda test: test.goods, rows.names.goods),
        (Phrase("按产地的检测不合格率", "Failure rates by origin"), lambda test: test.origin, rows.names.regions),
    ):  # fmt: skip
        now, before = _groups(rows.now.tests, key), _groups(rows.before.tests, key)
        ordered = sorted(now, key=lambda code: (-(_failed_rate(now[code]) or 0), -len(now[code]), code))[:LINES_MAX]
        lines: list[list[Cell]] = []
        for code in ordered:
            bad = [one.place for one in now[code] if not one.passed]
            was = _failed_rate(before.get(code, ()))
            share = _failed_rate(now[code])
            grown = None if was is None or share is None else change(share, was)
            lines.append([code or nobody, names.get(code, ""), len(now[code]), len(bad), share, was, grown, cite(bad)])
        yield Grid(title, [
            Column(Phrase("代码", "code"), Kind.CODE), _NAME, _number("检测", "tests"), _number("不合格", "failed"),
            _number("不合格率 %", "failed, %"), _number("上期 %", "before, %"), _CHANGE, _ENTRIES,
        ], lines, None, frozenset(at for at, line in enumerate(lines) if line[3]))  # fmt: skip
        if ordered:
            shown = ordered[:BARS_MAX]
            yield Chart(title, [names.get(code, code) or nobody for code in shown], [
                Series(_NOW.head, [_failed_rate(now[code]) or 0 for code in shown]),
                Series(_BEFORE.head, [_failed_rate(before.get(code, ())) or 0 for code in shown]),
            ], Phrase("%", "%"))  # fmt: skip


def _groups(tests: Iterable[Tested], key: Callable[[Tested], str]) -> dict[str, list[Tested]]:
    found: dict[str, list[Tested]] = {}
    for one in tests:
        found.setdefault(key(one), []).append(one)
    return found


def _failed_rate(tests: Sequence[Tested]) -> float | None:
    return rate(sum(1 for one in tests if not one.passed), len(tests))


# --- warnings and nodes -----------------------------------------------------------------------------


def _warnings(rows: Rows) -> Iterable[Section]:
    """Warnings by level and rule, and what became of them."""
    groups: dict[tuple[Level, str], list[Raised]] = defaultdict(list)
    for one in rows.now.warnings:
        groups[one.level, one.rule].append(one)
    before = Counter((one.level, one.rule) for one in rows.before.warnings)
    lines: list[list[Cell]] = [
        [
            LEVELS[level].both, rule, " ".join(some[0].name), len(some), before[level, rule],
            change(len(some), before[level, rule]), sum(1 for one in some if one.in_time),
            sum(1 for one in some if one.in_time is False), sum(1 for one in some if one.open),
            cite(place for one in some for place in one.evidence),
        ]
        for (level, rule), some in sorted(groups.items(), key=lambda one: (one[0][0], -len(one[1]), one[0][1]))
    ]  # fmt: skip
    yield Grid(Phrase("预警", "Warnings"), [
        Column(Phrase("级别", "level")), Column(Phrase("规则", "rule"), Kind.CODE), _NAME, _number("产生", "raised"),
        _BEFORE, _CHANGE, _number("按期销号", "closed in time"), _number("逾期", "late"), _number("未销号", "open"),
        _ENTRIES,
    ], lines)  # fmt: skip
    by_level = [Counter(one.level for one in some.warnings) for some in (rows.now, rows.before)]
    yield Chart(Phrase("预警按级别", "Warnings by level"), [f"{level.chinese} {level.word}" for level in Level], [
        Series(name, [float(found[level]) for level in Level])
        for name, found in zip((_NOW.head, _BEFORE.head), by_level, strict=True)
    ], Phrase("件", "warnings"))  # fmt: skip


def _nodes(rows: Rows) -> Grid:
    """Each node's entries, from which to which they go, the busiest first."""
    before = {one.node: one.size for one in rows.before.slices}
    refused = Counter(one.place[0] for one in rows.now.refusals)
    checked = Counter(one.place[0] for one in rows.now.checks if one.decision == Outcome.REFUSED)
    warned = Counter(one.node for one in rows.now.warnings)
    ordered = sorted(rows.now.slices, key=lambda one: (-one.size, one.node))
    lines: list[list[Cell]] = [
        [
            node_text(one.node), rows.names.nodes.get(one.node, ""), one.size, before.get(one.node, 0),
            change(one.size, before.get(one.node, 0)), rows.now.by_node.get(one.node, 0), refused[one.node],
            checked[one.node], warned[one.node],
            f"{node_text(one.node)}/{one.first} … {node_text(one.node)}/{one.last}",
        ]
        for one in ordered[:LINES_MAX]
    ]  # fmt: skip
    left = len(ordered) - LINES_MAX
    note = Phrase(f"另有 {left} 个节点未列出。", f"{left} more nodes are not listed.") if left > 0 else None
    return Grid(Phrase("各节点", "Nodes"), [
        _NODE, _NAME, _number("记录", "entries"), _BEFORE, _CHANGE, _number("事件", "events"),
        _number("拒绝", "refusals"), _number("不准入场", "refused at the gate"), _number("预警", "warnings"), _ENTRIES,
    ], lines, note)  # fmt: skip


def _silent(rows: Rows) -> Grid:
    lines: list[list[Cell]] = [
        [
            node_text(one.node), rows.names.nodes.get(one.node, ""), _local(one.at, rows.zone),
            "" if one.last is None else f"{node_text(one.node)}/{one.last}",
        ]
        for one in rows.now.silent[:LINES_MAX]
    ]  # fmt: skip
    left = len(rows.now.silent) - LINES_MAX
    note = Phrase(f"另有 {left} 个节点未列出。", f"{left} more nodes are not listed.") if left > 0 else None
    return Grid(
        Phrase("无记录的节点", "Nodes silent"),
        [_NODE, _NAME, Column(Phrase("最后记录", "last entry"), Kind.TIME), _ENTRIES], lines, note,
    )  # fmt: skip


def _local(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    return None if at is None else at.astimezone(zone)


# --- reading ----------------------------------------------------------------------------------------


def made(name: str, title: Phrase, source: Source, days: tuple[Days, Days], unit: str) -> Document:
    """The bulletin of these days, beside those before them."""
    now, before = (
        figures(source.connection, one.period(source.zone), source.now, source.zone, unit, source.actor.reach)
        for one in days
    )
    names = names_of(source.connection, (now, before))
    return document(name, title, Rows(days[0], now, before, names, source.zone, unit), source.basis)


Parse = Callable[[str | None, date], tuple[Days, Days]]


def _report(name: str, title: Phrase, unit: str, word: str, example: str, help_: Phrase, parse: Parse) -> Report:
    def make(source: Source, given: Mapping[str, str]) -> Document:
        today = source.now.astimezone(source.zone).date()
        return made(name, title, source, parse(given.get(word), today), unit)

    return Report(name, title, {word: Parameter(help_, example, required=False)}, Action.SEE_BOARD, make)


DAILY = _report(
    "daily", Phrase("日监测", "Daily monitoring"), "hour", "day", "2026-11-24",
    Phrase("日期;不填为昨天", "the day; yesterday if left out"), day_of,
)  # fmt: skip
WEEKLY = _report(
    "weekly", Phrase("周分析", "Weekly analysis"), "day", "week", "2026-W47",
    Phrase("周(ISO 8601);不填为上周", "the week of ISO 8601; last week if left out"), week_of,
)  # fmt: skip
MONTHLY = _report(
    "monthly", Phrase("月通报", "Monthly bulletin"), "day", "month", "2026-10",
    Phrase("月份;不填为上月", "the month; last month if left out"), month_of,
)  # fmt: skip
