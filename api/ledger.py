"""A process's ledger: database, lanes, keys and worker, opened once and closed in order.

The command line and the HTTP application both stand on it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TypeVar
from weakref import WeakKeyDictionary

from api.mailbox import Mailbox
from ledger.access import Actor
from ledger.append import Request
from ledger.database import Database, open_database
from ledger.deliveries import Deliveries
from ledger.errors import Conflict, LedgerError, UnreadableCode
from ledger.gate import Gate
from ledger.gather import Gathering
from ledger.keys import KeyFolder
from ledger.lanes import Lanes
from ledger.lookout import looking_out
from ledger.nodes import OPERATOR, first_nodes
from ledger.notes import Recorded, Signer, format_receipt
from ledger.packs.counter import Counter
from ledger.registrar import Registrar
from ledger.rights import migrate, require_current
from ledger.rulesets import first_rules
from ledger.serials import Numbers
from ledger.settings import Settings
from ledger.vault import Vault
from ledger.worker import Worker

Q = TypeVar("Q")
A = TypeVar("A")
Follower = TypeVar("Follower", Worker, Deliveries)


def now() -> datetime:
    """The clock of the application, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Ledger:
    """What a process needs to write, read and prove."""

    settings: Settings
    database: Database
    lanes: Lanes
    keys: KeyFolder
    signer: Signer
    counter: Counter
    gate: Gate
    exits: contextlib.ExitStack
    """What was started on this ledger, and ends before it."""
    worker: Worker | None = None

    @cached_property
    def secret(self) -> bytes:
        """What the ids of events that came without one are made with."""
        return self.keys.secret()

    @cached_property
    def vault(self) -> Vault:
        """What opens and seals the registry's private values."""
        return Vault(self.keys)

    @cached_property
    def numbers(self) -> Numbers:
        """Codes for scans that bring none."""
        return Numbers(self.database, self.lanes.record)

    async def ask(self, gathering: Gathering[Q, A], question: Q) -> A:
        """The answer of a thread of this process, awaited."""
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:
            mailbox = self._mailboxes[loop] = Mailbox(loop)
        return await mailbox.ask(gathering, question)

    @cached_property
    def _mailboxes(self) -> "WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox]":
        return WeakKeyDictionary()

    def today(self) -> date:
        """The city's day."""
        return now().astimezone(self.settings.zone).date()

    def end_of(self, day: date) -> datetime:
        """The moment at which a day of the city ends."""
        try:
            return datetime.combine(day + timedelta(days=1), time(), self.settings.zone).astimezone(UTC)
        except OverflowError:
            raise UnreadableCode("day", f"{day}", "the calendar ends before it does") from None

    def registrar(self, actor: Actor) -> Registrar:
        """Who keeps records now, with all that it takes."""
        return Registrar(self.vault, self.secret, actor, self.today())

    def record(self, request: Request) -> list[Recorded]:
        """Record one request and wait for it; raises the `LedgerError` that rejects it."""
        recorded = self.lanes.submit(request).result()
        if any(change.table == "credential" for change in request.changes):
            self.gate.forget()
        return recorded

    def receipt(self, recorded: Sequence[Recorded]) -> str:
        """The signed receipt for entries that are on disk; empty for none."""
        return format_receipt(self.settings.origin, recorded, self.signer) if recorded else ""


@contextlib.contextmanager
def open_ledger(settings: Settings, *, worker: bool = False) -> Iterator[Ledger]:
    """The ledger of this installation, migrated where the database is our own, and its worker running if wanted."""
    with open_database(settings) as database:
        if settings.database_url is None:
            migrate(database)
        require_current(database)
        keys = KeyFolder(settings.keys)
        signer = keys.signer(settings.origin)
        lanes = Lanes(database, settings.lanes, now)
        try:
            with database.read() as connection:
                missing = first_nodes(connection)
                if worker:
                    missing += first_rules(connection, Registrar(Vault(keys), keys.secret(), OPERATOR, now().date()))
            for outcome in lanes.record(missing):
                if isinstance(outcome, LedgerError) and not isinstance(outcome, Conflict):
                    raise outcome  # a conflict: another process that starts too was faster
            with (
                _running(Worker(database, keys, signer, now) if worker else None, "worker") as running,
                looking_out(database, settings) if worker else contextlib.nullcontext(),
                _running(Deliveries(database, Vault(keys), settings, now) if worker else None, "deliveries"),
                ledger_on(settings, database, lanes, keys, signer, running) as ledger,
            ):
                yield ledger
        finally:
            lanes.close()


@contextlib.contextmanager
def ledger_on(
    settings: Settings, database: Database, lanes: Lanes, keys: KeyFolder, signer: Signer, worker: Worker | None = None
) -> Iterator[Ledger]:
    """A ledger made of these parts, with its counter and its gate."""
    counter = Counter(database, lanes, keys.secret(), now, settings.zone)
    gate = Gate(database, now)
    try:
        with contextlib.ExitStack() as exits:
            yield Ledger(settings, database, lanes, keys, signer, counter, gate, exits, worker)
    finally:
        gate.close()
        counter.close()


@contextlib.contextmanager
def _running(follower: Follower | None, name: str) -> Iterator[Follower | None]:
    if follower is None:
        yield None
        return
    thread = threading.Thread(target=follower.run, name=name)
    thread.start()
    try:
        yield follower
    finally:
        follower.stop()
        thread.join()
