"""Credentials: who may write and read over HTTP. An API key is shown once; only its hash is kept."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, select

from ledger.access import Actor, Role
from ledger.append import Request
from ledger.codes import CITY, IMPORT, NodeCode, node_text, parse_node
from ledger.entries import actor_name, time_text
from ledger.errors import Conflict, NotRecorded, NotSignedIn, UnreadableCode
from ledger.nodes import get_node
from ledger.registry import change_request
from ledger.tables import credential as credential_table

Json = dict[str, Any]

NODES_MAX = 1_000
_CODE = re.compile(r"[a-z2-7]{10}")
_KEY = re.compile(r"sy_([a-z2-7]{10})_([A-Za-z0-9_\-]{43})")
DAYS_MAX = 3650


_LABEL = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise UnreadableCode("label", text, "give 1 to 200 characters without control characters")
    return text


@dataclass(frozen=True, slots=True)
class Credential:
    """What a credential allows, without its secret."""

    credential: str
    version: int
    role: Role
    label: str
    key_hash: str
    home_node: NodeCode
    nodes: tuple[NodeCode, ...]
    expires_at: datetime
    revoked_at: datetime | None

    @property
    def row(self) -> Json:
        return {
            "credential": self.credential, "version": self.version, "role": str(self.role), "label": self.label,
            "key_hash": self.key_hash, "home_node": self.home_node, "nodes": list(self.nodes),
            "expires_at": time_text(self.expires_at),
            "revoked_at": self.revoked_at and time_text(self.revoked_at),
        }  # fmt: skip

    def acting(self, now: datetime) -> Actor:
        """Who acts by it; `NotSignedIn` if it was revoked or has expired."""
        if self.revoked_at is not None and self.revoked_at <= now:
            raise NotSignedIn("this API key was revoked")
        if self.expires_at <= now:
            raise NotSignedIn("this API key has expired")
        return Actor(self.credential, self.role, frozenset(self.nodes), self.home_node)


def _credential(row: Any) -> Credential:
    nodes_ = tuple(NodeCode(code) for code in row.nodes)
    return Credential(
        row.credential, row.version, Role(row.role), row.label, row.key_hash, NodeCode(row.home_node), nodes_,
        row.expires_at.astimezone(UTC), row.revoked_at and row.revoked_at.astimezone(UTC),
    )  # fmt: skip


def credentials(connection: Connection, after: str = "", limit: int = 1000) -> list[Credential]:
    """All credentials, revoked ones too, in the order of their codes."""
    table = credential_table
    question = select(table).where(table.c.credential > after).order_by(table.c.credential).limit(limit)
    return [_credential(row) for row in connection.execute(question)]


def get_credential(connection: Connection, code: str) -> Credential:
    """The credential `code`; `NotRecorded` if there is none."""
    if not _CODE.fullmatch(code):
        raise NotRecorded(f"there is no credential {code!r}")
    row = connection.execute(select(credential_table).where(credential_table.c.credential == code)).one_or_none()
    if row is None:
        raise NotRecorded(f"there is no credential {code!r}")
    return _credential(row)


def issue(
    connection: Connection, role: Role, label: str, codes: Iterable[str], days: int, actor: str, now: datetime
) -> tuple[Request, Credential, str]:
    """A new credential and its API key, which is shown this once: only its hash is kept.

    `codes` are its nodes, the first its home; roles that record need at least one. A label is no personal data.
    """
    bound = tuple(dict.fromkeys(parse_node(code) for code in codes))
    if not 1 <= days <= DAYS_MAX:
        raise Conflict(f"a credential lasts 1 to {DAYS_MAX} days, not {days}")
    if len(bound) > NODES_MAX:
        raise Conflict(f"a credential is bound to at most {NODES_MAX} nodes")
    if not bound and role not in (Role.ADMIN, Role.REGULATOR, Role.SUBSCRIBER):
        raise Conflict(f"a credential of the role {role} is bound to at least one node")
    if CITY in bound:
        raise Conflict(f"the city's own chain {node_text(CITY)} is nobody's node")
    for code in bound:
        get_node(connection, code)
    name = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    secret = secrets.token_urlsafe(32)
    made = Credential(
        actor_name(name), 1, role, _label(label), hashlib.sha256(secret.encode()).hexdigest(),
        bound[0] if bound else IMPORT, bound, now + timedelta(days=days), None,
    )  # fmt: skip
    return change_request("credential", made.row, actor), made, f"sy_{name}_{secret}"


def revoke(present: Credential, actor: str, now: datetime) -> Request:
    """End a credential at once and for good; `Conflict` if that happened already."""
    if present.revoked_at is not None:
        raise Conflict(f"the credential {present.credential} was revoked at {time_text(present.revoked_at)}")
    row = {**present.row, "version": present.version + 1, "revoked_at": time_text(now)}
    return change_request("credential", row, actor)


_READ = """
SELECT credential, version, role, label, key_hash, home_node, nodes, expires_at, revoked_at FROM credential
WHERE credential = ANY(%b)
"""


def admit(connection: psycopg.Connection, keys: Sequence[str], now: datetime) -> list[Actor | NotSignedIn]:
    """Who holds each API key, or why nobody does, or not any more. No key is ever repeated."""
    parts = [_KEY.fullmatch(key) for key in keys]
    codes = sorted({match[1] for match in parts if match is not None})
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(_READ, [codes]).fetchall()
    found = {row.credential: _credential(row) for row in rows}
    admitted: list[Actor | NotSignedIn] = []
    for match in parts:
        if match is None:
            admitted.append(NotSignedIn("this is no API key: it has the form sy_…_…"))
        else:
            admitted.append(_admitted(found.get(match[1]), match[2], now))
    return admitted


def _admitted(found: Credential | None, secret: str, now: datetime) -> Actor | NotSignedIn:
    if found is None or not hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), found.key_hash):
        return NotSignedIn("this API key is unknown")
    try:
        return found.acting(now)
    except NotSignedIn as error:
        return error
