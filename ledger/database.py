"""The one place that opens the database: embedded or named by a URL, as application, owner or eraser.

`Database.connect` gives a psycopg connection for the write path; `Database.read` gives an SQLAlchemy connection in one
read-only snapshot. Both say `Unavailable` where the server is out of reach, and bring the embedded server back after a
crash.
"""

import contextlib
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import psycopg
import sqlalchemy
from sqlalchemy import exc

from ledger.embedded import APPLICATION, OWNER, Cluster
from ledger.errors import Misconfigured, Unavailable
from ledger.settings import Settings

CONNECT_TIMEOUT_S = 10
RECONNECT_S = 30
"""How long `connect` tries, since a server that recovers from a crash comes back by itself."""


@dataclass(frozen=True)
class Database:
    """How to reach one database. `owner_url` is None where only the application's role is known."""

    url: str
    owner_url: str | None = None
    revive: Callable[[], None] | None = None
    """Starts the server again after a crash; None where that is somebody else's job."""

    def connect(self) -> psycopg.Connection:
        """A new connection as the application; `Unavailable` if there is none within `RECONNECT_S`."""
        return _connect(self.url, self.revive)

    @contextlib.contextmanager
    def as_owner(self) -> Iterator[psycopg.Connection]:
        """A transaction as the owner of the tables: migrations, grants, erasing."""
        if self.owner_url is None:
            raise Misconfigured("this needs the owner of the tables: set SUYUAN_OWNER_DATABASE_URL")
        try:
            with _connect(self.owner_url, self.revive) as connection:
                yield connection
        except (psycopg.OperationalError, exc.OperationalError) as error:
            raise Unavailable(f"the database cannot be changed: {_first_line(error)}") from error

    @cached_property
    def engine(self) -> sqlalchemy.Engine:
        """A small pool of connections for reads."""
        engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=self.connect, pool_size=8, max_overflow=8)
        sqlalchemy.event.listen(engine, "checkout", _require_alive)
        return engine

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlalchemy.Connection]:
        """One snapshot of the database, for questions only."""
        try:
            with self.engine.connect().execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ) as connection:
                yield connection
        except (exc.OperationalError, exc.TimeoutError) as error:
            raise Unavailable(f"the database cannot be read: {_first_line(error)}") from error

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """One short transaction as the application, on a pooled connection: what is no ledger row, such as jobs."""
        try:
            with self.engine.begin() as pooled:
                driver = pooled.connection.driver_connection
                if not isinstance(driver, psycopg.Connection):
                    raise TypeError("the pool holds something that is no psycopg connection")
                yield driver
        except (psycopg.OperationalError, exc.OperationalError, exc.TimeoutError) as error:
            raise Unavailable(f"the database cannot be written: {_first_line(error)}") from error

    def close(self) -> None:
        """Let go of the pool's connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()


def _require_alive(connection: psycopg.Connection, *_: object) -> None:
    """The pool gives another connection where the server has ended this one: an idle one then has its end to read."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        raise exc.DisconnectionError


def _connect(url: str, revive: Callable[[], None] | None) -> psycopg.Connection:
    deadline = time.monotonic() + RECONNECT_S
    while True:
        try:
            return psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S, application_name="suyuan")
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline or not _passes(error):
                raise Unavailable(f"the database is out of reach: {_first_line(error)}") from error
            if revive is not None:
                revive()
            time.sleep(0.1)


def _passes(error: psycopg.OperationalError) -> bool:
    """Whether waiting helps: a server that starts, stops, recovers or is not there, but not a wrong password."""
    text = str(error)
    return error.sqlstate in (None, "57P03", "57P01") and not any(
        phrase in text
        for phrase in ("authentication", "no password supplied", "does not exist", "no pg_hba.conf entry")
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database that `settings` name, the embedded server held up while the context lasts."""
    if settings.database_url is not None:
        database = Database(settings.database_url, settings.owner_database_url)
        try:
            yield database
        finally:
            database.close()
        return
    cluster = Cluster(settings.data)
    with cluster.lease():
        database = Database(cluster.url(APPLICATION), cluster.url(OWNER), cluster.ensure_running)
        try:
            yield database
        finally:
            database.close()
