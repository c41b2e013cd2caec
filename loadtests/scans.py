"""How long a counter waits: the answers to scans, beside an endpoint that does nothing. Part of `make bench`.

A real `suyuan serve` with a process for each core, and 200 terminals of 20 markets, each with a key of its own and
trace codes that it has leased, as terminals do. Each sends a sale every two seconds. As many requests a second, spread
in the same way, ask `/health/live` over connections of their own, in the same seconds: it passes the same server and
application, and does nothing. Load comes from other processes. An answer's time counts from when it was due to be
asked for, so that a server which stalls is charged for all who would have asked meanwhile. The aim is 100 ms for 99 of
100 scans.
"""

import itertools
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from api.ledger import Ledger, now, open_ledger
from ledger.access import Role
from ledger.credentials import issue
from ledger.database import Database
from ledger.embedded import APPLICATION, Cluster
from ledger.errors import Misconfigured
from ledger.filing import Line, file_lines
from ledger.nodes import OPERATOR
from ledger.registers import NODE
from ledger.settings import Settings
from loadtests.serving import serving

MARKETS, STALLS, LOTS, PERIOD_S = 20, 10, 3, 2.0
WARM_UP_S, PROCESSES, TIMEOUT_S, START_S = 6.0, 2, 30.0, 60.0
GOODS = "21113011"
AIM_MS = 100
SCAN, NOTHING = "POST /scans", "GET /health/live"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal at a stall: its place, its key, and the trace codes that it may use."""

    number: int
    node: str
    party: str
    key: str
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: which, when it was due after the warm-up, how long its answer took from then, and its status."""

    what: str
    due_s: float
    took_ms: float
    status: int


# --- The city and its server ----------------------------------------------------------------------


def _terminals(ledger: Ledger) -> list[Terminal]:
    """Markets in the register, and a credential for each of their stalls."""
    nodes = [f"3302{number:05d}" for number in range(12001, 12001 + MARKETS)]
    lines = [
        Line(number, {"node": node, "name": "市场", "kind": "market", "trace_scheme": "A"})
        for number, node in enumerate(nodes, 2)
    ]
    for done in file_lines(ledger.database, ledger.lanes.record, ledger.registrar(OPERATOR), NODE, lines):
        if done.refusals:
            raise Misconfigured(f"the markets were refused: {done.refusals[0]}")
    found: list[Terminal] = []
    for node, stall in itertools.product(nodes, range(1, STALLS + 1)):
        with ledger.database.read() as connection:
            request, _, key = issue(connection, Role.TERMINAL, "bench", [node], 1, OPERATOR.name, now())
        ledger.record(request)
        found.append(Terminal(len(found), node, f"{node}{stall:04d}", key))
    return found


def _prepared(port: int, terminal: Terminal) -> Terminal:
    """The stall's stock is recorded, and codes are leased: `terminal` with them."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    for _ in range(LOTS):
        stock = _scan(terminal, "opening_stock", "900000", confirm=True)
        status, answer = _ask(connection, "POST", "/scans", terminal.key, stock)
        if status != 201:
            raise Misconfigured(f"the stock of {terminal.party} was answered {status}: {answer!r}")
    body = {"kind": "trace", "node": terminal.node, "party": terminal.party, "count": 100}
    _, answer = _ask(connection, "POST", "/leases", terminal.key, body)
    connection.close()
    codes = tuple(orjson.loads(answer)["codes"])
    return Terminal(terminal.number, terminal.node, terminal.party, terminal.key, codes)


def _scan(terminal: Terminal, step: str, quantity: str, **more: object) -> dict[str, object]:
    return {
        "scan": str(uuid.uuid4()), "node": terminal.node, "party": terminal.party, "step": step,
        "at": now().isoformat(), "goods": GOODS, "quantity": quantity, **more,
    }  # fmt: skip


def _ask(
    connection: HTTPConnection, how: str, path: str, key: str = "", body: object = None
) -> tuple[int, bytes]:  # fmt: skip
    """Status and body of the answer; status 0 where there was none."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} if key else {}
    try:
        connection.request(how, path, None if body is None else orjson.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        connection.close()
        return 0, b""


# --- The load -------------------------------------------------------------------------------------


def _asked_on_time(what: str, port: int, terminal: Terminal, begin: float, length_s: float, kept: list[Answer]) -> None:
    """One terminal's requests of one kind, each when it is due whatever became of the one before."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    phase = random.Random(f"{terminal.number} {what}").uniform(0, PERIOD_S)
    for number in itertools.count():
        due = begin + phase + number * PERIOD_S
        if due >= begin + WARM_UP_S + length_s:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        if what == NOTHING:
            status, _ = _ask(connection, "GET", "/health/live")
        else:
            code = {"trace": terminal.codes[number]} if number < len(terminal.codes) else {}
            sale = _scan(terminal, "retail_sale", f"1.{number:03d}", price="25.80", **code)
            status, _ = _ask(connection, "POST", "/scans", terminal.key, sale)
        kept.append(Answer(what, due - begin - WARM_UP_S, (time.monotonic() - due) * 1000, status))
    connection.close()


def _crew(port: int, terminals: list[Terminal], begin: float, length_s: float) -> list[Answer]:
    """One process: a thread for each terminal's scans, and one for its questions for nothing."""
    kept: list[Answer] = []
    threads = [
        threading.Thread(target=_asked_on_time, args=(what, port, terminal, begin, length_s, kept))
        for terminal in terminals
        for what in (SCAN, NOTHING)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return kept


def _loaded(port: int, terminals: list[Terminal], length_s: float) -> list[Answer]:
    """All answers, those of the warm-up too."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(_ready, [()] * PROCESSES)
        begin = time.monotonic() + 1
        crews = [(port, terminals[part::PROCESSES], begin, length_s) for part in range(PROCESSES)]
        return [answer for answers in pool.starmap(_crew, crews, chunksize=1) for answer in answers]


def _ready() -> None:
    """That it is done means that a process has started."""


# --- What it showed -------------------------------------------------------------------------------


def _sales(settings: Settings) -> int:
    """How many events there are in the ledger beside the stocks that were opened."""
    database = Database(Cluster(settings.data).url(APPLICATION))
    with database.connect() as connection:
        found = connection.execute("SELECT count(*) FROM event").fetchone()
    return (found[0] if found else 0) - MARKETS * STALLS * LOTS


def _row(answers: list[Answer], what: str) -> dict[str, float]:
    took = sorted(one.took_ms for one in answers if one.what == what and one.due_s >= 0)
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return {"n": len(took), "p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": took[-1]}


def _print(console: Console, answers: list[Answer], recorded: int) -> bool:
    """The table; whether every answer was as it should be, and every scan is in the ledger."""
    table = Table("", "requests", "p50 ms", "p95 ms", "p99 ms", "most ms", "errors")
    rows: dict[str, dict[str, Any]] = {what: _row(answers, what) for what in (SCAN, NOTHING)}
    table.title = f"{MARKETS * STALLS} terminals, a scan every {PERIOD_S:g} s, {os.cpu_count()} cores"
    wrong = {what: [a for a in answers if a.what == what and a.status not in (200, 201)] for what in rows}
    for what, row in rows.items():
        times = [f"{row[name]:.1f}" for name in ("p50", "p95", "p99", "max")]
        table.add_row(what, str(row["n"]), *times, f"{len(wrong[what])} ({len(wrong[what]) / row['n']:.1%})")
    console.print(table)
    ratio = {name: rows[SCAN][name] / rows[NOTHING][name] for name in ("p50", "p99")}
    console.print(f"a scan against nothing: {ratio['p50']:.1f} times at p50, {ratio['p99']:.1f} times at p99")
    met = "met" if rows[SCAN]["p99"] <= AIM_MS else "missed"
    console.print(f"aim: p99 of scans {AIM_MS} ms: {met}")
    sent = sum(answer.what == SCAN for answer in answers)
    console.print(f"scans sent {sent}, warm-up included; recorded {recorded}")
    return not any(wrong.values()) and sent == recorded


def main(length_s: float) -> bool:
    """Print how long answers take; whether all of them were good."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as name:
        Path(name).chmod(0o711)
        settings = Settings.from_environment({"SUYUAN_DATA": str(Path(name) / "data")})
        with open_ledger(settings) as ledger:
            terminals = _terminals(ledger)
        with serving(settings, os.cpu_count() or 1) as port:
            terminals = [_prepared(port, terminal) for terminal in terminals]
            answers = _loaded(port, terminals, length_s)
            good = _print(console, answers, _sales(settings))
        Cluster(settings.data).stopped()
    return good


if __name__ == "__main__":
    sys.exit(not main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
