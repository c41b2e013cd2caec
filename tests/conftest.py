"""Fixtures: a real PostgreSQL for the session, a database of its own for each test, and an audit after each.

The embedded server is the product's own (`ledger.embedded`). One template database is migrated once; every test gets a
copy of it. Whatever a test wrote is audited at its end, unless the test damages the ledger on purpose
(`@pytest.mark.damages`).
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from api.ledger import Ledger, ledger_on, now
from ledger.audit import Report, audit
from ledger.database import Database
from ledger.embedded import APPLICATION, OWNER, SUPERUSER, Cluster
from ledger.errors import LedgerError
from ledger.keys import KeyFolder
from ledger.lanes import Lanes
from ledger.nodes import first_nodes
from ledger.rights import migrate
from ledger.settings import SHARED_DATA, Settings
from ledger.worker import integrate_now

VECTORS = Path(__file__).parent / "vectors"
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "damages: the test damages the ledger on purpose; it is not audited afterwards")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public test documents, which lie beside a workplace's checkout and not in the project."""
    folder = Path(os.environ.get(SHARED_DATA) or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the shared test data: {folder} is not there; set {SHARED_DATA}")
        pytest.skip(f"the shared test data is not here (set {SHARED_DATA} to its folder)")
    return folder


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A short path that an unprivileged user can pass through, since as root the server runs as one."""
    folder = Path(tempfile.mkdtemp(prefix="suyuan-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(scratch: Path) -> Iterator[Cluster]:
    """A running embedded PostgreSQL with a migrated template database, `suyuan`."""
    found = Cluster(scratch / "data")
    with found.lease():
        database = Database(found.url(APPLICATION), found.url(OWNER))
        migrate(database)
        database.close()
        with psycopg.connect(found.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            # Tests kill processes, never the machine's power: there is nothing that waiting for the disk would show.
            # Databases are made and dropped twice as fast so. What the embedded server itself is set to: test_embedded.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield found
    assert found.stopped(), "the server outlived its last user"


@dataclass
class Own:
    """A test's own database: as application, and as the superuser that damages things."""

    database: Database
    name: str
    cluster: Cluster

    def superuser(self) -> psycopg.Connection:
        """A connection that passes every right and trigger."""
        connection = psycopg.connect(self.cluster.url(SUPERUSER, self.name), autocommit=True)
        connection.execute("SET session_replication_role = replica")
        return connection


@pytest.fixture
def own(cluster: Cluster) -> Iterator[Own]:
    """A database of the test's own, copied from the template."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE suyuan OWNER {OWNER}")
    database = Database(cluster.url(APPLICATION, name), cluster.url(OWNER, name), cluster.ensure_running)
    yield Own(database, name, cluster)
    database.close()
    with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path, scratch: Path) -> Settings:
    """Settings whose keys are the test's own."""
    return Settings.from_environment({"SUYUAN_DATA": str(scratch / "data"), "SUYUAN_KEYS": str(tmp_path / "keys")})


@pytest.fixture
def ledger(own: Own, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """An open ledger on a database of its own, without a worker; audited at the end."""
    keys = KeyFolder(settings.keys)
    signer = keys.signer(settings.origin)
    lanes = Lanes(own.database, settings.lanes, now)
    with own.database.read() as connection:
        missing = first_nodes(connection)
    for outcome in lanes.record(missing):
        assert not isinstance(outcome, LedgerError), outcome
    with ledger_on(settings, own.database, lanes, keys, signer) as found:
        yield found
    lanes.close()
    if request.node.get_closest_marker("damages") is None:
        check_ledger(found)


def sign(ledger: Ledger) -> None:
    """Integrate and sign all that is recorded."""
    integrate_now(ledger.database, ledger.keys, ledger.signer)


def look(ledger: Ledger) -> Report:
    """The audit of the ledger as it stands."""
    return audit(ledger.database, ledger.keys.verifiers(), ledger.keys.last_checkpoint(), vault=ledger.vault)


def check_ledger(ledger: Ledger) -> None:
    """Every hash, link, derived row, tile and checkpoint computed again from the stored bytes."""
    sign(ledger)
    report = look(ledger)
    assert report.clean, [str(disagreement) for disagreement in report.disagreements]
