"""The terminal against the ledger, over a network that drops, delays, repeats and cuts, with both killed at random."""

import itertools
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from api.ledger import Ledger, now, open_ledger
from api.terminal import read_profile, terminal_app
from ledger.access import Role
from ledger.embedded import Cluster
from ledger.entries import decode
from ledger.errors import LedgerError, Misconfigured
from ledger.registers import NODE as NODE_REGISTER
from ledger.registers import PARTY as PARTY_REGISTER
from ledger.settings import Settings as ServerSettings
from scanners.labels import datamatrix
from scanners.terminal.calibration import Profile, sheet_symbols
from scanners.terminal.outbox import Message, Outbox, State
from scanners.terminal.settings import FILE, OUTBOX_FILE, Settings, read_settings, write_settings
from scanners.terminal.sync import (
    Answer,
    Connection,
    Verdict,
    judge,
    local_now,
    retry_after,
    series_of,
    wait_s,
    wanted_series,
)
from scanners.terminal.till import Till
from tests.conftest import check_ledger
from tests.test_crash import City
from tests.test_http import Server, credential, serving
from tests.test_registry import FIRM, filed

ROOT = Path(__file__).parents[1]
EAN, OTHER = "6901234567892", "6901234500103"
NODE, PARTY = "330212001", "3302120010001"
LABEL = "(01)06901234567892(10)A1"
LOT = "https://id.gs1.org/01/06901234567892/10/A1"
STOCK_KG, TERMINALS = 1000, 5
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
RUN = [sys.executable, "-c", "from api.terminal import terminal_app; terminal_app()"]
DEADLINE_S = 60.0


def until(what: str, done: Callable[[], object]) -> None:
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not done():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        pause.wait(0.02)


def made(url: str = "http://127.0.0.1:9", **changes: object) -> Settings:
    given: dict = {"url": url, "key": "secret", "node": NODE, "step": "retail_sale", "party": PARTY, **changes}
    return Settings(**given)


# --- Pure -----------------------------------------------------------------------------------------

MESSAGE = Message(1, "id-1", None, {}, State.WAITING, NOW, None, None, "")
PROBLEM = {"type": "epcisException:ValidationException", "detail": "quantity: say how much"}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(201, {"scan": "id-1", "event": "urn:uuid:id-1", "entries": ["330212001/1"]}), Verdict.RECORDED),
        (Answer(200, {"scan": "id-1", "event": "urn:uuid:id-1"}), Verdict.RECORDED),
        (Answer(200, {"scan": "id-2", "event": "urn:uuid:id-2"}), Verdict.AGAIN),
        (Answer(200, {"scan": "id-1"}), Verdict.AGAIN),
        (Answer(200, {}), Verdict.AGAIN),
        (Answer(200, None), Verdict.AGAIN),
        (Answer(201, None), Verdict.AGAIN),
        (Answer(302, None), Verdict.AGAIN),
        (Answer(409, {**PROBLEM, "again": True}), Verdict.ASK),
        (Answer(409, {**PROBLEM, "refused": "330212001/2"}), Verdict.ASIDE),
        (Answer(409, PROBLEM), Verdict.ASIDE),
        (Answer(400, PROBLEM), Verdict.ASIDE),
        (Answer(404, PROBLEM), Verdict.ASIDE),
        (Answer(413, PROBLEM), Verdict.ASIDE),
        (Answer(400, None), Verdict.AGAIN),
        (Answer(404, {"detail": "Not Found"}), Verdict.AGAIN),
        (Answer(401, PROBLEM), Verdict.STOP),
        (Answer(403, PROBLEM), Verdict.STOP),
        (Answer(403, None), Verdict.AGAIN),
        (Answer(408, PROBLEM), Verdict.AGAIN),
        (Answer(429, PROBLEM), Verdict.AGAIN),
        (Answer(500, PROBLEM), Verdict.AGAIN),
        (Answer(503, PROBLEM), Verdict.AGAIN),
        (Answer(0), Verdict.AGAIN),
    ],
)
def test_only_the_ledgers_own_answers_end_a_message(answer: Answer, verdict: Verdict) -> None:
    assert judge(MESSAGE, answer) is verdict


def test_an_undoing_that_was_done_already_is_done() -> None:
    void = Message(2, "id-2", "id-1", {}, State.WAITING, NOW, None, None, "")
    assert judge(void, Answer(201, {"scan": "id-1", "entries": ["330212001/3"]})) is Verdict.RECORDED
    assert judge(void, Answer(409, PROBLEM)) is Verdict.RECORDED
    assert judge(void, Answer(404, PROBLEM)) is Verdict.ASIDE


@given(st.integers(0, 10_000), st.floats(0, 1e9), st.floats(0, 1))
def test_waiting_is_bounded_and_honours_what_was_asked_for(failures: int, after: float, chance: float) -> None:
    found = wait_s(failures, after, chance)
    assert 1 <= found <= 3600 and found >= min(after, 3600)
    if after <= 1:
        assert found <= min(60, 2 * 2 ** min(failures, 10))
    assert wait_s(failures, 0, 1.0) == min(60, 2 * 2 ** min(failures, 10)) and wait_s(failures, 0, 0.0) == 1


def test_retry_after_is_seconds_or_a_date_or_nothing() -> None:
    assert [retry_after(one, NOW) for one in (None, "7", "soon", "-3", "１", "Wed, 25 Nov 2026 09:00:30 GMT")] == [
        0, 7, 0, 0, 0, 30,
    ]  # fmt: skip


def test_codes_are_kept_of_the_party_or_of_the_days_to_come() -> None:
    assert [series for series, _ in wanted_series(made(), NOW)] == [PARTY]
    days = dict(wanted_series(made(scheme="B"), NOW))
    assert list(days)[:2] == [f"{NODE}/2026-11-25", f"{NODE}/2026-11-26"] and len(days) == 8
    assert days[f"{NODE}/2026-12-02"] == {"kind": "trace", "node": NODE, "party": PARTY, "day": "2026-12-02"}
    assert series_of(made(scheme="B"), NOW) == f"{NODE}/2026-11-25"


# --- Settings -------------------------------------------------------------------------------------


def test_the_settings_are_the_owners_and_come_back(tmp_path: Path) -> None:
    settings = made(goods={EAN: "猪肉"}, link="https://suyuan.example/t/{trace}")
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings and "secret" not in repr(settings)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600 and len(list(tmp_path.iterdir())) == 1
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://x"}, {"url": "http://user:pass@x"}, {"key": ""}, {"key": "a b"}, {"node": "33021200"},
        {"party": "3302120020001"}, {"step": "selling"}, {"scheme": "C"}, {"columns": 40}, {"lease_count": 0},
        {"lease_count": 501}, {"keep_days": 0}, {"link": "https://x"}, {"goods": {"a": 1}},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(change: dict) -> None:
    with pytest.raises(Misconfigured):
        made(**change)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"url": 1}', '{"url": "http://x"}', '{"colour": "red"}', "[" * 10**5])
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).touch(0o600)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Misconfigured):
        read_settings(tmp_path)


# --- A network ------------------------------------------------------------------------------------


@dataclass
class Reply:
    """What the network itself answers, in place of the ledger."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Whim = Callable[[str, bytes], "Reply | str | None"]
"""What happens to a request: a reply of the network's own; "drop" it, "cut" the answer, "lose" the answer, "repeat" it
at once or "late"; or nothing."""


class Network(ThreadingHTTPServer):
    """Between terminals and ledger: a proxy with whims. `upstream` may change, as servers come and go."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def __init__(self, upstream: str, whim: Whim) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.upstream, self.whim = upstream, whim
        self.seen: list[tuple[str, dict]] = []
        self.counts: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, path: str) -> list[dict]:
        return [body for one, body in self.seen if one == path]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # terminals that die in the middle


class _Relay(BaseHTTPRequestHandler):
    server: Network
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, json.loads(body)))
        what = self.server.whim(self.path, body)
        self.server.counts[str(what)] = self.server.counts.get(str(what), 0) + 1
        if isinstance(what, Reply):
            return self.answer(what)
        if what == "drop":
            return self.hang_up()
        if what == "late":
            threading.Timer(0.3, self.forward, [body]).start()
        if what == "repeat":
            self.forward(body)
        reply = self.forward(body)
        if reply is None or what == "lose":
            return self.hang_up()
        return self.answer(reply, cut=what == "cut")

    def forward(self, body: bytes) -> Reply | None:
        host = self.server.upstream.partition("://")[2]
        upstream = HTTPConnection(host, timeout=20)
        try:
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
            upstream.request("POST", self.path, body, headers)
            found = upstream.getresponse()
            kept = {
                name: value for name, value in found.getheaders() if name.lower() in ("content-type", "retry-after")
            }
            return Reply(found.status, found.read(), kept)
        except (OSError, HTTPException):
            return None
        finally:
            upstream.close()

    def hang_up(self) -> None:
        self.close_connection = True

    def answer(self, reply: Reply, *, cut: bool = False) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if cut else reply.body)
        if cut:
            self.hang_up()


@contextmanager
def network(upstream: str = "http://127.0.0.1:9", whim: Whim = lambda _path, _body: None) -> Iterator[Network]:
    found = Network(upstream, whim)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


def problem(status: int, **more: object) -> Reply:
    return Reply(status, json.dumps({**PROBLEM, "status": status, **more}).encode())


def yes(body: bytes) -> Reply:
    found = json.loads(body)
    answer = {"scan": found.get("scan"), "event": "e", "entries": ["330212001/1"], "lots": [], "warnings": []}
    return Reply(201, json.dumps(answer).encode())


def leased(body: bytes, numbers: Iterator[int]) -> Reply:
    codes = [f"{PARTY}{next(numbers):07d}" for _ in range(json.loads(body)["count"])]
    return Reply(200, json.dumps({"series": "A", "codes": codes, "left": 1000}).encode())


@contextmanager
def till(url: str, folder: Path, **changes: object) -> Iterator[tuple[Till, Outbox, list[str]]]:
    """A counter with its sender running, and what it showed besides answers."""
    shown: list[str] = []
    outbox = Outbox(folder / OUTBOX_FILE)
    found = Till(made(url, **changes), outbox, local_now, shown.append)
    found.sender.start()
    try:
        yield found, outbox, shown
    finally:
        found.sender.stop()
        outbox.close()


# --- The sender -----------------------------------------------------------------------------------


def test_poison_goes_aside_and_those_behind_it_go_on(tmp_path: Path) -> None:
    numbers = itertools.count(1)

    def whim(path: str, body: bytes) -> Reply:
        if path == "/leases":
            return leased(body, numbers)
        return problem(400) if json.loads(body)["quantity"] == "2" else yes(body)

    with network(whim=whim) as net, till(net.url, tmp_path) as (counter, outbox, _):
        answers = [counter.take(f"{EAN} {i}") for i in (1, 2, 3)]
        until("all is sent", lambda: not outbox.waiting())
        assert [one.reason for one in outbox.summary().aside] == [PROBLEM["detail"]]
        assert outbox.summary().acknowledged == 2 and len(net.bodies("/scans")) == 3
        assert [one[0] for one in answers] in (["✓", "✗", "✓"],) and str(PROBLEM["detail"]) in answers[1]
    result = CliRunner().invoke(terminal_app, ["status", str(tmp_path)])
    assert result.exit_code == 1 and str(PROBLEM["detail"]) in result.output and "2 笔已记录" in result.output


def test_garbage_and_overload_keep_the_scan_under_its_id(tmp_path: Path) -> None:
    portal = Reply(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
    script = iter([portal, "drop", Reply(503, b"", {"Retry-After": "1"}), Reply(200, b"{}"), "drop"])

    def whim(path: str, body: bytes) -> Reply | str:
        return problem(404) if path == "/leases" else next(script, yes(body))

    with network(whim=whim) as net, till(net.url, tmp_path) as (counter, outbox, _):
        answer = counter.take(f"{EAN} 1")
        assert answer.startswith("✓") and "kept here" in answer

        def hurry() -> bool:
            counter.sender.resume()
            return not outbox.waiting()

        until("it is recorded", hurry)
        sent = net.bodies("/scans")
        assert len(sent) == 6 and sent[1:] == [{**sent[0], "offline": True}] * 5, "the same for ever"


def test_back_off_waits_between_failures(tmp_path: Path) -> None:
    with network(whim=lambda _path, _body: "drop") as net, till(net.url, tmp_path, step="loss") as (counter, _, shown):
        counter.take(f"{EAN} 1")
        threading.Event().wait(1.5)
        assert 1 <= len(net.bodies("/scans")) <= 2 and len(shown) == 1, "no hammering, and said once"


def test_a_refused_key_stops_the_sending_and_not_the_selling(tmp_path: Path) -> None:
    good = threading.Event()

    def whim(path: str, body: bytes) -> Reply:
        return (yes(body) if path == "/scans" else problem(404)) if good.is_set() else problem(401)

    with network(whim=whim) as net, till(net.url, tmp_path) as (counter, outbox, shown):
        until("it is said", lambda: shown)
        answers = [counter.take(f"{EAN} {i}") for i in (1, 2, 3)]
        assert all(one.startswith("✓") and "cannot be sent" in one for one in answers) and outbox.waiting() == 3
        assert len(net.seen) <= 2 and "refuses this terminal's key" in shown[0]
        good.set()
        counter.take("resume")
        until("all is sent", lambda: not outbox.waiting())


def test_the_ledgers_question_is_put_to_the_person(tmp_path: Path) -> None:
    def whim(path: str, body: bytes) -> Reply:
        again = path == "/scans" and not json.loads(body).get("confirm")
        return problem(404) if path == "/leases" else problem(409, again=True) if again else yes(body)

    with network(whim=whim) as net, till(net.url, tmp_path, step="loss") as (counter, outbox, _):
        assert counter.take(f"{EAN} 1").startswith("? ")
        assert counter.take(".").startswith("✓")
        assert counter.take(f"{EAN} 2").startswith("? ") and "not recorded" in counter.take("no")
        assert outbox.summary().aside == [] and outbox.waiting() == 0
        bodies = net.bodies("/scans")
        assert bodies[1] == {**bodies[0], "confirm": True} and len(bodies) == 3


def test_codes_are_leased_early_and_used_once(tmp_path: Path) -> None:
    numbers = itertools.count(1)

    def whim(path: str, body: bytes) -> Reply:
        return leased(body, numbers) if path == "/leases" else yes(body)

    with network(whim=whim) as net, till(net.url, tmp_path, lease_count=10) as (counter, outbox, _):
        until("codes are there", lambda: outbox.free_codes(PARTY) == 10)
        for i in range(1, 31):
            assert counter.take(f"{EAN} {i}").startswith("✓")
            until("codes are renewed early", lambda: outbox.free_codes(PARTY) >= 5)
        used = [body["trace"] for body in net.bodies("/scans")]
        assert len(set(used)) == 30 and used == sorted(used)
        assert all(body["count"] <= 10 for body in net.bodies("/leases"))


def test_without_codes_a_sale_is_kept_and_says_so(tmp_path: Path) -> None:
    with till("http://127.0.0.1:9", tmp_path) as (counter, outbox, _):
        outbox.add_codes("3302120010002", ["3302120010002" + "0" * 7], NOW)
        answer = counter.take(f"{EAN} 1")
        assert answer.startswith("✓") and "no trace code left" in answer and "trace" not in outbox.last().body  # type: ignore[union-attr]


def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanners.terminal.sync.WHOLE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle() -> None:
            there, _ = listening.accept()
            with there:
                there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(200):
                    try:
                        there.sendall(b" ")
                    except OSError:
                        return
                    threading.Event().wait(0.02)

        thread = threading.Thread(target=trickle)
        thread.start()
        connection = Connection(made(f"http://127.0.0.1:{listening.getsockname()[1]}"))
        answer = connection.post("/scans", {}, NOW)
        connection.close()
        thread.join()
    assert answer.status == 0 and "does not end" in answer.reason


# --- Slips and files ------------------------------------------------------------------------------


def test_a_slip_goes_to_the_printer_and_again_on_demand(tmp_path: Path) -> None:
    printer = tmp_path / "printer"
    printer.touch()
    with till("http://127.0.0.1:9", tmp_path, printer=str(printer), goods={EAN: "猪肉"}) as (counter, outbox, _):
        outbox.add_codes(PARTY, [PARTY + "0000001"], NOW)
        assert f"{PARTY}0000001" in counter.take(f"{EAN} 1.25 @25.80")
        once = printer.read_bytes()
        assert once.startswith(b"\x1b@") and "猪肉".encode("gb18030") in once and b"32.25" in once
        assert PARTY + "0000001" in counter.take("slip") and printer.read_bytes() == once * 2
        printer.unlink()
        (tmp_path / "printer").mkdir()
        assert "the slip was not printed" in counter.take("slip")
        assert counter.take("void").startswith("✓") and "no slip" in counter.take("slip")


def test_a_full_disk_is_said_and_the_code_is_still_there(tmp_path: Path) -> None:
    with till("http://127.0.0.1:9", tmp_path) as (counter, outbox, _):
        counter.take(EAN)
        outbox._db.execute("PRAGMA max_page_count = 1")
        outbox._db.execute("PRAGMA cache_size = 1")
        kept = 0
        while (answer := counter.take(f"1.{kept:03d}")).startswith("✓"):
            kept += 1
            counter.take(EAN)
        assert "NOT recorded" in answer and "disk is full" in answer
        outbox._db.execute("PRAGMA max_page_count = 100000")
        assert counter.take("7").startswith("✓") and outbox.waiting() == kept + 1


def run(folder: Path, *arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments, str(folder)], input=lines, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


def test_the_commands_from_setup_to_drop(tmp_path: Path) -> None:
    folder, cli = tmp_path / "stall", CliRunner()
    setup = ["setup", str(folder), "--url", "http://127.0.0.1:9", "--key", "-", "--node", NODE, "--step", "retail_sale"]
    result = cli.invoke(
        terminal_app, [*setup, "--party", PARTY, "--set", "shop=市场", "--set", f"goods.{EAN}=肉"], "k\n"
    )
    assert result.exit_code == 0 and read_settings(folder).key == "k" and read_settings(folder).goods == {EAN: "肉"}
    done = run(folder, "run", lines=f"{EAN}\n1.25\nvoid\nstatus\n")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and "? 重量 weight kg?" in lines and any("✓ 肉 1.25 kg" in line for line in lines)
    assert "2 笔待传" in cli.invoke(terminal_app, ["status", str(folder)]).output
    outbox = Outbox(folder / OUTBOX_FILE)
    scan = outbox.put("s", {"scanned": OTHER}, NOW)
    outbox.end(scan.id, State.ASIDE, NOW, status=400, reply=None, reason="because")
    outbox.close()
    shown = cli.invoke(terminal_app, ["status", str(folder)])
    assert shown.exit_code == 1 and "because" in shown.output
    assert cli.invoke(terminal_app, ["retry", str(folder)]).output.startswith("1 ")
    outbox = Outbox(folder / OUTBOX_FILE)
    outbox.end(scan.id, State.ASIDE, NOW, status=400, reply=None, reason="because")
    outbox.close()
    assert cli.invoke(terminal_app, ["drop", str(folder), "s", "--reason", "by hand"]).exit_code == 0
    assert cli.invoke(terminal_app, ["status", str(folder)]).exit_code == 0
    refused = cli.invoke(terminal_app, ["status", str(tmp_path / "nothing")])
    assert isinstance(refused.exception, LedgerError)


def test_images_are_taken_once(tmp_path: Path) -> None:
    """Also if the terminal dies between keeping the scan and moving the image away."""
    folder, images = tmp_path / "stall", tmp_path / "images"
    images.mkdir()
    write_settings(folder, made())
    (images / "pack.png").write_bytes(datamatrix("(01)06901234567892(21)AB12").png())
    (images / "nothing.png").write_bytes(b"no image")
    copy = (images / "pack.png").read_bytes()
    for _ in range(2):
        process = subprocess.Popen(
            [*RUN, "run", str(folder), "--images", str(images)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT,
        )  # fmt: skip
        until("the image is read", lambda: not (images / "pack.png").exists())
        process.communicate("", timeout=60)
        (images / "pack.png").write_bytes(copy)  # as if it had not been moved
    outbox = Outbox(folder / OUTBOX_FILE)
    assert outbox.waiting() == 1 and outbox.last().body["scanned"] == "]d2010690123456789221AB12"  # type: ignore[union-attr]
    outbox.close()
    assert {one.name.partition("-")[0].partition(".")[0] for one in (images / "read").iterdir()} == {"pack"}
    assert [one.name for one in (images / "unread").iterdir()] == ["nothing.png"]


def test_a_serial_device_is_read(tmp_path: Path) -> None:
    master, slave = os.openpty()
    folder = tmp_path / "stall"
    write_settings(folder, made(step="loss"))
    process = subprocess.Popen(
        [*RUN, "run", str(folder), "--device", os.ttyname(slave)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdout.readline()
    threading.Event().wait(0.5)
    os.write(master, f"{EAN}\r".encode())
    os.write(master, b"ST,GS,+  1.250kg\r\n")
    answers = [process.stdout.readline() for _ in range(3)]
    assert any(f"✓ {EAN} 1.250 kg" in answer for answer in answers), answers
    process.communicate("", timeout=60)
    os.close(master)
    os.close(slave)


def test_calibration_is_kept_and_used(tmp_path: Path) -> None:
    matrix, cli = sheet_symbols()[0], CliRunner()
    good = cli.invoke(
        terminal_app, ["calibrate", str(tmp_path), "--sheet", str(tmp_path / "sheet.pdf")],
        f"#{matrix.identifier}{matrix.content}$\n",
    )  # fmt: skip
    assert good.exit_code == 0 and (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")
    assert read_profile(tmp_path) == Profile("#", "$", aim=True, sends_fnc1=True)
    bad = cli.invoke(terminal_app, ["calibrate", str(tmp_path)], matrix.content.swapcase() + "\n")
    assert bad.exit_code == 1 and "Caps Lock" in bad.output
    assert read_profile(tmp_path).prefix == "#", "what was proved before stays"
    assert cli.invoke(terminal_app, ["calibrate", str(tmp_path)], "junk\n").exit_code == 1


# --- The ledger itself ----------------------------------------------------------------------------


@pytest.fixture
def stall(ledger: Ledger, request: pytest.FixtureRequest) -> Iterator[tuple[Server, str]]:
    """The ledger served, with a market and 1,000 kg at each of its first two stalls; and a terminal's key."""
    open_market(ledger, **getattr(request, "param", {}))
    with serving(ledger) as served:
        key = credential(ledger, Role.TERMINAL, NODE)[1]
        for party in (PARTY, f"{NODE}0002"):
            bring_in(served.url, key, party)
        yield served, key


def events_of(ledger: Ledger) -> list[dict]:
    with ledger.database.connect() as connection:
        found = connection.execute("SELECT data FROM entry WHERE node = %s ORDER BY seq", [int(NODE)]).fetchall()
    bodies = [decode(bytes(data)).body for (data,) in found]
    return [body["event"] for body in bodies if body.get("event", {}).get("bizStep") == "retail_selling"]


def test_a_sale_is_recorded_with_its_leased_code_and_taken_back(stall: tuple[Server, str], tmp_path: Path) -> None:
    served, key = stall
    with till(served.url, tmp_path, key=key) as (counter, outbox, _):
        until("codes are there", lambda: outbox.free_codes(PARTY))
        assert counter.take(LABEL) == "? 重量 weight kg?"
        answer = counter.take("1.25")
        trace = outbox.last().body["trace"]  # type: ignore[union-attr]
        assert answer.startswith("✓") and "余 left 998.75 kg" in answer and trace.startswith(PARTY) and trace in answer
        (event,) = events_of(served.ledger)
        assert event["inputQuantityList"] == [{"epcClass": LOT, "quantity": Decimal("1.25"), "uom": "KGM"}]
        assert event["outputQuantityList"][0]["epcClass"] == f"urn:suyuan:trace:{trace}"
        assert counter.take("void").startswith("✓ 撤销 undo") and "undone already" in counter.take("void")
        assert "余 left 998 kg" in counter.take(f"{LABEL} 2"), "what was taken back is there again"
        assert outbox.summary().aside == [] and outbox.waiting() == 0
        assert len(events_of(served.ledger)) == 3


def test_an_undoing_whose_answer_was_lost_is_no_trouble(stall: tuple[Server, str], tmp_path: Path) -> None:
    served, key = stall
    lost = iter(["lose"])

    def whim(path: str, _body: bytes) -> str | None:
        return next(lost, None) if path.endswith("/void") else None

    with network(served.url, whim) as net, till(net.url, tmp_path, key=key) as (counter, outbox, _):
        assert counter.take(f"{LABEL} 1.25").startswith("✓")
        assert counter.take("void").startswith("✓ 撤销 undo")
        until("it is taken back", lambda: not outbox.waiting())
        assert outbox.summary().aside == [] and len(events_of(served.ledger)) == 2


def test_a_scan_whose_answer_was_lost_is_recorded_once(stall: tuple[Server, str], tmp_path: Path) -> None:
    served, key = stall
    losses = iter(["lose", "cut", "repeat"])

    def whim(path: str, _body: bytes) -> str | None:
        return next(losses, None) if path == "/scans" else None

    with network(served.url, whim) as net, till(net.url, tmp_path, key=key) as (counter, outbox, _):
        answer = counter.take(f"{LABEL} 1.25")
        assert answer.startswith("✓") and "kept here" in answer
        until("it is recorded", lambda: not outbox.waiting())
        assert outbox.last().status == 200 and len(events_of(served.ledger)) == 1  # type: ignore[union-attr]


def test_two_terminals_that_scan_the_same_are_asked(stall: tuple[Server, str], tmp_path: Path) -> None:
    served, key = stall
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        till(served.url, tmp_path / "a", key=key) as (one, _, _),
        till(served.url, tmp_path / "b", key=key) as (other, outbox, _),
    ):
        assert one.take(f"{LABEL} 1.25").startswith("✓")
        assert other.take(f"{LABEL} 1.25").startswith("? ") and len(events_of(served.ledger)) == 1
        assert other.take("no").startswith("✓") and outbox.summary().aside == []
        assert other.take(f"{LABEL} 1.25").startswith("? "), "the counter itself remembers"
        assert other.take(".").startswith("✓") and len(events_of(served.ledger)) == 2


@pytest.mark.parametrize("stall", [{"stock_limit": "refuse"}], indirect=True)
def test_beyond_what_is_left_is_refused_before_the_slip_and_recorded_after_it(
    stall: tuple[Server, str], tmp_path: Path
) -> None:
    served, key = stall
    whims = iter([None])
    with (
        network(served.url, lambda path, _body: None if path == "/leases" else next(whims, "drop")) as net,
        till(net.url, tmp_path, key=key, printer=str(tmp_path / "printer")) as (counter, outbox, shown),
    ):
        until("codes are there", lambda: outbox.free_codes(PARTY))
        assert counter.take(f"{LABEL} 1001").startswith("✗") and not (tmp_path / "printer").exists()
        assert events_of(served.ledger) == [] and len(outbox.summary().aside) == 1
        assert counter.take(f"{LABEL} 1002").startswith("✓") and (tmp_path / "printer").exists()
        net.whim = lambda _path, _body: None
        until("it is recorded", lambda: not outbox.waiting())
        assert len(events_of(served.ledger)) == 1 and len(outbox.summary().aside) == 1
        until("it is warned of", lambda: any("more than is left" in one for one in shown))


def test_what_the_ledger_cannot_take_goes_aside(stall: tuple[Server, str], tmp_path: Path) -> None:
    served, key = stall
    with till(served.url, tmp_path, key=key) as (counter, outbox, _):
        assert counter.take(f"{LABEL} 1 goods=999").startswith("✗")
        assert counter.take(f"{LABEL} 2").startswith("✓")
        assert [one.status for one in outbox.summary().aside] == [400]


def test_a_wrong_key_and_a_wrong_clock_are_said(stall: tuple[Server, str], tmp_path: Path) -> None:
    served, key = stall
    with till(served.url, tmp_path, key="nobody") as (counter, outbox, shown):
        assert "cannot be sent" in counter.take(f"{LABEL} 1")
        until("it is said", lambda: any("refuses this terminal's key" in one for one in shown))
        assert outbox.waiting() == 1
    outbox = Outbox(tmp_path / OUTBOX_FILE)
    late = Till(made(served.url, key=key), outbox, lambda: local_now() - timedelta(hours=1), shown.append)
    late.sender.start()
    until("the first is sent", lambda: not outbox.waiting())
    assert "clock is -3600 s off" in late.take(f"{LABEL} 2").replace("-3601", "-3600").replace("-3599", "-3600")
    late.sender.stop()
    outbox.close()


def test_terminals_that_lease_and_sell_at_once_never_have_a_code_twice(
    stall: tuple[Server, str], tmp_path: Path
) -> None:
    """Two stalls, ten terminals each; half of them lose the ledger after their first lease and go on selling."""
    served, key = stall
    ready = threading.Barrier(20, timeout=DEADLINE_S)
    with network(served.url) as net:

        def work(number: int) -> list[str]:
            folder = tmp_path / str(number)
            folder.mkdir()
            url = net.url if number % 2 else served.url
            party = PARTY if number < 10 else f"{NODE}0002"
            with till(url, folder, key=key, party=party, lease_count=8) as (counter, outbox, _):
                until("codes are there", lambda: outbox.free_codes(party))
                ready.wait()
                net.whim = lambda _path, _body: "drop"
                for i in range(12):
                    assert counter.take(f"{LABEL} {number + 1}.{i:03d} @1").startswith("✓")
                codes = [body.get("trace") for body in bodies_of(folder)]
                return [code for code in codes if code]

        with ThreadPoolExecutor(20) as pool:
            used = [code for codes in pool.map(work, range(20)) for code in codes]
        assert len(used) == len(set(used)) >= 20 * 8
    sold = [event["outputQuantityList"][0]["epcClass"] for event in events_of(served.ledger)]
    assert len(sold) == len(set(sold)) >= 10 * 12


def bodies_of(folder: Path) -> list[dict]:
    with sqlite3.connect(folder / OUTBOX_FILE) as db:
        rows = db.execute("SELECT body FROM message ORDER BY number").fetchall()
    db.close()
    return [json.loads(body) for (body,) in rows]


# --- All of it: five terminals, a bad network, and death ------------------------------------------

SCANS, BLOWS, DEATHS = 40, 2, 3


@dataclass
class Counterhand:
    """A terminal's process and the person at it, who scans until told that it is kept, and looks after a restart."""

    folder: Path
    chance: random.Random
    quantities: list[str]
    process: subprocess.Popen[str] | None = None
    deaths: int = 0

    def start(self) -> str:
        """Runs the terminal; the greeting."""
        self.process = subprocess.Popen(
            [*RUN, "run", str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def work(self) -> None:
        greeting, moments = self.start(), set(self.chance.sample(range(1, SCANS), DEATHS))
        for number, quantity in enumerate(self.quantities):
            killer = threading.Timer(self.chance.uniform(0, 0.02), self.kill) if number in moments else None
            while not self.kept(greeting, quantity):
                if killer is not None and not killer.ident:
                    killer.start()
                if self.scan(quantity):
                    break
                greeting = self.restart()
            if killer is not None:
                killer.join()
                if self.process is not None and self.process.poll() is not None:
                    greeting = self.restart()

    @staticmethod
    def kept(greeting: str, quantity: str) -> bool:
        """Whether the terminal says that this was the last that it kept."""
        return f" {quantity} kg " in greeting

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.deaths += 1

    def restart(self) -> str:
        assert self.process is not None and self.process.stdout is not None and self.process.stdin is not None
        self.process.wait()
        self.process.stdout.close()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.start()

    def scan(self, quantity: str) -> bool:
        """Whether the terminal said, before it died, that the scan is kept."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(f"{LABEL} {quantity} @25.80\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        for line in self.process.stdout:
            if f" {quantity} kg " in line:
                assert line.startswith("✓"), line
                return True
            assert "twice" not in line and not line.startswith("✗ 没有记下"), line
        return False

    def finish(self) -> None:
        """Everything is sent, and the terminal ends by itself."""
        assert self.process is not None and self.process.stdin is not None

        def sent() -> bool:
            outbox = Outbox(self.folder / OUTBOX_FILE)
            try:
                return not outbox.waiting()
            finally:
                outbox.close()

        until(f"{self.folder.name} has sent everything", sent)
        self.process.communicate("", timeout=DEADLINE_S)
        assert self.process.returncode == 0


def open_market(ledger: Ledger, **about: str) -> None:
    """The market and its stalls, in the registers."""
    filed(ledger, NODE_REGISTER, [{"node": NODE, "name": "市场", "kind": "market", "trace_scheme": "A", **about}])
    firm = {"kinds": "retailer", "credit_code": FIRM}
    stalls = [{**firm, "party": f"{NODE}{i:04d}", "legal_name": f"摊位{i}"} for i in range(1, TERMINALS + 1)]
    filed(ledger, PARTY_REGISTER, stalls)


def bring_in(url: str, key: str, party: str) -> None:
    """The stall's purchase, from which its sales are taken."""
    body = {
        "scan": str(uuid.uuid4()), "node": NODE, "step": "retail_entry", "party": party, "at": now().isoformat(),
        "scanned": LABEL, "quantity": str(STOCK_KG), "unit": "KGM",
        "vouchers": [{"kind": "product", "number": "330212000117"}],
    }  # fmt: skip
    answer = httpx.post(f"{url}/scans", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert answer.status_code == 201, answer.text


def weather(seed: int) -> Whim:
    """A network that drops, delays, repeats, reorders and cuts."""
    chance, lock = random.Random(seed), threading.Lock()

    def whim(_path: str, _body: bytes) -> str | None:
        with lock:
            what, delay = chance.random(), chance.uniform(0, 0.04)
        threading.Event().wait(delay)
        kinds = ("drop", "cut", "lose", "repeat", "late")
        return kinds[int(what / 0.04)] if what < 0.04 * len(kinds) else None

    return whim


@pytest.fixture
def market() -> Iterator[tuple[City, list[str]]]:
    """A served market with five stalls, and their keys."""
    root = Path(tempfile.mkdtemp(prefix="suyuan-t-"))
    root.chmod(0o711)
    installation = ServerSettings.from_environment({"SUYUAN_DATA": str(root / "data")})
    keys = []
    with open_ledger(installation) as ledger:
        open_market(ledger)
        for _ in range(TERMINALS):
            keys.append(credential(ledger, Role.TERMINAL, NODE)[1])
    made_city = City(installation, [])
    try:
        made_city.start()
        yield made_city, keys
    finally:
        if made_city.process is not None and made_city.process.poll() is None:
            made_city.stop(signal.SIGKILL)
        assert Cluster(installation.data).stopped(), "the database outlived its last user"
        shutil.rmtree(root)


def recorded(installation: ServerSettings) -> list[dict]:
    """The events of sales in the ledger, which is audited."""
    with open_ledger(installation) as ledger:
        check_ledger(ledger)
        return events_of(ledger)


def balances(installation: ServerSettings) -> list[tuple[str, Decimal]]:
    with open_ledger(installation) as ledger, ledger.database.connect() as connection:
        question = "SELECT holder, quantity FROM balance WHERE item = %s"
        return connection.execute(question, ["01/06901234567892/10/A1"]).fetchall()


def test_each_scan_is_in_the_ledger_once_whatever_dies(market: tuple[City, list[str]], tmp_path: Path) -> None:
    served, keys = market
    for number, key in enumerate(keys, 1):
        bring_in(served.url, key, f"{NODE}{number:04d}")
    with network(served.url, weather(1)) as net:
        hands = []
        for number, key in enumerate(keys):
            folder = tmp_path / f"stall{number}"
            folder.mkdir()
            write_settings(folder, made(net.url, key=key, party=f"{NODE}{number + 1:04d}", lease_count=20))
            quantities = [f"{number + 1}.{i:03d}" for i in range(SCANS)]
            hands.append(Counterhand(folder, random.Random(number), quantities))
        with ThreadPoolExecutor(TERMINALS) as pool:
            working = [pool.submit(hand.work) for hand in hands]
            for blow in range(1, BLOWS + 1):
                until("some is sent", lambda blow=blow: len(net.bodies("/scans")) > blow * 50)
                served.stop(signal.SIGKILL)
                served.start()
                net.upstream = served.url
            for one in working:
                one.result()
            [*pool.map(Counterhand.finish, hands)]
        assert {"drop", "cut", "lose", "repeat", "late"} <= net.counts.keys() and sum(h.deaths for h in hands) >= 10
    assert served.stop(signal.SIGTERM) == 0
    events = recorded(served.settings)
    kept = dict(itertools.chain.from_iterable(acknowledged(hand.folder) for hand in hands))
    assert len(kept) == TERMINALS * SCANS
    assert sorted(event["eventID"] for event in events) == sorted(f"urn:uuid:{id}" for id in kept)
    sold = sorted(str(event["outputQuantityList"][0]["quantity"]) for event in events)
    assert [*map(Decimal, sold)] == sorted(Decimal(one) for hand in hands for one in hand.quantities)
    slips = {event["eventID"][9:]: event["outputQuantityList"][0]["epcClass"] for event in events}
    assert len(set(slips.values())) == len(slips), "no trace code twice"
    printed = {id: f"urn:suyuan:trace:{body['trace']}" for id, body in kept.items() if "trace" in body}
    assert len(printed) > len(kept) // 2 and printed.items() <= slips.items(), "the ledger has what the slip says"
    left = {f"{NODE}{i + 1:04d}": STOCK_KG - sum(map(Decimal, hand.quantities)) for i, hand in enumerate(hands)}
    assert left == {holder: held for holder, held in balances(served.settings) if holder in left}, "to the gram"


def acknowledged(folder: Path) -> list[tuple[str, dict]]:
    with sqlite3.connect(folder / OUTBOX_FILE) as db:
        rows = db.execute("SELECT id, body, state FROM message ORDER BY number").fetchall()
    db.close()
    assert {state for _, _, state in rows} == {"acknowledged"}
    return [(id, json.loads(body)) for id, body, _ in rows]
