"""The one place that opens the database: embedded or named by a URL, and one sentence where it is out of reach."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from ledger import database as database_module
from ledger.database import Database, open_database
from ledger.embedded import APPLICATION, OWNER, SUPERUSER, Cluster
from ledger.errors import Misconfigured, Unavailable
from ledger.rights import migrate, require_current
from ledger.settings import Settings
from tests.conftest import Own


@pytest.fixture
def external(cluster: Cluster, tmp_path: Path) -> Iterator[Settings]:
    """Settings that name a database by its URLs, as in a city that runs its own server."""
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE test_external OWNER {OWNER}")
        yield Settings.from_environment(
            {
                "SUYUAN_DATA": str(tmp_path / "unused"),
                "SUYUAN_DATABASE_URL": cluster.url(APPLICATION, "test_external"),
                "SUYUAN_OWNER_DATABASE_URL": cluster.url(OWNER, "test_external"),
            }
        )
        connection.execute("DROP DATABASE test_external WITH (FORCE)")


@pytest.fixture
def with_password(cluster: Cluster) -> Iterator[Cluster]:
    """The role `walled`, who must show the password `right`."""
    rules = cluster.files / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(cluster.url(SUPERUSER), autocommit=True) as connection:
        connection.execute("CREATE ROLE walled LOGIN PASSWORD 'right'; GRANT CONNECT ON DATABASE suyuan TO walled")
        rules.write_text(f"local all walled scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        yield cluster
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("REVOKE ALL ON DATABASE suyuan FROM walled; DROP ROLE walled")


def node_row(number: int) -> str:
    return f"INSERT INTO head VALUES ({number}, 1, sha256('x'))"


# --- reading and writing --------------------------------------------------------------------------


def test_a_read_is_one_snapshot(own: Own) -> None:
    """A proof put together from two states of the log would prove neither."""
    with own.database.read() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM head")).scalar_one() == 0
        with own.database.connection() as writing:
            writing.execute(node_row(1))
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM head")).scalar_one() == 0
    with own.database.read() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM head")).scalar_one() == 1


def test_a_read_cannot_write(own: Own) -> None:
    with pytest.raises(sqlalchemy.exc.InternalError, match="read-only transaction"), own.database.read() as connection:
        connection.execute(sqlalchemy.text(node_row(1)))
    with own.database.connection() as connection:
        connection.execute(node_row(1))


def test_a_transaction_that_fails_leaves_nothing(own: Own) -> None:
    with pytest.raises(ZeroDivisionError), own.database.connection() as connection:
        connection.execute(node_row(1))
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), own.database.as_owner() as connection:
        connection.execute(node_row(1))
        raise ZeroDivisionError
    with own.database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM head").fetchone() == (0,)


def test_the_roles_are_what_they_are_called(own: Own) -> None:
    for opened, role in (
        (own.database.connect(), APPLICATION),
        (own.database.connection(), APPLICATION),
        (own.database.as_owner(), OWNER),
    ):
        with opened as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)


@pytest.mark.parametrize("opened", ["read", "connection", "as_owner"])
def test_a_connection_cut_in_the_middle_is_unavailable(opened: str, own: Own) -> None:
    with pytest.raises(Unavailable) as caught, getattr(own.database, opened)() as connection:
        run = connection.exec_driver_sql if opened == "read" else connection.execute
        (pid,) = run("SELECT pg_backend_pid()").fetchone()
        with own.superuser() as superuser:
            superuser.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        run("SELECT 1")
    assert str(caught.value).startswith("the database cannot be") and "\n" not in str(caught.value)


def test_pooled_connections_that_died_meanwhile_are_replaced(own: Own) -> None:
    with own.database.read() as connection:
        (pid,) = connection.exec_driver_sql("SELECT pg_backend_pid()").fetchone()
    with own.superuser() as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    with own.database.read() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").fetchone() != (pid,)


# --- out of reach ---------------------------------------------------------------------------------


def unreachable() -> dict[str, str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    return {
        "closed port": f"postgresql://app:secret@127.0.0.1:{port}/suyuan",
        "no such host": "postgresql://app:secret@no-such-host.invalid/suyuan",
        "no socket": "postgresql://app:secret@/suyuan?host=/nowhere",
        "bad port": "postgresql://app:secret@127.0.0.1:1:2/suyuan",
    }


@pytest.mark.parametrize("what", unreachable())
def test_a_server_out_of_reach_is_unavailable_in_one_sentence(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "RECONNECT_S", 0.2)
    settings = Settings.from_environment({"SUYUAN_DATABASE_URL": unreachable()[what]})
    with open_database(settings) as database:
        for opened in (database.read, database.connection):
            with pytest.raises(Unavailable) as caught, opened():
                pass
            assert str(caught.value).startswith("the database is out of reach: ")
            assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that drops packets must not hold a request for ever."""
    monkeypatch.setattr(database_module, "RECONNECT_S", 0.2)
    monkeypatch.setattr(database_module, "CONNECT_TIMEOUT_S", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(Unavailable, match="timeout"):
            Database(f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/x").connect()


def test_a_password_is_needed_where_the_server_says_so(with_password: Cluster) -> None:
    url = with_password.url("walled").replace("walled@", "walled:right@").replace("require_auth=none&", "")
    with Database(url).connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("walled",)


@pytest.mark.parametrize("who", ["walled:wrong", "walled", "no_such_role", "suyuan_app:x@/no_such_database"])
def test_a_refusal_is_not_tried_again(who: str, with_password: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting helps with no password; ten refused tries lock an account."""
    tries = []
    monkeypatch.setattr(time, "sleep", tries.append)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    name, _, path = who.partition("@")
    url = (
        with_password.url("X", path.strip("/") or "suyuan").replace("X@", f"{name}@").replace("require_auth=none&", "")
    )
    with pytest.raises(Unavailable, match="the database is out of reach"):
        Database(url).connect()
    assert tries == []


def test_without_the_owners_url_nothing_is_done_as_owner() -> None:
    with pytest.raises(Misconfigured, match="set SUYUAN_OWNER_DATABASE_URL"), Database("postgresql://").as_owner():
        pass


# --- opening --------------------------------------------------------------------------------------


def test_an_external_database_is_migrated_and_used(external: Settings) -> None:
    with open_database(external) as database:
        with pytest.raises(Misconfigured):
            require_current(database)
        migrate(database)
        require_current(database)
        with database.connection() as connection:
            connection.execute(node_row(1))
    assert not external.data.exists(), "the embedded server's folder was made for nothing"


def test_an_external_database_without_its_owner_can_be_used_but_not_migrated(external: Settings) -> None:
    with open_database(external) as database:
        migrate(database)
    with open_database(Settings.from_environment({"SUYUAN_DATABASE_URL": str(external.database_url)})) as database:
        require_current(database)
        with pytest.raises(Misconfigured, match="SUYUAN_OWNER_DATABASE_URL"):
            migrate(database)


def test_the_embedded_server_lives_as_long_as_it_is_open_and_comes_back_after_a_crash(scratch: Path) -> None:
    data = scratch / "opened"
    with open_database(Settings.from_environment({"SUYUAN_DATA": str(data)})) as database:
        migrate(database)
        with database.connection() as connection:
            connection.execute(node_row(1))
        for how in (signal.SIGKILL, signal.SIGQUIT):
            os.kill(Cluster(data).server_pid(), how)
            with database.connect() as connection:
                assert connection.execute("SELECT count(*) FROM head").fetchone() == (1,)
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM head").fetchone() == (1,)
    assert Cluster(data).stopped()
    shutil.rmtree(data)
