"""`suyuan serve` as a real process that is killed, whose database is stopped, and that is asked to end, in mid-load.

Forty writers with credentials of their own send to five nodes. Every receipt that was handed out is kept, and at the
end the audit is asked for each: an acknowledged entry that is gone, or there twice, would be found.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest

from api.ledger import now, open_ledger
from ledger.access import Role
from ledger.append import CHAIN_LOCKS
from ledger.audit import audit
from ledger.codes import TraceScheme, parse_node
from ledger.credentials import issue
from ledger.documents import write_json
from ledger.embedded import SUPERUSER, Cluster
from ledger.nodes import OPERATOR, add_node
from ledger.notes import Recorded, open_receipt
from ledger.settings import Settings
from ledger.worker import integrate_now
from scanners.city import document
from tests.test_append import day
from tests.test_http import JSON_BODY

NODES = [f"33021200{i}" for i in range(1, 6)]
WRITERS, REQUESTS, EVENTS = 40, 5, 8
ACKNOWLEDGED_BEFORE = 50
"""So many answers have come when the blow falls: the load is under way then, and most of it still to come."""
DEADLINE_S = 120


def until(what: str, done: Callable[[], bool]) -> None:
    """Poll, since what is waited for happens in other processes."""
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not done():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        pause.wait(0.02)


@dataclass
class Writer:
    """One terminal: its key, what it has to say, and the receipts that it got."""

    key: str
    node: str
    bodies: list[bytes]
    receipts: dict[int, str] = field(default_factory=dict)

    def send(self, client: httpx.Client, number: int) -> bool:
        """Whether the request is acknowledged; its receipt is kept."""
        headers = {**JSON_BODY, "Authorization": f"Bearer {self.key}"}
        try:
            answer = client.post("/capture", content=self.bodies[number], headers=headers)
        except httpx.TransportError:
            return False  # nobody knows what became of it: the same again is safe
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1" and "again" in answer.json()["detail"]
            return False
        assert answer.status_code == 202 and answer.json()["success"], answer.text
        receipt = answer.json()["suyuan:receipt"]
        assert places(self.receipts.setdefault(number, receipt)) == places(receipt), "it was recorded twice"
        return True


def places(receipt: str) -> list[str]:
    return [line.rpartition(" ")[0] for line in receipt.partition("\n\n")[0].splitlines()[2:]]


@dataclass
class City:
    """An installation with its writers, and the process that serves it."""

    settings: Settings
    writers: list[Writer]
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> None:
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")}
        with (self.settings.data.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("suyuan"), "serve", "--port", str(port)], stdout=log, stderr=log,
                env={**environment, "SUYUAN_DATA": str(self.settings.data)},
            )  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"
        until("the process serves", self.ready)

    def ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the process ended"
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=DEADLINE_S)

    def load(self, blow: Callable[[], object] = lambda: None, *, insist: bool = False) -> None:
        """Every writer sends all that it has; `blow` falls when some of it is acknowledged. `insist`: until all is."""
        count, lock, pause = itertools.count(1), threading.Lock(), threading.Event()
        failures: list[BaseException] = []

        def write(writer: Writer) -> None:
            deadline = time.monotonic() + DEADLINE_S
            with httpx.Client(base_url=self.url, timeout=DEADLINE_S) as client:
                for number in range(REQUESTS):
                    while not writer.send(client, number):
                        if not insist:
                            return
                        assert time.monotonic() < deadline, "the service did not come back"
                        pause.wait(0.2)
                    with lock:
                        if next(count) == ACKNOWLEDGED_BEFORE:
                            blow()

        def guarded(writer: Writer) -> None:
            try:
                write(writer)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=[writer]) for writer in self.writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]

    def acknowledged(self) -> int:
        return sum(len(writer.receipts) for writer in self.writers)

    def check(self) -> None:
        """Everything acknowledged is there, once, and the ledger agrees with itself."""
        with open_ledger(self.settings) as ledger:
            integrate_now(ledger.database, ledger.keys, ledger.signer)
            vouched = list(self.vouched(ledger.keys.verifiers()))
            assert len(vouched) == len({one[:3] for one in vouched}) == self.acknowledged() * EVENTS
            report = audit(ledger.database, ledger.keys.verifiers(), ledger.keys.last_checkpoint(), vouched)
            assert report.clean, [str(one) for one in report.disagreements]
            with ledger.database.connect() as connection:
                events = connection.execute("SELECT count(*) FROM event").fetchone()[0]
                ids = connection.execute("SELECT count(DISTINCT id) FROM event_id").fetchone()[0]
                written = connection.execute("SELECT count(*) FROM entry WHERE node > 1").fetchone()[0]
        assert events == written <= WRITERS * REQUESTS * EVENTS and events >= len(vouched) and ids >= events

    def vouched(self, verifiers: list) -> Iterator[Recorded]:
        for writer in self.writers:
            for receipt in writer.receipts.values():
                found = open_receipt(receipt, verifiers)
                assert {one.node for one in found} == {int(writer.node)}
                yield from found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def city() -> Iterator[City]:
    root = Path(tempfile.mkdtemp(prefix="suyuan-k-"))
    root.chmod(0o711)  # as root, the database's ordinary user has to pass through it
    settings = Settings.from_environment({"SUYUAN_DATA": str(root / "data")})
    writers: list[Writer] = []
    with open_ledger(settings) as ledger:
        for node in NODES:
            ledger.record(add_node(parse_node(node), "市场", TraceScheme.OPERATOR_SERIAL, [], OPERATOR.name))
        for number in range(WRITERS):
            node = NODES[number % len(NODES)]
            with ledger.database.read() as connection:
                request, _, key = issue(connection, Role.TERMINAL, "test", [node], 1, OPERATOR.name, now())
            ledger.record(request)
            events = [{**one, "readPoint": {"id": f"urn:suyuan:node:{node}"}} for one in day(REQUESTS * EVENTS, number)]
            parts = [events[i : i + EVENTS] for i in range(0, len(events), EVENTS)]
            writers.append(Writer(key, node, [write_json(document(part, now())) for part in parts]))
    made = City(settings, writers)
    try:
        made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop(signal.SIGKILL)
        assert Cluster(settings.data).stopped(), "the database outlived its last user"
        shutil.rmtree(root)


def test_a_process_killed_in_mid_load_has_lost_nothing_that_it_acknowledged(city: City) -> None:
    city.load(lambda: city.stop(signal.SIGKILL))
    assert ACKNOWLEDGED_BEFORE <= city.acknowledged() < WRITERS * REQUESTS
    city.start()
    city.load()  # the same requests again, those of which the outcome is unknown among them
    assert city.acknowledged() == WRITERS * REQUESTS
    assert city.stop(signal.SIGTERM) == 0
    city.check()


def test_a_killed_process_leaves_a_ledger_that_is_whole_before_anybody_sends_again(city: City) -> None:
    city.load(lambda: city.stop(signal.SIGKILL))
    city.check()


def test_a_database_that_is_stopped_at_once_comes_back_and_has_lost_nothing(city: City) -> None:
    """Immediate mode: no checkpoint, no goodbye, recovery at the next start, which nobody has to ask for."""

    def blow() -> None:
        pid = Cluster(city.settings.data).server_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)

    city.load(blow, insist=True)
    assert city.acknowledged() == WRITERS * REQUESTS
    until("the process is ready again", city.ready)
    assert httpx.get(f"{city.url}/checkpoint").status_code == 200
    assert city.stop(signal.SIGTERM) == 0
    city.check()


def test_a_process_asked_to_end_finishes_what_it_accepted(city: City) -> None:
    writer, answers = city.writers[0], list[bool]()
    with psycopg.connect(Cluster(city.settings.data).url(SUPERUSER), autocommit=True) as superuser:
        superuser.execute("SELECT pg_advisory_lock(%s, %s)", [CHAIN_LOCKS, int(writer.node)])
        with httpx.Client(base_url=city.url, timeout=DEADLINE_S) as client:
            sending = threading.Thread(target=lambda: answers.append(writer.send(client, 0)))
            sending.start()
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            until("the request waits for its chain", lambda: superuser.execute(waits).fetchone()[0] > 0)
            assert city.process is not None
            city.process.send_signal(signal.SIGTERM)
            until("nobody new is let in", lambda: not listens(city.url))
            assert city.process.poll() is None and not answers
            superuser.execute("SELECT pg_advisory_unlock(%s, %s)", [CHAIN_LOCKS, int(writer.node)])
            sending.join()
    assert answers == [True] and city.process.wait(timeout=DEADLINE_S) == 0
    city.check()


def listens(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        httpx.get(f"{url}/health/live", timeout=5)
        return True
    return False


def test_a_process_asked_to_end_under_load_loses_nothing(city: City) -> None:
    assert city.process is not None
    city.load(lambda: city.process.send_signal(signal.SIGTERM))
    assert city.process.wait(timeout=DEADLINE_S) == 0
    city.check()
