"""How fast capture is, beside what PostgreSQL itself takes: `make bench`.

In one run and on the same scratch database, several rounds of:
  ours     1,000-event documents as bytes: parsed, checked against the standard, drafted, numbered, hashed, committed;
  floor    the very same rows of all four tables, encoded beforehand, by binary COPY and commit, a document each;
  entry    the rows of `entry` alone, in the same way.
Each side works with one process, and with as many as there are cores; the medians of the rounds are compared. Machines
are noisy, so only the ratios mean something. The aim is 0.40 of the floor.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table

from api.app import tune_runtime
from api.ledger import now
from ledger import append, rows
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import TraceScheme, parse_node
from ledger.database import Database
from ledger.documents import read_document, write_json
from ledger.embedded import APPLICATION, OWNER, SUPERUSER, Cluster
from ledger.lanes import Lanes
from ledger.nodes import OPERATOR, add_node, first_nodes, places_of
from ledger.rights import migrate
from scanners.city import City, document

EVENTS, DOCUMENTS, ROUNDS = 1_000, 20, 5
UNDER_WAY = 3
"""Documents a process has under way at once: while one is committed the next is prepared."""


def documents(seed: int, part: int) -> list[bytes]:
    """Documents of a generated day in one `part` of the city: processes that share no node wait for nobody."""
    events = _city(seed, part).events()
    batches = [[next(events) for _ in range(EVENTS)] for _ in range(DOCUMENTS)]
    return [write_json(document(batch, now())) for batch in batches]


def _city(seed: int, part: int) -> City:
    return City(seed, date(2026, 11, 23), events=EVENTS * DOCUMENTS, plant_every=0, region=f"33{2 + part:02d}")


def _ours(url: str, seed: int, part: int, ready: Barrier) -> None:
    """One process: documents in, places out."""
    database = Database(url)
    tune_runtime()
    given = documents(seed, part)
    lanes = Lanes(database, 1, now)
    with database.read() as connection:
        known = places_of(connection, OPERATOR)
    slots = threading.Semaphore(UNDER_WAY)
    ready.wait()
    for data in given:
        slots.acquire()
        (request,) = requests_of(read_document(data), OPERATOR, known, ErrorBehaviour.ROLLBACK, b"")
        lanes.submit(request).add_done_callback(lambda _: slots.release())
    lanes.close()
    ready.wait()


def _floor(url: str, batches: list[dict[str, bytes]], ready: Barrier) -> None:
    """One process: rows that are ready, by COPY."""
    with Database(url).connect() as connection:
        ready.wait()
        for batch in batches:
            with connection.cursor() as cursor:
                for table, data in batch.items():
                    with cursor.copy(rows.COPY[table]) as copy:
                        copy.write(data)
            connection.commit()
    ready.wait()


def _encoded(database: Database, seed: int, part: int) -> list[dict[str, bytes]]:
    """The rows that `_ours` writes for these documents, as it sends them: taken while they are written for real."""
    batches: list[dict[str, bytes]] = []
    original = append._copy

    def keep(connection: psycopg.Connection, batch: append._Batch) -> None:
        ids = [row for _, row in sorted(batch.event_id)]
        parts = {"event_id": ids, "entry": batch.entry, "event": batch.event, "item_entry": batch.item_entry}
        batches.append({table: rows.HEADER + b"".join(some) + rows.TRAILER for table, some in parts.items()})
        original(connection, batch)

    append._copy = keep
    try:
        with database.read() as reading, database.connect() as connection:
            known = places_of(reading, OPERATOR)
            for data in documents(seed, part):
                append.append(
                    connection, requests_of(read_document(data), OPERATOR, known, ErrorBehaviour.ROLLBACK, b""), now
                )
    finally:
        append._copy = original
    return batches


def _timed(work: Callable[..., None], arguments: list[tuple[object, ...]]) -> float:
    """Seconds from when all processes are ready until all are done."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(arguments) + 1)
    processes = [context.Process(target=work, args=(*given, ready)) for given in arguments]
    for process in processes:
        process.start()
    ready.wait()
    began = time.perf_counter()
    ready.wait()
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    return took


@contextmanager
def _database() -> Iterator[tuple[Database, Cluster]]:
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as name:
        Path(name).chmod(0o711)
        cluster = Cluster(Path(name) / "data")
        with cluster.lease():
            database = Database(cluster.url(APPLICATION), cluster.url(OWNER))
            migrate(database)
            yield database, cluster
            database.close()
        cluster.stopped()


def _empty(cluster: Cluster) -> None:
    """Give every side the same empty tables."""
    with psycopg.connect(cluster.url(SUPERUSER), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE entry, event, event_id, item_entry")
        connection.execute("UPDATE head SET seq = 0, hash = decode(repeat('00', 32), 'hex')")
        connection.execute("CHECKPOINT")


def _register(database: Database, processes: int) -> None:
    lanes = Lanes(database, 1, now)
    with database.read() as connection:
        lanes.record(first_nodes(connection))
    codes = [node["node"] for part in range(processes) for node in _city(0, part).nodes()]
    lanes.record(
        [add_node(parse_node(code), "bench", TraceScheme.OPERATOR_SERIAL, [], OPERATOR.name) for code in codes]
    )
    lanes.close()


def _size(cluster: Cluster) -> tuple[int, int]:
    with psycopg.connect(cluster.url(SUPERUSER)) as connection:
        query = "SELECT sum(pg_total_relation_size(t::regclass))::bigint FROM unnest(%s::text[]) AS t"
        size = connection.execute(query, [["entry", "event", "event_id", "item_entry"]]).fetchone()
        count = connection.execute("SELECT count(*) FROM entry").fetchone()
    return (size[0] if size else 0), (count[0] if count else 0)


def main(most: int) -> None:
    """Print the rates of one process and of as many as there are cores, and how they compare."""
    console = Console()
    took: dict[tuple[str, int], list[float]] = {}
    counts = sorted({1, most})
    with _database() as (database, cluster):
        url = database.url
        _register(database, most)
        for number in track(range(ROUNDS), "rounds", console=console, transient=True):
            _empty(cluster)
            seeds = [(number * most + part, part) for part in range(most)]
            encoded = [_encoded(database, *seed) for seed in seeds]
            alone = [[{"entry": one["entry"]} for one in batches] for batches in encoded]
            size, count = _size(cluster)
            for processes in counts:
                sides: dict[str, tuple[Callable[..., None], list[tuple[object, ...]]]] = {
                    "capture": (_ours, [(url, *seed) for seed in seeds[:processes]]),
                    "COPY of the same rows": (_floor, [(url, batches) for batches in encoded[:processes]]),
                    "COPY into entry alone": (_floor, [(url, batches) for batches in alone[:processes]]),
                }
                for side, (work, given) in sides.items():
                    _empty(cluster)
                    took.setdefault((side, processes), []).append(_timed(work, given))
    _print(console, took, counts, size / count)


def _print(console: Console, took: dict[tuple[str, int], list[float]], counts: list[int], bytes_each: float) -> None:
    rate: dict[tuple[str, int], float] = {}
    table = Table("side", "processes", "events/s, median", "least", "most", title=f"{ROUNDS} rounds in one run")
    for (side, processes), times in sorted(took.items(), key=lambda item: item[0][1]):
        events = EVENTS * DOCUMENTS * processes
        rate[side, processes] = events / statistics.median(times)
        least, most = events / max(times), events / min(times)
        table.add_row(side, str(processes), f"{rate[side, processes]:,.0f}", f"{least:,.0f}", f"{most:,.0f}")
    console.print(table)
    for ours, theirs in sorted({(1, 1), (counts[-1], 1), (counts[-1], counts[-1])}):
        for side in ("COPY of the same rows", "COPY into entry alone"):
            ratio = rate["capture", ours] / rate[side, theirs]
            console.print(f"capture in {ours} process(es) against {side} in {theirs}: {ratio:.2f}")
    console.print(f"bytes an event, tables and indexes: {bytes_each:,.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1)
