"""The registry: filing, changing and reading records of the registers, and what was known of them on a day.

A change is an entry of the city's chain that holds the row's whole next state; the row is written in the same
transaction and only if it is still at the version before (`ledger/append.py`). So whoever reads the city's chain can
compute the registry at any moment, and the audit does. Private values are in no entry: it holds their digest, and they
lie sealed beside the version (`ledger/vault.py`).
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Row,
    Select,
    any_,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger.access import Action, Actor
from ledger.append import Change, Request, subject_of
from ledger.codes import CITY, node_text, parse_node
from ledger.database import Database
from ledger.drafts import draft_change, draft_reading
from ledger.entries import decode
from ledger.errors import Breach, LimitExceeded, NotAllowed, NotRecorded, UnacceptableRecord, UnreadableCode
from ledger.index import Role as ItemRole
from ledger.registers import Field, Register, Value, Values
from ledger.registers.fields import one_of, parse_region, whole
from ledger.registers.form import Word, by_key, why
from ledger.registers.parties import LICENCE, PARTY
from ledger.registers.places import NODE, REGION, Openness
from ledger.tables import entry, item_entry, metadata, registry_version
from ledger.tables import node as node_table
from ledger.tables import region as region_table
from ledger.vault import Vault

Json = dict[str, Any]
Key = tuple[str, ...]

PAGE_MAX = 1_000
SKIP_MAX = 10_000
"""How far down a sorted list is turned to."""


class Purpose(Word):
    """What personal data are looked at for. A word of a list, since the entry that says it stays for ever."""

    FILING = "filing", "备案登记"
    INSPECTION = "inspection", "监督检查"
    COMPLAINT = "complaint", "投诉举报"
    INCIDENT = "incident", "事件处置"
    REQUEST = "request", "本人申请"
    ORDER = "order", "司法或行政命令"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands, or stood. `row` is what the entry says, `values` all its fields, private ones too."""

    register: Register
    row: Json
    values: Values
    reason: str | None = None

    @property
    def key(self) -> Key:
        return by_key(self.register.key, self.row)

    @property
    def subject(self) -> str:
        return subject_of(self.register.table, self.key)

    @property
    def version(self) -> int:
        return int(self.row["version"])

    @property
    def code(self) -> str:
        """Its key in one text, as addresses have it."""
        return "+".join(self._named())

    @property
    def name(self) -> str:
        """How people name it: never a private value."""
        return f"{self.register.name} {' '.join(self._named())}"

    def _named(self) -> list[str]:
        return [str(one) for one in _for_people({name: self.row[name] for name in self.register.key}).values()]

    def shown(self, *, private: bool = False) -> Json:
        """The record for people and programs: private values masked, unless the reader may see them."""
        fields = dict(self.values) if private else self.register.shown(self.values)
        rest = {name: value for name, value in self.row.items() if name not in (*fields, "digest")}
        return {**_for_people(fields), **rest}


def _for_people(values: Values) -> Json:
    """Node codes are numbers in the database and nine digits everywhere else."""
    shown: Json = dict(values)
    for name in ("node", "nodes"):
        value = shown.get(name)
        if isinstance(value, int):
            shown[name] = node_text(value)
        elif isinstance(value, list):
            shown[name] = [node_text(code) if isinstance(code, int) else code for code in value]
    return shown


def change_request(
    table: str, row: Json, actor: str, private: bytes | None = None, tokens: Sequence[int] | None = None
) -> Request:
    """The next state of a row, as a request."""
    change = Change(table, row, tokens)
    made = draft_change(change.subject, row["version"], change.body, private, secrets.token_bytes)
    return Request([made], actor, [change])


# --- reads ----------------------------------------------------------------------------------------


def record(connection: Connection, vault: Vault, register: Register, key: Key) -> Record:
    """The record as it stands; `NotRecorded` if there is none."""
    found = records(connection, vault, register, [key])
    if key not in found:
        raise missing_record(register, key)
    return found[key]


def missing_record(register: Register, key: Key) -> NotRecorded:
    """What is said of a record that is not there, or not among those that one may see: the same."""
    return NotRecorded(f"no {register.name} {_known_form(key)} is registered")


def _known_form(key: Key) -> str:
    """The first part of a key, if it can be a code: not what somebody else's name or number may be."""
    return key[0] if re.fullmatch("[0-9]{1,9}|[0-9]{13,14}|[a-z]{1,10}", key[0]) else "…"


def records(connection: Connection, vault: Vault, register: Register, keys: Iterable[Key]) -> dict[Key, Record]:
    """The records under these keys, as far as there are any."""
    wanted = [_typed(register, key) for key in keys]
    question = select(metadata.tables[register.table]).where(tuple_(*key_columns(register)).in_(wanted))
    return {one.key: one for one in opened(connection, vault, register, connection.execute(question).all())}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records to list: whose open columns hold these values, of these nodes, whose licence ends by then."""

    columns: Mapping[str, Value] = field(default_factory=dict)
    nodes: frozenset[int] | None = None
    ends_by: date | None = None
    region: int | None = None
    """Nodes that lie there now, whatever their codes say, and their parties and licences."""

    @classmethod
    def of(cls, register: Register, asked: Mapping[str, object], today: date) -> "Wanted":
        """What is asked for in words: `node`, `status`, `expiring` (within so many days), or an open field's name."""
        columns: dict[str, Value] = {}
        nodes = ends_by = region = None
        for name, text in asked.items():
            one = next((one for one in register.open_fields if name in (one.name, one.option)), None)
            if name == "node" and register.node_of is not None:
                nodes = frozenset([parse_node(str(text))])
            elif name == "region" and register in (NODE, PARTY, LICENCE):
                region = parse_region(str(text))
            elif name == "expiring" and "valid_to" in register_columns(register):
                ends_by = today + timedelta(days=int(_days(str(text), today)))
            elif name == "status" and register.statuses is not None:
                columns["status"] = _word(register.statuses, str(text))
            elif name == "status" and register.status == "open":
                columns["open"] = _word(Openness, str(text)) == Openness.OPEN
            elif one is not None:
                columns[one.name] = _parsed(one, str(text), today)
            else:
                raise NotRecorded(f"{register.plural} cannot be listed by {name}")
        return cls(columns, nodes, ends_by, region)


_days = whole(0, 36_500)


def _parsed(one: Field, text: str, today: date) -> Value:
    try:
        return one.parse(text, today)
    except UnreadableCode as error:
        raise UnacceptableRecord([Breach(one.name, why(error))]) from None


def _word(words: type[Word], text: str) -> str:
    try:
        return str(one_of(words)(text, date.min))
    except UnreadableCode as error:
        raise UnacceptableRecord([Breach("status", why(error))]) from None


def register_columns(register: Register) -> frozenset[str]:
    """The columns of a register's table."""
    return frozenset(column.name for column in metadata.tables[register.table].columns)


def pages(database: Database, vault: Vault, register: Register, wanted: Wanted) -> Iterator[list[Record]]:
    """All records wanted, page by page."""
    after: Key | None = None
    while True:
        with database.read() as connection:
            page = listing(connection, vault, register, wanted, after, PAGE_MAX)
        if not page:
            return
        yield page
        after = page[-1].key


def listing(
    connection: Connection, vault: Vault, register: Register, wanted: Wanted, after: Key | None, limit: int
) -> list[Record]:
    """Records in the order of their keys, from the one after `after` on."""
    keys = key_columns(register)
    question = _wanted_rows(register, wanted).order_by(*keys).limit(min(limit, PAGE_MAX))
    if after is not None:
        last = zip(_typed(register, after), keys, strict=True)
        question = question.where(tuple_(*keys) > tuple_(*(literal(one, key.type) for one, key in last)))
    return opened(connection, vault, register, connection.execute(question).all())


def sorted_listing(
    connection: Connection, vault: Vault, register: Register, wanted: Wanted, by: str, *, down: bool, skip: int,
    limit: int,
) -> list[Record]:  # fmt: skip
    """Records in the order of one open column, those without a value last; from the one after the first `skip` on.

    `NotRecorded` where the register has no such column, `LimitExceeded` beyond `SKIP_MAX`: what is that far down is
    found by filters.
    """
    if by not in register_columns(register):
        raise NotRecorded(f"{register.plural} cannot be sorted by {by[:40]}")
    if skip > SKIP_MAX:
        raise LimitExceeded(f"a list is turned to its first {SKIP_MAX} records: say more of what to list")
    column = metadata.tables[register.table].c[by]
    order = column.desc().nulls_last() if down else column.asc().nulls_last()
    question = _wanted_rows(register, wanted).order_by(order, *key_columns(register))
    rows = connection.execute(question.limit(min(limit, PAGE_MAX)).offset(skip)).all()
    return opened(connection, vault, register, rows)


def _wanted_rows(register: Register, wanted: Wanted) -> Select[Any]:
    table = metadata.tables[register.table]
    question = select(table)
    for name, value in wanted.columns.items():
        column = table.c[name]
        question = question.where(column.contains([value]) if isinstance(column.type, ARRAY) else column == value)
    if wanted.ends_by is not None:
        question = question.where(table.c.valid_to <= wanted.ends_by)
    if wanted.region is not None:
        place = table.c.node if register is NODE else cast(func.left(table.c.party, 9), Integer)
        question = question.where(place.in_(_lying_in(wanted.region)))
    if wanted.nodes is not None:
        question = question.where(of_nodes(register, wanted.nodes))
    return question


def _lying_in(code: int) -> Select[tuple[int]]:
    """Nodes that lie in a region now: filed there, or in one that it succeeded, or moved there."""
    earlier = select(literal(code).label("region")).cte("earlier", recursive=True)
    earlier = earlier.union(select(region_table.c.region).join(earlier, region_table.c.successor == earlier.c.region))
    own = func.coalesce(node_table.c.region, node_table.c.node // 1000)
    return select(node_table.c.node).where(own.in_(select(earlier.c.region)))


def region_path(connection: Connection, vault: Vault, code: int) -> list[Record]:
    """A region and what it became, step by step, the present one last; `NotRecorded` if it is not filed."""
    path = [record(connection, vault, REGION, (str(code),))]
    seen = {code}
    while (successor := path[-1].row["successor"]) is not None and successor not in seen:
        seen.add(successor)
        path += records(connection, vault, REGION, [(str(successor),)]).values()
    return path


def of_nodes(register: Register, nodes: frozenset[int]) -> Any:
    """Records that belong to these nodes; of registers that belong to none, all."""
    table = metadata.tables[register.table]
    codes = [node_text(node) for node in nodes]
    if register is PARTY:
        return or_(func.left(table.c.party, 9).in_(codes), table.c.nodes.overlap(cast(sorted(nodes), ARRAY(Integer))))
    if register.node_of is not None:
        return func.left(table.c[register.key[0]], 9).in_(codes)
    return literal(True)


def is_within(one: Record, nodes: frozenset[int] | None) -> bool:
    """Whether the record belongs to one of these nodes, or its party acts there; of other registers, always."""
    if nodes is None or one.register.node_of is None:
        return True
    acts_at = one.values.get("nodes")
    return one.register.node_of(one.values) in nodes or (isinstance(acts_at, list) and not nodes.isdisjoint(acts_at))


def key_columns(register: Register) -> list[Any]:
    """The columns of a register's key."""
    return [metadata.tables[register.table].c[name] for name in register.key]


def _typed(register: Register, key: Key) -> tuple[int | str, ...]:
    typed: list[int | str] = []
    for one, column in zip(key, key_columns(register), strict=True):
        is_number = isinstance(column.type, Integer)
        if "\0" in one or (is_number and not re.fullmatch("[0-9]{1,9}", one)):
            raise missing_record(register, key)
        typed.append(int(one) if is_number else one)
    return tuple(typed)


def opened(connection: Connection, vault: Vault, register: Register, rows: Sequence[Row[Any]]) -> list[Record]:
    """Rows with their private values, which one more question reads."""
    found = [_row_json(row) for row in rows]
    subjects = {subject_of(register.table, by_key(register.key, row)): row["version"] for row in found if row["digest"]}
    private: dict[str, bytes] = {}
    if subjects:
        table = registry_version
        question = select(table.c.subject, table.c.private).where(
            tuple_(table.c.subject, table.c.version).in_(list(subjects.items())), table.c.private.is_not(None)
        )
        private = {row.subject: bytes(row.private) for row in connection.execute(question)}
    return [_record(vault, register, row, private) for row in found]


def _record(vault: Vault, register: Register, row: Json, private: Mapping[str, bytes]) -> Record:
    opened: Values = {}
    reason = None
    subject = subject_of(register.table, by_key(register.key, row))
    if (sealed := private.get(subject)) is not None:
        opened, reason = vault.open(subject, row["version"], sealed)
    values = {f.name: opened.get(f.name) if f.private else row.get(f.name) for f in register.fields}
    return Record(register, row, values, reason)


def _row_json(row: Row[Any]) -> Json:
    """A row as its entry says it: dates and exact numbers as text."""
    return {
        str(name): value if value is None or isinstance(value, bool | int | str | list) else _text(value)
        for name, value in row._mapping.items()
    }


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else f"{value.normalize() + 0:f}"


# --- what was known on a day, and who looked ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a record: when, by whom and why it was made."""

    record: Record
    seq: int
    at: datetime
    actor: str


def versions(connection: Connection, vault: Vault, register: Register, key: Key) -> list[Version]:
    """All versions of a record, oldest first; `NotRecorded` if there is none."""
    table = registry_version
    subject = subject_of(register.table, key)
    question = select(table).where(table.c.subject == subject).order_by(table.c.version)
    found = list(_versions(connection, vault, register, connection.execute(question).all()))
    if not found:
        raise missing_record(register, key)
    return found


def known_at(connection: Connection, vault: Vault, register: Register, key: Key, at: datetime) -> Version:
    """The record as it was known at a moment: its last version recorded before; `NotRecorded` if there was none."""
    table = registry_version
    question = (
        select(table)
        .where(table.c.subject == subject_of(register.table, key), table.c.record_time < at)
        .order_by(table.c.version.desc())
        .limit(1)
    )
    for found in _versions(connection, vault, register, connection.execute(question).all()):
        return found
    raise NotRecorded(f"no {register.name} {_known_form(key)} was registered then")


def _versions(connection: Connection, vault: Vault, register: Register, rows: Sequence[Row[Any]]) -> Iterator[Version]:
    question = select(entry.c.seq, entry.c.data).where(
        entry.c.node == CITY, entry.c.seq == any_(literal([row.seq for row in rows], ARRAY(entry.c.seq.type)))
    )
    entries = {row.seq: decode(bytes(row.data)) for row in connection.execute(question)}
    for row in rows:
        found = entries[row.seq]
        made = {**_EMPTY.get(register.name, {}), **found.body["change"]["row"]}
        private = {} if row.private is None else {row.subject: bytes(row.private)}
        yield Version(_record(vault, register, made, private), row.seq, row.record_time, found.actor)


_EMPTY: dict[str, Json] = {
    "node": dict.fromkeys(("kind", "region", "stock_limit", "digest")), "recall": {"lots": None},
}  # fmt: skip
"""Columns that a register got later than its first entries."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Somebody was shown a record's private values."""

    at: str
    actor: str
    purpose: str
    entry: str


def reading_request(actor: Actor, found: Iterable[Record], purpose: Purpose, at: datetime) -> Request:
    """The entry to record before private values are shown. `NotAllowed` where the actor may not see them."""
    actor.require(Action.READ_PRIVATE)
    subjects = []
    for one in found:
        if not is_within(one, actor.reach):
            raise NotAllowed(f"the {one.name} belongs to none of the nodes that this credential is bound to")
        subjects.append(one.subject)
    return Request([draft_reading(subjects, purpose, at, secrets.token_bytes)], actor.name)


def readings(connection: Connection, subject: str, limit: int = PAGE_MAX) -> list[Reading]:
    """Who was shown a record's private values, the latest first."""
    table = item_entry
    places = select(table.c.seq).where(table.c.item == subject, table.c.role == ItemRole.READ, table.c.node == CITY)
    question = select(entry.c.data).where(entry.c.node == CITY, entry.c.seq.in_(places))
    question = question.order_by(entry.c.seq.desc()).limit(limit)
    found = [decode(bytes(data)) for data in connection.execute(question).scalars()]
    return [Reading(e.body["reading"]["at"], e.actor, e.body["reading"]["purpose"], e.name) for e in found]
