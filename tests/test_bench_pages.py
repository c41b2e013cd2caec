"""What `make bench-pages` says of what it measured; and that a city's past is cut into quarters of an hour."""

from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console

from loadtests.pages import Asked, Measured, table
from loadtests.past import SLOT, _slots, city_of

UNTIL = datetime(2026, 11, 3, 4, tzinfo=UTC)


def shown(*found: dict[Asked, Measured]) -> str:
    console = Console(record=True, width=200, file=StringIO())
    console.print(table({10**number: one for number, one in enumerate(found, 4)}))
    return console.export_text()


def page(ms: float, size: int = 1_000) -> Measured:
    return Measured(ms, ms, ms, size, 1)


def test_what_misses_its_aim_or_grows_faster_than_its_result_is_marked() -> None:
    board = Asked("board", "/console", "regulator")
    assert "aim" not in shown({board: page(100)}) and "aim 300 ms" in shown({board: page(400)})
    assert "grows" not in shown({board: page(30)}, {board: page(44)})
    assert "grows" in shown({board: page(30)}, {board: page(46)})
    assert "grows" not in shown({board: page(30)}, {board: page(46, 1_100)}), "so does its result"
    assert "grows" not in shown({board: page(1)}, {board: page(19)}), "nobody waits for that"


def test_a_past_is_told_in_order_and_ends_when_it_is_said_to() -> None:
    """From the first of last month; an event comes in the quarter in which it happens, or in a later one."""
    city = city_of(2_000, UNTIL)
    assert (city.first.isoformat(), city.days) == ("2026-10-01", 34)
    slots = [*_slots(city.events(), UNTIL)]
    ends = [at for at, _ in slots]
    assert ends == sorted(set(ends)) and UNTIL - timedelta(days=1) < ends[-1] <= UNTIL
    times = [(at, datetime.fromisoformat(str(one["eventTime"]))) for at, some in slots for one in some]
    assert len(times) > 1_800 and all(when <= at for at, when in times)
    assert sum(when > at - SLOT for at, when in times) > 0.95 * len(times)
