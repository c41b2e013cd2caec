"""What a pharmacy waits for, and how many there may be: verify and supply, beside an endpoint that only validates.

A real `suyuan serve` with one process, as many packs commissioned as the first argument says, and half of their batches
recalled, each with one row. Half the requests ask whether a pack may be sold, half sell one. They come at a steady 500
a second, due times fixed beforehand: an answer's time counts from when it was due. Then as fast as 32 connections get
answers. The same two ways an application of the same framework is asked that checks the same body and does nothing.
The aims: 50 ms for 99 of 100, and 0.35 of the rate of the one that only validates. The load comes from the same cores.
"""

import asyncio
import contextlib
import itertools
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import orjson
import uvicorn
from fastapi import Depends, FastAPI, Response
from rich.console import Console
from rich.table import Table

from api.bodies import parsed
from api.ledger import Ledger, now, open_ledger
from api.packs import PackBody
from ledger.access import Role
from ledger.capture import ErrorBehaviour, requests_of
from ledger.credentials import issue
from ledger.documents import read_document, write_json
from ledger.embedded import Cluster
from ledger.errors import LedgerError, Misconfigured
from ledger.filing import Line, file_lines
from ledger.nodes import OPERATOR, places_of
from ledger.packs.counter import CONTEXT
from ledger.registers import NODE, RECALL
from ledger.registers.form import Register
from ledger.registers.goods import PRODUCT
from ledger.settings import Settings
from loadtests.serving import serving

RATE, CONNECTIONS, EVENT_PACKS, BATCHES = 500, 128, 10_000, 10
AIM_MS, AIM_RATIO = 50, 0.35
PLANT, SHOP, GTIN = "330212021", "330212023", "06901234500301"
Ask = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Load:
    """Where requests go and what they are."""

    port: int
    asks: tuple[Ask, ...]


# --- The city and its packs -----------------------------------------------------------------------


def _file(ledger: Ledger, register: Register, *records: Mapping[str, object]) -> None:
    lines = [Line(number, one) for number, one in enumerate(records, 2)]
    for done in file_lines(ledger.database, ledger.lanes.record, ledger.registrar(OPERATOR), register, lines):
        if done.refusals:
            raise Misconfigured(str(done.refusals[0]))


def _prepare(ledger: Ledger, packs: int, console: Console) -> str:
    """Packs in ten batches, five of them recalled; the shop's key."""
    _file(ledger, NODE, *({"node": node, "name": "药", "trace_scheme": "A"} for node in (PLANT, SHOP)))
    _file(ledger, PRODUCT, {"product": GTIN, "name": "阿莫西林胶囊", "kind": "drug"})
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
        request, _, key = issue(connection, Role.PHARMACY, "bench", [SHOP], 1, OPERATOR.name, now())
    ledger.record(request)
    began = time.monotonic()
    for start in range(0, packs, EVENT_PACKS):
        batch = start // EVENT_PACKS % BATCHES
        serials = [f"S{number}" for number in range(start, min(packs, start + EVENT_PACKS))]
        event = {
            "@context": CONTEXT, "type": "ObjectEvent", "action": "ADD", "bizStep": "commissioning",
            "eventTime": now().isoformat(), "eventTimeZoneOffset": "+00:00",
            "readPoint": {"id": f"urn:suyuan:node:{PLANT}"}, "epcList": [_uri(serial) for serial in serials],
            "ilmd": {"cbvmda:lotNumber": f"B{batch}", "cbvmda:itemExpirationDate": "2035-01-31"},
        }  # fmt: skip
        document = read_document(write_json(event))
        for outcome in ledger.lanes.record(
            requests_of(document, OPERATOR, places, ErrorBehaviour.ROLLBACK, ledger.secret)
        ):
            if isinstance(outcome, LedgerError):
                raise outcome
    took = time.monotonic() - began
    console.print(f"{packs} packs commissioned in {took:.1f} s, {packs / took:.0f} a second")
    recalled = [f"B{batch}" for batch in range(BATCHES // 2)]
    began = time.monotonic()
    _file(ledger, RECALL, {
        "recall": "BENCH-1", "product": GTIN, "batches": recalled, "grade": "1", "origin": "ordered", "nature": "real",
        "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    })  # fmt: skip
    console.print(f"half of them recalled with one row in {(time.monotonic() - began) * 1000:.0f} ms")
    return key


def _uri(serial: str) -> str:
    return f"https://id.gs1.org/01/{GTIN}/21/{serial}"


# --- The application that only validates ----------------------------------------------------------


def _validate(port: int) -> None:
    app = FastAPI()

    @app.post("/packs/{code:path}/supply", status_code=201)
    async def supply(code: str, _: Annotated[PackBody, Depends(parsed(PackBody))]) -> Response:
        return Response(write_json({"code": code}), 201, media_type="application/json")

    @app.get("/packs/{code:path}")
    async def verify(code: str) -> Response:
        return Response(write_json({"code": code}), media_type="application/json")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


@contextlib.contextmanager
def _validating() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(target=_validate, args=(port,), daemon=True)
    process.start()
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    yield port
    process.terminate()
    process.join()


# --- The load -------------------------------------------------------------------------------------


def _asks(key: str, packs: int) -> tuple[Ask, ...]:
    """Verify any pack; sell one that nobody has sold, of a batch that is not recalled."""
    head = f"Host: bench\r\nAuthorization: Bearer {key}\r\n"
    unsold = iter([n for n in range(packs) if n // EVENT_PACKS % BATCHES >= BATCHES // 2])
    some = itertools.count(step=7919)

    def verify() -> bytes:
        path = quote(_uri(f"S{next(some) % packs}"), safe="")
        return f"GET /packs/{path} HTTP/1.1\r\n{head}\r\n".encode()

    def supply() -> bytes:
        path = quote(_uri(f"S{next(unsold)}"), safe="")
        body = orjson.dumps({"scan": str(uuid.uuid4()), "node": SHOP, "at": now().isoformat()})
        start = f"POST /packs/{path}/supply HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
        return f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return verify, supply


class _Connection:
    """One connection that is kept, as a terminal keeps its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """The status of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        return int(head[9:12])


async def _steady(load: Load, length_s: float) -> tuple[list[float], int]:
    """Milliseconds from when each was due, and how many were not answered as they should be."""
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(200):
        free.put_nowait(_Connection(load.port))
    took: list[float] = []
    wrong = 0
    begin = time.monotonic() + 0.5

    async def one(number: int) -> None:
        nonlocal wrong
        due = begin + number / RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        connection = await free.get()
        status = await connection.ask(load.asks[number % len(load.asks)]())
        free.put_nowait(connection)
        if due - begin >= 2:  # what comes before warms up
            took.append((time.monotonic() - due) * 1000)
        wrong += status not in (200, 201)

    await asyncio.gather(*(one(number) for number in range(int(RATE * (length_s + 2)))))
    return took, wrong


async def _fastest(load: Load, length_s: float) -> float:
    """Answers a second, with so many connections that ask again at once."""
    end = time.monotonic() + length_s
    done = 0

    async def crew() -> None:
        nonlocal done
        connection = _Connection(load.port)
        for ask in itertools.cycle(load.asks):
            if time.monotonic() > end:
                return
            await connection.ask(ask())
            done += 1

    await asyncio.gather(*(crew() for _ in range(CONNECTIONS)))
    return done / length_s


def main(packs: int, length_s: float) -> bool:
    """Print how long answers take and how many there can be; whether all of them were good."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as name:
        Path(name).chmod(0o711)
        settings = Settings.from_environment({"SUYUAN_DATA": str(Path(name) / "data")})
        with open_ledger(settings) as ledger:
            key = _prepare(ledger, packs, console)
        table = Table("", "p50 ms", "p99 ms", "wrong", "most a second")
        rates: list[float] = []
        good = True
        for what, server in (("packs", serving(settings, 1)), ("only validates", _validating())):
            with server as port:
                load = Load(port, _asks(key, packs))
                took, wrong = asyncio.run(_steady(load, length_s))
                rates.append(asyncio.run(_fastest(load, length_s / 2)))
            cuts = statistics.quantiles(took, n=100, method="inclusive")
            table.add_row(what, f"{cuts[49]:.1f}", f"{cuts[98]:.1f}", str(wrong), f"{rates[-1]:.0f}")
            good &= not wrong
        Cluster(settings.data).stopped()
    table.title = f"{RATE} a second, half verify, half supply; {packs} packs"
    console.print(table)
    console.print(
        f"rate against only validating: {rates[0] / rates[1]:.2f} (aim {AIM_RATIO}); aim for p99: {AIM_MS} ms"
    )
    return good


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *("100000", "10")[len(sys.argv) - 1 :]]
    sys.exit(not main(int(arguments[0]), float(arguments[1])))
