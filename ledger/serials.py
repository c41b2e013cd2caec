"""Numbers for codes, given away in ranges so that none is given twice, also to terminals that are offline.

A series numbers the slips of a party (scheme A), or the slips (scheme B) and lots of a node on a day. A range that was
given away is never given again, used or not. Each is a change of the registry: an entry says who got it, and the audit
knows how far each series is.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from ledger.append import Outcome, Request
from ledger.codes import PartyCode, TraceScheme, node_text
from ledger.database import Database
from ledger.errors import Busy, Conflict, LedgerError, LimitExceeded
from ledger.registry import change_request

Record = Callable[[list[Request]], list[Outcome]]
ATTEMPTS_MAX = 50
_POSITION = "SELECT next, version FROM code_series WHERE series = %s"
OWN_RANGE, SERIES_KEPT = 20, 10_000
RANGE_MAX = 500
LOW_SHARE = 10


@dataclass(frozen=True, slots=True)
class Series:
    """What is numbered: the digits that stand before the number, how many digits it has, and the series' name."""

    name: str
    prefix: str
    digits: int

    @property
    def last(self) -> int:
        return int("9" * self.digits)

    def code(self, number: int) -> str:
        """The 20 digits of a number of this series."""
        return f"{self.prefix}{number:0{self.digits}d}"


def slips_of_party(party: PartyCode) -> Series:
    """Scheme A: 13 digits of party, 7 of serial."""
    return Series(f"A/{party}", party, 7)


def of_day(node: int, day: date) -> Series:
    """Scheme B, and the batches that a node makes (origin batch as deployed): 9 digits of node, yyMMdd, 5 of serial.

    One series for both: 20 digits on paper name one thing.
    """
    return Series(f"B/{node_text(node)}/{day:%y%m%d}", f"{node_text(node)}{day:%y%m%d}", 5)


def slips(scheme: TraceScheme, node: int, party: PartyCode, day: date) -> Series:
    """The series of slips as the node numbers them."""
    return slips_of_party(party) if scheme is TraceScheme.OPERATOR_SERIAL else of_day(node, day)


@dataclass(frozen=True, slots=True)
class Lease:
    """Numbers `first` … `first + count - 1` of a series; `left` are still there for others."""

    series: Series
    first: int
    count: int

    @property
    def left(self) -> int:
        return self.series.last - self.first - self.count + 1

    @property
    def runs_out(self) -> bool:
        """Whether less than one part in `LOW_SHARE` is left: whoever numbers here has to be told in time."""
        return self.left * LOW_SHARE < self.series.last

    @property
    def codes(self) -> list[str]:
        return [self.series.code(number) for number in range(self.first, self.first + self.count)]


class Numbers:
    """A process's own numbers: ranges that it has leased, given out one by one to scans that bring no code."""

    def __init__(self, database: Database, record: Record) -> None:
        self._database, self._record = database, record
        self._lock = threading.Lock()
        self._ranges: OrderedDict[str, tuple[list[str], bool]] = OrderedDict()

    def lease(self, series: Series, count: int, holder: str) -> Lease:
        """A range for somebody else, as `lease`; this process's askers wait for each other instead of being rivals."""
        with self._lock:
            return lease(self._database, self._record, series, count, holder)

    def runs_out(self, series: Series) -> bool:
        """Whether the range that was leased last was among the last ones of its series."""
        with self._lock:
            return self._ranges.get(series.name, ([], False))[1]

    def take(self, series: Series, holder: str) -> str:
        """The next code of a series."""
        with self._lock:
            codes, runs_out = self._ranges.pop(series.name, ([], False))
            if not codes:
                found = lease(self._database, self._record, series, OWN_RANGE, holder)
                codes, runs_out = found.codes[::-1], found.runs_out
            code = codes.pop()
            self._ranges[series.name] = codes, runs_out
            while len(self._ranges) > SERIES_KEPT:  # what is left of a range that nobody asks for any more is not used
                self._ranges.popitem(last=False)
            return code


def lease(
    database: Database, record: Callable[[list[Request]], list[Outcome]], series: Series, count: int, holder: str
) -> Lease:
    """Give `holder` the next `count` numbers, or as many as are left; `LimitExceeded` where there are none.

    Rivals try again: each gets other numbers. `Busy` where too many do.
    """
    for _ in range(ATTEMPTS_MAX):
        # Not a pooled connection: whoever waits here holds one already, and all would wait for each other.
        with database.connect() as connection:
            row = connection.execute(_POSITION, [series.name]).fetchone()
        first, version = row if row is not None else (1, 0)
        count_now = min(count, RANGE_MAX, series.last - first + 1)
        if count_now < 1:
            raise LimitExceeded(f"all {series.last} numbers of the series {series.name} are given away")
        following = {
            "series": series.name, "version": version + 1, "next": first + count_now, "first": first, "holder": holder,
        }  # fmt: skip
        (outcome,) = record([change_request("code_series", following, holder)])
        if not isinstance(outcome, LedgerError):
            return Lease(series, first, count_now)
        if not isinstance(outcome, Conflict):
            raise outcome
    raise Busy("many others take numbers of this series; try again")
