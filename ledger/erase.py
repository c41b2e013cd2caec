"""Erasing: the sealed part of an entry, and the private values of a party, are all that may ever be emptied.

First the decision becomes an entry, then a role that can do nothing else empties what was decided on. The entries' own
bytes and hashes stay, so every proof stays good; what was sealed can be neither read nor guessed. Doing it again
finishes what was begun.
"""

import re
import secrets
from calendar import monthrange
from datetime import date

import psycopg

from ledger.append import CHAIN_LOCKS, Clock, Request, append, subject_of
from ledger.codes import CITY, NodeCode, node_text
from ledger.database import Database
from ledger.drafts import draft_once, erasure_name
from ledger.entries import Kind, decode
from ledger.errors import Conflict, NotRecorded
from ledger.registers import LICENCE
from ledger.registers.parties import KEPT, Status
from ledger.registrar import Registrar
from ledger.registry import Record
from ledger.rights import ERASER


def erase_party(
    database: Database, registrar: Registrar, present: Record, reason: str, clock: Clock, *, order: bool = False
) -> None:
    """Empty the private values of a party and its licences, once the law does not ask for them any longer.

    `Conflict` before that day, unless an authority has given the `order`; the reason is kept, sealed.
    """
    last = kept_until(present)
    if not order and (last is None or registrar.today <= last):
        when = f"until {last}" if last else "as long as it has not left"
        raise Conflict(f"the file of the {present.name} must be kept {when}, unless an authority orders otherwise")
    party = str(present.row["party"])
    with database.connect() as connection:
        if fresh := not present.row["erased"] or _filed_since(connection, present):
            (outcome,) = append(connection, [registrar.erase(present, reason)], clock)
            if not isinstance(outcome, list):
                raise outcome
    with database.as_owner() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CHAIN_LOCKS, CITY])  # nobody seals again meanwhile
        connection.execute(f"SET LOCAL ROLE {ERASER}")
        about = [present.subject, subject_of(LICENCE.table, [party, "%"])]
        version = present.version + fresh
        connection.execute(
            "UPDATE registry_version SET private = NULL WHERE private IS NOT NULL AND (subject = %s OR subject LIKE %s)"
            " AND seq < (SELECT seq FROM registry_version WHERE subject = %s AND version = %s)",
            [*about, present.subject, version],
        )
        left = registrar.vault.tokens(LICENCE.fields, {"party": party})
        connection.execute(
            "UPDATE registry_search s SET tokens = %s WHERE subject LIKE %s AND NOT EXISTS"
            " (SELECT FROM registry_version v WHERE v.subject = s.subject AND v.private IS NOT NULL)",
            [left, about[1]],
        )


def _filed_since(connection: psycopg.Connection, present: Record) -> bool:
    """Whether a licence of an erased party came in while it was being erased: then that has to be decided anew."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM registry_version WHERE subject LIKE %s AND private IS NOT NULL AND seq >"
        " (SELECT seq FROM registry_version WHERE subject = %s AND version = %s))",
        [subject_of(LICENCE.table, [str(present.row["party"]), "%"]), present.subject, present.version],
    ).fetchone()
    connection.rollback()
    return row == (True,)


def kept_until(present: Record) -> date | None:
    """The last day on which the file of a party that left must be kept; None for one that has not left."""
    if present.row["status"] != Status.LEFT:
        return None
    months = max(KEPT[kind][0] for kind in present.row["kinds"])
    left = date.fromisoformat(present.row["status_since"])
    year, month = divmod(left.year * 12 + left.month - 1 + months, 12)
    return date(year, month + 1, min(left.day, monthrange(year, month + 1)[1]))


def erase(database: Database, node: NodeCode, seq: int, reason: str, actor: str, clock: Clock) -> None:
    """Empty the sealed part of an entry, for a `reason` that is recorded. Doing it again finishes what was begun."""
    if not re.fullmatch(r"[^\x00-\x1f\ud800-\udfff]{1,500}", reason):
        raise Conflict("give the reason in 1 to 500 characters: it is recorded and stays")
    with database.connect() as connection:
        row = connection.execute("SELECT data FROM entry WHERE node = %s AND seq = %s", [node, seq]).fetchone()
        if row is None:
            raise NotRecorded(f"there is no entry {node_text(node)}/{seq}")
        if decode(row[0]).commitment is None:
            raise Conflict(f"the entry {node_text(node)}/{seq} has no sealed part")
        connection.rollback()
        body = {"erasure": {"seq": seq, "reason": reason}}
        decided = draft_once(node, Kind.ERASURE, body, erasure_name(node, seq), secrets.token_bytes)
        (outcome,) = append(connection, [Request([decided], actor)], clock)
        if not isinstance(outcome, list):
            raise outcome
    with database.as_owner() as connection:
        connection.execute(f"SET LOCAL ROLE {ERASER}")
        connection.execute("UPDATE entry SET salt = NULL, sealed = NULL WHERE node = %s AND seq = %s", [node, seq])
