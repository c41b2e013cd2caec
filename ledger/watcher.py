"""The watcher: follows the log with the live rules, and raises warnings.

It reads the log from its cursor, in order, and commits what it found and its cursor together: each entry is watched
exactly once, whatever dies when. All that it knows comes from the log, so that following the log from the beginning
gives the same warnings, with the same ids and bodies, and the same notices under the same numbers.

A step takes a part of the log: facts are told entry by entry, conditions evaluated; then what the rules remember of the
same keys is read in a few questions, and findings, steps of handling and ticks become warnings in their order. How the
log is cut into parts changes nothing.
"""

import heapq
import logging
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import psycopg

from ledger.codes import CITY, node_text
from ledger.drafts import event_id_of
from ledger.entries import Entry, Kind, time_text
from ledger.errors import LedgerError
from ledger.fields import parse_time
from ledger.registers.publishing import Scheduled, schedule_of
from ledger.rules.book import Book
from ledger.rules.conditions import context_of
from ledger.rules.facts import Teller
from ledger.rules.form import Rule, read_rules
from ledger.rules.looking import Source, look
from ledger.rules.registry import learn
from ledger.rules.schema import Value, Watch
from ledger.rules.told import Told, first_children
from ledger.rules.warnings import (
    Notice,
    escalated,
    fingerprint_of,
    found_again,
    handled,
    hidden_by,
    notice_of,
    raised,
    subject_of,
)
from ledger.rules.windows import Clocks, Finding, Hit, missing, take
from ledger.watching import Count, Shelf, Store

Json = dict[str, Any]
PART_MAX = 1_000
"""Entries that are followed in one transaction."""
GAP = timedelta(minutes=3)
"""Ticks further apart than this: the ledger was away, and what did not happen meanwhile says nothing."""
BEFORE_DAYS = (30, 7, 0)
"""So many days before a licence ends it is told."""
_log = logging.getLogger(__name__)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Act:
    """Something that happens to warnings, in the order of the log."""

    position: int
    at: datetime
    entry: str
    findings: list[Finding] = field(default_factory=list)
    handling: Json | None = None
    notice: Notice | None = None
    silences: Json | None = None
    """All of them, where this entry changed one."""


class Watcher:
    """The one writer of warnings. Use it only while holding the lead; its connection is in autocommit."""

    def __init__(self, connection: psycopg.Connection, zone: tzinfo, rules: list[Rule] | None = None) -> None:
        """`rules`: these alone, whatever the log says of rule sets: to try them on what has been."""
        self._store = Store(connection)
        self._zone, self._given = zone, rules
        self._start()

    def _start(self) -> None:
        state = self._store.state()
        self.position = state.position
        self.clocks = Clocks(_time(state.clocks.get("event")), _time(state.clocks.get("record")))
        self._tick = _time(state.clocks.get("tick"))
        self._number = int(state.clocks.get("number", 0))
        self._book = Book(self._store.pages)
        self._teller = Teller(self._book, self._zone)
        self._silences: Json = {}
        self._rules: dict[str, list[Rule]] = {}
        self._by_watch: dict[tuple[Watch, str], tuple[list[Rule], frozenset[str]]] = {}
        if self._given is not None:
            self._rules[""] = self._given
            return
        for name in sorted(self._book.get("rule_sets", "") or {}):
            self._use(name)

    def step(self, most: int = PART_MAX) -> int:
        """Follow the log as far as it is integrated, at most `most` entries; how many that were."""
        try:
            with self._store.transaction():
                return self._step(most)
        except BaseException:
            self._start()  # what is remembered here is what is committed
            raise

    def _step(self, most: int) -> int:
        told = self._store.entries(self.position, most)
        told = told[: self._cut(told)]
        if not told:
            return 0
        turned = self._turn(told[0]) if self._is_turn(told[0], self._tick) else []
        births = self._store.births([(one.position, child) for one in told for child in first_children(one.entry)])
        meant = self._store.meant([(one.position, event_id_of(one.event).id) for one in told if one.event
                                   and "errorDeclaration" in one.event])  # fmt: skip
        told = [
            Told(one.entry, one.position, one.sealed, births.get(one.position, {}), meant.get(one.position))
            for one in told
        ]
        hits, forgotten, acts = self._tell(told)
        self._remember(told, turned + hits, forgotten, acts)
        self._settle(acts, told)
        self.position = told[-1].position + 1
        self._store.keep(self._book.changed, self.position, {
            "event": time_text(self.clocks.event), "record": time_text(self.clocks.record),
            "tick": time_text(self._tick), "number": self._number,
        })  # fmt: skip
        self._book.written()
        return len(told)

    # --- turns: what only a tick can tell --------------------------------------------------------------

    def _cut(self, told: list[Told]) -> int:
        """How many of these entries make a part: a turn, or a change of the rules, begins one."""
        tick = self._tick
        for at, one in enumerate(told):
            if at and (self._is_turn(one, tick) or one.entry.body.get("change", {}).get("table") == "rule_set"):
                return at
            if one.entry.kind is Kind.TICK:
                tick = max(tick, parse_time(one.entry.body["tick"]["minute"]))
        return len(told)

    def _is_turn(self, told: Told, tick: datetime) -> bool:
        """Whether it is a tick after a gap, or the first of a day: what it asks must be kept before.

        A tick of an earlier day, after the clock was set back, is none: that day has begun already.
        """
        if told.entry.kind is not Kind.TICK:
            return False
        minute = parse_time(told.entry.body["tick"]["minute"])
        return minute - tick > GAP or self._day(minute) > self._day(tick)

    def _day(self, at: datetime) -> date:
        return at.astimezone(self._zone).date()

    def _turn(self, told: Told) -> list[Hit]:
        """The ledger was away: nothing is missed for that long. A day begins: licences that end soon."""
        minute = parse_time(told.entry.body["tick"]["minute"])
        if self._tick != _FIRST and minute - self._tick > GAP:
            self._store.postpone(minute - self._tick)
        if self._day(minute) <= self._day(self._tick):
            return []
        day = self._day(minute)
        ends = {(day + timedelta(days=days)).isoformat(): days for days in BEFORE_DAYS}
        hits: list[Hit] = []
        for party, kind, valid_to in self._store.licences_ending([*ends]):
            facts: dict[str, Value] = {
                "node": party[:9], "region": self._teller.region(party[:9]), "time": minute, "party": party,
                "licence_kind": kind, "valid_days": ends[valid_to],
            }  # fmt: skip
            hits += self._looked(told, Watch.LICENCE, facts, len(hits))
        return hits

    # --- telling: facts, and which conditions they make true ---------------------------------------------

    def _tell(self, told: list[Told]) -> tuple[list[Hit], list[tuple[int, bytes]], list[_Act]]:
        self._silences = dict(self._book.get("silence", "") or {})
        self._book.load(page for one in told for page in self._teller.pages(one))
        self._book.load(page for one in told for page in self._teller.more_pages(one))
        hits: list[Hit] = []
        forgotten: list[tuple[int, bytes]] = []
        acts: list[_Act] = []
        for one in told:
            entry = one.entry
            act = _Act(one.position, entry.record_time, entry.name)
            acts.append(act)
            before = len(hits)
            try:
                if entry.kind is Kind.CHANGE:
                    hits += self._changed(one, act)
                    continue
                for watch, facts in self._teller.tell(one):
                    hits += self._looked(one, watch, facts, len(hits) - before)
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:  # of another release
                _log.error("entry %s cannot be told to rules: %r", entry.name, error)
            if "errorDeclaration" in (one.event or {}):
                forgotten.append((one.position, event_id_of(entry.body["event"]).id))
            if entry.kind is Kind.CHECK and entry.body["check"]["decision"] != "admitted":
                act.notice = _told_of(entry, "check", entry.body["check"], self._teller)
        return hits, forgotten, acts

    def _changed(self, told: Told, act: _Act) -> list[Hit]:
        """A row of the registry has a new state."""
        change, entry = told.entry.body["change"], told.entry
        table, row = change["table"], change["row"]
        learn(self._book, table, row, entry.record_time)
        if table == "rule_set":
            self._use(row["rule_set"])
        elif table == "handling":
            act.handling = row
        elif table == "silence":
            act.silences = dict(self._book.get("silence", "") or {})
        elif table == "receiving_difference" and row["version"] == 1:
            node = row["number"][:9]
            facts: dict[str, Value] = {
                "node": node, "region": self._teller.region(node), "time": entry.record_time,
                "difference": row["number"], "difference_kind": row["kind"], "product": row["product"],
                "units": row["quantity"],
            }  # fmt: skip
            return self._looked(told, Watch.DIFFERENCE, facts, 0)
        if table in _TOLD:
            act.notice = _told_of(entry, table, row, self._teller)
        return []

    def _use(self, name: str) -> None:
        """The rules of a set, as it is now. One that cannot be read any more says so, and is silent."""
        if self._given is not None:
            return
        page = self._book.get("rule_set", name)
        self._rules.pop(name, None)
        if page is not None and page["live"]:
            try:
                self._rules[name] = read_rules(page["rules"])
            except LedgerError as error:
                _log.error("the rule set %s is not used: %s", name, error)
        self._by_watch = {}

    def _watching(self, watch: Watch, step: str) -> tuple[list[Rule], frozenset[str]]:
        """The rules that look at such things, and the facts that their conditions ask for."""
        key = (watch, step)
        if key not in self._by_watch:
            rules = [
                rule for name in sorted(self._rules) for rule in self._rules[name]
                if rule.watch is watch and (not rule.steps or step in rule.steps)
            ]  # fmt: skip
            self._by_watch[key] = rules, frozenset().union(*(rule.asked for rule in rules))
        return self._by_watch[key]

    def _looked(self, told: Told, watch: Watch, facts: dict[str, Value], first: int) -> list[Hit]:
        """What the rules that watch such things make of it."""
        rules, asked = self._watching(watch, str(facts.get("step", "")))
        if not rules:
            return []
        context = context_of({name: facts[name] for name in asked if name in facts})
        source = Source(told.position, told.entry.name, told.event_id, told.entry.record_time)
        hits: list[Hit] = []
        for rule in rules:
            found = look(rule, facts, context, source, first + len(hits))
            count = self._store.counts.get(rule.key) or self._store.counts.setdefault(rule.key, Count())
            count.evaluated += 1
            count.matched += found.when
            count.missing += found.missing
            if found.hit is not None:
                hits.append(found.hit)
        return hits

    # --- remembering: windows, and what is waited for ----------------------------------------------------

    def _remember(
        self, told: list[Told], hits: list[Hit], forgotten: list[tuple[int, bytes]], acts: list[_Act]
    ) -> None:
        """Findings of each entry, in the order of the log; what comes is taken before what is due."""
        latest = max((self._times(one) for one in told), key=lambda clocks: clocks.event)
        until = Clocks(
            max(self.clocks.event, latest.event), max(self.clocks.record, *(one.entry.record_time for one in told))
        )
        live = {rule.key: rule for rules in self._rules.values() for rule in rules}
        live |= {hit.rule.key: hit.rule for hit in hits}
        memory = self._store.memory(hits, live, until)
        by_position: dict[int, list[Hit]] = {}
        for hit in hits:
            by_position.setdefault(hit.position, []).append(hit)
        lost = dict(forgotten)
        for one, act in zip(told, acts, strict=True):
            times = self._times(one)
            self.clocks = Clocks(max(self.clocks.event, times.event), max(self.clocks.record, times.record))
            if one.entry.kind is Kind.TICK:
                self._tick = max(self._tick, parse_time(one.entry.body["tick"]["minute"]))
            if one.position in lost:
                memory.forget(lost[one.position])
            for hit in by_position.get(one.position, ()):
                act.findings += take(memory, hit, self.clocks)
            act.findings += [missing(memory, waiting) for waiting in memory.due(self.clocks)]
        self._store.keep_memory(memory, self.clocks, told[-1].position + 1)
        for _, event in forgotten:  # only now: what was found before the declaration was found
            self._store.forget(event)

    @staticmethod
    def _times(told: Told) -> Clocks:
        """What an entry says of the time: an event's own, but none later than its record."""
        recorded = told.entry.record_time
        if (event := told.event) is None or "errorDeclaration" in event:
            return Clocks(_FIRST, recorded)
        return Clocks(min(parse_time(event["eventTime"]), recorded), recorded)

    # --- settling: what becomes of warnings ----------------------------------------------------------------

    def _settle(self, acts: list[_Act], told: list[Told]) -> None:
        findings = [found for act in acts for found in act.findings]
        subjects = [subject_of(found) for found in findings]
        shelf = self._store.shelf(
            {fingerprint_of(found) for found in findings}, set(subjects),
            [act.handling["warning"] for act in acts if act.handling is not None], self.clocks.record,
        )  # fmt: skip
        due = [(one.due_at, one.id) for one in shelf.by_id.values() if one.due_at is not None and one.open]
        heapq.heapify(due)
        silences = self._silences
        notices: list[Notice] = []
        for act, one in zip(acts, told, strict=True):
            silences = silences if act.silences is None else act.silences
            if act.handling is not None and (warning := shelf.by_id.get(act.handling["warning"])) is not None:
                notices += _some(handled(warning, act.handling, act.at, act.entry))
                shelf.changed.add(warning.id)
                if warning.due_at is not None:
                    heapq.heappush(due, (warning.due_at, warning.id))
            for found in act.findings:
                notices += self._found(found, act, shelf, silences, due)
            if one.entry.kind is Kind.TICK:
                notices += self._overdue(parse_time(one.entry.body["tick"]["minute"]), shelf, due)
            notices += _some(act.notice)
        self._store.keep_warnings(shelf)
        self._number = self._store.keep_notices(notices, self._number)

    def _found(
        self, found: Finding, act: _Act, shelf: Shelf, silences: Json, due: list[tuple[datetime, str]]
    ) -> list[Notice]:  # fmt: skip
        count = self._store.counts.setdefault(found.rule.key, Count())
        for warning in shelf.by_fingerprint.get(fingerprint_of(found), ()):
            if warning.open:
                shelf.changed.add(warning.id)
                return _some(found_again(warning, found, act.at))
        count.raised += 1
        subject = subject_of(found)
        hidden = hidden_by(found, silences, shelf.by_subject.get(subject, ()), act.at)
        warning = raised(found, act.at, hidden)
        shelf.add(warning)
        if warning.due_at is not None:
            heapq.heappush(due, (warning.due_at, warning.id))
        return _some(notice_of(warning, "warning.raised"))

    @staticmethod
    def _overdue(minute: datetime, shelf: Shelf, due: list[tuple[datetime, str]]) -> list[Notice]:
        notices: list[Notice] = []
        while due and due[0][0] <= minute:
            at, id_ = heapq.heappop(due)
            warning = shelf.by_id[id_]
            if warning.open and warning.due_at == at:
                notices += _some(escalated(warning, minute))
                shelf.changed.add(id_)
                if warning.due_at is not None:
                    heapq.heappush(due, (warning.due_at, id_))
        return notices


_TOLD = {"recall": "recall", "hold": "hold", "rule_set": "rules", "subscription": "subscription",
         "recall_answer": "recall.answer", "published_report": "report"}  # fmt: skip
"""Tables whose changes are told, and how the type begins."""


def _told_of(entry: Entry, table: str, row: Json, teller: Teller) -> Notice:
    """What subscribers are told of a row of the registry, or of an access check."""
    if table == "check":
        node, about, word = node_text(entry.node), str(row["check"]), f"check.{row['decision']}"
        subject = next((one["item"] for one in row.get("goods", ()) if one.get("item")), about)
        body = {**row, "entry": entry.name}
        return Notice(word, entry.record_time, about, 1, None, None, node, teller.region(node), None, subject, body)
    if table == "published_report":
        return _published(entry, row, teller)
    key = str(row[{"recall": "recall", "hold": "hold", "rule_set": "rule_set", "subscription": "subscription",
                   "recall_answer": "answer"}[table]])  # fmt: skip
    word = str(row.get("status", "filed")) if row["version"] > 1 else "filed"
    node = key[:9] if table in ("hold", "subscription", "recall_answer") else node_text(CITY)
    subject = str(row.get("target") or row.get("product") or next(iter(row.get("lots") or ()), key))
    body = {name: value for name, value in row.items() if name not in ("digest", "rules")} | {"entry": entry.name}
    return Notice(
        f"{_TOLD[table]}.{word}", entry.record_time, key, row["version"], None, None, node, teller.region(node), None,
        subject, body,
    )  # fmt: skip


def _published(entry: Entry, row: Json, teller: Teller) -> Notice:
    """A report was published: what it is, how to tell that it is the one, and where its file is."""
    code, report = str(row["published"]), Scheduled.of(row["report"])
    body = {name: value for name, value in row.items() if name not in ("digest", "version")} | {
        "schedule": schedule_of(code, row["period"]), "title": {"zh": report.chinese, "en": report.english},
        "path": f"/reports/published/{code}", "entry": entry.name,
    }  # fmt: skip
    node, at, subject = code[:9], entry.record_time, body["schedule"]
    region = teller.region(node)
    return Notice("report.published", at, code, row["version"], None, None, node, region, None, subject, body)


def _some(notice: Notice | None) -> list[Notice]:
    return [] if notice is None else [notice]


def _time(text: object) -> datetime:
    return _FIRST if text is None else parse_time(str(text))
