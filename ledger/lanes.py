"""Group commit: requests of many writers are recorded together, on several lanes side by side.

A lane is a thread with a connection. It takes whatever has gathered while its last transaction ran (no timer: an idle
ledger commits at once, a busy one in larger batches) and calls `append`. A node's requests always go to the same lane
of a process; between processes the database's locks decide. What waits is bounded: beyond that, `Busy`.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import psycopg

from ledger.append import Clock, Outcome, Request, append
from ledger.database import Database
from ledger.errors import Busy, LedgerError, Unavailable
from ledger.notes import Recorded

BATCH_ENTRIES_MAX = 4_000
WAITING_ENTRIES_MAX = 40_000
"""A lane's backlog: about two seconds of work."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    request: Request
    answer: "Future[list[Recorded]]"


class Lanes:
    """A process's writers. `close` finishes what waits."""

    def __init__(self, database: Database, count: int, clock: Clock) -> None:
        self._lanes = [_Lane(database, clock, number) for number in range(count)]

    def submit(self, request: Request) -> "Future[list[Recorded]]":
        """The places of the request's entries, once they are on disk; or the `LedgerError` that rejects it.

        `Busy` at once if too much waits.
        """
        node = min((draft.node for draft in request.drafts), default=0)
        return self._lanes[node % len(self._lanes)].submit(request)

    def record(self, requests: Sequence[Request]) -> list[Outcome]:
        """Submit all and wait: an outcome for each, in order."""
        answers = [self.submit(request) for request in requests]
        outcomes: list[Outcome] = []
        for answer in answers:
            try:
                outcomes.append(answer.result())
            except LedgerError as error:
                outcomes.append(error)
        return outcomes

    def close(self) -> None:
        """Record what waits, then let the connections go."""
        for lane in self._lanes:
            lane.close()


class _Lane:
    def __init__(self, database: Database, clock: Clock, number: int) -> None:
        self._database, self._clock = database, clock
        self._arrived: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._held: deque[_Waiting] = deque()
        self._entries = 0
        self._lock = threading.Lock()
        self._closed = False
        self._connection: psycopg.Connection | None = None
        self._thread = threading.Thread(target=self._run, name=f"lane-{number}", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> "Future[list[Recorded]]":
        with self._lock:
            if self._closed:
                raise Unavailable("the ledger is shutting down; send this again to the next process")
            if self._entries and self._entries + len(request.drafts) > WAITING_ENTRIES_MAX:
                raise Busy(f"{self._entries} entries wait to be written already; send this again in a second")
            self._entries += len(request.drafts)
            waiting = _Waiting(request, Future())
            self._arrived.put(waiting)
            return waiting.answer

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._arrived.put(None)
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            with self._lock:
                self._entries -= sum(len(waiting.request.drafts) for waiting in batch)
            # Whoever gave up meanwhile is left out; from here on nobody can.
            if batch := [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]:
                self._record(batch)

    def _gather(self) -> list[_Waiting] | None:
        """What waits, up to a batch's size; blocks while nothing does; None at the end."""
        first = self._held.popleft() if self._held else self._arrived.get()
        if first is None:
            return None
        batch, size = [first], len(first.request.drafts)
        while size < BATCH_ENTRIES_MAX:
            try:
                following = self._arrived.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._arrived.put(None)  # the end, for the next round
                break
            size += len(following.request.drafts)
            if size > BATCH_ENTRIES_MAX:
                self._held.append(following)
                break
            batch.append(following)
        return batch

    def _record(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = append(self._connected(), [waiting.request for waiting in batch], self._clock)
        except Exception as error:
            if isinstance(error, psycopg.Error) and len(batch) > 1 and not self._lost():
                for waiting in batch:  # one request spoils the batch for all: each is tried alone
                    self._record([waiting])
                return
            refusal = _refusal(error)
            for waiting in batch:
                waiting.answer.set_exception(refusal)
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, LedgerError):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._lost():
            self._connection = self._database.connect()
        return self._connection

    def _lost(self) -> bool:
        return self._connection is None or self._connection.closed or self._connection.broken


def _refusal(error: Exception) -> LedgerError:
    if isinstance(error, LedgerError):
        return error
    _log.error("a batch could not be recorded", exc_info=error)
    if isinstance(error, psycopg.OperationalError):
        return Unavailable("the connection to the database was lost; send the same request again, it is safe")
    return Unavailable("the database refused to write this; nothing of it was written")
