"""Notices: filters against a plain model, pages and streams over HTTP, how long they are kept, how they look."""

import email
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.policy import default

import httpx
import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb
from sqlalchemy import select
from standardwebhooks import Webhook

import api.feed
from api.ledger import Ledger, now
from ledger import mail
from ledger.access import Role
from ledger.credentials import get_credential, revoke
from ledger.subscriptions import (
    EVENT_BYTES_MAX,
    LEVELS,
    Filter,
    Kept,
    Notice,
    cloud_event,
    filter_of,
    forget,
    page,
    reset_event,
    wanted_by_subscription,
)
from ledger.tables import notice, subscription
from tests.test_http import NODE, OTHER, Server, credential, problem_of, server
from tests.test_subscriptions import engine, receiving, status, tell, wait_for

__all__ = ["server"]

AT = datetime(2026, 11, 25, 8, 0, 0, 5, tzinfo=UTC)

# --- filters --------------------------------------------------------------------------------------

GOODS, NODES = ["211", "21113011", "2199", "0123", "01"], [330212001, 330212002, 330106001, 110105001, 0]
SUBJECTS, RULES = ["urn:x:1", "urn:x:2", "urn:x:%_"], ["residue", "residue_failed", "temp%"]
TYPES, KINDS = (
    ["warning.raised", "warning.changed", "recall.filed", "hold.placed"],
    ["warning.", "warning.raised", "re", "x"],
)
REGIONS = ["33", "3302", "330212", "110105", "3301", "00"]
many = lambda words: st.lists(st.sampled_from(words), max_size=2, unique=True).map(tuple)  # noqa: E731
filters = st.builds(
    Filter, many(LEVELS), many(RULES), many(GOODS), many([f"{n:09d}" for n in NODES]), many(REGIONS), many(SUBJECTS),
    many(KINDS), st.none() | st.frozensets(st.sampled_from(NODES), max_size=2),
)  # fmt: skip
notices = st.lists(
    st.fixed_dictionaries({
        "type": st.sampled_from(TYPES), "level": st.none() | st.integers(1, 4),
        "rule": st.none() | st.sampled_from(RULES), "node": st.sampled_from(NODES),
        "goods": st.none() | st.sampled_from(GOODS), "subject": st.sampled_from(SUBJECTS),
    }).map(lambda one: {**one, "region": one["node"] // 1000}), min_size=1, max_size=8,
)  # fmt: skip


def model(wanted: Filter, one: dict) -> bool:
    """What a subscriber would understand of it."""
    for_all = one["node"] == 0 and one["type"].startswith(("recall.", "hold."))
    if wanted.reach is not None and one["node"] not in wanted.reach and not for_all:
        return False
    if wanted.levels and (
        one["level"] is None or ["red", "orange", "yellow", "blue"][one["level"] - 1] not in wanted.levels
    ):
        return False
    if wanted.rules and one["rule"] not in wanted.rules:
        return False
    if wanted.goods and not any((one["goods"] or "-").startswith(goods) for goods in wanted.goods):
        return False
    if wanted.nodes and str(one["node"]).zfill(9) not in wanted.nodes:
        return False
    if wanted.regions and not any(str(one["region"]).zfill(6).startswith(region) for region in wanted.regions):
        return False
    if wanted.subjects and one["subject"] not in wanted.subjects:
        return False
    return not wanted.kinds or any(one["type"].startswith(kind) for kind in wanted.kinds)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(filters, notices)
def test_a_filter_says_the_same_in_sql_in_python_and_to_a_reader(ledger: Ledger, wanted: Filter, told: list) -> None:
    with ledger.database.connection() as connection:
        connection.execute("DELETE FROM notice")
    tell(ledger, *told)
    expected = [number for number, one in enumerate(told, 1) if model(wanted, one)]
    with ledger.database.read() as connection:
        found = page(connection, wanted, 0, 100)
        whole = page(connection, Filter(), 0, 100)
    assert [one.number for one in found.notices] == expected and found.next == len(told) and not found.reset
    assert [one.number for one in whole.notices if wanted.passes(one)] == expected


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(filters, notices, st.sampled_from(["000000000", *(f"{n:09d}" for n in NODES[:3])]))
def test_a_subscriptions_row_asks_for_the_same(ledger: Ledger, wanted: Filter, told: list, node: str) -> None:
    """As the one statement for all subscriptions says it, and as the filter made of its row."""
    wanted = Filter(
        **{
            name: getattr(wanted, name)
            for name in ("levels", "rules", "goods", "nodes", "regions", "subjects", "kinds")
        },
        reach=None if node == "000000000" else frozenset([int(node)]),
    )
    with ledger.database.connection() as connection:
        connection.execute("DELETE FROM notice")
    tell(ledger, *told)
    lists = {
        name: list(getattr(wanted, name)) or None
        for name in ("levels", "rules", "goods", "nodes", "regions", "subjects", "kinds")
    }
    expected = [number for number, one in enumerate(told, 1) if model(wanted, one)]
    with ledger.database.engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(subscription.insert().values(
            subscription=f"{node}-x", version=1, channel="webhook", status="active", status_since=now().date(), **lists
        ))  # fmt: skip
        row = connection.execute(select(subscription)).one()
        found = connection.execute(select(notice.c.number).where(wanted_by_subscription()).order_by(notice.c.number))
        assert list(found.scalars()) == expected
        transaction.rollback()
    assert filter_of(row) == wanted


# --- how a notice looks ---------------------------------------------------------------------------


def made(**changes: object) -> Notice:
    given = {"number": 7, "at": AT, "type": "warning.raised", "level": 1, "rule": "residue", "node": 330212001,
             "region": 330212, "goods": "211", "subject": "urn:x:1", "body": {"message": "残留超标"}}  # fmt: skip
    return Notice(**{**given, **changes})


def test_a_notice_is_a_cloud_event() -> None:
    event = cloud_event(made(), "city.example/log")
    assert event == {
        "specversion": "1.0", "id": "7", "source": "https://city.example/log", "type": "city.suyuan.warning.raised",
        "subject": "urn:x:1", "time": "2026-11-25T08:00:00.000005Z", "datacontenttype": "application/json",
        "sequence": "00000000000000000007",
        "data": {"message": "残留超标", "number": 7, "level": "red", "rule": "residue", "node": "330212001",
                 "region": "330212", "goods": "211"},
    }  # fmt: skip


def test_another_implementation_reads_it() -> None:
    for event in (cloud_event(made(), "city.example/log"), reset_event(Kept(5, 9), 2, "city.example/log")):
        read = JSONFormat().read(None, json.dumps(event))
        assert read.get_id() == event["id"] and read.get_type() == event["type"] and read.get_data() == event["data"]
        assert read.get_extension("sequence") == event["sequence"]


@given(st.recursive(
    st.text(max_size=3000) | st.integers(-5, 5) | st.none(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=9), inner, max_size=9), max_leaves=60,
))  # fmt: skip
@hypothesis_settings(max_examples=100, deadline=None)
def test_an_event_is_bounded_and_says_that_it_was_cut(value: object) -> None:
    evidence = [value, *(f"330212001/{n}" for n in range(3000))]
    for body in ({"evidence": evidence}, {"nested": {"evidence": evidence}, "message": "x"}, {"value": value}):
        event = cloud_event(made(body=body), "city.example/log")
        assert len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()) < EVENT_BYTES_MAX
        if "evidence" in str(body):
            assert event["data"]["truncated"] is True and event["data"]["level"] == "red"
        elif "truncated" not in event["data"]:
            assert event["data"]["value"] == value


def test_a_cut_list_keeps_its_beginning() -> None:
    event = cloud_event(made(body={"message": "m", "evidence": [f"330212001/{n}" for n in range(9000)]}), "o")
    kept = event["data"]["evidence"]
    assert kept == [f"330212001/{n}" for n in range(len(kept))] and len(kept) > 500 and event["data"]["message"] == "m"


# --- how long they are kept -----------------------------------------------------------------------


def test_the_newest_notice_is_never_forgotten(ledger: Ledger) -> None:
    tell(ledger, {}, {}, at=AT)
    tell(ledger, {}, at=AT - timedelta(days=9))
    with ledger.database.engine.begin() as connection:
        assert forget(connection, AT - timedelta(days=1)) == 0, "all before the first that stays, and no other"
        assert forget(connection, AT + timedelta(days=1)) == 2
        assert forget(connection, AT + timedelta(days=1)) == 0
        assert Kept.now(connection) == Kept(3, 3)


@pytest.mark.parametrize(("after", "reset", "numbers"), [
    (0, True, [4, 5]), (2, True, [4, 5]), (3, False, [4, 5]), (4, False, [5]), (5, False, []), (6, True, [4, 5]),
])  # fmt: skip
def test_a_cursor_that_does_not_hold_is_told(ledger: Ledger, after: int, reset: bool, numbers: list[int]) -> None:
    tell(ledger, {}, {}, {}, at=AT)
    tell(ledger, {}, {})
    with ledger.database.engine.begin() as connection:
        forget(connection, now() - timedelta(hours=1))
        found = page(connection, Filter(), after, 10)
    assert (found.reset, [one.number for one in found.notices], found.next) == (reset, numbers, 5)


def test_with_no_notices_at_all_nothing_is_missed(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        found = page(connection, Filter(), 0, 10)
        assert (found.notices, found.next, found.reset) == ([], 0, False)
        assert page(connection, Filter(), 3, 10).reset


# --- polling --------------------------------------------------------------------------------------


def test_a_page_and_the_next(server: Server) -> None:
    tell(server.ledger, *({"subject": f"urn:x:{n}", "level": 1 + n % 2} for n in range(7)))
    client = server.client()
    first = client.get("/notices", params={"limit": 4}).json()
    assert (
        [one["id"] for one in first["notices"]] == ["1", "2", "3", "4"] and first["next"] == 4 and first["oldest"] == 1
    )
    second = client.get("/notices", params={"after": 4}).json()
    assert [one["id"] for one in second["notices"]] == ["5", "6", "7"] and second["next"] == 7 and not second["reset"]
    red = client.get("/notices", params={"level": ["red"], "limit": 3}).json()
    assert [one["id"] for one in red["notices"]] == ["1", "3", "5"] and red["next"] == 5
    assert client.get("/notices", params={"after": 5, "level": "red", "kind": "warning."}).json()["next"] == 7
    assert client.get("/notices", params={"after": 99}).json()["reset"] is True


def test_a_reader_sees_the_notices_of_its_own_nodes(server: Server) -> None:
    tell(server.ledger, {"node": int(NODE)}, {"node": int(OTHER)}, {"node": 0})
    for role, nodes, seen in (
        (Role.TERMINAL, [NODE], ["1"]), (Role.SUBSCRIBER, [OTHER], ["2"]), (Role.SUBSCRIBER, [], []),
        (Role.REGULATOR, [], ["1", "2", "3"]),
    ):  # fmt: skip
        found = server.client(role, *nodes).get("/notices").json()
        assert [one["id"] for one in found["notices"]] == seen and found["next"] == 3
        asked = server.client(role, *nodes).get("/notices", params={"node": OTHER}).json()
        assert [one["id"] for one in asked["notices"]] == [one for one in seen if one == "2"]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "wait=26", "level=purple", "node=1",
                                   "region=x", "region=3302120", "foo=1",
                                    "after=9223372036854775808", "rule=%00"])  # fmt: skip
def test_a_wrong_question_is_a_problem(server: Server, query: str) -> None:
    problem_of(server.client().get(f"/notices?{query}"), 400, "QueryParameterException")


def test_a_poll_waits_for_what_it_asks_for_and_no_longer(server: Server) -> None:
    client = server.client()
    began = time.monotonic()
    assert client.get("/notices", params={"wait": 0.5}).json()["notices"] == []
    assert 0.4 < time.monotonic() - began < 5
    timer = threading.Timer(0.3, tell, [server.ledger, {"level": 2}])
    later = threading.Timer(0.8, tell, [server.ledger, {"level": 1}])
    timer.start()
    later.start()
    began = time.monotonic()
    found = client.get("/notices", params={"wait": 20, "level": "red"}).json()
    assert [one["id"] for one in found["notices"]] == ["2"] and 0.7 < time.monotonic() - began < 10
    timer.join()
    later.join()


# --- streams --------------------------------------------------------------------------------------


class Stream:
    """A reader of server-sent events, as the standard has it, in a thread."""

    def __init__(self, client: httpx.Client, **asked: object) -> None:
        self.events: list[tuple[str, str, dict]] = []
        self.last, self.comments, self.status, self.headers = "", 0, 0, {}
        headers = {"Last-Event-ID": str(asked.pop("last"))} if "last" in asked else {}
        self._client, self._headers, self._asked = client, headers, asked
        self._stop = False
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        with self._client.stream("GET", "/notices/stream", params=self._asked, headers=self._headers) as answer:
            self.headers, self.status = answer.headers, answer.status_code
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if self._stop:
                    return
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                else:
                    self.last = fields.get("id", self.last)
                    if "data" in fields:
                        self.events.append((fields["id"], fields["event"], json.loads(fields["data"])))
                    fields = {}

    @property
    def ids(self) -> list[str]:
        return [id_ for id_, _, _ in self.events]


@contextmanager
def stream(server: Server, client: httpx.Client, **asked: object) -> Iterator[Stream]:
    """A stream that is left at the end: the next notice lets its thread see that."""
    found = Stream(client, **asked)
    wait_for(lambda: found.status and found.last)
    try:
        yield found
    finally:
        found._stop = True
        tell(server.ledger, {"node": int(NODE), "level": 1}, {"node": int(NODE), "level": 4})
        found.thread.join(20)
        assert not found.thread.is_alive()


def test_a_stream_tells_what_comes(server: Server) -> None:
    tell(server.ledger, {})
    with stream(server, server.client()) as found:
        assert found.headers["content-type"].startswith("text/event-stream")
        assert found.headers["x-accel-buffering"] == "no" and found.last == "1"
        tell(server.ledger, {"subject": "urn:x:2"}, {"type": "recall.filed", "level": None, "rule": None})
        wait_for(lambda: len(found.events) == 2)
        (id_, kind, event), (_, other, _) = found.events
        assert (id_, kind, other) == ("2", "city.suyuan.warning.raised", "city.suyuan.recall.filed")
        polled = server.client().get("/notices", params={"after": 1}).json()["notices"]
        assert event == polled[0], "a stream and a page say the same"


def test_a_stream_goes_on_from_the_last_event_that_was_seen(server: Server) -> None:
    tell(server.ledger, *({"subject": f"urn:x:{n}"} for n in range(5)))
    with stream(server, server.client(), last=2) as found:
        wait_for(lambda: found.ids == ["3", "4", "5"])
        tell(server.ledger, {})
        wait_for(lambda: found.ids == ["3", "4", "5", "6"])
    with stream(server, server.client(), after=4, level="red") as found:
        wait_for(lambda: found.ids[:2] == ["5", "6"])


def test_a_reset_comes_before_a_gap(server: Server) -> None:
    tell(server.ledger, {}, {}, {}, at=AT)
    tell(server.ledger, {}, {})
    with server.ledger.database.engine.begin() as connection:
        forget(connection, now() - timedelta(hours=1))
    for last in (0, 1, 99):
        with stream(server, server.client(), last=last) as found:
            wait_for(lambda: len(found.events) >= 3)
            assert [kind for _, kind, _ in found.events[:3]] == ["reset", *["city.suyuan.warning.raised"] * 2]
            assert found.events[0][2]["data"]["oldest"] == 4 and found.ids[0] == "3"


def test_streams_are_filtered_each_for_itself_and_share_one_reader(server: Server) -> None:
    node = server.client(Role.TERMINAL, NODE)
    with (
        stream(server, server.client()) as all_of_them, stream(server, node) as near,
        stream(server, server.client(), level="blue", kind="warning.") as blue,
    ):  # fmt: skip
        tell(server.ledger, {"node": int(NODE), "level": 4}, {"node": int(OTHER), "level": 4}, {"node": int(NODE)})
        wait_for(lambda: len(all_of_them.events) == 3 and len(near.events) == 2 and len(blue.events) == 2)
        assert near.ids == ["1", "3"] and blue.ids == ["1", "2"]


def test_more_streams_than_a_process_takes_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.feed, "LISTENERS_MAX", 1)
    with stream(server, server.client()):
        answer = server.client().get("/notices/stream")
        problem_of(answer, 503, "ImplementationException")
        assert answer.headers["retry-after"] and server.client().get("/notices").status_code == 200
    wait_for(lambda: server.client().get("/notices", params={"wait": 0.01}).status_code == 200)


def test_a_stream_ends_with_its_credential(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.notices.HEARTBEAT_S", 0.3)
    code, key = credential(server.ledger, Role.REGULATOR)
    found = Stream(server.with_key(key))
    wait_for(lambda: found.comments >= 2)
    with server.ledger.database.read() as connection:
        present = get_credential(connection, code)
    server.ledger.record(revoke(present, "operator", now()))
    found.thread.join(20)
    assert not found.thread.is_alive() and found.status == 200


@pytest.mark.parametrize("last", ["x", "-1", "1.0", "9" * 30])
def test_a_last_event_id_that_is_no_number_is_a_problem(server: Server, last: str) -> None:
    answer = server.client().get("/notices/stream", headers={"Last-Event-ID": last})
    problem_of(answer, 400, "QueryParameterException")


# --- subscriptions over HTTP ----------------------------------------------------------------------

HOOK = {"subscription": f"{NODE}-erp", "channel": "webhook", "destination": "https://city.example/hook"}


def test_a_subscriber_files_its_own_and_gets_its_secret_by_rotating(server: Server) -> None:
    client = server.client(Role.SUBSCRIBER, NODE)
    with receiving(status(200)) as hook, engine(server.ledger):
        filed = client.post("/registry/subscriptions", json={**HOOK, "destination": hook.url, "levels": ["red"]})
        assert filed.status_code == 201 and filed.json()["secret"] == "****" == filed.json()["destination"]
        made = client.post(f"/subscriptions/{NODE}-erp/rotate", json={}).json()
        assert made["rotating"] is True and made["secret"].startswith("whsec_")
        tell(server.ledger, {"node": int(NODE)})
        wait_for(lambda: hook.heard)
        (heard,) = hook.heard
        assert Webhook(made["secret"]).verify(heard.body, heard.headers)
        assert heard.headers["webhook-signature"].count("v1,") == 2
        done = client.post(f"/subscriptions/{NODE}-erp/rotate", json={"finish": True}).json()
        assert done == {"subscription": f"{NODE}-erp", "secret": None, "rotating": False}
        wait_for(lambda: client.get(f"/subscriptions/{NODE}-erp/deliveries").json()[0]["outcome"] == "delivered")
        (row,) = client.get(f"/subscriptions/{NODE}-erp/deliveries", params={"outcome": "delivered"}).json()
        assert row["webhookId"] == heard.headers["webhook-id"] and row["status"] == 200 and row["attempts"] == 1
        state = client.get(f"/subscriptions/{NODE}-erp").json()
        assert (state["position"], state["waiting"], state["failing"], state["disabled"]) == (1, 0, False, None)
        assert state["last"] == [row] and "city" not in json.dumps(state)
        again = client.post(f"/subscriptions/{NODE}-erp/replay", json={"from": 1, "to": 1})
        assert again.json() == {"replayed": 1, "oldest": 1, "reset": False}
        wait_for(lambda: len(hook.heard) == 2)
    assert hook.heard[1].headers["webhook-id"] == heard.headers["webhook-id"]


def test_somebody_elses_subscription_is_as_none(server: Server) -> None:
    assert server.client().post("/registry/subscriptions", json=HOOK).status_code == 201
    far = server.client(Role.SUBSCRIBER, OTHER)
    for code in (f"{NODE}-erp", f"{NODE}-nothing", "000000000-x"):
        for method, path, body in (
            ("GET", "", None), ("GET", "/deliveries", None), ("POST", "/replay", {"from": 1, "to": 2}),
            ("POST", "/rotate", {}),
        ):  # fmt: skip
            problem_of(far.request(method, f"/subscriptions/{code}{path}", json=body), 404, "NoSuchNameException")
    problem_of(far.post("/registry/subscriptions", json=HOOK), 403, "SecurityException")
    city = {**HOOK, "subscription": "000000000-all"}
    problem_of(far.post("/registry/subscriptions", json=city), 403, "SecurityException")
    problem_of(server.client(Role.MARKET, NODE).post("/registry/subscriptions", json=city), 403, "SecurityException")
    assert server.client(Role.REGULATOR).post("/registry/subscriptions", json=city).status_code == 201


BAD = [
    {"destination": "http://city.example/hook"}, {"destination": "https://u:p@city.example/"}, {"destination": "x"},
    {"channel": "email"}, {"channel": "email", "destination": "a@b@c.example"}, {"channel": "pigeon"},
    {"channel": "email", "destination": "Duty <a@b.example>"},
    {"channel": "email", "destination": "a@b.example,c@d.example"},
    {"secret": "short"}, {"levels": ["purple"]}, {"nodes": ["1"]}, {"regions": ["x"]}, {"subscription": "erp"},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD)
def test_a_wrong_subscription_is_refused_without_being_repeated(server: Server, change: dict) -> None:
    answer = server.client().post("/registry/subscriptions", json={**HOOK, **change})
    assert answer.status_code == 400 and "city.example" not in answer.text.replace("duty@city.example", "")
    assert "u:p" not in answer.text


@pytest.mark.parametrize(
    "body", [{}, {"from": 1}, {"from": 0, "to": 1}, {"from": "1", "to": 2}, {"from": 1, "to": 2, "x": 1}]
)
def test_a_wrong_range_is_refused(server: Server, body: dict) -> None:
    server.client().post("/registry/subscriptions", json=HOOK)
    answer = server.client().post(f"/subscriptions/{NODE}-erp/replay", json=body)
    problem_of(answer, 400, "QueryParameterException")


def test_at_most_so_many_are_replayed_at_once(server: Server) -> None:
    server.client().post("/registry/subscriptions", json=HOOK)
    with server.ledger.database.connection() as connection:
        connection.execute(
            "INSERT INTO notice (number, at, type, revision, node, region, subject, body)"
            " SELECT n, now(), 'warning.raised', 1, 330212001, 330212, 'x', %s FROM generate_series(1, 10001) n",
            [Jsonb({})],
        )
        connection.execute("INSERT INTO outlet VALUES (%s, 10001, 0, NULL, NULL, NULL, NULL)", [f"{NODE}-erp"])
    client = server.client()
    too_many = client.post(f"/subscriptions/{NODE}-erp/replay", json={"from": 1, "to": 10001})
    problem_of(too_many, 413, "CaptureLimitExceededException")
    assert client.post(f"/subscriptions/{NODE}-erp/replay", json={"from": 2, "to": 10001}).json()["replayed"] == 10000
    assert client.get(f"/subscriptions/{NODE}-erp").json()["waiting"] == 10000


# --- e-mail ---------------------------------------------------------------------------------------


def test_a_message_is_chinese_and_no_header_can_be_smuggled_in() -> None:
    hostile = made(subject="urn:x\r\nBcc: evil@x.example\r\n\r\nbody", rule="a\nb", type="warning.raised\r\nX-Evil: 1")
    for one in (made(), hostile):
        message = mail.message(cloud_event(one, "city.example/log"), "s@city.example", "duty@city.example", "msg_x_7")
        data = message.as_bytes()
        head = data.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").decode("ascii")
        names = [line.partition(":")[0].lower() for line in head.split("\r\n")]
        assert "bcc" not in names and "x-evil" not in names and len(names) == len(set(names))
        read = email.message_from_bytes(data, policy=default)
        assert read["Subject"].startswith("[溯源]【红色】") and read["To"] == "duty@city.example"
        assert read["Message-ID"] == "<msg_x_7@city.example>" and "残留超标" in read.get_content()
