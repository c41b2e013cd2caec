"""Numbers for codes: none is given twice, whoever asks and how many at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from api.ledger import Ledger
from ledger.codes import PartyCode, TraceScheme, parse_trace_code
from ledger.errors import LimitExceeded
from ledger.registry import change_request
from ledger.serials import RANGE_MAX, Numbers, Series, lease, of_day, slips, slips_of_party

PARTY = PartyCode("3302120010001")
DAY = date(2026, 11, 25)
SERIES = slips_of_party(PARTY)


def taken(ledger: Ledger, series: Series = SERIES, count: int = 7) -> list[str]:
    return lease(ledger.database, ledger.lanes.record, series, count, "operator").codes


@pytest.mark.parametrize("scheme", list(TraceScheme))
def test_codes_are_those_of_the_scheme(scheme: TraceScheme) -> None:
    """Read by the scheme they were made by: A says the party, B the day."""
    code = parse_trace_code(slips(scheme, 330212001, PARTY, DAY).code(42), scheme)
    assert code.serial == 42 and code.node == 330212001
    assert (code.party, code.day) == ((PARTY, None) if scheme == "A" else (None, DAY))


def test_ranges_follow_each_other(ledger: Ledger) -> None:
    assert taken(ledger, count=3) + taken(ledger, count=2) == [f"{PARTY}{number:07d}" for number in range(1, 6)]
    assert len(taken(ledger, count=10**6)) == RANGE_MAX


def test_twenty_at_once_get_twenty_different_ranges(ledger: Ledger) -> None:
    """Through one process's numbers, and through two that know nothing of each other."""
    numbers = [Numbers(ledger.database, ledger.lanes.record) for _ in range(2)]
    with ThreadPoolExecutor(20) as pool:
        leased = list(pool.map(lambda n: numbers[n % 2].lease(SERIES, 10, "x").codes, range(20)))
        single = list(pool.map(lambda n: numbers[n % 2].take(SERIES, "x"), range(100)))
    codes = [code for codes in leased for code in codes] + single
    assert len(codes) == 300 == len(set(codes))


def test_series_do_not_mix(ledger: Ledger) -> None:
    others = [
        slips_of_party(PartyCode("3302120010002")),
        of_day(330212001, DAY),
        of_day(330212001, date(2026, 11, 26)),
    ]
    codes = [code for series in (SERIES, *others) for code in taken(ledger, series)]
    assert len(codes) == len(set(codes)) == 28


def test_a_series_ends_and_says_so(ledger: Ledger) -> None:
    series = of_day(330212001, DAY)
    row = {"series": series.name, "version": 1, "next": 99_998, "first": 1, "holder": "x"}
    ledger.record(change_request("code_series", row, "operator"))
    last = lease(ledger.database, ledger.lanes.record, series, 50, "x")
    assert [code[-5:] for code in last.codes] == ["99998", "99999"] and last.left == 0
    with pytest.raises(LimitExceeded, match="given away"):
        taken(ledger, series)
