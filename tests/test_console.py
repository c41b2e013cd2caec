"""The registers, entries, search and log of the console, on one city that the whole file looks at.

The city has a record in every register, two markets that must not see each other,
     a chain over two of the city's days,
hundreds of certificates and parties from sheets, slips, packs, papers, warnings. It is served over real HTTP; people
come with Chromium. At the end of the file all of it is audited.
"""

import csv
import hashlib
import io
import itertools
import json
import logging
import os
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import psycopg
import pytest
import uvicorn
from openpyxl import load_workbook
from playwright.sync_api import Page, expect

from api.app import create_app
from api.console import entries as entries_module
from api.console.registers import COLUMNS, ROWS
from api.console.texts import TEXTS
from api.ledger import Ledger, ledger_on, now
from ledger import reads
from ledger.access import ALLOWED, Actor, Role
from ledger.codes import IMPORT, parse_node
from ledger.database import Database
from ledger.embedded import APPLICATION, OWNER, SUPERUSER, Cluster
from ledger.entries import Kind
from ledger.erase import erase
from ledger.errors import LedgerError
from ledger.finding import TEXT_MAX
from ledger.keys import KeyFolder
from ledger.lanes import Lanes
from ledger.nodes import first_nodes
from ledger.publishing import OWN as PUBLISHER
from ledger.registers import (
    CERTIFICATE,
    DIFFERENCE,
    DRUG_MARKET,
    HANDLING,
    HOLD,
    LICENCE,
    PARTY,
    PUBLISHED_REPORT,
    RECALL,
    RECALL_ANSWER,
    REGION,
    REGISTERS,
    REPORT_SCHEDULE,
    RULE_SET,
    SILENCE,
    SUBSCRIPTION,
    Register,
)
from ledger.registers import NODE as NODES
from ledger.registers.goods import GOODS, YIELD
from ledger.registry import SKIP_MAX
from ledger.settings import Settings
from ledger.tables import metadata
from tests.browser import DESK, WIDTHS, Visitor, Visitors, browser, visitors
from tests.conftest import check_ledger, sign
from tests.test_access import FAR_MARKER, LOT, MARKER, secret_event
from tests.test_http import NODE, OTHER, Server, capture, problem_of, serving
from tests.test_packs import CORNER, HIGH_STREET, PLANT, City
from tests.test_registry import FIRM, filed
from tests.test_scans import ABATTOIR, FARM, KINDS, MARKET, STALL, opened, scan
from tests.test_sessions import HTML
from tests.test_warnings import DAY, PORK, RULES, Watched, event, lot

__all__ = ["browser", "visitors"]

Json = dict[str, Any]
PAGED, EDGE, LONG, QUIET, FORGOTTEN = (f"33021200{digit}" for digit in "35678")
"""Nodes: of many parties, of a chain over two days, of a chain of many entries, of none, of one that is erased."""
MANY = 250
STALLED, FAR, BOTH = f"{NODE}0001", f"{OTHER}0001", f"{OTHER}0002"
"""Parties: of the one market, of the other, and one of the other that acts at both."""
PERSON, OTHER_PERSON = "110105198001010016", "330212197511123331"
NUMBER, FAR_NUMBER = "JY13302120007771", "JY13302120007772"
MINE: Json = {
    "party": STALLED, "kinds": "retailer farm", "legal_name": "湖畔老孟蔬菜摊", "identity_number": PERSON,
    "phone": "18811110001", "contact": "钱二十", "address": "杨柳湾 1 号", "position": "Q-77",
}  # fmt: skip
THEIRS: Json = {
    "party": FAR, "kinds": "retailer", "legal_name": "远方小赵鲜果摊", "identity_number": OTHER_PERSON,
    "phone": "18811110002", "contact": "孙十九", "address": "杜撰巷 2 号",
}  # fmt: skip
PRIVATE = ["老孟蔬菜", "小赵鲜果", PERSON, OTHER_PERSON, "1881111000", "杨柳湾", "杜撰巷", "Q-77", "钱二十", "孙十九",
           NUMBER, FAR_NUMBER, "散装干果", "樟木某局", "hook.example"]  # fmt: skip
"""What stands in records and on no page, but for a purpose."""
ANIMAL = "animal:330212000117"
PACK = "81234560000000010001"
INSPECTOR = Actor("inspector", Role.REGULATOR, frozenset(), IMPORT)
WARNING = f"{NODE}-{'0a' * 12}"


# --- the city ---------------------------------------------------------------------------------------


@dataclass
class Clock:
    """The clock of what is recorded: it can stand at a moment."""

    at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or now()


@dataclass
class Whole:
    """The city, who looks at it, and codes of what is in it."""

    server: Server
    admin: httpx.Client
    regulator: httpx.Client
    market: httpx.Client
    """Bound to `NODE`."""
    terminal: httpx.Client
    watched: Watched
    keys: dict[Role, str] = field(default_factory=dict)
    city: City = field(init=False)
    slip: str = ""
    licence: str = ""
    pigs: str = ""

    def json(self, path: str, client: httpx.Client | None = None) -> Any:
        answer = (client or self.regulator).get(path, headers={"Accept": "application/json"})
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def records(self, register: Register) -> list[Json]:
        """All records of a register, as whoever sees everything has them masked."""
        return list(self.json(f"/registry/{register.plural}?limit=1000"))

    def see(self, path: str, client: httpx.Client | None = None, status: int = 200) -> "Seen":
        answer = (client or self.regulator).get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text[-1500:])
        assert answer.headers["content-type"].startswith("text/html"), path
        return Seen(answer.text)

    def ask(self, client: httpx.Client, path: str) -> httpx.Response:
        answer = client.get(path)
        assert answer.status_code in (200, 403, 404), (path, answer.status_code, answer.text[-800:])
        return answer

    def heads(self) -> dict[str, int]:
        """How long each chain is."""
        with self.server.ledger.database.connect() as connection:
            rows = connection.execute("SELECT node, max(seq) FROM entry GROUP BY node").fetchall()
        return {f"{node:09}": seq for node, seq in rows}

    def readings(self) -> list[list[str]]:
        """What the work log says of who looked, the latest first."""
        return self.see("/console/log?kind=reading").body

    def search(self, text: str, client: httpx.Client | None = None, **more: Any) -> list[Json]:
        answer = (client or self.regulator).post("/search", json={"text": text, **more})
        assert answer.status_code == 200, (text, answer.text)
        return list(answer.json()["found"])

    def found(self, text: str, client: httpx.Client | None = None, **more: Any) -> set[tuple[str, str]]:
        return {(one["kind"], one["code"]) for one in self.search(text, client, **more)}


@contextmanager
def own_ledger(cluster: Cluster, settings: Settings, clock: Clock) -> Iterator[Ledger]:
    """A ledger on a database of the file's own; audited at the end."""
    name = f"test_console_{os.getpid()}"
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE suyuan OWNER {OWNER}")
    database = Database(cluster.url(APPLICATION, name), cluster.url(OWNER, name), cluster.ensure_running)
    keys = KeyFolder(settings.keys)
    lanes = Lanes(database, settings.lanes, clock)
    try:
        with database.read() as connection:
            missing = first_nodes(connection)
        for outcome in lanes.record(missing):
            assert not isinstance(outcome, LedgerError), outcome
        with ledger_on(settings, database, lanes, keys, keys.signer(settings.origin)) as found:
            yield found
        lanes.close()
        check_ledger(found)
    finally:
        database.close()
        with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def whole(cluster: Cluster, scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    keys = tmp_path_factory.mktemp("console") / "keys"
    settings = Settings.from_environment({"SUYUAN_DATA": str(scratch / "data"), "SUYUAN_KEYS": str(keys)})
    clock = Clock(datetime(2026, 11, 20, 10, tzinfo=UTC))
    with own_ledger(cluster, settings, clock) as ledger, serving(ledger) as server:
        _nodes(ledger)
        roles = {Role.ADMIN: (), Role.REGULATOR: (), Role.MARKET: (NODE,), Role.TERMINAL: (NODE,)}
        clients = {role: server.client(role, *nodes) for role, nodes in roles.items()}
        for client in clients.values():
            client.headers.update(HTML)
        admin, regulator, market, terminal = clients.values()
        found = Whole(server, admin, regulator, market, terminal, Watched(server, server.client()))
        found.keys = {role: one.headers["authorization"].removeprefix("Bearer ") for role, one in clients.items()}
        _two_days(found, clock)
        _chains(found)
        _registers(found)
        _warnings(found)
        found.licence = next(code_of(LICENCE, one) for one in found.records(LICENCE) if one["party"] == STALLED)
        sign(ledger)
        yield found


@pytest.fixture(scope="module")
def server(whole: Whole) -> Server:
    """What `visitors` visit."""
    return whole.server


def _nodes(ledger: Ledger) -> None:
    names = {
        NODE: "城东农贸市场",
        OTHER: "河西批发市场",
        PAGED: "大市场",
        EDGE: "夜市",
        LONG: "早市",
        QUIET: "空市场",
        FORGOTTEN: "旧市场",
    }
    kinds = {**dict.fromkeys(names, "market"), **KINDS}
    filed(ledger, NODES, [
        {"node": node, "name": names.get(node, kind), "trace_scheme": "A", "kind": kind} for node,
             kind in kinds.items()
    ])  # fmt: skip


MIDNIGHT = datetime(2026, 11, 20, 16, tzinfo=UTC)
"""Where the 21st begins in Shanghai."""
TICK = timedelta(microseconds=1)
EDGES = [MIDNIGHT - TICK, MIDNIGHT, MIDNIGHT + timedelta(days=1) - TICK, MIDNIGHT + timedelta(days=1)]


def _two_days(found: Whole, clock: Clock) -> None:
    """Four entries, one on each side of both ends of the 21st."""
    for number, moment in enumerate(EDGES, 1):
        clock.at = moment
        one = event(f"edge-{number}", EDGE, lot(50 + number), sold=number % 2 == 0, eventTime="2026-11-20T00:00:00Z")
        assert capture(found.admin, [one]).json()["success"]
    clock.at = None


def _chains(found: Whole) -> None:
    """From the pig to the slip, and packs."""
    admin = found.watched.admin
    found.pigs = scan(admin, FARM, "origin_harvest", goods="pig", quantity="10", unit="H87")["made"]["lot"]
    kind, _, number = ANIMAL.partition(":")
    scan(admin, FARM, "origin_out", lot=found.pigs, quantity="10", unit="H87", counterparty=f"{ABATTOIR}0000",
         vouchers=[{"kind": kind, "number": number}])  # fmt: skip
    pork = opened(admin, MARKET, "20", STALL)
    sold = scan(admin, MARKET, "retail_sale", party=STALL, lot=pork, quantity="1.25")
    found.slip = str(sold["trace"])
    city = found.city = City(found.server)
    assert city.give(PLANT, "commission", PACK, batch="B2026", expires="2028-06-30").status_code == 201
    assert city.give(CORNER, "supply", PACK).status_code == 201
    many = [event(f"long-{number:03}", LONG, lot(1000 + number)) for number in range(130)]
    assert capture(admin, many).json()["success"]
    secrets = [secret_event(node, f"urn:x:sealed-{node}", f"{LOT}-{node}") for node in (NODE, OTHER)]
    assert capture(admin, secrets).json()["success"]


def _registers(found: Whole) -> None:
    ledger, today = found.server.ledger, found.server.ledger.today()
    soon = (today + timedelta(days=20)).isoformat()
    filed(ledger, REGION, [
        {"region": "330213", "name": "新樟木区", "since": "2021-04-09"},
        {"region": "330212", "name": "樟木区", "since": "2016-01-01", "until": "2021-04-08", "successor": "330213"},
    ])  # fmt: skip
    filed(ledger, GOODS, [
        {"goods": PORK, "name": "猪肉", "english": "pork", "kind": "meat", "unit": "KGM", "storage_min_c": "-18"},
        {"goods": "pig", "name": "生猪", "english": "pig", "kind": "live_animal", "unit": "H87"},
        {"goods": "01211", "name": "大白菜", "english": "Chinese cabbage", "kind": "vegetable", "unit": "KGM"},
    ])  # fmt: skip
    filed(ledger, YIELD, [
        {"source": "pig", "goods": PORK, "least": "70", "most": "90"},
        {"source": "01211", "goods": "01211", "least": "0.5", "most": "1"},
    ])  # fmt: skip
    filed(ledger, PARTY, [
        MINE, THEIRS,
        {"party": BOTH, "kinds": "wholesaler", "legal_name": "虚构李氏食品有限公司", "credit_code": FIRM,
         "nodes": f"{NODE} {OTHER}"},
    ])  # fmt: skip
    filed(ledger, PARTY, [
        {"party": f"{QUIET}{number:04}", "kinds": "retailer", "legal_name": f"虚构第{number}号店", "credit_code": FIRM}
        for number in range(1, 23)
    ])  # fmt: skip
    filed(ledger, LICENCE, [
        {"party": STALLED, "number": NUMBER, "kind": "food_operation", "valid_from": "2026-01-01", "valid_to": soon,
         "scope": "散装干果", "issuer": "樟木某局"},
        {"party": FAR, "number": FAR_NUMBER, "kind": "other", "valid_from": "2026-01-01"},
    ])  # fmt: skip
    filed(ledger, RECALL, [{
        "recall": "ZH-2026-0001", "product": "8123456", "batches": ["B9"], "grade": "1", "origin": "ordered",
        "nature": "exercise", "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    }])  # fmt: skip
    filed(ledger, DRUG_MARKET, [{"market": "drugs", "rules": "china"}])
    filed(ledger, DIFFERENCE, [
        {"number": f"{node}-0d3c5a52-1", "kind": "overage", "shipment": "urn:x:1", "product": "8123456",
         "quantity": "1", "codes": "urn:x:2 urn:x:3", "request": "return"} for node in (NODE, OTHER)
    ], INSPECTOR)  # fmt: skip
    filed(ledger, CERTIFICATE, [{
        "certificate": ANIMAL, "issued": "2026-11-24", "expires": "2026-11-28", "quantity": "500.5", "unit": "KGM",
        "goods": "pig", "node": FARM, "used": "0",
    }])  # fmt: skip
    until = (now() + timedelta(days=3)).isoformat()
    filed(ledger, HOLD, [
        {"hold": f"{NODE}-1", "scope": "lot", "target": lot(90), "until": until},
        {"hold": f"{OTHER}-1", "scope": "goods", "target": "01211"},
    ])  # fmt: skip
    filed(ledger, SILENCE, [
        {"silence": f"{node}-2", "rule": "a_rule", "until": until, "cause": "促销"} for node in (NODE, OTHER)
    ])  # fmt: skip
    filed(ledger, SUBSCRIPTION, [
        {"subscription": f"{node}-erp", "channel": "webhook", "destination": "https://hook.example/x",
         "levels": "red blue"} for node in (NODE, OTHER)
    ])  # fmt: skip
    filed(ledger, RECALL_ANSWER, [
        {"answer": f"{node}-ZH-2026-0001", "acknowledged_at": until, "found": "1.5"} for node in (NODE, OTHER)
    ])  # fmt: skip
    filed(ledger, REPORT_SCHEDULE, [
        {"schedule": f"{node}-morning", "report": "daily", "format": "pdf"} for node in (NODE, OTHER)
    ])  # fmt: skip
    filed(ledger, PUBLISHED_REPORT, [
        {"published": f"{node}-morning-2026-11-25", "report": "daily", "period": "2026-11-25", "format": "pdf",
         "language": "zh", "as_of": "2026-11-26T00:05:12+08:00", "size": "50", "hash": "0a" * 32, "sha256": "0b" * 32,
         "bytes": "48211"} for node in (NODE, OTHER)
    ], PUBLISHER)  # fmt: skip


def _warnings(found: Whole) -> None:
    admin = found.watched.admin
    assert admin.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    found.watched.record(*DAY)
    for one in (("test_failed", lot(1)), ("test_failed", lot(2))):
        assert found.watched.step(admin, one, "assign", assignee=STALLED).status_code == 201
    found.watched.follow()


# --- what a page says -------------------------------------------------------------------------------


class Seen(HTMLParser):
    """A page as a program reads it: rows of tables by their cells, links, fields and what they offer,
    all its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.rows: list[list[str]] = []
        self.heads: list[str] = []
        self.links: list[str] = []
        self.rel: dict[str, str] = {}
        self.sorted: dict[str, str] = {}
        """Of columns: how they are sorted, by their head's text."""
        self.offers: dict[str, list[str]] = {}
        """Fields by name: the words that they offer, or none."""
        self.forms: list[dict[str, str]] = []
        self._cell: list[str] | None = None
        self._order = self._select = ""
        self._first: list[str] = []
        self.feed(source)
        self.text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", source))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._cell, self._order = [], given.get("aria-sort", "")
        elif tag == "a":
            self.links.append(given.get("href", ""))
            if "rel" in given:
                self.rel[given["rel"]] = given["href"]
        elif tag == "form":
            self.forms.append(given)
        elif tag in ("input", "select", "textarea") and "name" in given:
            self.offers[given["name"]] = []
            self._select = given["name"]
        elif tag == "option":
            self.offers[self._select].append(given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            said = " ".join("".join(self._cell).split())
            if tag == "th":
                self.heads.append(said)
                self.sorted |= {said: self._order} if self._order else {}
            else:
                self.rows[-1].append(said)
            self._cell = None

    @property
    def body(self) -> list[list[str]]:
        """Rows that say something."""
        return [row for row in self.rows if len(row) > 1]

    @property
    def actions(self) -> set[str]:
        return {one["data-action"] for one in self.forms if "data-action" in one}


def keeper_of(register: Register, whole: Whole) -> httpx.Client | None:
    """Who files records of it."""
    allowed = ALLOWED[register.keep] or frozenset()
    return whole.admin if Role.ADMIN in allowed else whole.regulator if Role.REGULATOR in allowed else None


def codes_of(seen: Seen, register: Register) -> list[str]:
    """The records of a list, by what their links name."""
    begins = {RECALL: "/console/recalls/", HANDLING: "/console/warnings/"}.get(
        register, f"/console/registry/{register.plural}/"
    )
    found = [one.removeprefix(begins) for one in seen.links if one.startswith(begins)]
    return [one for one in found if one != "new" and not one.startswith("sheet.")]


def code_of(register: Register, one: Json) -> str:
    return "+".join(str(one[name]) for name in register.key)


each_register = pytest.mark.parametrize("register", REGISTERS, ids=lambda one: one.plural)


# --- every register -----------------------------------------------------------------------------------


@each_register
def test_a_register_is_listed_and_sorted_by_each_head_both_ways(whole: Whole, register: Register) -> None:
    """A head that does not sort, or sorts some records away, hides what was looked for."""
    path = f"/console/registry/{register.plural}"
    here = {code_of(register, one): one for one in whole.records(register)}
    seen = whole.see(path)
    assert sorted(codes_of(seen, register)) == sorted(here) and here
    assert path in whole.see("/console/registry").links
    heads = {dict(parse_qsl(one[1:]))["sort"].removeprefix("-") for one in seen.links if one.startswith("?sort=")}
    shown = [one for one in register.fields if not one.lines][:COLUMNS]
    assert heads >= {one.name for one in shown if one.names and not one.private} and len(seen.sorted) == 1
    for name, down in itertools.product(sorted(heads), (False, True)):
        seen = whole.see(f"{path}?sort={'-' if down else ''}{name}")
        found = codes_of(seen, register)
        assert sorted(found) == sorted(here), name
        values = [here[code][name] for code in found]
        there = [one for one in values if one is not None]
        kind = metadata.tables[register.table].c[name].type.python_type
        key: Callable[[Any], Any] = float if kind in (int, Decimal) else str
        assert there == sorted(there, key=key, reverse=down), (name, down)
        assert values == there + [None] * (len(values) - len(there)), "those without a value last"
        assert [*seen.sorted.values()] == ["descending" if down else "ascending"], "and the head says so"


def lets_through(register: Register, one: Json, name: str, value: str, today: date) -> bool:
    """Whether a filter is meant to let a record through."""
    if name == "node" and register.node_of is not None:
        return one[register.key[0]][:9] == value or value in (one.get("nodes") or [] if register is PARTY else [])
    if name == "expiring":
        return one["valid_to"] is not None and date.fromisoformat(one["valid_to"]) <= today + timedelta(int(value))
    if name == "status" and register.status == "open":
        return bool(one["open"]) == (value == "open")
    found = one[name]
    return value in found if isinstance(found, list) else found is not None and str(found) == value


def cells(shown: Json, register: Register) -> dict[str, str]:
    """What a sheet is to say of a record."""
    names = [*(one.name for one in register.fields), *([register.status] if register.status else [])]
    said = {name: shown[name] for name in names}
    texts = {True: "yes", False: "no", None: ""}
    return {
        name: " ".join(map(str, one)) if isinstance(one, list)
        else texts[one] if one is None or isinstance(one, bool) else str(one)
        for name, one in said.items()
    }  # fmt: skip


def sheet(answer: httpx.Response) -> list[dict[str, str]]:
    """The rows of a sheet, as a spreadsheet shows them."""
    assert answer.status_code == 200, (str(answer.url), answer.text)
    if answer.headers["content-type"].startswith("text/csv"):
        rows = [*csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))]
    else:
        found = load_workbook(io.BytesIO(answer.content), read_only=True).worksheets[0].iter_rows(values_only=True)
        rows = [[str(cell or "") for cell in row] for row in found]
    return [{name: cell.removeprefix("'") for name, cell in zip(rows[0], row, strict=True)} for row in rows[1:]]


def filters_of(seen: Seen, register: Register, here: Sequence[Json]) -> Iterator[tuple[str, str]]:
    """Each filter that the page offers with each word; where it takes any text, with each that is there."""
    for name, offered in seen.offers.items():
        if name in ("text", "purpose"):  # the field at the top
            continue
        words = [one for one in offered if one]
        if not offered:
            named = [one[name] if name in one else one[register.key[0]][:9] for one in here]
            words = [*dict.fromkeys(str(one) for one in named if one is not None)][:3]
            yield from ((name, word) for word in words)
            continue
        assert words, (name, "a filter that offers nothing")
        yield from ((name, word) for word in words)


@each_register
def test_each_filter_is_taken_and_the_sheets_hold_what_it_lets_through(whole: Whole, register: Register) -> None:
    """A word that is offered and refused is a dead end; a sheet with more than was filtered gives away too much."""
    path = f"/console/registry/{register.plural}"
    here, today = whole.records(register), whole.server.ledger.today()
    plain = whole.see(path)
    assert {f"{path}/sheet.csv", f"{path}/sheet.xlsx"} <= {*plain.links}
    for number, (name, word) in enumerate([("", ""), *filters_of(plain, register, here)]):
        asked = f"?{urlencode({name: word})}" if name else ""
        wanted = [one for one in here if not name or lets_through(register, one, name, word, today)]
        seen = whole.see(path + asked)
        assert sorted(codes_of(seen, register)) == sorted(code_of(register, one) for one in wanted)[:ROWS], asked
        assert f"{path}/sheet.csv{asked}" in seen.links, "the sheet is of what is shown"
        for form in ("csv", "xlsx") if number < 2 else ("csv",):
            rows = sheet(whole.regulator.get(f"{path}/sheet.{form}{asked}"))
            assert rows == [cells(one, register) for one in wanted], (asked, form)


@each_register
def test_the_page_for_a_new_record_has_each_field_with_its_help(whole: Whole, register: Register) -> None:
    """A field that is missing cannot be filled in; one without help is filled in wrongly."""
    path = f"/console/registry/{register.plural}/new"
    keeper = keeper_of(register, whole)
    if keeper is None:
        for client in (whole.admin, whole.regulator, whole.market):
            assert client.get(path).status_code == 403
        assert path not in whole.see(path.removesuffix("/new"), whole.admin).links
        return
    if register in (HANDLING, SUBSCRIPTION):  # a warning's first step, and a secret, come first
        assert whole.see(path, keeper, 404)
        return
    seen = whole.see(path, keeper)
    assert f"/registry/{register.plural}" in seen.actions
    for one in register.fields:
        assert one.name in seen.offers and re.sub("[<>&'\"].*", "", one.help) in seen.text, one.name
        assert f'for="new-{one.name}"' in seen.source, "a label that nobody hears is none"
        words = [] if one.many else [str(word) for word in one.words]
        assert seen.offers[one.name] == (["", *words] if words else [])
    assert (path in whole.see(path.removesuffix("/new"), keeper).links) == (register not in (HANDLING, SUBSCRIPTION))


@each_register
def test_each_record_of_a_list_opens(whole: Whole, register: Register) -> None:
    """A key of several parts, a colon or a hyphen in it: a link that leads nowhere."""
    listed = whole.see(f"/console/registry/{register.plural}")
    here = {code_of(register, one): one for one in whole.records(register)}
    begins = f"/console/registry/{register.plural}/"
    for code in codes_of(listed, register)[:3]:
        seen = whole.see(begins + code)
        assert f">{code}</span></h1>" in seen.source
        whole.see(next(one for one in listed.links if one.endswith(f"/{code}")))
        assert len([row for row in seen.body if row[-1].startswith("000000000/")]) == here[code]["version"]
        for name in (one.name for one in register.fields if not one.lines):
            assert f'data-field="{name}"' in seen.source
    for wrong in ("nothing", "1+2", "1+2+3", "%25", "%00", "a/b", "+", "..%2F..", "新"):
        assert "Traceback" not in whole.see(begins + wrong, status=404).text


# --- lists of many ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(whole: Whole) -> Whole:
    """Hundreds of certificates and parties from sheets."""
    day = date(2026, 11, 1)
    papers = ["certificate,issued,expires,quantity,unit"]
    parties = ["party,kinds,legal_name,credit_code"]
    for number in range(MANY):
        spread = number * 7919 % MANY
        expires = f"{day + timedelta(days=60 + spread % 40)}" if number % 9 else ""
        papers.append(f"test:M{spread:04},{day + timedelta(days=number % 13)},{expires},{spread % 50 + 1}.5,KGM")
        parties.append(f"{PAGED}{spread + 1:04},retailer,虚构第{spread}号店,{FIRM}")
    for register, rows in (("certificates", papers), ("parties", parties)):
        answer = whole.watched.admin.post(
            f"/registry/{register}/import", content="\n".join(rows), headers={"Content-Type": "text/csv"}
        )
        assert answer.status_code == 200 and answer.json()["new"] == MANY, answer.text[:500]
    return whole


def turned(whole: Whole, path: str) -> list[Seen]:
    """A list page after page, as somebody turns it."""
    found = [whole.see(path)]
    while "next" in found[-1].rel:
        found.append(whole.see(path.partition("?")[0] + found[-1].rel["next"]))
        assert len(found) < 30, "it goes round in circles"
    return found


def test_a_long_list_is_turned_page_by_page_each_record_once(many: Whole) -> None:
    """A record between two pages is one that nobody finds; one on both is counted twice."""
    path = f"/console/registry/parties?node={PAGED}"
    pages = turned(many, path)
    codes = [codes_of(one, PARTY) for one in pages]
    assert [len(one) for one in codes] == [100, 100, 50]
    assert [*itertools.chain(*codes)] == [f"{PAGED}{number + 1:04}" for number in range(MANY)]
    assert ["prev" in one.rel for one in pages] == [False, True, True]
    assert [re.findall(r"\d+–\d+", one.text) for one in pages] == [["1–100"], ["101–200"], ["201–250"]]
    back = many.see("/console/registry/parties" + pages[2].rel["prev"])
    assert codes_of(back, PARTY) == codes[1], "and back"
    rows = sheet(many.regulator.get(f"/console/registry/parties/sheet.csv?node={PAGED}&sort=-party&skip=100"))
    assert [one["party"] for one in rows] == [*itertools.chain(*codes)], "the sheet has all"
    assert len(sheet(many.regulator.get(f"/console/registry/parties/sheet.xlsx?node={PAGED}"))) == MANY


@pytest.mark.parametrize("sort", ["issued", "-expires", "expires", "-quantity", "certificate"])
def test_a_sorted_list_is_turned_without_losing_the_order(many: Whole, sort: str) -> None:
    """Many have the same value: without a second order the database gives one of them twice, another never."""
    here = {one["certificate"]: one for one in many.records(CERTIFICATE)}
    pages = turned(many, f"/console/registry/certificates?sort={sort}")
    found = [code for one in pages for code in codes_of(one, CERTIFICATE)]
    assert sorted(found) == sorted(here) and len(found) > MANY
    name, down = sort.removeprefix("-"), sort.startswith("-")
    there = sorted(code for code in here if here[code][name] is not None)
    there.sort(key=lambda code: float(here[code][name]) if name == "quantity" else here[code][name], reverse=down)
    assert found == there + sorted(set(here) - {*there})


def test_a_list_is_turned_to_its_bound_and_says_so(many: Whole) -> None:
    """A question that skips a million rows reads a million rows."""
    assert codes_of(many.see(f"/console/registry/parties?skip={SKIP_MAX}"), PARTY) == []
    seen = many.see(f"/console/registry/parties?skip={SKIP_MAX + 1}", status=413)
    assert f"first {SKIP_MAX} records" in seen.text


# --- personal data ------------------------------------------------------------------------------------


def leaked(text: str) -> list[str]:
    return [one for one in PRIVATE if one in text]


def pages_with_people(register: Register) -> list[str]:
    return [f"/console/registry/{register.plural}{more}" for more in ("", "/sheet.csv", "/sheet.xlsx", "/new")]


@pytest.mark.parametrize("role", ["admin", "regulator", "market", "terminal"])
def test_no_page_and_no_sheet_shows_who_somebody_is(whole: Whole, role: str) -> None:
    """A name that stands on a page is one that every screen in the office shows."""
    client: httpx.Client = getattr(whole, role)
    paths = [path for one in (PARTY, LICENCE, SUBSCRIPTION) for path in pages_with_people(one)]
    paths += [f"/console/registry/parties?sort=-{one}" for one in ("party", "version", "digest", "status")]
    paths += [
        f"/console/registry/licences?party={STALLED}",
        "/console/registry/licences?expiring=30",
        "/console/market",
        f"/console/market?node={NODE}",
        "/console",
        "/console/entries",
        "/console/log",
        "/console/log?kind=change",
    ]
    for register in (PARTY, LICENCE, SUBSCRIPTION):
        paths += [
            f"/console/registry/{register.plural}/{code_of(register, one)}" for one in whole.records(register)[:4]
        ]
    head = whole.heads()["000000000"]
    paths += [f"/console/entries/000000000/{seq}" for seq in range(1, head + 1, head // 40)]
    seen = 0
    for path in paths:
        answer = whole.ask(client, path)
        text = answer.text
        if path.endswith(".xlsx") and answer.status_code == 200:
            text = str(sheet(answer))
        assert leaked(text) == [], (path, answer.status_code)
        seen += answer.status_code == 200
    assert seen > (20 if role in ("admin", "regulator") else 8)


def test_a_name_without_a_purpose_finds_nothing_and_with_one_is_a_reading(whole: Whole) -> None:
    """Who may find out whether a name is there may know that it is: so the question itself is noted."""
    for text in ("老孟蔬菜", PERSON, "18811110001", "杨柳湾", NUMBER, "钱二十", "Q-77", "散装"):
        before = len(whole.readings())
        assert {("party", STALLED), ("licence", STALLED)}.isdisjoint(
            (kind, code[:13]) for kind, code in whole.found(text)
        ), text
        assert len(whole.readings()) == before, "and nobody has looked"
        found = whole.found(text, purpose="complaint")
        assert any(code.startswith(STALLED) for _, code in found), text
        entry = whole.readings()[0]
        assert len(whole.readings()) == before + 1 and "投诉举报" in " ".join(entry), text
    assert "湖**" in str(whole.search(STALLED)) and "老孟" not in str(whole.search(STALLED))
    (one,) = [one for one in whole.search("老孟蔬菜", purpose="inspection") if one["kind"] == "party"]
    assert one["name"] == MINE["legal_name"] and one["page"] == f"/console/registry/parties/{STALLED}"


def test_a_search_with_a_purpose_that_finds_nobody_is_no_reading(whole: Whole) -> None:
    """An entry for nothing would say that somebody was looked at."""
    before = len(whole.readings())
    assert whole.found("没有这个人", purpose="inspection") == set()
    assert whole.found("猪肉", purpose="inspection") == {("goods", PORK)}
    assert len(whole.readings()) == before


def test_who_may_not_look_may_give_no_purpose(whole: Whole) -> None:
    """A terminal at a till must not be a directory of the market's people."""
    for text in ("老孟蔬菜", "没有这个人", NODE):
        answer = whole.terminal.post("/search", json={"text": text, "purpose": "inspection"})
        problem_of(answer, 403, "SecurityException")
    assert "purpose" not in whole.see("/console/registry", whole.terminal).offers
    assert "purpose" in whole.see("/console/registry", whole.market).offers
    for wrong in ("curiosity", "", 1, True, ["inspection"]):
        assert whole.regulator.post("/search", json={"text": "x", "purpose": wrong}).status_code == 400, wrong


# --- reach ----------------------------------------------------------------------------------------------


BOUND = [one for one in REGISTERS if one.node_of is not None and one is not HANDLING]


@pytest.mark.parametrize("register", BOUND, ids=lambda one: one.plural)
def test_a_market_sees_and_opens_its_own_records_alone(whole: Whole, register: Register) -> None:
    """What a rival is licensed for, told to stop or subscribed to is the rival's business."""
    begins = f"/console/registry/{register.plural}"
    every = [code_of(register, one) for one in whole.records(register)]
    own = {code for code in every if code.startswith(NODE) or (register is PARTY and code == BOTH)}
    assert own and {*every} - own, "there is something to be hidden"
    assert {*codes_of(whole.see(begins, whole.market), register)} == own
    assert codes_of(whole.see(f"{begins}?node={OTHER}", whole.market), register) == []
    naming = register.key[0]
    assert {one[naming] for one in sheet(whole.market.get(f"{begins}/sheet.csv"))} == {
        code.split("+")[0] for code in own
    }
    for code in sorted({*every} - own)[:5]:
        shown = whole.see(f"{begins}/{code}", whole.market, 404)
        absent = re.sub(r"[0-9a-f]{4}$", "0009", code) if register is LICENCE else code.replace(OTHER, QUIET)
        answer = whole.see(f"{begins}/{absent}", whole.market, 404)
        said = [re.sub("[0-9]{9,13}", "#", one.text) for one in (shown, answer)]
        assert said[0] == said[1], "it looks like what is not there"
        if register is not LICENCE:  # its code is no word that anybody looks for
            assert whole.found(code, whole.market) == set() and whole.found(code) != set()
    for code in sorted(own)[:3]:
        whole.see(f"{begins}/{code}", whole.market)


def test_another_s_chain_entries_and_log_are_closed(whole: Whole) -> None:
    """An entry of a rival says what it sold, to whom and for how much."""
    market, far = whole.market, "河西批发市场"
    for path, status in [
        (f"/console/entries?node={OTHER}", 403), ("/console/entries?node=000000000", 403),
        (f"/console/entries/{OTHER}/1", 404), (f"/console/entries/{OTHER}/99999", 404),
        ("/console/entries/000000000/1", 404), ("/console/log", 403), (f"/console/market?node={OTHER}", 403),
    ]:  # fmt: skip
        seen = whole.see(path, market, status)
        assert far not in seen.text and seen.body == [], path
    ours = whole.see("/console/entries", market)
    assert {row[-1].split("/")[0] for row in ours.body} == {NODE}
    assert [one for one in ours.offers["node"] if one] == [NODE]
    assert {row[-1].split("/")[0] for row in whole.see("/console/entries", whole.terminal).body} == {NODE}
    for entry in [row[-1] for row in ours.body]:
        whole.see(f"/console/entries/{entry}", market)


def test_nothing_is_offered_that_is_refused(whole: Whole) -> None:
    """A button that answers "you may not" is one that makes people ask for a stronger key."""
    for client in (whole.market, whole.terminal):
        followed: set[str] = set()
        paths = [
            "registry", "entries", f"registry/parties/{STALLED}", "market", f"registry/parties/{BOTH}",
            f"registry/nodes/{OTHER}",
            f"registry/nodes/{NODE}", f"registry/holds/{NODE}-1", f"entries/{NODE}/1", "registry/products/8123456",
            f"registry/published-reports/{NODE}-morning-2026-11-25", "registry/parties", "registry/licences",
            "registry/nodes",
            "registry/certificates", "registry/handlings", "registry/recalls", "registry/goods",
        ]  # fmt: skip
        for path in paths:
            seen = whole.see(f"/console/{path}", client)
            forms: Counter[str] = Counter()
            for to in sorted({*seen.links} - followed):
                forms[form := re.sub("[0-9a-f]{4,}|[0-9]+", "#", to)] += 1
                if to.startswith(("/console/", "/entries/", "/terminal")) and forms[form] < 3:
                    assert client.get(to).status_code == 200, (path, to)
                    followed.add(to)


def test_steps_and_changes_are_offered_to_whom_they_are_given(whole: Whole) -> None:
    """Nor is one taken that was not offered."""
    market, terminal = whole.market, whole.terminal
    own, both = f"/registry/parties/{STALLED}", f"/registry/parties/{BOTH}"
    assert {own, f"{own}/steps"} <= whole.see(f"/console{own}", market).actions
    assert whole.see(f"/console{own}", terminal).actions == set()
    assert "legal_name" not in whole.see(f"/console{own}", terminal).offers
    assert 'id="reveal"' not in whole.see(f"/console{own}", terminal).source
    assert "revoke" not in whole.see(f"/console{own}", market).offers["step"]
    assert "revoke" in whole.see(f"/console{own}").offers["step"]
    assert whole.see(f"/console{both}", market).actions == set(), "filed by the other market"
    for chain, steps in (("000000000", set()), ("000000001", set()), (NODE, {f"/registry/nodes/{NODE}/steps"})):
        found = whole.see(f"/console/registry/nodes/{chain}", whole.admin).actions
        assert found == {f"/registry/nodes/{chain}", *steps}, "the ledger's own chains are always open"
    for path, role in (("goods", "regulator"), ("nodes", "market"), ("rule-sets", "regulator"), ("products", "market")):
        client: httpx.Client = getattr(whole, role)
        assert f"/console/registry/{path}/new" not in whole.see(f"/console/registry/{path}", client).links
        assert client.get(f"/console/registry/{path}/new").status_code == 403
    tries = [
        (market, "PATCH", f"/registry/parties/{FAR}", {"contact": "x"}, 404),
        (market, "PATCH", both, {"contact": "x"}, 403),
        (market, "POST", f"{own}/steps", {"step": "revoke", "reason": "x"}, 403),
        (market, "POST", f"/registry/parties/{FAR}/private", {"purpose": "inspection"}, 404),
        (market, "POST", f"/registry/holds/{NODE}-1/steps", {"step": "release", "reason": "x"}, 403),
        (terminal, "PATCH", own, {"contact": "x"}, 403),
        (terminal, "POST", f"{own}/steps", {"step": "suspend", "reason": "x"}, 403),
        (terminal, "POST", f"{own}/private", {"purpose": "inspection"}, 403),
        (whole.regulator, "POST", "/registry/goods", {"goods": "2111", "name": "x"}, 403),
    ]
    for client, method, path, body, status in tries:
        answer = client.request(method, path, json=body)
        assert answer.status_code == status and not leaked(answer.text), (method, path, answer.text)
    assert whole.json(own)["version"] == 1


# --- search -----------------------------------------------------------------------------------------------

NEAR_LOT, FAR_LOT = f"{LOT}-{NODE}", f"{LOT}-{OTHER}"
GTIN, BATCH = "06901234500103", f"L1-{NODE}"
NUMBER_ALONE = ANIMAL.partition(":")[2]
PAPER = f"urn:suyuan:certificate:{ANIMAL}"
NAMED: list[tuple[str, str, str]] = [
    # what is typed, what kind of thing is found under which code
    ("urn:x:edge-1", "entry", f"{EDGE}/1"), (f"{NODE}/1", "entry", f"{NODE}/1"), ("000000000/1", "entry",
    "000000000/1"),
    (lot(1), "item", lot(1)), (NEAR_LOT, "item", NEAR_LOT), (f"(01){GTIN}(10){BATCH}", "item", NEAR_LOT),
    (f"01/{GTIN}/10/{BATCH}", "item", NEAR_LOT), (f"https://shop.example/01/{GTIN}/10/{BATCH}?x=1", "item", NEAR_LOT),
    (PACK, "item", f"urn:suyuan:drug:{PACK}"), (ANIMAL, "certificate", ANIMAL), (NUMBER_ALONE, "certificate", ANIMAL),
    (ANIMAL, "item", PAPER), (NUMBER_ALONE, "item", PAPER), (NODE, "node", NODE), (STALLED, "party", STALLED),
    ("330212", "region", "330212"), (PORK, "goods", PORK), ("pig", "goods", "pig"), ("8123456", "product", "8123456"),
    (f"{NODE}-1", "hold", f"{NODE}-1"), ("ZH-2026-0001", "recall", "ZH-2026-0001"),
    (f"{OTHER}-2", "silence", f"{OTHER}-2"), (f"{NODE}-erp", "subscription", f"{NODE}-erp"), ("ours", "rule-set",
    "ours"),
    (f"{NODE}-0d3c5a52-1", "difference", f"{NODE}-0d3c5a52-1"),
    (f"{NODE}-morning", "report-schedule", f"{NODE}-morning"),
    (f"{NODE}-morning-2026-11-25", "published-report", f"{NODE}-morning-2026-11-25"),
    (f"{NODE}-ZH-2026-0001", "recall-answer", f"{NODE}-ZH-2026-0001"), ("drugs", "drug-market", "drugs"),
]  # fmt: skip


def test_each_code_finds_what_it_names(whole: Whole) -> None:
    """An inspector has a slip, a label or a paper in hand, and one field to type into."""
    warning, slip = whole.watched.ids["test_failed", lot(3, "01211")], f"urn:suyuan:trace:{whole.slip}"
    more = [(whole.slip, "item", slip), (f" {whole.slip}\n", "item", slip), (slip, "item", slip),
            (whole.pigs, "item", whole.pigs), (warning, "warning", warning)]  # fmt: skip
    for text, kind, code in NAMED + more:
        found = whole.search(text)
        one = next((one for one in found if (one["kind"], one["code"]) == (kind, code)), None)
        assert one is not None and one["exact"] is True, (text, kind, code, found)
        assert one["chinese"] and found[0]["exact"], "exact ones first"
        assert len({(each["kind"], each["code"]) for each in found}) == len(found), "each once"
        whole.see(one["page"])


def test_a_code_of_one_thing_leads_to_one_page(whole: Whole) -> None:
    """What opens at once must be one thing: a warning that somebody handles is still one."""
    for text in (whole.watched.ids["test_failed", lot(1)], STALLED, NODE, whole.slip, "ZH-2026-0001", lot(1)):
        assert len({one["page"] for one in whole.search(text) if one["exact"]}) == 1, text


def test_words_find_goods_products_nodes_and_warnings(whole: Whole) -> None:
    """Who does not know the code knows what it is called."""
    for text, wanted in [
        ("猪", {("goods", PORK), ("goods", "pig")}), ("猪肉", {("goods", PORK)}), ("PORK", {("goods", PORK)}),
        ("cabb", {("goods", "01211")}), ("Chinese cab", {("goods", "01211")}), ("莫西林", {("product", "8123456")}),
        ("城东", {("node", NODE)}), ("西批发", {("node", OTHER)}), ("城东　农贸", {("node", NODE)}),
    ]:  # fmt: skip
        assert {one for one in whole.found(text) if one[0] != "warning"} == wanted, text
        assert not any(one["exact"] for one in whole.search(text))
    assert {kind for kind, _ in whole.found("农药残留")} == {"warning"} and len(whole.found("残留 超标")) >= 3
    assert ("licence", whole.licence) in whole.found(STALLED), "licences by whose they are"


def test_another_market_s_things_are_found_by_nobody(whole: Whole) -> None:
    """That a code is found says that it is there, at whom, and perhaps under which name."""
    ids = whole.watched.ids
    far = [FAR, f"{OTHER}/1", f"urn:x:sealed-{OTHER}", FAR_LOT, lot(2), f"{OTHER}-1", f"{OTHER}-2", f"{OTHER}-erp",
           f"{OTHER}-0d3c5a52-1", f"{OTHER}-morning", ids["test_failed", lot(2)], whole.slip, PACK, whole.pigs,
           "000000000/1", f"{OTHER}-ZH-2026-0001", ids["sold_at_all", lot(4)]]  # fmt: skip
    for client in (whole.market, whole.terminal):
        for text in far:
            assert whole.found(text) != set() and whole.found(text, client) == set(), text
    assert whole.found("小赵", whole.market, purpose="inspection") == set()
    assert whole.found(OTHER_PERSON, whole.market, purpose="inspection") == set()
    for text in (lot(1), f"{NODE}/1", STALLED, f"{NODE}-1", NEAR_LOT, NODE, PORK, BOTH):
        assert whole.found(text, whole.market) != set(), text
    assert {one["code"][:9] for one in whole.search("残留", whole.market)} == {NODE}


ODD = [
    "%", "_", "'", "\\", '"', "' OR 1=1 --", "; DROP TABLE entry", "<script>alert(1)</script>", "<img src=x>",
    "{{ 7*7 }}",
    "${x}", "../../etc/passwd", "(", "(01)", "((((", "[", "*", "+", "-", "?", "urn:", "https://", "http://[",
    "https://[::1",
    "ni:///x", "0" * 20, "９９９", "١٢٣", "é", "🐷", "一" * 200, "x" * TEXT_MAX, "\ufeff1", "a\u200bb", f"{NODE}/0",
    f"{NODE}/999999999999999999", "999999999/1", "01/", "01/1/10/", "(01)1(10)",  "null", "\u2028x", "a  b",
    f"{NODE}-{'0' * 24}", "product:", ":", "product:x y", "1e999", "NaN", "-1", "８１２３４５６", "urn:suyuan:lot:%",
    "urn:x:%00",
    "https://id.gs1.org/01/%zz", "01/06901234500103/10/%2F%00", "urn:epc:id:sgtin:1.2.3",
]  # fmt: skip


@pytest.mark.parametrize("purpose", [None, "inspection"])
def test_odd_texts_are_looked_for_as_they_are(whole: Whole, purpose: str | None) -> None:
    """A sign that means something to the database or the page finds all, breaks the answer, or runs."""
    for text in ODD:
        answer = whole.regulator.post("/search", json={"text": text, **({"purpose": purpose} if purpose else {})})
        assert answer.status_code == 200, (text, answer.text)
        assert answer.headers["content-type"].startswith("application/json")
        found = answer.json()["found"]
        assert len(found) < 30 and not any(one["kind"] in ("party", "licence") for one in found), (text, found)


def test_what_cannot_be_looked_for_is_said(whole: Whole) -> None:
    """A question that is cut or half read is answered with something else."""
    for text in ("", "   ", "　", "x" * (TEXT_MAX + 1), "a\0b", "a\nb", "\x1b[31m", "a\tb", "\ud800", "\x7f"):
        answer = whole.regulator.post("/search", content=json.dumps({"text": text}),
                                      headers={"Content-Type": "application/json"})  # fmt: skip
        assert answer.status_code == 400 and answer.json()["detail"], (text, answer.text)
    bodies: list[object] = [
        {},
        {"text": None},
        {"text": 1},
        {"text": ["x"]},
        {"text": "x", "more": 1},
        [],
        "x",
        {"any": "x"},
    ]
    for body in bodies:
        assert whole.regulator.post("/search", json=body).status_code == 400, body
    assert whole.server.with_key(None).post("/search", json={"text": NODE}).status_code == 401


@contextmanager
def logged(ledger: Ledger) -> Iterator[str]:
    """The ledger served with a message for each request."""
    config = uvicorn.Config(create_app(ledger), port=0, log_level="info", log_config=None, access_log=True)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "before scripts run"])
def test_what_is_looked_for_is_in_no_message_of_the_server(
    whole: Whole, visitors: Visitors, caplog: pytest.LogCaptureFixture, scripts: bool
) -> None:
    """Names in addresses end up in logs, histories and proxies, where nobody erases them."""
    caplog.set_level(logging.INFO)
    with logged(whole.server.ledger) as url:
        visitors.url = url
        visitor = visitors.come(java_script_enabled=scripts)
        visitor.expected = {"400", "403", "404", "405", "415"}
        page = visitor.sign_in(whole.keys[Role.REGULATOR], "/console/registry")
        page.fill("#find-text", "老孟蔬菜")
        page.select_option("#find-purpose", "inspection")
        page.click("#find button")
        if scripts:
            expect(page.locator("#found table")).to_contain_text("湖畔老孟蔬菜摊")
        page.wait_for_load_state()
        assert quote("老孟") not in page.url
        visitor.go("/console/registry/parties/new")
        page.fill("#new-party", "1")
        page.locator("#new-kinds").fill("retailer")
        page.fill("#new-legal_name", "老孟蔬菜")
        page.click("main form button")
        if scripts:
            expect(page.locator("main form .alert")).to_be_visible()
        page.wait_for_load_state()
        assert quote("老孟") not in page.url
        visitor.context.close()
        visitors.all.clear()
        assert visitor.wrong == []
    said = [one.getMessage() for one in caplog.records]
    assert any("POST /search" in one for one in said) and any("GET /console/registry" in one for one in said)
    assert not [one for one in said if leaked(one) or quote("老孟") in one]


# --- entries ------------------------------------------------------------------------------------------------


def entries_of(seen: Seen) -> list[str]:
    return [row[-1] for row in seen.body]


def test_entries_are_filtered_by_kind_and_step(whole: Whole) -> None:
    """A chain is long: who looks for a sale must not read all the tests."""
    base = f"/console/entries?node={EDGE}"
    assert entries_of(whole.see(base)) == [f"{EDGE}/{seq}" for seq in (4, 3, 2, 1)]
    assert entries_of(whole.see(f"{base}&kind=event")) == entries_of(whole.see(base))
    assert entries_of(whole.see(f"{base}&kind=change")) == []
    assert entries_of(whole.see(f"{base}&step=retail_selling")) == [f"{EDGE}/4", f"{EDGE}/2"]
    assert entries_of(whole.see(f"{base}&step=inspecting&before=3")) == [f"{EDGE}/1"]
    assert entries_of(whole.see(f"{base}&before=1")) == [] == entries_of(whole.see(f"{base}&step=nothing"))
    kinds = [one for one in whole.see(base).offers["kind"] if one]
    assert {"event", "change", "reading", "tick", "check", "refusal", "document"} <= {*kinds}
    for kind, step in [*((kind, "") for kind in kinds), *(("", step) for step in whole.see(base).offers["step"][::9])]:
        whole.see(f"{base}&kind={kind}&step={step}")
    assert entries_of(whole.see(f"/console/entries?node={QUIET}")) == []


def test_a_day_is_the_city_s_day_to_the_microsecond(whole: Whole) -> None:
    """By Greenwich's day, eight hours of the city's morning trade would stand under yesterday."""
    for day, seqs in (("2026-11-20", [1]), ("2026-11-21", [3, 2]), ("2026-11-22", [4]), ("2026-11-23", []),
                      ("2026-11-19", []), ("20261121", [3, 2]), ("2026年11月21日", [3, 2]), ("0001-01-01", []),
                      ("0001-01-02", []), ("9999-12-30", [])):  # fmt: skip
        seen = whole.see(f"/console/entries?node={EDGE}&day={day}")
        assert entries_of(seen) == [f"{EDGE}/{seq}" for seq in seqs], day
    shown = [row[0] for row in whole.see(f"/console/entries?node={EDGE}").body]
    assert shown == ["2026-11-22 00:00", "2026-11-21 23:59", "2026-11-21 00:00", "2026-11-20 23:59"]
    assert entries_of(whole.see(f"/console/entries?node={EDGE}&day=2026-11-21&step=retail_selling")) == [f"{EDGE}/2"]


@pytest.mark.parametrize("bound", [7, 50_000])
@pytest.mark.parametrize("asked", ["", "&step=inspecting", "&step=retail_selling", "&kind=change", "&day=TODAY"])
def test_turning_entries_misses_none_whatever_one_question_looks_at(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, bound: int, asked: str
) -> None:
    """A question that looked at its bound and found nothing must lead on, or what is before is lost."""
    monkeypatch.setattr(reads, "STRETCH_MAX", bound)
    asked = asked.replace("TODAY", whole.server.ledger.today().isoformat())
    pages = turned(whole, f"/console/entries?node={LONG}{asked}")
    found = [entry for one in pages for entry in entries_of(one)]
    wanted = [f"{LONG}/{seq}" for seq in range(130, 0, -1)]
    assert found == ([] if "selling" in asked or "change" in asked else wanted)
    assert len(pages) == (19 if bound == 7 else 2 if found else 1)


def test_an_entry_says_what_it_is_and_its_hash_is_that_of_its_bytes(whole: Whole) -> None:
    """Whoever checks us begins with these bytes: a hash of anything else proves nothing."""
    seen, first = whole.see(f"/console/entries/{FARM}/2"), whole.see(f"/console/entries/{FARM}/1")
    raw = [
        whole.regulator.get(f"/entries/{FARM}/{seq}", headers={"Accept": "application/octet-stream"}) for seq in (1, 2)
    ]
    hashes = [hashlib.sha256(one.content).hexdigest() for one in raw]
    assert hashes[0] in first.text and hashes[1] not in first.text
    assert hashes[0] in seen.text and hashes[1] in seen.text, "its own, and that of the one before"
    assert (seen.rel.get("prev"), first.rel.get("prev")) == (f"/console/entries/{FARM}/1", None)
    assert (seen.rel.get("next"), first.rel.get("next")) == (None, f"/console/entries/{FARM}/2")
    (row,) = [row for row in seen.body if row[1] == whole.pigs]
    assert TEXTS["role_object"][0] in row[0] and row[2:] == ["10", ""], "pieces have no unit in EPCIS"
    (paper,) = [row for row in seen.body if row[1].endswith(ANIMAL)]
    assert TEXTS["role_certificate"][0] in paper[0] and paper[2:] == ["", ""]
    assert TEXTS["signed_at"][0] in seen.text and f"/proof/file?node={FARM}&amp;seq=2" in seen.source
    assert whole.regulator.get(f"/proof/file?node={FARM}&seq=2").text.startswith("c2sp.org/tlog-proof")


def test_an_entry_that_is_not_signed_yet_says_so(whole: Whole) -> None:
    """A page that says "signed" of what is not is the one lie that this product must not tell."""
    assert capture(whole.watched.admin, [event("fresh", PAGED, lot(70))]).json()["success"]
    path = f"/console/entries/{PAGED}/1"
    seen = whole.see(path)
    assert TEXTS["unsigned"][0] in seen.text and TEXTS["signed_at"][0] not in seen.text
    assert "/proof/file" not in seen.source
    sign(whole.server.ledger)
    assert TEXTS["signed_at"][0] in whole.see(path).text


def test_what_is_sealed_is_shown_to_those_who_may_see_it(whole: Whole) -> None:
    """Prices and partners are the node's own: they, and who oversees,
    see them; nobody else opens the entry at all."""
    near, far = (
        next(one["code"] for one in whole.search(f"urn:x:sealed-{node}") if one["kind"] == "entry")
        for node in (NODE, OTHER)
    )
    for client in (whole.regulator, whole.market, whole.terminal):
        seen = whole.see(f"/console/entries/{near}", client)
        assert MARKER in seen.text and TEXTS["sealed_here"][0] in seen.text
    assert FAR_MARKER in whole.see(f"/console/entries/{far}").text
    for client in (whole.market, whole.terminal):
        for path in (
            f"/console/entries/{far}",
            "/console/entries",
            "/console/market",
            f"/console/entries?node={OTHER}",
        ):
            assert FAR_MARKER not in whole.ask(client, path).text
    assert MARKER not in whole.see(f"/console/entries?node={NODE}").text, "a list shows what is open"


def test_a_change_leads_to_its_record_and_the_log_says_who(whole: Whole) -> None:
    """From what was done to the register one must get to what it is now."""
    links = {to for one in turned(whole, "/console/log?kind=change") for to in one.links}
    for path in (
        f"parties/{STALLED}", f"licences/{whole.licence}", f"nodes/{NODE}", f"yields/pig+{PORK}",
        f"certificates/{ANIMAL}",
    ):  # fmt: skip
        assert f"/console/registry/{path}" in links
    assert "/console/recalls/ZH-2026-0001" in links
    every = [row for one in turned(whole, "/console/log") for row in one.body]
    actor = next(row[4] for row in every if "handling v2" in row[2])
    for by in (actor, f" {actor} "):
        mine = whole.see(f"/console/log?by={quote(by)}&kind=change")
        assert mine.body and {row[4] for row in mine.body} == {actor}
    assert whole.see("/console/log?by=nobody").body == [] == whole.see(f"/console/log?by={actor[:-1]}").body
    kinds = {TEXTS[f"entry_{kind}"][0] for kind in ("change", "reading", "decision", "erasure")}
    assert {row[1].split()[0] for row in every} <= kinds
    for kind in ("change", "reading", "decision"):
        said = {row[1].split()[0] for one in turned(whole, f"/console/log?kind={kind}") for row in one.body}
        assert said == {TEXTS[f"entry_{kind}"][0]} or (kind == "decision" and not said), kind
    today = whole.server.ledger.today()
    old, new = (
        {row[-1] for one in turned(whole, f"/console/log?day={day}") for row in one.body}
        for day in ("2026-11-20", today)
    )
    assert old and new and not old & new and old | new == {row[-1] for row in every}
    change = next(row[-1] for row in every if "party v1" in row[2])
    assert any(to.startswith("/console/registry/parties/") for to in whole.see(f"/console/entries/{change}").links)


def test_each_kind_of_entry_can_be_read(whole: Whole) -> None:
    """A refusal that nobody can open is one that nobody has to answer for."""
    admin, ledger = whole.watched.admin, whole.server.ledger
    secret = secret_event(FORGOTTEN, "urn:x:to-be-erased", f"{LOT}-erased")
    assert capture(admin, [secret]).json()["success"]
    seq = whole.heads()[FORGOTTEN]
    path = f"/console/entries/{FORGOTTEN}/{seq}"
    before = whole.see(path)
    assert FAR_MARKER in before.text and TEXTS["sealed_here"][0] in before.text
    erase(ledger.database, parse_node(FORGOTTEN), seq, "for a test", "operator", now)
    after = whole.see(path)
    assert FAR_MARKER not in after.text and TEXTS["sealed_gone"][0] in after.text
    assert re.findall("[0-9a-f]{64}", before.source)[:2] == re.findall("[0-9a-f]{64}", after.source)[:2], (
        "the same hash"
    )
    assert whole.city.give(HIGH_STREET, "supply", PACK).status_code == 409
    check = {"check": str(uuid.uuid4()), "node": NODE, "party": STALLED, "at": now().isoformat(),
             "goods": [{"goods": PORK, "quantity": "1"}]}  # fmt: skip
    assert whole.market.post("/access-checks", json=check).status_code == 201
    look = {"purpose": "inspection"}
    assert whole.regulator.post(f"/registry/parties/{STALLED}/private", json=look).status_code == 200
    with ledger.database.connect() as connection:
        places = connection.execute(
            "SELECT DISTINCT ON (kind) kind, node, seq FROM entry ORDER BY kind, seq DESC"
        ).fetchall()
    kinds = {Kind(kind) for kind, _, _ in places}
    assert kinds >= {Kind.EVENT, Kind.CHANGE, Kind.READING, Kind.REFUSAL, Kind.CHECK, Kind.ERASURE}
    for kind, node, number in places:
        seen = whole.see(f"/console/entries/{node:09}/{number}")
        assert TEXTS[f"entry_{Kind(kind).name.lower()}"][0] in seen.text
        told = {Kind.REFUSAL: "药品核验不通过", Kind.CHECK: "不准入场", Kind.READING: "查看个人信息"}
        assert told.get(Kind(kind), "") in seen.text, "what it was about"
        assert f"{node:09}/{number}" in entries_of(whole.see(f"/console/entries?node={node:09}&before={number + 1}"))
    sign(ledger)


def test_an_event_of_another_age_is_shown(whole: Whole) -> None:
    """A clock that is set wrongly, or somebody who sets it so, makes a page that nobody can open."""
    for number, said in enumerate(("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"), 1):
        odd = event(f"age-{number}", FORGOTTEN, lot(400 + number), eventTime=said)
        assert capture(whole.watched.admin, [odd]).json()["success"]
        (entry,) = entries_of(whole.see(f"/console/entries?node={FORGOTTEN}"))[:1]
        assert said[4:10] in whole.see(f"/console/entries/{entry}").text
        assert whole.see(f"/console/trace?code={quote(lot(400 + number))}")
        for report in ("dossier", "fsma204", "dscsa"):
            asked = {"parameters": {"code": lot(400 + number)}}
            answer = whole.regulator.post(f"/reports/{report}", json=asked)
            assert answer.status_code < 500, (report, said, answer.text)


def test_a_version_tells_which_fields_changed_even_where_the_masks_are_the_same(whole: Whole) -> None:
    """Another man's name under the same mask, and the page would say that nothing was changed."""
    code = own_party(whole, f"{NODE}0990", "湖畔老蒋摊")
    path = f"/registry/parties/{code}"
    for body in ({"contact": "钱三十"}, {"contact": None, "kinds": "farm"}):
        assert whole.regulator.patch(path, json=body).status_code == 200
    versions = [row for row in whole.see(f"/console{path}").body if row[-1].startswith("000000000/")]
    assert [(row[0], row[3]) for row in versions] == [("3", "kinds, contact"), ("2", "contact"), ("1", "")]


def test_a_node_that_the_list_has_no_room_for_stays_chosen(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filtered by a day, the page would be of the list's first node, and nobody would see it."""
    monkeypatch.setattr(entries_module, "NODES_MAX", 2)
    seen = whole.see(f"/console/entries?node={LONG}")
    assert f'<option value="{LONG}" selected>' in seen.source and len(seen.offers["node"]) == 3


# --- warnings -------------------------------------------------------------------------------------------------


def test_warnings_are_sorted_and_turned_each_once(whole: Whole) -> None:
    """A duty officer who sorts by what is due must not lose what is due at the same minute."""
    every = whole.json("/warnings?limit=1000")
    ids = {one["warning"] for one in every}
    levels = ["red", "orange", "yellow", "blue"]
    orders: dict[str, Callable[[Json], Any]] = {
        "raised": lambda one: one["raisedAt"], "level": lambda one: levels.index(one["level"]),
        "due": lambda one: one["dueAt"] or "9", "node": lambda one: one["node"],
    }  # fmt: skip
    assert len({one["level"] for one in every}) == 4 and len(ids) > 100
    for sort, order in orders.items():
        path, found = f"/warnings?sort={sort}&limit=31", []
        while path:
            answer = whole.regulator.get(path, headers={"Accept": "application/json"})
            found += answer.json()
            path = answer.links["next"]["url"] if answer.links else ""
        assert len(found) == len(every) and {one["warning"] for one in found} == ids, sort
        keys = [order(one) for one in found]
        assert keys == sorted(keys, reverse=sort == "raised"), sort
        pages = turned(whole, f"/console/warnings?sort={sort}&status=all")
        shown = [to for one in pages for to in one.links if to.startswith("/console/warnings/")]
        assert [to.rsplit("/", 1)[1] for to in shown] == [one["warning"] for one in found], sort
        assert len(pages) > 1 and [*pages[0].sorted.values()] == ["descending" if sort == "raised" else "ascending"]
    skips = [whole.json(f"/warnings?skip={skip}&limit=50") for skip in range(0, len(every), 50)]
    assert [one for some in skips for one in some] == every
    for wrong in ("sort=unknown", "sort=", "skip=-1", f"skip={SKIP_MAX + 1}", "limit=0", "sort=level&sort=x"):
        answer = whole.regulator.get(f"/warnings?{wrong}", headers={"Accept": "application/json"})
        problem_of(answer, 400, "QueryParameterException")
        assert whole.regulator.get(f"/console/warnings?{wrong}").status_code == 400


# --- journeys ---------------------------------------------------------------------------------------------------

widths = pytest.mark.parametrize("width", WIDTHS)


def come(whole: Whole, visitors: Visitors, role: Role, width: int = DESK, to: str = "/console/registry") -> Visitor:
    return visitors.come(width, whole.keys[role], to)


def look_for(page: Page, text: str, purpose: str = "") -> None:
    page.fill("#find-text", text)
    if purpose:
        page.select_option("#find-purpose", purpose)
    page.keyboard.press("Enter") if not purpose else page.click("#find button")


def own_party(whole: Whole, code: str, name: str) -> str:
    """A party of a journey's own."""
    filed(whole.server.ledger, PARTY, [{
        "party": code, "kinds": "retailer", "legal_name": name, "identity_number": PERSON, "contact": "钱二十",
    }])  # fmt: skip
    return code


@widths
def test_a_name_is_found_for_a_purpose_and_shown_for_one(whole: Whole, visitors: Visitors, width: int) -> None:
    """From a complaint about "old Wu" to who that is, and nobody can say later that they had not looked."""
    name = f"湖畔老吴{width}水产摊"
    code = own_party(whole, f"{NODE}{width % 9000 + 100:04}", name)
    regulator = come(whole, visitors, Role.REGULATOR, width)
    page = regulator.page
    look_for(page, code)
    page.wait_for_url(f"**/console/registry/parties/{code}")
    expect(page.locator("h1")).to_contain_text(code)
    look_for(page, f"老吴{width}")
    expect(page.locator("#found")).to_contain_text(TEXTS["not_found"][0])
    look_for(page, f"老吴{width}", "complaint")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    expect(page.locator("#found tbody")).to_contain_text(name)
    regulator.accessible()
    page.click("#found a")
    page.wait_for_url(f"**/console/registry/parties/{code}")
    shown = page.locator('dd[data-field="legal_name"]')
    expect(shown).to_have_text("湖**")
    assert name not in page.content() and PERSON not in page.content()
    page.select_option("#purpose", "incident")
    page.click("#reveal button")
    expect(shown).to_have_text(name)
    expect(page.locator('dd[data-field="identity_number"]')).to_have_text(PERSON)
    expect(page.locator('dd[data-field="contact"]')).to_have_text("钱二十")
    expect(page.locator('dd[data-field="party"]')).to_have_text(code)
    regulator.accessible()
    regulator.go("/console/log?kind=reading")
    rows = page.locator("main tbody tr")
    expect(rows.nth(0)).to_contain_text("事件处置")
    expect(rows.nth(1)).to_contain_text("投诉举报")
    regulator.go(f"/console/registry/parties/{code}")
    expect(shown).to_have_text("湖**")


@widths
def test_a_field_is_changed_one_is_emptied_and_a_step_is_taken(whole: Whole, visitors: Visitors, width: int) -> None:
    """A form that sends back what it shows would file the masks, or undo what somebody else changed meanwhile."""
    code, paper = own_party(whole, f"{NODE}{width % 9000 + 200:04}", "湖畔老郑摊"), f"origin:W{width}"
    filed(whole.server.ledger, CERTIFICATE, [{
        "certificate": paper, "issuer": "樟木所", "issued": "2026-11-24", "quantity": "5", "unit": "KGM",
    }])  # fmt: skip
    regulator = come(whole, visitors, Role.REGULATOR, width, f"/console/registry/parties/{code}")
    page = regulator.page
    page.click("summary")
    regulator.accessible()
    page.fill("#to-phone", "18811110009")
    page.fill("#change-reason", "新号码")
    with page.expect_request(lambda one: one.method == "PATCH") as sent:
        page.click("form[data-method=PATCH] button")
    assert sent.value.post_data_json == {"phone": "18811110009", "reason": "新号码"}, "only what was changed"
    expect(page.locator('dd[data-field="phone"]')).to_have_text("188****0009")
    versions = page.locator("main table.sortable tbody tr")
    expect(versions).to_have_count(2)
    expect(versions.first).to_contain_text("phone")
    page.select_option("#step", "suspend")
    page.fill("#step-reason", "许可证复核")
    page.click('form[data-action$="/steps"] button')
    expect(versions).to_have_count(3)
    expect(versions.first).to_contain_text("suspended")
    assert page.locator("#step option").evaluate_all("all => all.map((one) => one.value)") == [
        "resume",
        "revoke",
        "leave",
    ]
    regulator.accessible()
    assert whole.json(f"/registry/parties/{code}")["status"] == "suspended"
    regulator.go(f"/console/registry/certificates/{quote(paper)}")
    page.click("summary")
    page.fill("#to-issuer", "")
    page.select_option("#to-unit", "TNE")
    page.fill("#change-reason", "更正")
    with page.expect_request(lambda one: one.method == "PATCH") as sent:
        page.click("form[data-method=PATCH] button")
    assert sent.value.post_data_json == {"issuer": None, "unit": "TNE", "reason": "更正"}
    expect(page.locator('dd[data-field="issuer"]')).to_have_text("—")
    made = whole.json(f"/registry/certificates/{paper}")
    assert (made["issuer"], made["unit"], made["quantity"], made["version"]) == (None, "TNE", "5", 2)
    regulator.expected = {"400"}
    page.click("summary")
    page.fill("#to-quantity", "many")
    page.fill("#change-reason", "更正")
    page.click("form[data-method=PATCH] button")
    expect(page.locator("form[data-method=PATCH] .alert")).to_contain_text("quantity: give a decimal number")
    assert page.locator("#to-quantity").input_value() == "many", "what was typed is not lost"


@widths
def test_a_market_files_a_party_and_is_told_what_is_wrong_first(whole: Whole, visitors: Visitors, width: int) -> None:
    """A clerk who is told "error" files nothing, or the same stall twice."""
    code = f"{NODE}{width % 9000 + 300:04}"
    manager = come(whole, visitors, Role.MARKET, width, "/console/registry/parties")
    manager.expected = {"400", "403", "409"}
    page = manager.page
    manager.accessible()
    page.click('a[href$="/parties/new"]')
    manager.accessible()
    page.fill("#new-party", "33021")
    page.fill("#new-kinds", "零售商 farm")
    page.fill("#new-legal_name", "湖畔老冯豆腐摊")
    page.fill("#new-credit_code", "91350100M000100Y44")
    alert = page.locator("main form .alert")
    page.click("main form button")
    expect(alert).to_contain_text("party: it has 5 digits, not 13")
    expect(alert).to_contain_text("credit_code: character 18: the check character is 4, it should be 3")
    manager.accessible()
    page.fill("#new-party", f"{OTHER}0300")
    page.fill("#new-credit_code", FIRM)
    page.click("main form button")
    expect(alert).to_contain_text(OTHER)
    page.fill("#new-party", code)
    page.click("main form button")
    page.wait_for_url("**/console/registry/parties")
    expect(page.locator("main tbody")).to_contain_text(code)
    page.click(f'a[href$="/parties/{code}"]')
    expect(page.locator("dl").first).to_contain_text("零售商 retailer 种养殖户 farm")
    manager.go("/console/registry/parties/new")
    page.fill("#new-party", code)
    page.fill("#new-kinds", "farm")
    page.fill("#new-legal_name", "x")
    page.fill("#new-credit_code", FIRM)
    page.click("main form button")
    expect(alert).to_contain_text(code)
    assert whole.json(f"/registry/parties/{code}")["version"] == 1


def test_rules_of_many_lines_go_to_and_fro_unchanged(whole: Whole, visitors: Visitors) -> None:
    """A line break that the form makes another one is a new version of every rule,
    by somebody who changed nothing."""
    filed(whole.server.ledger, RULE_SET, [{"rule_set": "lines", "rules": RULES.replace("id: ", "id: other_")}])
    admin = come(whole, visitors, Role.ADMIN, to="/console/registry/rule-sets/lines")
    page = admin.page
    for typed, wanted in (("", {"reason"}), ("# 注释\n", {"rules", "reason"})):
        page.click("summary")
        page.locator("#to-rules").focus()
        page.keyboard.press("Control+Home")
        page.locator("#to-rules").press_sequentially(typed)
        page.fill("#change-reason", "说明")
        with page.expect_request(lambda one: one.method == "PATCH") as sent, page.expect_navigation():
            page.click("form[data-method=PATCH] button")
        assert set(sent.value.post_data_json or ()) == wanted
    made = whole.json("/registry/rule-sets/lines")
    assert made["version"] == 2 and made["rules"].startswith("# 注释\n") and "\r" not in made["rules"]


def rows_saved(page: Page, table: int = 0) -> list[list[str]]:
    """What the export button of a page's table gives."""
    with page.expect_download() as saved:
        page.locator("button.export").nth(table).click()
    text = Path(saved.value.path()).read_text("utf-8-sig")
    return [*csv.reader(io.StringIO(text, newline=""))]


def test_an_export_holds_the_rows_of_all_pages(
    whole: Whole, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sheet that ends where the page ends is taken for the whole."""
    regulator = come(whole, visitors, Role.REGULATOR, to=f"/console/entries?node={LONG}")
    page = regulator.page
    expect(page.locator("main tbody tr")).to_have_count(100)
    rows = rows_saved(page)
    assert [row[-1] for row in rows[1:]] == [f"{LONG}/{seq}" for seq in range(130, 0, -1)]
    monkeypatch.setattr(reads, "STRETCH_MAX", 50)
    regulator.go(f"/console/entries?node={LONG}&step=retail_selling")
    assert len(rows_saved(page)) == 1, "pages that say nothing are no rows"
    monkeypatch.undo()
    regulator.go("/console/warnings?status=all&sort=node")
    rows = rows_saved(page)
    assert len(rows) - 1 == len(whole.json("/warnings?limit=1000")) > 100
    regulator.go(f"/console/entries?node={LONG}")
    regulator.expected = {"401"}
    regulator.context.clear_cookies()
    page.locator("button.export").click()
    expect(page.locator("p.alert")).to_be_visible()
    expect(page.locator("button.export")).to_be_enabled()


@widths
def test_a_long_table_is_narrowed_and_the_export_follows(whole: Whole, visitors: Visitors, width: int) -> None:
    """A page full of stalls, and the one that is looked for."""
    regulator = come(whole, visitors, Role.REGULATOR, width, f"/console/market?node={QUIET}")
    page = regulator.page
    rows = page.get_by_role("region", name=TEXTS["stalls"][0]).locator("tbody tr")
    expect(rows).to_have_count(22)
    regulator.accessible()
    field = page.locator("input.narrowing")
    expect(field).to_have_count(1)
    for said, count in ((f"{QUIET}000", 9), (f" {QUIET}002  RETAILER ", 3), ("nothing of it", 0), ("", 22)):
        field.fill(said)
        assert rows.evaluate_all("all => all.filter((one) => !one.hidden).length") == count, said
    field.fill(f"{QUIET}0012")
    assert [row[0] for row in rows_saved(page, 1)[1:]] == [f"{QUIET}0012"]


PAGES = [
    "/console/registry", f"/console/registry/certificates?certificate={ANIMAL}", f"/console/entries?node={NODE}",
    f"/console/entries/{FARM}/2", "/console/log?kind=reading", "/console/warnings?level=red&sort=due",
    "/console/registry/parties/0",
]  # fmt: skip
"""What no other journey looks at in this way."""


@widths
def test_every_page_can_be_used_by_everybody_on_a_telephone_too(whole: Whole, visitors: Visitors, width: int) -> None:
    """What a reader for the blind does not say, or what lies beside the screen, is not there for somebody."""
    admin = come(whole, visitors, Role.ADMIN, width)
    admin.expected = {"404"}
    for path in PAGES:
        admin.go(path)
        expect(admin.page.locator("h1")).to_have_count(1)
        admin.accessible()
    for path in (f"/console/registry/licences/{whole.licence}", f"/console/entries/{NODE}/1"):
        admin.go(path)
        for summary in admin.page.locator("summary").all():
            summary.click()
        admin.accessible()


# --- a stranger and a confused user ---------------------------------------------------------------------------


LONG_TEXT = "长" * 300
COMMON = [
    "sort=unknown", "sort=-", "sort=%00", "skip=-1", "skip=999999", "skip=x", f"skip={10**30}", "limit=1",
    "limit=x", "node=abc",
    "node=%00", "node=33021200", f"node={10**20}", "node=990212001", "status=none", "status=%00", "colour=red",
    "&&&", "=", "%",
    "%ff=%fe", "kind=%3Cscript%3Ealert(1)%3C/script%3E", "sort=a&skip=0&skip=5&sort=x",
    "node=&status=&sort=&kind=&step=&day=&by=",
]  # fmt: skip
OF_RECORDS = [
    "sort=legal_name", "sort=--party", "sort=party;drop", f"sort={'x' * 3000}", "skip=1.5", "skip=",
    "status=active&status=left",
    "status=%F0%9F%90%B7", "expiring=x", "expiring=-1", f"expiring={10**12}", "expiring=1e3", "expiring=%D9%A3",
    "expiring=0",
    "kinds=farm&kinds=x", "party=%27%20OR%201=1", f"party={quote(LONG_TEXT)}",
]  # fmt: skip
OF_CHAINS = [
    "day=2026-13-40", "day=2026-02-29", "day=0000-01-01", "day=9999-12-31", "day=x", "day=%00",
    "day=2026-11-25T00:00", "before=0",
    "before=x", f"before={10**30}", "before=-5", "step=unknown", "step=%00", "step=%27%3B--",
    f"step={quote(LONG_TEXT)}", "by=%00",
    "by=%22", "by=%5C", "by=%E9", f"by={'x' * 200}", "by=%25",
]  # fmt: skip
OF_WARNINGS = ["level=purple", "after=x", "after=%00", "text=%00", "text=%25", "goods=%25", "rule=%00"]
LISTS = {
    "/console/registry/parties": COMMON + OF_RECORDS, "/console/registry/licences": COMMON + OF_RECORDS,
    "/console/registry/nodes": COMMON, "/console/registry/licences/sheet.csv": COMMON + OF_RECORDS,
    "/console/entries": COMMON + OF_CHAINS, "/console/log": COMMON + OF_CHAINS, "/console/market": COMMON,
    "/console/warnings": COMMON + OF_WARNINGS,
}  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_no_question_is_a_fault_of_ours_and_each_error_says_what_is_wrong(whole: Whole, path: str) -> None:
    """What falls over at a typing error falls over at noon; what says "error" is asked again the same way."""
    for query in LISTS[path]:
        answer = whole.regulator.get(f"{path}?{query}")
        assert answer.status_code in (200, 400, 404, 413), (path, query, answer.status_code)
        assert "<script>alert" not in answer.text and "Traceback" not in answer.text, (path, query)
        if answer.status_code != 200:
            problem = whole.regulator.get(f"{path}?{query}", headers={"Accept": "application/json"})
            assert problem.status_code == answer.status_code
            assert len(problem.json()["detail"]) > 10, (path, query)


def test_a_filter_that_is_misspelt_is_said_and_not_ignored(whole: Whole) -> None:
    """Ignored, it shows everything, and everything is taken for what was asked for."""
    for path, queries in (
        ("registry/parties", ["sort=unknown", "node=abc", "status=none", "kinds=x", "kind=farm", "skip=-1"]),
        ("registry/licences", ["expiring=x", "expiring=-1", f"expiring={10**12}", "kind=x"]),
        ("registry/certificates", ["node=1"]),
        ("entries", ["kind=x", "day=2026-13-40", "day=9999-12-31", "before=0", "node=abc", "step=%00", "form=x"]),
        ("log", ["kind=x", "kind=event", "day=x", "before=0", "by=%22"]), ("warnings", ["sort=x", "level=x",
        "colour=red"]),
    ):  # fmt: skip
        for query in queries:
            answer = whole.regulator.get(f"/console/{path}?{query}")
            assert answer.status_code in (400, 404), (path, query, answer.status_code)
            seen = whole.see(f"/console/{path}?{query}", whole.regulator, answer.status_code)
            assert len(seen.text.split(TEXTS["error"][1])[-1]) > 10 or TEXTS["not_found"][0] in seen.text, query
    found = whole.see(f"/console/registry/certificates?node={FARM}")
    assert codes_of(found, CERTIFICATE) == [ANIMAL], "the market's page leads here"


def test_paths_that_lead_nowhere_are_not_found(whole: Whole) -> None:
    """A code with a slash, a plus or a sign of another script in an address is still only a code."""
    for path in (
        "registry/nothing", "registry/nothing/1", "registry/nothing/new", "registry/nothing/sheet.csv",
        "registry/Parties", "registry/",
        "registry/parties/", "registry/parties/new/", "registry/parties/%00", "registry/parties/%ff",
        "registry/parties/a+b",
        "registry/licences/+", f"registry/licences/{STALLED}", f"registry/licences/{STALLED}+",
        f"registry/licences/{STALLED}+0",
        "registry/parties/..%2f..", "registry/nodes/0x1", "registry/nodes/%E0%A5%A7", f"registry/nodes/{10**12}",
        "registry/nodes/-1",
        "registry/yields/pig", "registry/yields/pig+x+y", "registry/certificates/product:1/2",
        "registry/certificates/%E7%8C%AA",
        "registry/parties/sheet.csv/x", f"entries/{NODE}/0", f"entries/{NODE}/-1", f"entries/{NODE}/{10**30}",
        f"entries/{NODE}/x",
        f"entries/{NODE}/1/2", "entries/abc/1", f"entries/{NODE}", f"entries/{'9' * 400}/1",
        "entries/000000000/99999999", "warnings/%00",
    ):  # fmt: skip
        answer = whole.regulator.get(f"/console/{path}")
        assert answer.status_code in (400, 404, 307), (path, answer.status_code)
        assert "Traceback" not in answer.text and "<script>" not in answer.text
    for form in ("pdf", "html", "", "csv.exe", "%00"):
        assert whole.regulator.get(f"/console/registry/parties/sheet.{form}").status_code in (400, 404), form
    for code in ("nodes/330212001", f"nodes/{NODE}", "regions/330212", f"parties/{STALLED}?on=x&x=%00"):
        whole.see(f"/console/registry/{code}")


def test_a_stranger_is_led_to_the_sign_in_and_learns_nothing(whole: Whole) -> None:
    """Whether a party is filed is nobody's business who has no key."""
    stranger = whole.server.with_key(None)
    stranger.headers.update(HTML)
    for path in (*LISTS, f"/console/registry/parties/{STALLED}", "/console/registry/parties/0",
    f"/console/entries/{NODE}/1",
                 "/console/registry/parties/new"):  # fmt: skip
        answer = stranger.get(path)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/login?next=/console"), path
        assert answer.text == ""


def test_what_stands_in_a_record_is_never_markup(whole: Whole) -> None:
    """Sheets are filled in by strangers, and read by whoever oversees them."""
    evil = "\"><img src=x onerror=alert(1)>'{{7*7}}"
    filed(whole.server.ledger, NODES, [{"node": "330212066", "name": evil, "trace_scheme": "A", "kind": "market"}])
    filed(whole.server.ledger, SILENCE, [{"silence": "330212066-9", "rule": "a_rule",
    "until": "2027-01-01T00:00:00Z", "cause": evil,
                                          "subject": evil}])  # fmt: skip
    for path in ("registry/nodes", "registry/nodes/330212066", "registry/silences",
    "registry/silences/330212066-9", "entries",
                 "market", "market?node=330212066", "entries?node=330212066", "log",
                 f"registry/silences?subject={quote(evil)}"):  # fmt: skip
        text = whole.see(f"/console/{path}").source
        assert "<img src=x" not in text and "'49" not in text, path
    assert "&lt;img src=x" in whole.see("/console/registry/silences/330212066-9").source
    (one,) = [one for one in whole.search("img src=x") if one["kind"] == "node"]
    assert one["name"] == evil
