"""The delivery engine: it tells subscribers of notices, by web hook and by e-mail, each as fast as that one goes.

At least once, and in the order of the numbers for each subject; subjects and subscribers do not wait for each other.
What was answered is written down before anything else is done, so that it is not sent again, whoever goes on. Several
processes may run engines: a subscription is served by whoever has its lease. When an endpoint is given up its
subscription takes the step `pause`, which is an entry and a notice, so that its owner hears of it by other ways.
"""

import asyncio
import base64
import hmac
import logging
import threading
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ledger import mail, outlets
from ledger.access import Actor, Role
from ledger.append import Clock, append
from ledger.codes import CITY
from ledger.database import Database
from ledger.documents import write_json
from ledger.errors import Conflict, LedgerDamaged, LedgerError, NotRecorded
from ledger.outbound import Answer, Outbound
from ledger.outlets import Result, Turn, Waiting
from ledger.publishing import published
from ledger.registers import SUBSCRIPTION, Values
from ledger.registers.supervision import Channel
from ledger.registrar import Registrar
from ledger.registry import record
from ledger.settings import Settings
from ledger.subscriptions import Json, Kept, cloud_event, forget, reset_event
from ledger.vault import Vault

T = TypeVar("T")

OWN = Actor("deliveries", Role.ADMIN, frozenset(), CITY)
"""The engine itself, where it pauses a subscription whose endpoint it gives up."""
DATABASE_THREADS = 4
OTHER_THREADS = 64
"""For names to be looked up and mail servers to answer: both only wait."""
ROUND_S = 1.0
TROUBLE_S = 1.0
FORGET_EVERY_S = 3600

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many attempts at once, how long a subscription is held, how long a stop waits for what is under way."""

    poll_s: float = 0.1
    lease_s: float = 60.0
    at_once: int = 4
    at_once_in_all: int = 64
    stop_s: float = 5.0


def webhook_id(code: str, number: int) -> str:
    """The id of a delivery: of one subscription and notice, the same at each attempt."""
    return f"msg_{code}_{number}"


def signed_headers(name: str, at_s: int, body: bytes, keys: list[str]) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0.0 over these very bytes, with a signature for each secret."""
    content = f"{name}.{at_s}.".encode() + body
    signatures = " ".join(
        f"v1,{base64.b64encode(hmac.digest(_key(key), content, 'sha256')).decode()}" for key in keys
    )  # fmt: skip
    return {
        "content-type": "application/cloudevents+json", "webhook-id": name, "webhook-timestamp": f"{at_s}",
        "webhook-signature": signatures,
    }  # fmt: skip


def _why(error: BaseException) -> str:
    """One line of an error, without the parameters of a statement."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return f"{type(told).__name__}: {str(told).strip().partition(chr(10))[0]}"


def _key(secret: str) -> bytes:
    text = secret.removeprefix("whsec_").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4))


class Deliveries:
    """Serves all active subscriptions until `stop()`. `run` is the body of a thread or of a process."""

    def __init__(
        self, database: Database, vault: Vault, settings: Settings, clock: Clock, *, outbound: Outbound | None = None,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self._database, self._vault, self._settings, self._clock = database, vault, settings, clock
        self._outbound = outbound or Outbound(allow_loopback=settings.allow_loopback)
        self._pace = pace or Pace()
        self._stopping = threading.Event()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        self._known: dict[str, tuple[int, Values]] = {}
        self._newest = 0
        self._forgot_at = float("-inf")

    def stop(self) -> None:
        """Let `run` return soon: what is under way has `Pace.stop_s` to be answered."""
        self._stopping.set()

    def run(self) -> None:
        """Serve. Errors are told and waited out, never the end."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(self._pace.at_once_in_all)
        self._news: asyncio.Future[None] = loop.create_future()
        loop.set_default_executor(ThreadPoolExecutor(OTHER_THREADS, "deliveries-out"))
        trouble = None
        with ThreadPoolExecutor(DATABASE_THREADS, "deliveries") as self._threads:
            while not self._stopping.is_set():
                try:
                    await self._look()
                    trouble = None
                except (LedgerError, SQLAlchemyError, psycopg.Error, OSError) as error:
                    if trouble != (trouble := _why(error)):  # once, not each time
                        _log.error("notices are not being delivered: %s", trouble)
                    await asyncio.sleep(TROUBLE_S)
                await asyncio.sleep(self._pace.poll_s)
            self._tell_news()
            if self._serving:
                await asyncio.wait(self._serving.values(), timeout=self._pace.stop_s)
            for task in self._serving.values():
                task.cancel()
            await asyncio.gather(*self._serving.values(), return_exceptions=True)

    async def _look(self) -> None:
        """See who is due, and serve them."""
        if time.monotonic() - self._forgot_at > FORGET_EVERY_S:
            await self._ask(self._forget)
            self._forgot_at = time.monotonic()
        codes, newest = await self._ask(lambda connection: outlets.due(connection, self._clock()))
        if newest != self._newest:
            self._newest = newest
            self._tell_news()
        for code in codes:
            if code not in self._serving and self._resting.get(code, 0) <= time.monotonic():
                task = asyncio.create_task(self._serve(code))
                self._serving[code] = task
                task.add_done_callback(partial(self._served, code))

    def _served(self, code: str, task: asyncio.Task[None]) -> None:
        self._serving.pop(code, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._resting[code] = time.monotonic() + TROUBLE_S
            _log.error("the subscription %s cannot be served: %s", code, _why(error))

    def _forget(self, connection: Connection) -> None:
        before = self._clock() - timedelta(days=self._settings.notice_days)
        forget(connection, before)
        outlets.forget_deliveries(connection, before)

    def _tell_news(self) -> None:
        """Let those who are serving look again."""
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question, in a transaction of its own and in a thread."""

        def asked() -> T:
            with self._database.engine.begin() as connection:
                return question(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, asked)

    # --- one subscription -------------------------------------------------------------------------

    async def _serve(self, code: str) -> None:
        """Serve a subscription, if nobody does, until there is nothing for it."""
        lasts = timedelta(seconds=self._pace.lease_s)
        lease: datetime | None = None
        flying: dict[asyncio.Task[Result], Waiting] = {}
        try:
            while True:
                results = [task.result() for task in flying if task.done()]
                flying = {task: waiting for task, waiting in flying.items() if not task.done()}
                turn = await self._turn(code, lease, lasts, results, list(flying.values()))
                lease = None if turn is None else turn.lease
                if turn is None:
                    break
                await self._go_on(code, turn, flying)
                if not flying:
                    break
                awaited: list[asyncio.Future[Any]] = [*flying, self._news]
                await asyncio.wait(
                    awaited, timeout=min(ROUND_S, lasts.total_seconds() / 3), return_when=FIRST_COMPLETED
                )
        finally:
            for task in flying:
                task.cancel()
            if lease is not None:
                with suppress(SQLAlchemyError, LedgerError):
                    held = lease
                    await asyncio.shield(self._ask(lambda connection: outlets.release(connection, code, held)))

    async def _turn(
        self, code: str, lease: datetime | None, lasts: timedelta, results: list[Result], flying: list[Waiting]
    ) -> Turn | None:
        room = 0 if self._stopping.is_set() else self._pace.at_once - len(flying)
        return await self._ask(
            lambda connection: outlets.take_turn(
                connection, code, lease, lasts, self._clock(), results, flying, max(0, room)
            )
        )

    async def _go_on(self, code: str, turn: Turn, flying: dict[asyncio.Task[Result], Waiting]) -> None:
        """Begin the attempts of a turn, or give the endpoint up."""
        if turn.disable is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._give_up, code, turn.disable)
        elif turn.ready:
            values = await self._values(code, turn.version)
            for waiting in turn.ready:
                attempt = self._attempt(code, turn.channel, values, waiting, turn.kept)
                flying[asyncio.create_task(attempt)] = waiting

    async def _values(self, code: str, version: int) -> Values:
        """Where to, and the secrets: read again when the record has a new version."""
        known = self._known.get(code)
        if known is None or known[0] < version:
            read = await self._ask(lambda connection: record(connection, self._vault, SUBSCRIPTION, (code,)))
            known = self._known[code] = (read.version, read.values)
        return known[1]

    def _give_up(self, code: str, reason: str) -> None:
        """Pause a subscription: first the entry, then the outlet, so that one without the other is a mere pause."""
        with self._database.read() as connection:
            present = record(connection, self._vault, SUBSCRIPTION, (code,))
        today = self._clock().astimezone(self._settings.zone).date()
        with suppress(Conflict):  # its owner paused or ended it meanwhile
            request = Registrar(self._vault, b"", OWN, today).step(present, "pause", reason)
            with self._database.connect() as connection_:
                (outcome,) = append(connection_, [request], self._clock)
            if isinstance(outcome, LedgerError):
                raise outcome
        with self._database.engine.begin() as connection:
            outlets.disable(connection, code, reason)
        _log.warning("the subscription %s is paused: %s", code, reason)

    # --- one attempt ------------------------------------------------------------------------------

    async def _attempt(self, code: str, channel: str, values: Values, waiting: Waiting, kept: Kept) -> Result:
        event = (
            reset_event(kept, waiting.number, self._settings.origin)
            if waiting.notice is None
            else cloud_event(waiting.notice, self._settings.origin)
        )
        send = self._mail if channel == Channel.EMAIL else self._post
        async with self._slots:
            return Result(waiting, await send(webhook_id(code, waiting.number), values, event))

    async def _post(self, name: str, values: Values, event: Json) -> Answer:
        keys = [str(values[field]) for field in ("secret", "secret_before") if values.get(field)]
        body = write_json(event)
        headers = signed_headers(name, int(self._clock().timestamp()), body, keys)
        return await self._outbound.post(str(values.get("destination")), headers, body)

    async def _mail(self, name: str, values: Values, event: Json) -> Answer:
        url, sender = self._settings.smtp_url, self._settings.smtp_from
        if url is None or sender is None:
            return Answer(None, 0, "no mail server is set: SUYUAN_SMTP_URL")
        file = None
        if event["type"] == mail.PUBLISHED and event["data"]["bytes"] <= mail.FILE_BYTES_MAX:
            file = await asyncio.get_running_loop().run_in_executor(self._threads, self._file, event["data"])
        made = mail.message(event, sender, str(values.get("destination")), name, file)
        return await asyncio.get_running_loop().run_in_executor(None, partial(mail.send, url, made))

    def _file(self, about: Json) -> mail.Attachment | None:
        """The file of a published report; without it, where it cannot be given, the notice says where to ask for it."""
        try:
            with self._database.connection() as connection:
                found = published(connection, about["published"])
        except (NotRecorded, LedgerDamaged) as error:
            _log.error("a report is told of without its file: %s", error)
            return None
        return mail.Attachment(found.name, found.form.media, found.data)
