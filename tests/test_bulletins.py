"""Bulletins, the assessment, FSMA 204 and DSCSA; reports over HTTP, as jobs, and on the command line.

The oracle is plain Python over the entries themselves, decoded one by one.
"""

import io
import json
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text

from api import reports as reports_api
from api.ledger import Ledger, now
from api.reports import Runner, basis, made
from ledger import bulletins, report_jobs
from ledger.access import Actor, Role
from ledger.bulletins import Period, figures, slices
from ledger.credentials import credentials
from ledger.entries import Entry, Kind, decode
from ledger.errors import LimitExceeded, UnacceptableRecord
from ledger.nodes import OPERATOR
from ledger.registers import GOODS, HOLD, LICENCE, PARTY
from ledger.report_jobs import ReportJob, finish_report, get_report, keep_report, note_report, result_of
from reports.all import REPORTS
from reports.assessment import CRITERIA, GRADES, PARTY_CRITERIA
from reports.document import Chart, Document, Grid, Language
from reports.periods import day_of, month_of, week_of
from reports.render import FORMATS, render
from tests.conftest import sign
from tests.test_access import server
from tests.test_access_checks import GATE, Gate, gate
from tests.test_command import Here, Installation, here, install
from tests.test_http import NODE, OTHER, capture, problem_of
from tests.test_registry import filed
from tests.test_warnings import PORK, RULES, event, follow, lot, sale

__all__ = ["gate", "here", "server"]

Json = dict[str, Any]
ZONE = ZoneInfo("Asia/Shanghai")


def entries(ledger: Ledger) -> list[Entry]:
    """All entries but the city's own, decoded: what the numbers have to agree with."""
    with ledger.database.connect() as connection:
        rows = connection.execute("SELECT data FROM entry WHERE node <> 0 ORDER BY record_time, node, seq").fetchall()
    return [decode(bytes(data)) for (data,) in rows]


def held_sale(client: httpx.Client, number: int) -> httpx.Response:
    """A sale of a lot that is held: refused, and the refusal is an entry."""
    return client.post("/scans", json={
        "scan": str(uuid.uuid4()), "node": GATE, "step": "wholesale_trade", "counterparty": "3302120320001",
        "lot": lot(number), "quantity": "1",
        "at": now().isoformat(),
    })  # fmt: skip


@dataclass
class Town:
    """A served ledger in which everything happened that a bulletin counts, and the moments between its parts."""

    gate: Gate
    moments: list[datetime]

    @property
    def ledger(self) -> Ledger:
        return self.gate.server.ledger

    def figures(self, since: datetime, until: datetime, nodes: frozenset[int] | None = None) -> Any:
        with self.ledger.database.read() as connection:
            return figures(connection, Period(since, until), now(), ZONE, "hour", nodes)


@pytest.fixture
def town(gate: Gate) -> Town:
    """Two parts: the first small, the second with refusals, checks of every outcome, failed tests and warnings."""
    ledger, admin = gate.server.ledger, gate.server.client()
    filed(ledger, GOODS, [{"goods": PORK, "name": "猪肉", "kind": "meat", "unit": "KGM"}])
    assert admin.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    moments = [now()]
    assert capture(
        admin, [event("one", NODE, lot(1), passed=True), sale("two", NODE, lot(1), f"{NODE}0001")]
    ).is_success
    moments.append(now())
    gate.ask(*gate.pork(), of={"goods": PORK, "origin": "330106", "lot": lot(3)})
    gate.ask(of={"goods": "01211", "origin": "330106", "lot": lot(8, "01211")})
    failed = {"kind": "rapid", "result": "63.2", "at": now().isoformat()}
    gate.ask(of={"goods": "01211", "origin": "370785", "lot": lot(9, "01211")}, tests=[failed])
    filed(ledger, HOLD, [{"hold": f"{GATE}-1", "scope": "lot", "target": lot(1)}])
    for _ in range(2):
        assert held_sale(admin, 1).status_code == 409
    bad = [event(f"bad-{number}", node, lot(number)) for number, node in ((3, NODE), (4, NODE), (5, OTHER))]
    assert capture(admin, [*bad, event("good", OTHER, lot(6), passed=True), event("wrong", OTHER, lot(7))]).is_success
    wrong = {**event("wrong", OTHER, lot(7)), "errorDeclaration": {"declarationTime": now().isoformat(),
             "reason": "incorrect_data"}}  # fmt: skip
    capture(admin, [wrong])
    sign(ledger)
    follow(ledger.database, ledger.settings)
    moments.append(now())
    return Town(gate, moments)


# --- what is counted ----------------------------------------------------------------------------------


def test_the_numbers_are_those_that_plain_python_counts(town: Town) -> None:
    """For any period and any nodes: a number that cannot be checked against the entries is a rumour."""
    all_ = entries(town.ledger)
    moments = [*town.moments, datetime(2026, 1, 1, tzinfo=UTC), now() + timedelta(days=1)]
    for since in moments:
        for until in moments:
            for nodes in (None, frozenset({int(NODE)}), frozenset({int(GATE), int(OTHER)}), frozenset({999999999})):
                found = town.figures(since, until, nodes)
                own = [one for one in all_ if since <= one.record_time < until
                       and (nodes is None or one.node in nodes)]  # fmt: skip
                events = [one for one in own if one.kind is Kind.EVENT]
                assert found.entries == len(own) and found.events == len(events)
                assert {one.node: one.size for one in found.slices} == Counter(one.node for one in own)
                assert found.by_node == Counter(one.node for one in events)
                assert found.by_step == Counter(one.body["event"]["bizStep"] for one in events)
                hours = Counter(one.record_time.astimezone(ZONE).replace(minute=0, second=0, microsecond=0, tzinfo=None)
                                for one in events)  # fmt: skip
                assert found.by_time == hours
                refusals = [(one.node, one.seq) for one in own if one.kind is Kind.REFUSAL]
                assert [one.place for one in found.refusals] == refusals
                checks = [one for one in own if one.kind is Kind.CHECK]
                assert [(one.place, one.decision) for one in found.checks] == [
                    ((one.node, one.seq), one.body["check"]["decision"]) for one in checks
                ]


def test_tests_are_counted_by_goods_and_origin_and_errors_are_not(town: Town) -> None:
    found = town.figures(town.moments[1], town.moments[2])
    assert Counter((one.goods, one.origin, one.passed) for one in found.tests) == {
        ("01211", "370785", False): 1, (PORK, "330106", False): 1, (PORK, "330212", False): 2,
        (PORK, "330212", True): 1,
    }  # fmt: skip
    assert {one.why for one in found.refusals} == {"held"} and len(found.refusals) == 2
    assert Counter(one.decision for one in found.checks) == {"admitted": 1, "conditional": 1, "refused": 1}


def test_what_is_beyond_the_limits_is_told(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bulletin that silently leaves out is worse than none."""
    assert not town.figures(town.moments[0], town.moments[2]).cut
    for limit in ("OTHERS_MAX", "TESTS_MAX", "WARNINGS_MAX"):
        with monkeypatch.context() as patch:
            patch.setattr(bulletins, limit, 2)
            assert town.figures(town.moments[0], town.moments[2]).cut, limit


def handled(town: Town, id_: str, *steps: str) -> None:
    admin = town.gate.server.client()
    for step in steps:
        body = {"step": step, "reason": "as seen", **({"assignee": f"{GATE}0001"} if step == "assign" else {}),
                **({"measures": "下架"} if step == "submit" else {})}  # fmt: skip
        answer = admin.post(f"/warnings/{id_}/steps", json=body)
        assert answer.status_code in (200, 201), answer.text
    sign(town.ledger)
    follow(town.ledger.database, town.ledger.settings)


def test_warnings_are_raised_closed_in_time_or_late(town: Town) -> None:
    """What is open and not due says nothing yet; what is overdue counts as late, whoever looks."""
    since, until = town.moments[0], town.moments[2]
    before = town.figures(since, until).warnings
    assert len(before) > 4 and {one.in_time for one in before} == {None} and all(one.open for one in before)
    handled(town, before[0].id, "assign", "start", "submit", "verify", "close")
    found = {one.id: one for one in town.figures(since, until).warnings}
    assert (found[before[0].id].in_time, found[before[0].id].open) == (True, False)
    with town.ledger.database.read() as connection:
        later = bulletins.warnings_of(connection, Period(since, until), now() + timedelta(days=30), None)
    assert Counter(one.in_time for one in later) == {True: 1, False: len(before) - 1}


def test_nodes_are_silent_unless_they_recorded_or_came_later(town: Town) -> None:
    nodes = {int(NODE), int(OTHER), int(GATE), 330212032, 330212033}
    second = town.figures(town.moments[1], town.moments[2])
    assert {one.node for one in second.silent} == nodes - {one.node for one in second.slices} != set()
    assert town.figures(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)).silent == []


def test_a_period_lies_where_halving_finds_it(town: Town) -> None:
    """The same slices as looking at every entry gives, for every moment at which something was recorded."""
    all_ = entries(town.ledger)
    heads = Counter(one.node for one in all_)
    with town.ledger.database.read() as connection:
        for since in {one.record_time for one in all_}:
            found = slices(connection, Period(since, town.moments[2]), heads)
            assert {one.node: (one.first, one.last) for one in found} == {
                node: (min(seqs), max(seqs)) for node in heads
                if (seqs := [one.seq for one in all_ if one.node == node and one.record_time >= since])
            }  # fmt: skip


# --- documents ----------------------------------------------------------------------------------------


def make(ledger: Ledger, name: str, actor: Actor = OPERATOR, **given: str) -> Document:
    found = made(ledger, actor, REPORTS[name], given)
    assert found is not None
    return found


def grid(document: Document, title: str) -> Grid:
    (found,) = [one for one in document.sections if isinstance(one, Grid) and one.title.en == title]
    return found


def test_a_day_beside_the_day_before(town: Town) -> None:
    today = town.ledger.today().isoformat()
    document = make(town.ledger, "daily", day=today)
    lines = {str(row[0]).replace("% ", "").split(" ", 1)[1]: row[1:] for row in grid(document, "Overview").rows}
    all_ = entries(town.ledger)
    assert lines["entries"][:3] == [len(all_), 0, None], "nothing grew from nothing"
    assert lines["refusals"][:2] == [2, 0] and len(str(lines["refusals"][3]).split()) == 2, "each names its entries"
    assert lines["tests failed"][0] == 4 and lines["failure rate of tests, %"][0] == round(100 * 4 / 6, 1)
    charts = [one for one in document.sections if isinstance(one, Chart)]
    assert sum(charts[0].series[0].values) == sum(1 for one in all_ if one.kind is Kind.EVENT)
    by_goods = {row[0]: row for row in grid(document, "Failure rates by goods").rows}
    assert by_goods[PORK][1:5] == ["猪肉", 5, 3, 60.0] and by_goods["01211"][4] == 100.0
    assert [row[0] for row in grid(document, "Failure rates by origin").rows] == ["330106", "370785", "330212"]
    named = {name for row in grid(document, "Failure rates by goods").rows for name in str(row[-1]).split()}
    assert named <= {one.name for one in all_} and len(named) == 4


def test_what_a_market_is_told_is_its_own(town: Town) -> None:
    """A bulletin of all would tell a market how its rivals do."""
    today = town.ledger.today().isoformat()
    answer = town.gate.at[GATE].post("/reports/daily", json={"parameters": {"day": today}})
    assert answer.status_code == 200 and NODE not in answer.text and GATE in answer.text


def test_an_empty_period_is_a_document_too(town: Town) -> None:
    for name, given in (("daily", {"day": "2020-02-29"}), ("weekly", {"week": "2020-W53"}),
                        ("monthly", {"month": "2020-02"}), ("assessment", {"month": "2020-02"})):  # fmt: skip
        document = make(town.ledger, name, **given)
        for form in FORMATS:
            assert render(document, form, Language.ENGLISH)


def test_periods_are_days_of_the_city() -> None:
    today = date(2026, 3, 1)
    for parse, said, begin, end, before in (
        (day_of, None, "2026-02-28", "2026-03-01", "2026-02-27"), (day_of, "2026-03-01", "2026-03-01", "2026-03-02",
         "2026-02-28"), (week_of, "2026-W01", "2025-12-29", "2026-01-05", "2025-12-22"),
        (week_of, None, "2026-02-16", "2026-02-23", "2026-02-09"), (month_of, None, "2026-02-01", "2026-03-01",
         "2026-01-01"), (month_of, "2026-01", "2026-01-01", "2026-02-01", "2025-12-01"),
    ):  # fmt: skip
        now_, past = parse(said, today)
        assert [f"{one}" for one in (now_.begin, now_.end, past.begin)] == [begin, end, before], (parse, said)
        assert past.end == now_.begin
    assert day_of("2026-03-01", today)[0].period(ZONE).since == datetime(2026, 2, 28, 16, tzinfo=UTC)
    for parse, said in ((day_of, "x"), (day_of, "2026-02-30"), (day_of, "2026-03-02"), (week_of, "2026-W60"),
                        (week_of, "2026-10"), (month_of, "2026-13"), (month_of, "2026-1"), (month_of, "0000-01"),
                        (month_of, "2026-04")):  # fmt: skip
        with pytest.raises(UnacceptableRecord):
            parse(said, today)


# --- over HTTP ----------------------------------------------------------------------------------------


def done(client: httpx.Client, path: str) -> Json:
    """The job at its end."""
    for _ in range(600):
        found = client.get(path).json()
        if not found["running"]:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_a_report_is_answered_at_once_in_every_format(town: Town) -> None:
    client = town.gate.server.client(Role.REGULATOR)
    listed = client.get("/reports").json()
    assert {one["report"] for one in listed["reports"]} == set(REPORTS) and listed["formats"] == list(FORMATS)
    today = town.ledger.today().isoformat()
    for form in FORMATS:
        for language in ("zh", "en"):
            body = {"parameters": {"day": today}, "format": form, "language": language}
            answer = client.post("/reports/daily", json=body)
            assert answer.status_code == 200 and f"suyuan-daily.{form}" in answer.headers["content-disposition"]
            assert "sandbox" in answer.headers["content-security-policy"]
    problem_of(client.post("/reports/nothing", json={}), 404, "NoSuchNameException")
    for body in ({"parameters": {"colour": "red"}}, {"format": "doc"}, {"language": "fr"}, {"job": "x"},
                 {"parameters": {"day": "tomorrow"}}):  # fmt: skip
        assert client.post("/reports/daily", json=body).status_code == 400, body
    terminal = town.gate.server.client(Role.TERMINAL, NODE)
    problem_of(terminal.post("/reports/daily", json={}), 403, "SecurityException")
    problem_of(terminal.post("/reports/daily", json={"job": str(uuid.uuid4())}), 403, "SecurityException")
    assert "daily" not in {one["report"] for one in terminal.get("/reports").json()["reports"]}


def test_a_job_is_its_owners_with_progress_and_download(town: Town) -> None:
    client, other = (town.gate.server.client(Role.REGULATOR) for _ in range(2))
    body = {"parameters": {"day": town.ledger.today().isoformat()}, "format": "xlsx", "job": str(uuid.uuid4())}
    given = client.post("/reports/daily", json=body)
    assert given.status_code == 202 and given.headers["location"] == f"/reports/jobs/{body['job']}"
    assert client.post("/reports/daily", json=body).status_code == 202, "the same again is the same"
    problem_of(client.post("/reports/weekly", json=body | {"parameters": {}}), 409, "ResourceAlreadyExistsException")
    found = done(client, given.headers["location"])
    assert (found["done"], found["total"], found["error"]) == (3, 3, None)
    result = client.get(given.headers["location"] + "/result")
    assert len(result.content) == found["size"] and zipfile.is_zipfile(io.BytesIO(result.content))
    for path in ("", "/result"):
        stolen = other.get(given.headers["location"] + path)
        absent = other.get(f"/reports/jobs/{uuid.UUID(int=1)}{path}")
        assert problem_of(stolen, 404, "NoSuchNameException")["detail"].replace(body["job"], "") == problem_of(
            absent, 404, "NoSuchNameException"
        )["detail"].replace(str(uuid.UUID(int=1)), "")
    bad = client.post("/reports/daily", json={**body, "parameters": {"day": "x"}, "job": str(uuid.uuid4())})
    told = done(client, bad.headers["location"])
    assert told["done"] == 0 and "such as 2026-11-24" in told["error"]
    problem_of(client.get(bad.headers["location"] + "/result"), 404, "NoSuchNameException")


def test_what_takes_long_becomes_a_job_by_itself(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    client = town.gate.server.client(Role.REGULATOR)
    monkeypatch.setattr(reports_api, "DIRECT_CELLS", {"csv": 3})
    answer = client.post("/reports/daily", json={"format": "csv"})
    assert answer.status_code == 202 and done(client, answer.headers["location"])["size"] > 100
    monkeypatch.setattr(reports_api, "basis", slow_basis)
    with monkeypatch.context() as patch:
        patch.setattr(reports_api, "DIRECT_S", 1)
        assert reports_api.directly(town.ledger, OPERATOR, REPORTS["daily"], {}, "html") is None


def slow_basis(connection: Any, *rest: Any) -> Any:
    """As long as a question can take that the server is told to end."""
    connection.execute(text("SELECT pg_sleep(20)"))
    return basis(connection, *rest)


def test_a_job_that_a_crash_cut_off_is_made_by_whoever_comes_next(town: Town) -> None:
    """A process died after it had read: its lock is gone with it, and another one starts anew."""
    client = town.gate.server.client(Role.REGULATOR)
    with town.ledger.database.read() as connection:
        name = next(one.credential for one in credentials(connection) if one.role is Role.REGULATOR)
    job = ReportJob(uuid.uuid4(), name, now(), None, "daily", {}, "json", "en")
    keep_report(town.ledger.database, job)
    note_report(town.ledger.database, job.job, 1)
    Runner(town.ledger)
    found = done(client, f"/reports/jobs/{job.job}")
    assert found["done"] == 3 and json.loads(client.get(f"/reports/jobs/{job.job}/result").content)


def test_a_report_that_fails_ends_its_job_and_no_other(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = town.gate.server.client(Role.REGULATOR)
    monkeypatch.setattr(reports_api, "render", lambda *_: 1 / 0)
    first = client.post("/reports/daily", json={"job": str(uuid.uuid4())}).headers["location"]
    assert "the log of the server" in done(client, first)["error"] and "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    second = client.post("/reports/daily", json={"job": str(uuid.uuid4())}).headers["location"]
    assert done(client, second)["error"] is None


def test_jobs_have_limits_and_results_go_after_some_days(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    database = town.ledger.database

    def job(days: int = 0, credential: str = "aaaaaaaaaa") -> ReportJob:
        return ReportJob(uuid.uuid4(), credential, now() - timedelta(days=days), None, "daily", {}, "json", "en")

    old = job(9)
    keep_report(database, old)
    finish_report(database, old.job, now(), b"result")
    with database.connection() as connection:
        assert result_of(connection, old.job) == b"result"
    for _ in range(report_jobs.UNFINISHED_MAX):
        keep_report(database, job())
    with pytest.raises(LimitExceeded, match="10 reports of yours"):
        keep_report(database, job())
    keep_report(database, job(credential="bbbbbbbbbb"))
    with database.connection() as connection, pytest.raises(Exception, match="there is no result"):
        result_of(connection, old.job)
    monkeypatch.setattr(report_jobs, "RESULT_BYTES_MAX", 3)
    large = job(credential="cccccccccc")
    keep_report(database, large)
    finish_report(database, large.job, now(), b"1234")
    with database.connection() as connection:
        assert "ask for less" in str(get_report(connection, large.job, "cccccccccc").error)
    with database.connection() as connection:  # nothing is left for the next process
        connection.execute("UPDATE report_job SET finished_at = now() WHERE finished_at IS NULL")


# --- the assessment -----------------------------------------------------------------------------------


def test_the_table_of_criteria_adds_up() -> None:
    assert sum(one.weight for one in CRITERIA) == 100 and [least for least, *_ in GRADES] == [90, 75, 60, 0]


def test_scores_are_those_of_the_table_and_name_what_took_points(town: Town) -> None:
    month = f"{town.ledger.today():%Y-%m}"
    document = make(town.ledger, "assessment", month=month)
    rows = {row[0]: row for row in grid(document, "Scores").rows}
    assert set(rows) == {NODE, OTHER, GATE, "330212032", "330212033"}
    passed = town.ledger.today().day
    kinds = Counter((one.node, one.kind) for one in entries(town.ledger))
    refusals, events = kinds[int(GATE), Kind.REFUSAL], kinds[int(GATE), Kind.EVENT]
    compliant = max(0.0, 1 - refusals / (events + refusals) / 0.1)
    diligent = 0.0 if not events else 1 / passed
    assert rows[GATE][2] == round(100 * (20 * compliant + 10 * diligent) / 30, 1), rows[GATE]
    proofs = [row for row in grid(document, "What took points").rows if row[0] == GATE]
    assert any(f"{GATE}/" in str(row[-1]) for row in proofs)
    whole = {"month": month, "whole": "true"}
    page = town.gate.server.client(Role.REGULATOR).get("/console/assessment", params=whole)
    assert page.status_code == 200 and NODE in page.text
    own = town.gate.at[GATE].get("/console/assessment", params=whole)
    assert own.status_code == 200 and NODE not in own.text and GATE in own.text


def test_parties_are_scored_by_licences_checks_and_warnings(town: Town) -> None:
    """A score that does not follow from its entries would be somebody's opinion; of an honest party nothing is told."""
    month = f"{town.ledger.today():%Y-%m}"
    lapsed, honest = f"{NODE}0004", f"{NODE}0005"
    filed(
        town.ledger,
        PARTY,
        [
            {"party": party, "kinds": ["retailer"], "legal_name": "x", "credit_code": code}
            for party, code in ((lapsed, "91350100M000100Y43"), (honest, "91350100M000100Y43"))
        ],
    )
    papers = [(lapsed, "JY1", "2026-01-31"), (lapsed, "JY2", "2036-01-31"), (honest, "JY3", "2036-01-31")]
    filed(town.ledger, LICENCE, [
        {"party": party, "number": number, "kind": "food_operation", "valid_from": "2020-01-01", "valid_to": last}
        for party, number, last in papers
    ])  # fmt: skip
    document = make(town.ledger, "assessment", month=month)
    rows = {row[0]: row for row in grid(document, "Parties").rows}
    checks = [one for one in entries(town.ledger) if one.kind is Kind.CHECK]
    refused = [one for one in checks if one.body["check"]["decision"] == "refused"]
    (party,) = {one.body["check"]["party"] for one in checks}
    admitted = 1 - len(refused) / len(checks)
    assert rows[party][4:6] == [100.0, round(100 * admitted, 1)]
    assert rows[party][2] == round(100 * (40 + 30 * admitted) / 70, 1)
    assert set(rows[party][-1].split()) == {one.name for one in refused}
    assert rows[lapsed][2:5] == [50.0, "D 差", 50.0] and honest not in rows
    (cited,) = rows[lapsed][-1].split()
    shown = town.gate.server.client().get(f"/entries/{cited}").json()["body"]["change"]
    assert shown["row"]["valid_to"] == "2026-01-31", "the entry of the licence that lapsed"
    own = make(town.ledger, "assessment", actor=Actor("m", Role.MARKET, frozenset([int(GATE)]), int(GATE)), month=month)
    assert {row[0][:9] for row in grid(own, "Parties").rows} == {GATE}
    assert sum(one.weight for one in PARTY_CRITERIA) == 100


# --- pages and the command ----------------------------------------------------------------------------


def test_the_pages_show_download_and_hand_over(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    client = town.gate.server.client(Role.REGULATOR)
    page = client.get("/console/reports")
    assert page.status_code == 200 and all(f"/console/reports/{name}" in page.text for name in REPORTS)
    today = town.ledger.today().isoformat()
    shown = client.get("/console/reports/daily", params={"day": today})
    assert shown.status_code == 200 and "<svg" in shown.text and "日监测" in shown.text and " style=" not in shown.text
    for form in set(FORMATS) - {"html"}:
        file = client.get("/console/reports/daily", params={"day": today, "format": form})
        assert file.status_code == 200 and f"suyuan-daily.{form}" in file.headers["content-disposition"]
    assert client.get("/console/reports/daily", params={"day": "x"}).status_code == 400
    assert client.get("/console/reports/daily", params={"format": "doc"}).status_code == 400
    monkeypatch.setattr(reports_api, "DIRECT_CELLS_ELSE", 1)
    assert 'data-report="daily"' in client.get("/console/reports/daily").text
    job = client.post("/reports/daily", json={"format": "csv", "job": str(uuid.uuid4())}).json()["job"]
    assert done(client, f"/reports/jobs/{job}")["size"]
    assert f"/reports/jobs/{job}/result" in client.get(f"/console/reports/jobs/{job}").text
    assert job in client.get("/console/reports").text


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    for found in install(tmp_path_factory.mktemp("reports")):
        found.good("node", "add", NODE, "城东农贸市场", "--scheme", "A")
        yield found


def test_the_command_lists_makes_and_refuses(here: Here) -> None:
    listed = here.good("report")
    assert all(name in listed for name in REPORTS)
    for form in FORMATS:
        here.good("report", "daily", "--format", form, "--language", "en", "--output", f"day.{form}")
    assert (here.installed.folder / "day.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads(here.good("report", "weekly", "week=2026-W10", "--format", "json"))
    assert "there is no report" in here.refused("report", "nothing")
    assert "NAME=VALUE" in here.refused("report", "daily", "yesterday")
    assert "--output" in here.refused("report", "daily", "--format", "pdf")
    assert "does not ask" in here.refused("report", "daily", "colour=red")
    assert "it is one of" in here.refused("report", "daily", "--format", "doc")
