"""Reports that are published by themselves: made, filed, told and sent by the real thing, with a clock moved on."""

import email
import email.policy
import hashlib
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from api import publishing as publishing_api
from api import reports as reports_api
from api.command import app
from api.ledger import Ledger, now
from api.publishing import Publisher, Runner
from ledger import mail
from ledger.access import ALLOWED, Action, Actor, Role
from ledger.cadence import FORMS, GRACE, Cadence, ended, next_end, period_of, reported_day
from ledger.codes import CITY
from ledger.credentials import credentials
from ledger.deliveries import Deliveries, Pace
from ledger.errors import Busy, LedgerDamaged, LedgerError, LimitExceeded, NotAllowed, NotRecorded
from ledger.nodes import OPERATOR
from ledger.outbound import Outbound
from ledger.publishing import (
    AT_ONCE,
    OWN,
    RETRY_LEAST,
    RETRY_MOST,
    Due,
    begin,
    fail,
    job_of,
    keep,
    look,
    published,
    schedules,
)
from ledger.registers import PUBLISHED_REPORT, REPORT_SCHEDULE
from ledger.registers.publishing import Form, Scheduled, Tongue, schedule_of
from ledger.registrar import Registrar
from ledger.registry import Wanted, listing, record, versions
from ledger.report_jobs import RESULT_BYTES_MAX, unfinished_reports
from reports import periods
from reports.all import REPORTS
from reports.document import Language
from reports.render import FORMATS, MEDIA
from tests.conftest import Own, sign
from tests.test_bulletins import follow
from tests.test_http import NODE, OTHER, Server, problem_of, server
from tests.test_subscriptions import mail_server, receiving, status, subscribe, wait_for

__all__ = ["server"]
CITY_SCHEDULE, OWN_SCHEDULE = "000000000-morning", f"{NODE}-own"
SHANGHAI = ZoneInfo("Asia/Shanghai")


# --- which reports, and when ------------------------------------------------------------------------


def test_the_words_are_those_of_the_catalogue() -> None:
    """The ledger knows no reports; these lists say the same or a schedule asks for what nobody makes."""
    by_time = {name for name, one in REPORTS.items() if one.parameters.keys() <= {*Cadence}}
    assert {*Scheduled} == by_time and len(by_time) == 5
    for word in Scheduled:
        report = REPORTS[word]
        assert (report.title.zh, report.title.en) == (word.chinese, word.english)
        assert report.parameters.keys() == (set() if word is Scheduled.INTEGRITY else {word.cadence})
    assert {str(word): word.media for word in Form} == MEDIA and [*Form] == [*FORMATS] and [*Tongue] == [*Language]


def overs(cadence: Cadence, since: date, today: date) -> list[tuple[str, date]]:
    """By the definition, day by day: a period ends where the next day has another name."""
    names = {
        Cadence.DAY: lambda day: f"{day:%Y-%m-%d}", Cadence.WEEK: lambda day: f"{day:%G-W%V}",
        Cadence.MONTH: lambda day: f"{day:%Y-%m}",
    }[cadence]  # fmt: skip
    days = [since + timedelta(days=number) for number in range((today - since).days + 1)]
    one = timedelta(days=1)
    return [(names(day - one), day) for day in days if day > since and names(day) != names(day - one)]


DAYS = st.dates(date(1999, 12, 1), date(2100, 1, 31))


@given(cadence=st.sampled_from([*Cadence]), since=DAYS, count=st.integers(-3, 800))
def test_periods_are_those_of_the_calendar(cadence: Cadence, since: date, count: int) -> None:
    today = since + timedelta(days=count)
    found = [(one.name, one.end) for one in ended(cadence, since, today)]
    assert found == (overs(cadence, since, today) if count >= 0 else [])
    parse = {"day": periods.day_of, "week": periods.week_of, "month": periods.month_of}[cadence]
    for name, end in found[:3]:
        assert parse(name, today)[0].end == end, "the report is of the same days"


@pytest.mark.parametrize(
    ("cadence", "day", "name", "end"),
    [
        (Cadence.WEEK, date(2026, 12, 31), "2026-W53", date(2027, 1, 4)),
        (Cadence.WEEK, date(2027, 1, 3), "2026-W53", date(2027, 1, 4)),
        (Cadence.WEEK, date(2027, 1, 4), "2027-W01", date(2027, 1, 11)),
        (Cadence.WEEK, date(2024, 12, 30), "2025-W01", date(2025, 1, 6)),
        (Cadence.MONTH, date(2026, 12, 31), "2026-12", date(2027, 1, 1)),
        (Cadence.MONTH, date(2028, 2, 29), "2028-02", date(2028, 3, 1)),
        (Cadence.MONTH, date(2027, 1, 1), "2027-01", date(2027, 2, 1)),
        (Cadence.DAY, date(2028, 2, 28), "2028-02-28", date(2028, 2, 29)),
    ],
)
def test_weeks_and_months_end_where_they_do(cadence: Cadence, day: date, name: str, end: date) -> None:
    assert (period_of(cadence, day).name, period_of(cadence, day).end) == (name, end)


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("Asia/Shanghai", datetime(2026, 11, 25, 16, 4, 59, tzinfo=UTC), date(2026, 11, 25)),
        ("Asia/Shanghai", datetime(2026, 11, 25, 16, 5, tzinfo=UTC), date(2026, 11, 26)),
        ("UTC", datetime(2026, 11, 25, 16, 5, tzinfo=UTC), date(2026, 11, 25)),
        ("Asia/Urumqi", datetime(2026, 11, 25, 18, 5, tzinfo=UTC), date(2026, 11, 26)),
        ("America/New_York", datetime(2026, 11, 1, 4, 5, tzinfo=UTC), date(2026, 11, 1)),  # summer time ends this day
        ("America/New_York", datetime(2026, 11, 2, 4, 59, tzinfo=UTC), date(2026, 11, 1)),
    ],
)
def test_days_end_at_the_citys_midnight(zone: str, moment: datetime, day: date) -> None:
    assert reported_day(moment, ZoneInfo(zone)) == day


@given(
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from(["Asia/Shanghai", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
)
def test_it_looks_again_when_the_next_day_is_to_be_reported(moment: datetime, zone: str) -> None:
    """Neither a moment earlier, for nothing, nor later."""
    again, day = next_end(moment, ZoneInfo(zone)), reported_day(moment, ZoneInfo(zone))
    assert moment < again <= moment + timedelta(hours=25)
    assert reported_day(again, ZoneInfo(zone)) == day + timedelta(days=1)
    assert reported_day(again - timedelta(microseconds=1), ZoneInfo(zone)) == day


def test_what_stands_before_a_period_is_found_without_doubt() -> None:
    """Else two schedules could publish under one code, and one be taken for the other."""
    for one in Cadence:
        period = period_of(one, date(2026, 11, 25)).name
        for name in ("a", "2026-11", "x-2026-W47", "2026", "1-2026-10", "x-2026-11-25"):
            code = f"000000000-{name}-{period}"
            splits = {
                (code[: -len(tail) - 1], tail) for other in Cadence
                for tail in [code[-len(period_of(other, date(2026, 11, 25)).name) :]] if fits(other, tail)
            }  # fmt: skip
            assert splits == {(f"000000000-{name}", period)} and schedule_of(code, period) == f"000000000-{name}"


def fits(cadence: Cadence, text: str) -> bool:
    return re.fullmatch(FORMS[cadence], text) is not None


# --- a schedule in a ledger -------------------------------------------------------------------------


def schedule(
    ledger: Ledger, code: str = CITY_SCHEDULE, report: str = "daily", form: str = "json", days: int = 1
) -> str:  # fmt: skip
    """A schedule that was filed so many days ago."""
    registrar = Registrar(ledger.vault, ledger.secret, OPERATOR, ledger.today() - timedelta(days=days))
    said = registrar.read(REPORT_SCHEDULE, {"schedule": code, "report": report, "format": form})
    ledger.record(registrar.file(REPORT_SCHEDULE, said))
    return code


def step(ledger: Ledger, name: str, code: str = CITY_SCHEDULE, days: int = 0) -> None:
    with ledger.database.read() as connection:
        present = record(connection, ledger.vault, REPORT_SCHEDULE, (code,))
    registrar = Registrar(ledger.vault, ledger.secret, OPERATOR, ledger.today() - timedelta(days=days))
    ledger.record(registrar.step(present, name, "for a test"))


def filed(ledger: Ledger) -> list[dict[str, Any]]:
    """What is published, in the order in which it was filed."""
    with ledger.database.read() as connection:
        found = listing(connection, ledger.vault, PUBLISHED_REPORT, Wanted(), None, 1000)
        seqs = {
            one.key[0]: versions(connection, ledger.vault, PUBLISHED_REPORT, one.key)[0].seq for one in found
        }  # fmt: skip
    return [one.shown() for one in sorted(found, key=lambda one: seqs[one.key[0]])]


def codes(ledger: Ledger) -> list[str]:
    return [one["published"] for one in filed(ledger)]


def days_ago(ledger: Ledger, *counts: int, code: str = CITY_SCHEDULE) -> list[str]:
    return [f"{code}-{ledger.today() - timedelta(days=count)}" for count in counts]


@contextmanager
def connected(ledger: Ledger) -> Iterator[psycopg.Connection]:
    with ledger.database.connect() as connection:
        connection.autocommit = True
        yield connection


@dataclass
class Still:
    """A clock that stands still until a test moves it."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


def noon(ledger: Ledger) -> Still:
    """A clock that stands in the middle of the city's day, whenever the tests run."""
    local = now().astimezone(ledger.settings.zone)
    return Still(local.replace(hour=12, minute=0, second=0, microsecond=0).astimezone(UTC))


def go(ledger: Ledger, clock: Callable[[], datetime], publisher: Publisher | None = None) -> list[str]:
    """One round; what was due in it."""
    publisher = publisher or Publisher(ledger, clock)
    with connected(ledger) as connection:
        due = publisher.due(connection)
        for one in due:
            publisher.publish(connection, one)
    return [one.code for one in due]


def file_of(ledger: Ledger, code: str) -> bytes:
    with ledger.database.connection() as connection:
        return published(connection, code).data


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Server:
    """A server whose own thread publishes nothing, where a test has rounds of its own."""
    monkeypatch.setattr(Runner, "_do_all", reports_api.Runner._do_all)
    found: Server = request.getfixturevalue("server")
    return found


# --- the whole way ----------------------------------------------------------------------------------


@contextmanager
def engine(ledger: Ledger, url: str) -> Iterator[None]:
    """The delivery engine, with a mail server."""
    settings = replace(ledger.settings, smtp_url=url, smtp_from="suyuan@city.example")
    outbound = Outbound(allow_loopback=True)
    running = Deliveries(ledger.database, ledger.vault, settings, now, outbound=outbound, pace=Pace(poll_s=0.02))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield
    finally:
        running.stop()
        thread.join()


def test_a_schedule_is_filed_and_its_report_made_proven_told_and_sent(server: Server) -> None:
    ledger = server.ledger
    regulator, market = server.client(Role.REGULATOR), server.client(Role.MARKET, NODE)
    body = {"schedule": CITY_SCHEDULE, "report": "daily", "format": "pdf"}
    assert regulator.post("/registry/report-schedules", json=body).status_code == 201
    own = {"schedule": OWN_SCHEDULE, "report": "daily", "format": "csv", "language": "en"}
    assert market.post("/registry/report-schedules", json=own).status_code == 201
    day, codes_ = ledger.today(), [f"{CITY_SCHEDULE}-{ledger.today()}", f"{OWN_SCHEDULE}-{ledger.today()}"]
    sign(ledger)
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), ledger.settings.zone)
    clock = Still(midnight.astimezone(UTC) + GRACE - timedelta(minutes=1))
    with mail_server() as (url, taken), receiving(status(204)) as hook, engine(ledger, url):
        for code, to, more in (
            ("000000000-hook", hook.url, {}), ("000000000-mail", "duty@city.example", {"channel": "email"}),
            (f"{NODE}-mail", "market@city.example", {"channel": "email", "subjects": [OWN_SCHEDULE]}),
        ):  # fmt: skip
            subscribe(ledger, to, code, **more, kinds=["report."])
        runner = Runner(ledger, clock)
        assert codes(ledger) == [], "the day is not over"
        clock.at += timedelta(minutes=2)
        runner.wake()
        wait_for(lambda: len(codes(ledger)) == 2)
        assert sorted(codes(ledger)) == codes_
        sign(ledger)
        follow(ledger.database, ledger.settings)
        wait_for(lambda: len(hook.heard) == 2 and len(taken) == 3)
    for code in codes_:
        check_entry(server, regulator, code, [json.loads(one.body) for one in hook.heard])
    check_mail(regulator, taken, codes_, day)
    told = regulator.get("/notices", params={"after": 0}).json()
    assert [one["type"] for one in told["notices"]].count("city.suyuan.report.published") == 2


def check_entry(server: Server, reader: httpx.Client, code: str, heard: list[dict[str, Any]]) -> None:
    """The file, the record, its entry in the chain and what was told of it say the same."""
    file = reader.get(f"/reports/published/{code}")
    form = "pdf" if code.startswith(CITY_SCHEDULE) else "csv"
    assert file.status_code == 200 and file.headers["content-type"] == MEDIA[form]
    assert file.headers["content-disposition"] == f'attachment; filename="suyuan-{code}.{form}"'
    one = reader.get(f"/registry/published-reports/{code}").json()
    assert one["sha256"] == hashlib.sha256(file.content).hexdigest() and one["bytes"] == len(file.content)
    (made,) = reader.get(f"/registry/published-reports/{code}/versions").json()
    assert made["actor"] == "publisher"
    row = reader.get(f"/entries/{made['entry']}").json()["body"]["change"]["row"]
    assert (row["sha256"], row["hash"], row["size"]) == (one["sha256"], one["hash"], one["size"])
    seq = made["entry"].split("/")[1]
    assert reader.get("/proof/inclusion", params={"node": "000000000", "seq": seq}).status_code == 200
    (event,) = [event for event in heard if event["data"]["published"] == code]
    data = event["data"]
    assert event["type"] == "city.suyuan.report.published" and event["subject"] == schedule_of(code, one["period"])
    assert data["path"] == f"/reports/published/{code}" and data["title"] == {"zh": "日监测", "en": "Daily monitoring"}
    assert {name: data[name] for name in ("report", "period", "format", "hash", "size", "sha256", "as_of")} == {
        name: one[name] for name in ("report", "period", "format", "hash", "size", "sha256", "as_of")
    }
    assert data["node"] == code[:9] and data["entry"] == made["entry"]
    if form == "csv":
        assert one["hash"] in file.text, "the document names the hash of its content"


def check_mail(reader: httpx.Client, taken: list[bytes], codes_: list[str], day: date) -> None:
    messages = [email.message_from_bytes(one, policy=email.policy.default) for one in taken]
    to = Counter((str(one["To"]), str(one["Subject"])) for one in messages)
    assert to == {
        ("duty@city.example", f"[溯源] 日监测 {day}"): 1, ("duty@city.example", f"[溯源] 日监测 {day} {NODE}"): 1,
        ("market@city.example", f"[溯源] 日监测 {day} {NODE}"): 1,
    }  # fmt: skip
    for one in messages:
        code = codes_[NODE in one["Subject"]]
        (file,) = one.iter_attachments()
        assert file.get_filename() == f"suyuan-{code}.{'csv' if NODE in one['Subject'] else 'pdf'}"
        assert file.get_payload(decode=True) == reader.get(f"/reports/published/{code}").content
        text = one.get_body().get_content()
        assert text.splitlines()[2].startswith("报告已发布：日监测") and "文件见附件" in text


def test_a_reader_of_another_node_gets_nothing(calm: Server) -> None:
    """A bulletin says how much a market trades; to its rivals a published one is as none."""
    ledger = calm.ledger
    clock = noon(ledger)
    for code in (CITY_SCHEDULE, OWN_SCHEDULE):
        schedule(ledger, code, days=0)
    clock.at += timedelta(days=1)  # of the day on which both nodes were registered
    go(ledger, clock)
    city, own = days_ago(ledger, 0) + days_ago(ledger, 0, code=OWN_SCHEDULE)
    mine, other = calm.client(Role.MARKET, NODE), calm.client(Role.MARKET, OTHER)
    assert mine.get(f"/reports/published/{own}").status_code == 200
    assert mine.get(f"/reports/schedules/{OWN_SCHEDULE}").status_code == 200
    for client, code in ((mine, city), (other, city), (other, own)):
        problem_of(client.get(f"/reports/published/{code}"), 404, "NoSuchNameException")
        problem_of(client.get(f"/reports/schedules/{schedule_of(code, code[-10:])}"), 404, "NoSuchNameException")
        assert code not in client.get("/registry/published-reports").text
    for code in (f"{NODE}-own-2000-01-01", "x", "000000000", f"{NODE}", "９９９９９９９９９-x", f"{own}%00", "😀" * 99):
        problem_of(calm.client().get(f"/reports/published/{code}"), 404, "NoSuchNameException")
    problem_of(calm.client(Role.TERMINAL, NODE).get(f"/reports/published/{own}"), 403, "SecurityException")
    assert [one["published"] for one in mine.get(f"/registry/published-reports?node={NODE}").json()] == [own]
    listed = calm.client().get("/registry/published-reports?node=000000000").json()
    assert [one["published"] for one in listed] == [city]
    assert OTHER in file_of(ledger, city).decode(), "it has sent nothing"
    assert OTHER not in file_of(ledger, own).decode() and NODE in file_of(ledger, own).decode(), "as a market sees it"


def test_who_may_schedule_what(server: Server) -> None:
    def answer(client: httpx.Client, code: str, **more: str) -> int:
        body = {"schedule": code, "report": "weekly", "format": "xlsx", **more}
        return client.post("/registry/report-schedules", json=body).status_code

    market = server.client(Role.MARKET, NODE)
    assert [answer(market, f"{node}-a") for node in (NODE, OTHER, "000000000")] == [201, 403, 403]
    assert answer(server.client(Role.REGULATOR), f"{OTHER}-a") == 201
    for role in {*Role} - {Role.MARKET, Role.REGULATOR, Role.ADMIN}:
        bound = [] if role is Role.SUBSCRIBER else [NODE]
        assert answer(server.client(role, *bound), f"{NODE}-b") == 403
    assert answer(market, f"{NODE}-c", report="integrity") == 400, "of one node there is none"
    for wrong in ({"report": "dossier"}, {"format": "doc"}, {"language": "fr"}, {"schedule": "morning"}):
        assert answer(server.client(), "000000000-x", **wrong) == 400
    changed = market.patch(f"/registry/report-schedules/{NODE}-a", json={"report": "daily"})
    assert changed.status_code == 409, "its publications would be of two kinds"
    assert market.patch(f"/registry/report-schedules/{NODE}-a", json={"format": "csv"}).json()["format"] == "csv"


FORGED = {
    "published": "000000000-morning-2026-11-25", "report": "daily", "period": "2026-11-25", "format": "pdf",
    "language": "zh", "as_of": "2026-11-26T00:05:12+08:00", "size": "2000", "hash": "0" * 64, "sha256": "0" * 64,
    "bytes": "48211",
}  # fmt: skip


def test_nobody_forges_a_publication(calm: Server) -> None:
    """Not the administrator either, nor who has the machine: what says that a report was published is the engine's."""
    ledger = calm.ledger
    schedule(ledger)
    go(ledger, noon(ledger))
    (code,) = codes(ledger)
    for role in Role:
        client = calm.client(role, *([] if role in (Role.ADMIN, Role.REGULATOR, Role.SUBSCRIBER) else [NODE]))
        for method, path, body in (
            ("POST", "/registry/published-reports", FORGED), ("POST", "/registry/published-reports/import", FORGED),
            ("PATCH", f"/registry/published-reports/{code}", {"sha256": "0" * 64}),
            ("POST", f"/registry/published-reports/{code}/steps", {"step": "end", "reason": "x"}),
        ):  # fmt: skip
            problem_of(client.request(method, path, json=body), 403, "SecurityException")
    for actor in (OPERATOR, *(Actor("x", role, frozenset({int(NODE), CITY}), CITY) for role in Role)):
        registrar = ledger.registrar(actor)
        with pytest.raises(NotAllowed):
            registrar.file(PUBLISHED_REPORT, registrar.read(PUBLISHED_REPORT, FORGED))
    assert ALLOWED[Action.PUBLISH] == frozenset() and codes(ledger) == [code]
    with ledger.database.read() as connection:
        acting = [one.acting(now()) for one in credentials(connection)]
    assert len(acting) == len(Role) and not any(one.engine for one in acting)
    group = typer.main.get_command(app).commands["published-report"]
    assert {*group.commands} == {"show", "list", "search", "history", "export"} and "import" not in group.help


def test_not_even_the_engine_changes_what_it_filed(ledger: Ledger) -> None:
    schedule(ledger)
    go(ledger, noon(ledger))
    with ledger.database.read() as connection:
        present = record(connection, ledger.vault, PUBLISHED_REPORT, (codes(ledger)[0],))
    registrar = ledger.registrar(OWN)
    for field in PUBLISHED_REPORT.fields:
        assert field.stays
    with pytest.raises(LedgerError, match="stays as it was filed"):
        registrar.change(present, registrar.read(PUBLISHED_REPORT, {"sha256": "0" * 64}))
    for wrong in ({"period": "2026-W47"}, {"published": "000000000-a-2026-11-24"}):
        with pytest.raises(LedgerError, match="period"):
            registrar.file(PUBLISHED_REPORT, registrar.read(PUBLISHED_REPORT, {**FORGED, **wrong}))


# --- which periods ------------------------------------------------------------------------------------


def test_missed_periods_are_made_up_for_and_none_from_before(ledger: Ledger) -> None:
    """The ledger stood still for forty days: what was missed comes, the oldest first, not all of it at once."""
    schedule(ledger, days=40)
    clock = noon(ledger)
    publisher = Publisher(ledger, clock)
    first = go(ledger, clock, publisher)
    assert len(first) == AT_ONCE and first == days_ago(ledger, *range(40, 40 - AT_ONCE, -1)) == codes(ledger)
    assert go(ledger, clock, publisher) == days_ago(ledger, *range(40 - AT_ONCE, 0, -1))
    assert codes(ledger) == days_ago(ledger, *range(40, 0, -1)) and go(ledger, clock, publisher) == []
    assert json.loads(file_of(ledger, codes(ledger)[0]))["subject"] == f"{ledger.today() - timedelta(days=40)}"


def test_every_report_is_published_by_its_own_time(ledger: Ledger) -> None:
    sign(ledger)
    for report in Scheduled:
        schedule(ledger, f"000000000-{report}", report, days=35)
    clock = noon(ledger)
    for _ in range(2):
        go(ledger, clock)
    today = ledger.today()
    expected = {
        f"000000000-{report}-{name}" for report in Scheduled
        for name, _ in overs(report.cadence, today - timedelta(days=35), today)
    }  # fmt: skip
    assert set(codes(ledger)) == expected and len(expected) >= 35 + 35 + 5 + 1 + 1
    ends = [one for code in codes(ledger)[: AT_ONCE * 2] for one in [code[-10:]] if code.startswith("000000000-daily")]
    assert ends == sorted(ends)


def test_an_ended_schedule_publishes_nothing_and_a_revived_one_goes_on_from_then(ledger: Ledger) -> None:
    schedule(ledger, days=20)
    step(ledger, "end", days=10)
    assert go(ledger, noon(ledger)) == []
    step(ledger, "revive", days=3)
    publisher = Publisher(ledger, noon(ledger))
    with connected(ledger) as connection:
        first, *rest = publisher.due(connection)
        publisher.publish(connection, first)
        step(ledger, "end")
        for due in rest:  # it ended while others were made
            publisher.publish(connection, due)
        assert [first.code] == days_ago(ledger, 3) == codes(ledger) and len(rest) == 2


def test_what_was_filed_today_is_due_tomorrow(ledger: Ledger) -> None:
    schedule(ledger, days=0)
    clock = noon(ledger)
    assert go(ledger, clock) == []
    clock.at += timedelta(hours=12, minutes=4)
    assert go(ledger, clock) == []
    clock.at += timedelta(minutes=1)
    assert go(ledger, clock) == days_ago(ledger, 0)


class Counting:
    """A connection that counts what it is asked."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection, self.asked = connection, 0

    def execute(self, *given: Any) -> Any:
        self.asked += 1
        return self._connection.execute(*given)


def test_where_nothing_is_due_one_question_is_asked(ledger: Ledger) -> None:
    schedule(ledger)
    clock = noon(ledger)
    publisher = Publisher(ledger, clock)
    go(ledger, clock, publisher)
    go(ledger, clock, publisher)
    with connected(ledger) as connection:
        counting = Counting(connection)
        for _ in range(5):
            assert publisher.due(counting) == []
        assert counting.asked == 5
        schedule(ledger, "000000000-later")
        assert [one.code for one in publisher.due(counting)] == days_ago(ledger, 1, code="000000000-later")


def test_the_thread_looks_by_itself(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "every_s", 0.05)
    clock = noon(ledger)
    Runner(ledger, clock)
    schedule(ledger)
    wait_for(lambda: codes(ledger) == days_ago(ledger, 1))


def test_the_server_publishes(server: Server) -> None:
    """And whoever waits for a report of his own is not made to wait for those."""
    schedule(server.ledger, days=2)
    client = server.client()
    job = client.post("/reports/daily", json={"job": str(uuid.uuid4())}).headers["location"]
    wait_for(lambda: len(codes(server.ledger)) == 2 and not client.get(job).json()["running"])


# --- failures -------------------------------------------------------------------------------------------


def test_a_failing_report_rests_longer_each_time_and_stops_no_other(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, tried = publishing_api.render, []

    def render(document: Any, form: str, language: Any) -> bytes:
        if form == "csv":
            tried.append(clock())
            raise LimitExceeded("too much of everything") if len(tried) % 2 else ZeroDivisionError
        return real(document, form, language)

    monkeypatch.setattr(publishing_api, "render", render)
    schedule(ledger, "000000000-bad", form="csv", days=2)
    schedule(ledger, "000000000-good", days=2)
    clock = noon(ledger)
    publisher = Publisher(ledger, clock)
    go(ledger, clock, publisher)
    assert codes(ledger) == days_ago(ledger, 2, 1, code="000000000-good") and len(tried) == 2
    assert "too much of everything" in caplog.text and "ZeroDivisionError" in caplog.text
    with ledger.database.connection() as connection:
        assert unfinished_reports(connection) == [], "it is nobody else's job"
    began, minute, waits = clock.at, timedelta(minutes=1), []
    for _ in range(8):
        with connected(ledger) as connection:
            found = look(connection, schedules(connection), clock(), SHANGHAI)
        again_at = min(one.again_at for one in found.resting)
        assert len(found.resting) == 2 and found.due == [] and found.next_at == again_at > clock()
        clock.at = again_at - timedelta(seconds=1)
        assert go(ledger, clock, publisher) == [], "it rests"
        clock.at = again_at
        assert len(go(ledger, clock, publisher)) == 2
        waits.append((clock.at - began) / minute)
    assert len(tried) == 18 and waits == [5, 10, 20, 40, 80, 160, 320, 640]
    with connected(ledger) as connection:
        found = look(connection, schedules(connection), clock(), SHANGHAI)
    assert {one.again_at - one.at for one in found.resting} == {RETRY_MOST}, "it never rests for days"
    monkeypatch.undo()
    clock.at += RETRY_MOST
    go(ledger, clock, publisher)
    assert set(days_ago(ledger, 2, 1, code="000000000-bad")) <= {*codes(ledger)}


def test_a_failure_is_shown_with_its_reason(calm: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = calm.ledger

    def render(*_: object) -> bytes:
        raise LimitExceeded("too much of everything")

    schedule(ledger, days=2)
    client = calm.client(Role.REGULATOR)
    shown = client.get(f"/reports/schedules/{CITY_SCHEDULE}").json()
    assert shown["waiting"] == days_ago(ledger, 2, 1) and shown["failed"] == [] and shown["status"] == "active"
    with monkeypatch.context() as patch:
        patch.setattr(publishing_api, "render", render)
        go(ledger, now)
    shown = client.get(f"/reports/schedules/{CITY_SCHEDULE}").json()
    assert [one["published"] for one in shown["failed"]] == days_ago(ledger, 2, 1) and shown["waiting"] == []
    first = shown["failed"][0]
    assert first["error"] == "too much of everything" and first["at"] < first["againAt"] == shown["looksAgainAt"]
    problem_of(client.get(f"/reports/published/{first['published']}"), 404, "NoSuchNameException")
    assert go(ledger, now) == []
    with ledger.database.read() as connection:  # another format may do what this one could not
        present = record(connection, ledger.vault, REPORT_SCHEDULE, (CITY_SCHEDULE,))
    ledger.record(ledger.registrar(OPERATOR).change(present, {"format": "csv"}))
    assert go(ledger, now) == days_ago(ledger, 2, 1) and [one["format"] for one in filed(ledger)] == ["csv"] * 2


def test_a_report_that_is_too_large_is_a_failure(ledger: Ledger) -> None:
    schedule(ledger)
    with connected(ledger) as connection:
        (one,) = look(connection, schedules(connection), noon(ledger)(), SHANGHAI).due
    begin(ledger.database, one, now())
    with pytest.raises(LimitExceeded, match="another format"):
        keep(ledger.database, one, now(), b"x" * (RESULT_BYTES_MAX + 1), now(), 1, "0" * 64)


# --- crashes, and several at once -------------------------------------------------------------------------


def one_due(ledger: Ledger) -> Due:
    with connected(ledger) as connection:
        return look(connection, schedules(connection), noon(ledger)(), ledger.settings.zone).due[0]


def test_a_process_that_ended_while_it_made_a_report_is_not_followed_at_once(ledger: Ledger) -> None:
    """The report may be what ended it: else every start would end so."""
    schedule(ledger)
    clock = noon(ledger)
    begin(ledger.database, one_due(ledger), clock())
    assert go(ledger, clock) == []
    clock.at += RETRY_LEAST + timedelta(seconds=1)
    assert go(ledger, clock) == days_ago(ledger, 1) == codes(ledger)


class Killed(BaseException):
    """What ends a process: no handler of errors sees it."""


@pytest.mark.parametrize("where", ["begin", "made", "keep", "record"])
@pytest.mark.parametrize("after", [False, True])
def test_whoever_dies_where_another_goes_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, where: str, after: bool
) -> None:
    """Before each step and after it: one entry, and the file is the one that it has the hash of."""
    schedule(ledger)
    clock = noon(ledger)
    owner: Any = {"record": Ledger, "made": reports_api}.get(where, publishing_api)
    real = getattr(owner, where)

    def deadly(*given: Any, **more: Any) -> Any:
        if after:
            real(*given, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, deadly)
        with pytest.raises(Killed):
            go(ledger, clock)
    clock.at += RETRY_LEAST + timedelta(seconds=1)
    survivor = Publisher(ledger, clock)
    assert go(ledger, clock, survivor) == ([] if (where, after) == ("record", True) else days_ago(ledger, 1))
    assert go(ledger, clock, survivor) == [] and codes(ledger) == days_ago(ledger, 1)
    (one,) = filed(ledger)
    assert one["sha256"] == hashlib.sha256(file_of(ledger, one["published"])).hexdigest() and one["version"] == 1


def test_what_was_kept_and_not_filed_is_filed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule(ledger)
    clock, due = noon(ledger), one_due(ledger)
    begin(ledger.database, due, clock())
    keep(ledger.database, due, clock(), b"kept by whoever died", clock(), 7, "ab" * 32)
    monkeypatch.setattr(publishing_api, "render", lambda *_: pytest.fail("it is made already"))
    assert go(ledger, clock) == [due.code]
    (one,) = filed(ledger)
    assert (one["sha256"], one["size"], one["hash"]) == (
        hashlib.sha256(b"kept by whoever died").hexdigest(), 7, "ab" * 32,
    )  # fmt: skip
    assert file_of(ledger, due.code) == b"kept by whoever died"


def test_what_cannot_be_filed_now_is_filed_in_the_next_round(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    schedule(ledger)
    clock = noon(ledger)
    publisher = Publisher(ledger, clock)

    def busy(*_: object) -> None:
        raise Busy("others write")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", busy)
        go(ledger, clock, publisher)
    assert codes(ledger) == [] and "cannot be filed yet" in caplog.text
    monkeypatch.setattr(publishing_api, "render", lambda *_: pytest.fail("it is made already"))
    assert go(ledger, clock, publisher) == days_ago(ledger, 1) == codes(ledger)


def test_what_is_kept_is_kept_once(ledger: Ledger) -> None:
    """A process that lost its lock goes on without knowing: what it keeps or fails afterwards changes nothing."""
    schedule(ledger)
    clock, due = noon(ledger), one_due(ledger)
    begin(ledger.database, due, clock())
    keep(ledger.database, due, clock(), b"first", clock(), 7, "ab" * 32)
    for _ in range(2):
        keep(ledger.database, due, clock(), b"second", clock(), 8, "cd" * 32)
        fail(ledger.database, due, clock(), "it failed")
        begin(ledger.database, due, clock())
        go(ledger, clock)
    assert file_of(ledger, due.code) == b"first" and [one["hash"] for one in filed(ledger)] == ["ab" * 32]


def test_who_files_second_does_no_harm(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that both believe that it is theirs: one entry."""
    schedule(ledger)
    clock, due = noon(ledger), one_due(ledger)
    monkeypatch.setattr(publishing_api, "is_open", lambda *_: True)
    for _ in range(2):
        with connected(ledger) as connection:
            Publisher(ledger, clock).publish(connection, due)
    with ledger.database.read() as connection:
        assert len(versions(connection, ledger.vault, PUBLISHED_REPORT, (due.code,))) == 1


def test_of_several_processes_one_makes_each(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = publishing_api.render, Counter()

    def render(document: Any, *rest: Any) -> bytes:
        made[document.subject] += 1
        time.sleep(0.01)
        return real(document, *rest)

    monkeypatch.setattr(publishing_api, "render", render)
    monkeypatch.setattr(Runner, "every_s", 0.05)
    clock = noon(ledger)
    schedule(ledger, days=12)
    for _ in range(3):
        Runner(ledger, clock)
    wait_for(lambda: len(codes(ledger)) == 12)
    assert made == {f"{ledger.today() - timedelta(days=count)}": 1 for count in range(1, 13)}


@pytest.mark.parametrize("asked", [{"format": "csv"}, {"parameters": {"colour": "red"}}])
def test_an_id_that_somebody_took_gives_way(calm: Server, asked: dict[str, Any]) -> None:
    """Anybody can compute it: else whoever may ask for a report could keep one from being published, or be it."""
    ledger = calm.ledger
    schedule(ledger, days=2)
    (code,) = days_ago(ledger, 2)
    job, market = str(job_of(code)), calm.client(Role.MARKET, NODE)
    given = market.post("/reports/daily", json={"job": job, **asked})
    assert given.status_code == 202
    wait_for(lambda: not market.get(f"/reports/jobs/{job}").json()["running"])
    assert code in go(ledger, Still(now())), "it does not rest from what others failed at"
    problem_of(market.get(f"/reports/jobs/{job}/result"), 404, "NoSuchNameException")
    problem_of(market.post("/reports/daily", json={"job": job}), 409, "ResourceAlreadyExistsException")
    assert json.loads(file_of(ledger, code))["report"] == "daily"


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_what_was_filed_is_given_to_nobody(calm: Server, own: Own) -> None:
    ledger = calm.ledger
    schedule(ledger)
    subscribe(ledger, "duty@city.example", channel="email", kinds=["report."])
    go(ledger, noon(ledger))
    (code,) = codes(ledger)
    with own.superuser() as connection:
        for change in ("result = 'x'", "result = NULL", "result = decode('789c4b040000620062', 'hex')"):
            connection.execute(f"UPDATE report_job SET {change} WHERE job = '{job_of(code)}'")
            problem_of(calm.client().get(f"/reports/published/{code}"), 500, "ImplementationException")
            with pytest.raises(LedgerDamaged):
                file_of(ledger, code)
    sign(ledger)
    follow(ledger.database, ledger.settings)
    with mail_server() as (url, taken), engine(ledger, url):
        wait_for(lambda: taken)
    message = email.message_from_bytes(taken[0], policy=email.policy.default)
    assert [*message.iter_attachments()] == [] and f"/reports/published/{code}" in message.get_content()


@pytest.mark.parametrize(("size", "attached"), [(mail.FILE_BYTES_MAX, True), (mail.FILE_BYTES_MAX + 1, False)])
def test_a_large_file_is_not_mailed(ledger: Ledger, size: int, attached: bool) -> None:
    schedule(ledger)
    clock, due = noon(ledger), one_due(ledger)
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    begin(ledger.database, due, clock())
    keep(ledger.database, due, clock(), data, clock(), 7, "ab" * 32)
    with mail_server() as (url, taken):
        subscribe(ledger, "duty@city.example", channel="email", kinds=["report."])
        go(ledger, clock)
        sign(ledger)
        follow(ledger.database, ledger.settings)
        with engine(ledger, url):
            wait_for(lambda: taken)
    message = email.message_from_bytes(taken[0], policy=email.policy.default)
    files = [one.get_payload(decode=True) for one in message.iter_attachments()]
    assert files == ([data] if attached else [])
    assert ("文件见附件" if attached else f"/reports/published/{due.code}\r\n") in message.get_body().get_content()


def test_the_command_gives_the_file(ledger: Ledger, own: Own, tmp_path: Any) -> None:
    schedule(ledger)
    schedule(ledger, "000000000-pdf", form="pdf")
    go(ledger, noon(ledger))
    environment = {"SUYUAN_DATABASE_URL": own.database.url, "SUYUAN_KEYS": str(ledger.settings.keys)}

    def run(*arguments: str) -> Any:
        return CliRunner(env=environment).invoke(app, ["report", "--published", *arguments])

    for code in codes(ledger):
        done = run(code, "--output", str(tmp_path / "file"))
        assert done.exit_code == 0 and (tmp_path / "file").read_bytes() == file_of(ledger, code), done.output
    (first, _) = sorted(codes(ledger))
    assert run(first).output == file_of(ledger, first).decode()
    with pytest.raises(NotRecorded):
        raise run("000000000-none-2026-11-25").exception
