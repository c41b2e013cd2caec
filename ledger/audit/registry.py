"""The registry: rows, versions with private values, and the blind index, as the city's chain says they must be."""

import hashlib
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ledger.append import subject_of
from ledger.audit.report import BATCH, Report
from ledger.codes import CITY
from ledger.documents import write_json
from ledger.entries import Entry
from ledger.errors import LedgerError
from ledger.registers import REGISTERS
from ledger.tables import REGISTRY
from ledger.vault import Vault

Json = dict[str, Any]
_Made = dict[tuple[str, int], tuple[Entry, Json]]


class RegistryCheck:
    """Folds the changes that the city's chain holds, and compares. Without a vault nothing private is opened."""

    def __init__(
        self, connection: psycopg.Connection, report: Report, vault: Vault | None, damaged: set[tuple[int, int]]
    ) -> None:
        self._connection, self._report, self._vault, self._damaged = connection, report, vault, damaged
        self._rows: dict[str, dict[tuple[str, ...], tuple[Entry, Json]]] = {table.name: {} for table in REGISTRY}
        self._bare: list[tuple[str, int, str, int]] = []
        """Versions whose private values are gone: subject, version, party, sequence."""
        self._erased: dict[str, int] = {}
        """By party: the last entry that says that what was known before is erased."""
        self.versions = 0
        """How many versions the entries make."""
        self.lost_changes = 0
        """How many changes are in damaged entries; each explains one version that seems to be missing."""

    def _lost(self, versions: int) -> bool:
        explained = 0 < versions <= self.lost_changes
        self.lost_changes -= versions if explained else 0
        return explained

    def fold(self, entry: Entry, made: _Made) -> None:
        """One change: the row's next state, and the version that it makes, which joins `made`."""
        change = entry.body["change"]
        table, row, version = change["table"], change["row"], change["row"]["version"]
        rows, key = self._rows[table], registry_key(table, row)
        if type(version) is not int:
            raise ValueError(f"its version is {version!r}")
        write_json(row)  # what cannot be written cannot be compared
        before = rows[key][1]["version"] if key in rows else 0
        if version != before + 1 and not self._lost(version - before - 1):
            self._report.add(f"entry {entry.name}", f"it makes version {version} after version {before}")
        rows[key] = (entry, row)
        made[subject_of(table, key), version] = (entry, row)
        if row.get("erased") is True:
            self._erased[key[0]] = entry.seq

    def check_versions(self, made: _Made) -> None:
        """A batch of versions: each is there, and its private values are those that the entry has the digest of."""
        self.versions += len(made)
        found = self._connection.execute(
            "SELECT subject, version, node, seq, record_time, private FROM registry_version"
            " JOIN unnest(%b::text[], %b::int[]) AS p(subject, version) USING (subject, version)",
            [[subject for subject, _ in made], [version for _, version in made]],
            binary=True,
        )
        stored = {(row[0], row[1]): row[2:] for row in found}
        for (subject, version), (entry, row) in made.items():
            where = f"registry_version {subject} {version}"
            there = stored.get((subject, version))
            if there is None:
                self._report.add(where, "the row is missing")
                continue
            if there[:3] != (entry.node, entry.seq, entry.record_time):
                self._report.add(where, f"the row does not name the entry {entry.name} that made it")
            self._check_private(where, subject, entry, row, there[3])

    def _check_private(self, where: str, subject: str, entry: Entry, row: Json, private: bytes | None) -> None:
        digest = row.get("digest")
        if private is None:
            if digest is not None:
                self._bare.append((subject, row["version"], str(row.get("party")), entry.seq))
        elif digest is None:
            self._report.add(where, "it holds private values, but its entry has no digest of any")
        elif self._vault is not None:
            try:
                plain = self._vault.open_bytes(subject, row["version"], private)
            except LedgerError as error:
                self._report.add(where, str(error))
                return
            if hashlib.sha256(plain).hexdigest() != digest:
                self._report.add(where, "its private values do not have the digest in its entry")

    def finish(self) -> None:
        """The rows, what is gone without an erasure, and the blind index."""
        for table in REGISTRY:
            self._check_rows(table.name)
        damaged = self._in_damaged()
        for subject, version, party, seq in self._bare:
            if seq >= self._erased.get(party, 0) and subject_of("party", [party]) not in damaged:
                where = f"registry_version {subject} {version}"
                self._report.add(where, "its private values are gone, and no entry says that they were erased")
        if self._vault is not None:
            self._check_index(self._vault, damaged)

    def _in_damaged(self) -> set[str]:
        """Records of which a change is in an entry that is named already."""
        seqs = [seq for node, seq in self._damaged if node == CITY]
        if not seqs:
            return set()
        query = "SELECT subject FROM registry_version WHERE node = %b AND seq = ANY(%b::bigint[])"
        return {subject for (subject,) in self._connection.execute(query, [CITY, seqs])}

    def _check_index(self, vault: Vault, damaged: set[str]) -> None:
        """What each record is found by, made again from its values."""
        known = set(damaged)
        for register in (register for register in REGISTERS if register.private_fields):
            rows = self._rows[register.table]
            known |= {subject_of(register.table, key) for key in rows}
            items = [*rows.items()]
            for part in (items[at : at + BATCH] for at in range(0, len(items), BATCH)):
                versions = {subject_of(register.table, key): row["version"] for key, (_, row) in part}
                private, tokens = self._private(versions), self._tokens(versions)
                for key, (_, row) in part:
                    subject = subject_of(register.table, key)
                    if subject in damaged:
                        continue
                    try:
                        opened = vault.open(subject, row["version"], private[subject])[0] if subject in private else {}
                        wanted = vault.tokens_of_each(register.fields, {**row, **opened})
                    except (LedgerError, KeyError, TypeError):
                        continue  # named already
                    if tokens.get(subject) not in wanted:
                        self._report.add(f"registry_search {subject}", "it is other than the record's values say")
        for (subject,) in self._connection.execute("SELECT subject FROM registry_search"):
            if subject not in known:
                self._report.add(f"registry_search {subject}", "no record stands behind this row")

    def _private(self, versions: dict[str, int]) -> dict[str, bytes]:
        query = (
            "SELECT subject, private FROM registry_version JOIN unnest(%b::text[], %b::int[]) AS p(subject, version)"
            " USING (subject, version) WHERE private IS NOT NULL"
        )
        return dict(self._connection.execute(query, [[*versions], [*versions.values()]], binary=True).fetchall())

    def _tokens(self, subjects: dict[str, int]) -> dict[str, list[int]]:
        query = "SELECT subject, tokens FROM registry_search WHERE subject = ANY(%b)"
        return dict(self._connection.execute(query, [[*subjects]], binary=True).fetchall())

    def _check_rows(self, table: str) -> None:
        name = sql.Identifier(table)
        rows = self._readable(table)
        # The database itself turns the JSON of the entry into a row, as the write path did, and compares.
        question = sql.SQL(
            "SELECT coalesce(to_jsonb(t), to_jsonb(v)), t.version, v.version FROM {0} t"
            " FULL JOIN jsonb_populate_recordset(NULL::{0}, %s) v ON {1} WHERE t IS DISTINCT FROM v"
        ).format(name, sql.SQL(" AND ").join(sql.SQL("t.{0} = v.{0}").format(sql.Identifier(c)) for c in _keys(table)))
        for row, present, recorded in self._connection.execute(question, [_jsonb(rows)]).fetchall():
            what = (
                "is missing"
                if present is None
                else "has no entry behind it"
                if recorded is None
                else "is other than its last entry says"
            )
            if not self._lost((present or 0) - (recorded or 0)):
                self._report.add(f"{table} {' '.join(registry_key(table, row))}", f"the row {what}")

    def _readable(self, table: str) -> list[Json]:
        """The registry's rows as the entries say, without those that the database cannot take: these are named."""
        question = sql.SQL("SELECT count(v) FROM jsonb_populate_recordset(NULL::{}, %s) v").format(
            sql.Identifier(table)
        )

        def takes(rows: list[Json]) -> bool:
            try:
                with self._connection.transaction():
                    self._connection.execute(question, [_jsonb(rows)])
            except psycopg.DataError:
                return False
            return True

        rows = [row for _, row in self._rows[table].values()]
        if takes(rows):
            return rows
        for entry, row in self._rows[table].values():
            if not takes([row]):
                self._report.add(f"entry {entry.name}", f"its change is no row of {table}")
        return [row for row in rows if takes([row])]


def _jsonb(rows: list[Json]) -> Jsonb:
    return Jsonb(rows, dumps=write_json)


def _keys(table: str) -> list[str]:
    return [column.name for found in REGISTRY if found.name == table for column in found.primary_key]


def registry_key(table: str, row: Json) -> tuple[str, ...]:
    """The key of a registry row, as texts."""
    return tuple(str(row[column]) for column in _keys(table))
