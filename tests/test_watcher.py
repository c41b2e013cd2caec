"""The watcher: following the log anew gives the same, however it is cut and whoever dies; and how warnings live.

The oracle is the log itself: what was found while it was lived through is compared, column by column, with what is
found when all that the watcher keeps is thrown away.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.append import Outcome, Request
from ledger.codes import CITY, TraceScheme, parse_node
from ledger.database import Database
from ledger.drafts import draft_once, tick_name
from ledger.embedded import APPLICATION, OWNER, SUPERUSER, Cluster
from ledger.entries import Kind, decode, time_text
from ledger.errors import LedgerDamaged, LedgerError
from ledger.nodes import OPERATOR, add_node, first_nodes, places_of
from ledger.registers import HANDLING, HOLD, LICENCE, PARTY, RULE_SET, SILENCE, Register
from ledger.registry import change_request, record
from ledger.rules.warnings import words_of
from ledger.rulesets import load_request, shipped
from ledger.watcher import Watcher
from loadtests.rules import FIRST, ZONE, Simulation
from scanners.city import City
from tests.conftest import Own

Json = dict[str, Any]
KEPT = ("follower", "rule_book", "rule_window", "rule_pending", "rule_count", "warning", "notice")
A, B = "330212001", "330212002"
STALL = A + "0001"
LOT = "urn:suyuan:lot:21113011:33021200126112500001"
BEGIN = datetime(2026, 11, 2, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def kept(own: Own) -> dict[str, list[tuple[Any, ...]]]:
    """All columns of all rows that the watcher keeps; the log alone decides them."""
    with own.superuser() as connection:
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in KEPT
        }  # fmt: skip


def forget_all(own: Own) -> None:
    with own.superuser() as connection:
        for table in KEPT:
            connection.execute(f"DELETE FROM {table}")


@contextlib.contextmanager
def watching(own: Own, kind: type[psycopg.Connection] = psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection as the watcher takes it, of which tests may have their own kind."""
    with kind.connect(own.cluster.url(APPLICATION, own.name), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        yield connection


def follow(own: Own, most: int = 1_000) -> None:
    with watching(own) as connection:
        watcher = Watcher(connection, ZONE)
        while watcher.step(most):
            pass


def same(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    """What differs first, table by table: a dump of all would say nothing."""
    for table in KEPT:
        more = [row for row in found[table] if row not in expected[table]][:2]
        less = [row for row in expected[table] if row not in found[table]][:2]
        assert not more and not less, f"{table}: {more}\ninstead of\n{less}"
        assert len(found[table]) == len(expected[table]), table


# --- a day of a city, with all that people do to rules and warnings ------------------------------------


class Town(Simulation):
    """A simulated city whose ticks come every three minutes, and stay away while the ledger is away."""

    away = False

    def record(self, requests: list[Request]) -> list[Outcome]:
        is_tick = len(requests) == 1 and requests[0].actor == "worker"
        if is_tick and (self.away or self._now.minute % 3):
            return []
        return super().record(requests)

    def keep(self, *requests: Request | None) -> None:
        """Record these, or say why not."""
        for outcome in self.record([one for one in requests if one is not None]):
            assert not isinstance(outcome, LedgerError), outcome

    def file(self, register: Register, **given: object) -> None:
        self.keep(self.registrar.file(register, self.registrar.read(register, given)))

    def present(self, register: Register, *key: object) -> Any:
        with self.database.read() as connection:
            return record(connection, self.registrar.vault, register, key)

    def take(self, register: Register, name: str, *key: object) -> None:
        self.keep(self.registrar.step(self.present(register, *key), name, "as it is"))

    def load(self, name: str, text: str) -> None:
        with self.database.read() as connection:
            self.keep(load_request(connection, self.registrar, name, text))

    def unreadable(self, name: str) -> None:
        """A rule set as another release may have recorded it."""
        row = {"rule_set": name, "rules": "rules: [{id: of_the_future}]", "version": 1, "status": "live",
               "status_since": FIRST.isoformat(), "digest": None}  # fmt: skip
        self.keep(change_request("rule_set", row, OPERATOR.name))

    def open_warnings(self, most: int) -> list[str]:
        with self.database.read() as reading:
            rows = reading.exec_driver_sql(
                "SELECT warning FROM warning WHERE status = 'open' ORDER BY raised_at, warning LIMIT %s", (most,)
            )
            return [one for (one,) in rows]


def rule(name: str = "failed", level: str = "yellow", when: str = 'disposition == "non_conformant"', by: str = "item",
         watch: str = "item", more: str = "") -> str:  # fmt: skip
    return f"""
  - id: {name}
    name: {{zh: 检测不合格, en: failed}}
    level: {level}
    watch: {watch}
    when: '{when}'
    subject: {by}
    by: [{by}]
    message: {{zh: "{{node}} 不合格", en: "failed at {{node}}"}}
    remedy: {{zh: 停止销售, en: stop}}
    source: a test
    {more}"""


def window(type_: str, within: str, rest: str) -> str:
    return f"window: {{type: {type_}, within: {within}, lateness: 10m, {rest}}}"


SELLS, RECEIVES = 'step == "retail_selling"', 'step == "receiving"'
NOISY = "rules:" + "".join([
    rule("noisy_blue", "blue", SELLS, "node"), rule("noisy_red", "red", RECEIVES, "node"),
    rule("noisy_orange", "orange", RECEIVES, "holder"),
    rule("noisy_count", "yellow", SELLS, "node", more=window("event_count", "2h", "condition: count >= 5")),
    rule("noisy_sum", "yellow", SELLS, "node", more=window("value_sum", "2h", "value: quantity, condition: sum > 9.0")),
    rule(
        "noisy_values", "blue", SELLS, "region",
        more=window("value_count", "1h", "value: item, condition: count > 3"),
    ),
    rule("noisy_absence", "blue", RECEIVES, "item", more=window("absence", "2h", f"before: 1h, unless: '{SELLS}'")),
    rule("noisy_order", "yellow", "true", "node",
         more=window("temporal_ordered", "3h", f"patterns: ['{RECEIVES}', '{SELLS}']")),
    rule("noisy_lasting", "blue", SELLS, "holder", more="for: 20m"),
])  # fmt: skip
"""Rules of every kind that find something all day long."""


class Lived(Town):
    """It integrates and watches only now and then."""

    lives = 0

    def follow(self) -> None:
        self.lives += 1
        if self.lives % 4 == 0:
            super().follow()


def script(town: Town, events: Iterable[Json], wanted: int) -> Iterator[Json]:
    """The city's events, and between them what people do."""
    food, access = shipped()["food"], shipped()["access"]
    told: list[Json] = []
    handled: list[str] = []
    until = time_text(datetime(2026, 11, 3, 12, tzinfo=UTC))
    for number, event in enumerate(events):
        share = 20 * number // wanted
        if number and share > 20 * (number - 1) // wanted:
            match share:
                case 1:
                    town.load("noisy", NOISY)
                case 4:
                    town.file(SILENCE, silence="000000000-a", rule="price_outlier", until=until, cause="促销")
                    town.load("food", food.replace("level: blue", "level: orange", 2))
                case 6:
                    town.take(RULE_SET, "retire", "access")
                    Town.follow(town)
                    handled += town.open_warnings(3)
                    for one in handled:
                        town.file(HANDLING, warning=one, due=time_text(datetime(2026, 11, 2, 12, tzinfo=UTC)))
                case 8:
                    for one in told[3::9]:
                        declared = {"declarationTime": one["eventTime"], "reason": "incorrect_data"}
                        yield {**one, "errorDeclaration": declared, "eventTime": event["eventTime"]}
                    town.file(HOLD, hold="000000000-h", scope="goods", target="211")
                case 10:
                    town.take(RULE_SET, "revive", "access")
                    town.load("more", access.replace("id: ", "id: more_"))
                    town.unreadable("broken")
                    for one in handled:
                        town.take(HANDLING, "assign", one)
                case 12:
                    town.take(SILENCE, "end", "000000000-a")
                    town.away = True
                case 14:
                    town.away = False
                    for step in ("submit", "verify", "close"):
                        town.take(HANDLING, step, handled[0])
                    town.load("food", food)
                case 16:
                    town.take(HANDLING, "reopen", handled[0])
                    town.take(RULE_SET, "retire", "more")
        told.append(event)
        yield event


@pytest.fixture(scope="module")
def lived(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Own, dict[str, list[Any]]]]:
    """A ledger that lived through a day, and what its watcher kept at the end of it."""
    name = f"lived_{os.getpid()}"
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE suyuan OWNER {OWNER}")
    own = Own(Database(cluster.url(APPLICATION, name), cluster.url(OWNER, name), cluster.ensure_running), name, cluster)
    town = Lived(own.database, tmp_path_factory.mktemp("lived") / "keys")
    city = City(8, FIRST, nodes=24, parties=70, events=600, days=1, plant_every=1)
    town.found_city(city)
    town.live(script(town, city.events(), 800), datetime(2026, 11, 2, 20, tzinfo=UTC))
    Town.follow(town)
    town.close()
    yield own, kept(own)
    own.database.close()
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_day_that_is_followed_anew_has_all_that_can_happen_to_a_warning(lived: tuple[Own, Any]) -> None:
    """A day on which nothing happens is followed alike by any watcher: this one has every kind of notice."""
    _, expected = lived
    types = {row[2] for row in expected["notice"]}
    assert types >= {"warning.raised", "warning.handled", "warning.closed", "warning.reopened", "warning.escalated"}
    assert types >= {"rules.filed", "rules.live", "rules.retired", "hold.filed"}
    assert len(expected["warning"]) > 30 and len({row[2] for row in expected["warning"]}) > 8
    assert {"silence", "warning"} >= {str(row[15]).split(" ")[0] for row in expected["warning"] if row[15]} > set()
    assert expected["rule_pending"] and expected["rule_window"]


@pytest.mark.parametrize("most", [1, 7, 100, 1_000])
def test_the_log_followed_anew_gives_the_same_however_it_is_cut(lived: tuple[Own, Any], most: int) -> None:
    """Else a warning's id, or its number among notices, would hang on how busy the machine was."""
    own, expected = lived
    forget_all(own)
    follow(own, most)
    same(kept(own), expected)


class Cut(psycopg.Connection):
    """A connection that fails at one statement: before it is sent, or after it was done."""

    at, number, after = 0, 0, False

    def _pass(self) -> bool:
        type(self).number += 1
        return type(self).number == type(self).at

    def execute(self, *args: Any, **more: Any) -> Any:
        fails = self._pass()
        if fails and not self.after:
            raise psycopg.OperationalError("cut")
        found = super().execute(*args, **more)
        if fails:
            raise psycopg.OperationalError("cut")
        return found

    def cursor(self, *args: Any, **more: Any) -> Any:
        ours = sys._getframe(1).f_globals["__name__"] == "ledger.watching"  # not what execute asks for
        if ours and self._pass():
            raise psycopg.OperationalError("cut")
        return super().cursor(*args, **more)

    @contextlib.contextmanager
    def transaction(self, *args: Any, **more: Any) -> Iterator[psycopg.Transaction]:
        with super().transaction(*args, **more) as found:
            yield found
        if self._pass():  # committed, and nobody knows
            raise psycopg.OperationalError("cut")


THOROUGH = (6, 10)
"""In these steps every statement fails once; in the others one of them."""


@pytest.mark.parametrize("after", [False, True])
def test_a_failure_at_any_statement_of_any_step_changes_nothing(lived: tuple[Own, Any], after: bool) -> None:
    """Half of a step that stays, or a page in memory that was never kept, would be found here."""
    own, expected = lived
    forget_all(own)
    steps = failures = 0
    with watching(own, Cut) as connection:
        Cut.at, Cut.after = 0, after
        watcher, following = Watcher(connection, ZONE), True
        while following:
            before = watcher.position
            for at in range(1, 100) if steps in THOROUGH else [steps % 12 + 1]:
                Cut.number, Cut.at = 0, at
                try:
                    following = watcher.step(150) > 0
                    break
                except psycopg.OperationalError as error:
                    assert "cut" in str(error)
                    failures += 1
                    if watcher.position != before:
                        break  # it was committed, and nobody had said so
            else:
                Cut.at = 0
                following = watcher.step(150) > 0
            steps += 1
    assert failures > 15 * len(THOROUGH) and steps > max(THOROUGH) + 1
    same(kept(own), expected)


_FOLLOWER = """
import sys, psycopg
from zoneinfo import ZoneInfo
from ledger.watcher import Watcher
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    watcher = Watcher(connection, ZoneInfo("Asia/Shanghai"))
    while watcher.step(5):
        print(watcher.position, flush=True)
"""


def test_a_killed_watcher_is_followed_by_another_as_if_nothing_had_been(lived: tuple[Own, Any]) -> None:
    own, expected = lived
    forget_all(own)
    for until in (150, 900):
        process = subprocess.Popen(
            [sys.executable, "-c", _FOLLOWER, own.cluster.url(APPLICATION, own.name)], stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        assert process.stdout is not None
        next(line for line in process.stdout if int(line) > until)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    follow(own)
    same(kept(own), expected)


def test_of_two_watchers_at_once_one_loses_and_nothing_is_told_twice(lived: tuple[Own, Any]) -> None:
    """The lead is a lock, and locks can be lost: the cursor decides in the end."""
    own, expected = lived
    forget_all(own)
    with watching(own) as here, watching(own) as there:
        one, other = Watcher(here, ZONE), Watcher(there, ZONE)
        for _ in range(3):
            assert one.step(40)
            with pytest.raises(LedgerDamaged, match="another watcher"):
                other.step(40)
            assert other.position == one.position
            assert other.step(40)
            with pytest.raises(LedgerDamaged, match="another watcher"):
                one.step(40)
        lost: list[BaseException] = []

        def run(watcher: Watcher) -> None:
            while True:
                try:
                    if not watcher.step(40):
                        return
                except (LedgerDamaged, psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected) as error:
                    lost.append(error)

        threads = [threading.Thread(target=run, args=[watcher]) for watcher in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    same(kept(own), expected)


# --- scenes: what happens at one node, minute by minute ------------------------------------------------


class Scene(Town):
    """Two nodes, one rule set of the test's own, and a clock that a test moves."""

    def __init__(self, own: Own, folder: Path) -> None:
        super().__init__(own.database, folder)
        self.own, self._now, self._ids = own, BEGIN, 0
        self.recorded: list[tuple[datetime, Json]] = []
        with self.database.read() as connection:
            self.keep(*first_nodes(connection))
        for node in (A, B):
            self.keep(add_node(parse_node(node), "市场", TraceScheme.OPERATOR_SERIAL, [], OPERATOR.name))
        with self.database.read() as connection:
            self._places = places_of(connection, OPERATOR)
        self.tick()

    @property
    def now(self) -> datetime:
        return self._now

    def tick(self) -> None:
        body = {"tick": {"minute": time_text(self._now), "checkpoint": {"size": 0}}}
        tick = draft_once(CITY, Kind.TICK, body, tick_name(time_text(self._now)), secrets.token_bytes)
        Simulation.record(self, [Request([tick], "worker")])
        self.integrate()

    def integrate(self) -> None:
        while self._integrator.step():
            pass

    def keep(self, *requests: Request | None) -> None:
        """Record these, one after the other in the log too."""
        super().keep(*requests)
        self.integrate()

    def rules(self, *rules: str, name: str = "ours") -> None:
        self.load(name, "rules:\n" + "".join(rules))

    def wait(self, span: timedelta, every: timedelta = 3 * MINUTE) -> None:
        """Time passes, with its ticks."""
        until = self._now + span
        while self._now < until:
            self._now = min(self._now + every, until)
            self.tick()

    def leap(self, span: timedelta) -> None:
        """The ledger is away for so long."""
        self._now += span
        self.tick()

    def happen(
        self, step: str = "inspecting", disposition: str | None = "non_conformant", *, lot: str = LOT, node: str = A,
        action: str = "OBSERVE", quantity: float | None = None, ago: timedelta = timedelta(0), **more: object,
    ) -> Json:  # fmt: skip
        self._ids += 1
        event: Json = {
            "type": "ObjectEvent", "eventID": f"urn:uuid:00000000-0000-4000-8000-{self._ids:012d}", "action": action,
            "eventTime": time_text(self._now - ago), "eventTimeZoneOffset": "+08:00", "bizStep": step,
            "readPoint": {"id": f"urn:suyuan:node:{node}"},
        } | more  # fmt: skip
        if disposition is not None:
            event["disposition"] = disposition
        if quantity is None:
            event["epcList"] = [lot]
        else:
            event["quantityList"] = [{"epcClass": lot, "quantity": quantity, "uom": "KGM"}]
        self.keep(*self._requests([event], OPERATOR, self._places))
        return event

    def err(self, event: Json, at: str = "2026-11-02T01:00:00Z") -> None:
        """It is declared in error."""
        declared = {"declarationTime": at, "reason": "incorrect_data"}
        self.keep(*self._requests([{**event, "errorDeclaration": declared}], OPERATOR, self._places))

    def handle(self, warning: str, *steps: str, **given: object) -> None:
        if steps and steps[0] == "file":
            self.file(HANDLING, warning=warning, **given)
            steps = steps[1:]
        for step in steps:
            self.take(HANDLING, step, warning)

    def rows(self, question: str) -> list[Any]:
        with self.database.read() as reading:
            return [tuple(row) for row in reading.exec_driver_sql(question)]

    def notices(self) -> list[str]:
        """Types of notices of warnings so far, in their order."""
        self.follow()
        return [one for (one,) in self.rows("SELECT type FROM notice WHERE type LIKE 'warning.%%' ORDER BY number")]

    def told(self) -> list[Json]:
        """The warnings so far, in the order in which they were raised."""
        self.follow()
        names = "warning rule level status hidden count revision due_at raised_at subject node words body".split()
        rows = self.rows(f"SELECT {', '.join(names)} FROM warning ORDER BY raised_at, position, rule, warning")
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture
def scene(own: Own, tmp_path: Path) -> Iterator[Scene]:
    """Whatever a scene brought about is found again from nothing at its end, entry by entry and all at once."""
    made = Scene(own, tmp_path / "keys")
    yield made
    made.follow()
    made.close()
    expected = kept(own)
    for most in (1, 1_000):
        forget_all(own)
        follow(own, most)
        same(kept(own), expected)


def test_an_event_declared_in_error_is_forgotten_by_windows(scene: Scene) -> None:
    """Three failures, of which one never was, are two; and what was found before the declaration stays found."""
    scene.rules(rule(more=window("event_count", "6h", 'condition: "count >= 3"')))
    first = scene.happen()
    scene.happen()
    scene.follow()
    scene.err(first)
    scene.happen()
    assert scene.told() == []
    last = scene.happen()  # the third that counts; its declaration comes in the same part of the log
    scene.err(last)
    assert len(scene.told()) == 1
    assert [len(one["body"]["evidence"]) for one in scene.told()] == [3]


def test_an_event_declared_in_error_is_waited_for_no_more(scene: Scene) -> None:
    scene.rules(rule(more=window("absence", "30m", "unless: 'disposition == \"conformant\"'")))
    scene.err(scene.happen())
    kept_waiting = scene.happen(lot=LOT[:-1] + "2")
    scene.wait(HOUR)
    assert [one["subject"] for one in scene.told()] == [kept_waiting["epcList"][0]]


def stock(scene: Scene) -> dict[tuple[str, str, str], Any]:
    scene.follow()
    found = {}
    for key, value in scene.rows("SELECT key, value FROM rule_book WHERE topic = 'stock'"):
        item, holder, uom = key.split("|")
        found[item, holder, uom] = float(value["in"]) - float(value["out"])
    return {key: quantity for key, quantity in found.items() if quantity}


def test_stocks_are_those_of_the_ledger_whatever_is_declared_in_error(scene: Scene) -> None:
    """Declared twice, declared with other quantities, declared before it came: the ledger's own balance decides."""
    twice = scene.happen("receiving", None, action="ADD", quantity=100)
    scene.err(twice, "2026-11-02T01:00:00Z")
    scene.err(twice, "2026-11-02T01:00:01Z")
    other = scene.happen("receiving", None, action="ADD", quantity=50)
    scene.follow()
    scene.err({**other, "quantityList": [{"epcClass": LOT, "quantity": 7, "uom": "KGM"}]})
    early = {**other, "eventID": "urn:uuid:00000000-0000-4000-8000-0000000000ff"}
    scene.err(early)
    scene.keep(*scene._requests([early], OPERATOR, scene._places))
    scene.happen("receiving", None, action="ADD", quantity=30)
    scene.happen("retail_selling", None, action="DELETE", quantity=4)
    rows = scene.rows("SELECT item, holder, uom, quantity FROM balance WHERE quantity <> 0")
    expected = {(item, holder, uom): float(quantity) for item, holder, uom, quantity in rows}
    assert stock(scene) == expected and sorted(expected.values()) == [26.0]


def test_an_event_that_was_declared_in_error_before_it_came_raises_nothing(scene: Scene) -> None:
    scene.rules(rule())
    event = scene.happen(disposition="conformant")
    early = {**event, "eventID": "urn:uuid:00000000-0000-4000-8000-0000000000fe", "disposition": "non_conformant"}
    scene.err(early)
    scene.keep(*scene._requests([early], OPERATOR, scene._places))
    assert scene.told() == []


# --- rule sets in the middle of the log ----------------------------------------------------------------


def test_a_rule_set_counts_from_where_it_is_changed_retired_and_revived(scene: Scene) -> None:
    lots = iter(f"{LOT[:-4]}{number:04d}" for number in range(100))
    scene.happen(lot=next(lots))
    scene.rules(rule("first"))
    scene.happen(lot=next(lots))
    scene.rules(rule("second"))
    scene.happen(lot=next(lots))
    scene.rules(rule("beside", "blue"), name="added")
    scene.happen(lot=next(lots))
    scene.take(RULE_SET, "retire", "ours")
    scene.happen(lot=next(lots))
    scene.take(RULE_SET, "retire", "added")
    scene.happen(lot=next(lots))
    scene.take(RULE_SET, "revive", "ours")
    scene.happen(lot=next(lots))
    found = sorted((one["subject"][-4:], one["rule"]) for one in scene.told())
    assert found == [("0001", "first"), ("0002", "second"), ("0003", "beside"), ("0003", "second"), ("0004", "beside"),
                     ("0006", "second")]  # fmt: skip


def test_what_a_rule_waits_for_ends_when_it_is_changed_or_retired(scene: Scene) -> None:
    """Nobody is told by a rule that is no more, even if its set comes back meanwhile."""
    waits = window("absence", "30m", "unless: 'disposition == \"conformant\"'")
    scene.rules(rule(more=waits))
    scene.happen()
    scene.wait(10 * MINUTE)
    scene.take(RULE_SET, "retire", "ours")
    scene.wait(HOUR)
    scene.take(RULE_SET, "revive", "ours")
    scene.wait(HOUR)
    assert scene.told() == []
    scene.happen()
    scene.wait(10 * MINUTE)
    scene.rules(rule("other", more=waits))
    scene.wait(HOUR)
    assert scene.told() == []


def test_a_rule_set_that_cannot_be_read_is_told_and_silent(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A rule of another release must not end the watching by the others."""
    scene.rules(rule())
    scene.unreadable("broken")
    scene.happen()
    assert [one["rule"] for one in scene.told()] == ["failed"]
    assert "the rule set broken is not used" in caplog.text


# --- ticks ------------------------------------------------------------------------------------------------


def test_a_gap_of_hours_suspends_what_is_missing(scene: Scene) -> None:
    """An outage of the ledger would else alarm every node at its end."""
    scene.rules(rule(more=window("absence", "60m", "unless: 'disposition == \"conformant\"'")))
    scene.happen()
    scene.wait(30 * MINUTE)
    scene.leap(5 * HOUR)
    assert scene.told() == []
    scene.wait(30 * MINUTE)
    assert scene.told() == []
    scene.wait(15 * MINUTE)
    assert len(scene.told()) == 1


def test_what_comes_right_after_a_gap_ends_the_wait_that_it_put_off(scene: Scene) -> None:
    """A sensor that could report to nobody for five hours, and then does, was never silent."""
    scene.rules(rule(more=window("absence", "60m", "unless: 'disposition == \"conformant\"'")))
    scene.happen()
    scene.wait(30 * MINUTE)
    scene.leap(5 * HOUR)
    scene.happen(disposition="conformant")
    scene.wait(2 * HOUR)
    assert scene.told() == []


def test_historic_data_raises_no_absence_early(scene: Scene) -> None:
    """Whoever brings in last week's records does not alarm everybody: what answers them may come right after."""
    scene.rules(rule(more=window("absence", "60m", "unless: 'disposition == \"conformant\"'")))
    scene.happen(lot=LOT[:-1] + "9", disposition="conformant")  # the event clock is now
    week = 7 * DAY
    scene.happen(ago=week)
    scene.happen(lot=LOT[:-1] + "2", ago=week)
    scene.wait(30 * MINUTE)
    scene.happen(disposition="conformant", ago=week)
    assert scene.told() == []
    scene.wait(HOUR)
    assert [one["subject"][-1] for one in scene.told()] == ["2"]


def licensed(scene: Scene, *ends: int) -> None:
    """A stall whose licences end so many days after tomorrow (the city's day)."""
    scene.file(PARTY, party=STALL, legal_name="某某肉铺", kinds=["retailer"], credit_code="91350100M000100Y43")
    tomorrow = (scene.now.astimezone(ZONE) + DAY).date()
    for number, days in enumerate(ends):
        scene.file(LICENCE, party=STALL, number=f"JY{number:014d}", kind="food_operation", valid_from="2026-01-01",
                   valid_to=(tomorrow + timedelta(days=days)).isoformat())  # fmt: skip


def test_a_days_first_tick_tells_licences_that_end_in_30_7_and_0_days_once(scene: Scene) -> None:
    scene.load("access", shipped()["access"])
    licensed(scene, 30, 7, 0, 31, 8, 6)
    scene.wait(10 * HOUR, HOUR)  # 01:00Z + 10 h is 19:00 in the city: the same day
    before = len(scene.told())
    scene.wait(6 * HOUR, 3 * MINUTE)
    ends = [one for one in scene.told() if one["rule"] == "licence_ends"]
    assert before == 0, "the day has not begun"
    assert sorted(one["body"]["values"]["valid_days"] for one in ends) == [0, 7, 30]
    assert all(one["count"] == 1 for one in ends)


def test_a_clock_that_is_set_back_over_midnight_tells_no_licence_again(scene: Scene) -> None:
    scene.load("access", shipped()["access"])
    licensed(scene, 0)
    scene.wait(15 * HOUR + 6 * MINUTE, 3 * MINUTE)
    assert [(one["rule"], one["count"]) for one in scene.told()] == [("licence_ends", 1)]
    scene._now -= 10 * MINUTE + MINUTE
    for _ in range(5):
        scene._now += MINUTE
        scene.tick()
    assert [(one["rule"], one["count"]) for one in scene.told()] == [("licence_ends", 1)]


def test_what_is_not_known_is_counted_as_missing(scene: Scene) -> None:
    """A rule that asks for what nobody said is not false: the count shows that it could not look."""
    scene.rules(rule(when="price > 1.0", watch="event", by="node"))
    scene.happen()
    scene.happen(**{"suyuan:price": 2})
    scene.follow()
    ((rule_, evaluated, matched, missing, raised),) = scene.rows("SELECT * FROM rule_count")
    assert rule_.startswith("failed@") and (evaluated, matched, missing, raised) == (2, 1, 1, 1)


def test_an_entry_that_cannot_be_told_ends_neither_its_step_nor_the_watching(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of another release, and a certificate of which somebody wrote nonsense."""
    scene.rules(rule())
    row = {"hold": f"{A}-x", "scope": "lot", "target": LOT, "until": None, "warning": None, "status": "active",
           "status_since": FIRST.isoformat(), "version": 1, "digest": None}  # fmt: skip
    del row["until"]
    scene.keep(change_request("hold", row, OPERATOR.name))
    nonsense = [{"number": "product:\0"}, {"number": "肉" * 5_000}, {"number": "product:1", "quantity": "some"}, {}, 7]
    scene.happen("receiving", "non_conformant", **{"suyuan:documents": nonsense, "suyuan:price": "much"})
    assert len(scene.told()) == 1 and "cannot be told" in caplog.text


# --- lives ------------------------------------------------------------------------------------------------


def test_what_is_found_again_joins_its_warning_and_is_told_now_and_then(scene: Scene) -> None:
    """Not each of a thousand sales: the 2nd, 5th, 10th."""
    scene.rules(rule())
    for _ in range(11):
        scene.happen()
    (one,) = scene.told()
    assert (one["count"], one["revision"], len(one["body"]["evidence"])) == (11, 4, 11)
    assert scene.notices() == ["warning.raised"] + ["warning.again"] * 3
    assert [revision for (revision,) in scene.rows("SELECT revision FROM notice WHERE warning IS NOT NULL AND level"
                                                   " IS NOT NULL ORDER BY number")] == [1, 2, 3, 4]  # fmt: skip


def test_what_was_closed_and_is_found_again_is_a_new_warning(scene: Scene) -> None:
    scene.rules(rule())
    scene.happen()
    (first,) = scene.told()
    scene.handle(first["warning"], "file", "close")
    scene.happen()
    assert [(one["status"], one["count"]) for one in scene.told()] == [("closed", 1), ("open", 1)]
    assert scene.told()[0]["warning"] != scene.told()[1]["warning"]
    assert scene.told()[0]["due_at"] is None
    assert scene.notices() == ["warning.raised", "warning.closed", "warning.raised"]


def test_handling_goes_step_by_step_and_each_is_told(scene: Scene) -> None:
    scene.rules(rule())
    scene.happen()
    (first,) = scene.told()
    id_ = first["warning"]
    scene.handle(id_, "file", "assign", "start", "submit", "reject", "submit", "verify", "close", "reopen")
    (one,) = scene.told()
    assert scene.notices() == ["warning.raised", *["warning.handled"] * 6, "warning.closed", "warning.reopened"]
    assert [step["status"] for step in one["body"]["handling"]] == [
        "assigned", "rectifying", "submitted", "rectifying", "submitted", "verified", "closed", "open"
    ]  # fmt: skip
    assert one["revision"] == 9 and one["due_at"] == scene.now + 7 * DAY


def test_nobody_closes_it_so_it_goes_up_level_by_level(scene: Scene) -> None:
    scene.rules(rule(level="blue"))
    scene.happen()
    levels = []
    for days in (15, 7, 3, 1):
        scene.follow()
        scene.wait(days * DAY - 3 * MINUTE, 6 * HOUR)
        levels.append(scene.told()[0]["level"])
        scene.wait(3 * MINUTE)
        levels.append(scene.told()[0]["level"])
    assert levels == [4, 3, 3, 2, 2, 1, 1, 1]
    assert scene.notices() == ["warning.raised", *["warning.escalated"] * 3, "warning.overdue"]
    scene.wait(5 * DAY, 6 * HOUR)
    assert len(scene.notices()) == 5 and scene.told()[0]["due_at"] is None


def test_what_is_handled_after_its_deadline_goes_up_once(scene: Scene) -> None:
    """Each step of the handling repeats the deadline that was given: it is over only once."""
    scene.rules(rule(level="blue"))
    scene.happen()
    (one,) = scene.told()
    scene.handle(one["warning"], "file", due=time_text(scene.now + HOUR))
    assert scene.told()[0]["due_at"] == scene.now + HOUR
    scene.wait(HOUR)
    assert scene.told()[0]["level"] == 3
    scene.handle(one["warning"], "assign", "start")
    scene.wait(30 * MINUTE)
    assert scene.told()[0]["level"] == 3 and scene.notices().count("warning.escalated") == 1


def test_a_deadline_given_by_hand_holds_when_it_is_reopened(scene: Scene) -> None:
    scene.rules(rule(level="blue"))
    scene.happen()
    (one,) = scene.told()
    scene.handle(one["warning"], "file", "close", "reopen", due=time_text(scene.now + 2 * HOUR))
    assert scene.told()[0]["due_at"] == scene.now + 2 * HOUR


def all_levels() -> list[str]:
    return [rule(f"as_{level}", level) for level in ("blue", "orange", "yellow")]


def test_an_open_red_warning_hides_yellow_and_blue_of_its_subject(scene: Scene) -> None:
    scene.rules(rule("on_receipt", "red", 'step == "receiving"'), *all_levels())
    scene.happen("receiving")
    scene.happen(lot=LOT[:-1] + "2")  # another subject
    found = {(one["rule"], one["subject"][-1]): one["hidden"] for one in scene.told()}
    red = next(one["warning"] for one in scene.told() if one["rule"] == "on_receipt")
    hidden = {name for name, reason in found.items() if reason is not None}
    scene.happen()
    assert {name for name in hidden if name[1] == "2"} == set()
    scene.handle(red, "file", "close")
    for one in scene.told():
        if one["rule"] != "on_receipt" and one["subject"] == LOT:
            scene.handle(one["warning"], "file", "close")
    before = len(scene.notices())
    scene.happen("receiving", "conformant")  # the red one is raised again, alone
    scene.happen()
    now = {one["rule"]: one for one in scene.told() if one["status"] == "open" and one["subject"] == LOT}
    assert now["as_yellow"]["hidden"] == now["as_blue"]["hidden"] == f"warning {now['on_receipt']['warning']}"
    assert now["as_orange"]["hidden"] is None
    assert len(scene.notices()) == before + 2, "of what is hidden nobody is told"


@pytest.mark.parametrize("given", [{"rule": "failed"}, {"subject": LOT}, {"silence": f"{A}-1"}])
def test_a_silence_hides_until_its_end(scene: Scene, given: Json) -> None:
    scene.rules(rule(), rule("other", by="node"))
    spared = {"rule": "other", "subject": "other", "silence": None}[next(iter(given))]
    scene.file(SILENCE, **{"silence": "000000000-1", "until": time_text(scene.now + HOUR), "cause": "演练"} | given)
    scene.happen()
    assert {one["rule"] for one in scene.told() if one["hidden"] is None} == {spared} - {None}
    assert all(one["hidden"] in (None, f"silence {given.get('silence', '000000000-1')}") for one in scene.told())
    assert scene.notices() == ["warning.raised"] * (spared is not None)
    scene.happen(lot=LOT[:-1] + "2", node=B)
    hidden = [one for one in scene.told() if one["hidden"] is not None and one["body"]["values"]["node"] == B]
    assert bool(hidden) == ("rule" in given), "only what it names"
    scene.wait(HOUR)
    scene.happen(lot=LOT[:-1] + "3")
    assert [one["hidden"] for one in scene.told() if one["subject"][-1] == "3"] == [None]


def test_a_silence_that_is_ended_early_hides_nothing_more(scene: Scene) -> None:
    scene.rules(rule())
    scene.file(SILENCE, silence="000000000-1", rule="failed", until=time_text(scene.now + DAY), cause="演练")
    scene.happen()
    scene.take(SILENCE, "end", "000000000-1")
    scene.happen(lot=LOT[:-1] + "2")
    assert [(one["subject"][-1], one["hidden"] is None) for one in scene.told()] == [("1", False), ("2", True)]
    assert scene.notices() == ["warning.raised"]


def test_what_is_hidden_is_handled_and_goes_up_without_a_word(scene: Scene) -> None:
    scene.rules(rule())
    scene.file(SILENCE, silence="000000000-1", rule="failed", until=time_text(scene.now + HOUR), cause="演练")
    scene.happen()
    scene.happen()
    (one,) = scene.told()
    scene.handle(one["warning"], "file", "assign")
    scene.wait(7 * DAY, 6 * HOUR)
    (one,) = scene.told()
    assert (one["level"], one["status"], one["count"]) == (2, "assigned", 2) and scene.notices() == []


def test_what_people_do_is_told_too(scene: Scene) -> None:
    scene.rules(rule())
    scene.rules(rule("other"))
    scene.take(RULE_SET, "retire", "ours")
    scene.file(HOLD, hold=f"{A}-1", scope="lot", target=LOT)
    scene.take(HOLD, "release", f"{A}-1")
    scene.follow()
    assert scene.rows("SELECT type, warning, revision, node, subject FROM notice ORDER BY number") == [
        ("rules.filed", "ours", 1, CITY, "ours"), ("rules.live", "ours", 2, CITY, "ours"),
        ("rules.retired", "ours", 3, CITY, "ours"), ("hold.filed", f"{A}-1", 1, int(A), LOT),
        ("hold.released", f"{A}-1", 2, int(A), LOT),
    ]  # fmt: skip


def test_a_warning_is_found_by_pairs_of_characters_and_by_words(scene: Scene) -> None:
    """PostgreSQL splits no Chinese: whoever looks for 合格 has to find it."""
    scene.rules(rule())
    scene.happen()
    (one,) = scene.told()
    assert set(words_of("检测不合格 停止销售", "failed at", A, "failed")) <= set(one["words"])
    assert {"检测", "测不", "不合", "合格"} <= set(one["words"]) and "检测不合格" not in one["words"]


def test_an_id_says_what_a_warning_rests_on(scene: Scene, check: Callable[[Json], None]) -> None:
    scene.rules(rule())
    scene.happen()
    (one,) = scene.told()
    check(one)


@pytest.fixture
def check(own: Own) -> Callable[[Json], None]:
    """The oracle of ids: the node, and a hash over rule, fingerprint and place in the log (DESIGN.md 7)."""

    def look(one: Json) -> None:
        node, _, mark = one["warning"].partition("-")
        assert node == A == f"{one['node']:09d}" and len(mark) == 24 and int(mark, 16) >= 0
        (evidence,) = one["body"]["evidence"]
        place, _, seq = evidence.partition("/")
        with own.superuser() as connection:
            found = connection.execute("SELECT data FROM entry WHERE node = %s AND seq = %s", [int(place), int(seq)])
            (data,) = found.fetchone()
        assert decode(bytes(data)).kind is Kind.EVENT

    return look
