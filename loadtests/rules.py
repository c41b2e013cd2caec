"""What the shipped rules find in planted cities, and what they do not: `make bench-rules`.

A city's days pass as if live: every minute a tick, then what happened in it, recorded and integrated; the watcher
follows. Each rule that a plant is meant for is held against all plants of its kind: found are those of which it raised
a warning that rests on one of the plant's events or speaks of its subject; false are warnings of the rule that belong
to no plant. Precision and recall a rule, with the near-misses beside. `python -m loadtests.rules SEED …` takes seeds.
"""

import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import track
from rich.table import Table

from ledger.access import Actor
from ledger.append import Outcome, Request, append
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import CITY, NodeCode
from ledger.database import Database
from ledger.documents import read_document, write_json
from ledger.drafts import draft_once, tick_name
from ledger.embedded import APPLICATION, OWNER, Cluster
from ledger.entries import Kind, decode, time_text
from ledger.errors import LedgerError
from ledger.filing import Line, file_lines
from ledger.gs1 import Key
from ledger.keys import KeyFolder
from ledger.log import Integrator
from ledger.nodes import OPERATOR, first_nodes, places_of
from ledger.registers import REGISTERS
from ledger.registrar import Registrar
from ledger.rights import migrate
from ledger.rules.form import Rule, WindowType, read_rules
from ledger.rulesets import first_rules, shipped
from ledger.vault import Vault
from ledger.watcher import Watcher
from scanners.city import City, Plant, document

Json = dict[str, Any]
FIRST = date(2026, 11, 2)
DAYS, NODES, EVENTS = 2, 40, 12_000
ZONE = ZoneInfo("Asia/Shanghai")
MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Score:
    """What a rule found of what was planted for it."""

    planted: int = 0
    found: int = 0
    false: int = 0
    near_misses: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        told = self.found + self.false
        return self.found / told if told else 1.0


class Simulation:
    """A ledger whose clock is the city's: what it records has the time at which it happens."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        keys = KeyFolder(folder)
        self._connection = database.connect()
        self._following = database.connect()
        self._following.autocommit = True
        self._now = datetime.combine(FIRST, datetime.min.time(), ZONE).astimezone(UTC)
        self._integrator = Integrator(self._following, keys, keys.signer("bench.example/log"))
        self._watching = database.connect()
        self._watching.autocommit = True
        for one in (self._connection, self._following, self._watching):
            one.execute("SET synchronous_commit = off")  # a scratch ledger
        self._connection.commit()
        self.watcher = Watcher(self._watching, ZONE)
        self.registrar = Registrar(Vault(keys), keys.secret(), OPERATOR, FIRST)

    def record(self, requests: list[Request]) -> list[Outcome]:
        """Record at the city's time."""
        return append(self._connection, requests, lambda: self._now)

    def found_city(self, city: City) -> None:
        """The city's registers, and the shipped rules."""
        with self.database.read() as connection:
            _require(self.record(first_nodes(connection)))
        tables = {name.removesuffix(".csv"): rows for name, rows in city.tables().items()}
        for register in (one for one in REGISTERS if one.plural in tables):
            lines = (
                Line(at, {key: value for key, value in row.items() if value})
                for at, row in enumerate(tables[register.plural](), 2)
            )
            for part in file_lines(self.database, self.record, self.registrar, register, lines):
                if part.refused:
                    raise ValueError(str(part.refusals[0]))
        with self.database.read() as connection:
            _require(self.record(first_rules(connection, self.registrar)))
            self._places = places_of(connection, OPERATOR)

    def live(self, events: Iterable[Json], until: datetime) -> None:
        """Let the events happen, minute by minute, until the end."""
        for minute, some in _minutes(events, until):
            self._now = minute
            body = {"tick": {"minute": time_text(minute), "checkpoint": {"size": self._integrator.published}}}
            tick = draft_once(CITY, Kind.TICK, body, tick_name(time_text(minute)), secrets.token_bytes)
            self.record([Request([tick], "worker")])
            self._now = minute + MINUTE - timedelta(milliseconds=1)
            if some:  # ticks alone can wait: they come before the events in the log in any case
                _require(self.record(self._requests(some, OPERATOR, self._places)))
                self.follow()
        self.follow()

    def follow(self) -> None:
        """Integrate and watch all that is recorded."""
        while self._integrator.step():
            pass
        while self.watcher.step():
            pass

    @staticmethod
    def _requests(events: list[Json], actor: Actor, places: Mapping[Key, NodeCode]) -> list[Request]:
        read = read_document(write_json(document(events, datetime.now(UTC))))
        return requests_of(read, actor, places, ErrorBehaviour.PROCEED, b"bench")

    def warnings(self) -> list[tuple[str, str, list[str], datetime]]:
        """Rule, subject, evidence as event ids, and when it happened, of every warning."""
        with self.database.read() as reading:
            rows = reading.exec_driver_sql("SELECT rule, subject, body FROM warning ORDER BY raised_at, warning").all()
            names = sorted({place for _, _, body in rows for place in body["evidence"]})
            places = [(int(node), int(seq)) for node, _, seq in (name.partition("/") for name in names)]
            found = reading.exec_driver_sql(
                "SELECT e.node, e.seq, e.data FROM entry e JOIN unnest(%s::int[], %s::bigint[]) AS p(node, seq)"
                " USING (node, seq)", ([node for node, _ in places], [seq for _, seq in places]),
            ).all()  # fmt: skip
        ids = {}
        for node, seq, data in found:
            body = decode(bytes(data)).body
            ids[f"{node:09d}/{seq}"] = body.get("event", {}).get("eventID", "")
        return [
            (rule, subject, [ids[place] for place in body["evidence"]], datetime.fromisoformat(body["happenedAt"]))
            for rule, subject, body in rows
        ]  # fmt: skip

    def close(self) -> None:
        """Let go of its connections."""
        for connection in (self._connection, self._following, self._watching):
            connection.close()


def _minutes(events: Iterable[Json], until: datetime) -> Iterator[tuple[datetime, list[Json]]]:
    """Every minute of the city, with the events that come in it: what comes late keeps its own time."""
    now = datetime.combine(FIRST, datetime.min.time(), ZONE).astimezone(UTC)
    latest = now

    def minute(event: Json) -> datetime:
        nonlocal latest
        latest = max(latest, datetime.fromisoformat(str(event["eventTime"])).astimezone(UTC))
        return latest.replace(second=0, microsecond=0)

    for at, some in groupby(events, minute):
        while now < at:
            yield now, []
            now += MINUTE
        if at >= until:
            return
        yield at, list(some)
        now = at + MINUTE
    while now < until:
        yield now, []
        now += MINUTE


def _require(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, LedgerError):
            raise outcome


def horizon(rule: Rule, until: datetime) -> datetime:
    """Before this a rule's plants can be judged: what comes later may still be waited for at the end.

    What repeats itself (a sensor) ends with the city's last day, a day before `until`, and is silent from then on.
    """
    window, wait = rule.window, rule.lasting or timedelta(0)
    if window is not None and window.type is WindowType.ABSENCE:
        wait += window.lateness + window.within
        if window.conditions[0].source == rule.when.source:
            wait += timedelta(days=1)
    return until - wait


def score(
    plants: list[Plant], warnings: list[tuple[str, str, list[str], datetime]], until: datetime
) -> dict[str, Score]:  # fmt: skip
    """Each rule that has plants, by its id."""
    rules = {rule.id: rule for text in shipped().values() for rule in read_rules(text)}
    scores: dict[str, Score] = {}
    for kind in sorted({plant.kind for plant in plants}):
        rule, one = rules[kind], scores.setdefault(kind, Score())
        end = horizon(rule, until)
        told = [warning for warning in warnings if warning[0] == kind and warning[3] <= end]
        hit: set[int] = set()
        for plant in (plant for plant in plants if plant.kind == kind):
            if datetime.fromisoformat(plant.at).astimezone(UTC) > end:
                continue
            mine = [n for n, warning in enumerate(told) if _is_of(warning, plant)]
            if not plant.anomaly:
                one.near_misses += 1
                one.wrong += [f"near-miss {plant.subject}: {told[n][1]}" for n in mine]
                continue
            one.planted += 1
            one.found += bool(mine)
            one.missed += [] if mine else [f"{plant.subject} at {plant.at}"]
            hit |= set(mine)
        strays = [warning for n, warning in enumerate(told) if n not in hit]
        one.false = len(strays)
        one.wrong += [f"{warning[1]} at {warning[3]}" for warning in strays]
    return scores


def _is_of(warning: tuple[str, str, list[str], datetime], plant: Plant) -> bool:
    return bool(set(warning[2]) & set(plant.events))


@contextmanager
def simulation() -> Iterator[Simulation]:
    """A scratch ledger."""
    with tempfile.TemporaryDirectory(prefix="suyuan-rules-") as name:
        Path(name).chmod(0o711)
        cluster = Cluster(Path(name) / "data")
        with cluster.lease():
            database = Database(cluster.url(APPLICATION), cluster.url(OWNER))
            migrate(database)
            one = Simulation(database, Path(name) / "keys")
            try:
                yield one
            finally:
                one.close()
                database.close()
        cluster.stopped()


def run(
    one: Simulation, seed: int, *, days: int = DAYS, nodes: int = NODES, events: int = EVENTS, plant_every: int = 4
) -> dict[str, Score]:  # fmt: skip
    """A city from this seed, lived through; what each rule found."""
    city = City(seed, FIRST, nodes=nodes, events=events, days=days, plant_every=plant_every)
    one.found_city(city)
    plants: list[Plant] = []
    until = datetime.combine(FIRST + timedelta(days=days + 1), datetime.min.time(), ZONE).astimezone(UTC)
    one.live(city.events(plants.append), until)
    return score(plants, one.warnings(), until)


def main(seeds: list[int]) -> int:
    """Print precision and recall a rule; 1 if any is not 1.0."""
    console = Console()
    total: dict[str, Score] = {}
    for seed in track(seeds, "cities", console=console, transient=True):
        with simulation() as one:
            for kind, found in run(one, seed).items():
                into = total.setdefault(kind, Score())
                for name in ("planted", "found", "false", "near_misses"):
                    setattr(into, name, getattr(into, name) + getattr(found, name))
                into.missed += [f"seed {seed}: {text}" for text in found.missed]
                into.wrong += [f"seed {seed}: {text}" for text in found.wrong]
    table = Table("rule", "planted", "found", "near-misses", "false", "precision", "recall", title=f"seeds {seeds}")
    for kind, one_ in sorted(total.items()):
        table.add_row(kind, *map(str, (one_.planted, one_.found, one_.near_misses, one_.false)),
                      f"{one_.precision:.3f}", f"{one_.recall:.3f}")  # fmt: skip
    console.print(table)
    for kind, one_ in sorted(total.items()):
        for text in (*(f"missed {text}" for text in one_.missed[:5]), *(f"false {text}" for text in one_.wrong[:5])):
            console.print(f"{kind}: {text}")
    return int(any(one_.precision < 1 or one_.recall < 1 for one_ in total.values()))


if __name__ == "__main__":
    sys.exit(main([int(seed) for seed in sys.argv[1:]] or [secrets.randbelow(10**6) for _ in range(3)]))
