"""Packs, followed again from version to version in memory that does not grow with them.

Each outcome in an entry takes a pack from one standing to the next. With a keyed hash of code, version and standing,
new for each audit, the hash before is subtracted and the hash after is added: all that cancels but what the rows of the
table must say, in whatever order the chains are read. Only packs of buckets that differ are followed one by one, to be
named. Each outcome is also worked out again from its event.
"""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg

from ledger.audit.report import UNREADABLE, Report, stream
from ledger.documents import write_json
from ledger.drafts import id_key
from ledger.entries import Entry, Kind, decode, hash_of
from ledger.gs1 import Key
from ledger.packs.effects import (
    Effect,
    Outcome,
    Standing,
    after,
    effects_of,
    outcomes_of,
    product_of,
    standing_json,
    taken_back,
)
from ledger.packs.positions import Row, row_of

Json = dict[str, Any]
BUCKETS = 4_096
_MODULUS = 1 << 512
_ROWS = "SELECT code, version, state, since, node, by, done, held, batch, expires, units, made, product FROM pack"


class PackCheck:
    """Takes in the outcomes of all entries, then compares with the table."""

    def __init__(self, connection: psycopg.Connection, report: Report) -> None:
        self._connection, self._report = connection, report
        self._key = secrets.token_bytes(32)
        self._sums = [0] * BUCKETS
        self.damaged = False
        """Whether an entry that may have moved something cannot be read: then nothing is said of what differs."""

    def add(self, entry: Entry, outcomes: Sequence[Outcome]) -> None:
        """What an entry did to packs."""
        event = entry.body["event"]
        effects: dict[Key, list[Effect]] = {}
        for effect in effects_of(event):
            effects.setdefault(effect.code, []).append(effect)
        declared = self._declared(event) if "errorDeclaration" in event else {}
        for one in outcomes:
            done = [after(one.before, e, entry.record_time, entry.node, entry.actor) for e in effects.get(one.code, ())]
            if one.after not in done and declared is not None and declared.get(one.code) != one:
                self._report.add(f"entry {entry.name}", f"what it says of {one.code} is not what its event does")
            bucket = self._bucket(one.code)
            before = self._mark(one.code, one.version - 1, one.before) if one.version > 1 or one.before else 0
            self._sums[bucket] += self._mark(one.code, one.version, one.after) - before

    def _declared(self, declaration: Json) -> dict[Key, Outcome] | None:
        """What becomes of packs when the event is declared in error; None where the event is damaged, and named."""
        row = self._connection.execute(
            "SELECT node, seq FROM event_id WHERE id = %b AND declaration = 0", [id_key(declaration["eventID"])]
        ).fetchone()
        query = "SELECT data, hash FROM entry WHERE node = %b AND seq = %b"
        found = self._connection.execute(query, row, binary=True).fetchone() if row is not None else None
        if found is None or hash_of(found[0]) != found[1]:
            return None if row is not None else {}
        with suppress(*UNREADABLE):
            return {one.code: taken_back(one) for one in outcomes_of(decode(found[0]).body)}
        return None

    def _mark(self, code: str, version: int, standing: Standing | None) -> int:
        text = b"%s\n%d\n%s" % (code.encode(), version, write_json(standing and standing_json(standing)))
        return int.from_bytes(hashlib.blake2b(text, key=self._key).digest(), "big")

    def _bucket(self, code: str) -> int:
        return int.from_bytes(hashlib.blake2b(code.encode(), key=self._key, digest_size=8).digest(), "big") % BUCKETS

    def finish(self) -> None:
        """Name every row that is other than the entries say."""
        sums = [0] * BUCKETS
        for rows in stream(self._connection, "packs", _ROWS):
            for *row, product in rows:
                if product != product_of(row[0]):
                    self._report.add(f"pack {row[0]}", f"it is said to be of the product {product!r}")
                with suppress(*UNREADABLE):  # a row that holds what no entry says differs from all
                    sums[self._bucket(row[0])] += self._mark(row[0], *row_of(row))
        wrong = {bucket for bucket in range(BUCKETS) if (sums[bucket] - self._sums[bucket]) % _MODULUS}
        if wrong and not self.damaged:
            self._name_rows(wrong)

    def _name_rows(self, wrong: set[int]) -> None:
        steps: dict[Key, dict[int, Outcome]] = {}
        query = f"SELECT data FROM entry WHERE kind = {int(Kind.EVENT)} ORDER BY node, seq"  # noqa: S608 - a number
        for rows in stream(self._connection, "outcomes", query):
            for (data,) in rows:
                try:
                    entry = decode(data)
                    outcomes = [one for one in outcomes_of(entry.body) if self._bucket(one.code) in wrong]
                except UNREADABLE:
                    continue
                for one in outcomes:
                    if steps.setdefault(one.code, {}).setdefault(one.version, one) is not one:
                        what = f"it makes version {one.version} of {one.code}, as another entry does"
                        self._report.add(f"entry {entry.name}", what)
        last = {code: self._end(code, made) for code, made in steps.items()}
        for rows in stream(self._connection, "held_packs", _ROWS):
            for *row, _ in rows:
                if self._bucket(row[0]) in wrong:
                    said = last.pop(Key(row[0]), None)
                    if said is None:
                        self._report.add(f"pack {row[0]}", "no entry moved it")
                    elif _read(row) != said:
                        self._report.add(f"pack {row[0]}", "the row is other than the entries say")
        for code in last:
            self._report.add(f"pack {code}", "the row is missing")

    def _end(self, code: Key, made: dict[int, Outcome]) -> Row:
        """A pack's last version and standing; a version that does not follow from the one before is named."""
        before: Standing | None = None
        for expected, version in enumerate(sorted(made), 1):
            if version != expected or made[version].before != before:
                self._report.add(f"pack {code}", f"its version {version} does not follow from the one before")
                break
            before = made[version].after
        version = max(made)
        return version, made[version].after


def _read(row: list[object]) -> Row | None:
    """The row; None where it holds what no entry says, which then differs from all."""
    try:
        return row_of(row)
    except UNREADABLE:
        return None
