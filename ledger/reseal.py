"""Replacing the key that seals the registry's private values, while the ledger goes on.

The new key comes first in the key folder, so that whatever is sealed from then on is sealed with it; then all that lies
there is opened and sealed again, and the blind index is made anew, in short transactions under the lock of the city's
chain. The old key stays until the next replacement, for what was under way; then nothing needs it any more.
"""

import secrets
from collections.abc import Callable

import psycopg

from ledger.append import CHAIN_LOCKS
from ledger.codes import CITY
from ledger.database import Database
from ledger.keys import KeyFolder
from ledger.registers import REGISTERS
from ledger.rights import ERASER
from ledger.vault import Vault

BATCH = 500


def replace_registry_key(database: Database, keys: KeyFolder, progress: Callable[[int, int], None]) -> int:
    """Seal everything with a new key; how many versions there were. If it is cut off, doing it again is safe."""
    present = keys.registry_keys()
    used = _used(database, Vault(keys), len(present))
    keys.set_registry_keys(
        [secrets.token_bytes(32), *(key for key, in_use in zip(present, used, strict=True) if in_use)]
    )
    vault = Vault(keys)
    with database.as_owner() as connection:
        versions = connection.execute("SELECT count(private) FROM registry_version").fetchone()
        records = connection.execute("SELECT count(*) FROM registry_search").fetchone()
    total = (versions[0] if versions else 0) + (records[0] if records else 0)
    done = 0
    for step in (_seal_again, _index_again):
        last: tuple[str, int] | None = ("", 0)
        while last is not None:
            with database.as_owner() as connection:
                connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CHAIN_LOCKS, CITY])
                connection.execute(f"SET LOCAL ROLE {ERASER}")
                last, count = step(connection, vault, last)
            done += count
            progress(min(done, total), total)
    return versions[0] if versions else 0


def _used(database: Database, vault: Vault, count: int) -> list[bool]:
    """Of each key, whether anything is sealed with it; the present one always may be."""
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT DISTINCT substr(private, 2, 4) FROM registry_version").all()
    ids = {bytes(id_) for (id_,) in rows if id_ is not None}
    return [number == 0 or key.id in ids for number, key in zip(range(count), vault.keys(), strict=True)]


_Last = tuple[str, int]


def _seal_again(connection: psycopg.Connection, vault: Vault, last: _Last) -> tuple[_Last | None, int]:
    """The next versions sealed with the present key; where the following ones begin, and how many there were."""
    found = connection.execute(
        "SELECT subject, version, private FROM registry_version WHERE (subject, version) > (%s, %s)"
        " AND private IS NOT NULL ORDER BY subject, version LIMIT %s",
        [*last, BATCH],
    ).fetchall()
    sealed = [
        vault.seal_bytes(subject, version, vault.open_bytes(subject, version, data)).data
        for subject, version, data in found
    ]
    connection.execute(
        "UPDATE registry_version t SET private = v.private"
        " FROM unnest(%b::text[], %b::int[], %b::bytea[]) AS v(subject, version, private)"
        " WHERE (t.subject, t.version) = (v.subject, v.version)",
        [[subject for subject, _, _ in found], [version for _, version, _ in found], sealed],
    )
    return ((found[-1][0], found[-1][1]) if found else None), len(found)


def _index_again(connection: psycopg.Connection, vault: Vault, last: _Last) -> tuple[_Last | None, int]:
    """The next records found by the present key, from what their last versions hold."""
    found = connection.execute(
        "SELECT DISTINCT ON (subject) subject, version, private FROM registry_version WHERE subject IN"
        " (SELECT subject FROM registry_search WHERE subject > %s ORDER BY subject LIMIT %s)"
        " ORDER BY subject, version DESC",
        [last[0], BATCH],
    ).fetchall()
    tokens = [_tokens(vault, subject, version, data) for subject, version, data in found]
    connection.execute(
        "UPDATE registry_search t SET tokens = v.tokens::int[]"
        " FROM unnest(%b::text[], %b::text[]) AS v(subject, tokens) WHERE t.subject = v.subject",
        [[subject for subject, _, _ in found], [f"{{{','.join(map(str, some))}}}" for some in tokens]],
    )
    return ((found[-1][0], 0) if found else None), len(found)


def _tokens(vault: Vault, subject: str, version: int, data: bytes | None) -> list[int]:
    table, *key = subject.split(" ")
    register = next(register for register in REGISTERS if register.table == table)
    private = {} if data is None else vault.open(subject, version, data)[0]
    return vault.tokens(register.fields, {**dict(zip(register.key, key, strict=True)), **private})
