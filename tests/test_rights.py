"""Append-only where the data lies: every role, every ledger table, every way to change it; and the migrations."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from alembic import command
from psycopg.errors import CheckViolation, InsufficientPrivilege, RaiseException
from psycopg.types.json import Jsonb

from api.ledger import now
from ledger.append import append
from ledger.audit import audit
from ledger.database import Database
from ledger.documents import write_json
from ledger.embedded import APPLICATION, DATABASE, OWNER, SUPERUSER, Cluster, _binaries
from ledger.entries import GENESIS, Kind, encode, hash_of, time_text
from ledger.errors import Misconfigured
from ledger.nodes import OPERATOR
from ledger.registers import NODE
from ledger.registrar import Registrar
from ledger.registry import record, versions
from ledger.rights import ERASER, _alembic, is_current, migrate, require_current
from ledger.tables import (
    APPEND_ONLY,
    DELIVERIES,
    FOLLOWERS,
    POSITIONS,
    REGISTRY,
    SEARCH,
    VERSIONS,
    capture_job,
    metadata,
    pack,
    pack_job,
    report_job,
)
from ledger.vault import Vault
from tests.conftest import Own
from tests.test_vault import key_folder

CHANGING = (*POSITIONS, *REGISTRY, SEARCH)
JOBS = (pack_job, report_job)
PASSING = (*FOLLOWERS, *DELIVERIES)
"""What can be made again from the log, or is of the network alone: its rows come and go."""
NAMES = [table.name for table in metadata.sorted_tables]
LEDGER = [table.name for table in APPEND_ONLY]
ADD = "INSERT INTO entry VALUES (7, %s, 1, now(), sha256('x'), 'bytes', 'salt', 'sealed')"


def change(how: str, table: str) -> str:
    column = metadata.tables[table].columns.keys()[0]
    return {
        "UPDATE": f"UPDATE {table} SET {column} = {column}", "DELETE": f"DELETE FROM {table}",
        "TRUNCATE": f"TRUNCATE {table}",
    }[how]  # fmt: skip


@pytest.fixture
def application(own: Own) -> Iterator[psycopg.Connection]:
    """A connection as the application, in a ledger with two entries."""
    with own.database.connect() as connection:
        connection.execute(ADD, [1])
        connection.execute(ADD, [2])
        connection.commit()
        yield connection
        connection.rollback()


@pytest.fixture
def owner(own: Own, application: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection as the owner of the same ledger."""
    with psycopg.connect(own.database.owner_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def eraser(owner: psycopg.Connection) -> psycopg.Connection:
    """The owner's connection, become the eraser."""
    owner.execute(f"SET ROLE {ERASER}")
    owner.commit()
    return owner


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[Database]:
    """A database with nothing in it."""
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE test_empty OWNER {OWNER}")
        database = Database(cluster.url(APPLICATION, "test_empty"), cluster.url(OWNER, "test_empty"))
        yield database
        database.close()
        connection.execute("DROP DATABASE test_empty WITH (FORCE)")


def entries(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute("SELECT node, seq, kind, hash, data, salt, sealed FROM entry ORDER BY seq").fetchall()


# --- the application ------------------------------------------------------------------------------


def test_every_table_is_of_one_kind() -> None:
    """A new table must be given its rights here, or the migration leaves it closed."""
    kinds = (*APPEND_ONLY, *CHANGING, *PASSING, VERSIONS, capture_job, *JOBS)
    assert sorted(NAMES) == sorted(table.name for table in kinds)
    assert pack in POSITIONS and not {*JOBS} & {*APPEND_ONLY, *POSITIONS, *REGISTRY}, "a job is no part of the ledger"


def require_refused(connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        connection.execute(statement)
        pytest.fail(f"not refused: {statement}")
    connection.rollback()


@pytest.mark.parametrize("how", ["UPDATE", "DELETE", "TRUNCATE"])
def test_the_application_may_not_change_a_ledger_table(how: str, application: psycopg.Connection) -> None:
    for table in (*LEDGER, "capture_job"):
        require_refused(application, change(how, table))


@pytest.mark.parametrize("how", ["DELETE", "TRUNCATE"])
def test_the_application_may_not_remove_a_present_state(how: str, application: psycopg.Connection) -> None:
    for table in (*CHANGING, *JOBS):
        require_refused(application, change(how, table.name))


def test_the_application_removes_what_followers_keep_and_nothing_else(application: psycopg.Connection) -> None:
    """Windows that are over must go, or they grow for ever; of the ledger and the registry nothing may."""
    assert {table.name for table in PASSING} == {
        "follower", "rule_book", "rule_window", "rule_pending", "rule_count", "warning", "notice", "delivery", "outlet",
    }  # fmt: skip
    for table in metadata.sorted_tables:
        if table in PASSING:
            application.execute(change("DELETE", table.name))
            application.execute(change("UPDATE", table.name))
        else:
            require_refused(application, change("DELETE", table.name))
    for table in PASSING:
        require_refused(application, change("TRUNCATE", table.name))


def test_the_applications_rights_are_these_and_no_more(own: Own) -> None:
    with own.superuser() as connection:
        found = connection.execute(
            "SELECT table_name, grantee, array_agg(privilege_type::text ORDER BY privilege_type::text)"
            " FROM information_schema.role_table_grants WHERE table_name = ANY(%s) AND grantee <> %s GROUP BY 1, 2",
            [NAMES, OWNER],
        ).fetchall()
    changing, passing = ({table.name for table in tables} for tables in ((*CHANGING, *JOBS), PASSING))
    assert sorted(found) == sorted(
        (
            name,
            APPLICATION,
            ["DELETE"] * (name in passing) + ["INSERT", "SELECT"] + ["UPDATE"] * (name in changing | passing),
        )
        for name in NAMES
    )


def test_the_application_cannot_become_another(application: psycopg.Connection) -> None:
    for role in (OWNER, ERASER, SUPERUSER):
        require_refused(application, f"SET ROLE {role}")
        require_refused(application, f"SET SESSION AUTHORIZATION {role}")
        require_refused(application, f"GRANT {role} TO {APPLICATION}")


def test_the_application_finds_no_way_around(application: psycopg.Connection) -> None:
    before = entries(application)
    application.commit()
    for statement in (
        "CREATE TABLE mine (x int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER TABLE entry DISABLE TRIGGER ALL",
        "DROP TRIGGER entry_is_append_only ON entry",
        "CREATE RULE mine AS ON INSERT TO entry DO INSTEAD NOTHING",
        "CREATE TRIGGER mine BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "ALTER TABLE entry OWNER TO suyuan_app",
        "DROP TABLE entry",
        "SET session_replication_role = replica",
        "INSERT INTO event_id VALUES ('x', 0, 7, 1, 'y') ON CONFLICT (id, declaration) DO UPDATE SET seq = 2",
        "SELECT * FROM entry FOR UPDATE",
        "MERGE INTO entry USING head ON false WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING",
        "COPY entry TO PROGRAM 'cat'",
        "COPY entry FROM '/etc/passwd'",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE ROLE mine",
    ):
        require_refused(application, statement)
    assert entries(application) == before


def test_the_embedded_application_may_make_tables_that_vanish_and_no_others(cluster: Cluster) -> None:
    """Rules are tried on what has been, on tables of one connection; what lasts is the owner's to make."""
    with psycopg.connect(cluster.url(APPLICATION, DATABASE), autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE mine (x int)")
        with pytest.raises(InsufficientPrivilege):
            connection.execute("CREATE TABLE public.mine (x int)")
    with psycopg.connect(cluster.url(APPLICATION, DATABASE), autocommit=True) as connection:
        assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)


# --- the owner, and the eraser --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["UPDATE", "DELETE", "TRUNCATE"])
def test_the_trigger_refuses_the_owner(how: str, owner: psycopg.Connection) -> None:
    changes = {("entry", "UPDATE"): "UPDATE entry SET hash = sha256('other')"}
    for table in LEDGER:
        with pytest.raises(RaiseException, match=f"append-only: {how} on {table} is refused"):
            owner.execute(changes.get((table, how)) or change(how, table))
        owner.rollback()


@pytest.mark.parametrize("column", ["node", "seq", "kind", "record_time", "hash", "data"])
def test_the_trigger_lets_nobody_touch_what_is_hashed(column: str, own: Own, owner: psycopg.Connection) -> None:
    """Not even together with an erasure, and not even the superuser, unless it turns the triggers off."""
    other = {"record_time": "now() + interval '1 s'", "hash": "sha256('o')", "data": "'other'"}.get(column, "9")
    for url in (own.database.owner_url, own.cluster.url(SUPERUSER, own.name)):
        with psycopg.connect(url) as connection, pytest.raises(RaiseException, match="append-only: UPDATE on entry"):
            connection.execute(f"UPDATE entry SET {column} = {other}, salt = NULL, sealed = NULL WHERE seq = 1")


def test_the_eraser_empties_salt_and_sealed_together(eraser: psycopg.Connection, own: Own) -> None:
    before = entries(own.superuser())
    assert eraser.execute("UPDATE entry SET salt = NULL, sealed = NULL WHERE (node, seq) = (7, 1)").rowcount == 1
    eraser.commit()
    assert entries(own.superuser()) == [(*before[0][:5], None, None), before[1]]
    eraser.execute("UPDATE entry SET salt = NULL, sealed = NULL WHERE (node, seq) = (7, 1)")


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE entry SET salt = NULL", RaiseException),
        ("UPDATE entry SET sealed = NULL", RaiseException),
        ("UPDATE entry SET salt = 'x', sealed = 'y'", RaiseException),
        ("UPDATE entry SET salt = '', sealed = ''", RaiseException),
        ("UPDATE entry SET salt = NULL, sealed = 'y'", RaiseException),
        ("UPDATE entry SET salt = NULL, sealed = NULL, hash = sha256('x')", InsufficientPrivilege),
        ("UPDATE entry SET data = 'x'", InsufficientPrivilege),
        ("UPDATE entry SET seq = 9", InsufficientPrivilege),
        ("SELECT sealed FROM entry", InsufficientPrivilege),
        ("SELECT data FROM entry", InsufficientPrivilege),
        ("SELECT * FROM credential", InsufficientPrivilege),
        ("CREATE TABLE mine (x int)", InsufficientPrivilege),
        (ADD.replace("%s", "3"), InsufficientPrivilege),
    ],
)
def test_the_eraser_can_do_nothing_else(statement: str, refusal: type, eraser: psycopg.Connection, own: Own) -> None:
    before = entries(own.superuser())
    with pytest.raises(refusal):
        eraser.execute(statement)
    eraser.rollback()
    assert entries(own.superuser()) == before


def test_the_eraser_may_not_change_a_table(eraser: psycopg.Connection) -> None:
    for table in NAMES:
        for how in ("UPDATE", "DELETE", "TRUNCATE"):
            require_refused(eraser, change(how, table))


def test_an_emptied_part_cannot_be_filled_again(eraser: psycopg.Connection, own: Own) -> None:
    eraser.execute("UPDATE entry SET salt = NULL, sealed = NULL")
    eraser.commit()
    for url in (own.database.owner_url, own.cluster.url(SUPERUSER, own.name)):
        with psycopg.connect(url) as connection, pytest.raises(RaiseException):
            connection.execute("UPDATE entry SET salt = 'salt', sealed = 'sealed'")


def test_nobody_logs_in_as_the_eraser(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url(SUPERUSER)) as connection:
        role = connection.execute("SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = %s", [ERASER]).fetchone()
    assert role == (False, False)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.url(ERASER))


def test_salt_and_sealed_come_together(application: psycopg.Connection) -> None:
    for values in ("'salt', NULL", "NULL, 'sealed'"):
        with pytest.raises(CheckViolation):
            application.execute(f"INSERT INTO entry VALUES (7, 3, 1, now(), sha256('x'), 'bytes', {values})")
        application.rollback()


# --- migrations -----------------------------------------------------------------------------------


def schema(url: str, *options: str) -> str:
    """What pg_dump says of a database, without the lines that differ from dump to dump."""
    dumped = subprocess.run(
        [_binaries() / "pg_dump", "--schema-only", "--exclude-table=alembic_version", *options, url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert dumped.returncode == 0, dumped.stderr
    return "\n".join(line for line in dumped.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def test_the_migrations_build_exactly_what_the_tables_declare(own: Own, empty: Database) -> None:
    with empty.as_owner() as connection:
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
        )
        metadata.create_all(engine)
    declared = schema(empty.owner_url, "--no-privileges")
    assert schema(own.database.owner_url, "--no-privileges") == declared
    for part in (*NAMES, "entry_is_erased_only", "head_hash_is_sha256", "event_by_event_time", "COMMENT ON COLUMN"):
        assert part in declared, "the comparison would not see it"


def test_migrating_again_changes_nothing(own: Own) -> None:
    before = schema(own.database.owner_url)
    assert "GRANT" in before
    migrate(own.database)
    assert schema(own.database.owner_url) == before and is_current(own.database)


def test_migrating_takes_back_what_was_granted_by_hand(own: Own) -> None:
    before = schema(own.database.owner_url)
    with own.database.as_owner() as connection:
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {APPLICATION}")
        connection.execute("GRANT SELECT, DELETE ON entry TO PUBLIC")
    migrate(own.database)
    assert schema(own.database.owner_url) == before


def test_processes_that_migrate_at_once_wait_for_each_other(empty: Database) -> None:
    """Two programs started together on a fresh installation are the usual case."""
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(migrate, empty) for _ in range(4)]:
            done.result()
    require_current(empty)


def test_a_migration_cut_off_leaves_nothing(empty: Database, cluster: Cluster) -> None:
    """A schema without its rights would look finished to `require_current`."""
    stranger = Database("postgresql://no_such_role@/x?host=/x", empty.owner_url)
    with pytest.raises(psycopg.errors.UndefinedObject):
        migrate(stranger)
    assert schema(cluster.url(SUPERUSER, "test_empty")).count("CREATE TABLE") == 0


def test_an_empty_database_is_not_current(empty: Database) -> None:
    with pytest.raises(Misconfigured, match="run: suyuan migrate"):
        require_current(empty)


@pytest.mark.parametrize(
    "statement", ["UPDATE alembic_version SET version_num = '0000'", "DELETE FROM alembic_version"]
)
def test_another_schema_is_not_current(statement: str, own: Own) -> None:
    with own.superuser() as connection:
        connection.execute(statement)
    with pytest.raises(Misconfigured, match="another schema than this release; run: suyuan migrate"):
        require_current(own.database)


def test_the_schema_of_a_release_to_come_is_left_alone(own: Own) -> None:
    with own.superuser() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = schema(own.database.owner_url)
    with pytest.raises(Misconfigured, match=r"a schema that this release does not know.*9999"):
        migrate(own.database)
    assert schema(own.database.owner_url) == before


def test_without_the_owner_nothing_is_migrated(own: Own) -> None:
    with pytest.raises(Misconfigured, match="SUYUAN_OWNER_DATABASE_URL"):
        migrate(Database(own.database.url))


def test_a_url_without_user_is_refused(own: Own) -> None:
    with pytest.raises(Misconfigured, match="SUYUAN_DATABASE_URL names no user"):
        migrate(Database(f"postgresql:///x?host={own.cluster.socket}", own.database.owner_url))


def test_an_owner_that_may_not_have_the_eraser_is_told_what_to_run(empty: Database, cluster: Cluster) -> None:
    """A second ledger on one server has another owner, who finds the eraser's role there already."""
    with psycopg.connect(cluster.url(SUPERUSER, "test_empty"), autocommit=True) as connection:
        connection.execute("CREATE ROLE second_owner LOGIN; ALTER DATABASE test_empty OWNER TO second_owner")
        connection.execute(f"GRANT second_owner TO {OWNER} WITH SET TRUE; ALTER ROLE {OWNER} SET role = second_owner")
        try:
            with pytest.raises(Misconfigured, match=rf"administrator run: GRANT {ERASER} TO <owner>"):
                migrate(empty)
            connection.execute(f"GRANT {ERASER} TO second_owner WITH SET TRUE")
            migrate(empty)
            require_current(empty)
        finally:
            connection.execute(f"ALTER ROLE {OWNER} RESET role")
            connection.execute(f"REASSIGN OWNED BY second_owner TO {OWNER}; DROP OWNED BY second_owner")
            connection.execute("DROP ROLE second_owner")


# --- a database of the release before the registry ------------------------------------------------

STALL = {"node": 330212001, "name": "市场", "trace_scheme": "A", "locations": ["urn:example:a"], "open": True}
CREDENTIAL = {
    "credential": "abcdefghij", "role": "terminal", "label": "scale", "key_hash": "0" * 64, "home_node": 330212001,
    "nodes": [330212001], "expires_at": "2027-01-01T00:00:00.000000Z", "revoked_at": None,
}  # fmt: skip
THEN = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("node", {**STALL, "node": 0, "name": "city", "trace_scheme": "B", "locations": [], "version": 1}),
    ("node", {**STALL, "node": 1, "name": "files", "trace_scheme": "B", "locations": [], "version": 1}),
    ("node", {**STALL, "version": 1}),
    ("node", {**STALL, "version": 2, "name": "新市场"}),
    ("credential", {**CREDENTIAL, "version": 1}),
    ("credential", {**CREDENTIAL, "version": 2, "revoked_at": "2026-06-02T00:00:00.000000Z"}),
]
"""Rows as 0001 had them: nodes without kind, region and digest."""


def at_revision(database: Database, revision: str) -> None:
    with database.as_owner() as connection:
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
        )
        config = _alembic()
        with engine.begin() as bound:
            config.attributes["connection"] = bound
            command.upgrade(config, revision)
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {APPLICATION}")


def add_entry(connection: psycopg.Connection, seq: int, before: bytes, kind: Kind, body: bytes) -> bytes:
    at = THEN + timedelta(seconds=seq)
    data = encode(0, seq, before, time_text(at), "operator", kind.name.lower(), bytes(16), body, None)
    connection.execute(
        "INSERT INTO entry VALUES (0, %s, %s, %s, %s, %s, NULL, NULL)", [seq, kind, at, hash_of(data), data]
    )
    return hash_of(data)


@pytest.fixture
def old(empty: Database) -> Database:
    """A ledger of the release before: two nodes of its own, a market that was renamed, a credential that ended."""
    at_revision(empty, "0001")
    with empty.as_owner() as connection:
        hash_, seq = GENESIS, 0
        for seq, (table, row) in enumerate(CHANGES, 1):
            hash_ = add_entry(connection, seq, hash_, Kind.CHANGE, write_json({"change": {"table": table, "row": row}}))
            connection.execute(f"DELETE FROM {table} WHERE {table}.{table} = %s", [row[table]])
            connection.execute(
                f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s)", [Jsonb(row)]
            )
        decision = write_json({"decision": {"change": {"table": "node", "row": {"node": 9, "version": 1}}}})
        hash_ = add_entry(connection, seq + 1, hash_, Kind.DECISION, decision)
        connection.execute("INSERT INTO head VALUES (0, %s, %s)", [seq + 1, hash_])
    return empty


def test_a_ledger_of_the_release_before_is_brought_up(old: Database, tmp_path: Path) -> None:
    """Its changes get their versions, and the audit finds nothing: neither missing nor made up."""
    with pytest.raises(Misconfigured, match="run: suyuan migrate"):
        require_current(old)
    migrate(old)
    require_current(old)
    with old.connect() as connection:
        found = connection.execute("SELECT * FROM registry_version ORDER BY seq").fetchall()
    subjects = ["node 0", "node 1", *["node 330212001"] * 2, *["credential abcdefghij"] * 2]
    assert [row[:4] for row in found] == [
        (subject, version, 0, seq)
        for seq, (subject, version) in enumerate(zip(subjects, [1, 1, 1, 2, 1, 2], strict=True), 1)
    ]
    assert [row[4:] for row in found] == [(THEN + timedelta(seconds=seq), None) for seq in range(1, 7)]
    vault = Vault(key_folder(tmp_path))
    for opened in (None, vault):
        report = audit(old, [], None, vault=opened)
        assert report.clean and report.entries == 7, [*map(str, report.disagreements)]
    with old.read() as connection:
        known = versions(connection, vault, NODE, ("330212001",))
        present = record(connection, vault, NODE, ("330212001",))
    assert [one.record.values["name"] for one in known] == ["市场", "新市场"]
    assert known[-1].record.values == present.values and present.values["kind"] is None
    assert known[-1].record.row == present.row


def test_after_it_the_ledger_goes_on(old: Database, tmp_path: Path) -> None:
    """The next version of an old row follows its last."""
    migrate(old)
    vault = Vault(key_folder(tmp_path))
    with old.read() as connection:
        present = record(connection, vault, NODE, ("330212001",))
    request = Registrar(vault, bytes(32), OPERATOR, now().date()).change(present, {"kind": "market", "region": 330213})
    assert request is not None
    with old.connect() as connection:
        (outcome,) = append(connection, [request], now)
    assert isinstance(outcome, list) and outcome[0].seq == 8
    report = audit(old, [], None, vault=vault)
    assert report.clean, [*map(str, report.disagreements)]


def test_what_it_made_up_would_be_found(old: Database) -> None:
    """Were a version left out or another time put down, the audit would say so."""
    migrate(old)
    with psycopg.connect(old.url.replace(APPLICATION, SUPERUSER), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM registry_version WHERE subject = 'node 1'")
        connection.execute("UPDATE registry_version SET record_time = now() WHERE subject = 'node 0'")
    named = [one.where for one in audit(old, [], None).disagreements]
    assert named == ["registry_version node 0 1", "registry_version node 1 1"]


def test_a_change_that_cannot_be_read_leaves_the_ledger_as_it_was(old: Database) -> None:
    """Half a migration would be no release's schema."""
    with old.as_owner() as connection:
        add_entry(connection, 8, GENESIS, Kind.CHANGE, b"no JSON")
    before = schema(old.owner_url)
    with pytest.raises((psycopg.Error, sqlalchemy.exc.DBAPIError)):
        migrate(old)
    assert schema(old.owner_url) == before and not is_current(old)


def test_recalls_from_before_food_was_recalled_stay_what_they_are(empty: Database) -> None:
    """A recall that lost its product, or could be of neither, would stop nothing."""
    at_revision(empty, "0005")
    row = {
        "recall": "ZH-2025-0001", "version": 1, "product": "8123456", "batches": ["B1"], "grade": "1",
        "origin": "ordered", "nature": "real", "range": "city", "regime": "cn_drug",
        "decided_at": "2025-11-25T00:00:00Z", "status": "active", "status_since": "2025-11-25",
    }  # fmt: skip
    with empty.as_owner() as connection:
        connection.execute("INSERT INTO recall SELECT * FROM jsonb_populate_record(NULL::recall, %s)", [Jsonb(row)])
        (before,) = connection.execute("SELECT to_jsonb(r) FROM recall r").fetchone()
    migrate(empty)
    require_current(empty)
    with empty.connect() as connection:
        (after,) = connection.execute("SELECT to_jsonb(r) FROM recall r").fetchone()
    assert after == {**before, "lots": None} and after["product"] == "8123456"
