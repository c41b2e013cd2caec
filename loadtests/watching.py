"""What watching costs whoever captures, and how soon somebody is told: part of `make bench`.

First, side by side in one run and on new scratch databases, several rounds: 20,000 events of a city in documents of
1,000, captured by a lane of this process
  alone    with nothing beside;
  signed   with the worker, which signs the log, in a thread of this process, as `suyuan serve` has it;
  watched  with the lookout too, a process of its own, with 50 live rules: at least 0.8 of the rate before, is the aim.
Beside it: how far behind the watcher is at the end, and how many entries a second it follows, meanwhile and afterwards.

Then events come at a steady 1,000 a second, in documents of ten, into an open ledger with all that `suyuan serve` runs,
its application too. Every 50th comes alone and fails a residue test, of a lot of its own; a web hook of this machine
and a stream of server-sent events are told of it. The time runs from before the event is made until the notice is
there. The aim is a second for 99 of 100. `python -m loadtests.watching ROUNDS SECONDS`; 0 leaves a part out.
"""

import contextlib
import itertools
import json
import multiprocessing
import queue
import socket
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import text

from api.app import create_app, tune_runtime
from api.ledger import Ledger, now, open_ledger
from ledger.access import Role
from ledger.capture import ErrorBehaviour, requests_of
from ledger.credentials import issue
from ledger.documents import read_document, write_json
from ledger.embedded import Cluster
from ledger.errors import Misconfigured
from ledger.filing import Line, file_lines, file_one
from ledger.identifiers import canonical_key
from ledger.lookout import looking_out
from ledger.nodes import OPERATOR, places_of
from ledger.notes import Recorded
from ledger.registers import REGISTERS, SUBSCRIPTION
from ledger.rulesets import first_rules, load_request, shipped
from ledger.settings import Settings
from ledger.worker import Worker
from loadtests.capture import DOCUMENTS, EVENTS, UNDER_WAY
from scanners.city import City, document

Json = dict[str, Any]
Told = tuple[str, str, float]  # by which way, of which subject, and when
RULES, RATE, SMALL, CAUSE_EVERY, WARM_UP_S = 50, 1_000, 10, 50, 2.0
AIM_RATIO, AIM_S, DAY = 0.8, 1.0, date(2026, 11, 23)
SIDES = ("alone", "signed", "watched")
LAST_S = 15.0  # so long after the last event a notice may come; then it is missing


def copies(most: int) -> str:
    """Copies of the shipped rules under other ids, so many that `most` are live."""
    rules = [rule for words in shipped().values() for rule in yaml.safe_load(words)["rules"]]
    more = [{**rules[at * 7 % len(rules)], "id": f"again_{at}", "level": "blue"} for at in range(most - len(rules))]
    return yaml.safe_dump({"rules": more}, allow_unicode=True, sort_keys=False)


def _found(ledger: Ledger, city: City) -> None:
    """The city's registers, and all rules."""
    registrar = ledger.registrar(OPERATOR)
    tables = {name.removesuffix(".csv"): rows for name, rows in city.tables().items()}
    for register in (one for one in REGISTERS if one.plural in tables):
        rows = ({key: value for key, value in row.items() if value} for row in tables[register.plural]())
        lines = [Line(number, row) for number, row in enumerate(rows, 2)]
        for done in file_lines(ledger.database, ledger.lanes.record, registrar, register, lines):
            if done.refusals:
                raise Misconfigured(str(done.refusals[0]))
    with ledger.database.read() as connection:
        requests = [*first_rules(connection, registrar), load_request(connection, registrar, "more", copies(RULES))]
    for request in filter(None, requests):
        ledger.record(request)


@contextlib.contextmanager
def _scratch(city: City, *, serves: bool = False) -> Iterator[Ledger]:
    """A new ledger with the city's registers; `serves`: with all that `suyuan serve` runs beside."""
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as name:
        Path(name).chmod(0o711)
        environment = {"SUYUAN_DATA": str(Path(name) / "data"), "SUYUAN_ALLOW_LOOPBACK": "1"}
        settings = Settings.from_environment(environment | ({} if serves else {"SUYUAN_LANES": "1"}))
        with open_ledger(settings, worker=serves) as ledger:
            _found(ledger, city)
            yield ledger
        Cluster(settings.data).stopped()


@contextlib.contextmanager
def _in_thread(run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    with ThreadPoolExecutor(1) as threads, contextlib.ExitStack() as ends:
        ends.callback(stop)
        threads.submit(run)
        yield


def _where(ledger: Ledger) -> tuple[int, int]:
    """Entries that there are, and those that were watched."""
    with ledger.database.read() as connection:
        entries, watched = connection.execute(text(
            "SELECT (SELECT sum(seq) FROM head)::bigint, (SELECT coalesce(max(position), 0) FROM follower"
            " WHERE name = 'watcher')")).one()  # fmt: skip
    return int(entries), int(watched)


def _caught_up(ledger: Ledger) -> None:
    """Wait until all was watched."""
    while (where := _where(ledger))[1] < where[0]:
        time.sleep(0.1)


def _capture(ledger: Ledger) -> "Callable[[bytes], Future[list[Recorded]]]":
    """What takes a document's bytes, as `POST /capture` does."""
    with ledger.database.read() as connection:
        known = places_of(connection, OPERATOR)

    def capture(data: bytes) -> "Future[list[Recorded]]":
        (request,) = requests_of(read_document(data), OPERATOR, known, ErrorBehaviour.ROLLBACK, ledger.secret)
        return ledger.lanes.submit(request)

    return capture


# --- What watching costs --------------------------------------------------------------------------


def _captured(ledger: Ledger, given: list[bytes]) -> float:
    """Seconds that it takes to capture these documents."""
    capture, slots = _capture(ledger), threading.Semaphore(UNDER_WAY)
    began, answers = time.perf_counter(), []
    for data in given:
        slots.acquire()
        answers.append(capture(data))
        answers[-1].add_done_callback(lambda _: slots.release())
    for answer in answers:
        answer.result()
    return time.perf_counter() - began


def _side(side: str, city: City, given: list[bytes], found: dict[str, list[float]]) -> None:
    with _scratch(city) as ledger, contextlib.ExitStack() as beside:
        if side != "alone":
            worker = Worker(ledger.database, ledger.keys, ledger.signer, now)
            beside.enter_context(_in_thread(worker.run, worker.stop))
        if side == "watched":
            beside.enter_context(looking_out(ledger.database, ledger.settings))
            _caught_up(ledger)
        before = _where(ledger)[1]
        took = _captured(ledger, given)
        entries, watched = _where(ledger)
        found.setdefault(side, []).append(EVENTS * len(given) / took)
        if side == "watched":
            began = time.perf_counter()
            _caught_up(ledger)
            found.setdefault("entries/s watched meanwhile", []).append((watched - before) / took)
            found.setdefault("entries behind at the end", []).append(left := entries - watched)
            found.setdefault("entries/s watched afterwards", []).append(left / (time.perf_counter() - began))


def _costs(rounds: int, console: Console) -> None:
    found: dict[str, list[float]] = {}
    for number in track(range(rounds), "rounds", console=console, transient=True):
        city = City(number, DAY, events=EVENTS * DOCUMENTS, plant_every=0)
        events = city.events()
        given = [write_json(document([next(events) for _ in range(EVENTS)], now())) for _ in range(DOCUMENTS)]
        for side in SIDES if number % 2 else SIDES[::-1]:  # whoever comes first has it no better
            _side(side, city, given, found)
    for side, beside in itertools.pairwise(reversed(SIDES)):
        found[f"{side} against {beside}"] = [a / b for a, b in zip(found[side], found[beside], strict=True)]
    table = Table("events/s, and what follows from it", "median", "each round", title=f"{RULES} rules, {rounds} rounds")
    for what, some in sorted(found.items(), key=lambda one: (one[0] not in SIDES, one[0])):
        shown = [f"{one:,.2f}" if " against " in what else f"{one:,.0f}" for one in (statistics.median(some), *some)]
        table.add_row(what, shown[0], " ".join(shown[1:]))
    console.print(table, f"aim for watched against signed: {AIM_RATIO}")


# --- How soon somebody is told ----------------------------------------------------------------------


def _listen(port: int, key: str, tell: "Queue[Told]") -> None:
    """A process that is told: it tells on its web hook's port, then the way, subject and time of each notice."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            subject = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["subject"]
            tell.put(("web hook", subject, time.monotonic()))
            self.send_response(204)
            self.end_headers()

        def log_request(self, *_: object) -> None:
            pass

    def read() -> None:
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/notices/stream?rule=residue_failed", headers={"Authorization": f"Bearer {key}"})
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                tell.put(("stream", json.loads(line[6:])["subject"], time.monotonic()))

    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.socket.listen(100)
    tell.put(("port", f"{server.server_port}", 0.0))
    threading.Thread(target=read, daemon=True).start()
    server.serve_forever(poll_interval=0.02)


@contextlib.contextmanager
def _told(ledger: Ledger) -> Iterator["Queue[Told]"]:
    """The application in a thread, and a process that listens to a stream of it and is subscribed with a web hook."""
    with ledger.database.read() as reading:
        request, _, key = issue(reading, Role.REGULATOR, "bench", [], 1, OPERATOR.name, now())
    ledger.record(request)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(ledger), log_level="error", access_log=False))
    context = multiprocessing.get_context("spawn")
    heard: Queue[Told] = context.Queue()
    listener = context.Process(target=_listen, args=(listening.getsockname()[1], key, heard), daemon=True)
    with listening, _in_thread(partial(server.run, [listening]), partial(setattr, server, "should_exit", True)):
        listener.start()
        given = {"subscription": "000000000-bench", "channel": "webhook", "rules": ["residue_failed"],
                 "destination": f"http://127.0.0.1:{heard.get()[1]}/hook"}  # fmt: skip
        with ledger.database.read() as reading:
            request, _ = file_one(reading, ledger.registrar(OPERATOR), SUBSCRIPTION, given, None)
        ledger.record(request)
        with contextlib.ExitStack() as ends:
            ends.callback(listener.terminate)
            yield heard


def _delays(length_s: int, console: Console) -> None:
    count = int((length_s + WARM_UP_S) * RATE)
    city = City(1, DAY, events=count, plant_every=0)
    events = [*itertools.islice(city.events(), count)]
    test = next(one for one in events if one.get("bizStep") == "inspecting" and "sensorElementList" in one)
    others = [write_json(document(events[at : at + SMALL], now())) for at in range(0, count, SMALL)]
    with _scratch(city, serves=True) as ledger, _told(ledger) as heard:
        _caught_up(ledger)
        caused, took = _steady(ledger, others, test)
        entries, watched = _where(ledger)
        arrived: dict[str, dict[str, float]] = {"web hook": {}, "stream": {}}
        until = time.monotonic() + LAST_S
        with contextlib.suppress(queue.Empty):
            while any(caused.keys() - one for one in arrived.values()):
                way, subject, at = heard.get(timeout=max(0.0, until - time.monotonic()))
                arrived[way].setdefault(subject, at)
    title = f"{len(caused)} causes beside {count} events, {count / took:,.0f} a second"
    table = Table("told by", "p50 s", "p95 s", "p99 s", "most s", "missing", title=title)
    for way, told in arrived.items():
        some = [told[one] - caused[one] for one in list(caused)[int(WARM_UP_S * RATE / CAUSE_EVERY) :] if one in told]
        some = some if len(some) > 1 else [float("nan")] * 2
        cuts = statistics.quantiles(some, n=100, method="inclusive")
        shown = [f"{one:.2f}" for one in (cuts[49], cuts[94], cuts[98], max(some))]
        table.add_row(way, *shown, str(len(caused.keys() - told)))
    console.print(table, f"the watcher was {entries - watched} entries behind at the end; aim for p99: {AIM_S} s")


def _steady(ledger: Ledger, others: list[bytes], test: Json) -> tuple[dict[str, float], float]:
    """Capture at a steady rate. When each cause began, by its lot; and how long all took."""
    capture, answers, caused = _capture(ledger), [], dict[str, float]()
    begin = time.monotonic()
    for number, data in enumerate(others):
        time.sleep(max(0.0, begin + number * SMALL / RATE - time.monotonic()))
        answers.append(capture(data))
        if number % (CAUSE_EVERY // SMALL) == 0:
            lot = f"{test['quantityList'][0]['epcClass'].rpartition('/')[0]}/BENCH{number}"
            caused[canonical_key(lot)] = time.monotonic()
            failed = test | {"eventID": f"urn:uuid:{uuid.uuid4()}", "eventTime": now().isoformat()}
            failed |= {"disposition": "non_conformant", "quantityList": [{**test["quantityList"][0], "epcClass": lot}]}
            answers.append(capture(write_json(document([failed], now()))))
    for answer in answers:
        answer.result()
    return caused, time.monotonic() - begin


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *("5", "30")[len(sys.argv) - 1 :]]
    tune_runtime()
    for part, given in ((_costs, int(arguments[0])), (_delays, int(arguments[1]))):
        if given:
            part(given, Console())
