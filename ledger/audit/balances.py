"""Balances, added up again from the entries in memory that does not grow with them.

Every holding falls into one of some thousand buckets by a keyed hash, new for each audit. A bucket's fingerprint is the
sum of hash times quantity over its holdings, modulo a prime: the moves of the entries and the rows of the table must
give the same. Nobody who changed a row knew the key. Only holdings of buckets that differ are added up one by one, to
be named. A row of nothing says the same as no row.
"""

import hashlib
import secrets
from collections.abc import Iterable
from decimal import Decimal

import psycopg

from ledger.audit.report import UNREADABLE, Report, stream
from ledger.balances import EXACT, Holding, Move, added, goods_of, moves_of
from ledger.declared import taken_back
from ledger.entries import Kind, decode

BUCKETS = 4_096
_PRIME = (1 << 521) - 1
PLACES = 90
"""Quantities are counted in whole parts of so many decimal places: an event's numbers have fewer."""


class BalanceCheck:
    """Takes in the moves of all entries, then compares with the table."""

    def __init__(self, connection: psycopg.Connection, report: Report) -> None:
        self._connection, self._report = connection, report
        self._key = secrets.token_bytes(32)
        self._sums = [0] * BUCKETS
        self.damaged = False
        """Whether an entry that may have moved something cannot be read: then nothing is said of what differs."""

    def add(self, moves: Iterable[Move]) -> None:
        """What an entry moved."""
        for holding, quantity in moves:
            self._add(self._sums, holding, quantity)

    def _add(self, sums: list[int], holding: Holding, quantity: Decimal) -> None:
        mark = self._mark(holding)
        bucket = mark % BUCKETS
        sums[bucket] = (sums[bucket] + mark * int(quantity.scaleb(PLACES, EXACT))) % _PRIME

    def _mark(self, holding: Holding) -> int:
        return int.from_bytes(hashlib.blake2b("\n".join(holding).encode(), key=self._key).digest(), "big")

    def _bucket(self, holding: Holding) -> int:
        return self._mark(holding) % BUCKETS

    def finish(self) -> None:
        """Name every row that is other than the entries say."""
        self.add(taken_back(self._connection, UNREADABLE))
        sums = [0] * BUCKETS
        for rows in stream(self._connection, "balances", "SELECT item, holder, uom, goods, quantity FROM balance"):
            for *key, goods, quantity in rows:
                holding = Holding(*key)
                if goods != goods_of(holding.item):
                    self._report.add(_name(holding), f"it is said to be of the goods {goods!r}")
                if not quantity.is_finite():
                    self._report.add(_name(holding), f"its quantity is {quantity}")
                    continue
                self._add(sums, holding, quantity)
        wrong = {bucket for bucket in range(BUCKETS) if sums[bucket] != self._sums[bucket]}
        if wrong and not self.damaged:
            self._name_rows(wrong)

    def _name_rows(self, wrong: set[int]) -> None:
        expected: dict[Holding, Decimal] = {}
        query = f"SELECT data FROM entry WHERE kind = {int(Kind.EVENT)} ORDER BY node, seq"  # noqa: S608 - a number
        for rows in stream(self._connection, "moves", query):
            for (data,) in rows:
                try:
                    entry = decode(data)
                    moves = list(moves_of(entry.body["event"], entry.node))
                except UNREADABLE:
                    continue
                added(expected, (move for move in moves if self._bucket(move.holding) in wrong))
        added(
            expected, (move for move in taken_back(self._connection, UNREADABLE) if self._bucket(move.holding) in wrong)
        )
        for rows in stream(self._connection, "held", "SELECT item, holder, uom, quantity FROM balance"):
            for *key, quantity in rows:
                holding = Holding(*key)
                if self._bucket(holding) in wrong:
                    computed = expected.pop(holding, None)
                    if computed is None and quantity.is_finite():
                        self._report.add(_name(holding), "no entry moved it")
                    elif computed != quantity and quantity.is_finite():
                        self._report.add(_name(holding), f"it says {quantity}, the entries add up to {computed}")
        for holding, quantity in expected.items():
            if quantity:
                self._report.add(_name(holding), f"the row is missing; the entries add up to {quantity}")


def _name(holding: Holding) -> str:
    return f"balance {holding.item} {holding.holder} {holding.uom}".rstrip()
