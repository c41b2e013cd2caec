"""The lookout: `suyuan serve` watches in a process of its own, which ends with it and is started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.examples import BARE_EVENT
from api.ledger import open_ledger
from ledger.access import Role
from ledger.codes import TraceScheme, parse_node
from ledger.database import Database
from ledger.embedded import APPLICATION, SUPERUSER, Cluster
from ledger.lookout import LOOKOUT_LOCK
from ledger.nodes import add_node
from ledger.rulesets import shipped
from ledger.settings import Settings
from tests.test_command import Installation, install
from tests.test_crash import free_port
from tests.test_http import JSON_BODY, NODE, credential

PATIENCE_S = 60
SEEN_S = 15
"""So long a warning may take to be seen; it takes a second, where the machine has nothing else to do."""
RULE = "synthetic_link"
COMMAND = Path(sys.executable).with_name("suyuan")


def until(what: str, done: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What `done` gives, once it is something."""
    deadline = time.monotonic() + patience_s
    while not (found := done()):
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(0.05)
    return found


def lookouts(parent: int) -> list[int]:
    """The lookout processes that a process started and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, above = path.read_text().rpartition(")")[2].split()[:2]
            if int(above) == parent and state != "Z" and b"ledger.lookout" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


def lives(process: int) -> bool:
    """Whether a process is there and does something."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@dataclass
class Served:
    """An installation, and the processes that serve it."""

    installed: Installation
    key: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.installed.folder / "serve.log"

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.processes.append(subprocess.Popen(
                [COMMAND, *command], stdout=log, stderr=log, env=self.installed.environment()
            ))  # fmt: skip
        return self.processes[-1]

    def serve(self) -> tuple[subprocess.Popen[bytes], httpx.Client]:
        """A serve of its own, once it is ready and has a lookout."""
        port = free_port()
        process = self.start("serve", "--port", str(port))
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {self.key}"},
                              timeout=60)  # fmt: skip
        self.clients.append(client)
        until("it serves", lambda: self._ready(process, client))
        until("it has a lookout", lambda: lookouts(process.pid))
        return process, client

    def _ready(self, process: subprocess.Popen[bytes], client: httpx.Client) -> bool:
        assert process.poll() is None, self.log.read_text()
        try:
            return client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(Cluster(self.installed.data).url(SUPERUSER), autocommit=True)

    def leaders(self) -> list[int]:
        """The database's processes that hold the lead."""
        with self.superuser() as connection:
            found = connection.execute(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted", [LOOKOUT_LOCK]
            )
            return [pid for (pid,) in found]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    for installed in install(tmp_path):
        with open_ledger(Settings.from_environment(installed.environment())) as ledger:
            ledger.record(add_node(parse_node(NODE), "城东农贸市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
            made = Served(installed, credential(ledger, Role.ADMIN)[1])
        yield made
        for client in made.clients:
            client.close()
        for process in made.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in made.processes:
            process.wait(PATIENCE_S)


def cause(client: httpx.Client, number: int) -> str:
    """Goods that somebody wrote in to fill a gap: exactly 100, free, without a paper. The lot."""
    lot = f"urn:suyuan:lot:21113011:3302120011261125{number:04}"
    event = {
        "@context": [*BARE_EVENT["@context"], {"suyuan": "https://suyuan.example/ns/"}], "type": "ObjectEvent",
        "eventID": f"urn:x:{number}", "action": "ADD", "bizStep": "receiving", "disposition": "in_progress",
        "eventTime": "2026-11-25T05:10:00+08:00", "eventTimeZoneOffset": "+08:00",
        "readPoint": {"id": f"urn:suyuan:node:{NODE}"}, "suyuan:price": 0,
        "quantityList": [{"epcClass": lot, "quantity": 100, "uom": "KGM"}],
    }  # fmt: skip
    answer = client.post("/events", json=event, headers=JSON_BODY)
    assert answer.status_code == 201, answer.text
    return lot


def seen(client: httpx.Client, lot: str) -> dict[str, Any] | None:
    """The warning that it becomes, once it is one."""
    return next(iter(client.get("/warnings", params={"rule": RULE, "subject": lot}).json()), None)


def test_a_cause_becomes_a_warning_and_a_notice_within_seconds(served: Served) -> None:
    """Without rules from the first start on, a ledger that watches nothing would look like peace."""
    process, client = served.serve()
    assert {one["rule_set"] for one in client.get("/registry/rule-sets").json()} == set(shipped())
    versions = {name: client.get(f"/registry/rule-sets/{name}/versions").json() for name in shipped()}
    lot = cause(client, 1)
    warning = until("the warning is seen", lambda: seen(client, lot), SEEN_S)
    assert warning["node"] == NODE and warning["level"] == "yellow" and warning["evidence"] == [f"{NODE}/1"]
    told = client.get("/notices", params={"kind": "warning.raised", "subject": lot, "wait": 20}).json()
    assert [one["type"].endswith("warning.raised") for one in told["notices"]] == [True]
    assert warning["warning"] in str(told["notices"][0])
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0 and lookouts(process.pid) == []
    again, client = served.serve()
    for name in shipped():
        assert client.get(f"/registry/rule-sets/{name}/versions").json() == versions[name], (
            "filed once, not at each start"
        )
    assert seen(client, lot) == warning
    assert again.poll() is None and "Traceback" not in served.log.read_text()


def test_a_killed_serve_leaves_no_lookout(served: Served) -> None:
    """An orphan would hold the lead for ever, with the rules and the release of yesterday."""
    process, _ = served.serve()
    (lookout,) = lookouts(process.pid)
    until("it leads", served.leaders)
    process.kill()
    process.wait(PATIENCE_S)
    until("the lookout has ended", lambda: not lives(lookout), 15)
    until("the lead is free", lambda: served.leaders() == [])
    _, client = served.serve()
    lot = cause(client, 1)
    assert until("the next one watches", lambda: seen(client, lot), SEEN_S)


def test_a_lookout_that_dies_is_started_again(served: Served) -> None:
    """Else nobody is warned from then on, and nothing says so."""
    process, client = served.serve()
    first = cause(client, 1)
    until("it watches", lambda: seen(client, first), SEEN_S)
    for round_ in range(2):
        (lookout,) = lookouts(process.pid)
        begin = time.monotonic()
        os.kill(lookout, signal.SIGKILL)
        (another,) = until("there is another", lambda old=lookout: {*lookouts(process.pid)} - {old})
        assert time.monotonic() - begin > 0.9, "at most one a second: one that dies at once must not take the machine"
        following = cause(client, 2 + round_)
        assert until("it goes on", lambda c=following: seen(client, c), SEEN_S)
        assert lookouts(process.pid) == [another]
    assert served.log.read_text().count("the lookout ended with status -9; another one is started") == 2
    assert len(client.get("/warnings", params={"rule": RULE}).json()) == 3, "each is raised once"


def test_of_two_serves_one_watches_and_the_other_goes_on(served: Served) -> None:
    """Two that watched would raise everything twice; and the second is there for when the first is not."""
    processes = {process.pid: client for process, client in [served.serve(), served.serve()]}
    assert len(until("one leads", served.leaders)) == 1
    first, second = served.processes
    one = cause(processes[second.pid], 1)
    assert until("it is seen through either", lambda: seen(processes[second.pid], one), SEEN_S)
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE_S) == 0
    until("the other leads", lambda: len(served.leaders()) == 1)
    two = cause(processes[second.pid], 2)
    assert until("the other watches", lambda: seen(processes[second.pid], two), SEEN_S)
    found = processes[second.pid].get("/warnings", params={"rule": RULE}).json()
    assert sorted(one["subject"] for one in found) == [one, two] and {one["count"] for one in found} == {1}


def test_two_that_start_at_once_file_the_rules_once(served: Served) -> None:
    """Both see an empty ledger; who is slower must neither fail nor file them again."""
    ports = [free_port(), free_port()]
    processes = [served.start("serve", "--port", str(port)) for port in ports]
    for process in processes:
        until("each has a lookout", lambda process=process: lookouts(process.pid) or process.poll() is not None)
        assert process.poll() is None, served.log.read_text()
    with served.superuser() as connection:
        rows = connection.execute("SELECT rule_set, version FROM rule_set ORDER BY 1").fetchall()
    assert rows == [(name, 1) for name in shipped()]


def test_a_worker_by_itself_watches_and_ends_when_told(served: Served) -> None:
    """`suyuan worker` beside `serve --no-worker` is how a larger installation runs."""
    worker = served.start("worker")
    (lookout,) = until("it has a lookout", lambda: lookouts(worker.pid))
    until("it leads", served.leaders)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0 and not lives(lookout)
    assert "Traceback" not in served.log.read_text()


def test_a_lookout_without_anything_to_watch_ends(cluster: Cluster) -> None:
    """Whoever started it died before it said what to watch."""
    database = Database(cluster.url(APPLICATION))
    for given in (b"", b'{"url": "%s", "zone": "Asia/Shanghai"}\n' % database.url.encode()):
        done = subprocess.run(
            [sys.executable, "-m", "ledger.lookout"], input=given, capture_output=True, check=False, timeout=PATIENCE_S
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
