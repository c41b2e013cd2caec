"""The assessment of nodes 考核评估: a score of a month for each, from criteria in a table, with the entries behind it.

What is read: `ledger/assessments.py`. The weights are our choice: no law sets them. A criterion that says nothing of a
node (nothing received, no warning due) is left out, and the others count as much more. Pure, but for `make`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ledger.access import Action
from ledger.assessments import NodeMonth, PartyMonth, months
from ledger.board import completeness
from ledger.bulletins import Place
from ledger.codes import node_text
from reports.bulletins import LINES_MAX, cite
from reports.catalogue import Parameter, Report, Source
from reports.document import Basis, Cell, Chart, Column, Document, Grid, Kind, Note, Phrase, Section, Series
from reports.periods import Days, month_of

TITLE = Phrase("节点考核评估", "Assessment of nodes")
LATE_AFTER = timedelta(hours=24)
"""What is recorded later than that after it happened is late."""
REFUSED_SHARE_WORST = 0.1
"""With so many of its scans refused a node gets nothing for compliance."""
GRADES = ((90, "A", "优"), (75, "B", "良"), (60, "C", "中"), (0, "D", "差"))
"""The least score of each grade."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One row of the table: how much of 100 it counts, in words, and how it is read from a node's month of `days`."""

    name: str
    weight: int
    title: Phrase
    help: Phrase
    share: Callable[[Any, int], float | None]
    """From 0 to 1; None where it says nothing of the node or party."""
    proof: Callable[[Any], Iterable[Place | str]]


def _links(one: NodeMonth, _: int) -> float | None:
    return completeness(one.receipts, len(one.broken))


def _prompt(one: NodeMonth, _: int) -> float | None:
    return 1 - one.late / one.events if one.events else None


def _compliant(one: NodeMonth, _: int) -> float | None:
    asked = one.events + len(one.refusals)
    return max(0.0, 1 - len(one.refusals) / asked / REFUSED_SHARE_WORST) if asked else None


def _handled(one: NodeMonth | PartyMonth, _: int) -> float | None:
    due = [raised for raised in one.warnings if raised.in_time is not None]
    return sum(1 for raised in due if raised.in_time) / len(due) if due else None


def _diligent(one: NodeMonth, days: int) -> float:
    return min(1.0, one.days / days)


CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        "links", 30, Phrase("链条完整", "complete links"),
        Phrase("收货中没有断链预警的比例", "receipts without a warning that a link is missing"),
        _links, lambda one: (place for raised in one.broken for place in raised.evidence),
    ),
    Criterion(
        "prompt", 20, Phrase("及时上报", "prompt records"),
        Phrase("发生后24小时内记录的事件比例", "events recorded within 24 hours of happening"),
        _prompt, lambda one: one.latest,
    ),
    Criterion(
        "compliant", 20, Phrase("合规经营", "compliance"),
        Phrase(
            "被拒绝的扫码(停售、超量、药品核验)占比;10% 为零分",
            "scans refused (held, more than is left, packs); 10 % of all gives nothing",
        ),
        _compliant, lambda one: (refusal.place for refusal in one.refusals),
    ),
    Criterion(
        "handled", 20, Phrase("按期销号", "warnings closed in time"),
        Phrase("到期预警中按期销号的比例", "of the warnings that were due, those closed in time"),
        _handled, lambda one: (
            place for raised in one.warnings if raised.in_time is False for place in raised.evidence
        ),
    ),
    Criterion(
        "diligent", 10, Phrase("持续记录", "days with entries"),
        Phrase("有记录的天数占本月(至今)天数", "days with entries, of the month's days so far"),
        _diligent, lambda one: () if one.slice is None else (
            f"{node_text(one.node)}/{one.slice.first}", f"{node_text(one.node)}/{one.slice.last}",
        ),
    ),
)  # fmt: skip
"""Weights add up to 100; a test makes sure."""


def _licensed(one: PartyMonth, _: int) -> float | None:
    return sum(one.licences.values()) / len(one.licences) if one.licences else None


def _admitted(one: PartyMonth, _: int) -> float | None:
    return sum(1 for _, refused in one.checks if not refused) / len(one.checks) if one.checks else None


PARTY_CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        "licensed", 40, Phrase("证照有效", "licences in force"),
        Phrase("现有证照中有效的比例", "of its licences, those in force today"),
        _licensed, lambda one: (place for place, in_force in one.licences.items() if not in_force),
    ),
    Criterion(
        "admitted", 30, Phrase("准入合格", "goods admitted"),
        Phrase("准入检查中未被拒绝的比例", "of its checks at gates, those not refused"),
        _admitted, lambda one: (place for place, refused in one.checks if refused),
    ),
    Criterion(
        "handled", 30, Phrase("按期销号", "warnings closed in time"),
        Phrase("其到期预警中按期销号的比例", "of the warnings of it that were due, those closed in time"),
        _handled, lambda one: (
            place for raised in one.warnings if raised.in_time is False for place in raised.evidence
        ),
    ),
)  # fmt: skip
"""The same of parties; what is told is only of those that were checked or warned of, or whose licence lapsed."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a node or a party got: by criterion from 0 to 100, and together."""

    month: Any
    parts: Mapping[str, float | None]
    total: float
    grade: str


def score(one: Any, days: int, criteria: Sequence[Criterion] = CRITERIA) -> Score | None:
    """The score of a month, of which `days` days have passed; None where no criterion says anything."""
    parts = {criterion.name: criterion.share(one, days) for criterion in criteria}
    told = [criterion for criterion in criteria if parts[criterion.name] is not None]
    if not told:
        return None
    weight = sum(criterion.weight for criterion in told)
    total = round(100 * sum(criterion.weight * (parts[criterion.name] or 0) for criterion in told) / weight, 1)
    grade = next(f"{letter} {word}" for least, letter, word in GRADES if total >= least)
    rounded = {name: None if part is None else round(100 * part, 1) for name, part in parts.items()}
    return Score(one, rounded, total, grade)


def document(
    found: Sequence[NodeMonth], parties: Sequence[PartyMonth], days: Days, basis: Basis, passed: int
) -> Document:  # fmt: skip
    """The assessment of these nodes and parties, the best first; `passed` days of the month are over or under way."""
    all_ = [made for one in found if (made := score(one, passed)) is not None]
    scores = sorted(all_, key=lambda one: (-one.total, one.month.node))
    sections: list[Section] = []
    if passed < days.count:
        sections.append(Note(Phrase("本月尚未结束。", "The month is not over."), alert=True))
    sections += [_grades(scores), _scores(scores), _proofs(scores), _parties(parties, passed)]
    sections += [_criteria(TITLE, CRITERIA), _criteria(_PARTIES, PARTY_CRITERIA)]
    return Document("assessment", TITLE, f"{days.begin:%Y-%m}", basis, sections)


_PARTIES = Phrase("经营主体得分", "Parties")
_NODE, _NAME = Column(Phrase("节点", "node"), Kind.CODE), Column(Phrase("名称", "name"))


def _grades(scores: Sequence[Score]) -> Chart:
    words = [f"{letter} {word}" for _, letter, word in GRADES]
    counts = [float(sum(1 for one in scores if one.grade == word)) for word in words]
    return Chart(
        Phrase("等级分布", "Grades"), words, [Series(Phrase("节点数", "nodes"), counts)], Phrase("个", "nodes")
    )


def _scores(scores: Sequence[Score]) -> Grid:
    columns = [
        _NODE, _NAME, Column(Phrase("总分", "score"), Kind.NUMBER), Column(Phrase("等级", "grade")),
        *(Column(one.title, Kind.NUMBER) for one in CRITERIA), Column(Phrase("事件", "events"), Kind.NUMBER),
        Column(Phrase("证据条目", "entries"), Kind.ENTRIES),
    ]  # fmt: skip
    lines: list[list[Cell]] = [
        [
            node_text(one.month.node), one.month.name, one.total, one.grade, *one.parts.values(), one.month.events,
            cite(CRITERIA[-1].proof(one.month)),
        ]
        for one in scores
    ]  # fmt: skip
    worst = frozenset(at for at, one in enumerate(scores) if one.grade == f"{GRADES[-1][1]} {GRADES[-1][2]}")
    return Grid(Phrase("各节点得分", "Scores"), columns, lines, None, worst)


def _proofs(scores: Sequence[Score]) -> Grid:
    """What took points from whom, the worst first."""
    lines: list[list[Cell]] = []
    for one in sorted(scores, key=lambda one: (one.total, one.month.node)):
        for criterion in CRITERIA:
            part = one.parts[criterion.name]
            if part is not None and part < 100 and (proof := cite(criterion.proof(one.month))):
                lines.append([node_text(one.month.node), one.month.name, criterion.title.both, part, proof])
    columns = [
        _NODE, _NAME, Column(Phrase("项目", "criterion")), Column(Phrase("得分", "score"), Kind.NUMBER),
        Column(Phrase("证据条目", "entries"), Kind.ENTRIES),
    ]  # fmt: skip
    left = len(lines) - LINES_MAX
    note = Phrase(f"另有 {left} 行未列出。", f"{left} more lines are not listed.") if left > 0 else None
    return Grid(Phrase("扣分依据", "What took points"), columns, lines[:LINES_MAX], note)


def _parties(found: Sequence[PartyMonth], days: int) -> Grid:
    """What parties got, the worst first; without their names, which are in the register alone."""
    all_ = [made for one in found if (made := score(one, days, PARTY_CRITERIA)) is not None]
    scores = sorted(all_, key=lambda one: (one.total, one.month.party))
    columns = [
        Column(Phrase("主体", "party"), Kind.CODE), _NODE, Column(Phrase("总分", "score"), Kind.NUMBER),
        Column(Phrase("等级", "grade")), *(Column(one.title, Kind.NUMBER) for one in PARTY_CRITERIA),
        Column(Phrase("扣分依据", "entries"), Kind.ENTRIES),
    ]  # fmt: skip
    lines: list[list[Cell]] = [
        [
            one.month.party, node_text(one.month.node), one.total, one.grade, *one.parts.values(),
            cite(place for criterion in PARTY_CRITERIA for place in criterion.proof(one.month)),
        ]
        for one in scores[:LINES_MAX]
    ]  # fmt: skip
    left = len(scores) - LINES_MAX
    note = Phrase(f"另有 {left} 个主体未列出。", f"{left} more parties are not listed.") if left > 0 else None
    return Grid(_PARTIES, columns, lines, note)


def _criteria(whose: Phrase, criteria: Sequence[Criterion]) -> Grid:
    columns = [
        Column(Phrase("项目", "criterion")), Column(Phrase("权重", "weight"), Kind.NUMBER),
        Column(Phrase("说明", "meaning")),
    ]  # fmt: skip
    lines: list[list[Cell]] = [[one.title.both, one.weight, one.help.both] for one in criteria]
    note = Phrase(
        "无从评价的项目不计,其余项目按比例放大;权重为本系统所设。",
        "A criterion that says nothing of a node is left out, and the others count more; the weights are our choice.",
    )
    return Grid(Phrase(f"评分办法：{whose.zh}", f"How it is scored: {whose.en}"), columns, lines, note)


def make(source: Source, given: Mapping[str, str]) -> Document:
    """The assessment of a month: of all nodes, or of those that the reader may see."""
    today = source.now.astimezone(source.zone).date()
    days, _ = month_of(given.get("month"), today)
    period, reach = days.period(source.zone), source.actor.reach
    found, parties = months(source.connection, period, source.now, source.zone, LATE_AFTER, reach)
    passed = min(days.count, (today - days.begin).days + 1)
    return document(found, parties, days, source.basis, passed)


REPORT = Report(
    "assessment", TITLE,
    {"month": Parameter(Phrase("月份;不填为上月", "the month; last month if left out"), "2026-10", required=False)},
    Action.SEE_BOARD, make,
)  # fmt: skip
