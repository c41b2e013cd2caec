"""`suyuan demo`: everything once, on a scratch database that is gone afterwards.

Real parts only: the embedded PostgreSQL, the HTTP capture, the worker, the audit. The one thing that no user can do,
changing a stored byte, is done as the database's superuser.
"""

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import psycopg
import uvicorn
from rich.console import Console
from rich.progress import track

from api.app import create_app
from api.city import file_tables
from api.ledger import Ledger, now, open_ledger
from ledger.access import Role
from ledger.audit import audit
from ledger.codes import key_of_code
from ledger.credentials import issue
from ledger.embedded import SUPERUSER, Cluster
from ledger.errors import LedgerDamaged
from ledger.nodes import OPERATOR
from ledger.registers import NODE, PARTY
from ledger.registry import Purpose, Record, Wanted, listing, reading_request
from ledger.settings import Settings
from ledger.trace import Direction, trace
from ledger.worker import integrate_now
from reports.trace import to_tree
from scanners.city import EVENTS_A_LINE, OFFSET, City, write

SEED = 20261123
EXAMPLES = Path(__file__).parents[1] / "tests" / "vectors" / "epcis"


def run(console: Console, events: int) -> None:
    """The whole demonstration; `LedgerDamaged` if the ledger does not do what it promises."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="suyuan-demo-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # ours and new; as root, the database's ordinary user has to pass through it
        settings = Settings.from_environment({"SUYUAN_DATA": str(folder / "data")})
        cluster = Cluster(settings.data)
        console.rule("1 启动 start")
        with open_ledger(settings, worker=True) as ledger:
            console.print("PostgreSQL runs on a scratch folder; the ledger has its key and its first two entries")
            slip = _capture(console, ledger, events, folder / "city")
            _trace(console, ledger, slip)
            _registry(console, ledger)
            _tamper(console, ledger, cluster)
        cluster.stopped()
    console.rule("")
    console.print(f"done in {time.monotonic() - began:.0f} s. What to try next:")
    console.print(
        "  suyuan node add 330212001 市场 --scheme A        register a node\n"
        "  suyuan city make town; suyuan city load town     a whole city, with what is wrong in it\n"
        "  suyuan capture tests/vectors/epcis/*.jsonld      record events from files\n"
        '  suyuan trace "(01)06901234500202(10)P1"        ask for a lot\n'
        "  suyuan serve                                     the same over HTTP: see /openapi.json\n"
        "  suyuan audit                                     compute everything again",
        markup=False, highlight=False,
    )  # fmt: skip


def _city(events: int) -> City:
    return City(SEED, datetime.now(OFFSET).date(), nodes=12, events=events, plant_every=0)


def _capture(console: Console, ledger: Ledger, events: int, folder: Path) -> str:
    """A city's registers are filed, its day is captured over HTTP; the code of a slip to ask for."""
    console.rule("2 备案与采集 file and capture")
    city = City(SEED, datetime.now(OFFSET).date(), events=events)
    write(city, folder, lambda *_: None)
    filed = sum(part.new for _, part in file_tables(ledger, folder, lambda *_: None))
    console.print(f"{filed} records of a simulated city are filed: regions, nodes, goods, parties, licences, products")
    with ledger.database.read() as connection:
        request, _, key = issue(connection, Role.ADMIN, "demo", [], 1, OPERATOR.name, now())
    ledger.record(request)
    with _served(ledger) as url, httpx.Client(base_url=url, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        examples = sorted(EXAMPLES.glob("*.jsonld"))
        for path in examples:
            _post(client, path.read_bytes())
        console.print(f"{len(examples)} example documents of tests/vectors/epcis are recorded")
        with (folder / "events.jsonl").open("rb") as lines:
            total, at = -(-events // EVENTS_A_LINE), time.monotonic()
            for line in track(lines, "a day of the city", total=total, console=console, transient=True):
                _post(client, line)
        took = time.monotonic() - at
    integrate_now(ledger.database, ledger.keys, ledger.signer)
    console.print(f"{events} events of the city's day are recorded: {events / took:.0f} a second, one client")
    return city.slips[0]


def _post(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/capture", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code != 202 or not answer.json()["success"]:
        raise LedgerDamaged(f"the capture was refused: {answer.text[:500]}")


@contextlib.contextmanager
def _served(ledger: Ledger) -> Iterator[str]:
    """The application on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(ledger), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _trace(console: Console, ledger: Ledger, slip: str) -> None:
    """From a slip back to its farms, then forward to everyone else who bought of the same lot."""
    console.rule("3 追溯 trace")
    with ledger.database.read() as connection:
        backward = trace(connection, key_of_code(slip), Direction.BACKWARD, OPERATOR)
        console.print(f"a customer's slip {slip}, back to its farms:")
        console.print(to_tree(backward))
        lot = next(item.key for item in backward.items.values() if item.level == -1)
        forward = trace(connection, lot, Direction.FORWARD, OPERATOR)
    sales = [step for step in forward.steps.values() if step.business_step == "retail_selling"]
    places = {step.event["readPoint"]["id"] for step in forward.steps.values()}
    console.print(
        f"\nforward from the lot it was sold of, {lot}: {len(sales) - 1} other customers' slips, "
        f"goods of it at {len(places)} places, {len(forward.open_ends)} ends still open"
    )


def _registry(console: Console, ledger: Ledger) -> None:
    """A stall: masked, then shown for a purpose, which is an entry."""
    console.rule("4 实名登记 the registry of real names")
    with ledger.database.read() as connection:
        (one,) = listing(connection, ledger.vault, PARTY, Wanted({"kinds": "retailer"}), None, 1)
    for shown, told in ((one.shown(), "masked, as most readers see it"), (one.shown(private=True), _look(ledger, one))):
        console.print(f"{shown['party']} {shown['legal_name']} {shown['phone']}: {told}")


def _look(ledger: Ledger, one: Record) -> str:
    (place,) = ledger.record(reading_request(OPERATOR, [one], Purpose.INSPECTION, now()))
    return f"shown for an inspection, which is entry {place.seq} of the city's chain"


def _tamper(console: Console, ledger: Ledger, cluster: Cluster) -> None:
    console.rule("5 篡改与审计 tamper and audit")
    with ledger.database.read() as connection:
        market = listing(connection, ledger.vault, NODE, Wanted({"kind": "market"}), None, 1)[0]
    node, seq = int(market.row["node"]), 17
    with psycopg.connect(cluster.url(SUPERUSER), autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")  # past the triggers, as only a superuser can
        superuser.execute(
            "UPDATE entry SET data = set_byte(data, 300, get_byte(data, 300) # 1) WHERE node = %s AND seq = %s",
            [node, seq],
        )
    console.print(f"one bit of entry {node:09d}/{seq} was changed as the database's superuser; the audit says:")
    report = audit(ledger.database, ledger.keys.verifiers(), ledger.keys.last_checkpoint(), vault=ledger.vault)
    for disagreement in report.disagreements:
        console.print(f"  {disagreement}", style="red", markup=False, highlight=False, soft_wrap=True)
    wrong = f"entry {node:09d}/{seq}"
    if not any(d.where == wrong for d in report.disagreements):
        raise LedgerDamaged("the audit did not find the changed entry")
    console.print(f"{report.entries} entries checked")
