"""Uploads: kills, refusals and lost answers on the way to a platform lose nothing and send nothing under another id."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api.ledger import Ledger
from api.uploads import FolderTransport, HttpTransport, Outcome, Upload, transport_of
from ledger.codes import parse_node
from ledger.embedded import APPLICATION
from ledger.errors import Misconfigured
from ledger.exchange import Document, read_document
from scanners.terminal.outbox import State
from tests.conftest import Own
from tests.test_official import MARKET, SALE, STALL, city, sale, send, server

__all__ = ["city", "server"]
NODE = parse_node(MARKET)
DOCUMENT = Document(MARKET, "20261125080102003", "20261125", [(SALE, sale())])


class Platform(ThreadingHTTPServer):
    """A receiving platform: `does` says what it does with the n-th request (status, or 0 to hang up after reading)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.got: list[tuple[str, bytes]] = []
        self.does: Any = lambda _: 200
        self.slow_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/in"


class Receiver(BaseHTTPRequestHandler):
    server: Platform

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers["Idempotency-Key"], body))
        time.sleep(self.server.slow_s)
        status = self.server.does(len(self.server.got))
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def record_sales(client: Any, count: int) -> None:
    answers = send(client, *((SALE, sale(sale_tran_id=f"{STALL}{n:07d}")) for n in range(1, count + 1)))
    assert [one.get("status") for one in answers] == [201] * count, answers


def drain(state: Upload, way: Any) -> list[Outcome]:
    found = []
    while (sent := state.send_first(way, "")) is not None:
        found.append(sent.outcome)
        assert len(found) < 50
    return found


def sales_of(data: bytes) -> str:
    return read_document(data, xml=True).records[0][1]["sale_tran_id"]


def test_everything_is_sent_once_in_order(city: Any, ledger: Ledger, platform: Platform, tmp_path: Path) -> None:
    record_sales(city, 3)
    state, way = Upload(tmp_path), HttpTransport(platform.url, None)
    for _ in range(2):
        state.gather(ledger, NODE)
        drain(state, way)
    assert [sales_of(body) for _, body in platform.got] == [f"{STALL}{n:07d}" for n in (1, 2, 3)]
    assert MARKET in state.state["lastReport"]


def test_a_lost_answer_is_sent_again_as_the_same(city: Any, ledger: Ledger, platform: Platform, tmp_path: Path) -> None:
    record_sales(city, 2)
    platform.does = lambda n: (0, 503, 200)[min(n - 1, 2)]
    state = Upload(tmp_path)
    state.gather(ledger, NODE)
    assert drain(state, HttpTransport(platform.url, None)) == ["unreachable", "unreachable", "accepted", "accepted"]
    assert len(set(platform.got)) == 2 and len({id for id, _ in platform.got}) == 2, "the same id, the same bytes"


def test_what_is_refused_stands_aside_and_the_others_go_on(
    city: Any, ledger: Ledger, platform: Platform, tmp_path: Path
) -> None:
    record_sales(city, 3)
    platform.does = lambda n: 422 if n == 2 else 200
    state = Upload(tmp_path)
    state.gather(ledger, NODE)
    assert drain(state, HttpTransport(platform.url, None)) == ["accepted", "refused", "accepted"]
    (aside,) = state.outbox.summary().aside
    assert aside.state is State.ASIDE and "422" in aside.reason


def test_a_lost_cursor_makes_no_second_message(city: Any, ledger: Ledger, tmp_path: Path) -> None:
    """As after a kill between the outbox and the cursor."""
    record_sales(city, 3)
    Upload(tmp_path).gather(ledger, NODE)
    (tmp_path / "state.json").unlink()
    state = Upload(tmp_path)
    state.gather(ledger, NODE)
    assert state.outbox.waiting() == 3


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_trouble_on_the_way_refuses_no_document(platform: Platform, status: int) -> None:
    platform.does = lambda _: status
    assert HttpTransport(platform.url, None).send("x", DOCUMENT).outcome is Outcome.UNREACHABLE


def test_a_platform_that_is_not_there_is_unreachable() -> None:
    assert HttpTransport("http://127.0.0.1:1/", None).send("x", DOCUMENT).outcome is Outcome.UNREACHABLE


def test_the_check_code_is_made_of_the_bytes(platform: Platform) -> None:
    HttpTransport(platform.url, lambda data: f"{len(data):032x}").send("x", DOCUMENT)
    code = read_document(platform.got[0][1], xml=True).verify_code
    assert int(code, 16) == len(platform.got[0][1]) - 32


def test_a_folder_gets_whole_documents(tmp_path: Path) -> None:
    way = FolderTransport(tmp_path)
    assert [way.send("a", DOCUMENT).outcome for _ in range(2)] == ["accepted"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]
    assert read_document((tmp_path / "a.xml").read_bytes(), xml=True) == DOCUMENT


@pytest.mark.parametrize("text", ["no.such:Thing", "json:Nothing", "nonsense", ":"])
def test_a_transport_that_is_none_is_told(text: str) -> None:
    with pytest.raises(Misconfigured):
        transport_of(text, None)


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(Misconfigured, match="damaged"):
        Upload(tmp_path)


def test_killed_in_the_middle_nothing_is_lost_or_sent_as_another(
    city: Any, own: Own, ledger: Ledger, platform: Platform, tmp_path: Path
) -> None:
    record_sales(city, 6)
    platform.slow_s = 0.1
    url = own.cluster.url(APPLICATION, own.name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")} | {
        "SUYUAN_DATABASE_URL": url, "SUYUAN_KEYS": str(ledger.settings.keys), "SUYUAN_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    command = [sys.executable, "-c", "from api.uploads import official_app; official_app()", "upload",
               str(tmp_path / "up"), "--transport", platform.url, "--node", MARKET, "--once"]  # fmt: skip
    for kill_after in (1, 3):
        running = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[1])
        deadline = time.monotonic() + 20
        while len(platform.got) < kill_after and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = subprocess.run(
        command, check=False, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sent = {sales_of(body): id for id, body in platform.got}
    assert len(sent) == 6 and len({id for id, _ in platform.got}) == 6 and len(set(platform.got)) == 6
    assert re.search("accepted 6", done.stdout)


@pytest.mark.parametrize("xml", [True, False])
def test_a_nodes_records_are_printed(city: Any, own: Own, ledger: Ledger, tmp_path: Path, xml: bool) -> None:
    record_sales(city, 2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")} | {
        "SUYUAN_DATABASE_URL": own.cluster.url(APPLICATION, own.name), "SUYUAN_KEYS": str(ledger.settings.keys),
        "SUYUAN_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    days = ["--from", "2026-11-25", "--to", "2026-11-25", *(["--xml"] if xml else [])]
    command = [sys.executable, "-c", "from api.uploads import official_app; official_app()", "export", MARKET, *days]
    done = subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1], capture_output=True)
    assert len(read_document(done.stdout.strip(), xml=xml).records) == 2
