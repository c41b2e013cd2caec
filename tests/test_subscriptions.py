"""Subscriptions: real receivers on this machine, real mail, streams and polls, against a real database."""

import contextlib
import email
import email.policy
import json
import logging
import socket
import socketserver
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from psycopg.types.json import Jsonb
from standardwebhooks import Webhook, WebhookVerificationError

from api.ledger import Ledger, now
from api.subscriptions import replay, rotate
from ledger import outlets
from ledger.deliveries import Deliveries, Pace, signed_headers
from ledger.filing import file_one
from ledger.nodes import OPERATOR
from ledger.outbound import Outbound
from ledger.registers import SUBSCRIPTION
from ledger.registry import record, versions
from ledger.subscriptions import forget
from tests.conftest import Own
from tests.test_command import COMMAND, Installation, free_port, fresh

__all__ = ["fresh"]
LOOPBACK = "http://127.0.0.1"


def tell(ledger: Ledger, *notices: dict, at: datetime | None = None) -> None:
    """Write notices as the follower of the log does, numbered on from the last."""
    with ledger.database.connection() as connection:
        ((last,),) = connection.execute("SELECT coalesce(max(number), 0) FROM notice").fetchall()
        for number, one in enumerate(notices, last + 1):
            given = {
                "number": number,
                "at": at or now(),
                "type": "warning.raised",
                "level": 1,
                "rule": "residue",
                "node": 330212001,
                "region": 330212,
                "goods": "21113011",
                "subject": "urn:x:1",
                "body": {},
                **one,
            }
            connection.execute(
                "INSERT INTO notice (number, at, type, revision, level, rule, node, region, goods, subject, body)"
                " VALUES (%(number)s, %(at)s, %(type)s, 1, %(level)s, %(rule)s, %(node)s, %(region)s, %(goods)s,"
                " %(subject)s, %(body)s)", {**given, "body": Jsonb(given["body"])},
            )  # fmt: skip


def subscribe(ledger: Ledger, destination: str, code: str = "000000000-test", **more: object) -> str:
    given = {"subscription": code, "channel": "webhook", "destination": destination, **more}
    with ledger.database.read() as connection:
        request, _ = file_one(connection, ledger.registrar(OPERATOR), SUBSCRIPTION, given, None)
    ledger.record(request)
    return code


def filed(ledger: Ledger, code: str):
    with ledger.database.read() as connection:
        return record(connection, ledger.vault, SUBSCRIPTION, (code,))


@dataclass
class Heard:
    """A request that a receiver got."""

    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def number(self) -> int:
        return int(json.loads(self.body)["id"])


@dataclass
class Receiver:
    """A web hook on this machine. `answer` says what to answer to the how-manieth request."""

    answer: Callable[[int, BaseHTTPRequestHandler], None]
    heard: list[Heard] = field(default_factory=list)
    url: str = ""

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in self.heard]


def status(code: int, **headers: str) -> Callable[[int, BaseHTTPRequestHandler], None]:
    def answer(_: int, request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@contextlib.contextmanager
def receiving(answer: Callable[[int, BaseHTTPRequestHandler], None]) -> Iterator[Receiver]:
    receiver = Receiver(answer)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                receiver.heard.append(Heard({k.lower(): v for k, v in self.headers.items()}, body, time.time()))
                count = len(receiver.heard)
            with contextlib.suppress(OSError):
                receiver.answer(count, self)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        request_queue_size = 100
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"{LOOPBACK}:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Clock:
    """The engine's time, which tests move on."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


@contextlib.contextmanager
def engine(
    ledger: Ledger, clock: Callable[[], datetime] = now, deadline_s: float = 15, **more: object
) -> Iterator[Deliveries]:
    outbound = Outbound(allow_loopback=True, deadline_s=deadline_s)
    pace = Pace(poll_s=0.02, stop_s=2, **more)
    running = Deliveries(ledger.database, ledger.vault, ledger.settings, clock, outbound=outbound, pace=pace)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join()


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def log_of(ledger: Ledger, code: str = "000000000-test") -> list:
    with ledger.database.read() as connection:
        return outlets.deliveries(connection, code, 1000)


def outcomes(ledger: Ledger, code: str = "000000000-test") -> Counter:
    return Counter(row.outcome for row in log_of(ledger, code))


def standing(ledger: Ledger, code: str = "000000000-test"):
    with ledger.database.read() as connection:
        return outlets.standing(connection, code)


# --- delivery -------------------------------------------------------------------------------------


def test_a_notice_comes_signed_within_a_third_of_a_second(ledger: Ledger) -> None:
    with receiving(status(204)) as hook:
        code = subscribe(ledger, hook.url)
        with engine(ledger):
            wait_for(lambda: standing(ledger))
            began = time.time()
            tell(ledger, {"body": {"message": "残留超标"}})
            wait_for(lambda: hook.heard)
            assert hook.heard[0].at - began < 1
            wait_for(lambda: outcomes(ledger) == {"delivered": 1})
        (heard,) = hook.heard
        event = Webhook(filed(ledger, code).values["secret"]).verify(heard.body, heard.headers)
        assert event["data"]["message"] == "残留超标" and event["type"] == "city.suyuan.warning.raised"
        assert heard.headers["webhook-id"] == "msg_000000000-test_1" and event["id"] == "1"
        (row,) = log_of(ledger)
        assert (row.status, row.attempts, row.error) == (204, 1, None) and row.latency_ms >= 0


def test_both_secrets_sign_while_one_is_replaced(ledger: Ledger) -> None:
    with receiving(status(200)) as hook:
        code = subscribe(ledger, hook.url)
        old = filed(ledger, code).values["secret"]
        new = rotate(ledger, OPERATOR, filed(ledger, code), finish=False)["secret"]
        with engine(ledger):
            tell(ledger, {})
            wait_for(lambda: len(hook.heard) == 1)
            rotate(ledger, OPERATOR, filed(ledger, code), finish=True)
            tell(ledger, {})
            wait_for(lambda: len(hook.heard) == 2)
    first, second = hook.heard
    assert first.headers["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        assert Webhook(secret).verify(first.body, first.headers)
    assert Webhook(new).verify(second.body, second.headers) and second.headers["webhook-signature"].count("v1,") == 1
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(second.body, second.headers)


def test_what_fails_once_comes_again_under_the_same_id(ledger: Ledger) -> None:
    def second_time(count: int, request: BaseHTTPRequestHandler) -> None:
        status(503 if count == 1 else 200)(count, request)

    clock = Clock()
    with receiving(second_time) as hook:
        code = subscribe(ledger, hook.url)
        tell(ledger, {})
        with engine(ledger, clock):
            wait_for(lambda: outcomes(ledger) == {"failed": 1})
            (row,) = log_of(ledger)
            assert row.status == 503 and timedelta(seconds=4.5) < row.next_at - row.last_at <= timedelta(seconds=5.6)
            clock.ahead = timedelta(seconds=6)
            wait_for(lambda: outcomes(ledger) == {"delivered": 1})
    first, second = hook.heard
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 6
    secret = filed(ledger, code).values["secret"]
    assert signed_headers(first.headers["webhook-id"], int(first.headers["webhook-timestamp"]), first.body, [secret])[
        "webhook-signature"] == first.headers["webhook-signature"]  # fmt: skip
    (row,) = log_of(ledger)
    assert row.attempts == 2 and row.status == 200 and standing(ledger).failures == 0


def redirect(_: int, request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "/elsewhere")
    request.end_headers()


def never(_: int, request: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def drip(_: int, request: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        for character in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200:
            request.wfile.write(bytes([character]))
            time.sleep(0.05)


def no_http(_: int, request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"SSH-2.0-OpenSSH_9.9 secret-banner\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "code", "error"),
    [
        (redirect, 302, None), (never, None, "timed out"), (drip, None, "timed out"),
        (no_http, None, "the answer is no HTTP"),
        (status(400), 400, None), (status(199), None, None), (status(500), 500, None),
    ],
)  # fmt: skip
def test_only_2xx_is_an_answer(ledger: Ledger, answer: Callable, code: int | None, error: str | None) -> None:
    with receiving(answer) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, {})
        with engine(ledger, deadline_s=1):
            wait_for(lambda: outcomes(ledger) == {"failed": 1})
        (row,) = log_of(ledger)
        assert row.status == code and (error is None or row.error == error) and "secret" not in str(row)
        assert len(hook.heard) == 1


def test_a_huge_endless_body_is_not_read(ledger: Ledger) -> None:
    sent = []

    def endless(_: int, request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                sent.append(request.wfile.write(b"x" * 65536))

    with receiving(endless) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, {})
        with engine(ledger):
            wait_for(lambda: outcomes(ledger) == {"delivered": 1})
        assert len(hook.heard) == 1
        wait_for(lambda: sent)
    assert sum(sent) < 64 << 20


def test_gone_disables_and_pauses_and_the_owner_can_resume(ledger: Ledger) -> None:
    with receiving(status(410)) as hook:
        code = subscribe(ledger, hook.url)
        tell(ledger, {})
        with engine(ledger):
            wait_for(lambda: standing(ledger) and standing(ledger).disabled)
            assert "410" in standing(ledger).disabled
            present = filed(ledger, code)
            assert present.row["status"] == "paused"
            with ledger.database.read() as connection:
                last = versions(connection, ledger.vault, SUBSCRIPTION, (code,))[-1]
            assert last.actor == "deliveries" and "410" in last.record.reason
            tell(ledger, {}, {"subject": "urn:x:2"})
            time.sleep(0.3)
            assert hook.numbers == [1] and outcomes(ledger) == {"failed": 1}
            hook.answer = status(200)
            ledger.record(ledger.registrar(OPERATOR).step(present, "resume", "it is back"))
            wait_for(lambda: outcomes(ledger) == {"delivered": 3})
    assert sorted(hook.numbers) == [1, 1, 2, 3] and standing(ledger).disabled is None


def test_retry_after_is_honoured_and_slows_all_of_the_endpoint_down(ledger: Ledger) -> None:
    clock = Clock()
    with receiving(status(429, Retry_After="3600")) as hook:
        subscribe(ledger, hook.url)
        with engine(ledger, clock, at_once=1):
            tell(ledger, *({"subject": f"urn:x:{n}"} for n in range(5)))
            wait_for(lambda: outcomes(ledger)["failed"] == 1)
            row = next(row for row in log_of(ledger) if row.outcome == "failed")
            assert row.next_at - row.last_at >= timedelta(seconds=3600)
            hook.answer = status(200)
            clock.ahead = timedelta(seconds=3500)
            time.sleep(0.4)
            assert len(hook.heard) == 1
            clock.ahead = timedelta(seconds=3700)
            wait_for(lambda: outcomes(ledger) == {"delivered": 5})
    assert len(hook.heard) == 6


def test_subjects_keep_their_order_and_do_not_wait_for_each_other(ledger: Ledger) -> None:
    failed = set()

    def fail_first_of_a(_: int, request: BaseHTTPRequestHandler) -> None:
        number = hook.heard[-1].number
        status(500 if number == 1 and number not in failed else 200)(0, request)
        failed.add(number)

    clock = Clock()
    with receiving(fail_first_of_a) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, {"subject": "a"})
        with engine(ledger, clock):
            wait_for(lambda: outcomes(ledger) == {"failed": 1})
            tell(ledger, *({"subject": "ab"[n % 2]} for n in range(1, 20)))
            wait_for(lambda: outcomes(ledger) == {"delivered": 10, "waiting": 9, "failed": 1})
            assert all(n % 2 == 0 for n in hook.numbers[1:])
            clock.ahead = timedelta(seconds=10)
            wait_for(lambda: outcomes(ledger) == {"delivered": 20})
    for subject in (0, 1):
        mine = [n for n in hook.numbers[1:] if n % 2 == subject]
        assert mine == sorted(mine) and len(mine) == 10


def test_a_given_up_notice_lets_the_next_of_its_subject_go(ledger: Ledger) -> None:
    def refuse_one(_: int, request: BaseHTTPRequestHandler) -> None:
        status(422 if hook.heard[-1].number == 1 else 200)(0, request)

    clock = Clock()
    with receiving(refuse_one) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, {}, {})
        with engine(ledger, clock):
            for attempt in range(1, len(outlets.RETRIES_S) + 1):
                wait_for(lambda attempt=attempt: any(r.number == 1 and r.attempts == attempt for r in log_of(ledger)))
                tell(ledger, {"subject": f"other {attempt}"})  # the endpoint as such works
                if attempt < len(outlets.RETRIES_S):
                    assert 2 not in hook.numbers
                wait_for(lambda attempt=attempt: outcomes(ledger)["delivered"] >= attempt)
                clock.ahead += timedelta(seconds=outlets.RETRIES_S[min(attempt, 9)] * 1.2)
            wait_for(lambda: 2 in hook.numbers)
            wait_for(lambda: outcomes(ledger)["given_up"] == 1)
    assert hook.numbers.count(1) == 10


def test_a_dead_endpoint_costs_a_few_rows_whatever_waits_for_it(ledger: Ledger, own: Own) -> None:
    """And another is served as if there were none."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"{LOOPBACK}:{nobody.getsockname()[1]}/"
    with receiving(status(200)) as hook:
        subscribe(ledger, dead, "000000000-dead")
        subscribe(ledger, hook.url, "000000000-alive", subjects=["urn:x:9", "urn:x:alive"])
        with own.superuser() as connection:
            connection.execute(
                "INSERT INTO notice (number, at, type, revision, node, region, subject, body) SELECT n, now(),"
                " 'warning.raised', 1, 330212001, 330212, 'urn:x:' || n % 1000, '{}' FROM generate_series(1, 100000) n"
            )
        clock = Clock()
        with engine(ledger, clock):
            wait_for(lambda: outcomes(ledger, "000000000-alive") == {"delivered": 100}, 60)
            wait_for(lambda: standing(ledger, "000000000-dead").failing)
            tell(ledger, {"subject": "urn:x:alive"})
            wait_for(lambda: outcomes(ledger, "000000000-alive") == {"delivered": 101})
            before = log_of(ledger, "000000000-dead")
            assert len(before) <= outlets.QUEUE and {row.outcome for row in before} == {"failed", "waiting"}
            assert standing(ledger, "000000000-dead").position <= outlets.QUEUE
            tried = sum(row.attempts for row in before)
            for _ in range(3):
                failures = standing(ledger, "000000000-dead").failures
                clock.ahead += timedelta(days=1.2)
                wait_for(lambda failures=failures: standing(ledger, "000000000-dead").failures > failures)
            after = log_of(ledger, "000000000-dead")
            assert len(after) == len(before) and sum(row.attempts for row in after) == tried + 3, "probes, and no more"
            assert filed(ledger, "000000000-dead").row["status"] == "active"
            clock.ahead += timedelta(days=1.5)
            wait_for(lambda: standing(ledger, "000000000-dead").disabled)
            assert "5 days" in standing(ledger, "000000000-dead").disabled
    assert filed(ledger, "000000000-dead").row["status"] == "paused"


def test_a_restart_in_the_middle_loses_nothing_and_repeats_nothing_that_was_answered(ledger: Ledger) -> None:
    answered: Counter = Counter()

    def slow(_: int, request: BaseHTTPRequestHandler) -> None:
        number = hook.heard[-1].number
        time.sleep(0.01)
        status(200)(0, request)
        answered[number] += 1

    with receiving(slow) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, *({"subject": f"urn:x:{n % 7}"} for n in range(120)))
        for _ in range(4):
            with engine(ledger):
                time.sleep(0.4)
        with engine(ledger):
            wait_for(lambda: outcomes(ledger) == {"delivered": 120})
    assert Counter(hook.numbers) == Counter(range(1, 121))


def test_two_engines_send_what_was_answered_once(ledger: Ledger) -> None:
    with receiving(status(200)) as one, receiving(status(200)) as two:
        subscribe(ledger, one.url, "000000000-one")
        subscribe(ledger, two.url, "000000000-two")
        with engine(ledger), engine(ledger), engine(ledger):
            for n in range(60):
                tell(ledger, {"subject": f"urn:x:{n % 5}"})
            for code in ("000000000-one", "000000000-two"):
                wait_for(lambda code=code: outcomes(ledger, code) == {"delivered": 60})
    for hook in (one, two):
        assert Counter(hook.numbers) == Counter(range(1, 61))
        for subject in range(5):
            mine = [n for n in hook.numbers if n % 5 == subject]
            assert mine == sorted(mine)


def test_what_an_engine_that_died_held_is_served_when_its_lease_is_over(ledger: Ledger) -> None:
    with receiving(status(200)) as hook:
        code = subscribe(ledger, hook.url)
        with engine(ledger):
            wait_for(lambda: standing(ledger))
        with ledger.database.connection() as connection:
            connection.execute("UPDATE outlet SET leased_until = clock_timestamp() + interval '1.5 s'")
        tell(ledger, {})
        with engine(ledger):
            time.sleep(0.7)
            assert not hook.heard
            wait_for(lambda: outcomes(ledger, code) == {"delivered": 1})


def test_what_was_given_up_in_an_outage_comes_when_the_owner_resumes(ledger: Ledger) -> None:
    clock = Clock()
    with receiving(status(500)) as hook:
        code = subscribe(ledger, hook.url)
        tell(ledger, {}, {}, {"subject": "urn:x:2"})
        with engine(ledger, clock):
            while standing(ledger) is None or not standing(ledger).disabled:
                clock.ahead += timedelta(hours=3)
                time.sleep(0.1)
            assert outcomes(ledger)["given_up"] == 1
            hook.heard.clear()
            hook.answer = status(200)
            ledger.record(ledger.registrar(OPERATOR).step(filed(ledger, code), "resume", "back"))
            wait_for(lambda: outcomes(ledger) == {"delivered": 3})
    assert [n for n in hook.numbers if n != 3] == [1, 2]


def test_a_slow_subscriber_delays_no_other(ledger: Ledger) -> None:
    with receiving(never) as slow, receiving(status(200)) as quick:
        subscribe(ledger, slow.url, "000000000-slow")
        subscribe(ledger, quick.url, "000000000-quick")
        with engine(ledger, deadline_s=2):
            for n in range(20):
                tell(ledger, {"subject": f"urn:x:{n}"})
            wait_for(lambda: outcomes(ledger, "000000000-quick") == {"delivered": 20})
            assert len(slow.heard) == 4 and outcomes(ledger, "000000000-slow")["delivered"] == 0


def test_a_subscription_begins_with_its_filing_also_where_no_engine_ran(ledger: Ledger) -> None:
    tell(ledger, {}, {})
    with receiving(status(200)) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, {}, {})
        with engine(ledger):
            wait_for(lambda: outcomes(ledger) == {"delivered": 2})
    assert hook.numbers == [3, 4]


def test_a_pause_stops_and_a_resume_sends_what_came_meanwhile(ledger: Ledger) -> None:
    with receiving(status(200)) as hook, engine(ledger):
        code = subscribe(ledger, hook.url)
        tell(ledger, {})
        wait_for(lambda: outcomes(ledger) == {"delivered": 1})
        ledger.record(ledger.registrar(OPERATOR).step(filed(ledger, code), "pause", "holidays"))
        tell(ledger, {}, {})
        time.sleep(0.3)
        assert hook.numbers == [1]
        ledger.record(ledger.registrar(OPERATOR).step(filed(ledger, code), "resume", "back"))
        wait_for(lambda: outcomes(ledger) == {"delivered": 3})
        ledger.record(ledger.registrar(OPERATOR).step(filed(ledger, code), "end", "no more"))
        tell(ledger, {})
        time.sleep(0.3)
    assert hook.numbers == [1, 2, 3]


def test_a_change_of_the_destination_counts_from_the_next_notice(ledger: Ledger) -> None:
    with receiving(status(200)) as one, receiving(status(200)) as two, engine(ledger):
        code = subscribe(ledger, one.url)
        tell(ledger, {})
        wait_for(lambda: outcomes(ledger) == {"delivered": 1})
        request = ledger.registrar(OPERATOR).change(filed(ledger, code), {"destination": two.url})
        ledger.record(request)
        tell(ledger, {})
        wait_for(lambda: two.heard)
    assert one.numbers == [1] and two.numbers == [2]


def test_a_subscription_of_a_node_hears_of_that_node_only(ledger: Ledger) -> None:
    with receiving(status(200)) as hook, engine(ledger):
        subscribe(ledger, hook.url, "330212001-erp", levels=["red"])
        tell(ledger, {}, {"node": 330212002}, {"level": 2}, {"level": None}, {"node": 330212001})
        wait_for(lambda: outcomes(ledger, "330212001-erp") == {"delivered": 2})
        wait_for(lambda: standing(ledger, "330212001-erp").position == 5)
    assert hook.numbers == [1, 5]


def test_replay_sends_again_under_the_same_ids(ledger: Ledger) -> None:
    with receiving(status(200)) as hook, engine(ledger):
        code = subscribe(ledger, hook.url, goods=["211"])
        tell(ledger, *({"goods": goods, "subject": goods} for goods in ("21113011", "0123", "21199", "211")))
        wait_for(lambda: outcomes(ledger) == {"delivered": 3})
        assert replay(ledger, filed(ledger, code), 2, 10**9) == {"replayed": 2, "oldest": 1, "reset": False}
        wait_for(lambda: len(hook.heard) == 5)
        wait_for(lambda: outcomes(ledger) == {"delivered": 3})
    assert sorted(hook.numbers) == [1, 3, 3, 4, 4]
    assert len({one.headers["webhook-id"] for one in hook.heard}) == 3


def test_what_is_forgotten_is_told_and_not_skipped(ledger: Ledger) -> None:
    with receiving(status(200)) as hook:
        code = subscribe(ledger, hook.url)
        with engine(ledger):
            wait_for(lambda: standing(ledger))
        ledger.record(ledger.registrar(OPERATOR).step(filed(ledger, code), "pause", "a long time"))
        tell(ledger, {}, {}, {}, at=now() - timedelta(days=2))
        tell(ledger, {}, {})
        with ledger.database.engine.begin() as connection:
            assert forget(connection, now() - timedelta(days=1)) == 3
        ledger.record(ledger.registrar(OPERATOR).step(filed(ledger, code), "resume", "back"))
        with engine(ledger):
            wait_for(lambda: len(hook.heard) == 3)
    told = [json.loads(one.body) for one in hook.heard]  # of different subjects, so in any order
    (reset,) = [one for one in told if one["type"] == "city.suyuan.reset"]
    assert reset["data"]["oldest"] == 4
    assert sorted(one["id"] for one in told if one is not reset) == ["4", "5"]


def test_loopback_is_refused_at_sending_where_no_setting_allows_it(ledger: Ledger) -> None:
    with receiving(status(200)) as hook:
        subscribe(ledger, hook.url)
        tell(ledger, {})
        running = Deliveries(ledger.database, ledger.vault, ledger.settings, now)
        thread = threading.Thread(target=running.run)
        thread.start()
        wait_for(lambda: outcomes(ledger) == {"failed": 1})
        running.stop()
        thread.join()
        assert not hook.heard and log_of(ledger)[0].error == "the address is not public"


def test_secrets_and_addresses_are_in_no_log(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(status(410)) as hook:
        code = subscribe(ledger, f"{hook.url}/path-secret")
        tell(ledger, {})
        with engine(ledger):
            wait_for(lambda: standing(ledger) and standing(ledger).disabled)
    secret = filed(ledger, code).values["secret"]
    assert secret not in caplog.text and "path-secret" not in caplog.text and "paused" in caplog.text
    with ledger.database.read() as connection:
        assert "path-secret" not in str(outlets.deliveries(connection, code, 10))


# --- mail, the command line, a whole installation -------------------------------------------------


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[str, list[bytes]]]:
    """A mail server on this machine, and the messages that it took."""
    taken: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].upper() if line.split() else b""
                if word == b"EHLO":
                    self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
                elif word == b"AUTH":
                    self.wfile.write(b"235 welcome\r\n")
                elif word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    taken.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                    self.wfile.write(b"250 taken\r\n")
                elif word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 well\r\n")

    class Mail(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass

    with Mail(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"smtp://user:pass%40word@127.0.0.1:{server.server_address[1]}", taken
        finally:
            server.shutdown()
            thread.join()


def test_a_subscriber_is_told_by_mail(ledger: Ledger) -> None:
    with mail_server() as (url, taken):
        settings = replace(ledger.settings, smtp_url=url, smtp_from="suyuan@city.example")
        code = subscribe(ledger, "duty@city.example", channel="email")
        assert filed(ledger, code).values["secret"] is None
        tell(ledger, {"level": 1, "body": {"message": "残留超标"}}, {"level": None, "type": "recall.filed"})
        running = Deliveries(ledger.database, ledger.vault, settings, now)
        thread = threading.Thread(target=running.run)
        thread.start()
        wait_for(lambda: outcomes(ledger) == {"delivered": 2})
        running.stop()
        thread.join()
    first, second = (email.message_from_bytes(one, policy=email.policy.default) for one in taken)
    assert first["Subject"] == "[溯源]【红色】预警 residue urn:x:1" and first["To"] == "duty@city.example"
    assert "残留超标" in first.get_content() and first["Message-ID"] == "<msg_000000000-test_1@city.example>"
    assert second["Subject"].startswith("[溯源]召回") and [row.status for row in log_of(ledger)] == [250, 250]


def test_mail_that_fails_is_tried_again(ledger: Ledger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"smtp://127.0.0.1:{nobody.getsockname()[1]}"
    subscribe(ledger, "duty@city.example", channel="email")
    tell(ledger, {})
    for settings, error in (
        (replace(ledger.settings, smtp_url=url, smtp_from="s@city.example"), "no mail server there"),
        (ledger.settings, "no mail server is set: SUYUAN_SMTP_URL"),
    ):
        clock = Clock(timedelta(hours=1 if settings.smtp_url is None else 0))
        running = Deliveries(ledger.database, ledger.vault, settings, clock)
        thread = threading.Thread(target=running.run)
        thread.start()
        wait_for(lambda error=error: log_of(ledger) and log_of(ledger)[0].error == error)
        running.stop()
        thread.join()
    assert log_of(ledger)[0].attempts == 2 and outcomes(ledger) == {"failed": 1}


def test_a_whole_installation(fresh: Installation) -> None:
    """Filed and looked at on the command line, served by the one process, which ends although a stream is open."""
    code = "000000000-erp"
    with receiving(status(200)) as hook:
        said = fresh.good(
            "subscription", "add", code, "--channel", "webhook", "--destination", hook.url, "--level", "red"
        )
        assert hook.url not in said and "whsec" not in said
        secret = fresh.good("subscription", "rotate", code).splitlines()[-1]
        key = fresh.good("credential", "add", "regulator", "x").splitlines()[-1]
        port = free_port()
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(port)], env=fresh.environment(SUYUAN_ALLOW_LOOPBACK="1"), cwd=fresh.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"{LOOPBACK}:{port}", headers={"Authorization": f"Bearer {key}"}) as client:
                wait_for(lambda: _answers(client))
                with client.stream("GET", "/notices/stream", timeout=30) as answer:
                    lines = answer.iter_lines()
                    assert next(lines) == "retry: 1000"
                    with fresh.superuser() as connection:
                        connection.execute(
                            "INSERT INTO notice (number, at, type, revision, level, node, region, subject, body)"
                            " SELECT coalesce(max(number), 0) + 1, now(), 'warning.raised', 1, 1, 330212001, 330212,"
                            " 'x', '{}'"
                            " FROM notice"
                        )
                    wait_for(lambda: hook.heard)
                    assert Webhook(secret).verify(hook.heard[0].body, hook.heard[0].headers)
                    assert any(line == "event: city.suyuan.warning.raised" for line in lines)
                    began = time.monotonic()
                    process.terminate()
                    assert len(list(lines)) < 100, "it ends"
            process.wait(20)
            assert time.monotonic() - began < 10 and process.returncode in (0, -15)
        finally:
            process.kill()
            told = process.communicate()[1].decode()
        assert secret not in told and hook.url not in told
        listed = fresh.good("subscription", "deliveries", code)
        assert "delivered" in listed and "; 0 wait" in listed
        assert " are sent again" in fresh.good("subscription", "replay", code, "--from", "1", "--to", "5")
        assert "waiting" in fresh.good("subscription", "deliveries", code, "--outcome", "waiting")
        assert "signs no more" in fresh.good("subscription", "rotate", code, "--finish")
        assert "ended" in fresh.good("subscription", "end", code, "--reason", "no more")
        assert "has ended" in fresh.refused("subscription", "replay", code, "--from", "1", "--to", "5")
    assert "no subscription" in fresh.refused("subscription", "deliveries", "000000000-other")


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/health/ready").status_code == 200
    return False
