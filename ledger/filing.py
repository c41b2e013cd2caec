"""Filing records one by one or by the thousand: what a line says becomes a new record, a change, or nothing.

Lines are taken in parts; for each part a few questions find what is there already, whatever its size. A line is filed
by its code, so that the same file twice is the same file once.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection, Integer, select

from ledger.append import Outcome, Request
from ledger.codes import node_text
from ledger.database import Database
from ledger.errors import Breach, Conflict, LedgerError, Unacceptable, UnacceptableRecord
from ledger.packs.recalls import with_what_was_made
from ledger.registers import PARTY, RECALL, Field, Register, Values
from ledger.registers.form import each
from ledger.registrar import Registrar
from ledger.registry import Key, Record, records
from ledger.tables import metadata, party

PART = 1_000
"""Lines that are looked up and recorded together."""
REFUSALS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a sheet: its number there, and the text of each field."""

    number: int
    given: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that was not taken, and all that is wrong with it; never with a private value."""

    line: int
    breaches: Sequence[Breach]

    def __str__(self) -> str:
        return f"line {self.line}: {'; '.join(map(str, self.breaches))}"


@dataclass(slots=True)
class Filed:
    """What became of lines: of those refused the number, and the first of them."""

    new: int = 0
    changed: int = 0
    same: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return self.new + self.changed + self.same + self.refused

    def refuse(self, line: int, error: LedgerError) -> None:
        """Note that a line was not taken."""
        self.refused += 1
        if len(self.refusals) < REFUSALS_KEPT:
            breaches = error.breaches if isinstance(error, Unacceptable) else [Breach("", str(error))]
            self.refusals.append(Refusal(line, breaches))

    def add(self, other: "Filed") -> None:
        """Take in what became of a further part."""
        self.new, self.changed, self.same = self.new + other.new, self.changed + other.changed, self.same + other.same
        self.refused += other.refused
        self.refusals += other.refusals[: REFUSALS_KEPT - len(self.refusals)]


def file_one(connection: Connection, registrar: Registrar, register: Register, given: Mapping[str, object],
             reason: str | None) -> tuple[Request, Key]:  # fmt: skip
    """A new record of what was given, and its key; `UnacceptableRecord` where it refers to what is not registered."""
    values = _whole(connection, register, registrar.read(register, given))
    key = registrar.key(register, values)
    request = registrar.file(register, values, reason)
    require_references(connection, register, registrar.filled_in(register, values))
    return request, key


def _whole(connection: Connection, register: Register, values: Values, present: Record | None = None) -> Values:
    """The values of a recall with all lots that were made of those named; a sheet that comes again names the same."""
    lots = each(values.get("lots")) if register is RECALL else []
    if present is not None and set(lots) <= {*each(present.values.get("lots"))}:
        return {name: value for name, value in values.items() if name != "lots"}
    return {**values, "lots": with_what_was_made(connection, lots)} if lots else values


def require_references(connection: Connection, register: Register, values: Values) -> None:
    """`UnacceptableRecord` where these values refer to what is not registered."""
    if breaches := _dangling(register, values, _referred(connection, register, [values])):
        raise UnacceptableRecord(breaches)


def file_lines(
    database: Database, record: Callable[[list[Request]], list[Outcome]], registrar: Registrar, register: Register,
    lines: Iterable[Line], *, dry_run: bool = False,
) -> Iterator[Filed]:  # fmt: skip
    """File the good lines and name the bad ones, part by part. With `dry_run` all is checked and nothing recorded."""
    rest, seen = iter(lines), dict[bytes, int]()
    while part := list(islice(rest, PART)):
        with database.read() as connection:
            done, requests = _plan(connection, registrar, register, part, seen)
        if not dry_run:
            _record(record, requests, done)
        yield done


_Planned = list[tuple[int, bool, Request]]
"""Line, whether it is a new record, and the request."""


def _plan(
    connection: Connection, registrar: Registrar, register: Register, part: list[Line], seen: dict[bytes, int]
) -> tuple[Filed, _Planned]:
    done, planned, read = Filed(), _Planned(), list[tuple[Line, Key, Values]]()
    for line in part:
        try:
            values = registrar.read(register, line.given)
            key = registrar.key(register, values)
            _require_first(register, key, line.number, seen)
            read.append((line, key, values))
        except LedgerError as error:
            done.refuse(line.number, error)
    present = records(connection, registrar.vault, register, [key for _, key, _ in read])
    whole = {
        line.number: values if key in present else registrar.filled_in(register, values) for line, key, values in read
    }
    referred = _referred(connection, register, list(whole.values()))
    for line, key, given in read:
        try:
            found = present.get(key)
            request = _request(registrar, register, found, _whole(connection, register, given, found))
            if breaches := _dangling(register, whole[line.number], referred):
                raise UnacceptableRecord(breaches)
        except LedgerError as error:
            done.refuse(line.number, error)
            continue
        if request is None:
            done.same += 1
            continue
        planned.append((line.number, key not in present, request))
        if key in present:
            done.changed += 1
        else:
            done.new += 1
    done.refusals.sort(key=lambda refusal: refusal.line)
    return done, planned


def _request(registrar: Registrar, register: Register, present: Record | None, values: Values) -> Request | None:
    """A new record, or the present one with what the line says; an empty cell says nothing."""
    if present is None:
        return registrar.file(register, values)
    return registrar.change(present, {name: value for name, value in values.items() if value is not None})


def _require_first(register: Register, key: Key, line: int, seen: dict[bytes, int]) -> None:
    """Two lines of one record could say two things, and the file would never come to rest."""
    hashed = hashlib.blake2b(" ".join(key).encode(), digest_size=16).digest()
    if (first := seen.setdefault(hashed, line)) != line:
        raise Conflict(f"this {register.name} stands on line {first} already; keep one of the two")


def _record(record: Callable[[list[Request]], list[Outcome]], planned: _Planned, done: Filed) -> None:
    for (line, new, _), outcome in zip(planned, record([request for _, _, request in planned]), strict=True):
        if isinstance(outcome, LedgerError):
            done.refuse(line, outcome)
            if new:
                done.new -= 1
            else:
                done.changed -= 1


_Referred = dict[str, set[str]]
"""By table: the keys that are registered."""


def _referred(connection: Connection, register: Register, lines: Sequence[Values]) -> _Referred:
    """Of all that these values refer to: what is registered. One question a table."""
    wanted: _Referred = {}
    for one in register.fields:
        if one.refers:
            wanted.setdefault(one.refers, set()).update(key for values in lines for key in each(values.get(one.name)))
    found: _Referred = {}
    for table, keys in wanted.items():
        (column,) = metadata.tables[table].primary_key
        typed = [int(key) if isinstance(column.type, Integer) else key for key in keys]
        question = select(column).where(column.in_(typed))
        if table == PARTY.table:
            question = question.where(~party.c.erased)  # nothing is filed for somebody who is erased
        found[table] = {str(key) for key in connection.execute(question).scalars()}
    return found


def _dangling(register: Register, values: Values, referred: _Referred) -> list[Breach]:
    return [
        Breach(one.name, f"no {one.refers} {_shown(one, key)} is registered; file it first")
        for one in register.fields
        if one.refers
        for key in each(values.get(one.name))
        if key not in referred[one.refers]
    ]


def _shown(field: Field, key: str) -> str:
    return node_text(int(key)) if field.refers == "node" else key
