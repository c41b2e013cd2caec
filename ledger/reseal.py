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
from ledger.documents import read_json
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
        row = connection.execute("SELECT count(private) FROM registry_version").fetchone()
    total, done = row[0] if row else 0, 0
    last = ("", 0)
    while True:
        with database.as_owner() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CHAIN_LOCKS, CITY])
            connection.execute(f"SET LOCAL ROLE {ERASER}")
            found = connection.execute(
                "SELECT subject, version, private FROM registry_version WHERE (subject, version) > (%s, %s)"
                " AND private IS NOT NULL ORDER BY subject, version LIMIT %s",
                [*last, BATCH],
            ).fetchall()
            if not found:
                return total
            _seal_again(connection, vault, found)
        last, done = found[-1][:2], done + len(found)
        progress(min(done, total), total)


def _used(database: Database, vault: Vault, count: int) -> list[bool]:
    """Of each key, whether anything is sealed with it; the present one always may be."""
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT DISTINCT substr(private, 2, 4) FROM registry_version").all()
    ids = {bytes(id_) for (id_,) in rows if id_ is not None}
    return [number == 0 or key.id in ids for number, key in zip(range(count), vault.keys(), strict=True)]


def _seal_again(connection: psycopg.Connection, vault: Vault, found: list[tuple[str, int, bytes]]) -> None:
    opened = {(subject, version): vault.open_bytes(subject, version, data) for subject, version, data in found}
    sealed = [vault.seal_bytes(subject, version, plain).data for (subject, version), plain in opened.items()]
    connection.execute(
        "UPDATE registry_version t SET private = v.private"
        " FROM unnest(%b::text[], %b::int[], %b::bytea[]) AS v(subject, version, private)"
        " WHERE (t.subject, t.version) = (v.subject, v.version)",
        [[subject for subject, _ in opened], [version for _, version in opened], sealed],
    )
    # Versions of one record follow each other, so the last one's tokens stay.
    tokens = {subject: _tokens(vault, subject, plain) for (subject, _), plain in opened.items()}
    connection.execute(
        "UPDATE registry_search t SET tokens = v.tokens::int[]"
        " FROM unnest(%b::text[], %b::text[]) AS v(subject, tokens) WHERE t.subject = v.subject",
        [[*tokens], [f"{{{','.join(map(str, found))}}}" for found in tokens.values()]],
    )


def _tokens(vault: Vault, subject: str, plain: bytes) -> list[int]:
    table, *key = subject.split(" ")
    register = next(register for register in REGISTERS if register.table == table)
    values = {**dict(zip(register.key, key, strict=True)), **read_json(plain)["values"]}
    return vault.tokens(register.fields, values)
