"""What follows the chains: the integrator and the minute tick, one leader in the whole installation.

A worker runs inside `suyuan serve` or as a process of its own; an advisory lock decides who leads, and when the
leader's connection ends, for whatever reason, another takes over from what is committed.
"""

import logging
import secrets
import threading
from datetime import datetime, timedelta

import psycopg

from ledger.append import Clock, Request, append
from ledger.codes import CITY
from ledger.database import Database
from ledger.drafts import draft_once, tick_name
from ledger.entries import Kind, time_text
from ledger.errors import LedgerError
from ledger.keys import KeyFolder
from ledger.log import Integrator
from ledger.notes import Signer

LEADER_LOCK = 0x5357
POLL_S = 0.1
FOLLOW_S = 1.0
TICK = timedelta(minutes=1)
WORKER = "worker"

_log = logging.getLogger(__name__)


class Worker:
    """Follows the chains until `stop()`. `run` is the body of a thread or of a process."""

    def __init__(self, database: Database, keys: KeyFolder, signer: Signer, clock: Clock) -> None:
        self._database, self._keys, self._signer, self._clock = database, keys, signer, clock
        self._stopping = threading.Event()
        self.trouble: str | None = None
        """Why the log is not being signed, for the health page; None while all is well."""

    def stop(self) -> None:
        """Let `run` return after what it is doing."""
        self._stopping.set()

    def run(self) -> None:
        """Lead when nobody else does. Errors are told and waited out, never the end."""
        told = None
        while not self._stopping.is_set():
            try:
                self._lead()
            except (LedgerError, psycopg.Error) as error:
                self.trouble = str(error).strip()
                if self.trouble != told:  # once, not every second
                    _log.error("the log is not being signed: %s", self.trouble)
                    told = self.trouble
            self._stopping.wait(FOLLOW_S)

    def _lead(self) -> None:
        """Be the leader, if nobody is, until told to stop or something fails."""
        with self._database.connect() as connection:
            connection.autocommit = True
            held = connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LEADER_LOCK]).fetchone()
            if held != (True,):
                self.trouble = None
                return
            integrator = Integrator(connection, self._keys, self._signer)
            self.trouble = None
            ticked = datetime.min.replace(tzinfo=self._clock().tzinfo)
            while not self._stopping.is_set():
                busy = integrator.step()
                now = self._clock()
                if now - ticked >= TICK or now.minute != ticked.minute:
                    self._tick(now, integrator.published)
                    ticked = now
                if not busy:
                    self._stopping.wait(POLL_S)

    def _tick(self, now: datetime, size: int) -> None:
        """Record that a minute began and how far the log was signed; a minute is ticked once, and never afterwards."""
        minute = time_text(now.replace(second=0, microsecond=0))
        body = {"tick": {"minute": minute, "checkpoint": {"size": size}}}
        tick = draft_once(CITY, Kind.TICK, body, tick_name(minute), secrets.token_bytes)
        with self._database.connect() as connection:
            append(connection, [Request([tick], WORKER)], self._clock)


def integrate_now(database: Database, keys: KeyFolder, signer: Signer) -> int:
    """Integrate and sign all that waits, as the demo and the command line need it; how many entries that were.

    Waits for another leader to end. `LogRolledBack` as `Integrator`.
    """
    with database.connect() as connection:
        connection.autocommit = True
        connection.execute("SELECT pg_advisory_lock(%s, 0)", [LEADER_LOCK])
        integrator = Integrator(connection, keys, signer)
        total = 0
        while taken := integrator.step():
            total += taken
        return total
