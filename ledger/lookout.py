"""The lookout: the watcher in a process of its own, so that watching takes no time from answering.

`looking_out` starts it and ends it; it ends by itself when whoever started it is gone. One leads in the whole
installation, by an advisory lock, as the integrator does.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import psycopg

from ledger.database import Database
from ledger.errors import LedgerError
from ledger.settings import Settings
from ledger.watcher import Watcher

LOOKOUT_LOCK = 0x5352
POLL_S = 0.05
WAIT_S = 1.0
STOP_S = 30
NICE = 5
"""Answering goes before watching where processors are short."""
_log = logging.getLogger(__name__)


class Lookout:
    """Follows the log until `stop()`; `run` is the body of a process."""

    def __init__(self, database: Database, zone: ZoneInfo) -> None:
        self._database, self._zone = database, zone
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let `run` return after what it is doing."""
        self._stopping.set()

    def run(self) -> None:
        """Lead when nobody else does. Errors are told and waited out, never the end."""
        told = None
        while not self._stopping.is_set():
            try:
                self._lead()
                told = None
            except (LedgerError, psycopg.Error) as error:
                if str(error) != told:  # once, not every second
                    told = str(error)
                    _log.error("the log is not being watched: %s", told.strip())
            self._stopping.wait(WAIT_S)

    def _lead(self) -> None:
        with self._database.connect() as connection:
            connection.autocommit = True
            if connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LOOKOUT_LOCK]).fetchone() != (True,):
                return
            connection.execute("SET synchronous_commit = off")  # what a crash takes is followed again
            watcher = Watcher(connection, self._zone)
            while not self._stopping.is_set():
                if not watcher.step():
                    self._stopping.wait(POLL_S)


@contextlib.contextmanager
def looking_out(database: Database, settings: Settings) -> Iterator[None]:
    """A lookout process while the context lasts."""
    given = json.dumps({"url": database.url, "zone": settings.zone.key}) + "\n"
    process = subprocess.Popen([sys.executable, "-m", "ledger.lookout"], stdin=subprocess.PIPE, text=True)
    try:
        if process.stdin is not None:
            process.stdin.write(given)  # not in its arguments: the URL may hold a password
            process.stdin.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_the_end(lookout: Lookout) -> None:
    sys.stdin.read()
    lookout.stop()


def main() -> None:
    """The process: what to watch comes on the first line of its input, and the end of its input ends it."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    given = json.loads(sys.stdin.readline())
    os.nice(NICE)
    lookout = Lookout(Database(given["url"]), ZoneInfo(given["zone"]))
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for whoever started it, who then ends it
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_until_the_end, args=[lookout], daemon=True).start()
    lookout.run()


if __name__ == "__main__":
    main()
