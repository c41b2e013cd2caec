"""The lookout: the watcher in a process of its own, so that watching takes no time from answering.

`looking_out` starts it, starts it again where it died, and ends it; it ends by itself when whoever started it is gone.
One leads in the whole installation, by an advisory lock, as the integrator does.
"""

import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from ledger.database import Database
from ledger.settings import Settings
from ledger.watcher import Watcher

LOOKOUT_LOCK = 0x5352
POLL_S = 0.05
WAIT_S = 1.0
STOP_S = 30
GONE_S = 10
"""How long it may take to end when whoever started it is gone; what it was doing is followed again."""
LOOK_S = 0.2
AGAIN_S = 1.0
"""One that died is started again after so long."""
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
            except Exception as error:
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
    """A lookout process while the context lasts: another one where it died."""
    given = json.dumps({"url": database.url, "zone": settings.zone.key}) + "\n"
    ending = threading.Event()
    keeper = threading.Thread(target=_keep, args=[given, ending], name="lookout")
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()


def _keep(given: str, ending: threading.Event) -> None:
    """Have a lookout until the end, at most one a second."""
    while not ending.is_set():
        try:
            with _process(given) as process:
                while process.poll() is None and not ending.wait(LOOK_S):
                    pass
            if not ending.is_set():
                _log.error("the lookout ended with status %s; another one is started", process.returncode)
        except OSError as error:
            _log.error("the lookout cannot be started: %s", error)
        ending.wait(AGAIN_S)


@contextlib.contextmanager
def _process(given: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own session: what ends this one, from a terminal too, ends it by the end of its input."""
    command = [sys.executable, "-m", "ledger.lookout"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, bufsize=0)
    with contextlib.ExitStack() as ends:
        ends.callback(_end, process)
        if process.stdin is not None:
            process.stdin.write(given.encode())  # not in its arguments: the URL may hold a password
        yield process


def _end(process: subprocess.Popen[bytes]) -> None:
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
    time.sleep(GONE_S)
    os._exit(1)  # it waits for a database that may never answer


def main() -> None:
    """The process: what to watch comes on the first line of its input, and the end of its input ends it."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    if not (line := sys.stdin.readline()):
        return  # whoever started it ended at once
    given = json.loads(line)
    os.nice(NICE)
    with contextlib.suppress(OSError):  # on Linux a session has a niceness of its own
        Path("/proc/self/autogroup").write_text(str(NICE))
    gc.set_threshold(50_000, 20, 100)  # what is told are trees, which reference counts free
    lookout = Lookout(Database(given["url"]), ZoneInfo(given["zone"]))
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for whoever started it, who then ends it
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_until_the_end, args=[lookout], daemon=True).start()
    lookout.run()


if __name__ == "__main__":
    main()
