"""The gate: who holds an API key. Keys that come at the same moment are asked for together, and each once a second.

So a revocation by another process counts within `FRESH_S`; by this process, at once. Keys are known by their hashes.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime

import psycopg

from ledger.access import Actor
from ledger.credentials import admit
from ledger.database import Database
from ledger.errors import NotSignedIn
from ledger.gather import Asked, Gathering

FRESH_S = 1.0
KNOWN_MAX = 10_000


class Gate(Gathering[str, Actor]):
    """A process's gate: asked for a key it answers who holds it, or `NotSignedIn` if nobody does, or not any more."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Actor, float]] = {}
        self._changes = 0
        super().__init__("gate", database, self._admit)

    def known(self, key: str) -> Actor | None:
        """Who was found to hold the key less than `FRESH_S` ago."""
        found = self._known.get(_mark(key))
        return found[0] if found is not None and found[1] > time.monotonic() else None

    def forget(self) -> None:
        """A credential was changed: ask for all of them again."""
        self._changes += 1
        self._known.clear()

    def _admit(self, connection: psycopg.Connection, asked: list[Asked[str, Actor]]) -> None:
        until, changes = time.monotonic() + FRESH_S, self._changes
        for one, found in zip(asked, admit(connection, [one.question for one in asked], self._clock()), strict=True):
            if isinstance(found, NotSignedIn):
                one.answer.set_exception(found)
                continue
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            if changes == self._changes:  # else it may be what was before
                self._known[_mark(one.question)] = (found, until)
            one.answer.set_result(found)


def _mark(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
