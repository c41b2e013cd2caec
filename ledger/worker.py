"""What follows the chains: the integrator and the minute tick, one leader in the whole installation.

A worker runs inside `suyuan serve` or as a process of its own; an advisory lock decides who leads, and when the
leader's connection ends, for whatever reason, another takes over from what is committed.
"""

import logging
import re
import secrets
import threading
import time

import psycopg

from ledger.append import Clock, Request, append
from ledger.codes import CITY
from ledger.database import Database
from ledger.drafts import draft, draft_once, tick_name
from ledger.entries import Kind, time_text
from ledger.errors import Conflict, LedgerError, Unavailable
from ledger.keys import KeyFolder
from ledger.log import Integrator, begin_anew, require_present_key
from ledger.notes import Signer

LEADER_LOCK = 0x5357
POLL_S = 0.1
FOLLOW_S = 1.0
WAIT_FOR_LEADER_S = 60
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
        while not self._stopping.is_set():
            try:
                self._lead()
            except (LedgerError, psycopg.Error, OSError, ValueError) as error:  # the last two: the key folder's files
                trouble = str(error).strip()
                if trouble != self.trouble:  # once, not every second
                    _log.error("the log is not being signed: %s", trouble)
                self.trouble = trouble
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
            ticked = ""
            while not self._stopping.is_set():
                busy = integrator.step()
                self.trouble = None
                minute = time_text(self._clock().replace(second=0, microsecond=0))
                if minute > ticked:  # also where the clock is set back
                    self._tick(minute, integrator.published)
                    ticked = minute
                if not busy:
                    self._stopping.wait(POLL_S)

    def _tick(self, minute: str, size: int) -> None:
        """Record that a minute began and how far the log was signed; a minute is ticked once, and never afterwards."""
        body = {"tick": {"minute": minute, "checkpoint": {"size": size}}}
        tick = draft_once(CITY, Kind.TICK, body, tick_name(minute), secrets.token_bytes)
        with self._database.connect() as connection:
            append(connection, [Request([tick], WORKER)], self._clock)


def integrate_now(database: Database, keys: KeyFolder, signer: Signer) -> None:
    """Return once all that is recorded now is in the signed log: by us, or by the worker that leads.

    `LogRolledBack` as `Integrator`; `Unavailable` if another leader does not get on with it.
    """
    deadline = time.monotonic() + WAIT_FOR_LEADER_S
    integrator = None
    with database.connect() as connection:
        connection.autocommit = True
        heads = connection.execute("SELECT node, seq FROM head WHERE seq > 0").fetchall()
        recorded = [[node for node, _ in heads], [seq for _, seq in heads]]
        while integrator is not None or time.monotonic() < deadline:
            if integrator is not None:
                integrator.step()
            elif connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LEADER_LOCK]).fetchone() == (True,):
                integrator = Integrator(connection, keys, signer)
                continue
            if connection.execute(_ALL_SIGNED, recorded).fetchone() == (True,):
                return
            if integrator is None:
                time.sleep(POLL_S)
    raise Unavailable("the worker that leads does not sign the log; look at its messages, or at /health/ready")


def replace_key(database: Database, keys: KeyFolder, signer: Signer, reason: str, actor: str, clock: Clock) -> Signer:
    """Retire the signing key, record why, and go on with a new one: also the decision to go on after a roll-back.

    The entry names the old key and the last checkpoint that it signed, so that whoever holds that one can tell.
    """
    if not re.fullmatch(r"[^\x00-\x1f\ud800-\udfff]{1,500}", reason):
        raise Conflict("give the reason in 1 to 500 characters: it is recorded and stays")
    with database.connect() as connection:
        held = connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LEADER_LOCK]).fetchone()
        connection.commit()
        if held != (True,):
            raise Conflict("a worker is signing with the present key; stop suyuan serve and suyuan worker first")
        require_present_key(keys, signer)
        successor = keys.replace(signer)
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
        begin_anew(connection, keys, successor)  # only now: the new key signs nothing before the decision is recorded
    integrate_now(database, keys, successor)
    return successor


_ALL_SIGNED = """
SELECT NOT EXISTS (
    SELECT FROM unnest(%b::int[], %b::bigint[]) AS h(node, seq) LEFT JOIN log_range r
    ON r.node = h.node AND r.first_seq <= h.seq AND h.seq < r.first_seq + r.count
    WHERE r.start IS NULL OR r.start + h.seq - r.first_seq >= (SELECT coalesce(max(size), 0) FROM checkpoint)
)
"""
