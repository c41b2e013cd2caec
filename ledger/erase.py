"""Erasing the sealed part of an entry: the one thing that may ever be emptied, and never silently.

First the decision becomes an entry of the same chain, then a role that can do nothing else empties salt and sealed
bytes. The entry's own bytes and hash stay, so every proof stays good; what was sealed can be neither read nor guessed.
"""

import re
import secrets

from ledger.append import Clock, Request, append
from ledger.codes import NodeCode, node_text
from ledger.database import Database
from ledger.drafts import draft_once, erasure_name
from ledger.entries import Kind, decode
from ledger.errors import Conflict, NotRecorded
from ledger.rights import ERASER


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
