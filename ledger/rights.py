"""Bringing a database to the present schema, and who may do what in it.

The application's role may insert and read; it may not update, delete or truncate ledger tables. A role of its own,
which nobody logs in as, may empty the sealed columns of an entry and the private values of the registry, and seal
these with another key; nothing else.
"""

from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import sql

from ledger.database import Database
from ledger.errors import Misconfigured
from ledger.tables import (
    APPEND_ONLY,
    DELIVERIES,
    FOLLOWERS,
    POSITIONS,
    REGISTRY,
    SEARCH,
    VERSIONS,
    capture_job,
    pack_job,
    report_job,
)

ERASER = "suyuan_eraser"
MIGRATION_LOCK = 0x534D


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def is_current(database: Database) -> bool:
    """Whether the database has the schema of this release."""
    with database.read() as connection:
        present = MigrationContext.configure(connection).get_current_heads()
    return present == tuple(ScriptDirectory.from_config(_alembic()).get_heads())


def require_current(database: Database) -> None:
    """`Misconfigured` unless `suyuan migrate` has been run for this release."""
    if not is_current(database):
        raise Misconfigured("the database has another schema than this release; run: suyuan migrate")


def migrate(database: Database) -> None:
    """Bring the schema up to this release and set the rights, in one transaction. Doing it again changes nothing.

    Processes that do it at once wait for each other.
    """
    application = psycopg.conninfo.conninfo_to_dict(database.url).get("user")
    if not isinstance(application, str):
        raise Misconfigured("SUYUAN_DATABASE_URL names no user")
    with database.as_owner() as connection:
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
        )
        config = _alembic()
        with engine.begin() as bound:
            connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", [MIGRATION_LOCK])
            config.attributes["connection"] = bound
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise Misconfigured(f"the database has a schema that this release does not know: {error}") from error
            _make_eraser(connection)
            _set_rights(connection, application)


def _make_eraser(connection: psycopg.Connection) -> None:
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ERASER]).fetchone()
    try:
        if exists is None:
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(ERASER)))
        member = connection.execute("SELECT pg_has_role(%s, 'SET')", [ERASER]).fetchone()
        if member != (True,):
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE").format(sql.Identifier(ERASER)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"the owner may not create or grant the role {ERASER}; let an administrator run: "
            f"{'' if exists else f'CREATE ROLE {ERASER} NOLOGIN; '}GRANT {ERASER} TO <owner>"
        ) from error


def _set_rights(connection: psycopg.Connection, application: str) -> None:
    role, eraser = sql.Identifier(application), sql.Identifier(ERASER)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}, {}").format(role, eraser))
    connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    name = sql.Identifier(connection.info.dbname)  # rules are tried on what has been, on tables that vanish
    connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(name, role))
    connection.execute(sql.SQL("GRANT SELECT ON alembic_version TO {}").format(role))
    insert_only = (*APPEND_ONLY, VERSIONS, capture_job)
    changing = (*POSITIONS, *REGISTRY, SEARCH, pack_job, report_job)
    for tables, rights in (
        (insert_only, "SELECT, INSERT"), (changing, "SELECT, INSERT, UPDATE"),
        ((*FOLLOWERS, *DELIVERIES), "SELECT, INSERT, UPDATE, DELETE"),
    ):  # fmt: skip
        names = sql.SQL(", ").join(sql.Identifier(table.name) for table in tables)
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(names, role))
        connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), names, role))
    for right in (
        "SELECT (node, seq), UPDATE (salt, sealed) ON entry",
        "SELECT (subject, version, seq, private), UPDATE (private) ON registry_version",
        "SELECT (subject), UPDATE (tokens) ON registry_search",
    ):
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(right), eraser))
