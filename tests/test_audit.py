"""The audit: whatever is changed is named, once and by its own name; and what was not changed is never named."""

import base64
import dataclasses
import itertools
import json
import random
import secrets
import threading
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Table

from api.ledger import Ledger, now
from ledger.access import Actor, Role
from ledger.audit import Report, audit
from ledger.audit import packs as packs_module
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import CITY, DRUG_URN, IMPORT, NODE_URN, PartyCode, TraceScheme, node_text
from ledger.credentials import issue, revoke
from ledger.documents import read_document, write_json
from ledger.entries import GENESIS, Kind, decode, encode, hash_of
from ledger.erase import erase, erase_party
from ledger.filing import file_one
from ledger.gs1 import Key
from ledger.identifiers import uri_of
from ledger.keys import KeyFolder
from ledger.nodes import OPERATOR, add_node, places_of
from ledger.notes import Recorded, open_receipt
from ledger.packs import positions as positions_module
from ledger.packs.counter import Answer, Ask
from ledger.packs.decision import Order
from ledger.packs.effects import Outcome, Standing, after, outcomes_json, outcomes_of
from ledger.packs.positions import Positions
from ledger.packs.states import Command, State
from ledger.publishing import OWN as PUBLISHER
from ledger.registers import NODE, PARTY, register_of
from ledger.registry import Purpose, Wanted, listing, reading_request, record
from ledger.serials import lease, slips_of_party
from ledger.tables import APPEND_ONLY, POSITIONS, REGISTRY, SEARCH, VERSIONS
from ledger.worker import Worker, integrate_now
from scanners.city import document
from tests.conftest import VECTORS, Own, look, sign
from tests.test_append import day, request_of
from tests.test_log import A, B, back_up, leaves_of, small, tree_head, write
from tests.test_registry import filed

ALL = (*APPEND_ONLY, *POSITIONS, *REGISTRY, VERSIONS, SEARCH)
TABLES = [table.name for table in ALL]
KEYS = {table.name: [column.name for column in table.primary_key] for table in ALL}


def events() -> list[dict]:
    """Events of all five types, one of them declared in error, two with sealed fields."""
    made = day(262)
    one = made[0]
    context = {"@context": {"example": "https://example.com/"}}
    at = {"eventTime": "2026-11-23T10:00:00.000+08:00", "eventTimeZoneOffset": "+08:00"}
    item, crate = "https://id.gs1.org/01/06901234500400/21/A1", "https://id.gs1.org/8003/00690123450006C1"
    return [
        *made,
        {
            "type": "TransactionEvent", "action": "ADD", "epcList": [item], "eventID": "urn:example:transaction", **at,
            "bizTransactionList": [{"type": "po", "bizTransaction": "urn:example:order:1"}], "example:price": 12.50,
            **context,
        },
        {
            "type": "AssociationEvent", "action": "ADD", "parentID": crate, "childEPCs": [item], **at,
            "example:note": {"deep": [1, 2.0, 1e3, None, True, "溯源"]}, **context,
        },
        {**one, "errorDeclaration": {"declarationTime": "2026-11-24T00:00:00Z", "reason": "incorrect_data"}},
    ]  # fmt: skip


def furnish(ledger: Ledger) -> Ledger:
    """A small ledger with something of everything, signed at several sizes."""
    for code, name in ((A, "批发市场"), (B, "农贸市场")):
        ledger.record(add_node(code, name, TraceScheme.OPERATOR_SERIAL, [], "operator"))
    with ledger.database.read() as connection:
        market = record(connection, ledger.vault, NODE, (str(A),))
        ledger.record(ledger.registrar(OPERATOR).change(market, {"name": "新市场"}))
        for label in ("scale 1", "scale 2"):
            request, made, _ = issue(connection, Role.TERMINAL, label, [node_text(B)], 30, "operator", now())
            ledger.record(request)
    ledger.record(revoke(made, "operator", now()))
    sign(ledger)
    Worker(ledger.database, ledger.keys, ledger.signer, now)._tick("2026-11-23T10:00:00.000000Z", 8)
    register(ledger)
    for outcome in ledger.lanes.record(request_of(ledger, events(), ErrorBehaviour.PROCEED)):
        assert isinstance(outcome, list)
    sign(ledger)
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    data = (VECTORS / "epcis" / "prices-and-header.jsonld").read_bytes()
    for text in (data, data.replace(b"2026", b"2027")):
        document = read_document(text)
        envelope, *_ = ledger.lanes.record(
            requests_of(document, OPERATOR, places, ErrorBehaviour.PROCEED, ledger.secret)
        )
        assert isinstance(envelope, list)
    erase(ledger.database, IMPORT, 263, "asked for", "operator", now)
    write(ledger.database, [small(A, 3), small(B, 2), small(CITY, 1)])
    trade(ledger)
    with ledger.database.connect() as connection:
        (document,) = connection.execute("SELECT min(seq) FROM entry WHERE kind = %s", [Kind.DOCUMENT]).fetchone()
    erase(ledger.database, IMPORT, document, "asked for", "operator", now)
    sign(ledger)
    return ledger


NOT_NOTHING = {"balance": " WHERE quantity <> 0"}
"""A row that says that nothing is left says the same as no row."""
LOT = "urn:suyuan:lot:21113011:33021200126112500001"
FILED = {
    "regions": [
        {"region": "330212", "name": "樟木区"},
        {"region": "330213", "name": "新樟木区", "since": "2021-04-09"},
    ],
    "goods": [
        {"goods": "pig", "name": "生猪", "kind": "live_animal", "unit": "H87"},
        {"goods": "21113011", "name": "猪肉", "kind": "meat", "unit": "KGM", "tolerance_percent": "2.50"},
    ],
    "yields": [
        {"source": "pig", "goods": "21113011", "least": "70", "most": "90"},
        {"source": "21113011", "goods": "pig", "least": "1", "most": "2.5"},
    ],
    "products": [
        {"product": "8123456", "name": "胶囊", "kind": "drug", "units_per_pack": "24", "storage_max_c": "-5"},
        {"product": "8123457", "name": "片", "kind": "drug", "gtin": "06901234500301"},
    ],
    "parties": [
        {"party": f"{B}0001", "kinds": "retailer", "legal_name": "甲乙丙", "identity_number": "11010519491231002X"},
        {"party": f"{B}0002", "kinds": "wholesaler", "legal_name": "丁公司", "credit_code": "91350100M000100Y43"},
        {"party": f"{B}0003", "kinds": "farm", "legal_name": "戊", "identity_number": "11010519491231002X"},
    ],
    "licences": [
        {"party": f"{B}0001", "number": "JY1", "kind": "food_operation", "valid_from": "2026-01-01"},
        {"party": f"{B}0003", "number": "JY3", "kind": "other", "valid_from": "2026-01-01", "valid_to": "2026-12-31"},
    ],
    "recalls": [
        {"recall": "ZH-2026-0001", "product": "8123456", "batches": "B1 B2", "grade": "1", "origin": "ordered",
         "nature": "real", "range": "city", "regime": "cn_drug", "decided_at": "2026-11-25T08:00:00+08:00"},
        {"recall": "ZH-2026-0002", "product": "8123456", "grade": "3", "origin": "voluntary", "nature": "exercise",
         "range": "nation", "regime": "cn_food", "party": f"{B}0002", "decided_at": "2026-11-25T08:00:00Z",
         "notified_at": "2026-11-25T09:00:00Z", "planned_at": "2026-11-25T10:00:00Z",
         "progress_at": "2026-11-26T08:00:00Z"},
        {"recall": "ZH-2026-0003", "lots": f"{LOT} urn:example:lot:2", "grade": "2", "origin": "ordered",
         "nature": "real", "range": "nation", "regime": "cn_food", "decided_at": "2026-11-25T08:00:00Z"},
    ],
    "differences": [
        {"number": "330212023-0d3c5a52-1", "kind": "missing_product", "shipment": "urn:suyuan:bill:1", "quantity": "3",
         "product": "8123456", "codes": "urn:suyuan:drug:81234560000000010001", "request": "send_product"},
        {"number": "330212023-0d3c5a52-2", "kind": "overage", "shipment": "urn:suyuan:bill:2", "quantity": "1",
         "product": "8123456", "request": "return", "response": "return"},
    ],
    "drug-markets": [{"market": "drugs", "rules": "china", "soft": "1"}],
    "certificates": [
        {"certificate": "product:330212000117", "issued": "2026-11-24", "expires": "2026-11-28", "quantity": "500.50",
         "unit": "KGM", "goods": "21113011", "node": f"{B}", "used": "120"},
        {"certificate": "origin:产地-1", "issuer": "动物卫生监督所", "issued": "2026-11-25"},
    ],
    "holds": [
        {"hold": f"{B}-1", "scope": "lot", "target": LOT, "until": "2026-11-28T08:00:00+08:00", "warning": "w1"},
        {"hold": "000000000-2", "scope": "party", "target": f"{B}0001"},
    ],
    "silences": [
        {"silence": f"{B}-1", "rule": "price_outlier", "until": "2026-11-28T08:00:00Z", "cause": "促销活动"},
        {"silence": f"{B}-2", "subject": LOT, "until": "2026-11-29T08:00:00Z", "cause": "已知"},
    ],
    "handlings": [
        {"warning": f"{B}-0f1e2d3c4b5a69788796a5b4", "assignee": f"{B}0001", "due": "2026-11-28T08:00:00Z"},
        {"warning": f"{B}-0f1e2d3c4b5a69788796a5b5", "measures": "下架"},
    ],
    "rule-sets": [
        {"rule_set": "meat", "rules": "rules: []"},
        {"rule_set": "vegetables", "rules": "# nothing yet\nrules: []"},
    ],
    "subscriptions": [
        {"subscription": f"{B}-erp", "channel": "webhook", "destination": "https://erp.example/hook", "levels": "red",
         "goods": "211", "nodes": f"{B}"},
        {"subscription": f"{B}-mail", "channel": "email", "destination": "li@example.com", "kinds": "warning.raised",
         "regions": "330212", "rules": "residue_failed", "subjects": LOT},
    ],
    "recall-answers": [
        {"answer": f"{B}-ZH-2026-0001", "acknowledged_at": "2026-11-25T09:00:00+08:00", "unit": "KGM", "found": "12.50",
         "sold": "37.5", "returned": "0", "destroyed": "12.5"},
        {"answer": f"{B}-ZH-2026-0003", "acknowledged_at": "2026-11-25T10:00:00Z"},
    ],
    "report-schedules": [
        {"schedule": f"{B}-morning", "report": "daily", "format": "pdf"},
        {"schedule": "000000000-weekly", "report": "weekly", "format": "csv", "language": "en"},
    ],
    "published-reports": [
        {"published": f"{B}-morning-2026-11-2{day}", "report": "daily", "period": f"2026-11-2{day}", "format": "pdf",
         "language": "zh", "as_of": f"2026-11-2{day + 1}T00:05:12+08:00", "size": f"{day}", "hash": f"{day}" * 64,
         "sha256": f"{day + 1}" * 64, "bytes": f"4821{day}"}
        for day in (4, 5)
    ],
}  # fmt: skip
"""Records of every register; the third party leaves and is erased."""
STEPS = {
    "parties": "suspend", "licences": "suspend", "recalls": "end", "differences": "resolve", "certificates": "void",
    "holds": "release", "silences": "end", "handlings": "assign", "rule-sets": "retire", "subscriptions": "pause",
    "report-schedules": "end",
}  # fmt: skip
"""What becomes of them at once: of parties and licences of all, of other records of all but the first."""


def register(ledger: Ledger) -> None:
    for name, given in FILED.items():
        till = Actor("till", Role.PHARMACY, frozenset([330212023]), 330212023)
        keeper = ledger.registrar({"differences": till, "published-reports": PUBLISHER}.get(name, OPERATOR))
        for number, one in enumerate(given):
            with ledger.database.read() as connection:
                request, key = file_one(connection, keeper, register_of(name), one, "filed for a test")
            ledger.record(request)
            if name in STEPS and (number > 0 or name in ("parties", "licences")):
                with ledger.database.read() as connection:
                    present = record(connection, ledger.vault, register_of(name), key)
                ledger.record(keeper.step(present, STEPS[name], "a reason"))
    keeper = ledger.registrar(OPERATOR)
    for count in (3, 2):
        lease(ledger.database, ledger.lanes.record, slips_of_party(PartyCode(f"{B}0001")), count, "operator")
    lease(ledger.database, ledger.lanes.record, slips_of_party(PartyCode(f"{B}0002")), 1, "operator")
    with ledger.database.read() as connection:
        first, _, third = listing(connection, ledger.vault, PARTY, Wanted(), None, 10)
        market = record(connection, ledger.vault, NODE, (str(A),))
    ledger.record(reading_request(OPERATOR, [first, third], Purpose.INSPECTION, now()))
    ledger.record(keeper.step(market, "close", "moved"))
    erase_party(ledger.database, keeper, third, "an order", now, order=True)


PLANT, HOUSE, CORNER, HIGH_STREET = 330212021, 330212022, 330212023, 330212024
PLACES = {
    PLANT: ("drug_plant", Role.MANUFACTURER), HOUSE: ("drug_wholesaler", Role.WHOLESALER),
    CORNER: ("pharmacy", Role.PHARMACY), HIGH_STREET: ("pharmacy", Role.PHARMACY),
}  # fmt: skip


def pack(number: int) -> Key:
    """A pack of the registered drug; all codes are of one length, so that none begins as another does."""
    return Key(f"{DRUG_URN}8123456000000001{number:04}")


def give(ledger: Ledger, node: int, command: Command, *packs: Key, **said: Any) -> Answer:
    """Give a command for packs at a counter, and wait for the answer."""
    scan, actor = str(uuid.uuid4()), Actor("till", PLACES[node][1], frozenset([node]), node)
    orders = tuple(Order(scan, command, code, node, actor.name, now(), **said) for code in packs)
    return ledger.counter.ask(Ask(scan, actor, orders)).result(60)


def taken(ledger: Ledger, node: int, command: Command, *packs: Key, **said: Any) -> Recorded:
    """The place of the one entry that a command made."""
    answer = give(ledger, node, command, *packs, **said)
    assert all(one.decision.taken for one in answer.verdicts), [one.decision for one in answer.verdicts]
    (place,) = answer.places
    return place


def told(ledger: Ledger, node: int, event: dict) -> Recorded:
    """What somebody else's system says that happened, as over /capture."""
    event = {"eventTimeZoneOffset": "+08:00", "eventTime": "2026-11-25T08:00:00+08:00", "action": "OBSERVE",
             "type": "ObjectEvent", "eventID": f"urn:uuid:{uuid.uuid4()}",
             "readPoint": {"id": NODE_URN + node_text(node)}} | event  # fmt: skip
    event = {name: value for name, value in event.items() if value is not None}
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    read = read_document(write_json(document([event], now())))
    (outcome,) = ledger.lanes.record(requests_of(read, OPERATOR, places, ErrorBehaviour.ROLLBACK, ledger.secret))
    assert isinstance(outcome, list), outcome
    return outcome[-1]


def sale(*packs: Key, **more: Any) -> dict:
    """A sale as another system tells it."""
    return {"bizStep": "dispensing", "disposition": "dispensed", "epcList": [uri_of(code) for code in packs], **more}


def declaration(event: dict) -> dict:
    return {**event, "errorDeclaration": {"declarationTime": "2026-11-26T00:00:00Z", "reason": "did_not_occur"}}


def trade(ledger: Ledger) -> None:
    """Packs with every kind of history: by command and by fact, alone and together, forward and back."""
    for node, (kind, _) in PLACES.items():
        filed(ledger, NODE, [{"node": node_text(node), "name": "药", "trace_scheme": "A", "kind": kind}])
    made = [pack(number) for number in range(10)]
    taken(ledger, PLANT, Command.COMMISSION, *made, batch="B9", expires=date(2028, 6, 30))
    for node, command in ((PLANT, Command.SHIP), (HOUSE, Command.RECEIVE), (HOUSE, Command.SHIP)):
        taken(ledger, node, command, *made[:8])
    taken(ledger, CORNER, Command.RECEIVE, *made[:6])  # 6 and 7 are under way, 8 and 9 at the plant
    taken(ledger, CORNER, Command.SUPPLY, made[0], made[1])
    taken(ledger, CORNER, Command.UNDO, made[1], undoes=State.SUPPLIED)
    refused = give(ledger, HIGH_STREET, Command.SUPPLY, made[0])
    assert not refused.verdicts[0].decision.taken and len(refused.places) == 1
    taken(ledger, CORNER, Command.SPLIT, made[2], units=6)
    taken(ledger, CORNER, Command.SPLIT, made[2], units=4)
    taken(ledger, CORNER, Command.UNDO, made[2], units=3)
    taken(ledger, CORNER, Command.DESTROY, made[3])
    mixed = give(ledger, CORNER, Command.SUPPLY, made[3], made[4])  # an event and a refusal in one request
    assert [one.decision.taken for one in mixed.verdicts] == [False, True] and len(mixed.places) == 2
    told(ledger, HIGH_STREET, sale(made[3], made[6]))  # the destroyed one stays destroyed
    wrong, late, first = (sale(pack, eventID=f"urn:uuid:{uuid.uuid4()}") for pack in (made[5], made[7], pack(10)))
    for event in (wrong, late, first):
        told(ledger, CORNER, event)
    taken(ledger, CORNER, Command.UNDO, made[7], undoes=State.SUPPLIED)  # so that nothing is left to take back
    for event in (wrong, late, first):
        told(ledger, CORNER, declaration(event))
    before = sale(made[7], eventID=f"urn:uuid:{uuid.uuid4()}")
    for event in (declaration(before), before):  # a declaration that comes before its event
        told(ledger, CORNER, event)
    told(ledger, PLANT, {
        "type": "TransformationEvent", "action": None, "inputEPCList": [uri_of(made[8])],
        "outputEPCList": [uri_of(pack(11)), uri_of(pack(12))], "bizStep": "repackaging",
        "ilmd": {"cbvmda:lotNumber": "R1", "cbvmda:itemExpirationDate": "2027-01-31"},
    })  # fmt: skip


@pytest.fixture
def full(ledger: Ledger) -> Ledger:
    found = furnish(ledger)
    report = look(found)
    assert report.clean and report.entries == report.log_size > 280, [*map(str, report.disagreements)]
    return found


class Tampering:
    """A superuser at work on a test's database, who can also put everything back."""

    def __init__(self, own: Own) -> None:
        self.connection = own.superuser()
        self.connection.execute("SET synchronous_commit = off")
        for table in TABLES:
            self.connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")

    def put_back(self, *tables: str) -> None:
        """Make `tables`, or all, what they were."""
        with self.connection.transaction():
            for table in tables or TABLES:
                self.connection.execute(f"TRUNCATE {table}")
                self.connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")

    def rows(self, table: str) -> list[dict[str, Any]]:
        """A few rows of every kind that the table holds."""
        kind = {
            "entry": "kind, sealed IS NULL, seq > 260", "event": "type, action", "item_entry": "role, action",
            "event_id": "declaration > 0, octet_length(digest), seq > 263", "log_range": "start", "tile": "level, n",
            "checkpoint": "size",
        }.get(table, KEYS[table][0])  # fmt: skip
        with self.connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            return cursor.execute(
                f"SELECT DISTINCT ON ({kind}) * FROM {table}{NOT_NOTHING.get(table, '')}"
                f" ORDER BY {kind}, {', '.join(KEYS[table])} DESC"
            ).fetchall()

    def where(self, table: str, row: dict[str, Any]) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(key), sql.Literal(row[key])) for key in KEYS[table]
        )

    def change(self, table: str, row: dict[str, Any], column: str, expression: str) -> bool:
        """Change a column of a row; whether the database let even the superuser do it."""
        statement = sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(
            sql.Identifier(table), sql.Identifier(column), sql.SQL(expression), self.where(table, row)
        )
        try:
            assert self.connection.execute(statement).rowcount == 1
        except psycopg.errors.IntegrityError:
            return False
        return True

    def delete(self, table: str, row: dict[str, Any]) -> None:
        statement = sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table), self.where(table, row))
        assert self.connection.execute(statement).rowcount == 1


@pytest.fixture
def tampering(own: Own, full: Ledger) -> Iterator[Tampering]:
    found = Tampering(own)
    yield found
    found.connection.close()


def named(report: Report, table: str, row: dict[str, Any]) -> bool:
    """Whether the audit names a row: by its own name, or by that of the entry or chain that it belongs to."""
    code = node_text(row["node"]) if row.get("node") is not None else ""
    wanted = {
        "entry": lambda: [f"entry {code}/{row['seq']}"],
        "log_range": lambda: ["log_range", f"log_cursor {code}"],
        "tile": lambda: [f"tile {row['level']}/{row['n']}", *["entry "][row["level"] :]],
        "edge": lambda: [f"edge {row['level']}", *["entry "][row["level"] :]],
        "checkpoint": lambda: [f"checkpoint {row['size']}", f"(size {row['size']}, "],
        "head": lambda: [f"chain {code}"],
        "log_cursor": lambda: [f"log_cursor {code}"],
        "registry_version": lambda: [f"registry_version {row['subject']} {row['version']}", f"{row['subject']} of "],
        "balance": lambda: [f"balance {row['item']} {row['holder']}"],
        "pack": lambda: [f"pack {row['code']}: "],
        "registry_search": lambda: [f"registry_search {row['subject']}"],
        **{one.name: lambda: [f"{table} {' '.join(str(row[key]) for key in KEYS[table])}"] for one in REGISTRY},
    }.get(table, lambda: [f" of {code}/{row['seq']}"])()
    return any(name in str(one) for one in report.disagreements for name in wanted)


EXPRESSIONS = {
    "smallint": ["{c} + 1", "{c} + 50", "-{c} - 1"],
    "integer": ["{c} + 1", "{c} + 1000000", "-{c} - 1", "2147483647"],
    "bigint": ["{c} + 1", "{c} + 1000000", "-{c} - 1", "9223372036854775807"],
    "text": ["{c} || 'x'", "''", "{c} || E'\\n'", "NULL"],
    "bytea": ["set_byte({c}, 0, get_byte({c}, 0) # 1)", "substring({c} FROM 2)", "{c} || '\\x00'", "''", "NULL"],
    "timestamp with time zone": ["{c} + interval '1 microsecond'", "{c} - interval '400 years'", "NULL", "'infinity'"],
    "boolean": ["NOT {c}"],
    "date": ["{c} + 1", "NULL", "'infinity'"],
    "numeric": ["{c} + 0.000001", "-{c}", "NULL", "'NaN'"],
    "ARRAY": ["{c} || {c} || NULL", "NULL"],
}


@pytest.mark.damages
@pytest.mark.parametrize(
    "tables", [APPEND_ONLY[:2], APPEND_ONLY[2:4], APPEND_ONLY[4:], POSITIONS, REGISTRY, (VERSIONS, SEARCH)]
)
def test_every_changed_column_of_every_row_is_named(
    full: Ledger, tampering: Tampering, tables: tuple[Table, ...]
) -> None:
    for table in tables:
        _change_every_column(full, tampering, table.name)
    assert look(full).clean


def _change_every_column(full: Ledger, tampering: Tampering, table: str) -> None:
    columns = tampering.connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", [table]
    ).fetchall()
    assert {name for name, _ in columns} > set(KEYS[table])
    tried, missed = 0, []
    for column, kind in columns:
        rows = tampering.rows(table)
        alone = table in ("log_range", "tile", "edge")  # here one change moves the rest
        for group in [[row] for row in rows[::3]] if alone else [rows]:
            for form in EXPRESSIONS[kind][:: 3 if alone else 1]:
                changed = [row for row in group if changes(tampering, table, row, column, kind, form)]
                if changed:
                    tried += 1
                    report = look(full)
                    missed += [
                        (row, column, form, [*map(str, report.disagreements[:3])])
                        for row in changed
                        if not named(report, table, row)
                    ]
                    tampering.put_back(table)
    assert missed == [] and tried >= len(columns)


def changes(tampering: Tampering, table: str, row: dict[str, Any], column: str, kind: str, form: str) -> bool:
    """Whether the row could be changed so, and is other than it was."""
    expression = form.format(c=column) if row[column] is not None else _filled(kind)
    question = f"SELECT count(*) FROM (SELECT * FROM {table} EXCEPT SELECT * FROM kept_{table}) AS changed"
    before = tampering.connection.execute(question).fetchone()
    try:
        applied = tampering.change(table, row, column, expression)
    except psycopg.DataError:  # out of the type's range
        return False
    return applied and tampering.connection.execute(question).fetchone() != before


def _filled(kind: str) -> str:
    return {"text": "'x'", "bytea": "'\\x00'", "timestamp with time zone": "now()", "integer": "7",
            "date": "'2026-11-23'", "numeric": "7", "ARRAY": "'{x}'"}[kind]  # fmt: skip


@pytest.mark.damages
def test_one_changed_byte_of_an_entry_is_named_as_that_entry_and_nothing_else(
    full: Ledger, tampering: Tampering
) -> None:
    """No cascade: not the entries after it, nor rows derived from it, nor what it said of others."""
    for row in tampering.rows("entry"):
        fields = [row["data"].index(b'"%s":' % name) for name in (b"seq", b"body", b"sealed")]
        for at in (0, *(start + 9 for start in fields), len(row["data"]) - 1):
            tampering.change("entry", row, "data", f"set_byte(data, {at}, get_byte(data, {at}) # 1)")
            found = [one.where for one in look(full).disagreements]
            assert found == [f"entry {node_text(row['node'])}/{row['seq']}"], (row["data"], at)
            tampering.put_back("entry")


@pytest.mark.damages
def test_any_bytes_changed_in_any_entries_name_exactly_these(full: Ledger, tampering: Tampering) -> None:
    chosen = random.Random(7)
    everything = tampering.connection.execute("SELECT node, seq, data FROM entry").fetchall()
    for share in (1, 2, 3, 5, 20, 200, 5, 3):
        for node, seq, data in (some := everything[::share]):
            at, bit = chosen.randrange(len(data)), 1 << chosen.randrange(8)
            tampering.connection.execute(
                "UPDATE entry SET data = set_byte(data, %s, get_byte(data, %s) # %s) WHERE (node, seq) = (%s, %s)",
                [at, at, bit, node, seq],
            )
        found = sorted(one.where for one in look(full).disagreements)
        assert found == sorted(f"entry {node_text(node)}/{seq}" for node, seq, _ in some)
        tampering.put_back("entry")


@pytest.mark.damages
def test_every_deleted_row_is_named(full: Ledger, tampering: Tampering) -> None:
    """All but a checkpoint that no tick names: which sizes were signed in between, nothing else tells."""
    missed = []
    for table in TABLES:
        for row in tampering.rows(table)[-5:]:
            if table == "checkpoint" and row["size"] != 8:
                continue
            tampering.delete(table, row)
            report = look(full)
            seen = named(report, table, row)
            if table == "entry" and not seen:  # the last of a chain outside the log's eyes is named by its head
                seen = named(report, "head", row)
            if table == "tile":
                seen = any(one.where == f"tile {row['level']}/{row['n']}" for one in report.disagreements)
                seen = seen and report.count == 1
            if not seen:
                missed.append((table, row, [*map(str, report.disagreements[:3])]))
            tampering.put_back(table)
    assert missed == []


@pytest.mark.damages
def test_every_row_copied_under_another_key_is_named(full: Ledger, tampering: Tampering) -> None:
    missed, tried = [], 0
    for table in TABLES:
        for key in KEYS[table]:
            copies = []
            for row in tampering.rows(table):
                other = {**row, key: _another(row[key])}
                columns = sql.SQL(", ").join(map(sql.Identifier, other))
                holders = sql.SQL(", ").join(sql.Placeholder() * len(other))
                statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
                    sql.Identifier(table), columns, holders
                )
                if tampering.connection.execute(statement, [*other.values()]).rowcount:
                    copies.append((row, other))
            report = look(full)
            tried += len(copies)
            missed += [
                (table, key, other)
                for row, other in copies
                if not named(report, table, other) and not (table == "event_id" and named(report, table, row))
            ]
            tampering.put_back(table)
    assert missed == [] and tried > 80


def _another(value: Any) -> Any:
    if isinstance(value, int):
        return value + 77
    return value + "7" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]


ALONE = {
    "drug_market": "whose rules hold is one record: its key can only be `drugs`",
    "tile": "so few entries fill one tile",
}
"""Tables with a single row, which nothing can be swapped with."""


@pytest.mark.damages
def test_two_rows_that_swapped_their_contents_are_both_named(full: Ledger, tampering: Tampering) -> None:
    missed = []
    assert {table for table in TABLES if len(tampering.rows(table)) < 2} == set(ALONE)
    for table in TABLES:
        rest = [column for column in tampering.rows(table)[0] if column not in KEYS[table]]
        for one, two in itertools.islice(itertools.pairwise(tampering.rows(table)), 4):
            if all(one[column] == two[column] for column in (["count"] if table == "log_range" else rest)):
                continue
            for row, other in ((one, two), (two, one)):
                if table == "log_range":  # (node, first_seq) is unique: swap what is left
                    tampering.change(table, row, "count", str(other["count"]))
                    continue
                tampering.connection.execute(
                    sql.SQL("UPDATE {} SET {} WHERE {}").format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in rest),
                        tampering.where(table, row),
                    ),
                    [other[column] for column in rest],
                )
            report = look(full)
            if not (named(report, table, one) and named(report, table, two)):
                missed.append((table, one, two, [*map(str, report.disagreements[:4])]))
            tampering.put_back(table)
    assert missed == []


# --- packs ----------------------------------------------------------------------------------------


def standing_of(tampering: Tampering, code: Key) -> dict[str, Any]:
    with tampering.connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute("SELECT * FROM pack WHERE code = %s", [code]).fetchone()


def put_row(tampering: Tampering, row: dict[str, Any]) -> None:
    """Make a pack's row this one."""
    names = [name for name in row if name != "code"]
    statement = sql.SQL("UPDATE pack SET {} WHERE code = %s").format(
        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names)
    )
    assert tampering.connection.execute(statement, [*(row[name] for name in names), row["code"]]).rowcount == 1


@pytest.mark.damages
def test_a_sold_pack_that_is_made_active_again_is_named(full: Ledger, tampering: Tampering) -> None:
    """Whoever wants to sell one code twice: however well the row is made, the entries say that it was sold."""
    code, other = pack(5), pack(4)
    unsold, rest = standing_of(tampering, code), standing_of(tampering, other)
    assert State(unsold["state"]) is State.ACTIVE and State(rest["state"]) is State.SUPPLIED
    taken(full, CORNER, Command.SUPPLY, code)
    sign(full)
    sold = standing_of(tampering, code)
    assert look(full).clean and State(sold["state"]) is State.SUPPLIED and sold["version"] == unsold["version"] + 1
    what = "the row is other than the entries say"
    for row in (
        unsold,  # as it was, to the microsecond
        {**sold, "state": int(State.ACTIVE)},
        {**sold, "state": int(State.ACTIVE), "held": True},
        {**unsold, "version": sold["version"]},
        {**unsold, "version": sold["version"] + 1},  # as if it had been undone
        {**sold, "version": unsold["version"]},
    ):
        put_row(tampering, row)
        assert [str(one) for one in look(full).disagreements] == [f"pack {code}: {what}"], row
    put_row(tampering, sold)
    assert look(full).clean
    before = {**rest, "state": int(State.ACTIVE), "held": True, "version": rest["version"] - 1}
    put_row(tampering, unsold)
    put_row(tampering, before)
    assert {str(one) for one in look(full).disagreements} == {f"pack {one}: {what}" for one in (code, other)}


@pytest.mark.damages
@pytest.mark.parametrize("column", ["since", "expires"])
def test_a_time_that_python_cannot_hold_is_named_as_any_other(full: Ledger, tampering: Tampering, column: str) -> None:
    """It reads as None, which is what no entry says; not as the nothing that stands where nothing is known."""
    for code in (pack(5), pack(10)):  # the second came without an expiry date
        tampering.connection.execute(f"UPDATE pack SET {column} = 'infinity' WHERE code = %s", [code])
        report = look(full)
        assert [str(one) for one in report.disagreements] == [f"pack {code}: the row is other than the entries say"]
        tampering.put_back("pack")


@pytest.mark.damages
def test_every_pack_is_named_at_every_older_version(
    full: Ledger, tampering: Tampering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all packs share a bucket: what one lacks must not make good what another has too much."""
    steps = [
        outcome
        for (data,) in _query(full, f"SELECT data FROM entry WHERE kind = {int(Kind.EVENT)}")
        for outcome in outcomes_of(decode(data).body)
    ]
    last = dict(_query(full, "SELECT code, version FROM pack"))
    older = [one for one in steps if one.version < last[one.code]]
    assert len(older) > 30 and {one.code for one in steps} == set(last)
    for buckets in (packs_module.BUCKETS, 1):
        monkeypatch.setattr(packs_module, "BUCKETS", buckets)
        for number in range(max(last.values())):
            moved = {one.code: one for one in older if one.version == number + 1}
            for one in moved.values():
                put_row(tampering, {"code": one.code, **row_values(one)})
            found = [str(one) for one in look(full).disagreements]
            assert sorted(found) == sorted(f"pack {code}: the row is other than the entries say" for code in moved)
            tampering.put_back("pack")


def row_values(one: Outcome) -> dict[str, Any]:
    found = dataclasses.asdict(one.after)
    return {"version": one.version, **found, "state": int(one.after.state)}


@pytest.mark.damages
@pytest.mark.parametrize("other", [{"state": State.ACTIVE}, {"held": True}, {"by": "nobody"}, {"units": 1}])
def test_an_outcome_that_contradicts_its_event_is_named(
    full: Ledger, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """The row says what the entry says, and every hash is right; only the event itself says that it was sold."""

    def lying(*arguments: Any) -> Standing | None:
        found = after(*arguments)
        return found and dataclasses.replace(found, **other)

    monkeypatch.setattr(positions_module, "after", lying)
    place = told(full, CORNER, sale(pack(5)))
    sign(full)
    found = [str(one) for one in look(full).disagreements]
    assert found == [f"entry {node_text(CORNER)}/{place.seq}: what it says of {pack(5)} is not what its event does"]


@pytest.mark.damages
def test_an_outcome_for_a_pack_that_the_event_does_not_name_is_named(
    full: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(outcomes: list[Outcome], _: int) -> list[Any]:
        return outcomes_json([dataclasses.replace(one, code=pack(6)) for one in outcomes], 0)

    monkeypatch.setattr(positions_module, "outcomes_json", other)
    place = told(full, CORNER, sale(pack(5)))
    sign(full)
    report = look(full)
    found = [str(one) for one in report.disagreements]
    assert f"entry {node_text(CORNER)}/{place.seq}: what it says of {pack(6)} is not what its event does" in found
    assert named(report, "pack", {"code": pack(5)}) and named(report, "pack", {"code": pack(6)})


@pytest.mark.damages
def test_versions_that_fork_are_named(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who did not see each other sold the same pack: the row holds one sale, the entries two of one version."""
    with monkeypatch.context() as patched:
        patched.setattr(Positions, "write", lambda _: True)
        first = told(full, CORNER, sale(pack(5)))
    second = told(full, HIGH_STREET, sale(pack(5)))
    sign(full)
    (version,) = _query(full, f"SELECT version FROM pack WHERE code = '{pack(5)}'")[0]
    found = [str(one) for one in look(full).disagreements]
    assert found[0] == (
        f"entry {node_text(HIGH_STREET)}/{second.seq}: it makes version {version} of {pack(5)}, as another entry does"
    )
    assert found[1:] == [f"pack {pack(5)}: the row is other than the entries say"] and first.node == CORNER


@pytest.mark.damages
def test_a_version_that_follows_from_none_is_named(full: Ledger, tampering: Tampering) -> None:
    """Somebody moved the row, and the product went on from there: the break is in the entries for good."""
    code = pack(4)
    sold = standing_of(tampering, code)
    put_row(tampering, {**sold, "state": int(State.ACTIVE), "held": True})
    taken(full, HIGH_STREET, Command.SUPPLY, code)
    sign(full)
    version = sold["version"] + 1
    found = [str(one) for one in look(full).disagreements]
    assert found == [f"pack {code}: its version {version} does not follow from the one before"]
    skipping = standing_of(tampering, pack(5))["version"] + 6
    tampering.connection.execute("UPDATE pack SET version = version + 5 WHERE code = %s", [pack(5)])
    taken(full, HIGH_STREET, Command.SUPPLY, pack(5))
    sign(full)
    assert f"pack {pack(5)}: its version {skipping} does not follow from the one before" in [
        str(one) for one in look(full).disagreements
    ]


@pytest.mark.damages
def test_where_an_entry_is_damaged_packs_are_not_named_as_well(full: Ledger, tampering: Tampering) -> None:
    """The entry is named; what it did to packs nobody can say."""
    place = taken(full, CORNER, Command.SUPPLY, pack(5))
    sign(full)
    tampering.connection.execute(
        "UPDATE entry SET data = set_byte(data, 99, get_byte(data, 99) # 1) WHERE (node, seq) = (%s, %s)", place[:2]
    )
    assert [one.where for one in look(full).disagreements] == [f"entry {node_text(CORNER)}/{place.seq}"]


def test_a_pack_that_goes_in_and_comes_out_of_one_event_is_no_disagreement(full: Ledger) -> None:
    """Relabelled, it is checked out and commissioned again: two steps of one pack in one entry."""
    uri = uri_of(pack(9))
    told(full, PLANT, {"type": "TransformationEvent", "action": None, "inputEPCList": [uri], "outputEPCList": [uri]})
    sign(full)
    assert [str(one) for one in look(full).disagreements] == []


# --- whole histories ------------------------------------------------------------------------------


def cut_off(connection: psycopg.Connection, node: int, last: int) -> None:
    """Take a chain back to `last` as somebody would who knows every table."""
    with connection.transaction():
        for table in ("entry", "event", "event_id", "item_entry"):
            connection.execute(f"DELETE FROM {table} WHERE node = %s AND seq > %s", [node, last])
        connection.execute(
            "UPDATE head SET seq = e.seq, hash = e.hash FROM entry e"
            " WHERE head.node = e.node AND e.node = %s AND e.seq = %s",
            [node, last],
        )


def rewrite(connection: psycopg.Connection, node: int, first: int) -> None:
    """Let an entry say something else, and compute all that follows it in its chain anew."""
    rows = connection.execute(
        "SELECT seq, data FROM entry WHERE node = %s AND seq >= %s ORDER BY seq", [node, first]
    ).fetchall()
    prev = None
    with connection.transaction():
        for seq, data in rows:
            value = json.loads(data)
            if prev is None:
                value["actor"] = "nobody"
            else:
                value["prev"] = prev.hex()
            written = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
            prev = hash_of(written)
            connection.execute(
                "UPDATE entry SET data = %s, hash = %s WHERE node = %s AND seq = %s", [written, prev, node, seq]
            )
        connection.execute("UPDATE head SET hash = %s WHERE node = %s", [prev, node])


def forget_log(connection: psycopg.Connection) -> None:
    with connection.transaction():
        for table in ("log_range", "log_cursor", "tile", "edge", "checkpoint"):
            connection.execute(f"TRUNCATE {table}")


def build_log_anew(ledger: Ledger) -> None:
    """A tree and checkpoint rows that fit each other, by somebody who does not have the key."""
    keys = KeyFolder(ledger.keys.path.with_name("forged"))
    integrate_now(ledger.database, keys, keys.signer(ledger.settings.origin))


@pytest.mark.damages
def test_a_chain_without_its_end_is_named_entry_by_entry(full: Ledger, tampering: Tampering) -> None:
    cut_off(tampering.connection, A, 1)
    assert [one.where for one in look(full).disagreements] == [f"entry {node_text(A)}/{seq}" for seq in (2, 3)]


@pytest.mark.damages
def test_an_entry_replaced_with_its_chain_computed_anew_is_found_by_the_log(full: Ledger, tampering: Tampering) -> None:
    rewrite(tampering.connection, IMPORT, 260)
    report = look(full)
    (last,) = tampering.connection.execute("SELECT seq FROM head WHERE node = %s", [IMPORT]).fetchone()
    assert [one.where for one in report.disagreements][: last - 259] == [
        f"entry {node_text(IMPORT)}/{seq}" for seq in range(260, last + 1)
    ]
    assert all("the log holds another hash" in one.what for one in report.disagreements[: last - 259])
    rest = [one.where for one in report.disagreements[last - 259 :]]
    assert rest == [f"checkpoint {size} of {size} entries" for size in _sizes_from(tampering, 260 + 8)[:1]]


def _sizes_from(tampering: Tampering, size: int) -> list[int]:
    rows = tampering.connection.execute("SELECT size FROM checkpoint WHERE size > %s ORDER BY size", [size])
    return [found for (found,) in rows]


@pytest.mark.damages
@pytest.mark.parametrize("with_checkpoints", [True, False])
def test_everything_computed_anew_without_the_key_is_found(
    full: Ledger, tampering: Tampering, with_checkpoints: bool
) -> None:
    """Chains, tree and checkpoint rows agree with each other: only the signature and the file outside do not."""
    rewrite(tampering.connection, IMPORT, 260)
    forget_log(tampering.connection)
    build_log_anew(full)
    if not with_checkpoints:
        tampering.connection.execute("DELETE FROM checkpoint")
    size = full.keys.last_checkpoint().size
    where = [one.where for one in look(full).disagreements]
    assert f"checkpoint outside the database of {size} entries" in where
    assert (f"checkpoint {size}" in where) is with_checkpoints
    assert audit(full.database, full.keys.verifiers(), None).clean is False


@pytest.mark.damages
def test_a_log_cut_off_consistently_is_found_by_the_checkpoint_outside(full: Ledger, tampering: Tampering) -> None:
    size = full.keys.last_checkpoint().size
    cut_off(tampering.connection, A, 1)
    forget_log(tampering.connection)
    build_log_anew(full)
    tampering.connection.execute("DELETE FROM checkpoint")
    found = look(full).disagreements
    assert [one.where for one in found] == ["checkpoint 8", "checkpoint outside the database"]
    assert f"of {size} entries" in found[1].what and f"the log has {size - 2}" in found[1].what


@pytest.mark.damages
def test_an_older_back_up_is_found_by_the_checkpoint_outside(own: Own, full: Ledger) -> None:
    with back_up(own, full) as old:
        write(full.database, [small(A, 1)])
        sign(full)
        assert [one.where for one in look(old).disagreements] == ["checkpoint outside the database"]
        assert audit(old.database, old.keys.verifiers(), None).clean
    assert look(full).clean


@pytest.mark.damages
def test_a_checkpoint_signed_with_the_key_over_another_tree_is_named(full: Ledger, tampering: Tampering) -> None:
    """Whoever stole the key can sign; what was signed before still tells."""
    size = full.keys.last_checkpoint().size
    rewrite(tampering.connection, IMPORT, 260)
    forget_log(tampering.connection)
    kept = full.keys.last_note()
    full.keys.path.joinpath("checkpoint").unlink()
    sign(full)
    full.keys.path.joinpath("checkpoint").write_text(kept)
    assert f"checkpoint outside the database of {size} entries" in [one.where for one in look(full).disagreements]


@pytest.mark.damages
def test_a_receipt_finds_what_was_cut_off_before_it_was_signed_for(full: Ledger, tampering: Tampering) -> None:
    (outcome,) = full.lanes.record(request_of(full, day(3, 99)))
    receipt = full.receipt(outcome)
    cut_off(tampering.connection, IMPORT, outcome[1].seq)
    vouched = open_receipt(receipt, full.keys.verifiers())
    assert look(full).clean, "without the receipt nobody can know"
    report = audit(full.database, full.keys.verifiers(), full.keys.last_checkpoint(), vouched, vault=full.vault)
    (found,) = report.disagreements
    assert found.where == f"entry {node_text(IMPORT)}/{outcome[2].seq}" and report.receipts == 3
    full.lanes.record(request_of(full, day(1, 98)))  # another takes its place
    report = audit(full.database, full.keys.verifiers(), full.keys.last_checkpoint(), vouched, vault=full.vault)
    assert [one.where for one in report.disagreements] == [found.where]


@pytest.mark.damages
def test_a_receipt_with_another_time_or_hash_is_named(full: Ledger) -> None:
    (outcome,) = full.lanes.record(request_of(full, day(1, 99)))
    good = outcome[0]
    for wrong in (good._replace(hash=bytes(32)), good._replace(record_time="2026-01-01T00:00:00.000000Z")):
        assert not audit(full.database, full.keys.verifiers(), None, [wrong]).clean
    assert audit(full.database, full.keys.verifiers(), None, [good, *[good] * 5]).clean
    missing = Recorded(999_999_999, 10**18 - 1, bytes(32), good.record_time)
    assert not audit(full.database, full.keys.verifiers(), None, [missing]).clean


@pytest.mark.damages
def test_an_unknown_or_foreign_signature_is_named(full: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    stranger = KeyFolder(tmp_path_factory.mktemp("stranger")).signer(full.settings.origin)
    for verifiers in ([], [stranger.verifier]):
        report = audit(full.database, verifiers, None)
        assert {one.where for one in report.disagreements} == {
            f"checkpoint {size}" for (size,) in _query(full, "SELECT size FROM checkpoint")
        }


def _query(ledger: Ledger, question: str) -> list[tuple]:
    with ledger.database.connect() as connection:
        return connection.execute(question).fetchall()


# --- garbage --------------------------------------------------------------------------------------

AT = "2026-11-23T10:00:00.000000Z"
EVENT = {"type": "ObjectEvent", "action": "ADD", "eventTime": AT, "eventTimeZoneOffset": "+00:00", "eventID": "urn:x:1"}
BODIES: list[tuple[str, bytes]] = [
    *((kind, body) for kind in ("event", "change", "tick", "erasure") for body in (
        b"{}", b"[]", b"null", b"7", b'"x"', b'{"%s":null}' % kind.encode(), b'{"%s":[]}' % kind.encode(),
        b'{"%s":"x"}' % kind.encode(), b'{"%s":{}}' % kind.encode(), b"[" * 500 + b"]" * 500,
    )),
    ("event", json.dumps({"event": {**EVENT, "eventTime": "yesterday"}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "eventTime": 7}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "eventID": None}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "type": ["ObjectEvent"]}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "action": "EXPLODE"}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "epcList": 7}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "quantityList": [{}]}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "readPoint": "here"}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "certificationInfo": "urn:x:\0"}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "errorDeclaration": {}}}).encode()),
    ("event", json.dumps({"event": {**EVENT, "bizStep": 7}}).encode()),
    ("event", json.dumps({"event": EVENT, "@context": 7}).encode()),
    ("tick", json.dumps({"tick": {"minute": AT, "checkpoint": 7}}).encode()),
    ("tick", json.dumps({"tick": {"minute": AT, "checkpoint": {"size": [1]}}}).encode()),
    ("erasure", json.dumps({"erasure": {"seq": [1]}}).encode()),
    ("change", json.dumps({"change": {"table": "entry", "row": {"version": 1}}}).encode()),
    ("change", json.dumps({"change": {"table": ["node"], "row": {"version": 1}}}).encode()),
    ("change", json.dumps({"change": {"table": "node", "row": {"node": 7, "version": "1"}}}).encode()),
    ("change", json.dumps({"change": {"table": "node", "row": {"node": "seven", "version": 1}}}).encode()),
    ("change", json.dumps({"change": {"table": "node", "row": {"node": 10**30, "version": 1}}}).encode()),
    ("change", json.dumps({"change": {"table": "node", "row": {"node": 8, "version": 1, "name": "\0"}}}).encode()),
    ("change", json.dumps({"change": {"table": "node", "row": {"node": 9, "version": 1, "locations": 7}}}).encode()),
]  # fmt: skip
WHOLE = [
    b"", b"\0", b"\xff\xfe", b"{}", b"null", b"[1]", b"1e400", b"{" * 100_000, b'{"v":1}', b'"' + b"x" * 10_000 + b'"',
]  # fmt: skip


def put(connection: psycopg.Connection, node: int, kind: int, data: bytes) -> tuple[int, int]:
    """The next entry of a chain, its hash and head as they should be; its place."""
    (seq,) = connection.execute("SELECT coalesce((SELECT seq FROM head WHERE node = %s), 0) + 1", [node]).fetchone()
    connection.execute(
        "INSERT INTO entry (node, seq, kind, record_time, hash, data) VALUES (%s, %s, %s, %s, %s, %s)",
        [node, seq, kind, AT, hash_of(data), data],
    )
    connection.execute(
        "INSERT INTO head VALUES (%s, %s, %s)"
        " ON CONFLICT (node) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        [node, seq, hash_of(data)],
    )
    return node, seq


@pytest.mark.damages
def test_garbage_in_entries_is_named_and_the_audit_goes_on(full: Ledger, tampering: Tampering) -> None:
    """Whatever anybody with the database's rights writes there: each is named, and everything after it is read."""
    expected = []
    for number, data in enumerate(WHOLE):
        expected.append(put(tampering.connection, 900_000_000 + number, 1, data))
    for number, (kind, body) in enumerate(BODIES):
        node = CITY if kind == "change" else 910_000_000 + number
        seq, prev = tampering.connection.execute(
            "SELECT coalesce(max(seq), 0) + 1, coalesce((SELECT hash FROM head WHERE node = %(node)s), %(zero)s)"
            " FROM head WHERE node = %(node)s",
            {"node": node, "zero": GENESIS},
        ).fetchone()
        data = encode(node, seq, prev, AT, "nobody", kind, bytes(16), body, None)
        expected.append(put(tampering.connection, node, Kind[kind.upper()], data))
    broken = tampering.connection.execute("SELECT data FROM entry WHERE node = %s AND seq = 5", [IMPORT]).fetchone()[0]
    tampering.connection.execute("UPDATE entry SET data = '' WHERE node = %s AND seq = 5", [IMPORT])
    assert broken
    report = look(full)
    found = [one.where for one in report.disagreements]
    for node, seq in [*expected, (IMPORT, 5)]:
        where = f"entry {node_text(node)}/{seq}"
        rows = [one for one in found if one == where or one.startswith(f"{node} {seq}")]
        derived = [one for one in found if f"{node_text(node)}/{seq}" in one]
        assert rows or derived, (where, dict(zip(expected, [*WHOLE, *BODIES], strict=True)).get((node, seq)))


RUIN = [
    "UPDATE log_range SET count = 2147483647 WHERE start = 0",
    "UPDATE log_range SET count = -5 WHERE start = 0",
    "UPDATE log_range SET first_seq = 9223372036854775807 WHERE start = 0",
    "UPDATE log_range SET first_seq = -9223372036854775808, start = -9223372036854775808 WHERE start = 0",
    "UPDATE log_range SET start = 9223372036854775807, count = 2147483647 WHERE start = 0",
    "DELETE FROM log_range",
    "UPDATE entry SET kind = 99",
    "UPDATE entry SET kind = -1, record_time = 'infinity'",
    "UPDATE entry SET data = ''",
    "UPDATE entry SET salt = '', sealed = ''",
    "UPDATE entry SET salt = NULL, sealed = NULL",
    "UPDATE entry SET node = -node - 1",
    "ALTER TABLE entry DROP CONSTRAINT IF EXISTS entry_has_place_and_hash; UPDATE entry SET seq = -seq",
    "ALTER TABLE entry DROP CONSTRAINT IF EXISTS entry_has_place_and_hash; UPDATE entry SET hash = ''",
    "TRUNCATE entry",
    "TRUNCATE entry, head",
    "TRUNCATE event, event_id, item_entry, node, credential",
    "TRUNCATE head, edge, log_cursor, tile",
    "TRUNCATE checkpoint",
    "UPDATE edge SET hashes = ''",
    "UPDATE edge SET level = level + 100",
    "UPDATE checkpoint SET note = ''",
    "UPDATE checkpoint SET note = repeat('x', 2000000), size = -size",
    "UPDATE checkpoint SET root = ''",
    "UPDATE node SET version = -2147483648",
    "UPDATE credential SET expires_at = 'infinity', nodes = '{}'",
    "UPDATE event SET event_time = '-infinity', action = -1",
    "UPDATE item_entry SET item = 'x' || node || seq || role || item",
    "UPDATE log_cursor SET seq = -seq",
    "UPDATE head SET seq = -seq",
    "TRUNCATE pack",
    "UPDATE pack SET state = 99",
    "UPDATE pack SET version = -version, node = -node, units = -units",
    "UPDATE pack SET code = code || product, product = ''",
    "UPDATE pack SET since = '-infinity'",
    "UPDATE pack SET since = '0044-03-15 BC', expires = '0044-03-15 BC'",
    "UPDATE pack SET expires = 'infinity'",
    "TRUNCATE recall, drug_market",
]


@pytest.mark.damages
def test_the_audit_ends_whatever_the_tables_hold(full: Ledger, tampering: Tampering) -> None:
    for statement in RUIN:
        tampering.connection.execute(statement)
        report = look(full)
        assert report.count > 0 and report.disagreements, statement
        tampering.put_back()
    assert look(full).clean


@pytest.mark.damages
def test_a_version_that_was_left_out_is_named(full: Ledger, tampering: Tampering) -> None:
    """Unless an entry that can have held it is damaged, which is then named instead."""
    body = {"change": {"table": "node", "row": {"node": 7, "version": 2}}}
    (prev, seq) = tampering.connection.execute("SELECT hash, seq + 1 FROM head WHERE node = 0").fetchone()
    data = encode(CITY, seq, prev, AT, "nobody", "change", bytes(16), json.dumps(body).encode(), None)
    put(tampering.connection, CITY, Kind.CHANGE, data)
    assert [one.where for one in look(full).disagreements] == [
        f"entry {node_text(CITY)}/{seq}", "registry_version node 7 2", "node 7",
    ]  # fmt: skip


def test_more_is_counted_than_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.audit.report.SHOWN_MAX", 3)
    report = Report()
    for _ in range(10):
        report.add("here", "this")
    assert report.count == 10 and len(report.disagreements) == 3 and not report.clean


# --- no false alarm -------------------------------------------------------------------------------


def test_an_empty_ledger_is_clean(own: Own) -> None:
    report = audit(own.database, [], None)
    assert report.clean and (report.entries, report.chains, report.log_size, report.checkpoints) == (0, 0, 0, 0)


def test_two_runs_find_the_same_nothing_and_change_nothing(full: Ledger) -> None:
    before = _query(full, "SELECT sum(hashtext(e::text)) FROM entry e")
    assert look(full) == look(full)
    assert _query(full, "SELECT sum(hashtext(e::text)) FROM entry e") == before


def test_what_waits_for_the_log_is_no_disagreement(full: Ledger) -> None:
    write(full.database, [small(A, 300), small(330212077, 1)])
    report = look(full)
    assert report.clean and report.entries == report.log_size + 301


def test_progress_reaches_its_end(full: Ledger) -> None:
    steps: dict[str, tuple[int, int]] = {}
    audit(full.database, full.keys.verifiers(), None, (), lambda step, done, total: steps.update({step: (done, total)}))
    assert {"entries", "log"} <= steps.keys() and all(done == total for done, total in steps.values())


def test_nothing_is_named_while_many_write_sign_and_erase(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """One snapshot is read: what is half way between two tables at that moment is not half way in it."""
    ending = threading.Event()
    worker = Worker(full.database, full.keys, full.signer, now)
    batches = [request_of(full, day(20, seed), ErrorBehaviour.PROCEED) for seed in range(50, 58)]
    failures: list[BaseException] = []

    def writing(number: int) -> None:
        for requests in itertools.islice(itertools.cycle(batches[number::2]), 40):
            if ending.is_set():
                return
            full.lanes.record(requests)
            write(full.database, [small(A, 2), small(B, 2)])

    def erasing() -> None:
        priced = {**events()[-3], "eventID": f"urn:uuid:{secrets.token_hex(8)}"}
        while not ending.is_set():
            (outcome,) = full.lanes.record(request_of(full, [{**priced, "eventID": f"urn:x:{secrets.token_hex(8)}"}]))
            erase(full.database, IMPORT, outcome[0].seq, "x", "operator", now)

    def guarded(body: Any, *arguments: Any) -> None:
        try:
            body(*arguments)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=guarded, args=arguments)
        for arguments in ((worker.run,), (writing, 0), (writing, 1), (erasing,))
    ]
    for thread in threads:
        thread.start()
    try:
        seen = [look(full) for _ in range(6)]
    finally:
        ending.set()
        worker.stop()
        for thread in threads:
            thread.join()
    assert [*map(str, itertools.chain(*(report.disagreements for report in seen)))] == []
    assert seen[-1].entries > seen[0].entries and seen[-1].checkpoints > seen[0].checkpoints
    assert failures == [] and worker.trouble is None


def test_the_roots_that_the_audit_computes_are_the_rfcs(full: Ledger) -> None:
    """The audit shares its tree with the integrator: an error in it would agree with itself."""
    leaves = leaves_of(full)
    for size, root in _query(full, "SELECT size, root FROM checkpoint"):
        assert root == tree_head(leaves[:size])
    note = full.keys.last_note()
    assert base64.b64encode(tree_head(leaves)).decode() in note
    assert dataclasses.asdict(look(full))["checkpoints"] == len(_query(full, "SELECT FROM checkpoint"))
