"""New notices, read once for all who listen in this process: streams, and polls that wait."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import takewhile
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from ledger.database import Database
from ledger.errors import Busy, LedgerError
from ledger.subscriptions import Filter, Kept, Notice, Page, page

T = TypeVar("T")

LISTENERS_MAX = 500
POLL_S = 0.1
TROUBLE_S = 1.0
RECENT_MAX = 2_000

_log = logging.getLogger(__name__)


class Feed:
    """What is new, while anybody listens. It lives in one event loop; `close` may be called from anywhere in it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: deque[Notice] = deque()
        self._from = self._until = 0  # what is in `_recent`: numbers after the one, up to the other
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._news: asyncio.Future[None] | None = None
        self.closed = False
        """Whether the process stops: streams end, so that it can."""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """To be held while listening."""
        await self.join()
        try:
            yield
        finally:
            self.leave()

    async def join(self) -> None:
        """Listen from now on, until `leave`; `Busy` where too many do."""
        if self.closed or self._listeners >= LISTENERS_MAX:
            raise Busy(f"{LISTENERS_MAX} are listening already; poll instead, or try again later")
        self._listeners += 1
        try:
            if self._task is None or self._task.done():
                await self._begin()
        except BaseException:
            self._listeners -= 1
            raise

    def leave(self) -> None:
        """Listen no more."""
        self._listeners -= 1

    async def _begin(self) -> None:
        kept = await self.ask(Kept.now)
        if self._task is None or self._task.done():  # nobody else began meanwhile
            self._recent.clear()
            self._from = self._until = kept.newest
            self._news = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while self._listeners and not self.closed:
            try:
                found = await self.ask(lambda connection: page(connection, Filter(), self._until, RECENT_MAX))
            except (LedgerError, SQLAlchemyError) as error:
                _log.warning("new notices cannot be read: %s", type(error).__name__)
                await asyncio.sleep(TROUBLE_S)
                continue
            if found.reset:  # the database is another than it was: all look for themselves
                self._recent.clear()
                self._from = self._until = found.kept.newest
                self._tell()
            elif found.notices:
                self._recent.extend(found.notices)
                self._until = found.next
                while len(self._recent) > RECENT_MAX:
                    self._from = self._recent.popleft().number
                self._tell()
            await asyncio.sleep(POLL_S)

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Let all who listen go."""
        self.closed = True
        self._tell()

    def since(self, position: int) -> list[Notice] | None:
        """The notices after a position, if they are all at hand; None where the database has to be asked."""
        if position < self._from:
            return None
        if position >= self._until:
            return []
        fresh = list(takewhile(lambda one: one.number > position, reversed(self._recent)))
        return fresh[::-1]

    async def wait(self, position: int, seconds: float) -> None:
        """Return when there is something after a position, when all ends, or when the time is over."""
        if self.since(position) == [] and not self.closed and self._news is not None and seconds > 0:
            await asyncio.wait([self._news], timeout=seconds)

    async def page(self, wanted: Filter, after: int, limit: int) -> Page:
        """A page from the database."""
        return await self.ask(lambda connection: page(connection, wanted, after, limit))

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question, on one snapshot and in a thread."""

        def asked() -> T:
            with self._database.read() as connection:
                return question(connection)

        return await asyncio.to_thread(asked)
