"""How far each subscription is served, and what happens to it when an attempt ends: the tables `outlet` and `delivery`.

A subscription's outlet has a position in the sequence of notices. What lies behind it was looked at; of that, a row of
`delivery` says what was sent, or waits. An endpoint that fails `FAILING` times in a row is failing: its oldest delivery
alone is tried, as a probe, and its position stands still, so that a million notices that wait for it cost nothing.
An outlet is served by whoever has the lease on it; leases are in the database's own time, schedules in the engine's.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, literal, select, text, update

from ledger.errors import Conflict, LimitExceeded
from ledger.outbound import Answer
from ledger.subscriptions import RESET, Kept, Notice, filter_of, numbered, page, wanted_by_subscription
from ledger.tables import delivery, notice, outlet, subscription

RETRIES_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""When a delivery is tried again after it failed once, twice, … (Standard Webhooks 1.0.0); then it is given up."""
JITTER = 0.1
FAILING = 5
DISABLED_AFTER = timedelta(days=5)
QUEUE = 32
MOVED_MAX = 1_000
"""As many new notices are looked at for all subscriptions at once; who is further behind is served by itself."""
WAITING_MAX = 10_000
"""Deliveries of one subscription that wait behind failed ones at most."""
REPLAY_MAX = 10_000
SLOW_DOWN = frozenset({429, 502, 504})
GONE = 410


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery to make now. `notice` is None where it is not kept any more: then that is told."""

    number: int
    subject: str
    attempts: int
    notice: Notice | None


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    waiting: Waiting
    answer: Answer


@dataclass(frozen=True, slots=True)
class Turn:
    """What there is to do for a subscription now. `lease` is the token under which it goes on; None: it is let go."""

    lease: datetime | None
    version: int
    channel: str
    ready: list[Waiting]
    kept: Kept
    disable: str | None = None


# --- who is due -----------------------------------------------------------------------------------

_NEW = text("""
INSERT INTO outlet (subscription, position, failures)
SELECT s.subscription, coalesce(
    (SELECT max(n.number) FROM notice n WHERE n.at < (
        SELECT v.record_time FROM registry_version v
        WHERE v.subject = 'subscription ' || s.subscription AND v.version = 1)),
    (SELECT min(number) - 1 FROM notice), 0), 0
FROM subscription s
WHERE s.status <> 'ended' AND NOT EXISTS (SELECT FROM outlet o WHERE o.subscription = s.subscription)
ON CONFLICT DO NOTHING
""")
"""A subscription begins with the notices after its filing, also where no engine ran then."""

_RESUMED = text("""
WITH was AS (
    SELECT o.subscription, o.failing_since FROM outlet o JOIN subscription s ON s.subscription = o.subscription
    WHERE s.status = 'active' AND o.disabled IS NOT NULL FOR UPDATE OF o
), resumed AS (
    UPDATE outlet o SET disabled = NULL, failures = 0, failing_since = NULL, next_at = NULL
    FROM was WHERE o.subscription = was.subscription
)
UPDATE delivery d SET next_at = :now, attempts = 0, outcome = 'waiting' FROM was
WHERE d.subscription = was.subscription
AND (d.next_at IS NOT NULL OR (d.outcome = 'given_up' AND d.last_at >= was.failing_since))
""")
"""What was given up while the endpoint failed for all is tried again too: it goes before what waited behind it."""

_DUE = text("""
SELECT o.subscription FROM outlet o JOIN subscription s ON s.subscription = o.subscription
WHERE s.status = 'active' AND o.disabled IS NULL
AND (o.leased_until IS NULL OR o.leased_until < clock_timestamp()) AND (o.next_at IS NULL OR o.next_at <= :now)
AND (o.position < :newest OR EXISTS (
    SELECT FROM delivery d WHERE d.subscription = o.subscription AND d.next_at IS NOT NULL
    AND (d.next_at <= :now OR o.failures >= :failing)))
ORDER BY o.next_at NULLS FIRST
""")


def due(connection: Connection, now: datetime) -> tuple[list[str], int]:
    """The subscriptions that have something to be sent now and that nobody serves; and the newest notice.

    Those for which the new notices hold nothing are moved on by one statement.
    """
    connection.execute(_NEW)
    connection.execute(_RESUMED, {"now": now})
    newest = connection.execute(select(func.coalesce(func.max(notice.c.number), 0))).scalar_one()
    found = (
        select(literal(1))
        .where(notice.c.number > outlet.c.position, notice.c.number <= newest, wanted_by_subscription())
        .correlate(outlet, subscription)
    )
    connection.execute(
        update(outlet)
        .where(
            outlet.c.subscription == subscription.c.subscription, subscription.c.status == "active",
            outlet.c.disabled.is_(None), outlet.c.failures < FAILING,
            outlet.c.position.between(newest - MOVED_MAX, newest - 1),
            func.coalesce(outlet.c.leased_until < func.clock_timestamp(), True), ~found.exists(),
        )
        .values(position=newest)
    )  # fmt: skip
    codes = connection.execute(_DUE, {"now": now, "newest": newest, "failing": FAILING}).scalars()
    return list(codes), newest


def release(connection: Connection, code: str, lease: datetime) -> None:
    """Let go of it, if it is still ours."""
    connection.execute(
        update(outlet).where(outlet.c.subscription == code, outlet.c.leased_until == lease).values(leased_until=None)
    )


def _lease(connection: Connection, code: str, condition: Any, lease: timedelta) -> datetime | None:
    following = func.clock_timestamp() + lease
    changed = update(outlet).where(outlet.c.subscription == code, condition).values(leased_until=following)
    found: datetime | None = connection.execute(changed.returning(outlet.c.leased_until)).scalar_one_or_none()
    return found


# --- one turn -------------------------------------------------------------------------------------


def take_turn(
    connection: Connection, code: str, lease: datetime | None, lasts: timedelta, now: datetime,
    results: Sequence[Result], flying: Collection[Waiting], room: int,
) -> Turn | None:  # fmt: skip
    """Write down how attempts ended, and find what can be sent beside those that are `flying`; at most `room`.

    The first turn takes the lease, the last lets it go. None where somebody else has it: then only what was delivered
    is written.
    """
    free = func.coalesce(outlet.c.leased_until < func.clock_timestamp(), True)
    renewed = _lease(connection, code, free if lease is None else outlet.c.leased_until == lease, lasts)
    if renewed is None:
        for one in results:
            if one.answer.good:
                _set(connection, code, one, outcome="delivered", next_at=None, last_at=now)
        return None
    standing = connection.execute(select(outlet).where(outlet.c.subscription == code)).one()
    state = _State(standing.failures, standing.failing_since, standing.next_at)
    for one in results:
        _settle(connection, code, state, one, now)
    asked = connection.execute(select(subscription).where(subscription.c.subscription == code)).one()
    kept = Kept.now(connection)
    ready: list[Waiting] = []
    if asked.status == "active" and state.disable is None and standing.disabled is None:
        ready = _ready(connection, asked, state, standing.position, flying, room, now)
    held = renewed if ready or flying or state.disable else None
    connection.execute(
        update(outlet)
        .where(outlet.c.subscription == code)
        .values(
            failures=state.failures, failing_since=state.failing_since, next_at=state.next_at, leased_until=held
        )
    )  # fmt: skip
    return Turn(held, asked.version, asked.channel, ready, kept, state.disable)


@dataclass(slots=True)
class _State:
    """How an endpoint does."""

    failures: int
    failing_since: datetime | None
    next_at: datetime | None
    disable: str | None = None


def _settle(connection: Connection, code: str, state: _State, one: Result, now: datetime) -> None:
    """Write down one result, and what follows from it for its subject and for the whole endpoint."""
    if one.answer.good:
        recovered = state.failures >= FAILING
        state.failures, state.failing_since = 0, None
        _set(connection, code, one, outcome="delivered", next_at=None, last_at=now)
        if recovered:
            state.next_at = None
            _let_go(connection, code, None, now)
        return
    asked_s = one.answer.retry_after_s or 0
    done = one.waiting.attempts + 1
    state.failures += 1
    state.failing_since = state.failing_since or now
    if one.answer.status in SLOW_DOWN or asked_s:
        state.next_at = now + _after(1, asked_s)
    if state.failures >= FAILING:
        state.next_at = now + _after(state.failures - FAILING + 1, asked_s)
    if one.answer.status == GONE:
        state.disable = "the endpoint answered 410 Gone"
    elif now - state.failing_since >= DISABLED_AFTER:
        state.disable = f"the endpoint has failed for {DISABLED_AFTER.days} days"
    if done >= len(RETRIES_S) and state.disable is None:
        _set(connection, code, one, outcome="given_up", next_at=None, last_at=now)
        _let_go(connection, code, one.waiting.subject, now)
        return
    again = now + _after(min(done, len(RETRIES_S) - 1), asked_s)
    _set(connection, code, one, outcome="failed", next_at=again, last_at=now)
    behind = (delivery.c.subject == one.waiting.subject, delivery.c.number > one.waiting.number)
    connection.execute(update(delivery).where(*_waiting(code), *behind).values(next_at=again))


def _after(failed: int, asked_s: int) -> timedelta:
    """How long to wait after so many failures: never less than the endpoint asks for."""
    planned = RETRIES_S[min(failed, len(RETRIES_S) - 1)] * (1 + JITTER * random.random())  # noqa: S311  no secret
    return timedelta(seconds=max(planned, asked_s))


def _waiting(code: str) -> tuple[Any, ...]:
    return delivery.c.subscription == code, delivery.c.next_at.is_not(None)


def _let_go(connection: Connection, code: str, subject: str | None, now: datetime) -> None:
    """What waited behind others may go now: of a subject, or of all."""
    which = _waiting(code) if subject is None else (*_waiting(code), delivery.c.subject == subject)
    connection.execute(update(delivery).where(*which).values(next_at=now))


def _set(connection: Connection, code: str, one: Result, **values: Any) -> None:
    answer = one.answer
    connection.execute(
        update(delivery)
        .where(delivery.c.subscription == code, delivery.c.number == one.waiting.number)
        .values(
            attempts=delivery.c.attempts + 1, status=answer.status, error=answer.error, latency_ms=answer.latency_ms,
            **values,
        )
    )  # fmt: skip


def _ready(
    connection: Connection, asked: Row[Any], state: _State, position: int, flying: Collection[Waiting], room: int,
    now: datetime,
) -> list[Waiting]:  # fmt: skip
    """What to send now. While an endpoint fails one delivery flies, and once it is failing the oldest, as a probe."""
    if state.next_at is not None and state.next_at > now:
        return []
    if state.failures:
        room = min(room, 1 - len(flying))
    if room <= 0:
        return []
    code: str = asked.subscription
    if state.failures >= FAILING:
        if not (found := _oldest(connection, code)) and _queue(connection, asked, position, 1, now):
            found = _oldest(connection, code)
        return _with_notices(connection, found)
    busy = [one.subject for one in flying]
    found = _heads(connection, code, busy, room, now)
    if len(found) < room and _waits(connection, code) < WAITING_MAX:
        _queue(connection, asked, position, QUEUE, now)
        found = _heads(connection, code, busy, room, now)
    elif len(found) < room and not found and not flying:
        state.next_at = now + timedelta(seconds=1)  # nothing more may wait: look again when something was tried
    return _with_notices(connection, found)


def _oldest(connection: Connection, code: str) -> list[Row[Any]]:
    question = select(delivery).where(*_waiting(code)).order_by(delivery.c.number).limit(1)
    return list(connection.execute(question))


def _waits(connection: Connection, code: str) -> int:
    return connection.execute(select(func.count()).select_from(delivery).where(*_waiting(code))).scalar_one()


_HEADS = text("""
SELECT * FROM (
    SELECT DISTINCT ON (subject) number, subject, attempts, next_at FROM delivery
    WHERE subscription = :code AND next_at IS NOT NULL AND subject <> ALL(CAST(:busy AS text[]))
    ORDER BY subject, number
) AS first WHERE next_at <= :now ORDER BY number LIMIT :room
""")


def _heads(connection: Connection, code: str, busy: Sequence[str], room: int, now: datetime) -> list[Row[Any]]:
    """The first of each subject that waits, if its time has come."""
    return list(connection.execute(_HEADS, {"code": code, "busy": list(busy), "now": now, "room": room}))


def _with_notices(connection: Connection, found: Sequence[Row[Any]]) -> list[Waiting]:
    notices = numbered(connection, [row.number for row in found])
    return [Waiting(row.number, row.subject, row.attempts, notices.get(row.number)) for row in found]


_QUEUE = text("""
INSERT INTO delivery (subscription, number, attempts, next_at, subject, outcome)
SELECT :code, n.number, 0, coalesce((
    SELECT max(d.next_at) FROM delivery d WHERE d.subscription = :code AND d.subject = n.subject AND d.next_at > :now
), :now), n.subject, 'waiting'
FROM unnest(CAST(:numbers AS bigint[]), CAST(:subjects AS text[])) AS n (number, subject)
ON CONFLICT DO NOTHING
""")


def _queue(connection: Connection, asked: Row[Any], position: int, most: int, now: datetime) -> int:
    """Let the next notices wait, each behind what waits of its subject, and move the position past them."""
    queued: list[tuple[int, str]] = []
    found = page(connection, filter_of(asked), position, most)
    oldest = Kept.now(connection).oldest  # again: notices may have been forgotten between two statements
    if oldest > position + 1:
        queued.append((oldest - 1, RESET))
    queued += [(one.number, one.subject) for one in found.notices]
    if queued:
        numbers, subjects = zip(*queued, strict=True)
        given = {"code": asked.subscription, "now": now, "numbers": list(numbers), "subjects": list(subjects)}
        connection.execute(_QUEUE, given)
    moved = update(outlet).where(outlet.c.subscription == asked.subscription).values(position=found.next)
    connection.execute(moved)
    return len(queued)


# --- for its owner --------------------------------------------------------------------------------

_REPLAY = text("""
INSERT INTO delivery (subscription, number, attempts, next_at, subject, outcome)
SELECT :code, n.number, 0, :now, n.subject, 'waiting'
FROM unnest(CAST(:numbers AS bigint[]), CAST(:subjects AS text[])) AS n (number, subject)
ON CONFLICT (subscription, number) DO UPDATE SET attempts = 0, next_at = :now, outcome = 'waiting'
WHERE delivery.next_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class Replay:
    """What is sent again, and which notices there still are."""

    count: int
    kept: Kept


def replay(connection: Connection, code: str, first: int, last: int, now: datetime) -> Replay:
    """Let the notices from `first` to `last` that a subscription asks for be sent again, under their own ids.

    What it has not come to yet comes anyway. `LimitExceeded` beyond `REPLAY_MAX`; `Conflict` where it has ended.
    """
    asked = connection.execute(select(subscription).where(subscription.c.subscription == code)).one()
    if asked.status == "ended":
        raise Conflict(f"the subscription {code} has ended; file a new one")
    standing = connection.execute(select(outlet).where(outlet.c.subscription == code)).one_or_none()
    kept = Kept.now(connection)
    last = min(last, 0 if standing is None else standing.position)
    question = select(notice.c.number, notice.c.subject).where(
        notice.c.number.between(first, last), filter_of(asked).condition
    )
    found = connection.execute(question.order_by(notice.c.number).limit(REPLAY_MAX + 1)).all()
    if len(found) > REPLAY_MAX:
        raise LimitExceeded(f"more than {REPLAY_MAX} notices lie between {first} and {last}: replay them in parts")
    if found:
        numbers, subjects = [row.number for row in found], [row.subject for row in found]
        connection.execute(_REPLAY, {"code": code, "now": now, "numbers": numbers, "subjects": subjects})
    return Replay(len(found), kept)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a subscription is served. `behind` counts numbers that were not looked at; `waiting` deliveries."""

    position: int
    newest: int
    waiting: int
    failures: int
    failing_since: datetime | None
    next_at: datetime | None
    disabled: str | None

    @property
    def behind(self) -> int:
        return max(0, self.newest - self.position)

    @property
    def failing(self) -> bool:
        """Whether only its oldest delivery is tried."""
        return self.failures >= FAILING


def standing(connection: Connection, code: str) -> Standing | None:
    """How far a subscription is served; None where no engine has seen it yet."""
    row = connection.execute(select(outlet).where(outlet.c.subscription == code)).one_or_none()
    if row is None:
        return None
    newest = Kept.now(connection).newest
    return Standing(
        row.position, newest, _waits(connection, code), row.failures, row.failing_since, row.next_at, row.disabled
    )


def deliveries(connection: Connection, code: str, limit: int, outcome: str | None = None) -> list[Row[Any]]:
    """The log of what was sent, the latest notice first."""
    question = select(delivery).where(delivery.c.subscription == code)
    if outcome is not None:
        question = question.where(delivery.c.outcome == outcome)
    return list(connection.execute(question.order_by(delivery.c.number.desc()).limit(limit)))


def forget_deliveries(connection: Connection, before: datetime) -> None:
    """Delete from the log what is over since before a moment, and what waits for those that have ended."""
    connection.execute(delete(delivery).where(delivery.c.next_at.is_(None), delivery.c.last_at < before))
    ended = select(subscription.c.subscription).where(subscription.c.status == "ended")
    connection.execute(delete(delivery).where(delivery.c.next_at.is_not(None), delivery.c.subscription.in_(ended)))


def disable(connection: Connection, code: str, reason: str) -> None:
    """Say why nothing is sent any more, until its owner resumes it."""
    connection.execute(update(outlet).where(outlet.c.subscription == code).values(disabled=reason))
