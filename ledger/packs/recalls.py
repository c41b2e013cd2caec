"""Recalls: which clocks run, and who holds what of the recalled packs at the moment.

The clocks are data, a row for each regime and clock from a day on, since they differ and change. Source:
`drugs_and_warnings.md` 4. What stands there as from memory is marked in the row: check it before quoting.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from ledger.packs.states import State
from ledger.registers.drugs import Grade, Regime
from ledger.registers.form import Word
from ledger.tables import pack, product


class Clock(Word):
    """What has to be done in time."""

    NOTIFY = "notify", "通知停售停用"
    PLAN = "plan", "报送召回计划"
    PROGRESS = "progress", "报告召回进展"
    FINISH = "finish", "完成召回"


@dataclass(frozen=True, slots=True)
class Term:
    """How long a clock runs for each grade, of recalls decided from a day on. Progress is due again and again."""

    regime: Regime
    clock: Clock
    since: date
    within: Mapping[Grade, timedelta]
    source: str


def _days(one: int, two: int, three: int) -> Mapping[Grade, timedelta]:
    return {Grade.ONE: timedelta(one), Grade.TWO: timedelta(two), Grade.THREE: timedelta(three)}


_CN, _FOOD = Regime.CHINA_DRUG, Regime.CHINA_FOOD
_OLD, _NEW = date(2007, 12, 10), date(2022, 11, 1)
TERMS: tuple[Term, ...] = (
    Term(_CN, Clock.NOTIFY, _OLD, _days(1, 2, 3), "药品召回管理办法 2007: 24/48/72 h"),
    Term(_CN, Clock.PLAN, _OLD, _days(1, 3, 7), "药品召回管理办法 2007: 1/3/7 days"),
    Term(_CN, Clock.PROGRESS, _OLD, _days(1, 3, 7), "药品召回管理办法 2007: every 1/3/7 days"),
    Term(_CN, Clock.NOTIFY, _NEW, _days(1, 3, 7), "药品召回管理办法 2022: 1/3/7 days (from memory)"),
    Term(_CN, Clock.PLAN, _NEW, _days(1, 3, 7), "药品召回管理办法 2022: taken as before (no text found)"),
    Term(_CN, Clock.PROGRESS, _NEW, _days(1, 3, 7), "药品召回管理办法 2022: taken as before (no text found)"),
    Term(_FOOD, Clock.NOTIFY, date(2015, 9, 1), _days(1, 2, 3), "食品召回管理办法 2015: start in 24/48/72 h"),
    Term(_FOOD, Clock.FINISH, date(2015, 9, 1), _days(14, 28, 42), "食品召回管理办法 2015: 10/20/30 working days"),
)


@dataclass(frozen=True, slots=True)
class Due:
    """One clock of a recall: until when, when it was done, and whether it was done in time. `late` from `now` on."""

    clock: Clock
    by: datetime
    done: datetime | None
    late: bool
    source: str


_DONE: Mapping[Clock, str] = {
    Clock.NOTIFY: "notified_at", Clock.PLAN: "planned_at", Clock.PROGRESS: "progress_at", Clock.FINISH: "ended_at",
}  # fmt: skip


def clocks(recall: Mapping[str, Any], now: datetime) -> Iterator[Due]:
    """The clocks of a recall as its record stands: those of its regime in force on the day it was decided.

    Working days are counted as weekdays with the weekends in between, without holidays.
    """
    decided = datetime.fromisoformat(str(recall["decided_at"]))
    grade, regime = Grade.of(str(recall["grade"])), Regime.of(str(recall["regime"]))
    ended = recall["status"] == "ended"
    for clock in Clock:
        rows = [row for row in TERMS if (row.regime, row.clock) == (regime, clock) and row.since <= decided.date()]
        if not rows:
            continue
        term = max(rows, key=lambda row: row.since)
        done = _moment(recall.get(_DONE[clock]))
        if clock is Clock.FINISH and ended:
            done = datetime.combine(date.fromisoformat(str(recall["status_since"])), datetime.min.time(), UTC)
        start = decided if done is None or clock is not Clock.PROGRESS else done
        by = start + term.within[grade]
        if clock is Clock.PROGRESS:  # due again after each report, until the recall has ended
            yield Due(clock, by, done, not ended and now > by, term.source)
        else:
            yield Due(clock, by, done, (done or now) > by, term.source)


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None


@dataclass(frozen=True, slots=True)
class Held:
    """How many packs stand alike at a node. `held`: they are there; else they left it that way."""

    node: int
    state: State
    held: bool
    count: int


def who_holds(connection: Connection, recall: Mapping[str, Any]) -> list[Held]:
    """Who holds what of the recalled packs at the moment, by node and state. One indexed read for each batch."""
    names = _names(connection, str(recall["product"]))
    question = (
        select(pack.c.node, pack.c.state, pack.c.held, func.count())
        .where(pack.c.product.in_(names))
        .group_by(pack.c.node, pack.c.state, pack.c.held)
        .order_by(pack.c.node, pack.c.state, pack.c.held)
    )
    batches: Sequence[str] | None = recall["batches"]
    if batches:
        question = question.where(pack.c.batch.in_(batches))
    return [Held(node, State(state), held, count) for node, state, held, count in connection.execute(question)]


def _names(connection: Connection, code: str) -> set[str]:
    """All codes of a product: its GTIN and the 7 digits of its trace codes."""
    question = select(product.c.product, product.c.gtin).where((product.c.product == code) | (product.c.gtin == code))
    return {code} | {name for row in connection.execute(question) for name in row if name is not None}
