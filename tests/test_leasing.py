"""Two hundred terminals lease and use trace codes at once, half of them offline, some of them killed: no code twice.

Real terminals (settings, outbox, sender, till), fifty to a process, and two real servers on one ledger, which know
nothing of each other but the database. Were a range ever given to two, a code used for two scans after a restart, or a
scan that was sent again recorded with another code, then a code would stand on two slips, or in the ledger twice, or
be used by a terminal that never leased it.
"""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.ledger import Ledger, now, open_ledger
from ledger.access import Role
from ledger.embedded import Cluster
from ledger.entries import Kind, decode
from ledger.registers import NODE as NODE_REGISTER
from ledger.settings import Settings as ServerSettings
from scanners.terminal.outbox import Outbox
from scanners.terminal.settings import OUTBOX_FILE, Settings, read_settings, write_settings
from scanners.terminal.sync import local_now, wanted_series
from scanners.terminal.till import Till
from tests.conftest import check_ledger
from tests.test_crash import City
from tests.test_http import credential, serving
from tests.test_registry import filed
from tests.test_terminal import LABEL, network, until

TERMINALS, CREWS, STALLS, SALES, LEASED = 200, 4, 10, 4, 3
"""Terminals in all, processes that run them, stalls of a market, sales of a terminal, codes that it keeps at hand."""
NODE, AT_ONCE = "330212001", 60
"""More than the connections and threads of a server."""
MARKETS = {NODE: "A", "330212002": "B"}
PRINTER, ROOT = "printer", Path(__file__).parents[1]
PRINTED = re.compile(rb"(?<![0-9])[0-9]{20}(?![0-9])")
Row = tuple[str, str, str, str | None]


# --- A process of terminals -----------------------------------------------------------------------


def crew(folder: Path) -> None:
    """Runs the terminals in `folder`: each line of standard input is a word that all of them do at once."""
    with ExitStack() as opened:
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
        tills = [opened.enter_context(closing(_Stall(one))) for one in folders]
        with ThreadPoolExecutor(len(tills)) as pool:
            for word in map(str.strip, sys.stdin):
                [*pool.map(lambda stall, word=word: getattr(stall, word)(), tills)]
                print(word, flush=True)


class _Stall:
    """One terminal at work."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.number = read_settings(folder), int(folder.name)
        self.outbox, self.news = Outbox(folder / OUTBOX_FILE), list[str]()
        self.till = Till(self.settings, self.outbox, local_now, self.news.append, answer_s=1.0)
        self.till.sender.start()

    def lease(self) -> None:
        for series, _ in wanted_series(self.settings, local_now()):
            self.wait("codes are there", lambda series=series: self.outbox.free_codes(series) >= LEASED)

    def sell(self) -> None:
        """What is kept from before a death is not sold again: the person reads the greeting."""
        for number in range(self.outbox.waiting() + self.outbox.summary().acknowledged, SALES):
            answer = self.till.take(f"{LABEL} {self.number + 1}.{number:03d} @25.80")
            assert answer.startswith("✓"), answer

    def send(self) -> None:
        self.till.take("resume")
        self.wait("everything is sent", lambda: not self.outbox.waiting())

    def wait(self, what: str, done: Callable[[], object]) -> None:
        try:
            until(what, done)
        except AssertionError as error:
            raise AssertionError(f"{error}, terminal {self.number}: {self.news[-5:]}") from None

    def close(self) -> None:
        self.till.sender.stop()
        self.outbox.close()


@dataclass
class Crew:
    """The process of a crew, as the test sees it."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        program = "import sys, pathlib; from tests.test_leasing import crew; crew(pathlib.Path(sys.argv[1]))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT,
        )  # fmt: skip

    def begin(self, word: str) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def done(self, word: str) -> None:
        assert self.process is not None and self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word, f"the crew {self.folder.name} failed to {word}"

    def end(self, how: Callable[[subprocess.Popen[str]], object] = lambda _: None) -> None:
        """The process is gone: by itself, or as `how` has it."""
        assert self.process is not None
        how(self.process)
        self.process.communicate(timeout=60)
        self.process = None

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Each scan that its terminals hold: terminal, then id, state, code that was leased for it, code answered."""
        for terminal, found in self._asked("SELECT id, state, body, reply FROM message ORDER BY number"):
            id, state, body, reply = found
            yield terminal, (id, state, json.loads(body).get("trace", ""), json.loads(reply or "{}").get("trace"))

    def leased(self) -> Iterator[tuple[str, str]]:
        """Terminal and code, of all that they ever leased."""
        for terminal, (code,) in self._asked("SELECT code FROM leased_code"):
            yield terminal, code

    def _asked(self, question: str) -> Iterator[tuple[str, tuple]]:
        for path in sorted(self.folder.glob(f"*/{OUTBOX_FILE}")):
            with closing(sqlite3.connect(path)) as db:
                for row in db.execute(question).fetchall():
                    yield path.parent.name, row

    def printed(self) -> Iterator[tuple[str, str]]:
        """Terminal and code, of every slip that came out of a printer."""
        for path in sorted(self.folder.glob(f"*/{PRINTER}")):
            for code in PRINTED.findall(path.read_bytes()):
                yield path.parent.name, code.decode()


# --- The city -------------------------------------------------------------------------------------


@pytest.fixture
def servers() -> Iterator[tuple[City, City, str]]:
    """Two servers on one ledger with a market of each scheme, and a key for terminals."""
    root = Path(tempfile.mkdtemp(prefix="suyuan-l-"))
    root.chmod(0o711)
    installation = ServerSettings.from_environment({"SUYUAN_DATA": str(root / "data")})
    with open_ledger(installation) as ledger:
        about = {"name": "市场", "kind": "market"}
        filed(ledger, NODE_REGISTER, [{"node": n, "trace_scheme": s, **about} for n, s in MARKETS.items()])
        key = credential(ledger, Role.TERMINAL, *MARKETS)[1]
    served = City(installation, []), City(installation, [])
    try:
        for one in served:
            one.start()
        yield *served, key
    finally:
        for one in served:
            if one.process is not None and one.process.poll() is None:
                one.stop(signal.SIGKILL)
        assert Cluster(installation.data).stopped(), "the database outlived its last user"
        shutil.rmtree(root)


def set_up(folder: Path, urls: list[str], key: str) -> list[Crew]:
    """Fifty terminals a crew, on both markets and all of their stalls; ten terminals a stall lease from one series."""
    crews = [Crew(folder / str(number)) for number in range(CREWS)]
    markets = list(MARKETS.items())
    for number in range(TERMINALS):
        part, place = number % CREWS, number // CREWS
        node, scheme = markets[place % 2]
        home = crews[part].folder / f"{number:03d}"
        write_settings(home, Settings(
            url=urls[part], key=key, node=node, step="retail_sale", party=f"{node}{place // 2 % STALLS + 1:04d}",
            scheme=scheme, printer=str(home / PRINTER), lease_count=LEASED, lease_days=0,
        ))  # fmt: skip
    return crews


def sold(installation: ServerSettings) -> list[tuple[str, str]]:
    """Scan and trace code of every sale in the ledger, which is audited."""
    with open_ledger(installation) as ledger:
        check_ledger(ledger)
        with ledger.database.connect() as connection:
            rows = connection.execute("SELECT data FROM entry WHERE node > 1").fetchall()
    entries = [decode(bytes(data)) for (data,) in rows]
    events = [one.body["event"] for one in entries if one.kind is Kind.EVENT]
    slips = [(event["eventID"], event["outputQuantityList"]) for event in events]
    return [(id.removeprefix("urn:uuid:"), made["epcClass"].rpartition(":")[2]) for id, (made,) in slips]


# --- The tests ------------------------------------------------------------------------------------


def test_counters_without_codes_do_not_wait_for_each_other_in_a_circle(ledger: Ledger) -> None:
    """Whoever waits for a number holds nothing that the one who leases the next numbers needs: all are answered."""
    filed(ledger, NODE_REGISTER, [{"node": NODE, "name": "市场", "kind": "market", "trace_scheme": "B"}])
    key = credential(ledger, Role.TERMINAL, NODE)[1]
    with serving(ledger) as served, ThreadPoolExecutor(AT_ONCE) as pool:
        ready = threading.Barrier(AT_ONCE)

        def sale(number: int) -> tuple[int, str]:
            body = {
                "scan": str(uuid.uuid4()), "node": NODE, "party": f"{NODE}{number + 1:04d}", "step": "retail_sale",
                "at": now().isoformat(), "goods": "21113011", "quantity": "1",
            }  # fmt: skip
            with served.with_key(key) as client:
                client.get("/health/live")
                ready.wait()
                answer = client.post("/scans", json=body)
            return answer.status_code, answer.json().get("trace")

        answers = [*pool.map(sale, range(AT_ONCE))]
    assert {status for status, _ in answers} == {201} and len({code for _, code in answers}) == AT_ONCE


def together(crews: list[Crew], word: str) -> None:
    for one in crews:
        one.begin(word)
    for one in crews:
        one.done(word)


def killed(dying: Crew) -> None:
    """The power goes: what the terminals have kept is all that is left, and they start on it."""
    dying.end(subprocess.Popen.kill)
    dying.start()


def test_no_trace_code_is_used_twice(servers: tuple[City, City, str], tmp_path: Path) -> None:
    near, far, key = servers
    with network(far.url) as net:
        crews = set_up(tmp_path, [near.url, near.url, net.url, net.url], key)
        try:
            sell(crews, far, lambda url: setattr(net, "upstream", url))
            for one in crews:
                one.end()
        finally:
            for one in crews:
                if one.process is not None:
                    one.end(subprocess.Popen.kill)
    assert [one.stop(signal.SIGTERM) for one in (near, far)] == [0, 0]
    check(crews, sold(near.settings))


def sell(crews: list[Crew], far: City, back: Callable[[str], None]) -> None:
    """All lease; the second half loses its server and sells, while the first half sells, leases and sells."""
    _, online_dying, _, offline_dying = crews
    for one in crews:
        one.start()
    together(crews, "lease")
    far.stop(signal.SIGKILL)
    killed(offline_dying)  # between lease and use
    for one in crews:
        one.begin("sell")
    for dying in (online_dying, offline_dying):  # and in the middle of it
        until("some is sold", lambda dying=dying: sum(1 for _ in dying.rows()) > TERMINALS // CREWS * SALES // 3)
        killed(dying)
        dying.begin("sell")
    for one in crews:
        one.done("sell")
    assert all(state != "acknowledged" for one in crews[2:] for _, (_, state, _, _) in one.rows()), "they were offline"
    far.start()
    back(far.url)
    together(crews, "send")


def check(crews: list[Crew], ledger: list[tuple[str, str]]) -> None:
    """Terminals, printers and ledger tell the same, and each code once."""
    rows = [row for one in crews for row in one.rows()]
    assert len(rows) == TERMINALS * SALES and {row[1] for _, row in rows} == {"acknowledged"}
    kept = {id: answered for _, (id, _, _, answered) in rows}
    assert all(answered == code for _, (_, _, code, answered) in rows if code), "the ledger has what the slip says"
    assert dict(ledger) == kept and len(ledger) == len(kept), "each scan is recorded once, with its code"
    assert [code for code, times in Counter(code for _, code in ledger).items() if times > 1] == []

    leased = [lease for one in crews for lease in one.leased()]
    holder = {code: terminal for terminal, code in leased}
    assert len(holder) == len(leased) >= TERMINALS * LEASED, "no code was leased to two"
    by_code = {answered: terminal for terminal, (_, _, _, answered) in rows}
    assert all(holder.get(code, terminal) == terminal for code, terminal in by_code.items())
    own = sum(bool(code) for _, (_, _, code, _) in rows)
    assert len(rows) > own > TERMINALS * LEASED // 2, "leased codes are used, and when they run out the server's"

    slips = {slip for one in crews for slip in one.printed()}
    assert len({code for _, code in slips}) == len(slips) > own // 2
    assert all(by_code[code] == terminal for terminal, code in slips), "on paper as in the ledger"
