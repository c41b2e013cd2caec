"""A day of the simulated city through terminals, over a bad wire, with terminals, server and database killed at random.

The ledger is exactly the day: each deed once, with the city's own content, nothing besides, and what is left of every
lot to the gram by a reckoning of the test's own (`tests/city_day.py`). Broken would be: a terminal that loses a scan
or sends it under two ids, a server that records a repeated request twice or half, a slip that names other goods at the
next counter, a balance that a killed process left wrong.
"""

import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from api.ledger import Ledger, now, open_ledger
from ledger.access import Role
from ledger.disclosure import whole
from ledger.documents import read_json, write_json
from ledger.embedded import Cluster
from ledger.entries import Kind, decode
from ledger.settings import Settings as ServerSettings
from scanners.city import City as SimulatedCity
from scanners.city import document, write
from scanners.city.dice import Dice
from scanners.city.goods import VEGETABLES
from scanners.terminal.outbox import Outbox
from scanners.terminal.settings import OUTBOX_FILE, Settings, write_settings
from tests.city_day import LOT, Deed, Json, deeds_of, left, line_of, wanted
from tests.test_crash import City
from tests.test_http import credential
from tests.test_terminal import ROOT, RUN

SEED, DAY = 31, date(2026, 11, 25)
ERRS_EVERY = 10
"""So often a person weighs wrongly, and takes it back."""
LOOKS = 5
"""So many times a person looks whether all is sent before losing patience; the terminal tries again by itself."""
PLUGS, BLOWS = 20, 3
"""How often a terminal's plug is pulled, and how often the server or its database is killed."""
EARLY_SHARE, STORM_SHARE = 0.7, 0.6
"""Of the entries so many are scanned as soon as the slip is there, which the ledger may not know: so many of those who
give goods away are cut off then."""
ENDS_S = 200.0
SUYUAN = Path(RUN[0]).with_name("suyuan")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")} | {"TZ": "CST-8"}


# --- A wire ---------------------------------------------------------------------------------------

WHIMS = ("drop", "half", "lose", "cut", "repeat", "twice", "late", "hold", "away")
"""What a wire does to one request in so many: nothing comes; half of it comes; the answer is lost, or half of it; it
comes again at once, or twice at the same moment, or again when others have passed; it is overtaken by others; nothing
of this terminal comes for a while."""
WHIM_SHARE, VOID_WHIM_SHARE = 0.2, 0.8
"""There are few of those that take a scan back: most of them suffer."""


class Wire(ThreadingTCPServer):
    """Between terminals and ledger: bytes are passed on, or not, or again. `upstream` moves as servers come and go."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 200

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Crossing)
        self.upstream = ("127.0.0.1", 9)
        self.seen: Counter[str] = Counter()
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self._deck: list[str] = []
        self._away: dict[bytes, float] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def whim(self, request: bytes) -> tuple[str, float]:
        """What happens to this request, and how long it is on its way."""
        key = request.partition(b"Bearer ")[2].partition(b"\r\n")[0]
        share = VOID_WHIM_SHARE if b"/void " in request.partition(b"\r\n")[0] else WHIM_SHARE
        with self._lock:
            what = self._drawn() if self._chance.random() < share else "pass"
            if what == "away":
                self._away[key] = time.monotonic() + self._chance.uniform(1, 4)
            elif time.monotonic() < self._away.get(key, 0.0):
                what = "drop"
            self.seen[what] += 1
            return what, self._chance.uniform(0.5, 1.0) if what == "hold" else self._chance.uniform(0, 0.03)

    def _drawn(self) -> str:
        """The next whim of a shuffled deck: each comes, however short the day."""
        if not self._deck:
            self._deck = self._chance.sample(WHIMS, len(WHIMS))
        return self._deck.pop()

    def storm(self, key: str, most_s: float) -> None:
        """Nothing of this terminal comes for up to so many seconds."""
        with self._lock:
            self._away[key.encode()] = time.monotonic() + most_s

    def forward(self, request: bytes) -> bytes | None:
        """The ledger's whole answer to these bytes, on a connection of their own."""
        try:
            with socket.create_connection(self.upstream, timeout=20) as there, there.makefile("rb") as answers:
                there.sendall(request)
                return message_of(answers)
        except OSError:
            return None

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # terminals that die in the middle


class _Crossing(StreamRequestHandler):
    """One terminal's connection."""

    server: Wire

    def handle(self) -> None:
        while (request := message_of(self.rfile)) is not None:
            what, delay_s = self.server.whim(request)
            threading.Event().wait(delay_s)
            answer = self.crossed(request, what)
            if answer is None or what == "lose":
                return
            self.wfile.write(answer[: len(answer) // 2] if what == "cut" else answer)
            if what == "cut":
                return

    def crossed(self, request: bytes, what: str) -> bytes | None:
        match what:
            case "drop" | "away":
                return None
            case "half":
                with suppress(OSError), socket.create_connection(self.server.upstream, timeout=20) as there:
                    there.sendall(request[: -len(request) // 3])
                return None
            case "repeat":
                self.server.forward(request)
            case "twice":
                threading.Thread(target=self.server.forward, args=[request]).start()
            case "late":
                threading.Timer(0.7, self.server.forward, [request]).start()
        return self.server.forward(request)


def message_of(stream: BufferedIOBase) -> bytes | None:
    """The next HTTP message, all its bytes; None if the stream ends before it does."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline(1 << 16)
        if not line:
            return None
        head += line
    found = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    length = int(found[1]) if found else 0
    body = stream.read(length)
    return bytes(head) + body if len(body) == length else None


@contextmanager
def running(wire: Wire) -> Iterator[Wire]:
    thread = threading.Thread(target=wire.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield wire
    finally:
        wire.shutdown()
        thread.join()
        wire.server_close()


# --- People ---------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """A message as it lies in a terminal's folder."""

    id: str
    target: str | None
    state: str
    body: Json
    reply: Json


@dataclass
class Done:
    """What became of a deed: its scan's id, and that of the wrong one that was taken back before."""

    hand: "Hand"
    scan: str
    wrong: str | None = None

    @property
    def dropped(self) -> bool:
        """Whether the wrong one was taken back before the ledger had accepted it: then it never knows it."""
        message = self.hand.message(self.wrong or "")
        return message is not None and message.state == "dropped"


@dataclass
class Day:
    """What the people of the city can know of each other's work: what is on paper."""

    deeds: list[Deed]
    done: dict[int, Done] = field(default_factory=dict)
    lots: dict[str, str] = field(default_factory=dict)
    slips: dict[int, str] = field(default_factory=dict)
    ends: float = field(default_factory=lambda: time.monotonic() + ENDS_S)
    over: threading.Event = field(default_factory=threading.Event)

    def until(self, what: str, found: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Poll what happens in other processes; about once a second somebody sees to it `meanwhile`."""
        pause, tries = threading.Event(), 0
        while not found():
            assert time.monotonic() < self.ends and not self.over.is_set(), f"waited too long until {what}"
            pause.wait(0.1)
            tries += 1
            if tries % 10 == 0:
                meanwhile()

    def lot(self, name: str) -> str:
        """A lot of the city as the ledger numbered it, which is on its label."""
        return self.lots[name]

    def slip(self, deed: int) -> str:
        return self.slips[deed]

    def acknowledged(self, deed: int) -> bool:
        """Whether the terminal has the ledger's answer; what this says goes onto paper."""
        done = self.done.get(deed)
        message = done.hand.message(done.scan) if done is not None else None
        if done is None or message is None:
            return False
        if self.deeds[deed].gives_slip and (slip := done.hand.slip_of(done.scan)):
            self.slips[deed] = slip
        if message.state != "acknowledged":
            return False
        made = self.deeds[deed].makes
        if made is not None:
            assert message.reply["made"] is not None, (self.deeds[deed], message)
            self.lots[made] = str(message.reply["made"]["lot"])
        return True

    def sees_to(self, deed: int) -> None:
        """Whoever waits for a deed asks the one who does it to look after the terminal."""
        if (done := self.done.get(deed)) is not None:
            done.hand.mend()


@dataclass
class Hand:
    """A terminal's process and its person, who does the deeds in order, and scans again only what was not kept."""

    folder: Path
    day: Day = field(repr=False)
    deeds: list[Deed] = field(repr=False)
    chance: random.Random
    dice: Dice
    makers: dict[str, int] = field(repr=False)
    storm: Callable[[float], None]
    process: subprocess.Popen[str] | None = None
    last: str | None = None
    greeted: str | None = None
    deaths: int = 0
    retries: int = 0
    looks: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    # The terminal

    def start(self) -> None:
        """Runs the terminal until one lives to greet; what it kept last is what it says."""
        greeting = ""
        while not greeting:
            with self.lock:
                self.close()
                self.process = subprocess.Popen(
                    [*RUN, "run", str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    cwd=ROOT, env=ENVIRONMENT,
                )  # fmt: skip
            if self.day.over.is_set():
                self.process.kill()
            assert self.process.stdout is not None and not self.day.over.is_set(), "the day is over"
            greeting = self.process.stdout.readline()
        said = re.search(r"\[([0-9a-f-]{36})\]", greeting)
        self.greeted = said[1] if said else None

    def close(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.wait()
            self.process.stdout.close()
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.deaths += 1

    def type(self, line: str) -> None:
        """A line goes in; whether anybody reads it is seen from what comes out."""
        with self.lock, suppress(BrokenPipeError, ValueError):
            assert self.process is not None and self.process.stdin is not None
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def answers(self) -> Iterator[str]:
        """What it says until it dies. Asked whether it really happened twice, the person says yes: it did."""
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            assert not line.startswith("✗ 没有记下"), line
            if "really twice" in line:
                self.type(".")
            else:
                yield line

    def select(self, question: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.folder / OUTBOX_FILE, timeout=10)) as db:
            return db.execute(question, values).fetchall()

    def newest(self) -> str | None:
        found = self.select("SELECT id FROM message WHERE target IS NULL ORDER BY number DESC LIMIT 1")
        return found[0][0] if found else None

    def message(self, scan: str) -> Kept | None:
        found = self.messages("WHERE id = ?", scan)
        return found[0] if found else None

    def messages(self, which: str = "", *values: object) -> list[Kept]:
        rows = self.select(f"SELECT id, target, state, body, reply FROM message {which} ORDER BY number", *values)
        return [
            Kept(id, target, state, read_json(body.encode()), read_json((reply or "{}").encode()))
            for id, target, state, body, reply in rows
        ]

    def slip_of(self, scan: str) -> str:
        """The code on the slip of a scan: one that was leased, or else the one that the ledger gave it."""
        message = self.message(scan)
        return str(message.body.get("trace") or message.reply.get("trace") or "") if message is not None else ""

    def mend(self) -> None:
        """What was set aside is sent again, as it is; what is asked is answered; what waits long is sent at once."""
        self.looks += 1
        states = {state for (state,) in self.select("SELECT DISTINCT state FROM message")}
        if "aside" in states:
            self.retries += 1
            subprocess.run([*RUN, "retry", str(self.folder)], capture_output=True, cwd=ROOT, check=True)
        if "asked" in states:
            self.type(".")
        if "aside" in states or ("waiting" in states and self.looks % LOOKS == 0):
            self.type("resume")

    # The person

    def work(self) -> None:
        for deed in self.deeds:
            self.wait_for_goods(deed)
            self.open_up(deed)
            wrong = None
            if deed.event["bizStep"] == "retail_selling" and self.chance.randrange(ERRS_EVERY) == 0:
                wrong = self.scan(line_of(deed, self.day.lot, self.day.slip, self.dice, Decimal("0.001")))
                self.take_back(wrong)
            if deed.event["bizStep"] == "shipping" and self.chance.random() < STORM_SHARE:
                self.storm(self.chance.uniform(2, 4))
            line = line_of(deed, self.day.lot, self.day.slip, self.dice)
            self.day.done[deed.number] = Done(self, self.scan(line), wrong)
            self.day.acknowledged(deed.number)
        self.finish()

    def open_up(self, deed: Deed) -> None:
        """Before the first customer the terminal runs and has codes for slips; then customers come, one by one."""
        if deed is not self.deeds[0]:
            threading.Event().wait(self.chance.uniform(0, 0.1))
        elif deed.gives_slip:

            def codes() -> bool:
                if not self.alive():
                    self.start()
                return bool(self.select("SELECT 1 FROM leased_code"))

            self.day.until("codes are there", codes, lambda: self.type("resume"))

    def wait_for_goods(self, deed: Deed) -> None:
        """The goods are there, with their label and slip; some people scan at once, some when the ledger knows."""
        day = self.day
        if deed.lot is not None and deed.lot not in day.lots:
            maker = self.makers[deed.lot]
            day.until(f"{deed.lot} has its label", lambda: day.acknowledged(maker), lambda: day.sees_to(maker))
        before = deed.under if deed.event["bizStep"] == "receiving" else deed.entered
        if before is None:
            return
        # What is recorded of goods from outside the city depends on which scan of their label comes first: their entry.
        outside = deed.event["bizStep"] != "receiving" and day.deeds[before].way == "label"
        hasty = deed.way != "goods" and not outside and self.chance.random() < EARLY_SHARE

        def ready() -> bool:
            return day.acknowledged(before) or (hasty and before in day.done and deed.under in (None, *day.slips))

        day.until(f"deed {before} is done", ready, lambda: day.sees_to(before))

    def scan(self, line: str) -> str:
        """Scans until told that it is kept; the scan's id."""
        unplug = threading.Timer(self.chance.uniform(0, 0.05), self.kill) if self.chance.random() < 0.04 else None
        while True:
            if not self.alive():
                self.start()
                if self.greeted != self.last:
                    break
            if unplug is not None and unplug.ident is None:
                unplug.start()
            self.type(line)
            if any(self.newest() != self.last for _ in self.answers()):
                break
        self.last = self.newest()
        assert self.last is not None
        return self.last

    def take_back(self, scan: str) -> None:
        """What the ledger did not accept is dropped here; anything else is undone there."""

        def undone() -> bool:
            question = "SELECT 1 FROM message WHERE target = ? OR (id = ? AND state = 'dropped')"
            return bool(self.select(question, scan, scan))

        while not undone():
            if not self.alive():
                self.start()
            self.type("void wrong")
            any(undone() for _ in self.answers())

    def finish(self) -> None:
        """Everything is sent, nothing is set aside or asked, and the terminal ends by itself."""

        def sent() -> bool:
            if not self.alive():
                self.start()
            return not self.select("SELECT 1 FROM message WHERE state IN ('waiting', 'asked', 'aside')")

        while True:
            self.day.until(f"{self.folder.name} has sent everything", sent, self.mend)
            assert self.process is not None
            with self.lock, suppress(ValueError, BrokenPipeError):
                self.process.communicate("", timeout=ENDS_S)
            if self.process.returncode == 0:
                return


# --- The installation -----------------------------------------------------------------------------


@pytest.fixture
def city(tmp_path: Path) -> Iterator[tuple[City, SimulatedCity]]:
    """A served installation, with the simulated city's registers filed by `suyuan city load`."""
    simulated = SimulatedCity(SEED, DAY, nodes=12, events=150, plant_every=0)
    write(simulated, tmp_path / "city", lambda *_: None)
    (tmp_path / "city" / "events.jsonl").write_bytes(write_json(document([], now())))  # nothing has happened yet
    root = Path(tempfile.mkdtemp(prefix="suyuan-c-"))
    root.chmod(0o711)
    served = City(ServerSettings.from_environment({"SUYUAN_DATA": str(root / "data")}), [])
    command(served, "city", "load", str(tmp_path / "city"))
    try:
        yield served, simulated
    finally:
        if served.process is not None and served.process.poll() is None:
            served.stop(signal.SIGKILL)
        assert Cluster(served.settings.data).stopped(), "the database outlived its last user"
        shutil.rmtree(root)


def command(served: City, *arguments: str) -> str:
    """What the command says; it ends well."""
    environment = {**ENVIRONMENT, "SUYUAN_DATA": str(served.settings.data)}
    done = subprocess.run([SUYUAN, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


Place = tuple[str, str]
"""A counter: the party, and the step that is recorded there."""


def opened(day: Day, ledger: Ledger) -> dict[Place, str]:
    """A key for each terminal that has something to do."""
    places = sorted({(one.party, one.step) for one in day.deeds})
    return {place: credential(ledger, Role.TERMINAL, place[0][:9])[1] for place in places}


def stock(served: City, day: Day, keys: dict[Place, str]) -> dict[tuple[str, str, str], tuple[str, Decimal]]:
    """What was there before the day: at each place that sells, some of a vegetable that nobody touches today."""
    traded = {one.goods for one in day.deeds}
    goods = next(one.code for one in VEGETABLES if one.code not in traded)
    found = {}
    sellers = {one.party: one.step for one in day.deeds if one.event["bizStep"] == "retail_selling"}
    for party, step in sorted(sellers.items()):
        body = {
            "scan": str(uuid4()), "node": party[:9], "party": party, "step": "opening_stock", "goods": goods,
            "quantity": f"3.{party[-3:]}", "at": now().isoformat(),
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {keys[party, step]}"}
        answer = httpx.post(f"{served.url}/scans", json=body, headers=headers, timeout=60)
        assert answer.status_code == 201, answer.text
        holding = (answer.json()["made"]["lot"], party.removesuffix("0000"), "KGM")
        found[holding] = (str(body["scan"]), Decimal(str(body["quantity"])))
    return found


def hands(day: Day, wire: Wire, keys: dict[Place, str], schemes: dict[str, str], folder: Path) -> list[Hand]:
    """The people: one for each step at each counter."""
    makers = {one.makes: one.number for one in day.deeds if one.makes is not None}
    found = []
    for (party, step), key in keys.items():
        deeds = [one for one in day.deeds if (one.party, one.step) == (party, step)]
        terminal = folder / f"{party}-{step}"
        terminal.mkdir()
        Outbox(terminal / OUTBOX_FILE).close()
        node = party[:9]
        write_settings(terminal, Settings(
            wire.url, key, node, step, "" if party.endswith("0000") else party, schemes[node], lease_count=20,
            lease_days=1,
        ))  # fmt: skip
        seed = f"{SEED}/{party}/{step}"
        found.append(Hand(terminal, day, deeds, random.Random(seed), Dice(seed), makers, partial(wire.storm, key)))
    return found


# --- What goes wrong ------------------------------------------------------------------------------


def pull_plugs(people: list[Hand], over: threading.Event) -> None:
    """Whatever it is doing, a terminal loses its power."""
    chance, pulled = random.Random(SEED), 0
    while pulled < PLUGS and not over.wait(chance.uniform(0.1, 0.9)):
        alive = [hand for hand in people if hand.alive()]
        if alive:
            chance.choice(alive).kill()
            pulled += 1


def blow(served: City, wire: Wire, number: int) -> None:
    """The server dies, and somebody starts it again; or its database, which comes back by itself."""
    if number == 1:
        pid = Cluster(served.settings.data).server_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        return
    served.stop(signal.SIGKILL)
    served.start()
    wire.upstream = address(served)


def address(served: City) -> tuple[str, int]:
    host, _, port = served.url.rpartition("/")[2].partition(":")
    return host, int(port)


def lived(served: City, wire: Wire, day: Day, people: list[Hand]) -> None:
    """The whole day, until every terminal has sent all and ended."""
    plugs = threading.Thread(target=pull_plugs, args=[people, day.over])
    plugs.start()
    try:
        with ThreadPoolExecutor(len(people)) as pool:
            try:
                worked(served, wire, day, [pool.submit(hand.work) for hand in people])
            finally:
                day.over.set()
                for hand in people:
                    hand.kill()
    finally:
        plugs.join()
        for hand in people:
            hand.close()


def worked(served: City, wire: Wire, day: Day, working: list[Future[None]]) -> None:
    for number in range(BLOWS):
        enough = (number + 1) * len(day.deeds) // (BLOWS + 1)
        day.until("much is done", partial(much_is_done, day, enough, working))
        blow(served, wire, number)
    for one in working:
        day.until("all is done", one.done)
        one.result()


def much_is_done(day: Day, enough: int, working: list[Future[None]]) -> bool:
    """Whether so many deeds are done; or one of the people cannot go on, which is seen at the end."""
    return len(day.done) >= enough or any(one.done() and one.exception() is not None for one in working)


# --- The day --------------------------------------------------------------------------------------


def test_the_ledger_is_exactly_the_day(city: tuple[City, SimulatedCity], tmp_path: Path) -> None:
    print(f"seed {SEED}")
    served, simulated = city
    day = Day(deeds_of(simulated))
    with open_ledger(served.settings) as ledger:
        keys = opened(day, ledger)
    served.start()
    before = stock(served, day, keys)
    day.lots |= {one.makes: one.makes for one in day.deeds if one.way == "label" and one.makes is not None}
    with running(Wire(SEED)) as wire:
        wire.upstream = address(served)
        schemes = {row["node"]: row["trace_scheme"] for row in simulated.nodes()}
        people = hands(day, wire, keys, schemes, tmp_path)
        lived(served, wire, day, people)
        assert set(WHIMS) <= wire.seen.keys(), wire.seen
    print(f"{len(day.deeds)} deeds, {len(people)} terminals, {sum(one.deaths for one in people)} deaths, "
          f"{sum(one.retries for one in people)} retries, {dict(wire.seen)}")  # fmt: skip
    assert served.stop(signal.SIGTERM) == 0
    assert sum(one.deaths for one in people) >= PLUGS // 2
    check_terminals(day, people)
    check_ledger_is(served, day, before)
    receipts = tmp_path / "receipts"
    answers = [one.reply for hand in people for one in hand.messages()]
    receipts.write_text("".join(one["receipt"] + "\n" for one in answers if "receipt" in one))
    assert "everything agrees" in command(served, "audit", "--receipt", str(receipts))


def check_terminals(day: Day, people: list[Hand]) -> None:
    """Each deed is in a terminal once and acknowledged, nothing else is, and no slip was printed twice."""
    assert len(day.done) == len(day.deeds) and all(day.acknowledged(one.number) for one in day.deeds)
    messages = [one for hand in people for one in hand.messages()]
    wrong = [done.wrong for done in day.done.values() if done.wrong is not None]
    dropped = {one.id for one in messages if one.state == "dropped"}
    assert {one.id for one in messages if one.target is None} & dropped <= {*wrong}, "taken back before it was accepted"
    assert {one.state for one in messages if one.id not in dropped} == {"acknowledged"}
    scans = [done.scan for done in day.done.values()]
    assert wrong and sorted([*scans, *wrong]) == sorted(one.id for one in messages if one.target is None)
    undone = sorted(one.target for one in messages if one.target is not None and one.id not in dropped)
    assert undone == sorted({*wrong} - dropped)
    assert len(set(day.slips.values())) == len(day.slips) == sum(one.gives_slip for one in day.deeds)
    assert len([one for one in messages if "trace" in one.body]) > len(day.slips) // 4


def check_ledger_is(served: City, day: Day, before: dict[tuple[str, str, str], tuple[str, Decimal]]) -> None:
    """The ledger's events are those of the day, those taken back and what was there before; its stock is theirs."""
    events, declared, kinds, balances = recorded(served)
    assert "refusal" not in kinds and len(set(day.lots.values())) == len(day.lots)
    wrong = {done.wrong for done in day.done.values() if done.wrong is not None and not done.dropped}
    scans = [done.scan for done in day.done.values()] + [scan for scan, _ in before.values()]
    assert sorted(events) == sorted([*scans, *wrong]), "each once, and nothing else"
    assert declared == dict.fromkeys(wrong, "incorrect_data")
    for deed in day.deeds:
        done = day.done[deed.number]
        assert events[done.scan] == plain(wanted(deed, day.lot, day.slip)), (deed, done.scan)
        if done.wrong in wrong:
            slips = {**day.slips, deed.number: done.hand.slip_of(done.wrong)}
            found = wanted(deed, day.lot, slips.__getitem__, Decimal("0.001"))
            assert events[done.wrong] == plain(found), (deed, done.wrong)
    mine = {(key_of(day.lot(lot)), holder, uom): amount for (lot, holder, uom), amount in left(day.deeds).items()}
    mine |= {(key_of(lot), holder, uom): amount for (lot, holder, uom), (_, amount) in before.items()}
    assert balances == mine, "to the gram"


def recorded(served: City) -> tuple[dict[str, Json], dict[str, str], set[str], dict[tuple[str, str, str], Decimal]]:
    """Events by scan, reasons of what was taken back, all kinds of entries, and what the ledger says is left."""
    events: dict[str, Json] = {}
    declared: dict[str, str] = {}
    kinds = set()
    with open_ledger(served.settings) as ledger, ledger.database.connect() as connection:
        rows = connection.execute("SELECT data, sealed FROM entry ORDER BY node, seq").fetchall()
        held = connection.execute("SELECT item, holder, uom, quantity FROM balance WHERE quantity <> 0").fetchall()
    for data, sealed in rows:
        entry = decode(bytes(data))
        kinds.add(str(entry.kind.name).lower())
        if entry.kind is not Kind.EVENT:
            continue
        event = entry.body["event"] if sealed is None else whole(entry.body["event"], read_json(bytes(sealed)))
        scan = event["eventID"].removeprefix("urn:uuid:")
        if "errorDeclaration" in event:
            assert scan not in declared, "taken back twice"
            declared[scan] = event["errorDeclaration"]["reason"]
        else:
            assert scan not in events, "recorded twice"
            events[scan] = plain(event)
    return events, declared, kinds, {(item, holder, uom): quantity for item, holder, uom, quantity in held}


def plain(value: Any) -> Any:
    """An event without what the terminal's clock and id say of it; numbers by their value, papers in any order."""
    if isinstance(value, dict):
        ours = ("eventID", "eventTime", "eventTimeZoneOffset", "suyuan:scan")
        found = {name: plain(inner) for name, inner in value.items() if name not in ours}
        return found | {name: sorted(found[name]) for name in ("certificationInfo",) if name in found}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return Decimal(value) if isinstance(value, int) else value


def key_of(lot: str) -> str:
    """A lot's URI as the ledger's balances name it."""
    return "01/" + lot.removeprefix(LOT) if lot.startswith(LOT) else lot
