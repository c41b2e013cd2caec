"""A ledger with a past: a city's weeks, recorded at the times at which they happened, for benches that read.

A city's events since the first of last month, with what is wrong in them; checks at the gates of some markets with the
certificates that they use, and commands for packs that were refused; ticks, a signed log, the shipped rules and what
they warn of; recalls; credentials; and one lot that became 1,800 slips. All goes through `append`, whose clock is the
city's, on a database of its own; one process drafts while this one records and signs, a third watches. The nodes and
the days are the same however many events there are.
"""

import json
import multiprocessing
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import psycopg

from ledger.access import Role
from ledger.append import Outcome, Request, append
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import CITY, NODE_URN, PARTY_URN, TRACE_URN, NodeCode, key_of_code
from ledger.credentials import issue
from ledger.database import Database, open_database
from ledger.documents import read_document, write_json
from ledger.drafts import draft_once, draft_refusal, tick_name
from ledger.embedded import OWNER, Cluster
from ledger.entries import Kind, time_text
from ledger.errors import LedgerError
from ledger.filing import Line, file_lines, file_one
from ledger.gs1 import Key
from ledger.keys import KeyFolder
from ledger.log import Integrator
from ledger.lookout import looking_out
from ledger.market_access.checks import check_request, read_known
from ledger.market_access.decision import Assay, Check, Goods, Paper, decide
from ledger.nodes import OPERATOR, first_nodes, places_of
from ledger.registers import RECALL, REGISTERS
from ledger.registers.supervision import VoucherKind
from ledger.registrar import Registrar
from ledger.rights import migrate
from ledger.rulesets import first_rules
from ledger.settings import Settings
from ledger.vault import Vault
from scanners.city import OFFSET, City, document

Json = dict[str, Any]
SEED, NODES, SLOT, SIGN_EVERY = 1, 300, timedelta(minutes=15), 24
TICK_LEAST = timedelta(minutes=3)
"""Longer, and rules take it that the ledger was away."""
TICKS_SHARE, DAY_S = 25, 86_400
GATE_EVERY, REFUSAL_EVERY = 15, 20
"""One of so many markets checks all that comes; of one in so many packs that are dispensed a second sale is refused."""
PORK, SUBLOTS, SLIPS = "06901234500202", 200, 9
AHEAD = 20
_ROLES = {"regulator": Role.REGULATOR, "admin": Role.ADMIN, "market": Role.MARKET, "pharmacy": Role.PHARMACY}


@dataclass(frozen=True, slots=True)
class Slot:
    """A quarter of an hour: what was captured in it, and of what packs and lots somebody tells besides."""

    at: datetime
    requests: list[Request]
    packs: list[tuple[int, str]]
    """Node and code of packs that are dispensed."""
    lots: list[tuple[int, str, str, str]]
    """Node, lot, taker and giver of goods that came."""


@dataclass(frozen=True, slots=True)
class Known:
    """What pages and reports are asked for: codes, and the API keys of four roles."""

    entries: int
    until: str
    month: str
    codes: dict[str, str]
    keys: dict[str, str]


def city_of(events: int, until: datetime) -> City:
    """The city whose last day is that of `until`, and its first that of last month."""
    today = until.astimezone(OFFSET).date()
    first = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    return City(SEED, first, nodes=NODES, events=events, days=(today - first).days + 1)


def _slots(events: Iterator[Json], until: datetime) -> Iterator[tuple[datetime, list[Json]]]:
    """The events until then by the end of the quarter in which they come; what comes late keeps its own time."""
    latest = datetime.min.replace(tzinfo=UTC)

    def end(event: Json) -> datetime:
        nonlocal latest
        latest = max(latest, datetime.fromisoformat(str(event["eventTime"])).astimezone(UTC))
        begin = latest.replace(minute=latest.minute // 15 * 15, second=0, microsecond=0)
        return min(begin + SLOT - timedelta(milliseconds=1), until)

    for at, some in groupby(events, end):
        found = list(some)
        if latest >= until:
            return
        yield at, found


def _draft(events: int, until: datetime, known: Mapping[Key, NodeCode], out: "Queue[Slot | None]") -> None:
    """A process that drafts the city's slots, in order."""
    city = city_of(events, until)
    markets = [row["node"] for row in city.nodes() if row["kind"] in ("market", "wholesale_market", "supermarket")]
    gates, dispensed = {*markets[::GATE_EVERY]}, 0
    for at, some in _slots(city.events(), until):
        read = read_document(write_json(document(some, at)))
        slot = Slot(at, requests_of(read, OPERATOR, known, ErrorBehaviour.PROCEED, b"bench"), [], [])
        for event in some:
            node = str(event["readPoint"]["id"]).removeprefix(NODE_URN)
            if event["bizStep"] == "dispensing":
                dispensed += 1
                if dispensed % REFUSAL_EVERY == 0:
                    slot.packs.append((int(node), str(event["epcList"][0])))
            if event["bizStep"] == "receiving" and node in gates and event.get("destinationList"):
                taker, giver = event["destinationList"][0]["destination"], event["sourceList"][0]["source"]
                lot = event["quantityList"][0]["epcClass"]
                slot.lots.append((int(node), lot, taker.removeprefix(PARTY_URN), giver.removeprefix(PARTY_URN)))
        out.put(slot)
    out.put(None)


class Past:
    """Records at the city's time."""

    def __init__(self, database: Database, settings: Settings, events: int, until: datetime) -> None:
        self.database, self.until, self.city = database, until, city_of(events, until)
        keys = KeyFolder(settings.keys)
        signer = keys.signer(settings.origin)
        self.vault = Vault(keys)
        self.now = datetime.combine(self.city.first, datetime.min.time(), OFFSET).astimezone(UTC)
        self.registrar = Registrar(self.vault, keys.secret(), OPERATOR, self.city.first)
        self._connection, following = database.connect(), database.connect()
        following.autocommit = True
        for one in (self._connection, following):
            one.execute("SET synchronous_commit = off")  # a scratch ledger
        self._connection.commit()
        self.integrator = Integrator(following, keys, signer)
        self._closing = (self._connection, following)
        self._ticked = self.now
        span_s = self.city.days * DAY_S
        self._tick_every = max(TICK_LEAST, timedelta(seconds=span_s / (events / TICKS_SHARE)))
        self._kinds = {int(row["node"]): row["kind"] for row in self.city.nodes()}
        self._goods = {row["gtin"]: row["goods"] for row in self.city.products() if row["goods"]}
        self._papers = 0

    def close(self) -> None:
        """Let go of its connections."""
        for one in self._closing:
            one.close()

    def record(self, requests: Sequence[Request]) -> list[Outcome]:
        """Record at the city's time; what is refused is told by its outcome."""
        return append(self._connection, requests, lambda: self.now)

    def require(self, requests: Sequence[Request]) -> None:
        """Record all of it."""
        for outcome in self.record(requests):
            if isinstance(outcome, LedgerError):
                raise outcome

    def found(self) -> None:
        """The city's registers, and the shipped rules."""
        with self.database.read() as reading:
            self.require(first_nodes(reading))
        tables = {name.removesuffix(".csv"): rows for name, rows in self.city.tables().items()}
        for register in (one for one in REGISTERS if one.plural in tables):
            rows = ({key: value for key, value in row.items() if value} for row in tables[register.plural]())
            lines = (Line(number, row) for number, row in enumerate(rows, 2))
            for part in file_lines(self.database, self.record, self.registrar, register, lines):
                if part.refused:
                    raise ValueError(str(part.refusals[0]))
        with self.database.read() as reading:
            self.require(first_rules(reading, self.registrar))

    def sign(self) -> None:
        """Take all that is recorded into the log."""
        while self.integrator.step():
            pass

    def live(self, slot: Slot) -> None:
        """Record what happened in a quarter of an hour, after the ticks that lie before it."""
        while self._ticked + self._tick_every <= slot.at:
            self._ticked = self.now = self._ticked + self._tick_every
            minute = time_text(self.now.replace(second=0, microsecond=0))
            body = {"tick": {"minute": minute, "checkpoint": {"size": self.integrator.published}}}
            tick = draft_once(CITY, Kind.TICK, body, tick_name(minute), secrets.token_bytes)
            self.record([Request([tick], "worker")])
        self.now = slot.at
        for node, lot, taker, giver in slot.lots:
            self._check(node, lot, taker, giver)
        self.record(slot.requests)
        self.record([self._refusal(node, code) for node, code in slot.packs])

    def _refusal(self, node: int, code: str) -> Request:
        """Somebody tries to sell a pack again."""
        packs = [{"code": key_of_code(code), "reasons": ["already_here"], "alert": False, "soft": 1, "standing": None}]
        said = {"command": "supply", "mode": "online", "order": f"urn:uuid:{uuid.uuid4()}"}
        made = draft_refusal(node, str(uuid.uuid4()), packs, said, self.now, secrets.token_bytes)
        return Request([made], OPERATOR.name)

    def _check(self, node: int, lot: str, taker: str, giver: str) -> None:
        """Goods at the gate, with a certificate of their own and a rapid test."""
        self._papers += 1
        gtin = lot.partition("/01/")[2][:14]
        if gtin not in self._goods:
            return
        today = self.now.astimezone(OFFSET).date()
        paper = Paper(VoucherKind.ORIGIN, f"339926{self._papers:09d}", None, today, None, Decimal(500), "KGM")
        test = Assay(True, "61" if self._papers % 40 == 0 else "12.5", self.now)
        goods = Goods(key_of_code(lot), self._goods[gtin], Decimal(120), "KGM", "339901")
        check = Check(str(uuid.uuid4()), node, taker, self.now, [goods], [paper], [test], None, giver)
        with self.database.read() as reading:
            known = read_known(reading, self.vault, check, self._kinds[node], self.now, today)
        self.record([check_request(check, {"check": check.check}, decide(check, known.standing), known, OPERATOR)])

    def finish(self) -> tuple[dict[str, str], dict[str, str]]:
        """The large lot, recalls and credentials: the codes to ask for, and the keys."""
        self.now = max(self.now, self.until)
        slaughter, market, pharmacy = (
            next(node for node, kind in self._kinds.items() if kind == wanted)
            for wanted in ("slaughterhouse", "market", "pharmacy")
        )
        lot = f"https://id.gs1.org/01/{PORK}/10/BENCH"
        markets = [node for node, kind in self._kinds.items() if kind == "market"]
        with self.database.read() as reading:
            known = places_of(reading, OPERATOR)
        read = read_document(write_json(document(list(_widely(lot, slaughter, markets, self.now)), self.now)))
        self.require(requests_of(read, OPERATOR, known, ErrorBehaviour.ROLLBACK, b"bench"))
        drugs = [row["product"] for row in self.city.products() if row["kind"] == "drug"]
        for number, drug in enumerate(drugs, 1):  # of the first the whole product, everywhere
            given = {"recall": f"ZH-2026-{number:04d}", "product": drug, "grade": "2", "origin": "ordered",
                     "nature": "real", "range": "city", "regime": "cn_drug", "decided_at": self.now.isoformat(),
                     **({"batches": "NONE"} if number > 1 else {})}  # fmt: skip
            with self.database.read() as reading:
                self.require([file_one(reading, self.registrar, RECALL, given, None)[0]])
        keys: dict[str, str] = {}
        for name, role in _ROLES.items():
            nodes = {"market": [f"{market:09d}"], "pharmacy": [f"{pharmacy:09d}"]}.get(name, [])
            with self.database.read() as reading:
                request, _, keys[name] = issue(reading, role, "bench", nodes, 7, OPERATOR.name, self.now)
            self.require([request])
        self.sign()
        return {"large": lot, "slip": self.city.slips[0], "recall": "ZH-2026-0001"}, keys


def _widely(lot: str, slaughter: int, markets: Sequence[int], now: datetime) -> Iterator[Json]:
    """A lot that becomes `SUBLOTS` lots in all markets, and each of them `SLIPS` sales: 2,001 events and items."""
    gtin, _, batch = lot.partition("/01/")[2].partition("/10/")
    at = now - timedelta(hours=2)

    def told(kind: str, step: str, node: int, minutes: float, **more: Any) -> Json:
        moment = (at + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")
        return {"type": kind, "eventID": f"urn:uuid:{uuid.uuid4()}", "eventTime": moment,
                "eventTimeZoneOffset": "+08:00", "bizStep": step, "readPoint": {"id": f"{NODE_URN}{node:09d}"},
                **more}  # fmt: skip

    def much(name: str, quantity: str) -> list[Json]:
        return [{"epcClass": name, "quantity": Decimal(quantity), "uom": "KGM"}]

    yield told("ObjectEvent", "commissioning", slaughter, 0, action="ADD", quantityList=much(lot, f"{SUBLOTS * SLIPS}"))
    for number in range(SUBLOTS):
        node, part = markets[number % len(markets)], f"https://id.gs1.org/01/{gtin}/10/{batch}-{number}"
        yield told("TransformationEvent", "commissioning", node, 5, inputQuantityList=much(lot, f"{SLIPS}"),
                   outputQuantityList=much(part, f"{SLIPS}"))  # fmt: skip
        for slip in range(SLIPS):
            code = f"{TRACE_URN}{node:09d}9999{9_000_000 + number * SLIPS + slip:07d}"
            yield told("TransformationEvent", "retail_selling", node, 10 + slip, inputQuantityList=much(part, "1"),
                       outputQuantityList=much(code, "1"))  # fmt: skip


def _watched(database: Database) -> tuple[int, int]:
    """Entries that there are, and those that were watched."""
    with database.read() as reading:
        entries, watched = reading.exec_driver_sql(
            "SELECT (SELECT sum(seq) FROM head)::bigint, (SELECT coalesce(max(position), 0) FROM follower"
            " WHERE name = 'watcher')"
        ).one()
    return int(entries), int(watched)


def make_past(settings: Settings, events: int, until: datetime, told: Callable[[str], None]) -> Known:
    """Make the ledger, watched to its end; `told` hears how far it is."""
    with open_database(settings) as database:
        migrate(database)
        past = Past(database, settings, events, until)
        try:
            past.found()
            with database.read() as reading:
                known = places_of(reading, OPERATOR)
            context = multiprocessing.get_context("spawn")
            slots: Queue[Slot | None] = context.Queue(AHEAD)
            drafting = context.Process(target=_draft, args=(events, until, known, slots), daemon=True)
            with looking_out(database, settings):
                drafting.start()
                for number, slot in enumerate(iter(slots.get, None)):
                    past.live(slot)
                    if number % SIGN_EVERY == 0:
                        past.sign()
                        told(f"recorded until {past.now:%m-%d %H:%M}, {past.integrator.published:,} entries")
                drafting.join()
                past.city.slips = _first_slips(past.city)
                codes, keys = past.finish()
                while (where := _watched(database))[1] < where[0]:
                    told(f"watched {where[1]:,} of {where[0]:,} entries")
                    time.sleep(0.5)
            codes |= _codes(database)
        finally:
            past.close()
        with psycopg.connect(Cluster(settings.data).url(OWNER), autocommit=True) as owner:
            owner.execute("VACUUM ANALYZE")  # as autovacuum does in time
        return Known(where[0], until.isoformat(), f"{until:%Y-%m}", codes, keys)


def _first_slips(city: City) -> list[str]:
    """Codes of the city's first slips of meat: it has them once it has told enough."""
    for _ in city.events():
        if city.slips:
            return city.slips
    raise ValueError("the city sold no meat")


def _codes(database: Database) -> dict[str, str]:
    """A pack that was dispensed, a lot that came to a market, and a warning, as the ledger has them."""
    questions = {
        "pack": "SELECT code FROM pack WHERE code LIKE 'urn:suyuan:drug:%%' ORDER BY since LIMIT 1",
        "warning": "SELECT warning FROM warning WHERE hidden IS NULL ORDER BY raised_at DESC LIMIT 1",
        "lot": "SELECT item FROM item_entry WHERE item LIKE '01/%%/10/P%%' ORDER BY event_time LIMIT 1",
    }
    with database.read() as reading:
        return {name: str(reading.exec_driver_sql(question).scalar_one()) for name, question in questions.items()}


def kept_past(folder: Path, events: int, told: Callable[[str], None]) -> tuple[Settings, Known]:
    """The ledger of so many events in this folder, made if it is not there yet, with the settings that serve it.

    They serve it in a time zone in which the day is nearly over now, so that today's board has a whole day to tell of.
    """
    now, environment = datetime.now(UTC), {"SUYUAN_DATA": str(folder / "data")}
    note = folder / "known.json"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        made = make_past(Settings.from_environment(environment), events, now, told)
        note.write_text(json.dumps({name: getattr(made, name) for name in Known.__slots__}, ensure_ascii=False))
    hours = 23 - now.hour if now.hour > 11 else -1 - now.hour
    environment["SUYUAN_TIME_ZONE"] = f"Etc/GMT{-hours:+d}"
    return Settings.from_environment(environment), Known(**json.loads(note.read_text()))
