"""What follows the chains: the integrator and the minute tick, one leader in the whole installation.

A worker runs inside `suyuan serve` or as a process of its own; an advisory lock decides who leads, and when the
leader's connection ends, for whatever reason, another takes over from what is committed.
"""

import logging
import re
import secrets
import threading
import time
from datetime import datetime, timedelta

import psycopg

from ledger.append import Clock, Request, append
from ledger.codes import CITY
from ledger.database import Database
from ledger.drafts import draft, draft_once, tick_name
from ledger.entries import Kind, time_text
from ledger.errors import Conflict, LedgerError, Unavailable
from ledger.keys import KeyFolder
from ledger.log import Integrator, begin_anew
from ledger.notes import Signer

LEADER_LOCK = 0x5357
POLL_S = 0.1
FOLLOW_S = 1.0
WAIT_FOR_LEADER_S = 60
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


def integrate_now(database: Database, keys: KeyFolder, signer: Signer) -> None:
    """Return once all that is recorded now is in the signed log: by us, or by the worker that leads.

    `LogRolledBack` as `Integrator`; `Unavailable` if another leader does not get on with it.
    """
    deadline = time.monotonic() + WAIT_FOR_LEADER_S
    with database.connect() as connection:
        connection.autocommit = True
        while time.monotonic() < deadline:
            if connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LEADER_LOCK]).fetchone() == (True,):
                integrator = Integrator(connection, keys, signer)
                while integrator.step():
                    pass
                return
            if connection.execute(_ALL_SIGNED).fetchone() == (True,):
                return
            time.sleep(POLL_S)
    raise Unavailable("the worker that leads does not sign the log; look at its messages, or at /health/ready")


def replace_key(database: Database, keys: KeyFolder, signer: Signer, reason: str, actor: str, clock: Clock) -> Signer:
    """Retire the signing key, record why, and go on with a new one: also the decision to go on after a roll-back.

    The entry names the old key and the last checkpoint that it signed, so that whoever holds that one can tell.
    """
    if not re.fullmatch(r"[^\x00-\x1f]{1,500}", reason):
        raise Conflict("give the reason in 1 to 500 characters: it is recorded and stays")
    with database.connect() as connection:
        held = connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LEADER_LOCK]).fetchone()
        connection.commit()
        if held != (True,):
            raise Conflict("a worker is signing with the present key; stop suyuan serve and suyuan worker first")
        successor = keys.replace(signer)
        begin_anew(connection, keys, successor)
        body = {
            "decision": {
                "key": str(signer.verifier), "checkpoint": keys.retired_note(signer), "successor":
                str(successor.verifier), "reason": reason,
            }
        }  # fmt: skip
        decided = draft(CITY, Kind.DECISION, body, secrets.token_bytes)
        (outcome,) = append(connection, [Request([decided], actor)], clock)
        if not isinstance(outcome, list):
            raise outcome
    integrate_now(database, keys, successor)
    return successor


_ALL_SIGNED = """
SELECT NOT EXISTS (SELECT FROM head h LEFT JOIN log_cursor c USING (node) WHERE h.seq > coalesce(c.seq, 0))
   AND (SELECT coalesce(max(size), 0) FROM checkpoint) = (SELECT coalesce(max(start + count), 0) FROM log_range)
"""
