"""Questions that many ask at the same moment, answered together: one thread, one connection, one snapshot.

Whoever asks gets a future. What has gathered while the last round ran is the next round: an idle process answers at
once, a busy one with fewer and larger questions to the database. What waits is bounded: beyond that, `Busy`.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psycopg

from ledger.database import Database
from ledger.errors import Busy, LedgerError, Unavailable

Q = TypeVar("Q")
A = TypeVar("A")
ROUND_MAX = 256
WAITING_MAX = 20_000
_CLOSED = "the ledger is shutting down; send this again to the next process"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Asked(Generic[Q, A]):
    """A question and where its answer goes; `tries` counts how often it was asked again."""

    question: Q
    answer: "Future[A]" = field(default_factory=Future)
    tries: int = 0


class Gathering(Generic[Q, A]):
    """Answers rounds of questions by `answer`, which sees to every future of a round, at once or later."""

    def __init__(
        self, name: str, database: Database, answer: Callable[[psycopg.Connection, list[Asked[Q, A]]], None]
    ) -> None:
        self._database, self._answer = database, answer
        self._waiting: queue.SimpleQueue[list[Asked[Q, A]] | None] = queue.SimpleQueue()
        self._connection: psycopg.Connection | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, question: Q) -> "Future[A]":
        """The answer, or the `LedgerError` instead of it, as a future."""
        return self.ask_all([question])[0]

    def ask_all(self, questions: Sequence[Q]) -> "list[Future[A]]":
        """The same for several that came together: they are handed over together."""
        if self._waiting.qsize() > WAITING_MAX:
            raise Busy(f"{WAITING_MAX} questions wait already; send this again in a second")
        asked: list[Asked[Q, A]] = [Asked(question) for question in questions]
        answers = [one.answer for one in asked]
        if not self._put(asked):
            raise Unavailable(_CLOSED)
        return answers

    def again(self, asked: Asked[Q, A]) -> None:
        """Answer this one in the next round."""
        asked.tries += 1
        if not self._put([asked]):
            asked.answer.set_exception(Unavailable(_CLOSED))

    def _put(self, asked: list[Asked[Q, A]]) -> bool:
        with self._lock:
            if not self._closed:
                self._waiting.put(asked)
            return not self._closed

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            asked = first
            while len(asked) < ROUND_MAX and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                asked += following
            # Whoever gave up meanwhile is left out; from here on nobody can. Who is asked again was let in before.
            self._round([one for one in asked if one.tries or one.answer.set_running_or_notify_cancel()])

    def _round(self, asked: list[Asked[Q, A]]) -> None:
        try:
            connection = self._connected()
            try:
                self._answer(connection, asked)
            finally:
                if not connection.closed:
                    connection.rollback()
        except Exception as error:
            if not isinstance(error, LedgerError):
                _log.error("questions could not be answered", exc_info=error)
            out = isinstance(error, psycopg.Error)
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(Unavailable("the database cannot be read right now") if out else error)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = self._database.connect()
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
        return self._connection
