"""Days, weeks and months as reports are published by them: what each is called, and which are over. Pure.

A period ends with its last day; days are the city's. Weeks are those of ISO 8601, months those of the calendar.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

GRACE = timedelta(minutes=5)
"""So long after its end a period is reported: what was recorded in its last moment is signed by then."""
_DAY = timedelta(days=1)


class Cadence(StrEnum):
    """How often; its name is what reports call their parameter."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


FORMS = {
    Cadence.DAY: "[0-9]{4}-[0-9]{2}-[0-9]{2}", Cadence.WEEK: "[0-9]{4}-W[0-9]{2}", Cadence.MONTH: "[0-9]{4}-[0-9]{2}",
}  # fmt: skip
"""How each is written. No text ends in two of them, so that what stands before a period is found without doubt."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period: 2026-11-25, 2026-W47 or 2026-10; `end` is the first day after it."""

    name: str
    end: date


def period_of(cadence: Cadence, day: date) -> Period:
    """The period in which a day lies.

    >>> period_of(Cadence.WEEK, date(2027, 1, 3))
    Period(name='2026-W53', end=datetime.date(2027, 1, 4))
    """
    match cadence:
        case Cadence.DAY:
            return Period(day.isoformat(), day + _DAY)
        case Cadence.WEEK:
            year, week, weekday = day.isocalendar()
            return Period(f"{year:04d}-W{week:02d}", day + timedelta(days=8 - weekday))
        case Cadence.MONTH:
            return Period(f"{day:%Y-%m}", (day.replace(day=1) + timedelta(days=31)).replace(day=1))


def ended(cadence: Cadence, since: date, today: date) -> Iterator[Period]:
    """The periods that ended after the beginning of the day `since` and until that of `today`, the oldest first.

    Whoever asks from the day on which he began to ask misses none: one that ended as that day began was over before.
    """
    period = period_of(cadence, since)
    while period.end <= today:
        yield period
        period = period_of(cadence, period.end)


def reported_day(now: datetime, zone: tzinfo) -> date:
    """The city's day until whose beginning periods are to be reported by now: `GRACE` behind the clock."""
    return (now - GRACE).astimezone(zone).date()


def next_end(now: datetime, zone: tzinfo) -> datetime:
    """The next moment, in UTC, at which a period can become one to report: `GRACE` after the next midnight."""
    return datetime.combine(reported_day(now, zone) + _DAY, time(), zone).astimezone(UTC) + GRACE
