"""A warning's life: raised, found again, escalated, handled, closed (挂牌督办, 销号), and how each is told. Pure.

Everything follows from the log: what rules find, what people record about a warning's handling, and the ticks of the
clock, in one order. So a warning's id is a hash of what it rests on, and following the log again gives the same ones.
"""

import hashlib
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ledger.entries import time_text
from ledger.fields import parse_time
from ledger.registers.supervision import Progress
from ledger.rules.form import Level, Rule, Text
from ledger.rules.windows import EVIDENCE_MAX, Finding

Json = dict[str, Any]
DEADLINES: Mapping[Level, timedelta] = {
    Level.RED: timedelta(hours=24), Level.ORANGE: timedelta(hours=72), Level.YELLOW: timedelta(days=7),
    Level.BLUE: timedelta(days=15),
}  # fmt: skip
"""How long a warning may stand until it is closed; then it goes up a level (our choice: no law sets it)."""
AGAIN = frozenset({2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000, 1_000_000})
"""What is found again is told again only so many times: not each of a thousand sales."""
_HIDES = Level.RED
_HIDDEN_BELOW = Level.ORANGE


@dataclass(slots=True)
class Warning:
    """A warning as it stands. `hidden` says why nobody is told of it: a silence, or the warning above it."""

    id: str
    revision: int
    rule: str
    rule_version: str
    fingerprint: bytes
    level: Level
    node: str
    region: str
    goods: str | None
    subject: str
    raised_at: datetime
    changed_at: datetime
    position: int
    status: str
    due_at: datetime | None
    hidden: str | None
    count: int
    body: Json

    @property
    def open(self) -> bool:
        return self.status != Progress.CLOSED


@dataclass(frozen=True, slots=True)
class Notice:
    """What subscribers are told: a type, and what it is about."""

    type: str
    at: datetime
    about: str
    revision: int
    level: Level | None
    rule: str | None
    node: str
    region: str
    goods: str | None
    subject: str
    body: Json = field(default_factory=dict)


def fingerprint_of(found: Finding) -> bytes:
    """What makes two findings the same warning: the rule, and what it groups by."""
    return hashlib.sha256(f"{found.rule.id}\n{found.key}".encode()).digest()


def subject_of(found: Finding) -> str:
    """What a finding speaks of; what it groups by, where that is not known."""
    return str({**found.facts, **found.counted}.get(found.rule.subject, "")) or found.key


def node_of(found: Finding) -> str:
    """The node that a finding concerns."""
    return str(found.facts.get("node", "000000000"))


def raised(found: Finding, at: datetime, hidden: str | None) -> Warning:
    """A new warning; `at` is when the entry that showed it was recorded."""
    rule, mark = found.rule, fingerprint_of(found)
    node = node_of(found)
    region = str(found.facts.get("region", node[:6]))
    made = hashlib.sha256(b"%s\n%s\n%d\n%d" % (rule.key.encode(), mark, found.position, found.part)).hexdigest()
    facts = {**found.facts, **found.counted}
    subject = subject_of(found)
    goods = facts.get("goods")
    body: Json = {
        "rule": rule.id, "ruleVersion": rule.version, "name": _told(rule.name, {}), "source": rule.source,
        "message": _told(rule.message, facts), "remedy": _told(rule.remedy, facts), "happenedAt": time_text(found.at),
        "values": {name: _json(value) for name, value in sorted(facts.items())}, "evidence": list(found.evidence),
    }  # fmt: skip
    if rule.window is not None:
        body["window"] = {
            "type": str(rule.window.type), "within": f"{int(rule.window.within.total_seconds())}s", **found.counted,
        }  # fmt: skip
    return Warning(
        f"{node}-{made[:24]}", 1, rule.id, rule.version, mark, rule.level, node, region,
        None if goods is None else str(goods), subject, at, at, found.position, str(Progress.OPEN),
        at + DEADLINES[rule.level], hidden, 1, body,
    )  # fmt: skip


def found_again(warning: Warning, found: Finding, at: datetime) -> Notice | None:
    """More of the same: it joins the warning, and is told now and then."""
    warning.count += 1
    evidence = [*warning.body["evidence"], *found.evidence]
    warning.body = {**warning.body, "evidence": list(dict.fromkeys(evidence))[:EVIDENCE_MAX]}
    if warning.count not in AGAIN:
        return None
    return _revised(warning, "warning.again", at)


def escalated(warning: Warning, at: datetime) -> Notice | None:
    """Nobody closed it in time: it goes up a level. A red one is told once more."""
    if warning.level is Level.RED:
        warning.due_at = None
        return _revised(warning, "warning.overdue", at)
    warning.level = Level(warning.level - 1)
    warning.due_at = at + DEADLINES[warning.level]
    return _revised(warning, "warning.escalated", at)


def handled(warning: Warning, row: Json, at: datetime, entry: str) -> Notice | None:
    """A step of its handling was recorded."""
    before, warning.status = warning.status, row["status"]
    due = None if row["due"] is None else parse_time(row["due"])
    if before == warning.status and due in (None, warning.due_at):
        return None  # nobody has done anything yet
    if not warning.open:
        warning.due_at = None
    elif due is not None and due > at:  # each version repeats it: what is over has had its say
        warning.due_at = due
    elif before == Progress.CLOSED:
        warning.due_at = at + DEADLINES[warning.level]
    steps = [*warning.body.get("handling", ()), {"status": row["status"], "at": time_text(at), "entry": entry}]
    warning.body = {**warning.body, "handling": steps[-EVIDENCE_MAX:]}
    word = "closed" if not warning.open else "reopened" if before == Progress.CLOSED else "handled"
    return _revised(warning, f"warning.{word}", at)


def _revised(warning: Warning, type_: str, at: datetime) -> Notice | None:
    warning.revision += 1
    warning.changed_at = at
    return notice_of(warning, type_)


def notice_of(warning: Warning, type_: str) -> Notice | None:
    """What subscribers are told of it; nothing of what is hidden."""
    if warning.hidden is not None:
        return None
    return Notice(
        type_, warning.changed_at, warning.id, warning.revision, warning.level, warning.rule, warning.node,
        warning.region, warning.goods, warning.subject, shown(warning),
    )  # fmt: skip


def shown(warning: Warning) -> Json:
    """A warning for people and programs."""
    return {
        "warning": warning.id, "revision": warning.revision, "level": warning.level.word,
        "levelChinese": warning.level.chinese, "status": warning.status,
        "statusChinese": Progress.of(warning.status).chinese, "node": warning.node, "region": warning.region,
        "subject": warning.subject, "goods": warning.goods, "count": warning.count,
        "raisedAt": time_text(warning.raised_at), "changedAt": time_text(warning.changed_at),
        "dueAt": None if warning.due_at is None else time_text(warning.due_at), "hidden": warning.hidden,
        **warning.body,
    }  # fmt: skip


def hidden_by(found: Finding, silences: Mapping[str, Json], above: Iterable[Warning], at: datetime) -> str | None:
    """Why nobody is told: an active silence, or an open red warning of the same subject, where it is yellow or blue."""
    subject = subject_of(found)
    for code, one in sorted(silences.items()):
        if (
            one["active"] and at < parse_time(one["until"]) and one["rule"] in (None, found.rule.id)
            and one["subject"] in (None, subject) and code[:9] in ("000000000", node_of(found))
        ):  # fmt: skip
            return f"silence {code}"
    if found.rule.level > _HIDDEN_BELOW:
        for warning in above:
            if warning.open and warning.level is _HIDES and warning.subject == subject and warning.hidden is None:
                return f"warning {warning.id}"
    return None


_CJK = "\u4e00-\u9fff"
_WORD = re.compile(f"[a-z0-9_]+|[{_CJK}]+")


def words_of(*texts: str) -> list[str]:
    """What a text is found by: words and numbers, and of Chinese each pair of characters.

    >>> words_of("猪肉 P1")
    ['p1', '猪肉']
    """
    found: set[str] = set()
    for text in texts:
        for word in _WORD.findall(text.lower()):
            if re.match(f"[{_CJK}]", word):
                found |= {word[at : at + 2] for at in range(len(word) - 1)} or {word}
            else:
                found.add(word[:100])
    return sorted(found)


def words_of_warning(warning: Warning) -> list[str]:
    """What a warning is found by."""
    body = warning.body
    texts = [body[name][language] for name in ("name", "message", "remedy") for language in ("zh", "en")]
    return words_of(warning.id, warning.rule, warning.subject, warning.node, *texts)


class _Missing(dict[str, Any]):
    def __missing__(self, key: str) -> "_Nothing":
        return _Nothing()


class _Nothing:
    """What stands where a fact is not known."""

    def __format__(self, _: str) -> str:
        return "—"


def _told(text: Text, facts: Mapping[str, Any]) -> Json:
    shown_ = _Missing({name: _for_people(value) for name, value in facts.items()})
    formatter = string.Formatter()
    return {"zh": formatter.vformat(text.chinese, (), shown_), "en": formatter.vformat(text.english, (), shown_)}


def _for_people(value: Any) -> Any:
    return time_text(value)[:16].replace("T", " ") + "Z" if isinstance(value, datetime) else value


def _json(value: Any) -> Any:
    return time_text(value) if isinstance(value, datetime) else value


def rule_words(rule: Rule) -> Json:
    """A rule for a list of them."""
    return {
        "id": rule.id, "version": rule.version, "level": rule.level.word, "watch": str(rule.watch),
        "name": _told(rule.name, {}), "source": rule.source,
    }  # fmt: skip
