"""Days, weeks and months of the city as people name them, and what lies before each. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ledger.bulletins import Period
from ledger.errors import Breach, UnacceptableRecord


@dataclass(frozen=True, slots=True)
class Days:
    """From a day of the city until before another."""

    begin: date
    end: date

    def period(self, zone: ZoneInfo) -> Period:
        """The moments at which they begin and end."""
        since, until = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (self.begin, self.end))
        return Period(since, until)

    @property
    def count(self) -> int:
        return (self.end - self.begin).days


def day_of(said: str | None, today: date) -> tuple[Days, Days]:
    """A day as 2026-11-24, and the day before; without one: yesterday."""
    one = timedelta(days=1)
    begin = today - one if said is None else _parsed("day", said, "2026-11-24", date.fromisoformat, today)
    return Days(begin, begin + one), Days(begin - one, begin)


def week_of(said: str | None, today: date) -> tuple[Days, Days]:
    """A week of ISO 8601 as 2026-W47, and the week before; without one: last week."""
    week = timedelta(days=7)
    if said is None:
        begin = today - timedelta(days=today.weekday()) - week
    else:
        begin = _parsed("week", said, "2026-W47", _week, today)
    return Days(begin, begin + week), Days(begin - week, begin)


def month_of(said: str | None, today: date) -> tuple[Days, Days]:
    """A month as 2026-10, and the month before; without one: last month."""
    this = today.replace(day=1)
    begin = _before(this) if said is None else _parsed("month", said, "2026-10", _month, today)
    return Days(begin, (begin + timedelta(days=31)).replace(day=1)), Days(_before(begin), begin)


def _before(first: date) -> date:
    return (first - timedelta(days=1)).replace(day=1)


def _week(said: str) -> date:
    year, mark, week = said.partition("-W")
    if not mark or len(year) != 4 or len(week) != 2:
        raise ValueError("it is no week")
    return date.fromisocalendar(int(year), int(week), 1)


def _month(said: str) -> date:
    if len(said) != 7:
        raise ValueError("it is no month")
    return date.fromisoformat(f"{said}-01")


def _parsed(name: str, said: str, example: str, parse: Callable[[str], date], today: date) -> date:
    """The first day of what was said; not after today."""
    try:
        found = parse(said)
    except ValueError:
        found = date.min
    if found.year < 1970:
        raise UnacceptableRecord([Breach(name, f"{said[:40]!r} is none; such as {example}")])
    if found > today:
        raise UnacceptableRecord([Breach(name, f"{said} has not begun")])
    return found
