"""Warnings as people and programs ask for them: lists, one with what it rests on, and trying rules on what has been."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Connection, Select, Text, and_, cast, func, or_, select

from ledger.codes import parse_node
from ledger.database import Database
from ledger.entries import Entry, time_text
from ledger.errors import NotRecorded, UnreadableCode
from ledger.fields import moment
from ledger.reads import entries_at
from ledger.registers.fields import parse_region
from ledger.registers.supervision import Progress
from ledger.rules.form import Level, Rule
from ledger.rules.warnings import Warning, shown, words_of
from ledger.tables import log_range, rule_count
from ledger.tables import warning as table
from ledger.watcher import Watcher
from ledger.watching import WARNING_COLUMNS, warning_of

Json = dict[str, Any]
PAGE_MAX = 1_000
_COLUMNS = [table.c[name.strip()] for name in WARNING_COLUMNS.split(",")]
SCRATCH = ("follower", "rule_book", "rule_window", "rule_pending", "rule_count", "warning", "notice")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which warnings: empty fields ask nothing. `text` is looked for in all that they say."""

    level: str | None = None
    rule: str | None = None
    status: str | None = None
    node: str | None = None
    region: str | None = None
    goods: str | None = None
    subject: str | None = None
    since: str | None = None
    until: str | None = None
    text: str | None = None
    hidden: bool = False
    sort: str = "raised"
    """What comes first: one of `ORDERS`."""
    skip: int = 0
    after: str | None = None
    limit: int = 100


ORDERS = {
    "raised": (table.c.raised_at.desc(),), "level": (table.c.level, table.c.raised_at.desc()),
    "due": (table.c.due_at.asc().nulls_last(), table.c.raised_at.desc()),
    "node": (table.c.node, table.c.raised_at.desc()),
}  # fmt: skip
"""The newest, the worst, those that are due first, or by node."""


def list_warnings(connection: Connection, asked: Asked, nodes: frozenset[int] | None) -> list[Warning]:
    """Those of these nodes (None: of all) in the order asked for, without the first `skip`.

    The newest can be asked for from the one after `after` on, however many there are.
    """
    order = ORDERS[asked.sort]
    question = select(*_COLUMNS).order_by(*order, table.c.warning.desc()).limit(asked.limit).offset(asked.skip)
    for condition in _conditions(asked):
        question = question.where(condition)
    if nodes is not None:
        question = question.where(table.c.node.in_(sorted(nodes)))
    if asked.after is not None:
        last = _one(connection, asked.after, nodes)
        question = question.where(or_(
            table.c.raised_at < last.raised_at,
            and_(table.c.raised_at == last.raised_at, table.c.warning < last.id),
        ))  # fmt: skip
    return [warning_of(row) for row in connection.execute(question)]


def _conditions(asked: Asked) -> list[Any]:
    found: list[Any] = []
    if asked.level is not None:
        found.append(table.c.level == _level(asked.level))
    if asked.status == "unclosed":
        found.append(table.c.status != str(Progress.CLOSED))
    elif asked.status is not None:
        found.append(table.c.status == str(_word(asked.status)))
    if asked.node is not None:
        found.append(table.c.node == parse_node(asked.node))
    if asked.region is not None:
        found.append(table.c.region == parse_region(asked.region))
    if asked.goods is not None:
        found.append(table.c.goods.startswith(asked.goods, autoescape=True))
    if asked.since is not None:
        found.append(table.c.raised_at >= parse_moment(asked.since))
    if asked.until is not None:
        found.append(table.c.raised_at < parse_moment(asked.until))
    if asked.text is not None:
        found += _said(asked.text)
    if not asked.hidden:
        found.append(table.c.hidden.is_(None))
    given = {"rule": asked.rule, "subject": asked.subject}
    return found + [table.c[name] == value for name, value in given.items() if value is not None]


def _said(text: str) -> list[Any]:
    """All words of it, in any order; a Chinese character alone is looked for in all words."""
    words = words_of(text)
    if not words:
        raise UnreadableCode("text", text, "give words, numbers or Chinese characters to look for")
    single = [word for word in words if len(word) == 1 and not word.isascii()]
    said = func.array_to_string(table.c.words, " ")
    return [
        table.c.words.contains(cast([word for word in words if word not in single], ARRAY(Text))),
        *(said.contains(word, autoescape=True) for word in single),
    ]


def _level(word: str) -> int:
    for level in Level:
        if word in (level.word, level.chinese, level.chinese[0]):
            return int(level)
    raise UnreadableCode("level", word, "it is red, orange, yellow or blue")


def _word(text: str) -> Progress:
    for word in Progress:
        if text in (word, word.chinese):
            return word
    raise UnreadableCode("status", text, f"it is unclosed, {', '.join(Progress)}")


def parse_moment(text: str) -> datetime:
    """A moment as somebody gives it; `UnreadableCode` where it is none."""
    try:
        return moment(text)
    except ValueError as error:
        raise UnreadableCode("time", text, str(error)) from None


def get_warning(connection: Connection, id_: str, nodes: frozenset[int] | None) -> Warning:
    """One warning; `NotRecorded` if there is none that may be seen."""
    return _one(connection, id_, nodes)


def _one(connection: Connection, id_: str, nodes: frozenset[int] | None) -> Warning:
    question: Select[Any] = select(*_COLUMNS).where(table.c.warning == id_)
    row = connection.execute(question).one_or_none() if "\0" not in id_ else None
    if row is None or (nodes is not None and row.node not in nodes):
        raise NotRecorded("there is no such warning among those that you may see")
    return warning_of(row)


def explain(
    connection: Connection, warning: Warning, rule: tuple[Rule, bool] | None, nodes: frozenset[int] | None
) -> Json:  # fmt: skip
    """Why there is this warning: the rule as it was, what it knew, its window, and the entries that it rests on.

    `rule`: with whether it is live. Of entries of other nodes than these only what the log shows everybody.
    """
    places = [(int(node), int(seq)) for node, _, seq in (one.partition("/") for one in warning.body["evidence"])]
    return {
        **shown(warning), "position": warning.position, "live": rule is not None and rule[1],
        "when": None if rule is None else rule[0].when.source,
        "entries": [_shown_entry(one.entry, nodes) for one in entries_at(connection, places)],
    }  # fmt: skip


def _shown_entry(entry: Entry, nodes: frozenset[int] | None) -> Json:
    found = {"entry": entry.name, "hash": entry.hash.hex(), "recordTime": time_text(entry.record_time)}
    return found if nodes is not None and entry.node not in nodes else found | {
        "actor": entry.actor, "body": entry.body,
    }  # fmt: skip


def counts(connection: Connection) -> dict[str, Json]:
    """How often each rule looked, and what came of it, by its id and version."""
    rows = connection.execute(select(rule_count))
    return {
        row.rule: {"evaluated": row.evaluated, "matched": row.matched, "notEvaluated": row.missing,
                   "raised": row.raised}
        for row in rows
    }  # fmt: skip


# --- trying rules on what has been ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """What rules would have raised since a moment, beside what was raised by the live rules of the same ids."""

    entries: int
    new: Sequence[Warning]
    gone: Sequence[Warning]
    same: int
    counts: dict[str, Json]


def try_rules(
    database: Database, zone: ZoneInfo, rules: list[Rule], since: datetime, told: Callable[[int, int], None]
) -> Trial:  # fmt: skip
    """Follow the log from its beginning with these rules, on tables that vanish; `told(done, of)` as it goes on."""
    with database.connect() as connection:
        connection.autocommit = True
        for name in SCRATCH:  # what the watcher keeps, under the same names, for this connection alone
            connection.execute(f"CREATE TEMP TABLE {name} (LIKE public.{name} INCLUDING ALL)")
        with database.read() as reading:
            size = reading.execute(select(func.max(log_range.c.start + log_range.c.count))).scalar() or 0
        watcher = Watcher(connection, zone, rules)
        while watcher.position < size and watcher.step():
            told(watcher.position, size)
        asked = [since, [rule.id for rule in rules], watcher.position]  # the live one may be further
        made, there = (_since(connection, f"{schema}.warning", asked) for schema in ("pg_temp", "public"))
        evaluated = {
            row[0]: {"evaluated": row[1], "matched": row[2], "notEvaluated": row[3], "raised": row[4]}
            for row in connection.execute("SELECT * FROM pg_temp.rule_count ORDER BY rule")
        }  # fmt: skip
    new = [one for mark, one in made.items() if mark not in there]
    gone = [one for mark, one in there.items() if mark not in made]
    return Trial(size, new, gone, len(made.keys() & there.keys()), evaluated)


def _since(connection: Any, name: str, asked: list[Any]) -> dict[bytes, Warning]:
    question = (
        f"SELECT {WARNING_COLUMNS} FROM {name} WHERE raised_at >= %s AND rule = ANY(%s) AND position < %s"  # noqa: S608
        " ORDER BY raised_at, warning"
    )
    found = [warning_of(row) for row in connection.execute(question, asked)]
    return {one.fingerprint: one for one in reversed(found)}
